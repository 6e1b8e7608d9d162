//! One subject over time: any numeric field of the catalogue, from the layer that fits what is asked.
//!
//! Beat by beat when the time is short or the step is; from rollups otherwise, as far as they have the
//! fields. Where a layer has expired the next coarser one takes over; hours that are not sealed yet are
//! always read beat by beat.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::hours::{Gathered, rows};
use super::merge::{Intervals, Layer, Moment, ROLLED, Row, finest, samples};
use super::reduce::{Sample, reduce, step_of};
use super::subject::Subject;
use super::{Past, QueryError, ROWS};
use crate::clock::Timestamp;
use crate::lag::ids::ClusterName;
use crate::store::frame::Seq;
use crate::store::history::read::State;
use crate::store::history::{HOUR, rollup};

/// A time that is always read beat by beat.
const SHORT: Duration = Duration::from_secs(6 * 3600);

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesQuery {
    pub cluster: String,
    pub subject: Subject,
    /// Names of the catalogue's numeric fields.
    pub fields: Vec<&'static str>,
    /// From this beat on, up to and including that one.
    pub from: Timestamp,
    pub to: Timestamp,
    /// Steps of this many milliseconds; none: as many as `points` allows.
    pub step_ms: Option<i64>,
    /// Samples of each field at most.
    pub points: usize,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Series {
    /// By field, in time order. A sample without a value is a gap.
    pub fields: BTreeMap<&'static str, Vec<Sample>>,
    /// From when on, within what is asked, the field is kept; absent when nowhere.
    pub known_from: BTreeMap<&'static str, Timestamp>,
    /// Where the parts come from, in time order.
    pub stretches: Vec<Stretch>,
    /// Beats that were read one by one.
    pub beats: usize,
    /// Beats that could not be read, of the hours that were: gaps in the series.
    pub corrupt: usize,
}

/// A time that comes from one layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub layer: Layer,
    /// The first beat or the beginning of the first rollup.
    pub from: Timestamp,
    /// The last beat or the end of the last rollup.
    pub to: Timestamp,
}

/// A question, and what is needed all the time to answer it.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    pub(super) query: &'a SeriesQuery,
    pub(super) cluster: ClusterName,
    /// The numbers of the cluster's name.
    pub(super) numbers: Vec<u32>,
    /// What rollups have of it: none when they have none of the fields.
    pub(super) rolled: Option<rollup::Subject>,
}

impl Reading<'_> {
    /// Whether a rollup reaches into the asked time.
    pub(super) fn wants(&self, row: &Row) -> bool {
        row.start <= self.query.to && row.end() > self.query.from
    }
}

impl SeriesQuery {
    /// The layer that fits.
    fn layer(&self) -> Layer {
        let has_all = self.fields.iter().all(|field| ROLLED.contains(field));
        let span = self.to.ms_since(self.from);
        let is_short = span <= ms(SHORT);
        if is_short || !has_all || self.subject.rolled().is_none() {
            return Layer::Beats;
        }
        let step = step_of(span.saturating_add(1), self.points, self.step_ms);
        let coarser = [Layer::Hours, Layer::FiveMinutes];
        let fits = |layer: &Layer| layer.span().is_some_and(|span| step >= ms(span));
        coarser.into_iter().find(fits).unwrap_or(Layer::Beats)
    }
}

fn ms(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

impl Past {
    /// The series `query` wants.
    pub(super) fn series(&mut self, query: &SeriesQuery) -> Result<Series, QueryError> {
        let series = self.try_series(query);
        series.map_err(|error| self.failed(error))
    }

    fn try_series(&mut self, query: &SeriesQuery) -> Result<Series, QueryError> {
        self.open()?;
        let has_any = query.fields.iter().any(|field| ROLLED.contains(field));
        let reading = Reading {
            query,
            cluster: ClusterName::new(query.cluster.as_str()),
            numbers: self.numbers(&query.cluster)?,
            rolled: query.subject.rolled().filter(|_| has_any),
        };
        let layer = query.layer();
        let (hours, rows) = self.plan(&reading, layer)?;
        let mut gathered = Gathered::default();
        let rows = rows.into_iter().filter(|row| reading.wants(row));
        gathered.moments.extend(rows.map(Moment::Rolled));
        for hour in hours {
            self.check_time()?;
            self.hour(&reading, hour, &mut gathered)?;
            if gathered.moments.len() > ROWS {
                return Err(QueryError::TooMany);
            }
        }
        Ok(put_together(query, layer, gathered))
    }

    /// The hours that are read beat by beat, and the rollups of all others.
    fn plan(
        &mut self,
        reading: &Reading<'_>,
        layer: Layer,
    ) -> Result<(BTreeSet<Timestamp>, Vec<Row>), QueryError> {
        let query = reading.query;
        let beats = self.beats(&reading.numbers, (query.from, query.to));
        let Some(history) = &mut self.history else {
            let hours = beats.into_iter().map(|(_, beat)| beat.aligned(HOUR));
            return Ok((hours.collect(), Vec::new()));
        };
        // Whole hours, so that rollups of five minutes can be compared with theirs.
        let range = (query.from.aligned(HOUR), query.to.aligned(HOUR).plus(HOUR));
        let (seals, mut rolled) = history.at_once(|history| {
            let seals = history.hours(&query.cluster, range.0, range.1)?;
            let Some(subject) = &reading.rolled else {
                return Ok::<_, QueryError>((seals, Vec::new()));
            };
            let hours = rows(history, reading, subject, Layer::Hours, range)?;
            // Of hours only those are completed that are older than all of them.
            let first = hours.first().filter(|_| layer == Layer::Hours);
            let until = first.map_or(range.1, |first| first.start);
            let of_fives = (range.0, until);
            let fives = rows(history, reading, subject, Layer::FiveMinutes, of_fives)?;
            Ok((seals, finest(layer, fives, hours)))
        })?;
        let mut of_hours: BTreeMap<Timestamp, Vec<(Seq, Seq, State)>> = BTreeMap::new();
        for (sealed, state) in seals {
            let of_hour = of_hours.entry(sealed.hour).or_default();
            of_hour.push((sealed.first, sealed.last, state));
        }
        let is_rolled = |hour: Timestamp, seq: Seq| {
            let mut seals = of_hours.get(&hour).into_iter().flatten();
            seals.any(|(first, last, state)| {
                *state != State::Unfinished && (*first..=*last).contains(&seq)
            })
        };
        let in_frames = beats
            .into_iter()
            .map(|(seq, beat)| (beat.aligned(HOUR), seq));
        let in_frames = in_frames
            .filter(|(hour, seq)| layer == Layer::Beats || !is_rolled(*hour, *seq))
            .map(|(hour, _)| hour);
        let mut hours: BTreeSet<Timestamp> = in_frames.collect();
        if layer == Layer::Beats {
            let is_whole = |seals: &Vec<(Seq, Seq, State)>| {
                seals.iter().any(|(.., state)| *state == State::Whole)
            };
            let in_blocks = of_hours.iter().filter(|(_, seals)| is_whole(seals));
            hours.extend(in_blocks.map(|(hour, _)| *hour));
        }
        rolled.retain(|row| !hours.contains(&row.start.aligned(HOUR)));
        if rolled.len() > ROWS {
            return Err(QueryError::TooMany);
        }
        Ok((hours, rolled))
    }
}

fn put_together(query: &SeriesQuery, layer: Layer, gathered: Gathered) -> Series {
    let mut moments = gathered.moments;
    // After a step of the clock times overlap.
    moments.sort_by_key(Moment::key);
    let intervals = Intervals::of(&moments);
    let mut series = Series {
        stretches: stretches(&moments),
        beats: gathered.beats,
        corrupt: gathered.unreadable,
        ..Series::default()
    };
    // Rollups are not cut into smaller pieces.
    let step_ms = match layer.span().map(ms) {
        None => query.step_ms,
        Some(span) => Some(query.step_ms.unwrap_or(span).max(span).unsigned_abs())
            .map(|step| step.next_multiple_of(span.unsigned_abs()))
            .and_then(|step| i64::try_from(step).ok()),
    };
    for (place, field) in query.fields.iter().enumerate() {
        if series.fields.contains_key(field) {
            continue;
        }
        let is_known = |moment: &&Moment| match moment {
            Moment::Beat { .. } => true,
            Moment::Rolled(_) => ROLLED.contains(field),
        };
        if let Some(first) = moments.iter().find(is_known) {
            series.known_from.insert(field, first.at().max(query.from));
        }
        let samples = samples(&moments, &intervals, (place, field));
        let samples = reduce(samples, query.points, step_ms);
        series.fields.insert(field, samples);
    }
    series
}

fn stretches(moments: &[Moment]) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for moment in moments {
        let (layer, from) = (moment.layer(), moment.at());
        let to = match moment {
            Moment::Beat {
                is_covered: true, ..
            } => continue,
            Moment::Beat { at, .. } => *at,
            Moment::Rolled(row) => row.end(),
        };
        match stretches.last_mut() {
            Some(last) if last.layer == layer => last.to = to,
            _ => stretches.push(Stretch { layer, from, to }),
        }
    }
    stretches
}
