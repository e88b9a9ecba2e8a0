//! Does one experience take the place of another in one commit?

use std::time::Duration;

use pulsedb::{ExperienceUpdate, NewExperience, PulseDBError, Timestamp, blocking, sim::Survival};

use super::support::{START, World, dump, everything, later, new, refused_field, run};

#[test]
fn the_new_one_is_recorded_and_the_old_one_ends() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let old = db.record_experience(new(team, "old")).await.unwrap();
        world.env.advance(Duration::from_secs(5));
        let next = db
            .supersede_experience(old, new(team, "new"))
            .await
            .unwrap();
        let (old, new_one) = (
            db.get_experience(old).await.unwrap(),
            db.get_experience(next).await.unwrap(),
        );
        assert_eq!(old.valid_to, Some(later(5_000)));
        assert_eq!((old.timestamp, old.updated_at), (START, later(5_000)));
        assert_eq!((new_one.timestamp, new_one.valid_to), (later(5_000), None));

        // Once more: its validity has ended already.
        world.env.advance(Duration::from_secs(5));
        db.supersede_experience(old.id, new(team, "newer"))
            .await
            .unwrap();
        let again = db.get_experience(old.id).await.unwrap();
        assert_eq!(again, old);
        let before = dump(&db).await;
        db.close().await.unwrap();
        let db = world.open().await;
        assert_eq!(dump(&db).await, before);
        db.close().await.unwrap();
    });
}

#[test]
fn what_cannot_be_superseded_changes_nothing() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let other = db.create_collective("other").await.unwrap();
        let elsewhere = db.record_experience(new(other, "elsewhere")).await.unwrap();
        let gone = db.record_experience(new(team, "gone")).await.unwrap();
        db.delete_experience(gone).await.unwrap();
        let brief = NewExperience {
            expires_at: Some(later(1)),
            ..new(team, "brief")
        };
        let brief = db.record_experience(brief).await.unwrap();
        let to_come = NewExperience {
            valid_from: Some(later(60_000)),
            ..new(team, "to come")
        };
        let to_come = db.record_experience(to_come).await.unwrap();
        world.env.advance(Duration::from_secs(1));
        let before = dump(&db).await;
        let supersede = |id| db.supersede_experience(id, new(team, "new"));
        for id in [gone, brief] {
            assert!(matches!(
                supersede(id).await,
                Err(PulseDBError::NotFound { .. })
            ));
        }
        let answer = supersede(elsewhere).await;
        assert!(
            matches!(answer, Err(PulseDBError::Conflict { .. })),
            "{answer:?}"
        );
        assert_eq!(refused_field(supersede(to_come).await), "valid_to");
        let empty = db.supersede_experience(elsewhere, new(other, " ")).await;
        assert_eq!(refused_field(empty), "content");
        assert_eq!(dump(&db).await, before);

        // An end that is to come stays.
        let update = ExperienceUpdate {
            valid_to: Some(Some(later(90_000))),
            ..ExperienceUpdate::default()
        };
        db.update_experience(to_come, update).await.unwrap();
        supersede(to_come).await.unwrap();
        let known = db.get_experience(to_come).await.unwrap();
        assert_eq!(known.valid_to, Some(later(90_000)));
        db.close().await.unwrap();
    });
}

#[test]
fn a_retry_with_a_key_changes_nothing() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let old = db.record_experience(new(team, "old")).await.unwrap();
        let keyed = NewExperience {
            idempotency_key: Some("key".into()),
            ..new(team, "new")
        };
        let next = db.supersede_experience(old, keyed.clone()).await.unwrap();
        let before = dump(&db).await;
        assert_eq!(
            db.supersede_experience(old, keyed.clone()).await.unwrap(),
            next
        );
        // Not even where the experience with the key is the one to be superseded.
        assert_eq!(
            db.supersede_experience(next, keyed.clone()).await.unwrap(),
            next
        );
        assert_eq!(dump(&db).await, before);
        // Nor where the old one went since.
        db.delete_experience(old).await.unwrap();
        assert_eq!(db.supersede_experience(old, keyed).await.unwrap(), next);
        assert_eq!(everything(&db, team).await.len(), 1);
        db.close().await.unwrap();
    });
}

#[test]
fn a_crash_at_every_operation_leaves_both_or_neither() {
    let prepare = |db: &blocking::PulseDB| {
        let team = db.create_collective("team").unwrap();
        (team, db.record_experience(new(team, "old")).unwrap())
    };
    let quiet = World::new();
    let db = quiet.open_blocking(false);
    let (team, old) = prepare(&db);
    let first = quiet.vfs.op_count();
    db.supersede_experience(old, new(team, "new")).unwrap();
    let end = quiet.vfs.op_count();
    db.close().unwrap();
    for op in first..end {
        let world = World::new();
        let db = world.open_blocking(false);
        let (team, old) = prepare(&db);
        world.vfs.crash_at(op);
        assert!(db.supersede_experience(old, new(team, "new")).is_err());
        let _ = db.close();
        for survival in [
            Survival::DropAll,
            Survival::KeepAll,
            Survival::Random { stale_bytes: true },
        ] {
            let left = World {
                vfs: world.vfs.reboot(survival),
                path: world.path.clone(),
                ..World::new()
            };
            let db = left.open_blocking(false);
            let all = db.get_recent_experiences(team, 10).unwrap();
            let ended = |valid_to: Option<Timestamp>| usize::from(valid_to.is_some());
            let ends: usize = all.iter().map(|one| ended(one.valid_to)).sum();
            assert_eq!(ends + 1, all.len(), "operation {op}, {survival:?}");
            db.close().unwrap();
        }
    }
}
