//! What is PulseDB like to use? A database of real developer texts, from empty to killed and back.
//!
//! `cargo xtask demo` reads the crates in the local cargo registry, `cargo xtask demo DIR` the
//! Markdown and git history of DIR. Five acts: read, remember (with a watcher listening), ask, kill
//! a writer in the middle of its work, and talk. All that the demo asks of PulseDB is in `store.rs`.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal"
)]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the lists of clippy.toml are about the library"
)]

mod crash;
mod ingest;
mod options;
mod passage;
mod questions;
mod sources;
mod store;
mod talk;
mod terminal;
mod texts;
mod typed;

use std::{
    error::Error,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use options::{Mode, Options};
use store::Store;
use terminal::{Screen, duration};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    let outcome = options::parse(std::env::args().skip(1)).and_then(|mode| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        match mode {
            Mode::Help => {
                println!("{}", options::HELP);
                Ok(())
            }
            Mode::Play(options) => runtime.block_on(play(&options)),
            Mode::Victim { path, collective } => runtime.block_on(crash::victim(&path, collective)),
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\ndemo: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn play(options: &Options) -> Outcome<()> {
    let screen = Screen::new();

    screen.act(1, "Reading");
    let found = sources::read(options.dir.as_deref(), options.limit, &screen)?;

    screen.act(2, "Remembering");
    let home = fresh_directory()?;
    let path = home.join("memory");
    let began = Instant::now();
    let store = Store::create(&path).await?;
    screen.say(&format!(
        "An empty database, made in {}:",
        duration(began.elapsed())
    ));
    screen.say(&format!("  {}", path.display()));
    ingest::run(&store, &found.passages, &screen).await?;

    screen.act(3, "Asking");
    questions::run(&store, &found.questions, &screen).await?;

    screen.act(4, "Killing it");
    let store = crash::run(store, &path, &screen).await?;

    screen.act(5, "Talking");
    talk::run(&store, &screen).await?;
    store.close().await?;

    if options.keep {
        screen.say(&format!("The database stays in {}", path.display()));
    } else {
        std::fs::remove_dir_all(&home)?;
        screen.say("The database is removed again; --keep leaves it there.");
    }
    Ok(())
}

/// A new directory below cargo's target directory, so that syncing means a real disk (the
/// system's temporary directory is often in memory).
fn fresh_directory() -> Outcome<PathBuf> {
    let exe = std::env::current_exe()?;
    let target = exe
        .ancestors()
        .find(|dir| dir.ends_with("release") || dir.ends_with("debug"))
        .and_then(Path::parent)
        .map_or_else(std::env::temp_dir, Path::to_path_buf);
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let dir = target
        .join("demo")
        .join(format!("{now}-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}
