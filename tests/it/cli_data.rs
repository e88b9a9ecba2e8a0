//! Do the commands that record, ask and carry do what their help says?
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests run a program"
)]

use std::fs;

use pulsedb::{Config, EmbeddingDimension, Experience, ExperienceType, blocking::PulseDB};
use serde_json::{Value, json};

use crate::command::{Commands, code, parsed, text};

fn contents(found: &Value) -> Vec<&str> {
    let hits = found["hits"].as_array().unwrap();
    hits.iter()
        .map(|hit| hit["experience"]["content"].as_str().unwrap())
        .collect()
}

#[test]
fn init_makes_what_is_missing_and_keeps_what_is_there() {
    let commands = Commands::new();
    let init = ["init", "db", "--collective", "team", "--dimension", "3"];
    let made = commands.json(&init);
    assert_eq!(made["collectives"][0]["name"], "team");
    assert_eq!(made["collectives"][0]["embedding_dimension"], 3);
    let again = commands.json(&[&init, ["--collective", "other"].as_slice()].concat());
    assert_eq!(
        again["database"]["instance_id"],
        made["database"]["instance_id"]
    );
    assert_eq!(again["collectives"][0], made["collectives"][0]);
    assert_eq!(again["collectives"].as_array().unwrap().len(), 2);
    // A collective's dimension does not change.
    let other = commands.run(&["init", "db", "--collective", "team", "--dimension", "4"]);
    assert_eq!(code(&other), 2, "{other:?}");
    assert!(text(&other.stderr).contains("dimension"), "{other:?}");
    let none = commands.run(&["init", "db", "--dimension", "0"]);
    assert_ne!(code(&none), 0, "{none:?}");
    // Somebody's directory is not made a database.
    fs::create_dir(commands.path("photos")).unwrap();
    fs::write(commands.path("photos/one.jpeg"), "picture").unwrap();
    assert_eq!(code(&commands.run(&["init", "photos"])), 3);
}

#[test]
fn everything_that_can_be_said_of_an_experience_is_recorded() {
    let commands = Commands::with_team();
    let id = commands.record(
        "retries need jitter",
        &[
            "--agent=planner",
            "--task=T-7",
            "--importance=0.875",
            "--confidence=0.75",
            "--domain=http",
            "--domain=backoff",
            "--tag=lang=rust",
            "--tag=empty=",
            "--file=src/retry.rs",
            "--idempotency-key=once",
            "--expires-ms=9000000000000",
            "--pinned",
            r#"--type={"kind":"fact","statement":"so it is","source":"a book"}"#,
        ],
    );
    let again = commands.record("retries need jitter", &["--idempotency-key=once"]);
    assert_eq!(again, id);
    let config = Config::external(EmbeddingDimension::Custom(3));
    let db = PulseDB::open_read_only(commands.path("db"), config).unwrap();
    let stored: Experience = db.get_experience(id.parse().unwrap()).unwrap();
    assert_eq!(stored.content, "retries need jitter");
    assert_eq!(stored.embedding, [0.25, 0.5, 0.75]);
    assert_eq!(stored.source_agent.to_string(), "planner");
    assert_eq!(stored.source_task.unwrap().to_string(), "T-7");
    assert_eq!((stored.importance, stored.confidence), (0.875, 0.75));
    assert_eq!(stored.domain, ["http", "backoff"]);
    let tags = [("empty", ""), ("lang", "rust")].map(|(key, value)| (key.into(), value.into()));
    assert_eq!(stored.tags, tags.into());
    assert_eq!(stored.related_files, ["src/retry.rs"]);
    assert_eq!(stored.expires_at.unwrap().as_millis(), 9_000_000_000_000);
    assert!(stored.pinned);
    assert!(matches!(
        stored.experience_type,
        ExperienceType::Fact { .. }
    ));
}

#[test]
fn texts_come_from_standard_input_and_vectors_from_files() {
    let commands = Commands::with_team();
    fs::write(commands.path("vector.json"), "[1, 2, 3]\n").unwrap();
    let record = ["record", "db", "new", "--vector", "vector.json", "--json"];
    // The collective has to be there, or to be wanted.
    assert_eq!(code(&commands.run_with("two\nlines\n", &record)), 2);
    let created = [&record, ["--create"].as_slice()].concat();
    let recorded: Value = parsed(&commands.run_with("two\nlines\n", &created));
    assert_eq!(recorded["action"], "recorded");
    let same = [&created, ["--same=reinforce"].as_slice()].concat();
    let again: Value = parsed(&commands.run_with("two\nlines", &same));
    assert_eq!(
        (&again["action"], &again["id"]),
        (&json!("reinforced"), &recorded["id"])
    );
    let found = commands.json(&["search", "db", "new", "--vector", "[1,2,3]", "--vectors"]);
    assert_eq!(contents(&found), ["two\nlines"]);
    assert_eq!(
        found["hits"][0]["experience"]["embedding"],
        json!([1.0, 2.0, 3.0])
    );
    let too_long = "x".repeat(100 * 1024 + 2);
    let refused = commands.run_with(&too_long, &record);
    assert_eq!(code(&refused), 2, "{refused:?}");
    assert!(text(&refused.stderr).contains("102400"), "{refused:?}");
    for wrong in ["[]", "[1, \"a\"]", "nowhere.json", "[1e99]"] {
        let refused = commands.run(&["record", "db", "team", "text", "--vector", wrong]);
        assert_eq!(code(&refused), 2, "{refused:?}");
    }
    for wrong in ["--tag=a", "--type={\"kind\":\"?\"}", "--importance=2"] {
        let vector = ["record", "db", "team", "text", "--vector", "[1,2,3]"];
        let refused = commands.run(&[&vector, [wrong].as_slice()].concat());
        assert_eq!(code(&refused), 2, "{refused:?}");
    }
}

#[test]
fn search_by_words_and_vectors_filters_limits_and_explains() {
    let commands = Commands::with_team();
    commands.record("retries need jitter", &["--domain=http", "--tag=a=1"]);
    commands.record("queues need bounds", &["--domain=queues", "--agent=other"]);
    commands.record(
        "locks need an order",
        &["--type=advice", "--importance=0.9"],
    );
    let search = |more: &[&str]| commands.json(&[&["search", "db", "team"], more].concat());
    let by_words = search(&["jitter"]);
    assert_eq!(contents(&by_words), ["retries need jitter"]);
    assert_eq!(by_words["hits"][0]["experience"]["embedding"], json!([]));
    let need = search(&["need -jitter"]);
    assert_eq!(contents(&need).len(), 2);
    let all = search(&["--vector", "[1,2,3]"]);
    assert_eq!(contents(&all).len(), 3);
    assert_eq!(all.get("explanation"), None);
    let explained = search(&["--vector", "[1,2,3]", "--explain", "--limit", "1"]);
    assert_eq!(contents(&explained).len(), 1);
    assert_eq!(explained["explanation"]["plan"], "scan");
    for (filter, left) in [
        ("--domain=http", "retries need jitter"),
        ("--tag=a=1", "retries need jitter"),
        ("--agent=other", "queues need bounds"),
        ("--min-importance=0.8", "locks need an order"),
    ] {
        let found = search(&["--vector", "[1,2,3]", filter]);
        assert_eq!(contents(&found), [left], "{filter}");
    }
    let none = search(&["--vector", "[1,2,3]", "--kind=fact"]);
    assert_eq!(contents(&none).len(), 0);
    let none = search(&["--vector", "[1,2,3]", "--until-ms=1"]);
    assert_eq!(contents(&none).len(), 0);
    let lines = commands.run(&["search", "db", "team", "jitter"]);
    assert!(
        text(&lines.stdout).contains("retries need jitter"),
        "{lines:?}"
    );
    for wrong in [
        ["search", "db", "nobody", "text"],
        ["search", "db", "team", "--limit=0"],
        ["search", "db", "team", "--vector=[1,2]"],
        ["search", "db", "team", "--kind=?"],
    ] {
        let refused = commands.run(&wrong);
        assert_eq!(code(&refused), 2, "{refused:?}");
    }
}

#[test]
fn a_name_that_several_collectives_have_is_refused_with_their_ids() {
    let commands = Commands::with_team();
    let config = Config::external(EmbeddingDimension::Custom(3));
    let db = PulseDB::open(commands.path("db"), config).unwrap();
    let second = db.create_collective("team").unwrap();
    db.close().unwrap();
    let refused = commands.run(&["export", "db", "team"]);
    assert_eq!(code(&refused), 2, "{refused:?}");
    assert!(
        text(&refused.stderr).contains(&second.to_string()),
        "{refused:?}"
    );
    let by_id = commands.run(&["export", "db", &second.to_string()]);
    assert_eq!(code(&by_id), 0, "{by_id:?}");
}

#[test]
fn context_gathers_what_is_known() {
    let commands = Commands::with_team();
    commands.record("retries need jitter", &[]);
    let found = commands.json(&["context", "db", "team", "--vector", "[1,2,3]"]);
    let similar = &found["similar"][0]["experience"];
    assert_eq!(similar["content"], "retries need jitter");
    assert_eq!(similar["embedding"], json!([]));
    let bounded = [
        "context",
        "db",
        "team",
        "--vector",
        "[1,2,3]",
        "--max-tokens",
        "1",
    ];
    assert_eq!(commands.json(&bounded)["similar"], json!([]));
    let shown = commands.run(&["context", "db", "team", "--vector", "[1,2,3]"]);
    assert!(
        text(&shown.stdout).contains("retries need jitter"),
        "{shown:?}"
    );
}

#[test]
fn an_export_says_what_damage_left_out() {
    let commands = Commands::with_team();
    for content in ["first", "second", "third"] {
        commands.record(content, &[]);
    }
    for entry in fs::read_dir(commands.path("db/log")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(6).position(|some| some == b"second") {
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
        }
    }
    for to in [["team.jsonl", "--json"].as_slice(), &[]] {
        let exported = commands.run(&[["export", "db", "team"].as_slice(), to].concat());
        assert_eq!(code(&exported), 1, "{exported:?}");
        let told = text(&exported.stderr);
        assert!(
            told.contains("left 1 out") && told.contains("verify"),
            "{told}"
        );
        if !to.is_empty() {
            let report: Value = serde_json::from_slice(&exported.stdout).unwrap();
            assert_eq!(
                (&report["lines"], &report["unreadable"]),
                (&json!(4), &json!(1))
            );
        }
    }
    commands.json(&["init", "copy"]);
    let imported = commands.json(&["import", "copy", "team.jsonl"]);
    assert_eq!(imported["created"], 2);
    assert_eq!(imported["read"]["unreadable"], 1);
}

#[test]
fn an_export_becomes_the_same_collective_elsewhere() {
    let commands = Commands::with_team();
    for content in ["first", "second", "third"] {
        commands.record(content, &[]);
    }
    let exported = commands.json(&["export", "db", "team", "team.jsonl"]);
    assert_eq!(exported["lines"], 5);
    let lines = commands.run(&["export", "db", "team"]);
    let file = fs::read(commands.path("team.jsonl")).unwrap();
    assert_eq!(exported["bytes"], file.len() as u64);
    assert_eq!(lines.stdout, file);
    for line in text(&lines.stdout).lines() {
        serde_json::from_str::<Value>(line).unwrap();
    }
    // What is there is not written over.
    let again = commands.run(&["export", "db", "team", "team.jsonl"]);
    assert_eq!(code(&again), 6, "{again:?}");
    commands.json(&["init", "copy"]);
    let checked = commands.json(&["import", "copy", "team.jsonl", "--check"]);
    assert_eq!(
        (&checked["created"], &checked["read"]["experiences"]),
        (&json!(0), &json!(3))
    );
    let imported = commands.json(&["import", "copy", "team.jsonl"]);
    assert_eq!(imported["created"], 3);
    let copied = commands.run(&["export", "copy", "team"]);
    let experiences = |out: &[u8]| -> Vec<String> {
        let lines = text(out);
        let some = lines
            .lines()
            .filter(|line| line.starts_with("{\"experience\""));
        some.map(str::to_owned).collect()
    };
    assert_eq!(experiences(&copied.stdout), experiences(&file));
    for existing in ["merge", "skip", "overwrite"] {
        let import = ["import", "copy", "-", "--existing", existing, "--json"];
        let again: Value = parsed(&commands.run_with(&text(&file), &import));
        assert_eq!(
            (&again["created"], &again["unchanged"]),
            (&json!(0), &json!(3))
        );
    }
    // A broken file is found before anything is written.
    commands.json(&["init", "other"]);
    let broken = text(&file).replace("second", "SECOND");
    fs::write(commands.path("broken.jsonl"), broken).unwrap();
    let refused = commands.run(&["import", "other", "broken.jsonl"]);
    assert_eq!(code(&refused), 2, "{refused:?}");
    assert_eq!(commands.json(&["stats", "other"])["collectives"], json!([]));
    let none = commands.run(&["import", "other", "nowhere.jsonl"]);
    assert_eq!(code(&none), 6, "{none:?}");
}
