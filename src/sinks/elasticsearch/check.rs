//! Whether writing can work, found out without changing anything.

use elasticsearch::http::Method;
use serde_json::{Value as Json, json};

use super::ElasticSettings;
use super::detect::{Format, Server};
use super::names;
use super::nodes::{Body, Nodes};
use super::prepare::{self, Place};
use super::templates;
use crate::points::Measurement;
use crate::sinks::{CheckError, CheckReport, WriteError};

pub(super) async fn check(
    nodes: &Nodes,
    settings: &ElasticSettings,
) -> Result<CheckReport, CheckError> {
    let server = prepare::server(nodes).await.map_err(failed)?;
    let format = server.format(settings.mode).map_err(CheckError)?;
    let mut lines = vec![
        format!("{} is {}", nodes.peer(), server.name()),
        format!("mode {}", format.as_str()),
    ];
    privileges(nodes, settings, format).await?;
    lines.push(if settings.manage_templates {
        managed(nodes, settings, &server, format).await?
    } else {
        for measurement in Measurement::ALL {
            let place = Place::new(nodes, settings, format, measurement);
            place.verify(None).await.map_err(failed)?;
        }
        "templates are there".to_owned()
    });
    Ok(CheckReport { lines })
}

async fn managed(
    nodes: &Nodes,
    settings: &ElasticSettings,
    server: &Server,
    format: Format,
) -> Result<String, CheckError> {
    let lifecycle = prepare::lifecycle(settings, server, format).map_err(CheckError)?;
    let wanted = templates::index_meta(format, lifecycle.map(|lifecycle| lifecycle.word()));
    let there = prepare::metas(nodes, "index_template")
        .await
        .map_err(failed)?;
    let is_outdated = |measurement: &Measurement| {
        let name = templates::index_template_name(*measurement, &settings.namespace);
        templates::is_outdated(there.get(&name), &wanted)
    };
    Ok(
        match Measurement::ALL.iter().filter(|m| is_outdated(m)).count() {
            0 => "templates are there".to_owned(),
            some => format!("{some} templates will be put there before the first write"),
        },
    )
}

/// Asks a server with security which privileges the login lacks. Others do not know the question.
async fn privileges(
    nodes: &Nodes,
    settings: &ElasticSettings,
    format: Format,
) -> Result<(), CheckError> {
    let namespace = &settings.namespace;
    let name = |measurement: &Measurement| match format {
        Format::Tsds | Format::DataStream => names::stream(*measurement, namespace),
        Format::Index => format!("{}*", names::daily(*measurement, namespace)),
    };
    let indexes: Vec<_> = Measurement::ALL.iter().map(name).collect();
    let cluster: &[&str] = if settings.manage_templates {
        &["monitor", "manage_index_templates"]
    } else {
        &[]
    };
    let body = json!({
        "cluster": cluster,
        "index": [{
            "names": indexes,
            "privileges": ["create_doc", "auto_configure", "view_index_metadata"],
        }],
    });
    let path = "_security/user/_has_privileges";
    let answer = prepare::ask(nodes, Method::Post, path, Body::Json(body))
        .await
        .map_err(failed)?;
    if matches!(answer.status, 400 | 403 | 404 | 405 | 501) {
        return Ok(());
    }
    let answer = prepare::accepted(nodes, &answer).map_err(failed)?;
    let mut missing = Vec::new();
    let mut look = |privileges: &Json, target: &str| {
        for (privilege, has) in privileges.as_object().into_iter().flatten() {
            if has == &Json::Bool(false) {
                missing.push(format!("{privilege} on {target}"));
            }
        }
    };
    look(&answer["cluster"], "the cluster");
    for (index, privileges) in answer["index"].as_object().into_iter().flatten() {
        look(privileges, index);
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(CheckError(format!(
        "{}: the login lacks {}",
        nodes.peer(),
        nodes.peer().words(&missing.join(", "))
    )))
}

fn failed(error: WriteError) -> CheckError {
    CheckError(error.to_string())
}
