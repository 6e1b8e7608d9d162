//! What a bulk answer says about each document.

use serde::Deserialize;

use crate::sinks::http::{Answer, Class, Peer, class_of};
use crate::sinks::{Accepted, WriteError};

#[derive(Deserialize)]
struct BulkAnswer {
    errors: bool,
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    create: Outcome,
}

#[derive(Deserialize)]
struct Outcome {
    status: u16,
    error: Option<Cause>,
}

#[derive(Deserialize)]
struct Cause {
    #[serde(default, rename = "type")]
    kind: String,
    reason: Option<String>,
}

impl Outcome {
    fn reason(&self, peer: &Peer) -> String {
        let Some(cause) = &self.error else {
            return format!("status {}", self.status);
        };
        let reason = cause.reason.as_deref().unwrap_or_default();
        let is_too_old = cause.kind == "timestamp_error"
            || reason.contains("outside of ranges of currently writable indices");
        let prefix = if is_too_old { "too_old: " } else { "" };
        peer.words(&format!("{prefix}{}: {reason}", cause.kind))
    }
}

/// Documents by what to do with them.
#[derive(Default)]
struct Sorted {
    written: usize,
    known: u64,
    rejected: Vec<(usize, String)>,
    /// Busy: again.
    busy: Vec<usize>,
    /// Not allowed or not there: a person must do something, nothing is wrong with the document.
    blocked: Vec<usize>,
    /// The first reason for each of the two.
    busy_reason: Option<String>,
    blocked_reason: Option<String>,
}

/// Turns the answer to a bulk request of `len` documents, which came with a 2xx, into an outcome.
pub(super) fn outcome(
    answer: &Answer,
    len: usize,
    bytes: u64,
    peer: &Peer,
) -> Result<Accepted, WriteError> {
    let parsed = serde_json::from_str::<BulkAnswer>(&answer.body).ok();
    let Some(bulk) = parsed.filter(|bulk| bulk.items.len() == len) else {
        let said = peer.words(&answer.body.chars().take(100).collect::<String>());
        return Err(WriteError::Misconfigured {
            reason: format!("{peer} did not answer as Elasticsearch does ({said}): check the url"),
        });
    };
    if !bulk.errors {
        return Ok(Accepted { bytes, known: 0 });
    }
    let mut sorted = Sorted::default();
    for (index, item) in bulk.items.iter().enumerate() {
        sorted.add(index, &item.create, peer);
    }
    sorted.outcome(bytes, peer, answer)
}

impl Sorted {
    fn add(&mut self, index: usize, outcome: &Outcome, peer: &Peer) {
        let reason = || outcome.reason(peer);
        match (outcome.status, class_of(outcome.status)) {
            // It was there already: an earlier try had worked.
            (409, _) => {
                self.written += 1;
                self.known += 1;
            }
            (_, Class::Accepted) => self.written += 1,
            (_, Class::Transient) => {
                self.busy.push(index);
                self.busy_reason.get_or_insert_with(reason);
            }
            (401 | 403 | 404, _) => {
                self.blocked.push(index);
                self.blocked_reason.get_or_insert_with(reason);
            }
            (_, Class::Misconfigured | Class::Refused | Class::TooLarge) => {
                self.rejected.push((index, reason()));
            }
        }
    }

    fn outcome(self, bytes: u64, peer: &Peer, answer: &Answer) -> Result<Accepted, WriteError> {
        if self.rejected.is_empty() && self.busy.is_empty() && self.blocked.is_empty() {
            let known = self.known;
            return Ok(Accepted { bytes, known });
        }
        if self.written == 0 && self.rejected.is_empty() {
            // Nothing happened at all: say why, so that health can.
            if let (Some(reason), true) = (&self.blocked_reason, self.busy.is_empty()) {
                return Err(WriteError::Misconfigured {
                    reason: format!("{peer} refuses documents: {reason}"),
                });
            }
            let reason = self.busy_reason.or(self.blocked_reason).unwrap_or_default();
            return Err(WriteError::Transient {
                reason: format!("{peer} is busy: {reason}"),
                retry_after: answer.retry_after,
            });
        }
        let mut retry = self.busy;
        retry.extend(self.blocked);
        retry.sort_unstable();
        Err(WriteError::Partial {
            rejected: self.rejected,
            retry,
            retry_after: answer.retry_after,
        })
    }
}
