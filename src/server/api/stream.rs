//! `/api/v1/stream`: what is new, as server-sent events.
//!
//! A client that reads slowly misses beats, never memory: each stream holds one evaluation at a time
//! and goes on with the newest.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State as Extract};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use futures_util::stream::{BoxStream, select_all, unfold};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;

use super::Refusal;
use super::clusters::{GroupCounts, groups};
use super::groups::wanted_clusters;
use super::params::{Kind, Parameter, Query};
use crate::lag::evaluation::{Evaluation, Phase};
use crate::server::{ClusterHandle, State};

/// Comments that keep the connection open when beats are rare.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) const PARAMETERS: &[Parameter] = &[Parameter {
    name: "cluster",
    kind: Kind::Text,
    about: "Only beats of this cluster.",
}];

/// What a `beat` event carries.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Beat {
    cluster: String,
    beat_ms: i64,
    /// waiting, loading or running.
    phase: &'static str,
    up: bool,
    reason: Option<String>,
    /// Null until everything is read.
    groups: Option<GroupCounts>,
    lag: Option<i64>,
}

/// The latest evaluation of each cluster at once, then each new one.
pub(super) async fn stream(
    Extract(state): Extract<Arc<State>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let query = Query::read(query.as_deref(), PARAMETERS, state.clock.now())?;
    let Ok(permit) = Arc::clone(&state.streams).try_acquire_owned() else {
        let text = "too many streams are open\n";
        return Ok((StatusCode::SERVICE_UNAVAILABLE, text).into_response());
    };
    let permit = Arc::new(permit);
    let clusters = wanted_clusters(&state, &query)?;
    let beats = clusters.into_iter().map(|handle| beats(handle, &permit));
    let events = select_all(beats).take_until(state.stop.clone().cancelled_owned());
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Ok(Sse::new(events).keep_alive(keep_alive).into_response())
}

/// The beats of one cluster, for as long as it has any.
fn beats(
    handle: &ClusterHandle,
    permit: &Arc<OwnedSemaphorePermit>,
) -> BoxStream<'static, Result<Event, Infallible>> {
    let mut latest = handle.latest.clone();
    latest.mark_changed();
    let events = unfold((latest, Arc::clone(permit)), |(mut latest, permit)| async {
        loop {
            latest.changed().await.ok()?;
            let evaluation = latest.borrow_and_update().clone();
            if let Some(evaluation) = evaluation {
                return Some((event(&evaluation), (latest, permit)));
            }
        }
    });
    events.boxed()
}

fn event(evaluation: &Evaluation) -> Result<Event, Infallible> {
    let is_running = evaluation.phase == Phase::Running;
    let beat = Beat {
        cluster: evaluation.cluster.as_str().to_owned(),
        beat_ms: evaluation.beat.as_ms(),
        phase: match evaluation.phase {
            Phase::Waiting => "waiting",
            Phase::Loading { .. } => "loading",
            Phase::Running => "running",
        },
        up: evaluation.summary.up,
        reason: evaluation.summary.reason.clone(),
        groups: is_running.then(|| groups(evaluation)),
        lag: evaluation.summary.lag.get(),
    };
    let event = Event::default().event("beat");
    // Plain data: it is always JSON.
    Ok(event.json_data(beat).unwrap_or_default())
}
