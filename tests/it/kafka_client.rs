//! A Kafka client for the tests: it plays the applications whose lag is watched, and their
//! administrator.
//!
//! Every call returns when the broker has confirmed, and panics with what Kafka said when it does
//! not. The calls block; in an async test run them on `spawn_blocking` or start the test with a
//! multi-thread runtime.
//!
//! A [`Member`] joins a group and commits what the test says. It fetches no records: what is
//! committed decides the lag, not what was read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

use crate::services::wait;

const LIMIT: Duration = Duration::from_secs(30);

/// `(topic, partition, offset)`.
pub type At<'a> = (&'a str, i32, i64);

/// How a group is coordinated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// The client-side assignors of old.
    Classic,
    /// KIP-848: the broker assigns.
    Consumer,
}

/// An application's access to one cluster.
#[derive(Clone)]
pub struct Client(ClientConfig);

impl Client {
    /// For a plain listener.
    pub fn new(bootstrap: &str) -> Self {
        Self::with(bootstrap, &[])
    }

    /// With librdkafka properties, for example those of TLS and SASL.
    pub fn with(bootstrap: &str, properties: &[(&str, &str)]) -> Self {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", bootstrap)
            .set("reconnect.backoff.ms", "20")
            .set("reconnect.backoff.max.ms", "500")
            .set("enable.auto.commit", "false")
            .set("allow.auto.create.topics", "false");
        for (key, value) in properties {
            config.set(*key, *value);
        }
        Self(config)
    }

    /// Creates a topic with one replica, and waits until it can be written.
    pub fn create_topic(&self, topic: &str, partitions: i32) {
        self.create_topic_with(topic, partitions, 1, &[]);
    }

    /// Creates a topic, and waits until every partition has a leader.
    pub fn create_topic_with(
        &self,
        topic: &str,
        partitions: i32,
        replicas: i32,
        settings: &[(&str, &str)],
    ) {
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(replicas));
        for (key, value) in settings {
            new = new.set(key, value);
        }
        let results = self.admin(|admin, options| wait_for(admin.create_topics([&new], options)));
        results[0].as_ref().expect("the topic is created");
        self.wait_for_partitions(topic, partitions);
    }

    /// Grows a topic to `partitions`.
    pub fn grow_topic(&self, topic: &str, partitions: i32) {
        let new = NewPartitions::new(topic, usize::try_from(partitions).unwrap());
        let results =
            self.admin(|admin, options| wait_for(admin.create_partitions([&new], options)));
        results[0].as_ref().expect("the topic is grown");
        self.wait_for_partitions(topic, partitions);
    }

    /// Deletes a topic, and waits until the metadata no longer names it.
    pub fn delete_topic(&self, topic: &str) {
        let results = self.admin(|admin, options| wait_for(admin.delete_topics(&[topic], options)));
        results[0].as_ref().expect("the topic is deleted");
        wait::until(&format!("{topic} is gone"), LIMIT, || {
            self.leaders(topic).is_empty()
        });
    }

    /// Deletes a group without members.
    pub fn delete_group(&self, group: &str) {
        // A member that has just left may still count for a moment.
        wait::until_ok(&format!("{group} is deleted"), LIMIT, || {
            let results =
                self.admin(|admin, options| wait_for(admin.delete_groups(&[group], options)));
            results[0].clone().map_err(|(_, code)| code.to_string())
        });
    }

    /// Deletes the records below `before`, so that the log starts there.
    pub fn delete_records(&self, topic: &str, partition: i32, before: i64) {
        let offsets = list(&[(topic, partition, before)]);
        let result = self.admin(|admin, options| wait_for(admin.delete_records(&offsets, options)));
        let element = result.find_partition(topic, partition).unwrap();
        element.error().expect("the records are deleted");
    }

    /// Appends `count` small records.
    pub fn produce(&self, topic: &str, partition: i32, count: usize) {
        self.produce_records(topic, partition, count, None);
    }

    /// Appends `count` small records that carry the timestamp `at_ms`.
    pub fn produce_at(&self, topic: &str, partition: i32, count: usize, at_ms: i64) {
        self.produce_records(topic, partition, count, Some(at_ms));
    }

    fn produce_records(&self, topic: &str, partition: i32, count: usize, at_ms: Option<i64>) {
        let producer: BaseProducer<Deliveries> = self
            .0
            .create_with_context(Deliveries)
            .expect("a producer can be made");
        for n in 0..count {
            let payload = n.to_string();
            let mut record: BaseRecord<'_, (), str> =
                BaseRecord::to(topic).partition(partition).payload(&payload);
            record.timestamp = at_ms;
            producer
                .send(record)
                .unwrap_or_else(|(e, _)| panic!("cannot produce to {topic}: {e}"));
            if n % 10_000 == 9_999 {
                producer.flush(LIMIT).expect("the records are written");
            }
        }
        producer.flush(LIMIT).expect("the records are written");
    }

    /// `(log start offset, log end offset)`.
    pub fn log_offsets(&self, topic: &str, partition: i32) -> (i64, i64) {
        wait::until_ok("the log's offsets are known", LIMIT, || {
            self.consumer("offsets-reader").fetch_watermarks(
                topic,
                partition,
                Duration::from_secs(5),
            )
        })
    }

    /// Commits for a group that has no members, as a tool or an `assign`ed consumer does.
    pub fn commit(&self, group: &str, offsets: &[At<'_>]) {
        commit_until_accepted(&self.consumer(group), group, offsets);
    }

    /// What the group has committed; none without a commit.
    pub fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        let mut asked = TopicPartitionList::new();
        asked.add_partition(topic, partition);
        let answer = wait::until_ok("the committed offset is known", LIMIT, || {
            self.consumer(group)
                .committed_offsets(asked.clone(), Duration::from_secs(5))
        });
        let Offset::Offset(offset) = answer.elements()[0].offset() else {
            return None;
        };
        Some(offset)
    }

    /// Joins a group as a new member, and waits for its assignment (which may be empty when the
    /// group has more members than partitions: then use [`Client::join_idle`]).
    pub fn join(&self, group: &str, topics: &[&str], protocol: Protocol) -> Member {
        let member = self.join_idle(group, topics, protocol, &[]);
        member.wait_assigned(1);
        member
    }

    /// Joins a group without waiting, with librdkafka properties (for example `client.id`).
    pub fn join_idle(
        &self,
        group: &str,
        topics: &[&str],
        protocol: Protocol,
        properties: &[(&str, &str)],
    ) -> Member {
        let mut config = self.0.clone();
        config.set("group.id", group);
        match protocol {
            Protocol::Classic => config.set("session.timeout.ms", "6000"),
            Protocol::Consumer => config.set("group.protocol", "consumer"),
        };
        for (key, value) in properties {
            config.set(*key, *value);
        }
        let consumer: BaseConsumer<FetchNothing> = config
            .create_with_context(FetchNothing)
            .expect("a consumer can be made");
        consumer.subscribe(topics).expect("the topics can be named");
        Member::new(group, consumer)
    }

    /// Starts a transaction. Its id fences earlier transactions of the same id.
    pub fn transaction(&self, id: &str) -> Transaction {
        let producer: BaseProducer = self
            .0
            .clone()
            .set("transactional.id", id)
            .create()
            .expect("a producer can be made");
        producer
            .init_transactions(LIMIT)
            .expect("transactions work");
        producer.begin_transaction().expect("a transaction begins");
        Transaction(producer)
    }

    fn consumer(&self, group: &str) -> BaseConsumer {
        let consumer = self.0.clone().set("group.id", group).create();
        consumer.expect("a consumer can be made")
    }

    /// The leader of each partition; empty when there is no such topic.
    pub fn leaders(&self, topic: &str) -> Vec<i32> {
        let metadata = wait::until_ok("the metadata is known", LIMIT, || {
            self.consumer("metadata-reader")
                .fetch_metadata(Some(topic), Duration::from_secs(5))
        });
        let mut partitions: Vec<(i32, i32)> = metadata
            .topics()
            .iter()
            .filter(|t| t.error().is_none())
            .flat_map(|t| t.partitions())
            .map(|p| (p.id(), p.leader()))
            .collect();
        partitions.sort_unstable();
        partitions.into_iter().map(|(_, leader)| leader).collect()
    }

    fn wait_for_partitions(&self, topic: &str, partitions: i32) {
        let expected = usize::try_from(partitions).unwrap();
        wait::until(&format!("{topic} has its leaders"), LIMIT, || {
            let leaders = self.leaders(topic);
            leaders.len() == expected && leaders.iter().all(|&leader| leader >= 0)
        });
    }

    fn admin<T, E: std::fmt::Display>(
        &self,
        ask: impl Fn(&AdminClient<DefaultClientContext>, &AdminOptions) -> Result<T, E>,
    ) -> T {
        let admin: AdminClient<DefaultClientContext> =
            self.0.create().expect("an admin client can be made");
        let options = AdminOptions::new()
            .request_timeout(Some(LIMIT))
            .operation_timeout(Some(LIMIT));
        match ask(&admin, &options) {
            Ok(answer) => answer,
            Err(e) => panic!("the admin request failed: {e}"),
        }
    }
}

/// One process of an application, in a group. Dropping it leaves the group.
pub struct Member {
    group: String,
    consumer: Arc<BaseConsumer<FetchNothing>>,
    stop: Arc<AtomicBool>,
    poller: Option<JoinHandle<()>>,
}

impl Member {
    /// Polls on a thread of its own: several members of one group need that to agree on an
    /// assignment.
    fn new(group: &str, consumer: BaseConsumer<FetchNothing>) -> Self {
        let consumer = Arc::new(consumer);
        let stop = Arc::new(AtomicBool::new(false));
        let poller = std::thread::spawn({
            let (consumer, stop) = (Arc::clone(&consumer), Arc::clone(&stop));
            move || {
                while !stop.load(Ordering::Relaxed) {
                    drop(consumer.poll(Duration::from_millis(20)));
                }
            }
        });
        Self {
            group: group.to_owned(),
            consumer,
            stop,
            poller: Some(poller),
        }
    }

    /// The partitions it owns now, sorted.
    pub fn assignment(&self) -> Vec<(String, i32)> {
        let assignment = self.consumer.assignment().expect("the assignment is known");
        let mut owned: Vec<(String, i32)> = assignment
            .elements()
            .iter()
            .map(|e| (e.topic().to_owned(), e.partition()))
            .collect();
        owned.sort_unstable();
        owned
    }

    /// Waits until it owns at least `partitions` partitions.
    pub fn wait_assigned(&self, partitions: usize) {
        let what = format!("a member of {} owns {partitions} partitions", self.group);
        wait::until(&what, LIMIT, || self.assignment().len() >= partitions);
    }

    /// Commits as this member.
    pub fn commit(&self, offsets: &[At<'_>]) {
        commit_until_accepted(&self.consumer, &self.group, offsets);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(poller) = self.poller.take() {
            drop(poller.join());
        }
    }
}

/// An open transaction. Dropped without [`Transaction::commit`] or [`Transaction::abort`] it stays
/// open until the broker times it out.
pub struct Transaction(BaseProducer);

impl Transaction {
    /// Appends records within the transaction.
    pub fn produce(&self, topic: &str, partition: i32, count: usize) {
        for _ in 0..count {
            let record: BaseRecord<'_, (), str> =
                BaseRecord::to(topic).partition(partition).payload("x");
            self.0
                .send(record)
                .unwrap_or_else(|(e, _)| panic!("cannot produce to {topic}: {e}"));
        }
        self.0.flush(LIMIT).expect("the records are written");
    }

    /// Commits the member's offsets within the transaction.
    pub fn send_offsets(&self, member: &Member, offsets: &[At<'_>]) {
        let group = member.consumer.group_metadata();
        self.0
            .send_offsets_to_transaction(&list(offsets), &group.expect("it has joined"), LIMIT)
            .expect("the offsets join the transaction");
    }

    pub fn commit(self) {
        self.0.commit_transaction(LIMIT).expect("it commits");
    }

    pub fn abort(self) {
        self.0.abort_transaction(LIMIT).expect("it aborts");
    }
}

/// Pauses whatever is assigned.
struct FetchNothing;

impl ClientContext for FetchNothing {}

impl ConsumerContext for FetchNothing {
    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(partitions) = rebalance {
            consumer
                .pause(partitions)
                .expect("partitions can be paused");
        }
    }
}

/// Panics when a record was not written.
struct Deliveries;

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((e, _)) = result {
            panic!("a record was not written: {e}");
        }
    }
}

fn list(offsets: &[At<'_>]) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for &(topic, partition, offset) in offsets {
        list.add_partition_offset(topic, partition, Offset::Offset(offset))
            .expect("the offset can be committed");
    }
    list
}

/// A coordinator that is moving, loading or rebalancing refuses for a moment.
fn commit_until_accepted<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    group: &str,
    offsets: &[At<'_>],
) {
    let offsets = list(offsets);
    wait::until_ok(&format!("{group} commits"), LIMIT, || {
        consumer.commit(&offsets, CommitMode::Sync)
    });
}

/// Runs a future to its end, also when the caller is inside a runtime.
fn wait_for<T: Send>(future: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("a runtime can be made");
        let thread = scope.spawn(move || runtime.block_on(future));
        thread.join().expect("the future ends without a panic")
    })
}
