//! Commits as 32-bit distances from a base: the compact form of a window with commits.
//!
//! It only keeps and moves commits; where they go, `window.rs` decides. A commit that does not fit
//! is refused, and the window then finds a new base or keeps its commits in full. The base stays
//! where it was when old commits leave; distances grow until one does not fit, which for a group
//! that goes on takes four billion records or seven weeks.
//!
//! A million commits a second go to windows that are in no cache. Therefore the newest commit,
//! the only one that an appended commit is compared with, stands beside the base in the one cache
//! line of the window itself; the memory of the others is then only written to, which nobody waits
//! for. A window of one commit, the most frequent kind after a start, has no other memory.

use super::{Place, StoredCommit};
use crate::clock::Timestamp;
use crate::lag::ids::Order;
use crate::lag::optional::MaybeI64;

/// The form that nearly every window has. Never empty.
#[derive(Clone)]
pub(super) struct Narrow {
    /// All but the newest. In order while the window grows; in a full window a ring whose oldest
    /// is at `head`.
    older: Box<[Row]>,
    newest: Row,
    head: u8,
    /// Little-endian.
    epoch: [u8; 3],
    order: i64,
    offset: i64,
    timestamp: i64,
}

const _: () = assert!(size_of::<super::Window>() == 64 && size_of::<Row>() == 20);

#[derive(Clone, Copy)]
struct Row {
    order: u32,
    offset: u32,
    timestamp: u32,
    observed_at_s: u32,
    /// The lag itself, or `NO_LAG`.
    lag: u32,
}

impl Row {
    #[inline]
    fn lag(&self) -> MaybeI64 {
        if self.lag == NO_LAG {
            MaybeI64::NONE
        } else {
            MaybeI64::some(i64::from(self.lag))
        }
    }
}

const NO_LAG: u32 = u32::MAX;
const OLDER_MAX: usize = u8::MAX as usize;

impl Narrow {
    /// The compact form of these commits, oldest first, when they fit; there is none of none.
    pub(super) fn of(commits: &[StoredCommit]) -> Option<Narrow> {
        let (last, rest) = commits.split_last()?;
        let mut narrow = Narrow {
            older: Box::default(),
            newest: Row {
                order: 0,
                offset: 0,
                timestamp: 0,
                observed_at_s: 0,
                lag: NO_LAG,
            },
            head: 0,
            epoch: encode_epoch(last.order.epoch)?,
            order: commits[0].order.offset,
            offset: last.offset,
            timestamp: last.timestamp.as_ms(),
        };
        if rest.len() > OLDER_MAX {
            return None;
        }
        for commit in rest {
            narrow.offset = narrow.offset.min(commit.offset);
            narrow.timestamp = narrow.timestamp.min(commit.timestamp.as_ms());
        }
        narrow.newest = narrow.encode(last)?;
        let mut older = Vec::with_capacity(rest.len());
        for commit in rest {
            older.push(narrow.encode(commit)?);
        }
        narrow.older = older.into_boxed_slice();
        Some(narrow)
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.older.len() + 1
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.older)
    }

    #[inline]
    pub(super) fn at(&self, index: usize) -> StoredCommit {
        let row = self.row(index);
        StoredCommit {
            offset: self.offset + i64::from(row.offset),
            timestamp: self.timestamp(index),
            observed_at_s: row.observed_at_s,
            order: self.order(index),
            lag: row.lag(),
        }
    }

    /// Offset and lag of every commit, oldest first.
    #[inline]
    pub(super) fn each(&self, mut f: impl FnMut(i64, MaybeI64)) {
        let (newer, older) = self.older.split_at(usize::from(self.head));
        let mut row = |row: &Row| f(self.offset + i64::from(row.offset), row.lag());
        older.iter().for_each(&mut row);
        newer.iter().for_each(&mut row);
        row(&self.newest);
    }

    #[inline]
    pub(super) fn order(&self, index: usize) -> Order {
        Order {
            epoch: self.epoch(),
            offset: self.order + i64::from(self.row(index).order),
        }
    }

    #[inline]
    pub(super) fn timestamp(&self, index: usize) -> Timestamp {
        Timestamp::from_ms(self.timestamp + i64::from(self.row(index).timestamp))
    }

    /// Puts the commit in its place; `false`, and nothing changed, when it does not fit.
    #[inline]
    pub(super) fn put(&mut self, place: &Place, commit: &StoredCommit, is_full: bool) -> bool {
        let Some(row) = self.encode(commit) else {
            return false;
        };
        match *place {
            Place::Instead(index) => *self.row_mut(index) = row,
            Place::Before(index) if !is_full => return self.grow(index, row),
            Place::Before(index) if index > self.older.len() => {
                // The newest so far takes the slot of the oldest, and the ring turns.
                let head = usize::from(self.head);
                if let Some(oldest) = self.older.get_mut(head) {
                    *oldest = self.newest;
                    self.head = if head + 1 == self.older.len() {
                        0
                    } else {
                        self.head + 1
                    };
                }
                self.newest = row;
            }
            Place::Before(index) => {
                for older in 1..index {
                    *self.row_mut(older - 1) = *self.row(older);
                }
                *self.row_mut(index - 1) = row;
            }
        }
        true
    }

    /// Sets a lag; `false`, and nothing changed, when it does not fit.
    pub(super) fn set_lag(&mut self, index: usize, lag: MaybeI64) -> bool {
        let Some(lag) = encode_lag(lag) else {
            return false;
        };
        self.row_mut(index).lag = lag;
        true
    }

    fn grow(&mut self, index: usize, row: Row) -> bool {
        if self.older.len() == OLDER_MAX {
            return false;
        }
        let mut older = std::mem::take(&mut self.older).into_vec();
        // Not 0 only when `intervals` was made larger after the window had been full.
        older.rotate_left(usize::from(self.head));
        self.head = 0;
        older.reserve_exact(1);
        if index > older.len() {
            older.push(std::mem::replace(&mut self.newest, row));
        } else {
            older.insert(index, row);
        }
        self.older = older.into_boxed_slice();
        true
    }

    #[inline]
    fn row(&self, index: usize) -> &Row {
        self.slot(index).map_or(&self.newest, |s| &self.older[s])
    }

    #[inline]
    fn row_mut(&mut self, index: usize) -> &mut Row {
        match self.slot(index) {
            Some(slot) => &mut self.older[slot],
            None => &mut self.newest,
        }
    }

    /// Where in `older` a commit stands; the newest is not there.
    #[inline]
    fn slot(&self, index: usize) -> Option<usize> {
        let count = self.older.len();
        let slot = usize::from(self.head) + index;
        (index < count).then_some(if slot < count { slot } else { slot - count })
    }

    #[inline]
    fn epoch(&self) -> u32 {
        let [a, b, c] = self.epoch;
        u32::from_le_bytes([a, b, c, 0])
    }

    #[inline]
    fn encode(&self, commit: &StoredCommit) -> Option<Row> {
        if commit.order.epoch != self.epoch() {
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

#[inline]
fn distance(value: i64, base: i64) -> Option<u32> {
    u32::try_from(value.checked_sub(base)?).ok()
}

fn encode_epoch(epoch: u32) -> Option<[u8; 3]> {
    match epoch.to_le_bytes() {
        [a, b, c, 0] => Some([a, b, c]),
        _ => None,
    }
}

#[inline]
fn encode_lag(lag: MaybeI64) -> Option<u32> {
    match lag.get() {
        None => Some(NO_LAG),
        Some(lag) => u32::try_from(lag).ok().filter(|&lag| lag != NO_LAG),
    }
}
