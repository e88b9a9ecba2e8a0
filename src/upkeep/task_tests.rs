//! Does upkeep begin, go on, rest and stop as it should, and is all of it told?

use std::{sync::atomic::AtomicU64, thread, time::Instant};

use super::*;
use crate::env::SimEnv;

const START: Timestamp = Timestamp::from_millis(1_000);

struct World {
    tasks: Tasks,
    env: SimEnv,
    newest: Arc<AtomicU64>,
}

fn world(limits: UpkeepConfig) -> World {
    let env = SimEnv::new(1, START);
    let newest = Arc::new(AtomicU64::new(1));
    let seen = Arc::clone(&newest);
    let tasks = Tasks::new(
        Arc::new(env.clone()),
        limits,
        Box::new(move || Lsn::new(seen.load(Ordering::Relaxed))),
    );
    World { tasks, env, newest }
}

impl World {
    fn commit(&self) {
        self.newest.fetch_add(1, Ordering::Relaxed);
    }

    fn of(&self, task: UpkeepTask) -> UpkeepTaskStatus {
        let interval = Some(Duration::from_secs(60));
        let all = self.tasks.status(|task| match task {
            UpkeepTask::Expiry => (true, interval),
            UpkeepTask::Compaction => (false, None),
            _ => (true, None),
        });
        assert!(all.iter().map(|one| one.task).eq(UpkeepTask::ALL));
        all.into_iter().find(|one| one.task == task).unwrap()
    }
}

#[test]
fn a_pause_stops_what_runs_by_itself_and_the_end_everything() {
    let world = world(UpkeepConfig::default());
    let tasks = &world.tasks;
    let mut runs = [Asked::ByItself, Asked::Pressing, Asked::ByCall]
        .map(|asked| tasks.begin(UpkeepTask::Graphs, asked, 10));
    assert!(runs.iter_mut().all(|run| run.pace(1).is_ok()));
    tasks.pause();
    assert!(!tasks.may_begin());
    let stopped = runs.each_mut().map(|run| run.pace(1).is_err());
    assert_eq!(stopped, [true, false, false]);
    assert_eq!(
        world.of(UpkeepTask::Graphs).state,
        UpkeepState::Running { done: 0, total: 30 }
    );
    assert_eq!(world.of(UpkeepTask::Words).state, UpkeepState::Paused);
    assert_eq!(world.of(UpkeepTask::Compaction).state, UpkeepState::Idle);
    tasks.resume();
    assert!(runs.iter_mut().all(|run| run.pace(1).is_ok()));
    assert!(tasks.sleep(Duration::ZERO).is_ok());
    tasks.end();
    assert!(runs.iter_mut().all(|run| run.pace(1).is_err()));
    assert!(tasks.sleep(Duration::from_secs(600)).is_err());
    assert!(!tasks.may_begin());
}

#[test]
fn runs_are_told_of() {
    let world = world(UpkeepConfig::default());
    let begin = |task| world.tasks.begin(task, Asked::ByItself, 100);
    let mut one = begin(UpkeepTask::Graphs);
    let mut other = begin(UpkeepTask::Graphs);
    one.advance(40);
    other.advance(5);
    let running = |done, total| UpkeepState::Running { done, total };
    assert_eq!(world.of(UpkeepTask::Graphs).state, running(45, 200));
    world.env.advance(Duration::from_millis(250));
    one.wrote(4096);
    one.end(&Ok(()));
    assert_eq!(
        world.of(UpkeepTask::Graphs).last,
        Some(UpkeepRun {
            started_at: START,
            duration_ms: 250,
            bytes: 4096,
            done: 40,
            by_call: false,
            stopped: false,
            error: None,
        })
    );
    other.end::<()>(&Err(PulseDBError::Closed));
    let status = world.of(UpkeepTask::Graphs);
    assert_eq!(status.state, UpkeepState::Idle);
    assert!(status.last.unwrap().stopped);

    // A failure is to be tried again, unless only calls do it.
    let full = || Err::<(), _>(PulseDBError::Vector("full".into()));
    for task in [UpkeepTask::Checkpoint, UpkeepTask::Compaction] {
        begin(task).end(&full());
        let status = world.of(task);
        assert_eq!(
            status.last.unwrap().error.as_deref(),
            Some("vector index: full")
        );
        let waits =
            matches!(&status.state, UpkeepState::Waiting { reason } if reason.contains("full"));
        assert_eq!(waits, status.automatic);
    }
    let panicked = thread::scope(|scope| {
        let task = scope.spawn(|| {
            let _run = begin(UpkeepTask::Expiry);
            panic!("on purpose");
        });
        task.join().is_err()
    });
    assert!(panicked);
    let status = world.of(UpkeepTask::Expiry);
    assert_eq!(status.last.unwrap().error.as_deref(), Some("it panicked"));
    assert_eq!(status.next, Some(Timestamp::from_millis(61_250)));
}

fn took(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

/// Far less than any rest of these tests.
const SOON: Duration = Duration::from_millis(60);

#[test]
fn beside_commits_it_rests_for_what_it_takes() {
    let rests = Duration::from_millis(125);
    let limits = UpkeepConfig {
        bytes_per_second: 8 * STRIDE_BYTES,
        cpu_percent: 20,
        ..UpkeepConfig::default()
    };
    let world = world(limits);
    let begin = |asked| world.tasks.begin(UpkeepTask::Compaction, asked, 0);
    let mut run = begin(Asked::ByItself);
    let quiet = took(|| run.pace(STRIDE_BYTES).unwrap());
    assert!(quiet < SOON, "{quiet:?}");
    world.commit();
    let little = took(|| run.pace(STRIDE_BYTES - 1).unwrap());
    assert!(little < SOON, "{little:?}");
    let much = took(|| run.pace(1).unwrap());
    assert!(much >= rests, "{much:?}");
    // Work: a fifth of the time.
    world.commit();
    world.env.advance(Duration::from_millis(40));
    let worked = took(|| run.pace(0).unwrap());
    assert!(worked >= Duration::from_millis(155), "{worked:?}");
    // One allowance for all, and a limit of one's own.
    let mut slow = begin(Asked::ByItself).at_most(4 * STRIDE_BYTES);
    world.commit();
    let both = took(|| {
        thread::scope(|scope| {
            scope.spawn(|| run.pace(STRIDE_BYTES).unwrap());
            scope.spawn(|| slow.pace(STRIDE_BYTES).unwrap());
        });
    });
    assert!(both >= 3 * rests, "{both:?}");
    for asked in [Asked::ByCall, Asked::Pressing] {
        let mut run = begin(asked);
        world.commit();
        let free = took(|| run.pace(100 * STRIDE_BYTES).unwrap());
        assert!(free < SOON, "{free:?}");
    }
}

#[test]
fn a_rest_is_bounded_and_ends_with_a_pause() {
    let limits = UpkeepConfig {
        bytes_per_second: 1,
        ..UpkeepConfig::default()
    };
    let world = world(limits);
    let mut run = world
        .tasks
        .begin(UpkeepTask::Compaction, Asked::ByItself, 0);
    world.commit();
    let long = took(|| run.pace(STRIDE_BYTES).unwrap());
    assert!(long >= LONGEST_REST && long < 5 * LONGEST_REST, "{long:?}");
    world.commit();
    let cut = took(|| {
        thread::scope(|scope| {
            scope.spawn(|| assert!(run.pace(STRIDE_BYTES).is_err()));
            world.tasks.pause();
        });
    });
    assert!(cut < LONGEST_REST, "{cut:?}");
}
