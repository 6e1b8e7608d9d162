//! `/api/v1/topics`: the list, and one topic with everybody who reads it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, State as Extract};
use schemars::JsonSchema;
use serde::Serialize;

use super::Refusal;
use super::groups::{LIMIT, evaluation_of, wanted_clusters};
use super::pages::{Key, Order, page};
use super::params::{Kind, Parameter, Query};
use crate::lag::evaluation::{Evaluation, GroupTopic, Status, TopicEvaluation};
use crate::points::totals_of;
use crate::server::State;

pub(super) const PARAMETERS: &[Parameter] = &[
    Parameter {
        name: "cluster",
        kind: Kind::Text,
        about: "Only topics of this cluster.",
    },
    Parameter {
        name: "search",
        kind: Kind::Text,
        about: "Only topics whose name contains this, in any case.",
    },
    Parameter {
        name: "read",
        kind: Kind::Switch,
        about: "Only topics that some group reads.",
    },
    Parameter {
        name: "sort",
        kind: Kind::Word(&["topic", "lag", "produce_rate", "groups"]),
        about: "What comes first; by topic in the order of names, else the greatest.",
    },
    Parameter {
        name: "limit",
        kind: LIMIT,
        about: "Topics at most.",
    },
    Parameter {
        name: "cursor",
        kind: Kind::Text,
        about: "The \"next\" of the answer before.",
    },
];

pub(super) const ONE_PARAMETERS: &[Parameter] = &[Parameter {
    name: "limit",
    kind: LIMIT,
    about: "Partitions, and groups, at most.",
}];

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Topics {
    topics: Vec<Topic>,
    /// How many topics match, on all pages.
    total: usize,
    /// The cursor of the next page; absent on the last one.
    next: Option<String>,
}

/// A topic at the latest evaluation. What is unknown is null.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Topic {
    cluster: String,
    topic: String,
    partitions: usize,
    /// Records in the log: sum of end minus start offsets; null when one is unknown.
    records: Option<i64>,
    /// Records a second.
    produce_rate: Option<f64>,
    /// Groups that read it.
    groups: usize,
    /// The greatest lag of a group on it.
    max_lag: Option<i64>,
    /// The group that has it.
    max_lag_group: Option<String>,
    /// The worst status of a group's partitions of it.
    status: &'static str,
    beat_ms: i64,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct OneTopic {
    #[serde(flatten)]
    topic: Topic,
    partition_list: Vec<TopicPartition>,
    /// The groups that read it, the one that is farthest behind first.
    readers: Vec<TopicReader>,
    /// Partitions or groups were left out because of the limit.
    is_cut: bool,
}

/// A partition's log.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct TopicPartition {
    partition: usize,
    begin_offset: Option<i64>,
    end_offset: Option<i64>,
    produce_rate: Option<f32>,
}

/// A group that reads the topic, and how far it is behind on it.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct TopicReader {
    group: String,
    status: &'static str,
    lag: Option<i64>,
    max_lag: Option<i64>,
    max_lag_partition: Option<u32>,
    partitions_lagging: u32,
    time_lag_s: Option<f32>,
    consume_rate: Option<f32>,
    produce_rate: Option<f32>,
}

/// Who reads the topics of an evaluation.
fn readers(evaluation: &Evaluation) -> BTreeMap<&str, Vec<(&str, &GroupTopic)>> {
    let mut readers: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for group in &evaluation.groups {
        for topic in &group.topics {
            let of = readers.entry(topic.topic.as_str()).or_default();
            of.push((group.id.as_str(), topic));
        }
    }
    readers
}

/// The list.
pub(super) async fn topics(
    Extract(state): Extract<Arc<State>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Topics>, Refusal> {
    let query = Query::read(query.as_deref(), PARAMETERS, state.clock.now())?;
    let search = query.text("search").map(str::to_lowercase);
    let sort = query.word("sort").unwrap_or("topic");
    let mut found = Vec::new();
    for handle in wanted_clusters(&state, &query)? {
        let Some(evaluation) = handle.latest.borrow().clone() else {
            continue;
        };
        let readers = readers(&evaluation);
        for topic in &evaluation.topics {
            let name = topic.topic.as_str();
            let by = readers.get(name).map_or(&[][..], Vec::as_slice);
            let is_wanted = search
                .as_deref()
                .is_none_or(|it| name.to_lowercase().contains(it));
            if is_wanted && (!by.is_empty() || !query.is_on("read")) {
                let row = row(&evaluation, topic, by);
                found.push((key(sort, &row), row));
            }
        }
    }
    let total = found.len();
    let order = Order {
        numbers_fall: true,
        names_fall: false,
    };
    let (topics, next) = page(found, order, query.text("cursor"), query.number("limit"))?;
    Ok(Json(Topics {
        topics,
        total,
        next,
    }))
}

#[allow(clippy::cast_precision_loss, reason = "only for sorting")]
fn key(sort: &str, row: &Topic) -> Key {
    Key {
        first: match sort {
            "lag" => row.max_lag.map(|lag| lag as f64),
            "produce_rate" => row.produce_rate,
            "groups" => Some(row.groups as f64),
            _ => None,
        },
        second: None,
        cluster: row.cluster.clone(),
        name: row.topic.clone(),
    }
}

fn row(evaluation: &Evaluation, topic: &TopicEvaluation, readers: &[(&str, &GroupTopic)]) -> Topic {
    let records = topic.partitions.iter().try_fold(0_i64, |sum, log| {
        let records = log.end.get()?.checked_sub(log.begin.get()?)?;
        sum.checked_add(records.max(0))
    });
    let rates = topic
        .partitions
        .iter()
        .filter_map(|log| log.produce_rate.get());
    let mut rates = rates.map(f64::from).peekable();
    let produce_rate = rates.peek().is_some().then(|| rates.sum());
    let totals = readers
        .iter()
        .map(|(group, topic)| (*group, totals_of(topic)));
    let (mut status, mut greatest) = (Status::Ok, None);
    for (group, totals) in totals {
        status = status.max(totals.status);
        if let Some(lag) = totals.lag.get()
            && greatest.is_none_or(|(most, _)| lag > most)
        {
            greatest = Some((lag, group));
        }
    }
    Topic {
        cluster: evaluation.cluster.as_str().to_owned(),
        topic: topic.topic.as_str().to_owned(),
        partitions: topic.partitions.len(),
        records,
        produce_rate,
        groups: readers.len(),
        max_lag: greatest.map(|(lag, _)| lag),
        max_lag_group: greatest.map(|(_, group)| group.to_owned()),
        status: status.as_str(),
        beat_ms: evaluation.beat.as_ms(),
    }
}

/// One topic.
pub(super) async fn one(
    Extract(state): Extract<Arc<State>>,
    Path((cluster, topic)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Json<OneTopic>, Refusal> {
    let query = Query::read(query.as_deref(), ONE_PARAMETERS, state.clock.now())?;
    let limit = query.number("limit");
    let evaluation = evaluation_of(&state, &cluster)?;
    let topic = evaluation
        .topic(&topic)
        .ok_or_else(|| Refusal::NotFound("the cluster has no topic of this name".to_owned()))?;
    let by = readers(&evaluation);
    let by = by.get(topic.topic.as_str()).map_or(&[][..], Vec::as_slice);
    let mut readers: Vec<TopicReader> = by
        .iter()
        .map(|(group, topic)| reader(group, topic))
        .collect();
    readers.sort_by(|a, b| b.lag.cmp(&a.lag).then_with(|| a.group.cmp(&b.group)));
    let is_cut = readers.len() > limit || topic.partitions.len() > limit;
    readers.truncate(limit);
    let logs = topic.partitions.iter().enumerate().take(limit);
    Ok(Json(OneTopic {
        topic: row(&evaluation, topic, by),
        partition_list: logs
            .map(|(partition, log)| TopicPartition {
                partition,
                begin_offset: log.begin.get(),
                end_offset: log.end.get(),
                produce_rate: log.produce_rate.get(),
            })
            .collect(),
        readers,
        is_cut,
    }))
}

fn reader(group: &str, topic: &GroupTopic) -> TopicReader {
    let totals = totals_of(topic);
    TopicReader {
        group: group.to_owned(),
        status: totals.status.as_str(),
        lag: totals.lag.get(),
        max_lag: totals.max_lag.map(|(lag, _)| lag),
        max_lag_partition: totals.max_lag.map(|(_, partition)| partition),
        partitions_lagging: totals.lagging,
        time_lag_s: totals.time_lag_s.get(),
        consume_rate: totals.consume_rate.get(),
        produce_rate: totals.produce_rate.get(),
    }
}
