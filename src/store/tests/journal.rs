//! What is appended, what is left out, and what changes.

use super::*;
use crate::store::frame::StatusChange;

#[tokio::test]
async fn a_beat_of_several_clusters_and_the_sinks_is_journaled_in_order() {
    let running = Running::open(None, StoreSettings::default());
    let one = evaluation(1);
    let appended = running
        .store
        .append(
            vec![renamed(&one, "b"), renamed(&one, "a")],
            vec![sink_row("influx")],
            sample::beat_of(1),
        )
        .await
        .unwrap();
    let seqs: Vec<i64> = appended.frames.iter().map(|frame| frame.seq.0).collect();
    assert_eq!(seqs, [1, 2, 3]);
    assert_eq!(appended.frames[2].rows, 1, "one row a sink");
    assert!(matches!(appended.frames[2].body, Body::Sinks(_)));
    running.close().await;
}

/// Beats of one cluster in seconds; which of them are journaled.
#[tokio::test]
async fn a_clock_that_steps_back_leaves_beats_out_for_five_minutes() {
    let running = Running::open(None, StoreSettings::default());
    let mut journaled = Vec::new();
    for at in [3600, 3610, 10, 300, 309, 310, 320] {
        let evaluation = Arc::new(Evaluation {
            beat: Timestamp::from_secs(at),
            ..(*evaluation(1)).clone()
        });
        let beat = evaluation.beat;
        let sinks = vec![sink_row("influx")];
        let appended = running
            .store
            .append(vec![evaluation], sinks, beat)
            .await
            .unwrap();
        assert_eq!(appended.frames.is_empty(), !appended.skipped.is_empty());
        if appended.skipped.is_empty() {
            journaled.push(at);
        }
    }
    assert_eq!(journaled, [3600, 3610, 310, 320]);
    assert_eq!(running.store.health().skipped_frames, 3);
    running.close().await;
}

/// Groups, each with the statuses of its partitions.
type World<'a> = &'a [(&'a str, &'a [Status])];

/// An evaluation of these groups at beat number `seq`.
fn world(seq: i64, groups: World<'_>) -> Arc<Evaluation> {
    use crate::lag::evaluation::{GroupEvaluation, PartitionEvaluation, PartitionStatus};
    let template = sample::small(seq);
    let template = evaluation_of(&template);
    let blank = &template.groups[0];
    let group = |id: &str, statuses: &[Status]| {
        let row = |status: &Status| PartitionEvaluation {
            status: (*status != Status::Ok).then_some(PartitionStatus {
                status: *status,
                reason: None,
            }),
            ..PartitionEvaluation::default()
        };
        let worst = statuses.iter().copied().max().unwrap_or(Status::Ok);
        let worst_at = statuses.iter().position(|status| *status == worst);
        let mut group = GroupEvaluation {
            id: crate::lag::ids::GroupId::new(id),
            status: worst.for_group(),
            warming: false,
            topics: vec![crate::lag::evaluation::GroupTopic {
                topic: crate::lag::ids::TopicName::new("t"),
                partitions: statuses.iter().map(row).collect(),
            }],
            ..(**blank).clone()
        };
        group.totals.worst = worst_at
            .filter(|_| worst != Status::Ok)
            .map(|at| (0, u32::try_from(at).unwrap()));
        Arc::new(group)
    };
    Arc::new(Evaluation {
        groups: groups.iter().map(|(id, s)| group(id, s)).collect(),
        ..(*template).clone()
    })
}

fn says(change: &StatusChange) -> String {
    let place = change
        .partition
        .as_ref()
        .map_or(String::new(), |(topic, at)| format!("/{topic}/{at}"));
    format!("{}{place} {}>{}", change.group, change.from, change.to)
}

#[tokio::test]
async fn changes_are_against_the_last_journaled_evaluation() {
    use Status::{Ok, Stall, Stop, Warn};
    let steps: [(&str, World<'_>, &[&str]); 7] = [
        (
            "what is fine from the start is no change, what is bad is one",
            &[("a", &[Ok, Ok]), ("b", &[Ok, Stop])],
            &["b NOTFOUND>ERR", "b/t/1 OK>STOP"],
        ),
        ("nothing new", &[("a", &[Ok, Ok]), ("b", &[Ok, Stop])], &[]),
        (
            "a partition joins; the group is as bad as before",
            &[("a", &[Ok, Ok]), ("b", &[Warn, Stop])],
            &["b/t/0 OK>WARN"],
        ),
        (
            "from bad to bad, and back",
            &[("a", &[Ok, Warn]), ("b", &[Ok, Stall])],
            &[
                "a OK>WARN",
                "a/t/1 OK>WARN",
                "b/t/0 WARN>OK",
                "b/t/1 STOP>STALL",
            ],
        ),
        (
            "a partition is gone",
            &[("a", &[Ok]), ("b", &[Ok, Stall])],
            &["a WARN>OK", "a/t/1 WARN>NOTFOUND"],
        ),
        ("a bad group is gone", &[("a", &[Ok])], &["b ERR>NOTFOUND"]),
        ("a fine group is gone", &[], &[]),
    ];
    let (_directory, path) = place();
    for (seq, (why, groups, expected)) in (1..).zip(steps) {
        // A restart before every beat changes nothing.
        let running = Running::open(Some(&path), StoreSettings::default());
        let evaluation = world(seq, groups);
        let beat = evaluation.beat;
        let appended = running
            .store
            .append(vec![evaluation], Vec::new(), beat)
            .await
            .unwrap();
        let Body::Evaluation { changes, .. } = &appended.frames[0].body else {
            panic!("an evaluation");
        };
        assert_eq!(
            changes.iter().map(says).collect::<Vec<_>>(),
            expected,
            "{why}"
        );
        assert!(
            changes.iter().all(|change| !change.reason.is_empty()),
            "{why}"
        );
        running.close().await;
    }
    let file = rusqlite::Connection::open(&path).unwrap();
    let rows: i64 = file
        .query_row("SELECT count(*) FROM status_change", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 10, "every change is a row as well");
}

#[tokio::test]
async fn loading_and_warming_say_nothing_about_statuses() {
    let running = Running::open(None, StoreSettings::default());
    let store = &running.store;
    let changes = async |evaluation: Arc<Evaluation>| {
        let beat = evaluation.beat;
        let appended = store
            .append(vec![evaluation], Vec::new(), beat)
            .await
            .unwrap();
        match &appended.frames[0].body {
            Body::Evaluation { changes, .. } => changes.len(),
            Body::Sinks(_) => panic!("an evaluation"),
        }
    };
    let bad: World<'_> = &[("a", &[Status::Stop])];
    assert_eq!(changes(world(1, bad)).await, 2);
    let loading = Evaluation {
        phase: Phase::Loading { read: 1, total: 2 },
        groups: Vec::new(),
        ..(*world(2, bad)).clone()
    };
    assert_eq!(changes(Arc::new(loading)).await, 0, "loading");
    let mut warming = (*world(3, &[("a", &[Status::Ok])])).clone();
    Arc::make_mut(&mut warming.groups[0]).warming = true;
    assert_eq!(changes(Arc::new(warming)).await, 0, "warming");
    let (_, status, at) = &store.last_statuses(&ClusterName::new("prod"))[0];
    assert_eq!((*status, *at), (Status::Err, sample::beat_of(1)));
    assert_eq!(
        changes(world(4, &[("a", &[Status::Ok])])).await,
        2,
        "recovered"
    );
    running.close().await;
}

#[tokio::test]
async fn cursors_are_durable_with_the_next_beat_or_soon() {
    let (_directory, path) = place();
    let running = Running::open(Some(&path), StoreSettings::default());
    append(&running.store, 1).await;
    let cursor = |offered| Cursor {
        seq: Seq(1),
        counts: Counts {
            offered,
            delivered: offered,
            ..Counts::default()
        },
    };
    let on_disk = || -> Option<i64> {
        let file = rusqlite::Connection::open(&path).unwrap();
        file.query_row("SELECT offered FROM cursor WHERE sink = 's'", [], |row| {
            row.get(0)
        })
        .ok()
    };
    running.store.stage_cursor("s", cursor(5));
    append(&running.store, 2).await;
    assert_eq!(on_disk(), Some(5), "with the beat");
    running.store.stage_cursor("s", cursor(6));
    until("the cursor is written without a beat", || {
        on_disk() == Some(6)
    })
    .await;
    running.close().await;
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let running = Running::open(None, StoreSettings::default());
    let store = running.store.clone();
    store.close().await;
    let refused = store
        .append(vec![evaluation(1)], Vec::new(), sample::BEAT)
        .await;
    assert_eq!(refused.unwrap_err(), StoreError::Closed);
    store.close().await;
    drop(store);
    running.drop_all();
}
