//! What does the committer own, and what does each stage of a commit do with it?
//!
//! The log's tail and the tables' growing end. `protocol::commit` drives the stages in their one
//! order; nothing else may touch what is in here.

use crate::{
    error::{PulseDBError, Result},
    format::Traits,
    log::{LogWriter, OutFrame, Place, SegmentSet, Unsynced},
    model::{Cursor, Lsn, SyncMode, Timeline, Timestamp},
    protocol::{
        commit::Pipeline,
        publish::{History, Published},
    },
    state::{Applier, Mutation, Snapshot},
    sync::Arc,
    write::{
        pending::{Item, Present},
        request::{Answer, Request},
        sequence::{Sequenced, Sequencer, TraitsSource},
    },
};

/// What readers load.
pub type View = Snapshot<Arc<SegmentSet>>;

/// Who is told of a commit that is already visible.
pub trait Broadcast: Send {
    /// The records `first..=view.lsn()` were committed, and `view` shows them.
    fn committed(&mut self, view: &Arc<View>, first: Lsn);
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
    /// Told of every commit.
    pub broadcast: Box<dyn Broadcast>,
    /// Handed what can wait.
    pub upkeep: Box<dyn Upkeep>,
}

/// The committer's property.
pub struct WritePipeline {
    parts: Parts,
    history: History<View>,
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
        Self { parts, history }
    }

    /// Ends the log cleanly. Nothing can be committed afterwards.
    pub fn close(&mut self, now: Timestamp) -> Result<()> {
        self.parts.log.close(now)
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
        self.bury_below(horizon);
    }

    fn bury_below(&mut self, horizon: Lsn) {
        self.parts.applier.bury(horizon);
        let purges = self.parts.applier.take_purges();
        if !purges.is_empty() {
            self.parts.upkeep.purge(purges);
        }
    }

    fn horizon(&mut self) -> Lsn {
        self.history.oldest().map_or(Lsn::ZERO, |view| view.lsn())
    }
}

impl TraitsSource for Arc<SegmentSet> {
    fn traits(&self, present: &Present) -> Result<Traits> {
        crate::state::replay::traits_at(self, &present.row, &present.values)
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
        if self.parts.sync_mode != SyncMode::Fast || flush {
            self.parts.log.sync()?;
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
        let first = durable.items.first().map(|item| item.frame.header.lsn);
        let last = durable.items.last().map(|item| item.frame.header.lsn);
        for (item, place) in durable.items.into_iter().zip(&durable.places) {
            let lsn = item.frame.header.lsn;
            self.parts.applier.note(&item.frame.header);
            let mutation = placed(item.mutation, lsn, *place, first, &durable.places);
            self.parts.applier.apply(lsn, mutation, horizon);
        }
        self.bury_below(horizon);
        Applied {
            lsns: first.zip(last),
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
        } => {
            row.place = place;
            Mutation::Record {
                at,
                row,
                agent,
                key,
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
        other => other,
    }
}
