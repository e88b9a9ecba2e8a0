//! How do body, vitals and traits make an experience again?
//!
//! Pure assembly, used wherever an experience is answered: reads, searches, watch.

use super::{BodyView, DecodeError, Traits, Vitals};
use crate::model::{
    AgentId, CollectiveId, Experience, ExperienceId, InstanceId, TaskId, Timestamp,
};

/// What an experience needs beside its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExperienceHead {
    /// From the body's frame header.
    pub id: ExperienceId,
    /// The collective it belongs to.
    pub collective_id: CollectiveId,
    /// When it was recorded: the time of the body's frame, unless the body says otherwise.
    pub timestamp: Timestamp,
    /// The time of the newest of its frames, unless that says otherwise.
    pub updated_at: Timestamp,
    /// Whose applications the vitals count.
    pub instance_id: InstanceId,
}

/// Puts an experience together from its body and its current vitals and traits.
pub fn assemble(
    head: &ExperienceHead,
    body: &BodyView<'_>,
    vitals: &Vitals,
    traits: Traits,
) -> Result<Experience, DecodeError> {
    let mut applications = traits.foreign_applications;
    if vitals.applications > 0 {
        applications.insert(head.instance_id, vitals.applications);
    }
    Ok(Experience {
        id: head.id,
        collective_id: head.collective_id,
        content: body.content()?.to_owned(),
        embedding: body.vector_f32(),
        experience_type: body.experience_type()?,
        source_agent: AgentId::new(body.source_agent()?),
        source_task: body.source_task()?.map(TaskId::new),
        timestamp: head.timestamp,
        importance: vitals.importance,
        confidence: vitals.confidence,
        domain: traits.domain,
        tags: traits.tags,
        related_files: traits.related_files,
        applications,
        last_reinforced: vitals.last_reinforced.unwrap_or(head.timestamp),
        archived: vitals.archived,
        updated_at: head.updated_at,
        expires_at: traits.expires_at,
        valid_from: traits.valid_from,
        valid_to: traits.valid_to,
        pinned: traits.pinned,
        idempotency_key: body.idempotency_key()?.map(str::to_owned),
        content_hash: body.content_hash()?,
    })
}
