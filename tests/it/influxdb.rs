//! The InfluxDB sink on a real InfluxDB 1.6 (v1) and a real VictoriaMetrics (v2's wire format).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lagline::clock::{Clock, Timestamp};
use lagline::config::secret::Secret;
use lagline::points::{Batch, Measurement, OwnedPoint, OwnedValue};
use lagline::sinks::http::TlsSettings;
use lagline::sinks::influxdb::{Bootstrap, InfluxSettings, InfluxSink, Login, Profile, Target};
use lagline::sinks::{Repeated, Sink, WriteError};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value as Json;

use crate::services::{Database, DatabaseKind, unique, wait};
use crate::sink_contract::{self, Bench, Counts};
use crate::sink_points::{HOSTILE, count, everything, hostile, partition};

const LIMIT: Duration = Duration::from_secs(60);

fn sink(database: &Database, target: Target) -> InfluxSink {
    sink_at(&database.url(), target, TlsSettings::default())
}

pub fn sink_at(address: &str, target: Target, tls: TlsSettings) -> InfluxSink {
    InfluxSink::new(InfluxSettings {
        url: address.parse().unwrap(),
        target,
        gzip: true,
        tls,
        owner_fields: true,
        profile: Profile::default(),
        bootstrap: None,
    })
    .unwrap()
}

pub fn v1(name: &str) -> Target {
    Target::V1 {
        database: name.to_owned(),
        retention_policy: None,
        login: None,
    }
}

pub fn v2() -> Target {
    Target::V2 {
        org: "ops".to_owned(),
        bucket: "lag".to_owned(),
        token: None,
    }
}

/// This second: what is stored has no finer time.
fn now() -> Timestamp {
    Timestamp::from_secs(Clock::system().now().as_secs())
}

/// Runs a statement in a database; an empty name for none.
pub fn query(influxdb: &Database, name: &str, text: &str) -> Json {
    let [name, text] = [name, text].map(|text| utf8_percent_encode(text, NON_ALPHANUMERIC));
    influxdb
        .send("POST", &format!("/query?db={name}&q={text}"), "", b"")
        .accepted()
        .json()
}

/// A new database: its name. `with` ends the statement that creates it.
pub fn created(influxdb: &Database, with: &str) -> String {
    let name = unique("lag");
    query(influxdb, "", &format!("CREATE DATABASE \"{name}\"{with}"));
    name
}

/// How many points of a measurement have the field.
fn found(influxdb: &Database, name: &str, measurement: Measurement, field: &str) -> u64 {
    let text = format!("SELECT count(\"{field}\") FROM \"{}\"", measurement.name());
    let answer = query(influxdb, name, &text);
    answer["results"][0]["series"][0]["values"][0][1]
        .as_u64()
        .unwrap_or(0)
}

/// A field that every point of the measurement has.
pub const ALWAYS: [(Measurement, &str); 7] = [
    (Measurement::Group, "status_code"),
    (Measurement::Topic, "status_code"),
    (Measurement::Partition, "status_code"),
    (Measurement::TopicOffset, "end_offset"),
    (Measurement::Cluster, "up"),
    (Measurement::Status, "to_code"),
    (Measurement::Sink, "offered"),
];

struct Influx {
    database: Database,
}

impl Bench for Influx {
    fn sink(&self) -> Arc<dyn Sink> {
        Arc::new(sink(&self.database, v1("contract")))
    }

    fn repeated(&self) -> Repeated {
        Repeated::Once
    }

    async fn counts(&self) -> Counts {
        let counts = ALWAYS.iter().map(|(measurement, field)| {
            let found = found(&self.database, "contract", *measurement, field);
            (measurement.name().to_owned(), found)
        });
        counts.filter(|(_, found)| *found > 0).collect()
    }
}

#[tokio::test]
async fn influxdb_keeps_the_contract() {
    let database = Database::start(DatabaseKind::InfluxDb);
    query(&database, "", "CREATE DATABASE contract");
    sink_contract::keep(&Influx { database }).await;
}

struct Victoria {
    database: Database,
}

impl Bench for Victoria {
    fn sink(&self) -> Arc<dyn Sink> {
        Arc::new(sink(&self.database, v2()))
    }

    /// The test server removes doubles.
    fn repeated(&self) -> Repeated {
        Repeated::Once
    }

    async fn counts(&self) -> Counts {
        exported(&self.database)
    }
}

/// Points by measurement in a VictoriaMetrics, which shows new samples late unless it is told to.
pub fn exported(database: &Database) -> Counts {
    database.get("/internal/force_flush").accepted();
    let mut counts = Counts::new();
    for (measurement, field) in ALWAYS {
        let selector = format!("{}_{field}", measurement.name());
        let export = format!("/api/v1/export?match[]={selector}&reduce_mem_usage=0");
        let answer = database.get(&export).accepted();
        let series = answer.body.lines().map(|line| {
            let series: Json = serde_json::from_str(line).unwrap();
            series["timestamps"].as_array().unwrap().len() as u64
        });
        let found: u64 = series.sum();
        if found > 0 {
            counts.insert(measurement.name().to_owned(), found);
        }
    }
    counts
}

#[tokio::test]
async fn victoria_metrics_keeps_the_contract() {
    let database = Database::start(DatabaseKind::VictoriaMetrics);
    sink_contract::keep(&Victoria { database }).await;
}

#[tokio::test]
async fn every_point_of_every_measurement_is_found_once_also_after_a_second_time() {
    let influxdb = Database::shared(DatabaseKind::InfluxDb);
    let name = created(&influxdb, "");
    let sink = sink(&influxdb, v1(&name));
    let batch = everything("prod", now());
    for time in ["once", "twice"] {
        let accepted = sink.write(&batch).await.unwrap();
        assert!(accepted.bytes > 0);
        for (measurement, field) in ALWAYS {
            let sent = count(&batch, measurement) as u64;
            let found = found(&influxdb, &name, measurement, field);
            assert_eq!(found, sent, "{} {time}", measurement.name());
        }
    }
}

#[tokio::test]
async fn every_hostile_name_is_a_point_of_its_own() {
    let influxdb = Database::shared(DatabaseKind::InfluxDb);
    let name = created(&influxdb, "");
    let sink = sink(&influxdb, v1(&name));
    let batch = hostile("prod", now());
    sink.write(&batch).await.unwrap();
    sink.write(&batch).await.unwrap();
    let stored = found(&influxdb, &name, Measurement::Partition, "lag");
    assert_eq!(stored, batch.len() as u64);

    let measurements = query(&influxdb, &name, "SHOW MEASUREMENTS");
    let values = &measurements["results"][0]["series"][0]["values"];
    assert_eq!(values.as_array().unwrap().len(), 1, "{measurements}");
    let tags = query(&influxdb, &name, "SHOW TAG VALUES WITH KEY = \"group\"");
    let values = tags["results"][0]["series"][0]["values"]
        .as_array()
        .unwrap()
        .clone();
    let groups: BTreeSet<_> = values
        .iter()
        .filter_map(|value| value[1].as_str())
        .collect();
    for (name, why) in HOSTILE {
        let has_replaced = name.ends_with('\\')
            || name.contains(char::is_control)
            || name.contains("\\,")
            || name.is_empty();
        assert!(
            has_replaced || groups.contains(name),
            "{why}: {name:?} is not in {groups:?}"
        );
    }
    assert!(groups.contains("ends\u{fffd}"));
    let clusters = query(&influxdb, &name, "SHOW TAG VALUES WITH KEY = \"cluster\"");
    let clusters = &clusters["results"][0]["series"][0]["values"];
    assert_eq!(clusters.as_array().unwrap().len(), 1, "{clusters}");
}

#[tokio::test]
async fn one_point_of_the_wrong_type_costs_one_point() {
    let influxdb = Database::shared(DatabaseKind::InfluxDb);
    let name = created(&influxdb, "");
    let at = now();
    // Somebody else made `eta_s` a text.
    let line = format!(
        "kafka_lag_partition,cluster=x eta_s=\"soon\" {}",
        at.as_secs()
    );
    influxdb
        .send(
            "POST",
            &format!("/write?db={name}&precision=s"),
            "",
            line.as_bytes(),
        )
        .accepted();
    let sink = sink(&influxdb, v1(&name));
    let mut batch = Batch::new();
    for number in 0..10 {
        let mut point: OwnedPoint = partition("prod", "g", "t", number, at);
        if number == 4 {
            point.field("eta_s", OwnedValue::Float(1.0)).unwrap();
        }
        batch.push_owned(Arc::new(point));
    }
    let Err(WriteError::Partial {
        rejected, retry, ..
    }) = sink.write(&batch).await
    else {
        panic!("one point is refused");
    };
    let indexes: Vec<_> = rejected.iter().map(|(index, _)| *index).collect();
    assert_eq!(indexes, [4], "{rejected:?}");
    assert!(
        rejected[0].1.contains("field type conflict"),
        "{rejected:?}"
    );
    sink.write(&batch.subset(&retry)).await.unwrap();
    assert_eq!(found(&influxdb, &name, Measurement::Partition, "lag"), 9);
}

#[tokio::test]
async fn points_beyond_retention_are_told_from_the_others() {
    let influxdb = Database::shared(DatabaseKind::InfluxDb);
    let name = created(&influxdb, " WITH DURATION 1d");
    let sink = sink(&influxdb, v1(&name));
    let at = now();
    let old = at.minus(Duration::from_secs(3 * 86_400));
    let mut batch = Batch::new();
    for number in 0..3 {
        batch.push_owned(Arc::new(partition("prod", "g", "t", number, old)));
        batch.push_owned(Arc::new(partition("prod", "g", "t", number, at)));
    }
    let Err(WriteError::Partial {
        rejected, retry, ..
    }) = sink.write(&batch).await
    else {
        panic!("the old ones are refused");
    };
    let indexes: Vec<_> = rejected.iter().map(|(index, _)| *index).collect();
    assert_eq!(indexes, [0, 2, 4]);
    assert!(
        rejected.iter().all(|(_, why)| why.starts_with("too_old: ")),
        "{rejected:?}"
    );
    sink.write(&batch.subset(&retry)).await.unwrap();
    assert_eq!(found(&influxdb, &name, Measurement::Partition, "lag"), 3);
}

#[tokio::test]
async fn a_wrong_target_or_login_keeps_the_data_and_says_what_to_fix() {
    let influxdb = Database::start_with(
        DatabaseKind::InfluxDb,
        &[("INFLUXDB_HTTP_AUTH_ENABLED", "true")],
    );
    let create = "CREATE USER me WITH PASSWORD 'hunter2' WITH ALL PRIVILEGES";
    query(&influxdb, "", create);
    let create = utf8_percent_encode("CREATE DATABASE lag", NON_ALPHANUMERIC);
    let create = format!("/query?u=me&p=hunter2&q={create}");
    influxdb.send("POST", &create, "", b"").accepted();
    let target = |database: &str, policy: Option<&str>, password: &str| Target::V1 {
        database: database.to_owned(),
        retention_policy: policy.map(str::to_owned),
        login: Some(Login {
            username: "me".to_owned(),
            password: Secret::new(password),
        }),
    };
    let batch = hostile("prod", now());
    let good = sink(&influxdb, target("lag", None, "hunter2"));
    good.write(&batch).await.unwrap();
    let report = good.check().await.unwrap();
    assert!(report.lines[0].contains("1.6.7"), "{report:?}");
    assert_eq!(report.lines[1], "database \"lag\" takes writes");
    for (target, advice) in [
        (target("lag", None, "hunter3"), "check the login"),
        (target("gal", None, "hunter2"), "the target must exist"),
        (
            target("lag", Some("no"), "hunter2"),
            "create the retention policy",
        ),
    ] {
        let sink = sink(&influxdb, target);
        let Err(WriteError::Misconfigured { reason }) = sink.write(&batch).await else {
            panic!("it must be told: {advice}");
        };
        assert!(
            reason.contains(advice) && !reason.contains("hunter"),
            "{reason}"
        );
        let error = sink.check().await.unwrap_err().to_string();
        assert!(error.contains(advice), "{error}");
    }
}

#[tokio::test]
async fn victoria_metrics_takes_the_second_interface_and_keeps_each_point_once() {
    let victoria = Database::shared(DatabaseKind::VictoriaMetrics);
    let sink = sink(&victoria, v2());
    let cluster = unique("prod");
    let batch = hostile(&cluster, now());
    let report = sink.check().await.unwrap();
    assert!(
        report
            .lines
            .iter()
            .any(|line| line.contains("takes writes")),
        "{report:?}"
    );
    sink.write(&batch).await.unwrap();
    sink.write(&batch).await.unwrap();
    let selector = format!("kafka_lag_partition_lag{{cluster=\"{cluster}\"}}");
    let selector = utf8_percent_encode(&selector, NON_ALPHANUMERIC);
    let export = format!("/api/v1/export?match[]={selector}&reduce_mem_usage=0");
    let series = wait::until_some("every point is readable", LIMIT, || {
        let answer = victoria.get(&export).accepted();
        let series: Vec<Json> = answer
            .body
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        (series.len() >= batch.len()).then_some(series)
    });
    assert_eq!(series.len(), batch.len());
    for one in &series {
        assert_eq!(one["values"].as_array().unwrap().len(), 1, "{one}");
    }
}

/// The rows of a statement about a database: the cells as texts, one row a line.
fn rows(influxdb: &Database, name: &str, text: &str) -> String {
    let answer = query(influxdb, name, text);
    let mut lines = String::new();
    for series in answer["results"][0]["series"].as_array().unwrap() {
        for row in series["values"].as_array().into_iter().flatten() {
            let cells = row.as_array().unwrap().iter().map(Json::to_string);
            lines += &format!(
                "{} {}\n",
                series["name"],
                cells.collect::<Vec<_>>().join(" ")
            );
        }
    }
    lines
}

fn bootstrapping(influxdb: &Database, target: Target, wanted: Bootstrap) -> InfluxSink {
    InfluxSink::new(InfluxSettings {
        url: influxdb.url().parse().unwrap(),
        target,
        gzip: true,
        tls: TlsSettings::default(),
        owner_fields: false,
        profile: Profile::default(),
        bootstrap: Some(wanted),
    })
    .unwrap()
}

fn month_and_year() -> Bootstrap {
    let day = Duration::from_secs(86_400);
    Bootstrap {
        retention: Some(30 * day),
        downsampled: Some(365 * day),
    }
}

#[tokio::test]
async fn bootstrap_makes_the_database_its_retention_and_its_continuous_queries_once() {
    let influxdb = Database::shared(DatabaseKind::InfluxDb);
    let name = format!("{} \"x\"", unique("made"));
    let sink = bootstrapping(&influxdb, v1(&name), month_and_year());
    let report = sink.check().await.unwrap();
    assert!(report.lines[1].contains("bootstrap makes it"), "{report:?}");
    sink.prepare().await.unwrap();
    let made = sink.take_made();
    assert_eq!(made[0], format!("database {name:?}"));
    assert_eq!(made[1], "retention policy \"lagline_5m\"");
    assert!(made[2].starts_with("continuous query \"kafka_"), "{made:?}");
    assert_eq!(made.len(), 8, "{made:?}");
    sink.prepare().await.unwrap();
    assert!(sink.take_made().is_empty(), "the second time all is there");

    let identifier = format!("\"{}\"", name.replace('"', "\\\""));
    let show = format!("SHOW RETENTION POLICIES ON {identifier}");
    let policies = rows(&influxdb, "", &show);
    assert!(policies.contains("\"autogen\" \"720h0m0s\""), "{policies}");
    assert!(
        policies.contains("\"lagline_5m\" \"8760h0m0s\""),
        "{policies}"
    );

    // What the queries do, done at once instead of every five minutes.
    let at = now().minus(Duration::from_secs(600));
    sink.write(&everything("prod", at)).await.unwrap();
    let queries = query(&influxdb, "", "SHOW CONTINUOUS QUERIES");
    let all = queries["results"][0]["series"].as_array().unwrap();
    let ours = all.iter().find(|series| series["name"] == *name).unwrap();
    for row in ours["values"].as_array().unwrap() {
        let text = row[1].as_str().unwrap();
        assert!(text.contains("RESAMPLE EVERY 5m FOR 1h"), "{text}");
        let select = text.split(" BEGIN ").nth(1).unwrap();
        let select = select.trim_end_matches(" END");
        let select = select.replace(" GROUP BY ", " WHERE time > now() - 1h GROUP BY ");
        let answer = query(&influxdb, &name, &select);
        let written = answer["results"][0]["series"][0]["values"][0][1].as_u64();
        assert!(written.is_some_and(|n| n > 0), "{select}: {answer}");
    }
    let kept = "SELECT lag, status_code FROM lagline_5m.kafka_lag_partition WHERE \"group\" = 'payments' GROUP BY *";
    let answer = query(&influxdb, &name, kept);
    let series = &answer["results"][0]["series"][0];
    assert_eq!(series["tags"]["partition"], "0");
    assert_eq!(series["values"][0][1], 101, "{answer}");
    assert_eq!(series["values"][0][2], 4, "{answer}");
}

#[tokio::test]
async fn bootstrap_changes_nothing_that_is_there() {
    let influxdb = Database::shared(DatabaseKind::InfluxDb);
    let name = created(&influxdb, " WITH DURATION 1d NAME \"mine\"");
    let show = format!("SHOW RETENTION POLICIES ON \"{name}\"");
    let before = rows(&influxdb, "", &show);
    let wanted = Bootstrap {
        downsampled: None,
        ..month_and_year()
    };
    let sink = bootstrapping(&influxdb, v1(&name), wanted);
    sink.prepare().await.unwrap();
    assert!(sink.take_made().is_empty());
    assert_eq!(rows(&influxdb, "", &show), before);

    // What is missing joins it: another policy to write to, and queries that read from it.
    let target = Target::V1 {
        database: name.clone(),
        retention_policy: Some("lag".to_owned()),
        login: None,
    };
    let sink = bootstrapping(&influxdb, target, month_and_year());
    sink.prepare().await.unwrap();
    assert_eq!(sink.take_made()[0], "retention policy \"lag\"");
    let after = rows(&influxdb, "", &show);
    assert!(after.starts_with(&before), "{after}");
    assert!(after.contains("\"lag\" \"720h0m0s\""), "{after}");
    sink.write(&everything("prod", now())).await.unwrap();
    let queries = rows(&influxdb, "", "SHOW CONTINUOUS QUERIES");
    let reads_from_it = format!("FROM \\\"{name}\\\".lag.kafka_lag_group ");
    assert!(queries.contains(&reads_from_it), "{queries}");
}

#[tokio::test]
async fn a_login_that_may_not_make_anything_is_said() {
    let influxdb = Database::start_with(
        DatabaseKind::InfluxDb,
        &[("INFLUXDB_HTTP_AUTH_ENABLED", "true")],
    );
    let create = "CREATE USER me WITH PASSWORD 'hunter2' WITH ALL PRIVILEGES";
    query(&influxdb, "", create);
    let create = utf8_percent_encode("CREATE USER you WITH PASSWORD 'hunter3'", NON_ALPHANUMERIC);
    let create = format!("/query?u=me&p=hunter2&q={create}");
    influxdb.send("POST", &create, "", b"").accepted();
    for (username, password, makes) in [("me", "hunter2", true), ("you", "hunter3", false)] {
        let target = Target::V1 {
            database: unique("lag"),
            retention_policy: None,
            login: Some(Login {
                username: username.to_owned(),
                password: Secret::new(password),
            }),
        };
        let sink = bootstrapping(&influxdb, target, Bootstrap::default());
        match sink.prepare().await {
            Ok(()) => assert!(makes),
            Err(WriteError::Misconfigured { reason }) => {
                assert!(!makes && !reason.contains("hunter"), "{reason}");
                assert!(
                    reason.contains("not authorized") || reason.contains("403"),
                    "{reason}"
                );
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn the_telegraf_profile_writes_what_telegraf_writes() {
    let influxdb = Database::shared(DatabaseKind::InfluxDb);
    let name = created(&influxdb, "");
    let sink = InfluxSink::new(InfluxSettings {
        url: influxdb.url().parse().unwrap(),
        target: v1(&name),
        gzip: true,
        tls: TlsSettings::default(),
        owner_fields: false,
        profile: Profile::TelegrafBurrow,
        bootstrap: None,
    })
    .unwrap();
    let batch = everything("prod", now());
    sink.write(&batch).await.unwrap();
    sink.write(&batch).await.unwrap();
    for (measurement, theirs, field) in [
        (Measurement::Group, "burrow_group", "status_code"),
        (Measurement::Partition, "burrow_partition", "status_code"),
        (Measurement::TopicOffset, "burrow_topic", "offset"),
    ] {
        assert!(sink.takes(measurement));
        let answer = query(
            &influxdb,
            &name,
            &format!("SELECT count(\"{field}\") FROM {theirs}"),
        );
        let found = &answer["results"][0]["series"][0]["values"][0][1];
        assert_eq!(*found, count(&batch, measurement), "{theirs}");
    }
    assert!(!sink.takes(Measurement::Cluster));
    let measurements = rows(&influxdb, &name, "SHOW MEASUREMENTS");
    assert_eq!(measurements.lines().count(), 3, "{measurements}");
    let tags = rows(&influxdb, &name, "SHOW TAG KEYS FROM burrow_partition");
    assert!(tags.contains("\"owner\""), "{tags}");
}
