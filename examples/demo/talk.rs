//! What would the person at the terminal like to know?
//!
//! Lines are questions; a line that begins with `+` is remembered, and the watcher tells of it.
//! Piped lines work as well.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, channel},
    },
    thread,
    time::Duration,
};

use pulsedb::NewExperience;

use crate::{
    Outcome, ingest,
    questions::{self, Question},
    store::Store,
    terminal::{Screen, Tone},
};

/// How long to wait for the first line where nobody sits at a terminal: long enough for a pipe,
/// too short to hang a script that left its input open.
const PIPE_PATIENCE: Duration = Duration::from_secs(2);

pub(crate) async fn run(store: &Store, screen: &Screen) -> Outcome<()> {
    let terminal = io::stdin().is_terminal();
    let lines = typed_lines();
    let heard = ingest::watch(store.watch().await?, 1, screen.clone());
    if terminal {
        screen.say("Ask something. `+ text` remembers text; an empty line ends.\n");
    } else {
        screen.say("Questions can be piped in, one on each line; `+ text` remembers text.");
    }
    loop {
        if terminal {
            print!("{} ", screen.paint(Tone::Accent, "›"));
            io::stdout().flush()?;
        }
        let Some(line) = next_line(&lines, terminal) else {
            break;
        };
        let line = line.trim();
        if line.is_empty() {
            if terminal {
                break;
            }
            continue;
        }
        let outcome = match line.strip_prefix('+') {
            Some(text) => remember(store, text.trim(), &heard).await,
            None => {
                let question = Question {
                    text: line.to_owned(),
                    only: Vec::new(),
                };
                questions::ask(store, &question, screen).await
            }
        };
        // A refusal (an empty text, say) is told, and the talk goes on.
        if let Err(error) = outcome {
            screen.check(false, &error.to_string());
        }
        screen.say("");
    }
    Ok(())
}

/// Records, and waits for the watcher's line, so that it stands above the next prompt.
async fn remember(store: &Store, text: &str, heard: &AtomicU64) -> Outcome<()> {
    let before = heard.load(Ordering::Relaxed);
    store
        .record(NewExperience::new(store.collective(), "you", text))
        .await?;
    ingest::all_heard(heard, before + 1).await;
    Ok(())
}

/// Blocks the thread of `main`, which is no worker of the runtime: the watcher goes on.
fn next_line(lines: &Receiver<String>, terminal: bool) -> Option<String> {
    if terminal {
        lines.recv().ok()
    } else {
        lines.recv_timeout(PIPE_PATIENCE).ok()
    }
}

/// Reads on a thread of its own, which may be left waiting at the end.
fn typed_lines() -> Receiver<String> {
    let (send, receive) = channel();
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                break;
            }
        }
    });
    receive
}
