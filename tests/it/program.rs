//! The built program on a real Kafka: it starts, is killed, goes on from its store, stops.

use crate::kafka_client::Client;
use crate::lagline::Lagline;
use crate::services::{Kafka, KafkaVersion, unique};

#[test]
fn the_program_watches_is_killed_goes_on_and_stops() {
    let kafka = Kafka::shared(KafkaVersion::V4);
    let client = Client::new(&kafka.bootstrap());
    let (topic, group) = (unique("topic"), unique("group"));
    client.create_topic(&topic, 1);
    client.produce(&topic, 0, 10);
    client.commit(&group, &[(&topic, 0, 10)]);

    let mut lagline = Lagline::watch("c", &kafka.bootstrap());
    lagline.ready();
    lagline.until_group("c", &group, "is fine", |seen| {
        seen["status"] == "OK" && seen["lag"] == 0
    });
    assert_eq!(lagline.group_status("c", &group).as_deref(), Some("OK"));
    lagline.kill9();
    client.produce(&topic, 0, 5);
    lagline.restart();
    lagline.until_group("c", &group, "lags by 5", |seen| seen["lag"] == 5);
    lagline.until_health("c", "is well", |health| health["status"] == "ok");
    lagline.stop();
    assert!(lagline.log().contains("stopped"), "{}", lagline.log());
}
