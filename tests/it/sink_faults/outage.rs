//! An hour in which no sink takes anything, with a restart in the middle of it: the journal keeps
//! every beat, and afterwards every server has each of its points once.

use std::path::Path;
use std::thread::{JoinHandle, spawn};

use lagline::clock::Clock;
use lagline::sinks::dead_letters::DeadLetters;
use lagline::sinks::delivery::Setup;
use lagline::store::frame::{Body, Next};
use lagline::store::{FrameReader, Store, StoreSettings};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::proxy::Faults;
use super::*;

const HOUR_BEATS: i64 = 360;

/// One sink, the server that is out of reach, and what the way to it does.
struct Destination<'a> {
    name: &'static str,
    place: Place,
    server: &'a Database,
    proxy: Proxy,
}

impl<'a> Destination<'a> {
    async fn down(name: &'static str, place: Place, server: &'a Database, fault: Fault) -> Self {
        let proxy = Proxy::before(server).await;
        proxy.faults.lock().unwrap().lasting = Some(fault);
        Self {
            name,
            place,
            server,
            proxy,
        }
    }

    fn mend(&self) {
        *self.proxy.faults.lock().unwrap() = Faults::default();
    }
}

/// The store and the workers of one process.
struct Process {
    store: Store,
    health: Vec<watch::Receiver<SinkHealth>>,
    workers: JoinSet<()>,
    threads: [JoinHandle<()>; 2],
}

impl Process {
    fn start(path: &Path, destinations: &[Destination<'_>]) -> Self {
        // What is delivered later comes from the disk.
        let settings = StoreSettings {
            tail_bytes: 1,
            ..StoreSettings::default()
        };
        let opened = Store::open(Some(path), settings).unwrap();
        let (store, writer, loader) = (opened.store, opened.writer, opened.loader);
        let threads = [spawn(move || writer.run()), spawn(move || loader.run())];
        let mut workers = JoinSet::new();
        let mut watched = Vec::new();
        for destination in destinations {
            let (cursor, source) = begun_at(&store, destination.name);
            let setup = Setup {
                name: destination.name.to_owned(),
                sink: destination.place.sink(&destination.proxy.address),
                settings: DeliverySettings::default(),
                interval: Duration::from_secs(10),
                cursor,
                letters: DeadLetters::nowhere(destination.name),
                clock: Clock::system(),
                rng: fastrand::Rng::new(),
                stop: CancellationToken::new(),
            };
            let (worker, health) = Worker::new(setup, source, store.clone());
            workers.spawn(worker.run());
            watched.push(health);
        }
        Self {
            store,
            health: watched,
            workers,
            threads,
        }
    }

    async fn journal(&self, numbers: std::ops::Range<i64>) {
        for number in numbers {
            let frame = sample::small(number);
            let Body::Evaluation { evaluation, .. } = &frame.body else {
                panic!("it is one");
            };
            let beats = vec![Arc::clone(evaluation)];
            let appended = self.store.append(beats, Vec::new(), frame.beat).await;
            assert_eq!(appended.unwrap().frames.len(), 1);
        }
    }

    /// Ends without waiting for any sink.
    async fn end(mut self) {
        self.workers.shutdown().await;
        self.store.close().await;
        drop(self.store);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }

    /// Everything that was journaled.
    async fn frames(&self) -> Vec<Arc<Frame>> {
        let mut reader = self.store.reader(self.store.before_oldest());
        let mut frames = Vec::new();
        while reader.rows_ahead() > 0 {
            match reader.next().await {
                Next::Frame(frame) => frames.push(frame),
                Next::Hole(hole) => panic!("{hole:?}"),
            }
        }
        frames
    }
}

/// As a process begins: where the sink's cursor is, otherwise at the oldest beat.
fn begun_at(store: &Store, name: &str) -> (Cursor, FrameReader) {
    store.resume(name).unwrap_or_else(|| {
        let cursor = Cursor {
            seq: store.before_oldest(),
            ..Cursor::default()
        };
        store.stage_cursor(name, cursor.clone());
        (cursor.clone(), store.reader(cursor.seq))
    })
}

#[tokio::test]
async fn an_hour_without_any_sink_ends_with_everything_once_everywhere() {
    let prometheus = Database::start_with(DatabaseKind::Prometheus, &[prometheus::NO_WINDOW]);
    let influxdb = Database::shared(DatabaseKind::InfluxDb);
    let elasticsearch = Database::shared(DatabaseKind::Elasticsearch);
    let opensearch = Database::shared(DatabaseKind::OpenSearch);
    let first = newest_seq() - HOUR_BEATS;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lagline.db");
    let place = Place::influx(&influxdb);
    let destinations = [
        Destination::down("influx", place, &influxdb, UNAVAILABLE).await,
        Destination::down(
            "series",
            Place::search(Mode::Tsds),
            &elasticsearch,
            UNAVAILABLE,
        )
        .await,
        Destination::down(
            "stream",
            Place::search(Mode::DataStream),
            &opensearch,
            CUT_IN_THE_HEAD,
        )
        .await,
        Destination::down("days", Place::search(Mode::Index), &opensearch, THROTTLED).await,
        Destination::down("prometheus", Place::Prometheus, &prometheus, UNAVAILABLE).await,
    ];

    let process = Process::start(&path, &destinations);
    process.journal(first..first + HOUR_BEATS / 2).await;
    for mut health in process.health.clone() {
        failing(&mut health).await;
        assert_eq!(health.borrow().settled.counts.delivered, 0);
    }
    process.end().await;

    let mut process = Process::start(&path, &destinations);
    process
        .journal(first + HOUR_BEATS / 2..first + HOUR_BEATS)
        .await;
    let frames = process.frames().await;
    assert_eq!(frames.len() as i64, HOUR_BEATS);
    let rows: u64 = frames.iter().map(|frame| frame.rows).sum();
    for destination in &destinations {
        let standing = process.store.standing(destination.name).unwrap();
        assert_eq!(standing.waiting, rows, "{}", destination.name);
        destination.mend();
    }
    let last = frames[frames.len() - 1].seq;
    let expected = points(&frames);
    for (destination, health) in destinations.iter().zip(&mut process.health) {
        let is_done = |health: &SinkHealth| health.settled.seq == last;
        let done = tokio::time::timeout(LIMIT, health.wait_for(is_done)).await;
        let counts = done
            .expect("delivered in time")
            .unwrap()
            .settled
            .counts
            .clone();
        let name = destination.name;
        eprintln!("{name}: {counts:?}, waiting: {}", counts.waiting());
        assert_eq!((counts.offered, counts.delivered), (rows, rows), "{name}");
        let found = destination.place.counts(destination.server);
        assert_eq!(found, expected, "{name}");
    }
}
