//! How is the immutable part of an experience written?
//!
//! The vector comes first, as given and uncounted (the frame header has its dimension), so that it
//! stands 64-aligned in the file. Small fields come next and the content last, so that one pass over
//! the fields touches few cache lines. [`BodyView`] reads in place what a search needs; [`Body`] is
//! the owned whole. [`encode_body`] is on the hot path: one pass into one buffer.

use super::{
    DecodeError, Derivation, Traits, UnknownFields, Vitals,
    experience_type::{decode_experience_type, decode_kind, encode_experience_type},
    fields::{Field, FieldWriter, Fields, missing},
    floats,
};
use crate::model::{ContentHash, ExperienceKind, ExperienceType, Timestamp};

/// What is to be written into a body, beside the vector.
#[derive(Clone, Copy, Debug)]
pub struct BodyFields<'a> {
    /// The text.
    pub content: &'a str,
    /// What kind of knowledge it is.
    pub experience_type: &'a ExperienceType,
    /// Who learned it.
    pub source_agent: &'a str,
    /// During which task.
    pub source_task: Option<&'a str>,
    /// The caller's key for safe retries.
    pub idempotency_key: Option<&'a str>,
    /// Hash of the content.
    pub content_hash: ContentHash,
    /// 1 / length of the vector; finite, > 0.
    pub inverse_norm: f32,
    /// The first vitals.
    pub vitals: &'a Vitals,
    /// The first traits.
    pub traits: &'a Traits,
    /// How it was derived, where it is an insight.
    pub derivation: Option<&'a Derivation>,
    /// When it was recorded, where that is not the time of the frame: it came from elsewhere.
    pub recorded_at: Option<Timestamp>,
}

/// A body taken apart, the vector aside: what the tests compare. Everybody else reads in place.
#[cfg(test)]
#[derive(Clone, Debug, PartialEq)]
pub struct Body {
    /// The text.
    pub content: String,
    /// What kind of knowledge it is.
    pub experience_type: ExperienceType,
    /// Who learned it.
    pub source_agent: String,
    /// During which task.
    pub source_task: Option<String>,
    /// The caller's key for safe retries.
    pub idempotency_key: Option<String>,
    /// Hash of the content.
    pub content_hash: ContentHash,
    /// 1 / length of the vector; finite, > 0.
    pub inverse_norm: f32,
    /// The first vitals.
    pub vitals: Vitals,
    /// The first traits.
    pub traits: Traits,
    /// How it was derived, where it is an insight.
    pub derivation: Option<Derivation>,
    /// When it was recorded, where that is not the time of the frame.
    pub recorded_at: Option<Timestamp>,
    /// What a newer build stored in the type.
    pub type_unknown: UnknownFields,
    /// What a newer build stored.
    pub unknown: UnknownFields,
}

/// Appends the payload of a new experience: the vector, then the fields.
pub fn encode_body(out: &mut Vec<u8>, fields: &BodyFields<'_>, vector: &[f32]) {
    let none = UnknownFields::default();
    encode(out, fields, vector, &none, &none);
}

#[cfg(test)]
impl Body {
    /// Reads a payload, without its vector of this dimension.
    pub fn decode(dimension: u16, payload: &[u8]) -> Result<Self, DecodeError> {
        let view = BodyView::parse(dimension, payload)?;
        let (experience_type, type_unknown) = decode_experience_type(&view.experience_type)?;
        Ok(Self {
            content: view.content()?.to_owned(),
            experience_type,
            source_agent: view.source_agent()?.to_owned(),
            source_task: view.source_task()?.map(str::to_owned),
            idempotency_key: view.idempotency_key()?.map(str::to_owned),
            content_hash: view.content_hash()?,
            inverse_norm: view.inverse_norm(),
            vitals: view.vitals()?,
            traits: view.traits()?,
            derivation: view
                .derivation
                .is_some()
                .then(|| view.derivation())
                .transpose()?,
            recorded_at: view.recorded_at()?,
            type_unknown,
            unknown: UnknownFields::keep(view.unknown),
        })
    }

    /// Appends the payload: the vector, then the fields.
    pub fn encode(&self, out: &mut Vec<u8>, vector: &[f32]) {
        let fields = BodyFields {
            content: &self.content,
            experience_type: &self.experience_type,
            source_agent: &self.source_agent,
            source_task: self.source_task.as_deref(),
            idempotency_key: self.idempotency_key.as_deref(),
            content_hash: self.content_hash,
            inverse_norm: self.inverse_norm,
            vitals: &self.vitals,
            traits: &self.traits,
            derivation: self.derivation.as_ref(),
            recorded_at: self.recorded_at,
        };
        encode(out, &fields, vector, &self.type_unknown, &self.unknown);
    }
}

/// A body read in place. [`BodyView::parse`] finds the fields; each accessor checks what it reads.
#[derive(Clone, Copy, Debug)]
pub struct BodyView<'a> {
    vector: &'a [u8],
    inverse_norm: f32,
    content_hash: Field<'a>,
    experience_type: Field<'a>,
    source_agent: Field<'a>,
    source_task: Option<Field<'a>>,
    idempotency_key: Option<Field<'a>>,
    vitals: Field<'a>,
    traits: Option<Field<'a>>,
    content: Field<'a>,
    derivation: Option<Field<'a>>,
    recorded_at: Option<Field<'a>>,
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "checked, but nobody asks for it yet")
    )]
    unknown: &'a [u8],
}

/// Where the fields of a body stand in its payload, for whoever keeps the payload by other means than a
/// borrow.
#[derive(Clone, Copy, Debug)]
pub struct BodyParts {
    /// Components of the vector.
    dimension: u16,
    inverse_norm: f32,
    /// Where the fields of tags 2–9 begin behind the vector; [`ABSENT`] for those that are not there.
    offsets: [u32; 8],
}

/// No field begins there: payloads are shorter.
const ABSENT: u32 = u32::MAX;

impl BodyParts {
    /// Components of the vector.
    #[must_use]
    pub const fn dimension(&self) -> u16 {
        self.dimension
    }

    /// The body in the payload that these are the parts of.
    #[must_use]
    pub fn of<'a>(&self, payload: &'a [u8]) -> BodyView<'a> {
        let (vector, rest) = payload
            .split_at_checked(usize::from(self.dimension) * 4)
            .unwrap_or_default();
        let field = |at: usize| {
            let offset = *self.offsets.get(at)?;
            Field::at(rest, offset).filter(|_| offset != ABSENT)
        };
        let required = |at: usize| field(at).unwrap_or_default();
        BodyView {
            vector,
            inverse_norm: self.inverse_norm,
            content_hash: required(0),
            experience_type: required(1),
            source_agent: required(2),
            source_task: field(3),
            idempotency_key: field(4),
            vitals: required(5),
            traits: field(6),
            content: required(7),
            derivation: None,
            // Whoever keeps the parts keeps the time, too.
            recorded_at: None,
            unknown: &[],
        }
    }
}

impl<'a> BodyView<'a> {
    /// Where its fields stand.
    #[inline]
    #[must_use]
    pub fn parts(&self) -> BodyParts {
        let absent_or = |field: &Option<Field<'_>>| field.map_or(ABSENT, |field| field.offset);
        BodyParts {
            dimension: (self.vector.len() / 4) as u16,
            inverse_norm: self.inverse_norm,
            offsets: [
                self.content_hash.offset,
                self.experience_type.offset,
                self.source_agent.offset,
                absent_or(&self.source_task),
                absent_or(&self.idempotency_key),
                self.vitals.offset,
                absent_or(&self.traits),
                self.content.offset,
            ],
        }
    }

    /// The text as it stands in the payload, and the vector.
    #[must_use]
    pub const fn in_place(&self) -> (&'a [u8], &'a [u8]) {
        (self.content.bytes, self.vector)
    }

    /// Splits a payload into its vector of this dimension and its fields.
    #[inline]
    pub fn parse(dimension: u16, payload: &'a [u8]) -> Result<Self, DecodeError> {
        let (vector, bytes) = payload
            .split_at_checked(usize::from(dimension) * 4)
            .ok_or(missing("body.vector", 0))?;
        let mut known: [Option<Field<'a>>; 11] = [None; 11];
        let mut unknown: &'a [u8] = &[];
        let mut fields = Fields::new(bytes);
        while let Some(field) = fields.next_field()? {
            match known.get_mut(usize::from(field.tag.saturating_sub(1))) {
                Some(slot) => *slot = Some(field),
                None => {
                    unknown = fields.keep_from(&field, bytes)?;
                    break;
                }
            }
        }
        let [
            norm,
            hash,
            kind,
            agent,
            task,
            key,
            vitals,
            traits,
            content,
            recorded_at,
            derivation,
        ] = known;
        Ok(Self {
            vector,
            inverse_norm: norm
                .ok_or(missing("body.inverse_norm", 1))?
                .positive("body.inverse_norm")?,
            content_hash: hash.ok_or(missing("body.content_hash", 2))?,
            experience_type: kind.ok_or(missing("body.experience_type", 3))?,
            source_agent: agent.ok_or(missing("body.source_agent", 4))?,
            source_task: task,
            idempotency_key: key,
            vitals: vitals.ok_or(missing("body.vitals", 7))?,
            traits,
            content: content.ok_or(missing("body.content", 9))?,
            derivation,
            recorded_at,
            unknown,
        })
    }

    /// Looks at every field; [`BodyView::parse`] leaves most of them to whoever asks.
    pub fn check(&self) -> Result<(), DecodeError> {
        self.content()?;
        self.content_hash()?;
        self.experience_type()?;
        self.source_agent()?;
        self.source_task()?;
        self.idempotency_key()?;
        self.vitals()?;
        self.traits()?;
        self.recorded_at()?;
        Ok(())
    }

    /// The vector's components, copied; bit for bit what was given.
    #[must_use]
    pub fn vector_f32(&self) -> Vec<f32> {
        floats(self.vector)
    }

    /// 1 / length of the vector.
    #[must_use]
    pub const fn inverse_norm(&self) -> f32 {
        self.inverse_norm
    }

    /// The text.
    pub fn content(&self) -> Result<&'a str, DecodeError> {
        self.content.text("body.content")
    }

    /// Hash of the content.
    pub fn content_hash(&self) -> Result<ContentHash, DecodeError> {
        self.content_hash
            .array("body.content_hash")
            .map(ContentHash)
    }

    /// What kind of knowledge it is, without the fields of the kind.
    pub fn kind(&self) -> Result<ExperienceKind, DecodeError> {
        decode_kind(&self.experience_type)
    }

    /// What kind of knowledge it is.
    pub fn experience_type(&self) -> Result<ExperienceType, DecodeError> {
        decode_experience_type(&self.experience_type).map(|(value, _)| value)
    }

    /// Who learned it.
    pub fn source_agent(&self) -> Result<&'a str, DecodeError> {
        self.source_agent.text("body.source_agent")
    }

    /// During which task.
    pub fn source_task(&self) -> Result<Option<&'a str>, DecodeError> {
        let field = self.source_task;
        field
            .map(|field| field.text("body.source_task"))
            .transpose()
    }

    /// The caller's key for safe retries.
    pub fn idempotency_key(&self) -> Result<Option<&'a str>, DecodeError> {
        let field = self.idempotency_key;
        field
            .map(|field| field.text("body.idempotency_key"))
            .transpose()
    }

    /// How it was derived, of an insight.
    pub fn derivation(&self) -> Result<Derivation, DecodeError> {
        let field = self.derivation.ok_or(missing("insight.derivation", 11))?;
        Derivation::decode(&field)
    }

    /// When it was recorded, where that is not the time of the frame.
    pub fn recorded_at(&self) -> Result<Option<Timestamp>, DecodeError> {
        let field = self.recorded_at;
        field
            .map(|field| field.time("body.recorded_at"))
            .transpose()
    }

    /// The first vitals.
    pub fn vitals(&self) -> Result<Vitals, DecodeError> {
        Vitals::decode(self.vitals.bytes)
    }

    /// The first traits.
    pub fn traits(&self) -> Result<Traits, DecodeError> {
        self.traits
            .map_or(Ok(Traits::default()), |field| Traits::decode(field.bytes))
    }
}

fn encode(
    out: &mut Vec<u8>,
    fields: &BodyFields<'_>,
    vector: &[f32],
    type_unknown: &UnknownFields,
    unknown: &UnknownFields,
) {
    // From above, except for long texts of the type, which are rare and may grow the buffer once.
    let optional =
        fields.source_task.map_or(0, str::len) + fields.idempotency_key.map_or(0, str::len);
    out.reserve(
        size_of_val(vector)
            + fields.content.len()
            + fields.source_agent.len()
            + optional
            + fields.traits.size_hint()
            + 512,
    );
    put_vector(out, vector);
    let mut writer = FieldWriter::new(out);
    writer.f32(1, fields.inverse_norm);
    writer.bytes(2, &fields.content_hash.0);
    writer.nested(3, |out| {
        encode_experience_type(fields.experience_type, type_unknown, out);
    });
    writer.bytes(4, fields.source_agent.as_bytes());
    writer.optional(5, fields.source_task.map(str::as_bytes));
    writer.optional(6, fields.idempotency_key.map(str::as_bytes));
    writer.nested(7, |out| fields.vitals.encode(out));
    writer.nested_unless_empty(8, |out| fields.traits.encode(out));
    writer.bytes(9, fields.content.as_bytes());
    writer.time(10, fields.recorded_at);
    if let Some(derivation) = fields.derivation {
        writer.nested(11, |out| derivation.encode(out));
    }
    writer.unknown(unknown);
}

/// Compiles to one copy on little-endian machines.
fn put_vector(out: &mut Vec<u8>, vector: &[f32]) {
    let start = out.len();
    out.resize(start + size_of_val(vector), 0);
    let room = out.get_mut(start..).unwrap_or_default();
    for (slot, component) in room.as_chunks_mut::<4>().0.iter_mut().zip(vector) {
        *slot = component.to_le_bytes();
    }
}
