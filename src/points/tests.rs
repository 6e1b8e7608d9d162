use super::*;
use crate::golden;
use crate::lag::evaluation::{Evaluation, Phase};
use crate::store::frame::Body;

fn all_points() -> Vec<Batch> {
    vec![
        Batch::of(&sample::small(1), Detail::Partition),
        Batch::of(&sample::sinks(2), Detail::Partition),
    ]
}

#[test]
fn the_schema_file_is_the_catalogue() {
    golden::check("schemas/points.json", &as_json());
}

#[test]
fn the_catalogue_is_in_the_order_of_the_measurements_and_its_tags_are_sorted() {
    for (info, measurement) in CATALOGUE.iter().zip(Measurement::ALL) {
        assert_eq!(info.measurement, measurement);
        assert_eq!(measurement.info().measurement, measurement);
        assert!(
            info.tags.is_sorted_by_key(|tag| tag.name),
            "{}",
            measurement.name()
        );
    }
    assert_eq!(CATALOGUE.len(), Measurement::ALL.len());
}

#[test]
fn every_measurement_writes_what_the_catalogue_says_and_nothing_else() {
    let mut seen = std::collections::BTreeSet::new();
    for batch in all_points() {
        for point in batch.iter() {
            let info = point.measurement().info();
            seen.insert(point.measurement());
            let mut tags = Vec::new();
            point.tags(&mut |name, _| tags.push(name));
            let required: Vec<_> = info
                .tags
                .iter()
                .filter(|tag| !tag.optional)
                .map(|tag| tag.name)
                .collect();
            assert!(required.iter().all(|tag| tags.contains(tag)), "{tags:?}");
            assert!(
                tags.iter()
                    .all(|tag| info.tags.iter().any(|known| known.name == *tag))
            );
            assert!(tags.is_sorted());

            let mut last = 0;
            let mut check = |optional: bool, name: &'static str, value: Value<'_>| {
                let at = info.fields.iter().position(|field| field.name == name);
                let at = at.unwrap_or_else(|| panic!("{name} is not in the catalogue"));
                assert!(at >= last, "{name} is not in the catalogue's order");
                last = at;
                let kind = match value {
                    Value::Int(_) => FieldKind::Int,
                    Value::Float(_) => FieldKind::Float,
                    Value::Bool(_) => FieldKind::Bool,
                    Value::Text(_) => FieldKind::Text,
                };
                assert_eq!(
                    (info.fields[at].kind, info.fields[at].optional),
                    (kind, optional)
                );
            };
            point.fields(&mut |name, value| check(false, name, value));
            point.optional_fields(&mut |name, value| check(true, name, value));
        }
    }
    assert_eq!(
        seen.len(),
        Measurement::ALL.len(),
        "the samples have every measurement"
    );
}

#[test]
fn the_points_of_the_sample_are_these() {
    let mut text = String::new();
    for batch in all_points() {
        for point in batch.iter() {
            text += &format!("{} {:?}", point.measurement().name(), point.at());
            point.tags(&mut |name, value| text += &format!(" {name}={value:?}"));
            text += "\n ";
            point.fields(&mut |name, value| text += &format!(" {name}={value:?}"));
            point.optional_fields(&mut |name, value| text += &format!(" ({name}={value:?})"));
            text += "\n";
        }
    }
    golden::check("tests/golden/points.txt", &text);
}

#[test]
fn a_frame_has_as_many_rows_as_points_at_full_detail() {
    for frame in [sample::small(1), sample::sinks(1), sample::wide(1, 3, 5)] {
        assert_eq!(
            frame.rows,
            Batch::of(&frame, Detail::Partition).len() as u64
        );
    }
}

#[test]
fn detail_leaves_out_whole_measurements() {
    let names = |detail| {
        let batch = Batch::of(&sample::small(1), detail);
        let mut counts = std::collections::BTreeMap::new();
        for point in batch.iter() {
            *counts.entry(point.measurement().name()).or_insert(0) += 1;
        }
        counts.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(
        names(Detail::Group),
        [
            ("kafka_cluster", 1),
            ("kafka_lag_group", 2),
            ("kafka_lag_status", 1)
        ]
    );
    assert_eq!(
        names(Detail::Topic),
        [
            ("kafka_cluster", 1),
            ("kafka_lag_group", 2),
            ("kafka_lag_status", 1),
            ("kafka_lag_topic", 2)
        ]
    );
    // Two of three partitions have a commit, two of three have an end offset.
    assert_eq!(
        names(Detail::Partition),
        [
            ("kafka_cluster", 1),
            ("kafka_lag_group", 2),
            ("kafka_lag_partition", 4),
            ("kafka_lag_status", 2),
            ("kafka_lag_topic", 2),
            ("kafka_topic_offset", 2)
        ]
    );
}

#[test]
fn a_cluster_that_is_loading_has_no_counts() {
    let evaluation = Evaluation {
        cluster: crate::lag::ids::ClusterName::new("prod"),
        beat: sample::BEAT,
        phase: Phase::Loading { read: 1, total: 2 },
        summary: crate::lag::evaluation::ClusterSummary {
            reason: Some("no broker answers".to_owned()),
            ..Default::default()
        },
        groups: Vec::new(),
        topics: Vec::new(),
    };
    let body = Body::Evaluation {
        evaluation: Arc::new(evaluation),
        changes: Vec::new(),
    };
    let batch = Batch::of(&sample::frame(1, body), Detail::Partition);
    let mut fields = Vec::new();
    for point in batch.iter() {
        point.fields(&mut |name, value| fields.push(format!("{name}={value:?}")));
    }
    assert_eq!(fields, ["up=Int(0)", "reason=Text(\"no broker answers\")"]);
}

#[test]
fn parts_of_a_batch_keep_order_and_frames() {
    let mut batch = Batch::new();
    for frame in [sample::sinks(1), sample::small(2), sample::sinks(3)] {
        for place in places(&frame, Detail::Group) {
            batch.push(&frame, place);
        }
    }
    let beats = |batch: &Batch| batch.iter().map(|p| p.at().as_secs()).collect::<Vec<_>>();
    let (older, newer) = batch.split();
    assert_eq!([beats(&older), beats(&newer)].concat(), beats(&batch));
    assert_eq!((older.len(), newer.len()), (3, 3));
    assert_eq!(
        beats(&batch.subset(&[0, 5, 99])),
        [beats(&batch)[0], beats(&batch)[5]]
    );
    assert_eq!(beats(&batch.slice(1, 3)), beats(&batch)[1..3]);
    assert!(batch.slice(6, 9).is_empty());
}

#[test]
fn an_owned_copy_says_the_same_as_the_point_it_is_of() {
    fn text(point: &Point<'_>) -> String {
        let mut text = format!("{:?} {:?}", point.measurement(), point.at());
        point.tags(&mut |name, value| text += &format!(" {name}={value}"));
        point.fields(&mut |name, value| text += &format!(" {name}={value:?}"));
        point.optional_fields(&mut |name, value| text += &format!(" ({name}={value:?})"));
        text
    }
    for batch in all_points() {
        let mut copies = Batch::new();
        for point in batch.iter() {
            copies.push_owned(Arc::new(OwnedPoint::of(&point)));
        }
        let (older, newer) = copies.split();
        let copied: Vec<_> = older.iter().chain(newer.iter()).map(|p| text(&p)).collect();
        assert_eq!(copied, batch.iter().map(|p| text(&p)).collect::<Vec<_>>());
    }
}

#[test]
fn an_owned_point_takes_only_what_the_catalogue_knows_in_its_order() {
    let mut point = OwnedPoint::new(Measurement::TopicOffset, sample::BEAT);
    point.field("begin_offset", OwnedValue::Int(1)).unwrap();
    point.field("end_offset", OwnedValue::Int(2)).unwrap();
    point.tag("topic", "t").unwrap();
    point.tag("cluster", "c").unwrap();
    assert_eq!(
        point.fields.iter().map(|f| f.0).collect::<Vec<_>>(),
        ["end_offset", "begin_offset"]
    );
    assert_eq!(
        point.tags.iter().map(|t| t.0).collect::<Vec<_>>(),
        ["cluster", "topic"]
    );
    assert!(
        point.tag("group", "g").is_err(),
        "not a tag of this measurement"
    );
    assert!(
        point.field("lag", OwnedValue::Int(1)).is_err(),
        "not a field of it"
    );
    assert!(
        point.field("end_offset", OwnedValue::Float(1.0)).is_err(),
        "of another type"
    );
}
