//! Does the command fetch models, and does a database whose model is missing?
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests run a program against a server of their own"
)]

use std::{
    collections::BTreeSet,
    env, fs,
    path::PathBuf,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    command::{Commands, code, parsed, text},
    hub_server::{COMMIT, Hub, Mood, REPOSITORY},
};

fn files() -> [(&'static str, Vec<u8>); 3] {
    [
        ("config.json", b"{}".to_vec()),
        ("tokenizer.json", b"[]".to_vec()),
        ("model.safetensors", vec![7; 200_000]),
    ]
}

#[test]
fn a_model_is_fetched_once() {
    let (commands, hub) = (Commands::new(), Hub::with(files()));
    hub.moods("model.safetensors", [Mood::Cut(1000)]);
    let environment = [("HF_ENDPOINT", hub.endpoint.as_str()), ("HF_TOKEN", "")];
    let download = |more: &[&str]| {
        let arguments = [
            "model",
            "download",
            "--to",
            "here",
            "--repository",
            REPOSITORY,
        ];
        commands.run_in(&environment, &[&arguments, more].concat())
    };
    let report: Value = parsed(&download(&["--json"]));
    assert_eq!(
        (&report["dir"], &report["commit"]),
        (&json!("here"), &json!(COMMIT))
    );
    let names: Vec<&Value> = report["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| &file["name"])
        .collect();
    assert_eq!(
        names,
        ["config.json", "tokenizer.json", "model.safetensors"]
    );
    for (name, bytes) in files() {
        assert_eq!(fs::read(commands.path("here").join(name)).unwrap(), bytes);
    }
    hub.asked();
    let again = download(&[]);
    assert_eq!(code(&again), 0, "{again:?}");
    assert!(text(&again.stdout).contains("here was there"), "{again:?}");
    assert_eq!(hub.asked(), []);
    let expected = report["files"][2]["sha256"]
        .as_str()
        .unwrap()
        .replace('a', "b");
    let wrong = format!("model.safetensors={expected}");
    let refused = download(&["--sha256", &wrong]);
    assert_eq!(code(&refused), 2, "{refused:?}");
    assert!(
        text(&refused.stderr).contains("sha256[config.json]"),
        "{refused:?}"
    );
}

#[test]
fn a_killed_download_goes_on() {
    let (commands, hub) = (Commands::new(), Hub::with(files()));
    hub.moods(
        "model.safetensors",
        [Mood::Silent(150_000, Duration::from_secs(25))],
    );
    let environment = [("HF_ENDPOINT", hub.endpoint.as_str()), ("HF_TOKEN", "")];
    let download = [
        "model",
        "download",
        "--to",
        "here",
        "--repository",
        REPOSITORY,
        "--json",
    ];
    let mut child = commands
        .command(&download)
        .envs(environment)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let part = commands.path("here.partial/model.safetensors");
    let begun = Instant::now();
    while fs::metadata(&part).map_or(0, |part| part.len()) < 100_000 {
        assert!(begun.elapsed() < Duration::from_secs(20), "nothing comes");
        thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!commands.path("here").exists());
    hub.asked();
    let report: Value = parsed(&commands.run_in(&environment, &download));
    assert_eq!(report["files"].as_array().unwrap().len(), 3);
    let asked = hub.asked();
    let weights = asked
        .iter()
        .find(|asked| asked.file == "model.safetensors")
        .unwrap();
    assert!(weights.from >= Some(99_999), "{asked:?}");
    assert_eq!(
        fs::read(commands.path("here/model.safetensors")).unwrap(),
        vec![7; 200_000]
    );
}

#[test]
fn what_a_hub_refuses_is_told() {
    let (commands, hub) = (Commands::new(), Hub::with(files()));
    let environment = [("HF_ENDPOINT", hub.endpoint.as_str()), ("HF_TOKEN", "hush")];
    // The default model is none of this hub's.
    let refused = commands.run_in(&environment, &["model", "download", "--to", "here"]);
    assert_eq!(code(&refused), 6, "{refused:?}");
    let told = text(&refused.stderr);
    assert!(
        told.contains("/sentence-transformers/all-MiniLM-L6-v2/resolve/"),
        "{told}"
    );
    assert!(told.contains("404") && !told.contains("hush"), "{told}");
    let refused = commands.run_in(
        &environment,
        &["model", "download", "--repository", REPOSITORY],
    );
    assert_eq!(code(&refused), 2, "{refused:?}");
    let nowhere = [("HF_ENDPOINT", "nowhere")];
    let refused = commands.run_in(&nowhere, &["model", "download", "--to", "here"]);
    assert_eq!(code(&refused), 2, "{refused:?}");
    assert!(text(&refused.stderr).contains("endpoint"), "{refused:?}");
}

/// The model of these tests, wherever it is.
fn model() -> PathBuf {
    let named = env::var_os("PULSEDB_MODEL_DIR").filter(|dir| !dir.is_empty());
    let cache = || {
        let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        let cache = env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|dir| dir.is_absolute());
        cache.or(home).unwrap().join("pulsedb/all-MiniLM-L6-v2")
    };
    named.map_or_else(cache, PathBuf::from)
}

#[test]
fn processes_whose_model_is_missing_fetch_it_once_where_that_is_chosen() {
    let read = |name: &'static str| (name, fs::read(model().join(name)).unwrap());
    let hub = Hub::with(["config.json", "tokenizer.json", "model.safetensors"].map(read));
    hub.be_named("sentence-transformers/all-MiniLM-L6-v2");
    hub.moods("model.safetensors", [Mood::Cut(40_000_000)]);
    let commands = Commands::new();
    for name in ["one", "two"] {
        let init = ["init", name, "--collective", "team", "--dimension", "384"];
        commands.json(&init);
    }
    let cache = commands.path("cache");
    let record = |db: &str, download: &str| {
        let environment = [
            ("HF_ENDPOINT", hub.endpoint.as_str()),
            ("XDG_CACHE_HOME", cache.to_str().unwrap()),
            ("PULSEDB_MODEL_DIR", ""),
            ("PULSEDB_MODEL__DOWNLOAD", download),
        ];
        commands.run_in(
            &environment,
            &["record", db, "team", "tides follow the moon", "--json"],
        )
    };
    let refused = record("one", "never");
    assert!(code(&refused) != 0, "{refused:?}");
    assert!(
        text(&refused.stderr).contains("pulsedb model download"),
        "{refused:?}"
    );
    assert_eq!(hub.asked(), []);
    thread::scope(|scope| {
        for db in ["one", "two"] {
            scope.spawn(move || {
                let recorded: Value = parsed(&record(db, "when_missing"));
                assert!(recorded["id"].is_string(), "{recorded}");
            });
        }
    });
    let asked = hub.asked();
    let from: Vec<_> = asked
        .iter()
        .map(|asked| (asked.file.as_str(), asked.from))
        .collect();
    let weights = "model.safetensors";
    let once = [
        ("config.json", None),
        ("tokenizer.json", None),
        (weights, None),
        (weights, Some(39_999_999)),
    ];
    assert_eq!(from, once);
    let names: BTreeSet<_> = fs::read_dir(cache.join("pulsedb"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(
        names,
        ["all-MiniLM-L6-v2", "all-MiniLM-L6-v2.lock"]
            .map(Into::into)
            .into()
    );
    // Now it is there, and nobody is asked.
    let recorded: Value = parsed(&record("one", "never"));
    assert!(recorded["id"].is_string(), "{recorded}");
}
