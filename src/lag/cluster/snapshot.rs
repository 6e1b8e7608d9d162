//! A cluster as plain data, and back: what a process needs that goes on where another stopped.
//!
//! Saved is what events have made: windows, memberships, topics with the history of their end
//! offsets. Not saved is what the next moments tell anyway: whether the cluster answers, how far the reader is,
//! what was asked and not answered, what the last beat said.
//!
//! A restored cluster knows nothing of the time in between. It waits, as a new one does, until the
//! end offsets are known and the offsets topic is read to its end; commits found there are replayed
//! ones, whose lags are asked for (`seeding`), and the history of end offsets has a gap (`log::gap`).
//! Restored commits count as older than any question for topics: those of a topic that has another
//! id by now go.
//!
//! Restoring is total: data that no cluster can have left is refused with a reason, and nothing is
//! ever allocated beyond the data itself.

use rustc_hash::FxHashMap;

use super::Cluster;
use super::broker_clock::BrokerClock;
use super::members::Membership;
pub use super::members::{SavedJoined, SavedMembership};
use super::state::{GroupIndex, GroupTopic, Marks, PARTITIONS_MAX, Slot, TopicIndex};
use crate::clock::Timestamp;
use crate::lag::evaluation::Status;
use crate::lag::ids::{ClusterName, GroupId, TopicId, TopicName};
use crate::lag::log::Log;
pub use crate::lag::log::{SavedLog, SavedPoint};
use crate::lag::settings::Settings;
use crate::lag::window::{StoredCommit, Window};

/// A topic.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedTopic {
    pub name: TopicName,
    pub id: Option<TopicId>,
    /// When the id was learnt.
    pub id_at: Timestamp,
    /// Partitions as Kafka told; 0 when it did not.
    pub count: i32,
    /// Kafka has it; otherwise only groups use the name.
    pub is_real: bool,
    /// Index = partition.
    pub logs: Vec<SavedLog>,
}

/// A consumer group.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedGroup {
    pub id: GroupId,
    pub last_commit: Timestamp,
    pub touched_at: Timestamp,
    pub is_hidden: bool,
    /// The last status that was sure, and when.
    pub known: Option<(Status, Timestamp)>,
    pub membership: SavedMembership,
    pub topics: Vec<SavedUse>,
}

/// One topic of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedUse {
    /// Place in the list of topics.
    pub topic: u32,
    /// Index = partition.
    pub slots: Vec<SavedSlot>,
}

/// One partition of a group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SavedSlot {
    /// Oldest first.
    pub commits: Vec<StoredCommit>,
    /// Place of the owner in the shown members, plus one; 0 without one.
    pub owner: u32,
    /// What is special about the commits; 0 for nothing.
    pub marks: u8,
}

/// Why data cannot be a cluster's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Impossible(pub &'static str);

/// A cluster at one moment. Topics and groups are made one by one as they are asked for, so that a
/// large cluster is not in memory twice.
#[derive(Debug)]
pub struct Snapshot<'a> {
    cluster: &'a Cluster,
    topics: Vec<TopicIndex>,
    numbers: FxHashMap<TopicIndex, u32>,
    groups: Vec<GroupIndex>,
}

impl Cluster {
    /// The cluster as it is now.
    pub fn snapshot(&mut self) -> Snapshot<'_> {
        let groups = self.groups.take_order();
        for &group in &groups {
            self.settle_members(group);
        }
        self.groups.give_back(groups.clone());
        let topics = self.topics.sorted();
        let numbers = topics.iter().copied().zip(0..).collect();
        Snapshot {
            cluster: self,
            topics,
            numbers,
            groups,
        }
    }

    /// The topics that Kafka has, with their ids and numbers of partitions; in no order.
    pub fn real_topics(&self) -> impl Iterator<Item = (&TopicName, Option<TopicId>, i32)> {
        let real = self.topics.iter().filter(|topic| topic.is_real);
        real.map(|topic| (&topic.name, topic.id, topic.count))
    }
}

impl Snapshot<'_> {
    /// Broker clock minus own clock in milliseconds, when measured.
    pub fn clock_offset_ms(&self) -> Option<i64> {
        self.cluster.broker_clock.offset_ms()
    }

    /// Every topic, sorted by name.
    pub fn topics(&self) -> impl Iterator<Item = SavedTopic> {
        self.topics.iter().filter_map(|&index| {
            let topic = self.cluster.topics.at(index)?;
            Some(SavedTopic {
                name: topic.name.clone(),
                id: topic.id,
                id_at: topic.id_at,
                count: topic.count,
                is_real: topic.is_real,
                logs: topic.logs.iter().map(Log::save).collect(),
            })
        })
    }

    /// Every group, sorted by name.
    pub fn groups(&self) -> impl Iterator<Item = SavedGroup> {
        self.groups.iter().filter_map(|&index| {
            let group = self.cluster.groups.at(index)?;
            let mut topics: Vec<SavedUse> = group
                .topics
                .iter()
                .filter_map(|used| {
                    Some(SavedUse {
                        topic: *self.numbers.get(&used.topic)?,
                        slots: used.slots.iter().map(saved_slot).collect(),
                    })
                })
                .collect();
            topics.sort_unstable_by_key(|used| used.topic);
            Some(SavedGroup {
                id: group.id.clone(),
                last_commit: group.last_commit,
                touched_at: group.touched_at,
                is_hidden: group.is_hidden,
                known: group.known,
                membership: group.membership.save(),
                topics,
            })
        })
    }
}

fn saved_slot(slot: &Slot) -> SavedSlot {
    SavedSlot {
        commits: slot.window.iter().collect(),
        owner: slot.owner,
        marks: slot.marks.bits(),
    }
}

/// A cluster that is being restored: all topics first, then the groups.
#[derive(Debug)]
pub struct Restoring {
    cluster: Cluster,
    topics: Vec<TopicIndex>,
}

impl Restoring {
    /// Begins with nothing. The settings must be those the cluster was saved with, as far as they
    /// decide what is kept.
    pub fn new(name: ClusterName, settings: Settings, clock_offset_ms: Option<i64>) -> Restoring {
        let mut cluster = Cluster::new(name, settings);
        cluster.broker_clock = BrokerClock::restore(clock_offset_ms);
        cluster.is_restored = true;
        Restoring {
            cluster,
            topics: Vec::new(),
        }
    }

    /// Takes the next topic.
    ///
    /// # Errors
    /// When there cannot have been such a topic; the cluster is then of no use.
    pub fn topic(&mut self, saved: &SavedTopic) -> Result<(), Impossible> {
        let most = usize::try_from(PARTITIONS_MAX).unwrap_or(usize::MAX);
        if !(0..=PARTITIONS_MAX).contains(&saved.count) || saved.logs.len() > most {
            return Err(Impossible("a topic has too many partitions"));
        }
        let topics = &mut self.cluster.topics;
        if topics.find(saved.name.as_str()).is_some() {
            return Err(Impossible("a topic is there twice"));
        }
        let intervals = self.cluster.settings.rules.intervals;
        let logs: Option<Vec<Log>> = saved
            .logs
            .iter()
            .map(|log| Log::restore(log, intervals))
            .collect();
        let logs = logs.ok_or(Impossible("a log's end offsets cannot be"))?;
        let index = topics
            .make(saved.name.as_str())
            .ok_or(Impossible("there are too many topics"))?;
        if let Some(id) = saved.id {
            if topics.find_id(id).is_some() {
                return Err(Impossible("two topics have one id"));
            }
            topics.set_id(index, id, saved.id_at);
        }
        if let Some(topic) = topics.at_mut(index) {
            topic.count = saved.count;
            topic.is_real = saved.is_real;
            topic.logs = logs;
        }
        self.topics.push(index);
        Ok(())
    }

    /// Takes the next group.
    ///
    /// # Errors
    /// When there cannot have been such a group; the cluster is then of no use.
    pub fn group(&mut self, saved: SavedGroup) -> Result<(), Impossible> {
        let cluster = &mut self.cluster;
        if cluster.groups.find(saved.id.as_str()).is_some() {
            return Err(Impossible("a group is there twice"));
        }
        if cluster.groups.len() >= cluster.settings.limits.groups {
            return Err(Impossible("there are too many groups"));
        }
        let index = cluster
            .make_group(saved.id.as_str(), saved.touched_at)
            .ok_or(Impossible("there are too many groups"))?;
        let members = u32::try_from(saved.membership.shown.len()).unwrap_or(u32::MAX);
        let mut topics = Vec::with_capacity(saved.topics.len());
        for used in saved.topics {
            let place = usize::try_from(used.topic).ok();
            let topic = place.and_then(|place| self.topics.get(place));
            let &topic = topic.ok_or(Impossible("a group uses a topic that is not there"))?;
            let most = usize::try_from(PARTITIONS_MAX).unwrap_or(usize::MAX);
            let left = cluster
                .settings
                .limits
                .partitions
                .saturating_sub(cluster.tracked);
            if used.slots.len() > most.min(left) {
                return Err(Impossible("there are too many partitions"));
            }
            cluster.tracked += used.slots.len();
            let intervals = cluster.settings.rules.intervals;
            let slots: Result<Vec<Slot>, Impossible> = used
                .slots
                .into_iter()
                .map(|slot| restored_slot(slot, members, intervals))
                .collect();
            let slots = slots?;
            cluster.topics.add_user(topic);
            topics.push(GroupTopic { topic, slots });
        }
        topics.sort_unstable_by_key(|used| used.topic);
        if topics.windows(2).any(|two| two[0].topic == two[1].topic) {
            return Err(Impossible("a group uses a topic twice"));
        }
        let group = cluster.groups.at_mut(index);
        let group = group.ok_or(Impossible("there are too many groups"))?;
        group.topics = topics;
        group.last_commit = saved.last_commit;
        group.is_hidden = saved.is_hidden;
        group.known = saved.known;
        group.membership = Membership::restore(saved.membership);
        Ok(())
    }

    /// The cluster.
    pub fn finish(self) -> Cluster {
        self.cluster
    }
}

fn restored_slot(saved: SavedSlot, members: u32, intervals: usize) -> Result<Slot, Impossible> {
    if saved.commits.len() > intervals.max(1) {
        return Err(Impossible("a window holds too many commits"));
    }
    if saved.owner > members {
        return Err(Impossible("a partition's owner is no member"));
    }
    let window = Window::restore(saved.commits);
    Ok(Slot {
        window: window.ok_or(Impossible("a window's commits cannot be"))?,
        owner: saved.owner,
        marks: Marks::from_bits(saved.marks).ok_or(Impossible("a mark is not known"))?,
        ..Slot::default()
    })
}
