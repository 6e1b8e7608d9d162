//! What has to go so that the limits hold: frames older than `journal_keep`, and the oldest ones
//! when the next write would make the file larger than `max_size`.
//!
//! Only plans; the writer deletes in the same transaction that writes.

use super::frame::Seq;
use super::index::Entry;
use super::journal::{NewFrame, Pages};
use crate::clock::Timestamp;

/// Frames that are deleted with one write for their age alone, at least. A clock that stands a
/// year ahead for one beat must not empty the journal.
const EXPIRE_AT_ONCE: usize = 16;

/// Pages that any write may need for the inner nodes of trees.
const TREES: u64 = 32;

/// How the bytes of `max_size` are shared between the file and its write-ahead log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    max_size: u64,
    /// Kept free for the log.
    log: u64,
}

impl Budget {
    pub(super) fn new(max_size: u64) -> Self {
        Self {
            max_size,
            log: (max_size / 4).min(64 << 20),
        }
    }

    /// Pages the file may have.
    pub(super) fn pages(self, page_size: u64) -> u64 {
        ((self.max_size - self.log) / page_size.max(1)).max(TREES)
    }

    /// Bytes after which a transaction ends.
    pub(super) fn transaction(self) -> u64 {
        self.log / 4
    }

    /// Bytes a cluster's snapshot may have: it is one transaction.
    pub(super) fn snapshot(self) -> u64 {
        self.log / 2
    }

    /// Bytes in the log after which it is moved into the file.
    pub(super) fn checkpoint(self) -> u64 {
        self.log / 4
    }
}

/// Pages that writing a frame takes, rather too many.
pub(super) fn pages_for(frame: &NewFrame, page_size: u64) -> u64 {
    let bytes = frame.encoded.len() as u64;
    let changes: usize = frame.changes.iter().map(|c| 64 + c.reason.len()).sum();
    bytes.div_ceil(page_size - 4)
        + frame.encoded.parts.len() as u64
        + (changes as u64).div_ceil(page_size)
        + 1
}

/// What a write needs, and what there is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    pub(super) budget: Budget,
    pub(super) pages: Pages,
    /// Pages the write takes.
    pub(super) needed: u64,
    /// Beats before this one are too old; none when nothing new is written.
    pub(super) keep_from: Option<Timestamp>,
    /// Frames that are written.
    pub(super) frames: usize,
}

/// What to delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) delete: Vec<Seq>,
    /// Pages that are still missing when all of it is deleted.
    pub(super) missing: u64,
}

/// Pages that are missing for a write.
pub(super) fn missing(budget: Budget, pages: Pages, needed: u64) -> u64 {
    let Pages { size, count, free } = pages;
    (count.saturating_sub(free) + needed + TREES).saturating_sub(budget.pages(size))
}

/// Chooses the frames to delete from the stored ones, which come oldest first. The newest stored
/// frame stays: numbers go on behind it.
pub(super) fn plan<'a>(need: &Need, stored: impl Iterator<Item = &'a Entry>) -> Plan {
    let size = need.pages.size;
    let mut missing = missing(need.budget, need.pages, need.needed);
    let at_once = EXPIRE_AT_ONCE.max(4 * need.frames);
    let mut delete = Vec::new();
    let mut stored = stored.peekable();
    while let Some(entry) = stored.next() {
        let is_old = need.keep_from.is_some_and(|from| entry.beat < from);
        let is_wanted = missing > 0 || (is_old && delete.len() < at_once);
        if !is_wanted || stored.peek().is_none() {
            break;
        }
        delete.push(entry.seq);
        // Small pieces share pages, which become free only when all of them are gone.
        missing = missing.saturating_sub(u64::from(entry.bytes) / (size - 4));
    }
    Plan { delete, missing }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(count: i64) -> Vec<Entry> {
        let entry = |seq| Entry {
            seq: Seq(seq),
            beat: Timestamp::from_secs(10 * seq),
            rows: 1,
            through: 1,
            bytes: 40_920,
            cluster: None,
            is_stored: true,
        };
        (1..=count).map(entry).collect()
    }

    /// How many frames of ten pages each go, of 100, and how many pages are missing then.
    #[track_caller]
    fn check(used: u64, needed: u64, keep_from: Option<i64>, expected: (usize, u64)) {
        let stored = entries(100);
        let budget = Budget::new(4 << 20);
        let need = Need {
            budget,
            pages: Pages {
                size: 4096,
                count: used,
                free: 0,
            },
            needed,
            keep_from: keep_from.map(Timestamp::from_secs),
            frames: 1,
        };
        assert_eq!(budget.pages(4096), 768);
        let plan = plan(&need, stored.iter());
        assert_eq!((plan.delete.len(), plan.missing), expected);
    }

    #[test]
    fn deletes_only_what_must_go() {
        check(700, 30, None, (0, 0));
        check(700, 30, Some(0), (0, 0));
        check(700, 30, Some(55), (5, 0));
        check(700, 36, None, (0, 0));
        check(700, 37, None, (1, 0));
        check(700, 50, None, (2, 0));
        // Far too old: not everything at once.
        check(700, 30, Some(1_000_000), (16, 0));
        // The newest stays, whatever is missing.
        check(3000, 30, None, (99, 3000 + 30 + 32 - 768 - 990));
    }
}
