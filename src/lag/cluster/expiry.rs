//! What is forgotten, and when.
//!
//! A committed offset goes by its own tombstone, with its topic, when its group has not committed for
//! `expire_group`, or by hand; by nothing else. A group goes when it has neither offsets nor
//! members. One that expired, or was deleted by hand, while it has members is only hidden: it comes
//! back with them when it commits.

use super::Cluster;
use super::state::{Group, GroupIndex, Slot, Topics};
use crate::clock::Timestamp;
use crate::lag::evaluation::Phase;

impl Cluster {
    /// Forgets what has expired, and names nobody uses. Does nothing while loading: commits may
    /// still be read.
    pub fn prune(&mut self, now: Timestamp) {
        if self.phase != Phase::Running {
            return;
        }
        self.graves.prune(now);
        let oldest = now.minus(self.settings.rules.expire_group);
        let mut changed = false;
        for group in self.groups.iter_mut() {
            if group.last_commit < oldest && group.has_commits() {
                group.hide();
                changed = true;
            }
        }
        if changed {
            self.drop_unused_topics();
        }
        self.remove_groups(|group| {
            let is_empty = group.topics.is_empty() && !group.membership.is_inhabited();
            // Its kind and protocol type are worth keeping for a while: it may commit soon.
            is_empty && (group.touched_at < oldest || group.membership.is_plain())
        });
    }

    /// Deletes a group, or one topic of it, by hand. The next commit brings it back. False when
    /// there was nothing to delete.
    pub fn forget(&mut self, group: &str, topic: Option<&str>) -> bool {
        let Some(index) = self.groups.find(group) else {
            return false;
        };
        self.shape += 1;
        let topic_index = topic.map(|topic| self.topics.find(topic));
        let Some(group) = self.groups.at_mut(index) else {
            return false;
        };
        let was_shown = group.is_shown();
        match topic_index {
            None => {
                group.hide();
                self.drop_unused_topics_of(index);
                was_shown
            }
            Some(topic) => {
                let Some(used) = topic.and_then(|topic| group.topic_at(topic)) else {
                    return false;
                };
                for slot in &mut group.topics[used].slots {
                    *slot = Slot::default();
                }
                if !group.has_commits() {
                    group.is_hidden = true;
                }
                self.drop_unused_topics_of(index);
                was_shown
            }
        }
    }

    /// Removes the topics of a group that it has neither commits nor owners on.
    pub(super) fn drop_unused_topics_of(&mut self, index: GroupIndex) {
        if let Some(group) = self.groups.at_mut(index) {
            let gone = drop_unused(group, &mut self.topics);
            if gone > 0 {
                self.shape += 1;
                self.tracked = self.tracked.saturating_sub(gone);
            }
        }
    }

    pub(super) fn drop_unused_topics(&mut self) {
        self.shape += 1;
        let mut gone = 0;
        for group in self.groups.iter_mut() {
            gone += drop_unused(group, &mut self.topics);
        }
        self.tracked = self.tracked.saturating_sub(gone);
    }

    fn remove_groups(&mut self, is_gone: impl Fn(&Group) -> bool) {
        let removed = self.groups.remove_if(is_gone);
        if removed > 0 {
            self.shape += 1;
            // The numbers of removed groups will be used again.
            self.graves.clear();
        }
    }
}

impl Group {
    /// Forgets the commits and shows the group no more until it commits again.
    fn hide(&mut self) {
        let slots = self.topics.iter_mut().flat_map(|used| &mut used.slots);
        slots.for_each(Slot::clear_commits);
        self.is_hidden = true;
        self.known = None;
        self.last = None;
    }
}

/// Places that are no longer needed.
fn drop_unused(group: &mut Group, topics: &mut Topics) -> usize {
    let mut gone = 0;
    group.topics.retain(|used| {
        if used.is_used() {
            return true;
        }
        gone += used.slots.len();
        topics.drop_user(used.topic);
        false
    });
    gone
}
