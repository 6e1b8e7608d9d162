//! lagline's own API under `/api/v1`.

use std::cmp::Reverse;
use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State as Extract};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Serialize;
use serde_json::json;
use url::form_urlencoded;

use super::State;
use crate::lag::evaluation::{Evaluation, GroupEvaluation, Phase, Status};

/// One group.
#[derive(Debug, Serialize)]
struct GroupRow<'a> {
    cluster: &'a str,
    group: &'a str,
    status: &'static str,
    status_code: u8,
    stale: bool,
    warming: bool,
    /// Why the group is not OK: its worst partition and that partition's reason.
    reason: Option<String>,
    lag: Option<i64>,
    total_lag: i64,
    time_lag_s: Option<f32>,
    time_lag_error_s: Option<f32>,
    time_lag_method: Option<&'static str>,
    eta_s: Option<f32>,
    consume_rate: Option<f32>,
    produce_rate: Option<f32>,
    records_lost: Option<i64>,
    retention_used: Option<f32>,
    partitions: u32,
    partitions_unknown: u32,
    partitions_no_commit: u32,
    members: u32,
    beat_ms: i64,
}

/// `GET /api/v1/groups?cluster=C&status=ERR&status=WARN`: every group of the latest evaluations,
/// the worst first, then by lag, then by name. Clusters whose groups are not known carry a note.
pub(super) async fn groups(
    Extract(state): Extract<Arc<State>>,
    RawQuery(query): RawQuery,
) -> impl IntoResponse {
    let wanted = match Wanted::read(query.as_deref().unwrap_or_default(), &state) {
        Ok(wanted) => wanted,
        Err(message) => {
            let body = json!({ "error": true, "message": message });
            return (StatusCode::BAD_REQUEST, Json(body)).into_response();
        }
    };
    let mut notes = Vec::new();
    let mut evaluations = Vec::new();
    for (name, handle) in &state.clusters {
        if wanted
            .cluster
            .as_deref()
            .is_some_and(|cluster| cluster != name.as_str())
        {
            continue;
        }
        let latest = handle.latest.borrow().clone();
        let health = handle.health.borrow().clone();
        let note = match (health.phase, health.reason) {
            (Phase::Loading { read, total }, _) => {
                Some(format!("loading, {read} of {total} records read"))
            }
            (Phase::Waiting | Phase::Running, Some(reason)) => Some(reason),
            (Phase::Waiting, None) => Some("nobody has committed an offset yet".to_owned()),
            (Phase::Running, None) => None,
        };
        notes.push(json!({ "cluster": name.as_str(), "note": note }));
        evaluations.extend(latest);
    }
    let mut rows: Vec<GroupRow<'_>> = evaluations
        .iter()
        .flat_map(|evaluation| evaluation.groups.iter().map(move |g| row(evaluation, g)))
        .filter(|row| wanted.statuses.is_empty() || wanted.statuses.contains(&row.status))
        .collect();
    rows.sort_by_key(|row| {
        (
            Reverse(row.status_code),
            Reverse(row.total_lag),
            row.cluster,
            row.group,
        )
    });
    Json(json!({ "groups": rows, "clusters": notes })).into_response()
}

#[derive(Debug, Default)]
struct Wanted {
    cluster: Option<String>,
    statuses: Vec<&'static str>,
}

impl Wanted {
    fn read(query: &str, state: &State) -> Result<Self, String> {
        let mut wanted = Self::default();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "cluster" => {
                    if !state.clusters.contains_key(&*value) {
                        return Err("cluster: no cluster of this name is configured".to_owned());
                    }
                    wanted.cluster = Some(value.into_owned());
                }
                "status" => {
                    let word = value.to_ascii_uppercase();
                    let status = [Status::Ok, Status::Warn, Status::Err]
                        .into_iter()
                        .find(|status| status.as_str() == word)
                        .ok_or("status: expected OK, WARN or ERR")?;
                    wanted.statuses.push(status.as_str());
                }
                _ => return Err("unknown parameter; known are cluster and status".to_owned()),
            }
        }
        Ok(wanted)
    }
}

fn row<'a>(evaluation: &'a Evaluation, group: &'a GroupEvaluation) -> GroupRow<'a> {
    let totals = &group.totals;
    GroupRow {
        cluster: evaluation.cluster.as_str(),
        group: group.id.as_str(),
        status: group.status.as_str(),
        status_code: group.status.code(),
        stale: group.stale,
        warming: group.warming,
        reason: reason(group),
        lag: totals.lag.get(),
        total_lag: totals.total_lag,
        time_lag_s: totals.time_lag.map(|t| t.seconds),
        time_lag_error_s: totals.time_lag.and_then(|t| t.error_s.get()),
        time_lag_method: totals.time_lag.map(|t| t.method.as_str()),
        eta_s: totals.eta_s.get(),
        consume_rate: totals.consume_rate.get(),
        produce_rate: totals.produce_rate.get(),
        records_lost: totals.records_lost.get(),
        retention_used: totals.retention_used.get(),
        partitions: totals.partitions,
        partitions_unknown: totals.partitions_unknown,
        partitions_no_commit: totals.partitions_no_commit,
        members: totals.members,
        beat_ms: evaluation.beat.as_ms(),
    }
}

/// "orders/3: STOP: no commit for 95 s; ...".
fn reason(group: &GroupEvaluation) -> Option<String> {
    let place = group.totals.worst?;
    let (topic, partition) = group.at(place)?;
    let status = partition.status.as_ref()?;
    let head = format!("{}/{}: {}", topic.topic, place.1, status.status);
    Some(match &status.reason {
        Some(reason) => format!("{head}: {reason}"),
        None => head,
    })
}
