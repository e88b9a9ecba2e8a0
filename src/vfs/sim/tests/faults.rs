//! Errors, damage, full disks and locks.

use std::collections::BTreeSet;

use super::*;

/// The system's answer to a lock that nobody holds.
fn lock(vfs: &SimVfs, name: &str) -> io::Result<Box<dyn VfsLock>> {
    vfs.lock(path(name)).map_err(|error| match error {
        LockError::Io(error) => error,
        LockError::Held { .. } => io::ErrorKind::WouldBlock.into(),
    })
}

#[test]
fn one_operation_fails_and_the_next_does_not() {
    let vfs = SimVfs::new(1);
    let file = create(&vfs, "f");
    let next = vfs.op_count();
    vfs.fail_at(next, FaultKind::Eio);
    vfs.fail_at(next + 2, FaultKind::Enospc);
    assert!(is_eio(vfs.remove(path("f"))));
    assert!(vfs.exists(path("f")).unwrap(), "without effect");
    file.allocate(10).unwrap();
    assert!(is_full(file.allocate(20)));
    assert_eq!(file.len().unwrap(), 10, "without effect");
    file.allocate(20).unwrap();
}

#[test]
fn every_operation_can_fail() {
    let vfs = SimVfs::new(1);
    let file = create(&vfs, "f");
    vfs.fail_from(vfs.op_count() + 1, FaultKind::Eio);
    file.allocate(1).unwrap();
    assert!(is_eio(file.allocate(2)));
    assert!(is_eio(file.write_all_at(b"x", 0)));
    assert!(is_eio(file.sync_data()));
    assert!(is_eio(file.sync_all()));
    assert!(is_eio(vfs.open(path("g"), OpenMode::CreateNew)));
    assert!(is_eio(vfs.create_dir_all(path("d"))));
    assert!(is_eio(vfs.rename(path("f"), path("g"))));
    assert!(is_eio(vfs.remove(path("f"))));
    assert!(is_eio(vfs.sync_dir(path("/"))));
    assert!(is_eio(lock(&vfs, "f")));
    assert_eq!(vfs.list(path("/")).unwrap(), ["f"], "reads go on");
}

#[test]
fn a_failing_write_leaves_a_prefix() {
    let lengths: BTreeSet<u64> = (0..SEEDS)
        .map(|seed| {
            let vfs = SimVfs::new(seed);
            let file = create(&vfs, "f");
            vfs.fail_at(vfs.op_count(), FaultKind::Enospc);
            assert!(is_full(file.write_all_at(b"ab", 0)));
            file.len().unwrap()
        })
        .collect();
    assert_eq!(lengths, BTreeSet::from([0, 1, 2]));
}

#[test]
fn after_a_failed_sync_the_file_lies() {
    let vfs = SimVfs::new(1);
    let file = create(&vfs, "f");
    file.write_all_at(b"durable", 0).unwrap();
    file.sync_data().unwrap();
    file.write_all_at(b"lost", 0).unwrap();
    vfs.fail_at(vfs.op_count(), FaultKind::Eio);
    assert!(is_eio(file.sync_data()));
    file.sync_data().unwrap();
    assert_eq!(content(&vfs, "f"), b"lostble", "visible all the same");
    file.write_all_at(b"!", 7).unwrap();
    file.sync_all().unwrap();
    for survival in [
        Survival::KeepAll,
        Survival::DropAll,
        Survival::Random { stale_bytes: true },
    ] {
        let found = content(&vfs.reboot(survival), "f");
        assert_eq!(found, b"durable!", "what came later is stored");
    }
}

#[test]
fn after_a_failed_directory_sync_the_directory_lies() {
    let vfs = SimVfs::new(1);
    let _file = create(&vfs, "a");
    vfs.rename(path("a"), path("b")).unwrap();
    vfs.fail_at(vfs.op_count(), FaultKind::Eio);
    assert!(is_eio(vfs.sync_dir(path("/"))));
    vfs.sync_dir(path("/")).unwrap();
    assert_eq!(vfs.list(path("/")).unwrap(), ["b"], "visible all the same");
    assert_eq!(
        vfs.reboot(Survival::KeepAll).list(path("/")).unwrap(),
        ["a"]
    );
}

#[test]
fn an_old_name_can_survive_beside_the_new_one() {
    let vfs = SimVfs::new(1);
    create(&vfs, "a").write_all_at(b"x", 0).unwrap();
    vfs.rename(path("a"), path("b")).unwrap();
    vfs.fail_at(vfs.op_count(), FaultKind::Eio);
    assert!(is_eio(vfs.sync_dir(path("/"))));
    vfs.rename(path("b"), path("c")).unwrap();
    let next = vfs.reboot(Survival::KeepAll);
    assert_eq!(next.list(path("/")).unwrap(), ["a", "c"]);
    assert_eq!(content(&next, "a"), content(&next, "c"));
}

#[test]
fn the_disk_can_be_full() {
    let vfs = SimVfs::new(1);
    vfs.set_capacity(100);
    let file = create(&vfs, "f");
    file.allocate(60).unwrap();
    let other = create(&vfs, "g");
    assert!(is_full(other.allocate(41)));
    assert_eq!(other.len().unwrap(), 0);
    assert!(is_full(other.write_all_at(&[1; 50], 0)));
    assert_eq!(other.len().unwrap(), 40, "as much as there was room for");
    file.write_all_at(&[1; 60], 0).unwrap(); // allocated bytes are reserved
    assert!(is_full(lock(&vfs, "LOCK")));

    vfs.remove(path("f")).unwrap();
    assert!(is_full(other.allocate(41)), "an open file takes space");
    drop(file);
    other.allocate(100).unwrap();
    vfs.set_capacity(101);
    other.allocate(101).unwrap();

    let vfs = vfs.reboot(Survival::KeepAll);
    let other = vfs.open(path("g"), OpenMode::Write).unwrap();
    assert!(
        is_full(other.allocate(102)),
        "the disk is as small as before"
    );
}

#[test]
fn a_reboot_plans_no_faults() {
    let vfs = SimVfs::new(1);
    vfs.fail_from(1, FaultKind::Eio);
    vfs.crash_at(5);
    let vfs = vfs.reboot(Survival::KeepAll);
    for _ in 0..10 {
        vfs.sync_dir(path("/")).unwrap();
    }
}

#[test]
fn a_bit_flips_wherever_the_byte_is() {
    let vfs = SimVfs::new(1);
    let file = create(&vfs, "f");
    file.write_all_at(b"\0\0", 0).unwrap();
    file.sync_data().unwrap();
    file.write_all_at(b"\0\0", 1).unwrap();
    for offset in 0..3 {
        vfs.flip_bit(path("f"), offset, 3).unwrap();
    }
    assert_eq!(content(&vfs, "f"), [8, 8, 8]);
    assert_eq!(content(&vfs.reboot(Survival::DropAll), "f"), [8, 8]);
    assert_eq!(content(&vfs.reboot(Survival::KeepAll), "f"), [8, 8, 8]);
    assert!(vfs.flip_bit(path("f"), 3, 0).is_err(), "there is no byte");
    assert!(vfs.flip_bit(path("g"), 0, 0).is_err(), "there is no file");
}

#[test]
fn bad_sectors_fail_reads_and_stay_bad() {
    let vfs = SimVfs::new(1);
    let file = create(&vfs, "f");
    file.write_all_at(&[7; 30], 0).unwrap();
    vfs.read_fault(path("f"), 10..20).unwrap();
    let check = |file: &dyn VfsFile| {
        let mut buf = [0; 5];
        file.read_exact_at(&mut buf, 5).unwrap();
        file.read_exact_at(&mut buf, 20).unwrap();
        assert!(is_eio(file.read_exact_at(&mut buf, 6)));
        assert!(is_eio(file.read_exact_at(&mut buf, 19)));
        assert_eq!(file.map(30).unwrap().get(10..12), Some(&[7, 7][..]));
    };
    check(&*file);
    let vfs = vfs.reboot(Survival::KeepAll);
    check(&*vfs.open(path("f"), OpenMode::Read).unwrap());
}

#[test]
fn locks_end_with_the_process() {
    let vfs = SimVfs::new(1);
    let old = vfs.lock(path("LOCK")).unwrap();
    let next = vfs.reboot(Survival::KeepAll);
    let _held = next.lock(path("LOCK")).unwrap();
    drop(old);
    assert!(matches!(
        next.lock(path("LOCK")),
        Err(LockError::Held { pid: PID })
    ));
}

#[test]
fn there_may_be_so_many_files() {
    let vfs = SimVfs::new(1);
    vfs.set_inodes(2);
    vfs.set_capacity(100);
    create(&vfs, "a").write_all_at(&[1; 30], 0).unwrap();
    create(&vfs, "b");
    let refused = vfs.open(path("c"), OpenMode::CreateNew).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::StorageFull);
    let space = vfs.space(path("/")).unwrap();
    assert_eq!((space.free_bytes, space.free_inodes), (70, 0));
    vfs.remove(path("a")).unwrap();
    assert_eq!(vfs.space(path("/")).unwrap().free_inodes, 1);
}
