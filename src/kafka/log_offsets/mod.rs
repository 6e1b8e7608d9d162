//! Which topics exist, and where their logs start and end.
//!
//! One thread and one client a cluster, apart from the client that reads: an idle long-poll fetch
//! would block every question on the same connection. Requests are answered in order, each within its
//! own time: what Kafka has not said by then is absent, so that no old number ever stands under a new
//! time. Kafka's errors stay with their partition. The thread decides nothing and keeps no offset; it
//! remembers topics and leaders only. While Kafka does not answer, every request is answered with
//! `up: false` and the reason; librdkafka reconnects by itself, for ever.
//!
//! Why ListOffsets through the C interface: rdkafka's own calls fail as a whole when one leader has
//! moved, or take a round trip a partition. The calls are cut small ([`plan::CALL_PARTITIONS`]) and
//! grouped by leader.
//!
//! The broker's clock is not measured here: no answer of Kafka carries its time, so
//! `Connection::clock_offset_ms` stays absent. (A commit's timestamp is the broker's: whoever reads
//! commits at the end of the offsets topic can compare.)

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::client::{KafkaError, KafkaSettings, Role};
use super::context::KafkaContext;
use super::ffi::Code;
use super::ffi::admin::{LOG_END, LOG_START};
use crate::clock::{Clock, Stopwatch, Timestamp};
use crate::lag::event::{Connection, LogQuestion, PartitionLog, TopicsAsked};
use crate::lag::ids::{ClusterName, TopicId, TopicName};

pub mod ask;
pub mod history;
pub mod layout;
pub mod plan;
pub mod refresh;
pub mod topics;

use ask::{Answered, Deadline, Outcome};
use layout::Layout;
use plan::Unit;
pub use topics::TopicChange;
use topics::TopicTracker;

/// How often topics and leaders are asked for.
pub const REFRESH_EVERY: Duration = Duration::from_secs(60);
/// How often librdkafka's log and errors are taken when nobody asks anything.
const IDLE: Duration = Duration::from_secs(1);
/// The longest a refresh between two requests may take.
const REST_MAX: Duration = Duration::from_secs(5);
/// Log end first: it is what the beat waits for.
const END_AND_START: [i64; 2] = [LOG_END, LOG_START];

/// A question to [`LogOffsets`].
#[derive(Debug)]
pub enum LogRequest {
    /// Log start and end of every partition of every topic.
    Fetch {
        /// Its number; topics may be asked for any time from now on.
        asked: TopicsAsked,
        timeout: Duration,
        reply: oneshot::Sender<LogAnswer>,
    },
    /// End offsets of the past, one answer a question, in the same order.
    History {
        questions: Vec<LogQuestion>,
        timeout: Duration,
        reply: oneshot::Sender<Vec<LogHistory>>,
    },
}

/// The answer to [`LogRequest::Fetch`].
#[derive(Clone, Debug, PartialEq)]
pub struct LogAnswer {
    /// Before the first offset was asked.
    pub started_at: Timestamp,
    /// After the last one came.
    pub answered_at: Timestamp,
    /// Sorted by name; every topic and partition that is known, with what Kafka said this time.
    pub topics: Vec<TopicLog>,
    /// Since the last answer.
    pub changes: Vec<TopicChange>,
    pub connection: Connection,
    /// Topics left out because their name is not UTF-8.
    pub unreadable_names: usize,
}

/// One topic's part of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicLog {
    pub topic: TopicName,
    /// By number. An offset is absent when its leader gave an error or no answer.
    pub partitions: Vec<PartitionLog>,
}

/// The answer to one [`LogQuestion`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogHistory {
    pub topic: TopicName,
    pub partition: i32,
    /// (moment, log end offset then), as asked; empty when Kafka could not say.
    pub points: Vec<(Timestamp, i64)>,
}

/// Answers questions about one cluster's logs.
#[derive(Debug)]
pub struct LogOffsets {
    cluster: ClusterName,
    settings: KafkaSettings,
    requests: mpsc::Receiver<LogRequest>,
    clock: Clock,
    stop: CancellationToken,
    refresh_every: Duration,
    topics: TopicTracker,
}

impl LogOffsets {
    /// Connects to nothing yet.
    pub fn new(
        cluster: ClusterName,
        settings: KafkaSettings,
        requests: mpsc::Receiver<LogRequest>,
        clock: Clock,
        stop: CancellationToken,
    ) -> Self {
        Self {
            cluster,
            settings,
            requests,
            clock,
            stop,
            refresh_every: REFRESH_EVERY,
            topics: TopicTracker::default(),
        }
    }

    /// Takes over the topics that another process has known: what became of them since is told as if
    /// this one had known them.
    #[must_use]
    pub fn knowing(mut self, topics: Vec<(TopicName, Option<TopicId>, i32)>) -> Self {
        for (topic, id, partitions) in topics {
            self.topics.take_over(topic, id, partitions);
        }
        self
    }

    /// Asks for topics and leaders this often instead of every [`REFRESH_EVERY`].
    #[must_use]
    pub fn refresh_every(self, refresh_every: Duration) -> Self {
        Self {
            refresh_every,
            ..self
        }
    }

    /// Answers requests until the stop signal, or until nobody can ask any more. Blocks: runs on its
    /// own thread.
    ///
    /// # Errors
    /// No client can be made from the settings; trying again does not help.
    pub fn run(mut self) -> Result<(), KafkaError> {
        let client = self.settings.client(Role::Questions, &self.cluster)?;
        let waiting = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|error| KafkaError::Client {
                cluster: self.cluster.clone(),
                reason: error.to_string(),
            })?;
        let mut asker = Asker {
            cluster: self.cluster.clone(),
            client,
            settings: self.settings,
            clock: self.clock.clone(),
            stop: self.stop.clone(),
            refresh_every: self.refresh_every,
            topics: self.topics,
            layout: Arc::default(),
            asked: TopicsAsked::default(),
            changes: Vec::new(),
            unreadable_names: 0,
            doubted: BTreeSet::new(),
            up: false,
            is_unsure: false,
            refreshed: None,
        };
        loop {
            match waiting.block_on(next(&mut self.requests, &self.stop)) {
                Next::Request(request) => asker.answer(request),
                Next::Nothing => {}
                Next::Stop => return Ok(()),
            }
            asker.rest();
        }
    }
}

enum Next {
    Request(LogRequest),
    Nothing,
    Stop,
}

async fn next(requests: &mut mpsc::Receiver<LogRequest>, stop: &CancellationToken) -> Next {
    tokio::select! {
        biased;
        () = stop.cancelled() => Next::Stop,
        request = requests.recv() => request.map_or(Next::Stop, Next::Request),
        () = tokio::time::sleep(IDLE) => Next::Nothing,
    }
}

struct Asker {
    cluster: ClusterName,
    client: BaseConsumer<KafkaContext>,
    settings: KafkaSettings,
    clock: Clock,
    stop: CancellationToken,
    refresh_every: Duration,
    topics: TopicTracker,
    layout: Arc<Layout>,
    /// The last question.
    asked: TopicsAsked,
    /// Not told yet.
    changes: Vec<TopicChange>,
    unreadable_names: usize,
    /// Leaders that did not answer in time.
    doubted: BTreeSet<i32>,
    up: bool,
    /// Topics and leaders are to be asked for before anything else: a leader has moved, or the last
    /// list lacked topics it had before.
    is_unsure: bool,
    /// When topics and leaders were last asked for, with or without success.
    refreshed: Option<Stopwatch>,
}

impl Asker {
    fn answer(&mut self, request: LogRequest) {
        match request {
            LogRequest::Fetch {
                asked,
                timeout,
                reply,
            } => {
                self.asked = asked;
                if let Err(unheard) = reply.send(self.fetch(timeout)) {
                    // Nobody was told: a change is told once, so it goes with the next answer.
                    self.changes = unheard.changes;
                }
            }
            LogRequest::History {
                questions,
                timeout,
                reply,
                // Whoever asked may have gone away, and needs no answer.
            } => drop(reply.send(self.history(&questions, timeout))),
        }
    }

    /// What is better done when nobody waits: right after an answer the next beat is farthest.
    fn rest(&mut self) {
        self.take_events();
        let due = self
            .refreshed
            .is_none_or(|refreshed| refreshed.elapsed() >= self.refresh_every);
        if self.up && due {
            let deadline = Deadline::within(self.refresh_every.min(REST_MAX));
            if let Err(code) = self.refresh(&deadline) {
                // When Kafka is gone, the next answer says so.
                tracing::debug!(cluster = self.cluster.as_str(), %code, "topics not refreshed");
            }
        }
    }

    fn fetch(&mut self, timeout: Duration) -> LogAnswer {
        let deadline = Deadline::within(timeout);
        let started_at = self.clock.now();
        let mut failure = None;
        // Down: the list may have changed. Nobody to ask: metadata is all the life there is.
        if !self.up || self.is_unsure || !self.layout.has_leaders() {
            failure = self.refresh(&deadline).err();
        }
        let layout = Arc::clone(&self.layout);
        let units = end_and_start(&layout);
        let mut answers = Vec::new();
        if failure.is_none() {
            answers = self.resolve(&units, units.len() * END_AND_START.len(), &deadline);
        }
        let nobody_to_ask = failure.is_none() && !layout.has_leaders();
        self.up = nobody_to_ask || answers.iter().any(Option::is_some);
        let connection = self.connection(failure, timeout);
        LogAnswer {
            started_at,
            answered_at: self.clock.now(),
            topics: topic_logs(&layout, &answers),
            changes: std::mem::take(&mut self.changes),
            connection,
            unreadable_names: self.unreadable_names,
        }
    }

    fn history(&mut self, questions: &[LogQuestion], timeout: Duration) -> Vec<LogHistory> {
        let deadline = Deadline::within(timeout);
        if !self.up || self.is_unsure {
            self.up = self.refresh(&deadline).is_ok();
        }
        let at: Vec<Vec<i64>> = questions.iter().map(history::asked_at).collect();
        let mut slots = 0;
        let mut units = Vec::with_capacity(questions.len());
        for (question, at) in questions.iter().zip(&at) {
            units.push(self.unit(question, at, slots));
            slots += at.len();
        }
        let answers = self.resolve(&units, slots, &deadline);
        let of = |index: usize| &answers[units[index].slot..][..units[index].at.len()];
        let mut ends = Vec::new();
        for (index, question) in questions.iter().enumerate() {
            if history::needs_end(of(index)) {
                ends.push(self.unit(question, &END_AND_START[..1], index));
            }
        }
        // After the moments: an end from before could be smaller than an offset found since.
        let ends = self.resolve(&ends, questions.len(), &deadline);
        let histories = questions.iter().enumerate();
        histories
            .map(|(index, question)| history::history(question, of(index), ends[index]))
            .collect()
    }

    fn unit<'a>(&self, question: &'a LogQuestion, at: &'a [i64], slot: usize) -> Unit<'a> {
        Unit {
            topic: question.topic.as_str(),
            partition: question.partition,
            leader: self
                .layout
                .leader(question.topic.as_str(), question.partition),
            at,
            slot,
        }
    }

    /// Asks, and asks once more with fresh leaders what failed because a leader had moved.
    fn resolve(&mut self, units: &[Unit<'_>], slots: usize, deadline: &Deadline) -> Vec<Answered> {
        let first = self.ask(units, slots, deadline);
        let failed = failed(units, &first);
        let overdue = first.overdue;
        let mut answers = first.answers;
        if !failed.is_empty() && !deadline.is_over() && self.refresh(deadline).is_ok() {
            let again: Vec<Unit<'_>> = failed
                .into_iter()
                .map(|unit| Unit {
                    leader: self
                        .layout
                        .leader(unit.topic, unit.partition)
                        .filter(|leader| !overdue.contains(leader)),
                    ..unit
                })
                .collect();
            let second = self.ask(&again, slots, deadline).answers;
            for (answer, second) in answers.iter_mut().zip(second) {
                if second.is_some() && !matches!(answer, Some(Ok(_))) {
                    *answer = second;
                }
            }
        }
        self.doubted.extend(overdue);
        answers
    }

    fn ask<'a>(&mut self, units: &[Unit<'a>], slots: usize, deadline: &Deadline) -> Outcome<'a> {
        let outcome = ask::ask(
            self.client.client(),
            units,
            slots,
            deadline,
            &self.doubted,
            &self.stop,
        );
        self.doubted.clone_from(&outcome.overdue);
        self.is_unsure |= !outcome.moved.is_empty();
        outcome
    }

    fn refresh(&mut self, deadline: &Deadline) -> Result<(), Code> {
        self.refreshed = Some(Stopwatch::start());
        let found = refresh::refresh(
            self.client.client(),
            &self.layout,
            (&mut self.topics, self.asked),
            deadline,
        )?;
        // A list that stays short is not asked for again and again.
        self.is_unsure = found.layout.kept > self.layout.kept;
        self.layout = Arc::new(found.layout);
        self.changes.extend(found.changes);
        if found.unreadable_names != self.unreadable_names {
            self.unreadable_names = found.unreadable_names;
            tracing::warn!(
                cluster = self.cluster.as_str(),
                topics = found.unreadable_names,
                "left out topics whose names are not utf-8"
            );
        }
        Ok(())
    }

    fn connection(&self, failure: Option<Code>, timeout: Duration) -> Connection {
        self.take_events();
        let context = self.client.context();
        if self.up {
            context.answered();
            return Connection {
                up: true,
                reason: None,
                brokers: u32::try_from(self.layout.brokers.len()).ok(),
                clock_offset_ms: None,
            };
        }
        self.settings.find_brokers_again(&self.client);
        let reason = down_reason(failure, context.reason(), &self.layout.brokers, timeout);
        Connection {
            up: false,
            reason: Some(reason),
            brokers: None,
            clock_offset_ms: None,
        }
    }

    /// Takes librdkafka's log and errors, which reach the context only so.
    fn take_events(&self) {
        // An error ends a poll early; a poll without one has seen everything.
        for _ in 0..100 {
            if self.client.poll(Duration::from_millis(2)).is_none() {
                return;
            }
        }
    }
}

/// Every partition of the layout, two slots each.
fn end_and_start(layout: &Layout) -> Vec<Unit<'_>> {
    let partitions = layout.topics.iter().flat_map(|topic| {
        let partitions = topic.partitions.iter();
        partitions.map(move |partition| (topic.name.as_str(), partition))
    });
    partitions
        .enumerate()
        .map(|(index, (topic, partition))| Unit {
            topic,
            partition: partition.id,
            leader: partition.leader,
            at: &END_AND_START,
            slot: index * END_AND_START.len(),
        })
        .collect()
}

/// Units with an error that fresh leaders may cure, or whose leader's connection broke.
fn failed<'a>(units: &[Unit<'a>], outcome: &Outcome<'a>) -> Vec<Unit<'a>> {
    let is_failed = |unit: &&Unit<'_>| {
        let mut answers = outcome.answers[unit.slot..][..unit.at.len()].iter();
        answers.any(|answer| match answer {
            Some(Ok(_)) => false,
            Some(Err(code)) => code.is_about_leaders(),
            None => unit.leader.is_some_and(|leader| {
                (outcome.broken.contains(&leader) || outcome.moved.contains(unit.topic))
                    && !outcome.overdue.contains(&leader)
            }),
        })
    };
    units.iter().filter(is_failed).copied().collect()
}

/// `answers` hold two slots a partition; empty: nothing was answered.
fn topic_logs(layout: &Layout, answers: &[Answered]) -> Vec<TopicLog> {
    let mut answers = answers.iter();
    let mut offset = || match answers.next() {
        Some(Some(Ok(offset))) if *offset >= 0 => Some(*offset),
        _ => None,
    };
    let topics = layout.topics.iter().map(|topic| TopicLog {
        topic: topic.name.clone(),
        partitions: topic
            .partitions
            .iter()
            .map(|partition| {
                let end = offset();
                let start = offset();
                PartitionLog {
                    partition: partition.id,
                    start,
                    end,
                }
            })
            .collect(),
    });
    topics.collect()
}

/// Why nothing was answered, with the next step. `failure`: what asking for the topics gave;
/// `context`: what librdkafka said about its connections.
fn down_reason(
    failure: Option<Code>,
    context: Option<String>,
    brokers: &[String],
    timeout: Duration,
) -> String {
    match (failure, context) {
        (_, Some(reason)) => reason,
        (None, None) => format!(
            "topics were listed but no partition leader answered within {timeout:?}; check that \
             the brokers' advertised addresses ({}) can be reached from here",
            brokers.join(", ")
        ),
        (Some(Code::TIMED_OUT | Code::TRANSPORT), None) => format!(
            "no broker answered within {timeout:?}; check bootstrap_servers and the way there"
        ),
        (Some(code), None) => format!("kafka did not list its topics: {code}"),
    }
}

#[cfg(test)]
mod tests;
