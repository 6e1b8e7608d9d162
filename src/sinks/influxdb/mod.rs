//! InfluxDB 1, 2 and 3, and what speaks their protocols (VictoriaMetrics).
//!
//! A write is one `POST` of line protocol through the shared HTTP client: the `influxdb2` crate
//! drops `Retry-After`, cannot compress a body and hides partial errors, so it is only asked for a
//! server's health and to make buckets and tasks. The three versions differ in the address, the login and in how they say which
//! points they did not take (`answers.rs`).
//!
//! The same point again overwrites itself: sending twice is harmless. Databases and buckets are made
//! only when the operator asks for it (`bootstrap.rs`).

use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use url::Url;

use super::http::{self, Answer, Class, Peer, TlsSettings, Verdict, Words};
use super::{Accepted, BoxFuture, CheckError, CheckReport, Made, Sink, WriteError};
use crate::config::secret::Secret;
use crate::points::{Batch, Measurement};
use answers::Api;

mod answers;
mod bootstrap;
mod downsampling;
mod health;
pub mod line_protocol;
mod telegraf;

pub use bootstrap::Bootstrap;

/// Where and how to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InfluxSettings {
    /// The server's address; a path in it is kept (a proxy in front).
    pub url: Url,
    pub target: Target,
    pub gzip: bool,
    pub tls: TlsSettings,
    /// Also write the owner and the client id of each partition.
    pub owner_fields: bool,
    pub profile: Profile,
    /// Make what is missing on the server; nothing is made without it.
    pub bootstrap: Option<Bootstrap>,
}

/// How points are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Profile {
    /// As the catalogue has them.
    #[default]
    Lagline,
    /// As Telegraf's `inputs.burrow` names them, and only what it has.
    TelegrafBurrow,
}

/// What to write into, by the version of the write interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    V1 {
        database: String,
        /// The database's default one when absent.
        retention_policy: Option<String>,
        login: Option<Login>,
    },
    V2 {
        org: String,
        bucket: String,
        /// VictoriaMetrics needs none.
        token: Option<Secret>,
    },
    V3 {
        database: String,
        token: Option<Secret>,
    },
}

/// A user of InfluxDB 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub username: String,
    pub password: Secret,
}

impl Target {
    fn api(&self) -> Api {
        match self {
            Target::V1 { .. } => Api::V1,
            Target::V2 { .. } => Api::V2,
            Target::V3 { .. } => Api::V3,
        }
    }

    /// Path and query of a write.
    fn write_address(&self) -> (&'static str, Vec<(&'static str, &str)>) {
        match self {
            Target::V1 {
                database,
                retention_policy,
                ..
            } => {
                let mut query = vec![("db", database.as_str()), ("precision", "s")];
                if let Some(policy) = retention_policy {
                    query.push(("rp", policy));
                }
                ("write", query)
            }
            Target::V2 { org, bucket, .. } => (
                "api/v2/write",
                vec![("org", org), ("bucket", bucket), ("precision", "s")],
            ),
            Target::V3 { database, .. } => (
                "api/v3/write_lp",
                vec![
                    ("db", database),
                    ("precision", "second"),
                    ("accept_partial", "true"),
                ],
            ),
        }
    }

    /// The configured name, for people.
    fn shown(&self) -> String {
        match self {
            Target::V1 { database, .. } | Target::V3 { database, .. } => {
                format!("database {database:?}")
            }
            Target::V2 { bucket, .. } => format!("bucket {bucket:?}"),
        }
    }
}

/// Words that mean something else than their status.
const WORDS: &[Words] = &[
    Words {
        text: "retention policy not found",
        class: Class::Misconfigured,
        advice: "create the retention policy, or correct its name",
    },
    Words {
        text: "max-series-per-database limit exceeded",
        class: Class::Misconfigured,
        advice: "raise max-series-per-database, or choose a coarser detail",
    },
    Words {
        text: "max-values-per-tag limit exceeded",
        class: Class::Misconfigured,
        advice: "raise max-values-per-tag, or choose a coarser detail",
    },
    Words {
        text: "gzip: invalid",
        class: Class::Misconfigured,
        advice: "something between lagline and the server changes the body: try gzip = false",
    },
    Words {
        text: "unexpected EOF",
        class: Class::Misconfigured,
        advice: "something between lagline and the server changes the body: try gzip = false",
    },
];

/// One InfluxDB database or bucket.
pub struct InfluxSink {
    settings: InfluxSettings,
    client: reqwest::Client,
    peer: Peer,
    /// The server's address without a login, ending in a slash.
    base: Url,
    write_url: Url,
    authorization: Option<Authorization>,
    made: Made,
}

enum Authorization {
    Basic(Login),
    Header(HeaderValue),
}

impl std::fmt::Debug for InfluxSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InfluxSink")
            .field("peer", &self.peer)
            .field("target", &self.settings.target)
            .finish_non_exhaustive()
    }
}

impl InfluxSink {
    /// Makes the sink; nothing is sent yet.
    ///
    /// # Errors
    /// When the CA file is not usable, or a token cannot be sent as a header.
    pub fn new(settings: InfluxSettings) -> Result<Self, CheckError> {
        let (mut base, login) = http::without_login(&settings.url);
        base.set_query(None);
        base.set_fragment(None);
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let authorization = authorization(&settings.target, login)?;
        let secrets = secrets(&settings.target, authorization.as_ref());
        let (path, query) = settings.target.write_address();
        let mut write_url = base
            .join(path)
            .map_err(|error| CheckError(format!("cannot write to {base}: {error}")))?;
        write_url.query_pairs_mut().extend_pairs(query);
        Ok(Self {
            client: http::client(&settings.tls)?,
            peer: Peer::new("influxdb", &settings.url, secrets),
            base,
            write_url,
            authorization,
            settings,
            made: Made::default(),
        })
    }

    async fn write_batch(&self, batch: &Batch) -> Result<Accepted, WriteError> {
        let encoded = match self.settings.profile {
            Profile::Lagline => line_protocol::encode(batch, self.settings.owner_fields),
            Profile::TelegrafBurrow => telegraf::encode(batch),
        };
        if encoded.body().is_empty() {
            return Ok(Accepted::default());
        }
        let body = if self.settings.gzip {
            http::gzip(encoded.body())
        } else {
            encoded.body().to_vec()
        };
        let bytes = body.len() as u64;
        let answer = self.post(body, self.settings.gzip).await?;
        let api = self.settings.target.api();
        match self.judge(&answer) {
            Verdict::Accepted => Ok(Accepted { bytes, known: 0 }),
            Verdict::Failed(error) => Err(error),
            Verdict::Refused => Err(answers::refused(api, &answer, &encoded, batch, &self.peer)),
        }
    }

    async fn post(&self, body: Vec<u8>, is_compressed: bool) -> Result<Answer, WriteError> {
        let mut request = self
            .authorized(self.client.post(self.write_url.clone()))
            .header(CONTENT_TYPE, "text/plain; charset=utf-8");
        if is_compressed {
            request = request.header(CONTENT_ENCODING, "gzip");
        }
        match request.body(body).send().await {
            Ok(response) => Ok(Answer::read(response).await.0),
            Err(error) => Err(self.peer.unreachable(&error)),
        }
    }

    fn authorized(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.authorization {
            None => request,
            Some(Authorization::Basic(login)) => {
                request.basic_auth(&login.username, Some(login.password.reveal()))
            }
            Some(Authorization::Header(value)) => request.header(AUTHORIZATION, value.clone()),
        }
    }

    fn judge(&self, answer: &Answer) -> Verdict {
        let message = answers::message(answer);
        http::judge(&self.peer, answer, answers::own_words(&message), WORDS)
    }
}

impl Sink for InfluxSink {
    fn write<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Accepted, WriteError>> {
        Box::pin(self.write_batch(batch))
    }

    fn prepare(&self) -> BoxFuture<'_, Result<(), WriteError>> {
        Box::pin(async {
            match &self.settings.bootstrap {
                Some(wanted) => bootstrap::make(self, wanted, &self.made).await,
                None => Ok(()),
            }
        })
    }

    fn take_made(&self) -> Vec<String> {
        self.made.take()
    }

    fn takes(&self, measurement: Measurement) -> bool {
        match self.settings.profile {
            Profile::Lagline => true,
            Profile::TelegrafBurrow => telegraf::takes(measurement),
        }
    }

    fn check(&self) -> BoxFuture<'_, Result<CheckReport, CheckError>> {
        Box::pin(health::check(self))
    }
}

fn authorization(
    target: &Target,
    in_url: Option<(String, Secret)>,
) -> Result<Option<Authorization>, CheckError> {
    let header = |scheme: &str, token: &Secret| {
        let mut value = HeaderValue::from_str(&format!("{scheme} {}", token.reveal().trim()))
            .map_err(|_| {
                CheckError("the token has characters that cannot be sent: check its file".into())
            })?;
        value.set_sensitive(true);
        Ok(Some(Authorization::Header(value)))
    };
    match target {
        Target::V1 {
            login: Some(login), ..
        } => Ok(Some(Authorization::Basic(login.clone()))),
        Target::V2 {
            token: Some(token), ..
        } => header("Token", token),
        Target::V3 {
            token: Some(token), ..
        } => header("Bearer", token),
        Target::V1 { .. } | Target::V2 { .. } | Target::V3 { .. } => {
            Ok(in_url
                .map(|(username, password)| Authorization::Basic(Login { username, password })))
        }
    }
}

/// What must not appear in a reason.
fn secrets(target: &Target, authorization: Option<&Authorization>) -> Vec<Secret> {
    let mut secrets = Vec::new();
    match target {
        Target::V1 { .. } => {}
        Target::V2 { token, .. } | Target::V3 { token, .. } => {
            secrets.extend(token.iter().map(|token| Secret::new(token.reveal().trim())))
        }
    }
    if let Some(Authorization::Basic(login)) = authorization {
        secrets.push(login.password.clone());
    }
    secrets
}

#[cfg(test)]
mod tests;
