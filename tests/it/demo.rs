//! The demo's Kafka as a client sees it: records, offsets, memberships of each group of the story.

use std::collections::{BTreeMap, BTreeSet};
use std::thread::JoinHandle;
use std::time::Duration;

use lagline::clock::{Clock, Timestamp};
use lagline::demo::plan::{GROUPS, Members, Pace, TOPICS};
use lagline::demo::{self, cluster::OFFSETS_PARTITIONS};
use lagline::kafka::client::{KafkaSettings, OFFSETS_TOPIC};
use lagline::kafka::decode::{Record, decode};
use lagline::kafka::log_offsets::{LogAnswer, LogOffsets, LogRequest, TopicChange};
use lagline::lag::event::TopicsAsked;
use lagline::lag::ids::{ClusterName, TopicId, coordinator_partition};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::services::wait;

const LIMIT: Duration = Duration::from_secs(20);

/// A demo that runs until this is dropped.
struct Running {
    servers: Vec<String>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start(seed: u64) -> Running {
        let demo = demo::start(seed).unwrap();
        let servers = demo.bootstrap_servers();
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        let thread = std::thread::spawn(move || demo.run(stopping));
        Running {
            servers,
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
        self.thread.take().unwrap().join().unwrap();
    }
}

struct Committed {
    offset: i64,
    at: Timestamp,
    topic_id: Option<TopicId>,
}

/// What was read from the offsets topic.
#[derive(Default)]
struct Read {
    /// By group and partition, in order.
    commits: BTreeMap<(String, i32), Vec<Committed>>,
    with_metadata: BTreeSet<String>,
}

impl Read {
    fn take(&mut self, message: &impl Message) {
        let record = decode(message.key(), message.payload()).expect("a record of a broker");
        let group = match &record {
            Record::Committed(commit) => {
                let place = (commit.group.to_owned(), commit.partition);
                let commits = self.commits.entry(place).or_default();
                commits.push(Committed {
                    offset: commit.offset,
                    at: commit.timestamp,
                    topic_id: commit.topic_id,
                });
                commit.group
            }
            Record::GroupChanged { group, .. } => {
                self.with_metadata.insert((*group).to_owned());
                group
            }
            Record::CommitDeleted { .. }
            | Record::GroupDeleted { .. }
            | Record::Ignored(_)
            | Record::Unknown(_) => panic!("the demo never writes {record:?}"),
        };
        assert_eq!(
            message.partition(),
            coordinator_partition(group, OFFSETS_PARTITIONS).0,
            "{group} is in the partition where its coordinator would write"
        );
    }

    /// Whether every group that is alive has committed everywhere since `since`. The batch job only
    /// does once a minute.
    fn is_live_since(&self, since: Timestamp) -> bool {
        GROUPS.iter().all(|group| {
            (0..).zip(group.paces).all(|(partition, pace)| {
                let is_silent = matches!(pace, Pace::Dead { .. } | Pace::Follow { every: 11.. });
                let commits = self.commits.get(&(group.name.to_owned(), partition));
                is_silent || commits.is_some_and(|commits| commits.last().unwrap().at > since)
            })
        })
    }
}

fn consumer(servers: &[String]) -> BaseConsumer {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers.join(","))
        .set("group.id", "reads-the-demo")
        .set("fetch.wait.max.ms", "50")
        .create()
        .unwrap();
    let mut all = TopicPartitionList::new();
    for partition in 0..OFFSETS_PARTITIONS {
        all.add_partition_offset(OFFSETS_TOPIC, partition, Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&all).unwrap();
    consumer
}

/// One answer of lagline's own log-offset thread.
fn log_offsets(servers: &[String]) -> LogAnswer {
    let (requests, queue) = mpsc::channel(1);
    let stop = CancellationToken::new();
    let asker = LogOffsets::new(
        ClusterName::new("demo"),
        KafkaSettings::new(servers.to_vec()),
        queue,
        Clock::system(),
        stop.clone(),
    );
    let thread = std::thread::spawn(move || asker.run());
    let (reply, answer) = oneshot::channel();
    let timeout = LIMIT;
    requests
        .blocking_send(LogRequest::Fetch {
            asked: TopicsAsked::default(),
            timeout,
            reply,
        })
        .unwrap();
    let answer = answer.blocking_recv().unwrap();
    stop.cancel();
    thread.join().unwrap().unwrap();
    answer
}

#[test]
fn every_group_of_the_story_is_there_and_goes_on() {
    let since = Clock::system().now();
    let demo = Running::start(1);
    let started = Clock::system().now();
    assert!(
        started.ms_since(since) < 5_000,
        "the first evaluation is due within 10 s, the demo alone took {} ms",
        started.ms_since(since)
    );
    let consumer = consumer(&demo.servers);
    let mut read = Read::default();
    wait::until("every group commits", LIMIT, || {
        while let Some(message) = consumer.poll(Duration::from_millis(50)) {
            read.take(&message.unwrap());
        }
        read.is_live_since(started)
    });
    let log = log_offsets(&demo.servers);

    let ids = topic_ids(&log);
    assert_eq!(ids.len(), TOPICS.len(), "every topic has an id");
    for group in &GROUPS {
        assert_eq!(
            read.with_metadata.contains(group.name),
            group.members != Members::Nobody,
            "{}",
            group.name
        );
        for (partition, pace) in (0..).zip(group.paces) {
            let commits = &read.commits[&(group.name.to_owned(), partition)];
            assert!(
                commits.len() >= demo::INTERVALS,
                "{} has a past",
                group.name
            );
            let last = commits.last().unwrap();
            assert_eq!(
                last.topic_id.as_ref(),
                ids.get(group.topic),
                "{} commits to its topic and no other of that name",
                group.name
            );
            match end_offset(&log, group.topic, partition) {
                None => assert_eq!((group.name, partition), ("audit-archive", 2)),
                Some(end) => {
                    let lag = end - last.offset;
                    assert!(lag >= 0, "{} is {} ahead", group.name, -lag);
                    let is_lagging = !matches!(pace, Pace::Follow { .. } | Pace::WorkOff { .. });
                    assert!(lag > 0 || !is_lagging, "{} has no lag", group.name);
                }
            }
        }
    }
}

fn topic_ids(log: &LogAnswer) -> BTreeMap<String, TopicId> {
    let mut ids = BTreeMap::new();
    for change in &log.changes {
        if let TopicChange::Changed {
            topic,
            id: Some(id),
            ..
        } = change
            && topic.as_str() != OFFSETS_TOPIC
        {
            ids.insert(topic.as_str().to_owned(), *id);
        }
    }
    ids
}

fn end_offset(log: &LogAnswer, topic: &str, partition: i32) -> Option<i64> {
    let topic = log
        .topics
        .iter()
        .find(|t| t.topic.as_str() == topic)
        .unwrap();
    let partition = topic.partitions.iter().find(|p| p.partition == partition);
    partition.unwrap().end
}

#[test]
fn the_story_names_every_group_in_one_line() {
    let demo = demo::start(2).unwrap();
    let story = demo.story();
    assert_eq!(story.len(), GROUPS.len());
    for (group, what) in story {
        assert!(!what.contains('\n') && !what.is_empty(), "{group}");
    }
}
