use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::*;
use crate::sinks::elasticsearch::{Auth, ElasticSettings, ElasticSink, Mode};
use crate::sinks::http::TlsSettings;
use crate::sinks::stub::{Asked, Reply, Stub};
use crate::sinks::{Sink as _, WriteError};

/// A server that keeps the templates and policies put into it.
#[derive(Default)]
struct Server {
    root: Json,
    kept: BTreeMap<String, Json>,
}

impl Server {
    fn answer(&mut self, asked: &Asked) -> Reply {
        let path = asked.target.split('?').next().unwrap_or_default();
        let list = |kind: &str| {
            let prefix = format!("/_{kind}/");
            let all = self.kept.iter().filter_map(|(path, body)| {
                let name = path.strip_prefix(&prefix)?;
                Some(json!({ "name": name, kind: body }))
            });
            let all: Vec<_> = all.collect();
            let mut answer = Map::new();
            answer.insert(format!("{kind}s"), json!(all));
            Reply::new(200, Json::Object(answer).to_string())
        };
        match (asked.method.as_str(), path) {
            ("GET", "/") => Reply::new(200, self.root.to_string()),
            ("GET", path) if path.starts_with("/_component_template/") => {
                list("component_template")
            }
            ("GET", path) if path.starts_with("/_index_template/") => list("index_template"),
            ("GET", path) => match self.kept.get(path) {
                Some(body) => {
                    let mut body = body.clone();
                    if path.contains("_ism") {
                        body["_seq_no"] = json!(3);
                        body["_primary_term"] = json!(1);
                    }
                    Reply::new(200, body.to_string())
                }
                None => Reply::new(404, "{}"),
            },
            ("POST", path) if path.contains("_simulate_index") => {
                let template = self
                    .kept
                    .iter()
                    .find(|(path, _)| path.contains("-mappings-"));
                let meta = &template.unwrap().1["_meta"];
                let settings = json!({ "index": { "mode": "time_series" } });
                let template = json!({ "template": {
                    "settings": settings, "mappings": { "_meta": meta }
                } });
                Reply::new(200, template.to_string())
            }
            ("PUT", path) => {
                let body = serde_json::from_str(&asked.body).unwrap();
                self.kept.insert(path.to_owned(), body);
                Reply::new(200, r#"{"acknowledged":true}"#)
            }
            other => panic!("nobody asks {other:?}"),
        }
    }
}

fn sink(stub: &Stub, mode: Mode, days: u32) -> ElasticSink {
    ElasticSink::new(ElasticSettings {
        urls: vec![stub.url.clone()],
        mode,
        namespace: "default".into(),
        auth: Auth::None,
        manage_templates: true,
        retention: (days > 0).then_some(days * DAY),
        tls: TlsSettings::default(),
    })
    .unwrap()
}

async fn server(number: &str, distribution: &str) -> (Stub, Arc<Mutex<Server>>) {
    let version = json!({ "number": number, "distribution": distribution });
    let server = Arc::new(Mutex::new(Server {
        root: json!({ "version": version }),
        ..Server::default()
    }));
    let shared = Arc::clone(&server);
    let stub = Stub::start(move |asked| shared.lock().unwrap().answer(asked)).await;
    (stub, server)
}

/// What is kept under the paths that have `part` in them, the first of it.
fn kept(server: &Mutex<Server>, part: &str) -> Option<Json> {
    let server = server.lock().unwrap();
    let found = server.kept.iter().find(|(path, _)| path.contains(part));
    found.map(|(_, body)| body.clone())
}

const COMPONENT: &str = "/_component_template/lagline-lifecycle-default";
const INDEX: &str = "/_index_template/lagline-kafka_lag.partition-default";

#[tokio::test]
async fn each_server_gets_what_it_has_for_removing_what_is_old() {
    let (ilm, ism) = (
        "/_ilm/policy/lagline-lifecycle-default",
        "/_plugins/_ism/policies/lagline-lifecycle-default",
    );
    for (number, distribution, mode, policy, pointer, expected) in [
        (
            "8.17.0",
            "",
            Mode::Auto,
            COMPONENT,
            "/template/lifecycle/data_retention",
            "720h",
        ),
        (
            "8.10.0",
            "",
            Mode::Auto,
            ilm,
            "/policy/phases/delete/min_age",
            "720h",
        ),
        (
            "8.10.0",
            "",
            Mode::Auto,
            ilm,
            "/policy/phases/hot/actions/rollover/max_age",
            "7d",
        ),
        (
            "8.10.0",
            "",
            Mode::Auto,
            COMPONENT,
            "/template/settings/index.lifecycle.name",
            "lagline-lifecycle-default",
        ),
        (
            "8.17.0",
            "",
            Mode::Index,
            ilm,
            "/policy/phases/delete/min_age",
            "744h",
        ),
        (
            "2.19.1",
            "opensearch",
            Mode::Auto,
            ism,
            "/policy/states/0/transitions/0/conditions/min_index_age",
            "888h",
        ),
        (
            "2.19.1",
            "opensearch",
            Mode::Auto,
            ism,
            "/policy/ism_template/0/index_patterns/2",
            "metrics-kafka_lag.partition-default",
        ),
        (
            "2.19.1",
            "opensearch",
            Mode::Index,
            ism,
            "/policy/states/0/transitions/0/conditions/min_index_age",
            "744h",
        ),
    ] {
        let (stub, server) = server(number, distribution).await;
        let sink = sink(&stub, mode, 30);
        sink.prepare().await.unwrap();
        let body = kept(&server, policy).unwrap_or_else(|| panic!("{number}: {policy}"));
        assert_eq!(
            body.pointer(pointer),
            Some(&json!(expected)),
            "{number}: {body:#}"
        );
        let template = kept(&server, INDEX).unwrap().to_string();
        let is_composed = template.contains("\"lagline-lifecycle-default\"");
        assert_eq!(is_composed, policy != ism, "{number}: {template}");
        assert!(
            sink.take_made()
                .iter()
                .any(|what| what.starts_with("lifecycle "))
        );
        sink.prepare().await.unwrap();
        assert!(sink.take_made().is_empty(), "{number}: all is there");
    }
}

#[tokio::test]
async fn another_retention_changes_what_is_lagline_s_and_nothing_else() {
    for (number, distribution) in [("8.17.0", ""), ("8.10.0", ""), ("2.19.1", "opensearch")] {
        let (stub, server) = server(number, distribution).await;
        sink(&stub, Mode::Auto, 0).prepare().await.unwrap();
        assert!(kept(&server, "lifecycle").is_none(), "only when asked for");
        for (days, hours) in [(30, "720h"), (10, "240h")] {
            let sink = sink(&stub, Mode::Auto, days);
            sink.prepare().await.unwrap();
            let policy = kept(&server, "policy").or_else(|| kept(&server, "policies"));
            let policy = policy.or_else(|| kept(&server, COMPONENT)).unwrap();
            assert!(policy.to_string().contains(hours), "{number}: {policy:#}");
            sink.take_made();
            sink.prepare().await.unwrap();
            assert!(sink.take_made().is_empty(), "{number}");
        }
        let asked = stub.asked();
        let changed = asked
            .iter()
            .filter(|asked| asked.target.contains("if_seq_no=3"));
        let is_seen = changed.count() > 0;
        assert_eq!(is_seen, distribution == "opensearch");
    }
    // The operator's own policy of this name.
    let (stub, server) = server("2.19.1", "opensearch").await;
    let path = "/_plugins/_ism/policies/lagline-lifecycle-default";
    let own = json!({ "policy": { "description": "mine" } });
    server
        .lock()
        .unwrap()
        .kept
        .insert(path.to_owned(), own.clone());
    sink(&stub, Mode::Auto, 30).prepare().await.unwrap();
    assert_eq!(kept(&server, path), Some(own));
}

#[tokio::test]
async fn a_server_without_a_lifecycle_keeps_the_data_and_is_said() {
    let stub = Stub::start(|asked| match asked.target.as_str() {
        "/" => Reply::new(
            200,
            r#"{"version":{"number":"2.19.1","distribution":"opensearch"}}"#,
        ),
        target if target.contains("_ism") => Reply::new(400, r#"{"error":"no handler found"}"#),
        _ => Reply::new(200, "{}"),
    })
    .await;
    let Err(WriteError::Misconfigured { reason }) = sink(&stub, Mode::Auto, 30).prepare().await
    else {
        panic!("it is said");
    };
    assert!(reason.contains("leave out retention"), "{reason}");
}
