//! What a cluster remembers as bytes, and back.
//!
//! Pieces, as a frame has them (`part`): a head, then topics, then groups. Their checksums cover the moment of
//! saving and the place, so that pieces of two snapshots never mix. Groups name topics by their
//! number in the snapshot; all other names stand where they are used, and zstd finds them again.
//!
//! Reading is total: whatever the bytes are, the answer is a cluster or [`Broken`]. Snapshots do not
//! outlive a change of the format: one of another version is refused, and everything read again.
//! `tests/golden/snapshot.txt` pins the bytes of this version.

mod groups;
#[cfg(test)]
mod tests;
mod topics;

use super::bytes::{Bytes, Malformed, put_int, put_text, put_varint};
use super::part::{self, Kind};
use super::{Broken, Decoder, EncodeError, Encoded};
use crate::clock::Timestamp;
use crate::lag::cluster::Cluster;
use crate::lag::cluster::snapshot::{Restoring, Snapshot};
use crate::lag::event::{PartitionPosition, ReaderPosition};
use crate::lag::ids::{ClusterName, TopicId};
use crate::lag::settings::Settings;

/// The version this program writes, and the only one it reads.
pub const FORMAT: u8 = 1;

/// Partitions of one piece, about; a group or a topic is never split.
const PARTITIONS_PER_PIECE: usize = 8192;

/// What stands in front of the topics and groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotHead {
    /// The moment all of it was so.
    pub saved_at: Timestamp,
    /// Up to where the offsets topic is in it.
    pub position: ReaderPosition,
    /// Settings that decide what is remembered, by name.
    pub settings: Vec<(String, String)>,
}

/// A snapshot that was found, with its head read.
#[derive(Clone, Debug)]
pub struct FoundSnapshot {
    pub head: SnapshotHead,
    clock_offset_ms: Option<i64>,
    pieces: Vec<Box<[u8]>>,
}

/// Writes a snapshot: the head first.
///
/// # Errors
/// When a group or a topic is larger than a piece may be.
pub fn encode(head: &SnapshotHead, snapshot: &Snapshot<'_>) -> Result<Encoded, EncodeError> {
    let mut pieces = Pieces {
        wrapper: part::Wrapper::new()?,
        saved_at: head.saved_at,
        parts: vec![Box::default()],
    };
    let mut topics = topics::Piece::default();
    for topic in snapshot.topics() {
        topics.add(&topic, head.saved_at);
        if topics.partitions() >= PARTITIONS_PER_PIECE {
            pieces.push(Kind::SnapshotTopics, &topics.take())?;
        }
    }
    if !topics.is_empty() {
        pieces.push(Kind::SnapshotTopics, &topics.take())?;
    }
    let mut groups = groups::Piece::default();
    for group in snapshot.groups() {
        groups.add(&group, head.saved_at);
        if groups.partitions() >= PARTITIONS_PER_PIECE {
            pieces.push(Kind::SnapshotGroups, &groups.take())?;
        }
    }
    if !groups.is_empty() {
        pieces.push(Kind::SnapshotGroups, &groups.take())?;
    }
    let raw = encode_head(head, snapshot.clock_offset_ms(), pieces.parts.len());
    let mut parts = pieces.parts;
    parts[0] = pieces
        .wrapper
        .wrap(Kind::SnapshotHead, &raw, head.saved_at, 0)?;
    Ok(Encoded { parts })
}

struct Pieces {
    wrapper: part::Wrapper,
    saved_at: Timestamp,
    parts: Vec<Box<[u8]>>,
}

impl Pieces {
    fn push(&mut self, kind: Kind, raw: &[u8]) -> Result<(), EncodeError> {
        let place = self.parts.len();
        self.parts
            .push(self.wrapper.wrap(kind, raw, self.saved_at, place)?);
        Ok(())
    }
}

fn encode_head(head: &SnapshotHead, clock_offset_ms: Option<i64>, pieces: usize) -> Vec<u8> {
    let mut raw = vec![FORMAT];
    put_varint(&mut raw, pieces as u64);
    put_option(&mut raw, clock_offset_ms, put_int);
    let position = &head.position;
    put_option(&mut raw, position.cluster_id.as_deref(), put_text);
    put_option(&mut raw, position.topic_id, |raw, id| {
        raw.extend_from_slice(&id.0);
    });
    raw.push(position.life);
    put_varint(&mut raw, position.sizes.len() as u64);
    for size in &position.sizes {
        put_int(&mut raw, i64::from(*size));
    }
    put_varint(&mut raw, position.partitions.len() as u64);
    for partition in &position.partitions {
        put_int(&mut raw, partition.position);
        put_int(&mut raw, partition.complete_from);
        put_varint(&mut raw, u64::from(partition.truncations));
    }
    put_varint(&mut raw, head.settings.len() as u64);
    for (name, value) in &head.settings {
        put_text(&mut raw, name);
        put_text(&mut raw, value);
    }
    raw
}

impl FoundSnapshot {
    /// Reads the head of the snapshot of `saved_at`.
    ///
    /// # Errors
    /// When the head is not what was written, is of another version, or pieces are missing.
    pub fn open(saved_at: Timestamp, pieces: Vec<Box<[u8]>>) -> Result<Self, Broken> {
        let head = pieces.first().ok_or(Broken::new(0, "there is no head"))?;
        let raw = decoder()?.unwrap(Kind::SnapshotHead, head, saved_at, 0)?;
        let (head, clock_offset_ms, count) =
            decode_head(&raw, saved_at).map_err(|why| Broken::new(0, why.0))?;
        if count != pieces.len() {
            return Err(Broken::new(0, "pieces are missing"));
        }
        Ok(Self {
            head,
            clock_offset_ms,
            pieces,
        })
    }

    /// The cluster that was saved.
    ///
    /// # Errors
    /// When anything in the pieces is not what was written.
    pub fn restore(&self, name: ClusterName, settings: Settings) -> Result<Cluster, Broken> {
        let saved_at = self.head.saved_at;
        let mut restoring = Restoring::new(name, settings, self.clock_offset_ms);
        let mut decoder = decoder()?;
        let mut are_groups = false;
        for (place, piece) in self.pieces.iter().enumerate().skip(1) {
            let (kind, raw) = part::unwrap(&mut decoder.0, piece, saved_at, place)?;
            let restored = if kind == Kind::SnapshotTopics && !are_groups {
                topics::restore(&raw, saved_at, &mut restoring)
            } else if kind == Kind::SnapshotGroups {
                are_groups = true;
                groups::restore(&raw, saved_at, &mut restoring)
            } else {
                Err(Malformed("it is of another kind"))
            };
            restored.map_err(|why| Broken::new(place, why.0))?;
        }
        Ok(restoring.finish())
    }
}

fn decoder() -> Result<Decoder, Broken> {
    Decoder::new().map_err(|error| Broken::new(0, &error.to_string()))
}

type Head = (SnapshotHead, Option<i64>, usize);

fn decode_head(raw: &[u8], saved_at: Timestamp) -> Result<Head, Malformed> {
    let mut bytes = Bytes::new(raw);
    if bytes.byte()? != FORMAT {
        return Err(Malformed("it has another format version"));
    }
    let count =
        usize::try_from(bytes.varint()?).map_err(|_| Malformed("it has too many pieces"))?;
    let clock_offset_ms = option(&mut bytes, Bytes::int)?;
    let cluster_id = option(&mut bytes, |bytes| bytes.text().map(str::to_owned))?;
    let topic_id = option(&mut bytes, topic_id)?;
    let life = bytes.byte()?;
    let mut sizes = Vec::new();
    for _ in 0..bytes.count(bytes.len())? {
        sizes.push(int32(&mut bytes)?);
    }
    let mut partitions = Vec::new();
    for _ in 0..bytes.count(bytes.len())? {
        let (position, complete_from) = (bytes.int()?, bytes.int()?);
        let truncations = u16::try_from(bytes.varint()?)
            .map_err(|_| Malformed("a number is longer than 16 bits"))?;
        if position < 0 {
            return Err(Malformed("a position is negative"));
        }
        partitions.push(PartitionPosition {
            position,
            complete_from,
            truncations,
        });
    }
    let mut settings = Vec::new();
    for _ in 0..bytes.count(bytes.len())? {
        settings.push((bytes.text()?.to_owned(), bytes.text()?.to_owned()));
    }
    bytes.end()?;
    let position = ReaderPosition {
        cluster_id,
        topic_id,
        life,
        sizes,
        partitions,
    };
    let head = SnapshotHead {
        saved_at,
        position,
        settings,
    };
    Ok((head, clock_offset_ms, count))
}

/// Appends a value that may be absent.
fn put_option<T>(out: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

fn option<'a, T>(
    bytes: &mut Bytes<'a>,
    read: impl FnOnce(&mut Bytes<'a>) -> Result<T, Malformed>,
) -> Result<Option<T>, Malformed> {
    match bytes.byte()? {
        0 => Ok(None),
        1 => read(bytes).map(Some),
        _ => Err(Malformed("a value is neither there nor absent")),
    }
}

fn topic_id(bytes: &mut Bytes<'_>) -> Result<TopicId, Malformed> {
    let id = bytes.take(16)?.try_into();
    id.map(TopicId).map_err(|_| Malformed("an id is cut"))
}

fn int32(bytes: &mut Bytes<'_>) -> Result<i32, Malformed> {
    i32::try_from(bytes.int()?).map_err(|_| Malformed("a number is longer than 32 bits"))
}

fn flag(bytes: &mut Bytes<'_>) -> Result<bool, Malformed> {
    match bytes.byte()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed("a flag is neither true nor false")),
    }
}

/// Appends a moment, seen from another one.
fn put_moment(out: &mut Vec<u8>, at: Timestamp, from: Timestamp) {
    put_int(out, at.as_ms().wrapping_sub(from.as_ms()));
}

fn moment(bytes: &mut Bytes<'_>, from: Timestamp) -> Result<Timestamp, Malformed> {
    let ms = bytes.int()?.wrapping_add(from.as_ms());
    Ok(Timestamp::from_ms(ms))
}
