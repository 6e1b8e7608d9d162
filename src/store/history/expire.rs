//! What of the history has to go, and how it goes: the oldest blocks, the oldest rollups.
//!
//! An hour whose blocks go is noted as gone at once, so that nobody reads half of it, and stays noted
//! as long as its frames are in the journal: it is not sealed again.

use rusqlite::{Connection, params};

use super::HOUR;
use super::rollup::FIVE_MINUTES;
use crate::clock::Timestamp;

/// Blocks that go with one write for their age alone, at most.
const AGED_AT_ONCE: usize = 16;

/// Rollups that go at once, at most.
const ROWS_AT_ONCE: u32 = 512;

/// Blocks that are deleted with a write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct Dropped {
    blocks: Vec<(i64, i64)>,
    /// Pages that become free, rather too few.
    pub(in crate::store) pages: u64,
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
            if dropped.pages >= missing && !is_aged {
                return Ok(dropped);
            }
            let bytes: i64 = block.get(1)?;
            dropped.pages += u64::try_from(bytes).unwrap_or(0) / (page_size - 4);
            dropped.blocks.push((seal, block.get(0)?));
        }
    }
    Ok(dropped)
}

/// Deletes chosen blocks, within the caller's transaction.
pub(in crate::store) fn delete(
    connection: &Connection,
    dropped: &Dropped,
) -> Result<(), rusqlite::Error> {
    let mut last = None;
    for (seal, block) in &dropped.blocks {
        if last != Some(seal) {
            connection
                .prepare_cached("UPDATE seal SET step = 4, bytes = 0 WHERE id = ?1 AND step = 3")?
                .execute([seal])?;
            last = Some(seal);
        }
        connection
            .prepare_cached("DELETE FROM block WHERE id = ?1")?
            .execute([block])?;
    }
    Ok(())
}

/// Deletes some rollups that begin before these moments (of five minutes, of an hour), or the oldest
/// ones when `is_full`; and forgets hours whose blocks and frames are gone. How many rows went.
pub(in crate::store) fn tidy(
    connection: &Connection,
    keep_from: (Timestamp, Timestamp),
    is_full: bool,
) -> Result<usize, rusqlite::Error> {
    connection
        .prepare_cached(
            "DELETE FROM seal WHERE step = 4
               AND last_seq < (SELECT min(seq) FROM frame)
               AND NOT EXISTS (SELECT 1 FROM block WHERE block.seal = seal.id)",
        )?
        .execute([])?;
    let mut gone = 0;
    for (span, table, from) in [
        (FIVE_MINUTES, "rollup_5m", keep_from.0),
        (HOUR, "rollup_1h", keep_from.1),
    ] {
        let before = match is_full {
            true => i64::MAX,
            false => from.aligned(span).as_secs(),
        };
        let keys = "day, cluster, consumer_group, topic, start_s";
        gone += connection
            .prepare_cached(&format!(
                "DELETE FROM {table} WHERE ({keys}) IN
                     (SELECT {keys} FROM {table} WHERE day <= ?1 AND start_s < ?2
                      ORDER BY day LIMIT ?3)"
            ))?
            .execute(params![before.div_euclid(86_400), before, ROWS_AT_ONCE])?;
        if is_full && gone > 0 {
            break;
        }
    }
    Ok(gone)
}
