//! Burrow's view of the configuration, in its key style and order. Secrets are not in it.

use std::path::PathBuf;

use serde::Serialize;

use super::Kind;
use crate::config::clusters::ClusterSettings;
use crate::kafka::client::Start;
use crate::kafka::log_offsets::REFRESH_EVERY;
use crate::server::State;

/// The one evaluator.
const EVALUATOR: &str = "default";
/// Burrow names profiles; lagline has one for each cluster, without a name.
const PROFILE: &str = "default";

/// A part of the main configuration. What lagline has not is empty.
#[derive(Serialize)]
#[serde(untagged, rename_all_fields = "kebab-case")]
pub(super) enum Part<'a> {
    General {
        pidfile: &'static str,
        stdout_logfile: &'static str,
        access_control_allow_origin: &'a str,
    },
    Logging {
        filename: &'static str,
        max_size: u32,
        max_backups: u32,
        max_age: u32,
        use_local_time: bool,
        use_compression: bool,
        level: &'static str,
    },
    Zookeeper {
        servers: [&'static str; 0],
        timeout: u32,
        root_path: &'static str,
    },
    Servers {
        default: Server,
    },
}

#[derive(Serialize)]
pub(super) struct Server {
    address: String,
    tls: &'static str,
    timeout: u32,
}

/// One module.
#[derive(Serialize)]
#[serde(untagged, rename_all_fields = "kebab-case")]
pub(super) enum Module<'a> {
    Storage {
        class_name: &'static str,
        intervals: usize,
        min_distance: u64,
        group_whitelist: &'static str,
        expire_group: u64,
    },
    Evaluator {
        class_name: &'static str,
        expire_cache: u64,
    },
    Cluster {
        class_name: &'static str,
        servers: &'a [String],
        client_profile: Profile<'a>,
        topic_refresh: u64,
        offset_refresh: u64,
    },
    Consumer {
        class_name: &'static str,
        cluster: &'a str,
        servers: &'a [String],
        group_whitelist: &'static str,
        zookeeper_path: &'static str,
        zookeeper_timeout: u32,
        client_profile: Profile<'a>,
        offsets_topic: &'a str,
        start_latest: bool,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Profile<'a> {
    name: &'static str,
    client_id: &'static str,
    kafka_version: &'static str,
    tls: Option<Tls>,
    sasl: Option<Sasl<'a>>,
}

#[derive(Serialize)]
struct Tls {
    name: &'static str,
    noverify: bool,
    certfile: String,
    keyfile: String,
    cafile: String,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Sasl<'a> {
    name: &'static str,
    handshake_first: bool,
    username: &'a str,
}

/// The parts of the main configuration.
pub(super) fn main(state: &State) -> [(&'static str, Part<'_>); 4] {
    let general = Part::General {
        pidfile: "",
        stdout_logfile: "",
        access_control_allow_origin: state.settings.cors_origin.as_deref().unwrap_or_default(),
    };
    let logging = Part::Logging {
        filename: "",
        max_size: 0,
        max_backups: 0,
        max_age: 0,
        use_local_time: false,
        use_compression: false,
        level: state.log_level.word(),
    };
    let zookeeper = Part::Zookeeper {
        servers: [],
        timeout: 0,
        root_path: "",
    };
    let servers = Part::Servers {
        default: Server {
            address: state.settings.listen.to_string(),
            tls: "",
            timeout: 0,
        },
    };
    [
        ("general", general),
        ("logging", logging),
        ("zookeeper", zookeeper),
        ("httpserver", servers),
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

/// The detail of a module. Its name may be in any case, as Burrow has it.
pub(super) fn detail<'a>(state: &'a State, kind: Kind, name: &str) -> Option<Module<'a>> {
    let exact = state.clusters.get_key_value(name);
    let similar = || {
        let mut clusters = state.clusters.iter();
        clusters.find(|(cluster, _)| cluster.as_str().eq_ignore_ascii_case(name))
    };
    let found = || {
        let (name, handle) = exact.or_else(similar)?;
        Some((name.as_str(), &*handle.settings))
    };
    match kind {
        Kind::Storage => found().map(|(_, settings)| Module::Storage {
            class_name: "inmemory",
            intervals: settings.rules.intervals,
            min_distance: settings.rules.min_distance.as_secs(),
            group_whitelist: "",
            expire_group: settings.rules.expire_group.as_secs(),
        }),
        Kind::Cluster => found().map(|(_, settings)| Module::Cluster {
            class_name: "kafka",
            servers: &settings.kafka.bootstrap_servers,
            client_profile: profile(settings),
            topic_refresh: REFRESH_EVERY.as_secs(),
            offset_refresh: settings.rules.offset_refresh.as_secs(),
        }),
        Kind::Consumer => found().map(|(cluster, settings)| Module::Consumer {
            class_name: "kafka",
            cluster,
            servers: &settings.kafka.bootstrap_servers,
            group_whitelist: "",
            zookeeper_path: "",
            zookeeper_timeout: 0,
            client_profile: profile(settings),
            offsets_topic: &settings.kafka.offsets_topic,
            start_latest: settings.kafka.start == Start::Latest,
        }),
        Kind::Evaluator => name
            .eq_ignore_ascii_case(EVALUATOR)
            .then_some(Module::Evaluator {
                class_name: "caching",
                expire_cache: state.interval.as_secs(),
            }),
        Kind::Notifier => None,
    }
}

fn profile(settings: &ClusterSettings) -> Profile<'_> {
    let path = |path: &Option<PathBuf>| {
        let shown = path.as_ref().map(|path| path.display().to_string());
        shown.unwrap_or_default()
    };
    Profile {
        name: PROFILE,
        client_id: "lagline",
        kafka_version: "",
        tls: settings.kafka.tls.as_ref().map(|tls| Tls {
            name: PROFILE,
            noverify: !tls.verify,
            certfile: path(&tls.cert_file),
            keyfile: path(&tls.key_file),
            cafile: path(&tls.ca_file),
        }),
        sasl: settings.kafka.sasl.as_ref().map(|sasl| Sasl {
            name: PROFILE,
            handshake_first: true,
            username: &sasl.username,
        }),
    }
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
