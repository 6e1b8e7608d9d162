//! `/health`: how lagline itself is doing, with reasons; `/ready`: whether its answers are whole.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Extract;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::{ClusterHandle, SinkHandle, State};
use crate::clock::Timestamp;
use crate::lag::evaluation::Phase;
use crate::monitor::{SnapshotHealth, StartKind};
use crate::sinks::delivery;

/// Always 200: a process that cannot answer is not asked. `status` is `ok` or `degraded`, and every
/// part says why in `reason`.
pub(super) async fn health(Extract(state): Extract<Arc<State>>) -> impl IntoResponse {
    let now = state.clock.now();
    let clusters: Vec<Value> = state.clusters.values().map(|c| cluster(c, now)).collect();
    let sinks: Vec<Value> = state.sinks.iter().map(|s| sink(&state, s, now)).collect();
    let store = store(&state);
    let parts = clusters.iter().chain(&sinks).chain([&store]);
    let is_ok = parts.into_iter().all(|part| part["status"] == "ok");
    Json(json!({
        "status": if is_ok { "ok" } else { "degraded" },
        "version": env!("CARGO_PKG_VERSION"),
        "now_ms": now.as_ms(),
        "clusters": clusters,
        "sinks": sinks,
        "store": store,
    }))
}

/// 200 once every cluster is read (or has been unreachable for a minute), else 503 with the reason.
pub(super) async fn ready(Extract(state): Extract<Arc<State>>) -> impl IntoResponse {
    match state.not_ready() {
        None => (StatusCode::OK, Json(json!({ "ready": true }))),
        Some((cluster, reason)) => {
            let body = json!({ "ready": false, "cluster": cluster.as_str(), "reason": reason });
            (StatusCode::SERVICE_UNAVAILABLE, Json(body))
        }
    }
}

fn cluster(handle: &ClusterHandle, now: Timestamp) -> Value {
    let health = handle.health.borrow().clone();
    let latest = handle.latest.borrow().clone();
    let problem = handle.reader.problem();
    let (phase, progress) = match health.phase {
        Phase::Waiting => ("waiting", None),
        Phase::Loading { read, total } => {
            ("loading", Some(json!({ "read": read, "total": total })))
        }
        Phase::Running => ("running", None),
    };
    let is_ok = health.up && problem.is_none() && !matches!(health.phase, Phase::Loading { .. });
    let summary = latest.as_ref().map(|evaluation| &evaluation.summary);
    json!({
        "cluster": handle.name.as_str(),
        "status": if is_ok { "ok" } else { "degraded" },
        "reason": health.reason.or(problem),
        "up": health.up,
        "phase": phase,
        "progress": progress,
        "unreachable_s": health.unreachable_since.map(|since| now.ms_since(since).max(0) / 1000),
        "restarts": health.restarts,
        "start": match &health.start {
            StartKind::Cold => "cold",
            StartKind::Warm => "warm",
            StartKind::Refused(_) => "refused",
        },
        "start_refused": match &health.start {
            StartKind::Refused(reason) => Some(reason),
            StartKind::Cold | StartKind::Warm => None,
        },
        "snapshot": snapshot(&health.snapshot),
        "beat_ms": latest.as_ref().map(|evaluation| evaluation.beat.as_ms()),
        "brokers": summary.and_then(|s| s.brokers),
        "groups": summary.map(|s| s.groups),
        "reader_lag": summary.and_then(|s| s.reader_lag.get()),
        "clock_offset_ms": summary.and_then(|s| s.clock_offset_ms.get()),
    })
}

fn snapshot(snapshot: &SnapshotHealth) -> Value {
    json!({
        "saved_ms": snapshot.saved_at.map(Timestamp::as_ms),
        "bytes": snapshot.saved_at.map(|_| snapshot.bytes),
        "pause_ms": snapshot.saved_at.map(|_| snapshot.pause.as_millis()),
        "problem": snapshot.problem,
    })
}

fn sink(state: &State, handle: &SinkHandle, now: Timestamp) -> Value {
    let health = handle.health.borrow().clone();
    let (word, why) = state_words(&health.state);
    let standing = state.store.standing(&handle.name);
    let settled = standing.as_ref().map(|standing| &standing.cursor);
    let oldest = standing.as_ref().and_then(|standing| standing.oldest);
    let row = standing.as_ref().map(|it| it.row(&handle.name, now));
    let counts = row.map(|row| row.counts).unwrap_or_default();
    json!({
        "sink": handle.name,
        "kind": handle.kind,
        "status": if why.is_none() { "ok" } else { "degraded" },
        "state": word,
        "reason": why.map(|(reason, _)| reason),
        "since_ms": why.map(|(_, since)| since.as_ms()),
        "oldest_waiting_s": oldest.map(|beat| now.ms_since(beat).max(0) / 1000),
        "settled_seq": settled.map(|cursor| cursor.seq.0),
        "offered": counts.offered,
        "waiting": counts.waiting(),
        "delivered": counts.delivered,
        "filtered": counts.filtered,
        "rejected": counts.rejected,
        "expired": counts.expired,
        "last_rejection": health.last_rejection,
    })
}

/// The state as a word, and why and since when when it is not a good one.
pub(super) fn state_words(state: &delivery::State) -> (&'static str, Option<(&str, Timestamp)>) {
    match state {
        delivery::State::Starting => ("starting", None),
        delivery::State::Delivering => ("delivering", None),
        delivery::State::Retrying { reason, since, .. } => ("retrying", Some((reason, *since))),
        delivery::State::Misconfigured { reason, since, .. } => {
            ("misconfigured", Some((reason, *since)))
        }
        delivery::State::Stopped => ("stopped", None),
    }
}

fn store(state: &State) -> Value {
    let health = state.store.health();
    let mut layers = serde_json::Map::new();
    for (layer, bytes) in health.layers.named() {
        layers.insert(layer.to_owned(), json!({ "bytes": bytes }));
    }
    for (layer, gone) in health.gone.named() {
        layers[layer]["gone"] = json!({ "age": gone.age, "max_size": gone.max_size });
    }
    json!({
        "status": if health.reason.is_none() { "ok" } else { "degraded" },
        "reason": health.reason,
        "durable": health.durable,
        "bytes": health.bytes,
        "frames": health.frames,
        "oldest_ms": health.oldest.map(Timestamp::as_ms),
        "corrupt_frames": health.corrupt_frames,
        "layers": layers,
        "names": health.names,
        "names_in_memory": health.names_in_memory,
        "unsealed_frames_gone": health.unsealed_frames_gone,
        "sealed_through_ms": health.sealed_through.map(Timestamp::as_ms),
        "seal_errors": health.seal_errors,
        "last_seal_error": health.last_seal_error,
    })
}
