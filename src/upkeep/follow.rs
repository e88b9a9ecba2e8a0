//! How does a reader see what another process writes?
//!
//! It looks at `TAIL`, which says what is durable, and reads on in its map of the active segment up to
//! there, never past it: records go through the same [`derive::apply`] as in an open, a snapshot is
//! published, and watchers are told, in that order. Where the frames do not lead to what `TAIL` names, or
//! now and then in any case, it reads the manifest, and [`plan`] says what to do: map the segments that
//! follow, or begin anew beside and swap, in one published value, what was derived.
//!
//! It writes nothing, and takes no lock but shared ones on the segments that it maps. `TAIL` is read
//! before the manifest, which the writer replaces first: so everything that `TAIL` speaks of is in a
//! segment that the manifest names. What cannot be read is tried again at the next look, and the state
//! before stands meanwhile.

mod plan;

use std::{path::PathBuf, sync::Arc};

use parking_lot::Mutex;

use crate::{
    env::Env,
    error::{PulseDBError, Result},
    format::{Manifest, SEGMENT_HEADER_LEN, Tail},
    log::{self, Segment, SegmentMeta, SegmentSet, Stretch, TailReader},
    manifest::ManifestStore,
    model::{Cursor, FollowHealth, InstanceId, Lsn, Timestamp},
    protocol::publish::{History, Published},
    state::{Applier, Newest, Snapshot, Table},
    upkeep::{
        derive::{self, Derived},
        recover::OpenOptions,
    },
    vfs::Vfs,
};

use plan::{Extension, Own, Past, Step};

/// What readers load.
type View = Snapshot<Arc<SegmentSet>>;

/// So many thorough looks in a row may find the files at odds with `TAIL` before they are taken for
/// damaged: what another process is changing is whole at the next look.
const PATIENCE: u32 = 3;

/// Who hears of what was published.
pub(crate) trait Audience: Send {
    /// The log may lose what was replaced or deleted up to `lsn`. Called before the view that lacks it is
    /// published.
    fn history_begins(&self, lsn: Lsn);

    /// `view` shows the records `first..=view.lsn()` as well.
    fn committed(&self, view: &Arc<View>, first: Lsn);

    /// `view` does not tell all that has happened since the one before it.
    fn lost(&self, view: &Arc<View>);
}

/// What a follower works with.
pub(crate) struct Parts {
    /// The file system.
    pub(crate) vfs: Arc<dyn Vfs>,
    /// The clock.
    pub(crate) env: Arc<dyn Env>,
    /// The database's directory.
    pub(crate) path: PathBuf,
    /// The directory of the log.
    pub(crate) log_dir: PathBuf,
    /// How it was opened, and is opened again.
    pub(crate) options: OpenOptions,
    /// The database.
    pub(crate) instance: InstanceId,
    /// The manifest as it was read.
    pub(crate) manifest: Arc<ManifestStore>,
    /// What was derived so far.
    pub(crate) applier: Applier,
    /// What readers see; it shows what `applier` holds.
    pub(crate) published: Arc<Published<View>>,
    /// Who hears of more.
    pub(crate) audience: Box<dyn Audience>,
}

/// Follows the files.
pub(crate) struct Follower {
    /// `None` once it has ended.
    state: Mutex<Option<State>>,
    health: Mutex<FollowHealth>,
}

struct State {
    parts: Parts,
    tail: TailReader,
    history: History<View>,
    /// The segments, also those that are not published yet.
    segments: Arc<SegmentSet>,
    own: Own,
    last_time: Timestamp,
    /// The oldest LSN from which on the log tells everything.
    retained: Lsn,
    /// Thorough looks in a row that found the files at odds with `TAIL`.
    at_odds: u32,
    /// What `TAIL` said when beginning anew did not help.
    given_up: Option<Tail>,
    /// Since when it has been behind.
    behind_since: Option<Timestamp>,
}

impl Follower {
    /// Goes on from what `parts` show.
    ///
    /// # Errors
    /// `Closed` where nothing is published.
    pub(crate) fn new(parts: Parts) -> Result<Self> {
        let view = parts.published.load().ok_or(PulseDBError::Closed)?;
        let mut history = History::default();
        history.push(&view);
        let manifest = parts.manifest.current();
        let state = State {
            history,
            own: own(&manifest, &view),
            segments: Arc::clone(&view.segments),
            last_time: view.newest.time,
            retained: manifest.retained_from,
            at_odds: 0,
            given_up: None,
            behind_since: None,
            tail: TailReader::new(&parts.path),
            parts,
        };
        Ok(Self {
            state: Mutex::new(Some(state)),
            health: Mutex::default(),
        })
    }

    /// Looks at `TAIL` and catches up with it; `thorough`: also at the manifest. Answers whether there was
    /// anything new.
    pub(crate) fn look(&self, thorough: bool) -> bool {
        let mut state = self.state.lock();
        let Some(state) = state.as_mut() else {
            return false;
        };
        let before = state.own.applied;
        let tail = state.tail.read(&*state.parts.vfs, thorough);
        let looked = state.look(tail, thorough);
        if let Err(error) = &looked {
            tracing::debug!(%error, "a reader could not go on; it will look again");
        }
        let health = state.health(tail, looked.err());
        *self.health.lock() = health;
        state.own.applied != before
    }

    /// Catches up where that only takes reading on in the active segment; false where it takes more, or another thread looks.
    pub(crate) fn glance(&self) -> bool {
        let Some(mut state) = self.state.try_lock() else {
            return false;
        };
        let Some(state) = state.as_mut() else {
            return true;
        };
        let tail = state.tail.read(&*state.parts.vfs, false);
        let caught_up = matches!(state.read_on(tail), Ok(true));
        if caught_up {
            *self.health.lock() = state.health(tail, None);
        }
        caught_up
    }

    /// Looks no more, and lets go of the files.
    pub(crate) fn end(&self) {
        *self.state.lock() = None;
    }

    /// How far it is behind, and what keeps it there, as of the last look.
    pub(crate) fn health(&self) -> FollowHealth {
        self.health.lock().clone()
    }
}

impl State {
    /// Reads on in the active segment where that leads to what `tail` names; false where there is more behind it.
    fn read_on(&mut self, tail: Option<Tail>) -> Result<bool> {
        let Some(tail) = tail.filter(|tail| Some(*tail) != self.given_up) else {
            return Ok(true);
        };
        if tail.timeline == self.own.timeline
            && tail.lsn > self.own.applied
            && self.reaches(tail.lsn)
        {
            self.read_active(tail.lsn)?;
            self.publish();
        }
        Ok(tail.lsn <= self.own.applied)
    }

    fn look(&mut self, tail: Option<Tail>, thorough: bool) -> Result<()> {
        if self.read_on(tail)? && !thorough {
            return Ok(());
        }
        let tail = tail.filter(|tail| Some(*tail) != self.given_up);
        self.parts.manifest.reload()?;
        let found = self.parts.manifest.current();
        match plan::step(&self.own, &found) {
            Step::Stay => {
                self.retain_from(found.retained_from);
                let unread = tail
                    .filter(|tail| tail.timeline == found.timeline && tail.lsn > self.own.applied);
                match unread {
                    Some(_) => self.wait_or_rebuild(thorough, tail),
                    None => {
                        self.at_odds = 0;
                        Ok(())
                    }
                }
            }
            Step::Extend(extension) => match self.extend(&extension, &found, tail) {
                Ok(true) => {
                    self.retain_from(found.retained_from);
                    self.at_odds = 0;
                    Ok(())
                }
                Ok(false) => self.rebuild(),
                // The file may have been retired meanwhile.
                Err(error) => self.wait_or_rebuild(thorough, tail).and(Err(error)),
            },
            Step::Rebuild => self.rebuild(),
            Step::Foreign => Err(PulseDBError::conflict(format!(
                "the directory holds database {} now; open it again",
                found.instance_id
            ))),
        }
    }

    fn active(&self) -> Option<&Arc<Segment>> {
        let last = self.own.named.last()?;
        self.segments.segment(last.id)
    }

    fn reaches(&self, lsn: Lsn) -> bool {
        self.active()
            .is_some_and(|active| log::reaches(active, self.own.applied, lsn))
    }

    fn read_active(&mut self, lsn: Lsn) -> Result<()> {
        match self.active().cloned() {
            Some(active) => self.read(&active, Stretch::Upto(lsn)),
            None => Ok(()),
        }
    }

    /// Applies what stands in a segment behind what it shows.
    fn read(&mut self, segment: &Arc<Segment>, stretch: Stretch) -> Result<()> {
        let held = self.history.oldest();
        let horizon = held.map_or(Lsn::ZERO, |view| view.lsn());
        let applier = &mut self.parts.applier;
        let mut undecodable = Vec::new();
        let read = log::read_on(segment, self.own.applied, stretch, &mut |replayed| {
            derive::apply(applier, &replayed, |_| horizon, &mut undecodable);
            Ok(())
        })?;
        applier.bury(horizon);
        for collective in applier.take_purges() {
            applier.ids().remove_collective(collective);
        }
        for error in undecodable {
            self.segments.note_damage(&error);
        }
        note_damage(&self.segments, read.damaged);
        self.own.applied = read.last_lsn;
        self.own.end = segment.end();
        Ok(())
    }

    /// Maps the segments that follow and reads them; `false` where they do not follow.
    fn extend(
        &mut self,
        extension: &Extension,
        found: &Manifest,
        tail: Option<Tail>,
    ) -> Result<bool> {
        let mut more = Vec::with_capacity(extension.more.len());
        for entry in &extension.more {
            let meta = SegmentMeta {
                id: entry.id,
                first_lsn: entry.first_lsn,
                end: entry.end,
            };
            let parts = &self.parts;
            let segment = log::open_segment(&*parts.vfs, &parts.log_dir, &meta, parts.instance)?;
            more.push((segment, entry.end));
        }
        if let (Some(end), Some(active)) = (extension.sealed, self.active().cloned()) {
            self.read(&active, Stretch::Sealed(end))?;
        }
        let without = self.own.named.last().filter(|_| extension.blank);
        let without = without.map(|last| last.id);
        // From here on the names are no more those of the segments, until all is read.
        self.own.named.clear();
        for (segment, end) in more {
            if !plan::goes_on(segment.header(), self.own.applied) {
                return Ok(false);
            }
            self.segments = Arc::new(self.segments.extended(without, vec![Arc::clone(&segment)]));
            match end {
                0 => {
                    let tail = tail.filter(|tail| tail.timeline == found.timeline);
                    self.own.end = segment.end();
                    if let Some(tail) = tail
                        && log::reaches(&segment, self.own.applied, tail.lsn)
                    {
                        self.read(&segment, Stretch::Upto(tail.lsn))?;
                    }
                }
                end => self.read(&segment, Stretch::Sealed(end))?,
            }
        }
        self.own.named.clone_from(&found.segments);
        self.own.timeline = found.timeline;
        self.publish();
        Ok(true)
    }

    /// Begins anew once waiting has not helped.
    fn wait_or_rebuild(&mut self, thorough: bool, tail: Option<Tail>) -> Result<()> {
        self.at_odds += u32::from(thorough);
        if self.at_odds < PATIENCE {
            return Err(PulseDBError::conflict(format!(
                "the log does not lead from LSN {} to what TAIL names yet",
                self.own.applied
            )));
        }
        self.rebuild()?;
        // What is damaged now is so at the next look.
        self.given_up = tail.filter(|tail| tail.lsn > self.own.applied);
        Ok(())
    }

    /// Shows what is still to be read in the files that are mapped: the new ones may have lost it. Where a
    /// segment begins behind the commit `previous`, that was committed, and everything before it.
    fn read_to_the_end(&mut self, segments: &SegmentSet) -> Result<()> {
        let previous = segments.segments().iter();
        let previous = previous.map(|segment| segment.header().previous_lsn);
        let ends = previous.filter(|lsn| *lsn > self.own.applied && self.reaches(*lsn));
        if let Some(end) = ends.max() {
            self.read_active(end)?;
        }
        let shown = self.parts.published.load();
        if shown.is_some_and(|view| view.lsn() < self.own.applied) {
            self.publish();
        }
        Ok(())
    }

    /// Derives everything again, and shows it instead.
    fn rebuild(&mut self) -> Result<()> {
        let parts = &self.parts;
        let derived = derive::open(&parts.vfs, &parts.env, &parts.path, &parts.options, false)?;
        let Derived {
            recovered, applier, ..
        } = derived;
        if recovered.instance_id == parts.instance {
            self.read_to_the_end(&recovered.segments)?;
        }
        let parts = &mut self.parts;
        if recovered.instance_id != parts.instance {
            return Err(PulseDBError::conflict(
                "the directory holds another database now",
            ));
        }
        parts.manifest.reload()?;
        let manifest = recovered.manifest.current();
        let report = recovered.report;
        let headers = recovered.segments.segments().iter();
        let before = parts.published.load().ok_or(PulseDBError::Closed)?;
        let past = plan::past(
            before.lsn(),
            headers.map(|segment| segment.header()),
            report.last_lsn,
            manifest.retained_from,
        );
        let first = Lsn::new(before.lsn().get().saturating_add(1));
        let view = Arc::new(View {
            cursor: Cursor {
                timeline: recovered.timeline,
                lsn: report.last_lsn,
            },
            tables: Arc::clone(applier.tables()),
            ids: Arc::clone(applier.ids()),
            newest: Newest {
                time: recovered.last_time.max(applier.newest().time),
                ..applier.newest()
            },
            segments: recovered.segments,
        });
        note_damage(&view.segments, report.damaged);
        if past == Past::Known {
            keep_graphs(&before, &view);
        }
        parts.applier = applier;
        self.segments = Arc::clone(&view.segments);
        self.last_time = view.newest.time;
        self.own = own(&manifest, &view);
        self.at_odds = 0;
        self.history = History::default();
        self.history.push(&view);
        let lost = match past {
            Past::Known => manifest.retained_from,
            Past::Lost(lsn) => lsn,
        };
        self.retain_from(lost);
        self.parts.published.store(Arc::clone(&view));
        match past {
            Past::Known if view.lsn() >= first => self.parts.audience.committed(&view, first),
            Past::Known => {}
            Past::Lost(_) => self.parts.audience.lost(&view),
        }
        Ok(())
    }

    fn retain_from(&mut self, lsn: Lsn) {
        if lsn > self.retained {
            self.retained = lsn;
            self.parts.audience.history_begins(lsn);
        }
    }

    /// Shows what was applied.
    fn publish(&mut self) {
        let Some(before) = self.parts.published.load() else {
            return;
        };
        let newest = self.parts.applier.newest();
        self.last_time = self.last_time.max(newest.time);
        let view = Arc::new(View {
            cursor: Cursor {
                timeline: self.own.timeline,
                lsn: self.own.applied,
            },
            tables: Arc::clone(self.parts.applier.tables()),
            ids: Arc::clone(self.parts.applier.ids()),
            newest: Newest {
                time: self.last_time,
                ..newest
            },
            segments: Arc::clone(&self.segments),
        });
        self.history.push(&view);
        self.parts.published.store(Arc::clone(&view));
        if view.lsn() > before.lsn() {
            let first = Lsn::new(before.lsn().get().saturating_add(1));
            self.parts.audience.committed(&view, first);
        }
    }

    fn health(&mut self, tail: Option<Tail>, error: Option<PulseDBError>) -> FollowHealth {
        let now = self.parts.env.now();
        let behind = tail.map_or(0, |tail| {
            tail.lsn.get().saturating_sub(self.own.applied.get())
        });
        if behind == 0 && error.is_none() {
            self.behind_since = None;
            return FollowHealth::default();
        }
        let since = *self.behind_since.get_or_insert(now);
        let behind_ms = now.as_millis().saturating_sub(since.as_millis());
        FollowHealth {
            behind_lsns: behind,
            behind_ms: u64::try_from(behind_ms).unwrap_or(0),
            trouble: error.map(|error| error.to_string()),
        }
    }
}

/// Where a reader stands that was opened by this manifest and shows this view.
fn own(manifest: &Manifest, view: &View) -> Own {
    let segments = view.segments.segments();
    let is_named = |segment: &Arc<Segment>| {
        let mut named = manifest.segments.iter();
        named.any(|entry| entry.id == segment.id())
    };
    Own {
        instance: manifest.instance_id,
        timeline: view.cursor.timeline,
        applied: view.lsn(),
        // Where the newest manifest was lost, the one before does not say what is mapped.
        named: if segments.iter().all(is_named) {
            manifest.segments.clone()
        } else {
            Vec::new()
        },
        end: segments
            .last()
            .map_or(SEGMENT_HEADER_LEN as u64, |segment| segment.end()),
    }
}

fn note_damage(segments: &SegmentSet, damaged: Vec<(PathBuf, u64, String)>) {
    for (file, offset, what) in damaged {
        segments.note_damage(&PulseDBError::corrupted(file, offset, what));
    }
}

/// Gives the tables of `after` the vector indexes of `before`: rows keep their numbers.
fn keep_graphs(before: &View, after: &View) {
    for table in after.tables.collectives() {
        let known = before.tables.get(table.number);
        let same = |known: &&Arc<Table>| known.id == table.id && known.epoch == table.epoch;
        if let Some(known) = known.filter(same) {
            table.vectors.adopt(known.vectors.state());
        }
    }
}
