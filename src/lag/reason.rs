//! Why a partition has its status, with the numbers, to be said in words.
//!
//! A reason never changes a status; `rules.rs` gives both at once.

use std::fmt;

/// Why a partition is not OK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// STOP: nothing committed for longer than the window spans, and never caught up meanwhile.
    Stopped {
        /// Milliseconds since the last commit.
        silent_ms: i64,
        /// How many commits the window holds.
        commits: u32,
        /// Milliseconds from the window's first to its last commit.
        span_ms: i64,
        lag: i64,
    },
    /// REWIND: the committed offset went back and has not come back since.
    Rewound { from: i64, to: i64, lag: i64 },
    /// STALL: commits arrive, but always the same offset, and there is lag.
    Stalled { commits: u32, offset: i64, lag: i64 },
    /// WARN: the lag never shrank from one commit to the next.
    FallingBehind {
        commits: u32,
        /// First and last known lag in the window, when any is known.
        lags: Option<(i64, i64)>,
        lag: i64,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Stopped {
                silent_ms,
                commits,
                span_ms,
                lag,
            } => write!(
                f,
                "no commit for {}; the last {} {}; lag {}",
                Span(*silent_ms),
                Commits(*commits),
                format_args!(
                    "{} {}",
                    if *commits == 1 { "spans" } else { "span" },
                    Span(*span_ms)
                ),
                Grouped(*lag)
            ),
            Reason::Rewound { from, to, lag } => write!(
                f,
                "the committed offset went back from {} to {}; lag {}",
                Grouped(*from),
                Grouped(*to),
                Grouped(*lag)
            ),
            Reason::Stalled {
                commits,
                offset,
                lag,
            } => write!(
                f,
                "the last {} all say offset {}; lag {}",
                Commits(*commits),
                Grouped(*offset),
                Grouped(*lag)
            ),
            Reason::FallingBehind {
                commits,
                lags: Some((first, last)),
                lag,
            } => write!(
                f,
                "lag never shrank over the last {}: {} to {}; lag {}",
                Commits(*commits),
                Grouped(*first),
                Grouped(*last),
                Grouped(*lag)
            ),
            Reason::FallingBehind {
                commits,
                lags: None,
                lag,
            } => write!(
                f,
                "no lag is known for the last {}; lag {}",
                Commits(*commits),
                Grouped(*lag)
            ),
        }
    }
}

struct Commits(u32);

impl fmt::Display for Commits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}",
            self.0,
            if self.0 == 1 { "commit" } else { "commits" }
        )
    }
}

/// A whole number with a comma between every three digits.
pub struct Grouped(pub i64);

impl fmt::Debug for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.unsigned_abs().to_string();
        let mut text = String::with_capacity(digits.len() + digits.len() / 3 + 1);
        if self.0 < 0 {
            text.push('-');
        }
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        f.pad(&text)
    }
}

/// Milliseconds as one or two units: "950 ms", "95 s", "12 min 30 s", "3 h 5 min", "2 d 4 h".
pub struct Span(pub i64);

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1000;
        match seconds {
            i64::MIN..=-1 => f.pad(&format!("{seconds} s")),
            0 => f.pad(&format!("{} ms", self.0)),
            1..=299 => f.pad(&format!("{seconds} s")),
            300..=7_199 => f.pad(&two(seconds / 60, "min", seconds % 60, "s")),
            7_200..=172_799 => f.pad(&two(seconds / 3600, "h", seconds / 60 % 60, "min")),
            _ => f.pad(&two(seconds / 86_400, "d", seconds / 3600 % 24, "h")),
        }
    }
}

fn two(big: i64, big_unit: &str, small: i64, small_unit: &str) -> String {
    if small == 0 {
        return format!("{big} {big_unit}");
    }
    format!("{big} {big_unit} {small} {small_unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_why_in_words() {
        for (reason, expected) in [
            (
                Reason::Stopped {
                    silent_ms: 95_400,
                    commits: 10,
                    span_ms: 45_000,
                    lag: 1204,
                },
                "no commit for 95 s; the last 10 commits span 45 s; lag 1,204",
            ),
            (
                Reason::Stalled {
                    commits: 1,
                    offset: 1_000_000,
                    lag: 3,
                },
                "the last 1 commit all say offset 1,000,000; lag 3",
            ),
            (
                Reason::Rewound {
                    from: 100,
                    to: 7,
                    lag: 93,
                },
                "the committed offset went back from 100 to 7; lag 93",
            ),
            (
                Reason::FallingBehind {
                    commits: 10,
                    lags: Some((5, 50)),
                    lag: 60,
                },
                "lag never shrank over the last 10 commits: 5 to 50; lag 60",
            ),
        ] {
            assert_eq!(reason.to_string(), expected);
        }
    }

    #[test]
    fn spans_have_at_most_two_units() {
        for (ms, expected) in [
            (0, "0 ms"),
            (950, "950 ms"),
            (95_000, "95 s"),
            (750_000, "12 min 30 s"),
            (11_100_000, "3 h 5 min"),
            (187_200_000, "2 d 4 h"),
        ] {
            assert_eq!(Span(ms).to_string(), expected);
        }
    }
}
