//! The thread that owns the file: numbers and encodes frames, writes a beat in one transaction,
//! publishes it to the readers.
//!
//! A beat that the disk does not take stays in the tail and is written when the disk recovers;
//! what falls off the tail before that is counted as lost. Checkpoints and shrinking come after
//! the answer to `append`, so that they never make a beat wait.

mod flush;
mod log;
mod names;
mod seal;
mod snapshots;
mod tidy;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use self::flush::Trouble;
use self::names::Sweep;
use super::beats::{Beats, Verdict};
use super::codec::{Decoder, EncodeError, Encoded, Encoder};
use super::error::StoreError;
use super::frame::{Body, Frame, Seq, SinkRow, StatusChange};
use super::index::Entry;
use super::journal::{Journal, Loaded, NewChange, NewFrame, read_name, read_parts};
use super::names::{Naming, Numbering};
use super::retention::Budget;
use super::{Appended, Command, Shared, lock};
use crate::clock::Timestamp;
use crate::lag::evaluation::{Evaluation, Phase};
use crate::lag::ids::ClusterName;
use crate::points::row_count;

/// Staged cursors wait this long for a beat that takes them along.
const TICK: Duration = Duration::from_millis(500);

/// How long to wait before the disk is tried again between two beats.
const RETRY: Duration = Duration::from_secs(5);

/// A frame that is encoded and will be published.
#[derive(Debug)]
struct Made {
    frame: Arc<Frame>,
    encoded: Arc<Encoded>,
    /// The number of the cluster's name.
    cluster: Option<u32>,
}

/// The writing thread.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    queue: Receiver<Command>,
    journal: Option<Journal>,
    encoder: Encoder,
    beats: Beats,
    /// The last number given, and the rows up to it.
    newest: Seq,
    through: u64,
    /// Frames that are not on disk, oldest first.
    pending: VecDeque<NewFrame>,
    trouble: Option<Trouble>,
    budget: Budget,
    /// Bytes in the write-ahead log that new ones are put behind, rather too many.
    logged: u64,
    /// Something is left to be tidied.
    has_more: bool,
    sweep: Sweep,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        queue: Receiver<Command>,
        journal: Option<Journal>,
        loaded: &Loaded,
    ) -> Result<Self, StoreError> {
        let budget = Budget::new(shared.settings.max_size);
        let mut writer = Self {
            shared,
            queue,
            journal,
            encoder: Encoder::new()?,
            beats: Beats::default(),
            newest: loaded.newest,
            through: loaded.through,
            pending: VecDeque::new(),
            trouble: None,
            budget,
            logged: 0,
            has_more: false,
            sweep: Sweep::new(loaded.newest),
        };
        if let Some(path) = writer.shared.path.clone() {
            writer
                .restore(loaded)
                .map_err(|error| StoreError::unusable(&path, &error))?;
        }
        Ok(writer)
    }

    /// Takes over the last beats and statuses from the file.
    fn restore(&mut self, loaded: &Loaded) -> Result<(), rusqlite::Error> {
        let Some(journal) = &self.journal else {
            return Ok(());
        };
        for (cluster, beat) in &loaded.last_beats {
            let name = match cluster {
                None => None,
                Some(id) => match read_name(journal.connection(), *id)? {
                    Some(name) => Some(ClusterName::new(name)),
                    None => continue,
                },
            };
            self.beats.journaled(name, *beat);
        }
        let Ok(mut decoder) = Decoder::new() else {
            return Ok(());
        };
        for (seq, beat) in &loaded.last_running {
            let parts = read_parts(journal.connection(), *seq)?;
            let mut names = Naming {
                dictionary: &self.shared.dictionary,
                file: Some(journal.connection()),
                error: None,
            };
            match decoder.decode(*seq, *beat, &parts, &mut names) {
                Ok(Frame {
                    body: Body::Evaluation { evaluation, .. },
                    ..
                }) => lock(&self.shared.statuses).restore(&evaluation),
                Ok(_) => {}
                Err(broken) => tracing::warn!(
                    frame = seq.0,
                    "the last statuses of a cluster are not known: {broken}"
                ),
            }
        }
        self.measure();
        let pages = journal.pages()?;
        journal.limit_pages(self.budget.pages(pages.size))
    }

    /// Writes until the store is closed or every handle is gone.
    pub fn run(mut self) {
        loop {
            let wait = if self.has_more { Duration::ZERO } else { TICK };
            match self.queue.recv_timeout(wait) {
                Ok(Command::Append {
                    evaluations,
                    sinks,
                    beat,
                    reply,
                    permit,
                }) => {
                    let appended = self.append(evaluations, sinks, beat);
                    drop(permit);
                    // Whoever asked may be gone; the frames are in the journal all the same.
                    reply.send(appended).ok();
                    self.tidy();
                }
                Ok(Command::Seal { work, reply }) => {
                    // The sealer may be gone; what was written it finds when it starts again.
                    reply.send(self.seal(&work)).ok();
                    self.tidy();
                }
                Ok(Command::Snapshot {
                    snapshot,
                    reply,
                    permit,
                }) => {
                    let saved = self.save_snapshot(&snapshot);
                    drop(permit);
                    // A monitor that is gone will not save again.
                    reply.send(saved).ok();
                    self.tidy();
                }
                Ok(Command::Close { reply, permit }) => {
                    self.finish();
                    drop(permit);
                    reply.send(()).ok();
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.tick();
                    self.tidy();
                }
                Err(RecvTimeoutError::Disconnected) => {
                    self.finish();
                    return;
                }
            }
        }
    }

    fn append(
        &mut self,
        evaluations: Vec<Arc<Evaluation>>,
        sinks: Vec<SinkRow>,
        beat: Timestamp,
    ) -> Appended {
        let mut skipped = Vec::new();
        let mut made = Vec::new();
        for evaluation in evaluations {
            let cluster = evaluation.cluster.clone();
            if !self.is_newer(Some(&cluster), evaluation.beat) {
                skipped.push(cluster);
                continue;
            }
            let changes = lock(&self.shared.statuses).update(&evaluation);
            let beat = evaluation.beat;
            let body = Body::Evaluation {
                evaluation,
                changes,
            };
            made.extend(self.make_frame(body, beat));
        }
        if !sinks.is_empty() && self.is_newer(None, beat) {
            made.extend(self.make_frame(Body::Sinks(sinks), beat));
        }
        self.flush();
        self.publish(&made);
        Appended {
            frames: made.into_iter().map(|made| made.frame).collect(),
            skipped,
        }
    }

    fn is_newer(&mut self, cluster: Option<&ClusterName>, beat: Timestamp) -> bool {
        let of = cluster.map_or("(sinks)", ClusterName::as_str);
        match self.beats.judge(cluster, beat) {
            Verdict::Journal => return true,
            Verdict::AcceptStep { behind } => {
                tracing::warn!(
                    cluster = of,
                    "the clock stepped back by {behind:?} five minutes ago: journaling goes on, \
                     times overlap"
                );
                return true;
            }
            Verdict::SkipFirst { behind } => tracing::warn!(
                cluster = of,
                "the beat is {behind:?} before the last journaled one: the clock stepped back; \
                 nothing is journaled until it is newer, for five minutes at most"
            ),
            Verdict::Skip => {}
        }
        if cluster.is_some() {
            self.shared.state().health.skipped_frames += 1;
        }
        false
    }

    /// Numbers and encodes a frame, and puts it among those to be written.
    fn make_frame(&mut self, body: Body, beat: Timestamp) -> Option<Made> {
        let seq = Seq(self.newest.0 + 1);
        let rows = row_count(&body);
        let dictionary = lock(&self.shared.dictionary);
        let mut names = Numbering {
            dictionary,
            file: self.journal.as_ref().map(Journal::connection),
            seq,
        };
        let encoded = match self.encoder.encode(&body, beat, rows, &mut names) {
            Ok(encoded) => Arc::new(encoded),
            Err(error) => {
                drop(names);
                self.note_unencodable(&error);
                return None;
            }
        };
        let (cluster, is_running, changes) = match &body {
            Body::Sinks(_) => (None, false, Vec::new()),
            Body::Evaluation {
                evaluation,
                changes,
            } => (
                Some(numbered(&mut names, evaluation.cluster.shared())),
                evaluation.phase == Phase::Running,
                changes.iter().map(|c| new_change(&mut names, c)).collect(),
            ),
        };
        drop(names);
        self.newest = seq;
        self.through += rows;
        if self.journal.is_some() {
            self.pending.push_back(NewFrame {
                seq,
                cluster,
                beat,
                is_running,
                rows,
                through: self.through,
                encoded: Arc::clone(&encoded),
                changes,
            });
        }
        let frame = Arc::new(Frame {
            seq,
            beat,
            rows,
            body,
        });
        Some(Made {
            frame,
            encoded,
            cluster,
        })
    }

    fn note_unencodable(&self, error: &EncodeError) {
        tracing::error!("an evaluation cannot be journaled: {error}");
        self.shared.state().health.too_large_frames += 1;
    }

    /// Lets the readers see the frames of a beat, and lets go of what memory has no room for.
    fn publish(&mut self, made: &[Made]) {
        let (Some(first), Some(last)) = (made.first(), made.last()) else {
            return;
        };
        let has_file = self.journal.is_some();
        let first_pending = self.pending.front().map(|frame| frame.seq);
        let mut state = self.shared.state();
        for Made {
            frame,
            encoded,
            cluster,
        } in made
        {
            state.index.push(Entry {
                seq: frame.seq,
                beat: frame.beat,
                rows: frame.rows,
                through: 0,
                bytes: u32::try_from(encoded.len()).unwrap_or(u32::MAX),
                cluster: *cluster,
                is_stored: has_file && first_pending.is_none_or(|pending| frame.seq < pending),
                is_sealed: false,
            });
            state.tail.push(frame, Arc::clone(encoded));
        }
        state.tail.release_before(first.frame.seq);
        drop(state);
        self.trim_tail(last.frame.beat);
        self.shared.newest.send_replace(self.newest);
    }

    fn trim_tail(&mut self, newest: Timestamp) {
        let keep_from = newest.minus(self.shared.settings.journal_keep);
        let is_memory_only = self.journal.is_none();
        let mut state = self.shared.state();
        loop {
            let mut gone = state.tail.overflow();
            if gone.is_none() && is_memory_only {
                gone = state.tail.expire(keep_from);
            }
            let Some(seq) = gone else {
                break;
            };
            if state.index.of(seq).is_none_or(|entry| entry.is_stored) {
                continue;
            }
            let lost = state.index.remove(seq);
            if self.pending.front().is_some_and(|frame| frame.seq == seq) {
                self.pending.pop_front();
                state.health.lost_frames += 1;
                state.health.lost_rows += lost.map_or(0, |entry| entry.rows);
            }
        }
        let mut oldest = state.tail.oldest().unwrap_or(self.newest);
        if !is_memory_only {
            // Names that the history has not noted yet: see `names`.
            oldest = oldest.min(state.index.oldest_unsealed().unwrap_or(oldest));
        }
        drop(state);
        lock(&self.shared.dictionary).prune(oldest);
    }

    /// Between two beats: staged cursors, and frames that the disk did not take.
    fn tick(&mut self) {
        match &self.trouble {
            Some(trouble) if trouble.tried.elapsed() < RETRY => {}
            Some(_) => self.flush(),
            None if self.shared.has_staged() => self.flush(),
            None => {}
        }
    }

    fn finish(&mut self) {
        self.flush();
        if let Some(journal) = &self.journal
            && let Err(error) = journal.empty_log()
        {
            tracing::warn!("the store's log is moved into the file at the next start: {error}");
        }
        self.measure();
    }
}

fn numbered(names: &mut Numbering<'_>, name: &Arc<str>) -> u32 {
    super::codec::Names::id(names, name)
}

fn new_change(names: &mut Numbering<'_>, change: &StatusChange) -> NewChange {
    let partition = change.partition.as_ref();
    NewChange {
        cluster: numbered(names, change.cluster.shared()),
        group: numbered(names, change.group.shared()),
        partition: partition.map(|(topic, at)| (numbered(names, topic.shared()), *at)),
        from: change.from,
        to: change.to,
        reason: change.reason.clone(),
    }
}
