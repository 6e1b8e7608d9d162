//! The rows of one group-partition over an hour's beats, as columns.
//!
//! A column holds the values of those rows that have one; which those are is said by the rows'
//! flags, which hardly ever change from one beat to the next. The committed offset follows from the
//! log end and the lag.

use super::block::{put_points, take_predicted};
use super::columns::{Columns, Reader};
use super::predict::Points;
use super::totals::method_of;
use crate::clock::Timestamp;
use crate::lag::evaluation::{CommitView, PartitionEvaluation, PartitionStatus, Status, TimeLag};
use crate::lag::measure::seconds;
use crate::lag::optional::{EpochSeconds, MaybeF32, MaybeI64};
use crate::store::codec::bytes::Malformed;

/// The values of a row, each in a column of its own. The order is part of the format.
mod value {
    pub(super) const END: usize = 0;
    pub(super) const LAG: usize = 1;
    /// What the committed offset differs by from the log end less the lag.
    pub(super) const OFFSET: usize = 2;
    pub(super) const CURRENT_LAG: usize = 3;
    pub(super) const AGE: usize = 4;
    pub(super) const COMMIT_LAG: usize = 5;
    pub(super) const TIME_LAG: usize = 6;
    pub(super) const ERROR: usize = 7;
    pub(super) const ETA: usize = 8;
    pub(super) const CONSUME: usize = 9;
    pub(super) const PRODUCE: usize = 10;
    pub(super) const LOST: usize = 11;
    pub(super) const USED: usize = 12;
    pub(super) const LEFT: usize = 13;
    pub(super) const COMPLETE: usize = 14;
    pub(super) const COUNT: usize = 15;
}

/// Those that are real numbers.
const REALS: [usize; 6] = [
    value::ETA,
    value::CONSUME,
    value::PRODUCE,
    value::USED,
    value::LEFT,
    value::COMPLETE,
];

/// Columns from the first one of partitions' rows on. The order is part of the format.
mod column {
    pub(super) const FLAGS: usize = 0;
    pub(super) const METHOD: usize = 1;
    pub(super) const STATUS: usize = 2;
    pub(super) const OWNER: usize = 3;
    pub(super) const MODES: usize = 4;
    pub(super) const SLOPES: usize = 5;
    pub(super) const VALUES: usize = 6;
}

/// How many columns there are.
pub(super) const COLUMNS: usize = column::VALUES + value::COUNT;

/// What a row has.
mod has {
    pub(super) const COMMIT: u16 = 1;
    pub(super) const COMMIT_LAG: u16 = 1 << 1;
    pub(super) const LAG: u16 = 1 << 2;
    pub(super) const END: u16 = 1 << 3;
    pub(super) const TIME_LAG: u16 = 1 << 4;
    pub(super) const ERROR: u16 = 1 << 5;
    pub(super) const ETA: u16 = 1 << 6;
    pub(super) const CONSUME: u16 = 1 << 7;
    pub(super) const PRODUCE: u16 = 1 << 8;
    pub(super) const LOST: u16 = 1 << 9;
    pub(super) const USED: u16 = 1 << 10;
    pub(super) const LEFT: u16 = 1 << 11;
    pub(super) const STATUS: u16 = 1 << 12;
    /// `current_lag` is not the lag.
    pub(super) const CURRENT_LAG: u16 = 1 << 13;
    /// The commit is of the same moment as that of the row before.
    pub(super) const SAME_TIME: u16 = 1 << 14;
    /// `complete` is not 1 with a commit and 0 without.
    pub(super) const COMPLETE: u16 = 1 << 15;
}

/// Beside the way a time lag was found: it and its error are written in milliseconds.
const IN_MS: u8 = 1 << 7;
/// Beside the way a time lag was found: it and its error are 0.
const NOTHING: u8 = 1 << 6;

/// Which value is there with which flag, for those with a flag of their own.
const SIMPLE: [(u16, usize); 11] = [
    (has::END, value::END),
    (has::LAG, value::LAG),
    (has::COMMIT, value::OFFSET),
    (has::CURRENT_LAG, value::CURRENT_LAG),
    (has::COMMIT_LAG, value::COMMIT_LAG),
    (has::ETA, value::ETA),
    (has::CONSUME, value::CONSUME),
    (has::PRODUCE, value::PRODUCE),
    (has::LOST, value::LOST),
    (has::USED, value::USED),
    (has::LEFT, value::LEFT),
];

fn guess_complete(has_commit: bool) -> f32 {
    if has_commit { 1.0 } else { 0.0 }
}

/// The committed offset a row most probably has.
fn guess_offset(end: Option<i64>, lag: Option<i64>) -> i64 {
    end.unwrap_or(0).wrapping_sub(lag.unwrap_or(0))
}

fn bits(value: f32) -> i64 {
    i64::from(value.to_bits())
}

fn from_bits(bits: i64) -> Result<f32, Malformed> {
    u32::try_from(bits)
        .map(f32::from_bits)
        .map_err(|_| Malformed("a real number is out of range"))
}

/// Writes rows into columns. Keeps its memory between series.
#[derive(Debug, Default)]
pub(super) struct RowWriter {
    points: Points<{ value::COUNT }>,
}

impl RowWriter {
    /// Writes the rows of one series, each with its beat; `first` is the first column.
    pub(super) fn write<'a, const N: usize>(
        &mut self,
        columns: &mut Columns<N>,
        first: usize,
        rows: impl Iterator<Item = (Timestamp, &'a PartitionEvaluation)>,
    ) {
        self.points.clear();
        let (mut flags, mut method, mut owner) = (0, 0, 0);
        let mut commit: Option<Timestamp> = None;
        for (beat, row) in rows {
            let at = beat.as_ms();
            let mut now = self.integers(at, row);
            if let Some(end) = &row.end {
                if commit == Some(end.timestamp) {
                    now |= has::SAME_TIME;
                } else {
                    let age = at.wrapping_sub(end.timestamp.as_ms());
                    self.points.put(value::AGE, at, age);
                }
                commit = Some(end.timestamp);
            }
            now |= self.reals(at, row);
            if let Some(time_lag) = &row.time_lag {
                let (code, has_error) = self.time_lag(at, time_lag);
                now |= has::TIME_LAG | has_error;
                columns.put(first + column::METHOD, u64::from(code ^ method));
                method = code;
            }
            if let Some(status) = &row.status {
                now |= has::STATUS;
                columns.put(first + column::STATUS, u64::from(status.status.code()));
            }
            let is = i64::from(row.owner);
            columns.int(first + column::OWNER, is - owner);
            owner = is;
            columns.put(first + column::FLAGS, u64::from(now ^ flags));
            flags = now;
        }
        let places = (column::VALUES, column::MODES, column::SLOPES);
        let places = (first + places.0, first + places.1, first + places.2);
        put_points(columns, places, &self.points, |value| {
            REALS.contains(&value)
        });
    }

    fn integers(&mut self, at: i64, row: &PartitionEvaluation) -> u16 {
        let mut flags = 0;
        let (end, lag) = (row.end_offset.get(), row.lag.get());
        for (flag, column, value) in [
            (has::END, value::END, end),
            (has::LAG, value::LAG, lag),
            (has::LOST, value::LOST, row.records_lost.get()),
        ] {
            if let Some(value) = value {
                flags |= flag;
                self.points.put(column, at, value);
            }
        }
        let differs = row.current_lag.wrapping_sub(lag.unwrap_or(0));
        if differs != 0 {
            flags |= has::CURRENT_LAG;
            self.points.put(value::CURRENT_LAG, at, differs);
        }
        if let Some(commit) = &row.end {
            flags |= has::COMMIT;
            let differs = commit.offset.wrapping_sub(guess_offset(end, lag));
            self.points.put(value::OFFSET, at, differs);
            if let Some(then) = commit.lag.get() {
                flags |= has::COMMIT_LAG;
                let differs = then.wrapping_sub(lag.unwrap_or(0));
                self.points.put(value::COMMIT_LAG, at, differs);
            }
        }
        flags
    }

    fn reals(&mut self, at: i64, row: &PartitionEvaluation) -> u16 {
        let mut flags = 0;
        for (flag, column, value) in [
            (has::ETA, value::ETA, row.eta_s),
            (has::CONSUME, value::CONSUME, row.consume_rate),
            (has::PRODUCE, value::PRODUCE, row.produce_rate),
            (has::USED, value::USED, row.retention_used),
            (has::LEFT, value::LEFT, row.retention_left_s),
        ] {
            if let Some(value) = value.get() {
                flags |= flag;
                self.points.put(column, at, bits(value));
            }
        }
        if row.complete.to_bits() != guess_complete(row.end.is_some()).to_bits() {
            flags |= has::COMPLETE;
            self.points.put(value::COMPLETE, at, bits(row.complete));
        }
        flags
    }

    fn time_lag(&mut self, at: i64, time_lag: &TimeLag) -> (u8, u16) {
        let code = time_lag.method as u8;
        let error = time_lag.error_s.get();
        let (in_ms, values) = match (millis(time_lag.seconds), error.map(millis)) {
            (Some(0), Some(Some(0))) => return (code | NOTHING, 0),
            (Some(age), None) => (IN_MS, (age, None)),
            (Some(age), Some(Some(error))) => (IN_MS, (age, Some(error))),
            _ => (0, (bits(time_lag.seconds), error.map(bits))),
        };
        self.points.put(value::TIME_LAG, at, values.0);
        let Some(error) = values.1 else {
            return (code | in_ms, 0);
        };
        self.points.put(value::ERROR, at, error);
        (code | in_ms, has::ERROR)
    }
}

/// The whole milliseconds that are exactly this many [`seconds`].
#[allow(
    clippy::cast_possible_truncation,
    reason = "what does not fit comes back as other seconds"
)]
fn millis(value: f32) -> Option<i64> {
    let ms = (f64::from(value) * 1000.0 + 0.5) as i64;
    (seconds(ms).to_bits() == value.to_bits()).then_some(ms)
}

/// Reads rows from columns. Keeps its memory between series.
#[derive(Debug, Default)]
pub(super) struct RowReader {
    flags: Vec<u16>,
    /// [`NOTHING`] for rows without a time lag.
    methods: Vec<u8>,
}

impl RowReader {
    /// Leaves out a series of `count` rows.
    pub(super) fn skip<const N: usize>(
        &mut self,
        columns: &mut Reader<N>,
        first: usize,
        count: usize,
    ) -> Result<(), Malformed> {
        self.marks(columns, first, count)?;
        let with = |flag: u16| {
            self.flags
                .iter()
                .filter(|flags| **flags & flag != 0)
                .count()
        };
        columns.skip(first + column::STATUS, with(has::STATUS))?;
        columns.skip(first + column::OWNER, count)?;
        let mut left = [0; value::COUNT];
        for (flag, value) in SIMPLE {
            left[value] = with(flag);
        }
        left[value::AGE] = with(has::COMMIT) - with(has::SAME_TIME);
        left[value::TIME_LAG] = self.methods.iter().filter(|m| is_written(**m)).count();
        left[value::ERROR] = with(has::ERROR);
        left[value::COMPLETE] = with(has::COMPLETE);
        for (value, count) in (0..).zip(left).filter(|(_, count)| *count > 0) {
            let places = (first + column::MODES, first + column::SLOPES);
            take_predicted(columns, places)?;
            columns.skip(first + column::VALUES + value, count)?;
        }
        Ok(())
    }

    /// Reads the flags and the ways time lags were found.
    fn marks<const N: usize>(
        &mut self,
        columns: &mut Reader<N>,
        first: usize,
        count: usize,
    ) -> Result<(), Malformed> {
        const WRONG: Malformed = Malformed("a row's flags do not go together");
        if count > columns.left(first + column::FLAGS) {
            return Err(Malformed("more rows are announced than are there"));
        }
        self.flags.clear();
        self.methods.clear();
        let (mut flags, mut method) = (0, 0);
        for _ in 0..count {
            let differs = columns.take(first + column::FLAGS)?;
            flags ^= u16::try_from(differs).map_err(|_| WRONG)?;
            self.flags.push(flags);
            let is = |flag: u16| flags & flag != 0;
            if (is(has::SAME_TIME) || is(has::COMMIT_LAG)) && !is(has::COMMIT) {
                return Err(WRONG);
            }
            if is(has::ERROR) && !is(has::TIME_LAG) {
                return Err(WRONG);
            }
            if is(has::TIME_LAG) {
                let differs = columns.take(first + column::METHOD)?;
                method ^= u8::try_from(differs).map_err(|_| WRONG)?;
                if method & NOTHING != 0 && is(has::ERROR) {
                    return Err(WRONG);
                }
            }
            let has_time_lag = is(has::TIME_LAG);
            self.methods
                .push(if has_time_lag { method } else { NOTHING });
        }
        Ok(())
    }

    /// The rows of one series at `beats`.
    pub(super) fn read<const N: usize>(
        &mut self,
        columns: &mut Reader<N>,
        first: usize,
        beats: &[Timestamp],
    ) -> Result<Vec<PartitionEvaluation>, Malformed> {
        self.marks(columns, first, beats.len())?;
        let mut rows = vec![PartitionEvaluation::default(); beats.len()];
        let mut owner = 0_i64;
        for (row, flags) in rows.iter_mut().zip(&self.flags) {
            owner = owner.wrapping_add(columns.int(first + column::OWNER)?);
            row.owner = u32::try_from(owner).map_err(|_| Malformed("an owner is out of range"))?;
            row.complete = guess_complete(flags & has::COMMIT != 0);
            if flags & has::STATUS != 0 {
                row.status = Some(PartitionStatus {
                    status: status(columns.take(first + column::STATUS)?)?,
                    reason: None,
                });
            }
        }
        let mut rows = Rows {
            columns,
            first,
            beats,
            flags: &self.flags,
            methods: &self.methods,
            rows,
        };
        rows.integers()?;
        rows.commits()?;
        rows.time_lags()?;
        rows.reals()?;
        Ok(rows.rows)
    }
}

pub(super) fn status(code: u64) -> Result<Status, Malformed> {
    u8::try_from(code)
        .ok()
        .and_then(Status::from_code)
        .ok_or(Malformed("a status does not exist"))
}

/// A series that is being read. Columns are read in the order of the writer's modes.
struct Rows<'a, 'b, const N: usize> {
    columns: &'a mut Reader<N>,
    first: usize,
    beats: &'a [Timestamp],
    flags: &'b [u16],
    methods: &'b [u8],
    rows: Vec<PartitionEvaluation>,
}

impl<const N: usize> Rows<'_, '_, N> {
    /// Hands the values of a column to the rows that have one, each with its way of finding a time
    /// lag.
    fn each(
        &mut self,
        value: usize,
        has: impl Fn(u16, u8) -> bool,
        set: impl Fn(&mut PartitionEvaluation, u8, i64) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let mut before = None;
        let rows = self.rows.iter_mut().zip(self.flags);
        for ((row, flags), (method, beat)) in rows.zip(self.methods.iter().zip(self.beats)) {
            if !has(*flags, *method) {
                continue;
            }
            let before = match &mut before {
                Some(before) => before,
                None => {
                    let places = (self.first + column::MODES, self.first + column::SLOPES);
                    let predicted = take_predicted(self.columns, places)?;
                    before.insert(predicted.start())
                }
            };
            let at = beat.as_ms();
            let left = self.columns.int(self.first + column::VALUES + value)?;
            let is = left.wrapping_add(before.guess(at));
            before.note(at, is);
            set(row, *method, is)?;
        }
        Ok(())
    }

    fn integers(&mut self) -> Result<(), Malformed> {
        self.each(
            value::END,
            |flags, _| flags & has::END != 0,
            |row, _, end| {
                row.end_offset = MaybeI64::some(end);
                Ok(())
            },
        )?;
        self.each(
            value::LAG,
            |flags, _| flags & has::LAG != 0,
            |row, _, lag| {
                row.lag = MaybeI64::some(lag);
                row.current_lag = lag;
                Ok(())
            },
        )?;
        self.each(
            value::OFFSET,
            |flags, _| flags & has::COMMIT != 0,
            |row, _, differs| {
                let guess = guess_offset(row.end_offset.get(), row.lag.get());
                row.end = Some(CommitView {
                    offset: guess.wrapping_add(differs),
                    timestamp: Timestamp::default(),
                    observed_at: EpochSeconds::default(),
                    lag: MaybeI64::NONE,
                });
                Ok(())
            },
        )?;
        self.each(
            value::CURRENT_LAG,
            |flags, _| flags & has::CURRENT_LAG != 0,
            |row, _, differs| {
                row.current_lag = row.current_lag.wrapping_add(differs);
                Ok(())
            },
        )
    }

    fn commits(&mut self) -> Result<(), Malformed> {
        self.each(
            value::AGE,
            |flags, _| flags & has::COMMIT != 0 && flags & has::SAME_TIME == 0,
            |row, _, age| {
                if let Some(commit) = &mut row.end {
                    commit.timestamp = Timestamp::from_ms(age);
                }
                Ok(())
            },
        )?;
        let mut last = Timestamp::default();
        for ((row, flags), beat) in self.rows.iter_mut().zip(self.flags).zip(self.beats) {
            if let Some(commit) = &mut row.end {
                if flags & has::SAME_TIME == 0 {
                    let age = commit.timestamp.as_ms();
                    last = Timestamp::from_ms(beat.as_ms().wrapping_sub(age));
                }
                commit.timestamp = last;
            }
        }
        self.each(
            value::COMMIT_LAG,
            |flags, _| flags & has::COMMIT_LAG != 0,
            |row, _, differs| {
                let then = row.lag.get().unwrap_or(0).wrapping_add(differs);
                if let Some(commit) = &mut row.end {
                    commit.lag = MaybeI64::some(then);
                }
                Ok(())
            },
        )
    }

    fn time_lags(&mut self) -> Result<(), Malformed> {
        for ((row, flags), code) in self.rows.iter_mut().zip(self.flags).zip(self.methods) {
            if flags & has::TIME_LAG == 0 {
                continue;
            }
            let method = method_of(i64::from(code & !(IN_MS | NOTHING)));
            row.time_lag = Some(TimeLag {
                seconds: 0.0,
                error_s: match code & NOTHING {
                    0 => MaybeF32::NONE,
                    _ => MaybeF32::some(0.0),
                },
                method: method.ok_or(Malformed("a way of finding a time lag does not exist"))?,
            });
        }
        let number = |code: u8, value: i64| match code & IN_MS {
            0 => from_bits(value),
            _ => Ok(seconds(value)),
        };
        self.each(
            value::TIME_LAG,
            |_, code| is_written(code),
            |row, code, value| {
                if let Some(time_lag) = &mut row.time_lag {
                    time_lag.seconds = number(code, value)?;
                }
                Ok(())
            },
        )?;
        self.each(
            value::ERROR,
            |flags, _| flags & has::ERROR != 0,
            |row, code, value| {
                if let Some(time_lag) = &mut row.time_lag {
                    time_lag.error_s = MaybeF32::some(number(code, value)?);
                }
                Ok(())
            },
        )
    }

    fn reals(&mut self) -> Result<(), Malformed> {
        type Field = fn(&mut PartitionEvaluation) -> &mut MaybeF32;
        let fields: [(u16, usize, Field); 5] = [
            (has::ETA, value::ETA, |row| &mut row.eta_s),
            (has::CONSUME, value::CONSUME, |row| &mut row.consume_rate),
            (has::PRODUCE, value::PRODUCE, |row| &mut row.produce_rate),
            (has::USED, value::USED, |row| &mut row.retention_used),
            (has::LEFT, value::LEFT, |row| &mut row.retention_left_s),
        ];
        for (flag, value, field) in fields {
            if value == value::USED {
                self.lost()?;
            }
            self.each(
                value,
                |flags, _| flags & flag != 0,
                |row, _, bits| {
                    *field(row) = MaybeF32::some(from_bits(bits)?);
                    Ok(())
                },
            )?;
        }
        self.each(
            value::COMPLETE,
            |flags, _| flags & has::COMPLETE != 0,
            |row, _, bits| {
                row.complete = from_bits(bits)?;
                Ok(())
            },
        )
    }

    fn lost(&mut self) -> Result<(), Malformed> {
        self.each(
            value::LOST,
            |flags, _| flags & has::LOST != 0,
            |row, _, lost| {
                row.records_lost = MaybeI64::some(lost);
                Ok(())
            },
        )
    }
}

/// Whether a time lag found in this way has its seconds written.
fn is_written(method: u8) -> bool {
    method & NOTHING == 0
}
