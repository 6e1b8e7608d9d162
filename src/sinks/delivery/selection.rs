//! Which points of a frame a sink wants.

use std::time::Duration;

use super::{DeliverySettings, Partitions};
use crate::config::patterns::Patterns;
use crate::lag::evaluation::{Evaluation, Status};
use crate::points::{Detail, Measurement, Place, places};
use crate::store::frame::{Body, Frame, StatusChange};

/// A sink's options about what is delivered.
#[derive(Clone, Debug)]
pub struct Selection {
    detail: Detail,
    clusters: Patterns,
    groups: Patterns,
    topics: Patterns,
    partitions: Partitions,
    /// Milliseconds between two beats that are wanted.
    every_ms: i64,
    /// The measurements that the sink takes at all.
    taken: Vec<Measurement>,
}

impl Selection {
    /// The options of `settings`, with beats `interval` apart.
    pub fn new(settings: &DeliverySettings, interval: Duration) -> Self {
        // Of every beat none is left out: what is journaled may be of a time with another interval.
        let every_ms = match settings.every {
            0 | 1 => 1,
            every => interval.saturating_mul(every).as_millis(),
        };
        Self {
            detail: settings.detail,
            clusters: settings.clusters.clone(),
            groups: settings.groups.clone(),
            topics: settings.topics.clone(),
            partitions: settings.partitions,
            every_ms: i64::try_from(every_ms).unwrap_or(i64::MAX).max(1),
            taken: Measurement::ALL.to_vec(),
        }
    }

    /// The same without the measurements that `takes` says no to.
    pub fn only(mut self, takes: impl Fn(Measurement) -> bool) -> Self {
        self.taken.retain(|measurement| takes(*measurement));
        self
    }

    /// Calls `f` for each place that is wanted, in the frame's order.
    pub fn each(&self, frame: &Frame, f: &mut dyn FnMut(Place)) {
        let is_wanted_beat = frame.beat.as_ms().rem_euclid(self.every_ms) == 0;
        let (evaluation, changes) = match &frame.body {
            Body::Evaluation {
                evaluation,
                changes,
            } => (evaluation, changes),
            Body::Sinks(_) => {
                if is_wanted_beat && self.taken.contains(&Measurement::Sink) {
                    places(frame, self.detail).for_each(f);
                }
                return;
            }
        };
        if !self.clusters.wants(evaluation.cluster.as_str()) {
            return;
        }
        let mut names = Names {
            selection: self,
            evaluation,
            changes,
            group: None,
            topic: None,
        };
        for place in places(frame, self.detail) {
            let is_event = matches!(place, Place::StatusChange { .. });
            let is_taken = self.taken.contains(&place.measurement());
            if (is_wanted_beat || is_event) && is_taken && names.want(place) {
                f(place);
            }
        }
    }
}

/// Asks the patterns once for each group and topic, not for each partition.
struct Names<'a> {
    selection: &'a Selection,
    evaluation: &'a Evaluation,
    changes: &'a [StatusChange],
    /// The last answers: for a group, and for a topic (of a group, or on its own).
    group: Option<(u32, bool)>,
    topic: Option<((Option<u32>, u32), bool)>,
}

impl Names<'_> {
    fn want(&mut self, place: Place) -> bool {
        match place {
            Place::Cluster | Place::Sink { .. } => true,
            Place::Group { group } => self.group(group),
            Place::GroupTopic { group, topic } => {
                self.group(group) && self.group_topic(group, topic)
            }
            Place::GroupPartition {
                group,
                topic,
                partition,
            } => {
                self.group(group)
                    && self.group_topic(group, topic)
                    && self.partition(group, topic, partition)
            }
            Place::TopicOffset { topic, .. } => self.own_topic(topic),
            Place::StatusChange { change } => self.changes.get(change as usize).is_some_and(|it| {
                let topic = it.partition.as_ref().map(|(topic, _)| topic.as_str());
                self.selection.groups.wants(it.group.as_str())
                    && topic.is_none_or(|topic| self.selection.topics.wants(topic))
            }),
        }
    }

    fn group(&mut self, at: u32) -> bool {
        if let Some((known, wanted)) = self.group
            && known == at
        {
            return wanted;
        }
        let group = &self.evaluation.groups[at as usize];
        let wanted = self.selection.groups.wants(group.id.as_str());
        self.group = Some((at, wanted));
        wanted
    }

    fn group_topic(&mut self, group: u32, at: u32) -> bool {
        let evaluation = self.evaluation;
        let name = || {
            evaluation.groups[group as usize].topics[at as usize]
                .topic
                .as_str()
        };
        self.topic((Some(group), at), name)
    }

    fn own_topic(&mut self, at: u32) -> bool {
        let evaluation = self.evaluation;
        self.topic((None, at), || evaluation.topics[at as usize].topic.as_str())
    }

    fn topic<'n>(&mut self, key: (Option<u32>, u32), name: impl Fn() -> &'n str) -> bool {
        if let Some((known, wanted)) = self.topic
            && known == key
        {
            return wanted;
        }
        let wanted = self.selection.topics.wants(name());
        self.topic = Some((key, wanted));
        wanted
    }

    fn partition(&self, group: u32, topic: u32, partition: u32) -> bool {
        if self.selection.partitions == Partitions::All {
            return true;
        }
        let topic = &self.evaluation.groups[group as usize].topics[topic as usize];
        let state = &topic.partitions[partition as usize];
        state.lag.get().is_some_and(|lag| lag > 0) || state.status() != Status::Ok
    }
}
