//! The store at 100,000 group-partitions: 1,000 groups with 100 partitions each, three of ten
//! partitions idle. `cargo bench --bench store`.
//!
//! Encoding and decoding are measured on one core without the file; `append` is a whole beat with
//! its fsync, on the disk that holds the temporary directory.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rustc_hash::FxHashMap;

use lagline::clock::{Stopwatch, Timestamp};
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
    if !is_wanted("codec") {
        return;
    }
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
    open_with(path, StoreSettings::default())
}

fn open_with(path: &Path, settings: StoreSettings) -> Store {
    let opened = Store::open(Some(path), settings).expect("a fresh file");
    let (writer, loader, sealer) = (opened.writer, opened.loader, opened.sealer);
    std::thread::spawn(move || writer.run());
    std::thread::spawn(move || sealer.run());
    std::thread::spawn(move || loader.run());
    opened.store
}

fn journal(criterion: &mut Criterion) {
    if !is_wanted("journal") {
        return;
    }
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
                beat = beat.plus(Duration::from_secs(10));
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

/// Whether a measurement that criterion knows nothing of is asked for: by its name, or with all.
fn is_wanted(name: &str) -> bool {
    let mut filters = std::env::args().skip(1).filter(|arg| !arg.starts_with('-'));
    // The first word after an option may be its value.
    let named: Vec<_> = filters
        .by_ref()
        .filter(|arg| arg.parse::<f64>().is_err())
        .collect();
    named.is_empty() || named.iter().any(|filter| name.contains(filter.as_str()))
}

/// Waits until everything before a moment is sealed.
fn sealed(store: &Store, through: Timestamp) {
    while store.health().sealed_through != Some(through) {
        std::thread::yield_now();
    }
}

/// Bytes of whole pages of tables and their indexes, without room for what comes.
fn pages(path: &Path, trees: &[&str]) -> f64 {
    let file = rusqlite::Connection::open(path).expect("it is there");
    let sum = |tree: &&str| -> f64 {
        let sql = "SELECT coalesce(sum(pgsize), 0) FROM dbstat WHERE name = ?1";
        let sum = file.query_row(sql, [tree], |row| row.get(0));
        sum.expect("the file is read")
    };
    trees.iter().map(sum).sum()
}

/// An hour of group-partitions: how long sealing takes beside nothing else, what it leaves in the
/// file with everything SQLite adds, and what a day of that is.
#[allow(
    clippy::print_stderr,
    reason = "a benchmark reports sizes beside times"
)]
fn hour(criterion: &mut Criterion, groups: u32, beats: i64) {
    let partitions = groups * PARTITIONS;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("lagline.db");
    let store = open(&path);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let first = sample::busy(0, 1, 1).beat;
    let append = |seq: i64| {
        let evaluation = sample::busy(seq, groups, PARTITIONS);
        let beat = evaluation.beat;
        let appended = store.append(vec![evaluation], Vec::new(), beat);
        runtime.block_on(appended).expect("it is open");
    };
    (0..beats).for_each(append);
    // Behind the hour and its margin.
    append(366);
    let watch = Stopwatch::start();
    let end = first.plus(HOUR);
    sealed(&store, end);
    let seconds = watch.elapsed().as_secs_f64();
    let samples = f64::from(partitions) * beats as f64;
    let part = |trees: &[&str]| pages(&path, trees) / samples;
    let journal = pages(&path, &["frame", "part", "frame_by_beat"])
        / (f64::from(partitions) * (beats + 1) as f64);
    let blocks = part(&["block", "block_by_place", "seal", "seal_by_hour"]);
    let rollups = part(&["rollup_5m", "rollup_1h"]);
    let names = pages(&path, &["name", "name_by_text"]);
    let day = f64::from(partitions) * 8640.0 / 1e9;
    eprintln!(
        "{beats} beats of {partitions} group-partitions: sealed in {seconds:.1} s, {:.2} M \
         samples/s\n  bytes a sample, whole pages: journal {journal:.2}, blocks {blocks:.2}, \
         rollups {rollups:.2}; names {names} bytes\n  a day at a beat of 10 s: journal {:.2} GB, \
         blocks {:.2} GB, rollups {:.3} GB",
        samples / seconds / 1e6,
        day * journal,
        day * blocks,
        day * rollups,
    );
    let mut history = store.history().expect("it can be read").expect("a file");
    let cluster = ClusterName::new("prod");
    let sealed = history.sealed(&cluster, first, end).expect("it is read");
    let mut group = criterion.benchmark_group(format!("history, {partitions} group-partitions"));
    group.bench_function("one partition's hour", |bencher| {
        let series = ("billing-00050", "team-10.orders.events-00050.v1", 7);
        bencher.iter(|| history.partition(&sealed[0], series).expect("it is read"));
    });
    group.finish();
}

fn seal(criterion: &mut Criterion) {
    for (name, groups, beats) in [
        ("hour of 10000", 100, 360),
        ("hour of 100000", 1000, 360),
        // A tenth of an hour: as many samples.
        ("hour of 1000000", 10_000, 36),
    ] {
        if is_wanted(name) {
            hour(criterion, groups, beats);
        }
    }
}

/// Which of some sorted times is not exceeded by so many of a hundred, in milliseconds.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1]
}

/// Appends with 100,000 group-partitions, first alone, then while hours are sealed, beats and blocks
/// expire, a reader reads the journal from its beginning and another one the history.
#[allow(
    clippy::print_stderr,
    reason = "a benchmark reports times criterion does not know"
)]
fn beside(_: &mut Criterion) {
    if !is_wanted("append beside") {
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let settings = StoreSettings {
        journal_keep: 2 * HOUR,
        raw_keep: HOUR,
        ..StoreSettings::default()
    };
    let store = open_with(&directory.path().join("lagline.db"), settings);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    // Few that are made beforehand: making one takes longer than appending it.
    let pool: Vec<_> = (0..6)
        .map(|seq| sample::busy(seq, GROUPS, PARTITIONS))
        .collect();
    let start = pool[0].beat;
    let mut n = 0;
    // A beat each 30 s, so that hours pass quickly.
    let mut append = |pause: Duration| {
        let beat = start.plus(Duration::from_secs(30) * n);
        let evaluation = Arc::new(Evaluation {
            beat,
            ..(*pool[n as usize % pool.len()]).clone()
        });
        n += 1;
        runtime.block_on(async {
            tokio::time::sleep(pause).await;
            let watch = Stopwatch::start();
            let appended = store.append(vec![evaluation], Vec::new(), beat).await;
            appended.expect("it is open");
            watch.elapsed().as_secs_f64() * 1e3
        })
    };
    let pause = Duration::from_millis(100);
    let say = |what: &str, mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        eprintln!(
            "append of {SAMPLES} group-partitions {what}: {} times, p50 {:.0} ms, p90 {:.0} ms, p99 \
             {:.0} ms, max {:.0} ms",
            times.len(),
            percentile(&times, 50),
            percentile(&times, 90),
            percentile(&times, 99),
            percentile(&times, 100),
        );
    };
    let alone = (0..118).map(|_| append(pause)).collect();
    say("alone", alone);
    // Three hours, so that there is something to expire.
    for _ in 0..250 {
        append(Duration::ZERO);
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let reading = {
        let (store, is_over) = (store.clone(), Arc::clone(&is_over));
        std::thread::spawn(move || read_until(&store, &is_over))
    };
    let beside = (0..400).map(|_| append(pause)).collect();
    is_over.store(true, Ordering::Relaxed);
    let read = reading.join().expect("it has read");
    say("beside sealing, expiry and readers", beside);
    let health = store.health();
    eprintln!(
        "  meanwhile: {} beats and {} blocks expired, {read} frames and series read; sealed through \
         {} s after the start",
        health.gone.journal.age,
        health.gone.blocks.age,
        health
            .sealed_through
            .map_or(0, |at| at.ms_since(start) / 1000),
    );
}

/// Reads frames from the oldest on, and a series of the newest sealed hour, again and again.
fn read_until(store: &Store, is_over: &AtomicBool) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let mut history = store.history().expect("it can be read").expect("a file");
    let cluster = ClusterName::new("prod");
    let all = (Timestamp::from_secs(0), Timestamp::from_secs(4_000_000_000));
    let mut reader = store.reader(store.before_oldest());
    let mut read = 0;
    while !is_over.load(Ordering::Relaxed) {
        if reader.rows_ahead() == 0 {
            reader = store.reader(store.before_oldest());
        }
        drop(runtime.block_on(reader.next()));
        let sealed = history.sealed(&cluster, all.0, all.1).expect("it is read");
        let series = ("billing-00050", "team-10.orders.events-00050.v1", 7);
        if let Some(newest) = sealed.last() {
            // It may expire at this moment.
            history.partition(newest, series).ok();
        }
        read += 2;
    }
    read
}

criterion_group!(benches, codec, journal, seal, beside);
criterion_main!(benches);
