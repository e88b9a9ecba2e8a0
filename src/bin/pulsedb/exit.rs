//! How did the command end, and what can be done about it?

use std::{fmt, io, path::PathBuf};

use pulsedb::PulseDBError;

/// What the exit code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Everything is fine.
    Fine = 0,
    /// Damage was found, something was lost, or the database is not healthy.
    Damage = 1,
    /// The command line is wrong, or names what does not exist; clap ends with the same code.
    Usage = 2,
    /// The database cannot be opened.
    Unopened = 3,
    /// A writer has it open.
    Locked = 4,
    /// A newer build wrote it.
    Version = 5,
    /// Something was refused while the command ran.
    Failed = 6,
}

impl Exit {
    /// Of a command that looks whether all is well.
    pub(crate) fn of(is_fine: bool) -> Self {
        if is_fine { Self::Fine } else { Self::Damage }
    }
}

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The database could not be opened.
    Open(PathBuf, PulseDBError),
    /// The settings are wrong.
    Settings(PulseDBError),
    /// What was asked for failed.
    Command(PulseDBError),
    /// A file that was named cannot be read or written.
    Input(PathBuf, io::Error),
    /// Standard output takes nothing.
    Output(io::Error),
}

impl Failure {
    /// An argument that cannot be.
    pub(crate) fn wrong(field: &str, value: impl fmt::Display, limit: impl Into<String>) -> Self {
        Self::Command(PulseDBError::Validation {
            field: field.to_owned(),
            value: value.to_string(),
            limit: limit.into(),
        })
    }

    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Open(_, error) | Self::Command(error) => match (error, self) {
                (PulseDBError::Locked { .. }, _) => Exit::Locked,
                (PulseDBError::Version { .. }, _) => Exit::Version,
                (PulseDBError::Config { field, .. }, _) if field == "dest" => Exit::Usage,
                (PulseDBError::Validation { .. } | PulseDBError::NotFound { .. }, _) => Exit::Usage,
                (PulseDBError::Config { .. }, _) | (_, Self::Open(..)) => Exit::Unopened,
                _ => Exit::Failed,
            },
            Self::Settings(_) => Exit::Usage,
            // Whoever reads may have enough.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Fine,
            Self::Output(_) | Self::Input(..) => Exit::Failed,
        }
    }

    /// What to do now.
    pub(crate) fn advice(&self) -> Option<String> {
        let (Self::Open(_, error) | Self::Command(error)) = self else {
            return None;
        };
        Some(match (error, self) {
            (PulseDBError::Corrupted { .. }, Self::Open(path, _)) => format!(
                "`pulsedb salvage {} NEW_DIRECTORY` copies everything that can be read",
                path.display()
            ),
            (PulseDBError::Locked { pid, .. }, _) => {
                format!("close the database in process {pid}, or work on a copy of its files")
            }
            (PulseDBError::Version { .. }, _) => {
                "use the build that wrote it, or a newer one".to_owned()
            }
            (PulseDBError::Io { .. }, Self::Open(path, _)) => {
                format!(
                    "check that {} is a database's directory and may be read",
                    path.display()
                )
            }
            _ => return None,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(_, error) | Self::Settings(error) | Self::Command(error) => error.fmt(f),
            Self::Input(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Output(error) => write!(f, "standard output: {error}"),
        }
    }
}
