//! Which requests are refused before anything happens?
//!
//! Pure checks of every limit of [`crate::model::limits`]. Each error names the field, the value and
//! the limit.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    error::{PulseDBError, Result},
    model::{
        DecayConfig, DuplicatePolicy, Experience, ExperienceRelation, ExperienceType,
        ExperienceUpdate, NewActivity, NewExperience, NewInsight, NewRelation, RecallWeights,
        RecordOptions, Timestamp,
        limits::{
            MAX_ACTIVITY_TEXT_BYTES, MAX_AGENT_CHARS, MAX_APPLICATION_INSTANCES,
            MAX_COLLECTIVE_NAME_CHARS, MAX_CONTENT_BYTES, MAX_DIMENSION, MAX_DOMAIN_CHARS,
            MAX_DOMAINS, MAX_EXPERIENCE_TYPE_BYTES, MAX_IDEMPOTENCY_KEY_BYTES,
            MAX_INSIGHT_CONTENT_BYTES, MAX_INSIGHT_SOURCES, MAX_NAME_CHARS, MAX_RELATED_FILE_CHARS,
            MAX_RELATED_FILES, MAX_RELATION_METADATA_BYTES, MAX_TAG_KEY_CHARS, MAX_TAG_VALUE_CHARS,
            MAX_TAGS,
        },
    },
    simd::squared_norm,
};

/// All of an experience but its vector.
pub fn experience(new: &NewExperience) -> Result<()> {
    content("content", &new.content, MAX_CONTENT_BYTES)?;
    chars(
        "source_agent",
        new.source_agent.as_str(),
        1,
        MAX_AGENT_CHARS,
    )?;
    if let Some(task) = &new.source_task {
        chars("source_task", task.as_str(), 1, MAX_NAME_CHARS)?;
    }
    experience_type(&new.experience_type)?;
    unit("importance", new.importance)?;
    unit("confidence", new.confidence)?;
    domains(&new.domain)?;
    tags(&new.tags)?;
    related_files(&new.related_files)?;
    validity(new.valid_from, new.valid_to)?;
    if let Some(key) = &new.idempotency_key
        && (key.is_empty() || key.len() > MAX_IDEMPOTENCY_KEY_BYTES)
    {
        return Err(PulseDBError::validation(
            "idempotency_key",
            format!("{} bytes", key.len()),
            format!("it must have 1–{MAX_IDEMPOTENCY_KEY_BYTES} bytes"),
        ));
    }
    Ok(())
}

/// All of an insight but its vector.
pub fn insight(new: &NewInsight) -> Result<()> {
    imported_insight(new)?;
    if new.source_experience_ids.is_empty() {
        return Err(PulseDBError::validation(
            "source_experience_ids",
            "none",
            format!("there must be 1–{MAX_INSIGHT_SOURCES}"),
        ));
    }
    Ok(())
}

/// The same of one from elsewhere, whose sources may all be gone.
pub fn imported_insight(new: &NewInsight) -> Result<()> {
    content("content", &new.content, MAX_INSIGHT_CONTENT_BYTES)?;
    unit("confidence", new.confidence)?;
    domains(&new.domain)?;
    let sources = &new.source_experience_ids;
    count("source_experience_ids", sources.len(), MAX_INSIGHT_SOURCES)?;
    let mut seen = BTreeSet::new();
    match sources.iter().find(|source| !seen.insert(**source)) {
        Some(twice) => Err(PulseDBError::validation(
            "source_experience_ids",
            twice,
            "each may be named once",
        )),
        None => Ok(()),
    }
}

/// A relation, as far as it can be told without its ends.
pub fn relation(new: &NewRelation) -> Result<()> {
    if new.source_id == new.target_id {
        return Err(PulseDBError::validation(
            "target_id",
            new.target_id,
            "it must not be the source",
        ));
    }
    unit("strength", new.strength)?;
    let Some(metadata) = &new.metadata else {
        return Ok(());
    };
    if metadata.len() > MAX_RELATION_METADATA_BYTES {
        return Err(PulseDBError::validation(
            "metadata",
            format!("{} bytes", metadata.len()),
            format!("it may have {MAX_RELATION_METADATA_BYTES} bytes"),
        ));
    }
    serde_json::from_str::<serde::de::IgnoredAny>(metadata)
        .map(|_| ())
        .map_err(|error| PulseDBError::validation("metadata", error, "it must be valid JSON"))
}

/// What an experience from elsewhere has and a new one has not.
pub fn imported(experience: &Experience) -> Result<()> {
    if experience.id.as_u128() == 0 {
        return Err(PulseDBError::validation(
            "id",
            experience.id,
            "it must name an experience",
        ));
    }
    count(
        "applications",
        experience.applications.len(),
        MAX_APPLICATION_INSTANCES,
    )
}

/// What is asked of duplicates.
pub fn record_options(options: &RecordOptions) -> Result<()> {
    if let Some(threshold) = options.similarity_threshold
        && !(threshold > 0.0 && threshold <= 1.0)
    {
        return Err(PulseDBError::validation(
            "options.similarity_threshold",
            threshold,
            "it must be in (0, 1]",
        ));
    }
    if options.duplicates != DuplicatePolicy::Insert
        && !options.same_content
        && options.similarity_threshold.is_none()
    {
        return Err(PulseDBError::validation(
            "options.duplicates",
            format!("{:?}", options.duplicates),
            "it needs same_content or a similarity_threshold, which say what a duplicate is",
        ));
    }
    Ok(())
}

/// A relation from elsewhere, as far as it can be told without its ends.
pub fn imported_relation(relation: &ExperienceRelation) -> Result<()> {
    self::relation(&NewRelation {
        source_id: relation.source_id,
        target_id: relation.target_id,
        relation_type: relation.relation_type,
        strength: relation.strength,
        metadata: relation.metadata.clone(),
    })
}

/// The fields that an update names.
pub fn update(update: &ExperienceUpdate) -> Result<()> {
    if let Some(importance) = update.importance {
        unit("importance", importance)?;
    }
    if let Some(confidence) = update.confidence {
        unit("confidence", confidence)?;
    }
    if let Some(domain) = &update.domain {
        domains(domain)?;
    }
    if let Some(all) = &update.tags {
        tags(all)?;
    }
    if let Some(files) = &update.related_files {
        related_files(files)?;
    }
    validity(update.valid_from.flatten(), update.valid_to.flatten())
}

/// Bytes of the texts that an update brings.
pub fn update_bytes(update: &ExperienceUpdate) -> usize {
    let domains = update.domain.iter().flatten().map(String::len);
    let files = update.related_files.iter().flatten().map(String::len);
    let tags = update
        .tags
        .iter()
        .flatten()
        .map(|(key, value)| key.len() + value.len());
    domains.chain(files).chain(tags).sum()
}

/// A vector for a collective of `dimension`: right length, finite, not zero.
pub fn vector(field: &str, vector: &[f32], dimension: usize) -> Result<()> {
    if vector.len() != dimension {
        return Err(PulseDBError::validation(
            field,
            format!("a vector of {} components", vector.len()),
            format!("the collective's embeddings have {dimension}"),
        ));
    }
    if let Some((place, value)) = vector.iter().enumerate().find(|(_, v)| !v.is_finite()) {
        return Err(PulseDBError::validation(
            format!("{field}[{place}]"),
            value,
            "every component must be finite",
        ));
    }
    let norm = squared_norm(vector);
    if norm == 0.0 || !norm.is_finite() {
        return Err(PulseDBError::validation(
            field,
            format!("a vector of squared length {norm}"),
            "its length must be positive and finite, since similarity is a matter of direction",
        ));
    }
    Ok(())
}

/// Name, owner and dimension of a collective.
pub fn collective(name: &str, owner: Option<&str>, dimension: usize) -> Result<()> {
    chars("name", name, 1, MAX_COLLECTIVE_NAME_CHARS)?;
    if let Some(owner) = owner {
        chars("owner_id", owner, 1, MAX_NAME_CHARS)?;
    }
    if dimension == 0 || dimension > MAX_DIMENSION {
        return Err(PulseDBError::validation(
            "embedding_dimension",
            dimension,
            format!("it must be in 1..={MAX_DIMENSION}"),
        ));
    }
    Ok(())
}

/// A decay configuration.
pub fn decay(decay: &DecayConfig) -> Result<()> {
    if decay.half_life_ms == 0 {
        return Err(PulseDBError::validation(
            "decay.half_life_ms",
            0,
            "it must be at least 1",
        ));
    }
    if !(0.0..=100.0).contains(&decay.freq_weight) {
        return Err(PulseDBError::validation(
            "decay.freq_weight",
            decay.freq_weight,
            "it must be in [0, 100]",
        ));
    }
    unit("decay.floor", decay.floor)?;
    if let Some(weights) = &decay.default_recall_weights {
        recall_weights("decay.default_recall_weights", weights)?;
    }
    Ok(())
}

/// Weights of a ranking.
pub fn recall_weights(field: &str, weights: &RecallWeights) -> Result<()> {
    for (part, value) in [
        ("similarity", weights.similarity),
        ("energy", weights.energy),
    ] {
        if !value.is_finite() || value < 0.0 {
            return Err(PulseDBError::validation(
                format!("{field}.{part}"),
                value,
                "it must be finite and at least 0",
            ));
        }
    }
    Ok(())
}

/// What an agent says it does.
pub fn activity(new: &NewActivity) -> Result<()> {
    chars("agent_id", new.agent_id.as_str(), 1, MAX_AGENT_CHARS)?;
    let task = new.current_task.as_ref().map(|task| task.as_str());
    let texts = [
        ("current_task", task),
        ("context_summary", new.context_summary.as_deref()),
    ];
    for (field, text) in texts {
        let bytes = text.map_or(0, str::len);
        if bytes > MAX_ACTIVITY_TEXT_BYTES {
            return Err(PulseDBError::validation(
                field,
                format!("{bytes} bytes"),
                format!("it may have {MAX_ACTIVITY_TEXT_BYTES} bytes"),
            ));
        }
    }
    Ok(())
}

/// One tag.
pub fn tag(key: &str, value: &str) -> Result<()> {
    chars("tags.key", key, 1, MAX_TAG_KEY_CHARS)?;
    chars("tags.value", value, 0, MAX_TAG_VALUE_CHARS)
}

/// All tags of an experience.
pub fn tags(tags: &BTreeMap<String, String>) -> Result<()> {
    count("tags", tags.len(), MAX_TAGS)?;
    tags.iter().try_for_each(|(key, value)| tag(key, value))
}

fn domains(domains: &[String]) -> Result<()> {
    count("domain", domains.len(), MAX_DOMAINS)?;
    domains
        .iter()
        .try_for_each(|domain| chars("domain", domain, 1, MAX_DOMAIN_CHARS))
}

fn related_files(files: &[String]) -> Result<()> {
    count("related_files", files.len(), MAX_RELATED_FILES)?;
    files
        .iter()
        .try_for_each(|file| chars("related_files", file, 1, MAX_RELATED_FILE_CHARS))
}

fn validity(from: Option<Timestamp>, to: Option<Timestamp>) -> Result<()> {
    match (from, to) {
        (Some(from), Some(to)) if from >= to => Err(PulseDBError::validation(
            "valid_to",
            to,
            format!("it must be after valid_from ({from})"),
        )),
        _ => Ok(()),
    }
}

fn experience_type(kind: &ExperienceType) -> Result<()> {
    let texts: [&str; 3] = match kind {
        ExperienceType::Difficulty { description, .. } => [description, "", ""],
        ExperienceType::Solution {
            problem_ref,
            approach,
            ..
        } => [problem_ref.as_deref().unwrap_or_default(), approach, ""],
        ExperienceType::ErrorPattern {
            signature,
            fix,
            prevention,
        } => [signature, fix, prevention],
        ExperienceType::SuccessPattern {
            task_type,
            approach,
            quality,
        } => {
            unit("experience_type.quality", *quality)?;
            [task_type, approach, ""]
        }
        ExperienceType::UserPreference {
            category,
            preference,
            strength,
        } => {
            unit("experience_type.strength", *strength)?;
            [category, preference, ""]
        }
        ExperienceType::ArchitecturalDecision {
            decision,
            rationale,
        } => [decision, rationale, ""],
        ExperienceType::TechInsight {
            technology,
            insight,
        } => [technology, insight, ""],
        ExperienceType::Fact { statement, source } => [statement, source, ""],
        ExperienceType::Generic { category } => [category.as_deref().unwrap_or_default(), "", ""],
    };
    let bytes: usize = texts.iter().map(|text| text.len()).sum();
    if bytes > MAX_EXPERIENCE_TYPE_BYTES {
        return Err(PulseDBError::validation(
            "experience_type",
            format!("{bytes} bytes of text"),
            format!("its texts may have {MAX_EXPERIENCE_TYPE_BYTES} bytes together"),
        ));
    }
    Ok(())
}

fn content(field: &str, text: &str, max_bytes: usize) -> Result<()> {
    if text.len() > max_bytes {
        return Err(PulseDBError::validation(
            field,
            format!("{} bytes", text.len()),
            format!("it may have {max_bytes} bytes"),
        ));
    }
    if text.trim().is_empty() {
        return Err(PulseDBError::validation(
            field,
            format!("{:?}", text.chars().take(20).collect::<String>()),
            "it must hold something other than white space",
        ));
    }
    Ok(())
}

fn unit(field: &str, value: f32) -> Result<()> {
    if (0.0..=1.0).contains(&value) {
        Ok(())
    } else {
        Err(PulseDBError::validation(
            field,
            value,
            "it must be in [0, 1]",
        ))
    }
}

fn count(field: &str, value: usize, max: usize) -> Result<()> {
    if value <= max {
        Ok(())
    } else {
        Err(PulseDBError::validation(
            field,
            format!("{value} entries"),
            format!("there may be {max}"),
        ))
    }
}

fn chars(field: &str, text: &str, min: usize, max: usize) -> Result<()> {
    // A character takes at most four bytes, so most texts need no counting.
    let fits = text.len() >= min && (text.len() <= max || text.chars().count() <= max);
    if fits {
        Ok(())
    } else {
        Err(PulseDBError::validation(
            field,
            format!("{} characters", text.chars().count()),
            format!("it must have {min}–{max}"),
        ))
    }
}
