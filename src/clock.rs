//! The only place that asks the time.
//!
//! Everything else takes `now` as a parameter, so that rules, windows and delivery can be tested
//! at any moment of any day.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A moment as milliseconds since the Unix epoch (UTC). Negative before 1970.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment `ms` milliseconds after the Unix epoch.
    pub const fn from_ms(ms: i64) -> Self {
        Self(ms)
    }

    /// The moment `s` whole seconds after the Unix epoch, saturating.
    pub const fn from_secs(s: i64) -> Self {
        Self(s.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_ms(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Signed milliseconds from `earlier` to `self`; negative when `self` is the earlier one.
    pub const fn ms_since(self, earlier: Timestamp) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment `by` later, saturating.
    pub fn plus(self, by: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// The moment `by` earlier, saturating.
    pub fn minus(self, by: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// The last multiple of `every` (counted from the epoch) that is not after `self`.
    ///
    /// # Panics
    /// When `every` is shorter than a millisecond.
    pub fn aligned(self, every: Duration) -> Self {
        let every = i64::try_from(every.as_millis()).unwrap_or(i64::MAX);
        assert!(every > 0, "the beat is at least a millisecond");
        Self(self.0.div_euclid(every).saturating_mul(every))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

/// Where a part of the program takes its time from: the machine's wall clock, or a hand-set one in
/// tests. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    /// The machine's wall clock.
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that stands at `at` until it is set.
    pub fn manual(at: Timestamp) -> Self {
        Self(Some(Arc::new(AtomicI64::new(at.as_ms()))))
    }

    /// The current moment. A wall clock before 1970 gives negative values.
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the one place that asks the time"
    )]
    pub fn now(&self) -> Timestamp {
        if let Some(at) = &self.0 {
            return Timestamp(at.load(Ordering::Acquire));
        }
        let ms = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => Timestamp(ms(since)),
            Err(before) => Timestamp(-ms(before.duration())),
        }
    }

    /// Sets a manual clock; a system clock stays as it is.
    pub fn set(&self, to: Timestamp) {
        if let Some(at) = &self.0 {
            at.store(to.as_ms(), Ordering::Release);
        }
    }
}

/// Measures elapsed time on the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts measuring now.
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the one place that asks the time"
    )]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns_down_also_before_the_epoch() {
        let ten = Duration::from_secs(10);
        for (at, expected) in [(0, 0), (9_999, 0), (10_000, 10_000), (-1, -10_000)] {
            assert_eq!(
                Timestamp::from_ms(at).aligned(ten),
                Timestamp::from_ms(expected)
            );
        }
    }

    #[test]
    fn whole_seconds_round_down() {
        assert_eq!(Timestamp::from_ms(1_999).as_secs(), 1);
        assert_eq!(Timestamp::from_ms(-1).as_secs(), -1);
    }
}
