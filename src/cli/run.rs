//! `lagline run`: watch clusters until stopped.

use std::net::SocketAddr;

use anyhow::Context;
use clap::Args;
use tokio_util::sync::CancellationToken;

use super::{ConfigArgument, Failure, load, output, progress};
use crate::app::App;
use crate::clock::Clock;
use crate::config::clusters::{ClusterSettings, check_address};
use crate::config::{Config, ServerSettings, StoreConfig};
use crate::lag::ids::ClusterName;

/// The arguments of `lagline run`.
#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// Configuration file
    #[arg(long, short, value_name = "FILE", env = "LAGLINE_CONFIG")]
    config: Option<std::path::PathBuf>,
    /// Without a configuration: addresses of one cluster, which is then called "default"
    #[arg(
        long,
        value_name = "HOST:PORT",
        value_delimiter = ',',
        conflicts_with = "config"
    )]
    bootstrap: Vec<String>,
    /// Address to listen on, instead of the configured one
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
}

impl RunArguments {
    fn config(&self) -> Result<Config, Failure> {
        let mut config = match (&self.config, self.bootstrap.as_slice()) {
            (Some(config), _) => load(&ConfigArgument {
                config: config.clone(),
            })?,
            (None, []) => {
                return Err(Failure::Usage(
                    "nothing to watch: give --config FILE or --bootstrap HOST:PORT".to_owned(),
                ));
            }
            (None, addresses) => {
                for address in addresses {
                    check_address(address)
                        .map_err(|expected| Failure::Usage(format!("--bootstrap: {expected}")))?;
                }
                simple(addresses.to_vec())
            }
        };
        if let Some(listen) = self.listen {
            config.server.listen = listen;
        }
        Ok(config)
    }
}

/// One cluster, no sinks, nothing kept.
pub(super) fn simple(addresses: Vec<String>) -> Config {
    let cluster = ClusterSettings::new(addresses);
    Config {
        interval: std::time::Duration::from_secs(10),
        server: ServerSettings::default(),
        store: StoreConfig::default(),
        clusters: [(ClusterName::new("default"), cluster)].into(),
        sinks: [].into(),
    }
}

/// Runs until a signal comes.
pub(super) fn run(arguments: &RunArguments, log: &str) -> Result<(), Failure> {
    let config = arguments.config()?;
    serve(config, log, |_| Ok(()))
}

/// Runs lagline; `started` is called once it answers.
pub(super) fn serve(
    config: Config,
    log: &str,
    started: impl FnOnce(&App) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let log_level = output::start_log(log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("lagline")
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let mut app = App::start(config, Clock::system(), log_level).await?;
        started(&app)?;
        let done = CancellationToken::new();
        let show = progress::show(app.health(), done.clone());
        let ended = tokio::select! {
            ended = app.unexpected_end() => ended,
            ended = async { tokio::join!(show, signal()).1 } => ended,
        };
        done.cancel();
        tracing::info!("stopping");
        // A second signal does not wait for the sinks.
        tokio::select! {
            () = app.stop() => {}
            _ = signal() => tracing::warn!("stopped at once; what is not delivered is kept"),
        }
        Ok(ended?)
    })
}

/// Waits for the signal to stop.
pub(super) async fn signal() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
