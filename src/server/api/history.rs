//! `/api/v1/history` and `/api/v1/events`: the past.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State as Extract};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::Refusal;
use super::groups::{LIMIT, unknown_cluster};
use super::params::{Bad, Kind, Parameter, Query};
use crate::clock::Timestamp;
use crate::lag::evaluation::Status;
use crate::points::{FieldInfo, FieldKind, Measurement};
use crate::server::State;
use crate::store::query::{
    ChangePlace, ChangeQuery, PastChange, Sample, SeriesQuery, Stretch, Subject,
};

/// What is asked for without `from`.
const HOUR: Duration = Duration::from_secs(3600);
/// What status changes are asked for without `from`.
const DAY: Duration = Duration::from_secs(86_400);

const FROM: Parameter = Parameter {
    name: "from",
    kind: Kind::Time,
    about: "Unix milliseconds, a time like 2026-01-31T12:00:00Z, or -6h (so long ago); an hour ago \
            by default, for events a day.",
};
const TO: Parameter = Parameter {
    name: "to",
    kind: Kind::Time,
    about: "As from; now by default.",
};
const PARTITION: Parameter = Parameter {
    name: "partition",
    kind: Kind::Text,
    about: "A partition of the topic.",
};

pub(super) const PARAMETERS: &[Parameter] = &[
    Parameter {
        name: "cluster",
        kind: Kind::Text,
        about: "The cluster; needed.",
    },
    Parameter {
        name: "group",
        kind: Kind::Text,
        about: "A group of the cluster. Without it: the cluster, or a topic's partition, whoever \
                reads it.",
    },
    Parameter {
        name: "topic",
        kind: Kind::Text,
        about: "A topic of the group, or, with partition, of the cluster.",
    },
    PARTITION,
    Parameter {
        name: "fields",
        kind: Kind::Text,
        about: "Names of the measurement's numeric fields, separated by commas (schemas/points.json: \
                kafka_cluster, kafka_lag_group, kafka_lag_topic, kafka_lag_partition, \
                kafka_topic_offset); lag or end_offset by default.",
    },
    FROM,
    TO,
    Parameter {
        name: "step",
        kind: Kind::Duration,
        about: "Reduce to steps of this length; longer ones are used when points would be exceeded. \
                From five minutes on, more than six hours of a group or its topic are read from \
                rollups.",
    },
    Parameter {
        name: "points",
        kind: Kind::Number {
            least: 10,
            most: 10_000,
            default: 1000,
        },
        about: "Points of each field at most.",
    },
];

pub(super) const EVENT_PARAMETERS: &[Parameter] = &[
    Parameter {
        name: "cluster",
        kind: Kind::Text,
        about: "Only changes in this cluster.",
    },
    Parameter {
        name: "group",
        kind: Kind::Text,
        about: "Only changes of this group and its partitions.",
    },
    Parameter {
        name: "topic",
        kind: Kind::Text,
        about: "Only changes of partitions of this topic.",
    },
    PARTITION,
    Parameter {
        name: "groups_only",
        kind: Kind::Switch,
        about: "Only changes of whole groups.",
    },
    Parameter {
        name: "status",
        kind: Kind::Word(&["NOTFOUND", "OK", "WARN", "ERR", "STOP", "STALL", "REWIND"]),
        about: "Only changes to this status.",
    },
    FROM,
    TO,
    Parameter {
        name: "limit",
        kind: LIMIT,
        about: "Changes at most.",
    },
    Parameter {
        name: "cursor",
        kind: Kind::Text,
        about: "The \"next\" of the answer before.",
    },
];

/// Fields over time.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct History {
    measurement: &'static str,
    from_ms: i64,
    to_ms: i64,
    /// By field: pairs of Unix milliseconds and value, rising in time; null is a gap.
    fields: BTreeMap<&'static str, Vec<(i64, Value)>>,
    /// Where the parts come from, rising in time.
    layers: Vec<LayerPart>,
    /// By field, from when on it is kept; a field that is absent here is kept nowhere in this time.
    known_from_ms: BTreeMap<&'static str, i64>,
    /// Beats that were read one by one.
    beats: usize,
    /// Beats that could not be read, of the hours that were: gaps.
    unreadable: usize,
}

/// A part of the time that comes from one layer.
#[derive(Debug, Serialize, JsonSchema)]
struct LayerPart {
    /// "beats": every beat. "5m" and "1h": rollups of five minutes and of hours of a group or one of
    /// its topics, with lag, time_lag_s, consume_rate and produce_rate; the least lag stands at the
    /// beginning of five minutes or an hour, and the greatest value in their middle.
    layer: &'static str,
    /// The first beat, or the beginning of the first rollup, which may be before from_ms.
    from_ms: i64,
    /// The last beat, or the end of the last rollup.
    to_ms: i64,
}

/// Status changes, the newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Events {
    events: Vec<Event>,
    /// The cursor of the next page; absent on the last one.
    next: Option<String>,
}

/// A status change of a group, or, with topic and partition, of one of its partitions.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Event {
    beat_ms: i64,
    cluster: String,
    group: String,
    topic: Option<String>,
    partition: Option<i32>,
    from: &'static str,
    to: &'static str,
    reason: String,
}

/// The time that is asked for.
fn range(query: &Query, now: Timestamp, default: Duration) -> Result<(Timestamp, Timestamp), Bad> {
    let to = query.time("to").unwrap_or(now);
    let from = query.time("from").unwrap_or_else(|| to.minus(default));
    match from <= to {
        true => Ok((from, to)),
        false => Err(Bad::new("from", "expected a time before \"to\"")),
    }
}

fn partition<T: std::str::FromStr>(query: &Query) -> Result<Option<T>, Bad> {
    let text = query.text("partition");
    let number = text.map(|text| text.parse().map_err(|_| ()));
    let number = number.transpose();
    number.map_err(|()| Bad::new("partition", "expected the number of a partition"))
}

/// Fields over time.
pub(super) async fn history(
    Extract(state): Extract<Arc<State>>,
    RawQuery(query): RawQuery,
) -> Result<Json<History>, Refusal> {
    let now = state.clock.now();
    let query = Query::read(query.as_deref(), PARAMETERS, now)?;
    let cluster = query.text("cluster");
    let cluster = cluster.ok_or_else(|| Bad::new("cluster", "is needed"))?;
    if !state.clusters.contains_key(cluster) {
        return Err(Bad::new("cluster", unknown_cluster(&state)).into());
    }
    let subject = subject(&query)?;
    let measurement = subject.measurement();
    let infos = fields(measurement, query.text("fields"))?;
    let (from, to) = range(&query, now, HOUR)?;
    let step = query.duration("step").map(|step| step.as_millis());
    let asked = SeriesQuery {
        cluster: cluster.to_owned(),
        subject,
        fields: infos.iter().map(|info| info.name).collect(),
        from,
        to,
        step_ms: step.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX)),
        points: query.number("points"),
    };
    let series = state.store.series(asked).await?;
    let mut fields = BTreeMap::new();
    for info in infos {
        let samples = series.fields.get(info.name).map_or(&[][..], Vec::as_slice);
        let points = samples.iter().map(|sample| point(info.kind, sample));
        fields.insert(info.name, points.collect());
    }
    Ok(Json(History {
        measurement: measurement.name(),
        from_ms: from.as_ms(),
        to_ms: to.as_ms(),
        fields,
        layers: series.stretches.iter().map(layer_part).collect(),
        known_from_ms: (series.known_from.iter())
            .map(|(field, from)| (*field, from.as_ms()))
            .collect(),
        beats: series.beats,
        unreadable: series.corrupt,
    }))
}

fn layer_part(stretch: &Stretch) -> LayerPart {
    LayerPart {
        layer: stretch.layer.as_str(),
        from_ms: stretch.from.as_ms(),
        to_ms: stretch.to.as_ms(),
    }
}

fn subject(query: &Query) -> Result<Subject, Bad> {
    let text = |name| query.text(name).map(str::to_owned);
    let partition: Option<u32> = partition(query)?;
    match (text("group"), text("topic"), partition) {
        (None, None, None) => Ok(Subject::Cluster),
        (None, Some(topic), Some(partition)) => Ok(Subject::Log { topic, partition }),
        (None, Some(_), None) => Err(Bad::new(
            "topic",
            "expected with group (that group's lag on it), or with partition (its log)",
        )),
        (_, None, Some(_)) => Err(Bad::new("partition", "expected together with topic")),
        (Some(group), None, None) => Ok(Subject::Group { group }),
        (Some(group), Some(topic), None) => Ok(Subject::Topic { group, topic }),
        (Some(group), Some(topic), Some(partition)) => Ok(Subject::Partition {
            group,
            topic,
            partition,
        }),
    }
}

/// The fields with these names; by default what most people want.
fn fields(measurement: Measurement, names: Option<&str>) -> Result<Vec<&'static FieldInfo>, Bad> {
    let info = measurement.info();
    let is_numeric = |field: &&FieldInfo| field.kind != FieldKind::Text;
    let default = if measurement == Measurement::TopicOffset {
        "end_offset"
    } else {
        "lag"
    };
    let wanted = names.unwrap_or(default).split(',');
    let found = wanted.map(|name| info.field(name.trim()).filter(is_numeric));
    found.collect::<Option<Vec<_>>>().ok_or_else(|| {
        let known = info
            .fields
            .iter()
            .filter(is_numeric)
            .map(|field| field.name);
        let known: Vec<&str> = known.collect();
        let (name, known) = (measurement.name(), known.join(", "));
        Bad::new("fields", format!("expected fields of {name}: {known}"))
    })
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "a whole number that came from an i64"
)]
fn point(kind: FieldKind, sample: &Sample) -> (i64, Value) {
    let value = match (sample.value, kind) {
        (None, _) => Value::Null,
        (Some(value), FieldKind::Float) => value.into(),
        (Some(value), FieldKind::Int | FieldKind::Bool | FieldKind::Text) => (value as i64).into(),
    };
    (sample.at.as_ms(), value)
}

/// Status changes.
pub(super) async fn events(
    Extract(state): Extract<Arc<State>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Events>, Refusal> {
    let now = state.clock.now();
    let query = Query::read(query.as_deref(), EVENT_PARAMETERS, now)?;
    let (from, to) = range(&query, now, DAY)?;
    let limit = query.number("limit");
    let asked = ChangeQuery {
        cluster: query.text("cluster").map(str::to_owned),
        group: query.text("group").map(str::to_owned),
        topic: query.text("topic").map(str::to_owned),
        partition: partition(&query)?,
        groups_only: query.is_on("groups_only"),
        to_status: query.word("status").and_then(status),
        from,
        to,
        behind: query.text("cursor").map(place).transpose()?,
        // One more tells whether there is another page.
        limit: limit + 1,
    };
    let mut found = state.store.status_changes(asked).await?;
    let is_more = found.len() > limit;
    found.truncate(limit);
    let last = found.last().filter(|_| is_more);
    let next = last.map(|last| format!("{}.{}", last.place.beat.as_ms(), last.place.number));
    Ok(Json(Events {
        events: found.into_iter().map(event).collect(),
        next,
    }))
}

fn status(word: &str) -> Option<Status> {
    let mut all = (0..=6).filter_map(Status::from_code);
    all.find(|status| status.as_str() == word)
}

fn place(cursor: &str) -> Result<ChangePlace, Bad> {
    let parts = cursor.split_once('.');
    let parts = parts.and_then(|(beat, number)| Some((beat.parse().ok()?, number.parse().ok()?)));
    let (beat, number) =
        parts.ok_or_else(|| Bad::new("cursor", "expected the \"next\" of an earlier answer"))?;
    Ok(ChangePlace {
        beat: Timestamp::from_ms(beat),
        number,
    })
}

fn event(past: PastChange) -> Event {
    let change = past.change;
    let (topic, partition) = change.partition.unzip();
    Event {
        beat_ms: change.beat.as_ms(),
        cluster: change.cluster.as_str().to_owned(),
        group: change.group.as_str().to_owned(),
        topic: topic.map(|topic| topic.as_str().to_owned()),
        partition,
        from: change.from.as_str(),
        to: change.to.as_str(),
        reason: change.reason,
    }
}
