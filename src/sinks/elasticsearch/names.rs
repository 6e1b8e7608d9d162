//! What streams and fields are called: Elastic's own Kafka names where there are any, so that
//! dashboards and queries carry over, `kafka.lag.*` for the rest.

use crate::clock::Timestamp;
use crate::points::Measurement;

/// What lagline's templates begin with.
pub(super) const PREFIX: &str = "lagline-";

/// The data set of a measurement.
pub(super) const fn dataset(measurement: Measurement) -> &'static str {
    match measurement {
        Measurement::Group => "kafka_lag.group",
        Measurement::Topic => "kafka_lag.topic",
        Measurement::Partition => "kafka_lag.partition",
        Measurement::TopicOffset => "kafka_lag.topic_offset",
        Measurement::Cluster => "kafka_lag.cluster",
        Measurement::Status => "kafka_lag.status",
        Measurement::Sink => "kafka_lag.sink",
    }
}

/// The type of a measurement's data stream: status changes are events.
pub(super) const fn stream_type(measurement: Measurement) -> &'static str {
    match measurement {
        Measurement::Status => "logs",
        Measurement::Group
        | Measurement::Topic
        | Measurement::Partition
        | Measurement::TopicOffset
        | Measurement::Cluster
        | Measurement::Sink => "metrics",
    }
}

/// The data stream of a measurement.
pub(super) fn stream(measurement: Measurement, namespace: &str) -> String {
    let kind = stream_type(measurement);
    format!("{kind}-{}-{namespace}", dataset(measurement))
}

/// The daily indexes of a measurement, without the day. It does not begin like a data stream, so
/// that the templates that Elasticsearch brings for `metrics-*-*` never match it.
pub(super) fn daily(measurement: Measurement, namespace: &str) -> String {
    format!("{}-{namespace}-", dataset(measurement))
}

/// The day of a daily index: `2026.01.31`, in UTC.
pub(super) fn day(at: Timestamp) -> String {
    utc(at).strftime("%Y.%m.%d").to_string()
}

/// The time of a document: `2026-01-31T12:00:00.000Z`.
pub(super) fn time(at: Timestamp) -> String {
    utc(at).strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

fn utc(at: Timestamp) -> jiff::Zoned {
    jiff::Timestamp::from_millisecond(at.as_ms())
        .unwrap_or_default()
        .to_zoned(jiff::tz::TimeZone::UTC)
}

/// The path of a tag.
pub(super) fn tag_path(tag: &str) -> &'static str {
    match tag {
        "cluster" => "kafka.cluster.name",
        "group" => "kafka.consumergroup.id",
        "topic" => "kafka.topic.name",
        "partition" => "kafka.partition.id",
        "sink" => "lagline.sink.name",
        other => unreachable!("the catalogue has no tag {other}"),
    }
}

/// The path of a field.
pub(super) fn field_path(measurement: Measurement, field: &str) -> String {
    let own = match (measurement, field) {
        (Measurement::Partition, "lag") => "kafka.consumergroup.consumer_lag",
        (Measurement::Partition, "offset") => "kafka.consumergroup.offset",
        (Measurement::Partition, "client_id") => "kafka.consumergroup.client.id",
        (Measurement::Partition, "owner") => "kafka.consumergroup.client.host",
        (Measurement::TopicOffset, "end_offset") => "kafka.partition.offset.newest",
        (Measurement::TopicOffset, "begin_offset") => "kafka.partition.offset.oldest",
        (Measurement::Status, "reason") => "event.reason",
        (Measurement::Cluster, other) => return format!("kafka.cluster.{other}"),
        (Measurement::Sink, other) => return format!("lagline.sink.{other}"),
        (_, "lag") => "kafka.lag.sum",
        (_, "time_lag_s") => "kafka.lag.time_s",
        (_, "time_lag_error_s") => "kafka.lag.time_error_s",
        (_, other) => return format!("kafka.lag.{other}"),
    };
    own.to_owned()
}

/// Whether a namespace can be part of a data stream's name.
pub(super) fn is_namespace(text: &str) -> bool {
    let is_allowed =
        |c: char| !c.is_control() && !c.is_uppercase() && !"\\/*?\"<>| ,#:-".contains(c);
    !text.is_empty() && text.len() <= 100 && text.chars().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::points::CATALOGUE;

    #[test]
    fn no_two_tags_or_fields_of_a_measurement_share_a_path() {
        for info in CATALOGUE {
            let mut seen = BTreeSet::new();
            let tags = info.tags.iter().map(|tag| tag_path(tag.name).to_owned());
            let fields = info
                .fields
                .iter()
                .map(|field| field_path(info.measurement, field.name));
            for path in tags.chain(fields) {
                assert!(seen.insert(path.clone()), "{path}");
            }
            // A path that is also the beginning of another one cannot be mapped.
            for path in &seen {
                let inside = format!("{path}.");
                assert!(
                    !seen.iter().any(|other| other.starts_with(&inside)),
                    "{path}"
                );
            }
        }
    }

    #[test]
    fn a_day_and_a_time_are_in_utc() {
        let at = Timestamp::from_ms(1_767_225_599_999);
        assert_eq!(day(at), "2025.12.31");
        assert_eq!(time(at), "2025-12-31T23:59:59.999Z");
        assert_eq!(time(Timestamp::from_ms(0)), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_namespace_has_no_hyphen_and_no_capital() {
        for (text, expected) in [
            ("default", true),
            ("team_1.é", true),
            ("", false),
            ("a-b", false),
            ("Prod", false),
            ("a*", false),
            ("a b", false),
        ] {
            assert_eq!(is_namespace(text), expected, "{text}");
        }
    }
}
