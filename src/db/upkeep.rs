//! Looking after a database: is it whole, and what can be saved of one that is not?

use std::sync::Arc;

use super::PulseDB;
use crate::{
    edge::pool,
    error::{PulseDBError, Result},
    model::{VerifyProgress, VerifyReport},
    upkeep::verify,
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
        pool::run_beside("verify", move |abandoned| {
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
        .await?
    }
}
