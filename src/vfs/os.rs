//! How does the operating system's file system answer [`Vfs`]?
//!
//! A thin layer over `std::fs`: no state, no caching, no retries other than after a signal and of a lock. Every
//! error is the system's own, `ENOSPC` and `EIO` included.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the one module that touches files"
)]

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
    time::Duration,
};

use rustix::{
    fs::{FallocateFlags, SeekFrom},
    io::Errno,
};

use super::{LockError, Map, OpenMode, Vfs, VfsFile, VfsLock, lock_holder, lock_note};
use crate::{
    env::{Env, OsEnv},
    model::FileSystemSpace,
};

const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// More than `pid\nstart_ms\n` can take.
const LOCK_NOTE_BYTES: usize = 64;

/// The real file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsVfs;

impl Vfs for OsVfs {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        let mut options = OpenOptions::new();
        options.read(true).mode(FILE_MODE);
        match mode {
            OpenMode::Read => {}
            OpenMode::Write => {
                options.write(true);
            }
            OpenMode::CreateNew => {
                options.write(true).create_new(true);
            }
        }
        Ok(Arc::new(OsFile(options.open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn share(&self, from: &Path, to: &Path) -> io::Result<()> {
        match clone_blocks(from, to) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            Err(_) => fs::hard_link(from, to),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn is_unshared(&self, path: &Path) -> io::Result<bool> {
        let file = File::open(path)?;
        // Names are counted behind the lock: whoever gives it a second one holds a shared lock until then.
        match file.try_lock() {
            Ok(()) => Ok(file.metadata()?.nlink() == 1),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            // A name that is not UTF-8 is none that this crate gave.
            if let (true, Ok(name)) = (
                entry.file_type()?.is_file(),
                entry.file_name().into_string(),
            ) {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn space(&self, dir: &Path) -> io::Result<FileSystemSpace> {
        let told = rustix::fs::statvfs(dir)?;
        let bytes = |blocks: u64| blocks.saturating_mul(told.f_frsize);
        Ok(FileSystemSpace {
            total_bytes: bytes(told.f_blocks),
            // What is kept for the superuser is not for us.
            free_bytes: bytes(told.f_bavail),
            total_inodes: told.f_files,
            free_inodes: told.f_favail,
        })
    }

    fn tells_of_changes(&self) -> bool {
        true
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn VfsLock>, LockError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false) // the note of a living holder must survive our attempt
            .mode(FILE_MODE)
            .open(path)?;
        // flock belongs to the open file description, hence a second attempt of this process is
        // refused like anybody else's, and the kernel releases it whichever way the process dies.
        match lock_patiently(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut note = [0; LOCK_NOTE_BYTES];
                let read = file.read_at(&mut note, 0)?;
                return Err(LockError::Held {
                    pid: lock_holder(note.get(..read).unwrap_or_default()),
                });
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let note = lock_note(OsEnv.pid(), OsEnv.now().as_millis());
        // Written before it is cut, so that whoever reads meanwhile finds a whole first line.
        file.write_all_at(note.as_bytes(), 0)?;
        file.set_len(note.len() as u64)?;
        Ok(Box::new(OsLock { _file: file }))
    }
}

/// Takes the exclusive lock, unless somebody holds one for longer than it takes a reader to ask whether a
/// writer lives: that takes a shared lock and gives it back at once.
fn lock_patiently(file: &File) -> Result<(), TryLockError> {
    const ATTEMPTS: u32 = 4;
    const PAUSE: Duration = Duration::from_millis(1);
    for _ in 1..ATTEMPTS {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            locked => return locked,
        }
    }
    file.try_lock()
}

/// Makes `to` a file that shares the blocks of `from`; leaves nothing where that fails.
#[cfg(target_os = "linux")]
fn clone_blocks(from: &Path, to: &Path) -> io::Result<()> {
    let source = File::open(from)?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(FILE_MODE);
    let clone = options.open(to)?;
    let cloned = rustix::fs::ioctl_ficlone(&clone, &source).map_err(io::Error::from);
    let durable = cloned.and_then(|()| clone.sync_all());
    if durable.is_err() {
        fs::remove_file(to)?;
    }
    durable
}

#[cfg(not(target_os = "linux"))]
fn clone_blocks(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Where the last stretch ends that the file system has data of: what was only reserved is a hole. Moves
/// the position of `file`, which nobody uses.
pub(super) fn written_end(file: &File) -> io::Result<u64> {
    let len = file.metadata()?.len();
    let mut end = 0;
    while end < len {
        match rustix::fs::seek(file, SeekFrom::Data(end)) {
            Ok(data) => end = rustix::fs::seek(file, SeekFrom::Hole(data))?,
            Err(Errno::NXIO) => break,
            // Some file systems do not know.
            Err(_) => return Ok(len),
        }
    }
    Ok(end.min(len))
}

/// An open file of the operating system.
#[derive(Debug)]
struct OsFile(File);

impl VfsFile for OsFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn written_end(&self) -> io::Result<u64> {
        written_end(&self.0)
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }

    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        let reserve = || rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, len);
        match rustix::io::retry_on_intr(reserve) {
            Ok(()) => Ok(()),
            // Some file systems cannot reserve: the length alone still makes the zeros readable.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) if self.len()? < len => self.0.set_len(len),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn map(&self, len: u64) -> io::Result<Map> {
        Map::of(&self.0, len)
    }

    fn try_lock_shared(&self) -> io::Result<bool> {
        match self.0.try_lock_shared() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// A held `flock`: closing the descriptor releases it.
#[derive(Debug)]
struct OsLock {
    _file: File,
}

impl VfsLock for OsLock {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_the_owner_may_look() {
        let dir = tempfile::tempdir().unwrap();
        let (outer, inner) = (dir.path().join("db"), dir.path().join("db/log"));
        OsVfs.create_dir_all(&inner).unwrap();
        let (file, lock) = (inner.join("1.seg"), outer.join("LOCK"));
        OsVfs.open(&file, OpenMode::CreateNew).unwrap();
        drop(OsVfs.lock(&lock).unwrap());
        for (path, mode) in [(outer, 0o700), (inner, 0o700), (file, 0o600), (lock, 0o600)] {
            let found = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            assert_eq!(found, mode, "{}", path.display());
        }
    }

    #[test]
    fn allocation_reserves_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = OsVfs.open(&path, OpenMode::CreateNew).unwrap();
        file.allocate(1 << 20).unwrap();
        assert_eq!(fs::metadata(path).unwrap().blocks() * 512, 1 << 20);
    }

    #[test]
    fn a_full_disk_is_reported_as_such() {
        let full = OsVfs.open(Path::new("/dev/full"), OpenMode::Write).unwrap();
        let error = full.write_all_at(b"x", 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn a_lock_names_this_process_and_its_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("LOCK");
        let _held = OsVfs.lock(&path).unwrap();
        let refused = OsVfs.lock(&path);
        let own = std::process::id();
        assert!(matches!(refused, Err(LockError::Held { pid }) if pid == own));
        // A holder that has not written itself down yet.
        fs::write(&path, "").unwrap();
        let refused = OsVfs.lock(&path);
        assert!(matches!(refused, Err(LockError::Held { pid: 0 })));
    }
}
