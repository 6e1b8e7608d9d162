//! Names that nothing refers to any more go from the dictionary.
//!
//! What keeps every kept frame, block and row readable, whenever the process is killed:
//!
//! - A name in frames, blocks, rollups or status changes of a sealed hour has stamps that say so
//!   (`history/stamps.rs`), written before the hour counts as sealed.
//! - A name in frames that are not sealed yet is in memory, with the newest frame that uses it: it
//!   stays there until they are sealed (`Writer::trim_tail`), and what is in memory like that does
//!   not go. After a start nothing goes until all frames that were there are sealed.
//! - Only this thread gives names their numbers, and it is the one that deletes them: a name cannot
//!   come up again in between. One that comes up later is not found and gets a new number.

use super::Writer;
use super::log::Log;
use crate::store::frame::Seq;
use crate::store::history::{Candidate, Unused, forget, unused};
use crate::store::lock;

/// Numbers that are looked at, and names that go, at once.
const LOOK_AT: i64 = 4096;
const AT_ONCE: u32 = 256;

/// Going over all names, again and again.
#[derive(Debug)]
pub(super) struct Sweep {
    /// The newest frame when the store was opened.
    opened_at: Seq,
    /// Behind which number it goes on.
    after: i64,
    /// What was unused in the last round that came to its end.
    done: Option<Unused>,
}

impl Sweep {
    pub(super) fn new(opened_at: Seq) -> Self {
        Self {
            opened_at,
            after: 0,
            done: None,
        }
    }
}

impl Writer {
    /// Deletes some names that nothing refers to. Whether there is more to look at.
    pub(super) fn sweep(&mut self) -> Result<bool, rusqlite::Error> {
        let (oldest_unsealed, oldest_beat) = {
            let index = &self.shared.state().index;
            (index.oldest_unsealed(), index.oldest_beat())
        };
        // Without one, every frame is sealed, and no name is in use.
        let oldest_unsealed = oldest_unsealed.unwrap_or(Seq(self.newest.0 + 1));
        let (Some(journal), Some(oldest_beat)) = (&mut self.journal, oldest_beat) else {
            return Ok(false);
        };
        if oldest_unsealed <= self.sweep.opened_at {
            return Ok(false);
        }
        // Looked up each time: a clock that is set back brings older hours.
        let of_now = Unused::now(journal.connection(), oldest_beat)?;
        if self.sweep.after == 0 && self.sweep.done == Some(of_now) {
            return Ok(false);
        }
        let last = journal.last_name()?;
        let range = (self.sweep.after, self.sweep.after + LOOK_AT);
        let found = unused(journal.connection(), of_now, range, AT_ONCE)?;
        let is_full = found.len() >= AT_ONCE as usize;
        let next = match found.last() {
            Some(name) if is_full => i64::from(name.id),
            _ => range.1,
        };
        let gone: Vec<Candidate> = {
            let mut dictionary = lock(&self.shared.dictionary);
            let may_go =
                |name: &Candidate| dictionary.release(name.id, &name.text, oldest_unsealed);
            found.into_iter().filter(may_go).collect()
        };
        if !gone.is_empty() {
            // Each may be on a page of its own, in the table and in the index.
            let pages = 2 * gone.len() as u64 + 8;
            Log::of(journal, self.budget).take(&mut self.logged, pages)?;
            let transaction = journal.connection_mut().transaction()?;
            forget(&transaction, &gone)?;
            transaction.commit()?;
            self.shared.state().health.gone.names.age += gone.len() as u64;
        }
        self.sweep.after = next;
        if next >= last {
            self.sweep.after = 0;
            self.sweep.done = Some(of_now);
            return Ok(false);
        }
        Ok(true)
    }
}
