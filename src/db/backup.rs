//! Backups, as the application makes them and gets its database back.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{PulseDB, engine::Engine};
use crate::{
    backup::{self, Medium, Repository, Source, Waiter},
    edge::{pool, registry},
    env::OsEnv,
    error::{PulseDBError, Result},
    model::{
        BackupId, BackupInfo, BackupList, BackupOptions, BackupProgress, BackupReport,
        BackupRetention, PruneReport, RestoreOptions, RestorePoint, RestoreReport,
    },
    telemetry::{Operation, Told},
    vfs::OsVfs,
};

/// Backups.
impl PulseDB {
    /// Copies the database, as of its newest commit, into the repository of backups in the directory `dir`,
    /// which is made if it does not exist. Recording and reading go on; nobody waits for it.
    ///
    /// What the repository holds of the log is not copied again, so a second backup costs what was recorded
    /// since the first; nevertheless each can be restored without the others, and any of them may be
    /// removed. A repository holds the backups of one database. Index files are not part of a backup: they
    /// follow from the log. An experience that was erased stays in the backups made before.
    ///
    /// Works on a handle that reads only, too, beside a writer in another process: what it has opened
    /// stays readable, whatever the writer compacts.
    ///
    /// Cancel-safe: where the future is dropped, or the database closed, there is no new backup, and the
    /// next one removes what was copied.
    ///
    /// ```
    /// # fn main() -> pulsedb::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let (path, repository, restored) = (dir.path().join("db"), dir.path().join("backups"), dir.path().join("restored"));
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// use pulsedb::{BackupOptions, Config, EmbeddingDimension, PulseDB, RestoreOptions};
    ///
    /// let config = Config::external(EmbeddingDimension::Custom(2));
    /// let db = PulseDB::open(&path, config.clone()).await?;
    /// db.create_collective("team").await?;
    /// let backup = db.backup(&repository, BackupOptions::default()).await?;
    /// assert!(PulseDB::verify_backup(&repository, backup.id).await?.is_clean());
    /// # db.close().await?;
    ///
    /// PulseDB::restore(&repository, backup.id, &restored, RestoreOptions::default()).await?;
    /// let db = PulseDB::open(&restored, config).await?;
    /// assert_eq!(db.list_collectives().await?[0].name, "team");
    /// # db.close().await
    /// # })
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PulseDBError::Config`] where `dir` holds something else, or backups of another database;
    /// [`PulseDBError::Locked`] while somebody else works in the repository; [`PulseDBError::Corrupted`]
    /// where a segment of the log cannot be opened; [`PulseDBError::Io`]; [`PulseDBError::Closed`].
    pub async fn backup(
        &self,
        dir: impl AsRef<Path>,
        options: BackupOptions,
    ) -> Result<BackupInfo> {
        self.backup_with(dir, options, |_| {}).await
    }

    /// The same as [`PulseDB::backup`], telling every 256 KiB how far it has come. `tell` is called on the
    /// thread that copies, which waits for it.
    ///
    /// # Errors
    /// As [`PulseDB::backup`].
    pub async fn backup_with(
        &self,
        dir: impl AsRef<Path>,
        options: BackupOptions,
        tell: impl FnMut(BackupProgress) + Send + 'static,
    ) -> Result<BackupInfo> {
        let engine = Arc::clone(self.engine());
        let medium = Medium {
            vfs: Arc::clone(&engine.vfs),
            env: Arc::clone(&engine.env),
        };
        let repository = Repository::new(medium, absolute(dir.as_ref())?);
        let mut tell = tell;
        let call = self.engine().telemetry.begin(Operation::Backup);
        let made = pool::run_beside("backup", move |abandoned| {
            let source = engine.backup_source()?;
            let gone = || abandoned() || engine.is_closing();
            let mut waiter = Waiter::new(&mut tell, &gone);
            backup::create(&repository, &source, &options, &mut waiter)
        })?
        .await?;
        call.end(made, Told::default())
    }

    /// The backups in the repository in the directory `dir`, the oldest first.
    ///
    /// # Errors
    /// [`PulseDBError::Io`] where there is no such directory.
    pub async fn list_backups(dir: impl AsRef<Path>) -> Result<BackupList> {
        list(medium(), dir.as_ref()).await
    }

    /// Reads all of a backup and says which of its files are not what was written. Cancel-safe.
    ///
    /// # Errors
    /// [`PulseDBError::Validation`] where there is no such backup, [`PulseDBError::Corrupted`] where its
    /// manifest is damaged, [`PulseDBError::Version`] where a newer build made it. Damage of other files is
    /// no error: it is in the report.
    pub async fn verify_backup(dir: impl AsRef<Path>, id: BackupId) -> Result<BackupReport> {
        Self::verify_backup_with(dir, id, |_| {}).await
    }

    /// The same as [`PulseDB::verify_backup`], telling how far it has come.
    ///
    /// # Errors
    /// As [`PulseDB::verify_backup`].
    pub async fn verify_backup_with(
        dir: impl AsRef<Path>,
        id: BackupId,
        tell: impl FnMut(BackupProgress) + Send + 'static,
    ) -> Result<BackupReport> {
        verify(medium(), dir.as_ref(), id, tell).await
    }

    /// Removes the backups that `retention` does not keep, and the pieces that no other backup needs. A
    /// removal that was begun goes on where the future is dropped; interrupted by a crash, the next one or
    /// the next backup ends it.
    ///
    /// # Errors
    /// [`PulseDBError::Validation`] where it would keep nothing; [`PulseDBError::Locked`] while somebody
    /// else works in the repository; [`PulseDBError::Io`].
    pub async fn prune_backups(
        dir: impl AsRef<Path>,
        retention: BackupRetention,
    ) -> Result<PruneReport> {
        prune(medium(), dir.as_ref(), retention).await
    }

    /// Makes a database of a backup, in the directory `to`, which must not exist or be empty. All of it is
    /// compared with its checksums on the way.
    ///
    /// The restored database has the same id and goes on in a new timeline: no LSN is issued again, and a
    /// cursor of what was recorded after the backup, or cut off, gets a gap. Do not use it beside the
    /// original: for that, [`RestoreOptions::as_fork`] gives it an id of its own.
    ///
    /// Cancel-safe: where the future is dropped, or the machine crashes, there is no database in `to`; the
    /// directory is accepted again.
    ///
    /// # Errors
    /// As [`PulseDB::verify_backup`]; [`PulseDBError::Corrupted`] naming the file that is not what was
    /// written; [`PulseDBError::Validation`] naming how far the backup reaches, for a point outside of it;
    /// [`PulseDBError::Config`] where `to` is not empty; [`PulseDBError::Io`].
    pub async fn restore(
        dir: impl AsRef<Path>,
        id: BackupId,
        to: impl AsRef<Path>,
        options: RestoreOptions,
    ) -> Result<RestoreReport> {
        Self::restore_with(dir, id, to, options, |_| {}).await
    }

    /// The same as [`PulseDB::restore`], telling how far it has come.
    ///
    /// # Errors
    /// As [`PulseDB::restore`].
    pub async fn restore_with(
        dir: impl AsRef<Path>,
        id: BackupId,
        to: impl AsRef<Path>,
        options: RestoreOptions,
        tell: impl FnMut(BackupProgress) + Send + 'static,
    ) -> Result<RestoreReport> {
        let which = Which::Backup(id, options);
        restore(medium(), dir.as_ref(), which, to.as_ref(), tell).await
    }

    /// Makes a database in `to` as it was at a point of its history, from the first backup in the repository
    /// that reaches it. How far back one reaches is in [`BackupInfo::history_from`]: as long as
    /// `Config::retention` kept compaction from cutting history short.
    ///
    /// # Errors
    /// As [`PulseDB::restore`]; [`PulseDBError::Validation`] where no backup reaches the point.
    pub async fn restore_until(
        dir: impl AsRef<Path>,
        point: RestorePoint,
        to: impl AsRef<Path>,
    ) -> Result<RestoreReport> {
        let which = Which::First(point);
        restore(medium(), dir.as_ref(), which, to.as_ref(), |_| {}).await
    }
}

/// The same on a simulated file system and clock.
#[cfg(feature = "sim")]
impl PulseDB {
    /// See [`PulseDB::list_backups`].
    ///
    /// # Errors
    /// As there.
    pub async fn list_backups_simulated(
        dir: impl AsRef<Path>,
        vfs: crate::vfs::SimVfs,
        env: crate::env::SimEnv,
    ) -> Result<BackupList> {
        list(simulated(vfs, env), dir.as_ref()).await
    }

    /// See [`PulseDB::verify_backup`].
    ///
    /// # Errors
    /// As there.
    pub async fn verify_backup_simulated(
        dir: impl AsRef<Path>,
        id: BackupId,
        vfs: crate::vfs::SimVfs,
        env: crate::env::SimEnv,
    ) -> Result<BackupReport> {
        verify(simulated(vfs, env), dir.as_ref(), id, |_| {}).await
    }

    /// See [`PulseDB::prune_backups`].
    ///
    /// # Errors
    /// As there.
    pub async fn prune_backups_simulated(
        dir: impl AsRef<Path>,
        retention: BackupRetention,
        vfs: crate::vfs::SimVfs,
        env: crate::env::SimEnv,
    ) -> Result<PruneReport> {
        prune(simulated(vfs, env), dir.as_ref(), retention).await
    }

    /// See [`PulseDB::restore`].
    ///
    /// # Errors
    /// As there.
    pub async fn restore_simulated(
        dir: impl AsRef<Path>,
        id: BackupId,
        to: impl AsRef<Path>,
        options: RestoreOptions,
        vfs: crate::vfs::SimVfs,
        env: crate::env::SimEnv,
    ) -> Result<RestoreReport> {
        let which = Which::Backup(id, options);
        restore(
            simulated(vfs, env),
            dir.as_ref(),
            which,
            to.as_ref(),
            |_| {},
        )
        .await
    }

    /// See [`PulseDB::restore_until`].
    ///
    /// # Errors
    /// As there.
    pub async fn restore_until_simulated(
        dir: impl AsRef<Path>,
        point: RestorePoint,
        to: impl AsRef<Path>,
        vfs: crate::vfs::SimVfs,
        env: crate::env::SimEnv,
    ) -> Result<RestoreReport> {
        let which = Which::First(point);
        restore(
            simulated(vfs, env),
            dir.as_ref(),
            which,
            to.as_ref(),
            |_| {},
        )
        .await
    }
}

impl Engine {
    /// The newest commit, and everything that it takes to copy it.
    fn backup_source(&self) -> Result<Source> {
        // In `Fast` mode the snapshot may be ahead of the medium; a backup must not be.
        let now = self.env.now();
        let view = self.published.load().ok_or(PulseDBError::Closed)?;
        self.flush_beside_commits()?;
        let segments = Arc::clone(&view.segments);
        let is_open = |path: &PathBuf| segments.segments().iter().any(|s| s.path() == path);
        let is_segment = |path: &PathBuf| path.extension().is_some_and(|end| end == "seg");
        let damaged = self.report.damaged.iter();
        let unopened = damaged.filter(|(path, at, _)| *at == 0 && is_segment(path));
        let missing = unopened
            .map(|(path, ..)| path.clone())
            .filter(|path| !is_open(path));
        Ok(Source {
            now,
            cursor: view.cursor,
            last_write: view.newest.time,
            missing: missing.collect(),
            // Behind the snapshot: what was compacted since is in neither.
            database: self.manifest.current(),
            segments,
        })
    }
}

fn medium() -> Medium {
    Medium {
        vfs: Arc::new(OsVfs),
        env: Arc::new(OsEnv),
    }
}

#[cfg(feature = "sim")]
fn simulated(vfs: crate::vfs::SimVfs, env: crate::env::SimEnv) -> Medium {
    Medium {
        vfs: Arc::new(vfs),
        env: Arc::new(env),
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(PulseDBError::io("find", path))
}

async fn list(medium: Medium, dir: &Path) -> Result<BackupList> {
    let repository = Repository::new(medium, absolute(dir)?);
    pool::run_once("backups", move || repository.list())?.await?
}

async fn verify(
    medium: Medium,
    dir: &Path,
    id: BackupId,
    mut tell: impl FnMut(BackupProgress) + Send + 'static,
) -> Result<BackupReport> {
    let repository = Repository::new(medium, absolute(dir)?);
    pool::run_beside("verify-backup", move |abandoned| {
        backup::verify(&repository, id, &mut Waiter::new(&mut tell, abandoned))
    })?
    .await?
}

async fn prune(medium: Medium, dir: &Path, retention: BackupRetention) -> Result<PruneReport> {
    let repository = Repository::new(medium, absolute(dir)?);
    pool::run_once("prune-backups", move || {
        backup::prune(&repository, &retention)
    })?
    .await?
}

/// Which backup is to be restored.
enum Which {
    Backup(BackupId, RestoreOptions),
    /// The first that reaches the point.
    First(RestorePoint),
}

async fn restore(
    medium: Medium,
    dir: &Path,
    which: Which,
    to: &Path,
    mut tell: impl FnMut(BackupProgress) + Send + 'static,
) -> Result<RestoreReport> {
    let to = absolute(to)?;
    let repository = Repository::new(medium, absolute(dir)?);
    registry::wait_for_end(&to).await;
    pool::run_beside("restore", move |abandoned| {
        let mut waiter = Waiter::new(&mut tell, abandoned);
        match which {
            Which::Backup(id, options) => {
                backup::restore(&repository, id, &to, &options, &mut waiter)
            }
            Which::First(point) => backup::restore_until(&repository, point, &to, &mut waiter),
        }
    })?
    .await?
}
