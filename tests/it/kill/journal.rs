//! What lagline's store says: as a kill left it, and all of it at the end.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use lagline::points::{Batch, Detail, Measurement, Point, write_json};
use lagline::store::frame::{Counts, Frame, Next};
use lagline::store::{Store, StoreSettings};
use rusqlite::{Connection, OpenFlags};

use super::Destination;
use super::places::{Found, Key};

const FILE: &str = "lagline.db";

/// A number from the store of a running lagline; none when there is no row.
pub fn live(directory: &Path, query: &str) -> Option<i64> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(directory.join(FILE), flags).unwrap();
    let mut statement = connection.prepare(query).unwrap();
    let mut rows = statement.query([]).unwrap();
    rows.next().unwrap().and_then(|row| row.get(0).unwrap())
}

/// A frame's row: number, beat, rows, rows up to it.
type FrameRow = (i64, i64, i64, i64);

/// A cursor's row.
#[derive(Debug)]
struct CursorRow {
    seq: i64,
    through: i64,
    counts: Counts,
}

/// The store while nothing runs.
pub struct Snapshot {
    frames: Vec<FrameRow>,
    cursors: BTreeMap<String, CursorRow>,
}

impl Snapshot {
    /// Reads a copy: opening the file itself would mend what the kill left for lagline to mend.
    pub fn take(directory: &Path) -> Self {
        let copy = tempfile::tempdir().unwrap();
        for name in [FILE.to_owned(), format!("{FILE}-wal")] {
            if directory.join(&name).exists() {
                std::fs::copy(directory.join(&name), copy.path().join(&name)).unwrap();
            }
        }
        let connection = Connection::open(copy.path().join(FILE)).unwrap();
        let check: String = connection
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(check, "ok");
        let mut frames = connection
            .prepare("SELECT seq, beat_ms, rows, rows_through FROM frame ORDER BY seq")
            .unwrap();
        let frames = frames.query_map([], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        });
        let mut cursors = connection
            .prepare(
                "SELECT sink, seq, rows_through, offered, delivered, filtered, rejected, expired
                 FROM cursor",
            )
            .unwrap();
        let cursors = cursors.query_map([], |row| {
            let count = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
            let counts = Counts {
                offered: count(3)?,
                delivered: count(4)?,
                filtered: count(5)?,
                rejected: count(6)?,
                expired: count(7)?,
            };
            let cursor = CursorRow {
                seq: row.get(1)?,
                through: row.get(2)?,
                counts,
            };
            Ok((row.get(0)?, cursor))
        });
        Self {
            frames: frames.unwrap().map(Result::unwrap).collect(),
            cursors: cursors.unwrap().map(Result::unwrap).collect(),
        }
    }

    fn newest(&self) -> i64 {
        self.frames.last().map_or(0, |frame| frame.0)
    }

    /// `offered = delivered + filtered + rejected + expired + waiting`: what is offered are the
    /// journaled rows, what waits are those behind the cursor.
    pub fn assert_identity(&self, sinks: &[Destination]) {
        let rows = |frames: &mut dyn Iterator<Item = &FrameRow>| -> i64 {
            frames.map(|(_, _, rows, _)| rows).sum()
        };
        let offered = rows(&mut self.frames.iter());
        for (sink, cursor) in &self.cursors {
            let Counts {
                delivered,
                filtered,
                rejected,
                expired,
                ..
            } = cursor.counts;
            let waiting = rows(&mut self.frames.iter().filter(|frame| frame.0 > cursor.seq));
            let settled = i64::try_from(delivered + filtered + rejected + expired).unwrap();
            assert_eq!(offered, settled + waiting, "{sink}: {cursor:?}");
            assert_eq!(cursor.counts.waiting(), 0, "{sink}: {cursor:?}");
            assert_eq!(cursor.through, settled, "{sink}: {cursor:?}");
            assert!(cursor.seq <= self.newest(), "{sink}: {cursor:?}");
        }
        // A sink that is not there would begin with the newest beat.
        for sink in sinks {
            let is_there = self.cursors.contains_key(sink.name);
            assert!(is_there || self.frames.is_empty(), "{} is gone", sink.name);
        }
    }

    /// Nothing that was there is gone or went back.
    pub fn assert_goes_on_behind(&self, before: &Snapshot) {
        assert!(
            self.frames.starts_with(&before.frames),
            "journaled frames are gone: {:?} before, {:?} after",
            before.frames,
            self.frames
        );
        let numbers = self.frames.iter().map(|frame| frame.0);
        assert!(numbers.eq(1..=self.newest()), "a number is missing");
        for (sink, old) in &before.cursors {
            let new = &self.cursors[sink];
            let (old_counts, new_counts) = (&old.counts, &new.counts);
            assert!(
                new.seq >= old.seq
                    && new.through >= old.through
                    && new_counts.offered >= old_counts.offered
                    && new_counts.delivered >= old_counts.delivered
                    && new_counts.filtered >= old_counts.filtered
                    && new_counts.rejected >= old_counts.rejected
                    && new_counts.expired >= old_counts.expired,
                "{sink} went back: {old:?}, then {new:?}"
            );
        }
    }
}

/// Every journaled frame.
pub struct Journal(Vec<Arc<Frame>>);

impl Journal {
    /// Reads the store of a lagline that does not run.
    pub fn read(directory: &Path) -> Self {
        let path = directory.join(FILE);
        let opened = Store::open(Some(&path), StoreSettings::default()).unwrap();
        let loader = std::thread::spawn(move || opened.loader.run());
        let store = opened.store;
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let frames = runtime.unwrap().block_on(async {
            let mut reader = store.reader(store.before_oldest());
            let mut frames = Vec::new();
            while reader.at() < store.newest() {
                match reader.next().await {
                    Next::Frame(frame) => frames.push(frame),
                    Next::Hole(hole) => panic!("a hole in the journal: {hole:?}"),
                }
            }
            frames
        });
        // The loader ends with the last handle.
        drop((store, opened.writer, opened.sealer));
        loader.join().unwrap();
        Self(frames)
    }

    /// The points of all frames at a level of detail.
    pub fn points(&self, detail: Detail) -> Expected {
        let mut points = BTreeMap::new();
        for frame in &self.0 {
            for point in Batch::of(frame, detail).iter() {
                let double = points.insert(Key::of(&point), text(&point));
                assert_eq!(double, None, "journaled twice: {}", text(&point));
            }
        }
        Expected(points)
    }

    /// Asserts that each count is exactly what the frames up to the cursor add up to.
    pub fn assert_counts(&self, snapshot: &Snapshot, sinks: &[Destination]) {
        for sink in sinks {
            let Some(cursor) = snapshot.cursors.get(sink.name) else {
                continue;
            };
            let mut counts = Counts::default();
            for frame in self.0.iter().filter(|frame| frame.seq.0 <= cursor.seq) {
                let batch = Batch::of(frame, sink.detail);
                let is_refused = |point: &Point<'_>| Some(point.measurement()) == sink.refused;
                let refused = batch.iter().filter(is_refused).count() as u64;
                counts.offered += frame.rows;
                counts.delivered += batch.len() as u64 - refused;
                counts.filtered += frame.rows - batch.len() as u64;
                counts.rejected += refused;
            }
            assert_eq!(cursor.counts, counts, "{} at {}", sink.name, cursor.seq);
        }
    }
}

/// A point as a line of `jsonl`.
fn text(point: &Point<'_>) -> String {
    let mut text = b"{".to_vec();
    write_json(&mut text, point);
    text.push(b'}');
    String::from_utf8(text).unwrap()
}

/// What must be at a destination.
pub struct Expected(BTreeMap<Key, String>);

impl Expected {
    /// How many points of a measurement there are.
    pub fn count(&self, measurement: Measurement) -> usize {
        let names = self.0.keys().map(|key| key.measurement.as_str());
        names.filter(|name| *name == measurement.name()).count()
    }

    /// The points of a measurement, and all others.
    pub fn partition(self, measurement: Option<Measurement>) -> (Expected, Expected) {
        let name = measurement.map_or("", Measurement::name);
        let (these, others) = (self.0.into_iter()).partition(|(key, _)| key.measurement == name);
        (Expected(these), Expected(others))
    }

    /// Asserts that each point is there once, and nothing else.
    pub fn assert_once(&self, place: &str, found: Found) {
        let doubles: Vec<_> = found.iter().filter(|(_, times)| **times > 1).collect();
        assert!(
            doubles.is_empty(),
            "{place}: {} of {} points are doubled, for example {:?}",
            doubles.len(),
            self.0.len(),
            doubles[0]
        );
        self.assert_at_least_once(place, found);
    }

    /// Asserts that each point is there, and nothing else.
    pub fn assert_at_least_once(&self, place: &str, found: Found) {
        let missing: Vec<_> = self
            .0
            .keys()
            .filter(|key| !found.contains_key(key))
            .collect();
        assert!(
            missing.is_empty(),
            "{place}: {} of {} points are missing, for example {:?}",
            missing.len(),
            self.0.len(),
            missing[0]
        );
        let foreign = found.keys().find(|key| !self.0.contains_key(key));
        assert_eq!(foreign, None, "{place}: never journaled");
    }

    /// Asserts that each point is in a file, all its fields included, at least once, and that no
    /// more lines than `torn` are cut off.
    pub fn assert_lines(&self, file: &Path, torn: usize) {
        let lines = std::fs::read_to_string(file).unwrap();
        let (mut found, mut cut) = (Found::new(), 0);
        for line in lines.lines() {
            let Some(key) = Key::of_json(line) else {
                cut += 1;
                continue;
            };
            assert_eq!(Some(line), self.0.get(&key).map(String::as_str));
            *found.entry(key).or_default() += 1;
        }
        assert!(cut <= torn, "{cut} lines are cut off");
        self.assert_at_least_once("the file", found);
    }
}
