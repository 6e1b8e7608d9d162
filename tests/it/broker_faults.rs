//! Kafka goes away under lagline, or was never there: what it cannot see it does not make up, and
//! one cluster's trouble is that cluster's alone.

use std::net::TcpListener;

use lagline::lag::ids::coordinator_partition;
use serde_json::Value;

use crate::kafka_client::Client;
use crate::lagline::{LIMIT, Lagline, cluster_config};
use crate::services::{Kafka, KafkaVersion, unique, wait};

const TOPIC: &str = "orders";
const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// Longer than the windows of these groups span: judged by the clock alone they would be STOP.
const BLIND_BEATS: usize = 15;

/// One commit a beat, each with 5 records left, so that the window spans several seconds and its
/// lag is never 0; then the last one is caught up. What follows lags again.
fn work(lagline: &Lagline, client: &Client, cluster: &str, group: &str) {
    client.produce(TOPIC, 0, 60);
    client.commit(group, &[(TOPIC, 0, 45)]);
    lagline.until_group(cluster, group, "is known", |_| true);
    let mut offset = 45;
    lagline.each_beat(cluster, group, 6, |_| {
        offset += 2;
        client.commit(group, &[(TOPIC, 0, offset)]);
    });
    client.commit(group, &[(TOPIC, 0, 60)]);
    client.produce(TOPIC, 0, 5);
    lagline.until_group(cluster, group, "lags by 5", |row| row["lag"] == 5);
}

fn goes_away_and_comes_back(
    kafka: &mut Kafka,
    away: impl FnOnce(&mut Kafka),
    back: impl FnOnce(&mut Kafka),
) {
    let client = Client::new(&kafka.bootstrap());
    client.create_topic(TOPIC, 1);
    let lagline = Lagline::watch("c", &kafka.bootstrap());
    work(&lagline, &client, "c", "g");
    lagline.until_group("c", "g", "is fine", |row| {
        row["status"] == "OK" && row["stale"] == false
    });

    away(kafka);
    lagline.until_health("c", "is not up, and says why", |health| {
        health["up"] == false && health["reason"].is_string()
    });
    let mut stale = 0;
    lagline.each_beat("c", "g", BLIND_BEATS, |row| {
        assert_eq!(row["status"], "OK", "nothing is known of it: {row}");
        assert_eq!(row["lag"], Value::Null, "nothing is known of it: {row}");
        stale += usize::from(row["stale"] == true);
    });
    // A status may use end offsets up to three polls old.
    assert!(stale >= BLIND_BEATS - 4, "{stale} of {BLIND_BEATS}");

    back(kafka);
    client.commit("g", &[(TOPIC, 0, 62)]);
    lagline.until_group("c", "g", "is seen again", |row| {
        row["status"] == "OK" && row["stale"] == false && row["lag"] == 3
    });
    lagline.until_health("c", "is well", |health| health["status"] == "ok");
    assert_eq!(lagline.cluster_health("c")["restarts"], 0);
}

#[test]
fn a_killed_kafka_holds_its_groups_as_stale_and_they_go_on_when_it_is_back() {
    for version in KafkaVersion::ALL {
        let mut kafka = Kafka::start(version);
        goes_away_and_comes_back(&mut kafka, Kafka::kill, Kafka::restart);
    }
}

#[test]
fn a_kafka_that_no_longer_answers_holds_its_groups_as_stale() {
    let mut kafka = Kafka::start(KafkaVersion::V4);
    goes_away_and_comes_back(&mut kafka, |kafka| kafka.freeze(), |kafka| kafka.thaw());
}

#[test]
fn a_partition_without_leader_is_unknown_and_hides_no_other() {
    let mut kafka = Kafka::builder(KafkaVersion::V4).brokers(2).start();
    let client = Client::new(&kafka.bootstrap());
    client.create_topic(TOPIC, 2);
    let leaders = client.leaders(TOPIC);
    assert!(leaders.contains(&1) && leaders.contains(&2), "{leaders:?}");
    for partition in [0, 1] {
        client.produce(TOPIC, partition, 10);
    }
    // Groups are watched through the offsets topic: this one's partition stays.
    client.commit("first", &[(TOPIC, 0, 10)]);
    let offsets = client.leaders(OFFSETS_TOPIC);
    let count = i32::try_from(offsets.len()).unwrap();
    let group = (0..1000)
        .map(|n| format!("g{n}"))
        .find(|group| {
            let place = coordinator_partition(group, count).0;
            offsets[usize::try_from(place).unwrap()] == 1
        })
        .expect("broker 1 coordinates something");
    client.commit(&group, &[(TOPIC, 0, 10), (TOPIC, 1, 10)]);
    let lagline = Lagline::watch("c", &kafka.bootstrap());
    lagline.until_group("c", &group, "is wholly known", |row| {
        row["partitions_unknown"] == 0 && row["lag"] == 0
    });

    kafka.kill_broker(2);
    lagline.until_group("c", &group, "has one unknown partition", |row| {
        row["partitions_unknown"] == 1
    });
    let seen = i32::from(leaders[1] == 1);
    client.produce(TOPIC, seen, 4);
    lagline.until_group("c", &group, "shows the other partition's lag", |row| {
        row["partitions_unknown"] == 1 && row["lag"] == 4
    });
    kafka.restart_broker(2);
    lagline.until_group("c", &group, "is wholly known again", |row| {
        row["partitions_unknown"] == 0 && row["lag"] == 4
    });
}

#[test]
fn clusters_that_do_not_answer_delay_no_other_and_are_watched_once_they_do() {
    let kafka = Kafka::shared(KafkaVersion::V4);
    let client = Client::new(&kafka.bootstrap());
    let (topic, group) = (unique("topic"), unique("group"));
    client.create_topic(&topic, 1);
    client.commit(&group, &[(&topic, 0, 0)]);
    let mut late = Kafka::start(KafkaVersion::V3);
    late.kill();
    // Connections are taken and nothing is ever answered.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let tables = [
        cluster_config("good", &kafka.bootstrap()),
        cluster_config("late", &late.bootstrap()),
        cluster_config("silent", &silent.local_addr().unwrap().to_string()),
    ];
    let lagline = Lagline::start(&tables.concat());
    lagline.until_group("good", &group, "is known", |_| true);
    assert_eq!(
        lagline.get("/ready")["ready"],
        false,
        "two are not read yet"
    );

    let (mut first, mut last, mut ages) = (None, 0, Vec::new());
    lagline.each_beat("good", &group, 12, |row| {
        let beat = row["beat_ms"].as_i64().unwrap();
        ages.push(lagline.get("/health")["now_ms"].as_i64().unwrap() - beat);
        first = first.or(Some(beat));
        last = beat;
    });
    for cluster in ["late", "silent"] {
        let health = lagline.cluster_health(cluster);
        assert_eq!(health["up"], false, "{health}");
        assert!(health["reason"].is_string(), "{health}");
    }
    // The others take half a beat each time to find out that nobody answers. A busy machine delays
    // some beats, the others would delay all.
    let soonest = ages.iter().min().unwrap();
    assert!(*soonest < 450, "evaluated so long after the beat: {ages:?}");
    let missed = (last - first.unwrap()) / 1_000 - 11;
    assert!(missed <= 4, "{missed} beats were missed");

    late.restart();
    let client = Client::new(&late.bootstrap());
    client.create_topic(TOPIC, 1);
    client.commit("g", &[(TOPIC, 0, 0)]);
    wait::until("the late cluster's group is there", LIMIT, || {
        lagline.group_status("late", "g").as_deref() == Some("OK")
    });
    lagline.until_health("late", "is well", |health| health["status"] == "ok");
    assert_eq!(lagline.cluster_health("silent")["up"], false);
}
