//! HTTP: Burrow's API, lagline's own, metrics and health, and the page.
//!
//! Nothing here computes lag or judges: everything is read from the latest evaluations, the sinks'
//! health and the store. No answer waits for Kafka.

pub mod api;
mod auth;
mod burrow;
mod exposition;
mod health;
mod metrics;
mod page;

use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State as Extract};
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Timestamp};
use crate::config::ServerSettings;
use crate::config::clusters::ClusterSettings;
use crate::kafka::offsets::ReaderStats;
use crate::lag::evaluation::{Evaluation, Phase};
use crate::lag::ids::ClusterName;
use crate::monitor::{ClusterHealth, Command};
use crate::sinks::dead_letters::Tallies;
use crate::sinks::delivery::SinkHealth;
use crate::store::Store;
use crate::store::frame::SinkRow;

/// A body larger than this is refused; only the log level has one.
const BODY_MAX: usize = 64 << 10;
/// A cluster that does not answer for this long does not keep lagline from being ready.
const UNREACHABLE_GRACE_MS: i64 = 60_000;
/// Streams of events that may be open at once.
const STREAMS_MAX: usize = 256;

/// What the server knows of a cluster.
#[derive(Clone, Debug)]
pub struct ClusterHandle {
    pub name: ClusterName,
    /// The served evaluation; `None` before the first.
    pub latest: watch::Receiver<Option<Arc<Evaluation>>>,
    pub commands: mpsc::Sender<Command>,
    pub health: watch::Receiver<ClusterHealth>,
    pub reader: Arc<ReaderStats>,
    pub settings: Arc<ClusterSettings>,
}

/// What the server knows of a sink.
#[derive(Clone, Debug)]
pub struct SinkHandle {
    pub name: String,
    pub kind: &'static str,
    pub health: watch::Receiver<SinkHealth>,
}

impl SinkHandle {
    /// How far the sink is, in rows; nothing for a sink that has not begun.
    pub fn row(&self, store: &Store, now: Timestamp) -> Option<SinkRow> {
        let standing = store.standing(&self.name)?;
        Some(standing.row(&self.name, now))
    }
}

/// The level of the log, and how to change it.
pub struct LogLevel {
    word: Mutex<&'static str>,
    apply: Box<dyn Fn(&'static str) + Send + Sync>,
}

impl LogLevel {
    /// A log at `level` (a word of tracing's), changed by `apply`.
    pub fn new(level: &str, apply: impl Fn(&'static str) + Send + Sync + 'static) -> Self {
        let word = burrow_level(level).unwrap_or("info");
        Self {
            word: Mutex::new(word),
            apply: Box::new(apply),
        }
    }

    fn word(&self) -> &'static str {
        *self.word.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the level; false for an unknown one.
    fn set(&self, level: &str) -> bool {
        let Some(word) = burrow_level(level) else {
            return false;
        };
        *self.word.lock().unwrap_or_else(PoisonError::into_inner) = word;
        (self.apply)(if word == "fatal" { "error" } else { word });
        true
    }
}

/// Burrow's word for a level, as it answers it; it takes these words only.
fn burrow_level(level: &str) -> Option<&'static str> {
    Some(match level.to_ascii_lowercase().as_str() {
        "debug" | "trace" => "debug",
        "info" => "info",
        "warning" | "warn" => "warn",
        "error" => "error",
        "fatal" => "fatal",
        _ => return None,
    })
}

impl fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogLevel({})", self.word())
    }
}

/// Everything answers are made of.
#[derive(Debug)]
pub struct State {
    pub clusters: BTreeMap<ClusterName, ClusterHandle>,
    pub sinks: Vec<SinkHandle>,
    pub store: Store,
    pub settings: ServerSettings,
    pub interval: Duration,
    pub clock: Clock,
    pub log_level: LogLevel,
    /// This machine's name, for Burrow's answers.
    pub host: String,
    /// Cancelled when the server stops: streams end.
    stop: CancellationToken,
    /// One for each stream that may be open.
    streams: Arc<Semaphore>,
    metrics: metrics::Cache,
    letters: Tallies,
}

impl State {
    /// The state of a server that has answered nothing yet.
    pub fn new(
        clusters: Vec<ClusterHandle>,
        sinks: Vec<SinkHandle>,
        store: Store,
        settings: ServerSettings,
        interval: Duration,
        clock: Clock,
        log_level: LogLevel,
    ) -> Self {
        Self {
            clusters: clusters
                .into_iter()
                .map(|handle| (handle.name.clone(), handle))
                .collect(),
            sinks,
            store,
            settings,
            interval,
            clock,
            log_level,
            host: host(),
            stop: CancellationToken::new(),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            metrics: metrics::Cache::default(),
            letters: Tallies::default(),
        }
    }

    /// The server ends when `stop` is cancelled.
    #[must_use]
    pub fn stopped_by(self, stop: CancellationToken) -> Self {
        Self { stop, ..self }
    }

    /// Drops the text of `/metrics` when there are newer evaluations: the next scraper wants those.
    pub fn forget_old_metrics(&self) {
        metrics::forget_old(self);
    }

    /// The first cluster that keeps lagline from being ready, and why. A cluster is ready when it
    /// is read, when Kafka says that there is nothing to read, or when it has not answered for a
    /// minute.
    fn not_ready(&self) -> Option<(&ClusterName, String)> {
        let now = self.clock.now();
        self.clusters.iter().find_map(|(name, handle)| {
            let health = handle.health.borrow();
            let unreachable = health
                .unreachable_since
                .is_some_and(|since| now.ms_since(since) >= UNREACHABLE_GRACE_MS);
            let why = match health.phase {
                Phase::Running => return None,
                _ if unreachable => return None,
                Phase::Waiting if health.up && handle.reader.has_nothing_to_read() => return None,
                Phase::Waiting => health
                    .reason
                    .clone()
                    .or_else(|| handle.reader.problem())
                    .unwrap_or_else(|| "reading has not begun".to_owned()),
                Phase::Loading { read, total } => format!("{read} of {total} records read"),
            };
            Some((name, why))
        })
    }
}

fn host() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// Opens the address to listen on.
///
/// # Errors
/// One sentence that names the address and what to do.
pub async fn bind(listen: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(listen).await.map_err(|error| {
        let kind = error.kind();
        let advice = if kind == ErrorKind::AddrInUse {
            "another program listens there; choose another server.listen"
        } else if kind == ErrorKind::PermissionDenied {
            "choose a port above 1023 in server.listen"
        } else {
            "check server.listen"
        };
        anyhow::anyhow!("cannot listen on {listen}: {error}; {advice}")
    })
}

/// Serves until the state's `stop` is cancelled; answers under way are finished, streams end.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(listener: TcpListener, state: Arc<State>) -> std::io::Result<()> {
    let stop = state.stop.clone();
    axum::serve(listener, router(state))
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

/// All paths.
pub fn router(state: Arc<State>) -> Router {
    Router::new()
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .merge(api::routes())
        .merge(page::routes())
        .method_not_allowed_fallback(other_method)
        .fallback(fallback)
        .layer(middleware::from_fn_with_state(Arc::clone(&state), guard))
        .with_state(state)
}

/// A method that one of lagline's own paths does not have.
async fn other_method(method: Method) -> Response<Body> {
    burrow::wrong_method(&method, &[Method::GET, Method::HEAD])
}

async fn fallback(Extract(state): Extract<Arc<State>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, BODY_MAX).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let request = burrow::Request {
        method: &parts.method,
        path: parts.uri.path(),
        query: parts.uri.query(),
        headers: &parts.headers,
        body,
    };
    burrow::answer(&state, request).await
}

/// Checks the token for reading, and adds what every answer carries.
async fn guard(
    Extract(state): Extract<Arc<State>>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let path = request.uri().path();
    // Probes of a container platform carry no token, nor does a browser that loads the page.
    let is_open = matches!(path, "/ready" | "/burrow/admin" | "/burrow/admin/ready");
    let is_open = is_open || page::has(path);
    let is_preflight = *request.method() == Method::OPTIONS;
    let may_read = is_open || is_preflight || auth::may_read(&state, request.headers());
    let mut response = if may_read {
        next.run(request).await
    } else {
        (StatusCode::UNAUTHORIZED, "a bearer token is needed\n").into_response()
    };
    let is_unauthorized = response.status() == StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    if is_unauthorized {
        let challenge = HeaderValue::from_static("Bearer");
        headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    let origin = state
        .settings
        .cors_origin
        .as_deref()
        .and_then(|origin| origin.parse().ok());
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if is_preflight {
            let allowed = HeaderValue::from_static("authorization, content-type");
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
            let methods = HeaderValue::from_static("GET, POST, DELETE");
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        }
    }
    response
}

#[cfg(test)]
mod tests;
