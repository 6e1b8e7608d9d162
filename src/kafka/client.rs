//! From the cluster's settings to a librdkafka client: addresses, TLS, SASL, and the fixed settings
//! that reading depends on.
//!
//! Does not connect: librdkafka does that in the background, and what goes wrong then is collected by
//! [`KafkaContext`]. Properties of the user come last and win, except for the few that would break
//! what the readers rely on ([`KafkaSettings::problems`]).

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use thiserror::Error;

use super::context::KafkaContext;
use crate::config::secret::Secret;
use crate::kafka::ffi;
use crate::lag::ids::ClusterName;

/// The topic where Kafka keeps committed offsets.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// A librdkafka client of one cluster.
pub type KafkaClient = BaseConsumer<KafkaContext>;

/// Properties that belong to lagline, and why.
const RESERVED: [(&str, &str); 13] = [
    ("group.id", "lagline never joins a group"),
    ("group.instance.id", "lagline never joins a group"),
    ("group.protocol", "lagline never joins a group"),
    ("enable.auto.commit", "lagline never commits"),
    ("auto.commit.enable", "lagline never commits"),
    ("enable.auto.offset.store", "lagline never commits"),
    ("offset.store.method", "lagline never commits"),
    (
        "enable.partition.eof",
        "the end of a partition is how lagline sees that it caught up",
    ),
    ("auto.offset.reset", "use the key \"start\" instead"),
    ("isolation.level", "use the key \"isolation\" instead"),
    ("allow.auto.create.topics", "lagline never creates a topic"),
    ("log.queue", "lagline forwards librdkafka's log itself"),
    (
        "plugin.library.paths",
        "lagline loads no libraries at run time",
    ),
];

/// How one Kafka cluster is reached and read.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaSettings {
    /// `host:port` of some brokers; the others are found through them.
    pub bootstrap_servers: Vec<String>,
    /// Topic with the offset commits; another name than [`OFFSETS_TOPIC`] for copies of it.
    pub offsets_topic: String,
    /// Where reading begins.
    pub start: Start,
    /// Absent: no TLS.
    pub tls: Option<Tls>,
    /// Absent: no authentication (or the client certificate of `tls`).
    pub sasl: Option<Sasl>,
    /// Whether commits of open transactions are read.
    pub isolation: Isolation,
    /// Any librdkafka property, as a last resort.
    pub properties: BTreeMap<String, String>,
}

/// Where reading the offsets topic begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Start {
    /// At its log start: also groups that are idle for long are known.
    #[default]
    Earliest,
    /// At its log end: only groups that commit from now on are known.
    Latest,
}

/// Encrypted connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Certificates (PEM) that sign the brokers' ones; absent: the system's.
    pub ca_file: Option<PathBuf>,
    /// Own certificate (PEM), for brokers that ask for one.
    pub cert_file: Option<PathBuf>,
    /// Key of `cert_file` (PEM).
    pub key_file: Option<PathBuf>,
    /// Whether certificate and host name of the broker are checked.
    pub verify: bool,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            ca_file: None,
            cert_file: None,
            key_file: None,
            verify: true,
        }
    }
}

/// Authentication with a name and a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sasl {
    pub mechanism: Mechanism,
    pub username: String,
    pub password: Secret,
}

/// How name and password are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
}

impl Mechanism {
    /// Every mechanism, in the order they are named in messages.
    pub const ALL: [Mechanism; 3] = [
        Mechanism::Plain,
        Mechanism::ScramSha256,
        Mechanism::ScramSha512,
    ];

    /// Kafka's name of the mechanism.
    pub const fn label(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Which offset commits inside transactions are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Isolation {
    /// All: an open transaction delays nothing, an aborted one's commit shows for a while.
    #[default]
    ReadUncommitted,
    /// Committed ones: an open transaction delays every group of its partition.
    ReadCommitted,
}

/// What a client is for; decides the fixed settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Reads the offsets topic as fast as it can be had.
    Reader,
    /// Asks questions (metadata, ListOffsets, DescribeTopics) and reads nothing.
    Questions,
}

/// Why a Kafka client could not be had, or stopped for good.
#[derive(Debug, Error)]
pub enum KafkaError {
    /// A setting librdkafka does not take: the configuration must change.
    #[error("kafka property {property:?}: {reason}")]
    Setting { property: String, reason: String },
    /// librdkafka could not create a client (bad certificate file, no threads left).
    #[error("cannot create a kafka client for cluster {cluster}: {reason}")]
    Client {
        cluster: ClusterName,
        reason: String,
    },
}

impl KafkaSettings {
    /// Settings for a cluster without encryption and authentication.
    pub fn new(bootstrap_servers: Vec<String>) -> Self {
        Self {
            bootstrap_servers,
            offsets_topic: OFFSETS_TOPIC.to_owned(),
            start: Start::default(),
            tls: None,
            sasl: None,
            isolation: Isolation::default(),
            properties: BTreeMap::new(),
        }
    }

    /// Everything that is wrong with the properties, found without connecting: reserved ones, and
    /// names and values that librdkafka does not know.
    pub fn problems(&self) -> Vec<KafkaError> {
        let mut problems = Vec::new();
        for (property, value) in &self.properties {
            let reserved = RESERVED.iter().find(|(name, _)| name == property);
            if let Some((_, reason)) = reserved {
                problems.push(setting(property, format!("cannot be set: {reason}")));
                continue;
            }
            let mut alone = ClientConfig::new();
            alone.set(property, value);
            if let Err(error) = alone.create_native_config() {
                problems.push(refused(&error, property));
            }
        }
        problems
    }

    /// The librdkafka settings of a client for `role`.
    pub fn client_config(&self, role: Role) -> ClientConfig {
        let mut config = ClientConfig::new();
        // What is shown is decided by tracing's filter; librdkafka's debug lines exist only when
        // the property "debug" asks for them.
        config.set_log_level(RDKafkaLogLevel::Debug);
        config
            .set("bootstrap.servers", self.bootstrap_servers.join(","))
            .set("client.id", "lagline")
            .set("socket.keepalive.enable", "true")
            .set("reconnect.backoff.max.ms", "5000");
        self.set_security(&mut config);
        match role {
            Role::Reader => set_reading(&mut config),
            // Topics and leaders are asked for by whoever asks the questions: what librdkafka finds
            // out on its own would be news to it.
            Role::Questions => {
                config.set("topic.metadata.refresh.interval.ms", "-1");
            }
        }
        let reserved = |name: &str| RESERVED.iter().any(|(reserved, _)| *reserved == name);
        for (property, value) in &self.properties {
            if !reserved(property) {
                config.set(property, value);
            }
        }
        let isolation = match (role, self.isolation) {
            (Role::Reader, Isolation::ReadCommitted) => "read_committed",
            // A question for the log end with read_committed gets the last stable offset.
            (Role::Reader, Isolation::ReadUncommitted) | (Role::Questions, _) => "read_uncommitted",
        };
        config
            .set("isolation.level", isolation)
            .set("allow.auto.create.topics", "false")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false");
        config
    }

    /// A client for `role` of cluster `cluster`. It has no group id: it never joins, commits or makes
    /// a broker create the offsets topic.
    ///
    /// # Errors
    /// When librdkafka refuses a setting or cannot start; trying again does not help.
    pub fn client(&self, role: Role, cluster: &ClusterName) -> Result<KafkaClient, KafkaError> {
        self.client_config(role)
            .create_with_context(KafkaContext::new(cluster.clone()))
            .map_err(|error| client_error(&error, cluster))
    }

    /// Gives `client` its bootstrap servers again when nobody has answered it for a while; to be called after
    /// a question without an answer.
    ///
    /// librdkafka gives up every broker that is not in the newest metadata. A single broker that was away for
    /// longer than its session names none, until it is let in again; and librdkafka 2.12's own way back to the
    /// bootstrap servers is lost when it races with that answer (the answer stops the timer, but not
    /// `rk_rebootstrap_in_progress`). Servers that it still knows are not added twice.
    pub fn find_brokers_again(&self, client: &KafkaClient) {
        if client.context().is_lost() {
            ffi::add_brokers(client.client(), &self.bootstrap_servers.join(","));
        }
    }

    fn set_security(&self, config: &mut ClientConfig) {
        let protocol = match (&self.tls, &self.sasl) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        if let Some(tls) = &self.tls {
            let files = [
                ("ssl.ca.location", &tls.ca_file),
                ("ssl.certificate.location", &tls.cert_file),
                ("ssl.key.location", &tls.key_file),
            ];
            for (property, file) in files {
                if let Some(file) = file {
                    config.set(property, file.to_string_lossy());
                }
            }
            if !tls.verify {
                config
                    .set("enable.ssl.certificate.verification", "false")
                    .set("ssl.endpoint.identification.algorithm", "none");
            }
        }
        if let Some(sasl) = &self.sasl {
            config
                .set("sasl.mechanism", sasl.mechanism.label())
                .set("sasl.username", &sasl.username)
                .set("sasl.password", sasl.password.reveal());
        }
    }
}

/// Measured on 5 M commits: librdkafka's defaults read half as fast and take 257 MB.
fn set_reading(config: &mut ClientConfig) {
    for (property, value) in [
        // The default of a second leaves the fetcher idle after each full queue.
        ("fetch.queue.backoff.ms", "10"),
        // Of all partitions together, as they share a queue. Fewer than a fetch brings, and reading would
        // stand still while it is answered.
        ("queued.min.messages", "100000"),
        ("queued.max.messages.kbytes", "16384"),
        ("fetch.max.bytes", "8388608"),
        ("fetch.message.max.bytes", "262144"),
        ("fetch.min.bytes", "65536"),
        ("fetch.wait.max.ms", "250"),
        ("check.crcs", "false"),
        ("enable.partition.eof", "true"),
        // Out of range is handled by the reader, which starts a new epoch of the commit order.
        ("auto.offset.reset", "error"),
        ("topic.metadata.refresh.interval.ms", "60000"),
    ] {
        config.set(property, value);
    }
}

fn setting(property: &str, reason: impl Into<String>) -> KafkaError {
    KafkaError::Setting {
        property: property.to_owned(),
        reason: reason.into(),
    }
}

/// Never repeats the value: it may be a password.
fn refused(error: &rdkafka::error::KafkaError, property: &str) -> KafkaError {
    use rdkafka::types::RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN;
    if let rdkafka::error::KafkaError::ClientConfig(result, _, name, _) = error {
        if *result == RD_KAFKA_CONF_UNKNOWN {
            return setting(name, "librdkafka has no property of this name");
        }
        return setting(name, "librdkafka refuses this value");
    }
    setting(property, "holds a zero byte")
}

fn client_error(error: &rdkafka::error::KafkaError, cluster: &ClusterName) -> KafkaError {
    if matches!(error, rdkafka::error::KafkaError::ClientConfig(..)) {
        return refused(error, "");
    }
    let reason = if let rdkafka::error::KafkaError::ClientCreation(reason) = error {
        reason.clone()
    } else {
        error.to_string()
    };
    KafkaError::Client {
        cluster: cluster.clone(),
        reason,
    }
}

impl fmt::Debug for KafkaSettings {
    /// Of the properties only the names: any value may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSettings")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("offsets_topic", &self.offsets_topic)
            .field("start", &self.start)
            .field("tls", &self.tls)
            .field("sasl", &self.sasl)
            .field("isolation", &self.isolation)
            .field("properties", &self.properties.keys())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sasl(mechanism: Mechanism) -> Sasl {
        Sasl {
            mechanism,
            username: "u".to_owned(),
            password: Secret::new("hunter2"),
        }
    }

    #[test]
    fn every_combination_of_tls_and_sasl_has_its_protocol() {
        let plain = KafkaSettings::new(vec!["a:1".to_owned(), "b:2".to_owned()]);
        let table = [
            (None, None, "plaintext"),
            (Some(Tls::default()), None, "ssl"),
            (None, Some(sasl(Mechanism::Plain)), "sasl_plaintext"),
            (
                Some(Tls::default()),
                Some(sasl(Mechanism::ScramSha512)),
                "sasl_ssl",
            ),
        ];
        for (tls, sasl, expected) in table {
            let config = KafkaSettings {
                tls,
                sasl,
                ..plain.clone()
            }
            .client_config(Role::Reader);
            assert_eq!(config.get("security.protocol"), Some(expected));
            assert_eq!(config.get("bootstrap.servers"), Some("a:1,b:2"));
        }
    }

    #[test]
    fn certificates_are_checked_unless_told_otherwise() {
        let mut settings = KafkaSettings::new(vec!["a:1".to_owned()]);
        settings.tls = Some(Tls::default());
        let config = settings.client_config(Role::Questions);
        assert_eq!(config.get("enable.ssl.certificate.verification"), None);
        settings.tls = Some(Tls {
            verify: false,
            ..Tls::default()
        });
        let config = settings.client_config(Role::Questions);
        assert_eq!(
            config.get("enable.ssl.certificate.verification"),
            Some("false")
        );
    }

    #[test]
    fn every_role_and_mechanism_gives_a_client() {
        for role in [Role::Reader, Role::Questions] {
            for mechanism in Mechanism::ALL {
                let settings = KafkaSettings {
                    sasl: Some(sasl(mechanism)),
                    ..KafkaSettings::new(vec!["127.0.0.1:1".to_owned()])
                };
                let client = settings.client(role, &ClusterName::new("c"));
                assert!(client.is_ok(), "{role:?} {mechanism:?}");
            }
        }
    }

    #[test]
    fn properties_win_but_never_make_lagline_commit_or_join() {
        let mut settings = KafkaSettings::new(vec!["a:1".to_owned()]);
        for (property, value) in [
            ("fetch.min.bytes", "1"),
            ("enable.auto.commit", "true"),
            ("group.id", "g"),
            ("isolation.level", "read_committed"),
        ] {
            settings.properties.insert(property.into(), value.into());
        }
        let config = settings.client_config(Role::Reader);
        assert_eq!(config.get("fetch.min.bytes"), Some("1"));
        assert_eq!(config.get("enable.auto.commit"), Some("false"));
        assert_eq!(config.get("group.id"), None);
        assert_eq!(config.get("isolation.level"), Some("read_uncommitted"));
    }

    #[test]
    fn read_committed_never_reaches_the_client_that_asks_for_log_ends() {
        let mut settings = KafkaSettings::new(vec!["a:1".to_owned()]);
        settings.isolation = Isolation::ReadCommitted;
        let level = |role| {
            let config = settings.client_config(role);
            config.get("isolation.level").map(str::to_owned)
        };
        assert_eq!(level(Role::Reader).as_deref(), Some("read_committed"));
        assert_eq!(level(Role::Questions).as_deref(), Some("read_uncommitted"));
    }

    #[test]
    fn every_bad_property_is_reported_and_no_value_shown() {
        let mut settings = KafkaSettings::new(vec!["a:1".to_owned()]);
        for (property, value) in [
            ("fetch.min.bytes", "hunter2"),
            ("fetch.min.byte", "hunter2"),
            ("group.id", "hunter2"),
            ("ssl.key.password", "hun\0ter2"),
            ("socket.timeout.ms", "1000"),
        ] {
            settings.properties.insert(property.into(), value.into());
        }
        let problems: Vec<String> = settings
            .problems()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            problems,
            [
                "kafka property \"fetch.min.byte\": librdkafka has no property of this name",
                "kafka property \"fetch.min.bytes\": librdkafka refuses this value",
                "kafka property \"group.id\": cannot be set: lagline never joins a group",
                "kafka property \"ssl.key.password\": holds a zero byte",
            ]
        );
    }

    #[test]
    fn debug_shows_no_secret() {
        let mut settings = KafkaSettings::new(vec!["a:1".to_owned()]);
        settings.sasl = Some(sasl(Mechanism::Plain));
        settings
            .properties
            .insert("ssl.key.password".into(), "hunter2".into());
        let shown = format!("{settings:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("ssl.key.password"), "{shown}");
    }
}
