//! What is left of a database whose writer is killed in the middle of its work?
//!
//! The demo starts itself once more as a victim, which records experiences from many tasks and
//! prints the number and the id of each the moment it is acknowledged. It is killed with SIGKILL,
//! and what it had printed by then must all be there.

use std::{
    io::{self, BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use pulsedb::{CollectiveId, ExperienceId, NewExperience};
use tokio::task::JoinSet;

use crate::{
    Outcome, options,
    store::Store,
    terminal::{Screen, Tone, count, duration, grouped},
};

/// The victim is killed after so many acknowledgements, or after so long.
const ENOUGH: usize = 400;
const LONG_ENOUGH: Duration = Duration::from_secs(5);
/// It has to open the database and load the model first.
const FIRST_SIGN_OF_LIFE: Duration = Duration::from_secs(120);
/// Tasks of the victim that record at the same time, so that it dies with commits under way.
const TASKS: usize = 16;

struct Acknowledged {
    number: u64,
    id: ExperienceId,
}

/// Hands the database to a victim, kills it, opens the database again and looks.
pub(crate) async fn run(store: Store, path: &Path, screen: &Screen) -> Outcome<Store> {
    let collective = store.collective();
    let before = store.stats().await?.experience_count;
    store.close().await?;

    let mut victim = Command::new(std::env::current_exe()?)
        .arg(options::VICTIM)
        .arg(path)
        .arg(collective.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    screen.say(&format!(
        "Another process (pid {}) goes on recording from {TASKS} tasks at once …",
        victim.id()
    ));
    // Killing and waiting block, and so does reading the victim's pipe.
    let acknowledged =
        tokio::task::spawn_blocking(move || kill_in_the_middle(&mut victim)).await??;
    screen.say(&format!(
        "… and is killed with {} after its {}th acknowledgement.\n",
        screen.paint(Tone::Bad, "SIGKILL"),
        grouped(acknowledged.len() as u64)
    ));

    let began = Instant::now();
    let store = Store::open(path, collective).await?;
    screen.check(
        true,
        &format!("opened again in {}", duration(began.elapsed())),
    );
    report(&store, screen).await?;
    compare(&store, &acknowledged, before, screen).await?;
    Ok(store)
}

fn kill_in_the_middle(victim: &mut Child) -> Outcome<Vec<Acknowledged>> {
    let stdout = victim.stdout.take().ok_or("the victim has no output")?;
    let lines = lines_of(stdout);
    let outcome = until_enough(&lines);
    // Child::kill is SIGKILL: no handler, no destructor, no flush runs.
    victim.kill()?;
    victim.wait()?;
    let mut acknowledged = outcome?;
    // What it had printed, but we had not read.
    acknowledged.extend(lines.iter().filter_map(|line| parsed(&line)));
    Ok(acknowledged)
}

fn lines_of(stdout: ChildStdout) -> Receiver<String> {
    let (send, receive) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                break;
            }
        }
    });
    receive
}

fn until_enough(lines: &Receiver<String>) -> Outcome<Vec<Acknowledged>> {
    let mut acknowledged = Vec::new();
    let mut deadline = Instant::now() + FIRST_SIGN_OF_LIFE;
    while acknowledged.len() < ENOUGH {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                if acknowledged.is_empty() {
                    deadline = Instant::now() + LONG_ENOUGH;
                }
                acknowledged.extend(parsed(&line));
            }
            Err(RecvTimeoutError::Timeout) if !acknowledged.is_empty() => break,
            Err(RecvTimeoutError::Timeout) => {
                return Err("the victim did not record anything".into());
            }
            Err(RecvTimeoutError::Disconnected) => return Err("the victim died by itself".into()),
        }
    }
    Ok(acknowledged)
}

fn parsed(line: &str) -> Option<Acknowledged> {
    let (number, id) = line.split_once(' ')?;
    Some(Acknowledged {
        number: number.parse().ok()?,
        id: id.parse().ok()?,
    })
}

async fn report(store: &Store, screen: &Screen) -> Outcome<()> {
    let found = store.recovery().await?;
    let end = if found.clean {
        "a clean end"
    } else {
        "an unclean end, as it should"
    };
    screen.check(
        !found.clean,
        &format!("found {end}; replayed {}", count(found.records, "record")),
    );
    match &found.torn {
        Some((file, offset, dropped)) => {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let cut = format!(
                "cut {} behind the last whole commit",
                count(*dropped, "torn byte")
            );
            screen.check(
                true,
                &format!("{cut} ({name}, offset {})", grouped(*offset)),
            );
        }
        None => screen.check(true, "no torn commit at the end of the log"),
    }
    let damaged = found.damaged.len() as u64;
    screen.check(
        damaged == 0,
        &format!("{} damaged", count(damaged, "record")),
    );
    Ok(())
}

async fn compare(
    store: &Store,
    acknowledged: &[Acknowledged],
    before: u64,
    screen: &Screen,
) -> Outcome<()> {
    let (mut there, mut missing, mut different) = (0_u64, 0_u64, 0_u64);
    for chunk in acknowledged.chunks(256) {
        let ids: Vec<ExperienceId> = chunk.iter().map(|one| one.id).collect();
        let found = store.get(&ids).await?;
        for (one, experience) in chunk.iter().zip(found) {
            match experience {
                None => missing += 1,
                Some(experience) if experience.content != note(one.number) => different += 1,
                Some(_) => there += 1,
            }
        }
    }
    let total = acknowledged.len() as u64;
    let whole = missing == 0 && different == 0 && there == total;
    screen.check(
        whole,
        &format!(
            "{} of {} acknowledged experiences are there, word for word ({missing} missing, {different} different)",
            screen.paint(if whole { Tone::Good } else { Tone::Bad }, &grouped(there)),
            grouped(total)
        ),
    );
    let after = store.stats().await?.experience_count;
    let more = after.checked_sub(before + total);
    screen.check(
        more.is_some(),
        &format!(
            "{} from before are there too, and {} more that were durable but not yet announced",
            grouped(before.min(after.saturating_sub(total))),
            grouped(more.unwrap_or(0))
        ),
    );
    if whole && more.is_some() {
        Ok(())
    } else {
        Err("the database lost something that it had acknowledged".into())
    }
}

/// The life of the victim: record, announce, until killed.
pub(crate) async fn victim(path: &Path, collective: CollectiveId) -> Outcome<()> {
    let store = Store::open(path, collective).await?;
    let next = Arc::new(AtomicU64::new(1));
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (store, next) = (store.clone(), Arc::clone(&next));
        tasks.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let agent = format!("victim-{task}");
                let id = store
                    .record(NewExperience::new(collective, agent, note(number)))
                    .await?;
                // One short line is one write, and a pipe takes it whole or not at all.
                announce(&format!("{number} {id}\n"))?;
            }
        });
    }
    match tasks.join_next().await {
        Some(outcome) => outcome?,
        None => Ok(()),
    }
}

fn announce(line: &str) -> Outcome<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(line.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

/// What the victim learns, from its number alone: short, since it is about commits, not embedding.
fn note(number: u64) -> String {
    const WHERE: [&str; 7] = [
        "checkout", "search", "billing", "login", "upload", "mail", "report",
    ];
    const WHAT: [&str; 5] = [
        "timed out",
        "retried forever",
        "leaked a handle",
        "lost an update",
        "ran twice",
    ];
    const WHY: [&str; 6] = [
        "a lock was held across an await",
        "the cache was never told",
        "two clocks disagreed",
        "the queue had no bound",
        "an error was swallowed",
        "a default was wrong",
    ];
    let pick = |words: &[&'static str]| {
        let index = usize::try_from(number).unwrap_or(0) % words.len();
        words.get(index).copied().unwrap_or_default()
    };
    format!(
        "Case {number}: {} {} because {}.",
        pick(&WHERE),
        pick(&WHAT),
        pick(&WHY)
    )
}
