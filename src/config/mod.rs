//! TOML to checked configuration.
//!
//! Reading never touches Kafka, a sink or the store; it reads the file, the environment and the
//! files that hold secrets. All problems are found in one go, each with its line and column.

pub mod clusters;
pub mod patterns;
pub mod schema;
pub mod secret;
pub mod section;
pub mod sinks;
pub mod values;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::lag::ids::ClusterName;
use crate::lag::settings::{CommitLag, Rules};
use clusters::ClusterSettings;
use secret::Secret;
use section::{Problem, Section, Source};
use sinks::SinkConfig;

/// The annotated example that `lagline config example` prints.
pub const EXAMPLE: &str = include_str!("example.toml");

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Everything lagline is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The beat.
    pub interval: Duration,
    pub server: ServerSettings,
    pub store: StoreConfig,
    pub clusters: BTreeMap<ClusterName, ClusterSettings>,
    pub sinks: BTreeMap<String, SinkConfig>,
}

/// Where and how lagline is served.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerSettings {
    pub listen: SocketAddr,
    /// Needed for whatever changes state.
    pub token: Option<Secret>,
    /// Reads need the token, too.
    pub read_token: bool,
    pub cors_origin: Option<String>,
    /// Burrow's metric names on `/metrics`, too.
    pub burrow_metrics: bool,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8000)),
            token: None,
            read_token: false,
            cors_origin: None,
            burrow_metrics: false,
        }
    }
}

/// Where lagline remembers.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreConfig {
    /// Memory only without a path.
    pub path: Option<PathBuf>,
    /// Bytes the file never exceeds.
    pub max_size: u64,
    /// Bytes of frames kept in memory.
    pub memory: u64,
    /// How long the journal is kept for sinks.
    pub journal: Duration,
    /// How long every beat of finished hours is kept, and how long rollups are.
    pub raw: Duration,
    pub rollup_5m: Duration,
    pub rollup_1h: Duration,
    /// How often what a cluster remembers is saved for the next start.
    pub snapshot_every: Duration,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            path: None,
            max_size: 20 << 30,
            memory: 64 << 20,
            journal: DAY,
            raw: 3 * DAY,
            rollup_5m: 90 * DAY,
            rollup_1h: 730 * DAY,
            snapshot_every: Duration::from_secs(300),
        }
    }
}

/// Everything wrong with a configuration, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    pub file: String,
    pub list: Vec<Problem>,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.list.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{}:{}:{}: ", self.file, problem.line, problem.column)?;
            if !problem.key.is_empty() {
                write!(f, "{}: ", problem.key)?;
            }
            f.write_str(&problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Reads a configuration.
///
/// `env` looks up environment variables, `read` reads the files that hold secrets.
///
/// # Errors
/// Every problem of the text.
pub fn load(
    text: &str,
    file: &str,
    env: &dyn Fn(&str) -> Option<String>,
    read: &dyn Fn(&Path) -> std::io::Result<String>,
) -> Result<Config, Problems> {
    let source = Source {
        file,
        text,
        env,
        read,
        problems: Vec::new().into(),
        shapes: schema::Shapes::new().into(),
    };
    let config = match toml_edit::Document::parse(text) {
        Ok(document) => Some(config(&Section::root(&source, document.as_table()))),
        Err(error) => {
            source.problem(error.span(), "", error.message());
            None
        }
    };
    let mut list = source.problems.into_inner();
    list.sort();
    list.dedup();
    match config {
        Some(config) if list.is_empty() => Ok(config),
        _ => Err(Problems {
            file: file.to_owned(),
            list,
        }),
    }
}

fn config(root: &Section<'_>) -> Config {
    let interval = root
        .duration("interval", SECOND..=3600 * SECOND)
        .unwrap_or(10 * SECOND);
    let server = server(&root.section("server"));
    let store = store(&root.section("store"));
    let rules = rules(&root.section("rules"), &Rules::default());
    let mut all = BTreeMap::new();
    for (name, section) in root.named("clusters") {
        check_name(&section, &name);
        all.insert(ClusterName::new(name), clusters::cluster(&section, &rules));
    }
    if all.is_empty() {
        root.section("clusters")
            .problem("no cluster is configured: add [clusters.NAME.kafka]");
    }
    let mut sinks = BTreeMap::new();
    for (name, section) in root.named("sinks") {
        check_name(&section, &name);
        if let Some(sink) = sinks::sink(&section) {
            sinks.insert(name, sink);
        }
    }
    root.finish();
    Config {
        interval,
        server,
        store,
        clusters: all,
        sinks,
    }
}

/// Names of clusters and sinks stand in addresses, file names and metrics.
fn check_name(section: &Section<'_>, name: &str) {
    let is_fine = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 128 || name.starts_with('.') || !name.chars().all(is_fine) {
        section.problem("expected a name of letters, digits, `-`, `_` and `.`");
    }
}

fn server(section: &Section<'_>) -> ServerSettings {
    let defaults = ServerSettings::default();
    let listen = section.parsed("listen", |text| {
        text.parse()
            .map_err(|_| "expected an address with a port such as \"127.0.0.1:8000\"".into())
    });
    let settings = ServerSettings {
        listen: listen.unwrap_or(defaults.listen),
        token: section.secret("token"),
        read_token: section.boolean("read_token").unwrap_or(defaults.read_token),
        cors_origin: section.string("cors_origin"),
        burrow_metrics: section
            .boolean("burrow_metrics")
            .unwrap_or(defaults.burrow_metrics),
    };
    if settings
        .token
        .as_ref()
        .is_some_and(|token| token.reveal().len() < 8)
    {
        section.problem_at("token_file", "expected a token of 8 characters or more");
    }
    if settings.read_token && settings.token.is_none() {
        section.problem_at("read_token", "needs `token_file`");
    }
    section.finish();
    settings
}

fn store(section: &Section<'_>) -> StoreConfig {
    let keep = 2 * HOUR..=3650 * DAY;
    let defaults = StoreConfig::default();
    let config = StoreConfig {
        path: section.path_of("path"),
        max_size: section.size("max_size").unwrap_or(defaults.max_size),
        memory: section.size("memory").unwrap_or(defaults.memory),
        journal: section
            // An hour is sealed from its frames when it is over.
            .duration("journal", 2 * HOUR..=30 * DAY)
            .unwrap_or(defaults.journal),
        raw: (section.duration("raw", keep.clone())).unwrap_or(defaults.raw),
        rollup_5m: (section.duration("rollup_5m", keep.clone())).unwrap_or(defaults.rollup_5m),
        rollup_1h: (section.duration("rollup_1h", keep)).unwrap_or(defaults.rollup_1h),
        snapshot_every: section
            .duration("snapshot_every", SECOND..=DAY)
            .unwrap_or(defaults.snapshot_every),
    };
    if config.max_size < 16 << 20 {
        section.problem_at("max_size", "expected 16MiB or more");
    }
    if config.memory < 1 << 20 {
        section.problem_at("memory", "expected 1MiB or more");
    }
    section.finish();
    config
}

/// Burrow's rules, on top of `defaults`.
fn rules(section: &Section<'_>, defaults: &Rules) -> Rules {
    let rules = Rules {
        intervals: section
            .integer("intervals", 1..=1000)
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(defaults.intervals),
        offset_refresh: section
            .duration("offset_refresh", SECOND..=3600 * SECOND)
            .unwrap_or(defaults.offset_refresh),
        min_distance: section
            .duration("min_distance", Duration::ZERO..=DAY)
            .unwrap_or(defaults.min_distance),
        expire_group: section
            .duration("expire_group", 60 * SECOND..=3650 * DAY)
            .unwrap_or(defaults.expire_group),
        #[allow(clippy::cast_possible_truncation, reason = "0 to 1")]
        minimum_complete: section
            .number("minimum_complete", 0.0..=1.0)
            .map_or(defaults.minimum_complete, |n| n as f32),
        allowed_lag: section
            .integer("allowed_lag", 0..=i64::MAX)
            .unwrap_or(defaults.allowed_lag),
        commit_lag: section
            .choice(
                "commit_lag",
                &[
                    ("last_poll", CommitLag::LastPoll),
                    ("interpolated", CommitLag::Interpolated),
                ],
            )
            .unwrap_or(defaults.commit_lag),
    };
    if rules.min_distance.subsec_nanos() != 0 {
        section.problem_at("min_distance", "expected whole seconds");
    }
    section.finish();
    rules
}

/// `include` and `exclude` of a table.
fn wanted(section: &Section<'_>) -> patterns::Patterns {
    let include = section
        .strings("include")
        .unwrap_or_else(|| vec!["*".to_owned()]);
    let exclude = section.strings("exclude").unwrap_or_default();
    let mut all = patterns::Patterns::all();
    for (key, include, exclude) in [
        ("include", include.as_slice(), &[][..]),
        ("exclude", &[][..], exclude.as_slice()),
    ] {
        if let Err(error) = patterns::Patterns::new(include, exclude) {
            section.problem_at(key, error.to_string());
            return all;
        }
    }
    if let Ok(patterns) = patterns::Patterns::new(&include, &exclude) {
        all = patterns;
    }
    all
}

#[cfg(test)]
mod tests;
