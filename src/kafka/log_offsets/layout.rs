//! Topics, partitions and leaders as the last metadata answers told them. Pure.

use std::collections::{HashMap, HashSet};

use super::super::ffi::metadata::{ClusterMetadata, PartitionMetadata};
use crate::lag::ids::TopicName;

/// Who leads which partition.
#[derive(Debug, Default)]
pub struct Layout {
    /// Addresses of the brokers that are up.
    pub brokers: Vec<String>,
    /// Sorted by name.
    pub topics: Vec<TopicLayout>,
    /// How many of them the last answer did not describe.
    pub kept: usize,
    by_name: HashMap<TopicName, usize>,
}

/// One topic's partitions, sorted by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicLayout {
    pub name: TopicName,
    pub partitions: Vec<PartitionMetadata>,
}

impl Layout {
    /// The layout that follows `previous` after an answer. Of a topic that the answer does not
    /// describe, the old partitions stay when `keep` says so, without leaders: librdkafka does not
    /// know these any more either.
    pub fn next(
        previous: &Layout,
        metadata: &ClusterMetadata,
        keep: impl Fn(&TopicName) -> bool,
    ) -> Self {
        let mut topics: Vec<TopicLayout> = metadata
            .topics
            .iter()
            .filter(|topic| topic.error.is_none())
            .map(|topic| {
                let mut partitions = topic.partitions.clone();
                partitions.sort_unstable_by_key(|partition| partition.id);
                TopicLayout {
                    name: previous.name(&topic.name),
                    partitions,
                }
            })
            .collect();
        let described: HashSet<&TopicName> = topics.iter().map(|topic| &topic.name).collect();
        let kept: Vec<TopicLayout> = previous
            .topics
            .iter()
            .filter(|topic| !described.contains(&topic.name) && keep(&topic.name))
            .map(TopicLayout::without_leaders)
            .collect();
        let kept_count = kept.len();
        topics.extend(kept);
        topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let by_name = topics
            .iter()
            .enumerate()
            .map(|(index, topic)| (topic.name.clone(), index))
            .collect();
        let brokers = metadata.brokers.iter();
        Self {
            brokers: brokers.map(|broker| broker.address.clone()).collect(),
            topics,
            kept: kept_count,
            by_name,
        }
    }

    /// The shared copy of a name.
    pub fn name(&self, name: &str) -> TopicName {
        match self.by_name.get_key_value(name) {
            Some((shared, _)) => shared.clone(),
            None => TopicName::new(name),
        }
    }

    /// The leader of a partition, when the partition exists and has one.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<i32> {
        let topic = &self.topics[*self.by_name.get(topic)?];
        let found = topic
            .partitions
            .binary_search_by_key(&partition, |partition| partition.id);
        topic.partitions[found.ok()?].leader
    }

    /// Whether any partition has a leader, so that somebody can be asked.
    pub fn has_leaders(&self) -> bool {
        let mut partitions = self.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.any(|partition| partition.leader.is_some())
    }
}

impl TopicLayout {
    fn without_leaders(&self) -> Self {
        let partitions = self.partitions.iter().map(|partition| PartitionMetadata {
            leader: None,
            ..*partition
        });
        Self {
            name: self.name.clone(),
            partitions: partitions.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::ffi::Code;
    use super::super::super::ffi::metadata::{BrokerMetadata, TopicMetadata};
    use super::*;

    fn topic(name: &str, leaders: &[Option<i32>], error: Option<Code>) -> TopicMetadata {
        let partitions = (0..).zip(leaders);
        let mut partitions: Vec<PartitionMetadata> = partitions
            .map(|(id, leader)| PartitionMetadata {
                id,
                leader: *leader,
            })
            .collect();
        // Brokers answer in any order.
        partitions.reverse();
        TopicMetadata {
            name: name.to_owned(),
            error,
            partitions,
        }
    }

    fn metadata(topics: Vec<TopicMetadata>) -> ClusterMetadata {
        ClusterMetadata {
            brokers: vec![BrokerMetadata {
                id: 1,
                address: "a:1".to_owned(),
            }],
            topics,
            ..ClusterMetadata::default()
        }
    }

    #[test]
    fn finds_leaders() {
        let answer = metadata(vec![
            topic("b", &[Some(1), None], None),
            topic("a", &[Some(2)], None),
        ]);
        let layout = Layout::next(&Layout::default(), &answer, |_| false);
        for (topic, partition, expected) in [
            ("b", 0, Some(1)),
            ("b", 1, None),
            ("b", 2, None),
            ("b", -1, None),
            ("a", 0, Some(2)),
            ("c", 0, None),
        ] {
            assert_eq!(
                layout.leader(topic, partition),
                expected,
                "{topic} {partition}"
            );
        }
        assert!(layout.has_leaders());
        assert!(!Layout::default().has_leaders());
        assert_eq!(layout.topics[0].name.as_str(), "a", "sorted by name");
    }

    #[test]
    fn a_short_answer_keeps_what_it_may() {
        let full = metadata(vec![
            topic("a", &[Some(1)], None),
            topic("b", &[Some(1)], None),
            topic("c", &[Some(1)], None),
        ]);
        let before = Layout::next(&Layout::default(), &full, |_| false);
        let short = metadata(vec![topic("b", &[], Some(Code::LEADER_NOT_AVAILABLE))]);
        let after = Layout::next(&before, &short, |name| name.as_str() != "a");
        let names: Vec<&str> = after.topics.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["b", "c"]);
        assert_eq!(after.kept, 2);
        let partitions = after.topics.iter().map(|topic| topic.partitions.len());
        assert_eq!(partitions.collect::<Vec<_>>(), [1, 1], "as before");
        assert_eq!(after.leader("b", 0), None, "nobody to ask");
    }
}
