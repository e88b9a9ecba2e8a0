//! What do `verify`, `salvage` and `dump` do?

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use pulsedb::{Damage, LogItem, LogOptions, Lsn, SalvageReport, VerifyReport, blocking::PulseDB};

use crate::{
    exit::{Exit, Failure},
    output::Unit,
    session::{Session, Texts},
};

#[derive(Debug, Args)]
pub(crate) struct Dump {
    /// Its directory.
    db: PathBuf,
    /// Begin with this LSN; to go on where an earlier dump ended, one more than its last.
    #[arg(long, value_name = "LSN", default_value_t = 0)]
    from: u64,
    /// End after so many records.
    #[arg(long, value_name = "RECORDS")]
    limit: Option<u64>,
    /// With the texts of experiences.
    #[arg(long)]
    content: bool,
    /// With their vectors.
    #[arg(long)]
    vectors: bool,
}

pub(crate) fn verify(path: &Path, session: &Session) -> Result<Exit, Failure> {
    let db = session.reader(path, Texts::Plain)?;
    let progress = session.output.progress("verify", Unit::Bytes);
    let bar = progress.clone();
    let report = db
        .verify_with(move |now| bar.show(now.bytes, now.total_bytes))
        .map_err(Failure::Command)?;
    drop(progress);
    session
        .output
        .print(&report, |out| print_verify(out, &report))?;
    Ok(Exit::of(report.is_clean()))
}

fn print_verify(out: &mut dyn Write, report: &VerifyReport) -> io::Result<()> {
    writeln!(
        out,
        "{} records in {} segments and {} graphs, {} bytes, up to {}",
        report.records, report.segments, report.graphs, report.bytes, report.cursor
    )?;
    print_damage(out, "damaged", &report.damage)?;
    print_damage(out, "index   ", &report.index_damage)?;
    if report.unlisted > 0 {
        writeln!(out, "and {} faults more", report.unlisted)?;
    }
    for file in &report.leftovers {
        writeln!(out, "left over {}", file.display())?;
    }
    if report.is_clean() {
        writeln!(out, "everything is as it was written")
    } else if report.damage.is_empty() {
        writeln!(out, "nothing is lost: the index is made again from the log")
    } else {
        writeln!(
            out,
            "what is not listed works; `pulsedb salvage` copies it into a new database"
        )
    }
}

fn print_damage(out: &mut dyn Write, kind: &str, list: &[Damage]) -> io::Result<()> {
    for one in list {
        write!(
            out,
            "{kind} {} at byte {}: {}",
            one.file.display(),
            one.offset,
            one.what
        )?;
        match &one.entity {
            Some(entity) => writeln!(out, " ({entity:?})")?,
            None => writeln!(out)?,
        }
    }
    Ok(())
}

pub(crate) fn salvage(path: &Path, dest: &Path, session: &Session) -> Result<Exit, Failure> {
    let progress = session.output.progress("salvage", Unit::Bytes);
    let bar = progress.clone();
    let report = PulseDB::salvage_with(path, dest, move |now| bar.show(now.bytes, now.total_bytes))
        .map_err(Failure::Command)?;
    drop(progress);
    session
        .output
        .print(&report, |out| print_salvage(out, dest, &report))?;
    Ok(Exit::of(report.is_complete()))
}

fn print_salvage(out: &mut dyn Write, dest: &Path, report: &SalvageReport) -> io::Result<()> {
    writeln!(
        out,
        "{}: {} collectives, {} experiences; {} records, {} bytes, out of {} files",
        dest.display(),
        report.collectives,
        report.experiences,
        report.records,
        report.bytes,
        report.segments
    )?;
    let counted = [
        (report.deleted, "records of what was deleted were left out"),
        (report.orphans, "changes of lost experiences were left out"),
        (
            report.unfinished,
            "records of unfinished commits were left out",
        ),
        (report.behind_tear, "records behind a tear were taken"),
        (
            report.redefined.len() as u64,
            "collectives have lost their names",
        ),
    ];
    for (count, what) in counted.iter().filter(|(count, _)| *count > 0) {
        writeln!(out, "{count} {what}")?;
    }
    print_damage(out, "lost", &report.lost)?;
    if report.unlisted > 0 {
        writeln!(out, "and {} losses more", report.unlisted)?;
    }
    for (file, why) in &report.unused {
        writeln!(out, "not used {}: {why}", file.display())?;
    }
    Ok(())
}

pub(crate) fn dump(dump: &Dump, session: &Session) -> Result<Exit, Failure> {
    let db = session.reader(&dump.db, Texts::Plain)?;
    let mut out = session.output.results();
    let mut left = dump.limit.unwrap_or(u64::MAX);
    let mut from = Lsn::new(dump.from);
    let mut exit = Exit::Fine;
    while left > 0 {
        let limit = left.min(LogOptions::MAX_LIMIT as u64);
        let page = db
            .read_log(LogOptions {
                from,
                limit: limit as usize,
                contents: dump.content,
                embeddings: dump.vectors,
            })
            .map_err(Failure::Command)?;
        for item in &page.items {
            if matches!(item, LogItem::Damaged(_)) {
                exit = Exit::Damage;
            }
            serde_json::to_writer(&mut out, item)
                .map_err(io::Error::from)
                .and_then(|()| out.write_all(b"\n"))
                .map_err(Failure::Output)?;
        }
        left -= limit.min(page.items.len() as u64);
        match page.next {
            Some(next) => from = next,
            None => break,
        }
    }
    out.flush().map_err(Failure::Output)?;
    Ok(exit)
}
