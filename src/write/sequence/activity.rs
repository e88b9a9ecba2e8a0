//! What becomes of a request about what an agent does?

use super::Step;
use crate::{
    error::{PulseDBError, Result},
    format::{ActivityRecord, FrameHeader, RecordKind, UnknownFields, encode_activity_end},
    model::{AgentId, CollectiveId, EntityKind},
    state::{Live, Mutation, RowRef},
    sync::Arc,
    write::request::{ActivityChange, Reply},
};

impl Step<'_> {
    /// Decides what an agent of the collective does from now on.
    pub(super) fn activity(
        &mut self,
        collective: CollectiveId,
        agent: AgentId,
        change: ActivityChange,
    ) -> Result<Reply> {
        let (number, _) = self.collective(collective)?;
        let now = self.sequencer.last_time;
        let record = match change {
            ActivityChange::Register {
                current_task,
                context_summary,
            } => ActivityRecord {
                agent_id: agent.as_str().to_owned(),
                current_task,
                context_summary,
                started_at: now,
                last_heartbeat: now,
                unknown: UnknownFields::default(),
            },
            ActivityChange::Beat { unless_since } => {
                let known = self.living(number, &agent)?;
                // Another beat may have been logged since this one was found to be due.
                if known.record().last_heartbeat > unless_since {
                    known.beat(now);
                    return Ok(Reply::Done);
                }
                ActivityRecord {
                    last_heartbeat: known.last_beat().max(now),
                    ..known.record().clone()
                }
            }
            ActivityChange::End => {
                self.living(number, &agent)?;
                let mut payload = Vec::new();
                encode_activity_end(agent.as_str(), &mut payload);
                let header = self.activity_header(RecordKind::ActivityEnded, number);
                let mutation = Mutation::Activity {
                    collective: number,
                    agent: agent.as_str().into(),
                    activity: None,
                };
                self.push_encoded(header, payload, mutation, None);
                return Ok(Reply::Done);
            }
        };
        let mut payload = Vec::new();
        record.encode(&mut payload);
        let header = self.activity_header(RecordKind::Activity, number);
        let mutation = Mutation::Activity {
            collective: number,
            agent: agent.as_str().into(),
            activity: Some(Arc::new(Live::new(record))),
        };
        self.push_encoded(header, payload, mutation, None);
        Ok(Reply::Done)
    }

    fn living(&self, number: u32, agent: &AgentId) -> Result<Arc<Live>> {
        self.pending
            .activity(number, agent.as_str(), self.applier)
            .ok_or_else(|| PulseDBError::not_found(EntityKind::Activity, agent))
    }

    /// Such a record is about no entity that has an id.
    fn activity_header(&self, kind: RecordKind, collective: u32) -> FrameHeader {
        self.header(kind, RowRef { collective, row: 0 }, 0)
    }
}
