//! Log offsets, and topics that come, change their id and go.
//!
//! Kafka's metadata is believed as it is told here: that one partial answer deletes nothing is seen
//! to by who tells. A topic of another id under the same name is another topic: everything about
//! the old one goes, committed offsets included.

use super::Cluster;
use super::state::{Marks, PARTITIONS_MAX, TopicIndex, Wish};
use crate::clock::Timestamp;
use crate::lag::evaluation::Phase;
use crate::lag::event::{Applied, PartitionLog};
use crate::lag::ids::TopicId;
use crate::lag::log::{Purpose, Step};

impl Cluster {
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
                true if !is_loaded && log.told_at().is_none() => Purpose::Start,
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
                    self.topic_renewed(index, id, now);
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

    /// The name belongs to another topic from now on.
    pub(super) fn topic_renewed(&mut self, index: TopicIndex, id: TopicId, at: Timestamp) {
        self.topics.set_id(index, id, at);
        if let Some(topic) = self.topics.at_mut(index) {
            topic.logs = Vec::new();
            topic.last = None;
        }
        self.shape += 1;
        for group in self.groups.iter_mut() {
            if let Some(used) = group.topic_at(index) {
                let slots = &mut group.topics[used].slots;
                slots.iter_mut().for_each(super::state::Slot::clear_commits);
            }
            group.membership.renew();
        }
        self.drop_unused_topics();
    }

    pub(super) fn topic_deleted(&mut self, name: &str) -> Applied {
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
            if let Some(used) = group.topic_at(index) {
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
