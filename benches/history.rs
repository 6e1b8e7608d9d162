//! Questions about the past of a cluster with 100,000 group-partitions (1,000 groups with 100 each),
//! asked as `/api/v1/history` asks them. `cargo bench --bench history`.
//!
//! A week of it would be 600 GB of frames. What a question about one group touches is as large as it
//! would be: the hour that is not sealed yet has all 1,000 groups at each of its beats; the day before
//! it has sixteen of them, with a beat every ten seconds, because the blocks of a series are of the same
//! size however many others there are; the six days before that have a beat a minute, because rollups
//! are of the same size however many beats they stand for.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use tokio::runtime::Runtime;

use lagline::clock::{Stopwatch, Timestamp};
use lagline::lag::evaluation::Evaluation;
use lagline::store::history::HOUR;
use lagline::store::query::{Series, SeriesQuery, Subject};
use lagline::store::{Store, StoreSettings, sample};

const GROUPS: u32 = 1000;
const SOME_GROUPS: u32 = 16;
const PARTITIONS: u32 = 100;

/// Beats of ten seconds: a week without its last hour, of which a day is sealed beat by beat, and all
/// but the last eight of an hour.
const SPARSE: i64 = 6 * 8640;
const SEALED: i64 = 7 * 8640 - 360;
const END: i64 = SEALED + 352;

/// Evaluations that go into one transaction.
const AT_ONCE: usize = 60;

fn open(path: &Path) -> Store {
    let opened = Store::open(Some(path), StoreSettings::default()).expect("a fresh file");
    let (writer, loader, sealer) = (opened.writer, opened.loader, opened.sealer);
    let historian = opened.historian;
    std::thread::spawn(move || writer.run());
    std::thread::spawn(move || sealer.run());
    std::thread::spawn(move || loader.run());
    std::thread::spawn(move || historian.run());
    opened.store
}

fn append(runtime: &Runtime, store: &Store, evaluations: Vec<Arc<Evaluation>>) {
    let Some(beat) = evaluations.last().map(|last| last.beat) else {
        return;
    };
    let appended = runtime.block_on(store.append(evaluations, Vec::new(), beat));
    assert!(appended.expect("it is open").skipped.is_empty());
}

#[allow(
    clippy::print_stderr,
    reason = "a benchmark reports sizes beside times"
)]
fn fill(runtime: &Runtime, store: &Store) {
    let watch = Stopwatch::start();
    let beats: Vec<i64> = (0..SPARSE).step_by(6).chain(SPARSE..SEALED).collect();
    for beats in beats.chunks(AT_ONCE) {
        let evaluations = beats
            .iter()
            .map(|seq| sample::busy(*seq, SOME_GROUPS, PARTITIONS));
        append(runtime, store, evaluations.collect());
    }
    for seq in SEALED..END {
        append(runtime, store, vec![sample::busy(seq, GROUPS, PARTITIONS)]);
    }
    let end = sample::busy(SEALED, 0, 0).beat.aligned(HOUR);
    while store.health().sealed_through != Some(end) {
        std::thread::yield_now();
    }
    let health = store.health();
    eprintln!(
        "filled and sealed in {:?}: {} MB, {} MB of blocks, {} frames",
        watch.elapsed(),
        health.bytes >> 20,
        health.layers.blocks >> 20,
        health.frames
    );
}

fn query(subject: Subject, from: Timestamp, to: Timestamp) -> SeriesQuery {
    SeriesQuery {
        cluster: "prod".to_owned(),
        subject,
        fields: vec!["lag"],
        from,
        to,
        step_ms: None,
        points: 1000,
    }
}

#[allow(
    clippy::print_stderr,
    reason = "a benchmark reports sizes beside times"
)]
fn history(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = open(&directory.path().join("lagline.db"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    fill(&runtime, &store);
    let (first, end) = (sample::busy(0, 0, 0).beat, sample::busy(END, 0, 0).beat);
    let sealed = sample::busy(SEALED, 0, 0).beat;
    let group = Subject::Group {
        group: "billing-00012".to_owned(),
    };
    let partition = Subject::Partition {
        group: "billing-00012".to_owned(),
        topic: "team-12.orders.events-00012.v1".to_owned(),
        partition: 70,
    };
    let day = 24 * HOUR;
    let mut measured = criterion.benchmark_group("history, 100,000 group-partitions");
    measured.sample_size(20);
    for (name, query) in [
        (
            "one partition, 24 h, the last one not sealed",
            query(partition.clone(), end.minus(day), end),
        ),
        (
            "one partition, 23 sealed hours",
            query(
                partition,
                sealed.minus(23 * HOUR),
                sealed.minus(Duration::from_secs(1)),
            ),
        ),
        (
            "one group of 100 partitions, 7 d",
            query(group.clone(), first, end),
        ),
        (
            "one group of 100 partitions, 7 d but the last hour",
            query(group, first, sealed.minus(Duration::from_secs(1))),
        ),
    ] {
        let ask = || -> Series {
            let series = runtime.block_on(store.series(query.clone()));
            series.expect("it is read")
        };
        let series = ask();
        eprintln!(
            "{name}: {} points of {} beats, {:?}",
            series.fields["lag"].len(),
            series.beats,
            series.stretches
        );
        measured.bench_function(name, |bencher| bencher.iter(ask));
    }
    measured.finish();
}

criterion_group!(benches, history);
criterion_main!(benches);
