//! `[sinks.NAME.KIND]`: where points go, and the `delivery` table that every sink has.

use std::time::Duration;

use super::secret::Secret;
use super::section::Section;
use super::{DAY, SECOND};
use crate::points::Detail;
use crate::sinks::delivery::{DeliverySettings, Partitions, Start};
use crate::sinks::elasticsearch::{Auth, ElasticSettings, Mode};
use crate::sinks::http::TlsSettings;
use crate::sinks::influxdb::{Bootstrap, InfluxSettings, Login, Profile, Target};
use crate::sinks::jsonl::JsonlSettings;
use crate::sinks::prometheus::{self, PrometheusSettings};

/// One sink.
#[derive(Clone, Debug, PartialEq)]
pub struct SinkConfig {
    pub kind: SinkKind,
    pub delivery: DeliverySettings,
}

/// The kind of a sink with what only this kind has.
#[derive(Clone, Debug, PartialEq)]
pub enum SinkKind {
    Influxdb(InfluxSettings),
    Elasticsearch(ElasticSettings),
    Jsonl(JsonlSettings),
    Prometheus(PrometheusSettings),
}

impl SinkKind {
    /// The kind's name in the configuration.
    pub const fn word(&self) -> &'static str {
        match self {
            SinkKind::Influxdb(_) => "influxdb",
            SinkKind::Elasticsearch(_) => "elasticsearch",
            SinkKind::Jsonl(_) => "jsonl",
            SinkKind::Prometheus(_) => "prometheus_remote_write",
        }
    }
}

type Read = fn(&Section<'_>) -> Option<SinkKind>;

/// Every kind and how it is read.
const KINDS: [(&str, Read); 4] = [
    ("influxdb", influxdb),
    ("elasticsearch", elasticsearch),
    ("jsonl", jsonl),
    ("prometheus_remote_write", prometheus),
];

/// Reads `[sinks.NAME]`: exactly one kind below it.
pub(super) fn sink(section: &Section<'_>) -> Option<SinkConfig> {
    let written: Vec<_> = KINDS
        .iter()
        .map(|(kind, read)| (section.section(kind), read))
        .filter(|(kind, _)| kind.is_present())
        .collect();
    section.finish();
    let [(kind, read)] = written.as_slice() else {
        // An unknown kind has been reported with what was meant.
        if written.len() > 1 || section.keys().is_empty() {
            let kinds: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
            section.problem(format!("expected exactly one kind: {}", kinds.join(", ")));
        }
        return None;
    };
    let delivery = delivery(&kind.section("delivery"));
    let settings = read(kind);
    kind.finish();
    Some(SinkConfig {
        kind: settings?,
        delivery,
    })
}

fn influxdb(section: &Section<'_>) -> Option<SinkKind> {
    section.require("url");
    let url = section.url("url");
    let targets = [
        (
            section.section("v1"),
            influx_v1 as fn(&Section<'_>) -> Option<Target>,
        ),
        (section.section("v2"), influx_v2),
        (section.section("v3"), influx_v3),
    ];
    let written: Vec<_> = targets.iter().filter(|(t, _)| t.is_present()).collect();
    let target = match written.as_slice() {
        [(target, read)] => {
            let settings = read(target);
            target.finish();
            settings
        }
        _ => {
            section.problem("expected exactly one of `v1`, `v2` and `v3`");
            None
        }
    };
    let gzip = section.boolean("gzip").unwrap_or(true);
    let owner_fields = section.boolean("owner_fields").unwrap_or(false);
    let profile = section.choice(
        "profile",
        &[
            ("lagline", Profile::Lagline),
            ("telegraf-burrow", Profile::TelegrafBurrow),
        ],
    );
    let bootstrap = bootstrap(section);
    if bootstrap.is_some() && matches!(target, Some(Target::V3 { .. })) {
        section.problem_at("bootstrap", "InfluxDB 3 makes its databases by itself");
    }
    if bootstrap.as_ref().is_some_and(|b| b.downsampled.is_some())
        && profile == Some(Profile::TelegrafBurrow)
    {
        section.problem_at("bootstrap", "`downsampled` needs `profile = \"lagline\"`");
    }
    let tls = tls(&section.section("tls"));
    Some(SinkKind::Influxdb(InfluxSettings {
        url: url?,
        target: target?,
        gzip,
        tls,
        owner_fields,
        profile: profile.unwrap_or_default(),
        bootstrap,
    }))
}

/// `bootstrap`: true, or a table with what to make.
fn bootstrap(section: &Section<'_>) -> Option<Bootstrap> {
    if !section.has_table("bootstrap") {
        let is_wanted = section.boolean("bootstrap").unwrap_or(false);
        return is_wanted.then(Bootstrap::default);
    }
    let table = section.section("bootstrap");
    let wanted = Bootstrap {
        retention: table.duration("retention", DAY..=3650 * DAY),
        downsampled: table.duration("downsampled", DAY..=3650 * DAY),
    };
    table.finish();
    Some(wanted)
}

fn influx_v1(section: &Section<'_>) -> Option<Target> {
    let database = required(section, "database");
    let retention_policy = section.string("retention_policy");
    let login = login(section);
    Some(Target::V1 {
        database: database?,
        retention_policy,
        login,
    })
}

fn influx_v2(section: &Section<'_>) -> Option<Target> {
    let org = required(section, "org");
    let bucket = required(section, "bucket");
    // VictoriaMetrics, which speaks this protocol, needs none.
    let token = section.secret("token");
    Some(Target::V2 {
        org: org?,
        bucket: bucket?,
        token,
    })
}

fn influx_v3(section: &Section<'_>) -> Option<Target> {
    let database = required(section, "database");
    // InfluxDB 3 can be started without authentication.
    let token = section.secret("token");
    Some(Target::V3 {
        database: database?,
        token,
    })
}

fn elasticsearch(section: &Section<'_>) -> Option<SinkKind> {
    section.require("urls");
    let urls = section.urls("urls");
    if urls.as_ref().is_some_and(Vec::is_empty) {
        section.problem_at("urls", "expected at least one address");
    }
    let mode = section.choice(
        "mode",
        &[
            ("auto", Mode::Auto),
            ("tsds", Mode::Tsds),
            ("data_stream", Mode::DataStream),
            ("index", Mode::Index),
        ],
    );
    let namespace = section.parsed("namespace", namespace);
    let auth = auth(section);
    let manage_templates = section.boolean("manage_templates").unwrap_or(true);
    let retention = section.duration("retention", DAY..=3650 * DAY);
    if retention.is_some() && !manage_templates {
        section.problem_at("retention", "needs `manage_templates = true`");
    }
    let tls = tls(&section.section("tls"));
    Some(SinkKind::Elasticsearch(ElasticSettings {
        urls: urls?,
        mode: mode.unwrap_or(Mode::Auto),
        namespace: namespace.unwrap_or_else(|| "default".to_owned()),
        auth,
        manage_templates,
        retention,
        tls,
    }))
}

/// A data stream's namespace is part of an index name.
fn namespace(text: &str) -> Result<String, String> {
    let is_fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.');
    if text.is_empty() || text.len() > 100 || !text.chars().all(is_fine) {
        return Err("expected 1 to 100 of a-z, 0-9, `_` and `.`".to_owned());
    }
    Ok(text.to_owned())
}

fn auth(section: &Section<'_>) -> Auth {
    let ways = ["username", "api_key", "bearer"];
    let written: Vec<_> = ways
        .into_iter()
        .filter(|key| section.has_secret(key))
        .collect();
    if written.len() > 1 {
        section.problem("expected only one of `username`, `api_key_file` and `bearer_file`");
    }
    let login = login(section);
    let api_key = section.secret("api_key");
    let bearer = section.secret("bearer");
    match (login, api_key, bearer) {
        (Some(Login { username, password }), _, _) => Auth::Basic { username, password },
        (None, Some(key), _) => Auth::ApiKey(key),
        (None, None, Some(token)) => Auth::Bearer(token),
        (None, None, None) => Auth::None,
    }
}

fn jsonl(section: &Section<'_>) -> Option<SinkKind> {
    section.require("path");
    let path = section.path_of("path")?;
    Some(SinkKind::Jsonl(JsonlSettings { path }))
}

fn prometheus(section: &Section<'_>) -> Option<SinkKind> {
    section.require("url");
    let url = section.url("url");
    if section.has_secret("username") && section.has_secret("token") {
        section.problem("expected only one of `username` and `token_file`");
    }
    let login = login(section);
    let token = section.secret("token");
    let auth = match (login, token) {
        (Some(Login { username, password }), _) => prometheus::Auth::Basic { username, password },
        (None, Some(token)) => prometheus::Auth::Bearer(token),
        (None, None) => prometheus::Auth::None,
    };
    let headers = section.section("headers");
    let header = |name: String| {
        let value = headers.scalar(&name)?;
        Some((name, Secret::new(value)))
    };
    let headers = headers.keys().into_iter().filter_map(header).collect();
    let tls = tls(&section.section("tls"));
    Some(SinkKind::Prometheus(PrometheusSettings {
        url: url?,
        auth,
        headers,
        tls,
    }))
}

/// `username` with `password_file`.
fn login(section: &Section<'_>) -> Option<Login> {
    let username = section.string("username");
    let password = section.secret("password");
    if username.is_some() && !section.has_secret("password") {
        section.problem_at("username", "needs `password_file`");
    }
    if username.is_none() && password.is_some() {
        section.problem_at("password_file", "needs `username`");
    }
    Some(Login {
        username: username?,
        password: password?,
    })
}

fn tls(section: &Section<'_>) -> TlsSettings {
    let tls = TlsSettings {
        ca_file: section.path_of("ca_file"),
        verify: section.boolean("verify").unwrap_or(true),
    };
    section.finish();
    tls
}

fn required(section: &Section<'_>, key: &str) -> Option<String> {
    section.require(key);
    section.parsed(key, |text| {
        let fine = !text.is_empty() && !text.contains(char::is_control);
        fine.then(|| text.to_owned())
            .ok_or_else(|| "expected a name".to_owned())
    })
}

fn delivery(section: &Section<'_>) -> DeliverySettings {
    let defaults = DeliverySettings::default();
    let count = |key: &str, most: i64, default: usize| {
        let number = section.integer(key, 1..=most);
        number
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(default)
    };
    let names = |key: &str| {
        let section = section.section(key);
        let patterns = super::wanted(&section);
        section.finish();
        patterns
    };
    let max_bytes = section
        .size("max_bytes")
        .and_then(|n| usize::try_from(n).ok());
    if max_bytes.is_some_and(|n| n < 10_000) {
        section.problem_at("max_bytes", "expected 10kB or more");
    }
    let every = section.integer("every", 1..=1_000_000);
    let settings = DeliverySettings {
        detail: section
            .choice(
                "detail",
                &Detail::ALL.map(|detail| (detail.as_str(), detail)),
            )
            .unwrap_or(defaults.detail),
        clusters: names("clusters"),
        groups: names("groups"),
        topics: names("topics"),
        partitions: section
            .choice(
                "partitions",
                &[("all", Partitions::All), ("lagging", Partitions::Lagging)],
            )
            .unwrap_or(defaults.partitions),
        every: every
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(defaults.every),
        start: section
            .choice(
                "start",
                &[("newest", Start::Newest), ("oldest", Start::Oldest)],
            )
            .unwrap_or(defaults.start),
        timeout: section
            .duration("timeout", Duration::from_millis(100)..=600 * SECOND)
            .unwrap_or(defaults.timeout),
        max_points: count("max_points", 1_000_000, defaults.max_points),
        max_bytes: max_bytes.unwrap_or(defaults.max_bytes),
        max_age: section.duration("max_age", 60 * SECOND..=3650 * DAY),
        in_flight: count("in_flight", 64, defaults.in_flight),
    };
    section.finish();
    settings
}
