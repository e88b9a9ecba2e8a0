//! Space, as the application gets it back.

use std::sync::Arc;

use crate::{
    db::{PulseDB, tail::CommitterTail},
    edge::pool,
    error::{PulseDBError, Result},
    model::{
        CompactionProgress, CompactionReport, ErasureReport, ExperienceId, Fragmentation,
        UpkeepTask,
    },
    telemetry::Operation,
    upkeep::{
        compaction::{Scope, Tail},
        task::Asked,
    },
};

/// Compaction.
impl PulseDB {
    /// Rewrites every part of the log in which something is deleted or replaced, and gives the rest of
    /// it back to the file system. Recording and reading go on meanwhile, at full speed but for the
    /// disk's bandwidth; snapshots that are held keep what they show.
    ///
    /// It happens by itself, too, where enough is dead; see [`crate::CompactionConfig`]. Not
    /// cancelled by dropping the future; [`PulseDB::close`] ends it early, and nothing is lost.
    ///
    /// ```
    /// # fn main() -> pulsedb::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// # use pulsedb::{Config, EmbeddingDimension, NewExperience, PulseDB};
    /// # let db = PulseDB::open(dir.path(), Config::external(EmbeddingDimension::Custom(2))).await?;
    /// # let team = db.create_collective("team").await?;
    /// # let id = db.record_experience(NewExperience {
    /// #     embedding: Some(vec![0.6, 0.8]), ..NewExperience::new(team, "a", "outdated") }).await?;
    /// db.delete_experience(id).await?;
    /// let report = db.compact().await?;
    /// assert_eq!(report.segments_rewritten, 1);
    /// # db.close().await
    /// # })
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`crate::PulseDBError::Io`] where the system refuses, [`crate::PulseDBError::ReadOnly`]; the database is then
    /// as it was, or partly compacted.
    pub async fn compact(&self) -> Result<CompactionReport> {
        self.compact_with(|_| ()).await
    }

    /// As [`PulseDB::compact`]; `observe` is told of the progress, on another thread.
    ///
    /// # Errors
    /// As [`PulseDB::compact`].
    pub async fn compact_with(
        &self,
        observe: impl Fn(CompactionProgress) + Send + 'static,
    ) -> Result<CompactionReport> {
        let engine = self.engine();
        engine.committer()?;
        let compactor = Arc::clone(&engine.compactor);
        let tasks = Arc::clone(&engine.tasks);
        let weak = Arc::downgrade(engine);
        pool::run_once("compact-now", move || {
            let tail = CommitterTail(weak);
            let run = tasks.begin(UpkeepTask::Compaction, Asked::ByCall, 0);
            run.during(|run| {
                compactor.compact_in(run, &tail, Scope::All, |progress| {
                    observe(progress);
                    tail.check_open()
                })
            })
        })?
        .await?
    }

    /// Deletes an experience and sees to it that nothing of it is left on disk: rewrites at once what
    /// holds its records, builds the collective's vector index anew, and reads all files of the log to
    /// prove it. Only its id stays, in the record of its deletion.
    ///
    /// History before the call is gone with it, for subscribers that lag and for
    /// [`crate::RetentionConfig`]; snapshots that are held go on showing it, and keep its bytes in files
    /// without a name until they are dropped. Backups are the caller's business, and so is a medium
    /// that keeps old blocks.
    ///
    /// Fine for an experience that was deleted before, and for an id that never was. Not cancelled by
    /// dropping the future.
    ///
    /// # Errors
    /// As [`PulseDB::compact`]; [`crate::PulseDBError::Conflict`] naming file and offset where something
    /// of it is left because the rest of its segment is damaged.
    pub async fn erase(&self, id: ExperienceId) -> Result<ErasureReport> {
        let engine = self.engine();
        let mut number = None;
        let found = self.with_point(id, |point| {
            point.with_row(id, |table, _| number = Some(table.number))
        })?;
        match found {
            Ok(()) | Err(PulseDBError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        let table = match number {
            Some(number) => engine.reader()?.view.tables.get(number).cloned(),
            None => None,
        };
        match self.delete_experience(id).await {
            Ok(()) | Err(PulseDBError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        let compactor = Arc::clone(&engine.compactor);
        let weak = Arc::downgrade(engine);
        let report = pool::run_once("erase", move || {
            let tail = CommitterTail(weak);
            let entity = id.as_u128();
            let report =
                compactor.compact(&tail, Scope::Entity(entity), &mut |_| tail.check_open())?;
            Ok(ErasureReport {
                segments_rewritten: report.segments_rewritten,
                files_scanned: compactor.prove_gone(entity)?,
            })
        })?
        .await?;
        if let Some(table) = table {
            engine.indexing.rebuild(&table).wait().await?;
        }
        report
    }

    /// How much of the log somebody needs, segment by segment. Walks over all rows, on the readers'
    /// threads.
    ///
    /// # Errors
    /// [`crate::PulseDBError::Closed`], [`crate::PulseDBError::ReadOnly`].
    pub async fn fragmentation(&self) -> Result<Fragmentation> {
        let engine = self.engine();
        engine.committer()?;
        let compactor = Arc::clone(&engine.compactor);
        let tail = CommitterTail(Arc::downgrade(engine));
        self.read(Operation::Stats, move |_| {
            Ok(compactor.fragmentation(&tail.look()?))
        })
        .await
    }
}
