//! `[clusters.NAME]`: how a Kafka cluster is reached, which groups are wanted, its own rules.

use std::collections::BTreeMap;

use super::patterns::Patterns;
use super::section::Section;
use crate::kafka::client::{
    Isolation, KafkaError, KafkaSettings, Mechanism, OFFSETS_TOPIC, Sasl, Start, Tls,
};
use crate::lag::settings::{Limits, Rules};

/// One cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterSettings {
    pub kafka: KafkaSettings,
    pub rules: Rules,
    pub groups: Patterns,
    pub limits: Limits,
}

impl ClusterSettings {
    /// A cluster behind these addresses, everything else as by default.
    pub fn new(bootstrap_servers: Vec<String>) -> Self {
        Self {
            kafka: KafkaSettings::new(bootstrap_servers),
            rules: Rules::default(),
            groups: Patterns::all(),
            limits: Limits::default(),
        }
    }
}

/// Reads one cluster.
pub(super) fn cluster(section: &Section<'_>, defaults: &Rules) -> ClusterSettings {
    let groups = section.section("groups");
    let settings = ClusterSettings {
        kafka: kafka(&section.section("kafka")),
        rules: super::rules(&section.section("rules"), defaults),
        groups: super::wanted(&groups),
        limits: limits(&section.section("limits")),
    };
    groups.finish();
    section.finish();
    settings
}

/// Checks one `host:port`.
///
/// # Errors
/// What is expected instead.
pub fn check_address(address: &str) -> Result<(), String> {
    let expected = || "expected addresses such as \"kafka-1:9092\"".to_owned();
    let (host, port) = address.rsplit_once(':').ok_or_else(expected)?;
    let is_fine = !host.is_empty() && !host.contains([',', ' ', '/']) && port.parse() != Ok(0_u16);
    if is_fine && port.parse::<u16>().is_ok() {
        return Ok(());
    }
    Err(expected())
}

fn kafka(section: &Section<'_>) -> KafkaSettings {
    section.require("bootstrap_servers");
    let servers = section.strings("bootstrap_servers").unwrap_or_default();
    for server in &servers {
        if let Err(expected) = check_address(server) {
            section.problem_at("bootstrap_servers", expected);
        }
    }
    if servers.is_empty() && section.is_present() {
        section.problem_at("bootstrap_servers", "expected at least one address");
    }
    let defaults = KafkaSettings::new(servers);
    let settings = KafkaSettings {
        offsets_topic: section
            .string("offsets_topic")
            .unwrap_or_else(|| OFFSETS_TOPIC.to_owned()),
        start: section
            .choice(
                "start",
                &[("earliest", Start::Earliest), ("latest", Start::Latest)],
            )
            .unwrap_or_default(),
        isolation: section
            .choice(
                "isolation",
                &[
                    ("read_uncommitted", Isolation::ReadUncommitted),
                    ("read_committed", Isolation::ReadCommitted),
                ],
            )
            .unwrap_or_default(),
        tls: tls(&section.section("tls")),
        sasl: sasl(&section.section("sasl")),
        properties: properties(&section.section("properties")),
        ..defaults
    };
    let written = section.section("properties");
    for problem in settings.problems() {
        match &problem {
            KafkaError::Setting { property, reason } => written.problem_at(property, reason),
            KafkaError::Client { .. } => written.problem(problem.to_string()),
        }
    }
    section.finish();
    settings
}

fn tls(section: &Section<'_>) -> Option<Tls> {
    if !section.is_present() {
        return None;
    }
    let tls = Tls {
        ca_file: section.path_of("ca_file"),
        cert_file: section.path_of("cert_file"),
        key_file: section.path_of("key_file"),
        verify: section.boolean("verify").unwrap_or(true),
    };
    if tls.cert_file.is_some() != tls.key_file.is_some() {
        section.problem("`cert_file` and `key_file` belong together");
    }
    section.finish();
    Some(tls)
}

fn sasl(section: &Section<'_>) -> Option<Sasl> {
    if !section.is_present() {
        return None;
    }
    let mechanisms = Mechanism::ALL.map(|mechanism| (mechanism.label(), mechanism));
    let mechanism = section.choice("mechanism", &mechanisms);
    let username = section.string("username");
    let password = section.secret("password");
    section.require("mechanism");
    section.require("username");
    if password.is_none() && !section.has_secret("password") {
        section.problem("`password_file` is missing");
    }
    section.finish();
    Some(Sasl {
        mechanism: mechanism?,
        username: username?,
        password: password?,
    })
}

/// Any librdkafka property; numbers and booleans are taken as they are written.
fn properties(section: &Section<'_>) -> BTreeMap<String, String> {
    section
        .keys()
        .into_iter()
        .filter_map(|key| section.scalar(&key).map(|value| (key, value)))
        .collect()
}

fn limits(section: &Section<'_>) -> Limits {
    let defaults = Limits::default();
    let count = |key: &str, default: usize| {
        section
            .integer(key, 1..=100_000_000)
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(default)
    };
    let limits = Limits {
        groups: count("groups", defaults.groups),
        partitions: count("partitions", defaults.partitions),
    };
    section.finish();
    limits
}
