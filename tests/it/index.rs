//! Is the vector index ever anything but faster?
//!
//! Graphs are made tiny, so that a few hundred rows have several of them. Whatever happens to the
//! files, and whatever is recorded, deleted, built and searched at the same time: every acknowledged
//! row is found, every filter is answered in full, and exact searches are exact.
#![allow(
    clippy::disallowed_methods,
    reason = "these tests touch files and start threads"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use pulsedb::{
    CollectiveId, Config, EmbeddingDimension, ExperienceId, HnswConfig, NewExperience,
    PulseDBError, SearchFilter, SearchHit, SearchOptions, SearchPlan, SyncMode, VectorElement,
    blocking::PulseDB,
};
use tempfile::TempDir;

const DIMENSION: usize = 24;
/// Rows from which on these collectives have a graph.
const FIRST_GRAPH: u32 = 300;
const TAIL: u32 = 80;

fn config() -> Config {
    Config {
        sync_mode: SyncMode::Fast,
        segment_bytes: 1 << 20,
        max_commit_bytes: 256 * 1024,
        max_queue_bytes: 1 << 20,
        read_threads: 2,
        hnsw: HnswConfig {
            first_graph_rows: FIRST_GRAPH,
            tail_rows: TAIL,
            ..HnswConfig::default()
        },
        ..Config::external(EmbeddingDimension::Custom(DIMENSION))
    }
}

/// Vectors in clusters, as embeddings are; number `n` is always the same.
fn vector(n: u64) -> Vec<f32> {
    fn noise(seed: u64) -> f32 {
        let mixed = (seed ^ (seed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
    let cluster = n % 13;
    (0..DIMENSION as u64)
        .map(|i| noise(cluster * 1_000_003 + i) + 0.4 * noise((n + 100) * 7_919 + i))
        .collect()
}

fn experience(collective: CollectiveId, n: u64) -> NewExperience {
    NewExperience {
        embedding: Some(vector(n)),
        domain: vec![format!("half-{}", n % 2), format!("tenth-{}", n % 10)],
        importance: (n % 100) as f32 / 100.0,
        ..NewExperience::new(
            collective,
            format!("agent-{}", n % 3),
            format!("number {n}"),
        )
    }
}

/// A database in a directory of its own, with one collective.
struct Case {
    dir: TempDir,
    config: Config,
    db: PulseDB,
    team: CollectiveId,
    ids: Vec<ExperienceId>,
}

impl Case {
    fn new(config: Config) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = PulseDB::open(dir.path(), config.clone()).unwrap();
        let team = db.create_collective("team").unwrap();
        Self {
            dir,
            config,
            db,
            team,
            ids: Vec::new(),
        }
    }

    fn with_rows(rows: u64) -> Self {
        let mut case = Self::new(config());
        case.record(rows);
        case
    }

    fn record(&mut self, rows: u64) {
        let from = self.ids.len() as u64;
        for first in (from..from + rows).step_by(50) {
            let batch = (first..(first + 50).min(from + rows))
                .map(|n| experience(self.team, n))
                .collect();
            self.ids.extend(self.db.record_experiences(batch).unwrap());
        }
    }

    fn reopen(self) -> Self {
        self.db.close().unwrap();
        let Self {
            dir,
            config,
            team,
            ids,
            db,
        } = self;
        drop(db);
        let db = PulseDB::open(dir.path(), config.clone()).unwrap();
        Self {
            dir,
            config,
            db,
            team,
            ids,
        }
    }

    fn index_files(&self) -> BTreeMap<PathBuf, u64> {
        index_files(self.dir.path())
    }

    fn search(&self, query: &[f32], options: SearchOptions) -> Vec<SearchHit> {
        self.db.search(self.team, query, options).unwrap()
    }

    fn plan(&self, options: SearchOptions) -> SearchPlan {
        self.db.explain(self.team, vector(1), options).unwrap().plan
    }

    fn graphs(&self) -> u64 {
        self.db.get_collective_stats(self.team).unwrap().graphs
    }

    /// Waits until the builders have nothing to do.
    fn settle(&self) {
        let explain = || {
            self.db
                .explain(self.team, vector(1), SearchOptions::default())
                .unwrap()
        };
        for _ in 0..3_000 {
            let now = explain();
            if now.graphs > 0 && now.rows - now.in_graphs < u64::from(TAIL) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("the index was not built: {:?}", explain());
    }

    /// Mean share of the true best ten among those found.
    fn recall(&self, filter: &SearchFilter) -> f64 {
        let queries = 40;
        let found: usize = (0..queries)
            .map(|n| {
                let query = vector(1_000_000 + n);
                let options = |exact| SearchOptions {
                    filter: filter.clone(),
                    exact,
                    ..SearchOptions::default()
                };
                let best: BTreeSet<_> = ids(&self.search(&query, options(true)))
                    .into_iter()
                    .collect();
                let found = ids(&self.search(&query, options(false)));
                assert_eq!(found.len(), best.len());
                found.iter().filter(|id| best.contains(id)).count()
            })
            .sum();
        found as f64 / (queries * 10) as f64
    }

    /// Each row is what is most similar to itself.
    fn assert_all_found(&self, numbers: impl Iterator<Item = u64>) {
        for n in numbers {
            let hits = self.search(
                &vector(n),
                SearchOptions {
                    k: 1,
                    ..SearchOptions::default()
                },
            );
            assert_eq!(hits[0].experience.id, self.ids[n as usize], "number {n}");
        }
    }
}

fn ids(hits: &[SearchHit]) -> Vec<ExperienceId> {
    hits.iter().map(|hit| hit.experience.id).collect()
}

fn index_files(dir: &Path) -> BTreeMap<PathBuf, u64> {
    let Ok(entries) = fs::read_dir(dir.join("index")) else {
        return BTreeMap::new();
    };
    entries
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.path(), entry.metadata().unwrap().len())
        })
        .collect()
}

fn in_domain(domain: &str) -> SearchFilter {
    SearchFilter {
        domains: vec![domain.into()],
        ..SearchFilter::default()
    }
}

#[test]
fn small_collectives_have_no_graph_and_larger_ones_are_searched_through_it() {
    let mut case = Case::with_rows(u64::from(FIRST_GRAPH) - 1);
    case.db.rebuild_index(case.team).unwrap();
    assert_eq!(case.plan(SearchOptions::default()), SearchPlan::Scan);
    assert!(case.index_files().is_empty());
    case.record(2_000);
    case.db.rebuild_index(case.team).unwrap();
    let told = case
        .db
        .explain(case.team, vector(1), SearchOptions::default())
        .unwrap();
    assert_eq!((told.graphs, told.in_graphs, told.hits), (1, told.rows, 10));
    assert_eq!(case.index_files().len(), 1);
    let exact = SearchOptions {
        exact: true,
        ..SearchOptions::default()
    };
    assert_eq!(case.plan(exact), SearchPlan::Scan);
    assert!(case.recall(&SearchFilter::default()) >= 0.98);
}

/// Large enough for walks to be cheaper than scans.
#[test]
fn graphs_are_walked_where_that_is_cheaper() {
    let config = config();
    let hnsw = HnswConfig {
        ef_search: 32,
        ..config.hnsw.clone()
    };
    let mut case = Case::new(Config { hnsw, ..config });
    case.record(14_000);
    case.db.rebuild_index(case.team).unwrap();
    case.record(30);
    let filtered = |filter| SearchOptions {
        filter,
        ..SearchOptions::default()
    };
    assert_eq!(case.plan(SearchOptions::default()), SearchPlan::Graph);
    assert_eq!(
        case.plan(filtered(in_domain("half-1"))),
        SearchPlan::FilteredGraph
    );
    assert_eq!(
        case.plan(filtered(in_domain("tenth-1"))),
        SearchPlan::Matches
    );
    assert_eq!(
        case.plan(filtered(in_domain("nowhere"))),
        SearchPlan::Nothing
    );
    for filter in [
        SearchFilter::default(),
        in_domain("half-1"),
        in_domain("tenth-1"),
    ] {
        assert!(case.recall(&filter) >= 0.95, "{filter:?}");
    }
    case.assert_all_found(14_000..14_030);

    // Where most of what a graph has near a query does not count, a better plan follows.
    for (n, id) in case.ids.iter().enumerate() {
        if n % 13 == 1 && n % 40 != 1 {
            case.db.archive_experience(*id).unwrap();
        }
    }
    assert_eq!(
        case.plan(SearchOptions::default()),
        SearchPlan::FilteredGraph
    );
    assert!(case.recall(&SearchFilter::default()) >= 0.95);
    let hits = case.search(
        &vector(1),
        SearchOptions {
            k: 1_000,
            ..SearchOptions::default()
        },
    );
    assert_eq!(hits.len(), 1_000);
}

#[test]
fn every_acknowledged_row_is_found_by_the_next_search() {
    let mut case = Case::new(config());
    for n in 0..1_500 {
        case.record(1);
        if n % 3 == 0 {
            case.assert_all_found(n..=n);
        }
    }
    case.settle();
    case.assert_all_found((0..1_500).step_by(7));
}

#[test]
fn filters_are_answered_in_full() {
    let mut case = Case::with_rows(3_000);
    case.db.rebuild_index(case.team).unwrap();
    case.record(50);
    for (n, id) in case.ids.clone().iter().enumerate() {
        if n % 20 == 4 {
            case.db.delete_experience(*id).unwrap();
        } else if n % 20 == 14 {
            case.db.archive_experience(*id).unwrap();
        } else if n % 500 == 3 {
            case.db.set_tag(*id, "rare", "yes").unwrap();
        }
    }
    let rare = SearchFilter {
        tags_all: [("rare".to_owned(), "yes".to_owned())].into(),
        ..SearchFilter::default()
    };
    let filters = [
        (in_domain("half-0"), 1_000),
        (in_domain("tenth-3"), 305),
        (in_domain("tenth-4"), 0),
        (rare.clone(), 7),
        (
            SearchFilter {
                min_importance: Some(0.97),
                ..SearchFilter::default()
            },
            90,
        ),
        (
            SearchFilter {
                exclude_archived: false,
                ..in_domain("tenth-4")
            },
            152,
        ),
        (in_domain("nowhere"), 0),
    ];
    for (filter, matching) in filters {
        for k in [1, 10, 400] {
            let options = SearchOptions {
                k,
                filter: filter.clone(),
                ..SearchOptions::default()
            };
            let hits = case.search(&vector(5), options.clone());
            assert_eq!(hits.len(), k.min(matching), "k {k}, {filter:?}");
            let exact = case.search(
                &vector(5),
                SearchOptions {
                    exact: true,
                    ..options
                },
            );
            assert_eq!(exact.len(), hits.len());
        }
        assert!(
            matching == 0 || matching < 10 || case.recall(&filter) >= 0.98,
            "{filter:?}"
        );
    }
    let reopened = case.reopen();
    let options = SearchOptions {
        filter: rare,
        ..SearchOptions::default()
    };
    assert_eq!(reopened.search(&vector(5), options).len(), 7);
}

#[test]
fn deleted_rows_leave_the_index_and_give_their_bytes_back() {
    let case = Case::with_rows(2_000);
    case.db.rebuild_index(case.team).unwrap();
    let before: u64 = case.index_files().values().sum();
    for (n, id) in case.ids.iter().enumerate() {
        if n % 10 != 0 {
            case.db.delete_experience(*id).unwrap();
        }
    }
    // What is deleted is gone from every answer at once, however much of the graph is dead. Builders
    // are at work while rows are deleted, and nothing is committed afterwards.
    let hits = case.search(
        &vector(3),
        SearchOptions {
            k: 300,
            ..SearchOptions::default()
        },
    );
    assert_eq!(hits.len(), 200);
    for _ in 0..3_000 {
        if index_files(case.dir.path()).values().sum::<u64>() < before / 4 {
            assert!(case.recall(&SearchFilter::default()) >= 0.98);
            case.assert_all_found((0..2_000).step_by(10));
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("{before} bytes before, now {:?}", case.index_files());
}

#[test]
fn graphs_are_kept_over_a_reopen() {
    let case = Case::with_rows(1_000);
    case.db.rebuild_index(case.team).unwrap();
    let files = case.index_files();
    let written = fs::metadata(files.keys().next().unwrap())
        .unwrap()
        .modified()
        .unwrap();
    let case = case.reopen();
    assert_eq!(case.graphs(), 1);
    assert_eq!(case.index_files(), files);
    let now = fs::metadata(files.keys().next().unwrap())
        .unwrap()
        .modified()
        .unwrap();
    assert_eq!(now, written, "it was not built again");
    case.assert_all_found((0..1_000).step_by(11));
}

#[test]
fn an_index_file_that_is_of_no_use_costs_time_and_nothing_else() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 6] = [
        ("missing", |file| fs::remove_file(file).unwrap()),
        ("empty", |file| fs::write(file, b"").unwrap()),
        ("cut", |file| {
            let bytes = fs::read(file).unwrap();
            fs::write(file, &bytes[..bytes.len() - 64]).unwrap();
        }),
        ("flipped", |file| {
            let mut bytes = fs::read(file).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
            fs::write(file, bytes).unwrap();
        }),
        ("another's", |file| {
            let other = Case::with_rows(1_000);
            other.db.rebuild_index(other.team).unwrap();
            fs::copy(other.index_files().keys().next().unwrap(), file).unwrap();
        }),
        ("unfinished", |file| {
            fs::rename(file, file.with_extension("hnsw.new")).unwrap();
        }),
    ];
    for (what, harm) in harms {
        let mut case = Case::with_rows(1_000);
        case.db.rebuild_index(case.team).unwrap();
        // While it is open, a builder may be replacing the file.
        case.db.close().unwrap();
        let file = case.index_files().into_keys().next().unwrap();
        harm(&file);
        case.db = PulseDB::open(case.dir.path(), case.config.clone()).unwrap();
        case.assert_all_found((0..1_000).step_by(37));
        case.settle();
        assert!(case.recall(&SearchFilter::default()) >= 0.98, "{what}");
        assert!(
            case.index_files()
                .keys()
                .all(|file| file.extension().unwrap() == "hnsw"),
            "{what}"
        );
    }
}

#[test]
fn graphs_of_every_element_find_what_there_is() {
    for element in [VectorElement::I8, VectorElement::F16, VectorElement::F32] {
        let config = config();
        let hnsw = HnswConfig {
            element,
            ..config.hnsw.clone()
        };
        let mut case = Case::new(Config { hnsw, ..config });
        case.record(1_200);
        case.db.rebuild_index(case.team).unwrap();
        case.record(60);
        assert!(case.recall(&SearchFilter::default()) >= 0.98, "{element:?}");
        assert!(case.recall(&in_domain("half-1")) >= 0.98, "{element:?}");
        case.assert_all_found((0..1_260).step_by(17));
    }
}

/// A builder that gets nowhere: what it would write cannot be written.
#[test]
fn a_stalled_builder_holds_recordings_back_and_nothing_else() {
    let config = config();
    let row_bytes = 64 + 8;
    let hnsw = HnswConfig {
        max_tail_bytes: 500 * row_bytes,
        ..config.hnsw.clone()
    };
    let mut case = Case::new(Config {
        hnsw,
        write_timeout: Duration::from_millis(200),
        ..config
    });
    fs::write(case.dir.path().join("index"), b"in the way").unwrap();
    case.record(500);
    case.record(1);
    let refused = case
        .db
        .record_experience(experience(case.team, 501))
        .unwrap_err();
    assert!(
        matches!(refused, PulseDBError::Backpressure { .. }),
        "{refused}"
    );
    assert!(refused.to_string().contains("vector index"), "{refused}");

    // Everything that adds no vector goes on.
    case.db.reinforce_experience(case.ids[0]).unwrap();
    case.db.set_tag(case.ids[1], "key", "value").unwrap();
    case.db.delete_experience(case.ids[2]).unwrap();
    let other = case.db.create_collective("other").unwrap();
    case.db.record_experience(experience(other, 1)).unwrap();
    case.db.flush().unwrap();
    case.assert_all_found((3..500).step_by(23));

    // And once the builder can go on, so do recordings.
    fs::remove_file(case.dir.path().join("index")).unwrap();
    case.db.rebuild_index(case.team).unwrap();
    case.ids.push(
        case.db
            .record_experience(experience(case.team, 501))
            .unwrap(),
    );
    case.assert_all_found(501..=501);
    fs::remove_dir_all(case.dir.path().join("index")).unwrap();
    fs::write(case.dir.path().join("index"), b"in the way").unwrap();
    case.record(400);
    case.db.close().unwrap();
}

#[test]
fn a_batch_answers_as_its_queries_do_one_by_one() {
    let mut case = Case::with_rows(1_000);
    case.db.rebuild_index(case.team).unwrap();
    case.record(70);
    let queries: Vec<Vec<f32>> = (0..11).map(|n| vector(5_000 + n)).collect();
    for options in [
        SearchOptions::default(),
        SearchOptions {
            exact: true,
            k: 37,
            ..SearchOptions::default()
        },
        SearchOptions {
            filter: in_domain("tenth-2"),
            ..SearchOptions::default()
        },
    ] {
        let together = case
            .db
            .search_batch(case.team, &queries, options.clone())
            .unwrap();
        for (query, hits) in queries.iter().zip(together) {
            assert_eq!(ids(&hits), ids(&case.search(query, options.clone())));
        }
    }
}

#[test]
fn a_snapshot_sees_what_was_deleted_behind_its_back() {
    let mut case = Case::with_rows(600);
    case.db.rebuild_index(case.team).unwrap();
    for id in case.ids.iter().take(300) {
        case.db.delete_experience(*id).unwrap();
    }
    case.record(500);
    case.settle();
    let hits = case.search(
        &vector(3),
        SearchOptions {
            k: 1_000,
            ..SearchOptions::default()
        },
    );
    assert_eq!(hits.len(), 800);
    assert_eq!(
        hits.iter()
            .map(|hit| hit.experience.id)
            .collect::<BTreeSet<_>>()
            .len(),
        800
    );
}

#[test]
fn what_is_asked_of_the_index_has_limits() {
    let mut case = Case::with_rows(50);
    let ef = |ef| SearchOptions {
        ef: Some(ef),
        ..SearchOptions::default()
    };
    for good in [1, 10_000] {
        assert_eq!(case.search(&vector(1), ef(good)).len(), 10);
    }
    for bad in [0, 10_001, usize::MAX] {
        let refused = case.db.search(case.team, vector(1), ef(bad)).unwrap_err();
        assert!(
            matches!(&refused, PulseDBError::Validation { field, .. } if field == "ef"),
            "{refused}"
        );
        assert!(case.db.explain(case.team, vector(1), ef(bad)).is_err());
    }
    assert!(
        case.db
            .explain(case.team, [1.0], SearchOptions::default())
            .is_err()
    );
    let nobody = Case::new(config()).team;
    assert!(matches!(
        case.db.rebuild_index(nobody),
        Err(PulseDBError::NotFound { .. })
    ));
    case.record(400);
    case.db.rebuild_index(case.team).unwrap();
    case.db.close().unwrap();
    assert!(matches!(
        case.db.rebuild_index(case.team),
        Err(PulseDBError::Closed)
    ));

    // A reader uses the graphs that are there, and builds none.
    let reader = PulseDB::open_read_only(case.dir.path(), case.config.clone()).unwrap();
    assert_eq!(reader.get_collective_stats(case.team).unwrap().graphs, 1);
    assert!(matches!(
        reader.rebuild_index(case.team),
        Err(PulseDBError::ReadOnly { .. })
    ));
    reader.close().unwrap();

    type Spoil = fn(&mut HnswConfig);
    let spoils: [(&str, Spoil); 6] = [
        ("hnsw.connectivity", |hnsw| hnsw.connectivity = 3),
        ("hnsw.ef_construction", |hnsw| hnsw.ef_construction = 5_000),
        ("hnsw.ef_search", |hnsw| hnsw.ef_search = 0),
        ("hnsw.first_graph_rows", |hnsw| hnsw.first_graph_rows = 0),
        ("hnsw.tail_rows", |hnsw| hnsw.tail_rows = 0),
        ("hnsw.max_tail_bytes", |hnsw| hnsw.max_tail_bytes = 0),
    ];
    for (field, spoil) in spoils {
        let mut config = case.config.clone();
        spoil(&mut config.hnsw);
        let refused = PulseDB::open(case.dir.path(), config).unwrap_err();
        assert!(refused.to_string().contains(field), "{refused}");
    }
}

#[test]
fn a_thousand_small_collectives_have_no_index_to_speak_of() {
    let case = Case::new(config());
    for n in 0..1_000_u64 {
        let team = case.db.create_collective(&format!("team {n}")).unwrap();
        let batch = (0..3).map(|i| experience(team, n + i)).collect();
        case.db.record_experiences(batch).unwrap();
        let hits = case.db.search_similar(team, &vector(n), 10).unwrap();
        assert_eq!(hits.len(), 3);
        assert_eq!(case.db.get_collective_stats(team).unwrap().index_bytes, 0);
    }
    assert!(case.index_files().is_empty());
}

/// Recording, searching, deleting, building and merging at once, from several threads.
#[test]
fn everything_at_once() {
    let mut case = Case::with_rows(400);
    let stop = AtomicBool::new(false);
    let (db, team) = (&case.db, case.team);
    let recorded = thread::scope(|scope| {
        for seed in 0..2_u64 {
            let stop = &stop;
            scope.spawn(move || {
                let mut n = seed;
                while !stop.load(Ordering::Relaxed) {
                    n += 1;
                    let filter = match n % 3 {
                        0 => in_domain("tenth-1"),
                        1 => in_domain("half-1"),
                        _ => SearchFilter::default(),
                    };
                    let options = SearchOptions {
                        filter,
                        exact: n % 7 == 0,
                        ..SearchOptions::default()
                    };
                    let hits = db.search(team, vector(n * 31), options).unwrap();
                    assert_eq!(hits.len(), 10);
                    assert!(hits.windows(2).all(|two| two[0].score >= two[1].score));
                }
            });
        }
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                db.rebuild_index(team).unwrap();
            }
        });
        let recorded: Vec<ExperienceId> = (400..2_000)
            .map(|n| {
                let id = db.record_experience(experience(team, n)).unwrap();
                if n % 4 == 0 {
                    db.delete_experience(id).unwrap();
                }
                id
            })
            .collect();
        stop.store(true, Ordering::Relaxed);
        recorded
    });
    case.ids.extend(recorded);
    case.assert_all_found((401..2_000).step_by(20));
    let case = case.reopen();
    case.assert_all_found((401..2_000).step_by(20));
    assert!(case.recall(&SearchFilter::default()) >= 0.98);
}
