//! Every request that both are asked, and what may differ.

use std::fmt;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::world::{CLUSTER, RESTING};

/// What of two answers has to be the same.
#[derive(Clone)]
pub enum Compare {
    /// Everything.
    All,
    /// Keys, their order and what kind of value they have: the values are each program's own
    /// configuration.
    Shape,
    /// Nothing: lagline's status is this one. See [`listed`].
    Status(u16),
}

#[derive(Clone)]
pub struct Request {
    pub method: &'static str,
    pub path: String,
    pub body: String,
    pub compare: Compare,
}

impl Request {
    pub fn new(method: &'static str, path: &str) -> Self {
        Self {
            method,
            path: path.to_owned(),
            body: String::new(),
            compare: Compare::All,
        }
    }

    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.method, self.path, self.body)
    }
}

pub fn group_path(group: &str, end: &str) -> String {
    let group = utf8_percent_encode(group, NON_ALPHANUMERIC);
    format!("/v3/kafka/{CLUSTER}/consumer/{group}{end}")
}

/// Everything that is asked while nothing changes.
pub fn all() -> Vec<Request> {
    let mut all: Vec<Request> = PATHS.iter().map(|path| Request::get(path)).collect();
    for group in RESTING {
        let ends = ["", "/status", "/lag"];
        all.extend(ends.map(|end| Request::get(&group_path(group, end))));
    }
    for method in ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "FOO"] {
        let paths = METHOD_PATHS.iter();
        // Deletions are asked at the end; the log level has bodies of its own.
        let asked = paths.filter(|path| match method {
            "DELETE" => !path.ends_with("/partial"),
            "POST" => !path.ends_with("loglevel"),
            _ => true,
        });
        all.extend(asked.map(|path| Request::new(method, path)));
    }
    for body in LEVELS {
        let mut request = Request::new("POST", "/v3/admin/loglevel");
        request.body = body.to_owned();
        all.push(request);
        all.push(Request::get("/v3/admin/loglevel"));
    }
    all.extend(CONFIGURATION.map(|path| Request {
        compare: Compare::Shape,
        ..Request::get(path)
    }));
    all.extend(listed());
    all
}

/// Where lagline differs from 1.2.1, with its status there and the reason.
fn listed() -> Vec<Request> {
    [
        // The current Burrow has these paths, 1.2.1 has not.
        ("GET", "/burrow/admin/ready", 200),
        ("GET", "/metrics", 200),
        ("GET", "/metrics/", 301),
        ("HEAD", "/metrics", 405),
        ("POST", "/metrics", 405),
        ("GET", "/v3/kafka/c/consumer/partial/topic/orders", 405),
        ("PUT", "/v3/kafka/c/consumer/partial/topic/orders", 405),
        ("DELETE", "/v3/kafka/c/consumer/nobody/topic/orders", 200),
        // Telegraf encodes names twice, so a name that is unknown is decoded once more.
        (
            "GET",
            "/v3/kafka/c/consumer/100%2525gr%25C3%25B6%25C3%259Fe/lag",
            200,
        ),
        ("GET", "/v3/kafka/c/topic/pay%252Ev1_x-y", 200),
        // Burrow takes names apart at spaces when it judges, and then does not know the group.
        ("GET", "/v3/kafka/c/consumer/a%20b%20%20c/status", 200),
        ("GET", "/v3/kafka/c/consumer/a%20b%20%20c/lag", 200),
        // 1.2.1 does not read the members that Kafka 3.9 writes.
        ("GET", "/v3/kafka/c/consumer/owned", 200),
        ("GET", "/v3/kafka/c/consumer/owned/status", 200),
        ("GET", "/v3/kafka/c/consumer/owned/lag", 200),
        // Names may contain slashes, encoded or not: what a list names can be asked for.
        ("GET", "/v3/kafka/c/consumer/a%2Fb/lag", 200),
        ("GET", "/v3/kafka/c/consumer/a%252Fb/lag", 200),
        ("GET", "/v3/kafka/c/consumer/a/b/lag", 200),
        ("GET", "/v3/kafka/c/consumer/a/b", 200),
        // Burrow has one storage module for all clusters, lagline's rules are each cluster's own.
        ("GET", "/v3/config/storage/default", 404),
        ("GET", "/v3/config/storage/c", 200),
    ]
    .map(|(method, path, status)| Request {
        compare: Compare::Status(status),
        ..Request::new(method, path)
    })
    .into()
}

const CONFIGURATION: [&str; 11] = [
    "/v3/kafka/c",
    "/v3/kafka/C",
    "/v3/config",
    "/v3/config/storage",
    "/v3/config/evaluator",
    "/v3/config/evaluator/default",
    "/v3/config/cluster",
    "/v3/config/cluster/c",
    "/v3/config/consumer",
    "/v3/config/consumer/c",
    "/v3/config/consumer/C",
];

const PATHS: &[&str] = &[
    "/v2/kafka",
    "/v3",
    "/v3/",
    "/v3/nothing",
    "/v3/admin",
    "/burrow",
    "/burrow/admin",
    "/burrow/admin/",
    "/v3/kafka",
    "/v3/kafka?a=b",
    "/v3/k%61fka",
    "/v3/kafka/nothing",
    "/v3/kafka/c/nothing",
    "/v3/kafka/c/topic",
    "/v3/kafka/nothing/topic",
    "/v3/kafka/c/topic/orders",
    "/v3/kafka/c/topic/pay.v1_x-y",
    "/v3/kafka/c/topic/nothing",
    "/v3/kafka/nothing/topic/orders",
    "/v3/kafka/c/topic/orders/nothing",
    "/v3/kafka/c/topic/orders/consumers",
    "/v3/kafka/c/topic/pay.v1_x-y/consumers",
    "/v3/kafka/c/topic/nothing/consumers",
    "/v3/kafka/nothing/topic/orders/consumers",
    "/v3/kafka/c/consumer",
    "/v3/kafka/nothing/consumer",
    "/v3/kafka/c/consumer/a%20b%20%20c",
    "/v3/kafka/c/consumer/nobody",
    "/v3/kafka/nothing/consumer/healthy",
    "/v3/kafka/c/consumer/nobody/status",
    "/v3/kafka/c/consumer/nobody/lag",
    "/v3/kafka/nothing/consumer/healthy/status",
    "/v3/kafka/nothing/consumer/healthy/lag",
    "/v3/kafka/c/consumer/healthy/nothing",
    "/v3/kafka/c/consumer/healthy/lag/nothing",
    "/v3/kafka/c/consumer/lag",
    "/v3/kafka/c/consumer/lag/lag",
    "/v3/kafka/c/consumer/a+b/lag",
    "/v3/kafka/c/consumer/%3Cb%3E&/lag",
    "/v3/config/nothing",
    "/v3/config/storage/nothing",
    "/v3/config/evaluator/nothing",
    "/v3/config/cluster/nothing",
    "/v3/config/consumer/nothing",
    "/v3/config/notifier",
    "/v3/config/notifier/nothing",
    "/v3/config/consumer/c/nothing",
    "/v3/admin/loglevel",
    // Not quite percent-encoded.
    "/v3/kafka/c/consumer/100%/lag",
    "/v3/kafka/c/consumer/%zz/lag",
    "/v3/kafka/%4",
    // A slash at the end.
    "/v3/kafka/",
    "/v3/kafka/?a=b&c='d",
    "/v3/kafka/c/",
    "/v3/kafka/c/topic/",
    "/v3/kafka/c/topic/orders/",
    "/v3/kafka/c/topic/orders/consumers/",
    "/v3/kafka/c/consumer/",
    "/v3/kafka/c/consumer/healthy/",
    "/v3/kafka/c/consumer/healthy/lag/",
    "/v3/kafka/c/consumer/a%20%22b%C3%BC/lag/",
    "/v3/config/",
    "/v3/config/storage/",
    "/v3/config/cluster/c/",
    "/v3/admin/loglevel/",
    // Slashes and dots too many, fixed words in another case.
    "//",
    "//v3/kafka",
    "/v3//kafka",
    "/v3/./kafka",
    "/v3/x/../kafka",
    "/V3/Kafka",
    "/v3/kafka//",
    "/v3/kafka//topic",
    "/v3/kafka//consumer/healthy/lag",
    "/v3/kafka/c//",
    "/v3/kafka/c//topic",
    "/v3/kafka/c/TOPIC",
    "/v3/kafka/c/topic//",
    "/v3/kafka/c/topic//consumers",
    "/v3/kafka/c/consumer//",
    "/v3/kafka/c/consumer//lag",
    "/v3/kafka/c/consumer/healthy//",
    "/v3/kafka/c/consumer/healthy//lag",
    "/v3/kafka/c/consumer/healthy/lag//",
    "/v3/kafka/c/Consumer/Healthy/Lag",
    "/v3/kafka/c/consumer/..",
    "/v3/kafka/c/consumer/../topic",
    "/v3/config/STORAGE/nothing",
    "/v3/config/cluster//",
    "/v3//kafka/c/consumer/a%2520b/lag?a=%zz",
];

const METHOD_PATHS: &[&str] = &[
    "/nothing",
    "/burrow/admin",
    "/v3/kafka",
    "/v3/kafka/",
    "/v3//kafka",
    "/v3/config",
    "/v3/config/cluster/c",
    "/v3/kafka/c/topic/orders",
    "/v3/kafka/c/consumer/partial",
    "/v3/kafka/c/consumer/nobody",
    "/v3/kafka/c/consumer/nobody/",
    "/v3/kafka/c/consumer/nobody/nothing",
    "/v3/kafka/c/consumer//",
    "/v3/kafka/c/consumer/healthy/lag",
    "/v3/kafka/nothing/consumer/nobody",
    "/v3/admin/loglevel",
];

const LEVELS: [&str; 20] = [
    r#"{"level":"debug"}"#,
    r#"{"level":"TRACE"}"#,
    r#"{"level":"warning"}"#,
    r#"{"level":"error"}"#,
    r#"{"level":"fatal"}"#,
    r#"{"level":"Warn","more":[1]}"#,
    r#"{"level":"info"}"#,
    r#"{"LEVEL":"debug"}"#,
    r#"{"level":"info"} and more"#,
    r#"{"level":"nothing"}"#,
    r#"{"level":""}"#,
    r#"{"level":null}"#,
    r#"{"level":5}"#,
    r#"{"level":"debug""#,
    "{}",
    "null",
    "[]",
    "\"debug\"",
    "debug",
    "",
];
