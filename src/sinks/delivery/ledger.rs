//! Which frames are read but not settled, and the cursor behind them.

use std::collections::VecDeque;

use crate::store::frame::{Counts, Cursor, Frame, Hole, Seq};

/// What became of a point, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Delivered,
    Filtered,
    Rejected,
    Expired,
}

/// The frames that are read but not settled, oldest first.
#[derive(Debug)]
pub(super) struct Ledger {
    open: VecDeque<Open>,
    rows: u64,
    settled: Cursor,
}

/// One frame on its way.
#[derive(Debug)]
struct Open {
    /// First and last frame: more than one for a hole.
    first: Seq,
    last: Seq,
    counts: Counts,
}

impl Ledger {
    /// Everything up to `settled` is settled.
    pub(super) fn new(settled: Cursor) -> Self {
        Self {
            open: VecDeque::new(),
            rows: 0,
            settled,
        }
    }

    pub(super) fn settled(&self) -> &Cursor {
        &self.settled
    }

    /// Rows of all frames that are not settled.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// A frame was read, of which `selected` rows are to be delivered.
    pub(super) fn open(&mut self, frame: &Frame, selected: u64) {
        let rows = frame.rows.max(selected);
        self.push(frame.seq, frame.seq, rows);
        self.settle(frame.seq, Outcome::Filtered, rows - selected);
    }

    /// A frame was read that is too old to be delivered.
    pub(super) fn open_expired(&mut self, frame: &Frame) {
        self.push(frame.seq, frame.seq, frame.rows);
        self.settle(frame.seq, Outcome::Expired, frame.rows);
    }

    /// Frames were missing: offered, and gone.
    pub(super) fn hole(&mut self, hole: &Hole) {
        self.push(hole.first, hole.last, hole.rows);
        self.settle(hole.first, Outcome::Expired, hole.rows);
    }

    fn push(&mut self, first: Seq, last: Seq, rows: u64) {
        let before = self.open.back().map_or(self.settled.seq, |open| open.last);
        assert!(
            first > before,
            "the journal is read in order: {first:?} after {before:?}"
        );
        let counts = Counts {
            offered: rows,
            ..Counts::default()
        };
        self.rows += rows;
        self.open.push_back(Open {
            first,
            last,
            counts,
        });
    }

    /// `points` points of a frame are settled.
    ///
    /// # Panics
    /// When the frame is not open or has not so many left.
    pub(super) fn settle(&mut self, seq: Seq, outcome: Outcome, points: u64) {
        let found = self.open.binary_search_by_key(&seq, |open| open.first);
        let Some(open) = found.ok().and_then(|at| self.open.get_mut(at)) else {
            panic!("{seq:?} is not open");
        };
        assert!(
            points <= open.counts.waiting(),
            "{seq:?} settled more than once"
        );
        let counts = &mut open.counts;
        *match outcome {
            Outcome::Delivered => &mut counts.delivered,
            Outcome::Filtered => &mut counts.filtered,
            Outcome::Rejected => &mut counts.rejected,
            Outcome::Expired => &mut counts.expired,
        } += points;
    }

    /// Moves over the frames that are settled as wholes; the new cursor when there were any.
    pub(super) fn advance(&mut self) -> Option<Cursor> {
        let before = self.settled.seq;
        while let Some(open) = self.open.front()
            && open.counts.waiting() == 0
        {
            let total = &mut self.settled.counts;
            total.offered += open.counts.offered;
            total.delivered += open.counts.delivered;
            total.filtered += open.counts.filtered;
            total.rejected += open.counts.rejected;
            total.expired += open.counts.expired;
            self.settled.seq = open.last;
            self.rows -= open.counts.offered;
            self.open.pop_front();
        }
        (self.settled.seq != before).then(|| self.settled.clone())
    }
}
