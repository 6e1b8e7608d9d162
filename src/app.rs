//! Wiring: builds everything from a configuration, starts it in order, watches over it, stops it
//! in order.
//!
//! The only place that names Kafka readers and concrete sinks together, and the only one that spawns
//! tasks and threads. Start: store, sinks, clusters, server, beat. Stop: the beat first, then the
//! sinks flush, then the clusters, then the store. Whatever ends unexpectedly is named.

pub mod backfill;
mod clusters;
mod memory;
mod warm;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Timestamp};
use crate::config::sinks::{SinkConfig, SinkKind};
use crate::config::{Config, StoreConfig};
use crate::lag::evaluation::Evaluation;
use crate::lag::ids::ClusterName;
use crate::monitor::{ClusterHealth, Timing};
use crate::scheduler::{Journal, Scheduler};
use crate::server::{self, ClusterHandle, LogLevel, SinkHandle};
use crate::sinks::Sink;
use crate::sinks::dead_letters::{DeadLetters, folder_of};
use crate::sinks::delivery::{FLUSH, Setup, Start, Worker};
use crate::sinks::elasticsearch::ElasticSink;
use crate::sinks::influxdb::InfluxSink;
use crate::sinks::jsonl::Jsonl;
use crate::sinks::prometheus::PrometheusSink;
use crate::store::frame::Cursor;
use crate::store::{FrameReader, Opened, Store, StoreSettings};

/// Bytes of dead letters kept for each sink.
const DEAD_LETTERS_MAX: u64 = 256 << 20;
/// How long stopping may take after the sinks have flushed.
const STOP_REST: Duration = Duration::from_secs(10);

/// A running lagline.
#[derive(Debug)]
pub struct App {
    address: SocketAddr,
    clusters: Vec<ClusterHandle>,
    sinks: Vec<SinkHandle>,
    stops: Stops,
    server: JoinHandle<std::io::Result<()>>,
    scheduler: JoinHandle<()>,
    workers: Vec<(String, JoinHandle<()>)>,
    cluster_threads: Vec<thread::JoinHandle<()>>,
    store: Store,
    store_threads: Vec<thread::JoinHandle<()>>,
}

/// One token for each step of stopping.
#[derive(Debug, Default)]
struct Stops {
    beat: CancellationToken,
    sinks: CancellationToken,
    clusters: CancellationToken,
    server: CancellationToken,
}

impl App {
    /// Starts everything. Kafka and the sinks need not be reachable.
    ///
    /// # Errors
    /// What cannot be opened here: the store, the address to listen on, a sink's certificate file.
    pub async fn start(config: Config, clock: Clock, log_level: LogLevel) -> anyhow::Result<App> {
        let stops = Stops::default();
        let listener = server::bind(config.server.listen).await?;
        let address = listener
            .local_addr()
            .context("cannot tell the address listened on")?;
        let sinks = build_sinks(&config)?;
        let (store, store_threads) = open_store(&config.store)?;
        let (workers, sink_handles) = start_sinks(sinks, &config, &store, &clock, &stops.sinks);
        let (cluster_threads, clusters) =
            clusters::start(&config, &store, &clock, &stops.clusters)?;
        let state = server::State::new(
            clusters.clone(),
            sink_handles.clone(),
            store.clone(),
            config.server.clone(),
            config.interval,
            clock.clone(),
            log_level,
        );
        let state = Arc::new(state.stopped_by(stops.server.clone()));
        if let Some(cluster) = clusters.first() {
            let (beats, stop) = (cluster.latest.clone(), stops.server.clone());
            let state = Arc::clone(&state);
            spawn(memory::give_back(
                beats,
                move || state.forget_old_metrics(),
                stop,
            ));
        }
        let server = spawn(server::serve(listener, state));
        let scheduler = Scheduler {
            interval: config.interval,
            clock: clock.clone(),
            clusters: clusters
                .iter()
                .map(|c| (c.name.clone(), c.commands.clone()))
                .collect(),
            journal: StoreJournal {
                store: store.clone(),
                sinks: sink_handles.clone(),
                clock,
            },
        };
        let scheduler = spawn(scheduler.run(stops.beat.clone()));
        let page = format!("http://{address}/");
        tracing::info!(%address, page, clusters = clusters.len(), sinks = sink_handles.len(), "started");
        Ok(App {
            address,
            clusters,
            sinks: sink_handles,
            stops,
            server,
            scheduler,
            workers,
            cluster_threads,
            store,
            store_threads,
        })
    }

    /// Where lagline is served.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The clusters that are watched.
    pub fn clusters(&self) -> &[ClusterHandle] {
        &self.clusters
    }

    /// The sinks that are written to.
    pub fn sinks(&self) -> &[SinkHandle] {
        &self.sinks
    }

    /// Where to see how each cluster is doing.
    pub fn health(&self) -> Vec<(ClusterName, watch::Receiver<ClusterHealth>)> {
        self.clusters
            .iter()
            .map(|c| (c.name.clone(), c.health.clone()))
            .collect()
    }

    /// Waits until something ends that should not.
    ///
    /// # Errors
    /// Always: the name of what ended.
    pub async fn unexpected_end(&mut self) -> anyhow::Result<()> {
        tokio::select! {
            ended = &mut self.server => {
                ended.context("the server panicked")?.context("the server failed")?;
                anyhow::bail!("the server ended unexpectedly")
            }
            ended = &mut self.scheduler => {
                ended.context("the scheduler panicked")?;
                anyhow::bail!("the scheduler ended unexpectedly")
            }
        }
    }

    /// Stops everything in order. Undelivered points stay in the store.
    pub async fn stop(self) {
        self.stops.beat.cancel();
        finished("scheduler", self.scheduler, STOP_REST).await;
        self.stops.sinks.cancel();
        for (name, worker) in self.workers {
            finished(&name, worker, FLUSH + STOP_REST).await;
        }
        self.stops.clusters.cancel();
        self.stops.server.cancel();
        finished("server", self.server, Duration::from_secs(2)).await;
        // They save what they remember.
        ended("clusters", self.cluster_threads).await;
        self.store.close().await;
        // The store's threads end with the last handle.
        drop((self.store, self.clusters, self.sinks));
        ended("store", self.store_threads).await;
        tracing::info!("stopped");
    }
}

/// Waits for threads, but not for ever.
async fn ended(name: &str, threads: Vec<thread::JoinHandle<()>>) {
    let joined = tokio::task::spawn_blocking(move || {
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread panicked while stopping");
            }
        }
    });
    finished(name, joined, STOP_REST).await;
}

/// Waits for a task, but not for ever.
async fn finished<T>(name: &str, task: JoinHandle<T>, limit: Duration) {
    match tokio::time::timeout(limit, task).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) if error.is_panic() => tracing::error!(task = name, "panicked"),
        Ok(Err(_)) => {}
        Err(_) => tracing::warn!(task = name, "did not stop in time"),
    }
}

#[allow(clippy::disallowed_methods, reason = "the one place that spawns tasks")]
fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(future)
}

/// Runs `work` on a thread with a name.
fn spawn_thread(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> anyhow::Result<thread::JoinHandle<()>> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .with_context(|| format!("cannot start the thread {name}"))
}

fn open_store(config: &StoreConfig) -> anyhow::Result<(Store, Vec<thread::JoinHandle<()>>)> {
    let settings = StoreSettings {
        max_size: config.max_size,
        tail_bytes: usize::try_from(config.memory).unwrap_or(usize::MAX),
        journal_keep: config.journal,
        raw_keep: config.raw,
        rollup_5m_keep: config.rollup_5m,
        rollup_1h_keep: config.rollup_1h,
    };
    let Opened {
        store,
        writer,
        loader,
        historian,
        sealer,
    } = Store::open(config.path.as_deref(), settings)?;
    let writer = spawn_thread("store writer", move || writer.run())?;
    let loader = spawn_thread("store loader", move || loader.run())?;
    let historian = spawn_thread("historian", move || historian.run())?;
    let sealer = spawn_thread("store sealer", move || sealer.run())?;
    Ok((store, vec![writer, loader, historian, sealer]))
}

type Built = (String, SinkConfig, Arc<dyn Sink>);

fn build_sinks(config: &Config) -> anyhow::Result<Vec<Built>> {
    let mut built = Vec::new();
    for (name, sink) in &config.sinks {
        let object = build_sink(&sink.kind).with_context(|| format!("sink {name}"))?;
        built.push((name.clone(), sink.clone(), object));
    }
    Ok(built)
}

/// The sink of a configured kind.
///
/// # Errors
/// When a certificate file cannot be read, or a secret cannot be sent.
pub fn build_sink(kind: &SinkKind) -> anyhow::Result<Arc<dyn Sink>> {
    Ok(match kind {
        SinkKind::Influxdb(settings) => Arc::new(InfluxSink::new(settings.clone())?),
        SinkKind::Elasticsearch(settings) => Arc::new(ElasticSink::new(settings.clone())?),
        SinkKind::Jsonl(settings) => Arc::new(Jsonl::new(settings.clone())),
        SinkKind::Prometheus(settings) => Arc::new(PrometheusSink::new(settings.clone())?),
    })
}

/// Where dead letters of a store are kept; none without a path.
pub fn dead_letters_folder(store: &StoreConfig) -> Option<PathBuf> {
    store.path.as_deref().map(folder_of)
}

fn start_sinks(
    sinks: Vec<Built>,
    config: &Config,
    store: &Store,
    clock: &Clock,
    stop: &CancellationToken,
) -> (Vec<(String, JoinHandle<()>)>, Vec<SinkHandle>) {
    let folder = dead_letters_folder(&config.store);
    let mut workers = Vec::new();
    let mut handles = Vec::new();
    for (name, sink, object) in sinks {
        let (cursor, source) = match store.resume(&name) {
            Some(known) => known,
            None => begin(store, &name, sink.delivery.start),
        };
        let letters = match &folder {
            Some(folder) => DeadLetters::new(folder.clone(), &name, DEAD_LETTERS_MAX),
            None => DeadLetters::nowhere(&name),
        };
        let setup = Setup {
            name: name.clone(),
            sink: object,
            settings: sink.delivery,
            interval: config.interval,
            cursor,
            letters,
            clock: clock.clone(),
            rng: fastrand::Rng::new(),
            stop: stop.clone(),
        };
        let (worker, health) = Worker::new(setup, source, store.clone());
        handles.push(SinkHandle {
            name: name.clone(),
            kind: sink.kind.word(),
            health,
        });
        workers.push((name, spawn(worker.run())));
    }
    (workers, handles)
}

/// Where a sink begins that was never there before.
fn begin(store: &Store, name: &str, start: Start) -> (Cursor, FrameReader) {
    let seq = match start {
        Start::Newest => store.newest(),
        Start::Oldest => store.before_oldest(),
    };
    let cursor = Cursor {
        seq,
        ..Cursor::default()
    };
    store.stage_cursor(name, cursor.clone());
    (cursor, store.reader(seq))
}

/// Makes the beat's evaluations and the sinks' own state durable.
#[derive(Debug)]
struct StoreJournal {
    store: Store,
    sinks: Vec<SinkHandle>,
    clock: Clock,
}

impl Journal for StoreJournal {
    async fn append(&self, beat: Timestamp, evaluations: Vec<Arc<Evaluation>>, is_first: bool) {
        let now = self.clock.now();
        let sinks = self.sinks.iter().filter(|_| is_first);
        let rows = sinks.filter_map(|sink| sink.row(&self.store, now));
        let rows = rows.collect();
        match self.store.append(evaluations, rows, beat).await {
            Ok(appended) => {
                for cluster in &appended.skipped {
                    tracing::debug!(%cluster, ?beat, "not newer than the journal; served only");
                }
            }
            // The store says so in /health, and goes on in memory.
            Err(error) => tracing::debug!(%error, ?beat, "not journaled"),
        }
    }
}
