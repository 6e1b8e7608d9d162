//! Made-up evaluations in which everything that can be there is sometimes there and sometimes not.

use std::sync::Arc;

use fastrand::Rng;

use crate::clock::Timestamp;
use crate::lag::evaluation::{
    ClusterSummary, CommitView, Evaluation, GroupEvaluation, GroupTopic, Member,
    PartitionEvaluation, PartitionStatus, Phase, Status, TimeLag, TimeLagMethod, TopicEvaluation,
    TopicPartition,
};
use crate::lag::event::GroupKind;
use crate::lag::ids::{ClusterName, GroupId, TopicName};
use crate::lag::optional::{EpochSeconds, MaybeF32, MaybeI64};
use crate::store::codec::guessed_totals;

/// Names that are hard: prefixes of each other, empty, with zero bytes.
const NAMES: [&str; 8] = ["", "a", "a\0", "a\0b", "ab", "b", "zürich", "\u{10ffff}"];

/// A cluster at `beat`: groups, topics and partitions come and go.
pub(in crate::store) fn evaluation(
    random: &mut Rng,
    cluster: &str,
    beat: Timestamp,
) -> Arc<Evaluation> {
    let phase = match random.u8(..20) {
        0 => Phase::Waiting,
        1 => Phase::Loading {
            read: random.i64(0..9),
            total: 10,
        },
        _ => Phase::Running,
    };
    let is_running = phase == Phase::Running;
    let some_of = |random: &mut Rng| -> Vec<&str> {
        let mut names: Vec<_> = NAMES.into_iter().filter(|_| random.u8(..4) > 0).collect();
        names.sort_unstable();
        names
    };
    let groups = if is_running {
        some_of(random)
    } else {
        Vec::new()
    };
    let topics = if is_running {
        some_of(random)
    } else {
        Vec::new()
    };
    Arc::new(Evaluation {
        cluster: ClusterName::new(cluster),
        beat,
        phase,
        summary: ClusterSummary {
            up: random.bool(),
            reason: random.bool().then(|| "down".to_owned()),
            brokers: random.bool().then(|| random.u32(1..9)),
            lag: maybe_int(random),
            ..ClusterSummary::default()
        },
        groups: groups
            .into_iter()
            .map(|name| Arc::new(group(random, name, beat)))
            .collect(),
        topics: topics
            .into_iter()
            .map(|name| {
                let partitions = (0..random.usize(..5)).map(|_| log(random)).collect();
                let topic = TopicName::new(name);
                Arc::new(TopicEvaluation { topic, partitions })
            })
            .collect(),
    })
}

fn int(random: &mut Rng) -> i64 {
    match random.u8(..40) {
        0 => i64::MAX,
        1 => i64::MIN + 1,
        2..10 => 0,
        _ => random.i64(-5..1_000_000),
    }
}

fn maybe_int(random: &mut Rng) -> MaybeI64 {
    random.bool().then(|| int(random)).into()
}

fn float(random: &mut Rng) -> f32 {
    match random.u8(..8) {
        0 => 0.0,
        1 => -0.0,
        2 => f32::MIN_POSITIVE,
        _ => random.f32() * 1000.0,
    }
}

fn maybe_float(random: &mut Rng) -> MaybeF32 {
    random.bool().then(|| float(random)).into()
}

fn log(random: &mut Rng) -> TopicPartition {
    TopicPartition {
        begin: maybe_int(random),
        end: maybe_int(random),
        last_end: MaybeI64::NONE,
        produce_rate: maybe_float(random),
    }
}

fn group(random: &mut Rng, name: &str, beat: Timestamp) -> GroupEvaluation {
    let members: Vec<Member> = (0..random.usize(..3))
        .map(|member| Member {
            id: format!("{name}-{member}-{}", random.u8(..2)).into(),
            instance_id: random.bool().then(|| "instance".into()),
            client_id: "client".into(),
            client_host: "/host".into(),
        })
        .collect();
    let mut topics = Vec::new();
    for topic in NAMES {
        if random.u8(..3) > 0 {
            continue;
        }
        // Now and then one whose sums are written.
        let most = if random.u8(..20) == 0 { 90 } else { 4 };
        let partitions = (0..random.usize(..=most))
            .map(|_| partition(random, beat))
            .collect();
        let topic = TopicName::new(topic);
        topics.push(GroupTopic { topic, partitions });
    }
    topics.sort_by(|a, b| a.topic.cmp(&b.topic));
    let mut totals = guessed_totals(&topics, members.len());
    if random.u8(..3) == 0 {
        totals.lag = maybe_int(random);
        totals.partitions_stall = random.u32(..9);
        totals.max_lag = random.bool().then(|| (random.u32(..), random.u32(..)));
        totals.time_lag = random.bool().then(|| time_lag(random));
        totals.eta_s = maybe_float(random);
    }
    GroupEvaluation {
        id: GroupId::new(name),
        status: [Status::Ok, Status::Warn, Status::Err][random.usize(..3)],
        stale: random.bool(),
        warming: random.bool(),
        complete: float(random),
        kind: [GroupKind::Classic, GroupKind::Streams][random.usize(..2)],
        protocol_type: ["", "consumer"][random.usize(..2)].into(),
        members: members.into(),
        topics,
        totals,
    }
}

fn time_lag(random: &mut Rng) -> TimeLag {
    let seconds = match random.u8(..4) {
        0 => 0.0,
        1 => float(random),
        _ => f32::from(random.u16(..)) / 1000.0,
    };
    TimeLag {
        seconds,
        error_s: match random.u8(..4) {
            0 => MaybeF32::some(0.0),
            1 => MaybeF32::some(5.0),
            _ => maybe_float(random),
        },
        method: [TimeLagMethod::CaughtUp, TimeLagMethod::AtLeast][random.usize(..2)],
    }
}

fn partition(random: &mut Rng, beat: Timestamp) -> PartitionEvaluation {
    let end = random.bool().then(|| CommitView {
        offset: int(random),
        // Often the same as at the beat before.
        timestamp: match random.bool() {
            true => Timestamp::from_secs(1_000),
            false => Timestamp::from_ms(beat.as_ms() - random.i64(-5..100_000)),
        },
        observed_at: EpochSeconds::default(),
        lag: maybe_int(random),
    });
    PartitionEvaluation {
        start: None,
        end,
        lag: maybe_int(random),
        current_lag: int(random),
        end_offset: maybe_int(random),
        time_lag: random.bool().then(|| time_lag(random)),
        eta_s: maybe_float(random),
        consume_rate: maybe_float(random),
        produce_rate: maybe_float(random),
        records_lost: maybe_int(random),
        retention_used: maybe_float(random),
        retention_left_s: maybe_float(random),
        complete: float(random),
        owner: random.u32(..3),
        status: random.bool().then(|| PartitionStatus {
            status: [Status::Ok, Status::Stop, Status::Rewind][random.usize(..3)],
            reason: None,
        }),
    }
}
