//! The built program on a real Kafka: it starts, is killed, goes on from its store, stops.

use crate::kafka_client::Client;
use crate::lagline::{LIMIT, Lagline, cluster_config};
use crate::services::{Kafka, KafkaVersion, unique, wait};

#[test]
fn the_program_watches_is_killed_goes_on_and_stops() {
    let kafka = Kafka::shared(KafkaVersion::V4);
    let client = Client::new(&kafka.bootstrap());
    let (topic, group) = (unique("topic"), unique("group"));
    client.create_topic(&topic, 1);
    client.produce(&topic, 0, 10);
    client.commit(&group, &[(&topic, 0, 10)]);

    let mut lagline = Lagline::watch("c", &kafka.bootstrap());
    lagline.ready();
    lagline.until_group("c", &group, "is fine", |seen| {
        seen["status"] == "OK" && seen["lag"] == 0
    });
    assert_eq!(lagline.group_status("c", &group).as_deref(), Some("OK"));
    lagline.kill9();
    client.produce(&topic, 0, 5);
    lagline.restart();
    lagline.until_group("c", &group, "lags by 5", |seen| seen["lag"] == 5);
    lagline.until_health("c", "is well", |health| health["status"] == "ok");
    lagline.stop();
    assert!(lagline.log().contains("stopped"), "{}", lagline.log());
}

#[test]
fn health_names_a_sink_that_cannot_be_reached() {
    let kafka = Kafka::shared(KafkaVersion::V4);
    let client = Client::new(&kafka.bootstrap());
    let (topic, group) = (unique("topic"), unique("group"));
    client.create_topic(&topic, 1);
    client.commit(&group, &[(&topic, 0, 0)]);
    // Nobody listens on port 1.
    let sinks = "[sinks.dead.influxdb]\nurl = \"http://127.0.0.1:1\"\nv1 = { database = \"d\" }\n\
                 [sinks.lines.jsonl]\npath = \"{dir}/lines.jsonl\"\n";
    let lagline = Lagline::start(&(cluster_config("c", &kafka.bootstrap()) + sinks));
    let sink = |name: &str| {
        let health = lagline.get("/health");
        let sinks = health["sinks"].as_array().unwrap();
        sinks
            .iter()
            .find(|sink| sink["sink"] == name)
            .unwrap()
            .clone()
    };
    wait::until_ok("the dead sink is named", LIMIT, || {
        let (dead, lines) = (sink("dead"), sink("lines"));
        let is_named = dead["status"] == "degraded"
            && dead["reason"]
                .as_str()
                .is_some_and(|why| why.contains("127.0.0.1:1"))
            && dead["waiting"].as_u64() > Some(0)
            && dead["oldest_waiting_s"].is_u64();
        let is_alone = lines["status"] == "ok" && lines["delivered"].as_u64() > Some(0);
        match is_named && is_alone {
            true => Ok(()),
            false => Err(format!("{dead} {lines}")),
        }
    });
    assert_eq!(lagline.get("/health")["status"], "degraded");
}
