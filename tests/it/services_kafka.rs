//! The harness's own tests: what it promises of a real Kafka holds.

use std::path::Path;
use std::time::Duration;

use crate::kafka_client::{Client, Protocol};
use crate::services::{Kafka, KafkaVersion, SASL_PASSWORD, SASL_USER, unique, wait};

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn a_member_of_either_protocol_commits_on_the_newest_kafka() {
    let kafka = Kafka::shared(KafkaVersion::V4);
    let client = Client::new(&kafka.bootstrap());
    let topic = unique("topic");
    client.create_topic(&topic, 2);
    client.produce(&topic, 0, 10);
    for protocol in [Protocol::Classic, Protocol::Consumer] {
        let group = unique("group");
        let member = client.join(&group, &[&topic], protocol);
        member.wait_assigned(2);
        assert_eq!(
            member.assignment(),
            [(topic.clone(), 0), (topic.clone(), 1)]
        );
        member.commit(&[(&topic, 0, 7)]);
        assert_eq!(client.committed(&group, &topic, 0), Some(7), "{protocol:?}");
        assert_eq!(client.committed(&group, &topic, 1), None, "{protocol:?}");
        drop(member);
        client.delete_group(&group);
        assert_eq!(client.committed(&group, &topic, 0), None, "{protocol:?}");
    }
}

#[test]
fn topics_grow_and_lose_old_records_and_go() {
    let kafka = Kafka::shared(KafkaVersion::V4);
    let client = Client::new(&kafka.bootstrap());
    let topic = unique("topic");
    client.create_topic_with(&topic, 1, 1, &[("retention.ms", "-1")]);
    client.produce_at(&topic, 0, 5, 1_700_000_000_000);
    client.delete_records(&topic, 0, 3);
    assert_eq!(client.log_offsets(&topic, 0), (3, 5));
    client.grow_topic(&topic, 2);
    assert_eq!(client.log_offsets(&topic, 1), (0, 0));
    client.delete_topic(&topic);
    assert!(client.leaders(&topic).is_empty());
}

#[test]
fn a_transaction_commits_offsets_or_takes_them_back() {
    let kafka = Kafka::shared(KafkaVersion::V3);
    let client = Client::new(&kafka.bootstrap());
    let (topic, group) = (unique("topic"), unique("group"));
    client.create_topic(&topic, 1);
    let member = client.join(&group, &[&topic], Protocol::Classic);
    for (commits, offset, expected) in [(true, 4, 4), (false, 9, 4)] {
        let transaction = client.transaction(&unique("transaction"));
        transaction.produce(&topic, 0, 1);
        transaction.send_offsets(&member, &[(&topic, 0, offset)]);
        if commits {
            transaction.commit();
        } else {
            transaction.abort();
        }
        assert_eq!(client.committed(&group, &topic, 0), Some(expected));
    }
}

#[test]
fn a_broker_keeps_its_data_and_port_over_a_kill() {
    for version in KafkaVersion::ALL {
        let mut kafka = Kafka::start(version);
        let client = Client::new(&kafka.bootstrap());
        client.create_topic("orders", 1);
        client.produce("orders", 0, 3);
        client.commit("billing", &[("orders", 0, 1)]);
        kafka.kill();
        kafka.restart();
        assert_eq!(
            client.committed("billing", "orders", 0),
            Some(1),
            "{version:?}"
        );
        assert_eq!(client.log_offsets("orders", 0), (0, 3), "{version:?}");
        kafka.freeze();
        kafka.thaw();
        assert_eq!(client.log_offsets("orders", 0), (0, 3), "{version:?}");
    }
}

#[test]
fn an_administrator_deletes_single_offsets_and_grants_and_revokes() {
    let kafka = Kafka::builder(KafkaVersion::V4).access_control().start();
    let client = Client::new(&kafka.bootstrap());
    client.create_topic("orders", 2);
    client.commit("billing", &[("orders", 0, 1), ("orders", 1, 2)]);
    kafka.admin(&["delete-offsets", "billing", "orders", "0"]);
    assert_eq!(client.committed("billing", "orders", 0), None);
    assert_eq!(client.committed("billing", "orders", 1), Some(2));
    kafka.admin(&["configure", "topic", "orders", "retention.ms", "60000"]);

    let user = sasl_client(&kafka, "SCRAM-SHA-512");
    let sees = |expected: usize| {
        let what = format!("the user sees {expected} partitions");
        wait::until(&what, LIMIT, || user.leaders("orders").len() == expected);
    };
    sees(0);
    kafka.admin(&["allow", SASL_USER, "topic", "orders", "describe"]);
    sees(2);
    kafka.admin(&["revoke", SASL_USER, "topic", "orders", "describe"]);
    sees(0);
}

#[test]
fn every_sasl_mechanism_is_let_in_over_tls() {
    let kafka = Kafka::builder(KafkaVersion::V4).sasl_ssl().start();
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let client = sasl_client(&kafka, mechanism);
        client.create_topic(mechanism, 1);
        assert_eq!(client.log_offsets(mechanism, 0), (0, 0));
    }
    assert!(Path::new(&kafka.other_ca_file()).exists());
}

fn sasl_client(kafka: &Kafka, mechanism: &str) -> Client {
    let ca_file = kafka.ca_file();
    Client::with(
        &kafka.sasl_bootstrap(),
        &[
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanism", mechanism),
            ("sasl.username", SASL_USER),
            ("sasl.password", SASL_PASSWORD),
            ("ssl.ca.location", ca_file.to_str().unwrap()),
        ],
    )
}

#[test]
fn a_partition_loses_its_leader_when_its_broker_dies() {
    let mut kafka = Kafka::builder(KafkaVersion::V4)
        .brokers(2)
        .property("offsets.topic.num.partitions", "4")
        .start();
    let client = Client::new(&kafka.bootstrap());
    client.create_topic("orders", 2);
    let mut leaders = client.leaders("orders");
    leaders.sort_unstable();
    assert_eq!(leaders, [1, 2]);
    kafka.kill_broker(2);
    wait::until("a partition has no leader", LIMIT, || {
        client.leaders("orders").contains(&-1)
    });
    kafka.restart_broker(2);
    wait::until("both partitions have leaders", LIMIT, || {
        !client.leaders("orders").contains(&-1)
    });
    kafka.stop();
}
