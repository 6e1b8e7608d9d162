//! Rollups against a model that adds up everything anew.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::world;
use crate::clock::Timestamp;
use crate::lag::evaluation::{
    Evaluation, GroupEvaluation, Status, TopicEvaluation, TopicPartition,
};
use crate::lag::ids::TopicName;
use crate::lag::optional::{MaybeF32, MaybeI64};
use crate::store::history::HOUR;
use crate::store::history::rollup::{
    FIVE_MINUTES, GroupRollups, Rollup, Row, StatusSeconds, Subject, TopicRollups,
};

const START: Timestamp = Timestamp::from_secs(1_767_225_600);

/// What a group comes to in `[from, from + span)`, the slow way.
fn naive(
    evaluations: &[Arc<Evaluation>],
    group: &str,
    (from, span): (Timestamp, Duration),
    beat: Duration,
) -> Rollup {
    let rows = evaluations
        .iter()
        .filter_map(|e| Some((e.beat, e.group(group)?)));
    let within = |at: Timestamp| at >= from && at < from.plus(span);
    let inside: Vec<_> = rows.clone().filter(|(at, _)| within(*at)).collect();
    let mut lags: Vec<i64> = inside
        .iter()
        .filter_map(|(_, g)| g.totals.lag.get())
        .collect();
    lags.sort_unstable();
    let count = lags.len();
    let greatest = |values: Vec<f32>| values.into_iter().map(f64::from).reduce(f64::max);
    let floats = |of: &dyn Fn(&GroupEvaluation) -> Option<f32>| {
        greatest(inside.iter().filter_map(|(_, group)| of(group)).collect())
    };
    // Every step of every offset, to the beat at which it is seen.
    let mut last = HashMap::new();
    let (mut consumed, mut produced) = (None, None);
    for (at, group) in rows {
        for topic in &group.topics {
            for (partition, row) in topic.partitions.iter().enumerate() {
                let commit = row.end.map(|commit| commit.offset);
                for (kind, now, sum) in [
                    (0, commit, &mut consumed),
                    (1, row.end_offset.get(), &mut produced),
                ] {
                    let Some(now) = now else { continue };
                    let key = (topic.topic.clone(), partition, kind);
                    if let Some(before) = last.insert(key, now)
                        && within(at)
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
            .filter(|(_, group)| group.status == status)
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
        time_lag_max_s: floats(&|group| group.totals.time_lag.map(|lag| lag.seconds)),
        produced,
        consumed,
        produce_rate_max: floats(&|group| group.totals.produce_rate.get()),
        consume_rate_max: floats(&|group| group.totals.consume_rate.get()),
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
            let Subject::Group(group) = subject else {
                continue;
            };
            let expected = naive(&evaluations, group.as_str(), (*start, *span), beat);
            assert_eq!(*rollup, expected, "seed {seed}, {group:?} at {start:?}");
            spans += u32::from(*span == HOUR) + 100 * u32::from(*span == FIVE_MINUTES);
        }
        assert!(spans > 1000, "seed {seed}: there are rows of both spans");
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
