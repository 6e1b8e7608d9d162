//! One hour of a series, beat by beat: from blocks, from the frames that are not in blocks, and, where
//! beats are gone or damaged, from rollups.
//!
//! First it is noted which frames there are, then the file is read as it is at one moment. A frame
//! that is noted is in memory, in the file, in a block, or gone for good: nothing is missed and nothing
//! comes twice, whatever is sealed or deleted meanwhile.

use rusqlite::Connection;

use super::frames::{Found, InJournal, Look};
use super::merge::{Layer, Moment, Row, finest};
use super::series::Reading;
use super::subject::{Subject, Values};
use super::{Past, QueryError};
use crate::clock::Timestamp;
use crate::points::Part;
use crate::store::Shared;
use crate::store::codec::Decoder;
use crate::store::frame::Seq;
use crate::store::history::HOUR;
use crate::store::history::read::{History, Limits, ReadError, Rows, Sealed, State};
use crate::store::history::rollup::FIVE_MINUTES;

/// What is found of a series.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) moments: Vec<Moment>,
    /// Beats that were read, and beats that could not be read.
    pub(super) beats: usize,
    pub(super) unreadable: usize,
}

impl Past {
    /// Adds an hour, beat by beat.
    pub(super) fn hour(
        &mut self,
        reading: &Reading<'_>,
        start: Timestamp,
        gathered: &mut Gathered,
    ) -> Result<(), QueryError> {
        let end = Timestamp::from_ms(start.plus(HOUR).as_ms() - 1);
        let frames = self.journaled(&reading.numbers, (start, end));
        let mut hour = Hour {
            reading,
            start,
            shared: &self.shared,
            decoder: &mut self.decoder,
            limits: self.limits,
            frames,
            seals: Vec::new(),
            is_worn: false,
            range: (start, start.plus(HOUR)),
            moments: Vec::new(),
            counted: Vec::new(),
            beats: 0,
            unreadable: 0,
        };
        match &mut self.history {
            None => hour.read_frames(None)?,
            Some(history) => history.at_once(|history| {
                hour.read_blocks(history)?;
                hour.read_frames(Some(history.connection()))?;
                hour.read_rollups(history)
            })?,
        }
        gathered.beats += hour.beats;
        gathered.unreadable += hour.unreadable;
        gathered.moments.append(&mut hour.moments);
        Ok(())
    }
}

struct Hour<'a> {
    reading: &'a Reading<'a>,
    start: Timestamp,
    shared: &'a Shared,
    decoder: &'a mut Decoder,
    limits: Limits,
    /// Those that are not in blocks that were read.
    frames: Vec<InJournal>,
    /// The numbers of the frames that are sealed, or being sealed: rollups may have them.
    seals: Vec<(Seq, Seq)>,
    /// Some blocks are gone, or cannot be read.
    is_worn: bool,
    /// The beats that are looked at: up to, not including, the second.
    range: (Timestamp, Timestamp),
    moments: Vec<Moment>,
    /// Beats that rollups may have, too.
    counted: Vec<Timestamp>,
    beats: usize,
    unreadable: usize,
}

impl Hour<'_> {
    fn read_blocks(&mut self, history: &mut History) -> Result<(), QueryError> {
        let next = Timestamp::from_ms(self.start.as_ms() + 1);
        let cluster = &self.reading.query.cluster;
        for (sealed, state) in history.hours(cluster, self.start, next)? {
            self.seals.push((sealed.first, sealed.last));
            match state {
                State::Unfinished => {}
                State::Gone => self.is_worn = true,
                State::Whole => self.read_sealed(history, &sealed)?,
            }
        }
        Ok(())
    }

    fn read_sealed(&mut self, history: &mut History, sealed: &Sealed) -> Result<(), QueryError> {
        let rows = match rows_of(history, sealed, self.reading) {
            Ok(rows) => rows,
            // What the frames still have is not lost.
            Err(ReadError::Corrupt(_)) => {
                self.is_worn = true;
                let is_in = |frame: &&InJournal| (sealed.first..=sealed.last).contains(&frame.seq);
                let left = self.frames.iter().filter(is_in).count();
                self.unreadable += count(sealed.beats).saturating_sub(left);
                return Ok(());
            }
            Err(ReadError::TooLarge) if self.reading.rolled.is_some() => {
                self.frames
                    .retain(|it| it.seq < sealed.first || it.seq > sealed.last);
                return Ok(());
            }
            Err(other) => return Err(other.into()),
        };
        self.frames
            .retain(|it| it.seq < sealed.first || it.seq > sealed.last);
        self.unreadable += count(sealed.skipped);
        for (at, values) in rows {
            if values.is_some() {
                self.counted.push(at);
            }
            self.push(at, sealed.first, values);
        }
        Ok(())
    }

    fn push(&mut self, at: Timestamp, order: Seq, values: Values) {
        if (self.reading.query.from..=self.reading.query.to).contains(&at) {
            self.beats += 1;
            self.moments.push(Moment::Beat {
                at,
                order: order.0,
                values,
                is_covered: false,
            });
        }
    }

    fn read_frames(&mut self, file: Option<&Connection>) -> Result<(), QueryError> {
        let query = self.reading.query;
        let frames = std::mem::take(&mut self.frames);
        if !self.is_worn && !frames.is_empty() {
            // Whole rollups are compared with what is read.
            let from = query.from.aligned(FIVE_MINUTES);
            let to = query.to.aligned(FIVE_MINUTES).plus(FIVE_MINUTES);
            self.range = (self.range.0.max(from), self.range.1.min(to));
        }
        for frame in &frames {
            if frame.beat < self.range.0 || frame.beat >= self.range.1 {
                continue;
            }
            if self.limits.is_over() {
                return Err(QueryError::TimedOut);
            }
            let mut look = Look {
                shared: self.shared,
                file,
                decoder: self.decoder,
                frame,
            };
            match look.find(&query.subject, &query.fields)? {
                Found::Gone => {}
                Found::Values(values) => {
                    let is_in = |(first, last): &(Seq, Seq)| (*first..=*last).contains(&frame.seq);
                    if values.is_some() && self.seals.iter().any(is_in) {
                        self.counted.push(frame.beat);
                    }
                    self.push(frame.beat, frame.seq, values);
                }
                Found::Broken => {
                    self.push(frame.beat, frame.seq, None);
                    if (query.from..=query.to).contains(&frame.beat) {
                        self.beats -= 1;
                        self.unreadable += 1;
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes rollups that know of more beats than were found.
    fn read_rollups(&mut self, history: &mut History) -> Result<(), QueryError> {
        let Some(subject) = &self.reading.rolled else {
            return Ok(());
        };
        let range = (self.start, self.start.plus(HOUR));
        let read = |layer| rows(history, self.reading, subject, layer, range);
        let (fives, hours) = (read(Layer::FiveMinutes)?, read(Layer::Hours)?);
        for row in finest(Layer::FiveMinutes, fives, hours) {
            let is_in = |at: Timestamp| at >= row.start && at < row.end();
            let found = self.counted.iter().filter(|at| is_in(**at)).count();
            let is_read = row.start >= self.range.0 && row.end() <= self.range.1;
            if !is_read || found >= row.rollup.beats as usize {
                continue;
            }
            for moment in &mut self.moments {
                let at = moment.at();
                if let Moment::Beat { is_covered, .. } = moment {
                    *is_covered |= is_in(at);
                }
            }
            if self.reading.wants(&row) {
                self.moments.push(Moment::Rolled(row));
            }
        }
        Ok(())
    }
}

fn count(beats: u64) -> usize {
    usize::try_from(beats).unwrap_or(usize::MAX)
}

/// The rollups of a subject that begin in a range.
pub(super) fn rows(
    history: &History,
    reading: &Reading<'_>,
    subject: &crate::store::history::rollup::Subject,
    layer: Layer,
    range: (Timestamp, Timestamp),
) -> Result<Vec<Row>, QueryError> {
    let Some(span) = layer.span() else {
        return Ok(Vec::new());
    };
    let found = history.rollups(&reading.cluster, subject, span, range)?;
    let rows = found.into_iter().map(|(start, rollup)| Row {
        start,
        layer,
        rollup,
    });
    Ok(rows.collect())
}

/// The subject at all beats of a sealed hour.
fn rows_of(
    history: &mut History,
    sealed: &Sealed,
    reading: &Reading<'_>,
) -> Result<Vec<(Timestamp, Values)>, ReadError> {
    let (subject, fields) = (&reading.query.subject, &reading.query.fields);
    match subject {
        Subject::Cluster => {
            let rows = history.cluster(sealed)?.into_iter();
            let values = |(at, phase, summary)| {
                let part = Part::Cluster(phase, &summary);
                (at, Subject::values(at, part, fields))
            };
            Ok(rows.map(values).collect())
        }
        Subject::Log { topic, partition } => {
            let rows = history.topic_rows(sealed, topic)?;
            placed(history, sealed, rows, |at, topic| {
                Subject::in_log(at, &topic, *partition, fields)
            })
        }
        Subject::Partition {
            group,
            topic,
            partition,
        } => {
            let rows = history.partition_rows(sealed, (group, topic, *partition))?;
            placed(history, sealed, rows, |at, row| {
                Subject::values(at, Part::Partition(&row), fields)
            })
        }
        Subject::Group { group } | Subject::Topic { group, .. } => {
            let rows = history.group_rows(sealed, group)?;
            placed(history, sealed, rows, |at, group| {
                subject.in_group(at, &group, fields)
            })
        }
    }
}

/// The rows at their beats, and nothing at all other beats of the hour.
fn placed<T>(
    history: &mut History,
    sealed: &Sealed,
    rows: Rows<T>,
    values: impl Fn(Timestamp, T) -> Values,
) -> Result<Vec<(Timestamp, Values)>, ReadError> {
    let beats = match rows.beats.is_empty() {
        true => history.beats(sealed)?,
        false => rows.beats,
    };
    let mut all: Vec<_> = beats.into_iter().map(|beat| (beat, None)).collect();
    for (place, row) in rows.rows {
        if let Some((at, found)) = all.get_mut(place) {
            *found = values(*at, row);
        }
    }
    Ok(all)
}
