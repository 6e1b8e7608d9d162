//! `lagline groups`: what every group is doing, as a table or as JSON.

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use unicode_width::UnicodeWidthStr;

use super::http::ServerArgument;
use super::output::visible;
use super::{Failure, output};
use crate::lag::reason::{Grouped, Span};

/// The arguments of `lagline groups`.
#[derive(Debug, Args)]
pub(super) struct GroupsArguments {
    #[command(flatten)]
    server: ServerArgument,
    /// Only groups of this cluster
    #[arg(long, value_name = "CLUSTER")]
    cluster: Option<String>,
    /// Only groups with this status; may be given several times
    #[arg(long, value_name = "STATUS", ignore_case = true)]
    status: Vec<GroupStatus>,
    /// A JSON list instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum GroupStatus {
    Ok,
    Warn,
    Err,
}

impl GroupStatus {
    fn word(self) -> &'static str {
        match self {
            GroupStatus::Ok => "OK",
            GroupStatus::Warn => "WARN",
            GroupStatus::Err => "ERR",
        }
    }
}

#[derive(Debug, Deserialize)]
struct Answer {
    groups: Vec<serde_json::Value>,
    #[serde(default)]
    clusters: Vec<ClusterLine>,
    /// The cursor of the next page.
    #[serde(default)]
    next: Option<String>,
}

/// Says why a cluster's groups are not in the list.
#[derive(Debug, Deserialize)]
struct ClusterLine {
    cluster: String,
    #[serde(default)]
    note: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct GroupLine {
    cluster: String,
    group: String,
    status: String,
    #[serde(default)]
    stale: bool,
    #[serde(default)]
    warming: bool,
    lag: Option<i64>,
    time_lag_s: Option<f64>,
    time_lag_method: Option<String>,
    reason: Option<String>,
}

/// Asks, and prints the table or the list.
pub(super) fn run(arguments: &GroupsArguments) -> Result<(), Failure> {
    let mut query = Vec::new();
    if let Some(cluster) = &arguments.cluster {
        query.push(("cluster", cluster.clone()));
    }
    for status in &arguments.status {
        query.push(("status", status.word().to_owned()));
    }
    let mut answer: Answer = arguments.server.ask("/api/v1/groups", &query)?;
    while let Some(next) = answer.next.take() {
        let mut query = query.clone();
        query.push(("cursor", next));
        let page: Answer = arguments.server.ask("/api/v1/groups", &query)?;
        answer.groups.extend(page.groups);
        answer.next = page.next;
    }
    for cluster in &answer.clusters {
        if let Some(note) = &cluster.note {
            output::complain(&format!("{}: {}", visible(&cluster.cluster), visible(note)));
        }
    }
    if arguments.json {
        let mut text = serde_json::to_string_pretty(&answer.groups).map_err(anyhow::Error::from)?;
        text.push('\n');
        return output::print(&text);
    }
    let lines: Result<Vec<GroupLine>, _> = answer
        .groups
        .into_iter()
        .map(serde_json::from_value)
        .collect();
    let lines = lines.map_err(|error| {
        anyhow::anyhow!("this lagline and the running one do not understand each other: {error}")
    })?;
    output::print(&table(&lines, output::has_colour()))
}

/// The table: worst first as the server sorted it; columns as wide as their widest cell.
fn table(lines: &[GroupLine], colour: bool) -> String {
    let head = ["CLUSTER", "GROUP", "STATUS", "LAG", "TIME LAG", "REASON"].map(str::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(head).chain(lines.iter().map(row)).collect();
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let mut text = String::new();
    for (i, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            let pad = " ".repeat(width - cell.width());
            let is_number = column == 3 || column == 4;
            let shown = if column == 2 && colour && i > 0 {
                paint(cell)
            } else {
                cell.clone()
            };
            let (before, after) = if is_number {
                (pad.as_str(), "")
            } else {
                ("", pad.as_str())
            };
            line.push_str(&format!("{before}{shown}{after}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn row(line: &GroupLine) -> [String; 6] {
    let mark = match (line.stale, line.warming) {
        (true, _) => " (stale)",
        (false, true) => " (warming)",
        (false, false) => "",
    };
    [
        visible(&line.cluster),
        visible(&line.group),
        format!("{}{mark}", visible(&line.status)),
        line.lag
            .map_or_else(|| "?".to_owned(), |lag| Grouped(lag).to_string()),
        time_lag(line),
        line.reason.as_deref().map(visible).unwrap_or_default(),
    ]
}

fn time_lag(line: &GroupLine) -> String {
    let Some(seconds) = line.time_lag_s else {
        return "?".to_owned();
    };
    #[allow(
        clippy::cast_possible_truncation,
        reason = "shown in whole milliseconds"
    )]
    let span = Span((seconds * 1000.0) as i64);
    if line.time_lag_method.as_deref() == Some("at_least") {
        format!("≥ {span}")
    } else {
        span.to_string()
    }
}

fn paint(status: &str) -> String {
    let colour = match status.split(' ').next() {
        Some("OK") => "32",
        Some("WARN") => "33",
        _ => "31",
    };
    format!("\x1b[{colour}m{status}\x1b[0m")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(group: &str, status: &str, lag: Option<i64>, time_lag_s: Option<f64>) -> GroupLine {
        GroupLine {
            cluster: "prod".to_owned(),
            group: group.to_owned(),
            status: status.to_owned(),
            stale: false,
            warming: false,
            lag,
            time_lag_s,
            time_lag_method: Some("interpolated".to_owned()),
            reason: None,
        }
    }

    #[test]
    fn aligns_columns_and_marks_the_unknown() {
        let mut late = line("payments", "ERR", Some(1_234_567), Some(95.0));
        late.reason = Some("orders/3: no commit for 95 s".to_owned());
        late.time_lag_method = Some("at_least".to_owned());
        let mut stale = line("été", "OK", None, None);
        stale.stale = true;
        assert_eq!(
            table(&[late, stale], false),
            "CLUSTER  GROUP     STATUS            LAG  TIME LAG  REASON\n\
             prod     payments  ERR         1,234,567    ≥ 95 s  orders/3: no commit for 95 s\n\
             prod     été       OK (stale)          ?         ?\n"
        );
    }

    #[test]
    fn a_name_cannot_write_into_the_terminal() {
        let text = table(&[line("a\x1b[2Jb\n", "OK", Some(0), Some(0.0))], false);
        assert!(!text.contains('\x1b'), "{text:?}");
        assert_eq!(text.lines().count(), 2);
    }
}
