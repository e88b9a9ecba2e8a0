//! Is the source laid out as `ARCHITECTURE.md` says, and free of what must not land?
//!
//! Every check is a pure function from (path, text) to findings, in a file of its own below
//! `tests/tidy/`, with tests that show it fail. This file feeds them the repository. No
//! dependencies: it also compiles with a bare `rustc --test`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::disallowed_methods, reason = "a test reads files as it likes")]
#![allow(
    clippy::print_stdout,
    reason = "the list of long files is for the reader of the log"
)]

#[path = "tidy/fingerprint.rs"]
mod fingerprint;
#[path = "tidy/handles.rs"]
mod handles;
#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/lexer.rs"]
mod lexer;
#[path = "tidy/marks.rs"]
mod marks;
#[path = "tidy/paths.rs"]
mod paths;
#[path = "tidy/safety.rs"]
mod safety;
#[path = "tidy/shape.rs"]
mod shape;
#[path = "tidy/source.rs"]
mod source;

use source::Source;

/// Packages and folders of our own Rust code.
const CODE: &[&str] = &[
    "src/",
    "tests/",
    "examples/",
    "xtask/",
    "benches/",
    "loom-tests/",
    "fuzz/",
];

fn rust_in(folders: &[&str]) -> Vec<Source> {
    let found: Vec<Source> = source::repository()
        .into_iter()
        .filter(|file| file.path.ends_with(".rs"))
        .filter(|file| folders.iter().any(|folder| file.path.starts_with(folder)))
        .collect();
    assert!(
        !found.is_empty(),
        "no Rust files found: the walk is broken, not the code tidy"
    );
    found
}

fn pass(what: &str, findings: &[String]) {
    assert!(
        findings.is_empty(),
        "{what}:\n  {}\n",
        findings.join("\n  ")
    );
}

#[test]
fn both_kinds_of_handles_have_the_same_methods() {
    let with_async = rust_in(&["src/db.rs", "src/db/"]);
    let blocking = rust_in(&["src/blocking.rs", "src/blocking/"]);
    let findings: Vec<String> = handles::TYPES
        .iter()
        .flat_map(|name| handles::check(name, &with_async, &blocking))
        .collect();
    pass("`PulseDB` and `blocking::PulseDB` differ", &findings);
}

#[test]
fn imports_point_down() {
    let findings: Vec<String> = rust_in(&["src/"]).iter().flat_map(layers::check).collect();
    pass(
        "the table of layers (tests/tidy/layers.rs) is not kept",
        &findings,
    );
}

#[test]
fn no_deep_wildcards() {
    let findings: Vec<String> = rust_in(CODE).iter().flat_map(imports::check).collect();
    pass("wildcard imports hide where a name comes from", &findings);
}

#[test]
fn files_are_short() {
    let files = rust_in(&["src/", "examples/", "xtask/"]);
    for note in files.iter().filter_map(shape::long) {
        println!("{note}");
    }
    let findings: Vec<String> = files.iter().flat_map(shape::sizes).collect();
    pass("files are too long to be read", &findings);
}

#[test]
fn files_say_what_they_are_for() {
    let findings: Vec<String> = rust_in(&["src/"]).iter().flat_map(shape::head).collect();
    pass("files without a head", &findings);
}

#[test]
fn unsafe_code_is_in_its_places_and_explained() {
    let files = rust_in(&["src/", "tests/", "examples/", "xtask/", "loom-tests/"]);
    let findings: Vec<String> = files.iter().flat_map(safety::check).collect();
    pass("unsafe code", &findings);
}

#[test]
fn nothing_is_unfinished_or_bound_to_a_machine() {
    let findings: Vec<String> = source::repository().iter().flat_map(marks::check).collect();
    pass("marks that must not land", &findings);
}

#[test]
fn storage_format_was_looked_at() {
    let files = source::repository();
    let document = files.iter().find(|file| file.path == fingerprint::DOCUMENT);
    let format: Vec<&Source> = files
        .iter()
        .filter(|file| file.path.starts_with("src/format/"))
        .collect();
    pass(
        "the format's code and its document",
        &fingerprint::check(document, &format),
    );
}
