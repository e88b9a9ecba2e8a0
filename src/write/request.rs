//! What can be asked of the committer, and what does it answer?

use crate::{
    config::Precision,
    error::Result,
    model::{
        AgentId, Collective, CollectiveId, DecayConfig, EmbedderIdentity, Existing, ExperienceId,
        ExperienceRelation, ExperienceUpdate, InsightId, Lsn, NewRelation, Precisions,
        RecordOutcome, RelationId, Timestamp, UserId, VectorEpoch,
    },
    write::{draft::Embedded, embedding::NewEmbedding, guard::Guard, sequence::Checked},
};

/// One atomic request: all of its changes are committed, or none.
pub struct Request {
    /// The first change. It lies in the queue itself, so that a committer that takes a hundred
    /// small requests does not wait for memory a hundred times.
    pub first: Change,
    /// The other changes, in order; each is decided against the state after the one before.
    pub rest: Vec<Change>,
    /// What must still be so for any of it to happen.
    pub guard: Option<Box<Guard>>,
    /// The room it occupies; given back when the committer is done with it.
    pub room: Box<dyn Send>,
}

/// One change.
#[allow(
    clippy::large_enum_variant,
    reason = "recording is the common case, and its place is the queue"
)]
pub enum Change {
    /// Create a collective, or find one by its name.
    CreateCollective {
        /// The id that a transaction has made for it; otherwise the committer makes one.
        id: Option<CollectiveId>,
        /// What it will be.
        new: NewCollective,
        /// Answer the oldest collective of this name where there is one.
        reuse_named: bool,
    },
    /// Change how energy fades.
    SetDecay(CollectiveId, DecayConfig),
    /// Delete a collective with all that is in it.
    DeleteCollective(CollectiveId),
    /// Record an experience or an insight.
    Record(Embedded),
    /// Change some fields.
    Update(ExperienceId, Box<ExperienceUpdate>),
    /// Set or remove one tag.
    SetTag(ExperienceId, String, Option<String>),
    /// Archive or unarchive.
    SetArchived(ExperienceId, bool),
    /// Count one application.
    Reinforce(ExperienceId),
    /// Delete an experience, with its relations.
    Delete(ExperienceId),
    /// The same, if it is there, expired or not.
    Erase(ExperienceId),
    /// Store a relation, with the id that a transaction has made for it; otherwise the committer makes one.
    Relate(Option<RelationId>, Box<NewRelation>),
    /// Delete a relation.
    DeleteRelation(RelationId),
    /// Delete an insight.
    DeleteInsight(InsightId),
    /// Record an experience that was recorded elsewhere first, or change the one that has its id.
    Import(Embedded, Existing),
    /// Store an insight that was stored elsewhere first, unless it is there.
    ImportInsight(Embedded),
    /// Store a relation that was stored elsewhere first, unless it is there, or one that says the same.
    ImportRelation(Box<ExperienceRelation>),
    /// Create a collective with its id from elsewhere, unless there is one of that id.
    RestoreCollective(Box<Collective>),
    /// Nothing, but make durable all that came before, whatever the sync mode.
    Flush,
    /// Note what an agent does.
    Activity(CollectiveId, AgentId, Box<ActivityChange>),
    /// Record an experience unless it is known, as its policy says.
    RecordChecked(Box<Checked>),
    /// Record an experience, end the validity of the one that it supersedes, and store a relation, with an
    /// id as [`Change::Relate`] has it.
    Supersede(ExperienceId, Box<Embedded>, Option<RelationId>),
    /// Delete those of these experiences that have expired.
    Expire(Vec<ExperienceId>),
    /// Archive those of these experiences that are cold; those alone of collectives that want it, unless it was
    /// `asked` for.
    ArchiveCold {
        /// Which may be cold.
        ids: Vec<ExperienceId>,
        /// Whether a call asked for it.
        asked: bool,
    },
    /// Begin a re-embedding by vectors of this dimension and identity, or go on with the one that has begun.
    BeginReembedding(CollectiveId, u16, Box<EmbedderIdentity>),
    /// Give a row the vector of a re-embedding, unless it has one or is gone.
    Embed(Box<NewEmbedding>),
    /// Go by the vectors of a re-embedding from now on, if no row but those below these numbers (of
    /// experiences, of insights) is there.
    EndReembedding(CollectiveId, Lsn, (u32, u32), Option<Precision>),
    /// Give up the re-embedding that has begun, if one has.
    CancelReembedding(CollectiveId),
}

/// A checked collective that is to be.
#[derive(Clone)]
pub struct NewCollective {
    /// 1–255 characters.
    pub name: String,
    /// Whom it belongs to.
    pub owner: Option<UserId>,
    /// Components of its embeddings.
    pub dimension: u16,
    /// Its decay.
    pub decay: DecayConfig,
}

impl NewCollective {
    /// The definition that it begins with.
    #[must_use]
    pub fn defined(self, id: CollectiveId, created_at: Timestamp) -> Collective {
        Collective {
            id,
            name: self.name,
            owner_id: self.owner,
            embedding_dimension: self.dimension,
            decay: self.decay,
            // The first vector says whose they are.
            embedder: None,
            precisions: Precisions::default(),
            created_at,
            vectors: VectorEpoch::default(),
        }
    }
}

/// What an agent lets know.
pub enum ActivityChange {
    /// It begins something, instead of what it did before.
    Register {
        /// At what it works.
        current_task: Option<String>,
        /// In which context.
        context_summary: Option<String>,
    },
    /// It goes on.
    Beat {
        /// Nothing is logged where a later heartbeat than this is in the log.
        unless_since: Timestamp,
    },
    /// It is done.
    End,
}

/// What a change answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// The collective.
    Collective(CollectiveId),
    /// The experience.
    Experience(ExperienceId),
    /// The insight.
    Insight(InsightId),
    /// The relation.
    Relation(RelationId),
    /// How often the experience was applied by now.
    Applications(u32),
    /// What became of an experience from elsewhere.
    Imported(Imported),
    /// Done.
    Done,
    /// What became of an experience with a policy.
    Outcome(RecordOutcome),
    /// So many.
    Count(usize),
    /// The re-embedding that goes on; `None` where the collective has these vectors already.
    Reembedding(Option<Lsn>),
    /// Nothing was changed, not by the other changes of the request either: what was found in a snapshot
    /// says too little about the present.
    LookAgain,
}

/// What became of an experience from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imported {
    /// It is new.
    Created,
    /// It was there, and changed.
    Changed,
    /// It was there, and is as it was.
    Unchanged,
}

/// What a request answers: one reply per change, or why nothing was changed.
pub type Answer = Result<Vec<Reply>>;
