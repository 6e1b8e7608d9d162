//! Sums, memory between beats, and what is asked about time lag.

use super::script::{Player, check, secs};
use crate::lag::evaluation::TimeLagMethod;

#[test]
fn time_lag_says_how_it_knows() {
    let cases: &[(&str, &str, &str)] = &[
        (
            "between two polls",
            "load@0s end@0s:0 end@10s:100 commit@11s:49 end@20s:100 eval@20s,time",
            "STALL lag=51 interpolated 15.0 s ± Some(5.0)",
        ),
        (
            "caught up",
            "load@0s end@0s:0 end@10s:100 commit@11s:100 end@20s:100 eval@20s,time",
            "OK lag=0 caught_up 0.0 s ± Some(0.0)",
        ),
        (
            "within allowed-lag is caught up",
            "allowed:60 load@0s end@0s:0 end@10s:100 commit@11s:49 end@20s:100 eval@20s,time",
            "OK lag=51 caught_up 0.0 s ± Some(0.0)",
        ),
        (
            "beyond everything known",
            "load@0s end@0s:70 end@10s:100 commit@11s:49 end@20s:100 eval@20s,time",
            "STALL lag=51 at_least 20.0 s ± None",
        ),
        (
            "between two answers about the past",
            "load@100s end@100s:70 commit@101s:49 eval@101s ask@101s \
             history@102s:10.001=0,50.001=69 end@110s:100 eval@110s,time",
            "OK lag=51 seeded 71.0 s ± Some(28.985)",
        ),
        (
            "no end offset of this beat",
            "load@0s end@0s:0 end@10s:100 commit@11s:49 end@19s:100 eval@20s,time",
            "STALL lag=? ?",
        ),
    ];
    for (why, script, expected) in cases {
        // Only what is known is compared here; statuses of half a minute's history are not.
        let mut player = Player::default();
        player.play(script);
        let words = |text: &str| {
            text.split(' ')
                .skip(1)
                .filter(|w| *w != "warming")
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(words(&player.seen), words(expected), "{why}: {script}");
    }
}

#[test]
fn a_time_lag_beyond_the_history_is_looked_for() {
    // The record at 10 was written at 1,000 s, seven hours before the start.
    let written = |at: i64| {
        if at < 1_000 {
            5
        } else {
            5 + (at - 999).min(95)
        }
    };
    let mut player = Player::default();
    player.play("end@26000s:100 arrive@26001s:10,ts=25000s load@26001s");
    for beat in (0..8).map(|i| 26_010 + i * 10) {
        player.play(&format!("ask@{beat}s"));
        for question in std::mem::take(&mut player.questions) {
            let points: Vec<_> = question
                .at
                .iter()
                .map(|&at| (at, written(at.as_secs())))
                .collect();
            let event = crate::lag::event::Event::LogHistory {
                topic: "t",
                partition: 0,
                points: &points,
            };
            player.apply(event, secs(&format!("{beat}s")));
        }
        player.play(&format!("end@{beat}s:100 eval@{beat}s"));
    }
    player.play("end@26090s:100");
    let evaluation = player.evaluate(secs("26090s"));
    let lag = evaluation.group("g").unwrap().totals.time_lag.unwrap();
    assert_eq!(lag.method, TimeLagMethod::Seeded);
    let error = lag.error_s.get().unwrap();
    assert!((lag.seconds - 25_085.0).abs() <= error, "{lag:?}");
    assert!(error < lag.seconds * 0.05, "{lag:?}");
}

#[test]
fn sums_are_over_what_is_known() {
    let mut player = Player::default();
    player.play(
        "load@0s topic@0s:4 ends@0s-90s:100 ends@0s-90s:100,p=1 ends@0s-90s:100,p=2 \
         commit@50s:60 commit@95s:70 commit@50s:60,p=1 commit@95s:70,p=1 commit@50s:60,p=2 \
         commit@95s:70,p=2 members@95s:consumer,a=t/0 end@100s:110 end@100s:150,p=2",
    );
    let evaluation = player.evaluate(secs("100s"));
    let totals = &evaluation.group("g").unwrap().totals;
    assert_eq!(totals.lag.get(), Some(40 + 80));
    assert_eq!(totals.total_lag, 40 + 30 + 80);
    assert_eq!(totals.max_lag, Some((0, 2)));
    assert_eq!(totals.partitions, 4, "filled up to the topic's partitions");
    assert_eq!(totals.partitions_unknown, 1);
    assert_eq!(totals.partitions_no_commit, 1);
    assert_eq!(totals.members, 1);
    assert_eq!(evaluation.summary.lag.get(), Some(120));
    assert_eq!(evaluation.summary.offsets_age_s.get(), Some(10.0));
    assert!((totals.consume_rate.get().unwrap() - 3.0 * 10.0 / 45.0).abs() < 0.01);
}

#[test]
fn ties_go_to_the_first() {
    let mut player = Player::default();
    player.play(
        "load@0s end@0s:9,t=b end@0s:9,t=a end@0s:9,t=a,p=1 commit@1s:5,t=b commit@1s:5,t=a \
         commit@1s:5,t=a,p=1",
    );
    let evaluation = player.evaluate(secs("1s"));
    let group = evaluation.group("g").unwrap();
    assert_eq!(group.topics[0].topic.as_str(), "a", "sorted by name");
    assert_eq!(group.totals.max_lag, Some((0, 0)));
}

#[test]
fn an_idle_group_takes_no_memory_twice() {
    let mut player = Player::default();
    player.play("load@0s ends@0s-190s:100 commit@95s:90 commit@101s:100 end@200s:100");
    let first = player.evaluate(secs("200s"));
    player.play("end@210s:100");
    let second = player.evaluate(secs("210s"));
    assert!(std::sync::Arc::ptr_eq(&first.topics[0], &second.topics[0]));
}

#[test]
fn the_clock_may_be_set_back() {
    check(
        "rates and times go on from there",
        "load@0s ends@1000s-1090s:100 commit@1050s:60 commit@1095s:70 end@1100s:100 eval@1100s \
         end@500s:100 arrive@505s:80,ts=505s read@505s:0/0 end@510s:100 eval@510s",
        "OK lag=20",
    );
}
