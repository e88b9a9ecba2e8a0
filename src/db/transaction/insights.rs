//! How does a transaction store, read and delete insights?
//!
//! Whether the sources of one are there, the committer asks anew: who stores one has seen nothing, unless it
//! is refused.

use super::{Transaction, decoded, stamp_bytes};
use crate::{
    db::collectives::unexpected,
    error::{PulseDBError, Result},
    format::RowKind,
    model::{DerivedInsight, EntityKind, InsightId, NewInsight},
    read::{insights, overlay::OwnInsight},
    telemetry::Operation,
    write::{
        draft::{Draft, Embedded},
        refusal,
        request::{Change, Reply},
    },
};

/// Insights. Experiences that the transaction deletes leave their sources at once.
impl Transaction {
    /// Stores an insight. The id is final; the insight is seen by this transaction at once, and by others
    /// after the commit.
    ///
    /// # Errors
    /// As [`PulseDB::store_insight`](crate::PulseDB::store_insight), and [`PulseDBError::Validation`] where
    /// the transaction would become too large.
    pub async fn store_insight(&mut self, new: NewInsight) -> Result<InsightId> {
        let embedded = self.db.embed_drafts(vec![Draft::insight(new)?]).await?;
        let Some(mut embedded) = embedded.into_iter().next() else {
            return Err(unexpected(&Reply::Done));
        };
        let stamped = self.entering(&embedded)?;
        self.check_sources(&embedded)?;
        let bytes = embedded.bytes();
        self.make_room(1, bytes + stamped.as_ref().map_or(0, stamp_bytes))?;
        let id = self.next_id();
        embedded.id = Some(id);
        let (id, now) = (InsightId::from_u128(id), self.now());
        let (collective, confidence) = (embedded.collective, embedded.confidence);
        let own = OwnInsight {
            insight: decoded(&embedded, |body| {
                let vector = body.vector_f32();
                insights::of_body(body, vector, id, collective, confidence, now)
            })?,
            inverse_norm: embedded.inverse_norm,
        };
        self.enter(&embedded)?;
        self.write(Change::Record(embedded), bytes, |overlay| {
            overlay.store_insight(own);
        });
        Ok(id)
    }

    /// The insight with this id; `None` where there is none. Sees it, and what it was derived from.
    ///
    /// # Errors
    /// As [`PulseDB::get_insight`](crate::PulseDB::get_insight), and [`PulseDBError::Validation`] where the
    /// transaction has seen too much.
    pub async fn get_insight(&mut self, id: InsightId) -> Result<Option<DerivedInsight>> {
        self.saw_insight(id)?;
        let stored = self
            .db
            .read(Operation::TransactionRead, move |reader| {
                insights::stored(reader, id)
            })
            .await?;
        let Some(insight) = stored else {
            return Ok(None);
        };
        for source in &insight.source_experience_ids {
            self.saw_experience(*source)?;
        }
        let reader = self.db.reader()?;
        Ok(Some(insights::shown(&reader, insight)))
    }

    /// Deletes an insight.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`], [`PulseDBError::Validation`].
    pub async fn delete_insight(&mut self, id: InsightId) -> Result<()> {
        self.db.engine().committer()?;
        self.saw_insight(id)?;
        let at = self.db.reader()?.row_of(RowKind::Insight, id.as_u128());
        let own = self.overlay().and_then(|own| own.insight(id));
        if own.is_none() && at.is_none() {
            return Err(PulseDBError::not_found(EntityKind::Insight, id));
        }
        self.make_room(1, 0)?;
        self.write(Change::DeleteInsight(id), 0, |overlay| {
            overlay.delete_insight(id, at);
        });
        Ok(())
    }

    /// Refuses sources that are not there, or elsewhere, as the committer will.
    fn check_sources(&mut self, embedded: &Embedded) -> Result<()> {
        let reader = self.db.reader()?;
        let collective = embedded.collective.as_u128();
        let checked = embedded.sources.iter().try_for_each(|source| {
            let (table, _) = reader.locate(*source)?;
            if table.id == collective {
                Ok(())
            } else {
                Err(refusal::source_elsewhere(*source))
            }
        });
        if checked.is_err() {
            for source in &embedded.sources {
                self.saw_experience(*source)?;
            }
        }
        checked
    }
}
