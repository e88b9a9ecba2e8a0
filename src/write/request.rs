//! What can be asked of the committer, and what does it answer?

use crate::{
    error::Result,
    model::{CollectiveId, DecayConfig, ExperienceId, ExperienceUpdate, UserId},
    write::{draft::Embedded, guard::Guard},
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
        /// 1–255 characters.
        name: String,
        /// Whom it belongs to.
        owner: Option<UserId>,
        /// Components of its embeddings.
        dimension: u16,
        /// Its decay.
        decay: DecayConfig,
        /// Answer the oldest collective of this name where there is one.
        reuse_named: bool,
    },
    /// Change how energy fades.
    SetDecay(CollectiveId, DecayConfig),
    /// Delete a collective with all that is in it.
    DeleteCollective(CollectiveId),
    /// Record an experience.
    Record(Embedded),
    /// Change some fields.
    Update(ExperienceId, Box<ExperienceUpdate>),
    /// Set or remove one tag.
    SetTag(ExperienceId, String, Option<String>),
    /// Archive or unarchive.
    SetArchived(ExperienceId, bool),
    /// Count one application.
    Reinforce(ExperienceId),
    /// Delete an experience.
    Delete(ExperienceId),
    /// Nothing, but make durable all that came before, whatever the sync mode.
    Flush,
}

/// What a change answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The collective.
    Collective(CollectiveId),
    /// The experience.
    Experience(ExperienceId),
    /// How often the experience was applied by now.
    Applications(u32),
    /// Done.
    Done,
}

/// What a request answers: one reply per change, or why nothing was changed.
pub type Answer = Result<Vec<Reply>>;
