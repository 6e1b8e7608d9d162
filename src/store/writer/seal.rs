//! Writing what the sealer hands over: small transactions between two beats.

use super::Writer;
use super::log::Log;
use crate::store::SealWork;
use crate::store::error::write_trouble;
use crate::store::history;
use crate::store::retention::missing;

/// Pages that noting a new hour takes, rather too many.
const BEGIN_PAGES: u64 = 8;

impl Writer {
    /// Writes a piece of a sealed hour. The number of the hour, or why it has to be tried again.
    pub(super) fn seal(&mut self, work: &SealWork) -> Result<i64, String> {
        if self.trouble.is_some() {
            return Err("the disk does not take the journal".to_owned());
        }
        self.try_seal(work).map_err(|error| write_trouble(&error))
    }

    fn try_seal(&mut self, work: &SealWork) -> Result<i64, rusqlite::Error> {
        let Some(journal) = &mut self.journal else {
            return Ok(0);
        };
        let size = journal.pages()?.size;
        let needed = match work {
            SealWork::Begin(_) => BEGIN_PAGES,
            SealWork::Slice(slice) => slice.pages(size),
            SealWork::Names(..) => 0,
        };
        // Room is taken from older history only, never from the journal.
        let pages = journal.pages()?;
        let short = missing(self.budget, pages, needed);
        if short > 0 {
            let dropped = history::choose(journal.connection(), short, None, size)?;
            if dropped.pages < short {
                return Err(full());
            }
            Log::of(journal, self.budget).take(&mut self.logged, dropped.pages / 4 + 8)?;
            let transaction = journal.connection_mut().transaction()?;
            history::delete(&transaction, &dropped)?;
            transaction.commit()?;
            self.shared.state().health.gone.blocks.add(dropped.gone);
        }
        let changed = match work {
            SealWork::Names(_, used) => pages_of(used),
            SealWork::Begin(_) | SealWork::Slice(_) => needed,
        };
        Log::of(journal, self.budget).take(&mut self.logged, changed)?;
        match work {
            SealWork::Begin(hour) => history::begin(journal.connection_mut(), hour),
            SealWork::Slice(slice) => {
                history::write_slice(journal.connection_mut(), slice).map(|()| 0)
            }
            SealWork::Names(hour, used) => {
                let transaction = journal.connection_mut().transaction()?;
                for used in used {
                    history::stamp(&transaction, *used, *hour)?;
                }
                transaction.commit().map(|()| 0)
            }
        }
    }
}

/// Pages of the dictionary on which these names are, rather too many; they come in order.
fn pages_of(used: &[history::Used]) -> u64 {
    let (first, last) = (used.first(), used.last());
    let span = last.map_or(0, |used| used.id) - first.map_or(0, |used| used.id);
    (u64::from(span) / 16).min(used.len() as u64) + 4
}

/// What SQLite would say.
fn full() -> rusqlite::Error {
    let full = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
    rusqlite::Error::SqliteFailure(full, Some("max_size leaves no room for history".to_owned()))
}
