//! Saving what a cluster remembers, for the next start.
//!
//! Right after a beat, when the next one is farthest, and when the monitor stops. The cluster stands
//! still while its snapshot is made and encoded; writing it is the store's, and nobody waits for
//! that. What is saved and the position in the offsets topic belong together: both are of the
//! moment between two batches.

use std::time::Duration;

use tokio::sync::oneshot;

use super::{Channels, SnapshotHealth};
use crate::clock::{Stopwatch, Timestamp};
use crate::lag::cluster::Cluster;
use crate::lag::evaluation::Phase;
use crate::lag::event::ReaderPosition;
use crate::lag::ids::ClusterName;
use crate::store::codec::snapshot::{SnapshotHead, encode};
use crate::store::{Store, StoreError};

/// Where and how often a cluster is saved.
#[derive(Debug)]
pub struct Keeper {
    cluster: ClusterName,
    store: Store,
    every: Duration,
    /// Settings that decide what is remembered, by name.
    settings: Vec<(String, String)>,
    next: Option<Timestamp>,
    /// What is being written.
    making: SnapshotHealth,
}

/// The outcome of saving, when it is there.
pub(super) type Saved = oneshot::Receiver<Result<(), StoreError>>;

impl Keeper {
    /// Saves `cluster` into `store`.
    pub fn new(
        cluster: ClusterName,
        store: Store,
        every: Duration,
        settings: Vec<(String, String)>,
    ) -> Self {
        Self {
            cluster,
            store,
            every,
            settings,
            next: None,
            making: SnapshotHealth::default(),
        }
    }

    /// Whether it is time. The first time is soon after the offsets topic was read: that is what took
    /// long.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.next.is_none_or(|next| {
            // Further away than one interval: the clock was stepped back.
            now >= next || next > now.plus(self.every)
        })
    }

    /// Saves the cluster as it is, `position` being how far the offsets topic is in it. Nothing
    /// while it is not whole.
    pub(super) fn save(
        &mut self,
        cluster: &mut Cluster,
        position: Option<&ReaderPosition>,
        now: Timestamp,
        channels: &Channels,
    ) -> Option<Saved> {
        if cluster.phase() != Phase::Running {
            return None;
        }
        let head = SnapshotHead {
            saved_at: now,
            position: position?.clone(),
            settings: self.settings.clone(),
        };
        self.next = Some(now.plus(self.every));
        let watch = Stopwatch::start();
        let encoded = encode(&head, &cluster.snapshot());
        let pause = watch.elapsed();
        let mut bytes = 0;
        let begun = encoded.map_err(StoreError::from).and_then(|encoded| {
            bytes = encoded.len() as u64;
            self.store.save_snapshot(&self.cluster, now, encoded)
        });
        match begun {
            Ok(saved) => {
                self.making = SnapshotHealth {
                    saved_at: Some(now),
                    bytes,
                    pause,
                    problem: None,
                };
                Some(saved)
            }
            Err(error) => {
                self.failed(&error, channels);
                None
            }
        }
    }

    /// Takes note of an outcome; absent when the store has ended.
    pub(super) fn saved(&self, outcome: Option<Result<(), StoreError>>, channels: &Channels) {
        match outcome {
            Some(Ok(())) => channels.set_snapshot(|snapshot| snapshot.clone_from(&self.making)),
            Some(Err(error)) => self.failed(&error, channels),
            None => self.failed(&StoreError::Closed, channels),
        }
    }

    /// Says it once, until another problem comes.
    fn failed(&self, error: &StoreError, channels: &Channels) {
        let problem = Some(error.to_string());
        channels.set_snapshot(|snapshot| {
            if snapshot.problem != problem {
                tracing::warn!(
                    cluster = %self.cluster,
                    "{error}; the next start may have to read the whole offsets topic"
                );
            }
            snapshot.problem = problem;
        });
    }
}
