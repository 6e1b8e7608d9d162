//! Carries the workload out against the simulated Kafka.
//!
//! It acts in the middle between two whole seconds of the wall clock, where lagline polls end
//! offsets: a commit then always meets the poll half a second before it, and the lags it gets do
//! not depend on who was quicker. After a pause (a laptop that slept) it goes on from where it was.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::DemoError;
use super::cluster::SimulatedKafka;
use super::members;
use super::plan::{GROUPS, TOPICS, topic_of};
use super::records;
use super::workload::{Commit, Happened, STEP, Workload, Written};
use crate::clock::{Clock, Timestamp};
use crate::kafka::decode::Committed;

/// Where in the second it acts.
const PHASE: Duration = Duration::from_millis(500);
/// How long one second's records may take to be stored.
const FLUSH_WITHIN: Duration = Duration::from_millis(800);
/// How long the past may take to be stored.
const PAST_WITHIN: Duration = Duration::from_secs(10);
/// All members are written again this often, in steps: the oldest records fall off the log.
const REBALANCE_EVERY: i64 = 3_600;

/// A running demo.
#[derive(Debug)]
pub struct Demo {
    kafka: SimulatedKafka,
    workload: Workload,
    clock: Clock,
    waiting: tokio::runtime::Runtime,
    /// The cluster does not take records at the moment.
    is_stuck: bool,
}

/// Starts the simulated Kafka and writes everything that has happened before now. Nothing more
/// happens until [`Demo::run`].
///
/// # Errors
/// When this process gets no threads or loopback sockets.
pub fn start(seed: u64) -> Result<Demo, DemoError> {
    let clock = Clock::system();
    let kafka = SimulatedKafka::start(&TOPICS)?;
    let now = clock.now();
    let (workload, past) = Workload::start(seed, now);
    let waiting = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(DemoError::Runtime)?;
    let demo = Demo {
        kafka,
        workload,
        clock,
        waiting,
        is_stuck: false,
    };
    demo.write_past(&past, now)?;
    for topic in &TOPICS {
        if let Some(partition) = topic.without_leader {
            demo.kafka.take_leader(topic.name, partition)?;
        }
    }
    Ok(demo)
}

impl Demo {
    /// `host:port` of each broker.
    pub fn bootstrap_servers(&self) -> Vec<String> {
        self.kafka.bootstrap_servers()
    }

    /// Each group, and what can be seen on it from half a minute after the start on.
    pub fn story(&self) -> Vec<(String, String)> {
        let of = |text: &str| text.to_owned();
        GROUPS.iter().map(|g| (of(g.name), of(g.shows))).collect()
    }

    /// Lets things happen until the stop signal; then the simulated Kafka ends. Blocks: runs on its
    /// own thread.
    pub fn run(mut self, stop: CancellationToken) {
        while self.wait(&stop) {
            let now = self.clock.now();
            let is_rebalance =
                self.workload.age() > 0 && self.workload.age().rem_euclid(REBALANCE_EVERY) == 0;
            let happened = self.workload.step(now);
            let written = self.act(&happened, is_rebalance, now);
            self.note(written);
        }
    }

    /// Waits for the next step; false when it is time to stop.
    fn wait(&self, stop: &CancellationToken) -> bool {
        let now = self.clock.now();
        let next = now.minus(PHASE).aligned(STEP).plus(STEP).plus(PHASE);
        let left = Duration::from_millis(next.ms_since(now).max(0).unsigned_abs());
        self.waiting.block_on(async {
            tokio::select! {
                biased;
                () = stop.cancelled() => false,
                () = tokio::time::sleep(left) => true,
            }
        })
    }

    /// A step that is late does not end the demo: librdkafka goes on trying.
    fn note(&mut self, written: Result<(), DemoError>) {
        match written {
            Err(error) if !self.is_stuck => {
                tracing::warn!("the demo's records are late: {error}");
                self.is_stuck = true;
            }
            Err(_) => {}
            Ok(()) if self.is_stuck => {
                tracing::info!("the demo's records are on time again");
                self.is_stuck = false;
            }
            Ok(()) => {}
        }
    }

    fn act(
        &self,
        happened: &Happened,
        is_rebalance: bool,
        now: Timestamp,
    ) -> Result<(), DemoError> {
        for written in &happened.written {
            let Written {
                topic,
                partition,
                records,
            } = *written;
            self.kafka
                .write(topic, partition, records, (now.minus(STEP), now))?;
        }
        if is_rebalance {
            let hours = self.workload.age() / REBALANCE_EVERY;
            self.write_members(1 + i32::try_from(hours).unwrap_or(i32::MAX - 1), now)?;
        }
        self.write_commits(&happened.commits)?;
        self.kafka.flush(FLUSH_WITHIN)
    }

    fn write_past(&self, past: &Happened, now: Timestamp) -> Result<(), DemoError> {
        for written in &past.written {
            let rate = written.topic.rate.max(1);
            let age = u64::try_from(written.records / rate).unwrap_or(0);
            let from = now.minus(Duration::from_secs(age));
            self.kafka.write(
                written.topic,
                written.partition,
                written.records,
                (from, now),
            )?;
        }
        let first = past.commits.first().map_or(now, |commit| commit.at);
        self.write_members(1, first)?;
        self.write_commits(&past.commits)?;
        self.kafka.flush(PAST_WITHIN)
    }

    fn write_members(&self, generation: i32, since: Timestamp) -> Result<(), DemoError> {
        for (number, group) in GROUPS.iter().enumerate() {
            let Some(topic) = topic_of(group) else {
                continue;
            };
            let id = self.kafka.topic_id(topic.name);
            for record in members::records(group, number, topic, id, generation, since) {
                self.kafka
                    .write_offsets_record(group.name, &record, since)?;
            }
        }
        Ok(())
    }

    fn write_commits(&self, commits: &[Commit]) -> Result<(), DemoError> {
        for commit in commits {
            let committed = Committed {
                group: commit.group,
                topic: commit.topic,
                partition: commit.partition,
                offset: commit.offset,
                timestamp: commit.at,
                topic_id: self.kafka.topic_id(commit.topic),
            };
            let record = records::commit(&committed);
            self.kafka
                .write_offsets_record(commit.group, &record, commit.at)?;
        }
        Ok(())
    }
}
