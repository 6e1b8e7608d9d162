//! Nothing but an offset's own tombstone, a changed topic id, a deleted topic or expiry removes a
//! committed offset.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;

use lagline::clock::{Clock, Timestamp};
use lagline::kafka::encode::{commit_key, commit_value};
use lagline::lag::ids::coordinator_partition;

use crate::kafka_client::{Client, Protocol};
use crate::lagline::{LIMIT, Lagline, cluster_config};
use crate::services::{Kafka, KafkaVersion, unique, wait};

/// Beats in which nothing may change.
const BEATS: usize = 6;

/// What Burrow's answer says is committed: `(topic, partition, offset)`.
fn committed(lagline: &Lagline, group: &str) -> Vec<(String, i64, i64)> {
    let answer = lagline.get(&format!("/v3/kafka/c/consumer/{group}/lag"));
    let partitions = answer["status"]["partitions"].as_array();
    let mut committed: Vec<_> = partitions
        .unwrap_or_else(|| panic!("{group} has no partitions: {answer}"))
        .iter()
        .filter_map(|p| {
            let topic = p["topic"].as_str()?.to_owned();
            Some((
                topic,
                p["partition"].as_i64()?,
                p["end"]["offset"].as_i64()?,
            ))
        })
        .collect();
    committed.sort();
    committed
}

#[test]
fn a_group_that_moves_to_the_new_protocol_and_back_keeps_its_offsets() {
    let kafka = Kafka::shared(KafkaVersion::V4);
    let client = Client::new(&kafka.bootstrap());
    let (topic, group) = (unique("topic"), unique("group"));
    client.create_topic(&topic, 2);
    client.produce(&topic, 0, 10);
    client.produce(&topic, 1, 10);
    let lagline = Lagline::watch("c", &kafka.bootstrap());
    let old = client.join(&group, &[&topic], Protocol::Classic);
    old.wait_assigned(2);
    old.commit(&[(&topic, 0, 7), (&topic, 1, 9)]);
    let keeps = |row: &Value| {
        assert_eq!(row["lag"], 4, "an offset is gone: {row}");
        assert_eq!(row["partitions_no_commit"], 0, "an offset is gone: {row}");
    };
    lagline.until_group("c", &group, "is known", |row| {
        row["lag"] == 4 && row["members"] == 1
    });

    // Online: the new member comes while the old one is there.
    let new = client.join_idle(&group, &[&topic], Protocol::Consumer, &[]);
    new.wait_assigned(1);
    let two = |row: &Value| {
        keeps(row);
        row["members"] == 2
    };
    lagline.until_group("c", &group, "has a member of each protocol", two);
    drop(old);
    new.wait_assigned(2);
    let one = |row: &Value| {
        keeps(row);
        row["members"] == 1
    };
    lagline.until_group("c", &group, "has the new member", one);
    lagline.each_beat("c", &group, BEATS, keeps);

    // And back, with nobody in it.
    drop(new);
    let nobody = |row: &Value| {
        keeps(row);
        row["members"] == 0
    };
    lagline.until_group("c", &group, "has no member", nobody);
    let old = client.join(&group, &[&topic], Protocol::Classic);
    old.wait_assigned(2);
    lagline.until_group("c", &group, "has the old kind of member", one);
    lagline.each_beat("c", &group, BEATS, keeps);
    old.commit(&[(&topic, 0, 10)]);
    lagline.until_group("c", &group, "goes on", |row| row["lag"] == 1);
}

#[test]
fn a_recreated_topic_takes_its_old_offsets_with_it_and_no_other() {
    recreate(KafkaVersion::V4);
}

#[test]
fn so_it_does_where_commits_do_not_name_the_topic() {
    recreate(KafkaVersion::V3);
}

fn recreate(version: KafkaVersion) {
    let kafka = Kafka::shared(version);
    let client = Client::new(&kafka.bootstrap());
    let (topic, other, group) = (unique("topic"), unique("other"), unique("group"));
    client.create_topic(&topic, 2);
    client.create_topic(&other, 1);
    client.produce(&topic, 0, 50);
    client.commit(&group, &[(&topic, 0, 40), (&topic, 1, 0), (&other, 0, 0)]);
    let lagline = Lagline::watch("c", &kafka.bootstrap());
    lagline.until_group("c", &group, "is known", |row| row["lag"] == 10);

    client.delete_topic(&topic);
    client.create_topic(&topic, 3);
    client.produce(&topic, 0, 5);
    client.commit(&group, &[(&topic, 0, 2)]);
    let expected = [(other.clone(), 0, 0), (topic.clone(), 0, 2)];
    wait::until_ok("only offsets of topics that are there", LIMIT, || {
        let found = committed(&lagline, &group);
        if found == expected {
            return Ok(());
        }
        Err(format!("{found:?}"))
    });
    lagline.until_group("c", &group, "has the new topic's lag", |row| {
        row["lag"] == 3
    });
    // Only now does lagline learn the topic's new id, together with its third partition.
    wait::until("the new topic is known", LIMIT, || {
        let answer = lagline.get(&format!("/v3/kafka/c/topic/{topic}"));
        answer["offsets"].as_array().is_some_and(|p| p.len() == 3)
    });
    lagline.each_beat("c", &group, BEATS, |row| {
        assert_eq!(row["lag"], 3, "{row}");
    });
    assert_eq!(committed(&lagline, &group), expected);
}

/// Three brokers, of which broker 3 never sees what broker 2 takes while it is away.
struct Forgetful {
    kafka: Kafka,
    client: Client,
}

impl Forgetful {
    fn start() -> Self {
        let kafka = Kafka::builder(KafkaVersion::V4)
            .brokers(3)
            .property("unclean.leader.election.enable", "true")
            .start();
        let client = Client::new(&kafka.bootstrap());
        Self { kafka, client }
    }

    /// A topic of one partition on these brokers; the first leads.
    fn create(&self, topic: &str, replicas: &[i32]) {
        let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
            .set("bootstrap.servers", self.kafka.bootstrap())
            .create()
            .unwrap();
        let placed = [replicas];
        let new = NewTopic::new(topic, 1, TopicReplication::Variable(&placed));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let created = runtime.block_on(admin.create_topics([&new], &AdminOptions::new()));
        created.unwrap()[0].as_ref().unwrap();
        wait::until("a leader", LIMIT, || {
            self.client.leaders(topic) == replicas[..1]
        });
    }

    /// Whatever `write` does is lost: the topic's log ends where it ended before.
    fn forget(&mut self, topic: &str, write: impl FnOnce(&Client, &Kafka)) {
        self.kafka.stop_broker(3);
        write(&self.client, &self.kafka);
        self.kafka.kill_broker(2);
        self.kafka.restart_broker(3);
        wait::until("3 leads, with less", LIMIT, || {
            self.client.leaders(topic) == [3]
        });
    }
}

/// A commit record, where Kafka would write it.
fn write_commit(kafka: &Kafka, offsets: &str, size: i32, group: &str, topic: &str, offset: i64) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap())
        .set("acks", "1")
        .create()
        .unwrap();
    let key = commit_key(group, topic, 0);
    let now: Timestamp = Clock::system().now();
    let value = commit_value(offset, now, None);
    let record = BaseRecord::to(offsets).partition(coordinator_partition(group, size).0);
    producer.send(record.key(&key).payload(&value)).unwrap();
    producer.flush(Duration::from_secs(30)).unwrap();
}

fn watch_topic(kafka: &Kafka, offsets: &str) -> Lagline {
    let cluster = cluster_config("c", &kafka.bootstrap());
    Lagline::start(&format!("{cluster}offsets_topic = \"{offsets}\"\n"))
}

#[test]
fn end_offsets_that_go_back_cost_no_commit() {
    let mut forgetful = Forgetful::start();
    forgetful.create("t", &[2, 3]);
    // The offsets topic is on the broker that stays.
    forgetful.create("offsets", &[1]);
    forgetful.client.produce("t", 0, 20);
    let lagline = watch_topic(&forgetful.kafka, "offsets");
    write_commit(&forgetful.kafka, "offsets", 1, "g", "t", 15);
    lagline.until_group("c", "g", "lags by 5", |row| row["lag"] == 5);
    forgetful.forget("t", |client, kafka| {
        client.produce("t", 0, 30);
        write_commit(kafka, "offsets", 1, "g", "t", 45);
        lagline.until_group("c", "g", "is far", |row| row["lag"] == 5);
    });
    // The log ends at 20 again, the group says 45.
    lagline.until_group("c", "g", "has no lag", |row| row["lag"] == 0);
    lagline.each_beat("c", "g", BEATS, |row| {
        assert_eq!(row["status"], "OK", "{row}");
    });
    assert_eq!(committed(&lagline, "g"), [("t".to_owned(), 0, 45)]);
    write_commit(&forgetful.kafka, "offsets", 1, "g", "t", 18);
    lagline.until_group("c", "g", "goes on from there", |row| row["lag"] == 2);
}

#[test]
fn a_truncated_offsets_topic_costs_no_commit() {
    let mut forgetful = Forgetful::start();
    forgetful.create("offsets", &[2, 3]);
    // On the broker that stays.
    forgetful.create("t", &[1]);
    forgetful.client.produce("t", 0, 100);
    write_commit(&forgetful.kafka, "offsets", 1, "early", "t", 90);
    let lagline = watch_topic(&forgetful.kafka, "offsets");
    lagline.until_group("c", "early", "is known", |row| row["lag"] == 10);
    forgetful.forget("offsets", |_, kafka| {
        write_commit(kafka, "offsets", 1, "lost", "t", 80);
        write_commit(kafka, "offsets", 1, "early", "t", 95);
        lagline.until_group("c", "lost", "is known", |row| row["lag"] == 20);
        lagline.until_group("c", "early", "goes on", |row| row["lag"] == 5);
    });
    lagline.until_health("c", "is well", |health| health["status"] == "ok");
    // No record says so any more, and none says that it is gone.
    lagline.until_group("c", "lost", "is still there", |row| row["lag"] == 20);
    // What was overwritten counts as Kafka itself has it now.
    lagline.until_group("c", "early", "is where it was", |row| row["lag"] == 10);
    lagline.each_beat("c", "lost", BEATS, |row| {
        assert_eq!(row["total_lag"], 20, "{row}");
    });
    // What is written at those places now is newer.
    write_commit(&forgetful.kafka, "offsets", 1, "early", "t", 97);
    lagline.until_group("c", "early", "goes on again", |row| row["lag"] == 3);
}

#[test]
fn a_grown_offsets_topic_costs_no_commit_and_the_new_place_counts() {
    let kafka = Kafka::shared(KafkaVersion::V4);
    let client = Client::new(&kafka.bootstrap());
    let (topic, offsets) = (unique("topic"), unique("offsets"));
    client.create_topic(&topic, 1);
    client.produce(&topic, 0, 100);
    client.create_topic(&offsets, 2);
    let moves = (0..1000)
        .map(|n| format!("g{n}"))
        .find(|group| coordinator_partition(group, 8).0 > 1)
        .unwrap();
    write_commit(&kafka, &offsets, 2, "g", &topic, 80);
    write_commit(&kafka, &offsets, 2, &moves, &topic, 80);
    let mut lagline = watch_topic(&kafka, &offsets);
    lagline.until_group("c", &moves, "is known", |row| row["lag"] == 20);
    client.grow_topic(&offsets, 8);
    write_commit(&kafka, &offsets, 8, &moves, &topic, 90);
    lagline.until_group("c", &moves, "goes on at its new place", |row| {
        row["lag"] == 10
    });
    lagline.each_beat("c", "g", BEATS, |row| {
        assert_eq!(row["lag"], 20, "{row}");
    });
    lagline.kill9();
    lagline.restart();
    lagline.until_group("c", &moves, "is the same after a start", |row| {
        row["lag"] == 10
    });
    assert_eq!(
        committed(&lagline, &moves),
        [(topic.clone(), 0, 90)],
        "the older place does not win"
    );
}

#[test]
fn a_deleted_offsets_topic_holds_every_group_until_it_is_there_again() {
    let kafka = Kafka::shared(KafkaVersion::V4);
    let client = Client::new(&kafka.bootstrap());
    let (topic, offsets) = (unique("topic"), unique("offsets"));
    client.create_topic(&topic, 1);
    client.produce(&topic, 0, 100);
    client.create_topic(&offsets, 1);
    write_commit(&kafka, &offsets, 1, "g", &topic, 80);
    let lagline = watch_topic(&kafka, &offsets);
    lagline.until_group("c", "g", "is known", |row| row["lag"] == 20);
    client.delete_topic(&offsets);
    lagline.until_health("c", "says what is wrong", |health| {
        let reason = health["reason"].as_str().unwrap_or_default();
        reason.contains(&format!("topic {offsets} was deleted")) && health["status"] == "degraded"
    });
    let held = lagline.until_group("c", "g", "is held", |row| row["stale"] == true);
    lagline.each_beat("c", "g", BEATS, |row| {
        assert_eq!(row["stale"], true, "{row}");
        assert_eq!(row["status"], held["status"], "{row}");
        assert!(row["lag"].is_null(), "{row}");
    });
    client.create_topic(&offsets, 1);
    write_commit(&kafka, &offsets, 1, "g", &topic, 90);
    lagline.until_group("c", "g", "goes on", |row| {
        row["lag"] == 10 && row["stale"] == false
    });
    lagline.until_health("c", "is well", |health| health["status"] == "ok");
}
