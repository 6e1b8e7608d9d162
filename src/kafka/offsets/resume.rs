//! Going on where another process has stopped, and when that is refused.
//!
//! A position in the offsets topic is of use only in the same topic of the same cluster, inside its
//! log, and not too late: compaction drops tombstones after `delete.retention.ms`, and a deletion that was missed
//! keeps a group for ever. Half of that time is left for reading. Everything is checked against what
//! Kafka says, and what it does not say counts as another answer: reading the whole topic is always
//! right.

use std::fmt;
use std::time::Duration;

use rdkafka::consumer::Consumer;

use crate::clock::Timestamp;
use crate::config::values::show_duration;
use crate::kafka::client::KafkaClient;
use crate::kafka::ffi::admin::Questions;
use crate::lag::event::ReaderPosition;
use crate::lag::ids::TopicId;

/// Kafka's default of `delete.retention.ms`; taken when the broker does not tell (it needs the permission DESCRIBE_CONFIGS).
pub const DELETE_RETENTION: Duration = Duration::from_secs(86_400);
/// How long an answer about the topic's configuration is waited for.
const CONFIG_TIMEOUT: Duration = Duration::from_secs(3);
/// A clock may be this much behind the one a position was saved by.
const CLOCK_SLACK: Duration = Duration::from_secs(60);

/// Where another process has stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    pub position: ReaderPosition,
    /// When it was there.
    pub saved_at: Timestamp,
}

/// What Kafka says about the offsets topic now.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Facts {
    pub(super) cluster_id: Option<String>,
    pub(super) topic_id: Option<TopicId>,
    pub(super) partitions: i32,
}

/// Why a process does not go on where another has stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The position itself cannot be.
    Impossible,
    /// Saved so long ago; at most this long is allowed.
    TooOld {
        age: Duration,
        limit: Duration,
    },
    /// Saved by a clock that was this much ahead.
    Future {
        ahead: Duration,
    },
    OtherCluster,
    OtherTopic,
    /// Kafka does not tell the topic's id.
    NoTopicId,
    OtherPartitions {
        saved: i32,
        found: i32,
    },
    BeyondEnd {
        partition: i32,
        position: i64,
        end: i64,
    },
    BeforeStart {
        partition: i32,
        position: i64,
        start: i64,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |duration: &Duration| show_duration(Duration::from_secs(duration.as_secs()));
        match self {
            Refusal::Impossible => f.write_str("the saved position cannot be"),
            Refusal::TooOld { age, limit } => write!(
                f,
                "it was saved {} ago, more than {}: half of the offsets topic's delete.retention.ms",
                whole(age),
                whole(limit)
            ),
            Refusal::Future { ahead } => write!(
                f,
                "it was saved {} from now: the clock was stepped back",
                whole(ahead)
            ),
            Refusal::OtherCluster => f.write_str("it is about another kafka cluster"),
            Refusal::OtherTopic => f.write_str("the offsets topic was re-created"),
            Refusal::NoTopicId => f.write_str("kafka does not tell the id of the offsets topic"),
            Refusal::OtherPartitions { saved, found } => write!(
                f,
                "the offsets topic has {found} partitions, it had {saved}"
            ),
            Refusal::BeyondEnd {
                partition,
                position,
                end,
            } => write!(
                f,
                "partition {partition} of the offsets topic ends at {end}, in front of the saved \
                 position {position}: it was truncated"
            ),
            Refusal::BeforeStart {
                partition,
                position,
                start,
            } => write!(
                f,
                "partition {partition} of the offsets topic starts at {start}, behind the saved \
                 position {position}"
            ),
        }
    }
}

impl Resume {
    /// Whether the position is young enough for a topic that keeps tombstones for `retention`.
    pub(super) fn check_age(&self, retention: Duration, now: Timestamp) -> Result<(), Refusal> {
        let ms = now.ms_since(self.saved_at);
        let between = Duration::from_millis(ms.unsigned_abs());
        let limit = retention / 2;
        if ms < 0 && between > CLOCK_SLACK {
            return Err(Refusal::Future { ahead: between });
        }
        if ms > 0 && between > limit {
            return Err(Refusal::TooOld {
                age: between,
                limit,
            });
        }
        Ok(())
    }

    /// Whether the position is one in this topic.
    pub(super) fn check_topic(&self, facts: &Facts) -> Result<(), Refusal> {
        let position = &self.position;
        if position.cluster_id != facts.cluster_id {
            return Err(Refusal::OtherCluster);
        }
        match (position.topic_id, facts.topic_id) {
            (Some(saved), Some(found)) if saved == found => {}
            (Some(_), Some(_)) => return Err(Refusal::OtherTopic),
            (None, _) | (_, None) => return Err(Refusal::NoTopicId),
        }
        let saved = position.sizes.last().copied().unwrap_or(0);
        if saved != facts.partitions {
            let found = facts.partitions;
            return Err(Refusal::OtherPartitions { saved, found });
        }
        Ok(())
    }
}

/// How long the topic keeps tombstones, as its brokers say; Kafka's default when they do not.
pub(super) fn delete_retention(client: &KafkaClient, topic: &str) -> Duration {
    let questions = Questions::new(client.client());
    let told = questions.topic_config(topic, "delete.retention.ms", CONFIG_TIMEOUT);
    let ms = told.and_then(|value| value.parse().ok());
    ms.map_or(DELETE_RETENTION, Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn resume(change: impl FnOnce(&mut Resume)) -> Resume {
        let mut resume = Resume {
            position: ReaderPosition {
                cluster_id: Some("c".to_owned()),
                topic_id: Some(TopicId([1; 16])),
                life: 0,
                sizes: vec![1, 2],
                partitions: vec![Default::default(); 2],
            },
            saved_at: NOW,
        };
        change(&mut resume);
        resume
    }

    #[test]
    fn the_age_is_held_against_half_of_the_retention() {
        let hour = 3_600_000;
        for (age_ms, expected) in [
            (0, None),
            (12 * hour, None),
            (
                12 * hour + 1,
                Some(
                    "it was saved 12h ago, more than 12h: half of the offsets topic's delete.retention.ms",
                ),
            ),
            (i64::MAX, Some("it was saved")),
            (-60_000, None),
            (
                -hour,
                Some("it was saved 1h from now: the clock was stepped back"),
            ),
        ] {
            let saved_at = Timestamp::from_ms(NOW.as_ms().saturating_sub(age_ms));
            let resume = resume(|resume| resume.saved_at = saved_at);
            let checked = resume.check_age(DELETE_RETENTION, NOW);
            let said = checked.err().map(|refusal| refusal.to_string());
            let is_so = match (&said, expected) {
                (None, None) => true,
                (Some(said), Some(expected)) => said.starts_with(expected),
                _ => false,
            };
            assert!(is_so, "{age_ms}: {said:?}");
        }
        let short = resume(|resume| resume.saved_at = NOW.minus(Duration::from_secs(31)));
        assert!(short.check_age(Duration::from_secs(60), NOW).is_err());
        assert!(short.check_age(Duration::from_secs(62), NOW).is_ok());
    }

    #[test]
    fn only_the_same_topic_of_the_same_cluster_will_do() {
        let found = Facts {
            cluster_id: Some("c".to_owned()),
            topic_id: Some(TopicId([1; 16])),
            partitions: 2,
        };
        type Change = fn(&mut Resume);
        let cases: [(&str, Change, Option<Refusal>); 8] = [
            ("the same", |_| {}, None),
            (
                "another cluster",
                |r| r.position.cluster_id = Some("d".to_owned()),
                Some(Refusal::OtherCluster),
            ),
            (
                "a cluster without id",
                |r| r.position.cluster_id = None,
                Some(Refusal::OtherCluster),
            ),
            (
                "re-created",
                |r| r.position.topic_id = Some(TopicId([2; 16])),
                Some(Refusal::OtherTopic),
            ),
            (
                "never told",
                |r| r.position.topic_id = None,
                Some(Refusal::NoTopicId),
            ),
            (
                "grown",
                |r| r.position.sizes = vec![1],
                Some(Refusal::OtherPartitions { saved: 1, found: 2 }),
            ),
            (
                "shrunk, as only a re-created topic can",
                |r| r.position.sizes = vec![3],
                Some(Refusal::OtherPartitions { saved: 3, found: 2 }),
            ),
            (
                "nothing saved",
                |r| r.position.sizes = Vec::new(),
                Some(Refusal::OtherPartitions { saved: 0, found: 2 }),
            ),
        ];
        for (why, change, expected) in cases {
            let checked = resume(change).check_topic(&found);
            assert_eq!(checked.err(), expected, "{why}");
        }
        let no_id = Facts {
            topic_id: None,
            ..found
        };
        let checked = resume(|_| {}).check_topic(&no_id);
        assert_eq!(checked, Err(Refusal::NoTopicId), "not told now");
    }
}
