//! Which of Burrow's paths is asked for.
//!
//! Names are taken from single path segments, so that an encoded slash stays inside a name. A group
//! whose slashes were not encoded is found, too: nothing else can be meant by such a path.

use percent_encoding::percent_decode_str;

/// One of Burrow's paths with its names, decoded once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Admin,
    Ready,
    Clusters,
    Cluster {
        cluster: String,
    },
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
    Consumer {
        cluster: String,
        group: String,
    },
    ConsumerStatus {
        cluster: String,
        group: String,
        all: bool,
    },
    /// Only to be deleted.
    ConsumerTopic {
        cluster: String,
        group: String,
        topic: String,
    },
    Config,
    Modules {
        kind: Kind,
    },
    Module {
        kind: Kind,
        name: String,
    },
    LogLevel,
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
        [
            Kind::Storage,
            Kind::Evaluator,
            Kind::Cluster,
            Kind::Consumer,
            Kind::Notifier,
        ]
        .into_iter()
        .find(|kind| kind.word() == word)
    }
}

/// Decodes one segment; bytes that are not UTF-8 become U+FFFD.
pub(super) fn decode(segment: &str) -> String {
    percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

/// The route of a raw (still encoded) path; `None` when Burrow has no such path.
pub(super) fn route(raw: &str) -> Option<Route> {
    let segments: Vec<&str> = raw.strip_prefix('/')?.split('/').collect();
    let name = |at: usize| segments.get(at).map(|s| decode(s)).unwrap_or_default();
    Some(match segments.as_slice() {
        ["burrow", "admin"] => Route::Admin,
        ["burrow", "admin", "ready"] => Route::Ready,
        ["v3", "kafka"] => Route::Clusters,
        ["v3", "admin", "loglevel"] => Route::LogLevel,
        ["v3", "config"] => Route::Config,
        ["v3", "config", kind] => Route::Modules {
            kind: Kind::read(kind)?,
        },
        ["v3", "config", kind, _] => Route::Module {
            kind: Kind::read(kind)?,
            name: name(3),
        },
        ["v3", "kafka", cluster, rest @ ..] if !cluster.is_empty() => {
            return kafka(decode(cluster), rest);
        }
        _ => return None,
    })
}

fn kafka(cluster: String, rest: &[&str]) -> Option<Route> {
    Some(match rest {
        [] => Route::Cluster { cluster },
        ["topic"] => Route::Topics { cluster },
        ["topic", topic] if !topic.is_empty() => Route::Topic {
            cluster,
            topic: decode(topic),
        },
        ["topic", topic, "consumers"] if !topic.is_empty() => Route::TopicConsumers {
            cluster,
            topic: decode(topic),
        },
        ["consumer"] => Route::Consumers { cluster },
        ["consumer", group @ .., "status"] if !is_blank(group) => Route::ConsumerStatus {
            cluster,
            group: decode(&group.join("/")),
            all: false,
        },
        ["consumer", group @ .., "lag"] if !is_blank(group) => Route::ConsumerStatus {
            cluster,
            group: decode(&group.join("/")),
            all: true,
        },
        ["consumer", group @ .., "topic", topic] if !is_blank(group) && !topic.is_empty() => {
            let group = decode(&group.join("/"));
            Route::ConsumerTopic {
                cluster,
                group,
                topic: decode(topic),
            }
        }
        ["consumer", group @ ..] if !is_blank(group) => Route::Consumer {
            cluster,
            group: decode(&group.join("/")),
        },
        _ => return None,
    })
}

fn is_blank(segments: &[&str]) -> bool {
    segments.iter().all(|segment| segment.is_empty())
        || segments.last().is_none_or(|s| s.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_burrows_paths() {
        let c = || "c".to_owned();
        let consumer = |group: &str| {
            Some(Route::Consumer {
                cluster: c(),
                group: group.into(),
            })
        };
        let lag = |group: &str| {
            Some(Route::ConsumerStatus {
                cluster: c(),
                group: group.into(),
                all: true,
            })
        };
        for (path, expected, why) in [
            ("/burrow/admin", Some(Route::Admin), "health check"),
            ("/v3/kafka", Some(Route::Clusters), "list"),
            (
                "/v3/kafka/c",
                Some(Route::Cluster { cluster: c() }),
                "detail",
            ),
            (
                "/v3/kafka/",
                None,
                "a trailing slash is redirected, not answered",
            ),
            ("/v3/kafka/c/consumer/g", consumer("g"), "plain"),
            (
                "/v3/kafka/c/consumer/a%2Fb",
                consumer("a/b"),
                "an encoded slash stays in the name",
            ),
            (
                "/v3/kafka/c/consumer/a/b",
                consumer("a/b"),
                "a slash that was not encoded",
            ),
            (
                "/v3/kafka/c/consumer/a%2525b",
                consumer("a%25b"),
                "decoded once",
            ),
            (
                "/v3/kafka/c/consumer/lag",
                consumer("lag"),
                "a group named lag",
            ),
            ("/v3/kafka/c/consumer/lag/lag", lag("lag"), "its lag"),
            (
                "/v3/kafka/c/consumer/a/b/lag",
                lag("a/b"),
                "lag of a name with a slash",
            ),
            ("/v3/kafka/c/consumer/", None, "no name"),
            ("/v3/kafka/c/consumer/g/", None, "a trailing slash"),
            (
                "/v3/config/storage",
                Some(Route::Modules {
                    kind: Kind::Storage,
                }),
                "modules",
            ),
            ("/v3/config/nothing", None, "no such kind"),
            ("/v2/kafka", None, "another version"),
            ("/", None, "nothing"),
        ] {
            assert_eq!(route(path), expected, "{path}: {why}");
        }
    }
}
