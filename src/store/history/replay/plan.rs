//! The statements of a replay: which hours there are, and what they consist of.

use std::collections::VecDeque;

use rusqlite::{Connection, params};

use super::Scope;
use crate::clock::Timestamp;
use crate::lag::ids::ClusterName;
use crate::store::frame::Seq;
use crate::store::history::HOUR;
use crate::store::history::block::Kind;
use crate::store::history::file::Hour;
use crate::store::history::key::Key;
use crate::store::journal::unsql;

/// An hour of a cluster of which there is something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) cluster: ClusterName,
    /// Its beginning.
    pub(super) start: Timestamp,
    /// Bytes of its blocks, and of its frames that are in no block.
    pub(super) bytes: u64,
}

/// A frame that is in no block.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) seq: Seq,
    pub(super) beat: Timestamp,
    pub(super) bytes: u64,
}

/// A block, with the places it begins and ends at.
#[derive(Clone, Debug)]
pub(super) struct BlockAt {
    pub(super) id: i64,
    pub(super) first: Key,
    pub(super) last: Key,
}

fn range(scope: &Scope) -> (i64, i64) {
    scope
        .frames
        .map_or((i64::MIN, i64::MAX), |(first, last)| (first.0, last.0))
}

/// The hours of which there is something, by cluster, the oldest first.
pub(super) fn hours(file: &Connection, scope: &Scope) -> Result<Vec<Planned>, rusqlite::Error> {
    let hour_ms = i64::try_from(HOUR.as_millis()).unwrap_or(i64::MAX);
    let (first, last) = range(scope);
    let mut statement = file.prepare_cached(
        "SELECT name.text, hour, sum(bytes) FROM (
             SELECT cluster, hour_ms AS hour, bytes FROM seal
             WHERE step = 3 AND hour_ms > ?1 - ?3 AND hour_ms < ?2
               AND last_seq >= ?4 AND first_seq <= ?5
             UNION ALL
             SELECT cluster, beat_ms / ?3 * ?3, bytes FROM frame
             WHERE cluster IS NOT NULL AND beat_ms >= ?1 AND beat_ms < ?2
               AND seq BETWEEN ?4 AND ?5
               AND NOT EXISTS (
                   SELECT 1 FROM seal
                   WHERE seal.hour_ms = beat_ms / ?3 * ?3 AND seal.cluster = frame.cluster
                     AND step = 3 AND seq BETWEEN first_seq AND last_seq)
         ) JOIN name ON name.id = cluster
         WHERE ?6 IS NULL OR name.text = ?6
         GROUP BY 1, 2 ORDER BY 1, 2",
    )?;
    // Far from the ends, so that nothing overflows.
    let [from, to] = [scope.from, scope.to].map(|at| at.as_ms().clamp(-1 << 60, 1 << 60));
    let cluster = scope.cluster.as_ref().map(ClusterName::as_str);
    let rows = statement.query_map(params![from, to, hour_ms, first, last, cluster], |row| {
        Ok(Planned {
            cluster: ClusterName::new(row.get::<_, String>(0)?),
            start: Timestamp::from_ms(row.get(1)?),
            bytes: unsql(row.get(2)?),
        })
    })?;
    rows.collect()
}

/// The frames of an hour that are in none of the sealed runs, in their order.
pub(super) fn frames(
    file: &Connection,
    scope: &Scope,
    hour: &Planned,
    sealed: &[(i64, Hour)],
) -> Result<VecDeque<Listed>, rusqlite::Error> {
    let mut statement = file.prepare_cached(
        "SELECT seq, beat_ms, bytes FROM frame
         WHERE cluster IN (SELECT id FROM name WHERE text = ?1) AND beat_ms >= ?2 AND beat_ms < ?3
           AND seq BETWEEN ?4 AND ?5
         ORDER BY seq",
    )?;
    let (first, last) = range(scope);
    let from = hour.start.max(scope.from);
    let to = hour.start.plus(HOUR).min(scope.to);
    let cluster = hour.cluster.as_str();
    let rows = statement.query_map(
        params![cluster, from.as_ms(), to.as_ms(), first, last],
        |row| {
            Ok(Listed {
                seq: Seq(row.get(0)?),
                beat: Timestamp::from_ms(row.get(1)?),
                bytes: unsql(row.get(2)?),
            })
        },
    )?;
    let mut frames = rows.collect::<Result<VecDeque<_>, _>>()?;
    frames.retain(|frame| {
        let mut sealed = sealed.iter().map(|(_, seal)| seal);
        !sealed.any(|seal| (seal.first..=seal.last).contains(&frame.seq))
    });
    Ok(frames)
}

/// The blocks of a sealed hour from a place up to another, in their order.
pub(super) fn blocks(
    file: &Connection,
    seal: i64,
    kind: Kind,
    (from, to): (&Key, Option<&Key>),
) -> Result<VecDeque<BlockAt>, rusqlite::Error> {
    let mut statement = file.prepare_cached(
        "SELECT id, first, last FROM block WHERE seal = ?1 AND kind = ?2 AND last >= ?3
         ORDER BY last",
    )?;
    let rows = statement.query_map(params![seal, kind as u8, from.0], |row| {
        Ok(BlockAt {
            id: row.get(0)?,
            first: Key(row.get(1)?),
            last: Key(row.get(2)?),
        })
    })?;
    let mut blocks = rows.collect::<Result<VecDeque<_>, _>>()?;
    if let Some(to) = to {
        blocks.retain(|block| block.first <= *to);
    }
    Ok(blocks)
}
