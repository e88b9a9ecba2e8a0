//! Which lines does an export consist of?
//!
//! JSON lines, for other programs as much as for an import: a header that says whose collective follows,
//! one line per thing in it, and an end with counts and the SHA-256 of all lines before it, each with one
//! line feed behind it. A line is an object whose only key says what it is. Numbers of 32 bits are written
//! so that they come back bit for bit.
//!
//! Pure: `read` writes lines, `write` reads them. More things to transfer are more variants of [`Line`],
//! with a count each in [`ExportCounts`].

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    error::{PulseDBError, Result},
    model::{Collective, DerivedInsight, Experience, ExperienceRelation, ExportCounts, InstanceId},
};

/// What the header says first.
const FORMAT: &str = "pulsedb-export";
/// The version that this build writes, and the newest that it reads.
const VERSION: u32 = 1;
/// Most bytes of a line: several times the longest that an experience within its limits makes.
pub const MAX_LINE_BYTES: usize = 8 * 1024 * 1024;

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// The first.
    Header(Box<Header>),
    /// An experience; without a vector where the export has none.
    Experience(Box<Experience>),
    /// An insight, behind all experiences; as those, without a vector where the export has none.
    Insight(Box<DerivedInsight>),
    /// A relation, behind all experiences.
    Relation(Box<ExperienceRelation>),
    /// The last.
    End(End),
}

impl Line {
    /// Whether it is one of what is exported.
    #[must_use]
    pub const fn is_content(&self) -> bool {
        !matches!(self, Self::Header(_) | Self::End(_))
    }
}

/// What an export is, and of what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    format: String,
    version: u32,
    /// The database that it comes from.
    pub instance: InstanceId,
    /// Whether experiences come with their vectors.
    pub vectors: bool,
    /// The collective as it was then.
    pub collective: Collective,
}

/// What stood before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// How much of what.
    pub counts: ExportCounts,
    /// The SHA-256 of all lines before this one, in hex.
    pub sha256: String,
}

/// What the lines so far come to.
#[derive(Clone, Default)]
struct Sum {
    counts: ExportCounts,
    hasher: Sha256,
}

impl Sum {
    fn add(&mut self, line: &Line, text: &str) {
        self.hasher.update(text);
        self.hasher.update("\n");
        match line {
            Line::Experience(_) => self.counts.experiences += 1,
            Line::Insight(_) => self.counts.insights += 1,
            Line::Relation(_) => self.counts.relations += 1,
            Line::Header(_) | Line::End(_) => {}
        }
    }

    fn end(self) -> End {
        let mut sha256 = String::with_capacity(64);
        for byte in self.hasher.finalize() {
            // Writing into a text cannot fail.
            let _ = write!(sha256, "{byte:02x}");
        }
        End {
            counts: self.counts,
            sha256,
        }
    }
}

/// Makes the lines of an export.
#[derive(Default)]
pub struct LineWriter(Sum);

impl LineWriter {
    /// The first line.
    pub fn header(
        &mut self,
        instance: InstanceId,
        vectors: bool,
        collective: Collective,
    ) -> Result<String> {
        self.line(&Line::Header(Box::new(Header {
            format: FORMAT.to_owned(),
            version: VERSION,
            instance,
            vectors,
            collective,
        })))
    }

    /// The line of an experience.
    pub fn experience(&mut self, experience: Experience) -> Result<String> {
        self.line(&Line::Experience(Box::new(experience)))
    }

    /// The line of an insight.
    pub fn insight(&mut self, insight: DerivedInsight) -> Result<String> {
        self.line(&Line::Insight(Box::new(insight)))
    }

    /// The line of a relation.
    pub fn relation(&mut self, relation: ExperienceRelation) -> Result<String> {
        self.line(&Line::Relation(Box::new(relation)))
    }

    /// The last line, with how much was left out; the next one begins another export.
    pub fn end(&mut self, unreadable: u64) -> Result<String> {
        let mut sum = std::mem::take(&mut self.0);
        sum.counts.unreadable = unreadable;
        let end = sum.end();
        text(&Line::End(end))
    }

    fn line(&mut self, line: &Line) -> Result<String> {
        let text = text(line)?;
        self.0.add(line, &text);
        Ok(text)
    }
}

fn text(line: &Line) -> Result<String> {
    serde_json::to_string(line)
        .map_err(|error| PulseDBError::conflict(format!("a line cannot be written: {error}")))
}

/// Reads the lines of an export, and says what is wrong with them.
#[derive(Clone, Default)]
pub struct LineReader {
    sum: Sum,
    number: u64,
    ended: bool,
}

impl LineReader {
    /// What a line says; the end only where it fits all lines before it. `None` for a blank line
    /// behind the end.
    ///
    /// # Errors
    /// `Validation` naming the line; `Version` for an export of a newer version.
    pub fn line(&mut self, text: &str) -> Result<Option<Line>> {
        let text = text.trim_end_matches(['\r', '\n']);
        if self.ended && text.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        if self.ended {
            return Err(self.wrong("behind the end", "the end has to be the last line"));
        }
        let line: Line = serde_json::from_str(text)
            .map_err(|error| self.wrong(&error.to_string(), "it must be a line of an export"))?;
        match (&line, self.number) {
            (Line::Header(header), 1) => self.check_header(header)?,
            (Line::Header(_), _) => {
                return Err(self.wrong("a header", "only the first line is one"));
            }
            (_, 1) => return Err(self.wrong("no header", "an export begins with one")),
            (Line::End(end), _) => self.check_end(end)?,
            (Line::Experience(_) | Line::Insight(_) | Line::Relation(_), _) => {}
        }
        self.sum.add(&line, text);
        Ok(Some(line))
    }

    /// Whether everything was read, and what that was.
    ///
    /// # Errors
    /// `Validation` where the end is missing.
    pub fn finish(&self) -> Result<ExportCounts> {
        if self.ended {
            return Ok(self.sum.counts);
        }
        Err(PulseDBError::validation(
            "lines",
            format!("{} lines", self.number),
            "the last one must be an end: the export is cut off",
        ))
    }

    fn check_header(&self, header: &Header) -> Result<()> {
        if header.format != FORMAT {
            let limit = format!("the format must be {FORMAT}");
            return Err(self.wrong(&header.format, &limit));
        }
        if header.version > VERSION {
            return Err(PulseDBError::Version {
                found: header.version,
                supported: VERSION,
            });
        }
        Ok(())
    }

    fn check_end(&mut self, end: &End) -> Result<()> {
        // What was left out, only the end says.
        self.sum.counts.unreadable = end.counts.unreadable;
        let read = self.sum.clone().end();
        if end.counts != read.counts {
            let told = |counts: &ExportCounts| {
                format!(
                    "{} experiences, {} insights and {} relations",
                    counts.experiences, counts.insights, counts.relations
                )
            };
            let limit = format!(
                "the end says {}: lines are missing or were added",
                told(&end.counts)
            );
            return Err(self.wrong(&told(&read.counts), &limit));
        }
        if !end.sha256.eq_ignore_ascii_case(&read.sha256) {
            let value = format!("lines with the SHA-256 {}", read.sha256);
            let limit = format!("the end says {}: the lines were changed", end.sha256);
            return Err(self.wrong(&value, &limit));
        }
        self.ended = true;
        Ok(())
    }

    fn wrong(&self, value: &str, limit: &str) -> PulseDBError {
        PulseDBError::validation(format!("lines[{}]", self.number), value, limit)
    }
}
