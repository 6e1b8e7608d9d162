//! The built program with 100,000 group-partitions of a real broker: 1,000 groups with 100 partitions each, windows
//! full, one beat every ten seconds, evaluations in a store on the disk. Goals: 500 bytes of resident growth a
//! group-partition; `/lag` of all 1,000 groups with 8 clients in 0.15 s; `/metrics` in 50 ms; after a restart the first
//! complete evaluation within 5 s.
//!
//! `cargo bench --bench program`; a broker is started and thrown away. `LAGLINE_BENCH_SWEEPS` (default 20).
//!
//! What it grows is counted against itself before the first commit, with the same cluster and no group: the median
//! over three beats, and the moment with most (a new evaluation beside the served one, being encoded). The journal's
//! tail in memory has a limit of its own (`[store] memory`), whatever the number of groups; it is set to its least.
//! Only Kafka itself may write into `__consumer_offsets`, so a plain topic stands in for it.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a program for people at a terminal"
)]

#[path = "../tests/it/services/mod.rs"]
#[allow(dead_code, unused_imports, reason = "not all servers are started here")]
mod services;

#[allow(dead_code, reason = "shared")]
mod offsets_topic;
mod process;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lagline::clock::{Clock, Stopwatch};
use offsets_topic::{OffsetsTopic, create_topics, producer, send};
use rdkafka::producer::{BaseRecord, Producer};
use services::directory::Directory;
use services::process::{Process, command};
use services::{Kafka, KafkaVersion, unique, wait};

const GROUPS: usize = 1000;
const TOPICS: usize = 10;
const PARTITIONS: i32 = 100;
/// The group whose single `/lag` is asked for again and again: as many partitions as in Burrow's figure.
const WIDE: (&str, &str, i32) = ("wide-group", "wide.topic", 300);
const RECORDS: i64 = 200;
const COMMITS: i64 = 12;
const CLIENTS: usize = 8;
const LIMIT: Duration = Duration::from_secs(300);

fn main() {
    let sweeps = std::env::var("LAGLINE_BENCH_SWEEPS").map_or(20, |n| n.parse().expect("a number"));
    let kafka = Kafka::start(KafkaVersion::V4);
    let topics: Vec<String> = (0..TOPICS).map(|n| format!("orders.events.{n}")).collect();
    let world = World {
        servers: kafka.bootstrap(),
        offsets: unique("lagline-bench-offsets"),
        topics,
        groups: (0..GROUPS)
            .map(|n| format!("payments-service-{n:04}"))
            .collect(),
    };
    world.write_records();
    let offsets = OffsetsTopic::create(&world.servers, &world.offsets, 1000);

    let lagline = Program::start(&world);
    lagline.beats(3);
    let empty = lagline.resident().median;
    world.commit_all(&offsets);
    lagline.until_groups(GROUPS + 1);
    lagline.beats(3);
    let tracked = GROUPS as u64 * PARTITIONS as u64 + u64::from(WIDE.2.unsigned_abs());
    let grown = |what: &str| {
        let resident = lagline.resident();
        let each = |bytes: u64| bytes.saturating_sub(empty) / tracked;
        println!(
            "{what:<30} {:>4} MB resident; grown by {:>4} bytes a group-partition, at the worst moment by {:>4}",
            resident.median >> 20,
            each(resident.median),
            each(resident.highest)
        );
    };
    println!(
        "{tracked} group-partitions; without any: {} MB resident\n",
        empty >> 20
    );
    grown("windows full");
    metrics(&lagline);
    sweep(&lagline, &world.groups, sweeps);
    single(&lagline);
    grown("after all this");
    restart(lagline);
}

/// What is on the broker.
struct World {
    servers: String,
    offsets: String,
    topics: Vec<String>,
    groups: Vec<String>,
}

impl World {
    fn write_records(&self) {
        let mut topics: Vec<_> = self
            .topics
            .iter()
            .map(|t| (t.as_str(), PARTITIONS))
            .collect();
        topics.push((WIDE.1, WIDE.2));
        create_topics(&self.servers, &topics);
        let producer = producer(&self.servers, 1000);
        for _ in 0..RECORDS {
            for (topic, partitions) in &topics {
                for partition in 0..*partitions {
                    let record = BaseRecord::to(topic)
                        .partition(partition)
                        .payload(&b"x"[..]);
                    send(&producer, record);
                }
            }
        }
        producer.flush(LIMIT).unwrap();
    }

    /// Everybody commits, every ten seconds up to now; one group of ten is behind.
    fn commit_all(&self, offsets: &OffsetsTopic) {
        let now = Clock::system().now();
        for commit in 0..COMMITS {
            let ago = u64::try_from(COMMITS - commit).unwrap() * 10;
            let at = now.minus(Duration::from_secs(ago));
            for (n, group) in self.groups.iter().enumerate() {
                let behind = if n % 10 == 9 { 50 } else { 0 };
                let offset = RECORDS - COMMITS + 1 + commit - behind;
                let topic = &self.topics[n % TOPICS];
                for partition in 0..PARTITIONS {
                    offsets.commit(group, (topic, partition), offset, at, None);
                }
            }
            for partition in 0..WIDE.2 {
                offsets.commit(
                    WIDE.0,
                    (WIDE.1, partition),
                    RECORDS - COMMITS + commit,
                    at,
                    None,
                );
            }
        }
        offsets.flush();
    }
}

/// Bytes of memory.
struct Resident {
    median: u64,
    highest: u64,
}

/// A running lagline.
struct Program {
    process: Process,
    port: u16,
    // Last: deleted after the process is dead.
    directory: Directory,
}

impl Program {
    fn start(world: &World) -> Self {
        let directory = Directory::new("bench");
        let path = directory.path();
        let config = format!(
            "interval = \"10s\"\n[server]\nlisten = \"127.0.0.1:0\"\n\
             [store]\npath = \"{}\"\nmemory = \"1MiB\"\n\
             [clusters.bench.kafka]\nbootstrap_servers = [\"{}\"]\noffsets_topic = \"{}\"\n\
             [sinks.lines.jsonl]\npath = \"/dev/null\"\n",
            path.join("lagline.db").display(),
            world.servers,
            world.offsets
        );
        std::fs::write(path.join("lagline.toml"), config).unwrap();
        Self::launch(directory)
    }

    /// Starts it as the directory says; returns when it listens.
    fn launch(directory: Directory) -> Self {
        let path = directory.path();
        let mut program = command(env!("CARGO_BIN_EXE_lagline"));
        program
            .args(["run", "--config"])
            .arg(path.join("lagline.toml"))
            .env("NO_COLOR", "1");
        let log = path.join("lagline.log");
        drop(std::fs::remove_file(&log));
        let mut process = Process::start("lagline", program, &log);
        let port = process.wait_ready(LIMIT, || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let (_, rest) = text.split_once("address=").ok_or("it has not started")?;
            let address = rest.split([' ', '\n']).next().unwrap_or_default();
            let port = address
                .rsplit(':')
                .next()
                .and_then(|port| port.parse().ok());
            port.ok_or_else(|| format!("no port in {address}"))
        });
        Self {
            process,
            port,
            directory,
        }
    }

    /// Looked at often for the time of three beats.
    fn resident(&self) -> Resident {
        let id = self.process.id().to_string();
        let since = Stopwatch::start();
        let mut seen = Vec::new();
        wait::until("three beats are over", LIMIT, || {
            seen.push(process::resident_bytes(&id));
            since.elapsed() > Duration::from_secs(30)
        });
        seen.sort_unstable();
        Resident {
            median: seen[seen.len() / 2],
            highest: seen[seen.len() - 1],
        }
    }

    fn cpu_ns(&self) -> u64 {
        process::cpu_ns(&self.process.id().to_string())
    }

    fn health(&self) -> serde_json::Value {
        let body = Client::connect(self.port).get("/health");
        serde_json::from_slice::<serde_json::Value>(&body).unwrap()["clusters"][0].clone()
    }

    /// Waits for `beats` evaluations.
    fn beats(&self, beats: usize) {
        for _ in 0..beats {
            let last = self.health()["beat_ms"].clone();
            wait::until("another beat", LIMIT, || self.health()["beat_ms"] != last);
        }
    }

    fn until_groups(&self, groups: usize) {
        wait::until("all groups are seen", LIMIT, || {
            let health = self.health();
            health["groups"] == groups && health["reader_lag"] == 0
        });
    }
}

/// From the start of the process to an evaluation with every group, none of them warming; with the
/// snapshot of the run before, and without any store. A beat a second, so that waiting for one does
/// not count much.
fn restart(lagline: Program) {
    let file = lagline.directory.path().join("lagline.toml");
    let config = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        config.replace("interval = \"10s\"", "interval = \"1s\""),
    )
    .unwrap();
    let mut program = lagline;
    for what in ["with a snapshot", "without a store"] {
        let Program {
            process, directory, ..
        } = program;
        process.stop();
        if what == "without a store" {
            for name in ["lagline.db", "lagline.db-wal", "lagline.db-shm"] {
                drop(std::fs::remove_file(directory.path().join(name)));
            }
        }
        let since = Stopwatch::start();
        program = Program::launch(directory);
        let mut client = Client::connect(program.port);
        wait::until("everything is evaluated", LIMIT, || {
            let body = client.get("/api/v1/clusters");
            let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let groups = &answer["clusters"][0]["groups"];
            groups["total"] == GROUPS + 1 && groups["warming"] == 0
        });
        println!(
            "a start {what}: everything evaluated after {:.1} s ({})",
            since.elapsed().as_secs_f64(),
            program.health()["start"]
        );
        wait::until("a snapshot is saved", LIMIT, || {
            !program.health()["snapshot"]["saved_ms"].is_null()
        });
        let snapshot = program.health()["snapshot"].clone();
        println!(
            "  its snapshot: {:.1} MB, the cluster waited {} ms for it",
            snapshot["bytes"].as_f64().unwrap() / 1e6,
            snapshot["pause_ms"]
        );
    }
}

/// Rendering for a new beat, and what the next scraper of the same beat waits for.
fn metrics(lagline: &Program) {
    let mut client = Client::connect(lagline.port);
    for _ in 0..2 {
        lagline.beats(1);
        let (since, cpu) = (Stopwatch::start(), lagline.cpu_ns());
        client.ask("/metrics");
        let (first, bytes) = (since.elapsed(), client.body.len());
        let since = Stopwatch::start();
        client.ask("/metrics");
        println!(
            "/metrics: {:.1} ms, again in the same beat {:.1} ms, {:.1} MB, {} ms of CPU for both",
            ms(first),
            ms(since.elapsed()),
            bytes as f64 / 1e6,
            (lagline.cpu_ns() - cpu) / 1_000_000
        );
    }
}

/// `/lag` of every group, by 8 clients at once.
fn sweep(lagline: &Program, groups: &[String], sweeps: usize) {
    let mut clients: Vec<Client> = (0..CLIENTS)
        .map(|_| Client::connect(lagline.port))
        .collect();
    let mut times = Vec::new();
    let (cpu, mut bytes) = (lagline.cpu_ns(), 0);
    for _ in 0..sweeps {
        let next = AtomicUsize::new(0);
        let since = Stopwatch::start();
        bytes = std::thread::scope(|scope| {
            let running: Vec<_> = clients
                .iter_mut()
                .map(|client| scope.spawn(|| client.lags(groups, &next)))
                .collect();
            running
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        times.push(since.elapsed());
    }
    let cpu = (lagline.cpu_ns() - cpu) / sweeps as u64 / 1_000_000;
    times.sort();
    println!(
        "/lag of {GROUPS} groups with {PARTITIONS} partitions, {CLIENTS} clients: median {:.0} ms, worst {:.0} ms of \
         {sweeps} sweeps, {cpu} ms of CPU each, {:.1} MB",
        ms(times[times.len() / 2]),
        ms(times[times.len() - 1]),
        bytes as f64 / 1e6
    );
}

/// `/lag` of one group with 300 partitions, by one client.
fn single(lagline: &Program) {
    let mut client = Client::connect(lagline.port);
    let path = format!("/v3/kafka/bench/consumer/{}/lag", WIDE.0);
    let mut times: Vec<Duration> = (0..5000)
        .map(|_| {
            let since = Stopwatch::start();
            client.get(&path);
            since.elapsed()
        })
        .collect();
    times.sort();
    println!(
        "/lag of one group with {} partitions: p50 {:.2} ms, p99 {:.2} ms",
        WIDE.2,
        ms(times[2500]),
        ms(times[4950])
    );
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// One connection that stays open.
struct Client {
    stream: BufReader<TcpStream>,
    body: Vec<u8>,
}

impl Client {
    fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream: BufReader::with_capacity(1 << 18, stream),
            body: Vec::new(),
        }
    }

    /// The body of a good answer.
    fn get(&mut self, path: &str) -> Vec<u8> {
        self.ask(path);
        self.body.clone()
    }

    fn ask(&mut self, path: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes()).unwrap();
        let mut length = None;
        let mut line = String::new();
        for n in 0.. {
            line.clear();
            self.stream.read_line(&mut line).unwrap();
            assert!(n > 0 || line.contains(" 200 "), "{path}: {line}");
            let lower = line.to_ascii_lowercase();
            if let Some(bytes) = lower.strip_prefix("content-length:") {
                length = bytes.trim().parse::<usize>().ok();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        self.body.resize(length.expect("a length"), 0);
        self.stream.read_exact(&mut self.body).unwrap();
    }

    /// Asks for groups until none is left; the bytes of all answers.
    fn lags(&mut self, groups: &[String], next: &AtomicUsize) -> usize {
        let mut bytes = 0;
        while let Some(group) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
            self.ask(&format!("/v3/kafka/bench/consumer/{group}/lag"));
            bytes += self.body.len();
        }
        bytes
    }
}
