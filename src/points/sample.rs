//! Made-up frames for tests and benchmarks of encoders, codecs and sinks. The product uses none.

use std::sync::Arc;

use super::row_count;
use crate::clock::Timestamp;
use crate::lag::evaluation::{
    ClusterSummary, CommitView, Evaluation, GroupEvaluation, GroupTopic, GroupTotals, Member,
    PartitionEvaluation, PartitionStatus, Phase, Status, TimeLag, TimeLagMethod, TopicEvaluation,
    TopicPartition,
};
use crate::lag::event::GroupKind;
use crate::lag::ids::{ClusterName, GroupId, TopicName};
use crate::lag::optional::{EpochSeconds, MaybeF32, MaybeI64};
use crate::store::frame::{Body, Counts, Frame, Seq, SinkRow, StatusChange};

/// 2026-01-01T00:00:00Z.
pub const BEAT: Timestamp = Timestamp::from_secs(1_767_225_600);

/// A name with everything that breaks encoders: quotes, separators, line ends, controls, the
/// trailing backslash.
pub const HOSTILE: &str = "a b,c=d\"e'\n\t\u{0}\u{1b}{}é世😀/\\";

/// A frame about `body`, ten seconds a sequence number.
pub fn frame(seq: i64, body: Body) -> Arc<Frame> {
    let beat = beat_of(seq);
    Arc::new(Frame {
        seq: Seq(seq),
        beat,
        rows: row_count(&body),
        body,
    })
}

/// The beat of the frame with this number.
pub fn beat_of(seq: i64) -> Timestamp {
    Timestamp::from_ms(BEAT.as_ms() + (seq - 1) * 10_000)
}

/// A small frame with every measurement but the sinks' own: known and unknown values, a partition
/// without a commit, status changes, hostile names.
pub fn small(seq: i64) -> Arc<Frame> {
    let cluster = ClusterName::new("prod");
    let groups = vec![
        Arc::new(sample_group(HOSTILE, HOSTILE, seq)),
        Arc::new(sample_group("payments", "orders", seq)),
    ];
    let evaluation = Evaluation {
        cluster: cluster.clone(),
        beat: beat_of(seq),
        phase: Phase::Running,
        summary: ClusterSummary {
            up: true,
            brokers: Some(3),
            groups: 2,
            groups_bad: 2,
            topics: 1,
            partitions: 3,
            lag: MaybeI64::some(2 * (100 + seq)),
            evaluate_ms: MaybeF32::some(1.5),
            offsets_age_s: MaybeF32::some(0.25),
            reader_lag: MaybeI64::some(0),
            ..ClusterSummary::default()
        },
        groups,
        topics: vec![Arc::new(TopicEvaluation {
            topic: TopicName::new("orders"),
            partitions: vec![
                TopicPartition {
                    begin: MaybeI64::some(0),
                    end: MaybeI64::some(1_000 + seq),
                    ..TopicPartition::default()
                },
                TopicPartition {
                    end: MaybeI64::some(0),
                    ..TopicPartition::default()
                },
                TopicPartition::default(),
            ],
        })],
    };
    let change = |partition| StatusChange {
        cluster: cluster.clone(),
        group: GroupId::new("payments"),
        partition,
        from: Status::Ok,
        to: Status::Stop,
        reason: "no commit for 95 s; the last 10 commits span 45 s; lag 1,204".to_owned(),
        beat: beat_of(seq),
    };
    let changes = vec![
        StatusChange {
            to: Status::Err,
            ..change(None)
        },
        change(Some((TopicName::new("orders"), 0))),
    ];
    frame(
        seq,
        Body::Evaluation {
            evaluation: Arc::new(evaluation),
            changes,
        },
    )
}

fn sample_group(id: &str, topic: &str, seq: i64) -> GroupEvaluation {
    let commit = CommitView {
        offset: 900,
        timestamp: BEAT.minus(std::time::Duration::from_millis(95_500)),
        observed_at: EpochSeconds::default(),
        lag: MaybeI64::some(90),
    };
    let time_lag = TimeLag {
        seconds: 95.5,
        error_s: MaybeF32::some(0.1),
        method: TimeLagMethod::Interpolated,
    };
    let stopped = PartitionEvaluation {
        start: Some(commit),
        end: Some(commit),
        lag: MaybeI64::some(100 + seq),
        current_lag: 100 + seq,
        end_offset: MaybeI64::some(1_000 + seq),
        time_lag: Some(time_lag),
        consume_rate: MaybeF32::some(0.1),
        produce_rate: MaybeF32::some(1.0),
        complete: 1.0,
        owner: 1,
        status: Some(PartitionStatus {
            status: Status::Stop,
            reason: None,
        }),
        ..PartitionEvaluation::default()
    };
    let blind = PartitionEvaluation {
        start: Some(commit),
        end: Some(commit),
        complete: 0.1,
        ..PartitionEvaluation::default()
    };
    GroupEvaluation {
        id: GroupId::new(id),
        status: Status::Err,
        stale: false,
        warming: false,
        complete: 0.5,
        kind: GroupKind::Classic,
        protocol_type: Arc::from("consumer"),
        members: Arc::from([Member {
            id: Arc::from("app-1-uuid"),
            instance_id: None,
            client_id: Arc::from("app-1"),
            client_host: Arc::from("/10.0.0.7"),
        }]),
        topics: vec![GroupTopic {
            topic: TopicName::new(topic),
            partitions: vec![stopped, blind, PartitionEvaluation::default()],
        }],
        totals: GroupTotals {
            lag: MaybeI64::some(100 + seq),
            total_lag: 100 + seq,
            max_lag: Some((0, 0)),
            worst: Some((0, 0)),
            partitions: 3,
            partitions_ok: 1,
            partitions_stop: 1,
            partitions_no_commit: 1,
            partitions_unknown: 1,
            members: 1,
            time_lag: Some(time_lag),
            consume_rate: MaybeF32::some(0.1),
            produce_rate: MaybeF32::some(1.0),
            ..GroupTotals::default()
        },
    }
}

/// The sinks' own state.
pub fn sinks(seq: i64) -> Arc<Frame> {
    let counts = Counts {
        offered: 100,
        delivered: 60,
        filtered: 10,
        rejected: 2,
        expired: 3,
    };
    let row = SinkRow {
        sink: "influx".to_owned(),
        counts,
        oldest_waiting_s: 12.5,
    };
    frame(seq, Body::Sinks(vec![row]))
}

/// A frame of `groups` groups with `partitions` partitions each in one topic: for benchmarks and
/// volumes. Values differ between partitions and beats.
pub fn wide(seq: i64, groups: u32, partitions: u32) -> Arc<Frame> {
    let group = |number: u32| {
        let template = sample_group(&format!("group-{number:06}"), "orders", seq);
        let blank = &template.topics[0].partitions[0];
        let states = (0..partitions)
            .map(|partition| {
                let lag = i64::from(number % 97) * i64::from(partition % 13) + seq;
                let end = 1_000_000 + i64::from(number) * 31 + i64::from(partition) * 7 + seq * 100;
                let commit = CommitView {
                    offset: end - lag,
                    timestamp: Timestamp::from_ms(beat_of(seq).as_ms() - i64::from(partition) * 37),
                    observed_at: EpochSeconds::default(),
                    lag: MaybeI64::some(lag),
                };
                PartitionEvaluation {
                    start: Some(commit),
                    end: Some(commit),
                    lag: MaybeI64::some(lag),
                    current_lag: lag,
                    end_offset: MaybeI64::some(end),
                    status: None,
                    ..blank.clone()
                }
            })
            .collect();
        let topics = vec![GroupTopic {
            topic: TopicName::new("orders"),
            partitions: states,
        }];
        let totals = GroupTotals {
            partitions,
            partitions_ok: partitions,
            ..template.totals
        };
        Arc::new(GroupEvaluation {
            topics,
            totals,
            ..template
        })
    };
    let evaluation = Evaluation {
        cluster: ClusterName::new("prod"),
        beat: beat_of(seq),
        phase: Phase::Running,
        summary: ClusterSummary {
            up: true,
            groups,
            ..ClusterSummary::default()
        },
        groups: (0..groups).map(group).collect(),
        topics: Vec::new(),
    };
    frame(
        seq,
        Body::Evaluation {
            evaluation: Arc::new(evaluation),
            changes: Vec::new(),
        },
    )
}
