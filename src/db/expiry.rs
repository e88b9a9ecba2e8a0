//! Deleting what has expired, as the application asks for it and as it comes by itself.

use super::PulseDB;
use crate::{
    db::{
        collectives::unexpected,
        engine::{Engine, stopped_error},
    },
    edge::{block_on::block_on, pool},
    error::{PulseDBError, Result},
    model::{ExperienceId, Timestamp, UpkeepTask},
    state::Table,
    sync::{Arc, Weak},
    telemetry::{Operation, Told},
    upkeep::{
        expiry::{Expirer, View},
        task::{Asked, warn_of_failure},
    },
    write::request::{Change, Reply, Request},
};

/// Expiry.
impl PulseDB {
    /// Deletes every experience that has expired, and answers how many that were. Readers leave them out in
    /// any case; a delete is what lets [`PulseDB::compact`] give their space back. Watchers are told, and
    /// snapshots from before show them as of then. What is pinned does not expire.
    ///
    /// This happens by itself (`Config::expiry_interval`); calling it is worth while before a compaction.
    /// Cancel-safe: what was begun for a caller that went away is finished all the same.
    ///
    /// ```
    /// # fn main() -> pulsedb::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use pulsedb::{Config, EmbeddingDimension, NewExperience, Timestamp, blocking::PulseDB};
    ///
    /// let db = PulseDB::open(dir.path(), Config::external(EmbeddingDimension::Custom(2)))?;
    /// let team = db.create_collective("team")?;
    /// db.record_experience(NewExperience {
    ///     embedding: Some(vec![0.6, 0.8]),
    ///     expires_at: Some(Timestamp::from_millis(1)),
    ///     ..NewExperience::new(team, "agent-1", "The build is red.")
    /// })?;
    /// assert_eq!(db.expire()?, 1);
    /// # db.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PulseDBError::ReadOnly`], [`PulseDBError::Closed`], and [`PulseDBError::Backpressure`] where the
    /// queue stayed full for `Config::write_timeout`; what was not deleted then is tried again.
    pub async fn expire(&self) -> Result<usize> {
        self.engine().committer()?;
        let engine = Arc::clone(self.engine());
        pool::run_once("expire", move || engine.expire(Asked::ByCall))?.await?
    }
}

impl Engine {
    fn expire(&self, asked: Asked) -> Result<usize> {
        let call = self.telemetry.begin(Operation::Expire);
        let expired = call.span().in_scope(|| {
            let run = self.tasks.begin(UpkeepTask::Expiry, asked, 0);
            run.during(|run| self.expiry.expire(run, self, self.env.now()))
        });
        let told = Told {
            rows: expired.as_ref().ok().map(|count| *count as u64),
            ..Told::default()
        };
        call.end(expired, told)
    }
}

impl Expirer for Engine {
    fn take(&self, now: Timestamp) -> Result<(Arc<View>, Vec<Arc<Table>>)> {
        // In between two commits, everything that was applied is published.
        self.committer()?.with_pipeline(|_| {
            let view = self.published.load().ok_or(PulseDBError::Closed)?;
            let tables = view.tables.iter().filter(|table| table.take_expiry(now));
            let tables = tables.cloned().collect();
            Ok((view, tables))
        })
    }

    fn delete(&self, ids: Vec<ExperienceId>) -> Result<usize> {
        self.change_some(ids.len(), Change::Expire(ids))
    }
}

impl Engine {
    /// Has the committer change those of so many experiences that it finds to be due; how many that were. Blocks.
    pub(super) fn change_some(&self, ids: usize, change: Change) -> Result<usize> {
        /// What a tombstone, or the vitals of one, take in the queue and in the log.
        const RECORD_BYTES: usize = 128;
        let committer = self.committer()?;
        let room = block_on(self.admission.admit(ids * RECORD_BYTES))?;
        let request = Request {
            first: change,
            rest: Vec::new(),
            guard: None,
            room: Box::new(room),
        };
        let answer = block_on(committer.submit(request).map_err(stopped_error)?)?;
        match answer.into_iter().next().unwrap_or(Reply::Done) {
            Reply::Count(count) => Ok(count),
            other => Err(unexpected(&other)),
        }
    }
}

/// Deletes what has expired, as long as there is a database. For the upkeep thread.
pub(super) fn expire_by_itself(engine: &Weak<Engine>) {
    let Some(engine) = engine.upgrade() else {
        return;
    };
    let expired = engine.expire(Asked::ByItself);
    warn_of_failure(expired, "what has expired could not be deleted");
}
