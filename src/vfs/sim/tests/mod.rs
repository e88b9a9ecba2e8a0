//! Each rule of the model has a test that fails without it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod crash;
mod faults;
mod names;

use std::{path::Path, sync::Arc};

use super::*;

/// How many seeds it takes until every outcome of a few coins has been seen.
const SEEDS: u64 = 200;

fn path(name: &str) -> &Path {
    Path::new(name)
}

/// A new file whose name is durable.
fn create(vfs: &SimVfs, name: &str) -> Arc<dyn VfsFile> {
    let file = vfs.open(path(name), OpenMode::CreateNew).unwrap();
    vfs.sync_dir(path("/")).unwrap();
    file
}

/// All bytes of a file.
fn content(vfs: &SimVfs, name: &str) -> Vec<u8> {
    let file = vfs.open(path(name), OpenMode::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn is_eio<T>(result: io::Result<T>) -> bool {
    result.is_err_and(|error| error.raw_os_error() == Some(Errno::IO.raw_os_error()))
}

fn is_full<T>(result: io::Result<T>) -> bool {
    result.is_err_and(|error| error.kind() == io::ErrorKind::StorageFull)
}

fn is_crash<T>(result: io::Result<T>) -> bool {
    result.is_err_and(|error| error.to_string() == "simulated crash")
}
