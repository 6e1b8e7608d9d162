//! The statements on the file: what one beat writes, and what reading a frame needs.
//!
//! It knows nothing of when to write, of the tail or of readers; the writer does.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::codec::Encoded;
use super::error::StoreError;
use super::frame::{Counts, Cursor, Seq};
use super::history;
use super::holes::PastHole;
use super::index::Entry;
use super::layers::{self, Table, signed};
use super::schema;
use super::snapshots::{self, NewSnapshot};
use crate::clock::Timestamp;
use crate::lag::evaluation::Status;

/// What stands before each page in the write-ahead log, in bytes.
pub(super) const LOG_PAGE_HEADER: u64 = 24;

/// Pieces of one frame have ids of this many in a row.
const PARTS_PER_FRAME: i64 = 4096;

/// A frame to be written.
#[derive(Clone, Debug)]
pub(super) struct NewFrame {
    pub(super) seq: Seq,
    pub(super) cluster: Option<u32>,
    pub(super) beat: Timestamp,
    pub(super) is_running: bool,
    pub(super) rows: u64,
    pub(super) through: u64,
    pub(super) encoded: Arc<Encoded>,
    pub(super) changes: Vec<NewChange>,
}

/// A status change to be written, with its names as numbers.
#[derive(Clone, Debug)]
pub(super) struct NewChange {
    pub(super) cluster: u32,
    pub(super) group: u32,
    pub(super) partition: Option<(u32, i32)>,
    pub(super) from: Status,
    pub(super) to: Status,
    pub(super) reason: String,
}

/// A cursor as a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CursorRow {
    pub(super) cursor: Cursor,
    /// Beat of the last settled frame.
    pub(super) beat: Option<Timestamp>,
    /// Rows of all frames up to it, so that a hole behind it can be counted.
    pub(super) through: u64,
}

/// What the file says when it is opened.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) entries: VecDeque<Entry>,
    pub(super) newest: Seq,
    pub(super) through: u64,
    pub(super) next_name: u32,
    pub(super) cursors: HashMap<String, CursorRow>,
    pub(super) holes: BTreeMap<String, Vec<PastHole>>,
    /// The newest frame of each cluster (none: of the sinks).
    pub(super) last_beats: Vec<(Option<u32>, Timestamp)>,
    /// The newest frame with statuses of each cluster.
    pub(super) last_running: Vec<(Seq, Timestamp)>,
}

/// The file, opened for writing.
#[derive(Debug)]
pub(super) struct Journal(Connection);

fn sql(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn unsql(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

impl Journal {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        schema::open(path).map(Self)
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.0
    }

    pub(super) fn connection_mut(&mut self) -> &mut Connection {
        &mut self.0
    }

    /// Reads what a start needs; none of the frames' bytes.
    pub(super) fn load(&self) -> Result<Loaded, rusqlite::Error> {
        let mut loaded = Loaded {
            next_name: self.next_name()?,
            cursors: self.cursors()?,
            holes: read_holes(&self.0)?,
            ..Loaded::default()
        };
        let mut beats: HashMap<Option<u32>, Timestamp> = HashMap::new();
        let mut running: HashMap<Option<u32>, (Seq, Timestamp)> = HashMap::new();
        let mut statement = self.0.prepare(
            "SELECT seq, beat_ms, rows, rows_through, bytes, cluster, running,
                    EXISTS (SELECT 1 FROM seal
                            WHERE hour_ms = beat_ms - (beat_ms % ?1 + ?1) % ?1
                              AND seal.cluster = frame.cluster AND step >= 3
                              AND seq BETWEEN first_seq AND last_seq)
             FROM frame ORDER BY seq",
        )?;
        let mut rows = statement.query([history::HOUR_MS])?;
        while let Some(row) = rows.next()? {
            let entry = Entry {
                seq: Seq(row.get(0)?),
                beat: Timestamp::from_ms(row.get(1)?),
                rows: unsql(row.get(2)?),
                through: unsql(row.get(3)?),
                bytes: row.get(4)?,
                cluster: row.get(5)?,
                is_stored: true,
                is_sealed: row.get(7)?,
            };
            let cluster = entry.cluster;
            beats.insert(cluster, entry.beat);
            if row.get(6)? {
                running.insert(cluster, (entry.seq, entry.beat));
            }
            (loaded.newest, loaded.through) = (entry.seq, entry.through);
            loaded.entries.push_back(entry);
        }
        // A cursor can be beyond the last frame: it was moved over frames that the disk had no
        // room for. Numbers are not given twice.
        let seqs = loaded.cursors.values().map(|row| row.cursor.seq);
        loaded.newest = seqs
            .max()
            .map_or(loaded.newest, |seq| loaded.newest.max(seq));
        let through = loaded.cursors.values().map(|row| row.through);
        loaded.through = loaded.through.max(through.max().unwrap_or(0));
        loaded.last_beats = beats.into_iter().collect();
        loaded.last_running = running.into_values().collect();
        Ok(loaded)
    }

    fn next_name(&self) -> Result<u32, rusqlite::Error> {
        self.0
            .query_row("SELECT coalesce(max(id), 0) + 1 FROM name", [], |row| {
                row.get(0)
            })
    }

    /// The greatest number of a name; 0 without any.
    pub(super) fn last_name(&self) -> Result<i64, rusqlite::Error> {
        self.0
            .prepare_cached("SELECT coalesce(max(id), 0) FROM name")?
            .query_row([], |row| row.get(0))
    }

    fn cursors(&self) -> Result<HashMap<String, CursorRow>, rusqlite::Error> {
        let mut statement = self.0.prepare(
            "SELECT sink, seq, beat_ms, rows_through, offered, delivered, filtered, rejected,
                    expired FROM cursor",
        )?;
        let rows = statement.query_map([], |row| {
            let count = |column: usize| row.get(column).map(unsql);
            let counts = Counts {
                offered: count(4)?,
                delivered: count(5)?,
                filtered: count(6)?,
                rejected: count(7)?,
                expired: count(8)?,
            };
            let cursor = Cursor {
                seq: Seq(row.get(1)?),
                counts,
            };
            let row_of_cursor = CursorRow {
                cursor,
                beat: row.get::<_, Option<i64>>(2)?.map(Timestamp::from_ms),
                through: count(3)?,
            };
            Ok((row.get(0)?, row_of_cursor))
        })?;
        rows.collect()
    }

    /// Writes all of it in one transaction: one fsync.
    pub(super) fn write(&mut self, write: &Write<'_>) -> Result<(), rusqlite::Error> {
        let transaction = self
            .0
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        if let Some(dropped) = write.dropped {
            history::delete(&transaction, dropped)?;
        }
        for seq in write.delete {
            delete(&transaction, *seq)?;
        }
        {
            let mut insert = transaction.prepare_cached(
                "INSERT INTO name (id, text, frame_hour, row_hour) VALUES (?1, ?2, ?3, ?3)",
            )?;
            for (id, name) in write.names {
                insert.execute(params![id, &**name, history::NEVER])?;
            }
            let text: usize = write.names.iter().map(|(_, name)| name.len()).sum();
            let rows = signed(write.names.len());
            layers::note(&transaction, Table::Names, rows, signed(text))?;
        }
        for frame in write.frames {
            insert_frame(&transaction, frame)?;
        }
        for (sink, row) in write.cursors {
            upsert_cursor(&transaction, sink, row)?;
        }
        for (sink, holes) in write.holes {
            replace_holes(&transaction, sink, holes)?;
        }
        transaction.commit()
    }

    /// Writes a cluster's snapshot, and deletes the frames that have to go for it.
    pub(super) fn write_snapshot(
        &mut self,
        snapshot: &NewSnapshot,
        gone: &[Seq],
    ) -> Result<(), rusqlite::Error> {
        let transaction = self
            .0
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        for seq in gone {
            delete(&transaction, *seq)?;
        }
        snapshots::replace(&transaction, snapshot)?;
        transaction.commit()
    }

    /// Size of the pages, their number, and how many of them are free.
    pub(super) fn pages(&self) -> Result<Pages, rusqlite::Error> {
        let pragma = |name: &str| -> Result<u64, rusqlite::Error> {
            self.0
                .pragma_query_value(None, name, |row| row.get(0))
                .map(unsql)
        };
        Ok(Pages {
            size: pragma("page_size")?,
            count: pragma("page_count")?,
            free: pragma("freelist_count")?,
        })
    }

    /// Forbids the file to have more pages than this. SQLite refuses to go below what it has.
    pub(super) fn limit_pages(&self, pages: u64) -> Result<(), rusqlite::Error> {
        self.0
            .pragma_update_and_check(None, "max_page_count", sql(pages), |_| Ok(()))
    }

    /// Gives up to `pages` free pages back to the file system.
    pub(super) fn shrink(&self, pages: u64) -> Result<(), rusqlite::Error> {
        self.0
            .pragma(None, "incremental_vacuum", sql(pages), |_| Ok(()))
    }

    /// Moves the write-ahead log into the file, without waiting for readers. Gives the bytes of the
    /// log that new ones are put behind: none when it begins anew, more when somebody reads.
    pub(super) fn checkpoint(&self) -> Result<u64, rusqlite::Error> {
        self.0.busy_timeout(Duration::ZERO)?;
        let moved = self
            .0
            .query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            });
        self.0.busy_timeout(schema::PATIENCE)?;
        let (is_busy, pages): (bool, i64) = moved?;
        let size = self.pages()?.size + LOG_PAGE_HEADER;
        Ok(if is_busy { unsql(pages) * size } else { 0 })
    }

    /// Empties the write-ahead log, if need be after some seconds for readers.
    pub(super) fn empty_log(&self) -> Result<(), rusqlite::Error> {
        self.0
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    }
}

/// How large the file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pages {
    pub(super) size: u64,
    pub(super) count: u64,
    pub(super) free: u64,
}

/// What one transaction writes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Write<'a> {
    pub(super) delete: &'a [Seq],
    pub(super) dropped: Option<&'a history::Dropped>,
    pub(super) names: &'a [(u32, Arc<str>)],
    pub(super) frames: &'a [NewFrame],
    pub(super) cursors: &'a [(String, CursorRow)],
    /// All holes of each of these sinks.
    pub(super) holes: &'a [(String, Vec<PastHole>)],
}

fn delete(connection: &Connection, seq: Seq) -> Result<(), rusqlite::Error> {
    let first = seq.0 * PARTS_PER_FRAME;
    connection
        .prepare_cached("DELETE FROM part WHERE id BETWEEN ?1 AND ?2")?
        .execute([first, first + PARTS_PER_FRAME - 1])?;
    connection
        .prepare_cached("DELETE FROM frame WHERE seq = ?1")?
        .execute([seq.0])?;
    Ok(())
}

fn insert_frame(connection: &Connection, frame: &NewFrame) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached(
            "INSERT INTO frame (seq, cluster, beat_ms, running, rows, rows_through, bytes, parts)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            frame.seq.0,
            frame.cluster,
            frame.beat.as_ms(),
            frame.is_running,
            sql(frame.rows),
            sql(frame.through),
            sql(frame.encoded.len() as u64),
            sql(frame.encoded.parts.len() as u64),
        ])?;
    let mut insert = connection.prepare_cached("INSERT INTO part (id, bytes) VALUES (?1, ?2)")?;
    for (place, part) in (0_i64..).zip(&frame.encoded.parts) {
        insert.execute(params![frame.seq.0 * PARTS_PER_FRAME + place, &**part])?;
    }
    let mut insert = connection.prepare_cached(
        "INSERT INTO status_change (seq, beat_ms, cluster, consumer_group, topic, partition,
                                    from_status, to_status, reason)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    for change in &frame.changes {
        insert.execute(params![
            frame.seq.0,
            frame.beat.as_ms(),
            change.cluster,
            change.group,
            change.partition.map(|(topic, _)| topic),
            change.partition.map(|(_, partition)| partition),
            change.from.code(),
            change.to.code(),
            change.reason,
        ])?;
    }
    let names = frame.changes.iter().flat_map(|change| {
        let topic = change.partition.map(|(topic, _)| topic);
        [Some(change.cluster), Some(change.group), topic]
    });
    for id in names.flatten().collect::<BTreeSet<_>>() {
        let used = history::Used { id, by_rows: true };
        history::stamp(connection, used, history::hour_of(frame.beat))?;
    }
    let text: usize = frame.changes.iter().map(|change| change.reason.len()).sum();
    let rows = signed(frame.changes.len());
    layers::note(connection, Table::Changes, rows, signed(text))
}

fn upsert_cursor(
    connection: &Connection,
    sink: &str,
    row: &CursorRow,
) -> Result<(), rusqlite::Error> {
    let counts = &row.cursor.counts;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO cursor (sink, seq, beat_ms, rows_through, offered, delivered,
                                            filtered, rejected, expired)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            sink,
            row.cursor.seq.0,
            row.beat.map(Timestamp::as_ms),
            sql(row.through),
            sql(counts.offered),
            sql(counts.delivered),
            sql(counts.filtered),
            sql(counts.rejected),
            sql(counts.expired),
        ])?;
    Ok(())
}

fn replace_holes(
    connection: &Connection,
    sink: &str,
    holes: &[PastHole],
) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached("DELETE FROM hole WHERE sink = ?1")?
        .execute([sink])?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO hole (sink, first_seq, last_seq, after_ms, before_ms, rows, why)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for hole in holes {
        insert.execute(params![
            sink,
            hole.first.0,
            hole.last.0,
            hole.after.map(Timestamp::as_ms),
            hole.before.as_ms(),
            sql(hole.rows),
            hole.why,
        ])?;
    }
    Ok(())
}

/// What each sink has missed, oldest first.
pub(super) fn read_holes(
    connection: &Connection,
) -> Result<BTreeMap<String, Vec<PastHole>>, rusqlite::Error> {
    let mut statement = connection.prepare(
        "SELECT sink, first_seq, last_seq, after_ms, before_ms, rows, why FROM hole
             ORDER BY sink, first_seq",
    )?;
    let mut rows = statement.query([])?;
    let mut holes: BTreeMap<String, Vec<PastHole>> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        holes.entry(row.get(0)?).or_default().push(PastHole {
            first: Seq(row.get(1)?),
            last: Seq(row.get(2)?),
            after: row.get::<_, Option<i64>>(3)?.map(Timestamp::from_ms),
            before: Timestamp::from_ms(row.get(4)?),
            rows: unsql(row.get(5)?),
            why: row.get(6)?,
        });
    }
    Ok(holes)
}

/// The pieces of a frame. None when there is no such frame.
pub(super) fn read_parts(
    connection: &Connection,
    seq: Seq,
) -> Result<Vec<Box<[u8]>>, rusqlite::Error> {
    let first = seq.0 * PARTS_PER_FRAME;
    let mut statement = connection
        .prepare_cached("SELECT bytes FROM part WHERE id BETWEEN ?1 AND ?2 ORDER BY id")?;
    let rows = statement.query_map([first, first + PARTS_PER_FRAME - 1], |row| {
        row.get_ref(0)?.as_blob().map(Box::from).map_err(Into::into)
    })?;
    rows.collect()
}

/// Piece number `place` of a frame.
pub(super) fn read_part(
    connection: &Connection,
    seq: Seq,
    place: usize,
) -> Result<Option<Box<[u8]>>, rusqlite::Error> {
    let place = i64::try_from(place).unwrap_or(i64::MAX);
    connection
        .prepare_cached("SELECT bytes FROM part WHERE id = ?1")?
        .query_row([seq.0 * PARTS_PER_FRAME + place], |row| {
            row.get_ref(0)?.as_blob().map(Box::from).map_err(Into::into)
        })
        .optional()
}

/// Every number of a name: there may be several.
pub(super) fn find_names(connection: &Connection, name: &str) -> Result<Vec<u32>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT id FROM name WHERE text = ?1")?
        .query_map([name], |row| row.get(0))?
        .collect()
}

/// The number of a name that is in the file.
pub(super) fn find_name(
    connection: &Connection,
    name: &str,
) -> Result<Option<u32>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT min(id) FROM name WHERE text = ?1")?
        .query_row([name], |row| row.get(0))
}

/// The name with this number.
pub(super) fn read_name(
    connection: &Connection,
    id: u32,
) -> Result<Option<Arc<str>>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT text FROM name WHERE id = ?1")?
        .query_row([id], |row| Ok(Arc::from(row.get_ref(0)?.as_str()?)))
        .optional()
}
