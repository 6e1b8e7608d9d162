//! `lagline backfill`: gives a sink the past.

use std::path::Path;

use anyhow::{Context, anyhow};
use clap::Args;
use indicatif::HumanCount;
use tokio_util::sync::CancellationToken;

use super::past::{RangeArguments, Shown, complain_about, path_of};
use super::{ConfigArgument, Failure, load, output, run};
use crate::app::backfill::{Backfill, Wanted};
use crate::clock::Clock;
use crate::config::Config;
use crate::config::sinks::SinkConfig;
use crate::sinks::backfill::{Contents, Kept, Outcome, filled};
use crate::sinks::{self, Guarantee};
use crate::store::history::replay::Progress;

/// The arguments of `lagline backfill`.
#[derive(Debug, Args)]
pub(super) struct BackfillArguments {
    /// Name of the sink
    #[arg(long, value_name = "SINK")]
    sink: String,
    #[command(flatten)]
    config: ConfigArgument,
    #[command(flatten)]
    range: RangeArguments,
    /// What the sink has missed, and not been given yet (see /api/v1/sinks)
    #[arg(long, conflicts_with_all = ["from", "to"])]
    holes: bool,
    /// Send at most so many points a second
    #[arg(long, value_name = "POINTS", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Only count the points; send nothing
    #[arg(long)]
    dry_run: bool,
}

impl BackfillArguments {
    fn wanted(&self) -> Result<Wanted, Failure> {
        if self.holes {
            return Ok(Wanted::Holes);
        }
        let (from, to) = self.range.read(Clock::system().now())?;
        let words = |text: &Option<String>| text.clone().unwrap_or_default();
        Ok(Wanted::Range {
            from,
            to,
            words: format!("{} to {}", words(&self.range.from), words(&self.range.to)),
        })
    }
}

/// Does what is asked for.
pub(super) fn run(arguments: &BackfillArguments, log: &str) -> Result<(), Failure> {
    output::start_log(if log == "info" { "warn" } else { log })?;
    let config = load(&arguments.config)?;
    let store = path_of(&config.store)?;
    let sink = configured(&config, &arguments.sink)?;
    let wanted = arguments.wanted()?;
    if arguments.dry_run {
        return count(arguments, &config, store, sink, &wanted);
    }
    let named = (arguments.sink.as_str(), sink);
    // First of all, so that nothing of another backfill is seen that changes meanwhile.
    let (kept, contents) = Kept::open(store, &arguments.sink).map_err(|error| anyhow!(error))?;
    let mut backfill = Backfill::new(&config, store, named, &wanted, &contents)?;
    let before = backfill.resume(&contents);
    if backfill.ranges() == 0 {
        return output::print(&format!("{}: no holes to fill\n", arguments.sink));
    }
    introduce(&arguments.sink, sink, before);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let stop = CancellationToken::new();
    let mut shown = Shown::new(Progress::default());
    let mut report = |report: sinks::backfill::Report| {
        shown.points = report.written;
        shown.show(report.progress);
    };
    let outcome = runtime.block_on(async {
        let signalled = stop.clone();
        let deliver = backfill.deliver((kept, contents), arguments.rate, stop, &mut report);
        let mut deliver = std::pin::pin!(deliver);
        tokio::select! {
            outcome = &mut deliver => return outcome,
            ended = run::signal() => ended?,
        }
        signalled.cancel();
        deliver.await
    });
    shown.finish();
    tell(&arguments.sink, &outcome?)
}

fn configured<'a>(config: &'a Config, name: &str) -> Result<&'a SinkConfig, Failure> {
    config.sinks.get(name).ok_or_else(|| {
        let known: Vec<&str> = config.sinks.keys().map(String::as_str).collect();
        let known = known.join(", ");
        Failure::Usage(format!("no sink {name}; configured are: {known}"))
    })
}

/// Counts what would be sent.
fn count(
    arguments: &BackfillArguments,
    config: &Config,
    store: &Path,
    sink: &SinkConfig,
    wanted: &Wanted,
) -> Result<(), Failure> {
    let name = arguments.sink.as_str();
    let contents = Contents {
        run: None,
        filled: filled(store, name).context("cannot read which holes are filled")?,
    };
    let backfill = Backfill::new(config, store, (name, sink), wanted, &contents)?;
    let mut shown = Shown::new(Progress::default());
    let mut report = |progress, points| {
        shown.points = points;
        shown.show(progress);
    };
    let (points, losses) = backfill.count(&mut report)?;
    shown.finish();
    complain_about(losses);
    output::print(&format!("{name}: {} points\n", HumanCount(points)))
}

/// Says what is covered, and what it does to points that are there already.
fn introduce(name: &str, sink: &SinkConfig, before: Option<u64>) {
    output::complain(
        "writes kafka_lag_group, kafka_lag_topic, kafka_lag_partition and kafka_topic_offset, as \
         the sink's options choose them; history has no kafka_cluster, kafka_lag_status and \
         lagline_sink",
    );
    let kinds = sinks::kinds().iter();
    let of_kind = kinds.filter(|kind| kind.name == sink.kind.word());
    for Guarantee {
        target,
        delivery,
        because,
    } in of_kind.flat_map(|kind| kind.guarantees)
    {
        let target = match *target {
            "" => sink.kind.word(),
            target => target,
        };
        let delivery = delivery.as_str();
        output::complain(&format!(
            "a point that is there already: {target}: {delivery} ({because})"
        ));
    }
    if let Some(before) = before {
        let before = HumanCount(before);
        output::complain(&format!("{name}: goes on behind {before} points"));
    }
}

fn tell(name: &str, outcome: &Outcome) -> Result<(), Failure> {
    complain_about(outcome.losses);
    let Outcome {
        written, rejected, ..
    } = outcome;
    let mut text = format!("{name}: {} points written", HumanCount(*written));
    if *rejected > 0 {
        let rejected = HumanCount(*rejected);
        text += &format!(", {rejected} refused (see `lagline dead-letters list`)");
    }
    output::print(&format!("{text}\n"))?;
    if outcome.empty > 0 {
        let empty = HumanCount(outcome.empty);
        output::complain(&format!(
            "not filled, history has nothing of them: {empty} holes"
        ));
    }
    if outcome.refused > 0 {
        let refused = HumanCount(outcome.refused);
        output::complain(&format!("not filled, points were refused: {refused} holes"));
    }
    match &outcome.stopped {
        None => Ok(()),
        Some(reason) => Err(Failure::Failed(anyhow!(
            "stopped early: {reason}; the same command goes on from here"
        ))),
    }
}
