//! How long one fetch of all log start and end offsets takes, against librdkafka's mock cluster.
//!
//! `cargo bench --bench log_offsets` (add `--profile dev` for a quick build: the work is librdkafka's,
//! which is always optimised). Prints one line a case: the first fetch, which also asks for topics and
//! leaders, and the median of the following ones.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints its figures and ends at the first problem"
)]

use std::time::Duration;

use lagline::clock::{Clock, Stopwatch};
use lagline::kafka::client::KafkaSettings;
use lagline::kafka::log_offsets::{LogAnswer, LogHistory, LogOffsets, LogRequest};
use lagline::lag::event::{LogQuestion, TopicsAsked};
use lagline::lag::ids::{ClusterName, TopicName};
use rdkafka::mocking::MockCluster;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

const TIMEOUT: Duration = Duration::from_secs(120);
const BROKERS: i32 = 3;

fn main() {
    for (topics, partitions, round_trip_ms) in
        [(40, 50, 0), (40, 50, 5), (10, 5_000, 0), (10, 5_000, 5)]
    {
        measure(topics, partitions, Duration::from_millis(round_trip_ms));
    }
}

fn measure(topics: i32, partitions: i32, round_trip: Duration) {
    let mock = MockCluster::new(BROKERS).unwrap();
    for topic in 0..topics {
        let name = format!("some.team.some-service.events-{topic}");
        mock.create_topic(&name, partitions, 1).unwrap();
    }
    for broker in 1..=BROKERS {
        mock.broker_round_trip_time(broker, round_trip).unwrap();
    }
    let (requests, receiver) = mpsc::channel(1);
    let stop = CancellationToken::new();
    let offsets = LogOffsets::new(
        ClusterName::new("mock"),
        KafkaSettings::new(vec![mock.bootstrap_servers()]),
        receiver,
        Clock::system(),
        stop.clone(),
    );
    let thread = std::thread::spawn(move || offsets.run());
    let (first, answer) = timed(|| fetch(&requests));
    let expected = i64::from(topics) * i64::from(partitions);
    let known = answer.topics.iter().flat_map(|topic| &topic.partitions);
    let answered = known.filter(|log| log.start.is_some() && log.end.is_some());
    assert_eq!(i64::try_from(answered.count()).unwrap(), expected);
    let fetched = median(|| drop(fetch(&requests)));
    let questions = questions(topics, partitions);
    let asked = median(|| drop(history(&requests, questions.clone())));
    println!(
        "{expected:>6} partitions in {topics:>4} topics, {BROKERS} brokers, round trip {round_trip:?}: \
         first fetch {first:?}, next ones {fetched:?}; history with 4 moments {asked:?}",
    );
    stop.cancel();
    thread.join().unwrap().unwrap();
}

fn fetch(requests: &mpsc::Sender<LogRequest>) -> LogAnswer {
    let (reply, answer) = oneshot::channel();
    let timeout = TIMEOUT;
    let request = LogRequest::Fetch {
        asked: TopicsAsked::default(),
        timeout,
        reply,
    };
    requests.blocking_send(request).unwrap();
    answer.blocking_recv().unwrap()
}

fn history(requests: &mpsc::Sender<LogRequest>, questions: Vec<LogQuestion>) -> Vec<LogHistory> {
    let (reply, answer) = oneshot::channel();
    let request = LogRequest::History {
        questions,
        timeout: TIMEOUT,
        reply,
    };
    requests.blocking_send(request).unwrap();
    answer.blocking_recv().unwrap()
}

fn questions(topics: i32, partitions: i32) -> Vec<LogQuestion> {
    let now = Clock::system().now();
    let ages = [600, 300, 60, 10].map(|age| now.minus(Duration::from_secs(age)));
    let topics =
        (0..topics).map(|topic| TopicName::new(format!("some.team.some-service.events-{topic}")));
    topics
        .flat_map(|topic| {
            (0..partitions).map(move |partition| LogQuestion {
                topic: topic.clone(),
                partition,
                at: ages.to_vec(),
            })
        })
        .collect()
}

fn timed<T>(mut what: impl FnMut() -> T) -> (Duration, T) {
    let since = Stopwatch::start();
    let result = what();
    (since.elapsed(), result)
}

fn median(mut what: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..5).map(|_| timed(&mut what).0).collect();
    times.sort_unstable();
    times[2]
}
