//! Burrow's JSON, written straight from an evaluation.
//!
//! Field names, their order, hyphens and underscores are Burrow's, inconsistencies included.

use std::io;

use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq, Serializer};
use serde_json::ser::Formatter;

use crate::lag::cluster::{GroupWindows, PartitionWindow};
use crate::lag::evaluation::{CommitView, GroupEvaluation, PartitionEvaluation, Status};

/// Every answer: `error`, `message`, the payload under its own key, `request`.
pub(super) struct Answer<'a, T> {
    pub(super) error: bool,
    pub(super) message: &'a str,
    pub(super) payload: &'a [(&'a str, T)],
    pub(super) request: RequestInfo<'a>,
    pub(super) place: Place,
}

/// Where `request` stands in an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Before the payload.
    Third,
    Last,
}

/// What was asked, and who answers.
#[derive(Serialize)]
pub(super) struct RequestInfo<'a> {
    pub(super) url: &'a str,
    pub(super) host: &'a str,
}

impl<T: Serialize> Serialize for Answer<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3 + self.payload.len()))?;
        map.serialize_entry("error", &self.error)?;
        map.serialize_entry("message", self.message)?;
        if self.place == Place::Third {
            map.serialize_entry("request", &self.request)?;
        }
        for (key, payload) in self.payload {
            map.serialize_entry(key, payload)?;
        }
        if self.place == Place::Last {
            map.serialize_entry("request", &self.request)?;
        }
        map.end()
    }
}

/// Writes JSON as Go does.
pub(super) fn to_json(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(256);
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, GoStrings);
    value.serialize(&mut serializer)?;
    Ok(bytes)
}

/// Go escapes what a browser could take for HTML or JavaScript, too.
struct GoStrings;

impl Formatter for GoStrings {
    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let is_special = |c| matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}');
        for piece in fragment.split_inclusive(is_special) {
            match piece.chars().next_back().filter(|&c| is_special(c)) {
                None => writer.write_all(piece.as_bytes())?,
                Some(c) => {
                    writer.write_all(&piece.as_bytes()[..piece.len() - c.len_utf8()])?;
                    write!(writer, "\\u{:04x}", u32::from(c))?;
                }
            }
        }
        Ok(())
    }
}

/// A 32-bit float as Go writes it: `0.7`, `1`, `0`.
pub(super) struct Ratio(pub(super) f32);

impl Serialize for Ratio {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[allow(clippy::cast_possible_truncation, reason = "whole and small")]
        if self.0.fract() == 0.0 && self.0.abs() < 1e9 {
            return serializer.serialize_i64(self.0 as i64);
        }
        serializer.serialize_f32(self.0)
    }
}

#[derive(Serialize)]
struct CommitShape {
    offset: i64,
    timestamp: i64,
    #[serde(rename = "observedAt")]
    observed_at: i64,
    lag: Option<i64>,
}

impl From<&CommitView> for CommitShape {
    fn from(commit: &CommitView) -> Self {
        Self {
            offset: commit.offset,
            timestamp: commit.timestamp.as_ms(),
            observed_at: i64::from(commit.observed_at.get()) * 1000,
            lag: commit.lag.get(),
        }
    }
}

/// `status` of `/status` and `/lag`.
#[derive(Serialize)]
pub(super) struct StatusShape<'a> {
    cluster: &'a str,
    group: &'a str,
    status: &'static str,
    complete: Ratio,
    partitions: Partitions<'a>,
    partition_count: u32,
    maxlag: Option<PartitionShape<'a>>,
    totallag: i64,
}

impl<'a> StatusShape<'a> {
    /// A group; with `all` every partition, else those worse than OK.
    pub(super) fn of(cluster: &'a str, group: &'a GroupEvaluation, all: bool) -> Self {
        let max = group
            .totals
            .max_lag
            .and_then(|place| Some((place, group.at(place)?)));
        Self {
            cluster,
            group: group.id.as_str(),
            status: group.status.as_str(),
            complete: Ratio(group.complete),
            partitions: Partitions {
                group: Some(group),
                all,
            },
            partition_count: group.totals.partitions,
            maxlag: max.map(|((_, partition), (topic, row))| {
                PartitionShape::of(group, topic.topic.as_str(), partition as usize, row)
            }),
            totallag: group.totals.total_lag,
        }
    }

    /// A group or cluster that is not known.
    pub(super) fn not_found(cluster: &'a str, group: &'a str) -> Self {
        Self {
            cluster,
            group,
            status: Status::NotFound.as_str(),
            complete: Ratio(1.0),
            partitions: Partitions {
                group: None,
                all: true,
            },
            partition_count: 0,
            maxlag: None,
            totallag: 0,
        }
    }
}

struct Partitions<'a> {
    group: Option<&'a GroupEvaluation>,
    all: bool,
}

impl Serialize for Partitions<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        let Some(group) = self.group else {
            return list.end();
        };
        for topic in &group.topics {
            for (partition, row) in topic.partitions.iter().enumerate() {
                if self.all || row.status() > Status::Ok {
                    let name = topic.topic.as_str();
                    list.serialize_element(&PartitionShape::of(group, name, partition, row))?;
                }
            }
        }
        list.end()
    }
}

#[derive(Serialize)]
struct PartitionShape<'a> {
    topic: &'a str,
    partition: usize,
    owner: &'a str,
    client_id: &'a str,
    status: &'static str,
    start: Option<CommitShape>,
    end: Option<CommitShape>,
    current_lag: i64,
    complete: Ratio,
}

impl<'a> PartitionShape<'a> {
    fn of(
        group: &'a GroupEvaluation,
        topic: &'a str,
        partition: usize,
        row: &PartitionEvaluation,
    ) -> Self {
        let owner = row.owner(&group.members);
        Self {
            topic,
            partition,
            owner: owner.map_or("", |member| &member.client_host),
            client_id: owner.map_or("", |member| &member.client_id),
            status: row.status().as_str(),
            start: row.start.as_ref().map(CommitShape::from),
            end: row.end.as_ref().map(CommitShape::from),
            current_lag: row.current_lag,
            complete: Ratio(row.complete),
        }
    }
}

/// `topics` of a consumer's detail: each partition's window, oldest commit first.
pub(super) struct WindowsShape<'a> {
    pub(super) windows: &'a GroupWindows,
    /// Commits a full window has.
    pub(super) intervals: usize,
}

impl Serialize for WindowsShape<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.windows.topics.len()))?;
        for (topic, partitions) in &self.windows.topics {
            let shapes: Vec<_> = partitions.iter().map(|p| self.partition(p)).collect();
            map.serialize_entry(topic.as_str(), &shapes)?;
        }
        map.end()
    }
}

#[derive(Serialize)]
struct WindowShape<'a> {
    offsets: Vec<Option<CommitShape>>,
    owner: &'a str,
    client_id: &'a str,
    #[serde(rename = "current-lag")]
    current_lag: i64,
}

impl WindowsShape<'_> {
    fn partition<'p>(&self, partition: &'p PartitionWindow) -> WindowShape<'p> {
        let is_untouched = partition.commits.is_empty() && partition.owner.is_empty();
        let blanks = self.intervals.saturating_sub(partition.commits.len());
        let blanks = if is_untouched { 0 } else { blanks };
        let mut offsets: Vec<Option<CommitShape>> = (0..blanks).map(|_| None).collect();
        offsets.extend(
            partition
                .commits
                .iter()
                .map(|commit| Some(CommitShape::from(commit))),
        );
        WindowShape {
            offsets,
            owner: &partition.owner,
            client_id: &partition.client_id,
            current_lag: partition.current_lag,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_written_as_go_writes_them() {
        let written = to_json(&"<a href=\"x\">&\u{2028}ü\n").unwrap();
        let expected = r#""\u003ca href=\"x\"\u003e\u0026\u2028ü\n""#;
        assert_eq!(String::from_utf8(written).unwrap(), expected);
    }

    #[test]
    fn floats_are_written_as_go_writes_them() {
        for (value, expected) in [
            (0.7, "0.7"),
            (1.0, "1"),
            (0.0, "0"),
            (0.1, "0.1"),
            (1.0 / 3.0, "0.33333334"),
        ] {
            assert_eq!(serde_json::to_string(&Ratio(value)).unwrap(), expected);
        }
    }
}
