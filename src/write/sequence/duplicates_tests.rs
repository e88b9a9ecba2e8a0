//! Does the committer decide by the present, and by nothing more than it may look at?

use std::cell::Cell;

use super::*;
use crate::{
    env::SimEnv,
    format::Traits,
    model::{CollectiveId, DecayConfig, NewExperience, RecordOptions, Timestamp},
    state::{Applier, Table, Visited},
    write::{
        draft::Draft,
        pending::Present,
        request::{Answer, Change, NewCollective, Request},
        sequence::{Sequencer, TraitsSource},
    },
};

const START: Timestamp = Timestamp::from_millis(1_000_000);

/// A committer without a log, which remembers what was written.
struct Committer {
    sequencer: Sequencer,
    applier: Applier,
    bodies: HashMap<u128, Written>,
    /// Bodies that were read from the tables.
    read: Cell<usize>,
    env: SimEnv,
    team: CollectiveId,
}

impl TraitsSource for Committer {
    fn traits(&self, _: &Present) -> Result<Traits> {
        Ok(Traits::default())
    }

    fn written(&self, row: &Visited<'_>, table: &Table) -> Option<Written> {
        assert_eq!(table.dimension, 2);
        self.read.set(self.read.get() + 1);
        self.bodies.get(&{ row.row.id }).cloned()
    }
}

fn request(changes: Vec<Change>) -> Request {
    let mut changes = changes.into_iter();
    Request {
        first: changes.next().unwrap(),
        rest: changes.collect(),
        guard: None,
        room: Box::new(()),
    }
}

impl Committer {
    fn new() -> Self {
        let env = SimEnv::new(1, START);
        let sequencer = Sequencer::new(Lsn::new(1), START, 0, Arc::new(env.clone()));
        let mut committer = Self {
            sequencer,
            applier: Applier::default(),
            bodies: HashMap::new(),
            read: Cell::new(0),
            env,
            team: CollectiveId::from_u128(0),
        };
        let create = Change::CreateCollective {
            id: None,
            new: NewCollective {
                name: "team".into(),
                owner: None,
                dimension: 2,
                decay: DecayConfig::default(),
            },
            reuse_named: false,
        };
        let answers = committer.commit(vec![vec![create]]);
        let [Ok(replies)] = answers.as_slice() else {
            panic!("{answers:?}")
        };
        let [Reply::Collective(team)] = replies.as_slice() else {
            panic!("{replies:?}")
        };
        committer.team = *team;
        committer
    }

    /// Commits a group.
    fn commit(&mut self, requests: Vec<Vec<Change>>) -> Vec<Answer> {
        let requests = requests.into_iter().map(request).collect();
        // The sequencer is told of nothing but what it asks for.
        let mut sequencer = std::mem::replace(
            &mut self.sequencer,
            Sequencer::new(Lsn::ZERO, START, 0, Arc::new(self.env.clone())),
        );
        let sequenced = sequencer.sequence(requests, &self.applier, self);
        self.sequencer = sequencer;
        for item in sequenced.items {
            let header = item.frame.header;
            if header.dimension > 0 {
                let body = BodyView::parse(header.dimension, &item.frame.payload).unwrap();
                self.bodies
                    .insert(header.entity, Written::of(header.entity, &body).unwrap());
            }
            self.applier.note(&header);
            self.applier.apply(header.lsn, item.mutation, Lsn::ZERO);
        }
        sequenced.answers
    }

    fn embedded(&self, content: &str, vector: [f32; 2]) -> Embedded {
        let new = NewExperience::new(self.team, "agent", content);
        Draft::experience(new)
            .unwrap()
            .embed(&vector, 2, None)
            .unwrap()
    }

    /// A recording by somebody who saw `sighting`.
    fn checked(&self, content: &str, policy: DuplicatePolicy, seen: Sighting, most: u32) -> Change {
        let embedded = self.embedded(content, [1.0, 0.0]);
        let options = RecordOptions {
            duplicates: policy,
            same_content: true,
            similarity_threshold: None,
        };
        let looked = Looked {
            policy,
            sought: Arc::new(embedded.sought(&options).unwrap()),
            sighting: seen,
            most_since: most,
        };
        Change::RecordChecked(Box::new(Checked {
            embedded,
            looked: Some(looked),
        }))
    }

    fn plain(&self, content: &str) -> Change {
        Change::Record(self.embedded(content, [0.0, 1.0]))
    }

    fn rows(&self) -> u32 {
        self.applier
            .tables()
            .find(self.team.as_u128())
            .unwrap()
            .row_count()
    }
}

fn outcome_of(answer: &Answer) -> &RecordOutcome {
    match answer.as_deref() {
        Ok([.., Reply::Outcome(outcome)]) => outcome,
        other => panic!("{other:?}"),
    }
}

fn recorded_id(answer: &Answer) -> ExperienceId {
    match answer.as_deref() {
        Ok([.., Reply::Experience(id)]) => *id,
        other => panic!("{other:?}"),
    }
}

fn nothing_seen(until: u32) -> Sighting {
    Sighting {
        until,
        ..Sighting::default()
    }
}

#[test]
fn rows_since_the_snapshot_are_compared_in_tables_and_in_the_group() {
    let mut committer = Committer::new();
    let first = committer.commit(vec![vec![committer.plain("a")]]);
    let first = recorded_id(&first[0]);
    let skip = |committer: &Committer, content, until| {
        vec![committer.checked(content, DuplicatePolicy::Skip, nothing_seen(until), 10)]
    };
    let group = vec![
        skip(&committer, "a", 0),
        skip(&committer, "a", 1),
        skip(&committer, "a", 0),
        skip(&committer, "b", 0),
        vec![committer.plain("c")],
        skip(&committer, "c", 1),
        skip(&committer, "b", 1),
    ];
    let answers = committer.commit(group);
    let actions: Vec<_> = [0, 1, 2, 3, 5, 6]
        .map(|at| outcome_of(&answers[at]).action)
        .into();
    let (skipped, recorded) = (RecordAction::Skipped, RecordAction::Recorded);
    // The second one says that it has looked at the row of the first, and found nothing.
    assert_eq!(
        actions,
        [skipped, recorded, skipped, recorded, skipped, skipped]
    );
    assert_eq!(outcome_of(&answers[0]).id, first);
    let both: Vec<_> = outcome_of(&answers[2])
        .duplicates
        .iter()
        .map(|one| one.id)
        .collect();
    assert_eq!(both, [first, outcome_of(&answers[1]).id]);
    assert_eq!(outcome_of(&answers[5]).id, recorded_id(&answers[4]));
    assert_eq!(committer.rows(), 4);
    assert_eq!(committer.read.get(), 1, "each body is read once");
}

#[test]
fn too_much_since_the_snapshot_changes_nothing() {
    let mut committer = Committer::new();
    for content in ["a", "b", "c"] {
        committer.commit(vec![vec![committer.plain(content)]]);
    }
    let ask = |committer: &Committer, most| {
        committer.checked("x", DuplicatePolicy::Skip, nothing_seen(1), most)
    };
    let group = vec![
        vec![
            committer.plain("before"),
            ask(&committer, 2),
            committer.plain("behind"),
        ],
        vec![ask(&committer, 2)],
        vec![ask(&committer, 2)],
        vec![ask(&committer, 3)],
    ];
    let answers = committer.commit(group);
    // The first request has a row of its own before the one that asks.
    assert!(answers[0].as_ref().unwrap().contains(&Reply::LookAgain));
    assert_eq!(outcome_of(&answers[1]).action, RecordAction::Recorded);
    assert_eq!(answers[2].as_deref().unwrap(), [Reply::LookAgain]);
    assert_eq!(outcome_of(&answers[3]).id, outcome_of(&answers[1]).id);
    assert_eq!(committer.rows(), 4, "the first request left no trace");
}

#[test]
fn what_was_seen_counts_as_long_as_it_lives() {
    let mut committer = Committer::new();
    let ids: Vec<ExperienceId> = ["a", "a", "a"]
        .map(|content| recorded_id(&committer.commit(vec![vec![committer.plain(content)]])[0]))
        .into();
    let found = |row: usize| Found {
        row: row as u32,
        id: ids[row].as_u128(),
        similarity: None,
        same_content: true,
    };
    let seen = |more| Sighting {
        until: 3,
        found: vec![found(0), found(1)],
        more,
    };
    let ask = |committer: &Committer, more| {
        vec![committer.checked("a", DuplicatePolicy::Reinforce, seen(more), 0)]
    };
    let group = vec![
        ask(&committer, true),
        vec![Change::Delete(ids[0])],
        ask(&committer, true),
        vec![Change::Delete(ids[1])],
        ask(&committer, true),
        ask(&committer, false),
    ];
    let answers = committer.commit(group);
    assert_eq!(outcome_of(&answers[0]).id, ids[0]);
    assert_eq!(outcome_of(&answers[2]).id, ids[1]);
    assert_eq!(outcome_of(&answers[2]).duplicates.len(), 1);
    assert_eq!(
        answers[4].as_deref().unwrap(),
        [Reply::LookAgain],
        "others may be there"
    );
    assert_eq!(outcome_of(&answers[5]).action, RecordAction::Recorded);
}

#[test]
fn only_what_has_expired_by_the_committers_clock_is_deleted() {
    let mut committer = Committer::new();
    let brief = |committer: &Committer, ms: i64, pinned| {
        let new = NewExperience {
            expires_at: Some(Timestamp::from_millis(START.as_millis() + ms)),
            pinned,
            ..NewExperience::new(committer.team, "agent", "brief")
        };
        Change::Record(
            Draft::experience(new)
                .unwrap()
                .embed(&[1.0, 1.0], 2, None)
                .unwrap(),
        )
    };
    let group = [(10, false), (10, true), (99, false), (10, false)]
        .map(|(ms, pinned)| vec![brief(&committer, ms, pinned)]);
    let answers = committer.commit(group.into());
    let ids: Vec<ExperienceId> = answers.iter().map(recorded_id).collect();
    let expire = || vec![Change::Expire(ids.clone())];
    let counts = |answers: Vec<Answer>| -> Vec<Reply> {
        answers.into_iter().flat_map(Result::unwrap).collect()
    };
    let early = committer.commit(vec![expire()]);
    assert_eq!(counts(early), [Reply::Count(0)]);
    committer
        .env
        .set_now(Timestamp::from_millis(START.as_millis() + 10));
    // Twice in one group: what is deleted is deleted.
    let answers = committer.commit(vec![expire(), expire()]);
    assert_eq!(counts(answers), [Reply::Count(2), Reply::Count(0)]);
}

#[test]
fn only_what_is_cold_by_the_committers_clock_is_archived() {
    let mut committer = Committer::new();
    let one = |committer: &Committer, importance| {
        let new = NewExperience {
            importance,
            ..NewExperience::new(committer.team, "agent", "fading")
        };
        let draft = Draft::experience(new).unwrap();
        vec![Change::Record(draft.embed(&[1.0, 1.0], 2, None).unwrap())]
    };
    let group = [0.01, 0.08, 0.08, 1.0].map(|importance| one(&committer, importance));
    let answers = committer.commit(group.into());
    let ids: Vec<ExperienceId> = answers.iter().map(recorded_id).collect();
    let archive = |asked| {
        let ids = ids.clone();
        vec![Change::ArchiveCold { ids, asked }]
    };
    let counts = |answers: Vec<Answer>| -> Vec<Reply> {
        answers.into_iter().flat_map(Result::unwrap).collect()
    };
    // The collective wants it by call alone.
    let answers = committer.commit(vec![archive(false), archive(true), archive(true)]);
    let count = Reply::Count;
    assert_eq!(counts(answers), [count(0), count(1), count(0)]);
    committer
        .env
        .advance(std::time::Duration::from_secs(30 * 24 * 3600));
    // Decided by what comes before in the same group: one was used, and the rules were changed.
    let decay = |auto_archive_below_floor| {
        let decay = DecayConfig {
            auto_archive_below_floor,
            ..DecayConfig::default()
        };
        vec![Change::SetDecay(committer.team, decay)]
    };
    let group = vec![
        vec![Change::Reinforce(ids[1])],
        decay(true),
        archive(false),
        decay(false),
        archive(false),
    ];
    let answers = counts(committer.commit(group));
    assert_eq!([&answers[2], &answers[4]], [&count(1), &count(0)]);
}
