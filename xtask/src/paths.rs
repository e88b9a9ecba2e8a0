//! Where is what?

use std::{
    env,
    path::{Path, PathBuf},
};

/// The top of the repository.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Where cargo puts what it builds, unless the caller chose another place.
pub(crate) fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        // A relative directory counts from where cargo was started, as cargo itself does.
        Some(dir) if !dir.is_empty() => {
            env::current_dir().map_or_else(|_| PathBuf::from(&dir), |here| here.join(&dir))
        }
        _ => root().join("target"),
    }
}

/// Where the library looks for models when it is told nothing else.
pub(crate) fn model_cache() -> Result<PathBuf, String> {
    let set = |name: &str| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    base.map(|dir| dir.join("pulsedb").join("all-MiniLM-L6-v2"))
        .ok_or_else(|| "neither XDG_CACHE_HOME nor HOME is set; set PULSEDB_MODEL_DIR".to_owned())
}
