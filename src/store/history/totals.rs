//! A group's sums, as the fields that differ from adding up its partitions.
//!
//! The sums of a small group follow from its rows and cost nothing. Those of a large one are all
//! written, so that they are read without its partitions, which stand in many blocks.

use crate::lag::evaluation::{GroupTopic, GroupTotals, TimeLag, TimeLagMethod};
use crate::lag::optional::{MaybeF32, MaybeI64};
use crate::store::codec::guessed_totals;

/// Partitions from which on a group's sums are written.
const WRITTEN_ABOVE: usize = 64;

/// How many fields there are; the last three are those of the time lag.
pub(super) const FIELDS: usize = 21;

const TIME_LAG: usize = 18;

/// The fields of a group's sums that differ from the guess; absent values as none.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Differs {
    /// The guess is that of a group without partitions.
    pub(super) is_written: bool,
    /// Field and value, in the fields' order.
    pub(super) fields: Vec<(usize, Option<i64>)>,
}

/// The guess for a group, and whether it is the one without partitions.
fn guess(topics: &[GroupTopic], members: usize) -> (GroupTotals, bool) {
    let partitions: usize = topics.iter().map(|topic| topic.partitions.len()).sum();
    match partitions > WRITTEN_ABOVE {
        true => (guessed_totals(&[], members), true),
        false => (guessed_totals(topics, members), false),
    }
}

impl Differs {
    /// What differs from the guess for these topics.
    pub(super) fn of(totals: &GroupTotals, topics: &[GroupTopic], members: usize) -> Self {
        let (guess, is_written) = guess(topics, members);
        let (is, guess) = (fields(totals), fields(&guess));
        let differs = |field: &usize| is[*field] != guess[*field];
        // The three of a time lag go together.
        let of_time_lag = (TIME_LAG..FIELDS).any(|field| differs(&field));
        let fields = (0..FIELDS)
            .filter(|field| differs(field) || (of_time_lag && *field >= TIME_LAG))
            .map(|field| (field, is[field]))
            .collect();
        Self { is_written, fields }
    }

    /// The sums of a group with these topics: all of its partitions, unless the sums are written.
    /// None when a value does not fit its field.
    pub(super) fn apply(&self, topics: &[GroupTopic], members: usize) -> Option<GroupTotals> {
        let topics = if self.is_written { &[] } else { topics };
        let mut fields = fields(&guessed_totals(topics, members));
        for (field, value) in &self.fields {
            *fields.get_mut(*field)? = *value;
        }
        from_fields(&fields)
    }
}

fn fields(totals: &GroupTotals) -> [Option<i64>; FIELDS] {
    let place = |place: Option<(u32, u32)>| {
        place.map(|(topic, partition)| {
            ((u64::from(topic) << 32) | u64::from(partition)).cast_signed()
        })
    };
    let float = |value: MaybeF32| value.get().map(|value| i64::from(value.to_bits()));
    let time_lag = totals.time_lag;
    let count = |count: u32| Some(i64::from(count));
    [
        count(totals.partitions),
        count(totals.partitions_ok),
        count(totals.partitions_warn),
        count(totals.partitions_stop),
        count(totals.partitions_stall),
        count(totals.partitions_rewind),
        count(totals.partitions_no_commit),
        count(totals.partitions_unknown),
        count(totals.members),
        Some(totals.total_lag),
        totals.lag.get(),
        totals.records_lost.get(),
        place(totals.max_lag),
        place(totals.worst),
        float(totals.eta_s),
        float(totals.consume_rate),
        float(totals.produce_rate),
        float(totals.retention_used),
        time_lag.map(|time_lag| i64::from(time_lag.seconds.to_bits())),
        time_lag.map(|time_lag| time_lag.method as i64),
        time_lag.and_then(|time_lag| float(time_lag.error_s)),
    ]
}

fn from_fields(fields: &[Option<i64>; FIELDS]) -> Option<GroupTotals> {
    let [
        partitions,
        partitions_ok,
        partitions_warn,
        partitions_stop,
        partitions_stall,
        partitions_rewind,
        partitions_no_commit,
        partitions_unknown,
        members,
        total_lag,
        lag,
        records_lost,
        max_lag,
        worst,
        eta_s,
        consume_rate,
        produce_rate,
        retention_used,
        seconds,
        method,
        error_s,
    ] = *fields;
    let count = |value: Option<i64>| u32::try_from(value?).ok();
    let time_lag = match seconds {
        None => None,
        Some(bits) => Some(TimeLag {
            seconds: f32::from_bits(u32::try_from(bits).ok()?),
            error_s: float(error_s)?,
            method: method_of(method?)?,
        }),
    };
    Some(GroupTotals {
        lag: lag.into(),
        total_lag: total_lag?,
        max_lag: place(max_lag)?,
        worst: place(worst)?,
        partitions: count(partitions)?,
        partitions_ok: count(partitions_ok)?,
        partitions_warn: count(partitions_warn)?,
        partitions_stop: count(partitions_stop)?,
        partitions_stall: count(partitions_stall)?,
        partitions_rewind: count(partitions_rewind)?,
        partitions_no_commit: count(partitions_no_commit)?,
        partitions_unknown: count(partitions_unknown)?,
        members: count(members)?,
        time_lag,
        eta_s: float(eta_s)?,
        consume_rate: float(consume_rate)?,
        produce_rate: float(produce_rate)?,
        records_lost: MaybeI64::from(records_lost),
        retention_used: float(retention_used)?,
    })
}

fn float(bits: Option<i64>) -> Option<MaybeF32> {
    Some(match bits {
        None => MaybeF32::NONE,
        Some(bits) => MaybeF32::some(f32::from_bits(u32::try_from(bits).ok()?)),
    })
}

fn place(value: Option<i64>) -> Option<Option<(u32, u32)>> {
    let Some(value) = value else {
        return Some(None);
    };
    let value = value.cast_unsigned();
    let topic = u32::try_from(value >> 32).ok()?;
    Some(Some((topic, u32::try_from(value & 0xffff_ffff).ok()?)))
}

/// The way of finding a time lag with this number.
pub(super) fn method_of(code: i64) -> Option<TimeLagMethod> {
    Some(match code {
        0 => TimeLagMethod::CaughtUp,
        1 => TimeLagMethod::Interpolated,
        2 => TimeLagMethod::Seeded,
        3 => TimeLagMethod::AtLeast,
        _ => return None,
    })
}
