//! What has to go so that the limits hold: frames older than `journal_keep`, and the oldest ones
//! when the next write would make the file larger than `max_size`.
//!
//! Only plans; the writer deletes in the same transaction that writes.

use std::time::Duration;

use super::frame::Seq;
use super::history::HOUR;
use super::index::Entry;
use super::journal::{NewFrame, Pages};
use super::layers::Gone;
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

    /// Bytes the log may have.
    pub(super) fn log(self) -> u64 {
        self.log
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
    /// The newest beat, and how long before it beats are kept; none when nothing new is written.
    pub(super) newest: Option<(Timestamp, Duration)>,
    /// Frames that are written.
    pub(super) frames: usize,
}

/// What to delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) delete: Vec<Seq>,
    /// Pages that are still missing when all of it is deleted.
    pub(super) missing: u64,
    /// How many go, and why.
    pub(super) gone: Gone,
    /// How many of them are not in the history.
    pub(super) unsealed: u64,
}

/// Pages that are missing for a write.
pub(super) fn missing(budget: Budget, pages: Pages, needed: u64) -> u64 {
    let Pages { size, count, free } = pages;
    (count.saturating_sub(free) + needed + TREES).saturating_sub(budget.pages(size))
}

/// Chooses the frames to delete from the stored ones, which come oldest first. The newest stored
/// frame stays: numbers go on behind it. A frame whose hour is over goes for its age only when it is
/// in the history.
pub(super) fn plan<'a>(need: &Need, stored: impl Iterator<Item = &'a Entry>) -> Plan {
    let size = need.pages.size;
    let mut plan = Plan {
        missing: missing(need.budget, need.pages, need.needed).min(need.at_most()),
        ..Plan::default()
    };
    let at_once = EXPIRE_AT_ONCE.max(4 * need.frames);
    let mut stored = stored.peekable();
    while let Some(entry) = stored.next() {
        if stored.peek().is_none() {
            break;
        }
        let is_old = need.is_old(entry) && plan.delete.len() < at_once;
        match (is_old, plan.missing > 0) {
            (true, _) => plan.gone.age += 1,
            (false, true) => plan.gone.max_size += 1,
            (false, false) => break,
        }
        plan.unsealed += u64::from(entry.is_unsealed());
        plan.delete.push(entry.seq);
        // Small pieces share pages, which become free only when all of them are gone.
        let pages = u64::from(entry.bytes) / (size - 4);
        plan.missing = plan.missing.saturating_sub(pages);
    }
    plan
}

impl Need {
    /// Whether a frame is too old, and nobody waits for it.
    fn is_old(&self, entry: &Entry) -> bool {
        let Some((newest, keep)) = self.newest else {
            return false;
        };
        let is_over = entry.beat.aligned(HOUR).plus(HOUR) <= newest;
        entry.beat < newest.minus(keep) && !(is_over && entry.is_unsealed())
    }

    /// Pages that are made free at once, at most: a file that is far too large because less is
    /// allowed than before shrinks a little with every write.
    fn at_most(&self) -> u64 {
        at_once(self.budget, self.pages.size) + self.needed
    }
}

/// Pages that are written in one transaction, or made free beyond what it needs, at most.
pub(super) fn at_once(budget: Budget, page_size: u64) -> u64 {
    (budget.transaction() / page_size).max(1)
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
            is_sealed: true,
        };
        (1..=count).map(entry).collect()
    }

    const KEEP: Duration = Duration::from_secs(60);

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
            newest: keep_from.map(|from| (Timestamp::from_secs(from + 60), KEEP)),
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
        // Far too large: a little at a time, and what the write needs.
        check(3000, 30, None, (10, 0));
    }

    #[test]
    fn what_the_history_needs_goes_for_room_only() {
        let need = |used, newest| Need {
            budget: Budget::new(4 << 20),
            pages: Pages {
                size: 4096,
                count: used,
                free: 0,
            },
            needed: 30,
            newest: Some((Timestamp::from_secs(newest), KEEP)),
            frames: 1,
        };
        let mut stored = entries(100);
        for entry in &mut stored {
            entry.cluster = Some(1);
            entry.is_sealed = entry.seq.0 <= 3;
        }
        for (used, newest, age, max_size, unsealed, reason) in [
            (
                600,
                3599,
                16,
                0,
                13,
                "an hour that is not over is not sealed at all",
            ),
            (600, 3600, 3, 0, 0, "what is not sealed stays"),
            (750, 3600, 3, 2, 2, "unless there is no room"),
        ] {
            let plan = plan(&need(used, newest), stored.iter());
            let gone = Gone { age, max_size };
            assert_eq!((plan.gone, plan.unsealed), (gone, unsealed), "{reason}");
        }
    }
}
