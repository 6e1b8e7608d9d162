//! A block as bytes, and back: all beats of an hour of a run of series, transposed.
//!
//! `version u8 | kind u8 | crc32 of the rest, the hour and the kind (u32, little-endian) | columns`.
//! The hour is not written: a block that stands under another hour fails its checksum. The list of
//! beats stands once in a block; a series is there for the beats at which its topic had that many
//! partitions, so absence costs nothing either. What is stored of an evaluation is what a frame
//! stores of it (`codec::stored_part`).
//!
//! Reading is total: whatever the bytes are, the answer is the rows or [`Malformed`], never a panic,
//! and memory is taken for [`ROWS_MAX`] rows at most.

use super::columns::{Columns, Reader};
use super::predict::{Points, Predicted};
use super::{Packer, Unpacker};
use crate::clock::Timestamp;
use crate::store::codec::bytes::{Bytes, Malformed};

/// The version this program writes, and the newest it reads.
pub(super) const VERSION: u8 = 1;

/// Rows of one block at most: some 10 MB in memory.
pub(super) const ROWS_MAX: usize = 64 << 10;

/// Rows after which a block ends: what reading one series has to unpack.
pub(super) const ROWS_TARGET: usize = 12 << 10;

const HEADER: usize = 6;

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Groups with their partitions.
    Groups = 1,
    /// Topics with their partitions' log offsets.
    Topics = 2,
    /// The cluster as a whole.
    Cluster = 3,
}

/// Puts the header before the bytes of columns.
pub(super) fn wrap<const N: usize>(
    kind: Kind,
    hour: Timestamp,
    columns: &Columns<N>,
    packer: &mut Packer,
) -> Vec<u8> {
    let mut out = vec![VERSION, kind as u8, 0, 0, 0, 0];
    columns.write(&mut out, packer);
    let crc = checksum(&out, hour);
    out[2..HEADER].copy_from_slice(&crc.to_le_bytes());
    out
}

/// The columns of a block of this kind and hour.
pub(super) fn unwrap<const N: usize>(
    kind: Kind,
    hour: Timestamp,
    block: &[u8],
    unpacker: &mut Unpacker,
) -> Result<Reader<N>, Malformed> {
    let mut bytes = Bytes::new(block);
    let header = bytes.take(HEADER)?;
    if header[0] != VERSION {
        return Err(Malformed("this lagline does not know its format version"));
    }
    let crc = u32::from_le_bytes([header[2], header[3], header[4], header[5]]);
    if crc != checksum(block, hour) {
        return Err(Malformed("the checksum is wrong"));
    }
    if header[1] != kind as u8 {
        return Err(Malformed("it is of another kind"));
    }
    Reader::read(bytes, &mut unpacker.0)
}

fn checksum(block: &[u8], hour: Timestamp) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&block[..2]);
    crc.update(&hour.as_ms().to_le_bytes());
    crc.update(&block[HEADER..]);
    crc.finalize()
}

/// Writes the list of beats.
pub(super) fn put_beats<const N: usize>(
    columns: &mut Columns<N>,
    column: usize,
    beats: &[Timestamp],
    hour: Timestamp,
) {
    columns.put(column, beats.len() as u64);
    let (mut last, mut step) = (hour.as_ms(), 0_i64);
    for beat in beats {
        let now = beat.as_ms().wrapping_sub(last);
        columns.int(column, now.wrapping_sub(step));
        (last, step) = (beat.as_ms(), now);
    }
}

/// Reads the list of beats.
pub(super) fn take_beats<const N: usize>(
    columns: &mut Reader<N>,
    column: usize,
    hour: Timestamp,
) -> Result<Vec<Timestamp>, Malformed> {
    let count = columns.count(column)?;
    if count > columns.left(column) || count > ROWS_MAX {
        return Err(Malformed("it has more beats than are allowed"));
    }
    let (mut last, mut step) = (hour.as_ms(), 0_i64);
    let mut beats = Vec::with_capacity(count);
    for _ in 0..count {
        step = step.wrapping_add(columns.int(column)?);
        last = last.wrapping_add(step);
        beats.push(Timestamp::from_ms(last));
    }
    Ok(beats)
}

/// A number for each beat, 0 where it was never set, in runs of equal ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Runs {
    runs: Vec<(u32, u32)>,
    len: u32,
}

impl Runs {
    /// Sets the number of a beat, which comes behind those that were set before.
    pub(super) fn set(&mut self, at: u32, value: u32) {
        debug_assert!(at >= self.len, "beats come in their order");
        if at > self.len {
            self.push(at - self.len, 0);
        }
        self.push(1, value);
    }

    fn push(&mut self, count: u32, value: u32) {
        self.len = self.len.saturating_add(count);
        match self.runs.last_mut() {
            Some((len, last)) if *last == value => *len = len.saturating_add(count),
            _ => self.runs.push((count, value)),
        }
    }

    /// The numbers, as far as they are set.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        let runs = self.runs.iter();
        runs.flat_map(|(len, value)| std::iter::repeat_n(*value, *len as usize))
    }

    /// The beats whose number is greater than `than`.
    pub(super) fn above(&self, than: u32) -> impl Iterator<Item = usize> {
        let mut from = 0;
        self.runs.iter().flat_map(move |(len, value)| {
            let range = from..from + *len as usize;
            from = range.end;
            if *value > than { range } else { 0..0 }
        })
    }

    /// How many beats have a number greater than `than`.
    pub(super) fn count_above(&self, than: u32) -> usize {
        let runs = self.runs.iter().filter(|(_, value)| *value > than);
        runs.map(|(len, _)| *len as usize).sum()
    }

    pub(super) fn write<const N: usize>(&self, columns: &mut Columns<N>, column: usize) {
        columns.put(column, self.runs.len() as u64);
        for (len, value) in &self.runs {
            columns.put(column, u64::from(*len));
            columns.put(column, u64::from(*value));
        }
    }

    /// Reads the numbers of `beats` beats.
    pub(super) fn read<const N: usize>(
        columns: &mut Reader<N>,
        column: usize,
        beats: usize,
    ) -> Result<Self, Malformed> {
        const WRONG: Malformed = Malformed("a run of beats is out of range");
        let count = columns.count(column)?;
        if count > beats {
            return Err(WRONG);
        }
        let mut runs = Self::default();
        for _ in 0..count {
            let len = u32::try_from(columns.take(column)?).map_err(|_| WRONG)?;
            let value = u32::try_from(columns.take(column)?).map_err(|_| WRONG)?;
            runs.push(len, value);
        }
        if runs.len as usize > beats {
            return Err(WRONG);
        }
        Ok(runs)
    }
}

/// Writes the numbers of one series, each column the way that suits it best; `is_real` knows the
/// columns of real numbers.
pub(super) fn put_points<const N: usize, const V: usize>(
    columns: &mut Columns<N>,
    (first, modes, slopes): (usize, usize, usize),
    points: &Points<V>,
    is_real: impl Fn(usize) -> bool,
) {
    for (value, points) in points.columns().enumerate() {
        let column = first + value;
        if points.is_empty() {
            continue;
        }
        let best = Predicted::best(points, is_real(value));
        columns.put(modes, best.mode());
        if let Some(slope) = best.slope() {
            columns.int(slopes, slope);
        }
        let mut before = best.start();
        for (at, value) in points {
            columns.int(column, value.wrapping_sub(before.guess(*at)));
            before.note(*at, *value);
        }
    }
}

/// How the numbers of a column of one series are read: none when it has none.
pub(super) fn take_predicted<const N: usize>(
    columns: &mut Reader<N>,
    (modes, slopes): (usize, usize),
) -> Result<Predicted, Malformed> {
    let mode = columns.take(modes)?;
    let slope = match Predicted::has_slope(mode) {
        true => columns.int(slopes)?,
        false => 0,
    };
    Predicted::from_mode(mode, slope).ok_or(Malformed("a way of predicting does not exist"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_know_where_a_number_is_greater() {
        let mut runs = Runs::default();
        for (at, value) in [(2, 3), (3, 3), (4, 1), (7, 2)] {
            runs.set(at, value);
        }
        assert_eq!(runs.iter().collect::<Vec<_>>(), [0, 0, 3, 3, 1, 0, 0, 2]);
        assert_eq!(runs.above(0).collect::<Vec<_>>(), [2, 3, 4, 7]);
        assert_eq!(runs.above(1).collect::<Vec<_>>(), [2, 3, 7]);
        assert_eq!((runs.count_above(0), runs.count_above(2)), (4, 2));
    }
}
