//! Subscriptions, as the application makes them.

use std::sync::Arc;

use crate::{
    db::{PulseDB, engine::OnReaders},
    error::{PulseDBError, Result},
    model::{CollectiveId, Cursor, WatchFilter},
    watch::WatchStream,
};

/// Watching.
impl PulseDB {
    /// Every change to the experiences of a collective that is committed after this call returned, in
    /// order, each once.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`], [`PulseDBError::Closed`].
    pub async fn watch_experiences(&self, collective: CollectiveId) -> Result<WatchStream> {
        self.watch_experiences_filtered(collective, WatchFilter::default())
            .await
    }

    /// As [`PulseDB::watch_experiences`], only the events that pass the filter.
    ///
    /// # Errors
    /// As [`PulseDB::watch_experiences`], and [`PulseDBError::Validation`] for an importance outside
    /// [0, 1].
    pub async fn watch_experiences_filtered(
        &self,
        collective: CollectiveId,
        filter: WatchFilter,
    ) -> Result<WatchStream> {
        if let Some(min) = filter.min_importance
            && !(0.0..=1.0).contains(&min)
        {
            return Err(PulseDBError::validation(
                "filter.min_importance",
                min,
                "it must be in [0, 1]",
            ));
        }
        let engine = self.engine();
        let number = engine.reader()?.table(collective)?.number;
        // Subscribe first, then look: what is committed in between is told twice and delivered
        // once; the other order would lose it.
        let subscription = engine
            .hub
            .subscribe(number, collective)
            .ok_or(PulseDBError::Closed)?;
        let reader = engine.reader()?;
        // Its deletion may have been committed, and told to nobody, before the subscription.
        reader.table(collective)?;
        let seen = reader.lsn();
        Ok(WatchStream::new(
            subscription,
            seen,
            filter,
            number,
            collective,
            Arc::clone(&engine.hub),
            Arc::new(OnReaders(Arc::clone(&engine.readers))),
        ))
    }

    /// The newest commit that is visible.
    ///
    /// # Errors
    /// [`PulseDBError::Closed`].
    pub async fn current_cursor(&self) -> Result<Cursor> {
        Ok(self.engine().reader()?.view.cursor)
    }
}
