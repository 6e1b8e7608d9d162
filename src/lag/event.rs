//! Everything that can happen to a cluster, and what applying it did.
//!
//! Events borrow their names: the readers hand over [`EventBatch`]es, which keep all names of a
//! batch in one piece of memory, so that reading a million commits a second allocates nothing for
//! each of them.

use std::fmt;

use super::ids::{Order, TopicId, TopicName};
use crate::clock::Timestamp;

/// One thing that happened to a cluster.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event<'a> {
    /// A group committed an offset.
    Committed(Commit<'a>),
    /// The tombstone of one committed offset: expired, deleted by hand, or its topic was deleted.
    CommitDeleted {
        group: &'a str,
        topic: &'a str,
        partition: i32,
        order: Order,
    },
    /// Something about a group's kind or members changed.
    GroupChanged {
        group: &'a str,
        order: Order,
        change: &'a GroupChange,
    },
    /// The tombstone of a group's metadata: its membership is gone (it may keep its offsets, for
    /// instance when it moved to the KIP-848 protocol).
    GroupDeleted {
        group: &'a str,
        order: Order,
        kind: GroupKind,
    },
    /// The log offsets of one topic's partitions as Kafka answered at `at`.
    LogOffsets {
        topic: &'a str,
        partitions: &'a [PartitionLog],
        /// When the answer arrived.
        at: Timestamp,
        /// Whether this is one of the regular polls that feed the rules' ring of end offsets
        /// (`offset_refresh`), or only the fetch of a beat in between.
        poll: bool,
    },
    /// Past end offsets of one partition, asked for after a start: (moment, end offset then),
    /// oldest first. Empty when Kafka could not say.
    LogHistory {
        topic: &'a str,
        partition: i32,
        points: &'a [(Timestamp, i64)],
    },
    /// A topic exists with this many partitions (and, when Kafka told it, this id).
    TopicChanged {
        topic: &'a str,
        id: Option<TopicId>,
        partitions: i32,
        /// The last question whose answer still showed what was known before.
        until: TopicsAsked,
    },
    /// A topic is gone: missing from three complete, successful metadata answers.
    TopicDeleted {
        topic: &'a str,
        /// The last question whose answer lacked it.
        until: TopicsAsked,
    },
    /// How far one partition of the offsets topic has been read.
    ReaderProgress(ReaderProgress),
    /// Whether the cluster answers.
    Connection(&'a Connection),
}

/// The number of a question for Kafka's topics, counted from 1.
///
/// What was applied before the question was asked is older than its answer; what was applied since
/// may be newer. No clock tells that as surely: one can be stepped between the two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopicsAsked(pub u64);

/// A committed offset.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Commit<'a> {
    pub group: &'a str,
    pub topic: &'a str,
    pub partition: i32,
    /// Place of the commit record among the group's commits.
    pub order: Order,
    /// The next offset the group will read.
    pub offset: i64,
    /// The commit's own timestamp, given by the broker.
    pub timestamp: Timestamp,
    /// The topic's id, when the record carries it (Kafka 4.1 and later).
    pub topic_id: Option<TopicId>,
}

/// Which protocol a group speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupKind {
    /// JoinGroup/SyncGroup, and groups that only commit.
    Classic,
    /// KIP-848 consumer group.
    Consumer,
    /// KIP-932 share group: has no committed offsets here.
    Share,
    /// KIP-1071 streams group.
    Streams,
}

impl GroupKind {
    /// A number for it, below 8.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The kind with this number.
    pub const fn from_code(code: u8) -> Option<GroupKind> {
        Some(match code {
            0 => GroupKind::Classic,
            1 => GroupKind::Consumer,
            2 => GroupKind::Share,
            3 => GroupKind::Streams,
            _ => return None,
        })
    }
}

/// A change of a group's kind or membership.
#[derive(Clone, Debug, PartialEq)]
pub enum GroupChange {
    /// The whole membership of a classic group.
    Classic {
        /// "consumer", "connect", ...; empty for a group that only commits.
        protocol_type: String,
        generation: i32,
        members: Vec<MemberChange>,
    },
    /// The group is of this kind (types 3, 11, 17).
    Kind(GroupKind),
    /// A KIP-848 member joined or changed.
    MemberJoined(MemberChange),
    /// A KIP-848 member's current assignment: topic ids and partitions.
    MemberAssigned {
        member_id: String,
        partitions: Vec<(TopicId, i32)>,
    },
    /// A KIP-848 member left.
    MemberLeft { member_id: String },
}

/// A member as the group's metadata tells it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct MemberChange {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    /// With Kafka's leading slash.
    pub client_host: String,
    /// Topic and partitions of a classic consumer assignment; empty otherwise.
    pub assignment: Vec<(String, Vec<i32>)>,
}

/// What Kafka said about one partition's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionLog {
    pub partition: i32,
    /// Log start offset; absent when Kafka gave an error.
    pub start: Option<i64>,
    /// Log end offset; absent when Kafka gave an error.
    pub end: Option<i64>,
}

/// How far one partition of the offsets topic has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReaderProgress {
    /// Partition of the offsets topic.
    pub partition: i32,
    /// How many partitions the offsets topic has; 0 while it does not exist.
    pub partitions: i32,
    /// Offset where this life of the reader began: the log start offset at that time, or where
    /// another process had stopped.
    pub from: i64,
    /// Next offset to read.
    pub position: i64,
    /// The end that must be reached: at the start the log end offset seen then, afterwards the
    /// newest known one.
    pub end: i64,
    /// Every record from this offset up to `position` was seen: the offset after the last gap that
    /// compaction (or a control record) has left; `from` when there was none. In front of it only
    /// the last commit of each group-partition survives, so the history there is cut short.
    pub complete_from: i64,
    /// The reader has been at `end` (or saw the end of the partition) at least once.
    pub caught_up: bool,
    /// When this was true.
    pub at: Timestamp,
}

/// Where a reader stands in the offsets topic: what another process needs to go on there, with the
/// same order of commits.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ReaderPosition {
    /// The cluster's own id; absent when Kafka does not tell it.
    pub cluster_id: Option<String>,
    /// The offsets topic's id; absent when Kafka does not tell it (before 2.8).
    pub topic_id: Option<TopicId>,
    /// Which life of the topic this is.
    pub life: u8,
    /// Partition counts the topic has had in this life, oldest first.
    pub sizes: Vec<i32>,
    /// By number.
    pub partitions: Vec<PartitionPosition>,
}

/// Where a reader stands in one partition of the offsets topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PartitionPosition {
    /// Next offset to read.
    pub position: i64,
    /// See [`ReaderProgress::complete_from`].
    pub complete_from: i64,
    /// How often the partition was truncated.
    pub truncations: u16,
}

/// Whether a cluster answers, and what it looks like.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Connection {
    /// The last question was answered.
    pub up: bool,
    /// Why not, in words that name the next step; absent while up.
    pub reason: Option<String>,
    /// Number of brokers, when known.
    pub brokers: Option<u32>,
    /// Broker clock minus own clock in milliseconds, when measured.
    pub clock_offset_ms: Option<i64>,
}

/// What applying an event did. Every event has exactly one outcome; all are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Applied {
    /// A commit became the newest of its window.
    Appended,
    /// A commit that arrived late took its place in the window.
    Inserted,
    /// A commit replaced the one before it (`min_distance`).
    Merged,
    /// Already known.
    Duplicate,
    /// Older than `expire_group`, or than everything in a full window.
    TooOld,
    /// The configuration denies the group.
    Filtered,
    /// A limit for groups or partitions is reached.
    OverLimit,
    /// Something was removed.
    Removed,
    /// Taken note of (log offsets, topics, members, progress).
    Noted,
    /// Impossible content: a negative partition or offset.
    Invalid,
}

impl Applied {
    /// Every outcome, in counter order.
    pub const ALL: [Applied; 10] = [
        Applied::Appended,
        Applied::Inserted,
        Applied::Merged,
        Applied::Duplicate,
        Applied::TooOld,
        Applied::Filtered,
        Applied::OverLimit,
        Applied::Removed,
        Applied::Noted,
        Applied::Invalid,
    ];

    /// The outcome as a metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Applied::Appended => "appended",
            Applied::Inserted => "inserted",
            Applied::Merged => "merged",
            Applied::Duplicate => "duplicate",
            Applied::TooOld => "too_old",
            Applied::Filtered => "filtered",
            Applied::OverLimit => "over_limit",
            Applied::Removed => "removed",
            Applied::Noted => "noted",
            Applied::Invalid => "invalid",
        }
    }
}

/// How many events had which outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppliedCounts([u64; Applied::ALL.len()]);

impl AppliedCounts {
    /// Counts one outcome.
    pub fn add(&mut self, outcome: Applied) {
        self.0[outcome as usize] += 1;
    }

    /// Adds all counts of `other`.
    pub fn merge(&mut self, other: &AppliedCounts) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// How often `outcome` happened.
    pub fn of(&self, outcome: Applied) -> u64 {
        self.0[outcome as usize]
    }
}

/// Many events in a few pieces of memory, in the order they were pushed.
#[derive(Default)]
pub struct EventBatch {
    names: String,
    rows: Vec<Row>,
    position: Option<Box<ReaderPosition>>,
}

enum Row {
    Committed(CommitRow),
    CommitDeleted {
        names: NameRange,
        partition: i32,
        order: Order,
    },
    GroupChanged {
        names: NameRange,
        order: Order,
        change: Box<GroupChange>,
    },
    GroupDeleted {
        names: NameRange,
        order: Order,
        kind: GroupKind,
    },
    ReaderProgress(Box<ReaderProgress>),
}

struct CommitRow {
    names: NameRange,
    partition: i32,
    order: Order,
    offset: i64,
    timestamp: Timestamp,
    topic_id: Option<Box<TopicId>>,
}

/// A group name and a topic name that stand one after the other in `EventBatch::names`.
#[derive(Clone, Copy)]
struct NameRange {
    start: u32,
    group: u32,
    topic: u32,
}

impl EventBatch {
    /// Appends a commit.
    pub fn push_commit(&mut self, commit: &Commit<'_>) {
        let names = self.store(commit.group, commit.topic);
        self.rows.push(Row::Committed(CommitRow {
            names,
            partition: commit.partition,
            order: commit.order,
            offset: commit.offset,
            timestamp: commit.timestamp,
            topic_id: commit.topic_id.map(Box::new),
        }));
    }

    /// Appends the tombstone of a commit.
    pub fn push_commit_deleted(&mut self, group: &str, topic: &str, partition: i32, order: Order) {
        let names = self.store(group, topic);
        self.rows.push(Row::CommitDeleted {
            names,
            partition,
            order,
        });
    }

    /// Appends a change of a group.
    pub fn push_group_changed(&mut self, group: &str, order: Order, change: GroupChange) {
        let names = self.store(group, "");
        self.rows.push(Row::GroupChanged {
            names,
            order,
            change: Box::new(change),
        });
    }

    /// Appends the tombstone of a group.
    pub fn push_group_deleted(&mut self, group: &str, order: Order, kind: GroupKind) {
        let names = self.store(group, "");
        self.rows.push(Row::GroupDeleted { names, order, kind });
    }

    /// Appends the reader's progress.
    pub fn push_progress(&mut self, progress: ReaderProgress) {
        self.rows.push(Row::ReaderProgress(Box::new(progress)));
    }

    /// Notes where the reader stands behind the last event.
    pub fn set_position(&mut self, position: Option<ReaderPosition>) {
        self.position = position.map(Box::new);
    }

    /// Where the reader stands behind the last event: everything in front of it was in this batch
    /// and those before it, and nothing else. Absent while nobody could go on from there.
    pub fn position(&self) -> Option<&ReaderPosition> {
        self.position.as_deref()
    }

    /// How many events are in the batch.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether the batch has no event.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Empties the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.names.clear();
        self.rows.clear();
        self.position = None;
    }

    /// The events in the order they were pushed.
    pub fn iter(&self) -> impl Iterator<Item = Event<'_>> {
        self.rows.iter().map(|row| self.event(row))
    }

    fn event<'a>(&'a self, row: &'a Row) -> Event<'a> {
        match row {
            Row::Committed(row) => Event::Committed(Commit {
                group: self.group(row.names),
                topic: self.topic(row.names),
                partition: row.partition,
                order: row.order,
                offset: row.offset,
                timestamp: row.timestamp,
                topic_id: row.topic_id.as_deref().copied(),
            }),
            Row::CommitDeleted {
                names,
                partition,
                order,
            } => Event::CommitDeleted {
                group: self.group(*names),
                topic: self.topic(*names),
                partition: *partition,
                order: *order,
            },
            Row::GroupChanged {
                names,
                order,
                change,
            } => Event::GroupChanged {
                group: self.group(*names),
                order: *order,
                change,
            },
            Row::GroupDeleted { names, order, kind } => Event::GroupDeleted {
                group: self.group(*names),
                order: *order,
                kind: *kind,
            },
            Row::ReaderProgress(progress) => Event::ReaderProgress(**progress),
        }
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "asserted: a batch stays below 4 GiB"
    )]
    fn store(&mut self, group: &str, topic: &str) -> NameRange {
        let start = self.names.len();
        assert!(
            start + group.len() + topic.len() <= u32::MAX as usize,
            "a batch below 4 GiB"
        );
        self.names.push_str(group);
        self.names.push_str(topic);
        NameRange {
            start: start as u32,
            group: group.len() as u32,
            topic: topic.len() as u32,
        }
    }

    fn group(&self, names: NameRange) -> &str {
        let start = names.start as usize;
        &self.names[start..start + names.group as usize]
    }

    fn topic(&self, names: NameRange) -> &str {
        let start = names.start as usize + names.group as usize;
        &self.names[start..start + names.topic as usize]
    }
}

impl fmt::Debug for EventBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A question the core has for Kafka: which end offsets did this partition have at these moments?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogQuestion {
    pub topic: TopicName,
    pub partition: i32,
    /// Oldest first.
    pub at: Vec<Timestamp>,
}
