//! How does a backup become a database?
//!
//! Its segments are put together in a directory that is no database yet, then one more is added that ends
//! the log as a close does, in a timeline of its own, and last of all the manifest is written. Until then a
//! marker says that the directory is unfinished: an open refuses it, and another restoration may begin
//! there anew.
//!
//! The new timeline: what the original issued after the backup, or after the cut, is not issued again with
//! another meaning, since all that is recorded from here on belongs to another history. Its number is drawn
//! among some thousands, so that two restorations of one backup are two histories.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Repository, Waiter,
    cut::{self, Before, Whole},
    new_uuid,
    piece::read_piece,
};
use crate::{
    error::{PulseDBError, Result},
    format::{
        BackupManifest, BackupSegment, FileFault, Fork, FrameHeader, Manifest, SEGMENT_HEADER_LEN,
        SegmentEntry, SegmentHeader, parse_segment_file_name,
    },
    log::{Pieces, SegmentBuilder, SegmentMeta, implied_header, segment_path},
    manifest,
    model::{BackupId, InstanceId, Lsn, RestoreOptions, RestorePoint, RestoreReport, Timeline},
    vfs::{LOCK, OpenMode, Vfs, VfsFile, VfsLock, create_dir, lock_dir},
};

const LOG_DIR: &str = "log";
const MANIFEST: &str = "MANIFEST";
/// Is there while the directory is not a database yet.
const MARKER: &str = "RESTORING";
const UNFINISHED: &str = ".tmp";
/// Bytes of a frame without a payload.
const CLOSE_BYTES: u64 = 64;
/// How far the LSNs of the new history are ahead: as after a crash.
const LSN_SKIP: u64 = 1 << 32;
/// Of so many timelines behind the newest one is drawn: enough that two restorations hardly draw the same,
/// and few enough for tens of thousands of restorations one after the other.
const TIMELINES: u64 = 1 << 16;

/// Makes a database of the backup `id` in the directory `to`.
///
/// # Errors
/// As `Repository::manifest`; `Validation` naming what the backup reaches, for a point outside; `Config` where
/// `to` is not empty; `Corrupted` naming the piece that is not what was written; `Io`; `Closed` where nobody
/// waits any more. There is no database in `to` then.
pub(crate) fn restore(
    repository: &Repository,
    id: BackupId,
    to: &Path,
    options: &RestoreOptions,
    waiter: &mut Waiter<'_>,
) -> Result<RestoreReport> {
    let manifest = repository.manifest(id)?;
    if let Some(point) = options.until {
        cut::check_reach(&manifest.info, point)?;
    }
    let newest = repository.manifests()?.readable.into_iter();
    let newest_lsn = newest
        .map(|one| one.info.cursor.lsn)
        .fold(manifest.info.cursor.lsn, Lsn::max);
    let target = Target::begin(repository, to)?;
    let building = Building {
        repository,
        manifest: &manifest,
        target: &target,
        until: options.until,
        instance: match options.as_fork {
            true => {
                let env = &*repository.medium.env;
                InstanceId::from_uuid(new_uuid(env, env.now()))
            }
            false => manifest.info.instance_id,
        },
    };
    match building.build(newest_lsn, waiter) {
        Ok(report) => Ok(report),
        Err(error) => {
            // What is left is no database, and the marker says what it is.
            let _ = target.clear();
            Err(error)
        }
    }
}

/// Makes a database of the first backup that reaches the point.
///
/// # Errors
/// As [`restore`]; `Validation` where no backup reaches it.
pub(crate) fn restore_until(
    repository: &Repository,
    point: RestorePoint,
    to: &Path,
    waiter: &mut Waiter<'_>,
) -> Result<RestoreReport> {
    let manifests = repository.manifests()?.readable;
    let mut refusal = None;
    for info in manifests.iter().map(|manifest| &manifest.info) {
        match cut::check_reach(info, point) {
            Ok(()) => {
                let options = RestoreOptions {
                    until: Some(point),
                    as_fork: false,
                };
                return restore(repository, info.id, to, &options, waiter);
            }
            Err(error) => refusal = Some(error),
        }
    }
    Err(refusal.unwrap_or_else(|| {
        PulseDBError::validation(
            "until",
            format!("{point:?}"),
            "the repository holds no backup",
        )
    }))
}

/// A directory that is to become a database.
struct Target {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    log: PathBuf,
    /// Keeps everybody else from making a database there.
    _lock: Box<dyn VfsLock>,
}

impl Target {
    fn begin(repository: &Repository, dir: &Path) -> Result<Self> {
        let vfs = Arc::clone(&repository.medium.vfs);
        let log = dir.join(LOG_DIR);
        let unfinished = exists(&*vfs, &dir.join(MARKER))?;
        refuse_contents(&*vfs, dir, &log, unfinished)?;
        create_dir(&*vfs, dir)?;
        let lock = lock_dir(&*vfs, dir)?;
        create_dir(&*vfs, &log)?;
        let target = Self {
            vfs,
            dir: dir.to_owned(),
            log,
            _lock: lock,
        };
        if unfinished {
            target.clear_log()?;
        } else {
            target.create(&target.marker())?;
        }
        target.sync_dir(&target.dir)?;
        Ok(target)
    }

    fn marker(&self) -> PathBuf {
        self.dir.join(MARKER)
    }

    fn create(&self, path: &Path) -> Result<Arc<dyn VfsFile>> {
        let created = self.vfs.open(path, OpenMode::CreateNew);
        created.map_err(PulseDBError::io("create", path))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.vfs
            .remove(path)
            .map_err(PulseDBError::io("remove", path))
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        let synced = self.vfs.sync_dir(dir);
        synced.map_err(PulseDBError::io("sync", dir))
    }

    /// Removes what was put together so far.
    fn clear_log(&self) -> Result<()> {
        let names = self.vfs.list(&self.log);
        for name in names.map_err(PulseDBError::io("list", &self.log))? {
            if parse_segment_file_name(&name).is_some() || name.ends_with(UNFINISHED) {
                self.remove(&self.log.join(name))?;
            }
        }
        self.sync_dir(&self.log)
    }

    /// The same, and everything else.
    fn clear(&self) -> Result<()> {
        let names = self.vfs.list(&self.dir);
        let names = names.map_err(PulseDBError::io("list", &self.dir))?;
        // The manifest first, durably: with it, a directory without segments would be taken for a database.
        for name in names.iter().filter(|name| manifest::is_manifest_file(name)) {
            self.remove(&self.dir.join(name))?;
        }
        self.sync_dir(&self.dir)?;
        self.clear_log()?;
        self.remove(&self.marker())?;
        self.sync_dir(&self.dir)
    }
}

/// A database shares its directory with nothing.
fn refuse_contents(vfs: &dyn Vfs, dir: &Path, log: &Path, unfinished: bool) -> Result<()> {
    let list = |dir: &Path| -> Result<Vec<String>> {
        match exists(vfs, dir)? {
            true => vfs.list(dir).map_err(PulseDBError::io("list", dir)),
            false => Ok(Vec::new()),
        }
    };
    let names = list(dir)?;
    let is_database = names.iter().any(|name| name == MANIFEST);
    let empty = names.iter().all(|name| name == LOCK) && list(log)?.is_empty();
    if (unfinished && !is_database) || empty {
        return Ok(());
    }
    Err(PulseDBError::config(
        "dest",
        format!(
            "{} is not empty; name a directory that does not exist",
            dir.display()
        ),
    ))
}

fn exists(vfs: &dyn Vfs, path: &Path) -> Result<bool> {
    vfs.exists(path).map_err(PulseDBError::io("look for", path))
}

/// A restoration under way.
struct Building<'a> {
    repository: &'a Repository,
    manifest: &'a BackupManifest,
    target: &'a Target,
    until: Option<RestorePoint>,
    /// Who the database will be.
    instance: InstanceId,
}

impl Building<'_> {
    fn build(&self, newest_lsn: Lsn, waiter: &mut Waiter<'_>) -> Result<RestoreReport> {
        let info = &self.manifest.info;
        let wanted = self.wanted();
        waiter.begin(wanted.iter().map(|segment| segment.end).sum(), 0);
        let mut entries: Vec<SegmentEntry> = Vec::new();
        let mut last: Option<Whole> = None;
        let mut all = wanted.len() == self.manifest.segments.len();
        for segment in wanted {
            let before = self.segment(segment, waiter)?;
            if let Some(before) = &before {
                last = before.last.or(last);
                entries.push(SegmentEntry {
                    id: segment.id,
                    first_lsn: segment.first_lsn,
                    end: before.end,
                });
            }
            if before.is_none_or(|before| before.is_cut) {
                all = false;
                break;
            }
        }
        let end = match all {
            true => Whole {
                lsn: info.cursor.lsn,
                time: info.last_write,
            },
            false => self.cut_at(last)?,
        };
        let bytes = entries.iter().map(|entry| entry.end).sum();
        let segments = entries.len() as u64;
        let timeline = self.end_log(entries, end, newest_lsn)?;
        self.target.remove(&self.target.marker())?;
        self.target.sync_dir(&self.target.dir)?;
        Ok(RestoreReport {
            backup: info.id,
            instance_id: self.instance,
            lsn: end.lsn,
            timeline,
            segments,
            bytes,
        })
    }

    /// What is restored, if it is not all: `last` is the last commit before the point that is still there.
    fn cut_at(&self, last: Option<Whole>) -> Result<Whole> {
        let info = &self.manifest.info;
        match (self.until, last) {
            // Where its own commit was compacted away, the state at the point is that of those before.
            (Some(RestorePoint::Lsn(_)), Some(last)) => Ok(last),
            (Some(RestorePoint::Lsn(lsn)), None) if info.history_from > Lsn::ZERO => Ok(Whole {
                lsn,
                time: info.last_write,
            }),
            // Whether the moment was before or after the history begins, nothing tells.
            (Some(RestorePoint::Time(_)), Some(last)) if info.history_from <= last.lsn => Ok(last),
            (Some(point), _) => Err(cut::out_of_reach(info, point)),
            (None, _) => Ok(Whole {
                lsn: info.cursor.lsn,
                time: info.last_write,
            }),
        }
    }

    /// The segments that may hold something before the point.
    fn wanted(&self) -> &[BackupSegment] {
        let segments = &self.manifest.segments;
        let count = match self.until {
            Some(RestorePoint::Lsn(lsn)) => segments.partition_point(|one| one.first_lsn <= lsn),
            Some(RestorePoint::Time(_)) | None => segments.len(),
        };
        segments.get(..count).unwrap_or_default()
    }

    /// Puts a segment together, up to the point; `None` if nothing of it lies before.
    fn segment(&self, segment: &BackupSegment, waiter: &mut Waiter<'_>) -> Result<Option<Before>> {
        let target = self.target;
        let path = segment_path(&target.log, segment.first_lsn, segment.id);
        let mut unfinished = path.clone().into_os_string();
        unfinished.push(UNFINISHED);
        let unfinished = PathBuf::from(unfinished);
        let file = target.create(&unfinished)?;
        let (vfs, pieces) = (&*target.vfs, self.repository.pieces());
        let mut at = 0;
        for piece in &segment.pieces {
            read_piece(vfs, &pieces, piece, &mut |bytes| {
                file.write_all_at(bytes, at)
                    .map_err(PulseDBError::io("write", &unfinished))?;
                at += bytes.len() as u64;
                waiter.did(bytes.len() as u64)
            })?;
        }
        let header = self.header(segment, &file, &unfinished)?;
        let before = match self.until {
            Some(point) => cut::before(Arc::clone(&file), &header, segment.end, point),
            None => Before {
                end: segment.end,
                last: None,
                is_cut: false,
            },
        };
        if before.end == segment.end {
            self.finish(&file, &unfinished, &path)?;
            return Ok(Some(before));
        }
        if before.last.is_some() {
            // Written anew: of what was cut off, no byte is left in the file.
            let mut shorter = path.clone().into_os_string();
            shorter.push(".cut");
            shorter.push(UNFINISHED);
            let shorter = PathBuf::from(shorter);
            let copy = target.create(&shorter)?;
            copy_start(&file, &copy, before.end).map_err(PulseDBError::io("write", &shorter))?;
            self.finish(&copy, &shorter, &path)?;
        }
        target.remove(&unfinished)?;
        Ok(before.last.is_some().then_some(before))
    }

    /// The header block in `file`; that of a fork names the fork. A damaged one was so when the backup was
    /// made, since pieces have checksums: it stays, and the segment is read by what is known without.
    fn header(
        &self,
        segment: &BackupSegment,
        file: &Arc<dyn VfsFile>,
        path: &Path,
    ) -> Result<SegmentHeader> {
        let mut block = vec![0; SEGMENT_HEADER_LEN];
        file.read_exact_at(&mut block, 0)
            .map_err(PulseDBError::io("read", path))?;
        let damaged = |fault: FileFault| {
            let first = segment.pieces.first();
            let file = first.map_or(path.to_owned(), |piece| self.repository.piece_path(piece));
            PulseDBError::corrupted(file, 0, format!("the header of a segment: {fault}"))
        };
        let mut header = match SegmentHeader::decode(&block) {
            Err(fault @ FileFault::Version { .. }) => return Err(damaged(fault)),
            Err(fault) => {
                let meta = SegmentMeta {
                    id: segment.id,
                    first_lsn: segment.first_lsn,
                    end: segment.end,
                };
                let mut pieces = Pieces::new(Arc::clone(file), segment.end);
                return implied_header(&mut pieces, &meta, self.instance, false)
                    .ok_or_else(|| damaged(fault));
            }
            Ok(header) => header,
        };
        if header.instance_id != self.instance {
            header.instance_id = self.instance;
            file.write_all_at(&header.encode(), 0)
                .map_err(PulseDBError::io("write", path))?;
        }
        Ok(header)
    }

    /// Makes a segment durable under its name.
    fn finish(&self, file: &Arc<dyn VfsFile>, unfinished: &Path, path: &Path) -> Result<()> {
        file.sync_all()
            .map_err(PulseDBError::io("sync", unfinished))?;
        let renamed = self.target.vfs.rename(unfinished, path);
        renamed.map_err(PulseDBError::io("rename", unfinished))
    }

    /// Ends the log behind `end` like a close, in a new timeline, and makes it all a database.
    fn end_log(
        &self,
        mut entries: Vec<SegmentEntry>,
        end: Whole,
        newest_lsn: Lsn,
    ) -> Result<Timeline> {
        let (env, target) = (&*self.repository.medium.env, self.target);
        let old = &self.manifest.database;
        let issued = newest_lsn.get().max(old.session.get());
        let first_lsn = Lsn::new(issued.checked_add(LSN_SKIP).ok_or_else(used_up)?);
        let drawn = 1 + env.random_u64() % TIMELINES;
        let timeline = u64::from(old.timeline.get()) + drawn;
        let timeline = Timeline::new(u32::try_from(timeline).map_err(|_| used_up())?);
        let newest_id = entries.iter().map(|entry| entry.id).max().unwrap_or(0);
        let id = old.next_segment.max(newest_id.saturating_add(1));
        let header = SegmentHeader {
            timeline,
            instance_id: self.instance,
            first_lsn,
            previous_lsn: end.lsn,
            seed: env.random_u64() as u32,
            id,
            cipher: 0,
            key: 0,
            cleaned: Lsn::ZERO,
        };
        let close = FrameHeader::close(first_lsn, env.now().max(end.time), end.lsn);
        let mut segment = SegmentBuilder::create(&target.vfs, &target.log, header, CLOSE_BYTES)?;
        segment.push(&close, &[])?;
        // Syncs the names of all segments, too.
        segment.finish()?;
        entries.push(SegmentEntry {
            id,
            first_lsn,
            end: 0,
        });
        let mut forks = old.forks.clone();
        forks.retain(|fork| fork.first_lsn <= end.lsn);
        forks.push(Fork {
            timeline,
            first_lsn,
        });
        let next_segment = id.checked_add(1).ok_or_else(used_up)?;
        let database = Manifest {
            instance_id: self.instance,
            timeline,
            forks,
            retained_from: self.manifest.info.history_from,
            next_segment,
            segments: entries,
            checkpoint: Lsn::ZERO,
            session: first_lsn,
            ..old.clone()
        };
        manifest::create(Arc::clone(&target.vfs), &target.dir, database)?;
        Ok(timeline)
    }
}

fn copy_start(from: &Arc<dyn VfsFile>, to: &Arc<dyn VfsFile>, len: u64) -> std::io::Result<()> {
    let mut chunk = vec![0; super::CHUNK_BYTES];
    let mut at = 0;
    while at < len {
        let size = (len - at).min(chunk.len() as u64);
        let bytes = chunk.get_mut(..size as usize).unwrap_or_default();
        from.read_exact_at(bytes, at)?;
        to.write_all_at(bytes, at)?;
        at += size;
    }
    Ok(())
}

fn used_up() -> PulseDBError {
    PulseDBError::ReadOnly {
        reason: "the log has used up its numbers".to_owned(),
    }
}
