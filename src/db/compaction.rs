//! Space, as the application gets it back.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    db::{PulseDB, engine::Engine, tail::CommitterTail},
    edge::{block_on::block_on, pool},
    error::{PulseDBError, Result},
    model::{
        CompactionProgress, CompactionReport, ErasureReport, ExperienceId, Fragmentation,
        UpkeepTask,
    },
    state::Table,
    telemetry::Operation,
    upkeep::{
        compaction::{Scope, Tail},
        task::Asked,
    },
    write::request::Change,
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

    /// Deletes an experience, expired or not, and sees to it that nothing of it is left in the database's files: rewrites
    /// at once what holds its records, makes a new checkpoint and removes the former ones, which may hold its idempotency
    /// key, builds the collective's vector index anew, and then reads all files of the log and the checkpoints to prove
    /// it. Of the log this proves that no record about it is there but that of its deletion; of the checkpoints, that none
    /// has its key. The files of the index are not read, since they say nothing of whose the vectors are.
    ///
    /// Its id stays: in the record of its deletion, and in those of insights and relations that name it. Relations go
    /// with it, but their records, metadata included, stay in the log until a compaction rewrites their segment, and that of
    /// the collective's newest relation until there is a newer one. What insights say is not touched: delete those that
    /// tell too much.
    ///
    /// History before the call is gone with it, for subscribers that lag and for
    /// [`crate::RetentionConfig`]; snapshots that are held go on showing it, and keep its bytes in files
    /// without a name until they are dropped, here as in other processes. Backups are the caller's business, and so is a
    /// medium that keeps old blocks.
    ///
    /// Fine for an experience that was deleted before, and for an id that never was. Where the log does not tell any more
    /// whose it was, every vector index that holds anything deleted is built anew. Not cancelled by
    /// dropping the future.
    ///
    /// # Errors
    /// As [`PulseDB::compact`]; [`crate::PulseDBError::Conflict`] naming file and offset where something
    /// of it is left because the rest of its segment is damaged.
    pub async fn erase(&self, id: ExperienceId) -> Result<ErasureReport> {
        let engine = self.engine();
        self.commit_one(Change::Erase(id), 0).await?;
        let (id, weak) = (id.as_u128(), Arc::downgrade(engine));
        pool::run_once("erase", move || {
            let engine = weak.upgrade().ok_or(PulseDBError::Closed)?;
            let tail = CommitterTail(weak);
            let (report, collectives) =
                (engine.compactor).erase(&tail, id, &mut |_| tail.check_open())?;
            engine.rebuild_indexes(&collectives)?;
            Ok(ErasureReport {
                segments_rewritten: report.segments_rewritten,
                files_scanned: engine.compactor.prove_gone(id)?
                    + engine.checkpoints.prove_gone(id)?,
            })
        })?
        .await?
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

impl Engine {
    /// Builds the vector indexes of these collectives anew; where none is named, those that hold anything
    /// deleted. Blocks.
    fn rebuild_indexes(&self, collectives: &BTreeSet<u32>) -> Result<()> {
        let view = self.reader()?.view;
        self.indexing.make_loaded(&view);
        let is_meant = |table: &Table| match collectives.is_empty() {
            true => table.vectors.holds_dead(),
            false => collectives.contains(&table.number),
        };
        let meant = view.tables.iter().filter(|table| is_meant(table));
        let tables: Vec<_> = meant.cloned().collect();
        // Held on, it would keep what is deleted.
        drop(view);
        for table in tables {
            block_on(self.indexing.rebuild(&table).wait())?;
        }
        Ok(())
    }
}
