//! Getting what is pending onto the disk, and what to do when the disk refuses.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::ErrorCode;

use super::Writer;
use super::log::Log;
use crate::clock::Stopwatch;
use crate::store::error::write_trouble;
use crate::store::frame::Seq;
use crate::store::history;
use crate::store::holes::PastHole;
use crate::store::journal::{CursorRow, Journal, NewFrame, Pages, Write};
use crate::store::lock;
use crate::store::retention::{Need, Plan, at_once, missing, pages_for, plan};

/// How often the same trouble is said again.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// What is written of the sinks.
#[derive(Debug, Default)]
struct Sinks {
    cursors: Vec<(String, CursorRow)>,
    holes: Vec<(String, Vec<PastHole>)>,
}

impl Sinks {
    fn is_empty(&self) -> bool {
        self.cursors.is_empty() && self.holes.is_empty()
    }
}

/// Trouble with the disk.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) tried: Stopwatch,
    said: Stopwatch,
    /// The connection may have suffered: open a new one.
    reopen: bool,
}

impl Writer {
    /// Writes what is pending, in transactions of a bounded size, and the staged cursors with the
    /// last of them.
    pub(super) fn flush(&mut self) {
        if self.journal.is_none() {
            return;
        }
        if let Err(error) = self.try_flush() {
            self.note_trouble(&error);
            return;
        }
        if self.trouble.take().is_some() {
            tracing::info!("the store is on disk again");
        }
        let mut state = self.shared.state();
        state.health.durable = true;
        state.health.reason = None;
    }

    fn try_flush(&mut self) -> Result<(), rusqlite::Error> {
        self.reopen()?;
        let Some(journal) = &self.journal else {
            return Ok(());
        };
        let page_size = journal.pages()?.size;
        loop {
            let staged = self.staged();
            if self.pending.is_empty() && staged.is_empty() {
                return Ok(());
            }
            let count = self.slice(page_size);
            let is_last = count == self.pending.len();
            let staged = if is_last { staged } else { Sinks::default() };
            self.write(count, &staged)?;
            if is_last {
                return Ok(());
            }
        }
    }

    /// Opens the file again after an error of the disk.
    fn reopen(&mut self) -> Result<(), rusqlite::Error> {
        let (Some(trouble), Some(path)) = (&mut self.trouble, &self.shared.path) else {
            return Ok(());
        };
        trouble.tried = Stopwatch::start();
        if trouble.reopen
            && let Ok(journal) = Journal::open(path)
        {
            trouble.reopen = false;
            let pages = journal.pages()?;
            journal.limit_pages(self.budget.pages(pages.size))?;
            self.journal = Some(journal);
        }
        Ok(())
    }

    /// What of the sinks is not in the file: read at one moment, so that no cursor is behind a hole
    /// that is not there.
    fn staged(&self) -> Sinks {
        let state = self.shared.state();
        let dirty = state.cursors.iter().filter(|(_, staged)| staged.is_dirty);
        let mut cursors: Vec<_> = dirty
            .map(|(sink, staged)| (sink.clone(), staged.row.clone()))
            .collect();
        cursors.sort_by(|a, b| a.0.cmp(&b.0));
        Sinks {
            cursors,
            holes: state.holes.unsaved(),
        }
    }

    /// How many pending frames go into one transaction: at least one. Their pages count, not their
    /// bytes: many small frames take far more room in the log.
    fn slice(&self, page_size: u64) -> usize {
        let room = at_once(self.budget, page_size);
        let mut pages = 0;
        let mut count = 0;
        for frame in &self.pending {
            pages += pages_for(frame, page_size);
            if count > 0 && pages > room {
                break;
            }
            count += 1;
        }
        count
    }

    /// Writes the first `count` pending frames, and deletes what has to go for them.
    fn write(&mut self, count: usize, staged: &Sinks) -> Result<(), rusqlite::Error> {
        let Some(journal) = &mut self.journal else {
            return Ok(());
        };
        let frames = &self.pending.make_contiguous()[..count];
        let names = lock(&self.shared.dictionary).unsaved();
        let pages = journal.pages()?;
        let needed = needed_pages(frames, &names, pages.size);
        let settings = &self.shared.settings;
        let newest = frames.last().map(|frame| frame.beat);
        let at_most = at_once(self.budget, pages.size) + needed;
        // The oldest history goes before any frame does.
        let dropped = history::choose(
            journal.connection(),
            missing(self.budget, pages, needed).min(at_most),
            newest.map(|beat| beat.minus(settings.raw_keep)),
            pages.size,
        )?;
        let need = Need {
            budget: self.budget,
            pages: Pages {
                free: pages.free + dropped.pages,
                ..pages
            },
            needed,
            newest: newest.map(|beat| (beat, settings.journal_keep)),
            frames: count,
        };
        let plan = {
            let state = self.shared.state();
            plan(
                &need,
                state.index.iter().take_while(|entry| entry.is_stored),
            )
        };
        if plan.missing > 0 {
            let transaction = journal.connection_mut().transaction()?;
            let gone = history::delete_oldest(&transaction)?;
            transaction.commit()?;
            self.shared.state().health.gone.add(&gone);
        }
        let log = Log::of(journal, self.budget);
        log.take(&mut self.logged, needed + touched(&plan, &dropped))?;
        journal.write(&Write {
            delete: &plan.delete,
            dropped: (!dropped.is_empty()).then_some(&dropped),
            names: &names,
            frames,
            cursors: &staged.cursors,
            holes: &staged.holes,
        })?;
        if let Some((id, _)) = names.last() {
            lock(&self.shared.dictionary).saved(*id);
        }
        let written: Vec<Seq> = self.pending.drain(..count).map(|frame| frame.seq).collect();
        let mut state = self.shared.state();
        for seq in written {
            state.index.stored(seq);
        }
        // Also when the tail still has them: the limits of the journal are the same for all.
        state.remove(&plan);
        state.health.gone.blocks.add(dropped.gone);
        state.holes.saved(&staged.holes);
        for (sink, row) in &staged.cursors {
            if let Some(staged) = state.cursors.get_mut(sink)
                && staged.row == *row
            {
                staged.is_dirty = false;
            }
        }
        Ok(())
    }

    fn note_trouble(&mut self, error: &rusqlite::Error) {
        let mut reason = write_trouble(error);
        if !self.pending.is_empty() {
            let count = self.pending.len();
            reason = format!("{reason}; {count} frames are kept in memory until it is written");
        }
        let reopen = matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen)
        );
        match &mut self.trouble {
            Some(trouble) => {
                trouble.reopen |= reopen;
                if trouble.said.elapsed() >= SAY_AGAIN {
                    trouble.said = Stopwatch::start();
                    tracing::warn!("still nothing is written to the store: {reason}");
                }
            }
            None => {
                tracing::warn!("nothing is written to the store: {reason}");
                self.trouble = Some(Trouble {
                    tried: Stopwatch::start(),
                    said: Stopwatch::start(),
                    reopen,
                });
            }
        }
        // A log that is moved into the file starts again from its beginning, which frees room.
        if let Some(journal) = &self.journal
            && let Ok(logged) = journal.checkpoint()
        {
            self.logged = logged;
        }
        let mut state = self.shared.state();
        state.health.durable = false;
        state.health.reason = Some(reason);
    }
}

/// Pages that deleting changes, about: the leaves of trees, and the lists of free pages.
fn touched(plan: &Plan, dropped: &history::Dropped) -> u64 {
    4 * plan.delete.len() as u64 + dropped.pages / 4
}

fn needed_pages(frames: &[NewFrame], names: &[(u32, Arc<str>)], page_size: u64) -> u64 {
    let frames: u64 = frames.iter().map(|frame| pages_for(frame, page_size)).sum();
    // A name stands in its table and in the index.
    let names: usize = names.iter().map(|(_, name)| 2 * (name.len() + 16)).sum();
    frames + (names as u64).div_ceil(page_size - 4)
}
