//! The small first piece of a frame, and the pieces without columns: sinks and status changes.

use std::sync::Arc;

use super::bytes::{Bytes, Malformed, put_int, put_text, put_varint};
use super::part::Kind;
use super::{Lookup, Names};
use crate::clock::Timestamp;
use crate::lag::evaluation::{ClusterSummary, Evaluation, Phase, Status};
use crate::lag::ids::{ClusterName, GroupId, TopicName};
use crate::lag::optional::{MaybeF32, MaybeI64};
use crate::store::frame::{Counts, SinkRow, StatusChange};

/// The first piece of an evaluation's frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    pub cluster: ClusterName,
    pub rows: u64,
    pub phase: Phase,
    pub summary: ClusterSummary,
    /// The pieces that follow, in their order.
    pub parts: Vec<PartInfo>,
}

/// What one of the following pieces holds.
#[derive(Clone, Debug, PartialEq)]
pub struct PartInfo {
    pub kind: Kind,
    /// How many groups, topics or changes.
    pub count: usize,
    /// The first group or topic; absent for changes.
    pub first: Option<Arc<str>>,
}

impl Head {
    /// The number of the piece that holds this group, if the frame has it at all.
    pub fn part_of(&self, group: &str) -> Option<usize> {
        let groups = self.parts.iter().filter(|part| part.kind == Kind::Groups);
        let behind = groups
            .take_while(|part| part.first.as_deref().is_some_and(|first| first <= group))
            .count();
        // Groups come first, right behind the head, which is piece 0.
        (behind > 0).then_some(behind)
    }
}

pub(super) fn encode(
    evaluation: &Evaluation,
    rows: u64,
    parts: &[(Kind, usize, Option<&Arc<str>>)],
    names: &mut dyn Names,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    put_varint(&mut out, u64::from(names.id(evaluation.cluster.shared())));
    put_varint(&mut out, rows);
    encode_phase(&mut out, evaluation.phase);
    encode_summary(&mut out, &evaluation.summary);
    put_varint(&mut out, parts.len() as u64);
    for (kind, count, first) in parts {
        out.push(*kind as u8);
        put_varint(&mut out, *count as u64);
        put_varint(
            &mut out,
            first.map_or(0, |first| u64::from(names.id(first)) + 1),
        );
    }
    out
}

/// Appends a phase.
pub(in crate::store) fn encode_phase(out: &mut Vec<u8>, phase: Phase) {
    match phase {
        Phase::Waiting => out.push(0),
        Phase::Loading { read, total } => {
            out.push(1);
            put_int(out, read);
            put_int(out, total);
        }
        Phase::Running => out.push(2),
    }
}

/// Appends a summary. Blocks of the history are written with it too: a change is a new version of
/// both formats.
pub(in crate::store) fn encode_summary(out: &mut Vec<u8>, summary: &ClusterSummary) {
    out.push(u8::from(summary.up));
    match &summary.reason {
        None => out.push(0),
        Some(reason) => {
            out.push(1);
            put_text(out, reason);
        }
    }
    put_maybe_int(out, summary.brokers.map(i64::from).into());
    for count in [
        summary.groups,
        summary.groups_bad,
        summary.topics,
        summary.partitions,
    ] {
        put_varint(out, u64::from(count));
    }
    for value in [summary.lag, summary.reader_lag, summary.clock_offset_ms] {
        put_maybe_int(out, value);
    }
    for value in [summary.evaluate_ms, summary.offsets_age_s] {
        match value.get() {
            None => out.push(0),
            Some(value) => {
                out.push(1);
                out.extend(value.to_le_bytes());
            }
        }
    }
}

fn put_maybe_int(out: &mut Vec<u8>, value: MaybeI64) {
    match value.get() {
        None => out.push(0),
        Some(value) => {
            out.push(1);
            put_int(out, value);
        }
    }
}

pub(super) fn decode(raw: &[u8], names: &mut dyn Lookup) -> Result<Head, Malformed> {
    let mut bytes = Bytes::new(raw);
    let cluster = ClusterName::new(name(&mut bytes, names)?);
    let rows = bytes.varint()?;
    let phase = decode_phase(&mut bytes)?;
    let summary = decode_summary(&mut bytes)?;
    let count = bytes.count(bytes.len())?;
    let mut parts = Vec::with_capacity(count);
    for _ in 0..count {
        let kind = Kind::from_code(bytes.byte()?).ok_or(Malformed("a kind does not exist"))?;
        let count =
            usize::try_from(bytes.varint()?).map_err(|_| Malformed("a count is out of range"))?;
        let first = match bytes.varint()?.checked_sub(1) {
            None => None,
            Some(id) => Some(named(id, names)?),
        };
        parts.push(PartInfo { kind, count, first });
    }
    bytes.end()?;
    Ok(Head {
        cluster,
        rows,
        phase,
        summary,
        parts,
    })
}

/// Reads a phase.
pub(in crate::store) fn decode_phase(bytes: &mut Bytes<'_>) -> Result<Phase, Malformed> {
    Ok(match bytes.byte()? {
        0 => Phase::Waiting,
        1 => Phase::Loading {
            read: bytes.int()?,
            total: bytes.int()?,
        },
        2 => Phase::Running,
        _ => return Err(Malformed("a phase does not exist")),
    })
}

/// Reads a summary.
pub(in crate::store) fn decode_summary(bytes: &mut Bytes<'_>) -> Result<ClusterSummary, Malformed> {
    let up = flag(bytes)?;
    let reason = match flag(bytes)? {
        true => Some(bytes.text()?.to_owned()),
        false => None,
    };
    let brokers = match maybe_int(bytes)?.get() {
        None => None,
        Some(count) => {
            Some(u32::try_from(count).map_err(|_| Malformed("a count is out of range"))?)
        }
    };
    Ok(ClusterSummary {
        up,
        reason,
        brokers,
        groups: bytes.u32()?,
        groups_bad: bytes.u32()?,
        topics: bytes.u32()?,
        partitions: bytes.u32()?,
        lag: maybe_int(bytes)?,
        reader_lag: maybe_int(bytes)?,
        clock_offset_ms: maybe_int(bytes)?,
        evaluate_ms: maybe_float(bytes)?,
        offsets_age_s: maybe_float(bytes)?,
        ..ClusterSummary::default()
    })
}

fn flag(bytes: &mut Bytes<'_>) -> Result<bool, Malformed> {
    match bytes.byte()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed("a flag is neither yes nor no")),
    }
}

fn maybe_int(bytes: &mut Bytes<'_>) -> Result<MaybeI64, Malformed> {
    match flag(bytes)? {
        true => Ok(MaybeI64::some(bytes.int()?)),
        false => Ok(MaybeI64::NONE),
    }
}

fn maybe_float(bytes: &mut Bytes<'_>) -> Result<MaybeF32, Malformed> {
    match flag(bytes)? {
        true => Ok(MaybeF32::some(bytes.f32()?)),
        false => Ok(MaybeF32::NONE),
    }
}

fn name(bytes: &mut Bytes<'_>, names: &mut dyn Lookup) -> Result<Arc<str>, Malformed> {
    named(bytes.varint()?, names)
}

fn named(id: u64, names: &mut dyn Lookup) -> Result<Arc<str>, Malformed> {
    u32::try_from(id)
        .ok()
        .and_then(|id| names.name(id))
        .ok_or(Malformed("a name is not in the dictionary"))
}

/// Writes status changes; the common cluster and beat cost one byte each.
pub(super) fn encode_changes(
    changes: &[StatusChange],
    beat: Timestamp,
    names: &mut dyn Names,
) -> Vec<u8> {
    let mut out = Vec::new();
    for change in changes {
        put_varint(&mut out, u64::from(names.id(change.cluster.shared())));
        put_varint(&mut out, u64::from(names.id(change.group.shared())));
        match &change.partition {
            None => out.push(0),
            Some((topic, partition)) => {
                out.push(1);
                put_varint(&mut out, u64::from(names.id(topic.shared())));
                put_int(&mut out, i64::from(*partition));
            }
        }
        out.extend([change.from.code(), change.to.code()]);
        put_text(&mut out, &change.reason);
        put_int(&mut out, beat.as_ms().wrapping_sub(change.beat.as_ms()));
    }
    out
}

pub(super) fn decode_changes(
    raw: &[u8],
    count: usize,
    beat: Timestamp,
    names: &mut dyn Lookup,
) -> Result<Vec<StatusChange>, Malformed> {
    if count > raw.len() {
        return Err(Malformed("more changes are announced than are there"));
    }
    let mut bytes = Bytes::new(raw);
    let mut changes = Vec::with_capacity(count);
    for _ in 0..count {
        let cluster = ClusterName::new(name(&mut bytes, names)?);
        let group = GroupId::new(name(&mut bytes, names)?);
        let partition = match flag(&mut bytes)? {
            false => None,
            true => {
                let topic = TopicName::new(name(&mut bytes, names)?);
                let partition = i32::try_from(bytes.int()?);
                Some((
                    topic,
                    partition.map_err(|_| Malformed("a partition is out of range"))?,
                ))
            }
        };
        changes.push(StatusChange {
            cluster,
            group,
            partition,
            from: status(&mut bytes)?,
            to: status(&mut bytes)?,
            reason: bytes.text()?.to_owned(),
            beat: Timestamp::from_ms(beat.as_ms().wrapping_sub(bytes.int()?)),
        });
    }
    bytes.end()?;
    Ok(changes)
}

fn status(bytes: &mut Bytes<'_>) -> Result<Status, Malformed> {
    Status::from_code(bytes.byte()?).ok_or(Malformed("a status does not exist"))
}

pub(super) fn encode_sinks(rows: &[SinkRow]) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, rows.len() as u64);
    for row in rows {
        put_text(&mut out, &row.sink);
        let counts = &row.counts;
        for count in [
            counts.offered,
            counts.delivered,
            counts.filtered,
            counts.rejected,
            counts.expired,
        ] {
            put_varint(&mut out, count);
        }
        out.extend(row.oldest_waiting_s.to_le_bytes());
    }
    out
}

pub(super) fn decode_sinks(raw: &[u8]) -> Result<Vec<SinkRow>, Malformed> {
    let mut bytes = Bytes::new(raw);
    let count = bytes.count(bytes.len())?;
    let mut rows = Vec::with_capacity(count);
    for _ in 0..count {
        rows.push(SinkRow {
            sink: bytes.text()?.to_owned(),
            counts: Counts {
                offered: bytes.varint()?,
                delivered: bytes.varint()?,
                filtered: bytes.varint()?,
                rejected: bytes.varint()?,
                expired: bytes.varint()?,
            },
            oldest_waiting_s: bytes.f64()?,
        });
    }
    bytes.end()?;
    Ok(rows)
}
