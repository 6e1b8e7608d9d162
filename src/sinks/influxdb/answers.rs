//! What InfluxDB says about bad points, as points of the batch.
//!
//! Every version says it in its own way (measured on 1.6.7 and 2.9.1, v3 from its documentation):
//!
//! | | lines that cannot be parsed | field type conflict, retention |
//! |---|---|---|
//! | v1 | each named, the rest is stored | counted, the first conflict described, the rest stored |
//! | v2 | each named, nothing is stored | as v1 |
//! | v3 | each by its number, the rest is stored | as lines |
//!
//! Where the answer does not say which points are bad, or was cut, everything that is not known to
//! be bad is sent again: the same point twice is one point.

use std::collections::HashMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::line_protocol::Encoded;
use crate::points::Batch;
use crate::sinks::WriteError;
use crate::sinks::http::{Answer, Peer};

/// Which of the three write interfaces answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    V1,
    V2,
    V3,
}

/// The server's own words: of a JSON answer its `error` (v1, v3) or `message` (v2), otherwise the
/// text. A cut JSON text is read as far as it goes.
pub(super) fn message(answer: &Answer) -> String {
    #[derive(Deserialize)]
    struct Body {
        error: Option<String>,
        message: Option<String>,
    }
    if let Ok(body) = serde_json::from_str::<Body>(&answer.body) {
        return body.message.or(body.error).unwrap_or_default();
    }
    ["\"message\":\"", "\"error\":\""]
        .iter()
        .find_map(|key| answer.body.split_once(key))
        .map_or_else(|| answer.body.clone(), |(_, text)| cut_json_text(text))
}

/// The words in front of the first quoted line, which could say anything.
pub(super) fn own_words(message: &str) -> &str {
    message.split(UNPARSED).next().unwrap_or_default()
}

/// The text of a JSON string whose end may be missing.
fn cut_json_text(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut end = 0;
    while end < bytes.len() && bytes[end] != b'"' {
        end += if bytes[end] == b'\\' { 2 } else { 1 };
    }
    // An escape that was cut in two: at most twelve bytes, a surrogate pair.
    let end = end.min(text.len());
    (0..=12)
        .filter_map(|less| text.get(..end.checked_sub(less)?))
        .find_map(|text| serde_json::from_str(&format!("\"{text}\"")).ok())
        .unwrap_or_default()
}

/// What to do with a batch of which something was refused with 400 or 422.
pub(super) fn refused(
    api: Api,
    answer: &Answer,
    encoded: &Encoded,
    batch: &Batch,
    peer: &Peer,
) -> WriteError {
    let message = message(answer);
    let known = match api {
        Api::V3 => numbered_lines(answer, encoded, peer),
        Api::V1 | Api::V2 => named_lines(&message, encoded, peer)
            .or_else(|| conflict(&message, batch, peer))
            .or_else(|| beyond_retention(&message, batch, peer)),
    };
    let reason = format!(
        "{peer} answered {}: {}",
        answer.status,
        peer.words(&message)
    );
    let Some(mut known) = known.filter(|known| !known.rejected.is_empty()) else {
        return if batch.len() > 1 {
            WriteError::Bisect { reason }
        } else {
            WriteError::Rejected { reason }
        };
    };
    known.rejected.sort_by_key(|(index, _)| *index);
    known.rejected.dedup_by_key(|(index, _)| *index);
    let is_rest_stored = known.is_rest_stored && api != Api::V2 && !answer.is_cut;
    let retry = if is_rest_stored {
        Vec::new()
    } else {
        rest(batch.len(), &known.rejected)
    };
    WriteError::Partial {
        rejected: known.rejected,
        retry,
        retry_after: None,
    }
}

/// The bad points an answer tells of.
struct Known {
    rejected: Vec<(usize, String)>,
    /// v1 and v3 have stored everything else, and nothing else was wrong.
    is_rest_stored: bool,
}

fn rest(len: usize, rejected: &[(usize, String)]) -> Vec<usize> {
    (0..len)
        .filter(|index| {
            rejected
                .binary_search_by_key(index, |(index, _)| *index)
                .is_err()
        })
        .collect()
}

const UNPARSED: &str = "unable to parse '";
const PARTIAL: &str = "partial write: ";

/// `unable to parse '<line>': why`, one a line; v1 puts `partial write: ` before the first and
/// ` dropped=0` behind the last.
fn named_lines(message: &str, encoded: &Encoded, peer: &Peer) -> Option<Known> {
    let mut known = Known {
        rejected: Vec::new(),
        is_rest_stored: true,
    };
    let mut indexes: Option<HashMap<&[u8], usize>> = None;
    for row in message.split('\n') {
        let Some(row) = row
            .strip_prefix(PARTIAL)
            .unwrap_or(row)
            .strip_prefix(UNPARSED)
        else {
            continue;
        };
        let indexes = indexes.get_or_insert_with(|| encoded.lines().zip(0..).collect());
        // A line may hold what ends it: the one that was sent is the right one.
        let found = row.match_indices("': ").find_map(|(end, mark)| {
            let index = indexes.get(&row.as_bytes()[..end])?;
            Some((*index, &row[end + mark.len()..]))
        });
        match found {
            Some((index, why)) => {
                let why = why.strip_suffix(" dropped=0").unwrap_or(why);
                known.rejected.push((index, peer.words(why)));
            }
            None => known.is_rest_stored = false,
        }
    }
    indexes.map(|_| known)
}

/// `field type conflict: input field "v" on measurement "m" is type float, already exists as type
/// integer dropped=2`: the points that have this field. Whether other points of the batch were bad
/// is not said (v1 does not even mention lines it could not parse): the rest is sent again.
fn conflict(message: &str, batch: &Batch, peer: &Peer) -> Option<Known> {
    let (_, words) = message.split_once("field type conflict: input field \"")?;
    let (field, words) = words.split_once("\" on measurement \"")?;
    let (measurement, _) = words.split_once('"')?;
    let indexes: Vec<usize> = (0..)
        .zip(batch.iter())
        .filter(|(_, point)| point.measurement().name() == measurement)
        .filter(|(_, point)| {
            let mut has = false;
            point.fields(&mut |name, _| has |= name == field);
            point.optional_fields(&mut |name, _| has |= name == field);
            has
        })
        .map(|(index, _)| index)
        .collect();
    // Fewer dropped than have the field: the conflict is in one of several shards only.
    if dropped(message).is_some_and(|dropped| dropped < indexes.len()) {
        return None;
    }
    Some(same_reason(indexes, &peer.words(message)))
}

/// `points beyond retention policy dropped=1` (v1), `dropped 1 points outside retention policy`
/// (v2): the oldest ones, whole beats of them.
fn beyond_retention(message: &str, batch: &Batch, peer: &Peer) -> Option<Known> {
    if !message.contains("retention policy") || message.contains("Upper Bound") {
        return None;
    }
    let dropped = dropped(message)?;
    let mut by_time: Vec<_> = (0..).zip(batch.iter().map(|point| point.at())).collect();
    by_time.sort_by_key(|(_, at)| *at);
    let last = by_time.get(dropped.checked_sub(1)?)?.1;
    if by_time.get(dropped).is_some_and(|(_, at)| *at == last) {
        return None;
    }
    let indexes = by_time.iter().take(dropped).map(|(index, _)| *index);
    let reason = format!("too_old: {}", peer.words(message));
    Some(same_reason(indexes.collect(), &reason))
}

fn same_reason(indexes: Vec<usize>, reason: &str) -> Known {
    Known {
        rejected: indexes
            .into_iter()
            .map(|index| (index, reason.to_owned()))
            .collect(),
        is_rest_stored: false,
    }
}

/// The number in `dropped=N` or `dropped N points`.
fn dropped(message: &str) -> Option<usize> {
    ["dropped=", "dropped "].iter().find_map(|word| {
        let (_, number) = message.rsplit_once(word)?;
        let end = number
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(number.len());
        number[..end].parse().ok()
    })
}

/// v3's `data`: a list with the number of each bad line, from 1.
fn numbered_lines(answer: &Answer, encoded: &Encoded, peer: &Peer) -> Option<Known> {
    #[derive(Deserialize)]
    struct BadLine {
        line_number: usize,
        #[serde(default)]
        error_message: String,
    }
    let (_, list) = answer.body.split_once("\"data\":")?;
    let list = list.trim_start().strip_prefix('[')?;
    // Points without a line are not counted by the server.
    let sent: Vec<usize> = (0..)
        .zip(encoded.lines())
        .filter(|(_, line)| !line.is_empty())
        .map(|(index, _)| index)
        .collect();
    let mut known = Known {
        rejected: Vec::new(),
        is_rest_stored: true,
    };
    for line in leading_items::<BadLine>(list) {
        match line.line_number.checked_sub(1).and_then(|at| sent.get(at)) {
            Some(index) => {
                let why = peer.words(&line.error_message);
                known.rejected.push((*index, why));
            }
            None => known.is_rest_stored = false,
        }
    }
    Some(known)
}

/// The complete items at the beginning of a JSON list, which may be cut.
fn leading_items<T: DeserializeOwned>(list: &str) -> Vec<T> {
    let mut items = Vec::new();
    let mut rest = list;
    loop {
        rest = rest.trim_start_matches(|c: char| c == ',' || c.is_ascii_whitespace());
        let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<T>();
        let Some(Ok(item)) = stream.next() else {
            return items;
        };
        items.push(item);
        rest = &rest[stream.byte_offset()..];
    }
}
