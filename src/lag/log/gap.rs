//! A log as plain data, and the time in which nobody polled it.
//!
//! While lagline was not running no end offset was told. What is known from before stays true, but
//! between the last point before and the first one after it nothing may be read off: the log may have
//! grown at any moment of it.

use std::time::Duration;

use super::points::{Kind, Point, Points};
use super::{DETAILED_POINTS, Log, Purpose, slot};
use crate::clock::Timestamp;
use crate::lag::optional::MaybeI64;

/// What is kept of a [`Log`] between two processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavedLog {
    /// Sorted by moment; end offsets never decrease.
    pub points: Vec<SavedPoint>,
    pub start: Option<i64>,
    pub start_at: Timestamp,
    /// When the newest end offset arrived.
    pub end_at: Timestamp,
    /// Newest polled end offset.
    pub polled: Option<i64>,
    /// When Kafka was last asked about the past.
    pub asked_at: Timestamp,
    /// Somebody lags here.
    pub is_detailed: bool,
    /// The end of the last gap; absent without one.
    pub gap_end: Option<Timestamp>,
    /// The polls that were not made in it are not known.
    pub is_gap_open: bool,
}

/// An end offset at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedPoint {
    pub at: Timestamp,
    pub end: i64,
    /// 0 the fetch of a beat, 1 a poll, 2 told afterwards, 3 told afterwards in place of a poll.
    pub kind: u8,
}

/// The last time in which nobody polled.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gap {
    /// The first answer after it; the start of all time when there was no gap.
    end: Timestamp,
    has_been: bool,
    /// Polls are missing in it.
    is_open: bool,
    /// It has no end yet: the log was restored, and Kafka has not answered since.
    is_lasting: bool,
}

impl Gap {
    pub(super) fn end(&self) -> Option<Timestamp> {
        self.has_been.then_some(self.end)
    }

    /// The ring does not reach back beyond this.
    pub(super) fn ring_since(&self) -> Timestamp {
        if self.has_been && self.is_open {
            self.end
        } else {
            Timestamp::from_ms(i64::MIN)
        }
    }

    pub(super) fn is_between(&self, earlier: Timestamp, later: Timestamp) -> bool {
        self.has_been && earlier < self.end && self.end <= later
    }

    /// All polls that were not made are asked for together.
    pub(super) fn filled_by(&mut self, seeds: &[Point]) {
        let stands_in = |seed: &Point| seed.kind() == Kind::SeedPoll && seed.at() <= self.end;
        self.is_open &= !seeds.iter().any(stands_in);
    }
}

impl Log {
    /// The log as plain data.
    pub fn save(&self) -> SavedLog {
        let point = |point: Point| SavedPoint {
            at: point.at(),
            end: point.end,
            kind: point.kind() as u8,
        };
        SavedLog {
            points: self.points.iter().map(point).collect(),
            start: self.start.get(),
            start_at: self.start_at,
            end_at: self.end_at,
            polled: self.polled.get(),
            asked_at: self.asked_at,
            is_detailed: self.is_detailed,
            gap_end: self.gap.end(),
            is_gap_open: self.gap.is_open,
        }
    }

    /// A log that was saved; its history has a gap from its last point on. Nothing when no log can
    /// have been like this.
    pub fn restore(saved: &SavedLog, intervals: usize) -> Option<Log> {
        let most = DETAILED_POINTS.max(intervals.saturating_mul(2)).max(1);
        let is_offset = |offset: Option<i64>| offset.is_none_or(|offset| offset >= 0);
        // One more than the limit stays while the newest may not be thinned.
        if saved.points.len() > most.saturating_add(1)
            || !is_offset(saved.start)
            || !is_offset(saved.polled)
        {
            return None;
        }
        let kind = |kind: u8| {
            let kinds = [Kind::Fetch, Kind::Poll, Kind::Seed, Kind::SeedPoll];
            kinds.into_iter().find(|known| *known as u8 == kind)
        };
        let points = saved.points.iter();
        let points: Option<Vec<Point>> = points
            .map(|point| Some(Point::new(point.at, point.end, kind(point.kind)?)))
            .collect();
        let mut log = Log {
            points: Points::restore(points?)?,
            start: saved.start.into(),
            start_at: saved.start_at,
            end_at: saved.end_at,
            polled: MaybeI64::from(saved.polled),
            // In force for no commit to come.
            polled_slot: Timestamp::from_ms(i64::MAX),
            asked_at: saved.asked_at,
            is_detailed: saved.is_detailed,
            gap: Gap {
                end: saved.gap_end.unwrap_or_default(),
                has_been: saved.gap_end.is_some(),
                is_open: saved.is_gap_open,
                is_lasting: !saved.points.is_empty(),
            },
            ..Log::default()
        };
        log.tidy(saved.end_at, intervals);
        Some(log)
    }

    /// Whether Kafka has not told this process where the log ends.
    pub fn is_untold(&self) -> bool {
        self.gap.is_lasting || self.told_at().is_none()
    }

    /// The moments at which a poll was made, as multiples of `refresh`, when some were not: only
    /// then it matters which. Empty without a gap.
    pub fn polls_beside_gap(&self, refresh: Duration) -> Vec<Timestamp> {
        if self.gap.end().is_none() {
            return Vec::new();
        }
        let polls = self.points.iter().filter(|point| point.kind().is_ring());
        polls.map(|poll| slot(poll.at(), refresh)).collect()
    }

    /// An answer after the log was restored: until now nobody polled.
    pub(super) fn end_gap(&mut self, at: Timestamp, purpose: Purpose, refresh: Duration) {
        if !std::mem::take(&mut self.gap.is_lasting) {
            return;
        }
        let polls = self.points.iter().filter(|point| point.kind().is_ring());
        let last = polls.last().map(|poll| slot(poll.at(), refresh));
        let due = slot(at, refresh);
        let next = last.map(|last| last.plus(refresh));
        let is_whole = match purpose {
            Purpose::Poll => next.is_some_and(|next| due <= next),
            Purpose::Start | Purpose::Beat => next.is_some_and(|next| due < next),
        };
        if is_whole && !self.gap.is_open {
            return;
        }
        self.gap = Gap {
            end: at,
            has_been: true,
            is_open: true,
            is_lasting: false,
        };
    }
}
