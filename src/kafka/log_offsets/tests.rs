//! The thread against librdkafka's mock cluster: faults that a real broker does not have on request.

use std::sync::Mutex;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

type Mock = MockCluster<'static, DefaultProducerContext>;

/// What librdkafka logs when it is asked about a partition whose leader it does not know; asking so
/// may end the process, see [`super::super::ffi::admin::Questions::list_offsets`].
const LEADER_UNKNOWN: &str = "query partition leaders";

/// The thread under test, and who asks it.
struct Asked {
    requests: mpsc::Sender<LogRequest>,
    stop: CancellationToken,
    log: Log,
    thread: Option<std::thread::JoinHandle<Result<(), KafkaError>>>,
}

/// Log lines, collected.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Asked {
    fn new(bootstrap: &str, refresh_every: Duration) -> Self {
        let (requests, receiver) = mpsc::channel(4);
        let stop = CancellationToken::new();
        let mut settings = KafkaSettings::new(vec![bootstrap.to_owned()]);
        settings
            .properties
            .insert("reconnect.backoff.max.ms".into(), "200".into());
        let debug = ("debug".into(), "metadata".into());
        settings.properties.extend([debug]);
        let offsets = LogOffsets::new(
            ClusterName::new("mock"),
            settings,
            receiver,
            Clock::system(),
            stop.clone(),
        )
        .refresh_every(refresh_every);
        let log = Log::default();
        let lines = log.clone();
        let thread = std::thread::spawn(move || {
            let subscriber = tracing_subscriber::fmt()
                .with_max_level(tracing::Level::TRACE)
                .with_writer(move || lines.clone())
                .finish();
            tracing::subscriber::with_default(subscriber, || offsets.run())
        });
        Self {
            requests,
            stop,
            log,
            thread: Some(thread),
        }
    }

    fn fetch(&self, timeout: Duration) -> LogAnswer {
        let (reply, answer) = oneshot::channel();
        let request = LogRequest::Fetch {
            asked: TopicsAsked::default(),
            timeout,
            reply,
        };
        self.requests.blocking_send(request).unwrap();
        answer.blocking_recv().unwrap()
    }

    fn history(&self, questions: Vec<LogQuestion>, timeout: Duration) -> Vec<LogHistory> {
        let (reply, answer) = oneshot::channel();
        let request = LogRequest::History {
            questions,
            timeout,
            reply,
        };
        self.requests.blocking_send(request).unwrap();
        answer.blocking_recv().unwrap()
    }

    /// How often librdkafka was asked about a partition whose leader it did not know.
    fn questions_without_leader(&self) -> usize {
        let log = String::from_utf8(self.log.0.lock().unwrap().clone()).unwrap();
        assert!(log.contains("metadata"), "librdkafka's log is read");
        log.matches(LEADER_UNKNOWN).count()
    }

    /// Fetches until `done`, for at most twenty seconds.
    fn fetch_until(&self, what: &str, done: impl Fn(&LogAnswer) -> bool) -> LogAnswer {
        let since = Stopwatch::start();
        loop {
            let answer = self.fetch(2 * SECOND);
            if done(&answer) {
                return answer;
            }
            assert!(since.elapsed() < 20 * SECOND, "{what}: {answer:?}");
        }
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

/// Ends by partition of one topic: a number, or "?" when absent.
fn ends(answer: &LogAnswer, topic: &str) -> String {
    let topic = answer.topics.iter().find(|log| log.topic.as_str() == topic);
    let ends = topic.map(|topic| {
        let partitions = topic.partitions.iter();
        partitions
            .map(|log| log.end.map_or("?".to_owned(), |end| end.to_string()))
            .collect::<Vec<_>>()
    });
    ends.map_or("no such topic".to_owned(), |ends| ends.join(" "))
}

/// A mock cluster whose topic "t" has one partition a broker.
fn mock(brokers: i32) -> Mock {
    let mock = MockCluster::new(brokers).unwrap();
    mock.create_topic("t", brokers, 1).unwrap();
    for partition in 0..brokers {
        mock.partition_leader("t", partition, Some(partition + 1))
            .unwrap();
    }
    mock
}

#[test]
fn answers_every_partition_and_reports_topics_once() {
    let mock = mock(3);
    let asked = Asked::new(&mock.bootstrap_servers(), REFRESH_EVERY);
    let first = asked.fetch(10 * SECOND);
    assert!(first.connection.up, "{first:?}");
    assert_eq!(first.connection.brokers, Some(3));
    assert_eq!(ends(&first, "t"), "0 0 0");
    assert!(first.started_at <= first.answered_at);
    let [
        TopicChange::Changed {
            topic, partitions, ..
        },
    ] = &first.changes[..]
    else {
        panic!("one new topic: {first:?}");
    };
    assert_eq!((topic.as_str(), *partitions), ("t", 3));
    assert_eq!(asked.fetch(10 * SECOND).changes, [], "told once");
}

#[test]
fn a_change_that_nobody_heard_is_told_again() {
    let mock = mock(1);
    let asked = Asked::new(&mock.bootstrap_servers(), REFRESH_EVERY);
    let (reply, answer) = oneshot::channel();
    drop(answer);
    let request = LogRequest::Fetch {
        asked: TopicsAsked(1),
        timeout: 10 * SECOND,
        reply,
    };
    asked.requests.blocking_send(request).unwrap();
    assert_eq!(asked.fetch(10 * SECOND).changes.len(), 1);
}

#[test]
fn a_new_topic_appears_with_the_next_refresh() {
    let mock = mock(1);
    let asked = Asked::new(&mock.bootstrap_servers(), Duration::from_millis(1));
    asked.fetch_until("connects", |answer| answer.connection.up);
    mock.create_topic("new", 2, 1).unwrap();
    asked.fetch_until("the new topic", |answer| ends(answer, "new") == "0 0");
}

#[test]
fn a_moved_leader_is_found_within_the_same_request() {
    let mock = mock(2);
    let asked = Asked::new(&mock.bootstrap_servers(), REFRESH_EVERY);
    asked.fetch_until("connects", |answer| ends(answer, "t") == "0 0");
    mock.partition_leader("t", 0, Some(2)).unwrap();
    let answer = asked.fetch(10 * SECOND);
    assert_eq!(ends(&answer, "t"), "0 0");
}

#[test]
fn a_topic_whose_leader_moved_is_asked_about_when_its_leaders_are_known_again() {
    let mock = mock(2);
    let asked = Asked::new(&mock.bootstrap_servers(), REFRESH_EVERY);
    asked.fetch_until("connects", |answer| ends(answer, "t") == "0 0");
    mock.partition_leader("t", 0, Some(2)).unwrap();
    // The list of topics does not come in time.
    for broker in [1, 2] {
        mock.broker_round_trip_time(broker, 2 * SECOND).unwrap();
    }
    assert_eq!(ends(&asked.fetch(3 * SECOND), "t"), "? 0");
    let before = asked.questions_without_leader();
    asked.fetch(Duration::from_millis(500));
    for broker in [1, 2] {
        mock.broker_round_trip_time(broker, Duration::ZERO).unwrap();
    }
    asked.fetch_until("found again", |answer| ends(answer, "t") == "0 0");
    assert_eq!(asked.questions_without_leader(), before);
}

#[test]
fn a_partition_without_leader_costs_only_itself() {
    let mock = mock(3);
    let asked = Asked::new(&mock.bootstrap_servers(), Duration::from_millis(1));
    asked.fetch_until("connects", |answer| ends(answer, "t") == "0 0 0");
    mock.partition_leader("t", 1, None).unwrap();
    let answer = asked.fetch(10 * SECOND);
    assert_eq!(ends(&answer, "t"), "0 ? 0");
    assert!(answer.connection.up);
    mock.partition_leader("t", 1, Some(2)).unwrap();
    asked.fetch_until("leader again", |answer| ends(answer, "t") == "0 0 0");
}

#[test]
fn a_cluster_whose_partitions_have_no_leader_is_up() {
    let mock = mock(1);
    mock.partition_leader("t", 0, None).unwrap();
    let asked = Asked::new(&mock.bootstrap_servers(), REFRESH_EVERY);
    let answer = asked.fetch(10 * SECOND);
    assert!(answer.connection.up, "{answer:?}");
    assert_eq!(ends(&answer, "t"), "?");
}

#[test]
fn an_error_of_one_call_stays_with_its_partitions() {
    let mock = mock(2);
    let asked = Asked::new(&mock.bootstrap_servers(), REFRESH_EVERY);
    asked.fetch_until("connects", |answer| ends(answer, "t") == "0 0");
    // The next ListOffsets call, whichever leader gets it; not an error that is asked again.
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    mock.request_errors(RDKafkaApiKey::ListOffsets, &[refused]);
    let answer = asked.fetch(10 * SECOND);
    let logs = &answer.topics[0].partitions;
    let absent = logs.iter().flat_map(|log| [log.start, log.end]);
    assert_eq!(absent.filter(Option::is_none).count(), 1, "{answer:?}");
    assert!(answer.connection.up);
    assert_eq!(ends(&asked.fetch(10 * SECOND), "t"), "0 0");
}

#[test]
fn an_answer_that_lacks_a_topic_removes_nothing() {
    let mock = mock(1);
    mock.create_topic("other", 1, 1).unwrap();
    // After each answer the topics are asked for once.
    let asked = Asked::new(&mock.bootstrap_servers(), Duration::from_millis(1));
    asked.fetch_until("connects", |answer| {
        ends(answer, "t") == "0" && ends(answer, "other") == "0"
    });
    let same = |answer: &LogAnswer| assert_eq!(answer.changes, []);
    let unknown = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    mock.topic_error("t", unknown).unwrap();
    asked.fetch_until("once or twice it is not known", |answer| {
        same(answer);
        ends(answer, "t") == "no such topic"
    });
    let fine = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
    for error in [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
    ] {
        mock.topic_error("t", fine).unwrap();
        asked.fetch_until("it is back", |answer| {
            same(answer);
            ends(answer, "t") == "0"
        });
        mock.topic_error("t", error).unwrap();
        for _ in 0..2 * topics::ABSENCES {
            same(&asked.fetch(10 * SECOND));
        }
    }
}

#[test]
fn a_slow_broker_costs_its_partitions_and_one_timeout() {
    let mock = mock(2);
    let asked = Asked::new(&mock.bootstrap_servers(), REFRESH_EVERY);
    asked.fetch_until("connects", |answer| ends(answer, "t") == "0 0");
    let round_trip = 60 * SECOND;
    mock.broker_round_trip_time(2, round_trip).unwrap();
    let since = Stopwatch::start();
    let answer = asked.fetch(2 * SECOND);
    assert_eq!(ends(&answer, "t"), "0 ?");
    assert!(answer.connection.up);
    // It is doubted now: the next beat does not wait for it as long as it might.
    let patience = 30 * SECOND;
    assert_eq!(ends(&asked.fetch(patience), "t"), "0 ?");
    assert!(since.elapsed() < patience, "{:?}", since.elapsed());
}

#[test]
fn a_dead_broker_costs_its_partitions_until_it_is_back() {
    let mock = mock(3);
    let asked = Asked::new(&mock.bootstrap_servers(), REFRESH_EVERY);
    asked.fetch_until("connects", |answer| ends(answer, "t") == "0 0 0");
    mock.broker_down(2).unwrap();
    let answer = asked.fetch(2 * SECOND);
    assert_eq!(ends(&answer, "t"), "0 ? 0");
    assert!(answer.connection.up);
    mock.broker_up(2).unwrap();
    asked.fetch_until("it is back", |answer| ends(answer, "t") == "0 0 0");
}

#[test]
fn a_dead_cluster_is_said_in_time_and_recovers_by_itself() {
    let mock = mock(2);
    let asked = Asked::new(&mock.bootstrap_servers(), REFRESH_EVERY);
    asked.fetch_until("connects", |answer| ends(answer, "t") == "0 0");
    for broker in [1, 2] {
        mock.broker_down(broker).unwrap();
    }
    for _ in 0..3 {
        let since = Stopwatch::start();
        let answer = asked.fetch(SECOND);
        assert!(since.elapsed() < 3 * SECOND, "{:?}", since.elapsed());
        assert!(!answer.connection.up);
        assert_eq!(ends(&answer, "t"), "? ?", "no old number");
        let reason = answer.connection.reason.expect("a reason");
        assert!(reason.contains("127.0.0.1"), "{reason}");
    }
    for broker in [1, 2] {
        mock.broker_up(broker).unwrap();
    }
    let answer = asked.fetch_until("it is back", |answer| ends(answer, "t") == "0 0");
    assert!(answer.connection.up);
    assert_eq!(answer.connection.reason, None);
    assert_eq!(answer.changes, [], "the topics are the same");
}

#[test]
fn kafka_that_was_never_there_is_said_in_time_with_its_address() {
    // Port 1 on loopback refuses.
    let asked = Asked::new("127.0.0.1:1", REFRESH_EVERY);
    for _ in 0..2 {
        let since = Stopwatch::start();
        let answer = asked.fetch(SECOND);
        assert!(since.elapsed() < 3 * SECOND, "{:?}", since.elapsed());
        assert!(answer.topics.is_empty() && !answer.connection.up);
        let reason = answer.connection.reason.expect("a reason");
        assert!(reason.contains("127.0.0.1:1"), "{reason}");
    }
    let question = question("t", 0, &[1]);
    let history = asked.history(vec![question], SECOND);
    assert_eq!(history[0].points, []);
}

#[test]
fn a_stop_ends_the_thread_also_while_it_waits() {
    let mock = mock(1);
    let mut asked = Asked::new(&mock.bootstrap_servers(), REFRESH_EVERY);
    asked.fetch_until("connects", |answer| ends(answer, "t") == "0");
    mock.broker_round_trip_time(1, 60 * SECOND).unwrap();
    let (reply, _answer) = oneshot::channel();
    let timeout = 30 * SECOND;
    let request = LogRequest::Fetch {
        asked: TopicsAsked::default(),
        timeout,
        reply,
    };
    asked.requests.blocking_send(request).unwrap();
    let since = Stopwatch::start();
    asked.stop.cancel();
    asked.thread.take().unwrap().join().unwrap().unwrap();
    assert!(since.elapsed() < 10 * SECOND, "{:?}", since.elapsed());
}

fn question(topic: &str, partition: i32, at: &[i64]) -> LogQuestion {
    LogQuestion {
        topic: TopicName::new(topic),
        partition,
        at: at.iter().copied().map(Timestamp::from_ms).collect(),
    }
}

#[test]
fn history_is_in_the_order_asked_and_empty_where_nobody_knows() {
    let mock = mock(2);
    let asked = Asked::new(&mock.bootstrap_servers(), REFRESH_EVERY);
    // The mock knows no timestamps: it answers as if every record were older.
    let histories = asked.history(
        vec![
            question("t", 1, &[1, 2, 3]),
            question("no such topic", 0, &[1]),
            question("t\0", 0, &[1]),
            question("t", 9, &[1]),
            question("t", 0, &[]),
            // Once more: two groups may ask about the same partition.
            question("t", 1, &[4]),
        ],
        10 * SECOND,
    );
    let shown: Vec<String> = histories
        .iter()
        .map(|history| {
            let points = history
                .points
                .iter()
                .map(|(at, offset)| format!("{at:?}={offset}"));
            let points: Vec<String> = points.collect();
            format!(
                "{:?}-{}: {}",
                history.topic,
                history.partition,
                points.join(" ")
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "\"t\"-1: 1ms=0 2ms=0 3ms=0",
            "\"no such topic\"-0: ",
            "\"t\\0\"-0: ",
            "\"t\"-9: ",
            "\"t\"-0: ",
            "\"t\"-1: 4ms=0",
        ]
    );
}

#[test]
fn reasons_name_the_next_step() {
    let brokers = ["k1:9092".to_owned(), "k2:9092".to_owned()];
    for (failure, context, expected) in [
        (Some(Code::TRANSPORT), Some("because"), "because"),
        (None, Some("because"), "because"),
        (
            None,
            None,
            "topics were listed but no partition leader answered within 5s; check that the brokers' \
             advertised addresses (k1:9092, k2:9092) can be reached from here",
        ),
        (
            Some(Code::TIMED_OUT),
            None,
            "no broker answered within 5s; check bootstrap_servers and the way there",
        ),
        (
            Some(Code::new(32_000)),
            None,
            "kafka did not list its topics: kafka error 32000",
        ),
    ] {
        let reason = down_reason(failure, context.map(str::to_owned), &brokers, 5 * SECOND);
        assert_eq!(reason, expected);
    }
}
