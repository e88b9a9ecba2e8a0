//! Does the command do what its help says?
//!
//! The real binary, on real files; what it prints and how it ends.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests run a program"
)]

use std::{
    fs,
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use pulsedb::{
    Config, EmbeddingDimension, LogItem, NewExperience, SalvageReport, VerifyReport,
    blocking::PulseDB,
};
use serde_json::Value;
use tempfile::TempDir;

fn config() -> Config {
    Config {
        segment_bytes: 256 * 1024,
        max_commit_bytes: 64 * 1024,
        ..Config::external(EmbeddingDimension::Custom(3))
    }
}

fn draft(team: pulsedb::CollectiveId, content: &str) -> NewExperience {
    NewExperience {
        embedding: Some(vec![0.25, 0.5, 0.75]),
        ..NewExperience::new(team, "agent", content)
    }
}

/// A closed database with three experiences.
fn sample() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let db = PulseDB::open(&path, config()).unwrap();
    let team = db.create_collective("team").unwrap();
    for content in ["first", "second", "third"] {
        db.record_experience(draft(team, content)).unwrap();
    }
    db.close().unwrap();
    (dir, path)
}

fn pulsedb(arguments: &[&str], path: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pulsedb"))
        .args(arguments.iter().take(1))
        .arg(path)
        .args(arguments.iter().skip(1))
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn segment(path: &Path) -> PathBuf {
    fs::read_dir(path.join("log"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|end| end == "seg"))
        .unwrap()
}

/// Flips a bit of the content of "second".
fn damage(path: &Path) -> PathBuf {
    let segment = segment(path);
    let bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(6).position(|at| at == b"second").unwrap();
    let mut file = fs::OpenOptions::new().write(true).open(&segment).unwrap();
    file.seek(SeekFrom::Start(at as u64)).unwrap();
    file.write_all(b"S").unwrap();
    segment
}

#[test]
fn info_and_verify_of_a_whole_database() {
    let (_dir, path) = sample();
    let info = pulsedb(&["info"], &path);
    assert_eq!(code(&info), 0, "{info:?}");
    let said = text(&info.stdout);
    for part in ["instance", "Healthy", "team", "3 experiences"] {
        assert!(said.contains(part), "{said}");
    }
    let json = pulsedb(&["info", "--json"], &path);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["collectives"][0]["stats"]["experience_count"], 3);
    let verify = pulsedb(&["verify", "--json"], &path);
    assert_eq!(code(&verify), 0, "{verify:?}");
    let report: VerifyReport = serde_json::from_slice(&verify.stdout).unwrap();
    assert!(report.is_clean());
    assert!(text(&pulsedb(&["verify"], &path).stdout).contains("as it was written"));
    // No bar where no terminal is.
    assert!(verify.stderr.is_empty(), "{verify:?}");
}

#[test]
fn damage_is_listed_and_salvaged() {
    let (dir, path) = sample();
    let segment = damage(&path);
    let verify = pulsedb(&["verify"], &path);
    assert_eq!(code(&verify), 1, "{verify:?}");
    assert!(text(&verify.stdout).contains(segment.file_name().unwrap().to_str().unwrap()));
    assert_eq!(code(&pulsedb(&["info"], &path)), 1);
    let dest = dir.path().join("rescued");
    let salvage = pulsedb(&["salvage", dest.to_str().unwrap(), "--json"], &path);
    assert_eq!(code(&salvage), 1, "{salvage:?}");
    let report: SalvageReport = serde_json::from_slice(&salvage.stdout).unwrap();
    assert_eq!((report.experiences, report.lost.len()), (2, 1));
    assert_eq!(code(&pulsedb(&["verify"], &dest)), 0);
    // It is not done twice into the same place.
    let again = pulsedb(&["salvage", dest.to_str().unwrap()], &path);
    assert_eq!(code(&again), 2, "{again:?}");
    assert!(text(&again.stderr).contains("not empty"), "{again:?}");
    let lines = text(&pulsedb(&["dump"], &path).stdout);
    assert_eq!(
        lines
            .lines()
            .filter(|line| line.contains("does not match"))
            .count(),
        1
    );
}

#[test]
fn tail_writes_what_was_committed_and_goes_on_behind_a_cursor() {
    let (_dir, path) = sample();
    let tail = pulsedb(&["tail"], &path);
    assert_eq!(code(&tail), 0, "{tail:?}");
    let lines = text(&tail.stdout);
    let of_experiences = lines.lines().filter(|line| line.contains("  experience "));
    assert_eq!(of_experiences.clone().count(), 3);
    let second = of_experiences.clone().nth(1).unwrap();
    let (cursor, _) = second.split_once(' ').unwrap();
    let tail = pulsedb(&["tail", "--json", "--from", cursor], &path);
    let json: Vec<Value> = text(&tail.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(json.len(), 1);
    assert_eq!(json[0]["commit"]["records"][0]["content"], "third");
    let tail = pulsedb(&["tail", "--binary", "--from", cursor], &path);
    let (change, len) = pulsedb::Change::from_bytes(&tail.stdout).unwrap().unwrap();
    assert_eq!(len, tail.stdout.len());
    assert_eq!(
        serde_json::from_str::<Value>(&change.to_json().unwrap()).unwrap(),
        json[0]
    );
    assert_eq!(code(&pulsedb(&["tail", "--from", "here"], &path)), 2);
}

#[test]
fn dump_writes_one_record_per_line_and_resumes() {
    let (_dir, path) = sample();
    let dump = pulsedb(&["dump"], &path);
    assert_eq!(code(&dump), 0, "{dump:?}");
    let lines = text(&dump.stdout);
    let items: Vec<LogItem> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    // The collective, again with whose vectors it holds, three bodies, and the end.
    assert_eq!(items.len(), 6, "{lines}");
    let kinds: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["record"].clone())
        .collect();
    assert_eq!(
        kinds,
        ["collective", "collective", "body", "body", "body", "close"]
    );
    assert!(!lines.contains("second") && !lines.contains("0.75"));
    let LogItem::Record(second) = &items[3] else {
        panic!("{:?}", items[3]);
    };
    let from = second.lsn.to_string();
    let rest = pulsedb(
        &[
            "dump",
            "--from",
            &from,
            "--content",
            "--vectors",
            "--limit",
            "1",
        ],
        &path,
    );
    let rest = text(&rest.stdout);
    assert_eq!(rest.lines().count(), 1);
    assert!(rest.contains("second") && rest.contains("0.75"), "{rest}");
}

#[test]
fn reading_commands_work_beside_a_writer_and_salvage_does_not() {
    let (dir, path) = sample();
    let db = PulseDB::open(&path, config()).unwrap();
    let team = db.list_collectives().unwrap()[0].id;
    db.record_experience(draft(team, "fourth")).unwrap();
    for command in ["info", "verify", "dump"] {
        let done = pulsedb(&[command], &path);
        assert_eq!(code(&done), 0, "{done:?}");
    }
    assert!(text(&pulsedb(&["dump", "--content"], &path).stdout).contains("fourth"));
    let dest = dir.path().join("rescued");
    let refused = pulsedb(&["salvage", dest.to_str().unwrap()], &path);
    assert_eq!(code(&refused), 4, "{refused:?}");
    let said = text(&refused.stderr);
    assert!(said.contains(&std::process::id().to_string()), "{said}");
    assert!(!dest.exists());
    db.close().unwrap();
}

#[test]
fn what_cannot_be_opened_says_why_and_what_to_do() {
    let (dir, path) = sample();
    assert_eq!(code(&pulsedb(&["info"], &dir.path().join("nowhere"))), 3);
    assert_eq!(code(&pulsedb(&["info"], dir.path())), 3);
    assert_eq!(code(&pulsedb(&["frobnicate"], &path)), 2);
    // A newer version, with a right checksum.
    let manifest = path.join("MANIFEST");
    let mut bytes = Vec::new();
    fs::File::open(&manifest)
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    let whole = bytes.clone();
    bytes[8] = 9;
    let body = bytes.len() - 4;
    let crc = crc32fast::hash(&bytes[..body]).to_le_bytes();
    bytes[body..].copy_from_slice(&crc);
    fs::write(&manifest, &bytes).unwrap();
    let newer = pulsedb(&["verify"], &path);
    assert_eq!(code(&newer), 5, "{newer:?}");
    assert!(text(&newer.stderr).contains("version 9"), "{newer:?}");
    fs::write(&manifest, &whole).unwrap();
    // Without any usable manifest it does not open.
    fs::write(&manifest, "damaged").unwrap();
    fs::write(path.join("MANIFEST.old"), "damaged").unwrap();
    let damaged = pulsedb(&["info"], &path);
    assert_eq!(code(&damaged), 3, "{damaged:?}");
    assert!(
        text(&damaged.stderr).contains("pulsedb salvage"),
        "{damaged:?}"
    );
    let dest = dir.path().join("rescued");
    let rescued = pulsedb(&["salvage", dest.to_str().unwrap(), "--json"], &path);
    let report: SalvageReport = serde_json::from_slice(&rescued.stdout).unwrap();
    assert_eq!(report.experiences, 3, "{report:?}");
}

#[test]
fn compact_gives_space_back_and_refuses_beside_a_writer() {
    let (_dir, path) = sample();
    let db = PulseDB::open(&path, config()).unwrap();
    let team = db.list_collectives().unwrap()[0].id;
    let mut ids = Vec::new();
    for number in 0..2_000 {
        let content = format!("{number} {}", "words ".repeat(60));
        ids.push(db.record_experience(draft(team, &content)).unwrap());
    }
    for id in &ids {
        db.delete_experience(*id).unwrap();
    }
    let beside = pulsedb(&["compact"], &path);
    assert_eq!(beside.status.code(), Some(4), "{beside:?}");
    db.close().unwrap();
    let done = pulsedb(&["compact", "--json"], &path);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    let bytes = |name: &str| report[name].as_u64().unwrap();
    assert!(bytes("segments_rewritten") > 0);
    assert!(bytes("bytes_after") < bytes("bytes_before"), "{report}");
    let db = PulseDB::open(&path, config()).unwrap();
    assert_eq!(db.get_collective_stats(team).unwrap().experience_count, 3);
    assert!(db.verify().unwrap().is_clean());
    db.close().unwrap();
    let nowhere = pulsedb(&["compact"], &path.join("none"));
    assert_eq!(nowhere.status.code(), Some(3), "{nowhere:?}");
    assert!(!path.join("none").exists());
}
