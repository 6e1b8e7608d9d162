//! Who may ask what: the token, pages of other origins, and what is answered before anything is
//! known. Nothing of this needs a Kafka: the cluster is one that nobody runs.

use crate::lagline::{LIMIT, Lagline, cluster_config};
use crate::services::http::{Response, request_with};
use crate::services::wait;

/// Nobody listens there.
const NOWHERE: &str = "127.0.0.1:1";
const LOOPBACK: &str = "listen = \"127.0.0.1:0\"\n";
const LEVEL: &str = "/v3/admin/loglevel";

fn start(server: &str) -> Lagline {
    Lagline::start_server(server, &cluster_config("c", NOWHERE))
}

fn with_token(server: &str) -> Lagline {
    let token = "correct horse";
    // The file is read at the start, so it cannot be in the directory made there.
    let file = std::env::temp_dir().join(crate::services::unique("lagline-token"));
    std::fs::write(&file, format!("{token}\n")).unwrap();
    let lagline = start(&format!("{LOOPBACK}token_file = {file:?}\n{server}"));
    std::fs::remove_file(file).unwrap();
    lagline
}

fn get(lagline: &Lagline, path: &str) -> Response {
    lagline.send("GET", path, &[], "")
}

fn set_level(lagline: &Lagline, headers: &[(&str, &str)]) -> Response {
    lagline.send("POST", LEVEL, headers, r#"{"level":"info"}"#)
}

const TOKEN: (&str, &str) = ("Authorization", "Bearer correct horse");

#[test]
fn before_a_cluster_is_read_lagline_says_so() {
    let lagline = start(LOOPBACK);
    for path in [
        "/v3/kafka/c/topic",
        "/v3/kafka/c/topic/t",
        "/v3/kafka/c/topic/t/consumers",
        "/v3/kafka/c/consumer",
        "/v3/kafka/c/consumer/g",
        "/v3/kafka/c/consumer/g/status",
        "/v3/kafka/c/consumer/g/lag",
        "/v3/kafka/c/consumer/a/b/lag",
    ] {
        let answer = get(&lagline, path);
        assert_eq!(answer.status, 503, "{path}: {}", answer.body);
        let answer = answer.json();
        assert_eq!(answer["error"], true, "{path}");
        assert_eq!(answer["message"], "cluster is loading", "{path}");
        assert_eq!(answer["request"]["url"], path);
    }
    for (path, status, body) in [
        ("/burrow/admin", 200, "GOOD"),
        ("/burrow/admin/ready", 503, "STARTING"),
        ("/v3/kafka", 200, "\"clusters\":[\"c\"]"),
        ("/v3/kafka/c", 200, "cluster module detail returned"),
        ("/v3/kafka/x/topic", 404, "cluster not found"),
        ("/v3/kafka/x/consumer/g/lag", 404, "NOTFOUND"),
    ] {
        let answer = get(&lagline, path);
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert!(answer.body.contains(body), "{path}: {}", answer.body);
    }
    super::exposition::Exposition::parse(&get(&lagline, "/metrics").body);
    wait::until_ok("the reason is said", LIMIT, || says_why(&lagline));
}

/// `/ready` and `/health` name the cluster and what is wrong with it.
fn says_why(lagline: &Lagline) -> Result<(), String> {
    let ready = get(lagline, "/ready");
    let (status, ready) = (ready.status, ready.json());
    let health = get(lagline, "/health").json();
    let cluster = &health["clusters"][0];
    let reason = cluster["reason"].as_str().unwrap_or_default();
    if !reason.contains(NOWHERE) || ready["reason"] != reason {
        return Err(format!("{ready} {health}"));
    }
    assert_eq!(status, 503);
    assert_eq!(
        (&ready["ready"], &ready["cluster"]),
        (&false.into(), &"c".into())
    );
    assert_eq!(
        (&health["status"], &cluster["status"]),
        (&"degraded".into(), &"degraded".into())
    );
    assert_eq!(
        (&cluster["up"], &cluster["phase"]),
        (&false.into(), &"waiting".into())
    );
    assert_eq!(
        (&health["store"]["status"], &health["store"]["reason"]),
        (&"ok".into(), &().into())
    );
    Ok(())
}

#[test]
fn without_a_token_only_this_machine_changes_something() {
    let lagline = start(LOOPBACK);
    assert_eq!(set_level(&lagline, &[]).status, 200);
    let own = format!("http://127.0.0.1:{}", lagline.port());
    let evil_host = format!("evil.example:{}", lagline.port());
    let rebound = format!("http://{evil_host}");
    for (headers, status, why) in [
        (vec![("Origin", own.as_str())], 200, "its own page"),
        (vec![("Origin", "http://evil.example")], 403, "another page"),
        (vec![("Origin", "null")], 403, "a page without an origin"),
        (
            vec![("Origin", rebound.as_str()), ("Host", evil_host.as_str())],
            403,
            "a foreign name that was made to point here",
        ),
    ] {
        let answer = set_level(&lagline, &headers);
        assert_eq!(answer.status, status, "{why}: {}", answer.body);
        assert_eq!(answer.json()["error"], status != 200, "{why}");
    }
    // Only on the address that is configured.
    let elsewhere = std::net::TcpStream::connect(("127.0.0.2", lagline.port()));
    assert!(elsewhere.is_err(), "it listens on more than 127.0.0.1");

    let open = start("listen = \"0.0.0.0:0\"\n");
    assert_eq!(get(&open, "/v3/kafka").status, 200);
    for (method, path) in [
        ("POST", LEVEL),
        ("DELETE", "/v3/kafka/c/consumer/g"),
        ("DELETE", "/v3/kafka/c/consumer/g/topic/t"),
    ] {
        let answer = open.send(method, path, &[], r#"{"level":"info"}"#);
        assert_eq!(answer.status, 403, "{method} {path}: {}", answer.body);
        let message = answer.json()["message"].to_string();
        assert!(message.contains("server.token_file"), "{message}");
    }
}

#[test]
fn the_default_address_is_loopback() {
    let settings = lagline::config::ServerSettings::default();
    assert_eq!(settings.listen.to_string(), "127.0.0.1:8000");
    assert!(settings.token.is_none() && settings.cors_origin.is_none());
}

#[test]
fn changing_something_needs_the_token() {
    let lagline = with_token("");
    assert_eq!(get(&lagline, "/v3/kafka").status, 200);
    assert_eq!(set_level(&lagline, &[TOKEN]).status, 200);
    let lower = ("Authorization", "bearer  correct horse");
    assert_eq!(set_level(&lagline, &[lower]).status, 200);
    let mut refusals = Vec::new();
    for headers in [
        vec![],
        vec![("Authorization", "Bearer correct hors")],
        vec![("Authorization", "Bearer correct horses")],
        vec![("Authorization", "Bearer ")],
        vec![("Authorization", "Basic correct horse")],
        vec![("Authorization", "correct horse")],
    ] {
        let answer = set_level(&lagline, &headers);
        assert_eq!(answer.status, 401, "{headers:?}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        refusals.push(answer.body);
    }
    refusals.dedup();
    assert_eq!(
        refusals.len(),
        1,
        "a refusal says what was wrong: {refusals:?}"
    );
    let foreign = [TOKEN, ("Origin", "http://evil.example")];
    assert_eq!(set_level(&lagline, &foreign).status, 403);
    let deletion = lagline.send("DELETE", "/v3/kafka/c/consumer/g", &[], "");
    assert_eq!(deletion.status, 401);
    let deletion = lagline.send("DELETE", "/v3/kafka/c/consumer/g", &[TOKEN], "");
    assert_eq!(deletion.status, 200);
    assert!(
        !lagline.log().contains("correct horse"),
        "the token is in the log"
    );
    let config = get(&lagline, "/v3/config").body;
    assert!(!config.contains("correct horse"), "{config}");
}

#[test]
fn reading_can_need_the_token_too() {
    let lagline = with_token("read_token = true\ncors_origin = \"https://ops.example\"\n");
    for path in [
        "/v3/kafka",
        "/v3/kafka/c/consumer/g/lag",
        "/v3/config",
        "/metrics",
        "/health",
        "/api/v1/groups",
        "/nothing",
    ] {
        let answer = get(&lagline, path);
        assert_eq!(answer.status, 401, "{path}: {}", answer.body);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        assert_eq!(answer.body, "a bearer token is needed\n");
        assert_ne!(
            lagline.send("GET", path, &[TOKEN], "").status,
            401,
            "{path}"
        );
    }
    for path in ["/ready", "/burrow/admin", "/burrow/admin/ready"] {
        assert_ne!(get(&lagline, path).status, 401, "{path} is for probes");
    }
    // What a browser asks before it sends the token; it has none yet.
    for path in ["/v3/kafka", "/metrics", "/health", "/api/v1/groups", LEVEL] {
        let headers = [
            ("Origin", "https://ops.example"),
            ("Access-Control-Request-Method", "GET"),
            ("Access-Control-Request-Headers", "authorization"),
        ];
        let answer = lagline.send("OPTIONS", path, &headers, "");
        assert_eq!(answer.status, 200, "{path}");
        let allowed = answer
            .header("access-control-allow-headers")
            .unwrap_or_default();
        assert!(allowed.contains("authorization"), "{path}: {allowed}");
        let origin = answer.header("access-control-allow-origin");
        assert_eq!(origin, Some("https://ops.example"), "{path}");
        let methods = answer
            .header("access-control-allow-methods")
            .unwrap_or_default();
        assert!(methods.contains("DELETE"), "{path}: {methods}");
    }
    let page = [TOKEN, ("Origin", "https://ops.example")];
    let answer = set_level(&lagline, &page);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let origin = answer.header("access-control-allow-origin");
    assert_eq!(origin, Some("https://ops.example"));
}

#[test]
fn a_large_body_is_refused() {
    let lagline = start(LOOPBACK);
    let body = vec![b' '; 65 << 10];
    let answer = request_with(lagline.port(), "POST", LEVEL, &[], &body);
    // It may also close the connection while the body is still being sent.
    if let Ok(answer) = answer {
        assert_eq!(answer.status, 413);
    }
    assert_eq!(set_level(&lagline, &[]).status, 200);
}
