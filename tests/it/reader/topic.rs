//! The topic changes while it is read: re-created, grown, emptied, truncated.
//!
//! Topics of the tests' own stand in for `__consumer_offsets`, as brokers keep that one for themselves.

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use lagline::kafka::encode::{commit_key, commit_value};
use lagline::lag::ids::coordinator_partition;

use super::*;

/// Writes commits into the partition that Kafka would choose among `size`.
fn write(kafka: &Kafka, topic: &str, size: i32, commits: &[(&str, i64)]) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap())
        .set("acks", "1")
        .create()
        .unwrap();
    for (group, offset) in commits {
        let key = commit_key(group, "t", 0);
        let value = commit_value(*offset, Timestamp::from_ms(1_700_000_000_000), None);
        let partition = coordinator_partition(group, size).0;
        let record = BaseRecord::to(topic).partition(partition);
        producer.send(record.key(&key).payload(&value)).unwrap();
    }
    producer.flush(LIMIT).unwrap();
}

fn watch(kafka: &Kafka, topic: &str) -> Run {
    let mut settings = KafkaSettings::new(vec![kafka.bootstrap()]);
    topic.clone_into(&mut settings.offsets_topic);
    Run::with(settings)
}

#[test]
fn a_recreated_topic_is_read_anew_and_counts_as_newer() {
    for version in KafkaVersion::ALL {
        let kafka = Kafka::shared(version);
        let client = Client::new(&kafka.bootstrap());
        let topic = unique("offsets");
        client.create_topic(&topic, 2);
        let many: Vec<(&str, i64)> = (1..=100).map(|offset| ("g", offset)).collect();
        write(&kafka, &topic, 2, &many);
        let mut run = watch(&kafka, &topic);
        run.until_offset("g", "t", 0, 100);
        client.delete_topic(&topic);
        client.create_topic(&topic, 3);
        // Fewer records than before: their offsets are smaller, and still they are newer.
        write(&kafka, &topic, 3, &[("g", 7), ("h", 8)]);
        run.until_offset("g", "t", 0, 7);
        run.until_offset("h", "t", 0, 8);
        run.until("three partitions", |seen| {
            seen.is_caught_up() && seen.progress.values().all(|told| told.partitions == 3)
        });
        run.until_no_problem();
    }
}

#[test]
fn a_deleted_topic_is_waited_for() {
    let kafka = Kafka::shared(KafkaVersion::V4);
    let client = Client::new(&kafka.bootstrap());
    let topic = unique("offsets");
    client.create_topic(&topic, 1);
    write(&kafka, &topic, 1, &[("g", 1)]);
    let mut run = watch(&kafka, &topic);
    run.until_offset("g", "t", 0, 1);
    client.delete_topic(&topic);
    run.until_problem("was deleted, every group is stale until it is there again");
    run.until("told so", |seen| seen.absent > 0);
    client.create_topic(&topic, 1);
    write(&kafka, &topic, 1, &[("g", 2)]);
    run.until_offset("g", "t", 0, 2);
}

#[test]
fn a_grown_topic_is_read_in_all_its_partitions_and_the_new_place_of_a_group_counts() {
    let kafka = Kafka::shared(KafkaVersion::V4);
    let client = Client::new(&kafka.bootstrap());
    let topic = unique("offsets");
    client.create_topic(&topic, 2);
    // A group whose partition changes when 2 become 8.
    let group = (0..1000)
        .map(|n| format!("g{n}"))
        .find(|group| coordinator_partition(group, 8).0 > 1)
        .unwrap();
    let many: Vec<(&str, i64)> = (1..=50).map(|offset| (group.as_str(), offset)).collect();
    write(&kafka, &topic, 2, &many);
    let mut running = watch(&kafka, &topic);
    running.until_offset(&group, "t", 0, 50);
    client.grow_topic(&topic, 8);
    // The coordinators have not noticed yet.
    write(&kafka, &topic, 2, &[(&group, 60)]);
    running.until_offset(&group, "t", 0, 60);
    running.until("eight partitions", |seen| {
        seen.progress.len() == 8 && seen.is_caught_up()
    });
    // Now they have: offset 0 of another partition.
    write(&kafka, &topic, 8, &[(&group, 70)]);
    running.until_offset(&group, "t", 0, 70);
    // And a reader that starts now comes to the same result.
    let mut started = watch(&kafka, &topic);
    started.until_caught_up();
    assert_eq!(started.seen.offset(&group, "t", 0), Some(70));
}

#[test]
fn records_deleted_in_front_of_the_reader_cost_nothing() {
    let kafka = Kafka::shared(KafkaVersion::V3);
    let client = Client::new(&kafka.bootstrap());
    let topic = unique("offsets");
    client.create_topic(&topic, 1);
    write(&kafka, &topic, 1, &[("g", 1), ("g", 2)]);
    let mut run = watch(&kafka, &topic);
    run.until_offset("g", "t", 0, 2);
    client.delete_records(&topic, 0, 2);
    write(&kafka, &topic, 1, &[("g", 3)]);
    run.until_offset("g", "t", 0, 3);
    let mut later = watch(&kafka, &topic);
    later.until_caught_up();
    assert_eq!(later.seen.offset("g", "t", 0), Some(3));
    assert_eq!(later.seen.progress[&0].from, 2);
}

/// An unclean election: the new leader never saw the last records, and writes others at their offsets.
#[test]
fn a_truncated_partition_goes_on_with_what_is_written_now() {
    let mut kafka = Kafka::builder(KafkaVersion::V3)
        .brokers(3)
        .property("unclean.leader.election.enable", "true")
        .start();
    let client = Client::new(&kafka.bootstrap());
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap())
        .create()
        .unwrap();
    let replicas: &[&[i32]] = &[&[2, 3]];
    let new = NewTopic::new("offsets", 1, TopicReplication::Variable(replicas));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let created = runtime.block_on(admin.create_topics([&new], &AdminOptions::new()));
    created.unwrap()[0].as_ref().unwrap();
    wait::until("a leader", LIMIT, || client.leaders("offsets") == [2]);
    write(&kafka, "offsets", 1, &[("g", 1), ("g", 2)]);
    let mut run = watch(&kafka, "offsets");
    run.until_offset("g", "t", 0, 2);

    kafka.stop_broker(3);
    wait::until("2 leads alone", LIMIT, || client.leaders("offsets") == [2]);
    let lost: Vec<(&str, i64)> = (3..=50).map(|offset| ("g", offset)).collect();
    write(&kafka, "offsets", 1, &lost);
    run.until_offset("g", "t", 0, 50);
    let before = run.seen.commits.values().next().unwrap().order;
    kafka.kill_broker(2);
    kafka.restart_broker(3);
    wait::until("3 leads, with less", LIMIT, || {
        client.leaders("offsets") == [3]
    });

    write(&kafka, "offsets", 1, &[("g", 20)]);
    run.until_offset("g", "t", 0, 20);
    let after = run.seen.commits.values().next().unwrap().order;
    assert!(
        after.offset < before.offset && after > before,
        "{before:?} {after:?}"
    );
    run.until_no_problem();
}
