//! After any start no group shows WARN or ERR that a process running all along would not show, and
//! what is really stopped, stalled or falling behind shows it within two beats.
//!
//! One lagline runs all along. A second is started later from nothing, a third is killed and a fourth
//! stopped, and both are started again from their stores, while the consumers of every kind go on. What
//! the later ones say is held against what the first says at the same moment.

mod story;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::kafka_client::{Client, Protocol};
use crate::lagline::{LIMIT, Lagline};
use crate::services::{Kafka, KafkaVersion, wait};
use story::{Story, TOPIC};

const BEAT_MS: i64 = 1_000;
/// Two laglines read the same commit up to a beat apart, and a beat may be missed by this test.
const APART_MS: i64 = 2 * BEAT_MS;
/// Beats of each later lagline that are looked at.
const BEATS: usize = 15;

/// Every kind of consumer, and the status of its worst partition (none: OK).
const GROUPS: [(&str, Option<&str>); 12] = [
    ("idle", None),
    ("on-work", None),
    ("healthy", None),
    ("memberless", None),
    ("recovering", None),
    ("slow", Some("WARN")),
    ("stalled", Some("STALL")),
    ("stopped", Some("STOP")),
    // It had read everything when it went; records came later.
    ("abandoned", Some("STOP")),
    ("rewound", Some("REWIND")),
    // These two change while the third lagline is down.
    ("dying", Some("STOP")),
    ("revived", None),
];

/// What one lagline said, by group: `(beat, row)` in order.
#[derive(Default)]
struct Said(BTreeMap<String, Vec<(i64, Value)>>);

impl Said {
    /// Takes the latest evaluation, unless it is known already.
    fn look(&mut self, lagline: &Lagline) {
        for row in lagline.groups("c") {
            let beat = row["beat_ms"].as_i64().unwrap();
            let rows = self.0.entry(name(&row)).or_default();
            if rows.last().is_none_or(|(last, _)| *last < beat) {
                rows.push((beat, row));
            }
        }
    }

    /// Beats seen of the group of which the fewest were seen.
    fn beats(&self) -> usize {
        self.0.values().map(Vec::len).min().unwrap_or(0)
    }

    /// The first beat that was journaled: the evaluation made when loading ends falls on no beat.
    fn first_beat(&self) -> i64 {
        let beats = self.0.values().flatten().map(|(beat, _)| *beat);
        let journaled = beats.filter(|beat| beat % BEAT_MS == 0);
        journaled.min().expect("a beat was seen")
    }
}

fn name(row: &Value) -> String {
    row["group"].as_str().unwrap().to_owned()
}

fn is_bad(row: &Value) -> bool {
    row["status"] != "OK"
}

/// Whether the worst partition has this status.
fn shows(row: &Value, status: Option<&str>) -> bool {
    match status {
        None => !is_bad(row),
        Some(status) => row["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains(&format!(": {status}: "))),
    }
}

fn check(version: KafkaVersion, protocols: &[Protocol]) {
    let kafka = Kafka::start(version);
    let client = Client::new(&kafka.bootstrap());
    client.create_topic(TOPIC, 4);
    let first = Lagline::watch("c", &kafka.bootstrap());
    let mut third = Lagline::watch("c", &kafka.bootstrap());
    let mut fourth = Lagline::watch("c", &kafka.bootstrap());
    let story = Story::begin(&client, protocols);
    let names: Vec<(String, Option<&str>)> = protocols
        .iter()
        .flat_map(|protocol| GROUPS.map(|(kind, status)| (story::group(*protocol, kind), status)))
        .collect();
    for protocol in protocols {
        let deleted = story::group(*protocol, "deleted");
        first.until_group("c", &deleted, "is known", |_| true);
        third.until_group("c", &deleted, "is known", |_| true);
        fourth.until_group("c", &deleted, "is known", |_| true);
    }
    story.delete_the_deleted();
    until_all(&first, &names, |kind, status| match kind {
        "dying" => None,
        "revived" => Some("STOP"),
        _ => status,
    });
    for later in [&third, &fourth] {
        until_all(later, &names, |kind, status| match kind {
            "dying" => None,
            "revived" => Some("STOP"),
            _ => status,
        });
    }
    third.kill9();
    fourth.stop();
    story.turn();
    until_all(&first, &names, |_, status| status);

    let second = Lagline::watch("c", &kafka.bootstrap());
    third.restart();
    fourth.restart();
    let mut said: [Said; 4] = Default::default();
    wait::until("enough beats of every lagline", LIMIT, || {
        said[0].look(&first);
        said[1].look(&second);
        said[2].look(&third);
        said[3].look(&fourth);
        said.iter().all(|said| said.beats() >= BEATS)
    });
    drop(story);
    for (lagline, start) in [(&second, "cold"), (&third, "warm"), (&fourth, "warm")] {
        let health = lagline.cluster_health("c");
        assert_eq!(health["start"], start, "{health}");
    }
    let later = [
        ("cold", &said[1]),
        ("killed", &said[2]),
        ("stopped", &said[3]),
    ];
    for (which, later) in later {
        assert_nothing_invented(which, later, &said[0]);
        assert_shown_soon(which, later, &names);
    }
}

/// Waits until a lagline knows every group with its status, and the deleted ones no more.
fn until_all<'a>(
    lagline: &Lagline,
    names: &[(String, Option<&'a str>)],
    expected: impl Fn(&str, Option<&'a str>) -> Option<&'a str>,
) {
    wait::until_ok("every group is as it should be", LIMIT, || {
        let rows = lagline.groups("c");
        if let Some(row) = rows.iter().find(|row| name(row).ends_with("deleted")) {
            return Err(format!("still there: {row}"));
        }
        for (group, status) in names {
            let Some(row) = rows.iter().find(|row| name(row) == *group) else {
                return Err(format!("{group} is not there"));
            };
            let status = expected(story::kind(group), *status);
            if !shows(row, status) {
                return Err(format!("expected {status:?}, found {row}"));
            }
        }
        Ok(())
    });
}

/// Each bad status of a later lagline is one that the first shows too.
fn assert_nothing_invented(which: &str, later: &Said, first: &Said) {
    let mut invented = Vec::new();
    for (group, rows) in &later.0 {
        let nothing = Vec::new();
        let known = first.0.get(group).unwrap_or(&nothing);
        for (beat, row) in rows.iter().filter(|(_, row)| is_bad(row)) {
            let mut near = known.iter().filter(|(at, _)| (at - beat).abs() <= APART_MS);
            if !near.any(|(_, theirs)| theirs["status"] == row["status"]) {
                let near: Vec<String> = known
                    .iter()
                    .filter(|(at, _)| (at - beat).abs() <= APART_MS)
                    .map(|(_, row)| row.to_string())
                    .collect();
                invented.push(format!(
                    "{row}\n  the first says: {}",
                    near.join("\n                  ")
                ));
            }
        }
    }
    assert!(
        invented.is_empty(),
        "the {which} start invented:\n{}",
        invented.join("\n")
    );
}

/// What is really wrong is shown within two beats of the first journaled one.
fn assert_shown_soon(which: &str, later: &Said, names: &[(String, Option<&str>)]) {
    let until = later.first_beat() + 2 * BEAT_MS;
    for (group, status) in names.iter().filter(|(_, status)| status.is_some()) {
        let rows = &later.0[group];
        // When the test missed a beat, the next one counts.
        let seen = rows
            .iter()
            .position(|(beat, _)| *beat >= until)
            .map_or(rows.len(), |at| at + 1);
        assert!(
            rows[..seen].iter().any(|(_, row)| shows(row, *status)),
            "{group} does not show {status:?} within two beats of the {which} start:\n{}",
            rows.iter()
                .map(|(_, row)| row.to_string())
                .collect::<Vec<_>>()
                .join("\n")
        );
    }
}

#[test]
fn a_later_start_says_what_a_process_running_all_along_says_on_kafka_3() {
    check(KafkaVersion::V3, &[Protocol::Classic]);
}

#[test]
fn a_later_start_says_what_a_process_running_all_along_says_on_kafka_4() {
    check(KafkaVersion::V4, &[Protocol::Classic, Protocol::Consumer]);
}
