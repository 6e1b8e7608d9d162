//! Made-up evaluations with the noise of a real cluster, for tests and benchmarks of the store.
//! The product uses none.
//!
//! Every partition has its own offset (within a tenth of its topic's, as producers spread records
//! evenly), rate and time of its last commit, so that nothing compresses better than it would in
//! earnest; three of ten partitions are idle. The same arguments always give the same evaluation.

use std::sync::Arc;
use std::time::Duration;

use super::codec::guessed_totals;
use crate::clock::Timestamp;
use crate::lag::evaluation::{
    ClusterSummary, CommitView, Evaluation, GroupEvaluation, GroupTopic, Member,
    PartitionEvaluation, Phase, Status, TimeLag, TimeLagMethod, TopicEvaluation, TopicPartition,
};
use crate::lag::event::GroupKind;
use crate::lag::ids::{ClusterName, GroupId, TopicName};
use crate::lag::optional::{EpochSeconds, MaybeF32, MaybeI64};

/// Beat number `seq` of a cluster of `groups` groups that read one topic of `partitions`
/// partitions each.
pub fn busy(seq: i64, groups: u32, partitions: u32) -> Arc<Evaluation> {
    let beat = Timestamp::from_secs(1_767_225_600).plus(Duration::from_secs(
        u64::try_from(seq).unwrap_or(0).saturating_mul(10),
    ));
    let mut evaluation = Evaluation {
        cluster: ClusterName::new("prod"),
        beat,
        phase: Phase::Running,
        summary: ClusterSummary {
            up: true,
            brokers: Some(9),
            groups,
            topics: groups,
            partitions: groups * partitions,
            evaluate_ms: MaybeF32::some(21.5),
            offsets_age_s: MaybeF32::some(0.4),
            reader_lag: MaybeI64::some(12),
            ..ClusterSummary::default()
        },
        groups: Vec::new(),
        topics: Vec::new(),
    };
    for number in 0..groups {
        let mut random = fastrand::Rng::with_seed(u64::from(number));
        let about = random.i64(1_000_000..2_000_000_000);
        let rows: Vec<Row> = (0..partitions)
            .map(|_| Row::new(&mut random, about, seq))
            .collect();
        let name = format!("team-{:02}.orders.events-{number:05}.v1", number % 40);
        evaluation.topics.push(Arc::new(TopicEvaluation {
            topic: TopicName::new(name.as_str()),
            partitions: rows.iter().map(Row::topic_partition).collect(),
        }));
        evaluation
            .groups
            .push(Arc::new(group(number, &name, &rows, beat)));
    }
    evaluation.topics.sort_by(|a, b| a.topic.cmp(&b.topic));
    Arc::new(evaluation)
}

/// What one partition does.
struct Row {
    begin: i64,
    end: i64,
    lag: i64,
    age_ms: i64,
    time_lag: f32,
    consumed: f32,
    produced: f32,
}

impl Row {
    fn new(random: &mut fastrand::Rng, about: i64, seq: i64) -> Self {
        let start = about + random.i64(0..about / 10);
        let is_idle = random.u8(..10) < 3;
        let rate = random.i64(1..2_000);
        let mut now = fastrand::Rng::with_seed(random.u64(..) ^ seq.unsigned_abs());
        let end = if is_idle {
            start
        } else {
            start + rate * 10 * seq + now.i64(0..rate)
        };
        let lag = if is_idle { 0 } else { now.i64(0..rate + 20) };
        let noise = now.f32();
        let (consumed, produced, time_lag) = match (is_idle, u16::try_from(rate)) {
            (false, Ok(rate)) => {
                let rate = f32::from(rate);
                (
                    rate + noise,
                    rate + now.f32(),
                    // Known in milliseconds.
                    (noise * 3000.0).round() / 1000.0,
                )
            }
            _ => (0.0, 0.0, 0.0),
        };
        Self {
            begin: start - 100_000,
            end,
            lag,
            age_ms: now.i64(0..5_000),
            time_lag,
            consumed,
            produced,
        }
    }

    fn topic_partition(&self) -> TopicPartition {
        TopicPartition {
            begin: MaybeI64::some(self.begin),
            end: MaybeI64::some(self.end),
            last_end: MaybeI64::some(self.end),
            produce_rate: MaybeF32::estimate(self.produced),
        }
    }

    fn partition(&self, beat: Timestamp, owner: u32) -> PartitionEvaluation {
        let is_caught_up = self.lag == 0;
        PartitionEvaluation {
            end: Some(CommitView {
                offset: self.end - self.lag,
                timestamp: Timestamp::from_ms(beat.as_ms() - self.age_ms),
                observed_at: EpochSeconds::default(),
                lag: MaybeI64::some(self.lag / 2),
            }),
            lag: MaybeI64::some(self.lag),
            current_lag: self.lag,
            end_offset: MaybeI64::some(self.end),
            time_lag: Some(TimeLag {
                seconds: self.time_lag,
                error_s: MaybeF32::some(if is_caught_up { 0.0 } else { 5.0 }),
                method: match is_caught_up {
                    true => TimeLagMethod::CaughtUp,
                    false => TimeLagMethod::Interpolated,
                },
            }),
            consume_rate: MaybeF32::estimate(self.consumed),
            produce_rate: MaybeF32::estimate(self.produced),
            retention_used: MaybeF32::estimate(self.time_lag / 604_800.0),
            complete: 1.0,
            owner,
            ..PartitionEvaluation::default()
        }
    }
}

fn group(number: u32, topic: &str, rows: &[Row], beat: Timestamp) -> GroupEvaluation {
    let members: Vec<Member> = (0..4)
        .map(|member| Member {
            id: format!("consumer-{number}-{member}-6f1c2d3e-4b5a-4c6d-8e7f-{number:012x}").into(),
            instance_id: None,
            client_id: format!("consumer-{number}-{member}").into(),
            client_host: format!("/10.{}.{}.{member}", number / 256 % 256, number % 256).into(),
        })
        .collect();
    let partitions = (0_u32..).zip(rows);
    let topics = vec![GroupTopic {
        topic: TopicName::new(topic),
        partitions: partitions
            .map(|(partition, row)| row.partition(beat, partition % 4 + 1))
            .collect(),
    }];
    GroupEvaluation {
        id: GroupId::new(format!("billing-{number:05}")),
        status: Status::Ok,
        stale: false,
        warming: false,
        complete: 1.0,
        kind: GroupKind::Classic,
        protocol_type: "consumer".into(),
        totals: guessed_totals(&topics, members.len()),
        members: members.into(),
        topics,
    }
}
