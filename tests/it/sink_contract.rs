//! What every kind of sink must do, whatever stands behind it. A kind joins by one [`Bench`] and one
//! test that calls [`keep`].

use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lagline::clock::{Clock, Timestamp};
use lagline::points::{Batch, Detail, OwnedPoint, sample};
use lagline::sinks::dead_letters::DeadLetters;
use lagline::sinks::delivery::{
    CursorStore, DeliverySettings, FrameSource, Setup, SinkHealth, Worker,
};
use lagline::sinks::jsonl::{Jsonl, JsonlSettings};
use lagline::sinks::{Repeated, Sink};
use lagline::store::frame::{Cursor, Frame, Hole, Next, Seq};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Points by measurement.
pub type Counts = BTreeMap<String, u64>;

/// One sink with an empty server behind it.
pub trait Bench {
    /// A sink to the same server each time.
    fn sink(&self) -> Arc<dyn Sink>;
    /// What sending a point again does.
    fn repeated(&self) -> Repeated;
    /// What the server has of everything acknowledged.
    fn counts(&self) -> impl Future<Output = Counts>;
}

/// Asserts the whole contract.
pub async fn keep(bench: &impl Bench) {
    let sink = bench.sink();
    let first = newest_seq();
    let mut expected = Expected {
        counts: Counts::new(),
        repeated: bench.repeated(),
    };

    sink.check()
        .await
        .expect("checking an empty server finds nothing wrong");
    sink.prepare().await.expect("preparing works");
    sink.prepare().await.expect("preparing is idempotent");
    expected
        .assert(bench, "neither checking nor preparing writes points")
        .await;

    sink.write(&Batch::new())
        .await
        .expect("an empty batch is nothing to do");
    expected
        .assert(bench, "an empty batch writes nothing")
        .await;

    let mut batch = Batch::of(&sample::small(first), Detail::Partition);
    add_all(&mut batch, &sample::sinks(first));
    sink.write(&batch)
        .await
        .expect("hostile names and every measurement are written");
    expected.add(&batch);
    expected.assert(bench, "as many points as were sent").await;

    sink.write(&batch).await.expect("sending again works");
    expected.assert(bench, "what was sent again").await;

    let whole = Batch::of(&sample::small(first + 1), Detail::Partition);
    let mut owned = Batch::new();
    whole
        .iter()
        .for_each(|point| owned.push_owned(Arc::new(OwnedPoint::of(&point))));
    sink.write(&owned)
        .await
        .expect("points without a frame are written");
    expected.add(&owned);
    expected.assert(bench, "points without a frame").await;
    sink.write(&whole)
        .await
        .expect("the same points with their frame");
    expected
        .assert(bench, "a point is the same with and without its frame")
        .await;

    let cancelled = Batch::of(&sample::small(first + 2), Detail::Partition);
    tokio::select! {
        biased;
        _ = sink.write(&cancelled) => {}
        () = tokio::time::sleep(Duration::from_micros(200)) => {}
    }
    sink.write(&cancelled)
        .await
        .expect("a cancelled write leaves the sink as it was");
    expected.add(&cancelled);
    expected.assert(bench, "after a cancelled write").await;

    killed_and_restarted(bench, first + 3, &mut expected).await;
}

/// A worker is killed again and again in the middle of a backlog, and each next one goes on.
async fn killed_and_restarted(bench: &impl Bench, first: i64, expected: &mut Expected) {
    const FRAMES: i64 = 40;
    let frames: Vec<_> = (first..first + FRAMES).map(sample::small).collect();
    for frame in &frames {
        expected.add(&Batch::of(frame, Detail::Partition));
    }
    let rows: u64 = frames.iter().map(|frame| frame.rows).sum();
    let cursor = Arc::new(Mutex::new(Cursor {
        seq: Seq(first - 1),
        counts: Default::default(),
    }));
    const KILLS: u64 = 200;
    for kill in 0..=KILLS {
        let from = cursor.lock().unwrap().clone();
        let (worker, mut health) = worker(bench.sink(), &frames, &cursor, from);
        // The last one has time: a slow server is no failure.
        let until = match kill {
            KILLS => Duration::from_secs(120),
            _ => Duration::from_millis(2 + kill * 2),
        };
        tokio::select! {
            () = worker.run() => panic!("nobody told it to stop"),
            () = tokio::time::sleep(until) => {}
            () = all_settled(&mut health, rows) => break,
        }
    }
    let counts = cursor.lock().unwrap().counts.clone();
    assert_eq!(
        (counts.offered, counts.delivered, counts.waiting()),
        (rows, rows, 0)
    );
    expected
        .assert(bench, "after a worker was killed again and again")
        .await;
}

async fn all_settled(health: &mut watch::Receiver<SinkHealth>, rows: u64) {
    let is_settled = |health: &SinkHealth| health.settled.counts.delivered == rows;
    if health.wait_for(is_settled).await.is_err() {
        pending::<()>().await;
    }
}

/// A worker that delivers what follows `cursor` of the frames, in small requests, and keeps its
/// cursor in `kept`.
pub fn worker(
    sink: Arc<dyn Sink>,
    frames: &[Arc<Frame>],
    kept: &Arc<Mutex<Cursor>>,
    cursor: Cursor,
) -> (Worker<Frames, Kept>, watch::Receiver<SinkHealth>) {
    let settings = DeliverySettings {
        max_points: 20,
        ..DeliverySettings::default()
    };
    worker_with(sink, frames, kept, cursor, settings)
}

/// The same with other settings.
pub fn worker_with(
    sink: Arc<dyn Sink>,
    frames: &[Arc<Frame>],
    kept: &Arc<Mutex<Cursor>>,
    cursor: Cursor,
    settings: DeliverySettings,
) -> (Worker<Frames, Kept>, watch::Receiver<SinkHealth>) {
    let left = frames
        .iter()
        .filter(|frame| frame.seq > cursor.seq)
        .cloned()
        .collect();
    let setup = Setup {
        name: "contract".to_owned(),
        sink,
        settings,
        interval: Duration::from_secs(10),
        cursor,
        letters: DeadLetters::nowhere("contract"),
        clock: Clock::system(),
        rng: fastrand::Rng::new(),
        stop: CancellationToken::new(),
    };
    Worker::new(setup, Frames(left), Kept(Arc::clone(kept)))
}

pub struct Frames(std::collections::VecDeque<Arc<Frame>>);

impl FrameSource for Frames {
    async fn next(&mut self) -> Next {
        match self.0.pop_front() {
            Some(frame) => Next::Frame(frame),
            None => pending().await,
        }
    }
}

pub struct Kept(Arc<Mutex<Cursor>>);

impl CursorStore for Kept {
    fn stage(&self, _sink: &str, cursor: Cursor) {
        *self.0.lock().unwrap() = cursor;
    }

    fn note_hole(&self, _sink: &str, hole: &Hole) {
        panic!("nothing is missing here: {hole:?}");
    }
}

/// The number whose sample beat is a while ago, but young enough for every server: one that was
/// just started takes points of the last hours only.
pub fn newest_seq() -> i64 {
    let now = Clock::system().now().minus(Duration::from_secs(1_800));
    Timestamp::ms_since(now, sample::BEAT) / 10_000
}

fn add_all(batch: &mut Batch, frame: &Arc<Frame>) {
    for place in lagline::points::places(frame, Detail::Partition) {
        batch.push(frame, place);
    }
}

struct Expected {
    counts: Counts,
    repeated: Repeated,
}

impl Expected {
    fn add(&mut self, batch: &Batch) {
        for point in batch.iter() {
            *self
                .counts
                .entry(point.measurement().name().to_owned())
                .or_default() += 1;
        }
    }

    async fn assert(&self, bench: &impl Bench, what: &str) {
        let found = bench.counts().await;
        match self.repeated {
            Repeated::Once => assert_eq!(found, self.counts, "{what}"),
            Repeated::AtLeastOnce => {
                let known: Vec<_> = found.keys().collect();
                assert_eq!(known, self.counts.keys().collect::<Vec<_>>(), "{what}");
                for (name, least) in &self.counts {
                    assert!(
                        found[name] >= *least,
                        "{what}: {name} {} of {least}",
                        found[name]
                    );
                }
            }
        }
    }
}

struct Lines(tempfile::TempDir);

impl Bench for Lines {
    fn sink(&self) -> Arc<dyn Sink> {
        Arc::new(Jsonl::new(JsonlSettings {
            path: self.0.path().join("points.jsonl"),
        }))
    }

    fn repeated(&self) -> Repeated {
        Repeated::AtLeastOnce
    }

    /// Different points: doubles are seen and not counted.
    async fn counts(&self) -> Counts {
        let text = std::fs::read_to_string(self.0.path().join("points.jsonl")).unwrap_or_default();
        assert!(text.is_empty() || text.ends_with('\n'), "whole lines");
        let mut points = std::collections::BTreeSet::new();
        let mut counts = Counts::new();
        for line in text.lines() {
            let point: serde_json::Value = serde_json::from_str(line).expect("each line is JSON");
            let identity = format!(
                "{} {} {}",
                point["measurement"], point["beat_ms"], point["tags"]
            );
            if points.insert(identity) {
                let name = point["measurement"].as_str().unwrap().to_owned();
                *counts.entry(name).or_default() += 1;
            }
        }
        counts
    }
}

#[tokio::test]
async fn jsonl_keeps_the_contract() {
    keep(&Lines(tempfile::tempdir().unwrap())).await;
}
