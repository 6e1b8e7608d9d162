//! Reads the offsets topic of one cluster and hands over what happened, in order.
//!
//! Blocking, on a thread of its own. Waits by itself: while the topic does not exist, while Kafka
//! cannot be reached, while reading is denied; [`ReaderStats`] says which of these it is. Joins no
//! group, commits nothing, keeps nothing on disk. A start reads from the beginning, because offsets
//! of idle groups live in the compacted log only, or goes on where another process has stopped
//! ([`Resume`]), when Kafka still has what that one has read.
//!
//! One loop does everything: take a batch of records, decode, hand over, and about every five
//! seconds ask (without waiting for the answer) what the topic looks like and where its partitions
//! end, so that lagline knows when it is itself behind, and sees a truncated, re-created or grown
//! topic. The queue to the monitor is bounded: when that is busy, this waits.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError as RdError, RDKafkaErrorCode};
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;

use super::client::{KafkaClient, KafkaError, KafkaSettings, Role};
use crate::clock::Clock;
use crate::lag::event::{EventBatch, ReaderProgress};
use crate::lag::ids::ClusterName;

mod intake;
mod life;
mod positions;
mod resume;
mod rounds;
mod stats;

pub use resume::{DELETE_RETENTION, Refusal, Resume};
pub use stats::{ReaderCounts, ReaderStats};

/// How long the reader looks away from its stop signal, at most (one question for metadata).
const PATIENCE: Duration = Duration::from_secs(1);

/// Reads one cluster's offsets topic.
#[derive(Debug)]
pub struct OffsetsReader {
    cluster: ClusterName,
    settings: KafkaSettings,
    out: Sender<EventBatch>,
    stats: Arc<ReaderStats>,
    stop: CancellationToken,
    clock: Clock,
    resume: Option<Resume>,
}

/// How reading came to an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReaderEnd {
    /// Asked to, or nobody takes the events any more.
    Stopped,
    /// It was to go on where another process has stopped, and that cannot be. What was handed over
    /// must be forgotten.
    Refused(Refusal),
}

/// What the topic looks like before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Topic {
    partitions: i32,
    /// A broker that is up, to put questions to.
    broker: i32,
}

impl OffsetsReader {
    /// A reader that has not started. Progress goes to `out` among the events; what hinders reading
    /// goes to `stats`.
    pub fn new(
        cluster: ClusterName,
        settings: KafkaSettings,
        out: Sender<EventBatch>,
        stats: Arc<ReaderStats>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            cluster,
            settings,
            out,
            stats,
            stop,
            clock: Clock::system(),
            resume: None,
        }
    }

    /// Goes on where another process has stopped, instead of reading everything.
    #[must_use]
    pub fn resume(self, resume: Option<Resume>) -> Self {
        Self { resume, ..self }
    }

    /// Reads until it is stopped or nobody takes the events any more.
    ///
    /// # Errors
    /// When librdkafka refuses the settings: trying again does not help.
    pub fn run(mut self) -> Result<ReaderEnd, KafkaError> {
        let client = self.settings.client(Role::Reader, &self.cluster)?;
        let mut resume = self.resume.take();
        let mut life = resume.as_ref().map_or(0, |resume| resume.position.life);
        let mut was_there = false;
        while let Some(topic) = self.wait_for_topic(&client, was_there) {
            match life::read(&self, &client, topic, (life, resume.take()))? {
                life::Ended::Stopped => break,
                life::Ended::Refused(refusal) => return Ok(ReaderEnd::Refused(refusal)),
                life::Ended::TopicChanged => {
                    life = life.saturating_add(1);
                    was_there = true;
                    let cluster = self.cluster.as_str();
                    tracing::warn!(cluster, "the offsets topic was re-created, reading it anew");
                }
            }
        }
        Ok(ReaderEnd::Stopped)
    }

    /// Asks for the topic until it is there and may be seen; `None` when the reader is to stop.
    /// `was_there`: it was read before.
    fn wait_for_topic(&self, client: &KafkaClient, was_there: bool) -> Option<Topic> {
        while !self.is_stopped() {
            let problem = match self.look(client, was_there) {
                Ok(topic) => {
                    self.stats.set_nothing_to_read(false);
                    return Some(topic);
                }
                Err(problem) => problem,
            };
            self.stats.set_nothing_to_read(problem.is_final());
            if let NoTopic::Missing(_) = problem {
                let mut batch = EventBatch::default();
                batch.push_progress(ReaderProgress {
                    partition: 0,
                    partitions: 0,
                    from: 0,
                    position: 0,
                    end: 0,
                    complete_from: 0,
                    caught_up: false,
                    at: self.clock.now(),
                });
                self.out.blocking_send(batch).ok()?;
            }
            self.set_problem(Some(problem.into_text()));
            self.pause(client);
        }
        None
    }

    fn look(&self, client: &KafkaClient, was_there: bool) -> Result<Topic, NoTopic> {
        let name = &self.settings.offsets_topic;
        let metadata = client
            .fetch_metadata(Some(name), PATIENCE)
            .map_err(|error| {
                self.settings.find_brokers_again(client);
                NoTopic::Unreachable(unreachable_text(client, &error))
            })?;
        client.context().answered();
        let topic = metadata.topics().iter().find(|topic| topic.name() == name);
        let error = topic.and_then(|topic| topic.error());
        match error.map(RDKafkaErrorCode::from) {
            None => {}
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                return Err(NoTopic::Denied(denied_text(name)));
            }
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                return Err(NoTopic::Missing(missing_text(name, was_there)));
            }
            Some(other) => {
                let text = format!("topic {name} cannot be described: {other}");
                return Err(NoTopic::Unreachable(text));
            }
        }
        let partitions = topic.map_or(0, |topic| topic.partitions().len());
        let broker = metadata.brokers().first().map(|broker| broker.id());
        match (i32::try_from(partitions), broker) {
            (Ok(partitions @ 1..), Some(broker)) => Ok(Topic { partitions, broker }),
            _ => Err(NoTopic::Missing(missing_text(name, was_there))),
        }
    }

    /// Waits a second, or until the reader is to stop, while librdkafka's news are taken.
    fn pause(&self, client: &KafkaClient) {
        for _ in 0..10 {
            if self.is_stopped() {
                return;
            }
            // Without a group only errors and log lines come here; both go to the context.
            drop(client.poll(Duration::from_millis(100)));
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.is_cancelled() || self.out.is_closed()
    }

    /// Keeps what hinders reading, and logs it when it is another one than before.
    fn set_problem(&self, problem: Option<String>) {
        let cluster = self.cluster.as_str();
        match self.stats.set_problem(problem.clone()) {
            stats::Change::Same => {}
            stats::Change::New => {
                let problem = problem.unwrap_or_default();
                tracing::warn!(cluster, "{problem}");
            }
            stats::Change::Gone => tracing::info!(cluster, "reading the offsets topic again"),
        }
    }
}

/// Why the topic cannot be read yet, in words.
#[derive(Debug)]
enum NoTopic {
    Missing(String),
    Denied(String),
    Unreachable(String),
}

impl NoTopic {
    /// Whether Kafka has answered, and only somebody else can change the answer.
    fn is_final(&self) -> bool {
        match self {
            NoTopic::Missing(_) | NoTopic::Denied(_) => true,
            NoTopic::Unreachable(_) => false,
        }
    }

    fn into_text(self) -> String {
        match self {
            NoTopic::Missing(text) | NoTopic::Denied(text) | NoTopic::Unreachable(text) => text,
        }
    }
}

fn missing_text(topic: &str, was_there: bool) -> String {
    let state = if was_there {
        "was deleted, every group is stale until it is there again"
    } else {
        "does not exist yet"
    };
    format!("topic {topic} {state}; kafka creates it when a group commits")
}

fn denied_text(topic: &str) -> String {
    format!(
        "kafka denies reading topic {topic}; grant the ACL READ on TOPIC {topic} to the user that \
         lagline connects as"
    )
}

fn unreachable_text(client: &KafkaClient, error: &RdError) -> String {
    let reason = client.context().reason().unwrap_or_else(|| {
        let code = error.rdkafka_error_code();
        code.map_or_else(|| error.to_string(), |code| code.to_string())
    });
    format!("kafka does not answer: {reason}")
}

#[cfg(test)]
mod tests;
