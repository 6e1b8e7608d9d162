//! The write-ahead log's share of `max_size`.
//!
//! A log begins anew only when all of it is in the file and nobody reads from it. Somebody who reads
//! without end would make it grow without end: then nothing is written, memory carries the beats,
//! and health says so.

use rusqlite::ffi;

use crate::store::journal::{Journal, LOG_PAGE_HEADER};
use crate::store::retention::Budget;

/// The log, before something is put into it.
pub(super) struct Log<'a> {
    journal: &'a Journal,
    budget: Budget,
}

impl<'a> Log<'a> {
    pub(super) fn of(journal: &'a Journal, budget: Budget) -> Self {
        Self { journal, budget }
    }

    /// Takes room for so many pages, and gives it in bytes; `logged` are those that the log has.
    ///
    /// # Errors
    /// As of a full disk, or of a locked file, when there is no room.
    pub(super) fn take(&self, logged: &mut u64, pages: u64) -> Result<u64, rusqlite::Error> {
        let bytes = pages * (self.journal.pages()?.size + LOG_PAGE_HEADER);
        if *logged + bytes > self.budget.log() && *logged > 0 {
            *logged = self.journal.checkpoint()?;
        }
        if *logged + bytes > self.budget.log() {
            let (code, why) = match *logged {
                0 => (
                    ffi::SQLITE_FULL,
                    "max_size leaves no room for so much at once",
                ),
                _ => (ffi::SQLITE_BUSY, "somebody reads the file without end"),
            };
            let error = ffi::Error::new(code);
            return Err(rusqlite::Error::SqliteFailure(error, Some(why.to_owned())));
        }
        *logged += bytes;
        Ok(bytes)
    }
}
