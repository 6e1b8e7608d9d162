//! How far a backfill is, and which holes are filled: one small file a sink, beside the store.
//!
//! It is not in the store itself, because a running lagline is the only one that writes there: the
//! command line works beside it, and `/api/v1/sinks` reads this file as it reads the dead letters.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::sinks::dead_letters::path_of;
use crate::store::PastHole;
use crate::store::frame::Seq;
use crate::store::history::replay::{Place, Scope};

/// Which hole of a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HoleId {
    first: i64,
    last: i64,
    /// Tells holes of another file apart, whose numbers begin anew.
    before_ms: i64,
}

impl HoleId {
    /// What tells the hole from others.
    fn of(hole: &PastHole) -> Self {
        Self {
            first: hole.first.0,
            last: hole.last.0,
            before_ms: hole.before.as_ms(),
        }
    }
}

/// A hole that was filled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filled {
    pub(super) hole: HoleId,
    pub at_ms: i64,
    /// Points of the history that were written.
    pub points: u64,
}

impl Filled {
    /// Whether it is about this hole.
    pub fn is_of(&self, hole: &PastHole) -> bool {
        self.hole == HoleId::of(hole)
    }
}

/// One stretch of the past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    from_ms: i64,
    to_ms: i64,
    /// The first and the last frame.
    frames: Option<(i64, i64)>,
    pub(super) hole: Option<HoleId>,
    /// Points that were offered so far, and those of them that were refused for good.
    pub(super) points: u64,
    pub(super) rejected: u64,
}

impl Range {
    /// From a beat on, up to and not including another.
    pub fn between(from: Timestamp, to: Timestamp) -> Self {
        Self {
            from_ms: from.as_ms(),
            to_ms: to.as_ms(),
            frames: None,
            hole: None,
            points: 0,
            rejected: 0,
        }
    }

    /// The beats of a hole. Both ends are in it: clusters share beats, so that some frames of a beat
    /// may be missing and others not.
    pub fn of(hole: &PastHole) -> Self {
        let from = hole.after.map_or(i64::MIN, Timestamp::as_ms);
        Self {
            from_ms: from,
            to_ms: hole.before.as_ms().saturating_add(1),
            frames: Some((hole.first.0, hole.last.0)),
            hole: Some(HoleId::of(hole)),
            points: 0,
            rejected: 0,
        }
    }

    pub(super) fn scope(&self, logs: bool) -> Scope {
        let at = Timestamp::from_ms;
        Scope {
            frames: self.frames.map(|(first, last)| (Seq(first), Seq(last))),
            logs,
            ..Scope::between(at(self.from_ms), at(self.to_ms))
        }
    }
}

/// A backfill that has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// What it was asked for, in the words of the command line: the same again goes on.
    pub asked: String,
    pub ranges: Vec<Range>,
    /// Whether topics' own offsets are read.
    pub logs: bool,
    /// The range that is under way, and how far it is.
    pub(super) range: usize,
    pub(super) place: Option<Place>,
    /// Points so far.
    pub written: u64,
    pub rejected: u64,
}

impl Run {
    /// One that has not begun.
    pub fn new(asked: String, ranges: Vec<Range>, logs: bool) -> Self {
        Self {
            asked,
            ranges,
            logs,
            range: 0,
            place: None,
            written: 0,
            rejected: 0,
        }
    }

    /// Whether something of it is done.
    pub fn has_begun(&self) -> bool {
        self.range > 0 || self.place.is_some()
    }

    pub(super) fn is_done(&self) -> bool {
        self.range >= self.ranges.len()
    }
}

/// What the file has.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Contents {
    /// The backfill that is not finished.
    pub run: Option<Run>,
    pub filled: Vec<Filled>,
}

/// A sink's file, which nobody else changes meanwhile.
#[derive(Debug)]
pub struct Kept {
    path: PathBuf,
    /// Held as long as this is there.
    _lock: File,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    #[error("another backfill of this sink is under way: wait for it, or stop it")]
    Locked,
    #[error("cannot use {}: {error}; the folder must be writable", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{} is damaged ({why}): remove it, and the backfill begins anew", path.display())]
    Damaged { path: PathBuf, why: String },
}

fn folder(store: &Path) -> PathBuf {
    let mut name = store.file_name().unwrap_or_default().to_owned();
    name.push(".backfill");
    store.with_file_name(name)
}

impl Kept {
    /// Opens the file of a sink, beside the store at `store`. Blocks.
    ///
    /// # Errors
    /// See [`KeptError`].
    pub fn open(store: &Path, sink: &str) -> Result<(Self, Contents), KeptError> {
        let folder = folder(store);
        let path = path_of(&folder, sink, ".json");
        let failed = |error| KeptError::Io {
            path: path.clone(),
            error,
        };
        fs::create_dir_all(&folder).map_err(failed)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path_of(&folder, sink, ".lock"))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(KeptError::Locked),
            Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
        let contents = match read(&path) {
            Ok(contents) => contents,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let why = error.to_string();
                return Err(KeptError::Damaged { path, why });
            }
            Err(error) => return Err(failed(error)),
        };
        Ok((Self { path, _lock: lock }, contents))
    }

    /// Replaces what the file has; it is on disk when this returns, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn save(&self, contents: &Contents) -> io::Result<()> {
        let text = serde_json::to_vec(contents).map_err(io::Error::other)?;
        let path = self.path.clone();
        let work = move || {
            let new = path.with_extension("new");
            let mut file = File::create(&new)?;
            file.write_all(&text)?;
            file.sync_data()?;
            fs::rename(&new, &path)
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(io::Error::other)?
    }
}

fn read(path: &Path) -> io::Result<Contents> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Contents::default()),
        Err(error) => Err(error),
    }
}

/// The holes of a sink that were filled, with the store at `store`. Blocks.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn filled(store: &Path, sink: &str) -> io::Result<Vec<Filled>> {
    read(&path_of(&folder(store), sink, ".json")).map(|contents| contents.filled)
}
