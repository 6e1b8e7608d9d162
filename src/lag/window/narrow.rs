//! Commits as 32-bit distances from a base: the compact form of a window.
//!
//! It only keeps and moves commits; where they go, `window.rs` decides. A commit that does not fit
//! is refused, and the window then finds a new base or keeps its commits in full. The base stays
//! where it was when old commits leave; distances grow until one does not fit, which for a group
//! that goes on takes four billion records or seven weeks.

use super::{Place, StoredCommit};
use crate::clock::Timestamp;
use crate::lag::ids::Order;
use crate::lag::optional::MaybeI64;

/// The form that nearly every window has.
///
/// While the window grows, `rows` is in order. Full, it is a ring that begins at `head`, so that
/// appending touches the memory of two neighbours only.
#[derive(Clone, Default)]
pub(super) struct Narrow {
    rows: Box<[Row]>,
    order: i64,
    offset: i64,
    timestamp: i64,
    epoch: u32,
    head: u32,
}

const _: () = assert!(size_of::<super::Window>() == 48 && size_of::<Row>() == 20);

#[derive(Clone, Copy)]
struct Row {
    order: u32,
    offset: u32,
    timestamp: u32,
    observed_at_s: u32,
    /// The lag itself, or `NO_LAG`.
    lag: u32,
}

const NO_LAG: u32 = u32::MAX;

impl Narrow {
    /// The compact form of these commits, oldest first, when they fit.
    pub(super) fn of(commits: &[StoredCommit]) -> Option<Narrow> {
        let (first, rest) = commits.split_first()?;
        let mut narrow = Narrow::based_on(first);
        for commit in rest {
            narrow.offset = narrow.offset.min(commit.offset);
            narrow.timestamp = narrow.timestamp.min(commit.timestamp.as_ms());
        }
        let mut rows = Vec::with_capacity(commits.len());
        for commit in commits {
            rows.push(narrow.encode(commit)?);
        }
        narrow.rows = rows.into_boxed_slice();
        Some(narrow)
    }

    fn based_on(commit: &StoredCommit) -> Narrow {
        Narrow {
            rows: Box::default(),
            order: commit.order.offset,
            offset: commit.offset,
            timestamp: commit.timestamp.as_ms(),
            epoch: commit.order.epoch,
            head: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.rows)
    }

    pub(super) fn at(&self, index: usize) -> StoredCommit {
        let row = &self.rows[self.slot(index)];
        StoredCommit {
            offset: self.offset + i64::from(row.offset),
            timestamp: Timestamp::from_ms(self.timestamp + i64::from(row.timestamp)),
            observed_at_s: row.observed_at_s,
            order: self.order(index),
            lag: if row.lag == NO_LAG {
                MaybeI64::NONE
            } else {
                MaybeI64::some(i64::from(row.lag))
            },
        }
    }

    pub(super) fn order(&self, index: usize) -> Order {
        Order {
            epoch: self.epoch,
            offset: self.order + i64::from(self.rows[self.slot(index)].order),
        }
    }

    pub(super) fn timestamp(&self, index: usize) -> Timestamp {
        let distance = self.rows[self.slot(index)].timestamp;
        Timestamp::from_ms(self.timestamp + i64::from(distance))
    }

    /// Puts the commit in its place; `false`, and nothing put, when it does not fit.
    pub(super) fn put(&mut self, place: &Place, commit: &StoredCommit, is_full: bool) -> bool {
        if self.rows.is_empty() {
            *self = Narrow::based_on(commit);
        }
        let Some(row) = self.encode(commit) else {
            return false;
        };
        match *place {
            Place::Instead(index) => {
                let slot = self.slot(index);
                self.rows[slot] = row;
            }
            Place::Before(index) if is_full && index == self.rows.len() => {
                let oldest = self.slot(0);
                self.rows[oldest] = row;
                self.head = if oldest + 1 == self.rows.len() {
                    0
                } else {
                    self.head + 1
                };
            }
            Place::Before(index) if is_full => {
                for older in 0..index - 1 {
                    let (to, from) = (self.slot(older), self.slot(older + 1));
                    self.rows[to] = self.rows[from];
                }
                let slot = self.slot(index - 1);
                self.rows[slot] = row;
            }
            Place::Before(index) => self.grow(index, row),
        }
        true
    }

    /// Sets a lag; `false`, and nothing changed, when it does not fit.
    pub(super) fn set_lag(&mut self, index: usize, lag: MaybeI64) -> bool {
        let Some(lag) = encode_lag(lag) else {
            return false;
        };
        let slot = self.slot(index);
        self.rows[slot].lag = lag;
        true
    }

    fn grow(&mut self, index: usize, row: Row) {
        let mut rows = std::mem::take(&mut self.rows).into_vec();
        // Not 0 only when `intervals` was made larger after the window had been full.
        rows.rotate_left(self.head as usize);
        self.head = 0;
        rows.reserve_exact(1);
        rows.insert(index, row);
        self.rows = rows.into_boxed_slice();
    }

    fn slot(&self, index: usize) -> usize {
        let slot = self.head as usize + index;
        if slot < self.rows.len() {
            slot
        } else {
            slot - self.rows.len()
        }
    }

    fn encode(&self, commit: &StoredCommit) -> Option<Row> {
        if commit.order.epoch != self.epoch {
            return None;
        }
        Some(Row {
            order: distance(commit.order.offset, self.order)?,
            offset: distance(commit.offset, self.offset)?,
            timestamp: distance(commit.timestamp.as_ms(), self.timestamp)?,
            observed_at_s: commit.observed_at_s,
            lag: encode_lag(commit.lag)?,
        })
    }
}

fn distance(value: i64, base: i64) -> Option<u32> {
    u32::try_from(value.checked_sub(base)?).ok()
}

fn encode_lag(lag: MaybeI64) -> Option<u32> {
    match lag.get() {
        None => Some(NO_LAG),
        Some(lag) => u32::try_from(lag).ok().filter(|&lag| lag != NO_LAG),
    }
}
