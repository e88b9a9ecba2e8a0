//! How is a result told: as a table for people, and as JSON for whoever compares runs?
//!
//! Ours and theirs are medians over the rounds, and the ratio is the ratio of the two. The table adds the
//! spread (lowest to highest round) of each, and of the ratio within single rounds.

use std::{fmt, fs};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::settings::{Settings, results_dir};

/// What the ratio `ours / theirs` has to reach.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// Where more is better.
    AtLeast(f64),
    /// Where less is better.
    AtMost(f64),
}

impl Target {
    fn is_met(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(bound) => ratio >= bound,
            Self::AtMost(bound) => ratio <= bound,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(f, ">= {bound}"),
            Self::AtMost(bound) => write!(f, "<= {bound}"),
        }
    }
}

/// One line of `target/bench/NAME.json`.
#[derive(Serialize)]
struct Row {
    case: String,
    ours: f64,
    unit: &'static str,
    peer: String,
    theirs: f64,
    ratio: f64,
    target: Option<String>,
    met: Option<bool>,
}

/// A table in the making.
pub(crate) struct Report {
    name: &'static str,
    header: Vec<String>,
    rows: Vec<Row>,
    cells: Vec<Vec<String>>,
    extra: Vec<(String, Vec<Vec<String>>)>,
}

impl Report {
    /// Prints the header at once, so that a long run shows where it runs.
    pub(crate) fn new(name: &'static str, settings: &Settings, mut header: Vec<String>) -> Self {
        header.push(format!(
            "{} interleaved rounds of {:.2} s per contender; medians (lowest–highest round)",
            settings.rounds,
            settings.measure.as_secs_f64()
        ));
        if settings.is_smoke() {
            header.push("SMOKE RUN: too short for its numbers to mean anything".into());
        }
        for line in &header {
            println!("{line}");
        }
        let titles = ["case", "ours", "peer", "theirs", "ratio", "target", "met"];
        Self {
            name,
            header,
            rows: Vec::new(),
            cells: vec![titles.map(str::to_owned).to_vec()],
            extra: Vec::new(),
        }
    }

    /// Adds a comparison; the samples of both are in the order of the rounds.
    pub(crate) fn compare(
        &mut self,
        case: &str,
        unit: &'static str,
        ours: &[f64],
        (peer, theirs): (&str, &[f64]),
        target: Option<Target>,
    ) {
        let (mine, other) = (median(ours), median(theirs));
        let ratio = mine / other;
        let within: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a / b).collect();
        let met = target.map(|target| target.is_met(ratio));
        self.cells.push(vec![
            case.to_owned(),
            format!("{} {unit}", spread(ours)),
            peer.to_owned(),
            spread(theirs),
            // The median of the ratios within rounds is not the ratio of the medians, which is judged.
            format!("{} {}", number(ratio), range(&within)),
            target.map_or_else(|| "–".into(), |target| target.to_string()),
            met.map_or("–", |met| if met { "yes" } else { "NO" })
                .to_owned(),
        ]);
        self.rows.push(Row {
            case: case.to_owned(),
            ours: rounded(mine),
            unit,
            peer: peer.to_owned(),
            theirs: rounded(other),
            ratio: rounded(ratio),
            target: target.map(|target| target.to_string()),
            met,
        });
    }

    /// Adds a line to the header that is only known now.
    pub(crate) fn note(&mut self, line: String) {
        if !self.header.contains(&line) {
            self.header.push(line);
        }
    }

    /// Adds a table of its own; the first row holds its titles. It is printed, not written as JSON.
    pub(crate) fn table(&mut self, title: &str, cells: Vec<Vec<String>>) {
        self.extra.push((title.to_owned(), cells));
    }

    /// Prints the table and writes the JSON file.
    pub(crate) fn finish(self) -> Result<()> {
        println!("\n# {}\n", self.name);
        for line in &self.header {
            println!("{line}");
        }
        println!();
        print_table(&self.cells);
        for (title, cells) in &self.extra {
            println!("\n{title}\n");
            print_table(cells);
        }
        let judged = self.rows.iter().filter_map(|row| row.met);
        let (all, met) = judged.fold((0, 0), |(all, met), ok| (all + 1, met + usize::from(ok)));
        println!("\n{met} of {all} targets met");
        let dir = results_dir();
        fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        let file = dir.join(format!("{}.json", self.name));
        let json = serde_json::to_string_pretty(&self.rows)? + "\n";
        fs::write(&file, json).with_context(|| file.display().to_string())?;
        println!("written: target/bench/{}.json", self.name);
        Ok(())
    }
}

/// The middle of the samples; of an even number, the mean of the middle two.
pub(crate) fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.len() / 2;
    let at = |i: usize| sorted.get(i).copied().unwrap_or(f64::NAN);
    if sorted.len().is_multiple_of(2) && upper > 0 {
        f64::midpoint(at(upper - 1), at(upper))
    } else {
        at(upper)
    }
}

/// Median with its spread, short enough for a cell.
pub(crate) fn spread(samples: &[f64]) -> String {
    format!("{} {}", number(median(samples)), range(samples))
}

fn range(samples: &[f64]) -> String {
    let low = samples.iter().copied().fold(f64::NAN, f64::min);
    let high = samples.iter().copied().fold(f64::NAN, f64::max);
    format!("({}–{})", number(low), number(high))
}

fn number(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.2} M", v / 1e6),
        v if v >= 1e5 => format!("{:.0} K", v / 1e3),
        v if v >= 1e4 => format!("{:.1} K", v / 1e3),
        v if v >= 1e2 => format!("{v:.0}"),
        v if v >= 1e1 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn print_table(cells: &[Vec<String>]) {
    let columns = cells.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let lengths = cells.iter().filter_map(|row| row.get(column));
        lengths.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    for (i, row) in cells.iter().enumerate() {
        let padded = row
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:<width$}"));
        println!("| {} |", padded.collect::<Vec<_>>().join(" | "));
        if i == 0 {
            let rule = widths.iter().map(|&width| "-".repeat(width));
            println!("| {} |", rule.collect::<Vec<_>>().join(" | "));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn median_of_odd_even_and_none() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn targets_judge_the_right_way_round() {
        assert!(Target::AtLeast(0.8).is_met(0.8) && !Target::AtLeast(0.8).is_met(0.79));
        assert!(Target::AtMost(1.2).is_met(1.2) && !Target::AtMost(1.2).is_met(1.21));
        assert!(!Target::AtLeast(0.8).is_met(f64::NAN) && !Target::AtMost(1.0).is_met(f64::NAN));
    }
}
