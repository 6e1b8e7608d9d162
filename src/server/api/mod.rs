//! lagline's own API under `/api/v1`.
//!
//! What a path takes is described in [`ENDPOINTS`], from which its parameters are read and the
//! OpenAPI document is made. Everything is read from the served evaluations and the store; nothing
//! is computed that another output would compute differently. Every list has a limit and, where
//! there may be more, a cursor.

mod clusters;
mod groups;
mod history;
mod openapi;
mod pages;
mod params;
mod sinks;
mod stream;
#[cfg(test)]
mod tests;
mod topics;

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get};
use schemars::{JsonSchema, SchemaGenerator};
use serde::Serialize;

pub use self::openapi::document;
use self::params::{Bad, Parameter};
use super::State;
use crate::store::query::QueryError;

/// A path of the API.
struct Endpoint {
    path: &'static str,
    about: &'static str,
    parameters: &'static [Parameter],
    /// The schema of a good answer.
    answer: fn(&mut SchemaGenerator) -> schemars::Schema,
    handler: fn() -> MethodRouter<Arc<State>>,
}

/// All paths.
const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        path: "/api/v1/clusters",
        about: "Every cluster: how it is read, how many groups are in which status.",
        parameters: clusters::PARAMETERS,
        answer: SchemaGenerator::subschema_for::<clusters::Clusters>,
        handler: || get(clusters::clusters),
    },
    Endpoint {
        path: "/api/v1/groups",
        about: "Groups at their latest evaluation, the worst first.",
        parameters: groups::PARAMETERS,
        answer: SchemaGenerator::subschema_for::<groups::Groups>,
        handler: || get(groups::groups),
    },
    Endpoint {
        path: "/api/v1/groups/{cluster}/{group}",
        about: "One group with its members and partitions.",
        parameters: groups::ONE_PARAMETERS,
        answer: SchemaGenerator::subschema_for::<groups::OneGroup>,
        handler: || get(groups::one),
    },
    Endpoint {
        path: "/api/v1/topics",
        about: "Topics with how far the groups that read them are behind.",
        parameters: topics::PARAMETERS,
        answer: SchemaGenerator::subschema_for::<topics::Topics>,
        handler: || get(topics::topics),
    },
    Endpoint {
        path: "/api/v1/topics/{cluster}/{topic}",
        about: "One topic: its partitions, and every group that reads it.",
        parameters: topics::ONE_PARAMETERS,
        answer: SchemaGenerator::subschema_for::<topics::OneTopic>,
        handler: || get(topics::one),
    },
    Endpoint {
        path: "/api/v1/history",
        about: "Fields of a cluster, group, topic or partition over time, from the layer that fits: \
                every beat, or rollups. Reduced to the least and the greatest value of each step; \
                a value of null is a gap.",
        parameters: history::PARAMETERS,
        answer: SchemaGenerator::subschema_for::<history::History>,
        handler: || get(history::history),
    },
    Endpoint {
        path: "/api/v1/events",
        about: "Status changes, the newest first.",
        parameters: history::EVENT_PARAMETERS,
        answer: SchemaGenerator::subschema_for::<history::Events>,
        handler: || get(history::events),
    },
    Endpoint {
        path: "/api/v1/sinks",
        about: "Every sink: how far it is, and what became of what it was offered, in rows.",
        parameters: sinks::PARAMETERS,
        answer: SchemaGenerator::subschema_for::<sinks::Sinks>,
        handler: || get(sinks::sinks),
    },
    Endpoint {
        path: "/api/v1/stream",
        about: "Server-sent events: one \"beat\" for each cluster and beat.",
        parameters: stream::PARAMETERS,
        answer: SchemaGenerator::subschema_for::<stream::Beat>,
        handler: || get(stream::stream),
    },
];

/// The routes of all paths, and of the document that describes them.
pub(super) fn routes() -> Router<Arc<State>> {
    let router = Router::new().route("/api/v1/openapi.json", get(openapi::served));
    ENDPOINTS.iter().fold(router, |router, endpoint| {
        router.route(endpoint.path, (endpoint.handler)())
    })
}

/// Why there is no answer.
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Problem {
    /// Always true, as in Burrow's answers.
    error: bool,
    message: String,
    /// The parameter or part of the path that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<String>,
}

/// A request that cannot be answered.
#[derive(Debug)]
enum Refusal {
    Bad(Bad),
    NotFound(String),
    Query(QueryError),
}

impl From<Bad> for Refusal {
    fn from(bad: Bad) -> Self {
        Refusal::Bad(bad)
    }
}

impl From<QueryError> for Refusal {
    fn from(error: QueryError) -> Self {
        Refusal::Query(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response<Body> {
        let (status, message, parameter) = match self {
            Refusal::Bad(Bad { parameter, message }) => {
                let message = format!("{parameter}: {message}");
                (StatusCode::BAD_REQUEST, message, Some(parameter))
            }
            Refusal::NotFound(message) => (StatusCode::NOT_FOUND, message, None),
            Refusal::Query(error) => {
                let status = match error {
                    QueryError::TimedOut => StatusCode::GATEWAY_TIMEOUT,
                    QueryError::TooMany | QueryError::TooLarge => StatusCode::BAD_REQUEST,
                    QueryError::Busy | QueryError::Unreadable(_) | QueryError::Closed => {
                        StatusCode::SERVICE_UNAVAILABLE
                    }
                };
                (status, error.to_string(), None)
            }
        };
        let problem = Problem {
            error: true,
            message,
            parameter,
        };
        (status, Json(problem)).into_response()
    }
}
