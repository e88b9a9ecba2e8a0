//! What does a flipped bit cost?
//!
//! At most the record that it hit, and never silently: that record answers `Corrupted` with file and
//! offset, or health names the place. Everything else is as it was. Only a bit of the very last
//! commit of a database that was not closed may look torn. A bit of a segment's header block costs no record.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use pulsedb::{
    EntityId, Experience, ExperienceId, Page, PulseDBError, SyncMode, blocking,
    model::{Damage, Health, HealthStatus},
    sim::{SimVfs, Survival},
};

use super::{Context, Extent, workload::Plan};

pub const HEADER_BLOCK: usize = 4_096;
pub const COLLECTIVE: u8 = 1;
pub const COLLECTIVE_DELETED: u8 = 2;
pub const CLOSE: u8 = 7;

/// Where a frame stands, and whose it is.
#[derive(Clone, Copy, Debug)]
pub struct Placed {
    pub at: usize,
    /// End of the payload; padding follows.
    pub end: usize,
    pub kind: u8,
    pub closes: bool,
    pub entity: u128,
}

/// A database that nothing has happened to yet.
pub struct Whole {
    pub plan: Plan,
    pub vfs: SimVfs,
    pub files: Vec<(PathBuf, Vec<u8>)>,
    pub experiences: BTreeMap<ExperienceId, Experience>,
    pub teams: Vec<String>,
    closed: bool,
}

impl Whole {
    pub fn make(seed: u64, closed: bool) -> Self {
        Self::of(seed, closed, 34, false)
    }

    /// The same of so many requests, and with checkpoints.
    pub fn of(seed: u64, closed: bool, steps: usize, checkpoints: bool) -> Self {
        let plan = Plan {
            steps,
            checkpoints,
            ..Plan::new(seed + 3_000, SyncMode::Normal)
        };
        let run = plan.run(SimVfs::new(seed));
        assert!(run.failure.is_none());
        let vfs = if closed {
            run.vfs.reboot(Survival::KeepAll)
        } else {
            // The close is the last record of the log, without a payload.
            let trace = run.vfs.trace();
            let is_close = |op: &String| op.contains(".seg at") && op.ends_with(", 64 bytes");
            let close = trace.iter().rposition(is_close).unwrap();
            let vfs = SimVfs::new(seed);
            vfs.crash_at(close as u64);
            plan.run(vfs).vfs.reboot(Survival::DropAll)
        };
        let recovering = vfs.reboot(Survival::KeepAll);
        let db = plan.recover(&recovering);
        // A file that compaction had replaced may be back after a crash; the open removes it.
        let named = recovering.files().unwrap();
        let mut files = vfs.files().unwrap();
        let last = files.iter().rposition(|(path, _)| is_segment(path));
        let last = last.map(|last| files[last].0.clone());
        files.retain(|(path, _)| {
            !is_segment(path) || Some(path) == last.as_ref() || named.iter().any(|(n, _)| n == path)
        });
        let (experiences, teams) = read(&db).unwrap();
        assert!(experiences.len() > 5);
        db.close().unwrap();
        Self {
            plan,
            vfs,
            files,
            experiences,
            teams,
            closed,
        }
    }

    pub fn segments(&self) -> Vec<&(PathBuf, Vec<u8>)> {
        let files = self.files.iter();
        files.filter(|(path, _)| is_segment(path)).collect()
    }

    fn flipped(&self, path: &Path, offset: usize) -> pulsedb::Result<blocking::PulseDB> {
        let vfs = self.vfs.reboot(Survival::KeepAll);
        let bit = (offset / 7 + offset) % 8;
        vfs.flip_bit(path, offset as u64, bit as u8).unwrap();
        self.plan.open(&vfs, 1_000).map(blocking::PulseDB::from)
    }

    /// Checks the database with a bit of the segment file `path` flipped; `segment` is its place
    /// among `count`.
    fn check_segment(&self, path: &Path, offset: usize, frames: &[Placed], is_last: bool) {
        let db = self.flipped(path, offset).unwrap();
        let health = db.health_check().unwrap();
        let in_header = offset < HEADER_BLOCK;
        let hit = frames
            .iter()
            .find(|one| (one.at..one.end).contains(&offset));
        let last_commit = frames.iter().rev().skip(1).find(|one| one.closes);
        let start = last_commit.map_or(HEADER_BLOCK, |one| one.end);
        let may_be_torn = !self.closed && is_last && offset >= start;
        let names = |file: &Path, at: u64| {
            file.file_name() == path.file_name()
                && if in_header {
                    at == 0
                } else {
                    hit.is_some_and(|hit| hit.at as u64 == at)
                }
        };
        let reported = health
            .recovery
            .damaged
            .iter()
            .any(|(file, at, _)| names(file, *at))
            || (may_be_torn && health.recovery.torn.is_some());
        let in_segment = |id: u128| frames.iter().any(|one| one.entity == id);
        let may_differ =
            |id: u128| (hit.is_some_and(|hit| hit.entity == id)) || (may_be_torn && in_segment(id));
        let about_collective =
            hit.is_some_and(|hit| [COLLECTIVE, COLLECTIVE_DELETED].contains(&hit.kind));
        let mut differences = 0;
        for (id, before) in &self.experiences {
            let answer = db.get_experience(*id);
            if answer.as_ref().is_ok_and(|now| now == before) {
                continue;
            }
            differences += 1;
            assert!(
                may_differ(id.as_uuid().as_u128()) || about_collective,
                "{id}: {answer:?}"
            );
            match answer {
                Err(PulseDBError::Corrupted { file, offset, .. }) if names(&file, offset) => {}
                other => assert!(reported, "{other:?}, {:?}", health.recovery),
            }
        }
        self.check_search(&db, &may_differ);
        // An open that begins with a checkpoint does not look at what it covers: reads do.
        let health = db.health_check().unwrap();
        let met = health.damaged.iter();
        let reported = reported || met.clone().any(|(file, at, _)| names(file, *at));
        for id in listed(&db) {
            if !self.experiences.contains_key(&id) {
                differences += 1;
                assert!(
                    may_differ(id.as_uuid().as_u128()) || about_collective,
                    "{id} is back"
                );
                assert!(reported, "{:?}", health.recovery);
            }
        }
        let teams = db.list_collectives().unwrap();
        if teams.iter().map(|team| &team.name).ne(&self.teams) {
            differences += 1;
            assert!(about_collective && reported, "{teams:?}");
        }
        let harmless = hit.is_none_or(|hit| hit.kind == CLOSE);
        if in_header {
            assert!(reported, "{:?}", health.recovery);
            assert_eq!(health.recovery.clean, self.closed);
            assert_eq!(health.recovery.torn, None);
        }
        if harmless {
            assert_eq!(differences, 0);
        } else if reported {
            assert_ne!(health.status, HealthStatus::Healthy);
        } else {
            // A record that was replaced is read by nobody but verify.
            assert_eq!(differences, 0, "nobody heard of it: {health:?}");
        }
        let report = db.verify().unwrap();
        assert!(report.index_damage.is_empty(), "{report:?}");
        if harmless && hit.is_none() && !in_header {
            assert!(report.is_clean(), "{report:?}");
        } else if hit.is_some_and(|hit| hit.kind == CLOSE) {
            // The last one is taken for torn, and lost without a trace.
            assert!(report.damage.iter().all(|one| names(&one.file, one.offset)));
        } else if !may_be_torn {
            let found = |one: &Damage| names(&one.file, one.offset);
            assert!(report.damage.iter().all(found), "{report:?}");
            assert!(report.damage.iter().any(found), "verify found nothing");
            if let (Some(hit), Some(entity)) = (hit, &report.damage[0].entity) {
                let entity = match entity {
                    EntityId::Collective(id) => id.as_uuid(),
                    EntityId::Experience(id) => id.as_uuid(),
                    other => panic!("{other:?}"),
                };
                assert_eq!(entity.as_u128(), hit.entity);
            }
        }
        check_writable(&db, &health);
        db.close().unwrap();
    }

    /// A search answers from intact records, or says that it cannot.
    fn check_search(&self, db: &blocking::PulseDB, may_differ: &dyn Fn(u128) -> bool) {
        for team in db.list_collectives().unwrap() {
            let query = vec![0.25; self.plan.config().embedding_dimension.get()];
            let hits = match db.search_similar(team.id, &query, 1_000) {
                Ok(hits) => hits,
                Err(PulseDBError::Corrupted { .. }) => continue,
                Err(error) => panic!("{error}"),
            };
            for hit in hits {
                let id = hit.experience.id;
                assert!(
                    self.experiences.get(&id) == Some(&hit.experience)
                        || may_differ(id.as_uuid().as_u128())
                        || !self.teams.contains(&team.name),
                    "{id} changed"
                );
            }
        }
    }
}

pub type All = (BTreeMap<ExperienceId, Experience>, Vec<String>);

pub fn read(db: &blocking::PulseDB) -> pulsedb::Result<All> {
    let mut all = BTreeMap::new();
    let mut teams = Vec::new();
    for team in db.list_collectives()? {
        let page = Page {
            limit: 1_000,
            ..Page::default()
        };
        let found = db.list_experiences(team.id, page)?.items;
        all.extend(found.into_iter().map(|one| (one.id, one)));
        teams.push(team.name);
    }
    Ok((all, teams))
}

/// The ids of all experiences, as far as they can be listed.
fn listed(db: &blocking::PulseDB) -> Vec<ExperienceId> {
    let mut ids = Vec::new();
    for team in db.list_collectives().unwrap() {
        let page = Page {
            limit: 1_000,
            ..Page::default()
        };
        match db.list_experiences(team.id, page) {
            Ok(found) => ids.extend(found.items.iter().map(|one| one.id)),
            Err(PulseDBError::Corrupted { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    ids
}

fn check_writable(db: &blocking::PulseDB, health: &Health) {
    assert!(health.poisoned.is_none());
    db.create_collective("after the damage").unwrap();
}

fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "seg")
}

/// The frames of a segment, read without the crate.
pub fn frames(bytes: &[u8]) -> Vec<Placed> {
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let mut found = Vec::new();
    let mut at = HEADER_BLOCK;
    while at + 64 <= bytes.len() && bytes[at + 12] != 0 {
        let end = at + 64 + u32_at(at + 4) as usize;
        found.push(Placed {
            at,
            end,
            kind: bytes[at + 12],
            closes: bytes[at + 13] & 1 == 1,
            entity: u128::from_be_bytes(bytes[at + 40..at + 56].try_into().unwrap()),
        });
        at = end.next_multiple_of(64);
    }
    found
}

/// Without a checkpoint all segments are read at the open, which then knows.
#[test]
fn a_flipped_bit_in_a_segment_costs_one_record() {
    let extent = Extent::get();
    let mut flips = 0;
    for seed in extent.seeds().take(4) {
        for closed in [true, false] {
            let whole = Whole::make(seed, closed);
            let segments = whole.segments();
            for (number, (path, bytes)) in segments.iter().enumerate() {
                let frames = frames(bytes);
                let is_last = number + 1 == segments.len();
                let end = frames.last().map_or(HEADER_BLOCK, |last| last.end) + 64;
                for offset in (0..end.min(bytes.len())).step_by(extent.stride(83)) {
                    let hit = frames
                        .iter()
                        .find(|one| (one.at..one.end).contains(&offset));
                    let _context = Context(format!(
                        "byte {offset} of {} ({hit:?}), closed: {closed}, {:?}",
                        path.display(),
                        whole.plan
                    ));
                    whole.check_segment(path, offset, &frames, is_last);
                    flips += 1;
                }
            }
        }
    }
    println!("{flips} flips in segments");
}

#[test]
fn a_flipped_bit_in_another_file_costs_nothing() {
    let extent = Extent::get();
    let mut flips = 0;
    for seed in extent.seeds().take(4) {
        let whole = Whole::of(seed, true, 34, true);
        for (path, bytes) in &whole.files {
            let name = path.file_name().unwrap().to_str().unwrap();
            if name.ends_with(".seg") {
                continue;
            }
            for offset in (0..bytes.len()).step_by(extent.stride(2)) {
                let _context = Context(format!("byte {offset} of {name}, {:?}", whole.plan));
                let db = whole.flipped(path, offset).unwrap();
                let (found, teams) = read(&db).unwrap();
                assert_eq!(teams, whole.teams);
                let health = db.health_check().unwrap();
                assert!(
                    found.keys().eq(whole.experiences.keys()),
                    "{:?} instead of {:?}: {health:?}",
                    found.keys(),
                    whole.experiences.keys()
                );
                for (id, before) in &whole.experiences {
                    assert!(
                        found[id] == *before,
                        "{:.300?} instead of {before:.300?}",
                        found[id]
                    );
                }
                if name == "MANIFEST" {
                    let (file, ..) = &health.recovery.damaged[0];
                    assert!(file.ends_with(name), "{health:?}");
                } else {
                    assert!(health.recovery.clean, "{health:?}");
                    assert_eq!(health.status, HealthStatus::Healthy);
                }
                check_writable(&db, &health);
                db.close().unwrap();
                flips += 1;
            }
        }
    }
    println!("{flips} flips in other files");
}
