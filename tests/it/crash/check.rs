//! Is what a crash or a fault left behind something that may be left?

use pulsedb::{
    NewExperience, SyncMode, blocking,
    sim::{SimVfs, Survival},
};

use super::{
    model::{self, State},
    workload::{Plan, Run},
};

impl Plan {
    /// Opens what a crash or fault left, with nothing else done to it.
    pub fn recover(&self, vfs: &SimVfs) -> blocking::PulseDB {
        let db = self.open(vfs, 1_000);
        db.unwrap_or_else(|error| panic!("{error}: {:#?}", vfs.trace()))
            .into()
    }
}

/// Recovers what the run left, compares, goes on, and recovers once more.
pub fn verify(plan: &Plan, run: &Run, survival: Survival) {
    let vfs = run.vfs.reboot(survival);
    let db = plan.recover(&vfs);
    let found = State::read(&db).unwrap();
    check_state(plan, run, survival, &found);
    check_report(plan, run, survival, &db);
    go_on(plan, run, db, &found);
    let db = blocking::PulseDB::from(plan.open(&vfs, 1_001).unwrap());
    let health = db.health_check().unwrap();
    assert!(
        health.recovery.clean && health.recovery.damaged.is_empty(),
        "{health:?}"
    );
    let mut expected = found;
    expected
        .teams
        .insert("after".to_owned(), std::rc::Rc::new(model::Team::empty()));
    let again = State::read(&db).unwrap();
    assert_eq!(again.teams["after"].known.len(), 1);
    expected.team("after").known = again.teams["after"].known.clone();
    assert_eq!(expected.difference(&again), None);
    db.close().unwrap();
}

/// Is what was found something that may be left?
pub fn check_state(plan: &Plan, run: &Run, survival: Survival, found: &State) {
    let mut may_be_lost = 1;
    if plan.mode == SyncMode::Fast && (survival != Survival::KeepAll || run.lying) {
        may_be_lost = run.history.len() - run.safe;
    }
    let newest = run.history.iter().rev().take(may_be_lost);
    let mut differences = Vec::new();
    for candidate in run.pending.iter().chain(newest) {
        match candidate.difference(found) {
            None => return,
            Some(difference) => differences.push(difference),
        }
    }
    panic!(
        "after {:?}: {:#?}\nwith {survival:?}, operations {:#?}",
        run.failure,
        &differences[..differences.len().min(4)],
        run.vfs.trace()
    );
}

fn check_report(plan: &Plan, run: &Run, survival: Survival, db: &blocking::PulseDB) {
    let health = db.health_check().unwrap();
    let report = &health.recovery;
    assert!(report.damaged.is_empty(), "{report:?}");
    if let Some(clean) = run.clean {
        assert_eq!(report.clean, clean, "{report:?}");
    }
    let timeline = db.current_cursor().unwrap().timeline;
    if let (Some(before), Some(clean)) = (run.timeline, run.clean) {
        let expected = if plan.mode == SyncMode::Fast && !clean {
            before.get() + 1
        } else {
            before.get()
        };
        assert_eq!(timeline.get(), expected, "{survival:?}, {report:?}");
    }
}

/// Writing goes on, with an LSN that nobody has heard of before.
fn go_on(plan: &Plan, run: &Run, db: blocking::PulseDB, found: &State) {
    let before = db.current_cursor().unwrap().lsn.get();
    let issued = run.newest_lsn.max(before);
    // The key of a request that was acknowledged is still known.
    for team in found.teams.values() {
        for known in team.known.values().filter(|one| one.key.is_some()).take(2) {
            let again = db.record_experience(NewExperience {
                embedding: Some(known.embedding.clone()),
                idempotency_key: known.key.clone(),
                ..NewExperience::new(team.id.unwrap(), "agent", "again")
            });
            assert_eq!(again.unwrap(), known.id.unwrap());
        }
    }
    assert_eq!(db.current_cursor().unwrap().lsn.get(), before);
    let team = db.create_collective("after").unwrap();
    let first = db.current_cursor().unwrap().lsn.get();
    assert!(first > issued, "LSN {first} was issued before ({issued})");
    db.record_experience(NewExperience {
        embedding: Some(vec![0.5; plan.config().embedding_dimension.get()]),
        ..NewExperience::new(team, "agent", "written after the recovery")
    })
    .unwrap();
    db.close().unwrap();
}
