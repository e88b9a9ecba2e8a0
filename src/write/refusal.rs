//! Why is a change refused that does not fit what is there?
//!
//! Decided by the committer for all changes, and by transactions for their own beforehand: both say the same.

use crate::{
    error::PulseDBError,
    model::{CollectiveId, ExperienceId, NewRelation, RelationId},
};

/// Why a relation is not stored that leads to another collective.
pub fn relation_leads_elsewhere(new: &NewRelation) -> PulseDBError {
    PulseDBError::validation(
        "target_id",
        new.target_id,
        format!(
            "it must be in the collective of the source {}",
            new.source_id
        ),
    )
}

/// Why a relation is not stored that says what `known` says.
pub fn relation_said_already(known: RelationId) -> PulseDBError {
    PulseDBError::conflict(format!(
        "relation {known} already says that; delete it to store another one"
    ))
}

/// Why an insight is not stored that was derived from what is in another collective.
pub fn source_elsewhere(source: ExperienceId) -> PulseDBError {
    PulseDBError::validation(
        "source_experience_ids",
        source,
        "it must be in the collective of the insight",
    )
}

/// Why an experience is not superseded by one of another collective.
pub fn superseded_elsewhere(old: ExperienceId, collective: CollectiveId) -> PulseDBError {
    PulseDBError::conflict(format!(
        "experience {old} is not in collective {collective}; an experience is superseded by one of its \
         own collective"
    ))
}
