//! Burrow's HTTP API, answer for answer (the contract is Burrow's own; lagline's extras live under
//! `/api/v1`).
//!
//! Everything is answered from the latest evaluation, except a group's windows, which its monitor
//! is asked for. While a cluster is loading the answer is 503 instead of half of the truth.

mod modules;
mod path;
mod shapes;

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Method, Response, StatusCode, header};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::oneshot;

use self::path::{Kind, Read, Route};
use self::shapes::{Answer, Place, RequestInfo, StatusShape, WindowsShape};
use super::{ClusterHandle, State, auth, metrics};
use crate::lag::evaluation::{Evaluation, Phase};
use crate::monitor::Command;

/// How long a monitor may take to answer a question about one group.
const MONITOR_TIMEOUT: Duration = Duration::from_secs(4);

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// One request to Burrow's API.
pub(super) struct Request<'a> {
    pub(super) method: &'a Method,
    /// The path as it came, still encoded.
    pub(super) path: &'a str,
    pub(super) query: Option<&'a str>,
    pub(super) headers: &'a axum::http::HeaderMap,
    pub(super) body: Bytes,
}

/// An error answer in Burrow's words.
struct Problem(StatusCode, &'static str);

type Outcome = Result<Response<Body>, Problem>;

/// Answers any path that lagline itself does not have.
pub(super) async fn answer(state: &State, request: Request<'_>) -> Response<Body> {
    if path::has_bad_escape(request.path) {
        return text(StatusCode::BAD_REQUEST, "400 Bad Request");
    }
    let route = path::route(request.path).or_else(|| known_with_slashes(state, request.path));
    let Some(route) = route else {
        return not_routed(&request);
    };
    if !route.methods().contains(request.method) {
        return wrong_method(request.method, route.methods());
    }
    let asked = Asked {
        state,
        url: path::decode(request.path),
    };
    let is_read = *request.method == Method::GET;
    let outcome = match auth::may_change(state, request.headers) {
        Err((status, message)) if !is_read => Err(Problem(status, message)),
        Ok(()) | Err(_) => asked.answer(route, is_read, &request.body).await,
    };
    outcome.unwrap_or_else(|problem| asked.refuse(&problem))
}

/// A path in which the slashes of a group's name were not encoded: only for a group that is there,
/// or may be.
fn known_with_slashes(state: &State, path: &str) -> Option<Route> {
    let (route, cluster, group) = path::with_slashes(path)?;
    let is_there = match evaluation(find_cluster(state, &cluster)?) {
        Ok(evaluation) => {
            evaluation.group(&group).is_some() || evaluation.group(&path::decode(&group)).is_some()
        }
        Err(_) => true,
    };
    is_there.then_some(route)
}

/// Unknown paths, and those that Burrow redirects to a known one.
fn not_routed(request: &Request<'_>) -> Response<Body> {
    let Some(mut target) = path::redirect(request.path, request.method) else {
        let body = "{\"error\":true,\"message\":\"invalid request type\",\"result\":{}}\n";
        return text(StatusCode::NOT_FOUND, body);
    };
    if let Some(query) = request.query {
        target.push('?');
        target.push_str(query);
    }
    let location = [(header::LOCATION, target.as_str())];
    if *request.method != Method::GET {
        return response(
            StatusCode::TEMPORARY_REDIRECT,
            None,
            Body::empty(),
            &location,
        );
    }
    // The rest of what HTML would read as its own is percent-encoded, or no part of a URI.
    let target = target.replace('&', "&amp;").replace('\'', "&#39;");
    let body = format!("<a href=\"{target}\">Moved Permanently</a>.\n\n");
    let html = Some("text/html; charset=utf-8");
    response(StatusCode::MOVED_PERMANENTLY, html, body.into(), &location)
}

/// A path that is there, but not with this method.
pub(super) fn wrong_method(method: &Method, allowed: &[Method]) -> Response<Body> {
    let mut names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
    names.push("OPTIONS");
    names.sort_unstable();
    let names = names.join(", ");
    let allow = [(header::ALLOW, names.as_str())];
    if *method == Method::OPTIONS {
        return response(StatusCode::OK, None, Body::empty(), &allow);
    }
    let body = "Method Not Allowed\n";
    response(
        StatusCode::METHOD_NOT_ALLOWED,
        Some(TEXT),
        body.into(),
        &allow,
    )
}

fn text(status: StatusCode, body: &'static str) -> Response<Body> {
    response(status, Some(TEXT), body.into(), &[])
}

fn response(
    status: StatusCode,
    content_type: Option<&str>,
    body: Body,
    headers: &[(header::HeaderName, &str)],
) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let all = headers.iter().map(|(name, value)| (name.clone(), *value));
    let content_type = content_type.map(|value| (header::CONTENT_TYPE, value));
    for (name, value) in all.chain(content_type) {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// A request under way.
struct Asked<'a> {
    state: &'a State,
    /// The decoded path: Burrow repeats it in every answer.
    url: String,
}

impl Asked<'_> {
    async fn answer(&self, route: Route, is_read: bool, body: &[u8]) -> Outcome {
        match route {
            Route::Read(read) => self.read(read),
            Route::Consumer { cluster, group } if is_read => self.consumer(&cluster, &group).await,
            Route::Consumer { cluster, group } => self.forget(&cluster, group, None).await,
            Route::ConsumerTopic {
                cluster,
                group,
                topic,
            } => self.forget(&cluster, group, Some(topic)).await,
            Route::LogLevel if is_read => {
                let level = self.state.log_level.word();
                Ok(self.ok("log level returned", &[("level", level)]))
            }
            Route::LogLevel => self.set_log_level(body),
        }
    }

    fn read(&self, read: Read) -> Outcome {
        match read {
            Read::Admin => Ok(text(StatusCode::OK, "GOOD")),
            Read::Ready => Ok(match self.state.not_ready() {
                None => text(StatusCode::OK, "READY"),
                Some(_) => text(StatusCode::SERVICE_UNAVAILABLE, "STARTING"),
            }),
            Read::Metrics => Ok(metrics::answer(self.state)),
            Read::Clusters => {
                let names: Vec<&str> = self.state.clusters.keys().map(|c| c.as_str()).collect();
                Ok(self.ok("cluster list returned", &[("clusters", names)]))
            }
            Read::Topics { cluster } => self.topics(&cluster),
            Read::Topic { cluster, topic } => self.topic(&cluster, &topic),
            Read::TopicConsumers { cluster, topic } => self.topic_consumers(&cluster, &topic),
            Read::Consumers { cluster } => self.consumers(&cluster),
            Read::ConsumerStatus {
                cluster,
                group,
                all,
            } => self.status(&cluster, &group, all),
            Read::Config => {
                let message = "main config returned";
                Ok(self.config(message, &modules::main(self.state)))
            }
            Read::Modules { kind } => Ok(self.modules(kind)),
            Read::Module { kind, name } => self.module(kind, &name),
        }
    }

    fn ok<T: Serialize>(&self, message: &str, payload: &[(&str, T)]) -> Response<Body> {
        self.json(StatusCode::OK, false, message, (payload, Place::Last))
    }

    /// Burrow's answers about its configuration, but for one module's.
    fn config<T: Serialize>(&self, message: &str, payload: &[(&str, T)]) -> Response<Body> {
        self.json(StatusCode::OK, false, message, (payload, Place::Third))
    }

    fn refuse(&self, problem: &Problem) -> Response<Body> {
        self.json::<()>(problem.0, true, problem.1, (&[], Place::Last))
    }

    fn json<T: Serialize>(
        &self,
        status: StatusCode,
        error: bool,
        message: &str,
        (payload, place): (&[(&str, T)], Place),
    ) -> Response<Body> {
        let request = RequestInfo {
            url: &self.url,
            host: &self.state.host,
        };
        let answer = Answer {
            error,
            message,
            payload,
            request,
            place,
        };
        match shapes::to_json(&answer) {
            Ok(body) => response(status, Some(JSON), body.into(), &[]),
            Err(error) => {
                tracing::error!(%error, "an answer could not be written as JSON");
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                response(status, Some(JSON), Body::empty(), &[])
            }
        }
    }

    fn cluster(&self, name: &str, message: &'static str) -> Result<&ClusterHandle, Problem> {
        find_cluster(self.state, name).ok_or(Problem(StatusCode::NOT_FOUND, message))
    }

    fn topics(&self, cluster: &str) -> Outcome {
        let evaluation = evaluation(self.cluster(cluster, "cluster not found")?)?;
        let names: Vec<&str> = evaluation.topics.iter().map(|t| t.topic.as_str()).collect();
        Ok(self.ok("topic list returned", &[("topics", names)]))
    }

    fn topic(&self, cluster: &str, topic: &str) -> Outcome {
        const NOT_FOUND: Problem = Problem(StatusCode::NOT_FOUND, "cluster or topic not found");
        let evaluation = evaluation(self.cluster(cluster, NOT_FOUND.1)?)?;
        let found = evaluation
            .topic(topic)
            .or_else(|| evaluation.topic(&path::decode(topic)));
        // A partition whose end was never known has no offset, and a 0 would be a made-up fact.
        let offsets: Option<Vec<i64>> = found
            .ok_or(NOT_FOUND)?
            .partitions
            .iter()
            .map(|p| p.last_end.get())
            .collect();
        Ok(self.ok(
            "topic offsets returned",
            &[("offsets", offsets.ok_or(NOT_FOUND)?)],
        ))
    }

    fn topic_consumers(&self, cluster: &str, topic: &str) -> Outcome {
        let evaluation = evaluation(self.cluster(cluster, "cluster not found")?)?;
        let name = known_topic(&evaluation, topic);
        let readers = evaluation.groups.iter().filter(|group| {
            group
                .topics
                .binary_search_by(|t| t.topic.as_str().cmp(&name))
                .is_ok()
        });
        let names: Vec<&str> = readers.map(|group| group.id.as_str()).collect();
        Ok(self.ok("consumers of topic returned", &[("consumers", names)]))
    }

    fn consumers(&self, cluster: &str) -> Outcome {
        let evaluation = evaluation(self.cluster(cluster, "cluster not found")?)?;
        let names: Vec<&str> = evaluation.groups.iter().map(|g| g.id.as_str()).collect();
        Ok(self.ok("consumer list returned", &[("consumers", names)]))
    }

    async fn consumer(&self, cluster: &str, group: &str) -> Outcome {
        const NOT_FOUND: Problem = Problem(StatusCode::NOT_FOUND, "cluster or consumer not found");
        let cluster = self.cluster(cluster, NOT_FOUND.1)?;
        let evaluation = evaluation(cluster)?;
        let group = known_group(&evaluation, group);
        let (reply, answer) = oneshot::channel();
        self.ask(cluster, Command::Windows { group, reply }).await?;
        let windows = wait(answer).await?.ok_or(NOT_FOUND)?;
        let shape = WindowsShape {
            windows: &windows,
            intervals: cluster.settings.rules.intervals,
        };
        Ok(self.ok("consumer detail returned", &[("topics", shape)]))
    }

    fn status(&self, cluster: &str, group: &str, all: bool) -> Outcome {
        let message = "consumer status returned";
        let not_found = |cluster: &str, group: &str| {
            let status = StatusShape::not_found(cluster, group);
            let payload: &[_] = &[("status", status)];
            let status = StatusCode::NOT_FOUND;
            self.json(status, false, message, (payload, Place::Last))
        };
        let Ok(handle) = self.cluster(cluster, message) else {
            return Ok(not_found(cluster, group));
        };
        let evaluation = evaluation(handle)?;
        let found = evaluation
            .group(group)
            .or_else(|| evaluation.group(path::decode(group).as_str()));
        let Some(found) = found else {
            return Ok(not_found(cluster, group));
        };
        let shape = StatusShape::of(handle.name.as_str(), found, all);
        Ok(self.ok(message, &[("status", shape)]))
    }

    fn modules(&self, kind: Kind) -> Response<Body> {
        let names = serde_json::json!(modules::names(self.state, kind));
        let payload = [
            ("coordinator", serde_json::json!(kind.word())),
            ("modules", names),
        ];
        self.config("module list returned", &payload)
    }

    fn module(&self, kind: Kind, name: &str) -> Outcome {
        let detail = modules::detail(self.state, kind, name)
            .or_else(|| modules::detail(self.state, kind, &path::decode(name)))
            .ok_or(Problem(StatusCode::NOT_FOUND, modules::not_found(kind)))?;
        Ok(self.ok(modules::returned(kind), &[("module", detail)]))
    }

    async fn forget(&self, cluster: &str, group: String, topic: Option<String>) -> Outcome {
        // Burrow says so whether or not there was anything to remove.
        let message = "consumer group removed";
        if let Ok(cluster) = self.cluster(cluster, message) {
            let latest = cluster.latest.borrow().clone();
            let (group, topic) = match latest {
                Some(latest) => {
                    let topic = topic.map(|topic| known_topic(&latest, &topic));
                    (known_group(&latest, &group), topic)
                }
                None => (group, topic),
            };
            let (reply, answer) = oneshot::channel();
            self.ask(
                cluster,
                Command::Forget {
                    group,
                    topic,
                    reply,
                },
            )
            .await?;
            wait(answer).await?;
        }
        Ok(self.ok::<()>(message, &[]))
    }

    fn set_log_level(&self, body: &[u8]) -> Outcome {
        let wanted = wanted_level(body).ok_or(Problem(
            StatusCode::BAD_REQUEST,
            "could not decode message body",
        ))?;
        if !self.state.log_level.set(&wanted) {
            return Err(Problem(StatusCode::NOT_FOUND, "unknown log level"));
        }
        Ok(self.ok::<()>("set log level", &[]))
    }

    async fn ask(&self, cluster: &ClusterHandle, command: Command) -> Result<(), Problem> {
        cluster
            .commands
            .send_timeout(command, MONITOR_TIMEOUT)
            .await
            .map_err(|_| Problem(StatusCode::SERVICE_UNAVAILABLE, "cluster is busy"))
    }
}

fn find_cluster<'a>(state: &'a State, name: &str) -> Option<&'a ClusterHandle> {
    let clusters = &state.clusters;
    clusters
        .get(name)
        .or_else(|| clusters.get(path::decode(name).as_str()))
}

/// The cluster's evaluation, once it says something.
fn evaluation(cluster: &ClusterHandle) -> Result<Arc<Evaluation>, Problem> {
    let latest = cluster.latest.borrow().clone();
    latest
        .filter(|evaluation| match evaluation.phase {
            Phase::Running => true,
            Phase::Waiting => evaluation.summary.up,
            Phase::Loading { .. } => false,
        })
        .ok_or(Problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "cluster is loading",
        ))
}

/// The level that a body asks for, read as Go's decoder reads it: the first value counts, its keys
/// in any case, and what is absent or null is the empty word. `None` when it cannot be read.
fn wanted_level(body: &[u8]) -> Option<String> {
    let mut values = serde_json::Deserializer::from_slice(body).into_iter::<Value>();
    let first = values.next()?.ok()?;
    if first.is_null() {
        return Some(String::new());
    }
    let mut fields = first.as_object()?.iter();
    match fields.find(|(key, _)| key.eq_ignore_ascii_case("level")) {
        Some((_, level)) if !level.is_null() => level.as_str().map(str::to_owned),
        Some(_) | None => Some(String::new()),
    }
}

async fn wait<T>(answer: oneshot::Receiver<T>) -> Result<T, Problem> {
    match tokio::time::timeout(MONITOR_TIMEOUT, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) | Err(_) => Err(Problem(StatusCode::SERVICE_UNAVAILABLE, "cluster is busy")),
    }
}

/// The name as it came, or decoded a second time when only that is a group (Telegraf encodes path
/// segments twice).
fn known_group(evaluation: &Evaluation, group: &str) -> String {
    let second = path::decode(group);
    if evaluation.group(group).is_none() && evaluation.group(&second).is_some() {
        return second;
    }
    group.to_owned()
}

/// The same for a topic.
fn known_topic(evaluation: &Evaluation, topic: &str) -> String {
    let second = path::decode(topic);
    if evaluation.topic(topic).is_none() && evaluation.topic(&second).is_some() {
        return second;
    }
    topic.to_owned()
}
