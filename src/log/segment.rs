//! How are the frames of one segment read?
//!
//! A segment is one mapped file. The bytes below `end` never change, and nobody is given others:
//! the end of a sealed segment is fixed, that of the active one grows after the write that it
//! covers (release, acquire), whose bytes the shared map shows at once. A frame is handed out with
//! its header checked; its payload is checked where it is first used. All reads of the log go
//! through here, so that decrypted memory could stand in for a map. Dropping the last reference
//! unmaps the file.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};

use crate::{
    error::{PulseDBError, Result},
    format::{
        FRAME_HEADER_LEN, FrameHeader, SEGMENT_HEADER_LEN, SegmentHeader, frame_dimension,
        frame_payload_len, payload_crc,
    },
    model::{Lsn, Timestamp},
    simd::prefetch,
    vfs::{Map, VfsFile},
};

use super::{
    file,
    pieces::Pieces,
    place::{Place, UNIT_BYTES},
    residency::Residency,
    retire::{Bin, Retiring},
    scan::INDEX_STEP_BYTES,
    summary::Summary,
    walk::{Step, Walk},
};

/// What the manifest knows of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SegmentMeta {
    /// Never reused.
    pub(crate) id: u32,
    /// No frame has a lower LSN.
    pub(crate) first_lsn: Lsn,
    /// Offset behind the last frame; 0 for the active segment, which is the last one.
    pub(crate) end: u64,
}

/// A file and its map.
#[derive(Debug)]
pub(crate) struct Mapped {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn VfsFile>,
    pub(crate) map: Map,
}

/// One mapped segment file.
#[derive(Debug)]
pub(crate) struct Segment {
    id: u32,
    header: SegmentHeader,
    /// Whether the header block says so; else it is what is known without.
    header_intact: bool,
    mapped: Retiring<Mapped>,
    residency: Residency,
    end: AtomicU64,
    /// Of a sealed segment, from the first time it is asked for.
    summary: OnceLock<Summary>,
    index: RwLock<Index>,
    /// Why no sync of this file proves anything any more.
    sync_failed: Mutex<Option<PulseDBError>>,
}

/// Where to look for the frame of an LSN.
#[derive(Debug, Default)]
struct Index {
    /// (LSN, unit) of a frame every so many bytes, ascending.
    sparse: Vec<(u64, u32)>,
    /// Where what was written last begins, and an LSN that is not above that of its first frame. Whoever
    /// hears of a commit at once looks for nothing else.
    newest: Option<(u64, u32)>,
}

/// One frame, in place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    /// Its checked header.
    pub(crate) header: FrameHeader,
    /// Its payload as it stands in the file; see [`Frame::verified_payload`].
    pub(crate) payload: &'a [u8],
    /// Where it stands.
    pub(crate) place: Place,
    segment: &'a Segment,
}

impl<'a> Frame<'a> {
    /// The payload, after comparing it with its checksum.
    pub(crate) fn verified_payload(&self) -> Result<&'a [u8]> {
        if payload_crc(self.payload) == self.header.payload_crc {
            return Ok(self.payload);
        }
        Err(self.segment.corrupted(
            self.place.offset(),
            "the payload does not match its checksum",
        ))
    }
}

impl Frame<'_> {
    /// The error that says that this frame is not what was written.
    pub(crate) fn corrupted(&self, what: impl Into<String>) -> PulseDBError {
        self.segment.corrupted(self.place.offset(), what)
    }
}

impl Segment {
    /// A segment over an open file whose header was checked. `end` is where its frames end,
    /// `index` its sparse index up to there.
    pub(super) fn new(
        path: PathBuf,
        header: SegmentHeader,
        file: Arc<dyn VfsFile>,
        map: Map,
        end: u64,
        index: Vec<(u64, u32)>,
    ) -> Self {
        Self {
            id: header.id,
            header,
            header_intact: true,
            residency: Residency::new(map.len()),
            mapped: Retiring::new(Mapped { path, file, map }),
            end: AtomicU64::new(end),
            summary: OnceLock::new(),
            index: RwLock::new(Index {
                sparse: index,
                newest: None,
            }),
            sync_failed: Mutex::new(None),
        }
    }

    /// The same, of a file whose header block is damaged.
    pub(super) fn without_header_block(self) -> Self {
        Self {
            header_intact: false,
            ..self
        }
    }

    /// Never reused.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Its file.
    pub(crate) fn path(&self) -> &Path {
        &self.mapped.path
    }

    /// Its header block, or what is known without.
    pub(crate) fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// Whether its header block is as it was written.
    pub(crate) fn header_intact(&self) -> bool {
        self.header_intact
    }

    /// Offset behind the last frame.
    #[inline]
    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Bytes that the file has room for, header block included.
    pub(crate) fn capacity(&self) -> u64 {
        self.mapped.map.len()
    }

    /// Makes durable what was written to it.
    ///
    /// # Errors
    /// `Io`; and the same for every later call: the kernel reports a lost page to one sync only, so
    /// that another one, perhaps on another thread, could not be trusted.
    pub(crate) fn sync(&self) -> Result<()> {
        let mut failed = self.sync_failed.lock();
        if let Some(error) = &*failed {
            return Err(error.clone());
        }
        let synced = self
            .file()
            .sync_data()
            .map_err(PulseDBError::io("sync", self.path()));
        *failed = synced.clone().err();
        synced
    }

    pub(super) fn map(&self) -> &Map {
        &self.mapped.map
    }

    pub(super) fn file(&self) -> &Arc<dyn VfsFile> {
        &self.mapped.file
    }

    /// The open file, for whoever copies it; what is in it below the end is read there as it is here.
    pub(crate) fn handle(&self) -> Arc<dyn VfsFile> {
        Arc::clone(self.file())
    }

    /// Where the frames up to `lsn` end, among those that are written now.
    pub(crate) fn end_of(&self, lsn: Lsn) -> u64 {
        let end = self.end();
        let newer = |frame: &Frame<'_>| frame.header.lsn > lsn;
        let first_newer = self.frames_near(lsn.get()).flatten().find(newer);
        // Frames that arrived since begin at that end.
        first_newer.map_or(end, |frame| frame.place.offset().min(end))
    }

    /// Admits readers to the frames that were written up to `end`, all of them behind `last`; `entries` are new
    /// ones of the sparse index. Only who writes or follows calls this, after the write returned.
    pub(super) fn grow(&self, last: Lsn, entries: &[(u64, u32)], end: u64) {
        let begin = Place::at(self.id, self.end());
        {
            let mut index = self.index.write();
            index.sparse.extend_from_slice(entries);
            index.newest = Some((last.get().saturating_add(1), begin.unit));
        }
        self.end.store(end, Ordering::Release);
    }

    /// From which offset on the sparse index wants its next entry.
    pub(super) fn next_index_entry(&self) -> u64 {
        self.index.read().sparse.last().map_or(0, |&(_, unit)| {
            u64::from(unit) * UNIT_BYTES + INDEX_STEP_BYTES
        })
    }

    /// The bytes of its file, also those that mean nothing. For a sealed segment, whose file is
    /// written no more.
    pub(crate) fn whole_file(&self) -> &[u8] {
        self.map().get(0..self.capacity()).unwrap_or_default()
    }

    /// What is in it; of a sealed segment, whose frames stay what they are.
    pub(crate) fn summary(&self) -> &Summary {
        self.summary
            .get_or_init(|| Summary::of(self.frames_from_start()))
    }

    /// From now on, whoever drops the last reference leaves the unmapping to him who empties `bin`.
    pub(crate) fn retire_into(&self, bin: &Arc<Bin<Mapped>>) {
        self.mapped.retire_into(bin);
    }

    /// The entries of the sparse index below `end`.
    pub(crate) fn index_below(&self, end: u64) -> Vec<(u64, u32)> {
        let index = &self.index.read().sparse;
        let below = index.partition_point(|&(_, unit)| u64::from(unit) * UNIT_BYTES < end);
        index.get(..below).unwrap_or_default().to_vec()
    }

    /// The frame that begins at `unit`.
    pub(crate) fn frame(&self, unit: u32) -> Result<Frame<'_>> {
        let place = Place {
            segment: self.id,
            unit,
        };
        let at = place.offset();
        let header_bytes = FRAME_HEADER_LEN as u64;
        let bytes = self.bytes(at..at + header_bytes)?;
        let header = FrameHeader::decode(bytes, self.header.seed)
            .map_err(|fault| self.corrupted(at, fault.to_string()))?;
        self.frame_of(at, header)
    }

    /// The frame at `at`, whose header was decoded from there.
    pub(super) fn frame_of(&self, at: u64, header: FrameHeader) -> Result<Frame<'_>> {
        let start = at + FRAME_HEADER_LEN as u64;
        Ok(Frame {
            header,
            payload: self.bytes(start..start + u64::from(header.payload_len))?,
            place: Place::at(self.id, at),
            segment: self,
        })
    }

    /// Bytes of frames, in place.
    #[inline]
    pub(crate) fn bytes(&self, range: Range<u64>) -> Result<&[u8]> {
        let at = range.start;
        if at >= SEGMENT_HEADER_LEN as u64
            && range.end <= self.end()
            && let Some(bytes) = self.map().get(range)
        {
            return Ok(bytes);
        }
        Err(self.corrupted(at, "no frame reaches there"))
    }

    /// The vector of the frame at `unit`, which was checked before, without looking at its header.
    #[inline]
    pub(crate) fn vector(&self, unit: u32, dimension: u16) -> Result<&[f32]> {
        let at = u64::from(unit) * UNIT_BYTES;
        let start = at + FRAME_HEADER_LEN as u64;
        let end = start + u64::from(dimension) * size_of::<f32>() as u64;
        if end <= self.end()
            && let Some(vector) = self.map().floats(start..end)
        {
            return Ok(vector);
        }
        Err(self.corrupted(at, "no vector reaches there"))
    }

    /// The payload of the frame at `unit`, which was checked before, and how many components of a vector
    /// it begins with.
    #[inline]
    pub(crate) fn payload(&self, unit: u32) -> Result<(u16, &[u8])> {
        let at = u64::from(unit) * UNIT_BYTES;
        let start = at + FRAME_HEADER_LEN as u64;
        let header = self.bytes(at..start)?;
        let payload = self.bytes(start..start + u64::from(frame_payload_len(header)))?;
        Ok((frame_dimension(header), payload))
    }

    /// Asks the CPU for the frame at `unit`, of so many bytes, which is read soon.
    #[inline]
    pub(crate) fn prefetch(&self, unit: u32, bytes: u32) {
        let at = u64::from(unit) * UNIT_BYTES;
        let frame = self.map().get(at..at + u64::from(bytes));
        prefetch(frame.unwrap_or_default());
    }

    /// Would reading the frame at `unit`, of so many bytes, not wait for the medium, as far as was seen
    /// a moment before `now`?
    #[inline]
    pub(crate) fn is_resident(&self, unit: u32, bytes: u64, now: Timestamp) -> bool {
        let (at, end) = (u64::from(unit) * UNIT_BYTES, self.end());
        let range = at..at.saturating_add(bytes).min(end);
        self.residency.covers(self.map(), range, end, now)
    }

    /// The frames from the one at `unit` on, as far as they are written now. Damage is an item.
    pub(crate) fn frames_from(&self, unit: u32) -> Frames<'_> {
        self.frames(u64::from(unit) * UNIT_BYTES, 0)
    }

    /// All frames. Damage is an item.
    pub(crate) fn frames_from_start(&self) -> Frames<'_> {
        self.frames(SEGMENT_HEADER_LEN as u64, 0)
    }

    /// Frames from the last known one at or before `lsn` on.
    pub(super) fn frames_near(&self, lsn: u64) -> Frames<'_> {
        let index = self.index.read();
        let newest = index.newest.filter(|&(newest, _)| newest <= lsn);
        let near = newest.or_else(|| {
            let behind = index.sparse.partition_point(|&(at, _)| at <= lsn);
            behind
                .checked_sub(1)
                .and_then(|i| index.sparse.get(i))
                .copied()
        });
        drop(index);
        match near {
            Some((_, unit)) => self.frames_from(unit),
            None => self.frames_from_start(),
        }
    }

    fn frames(&self, at: u64, last_lsn: u64) -> Frames<'_> {
        let end = self.end();
        let bytes = self.map().get(0..end).unwrap_or_default();
        Frames {
            segment: self,
            walk: Walk::new(bytes, self.header.seed, at, end, last_lsn),
            end,
        }
    }

    /// Compares the header block in the file with the one that was read when it was opened.
    pub(crate) fn check_header(&self) -> Result<()> {
        if file::read_header(&**self.file(), self.path())? == self.header {
            return Ok(());
        }
        Err(self.corrupted(0, "the header changed"))
    }

    /// A walk over all frames up to `end`, read with pread. None of them has an LSN up to `last_lsn`.
    pub(crate) fn walk_pieces(&self, end: u64, last_lsn: Lsn) -> Walk<Pieces> {
        let pieces = Pieces::new(Arc::clone(self.file()), end);
        let before_first = self.header.first_lsn.get().saturating_sub(1);
        let last_lsn = last_lsn.get().max(before_first);
        let start = SEGMENT_HEADER_LEN as u64;
        Walk::new(pieces, self.header.seed, start, end, last_lsn)
    }

    /// What is wrong with the frame at `unit`, as an error that names file and offset.
    pub(crate) fn corrupted_frame(&self, unit: u32, what: impl Into<String>) -> PulseDBError {
        self.corrupted(u64::from(unit) * UNIT_BYTES, what)
    }

    /// What is wrong with the bytes at `offset`, as an error that names the file.
    pub(crate) fn corrupted(&self, offset: u64, what: impl Into<String>) -> PulseDBError {
        PulseDBError::corrupted(self.path(), offset, what)
    }
}

/// Iterates over the frames of a segment; see [`Segment::frames_from`].
#[derive(Debug)]
pub(crate) struct Frames<'a> {
    segment: &'a Segment,
    walk: Walk<&'a [u8]>,
    end: u64,
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.walk.next() {
            Some(Step::Frame { at, header }) => Some(self.segment.frame_of(at, header)),
            Some(Step::Gap { at, what, .. }) => Some(Err(self.segment.corrupted(at, what))),
            // Zeros below the end were frames once.
            None if self.walk.at() < self.end => {
                self.end = 0;
                Some(Err(self.segment.corrupted(
                    self.walk.at(),
                    "zeros where frames were written",
                )))
            }
            None => None,
        }
    }
}
