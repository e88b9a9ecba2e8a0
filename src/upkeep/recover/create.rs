//! How does a directory become a new database?
//!
//! Directories and their names, the first segment, then the manifest that names it: a crash at any
//! point leaves something that the next open recognises as not yet a database and begins again.
//! A directory of something else, or of a database that has lost its manifest, is refused untouched.
//! Called by [`super`] alone.

use std::{io, path::Path, sync::Arc};

use super::{OpenOptions, code_of};
use crate::{
    env::Env,
    error::{PulseDBError, Result},
    format::{Manifest, SegmentEntry},
    log::{self, LogContext, SegmentPool},
    manifest::{self, ManifestStore},
    model::{InstanceId, Lsn, Timeline, Timestamp},
    vfs::{LOCK, Vfs},
};

/// The first segment of a database that keeps a pool is made like those that follow it.
fn first_spare(
    vfs: &Arc<dyn Vfs>,
    dir: &Path,
    options: &OpenOptions,
) -> Result<Option<Arc<SegmentPool>>> {
    if options.segment_pool == 0 {
        return Ok(None);
    }
    let pool = SegmentPool::open(Arc::clone(vfs), dir, options.segment_bytes, 1)?;
    if pool.is_short() {
        pool.add_one()?;
    }
    Ok(Some(Arc::new(pool)))
}

/// A new database: its first segment, then the manifest that names it.
pub(super) fn create(
    vfs: &Arc<dyn Vfs>,
    env: &Arc<dyn Env>,
    path: &Path,
    dir: &Path,
    options: &OpenOptions,
) -> Result<ManifestStore> {
    let now = env.now();
    let instance_id = new_instance_id(&**env, now);
    refuse_lost_manifest(&**vfs, path, dir)?;
    sync_name(&**vfs, path)?;
    log::remove_orphans(&**vfs, dir, &[])?;
    let first_lsn = Lsn::new(1);
    let pool = first_spare(vfs, dir, options)?;
    let context = LogContext {
        vfs: Arc::clone(vfs),
        env: Arc::clone(env),
        dir: dir.to_owned(),
        instance_id,
        timeline: Timeline::FIRST,
        segment_bytes: options.segment_bytes,
        pool,
    };
    context.create_segment(1, first_lsn, Lsn::ZERO)?;
    manifest::create(
        Arc::clone(vfs),
        path,
        Manifest {
            instance_id,
            created_at: now,
            generation: 0,
            timeline: Timeline::FIRST,
            forks: Vec::new(),
            retained_from: Lsn::ZERO,
            next_segment: 2,
            segments: vec![SegmentEntry {
                id: 1,
                first_lsn,
                end: 0,
            }],
            checkpoint: Lsn::ZERO,
            sync_mode: code_of(options.sync_mode),
            session: first_lsn,
            unknown: Default::default(),
        },
    )
}

/// Refuses to make a database where one has lost its manifest: it would bury what is left.
fn refuse_lost_manifest(vfs: &dyn Vfs, path: &Path, dir: &Path) -> Result<()> {
    if log::holds_records(vfs, dir)? {
        return Err(PulseDBError::corrupted(
            path.join("MANIFEST"),
            0,
            "the file and its older generation are missing, but the log holds records",
        ));
    }
    Ok(())
}

/// A directory without a manifest must be empty, but for what a crash while it was made may leave.
pub(super) fn refuse_foreign_files(vfs: &dyn Vfs, path: &Path) -> Result<()> {
    let names = vfs.list(path).map_err(PulseDBError::io("list", path))?;
    let ours =
        |name: &String| name == LOCK || log::is_tail_file(name) || manifest::is_manifest_file(name);
    if names.iter().all(ours) {
        Ok(())
    } else {
        Err(not_a_database(path))
    }
}

pub(in crate::upkeep) fn not_a_database(path: &Path) -> PulseDBError {
    PulseDBError::config(
        "path",
        format!(
            "{} has no MANIFEST, so it is not a database; name another directory",
            path.display()
        ),
    )
}

/// Makes the name of a new database durable. The directory may have been made by somebody who did
/// not, or by an open that came to its end in between.
fn sync_name(vfs: &dyn Vfs, path: &Path) -> Result<()> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    match vfs.sync_dir(parent) {
        // Then it is the business of whoever may read the parent.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced.map_err(PulseDBError::io("sync", parent)),
    }
}

/// Who a new database is.
pub(in crate::upkeep) fn new_instance_id(env: &dyn Env, now: Timestamp) -> InstanceId {
    let random = env.random_u128().to_le_bytes();
    let random = random.first_chunk::<10>().copied().unwrap_or_default();
    let millis = u64::try_from(now.as_millis()).unwrap_or(0);
    InstanceId::from_uuid(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
}
