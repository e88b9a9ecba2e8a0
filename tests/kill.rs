//! Does what a process heard acknowledged survive its violent death?
//!
//! The real thing beside the simulation: a child (this very binary) records experiences from
//! several threads and tells each acknowledged one through a pipe; it is killed with SIGKILL at a
//! random moment, the database is opened again, and everything it told of is there as it was
//! told. The database is kept from round to round. `PULSEDB_KILL_ROUNDS` says how many.
//!
//! Beside it a reader in a process of its own, which tells every event that it hears of and keeps a
//! cursor; it dies as violently as the writer, and goes on behind its cursor. In the end each of its lives
//! is compared with the log.
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
    CollectiveId, CompactionConfig, Config, EmbeddingDimension, EntityId, Experience, ExperienceId,
    LogItem, LogOptions, Lsn, NewExperience, Page, PulseDBError, SyncMode, blocking::PulseDB,
    model::LogEntry,
};

/// Tells the child where its database is, and which round it plays in.
const CHILD: &str = "PULSEDB_KILL_CHILD";
const ROUND: &str = "PULSEDB_KILL_ROUND";
/// Tells the child that reads where its database is.
const READER: &str = "PULSEDB_KILL_READER";
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
        // The log of all rounds is what the reader is compared with.
        compaction: CompactionConfig {
            automatic: false,
            ..CompactionConfig::default()
        },
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
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["killed_at_any_moment", "--exact", "--nocapture"])
        .env(CHILD, path)
        .env(ROUND, round.to_string());
    started(command)
}

fn started(mut command: Command) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
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

fn cursor_file(path: &Path) -> std::path::PathBuf {
    path.with_extension("cursor")
}

/// Up to where the reader has told everything, as far as it remembers.
fn stored_cursor(path: &Path) -> u64 {
    let stored = std::fs::read_to_string(cursor_file(path));
    stored.map_or(0, |text| text.trim().parse().unwrap())
}

/// Records of experiences from this LSN on.
fn experiences_from(page: pulsedb::LogPage) -> (Vec<LogEntry>, Option<Lsn>) {
    let entries = page.items.into_iter().map(|item| match item {
        LogItem::Record(entry) => *entry,
        LogItem::Damaged(damage) => panic!("{damage:?}"),
    });
    let entries = entries.filter(|one| matches!(one.entity, Some(EntityId::Experience(_))));
    (entries.collect(), page.next)
}

/// The life of a reader: tells every event behind its cursor, and stores how far it has come.
fn reading_child(path: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(async {
        let config = config(SyncMode::Normal);
        let db = pulsedb::PulseDB::open_read_only(path, config)
            .await
            .unwrap();
        let cursor = stored_cursor(path);
        tell(&format!("\nready\nfrom {cursor}\n"));
        // The first writer may not have come that far.
        let team = loop {
            let mut found = db.list_collectives().await.unwrap().into_iter();
            if let Some(team) = found.find(|one| one.name == "team") {
                break team.id;
            }
            thread::sleep(Duration::from_millis(1));
        };
        let heard = async |lsn: Lsn, id: ExperienceId| {
            // What one hears of is there to be read.
            let one = db.get_experience(id).await.unwrap();
            let label = one.content.split(' ').next().unwrap();
            assert_eq!(one.content, content(label));
            assert_eq!(one.embedding, embedding(label));
            tell(&format!("e {lsn}\n"));
            let unfinished = path.with_extension("unfinished");
            std::fs::write(&unfinished, lsn.to_string()).unwrap();
            std::fs::rename(&unfinished, cursor_file(path)).unwrap();
        };
        let mut live = db.watch_experiences(team).await.unwrap();
        let seen = live.position();
        let mut from = Some(Lsn::new(cursor + 1));
        while let Some(at) = from {
            let options = LogOptions {
                from: at,
                ..LogOptions::default()
            };
            let (entries, next) = experiences_from(db.read_log(options).await.unwrap());
            for one in entries.into_iter().filter(|one| one.lsn <= seen) {
                let Some(EntityId::Experience(id)) = one.entity else {
                    continue;
                };
                heard(one.lsn, id).await;
            }
            from = next.filter(|next| *next <= seen);
        }
        while let Some(event) = live.recv().await {
            let event = event.unwrap();
            if let EntityId::Experience(id) = event.entity
                && event.lsn.get() > cursor
            {
                heard(event.lsn, id).await;
            }
        }
    });
}

/// What a reader told in one life, behind which cursor.
struct Life {
    from: u64,
    told: Vec<u64>,
}

fn listen_to_reader(mut told: BufReader<std::process::ChildStdout>) -> Life {
    let mut life = Life {
        from: 0,
        told: Vec::new(),
    };
    let mut line = String::new();
    while told.read_line(&mut line).unwrap() > 0 && line.ends_with('\n') {
        match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["from", cursor] => life.from = cursor.parse().unwrap(),
            ["e", lsn] => life.told.push(lsn.parse().unwrap()),
            _ => panic!("the reader said {line:?}"),
        }
        line.clear();
    }
    life
}

#[test]
fn a_reader_goes_on_whoever_is_killed() {
    if let Ok(path) = std::env::var(READER) {
        return reading_child(Path::new(&path));
    }
    let rounds = std::env::var("PULSEDB_KILL_ROUNDS");
    let rounds = rounds.map_or(8, |text| text.parse().unwrap());
    let started_at = Instant::now();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let mut writer = None;
    let mut reader = None;
    let mut lives: Vec<Life> = Vec::new();
    for round in 0..rounds {
        let (mut writing, writer_heard) = writer.take().unwrap_or_else(|| {
            let (child, told) = start(&path, round);
            let heard = thread::spawn(move || listen(told, &mut Known::default()));
            (child, heard)
        });
        let (mut reading, reader_heard) = reader.take().unwrap_or_else(|| {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command
                .args([
                    "a_reader_goes_on_whoever_is_killed",
                    "--exact",
                    "--nocapture",
                ])
                .env(READER, &path);
            let (child, told) = started(command);
            (child, thread::spawn(move || listen_to_reader(told)))
        });
        let moment = 20 + started_at.elapsed().subsec_nanos() % 150;
        thread::sleep(Duration::from_millis(u64::from(moment)));
        let is_last = round + 1 == rounds;
        assert!(
            reading.try_wait().unwrap().is_none(),
            "the reader died by itself"
        );
        if is_last || round % 3 != 1 {
            writing.kill().unwrap();
            writing.wait().unwrap();
            writer_heard.join().unwrap();
        } else {
            writer = Some((writing, writer_heard));
        }
        if is_last || round % 3 != 0 {
            reading.kill().unwrap();
            reading.wait().unwrap();
            lives.push(reader_heard.join().unwrap());
        } else {
            reader = Some((reading, reader_heard));
        }
    }
    let db = PulseDB::open(&path, config(SyncMode::Normal)).unwrap();
    let (mut log, mut from) = (Vec::new(), Some(Lsn::ZERO));
    while let Some(at) = from {
        let options = LogOptions {
            from: at,
            ..LogOptions::default()
        };
        let (entries, next) = experiences_from(db.read_log(options).unwrap());
        log.extend(entries.into_iter().map(|one| one.lsn.get()));
        from = next;
    }
    let mut told = 0;
    let mut stored = BTreeSet::from([0]);
    for life in &lives {
        assert!(stored.contains(&life.from), "{} was told before", life.from);
        let behind = log.partition_point(|lsn| *lsn <= life.from);
        let expected = log[behind..].iter().take(life.told.len());
        assert!(
            life.told.iter().eq(expected),
            "behind {}: {:?}",
            life.from,
            life.told
        );
        stored.extend(&life.told);
        told += life.told.len();
    }
    println!(
        "{rounds} rounds, {} lives of a reader, {told} events told of {} in the log, in {:?}",
        lives.len(),
        log.len(),
        started_at.elapsed()
    );
    assert!(told > 0);
    db.close().unwrap();
}
