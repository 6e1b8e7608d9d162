//! One cluster's state: applies events, evaluates groups.
//!
//! [`Cluster`] is a state machine without I/O and without a clock: events go in, an [`Evaluation`]
//! comes out. It decides what is remembered, what is removed and what may be said; how a window
//! takes a commit (`window`), how one is judged (`rules`) and how the numbers beside it are found
//! (`measure`, `log`) is decided there. It reads nothing from Kafka, but it says what it would like
//! to know ([`Cluster::questions`]).
//!
//! - `state`: groups, topics and how they are found; limits on memory.
//! - `commits`: committed offsets and their tombstones, one by one and in batches.
//! - `members`: memberships of classic and KIP-848 groups, owners of partitions.
//! - `topics`: log offsets, topics that come, change their id and go.
//! - `broker_clock`: the brokers' clock against lagline's own.
//! - `reader`: how far the offsets topic is read; loading and being behind.
//! - `seeding`: what a start must ask so that it invents nothing.
//! - `snapshot`: all of it as plain data, for a process that goes on where this one stops.
//! - `evaluate`: a beat. `partition`: one partition at a beat. `expiry`: what is forgotten when.
//!
//! No event can fail or panic, whatever it holds: every one has an outcome that is counted.

mod broker_clock;
mod commits;
mod evaluate;
mod expiry;
mod members;
mod partition;
mod reader;
mod seeding;
pub mod snapshot;
mod state;
#[cfg(test)]
mod tests;
mod topics;

use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};

use self::broker_clock::BrokerClock;
use self::commits::Graves;
use self::reader::Readers;
use self::state::{Groups, Slot, Topics};
use self::topics::Questions;
use super::evaluation::{CommitView, Evaluation, Phase, Status};
use super::event::{Applied, AppliedCounts, Connection, Event, LogQuestion, TopicsAsked};
use super::ids::{ClusterName, TopicName};
use super::optional::EpochSeconds;
use super::settings::{Rules, Settings};
use crate::clock::Timestamp;

/// One cluster: everything known about it, and what to say about it.
#[derive(Debug)]
pub struct Cluster {
    name: ClusterName,
    settings: Settings,
    groups: Groups,
    topics: Topics,
    /// Places for group-partitions that exist; what `Limits::partitions` limits.
    tracked: usize,
    readers: Readers,
    connection: Connection,
    broker_clock: BrokerClock,
    phase: Phase,
    /// When the first complete read ended.
    loaded_at: Option<Timestamp>,
    /// Last journaled statuses, until the groups have one of their own.
    remembered: FxHashMap<Box<str>, (Status, Timestamp)>,
    /// Groups the configuration denies, so that its patterns are not asked again and again.
    denied: FxHashSet<Box<str>>,
    graves: Graves,
    counts: AppliedCounts,
    /// Changes with every group, topic or place that comes or goes; see `commits`.
    shape: u64,
    /// Slots that wait for questions to be asked.
    wishes: usize,
    asked: Questions,
    /// Another process has begun what this one goes on with (see `snapshot`).
    is_restored: bool,
}

/// The commits of a group, for Burrow's consumer detail.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupWindows {
    /// Sorted by name.
    pub topics: Vec<(TopicName, Vec<PartitionWindow>)>,
}

/// The commits of one group-partition.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct PartitionWindow {
    /// Oldest first.
    pub commits: Vec<CommitView>,
    /// The host of the member that reads the partition, with Kafka's slash; empty without one.
    pub owner: String,
    pub client_id: String,
    pub current_lag: i64,
}

impl Cluster {
    /// A cluster of which nothing is known yet.
    pub fn new(name: ClusterName, settings: Settings) -> Cluster {
        Cluster {
            name,
            settings,
            groups: Groups::default(),
            topics: Topics::default(),
            tracked: 0,
            readers: Readers::default(),
            connection: Connection::default(),
            broker_clock: BrokerClock::default(),
            phase: Phase::Waiting,
            loaded_at: None,
            remembered: FxHashMap::default(),
            denied: FxHashSet::default(),
            graves: Graves::default(),
            counts: AppliedCounts::default(),
            shape: 0,
            wishes: 0,
            asked: Questions::default(),
            is_restored: false,
        }
    }

    /// Applies one event. Total: every event has an outcome, none is an error.
    pub fn apply(&mut self, event: Event<'_>, now: Timestamp) -> Applied {
        let outcome = self.apply_uncounted(event, now);
        self.counts.add(outcome);
        outcome
    }

    fn apply_uncounted(&mut self, event: Event<'_>, now: Timestamp) -> Applied {
        match event {
            Event::Committed(commit) => self.commit(&commit, now),
            Event::CommitDeleted {
                group,
                topic,
                partition,
                order,
            } => self.commit_deleted(group, topic, partition, order, now),
            Event::GroupChanged {
                group,
                order,
                change,
            } => self.group_changed(group, order, change, now),
            Event::GroupDeleted { group, order, kind } => {
                self.group_deleted(group, order, kind, now)
            }
            Event::LogOffsets {
                topic,
                partitions,
                at,
                poll,
            } => self.log_offsets(topic, partitions, at, poll),
            Event::LogHistory {
                topic,
                partition,
                points,
            } => self.log_history(topic, partition, points, now),
            Event::TopicChanged {
                topic,
                id,
                partitions,
                until,
            } => self.topic_changed(topic, id, partitions, until, now),
            Event::TopicDeleted { topic, until } => self.topic_deleted(topic, until),
            Event::ReaderProgress(progress) => self.reader_progress(&progress, now),
            Event::Connection(connection) => {
                self.connection = connection.clone();
                Applied::Noted
            }
        }
    }

    /// Remembers a group's last journaled status, for the time until it can be judged again. To be
    /// told before loading.
    pub fn remember_status(&mut self, group: &str, status: Status, at: Timestamp) {
        if self.remembered.len() < self.settings.limits.groups {
            self.remembered.insert(Box::from(group), (status, at));
        }
    }

    /// Takes note that Kafka is about to be asked for its topics; the number of the question.
    pub fn ask_topics(&mut self) -> TopicsAsked {
        self.next_question()
    }

    /// What to ask Kafka about the past; each question is given once. The answers come back as
    /// [`Event::LogHistory`], an empty one when Kafka could not say.
    pub fn questions(&mut self, now: Timestamp) -> Vec<LogQuestion> {
        self.collect_questions(now)
    }

    /// Evaluates every group at `now`, the beat. Same state and `now`, same evaluation.
    ///
    /// An end offset is fresh when it was told at `now` or later.
    pub fn evaluate(&mut self, now: Timestamp) -> Evaluation {
        self.prune(now);
        self.evaluate_at(now)
    }

    /// Whether the groups are known yet.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// How many events had which outcome.
    pub fn counts(&self) -> AppliedCounts {
        self.counts
    }

    /// The commits of a group; nothing for an unknown one and while loading.
    pub fn windows(&self, group: &str) -> Option<GroupWindows> {
        if self.phase != Phase::Running {
            return None;
        }
        let group = self.groups.at(self.groups.find(group)?)?;
        if !group.is_shown() {
            return None;
        }
        let mut topics: Vec<_> = group
            .topics
            .iter()
            .filter_map(|used| {
                let topic = self.topics.at(used.topic)?;
                let count = used.slots.len().max(topic.partitions());
                let windows = (0..count)
                    .map(|partition| {
                        let Some(slot) = used.slots.get(partition) else {
                            return PartitionWindow::default();
                        };
                        let polled = topic.logs.get(partition).and_then(|log| log.polled());
                        let (owner, client_id) = group.membership.owner(slot.owner);
                        PartitionWindow {
                            commits: slot.window.iter().map(view).collect(),
                            owner,
                            client_id,
                            current_lag: current_lag(slot, polled),
                        }
                    })
                    .collect();
                Some((topic.name.clone(), windows))
            })
            .collect();
        topics.sort_by(|a, b| a.0.cmp(&b.0));
        Some(GroupWindows { topics })
    }

    /// An estimate of the bytes kept for groups and topics, without evaluations, names of members
    /// and the allocator's own.
    pub fn core_bytes(&self) -> usize {
        let slots: usize = self
            .groups
            .iter()
            .flat_map(|group| &group.topics)
            .map(|used| {
                let windows: usize = used.slots.iter().map(|s| s.window.heap_bytes()).sum();
                size_of_val(used) + used.slots.capacity() * size_of::<Slot>() + windows
            })
            .sum();
        let groups = self.groups.len() * (size_of::<state::Group>() + 64);
        let topics: usize = self
            .topics
            .iter()
            .map(|topic| {
                let logs: usize = topic.logs.iter().map(|log| log.heap_bytes()).sum();
                size_of_val(topic) + topic.logs.capacity() * size_of::<super::log::Log>() + logs
            })
            .sum();
        slots + groups + topics
    }

    /// Broker clock minus own clock in milliseconds, when known.
    fn clock_offset_ms(&self) -> Option<i64> {
        self.connection
            .clock_offset_ms
            .or(self.broker_clock.offset_ms())
    }

    fn is_wanted(&mut self, group: &str) -> bool {
        /// As many denied names are remembered; beyond them the patterns are asked each time.
        const DENIED_MAX: usize = 10_000;
        if self.denied.contains(group) {
            return false;
        }
        if (self.settings.wanted)(group) {
            return true;
        }
        if self.denied.len() < DENIED_MAX {
            self.denied.insert(Box::from(group));
        }
        false
    }
}

fn view(commit: super::window::StoredCommit) -> CommitView {
    CommitView {
        offset: commit.offset,
        timestamp: commit.timestamp,
        observed_at: EpochSeconds::new(commit.observed_at_s),
        lag: commit.lag,
    }
}

/// Burrow's `current_lag`: newest polled end offset minus newest commit, at least 0; 0 when one of
/// the two is not known.
fn current_lag(slot: &Slot, polled: Option<i64>) -> i64 {
    match (slot.window.last(), polled) {
        (Some(last), Some(end)) => end.saturating_sub(last.offset).max(0),
        _ => 0,
    }
}

/// How old an end offset may be for a status: three polls.
fn patience(rules: &Rules) -> Duration {
    rules.offset_refresh.saturating_mul(3)
}
