//! SIGKILL at random moments while every kind of server receives: every journaled beat arrives, no
//! server that would show doubles has one, and the persisted counts are right after each kill.
//!
//! Each kill comes a random time after something that happened: the start, a journaled beat, a moved
//! cursor. Then the store is looked at as the kill left it, and before some of the restarts every
//! time series stream is rolled over, between the writes and their repetition. In `index` mode
//! nothing can be rolled over but the day: there each document must be in the index of its beat's
//! day, whenever it is sent. A plain data stream promises nothing across a rollover, so it has none.
//!
//! The moments come from a seed that is said; `KILL_SEED=7` kills at the same ones again, as far as
//! the servers take the same time.

mod journal;
pub mod places;
mod work;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use lagline::clock::Clock;
use lagline::points::{Detail, Measurement};
use lagline::sinks::elasticsearch::Mode;
use serde_json::json;

use crate::elasticsearch::{DATASETS, namespace, target};
use crate::influxdb;
use crate::kafka_client::Client;
use crate::lagline::{LIMIT, Lagline, cluster_config};
use crate::services::{Database, DatabaseKind, Kafka, KafkaVersion, Shared, unique, wait};
use journal::{Journal, Snapshot, live};
use places::Found;
use work::Work;

const KILLS: usize = 50;
const DELAY_MS_MAX: u64 = 1_500;
/// About what a start takes.
const START_MS: u64 = 400;

const NEWEST: &str = "SELECT max(seq) FROM frame";
const SLOWEST: &str = "SELECT min(seq) FROM cursor";

/// One configured sink.
pub struct Destination {
    name: &'static str,
    detail: Detail,
    /// What its server refuses for good.
    refused: Option<Measurement>,
}

const fn destination(name: &'static str, detail: Detail) -> Destination {
    Destination {
        name,
        detail,
        refused: None,
    }
}

const INFLUX: Destination = destination("influx", Detail::Partition);
/// Elasticsearch, time series.
const SERIES: Destination = destination("series", Detail::Partition);
/// OpenSearch, a plain data stream.
const STREAM: Destination = destination("stream", Detail::Partition);
/// OpenSearch, daily indexes.
const DAYS: Destination = destination("days", Detail::Partition);
/// OpenSearch, daily indexes of which those for groups refuse every document.
const REFUSING: Destination = Destination {
    name: "refusing",
    detail: Detail::Group,
    refused: Some(Measurement::Group),
};
/// A file; topics only, so that rows are left out, too.
const LINES: Destination = destination("lines", Detail::Topic);

const ALL: [Destination; 6] = [INFLUX, SERIES, STREAM, DAYS, REFUSING, LINES];

/// The servers that receive, and what is theirs there.
struct Servers {
    influxdb: Shared<Database>,
    database: String,
    elasticsearch: Shared<Database>,
    opensearch: Shared<Database>,
    /// One namespace for each of the sinks, by its name.
    namespaces: BTreeMap<&'static str, String>,
}

impl Servers {
    fn new() -> Self {
        let influxdb = Database::shared(DatabaseKind::InfluxDb);
        let searching = [SERIES, STREAM, DAYS, REFUSING];
        let servers = Self {
            database: influxdb::created(&influxdb, ""),
            influxdb,
            elasticsearch: Database::shared(DatabaseKind::Elasticsearch),
            opensearch: Database::shared(DatabaseKind::OpenSearch),
            namespaces: searching.map(|sink| (sink.name, namespace())).into(),
        };
        servers.refuse_groups();
        servers
    }

    /// Makes the daily indexes for groups of today and tomorrow with a status that is a number.
    fn refuse_groups(&self) {
        let odd = json!({ "mappings": { "properties": { "kafka": { "properties": { "lag": {
            "properties": { "status": { "type": "long" } }
        }}}}}});
        let namespace = &self.namespaces[REFUSING.name];
        let now = Clock::system().now();
        for at in [now, now.plus(Duration::from_secs(86_400))] {
            let day = places::day(at.as_ms());
            let index = format!("/kafka_lag.group-{namespace}-{day}");
            let made = self.opensearch.json("PUT", &index, &odd.to_string());
            made.accepted();
        }
    }

    /// The sinks' tables. Small requests: a beat takes dozens, so that a kill falls between two.
    fn tables(&self) -> String {
        let search = |sink: &Destination, server: &Database, mode: &str| {
            let kind = format!("sinks.{}.elasticsearch", sink.name);
            let (url, namespace) = (server.url(), &self.namespaces[sink.name]);
            format!(
                "[{kind}]\nurls = [\"{url}\"]\nmode = \"{mode}\"\nnamespace = \"{namespace}\"\n\
                 [{kind}.delivery]\nmax_points = 25\ndetail = \"{}\"\n",
                sink.detail.as_str(),
            )
        };
        let url = self.influxdb.url();
        [
            format!("[sinks.influx.influxdb]\nurl = \"{url}\"\n"),
            format!("v1 = {{ database = \"{}\" }}\n", self.database),
            "[sinks.influx.influxdb.delivery]\nmax_points = 25\n".to_owned(),
            search(&SERIES, &self.elasticsearch, "tsds"),
            search(&STREAM, &self.opensearch, "data_stream"),
            search(&DAYS, &self.opensearch, "index"),
            search(&REFUSING, &self.opensearch, "index"),
            "[sinks.lines.jsonl]\npath = \"{dir}/lines.jsonl\"\n".to_owned(),
            "[sinks.lines.jsonl.delivery]\nmax_points = 5\ndetail = \"topic\"\n".to_owned(),
        ]
        .concat()
    }

    /// Rolls over every time series stream that is there.
    fn roll_over(&self) {
        for (_, dataset) in DATASETS {
            let stream = target(Mode::Tsds, dataset, &self.namespaces[SERIES.name]);
            let path = format!("/{stream}/_rollover");
            let is_there = self.elasticsearch.get(&format!("/{stream}/_count")).status == 200;
            if is_there {
                let rolled = self.elasticsearch.json("POST", &path, "").accepted().json();
                assert_eq!(rolled["rolled_over"], true, "{rolled}");
            }
        }
    }

    /// Every document of a sink, and the indexes they are in.
    fn documents(&self, sink: &Destination, mode: Mode) -> Found {
        let server = match mode {
            Mode::Tsds | Mode::Auto => &self.elasticsearch,
            Mode::DataStream | Mode::Index => &self.opensearch,
        };
        places::documents(server, mode, &self.namespaces[sink.name])
    }
}

/// What a kill comes after.
fn wait_for_a_moment(lagline: &Lagline, rng: &mut fastrand::Rng, kill: usize) {
    let what = match kill % 3 {
        0 => return,
        1 => "SELECT max(seq) FROM frame WHERE running".to_owned(),
        _ => {
            let sink = rng.choice(&ALL).unwrap().name;
            format!("SELECT seq FROM cursor WHERE sink = '{sink}'")
        }
    };
    let before = live(lagline.path(), &what);
    wait::until(&format!("more at: {what}"), LIMIT, || {
        live(lagline.path(), &what) > before
    });
}

#[allow(
    clippy::disallowed_methods,
    reason = "nothing is waited for: the random time is the fault"
)]
fn pass(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// Points that a sink's server had already, since the start.
fn known(lagline: &Lagline, sink: &Destination) -> u64 {
    let labels = format!("sink=\"{}\",what=\"known\"", sink.name);
    let series = format!("lagline_sink_traffic_total{{{labels}}}");
    lagline.metric(&series).expect("every sink has it")
}

/// What is seen while it is killed again and again.
#[derive(Default)]
struct Seen {
    /// The store after each kill.
    snapshots: Vec<Snapshot>,
    /// Points that were sent a second time, by sink.
    repeated: BTreeMap<&'static str, u64>,
    /// The time series among them that were sent again behind a rollover.
    repeated_over: u64,
}

impl Seen {
    /// Looks at the store while nothing runs.
    fn look(&mut self, lagline: &Lagline) {
        let snapshot = Snapshot::take(lagline.path());
        snapshot.assert_identity(&ALL);
        if let Some(last) = self.snapshots.last() {
            snapshot.assert_goes_on_behind(last);
        }
        self.snapshots.push(snapshot);
    }

    fn count_repeated(&mut self, lagline: &Lagline, is_rolled: bool) {
        for sink in [&SERIES, &STREAM, &DAYS] {
            *self.repeated.entry(sink.name).or_default() += known(lagline, sink);
        }
        self.repeated_over += u64::from(is_rolled) * known(lagline, &SERIES);
    }

    /// Nothing was tested when the kills came at no moment that matters.
    fn assert_repeated(&self) {
        let Self {
            repeated,
            repeated_over,
            ..
        } = self;
        eprintln!("sent again: {repeated:?}, behind a rollover: {repeated_over}");
        assert!(repeated.values().all(|points| *points > 0), "{repeated:?}");
        assert!(*repeated_over > 0, "no rollover came before a repetition");
    }
}

/// Kills and restarts it again and again.
fn kill_again_and_again(lagline: &mut Lagline, servers: &Servers, rng: &mut fastrand::Rng) -> Seen {
    let mut seen = Seen::default();
    let mut is_rolled = false;
    for kill in 0..KILLS {
        wait_for_a_moment(lagline, rng, kill);
        pass(rng.u64(0..DELAY_MS_MAX));
        seen.count_repeated(lagline, is_rolled);
        lagline.kill9();
        seen.look(lagline);
        is_rolled = kill % 2 == 1;
        if is_rolled {
            servers.roll_over();
        }
        if rng.bool() {
            // Once more, while it starts.
            lagline.launch();
            pass(rng.u64(0..START_MS));
            lagline.kill9();
            seen.look(lagline);
        }
        lagline.restart();
    }
    seen
}

/// Lets it deliver everything, and stops it.
fn settle(lagline: &mut Lagline, seen: &mut Seen) {
    let newest = live(lagline.path(), NEWEST);
    wait::until("every cursor is behind the last kill", LIMIT, || {
        live(lagline.path(), SLOWEST) >= newest
    });
    lagline.stop();
    seen.look(lagline);
    // Without a beat to come the last journaled one is reached, however slow the servers are.
    lagline.reconfigure(|config| config.replace("interval = \"1s\"", "interval = \"1h\""));
    lagline.restart();
    wait::until("every cursor is at the last journaled frame", LIMIT, || {
        live(lagline.path(), SLOWEST) == live(lagline.path(), NEWEST)
    });
    lagline.stop();
    seen.look(lagline);
}

fn assert_every_place_has_it(journal: &Journal, servers: &Servers, path: &Path, kills: usize) {
    let everything = journal.points(Detail::Partition);
    for measurement in Measurement::ALL {
        let count = everything.count(measurement);
        eprintln!("{count} points of {}", measurement.name());
        assert!(count > 0, "no {}: nothing is tested", measurement.name());
    }
    let influx = places::influxdb(&servers.influxdb, &servers.database);
    everything.assert_once("InfluxDB", influx);
    for (sink, mode) in [
        (&SERIES, Mode::Tsds),
        (&STREAM, Mode::DataStream),
        (&DAYS, Mode::Index),
    ] {
        everything.assert_once(sink.name, servers.documents(sink, mode));
    }
    let groups = journal.points(REFUSING.detail);
    let (refused, written) = groups.partition(REFUSING.refused);
    written.assert_once(REFUSING.name, servers.documents(&REFUSING, Mode::Index));
    refused.assert_at_least_once(
        "the dead letters",
        places::dead_letters(path, REFUSING.name),
    );
    let topics = journal.points(LINES.detail);
    topics.assert_lines(&path.join("lines.jsonl"), kills);
}

#[test]
fn killed_at_random_moments_every_journaled_beat_arrives_and_nothing_is_doubled() {
    let given = std::env::var("KILL_SEED").ok();
    let seed = given.map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap());
    eprintln!("KILL_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let kafka = Kafka::shared(KafkaVersion::V4);
    let servers = Servers::new();
    let client = Client::new(&kafka.bootstrap());
    let groups = unique("killed");
    let work = Work::begin(&client, &groups);
    let tables = [
        cluster_config("c", &kafka.bootstrap()),
        format!("[clusters.c.groups]\ninclude = [\"{groups}*\"]\n"),
        servers.tables(),
    ];
    let mut lagline = Lagline::start(&tables.concat());
    let mut seen = kill_again_and_again(&mut lagline, &servers, &mut rng);
    settle(&mut lagline, &mut seen);
    drop(work);

    let journal = Journal::read(lagline.path());
    assert_every_place_has_it(&journal, &servers, lagline.path(), seen.snapshots.len());
    for snapshot in &seen.snapshots {
        journal.assert_counts(snapshot, &ALL);
    }
    seen.assert_repeated();
}
