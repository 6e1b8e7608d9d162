//! A disk that is full, for a while or because `max_size` is reached.

use std::io::{BufRead, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use super::*;
use crate::store::frame::Missing;
use crate::store::history::HOUR;
use crate::store::history::rollup::Subject;
use crate::store::sample::busy;

/// Bytes on disk, log included.
fn bytes_on_disk(path: &Path) -> u64 {
    let size = |path: PathBuf| std::fs::metadata(path).map_or(0, |file| file.len());
    size(path.to_owned()) + size(path.with_extension("db-wal"))
}

#[tokio::test]
async fn max_size_is_never_exceeded_and_the_oldest_frames_go() {
    const MAX: u64 = 2 << 20;
    let (_directory, path) = place();
    let settings = |max_size| StoreSettings {
        max_size,
        ..StoreSettings::default()
    };
    let running = Running::open(Some(&path), settings(MAX));
    let mut most = 0;
    for seq in 1..=60 {
        let evaluation = busy(seq, 40, 250);
        let beat = evaluation.beat;
        running
            .store
            .append(vec![evaluation], Vec::new(), beat)
            .await
            .unwrap();
        most = most.max(bytes_on_disk(&path));
        assert!(most <= MAX, "beat {seq}: {most} bytes");
    }
    let health = running.store.health();
    assert!(health.durable && health.lost_frames == 0, "{health:?}");
    assert!((3..60).contains(&health.frames), "{health:?}");
    assert!(most > MAX / 2, "the room is used: {most}");
    assert_eq!(running.store.newest(), Seq(60));
    running.close().await;
    // Less is allowed from now on: the file shrinks within a few beats.
    let running = Running::open(Some(&path), settings(MAX / 2));
    for seq in 61..=66 {
        let evaluation = busy(seq, 1, 10);
        let beat = evaluation.beat;
        running
            .store
            .append(vec![evaluation], Vec::new(), beat)
            .await
            .unwrap();
    }
    assert!(running.store.health().durable);
    running.close().await;
    let bytes = bytes_on_disk(&path);
    assert!(bytes <= MAX / 2, "{bytes} bytes");
}

/// A beat that does not fit at all: memory carries it, within its limit, and says what is lost.
#[tokio::test]
async fn a_beat_larger_than_max_size_is_served_from_memory() {
    let (_directory, path) = place();
    let settings = StoreSettings {
        max_size: 300_000,
        tail_bytes: 3_000_000,
        ..StoreSettings::default()
    };
    let running = Running::open(Some(&path), settings);
    let store = &running.store;
    let mut reader = store.reader(Seq(0));
    let mut rows = Vec::new();
    for seq in 1..=12 {
        let evaluation = busy(seq, 100, 250);
        let beat = evaluation.beat;
        let appended = store
            .append(vec![evaluation], Vec::new(), beat)
            .await
            .unwrap();
        rows.push(appended.frames[0].rows);
    }
    let health = store.health();
    assert!(!health.durable);
    let reason = health.reason.unwrap();
    assert!(
        reason.contains("[store] max_size is too small for one beat"),
        "{reason}"
    );
    assert!(health.lost_frames > 0 && health.unstored_frames > 0);
    assert_eq!(health.lost_frames + health.unstored_frames, 12);
    let hole = is_hole(next(&mut reader).await);
    assert_eq!((hole.first, hole.why), (Seq(1), Missing::Expired));
    assert_eq!(hole.rows, health.lost_rows);
    let lost = usize::try_from(health.lost_frames).unwrap();
    assert_eq!(hole.rows, rows[..lost].iter().sum::<u64>());
    for seq in hole.last.0 + 1..=12 {
        assert_eq!(next_frame(&mut reader).await.seq, Seq(seq));
    }
    drop(reader);
    running.close().await;
}

/// In the child's environment: the path of the store it writes.
const PATH: &str = "LAGLINE_TEST_FULL_STORE";

/// Not a test by itself: appends a beat for every line it reads, and says how the store is.
#[tokio::test]
async fn child() {
    let Some(path) = std::env::var_os(PATH) else {
        return;
    };
    let running = Running::open(Some(Path::new(&path)), StoreSettings::default());
    let store = &running.store;
    let mut reader = store.reader(store.newest());
    for line in std::io::stdin().lines().map_while(Result::ok) {
        if line == "close" {
            break;
        }
        let evaluation = busy(store.newest().0 + 1, 20, 200);
        let beat = evaluation.beat;
        store
            .append(vec![evaluation], Vec::new(), beat)
            .await
            .unwrap();
        let frame = next_frame(&mut reader).await;
        assert_eq!(
            (frame.seq, frame.beat),
            (store.newest(), beat),
            "served all the same"
        );
        let counts = Counts {
            offered: frame.rows * u64::try_from(frame.seq.0).unwrap(),
            delivered: frame.rows * u64::try_from(frame.seq.0).unwrap(),
            ..Counts::default()
        };
        store.stage_cursor(
            "sink",
            Cursor {
                seq: frame.seq,
                counts,
            },
        );
        let health = store.health();
        assert_eq!(health.durable, health.reason.is_none());
        println!(
            "\nhealth {} {} {}",
            health.unstored_frames,
            health.lost_frames,
            health.reason.unwrap_or_default()
        );
        std::io::stdout().flush().unwrap();
    }
    drop(reader);
    running.close().await;
}

/// Not a test by itself: appends a beat of the next minute for every line it reads that says so, and
/// tells how sealing is.
#[tokio::test]
async fn sealing_child() {
    let Some(path) = std::env::var_os(SEALING_PATH) else {
        return;
    };
    let running = Running::open(Some(Path::new(&path)), StoreSettings::default());
    let store = &running.store;
    for line in std::io::stdin().lines().map_while(Result::ok) {
        if line == "close" {
            break;
        }
        if line == "append" {
            let evaluation = at_minute(store.newest().0);
            let beat = evaluation.beat;
            let appended = store.append(vec![evaluation], Vec::new(), beat);
            appended.await.unwrap();
        }
        let health = store.health();
        let through = health.sealed_through.map_or(0, Timestamp::as_secs);
        let reason = health.reason.unwrap_or_default();
        println!("\nhealth {} {through} {reason}", health.seal_errors);
        std::io::stdout().flush().unwrap();
    }
    running.close().await;
}

/// In the child's environment: the path of the store it seals.
const SEALING_PATH: &str = "LAGLINE_TEST_FULL_SEALING_STORE";

/// Groups of one beat a minute, the first at the beginning of an hour.
fn at_minute(n: i64) -> Arc<Evaluation> {
    Arc::new(Evaluation {
        beat: minute(n),
        ..(*busy(n, 20, 100)).clone()
    })
}

fn minute(n: i64) -> Timestamp {
    Timestamp::from_secs(1_767_225_600 + 60 * n)
}

/// The disk fills up while an hour is sealed: a piece that it does not take is written later.
#[tokio::test]
async fn sealing_goes_on_when_a_full_disk_has_room_again() {
    let (_directory, path) = place();
    let mut child = Limited::start_as("sealing_child", SEALING_PATH, &path);
    for _ in 0..=60 {
        child.append();
    }
    let mut said = (0, 0, String::new());
    let waited = crate::clock::Stopwatch::start();
    // Some of the pieces are written before the limit, some are not.
    child.append();
    child.limit("4096");
    while said.0 == 0 && said.1 == 0 {
        said = child.ask("look");
        assert!(waited.elapsed() < DEADLINE, "sealing is tried: {said:?}");
    }
    let tried = said.0;
    child.append();
    child.limit("unlimited");
    child.append();
    let end = minute(60).as_secs().unsigned_abs();
    while said.1 != end {
        said = child.ask("look");
        assert!(waited.elapsed() < DEADLINE, "sealing goes on: {said:?}");
    }
    println!("sealing was tried again {tried} times");
    child.close();
    let running = Running::open(Some(&path), StoreSettings::default());
    assert_eq!(running.store.newest(), Seq(64));
    let mut history = running.store.history().unwrap().unwrap();
    let cluster = ClusterName::new("prod");
    let sealed = history.sealed(&cluster, minute(0), minute(200)).unwrap();
    assert_eq!(sealed.len(), 1);
    for group in &at_minute(0).groups {
        let rows = history.group(&sealed[0], group.id.as_str()).unwrap();
        let beats: Vec<_> = rows.iter().map(|(at, _)| *at).collect();
        assert_eq!(beats, (0..60).map(minute).collect::<Vec<_>>());
        let subject = Subject::Group(group.id.clone());
        let range = (minute(0), minute(200));
        let rollups = history.rollups(&cluster, &subject, HOUR, range).unwrap();
        let beats: Vec<_> = rollups.iter().map(|(_, rollup)| rollup.beats).collect();
        assert_eq!(beats, [60], "written once");
    }
    drop(history);
    running.close().await;
}

/// The child, under a limit for the size of files.
struct Limited {
    child: Child,
    output: Lines<BufReader<ChildStdout>>,
}

impl Limited {
    fn start(path: &Path) -> Self {
        Self::start_as("child", PATH, path)
    }

    fn start_as(test: &str, variable: &str, path: &Path) -> Self {
        // A write beyond the limit fails, as on a full disk, instead of killing the process.
        let mut child = Command::new("sh")
            .args(["-c", r#"trap "" XFSZ; exec "$@""#, "sh"])
            .arg(std::env::current_exe().unwrap())
            .arg("--exact")
            .arg(format!("store::tests::disk::{test}"))
            .arg("--nocapture")
            .env(variable, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, output }
    }

    /// No file may become larger than this from now on.
    fn limit(&self, bytes: &str) {
        let done = Command::new("prlimit")
            .arg(format!("--pid={}", self.child.id()))
            .arg(format!("--fsize={bytes}:unlimited"))
            .status()
            .expect("prlimit (util-linux) is needed for this test");
        assert!(done.success());
    }

    /// Has one beat appended: unstored frames, lost frames, and the reason.
    fn append(&mut self) -> (u64, u64, String) {
        self.ask("append")
    }

    /// Has the child do something: what it says of two counts, and the reason.
    fn ask(&mut self, what: &str) -> (u64, u64, String) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{what}").unwrap();
        loop {
            let line = self.output.next().expect("the child goes on").unwrap();
            if let Some(health) = line.strip_prefix("health ") {
                let mut parts = health.splitn(3, ' ');
                let mut number = || parts.next().unwrap().parse().unwrap();
                let (unstored, lost) = (number(), number());
                return (unstored, lost, parts.next().unwrap().to_owned());
            }
        }
    }

    fn close(mut self) {
        writeln!(self.child.stdin.as_mut().unwrap(), "close").unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

#[tokio::test]
async fn a_full_disk_is_carried_by_memory_and_nothing_is_lost() {
    let (_directory, path) = place();
    let mut child = Limited::start(&path);
    assert_eq!(child.append(), (0, 0, String::new()));
    for round in 0..2 {
        // Less than the file and its log have: nothing can be written at all.
        child.limit("4096");
        let mut unstored = 0;
        for _ in 0..4 {
            let (now, lost, reason) = child.append();
            unstored += 1;
            assert_eq!((now, lost), (unstored, 0), "round {round}: {reason}");
            assert!(reason.contains("kept in memory"), "round {round}: {reason}");
        }
        child.limit("unlimited");
        assert_eq!(
            child.append(),
            (0, 0, String::new()),
            "round {round}: recovered"
        );
    }
    child.close();
    let running = Running::open(Some(&path), StoreSettings::default());
    assert_eq!(running.store.newest(), Seq(11));
    assert_eq!(running.store.cursor("sink").unwrap().seq, Seq(11));
    assert_eq!(running.store.standing("sink").unwrap().waiting, 0);
    let mut reader = running.store.reader(Seq(0));
    for seq in 1..=11 {
        let frame = next_frame(&mut reader).await;
        assert_eq!(frame.seq, Seq(seq));
        let Body::Evaluation { changes, .. } = &frame.body else {
            panic!("an evaluation");
        };
        let evaluation = busy(seq, 20, 200);
        let changes = changes.clone();
        assert_eq!(
            frame.body,
            stored_part(&Body::Evaluation {
                evaluation,
                changes
            })
        );
    }
    drop(reader);
    running.close().await;
}
