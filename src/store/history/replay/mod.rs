//! Going over the past once: what a sink would have got, from blocks where hours are sealed, from the
//! journal's frames where they are not.
//!
//! An [`Archive`] opens a store's file for reading, beside the lagline that owns it or when none does.
//! Its [`Replay`] goes cluster by cluster and hour by hour. What it gives are pieces of evaluations:
//! of a sealed hour some groups (or topics) beat by beat, then the next ones, because an hour of all
//! of them does not fit into memory; of the journal one beat after the other. So the pieces of one
//! series come in the order of its beats, and each exactly once.
//!
//! Not here: status changes, the cluster as a whole, the sinks' own state. What retention takes away
//! meanwhile, and what is damaged, is left out and counted ([`Losses`]).

mod frames;
mod plan;
mod run;
mod sealed;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use self::frames::Frames;
use self::plan::Planned;
use self::sealed::Walk;
use super::file::{Hour, seals};
use super::groups::GroupSpan;
use super::read::{History, ReadError};
use super::topics::LogSpan;
use super::{HOUR, Unpacker};
use crate::clock::Timestamp;
use crate::lag::evaluation::{ClusterSummary, Evaluation, GroupEvaluation, Phase, TopicEvaluation};
use crate::lag::ids::ClusterName;
use crate::points::row_count;
use crate::store::codec::Decoder;
use crate::store::error::StoreError;
use crate::store::frame::{Body, Frame, Seq};
use crate::store::holes::PastHole;
use crate::store::journal::{Loaded, read_holes};
use crate::store::schema::open_archive;
use crate::store::{Shared, StoreSettings, lock};

/// Rows in memory at once, about: 80 MB. An hour of a group with a thousand partitions is one run, with
/// beats every ten seconds.
const ROWS_IN_MEMORY: usize = 512 << 10;

/// A store's file, open for reading.
#[derive(Debug)]
pub struct Archive {
    history: History,
    decoder: Decoder,
    /// Rows in memory at once; fewer in tests.
    pub(super) rows: usize,
}

/// What is gone over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Only this cluster.
    pub cluster: Option<ClusterName>,
    /// Only this group.
    pub group: Option<String>,
    /// From this beat on, up to and not including that one.
    pub from: Timestamp,
    pub to: Timestamp,
    /// Only frames with these numbers, the last one included; of a sealed hour with such frames all.
    pub frames: Option<(Seq, Seq)>,
    /// Whether groups are wanted, and whether topics with their log offsets.
    pub groups: bool,
    pub logs: bool,
}

impl Scope {
    /// Everything from a beat on, up to and not including another.
    pub fn between(from: Timestamp, to: Timestamp) -> Self {
        Self {
            cluster: None,
            group: None,
            from,
            to,
            frames: None,
            groups: true,
            logs: true,
        }
    }

    fn has(&self, beat: Timestamp) -> bool {
        (self.from..self.to).contains(&beat)
    }
}

/// How far a replay is: everything up to a piece. A replay that begins there gives what follows. When
/// the hour it is in has been sealed meanwhile, the hour comes again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    cluster: String,
    hour_ms: i64,
    at: At,
}

/// A place within an hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum At {
    Sealed {
        /// The first frame of the sealed ones.
        first: i64,
        /// In the topics; the groups are done.
        logs: bool,
        /// Everything up to this name is done.
        after: Option<String>,
        /// Of what follows, up to and including this name, so many beats are done.
        until: String,
        beats: usize,
    },
    Frames {
        /// The first frame that was not sealed.
        first: i64,
        done: i64,
    },
}

/// A part of an evaluation: some groups or some topics at a beat, sorted.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// As a sink reads it. Its number counts the pieces, from 1; its rows are the points of its groups
    /// and topics. The cluster's own values are not in it.
    pub frame: Arc<Frame>,
    pub place: Place,
}

/// How far a replay is, in bytes of blocks and frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Progress {
    pub done: u64,
    pub total: u64,
}

/// What could not be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Losses {
    /// Blocks, frames, and groups or topics of an hour, that are damaged.
    pub damaged: u64,
    /// Blocks and frames that retention took away while they were on the way.
    pub expired: u64,
}

impl Archive {
    /// Opens the file at `path`. Blocks.
    ///
    /// # Errors
    /// When the file cannot be read, or has another version.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let file = open_archive(path)?;
        let settings = StoreSettings::default();
        let shared = Shared::new(Some(path), settings, &mut Loaded::default(), None);
        Ok(Self {
            history: History {
                shared: Arc::new(shared),
                file,
                unpacker: Unpacker::new()?,
                limits: None,
            },
            decoder: Decoder::new().map_err(StoreError::Codec)?,
            rows: ROWS_IN_MEMORY,
        })
    }

    /// The clusters there is something of, sorted.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn clusters(&self) -> Result<Vec<ClusterName>, ReadError> {
        let scope = Scope::between(Timestamp::from_ms(i64::MIN), Timestamp::from_ms(i64::MAX));
        let hours = plan::hours(&self.history.file, &scope)?;
        let mut clusters: Vec<_> = hours.into_iter().map(|hour| hour.cluster).collect();
        clusters.dedup();
        Ok(clusters)
    }

    /// What a sink has missed, oldest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn holes(&self, sink: &str) -> Result<Vec<PastHole>, ReadError> {
        let mut holes = read_holes(&self.history.file)?;
        Ok(holes.remove(sink).unwrap_or_default())
    }

    /// Goes over the past, from the beginning or from a place where an earlier replay of the same
    /// scope was. Blocks: not for a runtime's thread.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn replay(&mut self, scope: Scope, from: Option<Place>) -> Result<Replay<'_>, ReadError> {
        let mut hours = plan::hours(&self.history.file, &scope)?;
        if let Some(place) = &from {
            hours.retain(|hour| place.is_not_after(hour));
        }
        let total = hours.iter().map(|hour| hour.bytes).sum();
        Ok(Replay {
            archive: self,
            scope,
            hours: hours.into(),
            current: None,
            resume: from,
            progress: Progress { done: 0, total },
            done_before: 0,
            losses: Losses::default(),
            given: Seq(0),
        })
    }
}

impl Place {
    /// Whether something of the hour may be left.
    fn is_not_after(&self, hour: &Planned) -> bool {
        (hour.cluster.as_str(), hour.start.as_ms()) >= (self.cluster.as_str(), self.hour_ms)
    }

    fn is_in(&self, hour: &Planned) -> bool {
        (hour.cluster.as_str(), hour.start.as_ms()) == (self.cluster.as_str(), self.hour_ms)
    }
}

/// Gives the past piece by piece.
#[derive(Debug)]
pub struct Replay<'a> {
    archive: &'a mut Archive,
    scope: Scope,
    hours: VecDeque<Planned>,
    current: Option<Current>,
    resume: Option<Place>,
    progress: Progress,
    /// Bytes of the hours before the current one.
    done_before: u64,
    losses: Losses,
    /// The number of the last piece.
    given: Seq,
}

/// The hour that is gone over.
#[derive(Debug)]
struct Current {
    hour: Planned,
    units: VecDeque<Unit>,
}

/// What an hour consists of.
#[derive(Debug)]
enum Unit {
    Groups(Walk<GroupSpan>),
    Logs(Walk<LogSpan>),
    Frames(Frames),
}

/// What units read from, and what they note.
struct Source<'a> {
    file: &'a Connection,
    shared: &'a Shared,
    unpacker: &'a mut Unpacker,
    decoder: &'a mut Decoder,
    scope: &'a Scope,
    rows: usize,
    losses: &'a mut Losses,
    /// Bytes that were read.
    read: u64,
}

/// What a unit gives: groups and topics at a beat.
#[derive(Debug)]
struct Given {
    beat: Timestamp,
    groups: Vec<Arc<GroupEvaluation>>,
    topics: Vec<Arc<TopicEvaluation>>,
}

impl Given {
    fn at(beat: Timestamp) -> Self {
        Self {
            beat,
            groups: Vec::new(),
            topics: Vec::new(),
        }
    }
}

impl Replay<'_> {
    /// The next piece; none at the end. Blocks.
    ///
    /// # Errors
    /// When the file cannot be read. A new replay from the last piece's place may go on.
    pub fn next_piece(&mut self) -> Result<Option<Piece>, ReadError> {
        loop {
            if self.current.is_none() && !self.begin_hour()? {
                return Ok(None);
            }
            if let Some((given, at)) = self.unit_next()? {
                return Ok(Some(self.piece(given, at)));
            }
        }
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// What could not be given so far.
    pub fn losses(&self) -> Losses {
        self.losses
    }

    /// Begins the next hour; false at the end.
    fn begin_hour(&mut self) -> Result<bool, ReadError> {
        let Some(hour) = self.hours.pop_front() else {
            return Ok(false);
        };
        let history = &self.archive.history;
        // What was read of the hours before is not needed any more.
        lock(&history.shared.dictionary).prune(Seq(1));
        let resume = self.resume.take_if(|place| place.is_in(&hour));
        let units = units(
            &history.file,
            &self.scope,
            &hour,
            resume.map(|place| place.at),
        )?;
        self.current = Some(Current { hour, units });
        Ok(true)
    }

    /// What the first unit has next. None when there is no more of it.
    fn unit_next(&mut self) -> Result<Option<(Given, At)>, ReadError> {
        let Some(current) = &mut self.current else {
            return Ok(None);
        };
        let Archive {
            history,
            decoder,
            rows,
        } = &mut *self.archive;
        let mut source = Source {
            file: &history.file,
            shared: &history.shared,
            unpacker: &mut history.unpacker,
            decoder,
            scope: &self.scope,
            rows: *rows,
            losses: &mut self.losses,
            read: 0,
        };
        let given = match current.units.front_mut() {
            Some(Unit::Groups(walk)) => walk.next(&mut source),
            Some(Unit::Logs(walk)) => walk.next(&mut source),
            Some(Unit::Frames(frames)) => frames.next(&mut source),
            None => Ok(None),
        }?;
        let end = self.done_before + current.hour.bytes;
        self.progress.done = (self.progress.done + source.read).min(end);
        if given.is_none() {
            current.units.pop_front();
            if current.units.is_empty() {
                self.progress.done = end;
                self.done_before = end;
                self.current = None;
            }
        }
        Ok(given)
    }

    fn piece(&mut self, given: Given, at: At) -> Piece {
        let hour = self.current.as_ref().map(|current| &current.hour);
        let (cluster, start) = match hour {
            Some(hour) => (hour.cluster.clone(), hour.start),
            None => (ClusterName::new(""), given.beat.aligned(HOUR)),
        };
        let place = Place {
            cluster: cluster.as_str().to_owned(),
            hour_ms: start.as_ms(),
            at,
        };
        let evaluation = Evaluation {
            cluster,
            beat: given.beat,
            phase: Phase::Running,
            summary: ClusterSummary::default(),
            groups: given.groups,
            topics: given.topics,
        };
        let body = Body::Evaluation {
            evaluation: Arc::new(evaluation),
            changes: Vec::new(),
        };
        self.given = Seq(self.given.0 + 1);
        let frame = Frame {
            seq: self.given,
            beat: given.beat,
            // Without the cluster as a whole.
            rows: row_count(&body) - 1,
            body,
        };
        Piece {
            frame: Arc::new(frame),
            place,
        }
    }
}

/// What an hour consists of: the sealed runs of its frames, then the frames that are in none. When
/// the hour is being sealed meanwhile, its frames are still there.
fn units(
    file: &Connection,
    scope: &Scope,
    hour: &Planned,
    resume: Option<At>,
) -> Result<VecDeque<Unit>, ReadError> {
    let end = hour.start.plus(HOUR);
    let sealed = seals(file, hour.cluster.as_str(), hour.start, end)?;
    let mut units = VecDeque::new();
    for (id, seal) in &sealed {
        if scope
            .frames
            .is_none_or(|(first, last)| seal.last >= first && seal.first <= last)
        {
            sealed_units(file, scope, (*id, seal), resume.as_ref(), &mut units)?;
        }
    }
    let mut frames = plan::frames(file, scope, hour, &sealed)?;
    let mut first = frames.front().map_or(0, |frame| frame.seq.0);
    if let Some(At::Frames { first: was, done }) = resume {
        frames.retain(|frame| frame.seq.0 > done);
        first = was;
    }
    if !frames.is_empty() {
        units.push_back(Unit::Frames(Frames::new(first, frames)));
    }
    Ok(units)
}

fn sealed_units(
    file: &Connection,
    scope: &Scope,
    seal: (i64, &Hour),
    resume: Option<&At>,
    units: &mut VecDeque<Unit>,
) -> Result<(), ReadError> {
    let (_, hour) = seal;
    let (mut groups, mut logs) = (None, None);
    match resume {
        Some(At::Sealed { first, .. }) if hour.first.0 < *first => return Ok(()),
        // What was read from frames begins behind it.
        Some(At::Frames { first, .. }) if hour.last.0 < *first => return Ok(()),
        Some(
            at @ At::Sealed {
                first, logs: false, ..
            },
        ) if hour.first.0 == *first => {
            groups = Some(at);
        }
        Some(
            at @ At::Sealed {
                first, logs: true, ..
            },
        ) if hour.first.0 == *first => {
            logs = Some(at);
        }
        Some(_) | None => {}
    }
    if scope.groups && logs.is_none() {
        units.push_back(Unit::Groups(Walk::new(file, scope, seal, groups)?));
    }
    if scope.logs {
        units.push_back(Unit::Logs(Walk::new(file, scope, seal, logs)?));
    }
    Ok(())
}
