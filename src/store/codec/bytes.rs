//! Numbers as bytes, and columns of them.
//!
//! Reading is total: whatever the bytes are, the answer is a value or [`Malformed`], and nothing
//! is allocated for more elements than bytes are left. Arithmetic wraps on both sides, so every
//! `i64` survives a delta.

use std::fmt;

/// The bytes are not what this codec writes, and where it noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Malformed(pub(in crate::store) &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

const EARLY: Malformed = Malformed("it ends too early");
const LEFT_OVER: Malformed = Malformed("bytes are left over");

/// Appends `value` in groups of seven bits, lowest first (LEB128).
#[inline]
pub(in crate::store) fn put_varint(out: &mut Vec<u8>, value: u64) {
    if value < 0x80 {
        out.push(low_byte(value));
        return;
    }
    let byte = |place: u32| low_byte(value >> (7 * place)) | 0x80;
    // Most values are short. Arrays of a known length are stored, not copied.
    if value < 1 << 14 {
        out.extend_from_slice(&[byte(0), low_byte(value >> 7)]);
    } else if value < 1 << 21 {
        out.extend_from_slice(&[byte(0), byte(1), low_byte(value >> 14)]);
    } else {
        out.extend_from_slice(&[byte(0), byte(1), byte(2)]);
        put_varint(out, value >> 21);
    }
}

/// Appends a signed value: zig-zag, then varint.
#[inline]
pub(in crate::store) fn put_int(out: &mut Vec<u8>, value: i64) {
    put_varint(
        out,
        (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned(),
    );
}

/// Appends a text with its length in front.
pub(in crate::store) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

#[inline]
fn low_byte(value: u64) -> u8 {
    value.to_le_bytes()[0]
}

/// Bytes that are read from the front.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::store) struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub(in crate::store) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(in crate::store) fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    pub(in crate::store) fn byte(&mut self) -> Result<u8, Malformed> {
        let (&first, rest) = self.0.split_first().ok_or(EARLY)?;
        self.0 = rest;
        Ok(first)
    }

    #[inline]
    pub(in crate::store) fn varint(&mut self) -> Result<u64, Malformed> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        let mut value = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed("a number is longer than 64 bits"))
    }

    #[inline]
    pub(in crate::store) fn int(&mut self) -> Result<i64, Malformed> {
        let value = self.varint()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    pub(in crate::store) fn u32(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.varint()?).map_err(|_| Malformed("a number is longer than 32 bits"))
    }

    /// A number of elements of which each takes at least one byte of `of`.
    pub(in crate::store) fn count(&mut self, of: usize) -> Result<usize, Malformed> {
        usize::try_from(self.varint()?)
            .ok()
            .filter(|count| *count <= of)
            .ok_or(Malformed(
                "more elements are announced than bytes are there",
            ))
    }

    pub(in crate::store) fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(EARLY)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(in crate::store) fn text(&mut self) -> Result<&'a str, Malformed> {
        let len = self.count(self.len())?;
        std::str::from_utf8(self.take(len)?).map_err(|_| Malformed("a text is not UTF-8"))
    }

    pub(in crate::store) fn f32(&mut self) -> Result<f32, Malformed> {
        let bytes = self.take(4)?;
        let bytes = bytes.try_into().map_err(|_| Malformed("a number is cut"))?;
        Ok(f32::from_le_bytes(bytes))
    }

    pub(in crate::store) fn f64(&mut self) -> Result<f64, Malformed> {
        let bytes = self.take(8)?;
        let bytes = bytes.try_into().map_err(|_| Malformed("a number is cut"))?;
        Ok(f64::from_le_bytes(bytes))
    }

    pub(in crate::store) fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(LEFT_OVER)
        }
    }
}

/// Rows taken apart: whole numbers in `I` columns, real numbers in `F`.
#[derive(Debug)]
pub(in crate::store) struct Columns<const I: usize, const F: usize> {
    ints: [Vec<u8>; I],
    floats: [Vec<u32>; F],
}

impl<const I: usize, const F: usize> Default for Columns<I, F> {
    fn default() -> Self {
        Self {
            ints: std::array::from_fn(|_| Vec::new()),
            floats: std::array::from_fn(|_| Vec::new()),
        }
    }
}

impl<const I: usize, const F: usize> Columns<I, F> {
    /// Empties the columns and keeps their memory.
    pub(in crate::store) fn clear(&mut self) {
        self.ints.iter_mut().for_each(Vec::clear);
        self.floats.iter_mut().for_each(Vec::clear);
    }

    #[inline]
    pub(in crate::store) fn byte(&mut self, column: usize, value: u8) {
        self.ints[column].push(value);
    }

    #[inline]
    pub(in crate::store) fn varint(&mut self, column: usize, value: u64) {
        put_varint(&mut self.ints[column], value);
    }

    #[inline]
    pub(in crate::store) fn int(&mut self, column: usize, value: i64) {
        put_int(&mut self.ints[column], value);
    }

    /// Keeps every bit of `value`.
    #[inline]
    pub(in crate::store) fn float(&mut self, column: usize, value: f32) {
        self.float_like(column, value, 0.0);
    }

    /// Keeps every bit of `value`, which takes less the more it is like `guess`.
    #[inline]
    pub(in crate::store) fn float_like(&mut self, column: usize, value: f32, guess: f32) {
        // The whole exponent in one byte: the four bytes of a number go into four planes, and
        // the exponents of a column are alike.
        let differs = value.to_bits() ^ guess.to_bits();
        self.floats[column].push(differs.rotate_left(1));
    }

    /// Appends all columns to `out`, each with its length in front.
    pub(in crate::store) fn write(&self, out: &mut Vec<u8>) {
        for column in &self.ints {
            put_varint(out, column.len() as u64);
            out.extend_from_slice(column);
        }
        for column in &self.floats {
            // Estimates have few digits: planes of nothing but zeros are left out. The highest stays,
            // it bounds how many rows a reader makes room for.
            let used = column.iter().fold(0, |used, bits| used | bits);
            let planes: Vec<u32> = (0..3).filter(|p| used >> (8 * p) & 0xff != 0).collect();
            let marks = planes.iter().fold(0, |marks, plane| marks | 1 << plane);
            put_varint(out, (column.len() as u64) << 3 | marks);
            for plane in [3].into_iter().chain(planes) {
                out.extend(
                    column
                        .iter()
                        .map(|bits| low_byte(u64::from(bits >> (8 * plane)))),
                );
            }
        }
    }
}

/// Columns that are read from the front.
#[derive(Debug)]
pub(in crate::store) struct ColumnReader<'a, const I: usize, const F: usize> {
    ints: [Bytes<'a>; I],
    floats: [std::vec::IntoIter<u32>; F],
}

impl<'a, const I: usize, const F: usize> ColumnReader<'a, I, F> {
    /// Finds the columns in `bytes`, which must hold nothing else.
    pub(in crate::store) fn read(mut bytes: Bytes<'a>) -> Result<Self, Malformed> {
        let mut columns = Self {
            ints: [Bytes::default(); I],
            floats: std::array::from_fn(|_| Vec::new().into_iter()),
        };
        for column in &mut columns.ints {
            let len = bytes.count(bytes.len())?;
            *column = Bytes::new(bytes.take(len)?);
        }
        for column in &mut columns.floats {
            let len = bytes.varint()?;
            let marks = len & 7;
            let len = usize::try_from(len >> 3).map_err(|_| EARLY)?;
            let high = bytes.take(len)?.iter();
            let mut rows: Vec<u32> = high.map(|byte| u32::from(*byte) << 24).collect();
            for plane in (0..3).filter(|plane| marks >> plane & 1 != 0) {
                for (row, byte) in rows.iter_mut().zip(bytes.take(len)?) {
                    *row |= u32::from(*byte) << (8 * plane);
                }
            }
            *column = rows.into_iter();
        }
        bytes.end()?;
        Ok(columns)
    }

    /// Bytes left in a column of whole numbers.
    pub(in crate::store) fn left(&self, column: usize) -> usize {
        self.ints[column].len()
    }

    #[inline]
    pub(in crate::store) fn byte(&mut self, column: usize) -> Result<u8, Malformed> {
        self.ints[column].byte()
    }

    #[inline]
    pub(in crate::store) fn varint(&mut self, column: usize) -> Result<u64, Malformed> {
        self.ints[column].varint()
    }

    #[inline]
    pub(in crate::store) fn int(&mut self, column: usize) -> Result<i64, Malformed> {
        self.ints[column].int()
    }

    /// A number of rows of which each has at least one byte in column `rows`.
    pub(in crate::store) fn count(
        &mut self,
        column: usize,
        rows: usize,
    ) -> Result<usize, Malformed> {
        let left = self.left(rows);
        self.ints[column].count(left)
    }

    #[inline]
    pub(in crate::store) fn float(&mut self, column: usize) -> Result<f32, Malformed> {
        self.float_like(column, 0.0)
    }

    #[inline]
    pub(in crate::store) fn float_like(
        &mut self,
        column: usize,
        guess: f32,
    ) -> Result<f32, Malformed> {
        let bits = self.floats[column].next().ok_or(EARLY)?;
        Ok(f32::from_bits(bits.rotate_right(1) ^ guess.to_bits()))
    }

    /// Checks that every column is read to its end.
    pub(in crate::store) fn end(&self) -> Result<(), Malformed> {
        for column in &self.ints {
            column.end()?;
        }
        match self.floats.iter().all(|column| column.len() == 0) {
            true => Ok(()),
            false => Err(LEFT_OVER),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        let values = [
            0,
            1,
            -1,
            63,
            64,
            -64,
            -65,
            8191,
            i64::MAX,
            i64::MIN,
            i64::MIN + 1,
        ];
        let mut out = Vec::new();
        for value in values {
            put_int(&mut out, value);
            put_varint(&mut out, value.cast_unsigned());
        }
        let mut bytes = Bytes::new(&out);
        for value in values {
            assert_eq!(bytes.int(), Ok(value));
            assert_eq!(bytes.varint(), Ok(value.cast_unsigned()));
        }
        assert_eq!(bytes.end(), Ok(()));
    }

    #[test]
    fn a_number_beyond_64_bits_or_cut_is_refused() {
        for bad in [
            &[][..],
            &[0x80],
            &[0xff; 10],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
        ] {
            assert!(Bytes::new(bad).varint().is_err(), "{bad:?}");
        }
        let mut most = [0xff_u8; 10];
        most[9] = 1;
        assert_eq!(Bytes::new(&most).varint(), Ok(u64::MAX));
    }

    #[test]
    fn columns_come_back_and_must_be_read_to_the_end() {
        let mut columns = Columns::<2, 1>::default();
        columns.int(0, -300);
        columns.byte(1, 7);
        for value in [1.5, -0.0, f32::MIN_POSITIVE] {
            columns.float(0, value);
        }
        let mut out = Vec::new();
        columns.write(&mut out);
        let mut reader = ColumnReader::<2, 1>::read(Bytes::new(&out)).unwrap();
        assert_eq!((reader.int(0), reader.byte(1)), (Ok(-300), Ok(7)));
        for value in [1.5_f32, -0.0] {
            assert_eq!(reader.float(0).map(f32::to_bits), Ok(value.to_bits()));
        }
        assert!(reader.end().is_err(), "one number is left");
        assert_eq!(reader.float(0), Ok(f32::MIN_POSITIVE));
        assert_eq!(reader.end(), Ok(()));
        assert!(reader.float(0).is_err());
        assert!(ColumnReader::<3, 1>::read(Bytes::new(&out)).is_err());
    }
}
