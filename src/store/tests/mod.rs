//! The store as a whole, through its handle.

mod crash;
mod disk;
mod journal;
mod limits;
mod names;
mod open;
mod readers;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::codec::stored_part;
use super::frame::{Body, Counts, Cursor, Frame, Hole, Next, Seq, SinkRow};
use super::{Appended, FrameReader, Store, StoreError, StoreSettings};
use crate::clock::Timestamp;
use crate::lag::evaluation::{Evaluation, Phase, Status};
use crate::lag::ids::ClusterName;
use crate::points::sample;

/// How long anything may take before a test fails instead of hanging.
const DEADLINE: Duration = Duration::from_secs(30);

/// A store with its threads, which end with it.
pub(super) struct Running {
    pub(super) store: Store,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    #[track_caller]
    pub(super) fn open(path: Option<&Path>, settings: StoreSettings) -> Self {
        unlocked(|| Self::try_open(path, settings.clone()))
    }

    fn try_open(path: Option<&Path>, settings: StoreSettings) -> Result<Self, StoreError> {
        let opened = Store::open(path, settings)?;
        let writer = opened.writer;
        let loader = opened.loader;
        let historian = opened.historian;
        let sealer = opened.sealer;
        Ok(Self {
            store: opened.store,
            threads: vec![
                std::thread::spawn(move || writer.run()),
                std::thread::spawn(move || loader.run()),
                std::thread::spawn(move || historian.run()),
                std::thread::spawn(move || sealer.run()),
            ],
        })
    }

    /// Closes the store as a shutdown does, and lets go of the file.
    pub(super) async fn close(self) {
        self.store.close().await;
        self.drop_all();
    }

    /// Waits for the threads, which end because nobody has a handle any more.
    pub(super) fn drop_all(self) {
        drop(self.store);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

/// Opens a file that was closed just now. A process that another test starts in this moment has its
/// lock until it runs its program.
#[track_caller]
pub(super) fn unlocked<T>(mut open: impl FnMut() -> Result<T, StoreError>) -> T {
    let waited = crate::clock::Stopwatch::start();
    loop {
        match open() {
            Err(StoreError::Locked { .. }) if waited.elapsed() < DEADLINE => {
                std::thread::yield_now();
            }
            opened => return opened.unwrap(),
        }
    }
}

/// A directory for one test, with a path for the store in it.
pub(super) fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lagline.db");
    (directory, path)
}

/// The evaluation of a sample frame.
pub(super) fn evaluation(seq: i64) -> Arc<Evaluation> {
    evaluation_of(&sample::small(seq))
}

fn evaluation_of(frame: &Frame) -> Arc<Evaluation> {
    match &frame.body {
        Body::Evaluation { evaluation, .. } => Arc::clone(evaluation),
        Body::Sinks(_) => panic!("a frame about a cluster"),
    }
}

/// The same evaluation for another cluster.
pub(super) fn renamed(evaluation: &Evaluation, cluster: &str) -> Arc<Evaluation> {
    Arc::new(Evaluation {
        cluster: ClusterName::new(cluster),
        ..evaluation.clone()
    })
}

/// Appends the sample evaluation of beat number `seq`.
pub(super) async fn append(store: &Store, seq: i64) -> Appended {
    let beat = sample::beat_of(seq);
    store
        .append(vec![evaluation(seq)], Vec::new(), beat)
        .await
        .unwrap()
}

async fn next(reader: &mut FrameReader) -> Next {
    tokio::time::timeout(DEADLINE, reader.next())
        .await
        .expect("there is something to read")
}

#[track_caller]
fn is_frame(next: Next) -> Arc<Frame> {
    match next {
        Next::Frame(frame) => frame,
        Next::Hole(hole) => panic!("a hole instead of a frame: {hole:?}"),
    }
}

#[track_caller]
fn is_hole(next: Next) -> Hole {
    match next {
        Next::Hole(hole) => hole,
        Next::Frame(frame) => panic!("a frame instead of a hole: {:?}", frame.seq),
    }
}

async fn next_frame(reader: &mut FrameReader) -> Arc<Frame> {
    is_frame(next(reader).await)
}

/// Whether nothing comes: the reader is at the end.
async fn is_at_end(reader: &mut FrameReader) -> bool {
    tokio::time::timeout(Duration::from_millis(1), reader.next())
        .await
        .is_err()
}

/// The frame as it is read from bytes.
fn stored(frame: &Frame) -> Frame {
    Frame {
        body: stored_part(&frame.body),
        ..frame.clone()
    }
}

fn sink_row(sink: &str) -> SinkRow {
    SinkRow {
        sink: sink.to_owned(),
        counts: Counts::default(),
        oldest_waiting_s: 0.0,
    }
}

/// Waits until a condition holds.
pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = crate::clock::Stopwatch::start();
    while !holds() {
        assert!(waited.elapsed() < DEADLINE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
