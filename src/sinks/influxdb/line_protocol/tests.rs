use std::collections::BTreeMap;
use std::sync::Arc;

use influxdb_line_protocol::{FieldValue, parse_lines};

use super::*;
use crate::golden;
use crate::lag::evaluation::{Evaluation, GroupEvaluation};
use crate::lag::ids::{ClusterName, GroupId, TopicName};
use crate::points::{Detail, OwnedPoint, sample};
use crate::store::frame::{Body, Frame};

fn text(batch: &Batch, owner_fields: bool) -> String {
    String::from_utf8(encode(batch, owner_fields).body().to_vec()).unwrap()
}

#[test]
fn every_measurement_is_written_as_the_golden_file_has_it() {
    let mut all = text(&Batch::of(&sample::small(1), Detail::Partition), true);
    all.push_str(&text(
        &Batch::of(&sample::sinks(2), Detail::Partition),
        true,
    ));
    golden::check("tests/golden/influxdb/points.lp", &all);
}

#[test]
fn owner_and_client_are_written_when_asked_for() {
    let batch = Batch::of(&sample::small(1), Detail::Partition);
    let with = text(&batch, true);
    assert!(with.contains(r#"owner="/10.0.0.7",client_id="app-1""#));
    let without = text(&batch, false);
    assert!(!without.contains("owner=") && !without.contains("client_id="));
}

/// `sample::small` with other names.
pub(in crate::sinks::influxdb) fn named(cluster: &str, group: &str, topic: &str) -> Batch {
    let small = sample::small(1);
    let Body::Evaluation { evaluation, .. } = &small.body else {
        unreachable!("a small frame is an evaluation");
    };
    let mut renamed: GroupEvaluation = (*evaluation.groups[1]).clone();
    renamed.id = GroupId::new(group);
    renamed.topics[0].topic = TopicName::new(topic);
    let evaluation = Evaluation {
        cluster: ClusterName::new(cluster),
        groups: vec![Arc::new(renamed)],
        topics: Vec::new(),
        ..(**evaluation).clone()
    };
    let frame = Frame {
        body: Body::Evaluation {
            evaluation: Arc::new(evaluation),
            changes: Vec::new(),
        },
        ..(*small).clone()
    };
    Batch::of(&Arc::new(frame), Detail::Partition)
}

#[test]
fn hostile_names_are_one_line_each_and_read_back_by_a_real_parser() {
    let long = "x".repeat(64 * 1024);
    let cut = names::bounded(&long, names::MAX_NAME_BYTES).into_owned();
    for (name, expected, why) in [
        ("plain", "plain", "the usual"),
        (
            "a b,c=d",
            "a b,c=d",
            "the protocol's own characters are escaped",
        ),
        (
            "say \"hi\" 'there'",
            "say \"hi\" 'there'",
            "quotes mean nothing in a tag",
        ),
        (
            "DOMAIN\\user",
            "DOMAIN\\user",
            "a backslash before a letter stands for itself",
        ),
        (
            "ends\\",
            "ends\u{fffd}",
            "would escape what follows the tag",
        ),
        (
            "a\\,b",
            "a\u{fffd},b",
            "would be read as an escaped backslash, then the end",
        ),
        ("a\\\\b", "a\u{fffd}\\b", "v1 reads two, v3 one"),
        (
            "a\nb\r\tc\u{0}\u{1b}\u{85}d",
            "a\u{fffd}b\u{fffd}\u{fffd}c\u{fffd}\u{fffd}\u{fffd}d",
            "no control characters",
        ),
        (
            "x,cluster=evil lag=9i 1\nm v=1",
            "x,cluster=evil lag=9i 1\u{fffd}m v=1",
            "cannot inject",
        ),
        ("#comment", "#comment", "not at the start of a line"),
        ("é世😀", "é世😀", "all of Unicode"),
        ("  ", "  ", "only spaces"),
        (long.as_str(), cut.as_str(), "longer than the servers take"),
    ] {
        let batch = named(name, name, name);
        let body = text(&batch, true);
        let lines: Vec<_> = parse_lines(&body).collect::<Result<_, _>>().expect(why);
        assert_eq!(lines.len(), batch.len(), "{why}");
        assert_eq!(body.lines().count(), batch.len(), "{why}");
        for (line, point) in lines.iter().zip(batch.iter()) {
            assert_eq!(line.series.measurement, point.measurement().name(), "{why}");
            assert_eq!(line.timestamp, Some(point.at().as_secs()), "{why}");
            let mut tags = BTreeMap::new();
            point.tags(&mut |tag, value| {
                let value = if tag == "partition" { value } else { expected };
                tags.insert(tag.to_owned(), value.to_owned());
            });
            let parsed: BTreeMap<_, _> = line
                .series
                .tag_set
                .iter()
                .flatten()
                .map(|(tag, value)| (tag.to_string(), value.to_string()))
                .collect();
            assert_eq!(parsed, tags, "{why}");
        }
    }
}

#[test]
fn an_empty_name_has_no_tag() {
    let body = text(&named("c", "", "t"), false);
    assert!(
        body.contains("kafka_lag_partition,cluster=c,partition=0,topic=t "),
        "{body}"
    );
    assert!(!body.contains("group="));
    assert!(parse_lines(&body).all(|line| line.is_ok()));
}

#[test]
fn the_fields_read_back_with_their_types_and_values() {
    let batch = Batch::of(&sample::small(1), Detail::Partition);
    let body = text(&batch, true);
    let lines: Vec<_> = parse_lines(&body).map(Result::unwrap).collect();
    for (line, point) in lines.iter().zip(batch.iter()) {
        let mut expected = Vec::new();
        let mut field = |name: &'static str, value: Value<'_>| {
            let value = match value {
                Value::Int(value) => FieldValue::I64(value),
                // As many digits as identify the f32, not the f64 beside it.
                Value::Float(value) => FieldValue::F64(value.to_string().parse().unwrap()),
                Value::Bool(value) => FieldValue::Boolean(value),
                Value::Text(value) => FieldValue::String(value.into()),
            };
            expected.push((name.to_owned(), value.to_string()));
        };
        point.fields(&mut field);
        point.optional_fields(&mut field);
        let parsed: Vec<_> = line
            .field_set
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
        assert_eq!(parsed, expected);
    }
}

#[test]
fn texts_are_quoted_and_stay_on_their_line() {
    for (value, expected) in [
        ("plain", r#""plain""#),
        (r#"a "b" \c"#, r#""a \"b\" \\c""#),
        ("a\nb\\", "\"a\u{fffd}b\\\\\""),
    ] {
        let mut out = Vec::new();
        write_text(&mut out, value);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}

#[test]
fn floats_always_look_like_floats() {
    for (value, expected) in [
        (0.0, "0.0"),
        (1.0, "1.0"),
        (95.5, "95.5"),
        (0.1, "0.1"),
        (1e20, "1e20"),
        (f32::MIN_POSITIVE, "1.1754944e-38"),
    ] {
        let mut out = Vec::new();
        write_value(&mut out, Value::Float(value));
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}

#[test]
fn lines_are_in_the_order_of_the_points() {
    let batch = Batch::of(&sample::wide(1, 3, 4), Detail::Partition);
    let encoded = encode(&batch, false);
    assert_eq!(encoded.lines().count(), batch.len());
    for (line, point) in encoded.lines().zip(batch.iter()) {
        assert!(line.starts_with(point.measurement().name().as_bytes()));
        assert!(!line.ends_with(b"\n"));
    }
    let joined: Vec<u8> = encoded
        .lines()
        .flat_map(|line| [line, b"\n"].concat())
        .collect();
    assert_eq!(joined, encoded.body());
}

#[test]
fn neighbours_share_nothing_across_clusters_topics_and_beats() {
    let frames = [sample::small(1), sample::small(2), sample::wide(3, 2, 2)];
    let mut together = Batch::new();
    let mut alone = String::new();
    for frame in &frames {
        for place in crate::points::places(frame, Detail::Partition) {
            together.push(frame, place);
            let mut one = Batch::new();
            one.push(frame, place);
            alone.push_str(&text(&one, false));
        }
    }
    assert_eq!(text(&together, false), alone);
}

#[test]
fn a_point_read_back_from_a_dead_letter_is_written_as_before() {
    for frame in [sample::small(1), sample::sinks(2)] {
        let batch = Batch::of(&frame, Detail::Partition);
        let mut copies = Batch::new();
        for point in batch.iter() {
            copies.push_owned(Arc::new(OwnedPoint::of(&point)));
        }
        assert_eq!(text(&copies, true), text(&batch, true));
    }
}
