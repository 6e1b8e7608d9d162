//! Questions about the past, through the handle: from the tail, from the file, and from neither.

mod layers;

use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt;

use super::*;
use crate::clock::Timestamp;
use crate::lag::evaluation::{Evaluation, Status};
use crate::points::{Batch, Detail, Measurement, Value, sample};
use crate::store::frame::{Body, Frame};
use crate::store::tests::Running;
use crate::store::{StoreSettings, tests};

/// Beats that are appended.
const BEATS: i64 = 30;

/// How the store keeps the beats.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Memory,
    Tail,
    File,
}

const PLACES: [Place; 3] = [Place::Memory, Place::Tail, Place::File];

/// A store with [`BEATS`] beats, and the frames as they were appended.
async fn filled(place: Place, path: &Path) -> (Running, Vec<Arc<Frame>>) {
    let settings = StoreSettings {
        // Of the file's frames the tail holds the newest only.
        tail_bytes: if place == Place::File { 1 } else { 64 << 20 },
        ..StoreSettings::default()
    };
    let running = Running::open((place != Place::Memory).then_some(path), settings);
    let mut frames = Vec::new();
    for seq in 1..=BEATS {
        let evaluation = tests::evaluation(seq);
        // A group that is bad now and then.
        let mut evaluation = Evaluation::clone(&evaluation);
        let payments = Arc::make_mut(&mut evaluation.groups[1]);
        payments.status = if seq % 5 == 0 {
            Status::Warn
        } else {
            Status::Err
        };
        let other = tests::renamed(&evaluation, "other");
        let beat = sample::beat_of(seq);
        let appended = running
            .store
            .append(vec![Arc::new(evaluation), other], Vec::new(), beat)
            .await
            .unwrap();
        frames.extend(appended.frames);
    }
    (running, frames)
}

fn all(query: Subject, fields: Vec<&'static str>) -> SeriesQuery {
    SeriesQuery {
        cluster: "prod".to_owned(),
        subject: query,
        fields,
        from: sample::beat_of(1),
        to: sample::beat_of(BEATS),
        step_ms: None,
        points: 1000,
    }
}

/// What the frames' points say: the sink's view of the same thing.
fn expected(
    frames: &[Arc<Frame>],
    measurement: Measurement,
    tags: &[(&str, &str)],
) -> Vec<(Timestamp, Option<f64>, Option<f64>)> {
    let mut found = Vec::new();
    for frame in frames {
        let batch = Batch::of(frame, Detail::Partition);
        for point in batch
            .iter()
            .filter(|point| point.measurement() == measurement)
        {
            let mut is_it = 0;
            point.tags(&mut |name, value| {
                is_it += usize::from(tags.contains(&(name, value)));
            });
            if is_it != tags.len() {
                continue;
            }
            let (mut lag, mut age) = (None, None);
            point.fields(&mut |name, value| match (name, value) {
                ("lag" | "end_offset", Value::Int(value)) if lag.is_none() => {
                    lag = Some(value as f64);
                }
                ("time_lag_s" | "begin_offset", Value::Float(value)) => {
                    age = Some(f64::from(value))
                }
                ("begin_offset", Value::Int(value)) => age = Some(value as f64),
                _ => {}
            });
            found.push((frame.beat, lag, age));
        }
    }
    found
}

#[tokio::test]
async fn a_series_is_what_the_sinks_were_told() {
    for place in PLACES {
        let (_directory, path) = tests::place();
        let (running, frames) = filled(place, &path).await;
        let text = str::to_owned;
        for (subject, tags) in [
            (Subject::Cluster, vec![]),
            (
                Subject::Group {
                    group: text("payments"),
                },
                vec![("group", "payments")],
            ),
            (
                Subject::Group {
                    group: text(sample::HOSTILE),
                },
                vec![("group", sample::HOSTILE)],
            ),
            (
                Subject::Topic {
                    group: text("payments"),
                    topic: text("orders"),
                },
                vec![("group", "payments"), ("topic", "orders")],
            ),
            (
                Subject::Partition {
                    group: text("payments"),
                    topic: text("orders"),
                    partition: 0,
                },
                vec![
                    ("group", "payments"),
                    ("topic", "orders"),
                    ("partition", "0"),
                ],
            ),
            (
                Subject::Log {
                    topic: text("orders"),
                    partition: 0,
                },
                vec![("topic", "orders"), ("partition", "0")],
            ),
        ] {
            let measurement = subject.measurement();
            let fields = match measurement {
                Measurement::TopicOffset => vec!["end_offset", "begin_offset"],
                Measurement::Cluster => vec!["lag"],
                Measurement::Group
                | Measurement::Topic
                | Measurement::Partition
                | Measurement::Status
                | Measurement::Sink => vec!["lag", "time_lag_s"],
            };
            let tags = [&tags[..], &[("cluster", "prod")]].concat();
            let expected = expected(&frames, measurement, &tags);
            assert_eq!(
                expected.len(),
                usize::try_from(BEATS).unwrap(),
                "{subject:?}"
            );
            let series = running
                .store
                .series(all(subject.clone(), fields.clone()))
                .await
                .unwrap();
            assert_eq!(series.beats, expected.len());
            for (field, column) in fields.iter().zip([1, 2]) {
                let wanted = expected.iter().map(|row| Sample {
                    at: row.0,
                    value: if column == 1 { row.1 } else { row.2 },
                });
                let wanted: Vec<Sample> = wanted.collect();
                assert_eq!(
                    series.fields[field], wanted,
                    "{place:?} {subject:?} {field}"
                );
                assert!(
                    wanted.iter().any(|it| it.value.is_some()),
                    "{subject:?} {field}"
                );
            }
        }
        running.close().await;
    }
}

#[tokio::test]
async fn what_is_not_there_is_a_gap() {
    let (_directory, path) = tests::place();
    let (running, _) = filled(Place::File, &path).await;
    let ask = |subject| running.store.series(all(subject, vec!["lag"]));
    let nobody = Subject::Group {
        group: "nobody".to_owned(),
    };
    let series = ask(nobody).await.unwrap();
    assert_eq!(series.beats, 30);
    assert!(
        series.fields["lag"]
            .iter()
            .all(|sample| sample.value.is_none())
    );
    let elsewhere = SeriesQuery {
        cluster: "no such cluster".to_owned(),
        ..all(Subject::Cluster, vec!["lag"])
    };
    assert_eq!(
        running.store.series(elsewhere).await.unwrap().fields["lag"],
        []
    );
    running.close().await;
}

#[tokio::test]
async fn missing_beats_are_one_sample_without_value() {
    let running = Running::open(None, StoreSettings::default());
    for seq in [1, 2, 3, 20, 21] {
        tests::append(&running.store, seq).await;
    }
    let series = running
        .store
        .series(all(Subject::Cluster, vec!["lag"]))
        .await
        .unwrap();
    let shown: Vec<(i64, bool)> = series.fields["lag"]
        .iter()
        .map(|it| {
            (
                it.at.ms_since(sample::beat_of(1)) / 10_000 + 1,
                it.value.is_some(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            (1, true),
            (2, true),
            (3, true),
            (4, false),
            (20, true),
            (21, true)
        ]
    );
    running.close().await;
}

/// All changes a query finds, page by page.
async fn changes(store: &Store, query: &ChangeQuery) -> Vec<PastChange> {
    let mut found: Vec<PastChange> = Vec::new();
    loop {
        let query = ChangeQuery {
            behind: found.last().map(|last| last.place),
            ..query.clone()
        };
        let page = store.status_changes(query).await.unwrap();
        if page.is_empty() {
            return found;
        }
        found.extend(page);
    }
}

#[tokio::test]
async fn status_changes_are_those_of_the_frames_page_by_page() {
    for place in PLACES {
        let (_directory, path) = tests::place();
        let (running, frames) = filled(place, &path).await;
        let mut appended: Vec<_> = frames
            .iter()
            .flat_map(|frame| match &frame.body {
                Body::Evaluation { changes, .. } => changes.clone(),
                Body::Sinks(_) => Vec::new(),
            })
            .collect();
        appended.reverse();
        let query = ChangeQuery {
            cluster: None,
            group: None,
            topic: None,
            partition: None,
            groups_only: false,
            to_status: None,
            from: sample::beat_of(1),
            to: sample::beat_of(BEATS),
            behind: None,
            limit: 7,
        };
        let found = changes(&running.store, &query).await;
        let found: Vec<_> = found.into_iter().map(|past| past.change).collect();
        assert_eq!(found, appended, "{place:?}: all of them");
        let text = |name: &str| Some(name.to_owned());
        type Wanted = fn(&crate::store::frame::StatusChange) -> bool;
        let narrowed: [(ChangeQuery, Wanted); 6] = [
            (
                ChangeQuery {
                    cluster: text("other"),
                    ..query.clone()
                },
                |it| it.cluster.as_str() == "other",
            ),
            (
                ChangeQuery {
                    group: text("payments"),
                    ..query.clone()
                },
                |it| it.group.as_str() == "payments",
            ),
            (
                ChangeQuery {
                    topic: text("orders"),
                    partition: Some(0),
                    ..query.clone()
                },
                |it| {
                    it.partition
                        .as_ref()
                        .is_some_and(|(topic, at)| topic.as_str() == "orders" && *at == 0)
                },
            ),
            (
                ChangeQuery {
                    groups_only: true,
                    ..query.clone()
                },
                |it| it.partition.is_none(),
            ),
            (
                ChangeQuery {
                    to_status: Some(Status::Warn),
                    ..query.clone()
                },
                |it| it.to == Status::Warn,
            ),
            (
                ChangeQuery {
                    from: sample::beat_of(5),
                    to: sample::beat_of(9),
                    ..query.clone()
                },
                |it| (sample::beat_of(5)..=sample::beat_of(9)).contains(&it.beat),
            ),
        ];
        for (query, is_wanted) in narrowed {
            let found = changes(&running.store, &query).await;
            let found: Vec<_> = found.into_iter().map(|past| past.change).collect();
            let wanted: Vec<_> = appended
                .iter()
                .filter(|it| is_wanted(it))
                .cloned()
                .collect();
            assert_eq!(found, wanted, "{place:?} {query:?}");
            assert!(!wanted.is_empty(), "{query:?}");
        }
        running.close().await;
    }
}

#[tokio::test]
async fn more_questions_than_may_wait_are_told_to_come_back() {
    // Nobody answers: the thread is not started.
    let opened = Store::open(None, StoreSettings::default()).unwrap();
    let ask = || opened.store.series(all(Subject::Cluster, vec!["lag"]));
    let mut waiting = Vec::new();
    for _ in 0..WAITING {
        let mut question = Box::pin(ask());
        assert_eq!((&mut question).now_or_never(), None);
        waiting.push(question);
    }
    assert_eq!(ask().await, Err(QueryError::Busy));
    drop(opened.historian);
    for question in waiting {
        assert_eq!(question.await, Err(QueryError::Closed));
    }
    assert_eq!(ask().await, Err(QueryError::Closed));
}
