//! The reader against a mock cluster: what needs no real Kafka to be seen.

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use tokio::sync::mpsc::{Receiver, channel};

use super::*;
use crate::clock::{Stopwatch, Timestamp};
use crate::kafka::client::OFFSETS_TOPIC;
use crate::kafka::encode::{commit_key, commit_value};
use crate::lag::event::Event;

type Mock = MockCluster<'static, DefaultProducerContext>;

const LIMIT: Duration = Duration::from_secs(20);

/// A reader on its thread, and what came out of it.
struct Run {
    thread: std::thread::JoinHandle<Result<ReaderEnd, KafkaError>>,
    events: Receiver<EventBatch>,
    stats: Arc<ReaderStats>,
    stop: CancellationToken,
    /// Waits for events with a deadline.
    runtime: tokio::runtime::Runtime,
    seen: Vec<String>,
    progress: Vec<ReaderProgress>,
}

impl Run {
    fn start(servers: &str) -> Self {
        let mut settings = KafkaSettings::new(vec![servers.to_owned()]);
        // An empty fetch of the mock cluster waits that long.
        for (name, value) in [("fetch.wait.max.ms", "10"), ("fetch.min.bytes", "1")] {
            settings
                .properties
                .insert(name.to_owned(), value.to_owned());
        }
        let (out, events) = channel(4);
        let stats = Arc::new(ReaderStats::default());
        let stop = CancellationToken::new();
        let cluster = ClusterName::new("mock");
        let reader = OffsetsReader::new(cluster, settings, out, Arc::clone(&stats), stop.clone());
        Self {
            thread: std::thread::spawn(|| reader.run()),
            events,
            stats,
            stop,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .unwrap(),
            seen: Vec::new(),
            progress: Vec::new(),
        }
    }

    fn until(&mut self, what: &str, mut is_done: impl FnMut(&Self) -> bool) {
        let since = Stopwatch::start();
        while !is_done(self) {
            assert!(since.elapsed() < LIMIT, "{what}: {:?}", self.seen);
            let events = &mut self.events;
            let next = self.runtime.block_on(async {
                tokio::time::timeout(Duration::from_millis(20), events.recv()).await
            });
            let Ok(Some(batch)) = next else {
                continue;
            };
            for event in batch.iter() {
                if let Event::Committed(commit) = event {
                    self.seen.push(format!(
                        "{} {}/{} {}",
                        commit.group, commit.topic, commit.partition, commit.offset
                    ));
                } else if let Event::ReaderProgress(progress) = event {
                    self.progress.push(progress);
                } else {
                    self.seen.push(format!("{event:?}"));
                }
            }
        }
    }

    fn end(self) {
        self.stop.cancel();
        drop(self.events);
        self.thread.join().unwrap().unwrap();
    }
}

fn mock() -> Mock {
    MockCluster::new(1).unwrap()
}

fn write(servers: &str, records: &[(Vec<u8>, Vec<u8>)]) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .create()
        .unwrap();
    for (key, value) in records {
        let record = BaseRecord::to(OFFSETS_TOPIC).partition(0);
        producer.send(record.key(key).payload(value)).unwrap();
    }
    producer.flush(LIMIT).unwrap();
}

fn commit(group: &str, offset: i64) -> (Vec<u8>, Vec<u8>) {
    let value = commit_value(offset, Timestamp::from_ms(1), None);
    (commit_key(group, "t", 0), value)
}

#[test]
fn waits_until_the_topic_exists_and_reads_all_of_it() {
    let mock = mock();
    let servers = mock.bootstrap_servers();
    let mut run = Run::start(&servers);
    run.until("told that there is no topic", |run| {
        !run.progress.is_empty()
    });
    assert_eq!(
        (run.progress[0].partitions, run.progress[0].caught_up),
        (0, false)
    );
    let stats = Arc::clone(&run.stats);
    run.until("the reason", |_| stats.problem().is_some());
    let problem = stats.problem().unwrap();
    assert!(problem.contains("does not exist yet"), "{problem}");

    mock.create_topic(OFFSETS_TOPIC, 2, 1).unwrap();
    let bad = (b"\x00\x01\x00".to_vec(), b"".to_vec());
    let unknown = (b"\x7f\x00".to_vec(), b"".to_vec());
    write(&servers, &[commit("a", 1), bad, unknown, commit("b", 2)]);
    run.until("both commits", |run| run.seen.len() == 2);
    assert_eq!(run.seen, ["a t/0 1", "b t/0 2"]);
    run.until("both partitions are caught up", |run| {
        let is_done = |partition| {
            let mut told = run.progress.iter();
            told.any(|told| told.partition == partition && told.partitions == 2 && told.caught_up)
        };
        is_done(0) && is_done(1)
    });
    let counts = stats.counts();
    assert_eq!(
        (counts.records, counts.commits, counts.malformed),
        (4, 2, 1)
    );
    assert_eq!(counts.unknown.get(&0x7f00), Some(&1));
    run.until("nothing hinders any more", |_| stats.problem().is_none());
    run.end();
}

#[test]
fn ends_when_it_is_stopped_while_nothing_can_be_reached() {
    let mut run = Run::start("127.0.0.1:1");
    let stats = Arc::clone(&run.stats);
    run.until("the reason", |_| stats.problem().is_some());
    let problem = stats.problem().unwrap();
    assert!(problem.starts_with("kafka does not answer"), "{problem}");
    let since = Stopwatch::start();
    run.end();
    assert!(since.elapsed() < Duration::from_secs(3), "{since:?}");
}

#[test]
fn ends_when_nobody_takes_the_events() {
    let mock = mock();
    let servers = mock.bootstrap_servers();
    mock.create_topic(OFFSETS_TOPIC, 1, 1).unwrap();
    let mut run = Run::start(&servers);
    run.until("reading", |run| !run.progress.is_empty());
    drop(run.events);
    run.thread.join().unwrap().unwrap();
}

#[test]
fn refused_settings_end_it_with_the_property() {
    let mut settings = KafkaSettings::new(vec!["127.0.0.1:1".to_owned()]);
    settings
        .properties
        .insert("fetch.min.byte".to_owned(), "1".to_owned());
    let (out, _events) = channel(1);
    let reader = OffsetsReader::new(
        ClusterName::new("c"),
        settings,
        out,
        Arc::default(),
        CancellationToken::new(),
    );
    let error = reader.run().unwrap_err().to_string();
    assert!(error.contains("fetch.min.byte"), "{error}");
}
