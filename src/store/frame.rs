//! What the journal keeps of one beat, and what sinks read from it.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::lag::evaluation::{Evaluation, Status};
use crate::lag::ids::{ClusterName, GroupId};

/// The number of a frame in the journal: 1 and up, growing. Numbers are missing only for frames that
/// never reached a full disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Seq(pub i64);

/// One journaled frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    pub seq: Seq,
    pub beat: Timestamp,
    /// How many points the frame stands for at full detail: the unit of all delivery counts.
    pub rows: u64,
    pub body: Body,
}

/// What a frame is about.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A cluster's evaluation, and what changed against the last journaled one.
    Evaluation {
        evaluation: Arc<Evaluation>,
        changes: Vec<StatusChange>,
    },
    /// The sinks' own state at the beat.
    Sinks(Vec<SinkRow>),
}

/// A group, or one of its partitions, went from one status to another.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusChange {
    pub cluster: ClusterName,
    pub group: GroupId,
    /// Topic and partition; absent for the change of the whole group.
    pub partition: Option<(crate::lag::ids::TopicName, i32)>,
    pub from: Status,
    pub to: Status,
    /// Why, in words.
    pub reason: String,
    pub beat: Timestamp,
}

/// How far a sink is, in rows.
///
/// `offered = delivered + filtered + rejected + expired + waiting` always holds.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Counts {
    pub offered: u64,
    pub delivered: u64,
    /// Left out by the sink's own options (detail, include, exclude, `every`).
    pub filtered: u64,
    /// Refused for good by the server: in the dead letters.
    pub rejected: u64,
    /// Fell off the journal before it could be delivered.
    pub expired: u64,
}

impl Counts {
    /// Offered and not settled yet.
    pub fn waiting(&self) -> u64 {
        self.offered
            .saturating_sub(self.delivered + self.filtered + self.rejected + self.expired)
    }
}

/// How far a sink is: the last frame all of whose rows are settled, and the counts up to and
/// including that frame (so nothing of them waits).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Cursor {
    pub seq: Seq,
    pub counts: Counts,
}

/// What a reader of the journal finds next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    Frame(Arc<Frame>),
    Hole(Hole),
}

/// Frames that a reader can never have: their rows count as offered and as expired.
#[derive(Clone, Debug, PartialEq)]
pub struct Hole {
    /// The first and the last missing frame.
    pub first: Seq,
    pub last: Seq,
    /// Rows of all of them.
    pub rows: u64,
    /// Beat of the frame before the hole, when the reader has seen one.
    pub after: Option<Timestamp>,
    /// Beat of the frame behind the hole.
    pub before: Timestamp,
    pub why: Missing,
}

/// Why frames are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The reader was too slow: they fell off the journal.
    Expired,
    /// What stands on disk cannot be decoded, and why.
    Corrupt(String),
}

/// One sink's state at a beat.
#[derive(Clone, Debug, PartialEq)]
pub struct SinkRow {
    pub sink: String,
    pub counts: Counts,
    /// Age of the oldest beat that is not delivered yet; 0 when none waits.
    pub oldest_waiting_s: f64,
}
