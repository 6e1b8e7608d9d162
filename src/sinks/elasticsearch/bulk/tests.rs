use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde_json::Value as Json;

use super::*;
use crate::golden;
use crate::lag::evaluation::{Evaluation, GroupEvaluation};
use crate::lag::ids::{ClusterName, GroupId, TopicName};
use crate::points::{Detail, OwnedPoint, places, sample};
use crate::store::frame::{Body, Frame};

const ALL: [Format; 3] = Format::ALL;

fn encode(format: Format, batch: &Batch) -> (String, String) {
    let encoded = Layout::new(format, "default").encode(batch);
    (encoded.index, String::from_utf8(encoded.body).unwrap())
}

/// Action and document of each point.
fn parsed(format: Format, batch: &Batch) -> Vec<(Json, Json)> {
    let (_, body) = encode(format, batch);
    assert!(body.is_empty() || body.ends_with('\n'));
    let lines: Vec<Json> = body
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    assert_eq!(lines.len(), 2 * batch.len());
    lines
        .chunks(2)
        .map(|pair| (pair[0].clone(), pair[1].clone()))
        .collect()
}

#[test]
fn every_measurement_is_written_as_the_golden_files_have_it() {
    for format in ALL {
        let mut all = String::new();
        for frame in [sample::small(1), sample::sinks(2)] {
            let (index, body) = encode(format, &Batch::of(&frame, Detail::Partition));
            all.push_str(&format!("POST {index}/_bulk\n{body}"));
        }
        let path = format!("tests/golden/elasticsearch/{}.ndjson", format.as_str());
        golden::check(&path, &all);
    }
}

/// `sample::small` with other names.
pub(in crate::sinks::elasticsearch) fn named(cluster: &str, group: &str, topic: &str) -> Batch {
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
fn hostile_names_read_back_as_they_were() {
    let long = "é".repeat(32 * 1024);
    for name in [
        "plain",
        "a b,c=d",
        "say \"hi\" \\ 'there'",
        "ends\\",
        "a\nb\r\tc\u{0}\u{1b}\u{7f}\u{85}d",
        "\"}}\n{\"delete\":{\"_index\":\"x\",\"_id\":\"y\"}}\n",
        "é世😀\u{2028}",
        "  ",
        long.as_str(),
    ] {
        let batch = named(name, name, name);
        let expected = text::bounded(name, text::MAX_NAME_BYTES);
        for format in ALL {
            for ((_, document), point) in parsed(format, &batch).iter().zip(batch.iter()) {
                point.tags(&mut |tag, value| {
                    let found = &document[names::tag_path(tag)];
                    if tag == "partition" {
                        assert_eq!(found.to_string(), value);
                    } else {
                        assert_eq!(found, expected.as_ref(), "{tag}");
                    }
                });
            }
        }
    }
}

#[test]
fn an_empty_name_has_no_field() {
    let (_, document) = &parsed(Format::Tsds, &named("c", "", "t"))[3];
    assert!(
        document.get("kafka.consumergroup.id").is_none(),
        "{document}"
    );
    assert_eq!(document["kafka.topic.name"], "t");
}

#[test]
fn every_known_field_is_there_and_no_other() {
    let batch = Batch::of(&sample::small(1), Detail::Partition);
    for ((_, document), point) in parsed(Format::DataStream, &batch).iter().zip(batch.iter()) {
        let mut expected = BTreeMap::new();
        let measurement = point.measurement();
        let mut add = |name: &str, value: Value<'_>| {
            let value = match value {
                Value::Int(value) => value.to_string(),
                Value::Float(value) => {
                    Json::from(value.to_string().parse::<f64>().unwrap()).to_string()
                }
                Value::Bool(value) => value.to_string(),
                Value::Text(value) => Json::from(value.trim_start_matches('/')).to_string(),
            };
            expected.insert(names::field_path(measurement, name), value);
        };
        point.fields(&mut add);
        point.optional_fields(&mut add);
        let found: BTreeMap<_, _> = document
            .as_object()
            .unwrap()
            .iter()
            .filter(|(path, _)| {
                let info = measurement.info();
                info.fields
                    .iter()
                    .any(|field| names::field_path(measurement, field.name) == **path)
            })
            .map(|(path, value)| (path.clone(), value.to_string()))
            .collect();
        assert_eq!(found, expected);
        assert_eq!(document["@timestamp"], "2026-01-01T00:00:00.000Z");
        assert_eq!(document["event.dataset"], names::dataset(measurement));
    }
}

#[test]
fn only_other_streams_are_named_in_actions() {
    let batch = Batch::of(&sample::small(1), Detail::Partition);
    let (index, _) = encode(Format::Tsds, &batch);
    assert_eq!(index, "metrics-kafka_lag.partition-default");
    for ((action, _), point) in parsed(Format::Tsds, &batch).iter().zip(batch.iter()) {
        let is_partition = point.measurement() == Measurement::Partition;
        assert_eq!(
            action["create"].get("_index").is_none(),
            is_partition,
            "{action}"
        );
        assert!(
            action["create"].get("_id").is_none(),
            "ids are made from dimensions"
        );
    }
}

#[test]
fn a_daily_index_is_of_the_beats_day() {
    // 2026-01-01T00:00:00Z, and the last beat of the day before.
    let mut batch = Batch::new();
    for frame in [sample::small(0), sample::small(1)] {
        let place = crate::points::Place::GroupPartition {
            group: 1,
            topic: 0,
            partition: 0,
        };
        batch.push(&frame, place);
    }
    let (index, body) = encode(Format::Index, &batch);
    assert_eq!(index, "kafka_lag.partition-default-2025.12.31");
    assert!(
        body.contains("\"_index\":\"kafka_lag.partition-default-2026.01.01\""),
        "{body}"
    );
    let actions = parsed(Format::Index, &batch);
    assert!(actions[0].0["create"].get("_index").is_none());
}

#[test]
fn ids_are_the_same_for_the_same_point_and_different_for_others() {
    let mut seen = HashSet::new();
    let slashes = [
        ("a/b", "c", "d"),
        ("a", "b/c", "d"),
        ("a\\", "/b/c", "d"),
        ("a", "b", "c/d"),
    ];
    let long = "x".repeat(600);
    let mut batches: Vec<_> = slashes.iter().map(|(c, g, t)| named(c, g, t)).collect();
    batches.push(named(&long, "g", "t"));
    batches.push(named(&long, "h", "t"));
    batches.push(Batch::of(&sample::small(2), Detail::Partition));
    batches.push(Batch::of(&sample::sinks(2), Detail::Partition));
    for batch in &batches {
        let first = parsed(Format::DataStream, batch);
        assert_eq!(first, parsed(Format::DataStream, batch));
        for ((action, _), point) in first.iter().zip(batch.iter()) {
            let id = action["create"]["_id"].as_str().unwrap().to_owned();
            assert!(!id.is_empty() && id.len() <= MAX_ID_BYTES, "{id}");
            let stream = names::stream(point.measurement(), "default");
            // The cluster's own point is the same in some of the batches.
            let is_shared = point.measurement() == Measurement::Cluster;
            assert!(seen.insert((stream, id.clone())) || is_shared, "{id}");
        }
    }
}

#[test]
fn neighbours_share_nothing_across_clusters_topics_and_beats() {
    let frames = [
        sample::small(1),
        sample::small(2),
        sample::wide(3, 2, 2),
        sample::sinks(4),
    ];
    for format in ALL {
        let mut together = Batch::new();
        let mut alone = Vec::new();
        for frame in &frames {
            for place in places(frame, Detail::Partition) {
                together.push(frame, place);
                let mut one = Batch::new();
                one.push(frame, place);
                alone.extend(
                    parsed(format, &one)
                        .into_iter()
                        .map(|(_, document)| document),
                );
            }
        }
        let documents: Vec<_> = parsed(format, &together)
            .into_iter()
            .map(|(_, d)| d)
            .collect();
        assert_eq!(documents, alone);
    }
}

#[test]
fn a_point_read_back_from_a_dead_letter_is_written_as_before() {
    for frame in [sample::small(1), sample::sinks(2)] {
        let batch = Batch::of(&frame, Detail::Partition);
        let mut copies = Batch::new();
        for point in batch.iter() {
            copies.push_owned(Arc::new(OwnedPoint::of(&point)));
        }
        for format in ALL {
            assert_eq!(parsed(format, &copies), parsed(format, &batch));
        }
    }
}
