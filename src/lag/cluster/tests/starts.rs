//! After any start, no group shows WARN or ERR that a process running all along would not show, and
//! one that is really stopped, stalled or falling behind shows it within two beats.

use super::script::{Player, check, secs};
use crate::clock::Timestamp;

/// Commits every 10 s, replayed at 100 s before the end of the offsets topic is reached.
const FALLS_BEHIND: &str = "end@100s:1000 \
    arrive@101s:10,ts=11s arrive@101s:20,ts=21s arrive@101s:30,ts=31s arrive@101s:40,ts=41s \
    arrive@101s:50,ts=51s arrive@101s:60,ts=61s arrive@101s:70,ts=71s arrive@101s:80,ts=81s \
    arrive@101s:90,ts=91s arrive@101s:100,ts=100.5s load@101s";

#[test]
fn while_loading_nothing_is_said() {
    let cases: &[(&str, &str, &str)] = &[
        ("nothing told", "end@1s:9 eval@2s", "Waiting"),
        ("no offsets topic yet", "load@1s,of=0 eval@2s", "Waiting"),
        (
            "one of two partitions of the offsets topic read",
            "load@1s,of=2 eval@2s",
            "Loading { read: 0, total: 0 }",
        ),
        (
            "the size is known when all partitions have told",
            "read@1s:4/4,of=2 read@1s:1/9!,of=2,p=1 eval@2s",
            "Loading { read: 5, total: 13 }",
        ),
        (
            "all read",
            "load@1s,of=2 load@1s,of=2,p=1 commit@1s:5 eval@2s,lags",
            "?",
        ),
    ];
    for (why, script, expected) in cases {
        check(why, script, expected);
    }
}

#[test]
fn replayed_commits_are_not_measured_against_today() {
    let cases: &[(&str, &str, &str)] = &[
        (
            "until Kafka has answered the group is warming",
            "ask@101s fetch@101s:1000 eval@101s",
            "OK lag=900 warming",
        ),
        (
            "the last journaled status speaks meanwhile",
            "status@101s:ERR ask@101s end@110s:1000 eval@110s",
            "OK lag=900 group=ERR warming",
        ),
        (
            "unless the group has committed since: it may have recovered",
            "status@98s:ERR ask@101s end@110s:1000 eval@110s",
            "OK lag=900 warming",
        ),
        (
            "nor when it is ten minutes old",
            "status@-600s:ERR ask@101s end@110s:1000 eval@110s",
            "OK lag=900 warming",
        ),
        (
            "answered: it has been falling behind all along",
            "ask@101s history@102s:0=0,10=100,20=200,30=300,40=400,50=500,60=600,70=700,80=800,90=900,100=1000 \
             end@110s:1100 eval@110s",
            "WARN lag=1000",
        ),
        (
            "answered: it has had lag for a moment only",
            "ask@101s history@102s:0=0,10=10,20=20,30=30,40=40,50=50,60=60,70=70,80=80,90=90,100=1000 \
             end@110s:1000 eval@110s",
            "OK lag=900",
        ),
        (
            "Kafka cannot say: nothing is made up",
            "ask@101s history@102s: end@110s:1000 eval@110s",
            "OK lag=900",
        ),
        (
            "what Kafka says cannot be true: nothing is made up",
            "ask@101s history@102s:0=500,10=200,90=1000 end@110s:1000 eval@110s",
            "OK lag=900",
        ),
        (
            "no answer for a minute: not warming for ever",
            "ask@101s end@163s:1000 eval@163s",
            "OK lag=900",
        ),
        (
            "nobody asks: not warming for ever",
            "end@110s:1000 eval@110s end@175s:1000 eval@175s",
            "OK lag=900",
        ),
    ];
    for (why, script, expected) in cases {
        check(why, &format!("{FALLS_BEHIND} {script}"), expected);
    }
}

#[test]
fn groups_without_lag_ask_nothing() {
    let mut player = Player::default();
    player.play("end@100s:50 arrive@101s:40,ts=80s arrive@101s:50,ts=90s load@101s ask@101s");
    assert_eq!(player.questions, []);
    player.play("end@110s:50 eval@110s,lags");
    assert_eq!(player.seen, "? 0", "the last commit's lag follows");
}

#[test]
fn what_is_asked() {
    let mut player = Player::default();
    player.play(FALLS_BEHIND);
    player.play("ask@101s ask@102s eval@103s ask@103s");
    let [question] = player.questions.as_slice() else {
        panic!("one question, once: {:?}", player.questions);
    };
    // The polls in force at the commits' times, and the polls that were not made before 100 s.
    let expected: Vec<Timestamp> = (1..=10).map(|i| Timestamp::from_secs(i * 10)).collect();
    assert_eq!(question.at, expected);

    let mut player = Player::default();
    player.play("interpolated end@100s:50 arrive@101s:40,ts=83.5s load@101s ask@101s");
    let asked = player.questions.first().unwrap();
    assert!(
        asked.at.contains(&secs("83.5s")),
        "the commit's own time: {asked:?}"
    );
}

#[test]
fn stopped_groups_show_it_with_the_answer() {
    let start = "end@300s:1000 arrive@301s:10,ts=11s arrive@301s:20,ts=21s load@301s";
    let cases: &[(&str, &str, &str)] = &[
        (
            "never caught up while the ring reaches back",
            "ask@301s history@302s:10=15,20=25,200=900,210=910,220=920,230=930,240=940,250=950,\
             260=960,270=970,280=980,290=990 end@310s:1000 eval@310s",
            "STOP lag=980",
        ),
        (
            "caught up in that time, because nothing was written",
            "ask@301s history@302s:10=15,20=20,200=20,210=20,220=20,230=20,240=20,250=20,260=20,\
             270=20,280=20,290=20 end@310s:1000 eval@310s",
            "OK lag=980",
        ),
        (
            "Kafka cannot say: shown once the ring has filled itself",
            "ask@301s history@302s: ends@310s-390s:1000 eval@390s",
            "OK lag=980",
        ),
        (
            "Kafka cannot say, but the ring has filled itself",
            "ask@301s history@302s: ends@310s-400s:1000 eval@400s",
            "STOP lag=980",
        ),
    ];
    for (why, script, expected) in cases {
        check(why, &format!("{start} {script}"), expected);
    }
}

#[test]
fn a_window_cut_short_by_compaction_proves_little() {
    // Only the last commit is left; there are gaps up to record 50 of the offsets topic.
    let start = |silent: i64, gaps: i64| {
        let at = 1000 - silent;
        let ages: Vec<String> = (0..10).map(|i| format!("{}=900", 990 - i * 10)).collect();
        format!(
            "end@1000s:900 arrive@1001s:20,ts={at}s,order=40 load@1001s:{gaps} ask@1001s \
             history@1002s:{}=30,{} end@1010s:900 eval@1010s",
            at / 10 * 10,
            ages.iter().rev().cloned().collect::<Vec<_>>().join(",")
        )
    };
    for (why, script, expected) in [
        (
            "silent for five minutes: it may be one that commits every hour",
            start(300, 50),
            "OK lag=880",
        ),
        ("silent for long enough", start(700, 50), "STOP lag=880"),
        (
            "nothing was compacted away: it has only ever committed once",
            start(300, 0),
            "STOP lag=880",
        ),
        (
            "known to be bad before the start",
            format!("status@900s:ERR {}", start(300, 50)),
            "STOP lag=880",
        ),
    ] {
        check(why, &script, expected);
    }
}
