//! What a start must ask, so that it invents nothing.
//!
//! A replayed commit says nothing about the log at its time, and end offsets of the last minutes are
//! missing from the ring. For every partition that somebody lags on, Kafka is therefore asked for
//! the end offsets at the commits' times and at the times of the polls that were not made. The same
//! is done for commits that arrive late because lagline could not see the cluster.
//!
//! - Only partitions with lag need an answer. Where the group is caught up now, it was caught up at
//!   its last commit too (a log only grows), and that is all the rules ask for.
//! - Until the answer is there the group is `warming`: the last journaled status speaks for it,
//!   unless it has committed since and may have recovered. That ends after [`ANSWER_WITHIN`] at the
//!   latest. What stays unknown then is not made up: a window with such gaps shows neither WARN nor
//!   STALL, and no STOP is shown until the ring has filled itself. It is asked again now and then.
//! - With `commit_lag = "last_poll"` the moments asked for are the polls' (multiples of
//!   `offset_refresh`), not the commits' own: a process running all along would have taken the lag
//!   against those, and Burrow's rules depend on the difference.
//! - A window that compaction has cut short shows less than a process running all along would
//!   have seen; `partition` is careful with those.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Cluster;
use super::commits::{lag_at, own_clock};
use super::state::{Marks, Slot, TopicIndex, Wish};
use crate::clock::Timestamp;
use crate::lag::event::{Applied, LogQuestion};
use crate::lag::log::{Asked, Log};
use crate::lag::optional::MaybeI64;
use crate::lag::settings::{CommitLag, Rules};

/// How long an answer is waited for.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// How soon the same partition may be asked for again.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(300);
/// Partitions whose time lag is looked for with one round of questions; the others come next.
const DIGS_AT_ONCE: usize = 500;
/// More points than that are no answer to any question.
const POINTS_MAX: usize = 4_096;

/// What is needed to look at a slot's past.
#[derive(Clone, Copy)]
pub(super) struct Past<'a> {
    pub(super) rules: &'a Rules,
    pub(super) clock_offset_ms: Option<i64>,
    pub(super) now: Timestamp,
}

impl Past<'_> {
    /// Fills in the lags that are known by now. What is still missing stays marked.
    pub(super) fn fill(self, slot: &mut Slot, log: &Log) {
        if !slot.marks.has(Marks::GAPS) {
            return;
        }
        let Some(newest) = log.last_end() else {
            return;
        };
        let (asked, asked_at) = log.asked();
        let mut is_missing = false;
        for index in 0..slot.window.len() {
            let Some(commit) = slot.window.at(index) else {
                break;
            };
            if commit.lag.get().is_some() {
                continue;
            }
            let at = own_clock(commit.timestamp, self.clock_offset_ms).min(self.now);
            let mut lag = lag_at(Some(log), commit.offset, at, false, self.rules);
            if lag.get().is_none() && newest <= commit.offset {
                // The log has not passed it yet, so it had not passed it then.
                lag = MaybeI64::some(0);
            }
            if lag.get().is_none() {
                is_missing = true;
                continue;
            }
            slot.window.set_lag(index, lag);
            if asked == Asked::Answered && i64::from(commit.observed_at_s) <= asked_at.as_secs() {
                slot.marks.set(Marks::SEEDED);
            }
        }
        if !is_missing {
            slot.marks.unset(Marks::GAPS);
        }
    }

    /// Whether lags are missing that no poll to come will tell.
    pub(super) fn has_gaps(self, slot: &Slot, log: &Log) -> bool {
        slot.marks.has(Marks::GAPS)
            && slot.window.iter().any(|commit| {
                let at = own_clock(commit.timestamp, self.clock_offset_ms).min(self.now);
                commit.lag.get().is_none() && log.told_at().is_some_and(|told| at <= told)
            })
    }

    /// Whether a lagging partition can only be judged after Kafka was asked about the past.
    pub(super) fn is_needed(self, slot: &Slot, log: &Log) -> bool {
        !log.is_ring_complete(self.rules.intervals) || self.has_gaps(slot, log)
    }

    /// Follows the slot's wish: notes a new one, sees answers and gives up. True while the slot
    /// cannot be judged for want of an answer.
    pub(super) fn follow(self, slot: &mut Slot, log: &mut Log) -> bool {
        let (asked, asked_at) = log.asked();
        let since = self.now.ms_since(asked_at);
        match slot.wish {
            Wish::Waiting if asked != Asked::Waiting => {
                slot.wish = Wish::Done;
                false
            }
            Wish::Wanted | Wish::Waiting if since > ms(ANSWER_WITHIN) || since < 0 => {
                log.give_up();
                slot.wish = Wish::Done;
                false
            }
            Wish::Wanted | Wish::Waiting => true,
            Wish::None | Wish::Done => {
                let is_fresh = asked == Asked::Never || since > ms(ASK_AGAIN_AFTER) || since < 0;
                let again = slot.wish == Wish::None && asked == Asked::Answered;
                if asked == Asked::Waiting {
                    // Somebody else's question is under way; ask with the next ones.
                    slot.wish = Wish::Wanted;
                    true
                } else if is_fresh || again {
                    let is_first = slot.wish == Wish::None;
                    slot.wish = Wish::Wanted;
                    log.ask(self.now);
                    is_first
                } else {
                    slot.wish = Wish::Done;
                    false
                }
            }
        }
    }

    /// The moments (on the brokers' clock) at which an end offset is wanted.
    fn moments(self, slot: &Slot, log: &Log, into: &mut Vec<Timestamp>) {
        let refresh = self.rules.offset_refresh.max(Duration::from_millis(1));
        let told_at = log.told_at();
        for commit in &slot.window {
            let at = own_clock(commit.timestamp, self.clock_offset_ms).min(self.now);
            let is_pending = told_at.is_none_or(|told| at > told);
            if commit.lag.get().is_none() && !is_pending {
                into.push(match self.rules.commit_lag {
                    CommitLag::LastPoll => commit.timestamp.aligned(refresh),
                    CommitLag::Interpolated => commit.timestamp,
                });
            }
        }
        let intervals = self.rules.intervals;
        if let Some(mut at) = log.last_missed_poll(refresh)
            && !log.is_ring_complete(intervals)
        {
            let made = log.polls_beside_gap(refresh);
            for _ in 0..intervals.min(POINTS_MAX / 2) {
                if !made.contains(&at) {
                    into.push(self.broker_clock(at));
                }
                at = at.minus(refresh);
            }
        }
    }

    fn broker_clock(self, at: Timestamp) -> Timestamp {
        // The inverse of `own_clock`.
        let shifted = own_clock(at, self.clock_offset_ms);
        Timestamp::from_ms(at.as_ms().saturating_add(at.ms_since(shifted)))
    }
}

impl Cluster {
    /// The offsets topic has been read to the end for the first time.
    pub(super) fn loaded(&mut self, now: Timestamp) {
        self.loaded_at = Some(now);
        self.wishes = 1;
        let clock_offset_ms = self.clock_offset_ms();
        let past = Past {
            rules: &self.settings.rules,
            clock_offset_ms,
            now,
        };
        let partitions = self.readers.len();
        for group in self.groups.iter_mut() {
            let coordinator = group.coordinator(partitions);
            let cut = Cut {
                everywhere: !self.is_restored && self.readers.is_cut(coordinator),
                behind: match self.is_restored {
                    true => self.readers.is_cut_behind(coordinator),
                    false => None,
                },
            };
            for used in &mut group.topics {
                used.slots.shrink_to_fit();
                for (partition, slot) in used.slots.iter_mut().enumerate() {
                    if slot.window.is_empty() {
                        continue;
                    }
                    cut.mark(slot, past.rules.intervals);
                    if let Some(log) = self.topics.log(used.topic, partition) {
                        past.fill(slot, log);
                    }
                }
            }
        }
    }

    pub(super) fn collect_questions(&mut self, now: Timestamp) -> Vec<LogQuestion> {
        if self.loaded_at.is_none() || std::mem::take(&mut self.wishes) == 0 {
            return Vec::new();
        }
        let clock_offset_ms = self.clock_offset_ms();
        let past = Past {
            rules: &self.settings.rules,
            clock_offset_ms,
            now,
        };
        let mut moments: BTreeMap<(TopicIndex, usize), Vec<Timestamp>> = BTreeMap::new();
        for group in self.groups.iter_mut() {
            for used in &mut group.topics {
                let Some(topic) = self.topics.at_mut(used.topic) else {
                    continue;
                };
                for (partition, slot) in used.slots.iter_mut().enumerate() {
                    let Some(log) = topic.logs.get_mut(partition) else {
                        continue;
                    };
                    let lag = super::current_lag(slot, log.polled());
                    if lag <= past.rules.allowed_lag || !past.is_needed(slot, log) {
                        continue;
                    }
                    if slot.wish == Wish::None {
                        past.follow(slot, log);
                    }
                    if slot.wish == Wish::Wanted {
                        slot.wish = Wish::Waiting;
                        log.ask(now);
                        let wanted = moments.entry((used.topic, partition)).or_default();
                        past.moments(slot, log, wanted);
                    }
                }
            }
        }
        self.dig(now, &mut moments);
        let questions = moments
            .into_iter()
            .filter_map(|((topic, partition), mut at)| {
                at.sort_unstable();
                at.dedup();
                Some(LogQuestion {
                    topic: self.topics.name(topic)?.clone(),
                    partition: i32::try_from(partition).ok()?,
                    at,
                })
            });
        questions
            .filter(|question| !question.at.is_empty())
            .collect()
    }

    /// Asks where in time lagging groups are, for partitions where the history does not tell.
    fn dig(&mut self, now: Timestamp, moments: &mut BTreeMap<(TopicIndex, usize), Vec<Timestamp>>) {
        let oldest = now.minus(self.settings.rules.expire_group);
        let mut left = DIGS_AT_ONCE;
        for (index, topic) in self.topics.iter_indexed_mut() {
            for (partition, log) in topic.logs.iter_mut().enumerate() {
                if left == 0 {
                    return;
                }
                if log.asked().0 == Asked::Waiting {
                    continue;
                }
                let wanted = log.dig(oldest, now);
                if !wanted.is_empty() {
                    left -= 1;
                    moments
                        .entry((index, partition))
                        .or_default()
                        .extend(wanted);
                }
            }
        }
    }

    pub(super) fn log_history(
        &mut self,
        topic: &str,
        partition: i32,
        points: &[(Timestamp, i64)],
        now: Timestamp,
    ) -> Applied {
        let Ok(partition) = usize::try_from(partition) else {
            return Applied::Invalid;
        };
        let offset = self.clock_offset_ms();
        let index = self.topics.find(topic);
        let topic = index.and_then(|index| self.topics.at_mut(index));
        let Some(log) = topic.and_then(|topic| topic.logs.get_mut(partition)) else {
            return Applied::Noted;
        };
        if points.len() > POINTS_MAX || points.iter().any(|(_, end)| *end < 0) {
            log.give_up();
            return Applied::Invalid;
        }
        let rules = &self.settings.rules;
        let refresh = rules.offset_refresh.max(Duration::from_millis(1));
        let own: Vec<_> = points
            .iter()
            .map(|&(at, end)| (own_clock(at, offset), end))
            .collect();
        let last_missed = log.last_missed_poll(refresh);
        let made = log.polls_beside_gap(refresh);
        // The moments asked for because no poll was made then.
        let stands_for_a_poll = |at: Timestamp| {
            last_missed.is_some_and(|last| at <= last)
                && at == at.aligned(refresh)
                && !made.contains(&at)
        };
        log.seed(&own, stands_for_a_poll, refresh, now, rules.intervals);
        Applied::Noted
    }
}

/// What compaction may have taken from the windows of one partition of the offsets topic.
struct Cut {
    /// The part of the topic that was read has gaps, and no process knew it before.
    everywhere: bool,
    /// The part behind this offset has.
    behind: Option<i64>,
}

impl Cut {
    fn mark(&self, slot: &mut Slot, intervals: usize) {
        let mut is_cut = self.everywhere;
        if let Some(from) = self.behind
            && let Some(newest) = slot.window.last()
            && newest.order.offset >= from
        {
            // What stands between the restored commits and the new ones is not known: only the new
            // ones follow each other.
            slot.window.keep_from(|order| order.offset >= from);
            is_cut = true;
        }
        if is_cut && slot.window.len() < intervals {
            slot.marks.set(Marks::CUT);
        }
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
