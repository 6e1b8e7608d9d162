//! The reader of the offsets topic against real Kafka: what arrives, what it waits for, and what becomes of it
//! when the cluster or the topic changes under it.

mod acl;
mod topic;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use lagline::clock::Timestamp;
use lagline::kafka::client::{Isolation, KafkaError, KafkaSettings};
use lagline::kafka::log_offsets::LogAnswer;
use lagline::kafka::offsets::{OffsetsReader, ReaderEnd, ReaderStats};
use lagline::lag::event::{Event, EventBatch, GroupChange, GroupKind, ReaderProgress};
use lagline::lag::ids::{ClusterName, Order, TopicId};
use tokio::sync::mpsc::{Receiver, channel};
use tokio_util::sync::CancellationToken;

use crate::kafka_client::{Client, Protocol};
use crate::log_offsets::Asked;
use crate::services::{Kafka, KafkaVersion, unique, wait};

const LIMIT: Duration = Duration::from_secs(60);
const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// A group, a topic and a partition.
type Key = (String, String, i32);

/// The newest commit of a group-partition.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Newest {
    order: Order,
    offset: i64,
    timestamp: Timestamp,
    topic_id: Option<TopicId>,
}

/// What a cluster's core would know.
#[derive(Debug, Default)]
struct Seen {
    commits: BTreeMap<Key, Newest>,
    commit_count: usize,
    deleted: Vec<Key>,
    changes: Vec<(String, GroupChange)>,
    gone: Vec<(String, GroupKind)>,
    progress: BTreeMap<i32, ReaderProgress>,
    /// Progress events that said "no such topic".
    absent: usize,
}

impl Seen {
    fn apply(&mut self, event: Event<'_>) {
        if let Event::Committed(commit) = event {
            self.commit_count += 1;
            let key = (commit.group.into(), commit.topic.into(), commit.partition);
            let new = Newest {
                order: commit.order,
                offset: commit.offset,
                timestamp: commit.timestamp,
                topic_id: commit.topic_id,
            };
            let newest = self.commits.entry(key).or_insert(new);
            if new.order >= newest.order {
                *newest = new;
            }
        } else if let Event::CommitDeleted {
            group,
            topic,
            partition,
            ..
        } = event
        {
            self.deleted.push((group.into(), topic.into(), partition));
        } else if let Event::GroupChanged { group, change, .. } = event {
            self.changes.push((group.into(), change.clone()));
        } else if let Event::GroupDeleted { group, kind, .. } = event {
            self.gone.push((group.into(), kind));
        } else if let Event::ReaderProgress(progress) = event {
            if progress.partitions == 0 {
                self.absent += 1;
            } else {
                self.progress.insert(progress.partition, progress);
            }
        }
    }

    fn offset(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        let key = (group.to_owned(), topic.to_owned(), partition);
        self.commits.get(&key).map(|newest| newest.offset)
    }

    fn is_caught_up(&self) -> bool {
        let mut all = self.progress.values();
        self.progress
            .values()
            .next()
            .is_some_and(|any| usize::try_from(any.partitions).unwrap() == self.progress.len())
            && all.all(|progress| progress.caught_up)
    }
}

/// A reader on its thread, and what came out of it so far.
struct Run {
    thread: Option<JoinHandle<Result<ReaderEnd, KafkaError>>>,
    events: Receiver<EventBatch>,
    stats: Arc<ReaderStats>,
    stop: CancellationToken,
    seen: Seen,
}

impl Run {
    fn start(kafka: &Kafka) -> Self {
        Self::with(KafkaSettings::new(vec![kafka.bootstrap()]))
    }

    fn with(settings: KafkaSettings) -> Self {
        let (out, events) = channel(8);
        let stats = Arc::new(ReaderStats::default());
        let stop = CancellationToken::new();
        let cluster = ClusterName::new("test");
        let reader = OffsetsReader::new(cluster, settings, out, Arc::clone(&stats), stop.clone());
        Self {
            thread: Some(std::thread::spawn(|| reader.run())),
            events,
            stats,
            stop,
            seen: Seen::default(),
        }
    }

    fn until(&mut self, what: &str, mut is_so: impl FnMut(&Seen) -> bool) {
        let what = format!("the reader has seen: {what}");
        wait::until_ok(&what, LIMIT, || {
            while let Ok(batch) = self.events.try_recv() {
                batch.iter().for_each(|event| self.seen.apply(event));
            }
            if is_so(&self.seen) {
                return Ok(());
            }
            Err(format!(
                "problem {:?}; {:?}",
                self.stats.problem(),
                self.seen
            ))
        });
    }

    fn until_caught_up(&mut self) {
        self.until("every partition to its end", Seen::is_caught_up);
    }

    fn until_offset(&mut self, group: &str, topic: &str, partition: i32, offset: i64) {
        self.until(&format!("{group} at {offset}"), |seen| {
            seen.offset(group, topic, partition) == Some(offset)
        });
    }

    fn until_problem(&mut self, part: &str) {
        let stats = Arc::clone(&self.stats);
        self.until(&format!("the problem {part:?}"), |_| {
            stats
                .problem()
                .is_some_and(|problem| problem.contains(part))
        });
    }

    fn until_no_problem(&mut self) {
        let stats = Arc::clone(&self.stats);
        self.until("no problem", |_| stats.problem().is_none());
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.stop.cancel();
        self.events.close();
        while self.events.try_recv().is_ok() {}
        if let Some(thread) = self.thread.take()
            && !std::thread::panicking()
        {
            thread.join().unwrap().unwrap();
        }
    }
}

#[test]
fn waits_for_the_topic_without_creating_it_then_reads_everything_also_when_started_again() {
    for version in KafkaVersion::ALL {
        let kafka = Kafka::start(version);
        let client = Client::new(&kafka.bootstrap());
        let mut first = Run::start(&kafka);
        first.until("three times no topic", |seen| seen.absent >= 3);
        let problem = first.stats.problem().unwrap_or_default();
        assert!(problem.contains("does not exist yet"), "{problem}");
        assert!(
            client.leaders(OFFSETS_TOPIC).is_empty(),
            "created by reading"
        );

        client.create_topic("t", 3);
        client.commit("g", &[("t", 0, 5), ("t", 2, 7)]);
        first.until_offset("g", "t", 2, 7);
        first.until_caught_up();
        first.until_no_problem();
        client.commit("g", &[("t", 0, 6)]);
        first.until_offset("g", "t", 0, 6);

        let mut second = Run::start(&kafka);
        second.until_caught_up();
        assert_eq!(second.seen.commits, first.seen.commits, "{version:?}");
        let newest = second.seen.commits[&("g".to_owned(), "t".to_owned(), 0)];
        assert_eq!(newest.topic_id.is_some(), version == KafkaVersion::V4);
        let counts = second.stats.counts();
        assert_eq!(
            (counts.malformed, counts.unknown.len()),
            (0, 0),
            "{counts:?}"
        );
        assert_eq!(counts.commits, 3);
    }
}

#[test]
fn members_deletions_and_kinds_of_groups_arrive() {
    for (version, protocol) in [
        (KafkaVersion::V3, Protocol::Classic),
        (KafkaVersion::V4, Protocol::Classic),
        (KafkaVersion::V4, Protocol::Consumer),
    ] {
        let kafka = Kafka::shared(version);
        let client = Client::new(&kafka.bootstrap());
        let (topic, group) = (unique("topic"), unique("group"));
        client.create_topic(&topic, 2);
        let mut run = Run::start(&kafka);
        let member = client.join_idle(&group, &[&topic], protocol, &[("client.id", "worker")]);
        member.wait_assigned(2);
        member.commit(&[(&topic, 1, 9)]);
        run.until_offset(&group, &topic, 1, 9);
        run.until("the member and its partitions", |seen| {
            let mut mine = seen.changes.iter().filter(|(of, _)| *of == group);
            mine.any(|(_, change)| is_whole_member(change, &topic))
                && (protocol == Protocol::Classic || is_assigned(seen, &group))
        });
        drop(member);
        run.until("the member is gone", |seen| {
            seen.changes.iter().any(|(of, change)| {
                *of == group
                    && match change {
                        GroupChange::Classic {
                            generation,
                            members,
                            ..
                        } => *generation > 1 && members.is_empty(),
                        GroupChange::MemberLeft { .. } => true,
                        GroupChange::Kind(_)
                        | GroupChange::MemberJoined(_)
                        | GroupChange::MemberAssigned { .. } => false,
                    }
            })
        });
        client.delete_group(&group);
        let kind = match protocol {
            Protocol::Classic => GroupKind::Classic,
            Protocol::Consumer => GroupKind::Consumer,
        };
        run.until("the group and its commit are gone", |seen| {
            seen.gone.contains(&(group.clone(), kind))
                && seen.deleted.contains(&(group.clone(), topic.clone(), 1))
        });
    }
}

/// One member of ours, with both partitions where the record tells them.
fn is_whole_member(change: &GroupChange, topic: &str) -> bool {
    match change {
        GroupChange::Classic {
            protocol_type,
            members,
            ..
        } => members.iter().any(|member| {
            protocol_type == "consumer"
                && member.client_id == "worker"
                && member.client_host == "/127.0.0.1"
                && member.assignment == [(topic.to_owned(), vec![0, 1])]
        }),
        GroupChange::MemberJoined(member) => {
            member.client_id == "worker" && member.client_host == "/127.0.0.1"
        }
        GroupChange::Kind(_)
        | GroupChange::MemberAssigned { .. }
        | GroupChange::MemberLeft { .. } => false,
    }
}

fn is_assigned(seen: &Seen, group: &str) -> bool {
    let mut mine = seen.changes.iter().filter(|(of, _)| of == group);
    let is_kind = mine.any(|(_, change)| *change == GroupChange::Kind(GroupKind::Consumer));
    let mut mine = seen.changes.iter().filter(|(of, _)| of == group);
    is_kind
        && mine.any(|(_, change)| {
            matches!(change, GroupChange::MemberAssigned { partitions, .. } if partitions.len() == 2)
        })
}

#[test]
fn a_killed_kafka_is_said_and_reading_goes_on_when_it_is_back() {
    let mut kafka = Kafka::start(KafkaVersion::V4);
    let client = Client::new(&kafka.bootstrap());
    client.create_topic("t", 1);
    client.commit("g", &[("t", 0, 1)]);
    let mut run = Run::start(&kafka);
    run.until_caught_up();
    let key = ("g".to_owned(), "t".to_owned(), 0);
    let epoch = run.seen.commits[&key].order.epoch;
    kafka.kill();
    run.until_problem("kafka does not answer");
    let last = run.seen.progress.values().map(|told| told.at).max();
    kafka.restart();
    client.commit("g", &[("t", 0, 2)]);
    run.until_offset("g", "t", 0, 2);
    run.until_no_problem();
    run.until("fresh progress of every partition", |seen| {
        seen.progress.values().all(|told| Some(told.at) > last)
    });
    let order = run.seen.commits[&key].order;
    assert_eq!(order.epoch, epoch, "nothing here makes offsets count anew");
}

#[test]
fn a_frozen_kafka_gives_no_fresh_progress() {
    let kafka = Kafka::start(KafkaVersion::V3);
    let client = Client::new(&kafka.bootstrap());
    client.create_topic("t", 1);
    client.commit("g", &[("t", 0, 1)]);
    let mut run = Run::start(&kafka);
    run.until_caught_up();
    kafka.freeze();
    run.until_problem("kafka does not answer");
    let last = run.seen.progress.values().map(|told| told.at).max();
    kafka.thaw();
    run.until("fresh progress", |seen| {
        seen.progress.values().any(|told| Some(told.at) > last)
    });
    run.until_no_problem();
}

/// A broker that was away for longer than its session names no broker until it is let in again; librdkafka then
/// gives up all it knew, and its own way back can be lost in a race. Here it has none.
#[test]
fn a_client_that_has_lost_every_broker_finds_back() {
    let kafka = Kafka::start(KafkaVersion::V4);
    let client = Client::new(&kafka.bootstrap());
    client.create_topic("t", 1);
    client.commit("g", &[("t", 0, 1)]);
    let mut settings = KafkaSettings::new(vec![kafka.bootstrap()]);
    let properties = [
        ("metadata.recovery.strategy", "none"),
        ("topic.metadata.refresh.interval.ms", "200"),
    ];
    for (name, value) in properties {
        settings.properties.insert(name.to_owned(), value.into());
    }
    let asked = Asked::new(settings.clone());
    let is_up = |answer: &LogAnswer| answer.connection.up.then_some(());
    asked.fetch_until("an answer", is_up);
    let mut run = Run::with(settings);
    run.until_caught_up();
    kafka.freeze();
    run.until_problem("kafka does not answer");
    kafka.thaw();
    asked.fetch_until("an answer again", is_up);
    run.until_no_problem();
}

#[test]
fn a_broker_that_is_away_costs_its_partitions_only() {
    let mut kafka = Kafka::builder(KafkaVersion::V4).brokers(2).start();
    let client = Client::new(&kafka.bootstrap());
    client.create_topic("t", 1);
    client.commit("g", &[("t", 0, 1)]);
    let mut run = Run::start(&kafka);
    run.until_caught_up();
    let leaders = client.leaders(OFFSETS_TOPIC);
    let is_led_by = |broker: i32, told: &ReaderProgress| {
        leaders[usize::try_from(told.partition).unwrap()] == broker
    };
    kafka.kill_broker(2);
    run.until_problem("partitions of topic __consumer_offsets do not answer");
    let last = run.seen.progress.values().map(|told| told.at).max();
    run.until("fresh progress of what broker 1 leads", |seen| {
        let all = seen.progress.values();
        let mut mine = all.filter(|told| is_led_by(1, told));
        mine.all(|told| Some(told.at) > last)
    });
    let all = run.seen.progress.values();
    let others: Vec<_> = all.filter(|told| is_led_by(2, told)).collect();
    assert!(!others.is_empty(), "{leaders:?}");
    assert!(
        others.iter().all(|told| Some(told.at) <= last),
        "{others:?}"
    );
    kafka.restart_broker(2);
    run.until_no_problem();
    run.until("fresh progress of all", |seen| {
        seen.progress.values().all(|told| Some(told.at) > last)
    });
}

#[test]
fn commits_in_an_open_transaction_are_seen_as_the_isolation_says() {
    let kafka = Kafka::shared(KafkaVersion::V3);
    let client = Client::new(&kafka.bootstrap());
    let (topic, group) = (unique("topic"), unique("group"));
    client.create_topic(&topic, 1);
    let member = client.join(&group, &[&topic], Protocol::Classic);
    let transaction = client.transaction(&unique("transaction"));
    transaction.produce(&topic, 0, 1);
    transaction.send_offsets(&member, &[(&topic, 0, 4)]);

    let mut uncommitted = Run::start(&kafka);
    let mut settings = KafkaSettings::new(vec![kafka.bootstrap()]);
    settings.isolation = Isolation::ReadCommitted;
    let mut committed = Run::with(settings);
    uncommitted.until_offset(&group, &topic, 0, 4);
    committed.until_caught_up();
    assert_eq!(committed.seen.offset(&group, &topic, 0), None);
    transaction.commit();
    committed.until_offset(&group, &topic, 0, 4);
    // Past the transaction's end marker, which is no record.
    for run in [&mut uncommitted, &mut committed] {
        run.until("the end of every partition", |seen| {
            seen.is_caught_up() && seen.progress.values().all(|told| told.position >= told.end)
        });
    }
}
