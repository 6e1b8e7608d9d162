//! Committed offsets and their tombstones.
//!
//! A batch is applied in two passes over a few dozen events at a time: first all names are looked
//! up and every window and log is touched, then the commits are applied. The first pass waits for
//! memory many times at once instead of one time after the other. What it found stays valid until
//! a group, topic or place comes or goes (`shape`), so the outcomes are those of one by one.

use std::hint::black_box;
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::Cluster;
use super::state::{
    Group, GroupIndex, GroupTopic, Marks, PARTITIONS_MAX, Slot, Topic, TopicIndex, Wish,
};
use crate::clock::Timestamp;
use crate::lag::evaluation::Phase;
use crate::lag::event::{Applied, Commit, Event, EventBatch};
use crate::lag::ids::Order;
use crate::lag::log::Log;
use crate::lag::optional::MaybeI64;
use crate::lag::settings::{CommitLag, Rules};
use crate::lag::window::StoredCommit;

/// Events looked at together; their memory fits the first-level cache.
const AHEAD: usize = 32;

/// Clock differences below this are measuring noise, above the other are measuring errors.
const CLOCK_OFFSET_MS: std::ops::Range<i64> = 1_000..300_000;

/// Where a commit belongs.
#[derive(Clone, Copy, Debug)]
struct Place {
    group: GroupIndex,
    /// Index into the group's topics.
    used: usize,
    topic: TopicIndex,
    partition: usize,
}

/// Tombstones of offsets that are gone, so that a commit read twice does not bring one back. Bounded
/// in number and time: the same record is only ever read twice within moments.
#[derive(Debug, Default)]
pub(super) struct Graves(FxHashMap<(GroupIndex, TopicIndex, i32), (Order, Timestamp)>);

impl Graves {
    const MAX: usize = 100_000;
    const KEPT_MS: i64 = 600_000;

    fn dig(&mut self, key: (GroupIndex, TopicIndex, i32), order: Order, now: Timestamp) {
        if self.0.len() < Self::MAX {
            self.0.insert(key, (order, now));
        }
    }

    fn holds(&self, key: (GroupIndex, TopicIndex, i32), order: Order) -> bool {
        !self.0.is_empty() && self.0.get(&key).is_some_and(|(grave, _)| order <= *grave)
    }

    /// Forgets old ones.
    pub(super) fn prune(&mut self, now: Timestamp) {
        self.0
            .retain(|_, (_, at)| (0..Self::KEPT_MS).contains(&now.ms_since(*at)));
    }

    /// Forgets all, because the numbers of groups will be used again.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Cluster {
    /// Applies all events of a batch, in their order; the outcomes are those of [`Cluster::apply`].
    pub fn apply_batch(&mut self, batch: &EventBatch, now: Timestamp) {
        let mut ahead: Vec<(Event<'_>, Option<Place>)> = Vec::with_capacity(AHEAD);
        let mut events = batch.iter().peekable();
        while events.peek().is_some() {
            ahead.clear();
            let mut last = None;
            for event in events.by_ref().take(AHEAD) {
                let mut place = None;
                if let Event::Committed(commit) = &event {
                    place = self.place(commit, &mut last);
                }
                ahead.push((event, place));
            }
            self.touch(&ahead);
            let shape = self.shape;
            for (event, place) in &ahead {
                let outcome = match (event, place) {
                    (Event::Committed(commit), Some(place)) if self.shape == shape => {
                        self.commit_at(commit, *place, now)
                    }
                    _ => self.apply_uncounted(*event, now),
                };
                self.counts.add(outcome);
            }
        }
    }

    /// Where a commit belongs, when everything it names is known and nothing about it is special.
    fn place<'a>(
        &self,
        commit: &Commit<'a>,
        last: &mut Option<(&'a str, &'a str, Place)>,
    ) -> Option<Place> {
        let partition = usize::try_from(commit.partition).ok()?;
        let place = match last {
            Some((group, topic, place)) if *group == commit.group && *topic == commit.topic => {
                *place
            }
            _ => {
                let group = self.groups.find(commit.group)?;
                let topic = self.topics.find(commit.topic)?;
                let used = self.groups.at(group)?.topic_at(topic)?;
                let place = Place {
                    group,
                    used,
                    topic,
                    partition,
                };
                *last = Some((commit.group, commit.topic, place));
                place
            }
        };
        Some(Place { partition, ..place })
    }

    /// Brings the memory of these places near.
    fn touch(&self, ahead: &[(Event<'_>, Option<Place>)]) {
        for (event, place) in ahead {
            if let (Event::Committed(commit), Some(place)) = (event, place) {
                let slot = self
                    .groups
                    .at(place.group)
                    .and_then(|group| group.topics.get(place.used)?.slots.get(place.partition));
                black_box(slot.map(|slot| slot.window.is_newest(commit.order)));
                let log = self.topics.log(place.topic, place.partition);
                black_box(log.and_then(Log::polled));
            }
        }
    }

    pub(super) fn commit(&mut self, commit: &Commit<'_>, now: Timestamp) -> Applied {
        if commit.partition < 0 || commit.offset < 0 {
            return Applied::Invalid;
        }
        if self.is_expired(commit.timestamp, now) {
            return self.too_old(commit.group);
        }
        let Some(partition) = usize::try_from(commit.partition).ok() else {
            return Applied::Invalid;
        };
        let (group, topic) = match self.names_of_today(commit, now) {
            Ok(names) => names,
            Err(refused) => return refused,
        };
        match self.make_slot(group, topic, partition) {
            Some(used) => {
                let place = Place {
                    group,
                    used,
                    topic,
                    partition,
                };
                self.store(commit, place, now)
            }
            None => {
                self.topics.drop_unused(topic);
                Applied::OverLimit
            }
        }
    }

    /// An expired commit brings no group into being; a group of which it is all that is known has
    /// no members to show either.
    fn too_old(&mut self, group: &str) -> Applied {
        if let Some(group) = self.groups.find(group).and_then(|i| self.groups.at_mut(i)) {
            group.is_hidden |= !group.has_commits();
        }
        Applied::TooOld
    }

    /// Group and topic of a commit, unless it is about a topic that had the name before. One that
    /// is about a newer topic makes that known.
    fn names_of_today(
        &mut self,
        commit: &Commit<'_>,
        now: Timestamp,
    ) -> Result<(GroupIndex, TopicIndex), Applied> {
        let (group, mut topic) = self.names(commit, now)?;
        let Some(id) = commit.topic_id else {
            return Ok((group, topic));
        };
        let known = self.topics.at(topic).map(|t| (t.id, t.id_at));
        match known {
            Some((Some(known), _)) if known == id => {}
            Some((Some(_), at)) if commit.timestamp <= at => {
                self.topics.drop_unused(topic);
                return Err(Applied::TooOld);
            }
            Some((Some(_), _)) => {
                self.topic_renewed(topic, id, commit.timestamp, None);
                // The topic may have gone with its last user.
                topic = self.names(commit, now)?.1;
                self.topics.set_id(topic, id, commit.timestamp);
            }
            Some((None, _)) | None => self.topics.set_id(topic, id, commit.timestamp),
        }
        Ok((group, topic))
    }

    fn names(
        &mut self,
        commit: &Commit<'_>,
        now: Timestamp,
    ) -> Result<(GroupIndex, TopicIndex), Applied> {
        let partition_fits = commit.partition < PARTITIONS_MAX;
        let group = match self.groups.find(commit.group) {
            Some(group) => group,
            None if !self.is_wanted(commit.group) => return Err(Applied::Filtered),
            None if self.groups.len() >= self.settings.limits.groups
                || self.tracked >= self.settings.limits.partitions
                || !partition_fits =>
            {
                return Err(Applied::OverLimit);
            }
            None => self
                .make_group(commit.group, now)
                .ok_or(Applied::OverLimit)?,
        };
        if !partition_fits {
            return Err(Applied::OverLimit);
        }
        let topic = match self.topics.find(commit.topic) {
            Some(topic) => topic,
            None if self.tracked >= self.settings.limits.partitions => {
                return Err(Applied::OverLimit);
            }
            None => {
                self.shape += 1;
                self.topics.make(commit.topic).ok_or(Applied::OverLimit)?
            }
        };
        Ok((group, topic))
    }

    pub(super) fn make_group(&mut self, name: &str, now: Timestamp) -> Option<GroupIndex> {
        self.shape += 1;
        self.groups.make(name, now)
    }

    /// The group's entry for a topic with a place for the partition, made when it is new; nothing
    /// when that would be over the limit.
    pub(super) fn make_slot(
        &mut self,
        group: GroupIndex,
        topic: TopicIndex,
        partition: usize,
    ) -> Option<usize> {
        let left = self.settings.limits.partitions.saturating_sub(self.tracked);
        let group = self.groups.at_mut(group)?;
        let known = group.topic_at(topic);
        let places = known.map_or(0, |used| group.topics[used].slots.len());
        if partition < places {
            return known;
        }
        let more = partition + 1 - places;
        if more > left {
            return None;
        }
        self.tracked += more;
        self.shape += 1;
        let used = known.unwrap_or_else(|| {
            self.topics.add_user(topic);
            let at = group.topics.partition_point(|t| t.topic < topic);
            group.topics.insert(
                at,
                GroupTopic {
                    topic,
                    slots: Vec::new(),
                },
            );
            at
        });
        let slots = &mut group.topics[used].slots;
        // Mostly all partitions of a topic are committed to.
        let count = self.topics.at(topic).map_or(0, Topic::partitions);
        slots.reserve_exact(count.min(partition + 1 + left).saturating_sub(slots.len()));
        slots.resize_with(partition + 1, Slot::default);
        Some(used)
    }

    /// Applies a commit whose names are known already.
    fn commit_at(&mut self, commit: &Commit<'_>, place: Place, now: Timestamp) -> Applied {
        if commit.offset < 0 {
            return Applied::Invalid;
        }
        if self.is_expired(commit.timestamp, now) {
            return self.too_old(commit.group);
        }
        let is_another = |id| self.topics.at(place.topic).is_none_or(|t| t.id != Some(id));
        if commit.topic_id.is_some_and(is_another) {
            return self.commit(commit, now);
        }
        self.store(commit, place, now)
    }

    fn store(&mut self, commit: &Commit<'_>, place: Place, now: Timestamp) -> Applied {
        let at = own_clock(commit.timestamp, self.clock_offset_ms()).min(now);
        let rules = &self.settings.rules;
        let lag_is_known_now = self.phase == Phase::Running;
        let log = self.topics.log(place.topic, place.partition);
        let Some(group) = self.groups.at_mut(place.group) else {
            return Applied::OverLimit;
        };
        let Some(slot) = group
            .topics
            .get_mut(place.used)
            .and_then(|used| used.slots.get_mut(place.partition))
        else {
            // The group has not used this partition yet.
            return self.commit(commit, now);
        };
        let key = (place.group, place.topic, commit.partition);
        if slot.window.is_empty() && self.graves.holds(key, commit.order) {
            return Applied::TooOld;
        }
        let is_newest = slot.window.is_newest(commit.order);
        let is_live = at >= now.minus(rules.offset_refresh);
        let lag = if lag_is_known_now && is_newest {
            lag_at(log, commit.offset, at, is_live, rules)
        } else {
            MaybeI64::NONE
        };
        let stored = StoredCommit {
            offset: commit.offset,
            timestamp: commit.timestamp,
            observed_at_s: u32::try_from(now.as_secs().max(0)).unwrap_or(u32::MAX),
            order: commit.order,
            lag,
        };
        let outcome = slot
            .window
            .push(stored, rules.intervals, rules.min_distance);
        if is_newest {
            if lag_is_known_now {
                self.broker_clock.note(commit.timestamp, now);
            }
            let asked = match commit.topic_id {
                None => self.asked.label(),
                Some(_) => 0,
            };
            took_newest(group, place, lag, commit.timestamp.min(now), asked);
        }
        outcome
    }

    pub(super) fn commit_deleted(
        &mut self,
        group: &str,
        topic: &str,
        partition: i32,
        order: Order,
        now: Timestamp,
    ) -> Applied {
        let Some(at) = usize::try_from(partition).ok() else {
            return Applied::Invalid;
        };
        let (Some(group_index), Some(topic)) = (self.groups.find(group), self.topics.find(topic))
        else {
            return Applied::Noted;
        };
        let Some(group) = self.groups.at_mut(group_index) else {
            return Applied::Noted;
        };
        let Some(used) = group.topic_at(topic) else {
            return Applied::Noted;
        };
        let Some(slot) = group.topics[used].slots.get_mut(at) else {
            return Applied::Noted;
        };
        let Some(last) = slot.window.last() else {
            return Applied::Noted;
        };
        if order == last.order {
            return Applied::Duplicate;
        }
        if order < last.order {
            return Applied::TooOld;
        }
        slot.clear_commits();
        self.graves.dig((group_index, topic, partition), order, now);
        self.drop_unused_topics_of(group_index);
        Applied::Removed
    }

    fn is_expired(&self, timestamp: Timestamp, now: Timestamp) -> bool {
        timestamp < now.minus(self.settings.rules.expire_group)
    }
}

impl Slot {
    /// Forgets the commits; the owner stays.
    pub(super) fn clear_commits(&mut self) {
        *self = Slot {
            owner: self.owner,
            ..Slot::default()
        };
    }

    /// Forgets the commits but the newest, and what its lag was.
    pub(super) fn clear_older_commits(&mut self) {
        let (asked, newest) = (self.asked, self.window.last());
        self.clear_commits();
        if let Some(newest) = newest {
            let newest = StoredCommit {
                lag: MaybeI64::NONE,
                ..newest
            };
            self.window.push(newest, 1, Duration::ZERO);
            self.asked = asked;
            self.marks.set(Marks::GAPS);
        }
    }
}

fn took_newest(group: &mut Group, place: Place, lag: MaybeI64, at: Timestamp, asked: u16) {
    group.last_commit = group.last_commit.max(at);
    group.is_hidden = false;
    let slot = group
        .topics
        .get_mut(place.used)
        .and_then(|used| used.slots.get_mut(place.partition));
    if let Some(slot) = slot {
        slot.asked = asked;
        if lag.get().is_none() {
            slot.marks.set(Marks::GAPS);
            if slot.wish == Wish::Done {
                slot.wish = Wish::None;
            }
        }
    }
}

/// A moment of the brokers' clock on lagline's own.
pub(super) fn own_clock(at: Timestamp, clock_offset_ms: Option<i64>) -> Timestamp {
    match clock_offset_ms {
        Some(offset) if CLOCK_OFFSET_MS.contains(&offset.saturating_abs()) => {
            Timestamp::from_ms(at.as_ms().saturating_sub(offset))
        }
        _ => at,
    }
}

/// The lag of a commit of `offset` at the moment `at` (own clock); unknown when no end offset is
/// known for that moment. `is_live`: it is seen as it happens, and not found afterwards.
pub(super) fn lag_at(
    log: Option<&Log>,
    offset: i64,
    at: Timestamp,
    is_live: bool,
    rules: &Rules,
) -> MaybeI64 {
    let Some(log) = log else {
        return MaybeI64::NONE;
    };
    let refresh = rules.offset_refresh;
    let end = match rules.commit_lag {
        CommitLag::LastPoll => log.end_in_force(at, refresh, is_live),
        CommitLag::Interpolated => log.end_at(at, refresh),
    };
    match end {
        // Records that are no longer there: the log may have ended anywhere before its start.
        Some(end) if offset < end && log.start().is_some_and(|start| end <= start) => {
            MaybeI64::NONE
        }
        Some(end) => MaybeI64::some(end.saturating_sub(offset).max(0)),
        None => MaybeI64::NONE,
    }
}
