//! The result of one beat: what every output of lagline reads.
//!
//! The page, the API, the metrics, the reports, the journal and the sinks all start from the same
//! [`Evaluation`], so no two outputs can disagree. Unknown numbers are absent, never 0 or -1.
//! Groups, topics and partitions are sorted, so that every output has one order.

use std::fmt;
use std::sync::Arc;

use super::event::{AppliedCounts, GroupKind};
use super::ids::{ClusterName, GroupId, TopicName};
use super::optional::{EpochSeconds, MaybeF32, MaybeI64};
use super::reason::Reason;
use crate::clock::Timestamp;

/// How a partition or a group is doing. The numbers are Burrow's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Status {
    NotFound = 0,
    Ok = 1,
    Warn = 2,
    Err = 3,
    Stop = 4,
    Stall = 5,
    Rewind = 6,
}

impl Status {
    /// Burrow's number.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The status with this number.
    pub const fn from_code(code: u8) -> Option<Status> {
        Some(match code {
            0 => Status::NotFound,
            1 => Status::Ok,
            2 => Status::Warn,
            3 => Status::Err,
            4 => Status::Stop,
            5 => Status::Stall,
            6 => Status::Rewind,
            _ => return None,
        })
    }

    /// Burrow's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::NotFound => "NOTFOUND",
            Status::Ok => "OK",
            Status::Warn => "WARN",
            Status::Err => "ERR",
            Status::Stop => "STOP",
            Status::Stall => "STALL",
            Status::Rewind => "REWIND",
        }
    }

    /// What a group becomes by a partition of this status: anything worse than WARN is ERR.
    pub const fn for_group(self) -> Status {
        match self {
            Status::NotFound | Status::Ok => Status::Ok,
            Status::Warn => Status::Warn,
            Status::Err | Status::Stop | Status::Stall | Status::Rewind => Status::Err,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One cluster at one beat.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    pub cluster: ClusterName,
    /// The moment everything in here is about; every point written carries it.
    pub beat: Timestamp,
    pub phase: Phase,
    pub summary: ClusterSummary,
    /// Sorted by id. Empty while loading.
    pub groups: Vec<Arc<GroupEvaluation>>,
    /// Every topic of the cluster, sorted by name. Empty while loading.
    pub topics: Vec<Arc<TopicEvaluation>>,
}

/// Whether a cluster's groups are known yet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Phase {
    /// The offsets topic does not exist yet (nobody has ever committed), or nothing is known about
    /// it because the cluster has not answered.
    Waiting,
    /// The offsets topic is read for the first time.
    Loading {
        /// Records read so far.
        read: i64,
        /// Records to read; 0 until it is known.
        total: i64,
    },
    /// Everything up to now is known.
    Running,
}

/// The cluster as a whole.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ClusterSummary {
    /// Kafka answered for this beat.
    pub up: bool,
    /// Why not; absent while up.
    pub reason: Option<String>,
    pub brokers: Option<u32>,
    pub groups: u32,
    /// Groups in WARN or ERR.
    pub groups_bad: u32,
    pub topics: u32,
    /// Partitions of all topics.
    pub partitions: u32,
    /// Sum of the known lags of all groups; absent when none is known.
    pub lag: MaybeI64,
    /// How long making this evaluation took, without waiting for Kafka; set by the monitor.
    pub evaluate_ms: MaybeF32,
    /// Age of the oldest end offset used, in seconds.
    pub offsets_age_s: MaybeF32,
    /// Records of the offsets topic that lagline has not read yet.
    pub reader_lag: MaybeI64,
    /// Broker clock minus own clock in milliseconds.
    pub clock_offset_ms: MaybeI64,
    /// Outcomes of all events applied so far. Not stored.
    pub applied: AppliedCounts,
}

/// One consumer group at one beat.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupEvaluation {
    pub id: GroupId,
    /// OK, WARN or ERR.
    pub status: Status,
    /// The status is an older one, kept because lagline cannot see the group at the moment.
    pub stale: bool,
    /// Just loaded; the commits' lags are still being asked for.
    pub warming: bool,
    /// Partitions with a full window / all partitions; 0 without any (Burrow).
    pub complete: f32,
    pub kind: GroupKind,
    /// "consumer", "connect", ...; empty when no metadata is known.
    pub protocol_type: Arc<str>,
    /// Members with client id and host, sorted by member id; shared between beats.
    pub members: Arc<[Member]>,
    /// Sorted by topic name.
    pub topics: Vec<GroupTopic>,
    pub totals: GroupTotals,
}

/// Sums over the partitions of a group. Sums are over the known partitions.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct GroupTotals {
    /// Sum of the partitions' lags now; absent when none is known.
    pub lag: MaybeI64,
    /// Sum of Burrow's `current_lag`.
    pub total_lag: i64,
    /// Place of the partition with the greatest `current_lag`, the first on ties: index into
    /// `topics`, index into its `partitions`. Absent without partitions.
    pub max_lag: Option<(u32, u32)>,
    /// Place of the worst partition, the first on ties; absent when all are OK.
    pub worst: Option<(u32, u32)>,
    pub partitions: u32,
    pub partitions_ok: u32,
    pub partitions_warn: u32,
    pub partitions_stop: u32,
    pub partitions_stall: u32,
    pub partitions_rewind: u32,
    /// Partitions of its topics without any commit (not counted in `partitions_ok`).
    pub partitions_no_commit: u32,
    /// Partitions with a commit whose lag is unknown at this beat.
    pub partitions_unknown: u32,
    pub members: u32,
    /// The longest time lag of its partitions.
    pub time_lag: Option<TimeLag>,
    /// Seconds until caught up at the current rates; absent when not catching up.
    pub eta_s: MaybeF32,
    /// Records a second, summed over the known partitions.
    pub consume_rate: MaybeF32,
    pub produce_rate: MaybeF32,
    /// Records that fell off the log before the group read them.
    pub records_lost: MaybeI64,
    /// The greatest share of the retained log that is still to be read, 0 to 1.
    pub retention_used: MaybeF32,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub id: Arc<str>,
    pub instance_id: Option<Arc<str>>,
    pub client_id: Arc<str>,
    /// With Kafka's leading slash.
    pub client_host: Arc<str>,
}

/// One topic of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupTopic {
    pub topic: TopicName,
    /// Index = partition. Also holds the partitions without a commit, up to the topic's count.
    pub partitions: Vec<PartitionEvaluation>,
}

/// One partition of a group. There are very many of these: keep it small.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct PartitionEvaluation {
    /// First and last commit of the window; absent without a commit. The first is not stored.
    pub start: Option<CommitView>,
    pub end: Option<CommitView>,
    /// `max(0, log end - committed)` with the end offset of this beat; absent when unknown.
    pub lag: MaybeI64,
    /// Burrow's: newest polled end offset minus newest commit, at least 0; 0 without a commit.
    pub current_lag: i64,
    /// Log end offset of this beat; absent when Kafka did not say.
    pub end_offset: MaybeI64,
    pub time_lag: Option<TimeLag>,
    /// Seconds until caught up; absent when not catching up.
    pub eta_s: MaybeF32,
    /// Records a second.
    pub consume_rate: MaybeF32,
    pub produce_rate: MaybeF32,
    /// Records that fell off the log unread (log start - committed), when positive.
    pub records_lost: MaybeI64,
    /// Lag as a share of the retained log, 0 to 1.
    pub retention_used: MaybeF32,
    /// Seconds until the committed offset falls off the log at the current rates.
    pub retention_left_s: MaybeF32,
    /// Stored commits / intervals (Burrow).
    pub complete: f32,
    /// Index into the group's members plus one; 0 without an owner.
    pub owner: u32,
    pub status: Option<PartitionStatus>,
}

const _: () = assert!(size_of::<PartitionEvaluation>() == 152);

impl PartitionEvaluation {
    /// The partition's status; OK when nothing is wrong.
    pub fn status(&self) -> Status {
        self.status.as_ref().map_or(Status::Ok, |s| s.status)
    }

    /// Whether the group ever committed here.
    pub fn has_commit(&self) -> bool {
        self.end.is_some()
    }

    /// The member that reads this partition.
    pub fn owner<'a>(&self, members: &'a [Member]) -> Option<&'a Member> {
        members.get(usize::try_from(self.owner).ok()?.checked_sub(1)?)
    }
}

/// A status worse than OK with its reason.
#[derive(Clone, Debug, PartialEq)]
pub struct PartitionStatus {
    pub status: Status,
    /// Why, with the numbers. Absent in an evaluation read back from the store.
    pub reason: Option<Box<Reason>>,
}

/// A stored commit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CommitView {
    pub offset: i64,
    pub timestamp: Timestamp,
    /// When lagline saw it (Burrow truncates to seconds). Not stored.
    pub observed_at: EpochSeconds,
    /// Lag at that moment; absent for a commit that was inserted behind newer ones.
    pub lag: MaybeI64,
}

/// Age of the oldest record not yet consumed, and how well it is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimeLag {
    pub seconds: f32,
    /// The true value is within this many seconds; absent for `AtLeast`.
    pub error_s: MaybeF32,
    pub method: TimeLagMethod,
}

/// How a time lag was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum TimeLagMethod {
    /// The lag is within `allowed_lag`: 0 s.
    CaughtUp = 0,
    /// Between two polled end offsets.
    Interpolated = 1,
    /// Between two answers of timestamped ListOffsets.
    Seeded = 2,
    /// Beyond everything known: the true value is this or more.
    AtLeast = 3,
}

impl TimeLagMethod {
    /// The method as a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            TimeLagMethod::CaughtUp => "caught_up",
            TimeLagMethod::Interpolated => "interpolated",
            TimeLagMethod::Seeded => "seeded",
            TimeLagMethod::AtLeast => "at_least",
        }
    }
}

/// One topic at one beat, whoever reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicEvaluation {
    pub topic: TopicName,
    /// Index = partition.
    pub partitions: Vec<TopicPartition>,
}

/// One partition's log at one beat.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct TopicPartition {
    /// Log start offset of this beat; absent when Kafka did not say.
    pub begin: MaybeI64,
    /// Log end offset of this beat; absent when Kafka did not say.
    pub end: MaybeI64,
    /// The last end offset ever known; absent when there never was one. Not stored.
    pub last_end: MaybeI64,
    /// Records a second.
    pub produce_rate: MaybeF32,
}

impl Evaluation {
    /// The group with this id.
    pub fn group(&self, id: &str) -> Option<&Arc<GroupEvaluation>> {
        let at = self
            .groups
            .binary_search_by(|g| g.id.as_str().cmp(id))
            .ok()?;
        self.groups.get(at)
    }

    /// The topic with this name.
    pub fn topic(&self, name: &str) -> Option<&Arc<TopicEvaluation>> {
        let at = self
            .topics
            .binary_search_by(|t| t.topic.as_str().cmp(name))
            .ok()?;
        self.topics.get(at)
    }
}

impl GroupEvaluation {
    /// The partition at a place of [`GroupTotals`].
    pub fn at(
        &self,
        (topic, partition): (u32, u32),
    ) -> Option<(&GroupTopic, &PartitionEvaluation)> {
        let topic = self.topics.get(topic as usize)?;
        Some((topic, topic.partitions.get(partition as usize)?))
    }
}
