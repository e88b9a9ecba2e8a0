//! Does every subscriber hear of every change, once and in order?
#![allow(
    clippy::disallowed_methods,
    reason = "these tests wait and start tasks"
)]

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use futures_util::{StreamExt, future::join_all};
use pulsedb::{
    CollectiveId, Config, EventType, ExperienceId, ExperienceKind, ExperienceType,
    ExperienceUpdate, Lsn, NewExperience, PulseDB, PulseDBError, WatchConfig, WatchEvent,
    WatchFilter, WatchStream, blocking, model::EntityId,
};

use crate::support::{World, config, new, run};

/// Long enough for anything that is to come, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

fn buffered(buffer_size: usize) -> Config {
    Config {
        watch_config: WatchConfig {
            buffer_size,
            ..WatchConfig::default()
        },
        ..config()
    }
}

async fn next(stream: &mut WatchStream) -> Arc<WatchEvent> {
    let event = tokio::time::timeout(SOON, stream.recv()).await;
    event
        .expect("no event came")
        .expect("the stream ended")
        .unwrap()
}

async fn ended(stream: &mut WatchStream) {
    let end = tokio::time::timeout(SOON, stream.recv()).await;
    assert!(end.expect("the stream did not end").is_none());
}

async fn all(mut stream: WatchStream) -> Vec<Arc<WatchEvent>> {
    let mut events = Vec::new();
    while let Some(event) = tokio::time::timeout(SOON, stream.recv())
        .await
        .expect("no end")
    {
        events.push(event.unwrap());
    }
    events
}

fn lsns(events: &[Arc<WatchEvent>]) -> Vec<Lsn> {
    events.iter().map(|event| event.lsn).collect()
}

/// One change of each kind, and the events that they make.
async fn one_of_each(db: &PulseDB, team: CollectiveId) -> (ExperienceId, Vec<EventType>) {
    let both = ExperienceUpdate {
        importance: Some(0.75),
        domain: Some(vec!["rust".into()]),
        ..ExperienceUpdate::default()
    };
    let vitals = ExperienceUpdate {
        confidence: Some(0.25),
        ..ExperienceUpdate::default()
    };
    let one = db.record_experience(new(team, "one")).await.unwrap();
    db.update_experience(one, both).await.unwrap();
    db.update_experience(one, vitals).await.unwrap();
    db.set_tag(one, "key", "value").await.unwrap();
    db.set_tag(one, "key", "value").await.unwrap();
    db.remove_tag(one, "other").await.unwrap();
    db.archive_experience(one).await.unwrap();
    db.archive_experience(one).await.unwrap();
    db.unarchive_experience(one).await.unwrap();
    db.reinforce_experience(one).await.unwrap();
    db.remove_tag(one, "key").await.unwrap();
    db.update_experience(one, ExperienceUpdate::default())
        .await
        .unwrap();
    db.delete_experience(one).await.unwrap();
    use EventType::{Archived, Created, Deleted, Reinforced, Unarchived, Updated};
    let told = vec![
        Created, Updated, Updated, Updated, Archived, Unarchived, Reinforced, Updated, Deleted,
    ];
    (one, told)
}

#[test]
fn every_kind_of_change_is_told_once_and_in_order() {
    run(async {
        // With one place in the channel everything comes from the log.
        for buffer_size in [1, 2, 1000] {
            let world = World::with(buffered(buffer_size));
            let db = world.open().await;
            let team = db.create_collective("team").await.unwrap();
            let other = db.create_collective("other").await.unwrap();
            db.record_experience(new(team, "before")).await.unwrap();
            let mut stream = db.watch_experiences(team).await.unwrap();
            db.record_experience(new(other, "elsewhere")).await.unwrap();
            let (one, told) = one_of_each(&db, team).await;
            let mut events = Vec::new();
            for expected in told {
                let event = next(&mut stream).await;
                assert_eq!(event.event_type, expected);
                assert_eq!(event.entity, EntityId::Experience(one));
                assert_eq!(event.collective_id, team);
                assert_eq!(event.timestamp, crate::support::START);
                events.push(event);
            }
            assert!(events.windows(2).all(|pair| pair[0].lsn < pair[1].lsn));
            assert_eq!(stream.position(), events.last().unwrap().lsn);

            let shown = |n: usize| events[n].experience.as_deref().unwrap();
            assert_eq!((shown(0).importance, shown(0).domain.len()), (0.5, 0));
            assert_eq!((shown(1).importance, &*shown(1).domain[0]), (0.75, "rust"));
            assert_eq!((shown(2).confidence, shown(2).importance), (0.25, 0.75));
            assert_eq!(shown(3).tags["key"], "value");
            assert!(shown(4).archived && !shown(5).archived);
            assert_eq!((shown(6).applications(), shown(6).tags.len()), (1, 1));
            assert_eq!((shown(7).applications(), shown(7).tags.len()), (1, 0));
            assert_eq!(events[8].experience, None);

            drop(stream);
            db.close().await.unwrap();
        }
    });
}

#[test]
fn live_and_caught_up_streams_tell_the_same_story() {
    run(async {
        let world = World::with(buffered(4));
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let mut live = db.watch_experiences(team).await.unwrap();
        let slow = db.watch_experiences(team).await.unwrap();
        let mut told = Vec::new();
        for _ in 0..30 {
            let one = db.record_experience(new(team, "one")).await.unwrap();
            let both = ExperienceUpdate {
                importance: Some(1.0),
                pinned: Some(true),
                ..ExperienceUpdate::default()
            };
            db.update_experience(one, both).await.unwrap();
            db.reinforce_experience(one).await.unwrap();
            for _ in 0..3 {
                told.push(next(&mut live).await);
            }
        }
        db.close().await.unwrap();
        ended(&mut live).await;
        // What it missed is gone with the database; it must not pretend otherwise.
        let mut slow = slow;
        let answer = slow.recv().await;
        assert!(
            matches!(answer, Some(Err(PulseDBError::Closed))),
            "{answer:?}"
        );
        assert!(slow.recv().await.is_none());

        let db = world.open().await;
        let slow = db.watch_experiences(team).await.unwrap();
        let mut live = db.watch_experiences(team).await.unwrap();
        let mut told = Vec::new();
        let one = db.record_experience(new(team, "one")).await.unwrap();
        told.push(next(&mut live).await);
        for _ in 0..50 {
            db.reinforce_experience(one).await.unwrap();
            told.push(next(&mut live).await);
        }
        let caught_up: Vec<_> = slow.take(told.len()).map(Result::unwrap).collect().await;
        assert_eq!(caught_up, told);
    });
}

#[test]
fn a_filter_lets_through_what_it_names() {
    run(async {
        for buffer_size in [1, 1000] {
            let world = World::with(buffered(buffer_size));
            let db = world.open().await;
            let team = db.create_collective("team").await.unwrap();
            let filters = [
                WatchFilter::default(),
                WatchFilter {
                    event_types: vec![EventType::Reinforced, EventType::Deleted],
                    ..WatchFilter::default()
                },
                WatchFilter {
                    domains: vec!["rust".into(), "c".into()],
                    ..WatchFilter::default()
                },
                WatchFilter {
                    experience_types: vec![ExperienceKind::Fact],
                    ..WatchFilter::default()
                },
                WatchFilter {
                    min_importance: Some(0.75),
                    event_types: vec![EventType::Created],
                    ..WatchFilter::default()
                },
            ];
            let mut streams = Vec::new();
            for filter in filters {
                streams.push(db.watch_experiences_filtered(team, filter).await.unwrap());
            }
            let rust = NewExperience {
                domain: vec!["go".into(), "rust".into()],
                ..new(team, "rust")
            };
            let fact = NewExperience {
                experience_type: ExperienceType::Fact {
                    statement: "water is wet".into(),
                    source: "me".into(),
                },
                importance: 0.75,
                ..new(team, "fact")
            };
            let rust = db.record_experience(rust).await.unwrap();
            let fact = db.record_experience(fact).await.unwrap();
            db.reinforce_experience(rust).await.unwrap();
            db.reinforce_experience(fact).await.unwrap();
            use EventType::{Created, Deleted, Reinforced};
            let expected = [
                vec![
                    (rust, Created),
                    (fact, Created),
                    (rust, Reinforced),
                    (fact, Reinforced),
                ],
                vec![(rust, Reinforced), (fact, Reinforced)],
                vec![(rust, Created), (rust, Reinforced)],
                vec![(fact, Created), (fact, Reinforced)],
                vec![(fact, Created)],
            ];
            for (stream, expected) in streams.iter_mut().zip(expected) {
                for (id, event_type) in expected {
                    let event = next(stream).await;
                    assert_eq!(event.entity, EntityId::Experience(id));
                    assert_eq!(event.event_type, event_type);
                }
            }
            // What is gone cannot be asked for its domain; whoever watches it hears that it is gone.
            db.delete_experience(fact).await.unwrap();
            for stream in streams.iter_mut().take(4) {
                assert_eq!(next(stream).await.event_type, Deleted);
            }
        }
    });
}

#[test]
fn a_subscriber_that_lags_by_thousands_is_caught_up_from_the_log() {
    run(async {
        for buffer_size in 1..=4 {
            let world = World::with(buffered(buffer_size));
            let db = world.open().await;
            let team = db.create_collective("team").await.unwrap();
            let mut stream = db.watch_experiences(team).await.unwrap();
            let mut ids = Vec::new();
            for batch in 0..40 {
                let batch: Vec<_> = (0..50).map(|n| new(team, format!("{batch} {n}"))).collect();
                ids.extend(db.record_experiences(batch).await.unwrap());
                // Now and then one is taken while more are coming.
                if ids.len() % 450 == 0 {
                    let event = next(&mut stream).await;
                    assert_eq!(event.entity, EntityId::Experience(ids.remove(0)));
                }
            }
            for id in ids {
                assert_eq!(next(&mut stream).await.entity, EntityId::Experience(id));
            }
            drop(stream);
            db.close().await.unwrap();
        }
    });
}

/// Subscriptions at any moment of a busy time: each stream is exactly the tail of the story.
async fn race(buffer_size: usize) {
    let world = World::with(buffered(buffer_size));
    let db = world.open().await;
    let mut teams = Vec::new();
    for name in ["a", "b"] {
        teams.push(db.create_collective(name).await.unwrap());
    }
    let whole = [
        db.watch_experiences(teams[0]).await.unwrap(),
        db.watch_experiences(teams[1]).await.unwrap(),
    ]
    .map(|stream| tokio::spawn(all(stream)));
    let writers = (0..8).map(|writer| {
        let (db, teams) = (db.clone(), teams.clone());
        tokio::spawn(async move {
            for n in 0..40 {
                let team = teams[(writer + n) % 2];
                let one = db
                    .record_experience(new(team, format!("{n}")))
                    .await
                    .unwrap();
                if n % 3 == 0 {
                    db.reinforce_experience(one).await.unwrap();
                }
                if n % 5 == 0 {
                    db.delete_experience(one).await.unwrap();
                }
                tokio::task::yield_now().await;
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let subscribers = (0..24).map(|n| {
        let (db, team) = (db.clone(), teams[n % 2]);
        tokio::spawn(async move {
            for _ in 0..n * 4 {
                tokio::task::yield_now().await;
            }
            let before = db.current_cursor().await.unwrap().lsn;
            let stream = db.watch_experiences(team).await.unwrap();
            let after = db.current_cursor().await.unwrap().lsn;
            assert!(before <= stream.position() && stream.position() <= after);
            (n % 2, stream.position(), tokio::spawn(all(stream)))
        })
    });
    let subscribers = join_all(subscribers.collect::<Vec<_>>()).await;
    for written in join_all(writers).await {
        written.unwrap();
    }
    // Deletion ends the streams, each once it has caught up; closing would not wait for that.
    for team in &teams {
        db.delete_collective(*team).await.unwrap();
    }
    let mut stories = Vec::new();
    for story in whole {
        stories.push(story.await.unwrap());
    }
    let records: usize = stories.iter().map(Vec::len).sum();
    assert_eq!(records, 8 * (40 + 14 + 8) + 2);
    for subscriber in subscribers {
        let (team, position, stream) = subscriber.unwrap();
        let heard = stream.await.unwrap();
        let mut tail = stories[team].clone();
        tail.retain(|event| event.lsn > position);
        assert_eq!(lsns(&heard), lsns(&tail), "after {position}");
        for (heard, told) in heard.iter().zip(&tail) {
            assert_eq!(heard.entity, told.entity);
            assert_eq!(heard.event_type, told.event_type);
        }
    }
    db.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn subscribing_amid_commits_gives_exactly_the_tail() {
    for buffer_size in [1, 3, 1000] {
        race(buffer_size).await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn subscribing_amid_commits_gives_exactly_the_tail_on_one_thread() {
    for buffer_size in [2, 1000] {
        race(buffer_size).await;
    }
}

#[test]
fn the_deletion_of_a_collective_is_the_last_event() {
    run(async {
        for buffer_size in [1, 1000] {
            let world = World::with(buffered(buffer_size));
            let db = world.open().await;
            let team = db.create_collective("team").await.unwrap();
            let other = db.create_collective("other").await.unwrap();
            let mut stream = db.watch_experiences(team).await.unwrap();
            let mut elsewhere = db.watch_experiences(other).await.unwrap();
            let one = db.record_experience(new(team, "one")).await.unwrap();
            db.reinforce_experience(one).await.unwrap();
            db.delete_collective(team).await.unwrap();
            db.record_experience(new(other, "goes on")).await.unwrap();
            assert_eq!(next(&mut stream).await.event_type, EventType::Created);
            assert_eq!(next(&mut stream).await.event_type, EventType::Reinforced);
            let last = next(&mut stream).await;
            assert_eq!(last.event_type, EventType::Deleted);
            assert_eq!(last.entity, EntityId::Collective(team));
            ended(&mut stream).await;
            ended(&mut stream).await;
            assert_eq!(next(&mut elsewhere).await.event_type, EventType::Created);
            let late = db.watch_experiences(team).await;
            assert!(matches!(late, Err(PulseDBError::NotFound { .. })));
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_watch_that_races_the_deletion_ends_or_is_refused() {
    let world = World::new();
    let db = world.open().await;
    for _ in 0..60 {
        let team = db.create_collective("team").await.unwrap();
        let watchers: Vec<_> = (0..4)
            .map(|_| {
                let db = db.clone();
                tokio::spawn(async move {
                    let mut streams = Vec::new();
                    loop {
                        match db.watch_experiences(team).await {
                            Ok(stream) => streams.push(stream),
                            Err(PulseDBError::NotFound { .. }) => return streams,
                            Err(other) => panic!("{other:?}"),
                        }
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_micros(200)).await;
        db.delete_collective(team).await.unwrap();
        for watcher in watchers {
            for stream in watcher.await.unwrap() {
                assert_eq!(all(stream).await.len(), 1, "its deletion, and nothing else");
            }
        }
    }
}

#[test]
fn closing_ends_streams_after_what_they_hold() {
    run(async {
        let world = World::new();
        for read_only in [false, true] {
            let db = world.open().await;
            let team = db.get_or_create_collective("team").await.unwrap();
            let mut idle = db.watch_experiences(team).await.unwrap();
            let mut full = db.watch_experiences(team).await.unwrap();
            db.record_experience(new(team, "one")).await.unwrap();
            next(&mut idle).await;
            let waiting = tokio::spawn(async move { idle.recv().await.is_none() });
            tokio::task::yield_now().await;
            if read_only {
                // Dropping the last handle ends them as well.
                drop(db);
            } else {
                db.close().await.unwrap();
            }
            assert!(tokio::time::timeout(SOON, waiting).await.unwrap().unwrap());
            assert_eq!(next(&mut full).await.event_type, EventType::Created);
            ended(&mut full).await;

            let db = world.open_read_only().await;
            let mut stream = db.watch_experiences(team).await.unwrap();
            db.close().await.unwrap();
            ended(&mut stream).await;
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_futures_lose_nothing() {
    for buffer_size in [1, 1000] {
        let world = World::with(buffered(buffer_size));
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let mut stream = db.watch_experiences(team).await.unwrap();
        let writer = tokio::spawn({
            let db = db.clone();
            async move {
                let mut ids = Vec::new();
                for n in 0..300 {
                    ids.push(
                        db.record_experience(new(team, format!("{n}")))
                            .await
                            .unwrap(),
                    );
                    if n % 10 == 0 {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
                ids
            }
        });
        let mut heard = Vec::new();
        while heard.len() < 300 {
            // A future that is polled once and dropped, then one that waits a little.
            let polled = {
                let mut future = pin!(stream.recv());
                poll_fn(|context| match future.as_mut().poll(context) {
                    Poll::Ready(event) => Poll::Ready(event),
                    Poll::Pending => Poll::Ready(None),
                })
                .await
            };
            heard.extend(polled);
            tokio::select! {
                biased;
                event = stream.recv() => heard.extend(event),
                () = tokio::time::sleep(Duration::from_micros(300)) => {}
            }
        }
        let ids: Vec<_> = writer
            .await
            .unwrap()
            .into_iter()
            .map(EntityId::Experience)
            .collect();
        let heard: Vec<_> = heard
            .into_iter()
            .map(|event| event.unwrap().entity.clone())
            .collect();
        assert_eq!(heard, ids);
    }
}

#[test]
fn streams_combine_with_those_of_others() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let mut streams = Vec::new();
        let mut teams = Vec::new();
        for name in ["a", "b", "c"] {
            let team = db.create_collective(name).await.unwrap();
            streams.push(db.watch_experiences(team).await.unwrap());
            teams.push(team);
        }
        for n in 0..30 {
            db.record_experience(new(teams[n % 3], "x")).await.unwrap();
        }
        let merged = futures_util::stream::select_all(streams);
        let events: Vec<_> = merged.take(30).map(|event| event.unwrap()).collect().await;
        for team in teams {
            let of_team: Vec<_> = events
                .iter()
                .filter(|event| event.collective_id == team)
                .cloned()
                .collect();
            assert_eq!(of_team.len(), 10);
            assert!(lsns(&of_team).is_sorted());
        }
    });
}

#[test]
fn a_thread_without_a_runtime_can_watch() {
    let world = World::new();
    let db: blocking::PulseDB = world.open_blocking(false);
    let team = db.create_collective("team").unwrap();
    let stream = db.watch_experiences(team).unwrap();
    let watcher = std::thread::spawn(move || stream.map(Result::unwrap).count());
    for _ in 0..100 {
        db.record_experience(new(team, "x")).unwrap();
    }
    db.delete_collective(team).unwrap();
    assert_eq!(watcher.join().unwrap(), 101);
    db.close().unwrap();
}
