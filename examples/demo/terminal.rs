//! How does it look? Coloured on a terminal, plain everywhere else and where NO_COLOR is set.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Columns of running text.
const WIDTH: usize = 92;

#[derive(Clone)]
pub(crate) struct Screen {
    bars: MultiProgress,
    colours: bool,
    /// Whether bars can be seen.
    live: bool,
}

#[derive(Clone, Copy)]
pub(crate) enum Tone {
    Title,
    Good,
    Bad,
    Accent,
    Faint,
}

impl Screen {
    pub(crate) fn new() -> Self {
        let terminal = io::stdout().is_terminal();
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            bars: MultiProgress::new(),
            colours: terminal && !plain,
            live: terminal && io::stderr().is_terminal(),
        }
    }

    pub(crate) fn paint(&self, tone: Tone, text: &str) -> String {
        if !self.colours {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Title => "1",
            Tone::Good => "32",
            Tone::Bad => "1;31",
            Tone::Accent => "36",
            Tone::Faint => "2",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// A line above the progress bars, if there are any.
    pub(crate) fn say(&self, line: &str) {
        self.bars.suspend(|| println!("{line}"));
    }

    pub(crate) fn act(&self, number: u8, title: &str) {
        let head = format!("{number}  {title}");
        self.say("");
        self.say(&self.paint(Tone::Title, &head));
        self.say(&self.paint(Tone::Faint, &"─".repeat(WIDTH)));
    }

    /// Something that was checked.
    pub(crate) fn check(&self, good: bool, line: &str) {
        let mark = if good {
            self.paint(Tone::Good, "✓")
        } else {
            self.paint(Tone::Bad, "✗")
        };
        self.say(&format!("  {mark} {line}"));
    }

    /// A bar for `total` things; where nobody could see it, a line at every quarter instead.
    pub(crate) fn progress(&self, what: &str, total: u64) -> Progress {
        let bar = self.live.then(|| {
            let bar = self.bars.add(ProgressBar::new(total));
            if let Ok(style) = ProgressStyle::with_template(
                "  {prefix} {bar:40.cyan/dim} {human_pos}/{human_len}  {per_sec}  {eta} left",
            ) {
                bar.set_style(style.progress_chars("━━─"));
            }
            bar.set_prefix(what.to_owned());
            bar
        });
        Progress {
            bar,
            screen: self.clone(),
            what: what.to_owned(),
            total,
            done: 0,
        }
    }
}

pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    screen: Screen,
    what: String,
    total: u64,
    done: u64,
}

impl Progress {
    pub(crate) fn advance(&mut self, by: u64) {
        let quarter = |done: u64| done * 4 / self.total.max(1);
        let (before, after) = (quarter(self.done), quarter(self.done + by));
        self.done += by;
        match &self.bar {
            Some(bar) => bar.inc(by),
            None if after > before => {
                let done = grouped(self.done);
                self.screen.say(&format!(
                    "  {}: {done} of {}",
                    self.what,
                    grouped(self.total)
                ));
            }
            None => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// At most `lines` lines of running text, the later ones indented.
pub(crate) fn wrapped(text: &str, indent: usize, lines: usize) -> String {
    let room = WIDTH.saturating_sub(indent);
    let mut rows = vec![String::new()];
    let mut cut = false;
    for word in text.split_whitespace() {
        let row = rows
            .last_mut()
            .map(|row| row.chars().count())
            .unwrap_or_default();
        if row > 0 && row + 1 + word.chars().count() > room {
            if rows.len() == lines {
                cut = true;
                break;
            }
            rows.push(String::new());
        }
        if let Some(row) = rows.last_mut() {
            if !row.is_empty() {
                row.push(' ');
            }
            row.push_str(word);
        }
    }
    let mut text = rows.join(&format!("\n{}", " ".repeat(indent)));
    if cut {
        text.push_str(" …");
    }
    text
}

/// The beginning of a text, on one line.
pub(crate) fn clipped(text: &str, chars: usize) -> String {
    let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match one_line.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", one_line.get(..end).unwrap_or_default().trim_end()),
        None => one_line,
    }
}

pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(crate) fn count(number: u64, what: &str) -> String {
    format!(
        "{} {what}{}",
        grouped(number),
        if number == 1 { "" } else { "s" }
    )
}

pub(crate) fn duration(took: Duration) -> String {
    match took.as_secs_f64() {
        seconds if seconds >= 10.0 => format!("{seconds:.0} s"),
        seconds if seconds >= 1.0 => format!("{seconds:.1} s"),
        seconds if seconds >= 0.01 => format!("{:.0} ms", seconds * 1e3),
        seconds => format!("{:.2} ms", seconds * 1e3),
    }
}

pub(crate) fn bytes(number: u64) -> String {
    match number {
        0..1_024 => format!("{number} B"),
        1_024..1_048_576 => format!("{:.1} KiB", number as f64 / 1024.0),
        _ => format!("{:.1} MiB", number as f64 / 1_048_576.0),
    }
}
