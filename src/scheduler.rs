//! The beat: asks every cluster for an evaluation at the same moment and journals what comes.
//!
//! Clusters are asked side by side. Whoever answers within a quarter of the interval is journaled
//! in one transaction; whoever is later (an unreachable cluster waits for its time-out) is
//! journaled when it answers, so that no cluster delays another.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Timestamp};
use crate::lag::evaluation::Evaluation;
use crate::lag::ids::ClusterName;
use crate::monitor::Command;

/// Where a beat's evaluations go.
pub trait Journal: Send + Sync {
    /// Makes the evaluations durable. Called with at least one.
    fn append(
        &self,
        beat: Timestamp,
        evaluations: Vec<Arc<Evaluation>>,
        is_first: bool,
    ) -> impl Future<Output = ()> + Send;
}

/// The beat of all clusters.
#[derive(Debug)]
pub struct Scheduler<J> {
    pub interval: Duration,
    pub clock: Clock,
    pub clusters: Vec<(ClusterName, mpsc::Sender<Command>)>,
    pub journal: J,
}

impl<J: Journal> Scheduler<J> {
    /// Beats until `stop` is cancelled; a beat under way is journaled before it returns.
    pub async fn run(self, stop: CancellationToken) {
        let mut last = self.clock.now().aligned(self.interval);
        loop {
            let at = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                at = self.next_beat(last) => at,
            };
            self.beat(at).await;
            last = at;
        }
    }

    /// Waits for the next multiple of the interval. Looks at the clock at least once a second, so
    /// that a step of the clock is followed at once and not after a sleep of the old length.
    async fn next_beat(&self, last: Timestamp) -> Timestamp {
        loop {
            let now = self.clock.now();
            let current = now.aligned(self.interval);
            // Another multiple than the last one: the next beat, or the clock was stepped.
            if current != last {
                return current;
            }
            let left = current
                .plus(self.interval)
                .ms_since(now)
                .max(1)
                .unsigned_abs();
            tokio::time::sleep(Duration::from_millis(left).min(Duration::from_secs(1))).await;
        }
    }

    async fn beat(&self, at: Timestamp) {
        let mut asked = JoinSet::new();
        for (_, commands) in &self.clusters {
            let (reply, answer) = oneshot::channel();
            // A cluster that is too busy to take the question misses this beat.
            if commands.try_send(Command::Beat { at, reply }).is_ok() {
                asked.spawn(answer);
            }
        }
        let gather = tokio::time::sleep(self.interval / 4);
        tokio::pin!(gather);
        let deadline = tokio::time::sleep(self.interval.mul_f32(0.9));
        tokio::pin!(deadline);
        let mut ready = Vec::new();
        let mut is_first = true;
        let mut gathering = true;
        loop {
            tokio::select! {
                biased;
                answer = asked.join_next() => match answer {
                    Some(Ok(Ok(evaluation))) => ready.push(evaluation),
                    Some(_) => {} // its monitor ended; app.rs restarts it
                    None => break,
                },
                () = &mut gather, if gathering => gathering = false,
                () = &mut deadline => break,
            }
            if !gathering && !ready.is_empty() {
                self.journal
                    .append(at, std::mem::take(&mut ready), is_first)
                    .await;
                is_first = false;
            }
        }
        if !ready.is_empty() || is_first {
            self.journal.append(at, ready, is_first).await;
        }
    }
}

#[cfg(test)]
mod tests;
