//! What Prometheus calls a field: the one naming of `/metrics` and of remote write.
//!
//! Made from the catalogue by rule, so that a new field has its name at once: the prefix of its
//! measurement and its own name with the base unit written out (`time_lag_s` is
//! `lagline_group_time_lag_seconds`). Fields that are parts of one sum are one metric with a label
//! (`lagline_group_partitions{status="ok"}`), and the sum itself has none. Texts are no numbers and
//! have no metric.

use std::sync::LazyLock;

use super::{CATALOGUE, FieldInfo, FieldKind, Measurement, MeasurementInfo, Unit};

/// How a field is written for Prometheus.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    pub name: String,
    /// The label that tells the parts of one sum apart.
    pub label: Option<(&'static str, &'static str)>,
    /// What the field's number is multiplied by.
    pub scale: f64,
}

/// The metrics of a measurement: each in the place of its field, none for what has no metric.
pub fn metrics(measurement: Measurement) -> &'static [Option<Metric>] {
    static ALL: LazyLock<Vec<Vec<Option<Metric>>>> = LazyLock::new(|| {
        let of = |info: &MeasurementInfo| info.fields.iter().map(|f| metric(info, f)).collect();
        CATALOGUE.iter().map(of).collect()
    });
    &ALL[measurement as usize]
}

fn prefix(measurement: Measurement) -> &'static str {
    match measurement {
        Measurement::Group => "lagline_group",
        // `lagline_topic_` are the topic's own offsets, whoever reads it.
        Measurement::Topic => "lagline_group_topic",
        Measurement::Partition => "lagline_partition",
        Measurement::TopicOffset => "lagline_topic",
        Measurement::Cluster => "lagline_cluster",
        Measurement::Status => "lagline_status_change",
        Measurement::Sink => "lagline_sink",
    }
}

fn metric(info: &MeasurementInfo, field: &FieldInfo) -> Option<Metric> {
    if field.kind == FieldKind::Text {
        return None;
    }
    let (own, label) = match (info.measurement, field.name) {
        // The sum of its parts.
        (Measurement::Group, "partitions") => return None,
        // Not a part: such partitions have a status, too.
        (Measurement::Group, "partitions_unknown") => (field.name, None),
        (Measurement::Group, name) => match name.strip_prefix("partitions_") {
            Some(status) => ("partitions", Some(("status", status))),
            None => (name, None),
        },
        (Measurement::Sink, name) if field.unit == Unit::Points => {
            ("rows", Some(("outcome", name)))
        }
        (_, name) => (name, None),
    };
    let (own, suffix, scale) = match field.unit {
        Unit::Seconds => (own.trim_end_matches("_s"), "_seconds", 1.0),
        Unit::Milliseconds => (own.trim_end_matches("_ms"), "_seconds", 0.001),
        Unit::Code => (own.trim_end_matches("_code"), "", 1.0),
        Unit::Records
        | Unit::Offset
        | Unit::Count
        | Unit::Points
        | Unit::RecordsPerSecond
        | Unit::Ratio
        | Unit::Partition
        | Unit::None => (own, "", 1.0),
    };
    Some(Metric {
        name: format!("{}_{own}{suffix}", prefix(info.measurement)),
        label,
        scale,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn fields_are_named_by_rule() {
        for (measurement, field, expected) in [
            (Measurement::Group, "lag", "lagline_group_lag * 1"),
            (
                Measurement::Group,
                "status_code",
                "lagline_group_status * 1",
            ),
            (Measurement::Group, "status", "none"),
            (Measurement::Group, "stale", "lagline_group_stale * 1"),
            (
                Measurement::Group,
                "time_lag_s",
                "lagline_group_time_lag_seconds * 1",
            ),
            (Measurement::Group, "partitions", "none"),
            (
                Measurement::Group,
                "partitions_no_commit",
                "lagline_group_partitions{status=no_commit} * 1",
            ),
            (
                Measurement::Group,
                "partitions_unknown",
                "lagline_group_partitions_unknown * 1",
            ),
            (
                Measurement::Topic,
                "partitions",
                "lagline_group_topic_partitions * 1",
            ),
            (
                Measurement::TopicOffset,
                "end_offset",
                "lagline_topic_end_offset * 1",
            ),
            (
                Measurement::Cluster,
                "evaluate_ms",
                "lagline_cluster_evaluate_seconds * 0.001",
            ),
            (
                Measurement::Status,
                "to_code",
                "lagline_status_change_to * 1",
            ),
            (
                Measurement::Sink,
                "waiting",
                "lagline_sink_rows{outcome=waiting} * 1",
            ),
            (
                Measurement::Sink,
                "oldest_waiting_s",
                "lagline_sink_oldest_waiting_seconds * 1",
            ),
        ] {
            let fields = measurement.info().fields;
            let at = fields.iter().position(|info| info.name == field).unwrap();
            let shown = metrics(measurement)[at]
                .as_ref()
                .map_or("none".to_owned(), |m| {
                    let label = m
                        .label
                        .map_or(String::new(), |(k, v)| format!("{{{k}={v}}}"));
                    format!("{}{label} * {}", m.name, m.scale)
                });
            assert_eq!(shown, expected, "{field}");
        }
    }

    #[test]
    fn no_two_fields_are_one_metric_and_every_name_is_allowed() {
        let mut seen = BTreeSet::new();
        for metric in Measurement::ALL.into_iter().flat_map(metrics).flatten() {
            assert!(seen.insert((&metric.name, metric.label)), "{metric:?}");
            let is_fine = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(metric.name.chars().all(is_fine), "{metric:?}");
        }
        assert!(seen.len() > 50);
    }
}
