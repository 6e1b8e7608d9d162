//! What of the history has to go, and how it goes: the oldest blocks, the oldest rollups, the oldest
//! status changes. Everything goes a bounded piece at a time.
//!
//! An hour whose blocks go is noted as gone at once, so that nobody reads half of it, and stays noted
//! as long as its frames are in the journal: it is not sealed again.

use rusqlite::{Connection, params};

use super::HOUR;
use super::rollup::FIVE_MINUTES;
use crate::clock::Timestamp;
use crate::store::layers::{self, AllGone, Gone, Table};

/// Blocks that go with one write for their age alone, at most.
const AGED_AT_ONCE: usize = 16;

/// Rollups, and status changes, that go at once, at most.
const ROWS_AT_ONCE: u32 = 512;

/// Blocks that are deleted with a write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct Dropped {
    blocks: Vec<Block>,
    /// Pages that become free, rather too few.
    pub(in crate::store) pages: u64,
    /// How many go, and why.
    pub(in crate::store) gone: Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    seal: i64,
    id: i64,
    bytes: i64,
}

impl Dropped {
    /// Whether nothing goes.
    pub(in crate::store) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }
}

/// Chooses the oldest blocks until `missing` pages are free, and some of those before `keep_from`.
pub(in crate::store) fn choose(
    connection: &Connection,
    missing: u64,
    keep_from: Option<Timestamp>,
    page_size: u64,
) -> Result<Dropped, rusqlite::Error> {
    let mut dropped = Dropped::default();
    let mut hours = connection.prepare_cached(
        "SELECT id, hour_ms FROM seal
         WHERE step >= 3 AND EXISTS (SELECT 1 FROM block WHERE block.seal = seal.id)
         ORDER BY hour_ms, id",
    )?;
    let mut blocks =
        connection.prepare_cached("SELECT id, length(bytes) FROM block WHERE seal = ?1")?;
    let mut rows = hours.query([])?;
    while let Some(row) = rows.next()? {
        let (seal, hour): (i64, i64) = (row.get(0)?, row.get(1)?);
        let end = Timestamp::from_ms(hour).plus(HOUR);
        let is_old = keep_from.is_some_and(|from| end <= from);
        let mut of_hour = blocks.query([seal])?;
        while let Some(block) = of_hour.next()? {
            let is_aged = is_old && dropped.blocks.len() < AGED_AT_ONCE;
            match (is_aged, dropped.pages < missing) {
                (true, _) => dropped.gone.age += 1,
                (false, true) => dropped.gone.max_size += 1,
                (false, false) => return Ok(dropped),
            }
            let bytes: i64 = block.get(1)?;
            dropped.pages += u64::try_from(bytes).unwrap_or(0) / (page_size - 4);
            dropped.blocks.push(Block {
                seal,
                id: block.get(0)?,
                bytes,
            });
        }
    }
    Ok(dropped)
}

/// Deletes chosen blocks, within the caller's transaction.
pub(in crate::store) fn delete(
    connection: &Connection,
    dropped: &Dropped,
) -> Result<(), rusqlite::Error> {
    for block in &dropped.blocks {
        connection
            .prepare_cached("UPDATE seal SET step = 4, bytes = max(0, bytes - ?2) WHERE id = ?1")?
            .execute([block.seal, block.bytes])?;
        connection
            .prepare_cached("DELETE FROM block WHERE id = ?1")?
            .execute([block.id])?;
    }
    Ok(())
}

/// Forgets hours whose blocks and frames are gone.
pub(in crate::store) fn forget_hours(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached(
            "DELETE FROM seal WHERE step = 4
               AND last_seq < (SELECT min(seq) FROM frame)
               AND NOT EXISTS (SELECT 1 FROM block WHERE block.seal = seal.id)",
        )?
        .execute([])?;
    Ok(())
}

/// Deletes some rollups of five minutes and of hours that begin before these moments, and some
/// status changes before the later moment. Within the caller's transaction.
pub(in crate::store) fn delete_old(
    connection: &Connection,
    (from_5m, from_1h): (Timestamp, Timestamp),
) -> Result<AllGone, rusqlite::Error> {
    let aged = |age| Gone { age, max_size: 0 };
    let of_5m = from_5m.aligned(FIVE_MINUTES).as_secs();
    let of_1h = from_1h.aligned(HOUR).as_secs();
    // Status changes are kept as long as what is kept longest.
    let changes = from_5m.min(from_1h).as_ms();
    Ok(AllGone {
        rollup_5m: aged(delete_rollups(connection, Table::Rollup5m, of_5m)?),
        rollup_1h: aged(delete_rollups(connection, Table::Rollup1h, of_1h)?),
        changes: aged(delete_changes(connection, changes)?),
        ..AllGone::default()
    })
}

/// Deletes some of the oldest status changes and rollups, for room. Within the caller's transaction.
pub(in crate::store) fn delete_oldest(connection: &Connection) -> Result<AllGone, rusqlite::Error> {
    let for_room = |max_size| Gone { age: 0, max_size };
    let changes = delete_changes(connection, i64::MAX)?;
    let of_5m = delete_rollups(connection, Table::Rollup5m, i64::MAX)?;
    let of_1h = match of_5m {
        0 => delete_rollups(connection, Table::Rollup1h, i64::MAX)?,
        _ => 0,
    };
    Ok(AllGone {
        changes: for_room(changes),
        rollup_5m: for_room(of_5m),
        rollup_1h: for_room(of_1h),
        ..AllGone::default()
    })
}

/// Deletes rollups that begin before `before_s`, the oldest first. How many.
fn delete_rollups(
    connection: &Connection,
    table: Table,
    before_s: i64,
) -> Result<u64, rusqlite::Error> {
    let name = table.name();
    let keys = "day, cluster, consumer_group, topic, start_s";
    let gone = connection
        .prepare_cached(&format!(
            "DELETE FROM {name} WHERE ({keys}) IN
                 (SELECT {keys} FROM {name} WHERE day <= ?1 AND start_s < ?2
                  ORDER BY day LIMIT ?3)"
        ))?
        .execute(params![before_s.div_euclid(86_400), before_s, ROWS_AT_ONCE])?;
    layers::note(connection, table, -layers::signed(gone), 0)?;
    Ok(gone as u64)
}

/// Deletes status changes before a beat, the oldest first. How many.
fn delete_changes(connection: &Connection, before_ms: i64) -> Result<u64, rusqlite::Error> {
    let mut statement = connection.prepare_cached(
        "DELETE FROM status_change WHERE id IN
             (SELECT id FROM status_change WHERE beat_ms < ?1 ORDER BY beat_ms LIMIT ?2)
         RETURNING octet_length(reason)",
    )?;
    let mut rows = statement.query(params![before_ms, ROWS_AT_ONCE])?;
    let (mut gone, mut text) = (0_u32, 0_i64);
    while let Some(row) = rows.next()? {
        gone += 1;
        text += row.get::<_, i64>(0)?;
    }
    layers::note(connection, Table::Changes, -i64::from(gone), -text)?;
    Ok(u64::from(gone))
}
