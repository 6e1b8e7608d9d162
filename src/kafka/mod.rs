//! The only place that knows rdkafka: reading commits, asking for log offsets.
//!
//! Each cluster has two clients on two threads, because an idle long-poll fetch blocks every other
//! request of its connection: one reads the offsets topic, one asks for log offsets. Nothing here
//! knows rules, points or sinks; what is read leaves as `lag::event`s.

pub mod check;
pub mod client;
pub mod context;
pub mod decode;
pub mod encode;
pub mod ffi;
pub mod log_offsets;
pub mod offsets;
