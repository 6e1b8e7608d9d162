//! Writing a cluster's snapshot between two beats.

use super::Writer;
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
            keep_from: None,
            frames: 0,
        };
        let plan = {
            let state = self.shared.state();
            plan(
                &need,
                state.index.iter().take_while(|entry| entry.is_stored),
            )
        };
        journal.write_snapshot(snapshot, &plan.delete)?;
        self.logged += (bytes.div_ceil(pages.size - 4) + pieces) * pages.size;
        let mut state = self.shared.state();
        for seq in plan.delete {
            state.index.remove(seq);
        }
        Ok(())
    }
}
