//! Checkpoints, as the application asks for them and as they come by themselves.

use crate::{
    config::RetentionConfig,
    db::{
        PulseDB,
        engine::{Engine, stopped_error},
    },
    edge::pool,
    error::{PulseDBError, Result},
    model::{Cursor, UpkeepTask},
    sync::Arc,
    telemetry::{Operation, Told},
    upkeep::{
        checkpoint::When,
        task::{Asked, warn_of_failure},
    },
    write::pipeline::View,
};

/// Nothing is lost, and it is tried again later.
const COULD_NOT: &str = "a checkpoint could not be written";

/// Checkpoints.
impl PulseDB {
    /// Writes what was derived from the log to a file, so that the next open need not read the log
    /// before it; answers the commit that the newest checkpoint shows the state after. Commits and
    /// reads go on meanwhile.
    ///
    /// This happens by itself as the log grows (`Config::checkpoint_bytes`) and at a close; calling it
    /// is worth while before something that may end the process.
    ///
    /// Cancel-safe: a checkpoint whose caller went away is finished all the same.
    ///
    /// ```
    /// # fn main() -> pulsedb::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// use pulsedb::{Config, EmbeddingDimension, PulseDB};
    ///
    /// let config = Config::external(EmbeddingDimension::Custom(3));
    /// let db = PulseDB::open(dir.path(), config).await?;
    /// db.create_collective("team").await?;
    /// assert_eq!(db.checkpoint().await?, db.current_cursor().await?);
    /// db.close().await?;
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PulseDBError::Io`] where the file cannot be written; the one before it stays, and writing
    /// goes on. [`PulseDBError::ReadOnly`] and [`PulseDBError::Closed`] where nothing is written.
    pub async fn checkpoint(&self) -> Result<Cursor> {
        self.engine().committer()?;
        let engine = Arc::clone(self.engine());
        let by_call = move || engine.checkpoint(When::Now, Asked::ByCall);
        pool::run_once("checkpoint", by_call)?.await?
    }
}

impl Engine {
    /// Makes a checkpoint of the newest snapshot, if it is due; answers what the newest one shows.
    fn checkpoint(&self, when: When, asked: Asked) -> Result<Cursor> {
        let call = self.telemetry.begin(Operation::Checkpoint);
        let outcome = call.span().in_scope(|| self.make_checkpoint(when, asked));
        let told = Told {
            lsn: outcome.as_ref().ok().map(|cursor| cursor.lsn),
            ..Told::default()
        };
        call.end_in_background(outcome, told)
    }

    fn make_checkpoint(&self, when: When, asked: Asked) -> Result<Cursor> {
        let committer = self.committer()?;
        let view = self.published.load().ok_or(PulseDBError::Closed)?;
        // In `Fast` mode the snapshot may be ahead of the medium.
        self.flush_beside_commits()?;
        if let Some(stopped) = committer.stopped() {
            return Err(stopped_error(stopped));
        }
        let damage = &self.report.damaged;
        let when = if self.forgets(&view) {
            When::Never
        } else {
            when
        };
        let run = self.tasks.begin(UpkeepTask::Checkpoint, asked, 0);
        let lsn = run.during(|run| {
            self.checkpoints
                .make(&view, &self.keys, damage, when, &mut |bytes| {
                    run.advance(bytes);
                    // Once begun it is finished: what is written of it would be of no use.
                    let _ = run.pace(bytes);
                })
        })?;
        Ok(Cursor { lsn, ..view.cursor })
    }

    /// Whether a checkpoint of `view` would cut history short: collectives that were deleted are not in
    /// it, and are to be seen as far back as history is kept.
    pub(super) fn forgets(&self, view: &View) -> bool {
        let keeps_history = self.config.retention != RetentionConfig::default();
        keeps_history
            && self.committer.as_ref().is_some_and(|committer| {
                view.tables.last_removal() > committer.with_pipeline(|p| p.trimmed())
            })
    }

    /// Makes a checkpoint if enough was written since the last. For the upkeep thread.
    pub(super) fn checkpoint_if_due(&self) {
        let when = When::Behind(self.config.checkpoint_bytes);
        let due = self
            .published
            .load()
            .is_some_and(|view| self.checkpoints.is_due(&view, when) && !self.forgets(&view));
        if due {
            warn_of_failure(self.checkpoint(when, Asked::ByItself), COULD_NOT);
        }
    }

    /// Makes a checkpoint if the next open would take noticeably longer without it, and removes those
    /// of no use. For the committer, when everything is committed.
    pub(super) fn checkpoint_at_close(&self) {
        let Some(view) = self.published.load() else {
            return;
        };
        if self.checkpoints.is_due(&view, When::Close) && !self.forgets(&view) {
            let damage = &self.report.damaged;
            let made = self.flush_beside_commits().and_then(|()| {
                self.checkpoints
                    .make(&view, &self.keys, damage, When::Close, &mut |_| ())
            });
            warn_of_failure(made, COULD_NOT);
        }
        self.checkpoints.remove_unnamed();
    }
}
