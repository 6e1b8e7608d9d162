//! lagline: consumer lag of many Kafka clusters, judged, kept and shipped.

pub mod clock;
pub mod config;
#[cfg(test)]
pub(crate) mod golden;
pub mod kafka;
pub mod lag;
pub mod points;
pub mod sinks;
pub mod store;
