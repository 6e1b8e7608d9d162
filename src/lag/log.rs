//! History of one partition's log: its end offsets over time, and its start.
//!
//! It answers three questions: which end offset was known at a moment (a commit's lag), since when
//! the log has been longer than an offset (time lag), and whether a consumer can have been caught up
//! while the rules' ring reaches back. It never extrapolates: outside the known range there is no
//! answer. Judging and asking Kafka are not done here.
//!
//! # Shape
//!
//! One sorted list of points (moment, end offset) serves as ring and as history, because the ring is
//! the newest part of the history. End offsets never decrease in it: when a log end goes back, all
//! of it was about another log and is dropped. The rules only ask whether *some* end offset in the ring is at
//! or below a commit, so the ring boils down to its smallest, that is its oldest value.
//!
//! Points are thinned so that the distance between neighbours grows with their age: to about 1 % of
//! it as far as [`DETAILED_POINTS`] allow, for partitions somebody lags on; everybody else gets by
//! with [`PLAIN_POINTS`]. The ring itself is never thinned.
//!
//! A process that goes on where another stopped has a gap in its history ([`Gap`]): nothing is
//! interpolated across it, and the ring ends there until Kafka was asked for the polls that were not made.
//!
//! Seeds are points that Kafka told afterwards (ListOffsets by timestamp). They carry the records'
//! own timestamps and are believed only as a whole, when they fit each other and what was polled.

mod gap;
mod points;
#[cfg(test)]
mod tests;

use std::time::Duration;

use self::gap::Gap;
pub use self::gap::{SavedLog, SavedPoint};
use self::points::{Kind, Point, Points};
use super::optional::{MaybeF32, MaybeI64};
use super::settings::Rules;
use crate::clock::Timestamp;

/// Points kept for a partition nobody lags on: 512 bytes.
pub const PLAIN_POINTS: usize = 32;
/// Points kept for a partition somebody lags on: 4 KiB.
pub const DETAILED_POINTS: usize = 256;

/// How often Kafka is asked in a row where in time an offset lies: each time the answer gets eight
/// times as exact.
const DIGS_MAX: u8 = 4;
const DIG_AGAIN_AFTER_MS: i64 = 600_000;

/// What an answer did to the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The log grew or stood still.
    Forward,
    /// The log end went back: the history was dropped.
    Back,
}

/// What log offsets were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The first poll of a process. It falls on no multiple of `offset_refresh`, so that one running all
    /// along would not have made it: it says where the log ends now, but is no part of the ring.
    Start,
    /// A regular poll, for the rules' ring.
    Poll,
    /// A beat between two polls.
    Beat,
}

/// Whether past end offsets were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Asked {
    #[default]
    Never,
    /// No answer yet.
    Waiting,
    /// The answer was believed.
    Answered,
    /// Kafka could not say, or what it said cannot be true.
    Refused,
}

/// Where in time a log passed an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// The record at the offset was written after the first moment and not after the second one.
    Between {
        earlier: (Timestamp, i64),
        later: (Timestamp, i64),
        /// One of the two was told afterwards.
        seeded: bool,
    },
    /// It was already there at this moment, the oldest known one.
    Before(Timestamp),
    /// It is not there yet, or nothing is known.
    Unknown,
}

/// One partition's log.
#[derive(Clone, Debug, Default)]
pub struct Log {
    points: Points,
    start: MaybeI64,
    start_at: Timestamp,
    /// When the newest end offset arrived.
    end_at: Timestamp,
    /// Newest polled end offset, and when the poll was due.
    polled: MaybeI64,
    polled_slot: Timestamp,
    /// The smallest end offset in the ring.
    ring_min: i64,
    ring_len: u16,
    produce_rate: MaybeF32,
    asked_at: Timestamp,
    asked: Asked,
    /// Somebody lags here: keep more points.
    is_detailed: bool,
    /// An offset whose time is wanted more exactly than the history tells.
    wanted: MaybeI64,
    /// How often was asked for its sake lately.
    digs: u8,
    /// Somebody was seen lagging here since the last [`Log::settle`].
    is_lagged_on: bool,
    gap: Gap,
}

impl Log {
    /// Takes an answer that arrived at `at`.
    pub fn answer(
        &mut self,
        at: Timestamp,
        (start, end): (Option<i64>, Option<i64>),
        purpose: Purpose,
        rules: &Rules,
    ) -> Step {
        if let Some(start) = start {
            self.start = MaybeI64::some(start);
            self.start_at = at;
        }
        let Some(end) = end else {
            return Step::Forward;
        };
        let mut step = Step::Forward;
        if let Some(last) = self.points.last() {
            if end < last.end {
                self.restart();
                step = Step::Back;
            } else if at < last.at() {
                self.turn_back(at, last.at());
            }
        }
        self.end_gap(at, purpose, rules.offset_refresh);
        let kind = match purpose {
            Purpose::Poll => Kind::Poll,
            Purpose::Start | Purpose::Beat => Kind::Fetch,
        };
        self.points.push(Point::new(at, end, kind));
        self.end_at = at;
        if purpose != Purpose::Beat {
            self.polled = MaybeI64::some(end);
            self.polled_slot = match purpose {
                Purpose::Poll => slot(at, rules.offset_refresh),
                // In force for no commit.
                Purpose::Start | Purpose::Beat => Timestamp::from_ms(i64::MAX),
            };
        }
        self.tidy(at, rules.intervals);
        step
    }

    /// The clock went back: moves the history along, so that distances stay true.
    fn turn_back(&mut self, now: Timestamp, last: Timestamp) {
        let by = last.ms_since(now).saturating_add(1);
        self.points.shift(by);
        self.polled_slot = Timestamp::from_ms(self.polled_slot.as_ms().saturating_sub(by));
    }

    /// Drops everything that was known about a log that is no more.
    fn restart(&mut self) {
        let asked_at = self.asked_at;
        *self = Log {
            start: self.start,
            start_at: self.start_at,
            asked_at,
            ..Log::default()
        };
    }

    /// Finds the ring, thins what is older, and takes the rate.
    fn tidy(&mut self, now: Timestamp, intervals: usize) {
        let intervals = intervals.max(1);
        let limit = if self.is_detailed {
            DETAILED_POINTS
        } else {
            PLAIN_POINTS
        };
        let ring = self.points.ring(intervals, self.gap.ring_since());
        self.points
            .thin(ring.from, limit.max(intervals.saturating_mul(2)), now);
        self.ring_min = ring.min;
        self.ring_len = u16::try_from(ring.len).unwrap_or(u16::MAX);
        self.produce_rate = ring.rate;
    }

    /// Adds past end offsets, oldest first. `polls` names the moments that stand in for polls that
    /// were never made. False when they cannot be true: then nothing was added.
    pub fn seed(
        &mut self,
        seeds: &[(Timestamp, i64)],
        polls: impl Fn(Timestamp) -> bool,
        slack: Duration,
        now: Timestamp,
        intervals: usize,
    ) -> bool {
        let seeds: Vec<Point> = seeds
            .iter()
            .map(|&(at, end)| {
                let kind = if polls(at) {
                    Kind::SeedPoll
                } else {
                    Kind::Seed
                };
                Point::new(at, end, kind)
            })
            .collect();
        if seeds.is_empty() || !self.points.is_plausible(&seeds, slack) {
            self.asked = Asked::Refused;
            return false;
        }
        self.gap.filled_by(&seeds);
        // As many as fit are worth keeping: somebody asked for them.
        self.is_detailed = true;
        self.points.merge(seeds);
        self.asked = Asked::Answered;
        self.tidy(now, intervals);
        true
    }

    /// Notes that Kafka was asked, or is about to be.
    pub fn ask(&mut self, now: Timestamp) {
        self.asked = Asked::Waiting;
        self.asked_at = now;
    }

    /// Whether an answer is under way, and since when.
    pub fn asked(&self) -> (Asked, Timestamp) {
        (self.asked, self.asked_at)
    }

    /// Gives up waiting for an answer.
    pub fn give_up(&mut self) {
        if self.asked == Asked::Waiting {
            self.asked = Asked::Refused;
        }
    }

    /// Notes that somebody lags here, which is worth a more detailed history.
    pub fn note_lag(&mut self) {
        self.is_lagged_on = true;
    }

    /// Ends a beat: nobody lagging means no detailed history.
    pub fn settle(&mut self) {
        self.is_detailed = std::mem::take(&mut self.is_lagged_on);
        if !self.is_detailed {
            self.digs = 0;
        }
    }

    /// Wishes to know more exactly when the log passed `offset`. False when that was asked often
    /// enough.
    pub fn want(&mut self, offset: i64, now: Timestamp) -> bool {
        if now.ms_since(self.asked_at) > DIG_AGAIN_AFTER_MS {
            self.digs = 0;
        }
        let may_ask = self.digs < DIGS_MAX && self.asked != Asked::Waiting;
        if may_ask {
            self.wanted = MaybeI64::some(offset);
        }
        may_ask
    }

    /// Takes the wish, when there is one: the moments to ask for, oldest first. `oldest` is the
    /// earliest moment that is of interest.
    pub fn dig(&mut self, oldest: Timestamp, now: Timestamp) -> Vec<Timestamp> {
        let Some(offset) = std::mem::take(&mut self.wanted).get() else {
            return Vec::new();
        };
        self.digs = self.digs.saturating_add(1);
        let moments = match self.passed(offset) {
            Passed::Unknown => Vec::new(),
            Passed::Before(known) => points::ages(oldest, known, now),
            Passed::Between { earlier, later, .. } => points::between(earlier.0, later.0),
        };
        if !moments.is_empty() {
            self.ask(now);
        }
        moments
    }

    /// The log start offset as last told.
    pub fn start(&self) -> Option<i64> {
        self.start.get()
    }

    /// The log start offset if it was told at `beat` or later.
    pub fn fresh_start(&self, beat: Timestamp) -> Option<i64> {
        self.start.get().filter(|_| self.start_at >= beat)
    }

    /// The newest end offset there ever was.
    pub fn last_end(&self) -> Option<i64> {
        self.points.last().map(|p| p.end)
    }

    /// The end offset if it was told at `beat` or later.
    pub fn fresh_end(&self, beat: Timestamp) -> Option<i64> {
        self.points
            .last()
            .filter(|_| self.end_at >= beat)
            .map(|p| p.end)
    }

    /// When the newest end offset was told; absent when none ever was.
    pub fn told_at(&self) -> Option<Timestamp> {
        self.points.last().map(|_| self.end_at)
    }

    /// The newest polled end offset.
    pub fn polled(&self) -> Option<i64> {
        self.polled.get()
    }

    /// The last multiple of `refresh` at which a poll would have been made, had there been somebody
    /// to make it.
    pub fn last_missed_poll(&self, refresh: Duration) -> Option<Timestamp> {
        if let Some(end) = self.gap.end() {
            return Some(slot(end, refresh));
        }
        let first = self.points.first_told()?;
        let slot = slot(first.at(), refresh);
        Some(match first.kind() {
            Kind::Poll => slot.minus(refresh),
            Kind::Fetch | Kind::Seed | Kind::SeedPoll => slot,
        })
    }

    /// Whether the ring is as full as it would be had lagline always been running.
    pub fn is_ring_complete(&self, intervals: usize) -> bool {
        usize::from(self.ring_len) >= intervals.min(usize::from(u16::MAX))
    }

    /// The smallest end offset in the ring; nothing without a poll.
    pub fn ring_min(&self) -> Option<i64> {
        (self.ring_len > 0).then_some(self.ring_min)
    }

    /// Records a second, over the ring's time.
    pub fn produce_rate(&self) -> MaybeF32 {
        self.produce_rate
    }

    /// The last polled end offset at the moment `at` of a commit: what Burrow takes the lag against.
    /// Nothing when no poll of that time is known. A commit that is seen as it happens (`is_live`)
    /// makes do with a poll up to three refreshes old, as Burrow would.
    ///
    /// A poll is taken to be in force from the multiple of `refresh` on at which it was due, so that
    /// what is found later from seeds, which lie there, is the same.
    pub fn end_in_force(&self, at: Timestamp, refresh: Duration, is_live: bool) -> Option<i64> {
        if is_live && self.polled_slot <= at {
            let is_near = at.ms_since(self.polled_slot) <= ms(refresh) * 3;
            return self.polled.get().filter(|_| is_near);
        }
        let (before, after) = self.points.in_force(at, refresh);
        let (slot, end) = before?;
        let is_near = at.ms_since(slot) < ms(refresh);
        let stood_still = after.is_some_and(|after| after == end);
        (is_near || stood_still).then_some(end)
    }

    /// The end offset at a moment, between the points around it. Nothing when they are too far
    /// apart, or before or after everything known.
    pub fn end_at(&self, at: Timestamp, refresh: Duration) -> Option<i64> {
        let (before, after) = self.points.around(at);
        let before = before?;
        if before.at() == at {
            return Some(before.end);
        }
        let after = after?;
        let width = after.at().ms_since(before.at());
        if after.end == before.end {
            return Some(before.end);
        }
        if width > ms(refresh) * 3 || width <= 0 || self.gap.is_between(before.at(), after.at()) {
            return None;
        }
        let grown = i128::from(after.end) - i128::from(before.end);
        let part = grown * i128::from(at.ms_since(before.at())) / i128::from(width);
        i64::try_from(i128::from(before.end) + part).ok()
    }

    /// Between which moments the log grew past `offset`.
    pub fn passed(&self, offset: i64) -> Passed {
        match self.points.passed(offset) {
            Passed::Between {
                earlier,
                later,
                seeded,
            } => Passed::Between {
                earlier,
                later,
                // As vague as if both were told afterwards: worth a question.
                seeded: seeded || self.gap.is_between(earlier.0, later.0),
            },
            known @ (Passed::Before(_) | Passed::Unknown) => known,
        }
    }

    /// Bytes on the heap, without the allocator's own.
    pub fn heap_bytes(&self) -> usize {
        self.points.heap_bytes()
    }
}

/// When a poll that was answered at `at` was due.
fn slot(at: Timestamp, refresh: Duration) -> Timestamp {
    at.aligned(refresh.max(Duration::from_millis(1)))
}

fn ms(duration: Duration) -> i64 {
    // A quarter of the range, so that a few of them can be added.
    i64::try_from(duration.as_millis()).map_or(i64::MAX / 4, |ms| ms.min(i64::MAX / 4))
}
