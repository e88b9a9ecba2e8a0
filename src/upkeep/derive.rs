//! How does the log become tables?
//!
//! By the same steps for a writer, for a reader, and for a reader that begins anew because the files
//! went on without it: what an open recovers is shown to an [`Applier`], record by record. A reader opens
//! beside a writer that may replace the manifest and retire segments meanwhile; what it did not find
//! because of that is no damage, and it looks again.

use std::{path::Path, sync::Arc};

use crate::{
    env::Env,
    error::{PulseDBError, Result},
    format::Checkpoint,
    log::{Frame, Replayed},
    manifest,
    model::Lsn,
    state::{Applier, Mutation, replay},
    upkeep::recover::{self, OpenOptions, Recovered},
    vfs::Vfs,
};

/// How often a reader opens anew because the manifest was replaced meanwhile. A compaction that has files
/// to retire takes far longer than an open.
const ATTEMPTS: u32 = 16;

/// An open database: its files, and what follows from them.
pub(crate) struct Derived {
    /// The files; the report also has the records that this build cannot read.
    pub(crate) recovered: Recovered,
    /// The tables.
    pub(crate) applier: Applier,
    /// The checkpoint that they began with.
    pub(crate) base: Option<Arc<Checkpoint>>,
    /// What was replaced up to here is not in memory.
    pub(crate) trimmed: Lsn,
}

/// Opens the database at `path` and derives its tables. Without history, only the newest versions.
///
/// # Errors
/// Those of [`recover::open`].
pub(crate) fn open(
    vfs: &Arc<dyn Vfs>,
    env: &Arc<dyn Env>,
    path: &Path,
    options: &OpenOptions,
    keeps_history: bool,
) -> Result<Derived> {
    if !options.read_only {
        return open_once(vfs, env, path, options, keeps_history);
    }
    let mut attempt = 1;
    loop {
        let before = generation(vfs, path);
        let opened = open_once(vfs, env, path, options, keeps_history);
        let is_whole = matches!(&opened, Ok(one) if one.recovered.report.damaged.is_empty());
        if is_whole || attempt == ATTEMPTS || generation(vfs, path) == before {
            return opened;
        }
        attempt += 1;
    }
}

/// The generation of the newest manifest, if it can be read.
fn generation(vfs: &Arc<dyn Vfs>, path: &Path) -> Option<u64> {
    let loaded = manifest::load(Arc::clone(vfs), path).ok().flatten()?;
    Some(loaded.store.current().generation)
}

fn open_once(
    vfs: &Arc<dyn Vfs>,
    env: &Arc<dyn Env>,
    path: &Path,
    options: &OpenOptions,
    keeps_history: bool,
) -> Result<Derived> {
    let mut applier = Applier::default();
    let mut base = None;
    let mut undecodable = Vec::new();
    let mut recovered = recover::open(vfs, env, path, options, &mut |replayed| {
        if let Replayed::Checkpoint(checkpoint) = replayed {
            applier = Applier::over(checkpoint);
            base = Some(Arc::clone(checkpoint));
        } else {
            // Nobody holds a snapshot yet, so where no history is kept only the newest version is needed.
            let horizon = |lsn| if keeps_history { Lsn::ZERO } else { lsn };
            apply(&mut applier, &replayed, horizon, &mut undecodable);
        }
        Ok(())
    })?;
    let trimmed = if keeps_history {
        let begins = base
            .as_ref()
            .map_or(Lsn::ZERO, |base: &Arc<Checkpoint>| base.header().horizon);
        recovered.manifest.current().retained_from.max(begins)
    } else {
        applier.bury(Lsn::new(u64::MAX));
        recovered.report.last_lsn
    };
    if base.is_none() {
        applier.replayed();
    }
    let _ = applier.take_purges();
    for error in undecodable {
        if let PulseDBError::Corrupted { file, offset, what } = error {
            recovered.report.damaged.push((file, offset, what));
        }
    }
    Ok(Derived {
        recovered,
        applier,
        base,
        trimmed,
    })
}

/// Brings the tables up to date with a record of the log. `horizon` tells, for its LSN, below which
/// nobody needs what it replaces. What cannot be read although it is intact is treated as damaged, and
/// told in `undecodable`.
pub(crate) fn apply(
    applier: &mut Applier,
    replayed: &Replayed<'_>,
    horizon: impl FnOnce(Lsn) -> Lsn,
    undecodable: &mut Vec<PulseDBError>,
) {
    let (header, mutation) = match replayed {
        Replayed::Frame(frame) => {
            if frame.header.kind.makes_row() {
                // Where the row's id goes, while its record is decoded.
                applier.ids().prefetch(frame.header.entity);
            }
            (frame.header, mutation_of(frame, applier, undecodable))
        }
        Replayed::Damaged {
            header: Some(header),
            place,
        } => (*header, replay::damaged_mutation(header, *place, applier)),
        // Nothing is known of the record; the report names the place.
        Replayed::Damaged { header: None, .. } | Replayed::Checkpoint(_) => return,
    };
    applier.note(&header);
    applier.apply(header.lsn, mutation, horizon(header.lsn));
}

fn mutation_of(
    frame: &Frame<'_>,
    applier: &Applier,
    undecodable: &mut Vec<PulseDBError>,
) -> Mutation {
    // The replay has compared the payload with its checksum.
    let decoded = replay::mutation(frame, frame.payload, applier);
    decoded.unwrap_or_else(|error| {
        undecodable.push(error);
        replay::damaged_mutation(&frame.header, frame.place, applier)
    })
}
