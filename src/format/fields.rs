//! How is a payload divided into fields?
//!
//! A field is a tag (1 byte), a length (4 bytes) and that many bytes. Tags ascend strictly. Each
//! record numbers its fields from 1 without gaps, so fields that a build does not know come behind
//! those that it knows; they are kept as they are ([`UnknownFields`]) and written back last.
//!
//! Only the record modules beside this one call it.

use super::DecodeError;
use crate::model::{Lsn, Timestamp};

/// Bytes in front of a field's value.
pub const FIELD_HEADER_LEN: usize = 5;

/// Fields of a newer build, in their encoding; their sequence has been checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnknownFields(Vec<u8>);

impl UnknownFields {
    /// Keeps what is behind the known fields.
    pub(super) fn keep(raw: &[u8]) -> Self {
        Self(raw.to_vec())
    }

    /// Their encoded bytes.
    pub(super) fn raw(&self) -> &[u8] {
        &self.0
    }
}

/// One field as it stands in the payload.
#[derive(Clone, Copy, Debug, Default)]
pub struct Field<'a> {
    /// Its tag.
    pub tag: u8,
    /// Where it starts in its record's fields.
    pub offset: u32,
    /// Its value.
    pub bytes: &'a [u8],
}

impl<'a> Field<'a> {
    /// The field that begins at `offset` of its record's fields, whose sequence was checked before.
    #[must_use]
    pub fn at(fields: &'a [u8], offset: u32) -> Option<Self> {
        let start = usize::try_from(offset).ok()?;
        let (&[tag, l0, l1, l2, l3], behind) = fields
            .get(start..)?
            .split_first_chunk::<FIELD_HEADER_LEN>()?;
        let len = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).ok()?;
        Some(Self {
            tag,
            offset,
            bytes: behind.get(..len)?,
        })
    }

    /// The error that this field is wrong.
    #[must_use]
    pub const fn wrong(&self, field: &'static str, what: &'static str) -> DecodeError {
        DecodeError {
            field,
            tag: self.tag,
            offset: self.offset,
            what,
        }
    }

    /// A value of exactly `N` bytes.
    pub fn array<const N: usize>(&self, field: &'static str) -> Result<[u8; N], DecodeError> {
        self.bytes
            .try_into()
            .map_err(|_| self.wrong(field, "the length is not that of the type"))
    }

    /// A text.
    pub fn text(&self, field: &'static str) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes).map_err(|_| self.wrong(field, "it is not UTF-8"))
    }

    /// A byte.
    pub fn u8(&self, field: &'static str) -> Result<u8, DecodeError> {
        self.array(field).map(u8::from_le_bytes)
    }

    /// A number of 16 bits.
    pub fn u16(&self, field: &'static str) -> Result<u16, DecodeError> {
        self.array(field).map(u16::from_le_bytes)
    }

    /// A number of 32 bits.
    pub fn u32(&self, field: &'static str) -> Result<u32, DecodeError> {
        self.array(field).map(u32::from_le_bytes)
    }

    /// A number of 64 bits.
    pub fn u64(&self, field: &'static str) -> Result<u64, DecodeError> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// An LSN.
    pub fn lsn(&self, field: &'static str) -> Result<Lsn, DecodeError> {
        self.u64(field).map(Lsn::new)
    }

    /// A moment.
    pub fn time(&self, field: &'static str) -> Result<Timestamp, DecodeError> {
        let millis = self.array(field).map(i64::from_le_bytes)?;
        Ok(Timestamp::from_millis(millis))
    }

    /// 0 or 1.
    pub fn flag(&self, field: &'static str) -> Result<bool, DecodeError> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.wrong(field, "it is neither 0 nor 1")),
        }
    }

    /// A finite number in `[0, most]`.
    pub fn ratio(&self, field: &'static str, most: f32) -> Result<f32, DecodeError> {
        let value = self.array(field).map(f32::from_le_bytes)?;
        if (0.0..=most).contains(&value) {
            Ok(value)
        } else {
            Err(self.wrong(field, "the number is out of range"))
        }
    }

    /// A finite number above 0.
    pub fn positive(&self, field: &'static str) -> Result<f32, DecodeError> {
        let value = self.array(field).map(f32::from_le_bytes)?;
        if value.is_finite() && value > 0.0 {
            Ok(value)
        } else {
            Err(self.wrong(field, "the number is not finite and positive"))
        }
    }

    /// Texts, each behind its length.
    pub fn texts(&self, field: &'static str) -> Result<Vec<String>, DecodeError> {
        let mut texts = Vec::new();
        let mut rest = self.bytes;
        while !rest.is_empty() {
            texts.push(self.next_text(field, &mut rest)?.to_owned());
        }
        Ok(texts)
    }

    /// Splits one text behind its length off `rest`.
    pub fn next_text<'b>(
        &self,
        field: &'static str,
        rest: &mut &'b [u8],
    ) -> Result<&'b str, DecodeError> {
        let cut = || self.wrong(field, "a text passes the end of the field");
        let (len, behind) = rest.split_first_chunk().ok_or_else(cut)?;
        let len = usize::try_from(u32::from_le_bytes(*len)).map_err(|_| cut())?;
        let (text, behind) = behind.split_at_checked(len).ok_or_else(cut)?;
        *rest = behind;
        std::str::from_utf8(text).map_err(|_| self.wrong(field, "it is not UTF-8"))
    }
}

/// The fields of a payload, one after the other.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
    offset: u32,
    last_tag: u8,
}

impl<'a> Fields<'a> {
    /// The fields in `bytes`, all of which must be fields.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            offset: 0,
            last_tag: 0,
        }
    }

    /// The next field, `None` at the end.
    #[inline]
    pub fn next_field(&mut self) -> Result<Option<Field<'a>>, DecodeError> {
        let Some((&[tag, l0, l1, l2, l3], behind)) =
            self.rest.split_first_chunk::<FIELD_HEADER_LEN>()
        else {
            return if self.rest.is_empty() {
                Ok(None)
            } else {
                Err(self.broken(0, "the header of a field is cut off"))
            };
        };
        if tag <= self.last_tag {
            return Err(self.broken(tag, "the tags do not ascend"));
        }
        let len = u32::from_le_bytes([l0, l1, l2, l3]);
        let split = usize::try_from(len)
            .ok()
            .and_then(|len| behind.split_at_checked(len));
        let Some((bytes, rest)) = split else {
            return Err(self.broken(tag, "the value is cut off"));
        };
        let field = Field {
            tag,
            offset: self.offset,
            bytes,
        };
        self.rest = rest;
        self.last_tag = tag;
        self.offset = self
            .offset
            .saturating_add(FIELD_HEADER_LEN as u32)
            .saturating_add(len);
        Ok(Some(field))
    }

    /// Checks everything from `first` on, a field just read, and keeps it.
    pub fn keep_from(mut self, first: &Field<'a>, all: &'a [u8]) -> Result<&'a [u8], DecodeError> {
        while self.next_field()?.is_some() {}
        Ok(usize::try_from(first.offset)
            .ok()
            .and_then(|at| all.get(at..))
            .unwrap_or_default())
    }

    const fn broken(&self, tag: u8, what: &'static str) -> DecodeError {
        DecodeError {
            field: "fields",
            tag,
            offset: self.offset,
            what,
        }
    }
}

/// The error that a field must be there and is not.
#[must_use]
pub const fn missing(field: &'static str, tag: u8) -> DecodeError {
    DecodeError {
        field,
        tag,
        offset: 0,
        what: "the field is missing",
    }
}

/// Appends fields to a buffer. Callers write in ascending order of tags.
#[derive(Debug)]
pub struct FieldWriter<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> FieldWriter<'a> {
    /// Appends to `out`.
    pub const fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// A value as it is.
    #[inline]
    pub fn bytes(&mut self, tag: u8, value: &[u8]) {
        let [l0, l1, l2, l3] = length(value.len());
        self.out.extend_from_slice(&[tag, l0, l1, l2, l3]);
        self.out.extend_from_slice(value);
    }

    /// A value as it is, where there is one.
    #[inline]
    pub fn optional(&mut self, tag: u8, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.bytes(tag, value);
        }
    }

    /// A byte.
    #[inline]
    pub fn u8(&mut self, tag: u8, value: u8) {
        self.bytes(tag, &[value]);
    }

    /// A moment, where there is one.
    #[inline]
    pub fn time(&mut self, tag: u8, value: Option<Timestamp>) {
        if let Some(value) = value {
            self.bytes(tag, &value.as_millis().to_le_bytes());
        }
    }

    /// An LSN that is not 0, which is the default.
    #[inline]
    pub fn lsn(&mut self, tag: u8, value: Lsn) {
        if value != Lsn::ZERO {
            self.bytes(tag, &value.get().to_le_bytes());
        }
    }

    /// A flag that is set; unset is the default.
    #[inline]
    pub fn flag(&mut self, tag: u8, value: bool) {
        if value {
            self.u8(tag, 1);
        }
    }

    /// A number.
    #[inline]
    pub fn f32(&mut self, tag: u8, value: f32) {
        self.bytes(tag, &value.to_le_bytes());
    }

    /// Texts, each behind its length; nothing where there are none.
    #[inline]
    pub fn texts<'t>(&mut self, tag: u8, texts: impl Iterator<Item = &'t str>) {
        let mut texts = texts.peekable();
        if texts.peek().is_some() {
            self.nested(tag, |out| {
                for text in texts {
                    out.extend_from_slice(&length(text.len()));
                    out.extend_from_slice(text.as_bytes());
                }
            });
        }
    }

    /// A value that is written in place and measured afterwards.
    #[inline]
    pub fn nested(&mut self, tag: u8, write: impl FnOnce(&mut Vec<u8>)) {
        self.out.extend_from_slice(&[tag, 0, 0, 0, 0]);
        let start = self.out.len();
        write(self.out);
        let len = length(self.out.len().saturating_sub(start));
        super::put_at(self.out, start - len.len(), &len);
    }

    /// As [`Self::nested`], but nothing where nothing was written.
    #[inline]
    pub fn nested_unless_empty(&mut self, tag: u8, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.out.len();
        self.nested(tag, write);
        if self.out.len() == before + FIELD_HEADER_LEN {
            self.out.truncate(before);
        }
    }

    /// What a newer build stored; written last.
    #[inline]
    pub fn unknown(&mut self, fields: &UnknownFields) {
        self.out.extend_from_slice(fields.raw());
    }
}

/// A length as it is stored. No value reaches 4 GiB: payloads end at 16 MiB, and the log refuses
/// longer ones.
#[inline]
fn length(len: usize) -> [u8; 4] {
    u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes()
}
