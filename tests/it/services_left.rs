//! The harness's own test: a test process that is killed leaves no server and no directory.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::services::{Database, DatabaseKind, wait};

/// Set for the process that is to be killed: the file in which it says what it started.
const VICTIM: &str = "LAGLINE_TEST_VICTIM";
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_killed_test_process_leaves_no_server_and_no_directory() {
    if let Some(report) = std::env::var_os(VICTIM) {
        be_the_victim(Path::new(&report));
    }
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("report");
    let test = "services_left::a_killed_test_process_leaves_no_server_and_no_directory";
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(VICTIM, &report)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (port, left) = wait::until_some("the victim has started a server", LIMIT, || {
        let text = fs::read_to_string(&report).ok()?;
        let (port, left) = text.trim_end().split_once(' ')?;
        Some((port.parse::<u16>().unwrap(), PathBuf::from(left)))
    });
    TcpStream::connect(("127.0.0.1", port)).expect("the victim's server runs");
    assert!(left.is_dir(), "the victim's directory is there");

    victim.kill().unwrap();
    victim.wait().unwrap();
    wait::until("the server and its directory are gone", LIMIT, || {
        TcpStream::connect(("127.0.0.1", port)).is_err() && !left.exists()
    });
}

fn be_the_victim(report: &Path) -> ! {
    let server = Database::start(DatabaseKind::VictoriaMetrics);
    let port = server.url().rsplit(':').next().unwrap().to_owned();
    let said = format!("{port} {}", server.path().display());
    // Under another name first: the one who reads sees all of it or nothing.
    let half = report.with_extension("half");
    fs::write(&half, said).unwrap();
    fs::rename(half, report).unwrap();
    loop {
        std::thread::park();
    }
}
