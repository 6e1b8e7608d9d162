//! The numbers the core works with, checked by `config`.

use std::fmt;
use std::time::Duration;

/// Burrow's rules and lagline's own.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// How many commits a window and how many polls a ring holds; at least 1.
    pub intervals: usize,
    /// How often end offsets are polled for the ring.
    pub offset_refresh: Duration,
    /// Commits closer together than this are merged; whole seconds.
    pub min_distance: Duration,
    /// A group that has not committed for this long is gone.
    pub expire_group: Duration,
    /// A partition with less of its window filled is OK; 0 to 1.
    pub minimum_complete: f32,
    /// Lag up to this is none.
    pub allowed_lag: i64,
    pub commit_lag: CommitLag,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            intervals: 10,
            offset_refresh: Duration::from_secs(10),
            min_distance: Duration::ZERO,
            expire_group: Duration::from_secs(604_800),
            minimum_complete: 0.0,
            allowed_lag: 0,
            commit_lag: CommitLag::LastPoll,
        }
    }
}

/// Which end offset a commit's lag is taken against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitLag {
    /// The last polled one (Burrow's way).
    LastPoll,
    /// The one at the commit's time, between the polls before and after it.
    Interpolated,
}

/// Above these nothing new is tracked; what is refused is counted as `over_limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub groups: usize,
    /// Group-partitions.
    pub partitions: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            groups: 100_000,
            partitions: 5_000_000,
        }
    }
}

/// Everything a [`super::cluster::Cluster`] is told once.
pub struct Settings {
    pub rules: Rules,
    pub limits: Limits,
    /// Whether the configuration wants this group.
    pub wanted: Box<dyn Fn(&str) -> bool + Send + Sync>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("rules", &self.rules)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
