//! How is written what an agent does?
//!
//! The record holds all of it, and replaces the one before it of the same agent in the same collective
//! whole; a heartbeat is the record with a later time. The agent's name is the key, so that the frame
//! header names the collective only. Written by `write`, read by recovery.

use super::{
    DecodeError, UnknownFields,
    fields::{FieldWriter, Fields, missing},
    frame::frame_len,
};
use crate::model::Timestamp;

/// What an agent does, as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivityRecord {
    /// The agent.
    pub agent_id: String,
    /// At what it works.
    pub current_task: Option<String>,
    /// In which context.
    pub context_summary: Option<String>,
    /// Since when.
    pub started_at: Timestamp,
    /// Its last sign of life that is in the log.
    pub last_heartbeat: Timestamp,
    /// What a newer build stored.
    pub unknown: UnknownFields,
}

impl ActivityRecord {
    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = FieldWriter::new(out);
        writer.bytes(1, self.agent_id.as_bytes());
        writer.optional(2, self.current_task.as_deref().map(str::as_bytes));
        writer.optional(3, self.context_summary.as_deref().map(str::as_bytes));
        writer.time(4, Some(self.started_at));
        writer.time(5, Some(self.last_heartbeat));
        writer.unknown(&self.unknown);
    }

    /// Bytes of the record's frame.
    #[must_use]
    pub fn frame_len(&self) -> u64 {
        let mut payload = Vec::new();
        self.encode(&mut payload);
        frame_len(payload.len() as u32)
    }

    /// Reads a payload.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let (mut agent_id, mut current_task, mut context_summary) = (None, None, None);
        let (mut started_at, mut last_heartbeat) = (None, None);
        let mut unknown = UnknownFields::default();
        let mut fields = Fields::new(payload);
        while let Some(field) = fields.next_field()? {
            let text = |name| field.text(name).map(str::to_owned).map(Some);
            match field.tag {
                1 => agent_id = text("activity.agent_id")?,
                2 => current_task = text("activity.current_task")?,
                3 => context_summary = text("activity.context_summary")?,
                4 => started_at = Some(field.time("activity.started_at")?),
                5 => last_heartbeat = Some(field.time("activity.last_heartbeat")?),
                _ => {
                    unknown = UnknownFields::keep(fields.keep_from(&field, payload)?);
                    break;
                }
            }
        }
        Ok(Self {
            agent_id: agent_id.ok_or(missing("activity.agent_id", 1))?,
            current_task,
            context_summary,
            started_at: started_at.ok_or(missing("activity.started_at", 4))?,
            last_heartbeat: last_heartbeat.ok_or(missing("activity.last_heartbeat", 5))?,
            unknown,
        })
    }
}

/// Appends the payload of the record that ends an agent's activity.
pub fn encode_activity_end(agent_id: &str, out: &mut Vec<u8>) {
    FieldWriter::new(out).bytes(1, agent_id.as_bytes());
}

/// Whose activity the record ends that has this payload. What a newer build stored behind it is checked
/// and left alone: nobody writes the record again.
pub fn decode_activity_end(payload: &[u8]) -> Result<&str, DecodeError> {
    let mut agent_id = None;
    let mut fields = Fields::new(payload);
    while let Some(field) = fields.next_field()? {
        if field.tag == 1 {
            agent_id = Some(field.text("activity_end.agent_id")?);
        }
    }
    agent_id.ok_or(missing("activity_end.agent_id", 1))
}
