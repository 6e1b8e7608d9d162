//! Writing to the terminal, and whether it is one.

use std::io::{IsTerminal, Write};

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, reload};

use super::Failure;
use crate::server::LogLevel;

/// Writes to standard output.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Writes an error to standard error.
pub(super) fn complain(message: &str) {
    // Nobody reads it: nothing is left to be done.
    drop(writeln!(std::io::stderr().lock(), "lagline: {message}"));
}

/// Whether standard output shows colours: a terminal, and `NO_COLOR` is not set.
pub(super) fn has_colour() -> bool {
    std::io::stdout().is_terminal() && !no_color()
}

/// <https://no-color.org>: present and not empty.
pub(super) fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// Starts logging to standard error; what it returns changes the level later.
pub(super) fn start_log(filter: &str) -> Result<LogLevel, Failure> {
    let parsed = EnvFilter::try_new(filter)
        .map_err(|error| Failure::Usage(format!("--log {filter}: {error}")))?;
    let (parsed, handle) = reload::Layer::new(parsed);
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal() && !no_color())
        .with_target(false)
        .with_writer(std::io::stderr);
    tracing_subscriber::registry()
        .with(parsed)
        .with(lines)
        .init();
    Ok(LogLevel::new(filter, move |level| {
        if let Err(error) = handle.reload(EnvFilter::new(level)) {
            tracing::warn!(%error, "the log level could not be changed");
        }
    }))
}

/// Names are foreign text: control characters would write into the operator's terminal.
pub(super) fn visible(text: &str) -> String {
    let show = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(show).collect()
}
