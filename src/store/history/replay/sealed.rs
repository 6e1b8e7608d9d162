//! A sealed hour: its series run by run, as many as fit into memory.
//!
//! A group (or topic) is given when all blocks with a part of it are read. One that does not fit by
//! itself is read once for each slice of beats that does.

use std::collections::VecDeque;

use rusqlite::Connection;

use super::plan::{self, BlockAt};
use super::run::{Run, Span};
use super::{At, Given, Scope, Source};
use crate::clock::Timestamp;
use crate::store::history::file::{self, Hour};
use crate::store::history::key::Key;
use crate::store::history::read::ReadError;
use crate::store::names::Naming;

/// What is read of a block: its beats, and the parts it has.
type Read<S> = (Vec<Timestamp>, Vec<S>);

/// Goes over the groups, or the topics, of a sealed hour.
#[derive(Debug)]
pub(super) struct Walk<S: Span> {
    seal: i64,
    hour: Timestamp,
    /// The first of its frames.
    first: i64,
    /// What is still to be read.
    blocks: VecDeque<BlockAt>,
    /// What was read of a block with another list of beats than the spans have.
    other: Option<Read<S>>,
    /// What is read and not given yet, with its beats.
    spans: Vec<S>,
    beats: Vec<Timestamp>,
    /// Up to this name everything is given.
    after: Option<String>,
    /// What could not be read: groups that reach into it are not whole.
    damaged: Vec<(Key, Key)>,
    run: Option<Run<S>>,
    large: Option<Large>,
    /// Where an earlier replay was: the last name of the first run, and beats to leave out of it.
    resume: Option<(String, usize)>,
}

/// A group or topic that does not fit into memory.
#[derive(Debug)]
struct Large {
    name: String,
    blocks: Vec<BlockAt>,
    /// The next beat, and how many fit.
    next: usize,
    width: usize,
}

impl<S: Span> Walk<S> {
    /// Over what is wanted of an hour, from a place on that lies in it.
    pub(super) fn new(
        connection: &Connection,
        scope: &Scope,
        (seal, hour): (i64, &Hour),
        resume: Option<&At>,
    ) -> Result<Self, ReadError> {
        let (after, resume) = match resume {
            Some(At::Sealed {
                after,
                until,
                beats,
                ..
            }) => (after.clone(), Some((until.clone(), *beats))),
            Some(At::Frames { .. }) | None => (None, None),
        };
        let only = scope.group.as_deref().filter(|_| !S::LOGS).map(Key::name);
        let from = match (&only, &after) {
            (Some(only), _) => only.clone(),
            (None, Some(after)) => Key::name(after).end(),
            (None, None) => Key::default(),
        };
        let to = only.map(|only| only.end());
        Ok(Self {
            seal,
            hour: hour.hour,
            first: hour.first.0,
            blocks: plan::blocks(connection, seal, S::KIND, (&from, to.as_ref()))?,
            other: None,
            spans: Vec::new(),
            beats: Vec::new(),
            after,
            damaged: Vec::new(),
            run: None,
            large: None,
            resume,
        })
    }

    /// What is there at the next beat; none at the end of the hour.
    pub(super) fn next(
        &mut self,
        source: &mut Source<'_>,
    ) -> Result<Option<(Given, At)>, ReadError> {
        loop {
            if let Some(run) = &mut self.run {
                if let Some((beats, given)) = run.next(source.scope) {
                    let at = At::Sealed {
                        first: self.first,
                        logs: S::LOGS,
                        after: self.after.clone(),
                        until: run.until.clone(),
                        beats,
                    };
                    return Ok(Some((given, at)));
                }
                if !run.goes_on {
                    self.after = Some(std::mem::take(&mut run.until));
                }
                self.run = None;
            }
            if let Some(mut large) = self.large.take() {
                self.run = self.slice(source, &mut large)?;
                match &self.run {
                    Some(run) if run.goes_on => self.large = Some(large),
                    Some(_) => {}
                    None => self.after = Some(large.name),
                }
                continue;
            }
            self.run = self.gather(source)?;
            if self.run.is_none() && self.large.is_none() {
                return Ok(None);
            }
        }
    }

    /// The next run. None at the end, or when something large has been found.
    fn gather(&mut self, source: &mut Source<'_>) -> Result<Option<Run<S>>, ReadError> {
        loop {
            if let Some((beats, spans)) = self.other.take_if(|_| self.spans.is_empty()) {
                (self.beats, self.spans) = (beats, spans);
            }
            let is_full = self.spans.iter().map(S::rows).sum::<usize>() >= source.rows;
            if self.other.is_some() || (is_full && self.is_last_whole()) {
                break;
            }
            if is_full && !self.is_one() {
                break;
            }
            if is_full {
                self.large = self.begin_large(source)?;
                return Ok(None);
            }
            let Some(block) = self.blocks.pop_front() else {
                break;
            };
            if let Some((beats, spans)) = self.read(source, &block)? {
                self.add(source, beats, spans);
            }
        }
        let Some(last) = self.spans.last() else {
            return Ok(None);
        };
        let mut rest = Vec::new();
        if !self.is_last_whole() {
            let name = last.name().to_owned();
            let at = self.spans.partition_point(|span| *span.name() < *name);
            rest = self.spans.split_off(at);
        }
        let spans = std::mem::replace(&mut self.spans, rest);
        let all = 0..self.beats.len();
        let mut run = self.put_together(source, spans, all, false);
        if let Some((until, beats)) = self.resume.take()
            && let Some(run) = run.as_mut().filter(|run| run.until == until)
        {
            run.skip_to(beats);
        }
        Ok(run)
    }

    /// Whether nothing of the last group is in a block that is still to be read.
    fn is_last_whole(&self) -> bool {
        if self.other.is_some() {
            return true;
        }
        let (Some(last), Some(next)) = (self.spans.last(), self.blocks.front()) else {
            return true;
        };
        next.first > Key::name(last.name()).end()
    }

    /// Whether all that is read is of one group.
    fn is_one(&self) -> bool {
        let names = (self.spans.first(), self.spans.last());
        matches!(names, (Some(first), Some(last)) if first.name() == last.name())
    }

    /// Takes what was read of a block. Its beats are others only when frames went away while the
    /// hour was being sealed.
    fn add(&mut self, source: &mut Source<'_>, beats: Vec<Timestamp>, mut spans: Vec<S>) {
        if self.spans.is_empty() || self.beats == beats {
            self.beats = beats;
            self.spans.extend(spans);
            return;
        }
        let last = self.spans.last().map(|span| span.name().to_owned());
        if let Some(name) = last
            && spans.first().is_some_and(|span| span.name() == name)
        {
            source.losses.damaged += 1;
            self.spans.retain(|span| span.name() != name);
            spans.retain(|span| span.name() != name);
        }
        self.other = Some((beats, spans));
    }

    /// Reads a block: what is wanted of it and not given yet. None when it cannot be read, which is
    /// noted.
    fn read(
        &mut self,
        source: &mut Source<'_>,
        block: &BlockAt,
    ) -> Result<Option<Read<S>>, ReadError> {
        let Some(bytes) = file::block(source.file, block.id)? else {
            source.losses.expired += u64::from(self.note_damage(block));
            return Ok(None);
        };
        source.read += bytes.len() as u64;
        let mut names = Naming {
            dictionary: &source.shared.dictionary,
            file: Some(source.file),
            error: None,
        };
        let decoded = S::decode(&bytes, self.hour, &mut names, source.unpacker);
        match (decoded, names.error) {
            (Ok((beats, mut spans)), _) => {
                let only = source.scope.group.as_deref().filter(|_| !S::LOGS);
                spans.retain(|span| {
                    only.is_none_or(|only| only == span.name())
                        && self
                            .after
                            .as_deref()
                            .is_none_or(|after| span.name() > after)
                });
                Ok(Some((beats, spans)))
            }
            (Err(_), Some(error)) => Err(error.into()),
            (Err(why), None) => {
                if self.note_damage(block) {
                    source.losses.damaged += 1;
                    tracing::error!(block = block.id, "a block is left out: {why}");
                }
                Ok(None)
            }
        }
    }

    /// Notes that a block cannot be read; false when that was known.
    fn note_damage(&mut self, block: &BlockAt) -> bool {
        let range = (block.first.clone(), block.last.clone());
        let is_new = !self.damaged.contains(&range);
        if is_new {
            self.damaged.push(range);
        }
        is_new
    }

    /// Puts groups together from their parts; those that are not whole are left out.
    fn put_together(
        &self,
        source: &mut Source<'_>,
        spans: Vec<S>,
        beats: std::ops::Range<usize>,
        goes_on: bool,
    ) -> Option<Run<S>> {
        let until = spans.last()?.name().to_owned();
        let mut wholes = Vec::new();
        let mut spans = spans.into_iter().peekable();
        while let Some(first) = spans.next() {
            let key = Key::name(first.name());
            let mut of_one = vec![first];
            while let Some(span) = spans.next_if(|span| span.name() == of_one[0].name()) {
                of_one.push(span);
            }
            let end = key.end();
            let mut damaged = self.damaged.iter();
            if damaged.any(|(first, last)| *first <= end && *last >= key) {
                continue;
            }
            match S::assemble(of_one, beats.clone()) {
                Ok(rows) => wholes.push(rows),
                Err(why) => {
                    source.losses.damaged += 1;
                    tracing::error!(hour = ?self.hour, "a part of the history is left out: {why}");
                }
            }
        }
        Some(Run::new(&self.beats, beats, wholes, until, goes_on))
    }

    /// Prepares to read in slices of beats what is too large. All spans are parts of it.
    fn begin_large(&mut self, source: &Source<'_>) -> Result<Option<Large>, ReadError> {
        let Some(name) = self.spans.first().map(|span| span.name().to_owned()) else {
            return Ok(None);
        };
        let rows: usize = self.spans.iter().map(S::rows).sum();
        let read = self.spans.len().max(1);
        self.spans.clear();
        let (key, end) = (Key::name(&name), Key::name(&name).end());
        let blocks = plan::blocks(source.file, self.seal, S::KIND, (&key, Some(&end)))?;
        // The last one may go on with others.
        self.blocks.retain(|block| block.last > end);
        let all = rows.div_ceil(read) * blocks.len().max(read);
        Ok(Some(Large {
            width: (self.beats.len() * source.rows / all.max(1)).max(1),
            next: match self.resume.take() {
                Some((until, beats)) if until == name => beats,
                Some(_) | None => 0,
            },
            name,
            blocks: blocks.into(),
        }))
    }

    /// The next slice of what is large. None when a part of it cannot be read: then it is left out.
    fn slice(
        &mut self,
        source: &mut Source<'_>,
        large: &mut Large,
    ) -> Result<Option<Run<S>>, ReadError> {
        let slice = large.next..(large.next + large.width).min(self.beats.len());
        let mut parts = Vec::new();
        for block in &large.blocks {
            let Some((beats, mut spans)) = self.read(source, block)? else {
                return Ok(None);
            };
            if beats != self.beats {
                source.losses.damaged += 1;
                return Ok(None);
            }
            spans.retain(|span| span.name() == large.name);
            spans.iter_mut().for_each(|span| span.trim(&slice));
            parts.append(&mut spans);
        }
        large.next = slice.end;
        let goes_on = slice.end < self.beats.len();
        Ok(self.put_together(source, parts, slice, goes_on))
    }
}
