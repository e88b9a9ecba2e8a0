//! Does a text have what a pattern asks for, and which rows may?
//!
//! The index names rows that may, and lacks none that does; the text decides.

use roaring::RoaringBitmap;

use super::{
    analyser::{Analyser, fold},
    question::{Part, Pattern},
    run::Run,
};
use crate::sync::Arc;

/// Whether the text has it.
#[must_use]
pub fn holds(pattern: &Pattern, analyser: &Analyser, text: &str) -> bool {
    match pattern {
        Pattern::Phrase(parts) => has_phrase(parts, analyser, text),
        Pattern::Prefix(prefix) => {
            let mut found = false;
            analyser.each_form(text, |form| {
                found = found
                    || (fold(form.text).starts_with(&**prefix)
                        && analyser.term(form.text).is_some());
            });
            found
        }
    }
}

fn has_phrase(parts: &[Part], analyser: &Analyser, text: &str) -> bool {
    // How many parts each beginning of the phrase has found so far.
    let (mut open, mut next): (Vec<usize>, Vec<usize>) = Default::default();
    let mut found = false;
    analyser.each_form(text, |form| {
        if form.whole || found {
            return;
        }
        let part = Part::of(analyser, form.text);
        next.clear();
        for matched in open.iter().copied().chain([0]) {
            if parts.get(matched) == Some(&part) {
                found |= matched + 1 == parts.len();
                next.push(matched + 1);
            }
        }
        std::mem::swap(&mut open, &mut next);
    });
    found
}

/// The rows that may have it; `None` where any may. Rows that do not are among them, unless it is `certain`.
#[must_use]
pub fn candidates(pattern: &Pattern, runs: &[Arc<Run>]) -> Option<RoaringBitmap> {
    match pattern {
        Pattern::Phrase(parts) => {
            let terms = parts.iter().filter_map(|part| match part {
                Part::Term(term) => Some(term),
                Part::Stop(_) => None,
            });
            terms
                .map(|term| rows_with(term, runs))
                .reduce(|some, others| some & others)
        }
        Pattern::Prefix(prefix) => {
            let mut rows = RoaringBitmap::new();
            for run in runs {
                let first = run.rows().start;
                run.each_beginning(prefix, |list| {
                    list.each(|posting| {
                        rows.insert(first + posting.row);
                    });
                });
            }
            Some(rows)
        }
    }
}

/// Whether the candidates are those that have it, so that no text need be asked.
#[must_use]
pub fn certain(pattern: &Pattern) -> bool {
    matches!(pattern, Pattern::Phrase(parts) if matches!(parts.as_slice(), [Part::Term(_)]))
}

fn rows_with(term: &str, runs: &[Arc<Run>]) -> RoaringBitmap {
    let mut rows = RoaringBitmap::new();
    for run in runs {
        let first = run.rows().start;
        if let Some(list) = run.list(term) {
            list.each(|posting| {
                rows.insert(first + posting.row);
            });
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::TextLanguage, text::Question};

    fn has(text: &str, pattern: &str) -> bool {
        let analyser = Analyser::new(TextLanguage::English);
        let question = Question::expression(pattern, &analyser);
        holds(&question.constraints[0].pattern, &analyser, text)
    }

    #[test]
    fn phrases_are_words_behind_each_other() {
        assert!(has("It was to be, or not to be.", "\"to be or not\""));
        assert!(has("not not again", "\"not again\""));
        assert!(has("retry_limit is 5", "\"retry limit\""));
        assert!(has("Retrying limits", "+retry_limit"));
        assert!(!has("retry the limit", "\"retry limit\""));
        assert!(!has("limit retry", "\"retry limit\""));
        assert!(!has("", "\"retry limit\""));
    }

    #[test]
    fn prefixes_are_those_of_words_as_they_are_written() {
        assert!(has("CONFIGURATIONS", "configurat*"));
        assert!(has("Élan vital", "elan*"));
        assert!(has("see src/read/fuse.rs", "src/re*"));
        assert!(!has("config", "configurat*"));
        // Stop words stand for nothing.
        assert!(!has("the", "th*"));
    }
}
