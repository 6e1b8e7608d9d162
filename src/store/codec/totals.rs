//! A group's sums, as what differs from adding up its partitions.
//!
//! The guess is part of the format: reading repeats it. It need not be how the core adds up, but
//! the closer it is, the less is written.

use super::bytes::Malformed;
use super::groups::{GroupColumns, GroupReader, floats, ints, method};
use crate::lag::evaluation::{GroupTopic, GroupTotals, Status, TimeLag};
use crate::lag::optional::{MaybeF32, MaybeI64};

/// What a value that may be absent is, against the guess.
mod tag {
    pub(super) const AS_GUESSED: u8 = 0;
    pub(super) const ABSENT: u8 = 1;
    pub(super) const WRITTEN: u8 = 2;
}

const MALFORMED: Malformed = Malformed("a mark for a value does not exist");

/// Adds up a group's partitions.
pub(in crate::store) fn guess(topics: &[GroupTopic], members: usize) -> GroupTotals {
    let mut sums = GroupTotals {
        members: u32::try_from(members).unwrap_or(u32::MAX),
        ..GroupTotals::default()
    };
    let mut max_lag = None;
    let mut worst = Status::Ok;
    for (t, topic) in (0_u32..).zip(topics) {
        for (p, row) in (0_u32..).zip(&topic.partitions) {
            sums.partitions = sums.partitions.wrapping_add(1);
            sums.total_lag = sums.total_lag.wrapping_add(row.current_lag);
            if max_lag.is_none_or(|max| row.current_lag > max) {
                max_lag = Some(row.current_lag);
                sums.max_lag = Some((t, p));
            }
            if row.status() > worst {
                worst = row.status();
                sums.worst = Some((t, p));
            }
            if row.end.is_none() {
                sums.partitions_no_commit += 1;
            } else {
                *count_of(&mut sums, row.status()) += 1;
                sums.partitions_unknown += u32::from(row.lag.get().is_none());
            }
            sums.lag = add(sums.lag, row.lag);
            sums.records_lost = add(sums.records_lost, row.records_lost);
            sums.consume_rate = with(sums.consume_rate, row.consume_rate, |a, b| a + b);
            sums.produce_rate = with(sums.produce_rate, row.produce_rate, |a, b| a + b);
            sums.eta_s = with(sums.eta_s, row.eta_s, greater);
            sums.retention_used = with(sums.retention_used, row.retention_used, greater);
            if let Some(time_lag) = row.time_lag
                && sums
                    .time_lag
                    .is_none_or(|max| time_lag.seconds > max.seconds)
            {
                sums.time_lag = Some(time_lag);
            }
        }
    }
    sums
}

/// The number of partitions in a status; Burrow's groups know no NOTFOUND and no ERR partitions,
/// which count as fine here.
fn count_of(sums: &mut GroupTotals, status: Status) -> &mut u32 {
    match status {
        Status::NotFound | Status::Ok | Status::Err => &mut sums.partitions_ok,
        Status::Warn => &mut sums.partitions_warn,
        Status::Stop => &mut sums.partitions_stop,
        Status::Stall => &mut sums.partitions_stall,
        Status::Rewind => &mut sums.partitions_rewind,
    }
}

fn add(sum: MaybeI64, value: MaybeI64) -> MaybeI64 {
    match (sum.get(), value.get()) {
        (Some(sum), Some(value)) => MaybeI64::some(sum.wrapping_add(value)),
        (None, _) => value,
        (_, None) => sum,
    }
}

fn with(sum: MaybeF32, value: MaybeF32, f: impl FnOnce(f32, f32) -> f32) -> MaybeF32 {
    match (sum.get(), value.get()) {
        (Some(sum), Some(value)) => MaybeF32::some(f(sum, value)),
        (None, _) => value,
        (_, None) => sum,
    }
}

/// The greater of two numbers. Not `f32::max`, whose answer for 0 and -0 is the machine's choice.
fn greater(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

fn counts(totals: &mut GroupTotals) -> [&mut u32; 9] {
    [
        &mut totals.partitions,
        &mut totals.partitions_ok,
        &mut totals.partitions_warn,
        &mut totals.partitions_stop,
        &mut totals.partitions_stall,
        &mut totals.partitions_rewind,
        &mut totals.partitions_no_commit,
        &mut totals.partitions_unknown,
        &mut totals.members,
    ]
}

pub(super) fn encode(columns: &mut GroupColumns, totals: &GroupTotals, guess: &GroupTotals) {
    let (mut is, mut guessed) = (totals.clone(), guess.clone());
    for (value, guess) in counts(&mut is).into_iter().zip(counts(&mut guessed)) {
        columns.int(ints::TOTALS, i64::from(*value) - i64::from(*guess));
    }
    columns.int(ints::TOTALS, totals.total_lag.wrapping_sub(guess.total_lag));
    for (value, guess) in [
        (totals.lag, guess.lag),
        (totals.records_lost, guess.records_lost),
    ] {
        let value = optional(columns, value.get(), guess.get(), |a, b| a == b);
        if let Some(value) = value {
            columns.int(ints::TOTALS, value);
        }
    }
    for (value, guess) in [(totals.max_lag, guess.max_lag), (totals.worst, guess.worst)] {
        if let Some((topic, partition)) = optional(columns, value, guess, |a, b| a == b) {
            columns.varint(ints::TOTALS, u64::from(topic));
            columns.varint(ints::TOTALS, u64::from(partition));
        }
    }
    for (value, guess) in [
        (totals.eta_s, guess.eta_s),
        (totals.consume_rate, guess.consume_rate),
        (totals.produce_rate, guess.produce_rate),
        (totals.retention_used, guess.retention_used),
    ] {
        if let Some(value) = optional(columns, value.get(), guess.get(), same_bits) {
            columns.float(floats::TOTALS, value);
        }
    }
    let same = |a: &TimeLag, b: &TimeLag| {
        a.method == b.method
            && same_bits(&a.seconds, &b.seconds)
            && a.error_s.get().map(f32::to_bits) == b.error_s.get().map(f32::to_bits)
    };
    if let Some(time_lag) = optional(columns, totals.time_lag, guess.time_lag, same) {
        columns.float(floats::TOTALS, time_lag.seconds);
        columns.byte(ints::TAGS, time_lag.method as u8);
        if let Some(error) = optional(columns, time_lag.error_s.get(), None, same_bits) {
            columns.float(floats::TOTALS, error);
        }
    }
}

fn same_bits(a: &f32, b: &f32) -> bool {
    a.to_bits() == b.to_bits()
}

/// Writes what `value` is against the guess; `Some` when the value itself must follow.
fn optional<T>(
    columns: &mut GroupColumns,
    value: Option<T>,
    guess: Option<T>,
    is_same: impl FnOnce(&T, &T) -> bool,
) -> Option<T> {
    let (tag, written) = match (value, guess) {
        (None, None) => (tag::AS_GUESSED, None),
        (None, Some(_)) => (tag::ABSENT, None),
        (Some(value), Some(guess)) if is_same(&value, &guess) => (tag::AS_GUESSED, None),
        (Some(value), _) => (tag::WRITTEN, Some(value)),
    };
    columns.byte(ints::TAGS, tag);
    written
}

/// The sums of a group whose partitions add up to `totals`.
pub(super) fn decode(
    columns: &mut GroupReader<'_>,
    mut totals: GroupTotals,
) -> Result<GroupTotals, Malformed> {
    for count in counts(&mut totals) {
        let value = i64::from(*count).wrapping_add(columns.int(ints::TOTALS)?);
        *count = u32::try_from(value).map_err(|_| Malformed("a sum is out of range"))?;
    }
    totals.total_lag = totals.total_lag.wrapping_add(columns.int(ints::TOTALS)?);
    for value in [&mut totals.lag, &mut totals.records_lost] {
        match columns.byte(ints::TAGS)? {
            tag::AS_GUESSED => {}
            tag::ABSENT => *value = MaybeI64::NONE,
            tag::WRITTEN => *value = MaybeI64::some(columns.int(ints::TOTALS)?),
            _ => return Err(MALFORMED),
        }
    }
    for place in [&mut totals.max_lag, &mut totals.worst] {
        match columns.byte(ints::TAGS)? {
            tag::AS_GUESSED => {}
            tag::ABSENT => *place = None,
            tag::WRITTEN => *place = Some((index(columns)?, index(columns)?)),
            _ => return Err(MALFORMED),
        }
    }
    for value in [
        &mut totals.eta_s,
        &mut totals.consume_rate,
        &mut totals.produce_rate,
        &mut totals.retention_used,
    ] {
        match columns.byte(ints::TAGS)? {
            tag::AS_GUESSED => {}
            tag::ABSENT => *value = MaybeF32::NONE,
            tag::WRITTEN => *value = MaybeF32::some(columns.float(floats::TOTALS)?),
            _ => return Err(MALFORMED),
        }
    }
    match columns.byte(ints::TAGS)? {
        tag::AS_GUESSED => {}
        tag::ABSENT => totals.time_lag = None,
        tag::WRITTEN => totals.time_lag = Some(time_lag(columns)?),
        _ => return Err(MALFORMED),
    }
    Ok(totals)
}

fn index(columns: &mut GroupReader<'_>) -> Result<u32, Malformed> {
    u32::try_from(columns.varint(ints::TOTALS)?).map_err(|_| Malformed("a place is out of range"))
}

fn time_lag(columns: &mut GroupReader<'_>) -> Result<TimeLag, Malformed> {
    let seconds = columns.float(floats::TOTALS)?;
    let method = method(columns.byte(ints::TAGS)?)?;
    let error_s = match columns.byte(ints::TAGS)? {
        tag::AS_GUESSED => MaybeF32::NONE,
        tag::WRITTEN => MaybeF32::some(columns.float(floats::TOTALS)?),
        _ => return Err(MALFORMED),
    };
    Ok(TimeLag {
        seconds,
        error_s,
        method,
    })
}
