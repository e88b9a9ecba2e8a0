//! Names through crashes.

use std::collections::BTreeSet;

use super::*;

fn files(vfs: &SimVfs) -> Vec<String> {
    vfs.list(path("/")).unwrap()
}

#[test]
fn a_name_is_durable_with_its_directory_not_with_its_file() {
    let vfs = SimVfs::new(1);
    let file = vfs.open(path("f"), OpenMode::CreateNew).unwrap();
    file.write_all_at(b"x", 0).unwrap();
    file.sync_all().unwrap();
    assert!(!vfs.reboot(Survival::DropAll).exists(path("f")).unwrap());
    assert_eq!(content(&vfs.reboot(Survival::KeepAll), "f"), b"x");

    let vfs = SimVfs::new(1);
    let file = create(&vfs, "f");
    file.write_all_at(b"x", 0).unwrap();
    assert_eq!(content(&vfs.reboot(Survival::DropAll), "f"), b"");
}

#[test]
fn a_rename_is_volatile_and_whole() {
    let vfs = SimVfs::new(1);
    for (name, bytes) in [("new", b"new"), ("root", b"old")] {
        let file = create(&vfs, name);
        file.write_all_at(bytes, 0).unwrap();
        file.sync_all().unwrap();
    }
    vfs.rename(path("new"), path("root")).unwrap();
    let before = vfs.reboot(Survival::DropAll);
    assert_eq!(content(&before, "root"), b"old");
    assert_eq!(content(&before, "new"), b"new");

    before.rename(path("new"), path("root")).unwrap();
    before.sync_dir(path("/")).unwrap();
    let after = before.reboot(Survival::DropAll);
    assert_eq!(content(&after, "root"), b"new");
    assert_eq!(files(&after), ["root"]);
}

#[test]
fn a_removed_file_comes_back_unless_synced() {
    let vfs = SimVfs::new(1);
    let file = create(&vfs, "f");
    file.write_all_at(b"x", 0).unwrap();
    file.sync_all().unwrap();
    drop(file);
    vfs.remove(path("f")).unwrap();
    let back = vfs.reboot(Survival::DropAll);
    assert_eq!(content(&back, "f"), b"x");
    back.remove(path("f")).unwrap();
    back.sync_dir(path("/")).unwrap();
    assert!(files(&back.reboot(Survival::DropAll)).is_empty());
}

#[test]
fn a_lost_directory_takes_everything_along() {
    let vfs = SimVfs::new(1);
    vfs.create_dir_all(path("db/log")).unwrap();
    drop(vfs.open(path("db/log/1"), OpenMode::CreateNew).unwrap());
    vfs.sync_dir(path("db/log")).unwrap();
    vfs.sync_dir(path("db")).unwrap();
    assert!(
        !vfs.reboot(Survival::DropAll)
            .exists(path("db/log/1"))
            .unwrap()
    );
    let vfs = vfs.reboot(Survival::KeepAll);
    assert!(
        vfs.reboot(Survival::DropAll)
            .exists(path("db/log/1"))
            .unwrap()
    );
}

#[test]
fn a_directory_sync_is_for_that_directory_alone() {
    let vfs = SimVfs::new(1);
    vfs.create_dir_all(path("a")).unwrap();
    vfs.create_dir_all(path("b")).unwrap();
    vfs.sync_dir(path("/")).unwrap();
    drop(vfs.open(path("a/f"), OpenMode::CreateNew).unwrap());
    drop(vfs.open(path("b/f"), OpenMode::CreateNew).unwrap());
    vfs.sync_dir(path("b")).unwrap();
    let vfs = vfs.reboot(Survival::DropAll);
    assert!(!vfs.exists(path("a/f")).unwrap());
    assert!(vfs.exists(path("b/f")).unwrap());
}

#[test]
fn a_prefix_of_the_changes_of_each_directory_survives() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..SEEDS {
        let vfs = SimVfs::new(seed);
        vfs.create_dir_all(path("d")).unwrap();
        vfs.sync_dir(path("/")).unwrap();
        for name in ["1", "d/1", "2", "d/2"] {
            drop(vfs.open(path(name), OpenMode::CreateNew).unwrap());
        }
        let vfs = vfs.reboot(Survival::Random { stale_bytes: false });
        outcomes.insert((files(&vfs).concat(), vfs.list(path("d")).unwrap().concat()));
    }
    let prefixes = ["", "1", "12"];
    let all = prefixes
        .iter()
        .flat_map(|a| prefixes.iter().map(|b| ((*a).into(), (*b).into())));
    assert_eq!(outcomes, all.collect());
}

#[test]
fn renames_stay_in_one_directory() {
    let vfs = SimVfs::new(1);
    vfs.create_dir_all(path("d")).unwrap();
    let _file = create(&vfs, "f");
    let error = vfs.rename(path("f"), path("d/f")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
}
