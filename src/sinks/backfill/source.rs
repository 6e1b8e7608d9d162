//! Pieces of the past as delivery reads the journal.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::clock::Stopwatch;
use crate::sinks::delivery::FrameSource;
use crate::store::frame::{Frame, Next};

/// Pieces as they are read, no more of them in a second than is allowed.
#[derive(Debug)]
pub struct Pieces {
    pieces: mpsc::Receiver<(Arc<Frame>, u64)>,
    /// Points a second.
    rate: Option<u32>,
    since: Stopwatch,
    /// When the next piece may go, counted from the beginning.
    next: Duration,
}

impl Pieces {
    /// Pieces with their numbers of points.
    pub(super) fn new(pieces: mpsc::Receiver<(Arc<Frame>, u64)>, rate: Option<u32>) -> Self {
        Self {
            pieces,
            rate,
            since: Stopwatch::start(),
            next: Duration::ZERO,
        }
    }
}

impl FrameSource for Pieces {
    async fn next(&mut self) -> Next {
        let Some((frame, points)) = self.pieces.recv().await else {
            // Nothing follows; whoever reads is told to stop.
            return pending().await;
        };
        if let Some(rate) = self.rate {
            let now = self.since.elapsed();
            tokio::time::sleep(self.next.saturating_sub(now)).await;
            let points = u32::try_from(points).unwrap_or(u32::MAX);
            // What was not used while the server failed is not made up for.
            self.next = self.next.max(now) + Duration::from_secs(1) * points / rate.max(1);
        }
        Next::Frame(frame)
    }
}
