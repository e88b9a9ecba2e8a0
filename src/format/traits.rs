//! Which large values of an experience can change, and how are they written?
//!
//! A traits record replaces the one before it whole. The first traits of an experience stand in
//! its body; all of them are optional, so that they take no bytes where there are none. Written by
//! `write`, read by recovery, the state and the readers.

use std::collections::BTreeMap;

use super::{
    DecodeError, UnknownFields, array_at,
    fields::{Field, FieldWriter, Fields},
};
use crate::model::{InstanceId, Lsn, Timestamp};

/// The large mutable values of an experience.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traits {
    /// Subject areas, in the caller's order.
    pub domain: Vec<String>,
    /// Free key → value marks.
    pub tags: BTreeMap<String, String>,
    /// Files it is about, in the caller's order.
    pub related_files: Vec<String>,
    /// From when on it is no longer there.
    pub expires_at: Option<Timestamp>,
    /// From when on what it says holds.
    pub valid_from: Option<Timestamp>,
    /// Until when what it says holds.
    pub valid_to: Option<Timestamp>,
    /// Whether it is exempt from cooling and expiry.
    pub pinned: bool,
    /// The traits before these; 0 if they stand in the body.
    pub prev: Lsn,
    /// The vitals that are current together with these; 0 if they stand in the body.
    pub vitals_lsn: Lsn,
    /// How often each other instance applied it; the vitals have their sum.
    pub foreign_applications: BTreeMap<InstanceId, u32>,
    /// When anything of it last changed, where that is not the time of the frame.
    pub updated_at: Option<Timestamp>,
    /// What a newer build stored.
    pub unknown: UnknownFields,
}

impl Traits {
    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = FieldWriter::new(out);
        writer.texts(1, self.domain.iter().map(String::as_str));
        let tags = self.tags.iter();
        writer.texts(
            2,
            tags.flat_map(|(key, value)| [key.as_str(), value.as_str()]),
        );
        writer.texts(3, self.related_files.iter().map(String::as_str));
        writer.time(4, self.expires_at);
        writer.time(5, self.valid_from);
        writer.time(6, self.valid_to);
        writer.flag(7, self.pinned);
        writer.lsn(8, self.prev);
        writer.lsn(9, self.vitals_lsn);
        if !self.foreign_applications.is_empty() {
            writer.nested(10, |out| {
                for (instance, count) in &self.foreign_applications {
                    out.extend_from_slice(&instance.as_u128().to_be_bytes());
                    out.extend_from_slice(&count.to_le_bytes());
                }
            });
        }
        writer.time(11, self.updated_at);
        writer.unknown(&self.unknown);
    }

    /// Reads a payload.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut traits = Self::default();
        let mut fields = Fields::new(payload);
        while let Some(field) = fields.next_field()? {
            match field.tag {
                1 => traits.domain = field.texts("traits.domain")?,
                2 => traits.tags = tags(&field)?,
                3 => traits.related_files = field.texts("traits.related_files")?,
                4 => traits.expires_at = Some(field.time("traits.expires_at")?),
                5 => traits.valid_from = Some(field.time("traits.valid_from")?),
                6 => traits.valid_to = Some(field.time("traits.valid_to")?),
                7 => traits.pinned = field.flag("traits.pinned")?,
                8 => traits.prev = field.lsn("traits.prev")?,
                9 => traits.vitals_lsn = field.lsn("traits.vitals_lsn")?,
                10 => traits.foreign_applications = foreign_applications(&field)?,
                11 => traits.updated_at = Some(field.time("traits.updated_at")?),
                _ => {
                    traits.unknown = UnknownFields::keep(fields.keep_from(&field, payload)?);
                    break;
                }
            }
        }
        Ok(traits)
    }

    /// Whether what it says holds only for a time.
    #[must_use]
    pub const fn is_bounded(&self) -> bool {
        self.valid_from.is_some() || self.valid_to.is_some()
    }

    /// About how many bytes the payload takes, from above.
    pub(super) fn size_hint(&self) -> usize {
        let texts = |list: &[String]| list.iter().map(|text| text.len() + 4).sum::<usize>();
        let tags = self
            .tags
            .iter()
            .map(|(key, value)| key.len() + value.len() + 8);
        128 + texts(&self.domain)
            + texts(&self.related_files)
            + tags.sum::<usize>()
            + self.foreign_applications.len() * FOREIGN_LEN
            + self.unknown.raw().len()
    }
}

/// Bytes of one instance and its count.
const FOREIGN_LEN: usize = 20;

/// Instances and their counts in turn, instances ascending.
fn foreign_applications(field: &Field<'_>) -> Result<BTreeMap<InstanceId, u32>, DecodeError> {
    const NAME: &str = "traits.foreign_applications";
    let (entries, rest) = field.bytes.as_chunks::<FOREIGN_LEN>();
    if !rest.is_empty() {
        return Err(field.wrong(NAME, "an entry is cut off"));
    }
    let mut counts = BTreeMap::new();
    let mut last = None;
    for entry in entries {
        let instance = InstanceId::from_u128(u128::from_be_bytes(array_at(entry, 0)));
        if last.is_some_and(|last| last >= instance) {
            return Err(field.wrong(NAME, "the instances do not ascend"));
        }
        last = Some(instance);
        counts.insert(instance, u32::from_le_bytes(array_at(entry, 16)));
    }
    Ok(counts)
}

/// Keys and values in turn, keys ascending.
fn tags(field: &Field<'_>) -> Result<BTreeMap<String, String>, DecodeError> {
    const NAME: &str = "traits.tags";
    let mut tags = BTreeMap::new();
    let mut last_key = None;
    let mut rest = field.bytes;
    while !rest.is_empty() {
        let key = field.next_text(NAME, &mut rest)?;
        let value = field.next_text(NAME, &mut rest)?;
        if last_key.is_some_and(|last| last >= key) {
            return Err(field.wrong(NAME, "the keys do not ascend"));
        }
        last_key = Some(key);
        tags.insert(key.to_owned(), value.to_owned());
    }
    Ok(tags)
}
