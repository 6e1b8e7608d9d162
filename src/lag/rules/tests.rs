//! Every rule from both sides of its boundary, in one line each.

use std::time::Duration;

use super::*;
use crate::lag::ids::Order;
use crate::lag::window::StoredCommit;

/// Judges a partition that lived through `script`, in words separated by spaces:
///
/// - `commit@10s:110`: a commit; its lag is taken against the last `end`, unknown without one.
/// - `late@10s:110`: a commit that arrives late, between the newest and the one before it.
/// - `end@10s:200`: the end offset is polled. The last one gives the lag now.
/// - `now@21s`: when it is judged. Times may be written with milliseconds: `now@21.999s`.
/// - `slots=3`, `polls=3`, `allowed=5`, `complete=0.5`, `owned`: anywhere, for the whole script.
fn verdict(script: &str) -> (Verdict, i64) {
    let mut rules = Rules::default();
    let mut polls = rules.intervals;
    let mut owned = false;
    for word in script.split_whitespace() {
        match word.split_once('=') {
            Some(("slots", n)) => rules.intervals = n.parse().unwrap(),
            Some(("polls", n)) => polls = n.parse().unwrap(),
            Some(("allowed", n)) => rules.allowed_lag = n.parse().unwrap(),
            Some(("complete", n)) => rules.minimum_complete = n.parse().unwrap(),
            _ => owned |= word == "owned",
        }
    }
    let mut window = Window::new();
    let mut ring: Vec<i64> = Vec::new();
    let mut now = None;
    for (number, word) in (1_i64..).zip(script.split_whitespace()) {
        let Some((what, rest)) = word.split_once('@') else {
            continue;
        };
        let (at, offset) = rest.split_once(':').unwrap_or((rest, "0"));
        let at = moment(at);
        let offset: i64 = offset.parse().unwrap();
        match what {
            "end" => ring.push(offset),
            "now" => now = Some(at),
            _ => {
                let newest = window.last().map_or(0, |c| c.order.offset);
                let order = if what == "late" {
                    newest - 1
                } else {
                    number * 10
                };
                let commit = StoredCommit {
                    offset,
                    timestamp: at,
                    observed_at_s: 0,
                    order: Order {
                        epoch: 0,
                        offset: order,
                    },
                    lag: ring.last().map(|end| (end - offset).max(0)).into(),
                };
                window.push(commit, rules.intervals, Duration::ZERO);
            }
        }
    }
    let lag = match (ring.last(), window.last()) {
        (Some(end), Some(newest)) => (end - newest.offset).max(0),
        _ => 0,
    };
    let ring = ring.split_off(ring.len().saturating_sub(polls));
    let now = now.unwrap();
    (
        judge(&window, ring.into_iter(), lag, owned, now, &rules),
        lag,
    )
}

fn moment(text: &str) -> Timestamp {
    let seconds = text.strip_suffix('s').unwrap();
    let (whole, ms) = seconds.split_once('.').unwrap_or((seconds, "0"));
    Timestamp::from_ms(whole.parse::<i64>().unwrap() * 1000 + ms.parse::<i64>().unwrap())
}

/// `expected`: `STATUS lag=N`.
fn check(script: &str, expected: &str) {
    let (verdict, lag) = verdict(script);
    assert_eq!(
        format!("{} lag={lag}", verdict.status),
        expected,
        "{script}"
    );
    assert_eq!(
        verdict.reason.is_none(),
        verdict.status == Status::Ok,
        "a reason exactly when not OK: {script}"
    );
}

#[test]
fn without_lag_now_all_is_well() {
    // However long ago the last commit was.
    check(
        "end@0s:100 commit@0s:90 commit@5s:100 now@9999s",
        "OK lag=0",
    );
    // Committed beyond the last polled end: no lag, not a negative one.
    check(
        "end@0s:100 commit@0s:90 commit@5s:130 now@9999s",
        "OK lag=0",
    );
    // One record is lag.
    check(
        "end@0s:101 commit@0s:90 commit@5s:100 now@9999s",
        "STOP lag=1",
    );
    // Up to `allowed_lag` is none, one more is.
    check(
        "allowed=5 end@0s:105 commit@0s:90 commit@5s:100 now@9999s",
        "OK lag=5",
    );
    check(
        "allowed=5 end@0s:106 commit@0s:90 commit@5s:100 now@9999s",
        "STOP lag=6",
    );
}

#[test]
fn stop_is_silence_longer_than_the_window_spans() {
    // As long as the span is not longer: the other rules decide.
    check(
        "commit@0s:100 commit@10s:110 end@10s:200 now@20s",
        "WARN lag=90",
    );
    // One second more.
    check(
        "commit@0s:100 commit@10s:110 end@10s:200 now@21s",
        "STOP lag=90",
    );
    // Whole seconds count for now: 20.999 s is 20 s.
    check(
        "commit@0s:100 commit@10s:110 end@10s:200 now@20.999s",
        "WARN lag=90",
    );
    // Commits count in milliseconds.
    check(
        "commit@0s:100 commit@9.999s:110 end@10s:200 now@20s",
        "STOP lag=90",
    );
    check(
        "commit@0s:100 commit@10.001s:110 end@10s:200 now@20s",
        "WARN lag=90",
    );
    // One commit spans nothing: silent for 0 s, for 1 s.
    check("commit@10s:100 end@10s:200 now@10s", "STALL lag=100");
    check("commit@10s:100 end@10s:200 now@11s", "STOP lag=100");
    // Commits from the future (a clock behind the broker's) are no silence.
    check(
        "commit@0s:100 commit@50s:110 end@10s:200 now@20s",
        "WARN lag=90",
    );
    // The span is that of the commits still in the window.
    check(
        "slots=2 commit@0s:1 commit@90s:2 commit@100s:3 end@100s:9 now@110s",
        "WARN lag=6",
    );
    check(
        "slots=2 commit@0s:1 commit@90s:2 commit@100s:3 end@100s:9 now@111s",
        "STOP lag=6",
    );
    // A late oldest commit may be newer in time: any silence is longer than a negative span.
    check(
        "late@60s:100 commit@50s:110 end@50s:200 now@50s",
        "STALL lag=90",
    );
    check(
        "commit@50s:110 late@60s:100 end@50s:200 now@50s",
        "STOP lag=90",
    );
    check(
        "commit@50s:110 late@60s:100 end@50s:200 now@40s",
        "WARN lag=90",
    );
}

#[test]
fn stop_waits_while_the_group_was_caught_up_within_the_ring() {
    // A polled end offset at the last commit: caught up minutes ago; the other rules decide.
    check(
        "commit@0s:90 commit@5s:100 end@6s:100 end@10s:200 now@99s",
        "WARN lag=100",
    );
    check(
        "commit@0s:90 commit@5s:100 end@6s:99 end@10s:200 now@99s",
        "WARN lag=100",
    );
    // One record short of it.
    check(
        "commit@0s:90 commit@5s:100 end@6s:101 end@10s:200 now@99s",
        "STOP lag=100",
    );
    // Any of the polls counts, not only the oldest or the newest.
    check(
        "commit@0s:90 commit@5s:100 end@6s:150 end@7s:100 end@10s:200 now@99s",
        "WARN lag=100",
    );
    // It has left the ring.
    check(
        "polls=3 commit@0s:90 commit@5s:100 end@6s:100 end@10s:200 end@20s:300 now@99s",
        "WARN lag=200",
    );
    check(
        "polls=2 commit@0s:90 commit@5s:100 end@6s:100 end@10s:200 end@20s:300 now@99s",
        "STOP lag=200",
    );
    // `allowed_lag` does not stretch what "caught up" means here.
    check(
        "allowed=5 commit@0s:90 commit@5s:100 end@6s:101 end@10s:200 now@99s",
        "STOP lag=100",
    );
}

#[test]
fn stop_comes_even_when_a_commit_had_no_lag() {
    check(
        "polls=1 end@0s:100 commit@0s:90 commit@5s:100 end@10s:200 now@99s",
        "STOP lag=100",
    );
    check(
        "polls=1 end@0s:100 commit@0s:90 commit@5s:100 end@10s:200 now@10s",
        "OK lag=100",
    );
}

#[test]
fn rewind_is_a_step_back_that_is_not_made_up_for() {
    check(
        "commit@0s:100 commit@10s:99 end@10s:200 now@11s",
        "REWIND lag=101",
    );
    // The same offset is no step back.
    check(
        "commit@0s:100 commit@10s:100 end@10s:200 now@11s",
        "STALL lag=100",
    );
    // One short of where it was, exactly there, beyond.
    check(
        "commit@0s:100 commit@5s:50 commit@10s:99 end@10s:200 now@11s",
        "REWIND lag=101",
    );
    check(
        "commit@0s:100 commit@5s:50 commit@10s:100 end@10s:200 now@11s",
        "WARN lag=100",
    );
    check(
        "commit@0s:100 commit@5s:50 commit@10s:101 end@10s:200 now@11s",
        "WARN lag=99",
    );
    // It counts also when a commit had no lag.
    check(
        "end@0s:100 commit@0s:100 commit@10s:50 end@10s:200 now@11s",
        "REWIND lag=150",
    );
    // Reached again once, however deep it fell after that.
    check(
        "commit@0s:100 commit@1s:50 commit@2s:100 commit@3s:7 end@3s:200 now@4s",
        "WARN lag=193",
    );
    // Only the first step counts; when it leaves the window the second one does.
    check(
        "slots=3 commit@0s:100 commit@1s:50 commit@2s:100 commit@3s:7 end@3s:200 now@4s",
        "REWIND lag=193",
    );
    // A deeper step after the first, not made up for: still the first one.
    check(
        "commit@0s:100 commit@1s:50 commit@2s:60 commit@3s:7 end@3s:200 now@4s",
        "REWIND lag=193",
    );
    // STOP comes first.
    check(
        "commit@0s:100 commit@10s:99 end@10s:200 now@21s",
        "STOP lag=101",
    );
    // The step may stand between commits that arrived late.
    check(
        "commit@0s:100 commit@10s:110 late@5s:120 end@10s:200 now@11s",
        "REWIND lag=90",
    );
}

#[test]
fn stall_is_the_same_offset_with_lag_in_every_commit() {
    check(
        "end@0s:200 commit@0s:100 commit@10s:100 now@11s",
        "STALL lag=100",
    );
    // One commit alone is the same offset throughout.
    check("end@0s:200 commit@10s:100 now@10s", "STALL lag=100");
    // A step forward anywhere is none; the lag shrank, too.
    check(
        "end@0s:200 commit@0s:99 commit@5s:100 commit@10s:100 now@11s",
        "OK lag=100",
    );
    // Forward and back again is a rewind made up for, and no stall.
    check(
        "commit@0s:100 commit@5s:101 commit@6s:100 commit@10s:101 end@10s:200 now@11s",
        "WARN lag=99",
    );
    // No lag at one of the commits.
    check(
        "end@0s:100 commit@0s:100 end@5s:200 commit@10s:100 now@11s",
        "OK lag=100",
    );
    check(
        "end@0s:101 commit@0s:100 end@5s:200 commit@10s:100 now@11s",
        "STALL lag=100",
    );
    // Up to `allowed_lag` is no lag.
    check(
        "allowed=5 end@0s:105 commit@0s:100 end@5s:200 commit@10s:100 now@11s",
        "OK lag=100",
    );
    check(
        "allowed=5 end@0s:106 commit@0s:100 end@5s:200 commit@10s:100 now@11s",
        "STALL lag=100",
    );
    // A lag that is not known is not none.
    check(
        "commit@0s:100 end@5s:200 commit@10s:100 now@11s",
        "STALL lag=100",
    );
}

#[test]
fn warn_is_a_lag_that_never_shrinks() {
    // It grows.
    check(
        "end@0s:200 commit@0s:100 end@9s:211 commit@10s:110 now@11s",
        "WARN lag=101",
    );
    // It stays.
    check(
        "end@0s:200 commit@0s:100 end@9s:210 commit@10s:110 now@11s",
        "WARN lag=100",
    );
    // It shrinks by one.
    check(
        "end@0s:200 commit@0s:100 end@9s:209 commit@10s:110 now@11s",
        "OK lag=99",
    );
    // It shrank once and grows again.
    check(
        "end@0s:200 commit@0s:100 commit@5s:101 end@9s:300 commit@10s:110 now@11s",
        "OK lag=190",
    );
    // It was within `allowed_lag` once.
    check(
        "allowed=5 end@0s:105 commit@0s:100 end@9s:300 commit@10s:110 now@11s",
        "OK lag=190",
    );
    check(
        "allowed=5 end@0s:106 commit@0s:100 end@9s:300 commit@10s:110 now@11s",
        "WARN lag=190",
    );
    // A late commit has no lag and is skipped: 100, ?, 101 and 100, ?, 99.
    check(
        "end@0s:200 commit@0s:100 end@9s:211 commit@10s:110 late@5s:105 now@11s",
        "WARN lag=101",
    );
    check(
        "end@0s:200 commit@0s:100 end@9s:209 commit@10s:110 late@5s:105 now@11s",
        "OK lag=99",
    );
    // No lag known at all, or one: nothing shrinks.
    check(
        "commit@0s:100 commit@10s:110 end@10s:200 now@11s",
        "WARN lag=90",
    );
    check(
        "commit@0s:100 end@9s:200 commit@10s:110 now@11s",
        "WARN lag=90",
    );
    // Burrow's blind spot: between two polls of the end offset every commit seems to gain ground.
    check(
        "end@0s:200 commit@0s:100 commit@5s:105 end@9s:400 commit@10s:110 commit@15s:115 now@16s",
        "OK lag=285",
    );
}

#[test]
fn an_incomplete_window_is_judged_from_minimum_complete_on() {
    let two = "slots=4 commit@0s:100 commit@10s:110 end@10s:200 now@99s";
    check(two, "STOP lag=90");
    check(&format!("complete=0.5 {two}"), "STOP lag=90");
    check(&format!("complete=0.51 {two}"), "OK lag=90");
    check(&format!("complete=1.0 {two}"), "OK lag=90");
}

#[test]
fn complete_is_burrows_division() {
    for (script, expected) in [
        ("now@0s", 0.0),       // neither commit nor owner
        ("owned now@0s", 0.1), // Burrow counts one blank slot
        ("slots=1 owned now@0s", 1.0),
        ("owned commit@0s:1 now@0s", 0.1),
        ("owned commit@0s:1 commit@1s:1 now@0s", 0.2),
        ("slots=3 commit@0s:1 commit@1s:1 now@0s", 2.0_f32 / 3.0),
        ("slots=2 commit@0s:1 commit@1s:1 now@0s", 1.0),
    ] {
        let (verdict, _) = verdict(script);
        assert_eq!(
            verdict.complete.to_bits(),
            f32::to_bits(expected),
            "{script}"
        );
    }
    // As JSON shows it: 0.7, not 0.69999999.
    let seven = "commit@0s:1 ".repeat(7) + "now@0s";
    assert_eq!(verdict(&seven).0.complete.to_string(), "0.7");
}

#[test]
fn a_partition_without_commits_is_ok() {
    check("end@0s:100 now@99s", "OK lag=0");
    check("owned end@0s:100 now@99s", "OK lag=0");
}

#[test]
fn reasons_carry_the_numbers_of_the_rule() {
    for (script, expected) in [
        (
            "commit@0s:100 commit@10s:110 end@10s:1310 now@21.5s",
            "no commit for 11 s; the last 2 commits span 10 s; lag 1,200",
        ),
        (
            "commit@0s:100 commit@5s:50 commit@6s:40 commit@10s:99 end@10s:200 now@11s",
            "the committed offset went back from 100 to 50; lag 101",
        ),
        (
            "end@0s:200 commit@0s:100 commit@10s:100 now@11s",
            "the last 2 commits all say offset 100; lag 100",
        ),
        (
            "commit@0s:90 end@0s:200 commit@1s:100 end@9s:290 commit@10s:110 now@11s",
            "lag never shrank over the last 3 commits: 100 to 180; lag 180",
        ),
        (
            "commit@0s:100 commit@10s:110 end@10s:200 now@11s",
            "no lag is known for the last 2 commits; lag 90",
        ),
    ] {
        let reason = verdict(script).0.reason.map(|r| r.to_string());
        assert_eq!(reason.as_deref(), Some(expected), "{script}");
    }
}

#[test]
fn the_worst_partition_decides_for_the_group() {
    use Status::{Err, Ok, Rewind, Stall, Stop, Warn};
    for (partitions, expected) in [
        (&[][..], Ok),
        (&[Ok, Ok], Ok),
        (&[Ok, Warn, Ok], Warn),
        (&[Stop], Err),
        (&[Stall, Ok], Err),
        (&[Warn, Rewind, Warn], Err),
        (&[Err, Warn], Err),
    ] {
        assert_eq!(
            group_status(partitions.iter().copied()),
            expected,
            "{partitions:?}"
        );
    }
}
