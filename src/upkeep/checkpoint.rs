//! How is the state that was derived from the log kept, so that an open need not derive it again?
//!
//! A checkpoint shows exactly the state as of a published snapshot, while commits go on: rows,
//! versions and deletions above its LSN are left out, and what the snapshot holds stays where it is.
//! The file appears whole or not at all; the manifest names it once it is durable, and only then goes
//! the one before it. Everything in it can be derived again: a checkpoint that cannot be written or
//! read costs time, never a record.

mod write;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::{
    error::{PulseDBError, Result},
    format::{Checkpoint, CheckpointDamage, Manifest, checkpoint_file_lsn, checkpoint_file_name},
    log::{Covered, SegmentSet},
    manifest::ManifestStore,
    model::{InstanceId, Lsn},
    state::{KeyIndex, Snapshot},
    vfs::{OpenMode, Vfs},
};

pub(crate) use write::write;

/// What is written of.
type View = Snapshot<Arc<SegmentSet>>;

/// The directory of checkpoints, in the database's.
const DIR: &str = "index";
/// How a checkpoint's file is called while it is being written, behind its name.
const UNFINISHED: &str = ".tmp";

/// A checkpoint is made when the log has grown by so many times its size since, so that writing
/// checkpoints stays a fraction of writing the log however large they are.
const TIMES_ITS_SIZE: u64 = 2;

/// A close makes a checkpoint if the next open would have to read more of the log than this: about a
/// millisecond.
const CLOSE_BYTES: u64 = 1024 * 1024;

/// And more than this part of the checkpoint's size: replaying it takes less than half of what the
/// checkpoint takes to check, and sessions that change little do not rewrite much.
const CLOSE_PART: u64 = 8;

/// How often a look for what is due passes by after a checkpoint failed: ten seconds.
const PASSES_AFTER_FAILURE: u32 = 100;

/// What a checkpoint is made of.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    /// The state; everything up to its LSN is durable in the log.
    pub(crate) view: &'a View,
    /// The keys of its rows.
    pub(crate) keys: &'a KeyIndex,
    /// The database.
    pub(crate) instance_id: InstanceId,
    /// What is known to be damaged in the segments.
    pub(crate) damage: &'a [CheckpointDamage],
}

/// A checkpoint that is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    /// The commit that it shows the state after.
    pub(crate) lsn: Lsn,
    /// Bytes of its file.
    pub(crate) bytes: u64,
    /// How far it covers the log.
    pub(crate) covered: Covered,
}

/// How much an open would have to read beside the newest checkpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Behind {
    /// The newest, if there is one.
    pub(crate) newest: Option<Written>,
    /// Bytes of the log behind it.
    pub(crate) bytes: u64,
    /// At so many the next one is made.
    pub(crate) due: u64,
}

/// When the next checkpoint is made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    /// If there is anything that the newest lacks.
    Now,
    /// If the log behind the newest has so many bytes, or [`TIMES_ITS_SIZE`] of its own.
    Behind(u64),
    /// If the next open would take noticeably longer without it.
    Close,
    /// Not now; only asked which is the newest.
    Never,
}

/// The checkpoints of an open database.
pub(crate) struct Checkpoints {
    vfs: Arc<dyn Vfs>,
    path: PathBuf,
    manifest: Arc<ManifestStore>,
    instance_id: InstanceId,
    /// Held by whoever writes one.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    newest: Option<Written>,
    /// Looks to be passed by.
    passes: u32,
    ended: bool,
}

impl Checkpoints {
    /// Those of the database in `path`, which began with `newest`.
    pub(crate) fn new(
        vfs: Arc<dyn Vfs>,
        path: &Path,
        manifest: Arc<ManifestStore>,
        instance_id: InstanceId,
        newest: Option<Written>,
    ) -> Self {
        Self {
            vfs,
            path: path.to_owned(),
            manifest,
            instance_id,
            state: Mutex::new(State {
                newest,
                ..State::default()
            }),
        }
    }

    /// Whether [`Checkpoints::make`] would write one that is made by itself. Asked often.
    pub(crate) fn is_due(&self, view: &View, when: When) -> bool {
        // Whoever writes one sees to it.
        let Some(mut state) = self.state.try_lock() else {
            return false;
        };
        if state.passes > 0 && matches!(when, When::Behind(_)) {
            state.passes -= 1;
            return false;
        }
        !state.ended && is_due(&state, view, when)
    }

    /// How far the newest is behind `view`, where it is made by itself at so many bytes. `None` while one is being
    /// written, which may take its time.
    pub(crate) fn behind(&self, view: &View, least: u64) -> Option<Behind> {
        let newest = self.state.try_lock()?.newest;
        Some(Behind {
            newest,
            bytes: bytes_behind(newest.as_ref(), view),
            due: due_at(newest.as_ref(), least),
        })
    }

    /// Makes the state of `view` the newest checkpoint, if it is due; the LSN of the newest one then.
    /// Everything in `view` must be durable. `tell` hears of the bytes as they are written, and may take its time.
    ///
    /// # Errors
    /// `Io`; the checkpoint before it is still there. `Closed` after [`Checkpoints::end`].
    pub(crate) fn make(
        &self,
        view: &View,
        keys: &KeyIndex,
        damage: &[(PathBuf, u64, String)],
        when: When,
        tell: &mut dyn FnMut(u64),
    ) -> Result<Lsn> {
        let mut state = self.state.lock();
        if state.ended {
            return Err(PulseDBError::Closed);
        }
        if is_due(&state, view, when) && is_complete(&self.manifest.current(), view) {
            let made = self.write(view, keys, damage, tell).and_then(|written| {
                self.manifest
                    .update(|manifest| manifest.checkpoint = written.lsn)?;
                self.remove_unnamed();
                Ok(written)
            });
            state.passes = if made.is_err() {
                PASSES_AFTER_FAILURE
            } else {
                0
            };
            state.newest = Some(made?);
        }
        Ok(state.newest.map_or(Lsn::ZERO, |newest| newest.lsn))
    }

    /// Makes `change` in the manifest, and in the same step the state of `view`, whose segments are
    /// those that the manifest names afterwards, the newest checkpoint. Where that cannot be written, or
    /// is not to be, there is none, which costs the next open its time.
    ///
    /// # Errors
    /// `Io`: whether the change stands is known after the next open. `Closed`.
    pub(crate) fn make_with(
        &self,
        view: &View,
        keys: &KeyIndex,
        damage: &[(PathBuf, u64, String)],
        when: When,
        change: &dyn Fn(&mut Manifest),
    ) -> Result<()> {
        let mut state = self.state.lock();
        if state.ended {
            return Err(PulseDBError::Closed);
        }
        let mut next = self.manifest.current();
        change(&mut next);
        let written = if !matches!(when, When::Never) && is_complete(&next, view) {
            self.write(view, keys, damage, &mut |_| ())
                .inspect_err(|error| tracing::warn!(%error, "a checkpoint could not be written"))
                .ok()
        } else {
            None
        };
        self.manifest.update(|manifest| {
            change(manifest);
            manifest.checkpoint = written.map_or(Lsn::ZERO, |written| written.lsn);
        })?;
        state.newest = written;
        self.remove_unnamed();
        Ok(())
    }

    /// Has both generations of the manifest say the same, and removes the checkpoints that neither names.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn settle(&self) -> Result<()> {
        // Nobody writes one meanwhile, which no manifest names yet.
        let _state = self.state.lock();
        self.manifest.update(|_| ())?;
        self.remove_unnamed();
        Ok(())
    }

    /// Sees to it that no checkpoint holds the idempotency key of an experience, and says how many there are.
    ///
    /// # Errors
    /// `Conflict` naming the file that does.
    pub(crate) fn prove_gone(&self, id: u128) -> Result<u64> {
        let _state = self.state.lock();
        let dir = self.path.join(DIR);
        let io = |what| PulseDBError::io(what, &dir);
        if !self.vfs.exists(&dir).map_err(io("look for"))? {
            return Ok(0);
        }
        let mut count = 0;
        for name in self.vfs.list(&dir).map_err(io("list"))? {
            if checkpoint_file_lsn(&name).is_none() {
                continue;
            }
            let path = dir.join(&name);
            let checkpoint = map(&*self.vfs, &path).map_err(PulseDBError::conflict)?;
            let mut rows = checkpoint.find_ids(id);
            if rows.any(|((collective, row), _)| checkpoint.key_of(collective, row).is_some()) {
                let file = path.display();
                return Err(PulseDBError::conflict(format!(
                    "its idempotency key still stands in {file}"
                )));
            }
            count += 1;
        }
        Ok(count)
    }

    /// Waits until nobody writes one, and lets nobody write another.
    pub(crate) fn end(&self) {
        self.state.lock().ended = true;
    }

    /// Removes the files that no manifest names. One that stays costs space until the next time. Not
    /// done at an open, which would wait for the file system to free them.
    pub(crate) fn remove_unnamed(&self) {
        if let Err(error) = self.try_remove_unnamed() {
            tracing::warn!(%error, "a checkpoint that is not needed could not be removed");
        }
    }

    fn try_remove_unnamed(&self) -> Result<()> {
        let dir = self.path.join(DIR);
        let io = |what| PulseDBError::io(what, &dir);
        if !self.vfs.exists(&dir).map_err(io("look for"))? {
            return Ok(());
        }
        let mut named = None;
        for name in self.vfs.list(&dir).map_err(io("list"))? {
            let finished = name.strip_suffix(UNFINISHED).unwrap_or(&name);
            let Some(lsn) = checkpoint_file_lsn(finished) else {
                continue;
            };
            let named = match &named {
                Some(named) => named,
                None => named.insert(self.manifest.named_checkpoints()?),
            };
            if finished != name || !named.contains(&lsn) {
                let path = dir.join(&name);
                self.vfs
                    .remove(&path)
                    .map_err(PulseDBError::io("remove", &path))?;
            }
        }
        Ok(())
    }

    fn write(
        &self,
        view: &View,
        keys: &KeyIndex,
        damage: &[(PathBuf, u64, String)],
        tell: &mut dyn FnMut(u64),
    ) -> Result<Written> {
        let segment_of = |path: &Path| {
            let segments = view.segments.segments().iter();
            segments
                .filter(|one| one.path() == path)
                .map(|one| one.id())
                .next()
        };
        let damage: Vec<_> = damage
            .iter()
            .filter_map(|(path, offset, what)| {
                Some(CheckpointDamage {
                    segment: segment_of(path)?,
                    offset: *offset,
                    what: what.clone(),
                })
            })
            .collect();
        let source = Source {
            view,
            keys,
            instance_id: self.instance_id,
            damage: &damage,
        };
        // What a crash left is gone before there is more.
        self.remove_unnamed();
        write(&*self.vfs, &self.path, &source, tell)
    }
}

/// Whether the view has every segment that the manifest names: else no open could use a checkpoint
/// of it, since one of them cannot be read, or has just been rewritten.
fn is_complete(manifest: &Manifest, view: &View) -> bool {
    let below = |lsn: Lsn| lsn <= view.lsn();
    let named = manifest.segments.iter().filter(|one| below(one.first_lsn));
    let held = view.segments.segments().iter();
    let held = held.filter(|one| below(one.header().first_lsn));
    named.map(|one| one.id).eq(held.map(|one| one.id()))
}

fn is_due(state: &State, view: &View, when: When) -> bool {
    let newest = state.newest.map_or(Lsn::ZERO, |newest| newest.lsn);
    if view.lsn() <= newest {
        return false;
    }
    let behind = || bytes_behind(state.newest.as_ref(), view);
    let size = state.newest.map_or(0, |newest| newest.bytes);
    match when {
        When::Now => true,
        When::Never => false,
        When::Behind(least) => behind() >= due_at(state.newest.as_ref(), least),
        When::Close => behind() >= CLOSE_BYTES.max(size / CLOSE_PART),
    }
}

/// Bytes of the log behind the newest checkpoint at which the next one is made by itself.
fn due_at(newest: Option<&Written>, least: u64) -> u64 {
    let size = newest.map_or(0, |newest| newest.bytes);
    least.max(size.saturating_mul(TIMES_ITS_SIZE))
}

/// Bytes of the log of `view` behind the newest checkpoint.
fn bytes_behind(newest: Option<&Written>, view: &View) -> u64 {
    match newest {
        Some(newest) => view.segments.bytes_behind(&newest.covered),
        None => view.segments.segments().iter().map(|one| one.end()).sum(),
    }
}

/// The file of the checkpoint as of `lsn`, of the database in `db`.
pub(crate) fn path(db: &Path, lsn: Lsn) -> PathBuf {
    db.join(DIR).join(checkpoint_file_name(lsn))
}

/// Reads the checkpoint that a manifest names; `None` if it names none, and why where it cannot be
/// used.
pub(crate) fn load(
    vfs: &dyn Vfs,
    path: &Path,
    manifest: &Manifest,
) -> Option<Result<Arc<Checkpoint>, String>> {
    let lsn = manifest.checkpoint;
    if lsn == Lsn::ZERO {
        return None;
    }
    Some(map(vfs, &self::path(path, lsn)).and_then(|checkpoint| {
        check_history(&checkpoint, manifest)?;
        Ok(Arc::new(checkpoint))
    }))
}

/// The checkpoint in a file, or why there is none.
fn map(vfs: &dyn Vfs, path: &Path) -> Result<Checkpoint, String> {
    let map = || {
        let file = vfs.open(path, OpenMode::Read)?;
        file.map(file.len()?)
    };
    let map = map().map_err(|error| format!("{}: {error}", path.display()))?;
    map.populate();
    Checkpoint::parse(Bytes::from_owner(map))
        .map_err(|fault| format!("{}: {fault}", path.display()))
}

/// Is its commit part of the history that the manifest tells of?
fn check_history(checkpoint: &Checkpoint, manifest: &Manifest) -> Result<(), String> {
    let header = checkpoint.header();
    if header.lsn != manifest.checkpoint {
        return Err(format!("it is of LSN {}", header.lsn));
    }
    let forks = manifest.forks.iter();
    let left = forks
        .filter(|fork| fork.timeline > header.timeline)
        .any(|fork| fork.first_lsn <= header.lsn);
    if left || header.timeline > manifest.timeline {
        return Err(format!("it is of timeline {}", header.timeline.get()));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
