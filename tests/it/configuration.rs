//! Configurations from files, from the environment, and from presets.
#![allow(
    clippy::disallowed_methods,
    reason = "these tests write configuration files"
)]

use std::time::Duration;

use proptest::prelude::*;
use pulsedb::{
    Config, EmbeddingDimension, PulseDBError, RecallWeights, SyncMode, TextIndexing, TextLanguage,
    VectorElement,
};

/// The key that an error names, and all that it says.
#[track_caller]
fn refused(answer: pulsedb::Result<Config>) -> (String, String) {
    let error = answer.unwrap_err();
    let message = error.to_string();
    match error {
        PulseDBError::Config { field, .. } => (field, message),
        other => panic!("not refused as a configuration: {other}"),
    }
}

/// Moments of any size that a `Duration` has.
fn span() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::MAX),
        Just(Duration::ZERO),
        (0..100_000_u64).prop_map(Duration::from_secs),
        any::<u64>().prop_map(Duration::from_nanos),
    ]
}

fn edge(from: u64, to: u64) -> impl Strategy<Value = u64> {
    prop_oneof![Just(from), Just(to), from..=to]
}

prop_compose! {
    fn sizes()(
        segment in edge(16, 1 << 20), commit in edge(1024, 32 * 1024), queue in edge(1 << 20, u64::MAX),
        checkpoint in edge(64 * 1024, u64::MAX), rate in edge(1 << 16, u64::MAX), retained in any::<u64>(),
        tail in edge(1, u64::MAX), lag in any::<u64>(),
    ) -> Config {
        let mut config = Config {
            segment_bytes: segment * 4096,
            max_commit_bytes: commit as usize,
            max_queue_bytes: queue as usize,
            checkpoint_bytes: checkpoint,
            ..Config::default()
        };
        config.compaction.bytes_per_second = rate;
        config.retention.bytes = retained;
        config.hnsw.max_tail_bytes = tail as usize;
        config.watch_config.max_lag_bytes = lag;
        config
    }
}

prop_compose! {
    fn configs()(
        config in sizes(),
        (dimension, name, mode, pool, threads, read_only) in
            (1..=4096_usize, ".{0,20}", 0..3_usize, 0..=64_usize, 0..=1024_usize, any::<bool>()),
        (timeout, expiry, retained, stale, flush) in
            (span(), span(), span(), span(), 1..=60_000_u64),
        (in_process, buffer, poll, half_life) in
            (any::<bool>(), 1..=1_usize << 20, 1..=3_600_000_u64, 1..=u64::MAX),
        (m, construction, search, element, rows) in
            (4..=128_u16, 8..=4096_u16, 1..=10_000_usize, 0..3_usize, 1..=u32::MAX),
        (language, k1, b, always, dead) in
            (0..TextLanguage::ALL.len(), 0.0..=100.0_f32, 0.0..=1.0_f32, any::<bool>(), 1..=100_u8),
        (kappa, floor, archive, weights) in
            (0.0..=100.0_f32, 0.0..=1.0_f32, any::<bool>(), any::<Option<(f32, f32)>>()),
    ) -> Config {
        let mut config = config;
        config.embedding_dimension = match dimension {
            384 => EmbeddingDimension::D384,
            768 => EmbeddingDimension::D768,
            other => EmbeddingDimension::Custom(other),
        };
        config.default_collective = Some(name).filter(|name| !name.is_empty());
        config.sync_mode = [SyncMode::Normal, SyncMode::Fast, SyncMode::Paranoid][mode];
        config.segment_pool = pool;
        config.read_threads = threads;
        config.embed_threads = threads;
        config.hnsw.build_threads = threads;
        config.read_only = read_only;
        config.write_timeout = timeout;
        config.expiry_interval = expiry;
        if !expiry.is_zero() {
            config.expiry_interval = expiry.max(Duration::from_millis(1));
        }
        config.retention.time = retained;
        config.activity.stale_threshold = stale.max(Duration::from_millis(1));
        config.flush_interval = Duration::from_millis(flush);
        config.watch_config.in_process = in_process;
        config.watch_config.buffer_size = buffer;
        config.watch_config.poll_interval_ms = poll;
        config.hnsw.connectivity = m;
        config.hnsw.ef_construction = construction;
        config.hnsw.ef_search = search;
        config.hnsw.element = [VectorElement::I8, VectorElement::F16, VectorElement::F32][element];
        config.hnsw.first_graph_rows = rows;
        config.hnsw.tail_rows = rows;
        config.text.language = TextLanguage::ALL[language];
        (config.text.k1, config.text.b) = (k1, b);
        if always {
            config.text.indexing = TextIndexing::Always;
        }
        config.compaction.automatic = always;
        config.compaction.dead_percent = dead;
        config.decay.half_life_ms = half_life;
        (config.decay.freq_weight, config.decay.floor) = (kappa, floor);
        config.decay.auto_archive_below_floor = archive;
        config.decay.default_recall_weights = weights
            .filter(|(similarity, energy)| !similarity.is_nan() && !energy.is_nan())
            .map(|(similarity, energy)| RecallWeights { similarity, energy });
        config
    }
}

proptest! {
    #[test]
    fn a_written_configuration_reads_back(config in configs()) {
        let document = config.to_toml().unwrap();
        prop_assert_eq!(&Config::from_toml_str(&document).unwrap(), &config, "{}", document);
        // Above another one, too, but for what it does not choose.
        let other = Config { default_collective: config.default_collective.clone(), ..Config::bulk_ingest() };
        prop_assert_eq!(&other.with_toml_str(&document).unwrap(), &config);
    }

    #[test]
    fn no_document_makes_it_panic(text in "\\PC{0,200}", key in "[a-z_.]{0,20}", value in "\\PC{0,20}") {
        let _ = Config::from_toml_str(&text);
        let _ = Config::from_toml_str(&format!("[hnsw]\n{key} = {value}"));
        let variable = format!("PULSEDB_{key}").to_uppercase();
        let _ = Config::default().with_variables([(variable, value)]);
    }
}

#[test]
fn layers_lie_one_above_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pulsedb.toml");
    let file = "preset = \"latency_first\"\nwrite_timeout = \"2s\"\nsegment_bytes = 0x800000\n\
                hnsw.ef_search = 100\n[compaction]\ndead_percent = 40";
    std::fs::write(&path, file).unwrap();
    let environment = [
        ("PULSEDB_HNSW__EF_SEARCH", "200"),
        ("PULSEDB_MAX_COMMIT_BYTES", "1 MiB"),
        ("PULSEDB_MODEL_DIR", "/somewhere"),
        ("PULSEDB_FUZZ_RUNS", "1"),
        ("HOME", "/"),
    ];
    // The file alone: commits of 16 MiB do not fit into segments of 8 MiB.
    let (field, message) = refused(Config::from_toml_file(&path));
    assert_eq!(field, "max_commit_bytes", "{message}");
    let config = Config {
        max_commit_bytes: 4 << 20,
        ..Config::default()
    };
    let config = config.with_toml_file(&path).unwrap();
    let config = config.with_variables(environment).unwrap();
    // From the preset, refined by the file, by the environment.
    assert_eq!(config.sync_mode, SyncMode::Fast);
    assert_eq!(config.write_timeout, Duration::from_secs(2));
    assert_eq!(config.segment_bytes, 8 << 20);
    assert_eq!(config.compaction.dead_percent, 40);
    assert_eq!(config.hnsw.ef_search, 200);
    assert_eq!(config.max_commit_bytes, 1 << 20);
}

#[test]
fn values_are_written_for_people() {
    let read = |text: &str| Config::from_toml_str(text).unwrap();
    let ms = Duration::from_millis;
    assert_eq!(read("write_timeout = '1500ms'").write_timeout, ms(1500));
    assert_eq!(read("write_timeout = '2 m'").write_timeout, ms(120_000));
    assert_eq!(read("write_timeout = 0").write_timeout, ms(0));
    assert_eq!(
        read("retention.time = '30d'").retention.time,
        ms(30 * 86_400_000)
    );
    assert_eq!(
        read("checkpoint_bytes = '1GB'").checkpoint_bytes,
        1_000_000_000
    );
    assert_eq!(read("checkpoint_bytes = '1gib'").checkpoint_bytes, 1 << 30);
    assert_eq!(
        read("checkpoint_bytes = 1_000_000").checkpoint_bytes,
        1_000_000
    );
    assert_eq!(
        read("watch_config.poll_interval_ms = 250")
            .watch_config
            .poll_interval_ms,
        250
    );
    assert_eq!(
        read("watch_config.poll_interval_ms = '1s'")
            .watch_config
            .poll_interval_ms,
        1000
    );
    assert_eq!(
        read("embedding_dimension = 768").embedding_dimension,
        EmbeddingDimension::D768
    );
    assert_eq!(read("text.b = 1").text.b, 1.0);
    assert_eq!(read("default_collective = ''").default_collective, None);
    let weights = read("[decay.default_recall_weights]\nenergy = 0.5\nsimilarity = 2");
    let expected = RecallWeights {
        similarity: 2.0,
        energy: 0.5,
    };
    assert_eq!(weights.decay.default_recall_weights, Some(expected));
}

#[test]
fn mistakes_are_named() {
    // (document, key, what else the message says)
    let cases = [
        (
            "sync_mode = 'fast'\nsync_mod = 'fast'",
            "sync_mod",
            "no such key (line 2); did you mean sync_mode?",
        ),
        (
            "[hsnw]\nef_search = 1",
            "hsnw",
            "no such section (line 1); did you mean hnsw?",
        ),
        (
            "quite_something_else = 1",
            "quite_something_else",
            "no such key (line 1)",
        ),
        ("hnsw = 3", "hnsw", "it is a section"),
        (
            "sync_mode = 'slow'",
            "sync_mode",
            "\"slow\" cannot be chosen: unknown variant `slow`, expected one of `normal`",
        ),
        (
            "\n\nread_threads = -1",
            "read_threads",
            "\"-1\" is not a number that fits (line 3)",
        ),
        (
            "read_threads = 1.5",
            "read_threads",
            "\"1.5\" is not a number",
        ),
        ("read_only = 'yes'", "read_only", "neither true nor false"),
        (
            "read_only = [true]",
            "read_only",
            "neither text nor a number",
        ),
        (
            "write_timeout = 10",
            "write_timeout",
            "needs one of the units d, h, m, s",
        ),
        (
            "write_timeout = '10 parsecs'",
            "write_timeout",
            "needs one of the units",
        ),
        (
            "write_timeout = 'soon'",
            "write_timeout",
            "not a number with a unit, like 30s",
        ),
        (
            "write_timeout = '999999999999999999999999d'",
            "write_timeout",
            "too large",
        ),
        (
            "segment_bytes = '17179869184TiB'",
            "segment_bytes",
            "too large",
        ),
        (
            "watch_config.poll_interval_ms = '1us'",
            "watch_config.poll_interval_ms",
            "milliseconds",
        ),
        (
            "preset = 'fast'",
            "preset",
            "none of the presets durability_first",
        ),
        (
            "embedding_provider = 'other'",
            "embedding_provider",
            "neither builtin nor external",
        ),
        (
            "embedding_provider = 'external'\nmodel_path = '/m'",
            "model_path",
            "\"/m\"",
        ),
        (
            "[hnsw]\n\nef_search = 0",
            "hnsw.ef_search",
            "0 is outside 1..=10000 (line 3)",
        ),
        ("text.k1 = nan", "text.k1", "outside"),
        ("a = ", "toml", "(line 1)"),
    ];
    for (document, key, says) in cases {
        let (field, message) = refused(Config::from_toml_str(document));
        assert_eq!(field, key, "{message}");
        assert!(message.contains(says), "{message}");
    }
    let cases = [
        (
            "PULSEDB_SYNCMODE",
            "fast",
            "PULSEDB_SYNCMODE",
            "did you mean PULSEDB_SYNC_MODE?",
        ),
        (
            "PULSEDB_HNSW_EF_SEARCH",
            "1",
            "PULSEDB_HNSW_EF_SEARCH",
            "did you mean PULSEDB_HNSW__EF_SEARCH?",
        ),
        (
            "PULSEDB_sync_mode",
            "fast",
            "PULSEDB_sync_mode",
            "did you mean PULSEDB_SYNC_MODE?",
        ),
        ("PULSEDB_HNSW", "1", "PULSEDB_HNSW", "no such variable"),
        ("PULSEDB_", "1", "PULSEDB_", "no such variable"),
        (
            "PULSEDB_READ_ONLY",
            "1",
            "read_only",
            "\"1\" is neither true nor false (PULSEDB_READ_ONLY)",
        ),
        (
            "PULSEDB_SEGMENT_POOL",
            "65",
            "segment_pool",
            "65 is outside 0..=64 (PULSEDB_SEGMENT_POOL)",
        ),
    ];
    for (name, value, key, says) in cases {
        let (field, message) = refused(Config::default().with_variables([(name, value)]));
        assert_eq!(field, key, "{message}");
        assert!(message.contains(says), "{message}");
    }
    // A file is named, too, one that is not there by the system's answer.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pulsedb.toml");
    assert!(matches!(
        Config::from_toml_file(&path),
        Err(PulseDBError::Io { .. })
    ));
    std::fs::write(&path, "\nread_only = 3").unwrap();
    let (_, message) = refused(Config::from_toml_file(&path));
    assert!(message.ends_with("pulsedb.toml, line 2)"), "{message}");
}

#[cfg(feature = "embed")]
#[test]
fn the_model_has_a_path_where_there_is_one() {
    use pulsedb::EmbeddingProvider;

    let builtin = |path: Option<&str>| EmbeddingProvider::Builtin {
        model_path: path.map(Into::into),
    };
    let config = Config::from_toml_str("model_path = '/models/mini'").unwrap();
    assert_eq!(config.embedding_provider, builtin(Some("/models/mini")));
    let document = config.to_toml().unwrap();
    assert_eq!(Config::from_toml_str(&document).unwrap(), config);
    let same = config
        .with_toml_str("embedding_provider = 'builtin'")
        .unwrap();
    assert_eq!(same.embedding_provider, builtin(Some("/models/mini")));
    let none = same.with_variables([("PULSEDB_MODEL_PATH", "")]).unwrap();
    assert_eq!(none.embedding_provider, builtin(None));
    let external = none
        .with_toml_str("embedding_provider = 'external'")
        .unwrap();
    assert_eq!(external.embedding_provider, EmbeddingProvider::External);
}

#[test]
fn presets_differ_from_the_defaults_as_they_say() {
    let default = Config::default;
    let mut durable = default();
    durable.sync_mode = SyncMode::Paranoid;
    durable.retention.time = Duration::from_secs(7 * 86_400);
    durable.checkpoint_bytes = 32 << 20;
    let mut quick = default();
    quick.sync_mode = SyncMode::Fast;
    quick.flush_interval = Duration::from_millis(50);
    quick.segment_pool = 2;
    quick.write_timeout = Duration::from_secs(1);
    quick.compaction.bytes_per_second = 8 << 20;
    quick.hnsw.build_threads = 1;
    quick.text.indexing = TextIndexing::Always;
    let mut bulk = default();
    bulk.sync_mode = SyncMode::Fast;
    bulk.flush_interval = Duration::from_secs(1);
    bulk.write_timeout = Duration::from_secs(300);
    bulk.segment_bytes = 256 << 20;
    bulk.max_commit_bytes = 64 << 20;
    bulk.max_queue_bytes = 256 << 20;
    bulk.checkpoint_bytes = 1 << 30;
    bulk.compaction.automatic = false;
    bulk.hnsw.tail_rows = 50_000;
    bulk.hnsw.max_tail_bytes = 256 << 20;
    for (name, preset, expected) in [
        ("durability_first", Config::durability_first(), durable),
        ("latency_first", Config::latency_first(), quick),
        ("bulk_ingest", Config::bulk_ingest(), bulk),
    ] {
        assert_eq!(preset, expected, "{name}");
        let named = Config::from_toml_str(&format!("preset = \"{name}\"")).unwrap();
        assert_eq!(named, preset);
        let named = default().with_variables([("PULSEDB_PRESET", name)]);
        assert_eq!(named.unwrap(), preset);
    }
}
