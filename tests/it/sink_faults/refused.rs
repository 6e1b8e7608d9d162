//! A part of every request that the server will never take: this part is counted as refused, the
//! rest is there once.

use std::collections::BTreeSet;

use lagline::points::Measurement;
use serde_json::json;

use super::*;
use crate::influxdb;
use crate::sink_contract::newest_seq;

/// Ten days of beats: older than what the servers of these tests take.
const LONG_AGO: i64 = 10 * 8_640;

/// A backlog of which every second frame is from long ago: half of every request.
fn half_of_long_ago() -> Vec<Arc<Frame>> {
    let first = newest_seq();
    let frame = |number: i64| {
        if !is_old(number) {
            return sample::small(number);
        }
        let old = sample::small(number - LONG_AGO);
        let body = old.body.clone();
        let seq = Seq(number);
        Arc::new(Frame { seq, body, ..*old })
    };
    (first..first + 60).map(frame).collect()
}

fn is_old(number: i64) -> bool {
    number % 2 == 0
}

async fn half_is_too_old(server: &Database, place: &Place) {
    let all = half_of_long_ago();
    let (old, new): (Vec<_>, Vec<_>) = all.iter().cloned().partition(|frame| is_old(frame.seq.0));
    let rows = |frames: &[Arc<Frame>]| frames.iter().map(|frame| frame.rows).sum::<u64>();
    let sink = place.sink(&server.url());
    let mut why = None;
    let counts = run(
        "half of it too old",
        place,
        sink,
        &all,
        async |mut health| {
            let has_refused = |health: &SinkHealth| health.last_rejection.is_some();
            why.clone_from(&health.wait_for(has_refused).await.unwrap().last_rejection);
        },
    )
    .await;
    assert_eq!(
        (counts.rejected, counts.delivered),
        (rows(&old), rows(&new))
    );
    assert_eq!(place.counts(server), points(&new));
    assert!(
        why.as_ref().is_some_and(|why| why.starts_with("too_old: ")),
        "{why:?}"
    );
}

#[tokio::test]
async fn influxdb_has_the_half_it_takes() {
    let server = Database::shared(DatabaseKind::InfluxDb);
    let database = influxdb::created(&server, " WITH DURATION 1d");
    half_is_too_old(&server, &Place::Influx { database }).await;
}

#[tokio::test]
async fn elasticsearch_has_the_half_it_takes() {
    let server = Database::shared(DatabaseKind::Elasticsearch);
    half_is_too_old(&server, &Place::search(Mode::Tsds)).await;
}

#[tokio::test]
async fn opensearch_has_the_half_it_takes() {
    let server = Database::shared(DatabaseKind::OpenSearch);
    let place = Place::search(Mode::Index);
    let Place::Search { namespace, .. } = &place else {
        panic!("it is one");
    };
    // Somebody made the indexes for partitions with a status that is a number.
    let odd = json!({ "mappings": { "properties": { "kafka": { "properties": { "lag": {
        "properties": { "status": { "type": "long" } }
    }}}}}});
    let frames = frames();
    let days = frames
        .iter()
        .map(|frame| crate::kill::places::day(frame.beat.as_ms()));
    for day in days.collect::<BTreeSet<_>>() {
        let index = format!("/kafka_lag.partition-{namespace}-{day}");
        server.json("PUT", &index, &odd.to_string()).accepted();
    }
    let counts = run(
        "one type of four",
        &place,
        place.sink(&server.url()),
        &frames,
        async |_| {},
    )
    .await;
    let mut expected = points(&frames);
    let refused = expected.remove(Measurement::Partition.name()).unwrap();
    assert_eq!(counts.rejected, refused);
    assert_eq!(counts.delivered, counts.offered - refused);
    assert_eq!(place.counts(&server), expected);
}
