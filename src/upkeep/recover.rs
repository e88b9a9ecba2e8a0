//! How does a directory become an open database?
//!
//! lock → manifest → map segments → checkpoint → replay of what is behind it → decide. A database that was closed is continued in its
//! last segment. After a crash, or where its header block is damaged, the last segment is sealed at its last whole commit and never
//! written again; a new segment with a new seed begins at an LSN so far ahead that nothing that may
//! have been issued is issued again. What the crash cut off may have been seen outside only in
//! `Fast` mode; then the history goes on in a new timeline.
//!
//! Everything that is replayed is durable before the manifest says where it ends, and the manifest
//! says where a session begins before its first record is written. So every step may be cut short
//! by a crash and is repeated by the next open with the same outcome.

mod create;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    env::Env,
    error::{PulseDBError, Result},
    format::{Fork, Manifest, SegmentEntry, SyncModeCode, Tail},
    log::{
        self, LogContext, LogWriter, OpenLog, Reach, RecoveredLog, Replayed, Segment,
        SegmentCatalog, SegmentMeta, SegmentPool, SegmentSet, TailFile,
    },
    manifest::{self, ManifestStore},
    model::{InstanceId, Lsn, RecoveryReport, SyncMode, Timeline, Timestamp},
    upkeep::checkpoint,
    vfs::{LOCK, OpenMode, Vfs, VfsLock, create_dir, lock_dir},
};

use create::{create, refuse_foreign_files};
pub(super) use create::{new_instance_id, not_a_database};

/// The directory of the log, in the database's.
pub(crate) const LOG_DIR: &str = "log";

/// How far an open after a crash skips ahead: more LSNs than one session can issue without a sync.
const CRASH_SKIP: u64 = 1 << 32;

/// How a database is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenOptions {
    /// Open for reading only; the rest is for writers.
    pub(crate) read_only: bool,
    /// What an acknowledgement will mean.
    pub(crate) sync_mode: SyncMode,
    /// Size of new segments, a multiple of 4096.
    pub(crate) segment_bytes: u64,
    /// How many segment files are kept ready.
    pub(crate) segment_pool: usize,
}

/// An open database, as far as its files go.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// The writer lease; `None` if read-only. To be dropped last.
    pub(crate) lock: Option<Box<dyn VfsLock>>,
    /// Where the segments are.
    pub(crate) log_dir: PathBuf,
    /// The manifest.
    pub(crate) manifest: Arc<ManifestStore>,
    /// The tail of the log; `None` if read-only.
    pub(crate) writer: Option<LogWriter>,
    /// The log.
    pub(crate) segments: Arc<SegmentSet>,
    /// Segment files made ahead; the upkeep thread refills it. `None` if read-only or not wanted.
    pub(crate) pool: Option<Arc<SegmentPool>>,
    /// The database.
    pub(crate) instance_id: InstanceId,
    /// The history that the newest record belongs to, and new ones will.
    pub(crate) timeline: Timeline,
    /// Time of the newest record; the next one is not before it.
    pub(crate) last_time: Timestamp,
    /// What was found.
    pub(crate) report: RecoveryReport,
}

/// Opens the database at `path`, or makes one, and shows its whole history to `visitor`.
///
/// # Errors
/// `Locked` while another writer lives; `Config` for a directory of something else; `Corrupted` and
/// `Version` where the manifest or the last segment cannot be read; `Io` naming the path where a
/// database that is to be read does not exist; and what `visitor` answers. Nothing of the history
/// is changed in any of these cases.
pub(crate) fn open(
    vfs: &Arc<dyn Vfs>,
    env: &Arc<dyn Env>,
    path: &Path,
    options: &OpenOptions,
    visitor: &mut dyn FnMut(Replayed<'_>) -> Result<()>,
) -> Result<Recovered> {
    if options.read_only {
        open_for_reading(vfs, path, visitor)
    } else {
        open_for_writing(vfs, env, path, options, visitor)
    }
}

fn open_for_writing(
    vfs: &Arc<dyn Vfs>,
    env: &Arc<dyn Env>,
    path: &Path,
    options: &OpenOptions,
    visitor: &mut dyn FnMut(Replayed<'_>) -> Result<()>,
) -> Result<Recovered> {
    // Before the lock file is made: a directory of something else stays as it is.
    create_dir(&**vfs, path)?;
    if manifest::load(Arc::clone(vfs), path)?.is_none() {
        refuse_foreign_files(&**vfs, path)?;
    }
    let lock = lock_dir(&**vfs, path)?;
    let dir = path.join(LOG_DIR);
    create_dir(&**vfs, &dir)?;
    // Read again: only from here on is it ours.
    let (store, fallback, is_new) = match manifest::load(Arc::clone(vfs), path)? {
        Some(loaded) => (loaded.store, loaded.fallback, false),
        None => (create(vfs, env, path, &dir, options)?, None, true),
    };
    let store = Arc::new(store);
    let found = store.current();
    let mut metas = metas_of(&found);
    if fallback.is_some() {
        metas = log::adopt(&**vfs, &dir, found.instance_id, found.next_segment, &metas)?;
    } else {
        log::remove_orphans(&**vfs, &dir, &metas)?;
    }
    let reach = last_commit(&found, fallback.is_some());
    let log = log::open_log(
        OpenLog {
            vfs: &**vfs,
            dir: &dir,
            instance_id: found.instance_id,
            metas: &metas,
            reach,
            read_only: false,
            checkpoint: checkpoint::load(&**vfs, path, &found),
        },
        visitor,
    )?;
    let pool = match options.segment_pool {
        0 => None,
        target => Some(Arc::new(SegmentPool::open(
            Arc::clone(vfs),
            &dir,
            options.segment_bytes,
            target,
        )?)),
    };
    let mut context = LogContext {
        vfs: Arc::clone(vfs),
        env: Arc::clone(env),
        dir: dir.clone(),
        instance_id: found.instance_id,
        timeline: found.timeline,
        segment_bytes: options.segment_bytes,
        pool: pool.clone(),
    };
    let closed = log
        .last
        .as_ref()
        // Which session wrote the lost manifest is unknown, so its end cannot be recognised.
        .filter(|last| is_new || (last.closed.is_some() && fallback.is_none()));
    let clean = closed.is_some();
    // Nothing is appended behind a header block that the next open could not read.
    let (segments, active, next_lsn) = match closed.filter(|last| last.segment.header_intact()) {
        Some(last) => {
            // The frame that closed it may have been replayed from the page cache.
            last.segment.sync()?;
            let next_lsn = after(log.last_lsn, 1)?;
            store.update(|manifest| {
                manifest.session = next_lsn;
                manifest.sync_mode = code_of(options.sync_mode);
            })?;
            (log.segment_set(), Arc::clone(&last.segment), next_lsn)
        }
        None => {
            let history = History::of(&found, &log, clean, fallback.is_some());
            context.timeline = history.timeline;
            continue_elsewhere(&context, &store, history, &log, options)?
        }
    };
    let tail = TailFile::open(&**vfs, path)?;
    tail.write(Tail {
        lsn: log.last_lsn,
        timeline: context.timeline,
    })?;
    let timeline = context.timeline;
    let catalog = ManifestCatalog(Arc::clone(&store));
    let writer = LogWriter::new(
        context,
        Box::new(catalog),
        tail,
        Arc::clone(&segments),
        active,
        log.last_lsn,
        next_lsn,
    );
    Ok(Recovered {
        lock: Some(lock),
        log_dir: dir,
        manifest: store,
        writer: Some(writer),
        segments,
        pool,
        instance_id: found.instance_id,
        timeline,
        last_time: last_time(&log, &found),
        report: report(log, clean, fallback),
    })
}

/// What an open continues that does not append to the last segment.
struct History {
    /// No greater LSN was issued, as far as can be known.
    newest_lsn: Lsn,
    /// The timeline of new records.
    timeline: Timeline,
    /// All timelines after the first; the last one may lack, and begins with the new segment then.
    forks: Vec<Fork>,
    /// Id of the new segment.
    segment: u32,
}

impl History {
    fn of(found: &Manifest, log: &RecoveredLog, clean: bool, is_older_manifest: bool) -> Self {
        let mut history = Self {
            newest_lsn: log
                .last_lsn
                .max(log.highest_lsn)
                .max(Lsn::new(found.session.get().saturating_sub(1))),
            timeline: found.timeline,
            forks: found.forks.clone(),
            segment: found.next_segment,
        };
        for segment in &log.segments {
            let header = segment.header();
            history.segment = history.segment.max(header.id.saturating_add(1));
            // Only a manifest that was lost knew of this fork.
            if header.timeline > history.timeline {
                history.timeline = header.timeline;
                history.forks.push(Fork {
                    timeline: header.timeline,
                    first_lsn: header.first_lsn,
                });
            }
        }
        // In the other modes nobody has seen what was not durable, and a close leaves nothing of it. Which
        // mode the writer of a lost manifest was in is unknown.
        if !clean && (found.sync_mode == SyncModeCode::Fast || is_older_manifest) {
            history.timeline = Timeline::new(history.timeline.get().saturating_add(1));
        }
        history
    }
}

/// Seals what is left of the last segment and begins a new one.
fn continue_elsewhere(
    context: &LogContext,
    store: &ManifestStore,
    history: History,
    log: &RecoveredLog,
    options: &OpenOptions,
) -> Result<(Arc<SegmentSet>, Arc<Segment>, Lsn)> {
    let mut metas = log.metas.clone();
    let mut segments = log.segments.clone();
    let mut dropped: Option<PathBuf> = None;
    if let Some(last) = &log.last {
        if last.blank {
            // Else a process that crashes at every start would fill the disk with empty segments.
            dropped = Some(last.segment.path().to_owned());
            metas.pop();
            segments.pop();
        } else {
            // Replayed from the page cache, perhaps: what is sealed must be on the medium.
            last.segment.sync()?;
            if let Some(meta) = metas.last_mut() {
                meta.end = last.segment.end();
            }
        }
    }
    let next_lsn = after(history.newest_lsn, CRASH_SKIP)?;
    let id = history.segment;
    let active = context.create_segment(id, next_lsn, log.last_lsn)?;
    metas.push(SegmentMeta {
        id,
        first_lsn: next_lsn,
        end: 0,
    });
    segments.push(Arc::clone(&active));
    store.update(|manifest| {
        manifest.segments = metas.iter().map(entry_of).collect();
        manifest.next_segment = id.saturating_add(1);
        manifest.session = next_lsn;
        manifest.sync_mode = code_of(options.sync_mode);
        manifest.timeline = history.timeline;
        manifest.forks = history.forks;
        let known = manifest
            .forks
            .last()
            .map_or(Timeline::FIRST, |fork| fork.timeline);
        if history.timeline > known {
            manifest.forks.push(Fork {
                timeline: history.timeline,
                first_lsn: next_lsn,
            });
        }
    })?;
    if let Some(path) = dropped {
        // Left over, it is an orphan that the next open removes.
        let _ = context.vfs.remove(&path);
    }
    Ok((Arc::new(SegmentSet::new(segments)), active, next_lsn))
}

fn open_for_reading(
    vfs: &Arc<dyn Vfs>,
    path: &Path,
    visitor: &mut dyn FnMut(Replayed<'_>) -> Result<()>,
) -> Result<Recovered> {
    let exists = vfs
        .exists(path)
        .map_err(PulseDBError::io("look for", path))?;
    if !exists {
        let missing = io::Error::from(io::ErrorKind::NotFound);
        return Err(PulseDBError::io("open for reading", path)(missing));
    }
    // Before the manifest: what it speaks of was named by then.
    let tail = log::read_tail(&**vfs, path);
    let Some(loaded) = manifest::load(Arc::clone(vfs), path)? else {
        return Err(not_a_database(path));
    };
    let found = loaded.store.current();
    let dir = path.join(LOG_DIR);
    let mut metas = metas_of(&found);
    if loaded.fallback.is_some() {
        metas = log::adopt(&**vfs, &dir, found.instance_id, found.next_segment, &metas)?;
    }
    let reach = if writer_lives(&**vfs, path)? {
        // A TAIL of another timeline may be ahead of what a crash left.
        let tail = tail.filter(|tail| tail.timeline == found.timeline);
        Reach::Durable(tail.map_or(Lsn::ZERO, |tail| tail.lsn))
    } else {
        last_commit(&found, loaded.fallback.is_some())
    };
    let log = log::open_log(
        OpenLog {
            vfs: &**vfs,
            dir: &dir,
            instance_id: found.instance_id,
            metas: &metas,
            reach,
            read_only: true,
            checkpoint: checkpoint::load(&**vfs, path, &found),
        },
        visitor,
    )?;
    let clean = log.last.as_ref().is_some_and(|last| last.closed.is_some());
    Ok(Recovered {
        lock: None,
        log_dir: dir,
        manifest: Arc::new(loaded.store),
        writer: None,
        segments: log.segment_set(),
        pool: None,
        instance_id: found.instance_id,
        timeline: found.timeline,
        last_time: last_time(&log, &found),
        report: report(log, clean, loaded.fallback),
    })
}

/// How far the log of a database without a writer counts.
fn last_commit(found: &Manifest, is_older_manifest: bool) -> Reach {
    let session = if is_older_manifest {
        // The `Close` frame of the session that it names may not be the last one: whoever opened
        // the database after it wrote the manifest that was lost.
        Lsn::new(u64::MAX)
    } else {
        found.session
    };
    Reach::LastCommit { session }
}

/// Does a writer hold the lease? The shared lock that answers it is given back at once.
fn writer_lives(vfs: &dyn Vfs, path: &Path) -> Result<bool> {
    let path = path.join(LOCK);
    match vfs.open(&path, OpenMode::Read) {
        Ok(file) => Ok(!file
            .try_lock_shared()
            .map_err(PulseDBError::io("lock", &path))?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(PulseDBError::io("open", &path)(error)),
    }
}

fn after(lsn: Lsn, distance: u64) -> Result<Lsn> {
    match lsn.get().checked_add(distance) {
        Some(next) => Ok(Lsn::new(next)),
        None => Err(PulseDBError::ReadOnly {
            reason: "the log has used up its numbers".to_owned(),
        }),
    }
}

fn last_time(log: &RecoveredLog, found: &Manifest) -> Timestamp {
    log.last_time
        .map_or(found.created_at, Timestamp::from_millis)
}

fn report(log: RecoveredLog, clean: bool, fallback: Option<PulseDBError>) -> RecoveryReport {
    let mut damaged = log.damaged;
    if let Some(PulseDBError::Corrupted { file, offset, what }) = fallback {
        damaged.insert(0, (file, offset, what));
    }
    let (checkpoint, checkpoint_unusable) = match log.checkpoint {
        None => (None, None),
        Some(Ok(lsn)) => (Some(lsn), None),
        Some(Err(why)) => (None, Some(why)),
    };
    RecoveryReport {
        clean,
        last_lsn: log.last_lsn,
        records: log.records,
        checkpoint,
        checkpoint_unusable,
        torn: log.torn,
        damaged,
    }
}

fn code_of(mode: SyncMode) -> SyncModeCode {
    match mode {
        SyncMode::Normal => SyncModeCode::Normal,
        SyncMode::Fast => SyncModeCode::Fast,
        SyncMode::Paranoid => SyncModeCode::Paranoid,
    }
}

fn metas_of(manifest: &Manifest) -> Vec<SegmentMeta> {
    let entries = manifest.segments.iter();
    entries
        .map(|entry| SegmentMeta {
            id: entry.id,
            first_lsn: entry.first_lsn,
            end: entry.end,
        })
        .collect()
}

fn entry_of(meta: &SegmentMeta) -> SegmentEntry {
    SegmentEntry {
        id: meta.id,
        first_lsn: meta.first_lsn,
        end: meta.end,
    }
}

/// The manifest as the log writer sees it.
#[derive(Debug)]
struct ManifestCatalog(Arc<ManifestStore>);

impl SegmentCatalog for ManifestCatalog {
    fn next_id(&mut self) -> u32 {
        self.0.reserve_segment()
    }

    fn rolled(&mut self, sealed: u32, end: u64, active: SegmentMeta) -> Result<()> {
        self.0.update(|manifest| {
            if let Some(entry) = manifest
                .segments
                .iter_mut()
                .find(|entry| entry.id == sealed)
            {
                entry.end = end;
            }
            manifest.segments.push(entry_of(&active));
        })
    }
}

#[cfg(test)]
mod tests;
