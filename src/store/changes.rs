//! What changed against the last journaled evaluation of a cluster.
//!
//! The statuses are those of the journal: after a restart they come from the newest frame, so a
//! change that happened while lagline was down is reported, and none is reported twice. Groups
//! that lagline does not judge yet (`warming`) keep what was journaled.

use rustc_hash::FxHashMap;

use super::frame::StatusChange;
use crate::clock::Timestamp;
use crate::lag::evaluation::{Evaluation, GroupEvaluation, PartitionStatus, Phase, Status};
use crate::lag::ids::{ClusterName, GroupId, TopicName};
use crate::lag::reason::Grouped;

type Bad = (TopicName, i32, Status);

#[derive(Debug)]
struct Known {
    status: Status,
    /// The newest journaled beat at which the group was judged.
    at: Timestamp,
    /// Partitions that are not OK, in the evaluation's order.
    bad: Vec<Bad>,
}

/// The journaled statuses of all clusters.
#[derive(Debug, Default)]
pub(super) struct Statuses(FxHashMap<ClusterName, FxHashMap<GroupId, Known>>);

impl Statuses {
    /// Takes over what a journaled evaluation says, without looking for changes.
    pub(super) fn restore(&mut self, evaluation: &Evaluation) {
        drop(self.update(evaluation));
    }

    /// What changed from the last evaluation to this one, which becomes the last. Groups in the
    /// evaluation's order, a group before its partitions, groups that are gone at the end.
    pub(super) fn update(&mut self, evaluation: &Evaluation) -> Vec<StatusChange> {
        if evaluation.phase != Phase::Running {
            return Vec::new();
        }
        let known = self.0.entry(evaluation.cluster.clone()).or_default();
        let mut found = Changes {
            evaluation,
            list: Vec::new(),
        };
        for group in evaluation.groups.iter().filter(|group| !group.warming) {
            found.compare(known.get(&group.id), group);
            match known.get_mut(&group.id) {
                Some(known) => {
                    known.status = group.status;
                    known.at = evaluation.beat;
                    // Nearly always empty before and after.
                    if group.totals.worst.is_some() || !known.bad.is_empty() {
                        known.bad = bad_partitions(group);
                    }
                }
                None => {
                    let new = Known {
                        status: group.status,
                        at: evaluation.beat,
                        bad: bad_partitions(group),
                    };
                    known.insert(group.id.clone(), new);
                }
            }
        }
        found.forget_gone(known);
        found.list
    }

    /// The groups of a cluster with the status that is journaled last, and its beat; sorted.
    pub(super) fn of(&self, cluster: &ClusterName) -> Vec<(GroupId, Status, Timestamp)> {
        let mut statuses: Vec<_> = self
            .0
            .get(cluster)
            .into_iter()
            .flatten()
            .map(|(group, known)| (group.clone(), known.status, known.at))
            .collect();
        statuses.sort_by(|a, b| a.0.cmp(&b.0));
        statuses
    }
}

fn bad_partitions(group: &GroupEvaluation) -> Vec<Bad> {
    rows_of_bad(group)
        .map(|(topic, partition, status)| (topic.clone(), partition, status.status))
        .collect()
}

fn rows_of_bad(
    group: &GroupEvaluation,
) -> impl Iterator<Item = (&TopicName, i32, &PartitionStatus)> {
    group.topics.iter().flat_map(|topic| {
        (0_i32..)
            .zip(&topic.partitions)
            .filter_map(move |(partition, row)| {
                let status = row.status.as_ref().filter(|s| s.status != Status::Ok)?;
                Some((&topic.topic, partition, status))
            })
    })
}

struct Changes<'a> {
    evaluation: &'a Evaluation,
    list: Vec<StatusChange>,
}

impl Changes<'_> {
    /// A group that is seen for the first time is a change from NOTFOUND only when it is bad: a
    /// first start would otherwise report every group there is.
    fn compare(&mut self, known: Option<&Known>, group: &GroupEvaluation) {
        let first = if group.status == Status::Ok {
            Status::Ok
        } else {
            Status::NotFound
        };
        let from = known.map_or(first, |known| known.status);
        if from != group.status {
            self.push(&group.id, None, from, group.status, group_reason(group));
        }
        let mut before = known.map_or(&[][..], |known| &known.bad).iter().peekable();
        if group.totals.worst.is_none() && before.peek().is_none() {
            return;
        }
        for (topic, partition, status) in rows_of_bad(group) {
            let place = (topic, partition);
            while let Some((topic, partition, from)) = before.next_if(|b| (&b.0, b.1) < place) {
                self.recovered(group, topic, *partition, *from);
            }
            let same = before.next_if(|b| (&b.0, b.1) == place);
            let from = same.map_or(Status::Ok, |(_, _, status)| *status);
            if from != status.status {
                let place = Some((topic.clone(), partition));
                self.push(&group.id, place, from, status.status, words(status));
            }
        }
        for (topic, partition, from) in before {
            self.recovered(group, topic, *partition, *from);
        }
    }

    fn recovered(&mut self, group: &GroupEvaluation, topic: &TopicName, at: i32, from: Status) {
        let known = group.topics.binary_search_by(|t| t.topic.cmp(topic));
        let row = known.ok().and_then(|t| {
            let partition = usize::try_from(at).ok()?;
            group.topics[t].partitions.get(partition)
        });
        let place = Some((topic.clone(), at));
        match row {
            Some(row) => {
                let reason = match row.lag.get() {
                    Some(lag) => format!("recovered; lag {}", Grouped(lag)),
                    None => "recovered".to_owned(),
                };
                self.push(&group.id, place, from, Status::Ok, reason);
            }
            None => {
                let reason = "the group has no such partition any more".to_owned();
                self.push(&group.id, place, from, Status::NotFound, reason);
            }
        }
    }

    /// Groups of which the evaluation says nothing any more.
    fn forget_gone(&mut self, known: &mut FxHashMap<GroupId, Known>) {
        let groups = &self.evaluation.groups;
        let seen = groups.iter().filter(|g| known.contains_key(&g.id)).count();
        if seen == known.len() {
            return;
        }
        let is_gone = |group: &GroupId| groups.binary_search_by(|g| g.id.cmp(group)).is_err();
        let mut gone: Vec<_> = known.extract_if(|group, _| is_gone(group)).collect();
        gone.sort_by(|a, b| a.0.cmp(&b.0));
        for (group, known) in gone {
            if known.status != Status::Ok {
                let reason = "the group is gone: deleted or expired".to_owned();
                self.push(&group, None, known.status, Status::NotFound, reason);
            }
        }
    }

    fn push(
        &mut self,
        group: &GroupId,
        partition: Option<(TopicName, i32)>,
        from: Status,
        to: Status,
        reason: String,
    ) {
        self.list.push(StatusChange {
            cluster: self.evaluation.cluster.clone(),
            group: group.clone(),
            partition,
            from,
            to,
            reason,
            beat: self.evaluation.beat,
        });
    }
}

fn words(status: &PartitionStatus) -> String {
    match &status.reason {
        Some(reason) => reason.to_string(),
        None => format!("the partition is in {}", status.status),
    }
}

/// The worst partition's reason speaks for its group.
fn group_reason(group: &GroupEvaluation) -> String {
    let worst = group.totals.worst.and_then(|worst| {
        let partition = worst.1;
        let (topic, row) = group.at(worst)?;
        let status = row.status.as_ref()?;
        let words = words(status);
        Some(format!(
            "{} {partition} {}: {words}",
            topic.topic, status.status
        ))
    });
    worst.unwrap_or_else(|| match group.totals.lag.get() {
        Some(lag) => format!("every partition is OK; lag {}", Grouped(lag)),
        None => "every partition is OK".to_owned(),
    })
}
