//! What Telegraf's `inputs.burrow` asks, and what it makes of the answers.
//!
//! Written after the plugin: it escapes each name, puts the result into a path, and the path is
//! escaped again when it is sent. Anything but 200 is an error, and the answers are decoded into
//! these types.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::world::{CLUSTER, OWNED, RESTING, SLASHED, SPACED, World};
use crate::services::http::Response;

/// Go's `url.PathEscape`: what may stand in a segment.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b':')
    .remove(b'=')
    .remove(b'@');
/// Go's `URL.String`: the slashes between segments stay, too.
const PATH: &AsciiSet = &SEGMENT.remove(b'/').remove(b',').remove(b';');

#[derive(Deserialize, Default)]
#[serde(default)]
struct Answer {
    clusters: Vec<String>,
    consumers: Vec<String>,
    topics: Vec<String>,
    offsets: Vec<i64>,
    status: Status,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status {
    partitions: Vec<Partition>,
    status: String,
    partition_count: i64,
    maxlag: Option<Partition>,
    totallag: i64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Partition {
    topic: String,
    partition: i32,
    status: String,
    owner: String,
    end: Option<Commit>,
    current_lag: i64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Commit {
    offset: i64,
    timestamp: i64,
}

/// Tags to fields.
type Points = BTreeMap<String, String>;

/// Telegraf sees every group and topic of lagline, also those it could not ask a Burrow for, and
/// of those that it can the same as from Burrow.
pub fn check(world: &World) {
    let theirs = gather(|path| world.burrow.send("GET", path, &[], ""));
    let ours = gather(|path| world.lagline.send("GET", path, &[], ""));
    assert!(ours.failed.is_empty(), "{:?}", ours.failed);
    let resting: Vec<String> = RESTING.iter().map(|g| format!(" group={g} ")).collect();
    let is_resting = |tags: &&String| resting.iter().any(|group| tags.contains(group.as_str()));
    for (tags, fields) in theirs.points.iter().filter(|(tags, _)| is_resting(tags)) {
        assert_eq!(ours.points.get(tags), Some(fields), "{tags}");
    }
    for group in RESTING.iter().chain(&[OWNED, SLASHED, SPACED]) {
        let tags = format!("burrow_group cluster={CLUSTER} group={group} ");
        assert!(ours.points.contains_key(&tags), "{tags}: {:?}", ours.points);
    }
    let tags = format!("burrow_topic cluster={CLUSTER} topic=pay.v1_x-y partition=0");
    assert_eq!(ours.points[&tags], "offset=1000");
    let tags =
        format!("burrow_partition cluster={CLUSTER} group=stopped topic=orders partition=1 owner=");
    let fields = &ours.points[&tags];
    assert!(
        fields.starts_with("status=STOP lag=28 offset=12 "),
        "{fields}"
    );
    // Burrow cannot be asked for these names: the test would not notice if it compared nothing.
    assert!(theirs.failed.len() >= 3, "{:?}", theirs.failed);
    let compared = theirs.points.keys().filter(is_resting).count();
    assert!(compared > 10, "{:?}", theirs.points);
}

struct Gathered {
    points: Points,
    failed: Vec<String>,
}

fn gather(send: impl Fn(&str) -> Response) -> Gathered {
    let mut gathered = Gathered {
        points: Points::new(),
        failed: Vec::new(),
    };
    for cluster in gathered.ask(&send, &[]).clusters {
        for topic in gathered.ask(&send, &[&cluster, "topic"]).topics {
            let offsets = gathered.ask(&send, &[&cluster, "topic", &topic]).offsets;
            for (partition, offset) in offsets.iter().enumerate() {
                gathered.points.insert(
                    format!("burrow_topic cluster={cluster} topic={topic} partition={partition}"),
                    format!("offset={offset}"),
                );
            }
        }
        for group in gathered.ask(&send, &[&cluster, "consumer"]).consumers {
            let status = gathered
                .ask(&send, &[&cluster, "consumer", &group, "lag"])
                .status;
            if !status.status.is_empty() {
                gathered.group(&format!("cluster={cluster} group={group} "), &status);
            }
        }
    }
    gathered
}

impl Gathered {
    fn ask(&mut self, send: impl Fn(&str) -> Response, names: &[&str]) -> Answer {
        let mut path = "/v3/kafka".to_owned();
        for name in names {
            path.push('/');
            path.extend(utf8_percent_encode(name, SEGMENT));
        }
        let path = utf8_percent_encode(&path, PATH).to_string();
        let answer = send(&path);
        if answer.status != 200 {
            self.failed.push(format!("{path}: {}", answer.status));
            return Answer::default();
        }
        serde_json::from_str(&answer.body)
            .unwrap_or_else(|e| panic!("{path} cannot be decoded ({e}): {}", answer.body))
    }

    fn group(&mut self, tags: &str, status: &Status) {
        let mut offset = 0;
        for row in &status.partitions {
            let nothing = Commit::default();
            let end = row.end.as_ref().unwrap_or(&nothing);
            offset += end.offset;
            self.points.insert(
                format!(
                    "burrow_partition {tags}topic={} partition={} owner={}",
                    row.topic, row.partition, row.owner
                ),
                format!(
                    "status={} lag={} offset={} timestamp={}",
                    row.status, row.current_lag, end.offset, end.timestamp
                ),
            );
        }
        let fields = format!(
            "status={} partition_count={} total_lag={} lag={} offset={offset}",
            status.status,
            status.partition_count,
            status.totallag,
            status.maxlag.as_ref().map_or(0, |max| max.current_lag),
        );
        self.points.insert(format!("burrow_group {tags}"), fields);
    }
}
