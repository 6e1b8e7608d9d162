//! Frames, beat by beat, into the series of one run.
//!
//! A run is a range of series, so narrow that an hour of it fits [`ROWS_IN_MEMORY`]: it is chosen
//! at the first beat that has any, and made narrower when more series come up than expected. What
//! is dropped then comes in the next run.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::block::{ROWS_TARGET, Runs};
use super::groups::{GroupBlock, GroupRow, GroupSpan, TopicSpan};
use super::key::Key;
use super::topics::{LogSpan, TopicBlock};
use crate::clock::Timestamp;
use crate::lag::evaluation::{
    GroupEvaluation, PartitionEvaluation, TopicEvaluation, TopicPartition,
};
use crate::lag::ids::{GroupId, TopicName};

/// Rows of group-partitions in memory at most: 40 MB.
pub(super) const ROWS_IN_MEMORY: usize = 256 << 10;

/// Rows of topic-partitions in memory at most: 48 MB.
pub(super) const LOGS_IN_MEMORY: usize = 1536 << 10;

/// What a row of a group itself weighs, in rows of partitions.
const GROUP_ROW: usize = 2;

/// A range of series: from a place on, up to one that is not in it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Range {
    pub(super) from: Key,
    /// Absent as long as it is not chosen: everything.
    pub(super) to: Option<Key>,
}

impl Range {
    pub(super) fn has(&self, key: &Key) -> bool {
        *key >= self.from && !self.is_before(key)
    }

    /// Whether it ends at this place or before.
    pub(super) fn is_before(&self, key: &Key) -> bool {
        self.to.as_ref().is_some_and(|to| to <= key)
    }

    /// The partitions of a topic that are in it: the first, and the one behind the last.
    fn partitions(&self, topic: &Key) -> (u32, u32) {
        let within = |key: &Key| -> Option<u32> {
            let rest = key.0.strip_prefix(topic.0.as_slice())?;
            Some(u32::from_be_bytes(rest.try_into().ok()?))
        };
        let from = match &self.from {
            from if from <= topic => 0,
            from => within(from).unwrap_or(u32::MAX),
        };
        let to = match &self.to {
            None => u32::MAX,
            Some(to) if to <= topic => 0,
            Some(to) => within(to).unwrap_or(u32::MAX),
        };
        (from, to)
    }
}

/// Some partitions of a topic, row by row.
#[derive(Debug)]
struct Span<R> {
    counts: Runs,
    from: u32,
    series: Vec<Vec<R>>,
}

impl<R: Clone> Span<R> {
    fn new(from: u32) -> Self {
        Self {
            counts: Runs::default(),
            from,
            series: Vec::new(),
        }
    }

    /// Notes the rows of a beat up to partition `to`, and gives how many these are.
    fn add(&mut self, at: u32, partitions: &[R], to: u32) -> usize {
        let count = u32::try_from(partitions.len()).unwrap_or(u32::MAX - 1);
        self.counts.set(at, count + 1);
        let range = self.from as usize..count.min(to) as usize;
        let rows = partitions.get(range).unwrap_or_default();
        if self.series.len() < rows.len() {
            self.series.resize_with(rows.len(), Vec::new);
        }
        for (series, row) in self.series.iter_mut().zip(rows) {
            series.push(row.clone());
        }
        rows.len()
    }

    fn rows(&self) -> usize {
        self.series.iter().map(Vec::len).sum()
    }

    /// Drops partition `to` and those behind it.
    fn cut(&mut self, to: u32) {
        self.series.truncate(to.saturating_sub(self.from) as usize);
    }
}

/// What is gathered of a group.
#[derive(Debug, Default)]
struct Group {
    present: Runs,
    rows: Vec<GroupRow>,
    topics: BTreeMap<TopicName, Span<PartitionEvaluation>>,
}

/// A run of groups that is being gathered.
#[derive(Debug)]
pub(super) struct Groups {
    pub(super) range: Range,
    pub(super) beats: Vec<Timestamp>,
    groups: BTreeMap<GroupId, Group>,
    rows: usize,
    limit: usize,
    /// Rows of one beat after which the range ends, and the beat that this is decided at: the first
    /// with any.
    at_first: usize,
    first: Option<usize>,
}

impl Groups {
    /// A run from `from` on, of `beats` beats, with at most `limit` rows.
    pub(super) fn new(from: Key, beats: usize, limit: usize) -> Self {
        Self {
            range: Range { from, to: None },
            beats: Vec::new(),
            groups: BTreeMap::new(),
            rows: 0,
            limit,
            at_first: (limit / 4 * 3 / beats.max(1)).max(1),
            first: None,
        }
    }

    /// Begins the next beat, whose groups come in their order.
    pub(super) fn begin(&mut self, beat: Timestamp) {
        self.beats.push(beat);
    }

    /// Takes what is in the run of a group. False when it and what follows are behind the run.
    pub(super) fn add(&mut self, group: &GroupEvaluation) -> bool {
        let key = Key::name(group.id.as_str());
        if self.range.is_before(&key) {
            return false;
        }
        if key.end() < self.range.from {
            return true;
        }
        let at = u32::try_from(self.beats.len().saturating_sub(1)).unwrap_or(u32::MAX);
        self.choose_end(group, &key);
        if self.range.is_before(&key) {
            return false;
        }
        let has_rows = self.range.has(&key);
        let mut gathered = self.groups.remove(&group.id).unwrap_or_default();
        if has_rows {
            gathered.present.set(at, 1);
            gathered.rows.push(GroupRow::of(group));
            self.rows += GROUP_ROW;
        }
        for topic in &group.topics {
            let (from, to) = self.range.partitions(&key.within(topic.topic.as_str()));
            if from < to {
                let span = gathered.topics.entry(topic.topic.clone());
                let span = span.or_insert_with(|| Span::new(from));
                self.rows += span.add(at, &topic.partitions, to);
            }
        }
        self.groups.insert(group.id.clone(), gathered);
        while self.rows > self.limit && self.narrow() {}
        true
    }

    /// Ends the range at this group, or within it, when the first beat has enough before it.
    fn choose_end(&mut self, group: &GroupEvaluation, key: &Key) {
        let now = self.beats.len();
        if self.range.to.is_some() || *self.first.get_or_insert(now) != now {
            return;
        }
        let sizes = group.topics.iter().map(|topic| topic.partitions.len());
        let size = GROUP_ROW + sizes.sum::<usize>();
        let room = self.at_first.saturating_sub(self.rows);
        if size <= room {
            return;
        }
        if self.rows > 0 {
            self.range.to = Some(key.clone());
            return;
        }
        let mut left = room.max(1);
        for topic in &group.topics {
            let topic_key = key.within(topic.topic.as_str());
            let (from, to) = self.range.partitions(&topic_key);
            let count = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
            let here = to.min(count).saturating_sub(from) as usize;
            if here > left {
                let at = from.saturating_add(u32::try_from(left).unwrap_or(u32::MAX));
                self.range.to = Some(topic_key.partition(at));
                return;
            }
            left -= here;
            if left == 0 {
                self.range.to = Some(topic_key.end());
                return;
            }
        }
    }

    /// Drops the upper half of the series. False when there is only one.
    fn narrow(&mut self) -> bool {
        let half = self.rows / 2;
        let mut sum = 0;
        let mut cut = None;
        'search: for (id, group) in &self.groups {
            let key = Key::name(id.as_str());
            if sum > half {
                cut = Some((id.clone(), None, key));
                break;
            }
            sum += GROUP_ROW * group.rows.len();
            for (topic, span) in &group.topics {
                let key = key.within(topic.as_str());
                for (partition, rows) in (span.from..).zip(&span.series) {
                    if sum > half {
                        let key = key.partition(partition);
                        cut = Some((id.clone(), Some((topic.clone(), partition)), key));
                        break 'search;
                    }
                    sum += rows.len();
                }
            }
        }
        let Some((id, within, key)) = cut else {
            return false;
        };
        let mut dropped = self.groups.split_off(&id);
        if let (Some((topic, partition)), Some(mut group)) = (within, dropped.remove(&id)) {
            let mut behind = group.topics.split_off(&topic);
            if let Some(mut span) = behind.remove(&topic) {
                span.cut(partition);
                group.topics.insert(topic, span);
            }
            self.groups.insert(id, group);
        }
        self.range.to = Some(key);
        self.rows = self.groups.values().map(Group::weight).sum();
        true
    }

    /// What was gathered, in blocks.
    pub(super) fn into_blocks(self) -> Vec<GroupBlock> {
        let mut blocks = Blocks {
            subjects_max: subjects_max(self.beats.len()),
            beats: self.beats,
            done: Vec::new(),
            groups: Vec::new(),
            rows: 0,
            subjects: 0,
        };
        for (id, group) in self.groups {
            blocks.group(id, group);
        }
        blocks.flush();
        blocks.done
    }
}

impl Group {
    fn weight(&self) -> usize {
        let partitions = self.topics.values().map(Span::rows);
        GROUP_ROW * self.rows.len() + partitions.sum::<usize>()
    }
}

/// Rollups that are written together with one block, at most: some 15 ms.
const ROLLUPS_TARGET: usize = 1500;

/// Groups, and topics of groups, after which a block of so many beats ends: a block is written in
/// one transaction with its rollups, which are of up to twelve spans of five minutes and of the hour.
fn subjects_max(beats: usize) -> usize {
    ROLLUPS_TARGET / (beats.clamp(1, 12) + 1)
}

/// Groups that are being cut into blocks.
struct Blocks {
    beats: Vec<Timestamp>,
    done: Vec<GroupBlock>,
    groups: Vec<GroupSpan>,
    rows: usize,
    subjects: usize,
    subjects_max: usize,
}

impl Blocks {
    fn flush(&mut self) {
        if !self.groups.is_empty() {
            self.done.push(GroupBlock {
                beats: self.beats.clone(),
                groups: std::mem::take(&mut self.groups),
            });
        }
        self.rows = 0;
        self.subjects = 0;
    }

    fn group(&mut self, id: GroupId, group: Group) {
        let all = group.weight();
        if self.subjects + 1 + group.topics.len() > self.subjects_max {
            self.flush();
        }
        // A group that fits one block is not torn for another one's sake.
        if self.rows > 0 && self.rows + group.rows.len() > ROWS_TARGET
            || all <= ROWS_TARGET && self.rows + all > ROWS_TARGET
        {
            self.flush();
        }
        if !group.rows.is_empty() {
            self.rows += group.rows.len();
            self.subjects += 1;
            self.groups.push(GroupSpan {
                id: id.clone(),
                present: group.present,
                rows: group.rows,
                topics: Vec::new(),
            });
        }
        for (topic, span) in group.topics {
            if span.from == 0 || !span.series.is_empty() {
                self.topic(&id, topic, span);
            }
        }
    }

    fn topic(&mut self, id: &GroupId, topic: TopicName, span: Span<PartitionEvaluation>) {
        if self.subjects >= self.subjects_max {
            self.flush();
        }
        self.subjects += 1;
        let mut part = TopicSpan {
            topic,
            counts: span.counts,
            from: span.from,
            series: Vec::new(),
        };
        for (partition, rows) in (span.from..).zip(span.series) {
            if self.rows > 0 && self.rows + rows.len() > ROWS_TARGET {
                if !part.series.is_empty() {
                    self.push(id, &mut part);
                }
                self.flush();
                part.from = partition;
            }
            self.rows += rows.len();
            part.series.push(rows);
        }
        self.push(id, &mut part);
    }

    /// Puts a part of a topic into the current block.
    fn push(&mut self, id: &GroupId, part: &mut TopicSpan) {
        if self.groups.last().is_none_or(|group| group.id != *id) {
            self.groups.push(GroupSpan {
                id: id.clone(),
                present: Runs::default(),
                rows: Vec::new(),
                topics: Vec::new(),
            });
        }
        if let Some(group) = self.groups.last_mut() {
            group.topics.push(TopicSpan {
                topic: part.topic.clone(),
                counts: part.counts.clone(),
                from: part.from,
                series: std::mem::take(&mut part.series),
            });
        }
    }
}

/// A run of topics that is being gathered.
#[derive(Debug)]
pub(super) struct Topics {
    pub(super) range: Range,
    pub(super) beats: Vec<Timestamp>,
    topics: BTreeMap<TopicName, Span<TopicPartition>>,
    rows: usize,
    limit: usize,
    at_first: usize,
    first: Option<usize>,
}

impl Topics {
    /// A run from `from` on, of `beats` beats, with at most `limit` rows.
    pub(super) fn new(from: Key, beats: usize, limit: usize) -> Self {
        Self {
            range: Range { from, to: None },
            beats: Vec::new(),
            topics: BTreeMap::new(),
            rows: 0,
            limit,
            at_first: (limit / 4 * 3 / beats.max(1)).max(1),
            first: None,
        }
    }

    /// Begins the next beat, whose topics come in their order.
    pub(super) fn begin(&mut self, beat: Timestamp) {
        self.beats.push(beat);
    }

    /// Takes what is in the run of a topic. False when it and what follows are behind the run.
    pub(super) fn add(&mut self, topic: &Arc<TopicEvaluation>) -> bool {
        let key = Key::name(topic.topic.as_str());
        if self.range.is_before(&key) {
            return false;
        }
        let at = u32::try_from(self.beats.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let (from, to) = self.range.partitions(&key);
        if from >= to {
            return true;
        }
        let count = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
        let now = self.beats.len();
        let room = self.at_first.saturating_sub(self.rows).max(1);
        let is_first = self.range.to.is_none() && *self.first.get_or_insert(now) == now;
        if is_first && count.saturating_sub(from) as usize > room {
            let room = u32::try_from(room).unwrap_or(u32::MAX);
            self.range.to = Some(key.partition(from.saturating_add(room)));
        }
        let (from, to) = self.range.partitions(&key);
        let span = self.topics.entry(topic.topic.clone());
        let span = span.or_insert_with(|| Span::new(from));
        self.rows += span.add(at, &topic.partitions, to);
        while self.rows > self.limit && self.narrow() {}
        true
    }

    /// Drops the upper half of the series. False when there is only one.
    fn narrow(&mut self) -> bool {
        let half = self.rows / 2;
        let mut sum = 0;
        let mut cut = None;
        'search: for (topic, span) in &self.topics {
            for (partition, rows) in (span.from..).zip(&span.series) {
                if sum > half {
                    cut = Some((topic.clone(), partition));
                    break 'search;
                }
                sum += rows.len();
            }
        }
        let Some((topic, partition)) = cut else {
            return false;
        };
        self.range.to = Some(Key::name(topic.as_str()).partition(partition));
        let mut behind = self.topics.split_off(&topic);
        if let Some(mut span) = behind.remove(&topic) {
            span.cut(partition);
            self.topics.insert(topic, span);
        }
        self.rows = self.topics.values().map(Span::rows).sum();
        true
    }

    /// What was gathered, in blocks.
    pub(super) fn into_blocks(self) -> Vec<TopicBlock> {
        let subjects_max = subjects_max(self.beats.len());
        let mut done = Vec::new();
        let mut block = TopicBlock {
            beats: self.beats,
            topics: Vec::new(),
        };
        let mut rows = 0;
        let mut flush = |block: &mut TopicBlock| {
            if !block.topics.is_empty() {
                let beats = block.beats.clone();
                let topics = std::mem::take(&mut block.topics);
                done.push(TopicBlock { beats, topics });
            }
        };
        for (topic, span) in self.topics {
            if span.from > 0 && span.series.is_empty() {
                continue;
            }
            if block.topics.len() >= subjects_max {
                flush(&mut block);
                rows = 0;
            }
            let mut part = LogSpan {
                topic,
                counts: span.counts,
                from: span.from,
                series: Vec::new(),
            };
            for (partition, log) in (span.from..).zip(span.series) {
                if rows > 0 && rows + log.len() > ROWS_TARGET {
                    if !part.series.is_empty() {
                        let series = std::mem::take(&mut part.series);
                        block.topics.push(LogSpan {
                            topic: part.topic.clone(),
                            counts: part.counts.clone(),
                            from: part.from,
                            series,
                        });
                    }
                    flush(&mut block);
                    rows = 0;
                    part.from = partition;
                }
                rows += log.len();
                part.series.push(log);
            }
            block.topics.push(part);
        }
        flush(&mut block);
        done
    }
}
