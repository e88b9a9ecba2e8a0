//! Does a collective that was exported come back as it was, wherever it is imported?

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use futures_util::stream;
use pulsedb::{
    CollectiveId, EmbedFuture, Embedder, EntityId, EventType, Existing, Experience, ExperienceId,
    ExperienceUpdate, ExportOptions, ImportOptions, ImportReport, InsightType, NewExperience,
    NewInsight, NewRelation, Page, Priority, PulseDB, PulseDBError, RelationType, Result,
    Timestamp, blocking,
    model::{DecayConfig, EmbedderIdentity},
    sim::Survival,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{DIMENSION, World, config, everything, new, refused_field, run};

/// The lines of a collective.
pub async fn lines(db: &PulseDB, team: CollectiveId) -> Vec<String> {
    let export = db.export(team, ExportOptions::default()).await.unwrap();
    let mut export = is_send(export);
    let mut lines = Vec::new();
    while let Some(line) = export.recv().await {
        lines.push(line.unwrap());
    }
    lines
}

fn is_send<T: Send>(future: T) -> T {
    future
}

pub async fn import(
    db: &PulseDB,
    collective: Option<CollectiveId>,
    lines: &[String],
    options: ImportOptions,
) -> Result<ImportReport> {
    let lines: Vec<Result<String>> = lines.iter().cloned().map(Ok).collect();
    is_send(db.import(collective, stream::iter(lines), options)).await
}

async fn merge(db: &PulseDB, lines: &[String]) -> ImportReport {
    import(db, None, lines, ImportOptions::default())
        .await
        .unwrap()
}

const OVERWRITE: ImportOptions = ImportOptions {
    existing: Existing::Overwrite,
    check_only: false,
};

/// The lines with another change to each experience, and the end that belongs to them.
pub fn changed(lines: &[String], mut change: impl FnMut(&mut Value)) -> Vec<String> {
    let mut changed = vec![lines[0].clone()];
    for line in &lines[1..lines.len() - 1] {
        let mut value: Value = serde_json::from_str(line).unwrap();
        change(&mut value["experience"]);
        changed.push(value.to_string());
    }
    ended(changed)
}

/// The lines between the header, which names the instance, and the end, whose checksum covers the header.
fn body(lines: &[String]) -> &[String] {
    &lines[1..lines.len() - 1]
}

fn ended(mut lines: Vec<String>) -> Vec<String> {
    let mut hasher = Sha256::new();
    for line in &lines {
        hasher.update(line);
        hasher.update("\n");
    }
    let sha256: String = hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let count = lines.len() - 1;
    lines.push(format!(
        r#"{{"end":{{"counts":{{"experiences":{count}}},"sha256":"{sha256}"}}}}"#
    ));
    lines
}

fn rebooted(world: &World, survival: Survival) -> World {
    World {
        path: world.path.clone(),
        config: world.config.clone(),
        vfs: world.vfs.reboot(survival),
        env: world.env.clone(),
    }
}

/// A collective with something of everything.
async fn varied(world: &World, db: &PulseDB) -> CollectiveId {
    let team = db
        .create_collective_with_owner("team", "owner")
        .await
        .unwrap();
    let mut ids = Vec::new();
    for number in 0..40_u8 {
        world
            .env
            .advance(Duration::from_millis(u64::from(number % 3)));
        let scale = [1.0, 1e-25, 1e25, f32::MIN_POSITIVE][usize::from(number % 4)];
        let one = NewExperience {
            embedding: Some(vec![
                0.1 * scale,
                f32::from(number) * scale,
                -0.0,
                scale / 3.0,
            ]),
            importance: 1.0 / f32::from(number + 1),
            domain: vec![format!("domain \"{number}\"")],
            tags: BTreeMap::from([("Ünï".into(), "\u{1}\n\\".into())]),
            related_files: vec!["a b".into()],
            valid_from: (number % 5 == 0).then(|| Timestamp::from_millis(-7)),
            expires_at: (number % 7 == 0).then(|| Timestamp::from_millis(i64::MAX)),
            pinned: number % 6 == 0,
            idempotency_key: (number % 2 == 0).then(|| format!("key {number}")),
            ..new(team, format!("{number} \u{7f}\t\"quoted\""))
        };
        ids.push(db.record_experience(one).await.unwrap());
    }
    for (number, id) in ids.iter().enumerate() {
        world.env.advance(Duration::from_millis(1));
        match number % 5 {
            0 => db.archive_experience(*id).await.unwrap(),
            1 => assert!(db.reinforce_experience(*id).await.unwrap() == 1),
            2 => db.set_tag(*id, "changed", "yes").await.unwrap(),
            3 if number % 2 == 0 => db.delete_experience(*id).await.unwrap(),
            _ => {}
        }
    }
    team
}

async fn assert_clean(db: &PulseDB) {
    let found = db.verify().await.unwrap();
    assert!(found.is_clean(), "{found:?}");
}

#[test]
fn an_export_says_how_much_damage_left_out() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let mut ids = Vec::new();
        for number in 0..6 {
            let text = format!("text {number}");
            ids.push(db.record_experience(new(team, text)).await.unwrap());
        }
        for pair in ids.windows(2) {
            let relation = NewRelation::new(pair[0], pair[1], RelationType::Supports);
            db.store_relation(relation).await.unwrap();
            let insight = NewInsight {
                collective_id: team,
                content: "both".into(),
                embedding: Some(vec![0.1, 0.2, -0.3, 0.7]),
                source_experience_ids: pair.to_vec(),
                insight_type: InsightType::Correlation,
                confidence: 0.3,
                domain: vec![],
            };
            db.store_insight(insight).await.unwrap();
        }
        let log = db.read_log(pulsedb::LogOptions::default()).await.unwrap();
        let place = |entity: EntityId| {
            let records = log.items.iter().filter_map(|item| match item {
                pulsedb::LogItem::Record(entry) => Some(entry),
                pulsedb::LogItem::Damaged(_) => None,
            });
            let mut of = records.filter(|one| one.entity.as_ref() == Some(&entity));
            of.next().map(|one| (one.file.clone(), one.offset)).unwrap()
        };
        let end = |lines: &[String]| -> Value {
            let end: Value = serde_json::from_str(lines.last().unwrap()).unwrap();
            end["end"]["counts"].clone()
        };
        let whole = json!({"experiences": 6, "insights": 5, "relations": 5});
        assert_eq!(end(&lines(&db, team).await), whole);
        let insight = db.list_insights(team, Page::default()).await.unwrap().items[0].id;
        let relation = db
            .list_relations(team, Page::default())
            .await
            .unwrap()
            .items[4]
            .id;
        // Damage is met when they are read: of a relation that a replay cannot read nothing is known.
        db.checkpoint().await.unwrap();
        db.close().await.unwrap();
        for entity in [
            EntityId::Experience(ids[1]),
            EntityId::Insight(insight),
            EntityId::Relation(relation),
        ] {
            let (file, offset) = place(entity);
            world.vfs.flip_bit(&file, offset + 70, 3).unwrap();
        }
        let db = world.open().await;
        let exported = lines(&db, team).await;
        // With the experience go its two relations.
        let left = json!({"experiences": 5, "insights": 4, "relations": 2, "unreadable": 5});
        assert_eq!(end(&exported), left);
        let other = World::new().open().await;
        let report = merge(&other, &exported).await;
        assert_eq!(
            (report.created, report.read.unreadable),
            (11, 5),
            "{report:?}"
        );
        for insight in other
            .list_insights(team, Page::default())
            .await
            .unwrap()
            .items
        {
            assert!(!insight.source_experience_ids.contains(&ids[1]));
        }
        other.close().await.unwrap();
        db.close().await.unwrap();
    });
}

#[test]
fn an_export_of_an_import_is_the_same_export() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = varied(&world, &db).await;
        let first = lines(&db, team).await;
        assert_eq!(first.len(), 36 + 2);
        let other = World::new();
        other.env.advance(Duration::from_secs(60));
        let copy = other.open().await;
        let report = merge(&copy, &first).await;
        assert_eq!((report.collective_id, report.created), (team, 36));
        assert_eq!(report.read.experiences, 36);
        let same = async |copy: &PulseDB| {
            let again = lines(copy, team).await;
            assert!(body(&again) == body(&first), "{again:?}");
            assert_ne!(again[0], first[0], "another instance");
            for one in everything(copy, team).await {
                assert_eq!(copy.get_experience(one.id).await.unwrap(), one);
                let view = copy.get_experience_view(one.id).await.unwrap();
                assert_eq!(view.to_experience().unwrap(), one);
                assert_eq!(view.applications(), one.applications());
                let energy = db.energy(one.id).await.unwrap();
                assert!(copy.energy(one.id).await.unwrap() <= energy);
            }
            assert_clean(copy).await;
        };
        same(&copy).await;
        let report = merge(&copy, &first).await;
        assert_eq!(
            (report.created, report.changed, report.unchanged),
            (0, 0, 36)
        );
        let report = import(&copy, None, &first, OVERWRITE).await.unwrap();
        assert_eq!(
            (report.created, report.changed, report.unchanged),
            (0, 0, 36)
        );
        same(&copy).await;
        // Replay of the log, as after a crash.
        drop(copy);
        let other = rebooted(&other, Survival::DropAll);
        let copy = other.open().await;
        same(&copy).await;
        copy.compact().await.unwrap();
        same(&copy).await;
        copy.checkpoint().await.unwrap();
        copy.close().await.unwrap();
        // From the checkpoint.
        let copy = other.open().await;
        same(&copy).await;
        let id = everything(&copy, team).await[3].id;
        let before = copy.get_experience(id).await.unwrap();
        copy.set_tag(id, "later", "yes").await.unwrap();
        copy.reinforce_experience(id).await.unwrap();
        let after = copy.get_experience(id).await.unwrap();
        assert_eq!(after.timestamp, before.timestamp);
        assert_eq!(after.applications(), before.applications() + 1);
        assert!(after.updated_at > before.updated_at);
    });
}

/// Ids, times, metadata and all; a second import finds everything there, and what was deleted here comes back.
#[test]
fn insights_and_relations_come_along() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let mut ids = Vec::new();
        for number in 0..6 {
            let text = format!("text {number}");
            ids.push(db.record_experience(new(team, text)).await.unwrap());
            world.env.advance(Duration::from_millis(7));
        }
        let mut insights = Vec::new();
        for sources in ids.windows(2) {
            let insight = NewInsight {
                collective_id: team,
                content: "both".into(),
                embedding: Some(vec![0.1, 0.2, -0.3, 0.7]),
                source_experience_ids: sources.to_vec(),
                insight_type: InsightType::Correlation,
                confidence: 0.3,
                domain: vec!["x".into()],
            };
            insights.push(db.store_insight(insight).await.unwrap());
            let relation = NewRelation {
                strength: 0.7,
                metadata: Some(r#"{"a":[1]}"#.into()),
                ..NewRelation::new(sources[0], sources[1], RelationType::Implies)
            };
            db.store_relation(relation).await.unwrap();
            let relation = NewRelation::new(sources[1], sources[0], RelationType::Supports);
            db.store_relation(relation).await.unwrap();
            world.env.advance(Duration::from_millis(7));
        }
        // Only what is there goes: no relation that leads nowhere, and an insight of which no source is left.
        db.delete_experience(ids[0]).await.unwrap();
        db.delete_experience(ids[1]).await.unwrap();
        let exported = lines(&db, team).await;
        let other_world = World::new();
        let other = other_world.open().await;
        other_world.env.advance(Duration::from_secs(99));
        let report = merge(&other, &exported).await;
        assert_eq!(
            (
                report.read.experiences,
                report.read.insights,
                report.read.relations
            ),
            (4, 5, 6)
        );
        assert_eq!(
            (report.created, report.changed, report.unchanged),
            (15, 0, 0)
        );
        assert_eq!(body(&lines(&other, team).await), body(&exported));
        for id in &insights {
            let insight = other.get_insight(*id).await.unwrap();
            assert_eq!(insight, db.get_insight(*id).await.unwrap());
        }
        let again = merge(&other, &exported).await;
        assert_eq!((again.created, again.changed, again.unchanged), (0, 0, 15));
        let page = Page::default();
        let relations = other.list_relations(team, page).await.unwrap().items;
        let held = other.snapshot().await.unwrap();
        other.delete_relation(relations[0].id).await.unwrap();
        other.delete_insight(insights[3]).await.unwrap();
        // One that says the same under another id is there, too.
        let (source, target) = (relations[1].source_id, relations[1].target_id);
        other.delete_relation(relations[1].id).await.unwrap();
        let twin = NewRelation::new(source, target, relations[1].relation_type);
        other.store_relation(twin).await.unwrap();
        let again = merge(&other, &exported).await;
        assert_eq!((again.created, again.changed, again.unchanged), (2, 0, 13));
        // Who looks at what there was before sees those that had these ids then.
        let then = held.get_relation(relations[0].id).await.unwrap();
        assert_eq!(then.as_ref(), Some(&relations[0]));
        assert!(held.get_insight(insights[3]).await.unwrap().is_some());
        drop(held);
        assert_clean(&other).await;
        other.close().await.unwrap();
        let other = other_world.open().await;
        let relations = other.list_relations(team, Page::default()).await.unwrap();
        assert_eq!(relations.items.len(), 6);
        assert_clean(&other).await;
        // An insight or a relation whose experiences did not come is refused.
        let orphans: Vec<String> = exported
            .iter()
            .filter(|line| !line.starts_with(r#"{"experience""#))
            .cloned()
            .collect();
        let third = World::new().open().await;
        let answer = import(&third, None, &orphans, ImportOptions::default()).await;
        assert!(answer.is_err());
    });
}

#[test]
fn vectors_come_back_bit_for_bit() {
    const COMPONENTS: usize = 4096;
    run(async {
        let wide = pulsedb::Config {
            embedding_dimension: pulsedb::EmbeddingDimension::Custom(COMPONENTS),
            ..config()
        };
        let (here, there) = (World::with(wide.clone()), World::with(wide));
        let (db, copy) = (here.open().await, there.open().await);
        let team = db.create_collective("team").await.unwrap();
        let mut bits = 1_u32;
        let mut any = || loop {
            bits = bits.wrapping_mul(0x9E37_79B1).wrapping_add(0x85EB_CA6B);
            let number = f32::from_bits(bits ^ (bits >> 15));
            if number.is_finite() {
                return number;
            }
        };
        for number in 0..30 {
            let one = NewExperience {
                embedding: Some((0..COMPONENTS).map(|_| any()).collect()),
                importance: any().abs().fract(),
                ..new(team, number.to_string())
            };
            db.record_experience(one).await.unwrap();
        }
        merge(&copy, &lines(&db, team).await).await;
        let bits = |all: Vec<Experience>| -> Vec<u32> {
            let vectors = all.iter().flat_map(|one| {
                one.embedding
                    .iter()
                    .chain([&one.importance])
                    .map(|it| it.to_bits())
            });
            vectors.collect()
        };
        let (mine, theirs) = (everything(&db, team).await, everything(&copy, team).await);
        assert!(bits(mine) == bits(theirs));
    });
}

#[test]
fn counts_of_instances_meet_and_none_is_lost() {
    run(async {
        let worlds = [World::new(), World::new(), World::new()];
        let mut dbs = Vec::new();
        for world in &worlds {
            dbs.push(world.open().await);
        }
        let team = dbs[0].create_collective("team").await.unwrap();
        let id = dbs[0].record_experience(new(team, "shared")).await.unwrap();
        let first = lines(&dbs[0], team).await;
        merge(&dbs[1], &first).await;
        merge(&dbs[2], &first).await;
        let mut total = 0;
        for round in 0..12_usize {
            let (one, other) = (round % 3, (round * 5 + 1) % 3);
            for _ in 0..=round {
                let before = dbs[one].get_experience(id).await.unwrap().applications();
                assert_eq!(dbs[one].reinforce_experience(id).await.unwrap(), before + 1);
                total += 1;
            }
            let told = lines(&dbs[one], team).await;
            merge(&dbs[other], &told).await;
            merge(&dbs[other], &told).await;
        }
        for _ in 0..2 {
            for (from, to) in [(0, 1), (1, 2), (2, 0)] {
                let told = lines(&dbs[from], team).await;
                merge(&dbs[to], &told).await;
            }
        }
        let reference = dbs[0].get_experience(id).await.unwrap();
        assert_eq!(
            (reference.applications(), reference.applications.len()),
            (total, 3)
        );
        for (db, world) in dbs.iter().zip(&worlds) {
            let here = db.get_experience(id).await.unwrap();
            assert_eq!(here, reference);
            let decay = DecayConfig::default();
            let energy = decay.energy(0.5, total, here.last_reinforced, here.last_reinforced);
            assert!((db.energy(id).await.unwrap() - energy).abs() < 1e-4);
            let view = db.get_experience_view(id).await.unwrap();
            assert_eq!(view.applications(), total);
            assert_clean(db).await;
            db.close().await.unwrap();
            let db = world.open().await;
            assert_eq!(db.get_experience(id).await.unwrap(), reference);
        }
    });
}

#[test]
fn what_is_there_already_merges_stays_or_gives_way() {
    run(async {
        let (here, there) = (World::new(), World::new());
        let (db, other) = (here.open().await, there.open().await);
        let team = db.create_collective("team").await.unwrap();
        let id = db.record_experience(new(team, "text")).await.unwrap();
        merge(&other, &lines(&db, team).await).await;
        let importance = |importance| ExperienceUpdate {
            importance: Some(importance),
            ..ExperienceUpdate::default()
        };
        there.env.advance(Duration::from_secs(1));
        other.update_experience(id, importance(0.75)).await.unwrap();
        other.set_tag(id, "of", "other").await.unwrap();
        other.archive_experience(id).await.unwrap();
        here.env.advance(Duration::from_secs(2));
        db.reinforce_experience(id).await.unwrap();
        db.set_tag(id, "of", "here").await.unwrap();

        let (mine, theirs) = (lines(&db, team).await, lines(&other, team).await);
        let skip = ImportOptions {
            existing: Existing::Skip,
            ..ImportOptions::default()
        };
        let before = db.get_experience(id).await.unwrap();
        let report = import(&db, None, &theirs, skip).await.unwrap();
        assert_eq!((report.unchanged, report.changed), (1, 0));
        assert_eq!(db.get_experience(id).await.unwrap(), before);
        // Older, and without counts of its own: nothing to learn.
        assert_eq!(merge(&db, &theirs).await.unchanged, 1);
        assert_eq!(db.get_experience(id).await.unwrap(), before);
        // Newer.
        let mut events = other.watch_experiences(team).await.unwrap();
        assert_eq!(merge(&other, &mine).await.changed, 1);
        assert_eq!(other.get_experience(id).await.unwrap(), before);
        let event = events.recv().await.unwrap().unwrap();
        assert_eq!(event.event_type, EventType::Updated);
        assert_eq!(
            event.experience.as_deref(),
            Some(&before),
            "one event with all"
        );
        // Overwriting goes back.
        let older: Experience = {
            let value: Value = serde_json::from_str(&theirs[1]).unwrap();
            serde_json::from_value(value["experience"].clone()).unwrap()
        };
        assert_eq!(
            import(&db, None, &theirs, OVERWRITE).await.unwrap().changed,
            1
        );
        assert_eq!(db.get_experience(id).await.unwrap(), older);
        db.close().await.unwrap();
        let db = here.open().await;
        assert_eq!(db.get_experience(id).await.unwrap(), older);
        // The same experience twice in one import, the second newer.
        let twice = ended(vec![theirs[0].clone(), theirs[1].clone(), mine[1].clone()]);
        let fresh = World::new().open().await;
        let report = merge(&fresh, &twice).await;
        assert_eq!((report.created, report.changed), (1, 1));
        assert_eq!(fresh.get_experience(id).await.unwrap(), before);
        assert_clean(&fresh).await;
    });
}

#[test]
fn lines_that_are_not_those_of_an_export_are_refused() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        for number in 0..5 {
            db.record_experience(new(team, number.to_string()))
                .await
                .unwrap();
        }
        let good = lines(&db, team).await;
        let with = |change: &dyn Fn(&mut Vec<String>)| {
            let mut bad = good.clone();
            change(&mut bad);
            bad
        };
        let bad = [
            (with(&|lines| drop(lines.remove(2))), "lines[6]"),
            (with(&|lines| lines.insert(2, lines[2].clone())), "lines[8]"),
            (with(&|lines| lines.swap(2, 3)), "lines[7]"),
            (
                with(&|lines| lines[2] = lines[2].replace(":\"agent\"", ":\"agenx\"")),
                "lines[7]",
            ),
            (with(&|lines| drop(lines.pop())), "lines"),
            (with(&|lines| lines.truncate(1)), "lines"),
            (with(&|lines| lines.clear()), "lines"),
            (with(&|lines| drop(lines.remove(0))), "lines[1]"),
            (with(&|lines| lines.insert(1, lines[0].clone())), "lines[2]"),
            (with(&|lines| lines.push(lines[2].clone())), "lines[8]"),
            (with(&|lines| lines[3].truncate(40)), "lines[4]"),
            (with(&|lines| lines[1] = "{}".into()), "lines[2]"),
            (
                with(&|lines| lines[0] = lines[0].replace("pulsedb-export", "x")),
                "lines[1]",
            ),
        ];
        let check = ImportOptions {
            check_only: true,
            ..ImportOptions::default()
        };
        let fresh = World::new().open().await;
        for (bad, field) in &bad {
            let answer = import(&fresh, None, bad, ImportOptions::default()).await;
            assert_eq!(&refused_field(answer), field);
            let answer = import(&fresh, None, bad, check.clone()).await;
            assert_eq!(&refused_field(answer), field);
            for one in fresh.list_collectives().await.unwrap() {
                assert_eq!(everything(&fresh, one.id).await, [], "{field}");
            }
        }
        let newer = with(&|lines| lines[0] = lines[0].replace("\"version\":1", "\"version\":2"));
        let answer = import(&fresh, None, &newer, ImportOptions::default()).await;
        assert!(
            matches!(answer, Err(PulseDBError::Version { found: 2, .. })),
            "{answer:?}"
        );
        let spoilt = [
            ("content", Value::from(" ")),
            ("content", Value::from("x".repeat(102_401))),
            ("content_hash", Value::from(vec![0; 16])),
            ("importance", Value::from(1.5)),
            ("embedding", Value::from(vec![0.0; DIMENSION])),
            ("embedding", Value::from(vec![1.0; DIMENSION + 1])),
            ("id", Value::from("00000000-0000-0000-0000-000000000000")),
        ];
        for (field, value) in spoilt {
            let bad = changed(&good, |one| one[field] = value.clone());
            for options in [ImportOptions::default(), check.clone()] {
                assert_eq!(
                    refused_field(import(&fresh, None, &bad, options).await),
                    field
                );
            }
        }
        let many = changed(&good, |one| {
            for number in 0..1001_u32 {
                let id = format!("0190a0b0-0000-7000-8000-{number:012x}");
                one["applications"][id] = Value::from(1);
            }
        });
        let answer = import(&fresh, None, &many, ImportOptions::default()).await;
        assert_eq!(refused_field(answer), "applications");

        // Line ends and blank lines at the end are the transport's.
        let mut windows: Vec<String> = good.iter().map(|line| format!("{line}\r\n")).collect();
        windows.push(String::new());
        let report = import(&fresh, None, &windows, check).await.unwrap();
        assert_eq!((report.read.experiences, report.created), (5, 0));
        assert_eq!(merge(&fresh, &windows).await.created, 5);
        assert!(body(&lines(&fresh, team).await) == body(&good));
    });
}

#[test]
fn what_contradicts_the_database_is_a_conflict() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let keyed = NewExperience {
            idempotency_key: Some("key".into()),
            ..new(team, "one")
        };
        db.record_experience(keyed.clone()).await.unwrap();
        let exported = lines(&db, team).await;
        let other = db.create_collective("other").await.unwrap();
        let conflict = |answer: Result<ImportReport>, what: &str| {
            let Err(PulseDBError::Conflict { what: said }) = &answer else {
                panic!("{answer:?}");
            };
            assert!(said.contains(what), "{said}");
        };
        let into = |collective| import(&db, collective, &exported, ImportOptions::default());
        conflict(into(Some(other)).await, "another collective");
        let gone = db.create_collective("gone").await.unwrap();
        db.delete_collective(gone).await.unwrap();
        let answer = into(Some(gone)).await;
        assert!(
            matches!(answer, Err(PulseDBError::NotFound { .. })),
            "{answer:?}"
        );

        let fresh = World::new().open().await;
        let mine = fresh.create_collective("mine").await.unwrap();
        let taken = NewExperience {
            collective_id: mine,
            ..keyed
        };
        fresh.record_experience(taken).await.unwrap();
        let answer = import(&fresh, Some(mine), &exported, ImportOptions::default()).await;
        conflict(answer, "idempotency key");
        let empty = changed(
            &exported[..1]
                .iter()
                .chain(&exported[2..])
                .cloned()
                .collect::<Vec<_>>(),
            |_| (),
        );
        let wide = vec![empty[0].replace("\"embedding_dimension\":4", "\"embedding_dimension\":5")];
        let answer = import(&fresh, Some(mine), &ended(wide), ImportOptions::default()).await;
        conflict(answer, "dimension");
        let read_only = world.open_read_only().await;
        let answer = import(&read_only, None, &exported, ImportOptions::default()).await;
        assert!(
            matches!(answer, Err(PulseDBError::ReadOnly { .. })),
            "{answer:?}"
        );
    });
}

/// Makes a vector of the text's length.
#[derive(Debug)]
struct Toy(EmbedderIdentity);

impl Embedder for Toy {
    fn identity(&self) -> Option<&EmbedderIdentity> {
        Some(&self.0)
    }

    fn dimension(&self) -> usize {
        DIMENSION
    }

    fn embed(&self, texts: Vec<String>, _: Priority) -> EmbedFuture<'_> {
        let vector = |text: &String| vec![1.0, text.len() as f32, 0.0, 0.0];
        let vectors = texts.iter().map(vector).collect();
        Box::pin(async move { Ok(vectors) })
    }
}

#[test]
fn without_vectors_the_store_makes_them() {
    run(async {
        let db = World::new().open().await;
        let team = db.create_collective("team").await.unwrap();
        let id = db.record_experience(new(team, "four")).await.unwrap();
        let options = ExportOptions { vectors: false };
        let mut export = db.export(team, options).await.unwrap();
        let mut bare = Vec::new();
        while let Some(line) = export.recv().await {
            bare.push(line.unwrap());
        }
        let fresh = World::new().open().await;
        let answer = import(&fresh, None, &bare, ImportOptions::default()).await;
        assert_eq!(refused_field(answer), "lines[1].vectors");

        let dir = tempfile::tempdir().unwrap();
        let toy = Toy(EmbedderIdentity {
            provider: "test".into(),
            model: "toy".into(),
            fingerprint: String::new(),
        });
        let embedding = PulseDB::open_with_embedder(dir.path(), config(), Arc::new(toy));
        let embedding = embedding.await.unwrap();
        merge(&embedding, &bare).await;
        let one = embedding.get_experience(id).await.unwrap();
        assert_eq!(one.embedding, [1.0, 4.0, 0.0, 0.0]);
        let original = db.get_experience(id).await.unwrap();
        let with_its_vector = Experience {
            embedding: original.embedding.clone(),
            ..one
        };
        assert_eq!(with_its_vector, original);
        // Its collective holds vectors of the toy now; those of callers stay out.
        let external = changed(&lines(&db, team).await, |one| {
            one["id"] = Value::from("0190a0b0-0000-7000-8000-000000000001");
        });
        let answer = import(&embedding, None, &external, ImportOptions::default()).await;
        assert!(
            matches!(answer, Err(PulseDBError::Embedding(_))),
            "{answer:?}"
        );
        embedding.close().await.unwrap();
    });
}

#[test]
fn ids_from_anywhere_keep_their_place_and_ids_of_our_own_go_on() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        for number in 0..4 {
            db.record_experience(new(team, number.to_string()))
                .await
                .unwrap();
        }
        let ids = [
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "00000000-0000-0000-0000-000000000001",
            "0190a0b0-0000-f000-0000-000000000001",
            "9c5b94b1-35ad-49bb-b118-8e8fc24abf80",
        ];
        let mut next = ids.iter();
        let foreign = changed(&lines(&db, team).await, |one| {
            one["id"] = Value::from(*next.next().unwrap());
        });
        let own = everything(&db, team).await.last().unwrap().id;
        assert_eq!(merge(&db, &foreign).await.created, 4);
        for id in ids {
            let id: ExperienceId = id.parse().unwrap();
            assert_eq!(db.get_experience(id).await.unwrap().id, id);
        }
        db.reinforce_experience(ids[0].parse().unwrap())
            .await
            .unwrap();
        let mut last = own;
        for step in 0..3 {
            let id = db.record_experience(new(team, "own")).await.unwrap();
            assert!(
                id > last && id.to_string()[..8] == last.to_string()[..8],
                "{id} {last}"
            );
            last = id;
            if step == 1 {
                db.close().await.unwrap();
                return;
            }
        }
    });
}

#[test]
fn one_that_was_deleted_comes_back_and_the_past_keeps_its_own() {
    run(async {
        let world = World::with(pulsedb::Config {
            retention: pulsedb::RetentionConfig {
                bytes: u64::MAX,
                time: Duration::ZERO,
            },
            ..config()
        });
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let id = db.record_experience(new(team, "text")).await.unwrap();
        let exported = lines(&db, team).await;
        db.set_tag(id, "before", "deletion").await.unwrap();
        let (old, at) = (
            db.get_experience(id).await.unwrap(),
            db.current_cursor().await.unwrap(),
        );
        let before = db.snapshot().await.unwrap();
        db.delete_experience(id).await.unwrap();
        let between = db.snapshot().await.unwrap();
        assert_eq!(merge(&db, &exported).await.created, 1);
        let fresh = db.get_experience(id).await.unwrap();
        assert!(fresh.tags.is_empty());
        let holds = async |db: &PulseDB| {
            assert_eq!(db.get_experience(id).await.unwrap(), fresh);
            let past = db.snapshot_at(at.lsn).await.unwrap();
            assert_eq!(past.get_experience(id).await.unwrap(), old);
            assert_eq!(
                past.first_n(team, 9).await.unwrap(),
                std::slice::from_ref(&old)
            );
            assert_eq!(
                db.first_n(team, 9).await.unwrap(),
                std::slice::from_ref(&fresh)
            );
        };
        assert_eq!(before.get_experience(id).await.unwrap(), old);
        assert!(between.get_experience(id).await.is_err());
        holds(&db).await;
        db.checkpoint().await.unwrap();
        drop((before, between));
        db.close().await.unwrap();
        let db = world.open().await;
        holds(&db).await;
        assert_clean(&db).await;
        // The same of a collective.
        db.delete_collective(team).await.unwrap();
        let past = db.snapshot_at(at.lsn).await.unwrap();
        assert_eq!(past.get_experience(id).await.unwrap(), old);
        assert_eq!(merge(&db, &exported).await.created, 1);
        let past = db.snapshot_at(at.lsn).await.unwrap();
        assert_eq!(
            past.first_n(team, 9).await.unwrap(),
            std::slice::from_ref(&old)
        );
        assert_eq!(past.get_experience(id).await.unwrap(), old);
        assert_eq!(db.get_experience(id).await.unwrap(), fresh);
        assert_clean(&db).await;
        db.close().await.unwrap();
        let db = world.open().await;
        assert_eq!(db.get_experience(id).await.unwrap(), fresh);
        db.close().await.unwrap();
    });
}

#[test]
fn an_import_that_is_interrupted_is_repeated() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let text = "words ".repeat(300);
        let batch = |number| (0..40).map(move |n| (number, n));
        for number in 0..20 {
            let batch = batch(number).map(|(a, b)| new(team, format!("{a} {b} {text}")));
            db.record_experiences(batch.collect()).await.unwrap();
        }
        let exported = lines(&db, team).await;
        let other = World::new();
        let copy = other.open().await;
        // The source breaks.
        let broken: Vec<io::Result<String>> = exported[..600]
            .iter()
            .cloned()
            .map(Ok)
            .chain([Err(io::Error::other("the cable"))])
            .collect();
        let answer = copy.import(None, stream::iter(broken), ImportOptions::default());
        let error = answer.await.unwrap_err();
        assert!(error.to_string().contains("the cable"), "{error}");
        let part = everything(&copy, team).await.len();
        assert!(part > 0 && part < 600, "{part}");
        // Then the power.
        drop(copy);
        let other = rebooted(&other, Survival::DropAll);
        let copy = other.open().await;
        assert_eq!(everything(&copy, team).await.len(), part, "it was durable");
        let report = merge(&copy, &exported).await;
        assert_eq!(
            (report.created, report.unchanged),
            (800 - part as u64, part as u64)
        );
        assert!(body(&lines(&copy, team).await) == body(&exported));
        assert_clean(&copy).await;
    });
}

#[test]
fn a_crash_at_any_operation_of_an_import_leaves_whole_experiences() {
    run(async {
        let db = World::new().open().await;
        let team = db.create_collective("team").await.unwrap();
        for number in 0..6 {
            let id = db
                .record_experience(new(team, number.to_string()))
                .await
                .unwrap();
            db.reinforce_experience(id).await.unwrap();
        }
        let exported = lines(&db, team).await;
        let originals = everything(&db, team).await;
        let dry = World::new();
        let copy = dry.open().await;
        let before = dry.vfs.op_count();
        merge(&copy, &exported).await;
        let ops = dry.vfs.op_count() - before;
        drop(copy);
        for op in 1..=ops {
            let world = World::new();
            let copy = world.open().await;
            world.vfs.crash_at(world.vfs.op_count() + op);
            let answer = import(&copy, None, &exported, ImportOptions::default()).await;
            drop(copy);
            let world = rebooted(&world, Survival::Random { stale_bytes: true });
            let copy = world.open().await;
            let known = copy.get_collective(team).await.unwrap();
            let found = match known {
                Some(_) => everything(&copy, team).await,
                None => Vec::new(),
            };
            assert!(
                found.is_empty() || found == originals,
                "operation {op}: one commit"
            );
            assert!(answer.is_err() || found == originals, "operation {op}");
            merge(&copy, &exported).await;
            let again = lines(&copy, team).await;
            assert!(body(&again) == body(&exported), "operation {op}: {again:?}");
        }
    });
}

#[test]
fn subscribers_hear_of_imports() {
    run(async {
        let db = World::new().open().await;
        let team = db.create_collective("team").await.unwrap();
        let id = db.record_experience(new(team, "text")).await.unwrap();
        db.reinforce_experience(id).await.unwrap();
        db.archive_experience(id).await.unwrap();
        let exported = lines(&db, team).await;
        let copy = World::new().open().await;
        merge(&copy, &ended(vec![exported[0].clone()])).await;
        let mut events = copy.watch_experiences(team).await.unwrap();
        merge(&copy, &exported).await;
        let event = events.recv().await.unwrap().unwrap();
        assert_eq!(
            (event.event_type, event.entity.clone()),
            (EventType::Created, EntityId::Experience(id))
        );
        let told = event.experience.clone().unwrap();
        assert_eq!(*told, db.get_experience(id).await.unwrap());
        copy.reinforce_experience(id).await.unwrap();
        let event = events.recv().await.unwrap().unwrap();
        assert_eq!(event.event_type, EventType::Reinforced);
        assert_eq!(
            event.experience.as_deref(),
            Some(&copy.get_experience(id).await.unwrap())
        );
    });
}

#[test]
fn threads_that_wait_export_and_import() {
    let world = World::new();
    let db = world.open_blocking(false);
    let team = db.create_collective("team").unwrap();
    let id = db.record_experience(new(team, "text")).unwrap();
    let export = db.export(team, ExportOptions::default()).unwrap();
    let copy: blocking::PulseDB = World::new().open_blocking(false);
    let report = copy.import(None, export, ImportOptions::default()).unwrap();
    assert_eq!(report.created, 1);
    assert_eq!(
        copy.get_experience(id).unwrap(),
        db.get_experience(id).unwrap()
    );
    let text = db
        .export(team, ExportOptions::default())
        .unwrap()
        .map(|line| line.unwrap() + "\n")
        .collect::<String>();
    let lines = io::BufRead::lines(text.as_bytes());
    let report = copy.import(None, lines, ImportOptions::default()).unwrap();
    assert_eq!(report.unchanged, 1);
}
