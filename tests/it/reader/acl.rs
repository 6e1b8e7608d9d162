//! Permissions: what is said without them, and that reading begins as soon as they are given.

use std::io::{Read, Write};
use std::net::TcpStream;

use lagline::config::secret::Secret;
use lagline::kafka::client::{Mechanism, Sasl, Tls};

use super::*;
use crate::services::{SASL_PASSWORD, SASL_USER};

const READ: i8 = 3;
const DESCRIBE: i8 = 8;

/// Allows `SASL_USER` an operation on a topic: a CreateAcls request (version 1), as rdkafka has none.
fn allow(kafka: &Kafka, operation: i8, topic: &str) {
    let text = |text: &str| {
        let length = i16::try_from(text.len()).unwrap();
        [&length.to_be_bytes(), text.as_bytes()].concat()
    };
    let mut body = Vec::new();
    for number in [30_i16, 1] {
        body.extend(number.to_be_bytes()); // the request and its version
    }
    body.extend(1_i32.to_be_bytes());
    body.extend(text("test"));
    body.extend(1_i32.to_be_bytes());
    body.push(2); // a topic
    body.extend(text(topic));
    body.push(3); // of this very name
    body.extend(text(&format!("User:{SASL_USER}")));
    body.extend(text("*"));
    body.extend(operation.to_be_bytes());
    body.push(3); // allowed
    let mut stream = TcpStream::connect(kafka.bootstrap()).unwrap();
    let length = i32::try_from(body.len()).unwrap();
    stream.write_all(&length.to_be_bytes()).unwrap();
    stream.write_all(&body).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
    stream.read_exact(&mut answer).unwrap();
    // Correlation id, throttle time, one result, its error.
    assert_eq!(answer[8..14], [0, 0, 0, 1, 0, 0], "{answer:?}");
}

#[test]
fn a_missing_permission_is_named_and_reading_begins_once_it_is_given() {
    for version in KafkaVersion::ALL {
        let kafka = Kafka::builder(version)
            .sasl_ssl()
            .property(
                "authorizer.class.name",
                "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            )
            .property("super.users", "User:ANONYMOUS")
            .start();
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
        allow(&kafka, DESCRIBE, OFFSETS_TOPIC);
        run.until("the partitions", |seen| !seen.progress.is_empty());
        run.until_problem(sentence);
        assert!(!run.seen.is_caught_up());
        allow(&kafka, READ, OFFSETS_TOPIC);
        run.until_offset("g", "t", 0, 3);
        run.until_caught_up();
        run.until_no_problem();
    }
}
