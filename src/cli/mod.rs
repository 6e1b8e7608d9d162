//! The command line: one file a command, each thin.
//!
//! Exit codes: 0 done, 1 something failed while running, 2 the arguments or the configuration are
//! wrong. Everything a script may read goes to standard output, everything else to standard error.

mod backfill;
mod check;
mod dead_letters;
mod demo;
mod export;
mod groups;
mod http;
mod output;
mod past;
mod progress;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::config::{self, Config};

/// The arguments of lagline.
#[derive(Debug, Parser)]
#[command(
    name = "lagline",
    version,
    about = "Watches the lag of every Kafka consumer group, judges it, keeps the history and ships it",
    after_help = "Examples:
  lagline demo                                  try it: no Kafka, no configuration
  lagline run --bootstrap localhost:9092        watch one cluster
  lagline run --config lagline.toml             watch many, write to sinks
  lagline check --config lagline.toml --connect try every cluster and sink
  lagline groups --status ERR                   what is wrong right now"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// What is logged to standard error: error, warn, info, debug, trace (or a tracing filter)
    #[arg(
        long,
        global = true,
        env = "LAGLINE_LOG",
        default_value = "info",
        value_name = "LEVEL"
    )]
    log: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch clusters until stopped
    #[command(after_help = "Examples:
  lagline run --config /etc/lagline.toml
  lagline run --bootstrap kafka-1:9092,kafka-2:9092")]
    Run(run::RunArguments),
    /// Check the configuration; with --connect also every cluster and sink
    #[command(after_help = "Examples:
  lagline check --config lagline.toml
  lagline check --config lagline.toml --connect")]
    Check(check::CheckArguments),
    /// Run with a simulated Kafka and a believable workload
    #[command(after_help = "Example:
  lagline demo --listen 127.0.0.1:8000")]
    Demo(demo::DemoArguments),
    /// List the groups of a running lagline with status, lag, time lag and reason
    #[command(after_help = "Examples:
  lagline groups
  lagline groups --cluster prod --status WARN --status ERR
  lagline groups --json | jq '.[] | .group'")]
    Groups(groups::GroupsArguments),
    /// List, send again or drop the points that a sink refused for good
    #[command(after_help = "Examples:
  lagline dead-letters list --config lagline.toml
  lagline dead-letters replay influx --config lagline.toml
  lagline dead-letters drop influx --config lagline.toml")]
    DeadLetters(dead_letters::DeadLettersArguments),
    /// Write history to a sink: to one that is new, or what it has missed
    #[command(
        after_help = "Covers the measurements kafka_lag_group, kafka_lag_topic, kafka_lag_partition and
kafka_topic_offset, as the sink's options choose them (its max_age does not count); not
kafka_cluster, kafka_lag_status and lagline_sink, which history does not have.

Points have the times and ids that delivery gives them: writing one again does what sending it again
does, see the README. What fails is tried again; what is refused for good goes to the dead letters.
It works beside a running lagline. Stopped or killed, the same command goes on where it was; how far
it is stands in a file beside the store, FILE.backfill/SINK.json.

Examples:
  lagline backfill --config lagline.toml --sink influx --dry-run
  lagline backfill --config lagline.toml --sink influx --from -3d --rate 20000
  lagline backfill --config lagline.toml --sink elastic --holes"
    )]
    Backfill(backfill::BackfillArguments),
    /// Write history to a file or to standard output
    #[command(
        after_help = "Every beat that is kept: measurements of groups, of their topics and partitions, and topics' own
offsets, as sinks get them. It works beside a running lagline. Cluster by cluster and hour by hour;
the lines of one series are in the order of time.

Examples:
  lagline export --config lagline.toml --from -6h --group payments > payments.csv
  lagline export --config lagline.toml --from 2026-01-31T00:00:00Z --to 2026-02-01T00:00:00Z --format jsonl
  lagline export --store /var/lib/lagline/lagline.db --measurement group --output groups.csv"
    )]
    Export(export::ExportArguments),
    /// About the configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Print the version
    Version,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print an annotated example with every default
    Example,
}

/// Where the configuration comes from.
#[derive(Debug, Clone, Args)]
struct ConfigArgument {
    /// Configuration file
    #[arg(long, short, value_name = "FILE", env = "LAGLINE_CONFIG")]
    config: PathBuf,
}

/// Why a command ends with something else than 0.
#[derive(Debug)]
enum Failure {
    /// The arguments or the configuration are wrong: 2.
    Usage(String),
    /// It failed while running: 1.
    Failed(anyhow::Error),
    /// Standard output was closed by its reader: nothing to say, 0.
    Closed,
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let closed = error
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe);
        if closed {
            Failure::Closed
        } else {
            Failure::Failed(error)
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        anyhow::Error::from(error).into()
    }
}

impl From<config::Problems> for Failure {
    fn from(problems: config::Problems) -> Self {
        let count = problems.list.len();
        let noun = if count == 1 { "problem" } else { "problems" };
        Failure::Usage(format!("{problems}\n{count} {noun}; nothing was started"))
    }
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { 2 } else { 0 };
            // Nobody reads it: nothing is left to be done.
            drop(error.print());
            return ExitCode::from(code);
        }
    };
    let result = match arguments.command {
        Command::Run(command) => run::run(&command, &arguments.log),
        Command::Check(command) => check::run(&command, &arguments.log),
        Command::Demo(command) => demo::run(&command, &arguments.log),
        Command::Groups(command) => groups::run(&command),
        Command::DeadLetters(command) => dead_letters::run(&command, &arguments.log),
        Command::Backfill(command) => backfill::run(&command, &arguments.log),
        Command::Export(command) => export::run(&command, &arguments.log),
        Command::Config {
            command: ConfigCommand::Example,
        } => output::print(config::EXAMPLE),
        Command::Version => output::print(&Arguments::command().render_version()),
    };
    match result {
        Ok(()) | Err(Failure::Closed) => ExitCode::SUCCESS,
        Err(Failure::Usage(message)) => {
            output::complain(&message);
            ExitCode::from(2)
        }
        Err(Failure::Failed(error)) => {
            output::complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Reads and checks the configuration file.
fn load(argument: &ConfigArgument) -> Result<Config, Failure> {
    let path = &argument.config;
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::Failed(anyhow::anyhow!("cannot read {}: {error}", path.display()))
    })?;
    let env = |name: &str| std::env::var(name).ok();
    let read = |path: &std::path::Path| std::fs::read_to_string(path);
    Ok(config::load(
        &text,
        &path.display().to_string(),
        &env,
        &read,
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn help_is_as_agreed(name: &str) {
        let mut all = Arguments::command();
        let command = all.find_subcommand_mut(name).unwrap();
        let help = command.clone().term_width(100).render_long_help();
        let path = format!("tests/golden/cli/{name}-help.txt");
        crate::golden::check(&path, &help.to_string());
    }

    #[test]
    fn backfill_says_what_it_does() {
        help_is_as_agreed("backfill");
    }

    #[test]
    fn export_says_what_it_does() {
        help_is_as_agreed("export");
    }
}
