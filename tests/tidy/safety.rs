//! Is unsafe code only where it is expected, and does each piece say why it is sound?

use crate::{
    lexer::{Literals, code},
    source::Source,
};

/// The three places that hold all of it.
const PLACES: &[&str] = &["src/vfs/mmap.rs", "src/vector/usearch.rs", "src/simd/"];

pub(crate) fn check(source: &Source) -> Vec<String> {
    let expected = PLACES.iter().any(|place| {
        if place.ends_with('/') {
            source.path.starts_with(place)
        } else {
            source.path == *place
        }
    });
    let lines: Vec<&str> = source.text.lines().collect();
    let code = code(&source.text, Literals::Blank);
    let mut findings = Vec::new();
    for (line, after) in keyword(&code) {
        if !expected {
            findings.push(format!(
                "{}:{line}: unsafe code belongs in {}",
                source.path,
                PLACES.join(", ")
            ));
        } else if (after.starts_with('{') || after.starts_with("impl")) && !explained(&lines, line)
        {
            findings.push(format!(
                "{}:{line}: no SAFETY comment right above",
                source.path
            ));
        }
    }
    findings
}

/// Each `unsafe` (not `unsafe_code`, nor the attribute `unsafe(…)`): its line from 1, and what
/// follows.
fn keyword(code: &str) -> Vec<(usize, &str)> {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices("unsafe")
        .filter(|(at, _)| !code[..*at].chars().next_back().is_some_and(word))
        .map(|(at, found)| (at, &code[at + found.len()..]))
        .filter(|(_, after)| !after.chars().next().is_some_and(|c| word(c) || c == '('))
        .map(|(at, after)| (code[..at].matches('\n').count() + 1, after.trim_start()))
        .collect()
}

/// Whether the comment right above `line` (attributes may stand between) says `SAFETY:`.
fn explained(lines: &[&str], line: usize) -> bool {
    lines[..line - 1]
        .iter()
        .rev()
        .map(|above| above.trim_start())
        .skip_while(|above| above.starts_with("#["))
        .take_while(|above| above.starts_with("//"))
        .any(|above| above.contains("SAFETY:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: &str = "src/vfs/mmap.rs";

    #[test]
    fn unsafe_code_elsewhere_is_refused() {
        let text = "// SAFETY: fine.\nlet x = unsafe { y() };\n";
        assert_eq!(check(&Source::new("src/log/segment.rs", text)).len(), 1);
        assert!(check(&Source::new(PLACE, text)).is_empty());
        assert!(check(&Source::new("src/simd/dot.rs", text)).is_empty());
        assert_eq!(check(&Source::new("src/vfs/mmap.rs.rs", text)).len(), 1);
    }

    #[test]
    fn unexplained_unsafe_code_is_refused() {
        for text in [
            "let x = unsafe { y() };",
            "// SAFETY: of something else.\nlet a = 1;\nlet x = unsafe { y() };",
            "// Why.\nunsafe impl Send for X {}",
            "// SAFETY: far away.\n\nlet x = unsafe { y() };",
        ] {
            assert_eq!(check(&Source::new(PLACE, text)).len(), 1, "{text}");
        }
    }

    #[test]
    fn explained_and_merely_mentioned_unsafe_is_fine() {
        for text in [
            "// SAFETY: first line,\n// second line.\n#[inline]\nunsafe impl Send for X {}",
            "#![allow(unsafe_code)]\n/// On unsafe { code }.\nconst A: &str = \"unsafe {\";",
            "unsafe fn f() {}",
        ] {
            assert_eq!(
                check(&Source::new(PLACE, text)),
                Vec::<String>::new(),
                "{text}"
            );
        }
    }
}
