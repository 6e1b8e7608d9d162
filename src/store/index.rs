//! Which frames there are, in memory: number, beat, rows, and where their bytes are.
//!
//! It answers where a reader goes on and how many rows stand before it without asking SQLite.
//! Some forty bytes a frame: a day of one cluster's ten-second beats takes a third of a megabyte.

use std::collections::{HashMap, VecDeque};

use super::frame::Seq;
use crate::clock::Timestamp;

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) seq: Seq,
    pub(super) beat: Timestamp,
    pub(super) rows: u64,
    /// Rows of all frames ever written, up to and including this one.
    pub(super) through: u64,
    /// Bytes of the encoded frame.
    pub(super) bytes: u32,
    /// The number of the cluster's name; none for the sinks' own state.
    pub(super) cluster: Option<u32>,
    /// On disk.
    pub(super) is_stored: bool,
    /// In the history, too.
    pub(super) is_sealed: bool,
}

impl Entry {
    /// Whether the history still needs it.
    pub(super) fn is_unsealed(&self) -> bool {
        self.cluster.is_some() && !self.is_sealed
    }
}

/// All frames that can be read, oldest first.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: VecDeque<Entry>,
    /// The last number ever given, and the rows up to it.
    newest: Seq,
    through: u64,
    /// Frames that are there but cannot be decoded, and why.
    corrupt: HashMap<Seq, String>,
}

impl Index {
    /// An index that goes on behind what earlier runs have written.
    pub(super) fn new(entries: VecDeque<Entry>, newest: Seq, through: u64) -> Self {
        Self {
            entries,
            newest,
            through,
            corrupt: HashMap::new(),
        }
    }

    /// Notes a new frame. `through` is filled in.
    pub(super) fn push(&mut self, mut entry: Entry) {
        debug_assert!(entry.seq > self.newest, "numbers grow");
        self.newest = entry.seq;
        self.through += entry.rows;
        entry.through = self.through;
        self.entries.push_back(entry);
    }

    /// The first frame behind `seq`.
    pub(super) fn after(&self, seq: Seq) -> Option<&Entry> {
        let at = self.entries.partition_point(|entry| entry.seq <= seq);
        self.entries.get(at)
    }

    /// The frame with this number.
    pub(super) fn of(&self, seq: Seq) -> Option<&Entry> {
        self.place(seq).and_then(|at| self.entries.get(at))
    }

    fn place(&self, seq: Seq) -> Option<usize> {
        self.entries
            .binary_search_by(|entry| entry.seq.cmp(&seq))
            .ok()
    }

    /// Takes out a frame that cannot be read any more.
    pub(super) fn remove(&mut self, seq: Seq) -> Option<Entry> {
        self.corrupt.remove(&seq);
        self.place(seq).and_then(|at| self.entries.remove(at))
    }

    /// Notes that a frame is on disk now.
    pub(super) fn stored(&mut self, seq: Seq) {
        if let Some(at) = self.place(seq) {
            self.entries[at].is_stored = true;
        }
    }

    /// Notes that the frames of a cluster with a beat in `[from, to)` are in the history, up to
    /// number `last`.
    pub(super) fn sealed(&mut self, cluster: u32, (from, to): (Timestamp, Timestamp), last: Seq) {
        for entry in self.entries.iter_mut().take_while(|e| e.seq <= last) {
            let is_within = entry.beat >= from && entry.beat < to;
            entry.is_sealed |= is_within && entry.cluster == Some(cluster);
        }
    }

    /// The oldest frame that the history still needs.
    pub(super) fn oldest_unsealed(&self) -> Option<Seq> {
        let oldest = self.entries.iter().find(|entry| entry.is_unsealed());
        oldest.map(|entry| entry.seq)
    }

    /// The oldest beat of all frames.
    pub(super) fn oldest_beat(&self) -> Option<Timestamp> {
        self.entries.iter().map(|entry| entry.beat).min()
    }

    /// Bytes of the frames that are on disk.
    pub(super) fn stored_bytes(&self) -> u64 {
        let stored = self.entries.iter().filter(|entry| entry.is_stored);
        stored.map(|entry| u64::from(entry.bytes)).sum()
    }

    /// Notes that a frame cannot be decoded; false when that was known.
    pub(super) fn corrupt(&mut self, seq: Seq, why: &str) -> bool {
        self.corrupt.insert(seq, why.to_owned()).is_none()
    }

    /// Why a frame cannot be decoded.
    pub(super) fn why_corrupt(&self, seq: Seq) -> Option<&str> {
        self.corrupt.get(&seq).map(String::as_str)
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn oldest(&self) -> Option<&Entry> {
        self.entries.front()
    }

    /// The last number ever given.
    pub(super) fn newest(&self) -> Seq {
        self.newest
    }

    /// Rows of all frames ever written.
    pub(super) fn through(&self) -> u64 {
        self.through
    }

    /// Rows of all frames up to and including `seq`, when they are known: the frame is there, or
    /// the one behind it without a gap, or nothing is behind it.
    pub(super) fn through_of(&self, seq: Seq) -> Option<u64> {
        match self.after(seq) {
            None => Some(self.through),
            Some(next) if next.seq.0 == seq.0 + 1 => Some(next.through - next.rows),
            Some(_) => self.of(seq).map(|entry| entry.through),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(frames: &[(i64, u64)]) -> Index {
        let mut index = Index::default();
        for (seq, rows) in frames {
            index.push(Entry {
                seq: Seq(*seq),
                beat: Timestamp::from_secs(*seq),
                rows: *rows,
                through: 0,
                bytes: 1,
                cluster: None,
                is_stored: false,
                is_sealed: false,
            });
        }
        index
    }

    #[test]
    fn knows_the_rows_up_to_a_frame_as_long_as_it_can() {
        let mut index = index(&[(1, 10), (2, 20), (3, 30), (4, 40)]);
        let through = |index: &Index| (0..6).map(|s| index.through_of(Seq(s))).collect::<Vec<_>>();
        let all = [0, 10, 30, 60, 100, 100].map(Some);
        assert_eq!(through(&index), all);
        index.remove(Seq(1));
        index.remove(Seq(2));
        // Of the first frames only the one right before the rest is known.
        assert_eq!(
            through(&index),
            [None, None, all[2], all[3], all[4], all[5]]
        );
    }

    #[test]
    fn finds_what_comes_next_across_gaps() {
        let mut index = index(&[(1, 1), (2, 1), (5, 1)]);
        assert_eq!(index.after(Seq(2)).map(|e| e.seq), Some(Seq(5)));
        assert_eq!(index.after(Seq(5)), None);
        index.remove(Seq(2));
        assert_eq!(index.after(Seq(1)).map(|e| e.seq), Some(Seq(5)));
        assert_eq!(index.of(Seq(2)), None);
    }
}
