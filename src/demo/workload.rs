//! What happens in the demo, second by second: records written, offsets committed.
//!
//! Pure: no Kafka, no clock, and the same seed tells the same story. It has lived for a quarter of
//! an hour when the demo starts, so that groups, lags and the last commits are there from the first
//! look on. How the records look and who writes them is decided by the driver.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use super::plan::{GROUPS, GroupPlan, Pace, TOPICS, TopicPlan};
use crate::clock::Timestamp;

/// How often something happens.
pub const STEP: Duration = Duration::from_secs(1);
/// Steps that lie in the past when the demo starts: more than ten runs of the batch job.
pub const PAST_STEPS: i64 = 900;
/// Commits of each group-partition that are told of the past: a window.
const PAST_COMMITS: usize = 10;
/// Records of each partition that are older than the past.
const OLDEST_RECORDS: i64 = 3_000;
/// Shifts the groups against each other. The batch job, which commits once a minute, has its first
/// run 5 to 15 s after the start: until then all of its lags are unknown.
const FIRST_RUN: std::ops::RangeInclusive<i64> = 45..=55;
/// Seconds between two commits where a pace does not say otherwise.
const COMMIT_EVERY: i64 = 2;
/// Commits of a round of [`Pace::Rounds`], the records between two of them, and the rounds until
/// it is moved to the end of the log (two hours): its lag must not outgrow the log.
const ROUND_COMMITS: i64 = 6;
const ROUND_STRIDE: i64 = 40;
const ROUNDS: i64 = 600;
/// How far from the end a reader is put that is moved there.
const MOVED_BEHIND: i64 = 1_000;

/// Records written to a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    pub topic: &'static TopicPlan,
    pub partition: i32,
    pub records: i64,
}

/// An offset committed by a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    pub group: &'static str,
    pub topic: &'static str,
    pub partition: i32,
    pub offset: i64,
    pub at: Timestamp,
}

/// What happens in one second, or has happened before the start.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Happened {
    /// Written first.
    pub written: Vec<Written>,
    /// In order.
    pub commits: Vec<Commit>,
}

/// The demo's world.
#[derive(Debug)]
pub struct Workload {
    random: fastrand::Rng,
    /// Negative before the start.
    step: i64,
    topics: Vec<Topic>,
    groups: Vec<Group>,
}

#[derive(Debug)]
struct Topic {
    plan: &'static TopicPlan,
    /// Log end offsets by partition.
    ends: Vec<i64>,
}

#[derive(Debug)]
struct Group {
    plan: &'static GroupPlan,
    /// Index of its topic.
    topic: usize,
    /// By partition.
    readers: Vec<Reader>,
}

/// How far a group is on one partition.
#[derive(Debug)]
struct Reader {
    pace: Pace,
    committed: i64,
    /// Shifts its commits against those of others.
    phase: i64,
    commits: i64,
}

impl Workload {
    /// A world as it is at `now`, the start of the demo, and all of its past that is still there to
    /// be seen: the records, and the last commits of each group.
    pub fn start(seed: u64, now: Timestamp) -> (Workload, Happened) {
        let mut workload = Workload::new(seed);
        let mut past = Happened::default();
        let mut last: VecDeque<Commit> = VecDeque::new();
        while workload.step < 0 {
            let ago = STEP.saturating_mul(u32::try_from(-workload.step).unwrap_or(0));
            last.extend(workload.step(now.minus(ago)).commits);
        }
        // From the newest back, so that the last ones of each partition are kept.
        let mut seen = std::collections::BTreeMap::new();
        for commit in last.into_iter().rev() {
            let count = seen
                .entry((commit.group, commit.partition))
                .or_insert(0_usize);
            *count += 1;
            if *count <= PAST_COMMITS {
                past.commits.push(commit);
            }
        }
        past.commits.reverse();
        for topic in &workload.topics {
            past.written.extend(topic.written(|end| end));
        }
        (workload, past)
    }

    fn new(seed: u64) -> Workload {
        let mut random = fastrand::Rng::with_seed(seed);
        let topics: Vec<Topic> = TOPICS
            .iter()
            .map(|plan| Topic {
                plan,
                ends: (0..plan.partitions).map(|_| OLDEST_RECORDS).collect(),
            })
            .collect();
        let groups = GROUPS
            .iter()
            .filter_map(|plan| {
                let topic = topics.iter().position(|t| t.plan.name == plan.topic)?;
                let phase = random.i64(FIRST_RUN);
                let readers = (0..).zip(plan.paces);
                Some(Group {
                    plan,
                    topic,
                    readers: readers
                        .map(|(at, pace)| Reader::new(*pace, phase, at))
                        .collect(),
                })
            })
            .collect();
        Workload {
            random,
            step: -PAST_STEPS,
            topics,
            groups,
        }
    }

    /// Seconds since the start; negative before it.
    pub fn age(&self) -> i64 {
        self.step
    }

    /// Lives one second, at `now`.
    pub fn step(&mut self, now: Timestamp) -> Happened {
        let mut happened = Happened::default();
        for topic in &mut self.topics {
            topic.grow(self.step, &mut self.random, &mut happened.written);
        }
        for group in &mut self.groups {
            let topic = &self.topics[group.topic];
            for ((partition, reader), end) in (0..).zip(&mut group.readers).zip(&topic.ends) {
                let Some(offset) = reader.step(self.step, *end, topic.plan.rate) else {
                    continue;
                };
                happened.commits.push(Commit {
                    group: group.plan.name,
                    topic: topic.plan.name,
                    partition,
                    offset,
                    at: now,
                });
            }
        }
        self.step += 1;
        happened
    }
}

impl Topic {
    /// One second of producers at work, each at its rate give or take a quarter.
    fn grow(&mut self, step: i64, random: &mut fastrand::Rng, written: &mut Vec<Written>) {
        let plan = self.plan;
        let spread = plan.rate / 4;
        for (partition, end) in (0..).zip(&mut self.ends) {
            if plan.without_leader == Some(partition) {
                continue;
            }
            let mut records = plan.rate + random.i64(-spread..=spread);
            if let Some(burst) = plan.burst {
                let turn = burst.every / i64::from(plan.partitions) * i64::from(partition);
                if (step + turn).rem_euclid(burst.every) == 0 {
                    records += burst.records;
                }
            }
            if records > 0 {
                *end += records;
                written.push(Written {
                    topic: plan,
                    partition,
                    records,
                });
            }
        }
    }

    fn written(&self, count: impl Fn(i64) -> i64) -> impl Iterator<Item = Written> {
        (0..).zip(&self.ends).map(move |(partition, end)| Written {
            topic: self.plan,
            partition,
            records: count(*end),
        })
    }
}

impl Reader {
    fn new(pace: Pace, phase: i64, partition: i64) -> Reader {
        let (committed, commits) = match pace {
            // The partitions are moved to the end at different times.
            Pace::Rounds => (
                OLDEST_RECORDS - MOVED_BEHIND,
                partition * ROUNDS / 2 * ROUND_COMMITS,
            ),
            Pace::Follow { .. }
            | Pace::Lumps
            | Pace::Slow { .. }
            | Pace::Stuck
            | Pace::Dead { .. }
            | Pace::WorkOff { .. } => (OLDEST_RECORDS, 0),
        };
        Reader {
            pace,
            committed,
            phase,
            commits,
        }
    }

    /// The offset it commits in this second, if any. `end` is the log end, `rate` the records that
    /// are written in a second.
    fn step(&mut self, step: i64, end: i64, rate: i64) -> Option<i64> {
        let every = match self.pace {
            Pace::Follow { every } => every,
            Pace::Dead { silent } if step >= -silent => return None,
            Pace::Lumps
            | Pace::Slow { .. }
            | Pace::Stuck
            | Pace::Dead { .. }
            | Pace::Rounds
            | Pace::WorkOff { .. } => COMMIT_EVERY,
        };
        if (step + self.phase).rem_euclid(every) != 0 {
            return None;
        }
        self.commits += 1;
        self.committed = self.next(end, rate);
        Some(self.committed)
    }

    fn next(&self, end: i64, rate: i64) -> i64 {
        match self.pace {
            Pace::Follow { .. } | Pace::Dead { .. } => end,
            Pace::Lumps if self.commits % 2 == 0 => end - rate,
            Pace::Lumps | Pace::Stuck => self.committed,
            Pace::Slow { limit, .. } if end - self.committed > limit => end - MOVED_BEHIND,
            Pace::Slow { speed, .. } => self.committed + speed * COMMIT_EVERY,
            Pace::Rounds if self.commits % (ROUNDS * ROUND_COMMITS) == 0 => end - MOVED_BEHIND,
            Pace::Rounds if self.commits % ROUND_COMMITS == 0 => {
                self.committed - (ROUND_COMMITS - 1) * ROUND_STRIDE - 1
            }
            Pace::Rounds => self.committed + ROUND_STRIDE,
            Pace::WorkOff { speed } => end.min(self.committed + speed * COMMIT_EVERY),
        }
    }
}
