//! How long until a database of many rows is open and has answered its first read?
//!
//! In a process of its own, which this program starts from itself, after the last one closed the database or was
//! killed in the middle of its work: `SIGKILL` right behind an acknowledged commit, with an eighth of the rows
//! written since the open. The file cache is warm. Ours keeps no graphs here; `vector` opens some.

use std::{
    fmt::Display,
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    str::FromStr,
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};
use pulsedb::{ExperienceId, SyncMode};

use super::{
    BOUND, Bench,
    peers::{Fjall, Keyed, LOAD_BATCH, Lmdb, Redb},
};
use crate::{
    ingest::{DIMENSION, Records, SEGMENT_BYTES},
    ours,
    report::{Report, Target},
    rounds::{Contender, interleave},
};

/// The argument that makes this program be one such process.
pub(crate) const OPEN_STORE: &str = "store-open";

const ENGINES: [&str; 4] = ["ours", "redb", "fjall", "LMDB"];
/// The part of the rows that is written between an open and a kill.
const TAIL_PART: u64 = 8;
/// Beside the database: the id that is read first.
const FIRST_ID: &str = "first-id";

/// Most milliseconds of an open of ours.
const CLOSED_MS: f64 = 5.0;
const KILLED_MS: f64 = 50.0;
const REPLAYED_MS: f64 = 150.0;

pub(super) fn run(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    bench.work.with(|dir| {
        for engine in ENGINES {
            let root = dir.join(engine);
            fs::create_dir(&root)?;
            Session::start(engine, &root, bench.rows)?.close()?;
        }
        let closed = |engine: &'static str| {
            let root = dir.join(engine);
            Contender::new(engine, move || {
                let session = Session::start(engine, &root, 0)?;
                let millis = session.open_ms;
                session.close()?;
                Ok(millis)
            })
        };
        let measured = interleave(
            "open, closed",
            bench.settings.rounds,
            ENGINES.map(closed).into(),
        )?;
        tell(report, bench, "after a clean close", CLOSED_MS, |engine| {
            measured.of(engine)
        })?;

        let root = dir.join("ours");
        let unindexed = Contender::new("ours", || {
            match fs::remove_dir_all(root.join("db").join("index")) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error.into());
                }
                _ => {}
            }
            let session = Session::start("ours", &root, 0)?;
            let millis = session.open_ms;
            session.close()?;
            Ok(millis)
        });
        let measured = interleave(
            "open, without index/",
            bench.settings.rounds,
            vec![unindexed],
        )?;
        report.compare(
            &format!("open and first get, {} rows, index/ removed", bench.rows),
            "ms",
            measured.of("ours")?,
            (BOUND, &[REPLAYED_MS]),
            Some(Target::AtMost(1.0)),
        );

        let tail = bench.rows / TAIL_PART;
        let killed = |engine: &'static str| {
            let root = dir.join(engine);
            Contender::new(engine, move || {
                Session::start(engine, &root, tail)?.kill()?;
                let session = Session::start(engine, &root, 0)?;
                let millis = session.open_ms;
                session.close()?;
                Ok(millis)
            })
        };
        // Each round adds to the rows.
        let measured = interleave(
            "open, killed",
            bench.long_rounds(),
            ENGINES.map(killed).into(),
        )?;
        tell(report, bench, "after SIGKILL", KILLED_MS, |engine| {
            measured.of(engine)
        })
    })
}

fn tell<'m>(
    report: &mut Report,
    bench: &Bench<'_>,
    when: &str,
    bound: f64,
    of: impl Fn(&str) -> Result<&'m [f64]>,
) -> Result<()> {
    let case = format!("open and first get, {} rows, {when}", bench.rows);
    let ours = of("ours")?;
    let most = Some(Target::AtMost(1.0));
    report.compare(&case, "ms", ours, (BOUND, &[bound]), most);
    for peer in ENGINES.into_iter().skip(1) {
        report.compare(&case, "ms", ours, (peer, of(peer)?), None);
    }
    Ok(())
}

/// A process that has a database open.
struct Session {
    child: Child,
    told: BufReader<ChildStdout>,
    open_ms: f64,
}

impl Session {
    /// Starts a process that opens the database, reads a row if there is one, and adds rows durably.
    fn start(engine: &str, root: &Path, add: u64) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(OPEN_STORE)
            .arg(engine)
            .arg(root)
            .arg(add.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let told = child.stdout.take().context("no output")?;
        let mut session = Self {
            child,
            told: BufReader::new(told),
            open_ms: f64::NAN,
        };
        session.open_ms = session.line()?.parse()?;
        ensure!(session.line()? == "ready", "{engine} did not get ready");
        Ok(session)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.told.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    fn close(mut self) -> Result<()> {
        // It goes on when its input ends.
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        ensure!(status.success(), "the process ended with {status}");
        Ok(())
    }

    fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

/// What the other process does: `arguments` are the engine, a folder, and how many rows to add.
pub(crate) fn open_store(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    let engine = arguments.next().context("which engine?")?;
    let root = arguments.next().context("which folder?")?;
    let add = arguments.next().context("how many rows?")?.parse()?;
    let root = Path::new(&root);
    match engine.as_str() {
        "ours" => session_of_ours(root, add),
        "redb" => session::<Redb>(root, add),
        "fjall" => session::<Fjall>(root, add),
        "LMDB" => session::<Lmdb>(root, add),
        other => bail!("no engine is called {other:?}"),
    }
}

fn session<S: Keyed>(root: &Path, add: u64) -> Result<()> {
    let records = Records::new();
    let first: Option<u128> = first_id(root)?;
    let began = Instant::now();
    let mut store = S::open(&root.join("db"))?;
    if let Some(id) = first {
        store.get(id, |record| std::hint::black_box(record.len()))?;
    }
    say(&(began.elapsed().as_secs_f64() * 1e3).to_string())?;
    // Ids that ascend from session to session, as those of ours do.
    let base = u128::from(std::process::id()) << 64 | 1;
    for first in (0..add).step_by(LOAD_BATCH) {
        let batch = first..(first + LOAD_BATCH as u64).min(add);
        store.add(
            batch.map(|n| (base + u128::from(n), records.encoded(n))),
            true,
        )?;
    }
    if first.is_none() {
        keep_id(root, base)?;
    }
    wait()
}

fn session_of_ours(root: &Path, add: u64) -> Result<()> {
    let records = Records::new();
    let first: Option<ExperienceId> = first_id(root)?;
    let config = ours::config(DIMENSION, SEGMENT_BYTES, SyncMode::Normal);
    let began = Instant::now();
    let db = pulsedb::blocking::PulseDB::open(root.join("db"), config)?;
    if let Some(id) = first {
        std::hint::black_box(db.get_experience(id)?);
    }
    say(&(began.elapsed().as_secs_f64() * 1e3).to_string())?;
    let db = ours::Blocking::of(db, &records.texts())?;
    for first_row in (0..add).step_by(LOAD_BATCH) {
        let ids = db.record_batch(first_row, (add - first_row).min(LOAD_BATCH as u64))?;
        if let (None, Some(id)) = (first, ids.first()) {
            keep_id(root, id)?;
        }
    }
    wait()?;
    db.close()
}

fn first_id<T: FromStr>(root: &Path) -> Result<Option<T>>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    match fs::read_to_string(root.join(FIRST_ID)) {
        Ok(text) => Ok(Some(text.parse()?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn keep_id(root: &Path, id: impl Display) -> Result<()> {
    Ok(fs::write(root.join(FIRST_ID), id.to_string())?)
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// Tells that everything is durable, and waits for the end of the input.
fn wait() -> Result<()> {
    say("ready")?;
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}
