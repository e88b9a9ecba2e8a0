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

/// The committer's property.
pub struct WritePipeline {
    log: LogWriter,
    sequencer: Sequencer,
    applier: Applier,
    published: Arc<Published<View>>,
    history: History<View>,
    timeline: Timeline,
    sync_mode: SyncMode,
    broadcast: Box<dyn Broadcast>,
    upkeep: Box<dyn Upkeep>,
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
    /// Continues a log whose records `applier` holds and `published` shows.
    pub fn new(
        log: LogWriter,
        sequencer: Sequencer,
        applier: Applier,
        published: Arc<Published<View>>,
        timeline: Timeline,
        sync_mode: SyncMode,
        broadcast: Box<dyn Broadcast>,
        upkeep: Box<dyn Upkeep>,
    ) -> Self {
        let mut history = History::default();
        if let Some(first) = published.load() {
            history.push(&first);
        }
        Self {
            log,
            sequencer,
            applier,
            published,
            history,
            timeline,
            sync_mode,
            broadcast,
            upkeep,
        }
    }

    /// Ends the log cleanly. Nothing can be committed afterwards.
    pub fn close(&mut self, now: Timestamp) -> Result<()> {
        self.log.close(now)
    }

    /// What is to be synced for everything written so far to be durable; `None` if it is.
    pub fn unsynced(&self) -> Option<Unsynced> {
        self.log.unsynced()
    }

    /// Notes that it was synced.
    pub fn synced(&mut self, done: &Unsynced) {
        self.log.synced(done);
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
        match self.sync_mode {
            SyncMode::Paranoid => 1,
            SyncMode::Normal | SyncMode::Fast => usize::MAX,
        }
    }

    fn sequence(&mut self, requests: Vec<Request>) -> Sequenced {
        let segments = Arc::clone(self.log.segments());
        self.sequencer.sequence(requests, &self.applier, &segments)
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
        let places = self.log.append(&mut frames)?;
        if self.sync_mode != SyncMode::Fast || flush {
            self.log.sync()?;
        }
        if self.sync_mode == SyncMode::Paranoid {
            self.log.read_back(&places)?;
        }
        if let Some(last) = frames.last() {
            self.log.publish_tail(last.header.lsn)?;
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
            let mutation = placed(item.mutation, lsn, *place, first, &durable.places);
            self.applier.apply(lsn, mutation, horizon);
        }
        self.applier.bury(horizon);
        let purges = self.applier.take_purges();
        if !purges.is_empty() {
            self.upkeep.purge(purges);
        }
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
                    timeline: self.timeline,
                    lsn: last,
                },
                tables: Arc::clone(self.applier.tables()),
                segments: Arc::clone(self.log.segments()),
            });
            self.history.push(&view);
            self.published.store(view);
        }
    }

    fn broadcast(&mut self, applied: &Applied) {
        if let Some((first, _)) = applied.lsns
            && let Some(view) = self.published.load()
        {
            self.broadcast.committed(&view, first);
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
