//! What librdkafka says in the background: its errors, kept as the reason why a cluster does not
//! answer, and its log, forwarded to `tracing`.
//!
//! librdkafka answers a failed question with no more than "transport failure" or "timed out"; why the
//! connection failed (a wrong password, an unknown certificate) only comes through the error
//! callback. Reconnecting repeats the same lines many times a minute, so equal ones are limited.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::clock::Stopwatch;
use crate::lag::ids::ClusterName;

/// How long a reason explains later failures.
const REASON_AGE: Duration = Duration::from_secs(120);
/// How long nobody answers until the client is given its bootstrap servers again; doubles each time.
const SILENCE: Duration = Duration::from_secs(10);
const SILENCE_MAX: Duration = Duration::from_secs(600);
/// Equal log lines within this time are counted instead of shown.
const REPEAT_INTERVAL: Duration = Duration::from_secs(60);
/// Kinds of log lines that are told apart; librdkafka has some dozens.
const REPEAT_KINDS: usize = 128;

/// Receives what librdkafka has to say about one client.
#[derive(Debug)]
pub struct KafkaContext {
    cluster: ClusterName,
    since: Stopwatch,
    reason: Mutex<Option<Reason>>,
    silence: Mutex<Silence>,
    repeats: Mutex<Repeats>,
}

/// Since when nobody answers.
#[derive(Debug)]
struct Silence {
    since: Duration,
    /// How long it has to last until something is done about it.
    patience: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Reason {
    weight: Weight,
    text: String,
    at: Duration,
}

/// How much an error explains; a heavier reason is not replaced by a lighter one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    /// "all brokers are down", "timed out": what everybody knows already.
    Symptom,
    /// No connection.
    Connection,
    /// A person must change something.
    Refused,
}

impl KafkaContext {
    /// A context of one client of `cluster`.
    pub fn new(cluster: ClusterName) -> Self {
        Self {
            cluster,
            since: Stopwatch::start(),
            reason: Mutex::default(),
            silence: Mutex::new(Silence {
                since: Duration::ZERO,
                patience: SILENCE,
            }),
            repeats: Mutex::default(),
        }
    }

    /// Why the cluster does not answer, in words with the next step, as far as librdkafka said it
    /// within the last two minutes. Only filled while the client is polled.
    pub fn reason(&self) -> Option<String> {
        let now = self.since.elapsed();
        lock(&self.reason)
            .as_ref()
            .filter(|reason| now.saturating_sub(reason.at) < REASON_AGE)
            .map(|reason| reason.text.clone())
    }

    /// The cluster answers: forgets the reason.
    pub fn answered(&self) {
        self.answered_at(self.since.elapsed());
    }

    fn answered_at(&self, now: Duration) {
        *lock(&self.reason) = None;
        *lock(&self.silence) = Silence {
            since: now,
            patience: SILENCE,
        };
    }

    /// Whether nobody has answered for so long that the bootstrap servers are due to be given again.
    /// Says so once for each time it is due.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost_at(self.since.elapsed())
    }

    fn is_lost_at(&self, now: Duration) -> bool {
        let mut silence = lock(&self.silence);
        let is_due = now.saturating_sub(silence.since) >= silence.patience;
        if is_due {
            silence.since = now;
            silence.patience = SILENCE_MAX.min(2 * silence.patience);
        }
        is_due
    }

    fn keep(&self, new: Reason) {
        let mut reason = lock(&self.reason);
        let stronger = reason.as_ref().is_some_and(|old| {
            old.weight > new.weight && new.at.saturating_sub(old.at) < REASON_AGE
        });
        if !stronger {
            *reason = Some(new);
        }
    }
}

impl ClientContext for KafkaContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        // A broker that hangs up is no error to librdkafka; only its log says so, with the likely cause.
        if facility == "FAIL" && !matches!(level, RDKafkaLogLevel::Debug) {
            let (weight, text) = explain_failure(line);
            self.keep(Reason {
                weight,
                text,
                at: self.since.elapsed(),
            });
        }
        let repeats = match level {
            RDKafkaLogLevel::Debug => 0,
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning
            | RDKafkaLogLevel::Notice
            | RDKafkaLogLevel::Info => {
                match lock(&self.repeats).admit(facility, self.since.elapsed()) {
                    Some(repeats) => repeats,
                    None => return,
                }
            }
        };
        let cluster = self.cluster.as_str();
        match level {
            // librdkafka goes on by itself after each of these.
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => {
                tracing::warn!(target: "librdkafka", cluster, facility, repeats, "{line}");
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::debug!(target: "librdkafka", cluster, facility, repeats, "{line}");
            }
            RDKafkaLogLevel::Debug => {
                tracing::trace!(target: "librdkafka", cluster, facility, "{line}");
            }
        }
    }

    fn stats_raw(&self, _statistics: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else {
            return;
        };
        let (weight, text) = explain(code, reason);
        self.keep(Reason {
            weight,
            text,
            at: self.since.elapsed(),
        });
    }
}

impl ConsumerContext for KafkaContext {}

/// The error in words with the next step; `detail` is librdkafka's text.
fn explain(code: RDKafkaErrorCode, detail: &str) -> (Weight, String) {
    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "librdkafka has some 150 codes, all others need no advice"
    )]
    match code {
        RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => (
            Weight::Refused,
            format!("authentication failed; check mechanism, username and password ({detail})"),
        ),
        RDKafkaErrorCode::UnsupportedSASLMechanism => (
            Weight::Refused,
            format!("the broker does not take this sasl mechanism ({detail})"),
        ),
        RDKafkaErrorCode::SSL => (
            Weight::Refused,
            format!("tls failed; check ca_file and that the listener speaks tls ({detail})"),
        ),
        RDKafkaErrorCode::ClusterAuthorizationFailed => (
            Weight::Refused,
            format!("the cluster refuses this user ({detail})"),
        ),
        RDKafkaErrorCode::Resolve => (
            Weight::Connection,
            format!("a broker's name does not resolve; check bootstrap_servers ({detail})"),
        ),
        RDKafkaErrorCode::AllBrokersDown => (
            Weight::Symptom,
            format!("no broker can be reached ({detail})"),
        ),
        RDKafkaErrorCode::BrokerTransportFailure => (
            Weight::Connection,
            format!("a broker cannot be reached ({detail})"),
        ),
        _ => (Weight::Symptom, detail.to_owned()),
    }
}

/// The same for a line about a broken connection.
fn explain_failure(line: &str) -> (Weight, String) {
    // "[thrd:name]: broker: what happened"
    let detail = line.split_once("]: ").map_or(line, |(_, detail)| detail);
    // The first thing a client sends: a broker that hangs up then does not understand it.
    let at_first_word = detail.contains("in state APIVERSION_QUERY");
    if at_first_word || detail.contains("security.protocol") {
        let text = format!(
            "the broker hangs up; check that tls and sasl are set as its listener wants them ({detail})"
        );
        return (Weight::Refused, text);
    }
    // The line may come before the error event that says the same with a code of its own.
    if detail.contains("SASL authentication error") {
        return explain(RDKafkaErrorCode::Authentication, detail);
    }
    explain(RDKafkaErrorCode::BrokerTransportFailure, detail)
}

/// Lets the first of equal lines through, then one a minute with the number of those left out.
#[derive(Debug, Default)]
struct Repeats(HashMap<String, Repeat>);

#[derive(Debug)]
struct Repeat {
    shown_at: Duration,
    left_out: u64,
}

impl Repeats {
    /// How many lines of this `kind` were left out before this one; `None` when it is left out too.
    fn admit(&mut self, kind: &str, now: Duration) -> Option<u64> {
        if let Some(repeat) = self.0.get_mut(kind) {
            if now.saturating_sub(repeat.shown_at) < REPEAT_INTERVAL {
                repeat.left_out += 1;
                return None;
            }
            repeat.shown_at = now;
            return Some(std::mem::take(&mut repeat.left_out));
        }
        if self.0.len() >= REPEAT_KINDS {
            self.0.clear();
        }
        let first = Repeat {
            shown_at: now,
            left_out: 0,
        };
        self.0.insert(kind.to_owned(), first);
        Some(0)
    }
}

/// A poisoned lock only means that a log line was cut short.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(context: &KafkaContext, code: RDKafkaErrorCode, detail: &str) {
        ClientContext::error(context, KafkaError::Global(code), detail);
    }

    #[test]
    fn the_reason_that_explains_most_stays() {
        use RDKafkaErrorCode::{AllBrokersDown, Authentication, BrokerTransportFailure};
        let context = KafkaContext::new(ClusterName::new("c"));
        assert_eq!(context.reason(), None);
        error(&context, AllBrokersDown, "1/1 down");
        assert_eq!(
            context.reason().as_deref(),
            Some("no broker can be reached (1/1 down)")
        );
        error(&context, Authentication, "bad password");
        error(&context, BrokerTransportFailure, "disconnected");
        error(&context, AllBrokersDown, "1/1 down");
        let reason = context.reason().expect("a reason");
        assert!(reason.starts_with("authentication failed"), "{reason}");
        context.answered();
        assert_eq!(context.reason(), None);
    }

    #[test]
    fn a_silent_cluster_is_looked_for_less_and_less_often() {
        let context = KafkaContext::new(ClusterName::new("c"));
        let lost = |from: u64, to: u64| -> Vec<u64> {
            let seconds =
                (from..to).filter(|second| context.is_lost_at(Duration::from_secs(*second)));
            seconds.collect()
        };
        assert_eq!(lost(0, 80), [10, 30, 70]);
        context.answered_at(Duration::from_secs(80));
        assert_eq!(
            lost(80, 5000),
            [
                90, 110, 150, 230, 390, 710, 1310, 1910, 2510, 3110, 3710, 4310, 4910
            ]
        );
    }

    #[test]
    fn a_broker_that_hangs_up_is_a_reason_too() {
        let line = "[thrd:a:1/bootstrap]: a:1/bootstrap: Disconnected: verify that security.protocol is \
                    correctly configured";
        for (level, facility, line, expected) in [
            (RDKafkaLogLevel::Debug, "FAIL", line, None),
            (RDKafkaLogLevel::Info, "REQTMOUT", line, None),
            (
                RDKafkaLogLevel::Info,
                "FAIL",
                "[thrd:a:1/1]: a:1/1: SASL authentication error: no (after 1ms in state AUTH_REQ)",
                Some(
                    "authentication failed; check mechanism, username and password (a:1/1: SASL \
                     authentication error: no (after 1ms in state AUTH_REQ))",
                ),
            ),
            (
                RDKafkaLogLevel::Info,
                "FAIL",
                "[thrd:a:1/1]: a:1/1: Disconnected (after 1ms in state UP)",
                Some("a broker cannot be reached (a:1/1: Disconnected (after 1ms in state UP))"),
            ),
            (
                RDKafkaLogLevel::Info,
                "FAIL",
                line,
                Some(
                    "the broker hangs up; check that tls and sasl are set as its listener wants them \
                     (a:1/bootstrap: Disconnected: verify that security.protocol is correctly \
                     configured)",
                ),
            ),
            (
                RDKafkaLogLevel::Info,
                "FAIL",
                "a:1/1: Disconnected: closed by peer (after 1ms in state APIVERSION_QUERY)",
                Some(
                    "the broker hangs up; check that tls and sasl are set as its listener wants them \
                     (a:1/1: Disconnected: closed by peer (after 1ms in state APIVERSION_QUERY))",
                ),
            ),
        ] {
            let context = KafkaContext::new(ClusterName::new("c"));
            context.log(level, facility, line);
            assert_eq!(context.reason().as_deref(), expected, "{facility}");
        }
    }

    #[test]
    fn equal_lines_come_once_a_minute_with_their_count() {
        let mut repeats = Repeats::default();
        let at = Duration::from_secs;
        for (kind, now, expected) in [
            ("FAIL", 0, Some(0)),
            ("FAIL", 1, None),
            ("REQTMOUT", 1, Some(0)),
            ("FAIL", 59, None),
            ("FAIL", 60, Some(2)),
            ("FAIL", 61, None),
            ("FAIL", 120, Some(1)),
        ] {
            assert_eq!(repeats.admit(kind, at(now)), expected, "{kind} at {now}");
        }
    }

    #[test]
    fn kinds_of_lines_are_bounded() {
        let mut repeats = Repeats::default();
        for kind in 0..1000 {
            repeats.admit(&kind.to_string(), Duration::ZERO);
        }
        assert!(repeats.0.len() <= REPEAT_KINDS);
    }
}
