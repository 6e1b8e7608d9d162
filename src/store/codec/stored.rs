//! What of a frame survives being stored.

use std::sync::Arc;

use crate::lag::evaluation::{Evaluation, PartitionEvaluation};
use crate::lag::event::AppliedCounts;
use crate::lag::optional::{EpochSeconds, MaybeI64};
use crate::store::frame::Body;

/// The body as it is read back: without the counts of applied events, the first commits of the
/// windows, when commits were observed, the structured reasons and last known end offsets.
///
/// No sink reads what is missing here, or a live reader and one that catches up would write
/// different points.
pub fn stored_part(body: &Body) -> Body {
    match body {
        Body::Sinks(rows) => Body::Sinks(rows.clone()),
        Body::Evaluation {
            evaluation,
            changes,
        } => Body::Evaluation {
            evaluation: Arc::new(stored_evaluation(evaluation)),
            changes: changes.clone(),
        },
    }
}

fn stored_evaluation(evaluation: &Evaluation) -> Evaluation {
    let mut stored = evaluation.clone();
    stored.summary.applied = AppliedCounts::default();
    for group in &mut stored.groups {
        let topics = &mut Arc::make_mut(group).topics;
        for partition in topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            strip(partition);
        }
    }
    for topic in &mut stored.topics {
        for partition in &mut Arc::make_mut(topic).partitions {
            partition.last_end = MaybeI64::NONE;
        }
    }
    stored
}

fn strip(partition: &mut PartitionEvaluation) {
    partition.start = None;
    if let Some(commit) = &mut partition.end {
        commit.observed_at = EpochSeconds::default();
    }
    if let Some(status) = &mut partition.status {
        status.reason = None;
    }
}
