//! A beat: what is said about every group and topic.

use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::Cluster;
use super::partition::{Beat, Seen};
use super::reader::Sight;
use super::seeding::Past;
use super::state::{Group, Slot, Topic, Topics};
use crate::clock::Timestamp;
use crate::lag::evaluation::{
    ClusterSummary, Evaluation, GroupEvaluation, GroupTopic, GroupTotals, PartitionEvaluation,
    PartitionStatus, Phase, Status, TopicEvaluation, TopicPartition,
};
use crate::lag::log::Log;
use crate::lag::measure;
use crate::lag::optional::MaybeF32;
use crate::lag::rules::group_status;
use crate::lag::settings::Rules;

/// How long a last journaled status speaks for a group that cannot be judged yet.
const REMEMBERED_FOR: Duration = Duration::from_secs(600);

/// Places whose memory is brought near together.
const AHEAD: usize = 16;

/// What a beat gathers about the cluster.
#[derive(Default)]
struct Tally {
    wishes: usize,
    lag: Option<i64>,
    groups_bad: u32,
    oldest_ms: Option<i64>,
    /// Places still allowed in this evaluation.
    places_left: usize,
}

impl Cluster {
    pub(super) fn evaluate_at(&mut self, now: Timestamp) -> Evaluation {
        self.broker_clock.settle(now);
        let mut tally = Tally {
            places_left: self.settings.limits.partitions,
            ..Tally::default()
        };
        let (groups, topics) = if self.phase == Phase::Running {
            let groups = self.evaluate_groups(now, &mut tally);
            (groups, self.evaluate_topics(now))
        } else {
            (Vec::new(), Vec::new())
        };
        self.wishes += tally.wishes;
        Evaluation {
            cluster: self.name.clone(),
            beat: now,
            phase: self.phase,
            summary: self.summary(&tally, &groups, &topics),
            groups,
            topics,
        }
    }

    fn evaluate_groups(&mut self, now: Timestamp, tally: &mut Tally) -> Vec<Arc<GroupEvaluation>> {
        let clock_offset_ms = self.clock_offset_ms();
        let order = self.groups.take_order();
        let mut groups = Vec::with_capacity(order.len());
        for &index in &order {
            self.settle_members(index);
            let Some(group) = self.groups.at_mut(index) else {
                continue;
            };
            if !group.is_shown() {
                continue;
            }
            if !self.remembered.is_empty()
                && let Some((status, at)) = self.remembered.remove(group.id.as_str())
                // What has committed since may have recovered.
                && group.last_commit <= at
                && group.known.is_none_or(|(_, known_at)| known_at < at)
            {
                group.known = Some((status, at));
            }
            let rules = &self.settings.rules;
            let patience = super::patience(rules);
            let coordinator = group.coordinator(self.readers.len());
            let sight = self.readers.sight(coordinator, now, patience);
            let beat = Beat {
                past: Past {
                    rules,
                    clock_offset_ms,
                    now,
                },
                is_blind: sight == Sight::Behind,
                read_until: match sight {
                    Sight::Until(until) => until,
                    Sight::Behind => None,
                },
                was_bad: group
                    .known
                    .is_some_and(|(status, at)| status != Status::Ok && is_recent(at, now)),
                patience,
            };
            let evaluation = evaluate_group(group, &mut self.topics, beat, tally);
            groups.push(evaluation);
        }
        self.groups.give_back(order);
        if self.loaded_at.is_some_and(|at| now.ms_since(at) > 600_000) {
            self.remembered.clear();
        }
        groups
    }

    fn evaluate_topics(&mut self, now: Timestamp) -> Vec<Arc<TopicEvaluation>> {
        let mut topics: Vec<Arc<TopicEvaluation>> = Vec::new();
        for topic in self.topics.iter_mut() {
            topic
                .logs
                .iter_mut()
                .for_each(super::super::log::Log::settle);
            if topic.is_real {
                topics.push(evaluate_topic(topic, now));
            }
        }
        topics.sort_by(|a, b| a.topic.cmp(&b.topic));
        topics
    }

    fn summary(
        &self,
        tally: &Tally,
        groups: &[Arc<GroupEvaluation>],
        topics: &[Arc<TopicEvaluation>],
    ) -> ClusterSummary {
        let partitions: usize = topics.iter().map(|topic| topic.partitions.len()).sum();
        ClusterSummary {
            up: self.connection.up,
            reason: self.connection.reason.clone(),
            brokers: self.connection.brokers,
            groups: count(groups.len()),
            groups_bad: tally.groups_bad,
            topics: count(topics.len()),
            partitions: count(partitions),
            lag: tally.lag.into(),
            evaluate_ms: MaybeF32::NONE,
            offsets_age_s: tally.oldest_ms.map(measure::seconds).into(),
            reader_lag: self.readers.lag().into(),
            clock_offset_ms: self.clock_offset_ms().into(),
            applied: self.counts,
        }
    }
}

fn evaluate_group(
    group: &mut Group,
    topics: &mut Topics,
    beat: Beat<'_>,
    tally: &mut Tally,
) -> Arc<GroupEvaluation> {
    let mut is_held = beat.is_blind;
    let mut is_warming = false;
    let mut seen_topics = Vec::with_capacity(group.topics.len());
    for used in &mut group.topics {
        let Some(topic) = topics.at_mut(used.topic) else {
            continue;
        };
        let name = topic.name.clone();
        let wanted = used.slots.len().max(topic.partitions());
        let places = if wanted <= tally.places_left {
            wanted
        } else {
            used.slots.len()
        };
        tally.places_left = tally.places_left.saturating_sub(places);
        let mut partitions = Vec::with_capacity(places);
        let last = group.last.as_deref();
        for partition in 0..places {
            if partition % AHEAD == 0 {
                touch(&used.slots, &topic.logs, partition..partition + AHEAD);
            }
            let log = topic.logs.get_mut(partition);
            let Some(slot) = used.slots.get_mut(partition) else {
                partitions.push(beat.untouched(log.as_deref()));
                continue;
            };
            let mut seen = beat.look(slot, log);
            if seen.is_held {
                is_held = true;
                seen.partition.status = last_status(last, name.as_str(), partition);
            }
            is_warming |= seen.is_warming;
            tally.note(&seen);
            partitions.push(seen.partition);
        }
        seen_topics.push(GroupTopic {
            topic: name,
            partitions,
        });
    }
    if seen_topics.len() > 1 {
        seen_topics.sort_by(|a, b| a.topic.cmp(&b.topic));
    }
    let now = beat.past.now;
    let status = settle_status(group, &seen_topics, beat, is_warming, is_held);
    let membership = &group.membership;
    let totals = total(&seen_topics, membership.shown.len(), beat.past.rules);
    let evaluation = GroupEvaluation {
        id: group.id.clone(),
        status,
        stale: is_held,
        warming: is_warming,
        complete: complete(&seen_topics),
        kind: membership.kind,
        protocol_type: Arc::clone(&membership.protocol_type),
        members: Arc::clone(&membership.shown),
        topics: seen_topics,
        totals,
    };
    if !is_warming && !is_held {
        group.known = Some((status, now));
    }
    tally.note_group(&evaluation);
    share(group, evaluation)
}

/// The evaluation, in the memory of the last one when it says the same: an idle group takes no
/// memory twice.
fn share(group: &mut Group, evaluation: GroupEvaluation) -> Arc<GroupEvaluation> {
    match &group.last {
        Some(last) if **last == evaluation => Arc::clone(last),
        _ => {
            let evaluation = Arc::new(evaluation);
            group.last = Some(Arc::clone(&evaluation));
            evaluation
        }
    }
}

/// Brings the memory of these places near: their windows and logs are read at once instead of being
/// waited for one after the other.
fn touch(slots: &[Slot], logs: &[Log], places: Range<usize>) {
    for partition in places {
        if let Some(slot) = slots.get(partition) {
            // Rows of a full window, a cache line apart.
            for commit in [0, 3, 6] {
                black_box(slot.window.at(commit).map(|commit| commit.offset));
            }
        }
        black_box(logs.get(partition).and_then(Log::last_end));
    }
}

fn settle_status(
    group: &Group,
    topics: &[GroupTopic],
    beat: Beat<'_>,
    is_warming: bool,
    is_held: bool,
) -> Status {
    let partitions = topics.iter().flat_map(|topic| &topic.partitions);
    let judged = group_status(partitions.map(PartitionEvaluation::status));
    if is_warming {
        let remembered = match group.known {
            // What has committed since may have recovered: that it has not is not known yet.
            Some((status, at)) if is_recent(at, beat.past.now) && group.last_commit <= at => status,
            _ => Status::Ok,
        };
        // The partitions that need no answer are judged already.
        return remembered.max(judged);
    }
    if is_held && (beat.is_blind || group.last.is_none()) {
        return group.known.map_or(Status::Ok, |(status, _)| status);
    }
    judged
}

fn is_recent(at: Timestamp, now: Timestamp) -> bool {
    at >= now.minus(REMEMBERED_FOR)
}

fn last_status(
    last: Option<&GroupEvaluation>,
    topic: &str,
    partition: usize,
) -> Option<PartitionStatus> {
    let topics = &last?.topics;
    let at = topics
        .binary_search_by(|t| t.topic.as_str().cmp(topic))
        .ok()?;
    topics.get(at)?.partitions.get(partition)?.status.clone()
}

/// Partitions with a full window / all partitions; 0 without any.
#[allow(clippy::cast_precision_loss, reason = "Burrow divides 32-bit floats")]
fn complete(topics: &[GroupTopic]) -> f32 {
    let partitions = || topics.iter().flat_map(|topic| &topic.partitions);
    let all = partitions().count();
    if all == 0 {
        return 0.0;
    }
    partitions().filter(|p| p.complete >= 1.0).count() as f32 / all as f32
}

fn total(topics: &[GroupTopic], members: usize, rules: &Rules) -> GroupTotals {
    let mut totals = GroupTotals {
        members: count(members),
        ..GroupTotals::default()
    };
    let mut sums = Sums::default();
    let mut greatest = i64::MIN;
    let mut worst = Status::Ok;
    for (t, topic) in topics.iter().enumerate() {
        for (p, partition) in topic.partitions.iter().enumerate() {
            let place = (count(t), count(p));
            totals.partitions += 1;
            let status = partition.status();
            totals.count(partition, status);
            totals.total_lag = totals.total_lag.saturating_add(partition.current_lag);
            if partition.current_lag > greatest {
                greatest = partition.current_lag;
                totals.max_lag = Some(place);
            }
            if status > worst {
                worst = status;
                totals.worst = Some(place);
            }
            sums.add(partition, rules.allowed_lag);
        }
    }
    sums.finish(totals)
}

/// Sums over the partitions where a number is known.
#[derive(Default)]
struct Sums {
    lag: Option<i64>,
    lost: Option<i64>,
    consume: Option<f32>,
    produce: Option<f32>,
    retention_used: Option<f32>,
    time_lag: Option<crate::lag::evaluation::TimeLag>,
    eta_s: Option<f32>,
    /// Some partition lags and is not catching up.
    is_losing: bool,
}

impl Sums {
    fn add(&mut self, partition: &PartitionEvaluation, allowed_lag: i64) {
        if let Some(lag) = partition.lag.get() {
            self.lag = Some(self.lag.unwrap_or(0).saturating_add(lag));
            if lag > allowed_lag {
                match partition.eta_s.get() {
                    Some(eta) => self.eta_s = Some(self.eta_s.map_or(eta, |max| max.max(eta))),
                    None => self.is_losing = true,
                }
            }
        }
        if let Some(lost) = partition.records_lost.get() {
            self.lost = Some(self.lost.unwrap_or(0).saturating_add(lost));
        }
        add(&mut self.consume, partition.consume_rate);
        add(&mut self.produce, partition.produce_rate);
        if let Some(used) = partition.retention_used.get() {
            self.retention_used = Some(self.retention_used.map_or(used, |max| max.max(used)));
        }
        if let Some(time_lag) = partition.time_lag
            && self
                .time_lag
                .is_none_or(|longest| time_lag.seconds > longest.seconds)
        {
            self.time_lag = Some(time_lag);
        }
    }

    fn finish(self, totals: GroupTotals) -> GroupTotals {
        GroupTotals {
            lag: self.lag.into(),
            time_lag: self.time_lag,
            eta_s: self.eta_s.filter(|_| !self.is_losing).into(),
            consume_rate: self.consume.into(),
            produce_rate: self.produce.into(),
            records_lost: self.lost.into(),
            retention_used: self.retention_used.into(),
            ..totals
        }
    }
}

fn add(sum: &mut Option<f32>, value: MaybeF32) {
    if let Some(value) = value.get() {
        *sum = Some(sum.unwrap_or(0.0) + value);
    }
}

impl GroupTotals {
    fn count(&mut self, partition: &PartitionEvaluation, status: Status) {
        if !partition.has_commit() {
            self.partitions_no_commit += 1;
            return;
        }
        if partition.lag.get().is_none() {
            self.partitions_unknown += 1;
        }
        match status {
            Status::NotFound | Status::Ok | Status::Err => self.partitions_ok += 1,
            Status::Warn => self.partitions_warn += 1,
            Status::Stop => self.partitions_stop += 1,
            Status::Stall => self.partitions_stall += 1,
            Status::Rewind => self.partitions_rewind += 1,
        }
    }
}

impl Tally {
    fn note(&mut self, seen: &Seen) {
        self.wishes += usize::from(seen.wishes);
        self.oldest_ms = self.oldest_ms.max(seen.age_ms);
    }

    fn note_group(&mut self, group: &GroupEvaluation) {
        self.groups_bad += u32::from(group.status != Status::Ok);
        if let Some(lag) = group.totals.lag.get() {
            self.lag = Some(self.lag.unwrap_or(0).saturating_add(lag));
        }
    }
}

fn evaluate_topic(topic: &mut Topic, now: Timestamp) -> Arc<TopicEvaluation> {
    let partitions = (0..topic.partitions())
        .map(|partition| {
            let Some(log) = topic.logs.get(partition) else {
                return TopicPartition::default();
            };
            let end = log.fresh_end(now);
            TopicPartition {
                begin: log.fresh_start(now).into(),
                end: end.into(),
                last_end: log.last_end().into(),
                produce_rate: match end {
                    Some(_) => log.produce_rate(),
                    None => MaybeF32::NONE,
                },
            }
        })
        .collect();
    let evaluation = TopicEvaluation {
        topic: topic.name.clone(),
        partitions,
    };
    match &topic.last {
        Some(last) if **last == evaluation => Arc::clone(last),
        _ => {
            let evaluation = Arc::new(evaluation);
            topic.last = Some(Arc::clone(&evaluation));
            evaluation
        }
    }
}

fn count(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
