//! A start goes on where the last run has stopped: only what is new is read, and windows are those
//! of a reading from the beginning. When that cannot be, everything is read, and why is said.
//!
//! Topics of the tests' own stand in for `__consumer_offsets`, as brokers keep that one for themselves.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;

use lagline::clock::Clock;
use lagline::kafka::encode::{commit_key, commit_value};
use lagline::lag::ids::coordinator_partition;

use crate::kafka_client::Client;
use crate::lagline::{Lagline, cluster_config};
use crate::services::{Kafka, KafkaVersion, unique, wait};

const LIMIT: Duration = crate::lagline::LIMIT;
const PARTITIONS: i32 = 2;
const GROUPS: [&str; 3] = ["alpha", "beta", "gamma"];
/// The data topic's log ends there, far from every commit.
const END: i64 = 1_000;

/// A Kafka with a topic, and an offsets topic that the test writes.
struct World {
    kafka: crate::services::Shared<Kafka>,
    client: Client,
    topic: String,
    offsets: String,
    next: i64,
}

impl World {
    fn new(version: KafkaVersion, settings: &[(&str, &str)]) -> Self {
        let kafka = Kafka::shared(version);
        let client = Client::new(&kafka.bootstrap());
        let (topic, offsets) = (unique("topic"), unique("offsets"));
        client.create_topic(&topic, 1);
        client.produce(&topic, 0, usize::try_from(END).unwrap());
        client.create_topic_with(&offsets, PARTITIONS, 1, settings);
        Self {
            kafka,
            client,
            topic,
            offsets,
            next: 0,
        }
    }

    /// Each group commits this many times.
    fn commit(&mut self, times: i64) {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", self.kafka.bootstrap())
            .create()
            .unwrap();
        for _ in 0..times {
            self.next += 1;
            for group in GROUPS {
                let key = commit_key(group, &self.topic, 0);
                let value = commit_value(self.next, Clock::system().now(), None);
                let partition = coordinator_partition(group, PARTITIONS).0;
                let record = BaseRecord::to(&self.offsets).partition(partition);
                producer.send(record.key(&key).payload(&value)).unwrap();
            }
        }
        producer.flush(LIMIT).unwrap();
    }

    fn watch(&self) -> Lagline {
        let cluster = cluster_config("c", &self.kafka.bootstrap());
        let offsets = &self.offsets;
        // The first line is still the store's.
        Lagline::start(&format!(
            "snapshot_every = \"1s\"\n{cluster}offsets_topic = \"{offsets}\"\n"
        ))
    }

    /// Waits until lagline has seen the last commit of every group.
    fn until_seen(&self, lagline: &Lagline) {
        let lag = END - self.next;
        for group in GROUPS {
            lagline.until_group("c", group, &format!("lags by {lag}"), |row| {
                row["lag"].as_i64() == Some(lag)
            });
        }
    }

    /// Offsets and times of a group's commits, oldest first.
    fn windows(&self, lagline: &Lagline) -> Vec<Value> {
        let commits = GROUPS.map(|group| {
            let detail = lagline.get(&format!("/v3/kafka/c/consumer/{group}"));
            let commits = &detail["topics"][&self.topic][0]["offsets"];
            let commits = commits.as_array().expect("a list of commits").clone();
            assert_eq!(commits.len(), 10, "{detail}");
            commits
        });
        let both = |commit: Value| serde_json::json!([commit["offset"], commit["timestamp"]]);
        commits.into_iter().flatten().map(both).collect()
    }
}

fn commits_read(lagline: &Lagline) -> u64 {
    let series = "lagline_reader_records_total{cluster=\"c\",kind=\"commit\"}";
    lagline.metric(series).expect("it reads")
}

fn count(commits: i64) -> u64 {
    u64::try_from(commits).unwrap() * GROUPS.len() as u64
}

/// Waits until everything seen so far is saved.
fn until_saved(lagline: &Lagline) {
    let now = Clock::system().now().as_ms();
    lagline.until_health("c", "is saved", |health| {
        health["snapshot"]["saved_ms"].as_i64() > Some(now)
    });
}

fn goes_on(version: KafkaVersion) {
    let mut world = World::new(version, &[]);
    world.commit(50);
    let mut lagline = world.watch();
    world.until_seen(&lagline);
    assert_eq!(lagline.cluster_health("c")["start"], "cold");
    assert_eq!(commits_read(&lagline), count(50));
    world.commit(4);
    world.until_seen(&lagline);
    lagline.stop();

    // Stopped: all that was read is saved.
    world.commit(3);
    lagline.restart();
    world.until_seen(&lagline);
    assert_eq!(lagline.cluster_health("c")["start"], "warm");
    assert_eq!(commits_read(&lagline), count(3), "{}", lagline.log());
    until_saved(&lagline);
    lagline.kill9();

    // Killed: all that was read until it was saved last.
    world.commit(5);
    lagline.restart();
    world.until_seen(&lagline);
    assert_eq!(lagline.cluster_health("c")["start"], "warm");
    assert_eq!(commits_read(&lagline), count(5), "{}", lagline.log());
    let cold = world.watch();
    world.until_seen(&cold);
    assert_eq!(commits_read(&cold), count(62));
    assert_eq!(world.windows(&lagline), world.windows(&cold));

    // And nobody commits at all.
    until_saved(&lagline);
    lagline.kill9();
    lagline.restart();
    world.until_seen(&lagline);
    assert_eq!(commits_read(&lagline), 0);
    assert_eq!(world.windows(&lagline), world.windows(&cold));
}

#[test]
fn only_what_is_new_is_read_on_kafka_3() {
    goes_on(KafkaVersion::V3);
}

#[test]
fn only_what_is_new_is_read_on_kafka_4() {
    goes_on(KafkaVersion::V4);
}

/// What happens while lagline is stopped, and why it then reads everything.
fn refused(world: &mut World, expected: &str, meanwhile: impl FnOnce(&World, &Lagline)) {
    world.commit(20);
    let mut lagline = world.watch();
    world.until_seen(&lagline);
    lagline.stop();
    let before = lagline.log().len();
    meanwhile(world, &lagline);
    world.commit(2);
    lagline.restart();
    world.until_seen(&lagline);
    let health = lagline.cluster_health("c");
    assert_eq!(health["start"], "refused", "{health}");
    let reason = health["start_refused"].as_str().unwrap();
    assert!(reason.contains(expected), "{expected} in: {reason}");
    assert_eq!(health["restarts"], 0, "{health}");
    let log = lagline.log();
    let said = log[before..].matches("the snapshot of the last run is not used");
    assert_eq!(said.count(), 1, "{log}");
    // And the next start goes on again.
    lagline.stop();
    lagline.restart();
    world.until_seen(&lagline);
    assert_eq!(
        lagline.cluster_health("c")["start"],
        expected_next(expected)
    );
}

/// A topic that keeps no tombstones refuses every snapshot.
fn expected_next(expected: &str) -> &'static str {
    match expected.contains("delete.retention.ms") {
        true => "refused",
        false => "warm",
    }
}

#[test]
fn another_offsets_topic_under_the_name_is_read_from_its_beginning() {
    for version in KafkaVersion::ALL {
        let mut world = World::new(version, &[]);
        refused(
            &mut world,
            "the offsets topic was re-created",
            |world, _| {
                world.client.delete_topic(&world.offsets);
                world.client.create_topic(&world.offsets, PARTITIONS);
            },
        );
    }
}

#[test]
fn a_snapshot_older_than_half_the_life_of_a_tombstone_is_refused() {
    for version in KafkaVersion::ALL {
        let mut world = World::new(version, &[("delete.retention.ms", "1")]);
        refused(&mut world, "delete.retention.ms", |_, _| {});
    }
}

#[test]
fn a_position_that_is_no_longer_in_the_log_is_refused() {
    let mut world = World::new(KafkaVersion::V4, &[]);
    refused(&mut world, "behind the saved position", |world, _| {
        // More than lagline has read, and then deleted.
        let mut more = World {
            kafka: Kafka::shared(KafkaVersion::V4),
            client: Client::new(&world.kafka.bootstrap()),
            topic: world.topic.clone(),
            offsets: world.offsets.clone(),
            next: world.next,
        };
        more.commit(5);
        for partition in 0..PARTITIONS {
            let (_, end) = world.client.log_offsets(&world.offsets, partition);
            world.client.delete_records(&world.offsets, partition, end);
        }
    });
}

#[test]
fn windows_of_other_settings_are_refused() {
    let mut world = World::new(KafkaVersion::V4, &[]);
    refused(
        &mut world,
        "rules.intervals was 10, and is 12",
        |_, lagline| {
            lagline.reconfigure(|config| config.replace("[rules]\n", "[rules]\nintervals = 12\n"));
        },
    );
}

#[test]
fn damaged_bytes_are_refused() {
    let mut world = World::new(KafkaVersion::V4, &[]);
    refused(
        &mut world,
        "piece 1: the checksum is wrong",
        |_, lagline| {
            let file = rusqlite::Connection::open(lagline.path().join("lagline.db")).unwrap();
            let changed = file.execute(
                "UPDATE snapshot SET bytes = CAST(substr(bytes, 1, 20) || x'00' || substr(bytes, 22) AS BLOB)
             WHERE place = 1",
                [],
            );
            assert_eq!(changed.unwrap(), 1);
        },
    );
}

#[test]
fn a_stop_waits_for_the_snapshot() {
    let mut world = World::new(KafkaVersion::V4, &[]);
    world.commit(10);
    let mut lagline = world.watch();
    world.until_seen(&lagline);
    wait::until("it is saved once", LIMIT, || {
        lagline.cluster_health("c")["snapshot"]["saved_ms"].is_i64()
    });
    let health = lagline.cluster_health("c");
    assert!(health["snapshot"]["problem"].is_null(), "{health}");
    assert!(health["snapshot"]["bytes"].as_u64() > Some(0), "{health}");
    lagline.stop();
    assert!(!lagline.log().contains("did not stop in time"));
}
