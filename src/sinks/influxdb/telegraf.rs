//! Points as Telegraf's `inputs.burrow` writes them, for dashboards and alerts made for it.
//!
//! Names, tags, fields and status numbers are the plugin's (Telegraf 1.17 and later,
//! `plugins/inputs/burrow/burrow.go`); its numbers are not Burrow's own: WARN is 3, ERR 4, STOP 5,
//! STALL 6, and REWIND, which it does not know, 0. The owner of a partition is a tag, as there.
//!
//! Two things differ on purpose: the time is the beat and not when somebody asked, and a partition
//! without a commit has no point, where the plugin writes offset 0 at time 0.

use super::line_protocol::{Encoded, Lines};
use crate::lag::evaluation::{GroupEvaluation, PartitionEvaluation};
use crate::points::{Batch, Measurement, OwnedPoint, OwnedValue, Point, Row, Value};

/// Whether the plugin has a measurement for these points.
pub(super) fn takes(measurement: Measurement) -> bool {
    name(measurement).is_some()
}

/// What the plugin calls a measurement.
fn name(measurement: Measurement) -> Option<&'static str> {
    match measurement {
        Measurement::Group => Some("burrow_group"),
        Measurement::Partition => Some("burrow_partition"),
        Measurement::TopicOffset => Some("burrow_topic"),
        Measurement::Topic | Measurement::Cluster | Measurement::Status | Measurement::Sink => None,
    }
}

/// Encodes every point of the batch that the plugin has a measurement for.
pub(super) fn encode(batch: &Batch) -> Encoded {
    let mut lines = Lines::with_capacity(batch.len());
    for point in batch.iter() {
        if let Some(name) = name(point.measurement()) {
            line(&mut lines, name, &point);
        }
        lines.end_point();
    }
    lines.into_encoded()
}

fn line(lines: &mut Lines, name: &str, point: &Point<'_>) {
    let mut owner = None;
    point.optional_fields(&mut |field, value| {
        if let ("owner", Value::Text(host)) = (field, value) {
            owner = Some(host.to_owned());
        }
    });
    lines.begin(name);
    point.tags(&mut |tag, value| {
        // Tags are sorted: cluster, group, owner, partition, topic.
        if tag == "partition"
            && let Some(owner) = &owner
        {
            lines.tag("owner", owner);
        }
        lines.tag(tag, value);
    });
    let mut field = |name: &str, value: Value<'_>| lines.field(name, value);
    match point.row() {
        Row::Group { group, .. } => group_fields(group, &mut field),
        Row::Partition { state, .. } => partition_fields(state, &mut field),
        Row::TopicOffset { log, .. } => {
            if let Some(end) = log.end.get() {
                field("offset", Value::Int(end));
            }
        }
        Row::Owned { point } => owned_fields(point, &mut field),
        Row::Cluster { .. } | Row::Topic { .. } | Row::Status { .. } | Row::Sink { .. } => {}
    }
    lines.time(point.at());
}

type Field<'f> = dyn FnMut(&str, Value<'_>) + 'f;

fn group_fields(group: &GroupEvaluation, field: &mut Field<'_>) {
    let totals = &group.totals;
    let rows = || group.topics.iter().flat_map(|topic| &topic.partitions);
    let ends = || rows().filter_map(|row| row.end);
    let max = totals.max_lag.and_then(|place| group.at(place));
    let offset = ends().fold(0_i64, |sum, end| sum.saturating_add(end.offset));
    let newest = ends().map(|end| end.timestamp.as_ms()).max();
    field("lag", Value::Int(max.map_or(0, |(_, row)| row.current_lag)));
    field("offset", Value::Int(offset));
    field("partition_count", Value::Int(totals.partitions.into()));
    status(group.status.as_str(), field);
    field("timestamp", Value::Int(newest.unwrap_or(0).max(0)));
    field("total_lag", Value::Int(totals.total_lag));
}

fn partition_fields(state: &PartitionEvaluation, field: &mut Field<'_>) {
    field("lag", Value::Int(state.current_lag));
    if let Some(end) = &state.end {
        field("offset", Value::Int(end.offset));
    }
    status(state.status().as_str(), field);
    if let Some(end) = &state.end {
        field("timestamp", Value::Int(end.timestamp.as_ms()));
    }
}

/// A point without its frame (from a dead letter or from history) has only what the catalogue
/// has: what it does not know is absent.
fn owned_fields(point: &OwnedPoint, field: &mut Field<'_>) {
    let names: &[(&str, &str)] = match point.measurement {
        Measurement::Group => &[
            ("lag", "total_lag"),
            ("max_lag", "lag"),
            ("partitions", "partition_count"),
        ],
        Measurement::Partition => &[("lag", "lag"), ("offset", "offset")],
        Measurement::TopicOffset => &[("end_offset", "offset")],
        Measurement::Topic | Measurement::Cluster | Measurement::Status | Measurement::Sink => &[],
    };
    for (name, value) in &point.fields {
        match value {
            OwnedValue::Int(number) => {
                if let Some((_, theirs)) = names.iter().find(|(ours, _)| ours == name) {
                    field(theirs, Value::Int(*number));
                }
            }
            OwnedValue::Text(word) if *name == "status" => status(word, field),
            OwnedValue::Float(_) | OwnedValue::Bool(_) | OwnedValue::Text(_) => {}
        }
    }
}

fn status(word: &str, field: &mut Field<'_>) {
    let code = match word {
        "OK" => 1,
        "WARN" => 3,
        "ERR" => 4,
        "STOP" => 5,
        "STALL" => 6,
        _ => 0,
    };
    field("status", Value::Text(word));
    field("status_code", Value::Int(code));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::golden;
    use crate::points::{Detail, sample};

    fn text(batch: &Batch) -> String {
        String::from_utf8(encode(batch).body().to_vec()).unwrap()
    }

    #[test]
    fn points_look_as_the_plugin_writes_them() {
        let mut all = text(&Batch::of(&sample::small(1), Detail::Partition));
        all += &text(&Batch::of(&sample::sinks(2), Detail::Partition));
        golden::check("tests/golden/influxdb/telegraf-burrow.lp", &all);
        let lines = influxdb_line_protocol::parse_lines(&all);
        assert!(lines.map(Result::unwrap).count() > 5);
    }

    /// Tags, fields and their types of the plugin's own tests (`burrow_test.go`).
    #[test]
    fn each_measurement_has_the_plugins_tags_and_fields() {
        let all = text(&Batch::of(&sample::small(1), Detail::Partition));
        for (measurement, tags, fields) in [
            (
                "burrow_group",
                "cluster group",
                "lag:i offset:i partition_count:i status:s status_code:i timestamp:i total_lag:i",
            ),
            (
                "burrow_partition",
                "cluster group owner partition topic",
                "lag:i offset:i status:s status_code:i timestamp:i",
            ),
            ("burrow_topic", "cluster partition topic", "offset:i"),
        ] {
            let line = influxdb_line_protocol::parse_lines(&all)
                .map(Result::unwrap)
                .find(|line| line.series.measurement == measurement)
                .unwrap();
            let names = line.series.tag_set.unwrap();
            let names: Vec<_> = names.iter().map(|(name, _)| name.to_string()).collect();
            assert_eq!(names.join(" "), tags);
            let types: Vec<_> = line
                .field_set
                .iter()
                .map(|(name, value)| {
                    let kind = match value {
                        influxdb_line_protocol::FieldValue::I64(_) => "i",
                        influxdb_line_protocol::FieldValue::String(_) => "s",
                        influxdb_line_protocol::FieldValue::U64(_)
                        | influxdb_line_protocol::FieldValue::F64(_)
                        | influxdb_line_protocol::FieldValue::Boolean(_) => "?",
                    };
                    format!("{name}:{kind}")
                })
                .collect();
            assert_eq!(types.join(" "), fields);
        }
    }

    #[test]
    fn numbers_of_statuses_are_telegrafs() {
        for (word, code) in [
            ("OK", 1),
            ("WARN", 3),
            ("ERR", 4),
            ("STOP", 5),
            ("STALL", 6),
            ("REWIND", 0),
        ] {
            let mut found = None;
            status(word, &mut |name, value| {
                if name == "status_code" {
                    found = Some(format!("{value:?}"));
                }
            });
            assert_eq!(found, Some(format!("Int({code})")), "{word}");
        }
    }

    #[test]
    fn a_point_without_its_frame_has_what_is_known_of_it() {
        let batch = Batch::of(&sample::small(1), Detail::Partition);
        let mut owned = Batch::new();
        for point in batch.iter().filter(|point| takes(point.measurement())) {
            owned.push_owned(Arc::new(OwnedPoint::of(&point)));
        }
        let (all, owned) = (text(&batch), text(&owned));
        assert_eq!(all.lines().count(), owned.lines().count());
        let shown = |text: &str| -> Vec<String> {
            let lines = influxdb_line_protocol::parse_lines(text).map(Result::unwrap);
            let status = |name: &str| name.starts_with("status");
            lines
                .map(|line| {
                    let fields = line.field_set.iter();
                    let fields: Vec<_> = fields.filter(|(name, _)| status(name)).collect();
                    format!("{:?} {fields:?}", line.series.tag_set)
                })
                .collect()
        };
        assert_eq!(shown(&all), shown(&owned));
        assert!(owned.contains("lag=101i,offset=900i"), "{owned}");
    }
}
