//! Do the real and the simulated file system keep the same promises?

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    io::{self, ErrorKind},
    path::Path,
};

use super::{LockError, OpenMode, OsVfs, SimVfs, Vfs, VfsFile};

#[test]
fn the_operating_system_conforms() {
    let dir = tempfile::tempdir().unwrap();
    conformance(&OsVfs, dir.path());
}

#[test]
fn the_simulation_conforms() {
    conformance(&SimVfs::new(1), Path::new("/"));
}

fn conformance(vfs: &dyn Vfs, root: &Path) {
    directories(vfs, root);
    names(vfs, root);
    sharing(vfs, root);
    content(vfs, root);
    allocation(vfs, root);
    written(vfs, root);
    maps(vfs, root);
    exclusive_locks(vfs, root);
    shared_locks(vfs, root);
    space(vfs, root);
}

fn space(vfs: &dyn Vfs, root: &Path) {
    let space = vfs.space(root).unwrap();
    assert!(space.free_bytes > 0 && space.free_bytes <= space.total_bytes);
    assert!(space.free_inodes <= space.total_inodes);
}

fn kind<T: std::fmt::Debug>(result: io::Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}

fn read(file: &dyn VfsFile, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

fn directories(vfs: &dyn Vfs, root: &Path) {
    let deep = root.join("a/b");
    assert!(!vfs.exists(&deep).unwrap());
    vfs.create_dir_all(&deep).unwrap();
    vfs.create_dir_all(&deep).unwrap();
    assert!(vfs.exists(&deep).unwrap());
    assert_eq!(vfs.list(&deep).unwrap(), Vec::<String>::new());
    assert_eq!(vfs.list(&root.join("a")).unwrap(), Vec::<String>::new());
    vfs.sync_dir(&deep).unwrap();
    assert_eq!(kind(vfs.list(&root.join("none"))), ErrorKind::NotFound);
    assert_eq!(kind(vfs.sync_dir(&root.join("none"))), ErrorKind::NotFound);
    let orphan = vfs.open(&root.join("none/file"), OpenMode::CreateNew);
    assert_eq!(kind(orphan), ErrorKind::NotFound);
}

fn written(vfs: &dyn Vfs, root: &Path) {
    const RESERVED: u64 = 1 << 20;
    let file = vfs
        .open(&root.join("written"), OpenMode::CreateNew)
        .unwrap();
    assert_eq!(file.written_end().unwrap(), 0);
    file.allocate(RESERVED).unwrap();
    let mut end = 0;
    for at in [0, 5_000, 300_000, 70_000] {
        file.write_all_at(b"data", at).unwrap();
        end = end.max(at + 4);
        let found = file.written_end().unwrap();
        assert!((end..=RESERVED).contains(&found), "{found}");
        let behind = read(&*file, found, (RESERVED - found) as usize).unwrap();
        assert!(behind.iter().all(|byte| *byte == 0));
    }
    file.write_all_at(b"data", RESERVED - 4).unwrap();
    file.sync_data().unwrap();
    assert_eq!(file.written_end().unwrap(), RESERVED);
}

fn names(vfs: &dyn Vfs, root: &Path) {
    let dir = root.join("names");
    vfs.create_dir_all(&dir).unwrap();
    let (one, two) = (dir.join("one"), dir.join("two"));
    assert_eq!(kind(vfs.open(&one, OpenMode::Read)), ErrorKind::NotFound);
    assert_eq!(kind(vfs.open(&one, OpenMode::Write)), ErrorKind::NotFound);
    let first = vfs.open(&one, OpenMode::CreateNew).unwrap();
    let again = vfs.open(&one, OpenMode::CreateNew);
    assert_eq!(kind(again), ErrorKind::AlreadyExists);
    let second = vfs.open(&two, OpenMode::CreateNew).unwrap();
    first.write_all_at(b"first", 0).unwrap();
    second.write_all_at(b"second", 0).unwrap();
    assert_eq!(vfs.list(&dir).unwrap(), ["one", "two"]);

    vfs.rename(&one, &two).unwrap();
    assert_eq!(vfs.list(&dir).unwrap(), ["two"]);
    let renamed = vfs.open(&two, OpenMode::Read).unwrap();
    assert_eq!(read(&*renamed, 0, 5).unwrap(), b"first");
    assert_eq!(read(&*second, 0, 6).unwrap(), b"second", "still open");
    assert_eq!(kind(vfs.rename(&one, &two)), ErrorKind::NotFound);

    vfs.remove(&two).unwrap();
    assert!(!vfs.exists(&two).unwrap());
    assert_eq!(kind(vfs.remove(&two)), ErrorKind::NotFound);
    assert_eq!(read(&*renamed, 0, 5).unwrap(), b"first", "still open");
}

fn sharing(vfs: &dyn Vfs, root: &Path) {
    let (one, two) = (root.join("sharing/one"), root.join("shared/two"));
    for path in [&one, &two] {
        vfs.create_dir_all(path.parent().unwrap()).unwrap();
    }
    assert_eq!(kind(vfs.share(&one, &two)), ErrorKind::NotFound);
    let file = vfs.open(&one, OpenMode::CreateNew).unwrap();
    file.write_all_at(b"shared", 0).unwrap();
    file.sync_all().unwrap();
    assert!(vfs.is_unshared(&one).unwrap());
    let nowhere = root.join("none/two");
    assert_eq!(kind(vfs.share(&one, &nowhere)), ErrorKind::NotFound);
    vfs.share(&one, &two).unwrap();
    assert_eq!(kind(vfs.share(&one, &two)), ErrorKind::AlreadyExists);
    let shared = vfs.open(&two, OpenMode::Read).unwrap();
    assert_eq!(read(&*shared, 0, 6).unwrap(), b"shared");
    // What says of itself that it is unshared may be written over, and then nobody else notices.
    if vfs.is_unshared(&one).unwrap() {
        file.write_all_at(b"!", 0).unwrap();
        assert_eq!(read(&*shared, 0, 6).unwrap(), b"shared");
    }
    vfs.remove(&one).unwrap();
    assert_eq!(read(&*shared, 0, 6).unwrap(), b"shared");
    assert!(vfs.is_unshared(&two).unwrap());
}

fn content(vfs: &dyn Vfs, root: &Path) {
    let path = root.join("content");
    let file = vfs.open(&path, OpenMode::CreateNew).unwrap();
    assert_eq!(file.len().unwrap(), 0);
    file.write_all_at(b"", 9).unwrap();
    assert_eq!(file.len().unwrap(), 0, "nothing written, nothing grown");
    // Across more than one block of any implementation, with a hole before it.
    let long: Vec<u8> = (0..10_000_u32).map(|i| (i % 251) as u8).collect();
    file.write_all_at(&long, 4_000).unwrap();
    file.write_all_at(b"xyz", 4_001).unwrap();
    assert_eq!(file.len().unwrap(), 14_000);
    assert_eq!(read(&*file, 3_998, 6).unwrap(), [0, 0, 0, b'x', b'y', b'z']);
    assert_eq!(read(&*file, 4_004, 9_996).unwrap(), &long[4..]);
    assert_eq!(kind(read(&*file, 13_999, 2)), ErrorKind::UnexpectedEof);
    file.sync_data().unwrap();
    file.sync_all().unwrap();

    let reader = vfs.open(&path, OpenMode::Read).unwrap();
    assert!(reader.write_all_at(b"x", 0).is_err());
    assert!(reader.allocate(20_000).is_err());
    let writer = vfs.open(&path, OpenMode::Write).unwrap();
    writer.write_all_at(b"!", 0).unwrap();
    assert_eq!(read(&*reader, 0, 1).unwrap(), b"!", "seen by every handle");
}

fn allocation(vfs: &dyn Vfs, root: &Path) {
    let file = vfs
        .open(&root.join("allocated"), OpenMode::CreateNew)
        .unwrap();
    file.allocate(0).unwrap();
    file.write_all_at(b"abc", 0).unwrap();
    file.allocate(100_000).unwrap();
    assert_eq!(file.len().unwrap(), 100_000);
    assert_eq!(read(&*file, 0, 4).unwrap(), b"abc\0");
    assert_eq!(read(&*file, 99_999, 1).unwrap(), b"\0");
    file.allocate(10).unwrap();
    assert_eq!(file.len().unwrap(), 100_000, "never shrinks");
}

fn maps(vfs: &dyn Vfs, root: &Path) {
    let path = root.join("mapped");
    let file = vfs.open(&path, OpenMode::CreateNew).unwrap();
    file.allocate(8_192).unwrap();
    file.write_all_at(b"before", 0).unwrap();
    let map = vfs.open(&path, OpenMode::Read).unwrap().map(8_192).unwrap();
    file.write_all_at(b"behind", 4_096).unwrap();
    file.write_all_at(&1.5_f32.to_le_bytes(), 64).unwrap();
    assert_eq!(map.get(0..6), Some(&b"before"[..]));
    assert_eq!(map.get(4_096..4_102), Some(&b"behind"[..]), "no remap");
    assert_eq!(map.floats(64..68), Some(&[1.5][..]));
    assert_eq!(kind(file.map(8_193)), ErrorKind::UnexpectedEof);
    drop(file);
    vfs.remove(&path).unwrap();
    assert_eq!(map.get(0..6), Some(&b"before"[..]), "outlives the name");
}

fn exclusive_locks(vfs: &dyn Vfs, root: &Path) {
    let path = root.join("LOCK");
    // What an earlier holder left is overwritten, longer or not.
    let stale = vfs.open(&path, OpenMode::CreateNew).unwrap();
    stale.write_all_at(&[b'9'; 50], 0).unwrap();
    let held = vfs.lock(&path).unwrap();
    let note = read(&*stale, 0, usize::try_from(stale.len().unwrap()).unwrap()).unwrap();
    let note = String::from_utf8(note).unwrap();
    let lines: Vec<&str> = note.lines().collect();
    let [holder, start] = lines[..] else {
        panic!("{note}")
    };
    start.parse::<i64>().unwrap();
    match vfs.lock(&path) {
        Err(LockError::Held { pid }) => assert_eq!(pid.to_string(), holder),
        other => panic!("{other:?}"),
    }
    drop(held);
    drop(vfs.lock(&path).unwrap());
    drop(vfs.lock(&root.join("new LOCK")).unwrap());
    let nowhere = vfs.lock(&root.join("none/LOCK"));
    assert!(matches!(nowhere, Err(LockError::Io(error)) if error.kind() == ErrorKind::NotFound));
}

fn shared_locks(vfs: &dyn Vfs, root: &Path) {
    let path = root.join("segment");
    drop(vfs.open(&path, OpenMode::CreateNew).unwrap());
    let one = vfs.open(&path, OpenMode::Read).unwrap();
    let two = vfs.open(&path, OpenMode::Read).unwrap();
    assert!(one.try_lock_shared().unwrap());
    assert!(one.try_lock_shared().unwrap(), "again is no matter");
    assert!(two.try_lock_shared().unwrap());
    assert!(matches!(vfs.lock(&path), Err(LockError::Held { .. })));
    drop(one);
    assert!(matches!(vfs.lock(&path), Err(LockError::Held { .. })));
    drop(two);
    let exclusive = vfs.lock(&path).unwrap();
    let three = vfs.open(&path, OpenMode::Read).unwrap();
    assert!(!three.try_lock_shared().unwrap());
    drop(exclusive);
    assert!(three.try_lock_shared().unwrap());
}
