//! Where are the words of a text, and the parts of what is written as one?
//!
//! Pure, and total: every text has words, or none. Words are those of Unicode (UAX #29); an identifier or a
//! path is split further (`snake_case`, `CamelCase`, `a/b.rs`), and is there as a whole beside its parts.
//! Parts come in their order, a whole behind its last part.

use unicode_segmentation::UnicodeSegmentation;

/// A word as it stands in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word<'a> {
    /// The word.
    pub text: &'a str,
    /// Whether it is made of parts that were shown, too.
    pub whole: bool,
}

/// A whole of more bytes is not shown: it is no name any more.
const MAX_WHOLE_BYTES: usize = 128;

/// Shows the words of a text. Where words are `elided` before an apostrophe, it ends a word.
pub fn each<'a>(text: &'a str, elided: bool, mut see: impl FnMut(Word<'a>)) {
    let mut compound: Option<Compound> = None;
    for (start, word) in text.unicode_word_indices() {
        let joined = compound
            .as_ref()
            .and_then(|before| text.get(before.end..start))
            .is_some_and(joins);
        if !joined && let Some(before) = compound.take() {
            before.show(text, &mut see);
        }
        let split = each_part(word, elided, |part| {
            see(Word {
                text: part,
                whole: false,
            });
        });
        if split && word.len() <= MAX_WHOLE_BYTES {
            see(Word {
                text: word,
                whole: true,
            });
        }
        let end = start + word.len();
        match &mut compound {
            Some(before) => {
                before.end = end;
                before.words += 1;
            }
            None => {
                compound = Some(Compound {
                    start,
                    end,
                    words: 1,
                });
            }
        }
    }
    if let Some(last) = compound {
        last.show(text, &mut see);
    }
}

/// Words with nothing but a connector between them.
struct Compound {
    start: usize,
    end: usize,
    words: u32,
}

impl Compound {
    fn show<'a>(&self, text: &'a str, see: &mut impl FnMut(Word<'a>)) {
        if self.words > 1
            && self.end - self.start <= MAX_WHOLE_BYTES
            && let Some(text) = text.get(self.start..self.end)
        {
            see(Word { text, whole: true });
        }
    }
}

/// Whether what is between two words makes one name of them.
fn joins(between: &str) -> bool {
    matches!(between, "/" | "\\" | "-" | "." | "::" | "@")
}

/// Shows the parts of a word; whether they are those of a name.
fn each_part<'a>(word: &'a str, elided: bool, mut see: impl FnMut(&'a str)) -> bool {
    let mut split = false;
    let mut start = 0;
    let mut before = Case::None;
    let mut chars = word.char_indices().peekable();
    let mut show = |range: std::ops::Range<usize>| {
        if let Some(part) = word.get(range).filter(|part| !part.is_empty()) {
            see(part);
        }
    };
    while let Some((at, c)) = chars.next() {
        let ends = separates(c);
        if ends || (elided && is_apostrophe(c)) {
            show(start..at);
            start = at + c.len_utf8();
            split |= ends && at > 0 && chars.peek().is_some();
            before = Case::None;
            continue;
        }
        let case = Case::of(c);
        if case == Case::Upper {
            let next = chars.peek().map(|(_, next)| Case::of(*next));
            let begins = match before {
                Case::Lower => true,
                Case::Upper | Case::Digit => next == Some(Case::Lower),
                Case::None => false,
            };
            if begins {
                show(start..at);
                start = at;
                split = true;
            }
        }
        // Accents and the like belong to the letter before them.
        if case != Case::None {
            before = case;
        }
    }
    show(start..word.len());
    split
}

/// What Unicode has within a word although it separates names.
fn separates(c: char) -> bool {
    matches!(
        c,
        '_' | '.' | ':' | ',' | ';' | '·' | '\u{203f}' | '\u{2040}' | '\u{2054}' | '\u{ff3f}'
    )
}

/// Whether a word is made of parts that something else than case holds together.
pub fn is_name(word: &str) -> bool {
    word.chars()
        .any(|c| separates(c) || matches!(c, '/' | '\\' | '-' | '@'))
}

/// `'`, as it is typed and as it is printed.
pub fn is_apostrophe(c: char) -> bool {
    matches!(c, '\'' | '\u{2019}')
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    Upper,
    Lower,
    Digit,
    None,
}

impl Case {
    fn of(c: char) -> Self {
        if c.is_uppercase() {
            Self::Upper
        } else if c.is_lowercase() {
            Self::Lower
        } else if c.is_numeric() {
            Self::Digit
        } else {
            Self::None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        let mut words = Vec::new();
        each(text, false, |word| words.push(word.text));
        words
    }

    #[test]
    fn words_are_those_of_unicode() {
        assert_eq!(
            words("The quick (\"brown\") fox can't jump 32.3 feet, right?"),
            [
                "The", "quick", "brown", "fox", "can't", "jump", "32", "3", "32.3", "feet",
                "right",
            ]
        );
        assert_eq!(words("東京 ΑΒΓ"), ["東", "京", "ΑΒΓ"]);
        assert_eq!(words(" \u{0}\n🚀 -- …"), [""; 0]);
    }

    #[test]
    fn names_are_there_in_parts_and_whole() {
        assert_eq!(words("snake_case"), ["snake", "case", "snake_case"]);
        assert_eq!(
            words("HTTPServer parseUtf8Text"),
            [
                "HTTP",
                "Server",
                "HTTPServer",
                "parse",
                "Utf8",
                "Text",
                "parseUtf8Text",
            ]
        );
        assert_eq!(
            words("in src/read/fuse.rs: fn"),
            [
                "in",
                "src",
                "read",
                "fuse",
                "rs",
                "fuse.rs",
                "src/read/fuse.rs",
                "fn",
            ]
        );
        assert_eq!(
            words("std::fs a-b"),
            ["std", "fs", "std::fs", "a", "b", "a-b"]
        );
        assert_eq!(words("_private"), ["private"]);
        assert_eq!(words("no. Yes"), ["no", "Yes"]);
    }

    #[test]
    fn a_chain_without_end_has_no_whole() {
        let chain = vec!["ab"; 1000].join("-");
        assert_eq!(words(&chain).len(), 1000);
    }

    #[test]
    fn elided_words_are_words() {
        let mut found = Vec::new();
        each("l'homme d’été", true, |word| found.push(word.text));
        assert_eq!(found, ["l", "homme", "d", "été"]);
    }
}
