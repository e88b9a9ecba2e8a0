//! Where does what a command says go?
//!
//! Results to standard output, either as text or as JSON. Progress to standard error, and only where
//! that is a terminal.

use std::{
    io::{self, BufWriter, StdoutLock, Write},
    sync::Arc,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::exit::{Exit, Failure};

/// How often a second progress is drawn at most.
const DRAWS_PER_SECOND: u8 = 10;

/// What a bar counts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit {
    Bytes,
    Rows,
}

/// What the user asked results to look like.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Standard output, for a command's results.
    pub(crate) fn results(&self) -> BufWriter<StdoutLock<'static>> {
        BufWriter::new(io::stdout().lock())
    }

    /// Prints `value` as one line of JSON where that was asked for; else `text` does the printing.
    pub(crate) fn print<T: serde::Serialize>(
        &self,
        value: &T,
        text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let mut out = self.results();
        let printed = if self.json {
            serde_json::to_writer(&mut out, value)
                .map_err(io::Error::from)
                .and_then(|()| out.write_all(b"\n"))
        } else {
            text(&mut out)
        };
        printed.and_then(|()| out.flush()).map_err(Failure::Output)
    }

    /// A bar that shows how far something has come.
    pub(crate) fn progress(&self, what: &'static str, unit: Unit) -> Progress {
        let target = ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND);
        let bar = ProgressBar::with_draw_target(None, target).with_message(what);
        let style = match unit {
            Unit::Bytes => "{msg}  {bar:30}  {bytes}/{total_bytes}  {bytes_per_sec}, {eta} left",
            Unit::Rows => "{msg}  {bar:30}  {pos}/{len}  {per_sec}, {eta} left",
        };
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Progress(Arc::new(bar))
    }

    pub(crate) fn error(&self, failure: &Failure) {
        if failure.exit() == Exit::Fine {
            return;
        }
        eprintln!("pulsedb: {failure}");
        if let Some(advice) = failure.advice() {
            eprintln!("pulsedb: {advice}");
        }
    }
}

/// A bar, gone from the terminal when it is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Progress(Arc<ProgressBar>);

impl Progress {
    /// Says what it is about now.
    #[cfg(feature = "hub")]
    pub(crate) fn about(&self, what: &'static str) {
        self.0.set_message(what);
    }

    /// Shows so many of all.
    pub(crate) fn show(&self, done: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if Arc::strong_count(&self.0) == 1 {
            self.0.finish_and_clear();
        }
    }
}
