//! Burrow's view of the configuration, in its key style. Secrets are not in it.

use serde_json::{Value, json};

use super::Kind;
use crate::config::clusters::ClusterSettings;
use crate::kafka::client::Start;
use crate::server::State;

/// The one evaluator.
const EVALUATOR: &str = "default";

/// The parts of the main configuration. What lagline has not is empty.
pub(super) fn main(state: &State) -> [(&'static str, Value); 4] {
    let origin = state.settings.cors_origin.clone().unwrap_or_default();
    let general = json!({
        "pidfile": "",
        "stdout-logfile": "",
        "access-control-allow-origin": origin,
    });
    let logging = json!({
        "filename": "",
        "max-size": 0,
        "max-backups": 0,
        "max-age": 0,
        "use-local-time": false,
        "use-compression": false,
        "level": state.log_level.word(),
    });
    let zookeeper = json!({ "servers": [], "timeout": 0, "root-path": "" });
    let server = json!({ "address": state.settings.listen.to_string(), "tls": "", "timeout": 0 });
    [
        ("general", general),
        ("logging", logging),
        ("zookeeper", zookeeper),
        ("httpserver", json!({ "default": server })),
    ]
}

/// The modules of a kind, sorted. Storage and consumer modules are one for each cluster.
pub(super) fn names(state: &State, kind: Kind) -> Vec<&str> {
    match kind {
        Kind::Storage | Kind::Cluster | Kind::Consumer => {
            state.clusters.keys().map(|name| name.as_str()).collect()
        }
        Kind::Evaluator => vec![EVALUATOR],
        Kind::Notifier => Vec::new(),
    }
}

/// The detail of a module.
pub(super) fn detail(state: &State, kind: Kind, name: &str) -> Option<Value> {
    let settings = || state.clusters.get(name).map(|handle| &*handle.settings);
    match kind {
        Kind::Storage => settings().map(storage),
        Kind::Cluster => settings().map(cluster),
        Kind::Consumer => settings().map(|settings| consumer(name, settings)),
        Kind::Evaluator => (name == EVALUATOR)
            .then(|| json!({ "class-name": "caching", "expire-cache": state.interval.as_secs() })),
        Kind::Notifier => None,
    }
}

fn storage(settings: &ClusterSettings) -> Value {
    json!({
        "class-name": "inmemory",
        "intervals": settings.rules.intervals,
        "min-distance": settings.rules.min_distance.as_secs(),
        "group-whitelist": "",
        "expire-group": settings.rules.expire_group.as_secs(),
    })
}

fn cluster(settings: &ClusterSettings) -> Value {
    json!({
        "class-name": "kafka",
        "servers": settings.kafka.bootstrap_servers,
        "client-profile": profile(settings),
        "topic-refresh": 60,
        "offset-refresh": settings.rules.offset_refresh.as_secs(),
    })
}

fn consumer(name: &str, settings: &ClusterSettings) -> Value {
    json!({
        "class-name": "kafka",
        "cluster": name,
        "servers": settings.kafka.bootstrap_servers,
        "group-whitelist": "",
        "zookeeper-path": "",
        "zookeeper-timeout": 0,
        "client-profile": profile(settings),
        "offsets-topic": settings.kafka.offsets_topic,
        "start-latest": settings.kafka.start == Start::Latest,
    })
}

fn profile(settings: &ClusterSettings) -> Value {
    let path = |path: &Option<std::path::PathBuf>| {
        path.as_ref()
            .map(|path| path.display().to_string())
            .unwrap_or_default()
    };
    let tls = settings.kafka.tls.as_ref().map(|tls| {
        json!({
            "name": "default",
            "noverify": !tls.verify,
            "certfile": path(&tls.cert_file),
            "keyfile": path(&tls.key_file),
            "cafile": path(&tls.ca_file),
        })
    });
    let sasl = settings.kafka.sasl.as_ref().map(
        |sasl| json!({ "name": "default", "handshake-first": true, "username": sasl.username }),
    );
    json!({
        "name": "default",
        "client-id": "lagline",
        "kafka-version": "",
        "tls": tls,
        "sasl": sasl,
    })
}

/// Burrow's words for a module that was found.
pub(super) const fn returned(kind: Kind) -> &'static str {
    match kind {
        Kind::Storage => "storage module detail returned",
        Kind::Evaluator => "evaluator module detail returned",
        Kind::Cluster => "cluster module detail returned",
        Kind::Consumer => "consumer module detail returned",
        Kind::Notifier => "notifier module detail returned",
    }
}

/// Burrow's words for a module that was not.
pub(super) const fn not_found(kind: Kind) -> &'static str {
    match kind {
        Kind::Storage => "storage module not found",
        Kind::Evaluator => "evaluator module not found",
        Kind::Cluster => "cluster module not found",
        Kind::Consumer => "consumer module not found",
        Kind::Notifier => "notifier module not found",
    }
}
