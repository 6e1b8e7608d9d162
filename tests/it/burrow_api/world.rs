//! One Kafka, a Burrow and a lagline that watch it, and groups of every kind.
//!
//! Only the group that falls behind gets new records. So the lag of all other commits is the same
//! whenever a monitor looks, and both can be held against each other to the digit.

use crate::kafka_client::{Client, Member, Protocol};
use crate::lagline::{LIMIT, Lagline};
use crate::services::{Burrow, Kafka, KafkaVersion, wait};

pub const CLUSTER: &str = "c";

/// Groups that nobody commits for any more: what is said of them stays as it is.
pub const RESTING: [&str; 8] = [
    "healthy",
    "stopped",
    "partial",
    "late",
    "100%größe",
    "a.b:c+d&e,f;g=h@i",
    "<b>\"quoted\"\\'",
    "%2525",
];
/// A slash: Burrow cannot be asked for it.
pub const SLASHED: &str = "a/b";
/// Spaces: Burrow knows the group, and forgets it when it judges.
pub const SPACED: &str = "a b  c";
/// It has a member: 1.2.1 does not read the group metadata that Kafka 3.9 writes.
pub const OWNED: &str = "owned";

pub struct World {
    pub lagline: Lagline,
    pub burrow: Burrow,
    pub client: Client,
    _member: Member,
    _kafka: Kafka,
}

impl World {
    pub fn start() -> Self {
        let kafka = Kafka::start(KafkaVersion::V3);
        let client = Client::new(&kafka.bootstrap());
        client.create_topic("orders", 3);
        client.create_topic("pay.v1_x-y", 1);
        client.create_topic("growing", 1);
        for partition in 0..3 {
            client.produce("orders", partition, 40);
        }
        client.produce("pay.v1_x-y", 0, 1_000);
        client.produce("growing", 0, 10);
        let burrow = Burrow::watch(CLUSTER, &kafka.bootstrap());
        let lagline = Lagline::start_server(
            "listen = \"127.0.0.1:0\"\ncors_origin = \"https://ops.example\"\n\
             burrow_metrics = true\n",
            &crate::lagline::cluster_config(CLUSTER, &kafka.bootstrap()),
        );
        lagline.ready();
        // Burrow drops a commit that it reads before it knows its topic's end.
        for (topic, ends) in [
            ("orders", "[40,40,40]"),
            ("pay.v1_x-y", "[1000]"),
            ("growing", "[10]"),
        ] {
            until_ends(&burrow, &lagline, topic, ends);
        }
        // The first commits of the groups that are judged while they go on: see `go_on`.
        client.commit("stalled", &[("orders", 0, 5)]);
        client.commit("rewound", &[("orders", 1, 30)]);
        client.commit("slow", &[("growing", 0, 4)]);
        let member = commit_all(&client);
        Self {
            lagline,
            burrow,
            client,
            _member: member,
            _kafka: kafka,
        }
    }

    /// Commits again for one of the groups that are judged while they go on. None counts as
    /// stopped for as long as it has been there.
    pub fn go_on(&self, group: &str) {
        let at = match group {
            "stalled" => ("orders", 0, 5),
            "rewound" => ("orders", 1, 20),
            _ => ("growing", 0, 6),
        };
        self.client.commit(group, &[at]);
    }

    /// Writes records that the slow group does not read.
    pub fn fall_behind(&self) {
        self.client.produce("growing", 0, 10);
        until_ends(&self.burrow, &self.lagline, "growing", "[20]");
    }
}

fn until_ends(burrow: &Burrow, lagline: &Lagline, topic: &str, ends: &str) {
    let path = format!("/v3/kafka/{CLUSTER}/topic/{topic}");
    wait::until(&format!("both know the ends of {topic}"), LIMIT, || {
        let theirs = burrow.send("GET", &path, &[], "").body;
        let ours = lagline.send("GET", &path, &[], "").body;
        let ends = format!("\"offsets\":{ends}");
        theirs.contains(&ends) && ours.contains(&ends)
    });
}

fn commit_all(client: &Client) -> Member {
    let topics = ["orders", "pay.v1_x-y"];
    let properties = [("client.id", "worker <1>")];
    let member = client.join_idle(OWNED, &topics, Protocol::Classic, &properties);
    member.wait_assigned(4);
    for round in 1..=12 {
        let end = [("orders", 0, 28 + round), ("pay.v1_x-y", 0, 988 + round)];
        client.commit("healthy", &end);
        client.commit("stopped", &[("orders", 1, round), ("orders", 2, 2 * round)]);
    }
    for round in 1..=3 {
        client.commit("partial", &[("orders", 0, 37 + round)]);
    }
    member.commit(&[("orders", 0, 40), ("pay.v1_x-y", 0, 1_000)]);
    client.commit("late", &[("orders", 2, 7), ("pay.v1_x-y", 0, 1)]);
    for (at, group) in (1..).zip(RESTING[4..].iter().chain(&[SLASHED, SPACED])) {
        client.commit(group, &[("orders", 0, at), ("orders", 1, 40)]);
    }
    member
}
