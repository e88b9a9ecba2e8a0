//! Content through crashes.

use std::collections::BTreeSet;

use super::*;

const RANDOM: Survival = Survival::Random { stale_bytes: false };
const STALE: Survival = Survival::Random { stale_bytes: true };

/// The first byte of each sector.
fn sectors(bytes: &[u8]) -> Vec<u8> {
    bytes.chunks(512).map(|sector| sector[0]).collect()
}

#[test]
fn only_synced_content_is_durable() {
    let vfs = SimVfs::new(1);
    let file = create(&vfs, "f");
    file.write_all_at(b"synced", 0).unwrap();
    file.sync_data().unwrap();
    file.write_all_at(b"SYNC", 0).unwrap();
    file.allocate(100).unwrap();
    assert_eq!(content(&vfs.reboot(Survival::DropAll), "f"), b"synced");
    let killed = content(&vfs.reboot(Survival::KeepAll), "f");
    assert_eq!(killed.len(), 100);
    assert_eq!(killed[..7], *b"SYNCed\0");
}

#[test]
fn what_a_reboot_finds_is_durable() {
    let vfs = SimVfs::new(1);
    create(&vfs, "f").write_all_at(b"kept", 0).unwrap();
    let second = vfs.reboot(Survival::KeepAll);
    assert_eq!(second.op_count(), 0);
    assert_eq!(content(&second.reboot(Survival::DropAll), "f"), b"kept");
}

#[test]
fn both_syncs_store_content_and_length() {
    for all in [false, true] {
        let vfs = SimVfs::new(1);
        let file = create(&vfs, "f");
        file.allocate(1_000).unwrap();
        file.write_all_at(b"x", 999).unwrap();
        if all {
            file.sync_all()
        } else {
            file.sync_data()
        }
        .unwrap();
        let bytes = content(&vfs.reboot(Survival::DropAll), "f");
        assert_eq!((bytes.len(), bytes[999]), (1_000, b'x'));
    }
}

#[test]
fn operations_are_counted_and_reads_are_not() {
    let vfs = SimVfs::new(1);
    let root = path("/");
    vfs.create_dir_all(path("d/e")).unwrap(); // 0, 1
    vfs.create_dir_all(path("d/e")).unwrap();
    let file = vfs.open(path("f"), OpenMode::CreateNew).unwrap(); // 2
    file.allocate(10).unwrap(); // 3
    file.write_all_at(b"x", 0).unwrap(); // 4
    file.sync_data().unwrap(); // 5
    file.sync_all().unwrap(); // 6
    vfs.rename(path("f"), path("g")).unwrap(); // 7
    vfs.sync_dir(root).unwrap(); // 8
    drop(vfs.lock(path("LOCK")).unwrap()); // 9
    vfs.remove(path("g")).unwrap(); // 10
    assert_eq!(vfs.op_count(), 11);
    vfs.list(root).unwrap();
    vfs.exists(root).unwrap();
    file.len().unwrap();
    file.map(10).unwrap();
    vfs.open(path("LOCK"), OpenMode::Write).unwrap();
    assert_eq!(vfs.op_count(), 11);
    let trace = vfs.trace();
    assert_eq!(trace.len(), 11);
    assert_eq!(trace[4], "4: write f at 0, 1 bytes");
}

#[test]
fn after_the_crash_nothing_works() {
    let vfs = SimVfs::new(1);
    let file = create(&vfs, "f");
    let map = {
        file.write_all_at(b"map", 0).unwrap();
        file.map(3).unwrap()
    };
    vfs.crash_at(vfs.op_count() + 1);
    file.sync_data().unwrap();
    assert!(is_crash(file.sync_data()));
    let root = path("/");
    assert!(is_crash(file.write_all_at(b"x", 0)));
    assert!(is_crash(file.read_exact_at(&mut [0], 0)));
    assert!(is_crash(file.len()));
    assert!(is_crash(file.map(1)));
    assert!(is_crash(file.allocate(9)));
    assert!(is_crash(file.try_lock_shared()));
    assert!(is_crash(vfs.open(path("f"), OpenMode::Read)));
    assert!(is_crash(vfs.create_dir_all(path("d"))));
    assert!(is_crash(vfs.list(root)));
    assert!(is_crash(vfs.exists(root)));
    assert!(is_crash(vfs.sync_dir(root)));
    assert!(is_crash(vfs.rename(path("f"), path("g"))));
    assert!(is_crash(vfs.remove(path("f"))));
    assert!(matches!(vfs.lock(path("f")), Err(LockError::Io(_))));
    assert_eq!(map.get(0..3), Some(&b"map"[..]), "maps stay readable");
    assert_eq!(content(&vfs.reboot(Survival::DropAll), "f"), b"map");
}

#[test]
fn a_reboot_is_a_crash_and_its_outcome_does_not_move() {
    let vfs = SimVfs::new(1);
    let file = create(&vfs, "f");
    let next = vfs.reboot(Survival::KeepAll);
    assert!(is_crash(file.write_all_at(b"late", 0)));
    assert_eq!(content(&next, "f"), b"");
}

#[test]
fn the_crash_hits_in_the_middle_of_a_write() {
    let mut lengths = BTreeSet::new();
    for seed in 0..SEEDS {
        let vfs = SimVfs::new(seed);
        let file = create(&vfs, "f");
        vfs.crash_at(vfs.op_count());
        assert!(is_crash(file.write_all_at(b"abcd", 0)));
        let bytes = content(&vfs.reboot(Survival::KeepAll), "f");
        assert!(b"abcd".starts_with(&bytes));
        lengths.insert(bytes.len());
    }
    assert_eq!(lengths, BTreeSet::from([0, 1, 2, 3, 4]));
}

#[test]
fn the_crash_hits_before_or_after_another_change_but_before_a_sync() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..SEEDS {
        let vfs = SimVfs::new(seed);
        vfs.crash_at(0);
        assert!(is_crash(vfs.open(path("f"), OpenMode::CreateNew)));
        outcomes.insert(vfs.reboot(Survival::KeepAll).exists(path("f")).unwrap());

        let vfs = SimVfs::new(seed);
        let file = create(&vfs, "f");
        file.write_all_at(b"x", 0).unwrap();
        vfs.crash_at(vfs.op_count());
        assert!(is_crash(file.sync_data()));
        assert_eq!(content(&vfs.reboot(Survival::DropAll), "f"), b"");
    }
    assert_eq!(outcomes.len(), 2);
}

#[test]
fn unsynced_writes_tear_at_sectors_and_reorder() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..SEEDS {
        let vfs = SimVfs::new(seed);
        let file = create(&vfs, "f");
        file.write_all_at(&[b'-'; 1536], 0).unwrap();
        file.sync_data().unwrap();
        file.write_all_at(&[b'1'; 1024], 0).unwrap();
        file.write_all_at(&[b'2'; 512], 1024).unwrap();
        let bytes = content(&vfs.reboot(RANDOM), "f");
        for sector in bytes.chunks(512) {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "whole");
        }
        outcomes.insert(String::from_utf8(sectors(&bytes)).unwrap());
    }
    // Every subset of sectors: nothing, all, torn either way, the later write without the earlier.
    let all = ["---", "1--", "-1-", "11-", "--2", "1-2", "-12", "112"];
    assert_eq!(outcomes, all.map(String::from).into());
}

#[test]
fn sectors_are_those_of_the_file_not_of_the_write() {
    for seed in 0..SEEDS {
        let vfs = SimVfs::new(seed);
        let file = create(&vfs, "f");
        file.allocate(1024).unwrap();
        file.sync_all().unwrap();
        file.write_all_at(&[b'x'; 400], 300).unwrap();
        let bytes = content(&vfs.reboot(RANDOM), "f");
        assert!(bytes[300..512].iter().all(|byte| *byte == bytes[300]));
        assert!(bytes[512..700].iter().all(|byte| *byte == bytes[512]));
    }
}

#[test]
fn an_unsynced_length_is_kept_or_not() {
    let lengths: BTreeSet<usize> = (0..SEEDS)
        .map(|seed| {
            let vfs = SimVfs::new(seed);
            create(&vfs, "f").allocate(700).unwrap();
            content(&vfs.reboot(RANDOM), "f").len()
        })
        .collect();
    assert_eq!(lengths, BTreeSet::from([0, 700]));
}

/// A file system on which a file full of `old` was removed, and `f` has just grown by two sectors.
fn grown_over_old_bytes(seed: u64, synced: bool) -> SimVfs {
    let vfs = SimVfs::new(seed);
    let old = create(&vfs, "old");
    old.write_all_at(&[b'o'; 1024], 0).unwrap();
    old.sync_data().unwrap();
    drop(old);
    vfs.remove(path("old")).unwrap();
    let file = create(&vfs, "f");
    file.allocate(1024).unwrap();
    if synced {
        file.sync_all().unwrap();
    }
    assert_eq!(content(&vfs, "f"), [0; 1024], "zero before the crash");
    file.write_all_at(&[b'n'; 512], 512).unwrap();
    vfs
}

#[test]
fn old_bytes_show_only_where_a_file_grew_unsynced_and_only_if_asked() {
    let outcomes = |synced: bool, survival| -> BTreeSet<Vec<u8>> {
        (0..SEEDS)
            .map(|seed| {
                let vfs = grown_over_old_bytes(seed, synced);
                sectors(&content(&vfs.reboot(survival), "f"))
            })
            .filter(|sectors| sectors.len() == 2)
            .collect()
    };
    let pairs = |pairs: &[&[u8; 2]]| pairs.iter().map(|pair| pair.to_vec()).collect();
    assert_eq!(outcomes(false, RANDOM), pairs(&[b"\0\0", b"\0n"]));
    assert_eq!(outcomes(true, STALE), pairs(&[b"\0\0", b"\0n"]));
    assert_eq!(
        outcomes(false, STALE),
        pairs(&[b"\0\0", b"\0n", b"o\0", b"\0o", b"oo", b"on"])
    );
}

#[test]
fn old_bytes_never_replace_a_write_that_survived() {
    let survived = (0..SEEDS)
        .map(|seed| grown_over_old_bytes(seed, false).reboot(STALE))
        .filter(|vfs| content(vfs, "f").get(512) == Some(&b'n'))
        .count() as u64;
    // Every second write survives, in the long run; three in four of them would be replaced.
    assert!(survived > SEEDS / 3, "{survived}");
}

#[test]
fn old_bytes_are_noise_where_nothing_was_removed() {
    let noisy = (0..SEEDS).any(|seed| {
        let vfs = SimVfs::new(seed);
        create(&vfs, "f").allocate(512).unwrap();
        content(&vfs.reboot(STALE), "f")
            .iter()
            .any(|byte| *byte != 0)
    });
    assert!(noisy);
}

#[test]
fn a_lost_file_leaves_its_old_bytes_to_the_next_run() {
    let stale = (0..SEEDS).any(|seed| {
        let vfs = SimVfs::new(seed);
        let lost = vfs.open(path("lost"), OpenMode::CreateNew).unwrap();
        lost.write_all_at(&[b'o'; 512], 0).unwrap();
        lost.sync_all().unwrap();
        let vfs = vfs.reboot(Survival::DropAll);
        create(&vfs, "f").allocate(512).unwrap();
        content(&vfs.reboot(STALE), "f") == [b'o'; 512]
    });
    assert!(stale);
}

#[test]
fn the_same_seed_gives_the_same_outcome() {
    let run = |seed| {
        let vfs = SimVfs::new(seed);
        let file = create(&vfs, "f");
        file.write_all_at(&[1; 8192], 0).unwrap();
        vfs.crash_at(vfs.op_count());
        assert!(file.write_all_at(&[2; 8192], 4096).is_err());
        content(&vfs.reboot(STALE), "f")
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

#[test]
fn one_crash_has_many_outcomes() {
    let vfs = SimVfs::new(1);
    create(&vfs, "f").write_all_at(&[1; 8192], 0).unwrap();
    let outcomes: BTreeSet<Vec<u8>> = (0..20).map(|_| content(&vfs.reboot(RANDOM), "f")).collect();
    assert!(outcomes.len() > 5);
}
