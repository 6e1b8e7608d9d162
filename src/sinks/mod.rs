//! Destinations. A sink encodes and sends once; everything else is `delivery.rs`.
//!
//! A sink knows nothing of Kafka, of retries, of other sinks. It does not sleep, spawn or log, and
//! its `write` may be cancelled at any await point.

pub mod backfill;
pub mod dead_letters;
pub mod delivery;
pub mod elasticsearch;
pub mod http;
pub mod identity;
pub mod influxdb;
pub mod jsonl;
pub mod names;
pub mod prometheus;
#[cfg(test)]
pub(crate) mod stub;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::points::{Batch, Measurement};

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

    /// What `prepare` made or changed on the server since this was last asked, each in a few words,
    /// for the log.
    fn take_made(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether points of this measurement are written; the others are left out before they come.
    fn takes(&self, _measurement: Measurement) -> bool {
        true
    }

    /// Asks the server, without writing anything, whether `write` can work.
    fn check(&self) -> BoxFuture<'_, Result<CheckReport, CheckError>>;

    /// Whether requests must be sent strictly one after the other.
    fn is_ordered(&self) -> bool {
        false
    }

    /// Whether a request must not hold points of two beats: then sending it again sends what was
    /// written last, and nothing older.
    fn has_one_beat_a_request(&self) -> bool {
        false
    }
}

/// What a sink made on its server and nobody has been told yet; kept when making the rest fails or
/// is cancelled.
#[derive(Debug, Default)]
pub struct Made(Mutex<Vec<String>>);

impl Made {
    /// Notes one thing.
    pub fn push(&self, what: String) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(what);
    }

    /// Everything noted since the last time.
    pub fn take(&self) -> Vec<String> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut all)
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

/// A kind of sink: what stands behind `[sinks.<your name>.<kind>]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its word in the configuration.
    pub name: &'static str,
    pub description: &'static str,
    /// What happens to points that are sent again, after a lost answer or a kill, by target.
    pub guarantees: &'static [Guarantee],
}

/// How often a point arrives at one target of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guarantee {
    /// Product or mode; empty when the kind has only one.
    pub target: &'static str,
    pub delivery: Repeated,
    /// Why, and where it ends.
    pub because: &'static str,
}

/// What sending a point again does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeated {
    /// The point is there once.
    Once,
    /// The point may be there twice.
    AtLeastOnce,
}

impl Repeated {
    /// Its words in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Repeated::Once => "once",
            Repeated::AtLeastOnce => "at least once",
        }
    }
}

const fn once(target: &'static str, because: &'static str) -> Guarantee {
    Guarantee {
        target,
        delivery: Repeated::Once,
        because,
    }
}

const fn at_least_once(target: &'static str, because: &'static str) -> Guarantee {
    Guarantee {
        target,
        delivery: Repeated::AtLeastOnce,
        because,
    }
}

/// Every kind of sink, sorted by name.
pub fn kinds() -> &'static [Kind] {
    const KINDS: &[Kind] = &[
        Kind {
            name: "elasticsearch",
            description: "Elasticsearch and OpenSearch, by the bulk API.",
            guarantees: &[
                once("tsds", "the id comes from the dimensions and the beat"),
                once("index", "own id, in the index of the beat's day"),
                at_least_once(
                    "data_stream",
                    "own id: once, but twice when a rollover comes between a write and its repetition",
                ),
            ],
        },
        Kind {
            name: "influxdb",
            description: "InfluxDB 1, 2 and 3, and what speaks its line protocol.",
            guarantees: &[
                once("InfluxDB", "the same series and time is overwritten"),
                at_least_once(
                    "VictoriaMetrics",
                    "once with `-dedup.minScrapeInterval` set, otherwise both are kept",
                ),
            ],
        },
        Kind {
            name: "jsonl",
            description: "JSON lines, to a file or standard output.",
            guarantees: &[at_least_once(
                "",
                "the batch that was being written when the process was killed is written again",
            )],
        },
        Kind {
            name: "prometheus_remote_write",
            description: "Prometheus, VictoriaMetrics and what else takes remote write.",
            guarantees: &[
                once(
                    "Prometheus",
                    "the same sample is taken once; without `out_of_order_time_window` an older one that is there already is refused and becomes a dead letter",
                ),
                at_least_once(
                    "VictoriaMetrics",
                    "once with `-dedup.minScrapeInterval` set, otherwise both are kept",
                ),
            ],
        },
    ];
    KINDS
}

/// The delivery guarantees as the table of the README.
pub fn guarantees_table() -> String {
    let mut table = "| sink | target | a point arrives | because |\n|---|---|---|---|\n".to_owned();
    for kind in kinds() {
        for Guarantee {
            target,
            delivery,
            because,
        } in kind.guarantees
        {
            let delivery = delivery.as_str();
            table += &format!("| `{}` | {target} | {delivery} | {because} |\n", kind.name);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_has_the_guarantees() {
        crate::golden::check_part("README.md", "guarantees", &guarantees_table());
    }

    #[test]
    fn the_kinds_are_sorted_and_each_says_what_repetition_does() {
        assert!(kinds().is_sorted_by_key(|kind| kind.name));
        assert!(kinds().iter().all(|kind| !kind.guarantees.is_empty()));
        assert!(guarantees_table().contains("| `jsonl` |  | at least once |"));
    }
}
