//! Columns of numbers, each in planes of bytes that are compressed on their own.
//!
//! What is noise in a block's numbers is noise for ever; what is not should cost nothing. Cut into
//! planes (all lowest bytes, all second bytes, ...), each plane has one distribution, which the
//! entropy coder of zstd meets to a tenth of a bit; planes of one value take two bytes. Reading
//! takes memory for what is there: a column of one value is kept as that value.

use super::Packer;
use crate::store::codec::bytes::{Bytes, Malformed, put_varint};

/// Bytes of all planes of one block at most, unpacked. A block of [`super::block::ROWS_MAX`] rows
/// with every field of every row known takes less.
const PLANES_MAX: usize = 16 << 20;

/// How a plane is written.
mod as_ {
    /// One byte, for all rows.
    pub(super) const ONE: u8 = 0;
    pub(super) const RAW: u8 = 1;
    pub(super) const PACKED: u8 = 2;
}

/// A signed number as an unsigned one that is small when it is near 0.
#[inline]
pub(super) fn zigzag(value: i64) -> u64 {
    (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned()
}

#[inline]
fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// Columns that are being filled.
#[derive(Debug)]
pub(super) struct Columns<const N: usize>([Vec<u64>; N]);

impl<const N: usize> Default for Columns<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Vec::new()))
    }
}

impl<const N: usize> Columns<N> {
    #[inline]
    pub(super) fn put(&mut self, column: usize, value: u64) {
        self.0[column].push(value);
    }

    #[inline]
    pub(super) fn int(&mut self, column: usize, value: i64) {
        self.put(column, zigzag(value));
    }

    /// Appends all columns to `out`.
    pub(super) fn write(&self, out: &mut Vec<u8>, packer: &mut Packer) {
        let mut plane = Vec::new();
        for column in &self.0 {
            put_varint(out, column.len() as u64);
            let used = column.iter().fold(0, |used, value| used | value);
            if used == 0 {
                // Also without rows: no planes.
                out.extend([0, 0]);
                continue;
            }
            let shift = used.trailing_zeros();
            let count = (64 - (used >> shift).leading_zeros()).div_ceil(8);
            out.extend([low(u64::from(shift)), low(u64::from(count))]);
            for place in 0..count {
                plane.clear();
                plane.extend(
                    column
                        .iter()
                        .map(|value| low(value >> shift >> (8 * place))),
                );
                write_plane(out, &plane, packer);
            }
        }
    }
}

#[inline]
fn low(value: u64) -> u8 {
    value.to_le_bytes()[0]
}

fn write_plane(out: &mut Vec<u8>, plane: &[u8], packer: &mut Packer) {
    let first = plane[0];
    if plane.iter().all(|byte| *byte == first) {
        out.extend([as_::ONE, first]);
        return;
    }
    match packer.pack(plane) {
        Some(packed) if packed.len() + 2 < plane.len() => {
            out.push(as_::PACKED);
            put_varint(out, packed.len() as u64);
            out.extend_from_slice(packed);
        }
        _ => {
            out.push(as_::RAW);
            out.extend_from_slice(plane);
        }
    }
}

/// One column that is read from the front.
#[derive(Debug, Default)]
struct Column {
    left: usize,
    /// What all values have in common.
    common: u64,
    /// What they add to it; empty when there is nothing more.
    values: Vec<u64>,
    at: usize,
}

/// Columns that are read from the front.
#[derive(Debug)]
pub(super) struct Reader<const N: usize>([Column; N]);

impl<const N: usize> Reader<N> {
    /// Finds the columns in `bytes`, which must hold nothing else.
    pub(super) fn read(
        mut bytes: Bytes<'_>,
        unpacker: &mut zstd::bulk::Decompressor<'_>,
    ) -> Result<Self, Malformed> {
        let mut columns = Self(std::array::from_fn(|_| Column::default()));
        let mut budget = PLANES_MAX;
        for column in &mut columns.0 {
            *column = read_column(&mut bytes, unpacker, &mut budget)?;
        }
        bytes.end()?;
        Ok(columns)
    }

    /// Values left in a column.
    pub(super) fn left(&self, column: usize) -> usize {
        self.0[column].left
    }

    #[inline]
    pub(super) fn take(&mut self, column: usize) -> Result<u64, Malformed> {
        let column = &mut self.0[column];
        column.left = (column.left.checked_sub(1)).ok_or(Malformed("a column ends too early"))?;
        let more = column.values.get(column.at).copied().unwrap_or(0);
        column.at += 1;
        Ok(column.common | more)
    }

    #[inline]
    pub(super) fn int(&mut self, column: usize) -> Result<i64, Malformed> {
        self.take(column).map(unzigzag)
    }

    /// Leaves out `count` values.
    #[inline]
    pub(super) fn skip(&mut self, column: usize, count: usize) -> Result<(), Malformed> {
        let column = &mut self.0[column];
        column.left =
            (column.left.checked_sub(count)).ok_or(Malformed("a column ends too early"))?;
        column.at += count;
        Ok(())
    }

    /// A count of things.
    pub(super) fn count(&mut self, column: usize) -> Result<usize, Malformed> {
        usize::try_from(self.take(column)?).map_err(|_| Malformed("a count is out of range"))
    }

    /// Checks that every column is read to its end.
    pub(super) fn end(&self) -> Result<(), Malformed> {
        match self.0.iter().all(|column| column.left == 0) {
            true => Ok(()),
            false => Err(Malformed("values are left over")),
        }
    }
}

fn read_column(
    bytes: &mut Bytes<'_>,
    unpacker: &mut zstd::bulk::Decompressor<'_>,
    budget: &mut usize,
) -> Result<Column, Malformed> {
    let mut column = Column {
        left: usize::try_from(bytes.varint()?).map_err(|_| Malformed("a column is too long"))?,
        ..Column::default()
    };
    let (shift, count) = (u32::from(bytes.byte()?), u32::from(bytes.byte()?));
    if shift > 63 || 8 * count + shift > 64 + 7 {
        return Err(Malformed("a column is wider than 64 bits"));
    }
    for place in 0..count {
        let by = 8 * place + shift;
        let widened = |byte: u8| u64::from(byte).wrapping_shl(8 * place) << shift;
        if by > 63 {
            return Err(Malformed("a column is wider than 64 bits"));
        }
        let tag = bytes.byte()?;
        if tag == as_::ONE {
            column.common |= widened(bytes.byte()?);
            continue;
        }
        *budget = (budget.checked_sub(column.left)).ok_or(Malformed("its columns are too long"))?;
        let unpacked;
        let plane = match tag {
            as_::RAW => bytes.take(column.left)?,
            as_::PACKED => {
                let len = bytes.count(bytes.len())?;
                unpacked = unpacker
                    .decompress(bytes.take(len)?, column.left)
                    .map_err(|_| Malformed("a plane cannot be decompressed"))?;
                &unpacked
            }
            _ => return Err(Malformed("a plane is written in an unknown way")),
        };
        if plane.len() != column.left {
            return Err(Malformed("a plane has another length than its column"));
        }
        if column.values.is_empty() {
            column.values.resize(column.left, 0);
        }
        for (value, byte) in column.values.iter_mut().zip(plane) {
            *value |= widened(*byte);
        }
    }
    Ok(column)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(columns: &Columns<2>) -> Vec<u8> {
        let mut out = Vec::new();
        columns.write(&mut out, &mut Packer::new().unwrap());
        out
    }

    fn read(bytes: &[u8]) -> Result<Reader<2>, Malformed> {
        Reader::read(
            Bytes::new(bytes),
            &mut zstd::bulk::Decompressor::new().unwrap(),
        )
    }

    #[test]
    fn every_number_comes_back_and_columns_must_be_read_to_the_end() {
        let mut columns = Columns::<2>::default();
        let values = [0, 1, -1, 127, -300, 1 << 40, i64::MAX, i64::MIN];
        values.iter().for_each(|value| columns.int(0, *value));
        (0..1000).for_each(|n: u64| columns.put(1, (7 << 20) + (n % 3) * 4096));
        let bytes = written(&columns);
        assert!(bytes.len() < 400, "{} bytes", bytes.len());
        let mut reader = read(&bytes).unwrap();
        for value in values {
            assert_eq!(reader.int(0), Ok(value));
        }
        assert!(reader.int(0).is_err() && reader.end().is_err());
        reader.skip(1, 998).unwrap();
        assert_eq!(reader.take(1), Ok((7 << 20) + 2 * 4096));
        assert_eq!(reader.take(1), Ok(7 << 20));
        assert_eq!(reader.end(), Ok(()));
        assert!(reader.skip(1, 1).is_err());
    }

    #[test]
    fn whatever_is_cut_or_changed_is_read_without_a_panic() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut columns = Columns::<2>::default();
        (0..300).for_each(|_| columns.put(0, random.u64(..) >> random.u32(20..64)));
        (0..300).for_each(|_| columns.put(1, 5));
        let bytes = written(&columns);
        for len in 0..bytes.len() {
            assert!(read(&bytes[..len]).is_err(), "cut at {len}");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << random.u32(0..8);
            drop(read(&changed));
        }
    }
}
