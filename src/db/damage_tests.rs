//! What does damage cost that nobody met before a read does?
//!
//! Bytes of the log are changed behind the back of an open database, and its rows are made to forget that
//! their bodies were compared with their checksums, as rows that come from a checkpoint never were.

use std::{collections::BTreeMap, os::unix::fs::FileExt, path::PathBuf};

use crate::{
    CollectiveId, Config, EmbeddingDimension, Experience, ExperienceId, ExperienceUpdate,
    NewExperience, Page, PulseDBError, SearchFilter, blocking,
    db::PulseDB,
    edge::block_on::block_on,
    model::{HealthStatus, limits::MAX_K},
};

const ROWS: usize = 200;
const DIMENSION: usize = 8;

/// A database with rows that nobody has read.
struct Fixture {
    db: PulseDB,
    ask: blocking::PulseDB,
    team: CollectiveId,
    before: BTreeMap<ExperienceId, Experience>,
    _dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self::with(Config::external(EmbeddingDimension::Custom(DIMENSION)))
    }

    fn with(config: Config) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = block_on(PulseDB::open(dir.path(), config)).unwrap();
        let ask = blocking::PulseDB::from(db.clone());
        let team = ask.create_collective("team").unwrap();
        let batch = (0..ROWS).map(|n| NewExperience {
            embedding: Some(vector(n)),
            domain: vec![format!("d{}", n % 3)],
            ..NewExperience::new(team, "agent", format!("content of row {n}"))
        });
        let ids = ask.record_experiences(batch.collect()).unwrap();
        let before = ids
            .iter()
            .map(|id| (*id, ask.get_experience(*id).unwrap()))
            .collect();
        let fixture = Self {
            db,
            ask,
            team,
            before,
            _dir: dir,
        };
        fixture.forget_checked();
        fixture
    }

    fn id(&self, row: usize) -> ExperienceId {
        *self.before.keys().nth(row).unwrap()
    }

    fn forget_checked(&self) {
        let reader = self.db.engine().reader().unwrap();
        let table = reader.table(self.team).unwrap();
        for row in 0..ROWS as u32 {
            table.with_slot(row, |slot| slot.forget_checked());
        }
    }

    /// The file and the offset of the body of a row, or of its newest traits.
    fn place(&self, row: usize) -> (PathBuf, u64) {
        let reader = self.db.engine().reader().unwrap();
        let table = reader.table(self.team).unwrap();
        let state = table.row(row as u32, reader.lsn()).unwrap();
        let place = state.values.traits_place.unwrap_or(state.row.place);
        let segment = reader.view.segments.segment(place.segment).unwrap();
        (segment.path().to_owned(), place.offset())
    }

    /// Flips a bit of the record of a row.
    fn flip(&self, row: usize, at: u64) -> (PathBuf, u64) {
        let (path, offset) = self.place(row);
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset + at).unwrap();
        file.write_all_at(&[byte[0] ^ 4], offset + at).unwrap();
        (path, offset)
    }

    fn search(&self, row: usize, k: usize, filter: SearchFilter) -> Vec<ExperienceId> {
        let hits = self
            .ask
            .search_similar_filtered(self.team, &vector(row), k, filter)
            .unwrap();
        for hit in &hits {
            assert_eq!(self.before[&hit.experience.id], hit.experience);
        }
        hits.iter().map(|hit| hit.experience.id).collect()
    }

    fn listed(&self) -> Vec<Experience> {
        let page = Page {
            limit: 1_000,
            ..Page::default()
        };
        self.ask.list_experiences(self.team, page).unwrap().items
    }

    /// That the record of `row` is damaged, at that place, and everything else as it was.
    fn check_lost(&self, row: usize, (path, offset): &(PathBuf, u64)) {
        let lost = self.id(row);
        let is_place = |error: PulseDBError| match error {
            PulseDBError::Corrupted {
                file, offset: at, ..
            } => (&file, &at) == (path, offset),
            _ => false,
        };
        for (id, before) in &self.before {
            if *id == lost {
                assert!(is_place(self.ask.get_experience(*id).unwrap_err()));
                assert!(is_place(self.ask.get_experience_view(*id).unwrap_err()));
            } else {
                assert_eq!(&self.ask.get_experience(*id).unwrap(), before);
                let view = self.ask.get_experience_view(*id).unwrap();
                assert_eq!(&view.to_experience().unwrap(), before);
            }
        }
        let health = self.ask.health_check().unwrap();
        assert_eq!(health.status, HealthStatus::Degraded);
        let named = |(file, at, _): &&(PathBuf, u64, String)| (file, at) == (path, offset);
        assert_eq!(health.damaged.iter().filter(named).count(), 1, "{health:?}");
        assert!(health.recovery.damaged.is_empty());
    }
}

/// Row `n`'s vector: near those of its neighbours.
fn vector(n: usize) -> Vec<f32> {
    (0..DIMENSION)
        .map(|i| 1.0 + ((n as f32) * 0.01 + i as f32).sin())
        .collect()
}

/// Offsets in a frame: of its header, its vector, and its last bytes.
const HEADER: u64 = 20;
const VECTOR: u64 = 64 + 5;

#[test]
fn a_search_leaves_out_what_it_cannot_read_and_finds_as_many_others() {
    for at in [HEADER, VECTOR, 64 + 4 * DIMENSION as u64 + 9] {
        let fixture = Fixture::new();
        let place = fixture.flip(77, at);
        for k in [1, 5, ROWS - 1, MAX_K] {
            // The damaged row would be the best of all.
            let found = fixture.search(77, k, SearchFilter::default());
            assert_eq!(found.len(), k.min(ROWS - 1), "k = {k}, byte {at}");
            assert!(!found.contains(&fixture.id(77)));
        }
        let filter = SearchFilter {
            domains: vec!["d2".into()],
            ..SearchFilter::default()
        };
        assert_eq!(fixture.search(77, 3, filter).len(), 3);
        fixture.check_lost(77, &place);
    }
}

#[test]
fn a_list_leaves_out_what_it_cannot_read() {
    let fixture = Fixture::new();
    let place = fixture.flip(5, VECTOR);
    let listed = fixture.listed();
    let mut expected = fixture.before.clone();
    expected.remove(&fixture.id(5));
    assert!(listed.iter().eq(expected.values()));
    fixture.check_lost(5, &place);
}

#[test]
fn a_point_read_that_meets_damage_first_tells_it_to_health() {
    let fixture = Fixture::new();
    assert!(fixture.ask.health_check().unwrap().damaged.is_empty());
    let place = fixture.flip(9, HEADER);
    fixture.check_lost(9, &place);
}

#[test]
fn a_body_is_compared_once() {
    let fixture = Fixture::new();
    let first = fixture.ask.get_experience(fixture.id(3)).unwrap();
    fixture.flip(3, VECTOR);
    let again = fixture.ask.get_experience(fixture.id(3)).unwrap();
    assert_ne!(first.embedding, again.embedding, "the map shows the file");
    assert!(fixture.ask.health_check().unwrap().damaged.is_empty());
}

#[test]
fn damaged_traits_cost_their_experience_alone() {
    let mut fixture = Fixture::new();
    let id = fixture.id(40);
    let update = ExperienceUpdate {
        domain: Some(vec!["d0".into()]),
        ..ExperienceUpdate::default()
    };
    fixture.ask.update_experience(id, update).unwrap();
    let place = fixture.flip(40, 64 + 6);
    let domain = |domain: &str| SearchFilter {
        domains: vec![domain.into()],
        ..SearchFilter::default()
    };
    for filter in [SearchFilter::default(), domain("d0"), domain("d1")] {
        let found = fixture.search(40, MAX_K, filter.clone());
        let expected = fixture.before.iter().filter(|(other, before)| {
            **other != id && filter.domains.iter().all(|one| before.domain.contains(one))
        });
        assert_eq!(found.len(), expected.count());
        assert!(!found.contains(&id));
    }
    assert_eq!(fixture.listed().len(), ROWS - 1);
    fixture.check_lost(40, &place);
    // Traits that are written anew are whole again.
    let update = ExperienceUpdate {
        domain: Some(vec!["d0".into()]),
        ..ExperienceUpdate::default()
    };
    match fixture.ask.update_experience(id, update) {
        Ok(()) => {
            let healed = fixture.ask.get_experience(id).unwrap();
            fixture.before.insert(id, healed);
            assert_eq!(
                fixture.search(40, MAX_K, domain("d0")).len(),
                ROWS.div_ceil(3) + 1
            );
        }
        Err(error) => assert!(matches!(error, PulseDBError::Corrupted { .. }), "{error}"),
    }
}

#[test]
fn a_graph_is_built_without_what_cannot_be_read() {
    let mut config = Config::external(EmbeddingDimension::Custom(DIMENSION));
    config.hnsw.first_graph_rows = ROWS as u32;
    let fixture = Fixture::with(config);
    fixture.ask.rebuild_index(fixture.team).unwrap();
    fixture.forget_checked();
    let place = fixture.flip(150, VECTOR);
    fixture.ask.rebuild_index(fixture.team).unwrap();
    let stats = fixture.ask.get_collective_stats(fixture.team).unwrap();
    assert_eq!(stats.graphs, 1);
    let found = fixture.search(150, 10, SearchFilter::default());
    assert_eq!(found.len(), 10);
    assert!(!found.contains(&fixture.id(150)));
    fixture.check_lost(150, &place);
}

#[test]
fn a_view_outlives_everything() {
    let fixture = Fixture::new();
    let id = fixture.id(12);
    let view = fixture.ask.get_experience_view(id).unwrap();
    let (text, vector) = (view.content_bytes(), view.embedding_bytes());
    fixture.ask.delete_experience(id).unwrap();
    fixture.ask.delete_collective(fixture.team).unwrap();
    fixture.ask.close().unwrap();
    let Fixture {
        db,
        ask,
        before,
        _dir,
        ..
    } = fixture;
    drop((db, ask, _dir));
    let before = &before[&id];
    assert_eq!(&view.to_experience().unwrap(), before);
    assert_eq!(view.content(), before.content);
    assert_eq!(view.embedding(), before.embedding);
    assert_eq!(view.source_agent(), before.source_agent.as_str());
    assert_eq!(view.source_task(), None);
    assert_eq!(view.idempotency_key(), None);
    assert_eq!(view.kind(), before.experience_type.kind());
    assert_eq!(view.experience_type().unwrap(), before.experience_type);
    assert_eq!(view.content_hash(), before.content_hash);
    drop(view);
    assert_eq!(text, before.content.as_bytes());
    let components = vector
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b));
    assert!(components.eq(before.embedding.iter().copied()));
}
