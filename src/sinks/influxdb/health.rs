//! Whether a write can work, found out without writing.

use reqwest::header::HeaderMap;
use url::Url;

use super::answers::{self, Api};
use super::{InfluxSettings, InfluxSink, Target};
use crate::sinks::http::{self, Answer, Verdict, no_certificate};
use crate::sinks::{CheckError, CheckReport, WriteError};

/// The `influxdb2` client for v2's health and bootstrap, with the same trust as the writes have. None when
/// the address has a path: the crate would drop it.
pub(super) fn management(
    settings: &InfluxSettings,
    base: &Url,
) -> Result<Option<influxdb2::Client>, CheckError> {
    let Target::V2 { org, token, .. } = &settings.target else {
        return Ok(None);
    };
    if base.path() != "/" {
        return Ok(None);
    }
    let tls = &settings.tls;
    let mut builder = reqwest_for_influxdb2::Client::builder()
        .danger_accept_invalid_certs(!tls.verify)
        .danger_accept_invalid_hostnames(!tls.verify);
    if let Some(pem) = tls.ca_pem()? {
        let certificate =
            reqwest_for_influxdb2::Certificate::from_pem(&pem).map_err(|_| no_certificate(tls))?;
        builder = builder.add_root_certificate(certificate);
    }
    let token = token.as_ref().map_or("", |token| token.reveal().trim());
    influxdb2::ClientBuilder::with_builder(builder, base.as_str(), org, token)
        .build()
        .map(Some)
        .map_err(|_| CheckError("cannot set up HTTP for the health check".to_owned()))
}

/// Asks `/ping`, v2's health, and for v1 and v2 whether an empty write to the target is let in. v3
/// would create a missing database for that.
pub(super) async fn check(sink: &InfluxSink) -> Result<CheckReport, CheckError> {
    let mut lines = vec![ping(sink).await?];
    if let Some(client) = management(&sink.settings, &sink.base)? {
        lines.push(health(sink, &client).await?);
    }
    match sink.settings.target.api() {
        Api::V1 | Api::V2 => lines.push(empty_write(sink).await?),
        Api::V3 => {}
    }
    Ok(CheckReport { lines })
}

async fn ping(sink: &InfluxSink) -> Result<String, CheckError> {
    let url = sink
        .base
        .join("ping")
        .map_err(|error| CheckError(format!("cannot ask {}: {error}", sink.peer)))?;
    let response = sink.authorized(sink.client.get(url)).send().await;
    let (answer, headers) = match response {
        Ok(response) => Answer::read(response).await,
        Err(error) => return Err(failed(sink.peer.unreachable(&error))),
    };
    accepted(sink, &answer)?;
    Ok(format!("{} {}", sink.peer, version(&headers)))
}

fn version(headers: &HeaderMap) -> String {
    headers
        .get("x-influxdb-version")
        .and_then(|value| value.to_str().ok())
        .map_or_else(
            || "answers".to_owned(),
            |version| format!("is version {}", http::bounded(version, 40)),
        )
}

/// v2's health and readiness. A compatible server has neither as InfluxDB gives them: that is said,
/// not held against it, because the empty write decides.
async fn health(sink: &InfluxSink, client: &influxdb2::Client) -> Result<String, CheckError> {
    let Ok(health) = client.health().await else {
        return Ok("no health of InfluxDB 2: taken for a compatible server".to_owned());
    };
    if health.status != influxdb2::models::Status::Pass {
        let why = health.message.unwrap_or_default();
        return Err(CheckError(format!(
            "{} is not healthy: {}",
            sink.peer,
            sink.peer.words(&why)
        )));
    }
    match client.ready().await {
        Ok(true) => Ok("healthy and ready".to_owned()),
        Ok(false) | Err(_) => Err(CheckError(format!("{} is not ready yet", sink.peer))),
    }
}

/// A write of nothing passes the login, the permission and the name of the target: v1 answers 204,
/// v2 400 because there are no points. A target that bootstrap will make may be missing.
async fn empty_write(sink: &InfluxSink) -> Result<String, CheckError> {
    let answer = sink.post(Vec::new(), false).await.map_err(failed)?;
    let target = sink.settings.target.shown();
    if answer.status == 404 && sink.settings.bootstrap.is_some() {
        return Ok(format!("{target} does not exist yet: bootstrap makes it"));
    }
    accepted(sink, &answer)?;
    Ok(format!("{target} takes writes"))
}

fn accepted(sink: &InfluxSink, answer: &Answer) -> Result<(), CheckError> {
    let message = answers::message(answer);
    match http::judge(&sink.peer, answer, &message, super::WORDS) {
        Verdict::Accepted | Verdict::Refused => Ok(()),
        Verdict::Failed(error) => Err(failed(error)),
    }
}

fn failed(error: WriteError) -> CheckError {
    CheckError(error.to_string())
}
