//! The thread that turns finished hours of frames into blocks.
//!
//! It reads on a connection of its own, one piece of a frame at a time, and never works longer than
//! [`WORK`] without looking whether it shall stop. An hour is gone through once for each run of
//! series that fits into memory ([`super::gather`]); the writer gets what is finished in slices
//! small enough to fit between two beats, one at a time. What is on disk of an hour is not done
//! again; a killed sealer repeats the run it was in.
//!
//! A frame that cannot be read is left out of the whole hour, and counted: its beat is a gap.

mod frames;
mod slices;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use rusqlite::Connection;

use self::frames::{Ids, Numbers, known, pieces, readable};
use self::slices::Slices;
use super::block::{Kind, ROWS_MAX};
use super::file::{self, Hour, NewBlock, Progress, Step};
use super::gather::{Groups, LOGS_IN_MEMORY, ROWS_IN_MEMORY, Topics};
use super::key::Key;
use super::rollup::{self, GroupRollups, Subject, TopicRollups};
use super::rollup_rows::NewRow;
use super::stamps::{self, Used};
use super::topics::encode_cluster;
use super::{HOUR, Packer};
use crate::clock::{Stopwatch, Timestamp};
use crate::store::codec::{Decoder, Kind as Piece, Lookup, Names, ReadLogs};
use crate::store::error::StoreError;
use crate::store::frame::Seq;
use crate::store::journal::read_part;
use crate::store::schema::open_reader;
use crate::store::{Command, SealWork, Shared};

/// How long after its end an hour is sealed: late beats of slow clusters are on disk by then.
const MARGIN: Duration = Duration::from_secs(60);

/// How often it is looked whether an hour is over.
const LOOK: Duration = Duration::from_millis(200);

/// How long to wait after something went wrong.
const AGAIN: Duration = Duration::from_secs(5);

/// How long to work without a pause, and how long a pause is.
const WORK: Duration = Duration::from_millis(20);
const PAUSE: Duration = Duration::from_millis(2);

/// What bounds the sealer's memory and its transactions.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Limits {
    /// Rows of groups, and of topics, in memory at once.
    pub(super) rows: usize,
    pub(super) logs: usize,
    /// Bytes of blocks that are written in one transaction, about.
    pub(super) slice: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rows: ROWS_IN_MEMORY,
            logs: LOGS_IN_MEMORY,
            slice: 256 << 10,
        }
    }
}

/// Names that are stamped in one transaction at most.
const NAMES_AT_ONCE: usize = 256;

/// Frames of an hour that are sealed together at most.
const FRAMES: usize = ROWS_MAX / 2;

/// Why an hour is not sealed now.
#[derive(Debug)]
enum Failed {
    /// The store is closed.
    Stop,
    /// Later it may go.
    Later(String),
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Failed::Later(error.to_string())
    }
}

/// Never sent: its sender is dropped when nobody has the store any more.
#[derive(Debug)]
pub(in crate::store) enum Never {}

/// The sealing thread.
#[derive(Debug)]
pub struct Sealer {
    shared: Arc<Shared>,
    commands: SyncSender<Command>,
    stop: Receiver<Never>,
    decoder: Decoder,
    packer: Packer,
    file: Option<Connection>,
    worked: Stopwatch,
    pub(super) limits: Limits,
    /// Everything before this is sealed.
    done: Option<Timestamp>,
}

/// One frame of an hour.
#[derive(Clone, Copy, Debug)]
struct Beat {
    seq: Seq,
    at: Timestamp,
    parts: usize,
}

/// What stays the same while an hour is sealed.
struct Work {
    seal: i64,
    cluster: u32,
    hour: Timestamp,
    /// The last beat of the hour before, from which records are counted.
    base: Option<Beat>,
    beats: Vec<Beat>,
    /// The shortest distance of two beats; absent with a single one.
    interval: Option<Duration>,
    skipped: u64,
}

impl Work {
    fn rows(&self, rows: Vec<rollup::Row>, ids: &Ids) -> Vec<(Key, NewRow)> {
        let mut numbers = Numbers(ids);
        let rows = rows.into_iter().map(|row| {
            let (key, group, topic) = match &row.subject {
                Subject::Group(group) => (Key::name(group.as_str()), Some(group.shared()), None),
                Subject::GroupTopic(group, topic) => (
                    Key::name(group.as_str()).within(topic.as_str()),
                    Some(group.shared()),
                    Some(topic.shared()),
                ),
                Subject::Topic(topic) => (Key::name(topic.as_str()), None, Some(topic.shared())),
            };
            let mut number = |name: Option<&Arc<str>>| name.map_or(0, |name| numbers.id(name));
            let row = NewRow {
                cluster: self.cluster,
                group: number(group),
                topic: number(topic),
                start: row.start,
                span: row.span,
                rollup: row.rollup,
            };
            (key, row)
        });
        rows.collect()
    }
}

impl Sealer {
    pub(in crate::store) fn new(
        shared: Arc<Shared>,
        commands: SyncSender<Command>,
        stop: Receiver<Never>,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            shared,
            commands,
            stop,
            decoder: Decoder::new()?,
            packer: Packer::new()?,
            file: None,
            worked: Stopwatch::start(),
            limits: Limits::default(),
            done: None,
        })
    }

    /// Seals until every handle is gone, or the store is closed. Ends at once without a file.
    pub fn run(mut self) {
        if self.shared.path.is_none() {
            return;
        }
        let mut wait = LOOK;
        loop {
            match self.stop.recv_timeout(wait) {
                Ok(never) => match never {},
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            wait = match self.look() {
                Ok(()) => LOOK,
                Err(Failed::Stop) => return,
                Err(Failed::Later(why)) => {
                    self.note_error(&why);
                    self.file = None;
                    AGAIN
                }
            };
        }
    }

    fn note_error(&self, why: &str) {
        let mut state = self.shared.state();
        let health = &mut state.health;
        health.seal_errors += 1;
        if health.last_seal_error.as_deref() != Some(why) {
            health.last_seal_error = Some(why.to_owned());
            tracing::warn!("an hour cannot be sealed: {why}; trying again");
        }
    }

    /// The moment before which hours are over and all their frames on disk. None without frames.
    fn horizon(&self) -> Option<Timestamp> {
        let state = self.shared.state();
        let newest = state.index.iter().next_back()?.beat.minus(MARGIN);
        let unstored = state.index.iter().rev().take_while(|e| !e.is_stored);
        let oldest_unstored = unstored.map(|entry| entry.beat).min();
        let until = oldest_unstored.map_or(newest, |beat| beat.min(newest));
        Some(until.aligned(HOUR))
    }

    /// Seals what is to be sealed.
    fn look(&mut self) -> Result<(), Failed> {
        let Some(horizon) = self.horizon() else {
            return Ok(());
        };
        if self.done == Some(horizon) {
            return Ok(());
        }
        let file = self.take_file()?;
        let result = self.seal_all(&file, horizon);
        if result.is_ok() {
            self.done = Some(horizon);
            self.shared.state().health.sealed_through = Some(horizon);
        }
        self.file = Some(file);
        result
    }

    fn take_file(&mut self) -> Result<Connection, Failed> {
        match (self.file.take(), &self.shared.path) {
            (Some(file), _) => Ok(file),
            (None, Some(path)) => Ok(open_reader(path)?),
            (None, None) => Err(Failed::Stop),
        }
    }

    fn seal_all(&mut self, file: &Connection, horizon: Timestamp) -> Result<(), Failed> {
        for (seal, hour, progress) in file::unfinished(file)? {
            self.seal(file, seal, &hour, progress)?;
        }
        loop {
            let Some(mut hour) = file::unsealed(file, horizon)?.into_iter().next() else {
                return Ok(());
            };
            if let Some((last, ..)) = file::frames(file, &hour, FRAMES)?.last() {
                hour.last = *last;
            }
            let seal = self.ask(SealWork::Begin(hour.clone()))?;
            self.seal(file, seal, &hour, Progress::at(Step::Groups))?;
        }
    }

    /// Has the writer do something.
    fn ask(&self, work: SealWork) -> Result<i64, Failed> {
        let (reply, answer) = sync_channel(1);
        self.commands
            .try_send(Command::Seal { work, reply })
            .map_err(|_| Failed::Stop)?;
        match answer.recv() {
            Ok(done) => done.map_err(Failed::Later),
            Err(_) => Err(Failed::Stop),
        }
    }

    /// Rests when it has worked long enough.
    fn rest(&mut self) -> Result<(), Failed> {
        if self.worked.elapsed() < WORK {
            return Ok(());
        }
        match self.stop.recv_timeout(PAUSE) {
            Ok(never) => match never {},
            Err(RecvTimeoutError::Disconnected) => Err(Failed::Stop),
            Err(RecvTimeoutError::Timeout) => {
                self.worked = Stopwatch::start();
                Ok(())
            }
        }
    }

    fn seal(
        &mut self,
        file: &Connection,
        seal: i64,
        hour: &Hour,
        mut progress: Progress,
    ) -> Result<(), Failed> {
        let mut work = self.prepare(file, seal, hour)?;
        while progress.step != Step::Done {
            progress = match progress.step {
                Step::Groups => self.seal_groups(file, &mut work, progress)?,
                Step::Topics => self.seal_topics(file, &mut work, progress)?,
                Step::Cluster | Step::Done => self.seal_cluster(file, &mut work, progress)?,
            };
        }
        let within = (hour.hour, hour.hour.plus(HOUR));
        let mut state = self.shared.state();
        state.index.sealed(hour.cluster, within, hour.last);
        Ok(())
    }

    /// Finds the frames of an hour that can be read: all pieces are there, and are what was written.
    fn prepare(&mut self, file: &Connection, seal: i64, hour: &Hour) -> Result<Work, Failed> {
        let base = file::frame_before(file, hour)?;
        let mut work = Work {
            seal,
            cluster: hour.cluster,
            hour: hour.hour,
            base: base.map(|(seq, at, parts)| Beat { seq, at, parts }),
            beats: Vec::new(),
            interval: None,
            skipped: 0,
        };
        for (seq, at, parts) in file::frames(file, hour, FRAMES)? {
            let mut is_whole = parts > 0;
            for place in 0..parts {
                let part = read_part(file, seq, place)?;
                is_whole &= part.is_some_and(|part| Decoder::check(at, place, &part).is_ok());
                self.rest()?;
            }
            match is_whole {
                true => work.beats.push(Beat { seq, at, parts }),
                false => self.skip(&mut work, seq, "a piece of it is damaged or missing"),
            }
        }
        let steps = work
            .beats
            .windows(2)
            .map(|two| two[1].at.ms_since(two[0].at));
        let shortest = steps.filter(|ms| *ms > 0).min();
        work.interval = shortest.map(|ms| Duration::from_millis(ms.unsigned_abs()));
        Ok(work)
    }

    fn skip(&self, work: &mut Work, seq: Seq, why: &str) {
        work.skipped += 1;
        self.shared.state().health.seal_skipped_frames += 1;
        tracing::error!(frame = seq.0, "a frame is left out of the history: {why}");
    }

    /// Seals the groups from where they go on.
    fn seal_groups(
        &mut self,
        file: &Connection,
        work: &mut Work,
        progress: Progress,
    ) -> Result<Progress, Failed> {
        let mut ids = Ids::default();
        let mut run = Groups::new(progress.next.clone(), work.beats.len(), self.limits.rows);
        let mut rollups = GroupRollups::default();
        self.base_of_groups(file, work, &progress.next, &mut rollups)?;
        for beat in work.beats.clone() {
            self.rest()?;
            let Some(head) = self.head(file, &beat, &mut ids)? else {
                continue;
            };
            run.begin(beat.at);
            for (place, last) in pieces(&head, Piece::Groups, &run.range.from) {
                let first = head
                    .parts
                    .get(place - 1)
                    .and_then(|info| info.first.as_ref());
                if first.is_some_and(|first| run.range.is_before(&Key::name(first))) {
                    break;
                }
                let Some(part) = read_part(file, beat.seq, place)? else {
                    continue;
                };
                let shared = Arc::clone(&self.shared);
                let mut names = known(&shared, file, &mut ids);
                let groups = (self.decoder).decode_groups(&head, place, beat.at, &part, &mut names);
                for group in readable(groups, &mut names.naming)?.unwrap_or_default() {
                    if !run.add(&group) {
                        break;
                    }
                    if Key::name(group.id.as_str()).end() >= run.range.from {
                        rollups.add(beat.at, &group);
                    }
                }
                if last {
                    break;
                }
                self.rest()?;
            }
        }
        let next = match &run.range.to {
            Some(to) => Progress {
                step: Step::Groups,
                next: to.clone(),
            },
            None => Progress::at(Step::Topics),
        };
        let range = run.range.clone();
        let rows = work.rows(rollups.rows(work.interval), &ids);
        self.stamp(file, work, &ids, &rows)?;
        let rows = rows.into_iter().filter(|(key, _)| range.has(key)).collect();
        let mut out = Slices::new(work, progress, next, self.limits.slice, rows);
        for block in run.into_blocks() {
            let Some((first, last)) = block.keys() else {
                continue;
            };
            let bytes = block.encode(work.hour, &mut Numbers(&ids), &mut self.packer);
            let kind = Kind::Groups;
            let block = NewBlock {
                kind,
                first,
                last,
                bytes,
            };
            self.rest()?;
            if let Some(slice) = out.push(block) {
                self.ask(SealWork::Slice(slice))?;
            }
        }
        let (slice, after) = out.finish();
        self.ask(SealWork::Slice(slice))?;
        Ok(after)
    }

    /// Seals the topics from where they go on. What groups say of a topic's log is not written again
    /// in a frame, so that all groups are looked at.
    fn seal_topics(
        &mut self,
        file: &Connection,
        work: &mut Work,
        progress: Progress,
    ) -> Result<Progress, Failed> {
        let mut ids = Ids::default();
        let mut run = Topics::new(progress.next.clone(), work.beats.len(), self.limits.logs);
        let mut rollups = TopicRollups::default();
        self.base_of_topics(file, work, &mut rollups)?;
        for beat in work.beats.clone() {
            let Some(head) = self.head(file, &beat, &mut ids)? else {
                continue;
            };
            let Some(read) = self.read_logs(file, &beat, &head, &mut ids)? else {
                continue;
            };
            run.begin(beat.at);
            for (place, _) in pieces(&head, Piece::Topics, &run.range.from) {
                let first = head
                    .parts
                    .get(place - 1)
                    .and_then(|info| info.first.as_ref());
                if first.is_some_and(|first| run.range.is_before(&Key::name(first))) {
                    break;
                }
                let Some(part) = read_part(file, beat.seq, place)? else {
                    continue;
                };
                let shared = Arc::clone(&self.shared);
                let mut names = known(&shared, file, &mut ids);
                let with: (&ReadLogs, &mut dyn Lookup) = (&read, &mut names);
                let topics = (self.decoder).decode_topics(&head, place, beat.at, &part, with);
                for topic in readable(topics, &mut names.naming)?.unwrap_or_default() {
                    if run.add(&topic) {
                        rollups.add(beat.at, &topic);
                    }
                }
                self.rest()?;
            }
        }
        let next = match &run.range.to {
            Some(to) => Progress {
                step: Step::Topics,
                next: to.clone(),
            },
            None => Progress::at(Step::Cluster),
        };
        let range = run.range.clone();
        let rows = work.rows(rollups.rows(), &ids);
        self.stamp(file, work, &ids, &rows)?;
        let rows = rows.into_iter().filter(|(key, _)| range.has(key)).collect();
        let mut out = Slices::new(work, progress, next, self.limits.slice, rows);
        for block in run.into_blocks() {
            let Some((first, last)) = block.keys() else {
                continue;
            };
            let bytes = block.encode(work.hour, &mut Numbers(&ids), &mut self.packer);
            let kind = Kind::Topics;
            let block = NewBlock {
                kind,
                first,
                last,
                bytes,
            };
            self.rest()?;
            if let Some(slice) = out.push(block) {
                self.ask(SealWork::Slice(slice))?;
            }
        }
        let (slice, after) = out.finish();
        self.ask(SealWork::Slice(slice))?;
        Ok(after)
    }

    /// Has the writer note which names an hour uses, some at a time.
    fn stamp(
        &mut self,
        file: &Connection,
        work: &Work,
        ids: &Ids,
        rows: &[(Key, NewRow)],
    ) -> Result<(), Failed> {
        let of_rows = rows.iter().flat_map(|(_, row)| [row.group, row.topic]);
        let by_rows: BTreeSet<u32> = of_rows.chain([work.cluster]).collect();
        let mut all = ids.all();
        all.extend(&by_rows);
        let hour = stamps::hour_of(work.hour);
        let mut due = Vec::new();
        for id in all {
            let by_rows = by_rows.contains(&id);
            let used = Used { id, by_rows };
            if stamps::is_due(file, used, hour)? {
                due.push(used);
            }
            self.rest()?;
        }
        for used in due.chunks(NAMES_AT_ONCE) {
            self.ask(SealWork::Names(hour, used.to_vec()))?;
        }
        Ok(())
    }

    /// Seals the cluster as a whole: the last step.
    fn seal_cluster(
        &mut self,
        file: &Connection,
        work: &mut Work,
        progress: Progress,
    ) -> Result<Progress, Failed> {
        let mut ids = Ids::default();
        let mut rows = Vec::new();
        for beat in work.beats.clone() {
            match self.head(file, &beat, &mut ids)? {
                Some(head) => rows.push((beat.at, head.phase, head.summary)),
                None => self.skip(work, beat.seq, "it fell off the journal, or is damaged"),
            }
            self.rest()?;
        }
        let done = Progress::at(Step::Done);
        let mut out = Slices::new(work, progress, done, self.limits.slice, Vec::new());
        out.beats = rows.len() as u64;
        let block = NewBlock {
            kind: Kind::Cluster,
            first: Key::default(),
            last: Key::default(),
            bytes: encode_cluster(&rows, work.hour, &mut self.packer),
        };
        out.push(block);
        let (slice, after) = out.finish();
        self.ask(SealWork::Slice(slice))?;
        Ok(after)
    }
}
