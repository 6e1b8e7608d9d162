//! From records as they arrive to a batch of events, with every record counted.

use super::positions::Positions;
use super::stats::ReaderCounts;
use crate::kafka::decode::{Record, decode};
use crate::lag::event::{Commit, EventBatch};

/// Events and counts since they were last handed over.
#[derive(Debug, Default)]
pub(super) struct Intake {
    pub(super) events: EventBatch,
    pub(super) counts: ReaderCounts,
}

impl Intake {
    /// Takes one record of `partition`. True when the partition caught up with it.
    pub(super) fn record(
        &mut self,
        positions: &mut Positions,
        partition: i32,
        offset: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> bool {
        let counts = &mut self.counts;
        counts.records += 1;
        let size = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        counts.bytes += size as u64;
        match decode(key, value) {
            Ok(Record::Committed(commit)) => {
                counts.commits += 1;
                self.events.push_commit(&Commit {
                    group: commit.group,
                    topic: commit.topic,
                    partition: commit.partition,
                    order: positions.order(partition, offset, commit.group),
                    offset: commit.offset,
                    timestamp: commit.timestamp,
                    topic_id: commit.topic_id,
                });
            }
            Ok(Record::CommitDeleted {
                group,
                topic,
                partition: of,
            }) => {
                counts.tombstones += 1;
                let order = positions.order(partition, offset, group);
                self.events.push_commit_deleted(group, topic, of, order);
            }
            Ok(Record::GroupChanged { group, change }) => {
                counts.group_changes += 1;
                let order = positions.order(partition, offset, group);
                self.events.push_group_changed(group, order, change);
            }
            Ok(Record::GroupDeleted { group, kind }) => {
                counts.tombstones += 1;
                let order = positions.order(partition, offset, group);
                self.events.push_group_deleted(group, order, kind);
            }
            Ok(Record::Ignored(_)) => counts.ignored += 1,
            Ok(Record::Unknown(kind)) => *counts.unknown.entry(kind).or_default() += 1,
            Err(_) => counts.malformed += 1,
        }
        positions.passed(partition, offset)
    }
}
