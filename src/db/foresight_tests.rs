//! Does an event that was made before its record was durable tell what the log tells, and is it told only where it is
//! right?

use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use crate::{
    Config, EmbeddingDimension, NewExperience, NewRelation, RelationType, WatchEvent, blocking,
    db::{PulseDB, telling::OnReaders},
    edge::block_on::block_on,
    log::OutFrame,
    model::{Lsn, WatchItem},
    sync::Arc,
    watch::{
        WatchItems,
        channel::Word,
        event::{Scope, Source},
        hub::{Events, Hub, Parts},
        wanted::Wanted,
    },
};

/// A database, and a hub of its own that tells what the test has it tell.
struct Fixture {
    db: PulseDB,
    ask: blocking::PulseDB,
    hub: Arc<Hub>,
    number: u32,
    first: NewExperience,
    _dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::external(EmbeddingDimension::Custom(2));
        let db = block_on(PulseDB::open(dir.path(), config)).unwrap();
        let ask = blocking::PulseDB::from(db.clone());
        let team = ask.create_collective("team").unwrap();
        let engine = db.engine();
        let hub = Arc::new(Hub::new(Parts {
            capacity: 16,
            instance: engine.instance,
            published: Arc::clone(&engine.published),
            history_begins: Lsn::ZERO,
            forks: Box::new(Vec::new),
            follows: false,
            telemetry: Arc::clone(&engine.telemetry),
        }));
        let first = NewExperience {
            embedding: Some(vec![0.6, 0.8]),
            domain: vec!["rust".to_owned()],
            ..NewExperience::new(team, "agent", "what was learned")
        };
        // The first one of all has its collective defined anew.
        ask.record_experience(first.clone()).unwrap();
        Self {
            number: engine.reader().unwrap().table(team).unwrap().number,
            first,
            db,
            ask,
            hub,
            _dir: dir,
        }
    }

    /// Records two experiences, and answers their frames as the log was given them.
    fn frames(&self) -> Vec<OutFrame> {
        let behind = self.hub.view().unwrap().lsn();
        let second = NewExperience {
            tags: [("crate".to_owned(), "tokio".to_owned())].into(),
            importance: 0.9,
            ..self.first.clone()
        };
        let batch = vec![self.first.clone(), second];
        self.ask.record_experiences(batch).unwrap();
        self.behind(behind)
    }

    fn behind(&self, lsn: Lsn) -> Vec<OutFrame> {
        let view = self.hub.view().unwrap();
        let frames = view
            .segments
            .iter_from(Lsn::new(lsn.get() + 1), view.lsn())
            .map(Result::unwrap);
        let frames = frames.map(|frame| OutFrame {
            header: frame.header,
            payload: Bytes::copy_from_slice(frame.payload),
        });
        frames.collect()
    }

    /// What the log tells of them.
    fn read(&self, frames: &[OutFrame]) -> Vec<WatchEvent> {
        let view = self.hub.view().unwrap();
        let source = Source::new(&view, self.hub.instance());
        let events = source.events(frames[0].header.lsn, view.lsn(), |_| true);
        events
            .unwrap()
            .into_iter()
            .map(|(_, event)| event)
            .collect()
    }

    fn committed(&self, frames: &[OutFrame]) {
        let view = self.hub.view().unwrap();
        self.hub.committed(&view, frames[0].header.lsn);
    }
}

/// The same frames, and the first of them with the payload of the second: no log has told that.
fn changed(frames: &[OutFrame]) -> Vec<OutFrame> {
    let mut changed = frames.to_vec();
    changed[0].payload = frames[1].payload.clone();
    changed[0].header.payload_len = frames[1].header.payload_len;
    changed
}

fn told(events: &mut Events) -> Vec<WatchEvent> {
    let mut told = Vec::new();
    let mut context = Context::from_waker(Waker::noop());
    while let Poll::Ready(word) = events.poll_take(&mut context) {
        let Word::Told(items) = word else {
            panic!("everything is told");
        };
        told.extend(items.iter().map(|one| (**one.event().unwrap()).clone()));
    }
    told
}

#[test]
fn what_is_foreseen_is_what_the_log_tells() {
    let fixture = Fixture::new();
    let mut subscription = fixture.hub.subscribe(Scope::All, None).unwrap();
    let mut events = subscription.take_events().unwrap();
    let frames = fixture.frames();
    fixture.hub.foresee(&frames);
    assert_eq!(told(&mut events), [], "it is not durable");
    fixture.committed(&frames);
    assert_eq!(told(&mut events), fixture.read(&frames));
    fixture.hub.foresee(&changed(&frames));
    fixture.committed(&frames);
    let importances = told(&mut events)
        .into_iter()
        .map(|event| event.experience.unwrap().importance);
    assert_eq!(
        importances.collect::<Vec<_>>(),
        [0.9, 0.9],
        "it was foreseen"
    );
    // Once: what comes next is read from the log.
    fixture.committed(&frames);
    assert_eq!(told(&mut events), fixture.read(&frames));
}

#[test]
fn who_subscribes_meanwhile_misses_nothing() {
    let fixture = Fixture::new();
    let one = Scope::Collective(fixture.number + 1);
    let _watched = fixture.hub.subscribe(one, None).unwrap();
    let frames = fixture.frames();
    // Of a collective that nobody watches by then.
    fixture.hub.foresee(&frames);
    let own = Scope::Collective(fixture.number);
    let mut subscription = fixture.hub.subscribe(own, None).unwrap();
    let mut events = subscription.take_events().unwrap();
    fixture.committed(&frames);
    assert_eq!(told(&mut events), fixture.read(&frames));
}

#[test]
fn what_is_of_another_commit_or_says_too_little_is_not_told() {
    let fixture = Fixture::new();
    let mut subscription = fixture.hub.subscribe(Scope::All, None).unwrap();
    let mut events = subscription.take_events().unwrap();
    let before = fixture.frames();
    let frames = fixture.frames();
    // A group that did not become durable.
    fixture.hub.foresee(&changed(&before));
    fixture.committed(&frames);
    assert_eq!(told(&mut events), fixture.read(&frames));
    let ids = fixture.read(&frames).into_iter();
    let mut ids = ids.map(|event| event.experience.unwrap().id);
    let (source, target) = (ids.next().unwrap(), ids.next().unwrap());
    let relation = NewRelation::new(source, target, RelationType::Supports);
    fixture.ask.store_relation(relation).unwrap();
    let last = frames[1].header.lsn;
    let mixed: Vec<_> = changed(&frames)
        .into_iter()
        .chain(fixture.behind(last))
        .collect();
    fixture.hub.foresee(&mixed);
    fixture.committed(&mixed);
    let read = fixture.read(&mixed);
    assert_eq!(read.len(), 3);
    assert_eq!(told(&mut events), read);
}

#[test]
fn what_cannot_be_made_is_read_from_the_log() {
    let fixture = Fixture::new();
    let subscription = fixture.hub.subscribe(Scope::All, None).unwrap();
    let from = fixture.hub.view().unwrap().cursor;
    let readers = Arc::clone(&fixture.db.engine().readers);
    let offload = Arc::new(OnReaders(readers));
    let mut items = WatchItems::new(subscription, from, true, Wanted::default(), offload);
    let frames = fixture.frames();
    let mut unreadable = frames.clone();
    unreadable[0].payload = Bytes::from_static(b"?");
    fixture.hub.foresee(&unreadable);
    fixture.committed(&frames);
    let mut next = || block_on(items.recv()).unwrap().unwrap();
    assert_eq!(next(), WatchItem::Live(from));
    for event in fixture.read(&frames) {
        assert_eq!(next(), WatchItem::Event(Arc::new(event)));
    }
}
