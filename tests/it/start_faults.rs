//! The program that cannot start: what it says, how it ends, and that nothing was begun.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

use crate::lagline::LIMIT;
use crate::services::directory::Directory;
use crate::services::process::command;
use crate::services::wait;

const CLUSTER: &str = "[clusters.c.kafka]\nbootstrap_servers = [\"127.0.0.1:1\"]\n";

/// How a run ended: its exit code, and what it said on standard error.
struct Ended {
    code: Option<i32>,
    said: String,
}

impl Ended {
    /// One line that holds all of `words`, and exit code 1.
    #[track_caller]
    fn is_one_sentence(&self, words: &[&str]) {
        let said = self.said.trim_end();
        assert_eq!(self.code, Some(1), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        for word in words {
            assert!(said.contains(word), "{word} in: {said}");
        }
    }
}

/// Runs with a configuration file until it ends by itself.
fn run(config: &Path) -> Ended {
    let mut program = command(env!("CARGO_BIN_EXE_lagline"));
    program
        .args(["--log", "error", "run", "--config"])
        .arg(config)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = program.spawn().unwrap();
    wait::until("lagline ends by itself", LIMIT, || {
        child.try_wait().unwrap().is_some()
    });
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"", "nothing for scripts");
    Ended {
        code: output.status.code(),
        said: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs with these tables, with a store beside them.
fn run_with(directory: &Directory, tables: &str) -> Ended {
    let file = directory.path().join("lagline.toml");
    let store = directory.path().join("lagline.db");
    let text = format!("[store]\npath = {store:?}\n{tables}");
    std::fs::write(&file, text).unwrap();
    let ended = run(&file);
    assert!(!store.exists(), "nothing was begun");
    ended
}

#[test]
fn every_problem_of_a_configuration_is_said_at_once_and_nothing_is_started() {
    let directory = Directory::new("faults");
    let tables = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nburow_metrics = true\n\
         {CLUSTER}strat = \"latest\"\n[sinks.lines.jsonl]\npath = 5\n"
    );
    let ended = run_with(&directory, &tables);
    assert_eq!(ended.code, Some(2), "{}", ended.said);
    for words in [
        "lagline.toml:5",
        "burrow_metrics",
        "lagline.toml:8",
        "start",
        "lagline.toml:10",
        "3 problems; nothing was started",
    ] {
        assert!(ended.said.contains(words), "{words} in: {}", ended.said);
    }
}

#[test]
fn a_port_that_is_taken_ends_the_start_with_one_sentence() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = Directory::new("faults");
    let ended = run_with(
        &directory,
        &format!("[server]\nlisten = \"{address}\"\n{CLUSTER}"),
    );
    ended.is_one_sentence(&[&address, "choose another server.listen"]);
}

#[test]
fn a_file_that_cannot_be_read_ends_the_start_with_one_sentence() {
    let directory = Directory::new("faults");
    let missing = directory.path().join("missing.toml");
    run(&missing).is_one_sentence(&["missing.toml", "No such file"]);
    run(directory.path()).is_one_sentence(&["cannot read", "Is a directory"]);
}

#[test]
fn a_directory_that_cannot_be_written_ends_the_start_with_one_sentence() {
    let directory = Directory::new("faults");
    let file = directory.path().join("lagline.toml");
    // Not even the superuser makes files there.
    for store in ["/proc/lagline.db", "/proc/1/missing/lagline.db"] {
        let text =
            format!("[server]\nlisten = \"127.0.0.1:0\"\n[store]\npath = \"{store}\"\n{CLUSTER}");
        std::fs::write(&file, text).unwrap();
        run(&file).is_one_sentence(&[store]);
    }
}
