//! The nodes of a cluster, and asking one of them.
//!
//! One transport of the official client per address: its own pool never notices that a node is
//! dead. Requests stay with one node until it fails; then the next one is asked first. Which node
//! takes a document makes no difference, so there is nothing to gain from spreading them.

use std::error::Error as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use elasticsearch::auth::Credentials;
use elasticsearch::cert::{Certificate, CertificateValidation};
use elasticsearch::http::Method;
use elasticsearch::http::headers::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use elasticsearch::http::transport::{SingleNodeConnectionPool, Transport, TransportBuilder};
use serde_json::Value as Json;

use super::{Auth, ElasticSettings};
use crate::config::secret::Secret;
use crate::sinks::http::{self, Answer, Class, Peer, TlsSettings, no_certificate};
use crate::sinks::{CheckError, WriteError};

/// The longest answer that is taken for one: a bulk answer has some 300 bytes for each document
/// at worst.
const MAX_ANSWER_BYTES: u64 = 32 * 1024 * 1024;

/// All nodes of one cluster.
#[derive(Debug)]
pub(super) struct Nodes {
    nodes: Vec<Node>,
    /// Index of the node to ask.
    current: AtomicUsize,
}

#[derive(Debug)]
struct Node {
    transport: Transport,
    peer: Peer,
}

/// A request.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) body: Body,
}

#[derive(Debug)]
pub(super) enum Body {
    None,
    Json(Json),
    /// Lines of JSON, compressed.
    Bulk(Vec<u8>),
}

impl Nodes {
    pub(super) fn new(settings: &ElasticSettings) -> Result<Self, CheckError> {
        if settings.urls.is_empty() {
            return Err(CheckError(
                "elasticsearch needs at least one url".to_owned(),
            ));
        }
        let nodes = settings.urls.iter().map(|url| {
            let (mut url, login) = http::without_login(url);
            url.set_query(None);
            let (credentials, secrets) = credentials(&settings.auth, login)?;
            let peer = Peer::new("elasticsearch", &url, secrets);
            let transport = transport(url, credentials, &settings.tls)?;
            Ok(Node { transport, peer })
        });
        Ok(Self {
            nodes: nodes.collect::<Result<_, CheckError>>()?,
            current: AtomicUsize::new(0),
        })
    }

    /// Asks the current node once. The answer comes with who gave it.
    pub(super) async fn ask(&self, ask: Ask<'_>) -> Result<(Answer, &Peer), WriteError> {
        let current = self.current.load(Ordering::Relaxed);
        let node = &self.nodes[current % self.nodes.len()];
        let result = node.ask(ask).await;
        let is_down = match &result {
            Ok(answer) => http::class_of(answer.status) == Class::Transient,
            Err(_) => true,
        };
        if is_down {
            // Only one of several requests that saw the node fail moves on.
            let next = current.wrapping_add(1);
            self.current
                .compare_exchange(current, next, Ordering::Relaxed, Ordering::Relaxed)
                .ok();
        }
        Ok((result?, &node.peer))
    }

    /// Who is asked next.
    pub(super) fn peer(&self) -> &Peer {
        &self.nodes[self.current.load(Ordering::Relaxed) % self.nodes.len()].peer
    }
}

impl Node {
    async fn ask(&self, ask: Ask<'_>) -> Result<Answer, WriteError> {
        let mut headers = HeaderMap::new();
        let json = HeaderValue::from_static("application/json");
        let body = match ask.body {
            Body::None => None,
            Body::Json(body) => {
                headers.insert(CONTENT_TYPE, json);
                Some(body.to_string().into_bytes())
            }
            Body::Bulk(lines) => {
                let ndjson = HeaderValue::from_static("application/x-ndjson");
                headers.insert(CONTENT_TYPE, ndjson);
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                Some(lines)
            }
        };
        let sent = self
            .transport
            .send(ask.method, ask.path, headers, Some(ask.query), body, None)
            .await;
        let response = sent.map_err(|error| self.unreachable(&error))?;
        let status = response.status_code().as_u16();
        let headers = response.headers().clone();
        if response
            .content_length()
            .is_some_and(|len| len > MAX_ANSWER_BYTES)
        {
            return Err(WriteError::Misconfigured {
                reason: format!(
                    "{} answers more than any of its kind: check the url",
                    self.peer
                ),
            });
        }
        match response.bytes().await {
            Ok(body) => Ok(Answer::of(status, &headers, &body)),
            // Without the rest of a success it is not known what was written.
            Err(error) if status < 300 => Err(self.unreachable(&error)),
            Err(_) => Ok(Answer::of(status, &headers, &[])),
        }
    }

    fn unreachable(&self, error: &elasticsearch::Error) -> WriteError {
        match error.source() {
            Some(cause) => self.peer.unreachable(cause),
            None => self.peer.unreachable(error),
        }
    }
}

fn transport(
    url: url::Url,
    credentials: Option<Credentials>,
    tls: &TlsSettings,
) -> Result<Transport, CheckError> {
    let mut builder = TransportBuilder::new(SingleNodeConnectionPool::new(url));
    if let Some(credentials) = credentials {
        builder = builder.auth(credentials);
    }
    if !tls.verify {
        builder = builder.cert_validation(CertificateValidation::None);
    } else if let Some(pem) = tls.ca_pem()? {
        let ca = Certificate::from_pem(&pem).map_err(|_| no_certificate(tls))?;
        builder = builder.cert_validation(CertificateValidation::Full(ca));
    }
    builder
        .build()
        .map_err(|_| CheckError("cannot set up HTTP for elasticsearch".to_owned()))
}

/// The client's credentials and the texts that no reason may hold. Checked here, because the
/// client panics on a key that is no header.
fn credentials(
    auth: &Auth,
    in_url: Option<(String, Secret)>,
) -> Result<(Option<Credentials>, Vec<Secret>), CheckError> {
    let sendable = |secret: &Secret| {
        let text = secret.reveal().trim().to_owned();
        match HeaderValue::from_str(&text) {
            Ok(_) => Ok(text),
            Err(_) => Err(CheckError(
                "the API key or token has characters that cannot be sent: check its file".into(),
            )),
        }
    };
    let (credentials, secret) = match auth {
        Auth::None => match in_url {
            None => return Ok((None, Vec::new())),
            Some((username, password)) => {
                let text = password.reveal().to_owned();
                (Credentials::Basic(username, text), password)
            }
        },
        Auth::Basic { username, password } => (
            Credentials::Basic(username.clone(), password.reveal().to_owned()),
            password.clone(),
        ),
        Auth::ApiKey(key) => {
            let text = sendable(key)?;
            (Credentials::EncodedApiKey(text.clone()), Secret::new(text))
        }
        Auth::Bearer(token) => {
            let text = sendable(token)?;
            (Credentials::Bearer(text.clone()), Secret::new(text))
        }
    };
    Ok((Some(credentials), vec![secret]))
}
