//! Topics with the history of their logs.

use super::super::bytes::{Bytes, ColumnReader, Columns, Malformed, put_int, put_text, put_varint};
use super::{flag, int32, moment, option, put_moment, put_option, topic_id};
use crate::clock::Timestamp;
use crate::lag::cluster::snapshot::{Restoring, SavedLog, SavedPoint, SavedTopic};
use crate::lag::ids::TopicName;

/// Columns of a piece: one value a log in `POINTS` and `FLAGS`, in the next four where the flags say
/// so; one a point in the last three.
mod columns {
    pub(super) const POINTS: usize = 0;
    pub(super) const FLAGS: usize = 1;
    pub(super) const STARTS: usize = 2;
    pub(super) const POLLED: usize = 3;
    pub(super) const MOMENTS: usize = 4;
    pub(super) const GAPS: usize = 5;
    pub(super) const KINDS: usize = 6;
    pub(super) const AT: usize = 7;
    pub(super) const ENDS: usize = 8;
    pub(super) const COUNT: usize = 9;
}

/// What a log has.
mod flags {
    pub(super) const START: u8 = 1;
    pub(super) const POLLED: u8 = 2;
    pub(super) const DETAILED: u8 = 4;
    pub(super) const GAP: u8 = 8;
    pub(super) const OPEN: u8 = 16;
    pub(super) const ALL: u8 = 31;
}

/// A piece that is being written.
#[derive(Default)]
pub(super) struct Piece {
    topics: usize,
    partitions: usize,
    names: Vec<u8>,
    columns: Columns<{ columns::COUNT }, 0>,
}

impl Piece {
    pub(super) fn is_empty(&self) -> bool {
        self.topics == 0
    }

    pub(super) fn partitions(&self) -> usize {
        self.partitions
    }

    pub(super) fn add(&mut self, topic: &SavedTopic, saved_at: Timestamp) {
        self.topics += 1;
        // A topic without partitions takes room too.
        self.partitions += 1 + topic.logs.len();
        let names = &mut self.names;
        put_text(names, topic.name.as_str());
        put_option(names, topic.id, |names, id| {
            names.extend_from_slice(&id.0);
        });
        put_moment(names, topic.id_at, saved_at);
        put_int(names, i64::from(topic.count));
        names.push(u8::from(topic.is_real));
        put_varint(names, topic.logs.len() as u64);
        for log in &topic.logs {
            add_log(&mut self.columns, log, saved_at);
        }
    }

    /// The bytes of the piece, which begins anew.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let mut raw = Vec::new();
        put_varint(&mut raw, self.names.len() as u64);
        raw.append(&mut self.names);
        self.columns.write(&mut raw);
        self.columns.clear();
        (self.topics, self.partitions) = (0, 0);
        raw
    }
}

fn add_log(columns: &mut Columns<{ columns::COUNT }, 0>, log: &SavedLog, saved_at: Timestamp) {
    let when = |is_so: bool, flag: u8| if is_so { flag } else { 0 };
    columns.varint(columns::POINTS, log.points.len() as u64);
    columns.byte(
        columns::FLAGS,
        when(log.start.is_some(), flags::START)
            | when(log.polled.is_some(), flags::POLLED)
            | when(log.is_detailed, flags::DETAILED)
            | when(log.gap_end.is_some(), flags::GAP)
            | when(log.is_gap_open, flags::OPEN),
    );
    let ago = |at: Timestamp| saved_at.as_ms().wrapping_sub(at.as_ms());
    if let Some(start) = log.start {
        columns.int(columns::STARTS, start);
    }
    if let Some(polled) = log.polled {
        let last = log.points.last().map_or(0, |point| point.end);
        columns.int(columns::POLLED, last.wrapping_sub(polled));
    }
    for at in [log.start_at, log.end_at, log.asked_at] {
        columns.int(columns::MOMENTS, ago(at));
    }
    if let Some(end) = log.gap_end {
        columns.int(columns::GAPS, ago(end));
    }
    // From the newest back: the moments of most logs are alike there.
    let (mut at, mut end) = (saved_at.as_ms(), 0_i64);
    for point in log.points.iter().rev() {
        columns.byte(columns::KINDS, point.kind);
        columns.int(columns::AT, at.wrapping_sub(point.at.as_ms()));
        columns.int(columns::ENDS, end.wrapping_sub(point.end));
        (at, end) = (point.at.as_ms(), point.end);
    }
}

/// Gives the topics of a piece to the cluster.
pub(super) fn restore(
    raw: &[u8],
    saved_at: Timestamp,
    restoring: &mut Restoring,
) -> Result<(), Malformed> {
    let mut bytes = Bytes::new(raw);
    let len = bytes.count(bytes.len())?;
    let mut names = Bytes::new(bytes.take(len)?);
    let mut columns = ColumnReader::<{ columns::COUNT }, 0>::read(bytes)?;
    while names.len() > 0 {
        let topic = read(&mut names, &mut columns, saved_at)?;
        restoring.topic(&topic).map_err(|why| Malformed(why.0))?;
    }
    columns.end()
}

fn read(
    names: &mut Bytes<'_>,
    columns: &mut ColumnReader<'_, { columns::COUNT }, 0>,
    saved_at: Timestamp,
) -> Result<SavedTopic, Malformed> {
    let name = TopicName::new(names.text()?);
    let id = option(names, topic_id)?;
    let id_at = moment(names, saved_at)?;
    let count = int32(names)?;
    let is_real = flag(names)?;
    let logs = names.count(columns.left(columns::POINTS))?;
    let mut topic = SavedTopic {
        name,
        id,
        id_at,
        count,
        is_real,
        logs: Vec::with_capacity(logs),
    };
    for _ in 0..logs {
        topic.logs.push(read_log(columns, saved_at)?);
    }
    Ok(topic)
}

fn read_log(
    columns: &mut ColumnReader<'_, { columns::COUNT }, 0>,
    saved_at: Timestamp,
) -> Result<SavedLog, Malformed> {
    let points = columns.count(columns::POINTS, columns::KINDS)?;
    let flags = columns.byte(columns::FLAGS)?;
    if flags & !flags::ALL != 0 {
        return Err(Malformed("a log has a flag that does not exist"));
    }
    let has = |flag: u8| flags & flag != 0;
    let ago = |ms: i64| Timestamp::from_ms(saved_at.as_ms().wrapping_sub(ms));
    let mut when = |column: usize, is_there: bool| -> Result<Option<i64>, Malformed> {
        is_there.then(|| columns.int(column)).transpose()
    };
    let start = when(columns::STARTS, has(flags::START))?;
    let behind = when(columns::POLLED, has(flags::POLLED))?;
    let gap = when(columns::GAPS, has(flags::GAP))?;
    let mut log = SavedLog {
        points: Vec::with_capacity(points),
        start,
        start_at: ago(columns.int(columns::MOMENTS)?),
        end_at: ago(columns.int(columns::MOMENTS)?),
        polled: None,
        asked_at: ago(columns.int(columns::MOMENTS)?),
        is_detailed: has(flags::DETAILED),
        gap_end: gap.map(ago),
        is_gap_open: has(flags::OPEN),
    };
    let (mut at, mut end) = (saved_at.as_ms(), 0_i64);
    for _ in 0..points {
        let kind = columns.byte(columns::KINDS)?;
        at = at.wrapping_sub(columns.int(columns::AT)?);
        end = end.wrapping_sub(columns.int(columns::ENDS)?);
        let point = SavedPoint {
            at: Timestamp::from_ms(at),
            end,
            kind,
        };
        log.points.push(point);
    }
    log.points.reverse();
    let last = log.points.last().map_or(0, |point| point.end);
    log.polled = behind.map(|behind| last.wrapping_sub(behind));
    Ok(log)
}
