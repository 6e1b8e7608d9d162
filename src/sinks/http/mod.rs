//! What the sinks that speak HTTP have in common: the client, bounded answers, and what an answer
//! means for the data.
//!
//! Statuses are classified in one table ([`class_of`]); a sink adds the words that mean something
//! else than their status says ([`Words`]) and looks itself at what was refused. Not here: retries,
//! waiting, timeouts (`delivery.rs`), and anything about one product.
//!
//! Redirects are never followed: a `POST` that is answered 301 would be repeated as a `GET`, and
//! the 200 of that would be taken for a success.

use std::error::Error;
use std::fmt;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::fmt::rfc2822;
use reqwest::header::{DATE, HeaderMap, LOCATION, RETRY_AFTER};
use url::Url;

use super::{CheckError, WriteError};
use crate::config::secret::Secret;

/// How much of an answer is read; what comes after it is never looked at.
pub const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// No server may make lagline wait longer than this.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);

/// How long connecting may take; the whole request is bounded by the delivery.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How many characters of a server's words go into a reason.
const MAX_WORDS: usize = 300;

/// Whom a sink trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// Certificates (PEM) trusted besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// Whether the server's certificate and name are verified.
    pub verify: bool,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            ca_file: None,
            verify: true,
        }
    }
}

impl TlsSettings {
    /// The PEM text of `ca_file`, when there is one.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn ca_pem(&self) -> Result<Option<Vec<u8>>, CheckError> {
        let Some(path) = &self.ca_file else {
            return Ok(None);
        };
        match std::fs::read(path) {
            Ok(pem) => Ok(Some(pem)),
            Err(error) => Err(CheckError(format!(
                "cannot read the CA file {}: {error}",
                path.display()
            ))),
        }
    }
}

/// Makes the client of one sink.
///
/// # Errors
/// When the CA file cannot be read or holds no certificate.
pub fn client(tls: &TlsSettings) -> Result<reqwest::Client, CheckError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("lagline/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .danger_accept_invalid_certs(!tls.verify)
        .danger_accept_invalid_hostnames(!tls.verify);
    if let Some(pem) = tls.ca_pem()? {
        let certificates = reqwest::Certificate::from_pem_bundle(&pem)
            .ok()
            .filter(|all| !all.is_empty())
            .ok_or_else(|| no_certificate(tls))?;
        for certificate in certificates {
            builder = builder.add_root_certificate(certificate);
        }
    }
    builder
        .build()
        .map_err(|error| CheckError(format!("cannot set up HTTP: {}", chain(&error))))
}

/// Says that the CA file is none.
pub fn no_certificate(tls: &TlsSettings) -> CheckError {
    let path = tls.ca_file.clone().unwrap_or_default();
    CheckError(format!(
        "no certificate in the CA file {}: it must be PEM text",
        path.display()
    ))
}

/// Compresses at level 1: level 6 costs five times the CPU for a third less.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::new(1));
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.expect("writing to memory does not fail")
}

/// The server a sink talks to, as it may be named in an error, and the texts that may not.
#[derive(Clone)]
pub struct Peer {
    product: &'static str,
    shown: String,
    secrets: Vec<Secret>,
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.product, self.shown)
    }
}

impl Peer {
    /// Names the server by its product and address, without the address's user info and query.
    pub fn new(product: &'static str, url: &Url, secrets: Vec<Secret>) -> Self {
        let (mut shown, _) = without_login(url);
        shown.set_query(None);
        shown.set_fragment(None);
        let shown = shown.as_str().trim_end_matches('/').to_owned();
        Self {
            product,
            shown,
            secrets,
        }
    }

    /// A server's words, fit for a reason: one line, bounded, without secrets.
    pub fn words(&self, text: &str) -> String {
        let mut text = bounded(text, MAX_WORDS * 4);
        for secret in &self.secrets {
            if !secret.reveal().is_empty() {
                text = text.replace(secret.reveal(), "[secret]");
            }
        }
        bounded(&text, MAX_WORDS)
    }

    /// What a request without an answer means.
    pub fn unreachable(&self, error: &(dyn Error + 'static)) -> WriteError {
        let words = self.words(&chain(error));
        if words.to_ascii_lowercase().contains("certificate") {
            return WriteError::Misconfigured {
                reason: format!("{self}: {words}; set tls.ca_file to the CA that signed it"),
            };
        }
        WriteError::Transient {
            reason: format!("{self} cannot be reached: {words}"),
            retry_after: None,
        }
    }
}

/// The address without its login, and the login when there is one.
pub fn without_login(url: &Url) -> (Url, Option<(String, Secret)>) {
    let decoded = |text: &str| {
        percent_encoding::percent_decode_str(text)
            .decode_utf8_lossy()
            .into_owned()
    };
    let login = (!url.username().is_empty() || url.password().is_some()).then(|| {
        let password = decoded(url.password().unwrap_or_default());
        (decoded(url.username()), Secret::new(password))
    });
    let mut clean = url.clone();
    // Both fail only for addresses that cannot have a login in the first place.
    clean.set_username("").ok();
    clean.set_password(None).ok();
    (clean, login)
}

/// What a server said, as far as it was read.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: u16,
    /// How long the server wants to be left alone.
    pub retry_after: Option<Duration>,
    /// Where it redirects to.
    pub location: Option<String>,
    pub body: String,
    /// The body went on after what was read of it.
    pub is_cut: bool,
}

impl Answer {
    /// Reads an answer up to [`MAX_ANSWER_BYTES`]. A body that breaks off counts as cut: the status
    /// has already said what happened.
    pub async fn read(mut response: reqwest::Response) -> (Self, HeaderMap) {
        let headers = std::mem::take(response.headers_mut());
        let mut bytes = Vec::new();
        let mut is_cut = false;
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(_) => {
                    is_cut = true;
                    break;
                }
            }
            if bytes.len() > MAX_ANSWER_BYTES {
                bytes.truncate(MAX_ANSWER_BYTES);
                is_cut = true;
                break;
            }
        }
        let mut answer = Self::of(response.status().as_u16(), &headers, &bytes);
        answer.is_cut = is_cut;
        (answer, headers)
    }

    /// The answer made of these parts.
    pub fn of(status: u16, headers: &HeaderMap, body: &[u8]) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            status,
            retry_after: text(RETRY_AFTER).and_then(|value| retry_after(value, text(DATE))),
            location: text(LOCATION).map(str::to_owned),
            body: String::from_utf8_lossy(body).into_owned(),
            is_cut: false,
        }
    }
}

/// The wait asked for by `Retry-After`, at most ten minutes: seconds, or a date (RFC 9110).
///
/// A date is taken against the answer's own `Date`, so that a difference between the two clocks
/// does not matter; without one it says nothing.
pub fn retry_after(value: &str, date: Option<&str>) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds = value.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER));
    }
    let until = rfc2822::parse(value).ok()?.timestamp();
    let now = rfc2822::parse(date?.trim()).ok()?.timestamp();
    let seconds = u64::try_from(until.as_second() - now.as_second()).unwrap_or(0);
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

/// What an answer means for the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// All of it is written, as far as the status says.
    Accepted,
    /// The same again, later.
    Transient,
    /// Half of it.
    TooLarge,
    /// The configuration, not the data: keep the data.
    Misconfigured,
    /// Something in the data: the sink must look closer.
    Refused,
}

/// What a status means. Unknown 5xx may pass; unknown 4xx keep the data.
pub fn class_of(status: u16) -> Class {
    match status {
        200..=299 => Class::Accepted,
        400 | 422 => Class::Refused,
        408 | 425 | 429 => Class::Transient,
        413 => Class::TooLarge,
        501 => Class::Misconfigured,
        500.. => Class::Transient,
        0..=199 | 300..=499 => Class::Misconfigured,
    }
}

/// Words of a product that mean something else than the status they come with.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// Part of the server's text.
    pub text: &'static str,
    pub class: Class,
    /// What to do about it.
    pub advice: &'static str,
}

/// An answer after its status and words have been looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accepted,
    /// Something in the data is bad; the sink finds out what.
    Refused,
    Failed(WriteError),
}

/// Judges an answer. `message` is the part of its body that is the server's own words: without
/// anything that quotes the data, which could say anything.
pub fn judge(peer: &Peer, answer: &Answer, message: &str, words: &[Words]) -> Verdict {
    let special = words
        .iter()
        .find(|words| answer.status >= 400 && message.contains(words.text));
    let class = special.map_or_else(|| class_of(answer.status), |words| words.class);
    let reason = || {
        let advice = special.map_or_else(|| advice(answer), |words| words.advice.to_owned());
        let said = peer.words(message);
        let colon = if said.is_empty() { "" } else { ": " };
        let semicolon = if advice.is_empty() { "" } else { "; " };
        format!(
            "{peer} answered {}{colon}{said}{semicolon}{advice}",
            answer.status
        )
    };
    match class {
        Class::Accepted => Verdict::Accepted,
        Class::Refused => Verdict::Refused,
        Class::Transient => Verdict::Failed(WriteError::Transient {
            reason: reason(),
            retry_after: answer.retry_after,
        }),
        Class::TooLarge => Verdict::Failed(WriteError::TooLarge { reason: reason() }),
        Class::Misconfigured => Verdict::Failed(WriteError::Misconfigured { reason: reason() }),
    }
}

/// What to do about a status that points at the configuration.
fn advice(answer: &Answer) -> String {
    let text = match answer.status {
        300..=399 => {
            let to = answer
                .location
                .as_deref()
                .and_then(|to| Url::parse(to).ok());
            return to.map_or_else(
                || "it redirects: set the address it redirects to".to_owned(),
                |to| {
                    let mut to = without_login(&to).0;
                    to.set_query(None);
                    format!("it redirects to {to}: set that address")
                },
            );
        }
        401 => "check the login or the token",
        403 => "allow this login to write there",
        404 => "check the address and the name of the target; the target must exist",
        405 | 501 => "check the address: this server does not take writes there",
        407 => "check the login of the proxy",
        _ => "",
    };
    text.to_owned()
}

/// An error with its causes in one line, without the address (the caller names it).
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        // reqwest's own texts end with the address and its query; what matters is in the causes.
        let said = error.to_string();
        let said = said.split(" for url (").next().unwrap_or_default();
        let is_wrapper = error.is::<reqwest::Error>() && error.source().is_some();
        if !is_wrapper && !text.contains(said) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(said);
        }
        next = error.source();
    }
    text
}

/// One line of at most `max` characters.
pub fn bounded(text: &str, max: usize) -> String {
    let text = text.trim();
    let mut line: String = text
        .chars()
        .take(max)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(max).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests;
