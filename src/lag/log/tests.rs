//! Polls and seeds as `seconds=end`; `f` behind a number is a fetch of a beat, `s` a process's first
//! poll.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::lag::settings::Rules;

const REFRESH: Duration = Duration::from_secs(10);

fn secs(text: &str) -> Timestamp {
    let seconds: f64 = text.parse().unwrap();
    #[allow(clippy::cast_possible_truncation, reason = "written in a test")]
    Timestamp::from_ms((seconds * 1000.0) as i64)
}

fn points(text: &str) -> Vec<(Timestamp, i64, Purpose)> {
    text.split_whitespace()
        .map(|point| {
            let (at, end) = point.split_once('=').unwrap();
            let (end, purpose) = match end.strip_suffix(['f', 's']) {
                Some(number) if end.ends_with('f') => (number, Purpose::Beat),
                Some(number) => (number, Purpose::Start),
                None => (end, Purpose::Poll),
            };
            (secs(at), end.parse().unwrap(), purpose)
        })
        .collect()
}

fn log(polls: &str) -> Log {
    let mut log = Log::default();
    for (at, end, purpose) in points(polls) {
        log.answer(at, (Some(0), Some(end)), purpose, &Rules::default());
    }
    log
}

fn seed(log: &mut Log, seeds: &str) -> bool {
    let seeds: Vec<_> = points(seeds)
        .into_iter()
        .map(|(at, end, _)| (at, end))
        .collect();
    let is_poll = |at: Timestamp| at == at.aligned(REFRESH);
    log.seed(&seeds, is_poll, REFRESH, secs("1000"), 10)
}

#[test]
fn the_poll_in_force_at_a_moment() {
    for (why, polls, seeds, at, expected) in [
        ("between two polls", "10=100 20=200", "", "15", Some(100)),
        (
            "due at 10, answered a moment later",
            "10.2=100 20=200",
            "",
            "10.1",
            Some(100),
        ),
        (
            "answered later than the moment",
            "10=100 23=200",
            "",
            "22",
            Some(200),
        ),
        ("before all", "10=100 20=200", "", "5", None),
        (
            "no poll was made at its time",
            "10=100 50=200",
            "",
            "35",
            None,
        ),
        (
            "no poll, but the log stood still",
            "10=100 50=100",
            "",
            "35",
            Some(100),
        ),
        (
            "a fetch between polls is none",
            "10=100 15=150f 20=200",
            "",
            "16",
            Some(100),
        ),
        (
            "a process's first poll is none",
            "13=100s 20=200",
            "",
            "16",
            None,
        ),
        (
            "a seed stands for it",
            "13=100s 20=200",
            "10=90",
            "16",
            Some(90),
        ),
        (
            "the newest has no age limit of its own",
            "10=100",
            "",
            "19.9",
            Some(100),
        ),
        ("but does not serve for later", "10=100", "", "21", None),
    ] {
        let mut log = log(polls);
        if !seeds.is_empty() {
            assert!(seed(&mut log, seeds), "{why}");
        }
        assert_eq!(
            log.end_in_force(secs(at), REFRESH, false),
            expected,
            "{why}"
        );
    }
    let log = log("10=100 20=200");
    for (at, expected) in [("25", Some(200)), ("49", Some(200)), ("51", None)] {
        let told = log.end_in_force(secs(at), REFRESH, true);
        assert_eq!(told, expected, "seen live at {at} s: up to three refreshes");
    }
}

#[test]
fn the_end_at_a_moment_lies_between_its_neighbours() {
    for (why, polls, at, expected) in [
        ("half way", "10=100 20=200", "15", Some(150)),
        ("rounded down", "10=100 20=103", "15", Some(101)),
        ("exactly then", "10=100 20=200", "20", Some(200)),
        ("after all: not known yet", "10=100 20=200", "21", None),
        ("before all", "10=100 20=200", "9", None),
        ("too far apart", "10=100 60=200", "15", None),
        (
            "far apart, but the log stood still",
            "10=100 60=100",
            "15",
            Some(100),
        ),
        (
            "a fetch of a beat counts",
            "10=100 12=180f 20=200",
            "12",
            Some(180),
        ),
    ] {
        assert_eq!(log(polls).end_at(secs(at), REFRESH), expected, "{why}");
    }
}

#[test]
fn when_the_log_passed_an_offset() {
    let log = log("10=100 20=200 30=200 40=300");
    let between = |a: &str, x, b: &str, y| Passed::Between {
        earlier: (secs(a), x),
        later: (secs(b), y),
        seeded: false,
    };
    for (offset, expected) in [
        (300, Passed::Unknown),
        (299, between("30", 200, "40", 300)),
        (200, between("30", 200, "40", 300)),
        (199, between("10", 100, "20", 200)),
        (100, between("10", 100, "20", 200)),
        (99, Passed::Before(secs("10"))),
    ] {
        assert_eq!(log.passed(offset), expected, "record {offset}");
    }
}

#[test]
fn the_ring_is_the_last_polls() {
    let polls: Vec<String> = (0..15).map(|i| format!("{}={}", i * 10, i * 5)).collect();
    let full = log(&polls.join(" "));
    assert!(full.is_ring_complete(10));
    assert_eq!(full.ring_min(), Some(25), "the tenth poll from the end");
    assert_eq!(full.produce_rate().get(), Some(0.5));

    let short = log("0=0 10=5 12=6f 14=7f 20=8");
    assert!(!short.is_ring_complete(10) && short.is_ring_complete(3));
    assert_eq!(short.ring_min(), Some(0));

    let mut seeded = log("13=40s 20=50");
    assert_eq!(
        seeded.ring_min(),
        Some(50),
        "the first poll is no part of it"
    );
    assert_eq!(seeded.last_missed_poll(REFRESH), Some(secs("10")));
    assert!(seed(
        &mut seeded,
        "-70=0 -60=0 -50=0 -40=0 -30=0 -20=1 -10=2 0=3 10=30"
    ));
    assert!(seeded.is_ring_complete(10));
    assert_eq!(seeded.ring_min(), Some(0));
}

#[test]
fn seeds_are_believed_as_a_whole_or_not() {
    for (why, seeds, expected) in [
        ("they fit", "10=5 50=40 90=100", true),
        ("none", "", false),
        ("end offsets that go back", "10=50 50=40", false),
        ("moments that go back", "50=40 10=50", false),
        ("more than was polled later", "10=5 50=500", false),
        ("less than was polled before", "130=100 150=150", false),
        ("a little off within a refresh", "95=103", true),
    ] {
        let mut log = log("100=100 110=200 120=300");
        let before = log.passed(0);
        assert_eq!(seed(&mut log, seeds), expected, "{why}");
        if !expected {
            assert_eq!(log.passed(0), before, "{why}: nothing was added");
            assert_eq!(log.asked().0, Asked::Refused);
        }
    }
}

#[test]
fn a_log_end_that_goes_back_is_another_log() {
    let mut log = log("10=100 20=200");
    let rules = Rules::default();
    let step = log.answer(secs("30"), (Some(0), Some(150)), Purpose::Poll, &rules);
    assert_eq!(step, Step::Back);
    assert_eq!(log.passed(120), Passed::Before(secs("30")));
    assert_eq!(log.ring_min(), Some(150));
    let step = log.answer(secs("40"), (None, None), Purpose::Poll, &rules);
    assert_eq!(step, Step::Forward, "an error of Kafka says nothing");
    assert_eq!(log.last_end(), Some(150));
    assert_eq!(log.fresh_end(secs("40")), None);
}

#[test]
fn a_clock_that_is_set_back_moves_the_history_along() {
    let mut log = log("1000=100 1010=200");
    log.answer(
        secs("500"),
        (None, Some(300)),
        Purpose::Poll,
        &Rules::default(),
    );
    let Passed::Between { earlier, later, .. } = log.passed(150) else {
        panic!("still known: {log:?}");
    };
    assert_eq!(
        later.0.ms_since(earlier.0),
        10_000,
        "ten seconds lay between the first two"
    );
    assert!(later.0 < secs("500"));
}

#[test]
fn the_history_is_thinned_with_its_age() {
    for (lagging, limit) in [(false, PLAIN_POINTS), (true, DETAILED_POINTS)] {
        let mut log = Log::default();
        let days = 7;
        for i in 0..days * 8_640 {
            if lagging {
                log.note_lag();
            }
            log.settle();
            let at = Timestamp::from_secs(i * 10);
            log.answer(
                at,
                (Some(0), Some(i * 10)),
                Purpose::Poll,
                &Rules::default(),
            );
        }
        assert!(
            log.heap_bytes() <= limit * 16 * 5 / 4,
            "{} bytes",
            log.heap_bytes()
        );
        assert!(log.is_ring_complete(10));
        let now = days * 86_400 - 10;
        for age in [60, 600, 6_000, 60_000, 500_000] {
            let Passed::Between { earlier, later, .. } = log.passed(now - age) else {
                panic!("the oldest point stays");
            };
            let width = later.0.ms_since(earlier.0) / 1000;
            let allowed = if lagging { age / 16 } else { age * 7 / 10 };
            assert!(width <= 10.max(allowed), "{width} s at an age of {age} s");
        }
    }
}

#[test]
fn looking_for_a_moment_gets_eight_times_as_exact() {
    let mut log = log("1000000=100s");
    let now = secs("1000000");
    let written = |at: Timestamp| if at < secs("400000") { 3 } else { 90 };
    let mut width = i64::MAX;
    while log.want(50, now) {
        let moments = log.dig(Timestamp::from_secs(0), now);
        let seeds: Vec<_> = moments.iter().map(|&at| (at, written(at))).collect();
        assert!(log.seed(&seeds, |_| false, REFRESH, now, 10), "{seeds:?}");
        let Passed::Between { earlier, later, .. } = log.passed(50) else {
            panic!("found: {log:?}");
        };
        assert!((earlier.0..=later.0).contains(&secs("400000")));
        width = later.0.ms_since(earlier.0);
    }
    assert!(
        width < 3_000_000,
        "within an hour after four questions: {width} ms"
    );
}

proptest! {
    #[test]
    fn whatever_is_told_stays_in_order(
        told in prop::collection::vec((0_i64..5_000, 0_i64..1_000, 0_u8..4), 1..120),
    ) {
        let mut log = Log::default();
        let rules = Rules { intervals: 4, ..Rules::default() };
        for (at, end, kind) in told {
            let at = Timestamp::from_secs(at);
            if kind == 3 {
                let later = at.plus(Duration::from_secs(60));
                log.seed(&[(at, end), (later, end + 5)], |at| at.as_secs() % 2 == 0, REFRESH, later, 4);
            } else {
                let purpose = [Purpose::Poll, Purpose::Beat, Purpose::Start][usize::from(kind)];
                log.answer(at, (Some(0), Some(end)), purpose, &rules);
            }
            prop_assert!(log.points.is_in_order(), "{log:?}");
            let last = log.last_end().unwrap_or(0);
            prop_assert_eq!(log.passed(last), Passed::Unknown);
        }
    }
}
