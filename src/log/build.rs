//! How is a sealed segment made out of frames that stand elsewhere?
//!
//! For whoever rewrites the log: compaction and salvage. The frames keep their LSNs and their payloads;
//! their headers get checksums with the new segment's seed. The file is written under another name
//! and gets its own, and its header block, only when all frames are in it; it is durable when
//! [`SegmentBuilder::finish`] returns, and part of the log once a manifest names it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    error::{PulseDBError, Result},
    format::{FrameHeader, SEGMENT_HEADER_LEN, SegmentHeader},
    model::Lsn,
    vfs::{OpenMode, Vfs, VfsFile},
};

use super::{
    file::{UNFINISHED, segment_path, share},
    place::{Place, UNIT_BYTES},
    scan::INDEX_STEP_BYTES,
    segment::{Segment, SegmentMeta},
};

/// Bytes handed to the system at a time: few calls, and little memory.
const WRITE_BYTES: usize = 1024 * 1024;

/// A segment on its way.
#[derive(Debug)]
pub(crate) struct SegmentBuilder {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    unfinished: PathBuf,
    file: Arc<dyn VfsFile>,
    header: SegmentHeader,
    /// Bytes that the file has room for.
    room: u64,
    /// Offset in the file behind everything that was written.
    written: u64,
    buffer: Vec<u8>,
    index: Vec<(u64, u32)>,
    next_entry: u64,
    last_lsn: Lsn,
}

impl SegmentBuilder {
    /// Begins a segment with this header in the log directory `dir`, for frames of `frame_bytes` in
    /// all, paddings included.
    pub(crate) fn create(
        vfs: &Arc<dyn Vfs>,
        dir: &Path,
        header: SegmentHeader,
        frame_bytes: u64,
    ) -> Result<Self> {
        let mut unfinished = segment_path(dir, header.first_lsn, header.id).into_os_string();
        unfinished.push(UNFINISHED);
        let unfinished = PathBuf::from(unfinished);
        let file = vfs
            .open(&unfinished, OpenMode::CreateNew)
            .map_err(PulseDBError::io("create", &unfinished))?;
        let builder = Self {
            vfs: Arc::clone(vfs),
            dir: dir.to_owned(),
            unfinished,
            file,
            header,
            room: SEGMENT_HEADER_LEN as u64 + frame_bytes,
            written: SEGMENT_HEADER_LEN as u64,
            buffer: Vec::new(),
            index: Vec::new(),
            next_entry: 0,
            last_lsn: Lsn::ZERO,
        };
        let prepared = share(&builder.file, &builder.unfinished).and_then(|()| {
            let reserved = builder.file.allocate(builder.room);
            reserved.map_err(PulseDBError::io("reserve space for", &builder.unfinished))
        });
        match prepared {
            Ok(()) => Ok(builder),
            Err(error) => {
                builder.discard();
                Err(error)
            }
        }
    }

    /// Adds a frame and says where it will stand. LSNs ascend, and the last frame of each commit
    /// closes it.
    pub(crate) fn push(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<Place> {
        let at = self.written + self.buffer.len() as u64;
        if header.lsn <= self.last_lsn || at + header.frame_len() > self.room {
            return Err(PulseDBError::conflict(format!(
                "the frame with LSN {} does not belong into this segment",
                header.lsn
            )));
        }
        let place = Place::at(self.header.id, at);
        if at >= self.next_entry {
            self.index.push((header.lsn.get(), place.unit));
            self.next_entry = at + INDEX_STEP_BYTES;
        }
        self.last_lsn = header.lsn;
        self.buffer
            .extend_from_slice(&header.encode(self.header.seed));
        self.buffer.extend_from_slice(payload);
        let padded = self.buffer.len().next_multiple_of(UNIT_BYTES as usize);
        self.buffer.resize(padded, 0);
        if self.buffer.len() >= WRITE_BYTES {
            self.write_buffer()?;
        }
        Ok(place)
    }

    /// Ends the segment, makes it durable and maps it.
    pub(crate) fn finish(mut self) -> Result<(Arc<Segment>, SegmentMeta)> {
        match self.seal() {
            Ok(done) => Ok(done),
            Err(error) => {
                self.discard();
                Err(error)
            }
        }
    }

    /// Gives it up.
    pub(crate) fn discard(self) {
        // Left over, it is removed by the next open.
        let _ = self.vfs.remove(&self.unfinished);
    }

    fn seal(&mut self) -> Result<(Arc<Segment>, SegmentMeta)> {
        self.write_buffer()?;
        self.file
            .write_all_at(&self.header.encode(), 0)
            .map_err(PulseDBError::io("write", &self.unfinished))?;
        self.file
            .sync_all()
            .map_err(PulseDBError::io("sync", &self.unfinished))?;
        let path = segment_path(&self.dir, self.header.first_lsn, self.header.id);
        self.vfs
            .rename(&self.unfinished, &path)
            .map_err(PulseDBError::io("rename", &self.unfinished))?;
        self.vfs
            .sync_dir(&self.dir)
            .map_err(PulseDBError::io("sync", &self.dir))?;
        let map = self
            .file
            .map(self.written)
            .map_err(PulseDBError::io("map", &path))?;
        let segment = Segment::new(
            path,
            self.header,
            Arc::clone(&self.file),
            map,
            self.written,
            std::mem::take(&mut self.index),
        );
        let meta = SegmentMeta {
            id: self.header.id,
            first_lsn: self.header.first_lsn,
            end: self.written,
        };
        Ok((Arc::new(segment), meta))
    }

    fn write_buffer(&mut self) -> Result<()> {
        self.file
            .write_all_at(&self.buffer, self.written)
            .map_err(PulseDBError::io("write", &self.unfinished))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}
