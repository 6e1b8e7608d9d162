//! Rollups against a model that adds up everything anew.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::world;
use crate::clock::Timestamp;
use crate::lag::evaluation::{
    Evaluation, GroupEvaluation, GroupTopic, PartitionEvaluation, Status, TopicEvaluation,
    TopicPartition,
};
use crate::lag::ids::TopicName;
use crate::lag::optional::{MaybeF32, MaybeI64};
use crate::store::history::HOUR;
use crate::store::history::rollup::{
    FIVE_MINUTES, GroupRollups, Rollup, Row, StatusSeconds, Subject, TopicRollups,
};

const START: Timestamp = Timestamp::from_secs(1_767_225_600);

/// What is known at a beat of a group, or of one of its topics.
struct Whole {
    lag: Option<i64>,
    time_lag: Option<f32>,
    produce_rate: Option<f32>,
    consume_rate: Option<f32>,
    status: Status,
    topics: Vec<GroupTopic>,
}

impl Whole {
    fn of(group: &GroupEvaluation, topic: Option<&TopicName>) -> Option<Self> {
        let Some(topic) = topic else {
            return Some(Self {
                lag: group.totals.lag.get(),
                time_lag: group.totals.time_lag.map(|lag| lag.seconds),
                produce_rate: group.totals.produce_rate.get(),
                consume_rate: group.totals.consume_rate.get(),
                status: group.status,
                topics: group.topics.clone(),
            });
        };
        let topic = group.topics.iter().find(|found| found.topic == *topic)?;
        let rows = &topic.partitions;
        let known = |of: &dyn Fn(&PartitionEvaluation) -> Option<f32>| -> Vec<f32> {
            rows.iter().filter_map(of).collect()
        };
        let sum = |rates: Vec<f32>| rates.into_iter().reduce(|a, b| a + b);
        Some(Self {
            lag: (rows.iter().filter_map(|row| row.lag.get())).reduce(i64::saturating_add),
            time_lag: (known(&|row| row.time_lag.map(|lag| lag.seconds)).into_iter())
                .reduce(|a, b| if b > a { b } else { a }),
            produce_rate: sum(known(&|row| row.produce_rate.get())),
            consume_rate: sum(known(&|row| row.consume_rate.get())),
            status: (rows.iter().map(|row| row.status()).max())
                .unwrap_or(Status::Ok)
                .for_group(),
            topics: vec![topic.clone()],
        })
    }
}

/// What a group, or a topic of it, comes to in `[from, from + span)`, the slow way.
fn naive(
    evaluations: &[Arc<Evaluation>],
    (group, topic): (&str, Option<&TopicName>),
    (from, span): (Timestamp, Duration),
    beat: Duration,
) -> Rollup {
    let rows: Vec<_> = evaluations
        .iter()
        .filter_map(|e| Some((e.beat, Whole::of(e.group(group)?, topic)?)))
        .collect();
    let within = |at: Timestamp| at >= from && at < from.plus(span);
    let inside: Vec<_> = rows.iter().filter(|(at, _)| within(*at)).collect();
    let mut lags: Vec<i64> = inside.iter().filter_map(|(_, whole)| whole.lag).collect();
    lags.sort_unstable();
    let count = lags.len();
    let greatest = |values: Vec<f32>| values.into_iter().map(f64::from).reduce(f64::max);
    let floats = |of: &dyn Fn(&Whole) -> Option<f32>| {
        greatest(inside.iter().filter_map(|(_, whole)| of(whole)).collect())
    };
    // Every step of every offset, to the beat at which it is seen.
    let mut last = HashMap::new();
    let (mut consumed, mut produced) = (None, None);
    for (at, whole) in &rows {
        for topic in &whole.topics {
            for (partition, row) in topic.partitions.iter().enumerate() {
                let commit = row.end.map(|commit| commit.offset);
                for (kind, now, sum) in [
                    (0, commit, &mut consumed),
                    (1, row.end_offset.get(), &mut produced),
                ] {
                    let Some(now) = now else { continue };
                    let key = (topic.topic.clone(), partition, kind);
                    if let Some(before) = last.insert(key, now)
                        && within(*at)
                    {
                        let step = i64::saturating_sub(now, before).max(0);
                        *sum = Some(i64::saturating_add(sum.unwrap_or(0), step));
                    }
                }
            }
        }
    }
    let seconds = |status: Status| {
        let count = inside
            .iter()
            .filter(|(_, whole)| whole.status == status)
            .count();
        count as f64 * beat.as_secs_f64()
    };
    let sum: i128 = lags.iter().map(|lag| i128::from(*lag)).sum();
    Rollup {
        beats: u32::try_from(inside.len()).unwrap(),
        lag_min: lags.first().copied(),
        lag_max: lags.last().copied(),
        lag_avg: (count > 0).then(|| sum as f64 / count as f64),
        // The least value that at least 95 % do not exceed.
        lag_p95: lags
            .iter()
            .copied()
            .find(|lag| 100 * lags.iter().filter(|other| *other <= lag).count() >= 95 * count),
        time_lag_max_s: floats(&|whole| whole.time_lag),
        produced,
        consumed,
        produce_rate_max: floats(&|whole| whole.produce_rate),
        consume_rate_max: floats(&|whole| whole.consume_rate),
        status_s: Some(StatusSeconds {
            ok: seconds(Status::Ok),
            warn: seconds(Status::Warn),
            err: seconds(Status::Err),
        }),
    }
}

#[test]
fn rollups_are_what_adding_up_everything_gives() {
    let beat = Duration::from_secs(20);
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let evaluations: Vec<_> = (0..181)
            .map(|n| world::evaluation(&mut random, "c", START.plus(beat * n).minus(beat)))
            .collect();
        let mut rollups = GroupRollups::default();
        evaluations[0]
            .groups
            .iter()
            .for_each(|group| rollups.base(group));
        for evaluation in &evaluations[1..] {
            evaluation
                .groups
                .iter()
                .for_each(|group| rollups.add(evaluation.beat, group));
        }
        let rows = rollups.rows(Some(beat));
        let mut spans = 0;
        for Row {
            subject,
            start,
            span,
            rollup,
        } in &rows
        {
            let of = match subject {
                Subject::Group(group) => (group.as_str(), None),
                Subject::GroupTopic(group, topic) => (group.as_str(), Some(topic)),
                Subject::Topic(_) => panic!("only groups were added"),
            };
            let expected = naive(&evaluations, of, (*start, *span), beat);
            assert_eq!(*rollup, expected, "seed {seed}, {subject:?} at {start:?}");
            let kind = if of.1.is_some() { 10_000 } else { 1 };
            spans += kind * (u32::from(*span == HOUR) + 100 * u32::from(*span == FIVE_MINUTES));
        }
        // Of both kinds and both spans.
        assert!(spans > 1000 + 10_000_000, "seed {seed}: {spans}");
    }
}

#[test]
fn a_topic_that_begins_anew_produces_nothing_by_that() {
    let mut rollups = TopicRollups::default();
    let topic = |end| TopicEvaluation {
        topic: TopicName::new("t"),
        partitions: vec![TopicPartition {
            end,
            produce_rate: MaybeF32::some(2.0),
            ..TopicPartition::default()
        }],
    };
    rollups.base(&topic(MaybeI64::some(90)));
    for (n, end) in [
        (0, Some(100)),
        (1, None),
        (2, Some(150)),
        (3, Some(7)),
        (4, Some(10)),
    ] {
        rollups.add(START.plus(Duration::from_secs(10) * n), &topic(end.into()));
    }
    let rows = rollups.rows();
    assert_eq!(rows.len(), 2);
    for row in rows {
        assert_eq!(row.rollup.produced, Some(10 + 50 + 3));
        assert_eq!((row.rollup.beats, row.rollup.lag_max), (5, None));
        assert_eq!(row.rollup.produce_rate_max, Some(2.0));
    }
}
