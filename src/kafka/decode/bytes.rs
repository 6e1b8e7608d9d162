//! Reading Kafka's primitive types off a slice.
//!
//! Every read is checked against what is left, so a length that lies is an error before anything is
//! copied or reserved.

use super::Malformed;
use crate::lag::ids::TopicId;

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(head)
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.0.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(*head)
    }

    pub(super) fn i8(&mut self) -> Result<i8, Malformed> {
        self.chunk().map(i8::from_be_bytes)
    }

    pub(super) fn i16(&mut self) -> Result<i16, Malformed> {
        self.chunk().map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, Malformed> {
        self.chunk().map(i32::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, Malformed> {
        self.chunk().map(i64::from_be_bytes)
    }

    pub(super) fn uuid(&mut self) -> Result<TopicId, Malformed> {
        self.chunk().map(TopicId)
    }

    /// Unsigned varint of at most 32 bits.
    pub(super) fn uvarint(&mut self) -> Result<u32, Malformed> {
        let mut number = 0_u64;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.chunk()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(number).map_err(|_| Malformed::Length);
            }
        }
        Err(Malformed::Length)
    }

    /// A length as 16 bits; `None` for null.
    fn short_length(&mut self) -> Result<Option<usize>, Malformed> {
        match self.i16()? {
            -1 => Ok(None),
            length => usize::try_from(length)
                .map(Some)
                .map_err(|_| Malformed::Length),
        }
    }

    /// A length as 32 bits; `None` for null.
    pub(super) fn length(&mut self) -> Result<Option<usize>, Malformed> {
        match self.i32()? {
            -1 => Ok(None),
            length => usize::try_from(length)
                .map(Some)
                .map_err(|_| Malformed::Length),
        }
    }

    /// A length of a flexible version: one more than it is, 0 for null.
    pub(super) fn compact_length(&mut self) -> Result<Option<usize>, Malformed> {
        let number = self.uvarint()?;
        match number.checked_sub(1) {
            None => Ok(None),
            Some(length) => usize::try_from(length)
                .map(Some)
                .map_err(|_| Malformed::Length),
        }
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        self.nullable_text()?.ok_or(Malformed::Length)
    }

    pub(super) fn nullable_text(&mut self) -> Result<Option<&'a str>, Malformed> {
        let length = self.short_length()?;
        self.utf8(length)
    }

    pub(super) fn compact_text(&mut self) -> Result<&'a str, Malformed> {
        self.nullable_compact_text()?.ok_or(Malformed::Length)
    }

    pub(super) fn nullable_compact_text(&mut self) -> Result<Option<&'a str>, Malformed> {
        let length = self.compact_length()?;
        self.utf8(length)
    }

    fn utf8(&mut self, length: Option<usize>) -> Result<Option<&'a str>, Malformed> {
        let Some(length) = length else {
            return Ok(None);
        };
        let text = self.take(length)?;
        std::str::from_utf8(text)
            .map(Some)
            .map_err(|_| Malformed::Text)
    }

    pub(super) fn skip_short(&mut self) -> Result<(), Malformed> {
        let length = self.short_length()?;
        self.take(length.unwrap_or(0)).map(|_| ())
    }

    pub(super) fn skip_compact(&mut self) -> Result<(), Malformed> {
        let length = self.compact_length()?;
        self.take(length.unwrap_or(0)).map(|_| ())
    }

    /// Tagged fields of which none is wanted.
    pub(super) fn skip_tags(&mut self) -> Result<(), Malformed> {
        self.tags(|_, _| Ok(()))
    }

    /// Tagged fields of which tag 0 is an id; zeros mean none.
    pub(super) fn tagged_uuid(&mut self) -> Result<Option<TopicId>, Malformed> {
        let mut id = None;
        self.tags(|tag, content| {
            if tag == 0 {
                let mut content = Bytes::new(content);
                id = Some(content.uuid()?);
                content.end()?;
            }
            Ok(())
        })?;
        Ok(id.filter(|id| id.0 != [0; 16]))
    }

    /// Calls `each` with number and content of every tagged field. Ends with the bytes at the
    /// latest, as each field takes two of them or more.
    fn tags(
        &mut self,
        mut each: impl FnMut(u32, &'a [u8]) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            let length = usize::try_from(self.uvarint()?).map_err(|_| Malformed::Length)?;
            each(tag, self.take(length)?)?;
        }
        Ok(())
    }

    /// `count` numbers of 32 bits.
    pub(super) fn numbers(&mut self, count: usize) -> Result<Vec<i32>, Malformed> {
        let length = count.checked_mul(4).ok_or(Malformed::Length)?;
        let (chunks, _) = self.take(length)?.as_chunks::<4>();
        Ok(chunks
            .iter()
            .map(|chunk| i32::from_be_bytes(*chunk))
            .collect())
    }

    /// Nothing may be left.
    pub(super) fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Malformed::TooLong)
        }
    }
}
