//! The tags and fields of each row, as the catalogue names them.

use super::Row;
use crate::clock::Timestamp;
use crate::lag::evaluation::{
    ClusterSummary, GroupEvaluation, GroupTopic, PartitionEvaluation, Phase, Status, TopicPartition,
};
use crate::lag::optional::{MaybeF32, MaybeI64};
use crate::store::frame::{SinkRow, StatusChange};

/// The value of a field. Floats are never infinite and never NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    Int(i64),
    Float(f32),
    Bool(bool),
    Text(&'a str),
}

/// What a group's topic adds up to. Computed on demand: it is not stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Totals {
    /// Sum of the known lags; absent when none is known.
    pub lag: MaybeI64,
    /// The greatest known lag and its partition, the first on ties; absent when none is known.
    pub max_lag: Option<(i64, u32)>,
    /// Partitions with a known lag above 0.
    pub lagging: u32,
    /// The worst status of the partitions; OK without partitions.
    pub status: Status,
    /// The longest known time lag.
    pub time_lag_s: MaybeF32,
    /// Sums of the known rates; absent when none is known.
    pub consume_rate: MaybeF32,
    pub produce_rate: MaybeF32,
}

/// Adds up the partitions of a group's topic.
pub fn totals_of(topic: &GroupTopic) -> Totals {
    let mut totals = Totals {
        lag: MaybeI64::NONE,
        max_lag: None,
        lagging: 0,
        status: Status::Ok,
        time_lag_s: MaybeF32::NONE,
        consume_rate: MaybeF32::NONE,
        produce_rate: MaybeF32::NONE,
    };
    let (mut consumed, mut produced, mut lag_sum) = (None::<f64>, None::<f64>, None::<i64>);
    let mut time_lag = None::<f32>;
    for (at, state) in (0_u32..).zip(&topic.partitions) {
        if let Some(lag) = state.lag.get() {
            lag_sum = Some(lag_sum.unwrap_or(0).saturating_add(lag));
            totals.lagging += u32::from(lag > 0);
            if totals.max_lag.is_none_or(|(greatest, _)| lag > greatest) {
                totals.max_lag = Some((lag, at));
            }
        }
        totals.status = totals.status.max(state.status());
        if let Some(age) = &state.time_lag {
            time_lag = Some(time_lag.unwrap_or(0.0).max(age.seconds));
        }
        add(&mut consumed, state.consume_rate);
        add(&mut produced, state.produce_rate);
    }
    totals.lag = lag_sum.into();
    totals.time_lag_s = time_lag.into();
    totals.consume_rate = narrow(consumed);
    totals.produce_rate = narrow(produced);
    totals
}

fn add(sum: &mut Option<f64>, value: MaybeF32) {
    if let Some(value) = value.get() {
        *sum = Some(sum.unwrap_or(0.0) + f64::from(value));
    }
}

/// Rounds to the precision of a field; what does not fit is unknown.
#[allow(
    clippy::cast_possible_truncation,
    reason = "rounding to f32 is wanted; an infinite result becomes unknown"
)]
fn narrow(value: Option<f64>) -> MaybeF32 {
    value.map_or(MaybeF32::NONE, |value| MaybeF32::some(value as f32))
}

/// Calls `f` for each tag of the row, sorted by name.
pub(super) fn tags(row: &Row<'_>, f: &mut dyn FnMut(&'static str, &str)) {
    let mut digits = itoa::Buffer::new();
    match row {
        Row::Cluster { evaluation } => f("cluster", evaluation.cluster.as_str()),
        Row::Group { evaluation, group } => {
            f("cluster", evaluation.cluster.as_str());
            f("group", group.id.as_str());
        }
        Row::Topic {
            evaluation,
            group,
            topic,
        } => {
            f("cluster", evaluation.cluster.as_str());
            f("group", group.id.as_str());
            f("topic", topic.topic.as_str());
        }
        Row::Partition {
            evaluation,
            group,
            topic,
            partition,
            ..
        } => {
            f("cluster", evaluation.cluster.as_str());
            f("group", group.id.as_str());
            f("partition", digits.format(*partition));
            f("topic", topic.topic.as_str());
        }
        Row::TopicOffset {
            evaluation,
            topic,
            partition,
            ..
        } => {
            f("cluster", evaluation.cluster.as_str());
            f("partition", digits.format(*partition));
            f("topic", topic.topic.as_str());
        }
        Row::Status { change } => {
            f("cluster", change.cluster.as_str());
            f("group", change.group.as_str());
            if let Some((topic, partition)) = &change.partition {
                f("partition", digits.format(*partition));
                f("topic", topic.as_str());
            }
        }
        Row::Sink { sink } => f("sink", &sink.sink),
        Row::Owned { point } => point.tags.iter().for_each(|(name, value)| f(name, value)),
    }
}

/// Calls `f` for each known field of the row, in the order of the catalogue.
pub(super) fn fields(at: Timestamp, row: &Row<'_>, f: &mut dyn FnMut(&'static str, Value<'_>)) {
    let mut out = Out(f);
    match row {
        Row::Cluster { evaluation } => cluster(evaluation.phase, &evaluation.summary, &mut out),
        Row::Group { group: state, .. } => group(state, &mut out),
        Row::Topic { topic: state, .. } => topic(state, &mut out),
        Row::Partition { state, .. } => partition(at, state, &mut out),
        Row::TopicOffset { log: state, .. } => log(state, &mut out),
        Row::Status { change } => status_change(change, &mut out),
        Row::Sink { sink: row } => sink(row, &mut out),
        Row::Owned { point } => point.fields_where(false, out.0),
    }
}

/// What one point is made of, without what is above it: enough for its fields, not for its tags.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    Cluster(Phase, &'a ClusterSummary),
    Group(&'a GroupEvaluation),
    Topic(&'a GroupTopic),
    Partition(&'a PartitionEvaluation),
    Log(&'a TopicPartition),
}

/// Calls `f` for each known field of a part of the evaluation of beat `at`, as
/// [`super::Point::fields`] does.
pub fn fields_of(at: Timestamp, part: Part<'_>, f: &mut dyn FnMut(&'static str, Value<'_>)) {
    let mut out = Out(f);
    match part {
        Part::Cluster(phase, summary) => cluster(phase, summary, &mut out),
        Part::Group(state) => group(state, &mut out),
        Part::Topic(state) => topic(state, &mut out),
        Part::Partition(state) => partition(at, state, &mut out),
        Part::Log(state) => log(state, &mut out),
    }
}

/// Calls `f` for each known optional field of the row.
pub(super) fn optional_fields(row: &Row<'_>, f: &mut dyn FnMut(&'static str, Value<'_>)) {
    if let Row::Owned { point } = row {
        point.fields_where(true, f);
    } else if let Row::Partition { group, state, .. } = row
        && let Some(member) = state.owner(&group.members)
    {
        f("owner", Value::Text(&member.client_host));
        f("client_id", Value::Text(&member.client_id));
    }
}

struct Out<'f>(&'f mut dyn FnMut(&'static str, Value<'_>));

impl Out<'_> {
    fn int(&mut self, name: &'static str, value: impl Into<i64>) {
        (self.0)(name, Value::Int(value.into()));
    }

    fn count(&mut self, name: &'static str, value: u64) {
        (self.0)(name, Value::Int(i64::try_from(value).unwrap_or(i64::MAX)));
    }

    fn known(&mut self, name: &'static str, value: MaybeI64) {
        if let Some(value) = value.get() {
            (self.0)(name, Value::Int(value));
        }
    }

    fn real(&mut self, name: &'static str, value: MaybeF32) {
        if let Some(value) = value.get() {
            (self.0)(name, Value::Float(value));
        }
    }

    fn text(&mut self, name: &'static str, value: &str) {
        if !value.is_empty() {
            (self.0)(name, Value::Text(value));
        }
    }

    fn status(&mut self, status: Status) {
        self.int("status_code", status.code());
        self.text("status", status.as_str());
    }
}

fn cluster(phase: Phase, summary: &ClusterSummary, out: &mut Out<'_>) {
    let ClusterSummary {
        up,
        reason,
        brokers,
        ..
    } = summary;
    out.int("up", *up);
    // Before everything is read the counts are not known, and 0 would be a lie.
    if phase == Phase::Running {
        out.int("groups", summary.groups);
        out.int("groups_bad", summary.groups_bad);
        out.int("topics", summary.topics);
        out.int("partitions", summary.partitions);
    }
    if let Some(brokers) = brokers {
        out.int("brokers", *brokers);
    }
    out.known("lag", summary.lag);
    out.real("evaluate_ms", summary.evaluate_ms);
    out.real("offsets_age_s", summary.offsets_age_s);
    out.known("reader_lag", summary.reader_lag);
    out.text("reason", reason.as_deref().unwrap_or_default());
}

fn group(group: &GroupEvaluation, out: &mut Out<'_>) {
    let totals = &group.totals;
    let greatest = group
        .topics
        .iter()
        .flat_map(|topic| &topic.partitions)
        .filter_map(|state| state.lag.get())
        .max();
    out.known("lag", totals.lag);
    out.known("max_lag", greatest.into());
    out.int("partitions", totals.partitions);
    out.int("partitions_ok", totals.partitions_ok);
    out.int("partitions_warn", totals.partitions_warn);
    out.int("partitions_stop", totals.partitions_stop);
    out.int("partitions_stall", totals.partitions_stall);
    out.int("partitions_rewind", totals.partitions_rewind);
    out.int("partitions_no_commit", totals.partitions_no_commit);
    out.count("topics", group.topics.len() as u64);
    out.int("members", totals.members);
    out.status(group.status);
    (out.0)("stale", Value::Bool(group.stale));
    out.real("complete", MaybeF32::some(group.complete));
    out.int("partitions_unknown", totals.partitions_unknown);
    if let Some(age) = &totals.time_lag {
        out.real("time_lag_s", MaybeF32::some(age.seconds));
        out.real("time_lag_error_s", age.error_s);
    }
    out.real("eta_s", totals.eta_s);
    out.real("consume_rate", totals.consume_rate);
    out.real("produce_rate", totals.produce_rate);
    out.known("records_lost", totals.records_lost);
    out.real("retention_used", totals.retention_used);
}

fn topic(topic: &GroupTopic, out: &mut Out<'_>) {
    let totals = totals_of(topic);
    out.known("lag", totals.lag);
    if let Some((lag, partition)) = totals.max_lag {
        out.int("max_lag", lag);
        out.int("max_lag_partition", partition);
    }
    out.count("partitions", topic.partitions.len() as u64);
    out.int("partitions_lagging", totals.lagging);
    out.status(totals.status);
    out.real("time_lag_s", totals.time_lag_s);
    out.real("consume_rate", totals.consume_rate);
    out.real("produce_rate", totals.produce_rate);
}

fn partition(at: Timestamp, state: &PartitionEvaluation, out: &mut Out<'_>) {
    out.known("lag", state.lag);
    if let Some(commit) = &state.end {
        out.int("offset", commit.offset);
    }
    out.known("end_offset", state.end_offset);
    out.status(state.status());
    out.real("complete", MaybeF32::some(state.complete));
    if let Some(commit) = &state.end {
        out.real("commit_age_s", age_s(at, commit.timestamp));
    }
    if let Some(age) = &state.time_lag {
        out.real("time_lag_s", MaybeF32::some(age.seconds));
    }
    out.real("eta_s", state.eta_s);
}

fn log(log: &TopicPartition, out: &mut Out<'_>) {
    out.known("end_offset", log.end);
    out.known("begin_offset", log.begin);
}

/// Seconds from `then` to `at`; 0 when a broker's clock is ahead.
#[allow(
    clippy::cast_precision_loss,
    reason = "an age in milliseconds is far below 2^53"
)]
pub(super) fn age_s(at: Timestamp, then: Timestamp) -> MaybeF32 {
    narrow(Some(at.ms_since(then).max(0) as f64 / 1000.0))
}

fn status_change(change: &StatusChange, out: &mut Out<'_>) {
    out.text("from", change.from.as_str());
    out.text("to", change.to.as_str());
    out.int("from_code", change.from.code());
    out.int("to_code", change.to.code());
    out.text("reason", &change.reason);
}

fn sink(row: &SinkRow, out: &mut Out<'_>) {
    let counts = &row.counts;
    out.count("offered", counts.offered);
    out.count("delivered", counts.delivered);
    out.count("filtered", counts.filtered);
    out.count("rejected", counts.rejected);
    out.count("expired", counts.expired);
    out.count("waiting", counts.waiting());
    out.real("oldest_waiting_s", narrow(Some(row.oldest_waiting_s)));
}
