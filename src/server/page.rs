//! The page at `/`: three files that `web/` is built into, embedded in the program.
//!
//! They are the same for everybody and hold no secret, so they are answered without a token; what the
//! page shows it asks the API for, with the token that its reader gives it. The page loads nothing
//! from anywhere else, and its policy would not let it.

use std::io::Write;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use axum::routing::get;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::State;

/// What a browser lets the page do: run its own script and style, ask its own server. The icon is a
/// `data:` address.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the page.
struct Asset {
    path: &'static str,
    kind: &'static str,
    plain: &'static [u8],
}

const ASSETS: [Asset; 3] = [
    Asset {
        path: "/",
        kind: "text/html; charset=utf-8",
        plain: include_bytes!("../../web/dist/index.html"),
    },
    Asset {
        path: "/main.js",
        kind: "text/javascript; charset=utf-8",
        plain: include_bytes!("../../web/dist/main.js"),
    },
    Asset {
        path: "/style.css",
        kind: "text/css; charset=utf-8",
        plain: include_bytes!("../../web/dist/style.css"),
    },
];

/// A file as it is sent, with a tag for each of its forms.
struct Form {
    bytes: Bytes,
    tag: HeaderValue,
}

struct Packed {
    plain: Form,
    gzip: Form,
}

static PACKED: LazyLock<[Packed; 3]> = LazyLock::new(|| {
    ASSETS.map(|asset| {
        let sum = crc32fast::hash(asset.plain);
        let form = |bytes: Bytes, suffix: &str| {
            let tag = format!("\"{:x}-{sum:08x}{suffix}\"", asset.plain.len());
            let tag = HeaderValue::try_from(tag);
            Form {
                bytes,
                // Digits and letters: always a header's value.
                tag: tag.unwrap_or_else(|_| HeaderValue::from_static("\"\"")),
            }
        };
        Packed {
            plain: form(Bytes::from_static(asset.plain), ""),
            gzip: form(gzip(asset.plain), "-gzip"),
        }
    })
});

/// Writing to memory does not fail; if it did, the bytes would not be gzip and nobody would take them.
fn gzip(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let written = encoder.write_all(plain).and_then(|()| encoder.finish());
    written.map_or_else(|_| Bytes::from_static(b""), Bytes::from)
}

/// The paths of the page.
pub(super) fn routes() -> Router<Arc<State>> {
    let router = Router::new();
    (0..ASSETS.len()).fold(router, |router, place| {
        let answer = move |headers: HeaderMap| async move { answer(place, &headers) };
        router.route(ASSETS[place].path, get(answer))
    })
}

/// Whether the path is a file of the page.
pub(super) fn has(path: &str) -> bool {
    ASSETS.iter().any(|asset| asset.path == path)
}

fn answer(place: usize, asked: &HeaderMap) -> Response<Body> {
    let packed = &PACKED[place];
    let is_gzip = lists(asked, header::ACCEPT_ENCODING, "gzip");
    let form = if is_gzip { &packed.gzip } else { &packed.plain };
    let is_known = form.tag.to_str().is_ok_and(|tag| {
        lists(asked, header::IF_NONE_MATCH, tag) || lists(asked, header::IF_NONE_MATCH, "*")
    });
    let mut answer = if is_known {
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        answer
    } else {
        Response::new(Body::from(form.bytes.clone()))
    };
    let headers = answer.headers_mut();
    headers.insert(header::ETAG, form.tag.clone());
    for (name, value) in [
        // Asked again each time, so that a new lagline shows its own page.
        (header::CACHE_CONTROL, "no-cache"),
        (header::VARY, "accept-encoding"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !is_known {
        let kind = HeaderValue::from_static(ASSETS[place].kind);
        headers.insert(header::CONTENT_TYPE, kind);
        if is_gzip {
            let gzip = HeaderValue::from_static("gzip");
            headers.insert(header::CONTENT_ENCODING, gzip);
        }
    }
    answer
}

/// Whether a header that is a list has this item, and does not refuse it (`;q=0`). A weak tag is as
/// good as a strong one.
fn lists(headers: &HeaderMap, name: HeaderName, wanted: &str) -> bool {
    let values = headers.get_all(name).into_iter();
    let mut items = values.filter_map(|value| value.to_str().ok());
    items.any(|list| {
        list.split(',').any(|item| {
            let (item, weight) = item.split_once(';').unwrap_or((item, ""));
            let weight = weight.trim().strip_prefix("q=").unwrap_or("1");
            let item = item.trim().trim_start_matches("W/");
            item.eq_ignore_ascii_case(wanted) && weight.parse::<f32>().is_ok_and(|it| it > 0.0)
        })
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn ask(path: &str, headers: &[(HeaderName, &str)]) -> Response<Body> {
        let place = ASSETS.iter().position(|it| it.path == path).unwrap();
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()));
        answer(place, &headers.collect())
    }

    async fn body(answer: Response<Body>) -> Bytes {
        axum::body::to_bytes(answer.into_body(), usize::MAX)
            .await
            .unwrap()
    }

    fn header_of(answer: &Response<Body>, name: HeaderName) -> String {
        let value = answer.headers().get(&name);
        value.map_or("", |value| value.to_str().unwrap()).to_owned()
    }

    #[tokio::test]
    async fn every_file_comes_plain_or_compressed() {
        for asset in &ASSETS {
            let plain = ask(asset.path, &[(header::ACCEPT_ENCODING, "br, gzip;q=0")]);
            assert_eq!(header_of(&plain, header::CONTENT_ENCODING), "");
            assert_eq!(header_of(&plain, header::CONTENT_TYPE), asset.kind);
            assert_eq!(body(plain).await, asset.plain);
            let packed = ask(asset.path, &[(header::ACCEPT_ENCODING, "br, gzip")]);
            assert_eq!(header_of(&packed, header::CONTENT_ENCODING), "gzip");
            let packed = body(packed).await;
            let mut text = Vec::new();
            flate2::read::GzDecoder::new(&packed[..])
                .read_to_end(&mut text)
                .unwrap();
            assert_eq!(text, asset.plain);
        }
    }

    #[test]
    fn what_a_browser_has_is_not_sent_again() {
        for encoding in ["identity", "gzip"] {
            let encoding = (header::ACCEPT_ENCODING, encoding);
            let tag = header_of(&ask("/", std::slice::from_ref(&encoding)), header::ETAG);
            let again = |known: &str| {
                let known = (header::IF_NONE_MATCH, known);
                ask("/", &[encoding.clone(), known]).status()
            };
            assert_eq!(again(&tag), StatusCode::NOT_MODIFIED);
            assert_eq!(again(&format!("\"x\", W/{tag}")), StatusCode::NOT_MODIFIED);
            assert_eq!(again("\"x\""), StatusCode::OK);
        }
        let script = header_of(&ask("/main.js", &[]), header::ETAG);
        let other = ask("/", &[(header::IF_NONE_MATCH, &script)]);
        assert_eq!(other.status(), StatusCode::OK, "another file's tag");
    }

    #[test]
    fn the_page_names_nothing_outside_of_itself() {
        let html = std::str::from_utf8(ASSETS[0].plain).unwrap();
        for asset in &ASSETS[1..] {
            assert!(html.contains(&format!("\"{}\"", asset.path.trim_start_matches('/'))));
        }
        for part in ["http:", "https:", "//", "<style", " style=", "onclick"] {
            assert!(!html.contains(part), "{part} in index.html");
        }
        assert!(POLICY.starts_with("default-src 'none'"));
        assert!(!POLICY.contains("unsafe"));
    }
}
