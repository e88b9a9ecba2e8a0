//! How is each other engine opened and asked to commit?
//!
//! Defaults, except for what makes a commit durable or not. Keys ascend, which suits every one of them.

use std::path::Path;

use anyhow::{Context, Result};
use fjall::{Keyspace, KeyspaceCreateOptions, PersistMode};
use heed::{CommitOrAbort, EnvFlags, EnvOpenOptions, PutFlags, types::Bytes};
use redb::{Durability, TableDefinition};

/// What an acknowledged commit has to survive.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Survives {
    PowerCut,
    ProcessCrash,
}

/// An engine that commits on one thread.
pub(crate) trait Store: Send + Sized + 'static {
    fn open(dir: &Path, survives: Survives) -> Result<Self>;

    /// Commits the records as one.
    fn commit<R: AsRef<[u8]>>(&mut self, records: &[R]) -> Result<()>;
}

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");

pub(crate) struct Redb {
    db: redb::Database,
    durability: Durability,
    next: u64,
}

impl Store for Redb {
    fn open(dir: &Path, survives: Survives) -> Result<Self> {
        let durability = match survives {
            Survives::PowerCut => Durability::Immediate,
            Survives::ProcessCrash => Durability::None,
        };
        let db = redb::Database::create(dir.join("redb"))?;
        Ok(Self {
            db,
            durability,
            next: 0,
        })
    }

    fn commit<R: AsRef<[u8]>>(&mut self, records: &[R]) -> Result<()> {
        let mut txn = self.db.begin_write()?;
        txn.set_durability(self.durability)?;
        {
            let mut table = txn.open_table(TABLE)?;
            for record in records {
                table.insert(self.next, record.as_ref())?;
                self.next += 1;
            }
        }
        txn.commit()?;
        Ok(())
    }
}

pub(crate) struct Fjall {
    db: fjall::Database,
    records: Keyspace,
    persist: PersistMode,
    next: u64,
}

impl Fjall {
    /// With fsync instead of fdatasync.
    pub(crate) fn syncing_all(mut self) -> Self {
        self.persist = PersistMode::SyncAll;
        self
    }
}

impl Store for Fjall {
    fn open(dir: &Path, survives: Survives) -> Result<Self> {
        let persist = match survives {
            Survives::PowerCut => PersistMode::SyncData,
            Survives::ProcessCrash => PersistMode::Buffer,
        };
        let db = fjall::Database::builder(dir.join("fjall")).open()?;
        let records = db.keyspace("records", KeyspaceCreateOptions::default)?;
        Ok(Self {
            db,
            records,
            persist,
            next: 0,
        })
    }

    fn commit<R: AsRef<[u8]>>(&mut self, records: &[R]) -> Result<()> {
        let mut batch = self.db.batch();
        for record in records {
            batch.insert(&self.records, self.next.to_be_bytes(), record.as_ref());
            self.next += 1;
        }
        batch.commit()?;
        self.db.persist(self.persist)?;
        Ok(())
    }
}

/// Address space for LMDB's map; more than any run fills.
const LMDB_MAP_BYTES: usize = 64 << 30;

pub(crate) struct Lmdb {
    env: heed::Env,
    records: heed::Database<'static, Bytes, Bytes>,
    next: u64,
}

impl Store for Lmdb {
    fn open(dir: &Path, survives: Survives) -> Result<Self> {
        let mut options = EnvOpenOptions::new();
        options.map_size(LMDB_MAP_BYTES);
        if survives == Survives::ProcessCrash {
            // SAFETY: without syncs a power cut can damage the file; it is removed after the round.
            unsafe { options.flags(EnvFlags::NO_SYNC) };
        }
        // SAFETY: the folder was just made for this contender; no other process touches the files.
        let env = unsafe { options.open(dir)? };
        let txn = env.write_txn()?;
        let records = env
            .create_databases_and_commit(txn, |opener, txn| {
                let records = opener.create_database::<Bytes, Bytes>(txn, None)?;
                heed::Result::Ok(CommitOrAbort::<_, ()>::Commit(records))
            })?
            .commit()
            .context("LMDB did not create its database")?;
        Ok(Self {
            env,
            records,
            next: 0,
        })
    }

    fn commit<R: AsRef<[u8]>>(&mut self, records: &[R]) -> Result<()> {
        let mut txn = self.env.write_txn()?;
        for record in records {
            let key = self.next.to_be_bytes();
            self.records
                .put_with_flags(&mut txn, PutFlags::APPEND, &key, record.as_ref())?;
            self.next += 1;
        }
        txn.commit()?;
        Ok(())
    }
}
