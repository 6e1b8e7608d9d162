//! Writing a cluster's snapshot between two beats.

use super::Writer;
use super::log::Log;
use crate::store::StoreError;
use crate::store::error::write_trouble;
use crate::store::retention::{Need, plan};
use crate::store::snapshots::{NewSnapshot, not_saved};

impl Writer {
    /// Writes a snapshot, or gives it up.
    pub(super) fn save_snapshot(&mut self, snapshot: &NewSnapshot) -> Result<(), StoreError> {
        let bytes = snapshot.encoded.len() as u64;
        let most = self.budget.snapshot();
        if bytes > most {
            return Err(not_saved(format!(
                "it has {bytes} bytes; with this [store] max_size it may have {most}"
            )));
        }
        if self.trouble.is_some() {
            return Err(not_saved("nothing is written to the store at the moment"));
        }
        let trouble = |error: rusqlite::Error| not_saved(write_trouble(&error));
        self.write_snapshot(snapshot, bytes).map_err(trouble)
    }

    fn write_snapshot(
        &mut self,
        snapshot: &NewSnapshot,
        bytes: u64,
    ) -> Result<(), rusqlite::Error> {
        let Some(journal) = &mut self.journal else {
            return Ok(());
        };
        let pages = journal.pages()?;
        // The one before makes room for this one.
        let before = journal.snapshot_bytes(&snapshot.cluster)?;
        let pieces = snapshot.encoded.parts.len() as u64;
        let needed = bytes.saturating_sub(before).div_ceil(pages.size - 4) + pieces;
        let need = Need {
            budget: self.budget,
            pages,
            needed,
            newest: None,
            frames: 0,
        };
        let plan = {
            let state = self.shared.state();
            plan(
                &need,
                state.index.iter().take_while(|entry| entry.is_stored),
            )
        };
        let touched = bytes.div_ceil(pages.size - 4) + pieces + 4 * plan.delete.len() as u64;
        Log::of(journal, self.budget).take(&mut self.logged, touched + 8)?;
        journal.write_snapshot(snapshot, &plan.delete)?;
        self.shared.state().remove(&plan);
        Ok(())
    }
}
