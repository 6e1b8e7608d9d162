//! What is done between two commands, a bounded piece at a time: the log is moved into the file, what
//! is too old or too much is deleted, free pages are given back.

use std::path::Path;

use super::Writer;
use super::log::Log;
use crate::store::history;
use crate::store::journal::Pages;
use crate::store::layers::{AllGone, LayerBytes};
use crate::store::lock;
use crate::store::retention::{at_once, missing};

/// Free pages that are given back to the file system at once: 16 MiB.
const SHRINK_PAGES: u64 = 4096;

/// Pages that deleting some rows changes, rather too many.
const ROWS_PAGES: u64 = 64;

impl Writer {
    /// One piece of the work. Notes whether there is more.
    pub(super) fn tidy(&mut self) {
        self.has_more = false;
        if let Some(journal) = &self.journal
            && self.trouble.is_none()
        {
            if self.logged > self.budget.checkpoint()
                && let Ok(logged) = journal.checkpoint()
            {
                self.logged = logged;
            }
            match self
                .trim()
                .and_then(|has_more| Ok(has_more | self.sweep()?))
            {
                Ok(has_more) => self.has_more = has_more,
                Err(error) => tracing::debug!("what is too old is not deleted: {error}"),
            }
            if let Err(error) = self.shrink() {
                tracing::debug!("the store's file is not shrunk: {error}");
            }
        }
        self.measure();
    }

    /// Deletes some of what is too old, or too much since less is allowed than before. Whether
    /// anything was deleted.
    fn trim(&mut self) -> Result<bool, rusqlite::Error> {
        let newest = self.shared.state().index.iter().next_back().map(|e| e.beat);
        let (Some(journal), Some(newest)) = (&mut self.journal, newest) else {
            return Ok(false);
        };
        let settings = &self.shared.settings;
        let pages = journal.pages()?;
        let most = at_once(self.budget, pages.size);
        let dropped = history::choose(
            journal.connection(),
            missing(self.budget, pages, 0).min(most),
            Some(newest.minus(settings.raw_keep)),
            pages.size,
        )?;
        let log = Log::of(journal, self.budget);
        let taken = log.take(&mut self.logged, ROWS_PAGES + dropped.pages / 4)?;
        let transaction = journal.connection_mut().transaction()?;
        history::delete(&transaction, &dropped)?;
        let keep_from = (
            newest.minus(settings.rollup_5m_keep),
            newest.minus(settings.rollup_1h_keep),
        );
        let mut gone = history::delete_old(&transaction, keep_from)?;
        history::forget_hours(&transaction)?;
        transaction.commit()?;
        gone.blocks = dropped.gone;
        self.shared.state().health.gone.add(&gone);
        let is_idle = gone == AllGone::default();
        if is_idle {
            self.logged = self.logged.saturating_sub(taken);
        }
        Ok(!is_idle)
    }

    /// Gives free pages back, a few at a time, when the file is too large or a quarter empty.
    fn shrink(&mut self) -> Result<(), rusqlite::Error> {
        let Some(journal) = &self.journal else {
            return Ok(());
        };
        let Pages { size, count, free } = journal.pages()?;
        let allowed = self.budget.pages(size);
        let is_too_large = count > allowed && free > 0;
        if is_too_large || (free > count / 4 && free > SHRINK_PAGES) {
            let pages = at_once(self.budget, size).min(SHRINK_PAGES).min(free);
            Log::of(journal, self.budget).take(&mut self.logged, 2 * pages)?;
            journal.shrink(pages)?;
            journal.limit_pages(allowed)?;
            self.has_more = true;
        }
        Ok(())
    }

    /// Notes the size of the file and its log, and of what is in it.
    pub(super) fn measure(&self) {
        let (Some(path), Some(journal)) = (&self.shared.path, &self.journal) else {
            return;
        };
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let bytes = size(path) + size(Path::new(&log));
        let mut layers = LayerBytes::default();
        let names = layers.read(journal.connection());
        let in_memory = lock(&self.shared.dictionary).len() as u64;
        let mut state = self.shared.state();
        layers.journal = state.index.stored_bytes();
        state.health.bytes = bytes;
        // While the file cannot be read, what was known stays.
        if let Ok(names) = names {
            state.health.layers = layers;
            state.health.names = names;
            state.health.names_in_memory = in_memory;
        }
    }
}
