//! The configuration as a JSON schema: `schemas/config.schema.json`, for editors.
//!
//! Nobody writes it: reading notes what is asked for and as what ([`Shapes`]), and texts that make
//! every reader ask for everything are read. So a new key is in the schema as soon as the example
//! has it. What a schema cannot say (one of two keys, patterns that can be read) `lagline check`
//! says.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value as Json, json};

use super::section::{Section, Source};
use super::values::show_duration;
use super::{EXAMPLE, config};

/// Stands for a name that is the user's.
pub(super) const ANY: &str = "*";

/// What is asked for, by its path.
pub type Shapes = BTreeMap<Vec<String>, Shape>;

/// What a value has to look like.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    Text,
    Texts,
    Choice(Vec<String>),
    Duration(Duration, Duration),
    Size,
    Url,
    Integer(i64, i64),
    Number(f64, f64),
    Boolean,
    /// A text, number or boolean.
    Scalar,
}

impl Shape {
    /// Every value may be a text with `${NAME}` instead.
    fn json(&self) -> Json {
        let from_env = json!({ "type": "string", "pattern": "\\$\\{" });
        let or_env = |own: Json| json!({ "anyOf": [own, from_env] });
        match self {
            Shape::Text => json!({ "type": "string" }),
            Shape::Texts => json!({ "type": "array", "items": { "type": "string" } }),
            Shape::Choice(words) => or_env(json!({ "enum": words })),
            Shape::Duration(from, to) => {
                let (from, to) = (show_duration(*from), show_duration(*to));
                or_env(json!({
                    "type": "string",
                    "pattern": "^\\s*([0-9]+(ms|s|m|h|d|w))+\\s*$",
                    "description": format!("A duration from {from} to {to}."),
                }))
            }
            Shape::Size => or_env(json!({
                "type": "string",
                "pattern": "^\\s*[0-9]+\\s*(B|[kMGT]B|[KMGT]iB)\\s*$",
            })),
            Shape::Url => or_env(json!({ "type": "string", "pattern": "^https?://" })),
            Shape::Integer(from, to) if *to == i64::MAX => {
                or_env(json!({ "type": "integer", "minimum": from }))
            }
            Shape::Integer(from, to) => {
                or_env(json!({ "type": "integer", "minimum": from, "maximum": to }))
            }
            Shape::Number(from, to) => {
                or_env(json!({ "type": "number", "minimum": from, "maximum": to }))
            }
            Shape::Boolean => or_env(json!({ "type": "boolean" })),
            Shape::Scalar => json!({ "type": ["string", "number", "boolean"] }),
        }
    }
}

/// What the readers ask for when they read this text, right or wrong.
fn shapes_of(text: &str) -> Shapes {
    let source = Source {
        file: "",
        text,
        env: &|_| None,
        read: &|_| Ok(String::new()),
        problems: Vec::new().into(),
        shapes: RefCell::default(),
    };
    if let Ok(document) = toml_edit::Document::parse(text) {
        config(&Section::root(&source, document.as_table()));
    }
    source.shapes.into_inner()
}

/// What the example has no room for: kinds and targets that exclude each other.
const OTHERS: &str = r#"
[clusters.a.kafka]
tls = {}
sasl = {}
properties = { "a.b" = 1 }
[sinks.a.influxdb]
v1 = {}
bootstrap = {}
[sinks.b.influxdb]
v2 = {}
[sinks.c.influxdb]
v3 = {}
[sinks.d.elasticsearch]
[sinks.e.jsonl]
[sinks.f.prometheus_remote_write]
headers = { "X-A" = "a" }
"#;

/// The schema: the text of `schemas/config.schema.json`.
pub fn as_json() -> String {
    let mut all = shapes_of(EXAMPLE);
    all.extend(shapes_of(OTHERS));
    let mut schema = table();
    for (path, shape) in &all {
        insert(&mut schema, path, shape.json());
    }
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("lagline's configuration");
    format!("{schema:#}\n")
}

fn table() -> Json {
    json!({ "type": "object", "additionalProperties": false })
}

/// Puts what is allowed at a path, with the tables on the way. Where a value and a table may stand
/// (`bootstrap`), both are allowed.
fn insert(at: &mut Json, path: &[String], value: Json) {
    let Some((key, rest)) = path.split_first() else {
        match at.get("type") {
            Some(_) => *at = json!({ "anyOf": [value, at.take()] }),
            None => *at = value,
        }
        return;
    };
    // A value was here first: its table joins it.
    let at = if at.get("anyOf").is_some() || at.get("type").is_some_and(|kind| kind != "object") {
        if at["anyOf"]
            .as_array()
            .is_none_or(|all| all.iter().all(|one| one["type"] != "object"))
        {
            *at = json!({ "anyOf": [at.take(), table()] });
        }
        let all = at["anyOf"].as_array_mut();
        match all.and_then(|all| all.iter_mut().find(|one| one["type"] == "object")) {
            Some(table) => table,
            None => return,
        }
    } else {
        at
    };
    if at.is_null() || at.as_object().is_some_and(Map::is_empty) {
        *at = table();
    }
    let below = if key == ANY {
        &mut at["additionalProperties"]
    } else {
        &mut at["properties"][key.as_str()]
    };
    if below.is_boolean() {
        *below = Json::Null;
    }
    if below.is_null() && !rest.is_empty() {
        *below = table();
    }
    insert(below, rest, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup<'s>(schema: &'s Json, path: &str) -> &'s Json {
        path.split('.').fold(schema, |at, key| {
            let inner = at["anyOf"].as_array();
            let table = inner.and_then(|all| all.iter().find(|one| one["type"] == "object"));
            let at = table.unwrap_or(at);
            let named = &at["properties"][key];
            if named.is_null() {
                &at["additionalProperties"]
            } else {
                named
            }
        })
    }

    #[test]
    fn the_schema_file_is_what_is_read() {
        crate::golden::check("schemas/config.schema.json", &as_json());
    }

    #[test]
    fn every_kind_of_value_is_described_at_its_place() {
        let schema: Json = serde_json::from_str(&as_json()).unwrap();
        for (path, expected) in [
            ("interval", "A duration from 1s to 1h."),
            ("server.read_token", "\"boolean\""),
            ("server.token_file", "\"string\""),
            ("clusters.any.kafka.bootstrap_servers", "\"array\""),
            ("clusters.any.kafka.properties.any", "\"number\""),
            ("clusters.any.rules.commit_lag", "\"interpolated\""),
            ("sinks.any.influxdb.v2.token_file", "\"string\""),
            ("sinks.any.influxdb.bootstrap", "\"boolean\""),
            (
                "sinks.any.influxdb.bootstrap.retention",
                "A duration from 1d to 3650d.",
            ),
            ("sinks.any.elasticsearch.mode", "\"tsds\""),
            (
                "sinks.any.prometheus_remote_write.headers.any",
                "\"string\"",
            ),
            ("sinks.any.jsonl.delivery.groups.include", "\"array\""),
            ("sinks.any.jsonl.delivery.max_bytes", "KMGT"),
        ] {
            let found = lookup(&schema, path).to_string();
            assert!(found.contains(expected), "{path}: {found}");
        }
        let unknown = lookup(&schema, "server");
        assert_eq!(
            unknown["additionalProperties"], false,
            "unknown keys are errors"
        );
    }

    /// Whatever the example has, commented out or not, the schema has.
    #[test]
    fn every_key_of_the_example_is_in_it() {
        let schema = as_json();
        for line in EXAMPLE.lines() {
            let line = line.trim_start_matches("# ");
            let Some((key, _)) = line.split_once(" = ") else {
                continue;
            };
            if key
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit())
            {
                assert!(schema.contains(&format!("\"{key}\"")), "{key}");
            }
        }
    }
}
