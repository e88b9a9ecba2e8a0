//! Do threads that wait for what another handle writes hear all of it, without a clock?
//!
//! On Linux each of them is told by the system itself, one of them at a time, and tells the others.
#![allow(clippy::disallowed_methods, reason = "threads of the application")]

use std::{task::Poll, thread, time::Duration};

use pulsedb::{
    CollectiveId, Config, Lsn, NewExperience, WatchConfig, WatchOptions, blocking::PulseDB,
};

use crate::support::{config, new};

const RECORDS: usize = 600;

/// An hour until somebody looks whom nobody told; short segments, of which there will be many.
fn untold() -> Config {
    Config {
        segment_bytes: 64 * 1024,
        max_commit_bytes: 16 * 1024,
        max_queue_bytes: 64 * 1024,
        segment_pool: 0,
        watch_config: WatchConfig {
            poll_interval_ms: Config::MAX_POLL_INTERVAL_MS,
            ..WatchConfig::default()
        },
        ..config()
    }
}

fn experience(team: CollectiveId, number: usize) -> NewExperience {
    new(team, format!("{number}{}", " and more".repeat(60)))
}

/// As many LSNs as there are records, each behind the one before.
fn all(mut next: impl FnMut() -> Lsn) {
    let mut last = Lsn::ZERO;
    for _ in 0..RECORDS {
        let lsn = next();
        assert!(lsn > last, "{lsn} behind {last}");
        last = lsn;
    }
}

#[test]
fn each_thread_hears_everything_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let writer = PulseDB::open(dir.path(), untold()).unwrap();
    let team = writer.create_collective("team").unwrap();
    let reader = PulseDB::open_read_only(dir.path(), untold()).unwrap();
    let hour = Duration::from_secs(3600);
    thread::scope(|scope| {
        for _ in 0..3 {
            let mut events = reader.watch_experiences(team).unwrap();
            scope.spawn(move || all(|| events.recv().unwrap().unwrap().lsn));
            let mut events = reader.watch_experiences(team).unwrap();
            scope.spawn(move || {
                all(|| match events.recv_timeout(hour) {
                    Poll::Ready(event) => event.unwrap().unwrap().lsn,
                    Poll::Pending => panic!("not told"),
                });
            });
            // Awake more often than asleep, and one that does not take what it is told at once.
            let mut events = reader.watch_experiences(team).unwrap();
            scope.spawn(move || {
                all(|| {
                    loop {
                        if let Poll::Ready(event) = events.recv_timeout(Duration::ZERO) {
                            break event.unwrap().unwrap().lsn;
                        }
                    }
                });
            });
        }
        let mut commits = reader
            .change_feed(reader.current_cursor().unwrap(), true)
            .unwrap();
        scope.spawn(move || {
            all(|| {
                commits.recv().unwrap().unwrap();
                commits.cursor().lsn
            })
        });
        for number in 0..RECORDS {
            let recorded = experience(team, number);
            writer.record_experience(recorded).unwrap();
        }
    });
    reader.close().unwrap();
    writer.close().unwrap();
}

#[test]
fn who_waits_hears_of_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let writer = PulseDB::open(dir.path(), untold()).unwrap();
    let reader = PulseDB::open_read_only(dir.path(), untold()).unwrap();
    let mut items = reader.watch(WatchOptions::default()).unwrap();
    assert!(matches!(
        items.recv_timeout(Duration::from_millis(50)),
        Poll::Ready(Some(Ok(_)))
    ));
    assert!(items.recv_timeout(Duration::from_millis(50)).is_pending());
    thread::scope(|scope| {
        let waits = scope.spawn(|| items.recv().is_none());
        thread::sleep(Duration::from_millis(50));
        reader.close().unwrap();
        assert!(waits.join().unwrap());
    });
    writer.close().unwrap();
}

#[test]
fn watchers_of_a_writer_that_follow_hear_of_each_commit() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = untold();
    config.watch_config.in_process = false;
    let writer = PulseDB::open(dir.path(), config).unwrap();
    let team = writer.create_collective("team").unwrap();
    let mut events = writer.watch_experiences(team).unwrap();
    for number in 0..RECORDS {
        writer.record_experience(experience(team, number)).unwrap();
        let told = events.recv_timeout(Duration::from_secs(60));
        assert!(told.is_ready(), "{number} was not told");
    }
    writer.close().unwrap();
}
