//! Subscriptions, as the application makes them.

use std::sync::Arc;

use crate::{
    db::{PulseDB, telling::OnReaders},
    error::{PulseDBError, Result},
    model::{
        Changes, CollectiveId, Cursor, EntityKind, EventType, Lsn, WatchFilter, WatchOptions,
        limits::MAX_PAGE_LIMIT,
    },
    watch::{
        ChangeFeed, WatchItems, WatchStream,
        event::{Scope, Source},
        hub::Reach,
        wanted::Wanted,
    },
};

/// Watching.
impl PulseDB {
    /// Every change to the experiences of a collective that is committed after this call returned, in
    /// order, each once. The deletion of the collective is the last event.
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
        let end = filter.event_types.is_empty() || filter.event_types.contains(&EventType::Deleted);
        let wanted = Wanted {
            entities: vec![EntityKind::Experience],
            filter,
            state_after_gap: false,
            end,
        };
        self.subscribe(Some(collective), None, wanted)
            .map(WatchStream::new)
    }

    /// What happens to everything in a collective or in all of the database, from now on or from a cursor on, in
    /// the order of LSNs, each change once: also where this subscriber is slow, and where it was away.
    ///
    /// | what | `Created` | `Updated` | `Deleted` |
    /// | --- | --- | --- | --- |
    /// | collective | made | its decay changed, or its embedder was stamped | deleted, with everything in it |
    /// | experience | recorded, or brought from elsewhere | fields changed | deleted, or expired and cleaned up; its relations go with it |
    /// | relation | stored | – | deleted by itself |
    /// | insight | stored | – | deleted |
    /// | activity | registered, also anew | a heartbeat that was logged | ended |
    ///
    /// What goes along with something else has no event of its own: a deleted experience takes its relations
    /// along, a deleted collective everything. Experiences can also be `Archived`, `Unarchived` and `Reinforced`.
    ///
    /// Whoever stores [`WatchItems::cursor`] with what it made of the items goes on there after a restart. What the
    /// log does not know any more is a [`WatchItem::Gap`](crate::WatchItem::Gap).
    ///
    /// ```
    /// # fn main() -> pulsedb::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// # use pulsedb::{Config, EmbeddingDimension, PulseDB};
    /// use pulsedb::{EntityKind, EventType, WatchItem, WatchOptions};
    ///
    /// # let db = PulseDB::open(dir.path(), Config::external(EmbeddingDimension::Custom(2))).await?;
    /// let stored = db.current_cursor().await?; // say, of the last run
    /// db.create_collective("team").await?;
    /// let options = WatchOptions {
    ///     entities: vec![EntityKind::Collective],
    ///     from: Some(stored),
    ///     ..WatchOptions::default()
    /// };
    /// let mut items = db.watch(options).await?;
    /// let Some(WatchItem::Event(event)) = items.recv().await.transpose()? else { panic!() };
    /// assert_eq!(event.event_type, EventType::Created);
    /// assert!(matches!(items.recv().await.transpose()?, Some(WatchItem::Live(_))));
    /// # db.close().await
    /// # })
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`] where the collective is not there, [`PulseDBError::Validation`] for an
    /// importance outside [0, 1], [`PulseDBError::Closed`].
    pub async fn watch(&self, options: WatchOptions) -> Result<WatchItems> {
        let wanted = Wanted {
            entities: options.entities,
            filter: options.filter,
            state_after_gap: options.state_after_gap,
            end: options.collective.is_some(),
        };
        self.subscribe(options.collective, options.from, wanted)
    }

    /// Everything that happened behind the cursor and happens from now on, in all of the database; see
    /// [`PulseDB::watch`].
    ///
    /// # Errors
    /// [`PulseDBError::Closed`].
    pub async fn watch_from(&self, cursor: Cursor) -> Result<WatchItems> {
        self.subscribe(None, Some(cursor), Wanted::default())
    }

    fn subscribe(
        &self,
        collective: Option<CollectiveId>,
        from: Option<Cursor>,
        wanted: Wanted,
    ) -> Result<WatchItems> {
        if let Some(min) = wanted.filter.min_importance
            && !(0.0..=1.0).contains(&min)
        {
            return Err(PulseDBError::validation(
                "filter.min_importance",
                min,
                "it must be in [0, 1]",
            ));
        }
        let engine = self.engine();
        let scope = match collective {
            Some(id) => Scope::Collective(engine.reader()?.table(id)?.number),
            None => Scope::All,
        };
        // Subscribe first, then look: what is committed in between is told twice and delivered
        // once; the other order would lose it.
        let subscription = engine.hub.subscribe(scope, from.map(|cursor| cursor.lsn));
        let subscription = subscription.ok_or(PulseDBError::Closed)?;
        let reader = engine.reader()?;
        if let Some(id) = collective {
            // Its deletion may have been committed, and told to nobody, before the subscription.
            reader.table(id)?;
        }
        let live = from.is_none();
        Ok(WatchItems::new(
            subscription,
            from.unwrap_or(reader.view.cursor),
            live,
            wanted,
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

    /// At most `limit` events of all of the database behind a cursor, and where to go on: for those who ask now
    /// and then instead of watching. Fewer do not mean that there are no more, see [`Changes::more`].
    ///
    /// # Errors
    /// [`PulseDBError::Validation`] for a limit outside 1–1000, [`PulseDBError::Corrupted`] where a record is damaged.
    pub async fn poll_changes(&self, since: Cursor, limit: usize) -> Result<Changes> {
        if limit == 0 || limit > MAX_PAGE_LIMIT {
            return Err(PulseDBError::validation(
                "limit",
                limit,
                format!("it must be in 1..={MAX_PAGE_LIMIT}"),
            ));
        }
        let engine = self.engine();
        engine.reader()?;
        let (view, reach) = engine.hub.view_behind(since)?;
        let at = |lsn| Cursor {
            timeline: view.cursor.timeline,
            lsn,
        };
        let (from, gap) = match reach {
            Reach::Whole => (since.lsn, None),
            Reach::From(lsn) => (lsn, Some((since, at(lsn)))),
        };
        let upto = view.lsn();
        let instance = engine.hub.instance();
        let read = {
            let view = Arc::clone(&view);
            let first = Lsn::new(from.get().saturating_add(1));
            let job =
                move || Source::new(&view, instance).some_events(first, upto, Scope::All, limit);
            self.engine().readers.run(job).await??
        };
        Ok(Changes {
            next: at(read.read.max(from)),
            events: read.events.into_iter().map(|(_, event)| event).collect(),
            gap,
            more: read.read < upto,
        })
    }

    /// The commits of the database behind a cursor, whole and in order, each once, with everything that the log has
    /// of them: for those who repeat them elsewhere. `follow`: it goes on with what is committed later; else it
    /// ends behind the newest commit.
    ///
    /// ```
    /// # fn main() -> pulsedb::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// # use pulsedb::{Change, Config, EmbeddingDimension, PulseDB};
    /// # let db = PulseDB::open(dir.path(), Config::external(EmbeddingDimension::Custom(2))).await?;
    /// let begin = db.current_cursor().await?;
    /// db.create_collective("team").await?;
    /// let mut feed = db.change_feed(begin, false).await?;
    /// let change = feed.recv().await.unwrap()?;
    /// let sent = change.to_bytes();
    /// let Some((Change::Commit(commit), _)) = Change::from_bytes(&sent)? else { panic!() };
    /// assert_eq!(commit.records()?.len(), 1);
    /// assert!(feed.recv().await.is_none());
    /// # db.close().await
    /// # })
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PulseDBError::Closed`].
    pub async fn change_feed(&self, from: Cursor, follow: bool) -> Result<ChangeFeed> {
        let engine = self.engine();
        engine.reader()?;
        let subscription = if follow {
            let subscription = engine.hub.subscribe(Scope::All, Some(from.lsn));
            Some(subscription.ok_or(PulseDBError::Closed)?)
        } else {
            None
        };
        Ok(ChangeFeed::new(
            Arc::clone(&engine.hub),
            subscription,
            from,
            Arc::new(OnReaders(Arc::clone(&engine.readers))),
        ))
    }
}
