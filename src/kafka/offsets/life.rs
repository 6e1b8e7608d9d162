//! One life of the offsets topic: reading it, from the answer that it exists until it is re-created,
//! deleted, or the reader is stopped.

use std::time::Duration;

use rdkafka::consumer::Consumer;

use super::intake::Intake;
use super::positions::{Bounds, Positions};
use super::resume::{Facts, Refusal, Resume, delete_retention};
use super::rounds::{Answers, Rounds, Said};
use super::{OffsetsReader, PATIENCE, Topic, denied_text};
use crate::clock::{Stopwatch, Timestamp};
use crate::kafka::client::{KafkaClient, KafkaError, Start};
use crate::kafka::ffi::Code;
use crate::kafka::ffi::admin::{Questions, TopicFacts};
use crate::kafka::ffi::feed::{Arrival, Feed};
use crate::lag::event::ReaderPosition;
use crate::lag::ids::TopicId;

/// How long a batch may take to fill: the delay of a single commit.
const MOMENT: Duration = Duration::from_millis(50);
/// How often progress is told while nothing special happens.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// Answers in a row without the topic until it counts as deleted.
const MISSING_ANSWERS: u32 = 3;

/// Why reading came to an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Asked to stop, or nobody takes the events any more.
    Stopped,
    /// Another topic stands under the name, or none.
    TopicChanged,
    /// Another process's position is of no use.
    Refused(Refusal),
}

struct Life<'a> {
    reader: &'a OffsetsReader,
    client: &'a KafkaClient,
    feed: Feed<'a>,
    rounds: Rounds<'a>,
    positions: Positions,
    intake: Intake,
    topic_id: Option<TopicId>,
    missing: u32,
    is_denied: bool,
    /// When bounds were last asked for.
    asked_at: Timestamp,
    /// When every position was last known to be in the log.
    right_at: Timestamp,
    started: Stopwatch,
    told: Stopwatch,
    is_caught_up: bool,
    cluster_id: Option<String>,
    /// Another process's position, until the topic is known to be the same.
    resume: Option<Resume>,
}

/// Reads the topic, blocking: its life of this number, from where another process has stopped or from
/// its beginning.
///
/// # Errors
/// When librdkafka does not take the topic's name.
pub(super) fn read(
    reader: &OffsetsReader,
    client: &KafkaClient,
    topic: Topic,
    (life, resume): (u8, Option<Resume>),
) -> Result<Ended, KafkaError> {
    let name = &reader.settings.offsets_topic;
    let positions = match &resume {
        None => None,
        Some(resume) => match begin_at(reader, client, resume) {
            Ok(positions) => Some(positions),
            Err(refusal) => return Ok(Ended::Refused(refusal)),
        },
    };
    let feed = Feed::new(client.client(), name).ok_or_else(|| KafkaError::Setting {
        property: "offsets_topic".to_owned(),
        reason: format!("{name:?} cannot be the name of a topic"),
    })?;
    let questions = Questions::new(client.client()).with_isolation(reader.settings.isolation);
    let from_end = reader.settings.start == Start::Latest;
    let mut life = Life {
        reader,
        client,
        feed,
        rounds: Rounds::new(client, questions, name, topic.broker),
        positions: positions.unwrap_or_else(|| Positions::new(life, topic.partitions, from_end)),
        intake: Intake::default(),
        topic_id: None,
        missing: 0,
        is_denied: false,
        asked_at: Timestamp::default(),
        right_at: Timestamp::default(),
        started: Stopwatch::start(),
        told: Stopwatch::start(),
        is_caught_up: false,
        cluster_id: client.client().fetch_cluster_id(PATIENCE),
        resume,
    };
    Ok(life.run())
}

/// Where another process has stopped, when that is not too long ago.
fn begin_at(
    reader: &OffsetsReader,
    client: &KafkaClient,
    resume: &Resume,
) -> Result<Positions, Refusal> {
    let retention = delete_retention(client, &reader.settings.offsets_topic);
    resume.check_age(retention, reader.clock.now())?;
    Positions::resume(&resume.position).ok_or(Refusal::Impossible)
}

impl Life<'_> {
    fn run(&mut self) -> Ended {
        while !self.reader.is_stopped() {
            // Without a group only errors and log lines come here; both go to the context.
            drop(self.client.poll(Duration::ZERO));
            self.rounds.ask_when_due(&self.positions);
            while let Some(said) = self.rounds.said() {
                if let Some(ended) = self.hear(said) {
                    return ended;
                }
            }
            let is_news = self.take();
            if is_news || self.told.elapsed() >= PROGRESS_INTERVAL {
                self.tell(|_| false);
            }
            if !self.hand_over() {
                return Ended::Stopped;
            }
        }
        Ended::Stopped
    }

    /// Takes what has arrived. True when a partition caught up.
    fn take(&mut self) -> bool {
        let mut is_news = false;
        let batch = self.feed.next(MOMENT);
        for arrival in batch.iter() {
            match arrival {
                Arrival::Record {
                    partition,
                    offset,
                    key,
                    value,
                } => {
                    self.is_denied = false;
                    let positions = &mut self.positions;
                    is_news |= self.intake.record(positions, partition, offset, key, value);
                }
                Arrival::End { partition, offset } => {
                    self.is_denied = false;
                    is_news |= self.positions.end_reached(partition, offset);
                }
                Arrival::Failed { partition, code } => match code {
                    Code::AUTO_OFFSET_RESET | Code::LOG_TRUNCATION => {
                        self.positions.lost(partition);
                    }
                    Code::TOPIC_AUTHORIZATION_FAILED => self.is_denied = true,
                    // librdkafka tries again by itself; what lasts shows in the next round.
                    _ => {
                        let cluster = self.reader.cluster.as_str();
                        tracing::debug!(cluster, partition, "fetching failed: {code}");
                    }
                },
            }
        }
        is_news
    }

    fn hear(&mut self, said: Said) -> Option<Ended> {
        match said {
            Said::Topic(facts) => return self.hear_topic(&facts),
            Said::NoTopic => {
                self.missing += 1;
                if self.missing >= MISSING_ANSWERS {
                    return Some(Ended::TopicChanged);
                }
            }
            Said::Denied => {
                self.is_denied = true;
                let topic = &self.reader.settings.offsets_topic;
                self.reader.set_problem(Some(denied_text(topic)));
            }
            Said::Bounds(bounds) => return self.place(&bounds).err().map(Ended::Refused),
            Said::Nothing(code) => {
                self.reader.set_problem(Some(self.silence(code)));
                self.reader.settings.find_brokers_again(self.client);
            }
        }
        None
    }

    fn hear_topic(&mut self, facts: &TopicFacts) -> Option<Ended> {
        self.missing = 0;
        let partitions = facts.partitions;
        if let Some(resume) = self.resume.take() {
            let found = Facts {
                cluster_id: self.cluster_id.clone(),
                topic_id: facts.id,
                partitions,
            };
            if let Err(refusal) = resume.check_topic(&found) {
                return Some(Ended::Refused(refusal));
            }
        }
        let is_other = matches!((self.topic_id, facts.id), (Some(old), Some(new)) if old != new);
        if is_other || partitions < self.positions.count() {
            return Some(Ended::TopicChanged);
        }
        self.topic_id = facts.id.or(self.topic_id);
        if partitions > self.positions.count() {
            let cluster = self.reader.cluster.as_str();
            tracing::warn!(cluster, partitions, "the offsets topic has grown");
            self.positions.grow(partitions);
        }
        let now = self.reader.clock.now();
        let rounds = &mut self.rounds;
        if rounds.ask_bounds(&self.positions, self.right_at, &facts.led) {
            self.asked_at = now;
        }
        None
    }

    /// Starts what can be started, and tells how far every partition is whose bounds are known.
    fn place(&mut self, answers: &Answers) -> Result<(), Refusal> {
        let mut answered = vec![false; answers.partitions.len()];
        for ((partition, answer), known) in (0..).zip(&answers.partitions).zip(&mut answered) {
            let (Some(start), Some(end)) = (answer.start, answer.end) else {
                continue;
            };
            *known = true;
            let bounds = Bounds {
                start,
                end,
                recent: answer.recent,
            };
            if let Some(refusal) = self.positions.refusal(partition, bounds) {
                return Err(refusal);
            }
            let begin = self.positions.answered(partition, answer.asked, bounds);
            if let Some(begin) = begin
                && let Err(code) = self.feed.start(begin.partition, begin.offset)
            {
                let cluster = self.reader.cluster.as_str();
                tracing::warn!(cluster, partition, "partition cannot be read: {code}");
            }
        }
        if !self.positions.is_any_lost() {
            self.right_at = self.asked_at;
        }
        self.tell(|partition| {
            let index = usize::try_from(partition).ok();
            index.is_some_and(|index| answered.get(index) == Some(&true))
        });
        if answered.contains(&true) {
            self.client.context().answered();
        } else {
            self.reader.settings.find_brokers_again(self.client);
        }
        self.reader.set_problem(self.problem(answers, &answered));
        Ok(())
    }

    fn problem(&self, answers: &Answers, answered: &[bool]) -> Option<String> {
        let topic = &self.reader.settings.offsets_topic;
        if self.is_denied || answers.error == Some(Code::TOPIC_AUTHORIZATION_FAILED) {
            return Some(denied_text(topic));
        }
        let missing = answered.iter().filter(|answered| !**answered).count();
        let reason = answers.error.unwrap_or(Code::LEADER_NOT_AVAILABLE);
        match answered.len() {
            _ if missing == 0 => None,
            all if missing == all => Some(self.silence(reason)),
            all => Some(format!(
                "{missing} of {all} partitions of topic {topic} do not answer, their groups are \
                 stale: {reason}"
            )),
        }
    }

    fn silence(&self, code: Code) -> String {
        let reason = self.client.context().reason();
        let reason = reason.unwrap_or_else(|| code.to_string());
        format!("kafka does not answer: {reason}")
    }

    fn tell(&mut self, fresh: impl FnMut(i32) -> bool) {
        self.told = Stopwatch::start();
        let now = self.reader.clock.now();
        let events = &mut self.intake.events;
        self.positions
            .progress(now, fresh, |progress| events.push_progress(progress));
        if !self.is_caught_up && self.positions.is_caught_up() {
            self.is_caught_up = true;
            let cluster = self.reader.cluster.as_str();
            let is_whole = self.positions.is_from_the_start();
            let records = self.reader.stats.counts().records + self.intake.counts.records;
            let seconds = self.started.elapsed().as_secs_f32();
            let what = match is_whole {
                true => "read the whole offsets topic",
                false => "read what is new in the offsets topic",
            };
            tracing::info!(cluster, records, seconds, "{what}");
        }
    }

    /// Gives events and counts away; waits while the queue is full. False when nobody takes them.
    fn hand_over(&mut self) -> bool {
        if self.intake.counts.records > 0 {
            self.reader.stats.add(&self.intake.counts);
            self.intake.counts = super::ReaderCounts::default();
        }
        if self.intake.events.is_empty() {
            return true;
        }
        let mut events = std::mem::take(&mut self.intake.events);
        events.set_position(self.position());
        self.reader.out.blocking_send(events).is_ok()
    }

    /// Where another process could go on. Not before everything was read once: until then it would
    /// save no time.
    fn position(&self) -> Option<ReaderPosition> {
        if !self.is_caught_up {
            return None;
        }
        Some(ReaderPosition {
            cluster_id: self.cluster_id.clone(),
            topic_id: self.topic_id,
            ..self.positions.position()?
        })
    }
}
