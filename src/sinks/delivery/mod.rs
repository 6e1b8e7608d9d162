//! The one loop that carries frames to sinks, whatever their kind.
//!
//! A [`Worker`] reads the journal in order, leaves out what its sink does not want, cuts the rest
//! into batches and has the sink send them, oldest first. Everything a sink does not do happens
//! here, once: time-outs, waiting, trying again, splitting, dead letters, expiry, counting.
//!
//! Two rules carry the promises made to the operator:
//!
//! - **The cursor moves over whole settled frames only.** A point is settled when it is delivered,
//!   left out, refused for good (and in the dead letters) or too old. So the persisted counts obey
//!   `offered = delivered + filtered + rejected + expired` after every kill, and what was in the air
//!   is sent again.
//! - **Memory does not depend on the outage.** A worker reads on only while it has room: few
//!   batches, and few rows of frames that are not settled. The rest waits in the journal.
//!
//! A worker does not open the journal, save cursors or spawn anything: it is given a
//! [`FrameSource`] and a [`CursorStore`], which is also how it is tested on virtual time.

use std::future::Future;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::config::patterns::Patterns;
pub use crate::points::Detail;
use crate::store::frame::{Cursor, Hole, Next};

mod backoff;
mod flights;
mod journal;
mod ledger;
mod queue;
mod reading;
mod selection;
#[cfg(test)]
mod tests;
mod worker;

pub use backoff::{RETRY_AFTER_MAX, backoff};
pub use selection::Selection;
pub use worker::{FLUSH, Setup, Worker};

/// The frames of the journal, in order. Implemented by the store's reader.
pub trait FrameSource: Send {
    /// What follows the last item given; waits at the end of the journal.
    fn next(&mut self) -> impl Future<Output = Next> + Send;
}

/// Keeps cursors. Implemented by the store.
pub trait CursorStore: Send + Sync {
    /// Keeps how far `sink` is, durably soon; never waits.
    fn stage(&self, sink: &str, cursor: Cursor);

    /// Keeps what `sink` has missed, not later than the cursor that is moved over it; never waits.
    fn note_hole(&self, sink: &str, hole: &Hole);
}

/// The options every sink has, in its `delivery` table.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliverySettings {
    pub detail: Detail,
    /// Everything about another cluster is left out.
    pub clusters: Patterns,
    /// Everything about another group is left out; topics' own offsets stay.
    pub groups: Patterns,
    /// Everything about another topic is left out; groups stay as wholes.
    pub topics: Patterns,
    pub partitions: Partitions,
    /// Only each so-many-th beat, counted from the epoch, so that all clusters and all starts agree
    /// on which. Status changes are delivered at every beat: they happen once.
    pub every: u32,
    pub start: Start,
    /// How long a sink may take to answer.
    pub timeout: Duration,
    /// The most points in a request.
    pub max_points: usize,
    /// The most bytes in a request, before compression, estimated.
    pub max_bytes: usize,
    /// Older beats are not delivered any more; absent: all are.
    pub max_age: Option<Duration>,
    /// How many requests may be under way; 1 for a sink that needs order, whatever stands here.
    pub in_flight: usize,
}

impl Default for DeliverySettings {
    fn default() -> Self {
        Self {
            detail: Detail::Partition,
            clusters: Patterns::all(),
            groups: Patterns::all(),
            topics: Patterns::all(),
            partitions: Partitions::All,
            every: 1,
            start: Start::Newest,
            timeout: Duration::from_secs(10),
            max_points: 5_000,
            max_bytes: 5_000_000,
            max_age: None,
            in_flight: 2,
        }
    }
}

/// Which partitions of a group are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Partitions {
    #[default]
    All,
    /// Those with a lag above 0 or a status other than OK.
    Lagging,
}

/// Where a sink begins that was never there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Start {
    /// With the next beat.
    #[default]
    Newest,
    /// With the oldest beat the journal has.
    Oldest,
}

/// How a sink is doing. How much waits for it is the store's to say: what is journaled this moment
/// is not read yet.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct SinkHealth {
    pub state: State,
    /// The last frame that is settled as a whole, and the counts up to it.
    pub settled: Cursor,
    pub traffic: Traffic,
    /// The most points a request may have at the moment, as the server taught.
    pub max_points: usize,
    /// Why a point was refused for good the last time.
    pub last_rejection: Option<String>,
}

/// What a worker is doing.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum State {
    /// The sink has not been prepared yet.
    #[default]
    Starting,
    Delivering,
    /// The sink cannot write at the moment; nothing is lost meanwhile.
    Retrying {
        reason: String,
        since: Timestamp,
        next_try: Timestamp,
    },
    /// The sink will not write before somebody does what the reason says; nothing is lost meanwhile.
    Misconfigured {
        reason: String,
        since: Timestamp,
        next_try: Timestamp,
    },
    Stopped,
}

/// What went over the wire since the start of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Requests begun.
    pub attempts: u64,
    /// Requests begun with points that had been in a request before.
    pub retries: u64,
    /// Requests that wrote something.
    pub batches: u64,
    /// Bytes of the requests that were accepted as a whole, after compression.
    pub bytes: u64,
    /// Points the server said it already had.
    pub known: u64,
    /// Refused points that the dead letters had no room for, or could not be written to.
    pub letters_lost: u64,
}
