//! What does a database do by itself, and how does the application steer it?

use std::time::Duration;

use crate::{
    db::{PulseDB, engine::Engine, expiry},
    edge::pool,
    error::Result,
    model::{CollectiveId, ExperienceId, HistoryHolds, UpkeepStatus, UpkeepTask},
    sync::{Arc, Weak},
    telemetry::Operation,
    upkeep::{
        archive::{self, Archivist},
        background::Duties,
        task::{Asked, warn_of_failure},
    },
    write::{pipeline::WritePipeline, request::Change},
};

/// Steering upkeep.
impl PulseDB {
    /// Has the database begin no upkeep by itself until [`PulseDB::resume_upkeep`]: no checkpoint, compaction, graph,
    /// index of words, expiry or archiving. What runs stops at its next safe point; a checkpoint that has begun is
    /// finished. Calls such as [`PulseDB::compact`] work as ever.
    ///
    /// Two things go on, since writers would have to wait or lose what they rely on: the flushes of
    /// [`SyncMode::Fast`](crate::SyncMode::Fast), and graphs for a collective whose rows without one have reached half of
    /// `hnsw.max_tail_bytes`. A pause that lasts costs disk, memory, and time of searches and of the next open. It ends with
    /// the close, which makes its checkpoint all the same. Idempotent; does not wait for what runs:
    /// [`PulseDB::upkeep_status`] tells of it.
    ///
    /// ```
    /// # fn main() -> pulsedb::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use pulsedb::{Config, EmbeddingDimension, blocking::PulseDB};
    ///
    /// let db = PulseDB::open(dir.path(), Config::external(EmbeddingDimension::Custom(2)))?;
    /// db.pause_upkeep()?;
    /// assert!(db.upkeep_status()?.paused);
    /// db.resume_upkeep()?;
    /// # db.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PulseDBError::ReadOnly`](crate::PulseDBError::ReadOnly) where there is no upkeep,
    /// [`PulseDBError::Closed`](crate::PulseDBError::Closed).
    pub async fn pause_upkeep(&self) -> Result<()> {
        self.engine().committer()?;
        self.engine().tasks.pause();
        Ok(())
    }

    /// Takes [`PulseDB::pause_upkeep`] back; what has become due meanwhile is done.
    ///
    /// # Errors
    /// As [`PulseDB::pause_upkeep`].
    pub async fn resume_upkeep(&self) -> Result<()> {
        self.engine().committer()?;
        self.engine().tasks.resume();
        Ok(())
    }

    /// What each kind of upkeep does, how its last run went, when the next one is due where that is known, and what
    /// keeps compaction from forgetting history. Costs microseconds, but for the moment that a commit takes.
    ///
    /// # Errors
    /// [`PulseDBError::Closed`](crate::PulseDBError::Closed).
    pub async fn upkeep_status(&self) -> Result<UpkeepStatus> {
        let engine = Arc::clone(self.engine());
        // What asks holds no snapshot itself.
        let newest = engine.reader()?.view.lsn();
        let look = move || {
            let Some(committer) = &engine.committer else {
                return UpkeepStatus {
                    paused: false,
                    tasks: Vec::new(),
                    history: HistoryHolds {
                        newest,
                        ..HistoryHolds::default()
                    },
                };
            };
            UpkeepStatus {
                paused: engine.tasks.is_paused(),
                tasks: engine.tasks.status(|task| engine.happens_by_itself(task)),
                history: committer.with_pipeline(WritePipeline::holds),
            }
        };
        self.engine().readers.run(look).await
    }

    /// Archives every experience of a collective whose energy is below the collective's floor, and answers how many
    /// that were. What is pinned stays. Searches leave archived experiences out by default; what is archived can be
    /// unarchived, but is as cold as before: reinforce or pin it.
    ///
    /// This happens by itself where [`DecayConfig::auto_archive_below_floor`](crate::DecayConfig::auto_archive_below_floor)
    /// is on, every `upkeep.archive_interval`. Watchers hear of it as of any archiving, and snapshots from before show what
    /// was. An experience that is reinforced meanwhile is looked at again at the commit, and stays. Cancel-safe: what was
    /// begun for a caller that went away is finished all the same.
    ///
    /// ```
    /// # fn main() -> pulsedb::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use pulsedb::{Config, EmbeddingDimension, NewExperience, blocking::PulseDB};
    ///
    /// let db = PulseDB::open(dir.path(), Config::external(EmbeddingDimension::Custom(2)))?;
    /// let team = db.create_collective("team")?;
    /// db.record_experience(NewExperience {
    ///     embedding: Some(vec![0.6, 0.8]),
    ///     importance: 0.01,
    ///     ..NewExperience::new(team, "agent-1", "It rained on Tuesday.")
    /// })?;
    /// assert_eq!(db.archive_cold(team)?, 1);
    /// # db.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`](crate::PulseDBError::NotFound), [`PulseDBError::ReadOnly`](crate::PulseDBError::ReadOnly),
    /// [`PulseDBError::Closed`](crate::PulseDBError::Closed), and [`PulseDBError::Backpressure`](crate::PulseDBError::Backpressure)
    /// where the queue stayed full for `Config::write_timeout`; what was archived until then stays so.
    pub async fn archive_cold(&self, collective: CollectiveId) -> Result<usize> {
        self.engine().committer()?;
        let reader = self.engine().reader()?;
        let table = Arc::clone(reader.table(collective)?);
        let engine = Arc::clone(self.engine());
        pool::run_once("archive", move || {
            let run = engine.tasks.begin(UpkeepTask::Archive, Asked::ByCall, 0);
            let (lsn, now) = (reader.view.lsn(), engine.env.now());
            run.during(|run| archive::archive_table(run, &*engine, &table, lsn, now, Asked::ByCall))
        })?
        .await?
    }
}

impl Engine {
    /// Whether a kind of upkeep happens by itself, and how often it looks for work.
    fn happens_by_itself(&self, task: UpkeepTask) -> (bool, Option<Duration>) {
        let config = &self.config;
        let at_times = |interval: Duration| match interval.is_zero() {
            true => (false, None),
            false => (true, Some(interval)),
        };
        match task {
            UpkeepTask::Checkpoint | UpkeepTask::Graphs => (true, None),
            UpkeepTask::Compaction => (config.compaction.automatic, None),
            UpkeepTask::Words => (self.wording.is_asked(), None),
            UpkeepTask::Expiry => at_times(config.expiry_interval),
            UpkeepTask::Archive => at_times(config.upkeep.archive_interval),
        }
    }
}

impl Archivist for Engine {
    fn archive(&self, ids: Vec<ExperienceId>, asked: bool) -> Result<usize> {
        self.change_some(ids.len(), Change::ArchiveCold { ids, asked })
    }
}

/// What the upkeep thread does with the engine, as long as there is one.
pub(super) struct BesideCommits(pub(super) Weak<Engine>);

impl Duties for BesideCommits {
    fn flush(&self) {
        if let Some(engine) = self.0.upgrade()
            && let Err(error) = engine.flush_beside_commits()
        {
            // Whoever commits next hears of it.
            engine.telemetry.failed(Operation::Flush, &error);
        }
    }

    fn bury(&self) {
        let engine = self.0.upgrade();
        if let Some(committer) = engine.as_ref().and_then(|e| e.committer.as_ref()) {
            committer.with_pipeline(WritePipeline::bury);
        }
    }

    fn checkpoint(&self) {
        if let Some(engine) = self.0.upgrade() {
            engine.checkpoint_if_due();
        }
    }

    fn expire(&self) {
        expiry::expire_by_itself(&self.0);
    }

    fn archive(&self) {
        let Some(engine) = self.0.upgrade() else {
            return;
        };
        let Some(view) = engine.published.load() else {
            return;
        };
        let run = engine.tasks.begin(UpkeepTask::Archive, Asked::ByItself, 0);
        let archived =
            run.during(|run| archive::archive_wanted(run, &*engine, &view, engine.env.now()));
        warn_of_failure(archived, "what has cooled down could not be archived");
    }
}
