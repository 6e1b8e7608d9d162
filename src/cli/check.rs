//! `lagline check`: whether the configuration is right, and with `--connect` whether it works.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::{ConfigArgument, Failure, load, output};
use crate::app::build_sink;
use crate::config::Config;
use crate::kafka::check::{Finding, Level, check};

/// How long each cluster and sink may take.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The arguments of `lagline check`.
#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// Also try every cluster and every sink, without writing anything
    #[arg(long)]
    connect: bool,
}

/// Checks, and prints what was found.
pub(super) fn run(arguments: &CheckArguments, log: &str) -> Result<(), Failure> {
    let config = load(&arguments.config)?;
    let file = arguments.config.config.display();
    if !arguments.connect {
        let (clusters, sinks) = (config.clusters.len(), config.sinks.len());
        return output::print(&format!(
            "{file}: right ({clusters} clusters, {sinks} sinks)\n"
        ));
    }
    output::start_log(if log == "info" { "error" } else { log })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let (report, failed) = runtime.block_on(connect(&config));
    output::print(&report)?;
    // A client that hangs in its own threads does not keep the command from ending.
    runtime.shutdown_background();
    if failed > 0 {
        let noun = if failed == 1 { "problem" } else { "problems" };
        return Err(Failure::Failed(anyhow::anyhow!("{failed} {noun} found")));
    }
    Ok(())
}

/// Tries everything side by side; the report is in the order of the configuration.
async fn connect(config: &Config) -> (String, usize) {
    let mut tasks = tokio::task::JoinSet::new();
    for (place, (name, cluster)) in config.clusters.iter().enumerate() {
        let (title, kafka) = (format!("cluster {name}"), cluster.kafka.clone());
        tasks.spawn(async move {
            let asked = tokio::task::spawn_blocking(move || check(&kafka, TIMEOUT));
            let findings = asked.await.unwrap_or_else(|error| {
                vec![finding(
                    Level::Error,
                    format!("the check itself failed: {error}"),
                )]
            });
            ((0, place), title, findings)
        });
    }
    for (place, (name, sink)) in config.sinks.iter().enumerate() {
        let title = format!("sink {name} ({})", sink.kind.word());
        let built = build_sink(&sink.kind);
        tasks.spawn(async move { ((1, place), title, check_sink(built).await) });
    }
    let mut results = tasks.join_all().await;
    results.sort_by_key(|(place, _, _)| *place);
    let mut text = String::new();
    let mut failed = 0;
    for (_, title, findings) in results {
        text.push_str(&format!("{title}\n"));
        for finding in findings {
            failed += usize::from(finding.level == Level::Error);
            text.push_str(&format!("  {finding}\n"));
        }
    }
    (text, failed)
}

async fn check_sink(built: anyhow::Result<Arc<dyn crate::sinks::Sink>>) -> Vec<Finding> {
    let sink = match built {
        Ok(sink) => sink,
        Err(error) => return vec![finding(Level::Error, format!("{error:#}"))],
    };
    match tokio::time::timeout(TIMEOUT, sink.check()).await {
        Ok(Ok(report)) => report
            .lines
            .into_iter()
            .map(|text| finding(Level::Ok, text))
            .collect(),
        Ok(Err(error)) => vec![finding(Level::Error, error.to_string())],
        Err(_) => {
            let text = format!("no answer within {} s", TIMEOUT.as_secs());
            vec![finding(Level::Error, text)]
        }
    }
}

fn finding(level: Level, text: String) -> Finding {
    Finding {
        level,
        text,
        missing: None,
    }
}
