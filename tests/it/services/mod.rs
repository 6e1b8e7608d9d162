//! One way to start each real server: a free private port, an own temporary directory, ready when
//! it is returned; `stop`, `kill` (SIGKILL) and `restart` with its data on the same port.
//!
//! ```ignore
//! let mut kafka = Kafka::start(KafkaVersion::V4); // its own, for tests that disturb it
//! kafka.kill();
//! kafka.restart();
//!
//! // One per test run: topics and groups get names by `unique("topic")`.
//! let kafka = Kafka::shared(KafkaVersion::V4);
//! let influxdb = Database::shared(DatabaseKind::InfluxDb);
//! assert_eq!(influxdb.get("/ping").status, 204);
//! ```
//!
//! What is fetched, and from where, is in `tests/services/fetch.sh`. A directory is deleted at the
//! end, kept and named when the test failed. Servers never outlive the test process, however it
//! ends (see `process`).
//!
//! Not here: what is asked of the servers. Clients and assertions belong to the tests.

mod burrow;
mod database;
pub mod directory;
pub mod http;
mod kafka;
mod port;
pub mod process;
mod shared;
pub mod wait;

pub use burrow::Burrow;
pub use database::{Database, DatabaseKind};
pub use kafka::{Kafka, KafkaVersion, SASL_PASSWORD, SASL_USER};
pub use shared::Shared;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

/// The directory with what `item` consists of, fetched unless the cache has it.
///
/// # Panics
/// When the script fails, with its words.
fn fetch(item: &str) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services/fetch.sh");
    let output = Command::new("bash")
        .arg(script)
        .arg(item)
        .stdin(Stdio::null())
        .output()
        .expect("bash runs tests/services/fetch.sh");
    assert!(
        output.status.success(),
        "cannot fetch {item}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

/// The directory with the certificates of the test authority; `tests/services/kafka/certificates.sh`
/// says which.
pub fn certificates() -> PathBuf {
    fetch("certificates")
}

/// A name that no other test of this run uses: `prefix-PID-N`.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}-{}-{n}", std::process::id())
}
