//! Groups with their partitions as a block.
//!
//! A group whose partitions do not fit one block goes on in the next; its own rows (status, members,
//! sums) stand in the first.

use std::sync::Arc;

use super::block::{Kind, ROWS_MAX, Runs, put_beats, take_beats, unwrap, wrap};
use super::columns::{Columns, Reader};
use super::key::Key;
use super::rows::{self, RowReader, RowWriter, status};
use super::totals::{Differs, FIELDS};
use super::{Packer, Unpacker};
use crate::clock::Timestamp;
use crate::lag::evaluation::{GroupEvaluation, Member, PartitionEvaluation, Status};
use crate::lag::event::GroupKind;
use crate::lag::ids::{GroupId, TopicName};
use crate::store::codec::bytes::Malformed;
use crate::store::codec::{Lookup, Names};

/// Columns. The order is part of the format.
mod column {
    pub(super) const BEATS: usize = 0;
    /// Which groups, topics and partitions there are, and at which beats.
    pub(super) const DIRECTORY: usize = 1;
    pub(super) const FLAGS: usize = 2;
    pub(super) const PROTOCOL: usize = 3;
    pub(super) const COMPLETE: usize = 4;
    pub(super) const MEMBERS: usize = 5;
    /// Which sums differ from the guess, and which of these are absent.
    pub(super) const DIFFERS: usize = 6;
    pub(super) const TOTALS: usize = 7;
    pub(super) const ROWS: usize = TOTALS + super::FIELDS;
    pub(super) const COUNT: usize = ROWS + super::rows::COLUMNS;
}

type Out = Columns<{ column::COUNT }>;
type In = Reader<{ column::COUNT }>;

/// Beside a group's status, kind, and the flags it has itself.
mod flag {
    pub(super) const STALE: u64 = 1 << 3;
    pub(super) const WARMING: u64 = 1 << 4;
    pub(super) const KIND: u32 = 5;
    /// The members are those of the beat before.
    pub(super) const SAME_MEMBERS: u64 = 1 << 7;
    /// The sums do not follow from the partitions.
    pub(super) const SUMS_WRITTEN: u64 = 1 << 8;
}

/// A group itself at one beat, without its partitions.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct GroupRow {
    pub(super) status: Status,
    pub(super) stale: bool,
    pub(super) warming: bool,
    pub(super) complete: f32,
    pub(super) kind: GroupKind,
    pub(super) protocol_type: Arc<str>,
    pub(super) members: Arc<[Member]>,
    pub(super) differs: Differs,
}

impl GroupRow {
    pub(super) fn of(group: &GroupEvaluation) -> Self {
        Self {
            status: group.status,
            stale: group.stale,
            warming: group.warming,
            complete: group.complete,
            kind: group.kind,
            protocol_type: Arc::clone(&group.protocol_type),
            members: Arc::clone(&group.members),
            differs: Differs::of(&group.totals, &group.topics, group.members.len()),
        }
    }
}

/// A group, or a part of one, at the beats of a block.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct GroupSpan {
    pub(super) id: GroupId,
    /// 1 for the beats at which there is a row of the group itself; nothing when these rows stand
    /// in another block.
    pub(super) present: Runs,
    pub(super) rows: Vec<GroupRow>,
    /// In the order of their names.
    pub(super) topics: Vec<TopicSpan>,
}

/// A topic of a group, or some of its partitions.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TopicSpan {
    pub(super) topic: TopicName,
    /// The number of the topic's partitions, plus one, for each beat at which the group has it.
    pub(super) counts: Runs,
    /// The first partition whose rows are here.
    pub(super) from: u32,
    /// The rows of partition `from` and those behind it, at the beats that have this partition.
    pub(super) series: Vec<Vec<PartitionEvaluation>>,
}

/// What of a block is wanted; the rest is left out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted<'a> {
    pub(super) group: Option<&'a str>,
    pub(super) partition: Option<(&'a str, u32)>,
}

/// Some groups at some beats.
#[derive(Clone, Debug, PartialEq, Default)]
pub(super) struct GroupBlock {
    pub(super) beats: Vec<Timestamp>,
    pub(super) groups: Vec<GroupSpan>,
}

impl GroupBlock {
    /// The first and the last place of what is in it. None when it is empty.
    pub(super) fn keys(&self) -> Option<(Key, Key)> {
        let (first, last) = (self.groups.first()?, self.groups.last()?);
        let group = Key::name(first.id.as_str());
        let first = match (first.rows.is_empty(), first.topics.first()) {
            (true, Some(topic)) => group.within(topic.topic.as_str()).partition(topic.from),
            _ => group,
        };
        let group = Key::name(last.id.as_str());
        let last = match last.topics.last() {
            Some(topic) => {
                let behind = u32::try_from(topic.series.len()).unwrap_or(u32::MAX);
                let last = topic.from.saturating_add(behind.max(1)) - 1;
                group.within(topic.topic.as_str()).partition(last)
            }
            None => group,
        };
        Some((first, last))
    }

    /// The block as bytes.
    pub(super) fn encode(
        &self,
        hour: Timestamp,
        names: &mut dyn Names,
        packer: &mut Packer,
    ) -> Vec<u8> {
        let mut columns = Out::default();
        put_beats(&mut columns, column::BEATS, &self.beats, hour);
        let mut writer = RowWriter::default();
        columns.put(column::DIRECTORY, self.groups.len() as u64);
        let mut before = (0, 0);
        for group in &self.groups {
            let id = i64::from(names.id(group.id.shared()));
            columns.int(column::DIRECTORY, id - before.0);
            before.0 = id;
            group.present.write(&mut columns, column::DIRECTORY);
            put_group_rows(&mut columns, &group.rows, names);
            columns.put(column::DIRECTORY, group.topics.len() as u64);
            for topic in &group.topics {
                let id = i64::from(names.id(topic.topic.shared()));
                columns.int(column::DIRECTORY, id - before.1);
                before.1 = id;
                columns.put(column::DIRECTORY, u64::from(topic.from));
                columns.put(column::DIRECTORY, topic.series.len() as u64);
                topic.counts.write(&mut columns, column::DIRECTORY);
                for (partition, rows) in (topic.from..).zip(&topic.series) {
                    let beats = topic.counts.above(partition + 1).map(|at| self.beats[at]);
                    writer.write(&mut columns, column::ROWS, beats.zip(rows));
                }
            }
        }
        wrap(Kind::Groups, hour, &columns, packer)
    }

    /// What is wanted of a block from its bytes.
    pub(super) fn decode(
        block: &[u8],
        hour: Timestamp,
        wanted: Wanted<'_>,
        names: &mut dyn Lookup,
        unpacker: &mut Unpacker,
    ) -> Result<Self, Malformed> {
        let mut columns: In = unwrap(Kind::Groups, hour, block, unpacker)?;
        let beats = take_beats(&mut columns, column::BEATS, hour)?;
        let mut reader = BlockReader {
            columns,
            names,
            wanted,
            rows: RowReader::default(),
            left: ROWS_MAX,
            before: (0, 0),
            is_done: false,
        };
        let mut groups = Vec::new();
        for _ in 0..reader.count()? {
            let group = reader.group(&beats)?;
            if wanted.group.is_none_or(|name| name == group.id.as_str()) {
                groups.push(group);
                // What follows is covered by the checksum.
                if reader.is_done || wanted.group.is_some() {
                    return Ok(Self { beats, groups });
                }
            }
        }
        reader.columns.end()?;
        Ok(Self { beats, groups })
    }
}

fn put_group_rows(columns: &mut Out, rows: &[GroupRow], names: &mut dyn Names) {
    let (mut flags, mut protocol, mut complete) = (0, 0, 0);
    let mut members: Option<&Arc<[Member]>> = None;
    for row in rows {
        let kind: u64 = match row.kind {
            GroupKind::Classic => 0,
            GroupKind::Consumer => 1,
            GroupKind::Share => 2,
            GroupKind::Streams => 3,
        };
        let mut now = u64::from(row.status.code()) | kind << flag::KIND;
        let is_same = members == Some(&row.members);
        for (is, flag) in [
            (row.stale, flag::STALE),
            (row.warming, flag::WARMING),
            (is_same, flag::SAME_MEMBERS),
            (row.differs.is_written, flag::SUMS_WRITTEN),
        ] {
            now |= if is { flag } else { 0 };
        }
        columns.put(column::FLAGS, now ^ flags);
        flags = now;
        let id = i64::from(names.id(&row.protocol_type));
        columns.int(column::PROTOCOL, id - protocol);
        protocol = id;
        let bits = i64::from(row.complete.to_bits());
        columns.int(column::COMPLETE, bits - complete);
        complete = bits;
        if !is_same {
            put_members(columns, &row.members, names);
        }
        members = Some(&row.members);
        let mut mask = 0_u64;
        for (field, value) in &row.differs.fields {
            mask |= 1 << (2 * field);
            match value {
                Some(value) => columns.int(column::TOTALS + field, *value),
                None => mask |= 1 << (2 * field + 1),
            }
        }
        columns.put(column::DIFFERS, mask);
    }
}

fn put_members(columns: &mut Out, members: &[Member], names: &mut dyn Names) {
    columns.put(column::MEMBERS, members.len() as u64);
    let mut before = [0_i64; 3];
    for member in members {
        let three = [&member.id, &member.client_id, &member.client_host];
        for (last, name) in before.iter_mut().zip(three) {
            let id = i64::from(names.id(name));
            columns.int(column::MEMBERS, id - *last);
            *last = id;
        }
        let instance = member.instance_id.as_ref();
        let instance = instance.map_or(0, |name| u64::from(names.id(name)) + 1);
        columns.put(column::MEMBERS, instance);
    }
}

/// The name with a number of the dictionary.
pub(super) fn name(names: &mut dyn Lookup, id: i64) -> Result<Arc<str>, Malformed> {
    u32::try_from(id)
        .ok()
        .and_then(|id| names.name(id))
        .ok_or(Malformed("a name is not in the dictionary"))
}

struct BlockReader<'a> {
    columns: In,
    names: &'a mut dyn Lookup,
    wanted: Wanted<'a>,
    rows: RowReader,
    /// Rows that may still come.
    left: usize,
    /// The numbers of the last group and topic.
    before: (i64, i64),
    /// The wanted partition is read.
    is_done: bool,
}

impl BlockReader<'_> {
    /// A number of things that are listed in the directory.
    fn count(&mut self) -> Result<usize, Malformed> {
        let count = self.columns.count(column::DIRECTORY)?;
        match count <= self.columns.left(column::DIRECTORY) && count <= ROWS_MAX {
            true => Ok(count),
            false => Err(Malformed("more is announced than is there")),
        }
    }

    /// Makes sure that there may be so many rows more.
    fn expect(&mut self, rows: usize) -> Result<(), Malformed> {
        let left = self.left.checked_sub(rows);
        self.left = left.ok_or(Malformed("it has more rows than are allowed"))?;
        Ok(())
    }

    fn group(&mut self, beats: &[Timestamp]) -> Result<GroupSpan, Malformed> {
        let id = self.columns.int(column::DIRECTORY)?;
        self.before.0 = self.before.0.wrapping_add(id);
        let id = GroupId::new(name(self.names, self.before.0)?);
        let present = Runs::read(&mut self.columns, column::DIRECTORY, beats.len())?;
        let count = present.count_above(0);
        self.expect(count)?;
        let is_wanted = self.wanted.group.is_none_or(|name| name == id.as_str());
        let rows = self.group_rows(count, is_wanted)?;
        let mut topics = Vec::new();
        for _ in 0..self.count()? {
            let topic = self.topic(beats, is_wanted)?;
            if is_wanted {
                topics.push(topic);
            }
            if self.is_done {
                break;
            }
        }
        Ok(GroupSpan {
            id,
            present,
            rows,
            topics,
        })
    }

    fn topic(&mut self, beats: &[Timestamp], is_wanted: bool) -> Result<TopicSpan, Malformed> {
        let id = self.columns.int(column::DIRECTORY)?;
        self.before.1 = self.before.1.wrapping_add(id);
        let topic = TopicName::new(name(self.names, self.before.1)?);
        let wrong = Malformed("a partition is out of range");
        let from = u32::try_from(self.columns.take(column::DIRECTORY)?).map_err(|_| wrong)?;
        let count = self.columns.count(column::DIRECTORY)?;
        let counts = Runs::read(&mut self.columns, column::DIRECTORY, beats.len())?;
        if count > self.left {
            return Err(Malformed("it has more partitions than rows"));
        }
        let mut series = Vec::new();
        let mut partition = from;
        for _ in 0..count {
            let above = partition.checked_add(1).ok_or(wrong)?;
            let rows = counts.count_above(above);
            if rows == 0 {
                return Err(Malformed("a partition is at no beat"));
            }
            self.expect(rows)?;
            let wanted = self.wanted.partition;
            if is_wanted && wanted.is_none_or(|wanted| wanted == (topic.as_str(), partition)) {
                let at: Vec<_> = counts.above(above).map(|at| beats[at]).collect();
                series.push(self.rows.read(&mut self.columns, column::ROWS, &at)?);
                self.is_done = wanted.is_some();
                if self.is_done {
                    break;
                }
            } else {
                self.rows.skip(&mut self.columns, column::ROWS, rows)?;
                if is_wanted {
                    series.push(Vec::new());
                }
            }
            partition = above;
        }
        Ok(TopicSpan {
            topic,
            counts,
            from,
            series,
        })
    }

    /// The rows of a group itself; none when they are not wanted.
    fn group_rows(&mut self, count: usize, is_wanted: bool) -> Result<Vec<GroupRow>, Malformed> {
        if count > self.columns.left(column::FLAGS) {
            return Err(Malformed("more rows are announced than are there"));
        }
        let mut rows = Vec::new();
        let (mut flags, mut protocol, mut complete) = (0_u64, 0_i64, 0_i64);
        let mut members: Arc<[Member]> = Arc::new([]);
        for _ in 0..count {
            flags ^= self.columns.take(column::FLAGS)?;
            protocol = protocol.wrapping_add(self.columns.int(column::PROTOCOL)?);
            complete = complete.wrapping_add(self.columns.int(column::COMPLETE)?);
            if flags & flag::SAME_MEMBERS == 0 {
                members = self.members(is_wanted)?;
            }
            let differs = self.differs(flags & flag::SUMS_WRITTEN != 0)?;
            if !is_wanted {
                continue;
            }
            let complete =
                u32::try_from(complete).map_err(|_| Malformed("a real number is out of range"))?;
            rows.push(GroupRow {
                status: status(flags & 7)?,
                stale: flags & flag::STALE != 0,
                warming: flags & flag::WARMING != 0,
                complete: f32::from_bits(complete),
                kind: match flags >> flag::KIND & 3 {
                    0 => GroupKind::Classic,
                    1 => GroupKind::Consumer,
                    2 => GroupKind::Share,
                    _ => GroupKind::Streams,
                },
                protocol_type: name(self.names, protocol)?,
                members: Arc::clone(&members),
                differs,
            });
        }
        Ok(rows)
    }

    fn members(&mut self, is_wanted: bool) -> Result<Arc<[Member]>, Malformed> {
        let count = self.columns.count(column::MEMBERS)?;
        if count > self.columns.left(column::MEMBERS) / 4 {
            return Err(Malformed("more members are announced than are there"));
        }
        if !is_wanted {
            self.columns.skip(column::MEMBERS, 4 * count)?;
            return Ok(Arc::new([]));
        }
        let mut before = [0_i64; 3];
        let mut members = Vec::with_capacity(count);
        for _ in 0..count {
            for last in &mut before {
                *last = last.wrapping_add(self.columns.int(column::MEMBERS)?);
            }
            let [id, client_id, client_host] = before;
            let instance = self.columns.take(column::MEMBERS)?.checked_sub(1);
            members.push(Member {
                id: name(self.names, id)?,
                client_id: name(self.names, client_id)?,
                client_host: name(self.names, client_host)?,
                instance_id: match instance {
                    None => None,
                    Some(id) => Some(name(self.names, i64::try_from(id).unwrap_or(-1))?),
                },
            });
        }
        Ok(members.into())
    }

    fn differs(&mut self, is_written: bool) -> Result<Differs, Malformed> {
        let mask = self.columns.take(column::DIFFERS)?;
        let mut fields = Vec::new();
        if mask >> (2 * FIELDS) != 0 {
            return Err(Malformed("a sum does not exist"));
        }
        for field in (0..FIELDS).filter(|field| mask >> (2 * field) & 1 != 0) {
            let value = match mask >> (2 * field + 1) & 1 {
                0 => Some(self.columns.int(column::TOTALS + field)?),
                _ => None,
            };
            fields.push((field, value));
        }
        Ok(Differs { is_written, fields })
    }
}
