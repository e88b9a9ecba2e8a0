//! Is a transaction there as a whole or not at all, wherever its commit is broken?

use std::time::Duration;

use pulsedb::{
    DecayConfig, ExperienceUpdate, NewRelation, Page, PulseDB, RelationType, Result, SyncMode,
    sim::{FaultKind, SimVfs, Survival},
};

use super::graph::insight;
use crate::support::{World, dump, new, run};

/// What is compared: everything but ids and times, which no two runs share.
#[derive(Debug, PartialEq)]
struct Shown {
    collective: String,
    half_life_ms: u64,
    /// Content, importance, archived, tags, whether its validity has ended.
    experiences: Vec<(String, f32, bool, usize, bool)>,
    relations: Vec<(RelationType, f32)>,
    /// Content and sources.
    insights: Vec<(String, usize)>,
}

async fn shown(db: &PulseDB) -> Vec<Shown> {
    let mut all = Vec::new();
    for (collective, experiences) in dump(db).await {
        let experiences = experiences.into_iter().map(|one| {
            let ended = one.valid_to.is_some();
            let tags = one.tags.len();
            (one.content, one.importance, one.archived, tags, ended)
        });
        let relations = db.list_relations(collective.id, Page::default()).await;
        let relations = relations.unwrap().items.into_iter();
        let insights = db.list_insights(collective.id, Page::default()).await;
        let insights = insights.unwrap().items.into_iter();
        all.push(Shown {
            collective: collective.name,
            half_life_ms: collective.decay.half_life_ms,
            experiences: experiences.collect(),
            relations: relations
                .map(|it| (it.relation_type, it.strength))
                .collect(),
            insights: insights
                .map(|it| (it.content, it.source_experience_ids.len()))
                .collect(),
        });
    }
    all
}

/// A transaction of every kind of change, over several kilobytes.
async fn change(db: &PulseDB) -> Result<()> {
    let mut tx = db.begin().await?;
    let team = tx.list_collectives().await?[0].id;
    let known = tx.list_experiences(team, Page::default()).await?.items;
    let fresh = tx.create_collective("fresh").await?;
    let doomed = tx.create_collective("doomed").await?;
    tx.record_experience(new(doomed, "never seen")).await?;
    tx.delete_collective(doomed).await?;
    let batch = (0..5).map(|n| new(fresh, format!("{n}{}", "long ".repeat(300))));
    let ids = tx.record_experiences(batch.collect()).await?;
    tx.set_tag(ids[0], "own", "tag").await?;
    tx.delete_experience(ids[1]).await?;
    tx.set_tag(known[0].id, "a", "b").await?;
    tx.archive_experience(known[0].id).await?;
    let update = ExperienceUpdate {
        importance: Some(0.875),
        ..ExperienceUpdate::default()
    };
    tx.update_experience(known[1].id, update).await?;
    tx.delete_experience(known[2].id).await?;
    let related = tx.list_relations(team, Page::default()).await?.items;
    tx.delete_relation(related[0].id).await?;
    let derived = tx.list_insights(team, Page::default()).await?.items;
    tx.delete_insight(derived[0].id).await?;
    let newest = tx
        .supersede_experience(known[3].id, new(team, "newest"))
        .await?;
    let own = NewRelation {
        strength: 0.25,
        ..NewRelation::new(newest, known[0].id, RelationType::Implies)
    };
    tx.store_relation(own).await?;
    let sources = [newest, known[1].id];
    tx.store_insight(insight(team, "derived", &sources)).await?;
    let decay = DecayConfig {
        half_life_ms: 77,
        ..DecayConfig::default()
    };
    tx.set_decay_config(team, decay).await?;
    tx.commit().await
}

/// A database to be changed, as files.
async fn prepared(world: &World) {
    let db = world.open().await;
    let team = db.create_collective("team").await.unwrap();
    let mut ids = Vec::new();
    for n in 0..4 {
        let one = new(team, format!("{n}"));
        ids.push(db.record_experience(one).await.unwrap());
    }
    for pair in ids.windows(2) {
        let next = NewRelation::new(pair[0], pair[1], RelationType::Supports);
        db.store_relation(next).await.unwrap();
    }
    for text in ["first", "second"] {
        let one = insight(team, text, &ids);
        db.store_insight(one).await.unwrap();
    }
    db.close().await.unwrap();
}

fn world_of(world: &World, vfs: SimVfs) -> World {
    World {
        vfs,
        env: world.env.clone(),
        config: world.config.clone(),
        ..World::new()
    }
}

#[test]
fn a_crash_at_any_operation_leaves_all_of_it_or_nothing() {
    for mode in [SyncMode::Normal, SyncMode::Fast, SyncMode::Paranoid] {
        let mut first = World::new();
        first.config.sync_mode = mode;
        first.config.segment_pool = 0;
        run(prepared(&first));
        // Ids of another millisecond: what is there comes before what is new.
        first.env.advance(Duration::from_secs(1));
        let path = first.path.clone();
        let at = |vfs: SimVfs| World {
            path: path.clone(),
            ..world_of(&first, vfs)
        };
        let (before, after, ops) = run(async {
            let world = at(first.vfs.reboot(Survival::KeepAll));
            let db = world.open().await;
            let before = shown(&db).await;
            change(&db).await.unwrap();
            let after = shown(&db).await;
            db.close().await.unwrap();
            (before, after, world.vfs.op_count())
        });
        assert_ne!(before, after);
        let (mut whole, mut nothing) = (0, 0);
        for op in 0..ops {
            for fails in [false, true] {
                let vfs = first.vfs.reboot(Survival::KeepAll);
                if fails {
                    vfs.fail_at(op, FaultKind::Eio);
                } else {
                    vfs.crash_at(op);
                }
                let world = at(vfs);
                let acknowledged = run(async {
                    let Ok(db) = world.try_open(world.config.clone()).await else {
                        return false;
                    };
                    let acknowledged = change(&db).await.is_ok();
                    if let Ok(now) = db.list_collectives().await {
                        assert!(!acknowledged || now.len() == after.len());
                    }
                    let _ = db.close().await;
                    acknowledged
                });
                for survival in [
                    Survival::KeepAll,
                    Survival::DropAll,
                    Survival::Random { stale_bytes: true },
                ] {
                    let left = at(world.vfs.reboot(survival));
                    let found = run(async {
                        let db = left.open().await;
                        let found = shown(&db).await;
                        db.close().await.unwrap();
                        found
                    });
                    let said = format!("{mode:?}, operation {op} of {ops}, {survival:?}, {fails}");
                    if found == after {
                        whole += 1;
                    } else {
                        assert_eq!(found, before, "{said}");
                        assert!(!acknowledged || mode == SyncMode::Fast, "{said}");
                        nothing += 1;
                    }
                }
            }
        }
        assert!(whole > 0 && nothing > 0, "{whole} {nothing}");
    }
}
