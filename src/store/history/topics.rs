//! Topics with their log offsets as a block, and the cluster as a whole as one.

use super::block::{
    Kind, ROWS_MAX, Runs, put_beats, put_points, take_beats, take_predicted, unwrap, wrap,
};
use super::columns::{Columns, Reader};
use super::groups::name;
use super::key::Key;
use super::predict::Points;
use super::{Packer, Unpacker};
use crate::clock::Timestamp;
use crate::lag::evaluation::{ClusterSummary, Phase, TopicPartition};
use crate::lag::ids::TopicName;
use crate::lag::optional::{MaybeF32, MaybeI64};
use crate::store::codec::bytes::{Bytes, Malformed};
use crate::store::codec::head::{decode_phase, decode_summary, encode_phase, encode_summary};
use crate::store::codec::{Lookup, Names};

/// Columns of topics. The order is part of the format.
mod column {
    pub(super) const BEATS: usize = 0;
    pub(super) const DIRECTORY: usize = 1;
    pub(super) const FLAGS: usize = 2;
    pub(super) const MODES: usize = 3;
    pub(super) const SLOPES: usize = 4;
    pub(super) const VALUES: usize = 5;
    pub(super) const COUNT: usize = VALUES + 3;
}

/// The values of a row, with the flags that say which it has. The order is part of the format.
const END: usize = 0;
const BEGIN: usize = 1;
const RATE: usize = 2;

/// A topic, or some of its partitions, at the beats of a block.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LogSpan {
    pub(super) topic: TopicName,
    /// The number of the topic's partitions, plus one, for each beat at which the topic is there.
    pub(super) counts: Runs,
    /// The first partition whose rows are here.
    pub(super) from: u32,
    /// The rows of partition `from` and those behind it, at the beats that have this partition.
    pub(super) series: Vec<Vec<TopicPartition>>,
}

/// Some topics at some beats.
#[derive(Clone, Debug, PartialEq, Default)]
pub(super) struct TopicBlock {
    pub(super) beats: Vec<Timestamp>,
    pub(super) topics: Vec<LogSpan>,
}

impl TopicBlock {
    /// The first and the last place of what is in it. None when it is empty.
    pub(super) fn keys(&self) -> Option<(Key, Key)> {
        let (first, last) = (self.topics.first()?, self.topics.last()?);
        let key = Key::name(first.topic.as_str());
        let key = if first.from == 0 {
            key
        } else {
            key.partition(first.from)
        };
        let behind = u32::try_from(last.series.len()).unwrap_or(u32::MAX);
        let behind = last.from.saturating_add(behind.max(1)) - 1;
        Some((key, Key::name(last.topic.as_str()).partition(behind)))
    }

    /// The block as bytes.
    pub(super) fn encode(
        &self,
        hour: Timestamp,
        names: &mut dyn Names,
        packer: &mut Packer,
    ) -> Vec<u8> {
        let mut columns = Columns::<{ column::COUNT }>::default();
        put_beats(&mut columns, column::BEATS, &self.beats, hour);
        columns.put(column::DIRECTORY, self.topics.len() as u64);
        let mut before = 0;
        let mut points = Points::<3>::default();
        for topic in &self.topics {
            let id = i64::from(names.id(topic.topic.shared()));
            columns.int(column::DIRECTORY, id - before);
            before = id;
            columns.put(column::DIRECTORY, u64::from(topic.from));
            columns.put(column::DIRECTORY, topic.series.len() as u64);
            topic.counts.write(&mut columns, column::DIRECTORY);
            for (partition, rows) in (topic.from..).zip(&topic.series) {
                points.clear();
                let mut flags = 0_u64;
                let beats = topic.counts.above(partition + 1).map(|at| self.beats[at]);
                for (beat, row) in beats.zip(rows) {
                    let rate = row.produce_rate.get();
                    let rate = rate.map(|rate| i64::from(rate.to_bits()));
                    let mut now = 0;
                    for (value, is) in
                        [(END, row.end.get()), (BEGIN, row.begin.get()), (RATE, rate)]
                    {
                        if let Some(is) = is {
                            now |= 1 << value;
                            points.put(value, beat.as_ms(), is);
                        }
                    }
                    columns.put(column::FLAGS, now ^ flags);
                    flags = now;
                }
                let places = (column::VALUES, column::MODES, column::SLOPES);
                put_points(&mut columns, places, &points, |value| value == RATE);
            }
        }
        wrap(Kind::Topics, hour, &columns, packer)
    }

    /// The topics of a block from its bytes; only `wanted`, when given.
    pub(super) fn decode(
        block: &[u8],
        hour: Timestamp,
        wanted: Option<&str>,
        names: &mut dyn Lookup,
        unpacker: &mut Unpacker,
    ) -> Result<Self, Malformed> {
        let mut columns = unwrap(Kind::Topics, hour, block, unpacker)?;
        let beats = take_beats(&mut columns, column::BEATS, hour)?;
        let count = columns.count(column::DIRECTORY)?;
        if count > columns.left(column::DIRECTORY) || count > ROWS_MAX {
            return Err(Malformed("more topics are announced than are there"));
        }
        let mut topics = Vec::new();
        let (mut before, mut left) = (0_i64, ROWS_MAX);
        for _ in 0..count {
            before = before.wrapping_add(columns.int(column::DIRECTORY)?);
            let topic = TopicName::new(name(names, before)?);
            let span = read_topic(&mut columns, topic, &beats, &mut left)?;
            if wanted.is_none_or(|name| name == span.topic.as_str()) {
                topics.push(span);
            }
        }
        columns.end()?;
        Ok(Self { beats, topics })
    }
}

fn read_topic(
    columns: &mut Reader<{ column::COUNT }>,
    topic: TopicName,
    beats: &[Timestamp],
    left: &mut usize,
) -> Result<LogSpan, Malformed> {
    let wrong = Malformed("a partition is out of range");
    let from = u32::try_from(columns.take(column::DIRECTORY)?).map_err(|_| wrong)?;
    let count = columns.count(column::DIRECTORY)?;
    let counts = Runs::read(columns, column::DIRECTORY, beats.len())?;
    if count > *left {
        return Err(Malformed("it has more partitions than rows"));
    }
    let mut series = Vec::new();
    let mut partition = from;
    for _ in 0..count {
        let above = partition.checked_add(1).ok_or(wrong)?;
        let at: Vec<Timestamp> = counts.above(above).map(|at| beats[at]).collect();
        if at.is_empty() || at.len() > columns.left(column::FLAGS) {
            return Err(Malformed("a partition's rows are not there"));
        }
        let more = left.checked_sub(at.len());
        *left = more.ok_or(Malformed("it has more rows than are allowed"))?;
        series.push(read_series(columns, &at)?);
        partition = above;
    }
    Ok(LogSpan {
        topic,
        counts,
        from,
        series,
    })
}

fn read_series(
    columns: &mut Reader<{ column::COUNT }>,
    beats: &[Timestamp],
) -> Result<Vec<TopicPartition>, Malformed> {
    let mut flags = Vec::with_capacity(beats.len());
    let mut last = 0;
    for _ in beats {
        last ^= columns.take(column::FLAGS)?;
        flags.push(last);
    }
    let mut rows = vec![TopicPartition::default(); beats.len()];
    for value in [END, BEGIN, RATE] {
        let mut before = None;
        for ((row, flags), beat) in rows.iter_mut().zip(&flags).zip(beats) {
            if flags >> value & 1 == 0 {
                continue;
            }
            let before = match &mut before {
                Some(before) => before,
                None => {
                    let predicted = take_predicted(columns, (column::MODES, column::SLOPES))?;
                    before.insert(predicted.start())
                }
            };
            let at = beat.as_ms();
            let is = columns.int(column::VALUES + value)?;
            let is = is.wrapping_add(before.guess(at));
            before.note(at, is);
            match value {
                END => row.end = MaybeI64::some(is),
                BEGIN => row.begin = MaybeI64::some(is),
                _ => {
                    let bits = u32::try_from(is);
                    let bits = bits.map_err(|_| Malformed("a real number is out of range"))?;
                    row.produce_rate = MaybeF32::some(f32::from_bits(bits));
                }
            }
        }
    }
    Ok(rows)
}

/// The cluster as a whole at some beats, written as in a frame's head.
pub(super) fn encode_cluster(
    rows: &[(Timestamp, Phase, ClusterSummary)],
    hour: Timestamp,
    packer: &mut Packer,
) -> Vec<u8> {
    let mut columns = Columns::<2>::default();
    let beats: Vec<Timestamp> = rows.iter().map(|(beat, ..)| *beat).collect();
    put_beats(&mut columns, 0, &beats, hour);
    let mut bytes = Vec::new();
    for (_, phase, summary) in rows {
        encode_phase(&mut bytes, *phase);
        encode_summary(&mut bytes, summary);
    }
    bytes
        .iter()
        .for_each(|byte| columns.put(1, u64::from(*byte)));
    wrap(Kind::Cluster, hour, &columns, packer)
}

/// The cluster as a whole from a block's bytes.
pub(super) fn decode_cluster(
    block: &[u8],
    hour: Timestamp,
    unpacker: &mut Unpacker,
) -> Result<Vec<(Timestamp, Phase, ClusterSummary)>, Malformed> {
    let mut columns: Reader<2> = unwrap(Kind::Cluster, hour, block, unpacker)?;
    let beats = take_beats(&mut columns, 0, hour)?;
    let mut bytes = Vec::new();
    while columns.left(1) > 0 {
        let byte = u8::try_from(columns.take(1)?);
        bytes.push(byte.map_err(|_| Malformed("a byte is out of range"))?);
    }
    columns.end()?;
    let mut bytes = Bytes::new(&bytes);
    let mut rows = Vec::new();
    for beat in beats {
        let phase = decode_phase(&mut bytes)?;
        rows.push((beat, phase, decode_summary(&mut bytes)?));
    }
    bytes.end()?;
    Ok(rows)
}
