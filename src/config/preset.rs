//! Which sets of choices suit a purpose?
//!
//! A preset changes the fields that its purpose is about, and no others, so that it can be put above or below other
//! choices.

use std::time::Duration;

use super::{Config, MIB, TextIndexing};
use crate::model::SyncMode;

/// A purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preset {
    DurabilityFirst,
    LatencyFirst,
    BulkIngest,
}

impl Preset {
    pub(super) const ALL: [Self; 3] = [Self::DurabilityFirst, Self::LatencyFirst, Self::BulkIngest];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::DurabilityFirst => "durability_first",
            Self::LatencyFirst => "latency_first",
            Self::BulkIngest => "bulk_ingest",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.name() == name)
    }

    /// Changes what it is about.
    pub(super) fn apply(self, config: &mut Config) {
        match self {
            Self::DurabilityFirst => {
                config.sync_mode = SyncMode::Paranoid;
                config.retention.time = Duration::from_secs(7 * 24 * 60 * 60);
                config.checkpoint_bytes = 32 * MIB;
            }
            Self::LatencyFirst => {
                config.sync_mode = SyncMode::Fast;
                config.flush_interval = Duration::from_millis(50);
                config.segment_pool = 2;
                config.write_timeout = Duration::from_secs(1);
                config.compaction.bytes_per_second = 8 * MIB;
                config.hnsw.build_threads = 1;
                config.text.indexing = TextIndexing::Always;
            }
            Self::BulkIngest => {
                config.sync_mode = SyncMode::Fast;
                config.flush_interval = Duration::from_secs(1);
                config.write_timeout = Duration::from_secs(5 * 60);
                config.segment_bytes = 256 * MIB;
                config.max_commit_bytes = 64 * MIB as usize;
                config.max_queue_bytes = 256 * MIB as usize;
                config.checkpoint_bytes = 1024 * MIB;
                config.compaction.automatic = false;
                config.hnsw.tail_rows = 50_000;
                config.hnsw.max_tail_bytes = 256 * MIB as usize;
            }
        }
    }
}

/// Presets: where to begin, each field to be changed at will.
///
/// ```
/// use pulsedb::{Config, EmbeddingDimension, EmbeddingProvider};
///
/// let config = Config {
///     embedding_provider: EmbeddingProvider::External,
///     embedding_dimension: EmbeddingDimension::D768,
///     ..Config::latency_first()
/// };
/// assert_eq!(config.segment_pool, 2);
/// ```
impl Config {
    /// For what must not be lost, and mistakes that are to be undone. Against the defaults:
    ///
    /// | field | value | why |
    /// | --- | --- | --- |
    /// | `sync_mode` | `Paranoid` | each commit is synced by itself and read back before it is acknowledged: a medium that lies about writing is found out at the commit, for the price of a sync per commit instead of one per group |
    /// | `retention.time` | 7 days | `snapshot_at_time` and `restore_until` reach a week back, past a weekend on which nobody looked |
    /// | `checkpoint_bytes` | 32 MiB | an open after a crash replays half as much |
    #[must_use]
    pub fn durability_first() -> Self {
        Self::preset(Preset::DurabilityFirst)
    }

    /// For short waits, of writers and readers. An acknowledged write survives a crash of the process, but a power
    /// cut may lose the last 50 ms. Against the defaults:
    ///
    /// | field | value | why |
    /// | --- | --- | --- |
    /// | `sync_mode` | `Fast` | nobody waits for the disk; a commit takes microseconds |
    /// | `flush_interval` | 50 ms | what a power cut can lose; each flush has the less to write |
    /// | `segment_pool` | 2 | a sync into written blocks costs half, and a new segment need not be allocated |
    /// | `write_timeout` | 1 s | who cannot write soon is told so |
    /// | `compaction.bytes_per_second` | 8 MiB | commits and cold reads share the disk with a quarter of the copying |
    /// | `hnsw.build_threads` | 1 | the other cores are left to searches |
    /// | `text.indexing` | `Always` | the first search by words does not read all texts |
    #[must_use]
    pub fn latency_first() -> Self {
        Self::preset(Preset::LatencyFirst)
    }

    /// For loading much at once; open the database anew with other choices when it is done. A power cut may lose the last second,
    /// which a load repeats. Against the defaults:
    ///
    /// | field | value | why |
    /// | --- | --- | --- |
    /// | `sync_mode`, `flush_interval` | `Fast`, 1 s | one sync per second instead of one per group |
    /// | `write_timeout` | 5 min | a load would rather wait for the graphs than fail |
    /// | `segment_bytes` | 256 MiB | a quarter of the rolls |
    /// | `max_commit_bytes`, `max_queue_bytes` | 64 MiB, 256 MiB | batches of some ten thousand experiences, four of them waiting |
    /// | `checkpoint_bytes` | 1 GiB | intermediate states of a load are of no use |
    /// | `compaction.automatic` | `false` | a load leaves nothing dead |
    /// | `hnsw.tail_rows`, `hnsw.max_tail_bytes` | 50,000, 256 MiB | fewer and larger graphs are built, so that less is merged; searches meanwhile scan more |
    #[must_use]
    pub fn bulk_ingest() -> Self {
        Self::preset(Preset::BulkIngest)
    }

    fn preset(preset: Preset) -> Self {
        let mut config = Self::default();
        preset.apply(&mut config);
        config
    }
}
