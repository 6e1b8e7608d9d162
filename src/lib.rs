//! lagline: consumer lag of many Kafka clusters, judged, kept and shipped.
//!
//! One path, in reading order: [`kafka`] turns what the brokers say into events; [`lag`], the core,
//! applies them and evaluates every group at each beat; [`store`] makes the evaluation durable;
//! [`points`] names its values; [`sinks`] ship them. [`clock`] and [`config`] serve them all.
//!
//! What must stay true (`tests/it/architecture.rs` checks what can be read off the sources):
//!
//! - `lag` imports std and `clock` only: no async, serialisation, log or Kafka, and it never asks
//!   the time.
//! - Sinks know nothing of Kafka, of retries, of each other. Retry, time-out, backoff, splitting
//!   and cursors are in one place, the delivery.
//! - Kafka readers know nothing of rules, points or sinks, and no other module names rdkafka.
//! - Only outer layers serialise: the types of `lag` have no serde; `store`, `points` and the
//!   server convert.
//! - Only the wiring, `app`, names a Kafka reader and a concrete sink together.
//! - No queue is unbounded. Nothing that was accepted is dropped without a counter that names the
//!   reason.
//! - The order of output never depends on the order of a hash table: golden tests compare bytes.
//! - Only `clock` asks the time. No file is above 600 lines, no function far above 70.

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
#[cfg(test)]
pub(crate) mod golden;
pub mod kafka;
pub mod lag;
pub mod monitor;
pub mod points;
pub mod scheduler;
pub mod server;
pub mod sinks;
pub mod store;
