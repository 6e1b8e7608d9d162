//! Every sink through every fault, with a real server behind it: what was offered arrives, once, and
//! the counts say so. Each case prints them.
//!
//! A [`Proxy`] in front of the server answers some writes itself, or does them and keeps the answer
//! to itself. An hour without any sink is in `outage.rs`, what only a person can mend in
//! `misconfigured.rs`, what is never taken in `refused.rs`.

mod misconfigured;
mod outage;
mod place;
pub mod proxy;
mod refused;

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use lagline::points::{Batch, Detail, sample};
use lagline::sinks::Sink;
use lagline::sinks::delivery::{DeliverySettings, SinkHealth, State, Worker};
use lagline::sinks::elasticsearch::Mode;
use lagline::store::frame::{Counts as Rows, Cursor, Frame, Seq};
use place::Place;
use proxy::{Fault, Proxy};
use tokio::sync::watch;

use crate::prometheus;
use crate::services::{Database, DatabaseKind};
use crate::sink_contract::{self, Counts, Frames, Kept, newest_seq};

/// Far more than any case takes on an idle machine.
const LIMIT: Duration = Duration::from_secs(240);

const UNAVAILABLE: Fault =
    Fault::Answer("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy");
const THROTTLED: Fault =
    Fault::Answer("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n");
const TOO_LARGE: Fault =
    Fault::Answer("HTTP/1.1 413 Request Entity Too Large\r\nContent-Length: 0\r\n\r\n");
const CUT_IN_THE_HEAD: Fault = Fault::Answer("HTTP/1.1 20");

/// The faults, each several times in one backlog.
const FAULTS: [(&str, Fault); 6] = [
    ("503", UNAVAILABLE),
    ("429 with Retry-After", THROTTLED),
    ("413", TOO_LARGE),
    ("cut within the answer", CUT_IN_THE_HEAD),
    ("written, and cut before the answer", Fault::CutAfter),
    ("no answer", Fault::Hang),
];

/// A backlog that ended some time ago, the same whenever it is asked for.
fn frames() -> Vec<Arc<Frame>> {
    static FIRST: LazyLock<i64> = LazyLock::new(newest_seq);
    (*FIRST..*FIRST + 60).map(sample::small).collect()
}

fn points(frames: &[Arc<Frame>]) -> Counts {
    let mut counts = Counts::new();
    for frame in frames {
        for point in Batch::of(frame, Detail::Partition).iter() {
            *counts
                .entry(point.measurement().name().to_owned())
                .or_default() += 1;
        }
    }
    counts
}

/// Delivers all frames to `address` while `meanwhile` is done to the server.
async fn deliver(
    what: &str,
    place: &Place,
    address: &str,
    meanwhile: impl AsyncFnOnce(watch::Receiver<SinkHealth>),
) {
    let frames = frames();
    let counts = run(what, place, place.sink(address), &frames, meanwhile).await;
    let rows: u64 = frames.iter().map(|frame| frame.rows).sum();
    assert_eq!((counts.offered, counts.delivered), (rows, rows), "{what}");
}

/// A worker with small requests that has delivered nothing yet.
fn worker(
    sink: Arc<dyn Sink>,
    frames: &[Arc<Frame>],
) -> (Worker<Frames, Kept>, watch::Receiver<SinkHealth>) {
    let from = Cursor {
        seq: Seq(frames[0].seq.0 - 1),
        ..Cursor::default()
    };
    let kept = Arc::new(Mutex::new(from.clone()));
    let settings = DeliverySettings {
        max_points: 50,
        timeout: Duration::from_secs(5),
        ..DeliverySettings::default()
    };
    sink_contract::worker_with(sink, frames, &kept, from, settings)
}

/// Has the frames delivered by `sink` until all are settled: the counts, which are printed.
async fn run(
    what: &str,
    place: &Place,
    sink: Arc<dyn Sink>,
    frames: &[Arc<Frame>],
    meanwhile: impl AsyncFnOnce(watch::Receiver<SinkHealth>),
) -> Rows {
    let (worker, mut health) = worker(sink, frames);
    let (watched, seen) = (health.clone(), health.clone());
    let last = frames[frames.len() - 1].seq;
    let all = async {
        meanwhile(watched).await;
        let is_done = |health: &SinkHealth| health.settled.seq == last;
        let health = health.wait_for(is_done).await.unwrap();
        health.settled.counts.clone()
    };
    let counts: Rows = tokio::select! {
        () = worker.run() => panic!("nobody told it to stop"),
        counts = tokio::time::timeout(LIMIT, all) => {
            counts.unwrap_or_else(|_| panic!("{place:?}, {what}: {:?}", *seen.borrow()))
        }
    };
    eprintln!(
        "{place:?}, {what}: {counts:?}, waiting: {}",
        counts.waiting()
    );
    counts
}

/// Waits until some rows are delivered, but not all.
async fn begun(health: &mut watch::Receiver<SinkHealth>) {
    let has_begun = |health: &SinkHealth| health.settled.counts.delivered > 0;
    health.wait_for(has_begun).await.unwrap();
}

async fn failing(health: &mut watch::Receiver<SinkHealth>) {
    let is_failing = |health: &SinkHealth| matches!(health.state, State::Retrying { .. });
    health.wait_for(is_failing).await.unwrap();
}

/// All faults of the network and of answers, one after the other, each into a place of its own.
async fn every_fault(server: &Database, place: impl Fn() -> Place) {
    for (what, fault) in FAULTS {
        one_fault(server, &place(), what, fault).await;
    }
}

async fn one_fault(server: &Database, place: &Place, what: &str, fault: Fault) {
    let proxy = Proxy::before(server).await;
    deliver(what, place, &proxy.address, async |mut health| {
        begun(&mut health).await;
        proxy.faults.lock().unwrap().next.extend([fault; 3]);
    })
    .await;
    assert!(
        proxy.faults.lock().unwrap().next.is_empty(),
        "{what}: it was met"
    );
    assert_eq!(place.counts(server), points(&frames()), "{what}");
}

/// The server does not answer for longer than the sink waits.
async fn frozen(server: &Database, place: &Place) {
    deliver("frozen", place, &server.url(), async |mut health| {
        begun(&mut health).await;
        server.freeze();
        failing(&mut health).await;
        server.thaw();
    })
    .await;
    assert_eq!(place.counts(server), points(&frames()), "frozen");
}

/// The server is killed and started again.
async fn killed(server: &mut Database, place: &Place) {
    deliver("killed", place, &server.url(), async |mut health| {
        begun(&mut health).await;
        server.kill();
        failing(&mut health).await;
        server.restart();
    })
    .await;
    assert_eq!(place.counts(server), points(&frames()), "killed");
}

#[tokio::test]
async fn influxdb_has_everything_once_after_every_fault() {
    let server = Database::shared(DatabaseKind::InfluxDb);
    every_fault(&server, || Place::influx(&server)).await;
}

#[tokio::test]
async fn influxdb_has_everything_once_after_a_freeze_and_a_kill() {
    let mut server = Database::start(DatabaseKind::InfluxDb);
    frozen(&server, &Place::influx(&server)).await;
    let place = Place::influx(&server);
    killed(&mut server, &place).await;
}

#[tokio::test]
async fn elasticsearch_has_everything_once_after_every_fault() {
    let server = Database::shared(DatabaseKind::Elasticsearch);
    every_fault(&server, || Place::search(Mode::Tsds)).await;
}

#[tokio::test]
async fn elasticsearch_has_everything_once_after_a_freeze_and_a_kill() {
    let mut server = Database::start(DatabaseKind::Elasticsearch);
    frozen(&server, &Place::search(Mode::Tsds)).await;
    killed(&mut server, &Place::search(Mode::Tsds)).await;
}

#[tokio::test]
async fn opensearch_has_everything_once_after_every_fault() {
    let server = Database::shared(DatabaseKind::OpenSearch);
    every_fault(&server, || Place::search(Mode::DataStream)).await;
}

#[tokio::test]
async fn opensearch_has_everything_once_after_a_freeze_and_a_kill() {
    let mut server = Database::start(DatabaseKind::OpenSearch);
    frozen(&server, &Place::search(Mode::Index)).await;
    killed(&mut server, &Place::search(Mode::DataStream)).await;
}

/// Without an out-of-order window nothing but the newest sample is taken a second time.
#[tokio::test]
async fn prometheus_has_everything_once_after_every_fault() {
    for (what, fault) in FAULTS {
        let strict = Database::start_with(DatabaseKind::Prometheus, &[prometheus::NO_WINDOW]);
        one_fault(&strict, &Place::Prometheus, what, fault).await;
    }
}

#[tokio::test]
async fn prometheus_has_everything_once_after_a_freeze_and_a_kill() {
    let no_window = [prometheus::NO_WINDOW];
    let server = Database::start_with(DatabaseKind::Prometheus, &no_window);
    frozen(&server, &Place::Prometheus).await;
    let mut server = Database::start_with(DatabaseKind::Prometheus, &no_window);
    killed(&mut server, &Place::Prometheus).await;
}

#[tokio::test]
async fn victoria_metrics_has_everything_once_after_every_fault() {
    for place in [Place::Victoria, Place::VictoriaLines] {
        for (what, fault) in FAULTS {
            let server = Database::start(DatabaseKind::VictoriaMetrics);
            one_fault(&server, &place, what, fault).await;
        }
    }
}

/// After SIGKILL it forgets what it acknowledged in the last seconds; a stop in good order is what
/// it promises to outlive.
#[tokio::test]
async fn victoria_metrics_has_everything_once_after_a_freeze_and_a_restart() {
    for place in [Place::Victoria, Place::VictoriaLines] {
        let server = Database::start(DatabaseKind::VictoriaMetrics);
        frozen(&server, &place).await;
        let mut server = Database::start(DatabaseKind::VictoriaMetrics);
        deliver("restarted", &place, &server.url(), async |mut health| {
            begun(&mut health).await;
            server.stop();
            failing(&mut health).await;
            server.restart();
        })
        .await;
        assert_eq!(place.counts(&server), points(&frames()), "restarted");
    }
}
