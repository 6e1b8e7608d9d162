//! Every sink through every fault, with a real server behind it: what was offered arrives, once, and
//! the counts say so. Each case prints them.
//!
//! A [`Proxy`] in front of the server answers some writes itself, or does them and keeps the answer
//! to itself. What keeps a sink waiting for half a minute (401, 404) is tested on virtual time, with
//! the delivery's other rules.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use lagline::points::{Batch, Detail, sample};
use lagline::sinks::Sink;
use lagline::sinks::delivery::{DeliverySettings, SinkHealth, State};
use lagline::sinks::elasticsearch::{Auth, ElasticSettings, ElasticSink, Mode};
use lagline::sinks::http::TlsSettings;
use lagline::store::frame::{Counts as Rows, Cursor, Frame, Seq};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::services::{Database, DatabaseKind};
use crate::sink_contract::{self, Counts, newest_seq};
use crate::{elasticsearch, influxdb, prometheus};

/// Far more than any case takes on an idle machine.
const LIMIT: Duration = Duration::from_secs(240);

/// What happens to a write.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The proxy answers; the server hears nothing.
    Answer(&'static str),
    /// The server does it; the connection is cut before the sink hears of it.
    CutAfter,
    /// Nobody answers.
    Hang,
}

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

/// A server's address that does what the queue says with writes, one after the other.
struct Proxy {
    address: String,
    faults: Arc<Mutex<VecDeque<Fault>>>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    async fn before(server: &Database) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = server.url().replace("http://", "");
        let faults = Arc::new(Mutex::new(VecDeque::new()));
        let queue = Arc::clone(&faults);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                connections.spawn(connection(client, server.clone(), Arc::clone(&queue)));
            }
        });
        Self {
            address,
            faults,
            _tasks: tasks,
        }
    }
}

/// One connection: request by request, until a fault or the client ends it.
async fn connection(mut client: TcpStream, server: String, faults: Arc<Mutex<VecDeque<Fault>>>) {
    while let Some(request) = message(&mut client).await {
        let line = request
            .split(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        let is_write = ["/write?", "/api/v1/write ", "/_bulk"]
            .iter()
            .any(|path| line.contains(path));
        let fault = is_write
            .then(|| faults.lock().unwrap().pop_front())
            .flatten();
        match fault {
            Some(Fault::Answer(answer)) => {
                if client.write_all(answer.as_bytes()).await.is_err() || answer.len() < 20 {
                    return;
                }
            }
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::CutAfter) => {
                forwarded(&request, &server).await;
                return;
            }
            None => {
                let Some(answer) = forwarded(&request, &server).await else {
                    return;
                };
                if client.write_all(&answer).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// The server's answer, as it is; none when it gives none.
async fn forwarded(request: &[u8], server: &str) -> Option<Vec<u8>> {
    let mut server = TcpStream::connect(server).await.ok()?;
    server.write_all(request).await.ok()?;
    message(&mut server).await
}

/// A request or an answer with its body; none at the end.
async fn message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        if is_whole(&bytes) {
            return Some(bytes);
        }
    }
}

fn is_whole(bytes: &[u8]) -> bool {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let header = |name: &str| {
        let mut lines = head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
    };
    if header("transfer-encoding") == Some("chunked") {
        return bytes.ends_with(b"0\r\n\r\n");
    }
    let length = header("content-length").map_or(0, |length| length.parse().unwrap());
    bytes.len() >= end + 4 + length
}

/// A server, and how it is written to and asked.
#[derive(Clone, Debug)]
enum Place {
    Influx {
        database: String,
    },
    Search {
        mode: Mode,
        namespace: String,
    },
    /// The whole server.
    Prometheus,
}

impl Place {
    fn influx(server: &Database) -> Self {
        let database = influxdb::created(server, "");
        Self::Influx { database }
    }

    fn search(mode: Mode) -> Self {
        let namespace = elasticsearch::namespace();
        Self::Search { mode, namespace }
    }

    fn sink(&self, address: &str) -> Arc<dyn Sink> {
        match self {
            Self::Influx { database } => {
                Arc::new(influxdb::sink_at(address, influxdb::v1(database)))
            }
            Self::Search { mode, namespace } => {
                let settings = ElasticSettings {
                    urls: vec![address.parse().unwrap()],
                    mode: *mode,
                    namespace: namespace.clone(),
                    auth: Auth::None,
                    manage_templates: true,
                    retention: None,
                    tls: TlsSettings::default(),
                };
                Arc::new(ElasticSink::new(settings).unwrap())
            }
            Self::Prometheus => Arc::new(prometheus::sink_at(address)),
        }
    }

    /// Points by measurement, as the server has them.
    fn counts(&self, server: &Database) -> Counts {
        let mut counts = Counts::new();
        match self {
            Self::Influx { database } => {
                for (measurement, field) in influxdb::ALWAYS {
                    let name = measurement.name();
                    let text = format!("SELECT count(\"{field}\") FROM \"{name}\"");
                    let answer = influxdb::query(server, database, &text);
                    let found = &answer["results"][0]["series"][0]["values"][0][1];
                    counts.insert(name.to_owned(), found.as_u64().unwrap_or(0));
                }
            }
            Self::Search { mode, namespace } => {
                for (measurement, dataset) in elasticsearch::DATASETS {
                    let target = elasticsearch::target(*mode, dataset, namespace);
                    server.json("POST", &format!("/{target}/_refresh"), "");
                    let answer = server.get(&format!("/{target}/_count"));
                    let found = answer.json()["count"].as_u64().unwrap_or(0);
                    counts.insert(measurement.name().to_owned(), found);
                }
            }
            Self::Prometheus => {
                for (measurement, selector) in prometheus::always() {
                    let found = prometheus::found(server, &selector);
                    counts.insert(measurement.name().to_owned(), found);
                }
            }
        }
        counts.retain(|_, count| *count > 0);
        counts
    }
}

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

/// Delivers the frames to `address` while `meanwhile` is done to the server.
async fn deliver(
    what: &str,
    place: &Place,
    address: &str,
    meanwhile: impl AsyncFnOnce(watch::Receiver<SinkHealth>),
) {
    let frames = frames();
    let rows: u64 = frames.iter().map(|frame| frame.rows).sum();
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
    let sink = place.sink(address);
    let (worker, mut health) = sink_contract::worker_with(sink, &frames, &kept, from, settings);
    let watched = health.clone();
    let last = frames[frames.len() - 1].seq;
    let all = async {
        meanwhile(watched).await;
        let is_done = |health: &SinkHealth| health.settled.seq == last;
        health
            .wait_for(is_done)
            .await
            .unwrap()
            .settled
            .counts
            .clone()
    };
    let counts: Rows = tokio::select! {
        () = worker.run() => panic!("nobody told it to stop"),
        counts = tokio::time::timeout(LIMIT, all) => counts.expect("delivered in time"),
    };
    eprintln!(
        "{place:?}, {what}: {counts:?}, waiting: {}",
        counts.waiting()
    );
    assert_eq!((counts.offered, counts.delivered), (rows, rows), "{what}");
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
        proxy.faults.lock().unwrap().extend([fault; 3]);
    })
    .await;
    assert!(
        proxy.faults.lock().unwrap().is_empty(),
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
