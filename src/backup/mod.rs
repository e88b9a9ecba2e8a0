//! How is a database copied while it serves, and how does it come back?
//!
//! The log is the database, and what is in it never changes: a backup is the list of its segments as of one
//! commit (`create`), each cut into *pieces*, stretches of bytes in files that are named by their SHA-256. What
//! a repository holds is not copied again: of a segment that has grown, the new stretch becomes a piece.
//! So each backup names all pieces that it is made of, needs no other backup, and shares most of its files
//! with the one before it.
//!
//! ```text
//! <repository>/LOCK             who makes or removes backups
//! <repository>/<id>.backup      the manifest of a backup; without it nothing counts
//! <repository>/pieces/<sha256>.raw|lz4|zst
//! ```
//!
//! Invariants: a manifest gets its name when all of its pieces are durable (`repository`); a piece is removed
//! when no manifest is left that may name it; the database is only read, at no moment does anybody wait for
//! a backup. A restored database (`restore`) becomes one when its own manifest is written, last of all, and
//! goes on in a new timeline, so that no LSN means two things. Called by `db/`, on threads of their own.

mod create;
mod cut;
mod piece;
mod prune;
mod repository;
mod restore;
mod verify;

pub(crate) use create::{Source, create};
pub(crate) use prune::prune;
pub(crate) use repository::Repository;
pub(crate) use restore::{restore, restore_until};
pub(crate) use verify::verify;

use std::{sync::Arc, time::Duration};

use parking_lot::{Condvar, Mutex};
use uuid::Uuid;

use crate::{
    env::Env,
    error::{PulseDBError, Result},
    model::{BackupProgress, Timestamp},
    vfs::Vfs,
};

/// Bytes that are copied between two looks at whoever waits: small enough to spread the load on the disk.
const CHUNK_BYTES: usize = 256 * 1024;
/// The longest that somebody who gave up keeps the thread.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Where backups are, and when.
#[derive(Clone, Debug)]
pub(crate) struct Medium {
    /// The file system.
    pub(crate) vfs: Arc<dyn Vfs>,
    /// The clock, and chance.
    pub(crate) env: Arc<dyn Env>,
}

/// Whoever waits for long work.
pub(crate) struct Waiter<'a> {
    /// Is told how far it has come.
    pub(crate) tell: &'a mut dyn FnMut(BackupProgress),
    /// Has it given up?
    pub(crate) gone: &'a dyn Fn() -> bool,
    progress: BackupProgress,
    bytes_per_second: u64,
}

impl<'a> Waiter<'a> {
    /// Nothing is done yet.
    pub(crate) fn new(tell: &'a mut dyn FnMut(BackupProgress), gone: &'a dyn Fn() -> bool) -> Self {
        Self {
            tell,
            gone,
            progress: BackupProgress::default(),
            bytes_per_second: 0,
        }
    }

    /// There are so many bytes to do, at this rate at most; 0 is none.
    fn begin(&mut self, total_bytes: u64, bytes_per_second: u64) {
        self.progress.total_bytes = total_bytes;
        self.bytes_per_second = bytes_per_second;
    }

    /// So many bytes more are done. Waits where that was too fast.
    ///
    /// # Errors
    /// `Closed` where nobody waits any more.
    fn did(&mut self, bytes: u64) -> Result<()> {
        self.progress.bytes += bytes;
        (self.tell)(self.progress);
        let mut rest = match self.bytes_per_second {
            0 => Duration::ZERO,
            rate => Duration::from_secs_f64(bytes as f64 / rate as f64),
        };
        loop {
            if (self.gone)() {
                return Err(PulseDBError::Closed);
            }
            if rest.is_zero() {
                return Ok(());
            }
            let pause = rest.min(LONGEST_PAUSE);
            // Nobody rings: the time passes.
            Condvar::new().wait_for(&mut Mutex::new(()).lock(), pause);
            rest -= pause;
        }
    }
}

/// A UUIDv7 of that moment.
fn new_uuid(env: &dyn Env, now: Timestamp) -> Uuid {
    let random = env.random_u128().to_le_bytes();
    let random = random.first_chunk::<10>().copied().unwrap_or_default();
    let millis = u64::try_from(now.as_millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}
