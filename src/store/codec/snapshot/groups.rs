//! Groups with their members and windows.

use std::sync::Arc;

use super::super::bytes::{Bytes, ColumnReader, Columns, Malformed, put_int, put_text, put_varint};
use super::{flag, int32, moment, option, put_moment, put_option, topic_id};
use crate::clock::Timestamp;
use crate::lag::cluster::snapshot::{
    Restoring, SavedGroup, SavedJoined, SavedMembership, SavedSlot, SavedUse,
};
use crate::lag::evaluation::{Member, Status};
use crate::lag::event::GroupKind;
use crate::lag::ids::{GroupId, Order};
use crate::lag::optional::MaybeI64;
use crate::lag::window::StoredCommit;

/// Columns of a piece: one value a place in the first three, one a commit in the others.
mod columns {
    pub(super) const COMMITS: usize = 0;
    pub(super) const OWNERS: usize = 1;
    pub(super) const MARKS: usize = 2;
    pub(super) const OFFSETS: usize = 3;
    pub(super) const TIMESTAMPS: usize = 4;
    pub(super) const OBSERVED: usize = 5;
    pub(super) const ORDERS: usize = 6;
    pub(super) const EPOCHS: usize = 7;
    pub(super) const LAGS: usize = 8;
    pub(super) const COUNT: usize = 9;
}

/// A piece that is being written.
#[derive(Default)]
pub(super) struct Piece {
    groups: usize,
    partitions: usize,
    names: Vec<u8>,
    columns: Columns<{ columns::COUNT }, 0>,
}

impl Piece {
    pub(super) fn is_empty(&self) -> bool {
        self.groups == 0
    }

    pub(super) fn partitions(&self) -> usize {
        self.partitions
    }

    pub(super) fn add(&mut self, group: &SavedGroup, saved_at: Timestamp) {
        self.groups += 1;
        self.partitions += 1 + group.membership.shown.len();
        let names = &mut self.names;
        put_text(names, group.id.as_str());
        put_moment(names, group.last_commit, saved_at);
        put_moment(names, group.touched_at, saved_at);
        names.push(u8::from(group.is_hidden));
        put_option(names, group.known, |names, (status, at)| {
            names.push(status.code());
            put_moment(names, at, saved_at);
        });
        add_membership(names, &group.membership);
        put_varint(names, group.topics.len() as u64);
        for used in &group.topics {
            self.partitions += used.slots.len();
            put_varint(names, u64::from(used.topic));
            put_varint(names, used.slots.len() as u64);
            for slot in &used.slots {
                add_slot(&mut self.columns, slot, saved_at);
            }
        }
    }

    /// The bytes of the piece, which begins anew.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let mut raw = Vec::new();
        put_varint(&mut raw, self.names.len() as u64);
        raw.append(&mut self.names);
        self.columns.write(&mut raw);
        self.columns.clear();
        (self.groups, self.partitions) = (0, 0);
        raw
    }
}

fn add_membership(names: &mut Vec<u8>, membership: &SavedMembership) {
    names.push(membership.kind.code());
    put_text(names, &membership.protocol_type);
    put_varint(names, u64::from(membership.order.epoch));
    put_int(names, membership.order.offset);
    put_varint(names, membership.shown.len() as u64);
    for member in &*membership.shown {
        add_member(names, member);
    }
    put_option(names, membership.joined.as_ref(), |names, joined| {
        put_varint(names, joined.len() as u64);
        for one in joined {
            put_text(names, &one.member_id);
            put_option(names, one.member.as_ref(), add_member);
            put_varint(names, one.assigned.len() as u64);
            for (topic, partition) in &one.assigned {
                names.extend_from_slice(&topic.0);
                put_int(names, i64::from(*partition));
            }
        }
    });
}

fn add_member(names: &mut Vec<u8>, member: &Member) {
    put_text(names, &member.id);
    put_option(names, member.instance_id.as_deref(), put_text);
    put_text(names, &member.client_id);
    put_text(names, &member.client_host);
}

/// What the commits of a window are told as differences from.
#[derive(Clone, Copy)]
struct Before {
    offset: i64,
    timestamp: i64,
    order: i64,
    epoch: u32,
}

impl Before {
    fn new(saved_at: Timestamp) -> Self {
        Self {
            offset: 0,
            timestamp: saved_at.as_ms(),
            order: 0,
            epoch: 0,
        }
    }
}

fn add_slot(columns: &mut Columns<{ columns::COUNT }, 0>, slot: &SavedSlot, saved_at: Timestamp) {
    columns.varint(columns::COMMITS, slot.commits.len() as u64);
    columns.varint(columns::OWNERS, u64::from(slot.owner));
    columns.byte(columns::MARKS, slot.marks);
    let mut before = Before::new(saved_at);
    for commit in &slot.commits {
        let timestamp = commit.timestamp.as_ms();
        columns.int(columns::OFFSETS, commit.offset.wrapping_sub(before.offset));
        columns.int(
            columns::TIMESTAMPS,
            timestamp.wrapping_sub(before.timestamp),
        );
        let late = i64::from(commit.observed_at_s).wrapping_sub(commit.timestamp.as_secs());
        columns.int(columns::OBSERVED, late);
        columns.int(
            columns::ORDERS,
            commit.order.offset.wrapping_sub(before.order),
        );
        let epoch = i64::from(commit.order.epoch) - i64::from(before.epoch);
        columns.int(columns::EPOCHS, epoch);
        let lag = commit
            .lag
            .get()
            .map_or(0, |lag| lag.cast_unsigned().wrapping_add(1));
        columns.varint(columns::LAGS, lag);
        before = Before {
            offset: commit.offset,
            timestamp,
            order: commit.order.offset,
            epoch: commit.order.epoch,
        };
    }
}

/// Gives the groups of a piece to the cluster.
pub(super) fn restore(
    raw: &[u8],
    saved_at: Timestamp,
    restoring: &mut Restoring,
) -> Result<(), Malformed> {
    let mut bytes = Bytes::new(raw);
    let len = bytes.count(bytes.len())?;
    let mut names = Bytes::new(bytes.take(len)?);
    let mut columns = ColumnReader::<{ columns::COUNT }, 0>::read(bytes)?;
    while names.len() > 0 {
        let group = read(&mut names, &mut columns, saved_at)?;
        restoring.group(group).map_err(|why| Malformed(why.0))?;
    }
    columns.end()
}

fn read(
    names: &mut Bytes<'_>,
    columns: &mut ColumnReader<'_, { columns::COUNT }, 0>,
    saved_at: Timestamp,
) -> Result<SavedGroup, Malformed> {
    let id = GroupId::new(names.text()?);
    let last_commit = moment(names, saved_at)?;
    let touched_at = moment(names, saved_at)?;
    let is_hidden = flag(names)?;
    let known = option(names, |names| {
        let status = Status::from_code(names.byte()?);
        let status = status.ok_or(Malformed("a status does not exist"))?;
        Ok((status, moment(names, saved_at)?))
    })?;
    let membership = read_membership(names)?;
    let count = names.count(names.len())?;
    let mut topics = Vec::with_capacity(count);
    for _ in 0..count {
        let topic = names.u32()?;
        let count = names.count(columns.left(columns::COMMITS))?;
        let mut slots = Vec::with_capacity(count);
        for _ in 0..count {
            slots.push(read_slot(columns, saved_at)?);
        }
        topics.push(SavedUse { topic, slots });
    }
    Ok(SavedGroup {
        id,
        last_commit,
        touched_at,
        is_hidden,
        known,
        membership,
        topics,
    })
}

fn read_membership(names: &mut Bytes<'_>) -> Result<SavedMembership, Malformed> {
    let kind = GroupKind::from_code(names.byte()?);
    let kind = kind.ok_or(Malformed("a group is of a kind that does not exist"))?;
    let protocol_type = Arc::from(names.text()?);
    let order = Order {
        epoch: names.u32()?,
        offset: names.int()?,
    };
    let mut shown = Vec::new();
    for _ in 0..names.count(names.len())? {
        shown.push(read_member(names)?);
    }
    let joined = option(names, |names| {
        let mut joined = Vec::new();
        for _ in 0..names.count(names.len())? {
            joined.push(read_joined(names)?);
        }
        Ok(joined)
    })?;
    Ok(SavedMembership {
        kind,
        protocol_type,
        order,
        shown: Arc::from(shown),
        joined,
    })
}

fn read_member(names: &mut Bytes<'_>) -> Result<Member, Malformed> {
    Ok(Member {
        id: Arc::from(names.text()?),
        instance_id: option(names, |names| names.text().map(Arc::from))?,
        client_id: Arc::from(names.text()?),
        client_host: Arc::from(names.text()?),
    })
}

fn read_joined(names: &mut Bytes<'_>) -> Result<SavedJoined, Malformed> {
    let member_id = Box::from(names.text()?);
    let member = option(names, read_member)?;
    let mut assigned = Vec::new();
    for _ in 0..names.count(names.len())? {
        assigned.push((topic_id(names)?, int32(names)?));
    }
    Ok(SavedJoined {
        member_id,
        member,
        assigned,
    })
}

fn read_slot(
    columns: &mut ColumnReader<'_, { columns::COUNT }, 0>,
    saved_at: Timestamp,
) -> Result<SavedSlot, Malformed> {
    let count = columns.count(columns::COMMITS, columns::OFFSETS)?;
    let owner = u32::try_from(columns.varint(columns::OWNERS)?)
        .map_err(|_| Malformed("a number is longer than 32 bits"))?;
    let marks = columns.byte(columns::MARKS)?;
    let mut commits = Vec::with_capacity(count);
    let mut before = Before::new(saved_at);
    for _ in 0..count {
        before.offset = before.offset.wrapping_add(columns.int(columns::OFFSETS)?);
        before.timestamp = before
            .timestamp
            .wrapping_add(columns.int(columns::TIMESTAMPS)?);
        before.order = before.order.wrapping_add(columns.int(columns::ORDERS)?);
        let epoch = i64::from(before.epoch).wrapping_add(columns.int(columns::EPOCHS)?);
        before.epoch =
            u32::try_from(epoch).map_err(|_| Malformed("a number is longer than 32 bits"))?;
        let timestamp = Timestamp::from_ms(before.timestamp);
        let late = columns.int(columns::OBSERVED)?;
        let observed_at_s = u32::try_from(timestamp.as_secs().wrapping_add(late))
            .map_err(|_| Malformed("a number is longer than 32 bits"))?;
        let lag = columns.varint(columns::LAGS)?.checked_sub(1);
        commits.push(StoredCommit {
            offset: before.offset,
            timestamp,
            observed_at_s,
            order: Order {
                epoch: before.epoch,
                offset: before.order,
            },
            lag: MaybeI64::from(lag.map(u64::cast_signed)),
        });
    }
    Ok(SavedSlot {
        commits,
        owner,
        marks,
    })
}
