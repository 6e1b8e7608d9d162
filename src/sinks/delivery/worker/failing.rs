//! A sink that does not write at the moment.

use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Timestamp;

/// Failures that go on are logged once in this time.
const LOG_EVERY: Duration = Duration::from_mins(1);

/// The sink does not write at the moment.
#[derive(Debug)]
pub(super) struct Failing {
    pub(super) kind: Failure,
    pub(super) reason: String,
    pub(super) since: Timestamp,
    /// Failed probes in a row, the first failure included.
    pub(super) failures: u32,
    pub(super) retry_at: Instant,
    pub(super) next_try: Timestamp,
    pub(super) log: Repeats,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Transient,
    Misconfigured,
}

/// Lets the first of many equal log lines through, then one a minute with the count.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    last: Option<Instant>,
    count: u64,
}

impl Repeats {
    /// `count` more happened; how many since the last line, when it is time for one.
    pub(super) fn pass(&mut self, count: u64) -> Option<u64> {
        self.count += count;
        let now = Instant::now();
        if self
            .last
            .is_some_and(|last| now.duration_since(last) < LOG_EVERY)
        {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}
