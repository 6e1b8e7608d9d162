use serde_json::json;

use super::*;
use crate::points::{Place, sample};
use crate::sinks::stub::{Asked, Reply, Stub};

fn settings(urls: Vec<Url>) -> ElasticSettings {
    ElasticSettings {
        urls,
        mode: Mode::Auto,
        namespace: "default".into(),
        auth: Auth::ApiKey(Secret::new("aHVudGVyMg==\n")),
        manage_templates: true,
        retention: None,
        tls: TlsSettings::default(),
    }
}

/// Answers what is asked before the first write like a fresh Elasticsearch.
fn fresh(number: &str) -> impl Fn(&Asked) -> Reply + Send + Sync + 'static {
    let root = json!({ "version": { "number": number, "build_flavor": "default" } }).to_string();
    let is_old = number.starts_with("7.");
    let mode = if is_old { "data_stream" } else { "tsds" };
    move |asked| {
        let path = asked.target.split('?').next().unwrap_or_default();
        match (asked.method.as_str(), path) {
            ("GET", "/") => Reply::new(200, root.clone()),
            ("GET", _) => Reply::new(404, "{}"),
            ("POST", path) if path.contains("_simulate_index") => Reply::new(
                200,
                json!({ "template": {
                    "settings": { "index": { "mode": "time_series" } },
                    "mappings": { "_meta": {
                        "managed_by": "lagline", "version": templates::VERSION, "mode": mode
                    } },
                } })
                .to_string(),
            ),
            _ => Reply::new(200, r#"{"acknowledged":true}"#),
        }
    }
}

/// Four documents: one partition at each of four beats.
fn four() -> Batch {
    let mut batch = Batch::new();
    for frame in [1, 2, 3, 4].map(sample::small) {
        let place = Place::GroupPartition {
            group: 1,
            topic: 0,
            partition: 0,
        };
        batch.push(&frame, place);
    }
    batch
}

async fn write(reply: Reply, batch: &Batch) -> (Result<Accepted, WriteError>, Vec<Asked>) {
    let answer = fresh("8.17.0");
    let stub = Stub::start(move |asked| {
        if asked.target.contains("/_bulk") {
            reply.clone()
        } else {
            answer(asked)
        }
    })
    .await;
    let sink = ElasticSink::new(settings(vec![stub.url.clone()])).unwrap();
    let result = sink.write(batch).await;
    (result, stub.asked())
}

/// An outcome in one word, with what it names.
fn outcome(result: &Result<Accepted, WriteError>) -> String {
    match result {
        Ok(accepted) => format!("accepted, {} known", accepted.known),
        Err(WriteError::Transient { retry_after, .. }) => match retry_after {
            Some(after) => format!("transient {}", after.as_secs()),
            None => "transient".into(),
        },
        Err(WriteError::TooLarge { .. }) => "too large".into(),
        Err(WriteError::Bisect { .. }) => "bisect".into(),
        Err(WriteError::Rejected { .. }) => "rejected".into(),
        Err(WriteError::Misconfigured { .. }) => "misconfigured".into(),
        Err(WriteError::Partial {
            rejected, retry, ..
        }) => {
            let rejected: Vec<_> = rejected.iter().map(|(index, _)| *index).collect();
            format!("rejected {rejected:?} retry {retry:?}")
        }
    }
}

fn items(items: &[Json]) -> String {
    let errors = items.iter().any(|item| item["status"] != 201);
    let items: Vec<_> = items.iter().map(|item| json!({ "create": item })).collect();
    json!({ "errors": errors, "took": 1, "items": items }).to_string()
}

fn item(status: u16, kind: &str, reason: &str) -> Json {
    match kind {
        "" => json!({ "status": status }),
        _ => json!({ "status": status, "error": { "type": kind, "reason": reason } }),
    }
}

/// Every answer of `sinks.md` to single documents.
#[tokio::test]
async fn each_document_has_its_own_outcome() {
    let ok = || item(201, "", "");
    let known = || {
        item(
            409,
            "version_conflict_engine_exception",
            "document already exists",
        )
    };
    let bad = || {
        item(
            400,
            "document_parsing_exception",
            "failed to parse field [x]",
        )
    };
    let old = || {
        let why = "the document timestamp [2020] is outside of ranges of currently writable indices [[a, b]]";
        item(400, "timestamp_error", why)
    };
    let busy = || item(429, "es_rejected_execution_exception", "queue full");
    let flood = || {
        item(
            429,
            "cluster_block_exception",
            "index [x] blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark]",
        )
    };
    let blocked = || {
        item(
            403,
            "cluster_block_exception",
            "index [x] blocked by: [FORBIDDEN/8/index write (api)];",
        )
    };
    let missing = || {
        item(
            404,
            "index_not_found_exception",
            "no such index [x] and the index creation request requires a data stream",
        )
    };
    let keyword = || {
        item(
            400,
            "illegal_argument_exception",
            "Document contains at least one immense term",
        )
    };
    let own_id = || {
        item(
            400,
            "illegal_argument_exception",
            "_id must be unset or set to [x] but was [y]",
        )
    };
    let down = || {
        item(
            503,
            "unavailable_shards_exception",
            "primary shard is not active",
        )
    };
    for (answer, expected, why) in [
        ([ok(), ok(), ok(), ok()], "accepted, 0 known", "all written"),
        (
            [ok(), known(), known(), ok()],
            "accepted, 2 known",
            "an earlier try had worked",
        ),
        (
            [known(), known(), known(), known()],
            "accepted, 4 known",
            "all of it had worked",
        ),
        (
            [ok(), bad(), ok(), ok()],
            "rejected [1] retry []",
            "one bad document costs one",
        ),
        (
            [bad(), old(), keyword(), own_id()],
            "rejected [0, 1, 2, 3] retry []",
            "all bad",
        ),
        (
            [ok(), busy(), known(), flood()],
            "rejected [] retry [1, 3]",
            "only what was busy again",
        ),
        (
            [bad(), busy(), ok(), down()],
            "rejected [0] retry [1, 3]",
            "both kinds",
        ),
        (
            [busy(), busy(), down(), flood()],
            "transient",
            "nothing happened",
        ),
        (
            [blocked(), blocked(), missing(), blocked()],
            "misconfigured",
            "the data is kept",
        ),
        (
            [blocked(), ok(), blocked(), bad()],
            "rejected [3] retry [0, 2]",
            "blocked is not bad",
        ),
        (
            [blocked(), busy(), blocked(), busy()],
            "transient",
            "some may pass",
        ),
    ] {
        let (result, _) = write(Reply::new(200, items(&answer)), &four()).await;
        assert_eq!(outcome(&result), expected, "{why}");
    }
}

#[tokio::test]
async fn reasons_name_the_cause_and_what_is_too_old() {
    let why = "the document timestamp [x] is outside of ranges of currently writable indices [y]";
    let answer = [
        item(201, "", ""),
        item(400, "timestamp_error", why),
        item(400, "mapper_parsing_exception", "no\nnumber"),
        item(400, "x", &"y".repeat(10_000)),
    ];
    let (result, _) = write(Reply::new(200, items(&answer)), &four()).await;
    let Err(WriteError::Partial { rejected, .. }) = result else {
        panic!("three are bad: {result:?}");
    };
    assert_eq!(rejected[0].1, format!("too_old: timestamp_error: {why}"));
    assert_eq!(rejected[1].1, "mapper_parsing_exception: no number");
    assert!(rejected[2].1.len() < 400);
}

/// Every answer of `sinks.md` to the whole request.
#[tokio::test]
async fn answers_to_the_whole_request_say_what_to_do_next() {
    let error = |kind: &str, reason: &str| {
        json!({ "error": { "type": kind, "reason": reason }, "status": 0 }).to_string()
    };
    let rejected = error(
        "es_rejected_execution_exception",
        "rejected execution of coordinating operation",
    );
    let malformed = error(
        "illegal_argument_exception",
        "Malformed action/metadata line [1]",
    );
    let parameter = error(
        "illegal_argument_exception",
        "request contains unrecognized parameter: [require_data_stream]",
    );
    for (status, body, expected) in [
        (413, String::new(), "too large"),
        (429, rejected, "transient"),
        (503, "no nodes".to_owned(), "transient"),
        (502, "<html>bad gateway</html>".to_owned(), "transient"),
        (
            401,
            error("security_exception", "missing authentication credentials"),
            "misconfigured",
        ),
        (
            403,
            error(
                "security_exception",
                "action [indices:data/write/bulk] is unauthorized",
            ),
            "misconfigured",
        ),
        (
            404,
            error("index_not_found_exception", "no such index"),
            "misconfigured",
        ),
        (400, malformed, "bisect"),
        (400, parameter, "misconfigured"),
        (
            400,
            error("parse_exception", "request body is required"),
            "misconfigured",
        ),
        // Somebody else's 200: a proxy's login page, a load balancer, an answer that broke off.
        (
            200,
            "<html>please log in</html>".to_owned(),
            "misconfigured",
        ),
        (200, "{}".to_owned(), "misconfigured"),
        (200, items(&[item(201, "", "")]), "misconfigured"),
    ] {
        let (result, _) = write(Reply::new(status, body.clone()), &four()).await;
        assert_eq!(outcome(&result), expected, "{status} {body}");
    }
    let reply = Reply::new(429, "").with("retry-after", "5");
    assert_eq!(outcome(&write(reply, &four()).await.0), "transient 5");
    let one = four().slice(0, 1);
    assert_eq!(
        outcome(&write(Reply::new(400, "?"), &one).await.0),
        "rejected"
    );
}

#[tokio::test]
async fn a_bulk_request_asks_for_what_is_needed_with_its_login() {
    let ok = [0; 4].map(|_| item(201, "", ""));
    let (result, asked) = write(Reply::new(200, items(&ok)), &four()).await;
    assert!(result.unwrap().bytes > 0);
    let bulk = asked.last().unwrap();
    assert_eq!(
        bulk.target,
        "/metrics-kafka_lag.partition-default/_bulk?filter_path=errors%2Ctook%2Citems.*.status\
         %2Citems.*.error.type%2Citems.*.error.reason&require_data_stream=true"
    );
    assert_eq!(bulk.authorization.as_deref(), Some("ApiKey aHVudGVyMg=="));
    assert_eq!(bulk.body.lines().count(), 8);
    assert!(bulk.body.ends_with('\n'));
}

#[tokio::test]
async fn templates_are_put_and_verified_before_the_first_document() {
    let ok = [0; 4].map(|_| item(201, "", ""));
    let (_, asked) = write(Reply::new(200, items(&ok)), &four()).await;
    let puts = |kind: &str| {
        asked
            .iter()
            .filter(|a| a.method == "PUT" && a.target.contains(kind))
            .count()
    };
    // Seven mappings and the look-back time.
    assert_eq!(puts("_component_template"), 8);
    assert_eq!(puts("_index_template"), 7);
    let simulated = asked
        .iter()
        .filter(|a| a.target.contains("_simulate_index"))
        .count();
    assert_eq!(simulated, 7);
    assert!(asked.last().unwrap().target.contains("/_bulk"));
}

#[tokio::test]
async fn a_server_without_the_look_back_time_does_without() {
    let answer = fresh("8.17.0");
    let stub = Stub::start(move |asked| {
        if asked.method == "PUT" && asked.target.contains("look-back") {
            return Reply::new(400, r#"{"error":{"type":"illegal_argument_exception","reason":"unknown setting [index.look_back_time]"}}"#);
        }
        answer(asked)
    })
    .await;
    let sink = ElasticSink::new(settings(vec![stub.url.clone()])).unwrap();
    sink.prepare().await.unwrap();
    let template = stub
        .asked()
        .into_iter()
        .find(|a| a.target.contains("_index_template/lagline"));
    assert!(!template.unwrap().body.contains("look-back"));
}

#[tokio::test]
async fn nothing_is_written_when_another_template_applies() {
    let answer = fresh("8.17.0");
    let stub = Stub::start(move |asked| {
        if asked.target.contains("_simulate_index") {
            return Reply::new(
                200,
                r#"{"template":{"settings":{"index":{"mode":"time_series"}},"mappings":{}}}"#,
            );
        }
        answer(asked)
    })
    .await;
    let sink = ElasticSink::new(settings(vec![stub.url.clone()])).unwrap();
    let result = sink.write(&four()).await;
    assert_eq!(outcome(&result), "misconfigured");
    assert!(result.unwrap_err().to_string().contains("not lagline's"));
    assert!(
        stub.asked()
            .iter()
            .all(|asked| !asked.target.contains("_bulk"))
    );
}

#[test]
fn a_template_is_replaced_only_by_a_newer_one() {
    let meta = |by: &str, version: u64, mode: &str| {
        Some(json!({ "managed_by": by, "version": version, "mode": mode }))
    };
    let ours = templates::VERSION;
    for (meta, expected, why) in [
        (None, true, "missing"),
        (meta("lagline", ours - 1, "tsds"), true, "older"),
        (meta("lagline", ours, "tsds"), false, "the same"),
        (
            meta("lagline", ours, "index"),
            true,
            "another mode was chosen",
        ),
        (meta("lagline", ours + 1, "tsds"), false, "newer"),
        (
            meta("lagline", ours + 1, "index"),
            false,
            "newer, in another mode: verified later",
        ),
        (meta("someone", 0, ""), false, "somebody else's"),
        (Some(json!(null)), false, "says nothing about itself"),
    ] {
        assert_eq!(
            templates::is_outdated(meta.as_ref(), &templates::meta(Format::Tsds)),
            expected,
            "{why}"
        );
    }
}

#[tokio::test]
async fn the_next_node_is_asked_when_one_fails() {
    let dead = Stub::start(|_| Reply::new(204, "")).await;
    let dead_url = dead.url.clone();
    drop(dead);
    let busy = Stub::start(|_| Reply::new(503, "")).await;
    let good = Stub::start(fresh("8.17.0")).await;
    let urls = vec![dead_url, busy.url.clone(), good.url.clone()];
    let sink = ElasticSink::new(settings(urls)).unwrap();
    assert_eq!(
        outcome(&sink.prepare().await.map(|()| Accepted::default())),
        "transient"
    );
    assert_eq!(
        outcome(&sink.prepare().await.map(|()| Accepted::default())),
        "transient"
    );
    sink.prepare().await.unwrap();
    // And stays there.
    sink.prepare().await.unwrap();
    assert_eq!(busy.asked().len(), 1);
}

#[tokio::test]
async fn a_path_in_the_address_is_kept_and_a_login_in_it_used() {
    let answer = fresh("7.17.0");
    let stub = Stub::start(move |asked| {
        let mut asked = asked.clone();
        let Some(rest) = asked.target.strip_prefix("/es") else {
            return Reply::new(500, "outside");
        };
        asked.target = rest.to_owned();
        answer(&asked)
    })
    .await;
    let mut url = stub.url.join("es").unwrap();
    url.set_username("u").unwrap();
    url.set_password(Some("hunter2")).unwrap();
    let mut settings = settings(vec![url]);
    settings.auth = Auth::None;
    let sink = ElasticSink::new(settings).unwrap();
    sink.prepare().await.unwrap();
    let asked = &stub.asked()[0];
    assert_eq!(asked.authorization.as_deref(), Some("Basic dTpodW50ZXIy"));
    assert!(!format!("{:?}", sink.nodes.peer()).contains("hunter2"));
}

#[tokio::test]
async fn check_names_the_missing_privileges_and_changes_nothing() {
    let has = |value: bool| {
        json!({ "has_all_requested": value, "cluster": { "monitor": value, "manage_index_templates": true }, "index": {} }).to_string()
    };
    let with = |privileges: Reply| {
        let answer = fresh("8.17.0");
        move |asked: &Asked| match asked.target.as_str() {
            "/_security/user/_has_privileges" => privileges.clone(),
            _ => answer(asked),
        }
    };
    let stub = Stub::start(with(Reply::new(200, has(false)))).await;
    let sink = ElasticSink::new(settings(vec![stub.url.clone()])).unwrap();
    let error = sink.check().await.unwrap_err().to_string();
    assert!(
        error.ends_with("the login lacks monitor on the cluster"),
        "{error}"
    );

    let stub = Stub::start(with(Reply::new(405, "no security here"))).await;
    let sink = ElasticSink::new(settings(vec![stub.url.clone()])).unwrap();
    let report = sink.check().await.unwrap();
    assert!(
        report.lines[0].ends_with("is Elasticsearch 8.17.0"),
        "{report:?}"
    );
    assert_eq!(
        report.lines[1..],
        [
            "mode tsds",
            "7 templates will be put there before the first write"
        ]
    );
    assert!(stub.asked().iter().all(|asked| asked.method != "PUT"));
}

#[test]
fn what_cannot_work_is_said_at_once() {
    let url = || vec![Url::parse("http://h:1").unwrap()];
    let mut bad_key = settings(url());
    bad_key.auth = Auth::ApiKey(Secret::new("a\nb"));
    let mut bad_namespace = settings(url());
    bad_namespace.namespace = "my-space".into();
    for (settings, expected) in [
        (settings(Vec::new()), "at least one url"),
        (bad_key, "characters that cannot be sent"),
        (bad_namespace, "cannot be a namespace"),
    ] {
        let error = ElasticSink::new(settings).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn an_empty_batch_asks_nothing() {
    let (result, asked) = write(Reply::new(500, ""), &Batch::new()).await;
    assert_eq!(result, Ok(Accepted::default()));
    assert!(asked.is_empty());
}
