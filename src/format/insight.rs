//! What does an insight say beside what an experience says?
//!
//! An insight is written as a body (vector, content, confidence, domain), so that everything that
//! searches experiences searches insights, with one more field: how it was derived, and from what.

use super::{DecodeError, fields::Field};
use crate::model::{ExperienceId, InsightType};

/// How an insight was derived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derivation {
    /// In which way.
    pub insight_type: InsightType,
    /// From which experiences.
    pub sources: Vec<ExperienceId>,
}

impl Derivation {
    /// Appends the field's value: the code of the type, then the ids.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.insight_type as u8);
        for source in &self.sources {
            out.extend_from_slice(&source.as_u128().to_be_bytes());
        }
    }

    /// Reads the field's value.
    pub(super) fn decode(field: &Field<'_>) -> Result<Self, DecodeError> {
        const NAME: &str = "insight.derivation";
        let cut = || field.wrong(NAME, "it is cut off");
        let (code, ids) = field.bytes.split_first().ok_or_else(cut)?;
        let insight_type =
            insight_type_of(*code).ok_or_else(|| field.wrong(NAME, "no insight has this type"))?;
        let (ids, rest) = ids.as_chunks::<16>();
        if !rest.is_empty() {
            return Err(cut());
        }
        let id = |bytes: &[u8; 16]| ExperienceId::from_u128(u128::from_be_bytes(*bytes));
        Ok(Self {
            insight_type,
            sources: ids.iter().map(id).collect(),
        })
    }
}

const fn insight_type_of(code: u8) -> Option<InsightType> {
    Some(match code {
        1 => InsightType::Pattern,
        2 => InsightType::Synthesis,
        3 => InsightType::Abstraction,
        4 => InsightType::Correlation,
        _ => return None,
    })
}
