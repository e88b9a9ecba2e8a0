//! What does a change make of the values and traits of an experience?
//!
//! Pure. The committer decides with these functions, and a transaction shows with them what the
//! committer will have decided.

use std::collections::BTreeMap;

use crate::{
    error::{PulseDBError, Result},
    format::Traits,
    model::{ExperienceId, ExperienceUpdate, Timestamp, limits},
    state::Values,
};

/// Counts one application at `now`.
pub const fn reinforce(values: &mut Values, now: Timestamp) {
    values.applications = values.applications.saturating_add(1);
    values.last_reinforced = now;
}

/// Whether an update names vitals.
pub const fn names_vitals(update: &ExperienceUpdate) -> bool {
    update.importance.is_some() || update.confidence.is_some()
}

/// Whether an update names traits.
pub const fn names_traits(update: &ExperienceUpdate) -> bool {
    update.domain.is_some()
        || update.tags.is_some()
        || update.related_files.is_some()
        || update.expires_at.is_some()
        || update.valid_from.is_some()
        || update.valid_to.is_some()
        || update.pinned.is_some()
}

/// Takes the vitals that an update names.
pub fn update_values(values: &mut Values, update: &ExperienceUpdate) {
    values.importance = update.importance.unwrap_or(values.importance);
    values.confidence = update.confidence.unwrap_or(values.confidence);
}

/// Takes the traits that an update names.
///
/// # Errors
/// `Validation` where the validity would end before it begins.
pub fn update_traits(traits: &mut Traits, update: &ExperienceUpdate) -> Result<()> {
    if let Some(domain) = &update.domain {
        traits.domain.clone_from(domain);
    }
    if let Some(tags) = &update.tags {
        traits.tags.clone_from(tags);
    }
    if let Some(files) = &update.related_files {
        traits.related_files.clone_from(files);
    }
    traits.expires_at = update.expires_at.unwrap_or(traits.expires_at);
    traits.valid_from = update.valid_from.unwrap_or(traits.valid_from);
    traits.valid_to = update.valid_to.unwrap_or(traits.valid_to);
    traits.pinned = update.pinned.unwrap_or(traits.pinned);
    if let (Some(from), Some(to)) = (traits.valid_from, traits.valid_to)
        && from >= to
    {
        return Err(PulseDBError::validation(
            "valid_to",
            to,
            format!("it must be after valid_from ({from})"),
        ));
    }
    Ok(())
}

/// Sets or removes one tag; whether that changes anything.
///
/// # Errors
/// `Validation` where it would be one too many.
pub fn set_tag(traits: &mut Traits, key: String, value: Option<String>) -> Result<bool> {
    let same = traits.tags.get(&key) == value.as_ref();
    match value {
        Some(value) => traits.tags.insert(key, value),
        None => traits.tags.remove(&key),
    };
    check_tag_count(&traits.tags)?;
    Ok(!same)
}

/// Ends the validity of the experience `id` now, unless it has an end; whether that changes anything.
///
/// # Errors
/// `Validation` where it would end before it begins.
pub fn end_validity(traits: &mut Traits, now: Timestamp, id: ExperienceId) -> Result<bool> {
    if traits.valid_to.is_some() {
        return Ok(false);
    }
    if let Some(from) = traits.valid_from
        && from >= now
    {
        return Err(PulseDBError::validation(
            "valid_to",
            now,
            format!(
                "experience {id} is valid from {from} on, and would end before; update it instead"
            ),
        ));
    }
    traits.valid_to = Some(now);
    Ok(true)
}

/// Notes in the values what filters ask of the traits.
pub const fn show_traits(values: &mut Values, traits: &Traits) {
    values.expires_at = traits.expires_at;
    values.pinned = traits.pinned;
    values.bounded = traits.is_bounded();
}

fn check_tag_count(tags: &BTreeMap<String, String>) -> Result<()> {
    if tags.len() > limits::MAX_TAGS {
        return Err(PulseDBError::validation(
            "tags",
            format!("{} entries", tags.len()),
            format!("there may be {}", limits::MAX_TAGS),
        ));
    }
    Ok(())
}
