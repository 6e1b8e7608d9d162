//! A run of topics with their log offsets as columns.
//!
//! What a group that reads the topic says of a log (its end, how fast it grows) is not written
//! again: the pieces with groups are read first.

use std::ops::Range;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::bytes::{Bytes, ColumnReader, Columns, Malformed};
use super::{Lookup, Names};
use crate::lag::evaluation::{GroupEvaluation, TopicEvaluation, TopicPartition};
use crate::lag::ids::TopicName;
use crate::lag::optional::{MaybeF32, MaybeI64};

/// Columns of whole numbers. The order is part of the format.
mod ints {
    pub(super) const NAME: usize = 0;
    pub(super) const PARTITIONS: usize = 1;
    pub(super) const FLAGS: usize = 2;
    pub(super) const BEGIN: usize = 3;
    pub(super) const END: usize = 4;
    pub(super) const COUNT: usize = 5;
}

/// What a partition's row has.
mod has {
    pub(super) const BEGIN: u8 = 1;
    pub(super) const END: u8 = 1 << 1;
    pub(super) const RATE: u8 = 1 << 2;
    /// The end is the one a group was given.
    pub(super) const END_READ: u8 = 1 << 3;
    /// The rate is the one a group was given.
    pub(super) const RATE_READ: u8 = 1 << 4;
}

const UNREAD: Malformed = Malformed("a log is as a group has it, and no group has it");

/// The only column of real numbers.
const RATE: usize = 0;

pub(super) type TopicColumns = Columns<{ ints::COUNT }, 1>;
type TopicReader<'a> = ColumnReader<'a, { ints::COUNT }, 1>;

/// The logs of the topics that groups read, each as the first of them has it.
///
/// Copied from rows that are in the processor's caches just then: going back to a hundred thousand
/// of them takes longer than writing the topics.
#[derive(Default)]
pub(in crate::store) struct Read {
    topics: FxHashMap<Arc<str>, Range<usize>>,
    logs: Vec<Log>,
}

/// What a group's partition says of its log.
#[derive(Clone, Copy)]
pub(in crate::store) struct Log {
    end: MaybeI64,
    produce_rate: MaybeF32,
}

impl Read {
    /// No topics yet, and an earlier one's memory.
    pub(super) fn within(mut memory: Vec<Log>) -> Self {
        memory.clear();
        Self {
            topics: FxHashMap::default(),
            logs: memory,
        }
    }

    /// Its memory, for the next one.
    pub(super) fn into_memory(self) -> Vec<Log> {
        self.logs
    }

    /// Notes the topics of a group.
    pub(in crate::store) fn add(&mut self, group: &GroupEvaluation) {
        for topic in &group.topics {
            if self.topics.contains_key(topic.topic.as_str()) {
                continue;
            }
            let from = self.logs.len();
            self.logs.extend(topic.partitions.iter().map(|row| Log {
                end: row.end_offset,
                produce_rate: row.produce_rate,
            }));
            let name = Arc::clone(topic.topic.shared());
            self.topics.insert(name, from..self.logs.len());
        }
    }

    /// The logs of a topic's partitions, as far as a group has them.
    fn logs(&self, topic: &str) -> impl Iterator<Item = Option<Log>> {
        let known = self.topics.get(topic).cloned().unwrap_or_default();
        let known = self.logs.get(known).unwrap_or_default();
        known
            .iter()
            .copied()
            .map(Some)
            .chain(std::iter::repeat(None))
    }
}

/// Writes `topics` into `columns`.
pub(super) fn encode(
    columns: &mut TopicColumns,
    topics: &[Arc<TopicEvaluation>],
    read: &Read,
    names: &mut dyn Names,
) {
    let (mut name, mut end) = (0_i64, 0_i64);
    for topic in topics {
        let id = i64::from(names.id(topic.topic.shared()));
        columns.int(ints::NAME, id - name);
        name = id;
        columns.varint(ints::PARTITIONS, topic.partitions.len() as u64);
        let read = read.logs(topic.topic.as_str());
        for (row, read) in topic.partitions.iter().zip(read) {
            let mut flags = 0;
            if let Some(value) = row.end.get() {
                if read.is_some_and(|read| read.end == row.end) {
                    flags |= has::END_READ;
                } else {
                    flags |= has::END;
                    columns.int(ints::END, value.wrapping_sub(end));
                }
                end = value;
            }
            if let Some(value) = row.begin.get() {
                flags |= has::BEGIN;
                // What the log holds is less than where it stands.
                columns.int(ints::BEGIN, end.wrapping_sub(value));
            }
            if let Some(value) = row.produce_rate.get() {
                let same = |read: f32| read.to_bits() == value.to_bits();
                if read
                    .and_then(|read| read.produce_rate.get())
                    .is_some_and(same)
                {
                    flags |= has::RATE_READ;
                } else {
                    flags |= has::RATE;
                    columns.float(RATE, value);
                }
            }
            columns.byte(ints::FLAGS, flags);
        }
    }
}

/// Reads `count` topics from `raw`; `budget` is how many partitions they may have at most, and
/// becomes what is left of it.
pub(super) fn decode(
    raw: &[u8],
    count: usize,
    read: &Read,
    names: &mut dyn Lookup,
    budget: &mut usize,
) -> Result<Vec<Arc<TopicEvaluation>>, Malformed> {
    let mut columns = TopicReader::read(Bytes::new(raw))?;
    if count > columns.left(ints::NAME) {
        return Err(Malformed("more topics are announced than are there"));
    }
    let (mut name, mut end) = (0_i64, 0_i64);
    let mut topics = Vec::with_capacity(count);
    for _ in 0..count {
        name = name.wrapping_add(columns.int(ints::NAME)?);
        let topic = u32::try_from(name).ok().and_then(|id| names.name(id));
        let topic = topic.ok_or(Malformed("a name is not in the dictionary"))?;
        let count = columns.count(ints::PARTITIONS, ints::FLAGS)?;
        *budget = budget
            .checked_sub(count)
            .ok_or(Malformed("it has more partitions than are allowed"))?;
        let mut partitions = Vec::with_capacity(count);
        for read in read.logs(&topic).take(count) {
            let flags = columns.byte(ints::FLAGS)?;
            let mut row = TopicPartition::default();
            if flags & has::END_READ != 0 {
                row.end = read.ok_or(UNREAD)?.end;
                end = row.end.get().ok_or(UNREAD)?;
            }
            if flags & has::END != 0 {
                end = end.wrapping_add(columns.int(ints::END)?);
                row.end = MaybeI64::some(end);
            }
            if flags & has::BEGIN != 0 {
                row.begin = MaybeI64::some(end.wrapping_sub(columns.int(ints::BEGIN)?));
            }
            if flags & has::RATE != 0 {
                row.produce_rate = MaybeF32::some(columns.float(RATE)?);
            }
            if flags & has::RATE_READ != 0 {
                row.produce_rate = read.ok_or(UNREAD)?.produce_rate;
            }
            partitions.push(row);
        }
        topics.push(Arc::new(TopicEvaluation {
            topic: TopicName::new(topic),
            partitions,
        }));
    }
    columns.end()?;
    Ok(topics)
}
