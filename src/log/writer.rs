//! How do commits get into the log?
//!
//! The one writer of the log's tail; the committer owns it. Invariants:
//!
//! - A commit never spans segments, and its bytes are written behind everything that any earlier
//!   frame occupies: no byte is written twice.
//! - `durable_lsn` grows only by a sync that returned, and every frame carries its value.
//! - A segment is written to only after the manifest names it, and the manifest names it only
//!   after its header, and everything in the segment before it, is durable.
//! - After a failed write, sync or roll nothing is tried again: every later call answers with that
//!   first error, because the kernel may have dropped the pages that the sync was for.

use std::{fmt::Debug, path::PathBuf, sync::Arc};

use bytes::Bytes;

use crate::{
    env::Env,
    error::{PulseDBError, Result},
    format::{FrameHeader, SEGMENT_HEADER_LEN, SegmentHeader, Tail, verify_frame},
    model::{InstanceId, Lsn, Timeline, Timestamp},
    vfs::Vfs,
};

use super::{
    file,
    place::{Place, UNIT_BYTES},
    pool::SegmentPool,
    relocation::Relocation,
    scan::INDEX_STEP_BYTES,
    segment::{Segment, SegmentMeta},
    set::SegmentSet,
    tail::TailFile,
};

/// The buffer is given back after a group larger than this.
const KEPT_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// A frame on its way into the log. Everything in the header is set, its checksum of the payload
/// included, except `durable_upto`.
#[derive(Clone, Debug)]
pub(crate) struct OutFrame {
    /// The header.
    pub(crate) header: FrameHeader,
    /// The payload.
    pub(crate) payload: Bytes,
}

impl Default for OutFrame {
    /// An end of log without an LSN; stands where a frame was taken out.
    fn default() -> Self {
        Self {
            header: FrameHeader::close(Lsn::ZERO, Timestamp::default(), Lsn::ZERO),
            payload: Bytes::new(),
        }
    }
}

/// Records that are written and not yet synced; see [`LogWriter::unsynced`].
#[derive(Debug)]
pub(crate) struct Unsynced {
    segment: Arc<Segment>,
    upto: Lsn,
}

impl Unsynced {
    /// Makes the records durable, beside whatever the writer does meanwhile.
    ///
    /// # Errors
    /// `Io`; the writer must then write no more.
    pub(crate) fn sync(&self) -> Result<()> {
        self.segment.sync()
    }
}

/// Who keeps the list of segments: in a database, the manifest.
pub(crate) trait SegmentCatalog: Send + Debug {
    /// An id that no segment had.
    fn next_id(&mut self) -> u32;

    /// Notes durably that the segment `sealed` ends at `end` and that `active` follows it.
    fn rolled(&mut self, sealed: u32, end: u64, active: SegmentMeta) -> Result<()>;
}

/// What a log writer works with, for its whole life.
#[derive(Debug)]
pub(crate) struct LogContext {
    /// The file system.
    pub(crate) vfs: Arc<dyn Vfs>,
    /// Source of segment seeds.
    pub(crate) env: Arc<dyn Env>,
    /// The log directory.
    pub(crate) dir: PathBuf,
    /// The database.
    pub(crate) instance_id: InstanceId,
    /// The history that is written.
    pub(crate) timeline: Timeline,
    /// Size of new segments.
    pub(crate) segment_bytes: u64,
    /// Where new segments come from, if they are made ahead.
    pub(crate) pool: Option<Arc<SegmentPool>>,
}

/// The tail of the log.
#[derive(Debug)]
pub(crate) struct LogWriter {
    context: LogContext,
    catalog: Box<dyn SegmentCatalog>,
    tail: TailFile,
    segments: Arc<SegmentSet>,
    active: Arc<Segment>,
    /// Offset in the active segment behind everything that was written.
    end: u64,
    /// Frames on their way into the active segment.
    buffer: Vec<u8>,
    /// New entries of its sparse index, and where the next one is due.
    index: Vec<(u64, u32)>,
    next_entry: u64,
    written_lsn: Lsn,
    durable_lsn: Lsn,
    next_lsn: Lsn,
    dirty: bool,
    failed: Option<PulseDBError>,
}

impl LogContext {
    /// Makes the file of the segment that begins with `first_lsn`. It is not published yet.
    pub(crate) fn create_segment(
        &self,
        id: u32,
        first_lsn: Lsn,
        previous: Lsn,
    ) -> Result<Arc<Segment>> {
        let header = SegmentHeader {
            instance_id: self.instance_id,
            timeline: self.timeline,
            first_lsn,
            previous_lsn: previous,
            seed: self.env.random_u64() as u32,
            id,
            cipher: 0,
            key: 0,
            cleaned: Lsn::ZERO,
        };
        let spare = self.pool.as_ref().and_then(|pool| pool.take());
        file::create(&*self.vfs, &self.dir, header, self.segment_bytes, spare).map(Arc::new)
    }
}

impl LogWriter {
    /// Continues behind the last frame of `active`, the last of `segments`, which the manifest
    /// names. Everything up to `durable` is durable; the next LSN is `next_lsn`.
    pub(crate) fn new(
        context: LogContext,
        catalog: Box<dyn SegmentCatalog>,
        tail: TailFile,
        segments: Arc<SegmentSet>,
        active: Arc<Segment>,
        durable: Lsn,
        next_lsn: Lsn,
    ) -> Self {
        let end = active.end();
        Self {
            context,
            catalog,
            tail,
            segments,
            end,
            buffer: Vec::new(),
            index: Vec::new(),
            next_entry: active.next_index_entry(),
            written_lsn: durable,
            durable_lsn: durable,
            next_lsn,
            dirty: false,
            failed: None,
            active,
        }
    }

    /// The smallest LSN that may be given to the next frame.
    pub(crate) fn next_lsn(&self) -> Lsn {
        self.next_lsn
    }

    /// The segments as of the last append.
    pub(crate) fn segments(&self) -> &Arc<SegmentSet> {
        &self.segments
    }

    /// Puts a rewritten segment into the place of those that `moved` leads from.
    pub(crate) fn rewritten(
        &mut self,
        segment: Option<Arc<Segment>>,
        moved: &[(u32, Arc<Relocation>)],
    ) {
        self.segments = Arc::new(self.segments.rewritten(segment, moved));
    }

    /// Seals the active segment, unless nothing is in it, and goes on in a new one.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub(crate) fn seal(&mut self) -> Result<()> {
        self.usable()?;
        if self.end == SEGMENT_HEADER_LEN as u64 {
            return Ok(());
        }
        let rolled = self.roll(self.next_lsn);
        self.note_failure(rolled)
    }

    /// Bytes of the largest commit that fits into a segment, headers and padding included.
    pub(crate) fn max_commit_bytes(&self) -> u64 {
        self.context
            .segment_bytes
            .saturating_sub(SEGMENT_HEADER_LEN as u64)
    }

    /// Writes whole commits and says where their frames are. Durable only after [`Self::sync`].
    ///
    /// # Errors
    /// Refuses what breaks the rules of the log before anything is written. After any other error
    /// the writer is of no more use, and what of the group is in the log is known after an open.
    pub(crate) fn append(&mut self, frames: &mut [OutFrame]) -> Result<Vec<Place>> {
        self.usable()?;
        self.check(frames)?;
        let appended = self.write_group(frames);
        self.note_failure(appended)
    }

    /// Makes everything appended durable and returns its last LSN.
    pub(crate) fn sync(&mut self) -> Result<Lsn> {
        self.usable()?;
        let synced = self.sync_active();
        self.note_failure(synced)?;
        Ok(self.durable_lsn)
    }

    /// What a sync beside the writer has to cover; `None` where everything is durable.
    pub(crate) fn unsynced(&self) -> Option<Unsynced> {
        (self.dirty && self.failed.is_none()).then(|| Unsynced {
            segment: Arc::clone(&self.active),
            upto: self.written_lsn,
        })
    }

    /// Notes that `done` was synced.
    pub(crate) fn synced(&mut self, done: &Unsynced) {
        self.durable_lsn = self.durable_lsn.max(done.upto);
        self.dirty &= self.written_lsn > done.upto;
    }

    /// Lets other processes read up to `lsn`. Not a promise to the medium: never synced.
    pub(crate) fn publish_tail(&self, lsn: Lsn) -> Result<()> {
        self.tail.write(Tail {
            lsn,
            timeline: self.context.timeline,
        })
    }

    /// Reads these frames again through the file, not through the map, and checks them.
    pub(crate) fn read_back(&self, frames: &[OutFrame], places: &[Place]) -> Result<()> {
        let mut bytes = Vec::new();
        for (frame, &place) in frames.iter().zip(places) {
            let Some(segment) = self.segments.segment(place.segment) else {
                continue;
            };
            let at = place.offset();
            bytes.resize(frame.header.frame_len() as usize, 0);
            segment
                .file()
                .read_exact_at(&mut bytes, at)
                .map_err(PulseDBError::io("read back", segment.path()))?;
            let (header, payload) = verify_frame(&bytes, segment.header().seed)
                .map_err(|fault| segment.corrupted(at, fault.to_string()))?;
            if header != frame.header || payload != frame.payload {
                return Err(segment.corrupted(at, "what was read back is not what was written"));
            }
        }
        Ok(())
    }

    /// Ends the log so that the next open need not search for its end. The frame that says so is
    /// written only when everything before it is durable: an open may conclude that from it.
    pub(crate) fn close(&mut self, now: Timestamp) -> Result<()> {
        self.sync()?;
        self.append(&mut [OutFrame {
            header: FrameHeader::close(self.next_lsn, now, Lsn::ZERO),
            payload: Bytes::new(),
        }])?;
        let last = self.sync()?;
        self.failed = Some(PulseDBError::Closed);
        self.publish_tail(last)
    }

    fn usable(&self) -> Result<()> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    fn note_failure<T>(&mut self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result {
            self.failed = Some(error.clone());
        }
        result
    }

    /// The rules of the log, before a byte is written.
    fn check(&self, frames: &[OutFrame]) -> Result<()> {
        let mut next = self.next_lsn;
        for frame in frames {
            let header = &frame.header;
            if header.lsn < next {
                return Err(PulseDBError::conflict(format!(
                    "LSN {} was given where {next} is the next",
                    header.lsn
                )));
            }
            if header.payload_len as usize != frame.payload.len() {
                return Err(PulseDBError::conflict(format!(
                    "a header speaks of {} bytes, its payload has {}",
                    header.payload_len,
                    frame.payload.len()
                )));
            }
            next = Lsn::new(header.lsn.get() + 1);
        }
        for commit in commits(frames) {
            let bytes = commit_bytes(commit);
            if bytes > self.max_commit_bytes() {
                return Err(PulseDBError::validation(
                    "commit",
                    format!("{bytes} bytes"),
                    format!("at most {} fit into a segment", self.max_commit_bytes()),
                ));
            }
            if commit.last().is_some_and(|last| !last.header.closes_commit) {
                return Err(PulseDBError::conflict("the last commit has no end"));
            }
        }
        Ok(())
    }

    fn write_group(&mut self, frames: &mut [OutFrame]) -> Result<Vec<Place>> {
        let mut places = Vec::with_capacity(frames.len());
        for commit in frames.chunk_by_mut(|before, _| !before.header.closes_commit) {
            let bytes = commit_bytes(commit);
            let Some(commit_lsn) = commit.first().map(|frame| frame.header.lsn) else {
                continue;
            };
            if self.end + self.buffer.len() as u64 + bytes > self.active.capacity() {
                self.write_buffer()?;
                self.roll(commit_lsn)?;
            }
            self.buffer.reserve(bytes as usize);
            for frame in commit {
                let at = self.end + self.buffer.len() as u64;
                let place = Place::at(self.active.id(), at);
                places.push(place);
                if at >= self.next_entry {
                    self.index.push((frame.header.lsn.get(), place.unit));
                    self.next_entry = at + INDEX_STEP_BYTES;
                }
                frame.header.durable_upto = self.durable_lsn;
                self.buffer
                    .extend_from_slice(&frame.header.encode(self.active.header().seed));
                self.buffer.extend_from_slice(&frame.payload);
                let padded = self.buffer.len().next_multiple_of(UNIT_BYTES as usize);
                self.buffer.resize(padded, 0);
                self.next_lsn = Lsn::new(frame.header.lsn.get() + 1);
            }
        }
        self.write_buffer()?;
        if self.buffer.capacity() > KEPT_BUFFER_BYTES {
            self.buffer = Vec::new();
        }
        Ok(places)
    }

    /// Writes what is buffered to the active segment.
    fn write_buffer(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.dirty = true;
        self.active
            .file()
            .write_all_at(&self.buffer, self.end)
            .map_err(PulseDBError::io("write", self.active.path()))?;
        self.end += self.buffer.len() as u64;
        self.active.grow(self.written_lsn, &self.index, self.end);
        self.written_lsn = Lsn::new(self.next_lsn.get() - 1);
        self.buffer.clear();
        self.index.clear();
        Ok(())
    }

    fn sync_active(&mut self) -> Result<()> {
        if self.dirty {
            self.active.sync()?;
            self.dirty = false;
            self.durable_lsn = self.written_lsn;
        }
        Ok(())
    }

    /// Seals the active segment and goes on in a new one, whose first frame will be `first_lsn`.
    fn roll(&mut self, first_lsn: Lsn) -> Result<()> {
        self.sync_active()?;
        let id = self.catalog.next_id();
        let next = self
            .context
            .create_segment(id, first_lsn, self.written_lsn)?;
        self.catalog.rolled(
            self.active.id(),
            self.end,
            SegmentMeta {
                id,
                first_lsn,
                end: 0,
            },
        )?;
        self.segments = Arc::new(self.segments.with(Arc::clone(&next)));
        self.end = next.end();
        self.next_entry = 0;
        self.active = next;
        Ok(())
    }
}

/// Runs of frames, each up to one that closes its commit.
fn commits(frames: &[OutFrame]) -> impl Iterator<Item = &[OutFrame]> {
    frames.chunk_by(|before, _| !before.header.closes_commit)
}

fn commit_bytes(commit: &[OutFrame]) -> u64 {
    commit.iter().map(|frame| frame.header.frame_len()).sum()
}
