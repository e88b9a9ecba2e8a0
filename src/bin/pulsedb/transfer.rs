//! What do `export` and `import` do?

use std::{
    fs,
    io::{self, BufRead, BufReader, BufWriter, Read, Write},
    iter,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use clap::{Args, ValueEnum};
use pulsedb::{
    CollectiveId, Existing, ExportOptions, ImportOptions, ImportReport, blocking::PulseDB,
};
use serde::Serialize;

use crate::{
    exit::{Exit, Failure},
    output::{Progress, Unit},
    session::{self, Session, Texts, finish},
};

/// Lines between two looks at the bar.
const LINES_SHOWN: u64 = 256;

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The database's directory.
    db: PathBuf,
    /// The collective: its name, or its id.
    collective: String,
    /// A file that does not exist; by default standard output.
    file: Option<PathBuf>,
    /// Without the vectors: only a store that embeds texts itself can import that.
    #[arg(long)]
    no_vectors: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The database's directory.
    db: PathBuf,
    /// The export; `-` for standard input. A file is first read and compared with its checksum, before anything is
    /// written.
    file: PathBuf,
    /// Into this collective, by name or id; by default into the one that the lines come from, made if there is none.
    #[arg(long)]
    collective: Option<String>,
    /// What becomes of an experience that is there already.
    #[arg(long, value_enum, default_value = "merge")]
    existing: Known,
    /// Only read and compare; write nothing.
    #[arg(long)]
    check: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Known {
    /// Counts of applications merge; everything else comes from the one that changed last.
    Merge,
    /// It stays as it is.
    Skip,
    /// It becomes what the import says.
    Overwrite,
}

#[derive(Debug, Serialize)]
struct Exported {
    collective: CollectiveId,
    lines: u64,
    bytes: u64,
    /// What damage left out.
    unreadable: u64,
}

pub(crate) fn export(export: &Export, session: &Session) -> Result<Exit, Failure> {
    let db = session.reader(&export.db, Texts::Plain)?;
    let collective = session::collective(&db, &export.collective)?;
    let Some(path) = &export.file else {
        let out = session.output.results();
        let exported = write(export, &db, collective.id, out, None, Failure::Output)?;
        return Ok(exported.exit());
    };
    let stats = db
        .get_collective_stats(collective.id)
        .map_err(Failure::Command)?;
    let rows = stats.experience_count + stats.insight_count + stats.relation_count;
    let progress = session.output.progress("export", Unit::Rows);
    let failed = |error| Failure::Input(path.clone(), error);
    let file = create(path).map_err(failed)?;
    let out = BufWriter::new(&file);
    let shown = Some((&progress, rows));
    let exported = write(export, &db, collective.id, out, shown, failed)?;
    file.sync_all().map_err(failed)?;
    drop(progress);
    session.output.print(&exported, |out| {
        let Exported { lines, bytes, .. } = exported;
        writeln!(out, "{}: {lines} lines, {bytes} bytes", path.display())
    })?;
    Ok(exported.exit())
}

impl Exported {
    /// Says on standard error what is missing, if something is.
    fn exit(&self) -> Exit {
        if self.unreadable > 0 {
            eprintln!(
                "pulsedb: damage left {} out of the export; `pulsedb verify` names it",
                self.unreadable
            );
        }
        Exit::of(self.unreadable == 0)
    }
}

/// What the last line of an export says was left out.
fn unreadable(end: &str) -> u64 {
    let end = serde_json::from_str::<serde_json::Value>(end).ok();
    let count = end.and_then(|line| line.pointer("/end/counts/unreadable")?.as_u64());
    count.unwrap_or(0)
}

/// What was written.
fn write(
    export: &Export,
    db: &PulseDB,
    collective: CollectiveId,
    mut out: impl Write,
    progress: Option<(&Progress, u64)>,
    failed: impl Fn(io::Error) -> Failure,
) -> Result<Exported, Failure> {
    let options = ExportOptions {
        vectors: !export.no_vectors,
    };
    let (mut lines, mut bytes, mut last) = (0, 0, String::new());
    let exported = db.export(collective, options);
    for line in exported.map_err(Failure::Command)? {
        let line = line.map_err(Failure::Command)?;
        writeln!(out, "{line}").map_err(&failed)?;
        lines += 1;
        bytes += line.len() as u64 + 1;
        if let Some((progress, rows)) = progress
            && lines % LINES_SHOWN == 0
        {
            progress.show(lines, rows);
        }
        last = line;
    }
    out.flush().map_err(&failed)?;
    Ok(Exported {
        collective,
        lines,
        bytes,
        unreadable: unreadable(&last),
    })
}

pub(crate) fn import(import: &Import, session: &Session) -> Result<Exit, Failure> {
    let from_file = import.file.as_os_str() != "-";
    let mut piped = (!from_file).then(|| BufReader::new(io::stdin()).lines());
    let first = match &mut piped {
        Some(lines) => lines.next(),
        None => {
            let file = open(&import.file).map_err(|error| unread(import, error))?;
            BufReader::new(file).lines().next()
        }
    };
    let first = first
        .transpose()
        .map_err(|error| unread(import, error))?
        .unwrap_or_default();
    // Vectors go in as they are, whoever made them; what comes without is embedded.
    let texts = match has_vectors(&first) {
        true => Texts::Plain,
        false => Texts::Embedded,
    };
    let db = if import.check {
        session.reader(&import.db, texts)?
    } else {
        session.writer(&import.db, texts)?
    };
    let work = || {
        if let Some(lines) = piped {
            let lines = iter::once(Ok(first)).chain(lines);
            return take(import, import.check, &db, lines);
        }
        if !import.check {
            take_file(import, true, "check", &db, session)?;
        }
        take_file(import, import.check, "import", &db, session)
    };
    let report = finish(&db, work())?;
    session.output.print(&report, |out| {
        writeln!(
            out,
            "{}: {} experiences, {} insights, {} relations read",
            report.collective_id,
            report.read.experiences,
            report.read.insights,
            report.read.relations
        )?;
        if report.read.unreadable > 0 {
            writeln!(
                out,
                "{} more were damaged where they come from, and are not in it",
                report.read.unreadable
            )?;
        }
        if import.check {
            return writeln!(out, "they are as they were exported; nothing was written");
        }
        writeln!(
            out,
            "{} are new, {} changed, {} are as they were",
            report.created, report.changed, report.unchanged
        )
    })?;
    Ok(Exit::Fine)
}

/// Whether the export that begins so comes with vectors; what is no export is the import's to refuse.
fn has_vectors(header: &str) -> bool {
    let header = serde_json::from_str::<serde_json::Value>(header).ok();
    let vectors = header.and_then(|line| line.pointer("/header/vectors")?.as_bool());
    vectors.unwrap_or(true)
}

fn unread(import: &Import, error: io::Error) -> Failure {
    Failure::Input(import.file.clone(), error)
}

/// Reads the lines of a file once.
fn take_file(
    import: &Import,
    check_only: bool,
    what: &'static str,
    db: &PulseDB,
    session: &Session,
) -> Result<ImportReport, Failure> {
    let file = open(&import.file).map_err(|error| unread(import, error))?;
    let total = file
        .metadata()
        .map_err(|error| unread(import, error))?
        .len();
    let progress = session.output.progress(what, Unit::Bytes);
    let read = Arc::new(AtomicU64::new(0));
    let counted = Counted(file, Arc::clone(&read));
    let lines = BufReader::new(counted)
        .lines()
        .inspect(move |_| progress.show(read.load(Ordering::Relaxed), total));
    take(import, check_only, db, lines)
}

fn take(
    import: &Import,
    check_only: bool,
    db: &PulseDB,
    lines: impl Iterator<Item = io::Result<String>> + Send + Unpin,
) -> Result<ImportReport, Failure> {
    let collective = match &import.collective {
        Some(called) => Some(session::collective(db, called)?.id),
        None => None,
    };
    let options = ImportOptions {
        existing: match import.existing {
            Known::Merge => Existing::Merge,
            Known::Skip => Existing::Skip,
            Known::Overwrite => Existing::Overwrite,
        },
        check_only,
    };
    db.import(collective, lines, options)
        .map_err(Failure::Command)
}

/// A file, and how much of it was read.
struct Counted(fs::File, Arc<AtomicU64>);

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buffer)?;
        self.1.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a file that the user named, not one of a database"
)]
fn open(path: &Path) -> io::Result<fs::File> {
    fs::File::open(path)
}

#[allow(
    clippy::disallowed_methods,
    reason = "a file that the user named, not one of a database"
)]
fn create(path: &Path) -> io::Result<fs::File> {
    fs::File::create_new(path)
}
