//! What a point is made of, resolved.

use super::{Measurement, OwnedPoint, Place};
use crate::lag::evaluation::{
    Evaluation, GroupEvaluation, GroupTopic, PartitionEvaluation, TopicEvaluation, TopicPartition,
};
use crate::store::frame::{Body, Frame, SinkRow, StatusChange};

/// The parts of the evaluation that a point is about.
#[derive(Clone, Copy, Debug)]
pub enum Row<'a> {
    Cluster {
        evaluation: &'a Evaluation,
    },
    Group {
        evaluation: &'a Evaluation,
        group: &'a GroupEvaluation,
    },
    Topic {
        evaluation: &'a Evaluation,
        group: &'a GroupEvaluation,
        topic: &'a GroupTopic,
    },
    Partition {
        evaluation: &'a Evaluation,
        group: &'a GroupEvaluation,
        topic: &'a GroupTopic,
        partition: u32,
        state: &'a PartitionEvaluation,
    },
    TopicOffset {
        evaluation: &'a Evaluation,
        topic: &'a TopicEvaluation,
        partition: u32,
        log: &'a TopicPartition,
    },
    Status {
        change: &'a StatusChange,
    },
    Sink {
        sink: &'a SinkRow,
    },
    /// A point that stands for itself: read back from a file, or made from history. Encode it with
    /// [`super::Point::tags`] and [`super::Point::fields`].
    Owned {
        point: &'a OwnedPoint,
    },
}

impl<'a> Row<'a> {
    /// The parts at `place`.
    ///
    /// # Panics
    /// When `place` is not a place of `frame`.
    pub(super) fn of(frame: &'a Frame, place: Place) -> Row<'a> {
        match &frame.body {
            Body::Evaluation {
                evaluation,
                changes,
            } => of_evaluation(evaluation, changes, place),
            Body::Sinks(rows) => match place {
                Place::Sink { sink } => Row::Sink {
                    sink: &rows[sink as usize],
                },
                Place::Cluster
                | Place::Group { .. }
                | Place::GroupTopic { .. }
                | Place::GroupPartition { .. }
                | Place::TopicOffset { .. }
                | Place::StatusChange { .. } => panic!("{place:?} is not in a frame of sinks"),
            },
        }
    }

    /// The measurement it belongs to.
    pub fn measurement(&self) -> Measurement {
        match self {
            Row::Cluster { .. } => Measurement::Cluster,
            Row::Group { .. } => Measurement::Group,
            Row::Topic { .. } => Measurement::Topic,
            Row::Partition { .. } => Measurement::Partition,
            Row::TopicOffset { .. } => Measurement::TopicOffset,
            Row::Status { .. } => Measurement::Status,
            Row::Sink { .. } => Measurement::Sink,
            Row::Owned { point } => point.measurement,
        }
    }
}

fn of_evaluation<'a>(
    evaluation: &'a Evaluation,
    changes: &'a [StatusChange],
    place: Place,
) -> Row<'a> {
    match place {
        Place::Cluster => Row::Cluster { evaluation },
        Place::Group { group } => Row::Group {
            evaluation,
            group: &evaluation.groups[group as usize],
        },
        Place::GroupTopic { group, topic } => {
            let group = &evaluation.groups[group as usize];
            Row::Topic {
                evaluation,
                group,
                topic: &group.topics[topic as usize],
            }
        }
        Place::GroupPartition {
            group,
            topic,
            partition,
        } => {
            let group = &evaluation.groups[group as usize];
            let topic = &group.topics[topic as usize];
            let state = &topic.partitions[partition as usize];
            Row::Partition {
                evaluation,
                group,
                topic,
                partition,
                state,
            }
        }
        Place::TopicOffset { topic, partition } => {
            let topic = &evaluation.topics[topic as usize];
            let log = &topic.partitions[partition as usize];
            Row::TopicOffset {
                evaluation,
                topic,
                partition,
                log,
            }
        }
        Place::StatusChange { change } => Row::Status {
            change: &changes[change as usize],
        },
        Place::Sink { .. } => panic!("{place:?} is not in a frame of an evaluation"),
    }
}
