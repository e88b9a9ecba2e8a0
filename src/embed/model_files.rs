//! Where is the built-in model, and what does one do if it is nowhere?
//!
//! A lookup reads no model bytes. The first place that was *named* wins: a path in the
//! configuration or in the environment that cannot be used is an error, and not a reason to take
//! another model silently. Called by `builtin` when the first text arrives.

use std::{
    env,
    ffi::OsString,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use crate::error::{PulseDBError, Result};

/// Environment variable that names a model directory.
pub(crate) const MODEL_DIR_VARIABLE: &str = "PULSEDB_MODEL_DIR";
/// What a model directory must hold.
const FILES: [&str; 3] = [CONFIG, TOKENIZER, WEIGHTS];
pub(super) const CONFIG: &str = "config.json";
pub(super) const TOKENIZER: &str = "tokenizer.json";
pub(super) const WEIGHTS: &str = "model.safetensors";
/// Why there is no such directory.
pub(super) const NO_CACHE: &str = "neither XDG_CACHE_HOME nor HOME is an absolute path";
/// The directory below the user's cache directory.
const CACHE: &str = "pulsedb/all-MiniLM-L6-v2";

/// A complete model directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ModelFiles {
    pub(super) config: PathBuf,
    pub(super) tokenizer: PathBuf,
    pub(super) weights: PathBuf,
}

/// The parts of the environment that a lookup depends on.
#[derive(Clone, Debug, Default)]
pub(super) struct Surroundings {
    pub(super) model_dir: Option<OsString>,
    pub(super) cache_home: Option<OsString>,
    pub(super) home: Option<OsString>,
}

impl Surroundings {
    /// Those of this process.
    pub(super) fn of_process() -> Self {
        Self {
            model_dir: env::var_os(MODEL_DIR_VARIABLE),
            cache_home: env::var_os("XDG_CACHE_HOME"),
            home: env::var_os("HOME"),
        }
    }

    /// The cache directory's entry for the model; an empty or relative variable counts as unset.
    pub(super) fn cache_entry(&self) -> Option<PathBuf> {
        let absolute = |value: &OsString| Some(PathBuf::from(value)).filter(|p| p.is_absolute());
        let cache = self.cache_home.as_ref().and_then(absolute);
        let home = || Some(self.home.as_ref().and_then(absolute)?.join(".cache"));
        Some(cache.or_else(home)?.join(CACHE))
    }

    /// The directory that the environment names.
    fn named(&self) -> Option<&Path> {
        let dir = self.model_dir.as_ref().filter(|dir| !dir.is_empty());
        dir.map(Path::new)
    }
}

/// Finds the model, or says where it was looked for and how to get it.
pub(super) fn find(explicit: Option<&Path>, around: &Surroundings) -> Result<ModelFiles> {
    let mut report = String::new();
    if let Some(dir) = explicit {
        return look_into(dir, "the configured model_path", &mut report)
            .ok_or_else(|| error(&report));
    }
    note(&mut report, "the configured model_path", "not set");
    if let Some(dir) = around.named() {
        return look_into(dir, MODEL_DIR_VARIABLE, &mut report).ok_or_else(|| error(&report));
    }
    note(&mut report, MODEL_DIR_VARIABLE, "not set");
    let place = "the user's cache directory";
    let Some(dir) = around.cache_entry() else {
        note(&mut report, place, NO_CACHE);
        return Err(error(&report));
    };
    look_into(&dir, place, &mut report).ok_or_else(|| error(&report))
}

/// The cache directory's entry, if that is where [`find`] looks and there is no model.
#[cfg(feature = "hub")]
pub(super) fn lacking(explicit: Option<&Path>, around: &Surroundings) -> Option<PathBuf> {
    let is_named = explicit.is_some() || around.named().is_some();
    let dir = around.cache_entry().filter(|_| !is_named)?;
    (!missing(&dir).is_empty()).then_some(dir)
}

/// What `dir` lacks of a model.
#[allow(
    clippy::disallowed_methods,
    reason = "model files are not the database's"
)]
pub(super) fn missing(dir: &Path) -> Vec<&'static str> {
    let absent = |name: &&str| !dir.join(name).is_file();
    FILES.into_iter().filter(absent).collect()
}

#[allow(
    clippy::disallowed_methods,
    reason = "model files are not the database's"
)]
fn look_into(dir: &Path, place: &str, report: &mut String) -> Option<ModelFiles> {
    let missing = missing(dir);
    if missing.is_empty() {
        return Some(ModelFiles {
            config: dir.join(CONFIG),
            tokenizer: dir.join(TOKENIZER),
            weights: dir.join(WEIGHTS),
        });
    }
    let what = if dir.is_dir() {
        format!("{} has no {}", dir.display(), missing.join(", no "))
    } else {
        format!("{} is not a directory", dir.display())
    };
    note(report, place, &what);
    None
}

fn note(report: &mut String, place: &str, what: &str) {
    // Writing into a String cannot fail.
    let _ = write!(report, "\n  - {place}: {what}");
}

fn error(report: &str) -> PulseDBError {
    PulseDBError::Embedding(format!(
        "the model all-MiniLM-L6-v2 was not found. Looked at:{report}\nDo one of these:\n  \
         - in a checkout of PulseDB, run `cargo xtask model`, which puts it into the user's cache directory\n  \
         - in a build with the feature `hub`, run `pulsedb model download`, or set model.download = \"when_missing\"\n  \
         - download {} of sentence-transformers/all-MiniLM-L6-v2 from the Hugging Face hub into one of these places\n  \
         - open the database with an embedder of your own (open_with_embedder)\n  \
         - bring your own vectors (EmbeddingProvider::External)",
        FILES.join(", "),
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::*;

    fn model_in(dir: &Path) {
        fs::create_dir_all(dir).unwrap();
        for name in FILES {
            fs::write(dir.join(name), "").unwrap();
        }
    }

    fn around(
        model_dir: Option<&Path>,
        cache_home: Option<&Path>,
        home: Option<&Path>,
    ) -> Surroundings {
        let own = |path: Option<&Path>| path.map(|path| path.as_os_str().to_owned());
        Surroundings {
            model_dir: own(model_dir),
            cache_home: own(cache_home),
            home: own(home),
        }
    }

    #[test]
    fn explicit_path_goes_before_the_environment_before_the_cache() {
        let root = tempfile::tempdir().unwrap();
        let [explicit, variable, cache, home] =
            ["explicit", "variable", "cache", "home"].map(|name| root.path().join(name));
        model_in(&home.join(".cache").join(CACHE));
        let found = find(None, &around(None, None, Some(&home))).unwrap();
        assert_eq!(found.weights, home.join(".cache").join(CACHE).join(WEIGHTS));
        model_in(&cache.join(CACHE));
        let found = find(None, &around(None, Some(&cache), Some(&home))).unwrap();
        assert_eq!(found.config, cache.join(CACHE).join(CONFIG));
        model_in(&variable);
        let found = find(None, &around(Some(&variable), Some(&cache), Some(&home))).unwrap();
        assert_eq!(found.tokenizer, variable.join(TOKENIZER));
        model_in(&explicit);
        let found = find(Some(&explicit), &around(Some(&variable), None, None)).unwrap();
        assert_eq!(found.weights, explicit.join(WEIGHTS));
    }

    #[test]
    fn named_place_that_is_unusable_is_not_skipped() {
        let root = tempfile::tempdir().unwrap();
        let good = root.path().join("good");
        model_in(&good);
        let bad = root.path().join("bad");
        fs::create_dir_all(&bad).unwrap();
        fs::write(bad.join(CONFIG), "").unwrap();
        let error = find(Some(&bad), &around(Some(&good), None, None))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("has no tokenizer.json, no model.safetensors"),
            "{error}"
        );
        let nowhere = root.path().join("nowhere");
        let error = find(None, &around(Some(&nowhere), None, None))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("PULSEDB_MODEL_DIR") && error.contains("is not a directory"),
            "{error}"
        );
    }

    #[cfg(feature = "hub")]
    #[test]
    fn only_a_cache_that_counts_can_lack_the_model() {
        let root = tempfile::tempdir().unwrap();
        let cached = root.path().join(".cache").join(CACHE);
        let home = around(None, None, Some(root.path()));
        assert_eq!(lacking(None, &home), Some(cached.clone()));
        assert_eq!(lacking(Some(root.path()), &home), None);
        assert_eq!(
            lacking(None, &around(Some(root.path()), None, Some(root.path()))),
            None
        );
        assert_eq!(lacking(None, &Surroundings::default()), None);
        model_in(&cached);
        assert_eq!(lacking(None, &home), None);
        fs::remove_file(cached.join(TOKENIZER)).unwrap();
        assert_eq!(lacking(None, &home), Some(cached));
    }

    #[test]
    fn error_lists_the_places_and_the_ways() {
        let root = tempfile::tempdir().unwrap();
        let error = find(None, &around(None, None, Some(root.path())))
            .unwrap_err()
            .to_string();
        for part in [
            "model_path: not set",
            "PULSEDB_MODEL_DIR: not set",
            ".cache/pulsedb/all-MiniLM-L6-v2 is not a directory",
            "cargo xtask model",
            "pulsedb model download",
            "sentence-transformers/all-MiniLM-L6-v2",
            "open_with_embedder",
            "External",
        ] {
            assert!(error.contains(part), "{part} is missing in: {error}");
        }
        let relative = Surroundings {
            home: Some("relative".into()),
            ..Surroundings::default()
        };
        let error = find(None, &relative).unwrap_err().to_string();
        assert!(error.contains("neither XDG_CACHE_HOME nor HOME"), "{error}");
    }
}
