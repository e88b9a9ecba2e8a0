//! How does what has cooled down get out of the way?
//!
//! Where a collective wants it, upkeep archives what is below the floor of its energy, so that searches leave it out.
//! It walks the columns of the rows and has the ids that it finds archived some at a time, by records like those of
//! any other archiving. It decides nothing: the committer looks again whether each is cold. Called by the upkeep
//! thread now and then, and by `db/`.

use crate::{
    error::Result,
    log::SegmentSet,
    model::{ExperienceId, Lsn, Timestamp},
    state::{Snapshot, Table},
    sync::Arc,
    upkeep::task::{Asked, Run},
};

/// Ids of one commit: less than 200 bytes of log each, so that they fit into the smallest segment.
const IDS_PER_COMMIT: usize = 256;
/// Chunks that are walked between two safe points: some milliseconds.
const CHUNKS_PER_STEP: usize = 64;

/// What the walk asks of the committer.
pub(crate) trait Archivist {
    /// Archives those of `ids` that are cold; how many that were.
    fn archive(&self, ids: Vec<ExperienceId>, asked: bool) -> Result<usize>;
}

/// Archives what is cold at `now` in every collective of `view` that wants it; how much that was.
///
/// # Errors
/// What the committer answers, and `Closed` where the run is to stop.
pub(crate) fn archive_wanted(
    run: &mut Run<'_>,
    archivist: &dyn Archivist,
    view: &Snapshot<Arc<SegmentSet>>,
    now: Timestamp,
) -> Result<usize> {
    let mut count = 0;
    for table in view.tables.collectives() {
        let wanted = table
            .definition(view.lsn())
            .is_some_and(|collective| collective.decay.auto_archive_below_floor);
        if wanted {
            count += archive_table(run, archivist, table, view.lsn(), now, Asked::ByItself)?;
        }
    }
    Ok(count)
}

/// Archives what is cold at `now` in a table as of `lsn`; how much that was.
///
/// # Errors
/// As [`archive_wanted`]; `NotFound` cannot be: a collective that is gone has nothing that is cold.
pub(crate) fn archive_table(
    run: &mut Run<'_>,
    archivist: &dyn Archivist,
    table: &Table,
    lsn: Lsn,
    now: Timestamp,
    asked: Asked,
) -> Result<usize> {
    let Some(collective) = table.definition(lsn) else {
        return Ok(0);
    };
    let rows = table.rows(lsn);
    let mut count = 0;
    let mut from = Some(0);
    while let Some(chunk) = from {
        run.pace(0)?;
        let walk = rows.cold(
            chunk,
            &collective.decay,
            now,
            IDS_PER_COMMIT,
            CHUNKS_PER_STEP,
        );
        from = walk.go_on;
        // They are gathered by chunks of rows.
        for ids in walk.cold.chunks(IDS_PER_COMMIT) {
            let ids = ids.iter().copied().map(ExperienceId::from_u128);
            let archived = archivist.archive(ids.collect(), asked == Asked::ByCall)?;
            run.advance(archived as u64);
            count += archived;
        }
    }
    Ok(count)
}
