use super::*;
use crate::points::{Batch, Detail, sample};
use crate::sinks::stub::{Reply, Stub};

fn settings(url: Url, target: Target) -> InfluxSettings {
    InfluxSettings {
        url,
        target,
        gzip: true,
        tls: TlsSettings::default(),
        owner_fields: false,
        profile: Profile::default(),
        bootstrap: None,
    }
}

fn v1() -> Target {
    Target::V1 {
        database: "lag".into(),
        retention_policy: None,
        login: Some(Login {
            username: "u".into(),
            password: Secret::new("hunter2"),
        }),
    }
}

fn v2() -> Target {
    Target::V2 {
        org: "ops".into(),
        bucket: "kafka lag".into(),
        token: Some(Secret::new("hunter2\n")),
    }
}

fn v3() -> Target {
    Target::V3 {
        database: "lag".into(),
        token: Some(Secret::new("hunter2")),
    }
}

/// Four points: one partition at each of four beats.
fn four() -> Batch {
    let frames = [1, 2, 3, 4].map(sample::small);
    let mut batch = Batch::new();
    for frame in &frames {
        batch.push(
            frame,
            crate::points::Place::GroupPartition {
                group: 1,
                topic: 0,
                partition: 0,
            },
        );
    }
    batch
}

fn lines(batch: &Batch) -> Vec<String> {
    line_protocol::encode(batch, false)
        .lines()
        .map(|line| String::from_utf8(line.to_vec()).unwrap())
        .collect()
}

async fn write(target: Target, batch: &Batch, reply: Reply) -> Result<Accepted, WriteError> {
    let stub = Stub::start(move |_| reply.clone()).await;
    let sink = InfluxSink::new(settings(stub.url.clone(), target)).unwrap();
    sink.write(batch).await
}

/// An outcome in one word, with what it names.
fn outcome(result: &Result<Accepted, WriteError>) -> String {
    match result {
        Ok(_) => "accepted".into(),
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

#[tokio::test]
async fn each_version_is_written_at_its_address_with_its_login() {
    for (target, address, authorization) in [
        (v1(), "/p/write?db=lag&precision=s", "Basic dTpodW50ZXIy"),
        (
            v2(),
            "/p/api/v2/write?org=ops&bucket=kafka+lag&precision=s",
            "Token hunter2",
        ),
        (
            v3(),
            "/p/api/v3/write_lp?db=lag&precision=second&accept_partial=true",
            "Bearer hunter2",
        ),
    ] {
        let stub = Stub::start(|_| Reply::new(204, "")).await;
        let url = stub.url.join("p").unwrap();
        let sink = InfluxSink::new(settings(url, target)).unwrap();
        let batch = four();
        let accepted = sink.write(&batch).await.unwrap();
        assert!(accepted.bytes > 0 && accepted.known == 0);
        let asked = &stub.asked()[0];
        assert_eq!(
            (asked.method.as_str(), asked.target.as_str()),
            ("POST", address)
        );
        assert_eq!(asked.authorization.as_deref(), Some(authorization));
        assert_eq!(asked.body, lines(&batch).join("\n") + "\n");
    }
}

#[tokio::test]
async fn a_retention_policy_and_a_login_in_the_address_are_used() {
    let stub = Stub::start(|_| Reply::new(204, "")).await;
    let mut url = stub.url.clone();
    url.set_username("me").unwrap();
    url.set_password(Some("x%2Fy")).unwrap();
    let target = Target::V1 {
        database: "lag".into(),
        retention_policy: Some("a week".into()),
        login: None,
    };
    let mut settings = settings(url, target);
    settings.gzip = false;
    let sink = InfluxSink::new(settings).unwrap();
    sink.write(&four()).await.unwrap();
    let asked = &stub.asked()[0];
    assert_eq!(asked.target, "/write?db=lag&precision=s&rp=a+week");
    assert_eq!(asked.authorization.as_deref(), Some("Basic bWU6eC95"));
    assert!(!format!("{sink:?}").contains("x/y"));
}

/// Every answer of `sinks.md` that does not name points.
#[tokio::test]
async fn answers_about_the_whole_request_say_what_to_do_next() {
    let v2_error =
        |code: &str, message: &str| format!(r#"{{"code":"{code}","message":"{message}"}}"#);
    let retention = r#"{"error":"retention policy not found: no"}"#;
    let series =
        r#"{"error":"partial write: max-series-per-database limit exceeded: (1000000) dropped=4"}"#;
    let table: Vec<(Target, u16, String, &str)> = vec![
        (v1(), 204, String::new(), "accepted"),
        (
            v1(),
            404,
            r#"{"error":"database not found: \"lag\""}"#.into(),
            "misconfigured",
        ),
        (v1(), 500, retention.into(), "misconfigured"),
        (v1(), 500, r#"{"error":"timeout"}"#.into(), "transient"),
        (
            v1(),
            401,
            r#"{"error":"authorization failed"}"#.into(),
            "misconfigured",
        ),
        (
            v1(),
            401,
            r#"{"error":"unable to parse authentication credentials"}"#.into(),
            "misconfigured",
        ),
        (
            v1(),
            403,
            r#"{"error":"\"u\" user is not authorized to write"}"#.into(),
            "misconfigured",
        ),
        (
            v1(),
            413,
            r#"{"error":"Request Entity Too Large"}"#.into(),
            "too large",
        ),
        (
            v1(),
            503,
            "request throttled, queue full".into(),
            "transient",
        ),
        // A broken gzip body: measured as 400 on v1 and 500 on v2.
        (
            v1(),
            400,
            r#"{"error":"unexpected EOF"}"#.into(),
            "misconfigured",
        ),
        (
            v2(),
            500,
            v2_error("internal error", "gzip: invalid checksum"),
            "misconfigured",
        ),
        (v1(), 400, series.into(), "misconfigured"),
        // Nothing is known about which points: halves.
        (
            v1(),
            400,
            r#"{"error":"partial write: points are odd dropped=1"}"#.into(),
            "bisect",
        ),
        (v1(), 400, String::new(), "bisect"),
        (
            v2(),
            404,
            v2_error("not found", "bucket \\\"x\\\" not found"),
            "misconfigured",
        ),
        (
            v2(),
            404,
            v2_error("not found", "organization name \\\"x\\\" not found"),
            "misconfigured",
        ),
        (
            v2(),
            401,
            v2_error("unauthorized", "unauthorized access"),
            "misconfigured",
        ),
        (
            v2(),
            403,
            v2_error("forbidden", "insufficient permissions for write"),
            "misconfigured",
        ),
        (
            v2(),
            422,
            v2_error("unprocessable entity", "something new"),
            "bisect",
        ),
        (v3(), 401, String::new(), "misconfigured"),
        (v3(), 403, String::new(), "misconfigured"),
        (v3(), 413, String::new(), "too large"),
        (v3(), 429, "too many".into(), "transient"),
        (
            v3(),
            400,
            r#"{"error":"parsing failed","data":null}"#.into(),
            "bisect",
        ),
    ];
    for (target, status, body, expected) in table {
        let result = write(target, &four(), Reply::new(status, body.clone())).await;
        assert_eq!(outcome(&result), expected, "{status} {body}");
    }
}

#[tokio::test]
async fn the_server_says_when_to_come_back() {
    let reply = Reply::new(503, "").with("retry-after", "7");
    assert_eq!(outcome(&write(v2(), &four(), reply).await), "transient 7");
    let reply = Reply::new(429, "").with("retry-after", "86400");
    assert_eq!(outcome(&write(v3(), &four(), reply).await), "transient 600");
}

/// Every answer of `sinks.md` that names or counts points.
#[tokio::test]
async fn bad_points_are_found_and_the_rest_is_kept() {
    let batch = four();
    let lines = lines(&batch);
    let unparsed = |index: usize| format!("unable to parse '{}': invalid number", lines[index]);
    let v1_error = |text: &str| serde_json::json!({ "error": text }).to_string();
    let v2_error =
        |text: &str| serde_json::json!({ "code": "invalid", "message": text }).to_string();
    let conflict = |field: &str, dropped: usize| {
        format!(
            "partial write: field type conflict: input field \"{field}\" on measurement \
             \"kafka_lag_partition\" is type float, already exists as type integer dropped={dropped}"
        )
    };
    let retention =
        |dropped: usize| format!("partial write: points beyond retention policy dropped={dropped}");
    let v2_retention =
        "partial write: dropped 2 points outside retention policy of duration 24h0m0s";
    let v3_lines = r#"{"error":"partial write of line protocol occurred","data":[{"original_line":"x","line_number":2,"error_message":"bad"},{"original_line":"y","line_number":4,"error_message":"bad"}]}"#;
    let two = format!("{}\n{}", unparsed(1), unparsed(3));
    let table: Vec<(Target, u16, String, &str, &str)> = vec![
        (
            v1(),
            400,
            v1_error(&format!("partial write: {two} dropped=0")),
            "rejected [1, 3] retry []",
            "v1 has stored the rest",
        ),
        (
            v1(),
            400,
            v1_error(&[0, 1, 2, 3].map(unparsed).join("\n")),
            "rejected [0, 1, 2, 3] retry []",
            "all bad: without the prefix",
        ),
        (
            v2(),
            400,
            v2_error(&two),
            "rejected [1, 3] retry [0, 2]",
            "v2 has stored nothing",
        ),
        (
            v2(),
            400,
            v2_error(&format!("partial write: {two} dropped=0")),
            "rejected [1, 3] retry [0, 2]",
            "whatever the prefix",
        ),
        (
            v2(),
            400,
            v2_error("unable to parse 'what we never sent': why"),
            "bisect",
            "a line that is not ours",
        ),
        (
            v1(),
            400,
            v1_error(&format!("{}\nunable to parse 'else': why", unparsed(0))),
            "rejected [0] retry [1, 2, 3]",
            "one more that is not ours",
        ),
        (
            v1(),
            400,
            v1_error(&conflict("lag", 4)),
            "rejected [0, 1, 2, 3] retry []",
            "all of them have the field",
        ),
        (
            v2(),
            422,
            v2_error(&conflict("lag", 4)),
            "rejected [0, 1, 2, 3] retry []",
            "422 on v2",
        ),
        (
            v1(),
            400,
            v1_error(&conflict("lag", 1)),
            "bisect",
            "only in one shard: which, is not said",
        ),
        (
            v1(),
            400,
            v1_error(&conflict("nothing", 1)),
            "bisect",
            "a field that no point has",
        ),
        (
            v1(),
            400,
            v1_error(&retention(2)),
            "rejected [0, 1] retry [2, 3]",
            "the oldest; a bad line beside them would not be mentioned",
        ),
        (
            v2(),
            422,
            v2_error(v2_retention),
            "rejected [0, 1] retry [2, 3]",
            "the words of v2",
        ),
        (
            v2(),
            422,
            v2_error(&format!(
                "{v2_retention} violates a Retention Policy Upper Bound"
            )),
            "bisect",
            "too new",
        ),
        (
            v1(),
            400,
            v1_error(&retention(9)),
            "bisect",
            "more than were sent",
        ),
        (
            v3(),
            400,
            v3_lines.into(),
            "rejected [1, 3] retry []",
            "by number, from 1",
        ),
        (
            v3(),
            400,
            v3_lines[..v3_lines.len() - 10].into(),
            "rejected [1] retry []",
            "an answer that breaks off",
        ),
        (
            v3(),
            400,
            v3_lines.replace("\"line_number\":4", "\"line_number\":9"),
            "rejected [1] retry [0, 2, 3]",
            "a number that is none of ours",
        ),
    ];
    for (target, status, body, expected, why) in table {
        let result = write(target, &batch, Reply::new(status, body.clone())).await;
        assert_eq!(outcome(&result), expected, "{why}: {body}");
    }
}

#[tokio::test]
async fn what_falls_out_of_retention_is_told_from_what_is_bad() {
    let body = r#"{"error":"partial write: points beyond retention policy dropped=1"}"#;
    let Err(WriteError::Partial { rejected, .. }) =
        write(v1(), &four(), Reply::new(400, body)).await
    else {
        panic!("one point is rejected");
    };
    assert_eq!(
        rejected[0].1,
        "too_old: partial write: points beyond retention policy dropped=1"
    );
}

#[tokio::test]
async fn points_of_one_beat_share_their_fate() {
    let batch = Batch::of(&sample::small(1), Detail::Partition);
    let body = r#"{"error":"partial write: points beyond retention policy dropped=1"}"#;
    let result = write(v1(), &batch, Reply::new(400, body)).await;
    assert_eq!(outcome(&result), "bisect");
}

#[tokio::test]
async fn an_answer_longer_than_what_is_read_sends_the_rest_again() {
    let batch = Batch::of(&sample::wide(1, 10, 100), Detail::Partition);
    let all: Vec<_> = lines(&batch)
        .iter()
        .map(|line| format!("unable to parse '{line}': invalid number"))
        .collect();
    let message = serde_json::json!({ "code": "invalid", "message": all.join("\n") }).to_string();
    assert!(message.len() > 2 * http::MAX_ANSWER_BYTES);
    for target in [v1(), v2()] {
        let result = write(target, &batch, Reply::new(400, message.clone())).await;
        let Err(WriteError::Partial {
            rejected, retry, ..
        }) = result
        else {
            panic!("some are named: {result:?}");
        };
        assert!(rejected.len() > 100, "{}", rejected.len());
        assert_eq!(rejected.len() + retry.len(), batch.len());
    }
}

#[tokio::test]
async fn a_single_point_that_is_refused_is_rejected() {
    let (one, _) = four().split();
    let (one, _) = one.split();
    assert_eq!(one.len(), 1);
    let result = write(v2(), &one, Reply::new(400, "no idea")).await;
    assert_eq!(outcome(&result), "rejected");
}

#[tokio::test]
async fn a_name_that_quotes_an_answer_is_not_taken_for_one() {
    let sly = "it': x\npartial write: unable to parse 'retention policy not found";
    let batch = line_protocol::tests::named("c", sly, "t");
    let lines = lines(&batch);
    let last = lines.len() - 1;
    let body = serde_json::json!({
        "error": format!("partial write: unable to parse '{}': why dropped=0", lines[last])
    });
    let result = write(v1(), &batch, Reply::new(400, body.to_string())).await;
    assert_eq!(outcome(&result), format!("rejected [{last}] retry []"));
}

#[tokio::test]
async fn an_empty_batch_asks_nothing() {
    let stub = Stub::start(|_| Reply::new(500, "")).await;
    let sink = InfluxSink::new(settings(stub.url.clone(), v1())).unwrap();
    assert_eq!(sink.write(&Batch::new()).await, Ok(Accepted::default()));
    assert!(stub.asked().is_empty());
}

#[tokio::test]
async fn a_closed_port_is_transient() {
    let stub = Stub::start(|_| Reply::new(204, "")).await;
    let url = stub.url.clone();
    drop(stub);
    let sink = InfluxSink::new(settings(url, v2())).unwrap();
    let result = sink.write(&four()).await;
    assert_eq!(outcome(&result), "transient");
    assert!(!format!("{result:?}").contains("precision"), "{result:?}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let reply = Reply::new(302, "").with("location", "http://else/write");
    let Err(WriteError::Misconfigured { reason }) = write(v1(), &four(), reply).await else {
        panic!("a redirected write is not written");
    };
    assert!(
        reason.ends_with("it redirects to http://else/write: set that address"),
        "{reason}"
    );
}

#[test]
fn a_token_that_is_no_header_is_said_at_once() {
    let target = Target::V2 {
        org: "o".into(),
        bucket: "b".into(),
        token: Some(Secret::new("a\nb")),
    };
    let url = Url::parse("http://h:1").unwrap();
    assert!(InfluxSink::new(settings(url, target)).is_err());
}

#[tokio::test]
async fn check_asks_without_writing() {
    let health = r#"{"name":"influxdb","message":"ready for queries and writes","status":"pass","checks":[],"version":"2.9.1","commit":"x"}"#;
    let answer = move |status: u16, body: &'static str| {
        move |asked: &crate::sinks::stub::Asked| match asked.target.split('?').next() {
            Some("/ping") => Reply::new(204, "").with("x-influxdb-version", "2.9.1"),
            Some("/health") => Reply::new(200, health),
            Some("/ready") => Reply::new(200, "{}"),
            _ => Reply::new(status, body),
        }
    };
    let no_points = r#"{"code":"invalid","message":"writing requires points"}"#;
    let stub = Stub::start(answer(400, no_points)).await;
    let sink = InfluxSink::new(settings(stub.url.clone(), v2())).unwrap();
    let report = sink.check().await.unwrap();
    assert_eq!(
        report.lines[1..],
        ["healthy and ready", "bucket \"kafka lag\" takes writes"]
    );
    assert!(report.lines[0].ends_with("is version 2.9.1"), "{report:?}");
    assert!(stub.asked().iter().all(|asked| asked.body.is_empty()));

    let missing = r#"{"code":"not found","message":"bucket \"kafka lag\" not found"}"#;
    let stub = Stub::start(answer(404, missing)).await;
    let sink = InfluxSink::new(settings(stub.url.clone(), v2())).unwrap();
    let error = sink.check().await.unwrap_err().to_string();
    assert!(error.contains("the target must exist"), "{error}");
}

#[tokio::test]
async fn check_says_when_the_server_is_not_healthy() {
    let health = r#"{"name":"influxdb","message":"starting","status":"fail","checks":[],"version":"2.9.1","commit":"x"}"#;
    let stub = Stub::start(move |asked| match asked.target.as_str() {
        "/ping" => Reply::new(204, ""),
        _ => Reply::new(503, health),
    })
    .await;
    let sink = InfluxSink::new(settings(stub.url.clone(), v2())).unwrap();
    let error = sink.check().await.unwrap_err().to_string();
    assert!(error.ends_with("is not healthy: starting"), "{error}");
    let sink = InfluxSink::new(settings(stub.url.clone(), v3())).unwrap();
    assert_eq!(sink.check().await.unwrap().lines.len(), 1);
}
