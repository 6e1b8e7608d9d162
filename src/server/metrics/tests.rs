//! `/metrics` and remote write say the same thing in the same words.

use std::collections::BTreeMap;

use super::*;
use crate::points::{Batch, Detail, OwnedPoint, OwnedValue, metrics, sample};
use crate::store::frame::Body;

/// What only `/metrics` has of an evaluation.
const ONLY_SCRAPED: [&str; 2] = [
    "lagline_cluster_beat_timestamp_seconds",
    "lagline_events_total",
];

/// A sample's name and labels as `/metrics` writes them, and its value.
fn written(point: &OwnedPoint) -> Vec<(String, f64)> {
    let order = ["cluster", "group", "topic", "partition", "status"];
    let mut samples = Vec::new();
    for (field, metric) in point
        .measurement
        .info()
        .fields
        .iter()
        .zip(metrics(point.measurement))
    {
        let value = point.fields.iter().find(|(name, _)| *name == field.name);
        let (Some(metric), Some((_, value))) = (metric, value) else {
            continue;
        };
        let mut labels = Labels::default();
        for name in order {
            let tag = point.tags.iter().find(|(tag, _)| *tag == name);
            let own = metric.label.filter(|(label, _)| *label == name);
            let value = tag.map(|(_, value)| value.as_str());
            if let Some(value) = value.or(own.map(|(_, value)| value)) {
                labels.push(name, value);
            }
        }
        #[allow(clippy::cast_precision_loss, reason = "small numbers")]
        let value = match value {
            OwnedValue::Int(value) => *value as f64,
            OwnedValue::Float(value) => value.to_string().parse().unwrap(),
            OwnedValue::Bool(value) => f64::from(u8::from(*value)),
            OwnedValue::Text(_) => panic!("a text has no metric"),
        };
        let series = format!("{}{{{}}}", metric.name, labels.as_str());
        samples.push((series, value * metric.scale));
    }
    samples
}

#[test]
fn whatever_is_scraped_has_the_name_labels_and_value_of_remote_write() {
    let frame = sample::small(1);
    let Body::Evaluation { evaluation, .. } = &frame.body else {
        panic!("an evaluation");
    };
    let mut out = Exposition::default();
    let evaluations: [&Evaluation; 1] = [evaluation];
    clusters(&mut out, &evaluations);
    groups(&mut out, &evaluations, "group", &GROUP);
    groups_partitions(&mut out, &evaluations);
    partitions(&mut out, &evaluations, "group", &PARTITION);
    topics(&mut out, &evaluations, &TOPIC);

    let batch = Batch::of(&frame, Detail::Partition);
    let points = batch.iter().map(|point| OwnedPoint::of(&point));
    let known: BTreeMap<String, f64> = points.flat_map(|point| written(&point)).collect();
    let text = out.into_text();
    let mut compared = 0;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        if ONLY_SCRAPED.iter().any(|only| series.starts_with(only)) {
            continue;
        }
        let value: f64 = value.parse().unwrap();
        assert_eq!(known.get(series), Some(&value), "{series}: {known:#?}");
        compared += 1;
    }
    assert!(compared > 30, "{text}");
}
