use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::encode::tests::read;
use super::*;
use crate::points::{Detail, sample};
use crate::sinks::stub::{Reply, Stub};

fn settings(url: &Url, auth: Auth) -> PrometheusSettings {
    PrometheusSettings {
        url: url.join("api/v1/write").unwrap(),
        auth,
        headers: vec![("X-Scope-OrgID".to_owned(), Secret::new("hunter4"))],
        tls: TlsSettings::default(),
    }
}

fn sink(url: &Url) -> PrometheusSink {
    PrometheusSink::new(settings(url, Auth::None)).unwrap()
}

fn batch() -> Batch {
    Batch::of(&sample::small(1), Detail::Partition)
}

async fn write(reply: Reply) -> Result<Accepted, WriteError> {
    let stub = Stub::start(move |_| reply.clone()).await;
    sink(&stub.url).write(&batch()).await
}

#[tokio::test]
async fn a_request_is_what_the_protocol_asks_for() {
    for (auth, expected) in [
        (Auth::None, None),
        (
            Auth::Basic {
                username: "me".into(),
                password: Secret::new("hunter2"),
            },
            Some("Basic bWU6aHVudGVyMg=="),
        ),
        (
            Auth::Bearer(Secret::new("hunter3\n")),
            Some("Bearer hunter3"),
        ),
    ] {
        let stub = Stub::start(|_| Reply::new(204, "")).await;
        let sink = PrometheusSink::new(settings(&stub.url, auth)).unwrap();
        let accepted = sink.write(&batch()).await.unwrap();
        assert!(accepted.bytes > 0);
        let [asked] = &stub.asked()[..] else {
            panic!("one request");
        };
        assert_eq!(asked.method, "POST");
        assert_eq!(asked.target, "/api/v1/write");
        assert_eq!(asked.authorization.as_deref(), expected);
        for (name, value) in [
            ("content-encoding", "snappy"),
            ("content-type", "application/x-protobuf"),
            ("x-prometheus-remote-write-version", "0.1.0"),
            ("x-scope-orgid", "hunter4"),
        ] {
            assert_eq!(asked.header(name), Some(value), "{name}");
        }
        assert!(
            asked.bytes.len() as u64 > accepted.bytes,
            "it is compressed"
        );
        assert!(read(&asked.bytes).len() > 50);
        let shown = format!("{sink:?}");
        assert!(!shown.contains("hunter"), "{shown}");
    }
}

#[tokio::test]
async fn a_login_in_the_address_is_sent_and_not_shown() {
    let stub = Stub::start(|_| Reply::new(503, "overloaded, hunter2")).await;
    let mut url = stub.url.clone();
    url.set_username("me").unwrap();
    url.set_password(Some("hunter2")).unwrap();
    let error = sink(&url).write(&batch()).await.unwrap_err().to_string();
    assert!(!error.contains("hunter2"), "{error}");
    let sent = stub.asked()[0].authorization.clone();
    assert_eq!(sent.as_deref(), Some("Basic bWU6aHVudGVyMg=="));
}

/// Statuses and texts: Prometheus 2.42, measured; those of Mimir and Cortex are not.
#[tokio::test]
async fn refused_samples_are_looked_for_by_halves_whatever_the_status() {
    for (status, body, kind) in [
        (400, "out of order sample\n", "out_of_order: "),
        (400, "duplicate sample for timestamp\n", "duplicate: "),
        (400, "out of bounds\n", "too_old: "),
        (500, "too old sample\n", "too_old: "),
        (
            400,
            "failed pushing to ingester: the sample has been rejected (err-mimir-sample-out-of-order) {group=\"g\"}",
            "out_of_order: ",
        ),
        (
            400,
            "user=1: err: duplicate-timestamp {__name__=\"x\"}",
            "duplicate: ",
        ),
        (400, "label name too long", "prometheus_remote_write at"),
    ] {
        let Err(WriteError::Bisect { reason }) = write(Reply::new(status, body)).await else {
            panic!("{status} {body}");
        };
        assert!(reason.starts_with(kind), "{reason}");
        assert!(reason.contains(body.trim()), "{reason}");
    }
}

#[tokio::test]
async fn answers_about_the_whole_request_say_what_to_do_next() {
    for (status, body, expected) in [
        (429, "slow down", "transient"),
        (500, "unknown", "transient"),
        (502, "", "transient"),
        (503, "", "transient"),
        (504, "", "transient"),
        (413, "", "too large"),
        (401, "", "misconfigured: check the login or the token"),
        (403, "", "misconfigured: allow this login to write there"),
        (404, "", "misconfigured: check the address"),
        (405, "", "misconfigured: check the address"),
        (302, "", "misconfigured: it redirects"),
        (
            404,
            "remote write receiver needs to be enabled with --web.enable-remote-write-receiver",
            "misconfigured: start it with --web.enable-remote-write-receiver",
        ),
        (
            400,
            "snappy: corrupt input",
            "misconfigured: check the address, and whether",
        ),
        // The words of a series' own labels mean nothing.
        (503, "ingester gone {group=\"out of order\"}", "transient"),
    ] {
        let (class, reason) = match write(Reply::new(status, body)).await.unwrap_err() {
            WriteError::Transient { reason, .. } => ("transient", reason),
            WriteError::TooLarge { reason } => ("too large", reason),
            WriteError::Misconfigured { reason } => ("misconfigured", reason),
            other @ (WriteError::Partial { .. }
            | WriteError::Bisect { .. }
            | WriteError::Rejected { .. }) => panic!("{status} {body}: {other:?}"),
        };
        let (expected, advice) = expected.split_once(": ").unwrap_or((expected, ""));
        assert_eq!(class, expected, "{status} {body}: {reason}");
        assert!(reason.contains(advice), "{reason}");
    }
}

#[tokio::test]
async fn the_server_says_when_to_come_back() {
    for status in [429, 503] {
        let reply = Reply::new(status, "").with("Retry-After", "17");
        let Err(WriteError::Transient { retry_after, .. }) = write(reply).await else {
            panic!("{status} is transient");
        };
        assert_eq!(retry_after, Some(Duration::from_secs(17)));
    }
}

#[tokio::test]
async fn a_connection_cut_during_the_answer_is_transient() {
    for answer in ["", "HTTP/1.1 20"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let sink = sink(&Url::parse(&url).unwrap());
        let batch = batch();
        let (result, ()) = tokio::join!(sink.write(&batch), async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut some = [0; 512];
            assert!(stream.read(&mut some).await.unwrap() > 0);
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        assert!(
            matches!(result, Err(WriteError::Transient { .. })),
            "{answer:?}: {result:?}"
        );
    }
}

#[tokio::test]
async fn an_empty_batch_asks_nothing() {
    let stub = Stub::start(|_| Reply::new(500, "")).await;
    let accepted = sink(&stub.url).write(&Batch::new()).await.unwrap();
    assert_eq!(accepted, Accepted::default());
    assert!(stub.asked().is_empty());
}

#[tokio::test]
async fn check_sends_no_series() {
    let stub = Stub::start(|_| Reply::new(204, "")).await;
    let report = sink(&stub.url).check().await.unwrap();
    assert!(report.lines[0].ends_with("takes writes"), "{report:?}");
    assert!(stub.asked()[0].bytes.is_empty());
    let stub = Stub::start(|_| Reply::new(401, "who is hunter4?")).await;
    let error = sink(&stub.url).check().await.unwrap_err().to_string();
    assert!(error.contains("check the login"), "{error}");
    assert!(!error.contains("hunter"), "{error}");
}

#[test]
fn what_cannot_be_sent_is_said_at_once_and_without_its_value() {
    let url = Url::parse("http://h/").unwrap();
    let bad = PrometheusSettings {
        headers: vec![("a b".to_owned(), Secret::new("hunter"))],
        ..settings(&url, Auth::None)
    };
    for (settings, expected) in [
        (
            settings(&url, Auth::Bearer(Secret::new("hun\nter"))),
            "the token has characters",
        ),
        (bad, "`a b` is no name of a header"),
    ] {
        let error = PrometheusSink::new(settings).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("hunter"), "{error}");
    }
}

#[test]
fn requests_go_one_after_the_other_and_have_one_beat() {
    let sink = sink(&Url::parse("http://h/").unwrap());
    assert!(sink.is_ordered() && sink.has_one_beat_a_request());
}
