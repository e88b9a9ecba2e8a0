//! What do `info`, `health`, `stats` and `metrics` do?

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use pulsedb::{
    Collective, CollectiveStats, DatabaseMetadata, Diagnosis, HealthCheck, HealthStatus,
};
use serde::Serialize;

use crate::{
    exit::{Exit, Failure},
    session::{self, Session, Texts},
};

pub(crate) fn info(path: &Path, session: &Session) -> Result<Exit, Failure> {
    let db = session.reader(path, Texts::Plain)?;
    let diagnosis = db.diagnose().map_err(Failure::Command)?;
    session
        .output
        .print(&diagnosis, |out| print_info(out, &diagnosis))?;
    let recovery = &diagnosis.health.recovery;
    Ok(Exit::of(recovery.damaged.is_empty()))
}

fn print_info(out: &mut dyn Write, diagnosis: &Diagnosis) -> io::Result<()> {
    let Diagnosis {
        database, health, ..
    } = diagnosis;
    writeln!(out, "{}", database.path.display())?;
    writeln!(out, "  instance      {}", database.instance_id)?;
    writeln!(out, "  format        {}", database.format_version)?;
    writeln!(out, "  newest commit {}", database.cursor)?;
    if let Some(time) = diagnosis.last_write {
        writeln!(out, "  last write    {} ms since 1970", time.as_millis())?;
    }
    writeln!(out, "  health        {:?}", health.status)?;
    if let Some((file, at, bytes)) = &health.recovery.torn {
        writeln!(
            out,
            "                {bytes} torn bytes behind byte {at} of {}",
            file.display()
        )?;
    }
    for (file, at, what) in &health.recovery.damaged {
        writeln!(
            out,
            "                {} at byte {at}: {what}",
            file.display()
        )?;
    }
    writeln!(
        out,
        "  log           {} bytes in {} segments, {:.0} % of them visible experiences",
        diagnosis.log_bytes,
        diagnosis.segments.len(),
        diagnosis.live_ratio * 100.0
    )?;
    writeln!(out, "  index         {} bytes", diagnosis.index_file_bytes)?;
    writeln!(
        out,
        "  memory        {} bytes of rows, {} bytes of index when open",
        diagnosis.memory.row_bytes, diagnosis.memory.index_bytes
    )?;
    for one in &diagnosis.collectives {
        writeln!(
            out,
            "  collective    {} ({}): {} experiences, {} of them archived, {} changed; {} rows gone; {} graphs, {} rows in none",
            one.name,
            one.stats.collective_id,
            one.stats.experience_count,
            one.stats.archived_count,
            one.changed_rows,
            one.gone_rows,
            one.stats.graphs,
            one.stats.tail_rows
        )?;
    }
    Ok(())
}

#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// The database's directory.
    db: PathBuf,
    /// Only this collective: its name, or its id.
    #[arg(long)]
    collective: Option<String>,
}

#[derive(Debug, Serialize)]
struct Counted {
    database: DatabaseMetadata,
    collectives: Vec<CountedCollective>,
}

#[derive(Debug, Serialize)]
struct CountedCollective {
    collective: Collective,
    stats: CollectiveStats,
}

pub(crate) fn stats(stats: &Stats, session: &Session) -> Result<Exit, Failure> {
    let db = session.reader(&stats.db, Texts::Plain)?;
    let collectives = match &stats.collective {
        Some(called) => vec![session::collective(&db, called)?],
        None => db.list_collectives().map_err(Failure::Command)?,
    };
    let mut counted = Counted {
        database: db.metadata().map_err(Failure::Command)?,
        collectives: Vec::with_capacity(collectives.len()),
    };
    for collective in collectives {
        let stats = db.get_collective_stats(collective.id);
        counted.collectives.push(CountedCollective {
            stats: stats.map_err(Failure::Command)?,
            collective,
        });
    }
    session.output.print(&counted, |out| {
        counted
            .collectives
            .iter()
            .try_for_each(|one| print_stats(out, one))
    })?;
    Ok(Exit::Fine)
}

fn print_stats(out: &mut dyn Write, one: &CountedCollective) -> io::Result<()> {
    let CountedCollective { collective, stats } = one;
    writeln!(out, "{} ({})", collective.name, collective.id)?;
    writeln!(
        out,
        "  vectors      {} components",
        collective.embedding_dimension
    )?;
    match &collective.embedder {
        Some(embedder) if embedder.model.is_empty() => {
            writeln!(out, "  embedder     {}", embedder.provider)?;
        }
        Some(embedder) => writeln!(out, "  embedder     {embedder}")?,
        None => {}
    }
    if !collective.precisions.is_empty() {
        writeln!(out, "  computed in  {}", collective.precisions)?;
    }
    writeln!(
        out,
        "  experiences  {}, {} of them archived, {} bytes",
        stats.experience_count, stats.archived_count, stats.body_bytes
    )?;
    writeln!(
        out,
        "  relations    {}\n  insights     {}",
        stats.relation_count, stats.insight_count
    )?;
    writeln!(
        out,
        "  index        {} bytes of memory; {} graphs, {} rows in none",
        stats.index_bytes, stats.graphs, stats.tail_rows
    )
}

pub(crate) fn health(path: &Path, session: &Session) -> Result<Exit, Failure> {
    let db = session.reader(path, Texts::Plain)?;
    let health = db.health_check().map_err(Failure::Command)?;
    session.output.print(&health, |out| {
        writeln!(out, "{}", health.status)?;
        health
            .checks
            .iter()
            .try_for_each(|one| print_check(out, one))
    })?;
    Ok(Exit::of(health.status == HealthStatus::Healthy))
}

fn print_check(out: &mut dyn Write, check: &HealthCheck) -> io::Result<()> {
    let (name, status) = (check.name.as_str(), check.status.as_str());
    writeln!(out, "  {name:<14} {status:<10} {}", check.message)?;
    match &check.advice {
        Some(advice) => writeln!(out, "  {:<25} {advice}", ""),
        None => Ok(()),
    }
}

#[derive(Debug, Args)]
pub(crate) struct Metrics {
    /// The database's directory.
    db: PathBuf,
    /// For whom; --json answers JSON in any case.
    #[arg(long, value_enum, default_value = "prometheus")]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Prometheus's text format.
    Prometheus,
    /// Lines for StatsD.
    Statsd,
}

pub(crate) fn metrics(metrics: &Metrics, session: &Session) -> Result<Exit, Failure> {
    let db = session.reader(&metrics.db, Texts::Plain)?;
    let now = db.metrics().map_err(Failure::Command)?;
    session.output.print(&now, |out| {
        let text = match metrics.format {
            Format::Prometheus => now.to_prometheus(),
            Format::Statsd => now.to_statsd(),
        };
        out.write_all(text.as_bytes())
    })?;
    Ok(Exit::Fine)
}
