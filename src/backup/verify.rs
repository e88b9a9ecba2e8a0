//! Is a backup what was written?
//!
//! Its manifest is, or it would not have been read; here every byte of its pieces is read, those of earlier
//! backups included. Changes nothing.

use std::collections::HashSet;

use super::{Repository, Waiter, piece::read_piece};
use crate::{
    error::{PulseDBError, Result},
    model::{BackupId, BackupReport},
};

/// Reads all of a backup.
///
/// # Errors
/// As `Repository::manifest`; `Closed` where nobody waits any more. Damage of pieces is in the report.
pub(crate) fn verify(
    repository: &Repository,
    id: BackupId,
    waiter: &mut Waiter<'_>,
) -> Result<BackupReport> {
    let manifest = repository.manifest(id)?;
    let dir = repository.pieces();
    let pieces = manifest.segments.iter().flat_map(|one| &one.pieces);
    let mut report = BackupReport {
        backup: manifest.info.clone(),
        pieces: 0,
        bytes: 0,
        damaged: Vec::new(),
    };
    waiter.begin(manifest.segments.iter().map(|one| one.end).sum(), 0);
    let mut seen = HashSet::new();
    for piece in pieces {
        report.pieces += 1;
        report.bytes += piece.bytes();
        if !seen.insert(piece.file_name()) {
            waiter.did(piece.bytes())?;
            continue;
        }
        let read = read_piece(&*repository.medium.vfs, &dir, piece, &mut |bytes| {
            waiter.did(bytes.len() as u64)
        });
        match read {
            Ok(()) => {}
            Err(PulseDBError::Corrupted { file, what, .. }) => report.damaged.push((file, what)),
            Err(error) => return Err(error),
        }
    }
    Ok(report)
}
