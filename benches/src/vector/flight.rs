//! How many searches a second do callers with a runtime get, several at once?
//!
//! With one thread for searches and with as many as there are cores, beside one blocking caller. Told, not judged.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{
    Bench, K,
    index::{self, How, Index},
};
use crate::{
    queries::per_second,
    report::Report,
    rounds::{Contender, interleave},
};

const IN_FLIGHT: usize = 8;

/// `ours` stands in `ours` of `dir`, and is opened anew in between.
pub(super) fn run(bench: &Bench<'_>, dir: &Path, ours: Index, report: &mut Report) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()?;
    let measure = bench.settings.measure;
    let mut ask = |name: &str, index: &Index| -> Result<()> {
        let vectors = &bench.vectors;
        let contenders = vec![
            Contender::new("async", || flight(bench, &runtime, index, measure)),
            Contender::new("blocking", || {
                per_second(vectors, measure, |query| {
                    index.search(query, How::AsItComes).map(drop)
                })
            }),
        ];
        let measured = interleave(name, bench.settings.rounds, contenders)?;
        let case = format!("async, {IN_FLIGHT} calls in flight, {name}");
        let peer = ("ours, blocking, one caller", measured.of("blocking")?);
        report.compare(&case, "queries/s", measured.of("async")?, peer, None);
        Ok(())
    };
    ask("one thread for searches", &ours)?;
    let ids = ours.close()?;
    let config = index::config_all_cores(bench.dimension());
    let ours = Index::open(&dir.join("ours"), config, ids)?;
    ask("one thread per core", &ours)?;
    ours.close().map(drop)
}

fn flight(
    bench: &Bench<'_>,
    runtime: &tokio::runtime::Runtime,
    index: &Index,
    measure: Duration,
) -> Result<f64> {
    let (db, collective) = index.asynchronous();
    let queries: Arc<[Vec<f32>]> = bench.vectors.queries().map(<[f32]>::to_vec).collect();
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    runtime.block_on(async {
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..IN_FLIGHT {
            let (db, queries, next) = (db.clone(), Arc::clone(&queries), Arc::clone(&next));
            callers.spawn(async move {
                while started.elapsed() < measure {
                    let at = next.fetch_add(1, Relaxed) % queries.len();
                    if let Some(query) = queries.get(at) {
                        db.search_similar(collective, query, K).await?;
                    }
                }
                anyhow::Ok(())
            });
        }
        while let Some(caller) = callers.join_next().await {
            caller??;
        }
        anyhow::Ok(())
    })?;
    Ok(next.load(Relaxed) as f64 / started.elapsed().as_secs_f64())
}
