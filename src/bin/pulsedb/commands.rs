//! What does each command do?

use std::{
    io::{self, Write},
    path::Path,
};

use pulsedb::{
    Config, Damage, Diagnosis, EmbeddingDimension, LogItem, LogOptions, Lsn, SalvageReport,
    VerifyReport, blocking::PulseDB,
};

use crate::{
    arguments::Dump,
    exit::{Exit, Failure},
    output::Output,
};

/// Opens for reading: nothing is changed, and a writer may be at work.
pub(crate) fn open(path: &Path) -> Result<PulseDB, Failure> {
    // Reading asks neither for vectors nor for their dimension.
    let config = Config {
        read_threads: 1,
        ..Config::external(EmbeddingDimension::D384)
    };
    PulseDB::open_read_only(path, config).map_err(|error| Failure::Open(path.to_owned(), error))
}

pub(crate) fn info(path: &Path, output: &Output) -> Result<Exit, Failure> {
    let db = open(path)?;
    let diagnosis = db.diagnose().map_err(Failure::Command)?;
    output.print(&diagnosis, |out| print_info(out, &diagnosis))?;
    let recovery = &diagnosis.health.recovery;
    Ok(if recovery.damaged.is_empty() {
        Exit::Fine
    } else {
        Exit::Damage
    })
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

pub(crate) fn verify(path: &Path, output: &Output) -> Result<Exit, Failure> {
    let db = open(path)?;
    let progress = output.progress("verify");
    let bar = progress.clone();
    let report = db
        .verify_with(move |now| bar.show(now))
        .map_err(Failure::Command)?;
    drop(progress);
    output.print(&report, |out| print_verify(out, &report))?;
    Ok(if report.is_clean() {
        Exit::Fine
    } else {
        Exit::Damage
    })
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

pub(crate) fn compact(path: &Path, output: &Output) -> Result<Exit, Failure> {
    // Only a reader refuses to make a database where there is none.
    drop(open(path)?);
    let config = Config {
        read_threads: 1,
        ..Config::external(EmbeddingDimension::D384)
    };
    let opened = PulseDB::open(path, config);
    let db = opened.map_err(|error| Failure::Open(path.to_owned(), error))?;
    let before = db.fragmentation().map_err(Failure::Command)?;
    let report = db.compact().map_err(Failure::Command)?;
    db.close().map_err(Failure::Command)?;
    output.print(&report, |out| {
        writeln!(
            out,
            "{} of {} bytes of records were needed by nobody",
            before.bytes - before.live_bytes,
            before.bytes
        )?;
        writeln!(
            out,
            "{} segments rewritten, {} bytes of files before, {} now",
            report.segments_rewritten, report.bytes_before, report.bytes_after
        )?;
        for (file, at, what) in &report.damaged {
            writeln!(
                out,
                "left as it is: {} at byte {at}: {what}",
                file.display()
            )?;
        }
        Ok(())
    })?;
    Ok(if report.damaged.is_empty() {
        Exit::Fine
    } else {
        Exit::Damage
    })
}

pub(crate) fn salvage(path: &Path, dest: &Path, output: &Output) -> Result<Exit, Failure> {
    let progress = output.progress("salvage");
    let bar = progress.clone();
    let report =
        PulseDB::salvage_with(path, dest, move |now| bar.show(now)).map_err(Failure::Command)?;
    drop(progress);
    output.print(&report, |out| print_salvage(out, dest, &report))?;
    Ok(if report.is_complete() {
        Exit::Fine
    } else {
        Exit::Damage
    })
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

pub(crate) fn dump(dump: &Dump, output: &Output) -> Result<Exit, Failure> {
    let db = open(&dump.db)?;
    let mut out = output.results();
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
