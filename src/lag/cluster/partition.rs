//! One group-partition at a beat.
//!
//! The rules judge what is certain. This file decides what they are given, and when their verdict
//! may be said:
//!
//! - Without an end offset of the last three polls, or while lagline is behind with its own reading,
//!   the last status is held.
//! - The moment of judging is never later than what lagline has seen: silence it could not hear is
//!   no silence.
//! - An unknown lag of the past proves neither STALL nor WARN. A ring that does not reach back far
//!   enough proves no STOP.
//! - Lags found afterwards are a little off, by what was written while a poll would have been under way: WARN
//!   needs growth beyond that.
//! - A window cut short by compaction spans less than it should: STOP needs a longer silence, STALL
//!   and WARN wait for a full window, unless the group was known to be bad.

use std::time::Duration;

use super::seeding::Past;
use super::state::{Marks, Slot, Wish};
use crate::clock::Timestamp;
use crate::lag::evaluation::{PartitionEvaluation, PartitionStatus, Status, TimeLagMethod};
use crate::lag::log::Log;
use crate::lag::measure;
use crate::lag::optional::{MaybeF32, MaybeI64};
use crate::lag::reason::Reason;
use crate::lag::rules::{Verdict, judge};
use crate::lag::window::StoredCommit;

/// A group of which only the last commit has survived is taken to be stopped after this silence.
const SILENCE_WHEN_CUT: Duration = Duration::from_secs(600);
/// How long a poll may take: lags found afterwards are uncertain by what is written meanwhile.
const POLL_TAKES_S: f32 = 2.0;

/// A time lag is worth another question when its error is more than this share of it, and more than
/// so many seconds.
const VAGUE: f32 = 0.05;
const VAGUE_S: f32 = 10.0;

/// What holds for all partitions of a group at a beat.
#[derive(Clone, Copy)]
pub(super) struct Beat<'a> {
    pub(super) past: Past<'a>,
    /// lagline does not see the group's commits at the moment.
    pub(super) is_blind: bool,
    /// The offsets topic has been read up to this moment.
    pub(super) read_until: Option<Timestamp>,
    /// The group was WARN or ERR lately.
    pub(super) was_bad: bool,
    /// How old an end offset may be.
    pub(super) patience: Duration,
}

/// One partition, and what it means for its group.
pub(super) struct Seen {
    pub(super) partition: PartitionEvaluation,
    /// The status must be the last one: it cannot be known at the moment.
    pub(super) is_held: bool,
    /// Waits for an answer about the past.
    pub(super) is_warming: bool,
    /// Questions should be asked.
    pub(super) wishes: bool,
    /// Age of the end offset used, in milliseconds.
    pub(super) age_ms: Option<i64>,
}

impl Seen {
    fn of(partition: PartitionEvaluation) -> Seen {
        Seen {
            partition,
            is_held: false,
            is_warming: false,
            wishes: false,
            age_ms: None,
        }
    }
}

impl Beat<'_> {
    /// A partition that the group has neither committed to nor owned.
    pub(super) fn untouched(self, log: Option<&Log>) -> PartitionEvaluation {
        PartitionEvaluation {
            end_offset: fresh_end(log, self.past.now),
            ..PartitionEvaluation::default()
        }
    }

    /// A partition of the group.
    pub(super) fn look(self, slot: &mut Slot, mut log: Option<&mut Log>) -> Seen {
        if let Some(log) = log.as_deref() {
            self.past.fill(slot, log);
        }
        let mut partition = self.untouched(log.as_deref());
        partition.owner = slot.owner;
        let (Some(first), Some(last)) = (slot.window.first(), slot.window.last()) else {
            partition.complete = self.judge(slot, None, 0).complete;
            return Seen::of(partition);
        };
        partition.start = Some(super::view(first));
        partition.end = Some(super::view(last));
        let polled = log.as_deref().and_then(Log::polled);
        partition.current_lag = super::current_lag(slot, polled);
        let mut digs = false;
        if let Some(log) = log.as_deref_mut() {
            self.measure(&mut partition, slot, (&first, &last), log);
            digs = self.dig(&partition, &last, log);
        }
        let told_at = log.as_deref().and_then(Log::told_at);
        let mut seen = Seen {
            age_ms: told_at.map(|at| self.past.now.ms_since(at).max(0)),
            wishes: digs,
            ..Seen::of(partition)
        };
        let is_too_old = told_at.is_some_and(|at| at < self.past.now.minus(self.patience));
        if self.is_blind || is_too_old {
            seen.is_held = true;
            seen.partition.complete = self.judge(slot, None, 0).complete;
            return seen;
        }
        self.say(&mut seen, slot, log);
        seen
    }

    /// Wishes to know the time lag better than the history tells. True when Kafka is to be asked.
    fn dig(self, partition: &PartitionEvaluation, last: &StoredCommit, log: &mut Log) -> bool {
        let Some(time_lag) = partition.time_lag else {
            return false;
        };
        let is_vague = match time_lag.method {
            TimeLagMethod::AtLeast => true,
            TimeLagMethod::Seeded => time_lag
                .error_s
                .get()
                .is_some_and(|error| error > time_lag.seconds * VAGUE && error > VAGUE_S),
            TimeLagMethod::CaughtUp | TimeLagMethod::Interpolated => false,
        };
        let oldest = last.offset.max(log.start().unwrap_or(0));
        is_vague && log.want(oldest, self.past.now)
    }

    /// Judges the partition, as far as that is possible.
    fn say(self, seen: &mut Seen, slot: &mut Slot, log: Option<&mut Log>) {
        let lag = seen.partition.current_lag;
        let Some(log) = log else {
            seen.partition.complete = self.judge(slot, None, 0).complete;
            return;
        };
        if lag > self.past.rules.allowed_lag {
            log.note_lag();
            if self.past.is_needed(slot, log) {
                seen.is_warming = self.past.follow(slot, log);
                seen.wishes |= slot.wish == Wish::Wanted;
            } else {
                slot.wish = Wish::None;
            }
        }
        if slot.marks != Marks::default() {
            self.unmark(slot, log);
        }
        let verdict = self.judge(slot, Some(log), lag);
        seen.partition.complete = verdict.complete;
        if verdict.status != Status::Ok && !seen.is_warming && self.may_say(&verdict, slot, log) {
            seen.partition.status = Some(PartitionStatus {
                status: verdict.status,
                reason: verdict.reason.map(Box::new),
            });
        }
    }

    /// Lifts marks that no longer apply.
    fn unmark(self, slot: &mut Slot, log: &Log) {
        if slot.window.len() >= self.past.rules.intervals {
            slot.marks.unset(Marks::CUT);
        }
        let asked_at = log.asked().1.as_secs();
        let oldest = slot.window.first();
        if oldest.is_some_and(|commit| i64::from(commit.observed_at_s) > asked_at) {
            slot.marks.unset(Marks::SEEDED);
        }
    }

    fn judge(self, slot: &Slot, log: Option<&Log>, current_lag: i64) -> Verdict {
        let now = self.judged_at(log);
        let ring = log.and_then(Log::ring_min);
        let is_short = log.is_some_and(|log| !log.is_ring_complete(self.past.rules.intervals));
        // An end offset nobody knows may have been at or below the commit.
        let unknown = (is_short || self.is_too_short_a_silence(slot, now)).then_some(i64::MIN);
        judge(
            &slot.window,
            ring.into_iter().chain(unknown),
            current_lag,
            slot.owner != 0,
            now,
            self.past.rules,
        )
    }

    /// Now, or the last moment lagline has seen.
    fn judged_at(self, log: Option<&Log>) -> Timestamp {
        let told_at = log.and_then(Log::told_at);
        let now = self.past.now;
        now.min(told_at.unwrap_or(now))
            .min(self.read_until.unwrap_or(now))
    }

    fn is_too_short_a_silence(self, slot: &Slot, now: Timestamp) -> bool {
        if !slot.marks.has(Marks::CUT) || self.was_bad {
            return false;
        }
        let (Some(first), Some(last)) = (slot.window.first(), slot.window.last()) else {
            return false;
        };
        let gaps = i64::try_from(slot.window.len()).unwrap_or(i64::MAX) - 1;
        let full = i64::try_from(self.past.rules.intervals).unwrap_or(i64::MAX);
        let span = last.timestamp.ms_since(first.timestamp).max(0);
        let usual = span
            .checked_div(gaps)
            .map_or(0, |gap| gap.saturating_mul(full).saturating_mul(2));
        let least = i64::try_from(SILENCE_WHEN_CUT.as_millis()).unwrap_or(i64::MAX);
        now.ms_since(last.timestamp) <= usual.max(least)
    }

    /// Whether a verdict rests on what is known.
    fn may_say(self, verdict: &Verdict, slot: &Slot, log: &Log) -> bool {
        match verdict.status {
            Status::NotFound | Status::Ok | Status::Err | Status::Stop | Status::Rewind => true,
            Status::Stall => self.is_whole(slot, log),
            Status::Warn => {
                let grown = match verdict.reason {
                    Some(Reason::FallingBehind {
                        lags: Some((first, last)),
                        ..
                    }) => last.saturating_sub(first),
                    _ => 0,
                };
                let noise = log.produce_rate().get().unwrap_or(0.0) * POLL_TAKES_S + 1.0;
                self.is_whole(slot, log)
                    && (!slot.marks.has(Marks::SEEDED) || as_f32(grown) > noise)
            }
        }
    }

    fn is_whole(self, slot: &Slot, log: &Log) -> bool {
        !self.past.has_gaps(slot, log) && (self.was_bad || !slot.marks.has(Marks::CUT))
    }

    /// The numbers beside the status.
    fn measure(
        self,
        partition: &mut PartitionEvaluation,
        slot: &Slot,
        (first, last): (&StoredCommit, &StoredCommit),
        log: &Log,
    ) {
        let now = self.past.now;
        partition.consume_rate = measure::consume_rate(first, last, slot.window.len(), now);
        let Some(end) = log.fresh_end(now) else {
            return;
        };
        partition.produce_rate = log.produce_rate();
        if self.is_blind {
            // There may be newer commits that lagline has not read.
            partition.consume_rate = MaybeF32::NONE;
            return;
        }
        let lag = end.saturating_sub(last.offset).max(0);
        partition.lag = MaybeI64::some(lag);
        let is_caught_up = lag <= self.past.rules.allowed_lag;
        partition.time_lag = measure::time_lag(log, last.offset, is_caught_up, now);
        if !is_caught_up {
            partition.eta_s = measure::eta(lag, partition.consume_rate, partition.produce_rate);
        }
        if let Some(start) = log.start() {
            let (consume, produce) = (partition.consume_rate, partition.produce_rate);
            let retention = measure::retention(start, end, last.offset, consume, produce);
            partition.records_lost = retention.lost.into();
            partition.retention_used = retention.used;
            partition.retention_left_s = retention.left_s;
        }
    }
}

fn fresh_end(log: Option<&Log>, beat: Timestamp) -> MaybeI64 {
    log.and_then(|log| log.fresh_end(beat)).into()
}

#[allow(
    clippy::cast_precision_loss,
    reason = "compared with an estimate of a few digits"
)]
fn as_f32(count: i64) -> f32 {
    count as f32
}
