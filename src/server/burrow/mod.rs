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
use tokio::sync::oneshot;

use self::path::{Kind, Route};
use self::shapes::{Answer, RequestInfo, StatusShape, WindowsShape};
use super::{ClusterHandle, State, auth};
use crate::lag::evaluation::{Evaluation, Phase};
use crate::monitor::Command;

/// How long a monitor may take to answer a question about one group.
const MONITOR_TIMEOUT: Duration = Duration::from_secs(4);

/// One request to Burrow's API.
pub(super) struct Request<'a> {
    pub(super) method: &'a Method,
    /// The path as it came, still encoded.
    pub(super) path: &'a str,
    pub(super) headers: &'a axum::http::HeaderMap,
    pub(super) body: Bytes,
}

/// An error answer in Burrow's words.
struct Problem(StatusCode, &'static str);

type Outcome = Result<Response<Body>, Problem>;

/// Answers any path that lagline itself does not have.
pub(super) async fn answer(state: &State, request: Request<'_>) -> Response<Body> {
    let Some(route) = path::route(request.path) else {
        return not_routed(&request);
    };
    let allowed = methods(&route);
    if !allowed.contains(request.method) {
        return wrong_method(&request, allowed);
    }
    let asked = Asked {
        state,
        url: path::decode(request.path),
    };
    let outcome = if *request.method == Method::GET {
        asked.read(route).await
    } else {
        match auth::may_change(state, request.headers) {
            Ok(()) => asked.change(route, &request.body).await,
            Err((status, message)) => Err(Problem(status, message)),
        }
    };
    outcome.unwrap_or_else(|problem| asked.refuse(&problem))
}

fn methods(route: &Route) -> &'static [Method] {
    match route {
        Route::Consumer { .. } => &[Method::GET, Method::DELETE],
        Route::ConsumerTopic { .. } => &[Method::DELETE],
        Route::LogLevel => &[Method::GET, Method::POST],
        Route::Admin
        | Route::Ready
        | Route::Clusters
        | Route::Cluster { .. }
        | Route::Topics { .. }
        | Route::Topic { .. }
        | Route::TopicConsumers { .. }
        | Route::Consumers { .. }
        | Route::ConsumerStatus { .. }
        | Route::Config
        | Route::Modules { .. }
        | Route::Module { .. } => &[Method::GET],
    }
}

/// Unknown paths, and known ones with a slash too much (redirected).
fn not_routed(request: &Request<'_>) -> Response<Body> {
    let shorter = request
        .path
        .strip_suffix('/')
        .filter(|shorter| path::route(shorter).is_some());
    if let Some(shorter) = shorter {
        let is_get = *request.method == Method::GET;
        let status = if is_get {
            StatusCode::MOVED_PERMANENTLY
        } else {
            StatusCode::TEMPORARY_REDIRECT
        };
        return response(
            status,
            "text/plain; charset=utf-8",
            Body::empty(),
            &[(header::LOCATION, shorter)],
        );
    }
    let body = "{\"error\":true,\"message\":\"invalid request type\",\"result\":{}}\n";
    response(
        StatusCode::NOT_FOUND,
        "text/plain; charset=utf-8",
        body.into(),
        &[],
    )
}

fn wrong_method(request: &Request<'_>, allowed: &[Method]) -> Response<Body> {
    let mut names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
    names.push("OPTIONS");
    let names = names.join(", ");
    let allow = [(header::ALLOW, names.as_str())];
    if *request.method == Method::OPTIONS {
        return response(
            StatusCode::OK,
            "text/plain; charset=utf-8",
            Body::empty(),
            &allow,
        );
    }
    let body = "Method Not Allowed\n";
    response(
        StatusCode::METHOD_NOT_ALLOWED,
        "text/plain; charset=utf-8",
        body.into(),
        &allow,
    )
}

fn response(
    status: StatusCode,
    content_type: &str,
    body: Body,
    headers: &[(header::HeaderName, &str)],
) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let all = headers.iter().map(|(name, value)| (name.clone(), *value));
    for (name, value) in all.chain([(header::CONTENT_TYPE, content_type)]) {
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
    async fn read(&self, route: Route) -> Outcome {
        match route {
            Route::Admin => Ok(response(
                StatusCode::OK,
                "text/plain; charset=utf-8",
                "GOOD".into(),
                &[],
            )),
            Route::Ready => Ok(self.ready()),
            Route::Clusters => {
                let names: Vec<&str> = self.state.clusters.keys().map(|c| c.as_str()).collect();
                Ok(self.ok("cluster list returned", &[("clusters", names)]))
            }
            Route::Cluster { cluster }
            | Route::Module {
                kind: Kind::Cluster,
                name: cluster,
            } => self.module(Kind::Cluster, &cluster),
            Route::Topics { cluster } => self.topics(&cluster),
            Route::Topic { cluster, topic } => self.topic(&cluster, &topic),
            Route::TopicConsumers { cluster, topic } => self.topic_consumers(&cluster, &topic),
            Route::Consumers { cluster } => self.consumers(&cluster),
            Route::Consumer { cluster, group } => self.consumer(&cluster, &group).await,
            Route::ConsumerStatus {
                cluster,
                group,
                all,
            } => self.status(&cluster, &group, all),
            Route::Config => Ok(self.ok("main config returned", &modules::main(self.state))),
            Route::Modules { kind } => Ok(self.modules(kind)),
            Route::Module { kind, name } => self.module(kind, &name),
            Route::LogLevel => Ok(self.ok(
                "log level returned",
                &[("level", self.state.log_level.word())],
            )),
            Route::ConsumerTopic { .. } => Err(Problem(
                StatusCode::METHOD_NOT_ALLOWED,
                "method not allowed",
            )),
        }
    }

    async fn change(&self, route: Route, body: &[u8]) -> Outcome {
        match route {
            Route::Consumer { cluster, group } => self.forget(&cluster, group, None).await,
            Route::ConsumerTopic {
                cluster,
                group,
                topic,
            } => self.forget(&cluster, group, Some(topic)).await,
            Route::LogLevel => self.set_log_level(body),
            Route::Admin
            | Route::Ready
            | Route::Clusters
            | Route::Cluster { .. }
            | Route::Topics { .. }
            | Route::Topic { .. }
            | Route::TopicConsumers { .. }
            | Route::Consumers { .. }
            | Route::ConsumerStatus { .. }
            | Route::Config
            | Route::Modules { .. }
            | Route::Module { .. } => Err(Problem(
                StatusCode::METHOD_NOT_ALLOWED,
                "method not allowed",
            )),
        }
    }

    fn ready(&self) -> Response<Body> {
        let (status, word) = match self.state.not_ready() {
            None => (StatusCode::OK, "READY"),
            Some(_) => (StatusCode::SERVICE_UNAVAILABLE, "STARTING"),
        };
        response(status, "text/plain; charset=utf-8", word.into(), &[])
    }

    fn ok<T: Serialize>(&self, message: &str, payload: &[(&str, T)]) -> Response<Body> {
        self.json(StatusCode::OK, false, message, payload)
    }

    fn refuse(&self, problem: &Problem) -> Response<Body> {
        self.json::<()>(problem.0, true, problem.1, &[])
    }

    fn json<T: Serialize>(
        &self,
        status: StatusCode,
        error: bool,
        message: &str,
        payload: &[(&str, T)],
    ) -> Response<Body> {
        let request = RequestInfo {
            url: &self.url,
            host: &self.state.host,
        };
        match serde_json::to_vec(&Answer {
            error,
            message,
            payload,
            request,
        }) {
            Ok(body) => response(status, "application/json", body.into(), &[]),
            Err(error) => {
                tracing::error!(%error, "an answer could not be written as JSON");
                response(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "application/json",
                    Body::empty(),
                    &[],
                )
            }
        }
    }

    fn cluster(&self, name: &str, message: &'static str) -> Result<&ClusterHandle, Problem> {
        let clusters = &self.state.clusters;
        let found = clusters
            .get(name)
            .or_else(|| clusters.get(path::decode(name).as_str()));
        found.ok_or(Problem(StatusCode::NOT_FOUND, message))
    }

    /// The cluster's evaluation, once it says something.
    fn evaluation(&self, cluster: &ClusterHandle) -> Result<Arc<Evaluation>, Problem> {
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

    fn topics(&self, cluster: &str) -> Outcome {
        let evaluation = self.evaluation(self.cluster(cluster, "cluster not found")?)?;
        let names: Vec<&str> = evaluation.topics.iter().map(|t| t.topic.as_str()).collect();
        Ok(self.ok("topic list returned", &[("topics", names)]))
    }

    fn topic(&self, cluster: &str, topic: &str) -> Outcome {
        const NOT_FOUND: Problem = Problem(StatusCode::NOT_FOUND, "cluster or topic not found");
        let evaluation = self.evaluation(self.cluster(cluster, NOT_FOUND.1)?)?;
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
        let evaluation = self.evaluation(self.cluster(cluster, "cluster not found")?)?;
        let second = path::decode(topic);
        let name = if evaluation.topic(topic).is_some() {
            topic
        } else {
            second.as_str()
        };
        let readers = evaluation.groups.iter().filter(|group| {
            group
                .topics
                .binary_search_by(|t| t.topic.as_str().cmp(name))
                .is_ok()
        });
        let names: Vec<&str> = readers.map(|group| group.id.as_str()).collect();
        Ok(self.ok("consumers of topic returned", &[("consumers", names)]))
    }

    fn consumers(&self, cluster: &str) -> Outcome {
        let evaluation = self.evaluation(self.cluster(cluster, "cluster not found")?)?;
        let names: Vec<&str> = evaluation.groups.iter().map(|g| g.id.as_str()).collect();
        Ok(self.ok("consumer list returned", &[("consumers", names)]))
    }

    async fn consumer(&self, cluster: &str, group: &str) -> Outcome {
        const NOT_FOUND: Problem = Problem(StatusCode::NOT_FOUND, "cluster or consumer not found");
        let cluster = self.cluster(cluster, NOT_FOUND.1)?;
        let evaluation = self.evaluation(cluster)?;
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
            self.json(StatusCode::NOT_FOUND, false, message, &[("status", status)])
        };
        let Ok(handle) = self.cluster(cluster, message) else {
            return Ok(not_found(cluster, group));
        };
        let evaluation = self.evaluation(handle)?;
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
        self.ok("module list returned", &payload)
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
            let group = latest.map_or(group.clone(), |latest| known_group(&latest, &group));
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
        #[derive(serde::Deserialize)]
        struct Wanted {
            #[serde(default)]
            level: String,
        }
        let wanted: Wanted = serde_json::from_slice(body)
            .map_err(|_| Problem(StatusCode::BAD_REQUEST, "could not decode message body"))?;
        if !self.state.log_level.set(&wanted.level) {
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
