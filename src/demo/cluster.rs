//! An in-process Kafka: librdkafka's mock cluster, on loopback addresses.
//!
//! It stores and serves records and log offsets. What it does not have is a group coordinator that
//! writes to the offsets topic: that topic is an ordinary one here, and commits are written to it
//! by hand, to the partition that holds the group in a real cluster. Timestamps are not looked up
//! (every question for the offset at a time is answered with "no record is that new").

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::ToBytes;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};

use super::DemoError;
use super::plan::TopicPlan;
use super::records::OffsetsRecord;
use crate::clock::Timestamp;
use crate::kafka::client::OFFSETS_TOPIC;
use crate::kafka::ffi::Code;
use crate::kafka::ffi::admin::{Answer, Questions};
use crate::kafka::ffi::metadata::cluster_metadata;
use crate::lag::ids::{TopicId, coordinator_partition};

const BROKERS: &str = "3";
/// Fewer than Kafka's 50: each partition may take 5 MiB.
pub const OFFSETS_PARTITIONS: i32 = 8;
/// How long the cluster may take to do what it is told at the start.
const PATIENCE: Duration = Duration::from_secs(5);
/// Records that are on their way at a time; librdkafka's queue holds 100,000.
const RECORDS_AT_ONCE: i64 = 20_000;

/// A running in-process Kafka. It ends when this is dropped.
pub struct SimulatedKafka {
    /// Owns the mock cluster, and is its only producer.
    producer: BaseProducer<Silent>,
    bootstrap: String,
    ids: BTreeMap<&'static str, TopicId>,
}

impl SimulatedKafka {
    /// Starts it, with the offsets topic and these topics, all empty.
    ///
    /// # Errors
    /// When librdkafka cannot (no threads, no sockets).
    pub fn start(topics: &'static [TopicPlan]) -> Result<SimulatedKafka, DemoError> {
        let producer: BaseProducer<Silent> = ClientConfig::new()
            .set("test.mock.num.brokers", BROKERS)
            .set("client.id", "lagline-demo")
            // One batch a partition and second: what happens in one is handed over faster.
            .set("linger.ms", "20")
            .set("message.timeout.ms", "0")
            // Commits stay in order.
            .set("max.in.flight.requests.per.connection", "1")
            .set_log_level(RDKafkaLogLevel::Warning)
            .create_with_context(Silent)
            .map_err(DemoError::Start)?;
        let bootstrap = {
            let mock = producer.client().mock_cluster().ok_or(DemoError::NoMock)?;
            for topic in topics {
                mock.create_topic(topic.name, topic.partitions, 1)
                    .map_err(DemoError::Start)?;
            }
            mock.create_topic(OFFSETS_TOPIC, OFFSETS_PARTITIONS, 1)
                .map_err(DemoError::Start)?;
            mock.bootstrap_servers()
        };
        let ids = topic_ids(&producer, topics)?;
        Ok(SimulatedKafka {
            producer,
            bootstrap,
            ids,
        })
    }

    /// `host:port` of each broker.
    pub fn bootstrap_servers(&self) -> Vec<String> {
        self.bootstrap.split(',').map(str::to_owned).collect()
    }

    /// The id of a topic.
    pub fn topic_id(&self, topic: &str) -> Option<TopicId> {
        self.ids.get(topic).copied()
    }

    /// Takes the leader away from a partition: from now on nobody can write to it or ask about it.
    ///
    /// # Errors
    /// When there is no such partition.
    pub fn take_leader(&self, topic: &str, partition: i32) -> Result<(), DemoError> {
        let mock = self.producer.client().mock_cluster();
        mock.ok_or(DemoError::NoMock)?
            .partition_leader(topic, partition, None)
            .map_err(DemoError::Start)
    }

    /// Hands over `records` records of a partition, whose timestamps rise from `from` to `to`. They
    /// are there after [`SimulatedKafka::flush`].
    ///
    /// # Errors
    /// When the cluster has not taken earlier ones for some seconds.
    pub fn write(
        &self,
        topic: &TopicPlan,
        partition: i32,
        records: i64,
        (from, to): (Timestamp, Timestamp),
    ) -> Result<(), DemoError> {
        let payload = vec![b'.'; topic.record_bytes];
        let width = to.ms_since(from).max(0);
        for number in 0..records {
            if number % RECORDS_AT_ONCE == RECORDS_AT_ONCE - 1 {
                self.flush(PATIENCE)?;
            }
            let at = from.as_ms() + width * (number + 1) / records;
            self.send(
                BaseRecord::<(), [u8]>::to(topic.name)
                    .partition(partition)
                    .payload(&payload)
                    .timestamp(at),
            )?;
        }
        Ok(())
    }

    /// Hands over a record of the offsets topic, for the partition that holds `group`.
    ///
    /// # Errors
    /// When the cluster has not taken earlier ones for some seconds.
    pub fn write_offsets_record(
        &self,
        group: &str,
        record: &OffsetsRecord,
        at: Timestamp,
    ) -> Result<(), DemoError> {
        let mut message = BaseRecord::<[u8], [u8]>::to(OFFSETS_TOPIC)
            .partition(coordinator_partition(group, OFFSETS_PARTITIONS).0)
            .key(&record.key)
            .timestamp(at.as_ms());
        message.payload = record.value.as_deref();
        self.send(message)
    }

    /// Waits until what was handed over is stored.
    ///
    /// # Errors
    /// When that takes longer than `limit`; it still goes on.
    pub fn flush(&self, limit: Duration) -> Result<(), DemoError> {
        self.producer.flush(limit).map_err(DemoError::Write)
    }

    fn send<K: ToBytes + ?Sized>(&self, record: BaseRecord<'_, K, [u8]>) -> Result<(), DemoError> {
        match self.producer.send(record) {
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), record)) => {
                self.flush(PATIENCE)?;
                let again = self.producer.send(record);
                again.map_err(|(error, _)| DemoError::Write(error))
            }
            sent => sent.map_err(|(error, _)| DemoError::Write(error)),
        }
    }
}

impl fmt::Debug for SimulatedKafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedKafka")
            .field("bootstrap", &self.bootstrap)
            .finish_non_exhaustive()
    }
}

/// The ids that the cluster gave to its topics: commits carry them, and lagline takes another id
/// for another topic.
fn topic_ids(
    producer: &BaseProducer<Silent>,
    topics: &'static [TopicPlan],
) -> Result<BTreeMap<&'static str, TopicId>, DemoError> {
    let client = producer.client();
    // There is no controller, whom librdkafka would ask.
    let metadata = cluster_metadata(client, PATIENCE).map_err(DemoError::Topics)?;
    let via = metadata.brokers.first().map(|broker| broker.id);
    let questions = Questions::new(client);
    let names = topics.iter().map(|topic| topic.name);
    questions.describe_topics(0, names, via, false, PATIENCE);
    let described = match questions.next(PATIENCE) {
        Some((_, Answer::Topics(described))) => described,
        Some((_, Answer::Failed(code))) => return Err(DemoError::Topics(code)),
        Some((_, Answer::Offsets(_) | Answer::Cluster(_))) | None => {
            return Err(DemoError::Topics(Code::TIMED_OUT));
        }
    };
    let mut ids = BTreeMap::new();
    for facts in described {
        let plan = topics.iter().find(|topic| topic.name == facts.name);
        let id = facts.outcome.ok().and_then(|facts| facts.id);
        if let (Some(plan), Some(id)) = (plan, id) {
            ids.insert(plan.name, id);
        }
    }
    Ok(ids)
}

/// What librdkafka says about its own mock cluster is of no use to anybody who looks at the demo.
struct Silent;

impl ClientContext for Silent {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, line: &str) {
        tracing::debug!(target: "librdkafka", facility, "{line}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, "{reason}");
    }
}

impl ProducerContext for Silent {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            tracing::debug!(%error, "a record of the demo was not written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::TOPICS;
    use super::*;

    #[test]
    fn every_topic_has_an_id_of_its_own() {
        let kafka = SimulatedKafka::start(&TOPICS).unwrap();
        let ids: std::collections::BTreeSet<_> = TOPICS
            .iter()
            .filter_map(|topic| kafka.topic_id(topic.name))
            .map(|id| id.0)
            .collect();
        assert_eq!(ids.len(), TOPICS.len());
        assert_eq!(kafka.bootstrap_servers().len(), 3);
    }
}
