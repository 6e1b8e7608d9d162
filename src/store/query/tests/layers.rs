//! Series from all layers against a model that knows every beat.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::store::history::HOUR;
use crate::store::history::tests::sealing::{SMALL, START, STEP, journaled, seal_until_killed};
use crate::store::history::tests::world;
use crate::store::query::{Layer, Series};
use crate::store::tests::{place, unlocked, until};

/// What was journaled, in the order of frames.
type Known = Vec<Arc<Evaluation>>;

const MINUTE: Duration = Duration::from_secs(60);

fn group(group: &str) -> Subject {
    let group = group.to_owned();
    Subject::Group { group }
}

fn subjects() -> Vec<Subject> {
    let text = str::to_owned;
    let mut subjects = vec![
        Subject::Cluster,
        Subject::Log {
            topic: text("ab"),
            partition: 1,
        },
    ];
    for name in ["", "a\0b", "b"] {
        subjects.push(group(name));
        subjects.push(Subject::Topic {
            group: text(name),
            topic: text("zürich"),
        });
        subjects.push(Subject::Partition {
            group: text(name),
            topic: text("ab"),
            partition: 1,
        });
    }
    subjects
}

/// The first field of a subject: what most people want.
fn main_field(subject: &Subject) -> &'static str {
    match subject {
        Subject::Log { .. } => "end_offset",
        Subject::Cluster
        | Subject::Group { .. }
        | Subject::Topic { .. }
        | Subject::Partition { .. } => "lag",
    }
}

/// The value of a field, read off the evaluation without the product's help.
fn value(evaluation: &Evaluation, subject: &Subject, field: &str) -> Option<f64> {
    let int = |value: Option<i64>| value.map(|value| value as f64);
    let topic_of = |group: &str, topic: &str| {
        let mut topics = evaluation.group(group)?.topics.iter();
        let found = topics.find(|found| found.topic.as_str() == topic)?;
        Some(found.partitions.clone())
    };
    match (subject, field) {
        (Subject::Cluster, "lag") => int(evaluation.summary.lag.get()),
        (Subject::Group { group }, "lag") => int(evaluation.group(group)?.totals.lag.get()),
        (Subject::Group { group }, "members") => {
            Some(f64::from(evaluation.group(group)?.totals.members))
        }
        (Subject::Group { group }, "time_lag_s") => {
            let age = evaluation.group(group)?.totals.time_lag;
            age.map(|age| f64::from(age.seconds))
        }
        (Subject::Topic { group, topic }, "lag") => {
            let lags = topic_of(group, topic)?;
            let lags = lags.iter().filter_map(|row| row.lag.get());
            int(lags.reduce(i64::saturating_add))
        }
        (
            Subject::Partition {
                group,
                topic,
                partition,
            },
            "lag",
        ) => {
            let rows = topic_of(group, topic)?;
            int(rows.get(*partition as usize)?.lag.get())
        }
        (Subject::Log { topic, partition }, "end_offset") => {
            let topic = evaluation.topic(topic)?;
            int(topic.partitions.get(*partition as usize)?.end.get())
        }
        other => panic!("not in the model: {other:?}"),
    }
}

fn query(subject: &Subject, field: &'static str, from: Timestamp, to: Timestamp) -> SeriesQuery {
    SeriesQuery {
        cluster: "a".to_owned(),
        subject: subject.clone(),
        fields: vec![field],
        from,
        to,
        step_ms: None,
        points: 100_000,
    }
}

/// Every beat from `from` to `to`; samples where no beat is are gaps and stand between others.
#[track_caller]
fn same_beats(series: &Series, known: &Known, query: &SeriesQuery, why: &str) {
    let field = query.fields[0];
    let mut expected: Vec<Sample> = known
        .iter()
        .filter(|it| (query.from..=query.to).contains(&it.beat))
        .map(|it| Sample {
            at: it.beat,
            value: value(it, &query.subject, field),
        })
        .collect();
    expected.sort_by_key(|sample| sample.at);
    let is_beat = |at: Timestamp| expected.binary_search_by_key(&at, |it| it.at).is_ok();
    let found = series.fields[field].iter().copied();
    let found: Vec<Sample> = found.filter(|it| is_beat(it.at)).collect();
    let differ = found.iter().zip(&expected).find(|(a, b)| a != b);
    let counts = (found.len(), expected.len());
    assert!(
        found == expected,
        "{why}: {query:?}: {counts:?}, {differ:?}"
    );
    assert_eq!((series.beats, series.corrupt), (expected.len(), 0), "{why}");
    let gaps = series.fields[field].iter().filter(|it| !is_beat(it.at));
    assert!(gaps.clone().all(|it| it.value.is_none()), "{why}");
}

/// The least and the greatest value of each step, against those of all beats; of `skipped` hours
/// nothing may be there.
#[track_caller]
fn same_extremes(
    series: &Series,
    known: &Known,
    (query, step): (&SeriesQuery, Duration),
    skipped: &dyn Fn(Timestamp) -> bool,
) -> usize {
    let field = query.fields[0];
    let extremes = |samples: &mut dyn Iterator<Item = f64>| {
        samples.fold(None, |both: Option<(f64, f64)>, value| {
            let (least, greatest) = both.unwrap_or((value, value));
            Some((least.min(value), greatest.max(value)))
        })
    };
    // Sums that are the least number there is stand for "unknown" here and there.
    let is_sane = |both: &(f64, f64)| both.0 > i64::MIN as f64;
    let mut start = query.from.aligned(step);
    let mut filled = 0;
    while start <= query.to {
        let is_in = |at: Timestamp| at >= start && at < start.plus(step);
        let samples = series.fields[field].iter().filter(|it| is_in(it.at));
        let found = extremes(&mut samples.filter_map(|it| it.value));
        let beats = known.iter().filter(|it| is_in(it.beat));
        let mut of_beats = beats.filter_map(|it| value(it, &query.subject, field));
        let expected = extremes(&mut of_beats).filter(|_| !skipped(start));
        if expected.as_ref().is_none_or(is_sane) {
            let layers = &series.stretches;
            assert_eq!(found, expected, "{start:?} of {query:?}: {layers:?}");
        }
        filled += usize::from(found.is_some());
        start = start.plus(step);
    }
    filled
}

/// A store without a sealer: what is half sealed stays so.
struct Still {
    store: Store,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Still {
    fn open(path: &Path, limit: impl FnOnce(&mut Past)) -> Self {
        Self::with(path, StoreSettings::default(), limit)
    }

    fn with(path: &Path, settings: StoreSettings, limit: impl FnOnce(&mut Past)) -> Self {
        let opened = unlocked(|| Store::open(Some(path), settings.clone()));
        let (writer, mut historian) = (opened.writer, opened.historian);
        limit(&mut historian.past);
        Self {
            store: opened.store,
            threads: vec![
                std::thread::spawn(move || writer.run()),
                std::thread::spawn(move || historian.run()),
            ],
        }
    }

    fn close(self) {
        drop(self.store);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

/// Appends made-up beats of the cluster "a", `step` apart; those that are journaled.
async fn append(
    store: &Store,
    random: &mut fastrand::Rng,
    (from, step, count): (Timestamp, Duration, u32),
    known: &mut Known,
) {
    for n in 0..count {
        let evaluation = world::evaluation(random, "a", from.plus(step * n));
        let beat = evaluation.beat;
        let appended = store
            .append(vec![Arc::clone(&evaluation)], Vec::new(), beat)
            .await;
        if appended.unwrap().skipped.is_empty() {
            known.push(evaluation);
        }
    }
}

async fn sealed_through(store: &Store, end: Timestamp) {
    until("the hours are sealed", || {
        store.health().sealed_through == Some(end)
    })
    .await;
}

/// Blocks, frames on disk and frames in memory; beats that are missing, a clock that is set back so
/// that an hour is sealed twice, groups that are there at three of four beats.
#[tokio::test]
async fn every_beat_comes_once_whatever_layer_has_it() {
    for (seed, tail_bytes) in [(1, 1), (2, 200_000), (3, 64 << 20)] {
        let (_directory, path) = place();
        let settings = StoreSettings {
            tail_bytes,
            ..StoreSettings::default()
        };
        let running = Running::open(Some(&path), settings);
        let mut random = fastrand::Rng::with_seed(seed);
        let mut known = Known::new();
        let at = |minutes: u32| START.plus(MINUTE * minutes);
        let store = &running.store;
        append(store, &mut random, (at(0), MINUTE, 100), &mut known).await;
        append(store, &mut random, (at(112), MINUTE, 20), &mut known).await;
        sealed_through(store, at(120)).await;
        append(store, &mut random, (at(95), MINUTE, 130), &mut known).await;
        assert_eq!(known.len(), 245, "five are left out");
        sealed_through(store, at(180)).await;
        for subject in subjects() {
            let field = main_field(&subject);
            for _ in 0..12 {
                let from = at(0).plus(Duration::from_secs(random.u64(0..14_000)));
                let to = from.plus(Duration::from_secs(random.u64(0..14_000)));
                let query = query(&subject, field, from, to);
                let series = store.series(query.clone()).await.unwrap();
                same_beats(&series, &known, &query, &format!("seed {seed}"));
            }
        }
        running.close().await;
    }
}

/// Whatever is sealed of an hour, its beats come once, and all of them.
#[tokio::test]
async fn a_half_sealed_hour_is_whole() {
    let (_directory, path) = place();
    let known = journaled(&path, 40).await;
    let copy = |to: &str| {
        let to = path.with_file_name(to);
        std::fs::copy(&path, &to).unwrap();
        to
    };
    let all = seal_until_killed(&copy("whole.db"), SMALL, usize::MAX).writes;
    for writes in (0..=all).step_by(5).chain([all]) {
        let path = copy(&format!("{writes}.db"));
        if writes > 0 {
            seal_until_killed(&path, SMALL, writes);
        }
        let still = Still::open(&path, |_| {});
        for subject in subjects() {
            let to = START.plus(2 * HOUR);
            let query = query(&subject, main_field(&subject), START, to);
            let series = still.store.series(query.clone()).await.unwrap();
            same_beats(&series, &known, &query, &format!("{writes} of {all}"));
        }
        still.close();
    }
}

/// Beats expire before rollups of five minutes, and these before those of hours; the extremes of each
/// step stay the same, and the answer says where it comes from.
#[tokio::test]
async fn coarser_layers_take_over_where_finer_ones_have_expired() {
    let (_directory, path) = place();
    let settings = StoreSettings {
        journal_keep: 2 * HOUR,
        raw_keep: 3 * HOUR,
        rollup_5m_keep: 7 * HOUR,
        ..StoreSettings::default()
    };
    let running = Running::open(Some(&path), settings);
    let store = &running.store;
    let mut random = fastrand::Rng::with_seed(4);
    let mut known = Known::new();
    let at = |hours: u32| START.plus(HOUR * hours);
    for hour in 0..13 {
        append(store, &mut random, (at(hour), STEP, 30), &mut known).await;
        if hour > 0 {
            sealed_through(store, at(hour)).await;
        }
    }
    // The clock goes on from where it was set back to.
    let back = at(12).plus(15 * MINUTE);
    append(store, &mut random, (back, STEP, 15), &mut known).await;
    let (from, to) = (START, at(13));
    for subject in subjects() {
        let is_rolled = matches!(subject, Subject::Group { .. } | Subject::Topic { .. });
        let field = main_field(&subject);
        let every = SeriesQuery {
            step_ms: Some(1),
            ..query(&subject, field, from, to)
        };
        let series = store.series(every.clone()).await.unwrap();
        let layers: Vec<Layer> = series.stretches.iter().map(|it| it.layer).collect();
        let beats = series.stretches.last().unwrap().clone();
        let raw_from = beats.from.aligned(HOUR);
        assert!(at(8) < raw_from && raw_from < at(11), "{raw_from:?}");
        if is_rolled {
            let all = [Layer::Hours, Layer::FiveMinutes, Layer::Beats];
            assert_eq!(layers, all, "{subject:?}");
            assert!(series.known_from[field] < at(2));
        } else {
            assert_eq!(layers, [Layer::Beats]);
            assert_eq!(series.known_from[field], beats.from);
        }
        // What is there beat by beat is there as it was.
        let recent = query(&subject, field, raw_from, to);
        let series = store.series(recent.clone()).await.unwrap();
        same_beats(&series, &known, &recent, "recent");
        for (step, points) in [(HOUR, 10_000), (2 * HOUR, 10_000), (HOUR, 40)] {
            let query = SeriesQuery {
                step_ms: Some(i64::try_from(step.as_millis()).unwrap()),
                points,
                ..query(&subject, field, from, to)
            };
            let series = store.series(query.clone()).await.unwrap();
            assert!(series.fields[field].len() <= points);
            let skipped = |start: Timestamp| !is_rolled && start < raw_from;
            if is_rolled || step == HOUR {
                let filled = same_extremes(&series, &known, (&query, step), &skipped);
                assert!(filled > 1, "{query:?}");
            }
        }
        // A field that rollups do not have is there as long as beats are.
        if let Subject::Group { .. } = subject {
            let both = SeriesQuery {
                fields: vec!["members", "lag"],
                step_ms: Some(3_600_000),
                ..query(&subject, "lag", from, to)
            };
            let series = store.series(both.clone()).await.unwrap();
            let is_gone = |start: Timestamp| start < raw_from;
            assert!(series.known_from["members"] >= raw_from);
            assert!(series.known_from["lag"] < at(2));
            same_extremes(&series, &known, (&both, HOUR), &is_gone);
            let lag = SeriesQuery {
                fields: vec!["lag"],
                ..both
            };
            same_extremes(&series, &known, (&lag, HOUR), &|_| false);
        }
    }
    running.close().await;
}

/// Beats and rollups of many random stores and questions.
#[tokio::test]
async fn no_layer_hides_a_spike() {
    for seed in 10..12 {
        let (_directory, path) = place();
        let mut random = fastrand::Rng::with_seed(seed);
        let settings = StoreSettings {
            journal_keep: 3 * HOUR,
            raw_keep: HOUR * random.u32(2..9),
            tail_bytes: 1 << random.u32(0..24),
            ..StoreSettings::default()
        };
        let running = Running::open(Some(&path), settings);
        let store = &running.store;
        let mut known = Known::new();
        let mut at = START.plus(MINUTE * random.u32(0..60));
        for _ in 0..12 {
            // No hour may be over and gone from the journal before it is sealed.
            let count = random.u32(1..60);
            append(store, &mut random, (at, MINUTE, count), &mut known).await;
            at = at.plus(MINUTE * count);
            match random.u8(..4) {
                0 => at = at.plus(MINUTE * random.u32(1..50)),
                1 => at = at.minus(MINUTE * random.u32(1..90)),
                _ => {}
            }
            let newest = known.last().unwrap().beat;
            let end = newest.minus(2 * MINUTE).aligned(HOUR);
            sealed_through(store, end).await;
        }
        let newest = known.iter().map(|it| it.beat).max().unwrap();
        for _ in 0..60 {
            let name = ["", "a\0b", "b"][random.usize(..3)];
            let subject = match random.bool() {
                true => group(name),
                false => Subject::Topic {
                    group: name.to_owned(),
                    topic: "zürich".to_owned(),
                },
            };
            let step = [5 * MINUTE, 10 * MINUTE, 30 * MINUTE, HOUR][random.usize(..4)];
            // Whole steps: what is cut off by the ends is as coarse as its layer.
            let from = START.plus(step * random.u32(0..20)).aligned(step);
            let to = from.plus(step * random.u32(1..200)).min(newest);
            let query = SeriesQuery {
                step_ms: Some(i64::try_from(step.as_millis()).unwrap()),
                ..query(&subject, "lag", from, to.aligned(step))
            };
            let to = Timestamp::from_ms(query.to.as_ms() - 1);
            if to <= from {
                continue;
            }
            let query = SeriesQuery { to, ..query };
            let series = store.series(query.clone()).await.unwrap();
            same_extremes(&series, &known, (&query, step), &|_| false);
        }
        running.close().await;
    }
}

#[tokio::test]
async fn a_damaged_block_is_a_gap_that_is_counted_unless_another_layer_has_it() {
    let (_directory, path) = place();
    let known = journaled(&path, 60).await;
    seal_until_killed(&path, SMALL, usize::MAX);
    let file = rusqlite::Connection::open(&path).unwrap();
    file.execute("UPDATE block SET bytes = x'010203' WHERE kind < 3", [])
        .unwrap();
    let of_partition = &subjects()[4];
    let to = START.plus(2 * HOUR);
    let still = Still::open(&path, |_| {});
    // As long as the frames are there nothing is lost.
    for subject in subjects() {
        let query = query(&subject, main_field(&subject), START, to);
        let series = still.store.series(query.clone()).await.unwrap();
        same_beats(&series, &known, &query, "damaged");
    }
    let health = still.store.health();
    assert!(health.corrupt_blocks > 5, "{health:?}");
    still.close();
    file.execute("DELETE FROM part WHERE id < 31 * 4096", [])
        .unwrap();
    file.execute("DELETE FROM frame WHERE seq < 31", [])
        .unwrap();
    let still = Still::open(&path, |_| {});
    let asked = query(of_partition, "lag", START, to);
    let series = still.store.series(asked).await.unwrap();
    assert_eq!(
        (series.beats, series.corrupt),
        (30, 30),
        "the second hour is not sealed"
    );
    let asked = query(&group("b"), "lag", START, to);
    let series = still.store.series(asked.clone()).await.unwrap();
    assert_eq!((series.beats, series.corrupt), (30, 30));
    assert_eq!(series.stretches[0].layer, Layer::FiveMinutes);
    let steps = (&asked, 5 * MINUTE);
    assert!(same_extremes(&series, &known, steps, &|_| false) > 12);
    still.close();
}

#[tokio::test]
async fn a_damaged_frame_is_a_gap_that_is_counted() {
    let (_directory, path) = place();
    let mut known = journaled(&path, 10).await;
    let file = rusqlite::Connection::open(&path).unwrap();
    file.execute("UPDATE part SET bytes = x'010203' WHERE id = 3 * 4096", [])
        .unwrap();
    let broken = known.remove(2);
    let still = Still::open(&path, |_| {});
    for subject in subjects() {
        let field = main_field(&subject);
        let asked = query(&subject, field, START, START.plus(HOUR));
        let series = still.store.series(asked.clone()).await.unwrap();
        assert_eq!((series.beats, series.corrupt), (9, 1));
        let at = series.fields[field].iter().find(|it| it.at == broken.beat);
        assert_eq!(at.map(|it| it.value), Some(None), "a gap at its beat");
        let whole = Series {
            corrupt: 0,
            ..series
        };
        same_beats(&whole, &known, &asked, "the others");
    }
    still.close();
}

#[tokio::test]
async fn a_question_is_cut_off_by_its_limits() {
    let (_directory, path) = place();
    let known = journaled(&path, 60).await;
    seal_until_killed(&path, SMALL, usize::MAX);
    let still = Still::open(&path, |past| past.limits.time = Duration::ZERO);
    for subject in subjects() {
        let asked = query(&subject, main_field(&subject), START, START.plus(2 * HOUR));
        assert_eq!(still.store.series(asked).await, Err(QueryError::TimedOut));
    }
    still.close();
    // A group that is larger than memory may be: its rollups answer, or nothing does.
    let still = Still::open(&path, |past| past.limits.blocks = 0);
    let end = Timestamp::from_ms(START.plus(HOUR).as_ms() - 1);
    let asked = query(&group("b"), "lag", START, end);
    let series = still.store.series(asked.clone()).await.unwrap();
    assert_eq!(series.stretches[0].layer, Layer::FiveMinutes);
    same_extremes(&series, &known, (&asked, 5 * MINUTE), &|_| false);
    let asked = query(&group("b"), "members", START, end);
    assert_eq!(still.store.series(asked).await, Err(QueryError::TooLarge));
    still.close();
}

/// A question that would never be answered holds a read transaction until it is cut off: beats go on,
/// and the file stays below its limit.
#[tokio::test]
async fn a_question_that_never_ends_is_cut_off_and_stops_no_beat() {
    const MAX: u64 = 64 << 20;
    const ENDLESS: &str = "WITH RECURSIVE endless (n) AS
        (SELECT seq FROM frame UNION ALL SELECT n + 1 FROM endless) SELECT count(*) FROM endless";
    let (_directory, path) = place();
    let settings = StoreSettings {
        max_size: MAX,
        ..StoreSettings::default()
    };
    let still = Still::with(&path, settings, |past| past.limits.time = MINUTE / 60);
    let store = still.store.clone();
    let mut random = fastrand::Rng::with_seed(8);
    let mut known = Known::new();
    append(&store, &mut random, (START, STEP, 1), &mut known).await;
    let mut question = Box::pin(store.ask(|past| {
        past.open()?;
        let history = past.history.as_mut().expect("there is a file");
        history.at_once(|history| {
            let endless = history
                .connection()
                .query_row(ENDLESS, [], |row| row.get(0));
            Ok::<i64, QueryError>(endless?)
        })
    }));
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
    let mut beats = 1;
    let answer = loop {
        if let Some(answer) = (&mut question).now_or_never() {
            break answer;
        }
        let at = START.plus(STEP * beats);
        append(&store, &mut random, (at, STEP, 1), &mut known).await;
        beats += 1;
        let bytes = size(&path) + size(&path.with_extension("db-wal"));
        assert!(bytes <= MAX, "beat {beats}: {bytes} bytes");
    };
    assert_eq!(answer, Err(QueryError::TimedOut));
    assert!(beats > 1, "beats went on meanwhile");
    drop(question);
    // Its transaction is over: everything is on the disk.
    let at = START.plus(STEP * beats);
    append(&store, &mut random, (at, STEP, 1), &mut known).await;
    let health = store.health();
    assert!(health.durable && health.unstored_frames == 0, "{health:?}");
    assert_eq!(health.lost_frames, 0);
    let asked = query(&Subject::Cluster, "lag", at, at);
    assert_eq!(store.series(asked).await.unwrap().beats, 1);
    drop(store);
    still.close();
}
