//! How does the log get rid of what nobody needs any more?
//!
//! Runs of adjacent sealed segments are rewritten into one each (`plan`, `live`, `rewrite`), while
//! commits and reads go on. A few runs at a time, until a segment's worth of bytes was copied:
//!
//! ```text
//! hold       the committer fixes the horizon: nobody needs older states, now or later
//! rewrite    the new segment is written beside, synced, and gets its name; no manifest knows it yet
//! name       a checkpoint is written that knows the places in the new segments, and one change of the
//!            manifest names it, and them instead of the old ones
//! show       the committer publishes the set that leads from the old places to the new ones
//! settle     the manifest once more, so that the older generation knows the new segments, too, and the
//!            checkpoint before goes
//! retire     the old files go when their last reader is gone
//! ```
//!
//! A crash before the first change of the manifest leaves the old set and files that the next open
//! removes; one behind it leaves the new set and old files that the next open removes. The disk that it
//! takes meanwhile is that of two segments and one checkpoint.
//!
//! Invariants: a record that is needed at the horizon or above is in exactly one segment of the
//! manifest; the frames of a run keep their LSNs and their order; segments that are damaged stay as
//! they are. Called by `db/`, and by its own thread.

mod erase;
mod live;
mod plan;
mod retired;
mod rewrite;
mod worker;

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::atomic::Ordering,
};

use parking_lot::Mutex;

use crate::{
    config::CompactionConfig,
    env::Env,
    error::{PulseDBError, Result},
    format::{Manifest, SEGMENT_HEADER_LEN, SegmentEntry, SegmentHeader},
    log::{Mapped, Segment, SegmentPool, SegmentSet, retire::Bin},
    manifest::ManifestStore,
    model::{CompactionProgress, CompactionReport, ExperienceId, Fragmentation, Lsn, SegmentStats},
    state::Held,
    sync::{Arc, atomic::AtomicBool},
    telemetry::{Operation, Telemetry, Told},
    upkeep::task::Run,
    vfs::Vfs,
};

use live::{Judge, live_bytes};
use plan::Candidate;
pub(crate) use rewrite::Rewritten;
pub(crate) use worker::{Sights, Worker};

/// Bytes that are copied between two words with upkeep.
const STEP_BYTES: u64 = 64 * 1024;

/// What compaction asks of the committer.
pub(crate) trait Tail {
    /// Fixes what may go. `at_once`: also what snapshots and retention would keep.
    fn hold(&self, at_once: bool) -> Result<Held<Arc<SegmentSet>>>;

    /// The same, only to look at: nothing goes.
    fn look(&self) -> Result<Held<Arc<SegmentSet>>>;

    /// Goes on in a new segment.
    fn seal(&self) -> Result<()>;

    /// Makes `change` in the manifest together with a checkpoint of the present state over the new
    /// segments.
    fn name(&self, rewritten: &[&Rewritten], change: &dyn Fn(&mut Manifest)) -> Result<()>;

    /// Lets readers see the new segments in the place of the old ones.
    fn show(&self, rewritten: &[&Rewritten]) -> Result<()>;

    /// Has both generations of the manifest say the same, and removes the checkpoints that neither names.
    fn settle(&self) -> Result<()>;
}

/// A run that was rewritten.
struct Done {
    ids: Vec<u32>,
    horizon: Lsn,
    run: Vec<Arc<Segment>>,
    rewritten: Rewritten,
}

/// What is rewritten.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scope<'a> {
    /// What is worth it by the configuration.
    WorthIt,
    /// Everything that has anything dead in it, the active segment included.
    All,
    /// The segments with these ids, whoever may still want what is dead in them.
    Erasing(&'a [u32]),
}

/// Rewrites the log.
#[derive(Debug)]
pub(crate) struct Compactor {
    vfs: Arc<dyn Vfs>,
    env: Arc<dyn Env>,
    dir: PathBuf,
    manifest: Arc<ManifestStore>,
    pool: Option<Arc<SegmentPool>>,
    segment_bytes: u64,
    config: CompactionConfig,
    telemetry: Arc<Telemetry>,
    /// Files that nobody reads any more.
    retired: Arc<Bin<Mapped>>,
    /// Retired files, read or not, that still stand in the directory.
    named: Mutex<HashSet<PathBuf>>,
    /// One rewrites at a time.
    working: Mutex<()>,
    /// A change of the manifest failed: whether it stands is known after the next open.
    failed: AtomicBool,
    /// Ids of segments in which damage was met.
    damaged: Mutex<HashSet<u32>>,
}

/// What a compactor works with.
pub(crate) struct Parts {
    /// The file system.
    pub(crate) vfs: Arc<dyn Vfs>,
    /// Source of seeds.
    pub(crate) env: Arc<dyn Env>,
    /// The log directory.
    pub(crate) dir: PathBuf,
    /// The list of segments.
    pub(crate) manifest: Arc<ManifestStore>,
    /// Takes files whose blocks are written, if it wants any.
    pub(crate) pool: Option<Arc<SegmentPool>>,
    /// Size of a segment.
    pub(crate) segment_bytes: u64,
    /// When and how fast.
    pub(crate) config: CompactionConfig,
    /// Told how it went.
    pub(crate) telemetry: Arc<Telemetry>,
}

impl Compactor {
    /// With nothing to do yet.
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            vfs: parts.vfs,
            env: parts.env,
            dir: parts.dir,
            manifest: parts.manifest,
            pool: parts.pool,
            segment_bytes: parts.segment_bytes,
            config: parts.config,
            telemetry: parts.telemetry,
            retired: Arc::default(),
            named: Mutex::default(),
            working: Mutex::new(()),
            failed: AtomicBool::new(false),
            damaged: Mutex::default(),
        }
    }

    /// Rewrites what `scope` says. `pace` is told of progress now and then; it may wait, and its error
    /// ends the work between two steps.
    ///
    /// # Errors
    /// `Io`, and what `pace` answers; the database is then as it was before the run that failed.
    pub(crate) fn compact(
        &self,
        tail: &dyn Tail,
        scope: Scope<'_>,
        pace: &mut dyn FnMut(CompactionProgress) -> Result<()>,
    ) -> Result<CompactionReport> {
        let _one_at_a_time = self.working.lock();
        let call = self.telemetry.begin(Operation::Compaction);
        let outcome = call.span().in_scope(|| self.rewrite(tail, scope, pace));
        call.end_in_background(outcome, Told::default())
    }

    fn rewrite(
        &self,
        tail: &dyn Tail,
        scope: Scope<'_>,
        pace: &mut dyn FnMut(CompactionProgress) -> Result<()>,
    ) -> Result<CompactionReport> {
        if self.failed.load(Ordering::Acquire) {
            return Err(PulseDBError::conflict(
                "an earlier compaction could not change the manifest; reopen the database",
            ));
        }
        let before = tail.look()?.segments.bytes_on_disk();
        let mut report = CompactionReport {
            bytes_before: before,
            ..CompactionReport::default()
        };
        let (mut done, mut bytes) = (Vec::new(), 0);
        for run in self.runs(tail, scope)? {
            let mut copied = report.bytes_rewritten;
            let segments = report.segments_rewritten;
            let mut pace = |bytes: u64| {
                copied += bytes;
                pace(CompactionProgress {
                    segments,
                    bytes: copied,
                })
            };
            match self.rewrite_run(tail, scope, &run, &done, &mut pace) {
                Ok(Some(one)) => {
                    report.segments_rewritten += one.run.len() as u64;
                    report.bytes_rewritten += one.rewritten.bytes;
                    bytes += one.rewritten.bytes;
                    done.push(one);
                }
                Ok(None) => {}
                // Damage found on the way: these segments stay.
                Err(PulseDBError::Corrupted { file, offset, what }) => {
                    self.damaged.lock().extend(&run);
                    report.damaged.push((file, offset, what));
                }
                Err(error) => {
                    self.give_up(done);
                    return Err(error);
                }
            }
            if bytes >= self.segment_bytes {
                self.show(tail, scope, &done)?;
                (done, bytes) = (Vec::new(), 0);
            }
        }
        if !done.is_empty() {
            self.show(tail, scope, &done)?;
        }
        drop(done);
        self.let_go();
        report.bytes_after = tail.look()?.segments.bytes_on_disk();
        Ok(report)
    }

    /// The same as a run of upkeep, which says how fast, and whether to go on at all; `tell` hears of the
    /// progress, and its error ends the work, too.
    ///
    /// # Errors
    /// As [`Compactor::compact`]; `Closed` where the run is to stop.
    pub(crate) fn compact_in(
        &self,
        run: &mut Run<'_>,
        tail: &dyn Tail,
        scope: Scope<'_>,
        mut tell: impl FnMut(CompactionProgress) -> Result<()>,
    ) -> Result<CompactionReport> {
        let mut told = 0;
        let compacted = self.compact(tail, scope, &mut |progress| {
            tell(progress)?;
            let more = progress.bytes.saturating_sub(told);
            if more < STEP_BYTES {
                return Ok(());
            }
            told = progress.bytes;
            run.advance(more);
            run.pace(more)
        })?;
        let rest = compacted.bytes_rewritten.saturating_sub(told);
        run.advance(rest);
        run.wrote(rest);
        Ok(compacted)
    }

    /// What is in the segments, and how much of it somebody needs.
    pub(crate) fn fragmentation(&self, held: &Held<Arc<SegmentSet>>) -> Fragmentation {
        let live = live_bytes(held);
        let segments = held.segments.segments().iter().map(|segment| {
            let bytes = segment.end().saturating_sub(SEGMENT_HEADER_LEN as u64);
            let is_sealed = held
                .segments
                .sealed()
                .iter()
                .any(|s| s.id() == segment.id());
            let summary = is_sealed.then(|| segment.summary());
            SegmentStats {
                id: segment.id(),
                path: segment.path().to_owned(),
                first_lsn: segment.header().first_lsn,
                last_lsn: summary.map(|summary| summary.last_lsn),
                first_id: summary
                    .and_then(|s| s.body_ids)
                    .map(|(id, _)| ExperienceId::from_u128(id)),
                last_id: summary
                    .and_then(|s| s.body_ids)
                    .map(|(_, id)| ExperienceId::from_u128(id)),
                file_bytes: segment.capacity(),
                bytes,
                live_bytes: live.get(&segment.id()).copied().unwrap_or(0).min(bytes),
            }
        });
        Fragmentation::new(segments.collect())
    }

    fn runs(&self, tail: &dyn Tail, scope: Scope) -> Result<Vec<Vec<u32>>> {
        let mut held = tail.look()?;
        let dead_percent = match scope {
            Scope::WorthIt => self.config.dead_percent,
            Scope::All => {
                let live = live_bytes(&held);
                let dead = held.segments.segments().last().map_or(0, |active| {
                    active
                        .end()
                        .saturating_sub(SEGMENT_HEADER_LEN as u64)
                        .saturating_sub(live.get(&active.id()).copied().unwrap_or(0))
                });
                if dead > 0 {
                    tail.seal()?;
                    held = tail.look()?;
                }
                1
            }
            Scope::Erasing(ids) => return Ok(ids.iter().map(|id| vec![*id]).collect()),
        };
        let live = live_bytes(&held);
        let candidates = self.candidates(&held.segments, &live);
        let room = self.segment_bytes.saturating_sub(SEGMENT_HEADER_LEN as u64);
        Ok(plan::runs(&candidates, dead_percent, room))
    }

    /// Rewrites a run, in addition to those that are `done` but not shown yet.
    fn rewrite_run(
        &self,
        tail: &dyn Tail,
        scope: Scope<'_>,
        ids: &[u32],
        done: &[Done],
        pace: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<Option<Done>> {
        let held = tail.hold(matches!(scope, Scope::Erasing(_)))?;
        let run: Vec<Arc<Segment>> = ids
            .iter()
            .filter_map(|id| held.segments.segment(*id).cloned())
            .collect();
        let Some(header) = self.header_of(&run, held.horizon) else {
            return Ok(None);
        };
        let going = done.iter().flat_map(|done| &done.ids).chain(ids);
        let judge = Judge::new(&held, &going.copied().collect::<Vec<_>>());
        let rewritten = rewrite::rewrite(&self.vfs, &self.dir, header, &run, &judge, pace)?;
        Ok(Some(Done {
            ids: ids.to_vec(),
            horizon: held.horizon,
            run,
            rewritten,
        }))
    }

    /// Names and shows what was rewritten, and retires what it replaces.
    fn show(&self, tail: &dyn Tail, scope: Scope<'_>, done: &[Done]) -> Result<()> {
        let change = |manifest: &mut Manifest| {
            for done in done {
                let segments = &mut manifest.segments;
                let first = segments.iter().position(|s| done.ids.contains(&s.id));
                segments.retain(|s| !done.ids.contains(&s.id));
                if let (Some(at), Some((_, meta))) = (first, &done.rewritten.segment) {
                    let entry = SegmentEntry {
                        id: meta.id,
                        first_lsn: meta.first_lsn,
                        end: meta.end,
                    };
                    segments.insert(at, entry);
                }
                manifest.retained_from = manifest.retained_from.max(done.horizon);
            }
        };
        let rewritten: Vec<&Rewritten> = done.iter().map(|done| &done.rewritten).collect();
        // From here on nothing can be taken back.
        if let Err(error) = tail.name(&rewritten, &change) {
            self.failed.store(true, Ordering::Release);
            return Err(error);
        }
        tail.show(&rewritten)?;
        tail.settle()?;
        for segment in done.iter().flat_map(|done| &done.run) {
            self.named.lock().insert(segment.path().to_owned());
            segment.retire_into(&self.retired);
        }
        if matches!(scope, Scope::Erasing(_)) {
            self.remove_all_retired();
        }
        Ok(())
    }

    /// Removes what was rewritten and not named.
    fn give_up(&self, done: Vec<Done>) {
        for (segment, _) in done.into_iter().filter_map(|done| done.rewritten.segment) {
            self.remove_retired(segment.path());
        }
    }

    /// The header of the segment that `run` becomes.
    fn header_of(&self, run: &[Arc<Segment>], horizon: Lsn) -> Option<SegmentHeader> {
        let first = run.first()?.header();
        Some(SegmentHeader {
            seed: self.env.random_u64() as u32,
            id: self.manifest.reserve_segment(),
            cleaned: horizon,
            ..*first
        })
    }

    fn candidates(&self, segments: &SegmentSet, live: &HashMap<u32, u64>) -> Vec<Candidate> {
        let damaged = self.damaged.lock();
        let sealed = segments.sealed().iter();
        sealed
            .map(|segment| Candidate {
                id: segment.id(),
                timeline: segment.header().timeline,
                bytes: segment.capacity().saturating_sub(SEGMENT_HEADER_LEN as u64),
                live: live.get(&segment.id()).copied().unwrap_or(0),
                whole: !damaged.contains(&segment.id()),
            })
            .collect()
    }
}
