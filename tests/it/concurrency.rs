//! Does everything hold when many do it at once, and when somebody leaves in the middle?
#![allow(
    clippy::disallowed_methods,
    reason = "these tests start tasks and threads"
)]

use std::{
    collections::{BTreeSet, HashSet},
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::Poll,
    time::Duration,
};

use futures_util::future::join_all;
use pulsedb::{
    CollectiveId, Config, Direction, NewExperience, Page, PulseDB, PulseDBError, SearchFilter,
    SyncMode, blocking,
};

use crate::support::{World, config, contents, everything, new, run};

const MODES: [SyncMode; 3] = [SyncMode::Normal, SyncMode::Fast, SyncMode::Paranoid];

fn in_mode(sync_mode: SyncMode) -> Config {
    Config {
        sync_mode,
        ..config()
    }
}

/// A database on real files; the directory goes with the first of the two.
async fn on_disk(config: Config) -> (tempfile::TempDir, PulseDB, CollectiveId) {
    let dir = tempfile::tempdir().unwrap();
    let db = PulseDB::open(dir.path(), config).await.unwrap();
    let team = db.create_collective("team").await.unwrap();
    (dir, db, team)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everybody_sees_their_own_acknowledged_writes() {
    for mode in MODES {
        let (_dir, db, team) = on_disk(in_mode(mode)).await;
        let tasks = (0..16).map(|task| {
            let db = db.clone();
            tokio::spawn(async move {
                let mine = SearchFilter {
                    source_agents: vec![format!("agent-{task}").into()],
                    ..SearchFilter::default()
                };
                for n in 1..=12_usize {
                    let vector = vec![task as f32 + 1.0, n as f32, -1.0, 0.5];
                    let one = NewExperience {
                        source_agent: format!("agent-{task}").into(),
                        embedding: Some(vector.clone()),
                        ..new(team, format!("{task} {n}"))
                    };
                    let id = db.record_experience(one).await.unwrap();
                    assert_eq!(db.get_experience(id).await.unwrap().embedding, vector);
                    db.set_tag(id, "n", &n.to_string()).await.unwrap();
                    assert_eq!(
                        db.get_experience(id).await.unwrap().tags["n"],
                        n.to_string()
                    );
                    let recent = db
                        .get_recent_experiences_filtered(team, 1000, mine.clone())
                        .await
                        .unwrap();
                    assert_eq!(recent.len(), n);
                    assert_eq!(recent[0].id, id);
                    let hits = db
                        .search_similar_filtered(team, &vector, 1, mine.clone())
                        .await
                        .unwrap();
                    assert_eq!(hits[0].experience.id, id);
                    if n == 12 {
                        db.delete_experience(id).await.unwrap();
                        let gone = db.get_experience(id).await;
                        assert!(matches!(gone, Err(PulseDBError::NotFound { .. })));
                    }
                }
            })
        });
        for task in join_all(tasks.collect::<Vec<_>>()).await {
            task.unwrap();
        }
        let stats = db.get_collective_stats(team).await.unwrap();
        assert_eq!(stats.experience_count, 16 * 11);
        db.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_idempotency_key_raced_by_many_is_one_row() {
    let (_dir, db, team) = on_disk(config()).await;
    for round in 0..20 {
        let tasks = (0..32).map(|task| {
            let db = db.clone();
            let keyed = NewExperience {
                idempotency_key: Some(format!("key {round}")),
                ..new(team, format!("{round} by {task}"))
            };
            // Half of them in batches, which hold the key twice.
            tokio::spawn(async move {
                if task % 2 == 0 {
                    db.record_experience(keyed).await.unwrap()
                } else {
                    let ids = db
                        .record_experiences(vec![keyed.clone(), keyed])
                        .await
                        .unwrap();
                    assert_eq!(ids[0], ids[1]);
                    ids[0]
                }
            })
        });
        let ids: HashSet<_> = join_all(tasks.collect::<Vec<_>>())
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        assert_eq!(ids.len(), 1);
        let stats = db.get_collective_stats(team).await.unwrap();
        assert_eq!(stats.experience_count, round + 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_name_raced_by_many_is_one_collective() {
    let (_dir, db, _) = on_disk(config()).await;
    let tasks = (0..32).map(|_| {
        let db = db.clone();
        tokio::spawn(async move { db.get_or_create_collective("shared").await.unwrap() })
    });
    let ids: HashSet<_> = join_all(tasks.collect::<Vec<_>>())
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(db.list_collectives().await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn raced_reinforcements_count_exactly() {
    let (dir, db, team) = on_disk(config()).await;
    let one = db.record_experience(new(team, "one")).await.unwrap();
    let tasks = (0..32).map(|_| {
        let db = db.clone();
        tokio::spawn(async move {
            let mut counts = Vec::new();
            for _ in 0..25 {
                counts.push(db.reinforce_experience(one).await.unwrap());
            }
            counts
        })
    });
    let mut counts: Vec<_> = join_all(tasks.collect::<Vec<_>>())
        .await
        .into_iter()
        .flat_map(Result::unwrap)
        .collect();
    counts.sort_unstable();
    assert_eq!(
        counts,
        (1..=800).collect::<Vec<_>>(),
        "each is told another count"
    );
    assert_eq!(db.get_experience(one).await.unwrap().applications(), 800);
    db.close().await.unwrap();
    let db = PulseDB::open(dir.path(), config()).await.unwrap();
    assert_eq!(db.get_experience(one).await.unwrap().applications(), 800);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_last_handle_takes_nothing_acknowledged_with_it() {
    for mode in MODES {
        let (dir, first, team) = on_disk(in_mode(mode)).await;
        let mut db = Some(first);
        let mut acknowledged = BTreeSet::new();
        for round in 0..10 {
            let open = db.take().unwrap();
            let tasks = (0..8).map(|task| {
                let db = open.clone();
                tokio::spawn(async move {
                    let content = format!("{round} {task}");
                    db.record_experience(new(team, content.clone()))
                        .await
                        .unwrap();
                    content
                })
            });
            let tasks: Vec<_> = tasks.collect();
            drop(open);
            for task in tasks {
                acknowledged.insert(task.await.unwrap());
            }
            // At once: no lock of this process may be in the way.
            let open = PulseDB::open(dir.path(), in_mode(mode)).await.unwrap();
            assert!(open.health_check().await.unwrap().recovery.clean);
            assert_eq!(contents(&open, team).await, acknowledged);
            db = Some(open);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn close_waits_for_the_queue() {
    for mode in MODES {
        let (dir, db, team) = on_disk(in_mode(mode)).await;
        let tasks = (0..64).map(|task| {
            let db = db.clone();
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for n in 0.. {
                    let content = format!("{task} {n}");
                    match db.record_experience(new(team, content.clone())).await {
                        Ok(_) => acknowledged.push(content),
                        Err(PulseDBError::Closed) => break,
                        Err(other) => panic!("{other:?}"),
                    }
                }
                acknowledged
            })
        });
        let tasks: Vec<_> = tasks.collect();
        tokio::time::sleep(Duration::from_millis(30)).await;
        let (one, other) = tokio::join!(db.close(), db.close());
        one.unwrap();
        other.unwrap();
        let mut acknowledged = BTreeSet::new();
        for task in tasks {
            acknowledged.extend(task.await.unwrap());
        }
        let db = PulseDB::open(dir.path(), in_mode(mode)).await.unwrap();
        // What was told `Closed` was never queued, so the sets are equal.
        assert_eq!(contents(&db, team).await, acknowledged);
        assert!(!acknowledged.is_empty());
    }
}

/// Polls a future this often, then drops it.
async fn poll_and_drop<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[test]
fn a_dropped_write_happens_whole_or_not_at_all() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let mut known = 0;
        for round in 0..100 {
            let batch: Vec<_> = (0..3)
                .map(|n| NewExperience {
                    idempotency_key: Some(format!("{round} {n}")),
                    ..new(team, format!("{round} {n}"))
                })
                .collect();
            let polls = round % 3;
            let answer = poll_and_drop(db.record_experiences(batch.clone()), polls).await;
            if polls == 0 {
                assert!(answer.is_none());
                db.flush().await.unwrap();
                let stats = db.get_collective_stats(team).await.unwrap();
                assert_eq!(
                    stats.experience_count, known,
                    "an unpolled future does nothing"
                );
            }
            // The retry finds what may have been stored, and stores it otherwise.
            let ids = db.record_experiences(batch).await.unwrap();
            if let Some(first) = answer {
                assert_eq!(first.unwrap(), ids);
            }
            known += 3;
            let stats = db.get_collective_stats(team).await.unwrap();
            assert_eq!(stats.experience_count, known);
            // Reads may be dropped, too.
            for polls in 0..2 {
                let _ = poll_and_drop(db.search_similar(team, &[1.0; 4], 5), polls).await;
                let _ = poll_and_drop(db.get_experiences(&ids), polls).await;
            }
        }
        let before = everything(&db, team).await;
        for polls in 0..3 {
            let _ = poll_and_drop(db.close(), polls).await;
        }
        db.close().await.unwrap();
        let db = world.open().await;
        assert_eq!(everything(&db, team).await, before);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn aborted_tasks_leave_whole_batches_and_a_queue_that_works() {
    let small = Config {
        max_queue_bytes: config().max_commit_bytes,
        ..config()
    };
    let (_dir, db, team) = on_disk(small).await;
    let tasks: Vec<_> = (0..200)
        .map(|task| {
            let db = db.clone();
            tokio::spawn(async move {
                let content = |n| format!("{task} {n} {}", "long".repeat(2000));
                let batch = (0..3).map(|n| new(team, content(n))).collect();
                db.record_experiences(batch).await.unwrap();
            })
        })
        .collect();
    for (n, task) in tasks.iter().enumerate() {
        if n % 5 == 0 {
            tokio::task::yield_now().await;
        }
        if n % 2 == 0 {
            task.abort();
        }
    }
    let finished = join_all(tasks)
        .await
        .iter()
        .filter(|task| task.is_ok())
        .count();
    db.flush().await.unwrap();
    let all = everything(&db, team).await;
    assert!(all.len() % 3 == 0 && all.len() >= finished * 3);
    for batch in all.chunks(3) {
        let of = |n: usize| batch[n].content.split(' ').next().unwrap();
        assert!(of(0) == of(1) && of(1) == of(2), "batches are never mixed");
    }
    assert_eq!(
        db.health_check().await.unwrap().queued_bytes,
        0,
        "all room is given back"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn blocking_and_async_handles_work_side_by_side() {
    for mode in MODES {
        let (dir, db, team) = on_disk(in_mode(mode)).await;
        let one = db.record_experience(new(team, "one")).await.unwrap();
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let db = blocking::PulseDB::from(db.clone());
                std::thread::spawn(move || {
                    for n in 0..40 {
                        let id = db
                            .record_experience(new(team, format!("t{thread} {n}")))
                            .unwrap();
                        assert_eq!(db.get_experience(id).unwrap().id, id);
                        db.reinforce_experience(one).unwrap();
                    }
                })
            })
            .collect();
        let tasks = (0..8).map(|task| {
            let db = db.clone();
            tokio::spawn(async move {
                for n in 0..40 {
                    let id = db
                        .record_experience(new(team, format!("a{task} {n}")))
                        .await
                        .unwrap();
                    assert_eq!(db.get_experience(id).await.unwrap().id, id);
                    db.reinforce_experience(one).await.unwrap();
                }
            })
        });
        for task in join_all(tasks.collect::<Vec<_>>()).await {
            task.unwrap();
        }
        for thread in threads {
            thread.join().unwrap();
        }
        let db = {
            // The blocking clones are gone; this is the last handle.
            let blocking = blocking::PulseDB::from(db);
            assert_eq!(
                blocking.get_experience(one).unwrap().applications(),
                12 * 40
            );
            blocking.close().unwrap();
            PulseDB::open(dir.path(), in_mode(mode)).await.unwrap()
        };
        let all = everything(&db, team).await;
        assert_eq!(all.len(), 1 + 12 * 40);
        assert_eq!(all[0].applications(), 12 * 40);
        assert!(all.windows(2).all(|pair| pair[0].id < pair[1].id));
    }
}

/// Writers replace the generation of five rows in one commit; no read may see two generations.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_call_never_sees_half_a_commit() {
    let (_dir, db, team) = on_disk(config()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (db, stop) = (db.clone(), Arc::clone(&stop));
        async move {
            let mut batches = 0;
            while !stop.load(Ordering::Relaxed) {
                let batch = (0..5).map(|_| new(team, format!("{batches}"))).collect();
                db.record_experiences(batch).await.unwrap();
                batches += 1;
            }
            batches
        }
    });
    let whole = |len: usize| assert_eq!(len % 5, 0, "half a batch was visible");
    for _ in 0..60 {
        let stats = db.get_collective_stats(team).await.unwrap();
        whole(stats.experience_count as usize);
        let hits = db
            .search_similar(team, &[1.0, 2.0, 3.0, 4.0], 1000)
            .await
            .unwrap();
        whole(hits.len());
        let newest = db.get_recent_experiences(team, 10).await.unwrap();
        for batch in newest.chunks(5) {
            assert!(batch.iter().all(|one| one.content == batch[0].content));
        }
    }
    stop.store(true, Ordering::Relaxed);
    let batches = writer.await.unwrap();
    assert_eq!(everything(&db, team).await.len(), batches * 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_walk_over_pages_repeats_and_hides_nothing_while_others_write() {
    let (_dir, db, team) = on_disk(config()).await;
    let old: Vec<_> = (0..300).map(|n| new(team, format!("old {n}"))).collect();
    let old = db.record_experiences(old).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let deleted = Arc::new(AtomicU32::new(0));
    let writer = tokio::spawn({
        let (db, stop, deleted) = (db.clone(), Arc::clone(&stop), Arc::clone(&deleted));
        let doomed: Vec<_> = old
            .iter()
            .copied()
            .filter(|id| *id != old[0])
            .step_by(7)
            .collect();
        async move {
            for n in 0_usize.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                db.record_experience(new(team, format!("new {n}")))
                    .await
                    .unwrap();
                db.set_tag(old[n % 3 * 100], "n", &n.to_string())
                    .await
                    .unwrap();
                if let Some(id) = doomed.get(n) {
                    db.delete_experience(*id).await.unwrap();
                    deleted.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    });
    for direction in [Direction::Ascending, Direction::Descending].repeat(6) {
        let gone_before = deleted.load(Ordering::Relaxed);
        let mut page = Page {
            direction,
            limit: 7,
            ..Page::default()
        };
        let mut seen = Vec::new();
        loop {
            let found = db.list_experiences(team, page.clone()).await.unwrap();
            assert!(found.items.len() <= 7);
            seen.extend(found.items);
            match found.next {
                Some(next) if seen.len() < 5000 => page.after = Some(next),
                _ => break,
            }
        }
        let gone_after = deleted.load(Ordering::Relaxed) + 1;
        let ordered = seen.windows(2).all(|pair| match direction {
            Direction::Ascending => pair[0].id < pair[1].id,
            Direction::Descending => pair[0].id > pair[1].id,
        });
        assert!(ordered, "in order, and none twice");
        let kept = seen
            .iter()
            .filter(|one| one.content.starts_with("old"))
            .count();
        let bounds = 300 - gone_after as usize..=300 - gone_before as usize;
        assert!(
            bounds.contains(&kept),
            "{kept} of the old ones, expected {bounds:?}"
        );
    }
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();
}

#[test]
fn handles_work_on_a_runtime_of_one_thread_and_across_runtimes() {
    let world = World::new();
    let (db, team) = run(async {
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let all = (0..50).map(|n| db.record_experience(new(team, format!("{n}"))));
        assert!(join_all(all).await.iter().all(Result::is_ok));
        (db, team)
    });
    // The runtime that opened it is gone; the database does not live on it.
    run(async {
        db.record_experience(new(team, "later")).await.unwrap();
        assert_eq!(contents(&db, team).await.len(), 51);
        db.close().await.unwrap();
    });
}

/// Upkeep needs the committer for moments; callers that never pause must not keep it from them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn upkeep_has_its_turn_beside_callers_that_never_pause() {
    let (_dir, db, team) = on_disk(in_mode(SyncMode::Fast)).await;
    let done = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..64)
        .map(|writer| {
            let (db, done) = (db.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    let text = format!("from {writer}");
                    db.record_experience(new(team, text)).await.unwrap();
                }
            })
        })
        .collect();
    let upkeep = async {
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            db.fragmentation().await.unwrap();
            db.compact().await.unwrap();
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(60), upkeep).await;
    done.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    ended.expect("the committer was never given up");
    db.close().await.unwrap();
}
