use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::super::*;
use crate::points::{Batch, Measurement, sample};
use crate::store::frame::Frame;

fn patterns(include: &str, exclude: &[&str]) -> Patterns {
    let exclude: Vec<String> = exclude.iter().map(|&text| text.to_owned()).collect();
    Patterns::new(&[include.to_owned()], &exclude).unwrap()
}

/// How many points of each measurement are selected, short: "cluster 1 group 2".
fn selected(frame: &Arc<Frame>, settings: DeliverySettings) -> String {
    selected_at(Duration::from_secs(10), frame, settings)
}

fn selected_at(interval: Duration, frame: &Arc<Frame>, settings: DeliverySettings) -> String {
    let mut batch = Batch::new();
    let selection = Selection::new(&settings, interval);
    selection.each(frame, &mut |place| batch.push(frame, place));
    let mut counts = BTreeMap::new();
    for point in batch.iter() {
        *counts.entry(point.measurement()).or_insert(0) += 1;
    }
    let words: Vec<_> = counts
        .iter()
        .map(|(measurement, count)| format!("{measurement:?} {count}"))
        .collect();
    words.join(" ")
}

#[test]
fn the_options_leave_out_what_they_say() {
    let base = DeliverySettings::default;
    let all = "Group 2 Topic 2 Partition 4 TopicOffset 2 Cluster 1 Status 2";
    for (settings, expected, why) in [
        (base(), all, "everything"),
        (
            DeliverySettings {
                detail: Detail::Topic,
                ..base()
            },
            "Group 2 Topic 2 Cluster 1 Status 1",
            "no partitions, and no status changes of partitions",
        ),
        (
            DeliverySettings {
                clusters: patterns("dev", &[]),
                ..base()
            },
            "",
            "another cluster",
        ),
        (
            DeliverySettings {
                groups: patterns("*", &["pay*"]),
                ..base()
            },
            "Group 1 Topic 1 Partition 2 TopicOffset 2 Cluster 1",
            "without one group and its changes; the topics' offsets stay",
        ),
        (
            DeliverySettings {
                topics: patterns("*", &["orders"]),
                ..base()
            },
            "Group 2 Topic 1 Partition 2 Cluster 1 Status 1",
            "without one topic; groups and their own changes stay",
        ),
        (
            DeliverySettings {
                partitions: Partitions::Lagging,
                ..base()
            },
            "Group 2 Topic 2 Partition 2 TopicOffset 2 Cluster 1 Status 2",
            "a partition that is OK and without a known lag is not lagging",
        ),
    ] {
        assert_eq!(selected(&sample::small(1), settings), expected, "{why}");
    }
}

#[test]
fn every_third_beat_is_the_same_one_for_all_and_changes_are_never_left_out() {
    let settings = || DeliverySettings {
        every: 3,
        detail: Detail::Group,
        ..Default::default()
    };
    for seq in 1..=7 {
        // The first beat of the samples, 2026-01-01T00:00:00Z, is a multiple of 30 s.
        let is_wanted = (seq - 1) % 3 == 0;
        let expected = if is_wanted {
            "Group 2 Cluster 1 Status 1"
        } else {
            "Status 1"
        };
        assert_eq!(selected(&sample::small(seq), settings()), expected, "{seq}");
        let expected = if is_wanted { "Sink 1" } else { "" };
        assert_eq!(selected(&sample::sinks(seq), settings()), expected, "{seq}");
    }
}

#[test]
fn beats_of_a_shorter_interval_are_not_left_out_after_the_interval_was_changed() {
    let frame = sample::small(2);
    let settings = DeliverySettings::default;
    let all = selected(&frame, settings());
    assert!(!all.is_empty());
    let minute = Duration::from_secs(60);
    assert_eq!(selected_at(minute, &frame, settings()), all);
}

#[test]
fn what_a_sink_does_not_take_is_left_out() {
    let settings = DeliverySettings::default();
    let selection = Selection::new(&settings, Duration::from_secs(10))
        .only(|measurement| measurement == Measurement::Group);
    for (frame, expected) in [(sample::small(1), 2), (sample::sinks(1), 0)] {
        let mut places = Vec::new();
        selection.each(&frame, &mut |place| places.push(place.measurement()));
        assert_eq!(places, vec![Measurement::Group; expected]);
    }
}
