//! How is PulseDB driven? The only file that calls it, but for `vector/index.rs`.
//!
//! Embeddings come from the caller, as the peers get theirs. Nothing is tuned but what a case names.

use std::{
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, bail};
use pulsedb::{
    CollectiveId, Config, EmbeddingDimension, ExperienceId, ExperienceType, HnswConfig,
    NewExperience, SyncMode,
};

/// An experience about as large as a record of `ingest`.
pub(crate) fn experience(
    collective: CollectiveId,
    content: &str,
    embedding: &[f32],
) -> NewExperience {
    NewExperience {
        embedding: Some(embedding.to_vec()),
        experience_type: ExperienceType::TechInsight {
            technology: "storage".into(),
            insight: "a sync costs as much for many records as for one".into(),
        },
        importance: 0.7,
        confidence: 0.8,
        source_task: Some("task-1138".into()),
        domain: vec!["storage".into(), "latency".into()],
        ..NewExperience::new(collective, "agent-7", content)
    }
}

/// A database for `ingest`.
pub(crate) fn config(dimension: usize, segment_bytes: u64, sync_mode: SyncMode) -> Config {
    Config {
        segment_bytes,
        sync_mode,
        // The engines beside it index no vectors either.
        hnsw: HnswConfig {
            first_graph_rows: u32::MAX,
            ..HnswConfig::default()
        },
        ..Config::external(EmbeddingDimension::Custom(dimension))
    }
}

/// A database as its users have it, in files that nobody has written before. Who records faster than graphs are
/// built waits for them.
pub(crate) fn fresh_config(dimension: usize) -> Config {
    Config {
        segment_pool: 0,
        write_timeout: Duration::from_secs(600),
        ..Config::external(EmbeddingDimension::Custom(dimension))
    }
}

/// A database whose searches use one thread.
pub(crate) fn scan_config(dimension: usize) -> Config {
    Config {
        read_threads: 1,
        sync_mode: SyncMode::Fast,
        // No graph: what is measured is the scan.
        hnsw: HnswConfig {
            first_graph_rows: u32::MAX,
            ..HnswConfig::default()
        },
        ..Config::external(EmbeddingDimension::Custom(dimension))
    }
}

/// The built-in embedder, its model loaded, as somebody without a database uses it.
#[cfg(feature = "embed")]
pub(crate) struct Embedding {
    builtin: pulsedb::Builtin,
    runtime: tokio::runtime::Runtime,
}

#[cfg(feature = "embed")]
impl Embedding {
    /// On so many threads; 0 means all cores.
    pub(crate) fn load(threads: usize) -> Result<Self> {
        let builtin = pulsedb::Builtin::new(None, threads);
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        runtime.block_on(builtin.load())?;
        Ok(Self { builtin, runtime })
    }

    /// What products with weights are computed in.
    pub(crate) fn precision(&self) -> Option<pulsedb::Precision> {
        use pulsedb::Embedder as _;
        self.builtin.precision()
    }

    /// All of `texts` in one call, to be stored.
    pub(crate) fn bulk(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        self.embed(texts, pulsedb::Priority::Ingest)
    }

    /// The same without waiting.
    pub(crate) fn start_bulk(&self, texts: Vec<String>) -> pulsedb::EmbedFuture<'_> {
        use pulsedb::Embedder as _;
        self.builtin.embed(texts, pulsedb::Priority::Ingest)
    }

    pub(crate) fn query(&self, text: &str) -> Result<Vec<Vec<f32>>> {
        self.embed(&[text.to_owned()], pulsedb::Priority::Query)
    }

    fn embed(&self, texts: &[String], priority: pulsedb::Priority) -> Result<Vec<Vec<f32>>> {
        use pulsedb::Embedder as _;
        let vectors = self.builtin.embed(texts.to_vec(), priority);
        Ok(self.runtime.block_on(vectors)?)
    }
}

/// A store that embeds by itself, with little in it, and its files where nobody keeps them.
#[cfg(feature = "embed")]
pub(crate) struct Asking {
    db: pulsedb::blocking::PulseDB,
    collective: CollectiveId,
    dir: std::path::PathBuf,
}

#[cfg(feature = "embed")]
impl Asking {
    pub(crate) fn open() -> Result<Self> {
        let dir = crate::settings::results_dir().join("asking");
        let _ = std::fs::remove_dir_all(&dir);
        let db = pulsedb::blocking::PulseDB::open(&dir, Config::default())?;
        let collective = db.create_collective("bench")?;
        db.record_experience(NewExperience::new(collective, "bench", "the only text"))?;
        Ok(Self {
            db,
            collective,
            dir,
        })
    }

    pub(crate) fn ask(&mut self, query: &str) -> Result<()> {
        let options = pulsedb::SearchOptions::default();
        self.db.search_text(self.collective, query, options)?;
        Ok(())
    }

    pub(crate) fn close(self) -> Result<()> {
        self.db.close()?;
        Ok(std::fs::remove_dir_all(&self.dir)?)
    }
}

/// The async handle with the experiences to record.
#[derive(Clone)]
pub(crate) struct Async {
    db: pulsedb::PulseDB,
    collective: CollectiveId,
    experiences: Arc<[NewExperience]>,
}

impl Async {
    pub(crate) async fn open(dir: &Path, config: Config, texts: &[(&str, &[f32])]) -> Result<Self> {
        let pool = config.segment_pool;
        let segment_bytes = config.segment_bytes;
        let db = pulsedb::PulseDB::open(dir, config).await?;
        let collective = db.create_collective("bench").await?;
        wait_for_pool(dir, pool, segment_bytes)?;
        Ok(Self {
            db,
            collective,
            experiences: experiences(collective, texts),
        })
    }

    pub(crate) async fn record(&self, n: u64) -> Result<()> {
        self.db
            .record_experience(pick(&self.experiences, n))
            .await?;
        Ok(())
    }

    pub(crate) async fn record_batch(&self, n: u64, len: u64) -> Result<Vec<ExperienceId>> {
        let batch = (n..n + len).map(|n| pick(&self.experiences, n)).collect();
        Ok(self.db.record_experiences(batch).await?)
    }

    pub(crate) fn handle(&self) -> &pulsedb::PulseDB {
        &self.db
    }

    /// Bytes of the bodies of all experiences in the log.
    pub(crate) async fn body_bytes(&self) -> Result<u64> {
        Ok(self
            .db
            .get_collective_stats(self.collective)
            .await?
            .body_bytes)
    }

    /// Records one experience per row; ids in the order of the rows.
    pub(crate) async fn load<'a>(
        &self,
        rows: impl Iterator<Item = &'a [f32]>,
        content: &str,
    ) -> Result<Vec<ExperienceId>> {
        let mut ids = Vec::new();
        let mut rows = rows
            .map(|row| experience(self.collective, content, row))
            .peekable();
        while rows.peek().is_some() {
            let batch = rows.by_ref().take(LOAD_BATCH).collect();
            ids.extend(self.db.record_experiences(batch).await?);
        }
        Ok(ids)
    }

    pub(crate) async fn search(&self, query: &[f32], k: usize) -> Result<Vec<ExperienceId>> {
        let hits = self.db.search_similar(self.collective, query, k).await?;
        Ok(hits.iter().map(|hit| hit.experience.id).collect())
    }

    pub(crate) async fn close(self) -> Result<()> {
        self.db.close().await?;
        Ok(())
    }
}

/// The blocking handle with the experiences to record.
pub(crate) struct Blocking {
    db: pulsedb::blocking::PulseDB,
    collective: CollectiveId,
    experiences: Arc<[NewExperience]>,
}

impl Blocking {
    pub(crate) fn open(dir: &Path, config: Config, texts: &[(&str, &[f32])]) -> Result<Self> {
        let pool = config.segment_pool;
        let segment_bytes = config.segment_bytes;
        let db = Self::of(pulsedb::blocking::PulseDB::open(dir, config)?, texts)?;
        wait_for_pool(dir, pool, segment_bytes)?;
        Ok(db)
    }

    /// An open database.
    pub(crate) fn of(db: pulsedb::blocking::PulseDB, texts: &[(&str, &[f32])]) -> Result<Self> {
        let collective = db.get_or_create_collective("bench")?;
        Ok(Self {
            db,
            collective,
            experiences: experiences(collective, texts),
        })
    }

    pub(crate) fn handle(&self) -> &pulsedb::blocking::PulseDB {
        &self.db
    }

    pub(crate) fn record(&self, n: u64) -> Result<()> {
        self.db.record_experience(pick(&self.experiences, n))?;
        Ok(())
    }

    pub(crate) fn record_batch(&self, n: u64, len: u64) -> Result<Vec<ExperienceId>> {
        let batch = (n..n + len).map(|n| pick(&self.experiences, n)).collect();
        Ok(self.db.record_experiences(batch)?)
    }

    /// Records one experience per row; ids in the order of the rows.
    pub(crate) fn load<'a>(
        &self,
        rows: impl Iterator<Item = &'a [f32]>,
        content: &str,
    ) -> Result<Vec<ExperienceId>> {
        let mut ids = Vec::new();
        let mut rows = rows
            .map(|row| experience(self.collective, content, row))
            .peekable();
        while rows.peek().is_some() {
            let batch = rows.by_ref().take(LOAD_BATCH).collect();
            ids.extend(self.db.record_experiences(batch)?);
        }
        Ok(ids)
    }

    pub(crate) fn search(&self, query: &[f32], k: usize) -> Result<Vec<ExperienceId>> {
        let hits = self.db.search_similar(self.collective, query, k)?;
        Ok(hits.iter().map(|hit| hit.experience.id).collect())
    }

    pub(crate) fn close(self) -> Result<()> {
        self.db.close()?;
        Ok(())
    }
}

const LOAD_BATCH: usize = 256;

fn experiences(collective: CollectiveId, texts: &[(&str, &[f32])]) -> Arc<[NewExperience]> {
    texts
        .iter()
        .map(|(content, vector)| experience(collective, content, vector))
        .collect()
}

/// The n-th experience, as a caller would have just made it.
fn pick(experiences: &[NewExperience], n: u64) -> NewExperience {
    let at = (n % experiences.len() as u64) as usize;
    experiences[at].clone()
}

/// Pre-writing some GiB takes this long on no disk that one would measure on.
const POOL_TIMEOUT: Duration = Duration::from_secs(120);
/// A folder whose files have been the same for this long is one that nobody fills.
const QUIET: Duration = Duration::from_millis(400);

/// Waits until the pool of written segments stands and nobody works on it, then empties the system's write queue.
/// Judged from outside, by the files of `log/`: the pool and the active segment at their full size.
fn wait_for_pool(dir: &Path, pool: usize, segment_bytes: u64) -> Result<()> {
    let started = Instant::now();
    let mut last = Vec::new();
    let mut since = Instant::now();
    loop {
        if pool == 0 {
            break;
        }
        let now = listing(&dir.join("log"))?;
        if now != last {
            (last, since) = (now, Instant::now());
        }
        let full = last
            .iter()
            .filter(|(_, len, _)| *len >= segment_bytes)
            .count();
        if full > pool && since.elapsed() >= QUIET {
            break;
        }
        if started.elapsed() > POOL_TIMEOUT {
            bail!(
                "the pool holds {full} full files after {POOL_TIMEOUT:?}, not {pool} and an active one"
            );
        }
        thread::sleep(Duration::from_millis(20));
    }
    rustix::fs::sync();
    Ok(())
}

/// Name, length and time of change of every file.
fn listing(dir: &Path) -> Result<Vec<(std::ffi::OsString, u64, SystemTime)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let entry = entry?;
        // A file that was renamed or removed meanwhile shows up, or not, in the next listing.
        if let Ok(about) = entry.metadata() {
            files.push((entry.file_name(), about.len(), about.modified()?));
        }
    }
    files.sort();
    Ok(files)
}
