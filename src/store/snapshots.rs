//! What each cluster remembers, kept for the next start: one snapshot a cluster, replaced as a whole.
//!
//! Nobody but the cluster's own monitor writes or reads it, and losing one costs only time: the next
//! start reads the whole offsets topic. So a snapshot that cannot be written is given up at once
//! instead of being kept in memory, and the next one comes in a few minutes.

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, params};
use tokio::sync::oneshot;

use super::codec::Encoded;
use super::codec::snapshot::FoundSnapshot;
use super::journal::{Journal, unsql};
use super::{Command, Store, StoreError, schema};
use crate::clock::Timestamp;
use crate::lag::ids::ClusterName;

/// A snapshot to be written.
#[derive(Debug)]
pub(super) struct NewSnapshot {
    pub(super) cluster: ClusterName,
    pub(super) saved_at: Timestamp,
    pub(super) encoded: Encoded,
}

impl Store {
    /// Whether snapshots outlive the process.
    pub fn keeps_snapshots(&self) -> bool {
        self.shared.path.is_some()
    }

    /// Keeps a cluster's snapshot instead of the one before, in one transaction. Does not wait: the
    /// outcome comes later.
    ///
    /// # Errors
    /// When the writer is too busy to take it, or has ended.
    pub fn save_snapshot(
        &self,
        cluster: &ClusterName,
        saved_at: Timestamp,
        encoded: Encoded,
    ) -> Result<oneshot::Receiver<Result<(), StoreError>>, StoreError> {
        let permit = Arc::clone(&self.command_permits)
            .try_acquire_owned()
            .map_err(|_| not_saved("the store is busy"))?;
        let (reply, outcome) = oneshot::channel();
        let snapshot = NewSnapshot {
            cluster: cluster.clone(),
            saved_at,
            encoded,
        };
        let command = Command::Snapshot {
            snapshot,
            reply,
            permit,
        };
        self.commands
            .try_send(command)
            .map_err(|_| StoreError::Closed)?;
        Ok(outcome)
    }

    /// A cluster's snapshot; none when there is none. Blocks.
    ///
    /// # Errors
    /// Why there is one that cannot be used, in words.
    pub fn snapshot(&self, cluster: &ClusterName) -> Result<Option<FoundSnapshot>, String> {
        let Some(path) = &self.shared.path else {
            return Ok(None);
        };
        let found = read(path, cluster).map_err(|error| format!("it cannot be read: {error}"))?;
        let Some((saved_at, pieces)) = found else {
            return Ok(None);
        };
        let found = FoundSnapshot::open(saved_at, pieces);
        found.map(Some).map_err(|broken| broken.to_string())
    }
}

type Pieces = Vec<Box<[u8]>>;

fn read(
    path: &Path,
    cluster: &ClusterName,
) -> Result<Option<(Timestamp, Pieces)>, rusqlite::Error> {
    let file = schema::open_reader(path)?;
    let mut statement =
        file.prepare("SELECT saved_ms, bytes FROM snapshot WHERE cluster = ?1 ORDER BY place")?;
    let mut rows = statement.query([cluster.as_str()])?;
    let mut saved_at = None;
    let mut pieces = Vec::new();
    while let Some(row) = rows.next()? {
        saved_at = Some(Timestamp::from_ms(row.get(0)?));
        pieces.push(row.get::<_, Vec<u8>>(1)?.into_boxed_slice());
    }
    Ok(saved_at.map(|at| (at, pieces)))
}

pub(super) fn not_saved(reason: impl Into<String>) -> StoreError {
    StoreError::Snapshot {
        reason: reason.into(),
    }
}

impl Journal {
    pub(super) fn snapshot_bytes(&self, cluster: &ClusterName) -> Result<u64, rusqlite::Error> {
        self.connection().query_row(
            "SELECT coalesce(sum(length(bytes)), 0) FROM snapshot WHERE cluster = ?1",
            [cluster.as_str()],
            |row| row.get(0).map(unsql),
        )
    }
}

/// Puts a snapshot in the place of the one before.
pub(super) fn replace(
    connection: &Connection,
    snapshot: &NewSnapshot,
) -> Result<(), rusqlite::Error> {
    let cluster = snapshot.cluster.as_str();
    connection.execute("DELETE FROM snapshot WHERE cluster = ?1", [cluster])?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO snapshot (cluster, place, saved_ms, bytes) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for (place, piece) in (0_i64..).zip(&snapshot.encoded.parts) {
        insert.execute(params![cluster, place, snapshot.saved_at.as_ms(), &**piece])?;
    }
    Ok(())
}
