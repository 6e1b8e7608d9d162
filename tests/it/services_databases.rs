//! The harness's own tests: what it promises of the real databases holds.

use std::time::Duration;

use lagline::clock::Clock;
use serde_json::json;

use crate::services::{Database, DatabaseKind, unique, wait};

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn influxdb_keeps_acknowledged_points_over_a_kill() {
    let mut influxdb = Database::start(DatabaseKind::InfluxDb);
    influxdb
        .send("POST", "/query?q=CREATE%20DATABASE%20lag", "", b"")
        .accepted();
    let write = influxdb.send("POST", "/write?db=lag", "", b"lag,group=a value=7i 1");
    assert_eq!(write.status, 204, "{}", write.body);
    influxdb.kill();
    influxdb.restart();
    let read = influxdb
        .get("/query?db=lag&q=SELECT%20value%20FROM%20lag")
        .json();
    assert_eq!(read["results"][0]["series"][0]["values"][0][1], 7);
}

#[test]
fn influxdb_takes_settings() {
    let influxdb = Database::start_with(
        DatabaseKind::InfluxDb,
        &[("INFLUXDB_HTTP_AUTH_ENABLED", "true")],
    );
    assert!(influxdb.url().starts_with("http://127.0.0.1:"));
    let create = "/query?q=CREATE%20USER%20me%20WITH%20PASSWORD%20'pw'%20WITH%20ALL%20PRIVILEGES";
    influxdb.send("POST", create, "", b"").accepted();
    let asked = "/query?q=SHOW%20DATABASES";
    assert_eq!(influxdb.get(asked).status, 401);
    influxdb.get(&format!("{asked}&u=me&p=pw")).accepted();
}

#[test]
fn victoria_metrics_holds_a_point_sent_twice_once() {
    let victoria = Database::shared(DatabaseKind::VictoriaMetrics);
    let measurement = unique("lag").replace('-', "_");
    let now = Clock::system().now().as_ms();
    let line = format!("{measurement},group=a value=7 {now}000000");
    for _ in 0..2 {
        victoria
            .send("POST", "/write", "", line.as_bytes())
            .accepted();
    }
    let export = format!("/api/v1/export?match[]={measurement}_value&reduce_mem_usage=0");
    let found = wait::until_some("the point is readable", LIMIT, || {
        let answer = victoria.get(&export);
        (!answer.body.is_empty()).then_some(answer)
    });
    assert_eq!(found.json()["timestamps"], json!([now]));
}

#[test]
fn prometheus_takes_remote_write() {
    let prometheus = Database::shared(DatabaseKind::Prometheus);
    // An empty body is no snappy: the receiver says so, while without the receiver it would be 404.
    let answer = prometheus.send("POST", "/api/v1/write", "application/x-protobuf", b"");
    assert_eq!(answer.status, 400, "{}", answer.body);
}

#[test]
fn opensearch_has_data_streams_and_keeps_them_over_a_stop_and_a_kill() {
    let mut opensearch = Database::start(DatabaseKind::OpenSearch);
    let root = opensearch.get("/").accepted().json();
    assert_eq!(root["version"]["distribution"], "opensearch");
    assert_eq!(root["version"]["number"], "2.19.1");
    let template = json!({"index_patterns": ["metrics-*"], "data_stream": {}});
    opensearch
        .json("PUT", "/_index_template/metrics", &template.to_string())
        .accepted();
    let document = json!({"@timestamp": 0, "lag": 7}).to_string();
    opensearch
        .json("PUT", "/metrics-lag/_create/1?refresh=true", &document)
        .accepted();
    opensearch.stop();
    opensearch.restart();
    opensearch
        .json("PUT", "/metrics-lag/_create/2", &document)
        .accepted();
    opensearch.kill();
    opensearch.restart();
    wait::until("both documents are found", LIMIT, || {
        let found = opensearch.get("/metrics-lag/_count");
        found.status == 200 && found.json()["count"] == 2
    });
}

/// A template like lagline's own, as far as time series matter.
fn time_series_template(pattern: &str) -> String {
    json!({
        "index_patterns": [pattern],
        "data_stream": {},
        "template": {
            "settings": {"index.mode": "time_series", "index.look_back_time": "7d"},
            "mappings": {"properties": {
                "@timestamp": {"type": "date"},
                "group": {"type": "keyword", "time_series_dimension": true},
                "lag": {"type": "long", "time_series_metric": "gauge"},
            }},
        },
    })
    .to_string()
}

#[test]
fn elasticsearch_has_time_series_streams_that_hold_a_document_once() {
    let elasticsearch = Database::shared(DatabaseKind::Elasticsearch);
    let root = elasticsearch.get("/").accepted().json();
    assert_eq!(root["version"]["number"], "8.17.0");
    let stream = unique("metrics");
    let template = time_series_template(&stream);
    let path = format!("/_index_template/{stream}");
    elasticsearch.json("PUT", &path, &template).accepted();

    let now = Clock::system().now().as_ms();
    let three_days_ago = now - 3 * 86_400_000;
    let bulk = [now, three_days_ago].map(|at| {
        let document = json!({"@timestamp": at, "group": "a", "lag": 7});
        format!("{{\"create\":{{}}}}\n{document}\n")
    });
    let path = format!("/{stream}/_bulk?refresh=true");
    let first = elasticsearch.json("POST", &path, &bulk.concat()).accepted();
    assert_eq!(first.json()["errors"], false, "{}", first.body);
    let again = elasticsearch.json("POST", &path, &bulk.concat()).accepted();
    for item in again.json()["items"].as_array().unwrap() {
        assert_eq!(item["create"]["status"], 409, "{}", again.body);
    }

    elasticsearch
        .json("POST", &format!("/{stream}/_rollover"), "")
        .accepted();
    let described = elasticsearch.get(&format!("/_data_stream/{stream}")).json();
    let described = &described["data_streams"][0];
    assert_eq!(described["generation"], 2);
    assert_eq!(described["index_mode"], "time_series");
    assert_eq!(described["template"], stream);
    assert_eq!(elasticsearch.get("/_data_stream/absent").status, 404);
}

#[test]
fn elasticsearch_keeps_its_data_over_a_kill() {
    let mut elasticsearch = Database::start(DatabaseKind::Elasticsearch);
    elasticsearch
        .json("PUT", "/orders/_create/1", "{\"lag\": 7}")
        .accepted();
    elasticsearch.freeze();
    elasticsearch.thaw();
    elasticsearch.kill();
    elasticsearch.restart();
    wait::until("the document is found", LIMIT, || {
        elasticsearch.get("/orders/_doc/1").status == 200
    });
}
