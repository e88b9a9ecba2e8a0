//! How do the other engines keep records under ids, and read them?
//!
//! Defaults, and for the load no syncs: it is not what is measured. Keys are ids of 16 bytes, loaded in their
//! order, which suits every one of them.

use std::path::Path;

use anyhow::{Context, Result};
use fjall::{Keyspace, KeyspaceCreateOptions, PersistMode};
use heed::{CommitOrAbort, EnvOpenOptions, WithTls, types::Bytes};
use redb::{ReadOnlyTable, ReadableDatabase, TableDefinition};

/// Records of one commit of a load.
pub(super) const LOAD_BATCH: usize = 1_000;
/// Address space for LMDB's map; more than any run fills.
const LMDB_MAP_BYTES: usize = 64 << 30;

const TABLE: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("records");

/// An engine that keeps records under ids.
pub(super) trait Keyed: Sized {
    fn open(dir: &Path) -> Result<Self>;

    /// Adds records as one commit; durable when it is back if `durable`.
    fn add<'a>(
        &mut self,
        records: impl Iterator<Item = (u128, &'a [u8])>,
        durable: bool,
    ) -> Result<()>;

    /// Looks at the newest record of this id, each time in a transaction of its own, as each read of ours looks at
    /// a snapshot of its own.
    fn get<R>(&self, id: u128, look: impl FnOnce(&[u8]) -> R) -> Result<R>;
}

/// What a lookup of something that was stored must find.
fn found<T>(record: Option<T>) -> Result<T> {
    record.context("a record that was stored is not there")
}

pub(super) struct Lmdb {
    env: heed::Env,
    records: heed::Database<'static, Bytes, Bytes>,
}

impl Keyed for Lmdb {
    fn open(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let mut options = EnvOpenOptions::new();
        options.map_size(LMDB_MAP_BYTES);
        // SAFETY: the folder was made for this contender; no other process touches the files meanwhile.
        let env = unsafe { options.open(dir)? };
        let txn = env.write_txn()?;
        let records = env
            .create_databases_and_commit(txn, |opener, txn| {
                let records = opener.create_database::<Bytes, Bytes>(txn, None)?;
                heed::Result::Ok(CommitOrAbort::<_, ()>::Commit(records))
            })?
            .commit()
            .context("LMDB did not create its database")?;
        Ok(Self { env, records })
    }

    fn add<'a>(
        &mut self,
        records: impl Iterator<Item = (u128, &'a [u8])>,
        _durable: bool,
    ) -> Result<()> {
        let mut txn = self.env.write_txn()?;
        for (id, record) in records {
            self.records.put(&mut txn, &id.to_be_bytes(), record)?;
        }
        txn.commit()?;
        Ok(())
    }

    fn get<R>(&self, id: u128, look: impl FnOnce(&[u8]) -> R) -> Result<R> {
        let txn = self.env.read_txn()?;
        let record = self.records.get(&txn, &id.to_be_bytes())?;
        found(record).map(look)
    }
}

/// LMDB in one read transaction for all reads, which sees nothing that is newer.
pub(super) struct LmdbHeld<'a> {
    txn: heed::RoTxn<'a, WithTls>,
    records: heed::Database<'static, Bytes, Bytes>,
}

impl Lmdb {
    pub(super) fn hold(&self) -> Result<LmdbHeld<'_>> {
        Ok(LmdbHeld {
            txn: self.env.read_txn()?,
            records: self.records,
        })
    }
}

impl LmdbHeld<'_> {
    pub(super) fn get<R>(&self, id: u128, look: impl FnOnce(&[u8]) -> R) -> Result<R> {
        let record = self.records.get(&self.txn, &id.to_be_bytes())?;
        found(record).map(look)
    }
}

pub(super) struct Redb(redb::Database);

impl Keyed for Redb {
    fn open(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        Ok(Self(redb::Database::create(dir.join("redb"))?))
    }

    fn add<'a>(
        &mut self,
        records: impl Iterator<Item = (u128, &'a [u8])>,
        durable: bool,
    ) -> Result<()> {
        let mut txn = self.0.begin_write()?;
        if !durable {
            txn.set_durability(redb::Durability::None)?;
        }
        {
            let mut table = txn.open_table(TABLE)?;
            for (id, record) in records {
                table.insert(id, record)?;
            }
        }
        txn.commit()?;
        Ok(())
    }

    fn get<R>(&self, id: u128, look: impl FnOnce(&[u8]) -> R) -> Result<R> {
        let table: ReadOnlyTable<u128, &[u8]> = self.0.begin_read()?.open_table(TABLE)?;
        let record = found(table.get(id)?)?;
        Ok(look(record.value()))
    }
}

pub(super) struct Fjall {
    db: fjall::Database,
    records: Keyspace,
}

impl Keyed for Fjall {
    fn open(dir: &Path) -> Result<Self> {
        let db = fjall::Database::builder(dir.join("fjall")).open()?;
        let records = db.keyspace("records", KeyspaceCreateOptions::default)?;
        Ok(Self { db, records })
    }

    fn add<'a>(
        &mut self,
        records: impl Iterator<Item = (u128, &'a [u8])>,
        durable: bool,
    ) -> Result<()> {
        let mut batch = self.db.batch();
        for (id, record) in records {
            batch.insert(&self.records, id.to_be_bytes(), record);
        }
        batch.commit()?;
        self.db.persist(if durable {
            PersistMode::SyncData
        } else {
            PersistMode::Buffer
        })?;
        Ok(())
    }

    fn get<R>(&self, id: u128, look: impl FnOnce(&[u8]) -> R) -> Result<R> {
        let record = found(self.records.get(id.to_be_bytes())?)?;
        Ok(look(&record))
    }
}
