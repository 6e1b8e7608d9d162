//! What lagline answers, byte for byte, with what differs from run to run replaced.
//!
//! Burrow 1.2.1 is behind the current one: `observedAt`, `/burrow/admin/ready`, the deletion of a
//! group's topic; and it does not read members from Kafka 3.9. Those and lagline's own configuration are proven here.

use std::path::Path;

use regex::Regex;

use super::requests::group_path;
use super::world::{OWNED, SLASHED, SPACED};
use crate::lagline::{LIMIT, Lagline};
use crate::services::wait;

const FILE: &str = "tests/golden/burrow-api.txt";

pub fn check(lagline: &Lagline) {
    let mut text = String::new();
    for (method, path) in requests() {
        let answer = lagline.send(method, &path, &[], "");
        let headers = [
            "content-type",
            "location",
            "allow",
            "access-control-allow-origin",
        ];
        let headers = headers.map(|name| answer.header(name).unwrap_or("-"));
        text.push_str(&format!(
            "{method} {path}\n{} {}\n{}\n\n",
            answer.status,
            headers.join(" | "),
            stable(&answer.body)
        ));
    }
    compare(&text);
}

fn requests() -> Vec<(&'static str, String)> {
    let mut all: Vec<(&str, String)> = [
        "/burrow/admin/ready",
        "/v3/kafka",
        "/v3/kafka/c",
        "/v3/kafka/c/topic",
        "/v3/kafka/c/topic/orders",
        "/v3/kafka/c/topic/orders/consumers",
        "/v3/kafka/c/consumer",
        "/v3/config",
        "/v3/config/storage",
        "/v3/config/storage/c",
        "/v3/config/evaluator",
        "/v3/config/evaluator/default",
        "/v3/config/cluster",
        "/v3/config/consumer",
        "/v3/config/consumer/c",
        "/v3/config/notifier",
        "/v3/kafka/c/consumer/nobody/lag",
    ]
    .map(|path| ("GET", path.to_owned()))
    .into();
    for group in ["late", OWNED, SLASHED, SPACED] {
        for end in ["", "/status", "/lag"] {
            all.push(("GET", group_path(group, end)));
        }
    }
    all.push(("DELETE", group_path("nobody", "/topic/orders")));
    all
}

/// Without times, this machine's name and addresses.
fn stable(body: &str) -> String {
    let host = host();
    let body = body.replace(&format!("\"host\":\"{host}\""), "\"host\":\"HOST\"");
    let times = Regex::new(r#"("timestamp"|"observedAt"):\d{13}"#).unwrap();
    let seen = times.replace_all(&body, "$1:MS");
    let address = Regex::new(r"127\.0\.0\.1:\d+").unwrap();
    address.replace_all(&seen, "ADDRESS").into_owned()
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    name.expect("the kernel tells its name").trim().to_owned()
}

fn compare(now: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        return std::fs::write(&file, now).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    for (expected, now) in expected.split("\n\n").zip(now.split("\n\n")) {
        assert_eq!(expected, now, "{FILE} differs; UPDATE_GOLDEN=1 rewrites it");
    }
    assert_eq!(
        expected.len(),
        now.len(),
        "{FILE}: UPDATE_GOLDEN=1 rewrites it"
    );
}

/// One topic of two goes at the next beat; with the last one the group goes at once.
pub fn topic_deleted(lagline: &Lagline) {
    let removed = |topic| {
        let path = group_path("healthy", &format!("/topic/{topic}"));
        let answer = lagline.send("DELETE", &path, &[], "");
        assert_eq!(answer.status, 200);
        assert!(
            answer.body.contains("consumer group removed"),
            "{}",
            answer.body
        );
    };
    let topics = || {
        let answer = lagline.get(&group_path("partial", ""));
        let topics = answer["topics"].as_object().map(|topics| topics.len());
        topics.unwrap_or(0)
    };
    assert_eq!(topics(), 1);
    let gone = lagline.send("DELETE", &group_path("partial", "/topic/orders"), &[], "");
    assert_eq!(gone.status, 200);
    assert_eq!(topics(), 0);
    assert_eq!(
        lagline
            .send("GET", &group_path("partial", "/lag"), &[], "")
            .status,
        404
    );
    removed("pay%252Ev1_x-y");
    wait::until("the topic is gone", LIMIT, || {
        let lag = lagline.get(&group_path("healthy", "/lag"));
        lag["status"]["partition_count"] == 3
    });
}
