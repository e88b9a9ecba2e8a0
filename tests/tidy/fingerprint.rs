//! Was `storage-format.md` looked at when the code that writes the format changed?
//!
//! The document ends with a fingerprint of that code. Whoever changes the code reviews the
//! document and writes the new fingerprint, which this check names.

use crate::{
    lexer::{Literals, code},
    source::Source,
};

pub(crate) const DOCUMENT: &str = "storage-format.md";

pub(crate) fn check(document: Option<&Source>, format: &[&Source]) -> Vec<String> {
    if format.is_empty() {
        return Vec::new();
    }
    let line = format!("<!-- format-fingerprint: {:016x} -->", fingerprint(format));
    let Some(document) = document else {
        return vec![format!(
            "{DOCUMENT} is missing; it ends with the line\n    {line}"
        )];
    };
    if document
        .text
        .lines()
        .next_back()
        .is_some_and(|last| last.trim() == line)
    {
        return Vec::new();
    }
    vec![format!(
        "src/format/ changed since {DOCUMENT} was last reviewed. Compare them, correct the \
         document, and let it end with the line\n    {line}"
    )]
}

/// FNV-1a over the production code, without comments and white space, so that neither formatting
/// nor a better explanation asks for a review.
fn fingerprint(format: &[&Source]) -> u64 {
    let mut sorted: Vec<&&Source> = format.iter().filter(|source| !source.is_test()).collect();
    sorted.sort_by(|a, b| a.path.cmp(&b.path));
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    for source in sorted {
        source.path.bytes().for_each(&mut add);
        let production = code(&source.production(), Literals::Keep);
        production
            .bytes()
            .filter(|byte| !byte.is_ascii_whitespace())
            .for_each(&mut add);
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(format: &[&Source]) -> Source {
        let line = format!(
            "# Format\n<!-- format-fingerprint: {:016x} -->\n",
            fingerprint(format)
        );
        Source::new(DOCUMENT, &line)
    }

    #[test]
    fn changed_code_asks_for_a_review() {
        let before = Source::new("src/format/a.rs", "const A: u8 = 1;");
        let document = document(&[&before]);
        assert!(check(Some(&document), &[&before]).is_empty());
        for text in [
            "const A: u8 = 2;",
            "const A: u8 = 1; const B: &str = \"b\";",
        ] {
            let after = Source::new("src/format/a.rs", text);
            assert_eq!(check(Some(&document), &[&after]).len(), 1, "{text}");
        }
        assert_eq!(
            check(
                Some(&document),
                &[&before, &Source::new("src/format/b.rs", "")]
            )
            .len(),
            1
        );
        assert_eq!(check(None, &[&before]).len(), 1);
    }

    #[test]
    fn form_comments_and_tests_do_not() {
        let before = Source::new("src/format/a.rs", "const A: u8 = 1;");
        let after = Source::new(
            "src/format/a.rs",
            "//! Head\nconst A: u8\n    = 1; // one\n#[cfg(test)]\nmod tests {\n    fn x() {}\n}\n",
        );
        let tests = Source::new("src/format/a_tests.rs", "fn y() {}");
        assert!(check(Some(&document(&[&before])), &[&after, &tests]).is_empty());
    }
}
