//! Which kinds of knowledge are told apart?

use serde::{Deserialize, Serialize};

/// What kind of knowledge an experience is, with the fields of its kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ExperienceType {
    /// Something that stood in the way.
    Difficulty {
        /// What happened.
        description: String,
        /// How bad it is.
        severity: Severity,
    },
    /// A way out.
    Solution {
        /// Which problem, as the application names it.
        problem_ref: Option<String>,
        /// What was done.
        approach: String,
        /// Whether it helped.
        worked: bool,
    },
    /// An error that recurs.
    ErrorPattern {
        /// How to recognise it.
        signature: String,
        /// What mends it.
        fix: String,
        /// What avoids it.
        prevention: String,
    },
    /// Something that went well.
    SuccessPattern {
        /// For which tasks.
        task_type: String,
        /// What was done.
        approach: String,
        /// How well, in [0, 1].
        quality: f32,
    },
    /// What a user wants.
    UserPreference {
        /// About what.
        category: String,
        /// The wish.
        preference: String,
        /// How strong, in [0, 1].
        strength: f32,
    },
    /// A decision about structure.
    ArchitecturalDecision {
        /// What was decided.
        decision: String,
        /// Why.
        rationale: String,
    },
    /// Something about a technology.
    TechInsight {
        /// Which one.
        technology: String,
        /// What about it.
        insight: String,
    },
    /// A statement with its source.
    Fact {
        /// What is so.
        statement: String,
        /// Who says so.
        source: String,
    },
    /// Anything else.
    Generic {
        /// A category of the application's own.
        category: Option<String>,
    },
}

/// How bad a difficulty is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// A nuisance.
    Low,
    /// Costs time.
    Medium,
    /// Blocks a task.
    High,
    /// Blocks everything.
    Critical,
}

/// An [`ExperienceType`] without its fields; what filters and columns speak of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum ExperienceKind {
    /// See [`ExperienceType::Difficulty`].
    Difficulty = 1,
    /// See [`ExperienceType::Solution`].
    Solution = 2,
    /// See [`ExperienceType::ErrorPattern`].
    ErrorPattern = 3,
    /// See [`ExperienceType::SuccessPattern`].
    SuccessPattern = 4,
    /// See [`ExperienceType::UserPreference`].
    UserPreference = 5,
    /// See [`ExperienceType::ArchitecturalDecision`].
    ArchitecturalDecision = 6,
    /// See [`ExperienceType::TechInsight`].
    TechInsight = 7,
    /// See [`ExperienceType::Fact`].
    Fact = 8,
    /// See [`ExperienceType::Generic`].
    Generic = 9,
}

impl ExperienceType {
    /// The kind, without the fields.
    #[must_use]
    pub const fn kind(&self) -> ExperienceKind {
        match self {
            Self::Difficulty { .. } => ExperienceKind::Difficulty,
            Self::Solution { .. } => ExperienceKind::Solution,
            Self::ErrorPattern { .. } => ExperienceKind::ErrorPattern,
            Self::SuccessPattern { .. } => ExperienceKind::SuccessPattern,
            Self::UserPreference { .. } => ExperienceKind::UserPreference,
            Self::ArchitecturalDecision { .. } => ExperienceKind::ArchitecturalDecision,
            Self::TechInsight { .. } => ExperienceKind::TechInsight,
            Self::Fact { .. } => ExperienceKind::Fact,
            Self::Generic { .. } => ExperienceKind::Generic,
        }
    }
}
