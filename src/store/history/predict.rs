//! What a number of a series most probably is, from those before it.
//!
//! Log offsets grow along a line, lags stay where they are, ages are noise: for each column of each
//! series the way that leaves the least is chosen when it is written, and the way is written too.

/// The unit of a slope: what is added in a million milliseconds.
const PER: i128 = 1_000_000;

/// The numbers of one series: each with its moment in milliseconds, one list a column.
#[derive(Debug)]
pub(super) struct Points<const V: usize>([Vec<(i64, i64)>; V]);

impl<const V: usize> Default for Points<V> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Vec::new()))
    }
}

impl<const V: usize> Points<V> {
    #[inline]
    pub(super) fn put(&mut self, column: usize, at: i64, value: i64) {
        self.0[column].push((at, value));
    }

    pub(super) fn clear(&mut self) {
        self.0.iter_mut().for_each(Vec::clear);
    }

    pub(super) fn columns(&self) -> impl Iterator<Item = &[(i64, i64)]> {
        self.0.iter().map(Vec::as_slice)
    }
}

/// A way of predicting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Predicted {
    /// As 0: the number itself is written.
    Zero,
    /// As the one before.
    Last,
    /// As the one before, and what the series grows by in that time.
    Grown(i64),
    /// As on a line through the first one.
    Line(i64),
}

impl Predicted {
    /// The way that leaves the fewest bits of these numbers.
    ///
    /// Real numbers are given as their bits. Their last ones are mostly 0, and stay so when no slope
    /// is added.
    pub(super) fn best(points: &[(i64, i64)], is_real: bool) -> Self {
        let slope = slope(points);
        let mut best = (u64::MAX, Self::Zero);
        let ways = [
            Self::Zero,
            Self::Last,
            Self::Grown(slope),
            Self::Line(slope),
        ];
        for way in ways.into_iter().take(if is_real { 2 } else { 4 }) {
            let bits = way.bits(points);
            if bits < best.0 {
                best = (bits, way);
            }
        }
        best.1
    }

    /// About how many bits are left.
    fn bits(self, points: &[(i64, i64)]) -> u64 {
        let mut before = self.start();
        // A slope has to be written too.
        let mut bits = if self.slope().is_some() { 24 } else { 0 };
        for (at, value) in points {
            let left = value.wrapping_sub(before.guess(*at));
            bits += u64::from(64 - super::columns::zigzag(left).leading_zeros());
            before.note(*at, *value);
        }
        bits
    }

    pub(super) fn mode(self) -> u64 {
        match self {
            Self::Zero => 0,
            Self::Last => 1,
            Self::Grown(_) => 2,
            Self::Line(_) => 3,
        }
    }

    pub(super) fn has_slope(mode: u64) -> bool {
        mode == 2 || mode == 3
    }

    pub(super) fn from_mode(mode: u64, slope: i64) -> Option<Self> {
        Some(match mode {
            0 => Self::Zero,
            1 => Self::Last,
            2 => Self::Grown(slope),
            3 => Self::Line(slope),
            _ => return None,
        })
    }

    pub(super) fn slope(self) -> Option<i64> {
        match self {
            Self::Zero | Self::Last => None,
            Self::Grown(slope) | Self::Line(slope) => Some(slope),
        }
    }

    /// The state before the first number.
    pub(super) fn start(self) -> Before {
        Before {
            way: self,
            last: None,
        }
    }
}

/// What predicting goes by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    way: Predicted,
    last: Option<(i64, i64)>,
}

impl Before {
    /// What the number at this moment should be.
    #[inline]
    pub(super) fn guess(&self, at: i64) -> i64 {
        match (self.way, self.last) {
            (Predicted::Zero, _) | (_, None) => 0,
            (Predicted::Last, Some((_, last))) => last,
            (Predicted::Grown(slope) | Predicted::Line(slope), Some((then, last))) => {
                last.wrapping_add(grown(slope, at.wrapping_sub(then)))
            }
        }
    }

    /// Notes what it is.
    #[inline]
    pub(super) fn note(&mut self, at: i64, value: i64) {
        if self.last.is_none() || !matches!(self.way, Predicted::Line(_)) {
            self.last = Some((at, value));
        }
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "it wraps on both sides alike"
)]
fn grown(slope: i64, ms: i64) -> i64 {
    (i128::from(slope) * i128::from(ms) / PER) as i64
}

/// How fast a series grows, from its first to its last number.
fn slope(points: &[(i64, i64)]) -> i64 {
    let (Some((from, first)), Some((to, last))) = (points.first(), points.last()) else {
        return 0;
    };
    let ms = i128::from(*to) - i128::from(*from);
    if ms <= 0 {
        return 0;
    }
    let grown = (i128::from(*last) - i128::from(*first)) * PER;
    i64::try_from(grown / ms).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(why: &str, value: impl Fn(i64) -> i64, expected: impl Fn(Predicted) -> bool) {
        let points: Vec<_> = (0..100).map(|n| (n * 10_000, value(n))).collect();
        let best = Predicted::best(&points, false);
        assert!(expected(best), "{why}: {best:?}");
        // What is written gives the numbers back.
        let again = Predicted::from_mode(best.mode(), best.slope().unwrap_or(0)).unwrap();
        let (mut writing, mut reading) = (best.start(), again.start());
        for (at, value) in points {
            let left = value.wrapping_sub(writing.guess(at));
            writing.note(at, value);
            let read = left.wrapping_add(reading.guess(at));
            reading.note(at, read);
            assert_eq!(read, value);
        }
    }

    #[test]
    fn the_way_fits_the_series() {
        let noise = |n: i64| (n * 7919) % 101;
        check("nothing", |_| 0, |way| way == Predicted::Zero);
        check("constant", |_| 1 << 40, |way| way == Predicted::Last);
        check("noise", noise, |way| {
            matches!(way, Predicted::Zero | Predicted::Line(_))
        });
        check(
            "a line with noise",
            |n| n * 5000 + noise(n),
            |way| matches!(way, Predicted::Line(_)),
        );
        let walk = |n: i64| (0..=n).map(|n| 500 + (n * n * 31) % 97).sum();
        check("a walk", walk, |way| {
            matches!(way, Predicted::Grown(_) | Predicted::Line(_))
        });
        check(
            "the extremes",
            |n| if n % 2 == 0 { i64::MIN } else { i64::MAX },
            |_| true,
        );
    }
}
