//! The API over a real socket.

mod slow;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::clock::{Clock, Timestamp};
use crate::config::ServerSettings;
use crate::config::clusters::ClusterSettings;
use crate::golden;
use crate::kafka::offsets::ReaderStats;
use crate::lag::evaluation::{Evaluation, Phase};
use crate::lag::ids::ClusterName;
use crate::lag::optional::MaybeI64;
use crate::monitor::ClusterHealth;
use crate::points::sample::{self, HOSTILE};
use crate::server::{ClusterHandle, LogLevel, serve};
use crate::store::frame::Body as FrameBody;
use crate::store::{Store, StoreSettings};

/// How long anything may take before a test fails instead of hanging.
const DEADLINE: Duration = Duration::from_secs(30);

/// A server with the clusters "prod" (whose groups are known) and "empty" (which is not read yet).
struct Stage {
    address: String,
    client: reqwest::Client,
    store: Store,
    prod: watch::Sender<Option<Arc<Evaluation>>>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

fn evaluation(seq: i64) -> Arc<Evaluation> {
    match &sample::small(seq).body {
        FrameBody::Evaluation { evaluation, .. } => Arc::clone(evaluation),
        FrameBody::Sinks(_) => panic!("a frame about a cluster"),
    }
}

fn cluster(
    name: &str,
    health: ClusterHealth,
) -> (ClusterHandle, watch::Sender<Option<Arc<Evaluation>>>) {
    let (sender, latest) = watch::channel(None);
    let handle = ClusterHandle {
        name: ClusterName::new(name),
        latest,
        commands: mpsc::channel(1).0,
        health: watch::channel(health).1,
        reader: Arc::new(ReaderStats::default()),
        settings: Arc::new(ClusterSettings::new(vec!["k:9092".to_owned()])),
    };
    (handle, sender)
}

async fn stage(evaluation: Arc<Evaluation>) -> Stage {
    stage_with(evaluation, None).await
}

/// The same with a store in a file, which is sealed.
async fn stage_with(evaluation: Arc<Evaluation>, path: Option<&Path>) -> Stage {
    let now = evaluation.beat;
    let running = ClusterHealth {
        phase: Phase::Running,
        up: true,
        reason: None,
        unreachable_since: None,
        restarts: 0,
        ..ClusterHealth::starting(now)
    };
    let (known, prod) = cluster("prod", running);
    let (unknown, _) = cluster("empty", ClusterHealth::starting(now));
    prod.send_replace(Some(evaluation));
    let opened = Store::open(path, StoreSettings::default()).unwrap();
    let (writer, historian, sealer) = (opened.writer, opened.historian, opened.sealer);
    let mut tasks = JoinSet::new();
    tasks.spawn_blocking(move || sealer.run());
    tasks.spawn_blocking(move || writer.run());
    tasks.spawn_blocking(move || historian.run());
    let stop = CancellationToken::new();
    let state = State::new(
        vec![known, unknown],
        Vec::new(),
        opened.store.clone(),
        ServerSettings::default(),
        Duration::from_secs(10),
        Clock::manual(now),
        LogLevel::new("info", |_| {}),
    );
    let state = state.stopped_by(stop.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tasks.spawn(async move { serve(listener, Arc::new(state)).await.unwrap() });
    Stage {
        address,
        client: reqwest::Client::new(),
        store: opened.store,
        prod,
        stop,
        tasks,
    }
}

impl Stage {
    async fn ask(&self, path: &str) -> (u16, Value) {
        let url = format!("{}{path}", self.address);
        let answer = self.client.get(url).timeout(DEADLINE).send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        let value = serde_json::from_str(&text);
        (status, value.unwrap_or_else(|_| panic!("{path}: {text}")))
    }

    async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.ask(path).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// Ends everything; what hangs fails the test.
    async fn end(self) {
        self.stop.cancel();
        drop(self.store);
        let mut tasks = self.tasks;
        let ended = async { while tasks.join_next().await.is_some() {} };
        tokio::time::timeout(DEADLINE, ended).await.unwrap();
    }
}

fn names(answer: &Value, list: &str, key: &str) -> Vec<String> {
    let rows = answer[list].as_array().unwrap();
    rows.iter()
        .map(|row| row[key].as_str().unwrap().to_owned())
        .collect()
}

/// Many groups, each with one topic of its own.
fn many() -> Arc<Evaluation> {
    let mut evaluation = Evaluation::clone(&crate::store::sample::busy(7, 25, 3));
    for (number, group) in (0_i64..).zip(&mut evaluation.groups) {
        let group = Arc::make_mut(group);
        // Some lags are equal, some unknown.
        group.totals.lag = match number % 4 {
            0 => crate::lag::optional::MaybeI64::NONE,
            other => crate::lag::optional::MaybeI64::some(100 * other),
        };
    }
    Arc::new(evaluation)
}

#[test]
fn the_readme_lists_every_path() {
    let rows = ENDPOINTS.iter().map(|endpoint| {
        let about = endpoint
            .about
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        format!("| `{}` | {about} |\n", endpoint.path)
    });
    let table = format!("| path | what |\n|---|---|\n{}", rows.collect::<String>());
    golden::check_part("README.md", "api", &table);
}

#[test]
fn the_document_is_the_one_in_schemas() {
    let text = serde_json::to_string_pretty(&document()).unwrap();
    golden::check("schemas/openapi.json", &format!("{text}\n"));
}

/// The schema's own properties, looked up through references; those of flattened parts included.
fn properties<'a>(
    document: &'a Value,
    schema: &'a Value,
) -> Option<&'a serde_json::Map<String, Value>> {
    let schema = match schema["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#'))?,
        None => schema,
    };
    schema["properties"].as_object()
}

/// Every member of `answer` is described, all the way down.
fn check_described(document: &Value, schema: &Value, answer: &Value, path: &str) {
    match answer {
        Value::Object(members) => {
            let Some(known) = properties(document, schema) else {
                // A map whose keys are data.
                return;
            };
            for (name, value) in members {
                let schema = known.get(name);
                let schema = schema.unwrap_or_else(|| panic!("{path}.{name} is not described"));
                check_described(document, schema, value, &format!("{path}.{name}"));
            }
            for name in known.keys() {
                assert!(members.contains_key(name), "{path}.{name} is missing");
            }
        }
        Value::Array(items) => {
            for item in items {
                check_described(document, &schema["items"], item, path);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test]
async fn every_answer_is_what_the_document_describes() {
    let stage = stage(evaluation(1)).await;
    let document = stage.get("/api/v1/openapi.json").await;
    assert_eq!(document, super::document());
    for (path, template) in [
        ("/api/v1/clusters", "/api/v1/clusters"),
        ("/api/v1/groups", "/api/v1/groups"),
        (
            "/api/v1/groups/prod/payments",
            "/api/v1/groups/{cluster}/{group}",
        ),
        ("/api/v1/topics", "/api/v1/topics"),
        (
            "/api/v1/topics/prod/orders",
            "/api/v1/topics/{cluster}/{topic}",
        ),
        ("/api/v1/history?cluster=prod", "/api/v1/history"),
        ("/api/v1/events", "/api/v1/events"),
        ("/api/v1/sinks", "/api/v1/sinks"),
    ] {
        let answer = stage.get(path).await;
        let described = &document["paths"][template]["get"]["responses"]["200"]["content"];
        let schema = &described["application/json"]["schema"];
        assert!(!schema.is_null(), "{template}");
        check_described(&document, schema, &answer, path);
    }
    stage.end().await;
}

#[tokio::test]
async fn lists_come_in_pages_sorted_and_filtered() {
    let stage = stage(many()).await;
    for sort in ["worst", "lag", "time_lag", "consume_rate", "group"] {
        for order in ["asc", "desc"] {
            let query = format!("/api/v1/groups?sort={sort}&order={order}");
            let whole = stage.get(&query).await;
            assert_eq!(whole["total"], 25);
            assert_eq!(whole["next"], Value::Null);
            let whole = names(&whole, "groups", "group");
            let (mut paged, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = stage.get(&format!("{query}&limit=4{cursor}")).await;
                assert_eq!(page["total"], 25);
                paged.extend(names(&page, "groups", "group"));
                let Some(next) = page["next"].as_str() else {
                    break;
                };
                let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
                cursor = format!("&cursor={next}");
            }
            assert_eq!(paged, whole, "{query}");
        }
    }
    let lags = stage.get("/api/v1/groups?sort=lag&order=asc").await;
    let lags = lags["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["lag"].as_i64());
    let lags: Vec<Option<i64>> = lags.collect();
    let known = lags.iter().take_while(|lag| lag.is_some()).count();
    assert_eq!((known, lags.len()), (18, 25), "the unknown last");
    assert!(lags[..known].is_sorted());
    let found = stage.get("/api/v1/groups?search=BILLING-00003").await;
    assert_eq!(names(&found, "groups", "group"), ["billing-00003"]);
    let found = stage.get("/api/v1/groups?search=events-00003").await;
    assert_eq!(
        names(&found, "groups", "group"),
        ["billing-00003"],
        "by its topic"
    );
    assert_eq!(
        stage.get("/api/v1/groups?status=ERR,WARN").await["total"],
        0
    );
    assert_eq!(stage.get("/api/v1/groups?stale=true").await["total"], 0);
    assert_eq!(
        stage.get("/api/v1/topics?search=EVENTS-0001").await["total"],
        10
    );
    let most = stage.get("/api/v1/topics?sort=produce_rate&limit=25").await;
    let rates = most["topics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["produce_rate"].as_f64());
    assert!(rates.map(|rate| rate.unwrap()).is_sorted_by(|a, b| a >= b));
    stage.end().await;
}

#[tokio::test]
async fn one_group_and_one_topic_are_found_by_any_name() {
    let stage = stage(evaluation(1)).await;
    let encoded: String =
        percent_encoding::utf8_percent_encode(HOSTILE, percent_encoding::NON_ALPHANUMERIC)
            .collect();
    let group = stage.get(&format!("/api/v1/groups/prod/{encoded}")).await;
    assert_eq!(group["group"], HOSTILE);
    let rows = group["topics"][0]["partitions"].as_array().unwrap();
    assert_eq!(
        (rows.len(), &rows[0]["lag"], &rows[0]["offset"]),
        (3, &101.into(), &900.into())
    );
    assert_eq!(rows[2]["offset"], Value::Null, "no commit");
    let member = rows[0]["member"].as_u64().unwrap();
    assert!(member < group["member_list"].as_array().unwrap().len() as u64);
    let cut = stage
        .get(&format!("/api/v1/groups/prod/{encoded}?limit=2"))
        .await;
    assert_eq!(
        (&cut["is_cut"], &group["is_cut"]),
        (&true.into(), &false.into())
    );
    let topic = stage.get("/api/v1/topics/prod/orders").await;
    assert_eq!(names(&topic, "readers", "group"), ["payments"]);
    assert_eq!(topic["partition_list"][0]["end_offset"], 1001);
    assert_eq!(
        topic["records"],
        Value::Null,
        "a partition's bounds are unknown"
    );
    stage.end().await;
}

#[tokio::test]
async fn what_cannot_be_answered_says_why() {
    let stage = stage(evaluation(1)).await;
    for (path, status, message) in [
        (
            "groups?x=1",
            400,
            "x: unknown; known are cluster, status, search, stale, sort, order, limit, cursor",
        ),
        ("clusters?x=1", 400, "x: unknown; there are none here"),
        (
            "groups?cluster=pord",
            400,
            "cluster: no cluster of this name is configured; there are empty, prod",
        ),
        ("groups?status=BAD", 400, "status: expected OK, WARN or ERR"),
        (
            "groups?limit=0",
            400,
            "limit: expected a whole number from 1 to 10000",
        ),
        (
            "groups?cursor=x",
            400,
            "cursor: expected the \"next\" of an earlier answer",
        ),
        (
            "groups/pord/payments",
            404,
            "no cluster of this name is configured; there are empty, prod",
        ),
        (
            "groups/prod/nobody",
            404,
            "the cluster has no group of this name",
        ),
        (
            "groups/empty/nobody",
            404,
            "nothing is known of the cluster yet: not connected yet",
        ),
        (
            "topics/prod/none",
            404,
            "the cluster has no topic of this name",
        ),
        ("history", 400, "cluster: is needed"),
        (
            "history?cluster=prod&partition=1",
            400,
            "partition: expected together with topic",
        ),
        (
            "history?cluster=prod&topic=t&partition=x",
            400,
            "partition: expected the number of a partition",
        ),
        (
            "history?cluster=prod&from=now&to=-1h",
            400,
            "from: expected a time before \"to\"",
        ),
        (
            "history?cluster=prod&topic=t&partition=1&fields=lag",
            400,
            "fields: expected fields of kafka_topic_offset: end_offset, begin_offset",
        ),
        (
            "events?cursor=5",
            400,
            "cursor: expected the \"next\" of an earlier answer",
        ),
    ] {
        let (found, answer) = stage.ask(&format!("/api/v1/{path}")).await;
        assert_eq!(
            (found, &answer["message"]),
            (status, &message.into()),
            "{path}"
        );
        assert_eq!(answer["error"], true);
    }
    stage.end().await;
}

#[tokio::test]
async fn the_past_is_answered_from_the_store() {
    let stage = stage(evaluation(3)).await;
    for seq in 1..=3 {
        let beat = sample::beat_of(seq);
        stage
            .store
            .append(vec![evaluation(seq)], Vec::new(), beat)
            .await
            .unwrap();
    }
    let history = stage
        .get("/api/v1/history?cluster=prod&group=payments&fields=lag,time_lag_s")
        .await;
    assert_eq!(history["measurement"], "kafka_lag_group");
    assert_eq!(history["beats"], 3);
    let lags: Vec<(i64, i64)> = serde_json::from_value(history["fields"]["lag"].clone()).unwrap();
    let at = |seq| sample::beat_of(seq).as_ms();
    assert_eq!(lags, [(at(1), 101), (at(2), 102), (at(3), 103)]);
    assert_eq!(history["fields"]["time_lag_s"][0][1], 95.5);
    let layer = serde_json::json!({ "layer": "beats", "from_ms": at(1), "to_ms": at(3) });
    assert_eq!(history["layers"], Value::Array(vec![layer]));
    let narrow = format!("/api/v1/history?cluster=prod&from={}&to={}", at(2), at(2));
    assert_eq!(
        stage.get(&narrow).await["fields"]["lag"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let events = stage.get("/api/v1/events?group=payments&limit=1").await;
    assert_eq!(events["events"][0]["group"], "payments");
    let next = events["next"].as_str().expect("there are more");
    let rest = stage
        .get(&format!("/api/v1/events?group=payments&cursor={next}"))
        .await;
    assert_eq!(rest["next"], Value::Null);
    assert_ne!(rest["events"][0], events["events"][0]);
    stage.end().await;
}

#[tokio::test]
async fn a_long_time_is_answered_from_rollups_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lagline.db");
    let start = Timestamp::from_secs(1_767_225_600);
    let at = |minute: u64| start.plus(Duration::from_secs(60 * minute));
    let stage = stage_with(beat_with(at(499), 7), Some(&path)).await;
    for minute in 0..500 {
        // A spike of one beat in each hour.
        let lag = if minute % 60 == 17 { 1_000_000 } else { 7 };
        let evaluation = beat_with(at(minute), lag);
        let beat = evaluation.beat;
        let appended = stage.store.append(vec![evaluation], Vec::new(), beat);
        appended.await.unwrap();
    }
    let waited = crate::clock::Stopwatch::start();
    while stage.store.health().sealed_through != Some(at(480)) {
        assert!(waited.elapsed() < DEADLINE, "it is sealed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let from = start.as_ms();
    let asked = format!("/api/v1/history?cluster=prod&group=payments&from={from}");
    let history = stage.get(&format!("{asked}&step=1h")).await;
    let part = |layer: &str, from: u64, to: u64| serde_json::json!({ "layer": layer, "from_ms": at(from).as_ms(), "to_ms": at(to).as_ms() });
    let expected = serde_json::json!([part("1h", 0, 480), part("beats", 480, 499)]);
    assert_eq!(history["layers"], expected);
    assert_eq!(history["known_from_ms"]["lag"], from);
    let lags: Vec<(i64, i64)> = serde_json::from_value(history["fields"]["lag"].clone()).unwrap();
    let spikes = lags.iter().filter(|(_, lag)| *lag == 1_000_000).count();
    assert_eq!((lags.len(), spikes), (18, 9), "{lags:?}");
    // Members are known beat by beat only.
    let history = stage
        .get(&format!("{asked}&step=1h&fields=lag,members"))
        .await;
    assert_eq!(
        history["layers"],
        serde_json::json!([part("beats", 0, 499)])
    );
    assert_eq!(
        (&history["beats"], &history["unreadable"]),
        (&500.into(), &0.into())
    );
    stage.end().await;
}

/// The sample evaluation at another beat, with another lag of the group "payments".
fn beat_with(beat: Timestamp, lag: i64) -> Arc<Evaluation> {
    let mut evaluation = Evaluation {
        beat,
        ..(*evaluation(1)).clone()
    };
    for group in &mut evaluation.groups {
        Arc::make_mut(group).totals.lag = MaybeI64::some(lag);
    }
    Arc::new(evaluation)
}

#[tokio::test]
async fn a_stream_tells_each_beat_and_ends_with_the_server() {
    let stage = stage(evaluation(1)).await;
    let url = format!("{}/api/v1/stream?cluster=prod", stage.address);
    let mut answer = stage.client.get(url).send().await.unwrap();
    let mut heard = String::new();
    for seq in 1..=3 {
        if seq > 1 {
            stage.prod.send_replace(Some(evaluation(seq)));
        }
        let beat = format!("\"beat_ms\":{}", sample::beat_of(seq).as_ms());
        let wanted = async {
            while !heard.contains(&beat) {
                let chunk = answer.chunk().await.unwrap().expect("it goes on");
                heard.push_str(std::str::from_utf8(&chunk).unwrap());
            }
        };
        tokio::time::timeout(DEADLINE, wanted).await.unwrap();
    }
    assert_eq!(heard.matches("event: beat").count(), 3, "{heard}");
    stage.stop.cancel();
    let rest = tokio::time::timeout(DEADLINE, answer.chunk())
        .await
        .unwrap();
    assert_eq!(rest.unwrap(), None);
    stage.end().await;
}
