//! Is everything listed in the order that was asked for, within its bounds, and as of one moment?

use std::{
    ops::{Bound, RangeBounds},
    time::Duration,
};

use futures_util::{FutureExt, StreamExt};
use pulsedb::{
    CollectiveId, DecayConfig, Direction, Experience, ExperienceId, ExperienceUpdate,
    ImportOptions, NewExperience, OrderBy, Page, PulseDB, SearchFilter, SearchOptions, Timestamp,
    sim::Survival,
};
use serde_json::Value;

use crate::{
    support::{START, World, new, run},
    transfer::{changed, import, lines},
};

fn after(millis: i64) -> Timestamp {
    Timestamp::from_millis(START.as_millis() + millis)
}

/// A collective whose rows stand in the order of time and of ids.
async fn in_order(world: &World, db: &PulseDB) -> CollectiveId {
    let team = db.create_collective("team").await.unwrap();
    for number in 0..60 {
        if number % 3 == 0 {
            world.env.advance(Duration::from_millis(2));
        }
        db.record_experience(new(team, number.to_string()))
            .await
            .unwrap();
    }
    team
}

/// The same beside experiences from elsewhere, which are older, younger and in between.
async fn out_of_order(world: &World, db: &PulseDB) -> CollectiveId {
    let team = in_order(world, db).await;
    let donor = World::new().open().await;
    let lent = donor.create_collective("lent").await.unwrap();
    for number in 0..40 {
        donor
            .record_experience(new(lent, format!("lent {number}")))
            .await
            .unwrap();
    }
    let mut number = 0;
    let scattered = changed(&lines(&donor, lent).await, |one| {
        number += 1;
        let at = START.as_millis() + number * 7 % 60 - 10;
        one["timestamp"] = Value::from(at);
        one["id"] = Value::from(format!(
            "{:08x}-0000-7000-8000-{number:012x}",
            number * 77 % 41
        ));
    });
    let report = import(db, Some(team), &scattered, ImportOptions::default()).await;
    assert_eq!(report.unwrap().created, 40);
    for number in 0..5 {
        world.env.advance(Duration::from_millis(1));
        db.record_experience(new(team, format!("later {number}")))
            .await
            .unwrap();
    }
    team
}

fn sorted(mut all: Vec<Experience>, page: &Page) -> Vec<Experience> {
    all.retain(|one| {
        (page.from, page.to).contains(&one.timestamp)
            && (page.from_id, page.to_id).contains(&one.id)
    });
    match page.order_by {
        OrderBy::Time => all.sort_by_key(|one| (one.timestamp, one.id)),
        OrderBy::Id => all.sort_by_key(|one| one.id),
    }
    if page.direction == Direction::Descending {
        all.reverse();
    }
    all
}

async fn listed(db: &PulseDB, team: CollectiveId, mut page: Page) -> Vec<Experience> {
    let mut all = Vec::new();
    loop {
        let found = db.list_experiences(team, page.clone()).await.unwrap();
        all.extend(found.items);
        match found.next {
            Some(next) => page.after = Some(next),
            None => return all,
        }
    }
}

fn contents(all: &[Experience]) -> Vec<&str> {
    all.iter().map(|one| one.content.as_str()).collect()
}

/// All of a collective, found one by one.
async fn all_of(db: &PulseDB, team: CollectiveId) -> Vec<Experience> {
    let hits = db
        .search_similar(team, &[1.0, 2.0, 3.0, 4.0], 1000)
        .await
        .unwrap();
    hits.into_iter().map(|hit| hit.experience).collect()
}

async fn check_orders(db: &PulseDB, team: CollectiveId) {
    let all = all_of(db, team).await;
    let middle = sorted(all.clone(), &Page::default())[all.len() / 2].clone();
    let times = [
        Bound::Unbounded,
        Bound::Included(middle.timestamp),
        Bound::Excluded(middle.timestamp),
    ];
    let ids = [
        Bound::Unbounded,
        Bound::Included(middle.id),
        Bound::Excluded(middle.id),
    ];
    for order_by in [OrderBy::Time, OrderBy::Id] {
        for direction in [Direction::Ascending, Direction::Descending] {
            for (from, from_id) in times.iter().flat_map(|time| ids.map(|id| (*time, id))) {
                for (to, to_id) in [(from, Bound::Unbounded), (Bound::Unbounded, from_id)] {
                    // Bounds at both ends, in turn at the same key.
                    let page = Page {
                        order_by,
                        direction,
                        limit: 17,
                        from,
                        to: if to_id == Bound::Unbounded {
                            to
                        } else {
                            Bound::Unbounded
                        },
                        from_id,
                        to_id,
                        ..Page::default()
                    };
                    let expected = sorted(all.clone(), &page);
                    let found = listed(db, team, page.clone()).await;
                    assert_eq!(contents(&found), contents(&expected), "{page:?}");
                    let stream = db.stream_experiences(team, page.clone()).await.unwrap();
                    let streamed: Vec<Experience> = stream.map(Result::unwrap).collect().await;
                    assert_eq!(streamed, found, "{page:?}");
                }
            }
        }
    }
    let by_time = sorted(all.clone(), &Page::default());
    assert_eq!(db.first_n(team, 5).await.unwrap(), by_time[..5]);
    let newest: Vec<_> = by_time.iter().rev().take(20).cloned().collect();
    assert_eq!(db.last_n(team, 20).await.unwrap(), newest);
    assert_eq!(db.get_recent_experiences(team, 20).await.unwrap(), newest);
    let stats = db.get_collective_stats(team).await.unwrap();
    assert_eq!(stats.oldest, by_time.first().map(|one| one.timestamp));
    assert_eq!(stats.newest, by_time.last().map(|one| one.timestamp));
    // Searches go by time, too.
    for (since, until) in [(Some(2), Some(9)), (None, Some(3)), (Some(30), None)] {
        for agent in [None, Some("agent")] {
            let filter = SearchFilter {
                since: since.map(after),
                until: until.map(after),
                source_agents: agent.into_iter().map(Into::into).collect(),
                ..SearchFilter::default()
            };
            let page = Page {
                from: since.map_or(Bound::Unbounded, |at| Bound::Included(after(at))),
                to: until.map_or(Bound::Unbounded, |at| Bound::Excluded(after(at))),
                order_by: OrderBy::Id,
                ..Page::default()
            };
            let hits = db
                .search_similar_filtered(team, &[1.0, 2.0, 3.0, 4.0], 1000, filter)
                .await
                .unwrap();
            let found: Vec<_> = hits.into_iter().map(|hit| hit.experience).collect();
            assert_eq!(found, sorted(all.clone(), &page), "ties by id");
        }
    }
}

#[test]
fn rows_in_order_are_listed_by_every_bound() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = in_order(&world, &db).await;
        check_orders(&db, team).await;
    });
}

#[test]
fn rows_out_of_order_are_listed_by_every_bound() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = out_of_order(&world, &db).await;
        check_orders(&db, team).await;
        // Rows that come later are found by the index that is there.
        for one in db.last_n(team, 3).await.unwrap() {
            db.delete_experience(one.id).await.unwrap();
        }
        db.record_experience(new(team, "last")).await.unwrap();
        check_orders(&db, team).await;
        // After a crash, by the replay of the log.
        drop(db);
        let world = World {
            path: world.path.clone(),
            config: world.config.clone(),
            vfs: world.vfs.reboot(Survival::DropAll),
            env: world.env.clone(),
        };
        let db = world.open().await;
        check_orders(&db, team).await;
        db.compact().await.unwrap();
        check_orders(&db, team).await;
        db.checkpoint().await.unwrap();
        db.close().await.unwrap();
        // From a checkpoint, with rows behind it.
        let db = world.open().await;
        check_orders(&db, team).await;
        db.record_experience(new(team, "behind")).await.unwrap();
        check_orders(&db, team).await;
        assert!(db.verify().await.unwrap().is_clean());
    });
}

#[test]
fn a_stream_shows_one_moment_whatever_happens_meanwhile() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = in_order(&world, &db).await;
        let page = Page {
            limit: 7,
            ..Page::default()
        };
        let before = listed(&db, team, page.clone()).await;
        let mut stream = db.stream_experiences(team, page).await.unwrap();
        let mut seen = vec![stream.recv().await.unwrap().unwrap()];
        for one in &before[..50] {
            db.delete_experience(one.id).await.unwrap();
        }
        db.record_experience(new(team, "new")).await.unwrap();
        db.compact().await.unwrap();
        // Futures that are dropped half way lose nothing.
        while seen.len() < 40 {
            match stream.recv().now_or_never() {
                Some(next) => seen.push(next.unwrap().unwrap()),
                None => tokio::task::yield_now().await,
            }
        }
        db.close().await.unwrap();
        while let Some(one) = stream.recv().await {
            seen.push(one.unwrap());
        }
        assert_eq!(seen, before);
    });
}

#[test]
fn a_stream_of_a_snapshot_is_that_of_its_moment() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = in_order(&world, &db).await;
        let snapshot = db.snapshot().await.unwrap();
        let before = db.first_n(team, 1000).await.unwrap();
        db.delete_experience(before[3].id).await.unwrap();
        let stream = snapshot
            .stream_experiences(team, Page::default())
            .await
            .unwrap();
        let seen: Vec<Experience> = stream.map(Result::unwrap).collect().await;
        assert_eq!(seen, before);
        assert_eq!(snapshot.first_n(team, 1000).await.unwrap(), before);
        assert_eq!(
            db.first_n(team, 1000).await.unwrap().len(),
            before.len() - 1
        );
    });
}

#[test]
fn what_has_cooled_down_is_listed_coldest_first() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let decay = DecayConfig {
            half_life_ms: 1000,
            floor: 0.1,
            ..DecayConfig::default()
        };
        db.set_decay_config(team, decay.clone()).await.unwrap();
        let mut ids = Vec::new();
        for (importance, pinned) in [
            (0.8, false),
            (0.2, false),
            (0.4, false),
            (0.4, false),
            (0.1, true),
            (0.1, false),
        ] {
            let one = NewExperience {
                importance,
                pinned,
                ..new(team, importance.to_string())
            };
            ids.push(db.record_experience(one).await.unwrap());
        }
        let cold = async |limit| -> Vec<ExperienceId> {
            let cold = db.list_cold_experiences(team, limit).await.unwrap();
            cold.iter().map(|one| one.id).collect()
        };
        assert_eq!(cold(10).await, [], "at the floor is not below it");
        world.env.advance(Duration::from_millis(1500));
        assert_eq!(cold(10).await, [ids[5], ids[1]]);
        let then = db.snapshot().await.unwrap();
        world.env.advance(Duration::from_millis(1000));
        assert_eq!(
            cold(10).await,
            [ids[5], ids[1], ids[2], ids[3]],
            "ties by id"
        );
        assert_eq!(cold(2).await, [ids[5], ids[1]]);
        let earlier = then.list_cold_experiences(team, 10).await.unwrap();
        assert_eq!(earlier.len(), 2);
        db.archive_experience(ids[5]).await.unwrap();
        db.reinforce_experience(ids[1]).await.unwrap();
        assert_eq!(cold(10).await, [ids[2], ids[3]]);
        let energies = db.energies(&ids).await.unwrap();
        for (id, energy) in ids.iter().zip(energies) {
            assert_eq!(energy, Some(db.energy(*id).await.unwrap()));
        }
        db.delete_experience(ids[2]).await.unwrap();
        assert_eq!(db.energies(&ids[2..4]).await.unwrap()[0], None);
        db.checkpoint().await.unwrap();
        db.close().await.unwrap();
        let db = world.open().await;
        let cold = db.list_cold_experiences(team, 10).await.unwrap();
        assert_eq!(contents(&cold), ["0.4"]);
    });
}

#[test]
fn what_holds_at_a_moment_is_found_as_of_it() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let mut ids = Vec::new();
        for (from, to) in [
            (None, None),
            (Some(10), None),
            (None, Some(20)),
            (Some(10), Some(20)),
        ] {
            let one = NewExperience {
                valid_from: from.map(after),
                valid_to: to.map(after),
                domain: vec!["all".into()],
                ..new(team, format!("{from:?} {to:?}"))
            };
            ids.push(db.record_experience(one).await.unwrap());
        }
        let check = async |db: &PulseDB, expected: [(i64, &[usize]); 5]| {
            for (at, expected) in expected {
                let as_of = Some(after(at));
                for domains in [Vec::new(), vec!["all".to_owned()]] {
                    let filter = SearchFilter {
                        as_of,
                        domains,
                        ..SearchFilter::default()
                    };
                    let expected: Vec<_> = expected.iter().map(|nth| ids[*nth]).collect();
                    let page = Page {
                        filter: filter.clone(),
                        ..Page::default()
                    };
                    let found = listed(db, team, page).await;
                    assert_eq!(
                        found.iter().map(|one| one.id).collect::<Vec<_>>(),
                        expected,
                        "{at}"
                    );
                    for exact in [false, true] {
                        let options = SearchOptions {
                            k: 10,
                            filter: filter.clone(),
                            exact,
                            ..SearchOptions::default()
                        };
                        let hits = db
                            .search(team, &[1.0, 2.0, 3.0, 4.0], options)
                            .await
                            .unwrap();
                        let hits: Vec<_> = hits.iter().map(|hit| hit.experience.id).collect();
                        assert_eq!(hits, expected, "{at}");
                    }
                    for id in &ids {
                        let found = db.get_experience_as_of(*id, after(at)).await;
                        assert_eq!(found.is_ok(), expected.contains(id), "{at}");
                    }
                }
            }
        };
        let all: &[usize] = &[0, 1, 2, 3];
        let first = [
            (-5, &[0, 2][..]),
            (9, &[0, 2]),
            (10, all),
            (19, all),
            (20, &[0, 1]),
        ];
        check(&db, first).await;
        let update = |from: Option<i64>, to: Option<i64>| ExperienceUpdate {
            valid_from: Some(from.map(after)),
            valid_to: Some(to.map(after)),
            ..ExperienceUpdate::default()
        };
        db.update_experience(ids[0], update(Some(19), None))
            .await
            .unwrap();
        db.update_experience(ids[3], update(None, None))
            .await
            .unwrap();
        let then = [
            (-5, &[2, 3][..]),
            (9, &[2, 3]),
            (10, &[1, 2, 3]),
            (19, all),
            (20, &[0, 1, 3]),
        ];
        check(&db, then).await;
        db.close().await.unwrap();
        let db = world.open().await;
        check(&db, then).await;
        db.checkpoint().await.unwrap();
        db.close().await.unwrap();
        let db = world.open().await;
        check(&db, then).await;
    });
}
