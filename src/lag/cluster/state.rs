//! What is remembered about groups and topics, and how it is found.
//!
//! Groups and topics live in slabs and are named by small numbers; names are kept once. A topic stays
//! as long as Kafka has it or a group uses it. Limits are kept here: nothing is allocated for what
//! they refuse. What the numbers mean is decided in the neighbouring files.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::members::Membership;
use crate::clock::Timestamp;
use crate::lag::evaluation::{GroupEvaluation, Status, TopicEvaluation};
use crate::lag::ids::{GroupId, TopicId, TopicName, coordinator_partition};
use crate::lag::log::Log;
use crate::lag::window::Window;

/// No topic has more partitions: a greater number in a record is an error or an attack, and must
/// not be turned into memory.
pub(super) const PARTITIONS_MAX: i32 = 1 << 18;

/// Index of a group in [`Groups`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct GroupIndex(pub(super) u32);

/// Index of a topic in [`Topics`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TopicIndex(pub(super) u32);

/// One consumer group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: GroupId,
    /// Sorted by index.
    pub(super) topics: Vec<GroupTopic>,
    pub(super) membership: Membership,
    /// The newest commit's time, never later than lagline saw it.
    pub(super) last_commit: Timestamp,
    /// When anything about the group was last heard.
    pub(super) touched_at: Timestamp,
    /// Expired or deleted by hand: not shown until it commits again.
    pub(super) is_hidden: bool,
    /// The last status that was neither stale nor warming, and when.
    pub(super) known: Option<(Status, Timestamp)>,
    /// What the last beat said.
    pub(super) last: Option<Arc<GroupEvaluation>>,
    /// (partitions of the offsets topic, the one that holds this group).
    coordinator: (i32, i32),
}

/// One topic of a group.
#[derive(Debug)]
pub(super) struct GroupTopic {
    pub(super) topic: TopicIndex,
    /// Index = partition; up to the greatest one with a commit or an owner.
    pub(super) slots: Vec<Slot>,
}

/// One partition of a group. There are very many of these: keep it small.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) window: Window,
    /// Index into the shown members plus one; 0 without an owner.
    pub(super) owner: u32,
    pub(super) marks: Marks,
    pub(super) wish: Wish,
    /// Which question for topics was the last before the newest commit was applied (see
    /// `Questions`); 0: an old one, or the commit itself names its topic by id.
    pub(super) asked: u16,
}

/// What is special about a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks(u8);

impl Marks {
    /// Lags are missing that a process running all along would know.
    pub(super) const GAPS: Marks = Marks(1);
    /// Lags were found afterwards, from what Kafka told about the past.
    pub(super) const SEEDED: Marks = Marks(2);
    /// Older commits may have been compacted away.
    pub(super) const CUT: Marks = Marks(4);

    pub(super) fn has(self, mark: Marks) -> bool {
        self.0 & mark.0 != 0
    }

    pub(super) fn bits(self) -> u8 {
        self.0
    }

    /// Nothing when a bit is no mark.
    pub(super) fn from_bits(bits: u8) -> Option<Marks> {
        let all = Self::GAPS.0 | Self::SEEDED.0 | Self::CUT.0;
        (bits & !all == 0).then_some(Marks(bits))
    }

    pub(super) fn set(&mut self, mark: Marks) {
        self.0 |= mark.0;
    }

    pub(super) fn unset(&mut self, mark: Marks) {
        self.0 &= !mark.0;
    }
}

/// Whether Kafka is to be asked about the past for a slot's sake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Wish {
    #[default]
    None,
    /// To be asked with the next questions.
    Wanted,
    /// Asked.
    Waiting,
    /// Answered, refused, or waited for in vain.
    Done,
}

/// One topic of the cluster.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: TopicName,
    pub(super) id: Option<TopicId>,
    /// When `id` was learnt: older commits with another id are about another topic.
    pub(super) id_at: Timestamp,
    /// Kafka's partition count; 0 until it was told.
    pub(super) count: i32,
    /// Index = partition; as far as Kafka told offsets.
    pub(super) logs: Vec<Log>,
    /// Groups that use it.
    users: u32,
    /// Kafka has it.
    pub(super) is_real: bool,
    /// What the last beat said.
    pub(super) last: Option<Arc<TopicEvaluation>>,
}

impl Group {
    fn new(id: GroupId, now: Timestamp) -> Group {
        Group {
            id,
            topics: Vec::new(),
            membership: Membership::default(),
            last_commit: Timestamp::from_ms(i64::MIN),
            touched_at: now,
            is_hidden: false,
            known: None,
            last: None,
            coordinator: (0, 0),
        }
    }

    /// The partition of an offsets topic with this many partitions that holds the group.
    pub(super) fn coordinator(&mut self, partitions: i32) -> i32 {
        if self.coordinator.0 != partitions && partitions > 0 {
            let partition = coordinator_partition(self.id.as_str(), partitions);
            self.coordinator = (partitions, partition.0);
        }
        self.coordinator.1
    }

    pub(super) fn topic_at(&self, topic: TopicIndex) -> Option<usize> {
        match self.topics.as_slice() {
            [only] => (only.topic == topic).then_some(0),
            topics => topics.binary_search_by_key(&topic, |t| t.topic).ok(),
        }
    }

    pub(super) fn has_commits(&self) -> bool {
        self.topics.iter().any(GroupTopic::has_commits)
    }

    /// Whether outputs show the group.
    pub(super) fn is_shown(&self) -> bool {
        !self.is_hidden && (self.membership.is_inhabited() || self.has_commits())
    }
}

impl GroupTopic {
    pub(super) fn has_commits(&self) -> bool {
        self.slots.iter().any(|s| !s.window.is_empty())
    }

    pub(super) fn is_used(&self) -> bool {
        self.slots
            .iter()
            .any(|s| s.owner != 0 || !s.window.is_empty())
    }
}

/// All groups.
#[derive(Debug, Default)]
pub(super) struct Groups {
    by_name: FxHashMap<GroupId, GroupIndex>,
    slab: Vec<Option<Group>>,
    free: Vec<GroupIndex>,
    /// Sorted by name, unless `is_unsorted`.
    order: Vec<GroupIndex>,
    is_unsorted: bool,
}

impl Groups {
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(super) fn find(&self, name: &str) -> Option<GroupIndex> {
        self.by_name.get(name).copied()
    }

    pub(super) fn at(&self, index: GroupIndex) -> Option<&Group> {
        self.slab.get(index.0 as usize)?.as_ref()
    }

    pub(super) fn at_mut(&mut self, index: GroupIndex) -> Option<&mut Group> {
        self.slab.get_mut(index.0 as usize)?.as_mut()
    }

    /// The group of this name, made when it is new. Nothing when the slab is full.
    pub(super) fn make(&mut self, name: &str, now: Timestamp) -> Option<GroupIndex> {
        if let Some(known) = self.find(name) {
            return Some(known);
        }
        let id = GroupId::new(name);
        let group = Group::new(id.clone(), now);
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let index = GroupIndex(u32::try_from(self.slab.len()).ok()?);
                self.slab.push(None);
                index
            }
        };
        *self.slab.get_mut(index.0 as usize)? = Some(group);
        self.by_name.insert(id, index);
        self.order.push(index);
        self.is_unsorted = true;
        Some(index)
    }

    /// All groups, in no order that means anything.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Group> {
        self.slab.iter_mut().flatten()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Group> {
        self.slab.iter().flatten()
    }

    /// Removes the groups a condition names; says how many.
    pub(super) fn remove_if(&mut self, is_gone: impl Fn(&Group) -> bool) -> usize {
        let before = self.by_name.len();
        for (index, place) in self.slab.iter_mut().enumerate() {
            if let Some(group) = place.take_if(|group| is_gone(group)) {
                self.by_name.remove(group.id.as_str());
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                self.free.push(GroupIndex(index));
            }
        }
        let removed = before - self.by_name.len();
        if removed > 0 {
            let slab = &self.slab;
            self.order
                .retain(|i| slab.get(i.0 as usize).is_some_and(Option::is_some));
        }
        removed
    }

    /// Indexes sorted by name; given back with [`Groups::give_back`].
    pub(super) fn take_order(&mut self) -> Vec<GroupIndex> {
        let mut order = std::mem::take(&mut self.order);
        if std::mem::take(&mut self.is_unsorted) {
            let slab = &self.slab;
            let name = |i: &GroupIndex| slab.get(i.0 as usize)?.as_ref().map(|g| &g.id);
            order.sort_by(|a, b| name(a).cmp(&name(b)));
        }
        order
    }

    pub(super) fn give_back(&mut self, order: Vec<GroupIndex>) {
        self.order = order;
    }
}

/// All topics.
#[derive(Debug, Default)]
pub(super) struct Topics {
    by_name: FxHashMap<TopicName, TopicIndex>,
    by_id: FxHashMap<TopicId, TopicIndex>,
    slab: Vec<Option<Topic>>,
    free: Vec<TopicIndex>,
}

impl Topics {
    pub(super) fn find(&self, name: &str) -> Option<TopicIndex> {
        self.by_name.get(name).copied()
    }

    pub(super) fn find_id(&self, id: TopicId) -> Option<TopicIndex> {
        self.by_id.get(&id).copied()
    }

    pub(super) fn at(&self, index: TopicIndex) -> Option<&Topic> {
        self.slab.get(index.0 as usize)?.as_ref()
    }

    pub(super) fn at_mut(&mut self, index: TopicIndex) -> Option<&mut Topic> {
        self.slab.get_mut(index.0 as usize)?.as_mut()
    }

    pub(super) fn log(&self, index: TopicIndex, partition: usize) -> Option<&Log> {
        self.at(index)?.logs.get(partition)
    }

    pub(super) fn name(&self, index: TopicIndex) -> Option<&TopicName> {
        self.at(index).map(|t| &t.name)
    }

    /// The topic of this name, made when it is new. Nothing when the slab is full.
    pub(super) fn make(&mut self, name: &str) -> Option<TopicIndex> {
        if let Some(known) = self.find(name) {
            return Some(known);
        }
        let name = TopicName::new(name);
        let topic = Topic {
            name: name.clone(),
            id: None,
            id_at: Timestamp::from_ms(i64::MIN),
            count: 0,
            logs: Vec::new(),
            users: 0,
            is_real: false,
            last: None,
        };
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let index = TopicIndex(u32::try_from(self.slab.len()).ok()?);
                self.slab.push(None);
                index
            }
        };
        *self.slab.get_mut(index.0 as usize)? = Some(topic);
        self.by_name.insert(name, index);
        Some(index)
    }

    /// Notes the id of a topic.
    pub(super) fn set_id(&mut self, index: TopicIndex, id: TopicId, at: Timestamp) {
        let Some(topic) = self.at_mut(index) else {
            return;
        };
        topic.id_at = at;
        let old = topic.id.replace(id);
        if old != Some(id) {
            if let Some(old) = old {
                self.by_id.remove(&old);
            }
            self.by_id.insert(id, index);
        }
    }

    pub(super) fn add_user(&mut self, index: TopicIndex) {
        if let Some(topic) = self.at_mut(index) {
            topic.users += 1;
        }
    }

    pub(super) fn drop_user(&mut self, index: TopicIndex) {
        if let Some(topic) = self.at_mut(index) {
            topic.users = topic.users.saturating_sub(1);
        }
        self.drop_unused(index);
    }

    /// Forgets a topic that Kafka does not have and no group uses.
    pub(super) fn drop_unused(&mut self, index: TopicIndex) {
        let Some(place) = self.slab.get_mut(index.0 as usize) else {
            return;
        };
        if let Some(topic) = place.take_if(|t| t.users == 0 && !t.is_real) {
            self.by_name.remove(topic.name.as_str());
            if let Some(id) = topic.id {
                self.by_id.remove(&id);
            }
            self.free.push(index);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Topic> {
        self.slab.iter().flatten()
    }

    /// Indexes sorted by name.
    pub(super) fn sorted(&self) -> Vec<TopicIndex> {
        let indexed = (0..).map(TopicIndex).zip(&self.slab);
        let mut sorted: Vec<_> = indexed
            .filter_map(|(index, topic)| Some((&topic.as_ref()?.name, index)))
            .collect();
        sorted.sort_unstable();
        sorted.into_iter().map(|(_, index)| index).collect()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Topic> {
        self.slab.iter_mut().flatten()
    }

    pub(super) fn iter_indexed_mut(&mut self) -> impl Iterator<Item = (TopicIndex, &mut Topic)> {
        (0..).zip(&mut self.slab).filter_map(|(index, topic)| {
            let topic = topic.as_mut()?;
            Some((TopicIndex(index), topic))
        })
    }
}

impl Topic {
    /// The log of a partition, made when it is new; nothing for an impossible partition.
    pub(super) fn log_mut(&mut self, partition: i32) -> Option<&mut Log> {
        if partition >= PARTITIONS_MAX {
            return None;
        }
        let index = usize::try_from(partition).ok()?;
        if index >= self.logs.len() {
            let known = usize::try_from(self.count).unwrap_or(0);
            self.logs
                .reserve_exact(known.max(index + 1) - self.logs.len());
            self.logs.resize_with(index + 1, Log::default);
        }
        self.logs.get_mut(index)
    }

    /// How many partitions it has as far as is known.
    pub(super) fn partitions(&self) -> usize {
        usize::try_from(self.count)
            .unwrap_or(0)
            .max(self.logs.len())
    }
}
