//! Past end offsets from timestamped ListOffsets. Pure.
//!
//! Kafka answers a timestamp with the offset of the first record that is not older: with rising
//! timestamps that is the end offset of that moment. When no record is that new, it is the end of the
//! log. A partition is answered as a whole or not at all, so that the asker never takes a part for
//! everything.

use super::LogHistory;
use super::ask::Answered;
use crate::clock::Timestamp;
use crate::lag::event::LogQuestion;

/// The timestamps as ListOffsets takes them. Negative ones mean something else there; no record is
/// older than the epoch.
pub fn asked_at(question: &LogQuestion) -> Vec<i64> {
    question.at.iter().map(|at| at.as_ms().max(0)).collect()
}

/// Whether the log end is needed to answer: no record is as new as one of the moments.
pub fn needs_end(answers: &[Answered]) -> bool {
    answers.contains(&Some(Ok(-1)))
}

/// The answer to `question`: `answers` by moment, `end` when it was needed.
pub fn history(question: &LogQuestion, answers: &[Answered], end: Answered) -> LogHistory {
    LogHistory {
        topic: question.topic.clone(),
        partition: question.partition,
        points: points(&question.at, answers, end).unwrap_or_default(),
    }
}

/// `None`: an answer is missing, or the log was truncated between two answers.
fn points(at: &[Timestamp], answers: &[Answered], end: Answered) -> Option<Vec<(Timestamp, i64)>> {
    let mut points = Vec::with_capacity(at.len());
    for (at, answer) in at.iter().zip(answers) {
        let offset = match (answer, end) {
            (Some(Ok(-1)), Some(Ok(end))) => end,
            (Some(Ok(offset)), _) if *offset >= 0 => *offset,
            _ => return None,
        };
        points.push((*at, offset));
    }
    let rises = points.windows(2).all(|pair| pair[0].1 <= pair[1].1);
    (points.len() == at.len() && rises).then_some(points)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::ffi::Code;
    use crate::lag::ids::TopicName;

    /// Answers: a number, "-" for no record that new, "e" for an error, "." for none.
    fn answered(word: &str) -> Answered {
        match word {
            "-" => Some(Ok(-1)),
            "e" => Some(Err(Code::NOT_LEADER_OR_FOLLOWER)),
            "." => None,
            number => Some(Ok(number.parse().expect("a number"))),
        }
    }

    #[test]
    fn a_partition_is_answered_as_a_whole_or_not() {
        for (answers, end, expected, reason) in [
            ("5 7 9", ".", "5 7 9", "all found"),
            (
                "5 7 -",
                "12",
                "5 7 12",
                "nothing newer than the last moment: the log end",
            ),
            ("- - -", "0", "0 0 0", "an empty log"),
            ("5 5 -", "5", "5 5 5", "an idle partition"),
            ("5 . 9", ".", "", "one moment unanswered"),
            ("5 e 9", ".", "", "one moment failed"),
            ("5 7 -", ".", "", "the log end unanswered"),
            ("5 7 -", "e", "", "the log end failed"),
            ("5 7 -", "-", "", "a log end of -1 does not exist"),
            ("9 7 -", "12", "", "truncated while asked"),
            ("5 9 -", "7", "", "truncated before the end was asked"),
            ("5 7", ".", "", "too few answers"),
        ] {
            let answers: Vec<Answered> = answers.split(' ').map(answered).collect();
            let question = LogQuestion {
                topic: TopicName::new("t"),
                partition: 0,
                at: vec![1, 2, 3].into_iter().map(Timestamp::from_ms).collect(),
            };
            let history = history(&question, &answers, answered(end));
            let offsets: Vec<String> = history
                .points
                .iter()
                .map(|point| point.1.to_string())
                .collect();
            assert_eq!(offsets.join(" "), expected, "{answers:?} {end}: {reason}");
            assert!(
                history
                    .points
                    .iter()
                    .zip(&question.at)
                    .all(|(p, at)| p.0 == *at)
            );
        }
    }

    #[test]
    fn moments_before_the_epoch_are_no_special_offsets() {
        let question = LogQuestion {
            topic: TopicName::new("t"),
            partition: 0,
            at: vec![Timestamp::from_ms(-1), Timestamp::from_ms(5)],
        };
        assert_eq!(asked_at(&question), [0, 5]);
    }
}
