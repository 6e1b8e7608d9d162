//! `/metrics`: one text, rendered once per beat and served to every scraper.
//!
//! A series disappears with its group, topic or partition, and an unknown number has no sample.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use axum::extract::State as Extract;
use axum::http::header;
use axum::response::IntoResponse;

use super::exposition::{Exposition, Kind, Labels};
use super::{ClusterHandle, State, health};
use crate::lag::evaluation::{Evaluation, GroupEvaluation, PartitionEvaluation, Status};
use crate::lag::event::Applied;

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The last text, and the evaluations it was made of.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<Option<Rendered>>);

#[derive(Debug)]
struct Rendered {
    of: Vec<Option<Arc<Evaluation>>>,
    text: Bytes,
}

/// The text of the newest evaluations.
pub(super) async fn answer(Extract(state): Extract<Arc<State>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text(&state))
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
    let capacity = cache
        .as_ref()
        .map_or(1 << 14, |rendered| rendered.text.len() + 4096);
    let text = Bytes::from(render(state, &newest, capacity));
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

fn render(state: &State, newest: &[Option<Arc<Evaluation>>], capacity: usize) -> String {
    let evaluations: Vec<&Evaluation> = newest.iter().flatten().map(Arc::as_ref).collect();
    let mut out = Exposition::with_capacity(capacity);
    out.family("lagline_build_info", Kind::Gauge, "Version of lagline.")
        .sample(&format!("version=\"{}\"", env!("CARGO_PKG_VERSION")), 1);
    clusters(&mut out, &evaluations);
    readers(&mut out, state);
    groups(&mut out, &evaluations);
    partitions(&mut out, &evaluations);
    topics(&mut out, &evaluations);
    sinks(&mut out, state);
    store(&mut out, state);
    if state.settings.burrow_metrics {
        burrow(&mut out, &evaluations);
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

/// Calls `f` for each group with its labels.
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

fn groups(out: &mut Exposition, evaluations: &[&Evaluation]) {
    let help = "Status of the group: 1 OK, 2 WARN, 3 ERR.";
    let mut family = out.family("lagline_group_status", Kind::Gauge, help);
    each_group(evaluations, "group", |labels, group| {
        family.integer(labels.as_str(), i64::from(group.status.code()));
    });
    let help = "1 when the status is kept because the group cannot be seen.";
    let mut family = out.family("lagline_group_stale", Kind::Gauge, help);
    each_group(evaluations, "group", |labels, group| {
        family.integer(labels.as_str(), i64::from(group.stale));
    });
    let mut family = out.family("lagline_group_lag", Kind::Gauge, "Sum of the known lags.");
    each_group(evaluations, "group", |labels, group| {
        family.known(labels.as_str(), group.totals.lag.get());
    });
    let help = "Age of the oldest record not yet committed.";
    let mut family = out.family("lagline_group_time_lag_seconds", Kind::Gauge, help);
    each_group(evaluations, "group", |labels, group| {
        family.known(labels.as_str(), group.totals.time_lag.map(|t| t.seconds));
    });
    let mut family = out.family(
        "lagline_group_members",
        Kind::Gauge,
        "Members of the group.",
    );
    each_group(evaluations, "group", |labels, group| {
        family.integer(labels.as_str(), i64::from(group.totals.members));
    });
    let help = "Records a second the group commits.";
    let mut family = out.family("lagline_group_consume_rate", Kind::Gauge, help);
    each_group(evaluations, "group", |labels, group| {
        family.known(labels.as_str(), group.totals.consume_rate.get());
    });
    let help = "Records that fell off the log before the group read them.";
    let mut family = out.family("lagline_group_records_lost", Kind::Gauge, help);
    each_group(evaluations, "group", |labels, group| {
        family.known(labels.as_str(), group.totals.records_lost.get());
    });
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
            family.integer(labels.as_str(), i64::from(count));
            labels.truncate(len);
        }
    });
}

/// Calls `f` for each group-partition with its labels.
fn each_partition<'e>(
    evaluations: &[&'e Evaluation],
    group_label: &str,
    mut f: impl FnMut(&str, &'e PartitionEvaluation),
) {
    each_group(evaluations, group_label, |labels, group| {
        let group_len = labels.len();
        for topic in &group.topics {
            labels.truncate(group_len);
            labels.push("topic", topic.topic.as_str());
            let topic_len = labels.len();
            for (partition, row) in topic.partitions.iter().enumerate() {
                labels.truncate(topic_len);
                labels.push_number("partition", partition);
                f(labels.as_str(), row);
            }
        }
    });
}

fn partitions(out: &mut Exposition, evaluations: &[&Evaluation]) {
    let help = "Log end offset minus committed offset.";
    let mut family = out.family("lagline_partition_lag", Kind::Gauge, help);
    each_partition(evaluations, "group", |labels, row| {
        if let Some(lag) = row.lag.get() {
            family.integer(labels, lag);
        }
    });
    let help = "Age of the oldest record not yet committed.";
    let mut family = out.family("lagline_partition_time_lag_seconds", Kind::Gauge, help);
    each_partition(evaluations, "group", |labels, row| {
        if let Some(time_lag) = row.time_lag {
            family.text(labels, ryu::Buffer::new().format(time_lag.seconds));
        }
    });
    let help = "Status of a partition that is not OK: 2 WARN, 4 STOP, 5 STALL, 6 REWIND.";
    let mut family = out.family("lagline_partition_status", Kind::Gauge, help);
    each_partition(evaluations, "group", |labels, row| {
        if row.status() > Status::Ok {
            family.integer(labels, i64::from(row.status().code()));
        }
    });
}

fn topics(out: &mut Exposition, evaluations: &[&Evaluation]) {
    for (name, help, is_end) in [
        ("lagline_topic_end_offset", "Log end offset.", true),
        ("lagline_topic_begin_offset", "Log start offset.", false),
    ] {
        let mut family = out.family(name, Kind::Gauge, help);
        each_topic_partition(evaluations, |labels, partition| {
            let offset = if is_end {
                partition.end
            } else {
                partition.begin
            };
            if let Some(offset) = offset.get() {
                family.integer(labels, offset);
            }
        });
    }
}

fn each_topic_partition(
    evaluations: &[&Evaluation],
    mut f: impl FnMut(&str, &crate::lag::evaluation::TopicPartition),
) {
    for evaluation in evaluations {
        let mut labels = cluster_labels(evaluation);
        let len = labels.len();
        for topic in &evaluation.topics {
            labels.truncate(len);
            labels.push("topic", topic.topic.as_str());
            let topic_len = labels.len();
            for (partition, row) in topic.partitions.iter().enumerate() {
                labels.truncate(topic_len);
                labels.push_number("partition", partition);
                f(labels.as_str(), row);
            }
        }
    }
}

fn sinks(out: &mut Exposition, state: &State) {
    let now = state.clock.now();
    let all: Vec<_> = state
        .sinks
        .iter()
        .map(|sink| {
            let health = sink.health.borrow().clone();
            let row = sink.row(&state.store, now);
            let mut labels = Labels::default();
            labels.push("sink", &sink.name);
            (labels, health, row)
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
    let help = "1 when the sink takes what it is sent.";
    let mut family = out.family("lagline_sink_up", Kind::Gauge, help);
    for (labels, health, _) in &all {
        let is_up = health::state_words(&health.state).1.is_none();
        family.integer(labels.as_str(), i64::from(is_up));
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
}

/// Burrow's own names; two of them only for full windows.
fn burrow(out: &mut Exposition, evaluations: &[&Evaluation]) {
    let help = "The sum of all partition current lag values for the group";
    let mut family = out.family("burrow_kafka_consumer_lag_total", Kind::Gauge, help);
    each_group(evaluations, "consumer_group", |labels, group| {
        family.integer(labels.as_str(), group.totals.total_lag);
    });
    let help = "The status of the consumer group. It is calculated from the highest status for the individual partitions";
    let mut family = out.family("burrow_kafka_consumer_status", Kind::Gauge, help);
    each_group(evaluations, "consumer_group", |labels, group| {
        family.integer(labels.as_str(), i64::from(group.status.code()));
    });
    let help = "Number of messages the consumer group is behind by for a partition";
    let mut family = out.family("burrow_kafka_consumer_partition_lag", Kind::Gauge, help);
    each_partition(evaluations, "consumer_group", |labels, row| {
        family.integer(labels, row.current_lag);
    });
    let help = "Latest offset that the consumer group has committed for a partition";
    let mut family = out.family("burrow_kafka_consumer_current_offset", Kind::Gauge, help);
    each_partition(evaluations, "consumer_group", |labels, row| {
        if let Some(end) = row.end.filter(|_| row.complete >= 1.0) {
            family.integer(labels, end.offset);
        }
    });
    let help = "The status of a consumer group's partition";
    let mut family = out.family("burrow_kafka_topic_partition_status", Kind::Gauge, help);
    each_partition(evaluations, "consumer_group", |labels, row| {
        if row.complete >= 1.0 {
            family.integer(labels, i64::from(row.status().code()));
        }
    });
    let help = "Latest offset the partition of a topic has";
    let mut family = out.family("burrow_kafka_topic_partition_offset", Kind::Gauge, help);
    each_topic_partition(evaluations, |labels, partition| {
        if let Some(offset) = partition.last_end.get() {
            family.integer(labels, offset);
        }
    });
}
