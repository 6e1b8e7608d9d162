//! Killed at any moment, cut at any page: what `append` returned for is there.

use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

use super::*;

/// In the child's environment: the path of the store it writes.
const PATH: &str = "LAGLINE_TEST_CRASH_STORE";

/// Not a test by itself: appends beats until it is killed, and says which are done.
#[tokio::test]
async fn child() {
    let Some(path) = std::env::var_os(PATH) else {
        return;
    };
    let running = Running::open(Some(Path::new(&path)), no_checkpoints());
    let store = &running.store;
    let mut offered = store
        .cursor("sink")
        .map_or(0, |cursor| cursor.counts.offered);
    let mut last = store.newest();
    loop {
        // The frame before this one is settled; that is durable with this beat.
        if last > Seq(0) {
            let counts = Counts {
                offered,
                delivered: offered,
                ..Counts::default()
            };
            store.stage_cursor("sink", Cursor { seq: last, counts });
        }
        let appended = append(store, last.0 + 1).await;
        let frame = &appended.frames[0];
        offered += frame.rows;
        last = frame.seq;
        println!("\ndone {}", last.0);
        std::io::stdout().flush().unwrap();
    }
}

/// Small files stay small: the log is moved into the file every few beats.
fn no_checkpoints() -> StoreSettings {
    StoreSettings {
        max_size: 4 << 20,
        ..StoreSettings::default()
    }
}

fn start(path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::crash::child", "--nocapture"])
        .env(PATH, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Lets the child append for a random while, kills it, and gives the last beat it called done.
fn run_and_kill(path: &Path, random: &mut fastrand::Rng) -> Option<i64> {
    let mut child = start(path);
    let (line, lines) = std::sync::mpsc::sync_channel(10_000);
    let output = BufReader::new(child.stdout.take().unwrap());
    let reading = std::thread::spawn(move || {
        for text in output.lines().map_while(Result::ok) {
            if let Some(seq) = text.strip_prefix("done ") {
                line.send(seq.parse::<i64>().unwrap()).unwrap();
            }
        }
    });
    let mut done = None;
    for _ in 0..random.usize(1..25) {
        done = Some(lines.recv_timeout(DEADLINE).expect("the child goes on"));
    }
    // Some part of a beat later.
    let moment = Duration::from_micros(random.u64(0..8_000));
    if let Ok(seq) = lines.recv_timeout(moment) {
        done = Some(seq);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    reading.join().unwrap();
    lines.try_iter().last().or(done)
}

#[tokio::test]
async fn what_was_appended_survives_a_kill_at_any_moment() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (_directory, path) = place();
    for round in 0..25 {
        let done = run_and_kill(&path, &mut random).unwrap();
        let running = Running::open(Some(&path), no_checkpoints());
        let store = &running.store;
        let newest = store.newest();
        assert!(
            newest >= Seq(done),
            "round {round}: {newest:?} but {done} was done"
        );
        // A restart reads everything that is left: nothing missing, nothing broken.
        let mut reader = store.reader(store.before_oldest());
        let mut rows = 0;
        for seq in store.before_oldest().0 + 1..=newest.0 {
            let frame = next_frame(&mut reader).await;
            assert_eq!(frame.seq, Seq(seq));
            assert_eq!(stored(&frame).body, stored_as_sampled(seq, &frame));
            rows = frame.rows;
        }
        drop(reader);
        // The cursor is the one staged before the last durable beat, with all of its counts; or the
        // one behind it, when the child had to wait so long that it was written without a beat.
        let (cursor, mut reader) = store.resume("sink").unwrap();
        let waiting = store.standing("sink").unwrap().waiting;
        let seen = format!("round {round}: {cursor:?}, {waiting} rows wait behind {newest:?}");
        if cursor.seq == newest {
            assert_eq!(waiting, 0, "{seen}");
        } else {
            assert_eq!((cursor.seq, waiting), (Seq(newest.0 - 1), rows), "{seen}");
            assert_eq!(next_frame(&mut reader).await.seq, newest);
        }
        drop(reader);
        // Not closed: the next child finds the log as the kill left it.
        drop((cursor, running.store));
        for thread in running.threads {
            thread.join().unwrap();
        }
    }
}

/// The sample of this beat, with the changes that the journal found.
fn stored_as_sampled(seq: i64, frame: &Frame) -> Body {
    let Body::Evaluation { changes, .. } = &frame.body else {
        panic!("an evaluation");
    };
    stored_part(&Body::Evaluation {
        evaluation: evaluation(seq),
        changes: changes.clone(),
    })
}

const LOG_HEADER: usize = 32;
const PAGE_HEADER: usize = 24;
const PAGE: usize = 4096;

/// A copy of the file and its log as they stand.
struct Torn {
    file: Vec<u8>,
    log: Vec<u8>,
}

impl Torn {
    fn of(path: &Path) -> Self {
        Self {
            file: std::fs::read(path).unwrap(),
            log: std::fs::read(path.with_extension("db-wal")).unwrap(),
        }
    }

    fn pages(&self) -> usize {
        (self.log.len() - LOG_HEADER) / (PAGE_HEADER + PAGE)
    }

    /// Opens a copy with another log, and gives the number of the newest frame. All frames up to
    /// it must be there and whole.
    async fn open_with(&self, log: &[u8]) -> i64 {
        let (_directory, path) = place();
        std::fs::write(&path, &self.file).unwrap();
        std::fs::write(path.with_extension("db-wal"), log).unwrap();
        let running = Running::open(Some(&path), StoreSettings::default());
        let newest = running.store.newest();
        let mut reader = running.store.reader(Seq(0));
        for seq in 1..=newest.0 {
            let frame = next_frame(&mut reader).await;
            assert_eq!(frame.body, stored_as_sampled(seq, &frame));
        }
        assert_eq!(reader.rows_ahead(), 0);
        drop(reader);
        // And it goes on.
        let appended = append(&running.store, newest.0 + 1).await;
        assert_eq!(appended.frames[0].seq, Seq(newest.0 + 1));
        assert!(running.store.health().durable);
        running.drop_all();
        newest.0
    }
}

#[tokio::test]
async fn a_log_cut_or_damaged_at_any_page_gives_the_beats_before_it() {
    const BEATS: i64 = 6;
    let (_directory, path) = place();
    let running = Running::open(Some(&path), StoreSettings::default());
    for seq in 1..=BEATS {
        append(&running.store, seq).await;
    }
    let torn = Torn::of(&path);
    running.drop_all();
    assert!(
        torn.pages() > 20,
        "there is something to cut: {}",
        torn.pages()
    );
    let mut before = 0;
    for page in 0..=torn.pages() {
        let end = LOG_HEADER + page * (PAGE_HEADER + PAGE);
        let newest = torn.open_with(&torn.log[..end]).await;
        assert!(newest >= before, "page {page}: {newest} after {before}");
        before = newest;
        if page == torn.pages() {
            break;
        }
        // A damaged page ends the log as a cut does, in its header as in its content.
        for at in [end + 8, end + PAGE_HEADER + 100] {
            let mut damaged = torn.log.clone();
            damaged[at] ^= 0x40;
            assert_eq!(torn.open_with(&damaged).await, newest, "page {page}");
        }
        // Half a page.
        let half = end + PAGE_HEADER + PAGE / 2;
        assert_eq!(
            torn.open_with(&torn.log[..half]).await,
            newest,
            "page {page}"
        );
    }
    assert_eq!(before, BEATS, "the whole log has every beat");
}
