//! Do the targets of `fuzz/` hold without a fuzzer, too?
//!
//! The same functions, on the kept corpus and on what a seed makes of it: bytes flipped, cut out, put in,
//! doubled. `PULSEDB_FUZZ_RUNS` says how many per target, `PULSEDB_FUZZ_SEED` from which seed on.
#![allow(
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "this test reads the corpus and says which input failed"
)]

use std::{fs, path::Path};

use pulsedb::{Change, fuzzing};

use crate::{
    crash::sequence,
    support::{World, made_on_request, new},
};

/// Longer inputs find nothing that shorter ones do not.
const MAX_BYTES: usize = 1 << 16;

/// The header of a checkpoint, which ends with two checksums.
const CHECKPOINT_HEADER_BYTES: usize = 184;

/// A sequence of requests takes as long as so many other inputs.
const RUNS_PER_SEQUENCE: u64 = 200;

type Target = (&'static str, fn(&[u8]));

const TARGETS: &[Target] = &[
    ("frame", fuzzing::frame),
    ("record", fuzzing::record),
    ("manifest", fuzzing::manifest),
    ("backup_manifest", fuzzing::backup_manifest),
    ("graph_header", fuzzing::graph_header),
    ("checkpoint", fuzzing::checkpoint),
    ("tail", fuzzing::tail),
    ("segment", fuzzing::segment),
    ("change", fuzzing::change),
    ("question", fuzzing::question),
];

/// Says which input it was when a target panics.
struct Input<'a>(&'a str, &'a [u8]);

impl Drop for Input<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("target {}, input {:?}", self.0, self.1);
        }
    }
}

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound.max(1) as u64) as usize
    }
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut paths: Vec<_> = fs::read_dir(&dir)
        .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn mutated(seeds: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = seeds[chance.below(seeds.len())].clone();
    for _ in 0..=chance.below(6) {
        let at = chance.below(bytes.len() + 1);
        match chance.below(6) {
            0 | 1 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
            2 if at < bytes.len() => bytes[at] = chance.below(256) as u8,
            3 => bytes.truncate(at),
            4 => bytes.insert(at, chance.below(256) as u8),
            _ => {
                let other = &seeds[chance.below(seeds.len())];
                let from = chance.below(other.len() + 1);
                let len = chance.below(other.len() - from + 1);
                bytes.splice(at..at, other[from..from + len].iter().copied());
            }
        }
    }
    bytes.truncate(MAX_BYTES);
    bytes
}

#[test]
fn targets_hold_on_the_corpus_and_around_it() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let runs: u64 = number("PULSEDB_FUZZ_RUNS").unwrap_or(2_000);
    let mut chance = Chance(number("PULSEDB_FUZZ_SEED").unwrap_or(1));
    for (name, target) in TARGETS {
        let seeds = corpus(name);
        assert!(!seeds.is_empty(), "no corpus for {name}");
        for bytes in &seeds {
            let _input = Input(name, bytes);
            target(bytes);
        }
        for _ in 0..runs {
            let bytes = mutated(&seeds, &mut chance);
            let _input = Input(name, &bytes);
            target(&bytes);
        }
    }
    // Whole databases: by themselves they are what `crash` is about.
    let seeds = corpus("operations");
    for run in 0..seeds.len() as u64 + runs / RUNS_PER_SEQUENCE {
        let bytes = match seeds.get(run as usize) {
            Some(bytes) => bytes.clone(),
            None => mutated(&seeds, &mut chance),
        };
        let _input = Input("operations", &bytes);
        sequence::operations(&bytes);
    }
}

/// The examples of `storage-format.md`, by name.
fn examples() -> Vec<(String, Vec<u8>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("storage-format.md");
    let document = fs::read_to_string(path).unwrap();
    let mut found: Vec<(String, Vec<u8>)> = Vec::new();
    let mut inside = false;
    for line in document.lines() {
        if let Some(name) = line.strip_prefix("```hex ") {
            found.push((name.to_owned(), Vec::new()));
            inside = true;
        } else if line == "```" {
            inside = false;
        } else if inside && line != "*" {
            let (_, bytes) = found.last_mut().unwrap();
            let mut words = line.split_whitespace();
            let at = usize::from_str_radix(words.next().unwrap(), 16).unwrap();
            bytes.resize(at, 0);
            bytes.extend(words.map(|word| u8::from_str_radix(word, 16).unwrap()));
        }
    }
    found
}

/// Changes of every kind.
fn changes() -> Vec<Change> {
    let db = World::new().open_blocking(false);
    let begin = db.current_cursor().unwrap();
    let team = db.create_collective("team").unwrap();
    let one = db.record_experience(new(team, "one")).unwrap();
    db.reinforce_experience(one).unwrap();
    db.set_tag(one, "key", "value").unwrap();
    let feed = db.change_feed(begin, false).unwrap();
    let to = db.current_cursor().unwrap();
    let gap = Change::Gap { from: begin, to };
    feed.map(Result::unwrap).chain([gap]).collect()
}

/// Writes the corpus anew, where it is asked for: after a change of the format, or for a new target.
#[test]
fn make_the_corpus() {
    if !made_on_request() {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let keep = |target: &str, name: &str, bytes: &[u8]| {
        let dir = root.join(target);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(name), bytes).unwrap();
    };
    for (name, bytes) in examples() {
        match name.as_str() {
            "manifest" => keep("manifest", &name, &bytes[12..bytes.len() - 4]),
            "graph-header" => keep("graph_header", &name, &bytes[12..bytes.len() - 4]),
            "checkpoint" => keep(
                "checkpoint",
                &name,
                &[
                    &bytes[12..CHECKPOINT_HEADER_BYTES - 8],
                    &bytes[CHECKPOINT_HEADER_BYTES..],
                ]
                .concat(),
            ),
            "segment-header" => keep("tail", &name, &bytes[12..80]),
            "tail" => keep("tail", &name, &bytes),
            _ if name.starts_with("frame-") => {
                let seed = 0x5eed_1234_u32.to_le_bytes();
                keep("frame", &name, &[&seed[..], &bytes].concat());
                let len = u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
                let head = [bytes[12], bytes[14], bytes[15]];
                keep("record", &name, &[&head[..], &bytes[64..64 + len]].concat());
            }
            _ => {}
        }
    }
    // Seed, count, then length and flags of each frame, then what is changed where.
    let frames = |count: u8| (0..count).flat_map(|n| [n * 7, 0x44 | (n & 3) | ((n & 1) << 3)]);
    let whole: Vec<u8> = [1, 2, 3, 4, 12].into_iter().chain(frames(12)).collect();
    keep("segment", "whole", &whole);
    keep("segment", "flipped", &[&whole[..], &[0, 1, 1]].concat());
    keep(
        "segment",
        "twice",
        &[&whole[..], &[12, 0, 255, 12, 3, 255]].concat(),
    );
    for (change, number) in changes().iter().zip(0..) {
        keep("change", &format!("{number}"), &change.to_bytes()[8..]);
    }
    for (number, lines) in crate::backup::manifests().iter().enumerate() {
        keep("backup_manifest", &format!("lines-{number}"), lines);
    }
    keep("operations", "empty", &[]);
    for seed in 1..4_u8 {
        let bytes: Vec<u8> = (0..64).map(|n: u8| n.wrapping_mul(37) ^ seed).collect();
        keep("operations", &format!("seed-{seed}"), &bytes);
    }
}
