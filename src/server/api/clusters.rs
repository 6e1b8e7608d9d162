//! `/api/v1/clusters`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State as Extract};
use schemars::JsonSchema;
use serde::Serialize;

use super::Refusal;
use super::params::{Parameter, Query};
use crate::clock::Timestamp;
use crate::lag::evaluation::{Evaluation, Phase, Status};
use crate::server::{ClusterHandle, State};

pub(super) const PARAMETERS: &[Parameter] = &[];

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Clusters {
    clusters: Vec<Cluster>,
}

/// A cluster, and how lagline sees it.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Cluster {
    cluster: String,
    phase: &'static str,
    /// While loading: how much of the offsets topic is read.
    progress: Option<Progress>,
    /// Kafka answered for the latest evaluation.
    up: bool,
    /// Why not, or what else is wrong, with the next step.
    reason: Option<String>,
    unreachable_s: Option<i64>,
    /// Moment of the latest evaluation, in Unix milliseconds.
    beat_ms: Option<i64>,
    brokers: Option<u32>,
    /// Absent until everything is read.
    groups: Option<GroupCounts>,
    topics: Option<u32>,
    partitions: Option<u32>,
    /// Sum of all known lags.
    lag: Option<i64>,
    /// Records of the offsets topic that lagline has not read yet.
    reader_lag: Option<i64>,
    /// The broker's clock minus lagline's, in milliseconds.
    clock_offset_ms: Option<i64>,
    evaluate_ms: Option<f32>,
    offsets_age_s: Option<f32>,
    /// How often the cluster's threads were started again.
    restarts: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Progress {
    read: i64,
    /// 0 until it is known.
    total: i64,
}

/// How many groups there are, by status.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(super) struct GroupCounts {
    total: u32,
    ok: u32,
    warn: u32,
    err: u32,
    /// With an older status, because lagline cannot see them at the moment.
    stale: u32,
    /// Just loaded, not judged yet.
    warming: u32,
}

/// Every cluster, by name.
pub(super) async fn clusters(
    Extract(state): Extract<Arc<State>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Clusters>, Refusal> {
    let now = state.clock.now();
    Query::read(query.as_deref(), PARAMETERS, now)?;
    let clusters = state.clusters.values();
    Ok(Json(Clusters {
        clusters: clusters.map(|handle| cluster(handle, now)).collect(),
    }))
}

/// The cluster as it is now.
pub(super) fn cluster(handle: &ClusterHandle, now: Timestamp) -> Cluster {
    let health = handle.health.borrow().clone();
    let latest = handle.latest.borrow().clone();
    let latest = latest.as_deref();
    let summary = latest.map(|evaluation| &evaluation.summary);
    let running = latest.filter(|evaluation| evaluation.phase == Phase::Running);
    let (phase, progress) = match health.phase {
        Phase::Waiting => ("waiting", None),
        Phase::Loading { read, total } => ("loading", Some(Progress { read, total })),
        Phase::Running => ("running", None),
    };
    Cluster {
        cluster: handle.name.as_str().to_owned(),
        phase,
        progress,
        up: health.up,
        reason: health.reason.or_else(|| handle.reader.problem()),
        unreachable_s: health
            .unreachable_since
            .map(|since| now.ms_since(since).max(0) / 1000),
        beat_ms: latest.map(|evaluation| evaluation.beat.as_ms()),
        brokers: summary.and_then(|summary| summary.brokers),
        groups: running.map(groups),
        topics: running.map(|evaluation| evaluation.summary.topics),
        partitions: running.map(|evaluation| evaluation.summary.partitions),
        lag: summary.and_then(|summary| summary.lag.get()),
        reader_lag: summary.and_then(|summary| summary.reader_lag.get()),
        clock_offset_ms: summary.and_then(|summary| summary.clock_offset_ms.get()),
        evaluate_ms: summary.and_then(|summary| summary.evaluate_ms.get()),
        offsets_age_s: summary.and_then(|summary| summary.offsets_age_s.get()),
        restarts: health.restarts,
    }
}

/// Counts the groups of an evaluation.
pub(super) fn groups(evaluation: &Evaluation) -> GroupCounts {
    let mut groups = GroupCounts::default();
    for group in &evaluation.groups {
        groups.total += 1;
        groups.stale += u32::from(group.stale);
        groups.warming += u32::from(group.warming);
        match group.status.for_group() {
            Status::Warn => groups.warn += 1,
            Status::Err => groups.err += 1,
            Status::NotFound | Status::Ok | Status::Stop | Status::Stall | Status::Rewind => {
                groups.ok += 1;
            }
        }
    }
    groups
}
