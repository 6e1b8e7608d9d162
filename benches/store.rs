//! The store at 100,000 group-partitions: 1,000 groups with 100 partitions each, three of ten
//! partitions idle. `cargo bench --bench store`.
//!
//! Encoding and decoding are measured on one core without the file; `append` is a whole beat with
//! its fsync, on the disk that holds the temporary directory.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rustc_hash::FxHashMap;

use lagline::lag::evaluation::Evaluation;
use lagline::lag::ids::ClusterName;
use lagline::points::row_count;
use lagline::store::codec::{Decoder, Encoder, Lookup, Names};
use lagline::store::frame::{Body, Next, Seq};
use lagline::store::history::HOUR;
use lagline::store::{Store, StoreSettings, sample};

const GROUPS: u32 = 1000;
const PARTITIONS: u32 = 100;
const SAMPLES: u64 = GROUPS as u64 * PARTITIONS as u64;

/// A dictionary in memory.
#[derive(Default)]
struct Numbered {
    ids: FxHashMap<Arc<str>, u32>,
    names: Vec<Arc<str>>,
}

impl Names for Numbered {
    fn id(&mut self, name: &Arc<str>) -> u32 {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        let id = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.push(Arc::clone(name));
        self.ids.insert(Arc::clone(name), id);
        id
    }
}

impl Lookup for Numbered {
    fn name(&mut self, id: u32) -> Option<Arc<str>> {
        self.names.get(id as usize).cloned()
    }
}

fn body(evaluation: &Arc<Evaluation>) -> Body {
    Body::Evaluation {
        evaluation: Arc::clone(evaluation),
        changes: Vec::new(),
    }
}

#[allow(
    clippy::print_stderr,
    reason = "a benchmark reports sizes beside times"
)]
fn codec(criterion: &mut Criterion) {
    let evaluation = sample::busy(100, GROUPS, PARTITIONS);
    let body = body(&evaluation);
    let rows = row_count(&body);
    let mut names = Numbered::default();
    let mut encoder = Encoder::new().expect("zstd");
    let mut decoder = Decoder::new().expect("zstd");
    let encoded = encoder
        .encode(&body, evaluation.beat, rows, &mut names)
        .expect("it fits");
    let per_sample = encoded.len() as f64 / SAMPLES as f64;
    eprintln!(
        "a frame of {SAMPLES} samples: {} bytes in {} pieces, {per_sample:.2} bytes a sample \
         (log offsets of as many topic partitions included)",
        encoded.len(),
        encoded.parts.len()
    );
    let mut group = criterion.benchmark_group("codec, 100,000 group-partitions");
    group.throughput(Throughput::Elements(SAMPLES));
    group.sample_size(50);
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            encoder
                .encode(black_box(&body), evaluation.beat, rows, &mut names)
                .expect("it fits")
        });
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            decoder
                .decode(
                    Seq(1),
                    evaluation.beat,
                    black_box(&encoded.parts),
                    &mut names,
                )
                .expect("it is whole")
        });
    });
    let head = decoder
        .decode_head(evaluation.beat, &encoded.parts[0], &mut names)
        .expect("it is whole");
    group.throughput(Throughput::Elements(1));
    group.bench_function("read one group of a frame", |bencher| {
        bencher.iter(|| {
            let place = head.part_of("billing-00500").expect("it is there");
            let part = &encoded.parts[place];
            decoder
                .decode_groups(&head, place, evaluation.beat, part, &mut names)
                .expect("it is whole")
        });
    });
    group.finish();
}

fn open(path: &Path) -> Store {
    let opened = Store::open(Some(path), StoreSettings::default()).expect("a fresh file");
    let (writer, loader, sealer) = (opened.writer, opened.loader, opened.sealer);
    std::thread::spawn(move || writer.run());
    std::thread::spawn(move || sealer.run());
    std::thread::spawn(move || loader.run());
    opened.store
}

fn journal(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = open(&directory.path().join("lagline.db"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let template = sample::busy(100, GROUPS, PARTITIONS);
    let mut beat = template.beat;
    let mut group = criterion.benchmark_group("journal, 100,000 group-partitions");
    group.throughput(Throughput::Elements(SAMPLES));
    group.sample_size(30);
    group.bench_function("append a beat durably", |bencher| {
        bencher.iter_batched(
            || {
                beat = beat.plus(std::time::Duration::from_secs(10));
                Arc::new(Evaluation {
                    beat,
                    ..(*template).clone()
                })
            },
            |evaluation| {
                let beat = evaluation.beat;
                runtime
                    .block_on(store.append(vec![evaluation], Vec::new(), beat))
                    .expect("it is open")
            },
            criterion::BatchSize::PerIteration,
        );
    });
    let mut reader = store.reader(store.before_oldest());
    group.bench_function("read a frame from disk", |bencher| {
        bencher.iter(|| {
            if reader.rows_ahead() == 0 {
                reader = store.reader(store.before_oldest());
            }
            match runtime.block_on(reader.next()) {
                Next::Frame(frame) => frame,
                Next::Hole(hole) => panic!("nothing is missing: {hole:?}"),
            }
        });
    });
    group.finish();
}

/// An hour of 10,000 group-partitions: how long sealing takes beside the beats, what it leaves, and
/// how fast a group is read from it.
#[allow(
    clippy::print_stderr,
    reason = "a benchmark reports sizes beside times"
)]
fn seal(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = open(&directory.path().join("lagline.db"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let first = sample::busy(0, 100, 100).beat;
    let append = |seq: i64| {
        let evaluation = sample::busy(seq, 100, 100);
        let beat = evaluation.beat;
        let appended = store.append(vec![evaluation], Vec::new(), beat);
        runtime.block_on(appended).expect("it is open");
    };
    // The last one is behind the hour and its margin.
    (0..=366).for_each(append);
    let watch = lagline::clock::Stopwatch::start();
    let end = first.plus(HOUR);
    while store.health().sealed_through != Some(end) {
        std::thread::yield_now();
    }
    let bytes = store.health().layers.blocks;
    eprintln!(
        "an hour of 10,000 group-partitions: sealed in {:?}, {bytes} bytes, {:.2} bytes a sample",
        watch.elapsed(),
        bytes as f64 / 3_600_000.0
    );
    let mut history = store.history().expect("it can be read").expect("a file");
    let cluster = ClusterName::new("prod");
    let sealed = history.sealed(&cluster, first, end).expect("it is read");
    let mut group = criterion.benchmark_group("history, 10,000 group-partitions");
    group.bench_function("one partition's hour", |bencher| {
        let series = ("billing-00050", "team-10.orders.events-00050.v1", 7);
        bencher.iter(|| history.partition(&sealed[0], series).expect("it is read"));
    });
    group.finish();
}

criterion_group!(benches, codec, journal, seal);
criterion_main!(benches);
