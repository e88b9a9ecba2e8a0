//! Is there something unfinished, switched off, or bound to one machine?
//!
//! The marks are put together from parts, so that this file does not find itself.

use crate::source::Source;

/// Words, in every file.
const WORDS: &[&str] = &[
    concat!("FIX", "ME"),
    concat!("TO", "DO"),
    concat!("XX", "X"),
];
/// Pieces of Rust.
const CODE: &[&str] = &[
    concat!("todo", "!("),
    concat!("unimpl", "emented!("),
    concat!("#[", "ignore"),
];
/// Beginnings of absolute paths that exist on somebody's machine only.
const PLACES: &[&str] = &[
    concat!("/", "work/"),
    concat!("/", "tmp/"),
    concat!("/", "home/"),
    concat!("/", "root/"),
    concat!("/", "Users/"),
    concat!("C:", "\\Users"),
];

pub(crate) fn check(source: &Source) -> Vec<String> {
    let rust = source.path.ends_with(".rs");
    let mut findings = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        let mut found = |mark: &str| {
            findings.push(format!("{}:{}: `{mark}`", source.path, index + 1));
        };
        for mark in WORDS {
            if stands(line, mark, is_word, is_word) {
                found(mark);
            }
        }
        for mark in CODE.iter().filter(|_| rust) {
            if line.contains(mark) {
                found(mark);
            }
        }
        for mark in PLACES {
            // Behind a name or a dot it is part of a relative path or of an address.
            let inside = |c| is_word(c) || ".-~}>".contains(c);
            if stands(line, mark, inside, |_| false) {
                found(mark);
            }
        }
    }
    findings
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether `mark` occurs in `line` where the characters around it do not make it part of
/// something longer.
fn stands(line: &str, mark: &str, before: impl Fn(char) -> bool, after: fn(char) -> bool) -> bool {
    line.match_indices(mark).any(|(at, _)| {
        !line[..at].chars().next_back().is_some_and(&before)
            && !line[at + mark.len()..].chars().next().is_some_and(after)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        check(&Source::new(path, text)).len()
    }

    #[test]
    fn marks_are_found() {
        for mark in WORDS {
            assert_eq!(
                count("README.md", &format!("a\n// {mark}: later\n")),
                1,
                "{mark}"
            );
        }
        for mark in CODE {
            assert_eq!(count("src/a.rs", &format!("    {mark}")), 1, "{mark}");
        }
        for mark in PLACES {
            assert_eq!(count(".ci/run", &format!("cd \"{mark}x\"")), 1, "{mark}");
        }
    }

    #[test]
    fn what_only_looks_like_a_mark_is_fine() {
        let text = format!(
            "a{0} {0}S {1}Y x{1} ..{2}src https://x.org{3}a",
            WORDS[0], WORDS[2], PLACES[0], PLACES[2]
        );
        assert_eq!(count("README.md", &text), 0);
        assert_eq!(count("CONTRIBUTING.md", CODE[2]), 0);
    }
}
