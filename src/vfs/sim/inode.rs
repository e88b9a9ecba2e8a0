//! What is known of one simulated file?
//!
//! The volatile image equals the durable one plus all changes listed as unsynced, plus those that
//! a failed sync took off the list.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt};

use rustix::{fs::MemfdFlags, io::Errno};

use super::image::Image;

/// A change that no sync has made durable.
#[derive(Clone, Debug)]
pub(super) enum Change {
    SetLen(u64),
    Write { offset: u64, data: Vec<u8> },
}

/// One file, whatever its names.
#[derive(Debug)]
pub(super) struct Inode {
    /// The path under which it was last seen, for the trace.
    pub(super) label: String,
    volatile: File,
    pub(super) durable: Image,
    pub(super) unsynced: Vec<Change>,
    pub(super) unreadable: Vec<Range<u64>>,
    /// Open handles, locks included.
    pub(super) handles: u64,
    pub(super) shared_locks: u64,
    pub(super) exclusive_lock: bool,
}

impl Inode {
    /// A file with `image` as both of its images.
    pub(super) fn new(label: String, image: Image) -> io::Result<Self> {
        // A real file without a name, so that it can be mapped like any other.
        let volatile = File::from(rustix::fs::memfd_create(
            "pulsedb-sim",
            MemfdFlags::CLOEXEC,
        )?);
        volatile.set_len(image.len())?;
        for (offset, bytes) in image.parts() {
            volatile.write_all_at(bytes, offset)?;
        }
        Ok(Self {
            label,
            volatile,
            durable: image,
            unsynced: Vec::new(),
            unreadable: Vec::new(),
            handles: 0,
            shared_locks: 0,
            exclusive_lock: false,
        })
    }

    /// The file that readers and maps see.
    pub(super) const fn visible(&self) -> &File {
        &self.volatile
    }

    pub(super) fn len(&self) -> io::Result<u64> {
        Ok(self.volatile.metadata()?.len())
    }

    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.saturating_add(buf.len() as u64);
        let touches = |range: &Range<u64>| range.start < end && offset < range.end;
        if self.unreadable.iter().any(touches) {
            return Err(Errno::IO.into());
        }
        self.volatile.read_exact_at(buf, offset)
    }

    pub(super) fn write(&mut self, data: &[u8], offset: u64) -> io::Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        self.volatile.write_all_at(data, offset)?;
        let data = data.to_vec();
        self.unsynced.push(Change::Write { offset, data });
        Ok(())
    }

    pub(super) fn set_len(&mut self, len: u64) -> io::Result<()> {
        if self.len()? != len {
            self.volatile.set_len(len)?;
            self.unsynced.push(Change::SetLen(len));
        }
        Ok(())
    }

    pub(super) fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            match change {
                Change::SetLen(len) => self.durable.set_len(len),
                Change::Write { offset, data } => self.durable.write(offset, &data),
            }
        }
    }

    pub(super) fn flip_bit(&mut self, offset: u64, bit: u8) -> io::Result<()> {
        let mask = 1_u8 << (bit % 8);
        let mut byte = [0];
        self.volatile.read_exact_at(&mut byte, offset)?;
        self.volatile
            .write_all_at(&byte.map(|byte| byte ^ mask), offset)?;
        if let Some(byte) = self.durable.byte(offset) {
            self.durable.write(offset, &[byte ^ mask]);
        }
        for change in &mut self.unsynced {
            if let Change::Write { offset: at, data } = change
                && let Some(index) = offset.checked_sub(*at)
                && let Some(byte) = usize::try_from(index).ok().and_then(|i| data.get_mut(i))
            {
                *byte ^= mask;
            }
        }
        Ok(())
    }
}
