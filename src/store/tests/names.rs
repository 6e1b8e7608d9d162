//! Groups that come and go: their names go with the last thing that refers to them, not before.
//! And a process that is killed while it seals, deletes names and saves snapshots.

use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

use super::*;
use crate::lag::evaluation::Member;
use crate::lag::ids::GroupId;
use crate::store::codec::Encoded;
use crate::store::history::HOUR;
use crate::store::sample::busy;

const START: Timestamp = Timestamp::from_secs(1_767_225_600);

/// Beats of an hour.
const BEATS: u32 = 4;

/// Groups that live for an hour, and names that each of them brings.
const GROUPS: u32 = 6;
const NAMES: u64 = 61;

/// A name that is there in these hours only.
const BACK: &str = "comes-back";
const BACK_AT: [u32; 2] = [2, 100];

fn settings() -> StoreSettings {
    StoreSettings {
        tail_bytes: 0,
        journal_keep: 2 * HOUR,
        raw_keep: 6 * HOUR,
        rollup_5m_keep: 10 * HOUR,
        rollup_1h_keep: 30 * HOUR,
        ..StoreSettings::default()
    }
}

fn beat(n: u32) -> Timestamp {
    START.plus(HOUR / BEATS * n)
}

/// Beat number `n`: a group that stays, and some that live for an hour, with members of their own.
fn of_beat(n: u32) -> Arc<Evaluation> {
    let mut evaluation = (*busy(i64::from(n), 1, 4)).clone();
    evaluation.beat = beat(n);
    let lasting = Arc::clone(&evaluation.groups[0]);
    let hour = n / BEATS;
    let names = (0..GROUPS).map(|i| format!("console-consumer-{hour}-{i}"));
    let back = BACK_AT.contains(&hour).then(|| BACK.to_owned());
    for name in names.chain(back) {
        let member = |m: u32| Member {
            id: format!("{name}-{m}-id").into(),
            instance_id: None,
            client_id: format!("{name}-{m}-client").into(),
            client_host: format!("/{name}-{m}").into(),
        };
        let mut group = (*lasting).clone();
        group.id = GroupId::new(name.as_str());
        group.members = (0..20).map(member).collect();
        if n % BEATS == BEATS - 1 {
            group.status = Status::Warn;
        }
        evaluation.groups.push(Arc::new(group));
    }
    evaluation.groups.sort_by(|a, b| a.id.cmp(&b.id));
    Arc::new(evaluation)
}

async fn append_beat(store: &Store, n: u32) {
    let appended = store.append(vec![of_beat(n)], Vec::new(), beat(n)).await;
    assert!(appended.unwrap().skipped.is_empty());
}

/// Waits until everything up to beat `n` is sealed that can be.
async fn sealed(store: &Store, n: u32) {
    let end = beat(n).minus(Duration::from_secs(60)).aligned(HOUR);
    until("the hours are sealed", || {
        store.health().sealed_through == Some(end)
    })
    .await;
}

/// Every frame, every block, every rollup and every status change is there with its names, and no
/// beat is there twice. How many hours of history there are.
async fn check(store: &Store, path: &Path, newest: u32) -> usize {
    let mut reader = store.reader(store.before_oldest());
    while reader.rows_ahead() > 0 {
        let frame = next_frame(&mut reader).await;
        let n = u32::try_from(frame.beat.ms_since(START)).unwrap() / (3_600_000 / BEATS);
        let Body::Evaluation { changes, .. } = &frame.body else {
            panic!("an evaluation");
        };
        let expected = Body::Evaluation {
            evaluation: of_beat(n),
            changes: changes.clone(),
        };
        assert!(stored(&frame).body == stored_part(&expected), "beat {n}");
    }
    drop(reader);
    let mut history = store.history().unwrap().unwrap();
    let cluster = ClusterName::new("prod");
    let hours = history.sealed(&cluster, START, beat(newest + 1)).unwrap();
    for pair in hours.windows(2) {
        assert_eq!(pair[0].hour.plus(HOUR), pair[1].hour, "without a gap");
    }
    for hour in &hours {
        let first = u32::try_from(hour.hour.ms_since(START)).unwrap() / (3_600_000 / BEATS);
        let beats: Vec<_> = (first..first + BEATS).map(of_beat).collect();
        let expected: Vec<_> = beats[0]
            .groups
            .iter()
            .map(|group| group.id.shared())
            .collect();
        assert!(history.group_names(hour).unwrap().iter().eq(expected));
        for group in &beats[0].groups {
            let rows = history.group(hour, group.id.as_str()).unwrap();
            let found: Vec<_> = rows.iter().map(|(at, row)| (*at, &row.members)).collect();
            let expected: Vec<_> = beats.iter().map(|e| (e.beat, &group.members)).collect();
            assert!(found == expected, "{:?} at {:?}", group.id, hour.hour);
        }
    }
    drop(history);
    let file = rusqlite::Connection::open(path).unwrap();
    let count = |sql: &str| -> u32 { file.query_row(sql, [], |row| row.get(0)).unwrap() };
    for table in ["rollup_5m", "rollup_1h", "status_change"] {
        let nameless = format!(
            "SELECT count(*) FROM {table} AS t WHERE
                 NOT EXISTS (SELECT 1 FROM name WHERE id = t.cluster)
                 OR consumer_group > 0 AND NOT EXISTS (SELECT 1 FROM name WHERE id = consumer_group)
                 OR topic > 0 AND NOT EXISTS (SELECT 1 FROM name WHERE id = topic)"
        );
        assert_eq!(count(&nameless), 0, "{table}");
    }
    let wrong = format!("SELECT count(*) FROM rollup_1h WHERE beats <> {BEATS}");
    assert_eq!(count(&wrong), 0, "nothing is sealed twice, or by halves");
    hours.len()
}

#[tokio::test]
async fn names_of_groups_that_are_gone_go_and_all_history_stays_readable() {
    const HOURS: u32 = 130;
    let (_directory, path) = place();
    let mut running = Running::open(Some(&path), settings());
    let mut most_in_memory = 0;
    for n in 0..HOURS * BEATS {
        append_beat(&running.store, n).await;
        if n % (BEATS * 6) == 1 && n > BEATS {
            sealed(&running.store, n).await;
        }
        most_in_memory = most_in_memory.max(running.store.health().names_in_memory);
        if n == HOURS * BEATS / 2 {
            check(&running.store, &path, n).await;
            running.close().await;
            running = Running::open(Some(&path), settings());
        }
    }
    let store = &running.store;
    let newest = HOURS * BEATS - 1;
    sealed(store, newest).await;
    let each_hour = u64::from(GROUPS) * NAMES;
    // What is kept of beats, what stamps may be behind, and what is not sealed yet.
    let bound = (6 + 12 + 8) * each_hour;
    until("unused names are gone", || store.health().names < bound).await;
    let health = store.health();
    println!("{} names, {most_in_memory} in memory at most", health.names);
    assert!(most_in_memory < 16 * each_hour + 4096, "{most_in_memory}");
    assert!(health.gone.names.age > u64::from(HOURS / 2) * each_hour / 2);
    assert!(check(store, &path, newest).await >= 5);
    running.close().await;
    // Once more after a start, when nothing is in memory.
    let running = Running::open(Some(&path), settings());
    check(&running.store, &path, newest).await;
    running.close().await;
}

/// In the child's environment: the path of the store it writes.
const PATH: &str = "LAGLINE_TEST_SEALING_STORE";

/// Not a test by itself: appends beats and saves snapshots until it is killed.
#[tokio::test]
async fn child() {
    let Some(path) = std::env::var_os(PATH) else {
        return;
    };
    let running = Running::open(Some(Path::new(&path)), settings());
    let store = &running.store;
    let first = u32::try_from(store.newest().0).unwrap();
    for n in first.. {
        append_beat(store, n).await;
        let piece = |size| vec![n.to_le_bytes()[0]; size].into_boxed_slice();
        let parts = vec![piece(9000), piece(500), piece(70_000)];
        let saved = store.save_snapshot(&ClusterName::new("prod"), beat(n), Encoded { parts });
        if let Ok(saved) = saved {
            saved.await.unwrap().unwrap();
        }
        println!("\ndone {n}");
        std::io::stdout().flush().unwrap();
    }
}

fn start(path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::names::child", "--nocapture"])
        .env(PATH, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Lets the child work for some beats and a random while, and kills it: the last beat it called done.
fn run_and_kill(path: &Path, random: &mut fastrand::Rng) -> u32 {
    let mut child = start(path);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut done = None;
    let mut beats = random.usize(1..50);
    while beats > 0 {
        let line = lines.next().expect("the child goes on").unwrap();
        if let Some(n) = line.strip_prefix("done ") {
            done = Some(n.parse().unwrap());
            beats -= 1;
        }
    }
    // Some part of a beat later.
    let moment = Duration::from_micros(random.u64(0..8_000));
    let waited = crate::clock::Stopwatch::start();
    while waited.elapsed() < moment {
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    done.unwrap()
}

#[tokio::test]
async fn a_kill_while_sealing_saving_and_deleting_loses_and_doubles_nothing() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (_directory, path) = place();
    for round in 0..16 {
        let done = run_and_kill(&path, &mut random);
        let file = rusqlite::Connection::open(&path).unwrap();
        let (pieces, kinds): (u32, u32) = file
            .query_row(
                "SELECT count(*), count(DISTINCT substr(bytes, 1, 1)) FROM snapshot",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .unwrap();
        assert_eq!((pieces, kinds), (3, 1), "round {round}: a whole snapshot");
        drop(file);
        // Every other time the next child finds everything as the kill left it.
        if round % 2 == 1 {
            continue;
        }
        let running = Running::open(Some(&path), settings());
        let newest = u32::try_from(running.store.newest().0 - 1).unwrap();
        assert!(
            newest >= done,
            "round {round}: {newest} but {done} was done"
        );
        sealed(&running.store, newest).await;
        check(&running.store, &path, newest).await;
        running.drop_all();
    }
}
