//! A real Kafka: KRaft, one broker that is its own controller, or up to nine brokers with the
//! controller in the first.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::directory::Directory;
use super::fetch;
use super::port::free_port;
use super::process::{Process, command};
use super::shared::{Shareable, Shared};

/// The user that a SASL listener knows, by PLAIN and by both SCRAM mechanisms.
pub const SASL_USER: &str = "lagline";
/// That user's password.
pub const SASL_PASSWORD: &str = "correct horse";

const CLUSTER_ID: &str = "bGFnbGluZS10ZXN0LWNsdQ";
const START_LIMIT: Duration = Duration::from_secs(90);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KafkaVersion {
    /// 3.9.2: writes offset commits as v3.
    V3,
    /// 4.4.0: writes offset commits as v4, has the KIP-848 protocol on.
    V4,
}

impl KafkaVersion {
    /// Both, for tests that run on each.
    pub const ALL: [KafkaVersion; 2] = [KafkaVersion::V3, KafkaVersion::V4];

    pub fn number(self) -> &'static str {
        match self {
            KafkaVersion::V3 => "3.9.2",
            KafkaVersion::V4 => "4.4.0",
        }
    }
}

/// What to start. See [`Kafka::builder`].
pub struct KafkaBuilder {
    version: KafkaVersion,
    brokers: u16,
    sasl_ssl: bool,
    properties: Vec<(String, String)>,
}

impl KafkaBuilder {
    /// Sets a broker property, on every broker; wins over the harness's own.
    pub fn property(mut self, key: &str, value: &str) -> Self {
        self.properties.push((key.to_owned(), value.to_owned()));
        self
    }

    /// How many brokers; 1 unless said. The first is the only controller: kill another one.
    pub fn brokers(mut self, count: u16) -> Self {
        assert!((1..=9).contains(&count), "1 to 9 brokers");
        self.brokers = count;
        self
    }

    /// Adds a listener with TLS and SASL (PLAIN, SCRAM-SHA-256, SCRAM-SHA-512) for [`SASL_USER`].
    pub fn sasl_ssl(mut self) -> Self {
        self.sasl_ssl = true;
        self
    }

    /// Turns access control on: the plain listener may do everything, [`SASL_USER`] what it is
    /// allowed by [`Kafka::admin`].
    pub fn access_control(self) -> Self {
        let class = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";
        self.sasl_ssl()
            .property("authorizer.class.name", class)
            .property("super.users", "User:ANONYMOUS")
    }

    /// Starts it and waits until every broker is in the metadata.
    pub fn start(self) -> Kafka {
        let files = fetch(&format!("kafka-{}", self.version.number()));
        let certificates = self.sasl_ssl.then(|| fetch("certificates"));
        let directory = Directory::new(&format!("kafka-{}", self.version.number()));
        let controller_port = free_port();
        let nodes = (1..=self.brokers)
            .map(|id| Node {
                id,
                port: free_port(),
                sasl_port: self.sasl_ssl.then(free_port),
                directory: directory.path().join(format!("broker-{id}")),
                process: None,
            })
            .collect();
        let mut kafka = Kafka {
            nodes,
            files,
            certificates,
            directory,
        };
        for node in &kafka.nodes {
            kafka.format(node, &self.properties(node, controller_port, &kafka));
        }
        kafka.restart();
        kafka
    }

    fn properties(&self, node: &Node, controller_port: u16, kafka: &Kafka) -> String {
        let Node { id, port, .. } = node;
        let data = node.directory.join("data");
        let mut listeners = format!("PLAINTEXT://127.0.0.1:{port}");
        if let Some(port) = node.sasl_port {
            write!(listeners, ",SASLSSL://127.0.0.1:{port}").unwrap();
        }
        let advertised = listeners.clone();
        let mut roles = "broker";
        if *id == 1 {
            roles = "broker,controller";
            write!(listeners, ",CONTROLLER://127.0.0.1:{controller_port}").unwrap();
        }
        let mut text = format!(
            "process.roles={roles}\n\
             node.id={id}\n\
             controller.quorum.voters=1@127.0.0.1:{controller_port}\n\
             listeners={listeners}\n\
             advertised.listeners={advertised}\n\
             inter.broker.listener.name=PLAINTEXT\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASLSSL:SASL_SSL\n\
             log.dirs={}\n",
            data.display()
        );
        // Small, and quick to have a group ready; names that a version does not know are ignored by
        // it.
        text.push_str(
            "log.cleaner.dedupe.buffer.size=2097152\n\
             offsets.topic.replication.factor=1\n\
             transaction.state.log.num.partitions=2\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             share.coordinator.state.topic.num.partitions=2\n\
             share.coordinator.state.topic.replication.factor=1\n\
             share.coordinator.state.topic.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\n\
             num.network.threads=2\n\
             num.io.threads=2\n\
             background.threads=2\n\
             auto.create.topics.enable=false\n",
        );
        if let Some(certificates) = &kafka.certificates {
            text.push_str(&sasl_ssl_properties(certificates));
        }
        for (key, value) in &self.properties {
            writeln!(text, "{key}={value}").unwrap();
        }
        text
    }
}

fn sasl_ssl_properties(certificates: &Path) -> String {
    let at = certificates.display();
    let module = "org.apache.kafka.common.security";
    let mut text = format!(
        "ssl.keystore.type=PKCS12\n\
         ssl.keystore.location={at}/broker.p12\n\
         ssl.keystore.password=changeit\n\
         ssl.key.password=changeit\n\
         ssl.truststore.type=PKCS12\n\
         ssl.truststore.location={at}/trust.p12\n\
         ssl.truststore.password=changeit\n\
         listener.name.saslssl.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n\
         listener.name.saslssl.plain.sasl.jaas.config=\
         {module}.plain.PlainLoginModule required user_{SASL_USER}=\"{SASL_PASSWORD}\";\n"
    );
    for mechanism in ["scram-sha-256", "scram-sha-512"] {
        writeln!(
            text,
            "listener.name.saslssl.{mechanism}.sasl.jaas.config={module}.scram.ScramLoginModule required;"
        )
        .unwrap();
    }
    text
}

struct Node {
    id: u16,
    port: u16,
    sasl_port: Option<u16>,
    directory: PathBuf,
    process: Option<Process>,
}

/// A running Kafka. Dropping it kills it and deletes its data.
pub struct Kafka {
    nodes: Vec<Node>,
    files: PathBuf,
    certificates: Option<PathBuf>,
    // Last: the directory is deleted after the processes are dead.
    directory: Directory,
}

impl Kafka {
    /// One broker of its own, for a test that disturbs it.
    pub fn start(version: KafkaVersion) -> Self {
        Self::builder(version).start()
    }

    /// One broker for the whole test run. Topics and groups need names of their own
    /// ([`super::unique`]).
    pub fn shared(version: KafkaVersion) -> Shared<Self> {
        static V3: OnceLock<Kafka> = OnceLock::new();
        static V4: OnceLock<Kafka> = OnceLock::new();
        let cell = match version {
            KafkaVersion::V3 => &V3,
            KafkaVersion::V4 => &V4,
        };
        Shared::new(cell.get_or_init(|| Kafka::start(version)))
    }

    pub fn builder(version: KafkaVersion) -> KafkaBuilder {
        KafkaBuilder {
            version,
            brokers: 1,
            sasl_ssl: false,
            properties: Vec::new(),
        }
    }

    /// `host:port` of every broker's plain listener, also of a stopped one.
    pub fn bootstrap(&self) -> String {
        let ports = self.nodes.iter().map(|n| format!("127.0.0.1:{}", n.port));
        ports.collect::<Vec<_>>().join(",")
    }

    /// `host:port` of every broker's SASL_SSL listener.
    pub fn sasl_bootstrap(&self) -> String {
        let ports = self.nodes.iter().map(|n| {
            let port = n.sasl_port.expect("started with `sasl_ssl`");
            format!("127.0.0.1:{port}")
        });
        ports.collect::<Vec<_>>().join(",")
    }

    /// The certificate authority that signed the brokers' certificates.
    pub fn ca_file(&self) -> PathBuf {
        self.certificate("ca.pem")
    }

    /// An authority that did not.
    pub fn other_ca_file(&self) -> PathBuf {
        self.certificate("other-ca.pem")
    }

    fn certificate(&self, name: &str) -> PathBuf {
        let certificates = self.certificates.as_ref();
        certificates.expect("started with `sasl_ssl`").join(name)
    }

    /// Stops every broker in order; the controller last, as they need it to leave.
    pub fn stop(&mut self) {
        for id in (1..=self.nodes.len()).rev() {
            self.stop_broker(id);
        }
    }

    /// SIGKILL to every broker.
    pub fn kill(&mut self) {
        for id in 1..=self.nodes.len() {
            self.kill_broker(id);
        }
    }

    /// Starts every broker that does not run, with its data and on its port.
    pub fn restart(&mut self) {
        for id in 1..=self.nodes.len() {
            self.launch(id);
        }
        self.wait_ready();
    }

    /// Stops broker `id` (counted from 1) in order.
    pub fn stop_broker(&mut self, id: usize) {
        if let Some(process) = self.nodes[id - 1].process.take() {
            process.stop();
        }
    }

    /// SIGKILL to broker `id`.
    pub fn kill_broker(&mut self, id: usize) {
        if let Some(process) = self.nodes[id - 1].process.take() {
            process.kill();
        }
    }

    /// Starts broker `id` again with its data and on its port.
    pub fn restart_broker(&mut self, id: usize) {
        self.launch(id);
        self.wait_ready();
    }

    /// Freezes every broker (SIGSTOP): connections stay open and nothing answers.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets frozen brokers go on.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        for process in self.nodes.iter().filter_map(|n| n.process.as_ref()) {
            process.signal(name);
        }
    }

    /// Runs one command of `tests/services/kafka/KafkaAdmin.java`, for example `["delete-offsets",
    /// group, topic, "0"]` or `["allow", SASL_USER, "topic", "orders", "describe"]`.
    pub fn admin(&self, arguments: &[&str]) {
        let mut java = self.java("-Xmx128m");
        java.args(["KafkaAdmin", &self.bootstrap()]).args(arguments);
        let output = java.output().expect("java runs");
        assert!(
            output.status.success(),
            "Kafka refused {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn java(&self, heap: &str) -> Command {
        let mut java = command("java");
        java.args([heap, "-Xms64m", "-XX:+UseSerialGC"])
            .args(["-XX:TieredStopAtLevel=1", "-XX:MaxDirectMemorySize=128m"])
            .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
            .arg("-Dorg.slf4j.simpleLogger.showDateTime=true")
            .arg("-cp")
            .arg(format!("{0}/libs/*:{0}/classes", self.files.display()));
        java
    }

    fn format(&self, node: &Node, properties: &str) {
        std::fs::create_dir_all(&node.directory).unwrap();
        let file = node.directory.join("server.properties");
        std::fs::write(&file, properties).unwrap();
        let mut format = self.java("-Xmx128m");
        format
            .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"])
            .arg(&file);
        if self.certificates.is_some() {
            for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
                let user = format!("{mechanism}=[name={SASL_USER},password={SASL_PASSWORD}]");
                format.args(["--add-scram", &user]);
            }
        }
        let output = format.output().expect("java runs");
        assert!(
            output.status.success(),
            "cannot format Kafka's storage: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn launch(&mut self, id: usize) {
        if self.nodes[id - 1].process.is_some() {
            return;
        }
        let mut java = self.java("-Xmx384m");
        let node = &mut self.nodes[id - 1];
        java.arg("kafka.Kafka")
            .arg(node.directory.join("server.properties"));
        let log = node.directory.join("broker.log");
        node.process = Some(Process::start(&format!("Kafka broker {id}"), java, &log));
    }

    /// Waits until every running broker answers and all of them are in its metadata.
    fn wait_ready(&mut self) {
        let running = self.nodes.iter().filter(|n| n.process.is_some()).count();
        for node in &mut self.nodes {
            let Some(process) = &mut node.process else {
                continue;
            };
            let consumer: BaseConsumer = ClientConfig::new()
                .set("bootstrap.servers", format!("127.0.0.1:{}", node.port))
                .set("reconnect.backoff.ms", "20")
                .set("reconnect.backoff.max.ms", "200")
                .create()
                .expect("librdkafka makes a client");
            process.wait_ready(START_LIMIT, || {
                let timeout = Duration::from_secs(1);
                let metadata = consumer
                    .fetch_metadata(None, timeout)
                    .map_err(|e| e.to_string())?;
                let seen = metadata.brokers().len();
                if seen < running {
                    return Err(format!("{seen} of {running} brokers are in the metadata"));
                }
                Ok(())
            });
        }
    }
}

impl Shareable for Kafka {
    fn directory(&self) -> &Directory {
        &self.directory
    }
}
