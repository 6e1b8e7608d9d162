//! A journal, a server and a clock that a test owns.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::super::*;
use crate::clock::Clock;
use crate::points::{Batch, sample};
use crate::sinks::dead_letters::{DeadLetters, MAX_BYTES, list};
use crate::sinks::{Accepted, BoxFuture, CheckError, CheckReport, Sink, WriteError};
use crate::store::frame::{Body, Counts, Frame, Hole, Missing, Seq, SinkRow};

pub(super) const BEAT: Duration = Duration::from_secs(10);

/// A point: number of its frame, number of its row.
pub(super) type Id = (i64, u64);

/// What the server does with a request.
pub(super) enum Answer {
    /// Writes it all; points marked as bad are refused one by one.
    Ok,
    /// Writes nothing.
    Err(WriteError),
    /// Writes what an error says is written.
    Partial {
        rejected: Vec<usize>,
        retry: Vec<usize>,
        retry_after: Option<Duration>,
    },
    /// Never answers.
    Hang,
    /// Writes it all, and the answer never arrives.
    Lost,
}

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// How many came before it.
    pub(super) nth: usize,
    /// Virtual time since the start of the test.
    pub(super) at: Duration,
    pub(super) ids: Vec<Id>,
}

type Script = Box<dyn FnMut(&Call) -> Answer + Send>;
type Preparing = Box<dyn FnMut(usize) -> Result<(), WriteError> + Send>;

/// The server.
pub(super) struct Server {
    script: Mutex<Script>,
    preparing: Mutex<Preparing>,
    pub(super) calls: Mutex<Vec<Call>>,
    pub(super) prepared: Mutex<Vec<Duration>>,
    /// How often each point was written.
    pub(super) written: Mutex<BTreeMap<Id, u32>>,
    pub(super) busy: Mutex<(usize, usize)>,
    start: Instant,
    is_ordered: bool,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Server")
    }
}

/// Counts requests that are under way, also those that are cancelled.
struct Busy<'a>(&'a Server);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.lock().unwrap().0 -= 1;
    }
}

impl Server {
    fn store(&self, ids: impl IntoIterator<Item = Id>) {
        let mut written = self.written.lock().unwrap();
        ids.into_iter()
            .for_each(|id| *written.entry(id).or_default() += 1);
    }

    /// Virtual seconds of all requests, rounded down.
    pub(super) fn seconds(&self) -> Vec<u64> {
        self.calls
            .lock()
            .unwrap()
            .iter()
            .map(|call| call.at.as_secs())
            .collect()
    }

    /// How many points each request had.
    pub(super) fn sizes(&self) -> Vec<usize> {
        self.calls
            .lock()
            .unwrap()
            .iter()
            .map(|call| call.ids.len())
            .collect()
    }
}

fn id_of(point: &crate::points::Point<'_>) -> Id {
    let mut row = 0;
    point.tags(&mut |_, value| row = value.parse().unwrap_or(0));
    (
        (point.at().as_secs() - sample::BEAT.as_secs()) / 10 + 1,
        row,
    )
}

impl Sink for Server {
    fn write<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Accepted, WriteError>> {
        Box::pin(async move {
            let ids: Vec<Id> = batch.iter().map(|point| id_of(&point)).collect();
            assert!(!ids.is_empty(), "an empty request is useless");
            let call = {
                let mut calls = self.calls.lock().unwrap();
                let call = Call {
                    nth: calls.len(),
                    at: self.start.elapsed(),
                    ids: ids.clone(),
                };
                calls.push(call.clone());
                call
            };
            {
                let mut busy = self.busy.lock().unwrap();
                busy.0 += 1;
                busy.1 = busy.1.max(busy.0);
            }
            let _busy = Busy(self);
            sleep(Duration::from_millis(5)).await;
            let answer = self.script.lock().unwrap()(&call);
            match answer {
                Answer::Ok => {
                    let bytes = ids.len() as u64 * 100;
                    self.store(ids);
                    Ok(Accepted { bytes, known: 0 })
                }
                Answer::Err(error) => Err(error),
                Answer::Partial {
                    rejected,
                    retry,
                    retry_after,
                } => {
                    let left: BTreeSet<_> = rejected.iter().chain(&retry).collect();
                    let written = (0..ids.len()).filter(|index| !left.contains(index));
                    self.store(written.map(|index| ids[index]));
                    let rejected = rejected
                        .into_iter()
                        .map(|at| (at, "bad".to_owned()))
                        .collect();
                    Err(WriteError::Partial {
                        rejected,
                        retry,
                        retry_after,
                    })
                }
                Answer::Hang => std::future::pending().await,
                Answer::Lost => {
                    self.store(ids);
                    std::future::pending().await
                }
            }
        })
    }

    fn prepare(&self) -> BoxFuture<'_, Result<(), WriteError>> {
        Box::pin(async move {
            let nth = {
                let mut prepared = self.prepared.lock().unwrap();
                prepared.push(self.start.elapsed());
                prepared.len() - 1
            };
            self.preparing.lock().unwrap()(nth)
        })
    }

    fn check(&self) -> BoxFuture<'_, Result<CheckReport, CheckError>> {
        Box::pin(async { Ok(CheckReport { lines: Vec::new() }) })
    }

    fn is_ordered(&self) -> bool {
        self.is_ordered
    }
}

/// Everything around a worker.
pub(super) struct World {
    items: Arc<Mutex<Vec<Next>>>,
    head: watch::Sender<usize>,
    read: Arc<Mutex<usize>>,
    cursor: Arc<Mutex<Cursor>>,
    pub(super) holes: Arc<Mutex<Vec<Hole>>>,
    pub(super) server: Arc<Server>,
    pub(super) clock: Clock,
    pub(super) start: Instant,
    pub(super) settings: DeliverySettings,
    pub(super) seed: u64,
    /// How long the journal takes to fetch an item, and how many fetches were begun.
    pub(super) fetch: Duration,
    pub(super) fetches: Arc<Mutex<usize>>,
    /// How often the clock is set.
    pub(super) tick: Duration,
    /// Dead letters are synced to a real disk: not for tests that have very many.
    pub(super) keeps_letters: bool,
    folder: tempfile::TempDir,
}

pub(super) struct Source {
    items: Arc<Mutex<Vec<Next>>>,
    head: watch::Receiver<usize>,
    read: Arc<Mutex<usize>>,
    fetch: Duration,
    fetches: Arc<Mutex<usize>>,
    at: usize,
}

impl FrameSource for Source {
    async fn next(&mut self) -> Next {
        let at = self.at;
        if self.head.wait_for(|head| *head > at).await.is_err() {
            std::future::pending::<()>().await;
        }
        *self.fetches.lock().unwrap() += 1;
        if !self.fetch.is_zero() {
            sleep(self.fetch).await;
        }
        self.at += 1;
        *self.read.lock().unwrap() = self.at;
        self.items.lock().unwrap()[at].clone()
    }
}

pub(super) struct Cursors {
    cursor: Arc<Mutex<Cursor>>,
    holes: Arc<Mutex<Vec<Hole>>>,
}

impl CursorStore for Cursors {
    fn stage(&self, sink: &str, cursor: Cursor) {
        assert_eq!(sink, "test");
        assert_eq!(
            cursor.counts.waiting(),
            0,
            "a cursor stands behind settled frames: {cursor:?}"
        );
        let mut known = self.cursor.lock().unwrap();
        assert!(cursor.seq > known.seq, "a cursor goes forward");
        *known = cursor;
    }

    fn note_hole(&self, sink: &str, hole: &Hole) {
        assert_eq!(sink, "test");
        let cursor = self.cursor.lock().unwrap().seq;
        assert!(cursor < hole.first, "known before the cursor is behind it");
        self.holes.lock().unwrap().push(hole.clone());
    }
}

impl World {
    pub(super) fn new(script: impl FnMut(&Call) -> Answer + Send + 'static) -> Self {
        Self::with(script, |_| Ok(()), false)
    }

    /// The first request gets this answer, every other one succeeds.
    pub(super) fn first(answer: impl Fn() -> Answer + Send + 'static) -> Self {
        Self::new(move |call| match call.nth {
            0 => answer(),
            _ => Answer::Ok,
        })
    }

    pub(super) fn ordered(script: impl FnMut(&Call) -> Answer + Send + 'static) -> Self {
        Self::with(script, |_| Ok(()), true)
    }

    pub(super) fn with(
        script: impl FnMut(&Call) -> Answer + Send + 'static,
        preparing: impl FnMut(usize) -> Result<(), WriteError> + Send + 'static,
        is_ordered: bool,
    ) -> Self {
        let start = Instant::now();
        let server = Server {
            script: Mutex::new(Box::new(script)),
            preparing: Mutex::new(Box::new(preparing)),
            calls: Mutex::default(),
            prepared: Mutex::default(),
            written: Mutex::default(),
            busy: Mutex::default(),
            start,
            is_ordered,
        };
        Self {
            items: Arc::default(),
            head: watch::channel(0).0,
            read: Arc::default(),
            cursor: Arc::default(),
            holes: Arc::default(),
            server: Arc::new(server),
            clock: Clock::manual(sample::BEAT),
            start,
            settings: DeliverySettings {
                max_points: 100,
                ..DeliverySettings::default()
            },
            seed: 1,
            fetch: Duration::ZERO,
            fetches: Arc::default(),
            tick: Duration::from_millis(100),
            keeps_letters: true,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Journals the next frame, with so many rows.
    pub(super) fn append(&self, rows: u64) {
        let row = |row: u64| SinkRow {
            sink: row.to_string(),
            counts: Counts::default(),
            oldest_waiting_s: 0.0,
        };
        let seq = self.next_seq();
        let beat = sample::beat_of(seq);
        let body = Body::Sinks((0..rows).map(row).collect());
        self.push(Next::Frame(Arc::new(Frame {
            seq: Seq(seq),
            beat,
            rows,
            body,
        })));
    }

    pub(super) fn append_frame(&self, frame: Arc<Frame>) {
        assert_eq!(frame.seq.0, self.next_seq());
        self.push(Next::Frame(frame));
    }

    /// Journals `frames` frames that nobody can read any more.
    pub(super) fn append_hole(&self, frames: i64, rows: u64) {
        let first = self.next_seq();
        let last = first + frames - 1;
        self.push(Next::Hole(Hole {
            first: Seq(first),
            last: Seq(last),
            rows,
            after: None,
            before: sample::beat_of(last + 1),
            why: Missing::Expired,
        }));
    }

    fn push(&self, next: Next) {
        let mut items = self.items.lock().unwrap();
        items.push(next);
        self.head.send_replace(items.len());
    }

    pub(super) fn next_seq(&self) -> i64 {
        let items = self.items.lock().unwrap();
        items.last().map_or(1, |next| last_seq(next) + 1)
    }

    /// A worker that begins behind the kept cursor.
    pub(super) fn worker(
        &self,
        stop: &CancellationToken,
    ) -> (Worker<Source, Cursors>, watch::Receiver<SinkHealth>) {
        let cursor = self.cursor();
        let at = self
            .items
            .lock()
            .unwrap()
            .partition_point(|next| last_seq(next) <= cursor.seq.0);
        let source = Source {
            items: Arc::clone(&self.items),
            head: self.head.subscribe(),
            read: Arc::clone(&self.read),
            fetch: self.fetch,
            fetches: Arc::clone(&self.fetches),
            at,
        };
        let setup = Setup {
            name: "test".to_owned(),
            sink: Arc::clone(&self.server) as Arc<dyn Sink>,
            settings: self.settings.clone(),
            interval: BEAT,
            cursor,
            letters: if self.keeps_letters {
                DeadLetters::new(self.letters(), "test", MAX_BYTES)
            } else {
                DeadLetters::nowhere("test")
            },
            clock: self.clock.clone(),
            rng: fastrand::Rng::with_seed(self.seed),
            stop: stop.clone(),
        };
        let cursors = Cursors {
            cursor: Arc::clone(&self.cursor),
            holes: Arc::clone(&self.holes),
        };
        Worker::new(setup, source, cursors)
    }

    /// Runs a worker for so much virtual time, then kills it. Its last word about its health.
    pub(super) async fn run(&self, time: Duration) -> SinkHealth {
        let (worker, health) = self.worker(&CancellationToken::new());
        tokio::select! {
            () = worker.run() => panic!("a worker ends only when it is told to"),
            () = self.pass(time) => {}
        }
        health.borrow().clone()
    }

    /// Lets time pass.
    pub(super) async fn pass(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            sleep(self.tick.min(end - Instant::now())).await;
            self.clock.set(sample::BEAT.plus(self.start.elapsed()));
        }
    }

    pub(super) fn cursor(&self) -> Cursor {
        self.cursor.lock().unwrap().clone()
    }

    /// The kept counts: offered, delivered, filtered, rejected, expired.
    pub(super) fn counts(&self) -> [u64; 5] {
        let counts = self.cursor().counts;
        let Counts {
            offered,
            delivered,
            filtered,
            rejected,
            expired,
        } = counts;
        assert_eq!(offered, delivered + filtered + rejected + expired);
        [offered, delivered, filtered, rejected, expired]
    }

    /// How many items of the journal were read.
    pub(super) fn read(&self) -> usize {
        *self.read.lock().unwrap()
    }

    fn letters(&self) -> PathBuf {
        self.folder.path().join("dead-letters")
    }

    /// Points in the dead letters.
    pub(super) fn letters_kept(&self) -> u64 {
        list(&self.letters())
            .unwrap()
            .iter()
            .map(|listing| listing.letters)
            .sum()
    }

    /// How often points were written more than once.
    pub(super) fn doubles(&self) -> u32 {
        self.server
            .written
            .lock()
            .unwrap()
            .values()
            .map(|times| times - 1)
            .sum()
    }

    /// Asserts that no request had an older point than the request before it, but for points that
    /// were sent before.
    pub(super) fn assert_order(&self) {
        let mut newest: Option<Id> = None;
        for call in self.server.calls.lock().unwrap().iter() {
            assert!(call.ids.is_sorted(), "{call:?}");
            let is_again = newest.is_some_and(|newest| call.ids[0] <= newest);
            let last = *call.ids.last().unwrap();
            assert!(
                is_again || newest.is_none_or(|newest| call.ids[0] > newest),
                "{call:?}"
            );
            newest = newest.max(Some(last));
        }
    }
}

fn last_seq(next: &Next) -> i64 {
    match next {
        Next::Frame(frame) => frame.seq.0,
        Next::Hole(hole) => hole.last.0,
    }
}

pub(super) fn transient(reason: &str) -> Answer {
    Answer::Err(WriteError::Transient {
        reason: reason.to_owned(),
        retry_after: None,
    })
}

pub(super) fn retry_after(seconds: u64) -> Answer {
    let retry_after = Some(Duration::from_secs(seconds));
    Answer::Err(WriteError::Transient {
        reason: "503".to_owned(),
        retry_after,
    })
}

pub(super) fn misconfigured(reason: &str) -> WriteError {
    WriteError::Misconfigured {
        reason: reason.to_owned(),
    }
}

pub(super) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
