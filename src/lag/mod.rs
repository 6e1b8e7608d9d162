//! The core: what lag is and how a group is doing. Pure: no I/O, no clock, no log, no async.

pub mod cluster;
pub mod evaluation;
pub mod event;
pub mod ids;
pub mod log;
pub mod measure;
pub mod optional;
pub mod reason;
pub mod rules;
pub mod settings;
pub mod window;
