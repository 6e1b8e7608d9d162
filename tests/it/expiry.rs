//! Groups and offsets that nobody uses any more go: by lagline's own rule, and by Kafka's.

use crate::kafka_client::{Client, Protocol};
use crate::lagline::{LIMIT, Lagline, cluster_config};
use crate::services::{Kafka, KafkaVersion, unique, wait};

/// Waits until a group is neither listed nor found.
fn until_gone(lagline: &Lagline, group: &str) {
    // Neither lagline nor Kafka lets a group go before a minute has passed.
    wait::until(&format!("{group} is gone"), 2 * LIMIT, || {
        lagline.group("c", group).is_none()
    });
    let answer = lagline.get(&format!("/v3/kafka/c/consumer/{group}/lag"));
    assert_eq!(answer["status"]["status"], "NOTFOUND", "{answer}");
}

#[test]
fn a_group_that_stops_committing_is_gone_after_expire_group_until_it_commits_again() {
    let kafka = Kafka::shared(KafkaVersion::V4);
    let client = Client::new(&kafka.bootstrap());
    let (topic, group) = (unique("topic"), unique("group"));
    client.create_topic(&topic, 1);
    client.produce(&topic, 0, 10);
    let cluster = cluster_config("c", &kafka.bootstrap());
    let lagline = Lagline::start(&format!(
        "{cluster}[clusters.c.rules]\nexpire_group = \"1m\"\n"
    ));
    lagline.ready();
    client.commit(&group, &[(&topic, 0, 7)]);
    lagline.until_group("c", &group, "is known", |row| row["lag"] == 3);
    until_gone(&lagline, &group);
    client.commit(&group, &[(&topic, 0, 8)]);
    lagline.until_group("c", &group, "is back", |row| row["lag"] == 2);
}

fn expires_in_kafka(version: KafkaVersion) {
    let kafka = Kafka::builder(version)
        .property("offsets.retention.minutes", "1")
        .property("offsets.retention.check.interval.ms", "1000")
        .start();
    let client = Client::new(&kafka.bootstrap());
    client.create_topic("t", 1);
    client.produce("t", 0, 10);
    let lagline = Lagline::watch("c", &kafka.bootstrap());
    let member = client.join("inhabited", &["t"], Protocol::Classic);
    member.wait_assigned(1);
    member.commit(&[("t", 0, 6)]);
    client.commit("abandoned", &[("t", 0, 7)]);
    lagline.until_group("c", "inhabited", "is known", |row| row["lag"] == 4);
    lagline.until_group("c", "abandoned", "is known", |row| row["lag"] == 3);
    until_gone(&lagline, "abandoned");
    lagline.until_group("c", "inhabited", "is still there", |row| row["lag"] == 4);
}

#[test]
fn offsets_that_kafka_3_expires_go_with_their_tombstones() {
    expires_in_kafka(KafkaVersion::V3);
}

#[test]
fn offsets_that_kafka_4_expires_go_with_their_tombstones() {
    expires_in_kafka(KafkaVersion::V4);
}
