//! What can go wrong, said in terms of what the caller can do about it.
//!
//! One public enum; every layer returns it. It is `Clone`, because one failed group commit is
//! the answer to every request of the group.

use std::{fmt, io, path::PathBuf, sync::Arc};

use crate::model::{Cursor, EntityKind};

/// The result of every fallible call of this crate.
pub type Result<T, E = PulseDBError> = std::result::Result<T, E>;

/// Everything that a call can answer instead of its result.
///
/// A call that returns an error changed nothing, with one exception that the variants name: after
/// [`PulseDBError::Io`] from a write, the outcome of the commits in flight is known after the
/// next open.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PulseDBError {
    /// An argument is outside its limit. Correct the argument and call again.
    #[error("{field}: {value} is not valid; {limit}")]
    Validation {
        /// The argument or field, e.g. `embedding[3]`.
        field: String,
        /// The offending value, or its size.
        value: String,
        /// What would have been accepted.
        limit: String,
    },
    /// No such entity is visible (it never existed, was deleted, or has expired).
    #[error("{kind} {id} does not exist")]
    NotFound {
        /// Which kind of entity was asked for.
        kind: EntityKind,
        /// The id as the caller gave it.
        id: String,
    },
    /// The request contradicts what is stored. Read again and decide anew.
    #[error("conflict: {what}")]
    Conflict {
        /// What contradicts what.
        what: String,
    },
    /// The handle cannot write. Open the database for writing, or reopen it after a failure.
    #[error("the database is read-only: {reason}")]
    ReadOnly {
        /// Why: opened so, or stopped writing after a failure.
        reason: String,
    },
    /// Another process (or another handle of this one) writes this database.
    #[error(
        "{} is locked by process {pid}; close it there, or open it read-only here",
        path.display()
    )]
    Locked {
        /// The process that holds the writer lease.
        pid: u32,
        /// The database directory.
        path: PathBuf,
    },
    /// Stored bytes are not what was written. Everything else stays readable.
    #[error("{} is damaged at byte {offset}: {what}", file.display())]
    Corrupted {
        /// The damaged file.
        file: PathBuf,
        /// Byte offset of the damaged record in the file.
        offset: u64,
        /// What was found.
        what: String,
    },
    /// The files were written by another version of the format.
    #[error("the files have format version {found}; this build supports {supported}")]
    Version {
        /// Version in the file.
        found: u32,
        /// Newest version that this build reads.
        supported: u32,
    },
    /// A text could not be embedded, or the vectors would mix two models.
    #[error("embedding: {0}")]
    Embedding(String),
    /// A model's file could not be had from a hub. What came is kept, unless it was wrong: the next try goes on
    /// there.
    #[error("{url}: {}{what}", status.map(|status| format!("{status}, ")).unwrap_or_default())]
    Download {
        /// The file's address, without credentials and query.
        url: String,
        /// HTTP's status code, where there was an answer that refuses.
        status: Option<u16>,
        /// What is wrong, and what to do.
        what: String,
    },
    /// The vector engine failed.
    #[error("vector index: {0}")]
    Vector(String),
    /// A `Config` field cannot work. Correct it and open again.
    #[error("config.{field}: {what}")]
    Config {
        /// The field's path below `Config`.
        field: String,
        /// What is wrong with it and what would be accepted.
        what: String,
    },
    /// The handle was closed.
    #[error("the database handle is closed; open it again")]
    Closed,
    /// The queue stayed full for the whole write timeout. Nothing was queued: slow down and retry.
    #[error("{what} stayed full ({limit}) for {waited_ms} ms; retry later")]
    Backpressure {
        /// Which bounded resource.
        what: String,
        /// Its bound, with unit.
        limit: String,
        /// How long the call waited, in milliseconds.
        waited_ms: u64,
    },
    /// A watcher was not told what happened between two cursors: the log does not know it any more, or
    /// the first cursor belongs to another history. The stream goes on behind `to`; read anew what was
    /// missed.
    #[error(
        "what happened from {from} to {to} is not told; read anew, or raise config.watch_config.max_lag_bytes"
    )]
    Gap {
        /// Up to where everything was told.
        from: Cursor,
        /// Where it goes on.
        to: Cursor,
    },
    /// The operating system refused. After a failed write the handle stops writing for good,
    /// since a later fsync could not be trusted; reads go on.
    #[error("{operation} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The system's answer.
        source: Arc<io::Error>,
    },
}

impl PulseDBError {
    /// All that [`PulseDBError::kind`] answers.
    pub(crate) const KINDS: &[&str] = &[
        "validation",
        "not_found",
        "conflict",
        "read_only",
        "locked",
        "corrupted",
        "version",
        "embedding",
        "download",
        "vector",
        "config",
        "closed",
        "backpressure",
        "gap",
        "io",
    ];

    /// Which kind of error it is, in a word: for labels and exit codes.
    ///
    /// ```
    /// assert_eq!(pulsedb::PulseDBError::Closed.kind(), "closed");
    /// ```
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Validation { .. } => "validation",
            Self::NotFound { .. } => "not_found",
            Self::Conflict { .. } => "conflict",
            Self::ReadOnly { .. } => "read_only",
            Self::Locked { .. } => "locked",
            Self::Corrupted { .. } => "corrupted",
            Self::Version { .. } => "version",
            Self::Embedding(_) => "embedding",
            Self::Download { .. } => "download",
            Self::Vector(_) => "vector",
            Self::Config { .. } => "config",
            Self::Closed => "closed",
            Self::Backpressure { .. } => "backpressure",
            Self::Gap { .. } => "gap",
            Self::Io { .. } => "io",
        }
    }

    /// Whether work in the background that ends with it has nothing to tell: the database is being closed, or
    /// writing has stopped, and everybody is told of that already.
    pub(crate) const fn is_told_already(&self) -> bool {
        matches!(self, Self::Closed | Self::ReadOnly { .. })
    }

    /// A value outside its limit.
    pub(crate) fn validation(
        field: impl Into<String>,
        value: impl fmt::Display,
        limit: impl Into<String>,
    ) -> Self {
        Self::Validation {
            field: field.into(),
            value: value.to_string(),
            limit: limit.into(),
        }
    }

    /// An entity that is not visible.
    pub(crate) fn not_found(kind: EntityKind, id: impl fmt::Display) -> Self {
        Self::NotFound {
            kind,
            id: id.to_string(),
        }
    }

    /// A request that contradicts what is stored.
    pub(crate) fn conflict(what: impl Into<String>) -> Self {
        Self::Conflict { what: what.into() }
    }

    /// Damaged bytes at `offset` of `file`.
    pub(crate) fn corrupted(
        file: impl Into<PathBuf>,
        offset: u64,
        what: impl Into<String>,
    ) -> Self {
        Self::Corrupted {
            file: file.into(),
            offset,
            what: what.into(),
        }
    }

    /// A `Config` field that cannot work.
    pub(crate) fn config(field: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Config {
            field: field.into(),
            what: what.into(),
        }
    }

    /// An answer of the operating system; for `map_err`.
    pub(crate) fn io(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            operation,
            path,
            source: Arc::new(source),
        }
    }
}
