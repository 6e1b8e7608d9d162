//! One frame as bytes, and back.
//!
//! A frame is a head and, behind it, pieces of a few thousand partitions each: one group's part of
//! a frame is found by the head and read without touching the other pieces. Names are numbers of a
//! dictionary that the caller keeps ([`Names`], [`Lookup`]); times are relative to the beat.
//!
//! Reading is total: whatever the bytes are, the answer is a frame or [`Broken`], never a panic,
//! and memory is only taken for what is really there. The bytes of version 1 are pinned by
//! `tests/golden/frame`: a change of them is a new version, and old versions stay readable.
//! What is not stored is said by [`stored_part`].

pub(super) mod bytes;
mod groups;
pub(super) mod head;
mod part;
pub mod snapshot;
mod stored;
#[cfg(test)]
mod tests;
mod topics;
mod totals;

use std::fmt;
use std::sync::Arc;

use self::bytes::Malformed;
pub use self::head::{Head, PartInfo};
pub use self::part::{Kind, VERSION};
pub use self::stored::stored_part;
pub(super) use self::topics::Read as ReadLogs;
pub(super) use self::totals::guess as guessed_totals;
use crate::clock::Timestamp;
use crate::lag::evaluation::{Evaluation, GroupEvaluation, TopicEvaluation};
use crate::points::row_count;
use crate::store::frame::{Body, Frame, Seq};

/// Partitions of one piece, about; a group is never split.
const PARTITIONS_PER_PART: usize = 2048;

/// Pieces of one frame at most.
pub const PARTS_MAX: usize = 4096;

/// Group-partitions and topic-partitions of one frame at most.
const PARTITIONS_MAX: usize = 8 << 20;

/// Gives names their numbers.
pub trait Names {
    /// The number of `name`, the same as long as any frame with it is kept.
    fn id(&mut self, name: &Arc<str>) -> u32;
}

/// Gives numbers their names.
pub trait Lookup {
    /// The name with this number.
    fn name(&mut self, id: u32) -> Option<Arc<str>>;
}

/// A frame as bytes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Encoded {
    /// The head, then the pieces.
    pub parts: Vec<Box<[u8]>>,
}

impl Encoded {
    /// Bytes of all pieces.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }

    /// Whether there is not even a head.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }
}

/// Why a frame cannot be written as bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    #[error("the evaluation is larger than a frame may be")]
    TooLarge,
    #[error("zstd cannot compress: {0}")]
    Zstd(String),
}

/// Why bytes are not a frame, and in which piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    place: usize,
    why: String,
}

impl Broken {
    fn new(place: usize, why: &str) -> Self {
        Self {
            place,
            why: why.to_owned(),
        }
    }

    /// A piece that the head announces is not there.
    pub(super) fn missing(place: usize) -> Self {
        Self::new(place, "it is missing")
    }

    fn version(version: u8) -> Self {
        Self {
            place: 0,
            why: format!("it has format version {version}, this lagline knows {VERSION}"),
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "piece {}: {}", self.place, self.why)
    }
}

impl std::error::Error for Broken {}

/// Writes frames. Keeps its memory between them.
pub struct Encoder {
    groups: groups::GroupColumns,
    topics: topics::TopicColumns,
    logs: Vec<topics::Log>,
    raw: Vec<u8>,
    wrapper: part::Wrapper,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

impl Encoder {
    /// An encoder with empty buffers.
    ///
    /// # Errors
    /// When zstd has no memory for its state.
    pub fn new() -> Result<Self, EncodeError> {
        Ok(Self {
            groups: groups::GroupColumns::default(),
            topics: topics::TopicColumns::default(),
            logs: Vec::new(),
            raw: Vec::new(),
            wrapper: part::Wrapper::new()?,
        })
    }

    /// The frame about `body` at `beat`, with `rows` points, as bytes.
    ///
    /// # Errors
    /// When the body is larger than a frame may be.
    ///
    /// # Panics
    /// When the evaluation in `body` is of another beat.
    pub fn encode(
        &mut self,
        body: &Body,
        beat: Timestamp,
        rows: u64,
        names: &mut dyn Names,
    ) -> Result<Encoded, EncodeError> {
        match body {
            Body::Sinks(rows) => {
                let raw = head::encode_sinks(rows);
                let head = self.wrapper.wrap(Kind::SinksHead, &raw, beat, 0)?;
                Ok(Encoded { parts: vec![head] })
            }
            Body::Evaluation {
                evaluation,
                changes,
            } => {
                assert_eq!(beat, evaluation.beat, "a frame's beat is its evaluation's");
                let mut pieces = Pieces {
                    beat,
                    parts: vec![Box::default()],
                    infos: Vec::new(),
                };
                let read = self.encode_groups(&mut pieces, evaluation, names)?;
                self.encode_topics(&mut pieces, evaluation, &read, names)?;
                self.logs = read.into_memory();
                if !changes.is_empty() {
                    let raw = head::encode_changes(changes, beat, names);
                    let info = (Kind::Changes, changes.len(), None);
                    pieces.push(&mut self.wrapper, &raw, info)?;
                }
                let raw = head::encode(evaluation, rows, &pieces.infos, names);
                pieces.parts[0] = self.wrapper.wrap(Kind::EvaluationHead, &raw, beat, 0)?;
                Ok(Encoded {
                    parts: pieces.parts,
                })
            }
        }
    }

    fn encode_groups<'a>(
        &mut self,
        pieces: &mut Pieces<'a>,
        evaluation: &'a Evaluation,
        names: &mut dyn Names,
    ) -> Result<topics::Read, EncodeError> {
        let mut read = topics::Read::within(std::mem::take(&mut self.logs));
        let size = |group: &Arc<GroupEvaluation>| {
            let partitions = group.topics.iter().map(|topic| topic.partitions.len());
            1 + group.members.len() + partitions.sum::<usize>()
        };
        for run in Runs::of(&evaluation.groups, size) {
            self.groups.clear();
            groups::encode(&mut self.groups, run, evaluation.beat, names);
            run.iter().for_each(|group| read.add(group));
            self.raw.clear();
            self.groups.write(&mut self.raw);
            let first = run.first().map(|group| group.id.shared());
            let info = (Kind::Groups, run.len(), first);
            pieces.push(&mut self.wrapper, &self.raw, info)?;
        }
        Ok(read)
    }

    fn encode_topics<'a>(
        &mut self,
        pieces: &mut Pieces<'a>,
        evaluation: &'a Evaluation,
        read: &topics::Read,
        names: &mut dyn Names,
    ) -> Result<(), EncodeError> {
        for run in Runs::of(&evaluation.topics, |topic| 1 + topic.partitions.len()) {
            self.topics.clear();
            topics::encode(&mut self.topics, run, read, names);
            self.raw.clear();
            self.topics.write(&mut self.raw);
            let first = run.first().map(|topic| topic.topic.shared());
            let info = (Kind::Topics, run.len(), first);
            pieces.push(&mut self.wrapper, &self.raw, info)?;
        }
        Ok(())
    }
}

/// The pieces of a frame as they are made.
struct Pieces<'a> {
    beat: Timestamp,
    parts: Vec<Box<[u8]>>,
    infos: Vec<(Kind, usize, Option<&'a Arc<str>>)>,
}

impl<'a> Pieces<'a> {
    fn push(
        &mut self,
        wrapper: &mut part::Wrapper,
        raw: &[u8],
        info: (Kind, usize, Option<&'a Arc<str>>),
    ) -> Result<(), EncodeError> {
        let place = self.parts.len();
        if place == PARTS_MAX {
            return Err(EncodeError::TooLarge);
        }
        self.parts
            .push(wrapper.wrap(info.0, raw, self.beat, place)?);
        self.infos.push(info);
        Ok(())
    }
}

/// Cuts a list into runs of about the same size.
struct Runs<'a, T, F> {
    rest: &'a [T],
    size: F,
    target: usize,
}

impl<'a, T, F: Fn(&T) -> usize> Runs<'a, T, F> {
    fn of(list: &'a [T], size: F) -> Self {
        let all: usize = list.iter().map(&size).sum();
        // Groups and topics together must stay below the greatest number of pieces.
        let target = PARTITIONS_PER_PART.max(all / (PARTS_MAX / 4));
        Self {
            rest: list,
            size,
            target,
        }
    }
}

impl<'a, T, F: Fn(&T) -> usize> Iterator for Runs<'a, T, F> {
    type Item = &'a [T];

    fn next(&mut self) -> Option<&'a [T]> {
        if self.rest.is_empty() {
            return None;
        }
        let mut sum = 0;
        let mut len = 0;
        for element in self.rest {
            let size = (self.size)(element);
            if len > 0 && sum + size > self.target {
                break;
            }
            sum += size;
            len += 1;
        }
        let (run, rest) = self.rest.split_at(len);
        self.rest = rest;
        Some(run)
    }
}

/// Reads frames.
pub struct Decoder(zstd::bulk::Decompressor<'static>);

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
    }
}

impl Decoder {
    /// A decoder.
    ///
    /// # Errors
    /// When zstd has no memory for its state.
    pub fn new() -> Result<Self, EncodeError> {
        zstd::bulk::Decompressor::new()
            .map(Self)
            .map_err(|error| EncodeError::Zstd(error.to_string()))
    }

    /// The frame number `seq` of `beat` from its pieces.
    ///
    /// # Errors
    /// When anything in the pieces is not what was written.
    pub fn decode<P: AsRef<[u8]>>(
        &mut self,
        seq: Seq,
        beat: Timestamp,
        parts: &[P],
        names: &mut dyn Lookup,
    ) -> Result<Frame, Broken> {
        let (head, rest) = parts
            .split_first()
            .ok_or_else(|| Broken::new(0, "it is missing"))?;
        let (kind, raw) = part::unwrap(&mut self.0, head.as_ref(), beat, 0)?;
        let at = |place: usize| move |why: Malformed| Broken::new(place, why.0);
        let (body, rows) = match kind {
            Kind::SinksHead if rest.is_empty() => {
                let body = Body::Sinks(head::decode_sinks(&raw).map_err(at(0))?);
                let rows = row_count(&body);
                (body, rows)
            }
            Kind::EvaluationHead => {
                let head = head::decode(&raw, names).map_err(at(0))?;
                let rows = head.rows;
                (self.decode_evaluation(head, beat, rest, names)?, rows)
            }
            Kind::SinksHead
            | Kind::Groups
            | Kind::Topics
            | Kind::Changes
            | Kind::SnapshotHead
            | Kind::SnapshotTopics
            | Kind::SnapshotGroups => {
                return Err(Broken::new(0, "it is not the head of a frame"));
            }
        };
        Ok(Frame {
            seq,
            beat,
            rows,
            body,
        })
    }

    fn decode_evaluation<P: AsRef<[u8]>>(
        &mut self,
        head: Head,
        beat: Timestamp,
        parts: &[P],
        names: &mut dyn Lookup,
    ) -> Result<Body, Broken> {
        if parts.len() != head.parts.len() {
            return Err(Broken::new(0, "it announces another number of pieces"));
        }
        let mut evaluation = Evaluation {
            cluster: head.cluster,
            beat,
            phase: head.phase,
            summary: head.summary,
            groups: Vec::new(),
            topics: Vec::new(),
        };
        let mut changes = Vec::new();
        let mut budget = PARTITIONS_MAX;
        let mut pieces = (1..).zip(head.parts.iter().zip(parts)).peekable();
        // Groups come first: what topics are written against.
        while let Some((place, (info, part))) =
            pieces.next_if(|(_, (info, _))| info.kind == Kind::Groups)
        {
            let raw = self.unwrap(Kind::Groups, part.as_ref(), beat, place)?;
            let groups = groups::decode(&raw, info.count, beat, names, &mut budget);
            let mut groups = groups.map_err(|why| Broken::new(place, why.0))?;
            evaluation.groups.append(&mut groups);
        }
        let mut read = topics::Read::within(Vec::new());
        evaluation.groups.iter().for_each(|group| read.add(group));
        for (place, (info, part)) in pieces {
            let raw = self.unwrap(info.kind, part.as_ref(), beat, place)?;
            let at = |why: Malformed| Broken::new(place, why.0);
            match info.kind {
                Kind::Topics => {
                    let topics = topics::decode(&raw, info.count, &read, names, &mut budget);
                    evaluation.topics.append(&mut topics.map_err(at)?);
                }
                Kind::Changes => changes
                    .append(&mut head::decode_changes(&raw, info.count, beat, names).map_err(at)?),
                Kind::Groups => return Err(Broken::new(place, "groups behind other pieces")),
                Kind::EvaluationHead | Kind::SinksHead => {
                    return Err(Broken::new(place, "a second head"));
                }
                Kind::SnapshotHead | Kind::SnapshotTopics | Kind::SnapshotGroups => {
                    return Err(Broken::new(place, "a piece of a snapshot"));
                }
            }
        }
        Ok(Body::Evaluation {
            evaluation: Arc::new(evaluation),
            changes,
        })
    }

    /// The raw bytes of a piece that the head announces as one of `kind`.
    fn unwrap(
        &mut self,
        kind: Kind,
        part: &[u8],
        beat: Timestamp,
        place: usize,
    ) -> Result<Vec<u8>, Broken> {
        match part::unwrap(&mut self.0, part, beat, place)? {
            (found, raw) if found == kind => Ok(raw),
            _ => Err(Broken::new(place, "the head announces another kind")),
        }
    }

    /// The head of an evaluation's frame.
    ///
    /// # Errors
    /// When `part` is not the head of an evaluation's frame of `beat`.
    pub fn decode_head(
        &mut self,
        beat: Timestamp,
        part: &[u8],
        names: &mut dyn Lookup,
    ) -> Result<Head, Broken> {
        let (kind, raw) = part::unwrap(&mut self.0, part, beat, 0)?;
        if kind != Kind::EvaluationHead {
            return Err(Broken::new(0, "it is not the head of an evaluation"));
        }
        head::decode(&raw, names).map_err(|why| Broken::new(0, why.0))
    }

    /// The groups of one piece: for one group's past, without the rest of the frame.
    ///
    /// # Errors
    /// When `part` is not piece number `place` of the frame of `beat` with this head.
    pub fn decode_groups(
        &mut self,
        head: &Head,
        place: usize,
        beat: Timestamp,
        part: &[u8],
        names: &mut dyn Lookup,
    ) -> Result<Vec<Arc<GroupEvaluation>>, Broken> {
        let (kind, raw) = part::unwrap(&mut self.0, part, beat, place)?;
        let info = place.checked_sub(1).and_then(|place| head.parts.get(place));
        let info = info.filter(|info| info.kind == Kind::Groups && kind == Kind::Groups);
        let info = info.ok_or_else(|| Broken::new(place, "it does not hold groups"))?;
        let mut budget = PARTITIONS_MAX;
        groups::decode(&raw, info.count, beat, names, &mut budget)
            .map_err(|why| Broken::new(place, why.0))
    }

    /// One group of a piece, without those behind it. None when it is not in it.
    ///
    /// # Errors
    /// As of [`Self::decode_groups`].
    pub(super) fn find_group(
        &mut self,
        head: &Head,
        (place, part): (usize, &[u8]),
        beat: Timestamp,
        names: &mut dyn Lookup,
        group: &str,
    ) -> Result<Option<GroupEvaluation>, Broken> {
        let raw = self.unwrap(Kind::Groups, part, beat, place)?;
        let info = place.checked_sub(1).and_then(|place| head.parts.get(place));
        let info = info.ok_or_else(|| Broken::new(place, "it does not hold groups"))?;
        groups::find(&raw, info.count, beat, names, group).map_err(|why| Broken::new(place, why.0))
    }

    /// The topics of one piece, for which `read` must know every group of the frame.
    ///
    /// # Errors
    /// When `part` is not piece number `place` of the frame of `beat` with this head.
    pub(super) fn decode_topics(
        &mut self,
        head: &Head,
        place: usize,
        beat: Timestamp,
        part: &[u8],
        (read, names): (&ReadLogs, &mut dyn Lookup),
    ) -> Result<Vec<Arc<TopicEvaluation>>, Broken> {
        let raw = self.unwrap(Kind::Topics, part, beat, place)?;
        let info = place.checked_sub(1).and_then(|place| head.parts.get(place));
        let info = info.filter(|info| info.kind == Kind::Topics);
        let info = info.ok_or_else(|| Broken::new(place, "it does not hold topics"))?;
        let mut budget = PARTITIONS_MAX;
        topics::decode(&raw, info.count, read, names, &mut budget)
            .map_err(|why| Broken::new(place, why.0))
    }

    /// Checks that a piece is what was written, without decoding it.
    ///
    /// # Errors
    /// When it is not.
    pub(super) fn check(beat: Timestamp, place: usize, part: &[u8]) -> Result<(), Broken> {
        part::check(part, beat, place).map(drop)
    }
}
