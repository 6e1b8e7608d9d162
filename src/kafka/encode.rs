//! Offset commits as the bytes Kafka writes, for whoever plays Kafka: the demo, benchmarks and tests.
//!
//! The other direction of [`decode`](super::decode), for commits only. lagline itself never writes to
//! a watched cluster.

use crate::clock::Timestamp;
use crate::lag::ids::TopicId;

/// Key of an offset commit (type 1).
///
/// # Panics
/// When a name is longer than 32,767 bytes: no Kafka takes such a name.
pub fn commit_key(group: &str, topic: &str, partition: i32) -> Vec<u8> {
    let mut key = Vec::with_capacity(10 + group.len() + topic.len());
    key.extend(1_i16.to_be_bytes());
    for name in [group, topic] {
        let length = i16::try_from(name.len()).expect("a name Kafka would take");
        key.extend(length.to_be_bytes());
        key.extend(name.as_bytes());
    }
    key.extend(partition.to_be_bytes());
    key
}

/// Value of an offset commit: version 4 with a topic id (Kafka 4.1 and later), version 3 without.
pub fn commit_value(offset: i64, timestamp: Timestamp, topic_id: Option<TopicId>) -> Vec<u8> {
    let version = if topic_id.is_some() { 4_i16 } else { 3 };
    let mut value = Vec::with_capacity(48);
    value.extend(version.to_be_bytes());
    value.extend(offset.to_be_bytes());
    value.extend((-1_i32).to_be_bytes()); // no leader epoch
    match topic_id {
        // Empty metadata, in the flexible and in the old way.
        Some(_) => value.push(1),
        None => value.extend(0_i16.to_be_bytes()),
    }
    value.extend(timestamp.as_ms().to_be_bytes());
    if let Some(id) = topic_id {
        // One tagged field: number 0, 16 bytes.
        value.extend([1, 0, 16]);
        value.extend(id.0);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::super::decode::{Committed, Record, decode};
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        let timestamp = Timestamp::from_ms(1_758_335_260_726);
        for topic_id in [None, Some(TopicId([7; 16]))] {
            let key = commit_key("g\n", "t", 3);
            let value = commit_value(42, timestamp, topic_id);
            let expected = Record::Committed(Committed {
                group: "g\n",
                topic: "t",
                partition: 3,
                offset: 42,
                timestamp,
                topic_id,
            });
            assert_eq!(decode(Some(&key), Some(&value)), Ok(expected));
        }
    }
}
