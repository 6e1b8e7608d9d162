//! Records of `__consumer_offsets` as bytes: what a broker writes when a group commits or changes.
//!
//! The counterpart of `kafka::decode`, for the demo, benchmarks and tests: lagline itself never
//! writes to that topic. Commits are those of `kafka::encode`; memberships are written in the
//! versions of today's brokers. It takes the decoder's own types, so that what goes in must come
//! out again.

use crate::clock::Timestamp;
use crate::kafka::decode::Committed;
use crate::kafka::encode::{commit_key, commit_value};
use crate::lag::event::MemberChange;
use crate::lag::ids::TopicId;

/// Kafka's default times of a member, in ms: nothing depends on them.
const SESSION_TIMEOUT: i32 = 45_000;
const REBALANCE_TIMEOUT: i32 = 300_000;
/// Where a worker of Kafka Connect can be reached; part of its assignment.
const CONNECT_PORT: u16 = 8083;

/// One record, ready to be produced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetsRecord {
    pub key: Vec<u8>,
    /// Absent in a tombstone.
    pub value: Option<Vec<u8>>,
}

/// The membership of a group of the classic protocol.
#[derive(Clone, Copy, Debug)]
pub struct ClassicGroup<'a> {
    /// "consumer", "connect", ...
    pub protocol_type: &'a str,
    pub generation: i32,
    /// When the group became what it is.
    pub since: Timestamp,
    /// Written with their assignments when the protocol type is "consumer", with tasks of Kafka
    /// Connect otherwise.
    pub members: &'a [MemberChange],
}

/// A group commits (`OffsetCommitKey` 1; `OffsetCommitValue` 4 when the topic's id is known, else 3).
pub fn commit(commit: &Committed<'_>) -> OffsetsRecord {
    OffsetsRecord {
        key: commit_key(commit.group, commit.topic, commit.partition),
        value: Some(commit_value(
            commit.offset,
            commit.timestamp,
            commit.topic_id,
        )),
    }
}

/// A committed offset expires or is deleted.
pub fn commit_tombstone(group: &str, topic: &str, partition: i32) -> OffsetsRecord {
    OffsetsRecord {
        key: commit_key(group, topic, partition),
        value: None,
    }
}

/// A classic group has this membership (`GroupMetadataKey` 2, `GroupMetadataValue` 3).
pub fn classic_group(group: &str, state: &ClassicGroup<'_>) -> OffsetsRecord {
    let mut value = Writer::default();
    value.i16(3).text(state.protocol_type).i32(state.generation);
    match state.members.first() {
        Some(leader) => value.text("range").text(&leader.member_id),
        None => value.null().null(),
    };
    value.i64(state.since.as_ms()).count(state.members.len());
    for member in state.members {
        value.text(&member.member_id);
        match &member.instance_id {
            Some(id) => value.text(id),
            None => value.null(),
        };
        value.text(&member.client_id).text(&member.client_host);
        value.i32(REBALANCE_TIMEOUT).i32(SESSION_TIMEOUT);
        let is_consumer = state.protocol_type == "consumer";
        let (subscription, assignment) = if is_consumer {
            (subscription(member), assignment(member))
        } else {
            (Writer::default(), connect_assignment(group, member))
        };
        value.blob(&subscription.0).blob(&assignment.0);
    }
    OffsetsRecord {
        key: group_key(2, group),
        value: Some(value.0),
    }
}

/// The metadata of a classic group is deleted.
pub fn classic_group_tombstone(group: &str) -> OffsetsRecord {
    OffsetsRecord {
        key: group_key(2, group),
        value: None,
    }
}

/// A KIP-848 group exists (`ConsumerGroupMetadata`, 3).
pub fn consumer_group(group: &str, epoch: i32) -> OffsetsRecord {
    let mut value = Writer::default();
    value.i16(0).i32(epoch).no_tags();
    OffsetsRecord {
        key: group_key(3, group),
        value: Some(value.0),
    }
}

/// A member of a KIP-848 group (`ConsumerGroupMemberMetadata`, 5) that subscribes to `topics`.
pub fn consumer_member(group: &str, member: &MemberChange, topics: &[&str]) -> OffsetsRecord {
    let mut value = Writer::default();
    value.i16(0);
    match &member.instance_id {
        Some(id) => value.compact_text(id),
        None => value.compact_null(),
    };
    // No rack.
    value.compact_null();
    value.compact_text(&member.client_id);
    value.compact_text(&member.client_host);
    value.compact_count(topics.len());
    for topic in topics {
        value.compact_text(topic);
    }
    // No regular expression; the server's default assignor.
    value.compact_text("").i32(REBALANCE_TIMEOUT).compact_null();
    value.no_tags();
    OffsetsRecord {
        key: member_key(5, group, &member.member_id),
        value: Some(value.0),
    }
}

/// What a member of a KIP-848 group reads (`ConsumerGroupCurrentMemberAssignment`, 8).
pub fn consumer_assignment(
    group: &str,
    member_id: &str,
    epoch: i32,
    assigned: &[(TopicId, Vec<i32>)],
) -> OffsetsRecord {
    let mut value = Writer::default();
    // State 0: stable.
    value.i16(0).i32(epoch).i32(epoch - 1).raw(&[0]);
    value.compact_count(assigned.len());
    for (topic, partitions) in assigned {
        value.raw(&topic.0).compact_count(partitions.len());
        for partition in partitions {
            value.i32(*partition);
        }
        value.no_tags();
    }
    // Nothing to let go.
    value.compact_count(0).no_tags();
    OffsetsRecord {
        key: member_key(8, group, member_id),
        value: Some(value.0),
    }
}

/// A member leaves a KIP-848 group: the tombstones of its assignment and of itself.
pub fn consumer_member_left(group: &str, member_id: &str) -> [OffsetsRecord; 2] {
    [8, 5].map(|kind| OffsetsRecord {
        key: member_key(kind, group, member_id),
        value: None,
    })
}

fn group_key(kind: i16, group: &str) -> Vec<u8> {
    let mut key = Writer::default();
    key.i16(kind).text(group);
    key.0
}

fn member_key(kind: i16, group: &str, member_id: &str) -> Vec<u8> {
    let mut key = Writer::default();
    key.i16(kind).text(group).text(member_id);
    key.0
}

/// `ConsumerProtocolSubscription` 1: topics, no user data, nothing owned.
fn subscription(member: &MemberChange) -> Writer {
    let mut bytes = Writer::default();
    bytes.i16(1).count(member.assignment.len());
    for (topic, _) in &member.assignment {
        bytes.text(topic);
    }
    bytes.i32(-1).count(0);
    bytes
}

/// `ConsumerProtocolAssignment` 1: topics with partitions, no user data.
fn assignment(member: &MemberChange) -> Writer {
    let mut bytes = Writer::default();
    bytes.i16(1).count(member.assignment.len());
    for (topic, partitions) in &member.assignment {
        bytes.text(topic).count(partitions.len());
        for partition in partitions {
            bytes.i32(*partition);
        }
    }
    bytes.i32(-1);
    bytes
}

/// Kafka Connect's assignment, version 0: one task of the connector that the group is named after.
fn connect_assignment(group: &str, member: &MemberChange) -> Writer {
    let host = member.client_host.trim_start_matches('/');
    let connector = group.strip_prefix("connect-").unwrap_or(group);
    let mut bytes = Writer::default();
    bytes.i16(0).i16(0).text(&member.member_id);
    bytes.text(&format!("http://{host}:{CONNECT_PORT}/"));
    // Offset in the connector's configuration; one connector, one task.
    bytes.i64(1).count(1).text(connector).count(1).i32(0);
    bytes
}

/// Kafka's primitive types, big endian.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn i16(&mut self, number: i16) -> &mut Self {
        self.raw(&number.to_be_bytes())
    }

    fn i32(&mut self, number: i32) -> &mut Self {
        self.raw(&number.to_be_bytes())
    }

    fn i64(&mut self, number: i64) -> &mut Self {
        self.raw(&number.to_be_bytes())
    }

    /// Seven bits a byte, the lowest first.
    fn uvarint(&mut self, number: usize) -> &mut Self {
        let mut left = number;
        loop {
            let [low, ..] = (left & 0x7f).to_le_bytes();
            left >>= 7;
            if left == 0 {
                return self.raw(&[low]);
            }
            self.raw(&[low | 0x80]);
        }
    }

    /// # Panics
    /// When the text is longer than Kafka can write.
    fn text(&mut self, text: &str) -> &mut Self {
        let length = i16::try_from(text.len()).expect("a name of at most 32,767 bytes");
        self.i16(length).raw(text.as_bytes())
    }

    fn null(&mut self) -> &mut Self {
        self.i16(-1)
    }

    fn compact_text(&mut self, text: &str) -> &mut Self {
        self.compact_count(text.len()).raw(text.as_bytes())
    }

    fn compact_null(&mut self) -> &mut Self {
        self.uvarint(0)
    }

    fn count(&mut self, count: usize) -> &mut Self {
        let count = i32::try_from(count).expect("fewer than two billion entries");
        self.i32(count)
    }

    fn compact_count(&mut self, count: usize) -> &mut Self {
        self.uvarint(count + 1)
    }

    fn blob(&mut self, bytes: &[u8]) -> &mut Self {
        self.count(bytes.len()).raw(bytes)
    }

    fn no_tags(&mut self) -> &mut Self {
        self.uvarint(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::decode::{Record, decode};
    use crate::lag::event::{GroupChange, GroupKind};

    fn back(record: &OffsetsRecord) -> Record<'_> {
        decode(Some(&record.key), record.value.as_deref()).expect("what a broker writes")
    }

    fn member(id: &str) -> MemberChange {
        MemberChange {
            member_id: id.to_owned(),
            instance_id: None,
            client_id: "client \"1\"".to_owned(),
            client_host: "/10.0.0.1".to_owned(),
            assignment: Vec::new(),
        }
    }

    #[test]
    fn commits_come_out_as_they_went_in() {
        let long = "x".repeat(300);
        for (group, offset, topic_id, reason) in [
            ("g", 0, None, "before Kafka 4.1"),
            ("g", 1, Some(TopicId([7; 16])), "since then"),
            ("г\n\"\\😀", i64::MAX, None, "any UTF-8"),
            (&long, -1, Some(TopicId([1; 16])), "long"),
        ] {
            let committed = Committed {
                group,
                topic: "t.1",
                partition: 11,
                offset,
                timestamp: Timestamp::from_ms(1_758_335_260_726),
                topic_id,
            };
            let record = commit(&committed);
            assert_eq!(back(&record), Record::Committed(committed), "{reason}");
        }
    }

    #[test]
    fn a_commit_has_the_bytes_of_a_real_broker() {
        let committed = Committed {
            group: "d.grow",
            topic: "d.grow",
            partition: 3,
            offset: 17,
            timestamp: Timestamp::from_ms(1_795_444_371_066),
            topic_id: Some(TopicId([
                157, 73, 2, 92, 233, 24, 73, 248, 164, 93, 66, 170, 68, 153, 79, 82,
            ])),
        };
        let record = commit(&committed);
        let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
        // Written by Kafka 4.4.0; see tests/fixtures/kafka-records.
        assert_eq!(
            hex(&record.key),
            "00010006642e67726f770006642e67726f7700000003"
        );
        assert_eq!(
            hex(&record.value.unwrap()),
            "00040000000000000011ffffffff01000001a208d2ee7a\
             0100109d49025ce91849f8a45d42aa44994f52"
        );
    }

    #[test]
    fn tombstones_say_what_is_gone() {
        assert_eq!(
            back(&commit_tombstone("g", "t", 3)),
            Record::CommitDeleted {
                group: "g",
                topic: "t",
                partition: 3
            }
        );
        assert_eq!(
            back(&classic_group_tombstone("g")),
            Record::GroupDeleted {
                group: "g",
                kind: GroupKind::Classic
            }
        );
    }

    #[test]
    fn memberships_come_out_as_they_went_in() {
        let assigned = MemberChange {
            assignment: vec![("t".to_owned(), vec![0, 2]), ("u".to_owned(), vec![])],
            instance_id: Some("static".to_owned()),
            ..member("m-1")
        };
        for (protocol_type, members, reason) in [
            ("consumer", vec![assigned, member("m-2")], "two members"),
            ("consumer", vec![], "everybody has left"),
            ("connect", vec![member("w-1")], "tasks, not topics"),
            ("", vec![], "a group that only commits"),
        ] {
            let record = classic_group(
                "g",
                &ClassicGroup {
                    protocol_type,
                    generation: 4,
                    since: Timestamp::from_ms(5),
                    members: &members,
                },
            );
            let change = GroupChange::Classic {
                protocol_type: protocol_type.to_owned(),
                generation: 4,
                members,
            };
            let expected = Record::GroupChanged { group: "g", change };
            assert_eq!(back(&record), expected, "{reason}");
        }
    }

    #[test]
    fn kip_848_records_come_out_as_they_went_in() {
        let id = TopicId([9; 16]);
        let [assignment_gone, member_gone] = consumer_member_left("g", "m");
        let statically = MemberChange {
            instance_id: Some("i".to_owned()),
            ..member("m")
        };
        for (record, change) in [
            (
                consumer_group("g", 3),
                GroupChange::Kind(GroupKind::Consumer),
            ),
            (
                consumer_member("g", &member("m"), &["t", "u"]),
                GroupChange::MemberJoined(member("m")),
            ),
            (
                consumer_member("g", &statically, &[]),
                GroupChange::MemberJoined(statically.clone()),
            ),
            (
                consumer_assignment("g", "m", 3, &[(id, vec![0, 5])]),
                GroupChange::MemberAssigned {
                    member_id: "m".to_owned(),
                    partitions: vec![(id, 0), (id, 5)],
                },
            ),
            (
                assignment_gone,
                GroupChange::MemberAssigned {
                    member_id: "m".to_owned(),
                    partitions: Vec::new(),
                },
            ),
            (
                member_gone,
                GroupChange::MemberLeft {
                    member_id: "m".to_owned(),
                },
            ),
        ] {
            assert_eq!(back(&record), Record::GroupChanged { group: "g", change });
        }
    }
}
