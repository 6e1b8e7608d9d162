//! The commands about the past, on a store with sealed hours and a part of one that is not sealed.

mod backfill;
mod export;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use lagline::clock::{Clock, Timestamp};
use lagline::lag::evaluation::Evaluation;
use lagline::lag::ids::ClusterName;
use lagline::points::{Batch, Detail, Measurement, OwnedPoint, sample};
use lagline::store::frame::{Body, Frame};
use lagline::store::{Store, StoreSettings};

use crate::services::directory::Directory;
use crate::services::wait;

const LIMIT: Duration = Duration::from_secs(90);
const HOUR: Duration = Duration::from_secs(3600);
/// Between two beats.
const STEP: Duration = Duration::from_secs(300);
/// Hours that are sealed, and beats behind them.
const HOURS: u32 = 3;
const REST: u32 = 5;

/// What the commands cover.
const COVERED: [Measurement; 4] = [
    Measurement::Group,
    Measurement::Topic,
    Measurement::Partition,
    Measurement::TopicOffset,
];

/// A store that is open, as in a running lagline.
struct Past {
    directory: Directory,
    store: Store,
    threads: Vec<JoinHandle<()>>,
    /// What is in it, as sinks got it.
    frames: Vec<Arc<Frame>>,
}

impl Past {
    /// Two clusters, over some hours that ended some minutes ago.
    async fn new() -> Self {
        let directory = Directory::new("past");
        let settings = StoreSettings::default();
        let opened = Store::open(Some(&directory.path().join("lagline.db")), settings).unwrap();
        let (writer, loader) = (opened.writer, opened.loader);
        let (historian, sealer) = (opened.historian, opened.sealer);
        let mut past = Self {
            directory,
            store: opened.store,
            threads: vec![
                std::thread::spawn(move || writer.run()),
                std::thread::spawn(move || loader.run()),
                std::thread::spawn(move || historian.run()),
                std::thread::spawn(move || sealer.run()),
            ],
            frames: Vec::new(),
        };
        for number in 0..HOURS * 12 + REST {
            past.append(number).await;
        }
        let end = start().plus(HOUR * HOURS);
        wait::until("the hours are sealed", LIMIT, || {
            past.store.health().sealed_through == Some(end)
        });
        past
    }

    /// Appends the beat with this number.
    async fn append(&mut self, number: u32) {
        let beat = start().plus(STEP * number);
        let seq = i64::from(number);
        let small = sample::small(seq);
        let wide = sample::wide(seq, 8, 4);
        let evaluations = [("prod", &small), ("wide", &wide)].map(|(cluster, frame)| {
            let Body::Evaluation { evaluation, .. } = &frame.body else {
                panic!("a sample is about a cluster");
            };
            Arc::new(Evaluation {
                cluster: ClusterName::new(cluster),
                beat,
                ..(**evaluation).clone()
            })
        });
        let appended = self.store.append(evaluations.to_vec(), Vec::new(), beat);
        self.frames.extend(appended.await.unwrap().frames);
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn file(&self) -> PathBuf {
        self.path().join("lagline.db")
    }

    /// Lets go of the file, as a lagline that is stopped. What is left is its directory.
    async fn stop(self) -> (Directory, Vec<Arc<Frame>>) {
        self.store.close().await;
        drop(self.store);
        for thread in self.threads {
            thread.join().unwrap();
        }
        (self.directory, self.frames)
    }

    /// The points that are covered.
    fn points(&self) -> Vec<OwnedPoint> {
        points(&self.frames)
    }
}

/// The beginning of an hour, four hours ago or a little more: young enough for every server.
fn start() -> Timestamp {
    let now = Clock::system().now();
    now.aligned(HOUR).minus(HOUR * (HOURS + 1))
}

/// The covered points of frames, in a fixed order.
fn points(frames: &[Arc<Frame>]) -> Vec<OwnedPoint> {
    let mut points = Vec::new();
    for frame in frames {
        let batch = Batch::of(frame, Detail::Partition);
        let covered = batch
            .iter()
            .filter(|point| COVERED.contains(&point.measurement()));
        points.extend(covered.map(|point| OwnedPoint::of(&point)));
    }
    sorted(points)
}

fn sorted(mut points: Vec<OwnedPoint>) -> Vec<OwnedPoint> {
    points.sort_by(|a, b| {
        let key = |point: &OwnedPoint| (point.measurement, point.at, point.tags.clone());
        key(a).cmp(&key(b))
    });
    points
}

/// Runs the built program to its end.
fn lagline(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lagline"))
        .args(arguments)
        .env("NO_COLOR", "1")
        .output()
        .unwrap()
}

#[track_caller]
fn done(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    String::from_utf8(output.stdout.clone()).unwrap()
}
