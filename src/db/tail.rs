//! How does compaction reach the committer?
//!
//! Only while the database is open, and for a moment each time: whoever holds the role of committer
//! lets everybody wait who records.

use crate::{
    db::engine::{Engine, read_only, stopped_error},
    error::{PulseDBError, Result},
    format::Manifest,
    log::SegmentSet,
    model::Lsn,
    state::Held,
    sync::{Arc, Weak, atomic::Ordering},
    upkeep::{
        checkpoint::When,
        compaction::{Rewritten, Sights, Tail},
    },
    write::pipeline::{View, WritePipeline},
};

/// The committer, as compaction reaches it while the database is open.
pub(crate) struct CommitterTail(pub(crate) Weak<Engine>);

impl CommitterTail {
    fn with_pipeline<T>(&self, work: impl FnOnce(&mut WritePipeline) -> Result<T>) -> Result<T> {
        let engine = self.0.upgrade().ok_or(PulseDBError::Closed)?;
        // Not `Engine::committer`: what has begun ends in order while the database does.
        let committer = engine.committer.as_ref().ok_or_else(read_only)?;
        if let Some(stopped) = committer.stopped() {
            return Err(stopped_error(stopped));
        }
        committer.with_pipeline(work)
    }

    /// The database as it was at `lsn`.
    pub(crate) fn snapshot_at(&self, lsn: Lsn) -> Result<Arc<View>> {
        self.with_pipeline(|pipeline| pipeline.snapshot_at(lsn))
    }

    /// Refuses once the end was asked for.
    pub(crate) fn check_open(&self) -> Result<()> {
        let engine = self.0.upgrade().ok_or(PulseDBError::Closed)?;
        if engine.is_closing() {
            return Err(PulseDBError::Closed);
        }
        Ok(())
    }

    /// What decides when to compact; `None` once the database is gone.
    pub(super) fn sights(&self) -> Option<Sights> {
        self.0.upgrade()?.sights()
    }
}

impl Engine {
    /// What decides when to compact; `None` once it has ended.
    pub(super) fn sights(&self) -> Option<Sights> {
        let view = self.published.load()?;
        Some(Sights {
            newest: view.lsn(),
            deaths: self.deaths.load(Ordering::Relaxed),
            rows: view.tables.iter().map(|t| u64::from(t.row_count())).sum(),
        })
    }
}

impl Tail for CommitterTail {
    fn hold(&self, at_once: bool) -> Result<Held<Arc<SegmentSet>>> {
        self.with_pipeline(|pipeline| pipeline.hold(at_once))
    }

    fn look(&self) -> Result<Held<Arc<SegmentSet>>> {
        self.with_pipeline(WritePipeline::look)
    }

    fn seal(&self) -> Result<()> {
        self.with_pipeline(WritePipeline::seal)
    }

    fn name(&self, rewritten: &[&Rewritten], change: &dyn Fn(&mut Manifest)) -> Result<()> {
        let engine = self.0.upgrade().ok_or(PulseDBError::Closed)?;
        // Held to the end: what it shows must stay in memory until it is written.
        let held = engine.published.load().ok_or(PulseDBError::Closed)?;
        let mut view = View::clone(&held);
        engine.flush_beside_commits()?;
        for one in rewritten {
            let segment = one.segment.as_ref().map(|(segment, _)| Arc::clone(segment));
            view.segments = Arc::new(view.segments.rewritten(segment, &one.moved));
        }
        let damage = &engine.report.damaged;
        let when = if engine.forgets(&view) {
            When::Never
        } else {
            When::Now
        };
        engine
            .checkpoints
            .make_with(&view, &engine.keys, damage, when, change)
    }

    fn show(&self, rewritten: &[&Rewritten]) -> Result<()> {
        self.with_pipeline(|pipeline| {
            for one in rewritten {
                let segment = one.segment.as_ref().map(|(segment, _)| Arc::clone(segment));
                pipeline.rewritten(segment, &one.moved);
            }
            pipeline.show_segments();
            Ok(())
        })
    }

    fn settle(&self) -> Result<()> {
        let engine = self.0.upgrade().ok_or(PulseDBError::Closed)?;
        engine.checkpoints.settle()
    }
}
