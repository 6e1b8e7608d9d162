//! Questions about the offsets topic itself, asked over and over without waiting: does it still
//! exist, as which topic, with how many partitions, and where do they start and end.
//!
//! They go through the reading client: an answer may then wait for the fetch before it on the same
//! connection (a third of a second), which is nothing for a question every few seconds, and a second
//! set of connections is saved.
//!
//! A round asks about the topic first, and then for the bounds of the partitions that have a leader: of
//! others librdkafka must not be asked (see [`Questions::list_offsets`]). When it may not know a leader
//! yet it is made to ask for the topic's metadata, the one question that is waited for.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::consumer::Consumer;

use super::positions::Positions;
use crate::clock::{Stopwatch, Timestamp};
use crate::kafka::client::KafkaClient;
use crate::kafka::ffi::Code;
use crate::kafka::ffi::admin::{Answer, AskedOffset, LOG_END, LOG_START, Questions, TopicFacts};

/// Between two rounds.
const INTERVAL: Duration = Duration::from_secs(5);
/// Between two rounds while some partition cannot be read before its bounds are known.
const SHORT_INTERVAL: Duration = Duration::from_millis(500);
/// How long one question may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long reading may stand still while librdkafka asks for the topic's leaders.
const METADATA_TIMEOUT: Duration = Duration::from_secs(1);

/// How far the clocks of lagline and of Kafka may be apart when young records are looked for.
const MARGIN: Duration = Duration::from_secs(300);

const TOPIC: usize = 0;
const STARTS: usize = 1;
const ENDS: usize = 2;
const RECENT: usize = 3;
const KINDS: usize = 4;

/// What Kafka said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Topic(TopicFacts),
    /// No topic of this name.
    NoTopic,
    /// The topic may not be described.
    Denied,
    Bounds(Answers),
    /// No answer as a whole.
    Nothing(Code),
}

/// What is known of each partition, by its number.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answers {
    pub(super) partitions: Vec<PartitionAnswer>,
    /// One of the errors of partitions that did not answer.
    pub(super) error: Option<Code>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PartitionAnswer {
    /// The reader's position when it was asked.
    pub(super) asked: Option<i64>,
    pub(super) start: Option<i64>,
    pub(super) end: Option<i64>,
    /// The first record since the moment that was asked for; the end when there is none.
    pub(super) recent: Option<i64>,
}

/// The rounds of one topic.
pub(super) struct Rounds<'a> {
    client: &'a KafkaClient,
    questions: Questions<'a>,
    topic: &'a str,
    /// Whom to ask about the topic.
    broker: i32,
    ask_broker: bool,
    round: usize,
    last: Option<Stopwatch>,
    is_topic_asked: bool,
    /// Partitions whose leaders librdkafka knows.
    known: BTreeSet<i32>,
    bounds: Option<BoundsRound>,
}

#[derive(Debug)]
struct BoundsRound {
    round: usize,
    waiting: usize,
    is_recent_asked: bool,
    answers: Answers,
    failure: Option<Code>,
}

impl<'a> Rounds<'a> {
    pub(super) fn new(
        client: &'a KafkaClient,
        questions: Questions<'a>,
        topic: &'a str,
        broker: i32,
    ) -> Self {
        Self {
            client,
            questions,
            topic,
            broker,
            ask_broker: true,
            round: 0,
            last: None,
            is_topic_asked: false,
            known: BTreeSet::new(),
            bounds: None,
        }
    }

    /// Asks about the topic again when it is time; never twice at once.
    pub(super) fn ask_when_due(&mut self, positions: &Positions) {
        let interval = if positions.is_waiting() {
            SHORT_INTERVAL
        } else {
            INTERVAL
        };
        let is_due = self.last.is_none_or(|last| last.elapsed() >= interval);
        if is_due && !self.is_topic_asked {
            self.last = Some(Stopwatch::start());
            self.round += 1;
            let tag = self.round * KINDS + TOPIC;
            // Some clusters name a controller that does not exist; some brokers are down.
            let via = self.ask_broker.then_some(self.broker);
            let names = std::iter::once(self.topic);
            self.is_topic_asked = self
                .questions
                .describe_topics(tag, names, via, false, TIMEOUT);
        }
    }

    /// Asks for the bounds of the partitions in `led`, which have a leader. With lost positions also
    /// for the first record since `right_at`, when they still were right. True when it asked.
    pub(super) fn ask_bounds(
        &mut self,
        positions: &Positions,
        right_at: Timestamp,
        led: &[i32],
    ) -> bool {
        if self.bounds.is_some() {
            return false;
        }
        if led.iter().any(|partition| !self.known.contains(partition)) {
            self.known = self.leaders();
        }
        let mut kinds = vec![(STARTS, LOG_START), (ENDS, LOG_END)];
        let is_recent_asked = positions.is_any_lost();
        if is_recent_asked {
            kinds.push((RECENT, right_at.minus(MARGIN).as_ms().max(0)));
        }
        let is_askable =
            |partition: &&i32| **partition < positions.count() && self.known.contains(*partition);
        let partitions: Vec<i32> = led.iter().filter(is_askable).copied().collect();
        let mut waiting = 0;
        for (kind, at) in &kinds {
            let asked = partitions.iter().map(|partition| AskedOffset {
                topic: self.topic,
                partition: *partition,
                at: *at,
            });
            let tag = self.round * KINDS + kind;
            let is_asked = !partitions.is_empty();
            waiting += usize::from(is_asked && self.questions.list_offsets(tag, asked, TIMEOUT));
        }
        let partitions = positions.asked().into_iter().map(|asked| PartitionAnswer {
            asked,
            ..PartitionAnswer::default()
        });
        self.bounds = Some(BoundsRound {
            round: self.round,
            waiting,
            is_recent_asked,
            answers: Answers {
                partitions: partitions.collect(),
                error: None,
            },
            failure: None,
        });
        true
    }

    /// Has librdkafka ask for the topic's leaders, and waits for them.
    fn leaders(&self) -> BTreeSet<i32> {
        let Ok(metadata) = self
            .client
            .client()
            .fetch_metadata(Some(self.topic), METADATA_TIMEOUT)
        else {
            return BTreeSet::new();
        };
        let partitions = metadata
            .topics()
            .iter()
            .flat_map(|topic| topic.partitions());
        let led = partitions.filter(|partition| partition.leader() >= 0);
        led.map(|partition| partition.id()).collect()
    }

    /// The next thing Kafka said; does not wait.
    pub(super) fn said(&mut self) -> Option<Said> {
        loop {
            if let Some(bounds) = self.bounds.take_if(|bounds| bounds.waiting == 0) {
                return Some(bounds.said());
            }
            let (tag, answer) = self.questions.next(Duration::ZERO)?;
            let said = match tag % KINDS {
                TOPIC => self.heard_topic(&answer),
                kind => {
                    self.heard_bounds(tag / KINDS, kind, &answer);
                    None
                }
            };
            if said.is_some() {
                return said;
            }
        }
    }

    fn heard_topic(&mut self, answer: &Answer) -> Option<Said> {
        self.is_topic_asked = false;
        let topics = match answer {
            Answer::Topics(topics) => topics,
            Answer::Failed(code) => {
                self.ask_broker = !self.ask_broker;
                return Some(Said::Nothing(*code));
            }
            Answer::Offsets(_) | Answer::Cluster(_) => return None,
        };
        let topic = topics.iter().find(|topic| topic.name == self.topic)?;
        match &topic.outcome {
            Ok(facts) => Some(Said::Topic(facts.clone())),
            Err(Code::UNKNOWN_TOPIC_OR_PARTITION) => Some(Said::NoTopic),
            Err(Code::TOPIC_AUTHORIZATION_FAILED) => Some(Said::Denied),
            Err(_) => None,
        }
    }

    fn heard_bounds(&mut self, round: usize, kind: usize, answer: &Answer) {
        let Some(bounds) = self.bounds.as_mut().filter(|bounds| bounds.round == round) else {
            return;
        };
        bounds.waiting -= 1;
        match answer {
            Answer::Offsets(offsets) => {
                for answered in offsets.iter() {
                    if matches!(answered.offset, Some(Err(code)) if code.is_about_leaders()) {
                        self.known.clear();
                    }
                    bounds
                        .answers
                        .note(kind, answered.partition, answered.offset);
                }
            }
            Answer::Failed(code) => {
                self.known.clear();
                // Without the young records reading goes on at the end.
                if kind != RECENT {
                    bounds.failure = Some(*code);
                }
            }
            Answer::Topics(_) | Answer::Cluster(_) => {}
        }
    }
}

impl BoundsRound {
    fn said(mut self) -> Said {
        if self.is_recent_asked {
            for answer in &mut self.answers.partitions {
                answer.recent = answer.recent.or(answer.end);
            }
        }
        match self.failure {
            Some(code) => Said::Nothing(code),
            None => Said::Bounds(self.answers),
        }
    }
}

impl Answers {
    fn note(&mut self, kind: usize, partition: i32, offset: Option<Result<i64, Code>>) {
        let index = usize::try_from(partition).ok();
        let Some(known) = index.and_then(|index| self.partitions.get_mut(index)) else {
            return;
        };
        match offset {
            Some(Ok(offset)) if offset >= 0 => {
                let place = match kind {
                    STARTS => &mut known.start,
                    ENDS => &mut known.end,
                    _ => &mut known.recent,
                };
                *place = Some(offset);
            }
            Some(Err(code)) => self.error = Some(code),
            Some(Ok(_)) | None => {}
        }
    }
}
