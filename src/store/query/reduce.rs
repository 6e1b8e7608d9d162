//! Fewer points of a series that still show what happened: the least and the greatest value of each
//! step, never a mean that hides a spike. Pure.

use crate::clock::Timestamp;

/// One value of a series; none where a beat is missing or the value was not known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    pub at: Timestamp,
    pub value: Option<f64>,
}

/// At most `points` of `samples`, which rise in time: all when they are few enough, else the least
/// and the greatest value of each of equal steps, each at its own moment. A step without any value
/// is one sample without value, so that a gap stays a gap. With `step_ms` the steps are at least
/// that long, aligned to multiples of it, and reducing happens even when all would fit.
pub fn reduce(samples: Vec<Sample>, points: usize, step_ms: Option<i64>) -> Vec<Sample> {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
        return samples;
    };
    if step_ms.is_none() && samples.len() <= points {
        return samples;
    }
    let span = last.at.ms_since(first.at).max(0) + 1;
    let step = step_of(span, points, step_ms);
    let mut reduced = Vec::with_capacity(points.min(samples.len()));
    let bucket = |sample: &Sample| sample.at.as_ms().div_euclid(step);
    for run in samples.chunk_by(|a, b| bucket(a) == bucket(b)) {
        push_extremes(&mut reduced, run);
    }
    reduced
}

/// The length of the steps, in milliseconds, in which at most `points` samples of a time of `span_ms`
/// are kept: two of each step.
pub(super) fn step_of(span_ms: i64, points: usize, step_ms: Option<i64>) -> i64 {
    // One more step for the one that is cut by the alignment.
    let steps = i64::try_from((points / 2).max(2)).unwrap_or(i64::MAX) - 1;
    let needed = span_ms.div_euclid(steps) + i64::from(span_ms.rem_euclid(steps) > 0);
    match step_ms.map(|step| step.max(1)) {
        Some(step) => step
            .saturating_mul(needed.div_euclid(step).max(0) + i64::from(needed.rem_euclid(step) > 0))
            .max(step),
        None => needed.max(1),
    }
}

fn push_extremes(reduced: &mut Vec<Sample>, run: &[Sample]) {
    let mut extremes: Option<(usize, usize, f64, f64)> = None;
    for (index, value) in (0..).zip(run).filter_map(|(i, s)| Some((i, s.value?))) {
        extremes = Some(match extremes {
            None => (index, index, value, value),
            Some((low, high, least, greatest)) => (
                if value < least { index } else { low },
                if value > greatest { index } else { high },
                least.min(value),
                greatest.max(value),
            ),
        });
    }
    match extremes {
        None => reduced.extend(run.first()),
        Some((low, high, ..)) => {
            reduced.push(run[low.min(high)]);
            if low != high {
                reduced.push(run[low.max(high)]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "1 2 -": values second by second, "-" for none.
    #[track_caller]
    fn check(values: &str, points: usize, step_ms: Option<i64>, expected: &str, reason: &str) {
        let samples = (0..)
            .zip(values.split_whitespace())
            .map(|(second, value)| Sample {
                at: Timestamp::from_secs(second),
                value: value.parse().ok(),
            });
        let reduced = reduce(samples.collect(), points, step_ms);
        let shown = reduced.iter().map(|sample| {
            let value = sample
                .value
                .map_or("-".to_owned(), |value| value.to_string());
            format!("{}:{value}", sample.at.as_ms() / 1000)
        });
        let shown: Vec<String> = shown.collect();
        assert_eq!(shown.join(" "), expected, "{reason}");
    }

    #[test]
    fn keeps_the_extremes_of_each_step() {
        check("", 4, None, "", "nothing");
        check("1 2 3", 4, None, "0:1 1:2 2:3", "few enough: all of them");
        check(
            "1 9 2 1 0 2 3 4 5 6",
            6,
            None,
            "1:9 4:0 5:2 9:6",
            "two steps of five",
        );
        check(
            "- - - - - 5 - - - -",
            6,
            None,
            "0:- 5:5",
            "a step without values is a gap",
        );
        check(
            "3 3 3 3 3 3 3 3",
            6,
            None,
            "0:3 4:3",
            "equal values are one",
        );
        check(
            "1 2 3 4 5 6",
            100,
            Some(3000),
            "0:1 2:3 3:4 5:6",
            "an asked step is kept",
        );
        check(
            "1 2 3 4 5 6",
            100,
            Some(1),
            "0:1 1:2 2:3 3:4 4:5 5:6",
            "shorter than a beat",
        );
        check(
            "5 1 7 2 8 3 9 4",
            4,
            Some(1000),
            "1:1 6:9",
            "a step longer than asked when too many",
        );
    }

    #[test]
    fn is_never_more_than_asked_and_loses_no_spike() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..500 {
            let count = random.usize(1..400);
            let mut at = random.i64(-1000..100_000);
            let samples: Vec<Sample> = (0..count)
                .map(|_| {
                    at += random.i64(1..5000);
                    Sample {
                        at: Timestamp::from_ms(at),
                        value: (random.u8(..10) > 1).then(|| f64::from(random.u16(..))),
                    }
                })
                .collect();
            let points = random.usize(4..200);
            let step = random.bool().then(|| random.i64(1..60_000));
            let reduced = reduce(samples.clone(), points, step);
            assert!(reduced.len() <= points, "{} of {points}", reduced.len());
            let most = |list: &[Sample]| list.iter().filter_map(|s| s.value).fold(-1.0, f64::max);
            assert!((most(&reduced) - most(&samples)).abs() < 0.5);
            assert!(reduced.iter().all(|sample| samples.contains(sample)));
            assert!(reduced.windows(2).all(|pair| pair[0].at < pair[1].at));
        }
    }
}
