//! Who plays which part: the demo's topics and groups, as tables.
//!
//! Numbers are chosen so that every status is seen within half a minute and stays for days; what
//! each pace needs for that is said there. The memory of the simulated Kafka is bounded by the
//! number of partitions (it keeps 5 MiB of each), so there are few; with their rates that is five
//! hours of records or more, and no reader that is meant to be well lags as far.

use crate::lag::evaluation::Status;

/// A topic and what is written to it.
#[derive(Debug, PartialEq, Eq)]
pub struct TopicPlan {
    pub name: &'static str,
    pub partitions: i32,
    /// Records a second and partition on average; 0: nobody writes any more.
    pub rate: i64,
    /// Size of a record's value.
    pub record_bytes: usize,
    /// Many records at once, now and then.
    pub burst: Option<Burst>,
    /// A partition that has lost its leader: Kafka cannot tell its end offset.
    pub without_leader: Option<i32>,
}

/// Many records at once; each partition has its turn at another time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst {
    pub records: i64,
    /// In seconds.
    pub every: i64,
}

/// A group and what it shows.
#[derive(Debug, PartialEq, Eq)]
pub struct GroupPlan {
    pub name: &'static str,
    /// What can be seen on it, in words.
    pub shows: &'static str,
    pub topic: &'static str,
    pub members: Members,
    /// How each partition is read; empty: the group has never committed.
    pub paces: &'static [Pace],
}

/// Who is in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Members {
    /// It only commits: Kafka keeps no metadata of the group.
    Nobody,
    /// All have left.
    Left,
    /// So many consumers of the classic protocol.
    Classic(usize),
    /// So many workers of Kafka Connect.
    Connect(usize),
    /// So many consumers of the KIP-848 protocol.
    Kip848(usize),
}

/// How a group reads a partition. Where nothing else is said it commits every other second: then
/// a window of 10 commits is 20 s old at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Reads all there is and commits, every so many seconds. Each commit has no lag: OK, however
    /// much is written until the next one.
    Follow { every: i64 },
    /// Reads every four seconds and is never quite at the end. The lag of every other commit is
    /// smaller than the one before: OK.
    Lumps,
    /// Reads `speed` records a second. WARN as long as less is read between two commits than is
    /// written in one second: then the lag grows even if a poll of end offsets slips in between. At
    /// `limit` somebody helps it up, so that its records do not fall off the log.
    Slow { speed: i64, limit: i64 },
    /// Commits the same offset again and again: STALL.
    Stuck,
    /// Committed nothing since `silent` seconds before the start: STOP, as its last commits are
    /// much closer to each other.
    Dead { silent: i64 },
    /// Starts over from a checkpoint again and again: REWIND. A rewind is healed by any commit that
    /// comes as far as before it, so each round ends one record short of the last one.
    Rounds,
    /// Reads `speed` records a second, much faster than they are usually written: OK with less lag
    /// at each commit.
    WorkOff { speed: i64 },
}

impl Pace {
    /// What a partition read at this pace shows from half a minute after the start on. Every hour
    /// or two a slow or circling reader is moved to the end of the log, one partition at a time,
    /// and is OK for the length of a window.
    pub const fn status(self) -> Status {
        match self {
            Pace::Follow { .. } | Pace::Lumps | Pace::WorkOff { .. } => Status::Ok,
            Pace::Slow { .. } => Status::Warn,
            Pace::Stuck => Status::Stall,
            Pace::Dead { .. } => Status::Stop,
            Pace::Rounds => Status::Rewind,
        }
    }
}

const fn topic(name: &'static str, partitions: i32, rate: i64, record_bytes: usize) -> TopicPlan {
    TopicPlan {
        name,
        partitions,
        rate,
        record_bytes,
        burst: None,
        without_leader: None,
    }
}

/// Every topic.
pub static TOPICS: [TopicPlan; 10] = [
    topic("payments", 3, 8, 24),
    topic("orders", 3, 10, 16),
    topic("catalog-changes", 2, 4, 48),
    topic("notifications", 2, 2, 64),
    topic("ledger", 2, 5, 32),
    topic("clicks", 3, 12, 8),
    topic("shipments", 3, 3, 48),
    TopicPlan {
        burst: Some(Burst {
            records: 6_000,
            every: 900,
        }),
        ..topic("imports", 2, 1, 8)
    },
    TopicPlan {
        without_leader: Some(2),
        ..topic("audit-log", 3, 1, 96)
    },
    topic("tax-reports-2025", 1, 0, 32),
];

const EVERY_2_S: Pace = Pace::Follow { every: 2 };
const EVERY_5_S: Pace = Pace::Follow { every: 5 };
const EVERY_10_S: Pace = Pace::Follow { every: 10 };
const EVERY_MINUTE: Pace = Pace::Follow { every: 60 };
const DEAD: Pace = Pace::Dead { silent: 240 };
const IMPORT: Pace = Pace::WorkOff { speed: 8 };

/// Every group.
pub static GROUPS: [GroupPlan; 16] = [
    GroupPlan {
        name: "payments",
        shows: "OK: keeps up",
        topic: "payments",
        members: Members::Classic(3),
        paces: &[EVERY_2_S; 3],
    },
    GroupPlan {
        name: "fraud-detector",
        shows: "STOP: its members left four minutes before the start",
        topic: "payments",
        members: Members::Left,
        paces: &[DEAD; 3],
    },
    GroupPlan {
        name: "search-indexer",
        shows: "OK: healthy with a small lag",
        topic: "catalog-changes",
        members: Members::Classic(2),
        paces: &[Pace::Lumps; 2],
    },
    GroupPlan {
        name: "invoice-writer",
        shows: "WARN: reads a third of what is written, the lag grows",
        topic: "orders",
        members: Members::Classic(2),
        // The limits are far apart, so that only one partition at a time is helped up.
        paces: &[
            Pace::Slow {
                speed: 3,
                limit: 30_000,
            },
            Pace::Slow {
                speed: 3,
                limit: 40_000,
            },
            Pace::Slow {
                speed: 3,
                limit: 55_000,
            },
        ],
    },
    GroupPlan {
        name: "email-sender",
        shows: "STALL: commits, but always the same offset",
        topic: "notifications",
        members: Members::Classic(1),
        paces: &[Pace::Stuck; 2],
    },
    GroupPlan {
        name: "ledger-replayer",
        shows: "REWIND: starts over from its checkpoint every twelve seconds",
        topic: "ledger",
        members: Members::Classic(1),
        paces: &[Pace::Rounds; 2],
    },
    GroupPlan {
        name: "warehouse-import",
        shows: "OK: catching up with an import, look at its ETA",
        topic: "imports",
        members: Members::Classic(2),
        paces: &[IMPORT; 2],
    },
    GroupPlan {
        name: "analytics-loader",
        shows: "OK: a batch job, reads everything once a minute",
        topic: "clicks",
        members: Members::Classic(1),
        paces: &[EVERY_MINUTE; 3],
    },
    GroupPlan {
        name: "recommendations",
        shows: "OK: speaks the KIP-848 protocol",
        topic: "clicks",
        members: Members::Kip848(2),
        paces: &[EVERY_5_S; 3],
    },
    GroupPlan {
        name: "connect-s3-sink",
        shows: "OK: a sink of Kafka Connect, commits every ten seconds",
        topic: "orders",
        members: Members::Connect(2),
        paces: &[EVERY_10_S; 3],
    },
    GroupPlan {
        name: "shipping-router",
        shows: "ERR by one partition: 0 and 1 are OK, 2 stalls on a bad record",
        topic: "shipments",
        members: Members::Classic(3),
        paces: &[EVERY_2_S, EVERY_2_S, Pace::Stuck],
    },
    GroupPlan {
        name: "audit-archive",
        shows: "OK, lag of partition 2 unknown: it has no leader",
        topic: "audit-log",
        members: Members::Classic(1),
        paces: &[EVERY_5_S; 3],
    },
    GroupPlan {
        name: "legacy-reader",
        shows: "OK: commits without being a member of its group",
        topic: "orders",
        members: Members::Nobody,
        paces: &[EVERY_5_S; 3],
    },
    GroupPlan {
        name: "loyalty-points",
        shows: "new: owns partitions, has never committed",
        topic: "orders",
        members: Members::Classic(2),
        paces: &[],
    },
    GroupPlan {
        name: "tax-reports",
        shows: "OK: idle, nobody writes to its topic any more",
        topic: "tax-reports-2025",
        members: Members::Classic(1),
        paces: &[EVERY_5_S],
    },
    GroupPlan {
        name: "отчёты \"Q4\"\n<img src=x onerror=alert(1)> 100%/день 😀\\",
        shows: "OK: a name with HTML, a line break, quotes and a backslash",
        topic: "payments",
        members: Members::Classic(1),
        paces: &[EVERY_5_S; 3],
    },
];

/// The plan of a topic that a group names.
pub fn topic_of(group: &GroupPlan) -> Option<&'static TopicPlan> {
    TOPICS.iter().find(|topic| topic.name == group.topic)
}
