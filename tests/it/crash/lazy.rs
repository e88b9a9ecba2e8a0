//! What does a flipped bit under a checkpoint cost?
//!
//! An open that begins with a checkpoint looks at no record before it: whoever reads one first compares it
//! with its checksum. So everything is read here, of every kind, by id and in lists: each answer is the true
//! one, or `Corrupted` at the record that was hit, or leaves just that one out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    path::{Path, PathBuf},
};

use pulsedb::{
    CollectiveId, CompactionConfig, Config, ExperienceId, InsightId, InsightType, NewInsight,
    NewRelation, Page, PulseDB, PulseDBError, RelationDirection, RelationId, RelationType, Result,
    sim::Survival,
};
use uuid::Uuid;

use super::{
    Context, Extent,
    damage::{CLOSE, HEADER_BLOCK, Placed, frames},
};
use crate::support::{World, config, new, run};

const ROWS: usize = 40;

/// Everything in a database, by id, as text.
#[derive(Clone, Default, PartialEq)]
struct Shown {
    experiences: BTreeMap<ExperienceId, String>,
    relations: BTreeMap<RelationId, String>,
    insights: BTreeMap<InsightId, String>,
}

struct Story {
    world: World,
    team: CollectiveId,
    shown: Shown,
    segments: Vec<(PathBuf, Vec<u8>)>,
}

fn by_call() -> Config {
    Config {
        segment_bytes: Config::MIN_SEGMENT_BYTES,
        max_commit_bytes: 16 * 1024,
        compaction: CompactionConfig {
            automatic: false,
            ..CompactionConfig::default()
        },
        ..config()
    }
}

fn all() -> Page {
    Page {
        limit: 1_000,
        ..Page::default()
    }
}

async fn make() -> Story {
    let world = World::with(by_call());
    let db = world.open().await;
    let team = db.create_collective("team").await.unwrap();
    let mut ids = Vec::new();
    for number in 0..ROWS {
        let content = format!("{number} {}", "word ".repeat(300));
        ids.push(db.record_experience(new(team, content)).await.unwrap());
    }
    for (number, pair) in ids.windows(2).enumerate() {
        match number % 4 {
            0 => db.set_tag(pair[0], "key", "value").await.unwrap(),
            1 => drop(db.reinforce_experience(pair[0]).await.unwrap()),
            2 => {
                let relation = NewRelation {
                    metadata: Some(r#"{"some":"words"}"#.into()),
                    ..NewRelation::new(pair[0], pair[1], RelationType::Supports)
                };
                db.store_relation(relation).await.unwrap();
            }
            _ => {
                let insight = NewInsight {
                    collective_id: team,
                    content: format!("insight {number}"),
                    embedding: Some(vec![0.5, 0.5, 0.5, 0.5]),
                    source_experience_ids: pair.to_vec(),
                    insight_type: InsightType::Abstraction,
                    confidence: 0.5,
                    domain: vec!["domain".into()],
                };
                db.store_insight(insight).await.unwrap();
            }
        }
    }
    // By the last record of all a checkpoint is known to fit: it is about nothing that is looked at.
    db.create_collective("last").await.unwrap();
    let shown = listed(&db, team).await;
    assert_eq!(shown.experiences.len(), ROWS);
    assert!(shown.relations.len() > 5 && shown.insights.len() > 5);
    db.checkpoint().await.unwrap();
    db.close().await.unwrap();
    let mut segments = world.vfs.files().unwrap();
    segments.retain(|(path, _)| path.extension().is_some_and(|end| end == "seg"));
    assert!(segments.len() > 1);
    Story {
        world,
        team,
        shown,
        segments,
    }
}

/// What lists show.
async fn listed(db: &PulseDB, team: CollectiveId) -> Shown {
    let mut shown = Shown::default();
    for one in db.list_experiences(team, all()).await.unwrap().items {
        shown.experiences.insert(one.id, format!("{one:?}"));
    }
    for one in db.list_relations(team, all()).await.unwrap().items {
        shown.relations.insert(one.id, format!("{one:?}"));
    }
    for one in db.list_insights(team, all()).await.unwrap().items {
        shown.insights.insert(one.id, format!("{one:?}"));
    }
    shown
}

/// Where a bit was flipped.
struct Flip<'a> {
    file: &'a Path,
    offset: usize,
    hit: Option<&'a Placed>,
}

impl Flip<'_> {
    fn names(&self, file: &Path, at: u64) -> bool {
        let hit = self.hit.map_or(0, |hit| hit.at as u64);
        file.file_name() == self.file.file_name() && at == hit
    }

    /// Whether an answer by id is the true one; `Corrupted` may be in its place where the record was hit.
    fn is_true<T: Debug>(&self, id: Uuid, before: &str, answer: Result<Option<T>>) -> bool {
        match answer {
            Ok(Some(now)) => assert_eq!(format!("{now:?}"), before),
            Err(PulseDBError::Corrupted { file, offset, .. }) => {
                assert!(self.names(&file, offset), "{file:?} {offset}");
                assert_eq!(self.hit.unwrap().entity, id.as_u128());
                return false;
            }
            other => panic!("{other:?}"),
        }
        true
    }
}

impl Story {
    async fn check(&self, flip: &Flip<'_>, may_replay: bool) -> u64 {
        let vfs = self.world.vfs.reboot(Survival::KeepAll);
        let bit = (flip.offset / 3 + flip.offset) % 8;
        vfs.flip_bit(flip.file, flip.offset as u64, bit as u8)
            .unwrap();
        let world = World {
            path: self.world.path.clone(),
            config: self.world.config.clone(),
            vfs,
            env: self.world.env.clone(),
        };
        let db = world.open().await;
        let in_header = flip.offset < HEADER_BLOCK;
        let recovery = db.health_check().await.unwrap().recovery;
        assert!(recovery.checkpoint.is_some() || may_replay, "{recovery:?}");
        let told = recovery.damaged.iter();
        assert!(told.clone().all(|(file, at, _)| flip.names(file, *at)));
        assert!(told.len() == 1 || !in_header, "{recovery:?}");

        let mut lost = BTreeSet::new();
        for (id, before) in &self.shown.experiences {
            let answer = db.get_experience(*id).await.map(Some);
            if !flip.is_true(id.as_uuid(), before, answer) {
                lost.insert(id.as_uuid());
            }
        }
        for (id, before) in &self.shown.relations {
            let answer = db.get_relation(*id).await;
            if !flip.is_true(id.as_uuid(), before, answer) {
                lost.insert(id.as_uuid());
            }
        }
        for (id, before) in &self.shown.insights {
            let answer = db.get_insight(*id).await;
            if !flip.is_true(id.as_uuid(), before, answer) {
                lost.insert(id.as_uuid());
            }
        }
        assert!(lost.len() <= 1);
        let mut left = self.shown.clone();
        let is_left = |id: Uuid| !lost.contains(&id);
        left.experiences.retain(|id, _| is_left(id.as_uuid()));
        left.relations.retain(|id, _| is_left(id.as_uuid()));
        left.insights.retain(|id, _| is_left(id.as_uuid()));
        assert!(listed(&db, self.team).await == left);
        self.check_others(&db).await;

        let health = db.health_check().await.unwrap();
        let met = health.damaged.iter().chain(&health.recovery.damaged);
        assert!(met.clone().all(|(file, at, _)| flip.names(file, *at)));
        assert!(met.count() > 0 || lost.is_empty(), "{health:?}");
        let report = db.verify().await.unwrap();
        let mut found = report.damage.iter();
        assert!(found.clone().all(|one| flip.names(&one.file, one.offset)));
        // The frame that closed the log is taken for torn.
        let is_record = flip.hit.is_some_and(|hit| hit.kind != CLOSE);
        assert!(
            found.next().is_some() || !(is_record || in_header),
            "verify found nothing"
        );
        db.close().await.unwrap();
        lost.len() as u64
    }

    /// Searches and walks along relations show nothing but what was there.
    async fn check_others(&self, db: &PulseDB) {
        let query = [1.0, 2.0, 3.0, 4.0];
        let found = db.search_similar(self.team, &query, 100).await.unwrap();
        for one in found {
            let id = one.experience.id;
            assert_eq!(format!("{:?}", one.experience), self.shown.experiences[&id]);
        }
        let found = db.get_insights(self.team, &query, 100).await.unwrap();
        for one in found {
            let id = one.insight.id;
            assert_eq!(format!("{:?}", one.insight), self.shown.insights[&id]);
        }
        for id in self.shown.experiences.keys() {
            let both = RelationDirection::Both;
            for one in db.get_related_experiences(*id, both).await.unwrap() {
                let id = one.experience.id;
                assert_eq!(format!("{:?}", one.experience), self.shown.experiences[&id]);
                let id = one.relation.id;
                assert_eq!(format!("{:?}", one.relation), self.shown.relations[&id]);
            }
        }
    }
}

#[test]
fn a_flipped_bit_under_a_checkpoint_costs_one_record() {
    /// Even the long version leaves some out: each flip is read by everything there is.
    const LEAST: usize = 7;
    run(async {
        let story = make().await;
        let stride = Extent::get().stride(53) * LEAST;
        let (mut flips, mut lost) = (0, 0);
        for (number, (file, bytes)) in story.segments.iter().enumerate() {
            let frames = frames(bytes);
            let is_last = number + 1 == story.segments.len();
            // By its header it is known that the checkpoint fits.
            let fitting = frames.iter().rev().find(|one| one.kind != CLOSE);
            let fitting = fitting.filter(|_| is_last).map(|one| one.at);
            let end = frames.last().map_or(HEADER_BLOCK, |last| last.end);
            for offset in (0..end).step_by(stride) {
                let mut hits = frames.iter();
                let flip = Flip {
                    file,
                    offset,
                    hit: hits.find(|one| (one.at..one.end).contains(&offset)),
                };
                let _context = Context(format!(
                    "byte {offset} of {} {:?}",
                    file.display(),
                    flip.hit
                ));
                let may_replay = flip.hit.is_some_and(|hit| Some(hit.at) == fitting);
                lost += story.check(&flip, may_replay).await;
                flips += 1;
            }
        }
        println!("{flips} flips under a checkpoint, {lost} records lost");
        assert!(lost > 0 && lost < flips);
    });
}
