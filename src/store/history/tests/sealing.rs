//! Sealing through the store.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::world;
use crate::clock::Timestamp;
use crate::lag::evaluation::Evaluation;
use crate::lag::ids::ClusterName;
use crate::store::history::file::Step;
use crate::store::history::read::{History, ReadError, Sealed};
use crate::store::history::rollup::{FIVE_MINUTES, Subject};
use crate::store::history::seal::{Limits, Sealer};
use crate::store::history::{HOUR, begin, write_slice};
use crate::store::tests::{Running, place, unlocked, until};
use crate::store::{Command, SealWork, Store, StoreSettings};

pub(in crate::store) const START: Timestamp = Timestamp::from_secs(1_767_225_600);
pub(in crate::store) const STEP: Duration = Duration::from_secs(120);

async fn append(store: &Store, evaluation: &Arc<Evaluation>) {
    let beat = evaluation.beat;
    let appended = store
        .append(vec![Arc::clone(evaluation)], Vec::new(), beat)
        .await;
    assert!(appended.unwrap().skipped.is_empty());
}

/// What the blocks of an hour have of a cluster, against the evaluations that were appended.
#[track_caller]
fn same(history: &mut History, sealed: &Sealed, expected: &[Arc<Evaluation>]) {
    let cluster = history.cluster(sealed).unwrap();
    assert_eq!(cluster.len(), expected.len());
    for ((beat, phase, summary), evaluation) in cluster.iter().zip(expected) {
        assert_eq!((*beat, *phase), (evaluation.beat, evaluation.phase));
        assert_eq!(*summary, evaluation.summary);
    }
    let mut names: Vec<_> = (expected.iter().flat_map(|e| &e.groups))
        .map(|group| Arc::clone(group.id.shared()))
        .collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(history.group_names(sealed).unwrap(), names);
    for name in &names {
        let of_group = expected
            .iter()
            .filter_map(|e| Some((e.beat, e.group(name)?)));
        let rows = history.group(sealed, name).unwrap();
        assert!(
            rows.iter()
                .map(|(beat, group)| (*beat, group))
                .eq(of_group.clone().map(|(beat, group)| (beat, &**group))),
            "{name:?}"
        );
        for topic in ["", "a\0b", "zürich"] {
            let of_series = of_group.clone().filter_map(|(beat, group)| {
                let topic = group.topics.iter().find(|t| t.topic.as_str() == topic)?;
                Some((beat, topic.partitions.get(1)?.clone()))
            });
            let rows = history.partition(sealed, (name, topic, 1)).unwrap();
            assert_eq!(rows, of_series.collect::<Vec<_>>(), "{name:?} {topic:?}");
        }
    }
    let mut names: Vec<_> = (expected.iter().flat_map(|e| &e.topics))
        .map(|topic| topic.topic.clone())
        .collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let of_topic = expected
            .iter()
            .filter_map(|e| Some((e.beat, e.topic(name.as_str())?)));
        let rows = history.topic(sealed, name.as_str()).unwrap();
        assert!(
            rows.iter()
                .map(|(beat, topic)| (*beat, topic))
                .eq(of_topic.map(|(beat, topic)| (beat, &**topic))),
            "{name:?}"
        );
    }
}

fn hours(history: &History, cluster: &str) -> Vec<Sealed> {
    let (from, to) = (START, START.plus(100 * HOUR));
    history
        .sealed(&ClusterName::new(cluster), from, to)
        .unwrap()
}

fn in_hour(evaluations: &[Arc<Evaluation>], hour: Timestamp) -> Vec<Arc<Evaluation>> {
    let within = |e: &&Arc<Evaluation>| e.beat >= hour && e.beat < hour.plus(HOUR);
    evaluations.iter().filter(within).cloned().collect()
}

#[tokio::test]
async fn what_is_sealed_is_what_was_journaled() {
    let (_directory, path) = place();
    let running = Running::open(Some(&path), StoreSettings::default());
    let mut random = fastrand::Rng::with_seed(5);
    let mut appended = [Vec::new(), Vec::new()];
    for n in 0..95 {
        let beat = START.plus(STEP * n);
        for (list, cluster) in appended.iter_mut().zip(["a", "b"]) {
            let evaluation = world::evaluation(&mut random, cluster, beat);
            append(&running.store, &evaluation).await;
            list.push(evaluation);
        }
    }
    let end = START.plus(3 * HOUR);
    until("three hours are sealed", || {
        running.store.health().sealed_through == Some(end)
    })
    .await;
    let mut history = running.store.history().unwrap().unwrap();
    for (list, cluster) in appended.iter().zip(["a", "b"]) {
        let sealed = hours(&history, cluster);
        assert_eq!(sealed.len(), 3);
        for sealed in sealed {
            same(&mut history, &sealed, &in_hour(list, sealed.hour));
        }
    }
    drop(history);
    running.close().await;
}

/// Fills a file with beats of one cluster; nothing is sealed.
pub(in crate::store) async fn journaled(path: &Path, beats: u32) -> Vec<Arc<Evaluation>> {
    let opened = Store::open(Some(path), StoreSettings::default()).unwrap();
    let (store, writer) = (opened.store, opened.writer);
    drop((opened.sealer, opened.loader));
    let writing = std::thread::spawn(move || writer.run());
    let mut random = fastrand::Rng::with_seed(9);
    let mut appended = Vec::new();
    for n in 0..beats {
        let evaluation = world::evaluation(&mut random, "a", START.plus(STEP * n));
        append(&store, &evaluation).await;
        appended.push(evaluation);
    }
    store.close().await;
    drop(store);
    writing.join().unwrap();
    appended
}

/// What a sealer had written before it was killed, or done.
#[derive(Default)]
pub(in crate::store) struct Asked {
    pub(in crate::store) writes: usize,
    /// Rollups of one transaction, at most.
    rows: usize,
    pub(super) is_done: bool,
}

pub(in crate::store) const SMALL: Limits = Limits {
    rows: 100,
    logs: 60,
    slice: 2000,
};

/// Runs a sealer on the file until everything is sealed, or it has had `writes` things written; the last one is on disk, but it does not learn of it.
pub(in crate::store) fn seal_until_killed(path: &Path, limits: Limits, writes: usize) -> Asked {
    let opened = unlocked(|| Store::open(Some(path), StoreSettings::default()));
    let (commands, queue) = std::sync::mpsc::sync_channel(1);
    let (alive, stop) = std::sync::mpsc::sync_channel(1);
    let shared = Arc::clone(&opened.store.shared);
    let mut sealer = Sealer::new(shared, commands, stop).unwrap();
    sealer.limits = limits;
    let sealing = std::thread::spawn(move || sealer.run());
    let mut connection = crate::store::schema::open(path).unwrap();
    let mut asked = Asked::default();
    while asked.writes < writes {
        // When an hour is done there may be another one.
        let patience = Duration::from_secs(if asked.is_done { 2 } else { 30 });
        let command = match queue.recv_timeout(patience) {
            Ok(command) => command,
            Err(_) if asked.is_done => break,
            Err(error) => panic!("the sealer goes on: {error}"),
        };
        let Command::Seal { work, reply } = command else {
            panic!("the sealer only seals");
        };
        asked.writes += 1;
        let done = match work {
            SealWork::Begin(hour) => {
                asked.is_done = false;
                begin(&mut connection, &hour).unwrap()
            }
            SealWork::Names(hour, used) => {
                let transaction = connection.transaction().unwrap();
                for used in used {
                    crate::store::history::stamp(&transaction, used, hour).unwrap();
                }
                transaction.commit().unwrap();
                0
            }
            SealWork::Slice(slice) => {
                asked.rows = asked.rows.max(slice.rows.len());
                asked.is_done = slice.after.step == Step::Done;
                write_slice(&mut connection, &slice).unwrap();
                0
            }
        };
        if asked.writes < writes {
            reply.send(Ok(done)).unwrap();
        }
    }
    drop((queue, alive));
    sealing.join().unwrap();
    asked
}

/// Two beats of thousands of small groups: all of them fit one block, their rollups do not fit one
/// transaction.
#[tokio::test]
async fn rollups_are_written_in_bounded_transactions() {
    let (_directory, path) = place();
    let opened = Store::open(Some(&path), StoreSettings::default()).unwrap();
    let (store, writer) = (opened.store, opened.writer);
    drop((opened.sealer, opened.loader, opened.historian));
    let writing = std::thread::spawn(move || writer.run());
    for minutes in [0, 30, 70] {
        let evaluation = Arc::new(Evaluation {
            beat: START.plus(Duration::from_secs(60) * minutes),
            ..(*crate::store::sample::busy(1, 3000, 1)).clone()
        });
        append(&store, &evaluation).await;
    }
    store.close().await;
    drop(store);
    writing.join().unwrap();
    let asked = seal_until_killed(&path, Limits::default(), usize::MAX);
    // A group, its topic and the topic have a row for each beat and one for the hour.
    let file = rusqlite::Connection::open(&path).unwrap();
    let count: u32 = file
        .query_row("SELECT count(*) FROM rollup_5m", [], |row| row.get(0))
        .unwrap();
    assert_eq!(count, 3 * 3000 * 2);
    assert!((500..=2000).contains(&asked.rows), "{} at once", asked.rows);
    assert!(asked.writes > 12, "{}", asked.writes);
}

#[tokio::test]
async fn a_sealer_that_is_killed_behind_any_write_neither_loses_nor_doubles() {
    let (_directory, path) = place();
    let appended = journaled(&path, 40).await;
    let copy = |to: &str| {
        let to = path.with_file_name(to);
        std::fs::copy(&path, &to).unwrap();
        to
    };
    let all = seal_until_killed(&copy("whole.db"), SMALL, usize::MAX).writes;
    assert!(all > 20, "there are many transactions: {all}");
    // Killed once behind each write, then left alone; and killed again and again.
    let mut files = vec![("whole.db".to_owned(), 0)];
    files.extend((1..all).step_by(9).map(|n| (format!("{n}.db"), n)));
    files.push(("again.db".to_owned(), 1));
    for (name, writes) in files {
        let path = path.with_file_name(&name);
        if writes > 0 {
            copy(&name);
            seal_until_killed(&path, SMALL, writes);
        }
        if name == "again.db" {
            while !seal_until_killed(&path, SMALL, 2).is_done {}
        }
        let running = Running::open(Some(&path), StoreSettings::default());
        let end = Some(START.plus(HOUR));
        until("the hour is sealed", || {
            running.store.health().sealed_through == end
        })
        .await;
        let mut history = running.store.history().unwrap().unwrap();
        let sealed = hours(&history, "a");
        assert_eq!(sealed.len(), 1);
        same(&mut history, &sealed[0], &in_hour(&appended, START));
        drop(history);
        running.close().await;
    }
}

/// A clock that is set back by half an hour: its hour is sealed a second time, with the later frames.
#[tokio::test]
async fn an_hour_that_comes_twice_is_sealed_twice() {
    let (_directory, path) = place();
    let running = Running::open(Some(&path), StoreSettings::default());
    let mut random = fastrand::Rng::with_seed(6);
    let mut evaluations = Vec::new();
    let store = &running.store;
    let minutes = |n: u32| START.plus(Duration::from_secs(60) * n);
    for n in 0..70 {
        let evaluation = world::evaluation(&mut random, "a", minutes(n));
        append(store, &evaluation).await;
        evaluations.push(evaluation);
    }
    until("it is sealed", || {
        store.health().sealed_through == Some(START.plus(HOUR))
    })
    .await;
    // Beats that go back are left out for five minutes.
    let mut later = Vec::new();
    for n in 30..130 {
        let evaluation = world::evaluation(&mut random, "a", minutes(n));
        let beat = evaluation.beat;
        let appended = store
            .append(vec![Arc::clone(&evaluation)], Vec::new(), beat)
            .await;
        if appended.unwrap().skipped.is_empty() {
            later.push(evaluation);
        }
    }
    assert_eq!(later.len(), 95);
    until("it is sealed", || {
        store.health().sealed_through == Some(START.plus(2 * HOUR))
    })
    .await;
    let mut history = store.history().unwrap().unwrap();
    let sealed = hours(&history, "a");
    let found: Vec<_> = sealed.iter().map(|sealed| sealed.hour).collect();
    assert_eq!(found, [START, START, START.plus(HOUR)]);
    same(&mut history, &sealed[0], &in_hour(&evaluations, START));
    same(&mut history, &sealed[1], &in_hour(&later, START));
    // The ten minutes before the clock was set back, and the hour that came behind it.
    let mut both = in_hour(&evaluations, START.plus(HOUR));
    both.extend(in_hour(&later, START.plus(HOUR)));
    same(&mut history, &sealed[2], &both);
    drop(history);
    running.close().await;
}

/// A clock that is set an hour ahead, and an hour back again: a gap, then an hour a second time.
#[tokio::test]
async fn an_hours_step_of_the_clock_in_both_directions_loses_and_doubles_nothing() {
    let (_directory, path) = place();
    let running = Running::open(Some(&path), StoreSettings::default());
    let store = &running.store;
    let mut random = fastrand::Rng::with_seed(8);
    let minutes = |n: u32| START.plus(Duration::from_secs(60) * n);
    let mut runs = Vec::new();
    for (range, through) in [(0..70, 60), (130..200, 180), (140..270, 240)] {
        let mut run = Vec::new();
        for n in range {
            let evaluation = world::evaluation(&mut random, "a", minutes(n));
            let beat = evaluation.beat;
            let appended = store.append(vec![Arc::clone(&evaluation)], Vec::new(), beat);
            if appended.await.unwrap().skipped.is_empty() {
                run.push(evaluation);
            }
        }
        until("it is sealed", || {
            store.health().sealed_through == Some(minutes(through))
        })
        .await;
        runs.push(run);
    }
    let [before, ahead, back] = &runs[..] else {
        panic!("three runs");
    };
    assert_eq!(store.health().skipped_frames, 5);
    assert_eq!((before.len(), ahead.len(), back.len()), (70, 70, 125));
    let mut twice = in_hour(ahead, minutes(180));
    twice.extend(in_hour(back, minutes(180)));
    let expected = [
        (0, in_hour(before, START)),
        (60, in_hour(before, minutes(60))),
        (120, in_hour(ahead, minutes(120))),
        (120, in_hour(back, minutes(120))),
        (180, twice),
    ];
    let mut history = store.history().unwrap().unwrap();
    let sealed = hours(&history, "a");
    assert_eq!(sealed.len(), expected.len());
    for (sealed, (minute, evaluations)) in sealed.iter().zip(expected) {
        assert_eq!(sealed.hour, minutes(minute));
        same(&mut history, sealed, &evaluations);
    }
    drop(history);
    running.close().await;
}

#[tokio::test]
async fn a_damaged_frame_is_left_out_and_counted_and_a_damaged_block_is_a_gap() {
    let (_directory, path) = place();
    let appended = journaled(&path, 40).await;
    let file = rusqlite::Connection::open(&path).unwrap();
    // The head of the third frame.
    file.execute("UPDATE part SET bytes = x'010203' WHERE id = 3 * 4096", [])
        .unwrap();
    drop(file);
    let running = Running::open(Some(&path), StoreSettings::default());
    let end = Some(START.plus(HOUR));
    until("the hour is sealed", || {
        running.store.health().sealed_through == end
    })
    .await;
    assert_eq!(running.store.health().seal_skipped_frames, 1);
    let mut history = running.store.history().unwrap().unwrap();
    let mut expected = in_hour(&appended, START);
    expected.remove(2);
    let sealed = hours(&history, "a").remove(0);
    same(&mut history, &sealed, &expected);
    let file = rusqlite::Connection::open(&path).unwrap();
    file.execute("UPDATE block SET bytes = x'010203' WHERE kind = 2", [])
        .unwrap();
    assert!(matches!(
        history.topic(&sealed, "a"),
        Err(ReadError::Corrupt(_))
    ));
    assert_eq!(running.store.health().corrupt_blocks, 1);
    drop((history, file));
    running.close().await;
}

/// Everything there is under one limit: the oldest blocks go first, frames and rollups stay.
#[tokio::test]
async fn the_oldest_hours_go_first_when_the_file_is_full() {
    const MAX: u64 = 3 << 20;
    let (_directory, path) = place();
    let settings = StoreSettings {
        max_size: MAX,
        journal_keep: 2 * HOUR,
        ..StoreSettings::default()
    };
    let running = Running::open(Some(&path), settings);
    let store = &running.store;
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
    let template = crate::store::sample::busy(1, 4, 50);
    let minutes = |n: u32| START.plus(Duration::from_secs(60) * n);
    let mut last = 0;
    // Enough for three times the room.
    for n in 0..24 * 60 {
        let evaluation = Arc::new(Evaluation {
            beat: minutes(n),
            ..(*crate::store::sample::busy(i64::from(n), 4, 50)).clone()
        });
        append(store, &evaluation).await;
        let bytes = size(&path) + size(&path.with_extension("db-wal"));
        assert!(bytes <= MAX, "beat {n}: {bytes} bytes");
        if n % 60 == 5 && n > 60 {
            let through = Some(minutes(n - 5));
            until("the hour is sealed", || {
                store.health().sealed_through == through
            })
            .await;
        }
        last = n;
    }
    let health = store.health();
    assert!(health.durable && health.lost_frames == 0, "{health:?}");
    assert_eq!(health.seal_skipped_frames, 0);
    let mut history = store.history().unwrap().unwrap();
    let cluster = &template.cluster;
    let sealed = history.sealed(cluster, START, minutes(last)).unwrap();
    let all: Vec<_> = (0..23).map(|n| START.plus(HOUR * n)).collect();
    let found: Vec<_> = sealed.iter().map(|sealed| sealed.hour).collect();
    assert!((1..22).contains(&found.len()), "{found:?}");
    assert!(all.ends_with(&found), "the newest are there: {found:?}");
    let group = &template.groups[0].id;
    for sealed in &sealed {
        assert_eq!(history.group(sealed, group.as_str()).unwrap().len(), 60);
    }
    // Rollups outlive the beats they were made of.
    let subject = Subject::Group(group.clone());
    let range = (START, minutes(last));
    let rows = history.rollups(cluster, &subject, HOUR, range).unwrap();
    let starts: Vec<_> = rows.iter().map(|(start, _)| *start).collect();
    assert_eq!(starts, all);
    assert!(rows.iter().all(|(_, rollup)| rollup.beats == 60));
    let rows = history
        .rollups(cluster, &subject, FIVE_MINUTES, range)
        .unwrap();
    assert_eq!(rows.len(), 23 * 12);
    drop(history);
    running.close().await;
}
