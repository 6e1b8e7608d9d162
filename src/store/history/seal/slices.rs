//! Cutting what is finished into transactions.

use super::Work;
use crate::store::history::file::{NewBlock, Progress, Slice};
use crate::store::history::key::Key;
use crate::store::history::rollup_rows::NewRow;

/// What writing a rollup weighs, in bytes of blocks.
const ROW_BYTES: usize = 200;

/// Finished blocks and rollups on their way to the writer.
pub(super) struct Slices {
    seal: i64,
    skipped: u64,
    pub(super) beats: u64,
    at: Progress,
    next: Progress,
    blocks: Vec<NewBlock>,
    bytes: usize,
    limit: usize,
    /// Rollups in the order of their places; each goes with the block of its place.
    waiting: std::iter::Peekable<std::vec::IntoIter<(Key, NewRow)>>,
    rows: Vec<NewRow>,
}

impl Slices {
    /// Slices that lead from one place to another.
    pub(super) fn new(
        work: &Work,
        at: Progress,
        next: Progress,
        limit: usize,
        rows: Vec<(Key, NewRow)>,
    ) -> Self {
        Self {
            seal: work.seal,
            skipped: work.skipped,
            beats: work.beats.len() as u64,
            at,
            next,
            blocks: Vec::new(),
            bytes: 0,
            limit,
            waiting: rows.into_iter().peekable(),
            rows: Vec::new(),
        }
    }

    /// Adds a block; gives the slice before it when that is large enough.
    pub(super) fn push(&mut self, block: NewBlock) -> Option<Slice> {
        let size = self.bytes + self.rows.len() * ROW_BYTES;
        let is_full = size > 0 && size + block.bytes.len() > self.limit;
        let slice = is_full.then(|| {
            // What stands before this block belongs to the one before.
            while let Some((_, row)) = self.waiting.next_if(|(key, _)| *key < block.first) {
                self.rows.push(row);
            }
            let after = Progress {
                step: self.at.step,
                next: block.first.clone(),
            };
            self.cut(after)
        });
        while let Some((_, row)) = self.waiting.next_if(|(key, _)| *key <= block.last) {
            self.rows.push(row);
        }
        self.bytes += block.bytes.len();
        self.blocks.push(block);
        slice
    }

    fn cut(&mut self, after: Progress) -> Slice {
        self.bytes = 0;
        Slice {
            seal: self.seal,
            before: std::mem::replace(&mut self.at, after.clone()),
            after,
            blocks: std::mem::take(&mut self.blocks),
            rows: std::mem::take(&mut self.rows),
            beats: self.beats,
            skipped: self.skipped,
        }
    }

    /// The last slice, and the place it leads to.
    pub(super) fn finish(mut self) -> (Slice, Progress) {
        let rest = self.waiting.by_ref().map(|(_, row)| row);
        self.rows.extend(rest);
        let next = self.next.clone();
        (self.cut(next.clone()), next)
    }
}
