//! Everything that the demo asks of PulseDB.

use std::{path::Path, sync::Arc};

use pulsedb::{
    CollectiveId, CollectiveStats, Config, DatabaseMetadata, Experience, ExperienceId,
    NewExperience, PulseDB, RecoveryReport, SearchHit, SearchOptions, WatchEvent, WatchStream,
};

use crate::Outcome;

/// An open database and the one collective that the demo fills. A clone is another handle to the
/// same database, for another task.
#[derive(Clone)]
pub(crate) struct Store {
    db: PulseDB,
    collective: CollectiveId,
}

impl Store {
    /// A new database that embeds texts by itself, which is the default.
    pub(crate) async fn create(path: &Path) -> Outcome<Self> {
        let db = PulseDB::open(path, Config::default()).await?;
        let collective = db.create_collective("demo").await?;
        Ok(Self { db, collective })
    }

    pub(crate) async fn open(path: &Path, collective: CollectiveId) -> Outcome<Self> {
        let db = PulseDB::open(path, Config::default()).await?;
        Ok(Self { db, collective })
    }

    pub(crate) fn collective(&self) -> CollectiveId {
        self.collective
    }

    /// One durable commit.
    pub(crate) async fn record(&self, new: NewExperience) -> Outcome<ExperienceId> {
        Ok(self.db.record_experience(new).await?)
    }

    /// One durable commit for all of them.
    pub(crate) async fn record_all(&self, new: Vec<NewExperience>) -> Outcome<Vec<ExperienceId>> {
        Ok(self.db.record_experiences(new).await?)
    }

    pub(crate) async fn ask(
        &self,
        question: &str,
        options: SearchOptions,
    ) -> Outcome<Vec<SearchHit>> {
        Ok(self
            .db
            .search_text(self.collective, question, options)
            .await?)
    }

    pub(crate) async fn get(&self, ids: &[ExperienceId]) -> Outcome<Vec<Option<Experience>>> {
        Ok(self.db.get_experiences(ids).await?)
    }

    pub(crate) async fn watch(&self) -> Outcome<Events> {
        Ok(Events(self.db.watch_experiences(self.collective).await?))
    }

    pub(crate) async fn stats(&self) -> Outcome<CollectiveStats> {
        Ok(self.db.get_collective_stats(self.collective).await?)
    }

    pub(crate) async fn metadata(&self) -> Outcome<DatabaseMetadata> {
        Ok(self.db.metadata().await?)
    }

    /// What the open found in the log.
    pub(crate) async fn recovery(&self) -> Outcome<RecoveryReport> {
        Ok(self.db.health_check().await?.recovery)
    }

    pub(crate) async fn close(self) -> Outcome<()> {
        Ok(self.db.close().await?)
    }
}

/// What happens in the collective, in the order of its commits.
pub(crate) struct Events(WatchStream);

impl Events {
    /// The next event; `None` when the database was closed.
    pub(crate) async fn next(&mut self) -> Option<Outcome<Arc<WatchEvent>>> {
        self.0.recv().await.map(|event| event.map_err(Into::into))
    }
}
