//! Does salvage find its way around what compaction leaves?
//!
//! A database whose first two segments were replaced by one, and are still there: what the new one
//! lacks is found in the old ones, what was deleted stays deleted, nothing is there twice.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use super::*;
use crate::{
    Config, EmbeddingDimension, Experience, ExperienceId, NewExperience, PulseDB,
    edge::block_on::block_on,
    env::SimEnv,
    format::{RecordKind, SegmentEntry, SegmentHeader},
    log::{RawSegment, SegmentBuilder, Step, segment_path},
    manifest,
    model::Timestamp,
    vfs::{SimVfs, Survival},
};

const DB: &str = "/salvage/db";

struct Compacted {
    vfs: SimVfs,
    shown: BTreeMap<ExperienceId, Experience>,
    /// The two that were replaced, and the one that replaces them.
    old: [PathBuf; 2],
    new: PathBuf,
}

fn config() -> Config {
    Config {
        segment_bytes: Config::MIN_SEGMENT_BYTES,
        max_commit_bytes: 16 * 1024,
        read_threads: 1,
        ..Config::external(EmbeddingDimension::Custom(2))
    }
}

fn open(path: &str, vfs: &SimVfs) -> PulseDB {
    let env = SimEnv::new(5, Timestamp::from_millis(1_000));
    block_on(PulseDB::open_simulated(path, config(), vfs.clone(), env)).unwrap()
}

fn listed(db: &PulseDB) -> BTreeMap<ExperienceId, Experience> {
    let mut all = BTreeMap::new();
    for team in block_on(db.list_collectives()).unwrap() {
        let page = crate::Page {
            limit: 1000,
            ..Default::default()
        };
        let found = block_on(db.list_experiences(team.id, page)).unwrap();
        all.extend(found.items.into_iter().map(|one| (one.id, one)));
    }
    all
}

/// Records in four segments, some deleted; then the first two are rewritten without what is dead.
fn compacted() -> Compacted {
    let sim = SimVfs::new(3);
    let db = open(DB, &sim);
    let team = block_on(db.create_collective("team")).unwrap();
    for number in 0..70 {
        let new = NewExperience {
            embedding: Some(vec![1.0, number as f32]),
            ..NewExperience::new(team, "agent", format!("{number} {}", "text ".repeat(600)))
        };
        let id = block_on(db.record_experience(new)).unwrap();
        if number % 5 == 1 {
            block_on(db.delete_experience(id)).unwrap();
        }
    }
    let shown = listed(&db);
    block_on(db.close()).unwrap();
    let vfs: Arc<dyn Vfs> = Arc::new(sim.clone());
    let dir = Path::new(DB).join(LOG_DIR);
    let store = manifest::load(Arc::clone(&vfs), Path::new(DB))
        .unwrap()
        .unwrap()
        .store;
    let before = store.current();
    assert!(before.segments.len() > 3);
    let entries = [before.segments[0], before.segments[1]];
    let raws = entries.map(|one| RawSegment::open(&*vfs, &dir, one.first_lsn, one.id).unwrap());
    let first = *raws[0].header.as_ref().unwrap();
    let header = SegmentHeader {
        id: before.next_segment,
        seed: 42,
        cleaned: Lsn::new(before.segments[2].first_lsn.get() - 1),
        ..first
    };
    let bytes = entries.iter().map(|one| one.end).sum();
    let mut builder = SegmentBuilder::create(&vfs, &dir, header, bytes).unwrap();
    let mut dead = std::collections::BTreeSet::new();
    for pass in 0..2 {
        for (raw, entry) in raws.iter().zip(&entries) {
            let mut walk = raw.walk(entry.end);
            while let Some(step) = walk.next() {
                let Step::Frame { at, header } = step else {
                    panic!("{step:?}");
                };
                if pass == 0 {
                    if header.kind == RecordKind::ExperienceDeleted {
                        dead.insert(header.row);
                    }
                } else if header.kind != RecordKind::Body || !dead.contains(&header.row) {
                    let payload = walk.payload(at, &header).unwrap().to_vec();
                    builder.push(&header, &payload).unwrap();
                }
            }
        }
    }
    let (segment, meta) = builder.finish().unwrap();
    assert!(!dead.is_empty());
    store
        .update(|manifest| {
            manifest.next_segment += 1;
            manifest.segments.splice(
                0..2,
                [SegmentEntry {
                    id: meta.id,
                    first_lsn: meta.first_lsn,
                    end: meta.end,
                }],
            );
        })
        .unwrap();
    Compacted {
        vfs: sim,
        shown,
        old: entries.map(|one| segment_path(&dir, one.first_lsn, one.id)),
        new: segment.path().to_owned(),
    }
}

impl Compacted {
    /// Salvages after `harm`, and compares with what was there, but for what `lost` names.
    fn check(&self, harm: impl Fn(&SimVfs), lost: &[ExperienceId]) -> SalvageReport {
        let vfs = self.vfs.reboot(Survival::KeepAll);
        harm(&vfs);
        let env = SimEnv::new(6, Timestamp::from_millis(2_000));
        let report = block_on(PulseDB::salvage_simulated(
            DB,
            "/salvage/new",
            vfs.clone(),
            env,
        ));
        let report = report.unwrap();
        let db = open("/salvage/new", &vfs);
        let found = listed(&db);
        for (id, one) in &self.shown {
            let there = found.get(id).is_some_and(|now| now.content == one.content);
            assert_eq!(there, !lost.contains(id), "{id}");
        }
        assert!(found.keys().all(|id| self.shown.contains_key(id)));
        let verified = block_on(db.verify()).unwrap();
        assert!(verified.is_clean(), "{verified:?}");
        block_on(db.close()).unwrap();
        report
    }
}

#[test]
fn replaced_segments_are_asked_only_for_what_is_missing() {
    let whole = compacted();
    let report = whole.check(|_| {}, &[]);
    assert!(report.is_complete(), "{report:?}");
    let files = report.segments;
    // As it was before the leftovers were there.
    let report = whole.check(
        |vfs| {
            whole
                .old
                .iter()
                .for_each(|old| vfs.remove_file(old).unwrap());
        },
        &[],
    );
    assert_eq!(report.segments, files);
    let report = whole.check(|vfs| vfs.remove_file(&whole.new).unwrap(), &[]);
    assert!(!report.is_complete(), "{report:?}");
    let report = whole.check(|vfs| vfs.flip_bit(&whole.new, 10_000, 1).unwrap(), &[]);
    assert_eq!(report.lost.len(), 1, "{report:?}");
    assert_eq!(report.segments, files + 1, "{report:?}");
}

#[test]
fn without_manifests_every_record_is_taken_once() {
    let whole = compacted();
    let remove = |vfs: &SimVfs| {
        for name in ["MANIFEST", "MANIFEST.old"] {
            vfs.remove_file(&Path::new(DB).join(name)).unwrap();
        }
    };
    whole.check(remove, &[]);
    for gone in [&whole.new, &whole.old[0], &whole.old[1]] {
        whole.check(
            |vfs| {
                remove(vfs);
                vfs.remove_file(gone).unwrap();
            },
            &[],
        );
    }
}

#[test]
fn what_stood_only_in_a_missing_segment_is_lost() {
    let whole = compacted();
    let vfs: Arc<dyn Vfs> = Arc::new(whole.vfs.clone());
    let dir = Path::new(DB).join(LOG_DIR);
    let mut lost = Vec::new();
    for (first_lsn, id) in crate::log::list(&*vfs, &dir).unwrap() {
        let raw = RawSegment::open(&*vfs, &dir, first_lsn, id).unwrap();
        if raw.path == whole.old[0] || raw.path == whole.old[1] || raw.path == whole.new {
            continue;
        }
        for step in raw.walk(raw.len) {
            if let Step::Frame { header, .. } = step
                && header.kind == RecordKind::Body
            {
                lost.push(ExperienceId::from_u128(header.entity));
            }
        }
        let report = whole.check(|vfs| vfs.remove_file(&raw.path).unwrap(), &lost);
        assert!(
            report.lost.iter().any(|one| one.file == raw.path),
            "{report:?}"
        );
        return;
    }
    panic!("no other segment");
}
