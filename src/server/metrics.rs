//! `/metrics`: one text, rendered once per beat and served to every scraper.
//!
//! A series disappears with its group, topic or partition, and an unknown number has no sample.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::exposition::{Exposition, Kind, Labels, Number};
use super::{ClusterHandle, State, health};
use crate::lag::evaluation::{
    Evaluation, GroupEvaluation, PartitionEvaluation, Status, TopicPartition,
};
use crate::lag::event::Applied;
use crate::store::StoreHealth;

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// About what a group-partition takes in the text; memory that is not written to costs nothing.
const PARTITION_BYTES: usize = 400;

/// The last text, and the evaluations it was made of.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<Option<Rendered>>);

#[derive(Debug)]
struct Rendered {
    of: Vec<Option<Arc<Evaluation>>>,
    text: Bytes,
}

/// The text of the newest evaluations.
pub(super) fn answer(state: &State) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text(state)).into_response()
}

fn newest(state: &State) -> Vec<Option<Arc<Evaluation>>> {
    let latest = |handle: &ClusterHandle| handle.latest.borrow().clone();
    state.clusters.values().map(latest).collect()
}

/// Drops the text unless it is of the newest evaluations.
pub(super) fn forget_old(state: &State) {
    let newest = newest(state);
    let mut cache = state
        .metrics
        .0
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    cache.take_if(|rendered| !is_same(&rendered.of, &newest));
}

fn text(state: &State) -> Bytes {
    let newest = newest(state);
    // Whoever comes while it is rendered waits for it instead of rendering it again.
    let mut cache = state
        .metrics
        .0
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if let Some(rendered) = &*cache
        && is_same(&rendered.of, &newest)
    {
        return rendered.text.clone();
    }
    let text = Bytes::from(render(state, &newest));
    *cache = Some(Rendered {
        of: newest,
        text: text.clone(),
    });
    text
}

fn is_same(a: &[Option<Arc<Evaluation>>], b: &[Option<Arc<Evaluation>>]) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|pair| match pair {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            // Nothing evaluated yet: only lagline's own numbers, which change all the time.
            (None, None) | (None, Some(_)) | (Some(_), None) => false,
        })
}

fn render(state: &State, newest: &[Option<Arc<Evaluation>>]) -> String {
    let evaluations: Vec<&Evaluation> = newest.iter().flatten().map(Arc::as_ref).collect();
    let all_groups = evaluations.iter().flat_map(|e| &e.groups);
    let rows: usize = all_groups.map(|g| g.totals.partitions as usize).sum();
    // Growing a text of tens of megabytes is copying it again and again.
    let mut out = Exposition::with_capacity((1 << 16) + rows * PARTITION_BYTES);
    out.family("lagline_build_info", Kind::Gauge, "Version of lagline.")
        .sample(&format!("version=\"{}\"", env!("CARGO_PKG_VERSION")), 1);
    clusters(&mut out, &evaluations);
    readers(&mut out, state);
    groups(&mut out, &evaluations, "group", &GROUP);
    groups_partitions(&mut out, &evaluations);
    partitions(&mut out, &evaluations, "group", &PARTITION);
    topics(&mut out, &evaluations, &TOPIC);
    sinks(&mut out, state);
    store(&mut out, state);
    if state.settings.burrow_metrics {
        let label = "consumer_group";
        groups(&mut out, &evaluations, label, &BURROW_GROUP);
        partitions(&mut out, &evaluations, label, &BURROW_PARTITION);
        topics(&mut out, &evaluations, &BURROW_TOPIC);
    }
    out.into_text()
}

fn cluster_labels(evaluation: &Evaluation) -> Labels {
    let mut labels = Labels::default();
    labels.push("cluster", evaluation.cluster.as_str());
    labels
}

fn clusters(out: &mut Exposition, evaluations: &[&Evaluation]) {
    type Number = fn(&Evaluation) -> Option<f64>;
    let numbers: [(&str, &str, Number); 8] = [
        (
            "lagline_cluster_up",
            "1 when Kafka answered for the last beat.",
            |e| Some(f64::from(u8::from(e.summary.up))),
        ),
        ("lagline_cluster_brokers", "Brokers of the cluster.", |e| {
            e.summary.brokers.map(f64::from)
        }),
        ("lagline_cluster_groups", "Consumer groups.", |e| {
            Some(f64::from(e.summary.groups))
        }),
        (
            "lagline_cluster_groups_bad",
            "Consumer groups in WARN or ERR.",
            |e| Some(f64::from(e.summary.groups_bad)),
        ),
        (
            "lagline_cluster_beat_timestamp_seconds",
            "The last beat, Unix time.",
            |e| {
                #[allow(
                    clippy::cast_precision_loss,
                    reason = "milliseconds fit until the year 287396"
                )]
                Some(e.beat.as_ms() as f64 / 1000.0)
            },
        ),
        (
            "lagline_cluster_evaluate_seconds",
            "Duration of the last evaluation.",
            |e| e.summary.evaluate_ms.get().map(|ms| f64::from(ms) / 1000.0),
        ),
        (
            "lagline_cluster_reader_lag",
            "Records of the offsets topic not read yet.",
            |e| {
                #[allow(clippy::cast_precision_loss, reason = "shown rounded")]
                e.summary.reader_lag.get().map(|lag| lag as f64)
            },
        ),
        (
            "lagline_cluster_clock_offset_seconds",
            "Broker clock minus own clock.",
            |e| {
                #[allow(clippy::cast_precision_loss, reason = "shown rounded")]
                e.summary.clock_offset_ms.get().map(|ms| ms as f64 / 1000.0)
            },
        ),
    ];
    for (name, help, number) in numbers {
        let mut family = out.family(name, Kind::Gauge, help);
        for evaluation in evaluations {
            family.known(cluster_labels(evaluation).as_str(), number(evaluation));
        }
    }
    let help = "Events applied, by what applying them did.";
    let mut family = out.family("lagline_events_total", Kind::Counter, help);
    for evaluation in evaluations {
        for outcome in Applied::ALL {
            let labels = cluster_labels(evaluation).with("outcome", outcome.label());
            family.sample(labels.as_str(), evaluation.summary.applied.of(outcome));
        }
    }
}

fn readers(out: &mut Exposition, state: &State) {
    let all: Vec<_> = state
        .clusters
        .iter()
        .map(|(name, handle)| {
            let mut labels = Labels::default();
            labels.push("cluster", name.as_str());
            (labels, handle, handle.reader.counts())
        })
        .collect();
    let help = "Records read from the offsets topic, by kind.";
    let mut family = out.family("lagline_reader_records_total", Kind::Counter, help);
    for (labels, _, counts) in &all {
        for (kind, count) in [
            ("commit", counts.commits),
            ("tombstone", counts.tombstones),
            ("group", counts.group_changes),
            ("ignored", counts.ignored),
            ("malformed", counts.malformed),
            ("unknown", counts.unknown.values().sum()),
        ] {
            family.sample(labels.with("kind", kind).as_str(), count);
        }
    }
    let help = "Bytes of keys and values read from the offsets topic.";
    let mut family = out.family("lagline_reader_bytes_total", Kind::Counter, help);
    for (labels, _, counts) in &all {
        family.sample(labels.as_str(), counts.bytes);
    }
    let help = "How often a cluster's tasks were started again.";
    let mut family = out.family("lagline_cluster_restarts_total", Kind::Counter, help);
    for (labels, handle, _) in &all {
        family.sample(labels.as_str(), handle.health.borrow().restarts);
    }
}

/// Name, help, and the number of what the family is about; no sample where there is none.
type Gauge<T> = (&'static str, &'static str, fn(&T) -> Option<Number>);

const GROUP: [Gauge<GroupEvaluation>; 7] = [
    (
        "lagline_group_status",
        "Status of the group: 1 OK, 2 WARN, 3 ERR.",
        |group| Number::whole(group.status.code()),
    ),
    (
        "lagline_group_stale",
        "1 when the status is kept because the group cannot be seen.",
        |group| Number::flag(group.stale),
    ),
    ("lagline_group_lag", "Sum of the known lags.", |group| {
        group.totals.lag.get().map(Number::Whole)
    }),
    (
        "lagline_group_time_lag_seconds",
        "Age of the oldest record not yet committed.",
        |group| group.totals.time_lag.map(|t| Number::Real(t.seconds)),
    ),
    ("lagline_group_members", "Members of the group.", |group| {
        Number::whole(group.totals.members)
    }),
    (
        "lagline_group_consume_rate",
        "Records a second the group commits.",
        |group| group.totals.consume_rate.get().map(Number::Real),
    ),
    (
        "lagline_group_records_lost",
        "Records that fell off the log before the group read them.",
        |group| group.totals.records_lost.get().map(Number::Whole),
    ),
];

const PARTITION: [Gauge<PartitionEvaluation>; 3] = [
    (
        "lagline_partition_lag",
        "Log end offset minus committed offset.",
        |row| row.lag.get().map(Number::Whole),
    ),
    (
        "lagline_partition_time_lag_seconds",
        "Age of the oldest record not yet committed.",
        |row| row.time_lag.map(|t| Number::Real(t.seconds)),
    ),
    (
        "lagline_partition_status",
        "Status of a partition that is not OK: 2 WARN, 4 STOP, 5 STALL, 6 REWIND.",
        |row| Number::whole(row.status().code()).filter(|_| row.status() > Status::Ok),
    ),
];

const TOPIC: [Gauge<TopicPartition>; 2] = [
    ("lagline_topic_end_offset", "Log end offset.", |partition| {
        partition.end.get().map(Number::Whole)
    }),
    (
        "lagline_topic_begin_offset",
        "Log start offset.",
        |partition| partition.begin.get().map(Number::Whole),
    ),
];

const BURROW_GROUP: [Gauge<GroupEvaluation>; 2] = [
    (
        "burrow_kafka_consumer_lag_total",
        "The sum of all partition current lag values for the group",
        |group| Some(Number::Whole(group.totals.total_lag)),
    ),
    (
        "burrow_kafka_consumer_status",
        "The status of the consumer group. It is calculated from the highest status for the individual partitions",
        |group| Number::whole(group.status.code()),
    ),
];

/// Two of them only for full windows.
const BURROW_PARTITION: [Gauge<PartitionEvaluation>; 3] = [
    (
        "burrow_kafka_consumer_partition_lag",
        "Number of messages the consumer group is behind by for a partition",
        |row| Some(Number::Whole(row.current_lag)),
    ),
    (
        "burrow_kafka_consumer_current_offset",
        "Latest offset that the consumer group has committed for a partition",
        |row| {
            let end = row.end.filter(|_| row.complete >= 1.0)?;
            Some(Number::Whole(end.offset))
        },
    ),
    (
        "burrow_kafka_topic_partition_status",
        "The status of a consumer group's partition",
        |row| Number::whole(row.status().code()).filter(|_| row.complete >= 1.0),
    ),
];

const BURROW_TOPIC: [Gauge<TopicPartition>; 1] = [(
    "burrow_kafka_topic_partition_offset",
    "Latest offset the partition of a topic has",
    |partition| partition.last_end.get().map(Number::Whole),
)];

/// Calls `f` for each group with its labels; `name` is the label of the group.
fn each_group<'e>(
    evaluations: &[&'e Evaluation],
    name: &str,
    mut f: impl FnMut(&mut Labels, &'e GroupEvaluation),
) {
    for evaluation in evaluations {
        let mut labels = cluster_labels(evaluation);
        let len = labels.len();
        for group in &evaluation.groups {
            labels.truncate(len);
            labels.push(name, group.id.as_str());
            f(&mut labels, group);
        }
    }
}

fn groups(
    out: &mut Exposition,
    evaluations: &[&Evaluation],
    label: &str,
    gauges: &[Gauge<GroupEvaluation>],
) {
    for &(name, help, number) in gauges {
        let mut family = out.family(name, Kind::Gauge, help);
        each_group(evaluations, label, |labels, group| {
            family.number(labels.as_str(), number(group));
        });
    }
}

fn groups_partitions(out: &mut Exposition, evaluations: &[&Evaluation]) {
    let help = "Partitions of the group by status.";
    let mut family = out.family("lagline_group_partitions", Kind::Gauge, help);
    each_group(evaluations, "group", |labels, group| {
        let totals = &group.totals;
        for (status, count) in [
            ("ok", totals.partitions_ok),
            ("warn", totals.partitions_warn),
            ("stop", totals.partitions_stop),
            ("stall", totals.partitions_stall),
            ("rewind", totals.partitions_rewind),
            ("no_commit", totals.partitions_no_commit),
        ] {
            let len = labels.len();
            labels.push("status", status);
            family.number(labels.as_str(), Number::whole(count));
            labels.truncate(len);
        }
    });
}

fn partitions(
    out: &mut Exposition,
    evaluations: &[&Evaluation],
    label: &str,
    gauges: &[Gauge<PartitionEvaluation>],
) {
    for &(name, help, number) in gauges {
        let mut family = out.family(name, Kind::Gauge, help);
        each_group(evaluations, label, |labels, group| {
            let len = labels.len();
            for topic in &group.topics {
                labels.truncate(len);
                labels.push("topic", topic.topic.as_str());
                let numbers = topic.partitions.iter().map(number);
                family.numbers(labels.as_str(), "partition", numbers);
            }
        });
    }
}

fn topics(out: &mut Exposition, evaluations: &[&Evaluation], gauges: &[Gauge<TopicPartition>]) {
    for &(name, help, number) in gauges {
        let mut family = out.family(name, Kind::Gauge, help);
        for evaluation in evaluations {
            let mut labels = cluster_labels(evaluation);
            let len = labels.len();
            for topic in &evaluation.topics {
                labels.truncate(len);
                labels.push("topic", topic.topic.as_str());
                let numbers = topic.partitions.iter().map(number);
                family.numbers(labels.as_str(), "partition", numbers);
            }
        }
    }
}

fn sinks(out: &mut Exposition, state: &State) {
    let now = state.clock.now();
    let all: Vec<_> = state
        .sinks
        .iter()
        .filter_map(|sink| {
            let health = sink.health.borrow().clone();
            let row = sink.row(&state.store, now)?;
            let mut labels = Labels::default();
            labels.push("sink", &sink.name);
            Some((labels, health, row))
        })
        .collect();
    let help = "Rows by what became of them; offered is the sum of all others.";
    let mut family = out.family("lagline_sink_rows", Kind::Gauge, help);
    for (labels, _, row) in &all {
        let counts = &row.counts;
        for (outcome, rows) in [
            ("offered", counts.offered),
            ("delivered", counts.delivered),
            ("filtered", counts.filtered),
            ("rejected", counts.rejected),
            ("expired", counts.expired),
            ("waiting", counts.waiting()),
        ] {
            family.sample(labels.with("outcome", outcome).as_str(), rows);
        }
    }
    let help = "Age of the oldest undelivered beat.";
    let mut family = out.family("lagline_sink_oldest_waiting_seconds", Kind::Gauge, help);
    for (labels, _, row) in &all {
        family.sample(labels.as_str(), row.oldest_waiting_s);
    }
    let help = "Holes: times of which delivery has missed beats for good, backfilled since or not.";
    let mut family = out.family("lagline_sink_holes", Kind::Gauge, help);
    for (labels, _, row) in &all {
        let holes = state.store.holes(&row.sink).len();
        family.sample(labels.as_str(), u64::try_from(holes).unwrap_or(u64::MAX));
    }
    let help = "1 when the sink takes what it is sent.";
    let mut family = out.family("lagline_sink_up", Kind::Gauge, help);
    for (labels, health, _) in &all {
        let is_up = health::state_words(&health.state).1.is_none();
        family.number(labels.as_str(), Number::flag(is_up));
    }
    let help = "Requests, bytes and points since the start.";
    let mut family = out.family("lagline_sink_traffic_total", Kind::Counter, help);
    for (labels, health, _) in &all {
        let traffic = &health.traffic;
        for (what, count) in [
            ("attempts", traffic.attempts),
            ("retries", traffic.retries),
            ("batches", traffic.batches),
            ("bytes", traffic.bytes),
            ("known", traffic.known),
            ("dead_letters_lost", traffic.letters_lost),
        ] {
            family.sample(labels.with("what", what).as_str(), count);
        }
    }
}

fn store(out: &mut Exposition, state: &State) {
    let health = state.store.health();
    let help = "1 while evaluations are durable.";
    out.family("lagline_store_durable", Kind::Gauge, help)
        .sample("", u8::from(health.durable));
    out.family("lagline_store_bytes", Kind::Gauge, "Size of the store.")
        .sample("", health.bytes);
    out.family("lagline_store_frames", Kind::Gauge, "Journaled frames.")
        .sample("", health.frames);
    let help = "Frames that could not be read back and were skipped.";
    out.family("lagline_store_corrupt_frames_total", Kind::Counter, help)
        .sample("", health.corrupt_frames);
    store_layers(out, &health);
    if let Some(through) = health.sealed_through {
        let help = "All hours before this moment are sealed.";
        out.family(
            "lagline_store_sealed_through_timestamp_seconds",
            Kind::Gauge,
            help,
        )
        .sample("", through.as_secs());
    }
    let help = "How often sealing an hour had to be tried again.";
    out.family("lagline_store_seal_errors_total", Kind::Counter, help)
        .sample("", health.seal_errors);
    let help = "Frames that are not in the history because they could not be read.";
    out.family(
        "lagline_store_seal_skipped_frames_total",
        Kind::Counter,
        help,
    )
    .sample("", health.seal_skipped_frames);
    let help = "How often a block of the history could not be read.";
    out.family("lagline_store_corrupt_blocks_total", Kind::Counter, help)
        .sample("", health.corrupt_blocks);
}

/// How large the store's layers are, and what was taken out of them.
fn store_layers(out: &mut Exposition, health: &StoreHealth) {
    let label = |layer: &str| Labels::default().with("layer", layer);
    let help = "Size of what the store keeps, by layer, about.";
    let mut family = out.family("lagline_store_layer_bytes", Kind::Gauge, help);
    for (layer, bytes) in health.layers.named() {
        family.sample(label(layer).as_str(), bytes);
    }
    let help = "Frames, blocks and rows that were deleted because of their age, or for room.";
    let mut family = out.family("lagline_store_gone_total", Kind::Counter, help);
    for (layer, gone) in health.gone.named() {
        let label = label(layer);
        family.sample(label.with("reason", "age").as_str(), gone.age);
        family.sample(label.with("reason", "max_size").as_str(), gone.max_size);
    }
    let help = "Frames that were deleted before they were in the history.";
    out.family(
        "lagline_store_unsealed_frames_gone_total",
        Kind::Counter,
        help,
    )
    .sample("", health.unsealed_frames_gone);
    let help = "Names in the store's dictionary.";
    out.family("lagline_store_names", Kind::Gauge, help)
        .sample("", health.names);
}

#[cfg(test)]
mod tests;
