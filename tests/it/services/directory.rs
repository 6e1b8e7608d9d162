//! The servers' temporary directories.
//!
//! Deleted when the server is dropped; kept and named when that happens in a failing test. Shared
//! servers are never dropped, and a process may be killed: a small script
//! (`tests/services/reaper.sh`) that outlives the test process deletes what is left.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};

/// A temporary directory of one server.
pub struct Directory {
    path: PathBuf,
    kept: AtomicBool,
}

impl Directory {
    pub fn new(server: &str) -> Self {
        let path = tempfile::Builder::new()
            .prefix(&format!("lagline-{server}-"))
            .tempdir()
            .expect("the temporary directory can be written")
            .keep();
        tell_reaper("add", &path);
        Self {
            path,
            kept: AtomicBool::new(false),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps the directory and says where it is. For a test that failed.
    pub fn keep(&self) {
        if !self.kept.swap(true, Ordering::Relaxed) {
            tell_reaper("keep", &self.path);
            eprintln!("the server's directory is kept: {}", self.path.display());
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep();
        }
        if !self.kept.load(Ordering::Relaxed) {
            // What cannot be deleted now, the reaper deletes.
            drop(std::fs::remove_dir_all(&self.path));
        }
    }
}

#[allow(
    clippy::zombie_processes,
    reason = "the reaper waits for the end of this process, not the other way round"
)]
fn tell_reaper(verb: &str, path: &Path) {
    static REAPER: OnceLock<Mutex<ChildStdin>> = OnceLock::new();
    let reaper = REAPER.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services/reaper.sh");
        let child = Command::new("sh")
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh runs tests/services/reaper.sh");
        Mutex::new(child.stdin.expect("the script's input is a pipe"))
    });
    let mut input = reaper.lock().unwrap();
    writeln!(input, "{verb} {}", path.display()).expect("the reaper listens");
}
