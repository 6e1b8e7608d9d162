//! Members, and who owns what.

use super::script::check;

#[test]
fn owners_of_classic_groups() {
    let cases: &[(&str, &str, &str)] = &[
        (
            "the member that the assignment names",
            "load@0s commit@1s:5 members@2s:consumer,a=t/0;1 eval@3s,owner",
            "OK lag=? owner=a",
        ),
        (
            "owned, never committed",
            "load@0s members@2s:consumer,a=t/0;1 eval@3s,owner,p=1",
            "OK lag=? owner=a",
        ),
        (
            "another protocol type has members, but no owners",
            "load@0s commit@1s:5 members@2s:connect,a=t/0 eval@3s,owner",
            "OK lag=? owner=-",
        ),
        (
            "a partition that moved away has no owner (Burrow keeps the old one)",
            "load@0s commit@1s:5 members@2s:consumer,a=t/0;1 eval@3s members@4s:consumer,a=t/1 \
             eval@5s,owner",
            "OK lag=? owner=-",
        ),
        (
            "zero members clear all owners",
            "load@0s commit@1s:5 members@2s:consumer,a=t/0 eval@3s members@4s:consumer \
             eval@5s,owner",
            "OK lag=? owner=-",
        ),
        (
            "an older record changes nothing",
            "load@0s commit@1s:5 members@2s:consumer,a=t/0,order=9 members@3s:consumer,order=8 \
             eval@5s,owner",
            "OK lag=? owner=a",
        ),
        (
            "a group that only has members is shown",
            "load@0s members@2s:consumer,a=t/0 eval@3s,owner",
            "OK lag=? owner=a",
        ),
        (
            "without members and commits it is gone",
            "load@0s members@2s:consumer,a=t/0 eval@3s members@4s:consumer eval@5s",
            "none",
        ),
        (
            "a group without members is not hidden",
            "load@0s members@2s:consumer,a=t/0 commit@3s:5 members@4s:consumer eval@5s",
            "OK lag=?",
        ),
    ];
    for (why, script, expected) in cases {
        check(why, script, expected);
    }
}

#[test]
fn owners_of_kip_848_groups() {
    let cases: &[(&str, &str, &str)] = &[
        (
            "topic ids are looked up",
            "load@0s topic@0s:2,id=A commit@1s:5 kind@2s:consumer join@2s:m assign@3s:m=A/0 \
             eval@4s,owner",
            "OK lag=? owner=m",
        ),
        (
            "the member's record may come before the group's",
            "load@0s topic@0s:2,id=A commit@1s:5 join@2s:m kind@2s:consumer assign@3s:m=A/0 \
             eval@4s,owner",
            "OK lag=? owner=m",
        ),
        (
            "an id whose topic becomes known later",
            "load@0s commit@1s:5 kind@2s:consumer join@2s:m assign@3s:m=A/0 eval@4s \
             topic@5s:2,id=A eval@6s,owner",
            "OK lag=? owner=m",
        ),
        (
            "a member that left owns nothing",
            "load@0s topic@0s:2,id=A commit@1s:5 kind@2s:consumer join@2s:m assign@3s:m=A/0 \
             eval@4s leave@5s:m eval@6s,owner",
            "OK lag=? owner=-",
        ),
        (
            "an assignment of a member that never joined owns nothing",
            "load@0s topic@0s:2,id=A commit@1s:5 kind@2s:consumer assign@3s:m=A/0 eval@4s,owner",
            "OK lag=? owner=-",
        ),
        (
            "online upgrade: the classic tombstone after the new records takes nothing away",
            "load@0s topic@0s:2,id=A commit@1s:5 members@1s:consumer,m=t/0 join@2s:m \
             kind@2s:consumer assign@3s:m=A/0 nogroup@3s:classic eval@4s,owner",
            "OK lag=? owner=m",
        ),
        (
            "online upgrade: the classic tombstone before the new records",
            "load@0s topic@0s:2,id=A commit@1s:5 members@1s:consumer,m=t/0 nogroup@2s:classic \
             join@2s:m kind@2s:consumer assign@3s:m=A/0 eval@4s,owner",
            "OK lag=? owner=m",
        ),
        (
            "downgrade: the tombstones of the KIP-848 members leave the classic ones alone",
            "load@0s topic@0s:2,id=A commit@1s:5 join@2s:m kind@2s:consumer assign@3s:m=A/0 \
             members@4s:consumer,m=t/0 leave@5s:m nogroup@5s:consumer eval@6s,owner",
            "OK lag=? owner=m",
        ),
    ];
    for (why, script, expected) in cases {
        check(why, script, expected);
    }
}
