//! What must be right before the first document: templates put there, and seen to apply.
//!
//! Everything looks at the state of the server, not at what was done before: run again after a
//! crash at any point, by two laglines at once, or with nothing to do, it ends in the same state.

use std::collections::HashMap;

use elasticsearch::http::Method;
use serde_json::{Value as Json, json};

use super::bulk::Layout;
use super::detect::{Format, Server};
use super::lifecycle::Lifecycle;
use super::names::{self, PREFIX};
use super::nodes::{Ask, Body, Nodes};
use super::templates::{self, Template, VERSION, is_outdated};
use super::{ElasticSettings, judge};
use crate::points::Measurement;
use crate::sinks::http::{Answer, Verdict};
use crate::sinks::{Made, WriteError};

/// How to write to this server.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) layout: Layout,
    /// Bulk requests insist on data streams: should the template vanish, no plain index appears.
    pub(super) require_data_stream: bool,
}

/// Finds out what the server is, puts the templates there and verifies that they apply.
pub(super) async fn prepare(
    nodes: &Nodes,
    settings: &ElasticSettings,
    made: &Made,
) -> Result<Plan, WriteError> {
    let server = server(nodes).await?;
    let format = server
        .format(settings.mode)
        .map_err(|words| misconfigured(nodes, &words))?;
    if settings.manage_templates {
        put_templates(nodes, settings, &server, format, made).await?;
    }
    let may_roll_over = settings.manage_templates.then_some(made);
    for measurement in Measurement::ALL {
        let place = Place::new(nodes, settings, format, measurement);
        place.verify(may_roll_over).await?;
    }
    Ok(Plan {
        layout: Layout::new(format, &settings.namespace),
        require_data_stream: format != Format::Index && server.has_require_data_stream(),
    })
}

/// Asks the server what it is. A login that may not know is no reason to stop: the mode can be set.
pub(super) async fn server(nodes: &Nodes) -> Result<Server, WriteError> {
    let answer = ask(nodes, Method::Get, "", Body::None).await?;
    if answer.status == 403 {
        return Ok(Server::unknown());
    }
    let root = accepted(nodes, &answer)?;
    Ok(Server::of(&root))
}

/// The `_meta` of every template of lagline's of one kind, by name.
pub(super) async fn metas(nodes: &Nodes, kind: &str) -> Result<HashMap<String, Json>, WriteError> {
    let path = format!("_{kind}/{PREFIX}*");
    let answer = ask(nodes, Method::Get, &path, Body::None).await?;
    if answer.status == 404 {
        return Ok(HashMap::new());
    }
    let list = accepted(nodes, &answer)?;
    let list = list.get(format!("{kind}s")).and_then(Json::as_array);
    let meta = |template: &Json| {
        let name = template.get("name")?.as_str()?.to_owned();
        Some((
            name,
            template
                .get(kind)?
                .get("_meta")
                .cloned()
                .unwrap_or_default(),
        ))
    };
    Ok(list.into_iter().flatten().filter_map(meta).collect())
}

/// What removes old documents, when the operator said how long they are kept.
pub(super) fn lifecycle(
    settings: &ElasticSettings,
    server: &Server,
    format: Format,
) -> Result<Option<Lifecycle>, String> {
    let make = |retention| Lifecycle::new(server, format, &settings.namespace, retention);
    settings.retention.map(make).transpose()
}

async fn put_templates(
    nodes: &Nodes,
    settings: &ElasticSettings,
    server: &Server,
    format: Format,
    made: &Made,
) -> Result<(), WriteError> {
    let there = metas(nodes, "component_template").await?;
    let wanted = templates::meta(format);
    for template in templates::components(format) {
        if is_outdated(there.get(&template.name), &wanted) {
            put(nodes, "_component_template", template, made).await?;
        }
    }
    let mut optional = Vec::new();
    for template in templates::optional_components(format) {
        let name = template.name.clone();
        if is_outdated(there.get(&name), &wanted) {
            let path = format!("_component_template/{name}");
            let answer = ask(nodes, Method::Put, &path, Body::Json(template.body)).await?;
            if answer.status == 400 {
                // A server without this feature: it does without.
                continue;
            }
            accepted(nodes, &answer)?;
            made.push(format!("component template {name:?}"));
        }
        optional.push(name);
    }
    let lifecycle = lifecycle(settings, server, format);
    let lifecycle = lifecycle.map_err(|words| misconfigured(nodes, &words))?;
    if let Some(lifecycle) = &lifecycle {
        let there = there.get(&lifecycle.name());
        optional.extend(lifecycle.put(nodes, there, made).await?);
    }
    let word = lifecycle.as_ref().map(Lifecycle::word);
    let there = metas(nodes, "index_template").await?;
    let wanted = templates::index_meta(format, word);
    for measurement in Measurement::ALL {
        let name = templates::index_template_name(measurement, &settings.namespace);
        if is_outdated(there.get(&name), &wanted) {
            let template = templates::index_template(
                measurement,
                format,
                &settings.namespace,
                &optional,
                word,
                server.has_ignore_missing(),
            );
            put(nodes, "_index_template", template, made).await?;
        }
    }
    Ok(())
}

/// Where the documents of one measurement go.
pub(super) struct Place<'a> {
    nodes: &'a Nodes,
    format: Format,
    /// The data stream, or a daily index that never exists.
    name: String,
    /// The path of the first tag, without which documents are of no use.
    identity: &'static str,
    is_managed: bool,
}

impl<'a> Place<'a> {
    pub(super) fn new(
        nodes: &'a Nodes,
        settings: &ElasticSettings,
        format: Format,
        measurement: Measurement,
    ) -> Self {
        let namespace = &settings.namespace;
        Self {
            nodes,
            format,
            name: match format {
                Format::Tsds | Format::DataStream => names::stream(measurement, namespace),
                Format::Index => format!("{}1970.01.01", names::daily(measurement, namespace)),
            },
            identity: names::tag_path(measurement.info().tags[0].name),
            is_managed: settings.manage_templates,
        }
    }

    /// Verifies that documents will be mapped as they should: in the index that a stream writes to,
    /// or in the one that the first document will make. A stream whose newest index is of an older
    /// template is rolled over, when that is allowed, and noted.
    pub(super) async fn verify(&self, may_roll_over: Option<&Made>) -> Result<(), WriteError> {
        if self.format == Format::Index {
            return match self.next_index().await? {
                Some(next) => self.fits(&next),
                None => Err(self.error(
                    "lagline may not ask which template applies: allow it manage_index_templates",
                )),
            };
        }
        let Some(newest) = self.newest_index().await? else {
            return self.can_be_created().await;
        };
        let Err(reason) = self.fits(&newest) else {
            return Ok(());
        };
        let Some(made) = may_roll_over else {
            return Err(reason);
        };
        let path = format!("{}/_rollover", self.name);
        let answer = ask(self.nodes, Method::Post, &path, Body::None).await?;
        accepted(self.nodes, &answer)?;
        made.push(format!(
            "a new index of {:?}, for the new template",
            self.name
        ));
        match self.newest_index().await? {
            Some(newest) => self.fits(&newest),
            None => Err(self.error("the data stream vanished while it was prepared: try again")),
        }
    }

    /// What a new index would be made of. None when the login may not ask, as may be when somebody
    /// else takes care of the templates. Never asked about a stream that exists: OpenSearch answers
    /// 500 to that, because the names collide.
    async fn next_index(&self) -> Result<Option<Json>, WriteError> {
        let path = format!("_index_template/_simulate_index/{}", self.name);
        let answer = ask(self.nodes, Method::Post, &path, Body::None).await?;
        if answer.status == 403 && !self.is_managed {
            return Ok(None);
        }
        let simulated = accepted(self.nodes, &answer)?;
        Ok(Some(simulated.get("template").cloned().unwrap_or_default()))
    }

    /// Mappings and settings of the index that the stream writes to; none without the stream.
    async fn newest_index(&self) -> Result<Option<Json>, WriteError> {
        let path = format!("_data_stream/{}", self.name);
        let answer = ask(self.nodes, Method::Get, &path, Body::None).await?;
        if answer.status == 404 {
            return Ok(None);
        }
        let streams = accepted(self.nodes, &answer)?;
        // The last one is the one that is written to.
        let newest = streams["data_streams"][0]["indices"]
            .as_array()
            .and_then(|indices| indices.last()?.get("index_name")?.as_str());
        let Some(newest) = newest else {
            return Ok(None);
        };
        let answer = ask(self.nodes, Method::Get, newest, Body::None).await?;
        let index = accepted(self.nodes, &answer)?;
        Ok(Some(index.get(newest).cloned().unwrap_or_default()))
    }

    /// The stream is not there yet: the first document creates it, if nothing stands in the way.
    async fn can_be_created(&self) -> Result<(), WriteError> {
        let answer = ask(self.nodes, Method::Get, &self.name, Body::None).await?;
        if answer.status != 404 {
            accepted(self.nodes, &answer)?;
            return Err(
                self.error("there is an index of this name: delete it, or set another namespace")
            );
        }
        let next = self.next_index().await?;
        if let Some(next) = &next {
            self.fits(next)?;
            // Elasticsearch says whether it will be a stream, OpenSearch does not; lagline's own
            // templates always make one.
            if self.is_managed || !next["mappings"]["_data_stream_timestamp"].is_null() {
                return Ok(());
            }
        }
        Err(self.error("the data stream does not exist: create it, or set manage_templates = true"))
    }

    /// Whether an index with these mappings and settings takes the documents as it should.
    fn fits(&self, index: &Json) -> Result<(), WriteError> {
        let mappings = &index["mappings"];
        let mode = &index["settings"]["index"]["mode"];
        if self.format == Format::Tsds && mode != "time_series" {
            return Err(self.error("the index is no time series: another template is in the way"));
        }
        if self.is_managed {
            let meta = &mappings["_meta"];
            let version = meta["version"].as_u64().unwrap_or(0);
            if meta["managed_by"] != "lagline" {
                return Err(self.error(
                    "a template that is not lagline's applies: give it a priority below 350, or set manage_templates = false",
                ));
            }
            if version < VERSION || meta["mode"] != self.format.as_str() {
                return Err(self.error(
                    "a template of another version or mode of lagline applies: set the mode it has, or another namespace",
                ));
            }
            return Ok(());
        }
        if mapped_type(mappings, self.identity) != Some("keyword") {
            return Err(self.error(&format!(
                "no template maps {} as a keyword: apply schemas/elasticsearch/{}.json, or set manage_templates = true",
                self.identity,
                self.format.as_str()
            )));
        }
        Ok(())
    }

    fn error(&self, words: &str) -> WriteError {
        misconfigured(self.nodes, &format!("{}: {words}", self.name))
    }
}

/// The type of the field at a path of mappings.
fn mapped_type<'m>(mappings: &'m Json, path: &str) -> Option<&'m str> {
    let mut at = mappings;
    for name in path.split('.') {
        at = at.get("properties")?.get(name)?;
    }
    at.get("type")?.as_str()
}

async fn put(nodes: &Nodes, kind: &str, template: Template, made: &Made) -> Result<(), WriteError> {
    let Template { name, body } = template;
    let path = format!("{kind}/{name}");
    let answer = ask(nodes, Method::Put, &path, Body::Json(body)).await?;
    accepted(nodes, &answer)?;
    let what = kind.trim_start_matches('_').replace('_', " ");
    made.push(format!("{what} {name:?}"));
    Ok(())
}

pub(super) async fn ask(
    nodes: &Nodes,
    method: Method,
    path: &str,
    body: Body,
) -> Result<Answer, WriteError> {
    let ask = Ask {
        method,
        path,
        query: &[],
        body,
    };
    Ok(nodes.ask(ask).await?.0)
}

/// The JSON of a success; anything else is a failure, and a refused request is lagline's fault or
/// the configuration's, never a point's.
pub(super) fn accepted(nodes: &Nodes, answer: &Answer) -> Result<Json, WriteError> {
    match judge(nodes.peer(), answer) {
        Verdict::Accepted => Ok(serde_json::from_str(&answer.body).unwrap_or(json!(null))),
        Verdict::Failed(WriteError::TooLarge { reason }) => {
            Err(WriteError::Misconfigured { reason })
        }
        Verdict::Failed(error) => Err(error),
        Verdict::Refused => Err(misconfigured(nodes, &super::message(answer))),
    }
}

pub(super) fn misconfigured(nodes: &Nodes, words: &str) -> WriteError {
    let peer = nodes.peer();
    WriteError::Misconfigured {
        reason: format!("{peer}: {}", peer.words(words)),
    }
}
