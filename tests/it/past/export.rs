//! `lagline export`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use lagline::points::{Measurement, OwnedPoint, read_json};

use super::{COVERED, HOUR, Past, STEP, done, lagline, points, sorted, start};

fn read(text: &str) -> Vec<OwnedPoint> {
    let point = |line: &str| read_json(&serde_json::from_str(line).unwrap()).unwrap();
    sorted(text.lines().map(point).collect())
}

#[tokio::test]
async fn everything_that_sinks_got_comes_out_beside_a_running_lagline_and_without_one() {
    let past = Past::new().await;
    let file = past.file();
    let arguments = [
        "export",
        "--store",
        file.to_str().unwrap(),
        "--format",
        "jsonl",
    ];
    let expected = past.points();
    let text = done(&lagline(&arguments));
    assert!(read(&text) == expected, "beside a running one");
    // The lines of one series are in the order of time.
    let mut last: BTreeMap<String, _> = BTreeMap::new();
    for point in text.lines().map(|line| read(line).remove(0)) {
        let series = format!("{:?} {:?}", point.measurement, point.tags);
        let before = last.insert(series, point.at);
        assert!(before.is_none_or(|before| before < point.at));
    }
    let (directory, frames) = past.stop().await;
    assert!(
        read(&done(&lagline(&arguments))) == points(&frames),
        "without one"
    );

    // Where what a reader needs beside a writer cannot be made.
    let copy = directory.path().join("copy.db");
    std::fs::copy(&file, &copy).unwrap();
    std::fs::create_dir(directory.path().join("copy.db-shm")).unwrap();
    let copied = [
        "export",
        "--store",
        copy.to_str().unwrap(),
        "--format",
        "jsonl",
    ];
    assert!(
        read(&done(&lagline(&copied))) == points(&frames),
        "of a copy"
    );
}

#[tokio::test]
async fn a_table_has_what_is_asked_for() {
    let past = Past::new().await;
    let config = past.path().join("lagline.toml");
    let text = format!(
        "[store]\npath = \"{}\"\n[clusters.c.kafka]\nbootstrap_servers = [\"k:9092\"]\n",
        past.file().display()
    );
    std::fs::write(&config, text).unwrap();
    let config = config.to_str().unwrap();
    let (from, to) = (start().plus(HOUR - STEP), start().plus(HOUR + STEP));
    let (from_ms, to_ms) = (from.as_ms().to_string(), to.as_ms().to_string());
    let range = [
        "export", "--config", config, "--from", &from_ms, "--to", &to_ms,
    ];
    let output = past.path().join("out.csv");
    let more = [
        "--cluster",
        "prod",
        "--group",
        "payments",
        "--measurement",
        "group",
    ];
    let to_file = ["--output", output.to_str().unwrap()];
    let printed = done(&lagline(&[&range[..], &more[..], &to_file[..]].concat()));
    assert_eq!(printed, "");
    let table = std::fs::read_to_string(output).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    // Twelve beats into the first hour and one into the second: two beats lie in the range.
    let beat = |at: i64| format!("kafka_lag_group,{at},prod,payments,");
    assert_eq!(lines.len(), 3, "{table}");
    assert!(lines[0].starts_with("measurement,beat_ms,cluster,group,lag,"));
    assert!(lines[1].starts_with(&beat(from.as_ms())));
    assert!(lines[2].starts_with(&beat(start().plus(HOUR).as_ms())));

    let table = done(&lagline(&[&range[..], &["--group", "payments"]].concat()));
    let count = |measurement: Measurement| {
        let begin = format!("{},", measurement.name());
        table
            .lines()
            .filter(|line| line.starts_with(&begin))
            .count()
    };
    // Two beats of a group with one topic and two partitions with commits, and no topic's offsets.
    assert_eq!(COVERED.map(count), [2, 2, 4, 0]);
}

#[tokio::test]
async fn a_reader_that_has_enough_ends_it_quietly() {
    let past = Past::new().await;
    let mut export = Command::new(env!("CARGO_BIN_EXE_lagline"))
        .args(["export", "--store", past.file().to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    let mut out = BufReader::with_capacity(16, export.stdout.take().unwrap());
    out.read_line(&mut first).unwrap();
    assert!(first.starts_with("measurement,"));
    drop(out);
    let mut errors = String::new();
    export
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut errors)
        .unwrap();
    assert!(export.wait().unwrap().success());
    assert_eq!(errors, "");
}

#[test]
fn what_cannot_be_done_is_said_with_the_next_step() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("nothing.db");
    let file = file.to_str().unwrap();
    for (arguments, code, expected) in [
        (&["export"][..], 2, "give --config FILE or --store FILE"),
        (&["export", "--store", file], 1, "check [store] path"),
        (
            &["export", "--store", file, "--format", "xml"],
            2,
            "possible values: csv, jsonl",
        ),
    ] {
        let output = lagline(arguments);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{errors}");
        assert!(errors.contains(expected), "{errors}");
    }
}
