//! The brokers' clock against lagline's own, measured from commits.
//!
//! No answer of Kafka carries its time, but a commit that is read at the end of the offsets topic was
//! stamped by a broker a moment ago. The commit that looks youngest within the last minutes therefore tells
//! the difference, less the moment it took to arrive. Late commits look old and do not count; a
//! handful of commits is wanted before anything is said.

use crate::clock::Timestamp;

const MINUTE_MS: i64 = 60_000;
const SAMPLES_MIN: u32 = 5;

/// What the commits of the last one to two minutes say.
#[derive(Debug, Default)]
pub(super) struct BrokerClock {
    newer: Minute,
    older: Minute,
    said: Option<i64>,
}

#[derive(Clone, Copy, Debug)]
struct Minute {
    /// Which one, counted from the epoch.
    number: i64,
    /// The greatest difference in it.
    ahead_ms: i64,
    samples: u32,
}

impl Default for Minute {
    fn default() -> Self {
        Minute {
            number: i64::MIN,
            ahead_ms: i64::MIN,
            samples: 0,
        }
    }
}

impl BrokerClock {
    /// What another process has measured.
    pub(super) fn restore(offset_ms: Option<i64>) -> BrokerClock {
        BrokerClock {
            said: offset_ms,
            ..BrokerClock::default()
        }
    }

    /// Takes note of a commit that became the newest of its window.
    pub(super) fn note(&mut self, stamped: Timestamp, now: Timestamp) {
        let number = now.as_ms().div_euclid(MINUTE_MS);
        if number != self.newer.number {
            self.older = self.newer;
            self.newer = Minute {
                number,
                ..Minute::default()
            };
        }
        self.newer.ahead_ms = self.newer.ahead_ms.max(stamped.ms_since(now));
        self.newer.samples = self.newer.samples.saturating_add(1);
    }

    /// Settles the difference, once a beat. What was known stays while nobody commits.
    pub(super) fn settle(&mut self, now: Timestamp) {
        let number = now.as_ms().div_euclid(MINUTE_MS);
        let minutes = [self.newer, self.older];
        let recent = minutes
            .into_iter()
            .filter(|minute| minute.samples > 0 && (number - 1..=number).contains(&minute.number));
        let (mut samples, mut ahead_ms) = (0_u32, i64::MIN);
        for minute in recent {
            samples = samples.saturating_add(minute.samples);
            ahead_ms = ahead_ms.max(minute.ahead_ms);
        }
        if samples >= SAMPLES_MIN {
            self.said = Some(ahead_ms);
        }
    }

    /// Broker clock minus own clock in milliseconds, as settled last.
    pub(super) fn offset_ms(&self) -> Option<i64> {
        self.said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_youngest_commit_tells_the_difference() {
        // Commits as "seen/stamped" in milliseconds.
        for (why, commits, expected) in [
            ("too few", "1000/900 2000/1900", None),
            (
                "in time, a tenth of a second on the way",
                "1000/900 2000/1900 3000/2700 4000/3500 5000/4000",
                Some(-100),
            ),
            (
                "the brokers are five seconds ahead; one commit is late",
                "1000/5900 2000/6900 3000/7900 4000/0 5000/9900",
                Some(4_900),
            ),
        ] {
            let mut clock = BrokerClock::default();
            for commit in commits.split(' ') {
                let (seen, stamped) = commit.split_once('/').unwrap();
                let ms = |text: &str| Timestamp::from_ms(text.parse().unwrap());
                clock.note(ms(stamped), ms(seen));
            }
            clock.settle(Timestamp::from_ms(6_000));
            assert_eq!(clock.offset_ms(), expected, "{why}");
        }
    }

    #[test]
    fn what_was_measured_stays_until_somebody_commits() {
        let mut clock = BrokerClock::default();
        for now in 0..5 {
            clock.note(Timestamp::from_ms(now), Timestamp::from_ms(now));
        }
        clock.settle(Timestamp::from_ms(10));
        clock.settle(Timestamp::from_secs(3_600));
        assert_eq!(clock.offset_ms(), Some(0));
    }
}
