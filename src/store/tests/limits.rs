//! What the store may take, what goes for it, and what is said of both.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;
use crate::store::codec::Encoded;
use crate::store::history::HOUR;
use crate::store::journal::unsql;
use crate::store::sample::busy;
use crate::store::{AllGone, Gone};

const START: Timestamp = Timestamp::from_secs(1_767_225_600);

fn minutes(n: u32) -> Timestamp {
    START.plus(Duration::from_secs(60) * n)
}

/// A beat every minute: 4 groups of 50 partitions.
fn at_minute(n: u32) -> Arc<Evaluation> {
    Arc::new(Evaluation {
        beat: minutes(n),
        ..(*busy(i64::from(n), 4, 50)).clone()
    })
}

async fn append_minute(store: &Store, n: u32) {
    let evaluation = at_minute(n);
    let beat = evaluation.beat;
    let appended = store.append(vec![evaluation], Vec::new(), beat).await;
    assert!(appended.unwrap().skipped.is_empty());
}

async fn sealed_through(store: &Store, n: u32) {
    until("the hour is sealed", || {
        store.health().sealed_through == Some(minutes(n))
    })
    .await;
}

/// Bytes on disk, log included.
fn bytes_on_disk(path: &Path) -> u64 {
    let size = |path: PathBuf| std::fs::metadata(path).map_or(0, |file| file.len());
    size(path.to_owned()) + size(path.with_extension("db-wal"))
}

/// Runs something while another thread looks at the file as often as it can: the most bytes it saw.
async fn watched<T>(path: &Path, run: impl Future<Output = T>) -> (T, u64) {
    let (is_over, most) = (AtomicBool::new(false), AtomicU64::new(0));
    let path = path.to_owned();
    let state = Arc::new((is_over, most));
    let watching = {
        let state = Arc::clone(&state);
        std::thread::spawn(move || {
            while !state.0.load(Ordering::Relaxed) {
                state.1.fetch_max(bytes_on_disk(&path), Ordering::Relaxed);
                std::thread::yield_now();
            }
        })
    };
    let out = run.await;
    state.0.store(true, Ordering::Relaxed);
    watching.join().unwrap();
    (out, state.1.load(Ordering::Relaxed))
}

/// Sealing, expiry by age and for room, snapshots and readers, all at once: not one byte too many,
/// whenever one looks.
#[tokio::test]
async fn max_size_holds_at_every_moment() {
    const MAX: u64 = 3 << 20;
    let (_directory, path) = place();
    let settings = StoreSettings {
        max_size: MAX,
        tail_bytes: 0,
        journal_keep: 2 * HOUR,
        raw_keep: 6 * HOUR,
        rollup_5m_keep: 8 * HOUR,
        ..StoreSettings::default()
    };
    let running = Running::open(Some(&path), settings);
    let store = &running.store;
    let mut random = fastrand::Rng::with_seed(3);
    let run = async {
        let mut reader = store.reader(store.newest());
        for n in 0..20 * 60 {
            append_minute(store, n).await;
            if n % 7 == 0 {
                let mut piece = vec![0; random.usize(1_000..150_000)];
                random.fill(&mut piece);
                let parts = vec![piece.into_boxed_slice()];
                let cluster = ClusterName::new(["prod", "other"][random.usize(..2)]);
                let saved = store.save_snapshot(&cluster, minutes(n), Encoded { parts });
                saved.unwrap().await.unwrap().unwrap();
            }
            // A reader that is always a little behind.
            if n % 5 == 0 {
                next(&mut reader).await;
            }
            // Half of the time the sealer is busy beside the beats.
            if n % 60 == 35 && n > 60 {
                sealed_through(store, n - 35).await;
            }
        }
    };
    let ((), most) = watched(&path, run).await;
    assert!(most <= MAX, "{most} bytes");
    assert!(most > MAX / 2, "the room is used: {most}");
    let health = store.health();
    assert!(health.durable && health.lost_frames == 0, "{health:?}");
    assert_eq!(health.seal_skipped_frames, 0);
    let AllGone {
        journal,
        blocks,
        rollup_5m,
        ..
    } = health.gone;
    assert!(journal.age > 0, "{:?}", health.gone);
    assert!(blocks.max_size > 0, "{:?}", health.gone);
    assert!(rollup_5m.age > 0, "{:?}", health.gone);
    running.close().await;
}

/// Bytes of the cells of tables and their indexes, as SQLite finds them page by page.
fn payload(path: &Path, trees: &[&str]) -> u64 {
    let file = rusqlite::Connection::open(path).unwrap();
    let sum = |tree: &&str| -> u64 {
        let sql = "SELECT sum(pgsize - unused) FROM dbstat WHERE name = ?1";
        file.query_row(sql, [tree], |row| row.get(0).map(unsql))
            .unwrap()
    };
    trees.iter().map(sum).sum()
}

#[tokio::test]
async fn the_bytes_of_each_layer_are_those_in_the_file() {
    let (_directory, path) = place();
    let settings = StoreSettings {
        journal_keep: 2 * HOUR,
        raw_keep: 3 * HOUR,
        rollup_5m_keep: 4 * HOUR,
        rollup_1h_keep: 5 * HOUR,
        ..StoreSettings::default()
    };
    let running = Running::open(Some(&path), settings.clone());
    let store = &running.store;
    for n in 0..8 * 60 {
        // Every other hour is a bad one, so that there are changes.
        let mut evaluation = (*at_minute(n)).clone();
        for group in evaluation.groups.iter_mut().skip(usize::from(n % 9 > 4)) {
            Arc::make_mut(group).status = Status::Warn;
        }
        let beat = evaluation.beat;
        let appended = store.append(vec![Arc::new(evaluation)], Vec::new(), beat);
        assert!(appended.await.unwrap().skipped.is_empty());
        if n % 60 == 5 && n > 60 {
            sealed_through(store, n - 5).await;
        }
    }
    let parts = vec![vec![7; 50_000].into_boxed_slice()];
    let cluster = ClusterName::new("prod");
    let saved = store.save_snapshot(&cluster, minutes(480), Encoded { parts });
    saved.unwrap().await.unwrap().unwrap();
    until("what is too old is gone", || {
        let gone = store.health().gone;
        let rows = [gone.rollup_5m, gone.rollup_1h, gone.changes];
        rows.iter().all(|gone| gone.age > 0) && gone.blocks.age > 0
    })
    .await;
    running.close().await;
    // A start says the same.
    let running = Running::open(Some(&path), settings);
    let health = running.store.health();
    running.close().await;
    let said = health.layers.named();
    println!("{said:?}, {} names", health.names);
    for ((layer, bytes), trees) in said.into_iter().zip([
        &["part"][..],
        &["block"],
        &["rollup_5m"],
        &["rollup_1h"],
        &[
            "status_change",
            "status_change_by_beat",
            "status_change_by_group",
        ],
        &["name", "name_by_text"],
        &["snapshot"],
    ]) {
        let found = payload(&path, trees);
        println!("{layer}: {bytes} said, {found} found");
        assert!(
            bytes * 10 >= found * 7 && bytes * 7 <= found * 10,
            "{layer}"
        );
    }
    let file = rusqlite::Connection::open(&path).unwrap();
    let count = |table: &str| -> u64 {
        let sql = format!("SELECT count(*) FROM {table}");
        file.query_row(&sql, [], |row| row.get(0).map(unsql))
            .unwrap()
    };
    for table in ["name", "status_change", "rollup_5m", "rollup_1h"] {
        let sql = "SELECT rows FROM layer WHERE name = ?1";
        let said = file.query_row(sql, [table], |row| row.get(0).map(unsql));
        assert_eq!(said, Ok(count(table)), "{table}");
    }
    assert_eq!(health.names, count("name"));
}

/// Somebody opens the file and reads without end: the log cannot begin anew.
#[tokio::test]
async fn a_reader_that_never_ends_does_not_make_the_file_grow() {
    const MAX: u64 = 2 << 20;
    let (_directory, path) = place();
    let settings = StoreSettings {
        max_size: MAX,
        ..StoreSettings::default()
    };
    let running = Running::open(Some(&path), settings);
    let store = &running.store;
    append_minute(store, 0).await;
    let reading = rusqlite::Connection::open(&path).unwrap();
    reading
        .execute_batch("BEGIN; SELECT count(*) FROM frame")
        .unwrap();
    let mut n = 0;
    while store.health().durable {
        n += 1;
        append_minute(store, n).await;
        let bytes = bytes_on_disk(&path);
        assert!(bytes <= MAX, "beat {n}: {bytes} bytes");
        assert!(n < 1000, "it must stop writing");
    }
    let reason = store.health().reason.unwrap();
    assert!(reason.contains("reads it without end: stop it"), "{reason}");
    append_minute(store, n + 1).await;
    assert!(!store.health().durable, "still");
    reading.execute_batch("COMMIT").unwrap();
    append_minute(store, n + 2).await;
    let health = store.health();
    assert!(health.durable && health.unstored_frames == 0, "{health:?}");
    assert_eq!((health.lost_frames, health.frames), (0, u64::from(n) + 3));
    assert!(bytes_on_disk(&path) <= MAX);
    running.close().await;
}

/// Fills a store without a sealer, from a minute on; how it is then.
async fn unsealed(path: &Path, settings: &StoreSettings, range: std::ops::Range<u32>) -> u64 {
    let opened = unlocked(|| Store::open(Some(path), settings.clone()));
    let (store, writer) = (opened.store, opened.writer);
    drop((opened.sealer, opened.loader, opened.historian));
    let writing = std::thread::spawn(move || writer.run());
    for n in range {
        append_minute(&store, n).await;
    }
    let health = store.health();
    let frames = health.frames;
    assert_eq!(health.unsealed_frames_gone, health.gone.journal.max_size);
    assert_eq!(health.gone.journal.age, 0, "it is not in the history");
    store.close().await;
    drop(store);
    writing.join().unwrap();
    frames + health.unsealed_frames_gone
}

#[tokio::test]
async fn frames_wait_for_the_history_however_old_they_are() {
    let (_directory, path) = place();
    let settings = StoreSettings {
        journal_keep: 2 * HOUR,
        ..StoreSettings::default()
    };
    assert_eq!(unsealed(&path, &settings, 0..300).await, 300);
    // Now they are sealed, and go.
    let running = Running::open(Some(&path), settings.clone());
    let store = &running.store;
    sealed_through(store, 240).await;
    append_minute(store, 300).await;
    let health = store.health();
    assert!(health.gone.journal.age > 0);
    assert_eq!(
        (health.unsealed_frames_gone, health.frames),
        (0, 301 - health.gone.journal.age)
    );
    let mut history = store.history().unwrap().unwrap();
    let cluster = ClusterName::new("prod");
    let sealed = history.sealed(&cluster, START, minutes(300)).unwrap();
    let beats = sealed
        .iter()
        .map(|hour| history.cluster(hour).unwrap().len());
    assert_eq!(beats.sum::<usize>(), 240);
    drop(history);
    running.close().await;
    // A start knows what is sealed.
    let running = Running::open(Some(&path), settings);
    append_minute(&running.store, 301).await;
    let gone = running.store.health().gone.journal;
    assert!(gone.age > 0 && gone.max_size == 0, "{gone:?}");
    running.close().await;
}

#[tokio::test]
async fn frames_that_go_for_room_before_they_are_sealed_are_counted() {
    let (_directory, path) = place();
    let settings = StoreSettings {
        max_size: 1 << 20,
        ..StoreSettings::default()
    };
    assert_eq!(unsealed(&path, &settings, 0..600).await, 600);
    let running = Running::open(Some(&path), settings);
    assert_eq!(running.store.health().gone.journal, Gone::default());
    running.close().await;
}
