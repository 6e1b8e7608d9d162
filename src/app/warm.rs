//! A start that goes on where another process has stopped: what was saved, and whether it may be used.
//!
//! Settings that decide what is remembered are saved with it, and any that differs refuses it: a window of
//! twenty commits cannot be made of ten. What only Kafka can say (another topic, too old, not in the
//! log) the reader checks. A refusal costs the time of reading everything, and never more.

use crate::config::clusters::ClusterSettings;
use crate::config::values::show_duration;
use crate::kafka::client::KafkaSettings;
use crate::kafka::offsets::Resume;
use crate::lag::cluster::Cluster;
use crate::lag::ids::{ClusterName, TopicId, TopicName};
use crate::lag::settings::Settings;
use crate::store::Store;

/// Everything to go on with.
#[derive(Debug)]
pub(super) struct Warm {
    pub(super) cluster: Cluster,
    pub(super) resume: Resume,
    /// What another process knew about topics.
    pub(super) topics: KnownTopics,
}

/// Topics with their ids and numbers of partitions.
pub(super) type KnownTopics = Vec<(TopicName, Option<TopicId>, i32)>;

/// What the store has of a cluster; none when it has nothing.
///
/// # Errors
/// Why it cannot be used.
pub(super) fn load(
    store: &Store,
    name: &ClusterName,
    settings: &ClusterSettings,
    core: Settings,
) -> Result<Option<Warm>, String> {
    let Some(found) = store.snapshot(name)? else {
        return Ok(None);
    };
    if let Some(difference) = difference(&found.head.settings, &comparable(settings)) {
        return Err(difference);
    }
    let cluster = found.restore(name.clone(), core);
    let cluster = cluster.map_err(|broken| broken.to_string())?;
    let real = cluster.real_topics();
    let topics = real.map(|(topic, id, partitions)| (topic.clone(), id, partitions));
    let topics = topics.collect();
    Ok(Some(Warm {
        cluster,
        resume: Resume {
            position: found.head.position,
            saved_at: found.head.saved_at,
        },
        topics,
    }))
}

/// The settings that decide what is remembered, as they are written in the configuration.
pub(super) fn comparable(settings: &ClusterSettings) -> Vec<(String, String)> {
    let ClusterSettings {
        kafka,
        rules,
        groups,
        limits,
    } = settings;
    // What judges what is remembered may change: `minimum_complete`, `allowed_lag`. How Kafka is
    // reached may, too: the cluster's own id is compared.
    let KafkaSettings {
        offsets_topic,
        start,
        isolation,
        ..
    } = kafka;
    [
        ("kafka.offsets_topic", offsets_topic.clone()),
        ("kafka.start", format!("{start:?}")),
        ("kafka.isolation", format!("{isolation:?}")),
        ("rules.intervals", rules.intervals.to_string()),
        ("rules.offset_refresh", show_duration(rules.offset_refresh)),
        ("rules.min_distance", show_duration(rules.min_distance)),
        ("rules.expire_group", show_duration(rules.expire_group)),
        ("rules.commit_lag", format!("{:?}", rules.commit_lag)),
        ("groups", format!("{groups:?}")),
        ("limits.groups", limits.groups.to_string()),
        ("limits.partitions", limits.partitions.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

fn difference(saved: &[(String, String)], now: &[(String, String)]) -> Option<String> {
    if saved.len() != now.len() {
        return Some("it was saved with other settings".to_owned());
    }
    let mut pairs = saved.iter().zip(now);
    pairs.find_map(
        |((saved, was), (name, is))| match (saved == name, was == is) {
            (true, true) => None,
            (true, false) => Some(format!("{name} was {was}, and is {is}")),
            (false, _) => Some("it was saved with other settings".to_owned()),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::patterns::Patterns;
    use crate::kafka::client::{Isolation, Start};
    use crate::lag::settings::CommitLag;
    use std::time::Duration;

    #[test]
    fn any_setting_that_decides_what_is_remembered_refuses() {
        type Change = fn(&mut ClusterSettings);
        let cases: [(Change, &str); 12] = [
            (|_| {}, ""),
            (
                |s| s.kafka.offsets_topic = "other".to_owned(),
                "kafka.offsets_topic was __consumer_offsets, and is other",
            ),
            (
                |s| s.kafka.start = Start::Latest,
                "kafka.start was Earliest, and is Latest",
            ),
            (
                |s| s.kafka.isolation = Isolation::ReadCommitted,
                "kafka.isolation was ReadUncommitted, and is ReadCommitted",
            ),
            (
                |s| s.rules.intervals = 20,
                "rules.intervals was 10, and is 20",
            ),
            (
                |s| s.rules.offset_refresh = Duration::from_secs(60),
                "rules.offset_refresh was 10s, and is 1m",
            ),
            (
                |s| s.rules.min_distance = Duration::from_secs(1),
                "rules.min_distance was 0s, and is 1s",
            ),
            (
                |s| s.rules.expire_group = Duration::from_secs(86_400),
                "rules.expire_group was 7d, and is 1d",
            ),
            (
                |s| s.rules.commit_lag = CommitLag::Interpolated,
                "rules.commit_lag was LastPoll, and is Interpolated",
            ),
            (
                |s| s.groups = Patterns::new(&["a*".to_owned()], &[]).unwrap(),
                "groups was include [\"*\"] exclude [], and is include [\"a*\"] exclude []",
            ),
            (
                |s| s.limits.groups = 5,
                "limits.groups was 100000, and is 5",
            ),
            (
                |s| s.limits.partitions = 5,
                "limits.partitions was 5000000, and is 5",
            ),
        ];
        let before = ClusterSettings::new(vec!["k:9092".to_owned()]);
        for (change, expected) in cases {
            let mut after = before.clone();
            change(&mut after);
            let said = difference(&comparable(&before), &comparable(&after));
            assert_eq!(said.unwrap_or_default(), expected);
        }
    }

    #[test]
    fn settings_that_only_judge_or_connect_may_change() {
        let before = ClusterSettings::new(vec!["k:9092".to_owned()]);
        let mut after = ClusterSettings::new(vec!["other:9092".to_owned()]);
        after.rules.allowed_lag = 100;
        after.rules.minimum_complete = 0.5;
        assert_eq!(difference(&comparable(&before), &comparable(&after)), None);
        let mut of_another_version = comparable(&before);
        of_another_version.pop();
        assert!(difference(&of_another_version, &comparable(&after)).is_some());
    }
}
