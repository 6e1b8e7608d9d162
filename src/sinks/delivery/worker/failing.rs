//! A sink that does not write at the moment.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::clock::Timestamp;

/// Failures that go on are logged once in this time.
const LOG_EVERY_MS: u64 = 60_000;

/// The sink does not write at the moment.
#[derive(Debug)]
pub(super) struct Failing {
    pub(super) kind: Failure,
    pub(super) reason: String,
    pub(super) since: Timestamp,
    /// Failed probes in a row, the first failure included.
    pub(super) failures: u32,
    pub(super) retry_at: Instant,
    /// Whether that moment has come.
    pub(super) is_due: bool,
    pub(super) next_try: Timestamp,
    pub(super) log: Repeats,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Transient,
    Misconfigured,
}

/// The moment so far from now, on the runtime's clock.
pub(super) fn after(wait: Duration) -> Instant {
    sleep(wait).deadline()
}

/// Lets the first of many equal log lines through, then one a minute with the count.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    last: Option<Timestamp>,
    count: u64,
}

impl Repeats {
    /// `count` more happened; how many since the last line, when it is time for one.
    pub(super) fn pass(&mut self, count: u64, now: Timestamp) -> Option<u64> {
        self.count += count;
        if self
            .last
            .is_some_and(|last| now.ms_since(last).unsigned_abs() < LOG_EVERY_MS)
        {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}
