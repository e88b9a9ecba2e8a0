//! On which machine was a table made?
//!
//! Reads `/proc`; what a system does not tell is left out.

use std::{fs, path::Path};

use anyhow::{Result, bail};

/// Instruction sets that the measured code may use.
const FLAGS: &[&str] = &[
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512bw",
    "avx512_vnni",
    "avx512_bf16",
    "avx_vnni",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "asimddp",
    "sve",
];

/// Whether the processor multiplies bf16 in tiles.
#[cfg(feature = "embed")]
pub(crate) fn has_tiles() -> bool {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = field(&cpu, "flags").unwrap_or("");
    flags.split(' ').any(|flag| flag == "amx_bf16")
}

/// The lines of a header: processor, memory, kernel, and the file system under `dir`.
pub(crate) fn describe(dir: &Path) -> Result<Vec<String>> {
    let mut lines = without_files();
    let fs_kind = file_system(dir)?;
    lines.push(format!("file system of the files under test: {fs_kind}"));
    Ok(lines)
}

/// The same for a bench that writes no files.
pub(crate) fn without_files() -> Vec<String> {
    let mut lines = Vec::new();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = field(&cpu, "model name").unwrap_or(std::env::consts::ARCH);
    let flags = field(&cpu, "flags")
        .or_else(|| field(&cpu, "Features"))
        .unwrap_or("");
    let flags: Vec<_> = flags
        .split(' ')
        .filter(|flag| FLAGS.contains(flag))
        .collect();
    lines.push(format!("cpu: {model}, {cores} cores ({})", flags.join(" ")));
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = field(&memory, "MemTotal").unwrap_or("unknown");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    lines.push(format!(
        "memory: {memory}; {} {}",
        std::env::consts::OS,
        kernel.trim()
    ));
    if cfg!(debug_assertions) {
        lines.push("DEBUG BUILD: the numbers mean nothing; use --release".into());
    }
    lines
}

/// Kind and options of the mount that holds `dir`. Memory is refused: nothing there is durable.
fn file_system(dir: &Path) -> Result<String> {
    let dir = dir.canonicalize()?;
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mount = mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            Some((words.next()?, words.next()?, words.next()?))
        })
        .filter(|(point, ..)| dir.starts_with(point))
        .max_by_key(|(point, ..)| point.len());
    match mount {
        Some((_, kind @ ("tmpfs" | "ramfs"), _)) => bail!(
            "{} is on {kind}, where a sync costs nothing; set PULSEDB_BENCH_DIR to a folder on a disk",
            dir.display()
        ),
        Some((_, kind, options)) => Ok(format!("{kind} ({options})")),
        None => Ok("unknown".into()),
    }
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim())
}
