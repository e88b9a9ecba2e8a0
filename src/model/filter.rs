//! Which experiences does a search consider?

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{AgentId, ExperienceKind, Timestamp};

/// Which experiences a search or listing considers. Empty lists and `None` do not restrict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchFilter {
    /// At least one of these domains.
    pub domains: Vec<String>,
    /// All of these tags, with these values.
    pub tags_all: BTreeMap<String, String>,
    /// One of these kinds.
    pub experience_types: Vec<ExperienceKind>,
    /// At least this important, in [0, 1].
    pub min_importance: Option<f32>,
    /// At least this sure, in [0, 1].
    pub min_confidence: Option<f32>,
    /// Recorded at or after.
    pub since: Option<Timestamp>,
    /// Recorded before.
    pub until: Option<Timestamp>,
    /// Recorded by one of these agents.
    pub source_agents: Vec<AgentId>,
    /// Only what holds at this moment: not before `valid_from`, and before `valid_to`. What says nothing of
    /// that holds always.
    pub as_of: Option<Timestamp>,
    /// Leave out what is archived (the default).
    pub exclude_archived: bool,
}

impl Default for SearchFilter {
    fn default() -> Self {
        Self {
            domains: Vec::new(),
            tags_all: BTreeMap::new(),
            experience_types: Vec::new(),
            min_importance: None,
            min_confidence: None,
            since: None,
            until: None,
            source_agents: Vec::new(),
            as_of: None,
            exclude_archived: true,
        }
    }
}
