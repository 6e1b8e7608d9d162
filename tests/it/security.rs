//! TLS, SASL and permissions on real listeners, with the words that are said when they fail.

use std::path::PathBuf;
use std::time::Duration;

use lagline::config::secret::Secret;
use lagline::kafka::check::{Finding, Level, check};
use lagline::kafka::client::{KafkaSettings, Mechanism, Sasl, Tls};
use lagline::kafka::log_offsets::TopicChange;
use rdkafka_sys::rd_kafka_AclOperation_t as Operation;

use crate::acls::Acls;
use crate::kafka_client::Client;
use crate::log_offsets::{Asked, changes_of, logs};
use crate::services::{Kafka, KafkaVersion, SASL_PASSWORD, SASL_USER, wait};

const LIMIT: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_secs(3);

fn settings(
    kafka: &Kafka,
    mechanism: Mechanism,
    password: &str,
    ca_file: PathBuf,
) -> KafkaSettings {
    let mut settings = KafkaSettings::new(vec![kafka.sasl_bootstrap()]);
    settings.tls = Some(Tls {
        ca_file: Some(ca_file),
        ..Tls::default()
    });
    settings.sasl = Some(Sasl {
        mechanism,
        username: SASL_USER.to_owned(),
        password: Secret::new(password),
    });
    settings
}

/// The reason why the cluster is down, as the health and as the check give it.
fn refused(settings: &KafkaSettings) -> String {
    let asked = Asked::new(settings.clone());
    let reason = wait::until_some("a reason that names the cause", LIMIT, || {
        let connection = asked.fetch(SHORT).connection;
        assert!(!connection.up);
        // Before librdkafka has tried for the first time nothing is known.
        connection
            .reason
            .filter(|reason| !reason.starts_with("no broker"))
    });
    let findings = check(settings, SHORT);
    let [finding] = &findings[..] else {
        panic!("one finding: {findings:?}");
    };
    assert_eq!(finding.level, Level::Error);
    let shown = finding.to_string();
    let password = settings.sasl.as_ref().map(|sasl| sasl.password.reveal());
    for text in [&reason, &shown] {
        assert!(!text.contains(password.unwrap_or("\0")), "{text}");
    }
    eprintln!("health: {reason}\ncheck:  {shown}");
    let cause = reason.split(" (").next().unwrap();
    assert!(shown.contains(cause), "{shown} has the cause of {reason}");
    reason
}

#[test]
fn every_mechanism_over_tls_is_let_in_or_refused_with_a_reason() {
    let kafka = Kafka::builder(KafkaVersion::V4).sasl_ssl().start();
    let client = Client::new(&kafka.bootstrap());
    client.create_topic("orders", 1);
    client.produce("orders", 0, 3);
    client.commit("billing", &[("orders", 0, 1)]);
    for mechanism in Mechanism::ALL {
        let good = settings(&kafka, mechanism, SASL_PASSWORD, kafka.ca_file());
        let asked = Asked::new(good.clone());
        let answer = asked.fetch(TIMEOUT);
        assert!(answer.connection.up, "{:?}", answer.connection);
        assert_eq!(logs(&answer, "orders").unwrap()[0].end, Some(3));
        let findings = check(&good, TIMEOUT);
        assert!(
            findings.iter().all(|finding| finding.level == Level::Ok),
            "{findings:?}"
        );

        let wrong = settings(&kafka, mechanism, "hunter2", kafka.ca_file());
        let reason = refused(&wrong);
        assert!(reason.starts_with("authentication failed"), "{reason}");
        assert!(reason.contains("check mechanism, username and password"));
    }
}

#[test]
fn a_certificate_of_an_unknown_authority_is_refused_unless_told_otherwise() {
    let kafka = Kafka::builder(KafkaVersion::V3).sasl_ssl().start();
    let other = kafka.other_ca_file();
    let mut settings = settings(&kafka, Mechanism::Plain, SASL_PASSWORD, other);
    let reason = refused(&settings);
    assert!(reason.starts_with("tls failed; check ca_file"), "{reason}");
    assert!(reason.contains("certificate"), "{reason}");

    settings.tls = Some(Tls {
        verify: false,
        ..Tls::default()
    });
    let answer = Asked::new(settings.clone()).fetch(TIMEOUT);
    assert!(answer.connection.up, "{:?}", answer.connection);

    settings.tls = None;
    let reason = refused(&settings);
    assert!(
        reason.starts_with("the broker hangs up; check that tls and sasl"),
        "{reason}"
    );
}

/// The permissions that `check` misses, as "Operation topic".
fn missing(findings: &[Finding]) -> Vec<String> {
    let missing = findings
        .iter()
        .filter_map(|finding| finding.missing.as_ref());
    missing
        .map(|acl| {
            assert_eq!(acl.user.as_deref(), Some(SASL_USER));
            format!("{} {}", acl.operation, acl.topic)
        })
        .collect()
}

#[test]
fn check_names_every_missing_permission() {
    for version in KafkaVersion::ALL {
        let kafka = Kafka::builder(version).access_control().start();
        let settings = settings(&kafka, Mechanism::Plain, SASL_PASSWORD, kafka.ca_file());
        let expect = |expected: &[&str], why: &str| {
            // Kafka's authorizer hears of a change a moment after the answer.
            let mut findings = Vec::new();
            wait::until(&format!("{version:?} {expected:?}: {why}"), LIMIT, || {
                findings = check(&settings, TIMEOUT);
                missing(&findings) == expected
            });
            for finding in &findings {
                eprintln!("{version:?} {finding}");
            }
            findings
        };
        let client = Client::new(&kafka.bootstrap());
        let acls = Acls::new(&kafka.bootstrap(), SASL_USER);
        let offsets = "__consumer_offsets";

        expect(
            &["Read __consumer_offsets", "Describe *"],
            "a broker hides what may not be seen, even that it does not exist",
        );
        client.create_topic("orders", 1);
        client.commit("billing", &[("orders", 0, 0)]);
        expect(
            &["Read __consumer_offsets", "Describe *"],
            "nothing is allowed",
        );
        acls.allow(Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE, offsets);
        expect(&["Read __consumer_offsets", "Describe *"], "seen, not read");
        acls.allow(Operation::RD_KAFKA_ACL_OPERATION_READ, offsets);
        let findings = expect(&["Describe *"], "commits, but no end offsets");
        let worst = findings.iter().map(|finding| finding.level).max();
        assert_eq!(worst, Some(Level::Warning));
        acls.allow(Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE, "*");
        let findings = expect(&[], "everything is allowed");
        assert!(findings.iter().all(|finding| finding.level == Level::Ok));

        let asked = Asked::new(settings.clone());
        asked.fetch_until("the topic is seen", |answer| {
            logs(answer, "orders").map(|_| ())
        });
        acls.forbid(Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE, "*");
        expect(&["Describe *"], "taken away again");
        // Each fetch is followed by a refresh: more than the three that a deletion takes.
        for _ in 0..8 {
            let answer = asked.fetch(TIMEOUT);
            let changes = changes_of(&answer, "orders");
            let deleted = changes
                .iter()
                .any(|c| matches!(c, TopicChange::Deleted { .. }));
            assert!(!deleted, "a lost permission deletes nothing");
            wait::until("the next refresh is due", LIMIT, {
                let since = lagline::clock::Stopwatch::start();
                move || since.elapsed() > Duration::from_millis(60)
            });
        }
        let answer = asked.fetch(TIMEOUT);
        assert_eq!(logs(&answer, "orders").unwrap()[0].end, None);
    }
}
