//! Groups of the KIP-848 protocol: `ConsumerGroupMemberMetadata*` (type 5) and
//! `ConsumerGroupCurrentMemberAssignment*` (type 8), version 0.
//!
//! The current assignment is what a member really reads; the target assignment (type 7) is what it
//! will read once others have let go, and is not used.

use super::bytes::Bytes;
use super::{Malformed, Record};
use crate::lag::event::{GroupChange, MemberChange};
use crate::lag::ids::TopicId;

pub(super) fn member<'a>(key: Bytes<'a>, value: Option<&'a [u8]>) -> Result<Record<'a>, Malformed> {
    let (group, member_id) = member_key(key)?;
    let change = match value {
        None => GroupChange::MemberLeft { member_id },
        Some(value) => GroupChange::MemberJoined(member_metadata(value, member_id)?),
    };
    Ok(Record::GroupChanged { group, change })
}

pub(super) fn current_assignment<'a>(
    key: Bytes<'a>,
    value: Option<&'a [u8]>,
) -> Result<Record<'a>, Malformed> {
    let (group, member_id) = member_key(key)?;
    let partitions = value.map_or(Ok(Vec::new()), assigned_partitions)?;
    Ok(Record::GroupChanged {
        group,
        change: GroupChange::MemberAssigned {
            member_id,
            partitions,
        },
    })
}

fn member_key(mut key: Bytes<'_>) -> Result<(&str, String), Malformed> {
    let group = key.text()?;
    let member = key.text()?;
    key.end()?;
    Ok((group, member.to_owned()))
}

/// What comes after the host (subscription, time-outs, tags) is not needed, and not read: newer
/// brokers add to it.
fn member_metadata(value: &[u8], member_id: String) -> Result<MemberChange, Malformed> {
    let mut value = versioned(value)?;
    let instance_id = value.nullable_compact_text()?;
    let _rack = value.nullable_compact_text()?;
    let client_id = value.compact_text()?;
    let client_host = value.compact_text()?;
    Ok(MemberChange {
        member_id,
        instance_id: instance_id.map(str::to_owned),
        client_id: client_id.to_owned(),
        client_host: client_host.to_owned(),
        assignment: Vec::new(),
    })
}

/// The partitions in the member's hands; those it is asked to let go come after them and are not
/// read.
fn assigned_partitions(value: &[u8]) -> Result<Vec<(TopicId, i32)>, Malformed> {
    let mut value = versioned(value)?;
    let _member_epoch = value.i32()?;
    let _previous_epoch = value.i32()?;
    let _state = value.i8()?;
    let mut assigned = Vec::new();
    for _ in 0..value.compact_length()?.unwrap_or(0) {
        let topic = value.uuid()?;
        let count = value.compact_length()?.unwrap_or(0);
        let partitions = value.numbers(count)?;
        assigned.extend(partitions.into_iter().map(|partition| (topic, partition)));
        // Since Kafka 4.4 with the epoch of each assignment.
        value.skip_tags()?;
    }
    Ok(assigned)
}

fn versioned(value: &[u8]) -> Result<Bytes<'_>, Malformed> {
    let mut value = Bytes::new(value);
    match value.i16()? {
        0 => Ok(value),
        version => Err(Malformed::Version(version)),
    }
}
