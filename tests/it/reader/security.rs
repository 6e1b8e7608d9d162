//! TLS and SASL, and what is said when they do not fit.

use lagline::config::secret::Secret;
use lagline::kafka::client::{KafkaSettings, Mechanism, Sasl, Tls};

use super::Run;
use crate::kafka_client::Client;
use crate::services::{Kafka, KafkaVersion, SASL_PASSWORD, SASL_USER};

fn settings(kafka: &Kafka, mechanism: Mechanism, password: &str) -> KafkaSettings {
    let mut settings = KafkaSettings::new(vec![kafka.sasl_bootstrap()]);
    settings.tls = Some(Tls {
        ca_file: Some(kafka.ca_file()),
        ..Tls::default()
    });
    settings.sasl = Some(Sasl {
        mechanism,
        username: SASL_USER.to_owned(),
        password: Secret::new(password),
    });
    settings
}

#[test]
fn every_mechanism_reads_over_tls_and_a_wrong_one_is_named() {
    let kafka = Kafka::builder(KafkaVersion::V4).sasl_ssl().start();
    let client = Client::new(&kafka.bootstrap());
    client.create_topic("t", 1);
    client.commit("g", &[("t", 0, 3)]);
    for mechanism in Mechanism::ALL {
        let mut run = Run::with(settings(&kafka, mechanism, SASL_PASSWORD));
        run.until_offset("g", "t", 0, 3);
    }

    let mut unverified = settings(&kafka, Mechanism::Plain, SASL_PASSWORD);
    unverified.tls = Some(Tls {
        verify: false,
        ..Tls::default()
    });
    Run::with(unverified).until_offset("g", "t", 0, 3);

    for mechanism in [Mechanism::Plain, Mechanism::ScramSha512] {
        let mut run = Run::with(settings(&kafka, mechanism, "wrong"));
        run.until_problem("authentication failed; check mechanism, username and password");
        let problem = run.stats.problem().unwrap_or_default();
        assert!(!problem.contains(SASL_PASSWORD), "{problem}");
    }

    let mut stranger = settings(&kafka, Mechanism::Plain, SASL_PASSWORD);
    stranger.tls = Some(Tls {
        ca_file: Some(kafka.other_ca_file()),
        ..Tls::default()
    });
    Run::with(stranger).until_problem("tls failed; check ca_file");
}
