//! Does every import say which names it brings? A wildcard may only open the enclosing module.

use crate::{
    lexer::{Literals, code},
    paths::named,
    source::Source,
};

pub(crate) fn check(source: &Source) -> Vec<String> {
    named(&code(&source.text, Literals::Blank))
        .iter()
        .filter(|path| path.import && path.segments.last().is_some_and(|last| last == "*"))
        .filter(|path| {
            let first = path.segments.first().map_or("", String::as_str);
            let deep = path.segments.len() > 2;
            matches!(first, "crate" | "pulsedb") || (first == "super" && deep)
        })
        .map(|path| {
            format!(
                "{}:{}: `use {}`",
                source.path,
                path.line,
                path.segments.join("::")
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_wildcards_are_refused() {
        for text in [
            "use crate::model::*;",
            "use pulsedb::*;",
            "use super::super::log::*;",
            "use crate::{a::{b, c::*}};",
        ] {
            assert_eq!(
                check(&Source::new("tests/it/a.rs", text)).len(),
                1,
                "{text}"
            );
        }
    }

    #[test]
    fn the_enclosing_module_and_preludes_are_fine() {
        let text = "mod tests { use super::*; use proptest::prelude::*; } fn f(x: crate::A) -> u8 { x * 2 }";
        assert!(check(&Source::new("src/a.rs", text)).is_empty());
    }
}
