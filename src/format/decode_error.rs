//! What is wrong with bytes that do not decode?
//!
//! Both types say where and what, so that a report can name file, offset and field. Neither names
//! a file: the caller knows it.

use std::fmt;

use super::FORMAT_VERSION;

/// A payload is not a valid encoding of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// The field, as `record.field`; `fields` where the sequence of fields itself is broken.
    pub field: &'static str,
    /// The field's tag; 0 where there is none.
    pub tag: u8,
    /// Where the field starts, counted from the start of its record's fields.
    pub offset: u32,
    /// What is wrong with it.
    pub what: &'static str,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} (tag {}, byte {} of the fields): {}",
            self.field, self.tag, self.offset, self.what
        )
    }
}

impl std::error::Error for DecodeError {}

/// A file's own structure (segment header, manifest, tail) is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFault {
    /// It is too short or too long to be what it should be.
    Length,
    /// It does not start with the magic of its kind.
    Magic,
    /// The checksum does not match the bytes.
    Checksum,
    /// It is intact, but of a version that this build does not know.
    Version {
        /// The version in the file.
        found: u32,
    },
    /// It is intact, but a field has no valid value.
    Field(DecodeError),
}

impl fmt::Display for FileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => f.write_str("the length is wrong"),
            Self::Magic => f.write_str("it does not start with its magic"),
            Self::Checksum => f.write_str("the checksum does not match"),
            Self::Version { found } => {
                write!(
                    f,
                    "format version {found}; this build supports {FORMAT_VERSION}"
                )
            }
            Self::Field(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for FileFault {}

impl From<DecodeError> for FileFault {
    fn from(error: DecodeError) -> Self {
        Self::Field(error)
    }
}
