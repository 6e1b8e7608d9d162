//! The parts of a group, or of a topic, from all blocks that have some, put together beat by beat.

use std::collections::BTreeMap;
use std::ops::Range;
use std::vec::IntoIter;

use super::groups::GroupSpan;
use super::topics::LogSpan;
use crate::lag::evaluation::{
    GroupEvaluation, GroupTopic, PartitionEvaluation, TopicEvaluation, TopicPartition,
};
use crate::lag::ids::TopicName;
use crate::store::codec::bytes::Malformed;

/// A group's topic from all blocks that have a part of it.
#[derive(Default)]
struct Whole {
    counts: Vec<u32>,
    series: BTreeMap<u32, IntoIter<PartitionEvaluation>>,
}

/// A group from its parts at those beats (by their places in the blocks' list) at which it was
/// there. The parts' partitions have rows of these beats only.
pub(super) fn group(
    spans: Vec<GroupSpan>,
    beats: Range<usize>,
) -> Result<Vec<(usize, GroupEvaluation)>, Malformed> {
    const MISSING: Malformed = Malformed("a part of a group is missing");
    let mut topics: BTreeMap<TopicName, Whole> = BTreeMap::new();
    let mut own = None;
    for span in spans {
        for topic in span.topics {
            let whole = topics.entry(topic.topic).or_default();
            whole.counts = topic.counts.iter().collect();
            let series = topic.series.into_iter().map(Vec::into_iter);
            whole.series.extend((topic.from..).zip(series));
        }
        if !span.rows.is_empty() {
            own = Some((span.id, span.present, span.rows));
        }
    }
    let Some((id, present, rows)) = own else {
        return match topics.is_empty() {
            true => Ok(Vec::new()),
            false => Err(MISSING),
        };
    };
    let mut groups = Vec::new();
    for (at, row) in present.above(0).zip(rows) {
        if !beats.contains(&at) {
            continue;
        }
        let mut of_group = Vec::new();
        for (topic, whole) in &mut topics {
            let count = whole.counts.get(at).copied().unwrap_or(0);
            let Some(count) = count.checked_sub(1) else {
                continue;
            };
            let row = |partition| whole.series.get_mut(&partition)?.next();
            let partitions: Option<Vec<_>> = (0..count).map(row).collect();
            of_group.push(GroupTopic {
                topic: topic.clone(),
                partitions: partitions.ok_or(MISSING)?,
            });
        }
        let totals = row.differs.apply(&of_group, row.members.len());
        let group = GroupEvaluation {
            id: id.clone(),
            status: row.status,
            stale: row.stale,
            warming: row.warming,
            complete: row.complete,
            kind: row.kind,
            protocol_type: row.protocol_type,
            members: row.members,
            totals: totals.ok_or(Malformed("a sum is out of range"))?,
            topics: of_group,
        };
        groups.push((at, group));
    }
    Ok(groups)
}

/// A topic with its log offsets from its parts, likewise.
pub(super) fn topic(
    spans: Vec<LogSpan>,
    beats: Range<usize>,
) -> Result<Vec<(usize, TopicEvaluation)>, Malformed> {
    const MISSING: Malformed = Malformed("a part of a topic is missing");
    let mut series: BTreeMap<u32, IntoIter<TopicPartition>> = BTreeMap::new();
    let mut own = None;
    for span in spans {
        series.extend((span.from..).zip(span.series.into_iter().map(Vec::into_iter)));
        own = Some((span.topic, span.counts));
    }
    let mut topics = Vec::new();
    let Some((name, counts)) = own else {
        return Ok(topics);
    };
    for (at, count) in counts.iter().enumerate() {
        let Some(count) = count.checked_sub(1).filter(|_| beats.contains(&at)) else {
            continue;
        };
        let row = |partition| series.get_mut(&partition)?.next();
        let partitions: Option<Vec<_>> = (0..count).map(row).collect();
        let topic = TopicEvaluation {
            topic: name.clone(),
            partitions: partitions.ok_or(MISSING)?,
        };
        topics.push((at, topic));
    }
    Ok(topics)
}
