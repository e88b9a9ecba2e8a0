//! How do records become a new database?
//!
//! Commit by commit, with their LSNs, into sealed segments, behind which stands the end of a closed
//! log; then a manifest names them. Until then the directory is no database. What was lost leaves
//! gaps, so the history begins behind everything that was copied.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    env::Env,
    error::Result,
    format::{FrameHeader, Manifest, SegmentEntry, SegmentHeader, SyncModeCode},
    log::{SegmentBuilder, SegmentMeta},
    manifest,
    model::{InstanceId, Lsn, Timeline, Timestamp},
    vfs::Vfs,
};

/// Bytes of frames in a segment, unless one commit needs more; as in a default configuration.
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// A commit is ended here although its own end is lost.
const MAX_COMMIT_BYTES: u64 = 64 * 1024 * 1024;
/// Of the frame that closes a log.
const CLOSE_BYTES: u64 = 64;

/// A database on its way.
pub(super) struct Copy<'a> {
    vfs: &'a Arc<dyn Vfs>,
    env: &'a dyn Env,
    path: &'a Path,
    dir: PathBuf,
    /// Who it will be.
    pub(super) instance: InstanceId,
    now: Timestamp,
    /// Bytes that may still come, at most.
    remaining: u64,
    builder: Option<SegmentBuilder>,
    /// Bytes that fit into its segment.
    room: u64,
    built: Vec<SegmentMeta>,
    commit: Vec<(FrameHeader, Vec<u8>)>,
    commit_bytes: u64,
    last_lsn: Lsn,
    last_time: Timestamp,
    /// Frames written.
    pub(super) records: u64,
    /// And their bytes.
    pub(super) bytes: u64,
}

impl<'a> Copy<'a> {
    /// A new database in the directory `path`, whose log is in `dir`, of at most `bytes` of frames.
    pub(super) fn new(
        vfs: &'a Arc<dyn Vfs>,
        env: &'a dyn Env,
        path: &'a Path,
        dir: PathBuf,
        instance: InstanceId,
        bytes: u64,
    ) -> Self {
        Self {
            vfs,
            env,
            path,
            dir,
            instance,
            now: env.now(),
            remaining: bytes + CLOSE_BYTES,
            builder: None,
            room: 0,
            built: Vec::new(),
            commit: Vec::new(),
            commit_bytes: 0,
            last_lsn: Lsn::ZERO,
            last_time: Timestamp::from_millis(i64::MIN),
            records: 0,
            bytes: 0,
        }
    }

    /// The next record, by LSN.
    pub(super) fn push(&mut self, header: FrameHeader, payload: &[u8]) -> Result<()> {
        self.commit_bytes += header.frame_len();
        self.commit.push((header, payload.to_vec()));
        if self.commit_bytes >= MAX_COMMIT_BYTES {
            self.end_commit()?;
        }
        Ok(())
    }

    /// What was pushed since the last one is a commit.
    pub(super) fn end_commit(&mut self) -> Result<()> {
        let commit = std::mem::take(&mut self.commit);
        let bytes = std::mem::take(&mut self.commit_bytes);
        let durable = self.last_lsn;
        if bytes > self.room {
            self.roll()?;
        }
        let Some((first, _)) = commit.first() else {
            return Ok(());
        };
        let builder = match &mut self.builder {
            Some(builder) => builder,
            None => {
                self.room = self.remaining.min(SEGMENT_BYTES).max(bytes);
                let header = SegmentHeader {
                    timeline: Timeline::FIRST,
                    instance_id: self.instance,
                    first_lsn: first.lsn,
                    previous_lsn: durable,
                    seed: self.env.random_u64() as u32,
                    id: self.built.len() as u32 + 1,
                    cipher: 0,
                    key: 0,
                    cleaned: Lsn::ZERO,
                };
                let made = SegmentBuilder::create(self.vfs, &self.dir, header, self.room)?;
                self.builder.insert(made)
            }
        };
        let last = commit.len() - 1;
        for (place, (mut header, payload)) in commit.into_iter().enumerate() {
            header.closes_commit = place == last;
            header.durable_upto = durable;
            header.time = header.time.max(self.last_time);
            builder.push(&header, &payload)?;
            self.last_lsn = header.lsn;
            self.last_time = header.time;
            self.records += 1;
            self.bytes += header.frame_len();
        }
        self.room -= bytes.min(self.room);
        self.remaining -= bytes.min(self.remaining);
        Ok(())
    }

    fn roll(&mut self) -> Result<()> {
        if let Some(builder) = self.builder.take() {
            let (_, meta) = builder.finish()?;
            self.built.push(meta);
        }
        self.room = 0;
        Ok(())
    }

    /// Ends the log and makes it a database.
    pub(super) fn finish(mut self) -> Result<(u64, u64)> {
        self.end_commit()?;
        let (records, bytes) = (self.records, self.bytes);
        let close = Lsn::new(self.last_lsn.get() + 1);
        let header = FrameHeader::close(close, self.now, self.last_lsn);
        self.push(header, &[])?;
        self.end_commit()?;
        self.roll()?;
        let mut segments: Vec<SegmentEntry> = self
            .built
            .iter()
            .map(|meta| SegmentEntry {
                id: meta.id,
                first_lsn: meta.first_lsn,
                end: meta.end,
            })
            .collect();
        // The frame that closed the log tells where the last one ends.
        if let Some(last) = segments.last_mut() {
            last.end = 0;
        }
        manifest::create(
            Arc::clone(self.vfs),
            self.path,
            Manifest {
                instance_id: self.instance,
                created_at: self.now,
                generation: 0,
                timeline: Timeline::FIRST,
                forks: Vec::new(),
                retained_from: close,
                next_segment: self.built.len() as u32 + 1,
                segments,
                checkpoint: Lsn::ZERO,
                sync_mode: SyncModeCode::Normal,
                session: close,
                unknown: Default::default(),
            },
        )?;
        Ok((records, bytes))
    }
}
