//! Looking after a database: is it whole, and what can be saved of one that is not?

use std::{path::Path, sync::Arc};

use super::PulseDB;
use crate::{
    edge::{pool, registry},
    env::{Env, OsEnv},
    error::{PulseDBError, Result},
    model::{
        CollectiveDiagnosis, Diagnosis, LogOptions, LogPage, MemoryDiagnosis, SalvageReport,
        VerifyProgress, VerifyReport,
    },
    read::stats,
    telemetry::{Operation, Told},
    upkeep::{diagnose, dump, salvage, verify},
    vector::store::GraphFiles,
    vfs::{OsVfs, Vfs},
};

/// Upkeep.
impl PulseDB {
    /// Reads every stored byte and says what is not as it was written: checksums, the order of the log,
    /// what records say of each other, the tables, the manifest and its directory, the graphs.
    ///
    /// It looks at the snapshot of the moment of the call, reads through the file rather than through
    /// the map (what the medium cannot read is in the report), on a thread of its own that gives way to
    /// others, and changes nothing. Writing goes on meanwhile; compaction keeps what the snapshot needs
    /// until it is through. Cancel-safe: dropping the future ends it soon.
    ///
    /// ```
    /// # fn main() -> pulsedb::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use pulsedb::{Config, EmbeddingDimension, blocking::PulseDB};
    ///
    /// let db = PulseDB::open(dir.path(), Config::external(EmbeddingDimension::Custom(2)))?;
    /// db.create_collective("notes")?;
    /// let report = db.verify()?;
    /// assert!(report.is_clean(), "{:?}", report.damage);
    /// # db.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PulseDBError::Closed`], also where the database is closed meanwhile; [`PulseDBError::Io`] where
    /// its directories cannot be listed. Damage is no error: it is in the report.
    pub async fn verify(&self) -> Result<VerifyReport> {
        self.verify_with(|_| {}).await
    }

    /// The same as [`PulseDB::verify`], telling about every MiB how far it has come. `tell` is called
    /// on the thread that reads, which waits for it.
    ///
    /// # Errors
    /// As [`PulseDB::verify`].
    pub async fn verify_with(
        &self,
        tell: impl FnMut(VerifyProgress) + Send + 'static,
    ) -> Result<VerifyReport> {
        let engine = Arc::clone(self.engine());
        let reader = engine.reader()?;
        let mut tell = tell;
        let call = self.engine().telemetry.begin(Operation::Verify);
        let verified = pool::run_beside("verify", move |abandoned| {
            let subject = verify::Subject {
                vfs: &engine.vfs,
                path: &engine.path,
                instance: engine.instance,
                manifest: &engine.manifest,
                view: &reader.view,
            };
            verify::verify(&subject, &mut |progress| {
                if abandoned() || engine.is_closing() {
                    return Err(PulseDBError::Closed);
                }
                tell(progress);
                Ok(())
            })
        })?
        .await?;
        call.end(verified, Told::default())
    }

    /// Sizes, counts and ratios: what the database takes of disk and memory, and how much of it is alive.
    /// Passes over every row, so it takes some milliseconds per million of them.
    ///
    /// # Errors
    /// [`PulseDBError::Closed`]; [`PulseDBError::Io`] where the directory of the index cannot be listed.
    pub async fn diagnose(&self) -> Result<Diagnosis> {
        let database = self.metadata().await?;
        let engine = self.engine();
        let examined = engine.examine()?;
        let (space, checkpoint) = (examined.space(), examined.checkpoint());
        let health = examined.health;
        let (last_errors, medium_read_ratio) = (
            engine.telemetry.last_errors(),
            engine.telemetry.medium_read_ratio(),
        );
        let files = GraphFiles::new(Arc::clone(&self.engine().vfs), self.path());
        self.read(Operation::Stats, move |reader| {
            let view = &reader.view;
            let mut collectives = Vec::new();
            for table in view.tables.collectives() {
                let Some(definition) = table.definition(view.lsn()) else {
                    continue;
                };
                let stats = stats::collective(reader, definition.id)?;
                let (rows, changed_rows) = diagnose::rows(view, table);
                collectives.push(CollectiveDiagnosis {
                    name: definition.name.clone(),
                    rows,
                    gone_rows: rows.saturating_sub(stats.experience_count),
                    changed_rows,
                    stats,
                });
            }
            let sum = |of: fn(&CollectiveDiagnosis) -> u64| collectives.iter().map(of).sum();
            let live_body_bytes: u64 = sum(|one| one.stats.body_bytes);
            Ok(Diagnosis {
                last_write: diagnose::last_write(view),
                segments: diagnose::segments(view),
                log_bytes: database.log_bytes,
                live_body_bytes,
                live_ratio: match database.log_bytes {
                    0 => 1.0,
                    bytes => live_body_bytes as f64 / bytes as f64,
                },
                index_file_bytes: diagnose::index_file_bytes(&files)?,
                gone_ratio: match sum(|one| one.rows) {
                    0 => 0.0,
                    rows => sum(|one| one.gone_rows) as f64 / rows as f64,
                },
                checkpoint,
                space,
                medium_read_ratio,
                last_errors,
                memory: MemoryDiagnosis {
                    row_bytes: sum(|one| one.rows) * diagnose::ROW_BYTES,
                    index_bytes: sum(|one| one.stats.index_bytes),
                    text_index_bytes: sum(|one| one.stats.text_index_bytes),
                    queued_bytes: health.queued_bytes,
                },
                collectives,
                database,
                health,
            })
        })
        .await
    }

    /// The records of the log as they stand in it, a page at a time: what was committed when, and where
    /// it is. A page ends after `options.limit` records or some MiB.
    ///
    /// ```
    /// # fn main() -> pulsedb::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use pulsedb::{Config, EmbeddingDimension, LogItem, LogOptions, blocking::PulseDB};
    ///
    /// let db = PulseDB::open(dir.path(), Config::external(EmbeddingDimension::Custom(2)))?;
    /// db.create_collective("notes")?;
    /// let mut options = LogOptions::default();
    /// loop {
    ///     let page = db.read_log(options.clone())?;
    ///     for item in page.items {
    ///         match item {
    ///             LogItem::Record(entry) => println!("{}: {:?}", entry.lsn, entry.record),
    ///             LogItem::Damaged(damage) => println!("damage at byte {}", damage.offset),
    ///         }
    ///     }
    ///     match page.next {
    ///         Some(next) => options.from = next,
    ///         None => break,
    ///     }
    /// }
    /// # db.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PulseDBError::Validation`] for a limit outside 1–1000, [`PulseDBError::Closed`]. Damage is no
    /// error: it is among the items.
    pub async fn read_log(&self, options: LogOptions) -> Result<LogPage> {
        if !(1..=LogOptions::MAX_LIMIT).contains(&options.limit) {
            return Err(PulseDBError::validation(
                "options.limit",
                options.limit,
                format!("1 to {}", LogOptions::MAX_LIMIT),
            ));
        }
        self.read(Operation::ReadLog, move |reader| {
            Ok(dump::page(&reader.view, &options))
        })
        .await
    }

    /// Copies everything that can be read of the database in `source` into a new one in `dest`: for a
    /// database that does not open, or of which [`PulseDB::verify`] tells too much damage.
    ///
    /// Manifests, headers and whole files may be missing; what carries a right checksum is taken, in its
    /// order, and what was deleted stays behind. The source is not changed, and nobody can open it for
    /// writing meanwhile. The new database has an identity of its own, so cursors of the old one mean
    /// nothing to it. Records that are intact in part of a commit are taken without the rest. Cancel-safe:
    /// dropping the future ends it soon, and leaves a `dest` that is to be removed.
    ///
    /// ```
    /// # fn main() -> pulsedb::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let (damaged, rescued) = (dir.path().join("damaged"), dir.path().join("rescued"));
    /// use pulsedb::{Config, EmbeddingDimension, blocking::PulseDB};
    ///
    /// # let db = PulseDB::open(&damaged, Config::external(EmbeddingDimension::Custom(2)))?;
    /// # db.create_collective("notes")?;
    /// # db.close()?;
    /// # std::fs::remove_file(damaged.join("MANIFEST")).unwrap();
    /// let report = PulseDB::salvage(&damaged, &rescued)?;
    /// println!("{} experiences, {} losses", report.experiences, report.lost.len());
    /// let db = PulseDB::open(&rescued, Config::external(EmbeddingDimension::Custom(2)))?;
    /// # assert_eq!(db.list_collectives()?[0].name, "notes");
    /// # db.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PulseDBError::Config`] where `dest` is not empty or `source` is no database,
    /// [`PulseDBError::Locked`] while a writer has `source` open, [`PulseDBError::Version`] where a newer
    /// build wrote it, [`PulseDBError::Io`] where `dest` cannot be written. What could not be read is no
    /// error: it is in the report.
    pub async fn salvage(
        source: impl AsRef<Path>,
        dest: impl AsRef<Path>,
    ) -> Result<SalvageReport> {
        Self::salvage_with(source, dest, |_| {}).await
    }

    /// The same as [`PulseDB::salvage`], telling about every MiB how far it has come. Everything is read
    /// twice.
    ///
    /// # Errors
    /// As [`PulseDB::salvage`].
    pub async fn salvage_with(
        source: impl AsRef<Path>,
        dest: impl AsRef<Path>,
        tell: impl FnMut(VerifyProgress) + Send + 'static,
    ) -> Result<SalvageReport> {
        salvage_on(
            source.as_ref(),
            dest.as_ref(),
            tell,
            Arc::new(OsVfs),
            Arc::new(OsEnv),
        )
        .await
    }

    /// The same on a simulated file system and clock.
    ///
    /// # Errors
    /// As [`PulseDB::salvage`].
    #[cfg(feature = "sim")]
    pub async fn salvage_simulated(
        source: impl AsRef<Path>,
        dest: impl AsRef<Path>,
        vfs: crate::vfs::SimVfs,
        env: crate::env::SimEnv,
    ) -> Result<SalvageReport> {
        salvage_on(
            source.as_ref(),
            dest.as_ref(),
            |_| {},
            Arc::new(vfs),
            Arc::new(env),
        )
        .await
    }
}

async fn salvage_on(
    source: &Path,
    dest: &Path,
    mut tell: impl FnMut(VerifyProgress) + Send + 'static,
    vfs: Arc<dyn Vfs>,
    env: Arc<dyn Env>,
) -> Result<SalvageReport> {
    let source = std::path::absolute(source).map_err(PulseDBError::io("find", source))?;
    let dest = std::path::absolute(dest).map_err(PulseDBError::io("find", dest))?;
    registry::wait_for_end(&source).await;
    pool::run_beside("salvage", move |abandoned| {
        salvage::salvage(&vfs, &*env, &source, &dest, &mut |progress| {
            if abandoned() {
                return Err(PulseDBError::Closed);
            }
            tell(progress);
            Ok(())
        })
    })?
    .await?
}
