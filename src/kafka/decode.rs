//! The bytes of `__consumer_offsets` as records.
//!
//! Knows the layouts of Kafka's coordinator messages (`OffsetCommitKey/Value`,
//! `GroupMetadataKey/Value`, `ConsumerGroup*`, message versions up to Kafka 4.4; group coordinator
//! record types in `CoordinatorRecordType`), nothing of clients, batches or order. The bytes are
//! foreign: no length is trusted, nothing panics, and what cannot be read is an error without any
//! memory taken for it. A commit borrows its names from the input and allocates nothing, because a
//! million of them arrive in a second; records about groups are rare and own what they hold.

use crate::clock::Timestamp;
use crate::lag::event::{GroupChange, GroupKind};
use crate::lag::ids::TopicId;

mod bytes;
mod classic;
mod consumer;

use bytes::Bytes;

/// The highest record type Kafka 4.4 knows.
const LAST_KNOWN_TYPE: i16 = 24;

/// One record of the offsets topic.
#[derive(Clone, Debug, PartialEq)]
pub enum Record<'a> {
    /// Types 0 and 1: a group committed an offset.
    Committed(Committed<'a>),
    /// Types 0 and 1 without value: the committed offset is gone.
    CommitDeleted {
        group: &'a str,
        topic: &'a str,
        partition: i32,
    },
    /// Something about a group's kind or members.
    GroupChanged { group: &'a str, change: GroupChange },
    /// Types 2, 3, 11, 17 without value: the group's metadata is gone.
    GroupDeleted { group: &'a str, kind: GroupKind },
    /// A type that Kafka has and that says nothing about lag.
    Ignored(i16),
    /// A type newer than this decoder.
    Unknown(i16),
}

/// A committed offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed<'a> {
    pub group: &'a str,
    pub topic: &'a str,
    pub partition: i32,
    /// The next offset the group will read, as it was written: may be negative.
    pub offset: i64,
    /// When the broker took the commit.
    pub timestamp: Timestamp,
    /// Since Kafka 4.1.
    pub topic_id: Option<TopicId>,
}

/// Why a record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It ends too early.
    Truncated,
    /// It goes on after its end.
    TooLong,
    /// A length or number that cannot be.
    Length,
    /// A name that is not UTF-8.
    Text,
    /// A value version this decoder does not know.
    Version(i16),
}

/// Reads one record; `value` is absent in a tombstone.
///
/// # Errors
/// When the bytes are not what their type and version promise. The caller counts it and goes on.
pub fn decode<'a>(key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> Result<Record<'a>, Malformed> {
    let mut key = Bytes::new(key.ok_or(Malformed::Truncated)?);
    let kind = key.i16()?;
    match kind {
        0 | 1 => offset_commit(key, value),
        2 => classic::group_metadata(key, value),
        3 => group_kind(key, value, GroupKind::Consumer),
        5 => consumer::member(key, value),
        8 => consumer::current_assignment(key, value),
        11 => group_kind(key, value, GroupKind::Share),
        17 => group_kind(key, value, GroupKind::Streams),
        // 4 partition metadata, 6 and 7 target assignment, 9 to 16 share groups and regular
        // expressions, 18 to 24 streams groups.
        4..=LAST_KNOWN_TYPE => Ok(Record::Ignored(kind)),
        _ => Ok(Record::Unknown(kind)),
    }
}

/// `OffsetCommitKey` and `OffsetCommitValue`, versions 0 to 4.
fn offset_commit<'a>(mut key: Bytes<'a>, value: Option<&'a [u8]>) -> Result<Record<'a>, Malformed> {
    let group = key.text()?;
    let topic = key.text()?;
    let partition = key.i32()?;
    key.end()?;
    let Some(value) = value else {
        return Ok(Record::CommitDeleted {
            group,
            topic,
            partition,
        });
    };
    let mut value = Bytes::new(value);
    let version = value.i16()?;
    if !(0..=4).contains(&version) {
        return Err(Malformed::Version(version));
    }
    let offset = value.i64()?;
    if version >= 3 {
        let _leader_epoch = value.i32()?;
    }
    // The client's own text: not shown anywhere, so it may hold anything.
    if version >= 4 {
        value.skip_compact()?;
    } else {
        value.skip_short()?;
    }
    let timestamp = Timestamp::from_ms(value.i64()?);
    if version == 1 {
        let _expires = value.i64()?;
    }
    let topic_id = if version >= 4 {
        value.tagged_uuid()?
    } else {
        None
    };
    value.end()?;
    Ok(Record::Committed(Committed {
        group,
        topic,
        partition,
        offset,
        timestamp,
        topic_id,
    }))
}

/// `ConsumerGroupMetadataKey`, `ShareGroupMetadataKey`, `StreamsGroupMetadataKey`. Their values hold
/// epochs only, which nothing here needs.
fn group_kind<'a>(
    mut key: Bytes<'a>,
    value: Option<&'a [u8]>,
    kind: GroupKind,
) -> Result<Record<'a>, Malformed> {
    let group = key.text()?;
    key.end()?;
    Ok(match value {
        None => Record::GroupDeleted { group, kind },
        Some(_) => Record::GroupChanged {
            group,
            change: GroupChange::Kind(kind),
        },
    })
}

#[cfg(test)]
mod tests;
