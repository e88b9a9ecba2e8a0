//! Does the past stay what it was?

use std::time::Duration;

use pulsedb::{
    CollectiveId, CompactionConfig, Config, Experience, ExperienceUpdate, Lsn, Page, PulseDB,
    PulseDBError, RetentionConfig, Snapshot,
};

use super::support::{START, World, config, new, refused_field, run};

fn keeping(bytes: u64, time: Duration) -> Config {
    Config {
        retention: RetentionConfig { bytes, time },
        compaction: CompactionConfig {
            automatic: false,
            ..CompactionConfig::default()
        },
        ..config()
    }
}

type Seen = Vec<(String, Vec<Experience>)>;

async fn seen(snapshot: &Snapshot) -> Seen {
    let mut all = Vec::new();
    for collective in snapshot.list_collectives().await.unwrap() {
        let page = Page {
            limit: 1000,
            ..Page::default()
        };
        let listed = snapshot
            .list_experiences(collective.id, page)
            .await
            .unwrap();
        for one in &listed.items {
            assert_eq!(snapshot.get_experience(one.id).await.unwrap(), *one);
        }
        let hits = snapshot
            .search_similar(collective.id, &[1.0, 2.0, 3.0, 4.0], 1000)
            .await
            .unwrap();
        let living = listed.items.iter().filter(|one| !one.archived).count();
        assert_eq!(hits.len(), living);
        all.push((collective.name, listed.items));
    }
    all
}

/// Makes a change of some kind; the kinds follow each other.
async fn change(db: &PulseDB, team: CollectiveId, number: usize) {
    let page = Page {
        limit: 1000,
        ..Page::default()
    };
    let all = db.list_experiences(team, page).await.unwrap().items;
    let any = all.get(number * 7 % all.len().max(1)).map(|one| one.id);
    match (number % 7, any) {
        (1, Some(id)) => db.reinforce_experience(id).await.map(drop).unwrap(),
        (2, Some(id)) => {
            let update = ExperienceUpdate {
                importance: Some(0.25),
                domain: Some(vec![format!("domain-{number}")]),
                ..ExperienceUpdate::default()
            };
            db.update_experience(id, update).await.unwrap();
        }
        (3, Some(id)) => db.set_tag(id, "number", &number.to_string()).await.unwrap(),
        (4, Some(id)) => db.archive_experience(id).await.unwrap(),
        (5, Some(id)) => db.delete_experience(id).await.unwrap(),
        (6, _) => {
            let other = db
                .create_collective(&format!("team-{number}"))
                .await
                .unwrap();
            db.record_experience(new(other, "elsewhere")).await.unwrap();
            let all = db.list_collectives().await.unwrap();
            if all.len() > 3 {
                db.delete_collective(all[1].id).await.unwrap();
            }
        }
        _ => {
            let batch = (0..3).map(|at| new(team, format!("{number}.{at} {}", "x".repeat(600))));
            db.record_experiences(batch.collect()).await.unwrap();
        }
    }
}

#[test]
fn every_moment_within_the_retention_can_be_seen_again() {
    run(async {
        let world = World::with(keeping(u64::MAX / 2, Duration::ZERO));
        let mut db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let mut moments: Vec<(Lsn, pulsedb::Timestamp, Seen)> = Vec::new();
        for number in 0..120 {
            world.env.advance(Duration::from_millis(10));
            change(&db, team, number).await;
            let snapshot = db.snapshot().await.unwrap();
            let now = pulsedb::Timestamp::from_millis(START.as_millis() + 10 * (number as i64 + 1));
            moments.push((snapshot.cursor().lsn, now, seen(&snapshot).await));
            match number {
                40 | 100 => {
                    db.compact().await.unwrap();
                }
                70 => {
                    db.close().await.unwrap();
                    db = world.open().await;
                }
                _ => {}
            }
        }
        for (lsn, time, then) in &moments {
            let snapshot = db.snapshot_at(*lsn).await.unwrap();
            assert_eq!(snapshot.cursor().lsn, *lsn);
            assert_eq!(&seen(&snapshot).await, then, "at {lsn}");
            let snapshot = db.snapshot_at_time(*time).await.unwrap();
            assert_eq!(snapshot.cursor().lsn, *lsn);
            assert_eq!(&seen(&snapshot).await, then, "at {time}");
        }
        // Within a commit means before it.
        let batch = vec![new(team, "a"), new(team, "b")];
        let (before, _, then) = moments.last().unwrap();
        db.record_experiences(batch).await.unwrap();
        let inside = Lsn::new(before.get() + 1);
        let snapshot = db.snapshot_at(inside).await.unwrap();
        assert_eq!(&seen(&snapshot).await, then);
        let after = Lsn::new(db.current_cursor().await.unwrap().lsn.get() + 1);
        assert_eq!(refused_field(db.snapshot_at(after).await), "lsn");
        db.close().await.unwrap();
    });
}

#[test]
fn without_retention_only_what_is_held_can_be_seen() {
    run(async {
        let world = World::with(keeping(0, Duration::ZERO));
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        for number in 0..30 {
            change(&db, team, number).await;
        }
        let held = db.snapshot().await.unwrap();
        let then = seen(&held).await;
        for number in 30..60 {
            change(&db, team, number).await;
        }
        db.compact().await.unwrap();
        assert_eq!(seen(&held).await, then);
        let again = db.snapshot_at(held.cursor().lsn).await.unwrap();
        assert_eq!(seen(&again).await, then);
        let lsn = held.cursor().lsn;
        drop((held, again));
        for number in 60..70 {
            change(&db, team, number).await;
        }
        assert_eq!(refused_field(db.snapshot_at(lsn).await), "lsn");
        db.close().await.unwrap();
    });
}

#[test]
fn a_span_of_time_is_kept_and_no_more() {
    run(async {
        let world = World::with(keeping(0, Duration::from_secs(60)));
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let mut moments = Vec::new();
        for number in 0..100 {
            world.env.advance(Duration::from_secs(2));
            change(&db, team, number).await;
            moments.push(db.current_cursor().await.unwrap().lsn);
        }
        db.compact().await.unwrap();
        for lsn in &moments[71..] {
            db.snapshot_at(*lsn).await.unwrap();
        }
        for lsn in &moments[..60] {
            assert_eq!(refused_field(db.snapshot_at(*lsn).await), "lsn");
        }
        db.close().await.unwrap();
    });
}

/// What a snapshot shows stays there when the database is closed, compacted by another, and gone.
#[test]
fn a_snapshot_outlives_its_database() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            segment_pool: 2,
            ..keeping(0, Duration::ZERO)
        };
        let db = PulseDB::open(dir.path(), config.clone()).await.unwrap();
        let team = db.create_collective("team").await.unwrap();
        for number in 0..1_000 {
            let content = format!("{number} {}", "words ".repeat(100));
            db.record_experience(new(team, content)).await.unwrap();
        }
        let held = db.snapshot().await.unwrap();
        let then = seen(&held).await;
        db.close().await.unwrap();
        let db = PulseDB::open(dir.path(), config).await.unwrap();
        db.delete_collective(team).await.unwrap();
        db.compact().await.unwrap();
        let team = db.create_collective("other").await.unwrap();
        for number in 0..1_000 {
            let content = format!("{number} {}", "other ".repeat(100));
            db.record_experience(new(team, content)).await.unwrap();
        }
        assert_eq!(seen(&held).await, then);
        db.close().await.unwrap();
    });
}

/// It keeps no history of its own, and says so.
#[test]
fn a_handle_that_only_reads_shows_nothing_but_the_newest() {
    run(async {
        let world = World::with(keeping(u64::MAX / 2, Duration::ZERO));
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        db.record_experience(new(team, "first")).await.unwrap();
        let older = db.current_cursor().await.unwrap().lsn;
        world.env.advance(Duration::from_secs(60));
        db.record_experience(new(team, "second")).await.unwrap();
        assert_eq!(db.snapshot_at(older).await.unwrap().cursor().lsn, older);
        let reader = world.open_read_only().await;
        let newest = reader.current_cursor().await.unwrap().lsn;
        let shown = reader.snapshot_at(newest).await.unwrap();
        assert_eq!(shown.cursor().lsn, newest);
        for refused in [
            reader.snapshot_at(older).await,
            reader.snapshot_at_time(START).await,
        ] {
            assert!(matches!(refused, Err(PulseDBError::ReadOnly { .. })));
        }
        reader.close().await.unwrap();
        let closed = reader.snapshot_at(older).await;
        assert!(matches!(closed, Err(PulseDBError::Closed)));
        db.close().await.unwrap();
    });
}
