//! Burrow's status rules, with the reason in words.
//!
//! One partition is judged by its window of commits, the last polled end offsets and the lag now
//! (`core/internal/evaluator/caching.go` at ced55ba); a group by its partitions. Rules see nothing
//! else: rates, time lag and retention never change a status. What is stale, warming or loading is
//! decided by `cluster.rs`, which then does not ask.
//!
//! Subtle cases, all Burrow's:
//!
//! - `now` counts in whole seconds, commits in milliseconds: STOP can come up to a second late.
//! - STOP looks at the times of the first and the last commit, which late or merged commits may have
//!   put out of order. The span can then be negative, and any silence is longer than that.
//! - One commit spans 0 ms: STOP within a second or two, unless the group was caught up while the ring
//!   of end offsets reaches back.
//! - STOP and REWIND are judged also when a stored commit had no lag; STALL and WARN are not.
//! - REWIND looks at the *first* step back only. Once a later commit reaches the offset before that
//!   step, a second, deeper step back does not count until the first one has left the window.
//! - A commit without a known lag never proves that the group was caught up. WARN compares each known
//!   lag with the last known one before it; with one or none known there is nothing that decreases.

#[cfg(test)]
mod burrow;
#[cfg(test)]
mod tests;

use super::evaluation::Status;
use super::reason::Reason;
use super::settings::Rules;
use super::window::Window;
use crate::clock::Timestamp;

/// How one partition is doing.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// OK, WARN, STOP, STALL or REWIND.
    pub status: Status,
    /// Why; absent when OK.
    pub reason: Option<Reason>,
    /// Stored commits / intervals, in Burrow's 32-bit arithmetic.
    pub complete: f32,
}

/// Judges a partition.
///
/// `ring` holds the last polled end offsets, in any order. `current_lag` is the newest of them minus
/// the newest commit, at least 0. `owned` says that a member owns or has owned the partition: it
/// matters only without commits, where Burrow then counts one of its blank slots.
pub fn judge(
    window: &Window,
    mut ring: impl Iterator<Item = i64>,
    current_lag: i64,
    owned: bool,
    now: Timestamp,
    rules: &Rules,
) -> Verdict {
    let complete = complete(window.len().max(usize::from(owned)), rules.intervals);
    let ok = Verdict {
        status: Status::Ok,
        reason: None,
        complete,
    };
    // Most partitions have no lag: their commits are not even read.
    if current_lag <= rules.allowed_lag || complete < rules.minimum_complete {
        return ok;
    }
    let (Some(first), Some(last)) = (window.first(), window.last()) else {
        return ok;
    };
    let commits = u32::try_from(window.len()).unwrap_or(u32::MAX);
    let worse = |status, reason| Verdict {
        status,
        reason: Some(reason),
        complete,
    };

    let silent_ms = Timestamp::from_secs(now.as_secs()).ms_since(last.timestamp);
    let span_ms = last.timestamp.ms_since(first.timestamp);
    if silent_ms > span_ms && !ring.any(|end| end <= last.offset) {
        let reason = Reason::Stopped {
            silent_ms,
            commits,
            span_ms,
            lag: current_lag,
        };
        return worse(Status::Stop, reason);
    }

    let trend = Trend::of(window, rules.allowed_lag);
    if let Some(Step { from, to }) = trend.rewind {
        let reason = Reason::Rewound {
            from,
            to,
            lag: current_lag,
        };
        return worse(Status::Rewind, reason);
    }
    if trend.was_caught_up {
        return ok;
    }
    if trend.is_standing {
        let reason = Reason::Stalled {
            commits,
            offset: last.offset,
            lag: current_lag,
        };
        return worse(Status::Stall, reason);
    }
    if trend.never_shrank {
        let reason = Reason::FallingBehind {
            commits,
            lags: trend.lags,
            lag: current_lag,
        };
        return worse(Status::Warn, reason);
    }
    ok
}

/// A group is as well as its worst partition; anything worse than WARN is ERR. OK without partitions.
pub fn group_status(partitions: impl Iterator<Item = Status>) -> Status {
    partitions
        .map(Status::for_group)
        .max()
        .unwrap_or(Status::Ok)
}

/// Burrow's completeness of a partition with this many slots in use: 0 to 1.
#[allow(
    clippy::cast_precision_loss,
    reason = "Burrow divides 32-bit floats; windows are far below 2^24 commits"
)]
fn complete(slots: usize, intervals: usize) -> f32 {
    if slots < intervals {
        slots as f32 / intervals as f32
    } else {
        1.0
    }
}

/// What the commits of a window show, gathered in one pass.
struct Trend {
    /// The first step back, when no later commit made up for it.
    rewind: Option<Step>,
    /// A commit's lag was known and not above `allowed_lag`.
    was_caught_up: bool,
    /// All commits say the same offset.
    is_standing: bool,
    /// No known lag is less than the known one before it.
    never_shrank: bool,
    /// First and last known lag.
    lags: Option<(i64, i64)>,
}

#[derive(Clone, Copy)]
struct Step {
    from: i64,
    to: i64,
}

impl Trend {
    fn of(window: &Window, allowed_lag: i64) -> Trend {
        let mut trend = Trend {
            rewind: None,
            was_caught_up: false,
            is_standing: true,
            never_shrank: true,
            lags: None,
        };
        let mut recovered = false;
        let mut previous: Option<i64> = None;
        window.each(|offset, lag| {
            if let Some(from) = previous.replace(offset) {
                trend.is_standing &= offset == from;
                if trend.rewind.is_none() && offset < from {
                    trend.rewind = Some(Step { from, to: offset });
                }
            }
            recovered |= trend.rewind.is_some_and(|step| offset >= step.from);
            if let Some(lag) = lag.get() {
                let (first, before) = trend.lags.unwrap_or((lag, lag));
                trend.was_caught_up |= lag <= allowed_lag;
                trend.never_shrank &= lag >= before;
                trend.lags = Some((first, lag));
            }
        });
        if recovered {
            trend.rewind = None;
        }
        trend
    }
}
