//! What does the manifest of a backup say?
//!
//! JSON lines, like an export, so that a person can read them with the tools at hand: a header, one line per
//! segment with the pieces that make it up, and an end with a count and the SHA-256 of all lines before it.
//! Every byte of the file is covered: what decodes is what was written. Pure; called by `backup` alone.

use std::fmt::{self, Write};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

use super::{FRAME_ALIGN, Manifest, SEGMENT_HEADER_LEN};
use crate::model::{BackupCompression, BackupInfo, Lsn};

/// What the header says first.
const FORMAT: &str = "pulsedb-backup";
/// The version that this build writes, and the newest that it reads.
const VERSION: u32 = 1;

/// A SHA-256, in text as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256Digest(pub [u8; 32]);

/// The manifest of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupManifest {
    /// What lists show of it.
    pub info: BackupInfo,
    /// The manifest of the database when the backup was begun; its segments may be others.
    pub database: Manifest,
    /// The segments, in the order of their LSNs.
    pub segments: Vec<BackupSegment>,
}

/// One segment of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupSegment {
    /// Its number.
    pub id: u32,
    /// As in its header.
    pub first_lsn: Lsn,
    /// The last four bytes of its header block: with the id, what tells it from any other.
    pub header_crc: u32,
    /// Where its frames end.
    pub end: u64,
    /// What it is made of, from byte 0 to the end without gaps.
    pub pieces: Vec<BackupPiece>,
}

/// A stretch of a segment, in a file of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupPiece {
    /// Its first byte in the segment.
    pub from: u64,
    /// Behind its last byte.
    pub to: u64,
    /// Of these bytes; the name of the file.
    pub sha256: Sha256Digest,
    /// How they are stored.
    pub compression: BackupCompression,
    /// Bytes of the file. Without compression it may have more, which mean nothing.
    pub stored: u64,
}

/// Why bytes are no manifest of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackupFault {
    /// Intact, but of a version that this build does not know.
    Version {
        /// The version in the file.
        found: u32,
    },
    /// Not what was written.
    Wrong(String),
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
    backup: BackupInfo,
    manifest: String,
}

#[derive(Serialize, Deserialize)]
struct End {
    segments: u64,
    sha256: Sha256Digest,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Header(Box<Header>),
    Segment(BackupSegment),
    End(End),
}

/// As much of a header as every version has.
#[derive(Deserialize)]
struct AnyHeader {
    header: AnyVersion,
}

#[derive(Deserialize)]
struct AnyVersion {
    format: String,
    version: u32,
}

impl BackupPiece {
    /// Bytes of the segment.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.to.saturating_sub(self.from)
    }

    /// The name of its file.
    #[must_use]
    pub fn file_name(&self) -> String {
        let end = match self.compression {
            BackupCompression::None => "raw",
            BackupCompression::Lz4 => "lz4",
            BackupCompression::Zstd => "zst",
        };
        format!("{}.{end}", self.sha256)
    }
}

impl BackupManifest {
    /// The file's text.
    ///
    /// # Errors
    /// Where a line cannot be written, which no value of these types is known to cause.
    pub fn encode(&self) -> Result<String, BackupFault> {
        let mut text = String::new();
        push(
            &mut text,
            &Line::Header(Box::new(Header {
                format: FORMAT.to_owned(),
                version: VERSION,
                backup: self.info.clone(),
                manifest: hex(&self.database.encode()),
            })),
        )?;
        for segment in &self.segments {
            push(&mut text, &Line::Segment(segment.clone()))?;
        }
        let end = End {
            segments: self.segments.len() as u64,
            sha256: Sha256Digest::of(text.as_bytes()),
        };
        push(&mut text, &Line::End(end))?;
        Ok(text)
    }

    /// Reads the file's bytes, all of them.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn decode(bytes: &[u8]) -> Result<Self, BackupFault> {
        let text = std::str::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8"))?;
        let lines = text
            .strip_suffix('\n')
            .ok_or_else(|| wrong("it is cut off"))?;
        let (before, end) = lines
            .rsplit_once('\n')
            .ok_or_else(|| wrong("it has no end"))?;
        let covered = text.get(..before.len() + 1).unwrap_or_default();
        let Ok(Line::End(end)) = serde_json::from_str(end) else {
            return Err(wrong("its last line is no end"));
        };
        if end.sha256 != Sha256Digest::of(covered.as_bytes()) {
            return Err(wrong("the checksum does not match"));
        }
        let mut lines = before.split('\n');
        let first = lines.next().unwrap_or_default();
        check_version(first)?;
        let Line::Header(header) = line(first)? else {
            return Err(wrong("its first line is no header"));
        };
        let mut segments = Vec::new();
        for text in lines {
            match line(text)? {
                Line::Segment(segment) => segments.push(segment),
                Line::Header(_) | Line::End(_) => {
                    return Err(wrong("a line between header and end is no segment"));
                }
            }
        }
        if end.segments != segments.len() as u64 {
            return Err(wrong("segments are missing"));
        }
        let database = unhex(&header.manifest)
            .ok_or_else(|| wrong("the manifest of the database is not in hexadecimal digits"))?;
        let database = Manifest::decode(&database)
            .map_err(|fault| wrong(format!("the manifest of the database: {fault}")))?;
        let manifest = Self {
            info: header.backup,
            database,
            segments,
        };
        manifest.check()?;
        Ok(manifest)
    }

    /// Whether its parts fit each other.
    fn check(&self) -> Result<(), BackupFault> {
        let (info, database) = (&self.info, &self.database);
        if info.instance_id != database.instance_id
            || info.cursor.timeline != database.timeline
            || info.segments != self.segments.len() as u64
        {
            return Err(wrong("the header contradicts itself"));
        }
        let ascend = self
            .segments
            .is_sorted_by(|one, next| one.first_lsn < next.first_lsn);
        let covered = self
            .segments
            .iter()
            .all(|one| one.first_lsn <= info.cursor.lsn);
        if !ascend || !covered {
            return Err(wrong("the segments are not in order"));
        }
        match self.segments.iter().find(|segment| !segment.is_whole()) {
            Some(segment) => Err(wrong(format!("segment {} is not whole", segment.id))),
            None => Ok(()),
        }
    }
}

impl BackupSegment {
    /// Whether its pieces make up a segment.
    fn is_whole(&self) -> bool {
        let mut at = 0;
        for piece in &self.pieces {
            let enough = match piece.compression {
                BackupCompression::None => piece.bytes(),
                BackupCompression::Lz4 | BackupCompression::Zstd => 1,
            };
            if piece.from != at || piece.to <= at || piece.stored < enough {
                return false;
            }
            at = piece.to;
        }
        at == self.end
            && self.end >= SEGMENT_HEADER_LEN as u64
            && self.end.is_multiple_of(FRAME_ALIGN)
    }
}

/// A newer version is told from damage before anything else is read.
fn check_version(header: &str) -> Result<(), BackupFault> {
    let any: AnyHeader = serde_json::from_str(header).map_err(|error| wrong(error.to_string()))?;
    if any.header.format != FORMAT {
        return Err(wrong(format!("its format is {:?}", any.header.format)));
    }
    match any.header.version {
        VERSION => Ok(()),
        found => Err(BackupFault::Version { found }),
    }
}

fn line(text: &str) -> Result<Line, BackupFault> {
    serde_json::from_str(text).map_err(|error| wrong(error.to_string()))
}

fn push(text: &mut String, line: &Line) -> Result<(), BackupFault> {
    let line = serde_json::to_string(line).map_err(|error| wrong(error.to_string()))?;
    text.push_str(&line);
    text.push('\n');
    Ok(())
}

fn wrong(what: impl Into<String>) -> BackupFault {
    BackupFault::Wrong(what.into())
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing into a text cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The bytes that lower-case digits stand for: each has one spelling.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let byte = |[high, low]: &[u8; 2]| Some(digit(*high)? << 4 | digit(*low)?);
    pairs.iter().map(byte).collect()
}

impl Sha256Digest {
    /// That of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest in the name of a piece's file.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(Self(unhex(text)?.try_into().ok()?))
    }
}

impl fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Sha256Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("not a SHA-256"))
    }
}

impl fmt::Display for BackupFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { found } => write!(f, "version {found}; this build supports {VERSION}"),
            Self::Wrong(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for BackupFault {}

#[cfg(test)]
#[path = "backup_tests.rs"]
mod tests;
