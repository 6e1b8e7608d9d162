//! Permissions: what is said without them, and that reading begins as soon as they are given.

use lagline::config::secret::Secret;
use lagline::kafka::client::{Mechanism, Sasl, Tls};
use rdkafka_sys::rd_kafka_AclOperation_t as Operation;

use super::*;
use crate::acls::Acls;
use crate::services::{SASL_PASSWORD, SASL_USER};

#[test]
fn a_missing_permission_is_named_and_reading_begins_once_it_is_given() {
    for version in KafkaVersion::ALL {
        let kafka = Kafka::builder(version).access_control().start();
        let acls = Acls::new(&kafka.bootstrap(), SASL_USER);
        let client = Client::new(&kafka.bootstrap());
        client.create_topic("t", 1);
        client.commit("g", &[("t", 0, 3)]);
        let mut settings = KafkaSettings::new(vec![kafka.sasl_bootstrap()]);
        settings.tls = Some(Tls {
            ca_file: Some(kafka.ca_file()),
            ..Tls::default()
        });
        settings.sasl = Some(Sasl {
            mechanism: Mechanism::Plain,
            username: SASL_USER.to_owned(),
            password: Secret::new(SASL_PASSWORD),
        });
        let mut run = Run::with(settings);
        let sentence = "grant the ACL READ on TOPIC __consumer_offsets";
        run.until_problem(sentence);
        assert!(run.seen.progress.is_empty(), "nothing can be known yet");
        // It may be seen now, but not read.
        acls.allow(Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE, OFFSETS_TOPIC);
        run.until("the partitions", |seen| !seen.progress.is_empty());
        run.until_problem(sentence);
        assert!(!run.seen.is_caught_up());
        acls.allow(Operation::RD_KAFKA_ACL_OPERATION_READ, OFFSETS_TOPIC);
        run.until_offset("g", "t", 0, 3);
        run.until_caught_up();
        run.until_no_problem();
    }
}
