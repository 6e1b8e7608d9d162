//! Which server this is, and what follows for how documents are kept.

use serde::Deserialize;
use serde_json::Value as Json;

use super::Mode;
use super::lifecycle::Way;

/// How documents are kept: [`Mode`] with `auto` decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Time series data streams.
    Tsds,
    DataStream,
    /// One index a day.
    Index,
}

impl Format {
    /// Its word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Format::Tsds => "tsds",
            Format::DataStream => "data_stream",
            Format::Index => "index",
        }
    }

    /// All of them.
    pub const ALL: [Format; 3] = [Format::Tsds, Format::DataStream, Format::Index];
}

/// A server as it describes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    product: Product,
    /// Major and minor version; zeros when it does not say.
    version: (u32, u32),
    number: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Product {
    Elasticsearch,
    /// Elastic's cloud without versions.
    Serverless,
    OpenSearch,
    /// It does not say.
    Unknown,
}

impl Server {
    /// A server that may not be asked.
    pub(super) fn unknown() -> Self {
        Self {
            product: Product::Unknown,
            version: (0, 0),
            number: String::new(),
        }
    }

    /// Reads the answer to `GET /`.
    pub(super) fn of(root: &Json) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Version {
            number: String,
            distribution: String,
            build_flavor: String,
        }
        let version = root.get("version").cloned().unwrap_or_default();
        let version: Version = serde_json::from_value(version).unwrap_or_default();
        let product = if version.distribution == "opensearch" {
            Product::OpenSearch
        } else if version.build_flavor == "serverless" {
            Product::Serverless
        } else if version.number.is_empty() {
            Product::Unknown
        } else {
            Product::Elasticsearch
        };
        let mut parts = version
            .number
            .split('.')
            .map(|part| part.parse().unwrap_or(0));
        Self {
            product,
            version: (parts.next().unwrap_or(0), parts.next().unwrap_or(0)),
            number: version.number,
        }
    }

    /// How documents are kept on this server.
    ///
    /// # Errors
    /// In words, when the server cannot do what was asked for.
    pub(super) fn format(&self, wanted: Mode) -> Result<Format, String> {
        match wanted {
            Mode::Auto if self.product == Product::Unknown => Err(format!(
                "{} did not say which version it is: set mode to tsds, data_stream or index",
                self.name()
            )),
            Mode::Auto if self.has_time_series() => Ok(Format::Tsds),
            Mode::Auto if self.has_data_streams() => Ok(Format::DataStream),
            Mode::Auto | Mode::Index => Ok(Format::Index),
            Mode::Tsds if self.has_time_series() => Ok(Format::Tsds),
            Mode::Tsds => Err(format!(
                "{} has no time series data streams (Elasticsearch 8.7 or later has): set mode = \
                 \"auto\"",
                self.name()
            )),
            Mode::DataStream if self.has_data_streams() => Ok(Format::DataStream),
            Mode::DataStream => Err(format!(
                "{} has no data streams: set mode = \"index\"",
                self.name()
            )),
        }
    }

    fn is_elasticsearch_since(&self, version: (u32, u32)) -> bool {
        match self.product {
            Product::Serverless => true,
            Product::Elasticsearch => self.version >= version,
            Product::OpenSearch | Product::Unknown => false,
        }
    }

    fn has_time_series(&self) -> bool {
        self.product == Product::Unknown || self.is_elasticsearch_since((8, 7))
    }

    fn has_data_streams(&self) -> bool {
        let is_open = matches!(self.product, Product::OpenSearch | Product::Unknown);
        is_open || self.is_elasticsearch_since((7, 9))
    }

    /// Whether a bulk request may insist on data streams.
    pub(super) fn has_require_data_stream(&self) -> bool {
        self.is_elasticsearch_since((8, 14))
    }

    /// Whether an index template may name component templates that do not exist (yet).
    pub(super) fn has_ignore_missing(&self) -> bool {
        self.is_elasticsearch_since((8, 7))
    }

    /// What removes old documents; none when the server did not say what it is.
    pub(super) fn lifecycle(&self, format: Format) -> Option<Way> {
        match self.product {
            Product::OpenSearch => Some(Way::Ism),
            Product::Unknown => None,
            Product::Serverless | Product::Elasticsearch => {
                if format != Format::Index && self.is_elasticsearch_since((8, 14)) {
                    Some(Way::DataStream)
                } else {
                    (self.product == Product::Elasticsearch).then_some(Way::Ilm)
                }
            }
        }
    }

    /// Product and version.
    pub(super) fn name(&self) -> String {
        let product = match self.product {
            Product::Elasticsearch => "Elasticsearch",
            Product::Serverless => return "Elasticsearch Serverless".to_owned(),
            Product::OpenSearch => "OpenSearch",
            Product::Unknown => return "the server".to_owned(),
        };
        format!(
            "{product} {}",
            crate::sinks::http::bounded(&self.number, 40)
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn server(number: &str, distribution: &str, flavor: &str) -> Server {
        Server::of(&json!({ "version": {
            "number": number, "distribution": distribution, "build_flavor": flavor
        }}))
    }

    #[test]
    fn the_mode_follows_from_the_server() {
        for (server, wanted, expected, why) in [
            (
                server("8.17.0", "", "default"),
                Mode::Auto,
                Some(Format::Tsds),
                "the best it has",
            ),
            (
                server("8.7.0", "", "default"),
                Mode::Auto,
                Some(Format::Tsds),
                "the first with it",
            ),
            (
                server("8.6.2", "", "default"),
                Mode::Auto,
                Some(Format::DataStream),
                "one too old",
            ),
            (
                server("9.2.0", "", "default"),
                Mode::Auto,
                Some(Format::Tsds),
                "a later major",
            ),
            (
                server("7.9.0", "", "default"),
                Mode::Auto,
                Some(Format::DataStream),
                "the first",
            ),
            (
                server("7.8.1", "", "default"),
                Mode::Auto,
                Some(Format::Index),
                "before streams",
            ),
            (
                server("8.11.0", "", "serverless"),
                Mode::Auto,
                Some(Format::Tsds),
                "serverless",
            ),
            (
                server("2.19.1", "opensearch", ""),
                Mode::Auto,
                Some(Format::DataStream),
                "no tsds",
            ),
            (
                server("3.8.0", "opensearch", ""),
                Mode::Index,
                Some(Format::Index),
                "as asked for",
            ),
            (
                server("2.19.1", "opensearch", ""),
                Mode::Tsds,
                None,
                "not there",
            ),
            (
                server("8.6.0", "", "default"),
                Mode::Tsds,
                None,
                "not yet there",
            ),
            (
                server("7.8.0", "", "default"),
                Mode::DataStream,
                None,
                "not yet there",
            ),
            (Server::unknown(), Mode::Auto, None, "nothing to go by"),
            (
                Server::unknown(),
                Mode::Tsds,
                Some(Format::Tsds),
                "taken at the word",
            ),
            (
                Server::unknown(),
                Mode::DataStream,
                Some(Format::DataStream),
                "taken at the word",
            ),
        ] {
            assert_eq!(server.format(wanted).ok(), expected, "{why}: {server:?}");
        }
    }

    #[test]
    fn what_is_no_description_is_unknown() {
        for root in [
            json!(null),
            json!("hello"),
            json!({"version": 3}),
            json!({"version": {}}),
        ] {
            assert_eq!(Server::of(&root), Server::unknown(), "{root}");
        }
    }
}
