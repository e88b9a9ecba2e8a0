//! What could one thread reach that only writes and syncs?
//!
//! pwrite of k records, then fdatasync, into files of a segment's size that were made before the clock starts.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
};

use anyhow::{Context, Result};

use super::{
    SEGMENT_BYTES,
    drive::{self, Load, Outcome},
    pool_for,
};

/// One record with a frame header.
pub(crate) const RECORD_BYTES: usize = 2280;

/// What the blocks of the files are like before they are used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Already written once: a sync need not change the file's extents.
    Steady,
    /// Only allocated.
    Fresh,
}

impl State {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Fresh => "fresh",
        }
    }
}

/// Writes and syncs k records at a time; latencies are those of whole batches.
pub(crate) fn run(dir: &Path, state: State, k: usize, load: Load) -> Result<Outcome> {
    let mut files = (0..pool_for(load))
        .map(|i| make(dir, i, state))
        .collect::<Result<Vec<_>>>()?;
    rustix::fs::sync();
    let mut data = vec![0u8; k * RECORD_BYTES];
    for (i, byte) in data.iter_mut().enumerate() {
        *byte = (i % 251) as u8;
    }
    let (mut current, mut offset) = (0, 0);
    let outcome = drive::with_caller(load, |n| {
        // Batches differ, as records do.
        if let Some(stamp) = data.first_chunk_mut() {
            *stamp = n.to_le_bytes();
        }
        if offset + data.len() as u64 > SEGMENT_BYTES {
            (current, offset) = (current + 1, 0);
            if current == files.len() {
                match state {
                    // The blocks of the first file are as written as those of a new one.
                    State::Steady => current = 0,
                    State::Fresh => files.push(make(dir, current, state)?),
                }
            }
        }
        let file = files.get(current).context("no file to write to")?;
        file.write_all_at(&data, offset)?;
        file.sync_data()?;
        offset += data.len() as u64;
        Ok(())
    })?;
    Ok(outcome.of_batches(k as u64))
}

/// A file of a segment's size, its blocks allocated and in the given state, durable.
fn make(dir: &Path, number: usize, state: State) -> Result<File> {
    let path = dir.join(format!("raw-{number}"));
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)?;
    allocate(&file)?;
    if state == State::Steady {
        let chunk = vec![0xa5u8; 1 << 20];
        for at in (0..SEGMENT_BYTES).step_by(chunk.len()) {
            file.write_all_at(&chunk, at)?;
        }
    }
    file.sync_all()?;
    Ok(file)
}

#[cfg(target_os = "linux")]
fn allocate(file: &File) -> Result<()> {
    rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, SEGMENT_BYTES)
        .context("fallocate")
}

#[cfg(not(target_os = "linux"))]
fn allocate(file: &File) -> Result<()> {
    Ok(file.set_len(SEGMENT_BYTES)?)
}
