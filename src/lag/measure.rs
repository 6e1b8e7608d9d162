//! Numbers beside the status: time lag, rates, time to catch up, retention risk.
//!
//! They never change a status, and each is absent when it is not known: nothing is extrapolated.
//! Everything here is a function of a window, a log and a moment; `cluster` says when to ask.

use super::evaluation::{TimeLag, TimeLagMethod};
use super::log::{Log, Passed};
use super::optional::MaybeF32;
use super::window::StoredCommit;
use crate::clock::Timestamp;

/// The age at `now` of the record at offset `committed`, the oldest one not yet consumed (of those
/// that are still there).
///
/// `is_caught_up` says that the lag is within `allowed_lag`: then it is 0. Absent when no history
/// of the log is known.
pub fn time_lag(log: &Log, committed: i64, is_caught_up: bool, now: Timestamp) -> Option<TimeLag> {
    if is_caught_up {
        return Some(TimeLag {
            seconds: 0.0,
            error_s: MaybeF32::some(0.0),
            method: TimeLagMethod::CaughtUp,
        });
    }
    let oldest = committed.max(log.start().unwrap_or(committed));
    match log.passed(oldest) {
        Passed::Unknown => None,
        Passed::Before(at) => Some(TimeLag {
            seconds: seconds(now.ms_since(at).max(0)),
            error_s: MaybeF32::NONE,
            method: TimeLagMethod::AtLeast,
        }),
        Passed::Between {
            earlier: (from, from_end),
            later: (to, to_end),
            seeded,
        } => {
            let width = to.ms_since(from).max(0);
            // The record is number `behind` of the `grown` that were written meanwhile.
            let grown = to_end.saturating_sub(from_end).max(1);
            let behind = oldest.saturating_sub(from_end).saturating_add(1);
            let into = share(width, behind, grown).unwrap_or(width);
            let age = now.ms_since(from).saturating_sub(into).max(0);
            Some(TimeLag {
                seconds: seconds(age),
                error_s: MaybeF32::some(seconds(into.max(width.saturating_sub(into)))),
                method: if seeded {
                    TimeLagMethod::Seeded
                } else {
                    TimeLagMethod::Interpolated
                },
            })
        }
    }
}

/// `whole * part / parts`. Nothing when that does not fit.
fn share(whole: i64, part: i64, parts: i64) -> Option<i64> {
    match whole.checked_mul(part) {
        Some(product) => product.checked_div(parts),
        // Dividing 128 bits is slow, and hardly ever needed.
        None => i64::try_from(i128::from(whole) * i128::from(part) / i128::from(parts)).ok(),
    }
}

/// Records a second the group has read lately: over the window, and over the silence after it when
/// that is longer than the usual time between two commits. Absent with fewer than two commits and
/// after a rewind.
pub fn consume_rate(
    first: &StoredCommit,
    last: &StoredCommit,
    commits: usize,
    now: Timestamp,
) -> MaybeF32 {
    let span = last.timestamp.ms_since(first.timestamp);
    let read = last.offset.saturating_sub(first.offset);
    let gaps = i64::try_from(commits).unwrap_or(i64::MAX) - 1;
    if gaps < 1 || span <= 0 || read < 0 {
        return MaybeF32::NONE;
    }
    let until_due = now.ms_since(first.timestamp).saturating_sub(span / gaps);
    MaybeF32::per_second(read, span.max(until_due))
}

/// Seconds until `lag` is gone. Absent when the group is not catching up.
pub fn eta(lag: i64, consume: MaybeF32, produce: MaybeF32) -> MaybeF32 {
    match (consume.get(), produce.get()) {
        (Some(consume), Some(produce)) if lag > 0 && consume > produce => {
            MaybeF32::estimate(records(lag) / (consume - produce))
        }
        _ => MaybeF32::NONE,
    }
}

/// How near the committed offset is to the end of what Kafka retains.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Retention {
    /// Records that fell off the log unread, when positive.
    pub lost: Option<i64>,
    /// Lag as a share of the retained log, 0 to 1.
    pub used: MaybeF32,
    /// Seconds until the committed offset falls off the log at the current rates.
    pub left_s: MaybeF32,
}

/// Compares a committed offset with its log.
///
/// The log start moves in jumps, a segment at a time; over time it moves as fast as records were
/// written, so the produce rate stands for it. A log that never lost a record (start 0) gives no
/// time: nothing is known about when it will.
pub fn retention(
    start: i64,
    end: i64,
    committed: i64,
    consume: MaybeF32,
    produce: MaybeF32,
) -> Retention {
    let lag = end.saturating_sub(committed).max(0);
    let retained = end.saturating_sub(start);
    let lost = start.saturating_sub(committed);
    let used = if retained > 0 {
        MaybeF32::estimate((records(lag) / records(retained)).clamp(0.0, 1.0))
    } else {
        MaybeF32::NONE
    };
    let left_s = match (consume.get(), produce.get()) {
        (Some(consume), Some(produce)) if lag > 0 && start > 0 && produce > consume => {
            MaybeF32::estimate(records(lost.saturating_neg().max(0)) / (produce - consume))
        }
        _ => MaybeF32::NONE,
    };
    Retention {
        lost: Some(lost).filter(|&lost| lost > 0),
        used,
        left_s,
    }
}

/// Milliseconds as seconds.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "an age needs no more than a float's 7 digits"
)]
pub fn seconds(ms: i64) -> f32 {
    (ms as f64 / 1000.0) as f32
}

#[allow(
    clippy::cast_precision_loss,
    reason = "ratios and estimates need no more than a float's 7 digits"
)]
fn records(count: i64) -> f32 {
    count as f32
}

#[cfg(test)]
mod tests {
    use super::super::ids::Order;
    use super::super::optional::MaybeI64;
    use super::*;

    fn known(value: Option<f32>) -> MaybeF32 {
        value.into()
    }

    fn commit(seconds: i64, offset: i64) -> StoredCommit {
        StoredCommit {
            offset,
            timestamp: Timestamp::from_secs(seconds),
            observed_at_s: 0,
            order: Order::default(),
            lag: MaybeI64::NONE,
        }
    }

    #[test]
    fn the_consume_rate_fades_when_commits_stay_away() {
        for (why, first, last, commits, now, expected) in [
            ("over the window", (0, 0), (90, 900), 10, 95, Some(10.0)),
            (
                "the next commit is due",
                (0, 0),
                (90, 900),
                10,
                100,
                Some(10.0),
            ),
            (
                "as long again without one",
                (0, 0),
                (90, 900),
                10,
                190,
                Some(5.0),
            ),
            (
                "idle: it commits the same",
                (0, 7),
                (90, 7),
                10,
                95,
                Some(0.0),
            ),
            ("one commit says nothing", (5, 7), (5, 7), 1, 95, None),
            (
                "after a rewind nothing is known",
                (0, 900),
                (90, 0),
                10,
                95,
                None,
            ),
            ("no time between", (5, 0), (5, 9), 2, 95, None),
        ] {
            let (first, last) = (commit(first.0, first.1), commit(last.0, last.1));
            let rate = consume_rate(&first, &last, commits, Timestamp::from_secs(now));
            assert_eq!(rate, known(expected), "{why}");
        }
    }

    #[test]
    fn the_time_to_catch_up_needs_catching_up() {
        for (why, lag, consume, produce, expected) in [
            (
                "faster than it is written",
                100,
                Some(15.0),
                Some(5.0),
                Some(10.0),
            ),
            ("as fast", 100, Some(5.0), Some(5.0), None),
            ("slower", 100, Some(4.0), Some(5.0), None),
            ("no lag", 0, Some(15.0), Some(5.0), None),
            ("a rate is not known", 100, None, Some(5.0), None),
        ] {
            let eta = eta(lag, known(consume), known(produce));
            assert_eq!(eta, known(expected), "{why}");
        }
    }

    #[test]
    fn retention_risk() {
        let rates = (Some(1.0), Some(5.0));
        for (why, (start, end, committed), (consume, produce), lost, used, left) in [
            (
                "half of the log unread",
                (100, 300, 200),
                rates,
                None,
                Some(0.5),
                Some(25.0),
            ),
            ("caught up", (100, 300, 300), rates, None, Some(0.0), None),
            (
                "fallen off",
                (100, 300, 40),
                rates,
                Some(60),
                Some(1.0),
                Some(0.0),
            ),
            (
                "reads faster than it is written",
                (100, 300, 200),
                (Some(9.0), Some(5.0)),
                None,
                Some(0.5),
                None,
            ),
            (
                "nothing was ever deleted",
                (0, 300, 150),
                rates,
                None,
                Some(0.5),
                None,
            ),
            (
                "everything was deleted",
                (300, 300, 300),
                rates,
                None,
                None,
                None,
            ),
            (
                "committed beyond the end",
                (100, 300, 900),
                rates,
                None,
                Some(0.0),
                None,
            ),
        ] {
            let risk = retention(start, end, committed, known(consume), known(produce));
            let expected = Retention {
                lost,
                used: known(used),
                left_s: known(left),
            };
            assert_eq!(risk, expected, "{why}");
        }
    }
}
