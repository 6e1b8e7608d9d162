//! A run of topics with their log offsets as columns.

use std::sync::Arc;

use super::bytes::{Bytes, ColumnReader, Columns, Malformed};
use super::{Lookup, Names};
use crate::lag::evaluation::{TopicEvaluation, TopicPartition};
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
}

/// The only column of real numbers.
const RATE: usize = 0;

pub(super) type TopicColumns = Columns<{ ints::COUNT }, 1>;
type TopicReader<'a> = ColumnReader<'a, { ints::COUNT }, 1>;

/// Writes `topics` into `columns`.
pub(super) fn encode(
    columns: &mut TopicColumns,
    topics: &[Arc<TopicEvaluation>],
    names: &mut dyn Names,
) {
    let (mut name, mut end) = (0_i64, 0_i64);
    for topic in topics {
        let id = i64::from(names.id(topic.topic.shared()));
        columns.int(ints::NAME, id - name);
        name = id;
        columns.varint(ints::PARTITIONS, topic.partitions.len() as u64);
        for row in &topic.partitions {
            let mut flags = 0;
            if let Some(value) = row.end.get() {
                flags |= has::END;
                columns.int(ints::END, value.wrapping_sub(end));
                end = value;
            }
            if let Some(value) = row.begin.get() {
                flags |= has::BEGIN;
                // What the log holds is less than where it stands.
                columns.int(ints::BEGIN, end.wrapping_sub(value));
            }
            if let Some(value) = row.produce_rate.get() {
                flags |= has::RATE;
                columns.float(RATE, value);
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
        for _ in 0..count {
            let flags = columns.byte(ints::FLAGS)?;
            let mut row = TopicPartition::default();
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
