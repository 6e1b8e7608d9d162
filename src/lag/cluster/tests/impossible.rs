//! Data that no cluster can have left is refused, and a gap in time is one in the history.

use super::super::snapshot::{
    Impossible, Restoring, SavedGroup, SavedLog, SavedMembership, SavedPoint, SavedSlot,
    SavedTopic, SavedUse,
};
use super::script::Player;
use crate::clock::Timestamp;
use crate::lag::event::GroupKind;
use crate::lag::ids::{ClusterName, GroupId, Order, TopicId, TopicName};
use crate::lag::optional::MaybeI64;
use crate::lag::settings::{Limits, Rules, Settings};
use crate::lag::window::StoredCommit;

fn commit(offset: i64, epoch: u32, order: i64) -> StoredCommit {
    StoredCommit {
        offset,
        timestamp: Timestamp::from_secs(10),
        observed_at_s: 10,
        order: Order {
            epoch,
            offset: order,
        },
        lag: MaybeI64::some(1),
    }
}

fn topic() -> SavedTopic {
    let point = |at: i64, end: i64| SavedPoint {
        at: Timestamp::from_secs(at),
        end,
        kind: 1,
    };
    SavedTopic {
        name: TopicName::new("t"),
        id: Some(TopicId([1; 16])),
        id_at: Timestamp::from_secs(1),
        count: 1,
        is_real: true,
        logs: vec![SavedLog {
            points: vec![point(10, 5), point(20, 7)],
            start: Some(0),
            polled: Some(7),
            ..SavedLog::default()
        }],
    }
}

fn group() -> SavedGroup {
    SavedGroup {
        id: GroupId::new("g"),
        last_commit: Timestamp::from_secs(10),
        touched_at: Timestamp::from_secs(10),
        is_hidden: false,
        known: None,
        membership: SavedMembership {
            kind: GroupKind::Classic,
            protocol_type: "".into(),
            order: Order::default(),
            shown: [].into(),
            joined: None,
        },
        topics: vec![SavedUse {
            topic: 0,
            slots: vec![SavedSlot {
                commits: vec![commit(3, 0, 1), commit(4, 0, 2)],
                owner: 0,
                marks: 1,
            }],
        }],
    }
}

fn restore(topics: &[SavedTopic], groups: &[SavedGroup]) -> Result<(), Impossible> {
    let settings = Settings {
        rules: Rules {
            intervals: 3,
            ..Rules::default()
        },
        limits: Limits {
            groups: 2,
            partitions: 3,
        },
        wanted: Box::new(|_| true),
    };
    let mut restoring = Restoring::new(ClusterName::new("c"), settings, None);
    topics.iter().try_for_each(|topic| restoring.topic(topic))?;
    for group in groups {
        restoring.group(group.clone())?;
    }
    restoring.finish().evaluate(Timestamp::from_secs(30));
    Ok(())
}

#[test]
fn topics_that_cannot_have_been() {
    type Change = fn(&mut SavedTopic);
    let cases: [(Change, Option<&str>); 10] = [
        (|_| {}, None),
        (|t| t.id = None, None),
        (|t| t.count = -1, Some("a topic has too many partitions")),
        (
            |t| t.count = i32::MAX,
            Some("a topic has too many partitions"),
        ),
        (
            |t| t.logs[0].points.reverse(),
            Some("a log's end offsets cannot be"),
        ),
        (
            |t| t.logs[0].points[1].end = 4,
            Some("a log's end offsets cannot be"),
        ),
        (
            |t| t.logs[0].points[0].end = -1,
            Some("a log's end offsets cannot be"),
        ),
        (
            |t| t.logs[0].points[0].kind = 4,
            Some("a log's end offsets cannot be"),
        ),
        (
            |t| t.logs[0].start = Some(-1),
            Some("a log's end offsets cannot be"),
        ),
        (
            |t| {
                let point = t.logs[0].points[0];
                t.logs[0].points = vec![point; 1_000];
            },
            Some("a log's end offsets cannot be"),
        ),
    ];
    for (place, (change, expected)) in cases.into_iter().enumerate() {
        let mut topic = topic();
        change(&mut topic);
        let refused = restore(&[topic], &[]).err().map(|why| why.0);
        assert_eq!(refused, expected, "case {place}");
    }
    let twice = restore(&[topic(), topic()], &[]);
    assert_eq!(twice, Err(Impossible("a topic is there twice")));
    let other = SavedTopic {
        name: TopicName::new("u"),
        ..topic()
    };
    let twice = restore(&[topic(), other], &[]);
    assert_eq!(twice, Err(Impossible("two topics have one id")));
}

#[test]
fn groups_that_cannot_have_been() {
    type Change = fn(&mut SavedGroup);
    let cannot = Some("a window's commits cannot be");
    let cases: [(Change, Option<&str>); 14] = [
        (|_| {}, None),
        (|g| g.topics[0].slots[0].commits.clear(), None),
        (|g| g.topics[0].slots[0].commits[1].order.epoch = 1, None),
        (|g| g.topics[0].slots[0].commits.reverse(), cannot),
        (|g| g.topics[0].slots[0].commits[1].order.offset = 1, cannot),
        (|g| g.topics[0].slots[0].commits[1].offset = -1, cannot),
        (
            |g| g.topics[0].slots[0].commits[0].order.offset = -1,
            cannot,
        ),
        (
            |g| g.topics[0].slots[0].commits[1].order.epoch = 1 << 24,
            cannot,
        ),
        (
            |g| g.topics[0].slots[0].commits[1].lag = MaybeI64::some(-1),
            cannot,
        ),
        (
            |g| g.topics[0].slots[0].commits = (0..4).map(|o| commit(o, 0, o)).collect(),
            Some("a window holds too many commits"),
        ),
        (
            |g| g.topics[0].slots[0].owner = 1,
            Some("a partition's owner is no member"),
        ),
        (
            |g| g.topics[0].slots[0].marks = 128,
            Some("a mark is not known"),
        ),
        (
            |g| g.topics[0].topic = 1,
            Some("a group uses a topic that is not there"),
        ),
        (
            |g| g.topics[0].slots.resize(4, SavedSlot::default()),
            Some("there are too many partitions"),
        ),
    ];
    for (place, (change, expected)) in cases.into_iter().enumerate() {
        let mut group = group();
        change(&mut group);
        let refused = restore(&[topic()], &[group]).err().map(|why| why.0);
        assert_eq!(refused, expected, "case {place}");
    }
    let mut uses_twice = group();
    let used = uses_twice.topics[0].clone();
    uses_twice.topics.push(used);
    for (groups, expected) in [
        (vec![uses_twice], "a group uses a topic twice"),
        (vec![group(), group()], "a group is there twice"),
        (
            ["a", "b", "c"]
                .map(|name| SavedGroup {
                    id: GroupId::new(name),
                    topics: Vec::new(),
                    ..group()
                })
                .to_vec(),
            "there are too many groups",
        ),
    ] {
        assert_eq!(restore(&[topic()], &groups), Err(Impossible(expected)));
    }
}

/// What `then` shows after `before` was saved and restored.
#[track_caller]
fn check(why: &str, before: &str, then: &str, expected: &str) {
    let mut player = Player::default();
    player.play(before);
    player.restart();
    player.play(then);
    assert_eq!(player.seen, expected, "{why}: {before} | {then}");
}

#[test]
fn the_time_in_between_is_a_gap() {
    let polled = "load@0s ends@0s-100s:100 commit@71s:10 commit@81s:20 commit@91s:30";
    for (why, before, then, expected) in [
        (
            "not loaded yet: nothing is said",
            polled,
            "end@163s:500 eval@163s",
            "Waiting",
        ),
        (
            "silence it was not there to hear is judged once Kafka has told the missing polls",
            polled,
            "end@163s:500 load@163s ask@163s end@170s:500 eval@170s",
            "OK lag=470 warming",
        ),
        (
            "and with its answer it is really stopped",
            polled,
            "end@163s:500 load@163s ask@163s history@164s:110=100,120=200,130=300,140=400,150=450,160=490 \
             end@170s:500 eval@170s",
            "STOP lag=470",
        ),
        (
            "back before the next poll was due: nothing is missing",
            polled,
            "end@104s:100 load@104s ask@104s end@110s:100 eval@110s",
            "OK lag=70",
        ),
        (
            "a commit of the time in between is measured against the poll of its own time",
            polled,
            "end@163s:500 arrive@163s:40,ts=131s load@163s ask@163s \
             history@164s:110=100,120=200,130=300,140=400,150=450,160=490 end@170s:500 eval@170s,lags",
            "90 80 70 260",
        ),
        (
            "not between the points around the gap, however short",
            &format!("interpolated {polled}"),
            "end@123s:500 arrive@123s:40,ts=111s load@123s end@130s:510 eval@130s,lags",
            "90 80 70 ?",
        ),
        (
            "the log stood still: known without asking",
            polled,
            "end@163s:100 arrive@163s:40,ts=131s load@163s end@170s:110 eval@170s,lags",
            "90 80 70 60",
        ),
        (
            "a topic that was re-created meanwhile takes its offsets with it",
            &format!("topic@0s:1,id=A {polled}"),
            "topics@163s topic@163s:1,id=B,until=0 end@163s:50 load@163s end@170s:50 eval@170s",
            "none",
        ),
    ] {
        check(why, before, then, expected);
    }
}
