//! A server, and how it is written to and asked.

use std::sync::Arc;

use lagline::sinks::Sink;
use lagline::sinks::elasticsearch::{Auth, ElasticSettings, ElasticSink, Mode};
use lagline::sinks::http::TlsSettings;

use crate::services::Database;
use crate::sink_contract::Counts;
use crate::{elasticsearch, influxdb, prometheus};

/// Where a test's points are.
#[derive(Clone, Debug)]
pub enum Place {
    Influx {
        database: String,
    },
    Search {
        mode: Mode,
        namespace: String,
    },
    /// The whole server.
    Prometheus,
    /// A whole VictoriaMetrics, which removes doubles, by remote write.
    Victoria,
    /// The same by line protocol.
    VictoriaLines,
}

impl Place {
    pub fn influx(server: &Database) -> Self {
        let database = influxdb::created(server, "");
        Self::Influx { database }
    }

    pub fn search(mode: Mode) -> Self {
        let namespace = elasticsearch::namespace();
        Self::Search { mode, namespace }
    }

    pub fn sink(&self, address: &str) -> Arc<dyn Sink> {
        self.sink_that_trusts(address, TlsSettings::default())
    }

    pub fn sink_that_trusts(&self, address: &str, tls: TlsSettings) -> Arc<dyn Sink> {
        match self {
            Self::Influx { database } => {
                Arc::new(influxdb::sink_at(address, influxdb::v1(database), tls))
            }
            Self::Search { .. } => {
                let settings = self.search_settings(address);
                Arc::new(ElasticSink::new(ElasticSettings { tls, ..settings }).unwrap())
            }
            Self::Prometheus | Self::Victoria => Arc::new(prometheus::sink_at(address, tls)),
            Self::VictoriaLines => Arc::new(influxdb::sink_at(address, influxdb::v2(), tls)),
        }
    }

    /// A sink that leaves the templates to the operator.
    pub fn sink_without_templates(&self, address: &str) -> Arc<dyn Sink> {
        let settings = ElasticSettings {
            manage_templates: false,
            ..self.search_settings(address)
        };
        Arc::new(ElasticSink::new(settings).unwrap())
    }

    fn search_settings(&self, address: &str) -> ElasticSettings {
        let Self::Search { mode, namespace } = self else {
            panic!("{self:?} has no such settings");
        };
        ElasticSettings {
            urls: vec![address.parse().unwrap()],
            mode: *mode,
            namespace: namespace.clone(),
            auth: Auth::None,
            manage_templates: true,
            retention: None,
            tls: TlsSettings::default(),
        }
    }

    /// Points by measurement, as the server has them.
    pub fn counts(&self, server: &Database) -> Counts {
        let mut counts = Counts::new();
        match self {
            Self::Influx { database } => {
                for (measurement, field) in influxdb::ALWAYS {
                    let name = measurement.name();
                    let text = format!("SELECT count(\"{field}\") FROM \"{name}\"");
                    let answer = influxdb::query(server, database, &text);
                    let found = &answer["results"][0]["series"][0]["values"][0][1];
                    counts.insert(name.to_owned(), found.as_u64().unwrap_or(0));
                }
            }
            Self::Search { mode, namespace } => {
                for (measurement, dataset) in elasticsearch::DATASETS {
                    let target = elasticsearch::target(*mode, dataset, namespace);
                    server.json("POST", &format!("/{target}/_refresh"), "");
                    let answer = server.get(&format!("/{target}/_count"));
                    let found = answer.json()["count"].as_u64().unwrap_or(0);
                    counts.insert(measurement.name().to_owned(), found);
                }
            }
            Self::Prometheus => counts = selected(server, prometheus::found),
            Self::Victoria => counts = selected(server, prometheus::exported),
            Self::VictoriaLines => counts = influxdb::exported(server),
        }
        counts.retain(|_, count| *count > 0);
        counts
    }
}

fn selected(server: &Database, found: fn(&Database, &str) -> u64) -> Counts {
    let always = prometheus::always();
    let counts = always.map(|(it, selector)| (it.name().to_owned(), found(server, &selector)));
    counts.collect()
}
