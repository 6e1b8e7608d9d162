//! The statements of the history: what the writer writes of a sealed hour, what reading finds.
//!
//! A slice of blocks and how far sealing is stand in one transaction: a sealer that starts again goes
//! on behind the last slice that is on disk.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::block::Kind;
use super::key::Key;
use super::rollup_rows::{self, NewRow};
use crate::clock::Timestamp;
use crate::store::frame::Seq;

/// What is done next of an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(in crate::store) enum Step {
    Groups = 0,
    Topics = 1,
    Cluster = 2,
    Done = 3,
}

impl Step {
    fn from_code(code: i64) -> Option<Self> {
        Some(match code {
            0 => Step::Groups,
            1 => Step::Topics,
            2 => Step::Cluster,
            3 => Step::Done,
            _ => return None,
        })
    }
}

/// How far an hour is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct Progress {
    pub(in crate::store) step: Step,
    pub(super) next: Key,
}

impl Progress {
    /// The beginning of a step.
    pub(super) fn at(step: Step) -> Self {
        Self {
            step,
            next: Key::default(),
        }
    }
}

/// A cluster's hour that is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct Hour {
    pub(super) cluster: u32,
    pub(super) hour: Timestamp,
    pub(super) first: Seq,
    pub(super) last: Seq,
}

/// A block to be written.
#[derive(Debug)]
pub(super) struct NewBlock {
    pub(super) kind: Kind,
    pub(super) first: Key,
    pub(super) last: Key,
    pub(super) bytes: Vec<u8>,
}

/// What one transaction adds to a sealed hour.
#[derive(Debug)]
pub(in crate::store) struct Slice {
    pub(super) seal: i64,
    pub(super) before: Progress,
    pub(super) after: Progress,
    pub(super) blocks: Vec<NewBlock>,
    pub(super) rows: Vec<NewRow>,
    /// Beats that are in the blocks, and frames that could not be read; with the last slice.
    pub(super) beats: u64,
    pub(super) skipped: u64,
}

impl Slice {
    fn bytes(&self) -> u64 {
        let bytes = self.blocks.iter().map(|block| block.bytes.len());
        bytes.sum::<usize>() as u64
    }

    /// Pages that writing takes, rather too many.
    pub(in crate::store) fn pages(&self, page_size: u64) -> u64 {
        let keys = |block: &NewBlock| 2 * (block.first.0.len() + block.last.0.len() + 32);
        let keys: usize = self.blocks.iter().map(keys).sum();
        // Those of one subject stand together: on two pages, in two tables.
        let subject = |row: &NewRow| (row.group, row.topic);
        let is_new = |two: &&[NewRow]| subject(&two[0]) != subject(&two[1]);
        let subjects = 1 + self.rows.windows(2).filter(is_new).count() as u64;
        let rows = 2 * subjects + self.rows.len() as u64 / 32;
        (self.bytes() + keys as u64).div_ceil(page_size - 4) + self.blocks.len() as u64 + rows + 16
    }
}

fn sql(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Notes that an hour is being sealed, and gives its number.
pub(in crate::store) fn begin(
    connection: &mut Connection,
    hour: &Hour,
) -> Result<i64, rusqlite::Error> {
    connection
        .prepare_cached(
            "INSERT INTO seal (cluster, hour_ms, first_seq, last_seq, step, next, beats, skipped,
                               bytes)
             VALUES (?1, ?2, ?3, ?4, 0, x'', 0, 0, 0)",
        )?
        .insert(params![
            hour.cluster,
            hour.hour.as_ms(),
            hour.first.0,
            hour.last.0
        ])
}

/// Writes a slice in one transaction. Does nothing when sealing is not where the slice begins.
pub(in crate::store) fn write_slice(
    connection: &mut Connection,
    slice: &Slice,
) -> Result<(), rusqlite::Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let moved = transaction
        .prepare_cached(
            "UPDATE seal SET step = ?2, next = ?3, beats = ?4, skipped = ?5, bytes = bytes + ?6
             WHERE id = ?1 AND step = ?7 AND next = ?8",
        )?
        .execute(params![
            slice.seal,
            slice.after.step as u8,
            slice.after.next.0,
            sql(slice.beats),
            sql(slice.skipped),
            sql(slice.bytes()),
            slice.before.step as u8,
            slice.before.next.0,
        ])?;
    if moved == 0 {
        return Ok(());
    }
    {
        let mut insert = transaction.prepare_cached(
            "INSERT INTO block (seal, kind, first, last, bytes) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        for block in &slice.blocks {
            insert.execute(params![
                slice.seal,
                block.kind as u8,
                block.first.0,
                block.last.0,
                block.bytes
            ])?;
        }
    }
    rollup_rows::insert(&transaction, &slice.rows)?;
    transaction.commit()
}

/// The hours whose sealing was begun and not finished.
pub(super) fn unfinished(
    connection: &Connection,
) -> Result<Vec<(i64, Hour, Progress)>, rusqlite::Error> {
    let mut statement = connection.prepare_cached(
        "SELECT id, cluster, hour_ms, first_seq, last_seq, step, next FROM seal WHERE step < 3
         ORDER BY hour_ms, id",
    )?;
    let rows = statement.query_map([], |row| {
        let hour = Hour {
            cluster: row.get(1)?,
            hour: Timestamp::from_ms(row.get(2)?),
            first: Seq(row.get(3)?),
            last: Seq(row.get(4)?),
        };
        let progress = Progress {
            step: Step::from_code(row.get(5)?).unwrap_or(Step::Done),
            next: Key(row.get(6)?),
        };
        Ok((row.get(0)?, hour, progress))
    })?;
    rows.collect()
}

/// The hours before `horizon` that have frames behind those that are sealed, oldest first.
pub(super) fn unsealed(
    connection: &Connection,
    horizon: Timestamp,
) -> Result<Vec<Hour>, rusqlite::Error> {
    let hour_ms = i64::try_from(super::HOUR.as_millis()).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(
        "SELECT cluster, beat_ms / ?2 * ?2 AS hour, min(seq), max(seq) FROM frame
         WHERE cluster IS NOT NULL AND beat_ms < ?1 GROUP BY 1, 2 ORDER BY 2, 1",
    )?;
    let rows = statement.query_map([horizon.as_ms(), hour_ms], |row| {
        Ok(Hour {
            cluster: row.get(0)?,
            hour: Timestamp::from_ms(row.get(1)?),
            first: Seq(row.get(2)?),
            last: Seq(row.get(3)?),
        })
    })?;
    let mut hours = Vec::new();
    for hour in rows.collect::<Result<Vec<_>, _>>()? {
        let sealed: Option<i64> = connection
            .prepare_cached("SELECT max(last_seq) FROM seal WHERE hour_ms = ?1 AND cluster = ?2")?
            .query_row(params![hour.hour.as_ms(), hour.cluster], |row| row.get(0))?;
        let sealed = sealed.unwrap_or(0);
        if hour.last.0 > sealed {
            hours.push(Hour {
                first: hour.first.max(Seq(sealed + 1)),
                ..hour
            });
        }
    }
    Ok(hours)
}

/// The frames of an hour: number, beat and how many pieces; at most `limit`.
pub(super) fn frames(
    connection: &Connection,
    hour: &Hour,
    limit: usize,
) -> Result<Vec<(Seq, Timestamp, usize)>, rusqlite::Error> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, beat_ms, parts FROM frame
         WHERE cluster = ?1 AND beat_ms >= ?2 AND beat_ms < ?3 AND seq BETWEEN ?4 AND ?5
         ORDER BY seq LIMIT ?6",
    )?;
    let end = hour.hour.plus(super::HOUR);
    let rows = statement.query_map(
        params![
            hour.cluster,
            hour.hour.as_ms(),
            end.as_ms(),
            hour.first.0,
            hour.last.0,
            sql(limit as u64)
        ],
        |row| {
            let parts: i64 = row.get(2)?;
            Ok((
                Seq(row.get(0)?),
                Timestamp::from_ms(row.get(1)?),
                usize::try_from(parts).unwrap_or(0),
            ))
        },
    )?;
    rows.collect()
}

/// The last frame of the same cluster before an hour, within the hour before it.
pub(super) fn frame_before(
    connection: &Connection,
    hour: &Hour,
) -> Result<Option<(Seq, Timestamp, usize)>, rusqlite::Error> {
    connection
        .prepare_cached(
            "SELECT seq, beat_ms, parts FROM frame
             WHERE cluster = ?1 AND beat_ms >= ?2 AND beat_ms < ?3 AND seq < ?4
             ORDER BY beat_ms DESC, seq DESC LIMIT 1",
        )?
        .query_row(
            params![
                hour.cluster,
                hour.hour.minus(super::HOUR).as_ms(),
                hour.hour.as_ms(),
                hour.first.0
            ],
            |row| {
                let parts: i64 = row.get(2)?;
                Ok((
                    Seq(row.get(0)?),
                    Timestamp::from_ms(row.get(1)?),
                    usize::try_from(parts).unwrap_or(0),
                ))
            },
        )
        .optional()
}

/// The number and the hour of each sealed hour of a cluster, in an order in which later frames come
/// later.
pub(super) fn seals(
    connection: &Connection,
    cluster: &str,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<(i64, Hour)>, rusqlite::Error> {
    let mut statement = connection.prepare_cached(
        "SELECT id, cluster, hour_ms, first_seq, last_seq FROM seal
         WHERE hour_ms >= ?2 AND hour_ms < ?3 AND step = 3
           AND cluster IN (SELECT id FROM name WHERE text = ?1)
         ORDER BY hour_ms, first_seq",
    )?;
    let rows = statement.query_map(params![cluster, from.as_ms(), to.as_ms()], |row| {
        let hour = Hour {
            cluster: row.get(1)?,
            hour: Timestamp::from_ms(row.get(2)?),
            first: Seq(row.get(3)?),
            last: Seq(row.get(4)?),
        };
        Ok((row.get(0)?, hour))
    })?;
    rows.collect()
}

/// A row about an hour that is sealed, or is being sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SealRow {
    pub(super) id: i64,
    pub(super) hour: Timestamp,
    pub(super) first: Seq,
    pub(super) last: Seq,
    /// As [`Step`]; 4: its blocks are gone.
    pub(super) step: i64,
    pub(super) beats: u64,
    pub(super) skipped: u64,
}

/// The hours of a cluster that begin in `[from, to)`, in an order in which later frames come later.
pub(super) fn all_seals(
    connection: &Connection,
    cluster: &str,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<SealRow>, rusqlite::Error> {
    let mut statement = connection.prepare_cached(
        "SELECT id, hour_ms, first_seq, last_seq, step, beats, skipped FROM seal
         WHERE hour_ms >= ?2 AND hour_ms < ?3
           AND cluster IN (SELECT id FROM name WHERE text = ?1)
         ORDER BY hour_ms, first_seq",
    )?;
    let count = |value: i64| u64::try_from(value).unwrap_or(0);
    let rows = statement.query_map(params![cluster, from.as_ms(), to.as_ms()], |row| {
        Ok(SealRow {
            id: row.get(0)?,
            hour: Timestamp::from_ms(row.get(1)?),
            first: Seq(row.get(2)?),
            last: Seq(row.get(3)?),
            step: row.get(4)?,
            beats: count(row.get(5)?),
            skipped: count(row.get(6)?),
        })
    })?;
    rows.collect()
}

/// The blocks of a sealed hour that overlap a range of places, in their order.
pub(super) fn blocks(
    connection: &Connection,
    seal: i64,
    kind: Kind,
    from: &Key,
    to: &Key,
) -> Result<Vec<i64>, rusqlite::Error> {
    let mut statement = connection.prepare_cached(
        "SELECT id, first FROM block WHERE seal = ?1 AND kind = ?2 AND last >= ?3 ORDER BY last",
    )?;
    let mut rows = statement.query(params![seal, kind as u8, from.0])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        if row.get_ref(1)?.as_blob()? > to.0.as_slice() {
            break;
        }
        found.push(row.get(0)?);
    }
    Ok(found)
}

/// The bytes of a block.
pub(super) fn block(connection: &Connection, id: i64) -> Result<Option<Vec<u8>>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT bytes FROM block WHERE id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()
}
