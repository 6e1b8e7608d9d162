//! Gives memory back to the system between beats.
//!
//! At a beat the new evaluation stands beside the served one, and encoders and requests need room;
//! reading a backlog needs far more. The C library keeps what was freed for later. At 100,000
//! group-partitions that is a third of what is resident, so it is given back soon after each beat.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Seldom enough to cost nothing, however short the interval is.
const PAUSE: Duration = Duration::from_secs(2);

/// Calls `forget` at each of `beats` and soon after it, and then gives freed memory back; until
/// `stop`.
pub(super) async fn give_back<T>(
    mut beats: watch::Receiver<T>,
    forget: impl Fn(),
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            changed = beats.changed() => if changed.is_err() {
                return;
            },
        }
        // Before the new evaluation is encoded: that takes room too.
        forget();
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            // The sinks are about to encode what is new.
            () = tokio::time::sleep(PAUSE) => {}
        }
        // Of all clusters by now.
        forget();
        // It takes milliseconds, and nothing depends on it.
        drop(tokio::task::spawn_blocking(trim).await);
    }
}

#[cfg(target_env = "gnu")]
#[allow(
    unsafe_code,
    reason = "the C library's allocator has no safe interface"
)]
fn trim() {
    // SAFETY: it takes no pointer, may be called at any time from any thread, and does not touch
    // memory that is in use (malloc_trim(3)).
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(target_env = "gnu"))]
fn trim() {}
