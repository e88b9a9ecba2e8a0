//! Is there always a whole manifest?

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::{
    format::{SegmentEntry, SyncModeCode},
    model::{InstanceId, Lsn, Timeline, Timestamp},
    vfs::{FaultKind, SimVfs, Survival},
};

const DIR: &str = "/db";

fn sample() -> Manifest {
    Manifest {
        instance_id: InstanceId::from_u128(7),
        created_at: Timestamp::from_millis(1),
        generation: 0,
        timeline: Timeline::FIRST,
        forks: Vec::new(),
        retained_from: Lsn::ZERO,
        next_segment: 2,
        segments: vec![SegmentEntry {
            id: 1,
            first_lsn: Lsn::new(1),
            end: 0,
        }],
        checkpoint: Lsn::ZERO,
        sync_mode: SyncModeCode::Normal,
        session: Lsn::new(1),
        unknown: Default::default(),
    }
}

fn made(vfs: &SimVfs) -> Result<ManifestStore> {
    vfs.create_dir_all(Path::new(DIR)).unwrap();
    vfs.sync_dir(Path::new("/")).unwrap();
    create(Arc::new(vfs.clone()), Path::new(DIR), sample())
}

fn loaded(vfs: &SimVfs) -> Result<Option<Loaded>> {
    load(Arc::new(vfs.clone()), Path::new(DIR))
}

#[test]
fn changes_survive_and_count() {
    let vfs = SimVfs::new(1);
    assert!(loaded(&vfs).unwrap().is_none());
    let store = made(&vfs).unwrap();
    assert_eq!(store.current().generation, 1);
    assert_eq!((store.reserve_segment(), store.reserve_segment()), (2, 3));
    store
        .update(|manifest| manifest.retained_from = Lsn::new(5))
        .unwrap();
    let found = loaded(&vfs.reboot(Survival::DropAll)).unwrap().unwrap();
    assert!(found.fallback.is_none());
    let current = found.store.current();
    assert_eq!(current, store.current());
    assert_eq!((current.generation, current.next_segment), (2, 4));
}

#[test]
fn a_crash_leaves_the_old_or_the_new() {
    let calm = SimVfs::new(1);
    let store = made(&calm).unwrap();
    let start = calm.op_count();
    store
        .update(|manifest| manifest.checkpoint = Lsn::new(1))
        .unwrap();
    store
        .update(|manifest| manifest.checkpoint = Lsn::new(2))
        .unwrap();
    let end = calm.op_count();
    for crash in start..end {
        for survival in [
            Survival::KeepAll,
            Survival::DropAll,
            Survival::Random { stale_bytes: false },
            Survival::Random { stale_bytes: true },
        ] {
            let vfs = SimVfs::new(crash);
            let store = made(&vfs).unwrap();
            vfs.crash_at(crash);
            let done = (1..=2)
                .take_while(|&lsn| {
                    store
                        .update(|manifest| manifest.checkpoint = Lsn::new(lsn))
                        .is_ok()
                })
                .count() as u64;
            let after = vfs.reboot(survival);
            let found = loaded(&after).unwrap().unwrap();
            assert!(found.fallback.is_none(), "never missing: {crash}");
            let at = found.store.current().checkpoint.get();
            assert!(at == done || at == done + 1, "crash {crash}: {at}");
            // And what a crash left lying about is in nobody's way.
            found.store.update(|_| ()).unwrap();
        }
    }
}

#[test]
fn damage_falls_back_to_the_older_generation() {
    let vfs = SimVfs::new(1);
    let store = made(&vfs).unwrap();
    store
        .update(|manifest| manifest.checkpoint = Lsn::new(1))
        .unwrap();
    let newest = Path::new(DIR).join(NAME);
    vfs.flip_bit(&newest, 30, 2).unwrap();
    let found = loaded(&vfs).unwrap().unwrap();
    assert_eq!(found.store.current().generation, 1);
    let why = found.fallback.unwrap();
    assert!(matches!(&why, PulseDBError::Corrupted { file, .. } if *file == newest));
    found.store.update(|_| ()).unwrap();
    assert!(loaded(&vfs).unwrap().unwrap().fallback.is_none());

    vfs.remove(&newest).unwrap();
    assert!(loaded(&vfs).unwrap().unwrap().fallback.is_some());
    vfs.flip_bit(&Path::new(DIR).join(OLD), 30, 2).unwrap();
    assert!(matches!(loaded(&vfs), Err(PulseDBError::Corrupted { .. })));
}

#[test]
fn a_change_that_failed_is_not_taken_for_done() {
    let vfs = SimVfs::new(1);
    let store = made(&vfs).unwrap();
    let per_change = {
        let start = vfs.op_count();
        store.update(|_| ()).unwrap();
        vfs.op_count() - start
    };
    for op in 0..per_change {
        vfs.fail_at(vfs.op_count() + op, FaultKind::Enospc);
        let before = store.current();
        let changed = store.update(|manifest| manifest.checkpoint = Lsn::new(op + 9));
        if changed.is_err() {
            assert_eq!(store.current(), before);
        }
        assert!(loaded(&vfs).unwrap().unwrap().fallback.is_none());
    }
    store.update(|_| ()).unwrap();
}
