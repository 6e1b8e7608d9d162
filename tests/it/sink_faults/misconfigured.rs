//! What only a person can mend: nothing is lost meanwhile, the health says what to do, and once it is
//! done everything is delivered without a restart.
//!
//! A misconfigured sink looks again after 30 to 60 seconds, so the cases of a server run side by side.

use lagline::sinks::http::TlsSettings;
use serde_json::json;

use super::*;
use crate::elasticsearch::{self, target};
use crate::influxdb;
use crate::services::{certificates, unique};

const UNAUTHORIZED: Fault = Fault::Answer(
    "HTTP/1.1 401 Unauthorized\r\nContent-Length: 32\r\n\r\n{\"error\":\"authorization failed\"}\n",
);
const NOT_FOUND: Fault =
    Fault::Answer("HTTP/1.1 404 Not Found\r\nContent-Length: 10\r\n\r\nnot found\n");

/// Waits until the sink says that somebody must do something: what it says.
async fn advice(health: &mut watch::Receiver<SinkHealth>) -> String {
    let words = |health: &SinkHealth| match &health.state {
        State::Misconfigured { reason, .. } => Some(reason.clone()),
        State::Starting | State::Delivering | State::Retrying { .. } | State::Stopped => None,
    };
    let health = health.wait_for(|health| words(health).is_some()).await;
    words(&health.unwrap()).unwrap()
}

/// In the middle of a backlog every write is answered so, until somebody mends it.
async fn answered(server: &Database, place: Place, what: &str, fault: Fault, words: &str) {
    let proxy = Proxy::before(server).await;
    deliver(what, &place, &proxy.address, async |mut health| {
        begun(&mut health).await;
        proxy.faults.lock().unwrap().lasting = Some(fault);
        let advice = advice(&mut health).await;
        assert!(advice.contains(words), "{what}: {advice}");
        proxy.faults.lock().unwrap().lasting = None;
    })
    .await;
    assert_eq!(place.counts(server), points(&frames()), "{what}");
}

/// The server's certificate was signed by another authority than the one that is trusted; then the
/// operator corrects `ca_file`, which takes a restart.
async fn certificate(server: &Database, place: Place) {
    let proxy = Proxy::with_certificate(server).await;
    let sink = |ca: &str| {
        let ca_file = Some(certificates().join(ca));
        let tls = TlsSettings {
            ca_file,
            ..TlsSettings::default()
        };
        place.sink_that_trusts(&proxy.address, tls)
    };
    let frames = frames();
    let (worker, mut health) = worker(sink("other-ca.pem"), &frames);
    let advice = tokio::select! {
        () = worker.run() => panic!("nobody told it to stop"),
        advice = advice(&mut health) => advice,
    };
    assert!(advice.contains("certificate"), "{advice}");
    assert_eq!(health.borrow().settled.counts, Rows::default());
    let counts = run(
        "right certificate",
        &place,
        sink("ca.pem"),
        &frames,
        async |_| {},
    )
    .await;
    assert_eq!(counts.delivered, counts.offered);
    assert_eq!(place.counts(server), points(&frames));
}

/// Somebody blocks the streams' indexes in the middle, as Elasticsearch itself does when its disk
/// is nearly full.
async fn blocked(server: &Database, mode: Mode) {
    let place = Place::search(mode);
    let Place::Search { namespace, .. } = &place else {
        panic!("it is one");
    };
    let all = format!("/{}/_settings", target(mode, "*", namespace));
    let block = |value: bool| {
        let settings = json!({ "index.blocks.write": value });
        server.json("PUT", &all, &settings.to_string()).accepted();
    };
    deliver("blocked", &place, &server.url(), async |mut health| {
        begun(&mut health).await;
        block(true);
        let advice = advice(&mut health).await;
        assert!(advice.contains("blocked"), "{advice}");
        block(false);
    })
    .await;
    assert_eq!(place.counts(server), points(&frames()), "blocked");
}

/// The operator manages the templates, and they are not there yet.
async fn without_templates(server: &Database, mode: Mode) {
    let place = Place::search(mode);
    let Place::Search { namespace, .. } = &place else {
        panic!("it is one");
    };
    let sink = place.sink_without_templates(&server.url());
    let frames = frames();
    let counts = run("no templates", &place, sink, &frames, async |mut health| {
        let advice = advice(&mut health).await;
        assert!(advice.contains("template"), "{advice}");
        assert_eq!(place.counts(server), Counts::new());
        place.sink(&server.url()).prepare().await.unwrap();
        if mode == Mode::DataStream {
            // OpenSearch does not say that a template makes streams: they must be there, too.
            for (_, dataset) in elasticsearch::DATASETS {
                let stream = target(mode, dataset, namespace);
                let path = format!("/_data_stream/{stream}");
                server.json("PUT", &path, "").accepted();
            }
        }
    })
    .await;
    assert_eq!(counts.delivered, counts.offered);
    assert_eq!(place.counts(server), points(&frames));
}

/// The database is not there yet.
async fn without_database(server: &Database) {
    let name = unique("later");
    let place = Place::Influx {
        database: name.clone(),
    };
    deliver("no database", &place, &server.url(), async |mut health| {
        let advice = advice(&mut health).await;
        assert!(advice.contains("the target must exist"), "{advice}");
        let statement = format!("CREATE DATABASE \"{name}\"");
        influxdb::query(server, "", &statement);
    })
    .await;
    assert_eq!(place.counts(server), points(&frames()), "no database");
}

#[tokio::test]
async fn influxdb_has_everything_once_after_a_person_mended_it() {
    let server = Database::shared(DatabaseKind::InfluxDb);
    let place = || Place::influx(&server);
    tokio::join!(
        answered(&server, place(), "401", UNAUTHORIZED, "check the login"),
        without_database(&server),
        certificate(&server, place()),
    );
}

#[tokio::test]
async fn elasticsearch_has_everything_once_after_a_person_mended_it() {
    let server = Database::shared(DatabaseKind::Elasticsearch);
    let place = || Place::search(Mode::Tsds);
    tokio::join!(
        answered(&server, place(), "401", UNAUTHORIZED, "check the login"),
        answered(&server, place(), "404", NOT_FOUND, "the target must exist"),
        blocked(&server, Mode::Tsds),
        without_templates(&server, Mode::Tsds),
        certificate(&server, place()),
    );
}

#[tokio::test]
async fn opensearch_has_everything_once_after_a_person_mended_it() {
    let server = Database::shared(DatabaseKind::OpenSearch);
    tokio::join!(
        blocked(&server, Mode::Index),
        blocked(&server, Mode::DataStream),
        without_templates(&server, Mode::DataStream),
        certificate(&server, Place::search(Mode::Index)),
    );
}

#[tokio::test]
async fn prometheus_has_everything_once_after_a_person_mended_it() {
    let start = || Database::start_with(DatabaseKind::Prometheus, &[prometheus::NO_WINDOW]);
    let servers = [start(), start(), start()];
    let [first, second, third] = &servers;
    tokio::join!(
        answered(
            first,
            Place::Prometheus,
            "401",
            UNAUTHORIZED,
            "check the login"
        ),
        answered(
            second,
            Place::Prometheus,
            "404",
            NOT_FOUND,
            "the target must exist"
        ),
        certificate(third, Place::Prometheus),
    );
}
