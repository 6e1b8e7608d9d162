//! The only unsafe code: questions that rdkafka's safe interface does not offer (ListOffsets with
//! errors per partition, DescribeTopics with topic ids) or answers with a panic (names that are not
//! UTF-8).
//!
//! Outside of this module everything is safe types. Names are checked: one that is not UTF-8 is left
//! out and counted, never a panic and never a changed name. Error codes are numbers ([`Code`]),
//! because a newer broker may send one that librdkafka's enum does not have. Nothing here waits
//! longer than it is told, retries, or decides.

#![allow(
    unsafe_code,
    reason = "the C interface of librdkafka; each block says why it is sound"
)]

use std::ffi::{CStr, CString, c_char, c_int};
use std::fmt;

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys::types::{RDKafka, RDKafkaRespErr, RDKafkaTopic};
use rdkafka_sys::{rd_kafka_error_t, rd_kafka_event_t, rd_kafka_metadata as Metadata};

pub mod admin;
pub mod feed;
pub mod metadata;

// Declared again with the plain int that C returns: as the Rust enum of rdkafka-sys an error code of
// a newer broker would be undefined behaviour.
unsafe extern "C" {
    fn rd_kafka_error_code(error: *const rd_kafka_error_t) -> c_int;
    fn rd_kafka_event_error(event: *mut rd_kafka_event_t) -> c_int;
    fn rd_kafka_metadata(
        client: *mut RDKafka,
        all_topics: c_int,
        only: *mut RDKafkaTopic,
        answer: *mut *const Metadata,
        timeout_ms: c_int,
    ) -> c_int;
}

/// An error code of Kafka (positive) or of librdkafka (negative).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(i32);

impl Code {
    pub const UNKNOWN_TOPIC_OR_PARTITION: Code = Code(3);
    pub const LEADER_NOT_AVAILABLE: Code = Code(5);
    pub const NOT_LEADER_OR_FOLLOWER: Code = Code(6);
    pub const TOPIC_AUTHORIZATION_FAILED: Code = Code(29);
    pub const CLUSTER_AUTHORIZATION_FAILED: Code = Code(31);
    /// librdkafka: an argument that cannot be.
    pub const INVALID_ARGUMENT: Code = Code(-186);
    /// librdkafka: the end of a partition, not an error.
    pub const PARTITION_EOF: Code = Code(-191);
    /// librdkafka: the position is not in the log, and nobody said where to go on.
    pub const AUTO_OFFSET_RESET: Code = Code(-140);
    /// librdkafka: the log was cut off in front of the position.
    pub const LOG_TRUNCATION: Code = Code(-139);
    /// librdkafka: nobody answered in time.
    pub const TIMED_OUT: Code = Code(-185);
    /// librdkafka: the connection failed.
    pub const TRANSPORT: Code = Code(-195);

    /// Wraps the number of the wire protocol.
    pub const fn new(number: i32) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn number(self) -> i32 {
        self.0
    }

    /// Whether another broker may lead the partition by now, so that fresh metadata may help.
    pub fn is_about_leaders(self) -> bool {
        matches!(
            self.0,
            // UNKNOWN_TOPIC_OR_PARTITION (also a leader that just lost the partition),
            // LEADER_NOT_AVAILABLE, NOT_LEADER_OR_FOLLOWER, REPLICA_NOT_AVAILABLE,
            // KAFKA_STORAGE_ERROR, FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH
            3 | 5 | 6 | 9 | 56 | 74 | 75
            // librdkafka: no leader found, unknown topic, unknown partition
            | -156 | -188 | -190
        )
    }

    fn known(self) -> Option<RDKafkaErrorCode> {
        RDKafkaRespErr::try_from(self.0)
            .ok()
            .map(RDKafkaErrorCode::from)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known() {
            Some(code) => code.fmt(f),
            None => write!(f, "kafka error {}", self.0),
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Adds brokers, "host:port" between commas, to those that `client` knows.
pub fn add_brokers<C: ClientContext>(client: &Client<C>, servers: &str) {
    let Ok(servers) = CString::new(servers) else {
        return; // no client exists with such servers
    };
    // SAFETY: the client lives as long as the borrow; librdkafka copies the text.
    unsafe { rdkafka_sys::rd_kafka_brokers_add(client.native_ptr(), servers.as_ptr()) };
}

/// Reads the number of an error field that librdkafka filled from the wire, as a plain int.
///
/// # Safety
/// `field` must point to a readable field.
unsafe fn code_at(field: *const RDKafkaRespErr) -> Option<Code> {
    // SAFETY: the enum is `repr(i32)`, so the field is a readable, aligned i32.
    failed(unsafe { field.cast::<c_int>().read() })
}

/// 0 is no error.
fn failed(number: c_int) -> Option<Code> {
    (number != 0).then_some(Code(number))
}

/// The text at `text`; `None` for null and for what is not UTF-8.
///
/// # Safety
/// `text` is null or points to a NUL-terminated string that lives and stays unchanged for `'a`.
unsafe fn text_at<'a>(text: *const c_char) -> Option<&'a str> {
    if text.is_null() {
        return None;
    }
    // SAFETY: not null, and the caller promises the rest.
    unsafe { CStr::from_ptr(text) }.to_str().ok()
}

/// Pointers to the `count` elements at `first`; none for null and for nonsense counts. Pointers, not
/// references: an element may hold an error code that the Rust enum of its type does not have.
///
/// # Safety
/// `first` is null or points to `count` elements in one allocation.
unsafe fn elements<T>(
    first: *const T,
    count: impl TryInto<usize>,
) -> impl ExactSizeIterator<Item = *const T> {
    let count = if first.is_null() {
        0
    } else {
        count.try_into().unwrap_or(0)
    };
    (0..count).map(move |index| {
        // SAFETY: `index` is below `count`, and the caller promises the allocation.
        unsafe { first.add(index) }
    })
}

/// librdkafka counts milliseconds as C ints; anything longer than an hour is an hour. Less than one is
/// one, but nothing stays nothing: whoever looks without waiting does so a thousand times a second.
fn timeout_ms(timeout: std::time::Duration) -> c_int {
    if timeout.is_zero() {
        return 0;
    }
    let ms = timeout.as_millis().clamp(1, 3_600_000);
    c_int::try_from(ms).unwrap_or(3_600_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_stay_within_what_librdkafka_takes() {
        use std::time::Duration;
        for (why, timeout, expected) in [
            ("a look without waiting does not wait", Duration::ZERO, 0),
            ("a short wait is one", Duration::from_micros(1), 1),
            ("in whole milliseconds", Duration::from_millis(1500), 1500),
            ("at most an hour", Duration::MAX, 3_600_000),
        ] {
            assert_eq!(timeout_ms(timeout), expected, "{why}");
        }
    }

    #[test]
    fn codes_librdkafka_does_not_know_are_numbers() {
        assert_eq!(Code::new(32_000).to_string(), "kafka error 32000");
        let known = Code::TOPIC_AUTHORIZATION_FAILED.to_string();
        assert!(known.contains("authorization"), "{known}");
    }

    #[test]
    fn leader_errors_are_those_fresh_metadata_may_cure() {
        for (code, expected) in [
            (Code::NOT_LEADER_OR_FOLLOWER, true),
            (Code::LEADER_NOT_AVAILABLE, true),
            // A broker that just lost the partition answers so.
            (Code::UNKNOWN_TOPIC_OR_PARTITION, true),
            // The epoch of the cached metadata is too old.
            (Code::new(74), true),
            // Nothing that asking again soon would change.
            (Code::TOPIC_AUTHORIZATION_FAILED, false),
            // A slow broker is still the leader.
            (Code::TIMED_OUT, false),
            (Code::new(32_000), false),
        ] {
            assert_eq!(code.is_about_leaders(), expected, "{code}");
        }
    }
}
