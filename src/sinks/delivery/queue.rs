//! Points cut into batches, waiting for their turn.

use std::collections::VecDeque;
use std::sync::Arc;

use super::selection::Selection;
use crate::points::Batch;
use crate::store::frame::Frame;

/// Points that go into one request, or will be split further.
#[derive(Clone, Debug)]
pub(super) struct Work {
    /// Place of its first point among all points ever cut: the order of sending.
    first: u64,
    pub(super) batch: Batch,
    /// Whether the points have been in a request before.
    pub(super) is_retry: bool,
}

impl Work {
    /// The same points in two halves.
    fn halves(self) -> [Work; 2] {
        let (older, newer) = self.batch.split();
        let middle = self.first + older.len() as u64;
        [
            Work {
                first: self.first,
                batch: older,
                is_retry: self.is_retry,
            },
            Work {
                first: middle,
                batch: newer,
                is_retry: self.is_retry,
            },
        ]
    }

    /// Only the points at these indexes.
    pub(super) fn subset(&self, indexes: &[usize]) -> Work {
        let skipped = indexes.first().copied().unwrap_or_default() as u64;
        let first = self.first + skipped;
        Work {
            first,
            batch: self.batch.subset(indexes),
            is_retry: self.is_retry,
        }
    }
}

/// Work in order, oldest first, and the batch that is being filled.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: VecDeque<Work>,
    filling: Batch,
    filling_bytes: usize,
    /// Points cut so far.
    cut: u64,
    max_points: usize,
    max_bytes: usize,
    /// Points of two beats are never cut into one batch.
    one_beat: bool,
}

impl Queue {
    pub(super) fn new(max_points: usize, max_bytes: usize, one_beat: bool) -> Self {
        Self {
            waiting: VecDeque::new(),
            filling: Batch::new(),
            filling_bytes: 0,
            cut: 0,
            max_points: max_points.max(1),
            max_bytes,
            one_beat,
        }
    }

    /// Batches that are full or come back.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.filling.is_empty()
    }

    /// Adds what is selected of a frame; says how many points that were.
    pub(super) fn add(&mut self, frame: &Arc<Frame>, selection: &Selection) -> u64 {
        let mut points = 0;
        let is_other_beat = self
            .filling
            .get(0)
            .is_some_and(|point| point.at() != frame.beat);
        if self.one_beat && is_other_beat {
            self.close();
        }
        selection.each(frame, &mut |place| {
            self.filling.push(frame, place);
            points += 1;
            let last = self.filling.get(self.filling.len() - 1);
            self.filling_bytes += last.map_or(0, |point| point.size_hint());
            if self.filling.len() >= self.max_points || self.filling_bytes >= self.max_bytes {
                self.close();
            }
        });
        points
    }

    /// Takes the oldest work, at most `limit` points of it.
    pub(super) fn take(&mut self, limit: usize) -> Option<Work> {
        if self.waiting.is_empty() {
            self.close();
        }
        let work = self.waiting.pop_front()?;
        if work.batch.len() <= limit {
            return Some(work);
        }
        let older = work.batch.slice(0, limit);
        let newer = work.batch.slice(limit, work.batch.len());
        let middle = work.first + older.len() as u64;
        self.waiting.push_front(Work {
            first: middle,
            batch: newer,
            is_retry: work.is_retry,
        });
        Some(Work {
            first: work.first,
            batch: older,
            is_retry: work.is_retry,
        })
    }

    /// Puts work back at its place, to be sent again.
    pub(super) fn put_back(&mut self, work: Work) {
        let work = Work {
            is_retry: true,
            ..work
        };
        let at = self
            .waiting
            .partition_point(|other| other.first < work.first);
        self.waiting.insert(at, work);
    }

    /// Puts work back at its place as two halves.
    pub(super) fn put_back_halves(&mut self, work: Work) {
        work.halves()
            .into_iter()
            .for_each(|half| self.put_back(half));
    }

    fn close(&mut self) {
        if self.filling.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.filling);
        let first = self.cut;
        self.cut += batch.len() as u64;
        self.filling_bytes = 0;
        self.waiting.push_back(Work {
            first,
            batch,
            is_retry: false,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::points::sample;
    use crate::sinks::delivery::DeliverySettings;

    /// The beats of each batch that three frames are cut into, two of them of one beat.
    fn beats(one_beat: bool) -> Vec<Vec<i64>> {
        let selection = Selection::new(&DeliverySettings::default(), Duration::from_secs(10));
        let mut queue = Queue::new(20, 1_000_000, one_beat);
        for frame in [sample::small(1), sample::sinks(1), sample::small(2)] {
            queue.add(&frame, &selection);
        }
        let mut all = Vec::new();
        while let Some(work) = queue.take(usize::MAX) {
            let mut beats: Vec<_> = work.batch.iter().map(|point| point.at().as_ms()).collect();
            beats.dedup();
            all.push(beats);
        }
        all
    }

    #[test]
    fn beats_share_a_request_unless_the_sink_may_not() {
        let [first, second] = [1, 2].map(|seq| sample::beat_of(seq).as_ms());
        assert_eq!(beats(false), [vec![first, second], vec![second]]);
        assert_eq!(beats(true), [vec![first], vec![second]]);
    }
}
