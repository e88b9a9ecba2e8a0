//! Which choices does an application have, and what are their defaults?

#[cfg(feature = "embed")]
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    error::{PulseDBError, Result},
    model::{DecayConfig, SyncMode, limits},
};

mod embedding;
mod form;
mod keys;
mod layer;
mod preset;
mod telemetry;
mod text;
mod upkeep;

pub use embedding::{LongTexts, ModelConfig, ModelDownload, Precision};
pub use telemetry::TelemetryConfig;
pub use text::{TextConfig, TextIndexing, TextLanguage};
pub use upkeep::UpkeepConfig;

const MIB: u64 = 1024 * 1024;

/// How a database is opened. All defaults work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Who makes the vectors.
    pub embedding_provider: EmbeddingProvider,
    /// Components of the embeddings of new collectives.
    pub embedding_dimension: EmbeddingDimension,
    /// Name of a collective that every open makes sure of.
    pub default_collective: Option<String>,
    /// What an acknowledgement means.
    pub sync_mode: SyncMode,
    /// In-process watching.
    pub watch_config: WatchConfig,
    /// How far back `PulseDB::snapshot_at` reaches; by default not beyond what somebody holds.
    pub retention: RetentionConfig,
    /// When deleted experiences give their bytes back.
    pub compaction: CompactionConfig,
    /// What work beside the commits may take, and when it archives.
    pub upkeep: UpkeepConfig,
    /// The vector index.
    pub hnsw: HnswConfig,
    /// Search by words.
    pub text: TextConfig,
    /// What agents do.
    pub activity: ActivityConfig,
    /// Decay of new collectives.
    pub decay: DecayConfig,
    /// How long a write waits for room in the queue before it answers `Backpressure`.
    pub write_timeout: Duration,
    /// Most bytes of one atomic commit. 16 MiB holds a batch of some thousand experiences and
    /// still fits many times into a segment.
    pub max_commit_bytes: usize,
    /// Most bytes of requests that wait for their commit; more wait for room. 64 MiB are a
    /// fraction of a second of a fast disk's time.
    pub max_queue_bytes: usize,
    /// Size of one log segment in bytes. 64 MiB keep rolls rare and replays of one segment short.
    pub segment_bytes: u64,
    /// A checkpoint is made by itself when the log has grown by so many bytes since the last one, or by
    /// twice that one's size if that is more. It is what an open after a crash has to read: 64 MiB
    /// take some 20 ms.
    pub checkpoint_bytes: u64,
    /// How many segment files with already written blocks are kept ready; syncs into them cost
    /// about half. Each takes `segment_bytes` of disk; they are written while nothing is committed.
    /// 0 keeps none, and segments are preallocated when they are needed.
    pub segment_pool: usize,
    /// In `SyncMode::Fast`, how often the log is flushed: what a power cut can lose.
    pub flush_interval: Duration,
    /// How often upkeep deletes what has expired, so that its space can be given back; readers leave it
    /// out in any case. Zero leaves it to `PulseDB::expire`. A minute is soon enough for disks, and
    /// seldom enough that looking costs nothing.
    pub expiry_interval: Duration,
    /// Threads that answer searches and cold reads; 0 means one per core.
    pub read_threads: usize,
    /// Threads that run the built-in model; 0 means one per core.
    pub embed_threads: usize,
    /// What the store measures and tells of itself.
    pub telemetry: TelemetryConfig,
    /// How the built-in embedder uses its model.
    pub model: ModelConfig,
    /// Most MiB of the crate's own caches: vectors of texts that were embedded lately, so that the same
    /// text again costs no forward (a vector of 384 dimensions takes 1.6 KiB). Records are not cached:
    /// they are read in place from the mapped log, as the system's page cache holds it. 0 keeps nothing;
    /// `PulseDB::set_cache_size_mb` changes it while open.
    pub cache_size_mb: usize,
    /// Open for reading only.
    pub read_only: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            embedding_provider: EmbeddingProvider::default(),
            embedding_dimension: EmbeddingDimension::D384,
            default_collective: None,
            sync_mode: SyncMode::Normal,
            watch_config: WatchConfig::default(),
            retention: RetentionConfig::default(),
            compaction: CompactionConfig::default(),
            upkeep: UpkeepConfig::default(),
            hnsw: HnswConfig::default(),
            text: TextConfig::default(),
            activity: ActivityConfig::default(),
            decay: DecayConfig::default(),
            write_timeout: Duration::from_secs(10),
            max_commit_bytes: 16 * MIB as usize,
            max_queue_bytes: 64 * MIB as usize,
            segment_bytes: 64 * MIB,
            checkpoint_bytes: 64 * MIB,
            segment_pool: 0,
            flush_interval: Duration::from_millis(200),
            expiry_interval: Duration::from_secs(60),
            read_threads: 0,
            embed_threads: 0,
            telemetry: TelemetryConfig::default(),
            model: ModelConfig::default(),
            cache_size_mb: 64,
            read_only: false,
        }
    }
}

/// Who makes the vectors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmbeddingProvider {
    /// The store embeds texts itself, with all-MiniLM-L6-v2 or another BERT; callers never pass vectors.
    #[cfg(feature = "embed")]
    Builtin {
        /// A directory with `config.json`, `tokenizer.json` and `model.safetensors`, and what else
        /// sentence-transformers writes of a BERT; `None` looks at `PULSEDB_MODEL_DIR`, then in the
        /// user's cache directory. A model whose vectors do not have the components of
        /// [`Config::embedding_dimension`] is refused at the first text.
        model_path: Option<PathBuf>,
    },
    /// The caller brings a vector with every write and query.
    External,
}

impl Default for EmbeddingProvider {
    #[cfg(feature = "embed")]
    fn default() -> Self {
        Self::Builtin { model_path: None }
    }

    #[cfg(not(feature = "embed"))]
    fn default() -> Self {
        Self::External
    }
}

/// Components of an embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmbeddingDimension {
    /// all-MiniLM-L6-v2 and its like.
    D384,
    /// BERT-base and its like.
    D768,
    /// Any number from 1 to 4096.
    Custom(usize),
}

impl EmbeddingDimension {
    /// The number of components.
    #[must_use]
    pub const fn get(self) -> usize {
        match self {
            Self::D384 => 384,
            Self::D768 => 768,
            Self::Custom(n) => n,
        }
    }
}

/// How watching works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WatchConfig {
    /// Whether the watchers of a handle that writes are told by its commits. If not, they follow the log's files
    /// as those of a reader in another process do: somewhat later, and off the committer's thread.
    pub in_process: bool,
    /// Events that a channel holds for its slowest subscriber; one that falls further behind is
    /// caught up from the log.
    pub buffer_size: usize,
    /// Bytes of the log that compaction spares for a subscriber that has to catch up. One that falls
    /// further behind is told so. A quarter of a gigabyte is some 100,000 experiences.
    pub max_lag_bytes: u64,
    /// Milliseconds after which a handle that follows the files looks at them although the system
    /// told of no change: over a network none is told. A look costs some microseconds.
    pub poll_interval_ms: u64,
}

impl Default for WatchConfig {
    fn default() -> Self {
        Self {
            in_process: true,
            poll_interval_ms: 100,
            buffer_size: 1000,
            max_lag_bytes: 256 * MIB,
        }
    }
}

/// How much of the past is kept, whichever of the two reaches further back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RetentionConfig {
    /// So many bytes of the log.
    pub bytes: u64,
    /// So much time.
    pub time: Duration,
}

/// When the log is rewritten without what is deleted or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CompactionConfig {
    /// Whether it happens by itself; `PulseDB::compact` works in any case.
    pub automatic: bool,
    /// Share of a segment, in percent, that nobody needs any more before it is rewritten. Less saves
    /// disk and writes more: at 25, three bytes are copied for one that is gained.
    pub dead_percent: u8,
    /// Bytes that are rewritten per second while something is committed; in quiet there is no limit.
    pub bytes_per_second: u64,
}

impl Default for CompactionConfig {
    fn default() -> Self {
        Self {
            automatic: true,
            dead_percent: 25,
            bytes_per_second: 32 * MIB,
        }
    }
}

/// When an agent counts as gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ActivityConfig {
    /// Its activity is stale when its last heartbeat is longer ago than this, at least a millisecond. Five
    /// minutes outlast a slow tool call. A heartbeat is logged when the last one in the log is a
    /// quarter of this old.
    pub stale_threshold: Duration,
}

impl Default for ActivityConfig {
    fn default() -> Self {
        Self {
            stale_threshold: Duration::from_secs(5 * 60),
        }
    }
}

/// How vectors are indexed. Collectives below [`HnswConfig::first_graph_rows`] have no graph and are
/// always searched exactly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HnswConfig {
    /// Neighbours of a node (M), twice as many on the lowest level. 16 suits recall up to .99 and a
    /// million rows; 32 is better beyond.
    pub connectivity: u16,
    /// Candidates that an insertion looks at. More make better graphs more slowly.
    pub ef_construction: u16,
    /// Candidates that a search looks at, unless its options say otherwise. More find more of the
    /// true neighbours more slowly.
    pub ef_search: usize,
    /// What graphs keep of vectors. Results are always compared in f32 afterwards.
    pub element: VectorElement,
    /// Rows from which on a collective gets a graph. Below, an exact scan is as fast.
    pub first_graph_rows: u32,
    /// Rows behind the newest graph that make it worth building the next; until then every search
    /// scans them.
    pub tail_rows: u32,
    /// Most bytes of codes of rows behind the newest graph. Beyond, recording in that collective
    /// waits up to `Config::write_timeout` for the builder and then answers `Backpressure`.
    /// 64 MiB are 170,000 rows of 384 dimensions, which a search scans in some milliseconds.
    pub max_tail_bytes: usize,
    /// Threads that build graphs, each at one collective at a time, at a low priority; 0 means
    /// one for every two cores.
    pub build_threads: usize,
}

impl Default for HnswConfig {
    fn default() -> Self {
        Self {
            connectivity: 16,
            ef_construction: 128,
            ef_search: 64,
            element: VectorElement::I8,
            first_graph_rows: 10_000,
            tail_rows: 4_000,
            max_tail_bytes: 64 * MIB as usize,
            build_threads: 0,
        }
    }
}

/// What a graph keeps of each component of a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VectorElement {
    /// One byte: the smallest and fastest. Recall is that of f32, since results are re-ranked.
    I8,
    /// Two bytes.
    F16,
    /// Four bytes.
    F32,
}

impl VectorElement {
    /// Bytes of a component.
    pub(crate) const fn bytes(self) -> usize {
        match self {
            Self::I8 => 1,
            Self::F16 => 2,
            Self::F32 => 4,
        }
    }
}

impl Config {
    /// Smallest segment: a header block and a few large records.
    pub const MIN_SEGMENT_BYTES: u64 = 64 * 1024;
    /// Smallest growth of the log that is worth a checkpoint.
    pub const MIN_CHECKPOINT_BYTES: u64 = 64 * 1024;
    /// Largest segment: places count 64-byte units in 32 bits.
    pub const MAX_SEGMENT_BYTES: u64 = 64 * 1024 * MIB;
    /// Most pre-written segments, so that a typo does not fill the disk.
    pub const MAX_SEGMENT_POOL: usize = 64;
    /// Most threads of one pool.
    pub const MAX_THREADS: usize = 1024;
    /// Largest `cache_size_mb`, a tebibyte, so that a number of bytes is not taken for one of MiB.
    pub const MAX_CACHE_SIZE_MB: usize = 1 << 20;
    /// Upper bound of `watch_config.poll_interval_ms`, an hour: for those who rely on what the system tells.
    pub const MAX_POLL_INTERVAL_MS: u64 = 3_600_000;

    /// Vectors come from the caller.
    #[must_use]
    pub fn external(dimension: EmbeddingDimension) -> Self {
        Self {
            embedding_provider: EmbeddingProvider::External,
            embedding_dimension: dimension,
            ..Self::default()
        }
    }

    /// [`Config::cache_size_mb`] in bytes.
    pub(crate) fn cache_bytes(&self) -> usize {
        self.cache_size_mb.saturating_mul(MIB as usize)
    }

    /// Refuses what cannot work, naming the field.
    pub(crate) fn check(&self) -> Result<()> {
        let bounds = [
            (
                "embedding_dimension",
                self.embedding_dimension.get() as u64,
                1,
                limits::MAX_DIMENSION as u64,
            ),
            (
                "segment_bytes",
                self.segment_bytes,
                Self::MIN_SEGMENT_BYTES,
                Self::MAX_SEGMENT_BYTES,
            ),
            (
                "checkpoint_bytes",
                self.checkpoint_bytes,
                Self::MIN_CHECKPOINT_BYTES,
                u64::MAX,
            ),
            (
                "segment_pool",
                self.segment_pool as u64,
                0,
                Self::MAX_SEGMENT_POOL as u64,
            ),
            (
                "read_threads",
                self.read_threads as u64,
                0,
                Self::MAX_THREADS as u64,
            ),
            (
                "embed_threads",
                self.embed_threads as u64,
                0,
                Self::MAX_THREADS as u64,
            ),
            (
                "cache_size_mb",
                self.cache_size_mb as u64,
                0,
                Self::MAX_CACHE_SIZE_MB as u64,
            ),
            (
                "max_commit_bytes",
                self.max_commit_bytes as u64,
                1024,
                self.segment_bytes / 2,
            ),
            (
                "max_queue_bytes",
                self.max_queue_bytes as u64,
                self.max_commit_bytes as u64,
                u64::MAX,
            ),
            (
                "watch_config.buffer_size",
                self.watch_config.buffer_size as u64,
                1,
                1 << 20,
            ),
            (
                "watch_config.poll_interval_ms",
                self.watch_config.poll_interval_ms,
                1,
                Self::MAX_POLL_INTERVAL_MS,
            ),
            ("hnsw.connectivity", self.hnsw.connectivity.into(), 4, 128),
            (
                "hnsw.ef_construction",
                self.hnsw.ef_construction.into(),
                8,
                4096,
            ),
            (
                "hnsw.ef_search",
                self.hnsw.ef_search as u64,
                1,
                limits::MAX_EF as u64,
            ),
            (
                "hnsw.first_graph_rows",
                self.hnsw.first_graph_rows.into(),
                1,
                u32::MAX.into(),
            ),
            (
                "hnsw.tail_rows",
                self.hnsw.tail_rows.into(),
                1,
                u32::MAX.into(),
            ),
            (
                "hnsw.max_tail_bytes",
                self.hnsw.max_tail_bytes as u64,
                1,
                u64::MAX,
            ),
            (
                "hnsw.build_threads",
                self.hnsw.build_threads as u64,
                0,
                Self::MAX_THREADS as u64,
            ),
            (
                "compaction.dead_percent",
                self.compaction.dead_percent.into(),
                1,
                100,
            ),
            (
                "compaction.bytes_per_second",
                self.compaction.bytes_per_second,
                1 << 16,
                u64::MAX,
            ),
            (
                "activity.stale_threshold",
                u64::try_from(self.activity.stale_threshold.as_millis()).unwrap_or(u64::MAX),
                1,
                u64::MAX,
            ),
            (
                "expiry_interval",
                match self.expiry_interval {
                    Duration::ZERO => 1,
                    interval => u64::try_from(interval.as_millis()).unwrap_or(u64::MAX),
                },
                1,
                u64::MAX,
            ),
            (
                "flush_interval",
                self.flush_interval.as_millis() as u64,
                1,
                60_000,
            ),
        ];
        for (field, value, min, max) in bounds {
            if value < min || value > max {
                return Err(PulseDBError::config(
                    field,
                    format!("{value} is outside {min}..={max}"),
                ));
            }
        }
        if !self.segment_bytes.is_multiple_of(4096) {
            return Err(PulseDBError::config(
                "segment_bytes",
                format!("{} is not a multiple of 4096", self.segment_bytes),
            ));
        }
        self.upkeep.check()?;
        self.model.check()?;
        self.text.check()
    }
}
