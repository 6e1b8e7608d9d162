//! Groups of the classic protocol: `GroupMetadataKey` and `GroupMetadataValue`, versions 0 to 4, and
//! the assignment inside (`ConsumerProtocolAssignment`, versions 0 to 3).
//!
//! Redpanda writes the same record with two more bytes, a version, in front of each member. Nothing
//! tells the two apart but the layout itself: what is not exactly Kafka's is tried as Redpanda's.

use super::bytes::Bytes;
use super::{Malformed, Record};
use crate::lag::event::{GroupChange, GroupKind, MemberChange};

/// The protocol type whose assignments can be read.
const CONSUMER: &str = "consumer";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    Kafka,
    Redpanda,
}

/// Strings, arrays and tags as a version of the message writes them.
#[derive(Clone, Copy, Debug)]
struct Fields<'a> {
    bytes: Bytes<'a>,
    version: i16,
    layout: Layout,
}

pub(super) fn group_metadata<'a>(
    mut key: Bytes<'a>,
    value: Option<&'a [u8]>,
) -> Result<Record<'a>, Malformed> {
    let group = key.text()?;
    key.end()?;
    let Some(value) = value else {
        return Ok(Record::GroupDeleted {
            group,
            kind: GroupKind::Classic,
        });
    };
    let mut bytes = Bytes::new(value);
    let version = bytes.i16()?;
    if !(0..=4).contains(&version) {
        return Err(Malformed::Version(version));
    }
    let read = |layout| {
        let fields = Fields {
            bytes,
            version,
            layout,
        };
        fields.group()
    };
    let change = read(Layout::Kafka).or_else(|error| read(Layout::Redpanda).map_err(|_| error))?;
    Ok(Record::GroupChanged { group, change })
}

impl<'a> Fields<'a> {
    fn is_flexible(self) -> bool {
        self.version >= 4
    }

    fn text(&mut self) -> Result<&'a str, Malformed> {
        self.nullable_text()?.ok_or(Malformed::Length)
    }

    fn nullable_text(&mut self) -> Result<Option<&'a str>, Malformed> {
        if self.is_flexible() {
            self.bytes.nullable_compact_text()
        } else {
            self.bytes.nullable_text()
        }
    }

    /// Length of an array or of bytes; nothing for null.
    fn length(&mut self) -> Result<usize, Malformed> {
        let length = if self.is_flexible() {
            self.bytes.compact_length()?
        } else {
            self.bytes.length()?
        };
        Ok(length.unwrap_or(0))
    }

    fn blob(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.length()?;
        self.bytes.take(length)
    }

    fn end_of_struct(&mut self) -> Result<(), Malformed> {
        if self.is_flexible() {
            self.bytes.skip_tags()?;
        }
        Ok(())
    }

    fn group(mut self) -> Result<GroupChange, Malformed> {
        let protocol_type = self.text()?;
        let generation = self.bytes.i32()?;
        let _protocol = self.nullable_text()?;
        let _leader = self.nullable_text()?;
        if self.version >= 2 {
            let _state_since = self.bytes.i64()?;
        }
        // Not reserved: the number is foreign. Each turn reads some bytes or fails.
        let mut members = Vec::new();
        for _ in 0..self.length()? {
            members.push(self.member(protocol_type == CONSUMER)?);
        }
        self.end_of_struct()?;
        self.bytes.end()?;
        Ok(GroupChange::Classic {
            protocol_type: protocol_type.to_owned(),
            generation,
            members,
        })
    }

    fn member(&mut self, is_consumer: bool) -> Result<MemberChange, Malformed> {
        if self.layout == Layout::Redpanda {
            let _version = self.bytes.i16()?;
        }
        let member_id = self.text()?;
        let instance_id = if self.version >= 3 {
            self.nullable_text()?
        } else {
            None
        };
        let client_id = self.text()?;
        let client_host = self.text()?;
        if self.version >= 1 {
            let _rebalance_timeout = self.bytes.i32()?;
        }
        let _session_timeout = self.bytes.i32()?;
        let _subscription = self.blob()?;
        let assignment = self.blob()?;
        self.end_of_struct()?;
        Ok(MemberChange {
            member_id: member_id.to_owned(),
            instance_id: instance_id.map(str::to_owned),
            client_id: client_id.to_owned(),
            client_host: client_host.to_owned(),
            // What a client put in there is its own affair: unreadable is the same as nothing.
            assignment: if is_consumer {
                assignments(assignment).unwrap_or_default()
            } else {
                Vec::new()
            },
        })
    }
}

/// `ConsumerProtocolAssignment`; the user data after the partitions are not looked at.
fn assignments(bytes: &[u8]) -> Result<Vec<(String, Vec<i32>)>, Malformed> {
    let mut bytes = Bytes::new(bytes);
    let _version = bytes.i16()?;
    let mut topics = Vec::new();
    for _ in 0..bytes.length()?.unwrap_or(0) {
        let topic = bytes.text()?;
        let count = bytes.length()?.unwrap_or(0);
        topics.push((topic.to_owned(), bytes.numbers(count)?));
    }
    Ok(topics)
}
