//! What the destinations hold.

use std::collections::BTreeMap;
use std::path::Path;

use lagline::points::{Measurement, OwnedPoint, Point, read_json};
use lagline::sinks::dead_letters::Letter;
use lagline::sinks::elasticsearch::Mode;
use serde_json::{Map, Value as Json, json};

use crate::elasticsearch::{DATASETS, target};
use crate::influxdb::{ALWAYS, query};
use crate::services::Database;

/// What makes a point this point.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Key {
    pub measurement: String,
    beat_ms: i64,
    tags: BTreeMap<String, String>,
}

impl Key {
    pub fn of(point: &Point<'_>) -> Self {
        Self::of_owned(&OwnedPoint::of(point))
    }

    /// The point of a line of JSON; none when it is no whole one.
    pub fn of_json(line: &str) -> Option<Self> {
        let object: Map<String, Json> = serde_json::from_str(line).ok()?;
        let point = read_json(&object).expect("what is written can be read");
        Some(Self::of_owned(&point))
    }

    fn of_owned(point: &OwnedPoint) -> Self {
        let tags = point.tags.iter();
        Self {
            measurement: point.measurement.name().to_owned(),
            beat_ms: point.at.as_ms(),
            tags: tags.map(|(k, v)| ((*k).to_owned(), v.clone())).collect(),
        }
    }
}

/// How often each point is there.
pub type Found = BTreeMap<Key, u32>;

/// Every point of a database.
pub fn influxdb(server: &Database, name: &str) -> Found {
    let mut found = Found::new();
    for (measurement, field) in ALWAYS {
        let measurement = measurement.name();
        let text = format!("SELECT \"{field}\" FROM \"{measurement}\" GROUP BY *");
        let answer = query(server, name, &text);
        let series = answer["results"][0]["series"].as_array();
        for series in series.into_iter().flatten() {
            let tags = series["tags"].as_object().expect("tags");
            let tags = tags.iter().map(|(k, v)| (k.clone(), v.as_str().unwrap()));
            // A series that lacks a tag of others has an empty one.
            let tags = tags.filter(|(_, value)| !value.is_empty());
            let tags: BTreeMap<_, _> = tags.map(|(k, v)| (k, v.to_owned())).collect();
            for value in series["values"].as_array().expect("values") {
                let time = value[0].as_str().expect("a time");
                let time: jiff::Timestamp = time.parse().unwrap();
                let key = Key {
                    measurement: measurement.to_owned(),
                    beat_ms: time.as_millisecond(),
                    tags: tags.clone(),
                };
                *found.entry(key).or_default() += 1;
            }
        }
    }
    found
}

/// The field that a tag is.
fn path(tag: &str) -> &'static str {
    match tag {
        "cluster" => "kafka.cluster.name",
        "group" => "kafka.consumergroup.id",
        "topic" => "kafka.topic.name",
        "partition" => "kafka.partition.id",
        "sink" => "lagline.sink.name",
        other => panic!("no field is known for {other}"),
    }
}

/// Every document of a namespace, in whatever index it is.
///
/// # Panics
/// When a daily index has a document of another day.
pub fn documents(server: &Database, mode: Mode, namespace: &str) -> Found {
    let mut found = Found::new();
    for (measurement, dataset) in DATASETS {
        let target = target(mode, dataset, namespace);
        if server.get(&format!("/{target}/_count")).status != 404 {
            let refreshed = server.json("POST", &format!("/{target}/_refresh"), "");
            refreshed.accepted();
            add_documents(&mut found, server, &target, mode, measurement);
        }
    }
    found
}

fn add_documents(
    found: &mut Found,
    server: &Database,
    target: &str,
    mode: Mode,
    measurement: Measurement,
) {
    let tags = measurement.info().tags.iter().map(|tag| tag.name);
    let paths: BTreeMap<_, _> = tags.map(|tag| (tag, path(tag))).collect();
    let mut fields = vec![json!({ "field": "@timestamp", "format": "epoch_millis" })];
    fields.extend(paths.values().map(|path| json!({ "field": path })));
    let search = json!({
        "size": 5_000, "sort": ["_doc"], "_source": false, "docvalue_fields": fields,
    });
    let first = format!("/{target}/_search?scroll=1m");
    let mut page = server.json("POST", &first, &search.to_string());
    loop {
        let answer = page.accepted().json();
        let hits = answer["hits"]["hits"].as_array().expect("hits").clone();
        if hits.is_empty() {
            return;
        }
        for hit in hits {
            let value = |path: &str| match &hit["fields"][path][0] {
                Json::String(text) => Some(text.clone()),
                Json::Number(number) => Some(number.to_string()),
                Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => None,
            };
            let at = value("@timestamp").expect("a time");
            let tags = paths.iter();
            let key = Key {
                measurement: measurement.name().to_owned(),
                beat_ms: at.parse().unwrap(),
                tags: tags
                    .filter_map(|(tag, path)| Some(((*tag).to_owned(), value(path)?)))
                    .collect(),
            };
            let index = hit["_index"].as_str().expect("an index");
            let is_its = mode != Mode::Index || index.ends_with(&day(key.beat_ms));
            assert!(is_its, "{key:?} is in {index}");
            *found.entry(key).or_default() += 1;
        }
        let next = json!({ "scroll": "1m", "scroll_id": answer["_scroll_id"] });
        page = server.json("POST", "/_search/scroll", &next.to_string());
    }
}

/// The day in the name of a daily index.
pub fn day(at_ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(at_ms).unwrap();
    at.strftime("%Y.%m.%d").to_string()
}

/// Every dead letter of a sink.
pub fn dead_letters(directory: &Path, sink: &str) -> Found {
    let file = format!("lagline.db.dead-letters/{sink}.ndjson");
    let lines = std::fs::read_to_string(directory.join(file)).unwrap();
    let mut found = Found::new();
    for letter in lines.lines().filter_map(|line| Letter::read(line).ok()) {
        *found.entry(Key::of_owned(&letter.point)).or_default() += 1;
    }
    found
}
