//! The core at 100,000 group-partitions, one core: applying a commit (goal: 150 ns in batches) and
//! evaluating them all (goal: 25 ms). It also says how many bytes are kept for each (goal: 300).
//!
//! `cargo bench --bench core`
//!
//! 1,000 groups with 100 partitions each, windows full; ten groups read the same topic. Seven of ten
//! groups are caught up, two lag a little, one is falling behind.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use lagline::clock::{Stopwatch, Timestamp};
use lagline::lag::cluster::Cluster;
use lagline::lag::event::{Commit, Event, EventBatch, PartitionLog, ReaderProgress};
use lagline::lag::ids::{ClusterName, Order};
use lagline::lag::settings::{Limits, Rules, Settings};

const GROUPS: i64 = 1000;
const GROUPS_A_TOPIC: i64 = 10;
const PARTITIONS: i32 = 100;
const BATCH: u64 = 1000;
const COMMITS: i64 = GROUPS * PARTITIONS as i64;
/// Records a beat written to each partition.
const GROWTH: i64 = 500;
const BEAT: Duration = Duration::from_secs(10);

/// A cluster and the world around it.
struct World {
    cluster: Cluster,
    now: Timestamp,
    end: i64,
    order: i64,
    names: Vec<(String, String)>,
}

impl World {
    fn new() -> World {
        let settings = Settings {
            rules: Rules::default(),
            limits: Limits::default(),
            wanted: Box::new(|_| true),
        };
        let name = |i: i64| {
            let group = format!("payments-service-{i}");
            let topic = format!("orders.events.{}", i / GROUPS_A_TOPIC);
            (group, topic)
        };
        let mut world = World {
            cluster: Cluster::new(ClusterName::new("prod"), settings),
            now: Timestamp::from_secs(1_760_000_000),
            end: 1_000_000,
            order: 0,
            names: (0..GROUPS).map(name).collect(),
        };
        world.progress();
        for _ in 0..12 {
            world.beat();
            world.commits((0..COMMITS).collect());
        }
        world.beat();
        world
    }

    fn progress(&mut self) {
        let progress = ReaderProgress {
            partition: 0,
            partitions: 1,
            from: 0,
            position: 0,
            end: 0,
            complete_from: 0,
            caught_up: true,
            at: self.now,
        };
        self.cluster
            .apply(Event::ReaderProgress(progress), self.now);
    }

    /// Ten seconds later, with log offsets of that moment.
    fn beat(&mut self) {
        self.now = self.now.plus(BEAT);
        self.end += GROWTH;
        self.progress();
        let log = |partition| PartitionLog {
            partition,
            start: Some(5),
            end: Some(self.end),
        };
        let partitions: Vec<_> = (0..PARTITIONS).map(log).collect();
        for topic in 0..GROUPS / GROUPS_A_TOPIC {
            let event = Event::LogOffsets {
                topic: &format!("orders.events.{topic}"),
                partitions: &partitions,
                at: self.now,
                poll: true,
            };
            self.cluster.apply(event, self.now);
        }
    }

    /// One commit each of these group-partitions, as a batch.
    fn batch(&mut self, places: &[i64]) -> EventBatch {
        let mut batch = EventBatch::default();
        for &place in places {
            let (group, topic) = &self.names[usize::try_from(place / 100).expect("a group")];
            let behind = match place / 100 % 10 {
                0..7 => 0,
                7 | 8 => 40,
                _ => self.order / COMMITS * 300,
            };
            self.order += 1;
            batch.push_commit(&Commit {
                group,
                topic,
                partition: i32::try_from(place % 100).expect("a partition"),
                order: Order {
                    // What a reader gives its first life, before the topic grows.
                    epoch: 1 << 12,
                    offset: self.order,
                },
                offset: self.end - behind,
                timestamp: self.now.plus(Duration::from_secs(5)),
                topic_id: None,
            });
        }
        batch
    }

    fn commits(&mut self, places: Vec<i64>) {
        for places in places.chunks(1000) {
            let batch = self.batch(places);
            self.cluster
                .apply_batch(&batch, self.now.plus(Duration::from_secs(5)));
        }
    }
}

fn applying(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("apply");
    group.throughput(Throughput::Elements(BATCH));
    let in_order = |i: i64| i % COMMITS;
    // Every place once, none near the one before.
    let scattered = |i: i64| i * 61_803 % COMMITS;
    for (name, place) in [
        (
            "all partitions of a group in one commit",
            &in_order as &dyn Fn(i64) -> i64,
        ),
        ("groups and partitions at random", &scattered),
    ] {
        let mut world = World::new();
        let mut next = 0;
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                let mut took = Duration::ZERO;
                for _ in 0..times {
                    let places: Vec<_> = (0..1000).map(|i| place(next + i)).collect();
                    next += 1000;
                    let batch = world.batch(&places);
                    let now = world.now.plus(Duration::from_secs(5));
                    let watch = Stopwatch::start();
                    world.cluster.apply_batch(black_box(&batch), now);
                    took += watch.elapsed();
                }
                took
            });
        });
    }
    group.finish();
}

#[allow(
    clippy::print_stderr,
    reason = "a benchmark reports sizes beside times"
)]
fn evaluating(criterion: &mut Criterion) {
    let mut world = World::new();
    let partitions = usize::try_from(COMMITS).expect("positive");
    eprintln!(
        "core state: {} bytes a group-partition (its windows and its share of the logs)",
        world.cluster.core_bytes() / partitions
    );
    let mut group = criterion.benchmark_group("evaluate");
    group.sample_size(20);
    group.throughput(Throughput::Elements(COMMITS.unsigned_abs()));
    for (name, commits) in [
        ("100,000 group-partitions", COMMITS),
        ("100,000 group-partitions, nobody commits", 0),
    ] {
        group.bench_function(name, |bencher| {
            // What a monitor holds: the evaluation served until the next one is there.
            let mut served = None;
            bencher.iter_custom(|times| {
                let mut took = Duration::ZERO;
                for _ in 0..times {
                    world.commits((0..commits).collect());
                    world.beat();
                    let watch = Stopwatch::start();
                    let evaluation = world.cluster.evaluate(world.now);
                    took += watch.elapsed();
                    served = Some(evaluation);
                }
                took
            });
            black_box(&served);
        });
    }
    group.finish();
}

/// The whole start: 100,000 windows from nothing.
fn loading(criterion: &mut Criterion) {
    let mut world = World::new();
    let mut group = criterion.benchmark_group("load");
    group.sample_size(10);
    group.throughput(Throughput::Elements(COMMITS.unsigned_abs()));
    let everything: Vec<i64> = (0..COMMITS).collect();
    let batches: Vec<EventBatch> = everything.chunks(1000).map(|p| world.batch(p)).collect();
    let now = world.now.plus(Duration::from_secs(5));
    group.bench_function("first commit of 100,000 group-partitions", |bencher| {
        bencher.iter_batched(
            || {
                let settings = Settings {
                    rules: Rules::default(),
                    limits: Limits::default(),
                    wanted: Box::new(|_| true),
                };
                Cluster::new(ClusterName::new("prod"), settings)
            },
            |mut cluster| {
                for batch in &batches {
                    cluster.apply_batch(batch, now);
                }
                cluster
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, applying, evaluating, loading);
criterion_main!(benches);
