//! How does a checked experience or insight become the bytes of a record?
//!
//! All that costs time happens here, on the caller's side of the queue: copying the vector, hashing
//! the content, encoding and checksumming the payload. The committer only adds the numbers that
//! it alone knows, all of which stand in the frame header.

use std::sync::LazyLock;

use sha2::{Digest, Sha256};

use crate::{
    config::Precision,
    error::{PulseDBError, Result},
    format::{
        BodyFields, BodyView, DecodeError, Derivation, FRAME_HEADER_LEN, RowKind, Traits, Vitals,
        encode_body, payload_crc,
    },
    model::{
        Collective, CollectiveId, ContentHash, DerivedInsight, EmbedderIdentity, Experience,
        ExperienceId, ExperienceKind, ExperienceType, InstanceId, NewExperience, NewInsight,
        RecordOptions, Timestamp, counters,
    },
    simd::inverse_norm,
    state::sighting::Sought,
    sync::Arc,
    write::validate,
};

/// What stands in collectives whose vectors the callers bring.
pub static EXTERNAL: LazyLock<EmbedderIdentity> = LazyLock::new(|| EmbedderIdentity {
    provider: "external".into(),
    model: String::new(),
    fingerprint: String::new(),
});

/// A checked experience or insight that may still lack its vector.
#[allow(
    clippy::large_enum_variant,
    reason = "recording experiences is the common case"
)]
pub enum Draft {
    /// An experience, and what it keeps of where it was recorded first.
    Experience(NewExperience, Option<Box<Origin>>),
    /// An insight, and what it keeps of where it was stored first.
    Insight(NewInsight, Option<Box<Origin>>),
}

/// What an experience keeps that was recorded elsewhere first.
#[derive(Clone)]
pub struct Origin {
    /// Its id.
    pub id: u128,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// Its vitals as they came; `applications` are those of this instance.
    pub vitals: Vitals,
    /// Its traits as they came.
    pub traits: Traits,
}

/// A checked experience or insight with its vector, encoded.
#[derive(Clone)]
pub struct Embedded {
    /// Which of the two.
    pub row_kind: RowKind,
    /// What an insight was derived from.
    pub sources: Vec<ExperienceId>,
    /// Where it belongs.
    pub collective: CollectiveId,
    /// The id that a transaction has made for it; otherwise the committer makes one.
    pub id: Option<u128>,
    /// Whose vector it is; `None` is the caller's own, [`EXTERNAL`], which so many writers share that
    /// counting references to it would cost more than comparing it.
    pub embedder: Option<Arc<EmbedderIdentity>>,
    /// What the store's embedder computed it in, where that is known.
    pub precision: Option<Precision>,
    /// The record's payload.
    pub payload: Vec<u8>,
    /// Its checksum.
    pub payload_crc: u32,
    /// Components of the vector at the payload's start.
    pub dimension: u16,
    /// Name of the agent.
    pub agent: Arc<str>,
    /// The idempotency key.
    pub key: Option<Arc<str>>,
    /// The columns that the row will have.
    pub kind: ExperienceKind,
    /// 1 / ‖vector‖.
    pub inverse_norm: f32,
    /// At creation.
    pub importance: f32,
    /// At creation.
    pub confidence: f32,
    /// At creation.
    pub pinned: bool,
    /// At creation.
    pub expires_at: Option<Timestamp>,
    /// At creation.
    pub bounded: bool,
    /// What it keeps from elsewhere.
    pub origin: Option<Box<Origin>>,
}

impl Draft {
    /// Checks everything but the vector of an experience.
    pub fn experience(new: NewExperience) -> Result<Self> {
        validate::experience(&new)?;
        Ok(Self::Experience(new, None))
    }

    /// Checks everything but the vector of an experience from elsewhere, which goes to `collective`.
    /// `instance` is whose applications the vitals count.
    pub fn imported(
        experience: Experience,
        collective: CollectiveId,
        instance: InstanceId,
    ) -> Result<Self> {
        validate::imported(&experience)?;
        let mut counts = experience.applications;
        counts.retain(|_, count| *count > 0);
        let applications = counts.remove(&instance).unwrap_or(0);
        let mut vitals = Vitals::initial(experience.importance, experience.confidence);
        vitals.applications = applications;
        vitals.others = counters::total(&counts);
        vitals.archived = experience.archived;
        vitals.last_reinforced = unless(experience.timestamp, experience.last_reinforced);
        vitals.updated_at = unless(experience.timestamp, experience.updated_at);
        let traits = Traits {
            domain: experience.domain.clone(),
            tags: experience.tags.clone(),
            related_files: experience.related_files.clone(),
            expires_at: experience.expires_at,
            valid_from: experience.valid_from,
            valid_to: experience.valid_to,
            pinned: experience.pinned,
            foreign_applications: counts,
            ..Traits::default()
        };
        let origin = Origin {
            id: experience.id.as_u128(),
            recorded_at: experience.timestamp,
            vitals,
            traits,
        };
        let said = experience.content_hash;
        let new = NewExperience {
            embedding: Some(experience.embedding),
            experience_type: experience.experience_type,
            source_task: experience.source_task,
            importance: experience.importance,
            confidence: experience.confidence,
            domain: experience.domain,
            tags: experience.tags,
            related_files: experience.related_files,
            expires_at: experience.expires_at,
            valid_from: experience.valid_from,
            valid_to: experience.valid_to,
            pinned: experience.pinned,
            idempotency_key: experience.idempotency_key,
            ..NewExperience::new(collective, experience.source_agent, experience.content)
        };
        validate::experience(&new)?;
        let hash = content_hash(&new.content);
        if hash != said {
            return Err(PulseDBError::validation(
                "content_hash",
                format!("{said:?}"),
                format!("that of the content is {hash:?}"),
            ));
        }
        Ok(Self::Experience(new, Some(Box::new(origin))))
    }

    /// Checks everything but the vector of an insight.
    pub fn insight(new: NewInsight) -> Result<Self> {
        validate::insight(&new)?;
        Ok(Self::Insight(new, None))
    }

    /// Checks everything but the vector of an insight from elsewhere, which goes to `collective`. All of its
    /// sources may be gone.
    pub fn imported_insight(insight: DerivedInsight, collective: CollectiveId) -> Result<Self> {
        let new = NewInsight {
            collective_id: collective,
            content: insight.content,
            embedding: Some(insight.embedding),
            source_experience_ids: insight.source_experience_ids,
            insight_type: insight.insight_type,
            confidence: insight.confidence,
            domain: insight.domain,
        };
        validate::imported_insight(&new)?;
        let origin = Origin {
            id: insight.id.as_u128(),
            recorded_at: insight.created_at,
            vitals: Vitals::initial(INSIGHT_IMPORTANCE, new.confidence),
            traits: Traits {
                domain: new.domain.clone(),
                ..Traits::default()
            },
        };
        Ok(Self::Insight(new, Some(Box::new(origin))))
    }

    /// Where it belongs.
    pub fn collective(&self) -> CollectiveId {
        match self {
            Self::Experience(new, _) => new.collective_id,
            Self::Insight(new, _) => new.collective_id,
        }
    }

    /// Which table it goes to.
    pub const fn row_kind(&self) -> RowKind {
        match self {
            Self::Experience(..) => RowKind::Experience,
            Self::Insight(..) => RowKind::Insight,
        }
    }

    /// The text to embed.
    pub fn content(&self) -> &str {
        match self {
            Self::Experience(new, _) => &new.content,
            Self::Insight(new, _) => &new.content,
        }
    }

    /// The caller's vector, taken out.
    pub fn take_vector(&mut self) -> Option<Vec<f32>> {
        match self {
            Self::Experience(new, _) => new.embedding.take(),
            Self::Insight(new, _) => new.embedding.take(),
        }
    }

    /// Adds the vector, checks it against the collective's dimension, and encodes.
    pub fn embed(
        self,
        vector: &[f32],
        dimension: u16,
        embedder: Option<Arc<EmbedderIdentity>>,
    ) -> Result<Embedded> {
        validate::vector("embedding", vector, usize::from(dimension))?;
        Ok(match self {
            Self::Experience(new, origin) => experience(new, origin, vector, dimension, embedder),
            Self::Insight(new, origin) => insight(new, origin, vector, dimension, embedder),
        })
    }
}

fn experience(
    new: NewExperience,
    origin: Option<Box<Origin>>,
    vector: &[f32],
    dimension: u16,
    embedder: Option<Arc<EmbedderIdentity>>,
) -> Embedded {
    let inverse_norm = inverse_norm(vector);
    let kind = new.experience_type.kind();
    let (first_vitals, first_traits);
    let (vitals, traits) = match &origin {
        Some(origin) => (&origin.vitals, &origin.traits),
        None => {
            first_vitals = Vitals::initial(new.importance, new.confidence);
            first_traits = Traits {
                domain: new.domain,
                tags: new.tags,
                related_files: new.related_files,
                expires_at: new.expires_at,
                valid_from: new.valid_from,
                valid_to: new.valid_to,
                pinned: new.pinned,
                ..Traits::default()
            };
            (&first_vitals, &first_traits)
        }
    };
    let mut payload = Vec::with_capacity(payload_capacity(vector.len(), &new.content));
    encode_body(
        &mut payload,
        &BodyFields {
            content: &new.content,
            experience_type: &new.experience_type,
            source_agent: new.source_agent.as_str(),
            source_task: new.source_task.as_ref().map(|task| task.as_str()),
            idempotency_key: new.idempotency_key.as_deref(),
            content_hash: content_hash(&new.content),
            inverse_norm,
            vitals,
            traits,
            recorded_at: origin.as_ref().map(|origin| origin.recorded_at),
            derivation: None,
        },
        vector,
    );
    Embedded {
        row_kind: RowKind::Experience,
        id: None,
        sources: Vec::new(),
        collective: new.collective_id,
        embedder,
        precision: None,
        payload_crc: payload_crc(&payload),
        payload,
        dimension,
        agent: new.source_agent.as_str().into(),
        key: new.idempotency_key.map(Arc::from),
        kind,
        inverse_norm,
        importance: new.importance,
        confidence: new.confidence,
        pinned: new.pinned,
        expires_at: new.expires_at,
        bounded: traits.is_bounded(),
        origin,
    }
}

/// What an insight says of importance, which it has none of.
const INSIGHT_IMPORTANCE: f32 = 1.0;

/// An insight is written as an experience of no agent that does not fade.
fn insight(
    new: NewInsight,
    origin: Option<Box<Origin>>,
    vector: &[f32],
    dimension: u16,
    embedder: Option<Arc<EmbedderIdentity>>,
) -> Embedded {
    let inverse_norm = inverse_norm(vector);
    let traits = Traits {
        domain: new.domain,
        ..Traits::default()
    };
    let derivation = Derivation {
        insight_type: new.insight_type,
        sources: new.source_experience_ids,
    };
    let mut payload = Vec::with_capacity(payload_capacity(vector.len(), &new.content));
    encode_body(
        &mut payload,
        &BodyFields {
            content: &new.content,
            experience_type: &ExperienceType::Generic { category: None },
            source_agent: "",
            source_task: None,
            idempotency_key: None,
            content_hash: content_hash(&new.content),
            inverse_norm,
            vitals: &Vitals::initial(INSIGHT_IMPORTANCE, new.confidence),
            traits: &traits,
            recorded_at: origin.as_ref().map(|origin| origin.recorded_at),
            derivation: Some(&derivation),
        },
        vector,
    );
    Embedded {
        row_kind: RowKind::Insight,
        id: None,
        sources: derivation.sources,
        collective: new.collective_id,
        embedder,
        precision: None,
        payload_crc: payload_crc(&payload),
        payload,
        dimension,
        agent: "".into(),
        key: None,
        kind: ExperienceKind::Generic,
        inverse_norm,
        importance: INSIGHT_IMPORTANCE,
        confidence: new.confidence,
        pinned: false,
        expires_at: None,
        bounded: false,
        origin,
    }
}

impl Embedded {
    /// The same, whose vector the store's embedder computed in this precision.
    #[must_use]
    pub fn in_precision(self, precision: Option<Precision>) -> Self {
        Self { precision, ..self }
    }

    /// Whose vector it is.
    pub fn identity(&self) -> &EmbedderIdentity {
        self.embedder.as_deref().unwrap_or(&EXTERNAL)
    }

    /// What would make another experience a duplicate of it.
    ///
    /// # Errors
    /// None for what [`Draft::embed`] has made.
    pub fn sought(&self, options: &RecordOptions) -> Result<Sought> {
        let read = || {
            let body = BodyView::parse(self.dimension, &self.payload)?;
            Ok(Sought {
                vector: body.vector_f32(),
                hash: body.content_hash()?,
                same_content: options.same_content,
                threshold: options.similarity_threshold,
            })
        };
        read().map_err(|error: DecodeError| PulseDBError::conflict(error.to_string()))
    }

    /// The collective with the embedder's identity and precision stamped into it, where this is its first vector of either.
    ///
    /// # Errors
    /// `Conflict` where the vector has another dimension, `Embedding` where it is of another model.
    pub fn enter(&self, collective: &Collective) -> Result<Option<Collective>> {
        if collective.embedding_dimension != self.dimension {
            return Err(PulseDBError::conflict(format!(
                "collective {} has dimension {}, the vector {}",
                collective.id, collective.embedding_dimension, self.dimension
            )));
        }
        let precisions = collective.precisions.with(self.precision);
        match &collective.embedder {
            Some(stamped) if stamped == self.identity() => {
                Ok((precisions != collective.precisions).then(|| Collective {
                    precisions,
                    ..collective.clone()
                }))
            }
            Some(stamped) => Err(PulseDBError::Embedding(format!(
                "collective {} holds vectors of {stamped}, this store embeds with {}; open it with \
                 that embedder, or re-embed the collective",
                collective.id,
                self.identity()
            ))),
            None => Ok(Some(Collective {
                embedder: Some(self.identity().clone()),
                precisions,
                ..collective.clone()
            })),
        }
    }

    /// Bytes it will take in the queue and in the log, up to alignment.
    pub fn bytes(&self) -> usize {
        self.payload.len() + FRAME_HEADER_LEN
    }
}

/// A time that is not the one that it is by default.
fn unless(default: Timestamp, time: Timestamp) -> Option<Timestamp> {
    (time != default).then_some(time)
}

/// Vector, content, and room for the usual other fields.
fn payload_capacity(dimension: usize, content: &str) -> usize {
    const USUAL_FIELDS_BYTES: usize = 512;
    dimension * size_of::<f32>() + content.len() + USUAL_FIELDS_BYTES
}

/// The first 128 bits of the SHA-256 of `content`.
pub fn content_hash(content: &str) -> ContentHash {
    let digest = Sha256::digest(content.as_bytes());
    let mut hash = [0; 16];
    for (to, from) in hash.iter_mut().zip(digest) {
        *to = from;
    }
    ContentHash(hash)
}
