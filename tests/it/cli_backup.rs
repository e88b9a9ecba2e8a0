//! Do the commands of backups do what their help says?
//!
//! The real binary, on real files; what it prints and how it ends.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests run a program"
)]

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use pulsedb::{
    BackupInfo, BackupList, BackupReport, Config, EmbeddingDimension, NewExperience, PruneReport,
    RestoreReport, blocking::PulseDB,
};
use serde::de::DeserializeOwned;

fn config() -> Config {
    Config {
        segment_bytes: 256 * 1024,
        max_commit_bytes: 64 * 1024,
        ..Config::external(EmbeddingDimension::Custom(3))
    }
}

fn record(db: &PulseDB, contents: &[&str]) {
    let team = db.get_or_create_collective("team").unwrap();
    for content in contents {
        db.record_experience(NewExperience {
            embedding: Some(vec![0.25, 0.5, 0.75]),
            ..NewExperience::new(team, "agent", *content)
        })
        .unwrap();
    }
}

fn count(path: &Path) -> u64 {
    let db = PulseDB::open(path, config()).unwrap();
    let team = db.list_collectives().unwrap()[0].id;
    let count = db.get_collective_stats(team).unwrap().experience_count;
    assert!(db.verify().unwrap().is_clean());
    db.close().unwrap();
    count
}

/// `pulsedb backup` with a command, directories below `dir`, and options.
fn backup(dir: &Path, command: &str, paths: &[&str], options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pulsedb"))
        .args(["backup", command])
        .args(paths.iter().map(|path| dir.join(path)))
        .args(options)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[track_caller]
fn json<T: DeserializeOwned>(output: &Output) -> T {
    assert_eq!(code(output), 0, "{output:?}");
    // No bar where no terminal is.
    assert!(output.stderr.is_empty(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn backups_beside_a_writer_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let db = PulseDB::open(dir.join("db"), config()).unwrap();
    record(&db, &["first", "second"]);
    let paths = ["db", "backups"];
    let first: BackupInfo = json(&backup(dir, "create", &paths, &["--json"]));
    assert_eq!(first.cursor, db.current_cursor().unwrap());
    record(&db, &["third"]);
    let options = ["--json", "--compression", "zstd", "--mib-per-second", "0"];
    let second: BackupInfo = json(&backup(dir, "create", &paths, &options));
    assert_eq!(second.parent, Some(first.id));
    assert!(second.new_bytes < second.bytes);
    let said = backup(dir, "create", &paths, &["--full", "--copy"]);
    assert_eq!(code(&said), 0, "{said:?}");
    assert!(text(&said.stdout).contains("full"), "{said:?}");
    let list: BackupList = json(&backup(dir, "list", &["backups"], &["--json"]));
    assert_eq!(list.backups.len(), 3);
    assert_eq!(list.backups[..2], [first.clone(), second.clone()]);
    let said = text(&backup(dir, "list", &["backups"], &[]).stdout);
    assert_eq!(said.lines().count(), 3);
    assert!(said.contains(&first.id.to_string()), "{said}");
    let second_id = second.id.to_string();
    let options = ["--id", second_id.as_str(), "--json"];
    let report: BackupReport = json(&backup(dir, "verify", &["backups"], &options));
    assert!(report.is_clean() && report.pieces == 2, "{report:?}");
    assert!(text(&backup(dir, "verify", &["backups"], &[]).stdout).contains("as it was written"));

    let restored: RestoreReport =
        json(&backup(dir, "restore", &["backups", "newest"], &["--json"]));
    assert_eq!(restored.instance_id, db.instance_id());
    assert_eq!(count(&dir.join("newest")), 3);
    let lsn = first.cursor.lsn.to_string();
    let options = ["--until-lsn", lsn.as_str(), "--json"];
    let restored: RestoreReport = json(&backup(dir, "restore", &["backups", "past"], &options));
    assert_eq!(
        (restored.backup, restored.lsn),
        (first.id, first.cursor.lsn)
    );
    assert_eq!(count(&dir.join("past")), 2);
    let ms = second.created_at.as_millis().to_string();
    let options = ["--until-ms", ms.as_str(), "--fork", "--json"];
    let restored: RestoreReport = json(&backup(dir, "restore", &["backups", "fork"], &options));
    assert_ne!(restored.instance_id, db.instance_id());
    assert_eq!(count(&dir.join("fork")), 3);

    let options = ["--keep-last", "2", "--json"];
    let report: PruneReport = json(&backup(dir, "prune", &["backups"], &options));
    assert_eq!((report.removed, report.kept.len()), (vec![first.id], 2));
    db.close().unwrap();
    // Of a database that nobody has open, too.
    let last: BackupInfo = json(&backup(dir, "create", &paths, &["--json"]));
    assert!(last.cursor.lsn > second.cursor.lsn);
}

#[test]
fn what_goes_wrong_is_in_the_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let db = PulseDB::open(dir.join("db"), config()).unwrap();
    record(&db, &["first"]);
    let paths = ["db", "backups"];
    // Neither database nor repository.
    for (command, paths) in [
        ("create", &["nowhere", "backups"][..]),
        ("list", &["nowhere"]),
        ("verify", &["nowhere"]),
        ("restore", &["nowhere", "to"]),
        ("prune", &["nowhere"]),
    ] {
        let done = backup(dir, command, paths, &[]);
        assert_eq!(code(&done), 3, "{done:?}");
    }
    assert!(!dir.join("nowhere").exists() && !dir.join("to").exists());
    // A directory of something else.
    let done = backup(dir, "create", &["db", "db"], &[]);
    assert_eq!(code(&done), 3, "{done:?}");
    assert!(text(&done.stderr).contains("no repository"), "{done:?}");
    let info: BackupInfo = json(&backup(dir, "create", &paths, &["--copy", "--json"]));
    for (command, paths, options) in [
        ("prune", &["backups"][..], &[][..]),
        ("restore", &["backups", "db"], &[]),
        ("restore", &["backups", "to"], &["--until-lsn", "99999"]),
        (
            "restore",
            &["backups", "to"],
            &["--until-lsn", "1", "--until-ms", "1"],
        ),
        ("verify", &["backups"], &["--id", "nonsense"]),
        (
            "verify",
            &["backups"],
            &["--id", "00000000-0000-0000-0000-000000000001"],
        ),
    ] {
        let done = backup(dir, command, paths, options);
        assert_eq!(code(&done), 2, "{command} {options:?}: {done:?}");
        assert!(!done.stderr.is_empty());
    }
    // Damage.
    let piece = fs::read_dir(dir.join("backups/pieces")).unwrap().next();
    let piece = piece.unwrap().unwrap().path();
    let mut bytes = fs::read(&piece).unwrap();
    bytes[100] ^= 1;
    fs::write(&piece, &bytes).unwrap();
    let done = backup(dir, "verify", &["backups"], &[]);
    assert_eq!(code(&done), 1, "{done:?}");
    let name = piece.file_name().unwrap().to_str().unwrap();
    assert!(text(&done.stdout).contains(name), "{done:?}");
    let done = backup(dir, "restore", &["backups", "damaged"], &[]);
    assert_eq!(code(&done), 6, "{done:?}");
    assert!(text(&done.stderr).contains(name), "{done:?}");
    let manifest = dir.join(format!("backups/{}.backup", info.id));
    let newer = fs::read_to_string(&manifest).unwrap();
    fs::write(
        &manifest,
        newer.replacen("\"version\":1", "\"version\":3", 1),
    )
    .unwrap();
    assert_eq!(code(&backup(dir, "list", &["backups"], &[])), 1);
    db.close().unwrap();
}
