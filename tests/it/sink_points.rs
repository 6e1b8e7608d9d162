//! Points for the tests of sinks against real servers.

use std::sync::Arc;

use lagline::clock::Timestamp;
use lagline::points::{Batch, Detail, Measurement, OwnedPoint, OwnedValue, places, sample};

/// Names that break encoders, with what each of them is good for.
pub const HOSTILE: &[(&str, &str)] = &[
    ("plain", "the usual"),
    ("a b,c=d", "separators of the line protocol"),
    ("say \"hi\" 'there'", "quotes"),
    ("DOMAIN\\user", "a backslash"),
    ("ends\\", "a backslash at the end"),
    (
        "a\\,b\\\\c\\ d",
        "backslashes before what they would escape",
    ),
    ("a\nb\r\tc\u{0}\u{1b}\u{85}d", "control characters"),
    (
        "x,cluster=evil lag=9i 1\nkafka_lag_partition lag=1i",
        "an injected line",
    ),
    (
        "\"}}\n{\"delete\":{\"_index\":\"x\",\"_id\":\"y\"}}",
        "an injected action",
    ),
    ("#comment", "a comment"),
    ("é世😀\u{2028}", "all of Unicode"),
    ("  ", "only spaces"),
    ("", "nothing"),
    ("../../_all/*?x=y&z#f", "a path"),
];

/// The longest id Kafka takes for a group, and one that differs at its end.
pub fn long_names() -> [String; 2] {
    let long = "x".repeat(32_766);
    [format!("{long}a"), format!("{long}b")]
}

/// One partition at `at` for each hostile name, used for the group and for the topic.
pub fn hostile(cluster: &str, at: Timestamp) -> Batch {
    let long = long_names();
    let names = HOSTILE.iter().map(|(name, _)| *name);
    let mut batch = Batch::new();
    for name in names.chain(long.iter().map(String::as_str)) {
        batch.push_owned(Arc::new(partition(cluster, name, name, 0, at)));
    }
    batch
}

/// A partition's point with a lag.
pub fn partition(
    cluster: &str,
    group: &str,
    topic: &str,
    number: u32,
    at: Timestamp,
) -> OwnedPoint {
    let mut point = OwnedPoint::new(Measurement::Partition, at);
    for (tag, value) in [("cluster", cluster), ("group", group), ("topic", topic)] {
        point.tag(tag, value).unwrap();
    }
    point.tag("partition", number.to_string()).unwrap();
    point.field("lag", OwnedValue::Int(7)).unwrap();
    point
        .field("status", OwnedValue::Text("OK".to_owned()))
        .unwrap();
    point
}

/// Every measurement with all its fields, then many partitions: all of one beat.
pub fn everything(cluster: &str, at: Timestamp) -> Batch {
    let mut batch = Batch::new();
    for frame in [sample::small(1), sample::sinks(1), sample::wide(1, 20, 100)] {
        let mut points = Batch::new();
        for place in places(&frame, Detail::Partition) {
            points.push(&frame, place);
        }
        for point in points.iter() {
            let mut copy = OwnedPoint::of(&point);
            copy.at = at;
            for (tag, value) in &mut copy.tags {
                // Both evaluations describe the cluster: two points of one beat would be one.
                let is_wide = points.len() > 1_000;
                if *tag == "cluster" {
                    *value = format!("{cluster}{}", if is_wide { "-wide" } else { "" });
                }
            }
            batch.push_owned(Arc::new(copy));
        }
    }
    batch
}

/// How many points of a measurement are in the batch.
pub fn count(batch: &Batch, measurement: Measurement) -> usize {
    batch
        .iter()
        .filter(|point| point.measurement() == measurement)
        .count()
}
