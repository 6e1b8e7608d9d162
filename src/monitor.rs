//! Owns one cluster's state: applies what the readers send, and evaluates at the beat.
//!
//! One monitor runs on a thread of its own with a single-threaded runtime, so that applying a
//! backlog or evaluating a million partitions blocks nobody else, and a panic ends this cluster
//! only. It asks Kafka nothing itself: log offsets come from the log-offset thread by request.
//!
//! At a beat the order is the point: apply what has arrived, stop applying, have the log end
//! offsets fetched, evaluate. End offsets are thus never older than the commits they are compared
//! with, and lag is never understated.

mod keeping;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub use self::keeping::Keeper;
use self::keeping::Saved;
use crate::clock::{Clock, Stopwatch, Timestamp};
use crate::kafka::log_offsets::{LogAnswer, LogHistory, LogRequest, TopicChange};
use crate::lag::cluster::{Cluster, GroupWindows};
use crate::lag::evaluation::{Evaluation, Phase};
use crate::lag::event::{Connection, Event, EventBatch, ReaderPosition};
use crate::lag::optional::MaybeF32;
use crate::store::StoreError;

/// Batches that may wait for a monitor before its reader has to.
pub const EVENT_QUEUE: usize = 8;
/// Questions that may wait for a monitor.
pub const COMMAND_QUEUE: usize = 64;
/// How long the store may take for a snapshot when lagline stops.
const SAVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Requests that may wait for a log-offset thread.
pub const LOG_QUEUE: usize = 4;

/// What a monitor can be asked.
#[derive(Debug)]
pub enum Command {
    /// Evaluate at this beat.
    Beat {
        at: Timestamp,
        reply: oneshot::Sender<Arc<Evaluation>>,
    },
    /// The windows of a group; `None` when the group is unknown.
    Windows {
        group: String,
        reply: oneshot::Sender<Option<GroupWindows>>,
    },
    /// Forget a group, or one topic of it, until the next commit; whether there was anything.
    Forget {
        group: String,
        topic: Option<String>,
        reply: oneshot::Sender<bool>,
    },
}

/// How a cluster began in this process.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum StartKind {
    /// From nothing: there was no snapshot.
    #[default]
    Cold,
    /// Where another process has stopped.
    Warm,
    /// From nothing, because the snapshot could not be used, and why.
    Refused(String),
}

/// What was saved for the next start.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct SnapshotHealth {
    /// The moment of the last one; absent before the first.
    pub saved_at: Option<Timestamp>,
    pub bytes: u64,
    /// How long the cluster stood still for it.
    pub pause: Duration,
    /// Why there is none since.
    pub problem: Option<String>,
}

/// How a cluster is to be seen from outside.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterHealth {
    pub phase: Phase,
    pub up: bool,
    /// Why not up, with the next step.
    pub reason: Option<String>,
    /// Since when the cluster does not answer.
    pub unreachable_since: Option<Timestamp>,
    /// How often this cluster's tasks had to be started again after one ended unexpectedly.
    pub restarts: u64,
    pub start: StartKind,
    pub snapshot: SnapshotHealth,
}

impl ClusterHealth {
    /// The health before anything is known.
    pub fn starting(now: Timestamp) -> Self {
        Self {
            phase: Phase::Waiting,
            up: false,
            reason: Some("not connected yet".to_owned()),
            unreachable_since: Some(now),
            restarts: 0,
            start: StartKind::default(),
            snapshot: SnapshotHealth::default(),
        }
    }
}

/// How often things happen, and how long they may take.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// The beat.
    pub interval: Duration,
    /// How often end offsets are polled for the rules' ring.
    pub offset_refresh: Duration,
}

impl Timing {
    /// How long a fetch of log offsets may take before the beat goes on without it.
    fn fetch_timeout(&self) -> Duration {
        (self.interval / 2).clamp(Duration::from_millis(200), Duration::from_secs(5))
    }
}

/// The ends of a monitor's channels, which outlive a restart of it.
#[derive(Clone, Debug)]
pub struct Channels {
    pub commands: Arc<Mutex<mpsc::Receiver<Command>>>,
    pub latest: watch::Sender<Option<Arc<Evaluation>>>,
    pub health: watch::Sender<ClusterHealth>,
}

impl Channels {
    fn set_snapshot(&self, change: impl FnOnce(&mut SnapshotHealth)) {
        // Nobody waits for it.
        self.health.send_if_modified(|health| {
            change(&mut health.snapshot);
            false
        });
    }
}

/// Where a monitor's facts come from; both end with its threads.
#[derive(Debug)]
pub struct Inputs {
    /// What the reader reads.
    pub events: mpsc::Receiver<EventBatch>,
    /// Questions to the log-offset thread.
    pub log: mpsc::Sender<LogRequest>,
}

/// One cluster's owner.
#[derive(Debug)]
pub struct Monitor {
    cluster: Cluster,
    timing: Timing,
    clock: Clock,
    events: mpsc::Receiver<EventBatch>,
    log: mpsc::Sender<LogRequest>,
    channels: Channels,
    /// Opened once end offsets are known: the reader starts then.
    gate: Option<oneshot::Sender<()>>,
    was_running: bool,
    next_poll: Timestamp,
    /// How far the offsets topic is applied; absent while nobody could go on from there.
    position: Option<ReaderPosition>,
    keeper: Option<Keeper>,
    /// A beat has just been answered.
    is_after_beat: bool,
}

type Pending<T> = Option<oneshot::Receiver<T>>;

impl Monitor {
    /// A monitor of `cluster` that has seen nothing yet. `gate` is opened once end offsets are known:
    /// the reader starts then.
    pub fn new(
        cluster: Cluster,
        timing: Timing,
        clock: Clock,
        inputs: Inputs,
        channels: Channels,
        gate: oneshot::Sender<()>,
    ) -> Self {
        let next_poll = clock.now();
        Self {
            cluster,
            timing,
            clock,
            events: inputs.events,
            log: inputs.log,
            channels,
            gate: Some(gate),
            was_running: false,
            next_poll,
            position: None,
            keeper: None,
            is_after_beat: false,
        }
    }

    /// Saves the cluster now and then, and when it stops.
    #[must_use]
    pub fn kept_by(self, keeper: Option<Keeper>) -> Self {
        Self { keeper, ..self }
    }

    /// Works until `stop` is cancelled, or a channel it lives from is closed.
    pub async fn run(mut self, stop: CancellationToken) {
        let commands = Arc::clone(&self.channels.commands);
        let mut commands = commands.lock().await;
        let mut poll: Pending<LogAnswer> = self.ask_fetch();
        let mut history: Pending<Vec<LogHistory>> = None;
        let mut saving: Option<Saved> = None;
        // A log-offset thread that is gone is started again with the whole cluster.
        while !self.log.is_closed() {
            let wait = self.until_next_poll();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(command) = commands.recv() => self.command(command, &mut poll).await,
                answer = answered(&mut poll) => self.polled(answer),
                answer = answered(&mut history) => self.history_answered(answer),
                outcome = answered(&mut saving) => self.saved(outcome),
                () = tokio::time::sleep(wait), if poll.is_none() => {
                    poll = self.poll_if_due();
                }
                batch = self.events.recv(), if self.gate.is_none() => match batch {
                    Some(batch) => self.apply(&batch).await,
                    None => return,
                },
            }
            if history.is_none() {
                history = self.ask_history();
            }
            if std::mem::take(&mut self.is_after_beat) && saving.is_none() {
                saving = self.save_if_due();
            }
        }
        if stop.is_cancelled() {
            self.save_at_end(saving).await;
        }
    }

    fn save_if_due(&mut self) -> Option<Saved> {
        let now = self.clock.now();
        let keeper = self.keeper.as_mut().filter(|keeper| keeper.is_due(now))?;
        keeper.save(
            &mut self.cluster,
            self.position.as_ref(),
            now,
            &self.channels,
        )
    }

    fn saved(&self, outcome: Option<Result<(), StoreError>>) {
        if let Some(keeper) = &self.keeper {
            keeper.saved(outcome, &self.channels);
        }
    }

    /// Saves the cluster once more, with all that has arrived.
    async fn save_at_end(&mut self, mut saving: Option<Saved>) {
        if let Some(outcome) = finished(saving.take(), SAVE_TIMEOUT).await {
            self.saved(Some(outcome));
        }
        self.apply_arrived();
        let now = self.clock.now();
        let saving = self.keeper.as_mut().and_then(|keeper| {
            keeper.save(
                &mut self.cluster,
                self.position.as_ref(),
                now,
                &self.channels,
            )
        });
        if saving.is_some() {
            let outcome = finished(saving, SAVE_TIMEOUT).await;
            self.saved(outcome);
        }
    }

    async fn command(&mut self, command: Command, poll: &mut Pending<LogAnswer>) {
        match command {
            Command::Beat { at, reply } => {
                // One fetch at a time: what a poll in flight brings is older than this beat.
                if let Some(answer) = finished(poll.take(), self.timing.fetch_timeout()).await {
                    self.take_answer(&answer, true);
                }
                self.apply_arrived();
                let evaluation = self.evaluate(at, self.is_poll(at)).await;
                // The scheduler may have given up on this beat; the evaluation is served anyway.
                reply.send(evaluation).ok();
                self.is_after_beat = true;
            }
            Command::Windows { group, reply } => {
                reply.send(self.cluster.windows(&group)).ok();
            }
            Command::Forget {
                group,
                topic,
                reply,
            } => {
                let was_there = self.cluster.forget(&group, topic.as_deref());
                if self.cluster.windows(&group).is_none() {
                    self.serve_without(&group);
                }
                reply.send(was_there).ok();
            }
        }
    }

    /// Takes a group out of the served evaluation: until the next beat no list names it any more.
    fn serve_without(&self, group: &str) {
        self.channels.latest.send_if_modified(|latest| {
            let Some(served) = latest.as_ref().filter(|e| e.group(group).is_some()) else {
                return false;
            };
            let mut without = Evaluation::clone(served);
            without.groups.retain(|other| other.id.as_str() != group);
            *latest = Some(Arc::new(without));
            true
        });
    }

    /// Applies everything that waits right now; what arrives meanwhile waits for the next round.
    fn apply_arrived(&mut self) {
        if self.gate.is_some() {
            return;
        }
        for _ in 0..self.events.len() {
            let Ok(batch) = self.events.try_recv() else {
                return;
            };
            self.take_batch(&batch);
        }
    }

    fn take_batch(&mut self, batch: &EventBatch) {
        self.cluster.apply_batch(batch, self.clock.now());
        self.position = batch.position().cloned();
    }

    async fn apply(&mut self, batch: &EventBatch) {
        self.take_batch(batch);
        self.publish_health();
        if !self.was_running && self.cluster.phase() == Phase::Running {
            // The first evaluation is made at once and served; the journal waits for the beat.
            self.was_running = true;
            self.evaluate(self.clock.now(), false).await;
        }
    }

    async fn evaluate(&mut self, at: Timestamp, poll: bool) -> Arc<Evaluation> {
        let timeout = self.timing.fetch_timeout();
        let asked = self.ask_fetch();
        match finished(asked, timeout).await {
            Some(answer) => self.take_answer(&answer, poll),
            None => self.unanswered(timeout),
        }
        let watch = Stopwatch::start();
        let mut evaluation = self.cluster.evaluate(at);
        let took = watch.elapsed();
        evaluation.summary.evaluate_ms = MaybeF32::some(took.as_secs_f32() * 1000.0);
        let evaluation = Arc::new(evaluation);
        self.channels
            .latest
            .send_replace(Some(Arc::clone(&evaluation)));
        self.publish_health();
        evaluation
    }

    fn ask_fetch(&mut self) -> Pending<LogAnswer> {
        let (reply, answer) = oneshot::channel();
        let request = LogRequest::Fetch {
            asked: self.cluster.ask_topics(),
            timeout: self.timing.fetch_timeout(),
            reply,
        };
        self.log.try_send(request).ok()?;
        Some(answer)
    }

    fn take_answer(&mut self, answer: &LogAnswer, poll: bool) {
        let now = self.clock.now();
        self.cluster
            .apply(Event::Connection(&answer.connection), now);
        for change in &answer.changes {
            let event = match change {
                TopicChange::Changed {
                    topic,
                    id,
                    partitions,
                    until,
                } => Event::TopicChanged {
                    topic: topic.as_str(),
                    id: *id,
                    partitions: *partitions,
                    until: *until,
                },
                TopicChange::Deleted { topic, until } => Event::TopicDeleted {
                    topic: topic.as_str(),
                    until: *until,
                },
            };
            self.cluster.apply(event, now);
        }
        for log in &answer.topics {
            let topic = log.topic.as_str();
            let (partitions, at) = (log.partitions.as_slice(), answer.answered_at);
            self.cluster.apply(
                Event::LogOffsets {
                    topic,
                    partitions,
                    at,
                    poll,
                },
                now,
            );
        }
        self.connection(&answer.connection, now);
        if answer.connection.up
            && let Some(gate) = self.gate.take()
        {
            // A reader that is gone already is being restarted with this monitor.
            gate.send(()).ok();
        }
    }

    fn unanswered(&mut self, timeout: Duration) {
        let reason = format!("no answer within {} ms", timeout.as_millis());
        let connection = Connection {
            reason: Some(reason),
            ..Connection::default()
        };
        self.cluster
            .apply(Event::Connection(&connection), self.clock.now());
        self.connection(&connection, self.clock.now());
    }

    fn connection(&self, connection: &Connection, now: Timestamp) {
        self.channels.health.send_if_modified(|health| {
            let since = if connection.up {
                None
            } else {
                health.unreachable_since.or(Some(now))
            };
            let changed = health.up != connection.up || health.reason != connection.reason;
            health.up = connection.up;
            health.reason.clone_from(&connection.reason);
            health.unreachable_since = since;
            changed
        });
    }

    fn publish_health(&self) {
        let phase = self.cluster.phase();
        self.channels.health.send_if_modified(|health| {
            let changed = health.phase != phase;
            health.phase = phase;
            changed
        });
    }

    /// Polls fall on multiples of `offset_refresh`; where a beat falls on the same moment, its
    /// fetch is the poll.
    fn is_poll(&self, at: Timestamp) -> bool {
        at.aligned(self.timing.offset_refresh) == at
            || self.timing.interval >= self.timing.offset_refresh
    }

    fn until_next_poll(&self) -> Duration {
        let ms = self.next_poll.ms_since(self.clock.now()).max(0);
        Duration::from_millis(ms.unsigned_abs()).min(self.timing.offset_refresh)
    }

    fn poll_if_due(&mut self) -> Pending<LogAnswer> {
        let now = self.clock.now();
        let refresh = self.timing.offset_refresh;
        // Further away than one refresh: the clock was stepped back, and the poll is due by the new time.
        if now < self.next_poll && self.next_poll <= now.plus(refresh) {
            return None;
        }
        let due = now.aligned(refresh);
        self.next_poll = due.plus(refresh);
        let is_beat = due.aligned(self.timing.interval) == due;
        if is_beat && self.gate.is_none() {
            None
        } else {
            self.ask_fetch()
        }
    }

    fn polled(&mut self, answer: Option<LogAnswer>) {
        if let Some(answer) = answer {
            self.take_answer(&answer, true);
        }
    }

    fn ask_history(&mut self) -> Pending<Vec<LogHistory>> {
        let questions = self.cluster.questions(self.clock.now());
        if questions.is_empty() {
            return None;
        }
        let (reply, answer) = oneshot::channel();
        let timeout = Duration::from_secs(30);
        self.log
            .try_send(LogRequest::History {
                questions,
                timeout,
                reply,
            })
            .ok()?;
        Some(answer)
    }

    fn history_answered(&mut self, answer: Option<Vec<LogHistory>>) {
        let now = self.clock.now();
        for history in answer.unwrap_or_default() {
            let (topic, partition) = (history.topic.as_str(), history.partition);
            let points = history.points.as_slice();
            self.cluster.apply(
                Event::LogHistory {
                    topic,
                    partition,
                    points,
                },
                now,
            );
        }
    }
}

/// Waits for a pending answer, for ever when nothing is pending; clears it. `None` when whoever
/// should answer is gone.
async fn answered<T>(pending: &mut Pending<T>) -> Option<T> {
    match pending {
        None => std::future::pending().await,
        Some(receiver) => {
            let answer = receiver.await.ok();
            *pending = None;
            answer
        }
    }
}

/// The answer, unless it takes longer than `timeout` (plus the time to hand it over).
async fn finished<T>(pending: Pending<T>, timeout: Duration) -> Option<T> {
    let mut receiver = pending?;
    let limit = timeout + Duration::from_millis(250);
    match tokio::time::timeout(limit, &mut receiver).await {
        Ok(answer) => answer.ok(),
        Err(_) => {
            // Whoever answers later than this learns that nobody heard it.
            receiver.close();
            receiver.try_recv().ok()
        }
    }
}

#[cfg(test)]
mod tests;
