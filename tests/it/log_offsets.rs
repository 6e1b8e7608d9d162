//! Log start and end offsets, topics and past end offsets, as real brokers answer them.

use std::thread::JoinHandle;
use std::time::Duration;

use lagline::clock::{Clock, Stopwatch, Timestamp};
use lagline::kafka::client::{KafkaError, KafkaSettings};
use lagline::kafka::log_offsets::{LogAnswer, LogHistory, LogOffsets, LogRequest, TopicChange};
use lagline::lag::event::{LogQuestion, PartitionLog, TopicsAsked};
use lagline::lag::ids::{ClusterName, TopicId, TopicName};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::kafka_client::Client;
use crate::services::{Kafka, KafkaVersion, unique, wait};

const LIMIT: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(10);
/// So often that a test need not wait for it.
const OFTEN: Duration = Duration::from_millis(50);

/// The thread that asks one cluster, and its only customer.
pub struct Asked {
    requests: mpsc::Sender<LogRequest>,
    stop: CancellationToken,
    thread: Option<JoinHandle<Result<(), KafkaError>>>,
}

impl Asked {
    pub fn new(settings: KafkaSettings) -> Self {
        let (requests, receiver) = mpsc::channel(4);
        let stop = CancellationToken::new();
        let name = ClusterName::new("real");
        let offsets = LogOffsets::new(name, settings, receiver, Clock::system(), stop.clone())
            .refresh_every(OFTEN);
        Self {
            requests,
            stop,
            thread: Some(std::thread::spawn(move || offsets.run())),
        }
    }

    fn plain(kafka: &Kafka) -> Self {
        let bootstrap = kafka.bootstrap();
        let mut settings = KafkaSettings::new(bootstrap.split(',').map(str::to_owned).collect());
        settings
            .properties
            .insert("reconnect.backoff.max.ms".into(), "500".into());
        Self::new(settings)
    }

    pub fn fetch(&self, timeout: Duration) -> LogAnswer {
        let (reply, answer) = oneshot::channel();
        let request = LogRequest::Fetch {
            asked: TopicsAsked::default(),
            timeout,
            reply,
        };
        self.requests.blocking_send(request).unwrap();
        answer.blocking_recv().unwrap()
    }

    fn history(&self, questions: Vec<LogQuestion>) -> Vec<LogHistory> {
        let (reply, answer) = oneshot::channel();
        let request = LogRequest::History {
            questions,
            timeout: TIMEOUT,
            reply,
        };
        self.requests.blocking_send(request).unwrap();
        answer.blocking_recv().unwrap()
    }

    /// Fetches until `found` gives a value.
    pub fn fetch_until<T>(&self, what: &str, found: impl Fn(&LogAnswer) -> Option<T>) -> T {
        wait::until_some(what, LIMIT, || found(&self.fetch(TIMEOUT)))
    }

    /// Collects changes of `topic` until `done` says that the last one was it.
    fn changes_until(
        &self,
        what: &str,
        topic: &str,
        done: impl Fn(&TopicChange) -> bool,
    ) -> Vec<TopicChange> {
        let mut seen = Vec::new();
        wait::until(what, LIMIT, || {
            seen.extend(changes_of(&self.fetch(TIMEOUT), topic));
            seen.last().is_some_and(&done)
        });
        seen
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }
}

/// The partitions of `topic`, when the answer has it.
pub fn logs<'a>(answer: &'a LogAnswer, topic: &str) -> Option<&'a [PartitionLog]> {
    let log = answer.topics.iter().find(|log| log.topic.as_str() == topic);
    log.map(|log| &log.partitions[..])
}

fn ends(answer: &LogAnswer, topic: &str) -> Option<Vec<Option<i64>>> {
    logs(answer, topic).map(|logs| logs.iter().map(|log| log.end).collect())
}

pub fn changes_of(answer: &LogAnswer, wanted: &str) -> Vec<TopicChange> {
    let changes = answer.changes.iter();
    let wanted = changes.filter(|change| match change {
        TopicChange::Changed { topic, .. } | TopicChange::Deleted { topic, .. } => {
            topic.as_str() == wanted
        }
    });
    wanted.cloned().collect()
}

fn id_of(change: &TopicChange) -> Option<TopicId> {
    match change {
        TopicChange::Changed { id, .. } => *id,
        TopicChange::Deleted { .. } => None,
    }
}

#[test]
fn every_partition_says_where_its_log_starts_and_ends() {
    for version in KafkaVersion::ALL {
        let kafka = Kafka::shared(version);
        let client = Client::new(&kafka.bootstrap());
        let topic = unique("topic");
        client.create_topic(&topic, 3);
        client.produce(&topic, 0, 10);
        client.produce(&topic, 1, 4);
        client.delete_records(&topic, 0, 3);
        client.commit(&unique("group"), &[(&topic, 0, 5)]);
        let asked = Asked::plain(&kafka);
        let answer = asked.fetch(TIMEOUT);
        assert!(answer.connection.up, "{:?}", answer.connection);
        assert_eq!(answer.connection.brokers, Some(1));
        let log = |partition, start, end| PartitionLog {
            partition,
            start: Some(start),
            end: Some(end),
        };
        assert_eq!(
            logs(&answer, &topic),
            Some(&[log(0, 3, 10), log(1, 0, 4), log(2, 0, 0)][..])
        );
        assert!(
            logs(&answer, "__consumer_offsets").is_some(),
            "internal topics are topics too"
        );
        let changes = changes_of(&answer, &topic);
        assert_eq!(changes.len(), 1);
        assert!(id_of(&changes[0]).is_some(), "{version:?} tells topic ids");
    }
}

#[test]
fn records_of_an_open_transaction_count() {
    let kafka = Kafka::shared(KafkaVersion::V4);
    let client = Client::new(&kafka.bootstrap());
    let topic = unique("topic");
    client.create_topic(&topic, 1);
    let transaction = client.transaction(&unique("transaction"));
    transaction.produce(&topic, 0, 2);
    let asked = Asked::plain(&kafka);
    assert_eq!(ends(&asked.fetch(TIMEOUT), &topic), Some(vec![Some(2)]));
    transaction.abort();
}

#[test]
fn past_end_offsets_come_from_the_records_timestamps() {
    const T: i64 = 1_700_000_000_000;
    for version in KafkaVersion::ALL {
        let kafka = Kafka::shared(version);
        let client = Client::new(&kafka.bootstrap());
        let topic = unique("topic");
        client.create_topic_with(&topic, 2, 1, &[("retention.ms", "-1")]);
        for (second, count) in [(0, 5), (10, 5), (20, 5)] {
            client.produce_at(&topic, 0, count, T + second * 1000);
        }
        let asked = Asked::plain(&kafka);
        let question = |partition, at: &[i64]| LogQuestion {
            topic: TopicName::new(topic.as_str()),
            partition,
            at: at.iter().map(|ms| Timestamp::from_ms(*ms)).collect(),
        };
        let histories = asked.history(vec![
            question(
                0,
                &[0, T, T + 1, T + 10_000, T + 15_000, T + 20_001, T + 99_000],
            ),
            question(1, &[T, T + 1000]),
            question(7, &[T]),
        ]);
        let offsets: Vec<Vec<i64>> = histories
            .iter()
            .map(|history| history.points.iter().map(|point| point.1).collect())
            .collect();
        assert_eq!(
            offsets,
            [vec![0, 0, 5, 5, 10, 15, 15], vec![0, 0], vec![]],
            "{version:?}"
        );
    }
}

#[test]
fn topics_grow_and_are_made_again_and_go() {
    let kafka = Kafka::shared(KafkaVersion::V4);
    let client = Client::new(&kafka.bootstrap());
    let topic = unique("topic");
    let asked = Asked::plain(&kafka);
    asked.fetch(TIMEOUT);
    client.create_topic(&topic, 1);
    let partitions = |wanted| move |change: &TopicChange| matches!(change, TopicChange::Changed { partitions, .. } if *partitions == wanted);
    let new = asked.changes_until("the new topic", &topic, partitions(1));
    client.grow_topic(&topic, 2);
    let grown = asked.changes_until("it grows", &topic, partitions(2));
    let (new, grown) = (new.last().and_then(id_of), grown.last().and_then(id_of));
    assert_eq!(new, grown, "the same topic");
    client.delete_topic(&topic);
    client.create_topic(&topic, 2);
    let again = asked.changes_until("it is made again", &topic, |change| {
        id_of(change).is_some_and(|id| Some(id) != new)
    });
    assert!(
        !again
            .iter()
            .any(|c| matches!(c, TopicChange::Deleted { .. }))
    );
    client.delete_topic(&topic);
    asked.changes_until("it is gone", &topic, |change| {
        matches!(change, TopicChange::Deleted { .. })
    });
    assert_eq!(logs(&asked.fetch(TIMEOUT), &topic), None);
}

#[test]
fn a_killed_broker_is_said_in_time_and_its_return_is_seen() {
    let mut kafka = Kafka::start(KafkaVersion::V4);
    let client = Client::new(&kafka.bootstrap());
    client.create_topic("orders", 1);
    client.produce("orders", 0, 3);
    let asked = Asked::plain(&kafka);
    let all = Some(vec![Some(3)]);
    assert_eq!(ends(&asked.fetch(TIMEOUT), "orders"), all);
    kafka.kill();
    for _ in 0..2 {
        let since = Stopwatch::start();
        let answer = asked.fetch(Duration::from_secs(1));
        assert!(since.elapsed() < Duration::from_secs(3));
        assert!(!answer.connection.up);
        assert_eq!(ends(&answer, "orders"), Some(vec![None]), "no old number");
        let reason = answer.connection.reason.unwrap();
        assert!(reason.contains("127.0.0.1"), "{reason}");
        assert_eq!(answer.changes, []);
    }
    kafka.restart();
    asked.fetch_until("it is back", |answer| {
        (ends(answer, "orders") == all).then(|| assert!(answer.connection.up))
    });
}

#[test]
fn a_frozen_broker_costs_no_more_than_the_time_of_the_request() {
    let kafka = Kafka::start(KafkaVersion::V4);
    let client = Client::new(&kafka.bootstrap());
    client.create_topic("orders", 1);
    let asked = Asked::plain(&kafka);
    assert_eq!(ends(&asked.fetch(TIMEOUT), "orders"), Some(vec![Some(0)]));
    kafka.freeze();
    for _ in 0..2 {
        let since = Stopwatch::start();
        let answer = asked.fetch(Duration::from_secs(1));
        assert!(since.elapsed() < Duration::from_secs(3));
        assert!(!answer.connection.up);
        assert_eq!(ends(&answer, "orders"), Some(vec![None]));
    }
    kafka.thaw();
    asked.fetch_until("it goes on", |answer| {
        (ends(answer, "orders") == Some(vec![Some(0)])).then_some(())
    });
}

#[test]
fn a_dead_broker_costs_only_the_partitions_it_leads() {
    let mut kafka = Kafka::builder(KafkaVersion::V4).brokers(2).start();
    let client = Client::new(&kafka.bootstrap());
    client.create_topic("orders", 2);
    client.produce("orders", 0, 3);
    client.produce("orders", 1, 3);
    let leaders = client.leaders("orders");
    let expected = |alive: &[i32]| -> Option<Vec<Option<i64>>> {
        let end = |leader| alive.contains(leader).then_some(3);
        Some(leaders.iter().map(end).collect())
    };
    let asked = Asked::plain(&kafka);
    assert_eq!(ends(&asked.fetch(TIMEOUT), "orders"), expected(&[1, 2]));
    kafka.kill_broker(2);
    // At first the controller still names it as leader, then nobody.
    let short = Duration::from_secs(2);
    assert_eq!(ends(&asked.fetch(short), "orders"), expected(&[1]));
    wait::until("the partition has no leader", LIMIT, || {
        let answer = asked.fetch(short);
        assert_eq!(ends(&answer, "orders"), expected(&[1]));
        assert!(answer.connection.up);
        client.leaders("orders").contains(&-1)
    });
    kafka.restart_broker(2);
    asked.fetch_until("it is back", |answer| {
        (ends(answer, "orders") == expected(&[1, 2])).then_some(())
    });
}
