//! `lagline dead-letters`: what sinks refused for good.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::{ConfigArgument, Failure, load, output};
use crate::app::{build_sink, dead_letters_folder};
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::lag::reason::{Grouped, Span};
use crate::sinks::dead_letters::{self, Listing, Replayed, replay};

/// The arguments of `lagline dead-letters`.
#[derive(Debug, Args)]
pub(super) struct DeadLettersArguments {
    #[command(subcommand)]
    command: DeadLettersCommand,
}

#[derive(Debug, Subcommand)]
enum DeadLettersCommand {
    /// What there is, by sink
    List {
        #[command(flatten)]
        config: ConfigArgument,
        /// A JSON list instead of text
        #[arg(long)]
        json: bool,
    },
    /// Send a sink's dead letters once more
    Replay {
        /// Name of the sink
        sink: String,
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Throw a sink's dead letters away
    Drop {
        /// Name of the sink
        sink: String,
        #[command(flatten)]
        config: ConfigArgument,
    },
}

/// Does what is asked.
pub(super) fn run(arguments: &DeadLettersArguments, log: &str) -> Result<(), Failure> {
    match &arguments.command {
        DeadLettersCommand::List { config, json } => list(&load(config)?, *json),
        DeadLettersCommand::Replay { sink, config } => {
            output::start_log(if log == "info" { "warn" } else { log })?;
            send_again(&load(config)?, sink)
        }
        DeadLettersCommand::Drop { sink, config } => {
            let folder = folder(&load(config)?)?;
            let bytes = dead_letters::discard(&folder, sink)
                .with_context(|| format!("cannot drop the dead letters of {sink}"))?;
            output::print(&format!("{sink}: {} bytes dropped\n", grouped(bytes)))
        }
    }
}

fn folder(config: &Config) -> Result<PathBuf, Failure> {
    dead_letters_folder(&config.store)
        .ok_or_else(|| Failure::Usage("without store.path no dead letters are kept".to_owned()))
}

fn list(config: &Config, as_json: bool) -> Result<(), Failure> {
    let folder = folder(config)?;
    let listings =
        dead_letters::list(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    if as_json {
        let all: Vec<_> = listings.iter().map(as_value).collect();
        let mut text = serde_json::to_string_pretty(&all).map_err(anyhow::Error::from)?;
        text.push('\n');
        return output::print(&text);
    }
    if listings.is_empty() {
        return output::print("no dead letters\n");
    }
    let now = Clock::system().now();
    let lines: Vec<String> = listings.iter().map(|listing| line(listing, now)).collect();
    output::print(&lines.concat())
}

fn as_value(listing: &Listing) -> serde_json::Value {
    json!({
        "sink": listing.sink,
        "letters": listing.letters,
        "bytes": listing.bytes,
        "first_ms": listing.first.map(Timestamp::as_ms),
        "last_ms": listing.last.map(Timestamp::as_ms),
        "reason": listing.reason,
        "unreadable": listing.unreadable,
    })
}

fn line(listing: &Listing, now: Timestamp) -> String {
    let age = listing.last.map_or(String::new(), |last| {
        format!(", the last one {} ago", Span(now.ms_since(last).max(0)))
    });
    let reason = listing.reason.as_deref().unwrap_or_default();
    let reason: String = reason
        .chars()
        .filter(|c| !c.is_control())
        .take(300)
        .collect();
    let unreadable = match listing.unreadable {
        0 => String::new(),
        n => format!(", {} unreadable lines", grouped(n)),
    };
    format!(
        "{}: {} points, {} bytes{age}{unreadable}\n  {reason}\n",
        listing.sink,
        grouped(listing.letters),
        grouped(listing.bytes)
    )
}

fn send_again(config: &Config, sink: &str) -> Result<(), Failure> {
    let folder = folder(config)?;
    let configured = config.sinks.get(sink).ok_or_else(|| {
        let known: Vec<&str> = config.sinks.keys().map(String::as_str).collect();
        Failure::Usage(format!(
            "no sink {sink}; configured are: {}",
            known.join(", ")
        ))
    })?;
    let writer = build_sink(&configured.kind)?;
    let letters = dead_letters::list(&folder).context("cannot read the dead letters")?;
    let total = letters
        .iter()
        .find(|l| l.sink == sink)
        .map_or(0, |l| l.letters);
    let bar = bar(total);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let clock = Clock::system();
    let mut progress = |done| bar.set_position(done);
    let limit: Duration = configured.delivery.timeout;
    let replayed = runtime.block_on(replay(
        &folder,
        sink,
        &*writer,
        limit,
        &clock,
        &mut progress,
    ));
    bar.finish_and_clear();
    let replayed = replayed.with_context(|| format!("cannot replay the dead letters of {sink}"))?;
    output::print(&summary(sink, &replayed))?;
    match replayed.stopped {
        Some(reason) => Err(Failure::Failed(anyhow!("stopped early: {reason}"))),
        None => Ok(()),
    }
}

fn bar(total: u64) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(total), target);
    match ProgressStyle::with_template("{bar:30} {percent:>3} %  {human_pos} points  {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn summary(sink: &str, replayed: &Replayed) -> String {
    let mut text = format!(
        "{sink}: {} written, {} refused again, {} kept",
        grouped(replayed.written),
        grouped(replayed.rejected),
        grouped(replayed.kept)
    );
    if replayed.unreadable > 0 {
        text.push_str(&format!(
            ", {} unreadable lines moved aside",
            grouped(replayed.unreadable)
        ));
    }
    text.push('\n');
    text
}

fn grouped(number: u64) -> Grouped {
    Grouped(i64::try_from(number).unwrap_or(i64::MAX))
}
