//! The history: sealed hours of evaluations, transposed to series, and rollups of them.
//!
//! When an hour of a cluster is over, the [`Sealer`] turns its frames into blocks, in which each
//! series stands in one piece, and into rollups, plain rows in SQL. What is sealed is exactly what
//! frames store. [`read`] gives it back; which hours and frames are sealed it says too
//! ([`read::sealed`]), so that frames and blocks meet without gaps or doubles.

mod assemble;
mod block;
mod columns;
mod expire;
mod file;
mod gather;
mod groups;
mod key;
mod predict;
pub mod read;
pub mod replay;
pub mod rollup;
mod rollup_rows;
mod rows;
mod seal;
mod stamps;
#[cfg(test)]
pub(in crate::store) mod tests;
mod topics;
mod totals;

use std::fmt;
use std::time::Duration;

pub(super) use self::expire::{Dropped, choose, delete, delete_old, delete_oldest, forget_hours};
pub(super) use self::file::{Hour, Slice, begin, write_slice};
pub(super) use self::seal::Never;
pub use self::seal::Sealer;
pub(super) use self::stamps::{Candidate, NEVER, Unused, Used, forget, hour_of, stamp, unused};
use crate::store::codec::EncodeError;

/// What is sealed at once, aligned to the epoch.
pub const HOUR: Duration = Duration::from_secs(3600);

/// The same in milliseconds.
pub(super) const HOUR_MS: i64 = 3_600_000;

/// The level of compression: higher ones gain nothing on planes of noise.
const LEVEL: i32 = 3;

/// Compresses planes. Keeps its memory between them.
pub(super) struct Packer {
    compressor: zstd::bulk::Compressor<'static>,
    packed: Vec<u8>,
}

impl fmt::Debug for Packer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packer").finish_non_exhaustive()
    }
}

impl Packer {
    pub(super) fn new() -> Result<Self, EncodeError> {
        let compressor = zstd::bulk::Compressor::new(LEVEL)
            .map_err(|error| EncodeError::Zstd(error.to_string()))?;
        Ok(Self {
            compressor,
            packed: Vec::new(),
        })
    }

    /// The bytes compressed; none when zstd cannot.
    fn pack(&mut self, bytes: &[u8]) -> Option<&[u8]> {
        self.packed.clear();
        self.packed
            .reserve(zstd::zstd_safe::compress_bound(bytes.len()));
        self.compressor
            .compress_to_buffer(bytes, &mut self.packed)
            .ok()?;
        Some(&self.packed)
    }
}

/// Decompresses planes.
pub struct Unpacker(zstd::bulk::Decompressor<'static>);

impl fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unpacker").finish_non_exhaustive()
    }
}

impl Unpacker {
    /// A decompressor.
    ///
    /// # Errors
    /// When zstd has no memory for its state.
    pub fn new() -> Result<Self, EncodeError> {
        zstd::bulk::Decompressor::new()
            .map(Self)
            .map_err(|error| EncodeError::Zstd(error.to_string()))
    }
}
