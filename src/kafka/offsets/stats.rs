//! What a reader has done and what hinders it, for whoever looks from another thread.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many unknown record types are told apart; the rest counts as type `i16::MIN`.
const UNKNOWN_TYPES: usize = 32;

/// Counters since the process started, and the present problem. Shared; cheap to read.
#[derive(Debug, Default)]
pub struct ReaderStats {
    records: AtomicU64,
    bytes: AtomicU64,
    commits: AtomicU64,
    tombstones: AtomicU64,
    group_changes: AtomicU64,
    ignored: AtomicU64,
    malformed: AtomicU64,
    unknown: Mutex<BTreeMap<i16, u64>>,
    problem: Mutex<Option<String>>,
    has_nothing_to_read: AtomicBool,
}

/// The counters at one moment, or what one batch adds to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReaderCounts {
    /// Records of the offsets topic; each is also in exactly one of the counts below.
    pub records: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Committed offsets.
    pub commits: u64,
    /// Records without value, of commits and groups.
    pub tombstones: u64,
    /// Records about kinds and members of groups.
    pub group_changes: u64,
    /// Known types that say nothing about lag.
    pub ignored: u64,
    /// Records that are not what their type promises.
    pub malformed: u64,
    /// Types newer than the decoder, by number.
    pub unknown: BTreeMap<i16, u64>,
}

/// What became of the problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Same,
    New,
    Gone,
}

impl ReaderStats {
    /// The counters as they are now.
    pub fn counts(&self) -> ReaderCounts {
        ReaderCounts {
            records: self.records.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            commits: self.commits.load(Relaxed),
            tombstones: self.tombstones.load(Relaxed),
            group_changes: self.group_changes.load(Relaxed),
            ignored: self.ignored.load(Relaxed),
            malformed: self.malformed.load(Relaxed),
            unknown: lock(&self.unknown).clone(),
        }
    }

    /// What hinders reading, in words with the next step; absent while it goes on.
    pub fn problem(&self) -> Option<String> {
        lock(&self.problem).clone()
    }

    /// Kafka has said that the topic does not exist, or may not be seen: waiting for it would be
    /// waiting for somebody else.
    pub fn has_nothing_to_read(&self) -> bool {
        self.has_nothing_to_read.load(Relaxed)
    }

    pub(crate) fn set_nothing_to_read(&self, is_so: bool) {
        self.has_nothing_to_read.store(is_so, Relaxed);
    }

    pub(super) fn add(&self, counts: &ReaderCounts) {
        for (counter, more) in [
            (&self.records, counts.records),
            (&self.bytes, counts.bytes),
            (&self.commits, counts.commits),
            (&self.tombstones, counts.tombstones),
            (&self.group_changes, counts.group_changes),
            (&self.ignored, counts.ignored),
            (&self.malformed, counts.malformed),
        ] {
            if more > 0 {
                counter.fetch_add(more, Relaxed);
            }
        }
        if !counts.unknown.is_empty() {
            let mut unknown = lock(&self.unknown);
            for (kind, more) in &counts.unknown {
                let is_room = unknown.len() < UNKNOWN_TYPES || unknown.contains_key(kind);
                let kind = if is_room { *kind } else { i16::MIN };
                *unknown.entry(kind).or_default() += more;
            }
        }
    }

    pub(super) fn set_problem(&self, problem: Option<String>) -> Change {
        let mut current = lock(&self.problem);
        let change = match (current.as_deref(), problem.as_deref()) {
            (old, new) if old == new => Change::Same,
            (Some(_), None) => Change::Gone,
            _ => Change::New,
        };
        *current = problem;
        change
    }
}

/// What is behind these locks is whole at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_types_are_bounded() {
        let stats = ReaderStats::default();
        for kind in 100..200 {
            stats.add(&ReaderCounts {
                unknown: BTreeMap::from([(kind, 1)]),
                ..ReaderCounts::default()
            });
        }
        let unknown = stats.counts().unknown;
        assert_eq!(unknown.len(), UNKNOWN_TYPES + 1);
        assert_eq!(unknown.values().sum::<u64>(), 100);
    }

    #[test]
    fn a_problem_is_new_once() {
        let stats = ReaderStats::default();
        let text = |text: &str| Some(text.to_owned());
        for (problem, expected) in [
            (None, Change::Same),
            (text("a"), Change::New),
            (text("a"), Change::Same),
            (text("b"), Change::New),
            (None, Change::Gone),
        ] {
            assert_eq!(stats.set_problem(problem.clone()), expected, "{problem:?}");
            assert_eq!(stats.problem(), problem);
        }
    }
}
