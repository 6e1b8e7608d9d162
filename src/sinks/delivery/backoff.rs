//! How long to wait before the next try.

use std::time::Duration;

/// The longest wait a server may ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_mins(10);

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_mins(1);
/// A sink that needs the operator is tried again after this, and up to as much more.
const SLOW: Duration = Duration::from_secs(30);

/// The wait after `failures` (1 and up) failures in a row: anything up to 0.25 s, doubling to 60 s
/// ("full jitter": many workers that failed together do not come back together), but at least what
/// the server asked for, up to ten minutes.
pub fn backoff(failures: u32, retry_after: Option<Duration>, rng: &mut fastrand::Rng) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let longest = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    let asked = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
    longest.mul_f64(rng.f64()).max(asked)
}

/// The wait before a misconfigured sink is tried again: 30 to 60 s.
pub(super) fn slow(rng: &mut fastrand::Rng) -> Duration {
    SLOW + SLOW.mul_f64(rng.f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_longer_and_longer_but_never_more_than_a_minute() {
        let mut rng = fastrand::Rng::with_seed(1);
        for (failures, longest_ms) in [
            (1, 250),
            (2, 500),
            (3, 1_000),
            (8, 32_000),
            (9, 60_000),
            (u32::MAX, 60_000),
        ] {
            let waits: Vec<_> = (0..500)
                .map(|_| backoff(failures, None, &mut rng))
                .collect();
            let longest = Duration::from_millis(longest_ms);
            assert!(waits.iter().all(|wait| *wait <= longest), "{failures}");
            assert!(
                waits.iter().any(|wait| *wait > longest.mul_f64(0.9)),
                "{failures}: uses it"
            );
            assert!(
                waits.iter().any(|wait| *wait < longest.mul_f64(0.1)),
                "{failures}: jitter"
            );
        }
    }

    #[test]
    fn waits_as_long_as_the_server_asks_up_to_ten_minutes() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut after = |s| backoff(1, Some(Duration::from_secs(s)), &mut rng).as_secs();
        assert_eq!(after(7), 7);
        assert_eq!(after(86_400), 600);
    }
}
