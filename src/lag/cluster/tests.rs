//! Scripts: one line tells what happens, one what is seen.

mod impossible;
mod measured;
mod memberships;
mod removal;
mod restored;
mod script;
mod starts;
mod total;

use self::script::check;

#[test]
fn a_cluster_that_was_watched_all_along() {
    // Polls since 0 s, so that the ring is complete at 100 s.
    let cases: &[(&str, &str, &str)] = &[
        (
            "the lag is the end offset of this beat minus the commit",
            "load@0s ends@0s-90s:100 commit@50s:60 commit@95s:70 end@100s:100 eval@100s",
            "OK lag=30",
        ),
        (
            "no end offset of this beat: the lag is absent, the status is not",
            "load@0s ends@0s-90s:100 commit@50s:60 commit@95s:70 end@100s:100 eval@100s eval@110s",
            "OK lag=?",
        ),
        (
            "an end offset three polls old still serves, an older one does not",
            "load@0s ends@0s-90s:100 commit@50s:60 commit@95s:70 end@100s:100 eval@131s",
            "OK lag=? stale",
        ),
        (
            "committed beyond the end: no lag below 0",
            "load@0s ends@0s-90s:100 commit@50s:60 commit@95s:170 end@100s:100 eval@100s",
            "OK lag=0",
        ),
        (
            "stopped: silent for longer than the window spans, never caught up meanwhile",
            "load@0s ends@0s-90s:100 commit@2s:10 commit@4s:20 end@100s:100 eval@100s",
            "STOP lag=80",
        ),
        (
            "stopped, but caught up while the ring reaches back",
            "load@0s end@1s:20 commit@2s:10 commit@4s:20 ends@11s-91s:100 eval@91s",
            "OK lag=80",
        ),
        (
            "stalled: it commits, but always the same",
            "load@0s ends@0s-90s:100 commit@82s:10 commit@92s:10 end@100s:100 eval@100s",
            "STALL lag=90",
        ),
        (
            "falling behind",
            "load@0s ends@0s-70s:100 commit@71s:10 end@80s:300 commit@81s:20 end@90s:500 \
             commit@91s:30 end@100s:700 eval@100s",
            "WARN lag=670",
        ),
        (
            "rewound",
            "load@0s ends@0s-90s:100 commit@82s:60 commit@92s:10 end@100s:100 eval@100s",
            "REWIND lag=90",
        ),
        (
            "a partition without a commit is not lag",
            "load@0s topic@0s:2 ends@0s-90s:100 end@90s:100,p=1 commit@95s:100 end@100s:100 \
             end@100s:100,p=1 eval@100s,p=1",
            "OK lag=?",
        ),
    ];
    for (why, script, expected) in cases {
        check(why, script, expected);
    }
}

#[test]
fn the_lag_of_a_commit() {
    let cases: &[(&str, &str, &str)] = &[
        (
            "Burrow: against the last polled end offset",
            "load@0s end@0s:100 end@10s:200 commit@15s:50 end@20s:300 eval@20s,lags",
            "150",
        ),
        (
            "the fetch of a beat between two polls does not count",
            "load@0s end@0s:100 fetch@5s:150 commit@6s:50 end@10s:300 eval@10s,lags",
            "50",
        ),
        (
            "interpolated: between the polls before and after it",
            "interpolated load@0s end@0s:100 end@10s:200 commit@15s:50 end@20s:300 eval@20s,lags",
            "200",
        ),
        (
            "before its topic's end offset is known: unknown, and filled in when it was not above",
            "load@0s commit@15s:50 eval@16s,lags end@20s:50 eval@20s,lags",
            "0",
        ),
        (
            "before its topic's end offset is known, with lag then: asked for, not made up",
            "load@0s commit@15s:50 end@20s:80 eval@20s,lags",
            "?",
        ),
        (
            "late, because lagline could not see it: the poll in force at its time",
            "load@0s end@0s:100 end@10s:200 end@20s:300 end@30s:400 arrive@31s:50,ts=15s \
             end@40s:500 eval@40s,lags",
            "150",
        ),
        (
            "late, and no poll was made at its time: asked for",
            "load@0s end@0s:100 end@300s:900 arrive@301s:50,ts=150s end@310s:950 eval@310s,lags",
            "?",
        ),
        (
            "late, and the log stood still meanwhile: known without a poll",
            "load@0s end@0s:100 end@300s:100 arrive@301s:50,ts=150s end@310s:950 eval@310s,lags",
            "50",
        ),
        (
            "inserted behind newer ones: unknown, as Burrow has it",
            "load@0s end@0s:100 commit@5s:50,order=10 commit@6s:40,order=9 end@10s:100 \
             eval@10s,lags",
            "? 50",
        ),
    ];
    for (why, script, expected) in cases {
        check(why, script, expected);
    }
}

#[test]
fn lagline_does_not_blame_groups_for_its_own_blindness() {
    let cases: &[(&str, &str, &str)] = &[
        (
            "cut off for less than three polls: silence it could not hear is no silence",
            "load@0s ends@0s-90s:100 commit@80s:10 commit@92s:20 end@100s:100 eval@100s \
             eval@120s",
            "OK lag=?",
        ),
        (
            "cut off for longer: the last status is kept",
            "load@0s ends@0s-90s:100 commit@2s:10 commit@4s:20 end@100s:100 eval@100s eval@200s",
            "STOP lag=? stale",
        ),
        (
            "behind with the offsets topic: judged as of what has been read",
            "load@0s ends@0s-90s:100 commit@80s:10 commit@92s:20 read@94s:9/9 read@95s:10/20 end@100s:100 \
             read@105s:15/30 end@110s:100 eval@110s",
            "OK lag=80",
        ),
        (
            "far behind with the offsets topic: the last status is kept, lag is not known",
            "load@0s ends@0s-90s:100 commit@80s:10 commit@92s:20 read@94s:9/9 read@95s:10/20 end@100s:100 \
             eval@100s read@135s:15/900 end@140s:100 eval@140s",
            "OK lag=? stale",
        ),
        (
            "the offsets topic was deleted: the last status is kept, however long it is away",
            "load@0s ends@0s-90s:100 commit@80s:10 commit@92s:20 end@100s:100 eval@100s \
             read@100s:0/0,of=0 end@300s:100 eval@300s",
            "OK lag=? stale",
        ),
        (
            "and it is there again, without a word of the group",
            "load@0s ends@0s-90s:100 commit@80s:10 commit@92s:20 end@100s:100 eval@100s \
             read@100s:0/0,of=0 end@290s:100 eval@290s read@299s:5/5 ends@200s-300s:100 eval@300s",
            "STOP lag=80",
        ),
        (
            "behind for a moment on a busy partition is normal",
            "load@0s ends@0s-90s:100 commit@2s:10 commit@4s:20 read@97s:10/20 read@98s:20/30 \
             end@100s:100 eval@100s",
            "STOP lag=80",
        ),
    ];
    for (why, script, expected) in cases {
        check(why, script, expected);
    }
}
