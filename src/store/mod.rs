//! The store: what lagline remembers, in one SQLite file.
//!
//! An evaluation is appended here before anything else sees it; every sink is a reader with its
//! own cursor. [`Store`] is the handle for async code; four threads stand behind it, spawned by
//! `app`, so that none waits for another: [`Writer`] owns the file and writes a beat in one
//! transaction, [`Loader`] reads and decodes for sinks that are behind, [`Sealer`] turns finished
//! hours into history, [`Historian`] answers questions about the past. Without a path the tail in
//! memory is all there is.
//!
//! Not here: what a point is (`points`), retries and dead letters (`sinks::delivery`), the moment
//! of a beat (`scheduler`).

mod beats;
mod changes;
pub mod codec;
mod dictionary;
mod error;
pub mod frame;
pub mod history;
mod holes;
mod index;
mod journal;
mod layers;
mod loader;
mod names;
pub mod query;
mod reader;
mod retention;
pub mod sample;
mod schema;
mod snapshots;
mod tail;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

pub use self::error::StoreError;
use self::frame::{Counts, Cursor, Frame, Hole, Seq, SinkRow};
pub use self::history::Sealer;
pub use self::holes::PastHole;
pub use self::layers::{AllGone, Gone, LayerBytes};
pub use self::loader::Loader;
pub use self::query::Historian;
pub use self::reader::FrameReader;
pub use self::writer::Writer;
use crate::clock::Timestamp;
use crate::lag::evaluation::{Evaluation, Status};
use crate::lag::ids::{ClusterName, GroupId};

/// Beats that may wait for the writer before `append` waits too. The sealer has one place more.
const APPENDS_WAITING: usize = 8;

/// Frames that may be asked for at once.
const LOADS_WAITING: usize = 64;

/// How much the store keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// Bytes on disk that are never exceeded; the oldest frames go first.
    pub max_size: u64,
    /// Bytes of the newest frames in memory.
    pub tail_bytes: usize,
    /// How long frames are kept for sinks that are behind.
    pub journal_keep: Duration,
    /// How long sealed hours are kept with every beat, and how long rollups are.
    pub raw_keep: Duration,
    pub rollup_5m_keep: Duration,
    pub rollup_1h_keep: Duration,
}

const DAY: Duration = Duration::from_secs(86_400);

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            max_size: 20 << 30,
            tail_bytes: 64 << 20,
            journal_keep: DAY,
            raw_keep: 3 * DAY,
            rollup_5m_keep: 90 * DAY,
            rollup_1h_keep: 730 * DAY,
        }
    }
}

/// What became of a beat.
#[derive(Clone, Debug, Default)]
pub struct Appended {
    /// The frames, durable or (see [`StoreHealth`]) in the tail.
    pub frames: Vec<Arc<Frame>>,
    /// Clusters whose beat is not newer than the one that is journaled last: not journaled.
    pub skipped: Vec<ClusterName>,
}

/// How far a sink is in the journal, all of it at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What is settled, staged moves included.
    pub cursor: Cursor,
    /// Rows of the frames behind the cursor: offered, and not settled.
    pub waiting: u64,
    /// Beat of the oldest of these frames; absent when nothing waits.
    pub oldest: Option<Timestamp>,
}

impl Standing {
    /// What is told about the sink at `now`.
    pub fn row(&self, sink: &str, now: Timestamp) -> SinkRow {
        let age = self.oldest.map_or(0, |beat| now.ms_since(beat).max(0));
        let settled = &self.cursor.counts;
        SinkRow {
            sink: sink.to_owned(),
            counts: Counts {
                offered: settled.offered + self.waiting,
                ..settled.clone()
            },
            oldest_waiting_s: Duration::from_millis(age.unsigned_abs()).as_secs_f64(),
        }
    }
}

/// How the store is.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct StoreHealth {
    /// Everything appended so far is on disk.
    pub durable: bool,
    /// Why not, and what to do.
    pub reason: Option<String>,
    pub path: Option<PathBuf>,
    /// Bytes on disk, write-ahead log included.
    pub bytes: u64,
    /// Bytes and frames in memory.
    pub tail_bytes: u64,
    pub tail_frames: u64,
    /// Frames that can be read, and the oldest one's beat.
    pub frames: u64,
    pub oldest: Option<Timestamp>,
    /// Frames that only memory has, though there is a path.
    pub unstored_frames: u64,
    /// Frames, and their rows, that never reached the disk because it was full for too long.
    pub lost_frames: u64,
    pub lost_rows: u64,
    /// Frames on disk that could not be decoded, and the last one's reason.
    pub corrupt_frames: u64,
    pub last_corrupt: Option<String>,
    /// Evaluations that were not newer than the last journaled one.
    pub skipped_frames: u64,
    /// Evaluations that were larger than a frame may be.
    pub too_large_frames: u64,
    /// All hours before this are sealed; absent until the first look after a start.
    pub sealed_through: Option<Timestamp>,
    /// Bytes of each layer, about; what was taken out of each, and why.
    pub layers: LayerBytes,
    pub gone: AllGone,
    /// Names in the dictionary of the file, and in memory.
    pub names: u64,
    pub names_in_memory: u64,
    /// Frames that were taken out of the journal before they were in the history.
    pub unsealed_frames_gone: u64,
    /// How often sealing had to be tried again, and the last reason.
    pub seal_errors: u64,
    pub last_seal_error: Option<String>,
    /// Frames that are not in the history because they could not be read.
    pub seal_skipped_frames: u64,
    /// How often a block of the history could not be read.
    pub corrupt_blocks: u64,
}

/// What is asked of the writer.
#[derive(Debug)]
enum Command {
    Append {
        evaluations: Vec<Arc<Evaluation>>,
        sinks: Vec<SinkRow>,
        beat: Timestamp,
        reply: oneshot::Sender<Appended>,
        permit: OwnedSemaphorePermit,
    },
    Snapshot {
        snapshot: snapshots::NewSnapshot,
        reply: oneshot::Sender<Result<(), StoreError>>,
        permit: OwnedSemaphorePermit,
    },
    Close {
        reply: oneshot::Sender<()>,
        permit: OwnedSemaphorePermit,
    },
    /// From the sealer, which has one at a time.
    Seal {
        work: SealWork,
        reply: SyncSender<Result<i64, String>>,
    },
}

/// What the sealer has written.
#[derive(Debug)]
enum SealWork {
    /// Gives the number of the sealed hour.
    Begin(history::Hour),
    Slice(history::Slice),
    /// Names that this hour uses.
    Names(i64, Vec<history::Used>),
}

/// A frame that is asked of the loader.
#[derive(Debug)]
struct Load {
    seq: Seq,
    reply: oneshot::Sender<Result<Arc<Frame>, loader::LoadError>>,
    permit: OwnedSemaphorePermit,
}

/// A sink's cursor in memory.
#[derive(Clone, Debug)]
struct Staged {
    row: journal::CursorRow,
    is_dirty: bool,
}

/// What the handle and the threads share behind one lock; nobody holds it while waiting, writing,
/// encoding or decoding.
#[derive(Debug)]
struct State {
    index: index::Index,
    tail: tail::Tail,
    cursors: HashMap<String, Staged>,
    holes: holes::Holes,
    health: StoreHealth,
}

impl State {
    /// Forgets frames that are deleted, and counts them.
    fn remove(&mut self, plan: &retention::Plan) {
        for seq in &plan.delete {
            self.index.remove(*seq);
        }
        self.health.gone.journal.add(plan.gone);
        self.health.unsealed_frames_gone += plan.unsealed;
    }
}

#[derive(Debug)]
struct Shared {
    settings: StoreSettings,
    path: Option<PathBuf>,
    state: Mutex<State>,
    dictionary: Mutex<dictionary::Dictionary>,
    statuses: Mutex<changes::Statuses>,
    /// The number of the newest frame that readers may see.
    newest: watch::Sender<Seq>,
    /// Held as long as the store is in use; the lock ends with the process, however that ends.
    _lock: Option<File>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves numbers that are whole: every change is made at once.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Whether cursors or holes wait to be written.
    fn has_staged(&self) -> bool {
        let state = self.state();
        state.holes.is_dirty() || state.cursors.values().any(|staged| staged.is_dirty)
    }
}

/// The handle, and the threads that must run for it.
#[derive(Debug)]
pub struct Opened {
    pub store: Store,
    /// Runs on its own thread until the store is closed or every handle is gone.
    pub writer: Writer,
    /// Runs on its own thread until every handle is gone.
    pub loader: Loader,
    /// Runs on its own thread until every handle is gone.
    pub historian: Historian,
    /// Runs on its own thread until the store is closed or every handle is gone.
    pub sealer: Sealer,
}

/// The store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    shared: Arc<Shared>,
    commands: SyncSender<Command>,
    command_permits: Arc<Semaphore>,
    loads: SyncSender<Load>,
    load_permits: Arc<Semaphore>,
    questions: SyncSender<query::Question>,
    question_permits: Arc<Semaphore>,
    /// Gone with the last handle: then the sealer ends.
    _sealing: SyncSender<history::Never>,
}

impl Store {
    /// Opens the file at `path` (made if it does not exist), or a store in memory only. Blocks.
    ///
    /// # Errors
    /// When the file cannot be used; the sentence says what to do.
    pub fn open(path: Option<&Path>, settings: StoreSettings) -> Result<Opened, StoreError> {
        let lock_file = path.map(lock_file).transpose()?;
        let journal = path.map(journal::Journal::open).transpose()?;
        let mut loaded = match (&journal, path) {
            (Some(journal), Some(path)) => journal
                .load()
                .map_err(|error| StoreError::unusable(path, &error))?,
            _ => journal::Loaded::default(),
        };
        let (commands, command_queue) = std::sync::mpsc::sync_channel(APPENDS_WAITING + 1);
        let (loads, load_queue) = std::sync::mpsc::sync_channel(LOADS_WAITING);
        let shared = Arc::new(Shared::new(path, settings, &mut loaded, lock_file));
        let (questions, question_queue) = std::sync::mpsc::sync_channel(query::WAITING);
        let loader = Loader::new(Arc::clone(&shared), load_queue)?;
        let historian = Historian::new(Arc::clone(&shared), question_queue)?;
        let writer = Writer::new(Arc::clone(&shared), command_queue, journal, &loaded)?;
        let (sealing, stop) = std::sync::mpsc::sync_channel(1);
        let sealer = Sealer::new(Arc::clone(&shared), commands.clone(), stop)?;
        let store = Store {
            shared,
            commands,
            command_permits: Arc::new(Semaphore::new(APPENDS_WAITING)),
            loads,
            load_permits: Arc::new(Semaphore::new(LOADS_WAITING)),
            questions,
            question_permits: Arc::new(Semaphore::new(query::WAITING)),
            _sealing: sealing,
        };
        Ok(Opened {
            store,
            writer,
            loader,
            historian,
            sealer,
        })
    }

    /// Journals one beat: the clusters' evaluations and, in a frame of its own, the sinks' state
    /// (none when `sinks` is empty), in one transaction together with the cursors staged since.
    ///
    /// When the disk does not take it, the frames are kept in the tail and written later;
    /// [`Store::health`] says so.
    ///
    /// # Errors
    /// [`StoreError::Closed`] only.
    pub async fn append(
        &self,
        evaluations: Vec<Arc<Evaluation>>,
        sinks: Vec<SinkRow>,
        beat: Timestamp,
    ) -> Result<Appended, StoreError> {
        let (reply, answer) = oneshot::channel();
        let permit = permit(&self.command_permits).await?;
        let command = Command::Append {
            evaluations,
            sinks,
            beat,
            reply,
            permit,
        };
        self.commands
            .try_send(command)
            .map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)
    }

    /// Writes what is left, empties the write-ahead log and ends the writer. Readers go on.
    pub async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        let Ok(permit) = permit(&self.command_permits).await else {
            return;
        };
        if self
            .commands
            .try_send(Command::Close { reply, permit })
            .is_ok()
        {
            // An error means that the writer has ended: closed as well.
            answer.await.ok();
        }
    }

    /// A reader of what comes behind `after`; frames that are already gone are no hole for it.
    pub fn reader(&self, after: Seq) -> FrameReader {
        FrameReader::new(self.clone(), after)
    }

    /// A reader that goes on where the sink's cursor is, with that cursor: what is gone meanwhile
    /// comes as a hole. None for a sink without a cursor.
    pub fn resume(&self, sink: &str) -> Option<(Cursor, FrameReader)> {
        let row = self.shared.state().cursors.get(sink)?.row.clone();
        let reader = FrameReader::resume(self.clone(), &row);
        Some((row.cursor, reader))
    }

    /// The newest frame; `reader(newest())` reads what is appended from now on.
    pub fn newest(&self) -> Seq {
        self.shared.state().index.newest()
    }

    /// The place before the oldest frame; `reader(before_oldest())` reads everything there is.
    pub fn before_oldest(&self) -> Seq {
        let state = self.shared.state();
        let oldest = state.index.oldest();
        oldest.map_or(state.index.newest(), |entry| Seq(entry.seq.0 - 1))
    }

    /// How far a sink is, staged moves included.
    pub fn cursor(&self, sink: &str) -> Option<Cursor> {
        let state = self.shared.state();
        state
            .cursors
            .get(sink)
            .map(|staged| staged.row.cursor.clone())
    }

    /// Moves a sink's cursor: durable with the next append or within a second. `counts` are those
    /// of everything up to and including `seq`, holes included.
    pub fn stage_cursor(&self, sink: &str, cursor: Cursor) {
        let mut state = self.shared.state();
        let before = state.cursors.get(sink).map(|staged| &staged.row);
        // The frame itself may be gone by now; then the rows since the last move tell.
        let through = state.index.through_of(cursor.seq).or_else(|| {
            let before = before?;
            let rows = cursor
                .counts
                .offered
                .saturating_sub(before.cursor.counts.offered);
            Some(before.through + rows)
        });
        let beat = match state.index.of(cursor.seq) {
            Some(entry) => Some(entry.beat),
            None => before.and_then(|before| before.beat),
        };
        let row = journal::CursorRow {
            beat,
            through: through.unwrap_or_else(|| state.index.through()),
            cursor,
        };
        let staged = Staged {
            row,
            is_dirty: true,
        };
        state.cursors.insert(sink.to_owned(), staged);
    }

    /// Notes what a sink has missed: durable with, or before, the cursor that is moved over it.
    pub fn stage_hole(&self, sink: &str, hole: &Hole) {
        self.shared.state().holes.note(sink, hole);
    }

    /// What a sink has missed, oldest first.
    pub fn holes(&self, sink: &str) -> Vec<PastHole> {
        self.shared.state().holes.of(sink).to_vec()
    }

    /// How far a sink is. None without a cursor.
    pub fn standing(&self, sink: &str) -> Option<Standing> {
        let state = self.shared.state();
        let row = &state.cursors.get(sink)?.row;
        let oldest = state.index.after(row.cursor.seq);
        Some(Standing {
            cursor: row.cursor.clone(),
            waiting: state.index.through().saturating_sub(row.through),
            oldest: oldest.map(|entry| entry.beat),
        })
    }

    /// The groups of a cluster with the status journaled last, and its beat; sorted by group.
    pub fn last_statuses(&self, cluster: &ClusterName) -> Vec<(GroupId, Status, Timestamp)> {
        lock(&self.shared.statuses).of(cluster)
    }

    /// How the store is.
    pub fn health(&self) -> StoreHealth {
        let state = self.shared.state();
        let as_u64 = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let unstored = state
            .index
            .iter()
            .rev()
            .take_while(|entry| !entry.is_stored);
        StoreHealth {
            path: self.shared.path.clone(),
            tail_bytes: as_u64(state.tail.bytes()),
            tail_frames: as_u64(state.tail.len()),
            frames: as_u64(state.index.len()),
            oldest: state.index.oldest().map(|entry| entry.beat),
            unstored_frames: match self.shared.path {
                Some(_) => as_u64(unstored.count()),
                None => 0,
            },
            ..state.health.clone()
        }
    }
}

async fn permit(permits: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, StoreError> {
    let permit = Arc::clone(permits).acquire_owned().await;
    permit.map_err(|_| StoreError::Closed)
}

impl Shared {
    fn new(
        path: Option<&Path>,
        settings: StoreSettings,
        loaded: &mut journal::Loaded,
        lock_file: Option<File>,
    ) -> Self {
        let entries = std::mem::take(&mut loaded.entries);
        let staged = |row: &journal::CursorRow| Staged {
            row: row.clone(),
            is_dirty: false,
        };
        let state = State {
            index: index::Index::new(entries, loaded.newest, loaded.through),
            tail: tail::Tail::new(settings.tail_bytes),
            cursors: (loaded.cursors.iter())
                .map(|(sink, row)| (sink.clone(), staged(row)))
                .collect(),
            holes: holes::Holes::loaded(std::mem::take(&mut loaded.holes)),
            health: StoreHealth {
                durable: path.is_some(),
                reason: path.is_none().then(|| {
                    "no [store] path is set: what is not delivered is lost when lagline stops"
                        .to_owned()
                }),
                ..StoreHealth::default()
            },
        };
        let next_name = loaded.next_name.max(1);
        Self {
            settings,
            path: path.map(Path::to_owned),
            state: Mutex::new(state),
            dictionary: Mutex::new(dictionary::Dictionary::new(next_name, path.is_some())),
            statuses: Mutex::default(),
            newest: watch::Sender::new(loaded.newest),
            _lock: lock_file,
        }
    }
}

/// Makes sure that no other lagline has the file. SQLite's own locks would let two take turns.
fn lock_file(path: &Path) -> Result<File, StoreError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path.with_file_name(name))
        .map_err(|error| StoreError::unwritable(path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::Locked {
            path: path.to_owned(),
        }),
        Err(std::fs::TryLockError::Error(error)) => Err(StoreError::unwritable(path, &error)),
    }
}
