//! Which topics exist: the difference between one metadata answer and what was known before.
//!
//! Pure. A topic that is missing from the list of all topics is not simply gone: a broker that has
//! just started, or a permission that was taken away, shortens the list without a word. So a missing
//! topic is asked for by name, and it counts as deleted after [`ABSENCES`] complete answers in which
//! Kafka said that it does not know the name. Anything else deletes nothing.

use std::collections::BTreeMap;

use crate::lag::event::TopicsAsked;
use crate::lag::ids::{TopicId, TopicName};

/// So many complete answers must lack a topic before it counts as deleted.
pub const ABSENCES: u8 = 3;

/// What became known about a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicChange {
    /// It is new, or has another id or number of partitions than before.
    Changed {
        topic: TopicName,
        /// Absent when Kafka has not told it (yet).
        id: Option<TopicId>,
        partitions: i32,
        /// The last question whose answer still showed what was known before.
        until: TopicsAsked,
    },
    /// Three complete answers lacked it.
    Deleted {
        topic: TopicName,
        /// The last of their questions.
        until: TopicsAsked,
    },
}

/// What one answer says about one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It exists.
    Present {
        id: Option<TopicId>,
        partitions: i32,
    },
    /// It is not in the list, and asked by name Kafka does not know it.
    Unknown,
    /// It is not in the list, and asked by name Kafka gave no answer, another error, or that the
    /// user may not see it. Or it is in the list without its partitions.
    Unclear,
}

/// Remembers the topics of one cluster.
#[derive(Debug, Default)]
pub struct TopicTracker(BTreeMap<TopicName, Known>);

#[derive(Debug)]
struct Known {
    id: Option<TopicId>,
    partitions: i32,
    absences: u8,
    /// The last question whose answer told the id, or that there is no such topic.
    told: TopicsAsked,
}

impl TopicTracker {
    /// Takes over a topic that another process has known.
    pub fn take_over(&mut self, topic: TopicName, id: Option<TopicId>, partitions: i32) {
        let known = Known {
            id,
            partitions,
            absences: 0,
            told: TopicsAsked::default(),
        };
        self.0.insert(topic, known);
    }

    /// The known topics, sorted by name.
    pub fn known(&self) -> impl Iterator<Item = &TopicName> {
        self.0.keys()
    }

    /// Takes the answer to the question `asked`. Topics that `sights` does not name are left as they
    /// are. `complete`: the answer came from a broker that knows its cluster; otherwise it deletes
    /// nothing.
    pub fn observe<'a>(
        &mut self,
        asked: TopicsAsked,
        complete: bool,
        sights: impl IntoIterator<Item = (&'a TopicName, Sight)>,
    ) -> Vec<TopicChange> {
        let mut changes = Vec::new();
        for (topic, sight) in sights {
            match sight {
                Sight::Present { id, partitions } => {
                    changes.extend(self.present(topic, id, partitions, asked));
                }
                Sight::Unknown if complete => changes.extend(self.absent(topic, asked)),
                Sight::Unknown | Sight::Unclear => {}
            }
        }
        changes
    }

    fn present(
        &mut self,
        topic: &TopicName,
        id: Option<TopicId>,
        partitions: i32,
        asked: TopicsAsked,
    ) -> Option<TopicChange> {
        let changed = |id, until| {
            Some(TopicChange::Changed {
                topic: topic.clone(),
                id,
                partitions,
                until,
            })
        };
        let Some(known) = self.0.get_mut(topic) else {
            let known = Known {
                id,
                partitions,
                absences: 0,
                told: asked,
            };
            self.0.insert(topic.clone(), known);
            return changed(id, asked);
        };
        known.absences = 0;
        let until = known.told;
        if id.is_some() {
            known.told = asked;
        }
        // An answer without the id does not take away the one that is known.
        let id = id.or(known.id);
        if known.id == id && known.partitions == partitions {
            return None;
        }
        known.id = id;
        known.partitions = partitions;
        changed(id, until)
    }

    fn absent(&mut self, topic: &TopicName, asked: TopicsAsked) -> Option<TopicChange> {
        let known = self.0.get_mut(topic)?;
        known.told = asked;
        known.absences += 1;
        if known.absences < ABSENCES {
            return None;
        }
        self.0.remove(topic);
        Some(TopicChange::Deleted {
            topic: topic.clone(),
            until: asked,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One answer of a story: "+3" present with 3 partitions (id unknown), "+3a" with id a, "-" not
    /// known by name, "?" unclear, "." not mentioned; a trailing "!" makes the answer incomplete.
    fn sight(word: &str) -> (bool, Option<Sight>) {
        let complete = !word.ends_with('!');
        let word = word.trim_end_matches('!');
        let sight = match word.as_bytes() {
            b"-" => Some(Sight::Unknown),
            b"?" => Some(Sight::Unclear),
            b"." => None,
            [b'+', count, id @ ..] => Some(Sight::Present {
                id: id.first().map(|byte| TopicId([*byte; 16])),
                partitions: i32::from(count - b'0'),
            }),
            _ => panic!("no such word: {word}"),
        };
        (complete, sight)
    }

    /// "+3a" changed to 3 partitions with id a, "x" deleted, "=" nothing.
    fn outcome(changes: &[TopicChange]) -> String {
        match changes {
            [] => "=".to_owned(),
            [TopicChange::Deleted { .. }] => "x".to_owned(),
            [TopicChange::Changed { id, partitions, .. }] => {
                let id = id.map_or(String::new(), |id| char::from(id.0[0]).to_string());
                format!("+{partitions}{id}")
            }
            _ => panic!("one topic, one change: {changes:?}"),
        }
    }

    #[test]
    fn a_topic_changes_and_goes_only_for_good_reason() {
        for (story, expected, reason) in [
            ("+3", "+3", "new"),
            ("+3 +3", "+3 =", "no change, no word"),
            ("+3 +4", "+3 +4", "grown"),
            ("+3a +2b", "+3a +2b", "made again with fewer partitions"),
            (
                "+3a +3b",
                "+3a +3b",
                "made again: another id is another topic",
            ),
            ("+3 +3a", "+3 +3a", "the id becomes known"),
            ("+3a +3", "+3a =", "an answer without ids takes none away"),
            ("+3a +4", "+3a +4a", "grown, id not told this time"),
            ("+3 - - -", "+3 = = x", "three complete answers without it"),
            ("+3 - -", "+3 = =", "two are not enough"),
            ("+3 - - +3 - -", "+3 = = = = =", "seen again: counted anew"),
            (
                "+3 -! -! -! -!",
                "+3 = = = =",
                "incomplete ones never count",
            ),
            (
                "+3 - -! - -",
                "+3 = = = x",
                "an incomplete one in between changes nothing",
            ),
            (
                "+3 ? ? ? ?",
                "+3 = = = =",
                "a lost permission deletes nothing",
            ),
            (
                "+3 - ? - -",
                "+3 = = = x",
                "an unclear one in between changes nothing",
            ),
            ("+3 . . . .", "+3 = = = =", "not asked, not counted"),
            ("- - - -", "= = = =", "never known, never deleted"),
            ("+3 - - - +3", "+3 = = x +3", "comes back as new"),
            ("+3a - - - -", "+3a = = x =", "deleted once"),
        ] {
            let topic = TopicName::new("t");
            let mut tracker = TopicTracker::default();
            let outcomes: Vec<String> = story
                .split(' ')
                .map(|word| {
                    let (complete, sight) = sight(word);
                    let sights = sight.map(|sight| (&topic, sight));
                    outcome(&tracker.observe(TopicsAsked::default(), complete, sights))
                })
                .collect();
            assert_eq!(outcomes.join(" "), expected, "{story}: {reason}");
        }
    }

    #[test]
    fn topics_do_not_disturb_each_other() {
        let (a, b) = (TopicName::new("a"), TopicName::new("b"));
        let present = Sight::Present {
            id: None,
            partitions: 1,
        };
        let mut tracker = TopicTracker::default();
        tracker.observe(TopicsAsked(1), true, [(&b, present), (&a, present)]);
        for _ in 0..ABSENCES {
            tracker.observe(TopicsAsked(2), true, [(&a, present), (&b, Sight::Unknown)]);
        }
        assert_eq!(tracker.known().collect::<Vec<_>>(), [&a]);
    }

    #[test]
    fn a_change_names_the_last_question_that_showed_what_was_there_before() {
        for (story, expected, reason) in [
            ("+3a +3a +3b", 2, "the old id was told"),
            ("+3a - +3b", 2, "there was no topic of that name"),
            ("+3a -! +3b", 1, "an incomplete answer tells nothing"),
            ("+3a ? +3b", 1, "an unclear one tells nothing"),
            (
                "+3a +3 +3b",
                1,
                "an answer without ids may be about the new one",
            ),
            ("+3a . +3b", 1, "not in the answer"),
            ("+3a - - -", 4, "deleted: its own answer"),
        ] {
            let topic = TopicName::new("t");
            let mut tracker = TopicTracker::default();
            let mut changes = Vec::new();
            for (asked, word) in (1..).map(TopicsAsked).zip(story.split(' ')) {
                let (complete, sight) = sight(word);
                changes = tracker.observe(asked, complete, sight.map(|sight| (&topic, sight)));
            }
            let [TopicChange::Changed { until, .. } | TopicChange::Deleted { until, .. }] =
                changes[..]
            else {
                panic!("{story}: {changes:?}");
            };
            assert_eq!(until, TopicsAsked(expected), "{story}: {reason}");
        }
    }
}
