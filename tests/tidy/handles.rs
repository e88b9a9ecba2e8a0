//! Has the blocking handle every method of the async one, and the other way round?
//!
//! Methods are found in the form that rustfmt gives: in an `impl` that begins in the first column, or as entries
//! of a macro: of the same file, whose `impl` says for which type it makes them, or told so at the beginning. What is for
//! simulations alone has no counterpart.

use std::collections::BTreeSet;

use crate::source::Source;

/// Types that there are of both kinds.
pub(crate) const TYPES: &[&str] = &["PulseDB", "Snapshot", "Transaction"];

/// What the methods of `name` in one list of files lack of those in the other.
pub(crate) fn check(name: &str, with_async: &[Source], blocking: &[Source]) -> Vec<String> {
    let ours = methods(name, with_async);
    let theirs = methods(name, blocking);
    if ours.is_empty() {
        return vec![format!("{name} has no methods: the check is broken")];
    }
    let lacking = |what: &str, of: &BTreeSet<String>, other: &BTreeSet<String>| {
        let missing = other.difference(of);
        missing
            .map(|method| format!("the {what} {name} lacks {method}"))
            .collect::<Vec<_>>()
    };
    let mut findings = lacking("blocking", &theirs, &ours);
    findings.extend(lacking("async", &ours, &theirs));
    findings
}

fn methods(name: &str, files: &[Source]) -> BTreeSet<String> {
    let found = files.iter().flat_map(|file| methods_in(name, file));
    found.collect()
}

fn methods_in(name: &str, file: &Source) -> Vec<String> {
    let mut found = Vec::new();
    // The type that macros of this file are for, and how a line of the present block names a method.
    let mut made_for = "";
    let mut reads: fn(&str) -> Option<&str> = nothing;
    let mut simulated = false;
    let production = file.production();
    for line in production.lines() {
        let made = line.trim_start().strip_prefix("impl ");
        if let Some(made) = made.and_then(|made| made.strip_suffix(" {$(")) {
            made_for = made;
        } else if let Some((told, _)) = made.and_then(|made| made.split_once("(self: ")) {
            reads = if told == name { entered } else { nothing };
        } else if line.starts_with("impl ") {
            let is_meant = line == format!("impl {name} {{") && !std::mem::take(&mut simulated);
            reads = if is_meant { declared } else { nothing };
        } else if line.ends_with("! {") && !line.starts_with(' ') {
            reads = if made_for == name { entered } else { nothing };
        } else if line == "}" {
            reads = nothing;
        } else if line.trim_start() == "#[cfg(feature = \"sim\")]" {
            simulated = true;
        } else if let Some(method) = line.strip_prefix("    ").and_then(reads)
            && !std::mem::take(&mut simulated)
        {
            found.push(method.to_owned());
        }
    }
    found
}

const fn nothing(_: &str) -> Option<&str> {
    None
}

/// The public method that begins in this line of an `impl`.
fn declared(line: &str) -> Option<&str> {
    let line = line.strip_prefix("pub ")?;
    let line = line.strip_prefix("async ").unwrap_or(line);
    let line = line.strip_prefix("const ").unwrap_or(line);
    line.strip_prefix("fn ")?.split(['(', '<']).next()
}

/// The method that begins in this line of a macro's entries.
fn entered(line: &str) -> Option<&str> {
    let (name, _) = line.split_once('(')?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    is_name.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASYNC: &str = "\
/// Some.
impl PulseDB {
    /// See there.
    pub async fn get<T>(&self) -> T {
        self.call(1)
    }

    #[cfg(feature = \"sim\")]
    pub fn simulated(&self) {}

    fn private(&self) {}
}

impl From<u8> for PulseDB {
    fn from(_: u8) -> Self {}
}
";
    const BLOCKING: &str = "\
macro_rules! waiting {
    ($($name:ident($($arg:ident: $type:ty),*) -> $output:ty;)+) => {
        impl PulseDB {$(
            pub fn $name(&self, $($arg: $type),*) -> Result<$output> {}
        )+}
    };
}

waiting! {
    get() -> u8;
}

told! {
    /// Some.
    impl PulseDB(self: &Self);
    more(
        of: u8
    ) -> u8;
}
";

    #[test]
    fn what_one_handle_lacks_is_named() {
        let files = |text: &str| vec![Source::new("src/db.rs", text)];
        let found = check("PulseDB", &files(ASYNC), &files(BLOCKING));
        assert_eq!(found, ["the async PulseDB lacks more"]);
        let found = check("PulseDB", &files(BLOCKING), &files(ASYNC));
        assert_eq!(found, ["the blocking PulseDB lacks more"]);
        assert!(!check("Snapshot", &files(ASYNC), &files(ASYNC)).is_empty());
    }
}
