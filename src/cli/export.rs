//! `lagline export`: history out, as a table or as JSON lines.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};

use super::past::{PastArguments, Shown, complain_about};
use super::{Failure, output};
use crate::clock::Clock;
use crate::lag::ids::ClusterName;
use crate::points::{Batch, Csv, Detail, Measurement, Point, write_json};
use crate::store::history::replay::{Archive, Scope};

/// Bytes that are written at once.
const BUFFER: usize = 256 << 10;

/// The arguments of `lagline export`.
#[derive(Debug, Args)]
pub(super) struct ExportArguments {
    #[command(flatten)]
    past: PastArguments,
    /// Only this cluster
    #[arg(long, value_name = "CLUSTER")]
    cluster: Option<String>,
    /// Only this group; then without topics' own offsets
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Only this measurement; may be given several times
    #[arg(long, value_name = "MEASUREMENT")]
    measurement: Vec<Wanted>,
    /// A table, or one JSON object a line
    #[arg(long, value_name = "FORMAT", default_value = "csv")]
    format: Format,
    /// Write to this file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Wanted {
    Group,
    Topic,
    Partition,
    TopicOffset,
}

impl Wanted {
    const fn measurement(self) -> Measurement {
        match self {
            Wanted::Group => Measurement::Group,
            Wanted::Topic => Measurement::Topic,
            Wanted::Partition => Measurement::Partition,
            Wanted::TopicOffset => Measurement::TopicOffset,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Csv,
    Jsonl,
}

/// Writes points as lines.
enum Lines {
    Csv(Csv),
    Json,
}

impl Lines {
    fn write(&mut self, out: &mut Vec<u8>, point: &Point<'_>) {
        match self {
            Lines::Csv(csv) => csv.row(out, point),
            Lines::Json => {
                out.push(b'{');
                write_json(out, point);
                out.extend_from_slice(b"}\n");
            }
        }
    }
}

impl ExportArguments {
    /// In the order of the catalogue, each once.
    fn measurements(&self) -> Vec<Measurement> {
        let is_wanted = |wanted: &Wanted| match self.measurement.as_slice() {
            [] => *wanted != Wanted::TopicOffset || self.group.is_none(),
            some => some.contains(wanted),
        };
        let all = Wanted::value_variants().iter();
        let wanted = all.filter(|wanted| is_wanted(wanted));
        wanted.map(|wanted| wanted.measurement()).collect()
    }

    fn scope(&self, archive: &Archive) -> Result<Scope, Failure> {
        let measurements = self.measurements();
        let logs = measurements.contains(&Measurement::TopicOffset);
        if logs && self.group.is_some() {
            let message = "--group: topics' own offsets belong to no group; leave out either \
                           --group or --measurement topic-offset";
            return Err(Failure::Usage(message.to_owned()));
        }
        if let Some(cluster) = &self.cluster {
            is_known(archive, cluster)?;
        }
        let (from, to) = self.past.range(Clock::system().now())?;
        Ok(Scope {
            cluster: self.cluster.clone().map(ClusterName::new),
            group: self.group.clone(),
            groups: measurements != [Measurement::TopicOffset],
            logs,
            ..Scope::between(from, to)
        })
    }
}

fn is_known(archive: &Archive, cluster: &str) -> Result<(), Failure> {
    let known = archive.clusters().context("cannot read the history")?;
    if known.iter().any(|known| known.as_str() == cluster) {
        return Ok(());
    }
    let known: Vec<_> = known
        .iter()
        .map(|it| output::visible(it.as_str()))
        .collect();
    let known = match known.is_empty() {
        true => "nothing yet".to_owned(),
        false => known.join(", "),
    };
    let cluster = output::visible(cluster);
    let message = format!("no cluster {cluster} in the history; it has {known}");
    Err(Failure::Usage(message))
}

/// Writes what is asked for.
pub(super) fn run(arguments: &ExportArguments, log: &str) -> Result<(), Failure> {
    output::start_log(if log == "info" { "warn" } else { log })?;
    let mut archive = arguments.past.open()?;
    let scope = arguments.scope(&archive)?;
    match &arguments.output {
        Some(path) => {
            let file = File::create(path).map_err(|error| {
                Failure::Failed(anyhow!("cannot write {}: {error}", path.display()))
            })?;
            export(arguments, &mut archive, scope, file)
        }
        None => export(arguments, &mut archive, scope, std::io::stdout().lock()),
    }
}

fn export(
    arguments: &ExportArguments,
    archive: &mut Archive,
    scope: Scope,
    out: impl Write,
) -> Result<(), Failure> {
    let mut out = BufWriter::with_capacity(BUFFER, out);
    let measurements = arguments.measurements();
    let mut text = Vec::new();
    let mut lines = match arguments.format {
        Format::Csv => {
            let csv = Csv::new(&measurements);
            csv.header(&mut text);
            Lines::Csv(csv)
        }
        Format::Jsonl => Lines::Json,
    };
    let unreadable = "cannot read the history";
    let mut replay = archive.replay(scope, None).context(unreadable)?;
    let mut shown = Shown::new(replay.progress());
    while let Some(piece) = replay.next_piece().context(unreadable)? {
        let batch = Batch::of(&piece.frame, Detail::Partition);
        for point in batch.iter() {
            if measurements.contains(&point.measurement()) {
                lines.write(&mut text, &point);
                shown.points += 1;
            }
        }
        out.write_all(&text)?;
        text.clear();
        shown.show(replay.progress());
    }
    out.write_all(&text)?;
    out.flush()?;
    shown.finish();
    complain_about(replay.losses());
    Ok(())
}
