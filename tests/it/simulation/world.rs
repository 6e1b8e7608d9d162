//! The world: producers, consumer groups and an offsets topic. It knows everything that lagline has
//! to find out.
//!
//! Time goes in ticks of 250 ms. What a tick writes is there from its first millisecond on. Broker
//! time is true time.

use std::collections::BTreeMap;

use fastrand::Rng;
use lagline::clock::Timestamp;
use lagline::lag::ids::coordinator_partition;

pub const TICK_MS: i64 = 250;
/// Partitions of the offsets topic.
pub const OFFSETS_PARTITIONS: i32 = 3;
/// When the world begins: any moment of any day, on a whole beat.
pub const BEGIN_MS: i64 = 1_700_000_000_000;

/// One partition's log: the end offset after each tick in which it grew.
#[derive(Debug)]
pub struct Log {
    ends: Vec<(i64, i64)>,
    /// Records a second; what is left over is kept for the next tick.
    rate: f64,
    rest: f64,
    /// Ticks until the rate changes.
    change_in: u32,
}

impl Log {
    fn new(rng: &mut Rng) -> Log {
        let mut log = Log {
            ends: vec![(0, 0)],
            rate: 0.0,
            rest: 0.0,
            change_in: 0,
        };
        log.new_rate(rng);
        log
    }

    fn new_rate(&mut self, rng: &mut Rng) {
        self.rate = match rng.u32(0..6) {
            0 => 0.0,
            1 => 0.05,
            2 => 2.0,
            _ => f64::from(rng.u32(5..300)),
        };
        self.change_in = rng.u32(200..3000);
    }

    fn tick(&mut self, at: i64, rng: &mut Rng) {
        self.change_in -= 1;
        if self.change_in == 0 {
            self.new_rate(rng);
        }
        let jitter = 0.5 + rng.f64();
        self.rest += self.rate * jitter * 0.25;
        let whole = self.rest.floor();
        if whole >= 1.0 {
            self.rest -= whole;
            self.ends.push((at, self.end() + whole as i64));
        }
    }

    /// The newest end offset.
    pub fn end(&self) -> i64 {
        self.ends.last().map_or(0, |e| e.1)
    }

    /// The end offset at a moment.
    pub fn end_at(&self, at: i64) -> i64 {
        let index = self.ends.partition_point(|e| e.0 <= at);
        index.checked_sub(1).map_or(0, |i| self.ends[i].1)
    }

    /// What Kafka answers for a timestamp: the offset of the first record that is not older.
    pub fn first_not_older(&self, at: i64) -> i64 {
        self.end_at(at - 1)
    }

    /// When the record at an offset was written.
    pub fn written_at(&self, offset: i64) -> Option<i64> {
        let index = self.ends.partition_point(|e| e.1 <= offset);
        self.ends.get(index).map(|e| e.0)
    }
}

/// How a group reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// Commits exactly the log end each time.
    CaughtUp,
    /// Commits what was the end a moment ago: always a little behind, never for long.
    Busy,
    /// Commits only when it has read something.
    OnWork,
    /// Reads less than is written.
    Slow,
    /// Commits the same offset for ever, from some moment on.
    Stalls,
    /// Commits nothing any more, from some moment on.
    Stops,
    /// Falls behind, then catches up, again and again.
    Swings,
    /// Goes back once, then reads on slowly.
    Rewinds,
}

pub const HABITS: [Habit; 8] = [
    Habit::CaughtUp,
    Habit::Busy,
    Habit::OnWork,
    Habit::Slow,
    Habit::Stalls,
    Habit::Stops,
    Habit::Swings,
    Habit::Rewinds,
];

/// One group on one topic.
#[derive(Debug)]
pub struct Group {
    pub name: String,
    pub habit: Habit,
    pub topic: usize,
    /// When its habit begins; before, it is caught up.
    pub turns_at: i64,
    pub every_ms: i64,
    next_commit: i64,
    /// Next offset to read, by partition.
    positions: Vec<f64>,
    pub committed: Vec<Option<i64>>,
    share: f64,
}

/// A record of the offsets topic.
#[derive(Clone, Debug)]
pub struct Record {
    pub offset: i64,
    pub at: i64,
    pub group: usize,
    pub partition: i32,
    pub committed: i64,
    /// How long it takes to reach a reader.
    pub delay: i64,
}

#[derive(Debug)]
pub struct World {
    pub rng: Rng,
    pub now: i64,
    /// Topics and their partitions' logs.
    pub topics: Vec<Vec<Log>>,
    pub groups: Vec<Group>,
    /// The offsets topic, by partition.
    pub offsets: Vec<Vec<Record>>,
}

impl World {
    pub fn new(seed: u64) -> World {
        let mut rng = Rng::with_seed(seed);
        let topics: Vec<Vec<Log>> = (0..3)
            .map(|_| (0..rng.usize(1..4)).map(|_| Log::new(&mut rng)).collect())
            .collect();
        let groups = (0..10)
            .map(|i| {
                let topic = rng.usize(0..topics.len());
                let partitions = topics[topic].len();
                let every_ms = match rng.u32(0..8) {
                    0 => rng.i64(60_000..240_000),
                    1 | 2 => rng.i64(9_000..40_000),
                    _ => rng.i64(1_000..9_000),
                };
                Group {
                    name: format!("group-{i}"),
                    habit: HABITS[rng.usize(0..HABITS.len())],
                    topic,
                    turns_at: BEGIN_MS + rng.i64(0..1_200_000),
                    every_ms,
                    next_commit: BEGIN_MS + rng.i64(0..every_ms),
                    positions: vec![0.0; partitions],
                    committed: vec![None; partitions],
                    share: 0.2 + 0.5 * rng.f64(),
                }
            })
            .collect();
        World {
            rng,
            now: BEGIN_MS,
            topics,
            groups,
            offsets: (0..OFFSETS_PARTITIONS).map(|_| Vec::new()).collect(),
        }
    }

    /// Everything that happens in the next tick.
    pub fn tick(&mut self) {
        let now = self.now;
        for log in self.topics.iter_mut().flatten() {
            log.tick(now, &mut self.rng);
        }
        for index in 0..self.groups.len() {
            self.read(index);
            let group = &self.groups[index];
            if group.next_commit < now + TICK_MS {
                let at = group.next_commit.max(now);
                self.commit(index, at);
                let group = &mut self.groups[index];
                let jitter = self.rng.i64(0..=group.every_ms / 10);
                group.next_commit = at + group.every_ms - group.every_ms / 20 + jitter;
            }
        }
        self.now += TICK_MS;
    }

    /// Moves a group's positions on by a tick.
    fn read(&mut self, index: usize) {
        let now = self.now;
        let group = &mut self.groups[index];
        let has_turned = now >= group.turns_at;
        for (partition, position) in group.positions.iter_mut().enumerate() {
            let log = &self.topics[group.topic][partition];
            let end = log.end() as f64;
            let grown = (log.end() - log.end_at(now - TICK_MS)) as f64;
            *position = match group.habit {
                Habit::Slow if has_turned => *position + grown * group.share,
                Habit::Swings if has_turned && (now / 400_000) % 2 == 0 => {
                    *position + grown * group.share
                }
                Habit::Swings if has_turned => (*position + grown * 3.0 + 5.0).min(end),
                Habit::Rewinds if has_turned && now - group.turns_at < TICK_MS => *position / 2.0,
                Habit::Rewinds if has_turned => *position + grown * group.share,
                Habit::Stalls if has_turned => *position,
                Habit::Busy => (log.end_at(now - self.rng.i64(0..4_000)) as f64).max(*position),
                _ => end,
            };
        }
    }

    fn commit(&mut self, index: usize, at: i64) {
        let group = &mut self.groups[index];
        if group.habit == Habit::Stops && at >= group.turns_at {
            return;
        }
        let holder = coordinator_partition(&group.name, OFFSETS_PARTITIONS).0;
        let records = &mut self.offsets[usize::try_from(holder).unwrap()];
        for (partition, position) in group.positions.iter().enumerate() {
            let position = position.floor() as i64;
            let known = &mut group.committed[partition];
            if group.habit == Habit::OnWork && *known == Some(position) {
                continue;
            }
            *known = Some(position);
            records.push(Record {
                offset: records.last().map_or(0, |r| r.offset + 1),
                at,
                group: index,
                partition: i32::try_from(partition).unwrap(),
                committed: position,
                delay: self.rng.i64(20..400),
            });
        }
        records.sort_by_key(|r| r.offset);
    }

    pub fn topic_name(&self, topic: usize) -> String {
        format!("topic-{topic}")
    }

    /// What a compaction of an offsets partition up to `boundary` leaves: the last record of each
    /// key in front of it, all behind it. Says also where the last gap ends.
    pub fn compacted(&self, partition: usize, boundary: i64) -> (Vec<Record>, i64) {
        let records = &self.offsets[partition];
        let mut last: BTreeMap<(usize, i32), i64> = BTreeMap::new();
        for record in records.iter().filter(|r| r.offset < boundary) {
            last.insert((record.group, record.partition), record.offset);
        }
        let kept: Vec<Record> = records
            .iter()
            .filter(|r| r.offset >= boundary || last[&(r.group, r.partition)] == r.offset)
            .cloned()
            .collect();
        let mut complete_from = 0;
        let mut expected = 0;
        for record in &kept {
            if record.offset > expected {
                complete_from = record.offset;
            }
            expected = record.offset + 1;
        }
        (kept, complete_from)
    }
}

pub fn timestamp(ms: i64) -> Timestamp {
    Timestamp::from_ms(ms)
}
