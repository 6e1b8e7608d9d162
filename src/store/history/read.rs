//! Reading sealed hours.
//!
//! [`History::sealed`] says which frames are in blocks; what is behind them is in the journal. Rows
//! come back as frames have them, beat by beat, in the order in which the frames were journaled: a
//! clock that was set back gives beats that are older than the one before.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

use super::block::Kind;
use super::file;
use super::groups::{GroupBlock, Wanted};
use super::key::Key;
use super::rollup::{Rollup, Subject};
use super::topics::{TopicBlock, decode_cluster};
use super::{HOUR, Unpacker, assemble, rollup_rows};
use crate::clock::{Stopwatch, Timestamp};
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
    /// Beats that are in its blocks.
    pub beats: u64,
    /// Frames that are not, because they could not be read.
    pub skipped: u64,
}

/// How far the frames of an hour are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum State {
    /// Some of its blocks and rollups may be there.
    Unfinished,
    /// Its blocks and rollups are there.
    Whole,
    /// Its blocks are gone. Its frames may still be in the journal.
    Gone,
}

/// What a reader may take.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Limits {
    pub(in crate::store) since: Stopwatch,
    pub(in crate::store) time: Duration,
    /// Blocks of one group's hour: they are in memory together.
    pub(in crate::store) blocks: usize,
}

impl Limits {
    /// Whether the time is over.
    pub(in crate::store) fn is_over(&self) -> bool {
        self.since.elapsed() > self.time
    }
}

/// Something at the beats of an hour.
#[derive(Debug)]
pub(in crate::store) struct Rows<T> {
    /// In the order of frames.
    pub(in crate::store) beats: Vec<Timestamp>,
    /// The places of the beats at which it was there, rising.
    pub(in crate::store) rows: Vec<(usize, T)>,
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self {
            beats: Vec::new(),
            rows: Vec::new(),
        }
    }
}

impl<T> Rows<T> {
    fn timed(self) -> Vec<(Timestamp, T)> {
        let beats = self.beats;
        let rows = self.rows.into_iter();
        rows.filter_map(|(place, row)| Some((*beats.get(place)?, row)))
            .collect()
    }
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
    /// The reader's time is over.
    #[error("reading took too long")]
    TimedOut,
    /// A group has more partitions than the reader may have in memory.
    #[error("the group has too many partitions")]
    TooLarge,
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => ReadError::TimedOut,
            _ => ReadError::Later(error.to_string()),
        }
    }
}

/// How often SQLite asks whether it is time to stop: virtual machine steps.
const STEPS: i32 = 4096;

/// Reads the history on a connection of its own. Blocks: not for a runtime's thread.
#[derive(Debug)]
pub struct History {
    pub(super) shared: Arc<Shared>,
    pub(super) file: Connection,
    pub(super) unpacker: Unpacker,
    /// None: there is no limit.
    pub(super) limits: Option<Limits>,
}

impl Store {
    /// A reader of the history. None when the store is in memory only, which has no history.
    ///
    /// # Errors
    /// When the file cannot be opened for reading.
    pub fn history(&self) -> Result<Option<History>, StoreError> {
        History::open(&self.shared)
    }
}

impl History {
    /// See [`Store::history`].
    pub(in crate::store) fn open(shared: &Arc<Shared>) -> Result<Option<Self>, StoreError> {
        let Some(path) = &shared.path else {
            return Ok(None);
        };
        let file = open_reader(path).map_err(|error| StoreError::unusable(path, &error))?;
        Ok(Some(History {
            shared: Arc::clone(shared),
            file,
            unpacker: Unpacker::new()?,
            limits: None,
        }))
    }

    /// From now on no more is taken than this: statements are interrupted, which also ends their read
    /// transaction.
    pub(in crate::store) fn limit(&mut self, limits: Limits) -> Result<(), ReadError> {
        self.limits = Some(limits);
        let is_over = move || limits.is_over();
        self.file.progress_handler(STEPS, Some(is_over))?;
        Ok(())
    }

    /// The file it reads from.
    pub(in crate::store) fn connection(&self) -> &Connection {
        &self.file
    }

    /// Has `read` see the file as it is at one moment. Short: as long as it lasts the write-ahead log
    /// cannot begin anew.
    pub(in crate::store) fn at_once<T, E: From<ReadError>>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let run = |file: &Connection, sql| file.execute_batch(sql).map_err(ReadError::from);
        run(&self.file, "BEGIN")?;
        let result = read(self);
        // Not to be interrupted: an open transaction would stay.
        let over = self.file.progress_handler(0, None::<fn() -> bool>);
        over.map_err(ReadError::from)?;
        run(&self.file, "ROLLBACK")?;
        if let Some(limits) = self.limits {
            self.limit(limits)?;
        }
        result
    }

    /// All hours of a cluster that begin in `[from, to)`, also those whose sealing is not finished and
    /// those whose blocks are gone; in the order of [`Self::sealed`].
    pub(in crate::store) fn hours(
        &self,
        cluster: &str,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<(Sealed, State)>, ReadError> {
        let found = file::all_seals(&self.file, cluster, from, to)?;
        let hours = found.into_iter().map(|row| {
            let state = match row.step {
                3 => State::Whole,
                4 => State::Gone,
                _ => State::Unfinished,
            };
            let sealed = Sealed {
                id: row.id,
                hour: row.hour,
                first: row.first,
                last: row.last,
                beats: row.beats,
                skipped: row.skipped,
            };
            (sealed, state)
        });
        Ok(hours.collect())
    }

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
        let hours = self.hours(cluster.as_str(), from.aligned(HOUR), to)?;
        let whole = hours
            .into_iter()
            .filter(|(_, state)| *state == State::Whole);
        Ok(whole.map(|(sealed, _)| sealed).collect())
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
        self.group_rows(sealed, group).map(Rows::timed)
    }

    /// The same with all beats of the hour, unless the group is at none of them.
    pub(in crate::store) fn group_rows(
        &mut self,
        sealed: &Sealed,
        group: &str,
    ) -> Result<Rows<GroupEvaluation>, ReadError> {
        let key = Key::name(group);
        let wanted = Wanted {
            group: Some(group),
            partition: None,
        };
        let mut beats = Vec::new();
        let mut spans = Vec::new();
        let blocks = file::blocks(&self.file, sealed.id, Kind::Groups, &key, &key.end())?;
        if self
            .limits
            .is_some_and(|limits| blocks.len() > limits.blocks)
        {
            return Err(ReadError::TooLarge);
        }
        for id in blocks {
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
        Ok(Rows { beats, rows })
    }

    /// One partition of a group at the beats of an hour at which it was there.
    ///
    /// # Errors
    /// When a block cannot be read.
    pub fn partition(
        &mut self,
        sealed: &Sealed,
        series: (&str, &str, u32),
    ) -> Result<Vec<(Timestamp, PartitionEvaluation)>, ReadError> {
        self.partition_rows(sealed, series).map(Rows::timed)
    }

    /// The same with all beats of the hour, unless the partition is at none of them.
    pub(in crate::store) fn partition_rows(
        &mut self,
        sealed: &Sealed,
        (group, topic, partition): (&str, &str, u32),
    ) -> Result<Rows<PartitionEvaluation>, ReadError> {
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
                    let places = found.counts.above(partition + 1);
                    return Ok(Rows {
                        rows: places.zip(rows).collect(),
                        beats: block.beats,
                    });
                }
            }
        }
        Ok(Rows::default())
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
        self.topic_rows(sealed, topic).map(Rows::timed)
    }

    /// The same with all beats of the hour, unless the topic is at none of them.
    pub(in crate::store) fn topic_rows(
        &mut self,
        sealed: &Sealed,
        topic: &str,
    ) -> Result<Rows<TopicEvaluation>, ReadError> {
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
        Ok(Rows { beats, rows })
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

    /// All beats of an hour that are in its blocks, in the order of frames.
    ///
    /// # Errors
    /// When the block cannot be read.
    pub(in crate::store) fn beats(&mut self, sealed: &Sealed) -> Result<Vec<Timestamp>, ReadError> {
        let rows = self.cluster(sealed)?;
        Ok(rows.into_iter().map(|(beat, ..)| beat).collect())
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
        if self.limits.is_some_and(|limits| limits.is_over()) {
            return Err(ReadError::TimedOut);
        }
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
