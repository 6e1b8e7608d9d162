//! Encoding 100,000 group-partitions in requests of 5,000 points, one core. Goals: line protocol in 35 ms, bulk NDJSON
//! in 50 ms, without compression. What gzip adds is beside it.
//!
//! `cargo bench --bench encode`

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lagline::points::{Batch, Detail, Place, places, sample};
use lagline::sinks::elasticsearch::{Format, bulk::Layout};
use lagline::sinks::http::gzip;
use lagline::sinks::influxdb::line_protocol;

const GROUPS: u32 = 1_000;
const PARTITIONS: u32 = 100;
const REQUEST: usize = 5_000;

fn requests() -> Vec<Batch> {
    let frame = sample::wide(1, GROUPS, PARTITIONS);
    let rows: Vec<Place> = places(&frame, Detail::Partition)
        .filter(|place| matches!(place, Place::GroupPartition { .. }))
        .collect();
    let batch = |places: &[Place]| {
        let mut batch = Batch::new();
        for place in places {
            batch.push(&frame, *place);
        }
        batch
    };
    rows.chunks(REQUEST).map(batch).collect()
}

fn encoding(criterion: &mut Criterion) {
    let requests = requests();
    let points: usize = requests.iter().map(Batch::len).sum();
    let mut group = criterion.benchmark_group("encode");
    group.sample_size(20);
    group.throughput(Throughput::Elements(points as u64));
    group.bench_function("line protocol", |bencher| {
        bencher.iter(|| {
            for batch in &requests {
                black_box(line_protocol::encode(black_box(batch), false));
            }
        });
    });
    for (name, format) in [
        ("bulk, time series", Format::Tsds),
        ("bulk, data stream", Format::DataStream),
    ] {
        let layout = Layout::new(format, "default");
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for batch in &requests {
                    black_box(layout.encode(black_box(batch)));
                }
            });
        });
    }
    group.finish();
}

fn compressing(criterion: &mut Criterion) {
    let requests = requests();
    let layout = Layout::new(Format::Tsds, "default");
    let lines: Vec<Vec<u8>> = requests
        .iter()
        .map(|batch| line_protocol::encode(batch, false).body().to_vec())
        .collect();
    let documents: Vec<Vec<u8>> = requests
        .iter()
        .map(|batch| layout.encode(batch).body)
        .collect();
    let mut group = criterion.benchmark_group("gzip");
    group.sample_size(10);
    for (name, bodies) in [("line protocol", lines), ("bulk, time series", documents)] {
        let bytes: usize = bodies.iter().map(Vec::len).sum();
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for body in &bodies {
                    black_box(gzip(black_box(body)));
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, encoding, compressing);
criterion_main!(benches);
