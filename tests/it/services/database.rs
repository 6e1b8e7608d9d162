//! Real databases: each is one process that speaks HTTP on one port and keeps its data in one
//! directory.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use super::directory::Directory;
use super::fetch;
use super::http::{Response, request};
use super::port::free_port;
use super::process::{Process, command};
use super::shared::{Shareable, Shared};

/// OpenSearch and Elasticsearch take 5 to 15 seconds alone, far longer beside a build.
const START_LIMIT: Duration = Duration::from_secs(180);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DatabaseKind {
    /// 1.6.7. Settings are its environment variables, for example `INFLUXDB_HTTP_AUTH_ENABLED`.
    InfluxDb,
    /// 1.79.5, with deduplication of equal points. Settings are its flags without the dash.
    VictoriaMetrics,
    /// 2.42, takes remote write, also of points up to 30 minutes old. The setting `config` replaces
    /// its configuration file.
    Prometheus,
    /// 2.19.1. Settings are its own.
    OpenSearch,
    /// 8.17.0 with data streams and time series indices, without what only a distribution has: see
    /// `tests/services/elasticsearch`. Settings are its own.
    Elasticsearch,
}

const PROMETHEUS_CONFIG: &str = "storage: {tsdb: {out_of_order_time_window: 30m}}\n";

impl DatabaseKind {
    pub const ALL: [DatabaseKind; 5] = [
        DatabaseKind::InfluxDb,
        DatabaseKind::VictoriaMetrics,
        DatabaseKind::Prometheus,
        DatabaseKind::OpenSearch,
        DatabaseKind::Elasticsearch,
    ];

    /// What `tests/services/fetch.sh` calls it.
    fn item(self) -> &'static str {
        match self {
            DatabaseKind::InfluxDb => "influxdb",
            DatabaseKind::VictoriaMetrics => "victoria-metrics",
            DatabaseKind::Prometheus => "prometheus",
            DatabaseKind::OpenSearch => "opensearch-2.19.1",
            DatabaseKind::Elasticsearch => "elasticsearch-8.17.0",
        }
    }

    /// Answers 2xx as soon as the server takes requests.
    fn ready_path(self) -> &'static str {
        match self {
            DatabaseKind::InfluxDb => "/ping",
            DatabaseKind::VictoriaMetrics => "/health",
            DatabaseKind::Prometheus => "/-/ready",
            DatabaseKind::OpenSearch | DatabaseKind::Elasticsearch => {
                "/_cluster/health?wait_for_status=yellow&timeout=1s"
            }
        }
    }

    /// `data` exists, and is all that outlives the process.
    fn command(self, port: u16, data: &Path, settings: &[(String, String)]) -> Command {
        let files = fetch(self.item());
        match self {
            DatabaseKind::InfluxDb => influxdb(&files, port, data, settings),
            DatabaseKind::VictoriaMetrics => victoria_metrics(&files, port, data, settings),
            DatabaseKind::Prometheus => prometheus(&files, port, data, settings),
            DatabaseKind::OpenSearch => opensearch(&files, port, data, settings),
            DatabaseKind::Elasticsearch => elasticsearch(&files, port, data, settings),
        }
    }
}

fn influxdb(files: &Path, port: u16, data: &Path, settings: &[(String, String)]) -> Command {
    let mut influxd = command(files.join("usr/bin/influxd"));
    influxd
        .args(["run", "-config", "/dev/null"])
        .env("INFLUXDB_BIND_ADDRESS", "127.0.0.1:0")
        .env("INFLUXDB_HTTP_BIND_ADDRESS", format!("127.0.0.1:{port}"))
        .env("INFLUXDB_META_DIR", data.join("meta"))
        .env("INFLUXDB_DATA_DIR", data.join("data"))
        .env("INFLUXDB_DATA_WAL_DIR", data.join("wal"))
        .env("INFLUXDB_HTTP_LOG_ENABLED", "false")
        .env("INFLUXDB_MONITOR_STORE_ENABLED", "false")
        .env("INFLUXDB_REPORTING_DISABLED", "true")
        .envs(settings.iter().map(|(key, value)| (key, value)));
    influxd
}

fn victoria_metrics(
    files: &Path,
    port: u16,
    data: &Path,
    settings: &[(String, String)],
) -> Command {
    let mut victoria = command(files.join("usr/bin/victoria-metrics"));
    victoria
        .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
        .arg(format!("-storageDataPath={}", data.display()))
        .args(["-dedup.minScrapeInterval=1ms", "-retentionPeriod=100y"])
        .args(["-memory.allowedBytes=256MB"])
        .args(
            settings
                .iter()
                .map(|(key, value)| format!("-{key}={value}")),
        );
    victoria
}

fn prometheus(files: &Path, port: u16, data: &Path, settings: &[(String, String)]) -> Command {
    let given = settings.iter().find(|(key, _)| key == "config");
    let config = given.map_or(PROMETHEUS_CONFIG, |(_, text)| text);
    let file = data.join("prometheus.yml");
    std::fs::write(&file, config).unwrap();
    let mut prometheus = command(files.join("usr/bin/prometheus"));
    prometheus
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg(format!("--config.file={}", file.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            data.join("tsdb").display()
        ))
        .arg("--web.enable-remote-write-receiver");
    prometheus
}

fn opensearch(files: &Path, port: u16, data: &Path, settings: &[(String, String)]) -> Command {
    let classes = files.join("classes");
    let mut java = search_java();
    java.arg("-cp")
        .arg(format!("{}:{}/libs/*", classes.display(), files.display()))
        .args(["OpenSearchNode", &port.to_string()])
        .arg(data)
        .args(settings.iter().map(|(key, value)| format!("{key}={value}")));
    java
}

fn elasticsearch(files: &Path, port: u16, data: &Path, settings: &[(String, String)]) -> Command {
    let temporary = data.join("tmp");
    std::fs::create_dir_all(&temporary).unwrap();
    let mut java = search_java();
    java.arg(format!("-Djava.io.tmpdir={}", temporary.display()))
        .arg("--module-path")
        .arg(files.join("home/lib"))
        .arg("--add-modules=jdk.net,ALL-MODULE-PATH")
        .arg("--add-opens=org.apache.lucene.core/org.apache.lucene.store=ALL-UNNAMED")
        .arg("-cp")
        .arg(files.join("classes"))
        .args(["ElasticsearchNode", &port.to_string()])
        .arg(files.join("home"))
        .arg(data)
        .args(settings.iter().map(|(key, value)| format!("{key}={value}")));
    java
}

fn search_java() -> Command {
    let mut java = command("java");
    java.args([
        "-Xms512m",
        "-Xmx512m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
    ]);
    java
}

/// A running database. Dropping it kills it and deletes its data.
pub struct Database {
    kind: DatabaseKind,
    port: u16,
    settings: Vec<(String, String)>,
    process: Option<Process>,
    // Last: the directory is deleted after the process is dead.
    directory: Directory,
}

impl Database {
    /// One of its own, for a test that disturbs it.
    pub fn start(kind: DatabaseKind) -> Self {
        Self::start_with(kind, &[])
    }

    /// One of its own, with settings: see [`DatabaseKind`] for what they are.
    pub fn start_with(kind: DatabaseKind, settings: &[(&str, &str)]) -> Self {
        let settings = settings
            .iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned()));
        let mut database = Self {
            kind,
            port: free_port(),
            settings: settings.collect(),
            process: None,
            directory: Directory::new(kind.item()),
        };
        database.restart();
        database
    }

    /// One for the whole test run. Databases, indices and series need names of their own
    /// ([`super::unique`]).
    pub fn shared(kind: DatabaseKind) -> Shared<Self> {
        static ALL: [OnceLock<Database>; DatabaseKind::ALL.len()] =
            [const { OnceLock::new() }; DatabaseKind::ALL.len()];
        let place = DatabaseKind::ALL.iter().position(|&k| k == kind);
        let cell = &ALL[place.expect("ALL names every kind")];
        Shared::new(cell.get_or_init(|| Database::start(kind)))
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Where its data and its log are.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// GET, also of a path with a query.
    pub fn get(&self, path: &str) -> Response {
        self.send("GET", path, "", b"")
    }

    /// A request with a JSON body; an empty one for no body.
    pub fn json(&self, method: &str, path: &str, body: &str) -> Response {
        self.send(method, path, "application/json", body.as_bytes())
    }

    /// Any request.
    ///
    /// # Panics
    /// When the server does not answer; an answer of any status is returned.
    pub fn send(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Response {
        request(self.port, method, path, content_type, body)
            .unwrap_or_else(|e| panic!("{:?} does not answer {method} {path}: {e}", self.kind))
    }

    /// Ends it in order.
    pub fn stop(&mut self) {
        if let Some(process) = self.process.take() {
            process.stop();
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    /// Freezes it (SIGSTOP): connections stay open and nothing answers.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets a frozen one go on.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        self.process.as_ref().expect("it runs").signal(name);
    }

    /// Starts it with its data and on its port, unless it runs.
    pub fn restart(&mut self) {
        if self.process.is_some() {
            return;
        }
        let data = self.path().join("data");
        std::fs::create_dir_all(&data).unwrap();
        let command = self.kind.command(self.port, &data, &self.settings);
        let log = self.path().join("server.log");
        let mut process = Process::start(self.kind.item(), command, &log);
        process.wait_ready(START_LIMIT, || {
            let path = self.kind.ready_path();
            match request(self.port, "GET", path, "", b"") {
                Ok(answer) if (200..300).contains(&answer.status) => Ok(()),
                Ok(answer) => Err(format!("status {}: {}", answer.status, answer.body)),
                Err(e) => Err(e.to_string()),
            }
        });
        self.process = Some(process);
    }
}

impl Shareable for Database {
    fn directory(&self) -> &Directory {
        &self.directory
    }
}
