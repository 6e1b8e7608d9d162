//! The loop itself.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::flights::Flights;
use super::ledger::{Ledger, Outcome};
use super::queue::{Queue, Work};
use super::reading::Reading;
use super::{CursorStore, DeliverySettings, FrameSource, Selection, SinkHealth, State, Traffic};
use crate::clock::{Clock, Timestamp};
use crate::points::Batch;
use crate::sinks::dead_letters::DeadLetters;
use crate::sinks::{Accepted, Sink, WriteError};
use crate::store::frame::{Cursor, Missing, Next};

use failing::{Failing, Failure, Repeats, after};

mod answers;
mod failing;

/// How long a worker goes on delivering after it was told to stop.
pub const FLUSH: Duration = Duration::from_secs(10);

/// A worker reads no further while so many rows are not settled (and always at least one frame).
/// A row takes about 200 bytes in memory.
const OPEN_ROWS: u64 = 200_000;

/// What a worker is given.
#[derive(Debug)]
pub struct Setup {
    /// The operator's name of the sink.
    pub name: String,
    pub sink: Arc<dyn Sink>,
    pub settings: DeliverySettings,
    /// Time between two beats.
    pub interval: Duration,
    /// How far the sink is; the source begins with the frame after it.
    pub cursor: Cursor,
    pub letters: DeadLetters,
    pub clock: Clock,
    /// The jitter of the waits.
    pub rng: fastrand::Rng,
    pub stop: CancellationToken,
}

/// Delivers the journal to one sink.
pub struct Worker<S, C> {
    setup: Setup,
    source: Reading<S>,
    cursors: C,
    selection: Selection,
    queue: Queue,
    ledger: Ledger,
    flights: Flights<Landing>,
    is_prepared: bool,
    failing: Option<Failing>,
    /// The most points in a request, as the server taught, and full requests in a row.
    limit: usize,
    full: u32,
    traffic: Traffic,
    last_rejection: Option<String>,
    rejections: Repeats,
    health: watch::Sender<SinkHealth>,
}

/// A request that ended.
enum Landing {
    Prepared(Result<(), WriteError>),
    Wrote {
        work: Work,
        is_probe: bool,
        result: Result<Accepted, WriteError>,
    },
}

impl<S, C> fmt::Debug for Worker<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("setup", &self.setup)
            .finish_non_exhaustive()
    }
}

impl<S: FrameSource + 'static, C: CursorStore> Worker<S, C> {
    /// A worker, and where to see how its sink is doing.
    pub fn new(setup: Setup, source: S, cursors: C) -> (Self, watch::Receiver<SinkHealth>) {
        let settings = &setup.settings;
        let limit = settings.max_points.max(1);
        let ledger = Ledger::new(setup.cursor.clone());
        let one_beat = setup.sink.has_one_beat_a_request();
        let (health, watched) = watch::channel(SinkHealth {
            settled: setup.cursor.clone(),
            max_points: limit,
            ..SinkHealth::default()
        });
        let worker = Self {
            selection: Selection::new(settings, setup.interval)
                .only(|measurement| setup.sink.takes(measurement)),
            queue: Queue::new(limit, settings.max_bytes, one_beat),
            setup,
            source: Reading::new(source),
            cursors,
            ledger,
            flights: Flights::new(),
            is_prepared: false,
            failing: None,
            limit,
            full: 0,
            traffic: Traffic::default(),
            last_rejection: None,
            rejections: Repeats::default(),
            health,
        };
        (worker, watched)
    }

    /// Delivers until it is told to stop, and then for up to [`FLUSH`] what is journaled already.
    pub async fn run(mut self) {
        let mut deadline: Option<Instant> = None;
        loop {
            tokio::task::coop::consume_budget().await;
            self.read_on().await;
            self.launch();
            self.publish();
            if deadline.is_some_and(|deadline| self.is_done(deadline)) {
                break;
            }
            let retry_at = self
                .failing
                .as_ref()
                .filter(|it| !it.is_due)
                .map(|it| it.retry_at);
            let retry_at = retry_at.filter(|_| self.flights.is_empty());
            tokio::select! {
                biased;
                () = until(deadline) => break,
                () = self.setup.stop.cancelled(), if deadline.is_none() => {
                    deadline = Some(after(FLUSH));
                }
                landing = self.flights.landed() => self.land(landing).await,
                () = until(retry_at) => self.failing.iter_mut().for_each(|it| it.is_due = true),
                next = self.source.next(), if self.has_room() => self.take(next),
            }
        }
        tracing::info!(
            sink = %self.setup.name,
            open_rows = self.ledger.rows(),
            "sink stopped; what is not delivered is kept"
        );
        self.health
            .send_modify(|health| health.state = State::Stopped);
    }

    /// Whether stopping has come to its end before the deadline.
    fn is_done(&self, deadline: Instant) -> bool {
        let waits_too_long = self
            .failing
            .as_ref()
            .is_some_and(|failing| failing.retry_at >= deadline);
        self.flights.is_empty() && (self.queue.is_empty() || waits_too_long)
    }

    fn in_flight(&self) -> usize {
        if self.setup.sink.is_ordered() {
            1
        } else {
            self.setup.settings.in_flight.max(1)
        }
    }

    fn has_room(&self) -> bool {
        self.queue.len() <= self.in_flight() && self.ledger.rows() < OPEN_ROWS
    }

    /// Reads what is there, without waiting for more.
    async fn read_on(&mut self) {
        while self.has_room() {
            let next = tokio::select! {
                biased;
                next = self.source.next() => next,
                () = std::future::ready(()) => return,
            };
            self.take(next);
        }
    }

    fn take(&mut self, next: Next) {
        match next {
            Next::Frame(frame) if self.is_too_old(frame.beat) => self.ledger.open_expired(&frame),
            Next::Frame(frame) => {
                let selected = self.queue.add(&frame, &self.selection);
                self.ledger.open(&frame, selected);
            }
            Next::Hole(hole) => {
                let why = match &hole.why {
                    Missing::Expired => "they fell off the journal",
                    Missing::Corrupt(why) => why,
                };
                tracing::error!(
                    sink = %self.setup.name,
                    rows = hole.rows,
                    first = hole.first.0,
                    last = hole.last.0,
                    why,
                    "frames are missing for this sink"
                );
                self.cursors.note_hole(&self.setup.name, &hole);
                self.ledger.hole(&hole);
            }
        }
        self.advance();
    }

    fn is_too_old(&self, beat: Timestamp) -> bool {
        let now = self.setup.clock.now();
        self.setup
            .settings
            .max_age
            .is_some_and(|age| beat < now.minus(age))
    }

    fn advance(&mut self) {
        if let Some(cursor) = self.ledger.advance() {
            self.cursors.stage(&self.setup.name, cursor);
        }
    }

    /// Begins what may be begun: preparing first; one request while failing, a few otherwise.
    fn launch(&mut self) {
        loop {
            let slots = if self.failing.is_some() || !self.is_prepared {
                1
            } else {
                self.in_flight()
            };
            let is_waiting = self.failing.as_ref().is_some_and(|failing| !failing.is_due);
            if self.flights.len() >= slots || is_waiting {
                return;
            }
            let sink = Arc::clone(&self.setup.sink);
            let limit = self.setup.settings.timeout;
            if !self.is_prepared {
                self.flights.launch(Box::pin(async move {
                    let result = timeout(limit, sink.prepare()).await;
                    Landing::Prepared(result.unwrap_or_else(|_| Err(too_slow(limit))))
                }));
                return;
            }
            let Some(work) = self.next_work() else { return };
            self.traffic.attempts += 1;
            self.traffic.retries += u64::from(work.is_retry);
            let is_probe = self.failing.is_some();
            self.flights.launch(Box::pin(async move {
                let result = timeout(limit, sink.write(&work.batch)).await;
                let result = result.unwrap_or_else(|_| Err(too_slow(limit)));
                Landing::Wrote {
                    work,
                    is_probe,
                    result,
                }
            }));
        }
    }

    /// The oldest work, without the points that have become too old.
    fn next_work(&mut self) -> Option<Work> {
        while let Some(work) = self.queue.take(self.limit) {
            if self.setup.settings.max_age.is_none() {
                return Some(work);
            }
            let (old, fresh): (Vec<_>, Vec<_>) = (0..work.batch.len()).partition(|index| {
                work.batch
                    .get(*index)
                    .is_some_and(|point| self.is_too_old(point.at()))
            });
            if old.is_empty() {
                return Some(work);
            }
            self.settle(&work.batch, old.into_iter(), Outcome::Expired);
            if !fresh.is_empty() {
                return Some(work.subset(&fresh));
            }
        }
        None
    }

    fn settle(&mut self, batch: &Batch, indexes: impl Iterator<Item = usize>, outcome: Outcome) {
        let mut run: Option<(crate::store::frame::Seq, u64)> = None;
        for frame in indexes.filter_map(|index| batch.frame_of(index)) {
            match &mut run {
                Some((seq, points)) if *seq == frame.seq => *points += 1,
                _ => {
                    if let Some((seq, points)) = run.replace((frame.seq, 1)) {
                        self.ledger.settle(seq, outcome, points);
                    }
                }
            }
        }
        if let Some((seq, points)) = run {
            self.ledger.settle(seq, outcome, points);
        }
        self.advance();
    }

    fn publish(&self) {
        let health = SinkHealth {
            state: match &self.failing {
                None if !self.is_prepared => State::Starting,
                None => State::Delivering,
                Some(Failing {
                    kind,
                    reason,
                    since,
                    next_try,
                    ..
                }) => {
                    let (reason, since, next_try) = (reason.clone(), *since, *next_try);
                    match kind {
                        Failure::Transient => State::Retrying {
                            reason,
                            since,
                            next_try,
                        },
                        Failure::Misconfigured => State::Misconfigured {
                            reason,
                            since,
                            next_try,
                        },
                    }
                }
            },
            settled: self.ledger.settled().clone(),
            traffic: self.traffic,
            max_points: self.limit,
            last_rejection: self.last_rejection.clone(),
        };
        self.health.send_if_modified(|known| {
            let is_new = *known != health;
            if is_new {
                *known = health;
            }
            is_new
        });
    }
}

/// Waits for a moment; for ever when there is none.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

fn too_slow(limit: Duration) -> WriteError {
    let reason = format!("no answer within {:.1} s", limit.as_secs_f32());
    WriteError::Transient {
        reason,
        retry_after: None,
    }
}
