//! Which bytes are on disk, and which were written to get there?

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, anyhow};

/// How often a folder is looked at for files that come and go. Those of `index/` stay for seconds.
const INTERVAL: Duration = Duration::from_millis(5);

/// Bytes of a segment's header block, of a frame's header, and the alignment of frames; see `storage-format.md`.
const HEADER_BLOCK: usize = 4096;
const FRAME_HEADER: usize = 64;

/// Bytes of all files in `dir`: their lengths, and what the file system keeps for them.
pub(super) fn size(dir: &Path) -> Result<(u64, u64)> {
    let mut sizes = (0, 0);
    let Ok(entries) = fs::read_dir(dir) else {
        return Ok(sizes);
    };
    for entry in entries {
        // One that is removed meanwhile counts as gone.
        if let Ok(about) = entry?.metadata() {
            sizes = (sizes.0 + about.len(), sizes.1 + 512 * about.blocks());
        }
    }
    Ok(sizes)
}

/// What is in the log directory, read by the description of the format.
#[derive(Default)]
pub(super) struct LogBytes {
    /// Of the payloads of all frames.
    pub(super) payload: u64,
    /// Of frames, with what stands around them: up to the end of the last one of each file.
    pub(super) used: u64,
}

pub(super) fn log_bytes(log: &Path) -> Result<LogBytes> {
    let mut total = LogBytes::default();
    for entry in fs::read_dir(log)? {
        let path = entry?.path();
        if path.extension().is_none_or(|end| end != "seg") {
            continue;
        }
        let bytes = fs::read(&path)?;
        let mut at = HEADER_BLOCK;
        while let Some(header) = bytes.get(at..at + FRAME_HEADER) {
            let &[_, _, _, _, a, b, c, d, _, _, _, _, kind, ..] = header else {
                break;
            };
            if kind == 0 {
                break;
            }
            let len = u32::from_le_bytes([a, b, c, d]);
            total.payload += u64::from(len);
            at = (at + FRAME_HEADER + len as usize).next_multiple_of(FRAME_HEADER);
        }
        total.used += at as u64;
    }
    Ok(total)
}

/// Bytes that this process caused to be sent to the storage layer.
pub(super) fn written_by_process() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/io").context("/proc/self/io")?;
    let field = text
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "))
        .context("/proc/self/io has no write_bytes")?;
    Ok(field.parse()?)
}

/// Bytes written to the device that `dir` is on, by everybody.
pub(super) fn written_to_device(dir: &Path) -> Result<u64> {
    /// Sectors written is the seventh number; they have 512 bytes whatever the device says.
    const SECTORS_WRITTEN: usize = 6;
    let device = fs::metadata(dir)?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let path = format!("/sys/dev/block/{major}:{minor}/stat");
    let stat = fs::read_to_string(&path).with_context(|| path.clone())?;
    let sectors = stat.split_whitespace().nth(SECTORS_WRITTEN).context(path)?;
    Ok(512 * sectors.parse::<u64>()?)
}

/// Watches a folder whose files are written once: the greatest length of each that was ever there, by its
/// inode.
pub(super) struct Watcher {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<BTreeMap<u64, u64>>,
}

impl Watcher {
    pub(super) fn start(dir: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
            loop {
                // After the last look, so that nothing is missed.
                let last = stopped.load(Ordering::Acquire);
                for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
                    if let Ok(about) = entry.metadata() {
                        // A file keeps its number when it gets its final name.
                        let len = seen.entry(about.ino()).or_default();
                        *len = about.len().max(*len);
                    }
                }
                if last {
                    return seen;
                }
                thread::sleep(INTERVAL);
            }
        });
        Self { stop, thread }
    }

    /// Bytes of all files that were seen.
    pub(super) fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Release);
        let seen = self
            .thread
            .join()
            .map_err(|_| anyhow!("the watching thread panicked"))?;
        Ok(seen.values().sum())
    }
}
