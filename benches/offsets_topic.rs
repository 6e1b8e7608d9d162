//! A plain topic that stands in for `__consumer_offsets`, into which only Kafka itself may write.

use std::time::Duration;

use lagline::clock::Timestamp;
use lagline::kafka::encode::{commit_key, commit_value};
use lagline::lag::ids::{TopicId, coordinator_partition};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

/// As many as Kafka gives it.
pub const PARTITIONS: i32 = 50;

/// Creates topics with one replica.
pub fn create_topics(servers: &str, topics: &[(&str, i32)]) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers);
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let new: Vec<_> = topics
        .iter()
        .map(|(name, partitions)| NewTopic::new(name, *partitions, TopicReplication::Fixed(1)))
        .collect();
    let made = runtime.block_on(admin.create_topics(&new, &AdminOptions::new()));
    for result in made.unwrap() {
        result.unwrap();
    }
}

/// Writes records with as many of them in a batch.
pub fn producer(servers: &str, batch: usize) -> BaseProducer {
    ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("batch.num.messages", batch.to_string())
        .set("linger.ms", "50")
        .set("acks", "1")
        .set("queue.buffering.max.messages", "200000")
        .create()
        .unwrap()
}

/// Hands a record over, waiting while the producer's queue is full.
pub fn send(producer: &BaseProducer, mut record: BaseRecord<'_, [u8], [u8]>) {
    while let Err((error, back)) = producer.send(record) {
        assert!(error.to_string().contains("Queue full"), "{error}");
        producer.poll(Duration::from_millis(10));
        record = back;
    }
}

pub struct OffsetsTopic {
    producer: BaseProducer,
    topic: String,
}

impl OffsetsTopic {
    /// Creates the topic.
    pub fn create(servers: &str, topic: &str, batch: usize) -> Self {
        create_topics(servers, &[(topic, PARTITIONS)]);
        Self {
            producer: producer(servers, batch),
            topic: topic.to_owned(),
        }
    }

    /// Writes a commit of `(topic, partition)`, without a topic's id unless there is one.
    pub fn commit(
        &self,
        group: &str,
        (topic, partition): (&str, i32),
        offset: i64,
        at: Timestamp,
        id: Option<TopicId>,
    ) {
        let key = commit_key(group, topic, partition);
        let value = commit_value(offset, at, id);
        let home = coordinator_partition(group, PARTITIONS).0;
        let record = BaseRecord::to(&self.topic)
            .partition(home)
            .key(&key[..])
            .payload(&value[..]);
        send(&self.producer, record);
    }

    /// Waits until everything is written.
    pub fn flush(&self) {
        self.producer.flush(Duration::from_secs(600)).unwrap();
    }
}
