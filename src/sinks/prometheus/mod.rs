//! Prometheus and what takes its remote write: VictoriaMetrics, Mimir, Thanos, Cortex.
//!
//! Version 1.0 of the protocol: a snappy-compressed `WriteRequest`, one `POST` a batch. Every
//! series must be written in the order of time, so requests go one after the other.
//!
//! One sample that the server does not take back in time (older than its newest, or another value
//! for the same time) makes Prometheus drop the whole request, with 400 or 500 and without saying
//! which it was. The words come before the status, and the batch is halved until only the points
//! are refused that the server refuses. A point is the unit: all its fields are samples of one
//! time.
//!
//! Sending twice: the same newest sample again is taken and is there once, so a request never holds
//! two beats. An older one again is refused as out of order, although it is there, unless the server
//! has an out-of-order window (`storage.tsdb.out_of_order_time_window`). That happens after a kill
//! in the middle of a backlog.
//!
//! Not here: stale markers. A series that ends is shown for five minutes more, as Prometheus does
//! with everything that is not scraped.

use std::fmt;

use reqwest::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
};
use url::Url;

use super::http::{self, Answer, Class, Peer, TlsSettings, Verdict, Words};
use super::{Accepted, BoxFuture, CheckError, CheckReport, Sink, WriteError};
use crate::config::secret::Secret;
use crate::points::Batch;

pub mod encode;

/// Says which version of the protocol this is: 1.0 calls itself 0.1.0.
const VERSION: HeaderName = HeaderName::from_static("x-prometheus-remote-write-version");

/// Where and how to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrometheusSettings {
    /// The whole address, as in Prometheus' own `remote_write`: usually ends in `/api/v1/write`.
    pub url: Url,
    pub auth: Auth,
    /// Sent with every request, for instance the tenant. Their values are not shown anywhere.
    pub headers: Vec<(String, Secret)>,
    pub tls: TlsSettings,
}

/// How lagline logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    None,
    Basic { username: String, password: Secret },
    Bearer(Secret),
}

/// Words of a refused sample, and our own word for why. They come before the status. Prometheus'
/// have spaces, the error ids of Mimir and Cortex have hyphens.
const REFUSED: &[(&str, &str)] = &[
    ("too old sample", "too_old"),
    ("timestamp-too-old", "too_old"),
    ("out of bounds", "too_old"),
    ("out of order", "out_of_order"),
    ("out-of-order", "out_of_order"),
    ("duplicate sample", "duplicate"),
    ("duplicate-timestamp", "duplicate"),
    ("not unique", "duplicate"),
];

/// Words that mean something else than their status.
const WORDS: &[Words] = &[
    Words {
        text: "remote write receiver",
        class: Class::Misconfigured,
        advice: "start it with --web.enable-remote-write-receiver",
    },
    damaged("snappy"),
    damaged("proto:"),
    damaged("unmarshal"),
];

/// The body was not understood as a whole: none of its points is to blame.
const fn damaged(text: &'static str) -> Words {
    Words {
        text,
        class: Class::Misconfigured,
        advice: "check the address, and whether something on the way changes the body",
    }
}

/// One place that takes remote write.
pub struct PrometheusSink {
    client: reqwest::Client,
    peer: Peer,
    url: Url,
    headers: HeaderMap,
    /// For basic authentication.
    login: Option<(String, Secret)>,
}

impl fmt::Debug for PrometheusSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrometheusSink")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl PrometheusSink {
    /// Makes the sink; nothing is sent yet.
    ///
    /// # Errors
    /// When the CA file is not usable, or a token or header cannot be sent.
    pub fn new(settings: PrometheusSettings) -> Result<Self, CheckError> {
        let PrometheusSettings {
            url,
            auth,
            headers,
            tls,
        } = settings;
        let (mut address, login) = http::without_login(&url);
        address.set_fragment(None);
        let (login, token) = match auth {
            Auth::None => (login, None),
            Auth::Basic { username, password } => (Some((username, password)), None),
            Auth::Bearer(token) => (None, Some(Secret::new(token.reveal().trim()))),
        };
        let mut secrets: Vec<_> = headers.iter().map(|(_, value)| value.clone()).collect();
        secrets.extend(login.iter().map(|(_, password)| password.clone()));
        secrets.extend(token.clone());
        Ok(Self {
            client: http::client(&tls)?,
            peer: Peer::new("prometheus_remote_write", &url, secrets),
            url: address,
            headers: all_headers(&headers, token.as_ref())?,
            login,
        })
    }

    async fn write_batch(&self, batch: &Batch) -> Result<Accepted, WriteError> {
        let body = encode::encode(batch);
        if body.is_empty() {
            return Ok(Accepted::default());
        }
        let (answer, bytes) = self.post(&body).await?;
        match self.judge(&answer) {
            Verdict::Accepted => Ok(Accepted { bytes, known: 0 }),
            Verdict::Failed(error) => Err(error),
            Verdict::Refused => Err(WriteError::Bisect {
                reason: self.why(&answer),
            }),
        }
    }

    /// Sends a request's body; the answer and the bytes that were sent.
    async fn post(&self, body: &[u8]) -> Result<(Answer, u64), WriteError> {
        let packed = snap::raw::Encoder::new().compress_vec(body);
        let packed = packed.map_err(|_| WriteError::TooLarge {
            reason: "the request is too large for snappy".to_owned(),
        })?;
        let bytes = packed.len() as u64;
        let mut request = self
            .client
            .post(self.url.clone())
            .headers(self.headers.clone());
        if let Some((username, password)) = &self.login {
            request = request.basic_auth(username, Some(password.reveal()));
        }
        match request.body(packed).send().await {
            Ok(response) => Ok((Answer::read(response).await.0, bytes)),
            Err(error) => Err(self.peer.unreachable(&error)),
        }
    }

    fn judge(&self, answer: &Answer) -> Verdict {
        let words = own_words(&answer.body);
        if answer.status >= 400 && refusal(words).is_some() {
            return Verdict::Refused;
        }
        http::judge(&self.peer, answer, words, WORDS)
    }

    /// Why a batch was refused, with the kind of it in front.
    fn why(&self, answer: &Answer) -> String {
        let kind = refusal(own_words(&answer.body));
        let kind = kind.map_or(String::new(), |kind| format!("{kind}: "));
        let said = self.peer.words(&answer.body);
        format!("{kind}{} answered {}: {said}", self.peer, answer.status)
    }

    /// A request without series passes the address, the login and the permission.
    async fn ask(&self) -> Result<CheckReport, CheckError> {
        let failed = |error: WriteError| CheckError(error.to_string());
        let (answer, _) = self.post(&[]).await.map_err(failed)?;
        match self.judge(&answer) {
            Verdict::Accepted => Ok(CheckReport {
                lines: vec![format!("{} takes writes", self.peer)],
            }),
            Verdict::Refused => Err(CheckError(self.why(&answer))),
            Verdict::Failed(error) => Err(failed(error)),
        }
    }
}

impl Sink for PrometheusSink {
    fn write<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Accepted, WriteError>> {
        Box::pin(self.write_batch(batch))
    }

    fn check(&self) -> BoxFuture<'_, Result<CheckReport, CheckError>> {
        Box::pin(self.ask())
    }

    fn is_ordered(&self) -> bool {
        true
    }

    fn has_one_beat_a_request(&self) -> bool {
        true
    }
}

/// The words in front of the first series, whose labels could say anything.
fn own_words(body: &str) -> &str {
    body.split('{').next().unwrap_or_default()
}

/// Our word for why samples were refused; none when the words say something else.
fn refusal(words: &str) -> Option<&'static str> {
    let known = REFUSED.iter().find(|(text, _)| words.contains(text));
    known.map(|(_, kind)| *kind)
}

/// Every header of a request; the operator's own may not replace what the protocol asks for.
fn all_headers(own: &[(String, Secret)], token: Option<&Secret>) -> Result<HeaderMap, CheckError> {
    let mut headers = HeaderMap::new();
    for (name, value) in own {
        let key = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| CheckError(format!("`{name}` is no name of a header")))?;
        headers.insert(key, sensitive(value.reveal(), name)?);
    }
    if let Some(token) = token {
        let value = format!("Bearer {}", token.reveal());
        headers.insert(AUTHORIZATION, sensitive(&value, "the token")?);
    }
    for (name, value) in [
        (CONTENT_ENCODING, "snappy"),
        (CONTENT_TYPE, "application/x-protobuf"),
        (VERSION, "0.1.0"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Ok(headers)
}

fn sensitive(value: &str, what: &str) -> Result<HeaderValue, CheckError> {
    let mut value = HeaderValue::from_str(value).map_err(|_| {
        CheckError(format!(
            "{what} has characters that cannot be sent: check its value"
        ))
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests;
