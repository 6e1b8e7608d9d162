//! The remote write sink on a real Prometheus and a real VictoriaMetrics. Faults of the server and
//! the network are in `sink_faults.rs`, as for every sink.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lagline::clock::{Clock, Timestamp};
use lagline::points::{Batch, Detail, Measurement, OwnedPoint, OwnedValue, metrics, sample};
use lagline::sinks::delivery::SinkHealth;
use lagline::sinks::http::TlsSettings;
use lagline::sinks::prometheus::{Auth, PrometheusSettings, PrometheusSink};
use lagline::sinks::{Repeated, Sink, WriteError};
use lagline::store::frame::{Counts as Rows, Cursor, Frame, Seq};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value as Json;

use crate::influxdb::ALWAYS;
use crate::services::{Database, DatabaseKind, unique};
use crate::sink_contract::{self, Bench, Counts, newest_seq};
use crate::sink_points::{HOSTILE, count, everything, hostile, partition};

const LIMIT: Duration = Duration::from_secs(60);

/// A Prometheus that takes nothing older than what it has.
pub const NO_WINDOW: (&str, &str) = ("config", "global: {scrape_interval: 1m}\n");

pub fn sink_at(address: &str, tls: TlsSettings) -> PrometheusSink {
    PrometheusSink::new(PrometheusSettings {
        url: format!("{address}/api/v1/write").parse().unwrap(),
        auth: Auth::None,
        headers: Vec::new(),
        tls,
    })
    .unwrap()
}

fn sink(database: &Database) -> PrometheusSink {
    sink_at(&database.url(), TlsSettings::default())
}

/// A beat, a while ago.
fn now() -> Timestamp {
    Timestamp::from_secs(Clock::system().now().as_secs() - 60)
}

/// The result of an instant query.
fn query(database: &Database, text: &str) -> Vec<Json> {
    let text = utf8_percent_encode(text, NON_ALPHANUMERIC);
    let answer = database.get(&format!("/api/v1/query?query={text}"));
    let result = answer.accepted().json()["data"]["result"].clone();
    result.as_array().unwrap().clone()
}

/// How many samples of the selected series there are in the last two hours.
pub fn found(database: &Database, selector: &str) -> u64 {
    let result = query(database, &format!("sum(count_over_time({selector}[2h]))"));
    result
        .first()
        .map_or(0, |one| one["value"][1].as_str().unwrap().parse().unwrap())
}

/// The same of a VictoriaMetrics, which shows new samples late unless it is told to.
pub fn exported(database: &Database, selector: &str) -> u64 {
    database.get("/internal/force_flush").accepted();
    let selector = utf8_percent_encode(selector, NON_ALPHANUMERIC);
    let export = format!("/api/v1/export?match[]={selector}&reduce_mem_usage=0");
    let answer = database.get(&export).accepted();
    let samples = answer.body.lines().map(|line| {
        let series: Json = serde_json::from_str(line).unwrap();
        series["timestamps"].as_array().unwrap().len() as u64
    });
    samples.sum()
}

/// The series that every point of a measurement has a sample of.
pub fn always() -> impl Iterator<Item = (Measurement, String)> {
    ALWAYS.iter().map(|(measurement, field)| {
        let fields = measurement.info().fields;
        let at = fields.iter().position(|info| info.name == *field).unwrap();
        let metric = metrics(*measurement)[at].as_ref().unwrap();
        let label = metric.label;
        let label = label.map_or(String::new(), |(name, value)| {
            format!("{{{name}=\"{value}\"}}")
        });
        (*measurement, format!("{}{label}", metric.name))
    })
}

/// An empty server, and how to count what is in it.
struct Server {
    database: Database,
    found: fn(&Database, &str) -> u64,
}

impl Bench for Server {
    fn sink(&self) -> Arc<dyn Sink> {
        Arc::new(sink(&self.database))
    }

    /// The Prometheus has an out-of-order window, the VictoriaMetrics removes doubles.
    fn repeated(&self) -> Repeated {
        Repeated::Once
    }

    async fn counts(&self) -> Counts {
        let counts = always().map(|(measurement, selector)| {
            let found = (self.found)(&self.database, &selector);
            (measurement.name().to_owned(), found)
        });
        counts.filter(|(_, found)| *found > 0).collect()
    }
}

#[tokio::test]
async fn prometheus_keeps_the_contract() {
    let database = Database::start(DatabaseKind::Prometheus);
    sink_contract::keep(&Server { database, found }).await;
}

#[tokio::test]
async fn victoria_metrics_keeps_the_contract_by_remote_write() {
    let server = Server {
        database: Database::start(DatabaseKind::VictoriaMetrics),
        found: exported,
    };
    sink_contract::keep(&server).await;
}

#[tokio::test]
async fn every_point_of_every_measurement_is_found_once_also_after_a_second_time() {
    let prometheus = Database::start(DatabaseKind::Prometheus);
    let sink = sink(&prometheus);
    let report = sink.check().await.unwrap();
    assert!(report.lines[0].ends_with("takes writes"), "{report:?}");
    let batch = everything("prod", now());
    for time in ["once", "twice"] {
        sink.write(&batch).await.unwrap();
        for (measurement, selector) in always() {
            let sent = count(&batch, measurement) as u64;
            assert_eq!(found(&prometheus, &selector), sent, "{selector} {time}");
        }
    }
}

#[tokio::test]
async fn every_hostile_name_is_a_series_with_that_name() {
    let prometheus = Database::shared(DatabaseKind::Prometheus);
    let cluster = unique("hostile");
    let batch = hostile(&cluster, now());
    sink(&prometheus).write(&batch).await.unwrap();
    let series = query(
        &prometheus,
        &format!("lagline_partition_lag{{cluster=\"{cluster}\"}}"),
    );
    assert_eq!(series.len(), batch.len());
    let groups: BTreeSet<_> = series
        .iter()
        .map(|one| one["metric"]["group"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(groups.len(), batch.len());
    for (name, why) in HOSTILE {
        assert!(groups.contains(name), "{why}: {name:?} in {groups:?}");
    }
}

/// One partition's lag at a time.
fn lag(cluster: &str, number: u32, lag: i64, at: Timestamp) -> Arc<OwnedPoint> {
    let mut point = partition(cluster, "g", "t", number, at);
    point.fields.clear();
    point.field("lag", OwnedValue::Int(lag)).unwrap();
    Arc::new(point)
}

#[tokio::test]
async fn what_is_refused_is_named_whatever_its_status_and_rolls_back_the_request() {
    let strict = Database::start_with(DatabaseKind::Prometheus, &[NO_WINDOW]);
    let lenient = Database::start(DatabaseKind::Prometheus);
    let at = now();
    let old = |seconds| at.minus(Duration::from_secs(seconds));
    for (server, bad, status, kind) in [
        (&strict, lag("c", 0, 8, at), 400, "duplicate: "),
        (&strict, lag("c", 0, 7, old(10)), 400, "out_of_order: "),
        (&strict, lag("c", 9, 7, old(7_200)), 400, "too_old: "),
        (&lenient, lag("c", 0, 7, old(7_200)), 500, "too_old: "),
    ] {
        let sink = sink(server);
        let mut first = Batch::new();
        first.push_owned(lag("c", 0, 7, at));
        sink.write(&first).await.unwrap();
        sink.write(&first)
            .await
            .expect("the newest sample again is taken");
        let mut both = Batch::new();
        both.push_owned(lag("c", 1, 7, at));
        both.push_owned(bad);
        let before = found(server, "lagline_partition_lag{partition=\"1\"}");
        let Err(WriteError::Bisect { reason }) = sink.write(&both).await else {
            panic!("{kind} is refused");
        };
        assert!(reason.starts_with(kind), "{reason}");
        assert!(reason.contains(&format!("answered {status}")), "{reason}");
        let after = found(server, "lagline_partition_lag{partition=\"1\"}");
        assert_eq!(after, before, "the whole request is rolled back");
    }
}

#[tokio::test]
async fn a_damaged_body_is_nobodys_fault_and_a_server_that_does_not_take_writes_is_said() {
    for kind in [DatabaseKind::Prometheus, DatabaseKind::VictoriaMetrics] {
        let database = Database::shared(kind);
        let answer = database.send(
            "POST",
            "/api/v1/write",
            "application/x-protobuf",
            b"\x05abc",
        );
        assert_eq!(answer.status, 400, "{}", answer.body);
        let words = ["snappy", "proto:", "unmarshal"];
        let is_known = words.iter().any(|word| answer.body.contains(word));
        assert!(is_known, "{}", answer.body);
    }
    let influxdb = Database::shared(DatabaseKind::InfluxDb);
    let error = sink(&influxdb).check().await.unwrap_err().to_string();
    assert!(error.contains("check the address"), "{error}");
}

/// The frames, one for each beat that ended before this moment.
fn frames(count: i64) -> Vec<Arc<Frame>> {
    let first = newest_seq();
    (first..first + count).map(sample::small).collect()
}

/// Points of all measurements, and those that have a sample of the partition's status.
fn sent(frames: &[Arc<Frame>]) -> (u64, u64) {
    let batches = frames.iter().map(|f| Batch::of(f, Detail::Partition));
    let partitions = batches.map(|batch| count(&batch, Measurement::Partition) as u64);
    (frames.iter().map(|f| f.rows).sum(), partitions.sum())
}

/// Delivers the frames; the counts at the end, and why a point was refused.
async fn deliver(sink: PrometheusSink, frames: &[Arc<Frame>]) -> (Rows, Option<String>) {
    let kept = Arc::new(Mutex::new(Cursor {
        seq: Seq(frames[0].seq.0 - 1),
        ..Cursor::default()
    }));
    let from = kept.lock().unwrap().clone();
    let (worker, mut health) = sink_contract::worker(Arc::new(sink), frames, &kept, from);
    let (rows, _) = sent(frames);
    let last = frames[frames.len() - 1].seq;
    let is_done = |health: &SinkHealth| health.settled.seq == last;
    let health = tokio::select! {
        () = worker.run() => panic!("nobody told it to stop"),
        health = tokio::time::timeout(LIMIT, health.wait_for(is_done)) => {
            health.expect("delivered in time").unwrap().clone()
        }
    };
    let counts = health.settled.counts;
    eprintln!("{counts:?}, waiting: {}", counts.waiting());
    assert_eq!((counts.offered, counts.waiting()), (rows, 0));
    (counts, health.last_rejection)
}

/// Somebody wrote a newer sample of one partition's series; then the backlog before it comes.
async fn backlog_behind_one_newer_sample(server: &Database) -> (Rows, Option<String>, u64) {
    let frames = frames(31);
    let newest = Batch::of(&frames[30], Detail::Partition);
    let is_one = |point: &OwnedPoint| {
        let has = |tag, value| point.tags.iter().any(|(n, v)| *n == tag && v == value);
        point.measurement == Measurement::Partition
            && has("group", "payments")
            && has("partition", "0")
    };
    let mut one = Batch::new();
    let newest = newest.iter().map(|point| OwnedPoint::of(&point));
    newest
        .filter(is_one)
        .for_each(|point| one.push_owned(Arc::new(point)));
    assert_eq!(one.len(), 1);
    sink(server).write(&one).await.unwrap();
    let (counts, why) = deliver(sink(server), &frames[..30]).await;
    (counts, why, sent(&frames[..30]).1)
}

#[tokio::test]
async fn a_backlog_older_than_the_newest_sample_of_a_series_costs_this_series_only() {
    let strict = Database::start_with(DatabaseKind::Prometheus, &[NO_WINDOW]);
    let (counts, why, partitions) = backlog_behind_one_newer_sample(&strict).await;
    assert_eq!(counts.rejected, 30);
    assert_eq!(counts.delivered, counts.offered - 30);
    let why = why.unwrap();
    assert!(why.starts_with("out_of_order: "), "{why}");
    let stored = found(&strict, "lagline_partition_status");
    assert_eq!(stored, partitions - 30 + 1);
}

#[tokio::test]
async fn a_backlog_within_the_out_of_order_window_arrives_whole() {
    let lenient = Database::start(DatabaseKind::Prometheus);
    let (counts, why, partitions) = backlog_behind_one_newer_sample(&lenient).await;
    assert_eq!((counts.rejected, why), (0, None));
    assert_eq!(counts.delivered, counts.offered);
    let stored = found(&lenient, "lagline_partition_status");
    assert_eq!(stored, partitions + 1);
}
