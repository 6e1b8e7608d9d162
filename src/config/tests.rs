use std::io;

use super::sinks::SinkKind;
use super::*;

/// Loads with a small environment and one readable secret file.
fn load_text(text: &str) -> Result<Config, Problems> {
    let env = |name: &str| match name {
        "BROKER" => Some("k1:9092".to_owned()),
        "SECRET" => Some("from-the-environment".to_owned()),
        "INTERVALS" => Some("12".to_owned()),
        _ => None,
    };
    let read = |path: &Path| match path.to_str() {
        Some("/secret") => Ok("from-a-file\n".to_owned()),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    };
    load(text, "lagline.toml", &env, &read)
}

fn problems(text: &str) -> String {
    load_text(text).map(|_| ()).unwrap_err().to_string()
}

const CLUSTER: &str = "[clusters.a.kafka]\nbootstrap_servers = [\"k:9092\"]\n";

#[test]
fn the_example_is_valid_and_says_the_defaults() {
    let config = load_text(EXAMPLE).unwrap();
    let rules = &config.clusters["prod"].rules;
    assert_eq!(*rules, Rules::default());
    assert_eq!(config.server, ServerSettings::default());
    let store = StoreConfig {
        path: Some("lagline.db".into()),
        ..StoreConfig::default()
    };
    assert_eq!(config.store, store);
    assert_eq!(
        config.sinks["lines"].delivery,
        crate::sinks::delivery::DeliverySettings::default()
    );
}

/// Every commented line of the example is a key that exists: uncommented, nothing is unknown.
#[test]
fn the_examples_comments_name_existing_keys() {
    let is_code = |line: &str| {
        line.starts_with('[')
            || line.split_once(" = ").is_some_and(|(key, _)| {
                key.chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.\"".contains(c))
            })
    };
    let text: Vec<&str> = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if is_code(rest) => rest,
            _ => line,
        })
        .collect();
    let text = problems(&text.join("\n"));
    assert!(!text.contains("unknown key"), "{text}");
}

#[test]
fn fills_in_the_environment_and_secret_files() {
    let config = load_text(
        r#"
        [rules]
        intervals = "${INTERVALS}"
        [clusters.a.kafka]
        bootstrap_servers = ["${BROKER}"]
        sasl = { mechanism = "PLAIN", username = "u", password = "${SECRET}" }
        [sinks.p.prometheus_remote_write]
        url = "http://h/api/v1/write"
        token_file = "/secret"
        headers = { "X-Scope-OrgID" = "${SECRET}" }
        [server]
        token_file = "/secret"
        "#,
    )
    .unwrap();
    let cluster = &config.clusters["a"];
    assert_eq!(cluster.kafka.bootstrap_servers, ["k1:9092"]);
    assert_eq!(cluster.rules.intervals, 12);
    let password = cluster.kafka.sasl.as_ref().unwrap().password.reveal();
    assert_eq!(password, "from-the-environment");
    assert_eq!(
        config.server.token.as_ref().unwrap().reveal(),
        "from-a-file"
    );
    let SinkKind::Prometheus(prometheus) = &config.sinks["p"].kind else {
        panic!("remote write");
    };
    let (name, value) = &prometheus.headers[0];
    assert_eq!(
        (name.as_str(), value.reveal()),
        ("X-Scope-OrgID", "from-the-environment")
    );
    let shown = format!("{config:?}");
    assert!(!shown.contains("from-"), "{shown}");
}

#[test]
fn a_clusters_rules_override_the_common_ones() {
    let config = load_text(&format!(
        "[rules]\nallowed_lag = 5\nintervals = 20\n{CLUSTER}[clusters.a.rules]\nintervals = 7\n"
    ))
    .unwrap();
    let rules = &config.clusters["a"].rules;
    assert_eq!((rules.intervals, rules.allowed_lag), (7, 5));
}

#[test]
fn reports_every_problem_at_once_with_its_place() {
    let text = r#"interval = "10"
intervall = "10s"

[server]
listen = "localhost"
token = "very-secret-token"

[rules]
minimum_complete = 1.5
commit_lag = "interpolate"

[clusters.prod.kafka]
bootstrap_server = ["k1:9092"]
start = "${NOT_SET}"

[clusters.prod.groups]
exclude = ["/(/"]

[sinks.influx.influx]
url = "http://influx:8086"

[sinks.elastic.elasticsearch]
urls = ["es:9200"]
namespace = "Prod"
"#;
    let shown = problems(text);
    assert!(!shown.contains("very-secret"), "{shown}");
    crate::golden::check("tests/golden/config-problems.txt", &format!("{shown}\n"));
}

#[test]
fn names_what_is_missing_or_contradicts() {
    for (text, expected, why) in [
        ("", "clusters: no cluster is configured", "an empty file"),
        (
            "[clusters.a]",
            "`bootstrap_servers` is missing",
            "a cluster without addresses",
        ),
        (
            "[clusters.a.kafka]\nbootstrap_servers = []",
            "at least one address",
            "no address",
        ),
        (
            "[clusters.a.kafka]\nbootstrap_servers = [\"k\"]",
            "such as \"kafka-1:9092\"",
            "no port",
        ),
        (
            "[clusters.a.kafka]\nbootstrap_servers = [\"k:1\"]\nproperties = { \"group.id\" = \"x\" }",
            "clusters.a.kafka.properties.group.id",
            "a property that belongs to lagline",
        ),
        (
            "[clusters.a.kafka]\nbootstrap_servers = [\"k:1\"]\nproperties = { \"sasl.pasword\" = \"hush\" }",
            "librdkafka has no property of this name",
            "a mistyped property",
        ),
        (
            "interval = ",
            "lagline.toml:1:",
            "a syntax error has a place",
        ),
        (
            "[sinks.x]",
            "expected exactly one kind",
            "a sink without a kind",
        ),
        (
            "[sinks.\"a/b\".jsonl]\npath = \"-\"",
            "expected a name of letters",
            "a name for a path",
        ),
        (
            "[server]\nread_token = true",
            "needs `token_file`",
            "nothing to check against",
        ),
        (
            "[server]\ntoken_file = \"/no\"",
            "cannot read /no",
            "an unreadable secret",
        ),
        (
            "[server]\nlisten = 8000",
            "expected a text in quotes",
            "a wrong type",
        ),
        (
            "[sinks.i.influxdb]\nurl = \"http://u:p@h\"\nv1 = { database = \"d\" }",
            "a secret does not belong here",
            "a password in an address",
        ),
        (
            "[sinks.i.influxdb]\nurl = \"http://h\"\nv1 = { database = \"d\" }\nv3 = { database = \"d\" }",
            "exactly one of `v1`, `v2` and `v3`",
            "two targets",
        ),
        (
            "[sinks.p.prometheus_remote_write]\nurl = \"http://h\"\nusername = \"u\"\npassword_file = \"/secret\"\ntoken_file = \"/secret\"",
            "only one of `username` and `token_file`",
            "two logins",
        ),
    ] {
        let shown = problems(text);
        assert!(shown.contains(expected), "{why}: {shown}");
        assert!(!shown.contains("hush"), "{shown}");
    }
}
