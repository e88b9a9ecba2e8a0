//! Which commands are there?
//!
//! What each of them takes stands beside what it does.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

#[cfg(feature = "hub")]
use crate::models::Model;
use crate::{
    asking::{Context, Search},
    backups::Backup,
    checking::Dump,
    load::Bench,
    looking::{Metrics, Stats},
    maintaining::{Init, RebuildIndex},
    recording::Record,
    tail::Tail,
    transfer::{Export, Import},
};

const EXIT_CODES: &str = "\
Exit codes:
  0  everything is fine
  1  damage was found, something was lost, or the database is not healthy
  2  the command line is wrong, or names what does not exist
  3  the database cannot be opened
  4  a writer has it open
  5  a newer build wrote it
  6  something was refused while the command ran

`info`, `health`, `stats`, `metrics`, `verify`, `dump`, `tail`, `export`, `search`, `context` and `backup create` do
not change the database, and work while an application writes. `init`, `compact`, `checkpoint`, `rebuild-index`,
`import` and `record` take the writer's place, and `salvage` needs it to be free; there is one. For `backup`, codes
3 to 5 are about the database or the repository of backups.";

/// Makes, asks, looks after, checks and saves PulseDB databases.
#[derive(Debug, Parser)]
#[command(name = "pulsedb", version, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    /// Answer as JSON: one object, or one per line from `dump`, `export` and `tail`.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Settings, see docs/configuration.md; the variables `PULSEDB_*` of the environment stand above them.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a database, and collectives in it; what is there already stays.
    Init(Init),
    /// Say what the database is, how large, and whether it is healthy.
    Info {
        /// Its directory.
        db: PathBuf,
    },
    /// Run the health checks and say what to do.
    ///
    /// They are those of a reader: what only a writing process knows, its own health check tells.
    Health {
        /// Its directory.
        db: PathBuf,
    },
    /// Count what is in each collective.
    Stats(Stats),
    /// Write metrics, for Prometheus unless told otherwise.
    ///
    /// They are those of a reader that has just opened the database: its sizes and counts. Operations and
    /// latencies of an application are in that application's own metrics.
    Metrics(Metrics),
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
    /// Give the space of what is deleted or replaced back to the file system.
    ///
    /// An application that has the database open compacts by itself.
    Compact {
        /// Its directory.
        db: PathBuf,
    },
    /// Write down what is derived from the log, so that the next open has little to read.
    Checkpoint {
        /// Its directory.
        db: PathBuf,
    },
    /// Make the vector index of collectives again from the log.
    RebuildIndex(RebuildIndex),
    /// Make, look at, remove and restore backups.
    #[command(subcommand)]
    Backup(Backup),
    /// Get the model that embeds texts.
    #[cfg(feature = "hub")]
    #[command(subcommand)]
    Model(Model),
    /// Write a collective as lines of JSON, for `import`.
    Export(Export),
    /// Take the lines of an export into a database.
    Import(Import),
    /// Write the records of the log as JSON, one per line.
    Dump(Dump),
    /// Write what was committed, commit by commit: a line per record, with --json a line per commit.
    Tail(Tail),
    /// Record an experience.
    Record(Record),
    /// Find experiences by words, by meaning or by a vector.
    Search(Search),
    /// Gather what an agent should know about something before it starts.
    Context(Context),
    /// Measure this machine in a database of its own: durable records and searches a second.
    ///
    /// The database is in a directory that is made for it, and removed at the end.
    Bench(Bench),
    /// Write the completions of a shell; its manual says where they belong.
    Completions {
        /// Of which shell.
        shell: Shell,
    },
}
