//! Who may read and who may change something.

use std::net::IpAddr;

use axum::http::{HeaderMap, StatusCode, header};
use subtle::ConstantTimeEq;

use super::State;

/// Whether this request may change state: with the token where one is configured; without one only
/// on loopback, and not on behalf of a foreign web page.
pub(super) fn may_change(
    state: &State,
    headers: &HeaderMap,
) -> Result<(), (StatusCode, &'static str)> {
    if is_foreign_page(state, headers) {
        return Err((StatusCode::FORBIDDEN, "not allowed from this origin"));
    }
    match &state.settings.token {
        Some(token) if has_token(headers, token.reveal()) => Ok(()),
        Some(_) => Err((StatusCode::UNAUTHORIZED, "a bearer token is needed")),
        None if state.settings.listen.ip().is_loopback() => Ok(()),
        None => Err((
            StatusCode::FORBIDDEN,
            "needs server.token_file in the configuration",
        )),
    }
}

/// Whether this request may read.
pub(super) fn may_read(state: &State, headers: &HeaderMap) -> bool {
    match &state.settings.token {
        Some(token) if state.settings.read_token => has_token(headers, token.reveal()),
        Some(_) | None => true,
    }
}

fn has_token(headers: &HeaderMap, token: &str) -> bool {
    let sent = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let sent = sent.and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then_some(token.trim())
    });
    sent.is_some_and(|sent| sent.as_bytes().ct_eq(token.as_bytes()).into())
}

/// A browser names the page that sends a request. Only pages served from here, or from the
/// configured origin, may change something.
///
/// Without a token a page served from here has a local address: a foreign name that was made to
/// point to this machine is the same origin to a browser.
fn is_foreign_page(state: &State, headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return false;
    };
    let Ok(origin) = origin.to_str() else {
        return true;
    };
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let is_own = origin
        .split_once("://")
        .is_some_and(|(_, from)| from == host)
        && (state.settings.token.is_some() || is_local(host));
    !is_own && state.settings.cors_origin.as_deref() != Some(origin)
}

/// Whether a `Host` header names this machine by `localhost` or an address.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}
