//! The file: how it is opened, what is in it, and how older files become newer ones.
//!
//! WAL with `synchronous=FULL`: what is committed survives a power cut. Checkpoints are made by
//! the writer between two beats, never inside a commit. `auto_vacuum=INCREMENTAL` can only be
//! chosen while the file is empty, so it is chosen for every file from the start.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::StoreError;

/// "LAGL": tells our files from other people's.
const APPLICATION_ID: i64 = 0x4c41_474c;

/// One step from a version of the file to the next. Never changed once released; new ones are
/// added at the end.
const MIGRATIONS: &[&str] = &[
    // 1: names, the journal, cursors and status changes.
    "
    -- Names by number. Frames, and later blocks and rollups, hold only numbers.
    CREATE TABLE name (
        id INTEGER PRIMARY KEY,
        text TEXT NOT NULL
    ) STRICT;
    CREATE INDEX name_by_text ON name (text);

    -- One row a frame, without its bytes, so that all of them are listed quickly.
    CREATE TABLE frame (
        seq INTEGER PRIMARY KEY,
        cluster INTEGER REFERENCES name (id),  -- null: the sinks' own state
        beat_ms INTEGER NOT NULL,
        running INTEGER NOT NULL,              -- 1: an evaluation with groups and statuses
        rows INTEGER NOT NULL,
        rows_through INTEGER NOT NULL,         -- rows of all frames up to this one
        bytes INTEGER NOT NULL,
        parts INTEGER NOT NULL
    ) STRICT;

    -- The pieces of frames: id = seq * 4096 + place.
    CREATE TABLE part (
        id INTEGER PRIMARY KEY,
        bytes BLOB NOT NULL
    ) STRICT;

    -- How far each sink is, with its counts up to there.
    CREATE TABLE cursor (
        sink TEXT PRIMARY KEY,
        seq INTEGER NOT NULL,
        beat_ms INTEGER,
        rows_through INTEGER NOT NULL,
        offered INTEGER NOT NULL,
        delivered INTEGER NOT NULL,
        filtered INTEGER NOT NULL,
        rejected INTEGER NOT NULL,
        expired INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    -- Every change of a status; without a topic it is the whole group's.
    CREATE TABLE status_change (
        id INTEGER PRIMARY KEY,
        seq INTEGER NOT NULL,
        beat_ms INTEGER NOT NULL,
        cluster INTEGER NOT NULL REFERENCES name (id),
        consumer_group INTEGER NOT NULL REFERENCES name (id),
        topic INTEGER REFERENCES name (id),
        partition INTEGER,
        from_status INTEGER NOT NULL,
        to_status INTEGER NOT NULL,
        reason TEXT NOT NULL
    ) STRICT;
    ",
    // 2: what sinks have missed; finding status changes.
    "
    -- Frames that were gone or broken when a sink came to them.
    CREATE TABLE hole (
        sink TEXT NOT NULL,
        first_seq INTEGER NOT NULL,
        last_seq INTEGER NOT NULL,
        after_ms INTEGER,                      -- beat of the frame before; null: there was none
        before_ms INTEGER NOT NULL,            -- beat of the frame behind
        rows INTEGER NOT NULL,
        why TEXT NOT NULL,
        PRIMARY KEY (sink, first_seq)
    ) STRICT, WITHOUT ROWID;

    CREATE INDEX status_change_by_beat ON status_change (beat_ms);
    CREATE INDEX status_change_by_group ON status_change (consumer_group, beat_ms);
    ",
    // 3: the history.
    "
    CREATE INDEX frame_by_beat ON frame (cluster, beat_ms);

    -- The frames of one cluster's hour, as far as they are turned into blocks. A clock that was set
    -- back gives an hour a second time, with later frames.
    CREATE TABLE seal (
        id INTEGER PRIMARY KEY,
        cluster INTEGER NOT NULL,
        hour_ms INTEGER NOT NULL,
        first_seq INTEGER NOT NULL,
        last_seq INTEGER NOT NULL,
        step INTEGER NOT NULL,                 -- next: 0 groups, 1 topics, 2 cluster; 3 done, 4 gone
        next BLOB NOT NULL,                    -- where the step goes on
        beats INTEGER NOT NULL,
        skipped INTEGER NOT NULL,              -- frames that could not be read
        bytes INTEGER NOT NULL                 -- of its blocks
    ) STRICT;
    CREATE INDEX seal_by_hour ON seal (hour_ms, cluster);

    -- A run of series in the order of their names, from the first to the last one.
    CREATE TABLE block (
        id INTEGER PRIMARY KEY,
        seal INTEGER NOT NULL,
        kind INTEGER NOT NULL,
        first BLOB NOT NULL,
        last BLOB NOT NULL,
        bytes BLOB NOT NULL
    ) STRICT;
    CREATE INDEX block_by_place ON block (seal, kind, last, first);

    -- What five minutes of a group (topic 0), of a group's topic, or of a topic (group 0) come to. Rows
    -- of a day stand together. Null: unknown. The meaning of each column: src/store/history/rollup.rs.
    CREATE TABLE rollup_5m (
        day INTEGER NOT NULL,                  -- start_s / 86400
        cluster INTEGER NOT NULL,
        consumer_group INTEGER NOT NULL,
        topic INTEGER NOT NULL,
        start_s INTEGER NOT NULL,              -- seconds since 1970
        beats INTEGER NOT NULL,
        lag_min INTEGER,
        lag_avg REAL,
        lag_max INTEGER,
        lag_p95 INTEGER,
        time_lag_max_s REAL,
        produced INTEGER,
        consumed INTEGER,
        produce_rate_max REAL,
        consume_rate_max REAL,
        ok_s REAL,
        warn_s REAL,
        err_s REAL,
        PRIMARY KEY (day, cluster, consumer_group, topic, start_s)
    ) STRICT, WITHOUT ROWID;

    -- The same of an hour.
    CREATE TABLE rollup_1h (
        day INTEGER NOT NULL,
        cluster INTEGER NOT NULL,
        consumer_group INTEGER NOT NULL,
        topic INTEGER NOT NULL,
        start_s INTEGER NOT NULL,
        beats INTEGER NOT NULL,
        lag_min INTEGER,
        lag_avg REAL,
        lag_max INTEGER,
        lag_p95 INTEGER,
        time_lag_max_s REAL,
        produced INTEGER,
        consumed INTEGER,
        produce_rate_max REAL,
        consume_rate_max REAL,
        ok_s REAL,
        warn_s REAL,
        err_s REAL,
        PRIMARY KEY (day, cluster, consumer_group, topic, start_s)
    ) STRICT, WITHOUT ROWID;
    ",
    // 4: what each cluster remembers, for the next start.
    "
    -- The pieces of one snapshot a cluster; place 0 is its head.
    CREATE TABLE snapshot (
        cluster TEXT NOT NULL,
        place INTEGER NOT NULL,
        saved_ms INTEGER NOT NULL,
        bytes BLOB NOT NULL,
        PRIMARY KEY (cluster, place)
    ) STRICT;
    ",
    // 5: how large the tables are.
    "
    -- Rows of tables that are too large to be counted, and bytes of the texts in them.
    CREATE TABLE layer (
        name TEXT PRIMARY KEY,
        rows INTEGER NOT NULL,
        text INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    INSERT INTO layer
        SELECT 'name', count(*), coalesce(sum(length(CAST(text AS BLOB))), 0) FROM name;
    INSERT INTO layer
        SELECT 'status_change', count(*), coalesce(sum(length(CAST(reason AS BLOB))), 0)
        FROM status_change;
    INSERT INTO layer SELECT 'rollup_5m', count(*), 0 FROM rollup_5m;
    INSERT INTO layer SELECT 'rollup_1h', count(*), 0 FROM rollup_1h;
    ",
    // 6: until when names are needed.
    "
    -- The last hour (since 1970) whose frames and blocks use the name, and whose rollups and status
    -- changes do; noted when an hour is sealed, twice a day at least. src/store/writer/names.rs
    ALTER TABLE name ADD COLUMN frame_hour INTEGER NOT NULL DEFAULT 65536;
    ALTER TABLE name ADD COLUMN row_hour INTEGER NOT NULL DEFAULT 65536;
    UPDATE name SET (frame_hour, row_hour) =
        (SELECT hour, hour FROM
            (SELECT max(coalesce((SELECT max(beat_ms) FROM frame), 0),
                        coalesce((SELECT max(hour_ms) FROM seal), 0)) / 3600000 AS hour));
    ",
];

/// Somebody may look into the file with other programs; this long they get to let go.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The version this program writes.
pub(super) const VERSION: usize = MIGRATIONS.len();

/// Opens the file for the writer, and brings it to the newest version.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    let broken = |error: &rusqlite::Error| StoreError::unusable(path, error);
    let mut connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(|error| broken(&error))?;
    connection
        .busy_timeout(PATIENCE)
        .map_err(|error| broken(&error))?;
    let found = version(path, &connection)?;
    if found == 0 {
        connection
            .execute_batch("PRAGMA auto_vacuum = INCREMENTAL")
            .map_err(|error| broken(&error))?;
    }
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             PRAGMA wal_autocheckpoint = 0;
             PRAGMA journal_size_limit = 16777216;
             PRAGMA temp_store = MEMORY;",
        )
        .map_err(|error| broken(&error))?;
    migrate(&mut connection, found).map_err(|error| broken(&error))?;
    Ok(connection)
}

/// Opens the file for reading beside the writer.
pub(super) fn open_reader(path: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(Duration::from_secs(1))?;
    Ok(connection)
}

/// Opens the file for reading, beside its writer or when it has none, if it has this version.
pub(super) fn open_archive(path: &Path) -> Result<Connection, StoreError> {
    let unreadable = |error: &rusqlite::Error| StoreError::unreadable(path, error);
    std::fs::metadata(path).map_err(|error| StoreError::Unreadable {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    let connection = open_reader(path).map_err(|error| unreadable(&error))?;
    let connection = match is_readable(&connection) {
        Ok(()) => connection,
        // Nobody has it open, and the directory does not let this user make what a reader needs
        // beside the writer: then nothing changes the file either.
        Err(_) if !has_log(path) => open_unchanging(path).map_err(|error| unreadable(&error))?,
        Err(error) => return Err(unreadable(&error)),
    };
    is_readable(&connection).map_err(|error| unreadable(&error))?;
    match version(path, &connection)? {
        VERSION => Ok(connection),
        found => Err(StoreError::Older {
            path: path.to_owned(),
            found,
            known: VERSION,
        }),
    }
}

fn is_readable(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
}

/// Whether there is a write-ahead log.
fn has_log(path: &Path) -> bool {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    Path::new(&name).exists()
}

fn open_unchanging(path: &Path) -> Result<Connection, rusqlite::Error> {
    const ESCAPED: &percent_encoding::AsciiSet =
        &percent_encoding::CONTROLS.add(b'%').add(b'?').add(b'#');
    let bytes = path.as_os_str().as_encoded_bytes();
    let escaped = percent_encoding::percent_encode(bytes, ESCAPED);
    Connection::open_with_flags(
        format!("file:{escaped}?immutable=1"),
        OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_URI,
    )
}

/// The file's version, 0 for an empty file.
fn version(path: &Path, connection: &Connection) -> Result<usize, StoreError> {
    let pragma = |name: &str| -> Result<i64, StoreError> {
        connection
            .pragma_query_value(None, name, |row| row.get(0))
            .map_err(|error| StoreError::unusable(path, &error))
    };
    let (application, found) = (pragma("application_id")?, pragma("user_version")?);
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(|error| StoreError::unusable(path, &error))?;
    let is_empty = tables == 0 && application == 0 && found == 0;
    if !is_empty && application != APPLICATION_ID {
        return Err(StoreError::Foreign {
            path: path.to_owned(),
        });
    }
    match usize::try_from(found) {
        Ok(found) if found <= VERSION => Ok(found),
        _ => Err(StoreError::Newer {
            path: path.to_owned(),
            found,
            known: VERSION,
        }),
    }
}

/// Each migration is one transaction: a crash in between leaves a whole older file.
fn migrate(connection: &mut Connection, found: usize) -> Result<(), rusqlite::Error> {
    for (version, sql) in (1_i64..).zip(MIGRATIONS).skip(found) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}
