//! How is the kind of an experience written, with its fields?
//!
//! One byte says the kind, tagged fields follow; their numbers are the kind's own. So a reader that
//! wants the kind alone reads one byte. Called by `body`.

use super::{
    DecodeError, UnknownFields,
    fields::{Field, FieldWriter, Fields, missing},
};
use crate::model::{ExperienceKind, ExperienceType, Severity};

/// Appends kind byte and fields.
pub fn encode_experience_type(value: &ExperienceType, unknown: &UnknownFields, out: &mut Vec<u8>) {
    out.push(value.kind() as u8);
    let mut writer = FieldWriter::new(out);
    match value {
        ExperienceType::Difficulty {
            description,
            severity,
        } => {
            writer.bytes(1, description.as_bytes());
            writer.u8(2, severity_code(*severity));
        }
        ExperienceType::Solution {
            problem_ref,
            approach,
            worked,
        } => {
            writer.optional(1, problem_ref.as_ref().map(String::as_bytes));
            writer.bytes(2, approach.as_bytes());
            writer.flag(3, *worked);
        }
        ExperienceType::ErrorPattern {
            signature,
            fix,
            prevention,
        } => {
            writer.bytes(1, signature.as_bytes());
            writer.bytes(2, fix.as_bytes());
            writer.bytes(3, prevention.as_bytes());
        }
        ExperienceType::SuccessPattern {
            task_type,
            approach,
            quality,
        } => {
            writer.bytes(1, task_type.as_bytes());
            writer.bytes(2, approach.as_bytes());
            writer.f32(3, *quality);
        }
        ExperienceType::UserPreference {
            category,
            preference,
            strength,
        } => {
            writer.bytes(1, category.as_bytes());
            writer.bytes(2, preference.as_bytes());
            writer.f32(3, *strength);
        }
        ExperienceType::ArchitecturalDecision {
            decision,
            rationale,
        } => {
            writer.bytes(1, decision.as_bytes());
            writer.bytes(2, rationale.as_bytes());
        }
        ExperienceType::TechInsight {
            technology,
            insight,
        } => {
            writer.bytes(1, technology.as_bytes());
            writer.bytes(2, insight.as_bytes());
        }
        ExperienceType::Fact { statement, source } => {
            writer.bytes(1, statement.as_bytes());
            writer.bytes(2, source.as_bytes());
        }
        ExperienceType::Generic { category } => {
            writer.optional(1, category.as_ref().map(String::as_bytes));
        }
    }
    writer.unknown(unknown);
}

/// Reads the kind alone from a field that holds a type.
pub fn decode_kind(field: &Field<'_>) -> Result<ExperienceKind, DecodeError> {
    field
        .bytes
        .first()
        .and_then(|code| experience_kind(*code))
        .ok_or_else(|| field.wrong("experience_type.kind", "no kind has this code"))
}

/// Reads a field that holds a type; what a newer build stored in it comes second.
pub fn decode_experience_type(
    field: &Field<'_>,
) -> Result<(ExperienceType, UnknownFields), DecodeError> {
    let kind = decode_kind(field)?;
    let bytes = field.bytes.get(1..).unwrap_or_default();
    let parts = Parts::read(kind, bytes)?;
    let value = match kind {
        ExperienceKind::Difficulty => ExperienceType::Difficulty {
            description: parts.text(1, "difficulty.description")?,
            severity: parts.severity(2, "difficulty.severity")?,
        },
        ExperienceKind::Solution => ExperienceType::Solution {
            problem_ref: parts.optional_text(1, "solution.problem_ref")?,
            approach: parts.text(2, "solution.approach")?,
            worked: parts.flag(3, "solution.worked")?,
        },
        ExperienceKind::ErrorPattern => ExperienceType::ErrorPattern {
            signature: parts.text(1, "error_pattern.signature")?,
            fix: parts.text(2, "error_pattern.fix")?,
            prevention: parts.text(3, "error_pattern.prevention")?,
        },
        ExperienceKind::SuccessPattern => ExperienceType::SuccessPattern {
            task_type: parts.text(1, "success_pattern.task_type")?,
            approach: parts.text(2, "success_pattern.approach")?,
            quality: parts.ratio(3, "success_pattern.quality")?,
        },
        ExperienceKind::UserPreference => ExperienceType::UserPreference {
            category: parts.text(1, "user_preference.category")?,
            preference: parts.text(2, "user_preference.preference")?,
            strength: parts.ratio(3, "user_preference.strength")?,
        },
        ExperienceKind::ArchitecturalDecision => ExperienceType::ArchitecturalDecision {
            decision: parts.text(1, "architectural_decision.decision")?,
            rationale: parts.text(2, "architectural_decision.rationale")?,
        },
        ExperienceKind::TechInsight => ExperienceType::TechInsight {
            technology: parts.text(1, "tech_insight.technology")?,
            insight: parts.text(2, "tech_insight.insight")?,
        },
        ExperienceKind::Fact => ExperienceType::Fact {
            statement: parts.text(1, "fact.statement")?,
            source: parts.text(2, "fact.source")?,
        },
        ExperienceKind::Generic => ExperienceType::Generic {
            category: parts.optional_text(1, "generic.category")?,
        },
    };
    Ok((value, UnknownFields::keep(parts.unknown)))
}

/// The fields of a type by number; no kind has more than three.
struct Parts<'a> {
    known: [Option<Field<'a>>; 3],
    unknown: &'a [u8],
}

impl<'a> Parts<'a> {
    fn read(kind: ExperienceKind, bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut parts = Self {
            known: [None; 3],
            unknown: &[],
        };
        let mut fields = Fields::new(bytes);
        while let Some(field) = fields.next_field()? {
            if field.tag > field_count(kind) {
                parts.unknown = fields.keep_from(&field, bytes)?;
                break;
            }
            let index = usize::from(field.tag.saturating_sub(1));
            if let Some(slot) = parts.known.get_mut(index) {
                *slot = Some(field);
            }
        }
        Ok(parts)
    }

    fn find(&self, tag: u8) -> Option<Field<'a>> {
        let index = usize::from(tag.saturating_sub(1));
        self.known.get(index).copied().flatten()
    }

    fn need(&self, tag: u8, name: &'static str) -> Result<Field<'a>, DecodeError> {
        self.find(tag).ok_or(missing(name, tag))
    }

    fn text(&self, tag: u8, name: &'static str) -> Result<String, DecodeError> {
        self.need(tag, name)?.text(name).map(str::to_owned)
    }

    fn optional_text(&self, tag: u8, name: &'static str) -> Result<Option<String>, DecodeError> {
        let Some(field) = self.find(tag) else {
            return Ok(None);
        };
        field.text(name).map(|text| Some(text.to_owned()))
    }

    fn flag(&self, tag: u8, name: &'static str) -> Result<bool, DecodeError> {
        self.find(tag).map_or(Ok(false), |field| field.flag(name))
    }

    fn ratio(&self, tag: u8, name: &'static str) -> Result<f32, DecodeError> {
        self.need(tag, name)?.ratio(name, 1.0)
    }

    fn severity(&self, tag: u8, name: &'static str) -> Result<Severity, DecodeError> {
        let field = self.need(tag, name)?;
        Ok(match field.u8(name)? {
            1 => Severity::Low,
            2 => Severity::Medium,
            3 => Severity::High,
            4 => Severity::Critical,
            _ => return Err(field.wrong(name, "no severity has this code")),
        })
    }
}

/// How many fields this build knows of a kind.
const fn field_count(kind: ExperienceKind) -> u8 {
    match kind {
        ExperienceKind::Generic => 1,
        ExperienceKind::Difficulty
        | ExperienceKind::ArchitecturalDecision
        | ExperienceKind::TechInsight
        | ExperienceKind::Fact => 2,
        ExperienceKind::Solution
        | ExperienceKind::ErrorPattern
        | ExperienceKind::SuccessPattern
        | ExperienceKind::UserPreference => 3,
    }
}

const fn severity_code(severity: Severity) -> u8 {
    match severity {
        Severity::Low => 1,
        Severity::Medium => 2,
        Severity::High => 3,
        Severity::Critical => 4,
    }
}

pub(super) const fn experience_kind(code: u8) -> Option<ExperienceKind> {
    Some(match code {
        1 => ExperienceKind::Difficulty,
        2 => ExperienceKind::Solution,
        3 => ExperienceKind::ErrorPattern,
        4 => ExperienceKind::SuccessPattern,
        5 => ExperienceKind::UserPreference,
        6 => ExperienceKind::ArchitecturalDecision,
        7 => ExperienceKind::TechInsight,
        8 => ExperienceKind::Fact,
        9 => ExperienceKind::Generic,
        _ => return None,
    })
}
