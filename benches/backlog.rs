//! A backlog of commits on a real broker: what bare librdkafka reads of it, and what lagline reads, decodes and
//! applies, in turns in the same run. Goals: 1 M commits/s, and 80 % of the bare rate.
//!
//! `cargo bench --bench backlog`; a broker is started and thrown away, unless `LAGLINE_BENCH_KAFKA` names one (the
//! topic stays there). `LAGLINE_BENCH_COMMITS` (default 5,000,000), `LAGLINE_BENCH_BATCH` (records a batch, default
//! 10), `LAGLINE_BENCH_RUNS` (default 3), `LAGLINE_BENCH_PROPERTIES` (librdkafka's, `name=value,...`, for both).
//!
//! Only Kafka itself may write into `__consumer_offsets`, so a plain topic of 50 partitions stands in for it. Bare
//! means: the same client, settings and batches, every record only counted. CPU is that of the whole process,
//! librdkafka's threads included.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a program for people at a terminal"
)]

#[path = "../tests/it/services/mod.rs"]
#[allow(dead_code, unused_imports, reason = "only Kafka is started here")]
mod services;

mod offsets_topic;
mod process;

use std::sync::Arc;
use std::time::Duration;

use lagline::clock::{Clock, Stopwatch, Timestamp};
use lagline::kafka::client::{KafkaSettings, Role};
use lagline::kafka::ffi::feed::{Arrival, Feed};
use lagline::kafka::offsets::{OffsetsReader, ReaderStats};
use lagline::lag::cluster::Cluster;
use lagline::lag::event::{Applied, EventBatch};
use lagline::lag::ids::{ClusterName, TopicId};
use lagline::lag::settings::{Limits, Rules, Settings};
use offsets_topic::OffsetsTopic;
use rdkafka::consumer::Consumer;
use services::{Kafka, KafkaVersion, unique};
use tokio::sync::mpsc::channel;
use tokio_util::sync::CancellationToken;

const GROUPS: usize = 1000;
const GROUP_PARTITIONS: usize = 100;
const WAIT: Duration = Duration::from_secs(600);

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn main() {
    let commits = number("LAGLINE_BENCH_COMMITS", 5_000_000);
    let batch = number("LAGLINE_BENCH_BATCH", 10);
    let runs = number("LAGLINE_BENCH_RUNS", 3).max(1);
    let own = std::env::var("LAGLINE_BENCH_KAFKA").is_err();
    let kafka = own.then(|| Kafka::start(KafkaVersion::V4));
    let servers = kafka.as_ref().map_or_else(
        || std::env::var("LAGLINE_BENCH_KAFKA").unwrap(),
        Kafka::bootstrap,
    );
    let topic = unique("lagline-bench-backlog");
    let since = Stopwatch::start();
    fill(&servers, &topic, commits, batch);
    println!(
        "{commits} commits of {GROUPS} groups with {GROUP_PARTITIONS} partitions, {batch} a batch, written in {:.0} s\n",
        since.elapsed().as_secs_f64()
    );
    println!(
        "{:<28} {:>12} {:>14} {:>10}",
        "", "commits/s", "CPU ns/commit", "RSS MB"
    );
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..runs {
        for (kind, rates) in rates.iter_mut().enumerate() {
            let (name, run): (_, fn(&str, &str, usize)) = if kind == 0 {
                ("librdkafka, only counted", bare)
            } else {
                ("lagline, decoded and applied", lagline)
            };
            let (since, cpu) = (Stopwatch::start(), process::cpu_ns("self"));
            run(&servers, &topic, commits);
            let rate = commits as f64 / since.elapsed().as_secs_f64();
            let cpu = (process::cpu_ns("self") - cpu) / commits as u64;
            println!(
                "{name:<28} {rate:>12.0} {cpu:>14} {:>10}",
                process::resident_bytes("self") >> 20
            );
            rates.push(rate);
        }
    }
    let [bare, lagline] = rates.map(median);
    println!(
        "\nmedian of {runs}: librdkafka {bare:.0}/s, lagline {lagline:.0}/s, {:.0} %",
        100.0 * lagline / bare
    );
}

fn settings(servers: &str, topic: &str) -> KafkaSettings {
    let mut settings = KafkaSettings::new(vec![servers.to_owned()]);
    topic.clone_into(&mut settings.offsets_topic);
    let properties = std::env::var("LAGLINE_BENCH_PROPERTIES").unwrap_or_default();
    let properties = properties
        .split(',')
        .filter_map(|text| text.split_once('='));
    settings.properties = properties
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    settings
}

/// Every record counted, nothing else.
fn bare(servers: &str, topic: &str, commits: usize) {
    let settings = settings(servers, topic);
    let client = settings
        .client(Role::Reader, &ClusterName::new("bench"))
        .unwrap();
    let mut feed = Feed::new(client.client(), topic).unwrap();
    for partition in 0..offsets_topic::PARTITIONS {
        feed.start(partition, 0).unwrap();
    }
    let (mut seen, since) = (0, Stopwatch::start());
    while seen < commits {
        assert!(since.elapsed() < WAIT, "{seen} of {commits} in vain");
        drop(client.poll(Duration::ZERO));
        let batch = feed.next(Duration::from_millis(50));
        let is_record = |arrival: &Arrival<'_>| matches!(arrival, Arrival::Record { .. });
        seen += batch.iter().filter(is_record).count();
    }
}

/// The reader on its thread, the cluster's core on this one, as in the real thing.
fn lagline(servers: &str, topic: &str, commits: usize) {
    let name = ClusterName::new("bench");
    let (out, mut events) = channel::<EventBatch>(16);
    let stats = Arc::new(ReaderStats::default());
    let stop = CancellationToken::new();
    let reader = OffsetsReader::new(
        name.clone(),
        settings(servers, topic),
        out,
        Arc::clone(&stats),
        stop.clone(),
    );
    let thread = std::thread::spawn(|| reader.run());
    let mut cluster = Cluster::new(
        name,
        Settings {
            rules: Rules::default(),
            limits: Limits::default(),
            wanted: Box::new(|_| true),
        },
    );
    let clock = Clock::system();
    while cluster.counts().of(Applied::Appended) < commits as u64 {
        let batch = events.blocking_recv().expect("the reader runs");
        cluster.apply_batch(&batch, clock.now());
    }
    stop.cancel();
    drop(events);
    thread.join().unwrap().unwrap();
    assert_eq!(stats.counts().malformed, 0);
}

/// Ten seconds between two commits of a partition.
fn fill(servers: &str, topic: &str, commits: usize, batch: usize) {
    let groups: Vec<String> = (0..GROUPS)
        .map(|n| format!("payments-service-{n:04}"))
        .collect();
    let began = Clock::system().now().minus(Duration::from_secs(3600));
    let offsets = OffsetsTopic::create(servers, topic, batch);
    for n in 0..commits {
        let partition = i32::try_from(n / GROUPS % GROUP_PARTITIONS).unwrap();
        let round = i64::try_from(n / GROUPS / GROUP_PARTITIONS).unwrap();
        let at = Timestamp::from_ms(began.as_ms() + round * 10_000);
        let place = ("orders.events", partition);
        let id = Some(TopicId([7; 16]));
        offsets.commit(&groups[n % GROUPS], place, round * 1000, at, id);
    }
    offsets.flush();
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
