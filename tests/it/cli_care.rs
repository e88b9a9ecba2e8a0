//! Do the commands that count, look after and measure do what their help says?
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests run a program"
)]

use std::fs;

use pulsedb::{Config, EmbeddingDimension, Health, HealthStatus, blocking::PulseDB};
use serde_json::{Value, json};

use crate::command::{Commands, code, parsed, text};

fn config() -> Config {
    Config::external(EmbeddingDimension::Custom(3))
}

#[test]
fn stats_count_collectives() {
    let commands = Commands::with_team();
    commands.record("first", &[]);
    commands.json(&["init", "db", "--collective", "empty"]);
    let stats = commands.json(&["stats", "db"]);
    assert_eq!(stats["database"]["collectives"], 2);
    assert_eq!(stats["collectives"][0]["collective"]["name"], "team");
    assert_eq!(stats["collectives"][0]["stats"]["experience_count"], 1);
    let one = commands.json(&["stats", "db", "--collective", "empty"]);
    assert_eq!(one["collectives"].as_array().unwrap().len(), 1);
    assert_eq!(one["collectives"][0]["stats"]["experience_count"], 0);
    let shown = commands.run(&["stats", "db"]);
    assert!(text(&shown.stdout).contains("experiences  1"), "{shown:?}");
}

#[test]
fn a_checkpoint_leaves_the_next_open_little_to_read() {
    let commands = Commands::with_team();
    commands.record("first", &[]);
    let made = commands.json(&["checkpoint", "db"]);
    let cursor = commands.json(&["stats", "db"])["database"]["cursor"].clone();
    let lsn = |cursor: &Value| cursor["lsn"].as_u64().unwrap();
    assert!(lsn(&made["cursor"]) > 0 && lsn(&made["cursor"]) <= lsn(&cursor));
    let shown = commands.run(&["checkpoint", "db"]);
    assert!(text(&shown.stdout).contains("checkpoint"), "{shown:?}");
}

#[test]
fn indexes_are_made_again() {
    let commands = Commands::with_team();
    commands.record("first", &[]);
    commands.json(&["init", "db", "--collective", "empty"]);
    let all = commands.json(&["rebuild-index", "db"]);
    assert_eq!(all["collectives"].as_array().unwrap().len(), 2);
    let one = commands.json(&["rebuild-index", "db", "--collective", "team"]);
    assert_eq!(one["collectives"], json!([all["collectives"][0]]));
    let none = commands.run(&["rebuild-index", "db", "--collective", "nobody"]);
    assert_eq!(code(&none), 2, "{none:?}");
    assert_eq!(code(&commands.run(&["verify", "db"])), 0);
}

#[test]
fn beside_a_writer_looking_works_and_writing_names_its_process() {
    let commands = Commands::with_team();
    commands.record("first", &[]);
    commands.json(&["export", "db", "team", "team.jsonl"]);
    let db = PulseDB::open(commands.path("db"), config()).unwrap();
    let looking: [&[&str]; 8] = [
        &["info", "db"],
        &["health", "db"],
        &["stats", "db"],
        &["metrics", "db"],
        &["export", "db", "team"],
        &["search", "db", "team", "first"],
        &["context", "db", "team", "--vector", "[1,2,3]"],
        &["import", "db", "team.jsonl", "--check"],
    ];
    for arguments in looking {
        let done = commands.run(arguments);
        assert_eq!(code(&done), 0, "{done:?}");
    }
    let writing: [&[&str]; 6] = [
        &["init", "db"],
        &["checkpoint", "db"],
        &["rebuild-index", "db"],
        &["compact", "db"],
        &["record", "db", "team", "second", "--vector", "[1,2,3]"],
        &["import", "db", "team.jsonl"],
    ];
    for arguments in writing {
        let refused = commands.run(arguments);
        assert_eq!(code(&refused), 4, "{refused:?}");
        let said = text(&refused.stderr);
        assert!(said.contains(&std::process::id().to_string()), "{said}");
    }
    db.close().unwrap();
    // None of them makes a database by the way.
    let nowhere: [&[&str]; 4] = [
        &["checkpoint", "none"],
        &["record", "none", "team", "text", "--vector", "[1,2,3]"],
        &["import", "none", "team.jsonl"],
        &["stats", "none"],
    ];
    for arguments in nowhere {
        assert_eq!(code(&commands.run(arguments)), 3, "{arguments:?}");
    }
    assert!(!commands.path("none").exists());
}

#[test]
fn bench_measures_in_a_place_of_its_own() {
    let commands = Commands::with_team();
    let small = [
        "--seconds=0.05",
        "--rows=300",
        "--dimension=8",
        "--writers=2",
    ];
    let report = commands.json(&[&["bench"], small.as_slice()].concat());
    for rate in [
        &report["sync"],
        &report["records"][1],
        &report["searches"][0],
    ] {
        assert!(rate["per_second"].as_f64().unwrap() > 0.0, "{report}");
        assert!(
            rate["p50_us"].as_u64() <= rate["p99_us"].as_u64(),
            "{report}"
        );
    }
    assert!(report["experiences"].as_u64().unwrap() >= 300);
    assert!(report["log_bytes"].as_f64().unwrap() > 400.0);
    let left: Vec<_> = fs::read_dir(commands.path("")).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    // A database is left alone, and what cannot be is refused.
    let inside = [&["bench", "db"], small.as_slice()].concat();
    assert_eq!(code(&commands.run(&inside)), 2);
    for wrong in [
        "--seconds=0",
        "--seconds=nan",
        "--rows=0",
        "--writers=0",
        "--content=0",
    ] {
        let refused = commands.run(&["bench", wrong]);
        assert_eq!(code(&refused), 2, "{refused:?}");
    }
}

#[test]
fn completions_know_the_commands() {
    let commands = Commands::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = commands.run(&["completions", shell]);
        assert_eq!(code(&script), 0, "{script:?}");
        assert!(text(&script.stdout).contains("rebuild-index"), "{shell}");
    }
    let json = commands.json(&["completions", "bash"]);
    assert!(json.as_str().unwrap().contains("rebuild-index"));
}

#[test]
fn health_lists_its_checks_and_turns_the_exit_code() {
    let commands = Commands::with_team();
    commands.record("second", &[]);
    let well = commands.run(&["health", "db", "--json"]);
    let health: Health = serde_json::from_slice(&well.stdout).unwrap();
    assert!(health.checks.len() > 5, "{health:?}");
    // This machine may be short of something; the code says what the answer says.
    let expected = i32::from(health.status != HealthStatus::Healthy);
    assert_eq!(code(&well), expected, "{health:?}");
    let shown = text(&commands.run(&["health", "db"]).stdout);
    for check in &health.checks {
        assert!(shown.contains(check.name.as_str()), "{shown}");
    }
    let log = commands.path("db/log");
    let segment = fs::read_dir(log).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(6).position(|at| at == b"second").unwrap();
    bytes[at] = b'S';
    fs::write(&segment, bytes).unwrap();
    let damaged = commands.run(&["health", "db"]);
    assert_eq!(code(&damaged), 1, "{damaged:?}");
    assert!(text(&damaged.stdout).contains("damage"), "{damaged:?}");
}

#[test]
fn metrics_are_written_for_each_reader_of_them() {
    let commands = Commands::with_team();
    commands.record("first", &[]);
    let prometheus = text(&commands.run(&["metrics", "db"]).stdout);
    assert!(prometheus.contains("# TYPE pulsedb_"), "{prometheus}");
    let statsd = text(
        &commands
            .run(&["metrics", "db", "--format", "statsd"])
            .stdout,
    );
    assert!(
        statsd.starts_with("pulsedb") && statsd.contains('|'),
        "{statsd}"
    );
    let json = commands.json(&["metrics", "db"]);
    assert!(!json["gauges"].as_array().unwrap().is_empty(), "{json}");
}

#[test]
fn settings_come_from_a_file_and_above_it_from_the_environment() {
    let commands = Commands::new();
    fs::write(commands.path("settings.toml"), "embedding_dimension = 5\n").unwrap();
    let init = [
        "init",
        "db",
        "--config",
        "settings.toml",
        "--collective",
        "team",
    ];
    let made = commands.json(&init);
    assert_eq!(made["collectives"][0]["embedding_dimension"], 5);
    // What is said on the command line stands above both.
    let said = [&init, ["--collective=other", "--dimension=4"].as_slice()].concat();
    assert_eq!(code(&commands.run(&said)), 2);
    let environment = [("PULSEDB_EMBEDDING_DIMENSION", "6")];
    let init = [
        "init",
        "next",
        "--config",
        "settings.toml",
        "--collective",
        "team",
        "--json",
    ];
    let made: Value = parsed(&commands.run_in(&environment, &init));
    assert_eq!(made["collectives"][0]["embedding_dimension"], 6);
    let wrong = commands.run_in(&[("PULSEDB_EMBEDDING_DIMENSION", "x")], &["stats", "db"]);
    assert_eq!(code(&wrong), 2, "{wrong:?}");
    fs::write(commands.path("wrong.toml"), "segment_bites = 1\n").unwrap();
    for wrong in ["wrong.toml", "missing.toml"] {
        let refused = commands.run(&["stats", "db", "--config", wrong]);
        assert_eq!(code(&refused), 2, "{refused:?}");
        assert!(text(&refused.stderr).contains(wrong), "{refused:?}");
    }
}
