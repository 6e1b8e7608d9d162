//! Elasticsearch and OpenSearch.
//!
//! Documents go through the official client's transport (it does not mind OpenSearch) into one
//! data stream or daily index per measurement. What is kept how is decided by the server's version
//! and the mode; the templates are made from the catalogue and put there by lagline itself unless
//! it is told not to. Nothing is written before it is sure that a template applies: without one the
//! server would make a plain index with guessed types and say 201.
//!
//! Sending twice: time series streams and daily indexes keep each document once, always. A plain
//! data stream keeps it once unless it rolls over between the two.
//!
//! Old documents are removed only when the operator says how long they are kept (`lifecycle.rs`).
//! Everything else an operator wants of the indexes belongs into the component template
//! `lagline@custom`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use elasticsearch::http::Method;
use serde::Deserialize;
use serde_json::Value as Json;
use url::Url;

use super::http::{self, Answer, Class, Peer, TlsSettings, Verdict, Words};
use super::{Accepted, BoxFuture, CheckError, CheckReport, Made, Sink, WriteError};
use crate::config::secret::Secret;
use crate::points::Batch;
use nodes::{Ask, Body, Nodes};
use prepare::Plan;

pub mod bulk;
mod check;
mod detect;
mod items;
mod lifecycle;
mod names;
mod nodes;
mod prepare;
mod templates;

pub use detect::Format;
pub use lifecycle::lifecycle_as_json;
pub use templates::{as_json, lifecycle_example};

/// Where and how to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElasticSettings {
    /// Nodes of one cluster; one is asked until it fails.
    pub urls: Vec<Url>,
    pub mode: Mode,
    /// The last part of the data streams' names.
    pub namespace: String,
    pub auth: Auth,
    /// Put templates there and keep them up to date.
    pub manage_templates: bool,
    /// How long documents are kept; for ever when absent.
    pub retention: Option<Duration>,
    pub tls: TlsSettings,
}

/// How documents are to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// The best the server can.
    #[default]
    Auto,
    /// Time series data streams: Elasticsearch 8.7 or later.
    Tsds,
    /// Data streams with own ids: Elasticsearch 7.9 or later, OpenSearch.
    DataStream,
    /// One index a day.
    Index,
}

/// The login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// None but what is in the address.
    None,
    Basic {
        username: String,
        password: Secret,
    },
    /// As the server shows it: encoded.
    ApiKey(Secret),
    Bearer(Secret),
}

/// Words that mean something else than their status.
const WORDS: &[Words] = &[
    Words {
        text: "unrecognized parameter",
        class: Class::Misconfigured,
        advice: "the server is older than it says, or set another mode",
    },
    Words {
        text: "request body is required",
        class: Class::Misconfigured,
        advice: "something between lagline and the server changes the body",
    },
    Words {
        text: "Not in GZIP format",
        class: Class::Misconfigured,
        advice: "something between lagline and the server changes the body",
    },
];

/// Only what is needed of a bulk answer. Each item keeps its status, so that none is left out and
/// they stay in the order of the documents.
const FILTER_PATH: &str = "errors,took,items.*.status,items.*.error.type,items.*.error.reason";

/// One cluster and namespace.
#[derive(Debug)]
pub struct ElasticSink {
    settings: ElasticSettings,
    nodes: Nodes,
    /// Made by `prepare`.
    plan: Mutex<Option<Arc<Plan>>>,
    made: Made,
}

impl ElasticSink {
    /// Makes the sink; nothing is sent yet.
    ///
    /// # Errors
    /// When the CA file or a secret is not usable, or the namespace is none.
    pub fn new(settings: ElasticSettings) -> Result<Self, CheckError> {
        if !names::is_namespace(&settings.namespace) {
            return Err(CheckError(format!(
                "{:?} cannot be a namespace: no capitals, spaces, hyphens or any of \\ / * ? \" < > | , # :",
                settings.namespace
            )));
        }
        Ok(Self {
            nodes: Nodes::new(&settings)?,
            settings,
            plan: Mutex::new(None),
            made: Made::default(),
        })
    }

    async fn write_batch(&self, batch: &Batch) -> Result<Accepted, WriteError> {
        if batch.is_empty() {
            return Ok(Accepted::default());
        }
        let plan = match self.plan() {
            Some(plan) => plan,
            None => self.make_plan().await?,
        };
        let encoded = plan.layout.encode(batch);
        let body = http::gzip(&encoded.body);
        let bytes = body.len() as u64;
        let mut query = vec![("filter_path", FILTER_PATH)];
        if plan.require_data_stream {
            query.push(("require_data_stream", "true"));
        }
        let ask = Ask {
            method: Method::Post,
            path: &format!("{}/_bulk", encoded.index),
            query: &query,
            body: Body::Bulk(body),
        };
        let (answer, peer) = self.nodes.ask(ask).await?;
        match judge(peer, &answer) {
            Verdict::Accepted => items::outcome(&answer, batch.len(), bytes, peer),
            Verdict::Failed(error) => Err(error),
            Verdict::Refused => {
                let said = peer.words(&message(&answer));
                let reason = format!("{peer} answered {}: {said}", answer.status);
                Err(if batch.len() > 1 {
                    WriteError::Bisect { reason }
                } else {
                    WriteError::Rejected { reason }
                })
            }
        }
    }

    fn plan(&self) -> Option<Arc<Plan>> {
        let plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        plan.clone()
    }

    async fn make_plan(&self) -> Result<Arc<Plan>, WriteError> {
        let plan = Arc::new(prepare::prepare(&self.nodes, &self.settings, &self.made).await?);
        let mut kept = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some(Arc::clone(&plan));
        Ok(plan)
    }
}

impl Sink for ElasticSink {
    fn write<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Accepted, WriteError>> {
        Box::pin(self.write_batch(batch))
    }

    fn prepare(&self) -> BoxFuture<'_, Result<(), WriteError>> {
        Box::pin(async { self.make_plan().await.map(|_| ()) })
    }

    fn take_made(&self) -> Vec<String> {
        self.made.take()
    }

    fn check(&self) -> BoxFuture<'_, Result<CheckReport, CheckError>> {
        Box::pin(check::check(&self.nodes, &self.settings))
    }
}

/// The server's own words: of a JSON answer its reason, otherwise the text.
fn message(answer: &Answer) -> String {
    #[derive(Deserialize)]
    struct Failure {
        error: Json,
    }
    let Ok(failure) = serde_json::from_str::<Failure>(&answer.body) else {
        return answer.body.chars().take(4096).collect();
    };
    let text = |key: &str| failure.error.get(key).and_then(Json::as_str);
    match (text("type"), text("reason")) {
        (Some(kind), Some(reason)) => format!("{kind}: {reason}"),
        (Some(only), None) | (None, Some(only)) => only.to_owned(),
        (None, None) => failure.error.as_str().unwrap_or_default().to_owned(),
    }
}

fn judge(peer: &Peer, answer: &Answer) -> Verdict {
    http::judge(peer, answer, &message(answer), WORDS)
}

#[cfg(test)]
mod tests;
