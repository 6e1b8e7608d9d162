//! Where the reader is in each partition of the offsets topic: pure bookkeeping, no Kafka in it.
//!
//! Decides where a partition is (re)started, when it has caught up, what counts as a gap, and which
//! epoch of the commit order a record belongs to.
//!
//! **Epochs.** Within a partition the record's offset orders the commits of a group, and a group
//! stays in its partition, except that:
//! - a re-created topic counts from 0 again: a new *life*;
//! - a grown topic moves groups to other partitions. Kafka does that when its coordinators restart,
//!   not when the topic grows, and the old records stay where they are, also for a reader that starts
//!   later. So the record itself tells: its partition is the group's under the newest partition
//!   count, under an older one, or under none that is known (then it is older still);
//! - a truncated partition (unclean election) reuses offsets.
//!
//! The three, in this order, make up the epoch in 8, 4 and 12 bits; larger is newer.

use super::resume::Refusal;
use crate::clock::Timestamp;
use crate::lag::event::{PartitionPosition, ReaderPosition, ReaderProgress};
use crate::lag::ids::{Order, coordinator_partition};

/// All partitions of one life of the topic.
#[derive(Debug)]
pub(super) struct Positions {
    life: u8,
    /// Partition counts the topic has had in this life, oldest first; never empty.
    sizes: Vec<i32>,
    places: Vec<Place>,
    from_end: bool,
}

/// One partition.
#[derive(Clone, Debug, Default)]
struct Place {
    reading: Option<Reading>,
    /// Where another process has stopped; until the partition's bounds are known.
    resume: Option<PartitionPosition>,
    truncations: u16,
    /// What the last progress event said.
    told: Option<(i64, i64, bool)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Reading {
    from: i64,
    position: i64,
    complete_from: i64,
    /// Until caught up the end seen at the start, afterwards the newest known one.
    end: i64,
    caught_up: bool,
    /// The position is not in the log any more: fetching must be started again elsewhere.
    is_lost: bool,
    /// Missing offsets in a row that are no gap.
    tolerated: i64,
}

/// A transaction's marker takes an offset of its own. To a reader from the start that is a gap like
/// any other, because where the compacted part ends is not known. Behind the position of another
/// process only what was compacted meanwhile is missing, and that comes in longer stretches.
const MARKER: i64 = 1;

/// Fetch `partition` from `offset` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Begin {
    pub(super) partition: i32,
    pub(super) offset: i64,
}

/// The bounds of one partition's log, as Kafka answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) start: i64,
    pub(super) end: i64,
    /// The first record that may have been written after the reader was last seen to be right; only
    /// when it was asked for.
    pub(super) recent: Option<i64>,
}

impl Positions {
    /// Nothing read yet of `partitions` partitions; `from_end` begins at the log end.
    ///
    /// # Panics
    /// When `partitions` is not positive.
    pub(super) fn new(life: u8, partitions: i32, from_end: bool) -> Self {
        assert!(partitions > 0, "a topic has at least one partition");
        let mut positions = Self {
            life,
            sizes: Vec::new(),
            places: Vec::new(),
            from_end,
        };
        positions.grow(partitions);
        positions
    }

    /// Goes on where another process has stopped; nothing when it cannot have stopped there.
    pub(super) fn resume(position: &ReaderPosition) -> Option<Self> {
        let rises = position.sizes.windows(2).all(|two| two[0] < two[1]);
        let count = usize::try_from(*position.sizes.last()?).ok()?;
        if !rises || *position.sizes.first()? <= 0 || count != position.partitions.len() {
            return None;
        }
        let places = position.partitions.iter().map(|at| Place {
            resume: Some(*at),
            truncations: at.truncations,
            ..Place::default()
        });
        Some(Self {
            life: position.life,
            sizes: position.sizes.clone(),
            places: places.collect(),
            from_end: false,
        })
    }

    /// Where the reader stands; nothing while some partition is not being read.
    pub(super) fn position(&self) -> Option<ReaderPosition> {
        let partitions = self.places.iter().map(|place| {
            let reading = place.reading.as_ref().filter(|now| !now.is_lost)?;
            Some(PartitionPosition {
                position: reading.position,
                complete_from: reading.complete_from,
                truncations: place.truncations,
            })
        });
        Some(ReaderPosition {
            cluster_id: None,
            topic_id: None,
            life: self.life,
            sizes: self.sizes.clone(),
            partitions: partitions.collect::<Option<_>>()?,
        })
    }

    /// Whether another process cannot have stopped where it says: what stands there now, and
    /// in what order, is not what it has read.
    pub(super) fn refusal(&self, partition: i32, bounds: Bounds) -> Option<Refusal> {
        let place = self.places.get(usize::try_from(partition).ok()?)?;
        let position = place.resume.as_ref()?.position;
        if position > bounds.end {
            Some(Refusal::BeyondEnd {
                partition,
                position,
                end: bounds.end,
            })
        } else if position < bounds.start {
            Some(Refusal::BeforeStart {
                partition,
                position,
                start: bounds.start,
            })
        } else {
            None
        }
    }

    /// How many partitions the topic has.
    pub(super) fn count(&self) -> i32 {
        self.sizes.last().copied().unwrap_or(0)
    }

    /// Takes note that the topic has `partitions` partitions now; new ones wait for their bounds.
    pub(super) fn grow(&mut self, partitions: i32) {
        if let Ok(count) = usize::try_from(partitions)
            && count > self.places.len()
        {
            self.places.resize(count, Place::default());
            self.sizes.push(partitions);
        }
    }

    /// The next offset of every partition, for [`Positions::answered`]; absent where none is read.
    pub(super) fn asked(&self) -> Vec<Option<i64>> {
        let reading = self.places.iter().map(|place| place.reading.as_ref());
        reading.map(|reading| Some(reading?.position)).collect()
    }

    /// The place of a record about `group` in the order of its commits.
    pub(super) fn order(&self, partition: i32, offset: i64, group: &str) -> Order {
        Order {
            epoch: self.epoch(partition, group),
            offset,
        }
    }

    /// The reader is past the record at `offset`. True when that made the partition caught up.
    pub(super) fn passed(&mut self, partition: i32, offset: i64) -> bool {
        let Some(reading) = self.reading(partition) else {
            return false;
        };
        reading.note_gap(offset);
        reading.position = offset + 1;
        reading.catch_up()
    }

    /// The partition ends in front of `offset`. True when that made it caught up.
    pub(super) fn end_reached(&mut self, partition: i32, offset: i64) -> bool {
        let Some(reading) = self.reading(partition) else {
            return false;
        };
        if offset > reading.position {
            reading.note_gap(offset);
            reading.position = offset;
        }
        let was_caught_up = std::mem::replace(&mut reading.caught_up, true);
        reading.end = reading.position;
        !was_caught_up
    }

    /// librdkafka stopped fetching the partition, because its position is no longer in the log.
    pub(super) fn lost(&mut self, partition: i32) {
        if let Some(reading) = self.reading(partition) {
            reading.is_lost = true;
        }
    }

    /// Whether some partition waits for its bounds to be started.
    pub(super) fn is_waiting(&self) -> bool {
        self.is_any_lost() || self.places.iter().any(|place| place.reading.is_none())
    }

    /// Whether some partition has to be started again, and needs [`Bounds::recent`] for it.
    pub(super) fn is_any_lost(&self) -> bool {
        let is_lost = |place: &Place| place.reading.as_ref().is_some_and(|now| now.is_lost);
        self.places.iter().any(is_lost)
    }

    /// Kafka told the bounds of a partition's log; `asked` was the position when it was asked.
    /// Fetching begins or goes on elsewhere when one is returned.
    pub(super) fn answered(
        &mut self,
        partition: i32,
        asked: Option<i64>,
        bounds: Bounds,
    ) -> Option<Begin> {
        let from_end = self.from_end;
        let place = self.places.get_mut(usize::try_from(partition).ok()?)?;
        let Some(reading) = &mut place.reading else {
            let begin = if from_end { bounds.end } else { bounds.start };
            let resume = place.resume.take();
            let from = resume.map_or(begin, |at| at.position);
            place.reading = Some(Reading {
                from,
                position: from,
                complete_from: resume.map_or(from, |at| at.complete_from.min(from)),
                end: bounds.end,
                caught_up: from >= bounds.end,
                is_lost: false,
                tolerated: resume.map_or(0, |_| MARKER),
            });
            return Some(Begin {
                partition,
                offset: from,
            });
        };
        reading.is_lost |= asked.is_some_and(|asked| asked > bounds.end);
        if reading.is_lost {
            let offset = place.resume(bounds)?;
            return Some(Begin { partition, offset });
        }
        if reading.caught_up {
            reading.end = bounds.end.max(reading.position);
        }
        None
    }

    /// Tells where each partition is that has moved since it was last told, or that is `fresh`: its
    /// end has just been asked for. A partition that was lost has nothing to tell.
    pub(super) fn progress(
        &mut self,
        now: Timestamp,
        mut fresh: impl FnMut(i32) -> bool,
        mut tell: impl FnMut(ReaderProgress),
    ) {
        let partitions = self.count();
        for (partition, place) in (0..).zip(&mut self.places) {
            let Some(reading) = place.reading.as_ref().filter(|now| !now.is_lost) else {
                continue;
            };
            let state = (reading.position, reading.end, reading.caught_up);
            if place.told == Some(state) && !fresh(partition) {
                continue;
            }
            place.told = Some(state);
            tell(ReaderProgress {
                partition,
                partitions,
                from: reading.from,
                position: reading.position,
                end: reading.end,
                complete_from: reading.complete_from,
                caught_up: reading.caught_up,
                at: now,
            });
        }
    }

    /// Whether no other process had begun.
    pub(super) fn is_from_the_start(&self) -> bool {
        let reading = |place: &Place| place.reading.as_ref().map(|reading| reading.tolerated);
        self.places
            .iter()
            .all(|place| reading(place) != Some(MARKER))
    }

    /// Whether every partition has caught up.
    pub(super) fn is_caught_up(&self) -> bool {
        self.places.iter().all(|place| {
            let reading = place.reading.as_ref();
            reading.is_some_and(|reading| reading.caught_up)
        })
    }

    fn reading(&mut self, partition: i32) -> Option<&mut Reading> {
        let index = usize::try_from(partition).ok()?;
        self.places.get_mut(index)?.reading.as_mut()
    }

    fn epoch(&self, partition: i32, group: &str) -> u32 {
        let is_home = |size: &i32| coordinator_partition(group, *size).0 == partition;
        let mapping = self.sizes.iter().rposition(is_home).map_or(0, |at| at + 1);
        let truncations = usize::try_from(partition)
            .ok()
            .and_then(|index| self.places.get(index))
            .map_or(0, |place| place.truncations);
        let mapping = u32::try_from(mapping).unwrap_or(u32::MAX).min(0xf);
        u32::from(self.life) << 16 | mapping << 12 | u32::from(truncations).min(0xfff)
    }
}

impl Place {
    /// Where a lost partition goes on.
    ///
    /// Deleted in front of the position: at the log start, nothing there was used twice. Cut off
    /// behind it: what is written since stands at offsets that were read already with other records,
    /// from an unknown one on. So the youngest records are read again, in a new epoch; some of them
    /// for the second time, which leaves each group where it was. `None`: ask for them first.
    fn resume(&mut self, bounds: Bounds) -> Option<i64> {
        let reading = self.reading.as_mut()?;
        if reading.position >= bounds.start {
            let recent = bounds.recent?.min(bounds.end).min(reading.position);
            reading.position = recent.max(bounds.start);
            self.truncations = self.truncations.saturating_add(1);
        } else {
            reading.position = bounds.start;
        }
        reading.complete_from = reading.position;
        reading.from = reading.from.min(reading.position);
        reading.end = bounds.end;
        reading.is_lost = false;
        reading.catch_up();
        Some(reading.position)
    }
}

impl Reading {
    /// The next record stands at `offset`.
    fn note_gap(&mut self, offset: i64) {
        if offset.saturating_sub(self.position) > self.tolerated {
            self.complete_from = offset;
        }
    }

    fn catch_up(&mut self) -> bool {
        if self.caught_up {
            self.end = self.end.max(self.position);
            return false;
        }
        self.caught_up = self.position >= self.end;
        self.caught_up
    }
}

#[cfg(test)]
mod tests;
