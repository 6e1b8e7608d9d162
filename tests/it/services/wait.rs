//! Waiting for a condition, never for time.

use std::time::Duration;

use lagline::clock::Stopwatch;

/// Asks `condition` every 20 ms until it holds.
///
/// # Panics
/// When it does not hold within `limit`, naming `what`.
pub fn until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    until_some(what, limit, || condition().then_some(()));
}

/// Asks `answer` every 20 ms until it gives a value, and returns that.
///
/// # Panics
/// When there is none within `limit`, naming `what`.
#[allow(
    clippy::disallowed_methods,
    reason = "the one place that pauses between two looks at a condition"
)]
pub fn until_some<T>(what: &str, limit: Duration, mut answer: impl FnMut() -> Option<T>) -> T {
    let since = Stopwatch::start();
    loop {
        if let Some(value) = answer() {
            return value;
        }
        assert!(
            since.elapsed() < limit,
            "waited {limit:?} in vain for: {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Like [`until`], for a condition that may say why it does not hold yet: the last reason is in the
/// panic.
pub fn until_ok<T, E: std::fmt::Display>(
    what: &str,
    limit: Duration,
    mut attempt: impl FnMut() -> Result<T, E>,
) -> T {
    let since = Stopwatch::start();
    until_some(what, limit + Duration::from_secs(1), || match attempt() {
        Ok(value) => Some(value),
        Err(why) => {
            assert!(
                since.elapsed() < limit,
                "waited {limit:?} in vain for: {what}; the last answer was: {why}"
            );
            None
        }
    })
}
