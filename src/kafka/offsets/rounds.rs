//! Questions about the offsets topic itself, asked over and over without waiting: does it still
//! exist, as which topic, with how many partitions, and where do they start and end.
//!
//! They go through the reading client: an answer may then wait for the fetch before it on the same
//! connection (a third of a second), which is nothing for a question every few seconds, and a second
//! set of connections is saved.

use std::time::Duration;

use super::positions::Positions;
use crate::clock::Stopwatch;
use crate::kafka::ffi::Code;
use crate::kafka::ffi::admin::{Answer, AskedOffset, LOG_END, LOG_START, Questions};
use crate::lag::ids::TopicId;

/// Between two rounds.
const INTERVAL: Duration = Duration::from_secs(5);
/// Between two rounds while some partition cannot be read before its bounds are known.
const SHORT_INTERVAL: Duration = Duration::from_millis(500);
/// How long one question may take.
const TIMEOUT: Duration = Duration::from_secs(5);

const TOPIC: usize = 0;
const STARTS: usize = 1;
const ENDS: usize = 2;
const KINDS: usize = 3;

/// What Kafka said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Topic {
        id: Option<TopicId>,
        partitions: i32,
    },
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
}

/// The rounds of one topic.
#[derive(Debug)]
pub(super) struct Rounds<'a> {
    questions: Questions<'a>,
    topic: &'a str,
    /// Whom to ask about the topic.
    broker: i32,
    ask_broker: bool,
    round: usize,
    last: Option<Stopwatch>,
    is_topic_asked: bool,
    bounds: Option<BoundsRound>,
}

#[derive(Debug)]
struct BoundsRound {
    round: usize,
    waiting: usize,
    answers: Answers,
    failure: Option<Code>,
}

impl<'a> Rounds<'a> {
    pub(super) fn new(questions: Questions<'a>, topic: &'a str, broker: i32) -> Self {
        Self {
            questions,
            topic,
            broker,
            ask_broker: true,
            round: 0,
            last: None,
            is_topic_asked: false,
            bounds: None,
        }
    }

    /// Asks again when it is time; never more than one question of a kind at once.
    pub(super) fn ask_when_due(&mut self, positions: &Positions) {
        let interval = if positions.is_waiting() {
            SHORT_INTERVAL
        } else {
            INTERVAL
        };
        if self.last.is_some_and(|last| last.elapsed() < interval) {
            return;
        }
        self.last = Some(Stopwatch::start());
        self.round += 1;
        if !self.is_topic_asked {
            let tag = self.round * KINDS + TOPIC;
            // Some clusters name a controller that does not exist; some brokers are down.
            let via = self.ask_broker.then_some(self.broker);
            let names = std::iter::once(self.topic);
            self.is_topic_asked = self
                .questions
                .describe_topics(tag, names, via, false, TIMEOUT);
        }
        if self.bounds.is_none() {
            self.ask_bounds(positions);
        }
    }

    fn ask_bounds(&mut self, positions: &Positions) {
        for (kind, at) in [(STARTS, LOG_START), (ENDS, LOG_END)] {
            let topic = self.topic;
            let asked = (0..positions.count()).map(|partition| AskedOffset {
                topic,
                partition,
                at,
            });
            let tag = self.round * KINDS + kind;
            self.questions.list_offsets(tag, asked, TIMEOUT);
        }
        let asked = positions.asked().into_iter();
        self.bounds = Some(BoundsRound {
            round: self.round,
            waiting: 2,
            answers: Answers {
                partitions: asked
                    .map(|asked| PartitionAnswer {
                        asked,
                        ..PartitionAnswer::default()
                    })
                    .collect(),
                error: None,
            },
            failure: None,
        });
    }

    /// The next thing Kafka said; does not wait.
    pub(super) fn said(&mut self) -> Option<Said> {
        loop {
            let (tag, answer) = self.questions.next(Duration::ZERO)?;
            let said = match tag % KINDS {
                TOPIC => self.heard_topic(&answer),
                kind => self.heard_bounds(tag / KINDS, kind, &answer),
            };
            if said.is_some() {
                return said;
            }
        }
    }

    fn heard_topic(&mut self, answer: &Answer) -> Option<Said> {
        self.is_topic_asked = false;
        let Answer::Topics(topics) = answer else {
            self.ask_broker = !self.ask_broker;
            return None;
        };
        let topic = topics.iter().find(|topic| topic.name == self.topic)?;
        match &topic.outcome {
            Ok(facts) => Some(Said::Topic {
                id: facts.id,
                partitions: facts.partitions,
            }),
            Err(Code::UNKNOWN_TOPIC_OR_PARTITION) => Some(Said::NoTopic),
            Err(Code::TOPIC_AUTHORIZATION_FAILED) => Some(Said::Denied),
            Err(_) => None,
        }
    }

    fn heard_bounds(&mut self, round: usize, kind: usize, answer: &Answer) -> Option<Said> {
        let bounds = self
            .bounds
            .as_mut()
            .filter(|bounds| bounds.round == round)?;
        match answer {
            Answer::Offsets(offsets) => {
                for answered in offsets.iter() {
                    bounds
                        .answers
                        .note(kind, answered.partition, answered.offset);
                }
            }
            Answer::Failed(code) => bounds.failure = Some(*code),
            Answer::Topics(_) | Answer::Cluster(_) => {}
        }
        bounds.waiting -= 1;
        if bounds.waiting > 0 {
            return None;
        }
        let bounds = self.bounds.take()?;
        Some(match bounds.failure {
            Some(code) => Said::Nothing(code),
            None => Said::Bounds(bounds.answers),
        })
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
                let place = if kind == STARTS {
                    &mut known.start
                } else {
                    &mut known.end
                };
                *place = Some(offset);
            }
            Some(Err(code)) => self.error = Some(code),
            Some(Ok(_)) | None => {}
        }
    }
}
