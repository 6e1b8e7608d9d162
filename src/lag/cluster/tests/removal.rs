//! Nothing but its own tombstone, a changed topic id, a deleted topic, expiry or a hand removes a
//! committed offset.

use super::script::{Player, check};
use crate::clock::Timestamp;
use crate::lag::event::Applied;
use crate::lag::settings::{Limits, Rules};

#[test]
fn what_removes_a_committed_offset_and_what_does_not() {
    let cases: &[(&str, &str, &str)] = &[
        (
            "its own tombstone",
            "load@0s end@1s:9 commit@2s:5 gone@3s end@4s:9 eval@4s",
            "none",
        ),
        (
            "a tombstone older than the commit does not",
            "load@0s end@1s:9 commit@2s:5,order=7 gone@3s,order=6 end@4s:9 eval@4s,lags",
            "4",
        ),
        (
            "a commit read again after its tombstone stays gone",
            "load@0s end@1s:9 commit@2s:5,order=3 commit@2s:5,order=3,g=h gone@3s,order=4 \
             commit@5s:5,order=3 eval@6s",
            "none",
        ),
        (
            "a commit after the tombstone brings it back",
            "load@0s end@1s:9 commit@2s:5 gone@3s commit@4s:7 end@5s:9 eval@5s,lags",
            "2",
        ),
        (
            "the group's tombstone takes the members only",
            "load@0s end@1s:9 commit@2s:5 members@2s:consumer,a=t/0 nogroup@3s:classic end@4s:9 \
             eval@4s,lags,owner",
            "4",
        ),
        (
            "an end offset that goes back takes the lags, never the commit",
            "load@0s end@1s:9 commit@2s:5 end@13s:7 eval@13s,lags",
            "?",
        ),
        (
            "an end offset that goes back: lag is known all the same",
            "load@0s end@1s:9 commit@1s:4 commit@2s:5 end@3s:7 eval@3s",
            "OK lag=2",
        ),
        (
            "an error of Kafka for the partition",
            "load@0s end@1s:9 commit@2s:5 noend@3s eval@4s,lags",
            "4",
        ),
        (
            "the newest commit is expire-group old: gone",
            "expire:60 load@0s end@1s:9 commit@2s:5 end@63s:9 eval@63s",
            "none",
        ),
        (
            "not yet",
            "expire:60 load@0s end@1s:9 commit@1s:4 commit@2s:5 end@62s:9 eval@62s,lags",
            "5 4",
        ),
        (
            "an expired group with members comes back with them when it commits",
            "expire:60 load@0s end@1s:9 commit@2s:5 members@2s:consumer,a=t/0 eval@63s \
             commit@64s:9 end@65s:9 eval@65s,owner",
            "OK lag=0 owner=a",
        ),
        (
            "an expired group is not shown for its members",
            "expire:60 load@0s end@1s:9 commit@2s:5 members@2s:consumer,a=t/0 eval@63s",
            "none",
        ),
        (
            "deleted by hand",
            "load@0s end@1s:9 commit@2s:5 forget eval@4s",
            "none",
        ),
        (
            "deleted by hand: the next commit brings it back",
            "load@0s end@1s:9 commit@2s:5 forget eval@4s commit@5s:8 eval@6s,lags",
            "1",
        ),
        (
            "one of its topics deleted by hand",
            "load@0s end@1s:9 commit@2s:5 commit@2s:5,t=u forget:t eval@4s",
            "OK no such partition",
        ),
        (
            "its last topic deleted by hand",
            "load@0s end@1s:9 commit@2s:5 forget:t eval@4s",
            "none",
        ),
        (
            "a smaller commit order in a new epoch is newer",
            "load@0s end@1s:9 commit@2s:5,order=900 commit@3s:7,order=1,epoch=1 end@4s:9 \
             eval@4s,lags",
            "4 2",
        ),
    ];
    for (why, script, expected) in cases {
        check(why, script, expected);
    }
}

#[test]
fn what_a_topic_takes_with_it_that_is_another_one_or_gone() {
    let cases: &[(&str, &str, &str)] = &[
        (
            "another topic id under the name",
            "load@0s topic@0s:1,id=A end@1s:9 commit@2s:5 topic@3s:1,id=B end@4s:9 eval@4s",
            "none",
        ),
        (
            "the same topic id again does not, nor another partition count",
            "load@0s topic@0s:1,id=A end@1s:9 commit@2s:5 topic@3s:2,id=A end@4s:9 eval@4s,lags",
            "4",
        ),
        (
            "a commit that carries another id: the topic is another one",
            "load@0s topic@0s:1,id=A end@1s:9 commit@2s:5,id=A commit@3s:1,id=B eval@4s,lags",
            "?",
        ),
        (
            "a commit may be about the new topic when it came after the last answer about the old",
            "load@0s topics@0s topic@0s:1,id=A end@1s:9 commit@2s:8 gone@3s commit@4s:2 \
             topic@5s:2,id=B,until=1 end@6s:9 eval@6s",
            "OK lag=7 warming",
        ),
        (
            "of several such commits the last one, and its lag in the new topic",
            "load@0s topics@0s topic@0s:1,id=A end@1s:9 commit@2s:2 commit@3s:5 \
             topic@5s:1,id=B,until=1 end@6s:20 eval@6s,lags",
            "15",
        ),
        (
            "a commit that came before that answer is about the old topic",
            "load@0s topics@0s topic@0s:1,id=A end@1s:9 commit@2s:5 topics@3s \
             topic@5s:1,id=B,until=2 end@6s:9 eval@6s",
            "none",
        ),
        (
            "which came first is no matter of clocks",
            "load@0s topics@0s topic@0s:1,id=A end@1s:9 commit@90s:5,g=h topics@50s \
             commit@40s:5 topic@30s:1,id=B,until=2 end@41s:9 eval@41s",
            "OK lag=4 warming",
        ),
        (
            "a commit that names its topic's id is about the old topic whenever it came",
            "load@0s topics@0s topic@0s:1,id=A end@1s:9 commit@2s:5,id=A \
             topic@5s:1,id=B,until=1 end@6s:9 eval@6s",
            "none",
        ),
        (
            "a topic that says its id for the first time is the one it was",
            "load@0s topics@0s topic@0s:1 end@1s:9 commit@2s:5 topics@3s topic@4s:1,id=A,until=2 \
             end@5s:9 eval@5s,lags",
            "4",
        ),
        (
            "also when a commit says it first",
            "load@0s topics@0s topic@0s:1 end@1s:9 commit@2s:5 commit@3s:6,id=A topics@4s \
             topic@4s:1,id=A,until=2 end@5s:9 eval@5s,lags",
            "4 3",
        ),
        (
            "a late commit about the topic of before changes nothing",
            "load@0s topic@5s:1,id=B end@6s:9 commit@7s:5,id=B arrive@8s:900,ts=2s,id=A \
             end@9s:9 eval@9s,lags",
            "4",
        ),
        (
            "a deleted topic",
            "load@0s end@1s:9 commit@2s:5 nottopic@3s eval@4s",
            "none",
        ),
        (
            "a deleted topic, but not a commit that came after the last answer without it",
            "load@0s topics@0s end@1s:9 commit@2s:8,g=h topics@3s commit@4s:5 \
             nottopic@5s,until=2 end@6s:9 eval@6s",
            "OK lag=4 warming",
        ),
    ];
    for (why, script, expected) in cases {
        check(why, script, expected);
    }
}

#[test]
fn every_event_has_an_outcome() {
    use Applied::{
        Appended, Duplicate, Filtered, Inserted, Invalid, Merged, Noted, OverLimit, Removed, TooOld,
    };
    let cases: &[(&str, &str, Applied)] = &[
        ("a newer commit", "commit@1s:5", Appended),
        (
            "a late one",
            "commit@1s:5,order=9 commit@1s:4,order=8",
            Inserted,
        ),
        ("time went back", "commit@2s:5 arrive@3s:5,ts=1s", Merged),
        (
            "the same again",
            "commit@1s:5,order=9 commit@1s:5,order=9",
            Duplicate,
        ),
        (
            "older than expire-group",
            "expire:60 arrive@70s:5,ts=9s",
            TooOld,
        ),
        ("a denied group", "commit@1s:5,g=denied-1", Filtered),
        (
            "a denied group's members",
            "members@1s:consumer,g=denied-1",
            Filtered,
        ),
        (
            "one group too many",
            "commit@1s:5 commit@1s:5,g=h commit@1s:5,g=i",
            OverLimit,
        ),
        (
            "members of a group too many",
            "commit@1s:5 commit@1s:5,g=h kind@1s:consumer,g=i",
            OverLimit,
        ),
        (
            "one partition too many",
            "commit@1s:5,p=3 commit@1s:5,p=4",
            OverLimit,
        ),
        (
            "no topic has that many partitions",
            "commit@1s:5,p=2147483647",
            OverLimit,
        ),
        ("the last partition that fits", "commit@1s:5,p=3", Appended),
        ("a negative partition", "commit@1s:5,p=-1", Invalid),
        ("a negative offset", "commit@1s:-1", Invalid),
        ("a tombstone", "commit@1s:5 gone@2s", Removed),
        ("a tombstone of nothing", "gone@2s", Noted),
        (
            "a tombstone of an impossible partition",
            "gone@2s,p=-1",
            Invalid,
        ),
        (
            "a group's tombstone",
            "members@1s:consumer,a=t/0 nogroup@2s:classic",
            Removed,
        ),
        ("a topic", "topic@1s:2", Noted),
        ("a deleted topic", "topic@1s:2 nottopic@2s", Removed),
        ("another id", "topic@1s:2,id=A topic@1s:2,id=B", Removed),
        ("an end offset", "end@1s:5", Noted),
        (
            "an end offset of an impossible partition",
            "end@1s:5,p=-7",
            Invalid,
        ),
    ];
    for (why, script, expected) in cases {
        let limits = Limits {
            groups: 2,
            partitions: 4,
        };
        let mut player = Player::new(Rules::default(), limits);
        player.play("load@0s");
        player.play(script);
        assert_eq!(player.outcomes.last(), Some(expected), "{why}: {script}");
        let counted: u64 = Applied::ALL
            .iter()
            .map(|&outcome| player.cluster.counts().of(outcome))
            .sum();
        assert_eq!(
            counted,
            player.outcomes.len() as u64,
            "{why}: all are counted"
        );
    }
}

#[test]
fn what_is_refused_leaves_nothing_behind() {
    let limits = Limits {
        groups: 10,
        partitions: 4,
    };
    let mut player = Player::new(Rules::default(), limits);
    player.play("load@0s commit@1s:5,p=3");
    let before = player.cluster.core_bytes();
    for i in 0..1_000 {
        player.play(&format!(
            "commit@1s:5,g=x{i},t=y{i} commit@1s:5,t=z{i},p=99"
        ));
    }
    player.cluster.prune(Timestamp::from_secs(2));
    assert!(
        player.cluster.core_bytes() < before + 4096,
        "{} after {before} bytes",
        player.cluster.core_bytes()
    );
}

#[test]
fn names_nobody_uses_are_forgotten() {
    let mut player = Player::default();
    player.play("load@0s end@0s:5");
    let before = player.cluster.core_bytes();
    for i in 0..100 {
        player.play(&format!("commit@1s:5,g=x{i},t=y{i} gone@2s,g=x{i},t=y{i}"));
    }
    player.cluster.evaluate(Timestamp::from_secs(3));
    assert_eq!(player.cluster.core_bytes(), before);
}

#[test]
fn questions_without_end_make_no_old_commit_young() {
    let mut player = Player::default();
    player.play("load@0s topics@0s topic@0s:2,id=A end@1s:9 end@1s:9,p=1 commit@2s:5");
    for _ in 0..u32::from(u16::MAX) + 10 {
        player.play("topics@3s");
    }
    player.play("commit@4s:6,p=1 topic@5s:2,id=B,until=1 end@6s:9 end@6s:9,p=1");
    let evaluation = player.evaluate(Timestamp::from_secs(6));
    let partitions = &evaluation.groups[0].topics[0].partitions;
    let lags: Vec<_> = partitions.iter().map(|p| p.lag.get()).collect();
    assert_eq!(lags, [None, Some(3)]);
}
