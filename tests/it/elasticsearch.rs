//! The Elasticsearch sink on a real Elasticsearch 8.17 (time series) and a real OpenSearch 2.19
//! (data streams, daily indexes).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lagline::clock::{Clock, Timestamp};
use lagline::points::{Batch, Measurement};
use lagline::sinks::elasticsearch::{Auth, ElasticSettings, ElasticSink, Mode};
use lagline::sinks::http::TlsSettings;
use lagline::sinks::{Repeated, Sink, WriteError};
use serde_json::{Value as Json, json};

use crate::services::{Database, DatabaseKind, Shared, unique};
use crate::sink_contract::{self, Bench, Counts};
use crate::sink_points::{HOSTILE, count, everything, hostile, long_names, partition};

fn sink(database: &Database, mode: Mode, namespace: &str) -> ElasticSink {
    ElasticSink::new(settings(database, mode, namespace)).unwrap()
}

fn settings(database: &Database, mode: Mode, namespace: &str) -> ElasticSettings {
    ElasticSettings {
        urls: vec![database.url().parse().unwrap()],
        mode,
        namespace: namespace.to_owned(),
        auth: Auth::None,
        manage_templates: true,
        retention: None,
        tls: TlsSettings::default(),
    }
}

/// A namespace has no hyphens.
pub fn namespace() -> String {
    unique("ns").replace('-', "_")
}

fn now() -> Timestamp {
    Clock::system().now().aligned(Duration::from_secs(10))
}

/// The stream, or all daily indexes, of a data set.
pub fn target(mode: Mode, dataset: &str, namespace: &str) -> String {
    match (mode, dataset) {
        (Mode::Index, _) => format!("kafka_lag.{dataset}-{namespace}-*"),
        (_, "status") => format!("logs-kafka_lag.status-{namespace}"),
        _ => format!("metrics-kafka_lag.{dataset}-{namespace}"),
    }
}

fn found(database: &Database, target: &str) -> u64 {
    database
        .json("POST", &format!("/{target}/_refresh"), "")
        .accepted();
    let answer = database.get(&format!("/{target}/_count")).accepted().json();
    answer["count"].as_u64().unwrap()
}

/// What server and mode a test runs with; the same promises hold for all of them.
const PLACES: [(DatabaseKind, Mode); 3] = [
    (DatabaseKind::Elasticsearch, Mode::Tsds),
    (DatabaseKind::OpenSearch, Mode::DataStream),
    (DatabaseKind::OpenSearch, Mode::Index),
];

/// The data set of each measurement.
pub const DATASETS: [(Measurement, &str); 7] = [
    (Measurement::Group, "group"),
    (Measurement::Topic, "topic"),
    (Measurement::Partition, "partition"),
    (Measurement::TopicOffset, "topic_offset"),
    (Measurement::Cluster, "cluster"),
    (Measurement::Status, "status"),
    (Measurement::Sink, "sink"),
];

struct Search {
    database: Shared<Database>,
    mode: Mode,
    namespace: String,
}

impl Bench for Search {
    fn sink(&self) -> Arc<dyn Sink> {
        Arc::new(sink(&self.database, self.mode, &self.namespace))
    }

    fn repeated(&self) -> Repeated {
        match self.mode {
            Mode::DataStream => Repeated::AtLeastOnce,
            Mode::Auto | Mode::Tsds | Mode::Index => Repeated::Once,
        }
    }

    async fn counts(&self) -> Counts {
        let mut counts = Counts::new();
        for (measurement, dataset) in DATASETS {
            let target = target(self.mode, dataset, &self.namespace);
            let is_there = self.database.get(&format!("/{target}/_count")).status == 200;
            let found = if is_there {
                found(&self.database, &target)
            } else {
                0
            };
            if found > 0 {
                counts.insert(measurement.name().to_owned(), found);
            }
        }
        counts
    }
}

async fn keep_the_contract((kind, mode): (DatabaseKind, Mode)) {
    let bench = Search {
        database: Database::shared(kind),
        mode,
        namespace: namespace(),
    };
    sink_contract::keep(&bench).await;
}

#[tokio::test]
async fn time_series_keep_the_contract() {
    keep_the_contract(PLACES[0]).await;
}

#[tokio::test]
async fn data_streams_keep_the_contract() {
    keep_the_contract(PLACES[1]).await;
}

#[tokio::test]
async fn daily_indexes_keep_the_contract() {
    keep_the_contract(PLACES[2]).await;
}

#[tokio::test]
async fn every_point_of_every_measurement_is_found_once_also_after_a_second_time() {
    for (kind, mode) in PLACES {
        let database = Database::shared(kind);
        let namespace = namespace();
        let sink = sink(&database, mode, &namespace);
        sink.prepare().await.unwrap();
        let batch = everything("prod", now());
        assert_eq!(sink.write(&batch).await.unwrap().known, 0, "{mode:?}");
        let again = sink.write(&batch).await.unwrap();
        assert_eq!(again.known, batch.len() as u64, "{mode:?}");
        for (measurement, dataset) in DATASETS {
            let found = found(&database, &target(mode, dataset, &namespace));
            assert_eq!(
                found,
                count(&batch, measurement) as u64,
                "{mode:?} {dataset}"
            );
        }
    }
}

#[tokio::test]
async fn every_hostile_name_is_a_document_with_that_name() {
    for (kind, mode) in PLACES {
        let database = Database::shared(kind);
        let namespace = namespace();
        let sink = sink(&database, mode, &namespace);
        let batch = hostile("prod", now());
        sink.write(&batch).await.unwrap();
        sink.write(&batch).await.unwrap();
        let target = target(mode, "partition", &namespace);
        assert_eq!(found(&database, &target), batch.len() as u64, "{mode:?}");
        let query = json!({ "size": 0, "aggs": { "groups": { "terms": {
            "field": "kafka.consumergroup.id", "size": 1000
        }}}});
        let answer = database
            .json("POST", &format!("/{target}/_search"), &query.to_string())
            .accepted()
            .json();
        let buckets = answer["aggregations"]["groups"]["buckets"]
            .as_array()
            .unwrap()
            .clone();
        let groups: BTreeSet<_> = buckets.iter().filter_map(|b| b["key"].as_str()).collect();
        for (name, why) in HOSTILE.iter().filter(|(name, _)| !name.is_empty()) {
            assert!(
                groups.contains(name),
                "{mode:?} {why}: {name:?} is not in {groups:?}"
            );
        }
        let cut = groups.iter().filter(|name| name.len() > 10_000).count();
        assert_eq!(
            cut,
            if mode == Mode::Tsds {
                long_names().len()
            } else {
                0
            },
            "{mode:?}"
        );
    }
}

/// A write, a rollover, the same write again: `sinks.md` section 4.
#[tokio::test]
async fn a_rollover_between_a_write_and_its_repetition() {
    for (kind, mode, expected) in [
        (DatabaseKind::Elasticsearch, Mode::Tsds, 10),
        (DatabaseKind::OpenSearch, Mode::Index, 10),
        // Plain data streams only know the ids of their newest index: at least once.
        (DatabaseKind::OpenSearch, Mode::DataStream, 20),
    ] {
        let database = Database::shared(kind);
        let namespace = namespace();
        let sink = sink(&database, mode, &namespace);
        let mut batch = Batch::new();
        for number in 0..10 {
            batch.push_owned(Arc::new(partition("prod", "g", "t", number, now())));
        }
        sink.write(&batch).await.unwrap();
        let target = target(mode, "partition", &namespace);
        if mode != Mode::Index {
            let path = format!("/{target}/_rollover");
            let rolled = database.json("POST", &path, "").accepted().json();
            assert_eq!(rolled["rolled_over"], true);
        }
        sink.write(&batch).await.unwrap();
        assert_eq!(found(&database, &target), expected, "{mode:?}");
    }
}

#[tokio::test]
async fn a_document_too_old_for_a_time_series_costs_one_document() {
    let database = Database::shared(DatabaseKind::Elasticsearch);
    let namespace = namespace();
    let sink = sink(&database, Mode::Auto, &namespace);
    let mut batch = Batch::new();
    let old = now().minus(Duration::from_secs(365 * 86_400));
    for number in 0..10 {
        let at = if number == 4 { old } else { now() };
        batch.push_owned(Arc::new(partition("prod", "g", "t", number, at)));
    }
    let Err(WriteError::Partial {
        rejected, retry, ..
    }) = sink.write(&batch).await
    else {
        panic!("one document is refused");
    };
    assert_eq!(
        (rejected.len(), rejected[0].0, retry.len()),
        (1, 4, 0),
        "{rejected:?}"
    );
    assert!(rejected[0].1.starts_with("too_old: "), "{rejected:?}");
    assert_eq!(
        found(&database, &target(Mode::Tsds, "partition", &namespace)),
        9
    );
}

#[tokio::test]
async fn a_document_of_the_wrong_type_costs_one_document_and_a_blocked_index_none() {
    let database = Database::shared(DatabaseKind::OpenSearch);
    let namespace = namespace();
    let sink = sink(&database, Mode::Index, &namespace);
    sink.prepare().await.unwrap();
    let day = Duration::from_secs(86_400);
    let at = Timestamp::from_secs(1_767_225_600);
    // Somebody made the second day's index with a status that is a number.
    let odd = json!({ "mappings": { "properties": { "kafka": { "properties": { "lag": {
        "properties": { "status": { "type": "long" } }
    }}}}}});
    let second = format!("/kafka_lag.partition-{namespace}-2026.01.02");
    database.json("PUT", &second, &odd.to_string()).accepted();
    let mut batch = Batch::new();
    for number in 0..10 {
        let at = if number == 4 { at.plus(day) } else { at };
        batch.push_owned(Arc::new(partition("prod", "g", "t", number, at)));
    }
    let Err(WriteError::Partial {
        rejected, retry, ..
    }) = sink.write(&batch).await
    else {
        panic!("one document is refused");
    };
    assert_eq!(
        (rejected.len(), rejected[0].0, retry.len()),
        (1, 4, 0),
        "{rejected:?}"
    );
    let all = target(Mode::Index, "partition", &namespace);
    assert_eq!(found(&database, &all), 9);

    let first = format!("/kafka_lag.partition-{namespace}-2026.01.01");
    let block = |value: bool| {
        let settings = json!({ "index.blocks.write": value }).to_string();
        database
            .json("PUT", &format!("{first}/_settings"), &settings)
            .accepted();
    };
    block(true);
    let more = everything("other", at);
    let partitions: Vec<usize> = (0..)
        .zip(more.iter())
        .filter(|(_, point)| point.measurement() == Measurement::Partition)
        .map(|(index, _)| index)
        .collect();
    let Err(WriteError::Partial {
        rejected, retry, ..
    }) = sink.write(&more).await
    else {
        panic!("the partitions are blocked");
    };
    assert_eq!((rejected.len(), &retry), (0, &partitions));
    let blocked = sink.write(&more.subset(&retry)).await;
    assert!(
        matches!(blocked, Err(WriteError::Misconfigured { .. })),
        "{blocked:?}"
    );
    block(false);
    sink.write(&more.subset(&retry)).await.unwrap();
    assert_eq!(found(&database, &all), 9 + partitions.len() as u64);
}

#[tokio::test]
async fn nothing_is_written_while_another_template_applies() {
    for (kind, mode) in PLACES {
        let database = Database::shared(kind);
        let namespace = namespace();
        let sink = sink(&database, mode, &namespace);
        let pattern = target(mode, "partition", &namespace);
        let mut foreign = json!({
            "index_patterns": [pattern],
            "priority": 999,
            "template": { "mappings": { "properties": { "@timestamp": { "type": "date" } } } },
        });
        if mode != Mode::Index {
            foreign["data_stream"] = json!({});
        }
        let path = format!("/_index_template/foreign-{namespace}");
        database.json("PUT", &path, &foreign.to_string()).accepted();
        let result = sink.write(&hostile("prod", now())).await;
        let Err(WriteError::Misconfigured { reason }) = result else {
            panic!("{mode:?}: nothing may be written: {result:?}");
        };
        assert!(
            reason.contains("in the way") || reason.contains("not lagline's"),
            "{reason}"
        );
        let indexes = database.get(&format!("/{pattern}")).json();
        assert!(
            indexes.get(".ds").is_none() && !indexes.to_string().contains("\"mappings\""),
            "{indexes}"
        );
        // As soon as it is gone, everything works.
        database.json("DELETE", &path, "").accepted();
        sink.prepare().await.unwrap();
        sink.write(&hostile("prod", now())).await.unwrap();
    }
}

#[tokio::test]
async fn an_older_template_is_replaced_and_its_stream_rolled_over() {
    for (kind, mode) in [PLACES[0], PLACES[1]] {
        // Its own: the component templates are everybody's.
        let database = Database::start(kind);
        let namespace = namespace();
        sink(&database, mode, &namespace).prepare().await.unwrap();
        for kind in ["component_template", "index_template"] {
            let list = database
                .get(&format!("/_{kind}/lagline-*"))
                .accepted()
                .json();
            for template in list[format!("{kind}s")].as_array().unwrap() {
                let name = template["name"].as_str().unwrap();
                let mut body = template[kind].clone();
                body["_meta"]["version"] = json!(0);
                if let Some(version) = body.pointer_mut("/template/mappings/_meta/version") {
                    *version = json!(0);
                }
                let path = format!("/_{kind}/{name}");
                database.json("PUT", &path, &body.to_string()).accepted();
            }
        }
        // What an older lagline wrote.
        let stream = target(mode, "partition", &namespace);
        let document = json!({
            "@timestamp": now().as_ms(),
            "kafka.cluster.name": "old",
            "kafka.consumergroup.id": "g",
        });
        let path = format!("/{stream}/_create/1");
        let path = if mode == Mode::Tsds {
            format!("/{stream}/_doc")
        } else {
            path
        };
        database
            .json("POST", &path, &document.to_string())
            .accepted();

        let sink = sink(&database, mode, &namespace);
        sink.prepare().await.unwrap();
        assert_eq!(generation(&database, &stream), 2, "{mode:?}");
        // Once: the second time there is nothing to do.
        sink.prepare().await.unwrap();
        assert_eq!(generation(&database, &stream), 2, "{mode:?}");
        let batch = hostile("prod", now());
        sink.write(&batch).await.unwrap();
        assert_eq!(found(&database, &stream), batch.len() as u64 + 1);

        // A newer one stays, and nothing is written as long as it does not fit.
        let path = format!("/_index_template/lagline-kafka_lag.partition-{namespace}");
        let list = database.get(&path).accepted().json();
        let mut body = list["index_templates"][0]["index_template"].clone();
        body["_meta"]["version"] = json!(99);
        database.json("PUT", &path, &body.to_string()).accepted();
        sink.prepare().await.unwrap();
        let list = database.get(&path).accepted().json();
        let kept = &list["index_templates"][0]["index_template"]["_meta"]["version"];
        assert_eq!(kept, 99, "{mode:?}");
    }
}

#[tokio::test]
async fn a_plain_data_stream_becomes_a_time_series_when_the_mode_changes() {
    let database = Database::shared(DatabaseKind::Elasticsearch);
    let namespace = namespace();
    let batch = hostile("prod", now());
    let plain = sink(&database, Mode::DataStream, &namespace);
    plain.write(&batch).await.unwrap();
    let series = sink(&database, Mode::Auto, &namespace);
    let stream = target(Mode::Tsds, "partition", &namespace);
    series.prepare().await.unwrap();
    assert_eq!(generation(&database, &stream), 2);
    series.write(&batch).await.unwrap();
    assert_eq!(
        series.write(&batch).await.unwrap().known,
        batch.len() as u64
    );
    assert_eq!(found(&database, &stream), 2 * batch.len() as u64);
}

fn generation(database: &Database, stream: &str) -> u64 {
    let answer = database
        .get(&format!("/_data_stream/{stream}"))
        .accepted()
        .json();
    answer["data_streams"][0]["generation"].as_u64().unwrap()
}

#[tokio::test]
async fn templates_of_the_operators_own_are_verified_and_left_alone() {
    for (kind, mode) in PLACES {
        let database = Database::shared(kind);
        let namespace = namespace();
        let mut settings = ElasticSettings {
            manage_templates: false,
            ..settings(&database, mode, &namespace)
        };
        let sink = ElasticSink::new(settings.clone()).unwrap();
        let error = sink.prepare().await.unwrap_err().to_string();
        assert!(
            error.contains("another template") || error.contains("no template"),
            "{error}"
        );
        assert!(sink.check().await.is_err());
        let templates: Json = database
            .get(&format!("/_index_template/*{namespace}"))
            .json();
        assert!(!templates.to_string().contains("lagline"), "{templates}");

        settings.manage_templates = true;
        let managing = ElasticSink::new(settings).unwrap();
        let report = managing.check().await.unwrap();
        assert!(
            report.lines[2].starts_with("7 templates will be put"),
            "{report:?}"
        );
        managing.write(&everything("prod", now())).await.unwrap();
        sink.prepare().await.unwrap();
        assert_eq!(sink.check().await.unwrap().lines[2], "templates are there");
        assert_eq!(
            managing.check().await.unwrap().lines[2],
            "templates are there"
        );
    }
}

#[tokio::test]
async fn the_mode_is_found_out_and_a_wrong_one_refused() {
    for (kind, expected, refused) in [
        (DatabaseKind::Elasticsearch, "mode tsds", None),
        (
            DatabaseKind::OpenSearch,
            "mode data_stream",
            Some(Mode::Tsds),
        ),
    ] {
        let database = Database::shared(kind);
        let report = sink(&database, Mode::Auto, &namespace())
            .check()
            .await
            .unwrap();
        assert_eq!(report.lines[1], expected);
        if let Some(mode) = refused {
            let error = sink(&database, mode, &namespace())
                .prepare()
                .await
                .unwrap_err();
            assert!(
                matches!(error, WriteError::Misconfigured { .. }),
                "{error:?}"
            );
        }
    }
}

#[tokio::test]
async fn retention_becomes_the_lifecycle_of_the_streams_where_the_server_has_one() {
    let day = Duration::from_secs(86_400);
    let sink_with = |database: &Database, namespace: &str, retention| {
        ElasticSink::new(ElasticSettings {
            retention: Some(retention),
            ..settings(database, Mode::Auto, namespace)
        })
        .unwrap()
    };
    let elasticsearch = Database::shared(DatabaseKind::Elasticsearch);
    let namespace = namespace();
    for (retention, expected) in [(30 * day, "720h"), (10 * day, "240h")] {
        let sink = sink_with(&elasticsearch, &namespace, retention);
        sink.prepare().await.unwrap();
        assert!(!sink.take_made().is_empty());
        let stream = target(Mode::Tsds, "partition", &namespace);
        let path = format!("/_index_template/_simulate_index/{stream}");
        let simulated = elasticsearch.json("POST", &path, "").accepted().json();
        let lifecycle = &simulated["template"]["lifecycle"];
        assert_eq!(lifecycle["data_retention"], expected, "{simulated:#}");
        sink.prepare().await.unwrap();
        assert!(sink.take_made().is_empty(), "the second time all is there");
    }
    let sink = sink_with(&elasticsearch, &namespace, 10 * day);
    let batch = hostile("prod", now());
    sink.write(&batch).await.unwrap();
    let stream = target(Mode::Tsds, "partition", &namespace);
    assert_eq!(found(&elasticsearch, &stream), batch.len() as u64);

    // This one has no index state management, which is a plugin.
    let opensearch = Database::shared(DatabaseKind::OpenSearch);
    let sink = sink_with(&opensearch, &namespace, 30 * day);
    let Err(WriteError::Misconfigured { reason }) = sink.prepare().await else {
        panic!("it is said");
    };
    assert!(reason.contains("leave out retention"), "{reason}");
}
