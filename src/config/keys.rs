//! What is each choice called outside of Rust?
//!
//! The one table: files and variables are read by it, files are written by it, and `docs/configuration.md` is made of
//! it. A key is the path of its field below [`Config`], except for the model's path, which the field of the provider
//! holds. Keys of a section stand together, behind those that are in none. Tests compare it with the fields.

use super::{
    Config,
    form::{
        Choice, Dimension, Energy, Form, Millis, ModelPath, Name, Number, Provider, Similarity,
        Size, Span, Switch,
    },
};

/// One choice.
pub(super) struct Key {
    /// Its name in files.
    pub(super) name: &'static str,
    /// What it takes.
    pub(super) form: &'static str,
    /// Whether TOML has its values without quotes.
    pub(super) bare: bool,
    /// What it does, in a line.
    pub(super) what: &'static str,
    /// Puts what a text says into a configuration.
    pub(super) read: fn(&mut Config, &str) -> Result<(), String>,
    /// The text of a configuration's choice; `None` where there is none.
    pub(super) write: fn(&Config) -> Result<Option<String>, String>,
}

impl Key {
    /// Its name in the environment.
    pub(super) fn variable(&self) -> String {
        variable(self.name)
    }
}

/// What all variables begin with.
pub(super) const PREFIX: &str = "PULSEDB_";

/// The variable of a key: upper case, with two underscores for a dot.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
}

macro_rules! keys {
    ($($name:literal $($field:ident).+: $form:ident, $what:literal;)+) => {
        /// All of them.
        pub(super) const KEYS: &[Key] = &[$(Key {
            name: $name,
            form: of(|config| &config.$($field).+, |_: &$form| ()).0,
            bare: of(|config| &config.$($field).+, |_: &$form| ()).1,
            what: $what,
            read: |config, text| $form::read(&mut config.$($field).+, text),
            write: |config| $form::write(&config.$($field).+),
        }),+];
    };
}

/// Name and bareness of the form of a field.
const fn of<T, F: Form<T>>(_: fn(&Config) -> &T, _: fn(&F)) -> (&'static str, bool) {
    (F::NAME, F::BARE)
}

keys! {
    "embedding_provider" embedding_provider: Provider, "who makes the vectors; `builtin` needs the feature `embed`, and is the default with it";
    "model_path" embedding_provider: ModelPath, "directory of the built-in model; none: `PULSEDB_MODEL_DIR`, then the user's cache";
    "embedding_dimension" embedding_dimension: Dimension, "components of the embeddings of new collectives, 1–4096";
    "default_collective" default_collective: Name, "a collective that every open makes sure of";
    "sync_mode" sync_mode: Choice, "what an acknowledgement means: `normal`, `fast` or `paranoid`";
    "flush_interval" flush_interval: Span, "in `fast`, how often the log is flushed: what a power cut can lose; 1ms–60s";
    "write_timeout" write_timeout: Span, "how long a write waits for room before it answers `Backpressure`";
    "max_commit_bytes" max_commit_bytes: Size, "most bytes of one atomic commit, from 1KiB to half of `segment_bytes`";
    "max_queue_bytes" max_queue_bytes: Size, "most bytes of requests that wait for their commit, at least `max_commit_bytes`";
    "segment_bytes" segment_bytes: Size, "size of one log segment, 64KiB–64GiB, in steps of 4KiB";
    "segment_pool" segment_pool: Number, "segment files that are written ahead, 0–64; syncs into them cost half";
    "checkpoint_bytes" checkpoint_bytes: Size, "growth of the log that makes a checkpoint due, at least 64KiB";
    "expiry_interval" expiry_interval: Span, "how often what has expired is deleted; 0 leaves it to a call";
    "read_threads" read_threads: Number, "threads that answer searches and cold reads; 0: one per core";
    "embed_threads" embed_threads: Number, "threads that run the built-in model; 0: one per core";
    "cache_size_mb" cache_size_mb: Number, "most MiB of vectors of texts that were embedded lately; 0 keeps none";
    "read_only" read_only: Switch, "open for reading only";
    "model.query_prefix" model.query_prefix: Name, "what is put before a question; none: what the model's directory says";
    "model.passage_prefix" model.passage_prefix: Name, "the same before a text that is stored";
    "model.long_texts" model.long_texts: Choice, "what counts of a text that is longer than the model takes: `first_window` or `mean_of_windows`";
    "model.download" model.download: Choice, "what to do if the user's cache lacks the model: `never` or `when_missing` to fetch it from a hub, which needs the feature `hub`";
    "model.precision" model.precision: Choice, "what the model multiplies: `f32`, `bf16`, or `auto`: bf16 where the CPU has it";
    "watch_config.in_process" watch_config.in_process: Switch, "whether commits tell the watchers; else they follow the files";
    "watch_config.buffer_size" watch_config.buffer_size: Number, "events that a channel holds for its slowest subscriber, 1–1048576";
    "watch_config.max_lag_bytes" watch_config.max_lag_bytes: Size, "bytes of the log that compaction spares for a subscriber that lags";
    "watch_config.poll_interval_ms" watch_config.poll_interval_ms: Millis, "after which a handle that follows the files looks untold, 1ms–1h";
    "retention.bytes" retention.bytes: Size, "bytes of history that are kept";
    "retention.time" retention.time: Span, "time of history that is kept";
    "compaction.automatic" compaction.automatic: Switch, "whether the log is rewritten by itself";
    "compaction.dead_percent" compaction.dead_percent: Number, "dead share of a segment that has it rewritten, 1–100";
    "compaction.bytes_per_second" compaction.bytes_per_second: Size, "bytes that are rewritten per second while something is committed, at least 64KiB";
    "upkeep.bytes_per_second" upkeep.bytes_per_second: Size, "bytes that upkeep writes per second while something is committed, at least 64KiB";
    "upkeep.cpu_percent" upkeep.cpu_percent: Number, "share of its time that a thread of upkeep works meanwhile, 1–100";
    "upkeep.archive_interval" upkeep.archive_interval: Span, "how often what is cold is archived where a collective wants it; 0 leaves it to a call";
    "hnsw.connectivity" hnsw.connectivity: Number, "neighbours of a node, 4–128";
    "hnsw.ef_construction" hnsw.ef_construction: Number, "candidates that an insertion looks at, 8–4096";
    "hnsw.ef_search" hnsw.ef_search: Number, "candidates that a search looks at, 1–10000";
    "hnsw.element" hnsw.element: Choice, "what graphs keep of a component: `i8`, `f16` or `f32`";
    "hnsw.first_graph_rows" hnsw.first_graph_rows: Number, "rows from which on a collective gets a graph";
    "hnsw.tail_rows" hnsw.tail_rows: Number, "rows behind the newest graph that make it worth building the next";
    "hnsw.max_tail_bytes" hnsw.max_tail_bytes: Size, "codes of rows behind the newest graph beyond which recording waits";
    "hnsw.build_threads" hnsw.build_threads: Number, "threads that build graphs; 0: one for every two cores";
    "text.language" text.language: Choice, "whose stop words and stems are used: `english`, `german`, …, or `any`";
    "text.k1" text.k1: Number, "how much more a word counts that comes often, 0–100";
    "text.b" text.b: Number, "how much longer texts are held to say less with a word, 0–1";
    "text.indexing" text.indexing: Choice, "when words are indexed: `on_use` or `always`";
    "text.max_tail_rows" text.max_tail_rows: Number, "texts that may wait to be indexed before recording waits, where words are searched";
    "activity.stale_threshold" activity.stale_threshold: Span, "age of the last heartbeat that makes an activity stale, at least 1ms";
    "telemetry.metrics" telemetry.metrics: Switch, "whether operations are counted and measured";
    "telemetry.slow_operation" telemetry.slow_operation: Span, "from which duration on an operation is warned of; 0 warns of none";
    "telemetry.show_queries" telemetry.show_queries: Switch, "whether spans of searches show what was searched for";
    "decay.half_life_ms" decay.half_life_ms: Millis, "new collectives: after which energy has halved";
    "decay.freq_weight" decay.freq_weight: Number, "new collectives: how much use counts, 0–100";
    "decay.floor" decay.floor: Number, "new collectives: energy below which an experience is cold, 0–1";
    "decay.auto_archive_below_floor" decay.auto_archive_below_floor: Switch, "new collectives: whether upkeep archives what is cold";
    "decay.default_recall_weights.similarity" decay.default_recall_weights: Similarity, "new collectives: weight of similarity in searches that name none";
    "decay.default_recall_weights.energy" decay.default_recall_weights: Energy, "new collectives: weight of energy in them";
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
