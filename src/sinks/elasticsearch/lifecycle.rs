//! How old documents are removed: by what each server has for it.
//!
//! Elasticsearch 8.14 and later: the lifecycle of data streams. Before that, and for daily indexes:
//! index lifecycle management (ILM). OpenSearch: index state management (ISM). Only when the
//! operator says how long documents are kept; a policy of the same name that is not lagline's is
//! left alone. ILM and ISM hold for the indexes made from then on.

use std::time::Duration;

use elasticsearch::http::Method;
use serde_json::{Map, Value as Json, json};

use super::detect::{Format, Server};
use super::names::{self, PREFIX};
use super::nodes::{Ask, Body, Nodes};
use super::prepare::{accepted, ask, misconfigured};
use super::templates::{self, Template};
use crate::points::Measurement;
use crate::sinks::{Made, WriteError};

/// An index is written to for so long at most; what it holds is removed as a whole.
const ROLLOVER: &str = "7d";
const ROLLOVER_AGE: Duration = Duration::from_secs(7 * 86_400);
/// Or until one of its primary shards has this size.
const ROLLOVER_SIZE: &str = "50gb";
/// A daily index is written to for a day.
const DAY: Duration = Duration::from_secs(86_400);

/// What a server has for removing what is old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The lifecycle of data streams.
    DataStream,
    Ilm,
    Ism,
}

impl Way {
    const ALL: [Way; 3] = [Way::DataStream, Way::Ilm, Way::Ism];

    /// Its word in the templates' `_meta`.
    const fn as_str(self) -> &'static str {
        match self {
            Way::DataStream => "data_stream_lifecycle",
            Way::Ilm => "ilm",
            Way::Ism => "ism",
        }
    }
}

/// How long the documents of one namespace are kept, and by what.
#[derive(Clone, Debug)]
pub(super) struct Lifecycle {
    way: Way,
    format: Format,
    namespace: String,
    retention: Duration,
}

impl Lifecycle {
    /// The lifecycle of a namespace on this server.
    ///
    /// # Errors
    /// In words, when the server did not say what it has.
    pub(super) fn new(
        server: &Server,
        format: Format,
        namespace: &str,
        retention: Duration,
    ) -> Result<Self, String> {
        let way = server.lifecycle(format).ok_or_else(|| {
            let name = server.name();
            format!(
                "{name} has no lifecycle for mode {}: leave out retention",
                format.as_str()
            )
        })?;
        Ok(Self {
            way,
            format,
            namespace: namespace.to_owned(),
            retention,
        })
    }

    /// What an index template with this lifecycle says about itself, besides the rest.
    pub(super) fn word(&self) -> &'static str {
        self.way.as_str()
    }

    /// What its policy and its component template are called.
    pub(super) fn name(&self) -> String {
        format!("{PREFIX}lifecycle-{}", self.namespace)
    }

    /// The component template that the index templates are composed of, too; ISM finds indexes by
    /// their names.
    fn component(&self) -> Option<Template> {
        let template = match self.way {
            Way::DataStream => json!({ "lifecycle": { "data_retention": hours(self.retention) } }),
            Way::Ilm => json!({ "settings": { "index.lifecycle.name": self.name() } }),
            Way::Ism => return None,
        };
        let mut template = templates::component(self.name(), self.format, template);
        template.body["_meta"]["retention"] = json!(hours(self.retention));
        Some(template)
    }

    /// Path and body of the policy; none for data streams, whose lifecycle is in the template.
    fn policy(&self) -> Option<(String, Json)> {
        let name = self.name();
        match self.way {
            Way::DataStream => None,
            Way::Ilm => Some((format!("_ilm/policy/{name}"), self.ilm())),
            Way::Ism => Some((format!("_plugins/_ism/policies/{name}"), self.ism())),
        }
    }

    fn ilm(&self) -> Json {
        let (hot, keep) = match self.format {
            Format::Index => (json!({}), self.retention.saturating_add(DAY)),
            // The age of an index that was rolled over is counted from then.
            Format::Tsds | Format::DataStream => {
                let rollover = json!({
                    "max_age": ROLLOVER,
                    "max_primary_shard_size": ROLLOVER_SIZE,
                });
                (json!({ "rollover": rollover }), self.retention)
            }
        };
        json!({ "policy": {
            "_meta": { "managed_by": "lagline", "description": self.description() },
            "phases": {
                "hot": { "actions": hot },
                "delete": { "min_age": hours(keep), "actions": { "delete": {} } },
            },
        }})
    }

    fn ism(&self) -> Json {
        let (hot, written) = match self.format {
            Format::Index => (json!([]), DAY),
            Format::Tsds | Format::DataStream => {
                let rollover = json!({
                    "min_index_age": ROLLOVER,
                    "min_primary_shard_size": ROLLOVER_SIZE,
                });
                (json!([{ "rollover": rollover }]), ROLLOVER_AGE)
            }
        };
        // The age of an index is counted from its first document.
        let keep = hours(self.retention.saturating_add(written));
        let patterns = Measurement::ALL.map(|measurement| match self.format {
            Format::Index => format!("{}*", names::daily(measurement, &self.namespace)),
            Format::Tsds | Format::DataStream => names::stream(measurement, &self.namespace),
        });
        json!({ "policy": {
            "description": self.description(),
            "default_state": "hot",
            "states": [
                {
                    "name": "hot",
                    "actions": hot,
                    "transitions": [{
                        "state_name": "delete",
                        "conditions": { "min_index_age": keep },
                    }],
                },
                { "name": "delete", "actions": [{ "delete": {} }], "transitions": [] },
            ],
            "ism_template": [{ "index_patterns": patterns, "priority": templates::PRIORITY }],
        }})
    }

    /// What the policies say about themselves: by it they are known again.
    fn description(&self) -> String {
        format!("managed by lagline: kept for {}", hours(self.retention))
    }

    /// Puts the policy and the component template there; the name of the component template.
    pub(super) async fn put(
        &self,
        nodes: &Nodes,
        there: Option<&Json>,
        made: &Made,
    ) -> Result<Option<String>, WriteError> {
        if let Some((path, body)) = self.policy() {
            self.put_policy(nodes, &path, body, made).await?;
        }
        let Some(component) = self.component() else {
            return Ok(None);
        };
        let name = component.name.clone();
        if templates::is_outdated(there, &component.body["_meta"]) {
            let path = format!("_component_template/{name}");
            let answer = ask(nodes, Method::Put, &path, Body::Json(component.body)).await?;
            accepted(nodes, &answer)?;
            made.push(format!("lifecycle {name:?}"));
            self.renew_streams(nodes).await?;
        }
        Ok(Some(name))
    }

    async fn put_policy(
        &self,
        nodes: &Nodes,
        path: &str,
        body: Json,
        made: &Made,
    ) -> Result<(), WriteError> {
        let answer = ask(nodes, Method::Get, path, Body::None).await?;
        if matches!(answer.status, 400 | 405) {
            let words = "the server has no lifecycle management: leave out retention";
            return Err(misconfigured(nodes, words));
        }
        let mut query = Vec::new();
        if answer.status != 404 {
            let there = accepted(nodes, &answer)?.to_string();
            let is_ours = there.contains("managed by lagline: kept for ");
            if !is_ours || there.contains(&format!("{}\"", self.description())) {
                return Ok(());
            }
            // ISM changes what the caller has seen only; ILM has no such numbers.
            let seen: Json = serde_json::from_str(&there).unwrap_or_default();
            for (name, key) in [
                ("if_seq_no", "_seq_no"),
                ("if_primary_term", "_primary_term"),
            ] {
                if let Some(number) = seen[key].as_u64() {
                    query.push((name, number.to_string()));
                }
            }
        }
        let query: Vec<_> = query.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let put = Ask {
            method: Method::Put,
            path,
            query: &query,
            body: Body::Json(body),
        };
        accepted(nodes, &nodes.ask(put).await?.0)?;
        made.push(format!("lifecycle policy {:?}", self.name()));
        Ok(())
    }

    /// Data streams that exist keep the lifecycle they were made with until they are told.
    async fn renew_streams(&self, nodes: &Nodes) -> Result<(), WriteError> {
        if self.way != Way::DataStream {
            return Ok(());
        }
        for measurement in Measurement::ALL {
            let stream = names::stream(measurement, &self.namespace);
            let path = format!("_data_stream/{stream}");
            if ask(nodes, Method::Get, &path, Body::None).await?.status == 404 {
                continue;
            }
            let body = json!({ "data_retention": hours(self.retention) });
            let path = format!("{path}/_lifecycle");
            let answer = ask(nodes, Method::Put, &path, Body::Json(body)).await?;
            accepted(nodes, &answer)?;
        }
        Ok(())
    }
}

/// A duration as every server reads it.
fn hours(duration: Duration) -> String {
    format!("{}h", duration.as_secs() / 3_600)
}

/// What is put for a retention of 90 days, by what the server has: the text of
/// `schemas/elasticsearch/lifecycle.json`.
pub fn lifecycle_as_json() -> String {
    let mut all = Map::new();
    for way in Way::ALL {
        let lifecycle = Lifecycle {
            way,
            format: Format::DataStream,
            namespace: "default".to_owned(),
            retention: 90 * DAY,
        };
        let mut requests = Map::new();
        if let Some((path, body)) = lifecycle.policy() {
            requests.insert(format!("PUT {path}"), body);
        }
        if let Some(component) = lifecycle.component() {
            let path = format!("PUT _component_template/{}", component.name);
            requests.insert(path, component.body);
        }
        all.insert(way.as_str().to_owned(), Json::Object(requests));
    }
    format!("{:#}\n", Json::Object(all))
}

#[cfg(test)]
mod tests;
