//! A real Burrow: Debian's 1.2.1, with the ZooKeeper that it wants.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use super::directory::Directory;
use super::fetch;
use super::http::{Response, request, request_with};
use super::port::free_port;
use super::process::{Process, command};

const START_LIMIT: Duration = Duration::from_secs(90);

/// A running Burrow that watches one cluster. Dropping it kills it.
pub struct Burrow {
    port: u16,
    _burrow: Process,
    _zookeeper: Process,
    // Last: the directory is deleted after the processes are dead.
    _directory: Directory,
}

impl Burrow {
    /// Watches the Kafka at `bootstrap` as `cluster`, polling end offsets and topics every second,
    /// and waits until it answers.
    pub fn watch(cluster: &str, bootstrap: &str) -> Self {
        let directory = Directory::new("burrow");
        let zookeeper_port = free_port();
        let mut zookeeper = zookeeper(zookeeper_port, directory.path());
        zookeeper.wait_ready(START_LIMIT, || {
            let answer = ask_zookeeper(zookeeper_port).map_err(|e| e.to_string())?;
            let is_serving = answer.contains("Mode: ");
            is_serving.then_some(()).ok_or(answer)
        });
        let port = free_port();
        let config = config(cluster, bootstrap, port, zookeeper_port, directory.path());
        std::fs::write(directory.path().join("burrow.toml"), config).unwrap();
        let mut burrow = command(fetch("burrow").join("usr/bin/Burrow"));
        burrow.arg("--config-dir").arg(directory.path());
        let mut burrow = Process::start("burrow", burrow, &directory.path().join("output.log"));
        burrow.wait_ready(START_LIMIT, || {
            let path = format!("/v3/kafka/{cluster}/consumer");
            match request(port, "GET", &path, "", b"") {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(answer.body),
                Err(e) => Err(e.to_string()),
            }
        });
        Self {
            port,
            _burrow: burrow,
            _zookeeper: zookeeper,
            _directory: directory,
        }
    }

    /// Sends any request.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        request_with(self.port, method, path, headers, body.as_bytes())
            .unwrap_or_else(|e| panic!("Burrow does not answer {method} {path}: {e}"))
    }
}

/// Kafka 3.9 still brings ZooKeeper's jar.
fn zookeeper(port: u16, directory: &Path) -> Process {
    let mut java = command("java");
    java.args(["-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        .arg("-Dzookeeper.admin.enableServer=false")
        .arg("-cp")
        .arg(format!("{}/libs/*", fetch("kafka-3.9.2").display()))
        .arg("org.apache.zookeeper.server.ZooKeeperServerMain")
        .arg(port.to_string())
        .arg(directory.join("zookeeper"));
    Process::start("zookeeper", java, &directory.join("zookeeper.log"))
}

/// Its port is open before it serves.
fn ask_zookeeper(port: u16) -> io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"srvr")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The newest protocol that 1.2.1 knows is that of Kafka 2.0.
fn config(
    cluster: &str,
    bootstrap: &str,
    port: u16,
    zookeeper_port: u16,
    directory: &Path,
) -> String {
    let directory = directory.display();
    format!(
        r#"[general]
pidfile = "{directory}/burrow.pid"
access-control-allow-origin = "https://ops.example"
[logging]
filename = "{directory}/burrow.log"
level = "info"
[zookeeper]
servers = ["127.0.0.1:{zookeeper_port}"]
[client-profile.profile]
kafka-version = "2.0.0"
[cluster.{cluster}]
class-name = "kafka"
servers = ["{bootstrap}"]
client-profile = "profile"
topic-refresh = 1
offset-refresh = 1
[consumer.{cluster}]
class-name = "kafka"
cluster = "{cluster}"
servers = ["{bootstrap}"]
client-profile = "profile"
[httpserver.default]
address = "127.0.0.1:{port}"
[storage.default]
class-name = "inmemory"
intervals = 10
min-distance = 0
[evaluator.default]
class-name = "caching"
expire-cache = 1
"#
    )
}
