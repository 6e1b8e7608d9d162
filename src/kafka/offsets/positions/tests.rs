//! Tables of what happens to a partition, and what must follow.

use super::*;

const NOW: Timestamp = Timestamp::from_ms(1);

fn bounds(start: i64, end: i64) -> Bounds {
    Bounds {
        start,
        end,
        recent: None,
    }
}

fn recent(start: i64, end: i64, recent: i64) -> Bounds {
    Bounds {
        recent: Some(recent),
        ..bounds(start, end)
    }
}

/// Progress of all partitions that have something to tell.
fn told(positions: &mut Positions) -> Vec<ReaderProgress> {
    let mut all = Vec::new();
    positions.progress(NOW, |_| false, |progress| all.push(progress));
    all
}

/// One partition with the log 5..10.
fn one() -> Positions {
    let mut positions = Positions::new(0, 1, false);
    let begin = positions.answered(0, None, bounds(5, 10));
    assert_eq!(
        begin,
        Some(Begin {
            partition: 0,
            offset: 5
        })
    );
    positions
}

fn only(positions: &mut Positions) -> ReaderProgress {
    let all = told(positions);
    assert_eq!(all.len(), 1, "{all:?}");
    all[0]
}

#[test]
fn begins_at_the_log_start_and_is_caught_up_at_the_end_seen_then() {
    let mut positions = one();
    let first = only(&mut positions);
    assert_eq!((first.from, first.position, first.end), (5, 5, 10));
    assert!(!first.caught_up);
    for offset in 5..9 {
        assert!(!positions.passed(0, offset));
    }
    // While it is loading a newer end does not move the goal.
    assert_eq!(positions.answered(0, Some(9), bounds(5, 50)), None);
    assert_eq!(only(&mut positions).end, 10);
    assert!(positions.passed(0, 9));
    assert!(only(&mut positions).caught_up);
    // Afterwards it is the newest known one.
    assert_eq!(positions.answered(0, Some(10), bounds(5, 50)), None);
    let behind = only(&mut positions);
    assert_eq!(
        (behind.position, behind.end, behind.caught_up),
        (10, 50, true)
    );
}

#[test]
fn an_empty_partition_and_one_read_from_its_end_are_caught_up_at_once() {
    for (from_end, log, from) in [(false, bounds(7, 7), 7), (true, bounds(0, 90), 90)] {
        let mut positions = Positions::new(0, 1, from_end);
        let begin = positions.answered(0, None, log);
        assert_eq!(
            begin,
            Some(Begin {
                partition: 0,
                offset: from
            })
        );
        let progress = only(&mut positions);
        assert!(progress.caught_up);
        assert_eq!((progress.from, progress.end), (from, from));
        assert!(positions.is_caught_up());
    }
}

#[test]
fn the_end_of_the_partition_counts_as_caught_up_past_control_records() {
    let mut positions = one();
    positions.passed(0, 5);
    assert!(positions.end_reached(0, 10));
    assert!(!positions.end_reached(0, 10), "it may repeat");
    let progress = only(&mut positions);
    assert_eq!((progress.position, progress.end), (10, 10));
    assert_eq!(progress.complete_from, 10, "what was between is a gap");
}

#[test]
fn a_gap_cuts_the_history_short() {
    let mut positions = one();
    for (offset, complete_from) in [(5, 5), (6, 5), (8, 8), (9, 8)] {
        positions.passed(0, offset);
        assert_eq!(
            only(&mut positions).complete_from,
            complete_from,
            "after {offset}"
        );
    }
}

#[test]
fn only_what_changed_or_was_asked_for_is_told() {
    let mut positions = Positions::new(0, 3, false);
    assert!(positions.is_waiting());
    for partition in [0, 2] {
        positions.answered(partition, None, bounds(0, 0));
    }
    assert!(positions.is_waiting(), "partition 1 has no leader");
    assert_eq!(told(&mut positions).len(), 2);
    assert_eq!(told(&mut positions).len(), 0);
    positions.passed(2, 0);
    let again = told(&mut positions);
    assert_eq!(
        (again.len(), again[0].partition, again[0].partitions),
        (1, 2, 3)
    );
    let mut all = Vec::new();
    positions.progress(
        NOW,
        |partition| partition == 0,
        |progress| all.push(progress.partition),
    );
    assert_eq!(all, [0]);
    assert!(!positions.is_caught_up());
}

#[test]
fn a_truncated_partition_is_read_again_from_its_young_records_in_a_new_epoch() {
    let mut positions = one();
    positions.end_reached(0, 10);
    assert!(!positions.is_any_lost());
    told(&mut positions);
    let before = positions.order(0, 9, "g");
    // Asked while at 10, answered that the log ends at 8: from where on it is another, nobody knows.
    assert_eq!(positions.answered(0, Some(10), bounds(5, 8)), None);
    assert!(positions.is_any_lost());
    assert_eq!(
        told(&mut positions),
        [],
        "a position outside of the log says nothing"
    );
    let begin = positions.answered(0, Some(10), recent(5, 8, 6));
    assert_eq!(
        begin,
        Some(Begin {
            partition: 0,
            offset: 6
        })
    );
    assert!(!positions.is_any_lost());
    let after = positions.order(0, 6, "g");
    assert!(after > before, "{after:?} {before:?}");
    let progress = only(&mut positions);
    assert_eq!((progress.position, progress.end), (6, 8));
    assert!(
        progress.caught_up,
        "it was: the cluster is not loading again"
    );
}

#[test]
fn an_answer_older_than_the_position_is_no_truncation() {
    let mut positions = one();
    positions.end_reached(0, 10);
    positions.passed(0, 10);
    positions.passed(0, 11);
    // The question left when the position was 10.
    assert_eq!(positions.answered(0, Some(10), bounds(5, 10)), None);
    let progress = only(&mut positions);
    assert_eq!((progress.position, progress.end), (12, 12));
}

#[test]
fn a_lost_position_goes_on_inside_the_log() {
    for (log, offset, is_newer, why) in [
        (
            bounds(20, 30),
            20,
            false,
            "deleted in front: no offset is used twice",
        ),
        (
            recent(20, 30, 25),
            20,
            false,
            "the same: nothing is left out",
        ),
        (recent(0, 3, 2), 2, true, "cut off: offsets are used again"),
        (recent(0, 3, 3), 3, true, "cut off, nothing written since"),
        (recent(2, 3, 0), 2, true, "never in front of the log"),
        (
            recent(0, 3, 9),
            3,
            true,
            "never behind its end, the answers may differ in time",
        ),
        (
            recent(0, 50, 7),
            7,
            true,
            "cut off and written again past the position",
        ),
        (
            recent(0, 50, 40),
            10,
            true,
            "the same, late: nothing is left out",
        ),
        (recent(0, 0, 0), 0, true, "emptied"),
    ] {
        let mut positions = one();
        positions.end_reached(0, 10);
        let before = positions.order(0, 9, "g");
        positions.lost(0);
        assert!(positions.is_waiting());
        let begin = positions.answered(0, Some(10), log);
        assert_eq!(
            begin,
            Some(Begin {
                partition: 0,
                offset
            }),
            "{why}"
        );
        assert!(!positions.is_waiting());
        let epoch = positions.order(0, offset, "g").epoch;
        assert_eq!(epoch > before.epoch, is_newer, "{why}");
    }
}

#[test]
fn a_truncation_leaves_other_partitions_alone() {
    let mut positions = Positions::new(0, 2, false);
    for partition in [0, 1] {
        positions.answered(partition, None, bounds(0, 10));
        positions.end_reached(partition, 10);
    }
    let before = [0, 1].map(|partition| positions.order(partition, 9, "g"));
    positions.answered(0, Some(10), recent(0, 5, 0));
    assert!(positions.order(0, 0, "g") > before[0]);
    assert_eq!(positions.order(1, 9, "g"), before[1]);
}

#[test]
fn no_epoch_is_too_great_for_a_window() {
    let mut positions = Positions::new(u8::MAX, 1, false);
    for size in 2..40 {
        positions.grow(size);
    }
    positions.answered(0, None, bounds(0, 10));
    for _ in 0..5000 {
        positions.end_reached(0, 10);
        positions.answered(0, Some(10), recent(0, 5, 0));
    }
    for group in ["a", "b", "c", "d"] {
        let epoch = positions.order(0, 0, group).epoch;
        assert!(epoch <= Order::EPOCH_MAX, "{epoch:x}");
    }
}

/// The partition of `group` among `size`.
fn home(group: &str, size: i32) -> i32 {
    coordinator_partition(group, size).0
}

#[test]
fn a_grown_topic_makes_the_new_place_of_a_group_newer() {
    // Moves from partition 1 of 4 to partition 5 of 8.
    let group = (0..1000)
        .map(|n| format!("g{n}"))
        .find(|group| home(group, 4) == 1 && home(group, 8) == 5)
        .expect("one of a thousand");
    // Running all along: the last commits before, then after Kafka's coordinators moved it.
    let mut running = Positions::new(0, 4, false);
    let before = running.order(1, 900, &group);
    running.grow(8);
    let between = running.order(1, 901, &group);
    let after = running.order(5, 3, &group);
    assert!(before < between, "kafka still writes to the old partition");
    assert!(
        between < after,
        "the old offsets are larger, the new ones count"
    );
    // Started afterwards: only the present size is known.
    let started = Positions::new(0, 8, false);
    assert!(started.order(1, 901, &group) < started.order(5, 3, &group));
}

#[test]
fn a_group_whose_partition_does_not_change_keeps_its_order_when_the_topic_grows() {
    let group = (0..1000)
        .map(|n| format!("g{n}"))
        .find(|group| home(group, 4) == home(group, 8))
        .expect("one of a thousand");
    let partition = home(&group, 4);
    let mut positions = Positions::new(0, 4, false);
    let before = positions.order(partition, 1, &group);
    positions.grow(8);
    assert!(before < positions.order(partition, 2, &group));
}

#[test]
fn new_partitions_of_a_grown_topic_wait_for_their_bounds() {
    let mut positions = one();
    positions.end_reached(0, 10);
    positions.grow(3);
    assert_eq!(positions.count(), 3);
    assert!(positions.is_waiting());
    assert!(!positions.is_caught_up());
    let begin = positions.answered(2, None, bounds(0, 4));
    assert_eq!(
        begin,
        Some(Begin {
            partition: 2,
            offset: 0
        })
    );
    positions.grow(2);
    assert_eq!(
        positions.count(),
        3,
        "a topic never shrinks; a smaller one is another topic"
    );
}

#[test]
fn a_new_life_is_newer_than_anything_before() {
    let mut old = Positions::new(0, 1, false);
    old.grow(2);
    old.answered(0, None, bounds(0, 10));
    for _ in 0..5 {
        old.lost(0);
        old.answered(0, Some(10), recent(0, 0, 0));
    }
    let group = (0..1000)
        .map(|n| format!("g{n}"))
        .find(|group| home(group, 2) == 0)
        .expect("one of a thousand");
    let new = Positions::new(1, 50, false);
    // Even in a partition that is not the group's.
    for partition in [0, 49] {
        assert!(old.order(0, i64::MAX, &group) < new.order(partition, 0, &group));
    }
}

#[test]
fn numbers_that_cannot_be_are_survived() {
    let mut positions = one();
    for partition in [-1, 1, i32::MAX] {
        assert!(!positions.passed(partition, 3));
        assert!(!positions.end_reached(partition, 3));
        positions.lost(partition);
        assert_eq!(positions.answered(partition, None, bounds(0, 1)), None);
        positions.order(partition, 0, "g");
    }
}

/// A reader that goes on at 20, in a partition that had been truncated once.
fn resumed() -> Positions {
    let position = ReaderPosition {
        life: 3,
        sizes: vec![1],
        partitions: vec![PartitionPosition {
            position: 20,
            complete_from: 15,
            truncations: 1,
        }],
        ..ReaderPosition::default()
    };
    Positions::resume(&position).expect("a possible position")
}

#[test]
fn goes_on_where_another_process_has_stopped() {
    let mut positions = resumed();
    assert!(positions.is_waiting() && !positions.is_caught_up());
    assert_eq!(positions.position(), None, "nothing is read yet");
    assert_eq!(positions.refusal(0, bounds(5, 25)), None);
    let begin = positions.answered(0, None, bounds(5, 25));
    let expected = Begin {
        partition: 0,
        offset: 20,
    };
    assert_eq!(begin, Some(expected));
    let first = only(&mut positions);
    assert_eq!((first.from, first.position, first.end), (20, 20, 25));
    assert_eq!(first.complete_from, 15, "as the other one had seen it");
    assert_eq!(
        positions.order(0, 20, "g"),
        Order {
            epoch: 3 << 16 | 1 << 12 | 1,
            offset: 20
        },
        "the same order of commits"
    );
    assert!((20..24).all(|offset| !positions.passed(0, offset)));
    assert!(positions.passed(0, 24), "caught up at the end seen then");
    let left = positions.position().expect("it is read");
    assert_eq!(left.partitions[0].position, 25);
    assert_eq!((left.life, left.sizes), (3, vec![1]));
    positions.lost(0);
    assert_eq!(positions.position(), None, "nobody could go on there");
}

#[test]
fn what_a_position_must_be_in() {
    for (start, end, expected) in [
        (5, 25, None),
        (20, 20, None),
        (0, 20, None),
        (20, 25, None),
        (
            5,
            19,
            Some(Refusal::BeyondEnd {
                partition: 0,
                position: 20,
                end: 19,
            }),
        ),
        (
            21,
            25,
            Some(Refusal::BeforeStart {
                partition: 0,
                position: 20,
                start: 21,
            }),
        ),
    ] {
        let refusal = resumed().refusal(0, bounds(start, end));
        assert_eq!(refusal, expected, "{start} to {end}");
    }
    // A reader from the beginning has nothing to refuse.
    assert_eq!(Positions::new(0, 1, false).refusal(0, bounds(5, 6)), None);
    let mut begun = resumed();
    begun.answered(0, None, bounds(5, 25));
    assert_eq!(begun.refusal(0, bounds(21, 25)), None, "lost, not refused");
}

#[test]
fn a_position_that_no_reader_has_left_is_refused() {
    let position = |sizes: &[i32], partitions: usize| ReaderPosition {
        sizes: sizes.to_vec(),
        partitions: vec![PartitionPosition::default(); partitions],
        ..ReaderPosition::default()
    };
    for (sizes, partitions, is_fine) in [
        (&[1][..], 1, true),
        (&[1, 3], 3, true),
        (&[], 0, false),
        (&[0], 0, false),
        (&[-1, 2], 2, false),
        (&[3, 1], 1, false),
        (&[2, 2], 2, false),
        (&[3], 2, false),
        (&[i32::MAX], 0, false),
    ] {
        let resumed = Positions::resume(&position(sizes, partitions));
        assert_eq!(resumed.is_some(), is_fine, "{sizes:?} {partitions}");
    }
}

#[test]
fn behind_another_process_a_transactions_marker_is_no_gap() {
    for (why, offsets, complete_from) in [
        ("all there", &[20, 21][..], 15),
        ("a marker at 21", &[20, 22], 15),
        ("two markers, apart", &[20, 22, 24], 15),
        ("compacted", &[20, 23], 23),
        ("compacted right behind the position", &[23, 24], 23),
    ] {
        let mut positions = resumed();
        positions.answered(0, None, bounds(5, 100));
        for offset in offsets {
            positions.passed(0, *offset);
        }
        assert_eq!(only(&mut positions).complete_from, complete_from, "{why}");
    }
}
