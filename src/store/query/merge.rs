//! Beats and rollups of one subject as one series of each field. Pure.
//!
//! A rollup stands for its beats: its least value is shown at its beginning, its greatest in its
//! middle, and nothing else of that time. Where neither was, one sample without value says so.

use std::collections::BTreeMap;
use std::time::Duration;

use super::reduce::Sample;
use super::subject::Values;
use crate::clock::Timestamp;
use crate::store::history::HOUR;
use crate::store::history::rollup::{FIVE_MINUTES, Rollup};

/// Where a part of a series comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// Every beat.
    Beats,
    /// Rollups of five minutes.
    FiveMinutes,
    /// Rollups of an hour.
    Hours,
}

impl Layer {
    /// Its word in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Layer::Beats => "beats",
            Layer::FiveMinutes => "5m",
            Layer::Hours => "1h",
        }
    }

    /// What one of its rows stands for; none for beats.
    pub(super) fn span(self) -> Option<Duration> {
        match self {
            Layer::Beats => None,
            Layer::FiveMinutes => Some(FIVE_MINUTES),
            Layer::Hours => Some(HOUR),
        }
    }
}

/// A rollup of the subject.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) start: Timestamp,
    pub(super) layer: Layer,
    pub(super) rollup: Rollup,
}

impl Row {
    pub(super) fn end(&self) -> Timestamp {
        self.start.plus(self.layer.span().unwrap_or_default())
    }
}

/// The subject at a moment, or from it on.
#[derive(Clone, Debug)]
pub(super) enum Moment {
    Beat {
        at: Timestamp,
        /// Later frames come later, also when the clock was set back.
        order: i64,
        values: Values,
        /// Rollups stand for it.
        is_covered: bool,
    },
    Rolled(Row),
}

impl Moment {
    pub(super) fn at(&self) -> Timestamp {
        match self {
            Moment::Beat { at, .. } => *at,
            Moment::Rolled(row) => row.start,
        }
    }

    /// In time, and at one time in the order of frames.
    pub(super) fn key(&self) -> (Timestamp, i64) {
        match self {
            Moment::Beat { at, order, .. } => (*at, *order),
            Moment::Rolled(row) => (row.start, i64::MIN),
        }
    }

    pub(super) fn layer(&self) -> Layer {
        match self {
            Moment::Beat { .. } => Layer::Beats,
            Moment::Rolled(row) => row.layer,
        }
    }
}

/// The fields that rollups have.
pub(super) const ROLLED: [&str; 4] = ["lag", "time_lag_s", "consume_rate", "produce_rate"];

/// The least and the greatest value of a field in a rollup; of most the least one is not kept.
#[allow(
    clippy::cast_precision_loss,
    reason = "lags above 2^53 do not occur; the value is for a chart"
)]
fn extremes(field: &str, rollup: &Rollup) -> (Option<f64>, Option<f64>) {
    let lag = |lag: Option<i64>| lag.map(|lag| lag as f64);
    match field {
        "lag" => (lag(rollup.lag_min), lag(rollup.lag_max)),
        "time_lag_s" => (None, rollup.time_lag_max_s),
        "consume_rate" => (None, rollup.consume_rate_max),
        "produce_rate" => (None, rollup.produce_rate_max),
        _ => (None, None),
    }
}

/// Of the rollups of five minutes and of hours the finest ones that are all there: an hour of which
/// some of the former have expired comes as a whole. `layer` is what is wanted.
pub(super) fn finest(layer: Layer, fives: Vec<Row>, hours: Vec<Row>) -> Vec<Row> {
    let mut of_hours: BTreeMap<Timestamp, (Vec<Row>, Option<Row>)> = BTreeMap::new();
    for row in fives {
        of_hours
            .entry(row.start.aligned(HOUR))
            .or_default()
            .0
            .push(row);
    }
    for row in hours {
        let hour = of_hours.entry(row.start).or_default();
        hour.1 = Some(row);
    }
    let mut rows = Vec::new();
    for (fives, hour) in of_hours.into_values() {
        let beats: u64 = fives.iter().map(|row| u64::from(row.rollup.beats)).sum();
        match hour {
            Some(hour) if layer == Layer::Hours || beats < u64::from(hour.rollup.beats) => {
                rows.push(hour);
            }
            _ => rows.extend(fives),
        }
    }
    rows
}

/// The distance of two beats, hour by hour: the interval may have been changed.
#[derive(Debug, Default)]
pub(super) struct Intervals {
    hours: BTreeMap<Timestamp, i64>,
    shortest: Option<i64>,
}

/// Beats of an hour that tell what their distance is.
const ENOUGH: usize = 10;

impl Intervals {
    /// Of moments in their order.
    pub(super) fn of(moments: &[Moment]) -> Self {
        let beats = moments.iter().filter(|it| it.layer() == Layer::Beats);
        let beats: Vec<Timestamp> = beats.map(Moment::at).collect();
        let shortest = |beats: &[Timestamp]| {
            let steps = beats.windows(2).map(|two| two[1].ms_since(two[0]));
            steps.filter(|ms| *ms > 0).min()
        };
        let hours = beats.chunk_by(|a, b| a.aligned(HOUR) == b.aligned(HOUR));
        Self {
            hours: hours
                .filter(|hour| hour.len() >= ENOUGH)
                .filter_map(|hour| Some((hour[0].aligned(HOUR), shortest(hour)?)))
                .collect(),
            shortest: shortest(&beats),
        }
    }

    fn at(&self, at: Timestamp) -> Option<i64> {
        self.hours.get(&at.aligned(HOUR)).copied().or(self.shortest)
    }

    /// The moment at which a gap between two moments begins, if there is one.
    fn gap(&self, before: &Moment, behind: &Moment) -> Option<Timestamp> {
        let patience = |moment: &Moment| match moment {
            // Half a beat late is no gap.
            Moment::Beat { at, .. } => self.at(*at).map(|ms| ms.saturating_mul(5) / 2),
            Moment::Rolled(_) => Some(0),
        };
        let (from, own) = match before {
            Moment::Beat { at, .. } => (*at, self.at(*at)?),
            Moment::Rolled(row) => (row.end(), 0),
        };
        let patience = patience(before).max(patience(behind))?;
        let is_gap = behind.at().ms_since(from) > patience;
        is_gap.then(|| Timestamp::from_ms(from.as_ms().saturating_add(own)))
    }
}

/// One field over time, with a sample without value where it is unknown, where the subject was not
/// there, and where beats are missing. `place` is the field's place among the asked ones.
pub(super) fn samples(
    moments: &[Moment],
    intervals: &Intervals,
    (place, field): (usize, &str),
) -> Vec<Sample> {
    let is_rolled = ROLLED.contains(&field);
    let mut samples = Vec::with_capacity(moments.len());
    let mut before: Option<&Moment> = None;
    for moment in moments {
        let is_wanted = match moment {
            Moment::Beat { is_covered, .. } => !(*is_covered && is_rolled),
            Moment::Rolled(_) => is_rolled,
        };
        if !is_wanted {
            continue;
        }
        if let Some(at) = before.and_then(|before| intervals.gap(before, moment)) {
            samples.push(Sample { at, value: None });
        }
        before = Some(moment);
        match moment {
            Moment::Beat { at, values, .. } => samples.push(Sample {
                at: *at,
                value: values.as_ref().and_then(|values| values[place]),
            }),
            Moment::Rolled(row) => push_rolled(&mut samples, field, row),
        }
    }
    samples
}

fn push_rolled(samples: &mut Vec<Sample>, field: &str, row: &Row) {
    let middle = row.start.plus(row.layer.span().unwrap_or_default() / 2);
    let (least, greatest) = extremes(field, &row.rollup);
    if least.is_some() || greatest.is_none() {
        let (at, value) = (row.start, least);
        samples.push(Sample { at, value });
    }
    if greatest.is_some() && greatest != least {
        let (at, value) = (middle, greatest);
        samples.push(Sample { at, value });
    }
}
