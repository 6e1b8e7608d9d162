//! The journal's frames of an hour that is not sealed, one after the other.

use std::collections::VecDeque;
use std::sync::Arc;

use super::plan::Listed;
use super::{At, Given, Scope, Source};
use crate::lag::evaluation::Evaluation;
use crate::store::codec::Broken;
use crate::store::frame::Body;
use crate::store::history::read::ReadError;
use crate::store::journal::{read_part, read_parts};
use crate::store::names::Naming;

/// Rows of one piece, about: what is given is small next to the frame.
const PIECE: usize = 4096;

/// Frames, and the pieces of the one that was read last.
#[derive(Debug)]
pub(super) struct Frames {
    /// The first of all of them.
    first: i64,
    list: VecDeque<Listed>,
    /// The frame before the current one.
    done: i64,
    current: i64,
    pieces: VecDeque<Given>,
}

impl Frames {
    pub(super) fn new(first: i64, list: VecDeque<Listed>) -> Self {
        Self {
            first,
            list,
            done: first - 1,
            current: first - 1,
            pieces: VecDeque::new(),
        }
    }

    /// The next piece; none at the end.
    pub(super) fn next(
        &mut self,
        source: &mut Source<'_>,
    ) -> Result<Option<(Given, At)>, ReadError> {
        loop {
            if let Some(piece) = self.pieces.pop_front() {
                let at = At::Frames {
                    first: self.first,
                    done: match self.pieces.is_empty() {
                        true => self.current,
                        false => self.done,
                    },
                };
                return Ok(Some((piece, at)));
            }
            let Some(frame) = self.list.pop_front() else {
                return Ok(None);
            };
            self.done = self.current;
            self.current = frame.seq.0;
            source.read += frame.bytes;
            if let Some(evaluation) = read(source, &frame)? {
                self.pieces = cut(&evaluation, source.scope);
            }
        }
    }
}

/// Cuts what is wanted of an evaluation into pieces.
fn cut(evaluation: &Evaluation, scope: &Scope) -> VecDeque<Given> {
    let mut pieces = VecDeque::new();
    let mut piece = Given::at(evaluation.beat);
    let mut rows = 0;
    let mut close = |piece: &mut Given, rows: &mut usize, least: usize| {
        if *rows >= least {
            let next = Given::at(evaluation.beat);
            pieces.push_back(std::mem::replace(piece, next));
            *rows = 0;
        }
    };
    for group in evaluation.groups.iter().filter(|_| scope.groups) {
        let partitions = group.topics.iter().map(|topic| topic.partitions.len());
        rows += 1 + partitions.sum::<usize>();
        piece.groups.push(Arc::clone(group));
        close(&mut piece, &mut rows, PIECE);
    }
    for topic in evaluation.topics.iter().filter(|_| scope.logs) {
        rows += 1 + topic.partitions.len();
        piece.topics.push(Arc::clone(topic));
        close(&mut piece, &mut rows, PIECE);
    }
    close(&mut piece, &mut rows, 1);
    pieces
}

/// What is wanted of a frame: the whole evaluation, or one group of it. None when it is gone or
/// damaged, which is noted.
fn read(source: &mut Source<'_>, frame: &Listed) -> Result<Option<Evaluation>, ReadError> {
    let mut names = Naming {
        dictionary: &source.shared.dictionary,
        file: Some(source.file),
        error: None,
    };
    let decoded = match source.scope.group.as_deref() {
        Some(group) => group_of(source, frame, group, &mut names)?,
        None => whole(source, frame, &mut names)?,
    };
    match (decoded, names.error) {
        (Ok(None), _) => {
            source.losses.expired += 1;
            Ok(None)
        }
        (Ok(evaluation), _) => Ok(evaluation),
        (Err(_), Some(error)) => Err(error.into()),
        (Err(broken), None) => {
            source.losses.damaged += 1;
            tracing::error!(frame = frame.seq.0, "a frame is left out: {broken}");
            Ok(None)
        }
    }
}

/// None when the frame is gone.
type Decoded = Result<Option<Evaluation>, Broken>;

fn whole(
    source: &mut Source<'_>,
    frame: &Listed,
    names: &mut Naming<'_>,
) -> Result<Decoded, ReadError> {
    let parts = read_parts(source.file, frame.seq)?;
    if parts.is_empty() {
        return Ok(Ok(None));
    }
    let decoded = (source.decoder).decode(frame.seq, frame.beat, &parts, names);
    Ok(decoded.map(|frame| match frame.body {
        Body::Evaluation { evaluation, .. } => Some(Arc::unwrap_or_clone(evaluation)),
        Body::Sinks(_) => None,
    }))
}

/// The head and the piece with the group, without the others.
fn group_of(
    source: &mut Source<'_>,
    frame: &Listed,
    group: &str,
    names: &mut Naming<'_>,
) -> Result<Decoded, ReadError> {
    let Some(head) = read_part(source.file, frame.seq, 0)? else {
        return Ok(Ok(None));
    };
    let head = match source.decoder.decode_head(frame.beat, &head, names) {
        Ok(head) => head,
        Err(broken) => return Ok(Err(broken)),
    };
    let mut groups = Vec::new();
    if let Some(place) = head.part_of(group) {
        let Some(part) = read_part(source.file, frame.seq, place)? else {
            return Ok(Ok(None));
        };
        match (source.decoder).decode_groups(&head, place, frame.beat, &part, names) {
            Ok(found) => groups = found,
            Err(broken) => return Ok(Err(broken)),
        }
        groups.retain(|found| found.id.as_str() == group);
    }
    Ok(Ok(Some(Evaluation {
        cluster: head.cluster,
        beat: frame.beat,
        phase: head.phase,
        summary: head.summary,
        groups,
        topics: Vec::new(),
    })))
}
