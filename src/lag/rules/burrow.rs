//! Burrow's evaluator, rule by rule, and `judge` held against it on every short window.
//!
//! One function per rule over a plain list, as Burrow has them (`core/internal/evaluator/caching.go`
//! at ced55ba). The model shares nothing with `rules.rs`.

use std::time::Duration;

use super::judge;
use crate::clock::Timestamp;
use crate::lag::evaluation::Status;
use crate::lag::ids::Order;
use crate::lag::optional::MaybeI64;
use crate::lag::settings::Rules;
use crate::lag::window::{StoredCommit, Window};

/// A commit as the rules see it.
#[derive(Clone, Copy, Debug)]
struct Seen {
    offset: i64,
    timestamp_ms: i64,
    lag: Option<i64>,
}

fn status(
    commits: &[Seen],
    ring: &[i64],
    current_lag: i64,
    now_s: i64,
    allowed_lag: i64,
) -> Status {
    if current_lag <= allowed_lag {
        return Status::Ok;
    }
    if is_stopped(commits, now_s) && !was_caught_up_in_ring(commits, ring) {
        return Status::Stop;
    }
    if let Some(at) = first_rewind(commits)
        && !has_recovered(commits, at)
    {
        return Status::Rewind;
    }
    if always_lagged(commits, allowed_lag) {
        if is_stalled(commits) {
            return Status::Stall;
        }
        if lag_never_decreases(commits) {
            return Status::Warn;
        }
    }
    Status::Ok
}

fn is_stopped(commits: &[Seen], now_s: i64) -> bool {
    let first = commits[0].timestamp_ms;
    let last = commits[commits.len() - 1].timestamp_ms;
    now_s * 1000 - last > last - first
}

fn was_caught_up_in_ring(commits: &[Seen], ring: &[i64]) -> bool {
    let last = commits[commits.len() - 1].offset;
    ring.iter().any(|&end| end <= last)
}

fn first_rewind(commits: &[Seen]) -> Option<usize> {
    (1..commits.len()).find(|&i| commits[i].offset < commits[i - 1].offset)
}

fn has_recovered(commits: &[Seen], rewind: usize) -> bool {
    let reached = commits[rewind - 1].offset;
    (rewind..commits.len()).any(|i| commits[i].offset >= reached)
}

fn always_lagged(commits: &[Seen], allowed_lag: i64) -> bool {
    !commits
        .iter()
        .any(|c| c.lag.is_some_and(|lag| lag <= allowed_lag))
}

fn is_stalled(commits: &[Seen]) -> bool {
    (1..commits.len()).all(|i| commits[i].offset == commits[i - 1].offset)
}

fn lag_never_decreases(commits: &[Seen]) -> bool {
    let mut last: Option<i64> = None;
    for commit in commits {
        if let Some(lag) = commit.lag {
            if last.is_some_and(|last| lag < last) {
                return false;
            }
            last = Some(lag);
        }
    }
    true
}

/// Every window of up to `length` commits over these alphabets, judged by both; how many.
fn every_window(
    commits: &mut Vec<Seen>,
    length: usize,
    times_ms: &[i64],
    lags: &[Option<i64>],
) -> u64 {
    let mut judged = 0;
    if !commits.is_empty() {
        judged += compare(commits);
    }
    if commits.len() == length {
        return judged;
    }
    for offset in [3, 4, 5] {
        for &timestamp_ms in times_ms {
            for &lag in lags {
                commits.push(Seen {
                    offset,
                    timestamp_ms,
                    lag,
                });
                judged += every_window(commits, length, times_ms, lags);
                commits.pop();
            }
        }
    }
    judged
}

/// A window that holds just these commits, in whatever order their times are.
fn window_of(commits: &[Seen]) -> Window {
    let mut window = Window::new();
    // The newest first: a commit older than all is never merged, but has no lag.
    for (order, seen) in commits.iter().enumerate().rev() {
        let commit = StoredCommit {
            offset: seen.offset,
            timestamp: Timestamp::from_ms(seen.timestamp_ms),
            observed_at_s: 0,
            order: Order {
                epoch: 0,
                offset: i64::try_from(order).unwrap(),
            },
            lag: MaybeI64::NONE,
        };
        window.push(commit, commits.len(), Duration::ZERO);
    }
    for (index, seen) in commits.iter().enumerate() {
        window.set_lag(index, seen.lag.into());
    }
    assert_eq!(window.len(), commits.len());
    window
}

fn compare(commits: &[Seen]) -> u64 {
    let window = window_of(commits);
    let mut judged = 0;
    for ring in [&[][..], &[4], &[9, 3]] {
        for (current_lag, allowed_lag) in [(0, 0), (1, 0), (1, 1), (2, 1)] {
            for now_ms in [0, 3_999, 4_000, 6_000] {
                let rules = Rules {
                    allowed_lag,
                    intervals: commits.len(),
                    ..Rules::default()
                };
                let now = Timestamp::from_ms(now_ms);
                let ring_now = ring.iter().copied();
                let ours = judge(&window, ring_now, current_lag, true, now, &rules);
                let theirs = status(commits, ring, current_lag, now.as_secs(), allowed_lag);
                assert_eq!(
                    ours.status, theirs,
                    "{commits:?} ring {ring:?} lag {current_lag} allowed {allowed_lag} {now:?}"
                );
                assert_eq!(ours.reason.is_some(), theirs != Status::Ok);
                judged += 1;
            }
        }
    }
    judged
}

#[test]
fn every_short_window_is_judged_as_burrow_does() {
    const LAGS: [Option<i64>; 4] = [None, Some(0), Some(1), Some(2)];
    let none = &mut Vec::new();
    let judged = every_window(none, 3, &[0, 1_500, 3_000], &LAGS)
        + every_window(none, 4, &[0], &LAGS)
        + every_window(none, 6, &[3_000], &[Some(2)]);
    assert_eq!(judged, 48 * 71_700);
}
