//! Reading sealed hours.
//!
//! [`History::sealed`] says which frames are in blocks; what is behind them is in the journal. Rows
//! come back as frames have them, beat by beat, in the order in which the frames were journaled: a
//! clock that was set back gives beats that are older than the one before.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use super::block::Kind;
use super::file;
use super::groups::{GroupBlock, Wanted};
use super::key::Key;
use super::rollup::{Rollup, Subject};
use super::topics::{TopicBlock, decode_cluster};
use super::{HOUR, Unpacker, assemble, rollup_rows};
use crate::clock::Timestamp;
use crate::lag::evaluation::{
    ClusterSummary, GroupEvaluation, PartitionEvaluation, Phase, TopicEvaluation,
};
use crate::lag::ids::ClusterName;
use crate::store::codec::bytes::Malformed;
use crate::store::error::StoreError;
use crate::store::frame::Seq;
use crate::store::names::Naming;
use crate::store::schema::open_reader;
use crate::store::{Shared, Store};

/// A cluster's hour whose frames are in blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    id: i64,
    /// Its beginning, a multiple of [`HOUR`].
    pub hour: Timestamp,
    /// The frames of the cluster with a beat in this hour and a number in this range are in it.
    pub first: Seq,
    pub last: Seq,
}

/// Why something cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// What stands on disk is damaged: a gap, for ever. Counted in the store's health.
    #[error("a block of the history is damaged: {0}")]
    Corrupt(String),
    /// The file cannot be read at the moment.
    #[error("the store cannot be read: {0}")]
    Later(String),
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        ReadError::Later(error.to_string())
    }
}

/// Reads the history on a connection of its own. Blocks: not for a runtime's thread.
#[derive(Debug)]
pub struct History {
    pub(super) shared: Arc<Shared>,
    pub(super) file: Connection,
    pub(super) unpacker: Unpacker,
}

impl Store {
    /// A reader of the history. None when the store is in memory only, which has no history.
    ///
    /// # Errors
    /// When the file cannot be opened for reading.
    pub fn history(&self) -> Result<Option<History>, StoreError> {
        let Some(path) = &self.shared.path else {
            return Ok(None);
        };
        let file = open_reader(path).map_err(|error| StoreError::unusable(path, &error))?;
        Ok(Some(History {
            shared: Arc::clone(&self.shared),
            file,
            unpacker: Unpacker::new()?,
        }))
    }
}

impl History {
    /// The sealed hours of a cluster that overlap `[from, to)`, oldest first; an hour that was sealed
    /// twice, because the clock was set back, in the order of its frames.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn sealed(
        &self,
        cluster: &ClusterName,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Sealed>, ReadError> {
        let found = file::seals(&self.file, cluster.as_str(), from.aligned(HOUR), to)?;
        let sealed = found.into_iter().map(|(id, hour)| Sealed {
            id,
            hour: hour.hour,
            first: hour.first,
            last: hour.last,
        });
        Ok(sealed.collect())
    }

    /// A group at the beats of an hour at which it was there, with all of its partitions.
    ///
    /// # Errors
    /// When a block cannot be read.
    pub fn group(
        &mut self,
        sealed: &Sealed,
        group: &str,
    ) -> Result<Vec<(Timestamp, GroupEvaluation)>, ReadError> {
        let key = Key::name(group);
        let wanted = Wanted {
            group: Some(group),
            partition: None,
        };
        let mut beats = Vec::new();
        let mut spans = Vec::new();
        for id in file::blocks(&self.file, sealed.id, Kind::Groups, &key, &key.end())? {
            let block = self.group_block(sealed, id, wanted)?;
            if !spans.is_empty() && !block.groups.is_empty() && beats != block.beats {
                return Err(self.corrupt(Malformed("blocks of a group have different beats")));
            }
            if !block.groups.is_empty() {
                beats = block.beats;
            }
            spans.extend(block.groups);
        }
        let rows = assemble::group(spans, 0..beats.len());
        let rows = rows.map_err(|why| self.corrupt(why))?;
        Ok(rows.into_iter().map(|(at, row)| (beats[at], row)).collect())
    }

    /// One partition of a group at the beats of an hour at which it was there.
    ///
    /// # Errors
    /// When a block cannot be read.
    pub fn partition(
        &mut self,
        sealed: &Sealed,
        (group, topic, partition): (&str, &str, u32),
    ) -> Result<Vec<(Timestamp, PartitionEvaluation)>, ReadError> {
        let key = Key::name(group).within(topic).partition(partition);
        let wanted = Wanted {
            group: Some(group),
            partition: Some((topic, partition)),
        };
        for id in file::blocks(&self.file, sealed.id, Kind::Groups, &key, &key)? {
            let block = self.group_block(sealed, id, wanted)?;
            let topics = block.groups.into_iter().flat_map(|group| group.topics);
            for found in topics.filter(|found| found.topic.as_str() == topic) {
                let at = partition.checked_sub(found.from);
                let at = at.and_then(|at| usize::try_from(at).ok());
                let rows = at.and_then(|at| found.series.into_iter().nth(at));
                if let Some(rows) = rows.filter(|rows| !rows.is_empty()) {
                    let beats = found.counts.above(partition + 1).map(|at| block.beats[at]);
                    return Ok(beats.zip(rows).collect());
                }
            }
        }
        Ok(Vec::new())
    }

    /// A topic with its log offsets at the beats of an hour at which it was there.
    ///
    /// # Errors
    /// When a block cannot be read.
    pub fn topic(
        &mut self,
        sealed: &Sealed,
        topic: &str,
    ) -> Result<Vec<(Timestamp, TopicEvaluation)>, ReadError> {
        let key = Key::name(topic);
        let mut beats = Vec::new();
        let mut spans = Vec::new();
        for id in file::blocks(&self.file, sealed.id, Kind::Topics, &key, &key.end())? {
            let bytes = self.bytes(id)?;
            let mut names = naming(&self.shared, &self.file);
            let wanted = Some(topic);
            let block =
                TopicBlock::decode(&bytes, sealed.hour, wanted, &mut names, &mut self.unpacker);
            let error = names.error.take();
            let block = self.readable(block, error)?;
            if !spans.is_empty() && !block.topics.is_empty() && beats != block.beats {
                return Err(self.corrupt(Malformed("blocks of a topic have different beats")));
            }
            if !block.topics.is_empty() {
                beats = block.beats;
            }
            spans.extend(block.topics);
        }
        let rows = assemble::topic(spans, 0..beats.len());
        let rows = rows.map_err(|why| self.corrupt(why))?;
        Ok(rows.into_iter().map(|(at, row)| (beats[at], row)).collect())
    }

    /// The cluster as a whole at the beats of an hour.
    ///
    /// # Errors
    /// When the block cannot be read.
    pub fn cluster(
        &mut self,
        sealed: &Sealed,
    ) -> Result<Vec<(Timestamp, Phase, ClusterSummary)>, ReadError> {
        let key = Key::default();
        let mut rows = Vec::new();
        for id in file::blocks(&self.file, sealed.id, Kind::Cluster, &key, &key)? {
            let bytes = self.bytes(id)?;
            let decoded = decode_cluster(&bytes, sealed.hour, &mut self.unpacker);
            rows.extend(self.readable(decoded, None)?);
        }
        Ok(rows)
    }

    /// The rollups of a subject in `[from, to)`, oldest first; `span` is five minutes or an hour.
    /// Hours that are not sealed have none.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn rollups(
        &self,
        cluster: &ClusterName,
        subject: &Subject,
        span: Duration,
        range: (Timestamp, Timestamp),
    ) -> Result<Vec<(Timestamp, Rollup)>, ReadError> {
        let rows = rollup_rows::read(&self.file, cluster.as_str(), subject, span, range)?;
        Ok(rows)
    }

    /// The names of the groups that an hour has, sorted.
    ///
    /// # Errors
    /// When a block cannot be read.
    pub fn group_names(&mut self, sealed: &Sealed) -> Result<Vec<Arc<str>>, ReadError> {
        let (from, to) = (Key::default(), Key::default().end());
        let nothing = Wanted {
            group: None,
            partition: Some(("", u32::MAX)),
        };
        let mut names: Vec<Arc<str>> = Vec::new();
        for id in file::blocks(&self.file, sealed.id, Kind::Groups, &from, &to)? {
            let block = self.group_block(sealed, id, nothing)?;
            names.extend(
                block
                    .groups
                    .iter()
                    .map(|group| Arc::clone(group.id.shared())),
            );
        }
        names.dedup();
        Ok(names)
    }

    fn bytes(&self, id: i64) -> Result<Vec<u8>, ReadError> {
        // None: retention took it just now, and with it the whole hour.
        file::block(&self.file, id)?
            .ok_or_else(|| ReadError::Later("the hour has just expired".to_owned()))
    }

    fn group_block(
        &mut self,
        sealed: &Sealed,
        id: i64,
        wanted: Wanted<'_>,
    ) -> Result<GroupBlock, ReadError> {
        let bytes = self.bytes(id)?;
        let mut names = naming(&self.shared, &self.file);
        let block = GroupBlock::decode(&bytes, sealed.hour, wanted, &mut names, &mut self.unpacker);
        let error = names.error.take();
        self.readable(block, error)
    }

    fn readable<T>(
        &self,
        decoded: Result<T, Malformed>,
        error: Option<rusqlite::Error>,
    ) -> Result<T, ReadError> {
        match (decoded, error) {
            (Ok(decoded), _) => Ok(decoded),
            (Err(_), Some(error)) => Err(error.into()),
            (Err(why), None) => Err(self.corrupt(why)),
        }
    }

    fn corrupt(&self, why: Malformed) -> ReadError {
        self.shared.state().health.corrupt_blocks += 1;
        tracing::error!("a block of the history cannot be read: {why}");
        ReadError::Corrupt(why.to_string())
    }
}

fn naming<'a>(shared: &'a Shared, file: &'a Connection) -> Naming<'a> {
    Naming {
        dictionary: &shared.dictionary,
        file: Some(file),
        error: None,
    }
}
