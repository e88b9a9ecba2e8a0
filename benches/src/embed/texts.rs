//! Which texts are embedded?
//!
//! Real ones where `PULSEDB_BENCH_DATA` names a folder with them, else words drawn by a seeded generator, in
//! lengths as mixed as those of real ones. Questions are always made, for their number of tokens is given.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;

use crate::vectors::Random;

const BULK: usize = 512;
const QUERIES: usize = 64;
/// With the two markers.
pub(super) const QUERY_TOKENS: usize = 20;
/// Each is one token.
const WORDS: &[&str] = &[
    "data", "log", "time", "write", "read", "file", "index", "memory", "agent", "search", "lock",
    "thread", "error", "test", "disk", "crash",
];

pub(super) struct Texts {
    /// Where the texts come from, for the header.
    pub(super) origin: String,
    pub(super) bulk: Vec<String>,
    pub(super) queries: Vec<String>,
}

impl Texts {
    pub(super) fn get(data: Option<&Path>) -> Result<Self> {
        let mut random = Random::seeded(0x2018);
        let mut words = |n: usize| {
            let mut word = || {
                WORDS
                    .get(random.below(WORDS.len() as u64) as usize)
                    .copied()
            };
            (0..n).filter_map(|_| word()).collect::<Vec<_>>().join(" ")
        };
        let queries = (0..QUERIES).map(|_| words(QUERY_TOKENS - 2)).collect();
        let file = data.map(|dir| dir.join("dev-100k.jsonl.gz"));
        let (bulk, origin) = match file.filter(|file| file.exists()) {
            Some(file) => (
                read(&file).with_context(|| file.display().to_string())?,
                "the first of dev-100k.jsonl.gz",
            ),
            // Many short ones and few long ones, up to twice the model's limit.
            None => (
                (0..BULK)
                    .map(|i| words(4 + i * i * 500 / (BULK * BULK)))
                    .collect(),
                "made by the bench (set PULSEDB_BENCH_DATA for real ones)",
            ),
        };
        Ok(Self {
            origin: format!("{BULK}, {origin}"),
            bulk,
            queries,
        })
    }
}

fn read(file: &Path) -> Result<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct Line {
        text: String,
    }
    let lines = BufReader::new(GzDecoder::new(File::open(file)?)).lines();
    let texts = lines
        .take(BULK)
        .map(|line| Ok(serde_json::from_str::<Line>(&line?)?.text))
        .collect::<Result<Vec<_>>>()?;
    ensure!(texts.len() == BULK, "only {} texts", texts.len());
    Ok(texts)
}
