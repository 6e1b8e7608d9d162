//! Where a commit goes, case by case; the compact and the full form.

use std::time::Duration;

use proptest::prelude::*;

use super::ring::any_commit;
use super::*;

/// `#order@seconds:offset`, with `order` written `epoch/offset` outside epoch 0.
fn commit(text: &str) -> StoredCommit {
    let (order, rest) = text.strip_prefix('#').unwrap().split_once('@').unwrap();
    let (at, offset) = rest.split_once(':').unwrap();
    let (epoch, order) = order.split_once('/').unwrap_or(("0", order));
    let at_s: i64 = at.strip_suffix('s').unwrap().parse().unwrap();
    let offset: i64 = offset.parse().unwrap();
    StoredCommit {
        offset,
        timestamp: Timestamp::from_secs(at_s),
        observed_at_s: u32::try_from(at_s + 1).unwrap(),
        order: Order {
            epoch: epoch.parse().unwrap(),
            offset: order.parse().unwrap(),
        },
        lag: MaybeI64::some(1000 - offset),
    }
}

fn show(commit: &StoredCommit) -> String {
    let epoch = match commit.order.epoch {
        0 => String::new(),
        epoch => format!("{epoch}/"),
    };
    let lag = commit.lag.get().map_or(String::new(), |l| format!("~{l}"));
    format!(
        "#{epoch}{}@{}s:{}{lag}",
        commit.order.offset,
        commit.timestamp.as_secs(),
        commit.offset
    )
}

fn show_all(window: &Window) -> String {
    let commits: Vec<String> = window.iter().map(|c| show(&c)).collect();
    commits.join(" ")
}

/// `script`: `slots=N min=Ns` and commits, which come with a lag of 1000 - offset. `expected`: the
/// outcome of the last commit, then the window; `~` marks a known lag.
fn check(script: &str, expected: &str) {
    let (mut slots, mut min) = (3, Duration::ZERO);
    let (mut window, mut outcome) = (Window::new(), None);
    for word in script.split_whitespace() {
        match word.split_once('=') {
            Some(("slots", n)) => slots = n.parse().unwrap(),
            Some(("min", s)) => {
                min = Duration::from_secs(s.strip_suffix('s').unwrap().parse().unwrap());
            }
            _ => outcome = Some(window.push(commit(word), slots, min)),
        }
    }
    let outcome = outcome.map_or("none", Applied::label);
    assert_eq!(
        format!("{outcome} | {}", show_all(&window)),
        expected,
        "{script}"
    );
}

#[test]
fn order_decides_the_place() {
    // The first commit.
    check("#5@0s:100", "appended | #5@0s:100~900");
    // Newer, with room.
    check(
        "#5@0s:100 #6@10s:110",
        "appended | #5@0s:100~900 #6@10s:110~890",
    );
    // Newer, full: the oldest goes.
    check(
        "slots=2 #5@0s:1 #6@10s:2 #7@20s:3",
        "appended | #6@10s:2~998 #7@20s:3~997",
    );
    // Late, between two, with room: no lag for it, the others keep theirs.
    check(
        "slots=3 #5@0s:1 #7@20s:3 #6@10s:2",
        "inserted | #5@0s:1~999 #6@10s:2 #7@20s:3~997",
    );
    // Late, between two newer ones, full: the oldest goes.
    check(
        "slots=3 #1@0s:1 #3@10s:3 #5@20s:5 #4@15s:4",
        "inserted | #3@10s:3~997 #4@15s:4 #5@20s:5~995",
    );
    // Late, before the only one, with room: it becomes the oldest.
    check("#5@9s:1 #4@0s:0", "inserted | #4@0s:0 #5@9s:1~999");
    // Late, before all, into the last blank slot: the window is full then.
    check(
        "slots=2 #5@9s:1 #4@0s:0 #6@19s:2",
        "appended | #5@9s:1~999 #6@19s:2~998",
    );
    // Time does not decide: later in time, but older in order.
    check(
        "slots=3 #5@9s:1 #4@20s:0",
        "inserted | #4@20s:0 #5@9s:1~999",
    );
    // A newer epoch is newer, however small its offset.
    check(
        "slots=2 #900@0s:1 #1/3@10s:2",
        "appended | #900@0s:1~999 #1/3@10s:2~998",
    );
}

#[test]
fn the_same_order_again_is_ignored() {
    // The newest, a middle one, the oldest; whatever it says.
    check("#5@0s:1 #5@9s:2", "duplicate | #5@0s:1~999");
    check(
        "slots=4 #5@0s:1 #6@1s:2 #7@2s:3 #6@9s:9",
        "duplicate | #5@0s:1~999 #6@1s:2~998 #7@2s:3~997",
    );
    check(
        "slots=2 #5@0s:1 #6@1s:2 #5@9s:9",
        "duplicate | #5@0s:1~999 #6@1s:2~998",
    );
    // Also in a window of one place.
    check("slots=1 #5@0s:1 #5@9s:2", "duplicate | #5@0s:1~999");
}

#[test]
fn older_than_all_counts_only_while_there_is_room() {
    check(
        "slots=2 #5@0s:1 #6@1s:2 #4@0s:0",
        "too_old | #5@0s:1~999 #6@1s:2~998",
    );
    check(
        "slots=3 #5@0s:1 #6@1s:2 #4@0s:0",
        "inserted | #4@0s:0 #5@0s:1~999 #6@1s:2~998",
    );
    check("slots=1 #5@0s:1 #4@0s:0", "too_old | #5@0s:1~999");
}

#[test]
fn a_commit_too_soon_replaces_the_previous_one() {
    // One second short of the distance (`ring.rs` has the millisecond).
    check(
        "min=10s #1@0s:1 #2@20s:2 #3@29s:3",
        "merged | #1@0s:1~999 #3@20s:3~997",
    );
    // Exactly the distance: a place of its own.
    check(
        "min=10s #1@0s:1 #2@20s:2 #3@30s:3",
        "appended | #1@0s:1~999 #2@20s:2~998 #3@30s:3~997",
    );
    // The time of the place stays, so the third one is far enough from the first.
    check(
        "min=10s #1@0s:1 #2@6s:2 #3@12s:3",
        "appended | #2@0s:2~998 #3@12s:3~997",
    );
    // Signed: time that goes back merges without any distance, equal times do not.
    check("#1@9s:1 #2@8s:2", "merged | #2@9s:2~998");
    check("#1@9s:1 #2@9s:2", "appended | #1@9s:1~999 #2@9s:2~998");
    // Full: the oldest stays.
    check(
        "slots=2 min=10s #1@0s:1 #2@20s:2 #3@21s:3",
        "merged | #1@0s:1~999 #3@20s:3~997",
    );
    // One place: only the time differs from an append.
    check("slots=1 min=10s #1@0s:1 #2@9s:2", "merged | #2@0s:2~998");
    check(
        "slots=1 min=10s #1@0s:1 #2@10s:2",
        "appended | #2@10s:2~998",
    );
}

#[test]
fn a_late_commit_merges_with_the_one_before_its_place() {
    // It takes the place, keeps the time, and its lag is unknown: the known one is lost.
    check(
        "slots=4 min=10s #1@0s:1 #5@20s:5 #3@8s:3",
        "merged | #3@0s:3 #5@20s:5~995",
    );
    // Far enough from the one before, however near the one behind: a place of its own.
    check(
        "slots=4 min=10s #1@0s:1 #5@20s:5 #3@19s:3",
        "inserted | #1@0s:1~999 #3@19s:3 #5@20s:5~995",
    );
    // Full, not behind the oldest: merged, and the oldest stays.
    check(
        "slots=3 min=10s #1@0s:1 #3@20s:3 #9@40s:9 #4@21s:4",
        "merged | #1@0s:1~999 #4@20s:4 #9@40s:9~991",
    );
    // Full, just behind the oldest: takes the oldest slot with its own time, never merged.
    check(
        "slots=3 min=10s #1@0s:1 #3@20s:3 #9@40s:9 #2@1s:2",
        "inserted | #2@1s:2 #3@20s:3~997 #9@40s:9~991",
    );
    // The same place with room is merged.
    check(
        "slots=4 min=10s #1@0s:1 #3@20s:3 #9@40s:9 #2@1s:2",
        "merged | #2@0s:2 #3@20s:3~997 #9@40s:9~991",
    );
    // Older than all, with room: the newest stands before it in the ring, but is newer.
    check(
        "slots=2 min=99s #5@9s:5 #4@8s:4",
        "inserted | #4@8s:4 #5@9s:5~995",
    );
}

#[test]
fn a_merged_commit_that_is_read_again_is_new_to_the_window() {
    check(
        "min=10s #1@0s:1 #2@5s:2 #1@0s:1",
        "inserted | #1@0s:1 #2@0s:2~998",
    );
    check(
        "slots=1 min=10s #1@0s:1 #2@5s:2 #1@0s:1",
        "too_old | #2@0s:2~998",
    );
}

#[test]
fn knows_who_would_be_the_newest() {
    let mut window = Window::new();
    let at = |text| commit(text).order;
    assert!(window.is_newest(at("#0@0s:0")));
    window.push(commit("#5@0s:1"), 3, Duration::ZERO);
    for (text, expected) in [
        ("#4@0s:0", false),
        ("#5@0s:0", false),
        ("#6@0s:0", true),
        ("#1/0@0s:0", true),
    ] {
        assert_eq!(window.is_newest(at(text)), expected, "{text}");
    }
}

#[test]
fn another_size_keeps_the_newest_commits() {
    let mut window = Window::new();
    let mut push = |text, slots| {
        window.push(commit(text), slots, Duration::ZERO);
        show_all(&window)
    };
    for text in ["#1@1s:1", "#2@2s:2", "#3@3s:3", "#4@4s:4"] {
        push(text, 3);
    }
    // Larger, after the full window's ring had turned.
    assert_eq!(
        push("#5@5s:5", 4),
        "#2@2s:2~998 #3@3s:3~997 #4@4s:4~996 #5@5s:5~995"
    );
    // Smaller.
    assert_eq!(push("#6@6s:6", 2), "#5@5s:5~995 #6@6s:6~994");
    // 0 is taken as 1.
    assert_eq!(push("#7@7s:7", 0), "#7@7s:7~993");
}

#[test]
fn ten_commits_take_244_bytes_and_none_nothing_on_the_heap() {
    let mut window = Window::new();
    assert_eq!(window.heap_bytes(), 0);
    for n in 0..40_i64 {
        window.push(steady(n), 10, Duration::ZERO);
        assert_eq!(window.heap_bytes(), 20 * (window.len() - 1));
    }
    assert_eq!(window.len(), 10);
    assert_eq!(size_of::<Window>() + window.heap_bytes(), 244);
    assert_eq!(window.first(), Some(steady(30)));
    assert_eq!(window.last(), Some(steady(39)));
}

/// A group that commits every ten seconds, at its `n`th commit.
fn steady(n: i64) -> StoredCommit {
    StoredCommit {
        offset: 5_000_000_000_000 + n * 1_000_000,
        timestamp: Timestamp::from_ms(1_760_000_000_123 + n * 10_000),
        observed_at_s: 1_760_000_001 + u32::try_from(n).unwrap() * 10,
        order: Order {
            epoch: Order::EPOCH_MAX - 1,
            offset: 90_000_000_000 + n * 777,
        },
        lag: MaybeI64::some(n * 3),
    }
}

#[test]
fn what_does_not_fit_is_kept_in_full_until_it_does() {
    const FAR: i64 = 1 << 40;
    type Change = fn(&mut StoredCommit);
    let cases: [(&str, Change); 7] = [
        ("a rewind over more than 2^32 records", |c| c.offset -= FAR),
        ("a jump ahead", |c| c.offset += FAR),
        ("ten years later", |c| {
            c.timestamp = Timestamp::from_ms(c.timestamp.as_ms() + 315_360_000_000);
        }),
        ("order far away", |c| c.order.offset += FAR),
        ("another epoch", |c| c.order.epoch += 1),
        ("a lag above 2^32", |c| c.lag = MaybeI64::some(FAR)),
        ("the lag that marks none", |c| {
            c.lag = MaybeI64::some(i64::from(u32::MAX));
        }),
    ];
    for (why, change) in cases {
        let mut window = Window::new();
        let mut expected = Vec::new();
        for n in 0..14_i64 {
            let mut commit = steady(n);
            if n >= 3 {
                // From here on everything is far away; only the lag comes back.
                change(&mut commit);
                if n > 3 {
                    commit.lag = MaybeI64::NONE;
                }
            }
            expected.push(commit);
            window.push(commit, 10, Duration::ZERO);
            let newest = expected.len().saturating_sub(10);
            assert!(
                window.iter().eq(expected[newest..].iter().copied()),
                "{why}"
            );
            // The one far lag leaves with its commit; the rest is alike again one commit earlier.
            let is_mixed = if why.contains("lag") {
                (3..=12).contains(&n)
            } else {
                (3..=11).contains(&n)
            };
            let is_wide = window.heap_bytes() > 20 * window.len();
            assert_eq!(is_wide, is_mixed, "{why} {n}");
        }
    }
}

#[test]
fn lags_are_set_and_cleared_in_both_forms() {
    let mut window = Window::new();
    for n in 0..12 {
        window.push(steady(n), 10, Duration::ZERO);
    }
    window.set_lag(3, MaybeI64::some(77));
    window.set_lag(10, MaybeI64::some(1)); // there is no eleventh commit
    let lags = |window: &Window| window.iter().map(|c| c.lag.get()).collect::<Vec<_>>();
    let known = |window: &Window| lags(window).iter().flatten().sum::<i64>();
    assert_eq!(lags(&window)[3], Some(77));
    assert_eq!(
        known(&window),
        (2..12).map(|n| n * 3).sum::<i64>() - 15 + 77
    );

    let wide = 1_i64 << 33;
    window.set_lag(9, MaybeI64::some(wide));
    assert_eq!(lags(&window)[9], Some(wide));
    assert_eq!(lags(&window)[3], Some(77));
    window.set_lag(9, MaybeI64::some(1));
    window.set_lag(10, MaybeI64::some(1));
    assert_eq!(lags(&window)[9], Some(1));
    window.clear_lags();
    assert_eq!(lags(&window), vec![None; 10]);
    assert_eq!(window.len(), 10);
}

#[test]
fn commits_can_be_read_from_both_ends() {
    let mut window = Window::new();
    for n in 0..12 {
        window.push(steady(n), 10, Duration::ZERO);
    }
    let mut back: Vec<StoredCommit> = window.iter().rev().collect();
    back.reverse();
    assert!(window.iter().eq(back));
    assert_eq!(window.iter().len(), 10);
    assert_eq!((&window).into_iter().next(), window.first());
}

proptest! {
    #[test]
    fn setting_lags_changes_nothing_else(
        commits in prop::collection::vec(any_commit(), 1..12),
        changes in prop::collection::vec((0..12_usize, any_commit()), 0..12),
    ) {
        let mut window = Window::new();
        for commit in commits {
            window.push(commit, 10, Duration::ZERO);
        }
        let mut expected: Vec<StoredCommit> = window.iter().collect();
        for (index, StoredCommit { lag, .. }) in changes {
            window.set_lag(index, lag);
            if let Some(commit) = expected.get_mut(index) {
                commit.lag = lag;
            }
            prop_assert!(window.iter().eq(expected.iter().copied()));
        }
        window.clear_lags();
        prop_assert!(window.iter().all(|c| c.lag == MaybeI64::NONE));
        prop_assert_eq!(window.len(), expected.len());
    }
}
