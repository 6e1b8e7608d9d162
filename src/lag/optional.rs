//! Numbers that may be unknown, without the eight bytes that `Option` would add to each.
//!
//! There are millions of them in an evaluation. They convert from and to `Option`, and nothing
//! outside this file can tell how "unknown" is written down.

use std::fmt;
use std::num::NonZeroU32;

/// A whole number (offset, lag, milliseconds) or unknown.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MaybeI64(i64);

impl MaybeI64 {
    /// Unknown.
    pub const NONE: Self = Self(i64::MIN);

    /// A known value. The smallest `i64` is the only value that cannot be known.
    pub const fn some(value: i64) -> Self {
        Self(value)
    }

    /// The value, when known.
    pub const fn get(self) -> Option<i64> {
        if self.0 == i64::MIN {
            None
        } else {
            Some(self.0)
        }
    }
}

impl Default for MaybeI64 {
    fn default() -> Self {
        Self::NONE
    }
}

impl From<Option<i64>> for MaybeI64 {
    fn from(value: Option<i64>) -> Self {
        value.map_or(Self::NONE, Self::some)
    }
}

impl fmt::Debug for MaybeI64 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// A real number (seconds, a rate, a ratio) or unknown. Never infinite.
#[derive(Clone, Copy)]
pub struct MaybeF32(f32);

impl MaybeF32 {
    /// Unknown.
    pub const NONE: Self = Self(f32::NAN);

    /// A known value; a value that is not finite is unknown.
    pub const fn some(value: f32) -> Self {
        if value.is_finite() {
            Self(value)
        } else {
            Self::NONE
        }
    }

    /// A known estimate, in the 12 leading binary digits (four decimal ones) that it deserves: what
    /// says nothing would be half of what a journal keeps.
    pub const fn estimate(value: f32) -> Self {
        const DROPPED: u32 = f32::MANTISSA_DIGITS - 12;
        let half = 1 << (DROPPED - 1);
        // Carries into the exponent are right: that is the next greater number.
        let rounded = f32::from_bits(value.to_bits().wrapping_add(half) >> DROPPED << DROPPED);
        Self::some(if rounded.is_finite() { rounded } else { value })
    }

    /// `count` in `ms` milliseconds as a rate a second, an [estimate](Self::estimate); unknown
    /// without time between.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "a rate needs no more than a float's 7 digits"
    )]
    pub fn per_second(count: i64, ms: i64) -> Self {
        if ms <= 0 {
            return Self::NONE;
        }
        Self::estimate((count as f64 * 1000.0 / ms as f64) as f32)
    }

    /// The value, when known.
    pub const fn get(self) -> Option<f32> {
        if self.0.is_finite() {
            Some(self.0)
        } else {
            None
        }
    }
}

impl Default for MaybeF32 {
    fn default() -> Self {
        Self::NONE
    }
}

impl PartialEq for MaybeF32 {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl From<Option<f32>> for MaybeF32 {
    fn from(value: Option<f32>) -> Self {
        value.map_or(Self::NONE, Self::some)
    }
}

impl fmt::Debug for MaybeF32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// Whole seconds since the epoch. One pattern of its bits is never used, so that an `Option` of
/// what holds one takes no room of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct EpochSeconds(NonZeroU32);

impl EpochSeconds {
    /// This many seconds; the last second of all, in 2106, is the one before.
    pub const fn new(seconds: u32) -> Self {
        Self(NonZeroU32::MIN.saturating_add(seconds))
    }

    /// The seconds.
    pub const fn get(self) -> u32 {
        self.0.get() - 1
    }
}

impl Default for EpochSeconds {
    fn default() -> Self {
        Self::new(0)
    }
}

impl fmt::Debug for EpochSeconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_stay_what_they_are() {
        for (seconds, expected) in [
            (0, 0),
            (1, 1),
            (u32::MAX - 1, u32::MAX - 1),
            (u32::MAX, u32::MAX - 1),
        ] {
            assert_eq!(EpochSeconds::new(seconds).get(), expected, "{seconds}");
        }
    }

    #[test]
    fn an_estimate_keeps_four_digits() {
        for (why, value, expected) in [
            ("nothing", 0.0, Some(0.0)),
            ("small numbers are exact", 4095.0, Some(4095.0)),
            ("rounded down", 4096.9, Some(4096.0)),
            ("rounded up", 4097.1, Some(4098.0)),
            ("up to the next power", 8191.0, Some(8192.0)),
            ("a share", 0.333_333_34, Some(0.333_374_02)),
            ("the greatest", f32::MAX, Some(f32::MAX)),
            ("infinite is unknown", f32::INFINITY, None),
            ("no number is unknown", f32::NAN, None),
        ] {
            assert_eq!(MaybeF32::estimate(value).get(), expected, "{why}");
        }
    }
}
