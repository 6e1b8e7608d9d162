//! The sliding window: the last commits of one group on one partition, in commit order.
//!
//! It decides where a commit goes, exactly as Burrow's ring does (`core/internal/storage/inmemory.go`
//! at ced55ba). It does not drop commits that are too old for `expire_group`, compute lags or judge:
//! `cluster.rs` and `rules.rs` do.
//!
//! # Where a commit goes
//!
//! Order (the place of the commit record in `__consumer_offsets`) decides, never time.
//!
//! | order of the commit | window with room | full window |
//! |---|---|---|
//! | newer than all | appended | appended, the oldest goes |
//! | already stored | ignored | ignored |
//! | between two stored ones | inserted | inserted, the oldest goes |
//! | between the oldest and the next | inserted | **replaces the oldest, never merged** |
//! | older than all | becomes the oldest, never merged | ignored |
//!
//! A commit that is appended or inserted is *merged* when `timestamp - previous timestamp` is less
//! than `min_distance`, previous being the stored commit just before its place: it then replaces
//! that one, so that nothing else moves and the oldest stays, but keeps its timestamp. What follows
//! from Burrow's way of doing this, and is kept:
//!
//! - The difference is signed: also with a `min_distance` of 0 a commit whose time went back is
//!   merged. Equal times at 0 are not.
//! - Because the previous timestamp stays, a group that commits more often than `min_distance` still
//!   opens a new place each time `min_distance` has passed since the place was opened.
//! - Where Burrow's walk back reaches a blank slot or the oldest slot it fills that slot; what stands
//!   before the slot in the ring is then blank or the *newest* commit, whose order is not smaller.
//!   Hence "never merged" in the table.
//! - A merged commit takes its place with its own order; the order it replaced is forgotten. When
//!   the replaced record is read again, it is not recognised as a duplicate but inserted as a commit
//!   of its own (before the one that replaced it, or dropped by the row "older than all").
//! - The lag is kept only for a commit that is newer than all, merged or not. Any other has no
//!   lag, and a late commit that is merged takes the lag of the one it replaces away.
//! - Burrow counts the group's last commit time from commits newer than all only, with their own
//!   timestamp even when they are merged: see [`Window::is_newest`].
//! - A window of one place only ever holds the newest commit; merging then only keeps its timestamp.
//!
//! # Shape
//!
//! There are millions of windows. Commits of one window resemble each other, so a commit is kept as
//! five 32-bit numbers relative to a common base (`narrow.rs`): the newest within the window's 64
//! bytes, the others in 20 bytes each on the heap, which grows one by one because many groups never
//! fill their window. Ten commits take 244 bytes. A window whose commits do not resemble each other
//! (a rewind over four billion records, two epochs) keeps them in full, until they do again. Nothing
//! outside this module can tell the two apart, but by [`Window::heap_bytes`].

mod narrow;
#[cfg(test)]
mod ring;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use self::narrow::Narrow;
use super::event::Applied;
use super::ids::Order;
use super::optional::MaybeI64;
use crate::clock::Timestamp;

/// A commit as the window keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredCommit {
    /// The next offset the group will read.
    pub offset: i64,
    /// The commit's own time; that of the place's first commit when it was merged.
    pub timestamp: Timestamp,
    /// When lagline saw it, in whole seconds since the epoch (Burrow truncates).
    pub observed_at_s: u32,
    pub order: Order,
    /// Lag at that moment; absent for a commit that arrived behind newer ones.
    pub lag: MaybeI64,
}

/// The last commits of one group on one partition, oldest first.
#[derive(Clone)]
pub struct Window(Form);

#[derive(Clone)]
enum Form {
    Narrow(Narrow),
    /// Oldest first; also the window without commits.
    Wide(Vec<StoredCommit>),
}

/// What becomes of a commit that is not ignored. Numbers count from the oldest commit, 0.
enum Place {
    /// Before this one (or behind the newest); in a full window the oldest goes.
    Before(usize),
    /// In this one's place.
    Instead(usize),
}

impl Default for Window {
    fn default() -> Self {
        Window::new()
    }
}

impl Window {
    /// A window without commits; takes no memory on the heap.
    pub const fn new() -> Window {
        Window(Form::Wide(Vec::new()))
    }

    /// Puts a commit in its place (see the module's table). `intervals` is how many commits the
    /// window may hold, at least 1. The commit's `lag` is kept only when it is newer than all.
    ///
    /// The outcome is `Appended`, `Inserted`, `Merged`, `Duplicate` or `TooOld`; after the last two
    /// the window is as before.
    pub fn push(
        &mut self,
        mut commit: StoredCommit,
        intervals: usize,
        min_distance: Duration,
    ) -> Applied {
        let intervals = intervals.max(1);
        if self.len() > intervals {
            self.keep_newest(intervals);
        }
        let is_full = self.len() == intervals;
        let (before, mut outcome) = match self.seek(commit.order, is_full) {
            Ok(found) => found,
            Err(ignored) => return ignored,
        };
        if outcome != Applied::Appended {
            commit.lag = MaybeI64::NONE;
        }
        let mut place = Place::Before(before);
        // The oldest slot of a full ring is filled without a look at what it held.
        let replaces_oldest = is_full && before == 1 && outcome == Applied::Inserted;
        if let Some(previous) = before.checked_sub(1).filter(|_| !replaces_oldest) {
            let timestamp = self.timestamp(previous);
            if commit.timestamp.ms_since(timestamp) < whole_ms(min_distance) {
                commit.timestamp = timestamp;
                place = Place::Instead(previous);
                outcome = Applied::Merged;
            }
        }
        self.put(&place, &commit, is_full);
        outcome
    }

    /// Whether a commit of this order would be newer than all: only then does its lag count, and
    /// only then is its timestamp the group's last commit time.
    pub fn is_newest(&self, order: Order) -> bool {
        self.len()
            .checked_sub(1)
            .is_none_or(|newest| self.order(newest) < order)
    }

    /// How many commits are stored.
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Narrow(narrow) => narrow.len(),
            Form::Wide(rows) => rows.len(),
        }
    }

    /// Whether no commit is stored.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The oldest commit.
    pub fn first(&self) -> Option<StoredCommit> {
        self.at(0)
    }

    /// The newest commit.
    pub fn last(&self) -> Option<StoredCommit> {
        self.at(self.len().checked_sub(1)?)
    }

    /// The commits, oldest first.
    pub fn iter(&self) -> Commits<'_> {
        Commits {
            window: self,
            next: 0,
            end: self.len(),
        }
    }

    /// Calls `f` with offset and lag of every commit, oldest first: all that the rules look at.
    pub fn each(&self, mut f: impl FnMut(i64, MaybeI64)) {
        match &self.0 {
            Form::Narrow(narrow) => narrow.each(f),
            Form::Wide(rows) => rows.iter().for_each(|row| f(row.offset, row.lag)),
        }
    }

    /// Sets the lag of the commit at `index`, counted from the oldest; nothing when there is none.
    pub fn set_lag(&mut self, index: usize, lag: MaybeI64) {
        match &mut self.0 {
            Form::Narrow(narrow) => {
                if index < narrow.len() && !narrow.set_lag(index, lag) {
                    let mut rows: Vec<StoredCommit> = self.iter().collect();
                    rows[index].lag = lag;
                    self.0 = Form::Wide(rows);
                }
            }
            Form::Wide(rows) => {
                if let Some(row) = rows.get_mut(index) {
                    row.lag = lag;
                }
            }
        }
    }

    /// Forgets all lags: the end offsets they were taken against were not this log's.
    pub fn clear_lags(&mut self) {
        for index in 0..self.len() {
            self.set_lag(index, MaybeI64::NONE);
        }
    }

    /// Bytes on the heap, without the allocator's own.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Form::Narrow(narrow) => narrow.heap_bytes(),
            Form::Wide(rows) => rows.capacity() * size_of::<StoredCommit>(),
        }
    }

    /// The place for a commit of this order (before which stored one) and its outcome when it is
    /// not merged; or why it is ignored.
    fn seek(&self, order: Order, is_full: bool) -> Result<(usize, Applied), Applied> {
        // From the newest back: commits that are not newer than all are late by one or two.
        for index in (0..self.len()).rev() {
            let stored = self.order(index);
            if stored == order {
                return Err(Applied::Duplicate);
            }
            if stored < order {
                let before = index + 1;
                return Ok(if before == self.len() {
                    (before, Applied::Appended)
                } else {
                    (before, Applied::Inserted)
                });
            }
        }
        match (self.is_empty(), is_full) {
            (true, _) => Ok((0, Applied::Appended)),
            (false, false) => Ok((0, Applied::Inserted)),
            (false, true) => Err(Applied::TooOld),
        }
    }

    fn put(&mut self, place: &Place, commit: &StoredCommit, is_full: bool) {
        match &mut self.0 {
            Form::Narrow(narrow) => {
                if !narrow.put(place, commit, is_full) {
                    let mut rows: Vec<StoredCommit> = self.iter().collect();
                    put(&mut rows, place, commit, is_full);
                    *self = Window::of(rows);
                }
            }
            Form::Wide(rows) if rows.is_empty() => {
                if let Some(narrow) = Narrow::of(std::slice::from_ref(commit)) {
                    self.0 = Form::Narrow(narrow);
                } else {
                    put(rows, place, commit, is_full);
                }
            }
            Form::Wide(rows) => {
                put(rows, place, commit, is_full);
                *self = Window::of(std::mem::take(rows));
            }
        }
    }

    /// The window that held these commits, oldest first. Nothing when no window can have held them:
    /// negative offsets, or an order that does not rise.
    pub fn restore(commits: Vec<StoredCommit>) -> Option<Window> {
        let is_possible = |commit: &StoredCommit| {
            commit.offset >= 0
                && commit.order.offset >= 0
                && commit.order.epoch <= Order::EPOCH_MAX
                && commit.lag.get().is_none_or(|lag| lag >= 0)
        };
        let rises = commits.windows(2).all(|two| two[0].order < two[1].order);
        (rises && commits.iter().all(is_possible)).then(|| Window::of(commits))
    }

    /// Forgets the commits older than the first one that `is_kept`.
    pub fn keep_from(&mut self, is_kept: impl Fn(Order) -> bool) {
        let older = (0..self.len()).take_while(|&index| !is_kept(self.order(index)));
        let older = older.count();
        if older > 0 {
            self.keep_newest(self.len() - older);
        }
    }

    /// The window of these commits, oldest first, in the smallest form they fit.
    fn of(rows: Vec<StoredCommit>) -> Window {
        Window(Narrow::of(&rows).map_or_else(|| Form::Wide(rows), Form::Narrow))
    }

    /// Drops the oldest commits.
    fn keep_newest(&mut self, count: usize) {
        *self = Window::of(self.iter().skip(self.len() - count).collect());
    }

    /// The commit at `index`, counted from the oldest.
    pub fn at(&self, index: usize) -> Option<StoredCommit> {
        match &self.0 {
            Form::Narrow(narrow) => (index < narrow.len()).then(|| narrow.at(index)),
            Form::Wide(rows) => rows.get(index).copied(),
        }
    }

    fn order(&self, index: usize) -> Order {
        match &self.0 {
            Form::Narrow(narrow) => narrow.order(index),
            Form::Wide(rows) => rows[index].order,
        }
    }

    fn timestamp(&self, index: usize) -> Timestamp {
        match &self.0 {
            Form::Narrow(narrow) => narrow.timestamp(index),
            Form::Wide(rows) => rows[index].timestamp,
        }
    }
}

fn put(rows: &mut Vec<StoredCommit>, place: &Place, commit: &StoredCommit, is_full: bool) {
    match *place {
        Place::Instead(index) => rows[index] = *commit,
        Place::Before(index) if is_full => {
            // Also with `index` 1, where the oldest makes room for its successor in order.
            rows.remove(0);
            rows.insert(index - 1, *commit);
        }
        Place::Before(index) => {
            rows.reserve_exact(1);
            rows.insert(index, *commit);
        }
    }
}

fn whole_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The commits of a window, oldest first.
#[derive(Clone, Debug)]
pub struct Commits<'a> {
    window: &'a Window,
    next: usize,
    end: usize,
}

impl Iterator for Commits<'_> {
    type Item = StoredCommit;

    fn next(&mut self) -> Option<StoredCommit> {
        if self.next == self.end {
            return None;
        }
        self.next += 1;
        self.window.at(self.next - 1)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.end - self.next, Some(self.end - self.next))
    }
}

impl DoubleEndedIterator for Commits<'_> {
    fn next_back(&mut self) -> Option<StoredCommit> {
        if self.next == self.end {
            return None;
        }
        self.end -= 1;
        self.window.at(self.end)
    }
}

impl ExactSizeIterator for Commits<'_> {}

impl<'a> IntoIterator for &'a Window {
    type Item = StoredCommit;
    type IntoIter = Commits<'a>;

    fn into_iter(self) -> Commits<'a> {
        self.iter()
    }
}
