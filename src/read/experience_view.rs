//! How is an experience read without copying it?
//!
//! A view holds the segment that its body stands in, and with it the mapping: whatever is deleted,
//! compacted or closed meanwhile, the bytes stay where they are until the last view of them is gone.
//! What may change about an experience was copied when the view was made. Its bytes were compared with
//! their checksums before, and mapped bytes never change. A row whose kind is known has texts that are
//! UTF-8: the open does not believe another, nor does the writer make one.

use std::fmt;

use bytes::Bytes;

use crate::{
    error::Result,
    format::{
        BodyParts, BodyView, DecodeError, ExperienceHead, FRAME_ALIGN, FRAME_HEADER_LEN, Traits,
        Vitals, assemble,
    },
    log::Segment,
    model::{
        CollectiveId, ContentHash, Experience, ExperienceId, ExperienceKind, ExperienceType,
        Timestamp,
    },
    state::Values,
    sync::Arc,
};

/// An experience as it stood at one moment, read in place: text and vector are borrowed from the mapped
/// log, not copied. From [`PulseDB::get_experience_view`](crate::PulseDB::get_experience_view).
///
/// It stays valid, and shows the same, after updates, deletes, compaction and the end of the database,
/// and keeps the file that it stands in on disk and mapped meanwhile: not for keeping by the thousand
/// over hours. Reading from it does not wait, unless the system has evicted the pages meanwhile.
///
/// ```
/// use pulsedb::{Config, EmbeddingDimension, NewExperience, blocking::PulseDB};
///
/// # fn main() -> pulsedb::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// let db = PulseDB::open(dir.path(), Config::external(EmbeddingDimension::Custom(2)))?;
/// let team = db.create_collective("team")?;
/// let id = db.record_experience(NewExperience {
///     embedding: Some(vec![0.6, 0.8]),
///     ..NewExperience::new(team, "agent-1", "A view borrows; an experience owns.")
/// })?;
/// let view = db.get_experience_view(id)?;
/// let text = view.content_bytes(); // a `bytes::Bytes`, still without a copy
/// db.delete_experience(id)?;
/// db.close()?;
/// assert_eq!(view.content(), "A view borrows; an experience owns.");
/// assert_eq!(view.embedding(), [0.6, 0.8]);
/// assert_eq!(view.to_experience()?.source_agent.as_str(), view.source_agent());
/// drop(view);
/// assert_eq!(text.len(), 35);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ExperienceView {
    body: MappedBody,
    /// Where its vector begins and how long it is, where it is not that of the body.
    beside: Option<(Arc<Segment>, u32, u16)>,
    head: ExperienceHead,
    importance: f32,
    confidence: f32,
    applications: u32,
    others: u32,
    archived: bool,
    pinned: bool,
    last_reinforced: Timestamp,
    expires_at: Option<Timestamp>,
    /// The traits, where they no longer are those of the body.
    later_traits: Option<Box<Traits>>,
}

impl ExperienceView {
    /// A view of a body that was compared with its checksums, and once decoded by the open or made by
    /// the writer; it stands at `unit` of `segment`.
    pub(super) fn new(
        (segment, unit): (&Arc<Segment>, u32),
        beside: Option<(Arc<Segment>, u32, u16)>,
        body: &BodyView<'_>,
        head: ExperienceHead,
        values: &Values,
        later_traits: Option<Box<Traits>>,
    ) -> Self {
        Self {
            body: MappedBody {
                segment: Arc::clone(segment),
                unit,
                parts: body.parts(),
            },
            beside,
            head,
            importance: values.importance,
            confidence: values.confidence,
            applications: values.applications,
            others: values.others,
            archived: values.archived,
            pinned: values.pinned,
            last_reinforced: values.last_reinforced,
            expires_at: values.expires_at,
            later_traits,
        }
    }

    fn body(&self) -> BodyView<'_> {
        self.body.get()
    }

    fn decoded<T>(&self, read: Result<T, DecodeError>) -> Result<T> {
        let MappedBody { segment, unit, .. } = &self.body;
        read.map_err(|error| segment.corrupted_frame(*unit, error.to_string()))
    }

    /// Its name in every call.
    #[must_use]
    pub fn id(&self) -> ExperienceId {
        self.head.id
    }

    /// The collective it belongs to.
    #[must_use]
    pub fn collective_id(&self) -> CollectiveId {
        self.head.collective_id
    }

    /// The text, in place.
    #[must_use]
    pub fn content(&self) -> &str {
        self.body().content().unwrap_or_default()
    }

    /// The text as bytes that own their part of the mapping, to be handed on without a copy.
    #[must_use]
    pub fn content_bytes(&self) -> Bytes {
        Bytes::from_owner(Part(self.body.clone(), |body| body.in_place().0))
    }

    /// The vector, in place: bit for bit as given, or as the last re-embedding made it.
    #[must_use]
    pub fn embedding(&self) -> &[f32] {
        let (segment, unit, dimension) = match &self.beside {
            Some((segment, unit, dimension)) => (segment, *unit, *dimension),
            None => (
                &self.body.segment,
                self.body.unit,
                self.body.parts.dimension(),
            ),
        };
        segment.vector(unit, dimension).unwrap_or_default()
    }

    /// The vector as bytes (`f32`, little endian) that own their part of the mapping.
    #[must_use]
    pub fn embedding_bytes(&self) -> Bytes {
        match &self.beside {
            Some((segment, unit, dimension)) => Bytes::from_owner(MappedVector {
                segment: Arc::clone(segment),
                unit: *unit,
                dimension: *dimension,
            }),
            None => Bytes::from_owner(Part(self.body.clone(), |body| body.in_place().1)),
        }
    }

    /// What kind of knowledge it is.
    #[must_use]
    pub fn kind(&self) -> ExperienceKind {
        self.body().kind().unwrap_or(ExperienceKind::Generic)
    }

    /// What kind of knowledge it is, with the fields of the kind. Decoded and copied.
    ///
    /// # Errors
    /// [`PulseDBError::Corrupted`](crate::PulseDBError::Corrupted) where this build cannot read it.
    pub fn experience_type(&self) -> Result<ExperienceType> {
        self.decoded(self.body().experience_type())
    }

    /// Who learned it.
    #[must_use]
    pub fn source_agent(&self) -> &str {
        self.body().source_agent().unwrap_or_default()
    }

    /// During which task.
    #[must_use]
    pub fn source_task(&self) -> Option<&str> {
        self.body().source_task().unwrap_or_default()
    }

    /// When it was recorded.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.head.timestamp
    }

    /// How much it matters, in [0, 1].
    #[must_use]
    pub fn importance(&self) -> f32 {
        self.importance
    }

    /// How sure the agent is, in [0, 1].
    #[must_use]
    pub fn confidence(&self) -> f32 {
        self.confidence
    }

    /// How often it was applied by all instances together (saturating).
    #[must_use]
    pub fn applications(&self) -> u32 {
        self.applications.saturating_add(self.others)
    }

    /// When it was last applied (at first, when it was recorded).
    #[must_use]
    pub fn last_reinforced(&self) -> Timestamp {
        self.last_reinforced
    }

    /// Whether default searches leave it out.
    #[must_use]
    pub fn archived(&self) -> bool {
        self.archived
    }

    /// When anything of it last changed.
    #[must_use]
    pub fn updated_at(&self) -> Timestamp {
        self.head.updated_at
    }

    /// From when on it is no longer there.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    /// Whether it is exempt from cooling and expiry.
    #[must_use]
    pub fn pinned(&self) -> bool {
        self.pinned
    }

    /// The caller's key for safe retries.
    #[must_use]
    pub fn idempotency_key(&self) -> Option<&str> {
        self.body().idempotency_key().unwrap_or_default()
    }

    /// Hash of the content.
    #[must_use]
    pub fn content_hash(&self) -> ContentHash {
        self.body().content_hash().unwrap_or(ContentHash([0; 16]))
    }

    /// The experience as it stood, copied; domains, tags, files and validity are read only here.
    ///
    /// # Errors
    /// [`PulseDBError::Corrupted`](crate::PulseDBError::Corrupted) where this build cannot read a part.
    pub fn to_experience(&self) -> Result<Experience> {
        let body = self.body();
        let traits = match &self.later_traits {
            Some(traits) => Ok(Traits::clone(traits)),
            None => body.traits(),
        };
        let mut vitals = Vitals::initial(self.importance, self.confidence);
        vitals.applications = self.applications;
        vitals.others = self.others;
        vitals.last_reinforced = Some(self.last_reinforced);
        vitals.archived = self.archived;
        let mut whole =
            self.decoded(traits.and_then(|traits| assemble(&self.head, &body, &vitals, traits)))?;
        if self.beside.is_some() {
            whole.embedding = self.embedding().to_vec();
        }
        Ok(whole)
    }
}

impl fmt::Debug for ExperienceView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExperienceView")
            .field("id", &self.head.id)
            .field("collective_id", &self.head.collective_id)
            .finish_non_exhaustive()
    }
}

/// A body that keeps its mapping.
#[derive(Clone)]
struct MappedBody {
    segment: Arc<Segment>,
    /// Where it begins in the segment.
    unit: u32,
    parts: BodyParts,
}

impl MappedBody {
    fn get(&self) -> BodyView<'_> {
        let (_, payload) = self.segment.payload(self.unit).unwrap_or_default();
        self.parts.of(payload)
    }
}

/// A vector beside a body that keeps its mapping.
struct MappedVector {
    segment: Arc<Segment>,
    unit: u32,
    dimension: u16,
}

impl AsRef<[u8]> for MappedVector {
    fn as_ref(&self) -> &[u8] {
        let start = u64::from(self.unit) * FRAME_ALIGN + FRAME_HEADER_LEN as u64;
        let end = start + u64::from(self.dimension) * size_of::<f32>() as u64;
        self.segment.bytes(start..end).unwrap_or_default()
    }
}

/// A part of a body that keeps its mapping.
struct Part(MappedBody, fn(BodyView<'_>) -> &[u8]);

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        (self.1)(self.0.get())
    }
}
