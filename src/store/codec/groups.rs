//! A run of groups with their partitions as columns.
//!
//! Most numbers follow from others: the log end offset is the committed offset plus the lag, the
//! group's sums are sums. Only what differs from that guess is written, and zeros and repeated
//! bytes disappear in compression. Names are numbers of the dictionary.

use std::cmp::Ordering;
use std::sync::Arc;

use super::bytes::{Bytes, ColumnReader, Columns, Malformed};
use super::totals;
use super::{Lookup, Names};
use crate::clock::Timestamp;
use crate::lag::evaluation::{
    CommitView, GroupEvaluation, GroupTopic, Member, PartitionEvaluation, PartitionStatus, Status,
    TimeLag, TimeLagMethod,
};
use crate::lag::event::GroupKind;
use crate::lag::ids::{GroupId, TopicName};
use crate::lag::measure::seconds;
use crate::lag::optional::{EpochSeconds, MaybeF32, MaybeI64};

/// Columns of whole numbers. The order is part of the format.
pub(super) mod ints {
    pub(in crate::store::codec) const GROUP_NAME: usize = 0;
    pub(in crate::store::codec) const GROUP_FLAGS: usize = 1;
    pub(in crate::store::codec) const PROTOCOL: usize = 2;
    pub(in crate::store::codec) const MEMBERS: usize = 3;
    pub(in crate::store::codec) const MEMBER_NAMES: usize = 4;
    pub(in crate::store::codec) const TOPICS: usize = 5;
    pub(in crate::store::codec) const TOPIC_NAME: usize = 6;
    pub(in crate::store::codec) const PARTITIONS: usize = 7;
    pub(in crate::store::codec) const TOTALS: usize = 8;
    pub(in crate::store::codec) const TAGS: usize = 9;
    pub(in crate::store::codec) const FLAGS_LOW: usize = 10;
    pub(in crate::store::codec) const FLAGS_HIGH: usize = 11;
    pub(in crate::store::codec) const OFFSET: usize = 12;
    pub(in crate::store::codec) const AGE: usize = 13;
    pub(in crate::store::codec) const COMMIT_LAG: usize = 14;
    pub(in crate::store::codec) const LAG: usize = 15;
    pub(in crate::store::codec) const CURRENT_LAG: usize = 16;
    pub(in crate::store::codec) const END: usize = 17;
    pub(in crate::store::codec) const LOST: usize = 18;
    pub(in crate::store::codec) const METHOD: usize = 19;
    pub(in crate::store::codec) const STATUS: usize = 20;
    pub(in crate::store::codec) const OWNER: usize = 21;
    pub(in crate::store::codec) const TIME_LAG: usize = 22;
    pub(in crate::store::codec) const ERROR: usize = 23;
    pub(in crate::store::codec) const COUNT: usize = 24;
}

/// Columns of real numbers. The order is part of the format.
pub(super) mod floats {
    pub(in crate::store::codec) const GROUP_COMPLETE: usize = 0;
    pub(in crate::store::codec) const TOTALS: usize = 1;
    pub(in crate::store::codec) const COMPLETE: usize = 2;
    pub(in crate::store::codec) const TIME_LAG: usize = 3;
    pub(in crate::store::codec) const ERROR: usize = 4;
    pub(in crate::store::codec) const ETA: usize = 5;
    pub(in crate::store::codec) const CONSUME: usize = 6;
    pub(in crate::store::codec) const PRODUCE: usize = 7;
    pub(in crate::store::codec) const USED: usize = 8;
    pub(in crate::store::codec) const LEFT: usize = 9;
    pub(in crate::store::codec) const COUNT: usize = 10;
}

/// What a partition's row has, in two bytes.
mod has {
    pub(super) const COMMIT: u16 = 1;
    pub(super) const COMMIT_LAG: u16 = 1 << 1;
    pub(super) const LAG: u16 = 1 << 2;
    pub(super) const END: u16 = 1 << 3;
    pub(super) const TIME_LAG: u16 = 1 << 4;
    pub(super) const ERROR: u16 = 1 << 5;
    pub(super) const ETA: u16 = 1 << 6;
    pub(super) const CONSUME: u16 = 1 << 7;
    pub(super) const PRODUCE: u16 = 1 << 8;
    pub(super) const LOST: u16 = 1 << 9;
    pub(super) const USED: u16 = 1 << 10;
    pub(super) const LEFT: u16 = 1 << 11;
    pub(super) const STATUS: u16 = 1 << 12;
    /// `current_lag` is not the lag.
    pub(super) const CURRENT_LAG: u16 = 1 << 13;
    /// The log end offset is not the committed offset plus the lag.
    pub(super) const END_DIFFERS: u16 = 1 << 14;
    /// `complete` is not 1 with a commit and 0 without.
    pub(super) const COMPLETE: u16 = 1 << 15;
}

/// Beside the way a time lag was found: it and its error are written in milliseconds, which is what
/// they are calculated in.
const IN_MS: u8 = 1 << 7;

/// Beside the way a time lag was found: it and its error are 0.
const NOTHING: u8 = 1 << 6;

pub(super) type GroupColumns = Columns<{ ints::COUNT }, { floats::COUNT }>;
pub(super) type GroupReader<'a> = ColumnReader<'a, { ints::COUNT }, { floats::COUNT }>;

/// The values that deltas are taken against.
#[derive(Default)]
struct Before {
    group: i64,
    protocol: i64,
    member: [i64; 3],
    topic: i64,
    offset: i64,
    owner: i64,
}

impl Before {
    /// The difference from the last value, which `value` becomes.
    #[inline]
    fn delta(last: &mut i64, value: i64) -> i64 {
        let delta = value.wrapping_sub(*last);
        *last = value;
        delta
    }

    /// The value that differs by `delta` from the last one, which it becomes.
    #[inline]
    fn value(last: &mut i64, delta: i64) -> i64 {
        *last = last.wrapping_add(delta);
        *last
    }
}

/// Writes `groups` into `columns`.
pub(super) fn encode(
    columns: &mut GroupColumns,
    groups: &[Arc<GroupEvaluation>],
    beat: Timestamp,
    names: &mut dyn Names,
) {
    let mut before = Before::default();
    for group in groups {
        let name = i64::from(names.id(group.id.shared()));
        columns.int(ints::GROUP_NAME, Before::delta(&mut before.group, name));
        columns.byte(ints::GROUP_FLAGS, group_flags(group));
        let protocol = i64::from(names.id(&group.protocol_type));
        columns.int(
            ints::PROTOCOL,
            Before::delta(&mut before.protocol, protocol),
        );
        columns.float(floats::GROUP_COMPLETE, group.complete);
        encode_members(columns, &mut before, &group.members, names);
        columns.varint(ints::TOPICS, group.topics.len() as u64);
        for topic in &group.topics {
            let name = i64::from(names.id(topic.topic.shared()));
            columns.int(ints::TOPIC_NAME, Before::delta(&mut before.topic, name));
            columns.varint(ints::PARTITIONS, topic.partitions.len() as u64);
            for partition in &topic.partitions {
                encode_partition(columns, &mut before, partition, beat);
            }
        }
        let guess = totals::guess(&group.topics, group.members.len());
        totals::encode(columns, &group.totals, &guess);
    }
}

fn group_flags(group: &GroupEvaluation) -> u8 {
    let kind = group.kind.code();
    group.status.code() | u8::from(group.stale) << 3 | u8::from(group.warming) << 4 | kind << 5
}

fn encode_members(
    columns: &mut GroupColumns,
    before: &mut Before,
    members: &[Member],
    names: &mut dyn Names,
) {
    columns.varint(ints::MEMBERS, members.len() as u64);
    for member in members {
        let three = [&member.id, &member.client_id, &member.client_host];
        for (last, name) in before.member.iter_mut().zip(three) {
            let delta = Before::delta(last, i64::from(names.id(name)));
            columns.int(ints::MEMBER_NAMES, delta);
        }
        let instance = member.instance_id.as_ref();
        let instance = instance.map_or(0, |name| u64::from(names.id(name)) + 1);
        columns.varint(ints::MEMBER_NAMES, instance);
    }
}

/// The log end offset a row most probably has.
#[inline]
fn guess_end(offset: Option<i64>, lag: Option<i64>) -> i64 {
    offset.unwrap_or(0).wrapping_add(lag.unwrap_or(0))
}

#[inline]
fn guess_complete(has_commit: bool) -> f32 {
    if has_commit { 1.0 } else { 0.0 }
}

fn encode_partition(
    columns: &mut GroupColumns,
    before: &mut Before,
    row: &PartitionEvaluation,
    beat: Timestamp,
) {
    let mut flags = 0;
    let lag = row.lag.get();
    if let Some(commit) = &row.end {
        flags |= has::COMMIT;
        columns.int(
            ints::OFFSET,
            Before::delta(&mut before.offset, commit.offset),
        );
        let age = beat.as_ms().wrapping_sub(commit.timestamp.as_ms());
        columns.int(ints::AGE, age);
        if let Some(then) = commit.lag.get() {
            flags |= has::COMMIT_LAG;
            columns.int(ints::COMMIT_LAG, then.wrapping_sub(lag.unwrap_or(0)));
        }
    }
    if let Some(lag) = lag {
        flags |= has::LAG;
        columns.int(ints::LAG, lag);
    }
    if row.current_lag != lag.unwrap_or(0) {
        flags |= has::CURRENT_LAG;
        let differs = row.current_lag.wrapping_sub(lag.unwrap_or(0));
        columns.int(ints::CURRENT_LAG, differs);
    }
    if let Some(end) = row.end_offset.get() {
        flags |= has::END;
        let differs = end.wrapping_sub(guess_end(row.end.map(|commit| commit.offset), lag));
        if differs != 0 {
            flags |= has::END_DIFFERS;
            columns.int(ints::END, differs);
        }
    }
    if let Some(lost) = row.records_lost.get() {
        flags |= has::LOST;
        columns.int(ints::LOST, lost);
    }
    if let Some(status) = &row.status {
        flags |= has::STATUS;
        columns.byte(ints::STATUS, status.status.code());
    }
    let owner = Before::delta(&mut before.owner, i64::from(row.owner));
    columns.int(ints::OWNER, owner);
    flags |= encode_floats(columns, row);
    let [low, high] = flags.to_le_bytes();
    columns.byte(ints::FLAGS_LOW, low);
    columns.byte(ints::FLAGS_HIGH, high);
}

fn encode_floats(columns: &mut GroupColumns, row: &PartitionEvaluation) -> u16 {
    let mut flags = 0;
    if let Some(time_lag) = &row.time_lag {
        flags |= has::TIME_LAG | encode_time_lag(columns, time_lag);
    }
    for (flag, column, value) in [
        (has::ETA, floats::ETA, row.eta_s),
        (has::CONSUME, floats::CONSUME, row.consume_rate),
        (has::USED, floats::USED, row.retention_used),
        (has::LEFT, floats::LEFT, row.retention_left_s),
    ] {
        if let Some(value) = value.get() {
            flags |= flag;
            columns.float(column, value);
        }
    }
    if let Some(rate) = row.produce_rate.get() {
        flags |= has::PRODUCE;
        // A group that keeps up consumes what is produced.
        let guess = row.consume_rate.get().unwrap_or(0.0);
        columns.float_like(floats::PRODUCE, rate, guess);
    }
    if row.complete.to_bits() != guess_complete(row.end.is_some()).to_bits() {
        flags |= has::COMPLETE;
        columns.float(floats::COMPLETE, row.complete);
    }
    flags
}

fn encode_time_lag(columns: &mut GroupColumns, time_lag: &TimeLag) -> u16 {
    let code = time_lag.method as u8;
    let error = time_lag.error_s.get();
    let in_ms = (millis(time_lag.seconds), error.map(millis));
    match in_ms {
        (Some(0), Some(Some(0))) => {
            columns.byte(ints::METHOD, code | NOTHING);
            return 0;
        }
        (Some(age), None | Some(Some(_))) => {
            columns.byte(ints::METHOD, code | IN_MS);
            columns.int(ints::TIME_LAG, age);
        }
        _ => {
            columns.byte(ints::METHOD, code);
            columns.float(floats::TIME_LAG, time_lag.seconds);
        }
    }
    match (in_ms, error) {
        (_, None) => return 0,
        ((Some(_), Some(Some(error))), _) => columns.int(ints::ERROR, error),
        (_, Some(error)) => columns.float(floats::ERROR, error),
    }
    has::ERROR
}

/// The whole milliseconds that are exactly this many [`seconds`].
#[allow(
    clippy::cast_possible_truncation,
    reason = "what does not fit comes back as other seconds"
)]
#[inline]
fn millis(value: f32) -> Option<i64> {
    let ms = (f64::from(value) * 1000.0 + 0.5) as i64;
    (seconds(ms).to_bits() == value.to_bits()).then_some(ms)
}

/// Reads `count` groups from `raw`; `budget` is how many partitions they may have at most, and
/// becomes what is left of it.
pub(super) fn decode(
    raw: &[u8],
    count: usize,
    beat: Timestamp,
    names: &mut dyn Lookup,
    budget: &mut usize,
) -> Result<Vec<Arc<GroupEvaluation>>, Malformed> {
    let mut columns = GroupReader::read(Bytes::new(raw))?;
    if count > columns.left(ints::GROUP_FLAGS) {
        return Err(Malformed("more groups are announced than are there"));
    }
    let mut before = Before::default();
    let mut groups = Vec::with_capacity(count);
    for _ in 0..count {
        let group = decode_group(&mut columns, &mut before, beat, names, budget)?;
        groups.push(Arc::new(group));
    }
    columns.end()?;
    Ok(groups)
}

/// The group with this name among `count` groups in `raw`, which are sorted; what stands behind it is
/// not looked at.
pub(super) fn find(
    raw: &[u8],
    count: usize,
    beat: Timestamp,
    names: &mut dyn Lookup,
    group: &str,
) -> Result<Option<GroupEvaluation>, Malformed> {
    let mut columns = GroupReader::read(Bytes::new(raw))?;
    let mut before = Before::default();
    let mut budget = super::PARTITIONS_MAX;
    for _ in 0..count.min(columns.left(ints::GROUP_FLAGS)) {
        let found = decode_group(&mut columns, &mut before, beat, names, &mut budget)?;
        match found.id.as_str().cmp(group) {
            Ordering::Less => {}
            Ordering::Equal => return Ok(Some(found)),
            Ordering::Greater => break,
        }
    }
    Ok(None)
}

fn name(names: &mut dyn Lookup, last: &mut i64, delta: i64) -> Result<Arc<str>, Malformed> {
    let id = u32::try_from(Before::value(last, delta)).ok();
    id.and_then(|id| names.name(id))
        .ok_or(Malformed("a name is not in the dictionary"))
}

fn decode_group(
    columns: &mut GroupReader<'_>,
    before: &mut Before,
    beat: Timestamp,
    names: &mut dyn Lookup,
    budget: &mut usize,
) -> Result<GroupEvaluation, Malformed> {
    let id = name(names, &mut before.group, columns.int(ints::GROUP_NAME)?)?;
    let flags = columns.byte(ints::GROUP_FLAGS)?;
    let protocol_type = name(names, &mut before.protocol, columns.int(ints::PROTOCOL)?)?;
    let complete = columns.float(floats::GROUP_COMPLETE)?;
    let members = decode_members(columns, before, names)?;
    let topics = decode_topics(columns, before, beat, names, budget)?;
    let guess = totals::guess(&topics, members.len());
    Ok(GroupEvaluation {
        id: GroupId::new(id),
        status: status(flags & 7)?,
        stale: flags & 8 != 0,
        warming: flags & 16 != 0,
        complete,
        kind: GroupKind::from_code(flags >> 5)
            .ok_or(Malformed("a group is of a kind that does not exist"))?,
        protocol_type,
        members,
        topics,
        totals: totals::decode(columns, guess)?,
    })
}

fn status(code: u8) -> Result<Status, Malformed> {
    Status::from_code(code).ok_or(Malformed("a status does not exist"))
}

fn decode_members(
    columns: &mut GroupReader<'_>,
    before: &mut Before,
    names: &mut dyn Lookup,
) -> Result<Arc<[Member]>, Malformed> {
    let count = columns.count(ints::MEMBERS, ints::MEMBER_NAMES)?;
    let mut members = Vec::with_capacity(count);
    for _ in 0..count {
        let [id, client_id, client_host] = &mut before.member;
        let id = name(names, id, columns.int(ints::MEMBER_NAMES)?)?;
        let client_id = name(names, client_id, columns.int(ints::MEMBER_NAMES)?)?;
        let client_host = name(names, client_host, columns.int(ints::MEMBER_NAMES)?)?;
        let instance_id = match columns.varint(ints::MEMBER_NAMES)?.checked_sub(1) {
            None => None,
            Some(id) => Some(
                u32::try_from(id)
                    .ok()
                    .and_then(|id| names.name(id))
                    .ok_or(Malformed("a name is not in the dictionary"))?,
            ),
        };
        members.push(Member {
            id,
            instance_id,
            client_id,
            client_host,
        });
    }
    Ok(members.into())
}

fn decode_topics(
    columns: &mut GroupReader<'_>,
    before: &mut Before,
    beat: Timestamp,
    names: &mut dyn Lookup,
    budget: &mut usize,
) -> Result<Vec<GroupTopic>, Malformed> {
    let count = columns.count(ints::TOPICS, ints::TOPIC_NAME)?;
    let mut topics = Vec::with_capacity(count);
    for _ in 0..count {
        let topic = name(names, &mut before.topic, columns.int(ints::TOPIC_NAME)?)?;
        let count = columns.count(ints::PARTITIONS, ints::FLAGS_LOW)?;
        *budget = budget
            .checked_sub(count)
            .ok_or(Malformed("it has more partitions than are allowed"))?;
        let mut partitions = Vec::with_capacity(count);
        for _ in 0..count {
            partitions.push(decode_partition(columns, before, beat)?);
        }
        topics.push(GroupTopic {
            topic: TopicName::new(topic),
            partitions,
        });
    }
    Ok(topics)
}

fn decode_partition(
    columns: &mut GroupReader<'_>,
    before: &mut Before,
    beat: Timestamp,
) -> Result<PartitionEvaluation, Malformed> {
    let flags = u16::from_le_bytes([
        columns.byte(ints::FLAGS_LOW)?,
        columns.byte(ints::FLAGS_HIGH)?,
    ]);
    let is = |flag: u16| flags & flag != 0;
    let lag = match is(has::LAG) {
        true => Some(columns.int(ints::LAG)?),
        false => None,
    };
    let end = match is(has::COMMIT) {
        true => Some(decode_commit(
            columns,
            before,
            beat,
            is(has::COMMIT_LAG),
            lag,
        )?),
        false => None,
    };
    let mut current_lag = lag.unwrap_or(0);
    if is(has::CURRENT_LAG) {
        current_lag = current_lag.wrapping_add(columns.int(ints::CURRENT_LAG)?);
    }
    let mut end_offset = MaybeI64::NONE;
    if is(has::END) {
        let mut value = guess_end(end.map(|commit| commit.offset), lag);
        if is(has::END_DIFFERS) {
            value = value.wrapping_add(columns.int(ints::END)?);
        }
        end_offset = MaybeI64::some(value);
    }
    let records_lost = match is(has::LOST) {
        true => MaybeI64::some(columns.int(ints::LOST)?),
        false => MaybeI64::NONE,
    };
    let status = match is(has::STATUS) {
        true => Some(PartitionStatus {
            status: status(columns.byte(ints::STATUS)?)?,
            reason: None,
        }),
        false => None,
    };
    let owner = Before::value(&mut before.owner, columns.int(ints::OWNER)?);
    let mut row = PartitionEvaluation {
        start: None,
        end,
        lag: lag.into(),
        current_lag,
        end_offset,
        records_lost,
        complete: guess_complete(is(has::COMMIT)),
        owner: u32::try_from(owner).map_err(|_| Malformed("an owner is out of range"))?,
        status,
        ..PartitionEvaluation::default()
    };
    decode_floats(columns, flags, &mut row)?;
    Ok(row)
}

fn decode_commit(
    columns: &mut GroupReader<'_>,
    before: &mut Before,
    beat: Timestamp,
    has_lag: bool,
    lag: Option<i64>,
) -> Result<CommitView, Malformed> {
    let offset = Before::value(&mut before.offset, columns.int(ints::OFFSET)?);
    let age = columns.int(ints::AGE)?;
    let mut then = MaybeI64::NONE;
    if has_lag {
        let differs = columns.int(ints::COMMIT_LAG)?;
        then = MaybeI64::some(lag.unwrap_or(0).wrapping_add(differs));
    }
    Ok(CommitView {
        offset,
        timestamp: Timestamp::from_ms(beat.as_ms().wrapping_sub(age)),
        observed_at: EpochSeconds::default(),
        lag: then,
    })
}

fn decode_floats(
    columns: &mut GroupReader<'_>,
    flags: u16,
    row: &mut PartitionEvaluation,
) -> Result<(), Malformed> {
    let is = |flag: u16| flags & flag != 0;
    if is(has::TIME_LAG) {
        row.time_lag = Some(decode_time_lag(columns, is(has::ERROR))?);
    }
    for (flag, column, value) in [
        (has::ETA, floats::ETA, &mut row.eta_s),
        (has::CONSUME, floats::CONSUME, &mut row.consume_rate),
        (has::USED, floats::USED, &mut row.retention_used),
        (has::LEFT, floats::LEFT, &mut row.retention_left_s),
    ] {
        if is(flag) {
            *value = MaybeF32::some(columns.float(column)?);
        }
    }
    if is(has::PRODUCE) {
        let guess = row.consume_rate.get().unwrap_or(0.0);
        row.produce_rate = MaybeF32::some(columns.float_like(floats::PRODUCE, guess)?);
    }
    if is(has::COMPLETE) {
        row.complete = columns.float(floats::COMPLETE)?;
    }
    Ok(())
}

fn decode_time_lag(columns: &mut GroupReader<'_>, has_error: bool) -> Result<TimeLag, Malformed> {
    let code = columns.byte(ints::METHOD)?;
    let mut value = |int: usize, float: usize| match code & (IN_MS | NOTHING) {
        0 => columns.float(float),
        IN_MS => columns.int(int).map(seconds),
        _ => Ok(0.0),
    };
    Ok(TimeLag {
        seconds: value(ints::TIME_LAG, floats::TIME_LAG)?,
        error_s: match has_error || code & NOTHING != 0 {
            true => MaybeF32::some(value(ints::ERROR, floats::ERROR)?),
            false => MaybeF32::NONE,
        },
        method: method(code & !(IN_MS | NOTHING))?,
    })
}

/// The way of finding a time lag with this number.
pub(super) fn method(code: u8) -> Result<TimeLagMethod, Malformed> {
    Ok(match code {
        0 => TimeLagMethod::CaughtUp,
        1 => TimeLagMethod::Interpolated,
        2 => TimeLagMethod::Seeded,
        3 => TimeLagMethod::AtLeast,
        _ => return Err(Malformed("a way of finding a time lag does not exist")),
    })
}
