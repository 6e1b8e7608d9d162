//! The catalogue as a file: `schemas/points.json`.

use serde_json::{Value as Json, json};

use super::{CATALOGUE, FieldInfo, MeasurementInfo, Metric, metrics};

/// The catalogue as JSON: the text of `schemas/points.json`.
pub fn as_json() -> String {
    let measurements: Vec<Json> = CATALOGUE.iter().map(measurement_json).collect();
    let catalogue = json!({
        "description": "Every measurement lagline writes. A field that is not known is absent.",
        "measurements": measurements,
    });
    format!("{catalogue:#}\n")
}

fn measurement_json(info: &MeasurementInfo) -> Json {
    let tags: Vec<Json> = info
        .tags
        .iter()
        .map(|tag| {
            json!({ "name": tag.name, "description": tag.description, "optional": tag.optional })
        })
        .collect();
    let fields: Vec<Json> = info
        .fields
        .iter()
        .zip(metrics(info.measurement))
        .map(|(field, metric)| field_json(field, metric.as_ref()))
        .collect();
    json!({
        "name": info.measurement.name(),
        "description": info.description,
        "tags": tags,
        "fields": fields,
    })
}

/// A field, with what Prometheus calls it.
fn field_json(field: &FieldInfo, metric: Option<&Metric>) -> Json {
    let mut json = json!({
        "name": field.name,
        "type": field.kind.as_str(),
        "unit": field.unit.as_str(),
        "description": field.description,
        "optional": field.optional,
    });
    if let Some(metric) = metric {
        let label = metric.label;
        let label = label.map_or(String::new(), |(name, value)| {
            format!("{{{name}=\"{value}\"}}")
        });
        json["prometheus"] = json!(format!("{}{label}", metric.name));
    }
    json
}
