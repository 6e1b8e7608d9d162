//! The templates lagline puts into a server, as data.
//!
//! Made from the catalogue and written to `schemas/elasticsearch/`, for whoever applies them by
//! hand. Only core field types and settings that every server has are in the mandatory ones; what
//! some servers do not know is a component template of its own. Fields that are not mapped here
//! are kept but not indexed (`dynamic: false`).

use serde_json::{Map, Value as Json, json};

use super::detect::Format;
use super::names::{self, PREFIX};
use crate::points::{CATALOGUE, FieldInfo, FieldKind, Measurement, MeasurementInfo, Unit};

/// Raised with every change of a template: an older one is replaced, a newer one left alone.
pub(super) const VERSION: u64 = 1;

/// Above 200, what Elastic's own templates have at most.
pub(super) const PRIORITY: u32 = 350;

/// How old a document may be for a new time series stream: a backlog of this length is delivered.
const LOOK_BACK: &str = "7d";

/// Longer texts are kept but not searchable: Lucene takes 32,766 bytes, a character has up to four.
const IGNORE_ABOVE: u32 = 8191;

/// A component template an operator may add for all of lagline's streams, for instance with a
/// lifecycle.
pub(super) const CUSTOM: &str = "lagline@custom";

/// A template: what to `PUT` where.
#[derive(Clone, Debug)]
pub(super) struct Template {
    pub(super) name: String,
    pub(super) body: Json,
}

/// What every template, mapping and component template of lagline says about itself.
pub(super) fn meta(format: Format) -> Json {
    json!({ "managed_by": "lagline", "version": VERSION, "mode": format.as_str() })
}

/// The same of an index template: also by what old documents are removed.
pub(super) fn index_meta(format: Format, lifecycle: Option<&'static str>) -> Json {
    let mut meta = meta(format);
    if let Some(lifecycle) = lifecycle {
        meta["lifecycle"] = json!(lifecycle);
    }
    meta
}

/// Whether a template is missing, or ours and older, or ours and made for another mode, lifecycle
/// or retention than `wanted` says. What is someone else's or of a newer lagline is left alone.
pub(super) fn is_outdated(meta: Option<&Json>, wanted: &Json) -> bool {
    let Some(meta) = meta else {
        return true;
    };
    let version = meta["version"].as_u64().unwrap_or(0);
    let is_ours = meta["managed_by"] == "lagline";
    let differs = ["mode", "lifecycle", "retention"]
        .iter()
        .any(|key| meta[*key] != wanted[*key]);
    is_ours && (version < VERSION || (version == VERSION && differs))
}

/// The component templates that every server takes.
pub(super) fn components(format: Format) -> Vec<Template> {
    let component = |info: &MeasurementInfo| {
        let template = json!({ "mappings": mappings(info, format) });
        component(mappings_name(info.measurement, format), format, template)
    };
    CATALOGUE.iter().map(component).collect()
}

/// The component templates that some servers refuse; they are left out there.
pub(super) fn optional_components(format: Format) -> Vec<Template> {
    match format {
        Format::Tsds => {
            let settings = json!({ "settings": { "index.look_back_time": LOOK_BACK } });
            vec![component(
                format!("{PREFIX}look-back-tsds"),
                format,
                settings,
            )]
        }
        Format::DataStream | Format::Index => Vec::new(),
    }
}

/// The index template of a measurement, composed of its mandatory components, the `optional` ones
/// and, where the server can leave it out, the operator's own.
pub(super) fn index_template(
    measurement: Measurement,
    format: Format,
    namespace: &str,
    optional: &[String],
    lifecycle: Option<&'static str>,
    has_ignore_missing: bool,
) -> Template {
    let mut composed_of = vec![mappings_name(measurement, format)];
    composed_of.extend_from_slice(optional);
    let pattern = match format {
        Format::Tsds | Format::DataStream => names::stream(measurement, namespace),
        Format::Index => format!("{}*", names::daily(measurement, namespace)),
    };
    let mut body = json!({
        "index_patterns": [pattern],
        "priority": PRIORITY,
        "version": VERSION,
        "_meta": index_meta(format, lifecycle),
    });
    if has_ignore_missing {
        composed_of.push(CUSTOM.to_owned());
        body["ignore_missing_component_templates"] = json!([CUSTOM]);
    }
    body["composed_of"] = json!(composed_of);
    if format != Format::Index {
        body["data_stream"] = json!({});
    }
    if format == Format::Tsds {
        // Not in a component: alone, without the dimensions, it is refused.
        body["template"] = json!({ "settings": { "index.mode": "time_series" } });
    }
    Template {
        name: index_template_name(measurement, namespace),
        body,
    }
}

/// The name of a measurement's index template: one a namespace, whatever the mode, because two
/// with the same pattern would exclude each other.
pub(super) fn index_template_name(measurement: Measurement, namespace: &str) -> String {
    format!("{PREFIX}{}-{namespace}", names::dataset(measurement))
}

fn mappings_name(measurement: Measurement, format: Format) -> String {
    let dataset = names::dataset(measurement);
    format!("{PREFIX}{dataset}-mappings-{}", format.as_str())
}

/// A component template of lagline's.
pub(super) fn component(name: String, format: Format, template: Json) -> Template {
    Template {
        name,
        body: json!({ "version": VERSION, "_meta": meta(format), "template": template }),
    }
}

fn mappings(info: &MeasurementInfo, format: Format) -> Json {
    let mut properties = Map::new();
    let mut add = |path: &str, mapping: Json| insert(&mut properties, path, mapping);
    add("@timestamp", json!({ "type": "date" }));
    if format != Format::Index {
        for path in [
            "data_stream.type",
            "data_stream.dataset",
            "data_stream.namespace",
        ] {
            add(path, json!({ "type": "keyword" }));
        }
    }
    for path in ["ecs.version", "event.kind", "event.module", "event.dataset"] {
        add(path, json!({ "type": "keyword" }));
    }
    for tag in info.tags {
        add(names::tag_path(tag.name), dimension(tag.name, format));
    }
    for field in info.fields {
        add(
            &names::field_path(info.measurement, field.name),
            metric(info, field, format),
        );
    }
    json!({
        "_meta": meta(format),
        "dynamic": false,
        "date_detection": false,
        "properties": properties,
    })
}

/// Puts a mapping at its path, with the objects on the way.
fn insert(properties: &mut Map<String, Json>, path: &str, mapping: Json) {
    match path.split_once('.') {
        None => {
            properties.insert(path.to_owned(), mapping);
        }
        Some((object, rest)) => {
            let object = properties
                .entry(object)
                .or_insert_with(|| json!({ "properties": {} }));
            if let Some(inner) = object["properties"].as_object_mut() {
                insert(inner, rest, mapping);
            }
        }
    }
}

fn dimension(tag: &str, format: Format) -> Json {
    let kind = if tag == "partition" {
        "long"
    } else {
        "keyword"
    };
    match (format, kind) {
        (Format::Tsds, kind) => json!({ "type": kind, "time_series_dimension": true }),
        (_, "keyword") => json!({ "type": "keyword", "ignore_above": IGNORE_ABOVE }),
        (_, kind) => json!({ "type": kind }),
    }
}

fn metric(info: &MeasurementInfo, field: &FieldInfo, format: Format) -> Json {
    let kind = match field.kind {
        FieldKind::Int => "long",
        FieldKind::Float => "double",
        FieldKind::Bool => return json!({ "type": "boolean" }),
        FieldKind::Text => return json!({ "type": "keyword", "ignore_above": IGNORE_ABOVE }),
    };
    if format != Format::Tsds {
        return json!({ "type": kind });
    }
    // A committed offset may go back, so it is no counter; the ends of a log are.
    let is_log_offset = field.unit == Unit::Offset && field.name != "offset";
    let is_count_of_points = info.measurement == Measurement::Sink
        && field.unit == Unit::Points
        && field.name != "waiting";
    let metric = if is_log_offset || is_count_of_points {
        "counter"
    } else {
        "gauge"
    };
    json!({ "type": kind, "time_series_metric": metric })
}

/// Everything to `PUT` for one mode and namespace `default`, in order: the text of a file under
/// `schemas/elasticsearch/`.
pub fn as_json(format: Format) -> String {
    let optional = optional_components(format);
    let names: Vec<_> = optional
        .iter()
        .map(|template| template.name.clone())
        .collect();
    let mut requests = Map::new();
    for template in components(format).into_iter().chain(optional) {
        requests.insert(
            format!("PUT _component_template/{}", template.name),
            template.body,
        );
    }
    // Only Elasticsearch since 8.7 knows the parameter; time series streams are as old.
    let has_ignore_missing = format == Format::Tsds;
    for measurement in Measurement::ALL {
        let template = index_template(
            measurement,
            format,
            "default",
            &names,
            None,
            has_ignore_missing,
        );
        requests.insert(
            format!("PUT _index_template/{}", template.name),
            template.body,
        );
    }
    format!("{:#}\n", Json::Object(requests))
}

/// A lifecycle for `lagline@custom` (Elasticsearch 8.14 or later), to be adjusted by the operator:
/// the text of `schemas/elasticsearch/lifecycle-example.json`. Every step that makes an index
/// read-only is later than the look-back time.
pub fn lifecycle_example() -> String {
    let body = json!({
        "template": { "lifecycle": {
            "data_retention": "365d",
            "downsampling": [
                { "after": "8d", "fixed_interval": "5m" },
                { "after": "30d", "fixed_interval": "1h" },
            ],
        }},
    });
    let requests = json!({ format!("PUT _component_template/{CUSTOM}"): body });
    format!("{requests:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    #[test]
    fn the_schema_files_are_what_is_put_into_servers() {
        for format in Format::ALL {
            let path = format!("schemas/elasticsearch/{}.json", format.as_str());
            golden::check(&path, &as_json(format));
        }
        golden::check(
            "schemas/elasticsearch/lifecycle-example.json",
            &lifecycle_example(),
        );
        golden::check(
            "schemas/elasticsearch/lifecycle.json",
            &super::super::lifecycle_as_json(),
        );
    }

    #[test]
    fn mandatory_templates_have_core_types_only() {
        for format in Format::ALL {
            for template in components(format) {
                let text = template.body.to_string();
                for optional in ["lifecycle", "look_back", "constant_keyword", "scaled_float"] {
                    assert!(!text.contains(optional), "{optional} in {}", template.name);
                }
            }
        }
    }

    #[test]
    fn only_ends_of_logs_and_counts_are_counters() {
        let metric = |measurement: Measurement, name: &str| {
            let info = measurement.info();
            metric(info, info.field(name).unwrap(), Format::Tsds)["time_series_metric"].clone()
        };
        for (measurement, field, expected) in [
            (Measurement::Partition, "end_offset", "counter"),
            (Measurement::TopicOffset, "begin_offset", "counter"),
            (Measurement::Sink, "delivered", "counter"),
            // A rewind matters.
            (Measurement::Partition, "offset", "gauge"),
            (Measurement::Partition, "lag", "gauge"),
            (Measurement::Sink, "waiting", "gauge"),
        ] {
            assert_eq!(metric(measurement, field), expected, "{field}");
        }
    }
}
