//! The built program, as a user runs it: one process with a configuration file, asked over HTTP.
//!
//! ```ignore
//! let mut lagline = Lagline::watch("c", &kafka.bootstrap());
//! lagline.ready();
//! lagline.group_status("c", "billing"); // Some("OK")
//! lagline.kill9();
//! lagline.restart(); // same directory: same store
//! ```
//!
//! The beat and the poll of end offsets are one second, so that a test sees many of them. It dies
//! with the test process. Waiting polls a condition; a failure shows the end of the program's log.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::services::directory::Directory;
use crate::services::http::{Response, request_with};
use crate::services::process::{Process, command};
use crate::services::wait;

/// Far more than anything here takes on an idle machine.
pub const LIMIT: Duration = Duration::from_secs(90);

const LISTEN: &str = "listen = \"127.0.0.1:0\"\n";

/// A running lagline. Dropping it kills it; its directory is kept when the test fails.
pub struct Lagline {
    process: Option<Process>,
    port: u16,
    // Last: the directory is deleted after the process is dead.
    directory: Directory,
}

impl Lagline {
    /// Watches one cluster, keeps its history in a store.
    pub fn watch(cluster: &str, bootstrap: &str) -> Self {
        Self::start(&cluster_config(cluster, bootstrap))
    }

    /// Starts with these tables after the common ones (`interval`, `[server]`, `[rules]`,
    /// `[store]`), and waits until it answers. `{dir}` becomes its directory.
    pub fn start(tables: &str) -> Self {
        Self::start_server(LISTEN, tables)
    }

    /// Starts with these lines as the table `[server]`; they say where to listen.
    pub fn start_server(server: &str, tables: &str) -> Self {
        let directory = Directory::new("program");
        let config = format!(
            "interval = \"1s\"\n[server]\n{server}[rules]\noffset_refresh = \"1s\"\n\
             [store]\npath = \"{{dir}}/lagline.db\"\n{tables}"
        );
        let config = config.replace("{dir}", &directory.path().display().to_string());
        let mut lagline = Self {
            process: None,
            port: 0,
            directory,
        };
        std::fs::write(lagline.config_file(), config).unwrap();
        lagline.restart();
        lagline
    }

    /// Where its configuration, store and log are.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// What it has logged since it was first started.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn config_file(&self) -> PathBuf {
        self.path().join("lagline.toml")
    }

    fn log_file(&self) -> PathBuf {
        self.path().join("lagline.log")
    }

    /// Starts it again, with the same store, and waits until it answers. The port is another one.
    pub fn restart(&mut self) {
        let before = self.log().len();
        self.launch();
        let mut process = self.process.take().expect("it was launched");
        self.port = process.wait_ready(LIMIT, || {
            let log = self.log();
            let line = log[before..]
                .lines()
                .find(|line| line.contains(" started "));
            let line = line.ok_or("it has not said that it started")?;
            let (_, rest) = line.split_once("address=").ok_or("no address is said")?;
            let port = rest.split(' ').next().and_then(|a| a.rsplit(':').next());
            port.and_then(|port| port.parse().ok())
                .ok_or_else(|| format!("no port in {line}"))
        });
        self.process = Some(process);
    }

    /// Starts it again and waits for nothing: for a test that kills it before it answers.
    pub fn launch(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        let mut program = command(env!("CARGO_BIN_EXE_lagline"));
        program
            .args(["run", "--config"])
            .arg(self.config_file())
            .env("NO_COLOR", "1");
        self.process = Some(Process::start("lagline", program, &self.log_file()));
    }

    /// Changes the configuration for the next start.
    pub fn reconfigure(&self, change: impl FnOnce(&str) -> String) {
        let config = std::fs::read_to_string(self.config_file()).unwrap();
        std::fs::write(self.config_file(), change(&config)).unwrap();
    }

    /// SIGKILL.
    pub fn kill9(&mut self) {
        self.process.take().expect("it runs").kill();
    }

    /// SIGTERM, then waits for its end.
    pub fn stop(&mut self) {
        self.process.take().expect("it runs").stop();
    }

    /// Waits until `/ready` says so.
    pub fn ready(&self) {
        wait::until_ok("lagline is ready", LIMIT, || {
            let answer = self.ask("/ready")?;
            match answer.status {
                200 => Ok(()),
                _ => Err(answer.body),
            }
        });
    }

    /// The JSON that a path answers, whatever the status.
    ///
    /// # Panics
    /// When it does not answer, with the end of its log.
    pub fn get(&self, path: &str) -> Value {
        self.ask(path)
            .unwrap_or_else(|why| panic!("{path}: {why}\n{}", self.log()))
            .json()
    }

    /// The value of a series at `/metrics`; none when it is not there.
    pub fn metric(&self, series: &str) -> Option<u64> {
        let text = self.ask("/metrics").expect("it answers").body;
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        Some(value.parse().expect("a whole number"))
    }

    /// Sends any request.
    ///
    /// # Panics
    /// When it does not answer, with the end of its log.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        request_with(self.port, method, path, headers, body.as_bytes())
            .unwrap_or_else(|why| panic!("{method} {path}: {why}\n{}", self.log()))
    }

    fn ask(&self, path: &str) -> Result<Response, String> {
        request_with(self.port, "GET", path, &[], b"").map_err(|e| e.to_string())
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The groups of a cluster at its latest evaluation, as `/api/v1/groups` gives them.
    pub fn groups(&self, cluster: &str) -> Vec<Value> {
        let answer = self.get(&format!("/api/v1/groups?cluster={cluster}"));
        answer["groups"]
            .as_array()
            .expect("a list of groups")
            .clone()
    }

    /// One group at the latest evaluation; none when it is not known (yet).
    pub fn group(&self, cluster: &str, group: &str) -> Option<Value> {
        let groups = self.groups(cluster);
        groups.into_iter().find(|g| g["group"] == group)
    }

    /// A group's status; none when the group is not known (yet).
    pub fn group_status(&self, cluster: &str, group: &str) -> Option<String> {
        let group = self.group(cluster, group)?;
        Some(group["status"].as_str().expect("a status").to_owned())
    }

    /// Waits until a group is as `is_so` wants it.
    pub fn until_group(
        &self,
        cluster: &str,
        group: &str,
        what: &str,
        mut is_so: impl FnMut(&Value) -> bool,
    ) -> Value {
        wait::until_ok(&format!("{group} {what}"), LIMIT, || {
            match self.group(cluster, group) {
                Some(seen) if is_so(&seen) => Ok(seen),
                Some(seen) => Err(format!("it is {seen}")),
                None => Err(format!("it is not there; health {}", self.get("/health"))),
            }
        })
    }

    /// Looks at a group at every beat, until `beats` of them were seen.
    ///
    /// # Panics
    /// When the group is gone.
    pub fn each_beat(
        &self,
        cluster: &str,
        group: &str,
        beats: usize,
        mut look: impl FnMut(&Value),
    ) {
        let mut last = Value::Null;
        let mut seen = 0;
        wait::until(&format!("{beats} beats of {cluster}"), LIMIT, || {
            let row = self.group(cluster, group);
            let row = row.unwrap_or_else(|| panic!("{group} is gone; {}", self.get("/health")));
            if row["beat_ms"] != last {
                look(&row);
                last = row["beat_ms"].clone();
                seen += 1;
            }
            seen >= beats
        });
    }

    /// A cluster's part of `/health`.
    pub fn cluster_health(&self, cluster: &str) -> Value {
        let health = self.get("/health");
        let clusters = health["clusters"].as_array().expect("a list of clusters");
        let found = clusters.iter().find(|c| c["cluster"] == cluster);
        found.expect("a cluster that is configured").clone()
    }

    /// Waits until a cluster's part of `/health` is as `is_so` wants it.
    pub fn until_health(&self, cluster: &str, what: &str, is_so: impl Fn(&Value) -> bool) {
        wait::until_ok(&format!("{cluster} {what}"), LIMIT, || {
            let health = self.cluster_health(cluster);
            if is_so(&health) {
                return Ok(());
            }
            Err(health.to_string())
        });
    }
}

/// The table of one cluster.
pub fn cluster_config(cluster: &str, bootstrap: &str) -> String {
    format!("[clusters.{cluster}.kafka]\nbootstrap_servers = {:?}\n", {
        bootstrap.split(',').collect::<Vec<_>>()
    })
}
