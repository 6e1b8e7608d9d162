//! InfluxDB 2's management answers as its API describes them; InfluxDB 1 is tested on the real one.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use serde_json::json;
use url::Url;

use super::*;
use crate::config::secret::Secret;
use crate::sinks::Sink as _;
use crate::sinks::http::TlsSettings;
use crate::sinks::influxdb::{InfluxSettings, Profile};
use crate::sinks::stub::{Asked, Reply, Stub};

const DAY: Duration = Duration::from_secs(86_400);

fn sink(url: &Url, bootstrap: Bootstrap) -> InfluxSink {
    InfluxSink::new(InfluxSettings {
        url: url.clone(),
        target: Target::V2 {
            org: "ops".into(),
            bucket: "kafka lag".into(),
            token: Some(Secret::new("hunter2")),
        },
        gzip: true,
        tls: TlsSettings::default(),
        owner_fields: false,
        profile: Profile::default(),
        bootstrap: Some(bootstrap),
    })
    .unwrap()
}

/// The buckets and tasks of a server that has one organization.
#[derive(Debug, Default)]
struct Server {
    buckets: BTreeSet<String>,
    tasks: BTreeSet<String>,
}

impl Server {
    fn answer(&mut self, asked: &Asked) -> Reply {
        let path = asked.target.split('?').next().unwrap_or_default();
        let body: Json = serde_json::from_str(&asked.body).unwrap_or_default();
        let times =
            json!({"createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-01T00:00:00Z"});
        let with_times = |mut object: Json| {
            object["createdAt"] = times["createdAt"].clone();
            object["updatedAt"] = times["updatedAt"].clone();
            object
        };
        match (asked.method.as_str(), path) {
            ("GET", "/api/v2/orgs") => {
                let org = json!({"id": "0a", "name": "ops", "description": "",
                    "links": {"self": "/api/v2/orgs/0a"}});
                let all = json!({"links": {"self": "/api/v2/orgs"}, "orgs": [with_times(org)]});
                Reply::new(200, all.to_string())
            }
            ("GET", "/api/v2/buckets") => {
                let bucket = |name: &String| {
                    with_times(
                        json!({"id": "0b", "orgID": "0a", "type": "user", "name": name,
                        "retentionRules": [{"type": "expire", "everySeconds": 0,
                            "shardGroupDurationSeconds": 604_800}],
                        "links": {"self": "/api/v2/buckets/0b"}, "labels": []}),
                    )
                };
                let all: Vec<_> = self.buckets.iter().map(bucket).collect();
                let all = json!({"links": {"self": "/api/v2/buckets"}, "buckets": all});
                Reply::new(200, all.to_string())
            }
            ("POST", "/api/v2/buckets") => {
                self.buckets
                    .insert(body["name"].as_str().unwrap().to_owned());
                Reply::new(201, body.to_string())
            }
            ("GET", "/api/v2/tasks") => {
                let task = |name: &String| {
                    with_times(
                        json!({"id": "0c", "orgID": "0a", "org": "ops", "ownerID": "0d",
                        "name": name, "status": "active", "flux": "something else",
                        "every": "5m", "offset": "30s", "links": {"self": "/api/v2/tasks/0c"}}),
                    )
                };
                let all: Vec<_> = self.tasks.iter().map(task).collect();
                let all = json!({"links": {"self": "/api/v2/tasks"}, "tasks": all});
                Reply::new(200, all.to_string())
            }
            ("POST", "/api/v2/tasks") => {
                assert!(body["flux"].as_str().unwrap().contains("every: 5m"));
                self.tasks.insert("lagline kafka lag_5m".to_owned());
                Reply::new(201, body.to_string())
            }
            other => panic!("nobody asks {other:?}"),
        }
    }
}

fn wanted() -> Bootstrap {
    Bootstrap {
        retention: Some(30 * DAY),
        downsampled: Some(365 * DAY),
    }
}

#[tokio::test]
async fn buckets_and_the_task_are_made_once_and_what_is_there_is_left_alone() {
    let server = Arc::new(Mutex::new(Server::default()));
    let shared = Arc::clone(&server);
    let stub = Stub::start(move |asked| shared.lock().unwrap().answer(asked)).await;
    let sink = sink(&stub.url, wanted());
    sink.prepare().await.unwrap();
    let made = [
        "bucket \"kafka lag\"",
        "bucket \"kafka lag_5m\"",
        "task \"lagline kafka lag_5m\"",
    ];
    assert_eq!(sink.take_made(), made);
    let posted: Vec<_> = stub
        .asked()
        .into_iter()
        .filter(|a| a.method == "POST")
        .collect();
    for (asked, seconds) in posted.iter().zip([30, 365]) {
        let body: Json = serde_json::from_str(&asked.body).unwrap();
        assert_eq!(body["orgID"], "0a");
        assert_eq!(body["retentionRules"][0]["everySeconds"], seconds * 86_400);
        assert_eq!(asked.authorization.as_deref(), Some("Token hunter2"));
    }
    // Again, and after a kill in the middle: only what is missing.
    sink.prepare().await.unwrap();
    assert!(sink.take_made().is_empty());
    server.lock().unwrap().buckets.remove("kafka lag_5m");
    sink.prepare().await.unwrap();
    assert_eq!(sink.take_made(), ["bucket \"kafka lag_5m\""]);
    let methods: BTreeSet<_> = stub.asked().into_iter().map(|asked| asked.method).collect();
    assert_eq!(
        methods,
        BTreeSet::from(["GET".to_owned(), "POST".to_owned()])
    );
}

#[tokio::test]
async fn without_retention_a_bucket_keeps_for_ever_and_nothing_else_is_made() {
    let server = Mutex::new(Server::default());
    let stub = Stub::start(move |asked| server.lock().unwrap().answer(asked)).await;
    let sink = sink(&stub.url, Bootstrap::default());
    sink.prepare().await.unwrap();
    assert_eq!(sink.take_made(), ["bucket \"kafka lag\""]);
    let posted = stub
        .asked()
        .into_iter()
        .find(|asked| asked.method == "POST");
    let body: Json = serde_json::from_str(&posted.unwrap().body).unwrap();
    assert_eq!(body["retentionRules"], json!([]));
}

#[tokio::test]
async fn a_server_that_refuses_keeps_the_data_and_is_said() {
    for (status, body, expected) in [
        (
            401,
            r#"{"code":"unauthorized","message":"unauthorized access by hunter2"}"#,
            "misconfigured: check the login",
        ),
        (
            404,
            r#"{"code":"not found","message":"organization name \"ops\" not found"}"#,
            "misconfigured: no organization \"ops\": make it first",
        ),
        (
            422,
            r#"{"code":"unprocessable entity","message":"no"}"#,
            "misconfigured: listing organizations: no",
        ),
        (503, "", "transient: answered 503"),
    ] {
        let reply = Reply::new(status, body);
        let stub = Stub::start(move |_| reply.clone()).await;
        let error = sink(&stub.url, wanted()).prepare().await.unwrap_err();
        let (class, reason) = match error {
            WriteError::Misconfigured { reason } => ("misconfigured", reason),
            WriteError::Transient { reason, .. } => ("transient", reason),
            other @ (WriteError::TooLarge { .. }
            | WriteError::Partial { .. }
            | WriteError::Bisect { .. }
            | WriteError::Rejected { .. }) => panic!("{status}: {other:?}"),
        };
        let (kind, words) = expected.split_once(": ").unwrap();
        assert_eq!(class, kind, "{reason}");
        assert!(reason.contains(words), "{reason}");
        assert!(!reason.contains("hunter"), "{reason}");
    }
}

#[tokio::test]
async fn an_address_with_a_path_is_refused_as_the_client_would_drop_it() {
    let url = Url::parse("http://127.0.0.1:9/influx/").unwrap();
    let error = sink(&url, wanted())
        .prepare()
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("without a path"), "{error}");
}

#[tokio::test]
async fn without_bootstrap_nothing_is_asked() {
    let stub = Stub::start(|_| Reply::new(500, "")).await;
    let mut settings = sink(&stub.url, wanted()).settings;
    settings.bootstrap = None;
    InfluxSink::new(settings).unwrap().prepare().await.unwrap();
    assert!(stub.asked().is_empty());
}
