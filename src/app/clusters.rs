//! The threads of each cluster, and starting them again when one ends.
//!
//! A cluster has three: one reads the offsets topic, one asks for log offsets, one is the monitor,
//! which is also the supervisor's own. When any of them ends, by panic or by an error that retrying
//! cannot mend, all three end and the cluster starts from nothing, alone. Only the first start goes
//! on where another process has stopped (`warm`): what has ended unexpectedly may be the reason.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::warm::{self, KnownTopics, Warm};
use super::{Timing, spawn_thread};
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::config::clusters::ClusterSettings;
use crate::kafka::log_offsets::LogOffsets;
use crate::kafka::offsets::{OffsetsReader, ReaderEnd, ReaderStats, Refusal, Resume};
use crate::lag::cluster::Cluster;
use crate::lag::evaluation::Status;
use crate::lag::ids::{ClusterName, GroupId};
use crate::lag::settings::Settings;
use crate::monitor::{
    COMMAND_QUEUE, Channels, ClusterHealth, EVENT_QUEUE, Inputs, Keeper, LOG_QUEUE, Monitor,
    StartKind,
};
use crate::server::ClusterHandle;
use crate::store::Store;

/// The wait before a cluster is started again, doubled each time up to the second.
const RESTART_WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Starts every cluster on threads of its own.
pub(super) fn start(
    config: &Config,
    store: &Store,
    clock: &Clock,
    stop: &CancellationToken,
) -> anyhow::Result<(Vec<thread::JoinHandle<()>>, Vec<ClusterHandle>)> {
    let mut threads = Vec::new();
    let mut handles = Vec::new();
    for (name, settings) in &config.clusters {
        let (commands, inbox) = mpsc::channel(COMMAND_QUEUE);
        let (latest, latest_watch) = watch::channel(None);
        let (health, health_watch) = watch::channel(ClusterHealth::starting(clock.now()));
        let settings = Arc::new(settings.clone());
        let reader = Arc::new(ReaderStats::default());
        handles.push(ClusterHandle {
            name: name.clone(),
            latest: latest_watch,
            commands,
            health: health_watch,
            reader: Arc::clone(&reader),
            settings: Arc::clone(&settings),
        });
        let supervisor = Supervisor {
            name: name.clone(),
            timing: Timing {
                interval: config.interval,
                offset_refresh: settings.rules.offset_refresh,
            },
            settings,
            clock: clock.clone(),
            channels: Channels {
                commands: Arc::new(Mutex::new(inbox)),
                latest,
                health,
            },
            reader,
            remembered: store.last_statuses(name),
            store: store.clone(),
            snapshot_every: config.store.snapshot_every,
            stop: stop.clone(),
        };
        threads.push(spawn_thread(&format!("monitor {name}"), move || {
            supervisor.run()
        })?);
    }
    Ok((threads, handles))
}

struct Supervisor {
    name: ClusterName,
    settings: Arc<ClusterSettings>,
    timing: Timing,
    clock: Clock,
    channels: Channels,
    reader: Arc<ReaderStats>,
    /// The statuses journaled before this start.
    remembered: Vec<(GroupId, Status, Timestamp)>,
    store: Store,
    snapshot_every: Duration,
    stop: CancellationToken,
}

/// Why a life ended.
enum End {
    /// A thread of it ended.
    Thread(String),
    /// What another process has left is of no use.
    Refused(Refusal),
}

impl Supervisor {
    /// Runs the cluster until `stop` is cancelled.
    fn run(self) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(cluster = %self.name, %error, "cannot start a runtime");
                return;
            }
        };
        let mut wait = RESTART_WAIT.0;
        let mut warm = self.warm();
        loop {
            let life = self.stop.child_token();
            let warm = warm.take();
            // The cluster's state is made anew in every life: a broken one is never looked at again.
            let lived = catch_unwind(AssertUnwindSafe(|| self.live(&runtime, &life, warm)));
            life.cancel();
            if self.stop.is_cancelled() {
                return;
            }
            let why = match lived {
                Ok(Ok(End::Thread(why))) => why,
                Ok(Ok(End::Refused(refusal))) => {
                    self.refused(&refusal.to_string());
                    continue;
                }
                Ok(Err(error)) => format!("{error:#}"),
                Err(_) => "the monitor panicked".to_owned(),
            };
            tracing::error!(cluster = %self.name, "{why}; starting the cluster again in {wait:?}");
            self.channels.health.send_modify(|health| {
                health.restarts += 1;
                health.up = false;
                health.reason = Some(format!("{why}; starting again"));
                health.unreachable_since = health.unreachable_since.or(Some(self.clock.now()));
            });
            let stopped = runtime.block_on(async {
                tokio::time::timeout(wait, self.stop.cancelled())
                    .await
                    .is_ok()
            });
            if stopped {
                return;
            }
            wait = (wait * 2).min(RESTART_WAIT.1);
        }
    }

    /// One life: until a thread of it ends. Returns what ended.
    fn live(
        &self,
        runtime: &tokio::runtime::Runtime,
        life: &CancellationToken,
        warm: Option<Warm>,
    ) -> anyhow::Result<End> {
        let (cluster, resume, topics) = self.begin(warm);
        let (events, event_inbox) = mpsc::channel(EVENT_QUEUE);
        let (log, log_inbox) = mpsc::channel(LOG_QUEUE);
        let (gate, opened) = oneshot::channel::<()>();
        let kafka = &self.settings.kafka;
        let log_offsets = LogOffsets::new(
            self.name.clone(),
            kafka.clone(),
            log_inbox,
            self.clock.clone(),
            life.clone(),
        )
        .knowing(topics);
        let reader = OffsetsReader::new(
            self.name.clone(),
            kafka.clone(),
            events,
            Arc::clone(&self.reader),
            life.clone(),
        )
        .resume(resume);
        let refused = Arc::new(OnceLock::new());
        let asking = spawn_thread(&format!("log {}", self.name), move || {
            if let Err(error) = log_offsets.run() {
                tracing::error!("{error}");
            }
        })?;
        let refusal = Arc::clone(&refused);
        let reading = spawn_thread(&format!("read {}", self.name), move || {
            // End offsets are known before the first commit is read.
            if opened.blocking_recv().is_err() {
                return;
            }
            match reader.run() {
                Ok(ReaderEnd::Stopped) => {}
                Ok(ReaderEnd::Refused(why)) => refusal.set(why).unwrap_or_default(),
                Err(error) => tracing::error!("{error}"),
            }
        })?;
        let inputs = Inputs {
            events: event_inbox,
            log,
        };
        let channels = self.channels.clone();
        let monitor = Monitor::new(
            self.remembering(cluster),
            self.timing,
            self.clock.clone(),
            inputs,
            channels,
            gate,
        )
        .kept_by(self.keeper());
        runtime.block_on(monitor.run(life.clone()));
        life.cancel();
        let mut ended = "a thread of the cluster ended".to_owned();
        for (what, thread) in [("log offsets", asking), ("reader", reading)] {
            if thread.join().is_err() {
                ended = format!("the thread for {what} panicked");
            }
        }
        Ok(match refused.get() {
            Some(refusal) => End::Refused(refusal.clone()),
            None => End::Thread(ended),
        })
    }

    /// The cluster as another process has left it, or one of which nothing is known.
    fn begin(&self, warm: Option<Warm>) -> (Cluster, Option<Resume>, KnownTopics) {
        match warm {
            Some(warm) => (warm.cluster, Some(warm.resume), warm.topics),
            None => {
                let cluster = Cluster::new(self.name.clone(), self.core_settings());
                (cluster, None, KnownTopics::new())
            }
        }
    }

    /// Where another process has stopped, when there was one and what it left can be used.
    fn warm(&self) -> Option<Warm> {
        let loaded = warm::load(
            &self.store,
            &self.name,
            &self.settings,
            self.core_settings(),
        );
        match loaded {
            Ok(None) => None,
            Ok(Some(warm)) => {
                self.channels
                    .health
                    .send_modify(|health| health.start = StartKind::Warm);
                Some(warm)
            }
            Err(reason) => {
                self.refused(&reason);
                None
            }
        }
    }

    fn refused(&self, reason: &str) {
        tracing::warn!(
            cluster = %self.name,
            "the snapshot of the last run is not used, the whole offsets topic is read: {reason}"
        );
        self.channels
            .health
            .send_modify(|health| health.start = StartKind::Refused(reason.to_owned()));
    }

    fn keeper(&self) -> Option<Keeper> {
        self.store.keeps_snapshots().then(|| {
            Keeper::new(
                self.name.clone(),
                self.store.clone(),
                self.snapshot_every,
                warm::comparable(&self.settings),
            )
        })
    }

    fn core_settings(&self) -> Settings {
        let groups = self.settings.groups.clone();
        Settings {
            rules: self.settings.rules.clone(),
            limits: self.settings.limits,
            wanted: Box::new(move |group| groups.wants(group)),
        }
    }

    fn remembering(&self, mut cluster: Cluster) -> Cluster {
        for (group, status, at) in &self.remembered {
            cluster.remember_status(group.as_str(), *status, *at);
        }
        cluster
    }
}
