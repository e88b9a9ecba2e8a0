//! What does a failing disk, or a crash, leave of a backup?
//!
//! Every operation of the file system fails or crashes in turn, while a backup is made, removed or restored.
//! The database is never harmed, what is listed as a backup can be restored, and the next attempt succeeds.

use pulsedb::{
    BackupCompression, BackupId, BackupInfo, BackupOptions, BackupRetention, Config, PulseDB,
    PulseDBError, RestoreOptions, RestorePoint, Result,
    sim::{FaultKind, SimVfs, Survival},
};

use crate::{
    backup::{Backups, assert_same, everything, fill},
    support::{World, config, new, run},
};

const SURVIVALS: [Survival; 3] = [
    Survival::KeepAll,
    Survival::DropAll,
    Survival::Random { stale_bytes: true },
];

const KEEP_ONE: BackupRetention = BackupRetention {
    keep_last: 1,
    keep_days: 0,
};

/// Each way of failing, at one operation.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Crash,
    Fail(FaultKind),
}

const FAULTS: [Fault; 3] = [
    Fault::Crash,
    Fault::Fail(FaultKind::Eio),
    Fault::Fail(FaultKind::Enospc),
];

impl Fault {
    fn plan(self, vfs: &SimVfs, op: u64) {
        match self {
            Self::Crash => vfs.crash_at(op),
            Self::Fail(kind) => vfs.fail_at(op, kind),
        }
    }
}

/// Says where it was when a test panics.
struct Context(String);

impl Drop for Context {
    #[allow(clippy::print_stderr, reason = "a failure says where it was")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}

/// A closed database with a backup and something behind it, and what each shows.
struct Scene {
    world: World,
    first: BackupInfo,
    /// Of everything, where the scene has one.
    second: Option<BackupInfo>,
    at_first: Vec<String>,
    now: Vec<String>,
}

impl Scene {
    /// The same one each time.
    async fn new(share: bool, has_second: bool) -> Self {
        let world = World::with(Config {
            segment_bytes: 64 * 1024,
            max_commit_bytes: 16 * 1024,
            ..config()
        });
        let backups = Backups::of(&world);
        let db = world.open().await;
        let (team, _) = fill(&db, "team", 160).await;
        let options = BackupOptions {
            share,
            ..BackupOptions::default()
        };
        let first = db.backup(&backups.dir, options).await.unwrap();
        // One is sealed.
        assert_eq!(first.segments, 2);
        assert_eq!(first.shared_bytes > 0, share);
        let at_first = everything(&db).await;
        // Another one is, before the next backup.
        for number in 0..12 {
            let content = |part| format!("{number}.{part} {}", "more ".repeat(80));
            let batch = (0..15).map(|part| new(team, content(part))).collect();
            db.record_experiences(batch).await.unwrap();
        }
        let now = everything(&db).await;
        let second = match has_second {
            true => Some(db.backup(&backups.dir, options).await.unwrap()),
            false => None,
        };
        db.close().await.unwrap();
        Self {
            world,
            first,
            second,
            at_first,
            now,
        }
    }

    /// What there is after a crash, or the same world after a fault.
    fn after(&self, survival: Survival) -> World {
        let (vfs, env) = (self.world.vfs.reboot(survival), self.world.env.clone());
        World {
            vfs,
            env,
            path: self.world.path.clone(),
            config: self.world.config.clone(),
        }
    }

    /// Whatever is listed is whole, and is what it says.
    async fn check(&self, world: &World, at_least: Option<BackupId>) {
        let backups = Backups::of(world);
        let list = backups.list().await;
        if let Some(id) = at_least {
            assert!(list.iter().any(|info| info.id == id), "{list:?}");
        }
        for (number, info) in list.iter().enumerate() {
            assert!(backups.damaged(info.id).await.is_empty(), "{info:?}");
            let shown = backups.restored(info.id, &format!("check-{number}")).await;
            let expected = match info.id == self.first.id {
                true => &self.at_first,
                false => &self.now,
            };
            assert_same(&shown, expected);
        }
        // The database is as it was.
        let db = world.open().await;
        assert_same(&everything(&db).await, &self.now);
        assert!(db.verify().await.unwrap().is_clean());
        let next = db.backup(&backups.dir, BackupOptions::default()).await;
        let next = next.unwrap();
        assert_same(&backups.restored(next.id, "next").await, &self.now);
        db.close().await.unwrap();
        backups.prune(KEEP_ONE).await.unwrap();
        // Nothing is left over.
        let report = backups.verify(next.id).await.unwrap();
        let dir = backups.dir.join("pieces");
        let dir = dir.strip_prefix("/").unwrap();
        let files = world.vfs.files().unwrap().into_iter();
        let pieces = files.filter(|(path, _)| path.parent() == Some(dir));
        assert_eq!(pieces.count() as u64, report.pieces);
    }
}

/// Backs up with a handle that only reads, so that nothing else uses the file system.
async fn back_up(world: &World, options: BackupOptions) -> Result<BackupInfo> {
    let db = world.open_read_only().await;
    let backups = Backups::of(world);
    let done = db.backup(&backups.dir, options).await;
    // After a crash the end cannot be written, which is not what this is about.
    let _ = db.close().await;
    done
}

/// Everything in a database that may be a fork, whose counts of applications bear its own name.
async fn as_original(db: &PulseDB, scene: &Scene) -> Vec<String> {
    let (own, original) = (db.instance_id(), scene.first.instance_id);
    let lines = everything(db).await.into_iter();
    lines
        .map(|line| line.replace(&own.to_string(), &original.to_string()))
        .collect()
}

/// Runs `act` with a fault at each of its operations and hands what is left to `check`.
async fn everywhere<T, A, C>(share: bool, has_second: bool, stride: u64, act: A, check: C)
where
    A: AsyncFn(&Scene) -> Result<T>,
    C: AsyncFn(&Scene, World, Result<T>),
    T: Clone,
{
    let scene = Scene::new(share, has_second).await;
    let before = scene.world.vfs.op_count();
    assert!(act(&scene).await.is_ok());
    let count = scene.world.vfs.op_count() - before;
    let mut faults = 0;
    for op in (0..count).step_by(stride as usize) {
        for fault in FAULTS {
            let _context = Context(format!("{fault:?} at operation {op} of {count}"));
            let scene = Scene::new(share, has_second).await;
            fault.plan(&scene.world.vfs, scene.world.vfs.op_count() + op);
            let done = act(&scene).await;
            faults += 1;
            if let Fault::Fail(kind) = fault {
                let _context = Context(format!("{:?}", scene.world.vfs.trace().last()));
                if let Err(PulseDBError::Io { source, .. }) = &done
                    && kind == FaultKind::Enospc
                {
                    assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
                }
            }
            for survival in SURVIVALS {
                let _context = Context(format!("{survival:?}"));
                let result = match &done {
                    Ok(done) => Ok(done.clone()),
                    Err(error) => Err(error.clone()),
                };
                check(&scene, scene.after(survival), result).await;
            }
        }
    }
    assert_eq!(faults, FAULTS.len() as u64 * count.div_ceil(stride));
}

#[test]
fn faults_while_a_backup_is_made() {
    for (share, compression, stride) in [
        (true, BackupCompression::None, 1),
        (false, BackupCompression::Lz4, 2),
    ] {
        let options = BackupOptions {
            share,
            compression,
            ..BackupOptions::default()
        };
        run(everywhere(
            share,
            false,
            stride,
            async |scene: &Scene| back_up(&scene.world, options).await,
            async |scene: &Scene, world: World, done: Result<BackupInfo>| {
                let made = done.ok().map(|info| info.id);
                scene.check(&world, made.or(Some(scene.first.id))).await;
            },
        ));
    }
}

#[test]
fn faults_while_backups_are_removed() {
    run(everywhere(
        true,
        false,
        1,
        async |scene: &Scene| Backups::of(&scene.world).prune(KEEP_ONE).await.map(|_| ()),
        async |scene: &Scene, world: World, _| scene.check(&world, Some(scene.first.id)).await,
    ));
}

#[test]
fn faults_while_an_old_backup_is_removed() {
    run(async {
        let prepared = async || {
            let scene = Scene::new(false, false).await;
            let options = BackupOptions {
                full: true,
                compression: BackupCompression::Zstd,
                ..BackupOptions::default()
            };
            let second = back_up(&scene.world, options).await.unwrap();
            (scene, second)
        };
        let (scene, _) = prepared().await;
        let before = scene.world.vfs.op_count();
        let report = Backups::of(&scene.world).prune(KEEP_ONE).await.unwrap();
        assert_eq!(report.removed, [scene.first.id]);
        assert!(report.pieces_removed > 1);
        for op in 0..scene.world.vfs.op_count() - before {
            for fault in FAULTS {
                let _context = Context(format!("{fault:?} at operation {op}"));
                let (scene, second) = prepared().await;
                fault.plan(&scene.world.vfs, scene.world.vfs.op_count() + op);
                let _ = Backups::of(&scene.world).prune(KEEP_ONE).await;
                for survival in SURVIVALS {
                    let _context = Context(format!("{survival:?}"));
                    scene.check(&scene.after(survival), Some(second.id)).await;
                }
            }
        }
    });
}

#[test]
fn faults_while_a_backup_is_restored() {
    for until in [false, true] {
        run(everywhere(
            false,
            until,
            1,
            async |scene: &Scene| {
                let backups = Backups::of(&scene.world);
                // Where there is a second one, what came after the first is cut off.
                let from = scene.second.as_ref().unwrap_or(&scene.first);
                let options = RestoreOptions {
                    until: until.then_some(RestorePoint::Lsn(scene.first.cursor.lsn)),
                    as_fork: until,
                };
                let to = backups.target("to");
                backups.restore(from.id, &to, options).await.map(|_| ())
            },
            async |scene: &Scene, world: World, done: Result<()>| {
                let backups = Backups::of(&world);
                let to = backups.target("to");
                let config = Config {
                    read_only: true,
                    ..world.config.clone()
                };
                let (vfs, env) = (world.vfs.clone(), world.env.clone());
                let found = PulseDB::open_simulated(&to, config, vfs, env).await;
                let is_there = match found {
                    Ok(db) => {
                        // It is all there, whatever the restoration answered.
                        assert_same(&as_original(&db, scene).await, &scene.at_first);
                        db.close().await.unwrap();
                        true
                    }
                    Err(PulseDBError::Io { .. } | PulseDBError::Config { .. }) => false,
                    Err(other) => panic!("{other:?}"),
                };
                assert!(is_there || done.is_err(), "{done:?}");
                if !is_there {
                    // A writer does not take it for a database either, unless it is empty.
                    let options = RestoreOptions::default();
                    backups.restore(scene.first.id, &to, options).await.unwrap();
                }
                let db = backups.open(&to).await.unwrap();
                assert_same(&as_original(&db, scene).await, &scene.at_first);
                assert!(db.verify().await.unwrap().damage.is_empty());
                db.close().await.unwrap();
                scene.check(&world, Some(scene.first.id)).await;
            },
        ));
    }
}
