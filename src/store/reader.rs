//! One reader of the journal: every frame once, in order, and what is missing in between.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::frame::{Frame, Hole, Missing, Next, Seq};
use super::journal::CursorRow;
use super::loader::LoadError;
use super::{Load, State, Store, permit};
use crate::clock::Timestamp;

/// How long to wait when the file cannot be read at the moment.
const AGAIN: Duration = Duration::from_secs(1);

/// Reads frames one after the other; at the end it waits for the next one.
///
/// Live readers get the frames themselves from the tail; one that is behind has them decoded by
/// the loader thread, one at a time, so that what is read ahead is the caller's choice.
#[derive(Debug)]
pub struct FrameReader {
    store: Store,
    newest: watch::Receiver<Seq>,
    /// The last frame (or the last one of a hole) that was handed out.
    at: Seq,
    /// Rows of all frames up to it; unknown when it was gone from the start.
    through: Option<u64>,
    beat: Option<Timestamp>,
}

/// What stands behind a reader's place.
enum Found {
    Frame(Arc<Frame>, u64),
    /// To be decoded.
    Bytes(Seq),
    Hole(Hole),
    End,
}

impl FrameReader {
    pub(super) fn new(store: Store, after: Seq) -> Self {
        let newest = store.shared.newest.subscribe();
        let (through, beat) = {
            let state = store.shared.state();
            let beat = state.index.of(after).map(|entry| entry.beat);
            (state.index.through_of(after), beat)
        };
        Self {
            store,
            newest,
            at: after,
            through,
            beat,
        }
    }

    pub(super) fn resume(store: Store, row: &CursorRow) -> Self {
        let newest = store.shared.newest.subscribe();
        Self {
            store,
            newest,
            at: row.cursor.seq,
            through: Some(row.through),
            beat: row.beat,
        }
    }

    /// The last frame that was handed out, or the place where the reader began.
    pub fn at(&self) -> Seq {
        self.at
    }

    /// Rows of the frames and holes that [`FrameReader::next`] will still hand out.
    pub fn rows_ahead(&self) -> u64 {
        let state = self.store.shared.state();
        let read = self.through.unwrap_or_else(|| {
            let next = state.index.after(self.at);
            next.map_or(state.index.through(), |entry| entry.through - entry.rows)
        });
        state.index.through().saturating_sub(read)
    }

    /// Beat of the next frame; none at the end.
    pub fn next_beat(&self) -> Option<Timestamp> {
        let state = self.store.shared.state();
        state.index.after(self.at).map(|entry| entry.beat)
    }

    /// The next frame or hole; waits for it at the end. Cancel-safe: what was not returned comes
    /// again.
    pub async fn next(&mut self) -> Next {
        loop {
            // Looked at first, so that no frame is missed between looking and waiting.
            self.newest.mark_unchanged();
            let found = self.look(&self.store.shared.state());
            match found {
                Found::Frame(frame, through) => return self.hand_out(frame, through),
                Found::Hole(hole) => return self.hand_out_hole(hole),
                Found::Bytes(seq) => {
                    if let Some(next) = self.load(seq).await {
                        return next;
                    }
                }
                Found::End => {
                    // The sender lives as long as this reader's handle.
                    self.newest.changed().await.ok();
                }
            }
        }
    }

    fn look(&self, state: &State) -> Found {
        let Some(entry) = state.index.after(self.at) else {
            return Found::End;
        };
        let before = entry.through - entry.rows;
        if let Some(rows) = self.through.map(|through| before.saturating_sub(through))
            && rows > 0
        {
            return Found::Hole(Hole {
                first: Seq(self.at.0 + 1),
                last: Seq(entry.seq.0 - 1),
                rows,
                after: self.beat,
                before: entry.beat,
                why: Missing::Expired,
            });
        }
        if let Some(why) = state.index.why_corrupt(entry.seq) {
            return Found::Hole(Hole {
                first: entry.seq,
                last: entry.seq,
                rows: entry.rows,
                after: self.beat,
                before: entry.beat,
                why: Missing::Corrupt(why.to_owned()),
            });
        }
        match state.tail.frame(entry.seq) {
            Some(frame) => Found::Frame(frame, entry.through),
            None => Found::Bytes(entry.seq),
        }
    }

    fn hand_out(&mut self, frame: Arc<Frame>, through: u64) -> Next {
        self.at = frame.seq;
        self.through = Some(through);
        self.beat = Some(frame.beat);
        Next::Frame(frame)
    }

    fn hand_out_hole(&mut self, hole: Hole) -> Next {
        self.at = hole.last;
        self.through = self.through.map(|through| through + hole.rows);
        Next::Hole(hole)
    }

    /// Has a frame decoded. None: look again.
    async fn load(&mut self, seq: Seq) -> Option<Next> {
        let (reply, answer) = oneshot::channel();
        let permit = permit(&self.store.load_permits).await.ok()?;
        let load = Load { seq, reply, permit };
        let answer = match self.store.loads.try_send(load) {
            Ok(()) => answer.await.ok(),
            Err(_) => None,
        };
        let through = {
            let state = self.store.shared.state();
            state.index.of(seq).map(|entry| entry.through)
        };
        match answer {
            Some(Ok(frame)) => {
                // When it has fallen off meanwhile it is handed out all the same.
                let through = through.or(self.through.map(|before| before + frame.rows));
                self.at = frame.seq;
                self.through = through;
                self.beat = Some(frame.beat);
                Some(Next::Frame(frame))
            }
            Some(Err(LoadError::Gone)) => None,
            Some(Err(LoadError::Corrupt(why))) => {
                self.store.note_corrupt(seq, &why);
                None
            }
            Some(Err(LoadError::Later(why))) => {
                tracing::warn!(frame = seq.0, "cannot read the store: {why}; trying again");
                tokio::time::sleep(AGAIN).await;
                None
            }
            // The loader has ended, which `app` reports; there is nothing to come.
            None => std::future::pending().await,
        }
    }
}

impl Store {
    /// Counts a frame that cannot be decoded, once.
    fn note_corrupt(&self, seq: Seq, why: &str) {
        let mut state = self.shared.state();
        if state.index.corrupt(seq, why) {
            state.health.corrupt_frames += 1;
            state.health.last_corrupt = Some(format!("frame {}: {why}", seq.0));
            tracing::error!(frame = seq.0, "a frame in the store is skipped: {why}");
        }
    }
}
