//! What five minutes and an hour of a group or a topic come to.
//!
//! Frames are taken beat by beat; what comes out is plain rows. Records are counted from offsets: an
//! offset that goes back (a rewind, a new topic) counts nothing and is counted from again. The step
//! from the last beat before belongs to the first beat behind it; without one, counting begins with
//! the second. What is unknown at every beat is absent.

use std::collections::BTreeMap;
use std::time::Duration;

use super::HOUR;
use crate::clock::Timestamp;
use crate::lag::evaluation::{GroupEvaluation, GroupTopic, Status, TopicEvaluation};
use crate::lag::ids::{GroupId, TopicName};

/// The shorter span.
pub const FIVE_MINUTES: Duration = Duration::from_secs(300);

/// Seconds in each status of a group: beats in it times the shortest distance of two beats of the
/// hour.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct StatusSeconds {
    pub ok: f64,
    pub warn: f64,
    pub err: f64,
}

/// What a row is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A group with all of its topics.
    Group(GroupId),
    /// One topic of a group.
    GroupTopic(GroupId, TopicName),
    /// A topic, whoever reads it: only produced records.
    Topic(TopicName),
}

/// One subject in one span of time. What was unknown all the time is absent.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Rollup {
    /// Beats at which the subject was there.
    pub beats: u32,
    /// Sum of the partitions' lags at a beat: least, mean, greatest, and what 95 % of the beats do
    /// not exceed (nearest rank).
    pub lag_min: Option<i64>,
    pub lag_avg: Option<f64>,
    pub lag_max: Option<i64>,
    pub lag_p95: Option<i64>,
    /// The longest time lag, in seconds.
    pub time_lag_max_s: Option<f64>,
    /// Records.
    pub produced: Option<i64>,
    pub consumed: Option<i64>,
    /// The greatest rates of a beat, in records a second.
    pub produce_rate_max: Option<f64>,
    pub consume_rate_max: Option<f64>,
    /// Of a group's topic: that of its worst partition. Absent for topics, and with a single beat.
    pub status_s: Option<StatusSeconds>,
}

/// A row to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub subject: Subject,
    pub start: Timestamp,
    /// [`FIVE_MINUTES`] or [`HOUR`].
    pub span: Duration,
    pub rollup: Rollup,
}

/// What is known of a subject at one beat.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    lag: Option<i64>,
    time_lag: Option<f32>,
    produce_rate: Option<f32>,
    consume_rate: Option<f32>,
    produced: Option<i64>,
    consumed: Option<i64>,
    status: Option<Status>,
}

/// A span that is being filled.
#[derive(Debug, Default)]
struct Sums {
    rollup: Rollup,
    lags: Vec<i64>,
    /// In OK, WARN and ERR.
    beats_in: Option<[u32; 3]>,
}

fn greater<T: PartialOrd>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b > a { b } else { a }),
        (a, b) => a.or(b),
    }
}

fn plus(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (a, b) => a.or(b),
    }
}

impl Sums {
    fn add(&mut self, sample: &Sample) {
        let Rollup {
            time_lag_max_s,
            produced,
            consumed,
            produce_rate_max,
            consume_rate_max,
            ..
        } = &mut self.rollup;
        *time_lag_max_s = greater(*time_lag_max_s, sample.time_lag.map(f64::from));
        *produced = plus(*produced, sample.produced);
        *consumed = plus(*consumed, sample.consumed);
        *produce_rate_max = greater(*produce_rate_max, sample.produce_rate.map(f64::from));
        *consume_rate_max = greater(*consume_rate_max, sample.consume_rate.map(f64::from));
        self.rollup.beats += 1;
        self.lags.extend(sample.lag);
        if let Some(status) = sample.status {
            let [ok, warn, err] = self.beats_in.get_or_insert_default();
            match status.for_group() {
                Status::Warn => *warn += 1,
                Status::NotFound | Status::Ok => *ok += 1,
                Status::Err | Status::Stop | Status::Stall | Status::Rewind => *err += 1,
            }
        }
    }

    fn append(&mut self, other: &Sums) {
        let (a, b) = (&mut self.rollup, &other.rollup);
        a.beats += b.beats;
        a.time_lag_max_s = greater(a.time_lag_max_s, b.time_lag_max_s);
        a.produced = plus(a.produced, b.produced);
        a.consumed = plus(a.consumed, b.consumed);
        a.produce_rate_max = greater(a.produce_rate_max, b.produce_rate_max);
        a.consume_rate_max = greater(a.consume_rate_max, b.consume_rate_max);
        self.lags.extend_from_slice(&other.lags);
        if let Some(others) = &other.beats_in {
            let counts = self.beats_in.get_or_insert_default();
            counts.iter_mut().zip(others).for_each(|(a, b)| *a += b);
        }
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "a mean of lags needs no more than 15 digits"
    )]
    fn finish(mut self, beat: Option<Duration>) -> Rollup {
        self.lags.sort_unstable();
        let count = self.lags.len();
        let sum: i128 = self.lags.iter().map(|lag| i128::from(*lag)).sum();
        Rollup {
            lag_min: self.lags.first().copied(),
            lag_max: self.lags.last().copied(),
            lag_avg: (count > 0).then(|| sum as f64 / count as f64),
            lag_p95: (95 * count)
                .div_ceil(100)
                .checked_sub(1)
                .map(|at| self.lags[at]),
            status_s: self.beats_in.zip(beat).map(|(counts, beat)| {
                let [ok, warn, err] = counts.map(|count| f64::from(count) * beat.as_secs_f64());
                StatusSeconds { ok, warn, err }
            }),
            ..self.rollup
        }
    }
}

/// One subject's hour, in spans of five minutes.
#[derive(Debug, Default)]
struct Spans(BTreeMap<Timestamp, Sums>);

impl Spans {
    fn add(&mut self, beat: Timestamp, sample: &Sample) {
        self.0
            .entry(beat.aligned(FIVE_MINUTES))
            .or_default()
            .add(sample);
    }

    fn rows(self, subject: &Subject, beat: Option<Duration>, rows: &mut Vec<Row>) {
        let mut hours: BTreeMap<Timestamp, Sums> = BTreeMap::new();
        for (start, sums) in self.0 {
            hours.entry(start.aligned(HOUR)).or_default().append(&sums);
            rows.push(Row {
                subject: subject.clone(),
                start,
                span: FIVE_MINUTES,
                rollup: sums.finish(beat),
            });
        }
        rows.extend(hours.into_iter().map(|(start, sums)| Row {
            subject: subject.clone(),
            start,
            span: HOUR,
            rollup: sums.finish(beat),
        }));
    }
}

/// The last known offset of each partition.
#[derive(Debug, Default)]
struct Offsets(Vec<Option<i64>>);

impl Offsets {
    /// By how much the offsets grew since they were last known. None when none was known before.
    fn step(&mut self, now: impl Iterator<Item = Option<i64>>) -> Option<i64> {
        let mut grown = None;
        for (partition, now) in now.enumerate() {
            let Some(now) = now else {
                continue;
            };
            if self.0.len() <= partition {
                self.0.resize(partition + 1, None);
            }
            if let Some(before) = self.0[partition].replace(now) {
                grown = plus(grown, Some(now.saturating_sub(before).max(0)));
            }
        }
        grown
    }
}

#[derive(Debug, Default)]
struct OfTopic {
    spans: Spans,
    ends: Offsets,
    commits: Offsets,
}

#[derive(Debug, Default)]
struct OfGroup {
    spans: Spans,
    topics: BTreeMap<TopicName, OfTopic>,
}

/// Groups whose spans are being filled.
#[derive(Debug, Default)]
pub(super) struct GroupRollups(BTreeMap<GroupId, OfGroup>);

impl GroupRollups {
    /// Notes the offsets of a beat before the hour, from which is counted.
    pub(super) fn base(&mut self, group: &GroupEvaluation) {
        let of_group = self.0.entry(group.id.clone()).or_default();
        for topic in &group.topics {
            of_group
                .topics
                .entry(topic.topic.clone())
                .or_default()
                .steps(topic);
        }
    }

    /// Takes a group at a beat.
    pub(super) fn add(&mut self, beat: Timestamp, group: &GroupEvaluation) {
        let of_group = self.0.entry(group.id.clone()).or_default();
        let totals = &group.totals;
        let mut whole = Sample {
            lag: totals.lag.get(),
            time_lag: totals.time_lag.map(|time_lag| time_lag.seconds),
            produce_rate: totals.produce_rate.get(),
            consume_rate: totals.consume_rate.get(),
            status: Some(group.status),
            ..Sample::default()
        };
        for topic in &group.topics {
            let of_topic = of_group.topics.entry(topic.topic.clone()).or_default();
            let (produced, consumed) = of_topic.steps(topic);
            let sample = Sample {
                produced,
                consumed,
                ..sample_of(topic)
            };
            whole.produced = plus(whole.produced, produced);
            whole.consumed = plus(whole.consumed, consumed);
            of_topic.spans.add(beat, &sample);
        }
        of_group.spans.add(beat, &whole);
    }

    /// The rows in the order of their subjects; `beat` is the distance of two beats.
    pub(super) fn rows(self, beat: Option<Duration>) -> Vec<Row> {
        let mut rows = Vec::new();
        for (id, group) in self.0 {
            group
                .spans
                .rows(&Subject::Group(id.clone()), beat, &mut rows);
            for (topic, of_topic) in group.topics {
                let subject = Subject::GroupTopic(id.clone(), topic);
                of_topic.spans.rows(&subject, beat, &mut rows);
            }
        }
        rows
    }
}

impl OfTopic {
    /// Records produced and consumed since the last beat.
    fn steps(&mut self, topic: &GroupTopic) -> (Option<i64>, Option<i64>) {
        let rows = topic.partitions.iter();
        let produced = self.ends.step(rows.clone().map(|row| row.end_offset.get()));
        let consumed = self
            .commits
            .step(rows.map(|row| row.end.map(|commit| commit.offset)));
        (produced, consumed)
    }
}

/// A group's topic at a beat, without counted records.
fn sample_of(topic: &GroupTopic) -> Sample {
    let mut sample = Sample::default();
    let mut worst = Status::Ok;
    for row in &topic.partitions {
        sample.lag = plus(sample.lag, row.lag.get());
        sample.time_lag = greater(sample.time_lag, row.time_lag.map(|lag| lag.seconds));
        let add = |sum: Option<f32>, rate: Option<f32>| match (sum, rate) {
            (Some(sum), Some(rate)) => Some(sum + rate),
            (sum, rate) => sum.or(rate),
        };
        sample.produce_rate = add(sample.produce_rate, row.produce_rate.get());
        sample.consume_rate = add(sample.consume_rate, row.consume_rate.get());
        worst = worst.max(row.status());
    }
    sample.status = Some(worst.for_group());
    sample
}

/// Topics whose spans are being filled.
#[derive(Debug, Default)]
pub(super) struct TopicRollups(BTreeMap<TopicName, OfTopic>);

impl TopicRollups {
    /// Notes the offsets of a beat before the hour, from which is counted.
    pub(super) fn base(&mut self, topic: &TopicEvaluation) {
        let of_topic = self.0.entry(topic.topic.clone()).or_default();
        of_topic
            .ends
            .step(topic.partitions.iter().map(|row| row.end.get()));
    }

    /// Takes a topic at a beat.
    pub(super) fn add(&mut self, beat: Timestamp, topic: &TopicEvaluation) {
        let of_topic = self.0.entry(topic.topic.clone()).or_default();
        let rows = topic.partitions.iter();
        let rates = rows.clone().filter_map(|row| row.produce_rate.get());
        let sample = Sample {
            produced: of_topic.ends.step(rows.map(|row| row.end.get())),
            produce_rate: rates.reduce(|a, b| a + b),
            ..Sample::default()
        };
        of_topic.spans.add(beat, &sample);
    }

    /// The rows in the order of their subjects.
    pub(super) fn rows(self) -> Vec<Row> {
        let mut rows = Vec::new();
        for (topic, of_topic) in self.0 {
            of_topic.spans.rows(&Subject::Topic(topic), None, &mut rows);
        }
        rows
    }
}
