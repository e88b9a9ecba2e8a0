//! Which commands are there, and what do they take?

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use pulsedb::{BackupId, Cursor};

const EXIT_CODES: &str = "\
Exit codes:
  0  everything is fine
  1  damage was found, or something was lost
  2  the command line is wrong
  3  the database cannot be opened
  4  a writer has it open
  5  a newer build wrote it
  6  the system refused something while the command ran

`info`, `verify`, `dump`, `tail` and `backup create` do not change the database, and work while an
application writes. For `backup`, codes 3 to 5 are about the database or the repository of backups.";

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
    /// Make, look at, remove and restore backups.
    #[command(subcommand)]
    Backup(Backup),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Backup {
    /// Copy the database into a repository of backups: what is new since the last one.
    Create(Create),
    /// List the backups of a repository, the oldest first.
    List {
        /// Its directory.
        repository: PathBuf,
    },
    /// Read all of a backup and list what is damaged.
    Verify {
        /// The directory of the repository.
        repository: PathBuf,
        /// Which backup; the newest by default.
        #[arg(long)]
        id: Option<BackupId>,
    },
    /// Make a database of a backup.
    Restore(Restore),
    /// Remove the backups that neither of both keeps.
    Prune {
        /// The directory of the repository.
        repository: PathBuf,
        /// Keep so many of the newest.
        #[arg(long, value_name = "BACKUPS", default_value_t = 0)]
        keep_last: u32,
        /// Keep those that are not older.
        #[arg(long, value_name = "DAYS", default_value_t = 0)]
        keep_days: u32,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The database's directory.
    pub(crate) db: PathBuf,
    /// The directory of the repository, made if it does not exist.
    pub(crate) repository: PathBuf,
    /// Copy everything again, whatever the repository holds.
    #[arg(long)]
    pub(crate) full: bool,
    /// How what is new is stored.
    #[arg(long, value_enum, default_value = "none")]
    pub(crate) compression: Compression,
    /// Share no blocks with the database, also where the file system could.
    #[arg(long)]
    pub(crate) copy: bool,
    /// Most MiB of log that are copied a second; 0 for no limit.
    #[arg(long, value_name = "MIB")]
    pub(crate) mib_per_second: Option<u64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Compression {
    /// As it is in the log.
    None,
    /// Fast.
    Lz4,
    /// Small.
    Zstd,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The directory of the repository.
    pub(crate) repository: PathBuf,
    /// A directory that does not exist or is empty.
    pub(crate) dest: PathBuf,
    /// Which backup. By default the newest; with a point, the first that reaches it.
    #[arg(long)]
    pub(crate) id: Option<BackupId>,
    /// Leave out what was committed behind this LSN.
    #[arg(long, value_name = "LSN", conflicts_with = "until_ms")]
    pub(crate) until_lsn: Option<u64>,
    /// Leave out what was committed after this moment, in milliseconds since 1970.
    #[arg(long, value_name = "MS")]
    pub(crate) until_ms: Option<i64>,
    /// Make another database of it, for use beside the original.
    #[arg(long)]
    pub(crate) fork: bool,
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
