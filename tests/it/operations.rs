//! Does everything in `docs/operations.md` work as it stands there?
//!
//! Its `sh` blocks are run in their order in one directory, with `sh -eu` and the built command first on the path; its
//! `toml` blocks are read. Its `rust` blocks are doc tests, see the end of `lib.rs`.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests run programs"
)]

use std::{collections::BTreeSet, env, fs, path::Path, process::Command};

use pulsedb::{Config, Metrics};

const GUIDE: &str = include_str!("../../docs/operations.md");

struct Block {
    language: &'static str,
    /// Where its text begins.
    line: usize,
    text: String,
}

fn blocks() -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for (index, line) in GUIDE.lines().enumerate() {
        match line.strip_prefix("```") {
            Some("") if open => open = false,
            Some(language) => {
                assert!(!open, "line {}: a block in a block", index + 1);
                open = true;
                blocks.push(Block {
                    language,
                    line: index + 2,
                    text: String::new(),
                });
            }
            None if open => {
                let text = &mut blocks.last_mut().unwrap().text;
                text.push_str(line);
                text.push('\n');
            }
            None => {}
        }
    }
    assert!(!open, "the last block does not end");
    blocks
}

fn of(language: &str) -> Vec<Block> {
    let found: Vec<Block> = blocks()
        .into_iter()
        .filter(|block| block.language == language)
        .collect();
    assert!(!found.is_empty(), "no {language}: the reading is broken");
    found
}

#[test]
fn every_block_is_of_a_kind_that_is_checked() {
    let kinds: BTreeSet<&str> = blocks().iter().map(|block| block.language).collect();
    assert_eq!(kinds, BTreeSet::from(["rust", "sh", "text", "toml"]));
}

#[test]
fn every_shell_block_runs() {
    let dir = tempfile::tempdir().unwrap();
    let command = Path::new(env!("CARGO_BIN_EXE_pulsedb"));
    let path = env::var("PATH").unwrap();
    let path = format!("{}:{path}", command.parent().unwrap().display());
    for block in of("sh") {
        let done = Command::new("sh")
            .args(["-eu", "-c", &block.text])
            .current_dir(&dir)
            .env("PATH", &path)
            .env("HOME", dir.path())
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "docs/operations.md:{}: {}\n{}\n{}\n{}",
            block.line,
            done.status,
            block.text,
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr)
        );
    }
}

#[test]
fn every_configuration_is_one() {
    for block in of("toml") {
        let read = Config::from_toml_str(&block.text);
        assert!(read.is_ok(), "docs/operations.md:{}: {read:?}", block.line);
    }
}

#[test]
fn every_command_is_shown() {
    let help = Command::new(env!("CARGO_BIN_EXE_pulsedb"))
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let listed = help.split("Commands:\n").nth(1).unwrap();
    let names: Vec<&str> = listed
        .lines()
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(names.len() > 15, "{names:?}");
    let shown: String = of("sh").into_iter().map(|block| block.text).collect();
    for name in names {
        assert!(shown.contains(&format!("pulsedb {name}")), "{name}");
    }
}

#[test]
fn every_metric_is_one() {
    let known: BTreeSet<&str> = Metrics::families().iter().map(|one| one.name).collect();
    let named = GUIDE.split("`pulsedb_").skip(1);
    let named: Vec<&str> = named
        .filter_map(|rest| rest.split_once('`'))
        .map(|(name, _)| name)
        .collect();
    assert!(named.len() > 5, "{named:?}");
    for name in named {
        assert!(known.contains(format!("pulsedb_{name}").as_str()), "{name}");
    }
}

#[test]
fn links_lead_somewhere() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let anchors: BTreeSet<String> = GUIDE
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .map(|heading| heading.trim_start_matches('#').trim().to_lowercase())
        .map(|heading| heading.replace('`', "").replace(' ', "-"))
        .collect();
    let mut links = 0;
    for target in GUIDE.split("](").skip(1) {
        let (target, _) = target.split_once(')').unwrap();
        match target.strip_prefix('#') {
            Some(anchor) => assert!(anchors.contains(anchor), "#{anchor}"),
            None => assert!(fs::exists(docs.join(target)).unwrap(), "{target}"),
        }
        links += 1;
    }
    assert!(links > 10, "{links}");
}
