//! How does a checked experience become the bytes of a record?
//!
//! All that costs time happens here, on the caller's side of the queue: copying the vector, hashing
//! the content, encoding and checksumming the payload. The committer only adds the numbers that
//! it alone knows, all of which stand in the frame header.

use std::sync::LazyLock;

use sha2::{Digest, Sha256};

use crate::{
    error::{PulseDBError, Result},
    format::{BodyFields, FRAME_HEADER_LEN, Traits, Vitals, encode_body, payload_crc},
    model::{
        Collective, CollectiveId, ContentHash, EmbedderIdentity, ExperienceId, ExperienceKind,
        NewExperience, Timestamp,
    },
    simd::squared_norm,
    sync::Arc,
    write::validate,
};

/// What stands in collectives whose vectors the callers bring.
pub static EXTERNAL: LazyLock<EmbedderIdentity> = LazyLock::new(|| EmbedderIdentity {
    provider: "external".into(),
    model: String::new(),
    fingerprint: String::new(),
});

/// A checked experience that may still lack its vector.
pub struct Draft(NewExperience);

/// A checked experience with its vector, encoded.
pub struct Embedded {
    /// Where it belongs.
    pub collective: CollectiveId,
    /// The id that a transaction has made for it; otherwise the committer makes one.
    pub id: Option<ExperienceId>,
    /// Whose vector it is; `None` is the caller's own, [`EXTERNAL`], which so many writers share that
    /// counting references to it would cost more than comparing it.
    pub embedder: Option<Arc<EmbedderIdentity>>,
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
}

impl Draft {
    /// Checks everything but the vector.
    pub fn new(new: NewExperience) -> Result<Self> {
        validate::experience(&new)?;
        Ok(Self(new))
    }

    /// The text to embed.
    pub fn content(&self) -> &str {
        &self.0.content
    }

    /// The caller's vector, taken out.
    pub fn take_vector(&mut self) -> Option<Vec<f32>> {
        self.0.embedding.take()
    }

    /// Adds the vector, checks it against the collective's dimension, and encodes.
    pub fn embed(
        self,
        vector: &[f32],
        dimension: u16,
        embedder: Option<Arc<EmbedderIdentity>>,
    ) -> Result<Embedded> {
        validate::vector("embedding", vector, usize::from(dimension))?;
        let new = self.0;
        // Norms beyond f32 saturate; `read::similarity` computes such rows anew.
        let inverse_norm = (1.0 / squared_norm(vector).sqrt())
            .clamp(f64::from(f32::MIN_POSITIVE), f64::from(f32::MAX))
            as f32;
        let kind = new.experience_type.kind();
        let traits = Traits {
            domain: new.domain,
            tags: new.tags,
            related_files: new.related_files,
            expires_at: new.expires_at,
            valid_from: new.valid_from,
            valid_to: new.valid_to,
            pinned: new.pinned,
            ..Traits::default()
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
                vitals: &Vitals::initial(new.importance, new.confidence),
                traits: &traits,
            },
            vector,
        );
        Ok(Embedded {
            collective: new.collective_id,
            id: None,
            embedder,
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
        })
    }
}

impl Embedded {
    /// Whose vector it is.
    pub fn identity(&self) -> &EmbedderIdentity {
        self.embedder.as_deref().unwrap_or(&EXTERNAL)
    }

    /// The collective with the embedder's identity stamped into it, where this is its first vector.
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
        match &collective.embedder {
            Some(stamped) if stamped == self.identity() => Ok(None),
            Some(stamped) => Err(PulseDBError::Embedding(format!(
                "collective {} holds vectors of {stamped}, this store embeds with {}; open it with \
                 that embedder, or re-embed the collective",
                collective.id,
                self.identity()
            ))),
            None => Ok(Some(Collective {
                embedder: Some(self.identity().clone()),
                ..collective.clone()
            })),
        }
    }

    /// Bytes it will take in the queue and in the log, up to alignment.
    pub fn bytes(&self) -> usize {
        self.payload.len() + FRAME_HEADER_LEN
    }
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
