//! Until when names are needed: the hours that use them.
//!
//! A name has two stamps: the last hour whose frames and blocks use it, and the last one whose rollups
//! and status changes do. They are renewed when an hour is sealed, before it counts as sealed, and
//! only when they are [`SLACK`] hours behind, so that most names cost nothing in most hours.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::HOUR_MS;
use crate::clock::Timestamp;
use crate::store::layers::{self, Table};

/// Hours that a stamp may be behind.
const SLACK: i64 = 12;

/// The stamp of a name that no sealed hour uses: an hour of 1977, which takes as many bytes as those
/// of today, so that stamping makes no row longer.
pub(in crate::store) const NEVER: i64 = 1 << 16;

/// A name that is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Used {
    pub(in crate::store) id: u32,
    /// By rollups or status changes, too.
    pub(in crate::store) by_rows: bool,
}

/// The hours since 1970.
pub(in crate::store) fn hour_of(at: Timestamp) -> i64 {
    at.as_ms().div_euclid(HOUR_MS)
}

/// Whether the stamps of a name are too old for this hour.
pub(super) fn is_due(
    connection: &Connection,
    used: Used,
    hour: i64,
) -> Result<bool, rusqlite::Error> {
    let stamps: Option<(i64, i64)> = connection
        .prepare_cached("SELECT frame_hour, row_hour FROM name WHERE id = ?1")?
        .query_row([used.id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let is_old = |stamp| stamp + SLACK < hour;
    Ok(stamps.is_some_and(|(frame, row)| is_old(frame) || (used.by_rows && is_old(row))))
}

/// Renews the stamps of a name.
pub(in crate::store) fn stamp(
    connection: &Connection,
    used: Used,
    hour: i64,
) -> Result<(), rusqlite::Error> {
    if is_due(connection, used, hour)? {
        let row_hour = if used.by_rows { hour } else { NEVER };
        connection
            .prepare_cached(
                "UPDATE name SET frame_hour = max(frame_hour, ?2), row_hour = max(row_hour, ?3)
                 WHERE id = ?1",
            )?
            .execute([i64::from(used.id), hour, row_hour])?;
    }
    Ok(())
}

/// The oldest hours of which there is something: of blocks (none without), of rollups and status
/// changes.
fn oldest(connection: &Connection) -> Result<(Option<i64>, i64), rusqlite::Error> {
    connection
        .prepare_cached(
            "SELECT (SELECT min(hour_ms) FROM seal) / ?1,
                    min(coalesce((SELECT min(day) * 24 FROM rollup_5m), ?2),
                        coalesce((SELECT min(day) * 24 FROM rollup_1h), ?2),
                        coalesce((SELECT min(beat_ms) FROM status_change) / ?1, ?2))",
        )?
        .query_row([HOUR_MS, i64::MAX], |row| Ok((row.get(0)?, row.get(1)?)))
}

/// Before which hours stamps say that nothing uses a name any more: of frames, of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Unused {
    frames: i64,
    rows: i64,
}

impl Unused {
    /// As of now; `frame` is the oldest beat in the journal.
    pub(in crate::store) fn now(
        connection: &Connection,
        frame: Timestamp,
    ) -> Result<Self, rusqlite::Error> {
        let (blocks, rows) = oldest(connection)?;
        let frames = hour_of(frame);
        let frames = blocks.map_or(frames, |blocks| frames.min(blocks));
        Ok(Self {
            frames: frames.saturating_sub(SLACK),
            rows: rows.saturating_sub(SLACK),
        })
    }
}

/// A name that may go.
#[derive(Clone, Debug)]
pub(in crate::store) struct Candidate {
    pub(in crate::store) id: u32,
    pub(in crate::store) text: String,
}

/// Names with a number in `(after, through]` that nothing uses any more, at most `limit`. Never the
/// last name there is: no number is given twice.
pub(in crate::store) fn unused(
    connection: &Connection,
    unused: Unused,
    (after, through): (i64, i64),
    limit: u32,
) -> Result<Vec<Candidate>, rusqlite::Error> {
    let mut statement = connection.prepare_cached(
        "SELECT id, text FROM name
         WHERE id > ?1 AND id <= ?2 AND id < (SELECT max(id) FROM name)
           AND frame_hour < ?3 AND row_hour < ?4
         ORDER BY id LIMIT ?5",
    )?;
    let rows = statement.query_map(
        params![after, through, unused.frames, unused.rows, limit],
        |row| {
            Ok(Candidate {
                id: row.get(0)?,
                text: row.get(1)?,
            })
        },
    )?;
    rows.collect()
}

/// Deletes names.
pub(in crate::store) fn forget(
    transaction: &Transaction<'_>,
    names: &[Candidate],
) -> Result<(), rusqlite::Error> {
    let mut delete = transaction.prepare_cached("DELETE FROM name WHERE id = ?1")?;
    for name in names {
        delete.execute([name.id])?;
    }
    let text: usize = names.iter().map(|name| name.text.len()).sum();
    let (rows, text) = (layers::signed(names.len()), layers::signed(text));
    layers::note(transaction, Table::Names, -rows, -text)
}
