//! `/api/v1/groups`: the list, and one group in full.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, State as Extract};
use schemars::JsonSchema;
use serde::Serialize;

use super::Refusal;
use super::pages::{Key, Order, page};
use super::params::{Bad, Kind, Parameter, Query};
use crate::lag::evaluation::{Evaluation, GroupEvaluation, Member, PartitionEvaluation, Phase};
use crate::lag::event::GroupKind;
use crate::server::{ClusterHandle, State};

/// How the list may be sorted.
const SORTS: &[&str] = &[
    "worst",
    "lag",
    "time_lag",
    "eta",
    "consume_rate",
    "produce_rate",
    "retention_used",
    "group",
];

pub(super) const LIMIT: Kind = Kind::Number {
    least: 1,
    most: 10_000,
    default: 1000,
};

pub(super) const PARAMETERS: &[Parameter] = &[
    Parameter {
        name: "cluster",
        kind: Kind::Text,
        about: "Only groups of this cluster.",
    },
    Parameter {
        name: "status",
        kind: Kind::Words(&["OK", "WARN", "ERR"]),
        about: "Only groups with one of these statuses.",
    },
    Parameter {
        name: "search",
        kind: Kind::Text,
        about: "Only groups whose name, or the name of a topic they read, contains this, in any \
                case.",
    },
    Parameter {
        name: "stale",
        kind: Kind::Switch,
        about: "Only groups with an older status, which lagline cannot see at the moment.",
    },
    Parameter {
        name: "sort",
        kind: Kind::Word(SORTS),
        about: "What comes first. worst (the default): by status, then by lag.",
    },
    Parameter {
        name: "order",
        kind: Kind::Word(&["asc", "desc"]),
        about: "desc, the default: the greatest first; by group the default is asc.",
    },
    Parameter {
        name: "limit",
        kind: LIMIT,
        about: "Groups at most.",
    },
    Parameter {
        name: "cursor",
        kind: Kind::Text,
        about: "The \"next\" of the answer before.",
    },
];

pub(super) const ONE_PARAMETERS: &[Parameter] = &[
    Parameter {
        name: "topic",
        kind: Kind::Text,
        about: "Only this topic's partitions.",
    },
    Parameter {
        name: "limit",
        kind: LIMIT,
        about: "Partitions at most.",
    },
];

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Groups {
    groups: Vec<Group>,
    clusters: Vec<Note>,
    /// How many groups match, on all pages.
    total: usize,
    /// The cursor of the next page; absent on the last one.
    next: Option<String>,
}

/// Why groups of a cluster may be missing.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Note {
    cluster: String,
    note: Option<String>,
}

/// A group at its latest evaluation. What is unknown is null.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Group {
    cluster: String,
    group: String,
    status: &'static str,
    status_code: u8,
    /// The status is an older one.
    stale: bool,
    /// Just loaded, not judged yet.
    warming: bool,
    /// Why the group is not OK: its worst partition and that partition's reason.
    reason: Option<String>,
    /// Sum of the known lags.
    lag: Option<i64>,
    /// Burrow's: sum of newest polled end offset minus newest commit.
    total_lag: i64,
    /// Age of the oldest record not yet consumed.
    time_lag_s: Option<f32>,
    time_lag_error_s: Option<f32>,
    time_lag_method: Option<&'static str>,
    /// Seconds until caught up; null when not catching up.
    eta_s: Option<f32>,
    /// Records a second.
    consume_rate: Option<f32>,
    produce_rate: Option<f32>,
    /// Records that fell off the log unread.
    records_lost: Option<i64>,
    /// Lag as a share of the retained log, 0 to 1, of the worst partition.
    retention_used: Option<f32>,
    partitions: u32,
    partitions_unknown: u32,
    partitions_no_commit: u32,
    members: u32,
    beat_ms: i64,
}

/// A group in full.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct OneGroup {
    #[serde(flatten)]
    group: Group,
    kind: &'static str,
    protocol_type: String,
    /// Share of the partitions whose window is full, 0 to 1.
    complete: f32,
    member_list: Vec<GroupMember>,
    topics: Vec<GroupTopic>,
    /// Partitions were left out because of the limit.
    is_cut: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct GroupMember {
    id: String,
    instance_id: Option<String>,
    client_id: String,
    client_host: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct GroupTopic {
    topic: String,
    partitions: Vec<GroupPartition>,
}

/// A partition of a group. What is unknown is null.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct GroupPartition {
    partition: usize,
    status: &'static str,
    status_code: u8,
    reason: Option<String>,
    lag: Option<i64>,
    /// The committed offset; null without a commit.
    offset: Option<i64>,
    end_offset: Option<i64>,
    commit_ms: Option<i64>,
    time_lag_s: Option<f32>,
    time_lag_error_s: Option<f32>,
    time_lag_method: Option<&'static str>,
    eta_s: Option<f32>,
    consume_rate: Option<f32>,
    produce_rate: Option<f32>,
    records_lost: Option<i64>,
    retention_used: Option<f32>,
    /// Seconds until the committed offset falls off the log.
    retention_left_s: Option<f32>,
    /// Commits in the window as a share of its size, 0 to 1.
    complete: f32,
    /// Index into `member_list`.
    member: Option<usize>,
}

/// The list.
pub(super) async fn groups(
    Extract(state): Extract<Arc<State>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Groups>, Refusal> {
    let query = Query::read(query.as_deref(), PARAMETERS, state.clock.now())?;
    let mut notes = Vec::new();
    let mut evaluations = Vec::new();
    for handle in wanted_clusters(&state, &query)? {
        notes.push(Note {
            cluster: handle.name.as_str().to_owned(),
            note: note(handle),
        });
        evaluations.extend(handle.latest.borrow().clone());
    }
    let filter = Filter::of(&query);
    let sort = query.word("sort").unwrap_or("worst");
    let mut found = Vec::new();
    for evaluation in &evaluations {
        let groups = evaluation.groups.iter().filter(|group| filter.wants(group));
        found.extend(groups.map(|group| (key(sort, evaluation, group), (evaluation, group))));
    }
    let total = found.len();
    let is_by_name = sort == "group";
    let is_falling = query
        .word("order")
        .map_or(!is_by_name, |order| order == "desc");
    let order = Order {
        numbers_fall: is_falling,
        names_fall: is_falling && is_by_name,
    };
    let (rows, next) = page(found, order, query.text("cursor"), query.number("limit"))?;
    let rows = rows.into_iter();
    Ok(Json(Groups {
        groups: rows
            .map(|(evaluation, group)| row(evaluation, group))
            .collect(),
        clusters: notes,
        total,
        next,
    }))
}

/// The clusters that are asked for: one, or all.
pub(super) fn wanted_clusters<'a>(
    state: &'a State,
    query: &Query,
) -> Result<Vec<&'a ClusterHandle>, Bad> {
    match query.text("cluster") {
        None => Ok(state.clusters.values().collect()),
        Some(name) => {
            let handle = state.clusters.get(name);
            let handle = handle.ok_or_else(|| Bad::new("cluster", unknown_cluster(state)))?;
            Ok(vec![handle])
        }
    }
}

/// "no cluster of this name is configured; there are a, b".
pub(super) fn unknown_cluster(state: &State) -> String {
    let names: Vec<&str> = state.clusters.keys().map(|name| name.as_str()).collect();
    format!(
        "no cluster of this name is configured; there are {}",
        names.join(", ")
    )
}

fn note(handle: &ClusterHandle) -> Option<String> {
    let health = handle.health.borrow().clone();
    match (health.phase, health.reason) {
        (Phase::Loading { read, total }, _) => {
            Some(format!("loading, {read} of {total} records read"))
        }
        (Phase::Waiting | Phase::Running, Some(reason)) => Some(reason),
        (Phase::Waiting, None) => Some("nobody has committed an offset yet".to_owned()),
        (Phase::Running, None) => None,
    }
}

struct Filter<'a> {
    statuses: &'a [&'static str],
    search: Option<String>,
    stale: bool,
}

impl<'a> Filter<'a> {
    fn of(query: &'a Query) -> Self {
        Self {
            statuses: query.words("status"),
            search: query.text("search").map(str::to_lowercase),
            stale: query.is_on("stale"),
        }
    }

    fn wants(&self, group: &GroupEvaluation) -> bool {
        let contains = |name: &str| {
            let search = self.search.as_deref();
            search.is_none_or(|search| name.to_lowercase().contains(search))
        };
        (self.statuses.is_empty() || self.statuses.contains(&group.status.as_str()))
            && (!self.stale || group.stale)
            && (contains(group.id.as_str())
                || group
                    .topics
                    .iter()
                    .any(|topic| contains(topic.topic.as_str())))
    }
}

#[allow(clippy::cast_precision_loss, reason = "only for sorting")]
fn key(sort: &str, evaluation: &Evaluation, group: &GroupEvaluation) -> Key {
    let totals = &group.totals;
    let real = |value: Option<f32>| value.map(f64::from);
    let (first, second) = match sort {
        "lag" => (totals.lag.get().map(|lag| lag as f64), None),
        "time_lag" => (real(totals.time_lag.map(|it| it.seconds)), None),
        "eta" => (real(totals.eta_s.get()), None),
        "consume_rate" => (real(totals.consume_rate.get()), None),
        "produce_rate" => (real(totals.produce_rate.get()), None),
        "retention_used" => (real(totals.retention_used.get()), None),
        "group" => (None, None),
        _ => (
            Some(f64::from(group.status.code())),
            Some(totals.total_lag as f64),
        ),
    };
    Key {
        first,
        second,
        cluster: evaluation.cluster.as_str().to_owned(),
        name: group.id.as_str().to_owned(),
    }
}

/// A group as a row of a list.
pub(super) fn row(evaluation: &Evaluation, group: &GroupEvaluation) -> Group {
    let totals = &group.totals;
    Group {
        cluster: evaluation.cluster.as_str().to_owned(),
        group: group.id.as_str().to_owned(),
        status: group.status.as_str(),
        status_code: group.status.code(),
        stale: group.stale,
        warming: group.warming,
        reason: reason(group),
        lag: totals.lag.get(),
        total_lag: totals.total_lag,
        time_lag_s: totals.time_lag.map(|t| t.seconds),
        time_lag_error_s: totals.time_lag.and_then(|t| t.error_s.get()),
        time_lag_method: totals.time_lag.map(|t| t.method.as_str()),
        eta_s: totals.eta_s.get(),
        consume_rate: totals.consume_rate.get(),
        produce_rate: totals.produce_rate.get(),
        records_lost: totals.records_lost.get(),
        retention_used: totals.retention_used.get(),
        partitions: totals.partitions,
        partitions_unknown: totals.partitions_unknown,
        partitions_no_commit: totals.partitions_no_commit,
        members: totals.members,
        beat_ms: evaluation.beat.as_ms(),
    }
}

/// "orders/3: STOP: no commit for 95 s; ...".
fn reason(group: &GroupEvaluation) -> Option<String> {
    let place = group.totals.worst?;
    let (topic, partition) = group.at(place)?;
    let status = partition.status.as_ref()?;
    let head = format!("{}/{}: {}", topic.topic, place.1, status.status);
    Some(match &status.reason {
        Some(reason) => format!("{head}: {reason}"),
        None => head,
    })
}

/// The served evaluation of a cluster.
pub(super) fn evaluation_of(state: &State, cluster: &str) -> Result<Arc<Evaluation>, Refusal> {
    let handle = state.clusters.get(cluster);
    let handle = handle.ok_or_else(|| Refusal::NotFound(unknown_cluster(state)))?;
    let latest = handle.latest.borrow().clone();
    latest.ok_or_else(|| {
        let note = note(handle).unwrap_or_else(|| "it is not evaluated yet".to_owned());
        Refusal::NotFound(format!("nothing is known of the cluster yet: {note}"))
    })
}

/// One group.
pub(super) async fn one(
    Extract(state): Extract<Arc<State>>,
    Path((cluster, group)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Json<OneGroup>, Refusal> {
    let query = Query::read(query.as_deref(), ONE_PARAMETERS, state.clock.now())?;
    let evaluation = evaluation_of(&state, &cluster)?;
    let group = evaluation
        .group(&group)
        .ok_or_else(|| Refusal::NotFound("the cluster has no group of this name".to_owned()))?;
    let wanted = query.text("topic");
    let mut left = query.number("limit");
    let mut is_cut = false;
    let mut topics = Vec::new();
    for topic in &group.topics {
        if wanted.is_some_and(|wanted| wanted != topic.topic.as_str()) {
            continue;
        }
        let shown = topic.partitions.len().min(left);
        is_cut |= shown < topic.partitions.len();
        left -= shown;
        let rows = topic.partitions[..shown].iter().enumerate();
        topics.push(GroupTopic {
            topic: topic.topic.as_str().to_owned(),
            partitions: rows.map(|(at, row)| partition(at, row, group)).collect(),
        });
    }
    Ok(Json(OneGroup {
        group: row(&evaluation, group),
        kind: match group.kind {
            GroupKind::Classic => "classic",
            GroupKind::Consumer => "consumer",
            GroupKind::Share => "share",
            GroupKind::Streams => "streams",
        },
        protocol_type: group.protocol_type.to_string(),
        complete: group.complete,
        member_list: group.members.iter().map(member).collect(),
        topics,
        is_cut,
    }))
}

fn member(member: &Member) -> GroupMember {
    GroupMember {
        id: member.id.to_string(),
        instance_id: member.instance_id.as_deref().map(str::to_owned),
        client_id: member.client_id.to_string(),
        client_host: member.client_host.to_string(),
    }
}

fn partition(
    partition: usize,
    row: &PartitionEvaluation,
    group: &GroupEvaluation,
) -> GroupPartition {
    let reason = row
        .status
        .as_ref()
        .and_then(|status| status.reason.as_ref());
    let owner = usize::try_from(row.owner).ok();
    GroupPartition {
        partition,
        status: row.status().as_str(),
        status_code: row.status().code(),
        reason: reason.map(|reason| reason.to_string()),
        lag: row.lag.get(),
        offset: row.end.map(|commit| commit.offset),
        end_offset: row.end_offset.get(),
        commit_ms: row.end.map(|commit| commit.timestamp.as_ms()),
        time_lag_s: row.time_lag.map(|it| it.seconds),
        time_lag_error_s: row.time_lag.and_then(|it| it.error_s.get()),
        time_lag_method: row.time_lag.map(|it| it.method.as_str()),
        eta_s: row.eta_s.get(),
        consume_rate: row.consume_rate.get(),
        produce_rate: row.produce_rate.get(),
        records_lost: row.records_lost.get(),
        retention_used: row.retention_used.get(),
        retention_left_s: row.retention_left_s.get(),
        complete: row.complete,
        member: owner
            .and_then(|owner| owner.checked_sub(1))
            .filter(|owner| *owner < group.members.len()),
    }
}
