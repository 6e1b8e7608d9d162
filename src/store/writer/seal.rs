//! Writing what the sealer hands over: small transactions between two beats.

use super::Writer;
use crate::store::SealWork;
use crate::store::error::write_trouble;
use crate::store::history;

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
        };
        self.logged += needed * size;
        match work {
            SealWork::Begin(hour) => history::begin(journal.connection_mut(), hour),
            SealWork::Slice(slice) => {
                history::write_slice(journal.connection_mut(), slice).map(|()| 0)
            }
        }
    }
}
