//! Decoding records of the offsets topic, one core. Goal: 100 ns or less a commit, and no allocation (the
//! integration test `decode_allocates_nothing` proves that).
//!
//! `cargo bench --bench decode`

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lagline::clock::Timestamp;
use lagline::kafka::decode::decode;
use lagline::kafka::encode::{commit_key, commit_value};
use lagline::lag::ids::{TopicId, coordinator_partition};

const RECORDS: usize = 1000;

fn commits(topic_id: Option<TopicId>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let commit = |n: usize| {
        let n = i32::try_from(n).expect("a small number");
        let key = commit_key(&format!("payments-service-{}", n % 97), "orders.events", n);
        let timestamp = Timestamp::from_ms(1_758_335_260_726 + i64::from(n));
        (
            key,
            commit_value(i64::from(n) * 1_000_003, timestamp, topic_id),
        )
    };
    (0..RECORDS).map(commit).collect()
}

fn decoding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(RECORDS as u64));
    for (name, topic_id) in [
        ("commit v3 (Kafka 2.1 to 4.0)", None),
        ("commit v4 (Kafka 4.1 and later)", Some(TopicId([7; 16]))),
    ] {
        let records = commits(topic_id);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for (key, value) in &records {
                    black_box(decode(Some(black_box(key)), Some(black_box(value))).is_ok());
                }
            });
        });
    }
    group.finish();
}

/// The place of a record in the order of its group's commits costs one of these.
fn ordering(criterion: &mut Criterion) {
    let groups: Vec<String> = (0..RECORDS)
        .map(|n| format!("payments-service-{}", n % 97))
        .collect();
    let mut group = criterion.benchmark_group("order");
    group.throughput(Throughput::Elements(RECORDS as u64));
    group.bench_function("coordinator partition", |bencher| {
        bencher.iter(|| {
            for group in &groups {
                black_box(coordinator_partition(black_box(group), 50));
            }
        });
    });
    group.finish();
}

criterion_group!(benches, decoding, ordering);
criterion_main!(benches);
