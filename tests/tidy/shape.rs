//! Is each file short enough to be read in one go, and does it say what it is for?

use crate::source::Source;

/// What files aim at, and where they stop, in production lines.
const AIM: usize = 400;
const STOP: usize = 600;
/// Longer inline tests move to a sibling file.
const INLINE_TESTS: usize = 150;

/// A note about a file that is longer than files aim to be.
pub(crate) fn long(source: &Source) -> Option<String> {
    let (production, _) = source.line_counts();
    (production > AIM && !source.is_test()).then(|| {
        format!(
            "{}: {production} production lines, aim at {AIM}",
            source.path
        )
    })
}

pub(crate) fn sizes(source: &Source) -> Vec<String> {
    if source.is_test() {
        return Vec::new();
    }
    let (production, tests) = source.line_counts();
    let mut findings = Vec::new();
    if production > STOP {
        findings.push(format!(
            "{}: {production} production lines, stop at {STOP}",
            source.path
        ));
    }
    if tests > INLINE_TESTS {
        findings.push(format!(
            "{}: {tests} lines of inline tests, more than {INLINE_TESTS}; move them to a sibling file",
            source.path
        ));
    }
    findings
}

pub(crate) fn head(source: &Source) -> Vec<String> {
    let fine = source
        .text
        .lines()
        .next()
        .is_some_and(|first| first.starts_with("//! "));
    if fine {
        return Vec::new();
    }
    vec![format!(
        "{}: begin with `//! ` and the question that the file answers",
        source.path
    )]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(production: usize, tests: usize) -> Source {
        let body = "    x();\n".repeat(tests.saturating_sub(3));
        let text = format!(
            "{}#[cfg(test)]\nmod tests {{\n{body}}}\n",
            "fn a() {}\n".repeat(production)
        );
        Source::new("src/a.rs", &text)
    }

    #[test]
    fn long_files_are_noted_then_refused() {
        assert!(long(&source(400, 3)).is_none() && sizes(&source(400, 3)).is_empty());
        assert!(long(&source(401, 3)).is_some() && sizes(&source(600, 3)).is_empty());
        assert_eq!(sizes(&source(601, 3)).len(), 1);
    }

    #[test]
    fn long_inline_tests_are_refused() {
        assert!(sizes(&source(1, 150)).is_empty());
        assert_eq!(sizes(&source(1, 151)).len(), 1);
    }

    #[test]
    fn a_file_without_a_head_is_refused() {
        assert!(head(&Source::new("src/a.rs", "//! What?\n")).is_empty());
        for text in ["", "\n//! What?\n", "use x;\n", "// What?\n"] {
            assert_eq!(head(&Source::new("src/a.rs", text)).len(), 1, "{text:?}");
        }
    }
}
