//! What a series is about, and its fields in an evaluation.

use crate::clock::Timestamp;
use crate::lag::evaluation::{GroupEvaluation, TopicEvaluation};
use crate::lag::ids::{GroupId, TopicName};
use crate::points::{Measurement, Part, Value, fields_of};
use crate::store::history::rollup;

/// What a series is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    Cluster,
    Group {
        group: String,
    },
    Topic {
        group: String,
        topic: String,
    },
    Partition {
        group: String,
        topic: String,
        partition: u32,
    },
    /// A topic's partition, whoever reads it.
    Log {
        topic: String,
        partition: u32,
    },
}

impl Subject {
    /// The measurement whose fields it has.
    pub fn measurement(&self) -> Measurement {
        match self {
            Subject::Cluster => Measurement::Cluster,
            Subject::Group { .. } => Measurement::Group,
            Subject::Topic { .. } => Measurement::Topic,
            Subject::Partition { .. } => Measurement::Partition,
            Subject::Log { .. } => Measurement::TopicOffset,
        }
    }

    /// What it is in the rollups. None when they do not have it.
    pub(super) fn rolled(&self) -> Option<rollup::Subject> {
        match self {
            Subject::Group { group } => Some(rollup::Subject::Group(GroupId::new(group.as_str()))),
            Subject::Topic { group, topic } => Some(rollup::Subject::GroupTopic(
                GroupId::new(group.as_str()),
                TopicName::new(topic.as_str()),
            )),
            Subject::Cluster | Subject::Partition { .. } | Subject::Log { .. } => None,
        }
    }
}

/// The asked fields at one beat, in the order in which they were asked for; none when the subject
/// was not there.
pub(super) type Values = Option<Box<[Option<f64>]>>;

impl Subject {
    /// The asked fields of a cluster, group or partition.
    pub(super) fn values(at: Timestamp, part: Part<'_>, fields: &[&'static str]) -> Values {
        let mut values = vec![None; fields.len()].into_boxed_slice();
        fields_of(at, part, &mut |name, value| {
            if let Some(place) = fields.iter().position(|field| *field == name) {
                values[place] = number(value);
            }
        });
        Some(values)
    }

    /// The asked fields of this subject in its group.
    pub(super) fn in_group(
        &self,
        at: Timestamp,
        group: &GroupEvaluation,
        fields: &[&'static str],
    ) -> Values {
        let topic_of = |name: &str| group.topics.iter().find(|it| it.topic.as_str() == name);
        let part = match self {
            Subject::Group { .. } => Part::Group(group),
            Subject::Topic { topic, .. } => Part::Topic(topic_of(topic)?),
            Subject::Partition {
                topic, partition, ..
            } => Part::Partition(topic_of(topic)?.partitions.get(*partition as usize)?),
            Subject::Cluster | Subject::Log { .. } => return None,
        };
        Self::values(at, part, fields)
    }

    /// The asked fields of a partition's log.
    pub(super) fn in_log(
        at: Timestamp,
        topic: &TopicEvaluation,
        partition: u32,
        fields: &[&'static str],
    ) -> Values {
        let log = topic.partitions.get(partition as usize)?;
        Self::values(at, Part::Log(log), fields)
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "offsets above 2^53 do not occur; the value is for a chart"
)]
fn number(value: Value<'_>) -> Option<f64> {
    match value {
        Value::Int(value) => Some(value as f64),
        Value::Float(value) => Some(f64::from(value)),
        Value::Bool(value) => Some(f64::from(u8::from(value))),
        Value::Text(_) => None,
    }
}
