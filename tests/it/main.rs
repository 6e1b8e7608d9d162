//! Every integration test, as one binary: one link step, and servers that several tests share are
//! started once.
//!
//! `services` starts the real servers, `kafka_client` plays the applications whose lag is watched.
//! The tests are one module per subject. A test is never skipped because something is absent: it
//! fails and says what.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    unreachable_pub,
    reason = "helpers of a test binary panic like its tests do, and nothing outside can name them"
)]

mod acls;
mod allocation;
mod architecture;
mod broker_faults;
mod burrow_api;
mod demo;
mod elasticsearch;
mod expiry;
mod influxdb;
mod kafka_client;
mod kill;
mod lagline;
mod log_offsets;
mod past;
mod program;
mod prometheus;
mod reader;
mod removal_rule;
mod security;
mod services;
mod services_databases;
mod services_kafka;
mod services_left;
mod simulation;
mod sink_contract;
mod sink_faults;
mod sink_points;
mod start_faults;
mod start_rule;
mod warm_start;
