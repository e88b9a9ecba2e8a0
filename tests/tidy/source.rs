//! Which files are there, and which of their lines are production code?

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A text file of the repository.
pub(crate) struct Source {
    /// Below the top of the repository, with `/` on every system.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    #[cfg(test)]
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    /// Whether the whole file is test code: `tests/…`, `…/tests.rs`, `…_tests.rs`.
    pub(crate) fn is_test(&self) -> bool {
        let mut parts = self.path.rsplit('/');
        let name = parts.next().unwrap_or_default();
        name == "tests.rs" || name.ends_with("_tests.rs") || parts.any(|part| part == "tests")
    }

    /// The text with the lines of `#[cfg(test)]` modules left empty, so that line numbers stay.
    pub(crate) fn production(&self) -> String {
        if self.is_test() {
            return String::new();
        }
        let mut production = String::new();
        for (line, test) in self.marked_lines() {
            if !test {
                production.push_str(line);
            }
            production.push('\n');
        }
        production
    }

    /// How many lines are production code, and how many are in test modules.
    pub(crate) fn line_counts(&self) -> (usize, usize) {
        let tests = self.marked_lines().iter().filter(|(_, test)| *test).count();
        (self.marked_lines().len() - tests, tests)
    }

    /// Each line, and whether it belongs to a test module. Relies on the form that rustfmt gives:
    /// a module of the file begins in the first column and ends with a `}` there.
    fn marked_lines(&self) -> Vec<(&str, bool)> {
        let lines: Vec<&str> = self.text.lines().collect();
        let mut marked = Vec::with_capacity(lines.len());
        let mut at = 0;
        while at < lines.len() {
            let end = test_module_end(&lines, at);
            let next = end.map_or(at + 1, |end| end + 1);
            marked.extend(lines[at..next].iter().map(|line| (*line, end.is_some())));
            at = next;
        }
        marked
    }
}

/// If a test module begins at `at`, its last line.
fn test_module_end(lines: &[&str], at: usize) -> Option<usize> {
    if !lines[at].starts_with("#[cfg(test)]") {
        return None;
    }
    let head = (at..lines.len()).find(|&line| {
        line > at && !lines[line].starts_with("#[") || lines[line].contains("mod ")
    })?;
    let module = lines[head].split("mod ").next()?;
    if !lines[head].contains("mod ") || module.contains("fn ") {
        return None;
    }
    if lines[head].ends_with(';') || lines[head].ends_with("{}") {
        return Some(head);
    }
    (head..lines.len()).find(|&line| lines[line] == "}")
}

/// Every text file that is part of the repository.
pub(crate) fn repository() -> Vec<Source> {
    let top = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    walk(&top, &top, &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn walk(top: &Path, dir: &Path, files: &mut Vec<Source>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !matches!(name.as_str(), "target" | ".git" | "corpus" | "artifacts") {
                walk(top, &path, files);
            }
            continue;
        }
        let extension = path.extension().and_then(|end| end.to_str());
        let text_file = matches!(extension, Some("rs" | "md" | "toml" | "sh" | "yml"));
        let script = dir.file_name().is_some_and(|folder| folder == ".ci");
        if text_file || script {
            let path_below = path
                .strip_prefix(top)
                .unwrap()
                .to_string_lossy()
                .replace('\\', "/");
            files.push(Source {
                path: path_below,
                text: fs::read_to_string(&path).unwrap(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_modules_are_not_production() {
        let text = "//! Head\n#[cfg(test)]\nmod a;\nfn b() {}\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n    fn c() {}\n}\nfn d() {}\n";
        let source = Source::new("src/a.rs", text);
        let production = source.production();
        assert_eq!(production.lines().count(), text.lines().count());
        assert!(production.contains("fn b") && production.contains("fn d"));
        assert!(!production.contains("mod a") && !production.contains("fn c"));
        assert_eq!(source.line_counts(), (3, 7));
    }

    #[test]
    fn a_single_test_item_hides_no_production() {
        let source = Source::new("src/a.rs", "#[cfg(test)]\nfn seam() {}\nfn b() {}\n");
        assert!(source.production().contains("fn b"));
    }

    #[test]
    fn sibling_test_files_are_told_by_name() {
        for path in [
            "src/log/tests.rs",
            "src/log/roll_tests.rs",
            "src/log/tests/roll.rs",
        ] {
            assert!(Source::new(path, "").is_test(), "{path}");
        }
        for path in ["src/log/mod.rs", "src/contests.rs"] {
            assert!(!Source::new(path, "").is_test(), "{path}");
        }
    }
}
