//! `lagline demo`: a Kafka in this process and sixteen groups that show everything there is to see.
//!
//! Needs nothing: no Kafka, no configuration, no network but loopback. The pipeline that watches it
//! is the real one; only the cluster and what happens in it are made up. Nothing outside of the
//! demo, benchmarks and tests uses this module.
//!
//! `plan` says who does what, `workload` lives it second by second (pure), `records` and `members`
//! turn it into the bytes a broker would write, `cluster` is the Kafka, `driver` carries it out.

pub mod cluster;
pub mod driver;
pub mod members;
pub mod plan;
pub mod records;
pub mod workload;

use std::time::Duration;

use rdkafka::error::KafkaError;
use thiserror::Error;

use crate::kafka::ffi::Code;

pub use driver::{Demo, start};

/// The beat of the demo: somebody is looking at it.
pub const INTERVAL: Duration = Duration::from_secs(2);
/// How often the demo's end offsets are polled. A commit's lag is taken against the last poll, so
/// there must be one between any two commits of a group for WARN to be seen, and the ten polls that
/// STOP looks back on must pass within half a minute.
pub const OFFSET_REFRESH: Duration = Duration::from_secs(1);
/// Commits in a window. The demo's groups fill it with live commits within twenty seconds.
pub const INTERVALS: usize = 10;

/// Why the demo cannot start or go on.
#[derive(Debug, Error)]
pub enum DemoError {
    /// No threads, sockets or memory are left.
    #[error("cannot start the simulated kafka: {0}")]
    Start(KafkaError),
    /// A librdkafka that was built without its mock cluster.
    #[error("librdkafka has no mock cluster; build lagline with the librdkafka it brings")]
    NoMock,
    /// The simulated brokers were started and do not answer.
    #[error("the simulated kafka does not answer ({0}); check that connections to 127.0.0.1 work")]
    Topics(Code),
    /// Records do not arrive.
    #[error("the simulated kafka takes no records: {0}")]
    Write(KafkaError),
    /// No runtime for the driver's waiting.
    #[error("cannot start the demo's clock: {0}")]
    Runtime(std::io::Error),
}
