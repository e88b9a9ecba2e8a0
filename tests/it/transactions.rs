//! Do transactions happen at one moment, or not at all?
//!
//! Here: what one transaction sees and does, and which others it conflicts with, each thing that it may
//! have seen by a test of its own. `twin` compares what a transaction reads with a database that was
//! changed directly, `serial` looks for an order that explains what many transactions saw, `broken`
//! crashes at every operation of a commit.

use std::time::Duration;

use futures_util::{FutureExt, future::join_all};
use pulsedb::{
    CollectiveId, DecayConfig, EventType, ExperienceId, ExperienceUpdate, NewExperience, Page,
    PulseDB, PulseDBError, Result, SearchFilter, SearchOptions, Transaction, blocking,
};

use crate::support::{DIMENSION, World, contents, new, refused_field, run};

mod broken;
mod graph;
mod serial;
mod twin;

const VECTOR: [f32; DIMENSION] = [1.0, 2.0, 3.0, 4.0];

/// A database with a collective of two experiences.
struct Pair {
    world: World,
    db: PulseDB,
    team: CollectiveId,
    x: ExperienceId,
    y: ExperienceId,
}

impl Pair {
    async fn new() -> Self {
        let world = World::new();
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let x = db.record_experience(new(team, "x")).await.unwrap();
        let y = db.record_experience(new(team, "y")).await.unwrap();
        world.env.advance(Duration::from_secs(1));
        Self {
            world,
            db,
            team,
            x,
            y,
        }
    }

    async fn begin(&self) -> Transaction {
        self.db.begin().await.unwrap()
    }

    /// Somebody else changes `id`.
    async fn touch(&self, id: ExperienceId) {
        let now = self.db.current_cursor().await.unwrap().lsn.to_string();
        self.db.set_tag(id, "touched", &now).await.unwrap();
    }
}

/// Something to commit that nobody else can have anything against.
async fn write(tx: &mut Transaction, team: CollectiveId) -> ExperienceId {
    tx.record_experience(new(team, "mine")).await.unwrap()
}

#[track_caller]
fn conflict(answer: Result<()>) -> String {
    match answer {
        Err(PulseDBError::Conflict { what }) => what,
        other => panic!("no conflict: {other:?}"),
    }
}

const fn importance(importance: f32) -> ExperienceUpdate {
    ExperienceUpdate {
        importance: Some(importance),
        confidence: None,
        domain: None,
        tags: None,
        related_files: None,
        expires_at: None,
        valid_from: None,
        valid_to: None,
        pinned: None,
    }
}

#[test]
fn nobody_sees_anything_of_it_before_the_commit_and_all_of_it_after() {
    run(async {
        let pair = Pair::new().await;
        let mut tx = pair.begin().await;
        let before = pair.db.current_cursor().await.unwrap();
        assert_eq!(tx.cursor(), before);
        let other = tx.create_collective("other").await.unwrap();
        let there = tx.record_experience(new(other, "there")).await.unwrap();
        let here = write(&mut tx, pair.team).await;
        tx.set_tag(here, "key", "value").await.unwrap();
        assert_eq!(tx.reinforce_experience(here).await.unwrap(), 1);
        assert_eq!(tx.reinforce_experience(pair.x).await.unwrap(), 1);
        tx.update_experience(pair.x, importance(0.9)).await.unwrap();
        tx.archive_experience(pair.x).await.unwrap();
        tx.delete_experience(pair.y).await.unwrap();

        assert_eq!(pair.db.current_cursor().await.unwrap(), before);
        assert_eq!(pair.db.list_collectives().await.unwrap().len(), 1);
        assert!(pair.db.get_experience(here).await.is_err());
        assert_eq!(contents(&pair.db, pair.team).await.len(), 2);
        let own = tx.get_experience(here).await.unwrap();
        assert_eq!(own.tags["key"], "value");
        assert_eq!(tx.get_experience(pair.x).await.unwrap().importance, 0.9);
        assert!(tx.get_experience(pair.y).await.is_err());
        let ids = [here, pair.y, there, pair.x];
        let seen = tx.get_experiences(&ids).await.unwrap();
        let seen: Vec<bool> = seen.iter().map(Option::is_some).collect();
        assert_eq!(seen, [true, false, true, true]);
        assert_eq!(tx.list_collectives().await.unwrap().len(), 2);
        let recent = tx.get_recent_experiences(pair.team, 10).await.unwrap();
        assert_eq!(recent.len(), 1);
        let hits = tx.search_similar(other, &VECTOR, 3).await.unwrap();
        assert_eq!(hits[0].experience.id, there);
        assert_eq!(tx.energy(pair.x).await.unwrap(), 1.0);

        pair.world.env.advance(Duration::from_secs(60));
        tx.commit().await.unwrap();
        let shown = pair.db.get_experience(here).await.unwrap();
        assert_eq!(shown.applications(), 1);
        assert_eq!(shown.tags, own.tags);
        // Ids are final; the time is that of the commit.
        assert!(shown.timestamp > own.timestamp);
        let x = pair.db.get_experience(pair.x).await.unwrap();
        assert!((x.importance, x.archived, x.applications()) == (0.9, true, 1));
        assert!(pair.db.get_experience(pair.y).await.is_err());
        assert_eq!(
            pair.db.get_experience(there).await.unwrap().content,
            "there"
        );
        let dump = crate::support::dump(&pair.db).await;
        let report = pair.db.verify().await.unwrap();
        assert!(report.is_clean(), "{report:?}");
        pair.db.close().await.unwrap();
        let db = pair.world.open().await;
        assert_eq!(crate::support::dump(&db).await, dump);
        db.close().await.unwrap();
    });
}

#[test]
fn rolled_back_or_dropped_it_has_done_nothing() {
    run(async {
        let pair = Pair::new().await;
        let before = pair.db.current_cursor().await.unwrap();
        for rollback in [true, false] {
            let mut tx = pair.begin().await;
            write(&mut tx, pair.team).await;
            tx.delete_experience(pair.x).await.unwrap();
            if rollback {
                tx.rollback();
            }
        }
        let mut tx = pair.begin().await;
        drop(tx.set_tag(pair.x, "never", "polled"));
        assert!(tx.get_experience(pair.x).await.unwrap().tags.is_empty());
        tx.commit().await.unwrap();
        assert_eq!(pair.db.current_cursor().await.unwrap(), before);
        pair.db.close().await.unwrap();
    });
}

#[test]
fn its_snapshot_stays_whatever_others_do() {
    run(async {
        let pair = Pair::new().await;
        let mut tx = pair.begin().await;
        pair.touch(pair.x).await;
        pair.db.delete_experience(pair.y).await.unwrap();
        pair.db
            .record_experience(new(pair.team, "z"))
            .await
            .unwrap();
        pair.db.compact().await.unwrap();
        assert!(tx.get_experience(pair.x).await.unwrap().tags.is_empty());
        assert_eq!(tx.get_experience(pair.y).await.unwrap().content, "y");
        let page = tx
            .list_experiences(pair.team, Page::default())
            .await
            .unwrap();
        assert_eq!(page.items.len(), 2);
        let hits = tx.search_similar(pair.team, &VECTOR, 5).await.unwrap();
        assert_eq!(hits.len(), 2);
        // It has read one state, and writes nothing.
        tx.commit().await.unwrap();
        pair.db.close().await.unwrap();
    });
}

#[test]
fn a_lost_update_is_refused() {
    run(async {
        let pair = Pair::new().await;
        let (mut first, mut second) = (pair.begin().await, pair.begin().await);
        for tx in [&mut first, &mut second] {
            let seen = tx.get_experience(pair.x).await.unwrap().importance;
            tx.update_experience(pair.x, importance(seen / 2.0))
                .await
                .unwrap();
        }
        first.commit().await.unwrap();
        let what = conflict(second.commit().await);
        assert!(what.contains(&pair.x.to_string()), "{what}");
        let x = pair.db.get_experience(pair.x).await.unwrap();
        assert_eq!(x.importance, 0.25);
        pair.db.close().await.unwrap();
    });
}

#[test]
fn every_change_of_what_was_read_is_a_conflict() {
    run(async {
        let pair = Pair::new().await;
        for change in 0..10 {
            let db = &pair.db;
            let theirs = db.create_collective("theirs").await.unwrap();
            let id = db.record_experience(new(theirs, "z")).await.unwrap();
            let mut tx = pair.begin().await;
            match change % 2 {
                0 => drop(tx.get_experience(id).await.unwrap()),
                _ => drop(tx.get_experiences(&[pair.x, id]).await.unwrap()),
            }
            write(&mut tx, pair.team).await;
            match change {
                0 => db.set_tag(id, "a", "b").await.unwrap(),
                1 => db.update_experience(id, importance(0.1)).await.unwrap(),
                2 => db.archive_experience(id).await.unwrap(),
                3 => drop(db.reinforce_experience(id).await.unwrap()),
                4 | 5 => db.delete_experience(id).await.unwrap(),
                6 | 7 => db.delete_collective(theirs).await.unwrap(),
                // Nothing changes, or something else: no conflict.
                8 => db.unarchive_experience(id).await.unwrap(),
                _ => pair.touch(pair.y).await,
            }
            let committed = tx.commit().await;
            if change < 8 {
                let what = conflict(committed);
                assert!(what.contains(&id.to_string()), "{what}");
            } else {
                committed.unwrap();
            }
        }
        pair.db.close().await.unwrap();
    });
}

#[test]
fn write_skew_is_refused() {
    run(async {
        let pair = Pair::new().await;
        // Each archives one as long as the other is not archived.
        let (mut first, mut second) = (pair.begin().await, pair.begin().await);
        for (tx, read, written) in [(&mut first, pair.y, pair.x), (&mut second, pair.x, pair.y)] {
            assert!(!tx.get_experience(read).await.unwrap().archived);
            tx.archive_experience(written).await.unwrap();
        }
        first.commit().await.unwrap();
        conflict(second.commit().await);
        assert!(!pair.db.get_experience(pair.y).await.unwrap().archived);
        pair.db.close().await.unwrap();
    });
}

/// Fekete, O'Neil, O'Neil: "A read-only transaction anomaly under snapshot isolation", 2004.
#[test]
fn a_reader_between_two_writers_sees_an_order_that_there_is() {
    run(async {
        let pair = Pair::new().await;
        let mut withdrawal = pair.begin().await;
        for id in [pair.x, pair.y] {
            withdrawal.get_experience(id).await.unwrap();
        }
        withdrawal.set_tag(pair.x, "balance", "-11").await.unwrap();
        let mut deposit = pair.begin().await;
        deposit.set_tag(pair.y, "balance", "20").await.unwrap();
        deposit.commit().await.unwrap();
        let mut report = pair.begin().await;
        let seen = report.get_experiences(&[pair.x, pair.y]).await.unwrap();
        let balances = seen.into_iter().flatten().map(|one| one.tags.len());
        assert_eq!(balances.collect::<Vec<_>>(), [0, 1]);
        report.commit().await.unwrap();
        conflict(withdrawal.commit().await);
        pair.db.close().await.unwrap();
    });
}

#[test]
fn a_phantom_is_refused_however_the_collective_was_seen() {
    run(async {
        let pair = Pair::new().await;
        let unseen = pair.db.create_collective("unseen").await.unwrap();
        for way in 0..8 {
            for change in 0..6 {
                let team = pair.team;
                let doomed = pair.db.record_experience(new(team, "doomed"));
                let doomed = doomed.await.unwrap();
                let mut tx = pair.begin().await;
                let options = SearchOptions::default();
                match way {
                    0 => drop(tx.list_experiences(team, Page::default()).await.unwrap()),
                    1 => drop(tx.get_recent_experiences(team, 1).await.unwrap()),
                    2 => drop(tx.search_similar(team, &VECTOR, 1).await.unwrap()),
                    3 => drop(tx.search(team, &VECTOR, options).await.unwrap()),
                    4 => {
                        let batch = [VECTOR.to_vec()];
                        drop(tx.search_batch(team, &batch, options).await.unwrap());
                    }
                    5 | 6 => {
                        let filter = SearchFilter {
                            domains: vec!["none".into()],
                            ..SearchFilter::default()
                        };
                        let found = if way == 5 {
                            tx.search_similar_filtered(team, &VECTOR, 1, filter)
                                .await
                                .unwrap()
                                .len()
                        } else {
                            tx.get_recent_experiences_filtered(team, 1, filter)
                                .await
                                .unwrap()
                                .len()
                        };
                        assert_eq!(found, 0);
                    }
                    // Not seen at all.
                    _ => {}
                }
                tx.record_experience(new(unseen, "mine")).await.unwrap();
                let db = &pair.db;
                match change {
                    0 => drop(db.record_experience(new(team, "phantom")).await.unwrap()),
                    1 => pair.touch(pair.x).await,
                    2 => drop(db.reinforce_experience(pair.x).await.unwrap()),
                    3 => db.delete_experience(doomed).await.unwrap(),
                    4 => db
                        .set_decay_config(team, DecayConfig::default())
                        .await
                        .unwrap(),
                    // Another collective.
                    _ => drop(db.record_experience(new(unseen, "theirs")).await.unwrap()),
                }
                let committed = tx.commit().await;
                if way < 7 && change < 5 {
                    let what = conflict(committed);
                    assert!(what.contains(&team.to_string()), "{what}");
                } else {
                    committed.unwrap();
                }
            }
        }
        pair.db.close().await.unwrap();
    });
}

#[test]
fn what_was_not_there_is_seen_too() {
    run(async {
        let pair = Pair::new().await;
        let mut maker = pair.begin().await;
        let collective = maker.create_collective("new").await.unwrap();
        let id = maker.record_experience(new(collective, "n")).await.unwrap();
        let mut txs = Vec::new();
        for way in 0..4 {
            let mut tx = pair.begin().await;
            match way {
                0 => assert!(tx.get_experience(id).await.is_err()),
                1 => assert!(tx.delete_experience(id).await.is_err()),
                2 => assert!(tx.get_collective(collective).await.unwrap().is_none()),
                _ => {
                    let list = tx.list_experiences(collective, Page::default()).await;
                    assert!(list.is_err());
                }
            }
            write(&mut tx, pair.team).await;
            txs.push(tx);
        }
        maker.commit().await.unwrap();
        for tx in txs {
            conflict(tx.commit().await);
        }
        pair.db.close().await.unwrap();
    });
}

#[test]
fn definitions_are_seen() {
    run(async {
        let pair = Pair::new().await;
        let decay = |half_life_ms| DecayConfig {
            half_life_ms,
            ..DecayConfig::default()
        };
        // What was seen, and whether it conflicts with a new definition, a deletion, another
        // collective, a new experience.
        let cases = [
            (0, [true, true, false, false]),
            (1, [true, true, true, false]),
            (2, [true, true, false, false]),
            (3, [true, true, false, false]),
            (4, [false, true, false, false]),
        ];
        for (way, conflicts) in cases {
            for (change, conflicts) in conflicts.into_iter().enumerate() {
                let db = &pair.db;
                let seen = db.create_collective("seen").await.unwrap();
                let id = db.record_experience(new(seen, "s")).await.unwrap();
                let mut tx = pair.begin().await;
                match way {
                    0 => drop(tx.get_collective(seen).await.unwrap().unwrap()),
                    1 => assert!(!tx.list_collectives().await.unwrap().is_empty()),
                    2 => drop(tx.energy(id).await.unwrap()),
                    3 => tx.set_decay_config(seen, decay(7)).await.unwrap(),
                    // Recording needs the collective to be there.
                    _ => drop(tx.record_experience(new(seen, "t")).await.unwrap()),
                }
                write(&mut tx, pair.team).await;
                match change {
                    0 => db.set_decay_config(seen, decay(8)).await.unwrap(),
                    1 => db.delete_collective(seen).await.unwrap(),
                    2 => drop(db.create_collective("other").await.unwrap()),
                    _ => drop(db.record_experience(new(seen, "u")).await.unwrap()),
                }
                let committed = tx.commit().await;
                if conflicts {
                    conflict(committed);
                } else {
                    committed.unwrap();
                }
            }
        }
        pair.db.close().await.unwrap();
    });
}

#[test]
fn recording_conflicts_with_nobody() {
    run(async {
        let pair = Pair::new().await;
        let mut txs = Vec::new();
        for _ in 0..10 {
            let mut tx = pair.begin().await;
            let batch = (0..3).map(|n| new(pair.team, format!("{n}")));
            tx.record_experiences(batch.collect()).await.unwrap();
            txs.push(tx);
        }
        pair.touch(pair.x).await;
        for committed in join_all(txs.into_iter().map(Transaction::commit)).await {
            committed.unwrap();
        }
        let all = crate::support::everything(&pair.db, pair.team).await;
        assert_eq!(all.len(), 32);
        pair.db.close().await.unwrap();
    });
}

/// Many that are committed at once share groups: what the earlier ones of a group decide is not in the
/// tables yet.
#[test]
fn the_first_of_a_group_wins() {
    run(async {
        let pair = Pair::new().await;
        let other = pair.db.create_collective("other").await.unwrap();
        for round in 0..60 {
            let way = round % 6;
            let mut txs = Vec::new();
            for number in 0..12 {
                let mut tx = pair.begin().await;
                match way {
                    0 => tx.set_tag(pair.x, "n", &format!("{round}.{number}")).await,
                    1 => {
                        drop(tx.get_recent_experiences(pair.team, 1).await.unwrap());
                        write(&mut tx, pair.team).await;
                        Ok(())
                    }
                    2 => {
                        drop(tx.get_collective(other).await.unwrap());
                        let decay = DecayConfig {
                            half_life_ms: 1 + round,
                            ..DecayConfig::default()
                        };
                        tx.set_decay_config(other, decay).await
                    }
                    3 => {
                        let name = format!("{round}");
                        tx.get_or_create_collective(&name).await.map(drop)
                    }
                    4 => {
                        let keyed = NewExperience {
                            idempotency_key: Some(format!("{round}")),
                            ..new(pair.team, "keyed")
                        };
                        tx.record_experience(keyed).await.map(drop)
                    }
                    _ => {
                        // Half of them see the experience, the others its collective.
                        if number % 2 == 0 {
                            drop(tx.get_experience(pair.y).await.unwrap());
                        } else {
                            drop(tx.search_similar(pair.team, &VECTOR, 1).await.unwrap());
                        }
                        tx.reinforce_experience(pair.y).await.map(drop)
                    }
                }
                .unwrap();
                txs.push(tx);
            }
            let committed = join_all(txs.into_iter().map(Transaction::commit)).await;
            let (won, lost): (Vec<_>, Vec<_>) = committed.into_iter().partition(Result::is_ok);
            assert_eq!(won.len(), 1, "way {way}");
            lost.into_iter().for_each(|lost| drop(conflict(lost)));
        }
        pair.db.close().await.unwrap();
    });
}

#[test]
fn what_expires_before_the_commit_is_a_conflict() {
    run(async {
        let pair = Pair::new().await;
        let soon = pair.begin().await.now().as_millis() + 10;
        let id = pair
            .db
            .record_experience(NewExperience {
                expires_at: Some(pulsedb::Timestamp::from_millis(soon)),
                ..new(pair.team, "fleeting")
            })
            .await
            .unwrap();
        let (mut reads, mut writes) = (pair.begin().await, pair.begin().await);
        reads.get_experience(id).await.unwrap();
        write(&mut reads, pair.team).await;
        writes.set_tag(id, "a", "b").await.unwrap();
        let mut lists = pair.begin().await;
        lists.get_recent_experiences(pair.team, 5).await.unwrap();
        pair.world.env.advance(Duration::from_millis(10));
        // It goes on seeing what it saw.
        assert!(reads.get_experience(id).await.is_ok());
        conflict(reads.commit().await);
        conflict(writes.commit().await);
        lists.commit().await.unwrap();
        let mut tx = pair.begin().await;
        assert!(tx.get_experience(id).await.is_err());
        // Its own, too.
        let own = write(&mut tx, pair.team).await;
        let expires_at = Some(Some(tx.now()));
        let update = ExperienceUpdate {
            expires_at,
            ..ExperienceUpdate::default()
        };
        tx.update_experience(own, update).await.unwrap();
        assert!(tx.get_experience(own).await.is_err());
        tx.commit().await.unwrap();
        pair.db.close().await.unwrap();
    });
}

#[test]
fn idempotency_keys() {
    run(async {
        let pair = Pair::new().await;
        let keyed = |content: &str| NewExperience {
            idempotency_key: Some("key".into()),
            ..new(pair.team, content)
        };
        let (mut first, mut second) = (pair.begin().await, pair.begin().await);
        let id = first.record_experience(keyed("first")).await.unwrap();
        assert_eq!(first.record_experience(keyed("again")).await.unwrap(), id);
        second.record_experience(keyed("second")).await.unwrap();
        first.commit().await.unwrap();
        let what = conflict(second.commit().await);
        assert!(what.contains("key"), "{what}");
        // A retry finds what was recorded, and depends on it.
        let mut third = pair.begin().await;
        assert_eq!(third.record_experience(keyed("third")).await.unwrap(), id);
        write(&mut third, pair.team).await;
        pair.db.delete_experience(id).await.unwrap();
        conflict(third.commit().await);
        // Deleting the one and recording another with its key is one step.
        let old = pair.db.record_experience(keyed("old")).await.unwrap();
        let mut tx = pair.begin().await;
        tx.delete_experience(old).await.unwrap();
        let fresh = tx.record_experience(keyed("fresh")).await.unwrap();
        tx.delete_experience(fresh).await.unwrap();
        let freshest = tx.record_experience(keyed("freshest")).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(
            pair.db.record_experience(keyed("last")).await.unwrap(),
            freshest
        );
        pair.db.close().await.unwrap();
    });
}

#[test]
fn watchers_hear_of_every_change_in_order() {
    run(async {
        let pair = Pair::new().await;
        let mut stream = pair.db.watch_experiences(pair.team).await.unwrap();
        let mut tx = pair.begin().await;
        let id = write(&mut tx, pair.team).await;
        tx.reinforce_experience(id).await.unwrap();
        tx.set_tag(id, "a", "b").await.unwrap();
        tx.archive_experience(id).await.unwrap();
        tx.set_tag(id, "c", "d").await.unwrap();
        let both = ExperienceUpdate {
            pinned: Some(true),
            ..importance(0.25)
        };
        tx.update_experience(id, both).await.unwrap();
        tx.delete_experience(pair.x).await.unwrap();
        tx.commit().await.unwrap();
        let last = pair.db.record_experience(new(pair.team, "last"));
        let last = pulsedb::EntityId::Experience(last.await.unwrap());
        let mut seen = Vec::new();
        loop {
            let event = stream.recv().await.unwrap().unwrap();
            if event.entity == last {
                break;
            }
            let shown = event.experience.as_ref().map(|one| {
                let bits = (one.archived, one.pinned);
                (one.applications(), one.tags.len(), bits)
            });
            seen.push((event.event_type, shown));
        }
        let no = (false, false);
        assert_eq!(
            seen,
            [
                (EventType::Created, Some((0, 0, no))),
                (EventType::Reinforced, Some((1, 0, no))),
                (EventType::Updated, Some((1, 1, no))),
                (EventType::Archived, Some((1, 1, (true, false)))),
                (EventType::Updated, Some((1, 2, (true, false)))),
                (EventType::Updated, Some((1, 2, (true, true)))),
                (EventType::Deleted, None),
            ]
        );
        pair.db.close().await.unwrap();
    });
}

#[test]
fn collectives_within() {
    run(async {
        let pair = Pair::new().await;
        let mut tx = pair.begin().await;
        let decay = DecayConfig {
            half_life_ms: 1,
            ..DecayConfig::default()
        };
        tx.set_decay_config(pair.team, decay.clone()).await.unwrap();
        assert!(tx.energy(pair.x).await.unwrap() < 0.001);
        let a = tx.create_collective_with_owner("a", "me").await.unwrap();
        assert_eq!(tx.get_or_create_collective("a").await.unwrap(), a);
        assert_eq!(
            tx.get_or_create_collective("team").await.unwrap(),
            pair.team
        );
        let b = tx.create_collective("b").await.unwrap();
        let id = tx.record_experience(new(b, "in b")).await.unwrap();
        let stamped = tx.get_collective(b).await.unwrap().unwrap();
        assert_eq!(stamped.embedder.unwrap().provider, "external");
        tx.delete_collective(b).await.unwrap();
        assert!(tx.get_experience(id).await.is_err());
        assert!(tx.get_recent_experiences(b, 1).await.is_err());
        assert!(tx.record_experience(new(b, "late")).await.is_err());
        assert!(tx.set_decay_config(b, decay.clone()).await.is_err());
        assert!(tx.delete_collective(b).await.is_err());
        let owned = tx.list_collectives_by_owner(&"me".into()).await.unwrap();
        assert_eq!(owned.len(), 1);
        tx.commit().await.unwrap();
        // What came and went within one commit leaves nothing that anybody minds.
        pair.db.compact().await.unwrap();
        assert!(pair.db.verify().await.unwrap().is_clean());
        let names: Vec<String> = pair
            .db
            .list_collectives()
            .await
            .unwrap()
            .into_iter()
            .map(|one| one.name)
            .collect();
        assert_eq!(names, ["team", "a"]);
        let mut tx = pair.begin().await;
        tx.delete_collective(pair.team).await.unwrap();
        assert!(tx.get_experience(pair.x).await.is_err());
        assert!(tx.set_tag(pair.x, "a", "b").await.is_err());
        assert!(tx.search_similar(pair.team, &VECTOR, 1).await.is_err());
        assert_eq!(tx.list_collectives().await.unwrap().len(), 1);
        tx.commit().await.unwrap();
        pair.db.close().await.unwrap();
        let db = pair.world.open().await;
        assert_eq!(db.list_collectives().await.unwrap().len(), 1);
        assert!(db.get_experience(pair.x).await.is_err());
        db.close().await.unwrap();
    });
}

#[test]
fn it_is_bounded_and_goes_on_when_it_is_full() {
    run(async {
        let mut world = World::new();
        world.config.max_commit_bytes = 8 * 1024;
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let big = || new(team, "x".repeat(3000));
        let mut tx = db.begin().await.unwrap();
        let first = tx.record_experience(big()).await.unwrap();
        let second = tx.record_experience(big()).await.unwrap();
        let third = tx.record_experience(big()).await;
        assert_eq!(refused_field(third), "transaction");
        let batch = tx.record_experiences(vec![new(team, "a"), big()]).await;
        assert_eq!(refused_field(batch), "transaction");
        // Each change of traits writes all of them.
        let long = "v".repeat(200);
        let mut tags = 0;
        let refused = loop {
            match tx.set_tag(first, &format!("{tags}"), &long).await {
                Ok(()) => tags += 1,
                refused => break refused,
            }
        };
        assert_eq!(refused_field(refused), "transaction");
        assert!((1..5).contains(&tags), "{tags}");
        let own = tx.get_experience(first).await.unwrap();
        assert_eq!(own.tags.len(), tags);
        let page = tx.list_experiences(team, Page::default()).await.unwrap();
        assert_eq!(page.items.len(), 2);
        tx.commit().await.unwrap();
        assert_eq!(db.get_experience(second).await.unwrap().content.len(), 3000);

        // What was seen counts, too.
        let mut tx = db.begin().await.unwrap();
        let unknown = |n: u128| ExperienceId::from_uuid(uuid::Uuid::from_u128(n));
        let mut seen = 0;
        let refused = loop {
            match tx.get_experiences(&[unknown(seen)]).await {
                Ok(_) => seen += 1,
                refused => break refused,
            }
        };
        assert_eq!(refused_field(refused), "transaction");
        assert_eq!(seen, 64);
        tx.commit().await.unwrap();
        db.close().await.unwrap();
    });
}

/// Each write costs what the first one costs.
#[test]
fn many_writes_in_one() {
    let mut world = World::new();
    world.config.segment_bytes = 16 * 1024 * 1024;
    world.config.max_commit_bytes = 8 * 1024 * 1024;
    world.config.max_queue_bytes = 8 * 1024 * 1024;
    let db = world.open_blocking(false);
    let team = db.create_collective("team").unwrap();
    let mut tx = db.begin().unwrap();
    let mut ids = Vec::new();
    for n in 0..5_000 {
        ids.push(tx.record_experience(new(team, format!("{n}"))).unwrap());
        tx.reinforce_experience(ids[n / 2]).unwrap();
    }
    assert!(ids.is_sorted());
    tx.commit().unwrap();
    let twice = |id| db.get_experience(id).unwrap().applications() == 2;
    assert!(ids[..2_500].iter().all(|id| twice(*id)));
    assert!(db.get_experience(ids[4_999]).is_ok());
    db.close().unwrap();
}

#[test]
fn a_rejected_call_changes_nothing_of_it() {
    run(async {
        let pair = Pair::new().await;
        let mut tx = pair.begin().await;
        let bad = NewExperience {
            importance: 2.0,
            ..new(pair.team, "bad")
        };
        let batch = tx.record_experiences(vec![new(pair.team, "a"), bad]).await;
        assert_eq!(refused_field(batch), "importance");
        assert_eq!(
            refused_field(tx.update_experience(pair.x, importance(-1.0)).await),
            "importance"
        );
        let valid = |from, to| ExperienceUpdate {
            valid_from: Some(Some(pulsedb::Timestamp::from_millis(from))),
            valid_to: Some(Some(pulsedb::Timestamp::from_millis(to))),
            ..ExperienceUpdate::default()
        };
        tx.update_experience(pair.x, valid(5, 9)).await.unwrap();
        let late = ExperienceUpdate {
            valid_to: None,
            ..valid(9, 0)
        };
        assert_eq!(
            refused_field(tx.update_experience(pair.x, late).await),
            "valid_to"
        );
        for n in 0..50 {
            tx.set_tag(pair.y, &format!("{n}"), "").await.unwrap();
        }
        assert_eq!(refused_field(tx.set_tag(pair.y, "51", "").await), "tags");
        assert_eq!(refused_field(tx.create_collective("").await), "name");
        let unknown = CollectiveId::from_uuid(uuid::Uuid::nil());
        assert!(matches!(
            tx.record_experience(new(unknown, "nowhere")).await,
            Err(PulseDBError::NotFound { .. })
        ));
        let k = tx.search_similar(pair.team, &VECTOR, 0).await;
        assert_eq!(refused_field(k), "k");
        tx.commit().await.unwrap();
        let y = pair.db.get_experience(pair.y).await.unwrap();
        assert_eq!(y.tags.len(), 50);
        let x = pair.db.get_experience(pair.x).await.unwrap();
        assert_eq!(x.valid_to.map(|to| to.as_millis()), Some(9));
        assert_eq!(contents(&pair.db, pair.team).await.len(), 2);
        pair.db.close().await.unwrap();
    });
}

#[test]
fn without_a_writer_it_reads() {
    run(async {
        let pair = Pair::new().await;
        let mut late = pair.begin().await;
        write(&mut late, pair.team).await;
        pair.db.close().await.unwrap();
        assert!(matches!(
            late.record_experience(new(pair.team, "late")).await,
            Err(PulseDBError::Closed)
        ));
        assert!(late.get_experience(pair.x).await.is_ok());
        assert!(matches!(late.commit().await, Err(PulseDBError::Closed)));
        assert!(matches!(pair.db.begin().await, Err(PulseDBError::Closed)));
        let db = pair.world.open_read_only().await;
        let mut tx = db.begin().await.unwrap();
        assert_eq!(tx.get_experience(pair.x).await.unwrap().content, "x");
        let refused = [
            tx.set_tag(pair.x, "a", "b").await,
            tx.record_experience(new(pair.team, "z")).await.map(drop),
            tx.create_collective("z").await.map(drop),
            tx.delete_collective(pair.team).await,
        ];
        for refused in refused {
            assert!(matches!(refused, Err(PulseDBError::ReadOnly { .. })));
        }
        tx.commit().await.unwrap();
        db.close().await.unwrap();
    });
}

/// A commit whose caller has gone is decided as if it had stayed.
#[test]
fn a_dropped_commit_commits_whole_or_not_at_all() {
    run(async {
        let pair = Pair::new().await;
        for round in 0..50 {
            let id = pair
                .db
                .record_experience(new(pair.team, "z"))
                .await
                .unwrap();
            let mut tx = pair.begin().await;
            tx.get_experience(id).await.unwrap();
            tx.set_tag(pair.x, "round", &format!("{round}"))
                .await
                .unwrap();
            let own = tx.record_experience(new(pair.team, "own")).await.unwrap();
            let conflicts = round % 2 == 0;
            if conflicts {
                pair.db.delete_experience(id).await.unwrap();
            }
            // Polled once: it is queued.
            let answer = tx.commit().now_or_never();
            assert!(answer.is_none_or(|answer| answer.is_ok() != conflicts));
            // Whatever is committed now is behind it.
            for _ in 0..3 {
                pair.touch(pair.y).await;
                pair.db.remove_tag(pair.y, "touched").await.unwrap();
            }
            let x = pair.db.get_experience(pair.x).await.unwrap();
            let there = pair.db.get_experience(own).await.is_ok();
            let tagged = x.tags.get("round") == Some(&format!("{round}"));
            assert_eq!((there, tagged), (!conflicts, !conflicts));
        }
        pair.db.close().await.unwrap();
    });
}

#[test]
fn blocking_callers_have_the_same() {
    let world = World::new();
    let db: blocking::PulseDB = world.open_blocking(false);
    let mut tx = db.begin().unwrap();
    let team = tx.create_collective("team").unwrap();
    let id = tx.record_experience(new(team, "x")).unwrap();
    assert_eq!(tx.get_recent_experiences(team, 1).unwrap()[0].id, id);
    tx.commit().unwrap();
    let (mut first, mut second) = (db.begin().unwrap(), db.begin().unwrap());
    first.set_tag(id, "a", "1").unwrap();
    second.set_tag(id, "a", "2").unwrap();
    second.commit().unwrap();
    assert!(conflict(first.commit()).contains(&id.to_string()));
    db.begin().unwrap().rollback();
    assert_eq!(db.get_experience(id).unwrap().tags["a"], "2");
    db.close().unwrap();
}

#[test]
fn it_can_be_sent_and_shared() {
    fn movable<T: Send + Sync + 'static>(_: &T) {}
    fn sendable<T: Send>(_: &T) {}
    run(async {
        let pair = Pair::new().await;
        let mut tx = pair.begin().await;
        movable(&tx);
        sendable(&tx.search_similar(pair.team, &VECTOR, 1));
        sendable(&tx.record_experience(new(pair.team, "a")));
        sendable(&tx.commit());
        pair.db.close().await.unwrap();
    });
}

#[test]
fn ids_of_transactions_may_be_older_than_their_neighbours() {
    run(async {
        let pair = Pair::new().await;
        let fresh = pair.db.create_collective("fresh").await.unwrap();
        let mut tx = pair.begin().await;
        let late = tx.record_experience(new(fresh, "late")).await.unwrap();
        pair.world.env.advance(Duration::from_secs(1));
        let other = pair
            .db
            .record_experience(new(fresh, "other"))
            .await
            .unwrap();
        tx.commit().await.unwrap();
        for order_by in [pulsedb::OrderBy::Time, pulsedb::OrderBy::Id] {
            let mut page = Page {
                order_by,
                limit: 1,
                ..Page::default()
            };
            let mut seen = Vec::new();
            loop {
                let found = pair.db.list_experiences(fresh, page.clone()).await.unwrap();
                seen.extend(found.items.iter().map(|one| one.id));
                match found.next {
                    Some(next) => page.after = Some(next),
                    None => break,
                }
            }
            // The same time, so by id both ways.
            assert_eq!(seen, [late, other], "{order_by:?}");
        }
        pair.db.close().await.unwrap();
    });
}
