//! Is what comes out of a backup what went in?
//!
//! Whole databases compared, with every way of storing pieces; incremental backups; points of the history
//! beside a plain model; damage; who may recycle what. Faults and crashes are in `backup_faults.rs`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use pulsedb::{
    BackupCompression, BackupId, BackupInfo, BackupOptions, BackupReport, BackupRetention,
    CollectiveId, Config, ExperienceId, ExperienceUpdate, ExportOptions, InsightType, Lsn,
    NewInsight, NewRelation, PruneReport, PulseDB, PulseDBError, RelationType, RestoreOptions,
    RestorePoint, RestoreReport, Result, RetentionConfig,
};

use crate::support::{START, World, config, new, refused_field, run};

/// Segments of the smallest size, so that a few records fill some.
fn small() -> Config {
    Config {
        segment_bytes: 64 * 1024,
        max_commit_bytes: 16 * 1024,
        ..config()
    }
}

fn keeping_history() -> Config {
    Config {
        retention: RetentionConfig {
            bytes: u64::MAX,
            ..RetentionConfig::default()
        },
        ..small()
    }
}

/// A repository beside the database of a world, and databases made of it.
pub struct Backups<'a> {
    pub world: &'a World,
    pub dir: PathBuf,
}

impl<'a> Backups<'a> {
    pub fn of(world: &'a World) -> Self {
        let dir = PathBuf::from(format!("{}-backups", world.path.display()));
        Self { world, dir }
    }

    pub async fn list(&self) -> Vec<BackupInfo> {
        let world = self.world;
        let list =
            PulseDB::list_backups_simulated(&self.dir, world.vfs.clone(), world.env.clone()).await;
        let list = list.unwrap();
        assert_eq!(list.unreadable, []);
        list.backups
    }

    pub async fn verify(&self, id: BackupId) -> Result<BackupReport> {
        let (vfs, env) = (self.world.vfs.clone(), self.world.env.clone());
        PulseDB::verify_backup_simulated(&self.dir, id, vfs, env).await
    }

    pub async fn prune(&self, keep: BackupRetention) -> Result<PruneReport> {
        let (vfs, env) = (self.world.vfs.clone(), self.world.env.clone());
        PulseDB::prune_backups_simulated(&self.dir, keep, vfs, env).await
    }

    pub async fn damaged(&self, id: BackupId) -> Vec<PathBuf> {
        let damaged = self.verify(id).await.unwrap().damaged;
        damaged.into_iter().map(|(file, _)| file).collect()
    }

    pub async fn restore(
        &self,
        id: BackupId,
        to: &Path,
        options: RestoreOptions,
    ) -> Result<RestoreReport> {
        let world = self.world;
        let (vfs, env) = (world.vfs.clone(), world.env.clone());
        PulseDB::restore_simulated(&self.dir, id, to, options, vfs, env).await
    }

    /// A place for the next database.
    pub fn target(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("{}-{name}", self.world.path.display()))
    }

    pub async fn open(&self, path: &Path) -> Result<PulseDB> {
        let world = self.world;
        let (vfs, env) = (world.vfs.clone(), world.env.clone());
        PulseDB::open_simulated(path, world.config.clone(), vfs, env).await
    }

    /// Restores and shows everything.
    pub async fn restored(&self, id: BackupId, name: &str) -> Vec<String> {
        let to = self.target(name);
        let options = RestoreOptions::default();
        self.restore(id, &to, options).await.unwrap();
        let db = self.open(&to).await.unwrap();
        let shown = everything(&db).await;
        assert!(db.verify().await.unwrap().is_clean());
        db.close().await.unwrap();
        shown
    }
}

/// All collectives, experiences with their vectors, insights and relations, as lines.
pub async fn everything(db: &PulseDB) -> Vec<String> {
    let mut lines = Vec::new();
    for collective in db.list_collectives().await.unwrap() {
        let export = db.export(collective.id, ExportOptions::default()).await;
        lines.push(format!("{collective:?}"));
        lines.extend(body(export.unwrap().collect().await));
    }
    lines
}

/// Some of everything, in several segments; answers the collective and its experiences.
pub async fn fill(db: &PulseDB, name: &str, count: usize) -> (CollectiveId, Vec<ExperienceId>) {
    let team = db.create_collective(name).await.unwrap();
    let mut ids = Vec::new();
    for number in 0..count {
        let content = format!("{name} {number} {}", "word ".repeat(60));
        ids.push(db.record_experience(new(team, content)).await.unwrap());
    }
    for pair in ids.chunks_exact(7) {
        let relation = NewRelation::new(pair[0], pair[1], RelationType::Supports);
        db.store_relation(relation).await.unwrap();
        db.reinforce_experience(pair[2]).await.unwrap();
        db.set_tag(pair[3], "key", "value").await.unwrap();
        db.delete_experience(pair[4]).await.unwrap();
    }
    let insight = NewInsight {
        collective_id: team,
        content: "an insight".into(),
        embedding: Some(vec![0.5, 0.5, 0.5, 0.5]),
        source_experience_ids: vec![ids[0]],
        insight_type: InsightType::Abstraction,
        confidence: 0.5,
        domain: vec![],
    };
    db.store_insight(insight).await.unwrap();
    (team, ids)
}

/// The lines of the manifests of two backups, without their ends.
pub fn manifests() -> Vec<Vec<u8>> {
    run(async {
        let world = World::with(small());
        let backups = Backups::of(&world);
        let db = world.open().await;
        for compression in [BackupCompression::Zstd, BackupCompression::None] {
            let options = BackupOptions {
                compression,
                ..BackupOptions::default()
            };
            fill(&db, &format!("{compression:?}"), 100).await;
            db.backup(&backups.dir, options).await.unwrap();
        }
        db.close().await.unwrap();
        let files = world.vfs.files().unwrap().into_iter();
        let manifests = files.filter(|(path, _)| path.extension().is_some_and(|e| e == "backup"));
        manifests
            .map(|(_, mut text)| {
                text.pop();
                let end = text.iter().rposition(|byte| *byte == b'\n').unwrap();
                text.truncate(end + 1);
                text
            })
            .collect()
    })
}

fn file_names(world: &World, dir: &Path) -> Vec<String> {
    let dir = dir.strip_prefix("/").unwrap();
    let files = world.vfs.files().unwrap().into_iter();
    let inside = files.filter(|(path, _)| path.parent() == Some(dir));
    inside
        .map(|(path, _)| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_restored_database_is_the_one_that_was_backed_up() {
    run(async {
        let world = World::with(small());
        let db = world.open().await;
        fill(&db, "team", 300).await;
        let before = everything(&db).await;
        let mut number = 0;
        let compressions = [
            BackupCompression::None,
            BackupCompression::Lz4,
            BackupCompression::Zstd,
        ];
        for (compression, share) in compressions
            .into_iter()
            .flat_map(|compression| [(compression, true), (compression, false)])
        {
            number += 1;
            let backups = Backups {
                dir: PathBuf::from(format!("{}-backups-{number}", world.path.display())),
                world: &world,
            };
            let options = BackupOptions {
                compression,
                share,
                ..BackupOptions::default()
            };
            let info = db.backup(&backups.dir, options).await.unwrap();
            assert_eq!(info.cursor, db.current_cursor().await.unwrap());
            assert_eq!((info.bytes, info.parent), (info.new_bytes, None));
            assert!(info.segments > 2, "{info:?}");
            let plain = compression == BackupCompression::None;
            assert_eq!(info.shared_bytes > 0, plain && share, "{info:?}");
            assert_eq!(info.stored_bytes < info.bytes / 2, !plain, "{info:?}");
            assert_eq!(backups.list().await, std::slice::from_ref(&info));
            assert_eq!(backups.damaged(info.id).await, [] as [PathBuf; 0]);
            assert_same(
                &backups.restored(info.id, &number.to_string()).await,
                &before,
            );
        }
        db.close().await.unwrap();
    });
}

/// A segment whose header block is damaged is read without, by whoever restores it, too; and nothing is made of
/// it that says more than is known.
#[test]
fn a_segment_with_a_damaged_header_block_is_backed_up_and_not_compacted() {
    run(async {
        let world = World::with(small());
        let db = world.open().await;
        let (team, ids) = fill(&db, "team", 300).await;
        let before = everything(&db).await;
        db.close().await.unwrap();
        let files = world.vfs.files().unwrap().into_iter();
        let mut segments = files.map(|(path, _)| path);
        let is_segment = |path: &PathBuf| path.extension().is_some_and(|end| end == "seg");
        let harmed = segments.by_ref().filter(is_segment).nth(1).unwrap();
        let segments = || {
            let files = world.vfs.files().unwrap().into_iter();
            let names = files.map(|(path, _)| path);
            names.filter(|path| is_segment(path) && path.parent() == harmed.parent())
        };
        world.vfs.flip_bit(&harmed, 77, 2).unwrap();
        let db = world.open().await;
        assert_eq!(everything(&db).await, before);
        let backups = Backups::of(&world);
        for (name, share) in [("copied", false), ("shared", true)] {
            let options = BackupOptions {
                compression: BackupCompression::None,
                share,
                ..BackupOptions::default()
            };
            let info = db.backup(&backups.dir, options).await.unwrap();
            let to = backups.target(name);
            let restoring = backups.restore(info.id, &to, RestoreOptions::default());
            restoring.await.unwrap();
            let copy = backups.open(&to).await.unwrap();
            assert_eq!(everything(&copy).await, before);
            let damaged = copy.health_check().await.unwrap().recovery.damaged;
            assert_eq!(damaged.len(), 1, "{damaged:?}");
            assert_eq!(damaged[0].0.file_name(), harmed.file_name());
            copy.close().await.unwrap();
        }
        for id in ids {
            // Some are deleted.
            let _ = db.delete_experience(id).await;
        }
        let report = db.compact().await.unwrap();
        assert!(report.segments_rewritten > 0, "{report:?}");
        assert!(segments().any(|path| path == harmed));
        db.close().await.unwrap();
        let db = world.open().await;
        assert_eq!(db.first_n(team, 1).await.unwrap(), []);
        db.close().await.unwrap();
    });
}

#[test]
fn it_goes_on_in_a_history_of_its_own_and_a_fork_is_another_database() {
    run(async {
        let world = World::with(small());
        let db = world.open().await;
        let (team, _) = fill(&db, "team", 100).await;
        let backups = Backups::of(&world);
        let info = db
            .backup(&backups.dir, BackupOptions::default())
            .await
            .unwrap();
        db.record_experience(new(team, "behind the backup"))
            .await
            .unwrap();
        let original = db.current_cursor().await.unwrap();
        let mut timelines = vec![original.timeline];
        for (name, as_fork) in [("one", false), ("two", false), ("fork", true)] {
            let to = backups.target(name);
            let options = RestoreOptions {
                as_fork,
                ..RestoreOptions::default()
            };
            let report = backups.restore(info.id, &to, options).await.unwrap();
            assert_eq!(report.lsn, info.cursor.lsn);
            let restored = backups.open(&to).await.unwrap();
            assert_eq!(restored.instance_id() == db.instance_id(), !as_fork);
            assert_eq!(restored.instance_id(), report.instance_id);
            let health = restored.health_check().await.unwrap();
            assert!(health.recovery.clean && health.recovery.damaged.is_empty());
            let cursor = restored.current_cursor().await.unwrap();
            assert_eq!(cursor.timeline, report.timeline);
            assert!(!timelines.contains(&cursor.timeline), "{timelines:?}");
            timelines.push(cursor.timeline);
            // No LSN of the original is issued again.
            assert!(cursor.lsn > original.lsn);
            let id = restored.record_experience(new(team, "anew")).await.unwrap();
            assert!(restored.verify().await.unwrap().is_clean());
            restored.close().await.unwrap();
            let again = backups.open(&to).await.unwrap();
            assert_eq!(again.get_experience(id).await.unwrap().content, "anew");
            if as_fork {
                // Two databases in one repository would prune each other.
                let mixed = again.backup(&backups.dir, BackupOptions::default()).await;
                assert!(
                    matches!(&mixed, Err(PulseDBError::Config { field, .. }) if field == "dir"),
                    "{mixed:?}"
                );
            } else {
                // The restored one goes on using the repository.
                let next = again.backup(&backups.dir, BackupOptions::default()).await;
                let next = next.unwrap();
                assert!(next.new_bytes < next.bytes / 2, "{next:?}");
                let shown = everything(&again).await;
                let target = format!("{name}-again");
                assert_same(&backups.restored(next.id, &target).await, &shown);
            }
            again.close().await.unwrap();
            // Nothing is restored over a database.
            let over = backups.restore(info.id, &to, options).await;
            assert!(
                matches!(&over, Err(PulseDBError::Config { field, .. }) if field == "dest"),
                "{over:?}"
            );
        }
        db.close().await.unwrap();
    });
}

#[test]
fn an_empty_database_can_be_restored() {
    run(async {
        let world = World::with(small());
        let db = world.open().await;
        let backups = Backups::of(&world);
        let options = BackupOptions::default();
        let info = db.backup(&backups.dir, options).await.unwrap();
        assert_eq!(info.cursor.lsn, Lsn::ZERO);
        assert_eq!(backups.restored(info.id, "a").await, [] as [String; 0]);
        db.close().await.unwrap();
        // Closed and opened, it consists of the ends of sessions.
        let db = world.open().await;
        let info = db.backup(&backups.dir, options).await.unwrap();
        assert_eq!(backups.restored(info.id, "b").await, [] as [String; 0]);
        db.close().await.unwrap();
    });
}

#[test]
fn an_incremental_backup_costs_what_is_new_and_needs_no_other() {
    run(async {
        for mode in [pulsedb::SyncMode::Normal, pulsedb::SyncMode::Fast] {
            let world = World::with(Config {
                sync_mode: mode,
                ..small()
            });
            let mut db = world.open().await;
            let (team, _) = fill(&db, "team", 200).await;
            let backups = Backups::of(&world);
            let options = BackupOptions::default();
            let mut before = db.backup(&backups.dir, options).await.unwrap();
            for round in 0..12 {
                let bytes = db.metadata().await.unwrap().log_bytes;
                for number in 0..[0, 1, 5, 60][round % 4] {
                    let content = format!("{round} {number} {}", "more ".repeat(80));
                    db.record_experience(new(team, content)).await.unwrap();
                }
                if round == 6 {
                    db.close().await.unwrap();
                    db = world.open().await;
                }
                let added = db.metadata().await.unwrap().log_bytes - bytes;
                let info = db.backup(&backups.dir, options).await.unwrap();
                assert!(info.id > before.id);
                assert_eq!(info.parent, Some(before.id));
                assert!(
                    info.new_bytes <= added && info.new_bytes + 8192 > added,
                    "{added} bytes: {info:?}"
                );
                before = info;
                if round == 5 {
                    // All again, in one piece each.
                    let full = BackupOptions {
                        full: true,
                        ..options
                    };
                    before = db.backup(&backups.dir, full).await.unwrap();
                    assert_eq!((before.parent, before.new_bytes), (None, before.bytes));
                }
                let shown = everything(&db).await;
                let restored = backups.restored(before.id, &format!("r{round}")).await;
                assert_same(&restored, &shown);
                if round % 4 == 3 {
                    let keep = BackupRetention {
                        keep_last: 1,
                        keep_days: 0,
                    };
                    let report = backups.prune(keep).await.unwrap();
                    assert_eq!(report.kept, [before.id]);
                    assert!(!report.removed.is_empty());
                    // As many files as it has pieces, all of them whole.
                    let report = backups.verify(before.id).await.unwrap();
                    assert!(report.is_clean());
                    let files = file_names(&world, &backups.dir.join("pieces"));
                    assert_eq!(files.len() as u64, report.pieces);
                }
            }
            db.close().await.unwrap();
        }
    });
}

#[test]
fn retention_keeps_by_number_or_by_age() {
    run(async {
        let world = World::with(small());
        let db = world.open().await;
        let (team, _) = fill(&db, "team", 20).await;
        let backups = Backups::of(&world);
        let day = Duration::from_secs(24 * 60 * 60);
        let mut ids = Vec::new();
        for number in 0..6 {
            db.record_experience(new(team, format!("day {number}")))
                .await
                .unwrap();
            let info = db.backup(&backups.dir, BackupOptions::default()).await;
            ids.push(info.unwrap().id);
            world.env.advance(day);
        }
        let prune = |keep_last, keep_days| {
            backups.prune(BackupRetention {
                keep_last,
                keep_days,
            })
        };
        assert_eq!(refused_field(prune(0, 0).await), "retention");
        // The newest is a day old, the oldest six.
        assert_eq!(prune(1, 5).await.unwrap().removed, ids[..1]);
        assert_eq!(prune(4, 2).await.unwrap().removed, ids[1..2]);
        assert_eq!(prune(0, 2).await.unwrap().kept, ids[4..]);
        for id in &ids[4..] {
            assert_eq!(backups.damaged(*id).await, [] as [PathBuf; 0]);
        }
        // A clock that goes back takes no order with it.
        world.env.set_now(START);
        let info = db.backup(&backups.dir, BackupOptions::default()).await;
        let info = info.unwrap();
        assert_eq!(backups.list().await.last(), Some(&info));
        assert_eq!(prune(1, 0).await.unwrap().kept, [info.id]);
        assert_eq!(prune(0, 1).await.unwrap().kept, [info.id]);
        db.close().await.unwrap();
    });
}

/// What a plain model says, after each commit.
type State = BTreeMap<ExperienceId, (String, f32)>;

async fn state(db: &PulseDB, team: CollectiveId) -> State {
    let all = crate::support::everything(db, team).await;
    all.into_iter()
        .map(|one| (one.id, (one.content, one.importance)))
        .collect()
}

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound.max(1) as u64) as usize
    }
}

#[test]
fn every_point_of_the_history_can_be_restored() {
    run(async {
        let world = World::with(keeping_history());
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let mut chance = Chance(7);
        let mut model = State::new();
        let mut history = Vec::new();
        for number in 0..400 {
            world.env.advance(Duration::from_millis(3));
            let keys: Vec<ExperienceId> = model.keys().copied().collect();
            match chance.below(4) {
                0 if !keys.is_empty() => {
                    let id = keys[chance.below(keys.len())];
                    db.delete_experience(id).await.unwrap();
                    model.remove(&id);
                }
                1 if !keys.is_empty() => {
                    let id = keys[chance.below(keys.len())];
                    let importance = chance.below(100) as f32 / 100.0;
                    let update = ExperienceUpdate {
                        importance: Some(importance),
                        ..ExperienceUpdate::default()
                    };
                    db.update_experience(id, update).await.unwrap();
                    model.get_mut(&id).unwrap().1 = importance;
                }
                _ => {
                    // Several in one commit: a point within it is one before it.
                    let batch: Vec<_> = (0..=chance.below(3))
                        .map(|part| new(team, format!("{number}.{part} {}", "text ".repeat(100))))
                        .collect();
                    let contents: Vec<_> = batch
                        .iter()
                        .map(|one| (one.content.clone(), one.importance))
                        .collect();
                    let ids = db.record_experiences(batch).await.unwrap();
                    model.extend(ids.into_iter().zip(contents));
                }
            }
            let lsn = db.current_cursor().await.unwrap().lsn;
            let now = START.as_millis() + 3 * (number + 1);
            history.push((lsn, now, model.clone()));
            if number == 200 {
                // History is kept, so this changes places only.
                db.compact().await.unwrap();
            }
        }
        let backups = Backups::of(&world);
        let options = BackupOptions {
            compression: BackupCompression::Lz4,
            ..BackupOptions::default()
        };
        let info = db.backup(&backups.dir, options).await.unwrap();
        assert_eq!(info.history_from, Lsn::ZERO, "{info:?}");
        let (first, last) = (history[0].0.get(), info.cursor.lsn.get());
        for round in 0..40 {
            let (point, expected) = if round % 2 == 0 {
                let lsn = first + chance.below((last - first + 1) as usize) as u64;
                let at = history.iter().rev().find(|(end, ..)| end.get() <= lsn);
                (RestorePoint::Lsn(Lsn::new(lsn)), at.unwrap())
            } else {
                let now = history[0].1 + chance.below(1200) as i64;
                let at = history.iter().rev().find(|(_, time, _)| *time <= now);
                let point = RestorePoint::Time(pulsedb::Timestamp::from_millis(now));
                match point {
                    // What was recorded after the backup began may be missing.
                    RestorePoint::Time(time) if time > info.created_at => continue,
                    point => (point, at.unwrap()),
                }
            };
            let to = backups.target(&format!("point-{round}"));
            let options = RestoreOptions {
                until: Some(point),
                as_fork: round % 3 == 0,
            };
            let report = backups.restore(info.id, &to, options).await.unwrap();
            assert_eq!(report.lsn, expected.0, "{point:?}");
            let restored = backups.open(&to).await.unwrap();
            assert_eq!(state(&restored, team).await, expected.2, "{point:?}");
            assert!(restored.verify().await.unwrap().is_clean());
            // Of what was cut off, nothing is left, and what comes is recorded.
            restored.record_experience(new(team, "new")).await.unwrap();
            restored.close().await.unwrap();
        }
        let beyond = RestorePoint::Lsn(Lsn::new(last + 1));
        for until in [RestorePoint::Lsn(Lsn::ZERO), beyond] {
            let options = RestoreOptions {
                until: Some(until),
                as_fork: false,
            };
            let to = backups.target("beyond");
            let refused = backups.restore(info.id, &to, options).await;
            assert_eq!(refused_field(refused), "until", "{until:?}");
            let said = backups.open(&to).await;
            drop(said.unwrap());
        }
        db.close().await.unwrap();
    });
}

#[test]
fn what_compaction_has_cut_off_is_out_of_reach_and_said_so() {
    run(async {
        let world = World::with(small());
        let db = world.open().await;
        let (team, ids) = fill(&db, "team", 200).await;
        let backups = Backups::of(&world);
        let options = BackupOptions::default();
        let early = db.backup(&backups.dir, options).await.unwrap();
        for id in &ids[..150] {
            let _ = db.delete_experience(*id).await;
        }
        let middle = db.current_cursor().await.unwrap().lsn;
        let in_the_middle = everything(&db).await;
        assert!(db.compact().await.unwrap().segments_rewritten > 0);
        db.record_experience(new(team, "late")).await.unwrap();
        let late = db.backup(&backups.dir, options).await.unwrap();
        assert!(late.history_from > early.cursor.lsn, "{late:?}");
        assert!(late.history_from <= middle);
        let to = backups.target("early");
        let until = |lsn| RestoreOptions {
            until: Some(RestorePoint::Lsn(lsn)),
            as_fork: false,
        };
        let refused = backups.restore(late.id, &to, until(early.cursor.lsn)).await;
        match refused {
            Err(PulseDBError::Validation { field, limit, .. }) => {
                assert_eq!(field, "until");
                assert!(limit.contains(&late.history_from.to_string()), "{limit}");
            }
            other => panic!("{other:?}"),
        }
        let to = backups.target("middle");
        backups.restore(late.id, &to, until(middle)).await.unwrap();
        let restored = backups.open(&to).await.unwrap();
        assert_same(&everything(&restored).await, &in_the_middle);
        restored.close().await.unwrap();
        // The first backup that reaches a point is found.
        for (lsn, from) in [
            (early.cursor.lsn, early.id),
            (middle, late.id),
            (late.cursor.lsn, late.id),
        ] {
            let to = backups.target(&format!("until-{lsn}"));
            let point = RestorePoint::Lsn(lsn);
            let (vfs, env) = (world.vfs.clone(), world.env.clone());
            let report = PulseDB::restore_until_simulated(&backups.dir, point, &to, vfs, env).await;
            assert_eq!(report.unwrap().backup, from);
        }
        db.close().await.unwrap();
    });
}

#[test]
fn damage_is_found_and_never_restored() {
    run(async {
        let world = World::with(small());
        let db = world.open().await;
        let (team, _) = fill(&db, "team", 60).await;
        let backups = Backups::of(&world);
        for compression in [BackupCompression::Lz4, BackupCompression::None] {
            let options = BackupOptions {
                compression,
                share: false,
                ..BackupOptions::default()
            };
            db.backup(&backups.dir, options).await.unwrap();
            db.record_experience(new(team, "more")).await.unwrap();
        }
        let whole = db.backup(&backups.dir, BackupOptions::default()).await;
        let whole = whole.unwrap();
        let shown = everything(&db).await;
        let pieces = backups.dir.join("pieces");
        let names = file_names(&world, &pieces);
        let mut chance = Chance(3);
        for (number, name) in names.iter().enumerate() {
            let path = pieces.join(name);
            let key = path.strip_prefix("/").unwrap().to_owned();
            let mut files = world.vfs.files().unwrap().into_iter();
            let len = files.find(|(other, _)| *other == key).unwrap().1.len();
            for _ in 0..8 {
                let at = chance.below(len) as u64;
                world.vfs.flip_bit(&path, at, 3).unwrap();
                let damaged = backups.damaged(whole.id).await;
                let to = backups.target(&format!("damaged-{number}-{at}"));
                let options = RestoreOptions::default();
                match backups.restore(whole.id, &to, options).await {
                    Err(PulseDBError::Corrupted { file, .. }) => {
                        assert_eq!((&file, &damaged[..]), (&path, &[path.clone()][..]));
                        assert_eq!(file_names(&world, &to.join("log")), [] as [String; 0]);
                    }
                    // A bit of a compressed file that means nothing.
                    Ok(_) if name.ends_with("lz4") && damaged.is_empty() => {
                        let db = backups.open(&to).await.unwrap();
                        assert_same(&everything(&db).await, &shown);
                        db.close().await.unwrap();
                    }
                    other => panic!("byte {at}: {other:?}"),
                }
                world.vfs.flip_bit(&path, at, 3).unwrap();
            }
        }
        // What the medium does not give is damage, too.
        let path = pieces.join(&names[0]);
        world.vfs.read_fault(&path, 0..1).unwrap();
        assert_eq!(backups.damaged(whole.id).await, [path]);
        // A full backup replaces what is damaged.
        let full = BackupOptions {
            full: true,
            share: false,
            ..BackupOptions::default()
        };
        let info = db.backup(&backups.dir, full).await.unwrap();
        assert_eq!(backups.damaged(info.id).await, [] as [PathBuf; 0]);
        // A manifest: it is told, and nobody touches its pieces.
        let path = backups.dir.join(format!("{}.backup", info.id));
        world.vfs.flip_bit(&path, 100, 0).unwrap();
        let (vfs, env) = (world.vfs.clone(), world.env.clone());
        let list = PulseDB::list_backups_simulated(&backups.dir, vfs, env).await;
        let list = list.unwrap();
        assert_eq!(list.unreadable[0].0, path);
        let refused = backups.verify(info.id).await;
        assert!(matches!(refused, Err(PulseDBError::Corrupted { .. })));
        let keep = BackupRetention {
            keep_last: 1,
            keep_days: 0,
        };
        let report = backups.prune(keep).await.unwrap();
        assert_eq!((report.pieces_removed, report.unreadable.len()), (0, 1));
        world.vfs.flip_bit(&path, 100, 0).unwrap();
        assert_eq!(backups.damaged(info.id).await, [] as [PathBuf; 0]);
        // One that is not there.
        let nobody = "00000000-0000-0000-0000-000000000009".parse().unwrap();
        let refused = backups.verify(nobody).await;
        assert_eq!(refused_field(refused), "backup");
        db.close().await.unwrap();
    });
}

#[test]
fn shared_files_are_never_recycled() {
    run(async {
        for shared in [true, false] {
            let world = World::with(Config {
                segment_pool: 3,
                ..small()
            });
            let db = world.open().await;
            let (team, ids) = fill(&db, "team", 200).await;
            let backups = Backups::of(&world);
            let options = BackupOptions {
                share: shared,
                ..BackupOptions::default()
            };
            let info = db.backup(&backups.dir, options).await.unwrap();
            assert_eq!(info.shared_bytes > 0, shared);
            let before = backups.restored(info.id, "before").await;
            for id in ids {
                let _ = db.delete_experience(id).await;
            }
            assert!(db.compact().await.unwrap().segments_rewritten > 0);
            // Into whatever the pool has now.
            for number in 0..400 {
                let content = format!("over {number} {}", "it ".repeat(150));
                db.record_experience(new(team, content)).await.unwrap();
            }
            assert_eq!(backups.damaged(info.id).await, [] as [PathBuf; 0]);
            assert_same(&backups.restored(info.id, "after").await, &before);
            db.close().await.unwrap();
        }
    });
}

#[test]
#[allow(clippy::disallowed_methods, reason = "somebody gives up in time")]
fn a_backup_that_nobody_waits_for_any_more_does_not_count() {
    let world = World::with(small());
    let backups = Backups::of(&world);
    run(async {
        let db = world.open().await;
        fill(&db, "team", 100).await;
        let slow = BackupOptions {
            bytes_per_second: 1000,
            ..BackupOptions::default()
        };
        let given_up =
            tokio::time::timeout(Duration::from_millis(200), db.backup(&backups.dir, slow));
        assert!(given_up.await.is_err());
        let info = loop {
            match db.backup(&backups.dir, BackupOptions::default()).await {
                Ok(info) => break info,
                // It notices within moments.
                Err(PulseDBError::Locked { .. }) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(backups.list().await[0].id, info.id);
        assert_eq!(backups.damaged(info.id).await, [] as [PathBuf; 0]);
        // Two at a time do not work in one repository.
        let second = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            db.record_experience(new(db.list_collectives().await.unwrap()[0].id, "meanwhile"))
                .await
                .unwrap();
            db.backup(&backups.dir, BackupOptions::default()).await
        };
        let full = BackupOptions { full: true, ..slow };
        let (_, second) = tokio::join!(
            tokio::time::timeout(Duration::from_millis(300), db.backup(&backups.dir, full)),
            second
        );
        assert!(
            matches!(second, Err(PulseDBError::Locked { .. })),
            "{second:?}"
        );
        // The end of the database ends it, too.
        let (ended, _) = tokio::join!(db.backup(&backups.dir, full), async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            db.close().await.unwrap();
        });
        assert!(
            matches!(
                ended,
                Err(PulseDBError::Closed | PulseDBError::Locked { .. })
            ),
            "{ended:?}"
        );
        assert_eq!(backups.list().await.len(), 1);
    });
}

#[test]
fn a_directory_of_something_else_is_refused_untouched() {
    run(async {
        let world = World::with(small());
        let db = world.open().await;
        fill(&db, "team", 10).await;
        let files = |world: &World| world.vfs.files().unwrap().len();
        let before = files(&world);
        for dir in [world.path.clone(), world.path.join("log")] {
            let refused = db.backup(&dir, BackupOptions::default()).await;
            assert!(
                matches!(&refused, Err(PulseDBError::Config { field, .. }) if field == "dir"),
                "{refused:?}"
            );
        }
        assert_eq!(files(&world), before);
        let nowhere = backups_of_nothing(&world).await;
        assert!(matches!(nowhere, Err(PulseDBError::Io { .. })));
        db.close().await.unwrap();
    });
}

async fn backups_of_nothing(world: &World) -> Result<pulsedb::BackupList> {
    let (vfs, env) = (world.vfs.clone(), world.env.clone());
    PulseDB::list_backups_simulated("/nowhere", vfs, env).await
}

/// On real files: a writer at 2,000 records a second, backups in the middle of it, each compared with what
/// the database itself shows of that moment.
#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "a steady load needs a task and a clock"
)]
fn backups_under_load_are_the_database_at_their_commits() {
    const PER_SECOND: f64 = 2000.0;
    let dir = tempfile::tempdir().unwrap();
    let repository = dir.path().join("backups");
    let config = Config {
        segment_bytes: 1024 * 1024,
        max_commit_bytes: 256 * 1024,
        ..keeping_history()
    };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let db = PulseDB::open(dir.path().join("db"), config.clone())
            .await
            .unwrap();
        let team = db.create_collective("team").await.unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let writer = tokio::spawn({
            let (db, stop) = (db.clone(), Arc::clone(&stop));
            async move {
                let began = Instant::now();
                let mut written = 0;
                while !stop.load(Ordering::Relaxed) {
                    let due = (began.elapsed().as_secs_f64() * PER_SECOND) as usize;
                    let batch: Vec<_> = (written..due.min(written + 64))
                        .map(|number| new(team, format!("{number} {}", "load ".repeat(100))))
                        .collect();
                    written += batch.len();
                    if batch.is_empty() {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        continue;
                    }
                    let ids = db.record_experiences(batch).await.unwrap();
                    db.reinforce_experience(ids[0]).await.unwrap();
                    db.delete_experience(ids[ids.len() - 1]).await.unwrap();
                }
                written
            }
        });
        tokio::time::sleep(Duration::from_millis(700)).await;
        let mut made = Vec::new();
        for compression in [
            BackupCompression::None,
            BackupCompression::Zstd,
            BackupCompression::None,
        ] {
            let options = BackupOptions {
                compression,
                bytes_per_second: 0,
                ..BackupOptions::default()
            };
            made.push(db.backup(&repository, options).await.unwrap());
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        stop.store(true, Ordering::Relaxed);
        println!(
            "{} records beside {} backups",
            writer.await.unwrap(),
            made.len()
        );
        for (number, info) in made.iter().enumerate() {
            assert!(
                PulseDB::verify_backup(&repository, info.id)
                    .await
                    .unwrap()
                    .is_clean()
            );
            let to = dir.path().join(format!("restored-{number}"));
            let options = RestoreOptions::default();
            PulseDB::restore(&repository, info.id, &to, options)
                .await
                .unwrap();
            let restored = PulseDB::open(&to, config.clone()).await.unwrap();
            let then = db.snapshot_at(info.cursor.lsn).await.unwrap();
            let expected = then.export(team, ExportOptions::default()).await.unwrap();
            let expected = body(expected.collect().await);
            let found = restored
                .export(team, ExportOptions::default())
                .await
                .unwrap();
            assert_same(&body(found.collect().await), &expected);
            assert!(expected.len() > 100, "{info:?}");
            assert!(restored.verify().await.unwrap().is_clean());
            restored.close().await.unwrap();
        }
        db.close().await.unwrap();
    });
}

/// Whether two databases show the same; where not, the first line that differs is told.
#[track_caller]
pub fn assert_same(found: &[String], expected: &[String]) {
    let differs = |(one, other): &(&String, &String)| one != other;
    if let Some((one, other)) = found.iter().zip(expected).find(differs) {
        panic!("found    {one}\nexpected {other}");
    }
    assert_eq!(found.len(), expected.len());
}

/// An export without header and end, which name the instance.
fn body(mut lines: Vec<Result<String>>) -> Vec<String> {
    lines.pop();
    lines.into_iter().skip(1).map(Result::unwrap).collect()
}
