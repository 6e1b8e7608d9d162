//! Which points a frame stands for.

use super::Measurement;
use crate::lag::evaluation::Evaluation;
use crate::store::frame::{Body, Frame, StatusChange};

/// Which part of a frame a point is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Cluster,
    Group {
        group: u32,
    },
    GroupTopic {
        group: u32,
        topic: u32,
    },
    GroupPartition {
        group: u32,
        topic: u32,
        partition: u32,
    },
    TopicOffset {
        topic: u32,
        partition: u32,
    },
    StatusChange {
        change: u32,
    },
    Sink {
        sink: u32,
    },
}

impl Place {
    /// The measurement its point belongs to.
    pub fn measurement(self) -> Measurement {
        match self {
            Place::Cluster => Measurement::Cluster,
            Place::Group { .. } => Measurement::Group,
            Place::GroupTopic { .. } => Measurement::Topic,
            Place::GroupPartition { .. } => Measurement::Partition,
            Place::TopicOffset { .. } => Measurement::TopicOffset,
            Place::StatusChange { .. } => Measurement::Status,
            Place::Sink { .. } => Measurement::Sink,
        }
    }
}

/// How finely a sink is told about groups. Everything about clusters and sinks is always there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Detail {
    /// Groups and their status changes.
    Group,
    /// Also the topics of each group.
    Topic,
    /// Also the partitions: of each group, their status changes, and the topics' own offsets.
    #[default]
    Partition,
}

impl Detail {
    /// Every level, the coarsest first.
    pub const ALL: [Detail; 3] = [Detail::Group, Detail::Topic, Detail::Partition];

    /// Its word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Detail::Group => "group",
            Detail::Topic => "topic",
            Detail::Partition => "partition",
        }
    }
}

/// The points of a frame at a level of detail: the cluster, each group followed by its topics, each
/// followed by its partitions, then the topics' own offsets, then the status changes.
///
/// Partitions of a group that never had a commit, and partitions whose end offset is unknown, have
/// no point.
pub fn places(frame: &Frame, detail: Detail) -> Box<dyn Iterator<Item = Place> + Send + '_> {
    match &frame.body {
        Body::Evaluation {
            evaluation,
            changes,
        } => Box::new(
            std::iter::once(Place::Cluster)
                .chain(group_places(evaluation, detail))
                .chain(offset_places(evaluation, detail))
                .chain(change_places(changes, detail)),
        ),
        Body::Sinks(rows) => Box::new(index(rows.len()).map(|sink| Place::Sink { sink })),
    }
}

/// How many points a frame stands for at full detail: the unit of all delivery counts.
pub fn row_count(body: &Body) -> u64 {
    let (evaluation, changes) = match body {
        Body::Evaluation {
            evaluation,
            changes,
        } => (evaluation, changes),
        Body::Sinks(rows) => return rows.len() as u64,
    };
    let groups: usize = evaluation
        .groups
        .iter()
        .flat_map(|group| &group.topics)
        .map(|topic| 1 + topic.partitions.iter().filter(|p| p.has_commit()).count())
        .sum();
    let offsets: usize = evaluation
        .topics
        .iter()
        .map(|topic| {
            topic
                .partitions
                .iter()
                .filter(|p| p.end.get().is_some())
                .count()
        })
        .sum();
    (1 + evaluation.groups.len() + groups + offsets + changes.len()) as u64
}

fn group_places(evaluation: &Evaluation, detail: Detail) -> impl Iterator<Item = Place> {
    index(evaluation.groups.len())
        .zip(&evaluation.groups)
        .flat_map(move |(group, state)| {
            let topics = if detail >= Detail::Topic {
                state.topics.as_slice()
            } else {
                &[]
            };
            std::iter::once(Place::Group { group }).chain(index(topics.len()).zip(topics).flat_map(
                move |(topic, state)| {
                    let partitions = if detail >= Detail::Partition {
                        state.partitions.as_slice()
                    } else {
                        &[]
                    };
                    std::iter::once(Place::GroupTopic { group, topic }).chain(
                        index(partitions.len())
                            .zip(partitions)
                            .filter(|(_, state)| state.has_commit())
                            .map(move |(partition, _)| Place::GroupPartition {
                                group,
                                topic,
                                partition,
                            }),
                    )
                },
            ))
        })
}

fn offset_places(evaluation: &Evaluation, detail: Detail) -> impl Iterator<Item = Place> {
    let topics = if detail >= Detail::Partition {
        evaluation.topics.as_slice()
    } else {
        &[]
    };
    index(topics.len()).zip(topics).flat_map(|(topic, state)| {
        index(state.partitions.len())
            .zip(&state.partitions)
            .filter(|(_, log)| log.end.get().is_some())
            .map(move |(partition, _)| Place::TopicOffset { topic, partition })
    })
}

fn change_places(changes: &[StatusChange], detail: Detail) -> impl Iterator<Item = Place> {
    index(changes.len())
        .zip(changes)
        .filter(move |(_, change)| change.partition.is_none() || detail >= Detail::Partition)
        .map(|(change, _)| Place::StatusChange { change })
}

/// The indexes of a list; lists of more than 2^32 entries do not exist here.
fn index(len: usize) -> std::ops::Range<u32> {
    0..u32::try_from(len).unwrap_or(u32::MAX)
}
