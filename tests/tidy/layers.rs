//! The table of layers: which module may name which other, and what it may not name at all.
//!
//! Imports point down only. Test code is free to reach anywhere.

use crate::{
    lexer::{Literals, code},
    paths::{Named, named},
    source::Source,
};

struct Layer {
    name: &'static str,
    /// Files or folders directly below `src/`.
    modules: &'static [&'static str],
    /// Layers whose modules may be named.
    below: &'static [&'static str],
    /// Whether modules of this layer may name each other.
    peers: bool,
    /// Paths that may not be named, whatever layer they are from, and why.
    never: &'static [(&'static str, &'static str)],
}

const FILES: &str = "files belong behind the engines";
const CLOCK: &str = "the time of a commit is handed in, so that a run can be repeated";
const TOKIO: &str = "only the surface, edge/ and watch/ name tokio";

const LAYERS: &[Layer] = &[
    // Files that its user names are its own; those of a database it leaves to the crate.
    Layer {
        name: "program",
        modules: &["bin"],
        below: &["surface"],
        peers: true,
        never: &[
            ("parking_lot", "the command does not lock"),
            ("memmap2", "the command does not map files"),
        ],
    },
    Layer {
        name: "surface",
        modules: &["lib", "db", "blocking", "memory_store", "fuzzing"],
        below: &["edge", "flows", "cores", "engines", "bytes", "base"],
        peers: true,
        never: &[
            ("std::fs", "the surface does not touch files"),
            ("parking_lot", "the surface does not lock"),
            ("std::sync::Mutex", "the surface does not lock"),
            ("std::sync::RwLock", "the surface does not lock"),
        ],
    },
    Layer {
        name: "edge",
        modules: &["edge"],
        below: &["cores", "base"],
        peers: false,
        never: &[(
            "crate::state",
            "edge/ carries work without knowing what it does",
        )],
    },
    Layer {
        name: "flows",
        modules: &["write", "read", "watch", "backup", "upkeep"],
        below: &["cores", "engines", "bytes", "base"],
        peers: false,
        never: &[],
    },
    Layer {
        name: "cores",
        modules: &["protocol", "state"],
        below: &["engines", "bytes", "base"],
        peers: true,
        never: &[
            ("tokio", TOKIO),
            ("std::fs", FILES),
            ("crate::vfs", FILES),
            ("crate::env", CLOCK),
            ("std::time::Instant", CLOCK),
            ("std::time::SystemTime", CLOCK),
        ],
    },
    Layer {
        name: "engines",
        modules: &["log", "vector", "text", "embed", "manifest", "telemetry"],
        below: &["bytes", "base"],
        peers: false,
        never: &[("tokio", TOKIO)],
    },
    Layer {
        name: "bytes",
        modules: &["format"],
        below: &["base"],
        peers: false,
        never: &[
            ("tokio", TOKIO),
            ("std::fs", "the format does no I/O"),
            ("std::io", "the format does no I/O"),
            ("crate::vfs", "the format does no I/O"),
            ("crate::env", "the format is a pure function of its bytes"),
            ("tracing", "only the engines and what is above them trace"),
        ],
    },
    Layer {
        name: "base",
        modules: &["config", "model", "error", "vfs", "simd", "sync", "env"],
        below: &[],
        peers: true,
        never: &[
            ("tokio", TOKIO),
            ("tracing", "only the engines and what is above them trace"),
        ],
    },
];

/// Paths that belong to one module each.
const RESERVED: &[(&str, &str)] = &[
    ("notify", "watch"),
    ("memmap2", "vfs"),
    ("loom", "sync"),
    ("usearch", "vector"),
    ("cxx", "vector"),
    ("metrics", "telemetry"),
    ("ureq", "embed"),
];
/// The flows may not name tokio either, except for `watch/`.
const FLOWS_WITH_TOKIO: &[&str] = &["watch"];

/// What the production code of `source` names against the table.
pub(crate) fn check(source: &Source) -> Vec<String> {
    let modules = module_path(&source.path);
    let own = modules.first().map_or("lib", String::as_str);
    let Some(layer) = layer_of(own) else {
        return vec![format!(
            "{}: src/{own} is in no layer; give it a place in the table",
            source.path
        )];
    };
    let production = code(&source.production(), Literals::Blank);
    let mut findings: Vec<String> = named(&production)
        .iter()
        .filter_map(|path| {
            let why = refusal(layer, own, &modules, path)?;
            Some(format!(
                "{}:{}: `{}`: {why}",
                source.path,
                path.line,
                path.segments.join("::")
            ))
        })
        .collect();
    findings.dedup();
    findings
}

fn layer_of(module: &str) -> Option<&'static Layer> {
    LAYERS.iter().find(|layer| layer.modules.contains(&module))
}

/// `src/log/segment.rs` is `log::segment`, `src/log/mod.rs` is `log`, `src/lib.rs` is the root.
fn module_path(path: &str) -> Vec<String> {
    let below = path.trim_start_matches("src/").trim_end_matches(".rs");
    let mut parts: Vec<String> = below.split('/').map(str::to_owned).collect();
    if parts
        .last()
        .is_some_and(|last| last == "mod" || (last == "lib" && parts.len() == 1))
    {
        parts.pop();
    }
    parts
}

fn refusal(layer: &Layer, own: &str, modules: &[String], path: &Named) -> Option<String> {
    let absolute = resolve(modules, path);
    for (never, why) in layer.never {
        if names(&absolute, never) {
            return Some((*why).to_owned());
        }
    }
    if layer.name == "flows" && !FLOWS_WITH_TOKIO.contains(&own) && names(&absolute, "tokio") {
        return Some(TOKIO.to_owned());
    }
    for (reserved, owner) in RESERVED {
        if own != *owner && own != "lib" && names(&absolute, reserved) {
            return Some(format!("only {owner}/ names {reserved}"));
        }
    }
    let [first, target, ..] = absolute.as_slice() else {
        return None;
    };
    if first != "crate" || target == own || own == "lib" || own == "bin" {
        return None;
    }
    let Some(other) = layer_of(target) else {
        return Some("name the module that has it, not the crate's root".to_owned());
    };
    if other.name == layer.name {
        return (!layer.peers).then(|| format!("{} do not know each other", layer.name));
    }
    (!layer.below.contains(&other.name)).then(|| {
        format!(
            "{own} ({}) may not know {target} ({}); imports point down",
            layer.name, other.name
        )
    })
}

/// The path from the crate's root, where it is one of ours.
fn resolve(modules: &[String], path: &Named) -> Vec<String> {
    let supers = path
        .segments
        .iter()
        .take_while(|segment| *segment == "super")
        .count();
    if supers == 0 {
        return path.segments.clone();
    }
    // `super` of a module written in the file leads to the file itself.
    let up = supers
        .saturating_sub(path.inline_modules)
        .min(modules.len());
    let mut absolute = vec!["crate".to_owned()];
    absolute.extend_from_slice(&modules[..modules.len() - up]);
    absolute.extend_from_slice(&path.segments[supers..]);
    absolute
}

/// Whether `path` names `what` or something in it, or imports a module that opens a way to it.
fn names(path: &[String], what: &str) -> bool {
    let what: Vec<&str> = what.split("::").collect();
    let common = path.iter().zip(&what).take_while(|(a, b)| a == *b).count();
    let opens = common >= 2 && (common == path.len() || path[common] == "*");
    common == what.len() || opens && what[0] != "crate"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(path: &str, text: &str) -> bool {
        !check(&Source::new(path, text)).is_empty()
    }

    #[test]
    fn what_points_up_or_across_is_refused() {
        for (path, text) in [
            ("src/vfs/os.rs", "use crate::format::frame;"),
            ("src/model/mod.rs", "use crate::{error, log::Place};"),
            ("src/format/frame.rs", "fn f() -> crate::log::Place {}"),
            ("src/log/segment.rs", "use crate::manifest::Manifest;"),
            (
                "src/log/segment.rs",
                "use super::super::manifest::Manifest;",
            ),
            ("src/log/mod.rs", "use super::write;"),
            ("src/log/mod.rs", "use crate::state::Snapshot;"),
            ("src/read/plan.rs", "use crate::write::validate;"),
            ("src/write/mod.rs", "use crate::db::PulseDB;"),
            ("src/edge/pool.rs", "use crate::state::Snapshot;"),
            ("src/state/table.rs", "use crate::write::validate;"),
            ("src/state/table.rs", "use crate::Result;"),
            ("src/somewhere/new.rs", "fn f() {}"),
        ] {
            assert!(refused(path, text), "{path}: {text}");
        }
    }

    #[test]
    fn what_a_layer_may_not_name_is_refused() {
        for (path, text) in [
            ("src/protocol/commit.rs", "use tokio::sync::oneshot;"),
            (
                "src/protocol/commit.rs",
                "fn f() { std::fs::remove_file(p); }",
            ),
            (
                "src/state/table.rs",
                "use std::{time::{Duration, Instant}};",
            ),
            ("src/state/table.rs", "use std::time;"),
            ("src/state/table.rs", "use std::time::*;"),
            ("src/protocol/commit.rs", "use crate::env::Env;"),
            ("src/protocol/commit.rs", "use crate::{sync, vfs::Vfs};"),
            ("src/format/frame.rs", "use std::io::Read;"),
            ("src/write/mod.rs", "use tokio::sync::Semaphore;"),
            ("src/log/mod.rs", "use tokio;"),
            ("src/db.rs", "use parking_lot::Mutex;"),
            ("src/read/plan.rs", "use memmap2::Mmap;"),
        ] {
            assert!(refused(path, text), "{path}: {text}");
        }
    }

    #[test]
    fn what_points_down_is_fine() {
        for (path, text) in [
            (
                "src/lib.rs",
                "mod db; pub use crate::db::PulseDB; pub use model::*;",
            ),
            (
                "src/db.rs",
                "use crate::{config::Config, edge, write, log, model::CollectiveId, vfs::OsVfs};",
            ),
            (
                "src/edge/pool.rs",
                "use crate::{error::Result, sync::Mutex}; use tokio::sync::oneshot;",
            ),
            (
                "src/watch/mod.rs",
                "use tokio::sync::broadcast; use crate::state::Snapshot;",
            ),
            (
                "src/state/table.rs",
                "use std::time::Duration; use crate::{format::Body, log::Place};",
            ),
            (
                "src/log/segment.rs",
                "use super::Place; use crate::vfs::Vfs; tracing::warn!(\"x\");",
            ),
            (
                "src/sync/mod.rs",
                "mod imp { use super::X; } use std::sync::Mutex;",
            ),
            (
                "src/read/plan.rs",
                "//! [`crate::write`] \nconst A: &str = \"crate::write\";",
            ),
            (
                "src/read/plan.rs",
                "fn f() {}\n#[cfg(test)]\nmod tests {\n    use crate::write::x;\n}\n",
            ),
            ("src/read/plan_tests.rs", "use crate::write::validate;"),
        ] {
            assert_eq!(
                check(&Source::new(path, text)),
                Vec::<String>::new(),
                "{path}: {text}"
            );
        }
    }
}
