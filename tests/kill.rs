//! Does what a process heard acknowledged survive its violent death?
//!
//! The real thing beside the simulation: a child (this very binary) records experiences from
//! several threads and tells each acknowledged one through a pipe; it is killed with SIGKILL at a
//! random moment, the database is opened again, and everything it told of is there as it was
//! told. The database is kept from round to round. `PULSEDB_KILL_ROUNDS` says how many.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test says what is wrong by panicking, and kills processes"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use pulsedb::{
    CollectiveId, Config, EmbeddingDimension, Experience, ExperienceId, NewExperience, Page,
    PulseDBError, SyncMode, blocking::PulseDB,
};

/// Tells the child where its database is, and which round it plays in.
const CHILD: &str = "PULSEDB_KILL_CHILD";
const ROUND: &str = "PULSEDB_KILL_ROUND";
const DIMENSION: usize = 16;
const BATCH: usize = 5;
const THREADS: usize = 3;

fn config(mode: SyncMode) -> Config {
    Config {
        sync_mode: mode,
        segment_bytes: 1 << 20,
        max_commit_bytes: 1 << 19,
        checkpoint_bytes: Config::MIN_CHECKPOINT_BYTES,
        segment_pool: 1,
        read_threads: 1,
        ..Config::external(EmbeddingDimension::Custom(DIMENSION))
    }
}

fn mode_of(round: u64) -> SyncMode {
    // The kernel lives on, so Fast loses nothing either.
    [SyncMode::Normal, SyncMode::Fast, SyncMode::Paranoid][(round % 3) as usize]
}

/// Content and vector follow from the label, so that a label is all that is told.
fn content(label: &str) -> String {
    let length = label.bytes().map(u64::from).sum::<u64>() % 40;
    format!("{label} {}", "word ".repeat(length as usize))
}

fn embedding(label: &str) -> Vec<f32> {
    let sum = label.bytes().fold(7_u32, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u32::from(byte))
    });
    (0..DIMENSION as u32)
        .map(|at| (sum.wrapping_mul(at + 1) % 1_000) as f32 / 500.0 - 0.999)
        .collect()
}

fn draft(team: CollectiveId, label: &str) -> NewExperience {
    NewExperience {
        embedding: Some(embedding(label)),
        ..NewExperience::new(team, "child", content(label))
    }
}

/// One line in one write: lines of several threads do not mix, and a killed writer leaves at most
/// one without an end.
fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).unwrap();
    out.flush().unwrap();
}

/// The life of the child: until it is killed.
fn child(path: &Path, round: u64) {
    let db = PulseDB::open(path, config(mode_of(round))).unwrap();
    let team = db.get_or_create_collective("team").unwrap();
    tell("\nready\n");
    thread::scope(|scope| {
        for number in 0..THREADS {
            let db = &db;
            scope.spawn(move || {
                for turn in 0.. {
                    let label = format!("r{round}t{number}n{turn}");
                    if turn % 3 == 2 {
                        let labels: Vec<String> =
                            (0..BATCH).map(|at| format!("{label}b{at}")).collect();
                        let batch = labels.iter().map(|one| draft(team, one)).collect();
                        let ids = db.record_experiences(batch).unwrap();
                        let lines = ids.iter().zip(&labels);
                        let lines: Vec<String> =
                            lines.map(|(id, one)| format!("+ {id} {one}\n")).collect();
                        tell(&lines.concat());
                    } else {
                        let id = db.record_experience(draft(team, &label)).unwrap();
                        tell(&format!("+ {id} {label}\n"));
                        if turn % 4 == 0 {
                            let count = db.reinforce_experience(id).unwrap();
                            tell(&format!("* {id} {count}\n"));
                        }
                    }
                }
            });
        }
    });
}

fn start(path: &Path, round: u64) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["killed_at_any_moment", "--exact", "--nocapture"])
        .env(CHILD, path)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while line != "ready\n" {
        line.clear();
        assert!(told.read_line(&mut line).unwrap() > 0, "the child died");
    }
    (child, told)
}

/// Everything a child said before it was killed; a line without an end was not said.
fn listen(told: BufReader<std::process::ChildStdout>, known: &mut Known) {
    let mut told = told;
    let mut line = String::new();
    while told.read_line(&mut line).unwrap() > 0 && line.ends_with('\n') {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["+", id, label] => {
                let twice = known
                    .recorded
                    .insert(id.parse().unwrap(), (*label).to_owned());
                assert!(twice.is_none(), "{id} was given twice");
            }
            ["*", id, count] => {
                known
                    .reinforced
                    .insert(id.parse().unwrap(), count.parse().unwrap());
            }
            _ => panic!("the child said {line:?}"),
        }
        line.clear();
    }
}

/// What was acknowledged in all rounds.
#[derive(Default)]
struct Known {
    recorded: BTreeMap<ExperienceId, String>,
    reinforced: BTreeMap<ExperienceId, u32>,
}

fn all(db: &PulseDB) -> Vec<Experience> {
    let mut found = Vec::new();
    for team in db.list_collectives().unwrap() {
        let mut page = Page {
            limit: 1_000,
            ..Page::default()
        };
        loop {
            let part = db.list_experiences(team.id, page.clone()).unwrap();
            found.extend(part.items);
            match part.next {
                Some(next) => page.after = Some(next),
                None => break,
            }
        }
    }
    found
}

fn check(path: &Path, known: &Known) -> usize {
    let db = PulseDB::open(path, config(SyncMode::Normal)).unwrap();
    let health = db.health_check().unwrap();
    assert!(
        !health.recovery.clean && health.recovery.damaged.is_empty(),
        "{health:?}"
    );
    let found = all(&db);
    let mut batches: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut by_id = BTreeMap::new();
    for one in found {
        let label = one.content.split(' ').next().unwrap().to_owned();
        assert_eq!(one.content, content(&label));
        assert_eq!(one.embedding, embedding(&label));
        if let Some((batch, _)) = label.split_once('b') {
            batches.entry(batch.to_owned()).or_default().insert(label);
        }
        assert!(by_id.insert(one.id, one).is_none());
    }
    for (id, label) in &known.recorded {
        let one = by_id
            .get(id)
            .unwrap_or_else(|| panic!("{label} was acknowledged and is gone"));
        assert_eq!(one.content, content(label));
    }
    for (id, count) in &known.reinforced {
        assert!(by_id[id].applications() >= *count, "{id} was reinforced");
    }
    for (batch, labels) in batches {
        assert_eq!(labels.len(), BATCH, "{batch} is there in part");
    }
    db.close().unwrap();
    by_id.len()
}

#[test]
fn killed_at_any_moment() {
    if let Ok(path) = std::env::var(CHILD) {
        let round = std::env::var(ROUND).unwrap().parse().unwrap();
        return child(Path::new(&path), round);
    }
    let rounds = std::env::var("PULSEDB_KILL_ROUNDS");
    let rounds = rounds.map_or(8, |text| text.parse().unwrap());
    let started = Instant::now();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let mut known = Known::default();
    let mut stored = 0;
    for round in 0..rounds {
        let (mut child, told) = start(&path, round);
        let listener = thread::spawn(move || {
            let mut heard = Known::default();
            listen(told, &mut heard);
            heard
        });
        // A writer that lives is named at once, and disturbed by nobody.
        match PulseDB::open(&path, config(SyncMode::Normal)) {
            Err(PulseDBError::Locked { pid, .. }) => assert_eq!(pid, child.id()),
            other => panic!("{other:?}"),
        }
        let moment = started.elapsed().subsec_nanos() % 150;
        thread::sleep(Duration::from_millis(u64::from(moment)));
        child.kill().unwrap();
        child.wait().unwrap();
        let heard = listener.join().unwrap();
        for (id, label) in heard.recorded {
            assert!(
                known.recorded.insert(id, label).is_none(),
                "{id} was given twice"
            );
        }
        known.reinforced.extend(heard.reinforced);
        // The lock died with its holder.
        stored = check(&path, &known);
    }
    println!(
        "{rounds} kills, {} acknowledged of {stored} stored, in {:?}",
        known.recorded.len(),
        started.elapsed()
    );
    assert!(!known.recorded.is_empty());
}
