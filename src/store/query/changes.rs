//! Status changes of the past: from the file, or, without one, from the tail.

use rusqlite::types::Value;
use rusqlite::{Row, params_from_iter};

use super::{Past, QueryError};
use crate::clock::Timestamp;
use crate::lag::evaluation::Status;
use crate::lag::ids::{ClusterName, GroupId, TopicName};
use crate::store::frame::{Body, StatusChange};

/// Which changes are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeQuery {
    pub cluster: Option<String>,
    pub group: Option<String>,
    pub topic: Option<String>,
    pub partition: Option<i32>,
    /// Of whole groups only.
    pub groups_only: bool,
    /// To this status only.
    pub to_status: Option<Status>,
    /// From this beat on, up to and including that one.
    pub from: Timestamp,
    pub to: Timestamp,
    /// Only what stands behind this place in the list.
    pub behind: Option<ChangePlace>,
    pub limit: usize,
}

/// The place of a change in the list: newest beat first, and of one beat the last written first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChangePlace {
    pub beat: Timestamp,
    pub number: i64,
}

/// A change, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct PastChange {
    pub change: StatusChange,
    pub place: ChangePlace,
}

impl ChangeQuery {
    fn wants(&self, found: &PastChange) -> bool {
        let change = &found.change;
        let is = |wanted: &Option<String>, name: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == name)
        };
        let place = change.partition.as_ref();
        let is_partition = place.is_some_and(|(topic, partition)| {
            is(&self.topic, topic.as_str()) && self.partition.is_none_or(|it| it == *partition)
        });
        let asks_partition = self.topic.is_some() || self.partition.is_some();
        is(&self.cluster, change.cluster.as_str())
            && is(&self.group, change.group.as_str())
            && (is_partition || (place.is_none() && !asks_partition))
            && !(self.groups_only && place.is_some())
            && self.to_status.is_none_or(|status| status == change.to)
            && (self.from..=self.to).contains(&change.beat)
            && self.behind.is_none_or(|behind| found.place < behind)
    }
}

impl Past {
    /// The changes `query` wants, the newest first.
    pub(super) fn changes(&mut self, query: &ChangeQuery) -> Result<Vec<PastChange>, QueryError> {
        self.open()?;
        if self.history.is_none() {
            return Ok(self.changes_in_memory(query));
        }
        let found = self.changes_in_file(query);
        found.map_err(|error| self.failed(error.into()))
    }

    fn changes_in_file(&self, query: &ChangeQuery) -> Result<Vec<PastChange>, rusqlite::Error> {
        let Some(file) = self.file() else {
            return Ok(Vec::new());
        };
        let (sql, values) = statement(query);
        let mut statement = file.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(values))?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            // A status this program does not know cannot be shown.
            found.extend(read(row)?);
        }
        Ok(found)
    }

    /// Of what is in the tail; numbers are the frame's and the place in it.
    fn changes_in_memory(&mut self, query: &ChangeQuery) -> Vec<PastChange> {
        let frames = {
            let state = self.shared.state();
            let entries = state.index.iter().rev();
            let wanted = entries.filter(|entry| (query.from..=query.to).contains(&entry.beat));
            let bytes = wanted.map(|it| (it.seq, it.beat, state.tail.encoded(it.seq)));
            bytes.collect::<Vec<_>>()
        };
        let mut found = Vec::new();
        for (seq, beat, encoded) in frames {
            let frame = encoded.and_then(|it| self.whole_frame(seq, beat, &it));
            let Some(frame) = frame else { continue };
            if let Body::Evaluation { changes, .. } = frame.body {
                let placed = (0_i64..).zip(changes).map(|(number, change)| PastChange {
                    change,
                    place: ChangePlace {
                        beat,
                        number: seq.0.saturating_mul(1 << 20) + number,
                    },
                });
                found.extend(placed.filter(|change| query.wants(change)));
            }
            if found.len() >= query.limit {
                break;
            }
        }
        found.sort_by_key(|past| std::cmp::Reverse(past.place));
        found.truncate(query.limit);
        found
    }
}

/// The statement, and its values.
fn statement(query: &ChangeQuery) -> (String, Vec<Value>) {
    let mut sql = String::from(
        "SELECT c.id, c.beat_ms, cluster.text, grp.text, topic.text, c.partition, c.from_status,
                c.to_status, c.reason
         FROM status_change c
         JOIN name cluster ON cluster.id = c.cluster
         JOIN name grp ON grp.id = c.consumer_group
         LEFT JOIN name topic ON topic.id = c.topic
         WHERE c.beat_ms BETWEEN ? AND ?",
    );
    let mut values = vec![query.from.as_ms().into(), query.to.as_ms().into()];
    // A name may have several numbers.
    for (column, name) in [
        ("cluster", &query.cluster),
        ("consumer_group", &query.group),
        ("topic", &query.topic),
    ] {
        if let Some(name) = name {
            sql.push_str(&format!(
                " AND c.{column} IN (SELECT id FROM name WHERE text = ?)"
            ));
            values.push(name.clone().into());
        }
    }
    if let Some(partition) = query.partition {
        sql.push_str(" AND c.partition = ?");
        values.push(i64::from(partition).into());
    }
    if query.groups_only {
        sql.push_str(" AND c.topic IS NULL");
    }
    if let Some(status) = query.to_status {
        sql.push_str(" AND c.to_status = ?");
        values.push(i64::from(status.code()).into());
    }
    if let Some(behind) = query.behind {
        sql.push_str(" AND (c.beat_ms, c.id) < (?, ?)");
        values.extend([behind.beat.as_ms().into(), behind.number.into()]);
    }
    sql.push_str(" ORDER BY c.beat_ms DESC, c.id DESC LIMIT ?");
    values.push(i64::try_from(query.limit).unwrap_or(i64::MAX).into());
    (sql, values)
}

fn read(row: &Row<'_>) -> Result<Option<PastChange>, rusqlite::Error> {
    let status = |column| Ok::<_, rusqlite::Error>(Status::from_code(row.get(column)?));
    let (Some(from), Some(to)) = (status(6)?, status(7)?) else {
        return Ok(None);
    };
    let beat = Timestamp::from_ms(row.get(1)?);
    let topic: Option<String> = row.get(4)?;
    let partition: Option<i32> = row.get(5)?;
    Ok(Some(PastChange {
        change: StatusChange {
            cluster: ClusterName::new(row.get::<_, String>(2)?),
            group: GroupId::new(row.get::<_, String>(3)?),
            partition: topic
                .zip(partition)
                .map(|(topic, at)| (TopicName::new(topic), at)),
            from,
            to,
            reason: row.get(8)?,
            beat,
        },
        place: ChangePlace {
            beat,
            number: row.get(0)?,
        },
    }))
}
