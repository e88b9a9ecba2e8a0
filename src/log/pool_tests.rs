//! Do spare files come and go as they should?

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::vfs::{FaultKind, SimVfs};

const DIR: &str = "/log";
const BYTES: u64 = 1024 * 1024 + 4096;

fn pool(vfs: &SimVfs, bytes: u64, target: usize) -> SegmentPool {
    SegmentPool::open(Arc::new(vfs.clone()), Path::new(DIR), bytes, target).unwrap()
}

fn fill(pool: &SegmentPool) -> Result<()> {
    while pool.is_short() {
        pool.add_one()?;
    }
    Ok(())
}

#[test]
fn spares_are_made_taken_and_found_again() {
    let vfs = SimVfs::new(1);
    vfs.create_dir_all(Path::new(DIR)).unwrap();
    let first = pool(&vfs, BYTES, 2);
    assert!(first.take().is_none());
    assert!(first.is_short());
    fill(&first).unwrap();
    assert!(!first.is_short());
    let names = vfs.list(Path::new(DIR)).unwrap();
    assert_eq!(names, ["spare-0.tmp", "spare-1.tmp"]);
    let spare = first.take().unwrap();
    assert_eq!(spare.file.len().unwrap(), BYTES);
    drop((first, spare));

    let second = pool(&vfs, BYTES, 3);
    assert!(second.is_short());
    fill(&second).unwrap();
    assert_eq!(vfs.list(Path::new(DIR)).unwrap().len(), 3, "one was made");

    // Of the wrong size, or too many: removed. Other files are none of its business.
    vfs.open(&Path::new(DIR).join("x.seg"), OpenMode::CreateNew)
        .unwrap();
    pool(&vfs, BYTES, 1);
    assert_eq!(vfs.list(Path::new(DIR)).unwrap().len(), 2);
    pool(&vfs, 2 * BYTES, 1);
    assert_eq!(vfs.list(Path::new(DIR)).unwrap(), ["x.seg"]);
}

#[test]
fn a_full_disk_gets_its_space_back() {
    let vfs = SimVfs::new(1);
    vfs.create_dir_all(Path::new(DIR)).unwrap();
    vfs.set_capacity(BYTES + BYTES / 2);
    let pool = pool(&vfs, BYTES, 2);
    assert!(matches!(fill(&pool), Err(PulseDBError::Io { .. })));
    assert_eq!(vfs.list(Path::new(DIR)).unwrap().len(), 1);
    assert!(pool.take().is_some());
    vfs.fail_at(vfs.op_count() + 1, FaultKind::Eio);
    assert!(fill(&pool).is_err());
    assert!(pool.take().is_none());
}
