//! `lagline demo`: the whole pipeline on a simulated Kafka.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio_util::sync::CancellationToken;
use unicode_width::UnicodeWidthStr;

use super::{Failure, output, run};
use crate::demo;
use crate::lag::ids::ClusterName;

/// The arguments of `lagline demo`.
#[derive(Debug, Args)]
pub(super) struct DemoArguments {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:8000", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Another number, another story
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    seed: u64,
}

/// Starts the simulated Kafka and watches it.
pub(super) fn run(arguments: &DemoArguments, log: &str) -> Result<(), Failure> {
    let simulation = demo::start(arguments.seed).context("cannot start the simulated Kafka")?;
    let mut config = run::simple(simulation.bootstrap_servers());
    config.interval = demo::INTERVAL;
    config.server.listen = arguments.listen;
    let Some((_, mut cluster)) = config.clusters.pop_first() else {
        return Err(Failure::Failed(anyhow::anyhow!(
            "no cluster to demonstrate"
        )));
    };
    cluster.rules.offset_refresh = demo::OFFSET_REFRESH;
    config.clusters.insert(ClusterName::new("demo"), cluster);
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    let story = simulation.story();
    let driver = std::thread::Builder::new()
        .name("demo".to_owned())
        .spawn(move || simulation.run(stopping))
        .context("cannot start the demo's thread")?;
    let log = if log == "info" { "warn" } else { log };
    let result = run::serve(config, log, |app| {
        output::print(&introduction(app.address(), &story, demo::INTERVAL))
    });
    stop.cancel();
    if driver.join().is_err() {
        output::complain("the simulated Kafka panicked");
    }
    result
}

/// What there is to see.
fn introduction(address: SocketAddr, story: &[(String, String)], interval: Duration) -> String {
    let mut text = format!(
        "Open http://{address}/ in a browser: the page.\n\n\
         lagline watches a simulated Kafka (evaluated every {} s; everything is made up).\n\n",
        interval.as_secs()
    );
    let story: Vec<(String, &String)> = story
        .iter()
        .map(|(group, what)| (output::visible(group), what))
        .collect();
    let width = story.iter().map(|(group, _)| group.width()).max();
    let width = width.unwrap_or(0);
    for (group, what) in &story {
        let pad = " ".repeat(width - group.width());
        text.push_str(&format!("  {group}{pad}  {what}\n"));
    }
    let program = std::env::args()
        .next()
        .unwrap_or_else(|| "lagline".to_owned());
    text.push_str(&format!(
        "\nMore to look at (statuses show within half a minute):\n\
         \x20 {program} groups --url http://{address}\n\
         \x20 http://{address}/v3/kafka/demo/consumer   Burrow's API\n\
         \x20 http://{address}/api/v1/groups            lagline's own\n\
         \x20 http://{address}/metrics                  for Prometheus\n\
         \x20 http://{address}/health                   how lagline itself is doing\n\n\
         Ctrl-C ends it.\n"
    ));
    text
}
