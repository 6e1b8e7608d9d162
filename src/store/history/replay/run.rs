//! Some series of a sealed hour, put together, beat by beat.

use std::iter::Peekable;
use std::ops::Range;
use std::sync::Arc;
use std::vec::IntoIter;

use super::{Given, Scope};
use crate::clock::Timestamp;
use crate::lag::evaluation::{GroupEvaluation, TopicEvaluation};
use crate::store::codec::Lookup;
use crate::store::codec::bytes::Malformed;
use crate::store::history::block::Kind;
use crate::store::history::groups::{GroupBlock, GroupSpan, Wanted};
use crate::store::history::topics::{LogSpan, TopicBlock};
use crate::store::history::{Unpacker, assemble};

/// The part of a group, or of a topic, that a block has.
pub(super) trait Span: Sized {
    type Row: std::fmt::Debug;
    const KIND: Kind;
    /// Whether these are topics.
    const LOGS: bool;

    fn decode(
        block: &[u8],
        hour: Timestamp,
        names: &mut dyn Lookup,
        unpacker: &mut Unpacker,
    ) -> Result<(Vec<Timestamp>, Vec<Self>), Malformed>;

    fn name(&self) -> &str;

    /// What it takes in memory, in rows of partitions.
    fn rows(&self) -> usize;

    /// Drops the rows of partitions at other beats.
    fn trim(&mut self, beats: &Range<usize>);

    /// The whole at those beats at which it was there.
    fn assemble(
        spans: Vec<Self>,
        beats: Range<usize>,
    ) -> Result<Vec<(usize, Self::Row)>, Malformed>;

    fn give(row: Self::Row, to: &mut Given);
}

impl Span for GroupSpan {
    type Row = GroupEvaluation;
    const KIND: Kind = Kind::Groups;
    const LOGS: bool = false;

    fn decode(
        block: &[u8],
        hour: Timestamp,
        names: &mut dyn Lookup,
        unpacker: &mut Unpacker,
    ) -> Result<(Vec<Timestamp>, Vec<Self>), Malformed> {
        let block = GroupBlock::decode(block, hour, Wanted::default(), names, unpacker)?;
        Ok((block.beats, block.groups))
    }

    fn name(&self) -> &str {
        self.id.as_str()
    }

    fn rows(&self) -> usize {
        let series = self.topics.iter().flat_map(|topic| &topic.series);
        2 * self.rows.len() + series.map(Vec::len).sum::<usize>()
    }

    fn trim(&mut self, beats: &Range<usize>) {
        for topic in &mut self.topics {
            for (partition, rows) in (topic.from..).zip(&mut topic.series) {
                let mut at = topic.counts.above(partition + 1);
                rows.retain(|_| at.next().is_some_and(|at| beats.contains(&at)));
                rows.shrink_to_fit();
            }
        }
    }

    fn assemble(
        spans: Vec<Self>,
        beats: Range<usize>,
    ) -> Result<Vec<(usize, GroupEvaluation)>, Malformed> {
        assemble::group(spans, beats)
    }

    fn give(row: GroupEvaluation, to: &mut Given) {
        to.groups.push(Arc::new(row));
    }
}

impl Span for LogSpan {
    type Row = TopicEvaluation;
    const KIND: Kind = Kind::Topics;
    const LOGS: bool = true;

    fn decode(
        block: &[u8],
        hour: Timestamp,
        names: &mut dyn Lookup,
        unpacker: &mut Unpacker,
    ) -> Result<(Vec<Timestamp>, Vec<Self>), Malformed> {
        let block = TopicBlock::decode(block, hour, None, names, unpacker)?;
        Ok((block.beats, block.topics))
    }

    fn name(&self) -> &str {
        self.topic.as_str()
    }

    fn rows(&self) -> usize {
        1 + self.series.iter().map(Vec::len).sum::<usize>()
    }

    fn trim(&mut self, beats: &Range<usize>) {
        for (partition, rows) in (self.from..).zip(&mut self.series) {
            let mut at = self.counts.above(partition + 1);
            rows.retain(|_| at.next().is_some_and(|at| beats.contains(&at)));
            rows.shrink_to_fit();
        }
    }

    fn assemble(
        spans: Vec<Self>,
        beats: Range<usize>,
    ) -> Result<Vec<(usize, TopicEvaluation)>, Malformed> {
        assemble::topic(spans, beats)
    }

    fn give(row: TopicEvaluation, to: &mut Given) {
        to.topics.push(Arc::new(row));
    }
}

/// A whole at a beat, by the beat's place in the list.
type AtBeat<S> = (usize, <S as Span>::Row);

/// Some groups, or topics, at some beats of an hour.
#[derive(Debug)]
pub(super) struct Run<S: Span> {
    beats: Vec<Timestamp>,
    /// The beats that are still to come.
    left: Range<usize>,
    rows: Vec<Peekable<IntoIter<AtBeat<S>>>>,
    /// The last name in it.
    pub(super) until: String,
    /// Whether other beats of the same follow.
    pub(super) goes_on: bool,
}

impl<S: Span> Run<S> {
    /// A run of `wholes`, each with its rows in the order of beats.
    pub(super) fn new(
        beats: &[Timestamp],
        left: Range<usize>,
        wholes: Vec<Vec<AtBeat<S>>>,
        until: String,
        goes_on: bool,
    ) -> Self {
        let rows = wholes.into_iter().map(|rows| rows.into_iter().peekable());
        Self {
            beats: beats.to_vec(),
            left,
            rows: rows.collect(),
            until,
            goes_on,
        }
    }

    /// Leaves out the beats before this one.
    pub(super) fn skip_to(&mut self, beat: usize) {
        self.left.start = self.left.start.max(beat);
    }

    /// What is there at the next beat that is wanted, and the number of beats up to it.
    pub(super) fn next(&mut self, scope: &Scope) -> Option<(usize, Given)> {
        loop {
            let place = self.left.next()?;
            let mut given = Given::at(self.beats.get(place).copied()?);
            for rows in &mut self.rows {
                while let Some((of, row)) = rows.next_if(|(of, _)| *of <= place) {
                    // Earlier ones were left out.
                    if of == place {
                        S::give(row, &mut given);
                    }
                }
            }
            let is_empty = given.groups.is_empty() && given.topics.is_empty();
            if !is_empty && scope.has(given.beat) {
                return Some((place + 1, given));
            }
        }
    }
}
