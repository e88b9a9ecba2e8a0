//! Which events does a subscriber want?

use crate::model::{EntityKind, EventType, WatchEvent, WatchFilter};

/// What a subscriber wants to hear.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Things of these kinds; all where empty.
    pub entities: Vec<EntityKind>,
    /// Which changes of theirs.
    pub filter: WatchFilter,
    /// Whether a gap is followed by all that is there.
    pub state_after_gap: bool,
    /// Whether the deletion of the collective is told whatever else is wanted.
    pub end: bool,
}

impl Wanted {
    /// Whether the subscriber wants to hear of it.
    pub fn wants(&self, event: &WatchEvent) -> bool {
        let kind = event.entity.kind();
        let is_end = kind == EntityKind::Collective && event.event_type == EventType::Deleted;
        if self.end && is_end {
            return true;
        }
        (self.entities.is_empty() || self.entities.contains(&kind)) && passes(&self.filter, event)
    }
}

fn passes(filter: &WatchFilter, event: &WatchEvent) -> bool {
    if !filter.event_types.is_empty() && !filter.event_types.contains(&event.event_type) {
        return false;
    }
    // What is gone has no fields left to ask. Whoever watched it hears of it rather than not.
    let Some(experience) = &event.experience else {
        return true;
    };
    let domains = &filter.domains;
    (domains.is_empty() || experience.domain.iter().any(|d| domains.contains(d)))
        && filter
            .tags_all
            .iter()
            .all(|(key, value)| experience.tags.get(key) == Some(value))
        && (filter.experience_types.is_empty()
            || filter
                .experience_types
                .contains(&experience.experience_type.kind()))
        && filter
            .min_importance
            .is_none_or(|min| experience.importance >= min)
}
