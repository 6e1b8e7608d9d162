//! A backlog on its way out of the store: two million points that were journaled while every sink was
//! down. Goals: 200,000 points/s into a server that answers at once, and what a real InfluxDB and a
//! real Elasticsearch take (60 and 35 thousand/s); memory that does not depend on the outage.
//!
//! `cargo bench --bench delivery`; the real servers are started and thrown away.
//! `LAGLINE_BENCH_BEATS` (default 10) beats of 100,000 group-partitions with their topics' offsets,
//! `LAGLINE_BENCH_RUNS` (default 3), `LAGLINE_BENCH_REAL=0` leaves the real servers out.
//!
//! The frames are read from the file and decoded, every request is encoded, compressed and sent over
//! a connection of the loopback, every moved cursor is kept by the store: all of it on this machine.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a program for people at a terminal"
)]

#[path = "../tests/it/services/mod.rs"]
#[allow(dead_code, unused_imports, reason = "only databases are started here")]
mod services;

mod process;

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use lagline::clock::{Clock, Stopwatch, Timestamp};
use lagline::lag::evaluation::Evaluation;
use lagline::sinks::Sink;
use lagline::sinks::dead_letters::DeadLetters;
use lagline::sinks::delivery::{DeliverySettings, Setup, SinkHealth, Worker};
use lagline::sinks::elasticsearch::{Auth, ElasticSettings, ElasticSink, Mode};
use lagline::sinks::http::TlsSettings;
use lagline::sinks::influxdb::{InfluxSettings, InfluxSink, Profile, Target};
use lagline::sinks::prometheus::{self, PrometheusSettings, PrometheusSink};
use lagline::store::frame::{Counts, Cursor, Seq};
use lagline::store::{Store, StoreSettings, sample};
use services::{Database, DatabaseKind};
use tokio_util::sync::CancellationToken;

const GROUPS: u32 = 1_000;
const PARTITIONS: u32 = 100;
const INTERVAL: Duration = Duration::from_secs(10);
/// Far less than the backlog: what drains comes from the file.
const TAIL_BYTES: usize = 8 << 20;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn main() {
    let beats = number("LAGLINE_BENCH_BEATS", 10);
    let runs = number("LAGLINE_BENCH_RUNS", 3).max(1);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("lagline.db"));
    let first = store.newest();
    runtime.block_on(async {
        for beat in 1..=beats {
            journal(&store, beat, i64::try_from(beats - beat).unwrap()).await;
        }
    });
    let last = store.newest();
    let stub = stub(StatusCode::NO_CONTENT);
    println!(
        "{:<44} {:>10} {:>12} {:>12} {:>8}",
        "", "points", "points/s", "CPU ns/point", "RSS MB"
    );
    let bench = Bench {
        runtime,
        store,
        first,
        last,
    };
    for _ in 0..runs {
        bench.drain("line protocol, answered at once", &[influx(&stub, "lag")]);
        bench.drain("remote write, answered at once", &[remote_write(&stub)]);
        let three = [influx(&stub, "a"), influx(&stub, "b"), remote_write(&stub)];
        bench.drain("all three at once, each", &three);
    }
    bench.be_down(beats * 4);
    if number("LAGLINE_BENCH_REAL", 1) != 0 {
        let server = Database::start(DatabaseKind::InfluxDb);
        server
            .send("POST", "/query?q=CREATE%20DATABASE%20lag", "", b"")
            .accepted();
        bench.drain("real InfluxDB 1.6", &[influx(&server.url(), "lag")]);
        drop(server);
        let server = Database::start(DatabaseKind::Elasticsearch);
        bench.drain(
            "real Elasticsearch 8.17, time series",
            &[search(&server.url())],
        );
    }
}

/// A server that answers every request at once: its address.
fn stub(status: StatusCode) -> String {
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(format!("http://{}", listener.local_addr().unwrap()))
                .unwrap();
            let answer = move |_: axum::body::Bytes| async move { status };
            let limit = axum::extract::DefaultBodyLimit::disable();
            let router = Router::new().fallback(answer).layer(limit);
            axum::serve(listener, router).await.unwrap();
        });
    });
    told.recv().unwrap()
}

fn open(path: &Path) -> Store {
    let settings = StoreSettings {
        tail_bytes: TAIL_BYTES,
        ..StoreSettings::default()
    };
    let opened = Store::open(Some(path), settings).unwrap();
    let (writer, loader) = (opened.writer, opened.loader);
    thread::spawn(move || writer.run());
    thread::spawn(move || loader.run());
    opened.store
}

/// Journals a beat `beats_ago`; `number` makes its values.
async fn journal(store: &Store, number: u64, beats_ago: i64) {
    let evaluation = sample::busy(i64::try_from(number).unwrap(), GROUPS, PARTITIONS);
    let now = Clock::system().now().aligned(INTERVAL).as_ms();
    let ago = beats_ago * i64::try_from(INTERVAL.as_millis()).unwrap();
    let beat = Timestamp::from_ms(now - ago);
    let evaluation = Arc::new(Evaluation {
        beat,
        ..(*evaluation).clone()
    });
    store
        .append(vec![evaluation], Vec::new(), beat)
        .await
        .unwrap();
}

struct Bench {
    runtime: tokio::runtime::Runtime,
    store: Store,
    /// The backlog is behind this one.
    first: Seq,
    last: Seq,
}

impl Bench {
    /// Delivers the whole backlog to each of the sinks, all at the same time.
    fn drain(&self, what: &str, sinks: &[Arc<dyn Sink>]) {
        let (since, cpu) = (Stopwatch::start(), process::cpu_ns("self"));
        let counts = self.runtime.block_on(async {
            let workers = sinks.iter().enumerate();
            let workers = workers.map(|(at, sink)| self.deliver(at, Arc::clone(sink)));
            futures_util::future::join_all(workers).await
        });
        let points = counts[0].delivered;
        let sent = points * sinks.len() as u64;
        for counts in counts {
            assert_eq!(counts.delivered, counts.offered, "{what}: {counts:?}");
        }
        let rate = points as f64 / since.elapsed().as_secs_f64();
        let cpu = (process::cpu_ns("self") - cpu) / sent;
        let resident = process::resident_bytes("self") >> 20;
        println!("{what:<44} {points:>10} {rate:>12.0} {cpu:>12} {resident:>8}");
    }

    /// Goes on journaling while three sinks cannot write.
    fn be_down(&self, beats: u64) {
        let stub = stub(StatusCode::SERVICE_UNAVAILABLE);
        let sinks = [influx(&stub, "a"), influx(&stub, "b"), remote_write(&stub)];
        let workers = sinks.into_iter().enumerate();
        let workers = workers.map(|(at, sink)| self.deliver(at, sink));
        self.runtime.block_on(async {
            let journaled = async {
                for beat in 1..=beats {
                    journal(&self.store, beat, -i64::try_from(beat).unwrap()).await;
                    if beat % (beats / 4).max(1) == 0 {
                        let resident = process::resident_bytes("self") >> 20;
                        println!("three sinks down, beat {beat:<21} {resident:>45}");
                    }
                }
            };
            tokio::select! {
                _ = futures_util::future::join_all(workers) => panic!("nothing was taken"),
                () = journaled => {}
            }
        });
    }

    async fn deliver(&self, at: usize, sink: Arc<dyn Sink>) -> Counts {
        let from = Cursor {
            seq: self.first,
            ..Cursor::default()
        };
        let setup = Setup {
            name: format!("bench-{at}"),
            sink,
            settings: DeliverySettings::default(),
            interval: INTERVAL,
            cursor: from,
            letters: DeadLetters::nowhere("bench"),
            clock: Clock::system(),
            rng: fastrand::Rng::new(),
            stop: CancellationToken::new(),
        };
        let reader = self.store.reader(self.first);
        let (worker, mut health) = Worker::new(setup, reader, self.store.clone());
        let is_done = |health: &SinkHealth| health.settled.seq == self.last;
        tokio::select! {
            () = worker.run() => panic!("nobody told it to stop"),
            done = health.wait_for(is_done) => done.unwrap().settled.counts.clone(),
        }
    }
}

fn influx(url: &str, database: &str) -> Arc<dyn Sink> {
    let settings = InfluxSettings {
        url: url.parse().unwrap(),
        target: Target::V1 {
            database: database.to_owned(),
            retention_policy: None,
            login: None,
        },
        gzip: true,
        tls: TlsSettings::default(),
        owner_fields: false,
        profile: Profile::default(),
        bootstrap: None,
    };
    Arc::new(InfluxSink::new(settings).unwrap())
}

fn remote_write(url: &str) -> Arc<dyn Sink> {
    let settings = PrometheusSettings {
        url: format!("{url}/api/v1/write").parse().unwrap(),
        auth: prometheus::Auth::None,
        headers: Vec::new(),
        tls: TlsSettings::default(),
    };
    Arc::new(PrometheusSink::new(settings).unwrap())
}

fn search(url: &str) -> Arc<dyn Sink> {
    let settings = ElasticSettings {
        urls: vec![url.parse().unwrap()],
        mode: Mode::Tsds,
        namespace: "bench".to_owned(),
        auth: Auth::None,
        manage_templates: true,
        retention: None,
        tls: TlsSettings::default(),
    };
    Arc::new(ElasticSink::new(settings).unwrap())
}
