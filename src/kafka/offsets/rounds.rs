//! Questions about the offsets topic itself, asked over and over without waiting: does it still
//! exist, as which topic, with how many partitions, and where do they start and end.
//!
//! They go through the reading client: an answer may then wait for the fetch before it on the same
//! connection (a third of a second), which is nothing for a question every few seconds, and a second
//! set of connections is saved.

use std::time::Duration;

use super::positions::Positions;
use crate::clock::{Stopwatch, Timestamp};
use crate::kafka::ffi::Code;
use crate::kafka::ffi::admin::{Answer, AskedOffset, LOG_END, LOG_START, Questions};
use crate::lag::ids::TopicId;

/// Between two rounds.
const INTERVAL: Duration = Duration::from_secs(5);
/// Between two rounds while some partition cannot be read before its bounds are known.
const SHORT_INTERVAL: Duration = Duration::from_millis(500);
/// How long one question may take.
const TIMEOUT: Duration = Duration::from_secs(5);

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
    /// The first record since the moment that was asked for; the end when there is none.
    pub(super) recent: Option<i64>,
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
    is_recent_asked: bool,
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

    /// Asks again when it is time; never more than one question of a kind at once. With lost
    /// positions also for the first record since `right_at`, when they still were right. True when
    /// it asked for the bounds.
    pub(super) fn ask_when_due(&mut self, positions: &Positions, right_at: Timestamp) -> bool {
        let interval = if positions.is_waiting() {
            SHORT_INTERVAL
        } else {
            INTERVAL
        };
        if self.last.is_some_and(|last| last.elapsed() < interval) {
            return false;
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
        let is_free = self.bounds.is_none();
        if is_free {
            self.ask_bounds(positions, right_at);
        }
        is_free
    }

    fn ask_bounds(&mut self, positions: &Positions, right_at: Timestamp) {
        let mut asked = vec![(STARTS, LOG_START), (ENDS, LOG_END)];
        let is_recent_asked = positions.is_any_lost();
        if is_recent_asked {
            asked.push((RECENT, right_at.minus(MARGIN).as_ms().max(0)));
        }
        for (kind, at) in &asked {
            let partitions = (0..positions.count()).map(|partition| AskedOffset {
                topic: self.topic,
                partition,
                at: *at,
            });
            let tag = self.round * KINDS + kind;
            self.questions.list_offsets(tag, partitions, TIMEOUT);
        }
        let partitions = positions.asked().into_iter().map(|asked| PartitionAnswer {
            asked,
            ..PartitionAnswer::default()
        });
        self.bounds = Some(BoundsRound {
            round: self.round,
            waiting: asked.len(),
            is_recent_asked,
            answers: Answers {
                partitions: partitions.collect(),
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
            // Without the young records reading goes on at the end.
            Answer::Failed(_) if kind == RECENT => {}
            Answer::Failed(code) => bounds.failure = Some(*code),
            Answer::Topics(_) | Answer::Cluster(_) => {}
        }
        bounds.waiting -= 1;
        if bounds.waiting > 0 {
            return None;
        }
        let mut bounds = self.bounds.take()?;
        if bounds.is_recent_asked {
            for answer in &mut bounds.answers.partitions {
                answer.recent = answer.recent.or(answer.end);
            }
        }
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
