//! Where do the texts come from? Files and git, read within bounds.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    Outcome,
    passage::{Kind, Passage, documentation, paragraphs},
    terminal::Screen,
};

/// Bounds that keep the reading to seconds.
const MAX_FILES: usize = 500;
const MAX_FILE_BYTES: u64 = 1 << 20;
const MAX_COMMITS: &str = "5000";

/// READMEs, change logs and doc comments of the crates that cargo has unpacked.
pub(crate) fn of_registry(screen: &Screen) -> Outcome<Vec<Passage>> {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")))
        .ok_or("neither CARGO_HOME nor HOME says where the cargo registry is")?;
    let mut crates: Vec<PathBuf> = entries(&home.join("registry").join("src"))
        .iter()
        .flat_map(|index| entries(index))
        .collect();
    crates.retain(|path| path.is_dir());
    let mut progress = screen.progress("crates", crates.len() as u64);
    let mut found = Vec::new();
    for dir in crates {
        read_crate(&dir, &mut found);
        progress.advance(1);
    }
    Ok(found)
}

fn read_crate(dir: &Path, found: &mut Vec<Passage>) {
    let full = name_of(dir);
    // `serde_json-1.0.1`: the version begins behind the last hyphen with a digit after it.
    let split = full.match_indices('-').find(|(at, _)| {
        full.get(at + 1..)
            .is_some_and(|v| v.starts_with(|c: char| c.is_ascii_digit()))
    });
    let (origin, revision) = match split {
        Some((at, _)) => (
            full.get(..at).unwrap_or(&full),
            full.get(at + 1..).unwrap_or_default(),
        ),
        None => (full.as_str(), ""),
    };
    for path in files_below(dir) {
        let Some(text) = text_of(&path) else { continue };
        let file = below(dir, &path);
        let top = !file.contains('/');
        let (kind, cut) = match markdown_kind(&file) {
            Some(kind) if top => (kind, paragraphs(&text)),
            None if file.starts_with("src/") => (Kind::Documentation, documentation(&text)),
            _ => continue,
        };
        found.extend(cut.into_iter().map(|(heading, text)| Passage {
            text,
            kind,
            origin: origin.to_owned(),
            revision: revision.to_owned(),
            file: file.clone(),
            heading,
        }));
    }
}

/// The Markdown files below `dir` and the messages of its git history.
pub(crate) fn of_directory(dir: &Path) -> Outcome<Vec<Passage>> {
    let dir = dir.canonicalize()?;
    let origin = name_of(&dir);
    let mut found = Vec::new();
    for path in files_below(&dir) {
        let file = below(&dir, &path);
        let (Some(kind), Some(text)) = (markdown_kind(&file), text_of(&path)) else {
            continue;
        };
        found.extend(
            paragraphs(&text)
                .into_iter()
                .map(|(heading, text)| Passage {
                    text,
                    kind,
                    origin: origin.clone(),
                    revision: String::new(),
                    file: file.clone(),
                    heading,
                }),
        );
    }
    found.extend(commits(&dir, &origin));
    Ok(found)
}

fn commits(dir: &Path, origin: &str) -> Vec<Passage> {
    // Fields end with a unit separator, commits with a record separator: neither is ever typed.
    let output = Command::new("git")
        .arg("-C")
        .arg(dir)
        .args([
            "log",
            "--no-merges",
            "-n",
            MAX_COMMITS,
            "--format=%h%x1f%s%x1f%b%x1e",
        ])
        .output();
    let Ok(output) = output else {
        return Vec::new();
    };
    let log = String::from_utf8_lossy(&output.stdout);
    log.split('\u{1e}')
        .filter_map(|commit| commit_passage(commit, origin))
        .collect()
}

fn commit_passage(commit: &str, origin: &str) -> Option<Passage> {
    let mut fields = commit.trim().splitn(3, '\u{1f}');
    let (hash, subject, body) = (fields.next()?, fields.next()?, fields.next()?);
    let prose: Vec<&str> = body
        .lines()
        // Trailers are about people, not about the change.
        .filter(|line| !line.contains("-by: ") && !line.starts_with("Change-Id"))
        .collect();
    let text = format!("{subject}\n\n{}", prose.join("\n"));
    let text: String = text.trim().chars().take(1_200).collect();
    // A bare subject of a few words says nothing about a question.
    (text.chars().count() >= 40).then(|| Passage {
        text,
        kind: Kind::Commit,
        origin: origin.to_owned(),
        revision: hash.to_owned(),
        file: String::new(),
        heading: subject.to_owned(),
    })
}

fn markdown_kind(file: &str) -> Option<Kind> {
    let name = file.rsplit('/').next().unwrap_or(file).to_ascii_lowercase();
    let (stem, extension) = name.rsplit_once('.')?;
    if extension != "md" {
        return None;
    }
    let log = ["changelog", "changes", "history", "releases", "news"];
    Some(if log.iter().any(|log| stem.contains(log)) {
        Kind::Changelog
    } else {
        Kind::Readme
    })
}

/// Rust and Markdown files, nearest first, at most `MAX_FILES` of each.
fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut found: [Vec<PathBuf>; 2] = [Vec::new(), Vec::new()];
    let mut level = vec![dir.to_path_buf()];
    while !level.is_empty() && found.iter().any(|files| files.len() < MAX_FILES) {
        let mut next = Vec::new();
        for path in level.iter().flat_map(|dir| entries(dir)) {
            let name = name_of(&path);
            let [markdown, rust] = &mut found;
            if path.is_dir() && !path.is_symlink() {
                let built = [
                    "target",
                    "node_modules",
                    "tests",
                    "benches",
                    "examples",
                    "vendor",
                ];
                if !name.starts_with('.') && !built.contains(&name.as_str()) {
                    next.push(path);
                }
            } else if name.ends_with(".rs") && rust.len() < MAX_FILES {
                rust.push(path);
            } else if name.to_ascii_lowercase().ends_with(".md") && markdown.len() < MAX_FILES {
                markdown.push(path);
            }
        }
        level = next;
    }
    found.concat()
}

/// What is in a directory, sorted; nothing, if it cannot be read.
fn entries(dir: &Path) -> Vec<PathBuf> {
    let Ok(listing) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = listing
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths
}

fn text_of(path: &Path) -> Option<String> {
    let length = fs::metadata(path).ok()?.len();
    (length <= MAX_FILE_BYTES)
        .then(|| fs::read_to_string(path).ok())
        .flatten()
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn below(dir: &Path, path: &Path) -> String {
    path.strip_prefix(dir)
        .unwrap_or(path)
        .to_string_lossy()
        .replace('\\', "/")
}
