//! How far the offsets topic has been read: loading, and being behind.
//!
//! What has not been read cannot be judged. Until every partition of the offsets topic was read to
//! the end that was seen at the start, the cluster is loading. Afterwards each partition knows up to
//! which moment it is complete; the groups it holds are judged as of that moment, and not at all
//! when it is too long ago.

use std::cmp::Ordering;
use std::time::Duration;

use super::Cluster;
use super::state::PARTITIONS_MAX;
use crate::clock::Timestamp;
use crate::lag::evaluation::Phase;
use crate::lag::event::{Applied, ReaderProgress};

/// How often being at the end is confirmed, with some time to spare: every few seconds Kafka is asked
/// for the ends of the offsets topic, and a partition that does not answer is not told about.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(10);
/// Silence up to this is never being behind.
const PATIENCE_MIN: Duration = Duration::from_secs(20);

/// Progress of every partition of the offsets topic.
#[derive(Debug, Default)]
pub(super) struct Readers {
    /// Index = partition of the offsets topic.
    partitions: Vec<Reader>,
}

#[derive(Clone, Copy, Debug)]
struct Reader {
    told: Option<ReaderProgress>,
    /// Everything written before this moment has been read.
    complete_until: Timestamp,
    /// An end that was not reached yet, and when it was seen.
    target: (i64, Timestamp),
}

impl Reader {
    const UNKNOWN: Reader = Reader {
        told: None,
        complete_until: Timestamp::from_ms(i64::MIN),
        target: (i64::MIN, Timestamp::from_ms(i64::MIN)),
    };

    fn note(&mut self, progress: &ReaderProgress) {
        let restarted = self
            .told
            .is_some_and(|told| progress.position < told.position && !progress.caught_up);
        if restarted || self.told.is_none() {
            self.target = (progress.end, progress.at);
        }
        self.told = Some(*progress);
        if progress.position >= progress.end {
            self.complete_until = progress.at;
            self.target = (progress.end, progress.at);
        } else if progress.position >= self.target.0 {
            self.complete_until = self.complete_until.max(self.target.1);
            self.target = (progress.end, progress.at);
        }
    }

    fn is_at_end(&self) -> bool {
        self.told
            .is_some_and(|told| told.caught_up && told.position >= told.end)
    }

    fn sight(&self, now: Timestamp, patience: Duration) -> Sight {
        if self.complete_until < now.minus(patience) {
            return Sight::Behind;
        }
        if !self.is_at_end() {
            return Sight::Until(Some(self.complete_until));
        }
        // It was at the end when that was last confirmed, which is a few seconds ago at best.
        let until = self.complete_until.plus(CONFIRMED_WITHIN);
        Sight::Until(Some(until).filter(|&until| until < now))
    }
}

/// What the groups of one partition of the offsets topic may be judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// Everything up to this moment is known; absent: up to now.
    Until(Option<Timestamp>),
    /// lagline is behind: nothing can be said.
    Behind,
}

impl Readers {
    /// How many partitions the offsets topic has.
    pub(super) fn len(&self) -> i32 {
        i32::try_from(self.partitions.len()).unwrap_or(i32::MAX)
    }

    fn at(&self, partition: i32) -> Option<&Reader> {
        self.partitions.get(usize::try_from(partition).ok()?)
    }

    fn note(&mut self, progress: &ReaderProgress) -> Applied {
        let count = usize::try_from(progress.partitions.clamp(0, PARTITIONS_MAX)).unwrap_or(0);
        match self.partitions.len().cmp(&count) {
            Ordering::Equal => {}
            Ordering::Less | Ordering::Greater => self.partitions.resize(count, Reader::UNKNOWN),
        }
        if count == 0 {
            return Applied::Noted;
        }
        let index = usize::try_from(progress.partition).ok();
        match index.and_then(|index| self.partitions.get_mut(index)) {
            Some(reader) => {
                reader.note(progress);
                Applied::Noted
            }
            None => Applied::Invalid,
        }
    }

    fn all_caught_up(&self) -> bool {
        let caught_up = |r: &Reader| r.told.is_some_and(|told| told.caught_up);
        !self.partitions.is_empty() && self.partitions.iter().all(caught_up)
    }

    /// Records read and to be read; 0 to be read until all partitions have told.
    fn progress(&self) -> Phase {
        let mut read = 0_i64;
        let mut total = 0_i64;
        let mut is_complete = true;
        for reader in &self.partitions {
            match reader.told {
                Some(told) => {
                    read = read.saturating_add(told.position.saturating_sub(told.from).max(0));
                    total = total.saturating_add(told.end.saturating_sub(told.from).max(0));
                }
                None => is_complete = false,
            }
        }
        Phase::Loading {
            read,
            total: if is_complete { total } else { 0 },
        }
    }

    /// Records not read yet; absent before anything was told.
    pub(super) fn lag(&self) -> Option<i64> {
        let mut told = self.partitions.iter().filter_map(|r| r.told).peekable();
        told.peek()?;
        Some(told.fold(0_i64, |sum, t| {
            sum.saturating_add(t.end.saturating_sub(t.position).max(0))
        }))
    }

    /// What the groups of a partition may be judged by at `now`. An offsets topic that was deleted
    /// says nothing about any.
    pub(super) fn sight(&self, partition: i32, now: Timestamp, patience: Duration) -> Sight {
        match self.at(partition) {
            Some(reader) => reader.sight(now, patience.max(PATIENCE_MIN)),
            None => Sight::Behind,
        }
    }

    /// Whether compaction may have taken older commits of this partition's groups. A gap anywhere
    /// tells: where the compacted part ends is not known, and in it every group has its last commit
    /// only, also right in front of the part that is whole.
    pub(super) fn is_cut(&self, partition: i32) -> bool {
        self.at(partition)
            .and_then(|reader| reader.told)
            .is_some_and(|told| told.complete_from > 0)
    }

    /// Where a cluster that was restored went on reading, when compaction may have taken commits
    /// behind it.
    pub(super) fn is_cut_behind(&self, partition: i32) -> Option<i64> {
        let told = self.at(partition)?.told?;
        (told.complete_from > told.from).then_some(told.from)
    }
}

impl Cluster {
    pub(super) fn reader_progress(&mut self, progress: &ReaderProgress, now: Timestamp) -> Applied {
        let outcome = self.readers.note(progress);
        if self.phase != Phase::Running {
            self.phase = if self.readers.len() == 0 {
                Phase::Waiting
            } else if self.readers.all_caught_up() {
                self.loaded(now);
                Phase::Running
            } else {
                self.readers.progress()
            };
        }
        outcome
    }
}
