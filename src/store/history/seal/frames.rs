//! Reading pieces of frames, with their names.

use std::collections::BTreeSet;
use std::sync::Arc;

use rusqlite::Connection;
use rustc_hash::FxHashMap;

use super::{Beat, Failed, Sealer, Work};
use crate::store::Shared;
use crate::store::codec::{Broken, Head, Kind as Piece, Lookup, Names, ReadLogs};
use crate::store::history::key::Key;
use crate::store::history::rollup::{GroupRollups, TopicRollups};
use crate::store::journal::read_part;
use crate::store::names::Naming;

/// The names that were read, with their numbers.
#[derive(Debug, Default)]
pub(super) struct Ids {
    numbers: FxHashMap<Arc<str>, u32>,
    /// Second numbers of names, which is rare.
    more: BTreeSet<u32>,
}

impl Ids {
    /// All numbers, in order.
    pub(super) fn all(&self) -> BTreeSet<u32> {
        let numbers = self.numbers.values().copied();
        numbers.chain(self.more.iter().copied()).collect()
    }
}

/// Names by number from the store, which remembers the numbers for writing.
pub(super) struct Known<'a> {
    pub(super) naming: Naming<'a>,
    ids: &'a mut Ids,
}

impl Lookup for Known<'_> {
    fn name(&mut self, id: u32) -> Option<Arc<str>> {
        let name = self.naming.name(id)?;
        match self.ids.numbers.get(&name) {
            Some(known) if *known == id => {}
            Some(_) => {
                self.ids.more.insert(id);
            }
            None => {
                self.ids.numbers.insert(Arc::clone(&name), id);
            }
        }
        Some(name)
    }
}

/// The numbers of names that were read before.
pub(super) struct Numbers<'a>(pub(super) &'a Ids);

impl Names for Numbers<'_> {
    fn id(&mut self, name: &Arc<str>) -> u32 {
        // Every name of a block came from a frame.
        let known = self.0.numbers.get(name);
        known.copied().unwrap_or(u32::MAX)
    }
}

impl Sealer {
    /// The head of a frame. None when the frame is not there any more, or not readable.
    pub(super) fn head(
        &mut self,
        file: &Connection,
        beat: &Beat,
        ids: &mut Ids,
    ) -> Result<Option<Head>, Failed> {
        let shared = Arc::clone(&self.shared);
        let Some(part) = read_part(file, beat.seq, 0)? else {
            return Ok(None);
        };
        let mut names = known(&shared, file, ids);
        let head = self.decoder.decode_head(beat.at, &part, &mut names);
        let head = readable(head, &mut names.naming)?;
        Ok(head.filter(|head| head.parts.len() + 1 == beat.parts))
    }

    /// Notes the offsets of the last beat before the hour, of the groups from a place on: of as many
    /// as a run has, about twice.
    pub(super) fn base_of_groups(
        &mut self,
        file: &Connection,
        work: &Work,
        from: &Key,
        rollups: &mut GroupRollups,
    ) -> Result<(), Failed> {
        let Some(beat) = &work.base else {
            return Ok(());
        };
        let mut ids = Ids::default();
        let Some(head) = self.head(file, beat, &mut ids)? else {
            return Ok(());
        };
        let mut left = 2 * self.limits.rows / work.beats.len().max(1);
        for (place, _) in pieces(&head, Piece::Groups, from) {
            let Some(part) = read_part(file, beat.seq, place)? else {
                return Ok(());
            };
            let shared = Arc::clone(&self.shared);
            let mut names = known(&shared, file, &mut ids);
            let groups = (self.decoder).decode_groups(&head, place, beat.at, &part, &mut names);
            for group in readable(groups, &mut names.naming)?.unwrap_or_default() {
                if Key::name(group.id.as_str()).end() < *from {
                    continue;
                }
                rollups.base(&group);
                let sizes = group.topics.iter().map(|topic| topic.partitions.len());
                left = left.saturating_sub(1 + sizes.sum::<usize>());
                if left == 0 {
                    return Ok(());
                }
            }
            self.rest()?;
        }
        Ok(())
    }

    /// Notes the offsets of the last beat before the hour, of all topics.
    pub(super) fn base_of_topics(
        &mut self,
        file: &Connection,
        work: &Work,
        rollups: &mut TopicRollups,
    ) -> Result<(), Failed> {
        let Some(beat) = &work.base else {
            return Ok(());
        };
        let mut ids = Ids::default();
        let Some(head) = self.head(file, beat, &mut ids)? else {
            return Ok(());
        };
        let Some(read) = self.read_logs(file, beat, &head, &mut ids)? else {
            return Ok(());
        };
        for (place, _) in pieces(&head, Piece::Topics, &Key::default()) {
            let Some(part) = read_part(file, beat.seq, place)? else {
                return Ok(());
            };
            let shared = Arc::clone(&self.shared);
            let mut names = known(&shared, file, &mut ids);
            let with: (&ReadLogs, &mut dyn Lookup) = (&read, &mut names);
            let topics = (self.decoder).decode_topics(&head, place, beat.at, &part, with);
            let topics = readable(topics, &mut names.naming)?.unwrap_or_default();
            topics.iter().for_each(|topic| rollups.base(topic));
            self.rest()?;
        }
        Ok(())
    }

    /// What the groups of a frame say of the logs they read. None when one cannot be read.
    pub(super) fn read_logs(
        &mut self,
        file: &Connection,
        beat: &Beat,
        head: &Head,
        ids: &mut Ids,
    ) -> Result<Option<ReadLogs>, Failed> {
        let mut read = ReadLogs::default();
        for (place, _) in pieces(head, Piece::Groups, &Key::default()) {
            let Some(part) = read_part(file, beat.seq, place)? else {
                return Ok(None);
            };
            let shared = Arc::clone(&self.shared);
            let mut names = known(&shared, file, ids);
            let groups = (self.decoder).decode_groups(head, place, beat.at, &part, &mut names);
            let Some(groups) = readable(groups, &mut names.naming)? else {
                return Ok(None);
            };
            groups.iter().for_each(|group| read.add(group));
            self.rest()?;
        }
        Ok(Some(read))
    }
}

pub(super) fn known<'a>(shared: &'a Shared, file: &'a Connection, ids: &'a mut Ids) -> Known<'a> {
    Known {
        naming: Naming {
            dictionary: &shared.dictionary,
            file: Some(file),
            error: None,
        },
        ids,
    }
}

/// What was decoded; nothing when the bytes are broken.
pub(super) fn readable<T>(
    decoded: Result<T, Broken>,
    names: &mut Naming<'_>,
) -> Result<Option<T>, Failed> {
    match decoded {
        Ok(decoded) => Ok(Some(decoded)),
        // The bytes are as they were written, so that this is no damage of the disk.
        Err(broken) => match names.error.take() {
            Some(error) => Err(error.into()),
            None => {
                tracing::error!("a piece of a frame is left out of the history: {broken}");
                Ok(None)
            }
        },
    }
}

/// The places of a frame's pieces of a kind that may hold something from a place on, and whether it
/// is the last one.
pub(super) fn pieces(head: &Head, kind: Piece, from: &Key) -> Vec<(usize, bool)> {
    let of_kind = (1..).zip(&head.parts).filter(|(_, info)| info.kind == kind);
    let places: Vec<_> = of_kind.collect();
    let mut found = Vec::new();
    for (at, (place, _)) in places.iter().enumerate() {
        let behind = places.get(at + 1).and_then(|(_, info)| info.first.as_ref());
        // What is in a piece comes before the first of the next one.
        if behind.is_none_or(|behind| Key::name(behind) > *from) {
            found.push((*place, at + 1 == places.len()));
        }
    }
    found
}
