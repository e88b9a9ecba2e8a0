//! What is an agent doing now?

use serde::{Deserialize, Serialize};

use super::{AgentId, CollectiveId, TaskId, Timestamp};

/// What an agent is doing now; one per (collective, agent), kept alive by heartbeats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Activity {
    /// The agent.
    pub agent_id: AgentId,
    /// Where it works.
    pub collective_id: CollectiveId,
    /// At what, at most 1 KiB.
    pub current_task: Option<TaskId>,
    /// In which context, at most 1 KiB.
    pub context_summary: Option<String>,
    /// Since when.
    pub started_at: Timestamp,
    /// Its last sign of life.
    pub last_heartbeat: Timestamp,
}

/// An activity to be registered; it replaces the agent's previous one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewActivity {
    /// The agent.
    pub agent_id: AgentId,
    /// Where it works.
    pub collective_id: CollectiveId,
    /// At what, at most 1 KiB.
    pub current_task: Option<TaskId>,
    /// In which context, at most 1 KiB.
    pub context_summary: Option<String>,
}
