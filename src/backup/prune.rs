//! Which backups are old enough to go?
//!
//! Manifests go first, durably; then the pieces that none of the others needs. A crash in between leaves
//! pieces that mean nothing.

use super::Repository;
use crate::{
    error::{PulseDBError, Result},
    format::BackupManifest,
    model::{BackupRetention, PruneReport, Timestamp},
};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Removes all backups but those that `retention` keeps.
///
/// # Errors
/// `Validation` where it keeps none; `Locked` while somebody else works there; `Config` where that is
/// no repository; `Io`.
pub(crate) fn prune(repository: &Repository, retention: &BackupRetention) -> Result<PruneReport> {
    if retention.keep_last == 0 && retention.keep_days == 0 {
        return Err(PulseDBError::validation(
            "retention",
            "keep_last 0, keep_days 0",
            "one of both must keep something",
        ));
    }
    // Before the lock makes directories: here nothing is made.
    repository.list()?;
    let _lock = repository.lock()?;
    let mut manifests = repository.manifests()?;
    let now = repository.medium.env.now();
    let old = manifests
        .readable
        .len()
        .saturating_sub(retention.keep_last as usize);
    let mut place = 0;
    let gone: Vec<BackupManifest> = manifests
        .readable
        .extract_if(.., |manifest| {
            place += 1;
            place <= old && is_older(manifest, retention.keep_days, now)
        })
        .collect();
    for manifest in &gone {
        repository.remove_manifest(manifest.info.id)?;
    }
    let (pieces_removed, bytes_removed) = repository.sweep(&manifests)?;
    let ids = |list: &[BackupManifest]| list.iter().map(|one| one.info.id).collect();
    Ok(PruneReport {
        removed: ids(&gone),
        kept: ids(&manifests.readable),
        pieces_removed,
        bytes_removed,
        unreadable: manifests.unreadable,
    })
}

fn is_older(manifest: &BackupManifest, days: u32, now: Timestamp) -> bool {
    let age = now
        .as_millis()
        .saturating_sub(manifest.info.created_at.as_millis());
    days == 0 || age > i64::from(days).saturating_mul(DAY_MS)
}
