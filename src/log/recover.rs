//! What does the log say after an open, and how far?
//!
//! Opens the segments of the manifest, decides for each which commits count (`scan`), and replays
//! those in the order of their LSNs. With a checkpoint that fits ([`start`]), only what is behind it.
//! Nothing is written, so a replay may be repeated. What a record
//! means is the visitor's business; it sees only records of whole commits, intact ones and damaged.
//! Called by `upkeep::recover`.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    error::{PulseDBError, Result},
    format::{Checkpoint, FRAME_HEADER_LEN, FrameHeader, RecordKind, SEGMENT_HEADER_LEN},
    model::{InstanceId, Lsn},
    simd::prefetch,
    vfs::Vfs,
};

use super::{
    ahead::{Unread, survey_all},
    file::{self, OpenFile},
    place::Place,
    scan::{Survey, Terms, survey},
    segment::{Frame, Segment, SegmentMeta},
    set::SegmentSet,
    start,
    walk::{Step, Walk, slice},
};

/// One record of the log, as the visitor of a replay gets it.
#[derive(Debug)]
pub(crate) enum Replayed<'a> {
    /// The state that the records to come build on. Comes first, or not at all.
    Checkpoint(&'a Arc<Checkpoint>),
    /// An intact record of a whole commit.
    Frame(Frame<'a>),
    /// Bytes that held at least one record of a whole commit, and no longer do.
    Damaged {
        /// The record's header, if at least that is intact.
        header: Option<FrameHeader>,
        /// Where it stands. What was found there is in [`RecoveredLog::damaged`].
        place: Place,
    },
}

/// How far the last segment counts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reach {
    /// For the writer: up to the last whole commit. The newest session began at this LSN, so a
    /// `Close` frame from there on ends the log.
    LastCommit {
        /// First LSN of the newest session.
        session: Lsn,
    },
    /// For a reader beside a live writer: up to this LSN, which is durable.
    Durable(Lsn),
}

/// What a replay found.
#[derive(Debug)]
pub(crate) struct RecoveredLog {
    /// The segments that can be read.
    pub(crate) segments: Vec<Arc<Segment>>,
    /// All segments of the manifest, with the ends that were found for those that had none; the
    /// last one keeps end 0.
    pub(crate) metas: Vec<SegmentMeta>,
    /// The newest LSN that counts.
    pub(crate) last_lsn: Lsn,
    /// No greater LSN has left a trace.
    pub(crate) highest_lsn: Lsn,
    /// The last segment, where its frames end, and whether anything stands in it at all.
    pub(crate) last: Option<LastSegment>,
    /// Time of the newest record, in milliseconds; `None` if there is none.
    pub(crate) last_time: Option<i64>,
    /// Records replayed, `Close` frames not counted.
    pub(crate) records: u64,
    /// The checkpoint that the replay began with, or why it could not be used; `None` where none
    /// was given.
    pub(crate) checkpoint: Option<Result<Lsn, String>>,
    /// What was dropped: (file, offset of the cut, bytes).
    pub(crate) torn: Option<(PathBuf, u64, u64)>,
    /// What is damaged: (file, offset, what was found).
    pub(crate) damaged: Vec<(PathBuf, u64, String)>,
}

/// The segment at the end of the log.
#[derive(Clone, Debug)]
pub(crate) struct LastSegment {
    /// The segment itself.
    pub(crate) segment: Arc<Segment>,
    /// LSN of the `Close` frame that ends the log; `None` after a crash.
    pub(crate) closed: Option<Lsn>,
    /// Nothing was ever written behind its header block.
    pub(crate) blank: bool,
}

/// Which log to open, and how.
pub(crate) struct OpenLog<'a> {
    /// The file system.
    pub(crate) vfs: &'a dyn Vfs,
    /// The log directory.
    pub(crate) dir: &'a Path,
    /// The database.
    pub(crate) instance_id: InstanceId,
    /// The segments, ascending by LSN.
    pub(crate) metas: &'a [SegmentMeta],
    /// How far the last one counts.
    pub(crate) reach: Reach,
    /// Whether the files are opened for reading only.
    pub(crate) read_only: bool,
    /// State of this database that need not be replayed, or why there is none although there should
    /// be.
    pub(crate) checkpoint: Option<Result<Arc<Checkpoint>, String>>,
}

/// Opens the segments and replays them.
///
/// A segment with a damaged header block is reported, and read by the seed that its frames tell. A sealed
/// one that is missing, or has neither, is reported as damaged, like a record.
///
/// # Errors
/// `Corrupted` where the last segment is missing or another one, `Version` where a segment
/// was written by a newer build, and what the visitor answers.
pub(crate) fn open_log(
    source: OpenLog<'_>,
    visitor: &mut dyn FnMut(Replayed<'_>) -> Result<()>,
) -> Result<RecoveredLog> {
    let metas = source.metas;
    let mut log = RecoveredLog {
        segments: Vec::with_capacity(metas.len()),
        metas: metas.to_vec(),
        last_lsn: Lsn::ZERO,
        highest_lsn: Lsn::ZERO,
        last: None,
        last_time: None,
        records: 0,
        checkpoint: None,
        torn: None,
        damaged: Vec::new(),
    };
    let opened = open_files(&source, &mut log.damaged)?;
    let mut start = None;
    if let Some(given) = source.checkpoint {
        let fits = given.and_then(|checkpoint| {
            let start = start::of(&checkpoint, source.instance_id, metas, &opened)?;
            Ok((checkpoint, start))
        });
        log.checkpoint = Some(match fits {
            Ok((checkpoint, place)) => {
                visitor(Replayed::Checkpoint(&checkpoint))?;
                log.begin_with(&checkpoint, &opened);
                start = Some(place);
                Ok(checkpoint.header().lsn)
            }
            Err(why) => Err(why),
        });
    }
    let mut unread = Vec::new();
    let mut files = opened.into_iter().zip(0..).peekable();
    while let Some((open, position)) = files.next() {
        let Some(open) = open else {
            continue;
        };
        let sealed_end = metas.get(position).map_or(0, |meta| meta.end);
        let known = start.as_mut().and_then(|start| start.known(position));
        if let Some(index) = known {
            let end = sealed_end.min(open.map.len());
            log.segments.push(Arc::new(open.into_segment(end, index)));
            continue;
        }
        // An older manifest may not know the end of a segment; the header of the next one says
        // what was durable before it.
        let next_previous = files
            .peek()
            .and_then(|(next, _)| next.as_ref())
            .filter(|next| next.damage.is_none())
            .map(|next| next.header.previous_lsn.get());
        let is_last = position + 1 == metas.len();
        let mut terms = terms_of(&open, sealed_end, is_last, next_previous, source.reach);
        if sealed_end == 0 {
            terms.limit = terms.limit.min(looked_at_end(&open)?);
        }
        let mut index = Vec::new();
        if let Some(start) = start.as_mut()
            && start.position == position
        {
            terms.from = start.offset;
            terms.after = start.lsn.get();
            index = start.index_of(position);
        }
        unread.push(Unread {
            open,
            position,
            terms,
            index,
        });
    }
    survey_all(unread, |segment, found| {
        log.take(segment, &found, &mut *visitor)
    })?;
    Ok(log)
}

/// The segments of an older manifest, `metas`, and those in `dir` that followed them. For an open
/// that lost the newest manifest; `next_segment` is what the older one says.
pub(crate) fn adopt(
    vfs: &dyn Vfs,
    dir: &Path,
    instance_id: InstanceId,
    next_segment: u32,
    metas: &[SegmentMeta],
) -> Result<Vec<SegmentMeta>> {
    let mut all = metas.to_vec();
    let newest = metas.last().map_or(Lsn::ZERO, |meta| meta.first_lsn);
    for (first_lsn, id) in file::list(vfs, dir)? {
        if first_lsn <= newest {
            continue;
        }
        let open = match file::open_unchecked(vfs, &file::segment_path(dir, first_lsn, id), true) {
            Ok(open) => open,
            Err(PulseDBError::Corrupted { .. }) => continue,
            Err(error) => return Err(error),
        };
        let header = &open.header;
        if header.instance_id != instance_id
            || (header.first_lsn, header.id) != (first_lsn, id)
            || header.id < next_segment
        {
            continue;
        }
        // The active segment of the older manifest was dropped if nothing was ever written to it.
        if let Some(&SegmentMeta {
            first_lsn, end: 0, ..
        }) = all.last()
            && open.header.previous_lsn < first_lsn
        {
            all.pop();
        }
        all.push(SegmentMeta {
            id: open.header.id,
            first_lsn,
            end: 0,
        });
    }
    Ok(all)
}

/// Is there anything in the segments in `dir` that a new database would bury?
pub(crate) fn holds_records(vfs: &dyn Vfs, dir: &Path) -> Result<bool> {
    for (first_lsn, id) in file::list(vfs, dir)? {
        let open = file::open_unchecked(vfs, &file::segment_path(dir, first_lsn, id), true)?;
        let terms = terms_of(
            &open,
            0,
            true,
            None,
            Reach::LastCommit { session: Lsn::ZERO },
        );
        let found = survey(open.map.get(0..open.map.len()).unwrap_or_default(), &terms);
        if found.frames > 0 || found.torn.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

impl RecoveredLog {
    /// Notes what a checkpoint says of the log before it.
    fn begin_with(&mut self, checkpoint: &Checkpoint, opened: &[Option<OpenFile>]) {
        let header = checkpoint.header();
        self.last_lsn = header.lsn;
        self.highest_lsn = header.lsn;
        self.last_time = Some(header.last_time.as_millis());
        for damage in &checkpoint.directory().damage {
            // Header blocks were just looked at.
            let files = opened.iter().flatten().filter(|_| damage.offset != 0);
            if let Some(open) = files
                .into_iter()
                .find(|open| open.header.id == damage.segment)
            {
                let known = (open.path.clone(), damage.offset, damage.what.clone());
                self.damaged.push(known);
            }
        }
    }

    /// Replays a segment that was looked at.
    fn take(
        &mut self,
        unread: Unread,
        found: &Survey,
        visitor: &mut dyn FnMut(Replayed<'_>) -> Result<()>,
    ) -> Result<()> {
        let Unread {
            open,
            position,
            terms,
            mut index,
        } = unread;
        let is_last = position + 1 == self.metas.len();
        let mut end = found.end;
        if let Some(meta) = self.metas.get_mut(position) {
            if meta.end != 0 {
                end = meta.end.min(open.map.len());
            } else if !is_last {
                meta.end = end;
            }
        }
        index.extend_from_slice(&found.index);
        self.note(&open.path, found, is_last);
        let segment = Arc::new(open.into_segment(end, index));
        self.records += replay(&segment, &terms, found, visitor)?;
        if is_last {
            self.last = Some(LastSegment {
                segment: Arc::clone(&segment),
                closed: found.closed.map(Lsn::new),
                blank: found.torn.is_none() && found.end == SEGMENT_HEADER_LEN as u64,
            });
        }
        self.segments.push(segment);
        Ok(())
    }

    /// The segments as a set.
    pub(crate) fn segment_set(&self) -> Arc<SegmentSet> {
        Arc::new(SegmentSet::new(self.segments.clone()))
    }

    fn note(&mut self, path: &Path, found: &Survey, is_last: bool) {
        self.highest_lsn = self.highest_lsn.max(Lsn::new(found.highest_lsn));
        if found.frames > 0 || !found.damage.is_empty() {
            self.last_lsn = self.last_lsn.max(Lsn::new(found.last_lsn));
        }
        self.last_time = self.last_time.max(found.last_time);
        for damage in &found.damage {
            self.damaged
                .push((path.to_owned(), damage.at, damage.what.clone()));
        }
        if let Some(torn) = found.torn
            && is_last
        {
            self.torn = Some((path.to_owned(), torn.at, torn.bytes));
        }
    }
}

/// Opens every file; `None` and a note for a sealed segment that cannot be read.
fn open_files(
    source: &OpenLog<'_>,
    damaged: &mut Vec<(PathBuf, u64, String)>,
) -> Result<Vec<Option<OpenFile>>> {
    let metas = source.metas;
    let mut files = Vec::with_capacity(metas.len());
    for (position, meta) in metas.iter().enumerate() {
        let is_last = position + 1 == metas.len();
        // Beside a live writer frames are yet to come, which could not be read without the seed.
        let may_be_empty = is_last && matches!(source.reach, Reach::LastCommit { .. });
        let opened = file::open_damaged(
            source.vfs,
            source.dir,
            meta,
            source.instance_id,
            source.read_only,
            may_be_empty,
        );
        match opened.map_err(missing_is_damage) {
            Ok(open) => {
                if let Some(what) = &open.damage {
                    damaged.push((open.path.clone(), 0, what.clone()));
                }
                files.push(Some(open));
            }
            Err(PulseDBError::Corrupted { file, offset, what }) if !is_last => {
                damaged.push((file, offset, what));
                files.push(None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(files)
}

fn missing_is_damage(error: PulseDBError) -> PulseDBError {
    match error {
        PulseDBError::Io { path, source, .. } if source.kind() == io::ErrorKind::NotFound => {
            PulseDBError::corrupted(path, 0, "the file is missing")
        }
        error => error,
    }
}

/// How far a file has to be looked at whose end is not known: preallocated space that nobody wrote to
/// costs as much to read as data, and a block of it says as much as all.
fn looked_at_end(open: &OpenFile) -> Result<u64> {
    const MORE: u64 = 4096;
    let written = open
        .file
        .written_end()
        .map_err(PulseDBError::io("look at", &open.path))?;
    Ok(written.saturating_add(MORE))
}

fn terms_of(
    open: &OpenFile,
    sealed_end: u64,
    is_last: bool,
    next_previous: Option<u64>,
    reach: Reach,
) -> Terms {
    let open_ended = Terms {
        seed: open.header.seed,
        from: SEGMENT_HEADER_LEN as u64,
        after: open.header.first_lsn.get().saturating_sub(1),
        limit: open.map.len(),
        durable: 0,
        upto: u64::MAX,
        session: u64::MAX,
    };
    match reach {
        _ if sealed_end != 0 => Terms {
            limit: sealed_end,
            durable: u64::MAX,
            ..open_ended
        },
        _ if !is_last => match next_previous {
            Some(previous) => Terms {
                durable: previous,
                upto: previous,
                ..open_ended
            },
            None => open_ended,
        },
        Reach::LastCommit { session } => Terms {
            session: session.get(),
            ..open_ended
        },
        Reach::Durable(lsn) => Terms {
            durable: lsn.get(),
            upto: lsn.get(),
            ..open_ended
        },
    }
}

/// Shows the visitor what counts, and says how many intact records that was.
pub(super) fn replay(
    segment: &Segment,
    terms: &Terms,
    found: &Survey,
    visitor: &mut dyn FnMut(Replayed<'_>) -> Result<()>,
) -> Result<u64> {
    let bytes = segment.map().get(0..found.end).unwrap_or_default();
    let mut damage = found.damage.iter().peekable();
    let mut records = 0;
    for step in Walk::new(bytes, terms.seed, terms.from, found.end, terms.after) {
        let (at, header) = match step {
            Step::Frame { at, header } => (at, Some(header)),
            Step::Gap { at, .. } => (at, None),
        };
        let damaged = damage.next_if(|damage| damage.at == at);
        if let Some(header) = &header {
            prefetch_next(bytes, at, header);
        }
        match (header, damaged) {
            (Some(header), None) if header.kind == RecordKind::Close => {}
            (Some(header), None) => {
                records += 1;
                visitor(Replayed::Frame(segment.frame_of(at, header)?))?;
            }
            (header, _) => visitor(Replayed::Damaged {
                header,
                place: Place::at(segment.id(), at),
            })?,
        }
    }
    Ok(records)
}

/// Asks the CPU for the header and the fields of the record behind the one at `at`, while that is applied:
/// the second pass over a segment finds little of the first in the cache. Neighbours are mostly of one
/// size; where they are not, a record is waited for.
fn prefetch_next(bytes: &[u8], at: u64, header: &FrameHeader) {
    /// The first lines of a long text; the CPU notices by itself that it is read on.
    const MOST: u64 = 1024;
    let next = at + header.frame_len();
    let head = FRAME_HEADER_LEN as u64;
    let vector = u64::from(header.dimension) * size_of::<f32>() as u64;
    let fields = u64::from(header.payload_len).saturating_sub(vector);
    for (at, len) in [(next, head), (next + head + vector, fields.min(MOST))] {
        prefetch(slice(bytes, at, len).unwrap_or_default());
    }
}
