//! Destinations. A sink encodes and sends once; everything else is `delivery.rs`.
//!
//! A sink knows nothing of Kafka, of retries, of other sinks. It does not sleep, spawn or log, and
//! its `write` may be cancelled at any await point.

pub mod http;
pub mod identity;
pub mod influxdb;
pub mod names;
#[cfg(test)]
pub(crate) mod stub;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::points::Batch;

/// A boxed future, so that sinks of all kinds fit into one list.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A destination for points.
pub trait Sink: Send + Sync + fmt::Debug {
    /// Encodes and sends the batch once.
    ///
    /// # Errors
    /// Says what to do next, see [`WriteError`].
    fn write<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Accepted, WriteError>>;

    /// Does what must be done once before the first write (templates, databases). Called again
    /// after every [`WriteError::Misconfigured`]. Idempotent.
    ///
    /// # Errors
    /// As for `write`; never `Partial` or `TooLarge`.
    fn prepare(&self) -> BoxFuture<'_, Result<(), WriteError>> {
        Box::pin(async { Ok(()) })
    }

    /// Asks the server, without writing anything, whether `write` can work.
    fn check(&self) -> BoxFuture<'_, Result<CheckReport, CheckError>>;

    /// Whether requests must be sent strictly one after the other.
    fn is_ordered(&self) -> bool {
        false
    }
}

/// What a server said about itself: product, version, mode, for `lagline check --connect`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckReport {
    pub lines: Vec<String>,
}

/// Why a sink cannot work, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CheckError(pub String);

/// A batch was written as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Accepted {
    /// Bytes that went over the wire, after compression.
    pub bytes: u64,
    /// Points the server already had (a re-send that had worked before).
    pub known: u64,
}

/// What to do next. Reasons are bounded texts without secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The same again, later.
    #[error("{reason}")]
    Transient {
        reason: String,
        retry_after: Option<Duration>,
    },
    /// Halve the batch.
    #[error("{reason}")]
    TooLarge { reason: String },
    /// Everything is written but these: indexes into the batch.
    #[error("{} points rejected, {} to retry", rejected.len(), retry.len())]
    Partial {
        rejected: Vec<(usize, String)>,
        retry: Vec<usize>,
        retry_after: Option<Duration>,
    },
    /// Nothing is written, and some points are bad without it being known which: try halves.
    #[error("{reason}")]
    Bisect { reason: String },
    /// Never again: to the dead letters.
    #[error("{reason}")]
    Rejected { reason: String },
    /// Keep the data, retry slowly; health says what to fix.
    #[error("{reason}")]
    Misconfigured { reason: String },
}
