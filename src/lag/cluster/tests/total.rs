//! No event can fail or panic, whatever it holds, and a batch does what its events do one by one.

use proptest::prelude::*;

use super::script::Player;
use crate::clock::Timestamp;
use crate::lag::event::{
    Commit, Connection, Event, EventBatch, GroupChange, GroupKind, MemberChange, PartitionLog,
    ReaderProgress, TopicsAsked,
};
use crate::lag::ids::{Order, TopicId};
use crate::lag::settings::{CommitLag, Limits, Rules};

/// Numbers as they should be, and as somebody evil would write them.
fn number() -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => 0_i64..200,
        1 => prop_oneof![
            Just(i64::MIN), Just(i64::MAX), Just(-1), Just(i64::from(i32::MAX)), Just(1 << 40),
            any::<i64>(),
        ],
    ]
}

fn partition() -> impl Strategy<Value = i32> {
    prop_oneof![6 => 0_i32..4, 1 => prop_oneof![Just(-1), Just(i32::MAX), Just(i32::MIN), any::<i32>()]]
}

fn moment() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        8 => (0_i64..400_000).prop_map(Timestamp::from_ms),
        1 => number().prop_map(Timestamp::from_ms),
    ]
}

fn order() -> impl Strategy<Value = Order> {
    (0_u32..2, number()).prop_map(|(epoch, offset)| Order { epoch, offset })
}

fn name() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("a"), Just("b"), Just(""), Just("denied"), Just("x\ny")]
}

fn id() -> impl Strategy<Value = TopicId> {
    (0_u8..3).prop_map(|id| TopicId([id; 16]))
}

/// An event that owns what it says.
#[derive(Clone, Debug)]
enum Said {
    Committed(
        &'static str,
        &'static str,
        i32,
        Order,
        i64,
        Timestamp,
        Option<TopicId>,
    ),
    CommitDeleted(&'static str, &'static str, i32, Order),
    GroupChanged(&'static str, Order, GroupChange),
    GroupDeleted(&'static str, Order, GroupKind),
    LogOffsets(&'static str, Vec<PartitionLog>, Timestamp, bool),
    LogHistory(&'static str, i32, Vec<(Timestamp, i64)>),
    TopicChanged(&'static str, Option<TopicId>, i32, TopicsAsked),
    TopicDeleted(&'static str, TopicsAsked),
    Progress(ReaderProgress),
    Connected(Option<i64>),
    Evaluated,
    Asked,
    Forgotten(&'static str, Option<&'static str>),
}

fn member() -> impl Strategy<Value = MemberChange> {
    let assigned = prop::collection::vec(partition(), 0..4);
    (name(), name(), assigned).prop_map(|(id, topic, partitions)| MemberChange {
        member_id: id.to_owned(),
        assignment: vec![(topic.to_owned(), partitions)],
        ..MemberChange::default()
    })
}

fn change() -> impl Strategy<Value = GroupChange> {
    let kind = prop_oneof![
        Just(GroupKind::Classic),
        Just(GroupKind::Consumer),
        Just(GroupKind::Share)
    ];
    prop_oneof![
        prop::collection::vec(member(), 0..3).prop_map(|members| GroupChange::Classic {
            protocol_type: "consumer".to_owned(),
            generation: 0,
            members,
        }),
        kind.prop_map(GroupChange::Kind),
        member().prop_map(GroupChange::MemberJoined),
        (name(), prop::collection::vec((id(), partition()), 0..4)).prop_map(
            |(member_id, partitions)| GroupChange::MemberAssigned {
                member_id: member_id.to_owned(),
                partitions,
            }
        ),
        name().prop_map(|id| GroupChange::MemberLeft {
            member_id: id.to_owned()
        }),
    ]
}

fn said() -> impl Strategy<Value = Said> {
    let log = (
        partition(),
        prop::option::of(number()),
        prop::option::of(number()),
    )
        .prop_map(|(partition, start, end)| PartitionLog {
            partition,
            start,
            end,
        });
    let point = (moment(), number());
    prop_oneof![
        8 => (name(), name(), partition(), order(), number(), moment(), prop::option::of(id()))
            .prop_map(|(g, t, p, o, offset, at, id)| Said::Committed(g, t, p, o, offset, at, id)),
        1 => (name(), name(), partition(), order())
            .prop_map(|(g, t, p, o)| Said::CommitDeleted(g, t, p, o)),
        2 => (name(), order(), change()).prop_map(|(g, o, c)| Said::GroupChanged(g, o, c)),
        1 => (name(), order()).prop_map(|(g, o)| Said::GroupDeleted(g, o, GroupKind::Classic)),
        6 => (name(), prop::collection::vec(log, 0..5), moment(), any::<bool>())
            .prop_map(|(t, logs, at, poll)| Said::LogOffsets(t, logs, at, poll)),
        2 => (name(), partition(), prop::collection::vec(point, 0..6))
            .prop_map(|(t, p, points)| Said::LogHistory(t, p, points)),
        2 => (name(), prop::option::of(id()), partition(), 0_u64..4)
            .prop_map(|(t, id, count, until)| Said::TopicChanged(t, id, count, TopicsAsked(until))),
        1 => (name(), 0_u64..4).prop_map(|(t, until)| Said::TopicDeleted(t, TopicsAsked(until))),
        2 => (partition(), partition(), number(), number(), any::<bool>(), moment()).prop_map(
            |(partition, partitions, position, end, caught_up, at)| Said::Progress(ReaderProgress {
                partition,
                partitions,
                from: 0,
                position,
                end,
                complete_from: position,
                caught_up,
                at,
            })
        ),
        1 => prop::option::of(number()).prop_map(Said::Connected),
        3 => Just(Said::Evaluated),
        2 => Just(Said::Asked),
        1 => (name(), prop::option::of(name())).prop_map(|(g, t)| Said::Forgotten(g, t)),
    ]
}

fn apply(player: &mut Player, said: &Said, now: Timestamp) {
    let event = match said {
        &Said::Committed(group, topic, partition, order, offset, timestamp, topic_id) => {
            Event::Committed(Commit {
                group,
                topic,
                partition,
                order,
                offset,
                timestamp,
                topic_id,
            })
        }
        &Said::CommitDeleted(group, topic, partition, order) => Event::CommitDeleted {
            group,
            topic,
            partition,
            order,
        },
        Said::GroupChanged(group, order, change) => Event::GroupChanged {
            group,
            order: *order,
            change,
        },
        &Said::GroupDeleted(group, order, kind) => Event::GroupDeleted { group, order, kind },
        Said::LogOffsets(topic, partitions, at, poll) => Event::LogOffsets {
            topic,
            partitions,
            at: *at,
            poll: *poll,
        },
        Said::LogHistory(topic, partition, points) => Event::LogHistory {
            topic,
            partition: *partition,
            points,
        },
        &Said::TopicChanged(topic, id, partitions, until) => Event::TopicChanged {
            topic,
            id,
            partitions,
            until,
        },
        &Said::TopicDeleted(topic, until) => Event::TopicDeleted { topic, until },
        Said::Progress(progress) => Event::ReaderProgress(*progress),
        Said::Connected(clock_offset_ms) => {
            let connection = Connection {
                clock_offset_ms: *clock_offset_ms,
                ..Connection::default()
            };
            player.cluster.apply(Event::Connection(&connection), now);
            return;
        }
        Said::Evaluated => {
            let evaluation = player.cluster.evaluate(now);
            for group in &evaluation.groups {
                assert!(player.cluster.windows(group.id.as_str()).is_some());
            }
            return;
        }
        Said::Asked => {
            player.cluster.ask_topics();
            for question in player.cluster.questions(now) {
                assert!(question.at.is_sorted() && !question.at.is_empty());
            }
            return;
        }
        Said::Forgotten(group, topic) => {
            player.cluster.forget(group, *topic);
            return;
        }
    };
    player.cluster.apply(event, now);
}

fn player(interpolated: bool) -> Player {
    let rules = Rules {
        commit_lag: if interpolated {
            CommitLag::Interpolated
        } else {
            CommitLag::LastPoll
        },
        intervals: 3,
        ..Rules::default()
    };
    let limits = Limits {
        groups: 4,
        partitions: 50,
    };
    Player::new(rules, limits)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn no_event_can_panic(
        loads in any::<bool>(),
        interpolated in any::<bool>(),
        steps in prop::collection::vec((said(), moment()), 0..60),
    ) {
        let mut player = player(interpolated);
        if loads {
            player.play("load@0s");
        }
        for (said, now) in &steps {
            apply(&mut player, said, *now);
        }
        player.cluster.evaluate(Timestamp::from_secs(500));
    }

    #[test]
    fn a_batch_does_what_its_events_do(
        commits in prop::collection::vec(
            (name(), name(), partition(), order(), number(), moment(), prop::option::of(id())),
            0..150,
        ),
        deleted in prop::collection::vec((name(), name(), partition(), order()), 0..10),
    ) {
        let now = Timestamp::from_secs(400);
        let (mut one_by_one, mut at_once) = (player(false), player(false));
        let mut batch = EventBatch::default();
        let mut deleted = deleted.into_iter();
        for (index, &(group, topic, partition, order, offset, timestamp, topic_id)) in
            commits.iter().enumerate()
        {
            if index % 16 == 7 && let Some((group, topic, partition, order)) = deleted.next() {
                batch.push_commit_deleted(group, topic, partition, order);
            }
            batch.push_commit(&Commit { group, topic, partition, order, offset, timestamp, topic_id });
        }
        for player in [&mut one_by_one, &mut at_once] {
            player.play("load@0s end@1s:100,t=a end@1s:100,t=b,p=1");
        }
        for event in batch.iter() {
            one_by_one.cluster.apply(event, now);
        }
        at_once.cluster.apply_batch(&batch, now);
        prop_assert_eq!(one_by_one.cluster.counts(), at_once.cluster.counts());
        prop_assert_eq!(one_by_one.cluster.evaluate(now), at_once.cluster.evaluate(now));
    }
}
