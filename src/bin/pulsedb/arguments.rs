//! Which commands are there, and what do they take?

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use pulsedb::Cursor;

const EXIT_CODES: &str = "\
Exit codes:
  0  everything is fine
  1  damage was found, or something was lost
  2  the command line is wrong
  3  the database cannot be opened
  4  a writer has it open
  5  a newer build wrote it
  6  the system refused something while the command ran

`info`, `verify`, `dump` and `tail` change nothing, and work while an application writes.";

/// Looks at a PulseDB database, checks it, and saves what is left of a damaged one.
#[derive(Debug, Parser)]
#[command(name = "pulsedb", version, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    /// Answer as JSON: one object, or one per line from `dump` and `tail`.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say what the database is, how large, and whether it is healthy.
    Info {
        /// Its directory.
        db: PathBuf,
    },
    /// Read every byte and list what is damaged.
    Verify {
        /// Its directory.
        db: PathBuf,
    },
    /// Copy everything that can be read into a new database.
    Salvage {
        /// The damaged database; it is not changed.
        db: PathBuf,
        /// A directory that does not exist or is empty.
        dest: PathBuf,
    },
    /// Give the space of what is deleted or replaced back to the file system. Takes the database for
    /// itself; an application that has it open compacts by itself.
    Compact {
        /// Its directory.
        db: PathBuf,
    },
    /// Write the records of the log as JSON, one per line.
    Dump(Dump),
    /// Write what was committed, commit by commit: a line per record, with --json a line per commit.
    Tail(Tail),
}

#[derive(Debug, Args)]
pub(crate) struct Dump {
    /// Its directory.
    pub(crate) db: PathBuf,
    /// Begin with this LSN; to go on where an earlier dump ended, one more than its last.
    #[arg(long, value_name = "LSN", default_value_t = 0)]
    pub(crate) from: u64,
    /// End after so many records.
    #[arg(long, value_name = "RECORDS")]
    pub(crate) limit: Option<u64>,
    /// With the texts of experiences.
    #[arg(long)]
    pub(crate) content: bool,
    /// With their vectors.
    #[arg(long)]
    pub(crate) vectors: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// Its directory.
    pub(crate) db: PathBuf,
    /// Begin behind this cursor, as printed in front of each commit; else with the first that the log knows.
    #[arg(long, value_name = "TIMELINE/LSN")]
    pub(crate) from: Option<Cursor>,
    /// Go on with what is committed from now on, until interrupted.
    #[arg(long)]
    pub(crate) follow: bool,
    /// As bytes for another program, see the change feed in storage-format.md.
    #[arg(long, conflicts_with = "json")]
    pub(crate) binary: bool,
}
