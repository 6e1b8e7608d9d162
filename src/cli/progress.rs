//! How far the first reading is: a bar on a terminal, log lines elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::Stopwatch;
use crate::lag::evaluation::Phase;
use crate::lag::ids::ClusterName;
use crate::lag::reason::{Grouped, Span};
use crate::monitor::ClusterHealth;

/// How often a log line is written while reading.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// How often a bar is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(250);

/// Shows the progress of all clusters until each has been read, or `stop` is cancelled.
pub(super) async fn show(
    clusters: Vec<(ClusterName, watch::Receiver<ClusterHealth>)>,
    stop: CancellationToken,
) {
    let mut shown = Shown::new(std::io::stderr().is_terminal());
    let mut timer = tokio::time::interval(DRAW_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = timer.tick() => {}
        }
        let mut left = false;
        for (name, health) in &clusters {
            let phase = health.borrow().phase;
            shown.update(name, phase);
            left |= phase != Phase::Running;
        }
        if !left {
            break;
        }
    }
    shown.finish();
}

#[derive(Debug)]
struct Shown {
    bars: Option<MultiProgress>,
    clusters: BTreeMap<ClusterName, Reading>,
}

#[derive(Debug)]
struct Reading {
    since: Stopwatch,
    line: Stopwatch,
    bar: Option<ProgressBar>,
    done: bool,
}

impl Shown {
    fn new(terminal: bool) -> Self {
        let bars = terminal.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        Self {
            bars,
            clusters: BTreeMap::new(),
        }
    }

    fn update(&mut self, name: &ClusterName, phase: Phase) {
        let (read, total) = match phase {
            Phase::Waiting => return,
            Phase::Loading { read, total } => (read, total),
            Phase::Running => return self.done(name),
        };
        let bars = self.bars.as_ref();
        let reading = self
            .clusters
            .entry(name.clone())
            .or_insert_with(|| Reading {
                since: Stopwatch::start(),
                line: Stopwatch::start(),
                bar: bars.map(|bars| bars.add(bar(name))),
                done: false,
            });
        let elapsed = reading.since.elapsed();
        match &reading.bar {
            Some(bar) => {
                bar.set_length(total.max(0).unsigned_abs());
                bar.set_position(read.max(0).unsigned_abs());
            }
            None if reading.line.elapsed() >= LINE_EVERY => {
                reading.line = Stopwatch::start();
                tracing::info!(cluster = %name, "reading: {}", words(read, total, elapsed));
            }
            None => {}
        }
    }

    fn done(&mut self, name: &ClusterName) {
        let Some(reading) = self.clusters.get_mut(name).filter(|reading| !reading.done) else {
            return;
        };
        reading.done = true;
        if let Some(bar) = reading.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn finish(&self) {
        for bar in self
            .clusters
            .values()
            .filter_map(|reading| reading.bar.as_ref())
        {
            bar.finish_and_clear();
        }
    }
}

#[allow(clippy::expect_used, reason = "a constant template")]
fn bar(name: &ClusterName) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{prefix} {bar:30} {percent:>3} %  {human_pos} records  {per_sec}  {eta} left",
    )
    .expect("the template is valid");
    // No length yet: it is set with the first progress.
    let bar = ProgressBar::new(0).with_style(style);
    let name: String = name.as_str().chars().filter(|c| !c.is_control()).collect();
    bar.with_prefix(name)
}

/// "42 %, 1,234,567 of 3,000,000 records, 812,000 records/s, 2 s left".
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "shown rounded"
)]
fn words(read: i64, total: i64, elapsed: Duration) -> String {
    let mut text = format!("{} of {} records", Grouped(read), Grouped(total));
    if total > 0 {
        text = format!(
            "{} %, {text}",
            (read.clamp(0, total) as f64 / total as f64 * 100.0) as i64
        );
    }
    let rate = read as f64 / elapsed.as_secs_f64().max(0.001);
    if rate >= 1.0 {
        let left = (total - read).max(0) as f64 / rate;
        text.push_str(&format!(
            ", {} records/s, {} left",
            Grouped(rate as i64),
            Span((left * 1000.0) as i64)
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_percent_rate_and_time_left() {
        assert_eq!(
            words(1_000_000, 4_000_000, Duration::from_secs(2)),
            "25 %, 1,000,000 of 4,000,000 records, 500,000 records/s, 6 s left"
        );
        assert_eq!(words(0, 0, Duration::from_secs(2)), "0 of 0 records");
    }
}
