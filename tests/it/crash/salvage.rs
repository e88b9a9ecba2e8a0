//! What does salvage bring back?
//!
//! Everything but the record that was hit, whatever else is missing; and never anything that was not
//! there. The model is what the database showed before the damage.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use pulsedb::{
    Experience, ExperienceId, PulseDB, PulseDBError, SalvageReport, Timestamp, blocking,
    sim::{SimEnv, SimVfs, Survival},
};

use super::{
    Context, Extent,
    damage::{CLOSE, COLLECTIVE, COLLECTIVE_DELETED, HEADER_BLOCK, Placed, Whole, frames, read},
    workload::wait,
};

const BODY: u8 = 3;
const DELETED: u8 = 6;

/// What a salvage brought back.
struct Rescued {
    report: SalvageReport,
    experiences: BTreeMap<ExperienceId, Experience>,
    teams: Vec<String>,
}

/// Salvages the database of `whole` as it is on `vfs`, and looks at the result.
fn salvage(whole: &Whole, vfs: &SimVfs) -> Rescued {
    let dest = PathBuf::from(format!("{}-rescued", whole.plan.path().display()));
    let env = SimEnv::new(77, Timestamp::from_millis(1_730_000_000_000));
    let before = vfs.files().unwrap_or_default();
    let report = PulseDB::salvage_simulated(whole.plan.path(), &dest, vfs.clone(), env.clone());
    let report = wait(report).unwrap();
    let after = vfs.files().unwrap_or_default();
    for (path, bytes) in &before {
        assert!(
            after
                .iter()
                .any(|(other, now)| other == path && now == bytes),
            "{} was changed",
            path.display()
        );
    }
    // What was made is durable.
    let vfs = vfs.reboot(Survival::DropAll);
    let db = wait(PulseDB::open_simulated(
        &dest,
        whole.plan.config(),
        vfs,
        env,
    ))
    .unwrap();
    let db = blocking::PulseDB::from(db);
    let health = db.health_check().unwrap();
    assert!(health.recovery.clean && health.recovery.damaged.is_empty());
    assert_eq!(db.instance_id(), report.instance_id);
    let verified = db.verify().unwrap();
    assert!(verified.is_clean(), "{verified:?}");
    let (experiences, teams) = read(&db).unwrap();
    assert_eq!(report.experiences, experiences.len() as u64, "{report:?}");
    assert_eq!(report.collectives, teams.len() as u64, "{report:?}");
    db.create_collective("after the rescue").unwrap();
    db.close().unwrap();
    Rescued {
        report,
        experiences,
        teams,
    }
}

/// The same but for whose applications are counted.
fn same(one: &Experience, other: &Experience) -> bool {
    let plain = |experience: &Experience| Experience {
        applications: BTreeMap::new(),
        ..experience.clone()
    };
    one.applications() == other.applications() && plain(one) == plain(other)
}

impl Whole {
    fn copy(&self) -> SimVfs {
        self.vfs.reboot(Survival::KeepAll)
    }

    fn remove(&self, vfs: &SimVfs, name: &str) {
        let found = self.files.iter().filter(|(path, _)| path.ends_with(name));
        for (path, _) in found {
            vfs.remove_file(path).unwrap();
        }
    }

    /// Everything is there, and nothing else.
    fn check_all(&self, rescued: &Rescued) {
        assert_eq!(rescued.teams, self.teams);
        assert!(rescued.experiences.keys().eq(self.experiences.keys()));
        for (id, before) in &self.experiences {
            assert!(same(before, &rescued.experiences[id]), "{id} changed");
        }
    }

    fn check_hit(&self, path: &Path, rescued: &Rescued, hit: Option<&Placed>) {
        let Some(hit) = hit.filter(|hit| hit.kind != CLOSE) else {
            return self.check_all(rescued);
        };
        let named = |file: &Path, at: u64| file.ends_with(path) && at == hit.at as u64;
        let lost = &rescued.report.lost;
        let listed = lost.iter().any(|one| named(&one.file, one.offset));
        assert!(listed, "{:?}", rescued.report);
        assert_eq!(lost.len(), 1);
        let about = |id: &ExperienceId| id.as_uuid().as_u128() == hit.entity;
        for (id, before) in &self.experiences {
            match rescued.experiences.get(id) {
                Some(now) if about(id) => assert_eq!(now.content, before.content),
                None if about(id) => assert_eq!(hit.kind, BODY),
                Some(now) => assert!(same(before, now), "{id} changed"),
                None => panic!("{id} is lost"),
            }
        }
        let extra: Vec<&ExperienceId> = (rescued.experiences.keys())
            .filter(|id| !self.experiences.contains_key(id))
            .collect();
        match hit.kind {
            DELETED => assert!(extra.iter().all(|id| about(id)), "{extra:?}"),
            COLLECTIVE_DELETED => assert!(rescued.teams.len() <= self.teams.len() + 1),
            _ => assert!(extra.is_empty(), "{extra:?} are back"),
        }
        let gone: BTreeSet<&String> = self
            .teams
            .iter()
            .filter(|name| !rescued.teams.contains(name))
            .collect();
        match hit.kind {
            COLLECTIVE => {
                assert!(gone.len() <= 1);
                assert_eq!(rescued.report.redefined.len(), gone.len());
            }
            _ => assert!(gone.is_empty(), "{gone:?}"),
        }
    }
}

#[test]
fn salvage_loses_nothing_but_the_record_that_was_hit() {
    let extent = Extent::get();
    let mut flips = 0;
    for seed in extent.seeds().take(4) {
        for closed in [true, false] {
            let whole = Whole::make(seed, closed);
            whole.check_all(&salvage(&whole, &whole.copy()));
            for (path, bytes) in whole.segments() {
                let frames = frames(bytes);
                let end = frames.last().map_or(HEADER_BLOCK, |last| last.end) + 64;
                for offset in (0..end.min(bytes.len())).step_by(extent.stride(331)) {
                    let hit = frames
                        .iter()
                        .find(|one| (one.at..one.end).contains(&offset));
                    let _context = Context(format!(
                        "byte {offset} of {} ({hit:?}), closed: {closed}, {:?}",
                        path.display(),
                        whole.plan
                    ));
                    let vfs = whole.copy();
                    vfs.flip_bit(path, offset as u64, (offset % 8) as u8)
                        .unwrap();
                    let rescued = salvage(&whole, &vfs);
                    if offset < HEADER_BLOCK {
                        // The seed is found without the block.
                        whole.check_all(&rescued);
                    } else {
                        whole.check_hit(path, &rescued, hit);
                    }
                    flips += 1;
                }
            }
        }
    }
    println!("{flips} flips salvaged");
}

#[test]
fn salvage_needs_no_file_but_the_segments() {
    for closed in [true, false] {
        let whole = Whole::make(2, closed);
        for missing in [
            &["MANIFEST"][..],
            &["MANIFEST.old"],
            &["MANIFEST", "MANIFEST.old"],
            &["MANIFEST", "MANIFEST.old", "TAIL", "LOCK"],
        ] {
            let _context = Context(format!("without {missing:?}, closed: {closed}"));
            let vfs = whole.copy();
            missing.iter().for_each(|name| whole.remove(&vfs, name));
            let rescued = salvage(&whole, &vfs);
            assert!(rescued.report.is_complete(), "{:?}", rescued.report);
            whole.check_all(&rescued);
        }
    }
}

#[test]
fn a_missing_segment_costs_what_stood_in_it() {
    let whole = Whole::of(3, true, 90, false);
    assert!(whole.segments().len() > 1);
    for (path, bytes) in whole.segments() {
        for manifest in [true, false] {
            let _context = Context(format!("{} missing, {manifest}", path.display()));
            let vfs = whole.copy();
            vfs.remove_file(path).unwrap();
            if !manifest {
                whole.remove(&vfs, "MANIFEST");
                whole.remove(&vfs, "MANIFEST.old");
            }
            let rescued = salvage(&whole, &vfs);
            let inside: BTreeSet<u128> = frames(bytes).iter().map(|one| one.entity).collect();
            if manifest {
                assert!(rescued.report.lost[0].file.ends_with(path));
            }
            for (id, before) in &whole.experiences {
                let found = rescued.experiences.get(id);
                assert!(
                    found.is_some_and(|now| same(before, now))
                        || inside.contains(&id.as_uuid().as_u128()),
                    "{id} is lost"
                );
            }
        }
    }
}

#[test]
fn salvage_reads_around_what_the_disk_does_not_give() {
    let whole = Whole::make(4, true);
    let (path, bytes) = whole.segments()[0];
    let frames = frames(bytes);
    let block = HEADER_BLOCK * 2;
    let vfs = whole.copy();
    vfs.read_fault(path, block as u64..block as u64 + 1)
        .unwrap();
    let rescued = salvage(&whole, &vfs);
    let hit = |one: &&Placed| one.at < block + HEADER_BLOCK && block < one.end;
    let hit: BTreeSet<u128> = frames.iter().filter(hit).map(|one| one.entity).collect();
    assert!(
        rescued
            .report
            .lost
            .iter()
            .any(|one| one.what.contains("cannot be read"))
    );
    for (id, before) in &whole.experiences {
        let found = rescued.experiences.get(id);
        assert!(
            found.is_some_and(|now| same(before, now)) || hit.contains(&id.as_uuid().as_u128()),
            "{id} is lost"
        );
    }
}

#[test]
fn salvage_refuses_what_would_lose_something() {
    let whole = Whole::make(5, true);
    let vfs = whole.copy();
    let env = || SimEnv::new(78, Timestamp::from_millis(1_730_000_000_000));
    let (source, dest) = (whole.plan.path(), PathBuf::from("/rescued"));
    let db = whole.plan.open(&vfs, 1).unwrap();
    let refused = wait(PulseDB::salvage_simulated(
        &source,
        &dest,
        vfs.clone(),
        env(),
    ));
    assert!(
        matches!(refused, Err(PulseDBError::Locked { .. })),
        "{refused:?}"
    );
    wait(db.close()).unwrap();
    let refused = wait(PulseDB::salvage_simulated(
        &source,
        &source,
        vfs.clone(),
        env(),
    ));
    assert!(
        matches!(refused, Err(PulseDBError::Config { .. })),
        "{refused:?}"
    );
    let refused = wait(PulseDB::salvage_simulated(
        "/nothing",
        &dest,
        vfs.clone(),
        env(),
    ));
    assert!(
        matches!(refused, Err(PulseDBError::Config { .. })),
        "{refused:?}"
    );
    wait(PulseDB::salvage_simulated(
        &source,
        &dest,
        vfs.clone(),
        env(),
    ))
    .unwrap();
    let refused = wait(PulseDB::salvage_simulated(&source, &dest, vfs, env()));
    assert!(
        matches!(refused, Err(PulseDBError::Config { .. })),
        "{refused:?}"
    );
}
