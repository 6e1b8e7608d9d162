//! Rollups as rows of SQL.

use std::time::Duration;

use rusqlite::{Connection, Row as SqlRow, Statement, params};

use super::HOUR;
use super::rollup::{FIVE_MINUTES, Rollup, StatusSeconds, Subject};
use crate::clock::Timestamp;
use crate::store::layers::{self, Table};

/// Seconds of a day: rows of one day stand together, so that old ones go together.
const DAY_S: i64 = 86_400;

/// A row to be written, with its names as numbers; 0 for "none".
#[derive(Clone, Debug, PartialEq)]
pub(super) struct NewRow {
    pub(super) cluster: u32,
    pub(super) group: u32,
    pub(super) topic: u32,
    pub(super) start: Timestamp,
    pub(super) span: Duration,
    pub(super) rollup: Rollup,
}

/// Writes rows. An hour that comes a second time, because the clock was set back, is added to what is
/// there; its 95th percentile is the greater one of both.
pub(super) fn insert(connection: &Connection, rows: &[NewRow]) -> Result<(), rusqlite::Error> {
    for (span, of_span) in [(FIVE_MINUTES, Table::Rollup5m), (HOUR, Table::Rollup1h)] {
        let mut statement = connection.prepare_cached(&upsert(of_span))?;
        let mut new = 0;
        for row in rows.iter().filter(|row| row.span == span) {
            let beats = upsert_row(&mut statement, row)?;
            new += i64::from(beats == row.rollup.beats);
        }
        layers::note(connection, of_span, new, 0)?;
    }
    Ok(())
}

/// The statement that writes one row, and gives the beats that it has then.
fn upsert(table: Table) -> String {
    let sets = [
        greater("lag_max"),
        greater("lag_p95"),
        greater("time_lag_max_s"),
        greater("produce_rate_max"),
        greater("consume_rate_max"),
        // What is too great for a whole number stays the greatest one.
        "produced = coalesce(CAST(produced + excluded.produced AS INTEGER), produced,
                             excluded.produced)"
            .to_owned(),
        "consumed = coalesce(CAST(consumed + excluded.consumed AS INTEGER), consumed,
                             excluded.consumed)"
            .to_owned(),
        sum("ok_s"),
        sum("warn_s"),
        sum("err_s"),
    ];
    format!(
        "INSERT INTO {} (day, cluster, consumer_group, topic, start_s, beats, lag_min,
             lag_avg, lag_max, lag_p95, time_lag_max_s, produced, consumed, produce_rate_max,
             consume_rate_max, ok_s, warn_s, err_s)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)
         ON CONFLICT DO UPDATE SET
             lag_avg = coalesce((lag_avg * beats + excluded.lag_avg * excluded.beats)
                                / (beats + excluded.beats), lag_avg, excluded.lag_avg),
             beats = beats + excluded.beats,
             lag_min = coalesce(min(lag_min, excluded.lag_min), lag_min, excluded.lag_min),
             {}
         RETURNING beats",
        table.name(),
        sets.join(", ")
    )
}

fn upsert_row(statement: &mut Statement<'_>, row: &NewRow) -> Result<u32, rusqlite::Error> {
    let start = row.start.as_secs();
    let Rollup {
        beats,
        lag_min,
        lag_avg,
        lag_max,
        lag_p95,
        time_lag_max_s,
        produced,
        consumed,
        produce_rate_max,
        consume_rate_max,
        status_s,
    } = &row.rollup;
    let row = params![
        start.div_euclid(DAY_S),
        row.cluster,
        row.group,
        row.topic,
        start,
        beats,
        lag_min,
        lag_avg,
        lag_max,
        lag_p95,
        time_lag_max_s,
        produced,
        consumed,
        produce_rate_max,
        consume_rate_max,
        status_s.map(|s| s.ok),
        status_s.map(|s| s.warn),
        status_s.map(|s| s.err),
    ];
    statement.query_row(row, |row| row.get(0))
}

fn greater(column: &str) -> String {
    format!("{column} = coalesce(max({column}, excluded.{column}), {column}, excluded.{column})")
}

fn sum(column: &str) -> String {
    format!("{column} = coalesce({column} + excluded.{column}, {column}, excluded.{column})")
}

/// The rows of a subject in `[from, to)`, oldest first.
pub(super) fn read(
    connection: &Connection,
    cluster: &str,
    subject: &Subject,
    span: Duration,
    (from, to): (Timestamp, Timestamp),
) -> Result<Vec<(Timestamp, Rollup)>, rusqlite::Error> {
    let table = match span {
        FIVE_MINUTES => Table::Rollup5m.name(),
        HOUR => Table::Rollup1h.name(),
        _ => return Ok(Vec::new()),
    };
    let (group, topic) = match subject {
        Subject::Group(group) => (Some(group.as_str()), None),
        Subject::GroupTopic(group, topic) => (Some(group.as_str()), Some(topic.as_str())),
        Subject::Topic(topic) => (None, Some(topic.as_str())),
    };
    let clusters = numbers(connection, Some(cluster))?;
    let groups = numbers(connection, group)?;
    let topics = numbers(connection, topic)?;
    let mut statement = connection.prepare_cached(&format!(
        "SELECT start_s, beats, lag_min, lag_avg, lag_max, lag_p95, time_lag_max_s, produced,
                consumed, produce_rate_max, consume_rate_max, ok_s, warn_s, err_s
         FROM {table} WHERE day = ?1 AND cluster = ?2 AND consumer_group = ?3 AND topic = ?4
           AND start_s >= ?5 AND start_s < ?6"
    ))?;
    // Only days that are there: the range may be all of time.
    let (first, last): (Option<i64>, Option<i64>) = connection
        .prepare_cached(&format!(
            "SELECT (SELECT min(day) FROM {table}), (SELECT max(day) FROM {table})"
        ))?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (Some(first), Some(last)) = (first, last) else {
        return Ok(Vec::new());
    };
    let (from, to) = (from.as_secs(), to.as_secs());
    let days = from.div_euclid(DAY_S).max(first)..=to.div_euclid(DAY_S).min(last);
    let mut rows = Vec::new();
    for day in days {
        // Nearly always one number each.
        for cluster in &clusters {
            for group in &groups {
                for topic in &topics {
                    let found = statement
                        .query_map(params![day, cluster, group, topic, from, to], rollup)?;
                    for row in found {
                        rows.push(row?);
                    }
                }
            }
        }
    }
    rows.sort_by_key(|(start, _)| *start);
    Ok(rows)
}

/// The numbers of a name: mostly one. 0 without a name.
fn numbers(connection: &Connection, name: Option<&str>) -> Result<Vec<u32>, rusqlite::Error> {
    let Some(name) = name else {
        return Ok(vec![0]);
    };
    let mut statement = connection.prepare_cached("SELECT id FROM name WHERE text = ?1")?;
    let rows = statement.query_map([name], |row| row.get(0))?;
    rows.collect()
}

fn rollup(row: &SqlRow<'_>) -> Result<(Timestamp, Rollup), rusqlite::Error> {
    let status_s = match (row.get(11)?, row.get(12)?, row.get(13)?) {
        (Some(ok), Some(warn), Some(err)) => Some(StatusSeconds { ok, warn, err }),
        _ => None,
    };
    let rollup = Rollup {
        beats: row.get(1)?,
        lag_min: row.get(2)?,
        lag_avg: row.get(3)?,
        lag_max: row.get(4)?,
        lag_p95: row.get(5)?,
        time_lag_max_s: row.get(6)?,
        produced: row.get(7)?,
        consumed: row.get(8)?,
        produce_rate_max: row.get(9)?,
        consume_rate_max: row.get(10)?,
        status_s,
    };
    Ok((Timestamp::from_secs(row.get(0)?), rollup))
}
