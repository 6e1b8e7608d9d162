//! Who may read and who may change something.

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
        .is_some_and(|(_, from)| from == host);
    !is_own && state.settings.cors_origin.as_deref() != Some(origin)
}
