//! What does the committer own, and what does each stage of a commit do with it?
//!
//! The log's tail and the tables' growing end. `protocol::commit` drives the stages in their one
//! order; nothing else may touch what is in here.

use std::time::Duration;

use crate::{
    error::{PulseDBError, Result},
    format::Traits,
    log::{LogWriter, OutFrame, Place, Relocation, Segment, SegmentSet, Unsynced},
    model::{Cursor, HistoryHolds, Lsn, SyncMode, Timeline, Timestamp},
    protocol::{
        commit::Pipeline,
        publish::{History, Published},
    },
    state::{
        Applier, Held, Mutation, Snapshot, Table, Visited, body,
        retention::{Note, Retention},
    },
    sync::{Arc, Weak},
    telemetry::{Group, Telemetry},
    write::{
        pending::{Item, Present},
        request::{Answer, Request},
        sequence::{Sequenced, Sequencer, TraitsSource, Written},
    },
};

/// What readers load.
pub type View = Snapshot<Arc<SegmentSet>>;

/// Who is told of a commit that is already visible.
pub trait Broadcast: Send {
    /// The log is being given these records: what can be made ready before they are durable.
    fn foresee(&mut self, frames: &[OutFrame]);

    /// The records `first..=view.lsn()` were committed, and `view` shows them.
    fn committed(&mut self, view: &Arc<View>, first: Lsn);

    /// Up to where everybody has heard everything, so that no older record will be asked for; `None`
    /// where nobody lags.
    fn heard_by_all(&self) -> Option<Lsn>;

    /// The log may lose what was replaced or deleted up to `lsn`.
    fn history_begins(&mut self, lsn: Lsn);
}

/// What the committer hands to others because it would hold up the next commit.
pub trait Upkeep: Send {
    /// The ids of these collectives can leave the index.
    fn purge(&mut self, collectives: Vec<u32>);
}

/// What a pipeline is made of: a log, and the tables and the snapshot that show its records.
pub struct Parts {
    /// The log's tail.
    pub log: LogWriter,
    /// Continues its numbers.
    pub sequencer: Sequencer,
    /// Holds its records.
    pub applier: Applier,
    /// Shows its records.
    pub published: Arc<Published<View>>,
    /// The history that is written.
    pub timeline: Timeline,
    /// What an acknowledgement means.
    pub sync_mode: SyncMode,
    /// How far back snapshots may be asked for.
    pub retention: Retention,
    /// How far back the log is kept for subscribers that lag.
    pub lag: Retention,
    /// What was replaced up to here is not in memory any more.
    pub trimmed: Lsn,
    /// Bytes of the log.
    pub log_bytes: u64,
    /// Told of every commit.
    pub broadcast: Box<dyn Broadcast>,
    /// Handed what can wait.
    pub upkeep: Box<dyn Upkeep>,
    /// Told how long it took.
    pub telemetry: Arc<Telemetry>,
}

/// The committer's property.
pub struct WritePipeline {
    parts: Parts,
    history: History<View>,
    /// Snapshots of the past that were asked for.
    past: Vec<Weak<View>>,
    /// When the group under way was begun, where its time is taken.
    began: Option<Duration>,
}

/// A group that the log holds.
pub struct Durable {
    items: Vec<Item>,
    places: Vec<Place>,
    answers: Vec<Answer>,
    rooms: Vec<Box<dyn Send>>,
}

/// A group that the tables hold.
pub struct Applied {
    lsns: Option<(Lsn, Lsn)>,
    /// Records, and their bytes.
    appended: (u64, u64),
    answers: Vec<Answer>,
    rooms: Vec<Box<dyn Send>>,
}

impl WritePipeline {
    /// Continues where the parts end.
    pub fn new(parts: Parts) -> Self {
        let mut history = History::default();
        if let Some(first) = parts.published.load() {
            history.push(&first);
        }
        Self {
            parts,
            history,
            past: Vec::new(),
            began: None,
        }
    }

    /// Ends the log cleanly. Nothing can be committed afterwards.
    pub fn close(&mut self, now: Timestamp) -> Result<()> {
        // Times never go back along the log, whatever the clock does.
        let time = now.max(self.parts.sequencer.last_time());
        self.parts.log.close(time)
    }

    /// What is to be synced for everything written so far to be durable; `None` if it is.
    pub fn unsynced(&self) -> Option<Unsynced> {
        self.parts.log.unsynced()
    }

    /// Notes that it was synced.
    pub fn synced(&mut self, done: &Unsynced) {
        self.parts.log.synced(done);
    }

    /// Lets go of what nobody can see any more. Commits do so, too; this is for when there are none.
    pub fn bury(&mut self) {
        let horizon = self.horizon();
        self.parts.trimmed = self.parts.trimmed.max(horizon);
        self.bury_below(horizon);
    }

    fn bury_below(&mut self, horizon: Lsn) {
        self.parts.applier.bury(horizon);
        let purges = self.parts.applier.take_purges();
        if !purges.is_empty() {
            self.parts.upkeep.purge(purges);
        }
    }

    /// The database as it was at `lsn`, or rather at the end of the last commit at or before it.
    ///
    /// # Errors
    /// `Validation` for an LSN that history does not reach to.
    pub fn snapshot_at(&mut self, lsn: Lsn) -> Result<Arc<View>> {
        let newest = self.parts.published.load().ok_or(PulseDBError::Closed)?;
        if lsn >= newest.lsn() {
            if lsn == newest.lsn() {
                return Ok(newest);
            }
            return Err(PulseDBError::validation(
                "lsn",
                lsn,
                format!("the newest commit is {}", newest.lsn()),
            ));
        }
        let trimmed = self.parts.trimmed;
        if lsn < trimmed {
            return Err(PulseDBError::validation(
                "lsn",
                lsn,
                format!("history reaches back to {trimmed}; config.retention says how far"),
            ));
        }
        // Where the record that ended the commit is gone already, nothing of it is left to see either.
        let lsn = newest
            .segments
            .commit_at(lsn)
            .map_or(trimmed, |end| end.max(trimmed));
        let view = Arc::new(View {
            cursor: Cursor {
                timeline: newest.cursor.timeline,
                lsn,
            },
            tables: self.parts.applier.tables_at(lsn),
            ids: Arc::clone(&newest.ids),
            newest: newest.newest,
            segments: Arc::clone(&newest.segments),
        });
        self.past.retain(|past| past.strong_count() > 0);
        self.past.push(Arc::downgrade(&view));
        Ok(view)
    }

    /// What was replaced up to here is not in memory any more.
    pub fn trimmed(&self) -> Lsn {
        self.parts.trimmed
    }

    /// Makes everything durable and fixes what the log may lose. `at_once`: even what live snapshots and
    /// retention would keep; snapshots that are held go on reading the files as they were.
    ///
    /// # Errors
    /// `Closed`, and `Io` after which the log takes nothing more.
    pub fn hold(&mut self, at_once: bool) -> Result<Held<Arc<SegmentSet>>> {
        // What replaces a record has to be durable before the record goes.
        self.parts.log.sync()?;
        let newest = self.parts.published.load().ok_or(PulseDBError::Closed)?;
        let horizon = if at_once {
            newest.lsn()
        } else {
            let heard = self.parts.broadcast.heard_by_all();
            let watched = heard.map_or(newest.lsn(), |lsn| lsn.max(self.parts.lag.floor()));
            self.horizon().min(watched)
        };
        self.parts.trimmed = self.parts.trimmed.max(horizon);
        self.parts.broadcast.history_begins(horizon);
        Ok(held(&newest, horizon))
    }

    /// What would be needed if it were fixed now; nothing changes.
    ///
    /// # Errors
    /// `Closed`.
    pub fn look(&mut self) -> Result<Held<Arc<SegmentSet>>> {
        let newest = self.parts.published.load().ok_or(PulseDBError::Closed)?;
        Ok(held(&newest, self.horizon()))
    }

    /// What keeps the log from losing what was replaced or deleted.
    pub fn holds(&mut self) -> HistoryHolds {
        let newest = self
            .parts
            .published
            .load()
            .map_or(Lsn::ZERO, |view| view.lsn());
        let older = |lsn: Lsn| Some(lsn).filter(|lsn| *lsn < newest);
        let watchers = self.parts.broadcast.heard_by_all();
        HistoryHolds {
            newest,
            snapshots: self.oldest_snapshot().and_then(older),
            watchers: watchers.and_then(|lsn| older(lsn.max(self.parts.lag.floor()))),
            retention: older(self.parts.retention.floor()),
        }
    }

    /// Goes on in a new segment, so that the present one can be rewritten.
    pub fn seal(&mut self) -> Result<()> {
        self.parts.log.seal()?;
        self.show_segments();
        Ok(())
    }

    /// Puts a rewritten segment into the place of those that `moved` leads from; readers see it after
    /// [`Self::show_segments`].
    pub fn rewritten(&mut self, segment: Option<Arc<Segment>>, moved: &[(u32, Arc<Relocation>)]) {
        self.parts.log.rewritten(segment, moved);
    }

    /// Lets readers see the segments of the log as they are now.
    pub fn show_segments(&mut self) {
        if let Some(newest) = self.parts.published.load() {
            let view = Arc::new(View {
                segments: Arc::clone(self.parts.log.segments()),
                ..View::clone(&newest)
            });
            self.history.push(&view);
            self.parts.published.store(view);
        }
    }

    /// What was replaced at or below this LSN is seen by no snapshot, and by none to come.
    fn horizon(&mut self) -> Lsn {
        self.oldest_snapshot()
            .unwrap_or(Lsn::ZERO)
            .min(self.parts.retention.floor())
    }

    /// The oldest snapshot that anybody holds, or the published one.
    fn oldest_snapshot(&mut self) -> Option<Lsn> {
        let oldest = self.history.oldest()?.lsn();
        let past = self.past.iter().filter_map(Weak::upgrade);
        Some(past.map(|view| view.lsn()).fold(oldest, Lsn::min))
    }
}

impl TraitsSource for Arc<SegmentSet> {
    fn traits(&self, present: &Present) -> Result<Traits> {
        crate::state::replay::traits_at(self, &present.row, &present.values)
    }

    fn written(&self, row: &Visited<'_>, table: &Table) -> Option<Written> {
        let hash = body::view(self, row).ok()?.content_hash().ok()?;
        let stored = body::vector(self, row, table).ok()?;
        Some(Written::new(
            row.row.id,
            hash,
            stored.vector.to_vec(),
            stored.inverse_norm,
        ))
    }
}

impl Pipeline for WritePipeline {
    type Request = Request;
    type Answer = Answer;
    type Failure = PulseDBError;
    type Sequenced = Sequenced;
    type Durable = Durable;
    type Applied = Applied;

    fn group_limit(&self) -> usize {
        match self.parts.sync_mode {
            SyncMode::Paranoid => 1,
            SyncMode::Normal | SyncMode::Fast => usize::MAX,
        }
    }

    fn sequence(&mut self, requests: Vec<Request>) -> Sequenced {
        self.began = self.parts.telemetry.clock();
        let segments = Arc::clone(self.parts.log.segments());
        self.parts
            .sequencer
            .sequence(requests, &self.parts.applier, &segments)
    }

    fn make_durable(&mut self, sequenced: Sequenced) -> Result<Durable> {
        let Sequenced {
            mut items,
            answers,
            flush,
            rooms,
        } = sequenced;
        let mut frames: Vec<OutFrame> = items
            .iter_mut()
            .map(|item| std::mem::take(&mut item.frame))
            .collect();
        let places = self.parts.log.append(&mut frames)?;
        self.parts.broadcast.foresee(&frames);
        if self.parts.sync_mode != SyncMode::Fast || flush {
            let began = self.parts.telemetry.clock();
            self.parts.log.sync()?;
            self.parts.telemetry.synced(began);
        }
        if self.parts.sync_mode == SyncMode::Paranoid {
            self.parts.log.read_back(&frames, &places)?;
        }
        if let Some(last) = frames.last() {
            self.parts.log.publish_tail(last.header.lsn)?;
        }
        for (item, frame) in items.iter_mut().zip(frames) {
            item.frame = frame;
        }
        Ok(Durable {
            items,
            places,
            answers,
            rooms,
        })
    }

    fn apply(&mut self, durable: Durable) -> Applied {
        let horizon = self.horizon();
        self.parts.trimmed = self.parts.trimmed.max(horizon);
        let first = durable.items.first().map(|item| item.frame.header.lsn);
        let last = durable.items.last().map(|item| item.frame.header);
        let bytes = |item: &Item| item.frame.header.frame_len();
        let appended = (
            durable.items.len() as u64,
            durable.items.iter().map(bytes).sum::<u64>(),
        );
        self.parts.log_bytes += appended.1;
        if let Some(last) = last {
            let note = Note {
                lsn: last.lsn,
                time: last.time,
                bytes: self.parts.log_bytes,
            };
            self.parts.retention.note(note);
            self.parts.lag.note(note);
        }
        for (item, place) in durable.items.into_iter().zip(&durable.places) {
            let lsn = item.frame.header.lsn;
            self.parts.applier.note(&item.frame.header);
            let mutation = placed(item.mutation, lsn, *place, first, &durable.places);
            self.parts.applier.apply(lsn, mutation, horizon);
        }
        self.bury_below(horizon);
        Applied {
            lsns: first.zip(last.map(|header| header.lsn)),
            appended,
            answers: durable.answers,
            rooms: durable.rooms,
        }
    }

    fn publish(&mut self, applied: &Applied) {
        if let Some((_, last)) = applied.lsns {
            let view = Arc::new(View {
                cursor: Cursor {
                    timeline: self.parts.timeline,
                    lsn: last,
                },
                tables: Arc::clone(self.parts.applier.tables()),
                ids: Arc::clone(self.parts.applier.ids()),
                newest: self.parts.applier.newest(),
                segments: Arc::clone(self.parts.log.segments()),
            });
            self.history.push(&view);
            self.parts.published.store(view);
        }
    }

    fn broadcast(&mut self, applied: &Applied) {
        if let Some((first, _)) = applied.lsns
            && let Some(view) = self.parts.published.load()
        {
            self.parts.broadcast.committed(&view, first);
        }
    }

    fn answers(&mut self, applied: Applied) -> Vec<Answer> {
        drop(applied.rooms);
        let group = Group {
            requests: applied.answers.len(),
            appended: applied.appended,
            lsn: applied.lsns.map(|(_, last)| last),
        };
        self.parts.telemetry.committed(self.began.take(), &group);
        applied.answers
    }

    fn failed(failure: &PulseDBError) -> Answer {
        Err(failure.clone())
    }

    fn panicked() -> PulseDBError {
        PulseDBError::ReadOnly {
            reason: "the committer panicked; reopen the database (and please report it)".into(),
        }
    }
}

fn held(newest: &View, horizon: Lsn) -> Held<Arc<SegmentSet>> {
    Held {
        horizon,
        tables: Arc::clone(&newest.tables),
        segments: Arc::clone(&newest.segments),
        next_collective: newest.tables.next_number(),
    }
}

/// Fills in the places that are known only now. A record of this group may rest on the traits of
/// an earlier one, which it names by LSN; the LSNs of a group are contiguous.
fn placed(
    mutation: Mutation,
    lsn: Lsn,
    place: Place,
    first: Option<Lsn>,
    places: &[Place],
) -> Mutation {
    match mutation {
        Mutation::Record {
            at,
            mut row,
            agent,
            key,
            first,
        } => {
            row.place = place;
            Mutation::Record {
                at,
                row,
                agent,
                key,
                first,
            }
        }
        Mutation::Relate {
            at,
            mut row,
            source,
            target,
            relation_type,
            has_metadata,
        } => {
            row.place = place;
            Mutation::Relate {
                at,
                row,
                source,
                target,
                relation_type,
                has_metadata,
            }
        }
        Mutation::Revise { at, mut values } => {
            let in_group = first
                .and_then(|first| values.traits_lsn.get().checked_sub(first.get()))
                .and_then(|index| places.get(index as usize));
            if values.traits_lsn == lsn {
                values.traits_place = Some(place);
            } else if let Some(traits) = in_group {
                values.traits_place = Some(*traits);
            }
            Mutation::Revise { at, values }
        }
        Mutation::Embed {
            at,
            epoch,
            inverse_norm,
            ..
        } => Mutation::Embed {
            at,
            epoch,
            place,
            inverse_norm,
        },
        other => other,
    }
}
