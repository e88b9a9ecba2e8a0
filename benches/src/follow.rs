//! How long until another process has heard of a commit?
//!
//! A writer in a process of its own, which this program starts from itself, records an experience every
//! millisecond and leaves the moments at which each was durable in a file. A reader here watches.
//! Beside it, in the same round: a process that overwrites 16 bytes of a file, and a thread here that a bare
//! inotify wakes. Ours is the way from the sync of the log to the event in the hands of the watcher; theirs is the
//! wake-up alone. What a task of a runtime waits for takes one wake-up more, and is shown beside.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader},
    mem::MaybeUninit,
    os::unix::fs::FileExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use pulsedb::{
    Config, EmbeddingDimension, NewExperience, PulseDB, WatchEvent, blocking, sim::OsEnv,
};
use rustix::fs::inotify;

use crate::{
    durable::{Noting, now},
    ingest,
    report::{Report, Target, median},
    rounds::{Contender, interleave},
    settings::Settings,
    workdir::WorkDir,
};

/// The argument that makes this program be the process that writes.
pub(crate) const FOLLOWED: &str = "follow-write";

/// Pause between two commits.
const PACE: Duration = Duration::from_millis(1);
const DIMENSION: usize = 16;
/// When each commit was durable, eight bytes a number; beside the database's own files.
const MOMENTS: &str = "moments";

const OURS: &str = "PulseDB";
const TASK: &str = "PulseDB, a task";
const BARE: &str = "bare inotify";

pub(crate) fn run(settings: &Settings) -> Result<()> {
    let header = vec![format!(
        "microseconds from durable in one process to the event in another; a commit every {} ms",
        PACE.as_millis()
    )];
    let mut report = Report::new("follow", settings, header);
    let work = WorkDir::new(&settings.dir)?;
    let measured = interleave(
        "follow",
        settings.rounds,
        vec![
            Contender::new(OURS, || work.with(|dir| followed(dir, settings, thread))),
            Contender::new(TASK, || work.with(|dir| followed(dir, settings, task))),
            Contender::new(BARE, || work.with(|dir| bare(dir, settings))),
        ],
    )?;
    for (case, name, part, target) in [
        (OURS, "p50", 50, Some(Target::AtMost(3.0))),
        (OURS, "p99", 99, None),
        (TASK, "p50, by a task", 50, None),
        (TASK, "p99, by a task", 99, None),
    ] {
        let of = |contender| -> Result<Vec<f64>> {
            let rounds = measured.of(contender)?.iter();
            Ok(rounds.map(|waits| percentile(waits, part)).collect())
        };
        report.compare(name, "µs", &of(case)?, (BARE, &of(BARE)?), target);
    }
    report.finish()
}

/// The life of the process that writes: `bare DIR` or `db DIR`, until it is killed.
pub(crate) fn written(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    let (Some(what), Some(dir)) = (arguments.next(), arguments.next()) else {
        bail!("{FOLLOWED} wants `bare` or `db`, and a folder");
    };
    let dir = Path::new(&dir);
    if what == "bare" {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(dir.join("file"))?;
        file.write_all_at(&[0; 16], 0)?;
        println!("ready");
        loop {
            thread::sleep(PACE);
            file.write_all_at(&u128::from(now()).to_le_bytes(), 0)?;
        }
    }
    let files = Noting::default();
    let opened = blocking::PulseDB::from(ingest::runtime()?.block_on(PulseDB::open_simulated(
        dir,
        config(),
        files.clone(),
        OsEnv,
    ))?);
    let team = opened.create_collective("team")?;
    let moments = File::create(dir.join(MOMENTS))?;
    println!("ready");
    for number in 0_u64.. {
        opened.record_experience(NewExperience {
            embedding: Some(vec![0.5; DIMENSION]),
            ..NewExperience::new(team, "writer", number.to_string())
        })?;
        let durable = files.synced();
        // As the bare one does: whoever was woken may have this core.
        thread::sleep(PACE);
        moments.write_all_at(&durable.to_le_bytes(), number * 8)?;
    }
    Ok(())
}

fn config() -> Config {
    Config {
        // Nobody but the one who records syncs a file of the log.
        segment_pool: 0,
        ..Config::external(EmbeddingDimension::Custom(DIMENSION))
    }
}

/// A number and when it was heard.
type Heard = Vec<(u64, u64)>;

/// From when each was durable to when `hear` had it, in microseconds.
fn followed(
    dir: &Path,
    settings: &Settings,
    hear: impl FnOnce(&Path, &Settings) -> Result<Heard>,
) -> Result<Vec<f64>> {
    let mut writer = Writer::start("db", dir)?;
    let mut heard = hear(dir, settings)?;
    // The moment of the last one may not be in the file yet.
    heard.pop();
    writer.end()?;
    let moments = File::open(dir.join(MOMENTS))?;
    let wait = |(number, heard): (u64, u64)| {
        let mut durable = [0; 8];
        moments.read_exact_at(&mut durable, number * 8)?;
        Ok(heard.saturating_sub(u64::from_le_bytes(durable)) as f64 / 1e3)
    };
    heard.into_iter().map(wait).collect()
}

/// A thread that waits.
fn thread(dir: &Path, settings: &Settings) -> Result<Heard> {
    let reader = blocking::PulseDB::open_read_only(dir, config())?;
    let team = reader.list_collectives()?.pop().context("no collective")?;
    let mut events = reader.watch_experiences(team.id)?;
    let mut heard = Heard::new();
    let started = Instant::now();
    while started.elapsed() < settings.warm_up() + settings.measure {
        let event = events.recv().context("the stream ended")??;
        heard.push((number(&event)?, now()));
    }
    reader.close()?;
    Ok(behind_warm_up(heard, settings))
}

/// A task of a runtime.
fn task(dir: &Path, settings: &Settings) -> Result<Heard> {
    let runtime = ingest::runtime()?;
    let reader = runtime.block_on(PulseDB::open_read_only(dir, config()))?;
    let time = settings.warm_up() + settings.measure;
    let hears = runtime.spawn(async move {
        let team = reader.list_collectives().await?.pop();
        let mut events = reader
            .watch_experiences(team.context("no collective")?.id)
            .await?;
        let mut heard = Heard::new();
        let started = Instant::now();
        while started.elapsed() < time {
            let event = events.recv().await.context("the stream ended")??;
            heard.push((number(&event)?, now()));
        }
        reader.close().await?;
        anyhow::Ok(heard)
    });
    Ok(behind_warm_up(runtime.block_on(hears)??, settings))
}

fn number(event: &WatchEvent) -> Result<u64> {
    let one = event.experience.as_ref().context("no experience")?;
    Ok(one.content.parse()?)
}

fn behind_warm_up(mut heard: Heard, settings: &Settings) -> Heard {
    let first = heard.first().map_or(0, |(_, moment)| *moment);
    heard.retain(|(_, moment)| moment - first > settings.warm_up().as_nanos() as u64);
    heard
}

fn bare(dir: &Path, settings: &Settings) -> Result<Vec<f64>> {
    let mut writer = Writer::start("bare", dir)?;
    let file = File::open(dir.join("file"))?;
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC)?;
    inotify::add_watch(&watch, dir.join("file"), inotify::WatchFlags::MODIFY)?;
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(&watch, &mut buffer);
    let waits = timed(settings, || {
        events.next()?;
        let mut moment = [0; 16];
        file.read_exact_at(&mut moment, 0)?;
        Ok(u128::from_le_bytes(moment) as u64)
    });
    writer.end()?;
    waits
}

/// Microseconds since each moment that `next` hands out, after a while to warm up.
fn timed(settings: &Settings, mut next: impl FnMut() -> Result<u64>) -> Result<Vec<f64>> {
    let started = Instant::now();
    let mut waits = Vec::new();
    while started.elapsed() < settings.warm_up() + settings.measure {
        let moment = next()?;
        let wait = now().saturating_sub(moment);
        if started.elapsed() > settings.warm_up() {
            waits.push(wait as f64 / 1e3);
        }
    }
    Ok(waits)
}

fn percentile(waits: &[f64], part: usize) -> f64 {
    if part == 50 {
        return median(waits);
    }
    let mut sorted = waits.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() * part / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

struct Writer(Child);

impl Writer {
    fn start(what: &str, dir: &Path) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([FOLLOWED, what])
            .arg(dir)
            .stdout(Stdio::piped())
            .spawn()?;
        let told = child.stdout.take().context("no pipe")?;
        let mut line = String::new();
        BufReader::new(told).read_line(&mut line)?;
        if line != "ready\n" {
            bail!("the writer said {line:?}");
        }
        Ok(Self(child))
    }

    fn end(&mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // After an error of the bench nobody else would.
        let _ = self.end();
    }
}
