//! `lagline backfill`: a sink that is given the past has what one has that was there all along.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lagline::app::build_sink;
use lagline::clock::{Clock, Timestamp};
use lagline::config::{self, Config, ServerSettings};
use lagline::points::{Measurement, OwnedPoint, read_json};
use lagline::server::{self, LogLevel, SinkHandle};
use lagline::sinks::delivery::SinkHealth;
use lagline::sinks::elasticsearch::Mode;
use lagline::store::frame::{Cursor, Frame, Hole, Missing, Seq};
use lagline::store::history::replay::Archive;
use serde_json::Value as Json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{COVERED, LIMIT, Past, STEP, done, lagline, points, sorted};
use crate::services::process::{Process, command};
use crate::services::{Database, DatabaseKind, wait};
use crate::sink_faults::proxy::{Fault, Proxy};
use crate::{elasticsearch, influxdb, sink_contract};

/// The configuration of a lagline with these sinks; gives its file, too.
fn configured(past: &Past, sinks: &str) -> (PathBuf, Config) {
    let text = format!(
        "interval = \"{}s\"\n[store]\npath = \"{}\"\n[clusters.c.kafka]\n\
         bootstrap_servers = [\"k:9092\"]\n{sinks}",
        STEP.as_secs(),
        past.file().display()
    );
    let file = past.path().join("lagline.toml");
    fs::write(&file, &text).unwrap();
    let read = |path: &std::path::Path| fs::read_to_string(path);
    let config = config::load(&text, "lagline.toml", &|_| None, &read).unwrap();
    (file, config)
}

/// Delivers the frames as they come, with the delivery of a running lagline.
async fn all_along(config: &Config, sink: &str, frames: &[Arc<Frame>]) {
    let configured = &config.sinks[sink];
    let object = build_sink(&configured.kind).unwrap();
    let (kept, from) = (Arc::new(Mutex::default()), Cursor::default());
    let settings = configured.delivery.clone();
    let (worker, mut health) = sink_contract::worker_with(object, frames, &kept, from, settings);
    let last = frames.last().unwrap().seq;
    let is_done = |health: &SinkHealth| health.settled.seq == last;
    tokio::select! {
        () = worker.run() => panic!("nobody told it to stop"),
        health = tokio::time::timeout(LIMIT, health.wait_for(is_done)) => {
            let counts = health.expect("delivered in time").unwrap().settled.counts.clone();
            assert_eq!(counts.offered, counts.delivered + counts.filtered, "{counts:?}");
        }
    }
}

fn covered() -> impl Iterator<Item = Measurement> {
    COVERED.into_iter()
}

/// All points of a database, as InfluxDB gives them.
fn in_influxdb(server: &Database, name: &str) -> Vec<Json> {
    let of = |measurement: Measurement| {
        let text = format!("SELECT * FROM \"{}\" GROUP BY *", measurement.name());
        influxdb::query(server, name, &text)
    };
    covered().map(of).collect()
}

fn count(answers: &[Json]) -> usize {
    let series = answers.iter().flat_map(|answer| {
        let series = answer["results"][0]["series"].as_array();
        series.cloned().unwrap_or_default()
    });
    series
        .map(|it| it["values"].as_array().unwrap().len())
        .sum()
}

#[tokio::test]
async fn an_empty_influxdb_gets_what_one_has_that_was_there_all_along() {
    let server = Database::shared(DatabaseKind::InfluxDb);
    let names = ["along", "late", "killed"].map(|_| influxdb::created(&server, ""));
    let past = Past::new().await;
    let sink = |name: &str, database: &str| {
        format!(
            "[sinks.{name}.influxdb]\nurl = \"{}\"\nv1 = {{ database = \"{database}\" }}\n\
             [sinks.{name}.influxdb.delivery]\nmax_points = 100\n",
            server.url()
        )
    };
    let tables: String = (["along", "late", "killed"].iter().zip(&names))
        .map(|(name, database)| sink(name, database))
        .collect();
    let (file, config) = configured(&past, &tables);
    all_along(&config, "along", &past.frames).await;
    let expected = in_influxdb(&server, &names[0]);
    let all = past.points().len();
    assert_eq!(count(&expected), all);

    let file = file.to_str().unwrap();
    let backfill = |name| lagline(&["backfill", "--config", file, "--sink", name]);
    let counted = lagline(&["backfill", "--config", file, "--sink", "late", "--dry-run"]);
    let words = |sink: &str| {
        let all = format!("{},{:03}", all / 1000, all % 1000);
        format!("{sink}: {all} points written\n")
    };
    assert_eq!(done(&counted), words("late").replace(" written", ""));
    assert_eq!(count(&in_influxdb(&server, &names[1])), 0, "only counted");
    let first = backfill("late");
    assert_eq!(done(&first), words("late"));
    let said = String::from_utf8_lossy(&first.stderr);
    assert!(said.contains("history has no kafka_cluster"), "{said}");
    assert!(said.contains("InfluxDB: once"), "{said}");
    assert!(
        in_influxdb(&server, &names[1]) == expected,
        "the same points"
    );
    // Nothing of it was left over, so that the same again is the same again.
    assert_eq!(done(&backfill("late")), words("late"));
    assert!(in_influxdb(&server, &names[1]) == expected, "and again");

    let mut slow = command(env!("CARGO_BIN_EXE_lagline"));
    slow.args([
        "backfill", "--config", file, "--sink", "killed", "--rate", "500",
    ]);
    let slow = Process::start("backfill", slow, &past.path().join("backfill.log"));
    let state = past.path().join("lagline.db.backfill/killed.json");
    let written = || -> Option<u64> {
        let contents: Json = serde_json::from_slice(&fs::read(&state).ok()?).ok()?;
        contents["run"]["written"].as_u64()
    };
    wait::until("some points are written", LIMIT, || {
        written().is_some_and(|written| written > 100)
    });
    slow.kill();
    let found = count(&in_influxdb(&server, &names[2]));
    assert!(found > 0 && found < all, "{found} of {all} points");
    let rest = backfill("killed");
    assert_eq!(done(&rest).split(' ').next(), Some("killed:"));
    let said = String::from_utf8_lossy(&rest.stderr);
    assert!(said.contains("killed: goes on behind"), "{said}");
    assert!(
        in_influxdb(&server, &names[2]) == expected,
        "killed in between"
    );
    assert_eq!(written(), None, "nothing is left");
}

/// What the server says to some writes, one after the other.
const ANSWERS: [Fault; 4] = [
    Fault::Answer("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"),
    Fault::Answer("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"),
    Fault::Answer("HTTP/1.1 413 Request Entity Too Large\r\nContent-Length: 0\r\n\r\n"),
    Fault::CutAfter,
];

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_refuses_for_now_is_sent_again() {
    let server = Database::shared(DatabaseKind::InfluxDb);
    let proxy = Proxy::before(&server).await;
    proxy.faults.lock().unwrap().next.extend(ANSWERS);
    let database = influxdb::created(&server, "");
    let past = Past::new().await;
    let table = format!(
        "[sinks.failing.influxdb]\nurl = \"{}\"\nv1 = {{ database = \"{database}\" }}\n\
         [sinks.failing.influxdb.delivery]\nmax_points = 500\n",
        proxy.address
    );
    let (file, _) = configured(&past, &table);
    let arguments = ["backfill", "--config", file.to_str().unwrap(), "--sink"];
    let printed = done(&lagline(&[&arguments[..], &["failing"]].concat()));
    assert!(!printed.contains("refused"), "{printed}");
    assert!(proxy.faults.lock().unwrap().next.is_empty(), "all were met");
    assert_eq!(count(&in_influxdb(&server, &database)), past.points().len());
}

/// All documents of a namespace, without its name.
fn in_elasticsearch(server: &Database, namespace: &str) -> Vec<Vec<String>> {
    let of = |measurement: Measurement| {
        let (_, dataset) = elasticsearch::DATASETS
            .into_iter()
            .find(|(of, _)| *of == measurement)
            .unwrap();
        let target = elasticsearch::target(Mode::Tsds, dataset, namespace);
        server
            .json("POST", &format!("/{target}/_refresh"), "")
            .accepted();
        let found = server
            .get(&format!("/{target}/_search?size=10000"))
            .accepted()
            .json();
        let hits = found["hits"]["hits"].as_array().unwrap();
        let document = |hit: &Json| hit["_source"].to_string().replace(namespace, "NAMESPACE");
        let mut documents: Vec<_> = hits.iter().map(document).collect();
        documents.sort_unstable();
        documents
    };
    covered().map(of).collect()
}

#[tokio::test]
async fn an_empty_elasticsearch_gets_what_one_has_that_was_there_all_along() {
    let server = Database::shared(DatabaseKind::Elasticsearch);
    let names = ["along", "late"].map(|_| elasticsearch::namespace());
    let past = Past::new().await;
    let tables: String = (["along", "late"].iter().zip(&names))
        .map(|(name, namespace)| {
            format!(
                "[sinks.{name}.elasticsearch]\nurls = [\"{}\"]\nmode = \"tsds\"\n\
                 namespace = \"{namespace}\"\n",
                server.url()
            )
        })
        .collect();
    let (file, config) = configured(&past, &tables);
    all_along(&config, "along", &past.frames).await;
    let expected = in_elasticsearch(&server, &names[0]);
    let all: usize = expected.iter().map(Vec::len).sum();
    assert_eq!(all, past.points().len());
    let arguments = [
        "backfill",
        "--config",
        file.to_str().unwrap(),
        "--sink",
        "late",
    ];
    for time in ["once", "and again"] {
        done(&lagline(&arguments));
        assert!(in_elasticsearch(&server, &names[1]) == expected, "{time}");
    }
}

/// What a file of JSON lines has, each point once.
fn in_file(path: &PathBuf) -> Vec<OwnedPoint> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: BTreeSet<&str> = text.lines().collect();
    let point = |line: &str| read_json(&serde_json::from_str(line).unwrap()).unwrap();
    sorted(lines.into_iter().map(point).collect())
}

fn hole(past: &Past, first: usize, last: usize) -> Hole {
    let seq = |number: usize| Seq(i64::try_from(number).unwrap());
    Hole {
        first: seq(first),
        last: seq(last),
        rows: past.frames[first - 1..last]
            .iter()
            .map(|frame| frame.rows)
            .sum(),
        after: Some(past.frames[first - 2].beat),
        before: past.frames[last].beat,
        why: Missing::Expired,
    }
}

/// `/api/v1/sinks` of a lagline that has this store.
async fn sinks(past: &Past, name: &str) -> Json {
    let handle = SinkHandle {
        name: name.to_owned(),
        kind: "jsonl",
        health: watch::channel(SinkHealth::default()).1,
    };
    let state = server::State::new(
        Vec::new(),
        vec![handle],
        past.store.clone(),
        ServerSettings::default(),
        Duration::from_secs(10),
        Clock::system(),
        LogLevel::new("info", |_| ()),
    );
    let listener = server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut serving = JoinSet::new();
    serving.spawn(server::serve(listener, Arc::new(state)));
    let answer = reqwest::get(format!("http://{address}/api/v1/sinks"))
        .await
        .unwrap();
    let mut answer: Json = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    answer["sinks"][0].take()
}

#[tokio::test]
async fn what_a_sink_has_missed_is_filled_once_and_shown() {
    let past = Past::new().await;
    let lines = past.path().join("lines.jsonl");
    let tables = format!("[sinks.lines.jsonl]\npath = \"{}\"\n", lines.display());
    let (file, _) = configured(&past, &tables);
    // In a sealed hour, and in the journal; two clusters share each beat. And one that is too old.
    let (sealed, journaled) = (hole(&past, 13, 20), hole(&past, 75, 76));
    let gone = Hole {
        first: Seq(100_001),
        last: Seq(100_009),
        ..sealed.clone()
    };
    for hole in [&sealed, &journaled, &gone] {
        past.store.stage_hole("lines", hole);
    }
    wait::until("the holes are in the file", LIMIT, || {
        Archive::open(&past.file())
            .unwrap()
            .holes("lines")
            .unwrap()
            .len()
            == 3
    });
    let letters = past.path().join("lagline.db.dead-letters");
    fs::create_dir(&letters).unwrap();
    fs::write(letters.join("lines.ndjson"), "{}\n{}\n").unwrap();
    let before = sinks(&past, "lines").await;
    assert_eq!(before["dead_letters"], 2);
    assert_eq!(before["dead_letters_bytes"], 6);
    assert!(
        before["holes"]
            .as_array()
            .unwrap()
            .iter()
            .all(|hole| hole["filled_ms"].is_null())
    );

    let arguments = [
        "backfill",
        "--config",
        file.to_str().unwrap(),
        "--sink",
        "lines",
        "--holes",
    ];
    let output = lagline(&arguments);
    done(&output);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("history has nothing of them: 1 holes"),
        "{said}"
    );
    // Of the sealed hour all frames of the hole's beats, of the journal the very frames.
    let of_sealed = &past.frames[10..22];
    let of_journal = &past.frames[74..76];
    let expected = points(&[of_sealed, of_journal].concat());
    assert!(in_file(&lines) == expected);

    let after = sinks(&past, "lines").await;
    let holes = after["holes"].as_array().unwrap();
    let filled: Vec<_> = holes
        .iter()
        .map(|hole| hole["filled_points"].as_u64())
        .collect();
    let count = |frames| Some(points(frames).len() as u64);
    assert_eq!(filled, [count(of_sealed), count(of_journal), None]);
    assert!(holes[0]["filled_ms"].as_i64() > Some(Timestamp::from_secs(1_700_000_000).as_ms()));
    // What is filled is not filled again.
    let again = lagline(&arguments);
    assert_eq!(done(&again), "lines: 0 points written\n");
    assert!(in_file(&lines) == expected);
}

#[tokio::test]
async fn what_cannot_be_done_is_said_with_the_next_step() {
    let server = Database::shared(DatabaseKind::InfluxDb);
    let past = Past::new().await;
    let table = format!(
        "[sinks.nowhere.influxdb]\nurl = \"{}\"\nv1 = {{ database = \"not there\" }}\n",
        server.url()
    );
    let (file, _) = configured(&past, &table);
    let file = file.to_str().unwrap();
    let begin = ["backfill", "--config", file, "--sink"];
    for (more, code, expected) in [
        (&["other"][..], 2, "no sink other; configured are: nowhere"),
        (
            &["nowhere", "--from", "-1h", "--holes"],
            2,
            "cannot be used with",
        ),
        (
            &["nowhere", "--from", "soon"],
            2,
            "--from soon: expected unix milliseconds",
        ),
        (
            &["nowhere", "--from", "-1h", "--to", "-2h"],
            2,
            "--from must be before --to",
        ),
        (&["nowhere"], 1, "the same command goes on from here"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_lagline"))
            .args(begin)
            .args(more)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(expected), "{said}");
    }
}
