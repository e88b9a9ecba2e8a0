//! Which cells of the fault matrix in `ARCHITECTURE.md` has nobody else?
//!
//! Every byte of a small database flipped, a commit torn at every sector, a medium that does not give the
//! manifest, a lock that nobody holds any more, a clock that goes back.
#![allow(
    clippy::disallowed_methods,
    reason = "these tests make damaged copies of real files"
)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use pulsedb::{
    CompactionConfig, Config, EmbeddingDimension, Experience, ExperienceId, ExperienceUpdate,
    NewExperience, PulseDB, PulseDBError, Timestamp, blocking,
    model::{Health, HealthStatus},
    sim::{SimEnv, SimVfs, Survival},
};

use crate::support::{START, World, new, run};

const HEADER_BLOCK: usize = 4096;
const BODY: u8 = 3;
const CLOSE: u8 = 7;

fn small() -> Config {
    Config {
        segment_bytes: Config::MIN_SEGMENT_BYTES,
        max_commit_bytes: 16 * 1024,
        read_threads: 1,
        compaction: CompactionConfig {
            automatic: false,
            ..CompactionConfig::default()
        },
        ..Config::external(EmbeddingDimension::Custom(4))
    }
}

/// A few records of every kind, closed or not, and what the database shows of them.
struct Small {
    path: PathBuf,
    vfs: SimVfs,
    shown: BTreeMap<ExperienceId, Experience>,
}

impl Small {
    fn make(closed: bool) -> Self {
        let world = World::with(small());
        let vfs = run(async {
            let db = world.open().await;
            let team = db.create_collective("team").await.unwrap();
            let gone = db.create_collective("gone").await.unwrap();
            let mut ids = Vec::new();
            for number in 0..4 {
                let one = db.record_experience(new(team, format!("number {number}")));
                ids.push(one.await.unwrap());
            }
            let update = ExperienceUpdate {
                importance: Some(0.25),
                domain: Some(vec!["domain".into()]),
                ..ExperienceUpdate::default()
            };
            db.update_experience(ids[1], update).await.unwrap();
            db.delete_experience(ids[2]).await.unwrap();
            db.delete_collective(gone).await.unwrap();
            db.record_experience(new(team, "the last")).await.unwrap();
            if closed {
                db.close().await.unwrap();
            }
            // Else the process dies here: what it does from now on happens elsewhere.
            world.vfs.reboot(Survival::KeepAll)
        });
        let mut small = Self {
            path: world.path,
            vfs,
            shown: BTreeMap::new(),
        };
        let shown = small.open(&small.vfs.reboot(Survival::KeepAll)).unwrap();
        small.shown = listed(&shown).unwrap();
        shown.close().unwrap();
        assert_eq!(small.shown.len(), 4);
        small
    }

    fn open(&self, vfs: &SimVfs) -> pulsedb::Result<blocking::PulseDB> {
        let env = SimEnv::new(99, Timestamp::from_millis(START.as_millis() + 60_000));
        run(PulseDB::open_simulated(
            &self.path,
            small(),
            vfs.clone(),
            env,
        ))
        .map(blocking::PulseDB::from)
    }

    fn flipped(&self, file: &Path, offset: usize) -> SimVfs {
        let vfs = self.vfs.reboot(Survival::KeepAll);
        let bit = (offset % 8) as u8;
        vfs.flip_bit(file, offset as u64, bit).unwrap();
        vfs
    }

    /// One bit of a file that holds no records: nothing is lost, and the manifest's damage is told.
    fn check_other(&self, file: &Path, offset: usize) {
        let db = self.open(&self.flipped(file, offset)).unwrap();
        assert_eq!(listed(&db).unwrap(), self.shown);
        let health = db.health_check().unwrap();
        assert_eq!(
            health
                .recovery
                .damaged
                .iter()
                .any(|(named, ..)| named.ends_with(file)),
            file.ends_with("MANIFEST"),
            "{health:?}"
        );
        db.close().unwrap();
    }

    /// One bit of the segment. Says whether it was told as torn.
    fn check_segment(&self, file: &Path, offset: usize, frames: &[(usize, usize, u8)]) -> bool {
        let db = self.open(&self.flipped(file, offset)).unwrap();
        let health = db.health_check().unwrap();
        if offset < HEADER_BLOCK {
            assert_eq!(listed(&db).unwrap(), self.shown);
            let damaged = &health.recovery.damaged;
            assert_eq!(damaged.len(), 1, "{health:?}");
            assert!(damaged[0].0.ends_with(file) && damaged[0].1 == 0);
            assert_eq!(health.recovery.torn, None);
            assert_eq!(health.status, HealthStatus::Degraded);
            db.close().unwrap();
            return false;
        }
        let hit = frames
            .iter()
            .find(|(at, end, _)| (*at..*end).contains(&offset));
        let Some(&(at, _, kind)) = hit else {
            // Padding, and what is behind the end.
            assert_eq!(listed(&db).unwrap(), self.shown);
            db.close().unwrap();
            return false;
        };
        let torn = health.recovery.torn.is_some() && health.recovery.damaged.is_empty();
        let told = |health: &Health| {
            let damaged = &health.recovery.damaged;
            damaged.len() == 1 && damaged[0].0.ends_with(file) && damaged[0].1 == at as u64
        };
        if kind != CLOSE {
            assert!(torn || told(&health), "{health:?}");
            assert_eq!(health.status, HealthStatus::Degraded);
        }
        let mut changed = 0;
        for (id, before) in &self.shown {
            match db.get_experience(*id) {
                Ok(now) if now == *before => {}
                Err(PulseDBError::Corrupted {
                    file: named,
                    offset,
                    ..
                }) => {
                    assert!(named.ends_with(file) && offset == at as u64);
                    changed += 1;
                }
                // Its header is lost as well, or a change of it; the report names the place.
                other => {
                    assert!(torn || told(&health), "{other:?}");
                    changed += 1;
                }
            }
        }
        // All are in one collective, which may be the one that is hit.
        assert!(
            changed <= 1 || changed == self.shown.len(),
            "{changed} changed"
        );
        assert!(changed == 0 || kind != CLOSE);
        assert!(kind != BODY || torn || changed <= 1);
        db.close().unwrap();
        torn
    }
}

fn listed(db: &blocking::PulseDB) -> pulsedb::Result<BTreeMap<ExperienceId, Experience>> {
    let mut all = BTreeMap::new();
    for team in db.list_collectives()? {
        let found = db.list_experiences(team.id, Default::default())?;
        all.extend(found.items.into_iter().map(|one| (one.id, one)));
    }
    Ok(all)
}

/// Start, end without padding, and kind of each frame.
fn frames(bytes: &[u8]) -> Vec<(usize, usize, u8)> {
    let mut found = Vec::new();
    let mut at = HEADER_BLOCK;
    while bytes.get(at + 12).is_some_and(|kind| *kind != 0) {
        let len = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
        found.push((at, at + 64 + len, bytes[at + 12]));
        at = (at + 64 + len).next_multiple_of(64);
    }
    found
}

#[test]
fn every_byte_of_a_small_database_flipped() {
    for closed in [true, false] {
        let small = Small::make(closed);
        let (mut flips, mut torn) = (0, Vec::new());
        for (file, bytes) in small.vfs.files().unwrap() {
            if file.extension().is_none_or(|end| end != "seg") {
                (0..bytes.len()).for_each(|offset| small.check_other(&file, offset));
                flips += bytes.len();
                continue;
            }
            let frames = frames(&bytes);
            let &(last_at, end, last_kind) = frames.last().unwrap();
            assert_eq!(last_kind == CLOSE, closed);
            // Behind the end nothing is looked at but by the search for later frames.
            let behind = (end..bytes.len()).step_by(4099);
            for offset in (0..end).chain(behind) {
                if small.check_segment(&file, offset, &frames) {
                    torn.push(offset);
                }
                flips += 1;
            }
            // Only the last record may look torn: of a closed log its end, which costs nothing.
            assert!(
                torn.iter().all(|offset| (last_at..end).contains(offset)),
                "{torn:?}"
            );
            assert!(!torn.is_empty());
        }
        assert!(flips > 6_000, "{flips}");
    }
}

/// A copy of the files of `from`.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_commit_torn_at_every_sector_did_not_happen() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live");
    let db = blocking::PulseDB::open(&live, small()).unwrap();
    let team = db.create_collective("team").unwrap();
    let draft = |content: String| NewExperience {
        embedding: Some(vec![1.0, 2.0, 3.0, 4.0]),
        ..NewExperience::new(team, "agent", content)
    };
    let kept = db.record_experience(draft("kept".into())).unwrap();
    let segment = PathBuf::from("log/0000000000000001-00000001.seg");
    let start = frames(&fs::read(live.join(&segment)).unwrap())
        .last()
        .unwrap()
        .1;
    let batch = (0..5).map(|n| draft(format!("{n} {}", "torn ".repeat(300))));
    db.record_experiences(batch.collect()).unwrap();
    let bytes = fs::read(live.join(&segment)).unwrap();
    let end = frames(&bytes).last().unwrap().1;
    let start = start.next_multiple_of(64);
    let mut sectors = 0;
    for sector in (start - start % 512..end).step_by(512) {
        let from = sector.max(start);
        for to in [(sector + 512).min(end), end] {
            let torn = dir.path().join("torn");
            copy(&live, &torn);
            let mut bytes = bytes.clone();
            bytes[from..to].fill(0);
            fs::write(torn.join(&segment), &bytes).unwrap();
            let db = blocking::PulseDB::open(&torn, small()).unwrap();
            let shown = listed(&db).unwrap();
            assert!(shown.keys().eq([&kept]), "{from}..{to}: {}", shown.len());
            let report = db.health_check().unwrap().recovery;
            assert!(report.damaged.is_empty() && !report.clean, "{report:?}");
            // Where the very first sector is missing, what stands behind it is what is torn.
            assert!(
                report.torn.is_some() || (from == start && to == end),
                "{report:?}"
            );
            db.close().unwrap();
            fs::remove_dir_all(&torn).unwrap();
        }
        sectors += 1;
    }
    assert!(sectors > 10);
    db.close().unwrap();
}

#[test]
fn a_manifest_that_the_disk_does_not_give_stops_the_open_and_changes_nothing() {
    let small = Small::make(true);
    let vfs = small.vfs.reboot(Survival::KeepAll);
    let manifest = small.path.join("MANIFEST");
    vfs.read_fault(&manifest, 0..1).unwrap();
    let before = vfs.op_count();
    match small.open(&vfs).map(|_| ()) {
        Err(PulseDBError::Io { path, .. }) => assert_eq!(path, manifest),
        other => panic!("{other:?}"),
    }
    assert_eq!(vfs.op_count(), before, "{:?}", vfs.trace());
}

#[test]
fn a_lock_that_nobody_holds_is_no_lock() {
    let dir = tempfile::tempdir().unwrap();
    let db = blocking::PulseDB::open(dir.path(), small()).unwrap();
    db.create_collective("team").unwrap();
    db.close().unwrap();
    // As a process leaves it that died long ago; the number may be somebody else's by now.
    fs::write(
        dir.path().join("LOCK"),
        format!("{}\n1\n", std::process::id()),
    )
    .unwrap();
    let db = blocking::PulseDB::open(dir.path(), small()).unwrap();
    assert_eq!(db.list_collectives().unwrap().len(), 1);
    match blocking::PulseDB::open(dir.path(), small()) {
        Err(PulseDBError::Locked { pid, .. }) => assert_eq!(pid, std::process::id()),
        other => panic!("{other:?}"),
    }
    db.close().unwrap();
}

#[test]
fn a_clock_that_goes_back_takes_no_order_with_it() {
    let world = World::with(small());
    run(async {
        let mut last = None;
        let mut team = None;
        for round in 0..3 {
            let db = world.open().await;
            let team = match team {
                Some(team) => team,
                None => *team.insert(db.create_collective("team").await.unwrap()),
            };
            for number in 0..4 {
                let id = db.record_experience(new(team, format!("{round}.{number}")));
                let one = db.get_experience(id.await.unwrap()).await.unwrap();
                let now = Some((one.timestamp, one.id));
                assert!(now > last, "{now:?} after {last:?}");
                last = now;
                world.env.set_now(Timestamp::from_millis(
                    START.as_millis() - 1_000_000 * (number + 1),
                ));
            }
            assert!(db.verify().await.unwrap().is_clean());
            // Half of the sessions end by a crash of the process.
            if round % 2 == 0 {
                db.close().await.unwrap();
            } else {
                drop(db);
            }
            world.env.advance(Duration::from_millis(1));
        }
    });
}
