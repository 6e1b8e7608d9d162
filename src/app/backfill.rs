//! Wiring of `lagline backfill`: the store's file, the sink, the thread that reads, the delivery.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use tokio_util::sync::CancellationToken;

use super::{DEAD_LETTERS_MAX, build_sink, dead_letters_folder, spawn_thread};
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::config::sinks::SinkConfig;
use crate::sinks::Sink;
use crate::sinks::backfill::{
    self, Contents, Covered, Kept, Outcome, Range, Report, Run, Task, count, has_logs, settings,
};
use crate::sinks::dead_letters::DeadLetters;
use crate::sinks::delivery::{Selection, Setup};
use crate::store::frame::Cursor;
use crate::store::history::replay::{Archive, Losses, Progress};

/// What of the past is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// From a beat on, up to and not including another; in the words of the command line, too.
    Range {
        from: Timestamp,
        to: Timestamp,
        words: String,
    },
    /// What the sink has missed.
    Holes,
}

/// A backfill that may begin.
#[derive(Debug)]
pub struct Backfill {
    name: String,
    config: SinkConfig,
    sink: Arc<dyn Sink>,
    selection: Selection,
    interval: std::time::Duration,
    letters: DeadLetters,
    archive: Archive,
    run: Run,
}

impl Backfill {
    /// Prepares a backfill of the configured sink called `name` from the store at `store`.
    ///
    /// # Errors
    /// When the store cannot be read, or the sink's certificate files.
    pub fn new(
        config: &Config,
        store: &Path,
        (name, sink): (&str, &SinkConfig),
        wanted: &Wanted,
        filled: &Contents,
    ) -> anyhow::Result<Self> {
        let archive = Archive::open(store).map_err(|error| anyhow!(error))?;
        let object: Arc<dyn Sink> = Arc::new(Covered(build_sink(&sink.kind)?));
        let delivery = settings(&sink.delivery);
        let logs = has_logs(&delivery, &*object);
        let run = match wanted {
            Wanted::Range { from, to, words } => {
                Run::new(words.clone(), vec![Range::between(*from, *to)], logs)
            }
            Wanted::Holes => {
                let holes = archive.holes(name).context("cannot read the holes")?;
                let is_filled = |hole| filled.filled.iter().any(|it| it.is_of(hole));
                let open = holes.iter().filter(|hole| !is_filled(hole));
                Run::new("holes".to_owned(), open.map(Range::of).collect(), logs)
            }
        };
        let letters = match dead_letters_folder(&config.store) {
            Some(folder) => DeadLetters::new(folder, name, DEAD_LETTERS_MAX),
            None => DeadLetters::nowhere(name),
        };
        let selection = Selection::new(&delivery, config.interval);
        Ok(Self {
            name: name.to_owned(),
            selection: selection.only(|measurement| object.takes(measurement)),
            config: SinkConfig {
                delivery,
                ..sink.clone()
            },
            sink: object,
            interval: config.interval,
            letters,
            archive,
            run,
        })
    }

    /// How many stretches of the past it has.
    pub fn ranges(&self) -> usize {
        self.run.ranges.len()
    }

    /// Goes on with what was begun before and not finished, when that was the same; whether it was.
    pub fn resume(&mut self, contents: &Contents) -> Option<u64> {
        let before = contents.run.as_ref()?;
        if before.asked != self.run.asked || before.logs != self.run.logs {
            return None;
        }
        self.run = before.clone();
        self.run.has_begun().then_some(self.run.written)
    }

    /// Counts the points without sending any. Blocks.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn count(mut self, report: &mut dyn FnMut(Progress, u64)) -> anyhow::Result<(u64, Losses)> {
        let counted = count(&mut self.archive, &self.run, &self.selection, report);
        counted.context("cannot read the history")
    }

    /// Writes the points until all are written, the sink needs somebody, or `stop` is cancelled.
    ///
    /// # Errors
    /// When it cannot be written down how far it is.
    pub async fn deliver(
        self,
        (kept, contents): (Kept, Contents),
        rate: Option<u32>,
        stop: CancellationToken,
        report: &mut (dyn FnMut(Report) + Send),
    ) -> anyhow::Result<Outcome> {
        let (work, pieces, reader, ended) =
            backfill::reader(self.archive, self.run.clone(), self.selection, rate);
        let thread = spawn_thread("history reader", work)?;
        let setup = Setup {
            name: self.name,
            sink: self.sink,
            settings: self.config.delivery,
            interval: self.interval,
            cursor: Cursor::default(),
            letters: self.letters,
            clock: Clock::system(),
            rng: fastrand::Rng::new(),
            // Its own: what is under way is finished, and then noted.
            stop: CancellationToken::new(),
        };
        let task = Task {
            setup,
            pieces,
            ended,
            reader,
            kept,
            contents,
            run: self.run,
            stop,
        };
        let outcome = backfill::deliver(task, report).await;
        // It ends with its receiver.
        match tokio::task::spawn_blocking(move || thread.join()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => tracing::error!("the thread that reads the history panicked"),
        }
        outcome.context("cannot write down how far it is")
    }
}
