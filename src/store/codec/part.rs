//! The wrapping of every piece of a frame: format version, kind, checksum, compression.
//!
//! `version u8 | kind u8 | crc32 of the rest, the beat and the place (u32, little-endian) |
//! raw length (varint) | zstd`. The beat and the place within the frame are not written: a piece
//! that stands in the wrong place fails its checksum.

use super::bytes::{Bytes, put_varint};
use super::{Broken, EncodeError};
use crate::clock::Timestamp;

/// The version this program writes, and the newest it reads.
pub const VERSION: u8 = 1;

/// Raw bytes of one piece at most.
pub(super) const RAW_MAX: usize = 64 << 20;

const HEADER: usize = 6;

/// What a piece holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    EvaluationHead = 0,
    SinksHead = 1,
    Groups = 2,
    Topics = 3,
    Changes = 4,
    SnapshotHead = 5,
    SnapshotTopics = 6,
    SnapshotGroups = 7,
}

impl Kind {
    pub(super) const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Kind::EvaluationHead,
            1 => Kind::SinksHead,
            2 => Kind::Groups,
            3 => Kind::Topics,
            4 => Kind::Changes,
            5 => Kind::SnapshotHead,
            6 => Kind::SnapshotTopics,
            7 => Kind::SnapshotGroups,
            _ => return None,
        })
    }
}

/// Wraps pieces. Keeps its memory between them.
pub(super) struct Wrapper {
    compressor: zstd::bulk::Compressor<'static>,
    packed: Vec<u8>,
}

impl Wrapper {
    pub(super) fn new() -> Result<Self, EncodeError> {
        let compressor =
            zstd::bulk::Compressor::new(1).map_err(|error| EncodeError::Zstd(error.to_string()))?;
        Ok(Self {
            compressor,
            packed: Vec::new(),
        })
    }

    /// Wraps `raw` as piece number `place` of the frame of `beat`.
    pub(super) fn wrap(
        &mut self,
        kind: Kind,
        raw: &[u8],
        beat: Timestamp,
        place: usize,
    ) -> Result<Box<[u8]>, EncodeError> {
        if raw.len() > RAW_MAX {
            return Err(EncodeError::TooLarge);
        }
        self.packed.clear();
        self.packed
            .reserve(zstd::zstd_safe::compress_bound(raw.len()));
        self.compressor
            .compress_to_buffer(raw, &mut self.packed)
            .map_err(|error| EncodeError::Zstd(error.to_string()))?;
        let mut part = Vec::with_capacity(HEADER + 10 + self.packed.len());
        part.extend([VERSION, kind as u8, 0, 0, 0, 0]);
        put_varint(&mut part, raw.len() as u64);
        part.extend_from_slice(&self.packed);
        let crc = checksum(&part, beat, place);
        part[2..HEADER].copy_from_slice(&crc.to_le_bytes());
        Ok(part.into_boxed_slice())
    }
}

/// The kind and the raw bytes of piece number `place` of the frame of `beat`.
pub(super) fn unwrap(
    decompressor: &mut zstd::bulk::Decompressor<'_>,
    part: &[u8],
    beat: Timestamp,
    place: usize,
) -> Result<(Kind, Vec<u8>), Broken> {
    let broken = |why: &str| Broken::new(place, why);
    let (kind, mut bytes) = check(part, beat, place)?;
    let len = bytes.count(RAW_MAX).map_err(|why| broken(why.0))?;
    let rest = bytes.take(bytes.len()).map_err(|why| broken(why.0))?;
    let raw = decompressor
        .decompress(rest, len)
        .map_err(|_| broken("it cannot be decompressed"))?;
    if raw.len() != len {
        return Err(broken("its length is wrong"));
    }
    Ok((kind, raw))
}

/// The kind of a piece whose checksum is right, and what follows its header.
pub(super) fn check(
    part: &[u8],
    beat: Timestamp,
    place: usize,
) -> Result<(Kind, Bytes<'_>), Broken> {
    let broken = |why: &str| Broken::new(place, why);
    let mut bytes = Bytes::new(part);
    let header = bytes.take(HEADER).map_err(|why| broken(why.0))?;
    if header[0] != VERSION {
        return Err(Broken::version(header[0]));
    }
    let crc = u32::from_le_bytes([header[2], header[3], header[4], header[5]]);
    if crc != checksum(part, beat, place) {
        return Err(broken("the checksum is wrong"));
    }
    let kind = Kind::from_code(header[1]).ok_or_else(|| broken("its kind does not exist"))?;
    Ok((kind, bytes))
}

/// Covers everything but the checksum itself.
fn checksum(part: &[u8], beat: Timestamp, place: usize) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&part[..2]);
    crc.update(&beat.as_ms().to_le_bytes());
    crc.update(&(place as u64).to_le_bytes());
    crc.update(&part[HEADER..]);
    crc.finalize()
}
