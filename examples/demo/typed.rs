//! What kind of experience is a passage? Judged by its words; an agent would know better.

use std::collections::BTreeMap;

use pulsedb::{CollectiveId, ExperienceType, NewExperience, Severity};

use crate::{
    passage::{Kind, Passage},
    terminal::clipped,
};

/// Long enough for a sentence, far below every limit of the store.
const SUMMARY: usize = 160;

pub(crate) fn experience(collective: CollectiveId, passage: &Passage) -> NewExperience {
    let (experience_type, importance) = judged(passage);
    let mut tags = BTreeMap::new();
    let mut tag = |key: &str, value: &str| {
        if !value.is_empty() {
            tags.insert(key.to_owned(), clipped(value, SUMMARY));
        }
    };
    tag("source", passage.kind.name());
    tag("origin", &passage.origin);
    tag("revision", &passage.revision);
    tag("heading", &passage.heading);
    NewExperience {
        experience_type,
        importance,
        confidence: if passage.kind == Kind::Commit {
            0.7
        } else {
            0.9
        },
        domain: vec![passage.kind.name().to_owned(), clipped(&passage.origin, 90)],
        tags,
        related_files: [&passage.file]
            .into_iter()
            .filter(|file| !file.is_empty() && file.len() <= 500)
            .cloned()
            .collect(),
        ..NewExperience::new(
            collective,
            format!("{}-reader", passage.kind.name()),
            content(passage),
        )
    }
}

/// The text behind the name of what it is about, which it often leaves unsaid.
fn content(passage: &Passage) -> String {
    match passage.kind {
        Kind::Commit => passage.text.clone(),
        _ => format!("{}: {}", about(passage), passage.text),
    }
}

pub(crate) fn about(passage: &Passage) -> String {
    let heading = clipped(&passage.heading, 60);
    if heading.is_empty() || heading == passage.origin {
        return passage.origin.clone();
    }
    format!("{}, {heading}", passage.origin)
}

fn judged(passage: &Passage) -> (ExperienceType, f32) {
    let text = passage.text.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let summary = clipped(&passage.text, SUMMARY);
    let source = format!("{} {}", passage.origin, passage.revision);
    match passage.kind {
        Kind::Commit if says(&["fix", "panic", "error", "crash", "regress", "leak"]) => (
            ExperienceType::ErrorPattern {
                signature: clipped(&passage.heading, SUMMARY),
                fix: summary,
                prevention: String::new(),
            },
            0.8,
        ),
        Kind::Commit if says(&["because", "instead of", "so that", "rather than"]) => (
            ExperienceType::ArchitecturalDecision {
                decision: clipped(&passage.heading, SUMMARY),
                rationale: summary,
            },
            0.7,
        ),
        Kind::Commit => (success("change", summary), 0.4),
        Kind::Changelog if says(&["fix", "panic", "bug", "unsound", "overflow"]) => (
            ExperienceType::Solution {
                problem_ref: Some(source),
                approach: summary,
                worked: true,
            },
            0.7,
        ),
        Kind::Changelog if says(&["breaking", "remove", "deprecat", "no longer", "msrv"]) => (
            ExperienceType::ArchitecturalDecision {
                decision: summary,
                rationale: source,
            },
            0.6,
        ),
        Kind::Changelog => (success("release", summary), 0.4),
        Kind::Documentation if says(&["undefined behavior", "data race", "deadlock"]) => (
            ExperienceType::Difficulty {
                description: summary,
                severity: Severity::High,
            },
            0.9,
        ),
        Kind::Documentation
            if says(&["panics if", "will panic", "must not", "returns an error"]) =>
        {
            (
                ExperienceType::Difficulty {
                    description: summary,
                    severity: Severity::Medium,
                },
                0.7,
            )
        }
        Kind::Documentation => (
            ExperienceType::TechInsight {
                technology: passage.origin.clone(),
                insight: summary,
            },
            0.6,
        ),
        Kind::Readme => (
            ExperienceType::Fact {
                statement: summary,
                source,
            },
            0.6,
        ),
    }
}

fn success(task_type: &str, approach: String) -> ExperienceType {
    ExperienceType::SuccessPattern {
        task_type: task_type.to_owned(),
        approach,
        quality: 0.8,
    }
}
