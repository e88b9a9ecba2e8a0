//! How is ONNX Runtime driven? In a process of Python per precision and number of threads (`onnx.py`).

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::json;

use super::{MIN_QUERIES, texts::Texts};
use crate::{
    python::{Process, ensure_package, environment},
    settings::results_dir,
};

const SCRIPT: &str = include_str!("onnx.py");
const PACKAGES: [&str; 3] = ["onnx", "onnxruntime", "tokenizers"];

/// A session with its model loaded.
pub(super) struct Onnx {
    process: Process,
    pub(super) version: String,
    pub(super) load_ms: f64,
}

#[derive(Deserialize)]
struct Value {
    value: f64,
}

impl Onnx {
    /// `kind` is `f32` or `int8`.
    pub(super) fn start(
        kind: &'static str,
        threads: usize,
        model: &Path,
        texts: &Texts,
    ) -> Result<Self> {
        let interpreter = environment()?;
        for package in PACKAGES {
            ensure_package(&interpreter, package)?;
        }
        let dir = results_dir().join("onnx");
        fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        for (name, texts) in [("texts", &texts.bulk), ("queries", &texts.queries)] {
            let lines = texts.iter().map(serde_json::to_string);
            let lines = lines.collect::<Result<Vec<_>, _>>()?;
            fs::write(dir.join(name), lines.join("\n"))?;
        }
        let model = fs::canonicalize(model)?.display().to_string();
        let threads = threads.to_string();
        let arguments = [model.as_str(), kind, threads.as_str(), "texts", "queries"];
        let arguments = arguments.map(str::to_owned);
        let mut process = Process::start(kind, &interpreter, &dir, SCRIPT, &arguments)?;
        #[derive(Deserialize)]
        struct Version {
            version: String,
            load_ms: f64,
        }
        let Version { version, load_ms } = process.ask(&json!({"do": "version"}))?;
        Ok(Self {
            process,
            version,
            load_ms,
        })
    }

    pub(super) fn vectors(&mut self) -> Result<Vec<Vec<f32>>> {
        #[derive(Deserialize)]
        struct Answer {
            vectors: Vec<Vec<f32>>,
        }
        let Answer { vectors } = self.process.ask(&json!({"do": "vectors"}))?;
        Ok(vectors)
    }

    /// Texts per second.
    pub(super) fn bulk(&mut self, measure: Duration) -> Result<f64> {
        let command = json!({"do": "bulk", "seconds": measure.as_secs_f64()});
        let Value { value } = self.process.ask(&command)?;
        Ok(value)
    }

    /// Median milliseconds of a question.
    pub(super) fn query(&mut self, measure: Duration) -> Result<f64> {
        let seconds = measure.as_secs_f64();
        let command = json!({"do": "query", "seconds": seconds, "least": MIN_QUERIES});
        let Value { value } = self.process.ask(&command)?;
        Ok(value)
    }
}
