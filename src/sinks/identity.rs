//! What neighbouring points have in common, so that encoders escape a name once and not per point.

use std::ptr;

use crate::points::{Measurement, Point, Row};

/// The names that identify a point up to its partition. Points of one batch with the same shared
/// names are equal; whether they are shared is seen without comparing the texts.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    pub measurement: Measurement,
    pub cluster: &'a str,
    pub group: &'a str,
    pub topic: &'a str,
}

impl<'a> Identity<'a> {
    /// The identity of points that come in rows of partitions; none for the others, of which
    /// neighbours have nothing in common.
    pub fn of(point: &Point<'a>) -> Option<Self> {
        let measurement = point.measurement();
        match point.row() {
            Row::Partition {
                evaluation,
                group,
                topic,
                ..
            } => Some(Self {
                measurement,
                cluster: evaluation.cluster.as_str(),
                group: group.id.as_str(),
                topic: topic.topic.as_str(),
            }),
            Row::TopicOffset {
                evaluation, topic, ..
            } => Some(Self {
                measurement,
                cluster: evaluation.cluster.as_str(),
                group: "",
                topic: topic.topic.as_str(),
            }),
            Row::Cluster { .. }
            | Row::Group { .. }
            | Row::Topic { .. }
            | Row::Status { .. }
            | Row::Sink { .. }
            | Row::Owned { .. } => None,
        }
    }

    /// Whether these are the very same names. Equal names that are stored twice count as different.
    pub fn is_same(&self, other: &Self) -> bool {
        self.measurement == other.measurement
            && ptr::eq(self.cluster, other.cluster)
            && ptr::eq(self.group, other.group)
            && ptr::eq(self.topic, other.topic)
    }
}

/// The number of the partition a row of partitions is about.
pub fn partition(point: &Point<'_>) -> Option<u32> {
    match point.row() {
        Row::Partition { partition, .. } | Row::TopicOffset { partition, .. } => Some(partition),
        Row::Cluster { .. }
        | Row::Group { .. }
        | Row::Topic { .. }
        | Row::Status { .. }
        | Row::Sink { .. }
        | Row::Owned { .. } => None,
    }
}
