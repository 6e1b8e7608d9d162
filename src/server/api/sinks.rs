//! `/api/v1/sinks`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State as Extract};
use schemars::JsonSchema;
use serde::Serialize;

use super::Refusal;
use super::params::{Parameter, Query};
use crate::clock::Timestamp;
use crate::server::health::state_words;
use crate::server::{SinkHandle, State};
use crate::sinks::backfill::{Filled, filled};
use crate::sinks::dead_letters::{Tally, folder_of};
use crate::store::PastHole;

pub(super) const PARAMETERS: &[Parameter] = &[];

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Sinks {
    sinks: Vec<Sink>,
    /// The newest frame of the journal: where a sink without lag is.
    newest_seq: i64,
}

/// A sink. Counts are rows: points at full detail. `offered = delivered + filtered + rejected +
/// expired + waiting` always holds.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Sink {
    sink: String,
    kind: &'static str,
    /// starting, delivering, retrying, misconfigured or stopped.
    state: &'static str,
    /// Why it does not deliver, with the next step.
    reason: Option<String>,
    since_ms: Option<i64>,
    /// The last frame all of whose rows are settled.
    settled_seq: Option<i64>,
    /// Age of the oldest beat that is not settled; null when none waits.
    oldest_waiting_s: Option<i64>,
    offered: u64,
    delivered: u64,
    /// Left out by the sink's own options.
    filtered: u64,
    /// Refused for good by the server: in the dead letters.
    rejected: u64,
    /// Fell off the journal, or were too old, before they could be delivered.
    expired: u64,
    waiting: u64,
    /// Why a point was refused for good the last time.
    last_rejection: Option<String>,
    /// Points in the dead letters, and their bytes; null when they cannot be counted, or when there
    /// is no store to keep them beside.
    dead_letters: Option<u64>,
    dead_letters_bytes: Option<u64>,
    /// What the sink has missed, oldest first.
    holes: Vec<Hole>,
}

/// Frames that were gone from the journal, or broken, when the sink came to them.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Hole {
    /// Beat of the last frame before the hole; null when the sink had nothing before.
    after_ms: Option<i64>,
    /// Beat of the first frame behind it.
    before_ms: i64,
    rows: u64,
    /// expired, or why the frames could not be read.
    why: String,
    /// When a backfill filled it, and with how many points; null while it is open.
    filled_ms: Option<i64>,
    filled_points: Option<u64>,
}

/// Every sink, in the order of the configuration.
pub(super) async fn sinks(
    Extract(state): Extract<Arc<State>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Sinks>, Refusal> {
    let now = state.clock.now();
    Query::read(query.as_deref(), PARAMETERS, now)?;
    let of_state = Arc::clone(&state);
    let besides = tokio::task::spawn_blocking(move || beside(&of_state)).await;
    let mut besides = besides.unwrap_or_default().into_iter();
    let sinks = state.sinks.iter().map(|handle| {
        let beside = besides.next().unwrap_or_default();
        sink(&state, handle, beside, now)
    });
    Ok(Json(Sinks {
        sinks: sinks.collect(),
        newest_seq: state.store.newest().0,
    }))
}

/// What stands of a sink in files beside the store.
#[derive(Debug, Default)]
struct Beside {
    letters: Option<Tally>,
    filled: Vec<Filled>,
}

/// Looks at the files of all sinks. Blocks.
fn beside(state: &State) -> Vec<Beside> {
    let path = state.store.health().path;
    let of = |sink: &SinkHandle| {
        let Some(path) = &path else {
            return Beside::default();
        };
        Beside {
            letters: state.letters.count(&folder_of(path), &sink.name).ok(),
            // What cannot be read now is not known to be filled.
            filled: filled(path, &sink.name).unwrap_or_default(),
        }
    };
    state.sinks.iter().map(of).collect()
}

fn sink(state: &State, handle: &SinkHandle, beside: Beside, now: Timestamp) -> Sink {
    let Beside { letters, filled } = beside;
    let health = handle.health.borrow().clone();
    let (word, why) = state_words(&health.state);
    let standing = state.store.standing(&handle.name);
    let oldest = standing.as_ref().and_then(|standing| standing.oldest);
    let row = standing.as_ref().map(|it| it.row(&handle.name, now));
    let counts = row.map(|row| row.counts).unwrap_or_default();
    Sink {
        sink: handle.name.clone(),
        kind: handle.kind,
        state: word,
        reason: why.map(|(reason, _)| reason.to_owned()),
        since_ms: why.map(|(_, since)| since.as_ms()),
        settled_seq: standing.map(|standing| standing.cursor.seq.0),
        oldest_waiting_s: oldest.map(|beat| now.ms_since(beat).max(0) / 1000),
        offered: counts.offered,
        delivered: counts.delivered,
        filtered: counts.filtered,
        rejected: counts.rejected,
        expired: counts.expired,
        waiting: counts.waiting(),
        last_rejection: health.last_rejection,
        dead_letters: letters.map(|letters| letters.points),
        dead_letters_bytes: letters.map(|letters| letters.bytes),
        holes: state
            .store
            .holes(&handle.name)
            .into_iter()
            .map(|it| hole(it, &filled))
            .collect(),
    }
}

fn hole(hole: PastHole, filled: &[Filled]) -> Hole {
    let filled = filled.iter().rfind(|filled| filled.is_of(&hole));
    Hole {
        filled_ms: filled.map(|filled| filled.at_ms),
        filled_points: filled.map(|filled| filled.points),
        after_ms: hole.after.map(Timestamp::as_ms),
        before_ms: hole.before.as_ms(),
        rows: hole.rows,
        why: hole.why,
    }
}
