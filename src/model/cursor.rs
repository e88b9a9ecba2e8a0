//! Where in the history of a database is something?

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::error::PulseDBError;

/// Log sequence number of a committed record.
///
/// It is the commit order, the version a snapshot sees, the watch cursor and the backup position.
/// LSNs increase and are never issued twice; they need not be contiguous. 0 precedes every record.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Lsn(u64);

impl Lsn {
    /// Precedes every record.
    pub const ZERO: Self = Self(0);

    /// An LSN from its number.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The number itself.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which history an LSN belongs to. A database starts in timeline 1; an open that had to cut off
/// what others may have seen continues in the next one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timeline(u32);

impl Timeline {
    /// The timeline of a new database.
    pub const FIRST: Self = Self(1);

    /// A timeline from its number.
    #[must_use]
    pub const fn new(value: u32) -> Self {
        Self(value)
    }

    /// The number itself.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// A position that can be stored and resumed from: everything up to and including `lsn`, in the
/// history `timeline`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Cursor {
    /// The history.
    pub timeline: Timeline,
    /// The last record seen.
    pub lsn: Lsn,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.timeline.0, self.lsn)
    }
}

impl FromStr for Cursor {
    type Err = PulseDBError;

    /// As it is displayed: `timeline/lsn`.
    fn from_str(text: &str) -> Result<Self, PulseDBError> {
        let parsed = text.split_once('/').and_then(|(timeline, lsn)| {
            Some(Self {
                timeline: Timeline(timeline.parse().ok()?),
                lsn: Lsn(lsn.parse().ok()?),
            })
        });
        parsed.ok_or_else(|| {
            PulseDBError::validation("cursor", text, "it must be two numbers, TIMELINE/LSN")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_displayed_can_be_read() {
        let cursor = Cursor {
            timeline: Timeline::new(3),
            lsn: Lsn::new(u64::MAX),
        };
        assert_eq!(cursor.to_string().parse::<Cursor>().ok(), Some(cursor));
        for wrong in [
            "",
            "3",
            "3/",
            "/4",
            "-1/4",
            "3/4/5",
            "3/18446744073709551616",
        ] {
            assert!(wrong.parse::<Cursor>().is_err(), "{wrong}");
        }
    }
}
