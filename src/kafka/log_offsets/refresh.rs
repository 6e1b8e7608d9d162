//! Asks which topics exist: the list of all, then each by name for its id.

use std::collections::HashMap;

use rdkafka::client::{Client, ClientContext};

use super::super::ffi::Code;
use super::super::ffi::admin::{Answer, DescribedTopic, Questions};
use super::super::ffi::metadata::{ClusterMetadata, cluster_metadata};
use super::ask::Deadline;
use super::layout::Layout;
use super::topics::{Sight, TopicChange, TopicTracker};
use crate::lag::event::TopicsAsked;
use crate::lag::ids::{TopicId, TopicName};

/// Topics in one DescribeTopics call; librdkafka's work grows with the square of them.
const CALL_TOPICS: usize = 500;
/// DescribeTopics calls at a time.
const CALLS_IN_FLIGHT: usize = 4;

/// What a refresh found.
#[derive(Debug)]
pub struct Refreshed {
    pub layout: Layout,
    pub changes: Vec<TopicChange>,
    /// Topics left out because their name is not UTF-8.
    pub unreadable_names: usize,
}

/// Asks for all topics, and tells the tracker, by the number of the question. Ids get at most half of the time; a topic whose id is
/// not told in time keeps the known one.
///
/// # Errors
/// No broker gave the list of topics.
pub fn refresh<C: ClientContext>(
    client: &Client<C>,
    previous: &Layout,
    (tracker, asked): (&mut TopicTracker, TopicsAsked),
    deadline: &Deadline,
) -> Result<Refreshed, Code> {
    let metadata = cluster_metadata(client, deadline.left())?;
    let mut sights = listed(&metadata, previous);
    for topic in tracker.known() {
        sights.entry(topic.clone()).or_insert(Sight::Unclear);
    }
    describe(client, &mut sights, via(&metadata), &deadline.part(2));
    let keep = |topic: &TopicName| !matches!(sights.get(topic), None | Some(Sight::Unknown));
    let layout = Layout::next(previous, &metadata, keep);
    // A broker that names no broker, itself included, does not know its cluster yet.
    let complete = !metadata.brokers.is_empty();
    let mut sights: Vec<(&TopicName, Sight)> = sights.iter().map(|(t, s)| (t, *s)).collect();
    sights.sort_unstable_by_key(|(topic, _)| *topic);
    Ok(Refreshed {
        layout,
        changes: tracker.observe(asked, complete, sights),
        unreadable_names: metadata.unreadable_names,
    })
}

/// A broker that surely answers: the one that just did. The controller, which librdkafka would ask,
/// may be away.
fn via(metadata: &ClusterMetadata) -> Option<i32> {
    let first = metadata.brokers.first().map(|broker| broker.id);
    metadata.answered_by.or(first)
}

fn listed(metadata: &ClusterMetadata, previous: &Layout) -> HashMap<TopicName, Sight> {
    let topics = metadata.topics.iter().map(|topic| {
        let sight = match (topic.error, i32::try_from(topic.partitions.len())) {
            (None, Ok(partitions)) => Sight::Present {
                id: None,
                partitions,
            },
            _ => Sight::Unclear,
        };
        (previous.name(&topic.name), sight)
    });
    topics.collect()
}

/// Adds ids to what is listed, and finds out about what is not.
fn describe<C: ClientContext>(
    client: &Client<C>,
    sights: &mut HashMap<TopicName, Sight>,
    via: Option<i32>,
    deadline: &Deadline,
) {
    let mut names: Vec<TopicName> = sights.keys().cloned().collect();
    names.sort_unstable();
    let questions = Questions::new(client);
    let mut waiting = names.chunks(CALL_TOPICS);
    let mut in_flight = 0;
    loop {
        while in_flight < CALLS_IN_FLIGHT {
            let Some(chunk) = waiting.next() else { break };
            let names = chunk.iter().map(TopicName::as_str);
            let asked = questions.describe_topics(0, names, via, false, deadline.left());
            in_flight += usize::from(asked);
        }
        if in_flight == 0 || deadline.is_over() {
            return;
        }
        let Some((_, answer)) = questions.next(deadline.left()) else {
            return;
        };
        in_flight -= 1;
        match answer {
            Answer::Topics(topics) => topics.iter().for_each(|topic| see(sights, topic)),
            // The others may still answer.
            Answer::Failed(_) | Answer::Offsets(_) | Answer::Cluster(_) => {}
        }
    }
}

fn see(sights: &mut HashMap<TopicName, Sight>, topic: &DescribedTopic) {
    let Some(sight) = sights.get_mut(topic.name.as_str()) else {
        return;
    };
    *sight = combined(*sight, topic.outcome.as_ref().map(|facts| facts.id));
}

/// The list and the description of one topic, together.
fn combined(listed: Sight, described: Result<Option<TopicId>, &Code>) -> Sight {
    match (listed, described) {
        (Sight::Present { partitions, .. }, Ok(id)) => Sight::Present { id, partitions },
        // Listed, so it is there: only the id stays unknown.
        (Sight::Present { .. }, Err(_)) => listed,
        (_, Err(&Code::UNKNOWN_TOPIC_OR_PARTITION)) => Sight::Unknown,
        // Not listed, but known by name: the list was short.
        (Sight::Unknown | Sight::Unclear, _) => Sight::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_and_description_of_a_topic_agree_on_what_is_certain() {
        let present = |id| Sight::Present { id, partitions: 3 };
        let id = Some(TopicId([7; 16]));
        for (listed, described, expected, reason) in [
            (present(None), Ok(id), present(id), "the usual case"),
            (present(None), Ok(None), present(None), "before Kafka 2.8"),
            (
                present(None),
                Err(&Code::UNKNOWN_TOPIC_OR_PARTITION),
                present(None),
                "deleted between the two questions: the next list will lack it",
            ),
            (
                Sight::Unclear,
                Err(&Code::UNKNOWN_TOPIC_OR_PARTITION),
                Sight::Unknown,
                "neither listed nor known by name",
            ),
            (Sight::Unclear, Ok(id), Sight::Unclear, "the list was short"),
            (
                Sight::Unclear,
                Err(&Code::TOPIC_AUTHORIZATION_FAILED),
                Sight::Unclear,
                "a permission was taken away",
            ),
        ] {
            assert_eq!(combined(listed, described), expected, "{reason}");
        }
    }
}
