//! What does somebody ask in words?
//!
//! Pure, and total: every text is a question. In an [expression](Question::expression), at the beginning of
//! a word or a quoted phrase, `+` asks for rows that have it, `-` for rows that do not, and a `*` at the end
//! of a word stands for any ending; a phrase in quotes must be there, too. Anything else is words, of which
//! a row should have as many as possible. A quote without its end, an operator without its word and the
//! like mean nothing and are left out.

use std::collections::HashMap;

use super::analyser::{Analyser, fold};

/// Terms that are scored; a longer question is about too much to be told apart by more.
pub const MAX_TERMS: usize = 1024;

/// What is asked, ready for an index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// What rows are scored by: each term once, and how often it is asked for.
    pub terms: Vec<(Box<str>, u32)>,
    /// What each row must fulfil.
    pub constraints: Vec<Constraint>,
    /// The question without operators and without what is excluded: what it means.
    pub meaning: String,
}

/// What rows must or must not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constraint {
    /// What it is about.
    pub pattern: Pattern,
    /// Whether rows must not have it.
    pub excluded: bool,
}

/// What a text may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// These parts of words, one behind the other; at least one.
    Phrase(Vec<Part>),
    /// A word whose folded form begins so, and which is no stop word; not empty.
    Prefix(Box<str>),
}

/// A part of a phrase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A term.
    Term(Box<str>),
    /// A stop word, as it is written.
    Stop(Box<str>),
}

impl Part {
    /// What a form is in a phrase.
    pub fn of(analyser: &Analyser, form: &str) -> Self {
        match analyser.term(form) {
            Some(term) => Self::Term(term.into()),
            None => Self::Stop(form.into()),
        }
    }
}

impl Question {
    /// About the words of a text, without operators.
    #[must_use]
    pub fn plain(text: &str, analyser: &Analyser) -> Self {
        let mut asked = Asked::new(analyser);
        asked.score(text);
        asked.question.meaning = text.to_owned();
        asked.question
    }

    /// With operators.
    #[must_use]
    pub fn expression(text: &str, analyser: &Analyser) -> Self {
        let mut asked = Asked::new(analyser);
        for item in items(text) {
            asked.take(&item);
        }
        asked.question
    }

    /// Whether there is something that every row must have.
    #[must_use]
    pub fn asks_for_something(&self) -> bool {
        self.constraints.iter().any(|one| !one.excluded)
    }
}

struct Asked<'a> {
    analyser: &'a Analyser,
    question: Question,
    /// Where each term stands.
    places: HashMap<Box<str>, usize>,
}

impl<'a> Asked<'a> {
    fn new(analyser: &'a Analyser) -> Self {
        Self {
            analyser,
            question: Question::default(),
            places: HashMap::new(),
        }
    }

    fn take(&mut self, item: &Item<'_>) {
        if item.sign != Sign::Minus {
            let meaning = &mut self.question.meaning;
            if !meaning.is_empty() {
                meaning.push(' ');
            }
            meaning.push_str(item.text);
        }
        let pattern = match item.kind {
            Kind::Prefix => self.prefix(item.text),
            Kind::Phrase => self.phrase(item.text),
            Kind::Word => match item.sign {
                Sign::None => None,
                Sign::Plus | Sign::Minus => self.phrase(item.text),
            },
        };
        let excluded = item.sign == Sign::Minus;
        if !excluded && item.kind != Kind::Prefix {
            self.score(item.text);
        }
        let constraint = pattern.map(|pattern| Constraint { pattern, excluded });
        let constraints = &mut self.question.constraints;
        constraints.extend(constraint.filter(|one| !constraints.contains(one)));
    }

    fn score(&mut self, text: &str) {
        let Self {
            analyser,
            question,
            places,
        } = self;
        analyser.each_form(text, |form| {
            let Some(term) = analyser.term(form.text) else {
                return;
            };
            if let Some((_, times)) = places
                .get(&*term)
                .and_then(|at| question.terms.get_mut(*at))
            {
                *times = times.saturating_add(1);
            } else if question.terms.len() < MAX_TERMS {
                places.insert(term.as_ref().into(), question.terms.len());
                question.terms.push((term.into(), 1));
            }
        });
    }

    fn phrase(&self, text: &str) -> Option<Pattern> {
        let mut parts = Vec::new();
        self.analyser.each_form(text, |form| {
            if !form.whole {
                parts.push(Part::of(self.analyser, form.text));
            }
        });
        (!parts.is_empty()).then_some(Pattern::Phrase(parts))
    }

    fn prefix(&self, text: &str) -> Option<Pattern> {
        // Of several parts, the last one is unfinished; the whole says it all.
        let mut longest = String::new();
        self.analyser.each_form(text, |form| {
            if form.text.len() > longest.len() {
                longest = form.text.to_owned();
            }
        });
        let folded = fold(&longest);
        (!folded.is_empty()).then(|| Pattern::Prefix(folded.into()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    None,
    Plus,
    Minus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Word,
    Phrase,
    Prefix,
}

/// A word or phrase of an expression, without its operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Item<'a> {
    sign: Sign,
    kind: Kind,
    text: &'a str,
}

fn items(text: &str) -> Vec<Item<'_>> {
    let mut items = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (sign, body) = match rest.split_at_checked(1) {
            Some(("+", body)) if begins(body) => (Sign::Plus, body),
            Some(("-", body)) if begins(body) => (Sign::Minus, body),
            _ => (Sign::None, rest),
        };
        let quoted = body.strip_prefix('"').and_then(|body| body.split_once('"'));
        let item;
        (item, rest) = match quoted {
            Some((text, behind)) => (
                Item {
                    sign,
                    kind: Kind::Phrase,
                    text,
                },
                behind,
            ),
            None => {
                let end = body.find(char::is_whitespace).unwrap_or(body.len());
                let (word, behind) = body.split_at(end);
                let stem = word.strip_suffix('*');
                let stem = stem.filter(|stem| stem.ends_with(char::is_alphanumeric));
                let kind = if stem.is_some() {
                    Kind::Prefix
                } else {
                    Kind::Word
                };
                let text = stem.unwrap_or(word);
                (Item { sign, kind, text }, behind)
            }
        };
        items.push(item);
        rest = rest.trim_start();
    }
    items
}

/// Whether a sign before this is an operator.
fn begins(body: &str) -> bool {
    body.starts_with(|c: char| c.is_alphanumeric() || c == '"')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::TextLanguage;

    fn asked(text: &str) -> Question {
        Question::expression(text, &Analyser::new(TextLanguage::English))
    }

    fn terms(question: &Question) -> Vec<(&str, u32)> {
        question
            .terms
            .iter()
            .map(|(term, times)| (&**term, *times))
            .collect()
    }

    fn term(text: &str) -> Part {
        Part::Term(text.into())
    }

    #[test]
    fn words_are_scored_and_operators_constrain() {
        let question = asked("deploy  +retries -canary \"the blue green\" conf* deploying");
        let expected = [("deploy", 2), ("retri", 1), ("blue", 1), ("green", 1)];
        assert_eq!(terms(&question), expected);
        assert_eq!(
            question.meaning,
            "deploy retries the blue green conf deploying"
        );
        let phrase = |parts: &[Part]| Pattern::Phrase(parts.to_vec());
        let expected = [
            (phrase(&[term("retri")]), false),
            (phrase(&[term("canari")]), true),
            (
                phrase(&[Part::Stop("the".into()), term("blue"), term("green")]),
                false,
            ),
            (Pattern::Prefix("conf".into()), false),
        ];
        let found = question.constraints.into_iter();
        let found: Vec<_> = found.map(|one| (one.pattern, one.excluded)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn names_are_phrases_of_their_parts() {
        let question = asked("-snake_case src/read/mod.r*");
        let parts = Pattern::Phrase(vec![term("snake"), term("case")]);
        let expected = [
            Constraint {
                pattern: parts,
                excluded: true,
            },
            Constraint {
                pattern: Pattern::Prefix("src/read/mod.r".into()),
                excluded: false,
            },
        ];
        assert_eq!(question.constraints, expected);
        assert_eq!(terms(&question), []);
        assert!(question.asks_for_something());
    }

    #[test]
    fn what_means_nothing_is_left_out() {
        for text in [
            "",
            " ",
            "\"",
            "- +",
            "+\"",
            "\"\"",
            "-- + * **",
            "\"...\"",
            "the",
        ] {
            let question = asked(text);
            assert_eq!(question.terms, [], "{text:?}");
            assert_eq!(question.constraints, [], "{text:?}");
        }
        // Options of commands, lists, and quotes that do not end.
        let question = asked("cargo --release - item 5\" a-b \"open end");
        assert_eq!(question.constraints, []);
        assert!(!asked("-word").asks_for_something());
    }

    #[test]
    fn a_plain_question_has_no_operators() {
        let analyser = Analyser::new(TextLanguage::English);
        let question = Question::plain("+say \"good night\" -moon*", &analyser);
        assert_eq!(question.constraints, []);
        assert_eq!(
            terms(&question),
            [("say", 1), ("good", 1), ("night", 1), ("moon", 1)]
        );
    }

    #[test]
    fn a_long_question_has_an_end() {
        let text: String = (0..5000).map(|n| format!("w{n} ")).collect();
        assert_eq!(asked(&text).terms.len(), MAX_TERMS);
        assert_eq!(asked(&"repeated ".repeat(100_000)).terms.len(), 1);
    }

    proptest! {
        #[test]
        fn every_text_is_a_question(text in "[\\PC\"+* -]{0,80}") {
            let analyser = Analyser::new(TextLanguage::English);
            let question = Question::expression(&text, &analyser);
            for constraint in &question.constraints {
                match &constraint.pattern {
                    Pattern::Phrase(parts) => prop_assert!(!parts.is_empty()),
                    Pattern::Prefix(prefix) => prop_assert!(!prefix.is_empty()),
                }
            }
            let _ = Question::plain(&text, &analyser);
        }
    }
}
