//! Which Kafka a broker looks like, from the requests it speaks.
//!
//! No request asks a broker for its version. librdkafka logs the newest version of each request that a
//! broker offers (debug context "feature"); some of them came with a known release.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

use super::super::context::KafkaContext;
use crate::lag::ids::ClusterName;

/// (request, its version, the release it came with), newest first. From the comments of Kafka's
/// message files: ListOffsets (2), OffsetCommit (8).
const RELEASES: [(i16, i16, &str); 8] = [
    (2, 11, "4.2"),
    (8, 10, "4.1"),
    (2, 10, "4.0"),
    (2, 9, "3.9"),
    (2, 8, "3.6"),
    (2, 7, "3.0"),
    (2, 6, "2.8"),
    (2, 5, "2.3"),
];

/// Keeps what brokers say they speak, and passes everything else on.
#[derive(Debug)]
pub(super) struct CheckContext {
    kafka: KafkaContext,
    /// The newest version of each request that every broker speaks.
    spoken: Mutex<BTreeMap<i16, i16>>,
}

impl Default for CheckContext {
    fn default() -> Self {
        Self {
            kafka: KafkaContext::new(ClusterName::new("check")),
            spoken: Mutex::default(),
        }
    }
}

impl CheckContext {
    /// Where the reason of failures is.
    pub(super) fn kafka(&self) -> &KafkaContext {
        &self.kafka
    }

    /// In words, when any broker was heard.
    pub(super) fn version_hint(&self) -> Option<String> {
        let spoken = self.spoken.lock().unwrap_or_else(PoisonError::into_inner);
        version_hint(&spoken)
    }
}

impl ClientContext for CheckContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        let Some((request, version)) = spoken(line) else {
            self.kafka.log(level, facility, line);
            return;
        };
        let mut spoken = self.spoken.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = spoken.entry(request).or_insert(version);
        *newest = version.min(*newest);
    }

    fn stats_raw(&self, _statistics: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        ClientContext::error(&self.kafka, error, reason);
    }
}

impl ConsumerContext for CheckContext {}

/// "...  ApiKey ListOffsets (2) Versions 1..11" as (2, 11).
fn spoken(line: &str) -> Option<(i16, i16)> {
    let (_, rest) = line.split_once("ApiKey ")?;
    let (_, rest) = rest.split_once('(')?;
    let (request, rest) = rest.split_once(") Versions ")?;
    let (_, newest) = rest.split_once("..")?;
    Some((request.parse().ok()?, newest.trim().parse().ok()?))
}

fn version_hint(spoken: &BTreeMap<i16, i16>) -> Option<String> {
    if spoken.is_empty() {
        return None;
    }
    let speaks = |(request, version, _): &&(i16, i16, &str)| {
        spoken.get(request).is_some_and(|newest| newest >= version)
    };
    Some(match RELEASES.iter().find(speaks) {
        Some((_, _, release)) => format!("speaks like Kafka {release} or newer"),
        None => "speaks like a Kafka older than 2.3".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_about_requests_are_told_from_others() {
        for (line, expected) in [
            (
                "[thrd:a:1/bootstrap]: a:1/bootstrap:   ApiKey ListOffsets (2) Versions 1..11",
                Some((2, 11)),
            ),
            (
                "a:1/1:   ApiKey Unknown-99? (99) Versions 0..0",
                Some((99, 0)),
            ),
            ("a:1/1: Broker API support:", None),
            ("a:1/1: ApiKey (", None),
            ("a:1/1: ApiKey X (2) Versions 1..99999999", None),
        ] {
            assert_eq!(spoken(line), expected, "{line}");
        }
    }

    #[test]
    fn the_newest_known_request_names_the_release() {
        for (requests, expected) in [
            (
                &[(2, 11), (8, 10)][..],
                Some("speaks like Kafka 4.2 or newer"),
            ),
            (&[(2, 10), (8, 10)], Some("speaks like Kafka 4.1 or newer")),
            (&[(2, 10), (8, 9)], Some("speaks like Kafka 4.0 or newer")),
            (&[(2, 9), (8, 9)], Some("speaks like Kafka 3.9 or newer")),
            (&[(2, 12)], Some("speaks like Kafka 4.2 or newer")),
            (&[(2, 1)], Some("speaks like a Kafka older than 2.3")),
            (&[], None),
        ] {
            let spoken: BTreeMap<i16, i16> = requests.iter().copied().collect();
            assert_eq!(version_hint(&spoken).as_deref(), expected, "{requests:?}");
        }
    }
}
