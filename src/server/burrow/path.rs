//! Which of Burrow's paths is asked for.
//!
//! Burrow routes with httprouter 1.3 and its defaults; what that answers to paths that are nearly
//! right was seen on a real Burrow. Names are taken from single path segments, so that an encoded
//! slash stays inside a name (Burrow decodes first and then finds no such path).

use axum::http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What Go escapes in a path, and the slash: here it is inside a name.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b',')
    .remove(b':')
    .remove(b';')
    .remove(b'=')
    .remove(b'@');

/// One of Burrow's paths with its names, decoded once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// Only to be read.
    Read(Read),
    /// To be read and deleted.
    Consumer { cluster: String, group: String },
    /// Only to be deleted.
    ConsumerTopic {
        cluster: String,
        group: String,
        topic: String,
    },
    /// To be read and set.
    LogLevel,
}

/// What can only be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Read {
    Admin,
    Ready,
    Metrics,
    Clusters,
    Topics {
        cluster: String,
    },
    Topic {
        cluster: String,
        topic: String,
    },
    TopicConsumers {
        cluster: String,
        topic: String,
    },
    Consumers {
        cluster: String,
    },
    ConsumerStatus {
        cluster: String,
        group: String,
        all: bool,
    },
    Config,
    Modules {
        kind: Kind,
    },
    /// A cluster's is at two paths.
    Module {
        kind: Kind,
        name: String,
    },
}

impl Route {
    /// The methods that Burrow has for the path, sorted.
    pub(super) const fn methods(&self) -> &'static [Method] {
        match self {
            Route::Read(_) => &[Method::GET],
            Route::Consumer { .. } => &[Method::DELETE, Method::GET],
            Route::ConsumerTopic { .. } => &[Method::DELETE],
            Route::LogLevel => &[Method::GET, Method::POST],
        }
    }
}

/// Burrow's kinds of modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Storage,
    Evaluator,
    Cluster,
    Consumer,
    Notifier,
}

impl Kind {
    const ALL: [Kind; 5] = [
        Kind::Storage,
        Kind::Evaluator,
        Kind::Cluster,
        Kind::Consumer,
        Kind::Notifier,
    ];

    pub(super) const fn word(self) -> &'static str {
        match self {
            Kind::Storage => "storage",
            Kind::Evaluator => "evaluator",
            Kind::Cluster => "cluster",
            Kind::Consumer => "consumer",
            Kind::Notifier => "notifier",
        }
    }

    fn read(word: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// Decodes one segment; bytes that are not UTF-8 become U+FFFD.
pub(super) fn decode(segment: &str) -> String {
    percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

/// Whether a `%` is followed by something else than two hexadecimal digits.
pub(super) fn has_bad_escape(raw: &str) -> bool {
    raw.split('%').skip(1).any(|after| {
        let mut digits = after.bytes().take(2).filter(u8::is_ascii_hexdigit);
        digits.by_ref().count() < 2
    })
}

/// The route of a raw (still encoded) path; `None` when Burrow has no such path.
pub(super) fn route(raw: &str) -> Option<Route> {
    let segments = segments(raw)?;
    find(&refs(&segments))
}

fn segments(raw: &str) -> Option<Vec<String>> {
    Some(raw.strip_prefix('/')?.split('/').map(decode).collect())
}

fn refs(segments: &[String]) -> Vec<&str> {
    segments.iter().map(String::as_str).collect()
}

/// A name may be empty, except at the end.
fn find(segments: &[&str]) -> Option<Route> {
    let read = match *segments {
        ["burrow", "admin"] => Read::Admin,
        ["burrow", "admin", "ready"] => Read::Ready,
        ["metrics"] => Read::Metrics,
        ["v3", "admin", "loglevel"] => return Some(Route::LogLevel),
        ["v3", "config"] => Read::Config,
        ["v3", "config", kind] => Read::Modules {
            kind: Kind::read(kind)?,
        },
        ["v3", "config", kind, name] if !name.is_empty() => Read::Module {
            kind: Kind::read(kind)?,
            name: name.to_owned(),
        },
        ["v3", "kafka"] => Read::Clusters,
        ["v3", "kafka", cluster] if !cluster.is_empty() => Read::Module {
            kind: Kind::Cluster,
            name: cluster.to_owned(),
        },
        ["v3", "kafka", cluster, "topic", ref rest @ ..] => topic(cluster.to_owned(), rest)?,
        ["v3", "kafka", cluster, "consumer"] => Read::Consumers {
            cluster: cluster.to_owned(),
        },
        ["v3", "kafka", cluster, "consumer", group, ref rest @ ..] => {
            return consumer(cluster, group, rest);
        }
        _ => return None,
    };
    Some(Route::Read(read))
}

fn topic(cluster: String, rest: &[&str]) -> Option<Read> {
    Some(match *rest {
        [] => Read::Topics { cluster },
        [topic] if !topic.is_empty() => Read::Topic {
            cluster,
            topic: topic.to_owned(),
        },
        [topic, "consumers"] => Read::TopicConsumers {
            cluster,
            topic: topic.to_owned(),
        },
        _ => return None,
    })
}

fn consumer(cluster: &str, group: &str, rest: &[&str]) -> Option<Route> {
    let (cluster, group) = (cluster.to_owned(), group.to_owned());
    Some(match *rest {
        [] if !group.is_empty() => Route::Consumer { cluster, group },
        [word @ ("status" | "lag")] => Route::Read(Read::ConsumerStatus {
            cluster,
            group,
            all: word == "lag",
        }),
        ["topic", topic] if !topic.is_empty() => Route::ConsumerTopic {
            cluster,
            group,
            topic: topic.to_owned(),
        },
        _ => return None,
    })
}

/// The route, the cluster and the group of a path in which a group's slashes were not encoded.
/// Burrow has no such path, so it counts only for a group that exists.
pub(super) fn with_slashes(raw: &str) -> Option<(Route, String, String)> {
    let segments = segments(raw)?;
    let segments = refs(&segments);
    let ["v3", "kafka", cluster, "consumer", rest @ ..] = segments.as_slice() else {
        return None;
    };
    let (group, rest) = match rest {
        [group @ .., "status" | "lag"] | [group @ .., "topic", _] => (group, &rest[group.len()..]),
        group => (group, &[] as &[&str]),
    };
    let group = group.join("/");
    let route = consumer(cluster, &group, rest)?;
    Some((route, (*cluster).to_owned(), group))
}

/// Where Burrow sends a path that it does not have, when it has one that differs in a slash at the
/// end, doubled slashes, dots, or the case of its fixed words.
pub(super) fn redirect(raw: &str, method: &Method) -> Option<String> {
    let as_it_is = segments(raw)?;
    let is_slashed = as_it_is.last().is_some_and(String::is_empty);
    let mut clean: Vec<String> = Vec::new();
    for segment in &as_it_is {
        match segment.as_str() {
            "" | "." => {}
            ".." => drop(clean.pop()),
            _ => clean.push(segment.clone()),
        }
    }
    let is_kafka = clean
        .get(1)
        .is_some_and(|s| s.eq_ignore_ascii_case("kafka"));
    let fixed: &[usize] = if is_kafka { &[0, 1, 3, 5] } else { &[0, 1, 2] };
    for &at in fixed {
        if let Some(word) = clean.get_mut(at) {
            word.make_ascii_lowercase();
        }
    }
    let mut shorter = as_it_is;
    if is_slashed {
        shorter.pop();
    }
    [shorter, clean].into_iter().find_map(|segments| {
        let mut names = refs(&segments);
        if let Some(last) = names.last_mut().filter(|last| last.is_empty()) {
            // Before a slash a name may be empty.
            *last = "-";
        }
        let route = find(&names)?;
        // The two names below which its tree of paths branches: here it finds no way back.
        let is_branch = match &route {
            Route::Consumer { .. } => *method == Method::GET,
            Route::Read(Read::Module { kind, .. }) => *kind == Kind::Cluster && segments.len() == 3,
            Route::Read(_) | Route::ConsumerTopic { .. } | Route::LogLevel => false,
        };
        let is_found = route.methods().contains(method) && !(is_slashed && is_branch);
        is_found.then(|| {
            let escaped = segments.iter().map(|segment| {
                let escaped = utf8_percent_encode(segment, ESCAPED);
                format!("/{escaped}")
            });
            escaped.collect()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(route: Option<Route>) -> String {
        match route {
            None => "-".to_owned(),
            Some(Route::Consumer { group, .. }) => format!("consumer {group}"),
            Some(Route::Read(Read::ConsumerStatus { group, all, .. })) => {
                format!("{} {group}", if all { "lag" } else { "status" })
            }
            Some(Route::ConsumerTopic { group, topic, .. }) => format!("{topic} of {group}"),
            Some(Route::Read(read)) => format!("{read:?}"),
            Some(Route::LogLevel) => "log level".to_owned(),
        }
    }

    #[test]
    fn finds_burrows_paths() {
        for (path, expected, why) in [
            ("/burrow/admin", "Admin", "health check"),
            ("/v3/kafka", "Clusters", "list"),
            ("/v3/kafka/", "-", "redirected, not answered"),
            ("/v3/kafka/c/consumer/g", "consumer g", "plain"),
            ("/v3/kafka/c/consumer/a%2Fb", "consumer a/b", "stays inside"),
            ("/v3/kafka/c/consumer/a/b", "-", "Burrow has no such path"),
            ("/v3/kafka/c/consumer/a%2525b", "consumer a%25b", "once"),
            (
                "/v3/kafka/c/consumer/lag",
                "consumer lag",
                "a group named lag",
            ),
            ("/v3/kafka/c/consumer/lag/lag", "lag lag", "its lag"),
            ("/v3/kafka/c/consumer//lag", "lag ", "a name may be empty"),
            ("/v3/kafka/c/consumer/", "-", "not at the end"),
            ("/v3/kafka/c/consumer/g/", "-", "a slash at the end"),
            ("/v3/kafka/c/consumer/g/topic/t", "t of g", "to be deleted"),
            ("/v3/config/storage", "Modules { kind: Storage }", "list"),
            ("/v3/config/nothing", "-", "no such kind"),
            ("/v2/kafka", "-", "another version"),
            ("/", "-", "nothing"),
        ] {
            assert_eq!(name(route(path)), expected, "{path}: {why}");
        }
    }

    #[test]
    fn finds_groups_whose_slashes_were_not_encoded() {
        for (path, expected) in [
            ("/v3/kafka/c/consumer/a/b", "consumer a/b"),
            ("/v3/kafka/c/consumer/a//b/lag", "lag a//b"),
            ("/v3/kafka/c/consumer/a/b/status", "status a/b"),
            ("/v3/kafka/c/consumer/a/b/topic/t", "t of a/b"),
            ("/v3/kafka/c/topic/a/b", "-"),
        ] {
            let found = with_slashes(path).map(|(route, _, _)| route);
            assert_eq!(name(found), expected, "{path}");
        }
    }
}
