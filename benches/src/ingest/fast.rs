//! What do batches reach when an acknowledgement need not survive a power cut?
//!
//! One caller commits 256 records at a time; ours also with two tasks, since it alone lets callers prepare their
//! batches beside each other.

use std::sync::Arc;

use anyhow::Result;
use pulsedb::SyncMode;

use super::{
    SEGMENT_BYTES,
    drive::{self, Load, Outcome, Sink},
    engines::{Fjall, Lmdb, Redb, Store, Survives},
    records::{DIMENSION, Records},
};
use crate::{
    ours,
    report::{Report, Target},
    rounds::{Contender, interleave},
    settings::Settings,
    workdir::WorkDir,
};

const BATCH: u64 = 256;

/// All contenders without syncs, and the rows about them.
pub(crate) fn run(
    settings: &Settings,
    work: &WorkDir,
    records: &Arc<Records>,
    report: &mut Report,
) -> Result<()> {
    let load = Load {
        tasks: 1,
        warm_up: settings.warm_up(),
        measure: settings.measure,
    };
    let config = || ours::config(DIMENSION, SEGMENT_BYTES, SyncMode::Fast);
    let contenders = vec![
        Contender::new("ours, 1 caller", || {
            work.with(|dir| {
                let db = ours::Blocking::open(dir, config(), &records.texts())?;
                let outcome =
                    drive::with_caller(load, |n| db.record_batch(n * BATCH, BATCH).map(drop));
                db.close()?;
                outcome
            })
        }),
        Contender::new("ours, 2 tasks", || {
            work.with(|dir| {
                drive::runtime()?.block_on(async {
                    let db = Batches(ours::Async::open(dir, config(), &records.texts()).await?);
                    let outcome = drive::with_tasks(&db, Load { tasks: 2, ..load }).await;
                    db.0.close().await?;
                    outcome
                })
            })
        }),
        Contender::new("LMDB", || {
            work.with(|dir| unsynced::<Lmdb>(dir, records, load))
        }),
        Contender::new("redb", || {
            work.with(|dir| unsynced::<Redb>(dir, records, load))
        }),
        Contender::new("fjall", || {
            work.with(|dir| unsynced::<Fjall>(dir, records, load))
        }),
    ];
    let measured = interleave("batches in Fast mode", settings.rounds, contenders)?;
    let rate = |name: &str| -> Result<Vec<f64>> {
        let samples = measured.of(name)?.iter();
        Ok(samples.map(|o| o.per_second * BATCH as f64).collect())
    };
    for (ours, judged) in [("ours, 1 caller", true), ("ours, 2 tasks", false)] {
        let case = format!("Fast, batches of {BATCH}, {ours}").replace(", ours", "");
        let rates = rate(ours)?;
        for (engine, peer, bound) in [
            ("LMDB", "LMDB (MDB_NOSYNC)", Some(1.0)),
            ("redb", "redb (Durability::None)", Some(4.0)),
            ("fjall", "fjall (PersistMode::Buffer)", None),
        ] {
            let target = bound.filter(|_| judged).map(Target::AtLeast);
            report.compare(&case, "records/s", &rates, (peer, &rate(engine)?), target);
        }
    }
    Ok(())
}

#[derive(Clone)]
struct Batches(ours::Async);

impl Sink for Batches {
    async fn put(&self, n: u64) -> Result<()> {
        self.0.record_batch(n * BATCH, BATCH).await.map(drop)
    }
}

fn unsynced<S: Store>(dir: &std::path::Path, records: &Records, load: Load) -> Result<Outcome> {
    let mut store = S::open(dir, Survives::ProcessCrash)?;
    drive::with_caller(load, |n| {
        let batch: Vec<_> = (n * BATCH..(n + 1) * BATCH)
            .map(|n| records.encoded(n))
            .collect();
        store.commit(&batch)
    })
}
