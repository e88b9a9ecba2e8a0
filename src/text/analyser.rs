//! Which words are the same?
//!
//! Pure, and total. A *form* is a word without case and without what only looks different; its *term* is
//! what the index knows it by: without accents and ending. Stop words have no term. Texts and questions
//! go through the same functions, so whatever these do, a word is found by itself.

use std::{borrow::Cow, collections::HashSet};

use unicode_normalization::UnicodeNormalization;
use waken_snowball::Algorithm;

use super::words;
use crate::config::TextLanguage;

/// Characters of a form: what goes on longer is told apart by its beginning.
const MAX_FORM_CHARS: usize = 64;

/// Words of English that only hold others together. Longer and shorter lists found less.
const ENGLISH: &str = "\
    a about above after again against all also am among an and any are as at be because been before \
    being below between both but by can could did do does doing down during each ever every few for \
    from further had has have having he her here hers herself him himself his how i if in into is it \
    its itself just many may me might more most much must my myself no nor not now of off on once \
    only or other our ours ourselves out over own per same shall she should since so some such than \
    that the their theirs them themselves then there these they this those through to too under \
    until up upon us very via was we were what when where which while who whom why will with within \
    without would you your yours yourself yourselves";

/// The rules of one language.
#[derive(Debug)]
pub struct Analyser {
    stemmer: Option<Algorithm>,
    stop_words: HashSet<&'static str>,
    /// Whether accents mean nothing to the stemmer, so that they can go first.
    folds_first: bool,
    /// Whether words lose their end before an apostrophe.
    elided: bool,
}

/// A word on its way to its term.
#[derive(Clone, Copy, Debug)]
pub struct Form<'a> {
    /// The word without case.
    pub text: &'a str,
    /// Whether it is made of parts that were shown, too.
    pub whole: bool,
}

impl Analyser {
    /// That of a language.
    #[must_use]
    pub fn new(language: TextLanguage) -> Self {
        use TextLanguage as L;
        let stop_words = match language {
            L::English => ENGLISH.split_ascii_whitespace().collect(),
            other => {
                let words = other.code().and_then(stop_words::lookup);
                words.into_iter().flatten().copied().collect()
            }
        };
        Self {
            stemmer: stemmer(language),
            stop_words,
            folds_first: matches!(language, L::Any | L::English | L::Indonesian),
            elided: matches!(language, L::Catalan | L::French | L::Italian),
        }
    }

    /// Shows the forms of a text's words.
    pub fn each_form(&self, text: &str, mut see: impl FnMut(Form<'_>)) {
        let mut form = String::new();
        words::each(text, self.elided, |word| {
            form.clear();
            self.write_form(word.text, &mut form);
            if !form.is_empty() {
                see(Form {
                    text: &form,
                    whole: word.whole,
                });
            }
        });
    }

    fn write_form(&self, word: &str, form: &mut String) {
        if word.is_ascii() {
            form.extend(word.chars().take(MAX_FORM_CHARS));
            form.make_ascii_lowercase();
            return;
        }
        let lower = word.nfkc().flat_map(char::to_lowercase);
        let seen = lower.filter(|c| !is_accent(*c) && !is_invisible(*c));
        let seen = seen.map(|c| if words::is_apostrophe(c) { '\'' } else { c });
        form.extend(seen.take(MAX_FORM_CHARS));
        if self.folds_first {
            *form = fold(form).into_owned();
        }
    }

    /// What the index knows a form by; `None` for a stop word.
    #[must_use]
    pub fn term<'a>(&self, form: &'a str) -> Option<Cow<'a, str>> {
        if self.stop_words.contains(form) {
            return None;
        }
        // A name is not inflected.
        let is_word = !words::is_name(form);
        let stem = match self.stemmer.filter(|_| is_word) {
            Some(stemmer) => waken_snowball::stem(stemmer, form),
            None => Cow::Borrowed(form),
        };
        let term = match stem {
            Cow::Borrowed(stem) => fold(stem),
            Cow::Owned(stem) => Cow::Owned(fold(&stem).into_owned()),
        };
        // A stem of nothing is no term; the form is.
        if term.is_empty() {
            Some(Cow::Borrowed(form))
        } else {
            Some(term)
        }
    }
}

/// A text without accents and apostrophes, in letters that can be typed anywhere where there are such.
#[must_use]
pub fn fold(text: &str) -> Cow<'_, str> {
    if text.is_ascii() && !text.contains('\'') {
        return Cow::Borrowed(text);
    }
    let bare = text.nfkd().filter(|c| !is_accent(*c) && *c != '\'');
    let mut folded = String::with_capacity(text.len());
    for c in bare.nfc() {
        match c {
            'ß' => folded.push_str("ss"),
            'æ' => folded.push_str("ae"),
            'œ' => folded.push_str("oe"),
            'þ' => folded.push_str("th"),
            'ø' => folded.push('o'),
            'đ' | 'ð' => folded.push('d'),
            'ł' => folded.push('l'),
            'ı' => folded.push('i'),
            'ħ' => folded.push('h'),
            'ς' => folded.push('σ'),
            other => folded.push(other),
        }
    }
    Cow::Owned(folded)
}

/// Marks that may be left out in writing: of Latin, Greek and Cyrillic, and the vowels of Arabic and Hebrew.
/// Those of Indic scripts are letters like others.
fn is_accent(c: char) -> bool {
    matches!(c,
        '\u{0300}'..='\u{036f}'
        | '\u{0483}'..='\u{0489}'
        | '\u{0591}'..='\u{05c7}'
        | '\u{0640}'
        | '\u{064b}'..='\u{0652}'
        | '\u{0670}'
        | '\u{1ab0}'..='\u{1aff}'
        | '\u{1dc0}'..='\u{1dff}'
        | '\u{20d0}'..='\u{20ff}'
        | '\u{fe20}'..='\u{fe2f}')
}

/// What only says how to print a word.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{00ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

fn stemmer(language: TextLanguage) -> Option<Algorithm> {
    use TextLanguage as L;
    Some(match language {
        L::Any => return None,
        L::Arabic => Algorithm::Arabic,
        L::Basque => Algorithm::Basque,
        L::Catalan => Algorithm::Catalan,
        L::Danish => Algorithm::Danish,
        L::Dutch => Algorithm::Dutch,
        L::English => Algorithm::English,
        L::Finnish => Algorithm::Finnish,
        L::French => Algorithm::French,
        L::German => Algorithm::German,
        L::Greek => Algorithm::Greek,
        L::Hungarian => Algorithm::Hungarian,
        L::Indonesian => Algorithm::Indonesian,
        L::Italian => Algorithm::Italian,
        L::Nepali => Algorithm::Nepali,
        L::Norwegian => Algorithm::Norwegian,
        L::Portuguese => Algorithm::Portuguese,
        L::Romanian => Algorithm::Romanian,
        L::Russian => Algorithm::Russian,
        L::Spanish => Algorithm::Spanish,
        L::Swedish => Algorithm::Swedish,
        L::Tamil => Algorithm::Tamil,
        L::Turkish => Algorithm::Turkish,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn terms(language: TextLanguage, text: &str) -> Vec<String> {
        let analyser = Analyser::new(language);
        let mut terms = Vec::new();
        analyser.each_form(text, |form| {
            terms.extend(analyser.term(form.text).map(Cow::into_owned));
        });
        terms
    }

    #[test]
    fn case_accents_and_endings_do_not_count() {
        let expected = ["cafe", "deploy", "naiv"];
        assert_eq!(
            terms(TextLanguage::English, "The CAFÉ's deployments: naïve"),
            expected
        );
        assert_eq!(
            terms(TextLanguage::English, "cafe deployed the NAÏVE"),
            expected
        );
        // Composed and decomposed, printed and typed.
        assert_eq!(
            terms(TextLanguage::English, "cafe\u{301}’s"),
            terms(TextLanguage::English, "CAFÉ's")
        );
    }

    #[test]
    fn names_are_not_inflected_and_found_by_their_parts() {
        let terms = terms(TextLanguage::English, "MAX_RETRIES in configs/deploy.yaml");
        assert_eq!(
            terms,
            [
                "max",
                "retri",
                "max_retries",
                "config",
                "deploy",
                "yaml",
                "deploy.yaml",
                "configs/deploy.yaml"
            ]
        );
    }

    #[test]
    fn every_language_knows_its_stop_words_and_forms() {
        let mut wrong = Vec::new();
        for (language, one, other, stop) in [
            (TextLanguage::Arabic, "الكتاب", "كتاب", "من"),
            (TextLanguage::Basque, "etxeak", "etxe", "eta"),
            (TextLanguage::Catalan, "gats", "gat", "amb"),
            (TextLanguage::Danish, "husene", "huset", "og"),
            (TextLanguage::Dutch, "lopend", "lopende", "een"),
            (TextLanguage::English, "running", "runs", "the"),
            (TextLanguage::Finnish, "talossa", "talosta", "ja"),
            (
                TextLanguage::French,
                "continuellement",
                "continuelle",
                "avec",
            ),
            (TextLanguage::German, "häuser", "Häusern", "und"),
            (TextLanguage::Greek, "δρόμος", "δρόμο", "και"),
            (TextLanguage::Hungarian, "házak", "házat", "és"),
            (TextLanguage::Indonesian, "makanan", "makan", "yang"),
            (TextLanguage::Italian, "gatti", "gatto", "della"),
            (TextLanguage::Nepali, "घरहरू", "घर", "छ"),
            (TextLanguage::Norwegian, "husene", "huset", "og"),
            (TextLanguage::Portuguese, "correndo", "correr", "para"),
            (TextLanguage::Romanian, "casele", "casa", "pentru"),
            (TextLanguage::Russian, "книги", "книга", "что"),
            (TextLanguage::Spanish, "canciones", "canción", "para"),
            (TextLanguage::Swedish, "husen", "huset", "och"),
            (TextLanguage::Tamil, "வீடுகள்", "வீடு", "ஒரு"),
            (TextLanguage::Turkish, "evler", "evlerin", "ve"),
        ] {
            let forms = terms(language, &format!("{one} {stop} {other}"));
            if forms.len() != 2 || forms[0] != forms[1] {
                wrong.push((language, forms));
            }
        }
        assert!(wrong.is_empty(), "{wrong:?}");
        assert_eq!(terms(TextLanguage::Any, "The Running"), ["the", "running"]);
    }

    #[test]
    fn stop_words_there_are_for_every_language() {
        for language in TextLanguage::ALL {
            let analyser = Analyser::new(*language);
            let is_any = *language == TextLanguage::Any;
            assert_eq!(analyser.stop_words.is_empty(), is_any, "{language:?}");
            assert_eq!(analyser.stemmer.is_none(), is_any, "{language:?}");
        }
    }

    #[test]
    fn whatever_stands_there_has_an_end() {
        let long = "x".repeat(100 * 1024);
        assert_eq!(terms(TextLanguage::English, &long), ["x".repeat(64)]);
        let zalgo = format!("z{}o", "\u{335}\u{36f}\u{489}".repeat(10_000));
        assert!(!terms(TextLanguage::German, &zalgo).is_empty());
        assert_eq!(
            terms(
                TextLanguage::German,
                &format!("a{}b", "\u{301}".repeat(10_000))
            ),
            ["ab"]
        );
        assert_eq!(
            terms(TextLanguage::English, "\u{0}\u{0}a\u{0}").len(),
            0,
            "a is a stop word"
        );
        assert_eq!(terms(TextLanguage::English, "🚀\u{200d}🔥 שָׁלוֹם"), ["שלום"]);
    }

    proptest! {
        #[test]
        fn a_text_of_any_kind_is_analysed(text in "\\PC{0,60}", language in 0..TextLanguage::ALL.len()) {
            terms(TextLanguage::ALL[language], &text);
        }

        #[test]
        fn a_form_is_found_by_itself(word in "[\\p{L}\\p{M}\\p{N}_.'-]{1,20}") {
            for language in TextLanguage::ALL {
                let (small, again) = (terms(*language, &word), terms(*language, &word));
                prop_assert_eq!(small, again);
            }
        }
    }
}
