//! How does what has expired leave the log?
//!
//! Readers leave it out at once; upkeep turns it into deletes, whose bytes compaction gives back. It walks
//! the tables in which something may have expired ([`crate::state::table`] knows), and has the ids that it
//! finds deleted some at a time. It decides nothing: the committer looks again whether each has expired.
//! Called by the upkeep thread now and then, and by `db/`.

use parking_lot::Mutex;

use crate::{
    error::Result,
    log::SegmentSet,
    model::{ExperienceId, Timestamp},
    state::{Snapshot, Table},
    sync::Arc,
    upkeep::task::Run,
};

/// Ids of one commit: 64 bytes of log each, so that they fit into the smallest segment, and a tenth of a millisecond
/// for who waits behind it.
const IDS_PER_COMMIT: usize = 512;

/// What is walked.
pub(crate) type View = Snapshot<Arc<SegmentSet>>;

/// What the walk asks of the committer.
pub(crate) trait Expirer {
    /// The newest snapshot, which shows everything that was applied, and those of its tables that
    /// [were taken](Table::take_expiry) in that moment.
    fn take(&self, now: Timestamp) -> Result<(Arc<View>, Vec<Arc<Table>>)>;

    /// Deletes those of `ids` that have expired; how many that were.
    fn delete(&self, ids: Vec<ExperienceId>) -> Result<usize>;
}

/// Who expires.
#[derive(Debug, Default)]
pub(crate) struct Expiry {
    /// One at a time, so that who comes second finds everything done.
    working: Mutex<()>,
}

impl Expiry {
    /// Deletes everything that has expired at `now`; how much that was.
    ///
    /// # Errors
    /// What the committer answers, and `Closed` where the run is to stop; what is not deleted then is tried again by
    /// the next call.
    pub(crate) fn expire(
        &self,
        run: &mut Run<'_>,
        expirer: &dyn Expirer,
        now: Timestamp,
    ) -> Result<usize> {
        let _one_at_a_time = self.working.lock();
        let (view, tables) = expirer.take(now)?;
        let mut count = 0;
        let mut outcome = Ok(0);
        for table in tables {
            if outcome.is_ok() {
                outcome = expire_table(run, expirer, &view, &table, now);
                count = outcome.as_ref().map_or(count, |more| count + more);
            }
            if outcome.is_err() {
                table.expect_expiry(now);
            }
        }
        outcome.map(|_| count)
    }
}

fn expire_table(
    run: &mut Run<'_>,
    expirer: &dyn Expirer,
    view: &View,
    table: &Table,
    now: Timestamp,
) -> Result<usize> {
    let rows = table.rows(view.lsn());
    let mut count = 0;
    let mut from = Some(0);
    while let Some(chunk) = from {
        run.pace(0)?;
        let walk = rows.expired(chunk, now, IDS_PER_COMMIT);
        if let Some(next) = walk.next {
            table.expect_expiry(next);
        }
        from = walk.go_on;
        let found = walk.expired.len();
        if found == 0 {
            continue;
        }
        let mut deleted = 0;
        // They are gathered by chunks of rows.
        for ids in walk.expired.chunks(IDS_PER_COMMIT) {
            let ids = ids.iter().copied().map(ExperienceId::from_u128);
            deleted += expirer.delete(ids.collect())?;
        }
        run.advance(deleted as u64);
        count += deleted;
        // Some were pinned or deleted meanwhile. Or the clock went back, and they will expire once more.
        if deleted < found {
            table.expect_expiry(now);
        }
    }
    Ok(count)
}
