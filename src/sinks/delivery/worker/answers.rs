//! What a worker does with an answer.

use std::time::Duration;

use super::failing::{Failing, Failure, Repeats, after};
use super::{Landing, Worker};
use crate::points::{Batch, OwnedPoint};
use crate::sinks::dead_letters::Letter;
use crate::sinks::delivery::backoff::{backoff, slow};
use crate::sinks::delivery::ledger::Outcome;
use crate::sinks::delivery::queue::Work;
use crate::sinks::delivery::{CursorStore, FrameSource};
use crate::sinks::{Accepted, WriteError};

/// After so many full requests in a row the learned size grows by a hundredth of the configured one.
const GROW_AFTER: u32 = 10;

impl<S: FrameSource + 'static, C: CursorStore> Worker<S, C> {
    pub(super) async fn land(&mut self, landing: Landing) {
        if matches!(landing, Landing::Prepared(_)) {
            for what in self.setup.sink.take_made() {
                tracing::info!(sink = %self.setup.name, what, "made on the server");
            }
        }
        match landing {
            Landing::Prepared(Ok(())) => {
                self.is_prepared = true;
                if self.queue.is_empty() {
                    self.recover();
                } else if let Some(failing) = &mut self.failing {
                    // Only a write proves that it works; it may be tried at once.
                    failing.is_due = true;
                }
            }
            Landing::Prepared(Err(WriteError::Transient {
                reason,
                retry_after,
            })) => {
                self.fail(Failure::Transient, reason, retry_after, true);
            }
            Landing::Prepared(Err(error)) => {
                self.fail(Failure::Misconfigured, error.to_string(), None, true);
            }
            Landing::Wrote {
                work,
                is_probe,
                result: Ok(accepted),
            } => {
                self.accepted(&work, accepted);
                if is_probe {
                    self.recover();
                }
            }
            Landing::Wrote {
                work,
                is_probe,
                result: Err(error),
            } => {
                self.refused(work, is_probe, error).await;
            }
        }
    }

    fn accepted(&mut self, work: &Work, accepted: Accepted) {
        self.traffic.batches += 1;
        self.traffic.bytes += accepted.bytes;
        self.traffic.known += accepted.known;
        self.settle(&work.batch, 0..work.batch.len(), Outcome::Delivered);
        let most = self.setup.settings.max_points.max(1);
        if work.batch.len() < self.limit || self.limit >= most {
            return;
        }
        self.full += 1;
        if self.full >= GROW_AFTER {
            self.full = 0;
            self.limit = (self.limit + (most / 100).max(1)).min(most);
        }
    }

    async fn refused(&mut self, work: Work, is_probe: bool, error: WriteError) {
        match error {
            WriteError::Transient {
                reason,
                retry_after,
            } => {
                self.queue.put_back(work);
                self.fail(Failure::Transient, reason, retry_after, is_probe);
                return;
            }
            WriteError::Misconfigured { reason } => {
                self.queue.put_back(work);
                self.is_prepared = false;
                self.fail(Failure::Misconfigured, reason, None, is_probe);
                return;
            }
            WriteError::Partial {
                rejected,
                retry,
                retry_after,
            } => {
                if self
                    .partial(&work, rejected, &retry, retry_after, is_probe)
                    .await
                {
                    return;
                }
            }
            WriteError::TooLarge { reason } | WriteError::Bisect { reason }
                if work.batch.len() == 1 =>
            {
                self.reject(&work.batch, vec![(0, reason)]).await;
            }
            WriteError::TooLarge { .. } => {
                self.limit = self.limit.min(work.batch.len() / 2).max(1);
                self.full = 0;
                self.queue.put_back_halves(work);
            }
            WriteError::Bisect { .. } => self.queue.put_back_halves(work),
            WriteError::Rejected { reason } => {
                let all = (0..work.batch.len())
                    .map(|index| (index, reason.clone()))
                    .collect();
                self.reject(&work.batch, all).await;
            }
        }
        // The server answered for good: it is not the server that fails.
        if is_probe {
            self.recover();
        }
    }

    /// Some points are written, some refused, some to be sent again; whether there are such.
    async fn partial(
        &mut self,
        work: &Work,
        rejected: Vec<(usize, String)>,
        retry: &[usize],
        retry_after: Option<Duration>,
        is_probe: bool,
    ) -> bool {
        let points = work.batch.len();
        let mut fate = vec![Outcome::Delivered; points];
        let mut again = vec![false; points];
        retry
            .iter()
            .filter(|index| **index < points)
            .for_each(|index| again[*index] = true);
        let rejected: Vec<_> = rejected
            .into_iter()
            .filter(|(index, _)| *index < points)
            .collect();
        for (index, _) in &rejected {
            fate[*index] = Outcome::Rejected;
            again[*index] = false;
        }
        let written: Vec<_> = (0..points)
            .filter(|index| !again[*index] && fate[*index] == Outcome::Delivered)
            .collect();
        let again: Vec<_> = (0..points).filter(|index| again[*index]).collect();
        self.traffic.batches += u64::from(!written.is_empty());
        let has_progress = again.len() < points;
        self.settle(&work.batch, written.into_iter(), Outcome::Delivered);
        if !rejected.is_empty() {
            self.reject(&work.batch, rejected).await;
        }
        if again.is_empty() {
            return false;
        }
        let reason = format!("{} of {points} points to be sent again", again.len());
        self.queue.put_back(work.subset(&again));
        if has_progress && let Some(failing) = &mut self.failing {
            failing.failures = 0;
        }
        self.fail(Failure::Transient, reason, retry_after, is_probe);
        true
    }

    /// Puts points into the dead letters and settles them.
    async fn reject(&mut self, batch: &Batch, mut rejected: Vec<(usize, String)>) {
        rejected.sort_by_key(|(index, _)| *index);
        rejected.dedup_by_key(|(index, _)| *index);
        let now = self.setup.clock.now();
        let letters: Vec<_> = rejected
            .iter()
            .filter_map(|(index, reason)| {
                let point = OwnedPoint::of(&batch.get(*index)?);
                Some(Letter {
                    reason: reason.clone(),
                    rejected_at: now,
                    point,
                })
            })
            .collect();
        let reason = rejected.first().map(|(_, reason)| reason.clone());
        let count = letters.len();
        let lost = self.setup.letters.bury(letters).await;
        self.traffic.letters_lost += lost;
        self.settle(
            batch,
            rejected.into_iter().map(|(index, _)| index),
            Outcome::Rejected,
        );
        if let Some(repeats) = self.rejections.pass(count as u64, now) {
            tracing::error!(
                sink = %self.setup.name,
                points = repeats,
                without_letter = lost,
                reason = reason.as_deref().unwrap_or_default(),
                "points refused for good; see `lagline dead-letters list`"
            );
        }
        self.last_rejection = reason;
    }

    fn fail(
        &mut self,
        kind: Failure,
        reason: String,
        retry_after: Option<Duration>,
        is_probe: bool,
    ) {
        let now = self.setup.clock.now();
        let before = self.failing.take();
        let (mut failures, mut since, mut log, mut kind) = (1, now, Repeats::default(), kind);
        let mut not_before = None;
        if let Some(before) = before {
            failures = before.failures.saturating_add(u32::from(is_probe));
            (since, log) = (before.since, before.log);
            if !is_probe {
                // It was under way already when the sink began to fail.
                not_before = Some((before.retry_at, before.next_try));
                if before.kind == Failure::Misconfigured {
                    kind = Failure::Misconfigured;
                }
            }
        }
        let wait = match kind {
            Failure::Transient => backoff(failures.max(1), retry_after, &mut self.setup.rng),
            Failure::Misconfigured => slow(&mut self.setup.rng),
        };
        let planned = (after(wait), now.plus(wait));
        let (retry_at, next_try) = match not_before {
            Some(before) if before.0 > planned.0 => before,
            Some(_) | None => planned,
        };
        if let Some(repeats) = log.pass(1, now) {
            tracing::warn!(
                sink = %self.setup.name,
                reason,
                failures = repeats,
                retry_ms = next_try.ms_since(now),
                "the sink does not write; the journal keeps everything"
            );
        }
        self.failing = Some(Failing {
            kind,
            reason,
            since,
            failures,
            retry_at,
            is_due: false,
            next_try,
            log,
        });
    }

    fn recover(&mut self) {
        if let Some(failing) = self.failing.take() {
            let failed_ms = self.setup.clock.now().ms_since(failing.since);
            tracing::info!(sink = %self.setup.name, failed_ms, "the sink writes again");
        }
    }
}
