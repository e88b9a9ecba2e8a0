//! Which damage did reads meet since the open?
//!
//! Checksums are compared at the first use after an open, so damage may be met long after the
//! recovery has reported what it found. Whoever meets it notes it here, and health lists it. One
//! registry for all sets of segments of an open database ([`super::SegmentSet::note_damage`]).

use std::{collections::BTreeMap, path::PathBuf};

use parking_lot::Mutex;

use crate::error::PulseDBError;

/// Most places that are listed: a medium with more of them is failing as a whole, and the list is to
/// be read by people.
const MAX_LISTED: usize = 1_000;

/// Places of damaged records, and what was found there.
#[derive(Debug, Default)]
pub(crate) struct DamageRegistry(Mutex<BTreeMap<(PathBuf, u64), String>>);

impl DamageRegistry {
    /// Notes the place that `error` names; other errors than damage are nothing to note.
    pub(super) fn note(&self, error: &PulseDBError) {
        let PulseDBError::Corrupted { file, offset, what } = error else {
            return;
        };
        let place = (file.clone(), *offset);
        let mut found = self.0.lock();
        if found.len() < MAX_LISTED && !found.contains_key(&place) {
            tracing::warn!(%error, "a read met damage");
            found.insert(place, what.clone());
        }
    }

    /// (file, offset, what was found), by place.
    pub(crate) fn list(&self) -> Vec<(PathBuf, u64, String)> {
        let found = self.0.lock();
        found
            .iter()
            .map(|((file, offset), what)| (file.clone(), *offset, what.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_listed_once_and_the_list_ends() {
        let registry = DamageRegistry::default();
        registry.note(&PulseDBError::Closed);
        for offset in [64, 0, 64] {
            registry.note(&PulseDBError::corrupted("a", offset, "first"));
        }
        registry.note(&PulseDBError::corrupted("a", 0, "second"));
        let expected = [0, 64].map(|offset| (PathBuf::from("a"), offset, "first".to_owned()));
        assert_eq!(registry.list(), expected);
        for offset in 0..2_000 {
            registry.note(&PulseDBError::corrupted("b", offset, "many"));
        }
        assert_eq!(registry.list().len(), MAX_LISTED);
    }
}
