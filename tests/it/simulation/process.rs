//! One lagline process: a `Cluster` and what the monitor and the readers around it do.

use std::collections::BTreeMap;

use fastrand::Rng;
use lagline::lag::cluster::Cluster;
use lagline::lag::evaluation::{Evaluation, Phase, Status};
use lagline::lag::event::{
    Applied, Commit, Connection, Event, EventBatch, LogQuestion, PartitionLog, ReaderProgress,
};
use lagline::lag::ids::{ClusterName, Order};
use lagline::lag::settings::{Limits, Rules, Settings};

use super::world::{OFFSETS_PARTITIONS, Record, World, timestamp};

pub const BEAT_MS: i64 = 10_000;

/// What a partition looked like at a beat.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub status: Status,
    pub stale: bool,
    pub warming: bool,
    pub lag: Option<i64>,
    pub offset: Option<i64>,
    pub reason: String,
    /// The lags of the window's commits, when the status is not OK.
    pub lags: Vec<Option<i64>>,
}

/// How a process is run.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Until when it sees neither Kafka's answers nor its records, from when on.
    pub blind: Vec<(i64, i64)>,
    /// Kafka never answers questions about the past.
    pub never_answered: bool,
    /// Records are sometimes read twice.
    pub duplicates: bool,
    /// Compaction went so far in each offsets partition when the process started.
    pub compacted_to: Vec<i64>,
}

pub struct Process {
    pub cluster: Cluster,
    rng: Rng,
    plan: Plan,
    /// What is left to read at the start, by partition of the offsets topic, newest first.
    replay: Vec<Vec<Record>>,
    complete_from: Vec<i64>,
    /// Next offset to read, by partition of the offsets topic.
    positions: Vec<i64>,
    started_at: i64,
    loads_for: i64,
    pub loaded_at: Option<i64>,
    answers: Vec<(i64, Vec<LogQuestion>)>,
    /// By (group, partition), then by beat.
    pub seen: BTreeMap<(usize, usize), BTreeMap<i64, Seen>>,
    pub groups: BTreeMap<usize, BTreeMap<i64, (Status, bool, bool)>>,
    events: u64,
    next_beat: i64,
}

impl Process {
    pub fn start(world: &World, plan: Plan, seed: u64) -> Process {
        let settings = Settings {
            rules: Rules::default(),
            limits: Limits::default(),
            wanted: Box::new(|_| true),
        };
        let mut rng = Rng::with_seed(seed);
        let partitions = usize::try_from(OFFSETS_PARTITIONS).unwrap();
        let mut replay = Vec::new();
        let mut complete_from = Vec::new();
        for partition in 0..partitions {
            let boundary = plan.compacted_to.get(partition).copied().unwrap_or(0);
            let (mut records, complete) = world.compacted(partition, boundary);
            records.reverse();
            replay.push(records);
            complete_from.push(complete);
        }
        let loads_for = rng.i64(0..20) * 250;
        let mut process = Process {
            cluster: Cluster::new(ClusterName::new("c"), settings),
            rng,
            plan,
            positions: replay
                .iter()
                .map(|r| r.first().map_or(0, |r| r.offset + 1))
                .collect(),
            replay,
            complete_from,
            started_at: world.now,
            loads_for,
            loaded_at: None,
            answers: Vec::new(),
            seen: BTreeMap::new(),
            groups: BTreeMap::new(),
            events: 0,
            next_beat: world.now - world.now.rem_euclid(BEAT_MS) + BEAT_MS,
        };
        process.fetch(world, true);
        process
    }

    fn is_blind(&self, now: i64) -> bool {
        self.plan
            .blind
            .iter()
            .any(|(from, to)| (*from..*to).contains(&now))
    }

    fn apply(&mut self, event: Event<'_>, now: i64) {
        self.events += 1;
        self.cluster.apply(event, timestamp(now));
    }

    /// What the process does between two ticks of the world.
    pub fn tick(&mut self, world: &World) {
        let now = world.now;
        if !self.is_blind(now) {
            self.read(world);
        }
        let answered: Vec<_> = self.answers.extract_if(.., |(at, _)| *at <= now).collect();
        for (_, questions) in answered {
            questions
                .iter()
                .for_each(|question| self.answer(world, question));
        }
        if self.loaded_at.is_none() && self.cluster.phase() == Phase::Running {
            self.loaded_at = Some(now);
            self.ask(now);
            self.fetch(world, false);
            self.evaluate(world, now);
        }
        if now >= self.next_beat {
            let beat = self.next_beat;
            self.next_beat += BEAT_MS;
            self.fetch(world, true);
            self.evaluate(world, beat);
            self.ask(now);
        }
    }

    /// Reads the offsets topic: the replay first, then what is new.
    fn read(&mut self, world: &World) {
        let now = world.now;
        let done = now - self.started_at >= self.loads_for;
        for partition in 0..self.replay.len() {
            let mut batch = EventBatch::default();
            let replayed = &mut self.replay[partition];
            let take = if done {
                replayed.len()
            } else {
                replayed.len() / 4
            };
            let mut records: Vec<Record> = replayed.split_off(replayed.len() - take);
            records.reverse();
            if replayed.is_empty() && done {
                let position = self.positions[partition];
                let all = &world.offsets[partition];
                let new = all[all.partition_point(|r| r.offset < position)..].iter();
                records.extend(new.take_while(|r| r.at + r.delay <= now).cloned());
            }
            if self.plan.duplicates && self.rng.u32(0..50) == 0 {
                let again = world.offsets[partition].iter().rev();
                let mut again: Vec<_> = again
                    .filter(|r| r.offset < self.positions[partition])
                    .take(5)
                    .cloned()
                    .collect();
                again.reverse();
                records.splice(0..0, again);
            }
            for record in &records {
                let group = &world.groups[record.group];
                batch.push_commit(&Commit {
                    group: &group.name,
                    topic: &world.topic_name(group.topic),
                    partition: record.partition,
                    order: Order {
                        epoch: 0,
                        offset: record.offset,
                    },
                    offset: record.committed,
                    timestamp: timestamp(record.at),
                    topic_id: None,
                });
                self.positions[partition] = self.positions[partition].max(record.offset + 1);
            }
            let caught_up = self.replay[partition].is_empty() && done;
            let index = i32::try_from(partition).unwrap();
            batch.push_progress(ReaderProgress {
                partition: index,
                partitions: OFFSETS_PARTITIONS,
                from: 0,
                position: self.positions[partition],
                end: world.offsets[partition].last().map_or(0, |r| r.offset + 1),
                complete_from: self.complete_from[partition],
                caught_up,
                at: timestamp(now),
            });
            self.events += batch.len() as u64;
            self.cluster.apply_batch(&batch, timestamp(now));
        }
    }

    fn fetch(&mut self, world: &World, poll: bool) {
        let now = world.now;
        let is_blind = self.is_blind(now);
        let connection = Connection {
            up: !is_blind,
            ..Connection::default()
        };
        self.apply(Event::Connection(&connection), now);
        if is_blind {
            return;
        }
        let at = now + self.rng.i64(1..200);
        for (topic, logs) in world.topics.iter().enumerate() {
            let name = world.topic_name(topic);
            let partitions: Vec<PartitionLog> = (0..)
                .zip(logs)
                .map(|(partition, log)| PartitionLog {
                    partition,
                    start: Some(0),
                    end: Some(log.end()),
                })
                .collect();
            let event = Event::LogOffsets {
                topic: &name,
                partitions: &partitions,
                at: timestamp(at),
                poll,
            };
            self.apply(event, at);
        }
    }

    fn ask(&mut self, now: i64) {
        let questions = self.cluster.questions(timestamp(now));
        if !questions.is_empty() && !self.plan.never_answered {
            self.answers
                .push((now + self.rng.i64(100..3_000), questions));
        }
    }

    fn answer(&mut self, world: &World, question: &LogQuestion) {
        if self.is_blind(world.now) {
            return;
        }
        let name = question.topic.as_str();
        let topic = (0..world.topics.len())
            .find(|t| world.topic_name(*t) == name)
            .unwrap();
        let log = &world.topics[topic][usize::try_from(question.partition).unwrap()];
        let points: Vec<_> = question
            .at
            .iter()
            .map(|at| (*at, log.first_not_older(at.as_ms())))
            .collect();
        let event = Event::LogHistory {
            topic: name,
            partition: question.partition,
            points: &points,
        };
        self.apply(event, world.now);
    }

    fn evaluate(&mut self, world: &World, beat: i64) {
        let evaluation = self.cluster.evaluate(timestamp(beat));
        let counts = self.cluster.counts();
        let counted: u64 = Applied::ALL.iter().map(|outcome| counts.of(*outcome)).sum();
        assert_eq!(counted, self.events, "every event has one outcome");
        self.check(world, &evaluation, beat);
        for (index, group) in world.groups.iter().enumerate() {
            let Some(evaluated) = evaluation.group(&group.name) else {
                continue;
            };
            let said = (evaluated.status, evaluated.stale, evaluated.warming);
            self.groups.entry(index).or_default().insert(beat, said);
            for (partition, p) in evaluated.topics[0].partitions.iter().enumerate() {
                let seen = Seen {
                    status: p.status(),
                    stale: evaluated.stale,
                    warming: evaluated.warming,
                    lag: p.lag.get(),
                    offset: p.end.map(|end| end.offset),
                    lags: match p.status() {
                        Status::Ok => Vec::new(),
                        _ => lags(&self.cluster, &group.name, partition),
                    },
                    reason: p
                        .status
                        .as_ref()
                        .and_then(|s| s.reason.as_ref())
                        .map_or_else(String::new, ToString::to_string),
                };
                self.seen
                    .entry((index, partition))
                    .or_default()
                    .insert(beat, seen);
            }
        }
    }

    /// What must be true of every evaluation.
    fn check(&self, world: &World, evaluation: &Evaluation, beat: i64) {
        if evaluation.phase != Phase::Running {
            assert!(
                evaluation.groups.is_empty(),
                "nothing is said while loading"
            );
            return;
        }
        for group in &world.groups {
            let Some(evaluated) = evaluation.group(&group.name) else {
                continue;
            };
            let logs = &world.topics[group.topic];
            let partitions = &evaluated.topics[0].partitions;
            assert_eq!(
                partitions.len(),
                logs.len(),
                "filled up to the topic's partitions"
            );
            for (log, p) in logs.iter().zip(partitions) {
                let (Some(end), Some(lag)) = (p.end, p.lag.get()) else {
                    continue;
                };
                assert_eq!(
                    lag,
                    (log.end() - end.offset).max(0),
                    "lag is exact: {group:?}"
                );
                let Some(time_lag) = p.time_lag.filter(|_| lag > 0) else {
                    assert!(p.time_lag.is_some() || lag > 0, "caught up is known");
                    continue;
                };
                let written = log.written_at(end.offset).expect("lag is of records");
                let truth = (beat - written) as f64 / 1000.0;
                let told = f64::from(time_lag.seconds);
                // The tick, and a float's seven digits.
                let slack = 0.6 + truth * 1e-5;
                match time_lag.error_s.get() {
                    Some(error) => assert!(
                        (told - truth).abs() <= f64::from(error) + slack,
                        "time lag {time_lag:?}, really {truth} s"
                    ),
                    None => assert!(told <= truth + slack, "at least {told} s, really {truth} s"),
                }
            }
        }
    }
}

impl Seen {
    /// How much the lag grew within the window.
    pub fn growth(&self) -> i64 {
        let lags: Vec<i64> = self.lags.iter().flatten().copied().collect();
        lags.last().copied().unwrap_or(0) - lags.first().copied().unwrap_or(0)
    }
}

fn lags(cluster: &Cluster, group: &str, partition: usize) -> Vec<Option<i64>> {
    let windows = cluster.windows(group).unwrap();
    windows.topics[0].1[partition]
        .commits
        .iter()
        .map(|c| c.lag.get())
        .collect()
}
