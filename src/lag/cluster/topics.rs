//! Log offsets, and topics that come, change their id and go.
//!
//! Kafka's metadata is believed as it is told here: that one partial answer deletes nothing is seen
//! to by who tells. A topic of another id under the same name is another topic: everything about
//! the old one goes, committed offsets included.
//!
//! Before Kafka 4.1 a commit does not say which topic it means. One that was applied after Kafka had
//! been asked for the last answer about the old topic may be about the new one, and stays: those about
//! the old one go by their own tombstones, which Kafka writes when it deletes a topic.

use super::Cluster;
use super::state::{GroupTopic, Marks, PARTITIONS_MAX, TopicIndex, Wish};
use crate::clock::Timestamp;
use crate::lag::evaluation::Phase;
use crate::lag::event::{Applied, PartitionLog, TopicsAsked};
use crate::lag::ids::TopicId;
use crate::lag::log::{Purpose, Step};

/// Counts the questions for topics, so that a slot can say in two bytes after which one its newest
/// commit came.
#[derive(Debug, Default)]
pub(super) struct Questions {
    last: u64,
    /// Labels count from here.
    base: u64,
}

impl Questions {
    /// The label of what is applied now.
    pub(super) fn label(&self) -> u16 {
        u16::try_from(self.last - self.base).unwrap_or(u16::MAX)
    }

    /// Whether something with this label was applied after the question was asked.
    fn is_since(&self, label: u16, until: TopicsAsked) -> bool {
        label > 0 && self.base + u64::from(label) >= until.0
    }
}

impl Cluster {
    pub(super) fn next_question(&mut self) -> TopicsAsked {
        if self.asked.label() == u16::MAX {
            // Once in a week at most: everything up to now is old.
            let used = self.groups.iter_mut().flat_map(|group| &mut group.topics);
            used.flat_map(|used| &mut used.slots)
                .for_each(|slot| slot.asked = 0);
            self.asked.base = self.asked.last;
        }
        self.asked.last += 1;
        TopicsAsked(self.asked.last)
    }

    pub(super) fn log_offsets(
        &mut self,
        topic: &str,
        partitions: &[PartitionLog],
        at: Timestamp,
        poll: bool,
    ) -> Applied {
        let Some(index) = self.make_topic(topic) else {
            return Applied::OverLimit;
        };
        let rules = &self.settings.rules;
        let is_loaded = self.phase == Phase::Running;
        let mut gone_back = Vec::new();
        let mut outcome = Applied::Noted;
        let Some(topic) = self.topics.at_mut(index) else {
            return Applied::OverLimit;
        };
        for told in partitions {
            let valid = |offset: Option<i64>| offset.filter(|&offset| offset >= 0);
            let Some(log) = topic.log_mut(told.partition) else {
                outcome = Applied::Invalid;
                continue;
            };
            let offsets = (valid(told.start), valid(told.end));
            let purpose = match poll {
                true if !is_loaded && log.is_untold() => Purpose::Start,
                true => Purpose::Poll,
                false => Purpose::Beat,
            };
            if log.answer(at, offsets, purpose, rules) == Step::Back {
                gone_back.extend(usize::try_from(told.partition));
            }
        }
        if !gone_back.is_empty() {
            self.forget_lags(index, &gone_back);
        }
        outcome
    }

    /// The log ends the lags were taken against were not this log's. The commits stay.
    fn forget_lags(&mut self, topic: TopicIndex, partitions: &[usize]) {
        for group in self.groups.iter_mut() {
            let Some(used) = group.topic_at(topic) else {
                continue;
            };
            let slots = &mut group.topics[used].slots;
            for &partition in partitions {
                if let Some(slot) = slots.get_mut(partition) {
                    slot.window.clear_lags();
                    slot.marks.set(Marks::GAPS);
                    // What Kafka tells about the time before is not about this log either.
                    slot.wish = Wish::Done;
                }
            }
        }
    }

    fn make_topic(&mut self, name: &str) -> Option<TopicIndex> {
        let index = match self.topics.find(name) {
            Some(index) => index,
            None => {
                self.shape += 1;
                self.topics.make(name)?
            }
        };
        let topic = self.topics.at_mut(index)?;
        topic.is_real = true;
        Some(index)
    }

    pub(super) fn topic_changed(
        &mut self,
        name: &str,
        id: Option<TopicId>,
        partitions: i32,
        until: TopicsAsked,
        now: Timestamp,
    ) -> Applied {
        let Some(index) = self.make_topic(name) else {
            return Applied::OverLimit;
        };
        let mut outcome = Applied::Noted;
        if let Some(id) = id {
            let known = self.topics.at(index).and_then(|topic| topic.id);
            match known {
                Some(known) if known != id => {
                    self.topic_renewed(index, id, now, Some(until));
                    outcome = Applied::Removed;
                }
                Some(_) => {}
                None => {
                    self.topics.set_id(index, id, now);
                    self.groups.iter_mut().for_each(|g| g.membership.renew());
                }
            }
        }
        if let Some(topic) = self.topics.at_mut(index) {
            topic.count = partitions.clamp(0, PARTITIONS_MAX);
            let count = usize::try_from(topic.count).unwrap_or(0);
            if count < topic.logs.len() {
                topic.logs.truncate(count);
            }
        }
        outcome
    }

    /// The name belongs to another topic from now on. `until`: the last question that was answered
    /// with the old one; absent when it was a commit that told.
    pub(super) fn topic_renewed(
        &mut self,
        index: TopicIndex,
        id: TopicId,
        at: Timestamp,
        until: Option<TopicsAsked>,
    ) {
        self.topics.set_id(index, id, at);
        if let Some(topic) = self.topics.at_mut(index) {
            topic.logs = Vec::new();
            topic.last = None;
        }
        self.shape += 1;
        for group in self.groups.iter_mut() {
            if let Some(used) = group.topic_at(index) {
                keep_since(&mut group.topics[used], &self.asked, until);
            }
            group.membership.renew();
        }
        self.drop_unused_topics();
    }

    pub(super) fn topic_deleted(&mut self, name: &str, until: TopicsAsked) -> Applied {
        let Some(index) = self.topics.find(name) else {
            return Applied::Noted;
        };
        self.shape += 1;
        if let Some(topic) = self.topics.at_mut(index) {
            topic.is_real = false;
            topic.logs = Vec::new();
        }
        let mut gone = 0;
        let mut users = 0;
        for group in self.groups.iter_mut() {
            let Some(used) = group.topic_at(index) else {
                continue;
            };
            keep_since(&mut group.topics[used], &self.asked, Some(until));
            if !group.topics[used].has_commits() {
                gone += group.topics.remove(used).slots.len();
                users += 1;
            }
        }
        self.tracked = self.tracked.saturating_sub(gone);
        for _ in 0..users {
            self.topics.drop_user(index);
        }
        self.topics.drop_unused(index);
        Applied::Removed
    }
}

/// Forgets the commits that are older than the answer to a question.
fn keep_since(used: &mut GroupTopic, asked: &Questions, until: Option<TopicsAsked>) {
    for slot in &mut used.slots {
        if until.is_some_and(|until| asked.is_since(slot.asked, until)) {
            slot.clear_older_commits();
        } else {
            slot.clear_commits();
        }
    }
}
