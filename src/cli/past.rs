//! What the commands about the past share: which store, which time, how far they are.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{ConfigArgument, Failure, load, output};
use crate::clock::Timestamp;
use crate::config::{StoreConfig, values};
use crate::store::history::replay::{Archive, Losses, Progress};

/// A range of time.
#[derive(Debug, Clone, Args)]
pub(super) struct RangeArguments {
    /// From this beat on: 2026-01-31T12:00:00Z, unix milliseconds, or -6h [default: the oldest]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(super) from: Option<String>,
    /// Up to this beat, without it [default: up to the newest, with it]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(super) to: Option<String>,
}

impl RangeArguments {
    /// The first moment, and the one behind the last.
    pub(super) fn read(&self, now: Timestamp) -> Result<(Timestamp, Timestamp), Failure> {
        let read = |name: &str, text: &Option<String>, default: i64| match text {
            Some(text) => values::moment(text, now)
                .map_err(|expected| Failure::Usage(format!("{name} {text}: {expected}"))),
            None => Ok(Timestamp::from_ms(default)),
        };
        let from = read("--from", &self.from, i64::MIN)?;
        let to = read("--to", &self.to, i64::MAX)?;
        if from >= to {
            let message = "--from must be before --to: nothing lies between them";
            return Err(Failure::Usage(message.to_owned()));
        }
        Ok((from, to))
    }
}

/// A store, and a range of time in it.
#[derive(Debug, Args)]
pub(super) struct PastArguments {
    /// Configuration file, for its [store] path
    #[arg(long, short, value_name = "FILE", env = "LAGLINE_CONFIG")]
    config: Option<PathBuf>,
    /// The store's file, instead of the configured one
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    #[command(flatten)]
    range: RangeArguments,
}

impl PastArguments {
    /// The first moment, and the one behind the last.
    pub(super) fn range(&self, now: Timestamp) -> Result<(Timestamp, Timestamp), Failure> {
        self.range.read(now)
    }

    /// The store, for reading.
    pub(super) fn open(&self) -> Result<Archive, Failure> {
        match (&self.store, &self.config) {
            (Some(path), _) => open(path),
            (None, Some(config)) => {
                let config = load(&ConfigArgument {
                    config: config.clone(),
                })?;
                open(path_of(&config.store)?)
            }
            (None, None) => Err(Failure::Usage(
                "whose history? give --config FILE or --store FILE".to_owned(),
            )),
        }
    }
}

/// Opens the store at `path` for reading.
pub(super) fn open(path: &Path) -> Result<Archive, Failure> {
    Archive::open(path).map_err(|error| Failure::Failed(anyhow!(error)))
}

/// Where the configured store is.
pub(super) fn path_of(store: &StoreConfig) -> Result<&Path, Failure> {
    store.path.as_deref().ok_or_else(|| {
        let message = "[store] path is not set: without it lagline keeps no history";
        Failure::Usage(message.to_owned())
    })
}

/// Says what could not be read.
pub(super) fn complain_about(losses: Losses) {
    let Losses { damaged, expired } = losses;
    if damaged > 0 {
        let damaged = HumanCount(damaged);
        output::complain(&format!(
            "left out, because damaged: {damaged} parts of the history"
        ));
    }
    if expired > 0 {
        let expired = HumanCount(expired);
        let message =
            format!("left out, because retention was faster: {expired} parts of the history");
        output::complain(&message);
    }
}

/// A bar on a terminal; nothing elsewhere.
#[derive(Debug)]
pub(super) struct Shown {
    bar: ProgressBar,
    /// Points so far.
    pub(super) points: u64,
}

impl Shown {
    pub(super) fn new(progress: Progress) -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(progress.total), target);
        let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}  {eta} left");
        let bar = match style {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        };
        Self { bar, points: 0 }
    }

    pub(super) fn show(&self, progress: Progress) {
        if !self.bar.is_hidden() {
            let points = HumanCount(self.points);
            self.bar.set_message(format!("{points} points"));
            self.bar.set_length(progress.total);
            self.bar.set_position(progress.done);
        }
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
