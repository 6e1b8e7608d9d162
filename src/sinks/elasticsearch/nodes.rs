//! The nodes of a cluster, and asking one of them.
//!
//! Requests stay with one node until it fails; then the next one is asked first. Which node takes a
//! document makes no difference, so there is nothing to gain from spreading them.
//!
//! The words are the official client's, the way is the one all sinks take: the official transport
//! reads every answer to its end, however long it is, and never notices that a node is dead.

use std::sync::atomic::{AtomicUsize, Ordering};

use elasticsearch::auth::Credentials;
use elasticsearch::http::Method;
use elasticsearch::http::headers::{
    ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue,
};
use reqwest::RequestBuilder;
use serde_json::Value as Json;
use url::Url;

use super::{Auth, ElasticSettings};
use crate::config::secret::Secret;
use crate::sinks::http::{self, Answer, Class, Peer, Read};
use crate::sinks::{CheckError, WriteError};

/// The longest answer that is taken for one: a bulk answer has some 300 bytes for each document
/// at worst.
pub(super) const MAX_ANSWER_BYTES: usize = 32 * 1024 * 1024;

/// All nodes of one cluster.
#[derive(Debug)]
pub(super) struct Nodes {
    nodes: Vec<Node>,
    /// Index of the node to ask.
    current: AtomicUsize,
}

#[derive(Debug)]
struct Node {
    client: reqwest::Client,
    url: Url,
    credentials: Option<Credentials>,
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
            Ok(Node {
                client: http::client(&settings.tls)?,
                url: folder(url),
                credentials,
                peer,
            })
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
        let path = ask.path.trim_start_matches('/');
        let url = self.url.join(path).map_err(|error| {
            let reason = format!("{}: {path:?} is no path: {error}", self.peer);
            WriteError::Misconfigured { reason }
        })?;
        let json = HeaderValue::from_static("application/json");
        let request = self.client.request(method(ask.method), url);
        let request = self
            .logged_in(request)
            .query(ask.query)
            .header(ACCEPT, &json);
        let request = match ask.body {
            Body::None => request,
            Body::Json(body) => request.header(CONTENT_TYPE, json).body(body.to_string()),
            Body::Bulk(lines) => {
                let ndjson = HeaderValue::from_static("application/x-ndjson");
                let gzip = HeaderValue::from_static("gzip");
                let request = request.header(CONTENT_TYPE, ndjson);
                request.header(CONTENT_ENCODING, gzip).body(lines)
            }
        };
        let sent = request.send().await;
        let response = sent.map_err(|error| self.peer.unreachable(&error))?;
        match Answer::read_up_to(response, MAX_ANSWER_BYTES).await {
            Read::Whole(answer) => Ok(answer),
            Read::TooLong(_) => Err(WriteError::Misconfigured {
                reason: format!(
                    "{} answers more than any of its kind: check the url",
                    self.peer
                ),
            }),
            // Without the rest of a success it is not known what was written.
            Read::Broken(answer, error) if answer.status < 300 => {
                Err(self.peer.unreachable(&error))
            }
            Read::Broken(answer, _) => Ok(Answer {
                body: String::new(),
                ..answer
            }),
        }
    }

    fn logged_in(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.credentials {
            Some(Credentials::Basic(username, password)) => {
                request.basic_auth(username, Some(password))
            }
            Some(Credentials::Bearer(token)) => request.bearer_auth(token),
            Some(Credentials::EncodedApiKey(key)) => {
                request.header(AUTHORIZATION, format!("ApiKey {key}"))
            }
            Some(_) | None => request,
        }
    }
}

/// The address as one that paths can be joined to.
fn folder(mut url: Url) -> Url {
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    url
}

fn method(method: Method) -> reqwest::Method {
    match method {
        Method::Get => reqwest::Method::GET,
        Method::Put => reqwest::Method::PUT,
        Method::Post => reqwest::Method::POST,
        Method::Delete => reqwest::Method::DELETE,
        Method::Head => reqwest::Method::HEAD,
    }
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
