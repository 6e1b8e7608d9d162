//! Giving a sink the past: out of history, through the same delivery as the present.
//!
//! A replay of the store ([`read`]) takes the journal's place, a file beside the store ([`state`]) the
//! cursors'. Selection, batches, retries, splitting and dead letters are the delivery's own. What a
//! point is (its tags, fields and time) is the same, too, so that writing it again does what sending
//! it again does.
//!
//! Not here: status changes, clusters as wholes and sinks' own state, which history does not have as
//! they were; opening the store, threads and signals (`app`).

mod read;
mod source;
mod state;
#[cfg(test)]
mod tests;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub use self::read::{Ended, Reader, count, reader};
pub use self::source::Pieces;
pub use self::state::{Contents, Filled, Kept, Range, Run, filled};
use super::delivery::{CursorStore, DeliverySettings, Setup, SinkHealth, State, Worker};
use super::{Accepted, BoxFuture, CheckError, CheckReport, Sink, WriteError};
use crate::points::{Batch, Detail, Measurement};
use crate::store::frame::{Cursor, Hole};
use crate::store::history::replay::{Losses, Progress};

/// The measurements that history has.
pub const COVERED: [Measurement; 4] = [
    Measurement::Group,
    Measurement::Topic,
    Measurement::Partition,
    Measurement::TopicOffset,
];

/// How often it is written down how far a backfill is. What was sent since is sent again after a
/// kill.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// A sink that takes what history has.
#[derive(Debug)]
pub struct Covered(pub Arc<dyn Sink>);

impl Sink for Covered {
    fn write<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Accepted, WriteError>> {
        self.0.write(batch)
    }

    fn prepare(&self) -> BoxFuture<'_, Result<(), WriteError>> {
        self.0.prepare()
    }

    fn take_made(&self) -> Vec<String> {
        self.0.take_made()
    }

    fn takes(&self, measurement: Measurement) -> bool {
        COVERED.contains(&measurement) && self.0.takes(measurement)
    }

    fn check(&self) -> BoxFuture<'_, Result<CheckReport, CheckError>> {
        self.0.check()
    }

    fn is_ordered(&self) -> bool {
        self.0.is_ordered()
    }

    fn has_one_beat_a_request(&self) -> bool {
        self.0.has_one_beat_a_request()
    }
}

/// A sink's options as they are for the past: whoever asks for old beats wants them.
pub fn settings(delivery: &DeliverySettings) -> DeliverySettings {
    DeliverySettings {
        max_age: None,
        ..delivery.clone()
    }
}

/// Whether a sink with these options is told topics' own offsets.
pub fn has_logs(delivery: &DeliverySettings, sink: &dyn Sink) -> bool {
    delivery.detail == Detail::Partition && sink.takes(Measurement::TopicOffset)
}

/// The cursors of a backfill are places in history, which the run keeps.
#[derive(Debug)]
struct NoCursors;

impl CursorStore for NoCursors {
    fn stage(&self, _sink: &str, _cursor: Cursor) {}

    fn note_hole(&self, _sink: &str, _hole: &Hole) {}
}

/// What is told while it goes on.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    pub progress: Progress,
    /// Points written in this run of the program.
    pub written: u64,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Points written and refused for good, in all runs of the program that belong together.
    pub written: u64,
    pub rejected: u64,
    /// What could not be read, in this one.
    pub losses: Losses,
    /// Holes of which history has nothing, and holes of which points were refused.
    pub empty: u64,
    pub refused: u64,
    /// Why it ended before everything was written; absent when nothing is left.
    pub stopped: Option<String>,
}

/// What a backfill is given.
#[derive(Debug)]
pub struct Task {
    pub setup: Setup,
    pub pieces: Pieces,
    /// Tells how reading ended.
    pub ended: oneshot::Receiver<Ended>,
    pub reader: Reader,
    pub kept: Kept,
    pub contents: Contents,
    pub run: Run,
    /// Ends it; what is written stays noted.
    pub stop: CancellationToken,
}

/// Writes the past to the sink of `task.setup`.
///
/// # Errors
/// When it cannot be written down how far it is.
pub async fn deliver(
    mut task: Task,
    report: &mut (dyn FnMut(Report) + Send),
) -> std::io::Result<Outcome> {
    let ending = task.setup.stop.clone();
    let clock = task.setup.clock.clone();
    let (worker, mut health) = Worker::new(task.setup, task.pieces, NoCursors);
    let mut worker = pin!(worker.run());
    let mut timer = tokio::time::interval(SAVE_EVERY);
    let mut course = Course::new(task.run);
    let (mut end, mut stopped) = (None, None);
    loop {
        tokio::select! {
            () = &mut worker => break,
            changed = health.changed() => drop(changed),
            ended = &mut task.ended, if end.is_none() => {
                end = Some(ended.unwrap_or_else(|_| Ended::broken()));
            }
            () = task.stop.cancelled(), if stopped.is_none() => {
                stopped = Some("interrupted".to_owned());
            }
            _ = timer.tick() => {
                task.contents.run = Some(course.run.clone());
                task.kept.save(&task.contents).await?;
            }
        }
        let seen = health.borrow_and_update().clone();
        course.settled(&task.reader, &seen, &mut task.contents, clock.now());
        report(course.report);
        if let State::Misconfigured { reason, .. } = &seen.state {
            stopped.get_or_insert_with(|| reason.clone());
        }
        let is_over = end.as_ref().is_some_and(|end| seen.settled.seq >= end.last);
        if is_over || stopped.is_some() {
            task.reader.stop();
            ending.cancel();
        }
    }
    let seen = health.borrow().clone();
    course.settled(&task.reader, &seen, &mut task.contents, clock.now());
    let end = end.unwrap_or_default();
    let is_done = end.error.is_none() && course.run.is_done();
    task.contents.run = (!is_done).then(|| course.run.clone());
    task.kept.save(&task.contents).await?;
    Ok(Outcome {
        written: course.run.written,
        rejected: course.run.rejected,
        losses: end.losses,
        empty: course.empty,
        refused: course.refused,
        stopped: match is_done {
            true => None,
            false => end.error.or(stopped),
        },
    })
}

/// How far a run is.
struct Course {
    run: Run,
    /// Of earlier runs of the program.
    before: (u64, u64),
    report: Report,
    empty: u64,
    refused: u64,
}

impl Course {
    fn new(run: Run) -> Self {
        Self {
            before: (run.written, run.rejected),
            run,
            report: Report {
                progress: Progress::default(),
                written: 0,
            },
            empty: 0,
            refused: 0,
        }
    }

    /// Takes note of what is settled.
    fn settled(
        &mut self,
        reader: &Reader,
        seen: &SinkHealth,
        contents: &mut Contents,
        now: crate::clock::Timestamp,
    ) {
        let counts = &seen.settled.counts;
        let (written, rejected) = (
            self.before.0 + counts.delivered,
            self.before.1 + counts.rejected,
        );
        let more = rejected - self.run.rejected;
        (self.run.written, self.run.rejected) = (written, rejected);
        if let Some(range) = self.run.ranges.get_mut(self.run.range) {
            range.rejected += more;
        }
        for mark in reader.settled(seen.settled.seq) {
            self.report.progress = mark.progress;
            if let Some(range) = self.run.ranges.get_mut(mark.range) {
                range.points = mark.points;
            }
            self.run.place = mark.place;
            if self.run.place.is_none() {
                self.end_range(mark.range, contents, now);
                self.run.range = mark.range + 1;
            }
        }
        self.report.written = counts.delivered;
    }

    fn end_range(&mut self, range: usize, contents: &mut Contents, now: crate::clock::Timestamp) {
        let Some(range) = self.run.ranges.get(range) else {
            return;
        };
        let Some(hole) = range.hole else { return };
        match (range.points, range.rejected) {
            (0, _) => self.empty += 1,
            (points, 0) => contents.filled.push(Filled {
                hole,
                at_ms: now.as_ms(),
                points,
            }),
            _ => self.refused += 1,
        }
    }
}
