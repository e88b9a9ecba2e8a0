//! How is the engine's vector index driven? The only file of this bench that calls the engine.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use pulsedb::{
    CollectiveId, Config, ExperienceId, HnswConfig, NewExperience, SearchFilter, SearchHit,
    SearchOptions, SyncMode, blocking,
};

use super::{K, cpu};
use crate::ours;

/// What the header has to say as long as parts of this file stand in for an API to come.
pub(super) const STAND_IN: Option<&str> = None;

const LOAD_BATCH: usize = 256;
/// With its vector an experience of about 2.2 KiB, as in `scan`.
const CONTENT_BYTES: usize = 460;

/// A database with one thread per search, as all cases but the last use it.
pub(super) fn config(dimension: usize) -> Config {
    Config {
        hnsw: HnswConfig {
            build_threads: 1,
            ..HnswConfig::default()
        },
        // A load waits while the one thread merges graphs of hundreds of thousands of rows.
        write_timeout: Duration::from_secs(3600),
        ..ours::scan_config(dimension)
    }
}

/// The same with as many threads for searches as there are cores.
pub(super) fn config_all_cores(dimension: usize) -> Config {
    Config {
        read_threads: 0,
        ..config(dimension)
    }
}

/// A database whose commits are durable before they are acknowledged, as it comes.
pub(super) fn durable_config(dimension: usize) -> Config {
    Config {
        sync_mode: SyncMode::Normal,
        ..config(dimension)
    }
}

/// A database whose tail holds at most about `rows` rows before admission waits for the builder.
pub(super) fn short_tail_config(dimension: usize, rows: usize) -> Config {
    let row_bytes = dimension.next_multiple_of(64) + 8;
    Config {
        hnsw: HnswConfig {
            max_tail_bytes: rows * row_bytes,
            ..HnswConfig::default()
        },
        ..config(dimension)
    }
}

/// The ef of a search that names none.
pub(super) fn default_ef() -> usize {
    HnswConfig::default().ef_search
}

/// How a search is asked for.
#[derive(Clone, Copy)]
pub(super) enum How<'a> {
    /// `search_similar`.
    AsItComes,
    /// `search` with this ef.
    Ef(usize),
    /// `search` without the index.
    Exact,
    /// `search_similar_filtered` in this domain.
    Domain(&'a str),
}

/// A database with one collective.
pub(super) struct Index {
    asynchronous: pulsedb::PulseDB,
    db: blocking::PulseDB,
    collective: CollectiveId,
    ids: Vec<ExperienceId>,
    row_of: HashMap<ExperienceId, usize>,
    dir: PathBuf,
}

impl Index {
    /// Opens or creates it; `ids` are those of a [`Index::close`] before.
    pub(super) fn open(dir: &Path, config: Config, ids: Vec<ExperienceId>) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let asynchronous = runtime
            .block_on(pulsedb::PulseDB::open(dir, config))
            .with_context(|| dir.display().to_string())?;
        let db = blocking::PulseDB::from(asynchronous.clone());
        let collective = db.get_or_create_collective("bench")?;
        Ok(Self {
            asynchronous,
            db,
            collective,
            row_of: ids.iter().copied().zip(0..).collect(),
            ids,
            dir: dir.to_owned(),
        })
    }

    /// Records one experience per row of `rows`, in batches.
    pub(super) fn load(
        &mut self,
        rows: &[f32],
        dimension: usize,
        domains: impl Fn(usize) -> Vec<String>,
    ) -> Result<()> {
        for batch in rows.chunks(LOAD_BATCH * dimension) {
            let first = self.ids.len();
            let vectors = batch.chunks_exact(dimension).zip(first..);
            let batch = vectors.map(|(vector, row)| self.experience(vector, domains(row)));
            let ids = self.db.record_experiences(batch.collect())?;
            self.row_of.extend(ids.iter().copied().zip(first..));
            self.ids.extend(ids);
        }
        Ok(())
    }

    /// Records more experiences in one call. Their rows have no numbers.
    pub(super) fn record(&self, rows: &[f32], dimension: usize) -> Result<()> {
        let vectors = rows.chunks_exact(dimension);
        let batch = vectors.map(|vector| self.experience(vector, Vec::new()));
        self.db.record_experiences(batch.collect())?;
        Ok(())
    }

    fn experience(&self, vector: &[f32], domain: Vec<String>) -> NewExperience {
        let content = "a word or two ".repeat(CONTENT_BYTES / 14);
        NewExperience {
            domain,
            ..ours::experience(self.collective, &content, vector)
        }
    }

    pub(super) fn delete(&self, row: usize) -> Result<()> {
        let id = self.ids.get(row).context("no such row")?;
        Ok(self.db.delete_experience(*id)?)
    }

    /// The rows found, best first.
    pub(super) fn rows(&self, query: &[f32], how: How<'_>) -> Result<Vec<usize>> {
        let hits = self.search(query, how)?;
        let rows = hits.iter().map(|hit| self.row_of.get(&hit.experience.id));
        Ok(rows.flatten().copied().collect())
    }

    pub(super) fn search(&self, query: &[f32], how: How<'_>) -> Result<Vec<SearchHit>> {
        let db = &self.db;
        let hits = match how {
            How::AsItComes => db.search_similar(self.collective, query, K)?,
            How::Domain(domain) => {
                db.search_similar_filtered(self.collective, query, K, filter(domain))?
            }
            How::Ef(_) | How::Exact => db.search(self.collective, query, options(how))?,
        };
        Ok(hits)
    }

    /// All queries in one call, exactly.
    pub(super) fn exact_batch(&self, queries: &[Vec<f32>]) -> Result<Vec<Vec<SearchHit>>> {
        let options = options(How::Exact);
        Ok(self.db.search_batch(self.collective, queries, options)?)
    }

    /// The handle for callers with a runtime.
    pub(super) fn asynchronous(&self) -> (pulsedb::PulseDB, CollectiveId) {
        (self.asynchronous.clone(), self.collective)
    }

    /// Builds the graphs of all rows anew, and waits for them.
    pub(super) fn rebuild(&self) -> Result<()> {
        Ok(self.db.rebuild_index(self.collective)?)
    }

    /// Waits until nothing is built or cleaned up any more.
    pub(super) fn settle(&self) -> Result<()> {
        cpu::wait_until_quiet()
    }

    /// Plan, counts and times of a search, in a few words.
    pub(super) fn explain(&self, query: &[f32], how: How<'_>) -> Result<String> {
        let told = self.db.explain(self.collective, query, options(how))?;
        Ok(format!(
            "{:?}, {:?} match, {} codes, {} checked, {} re-ranked; plan {:?}, find {:?}, compare {:?}, read {:?}",
            told.plan,
            told.matches,
            told.codes_compared,
            told.rows_checked,
            told.vectors_compared,
            told.planning,
            told.finding,
            told.comparing,
            told.reading,
        ))
    }

    /// Bytes of memory that the index takes, mapped files included; nothing where it is not known.
    pub(super) fn memory(&self) -> Result<Option<u64>> {
        let stats = self.db.get_collective_stats(self.collective)?;
        Ok(Some(stats.index_bytes))
    }

    /// Bytes of the graphs' files.
    pub(super) fn file_bytes(&self) -> Result<u64> {
        let dir = self.dir.join("index");
        let mut bytes = 0;
        for entry in fs::read_dir(&dir).into_iter().flatten() {
            let entry = entry.with_context(|| dir.display().to_string())?;
            // One that is merged away meanwhile no longer counts.
            let about = entry.metadata();
            if entry.path().extension().is_some_and(|kind| kind == "hnsw") {
                bytes += about.map_or(0, |about| about.len());
            }
        }
        Ok(bytes)
    }

    /// Closes it; the ids are for the next open.
    pub(super) fn close(self) -> Result<Vec<ExperienceId>> {
        self.db.close()?;
        Ok(self.ids)
    }
}

fn options(how: How<'_>) -> SearchOptions {
    SearchOptions {
        k: K,
        filter: match how {
            How::Domain(domain) => filter(domain),
            _ => SearchFilter::default(),
        },
        ef: match how {
            How::Ef(ef) => Some(ef),
            _ => None,
        },
        exact: matches!(how, How::Exact),
        ..SearchOptions::default()
    }
}

fn filter(domain: &str) -> SearchFilter {
    SearchFilter {
        domains: vec![domain.to_owned()],
        ..SearchFilter::default()
    }
}
