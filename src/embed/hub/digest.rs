//! Is a file on disk the one that was meant?
//!
//! Pure but for reading the file. A hub names a large file by its SHA-256, and a small one by the id that git gives it,
//! which is the SHA-1 of a short head and the content; an expectation of the caller is always a SHA-256. Used by
//! `transfer` and for models that are there already.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::Path,
};

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::DownloadedFile;

/// Bytes that are hashed at a time.
const BUFFER_BYTES: usize = 64 << 10;

/// What a file is compared with, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Checksum {
    Sha256(String),
    /// The id of a git blob.
    Blob(String),
}

impl Checksum {
    /// The one that an entity tag of a hub is.
    pub(super) fn of_tag(tag: &str) -> Option<Self> {
        let hex = tag.trim().trim_start_matches("W/").trim_matches('"');
        if !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let hex = hex.to_ascii_lowercase();
        match hex.len() {
            64 => Some(Self::Sha256(hex)),
            40 => Some(Self::Blob(hex)),
            _ => None,
        }
    }

    /// Whether a file is the one.
    pub(super) fn is_of(&self, found: &Found) -> bool {
        match self {
            Self::Sha256(hex) => *hex == found.sha256,
            Self::Blob(hex) => *hex == found.blob,
        }
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(hex) => f.write_str(hex),
            Self::Blob(hex) => write!(f, "the git blob {hex}"),
        }
    }
}

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) bytes: u64,
    pub(super) sha256: String,
    pub(super) blob: String,
}

impl Found {
    pub(super) fn named(self, name: &str) -> DownloadedFile {
        DownloadedFile {
            name: name.to_owned(),
            bytes: self.bytes,
            sha256: self.sha256,
        }
    }
}

/// Reads all of a file.
pub(super) fn of_file(path: &Path) -> io::Result<Found> {
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let mut sha256 = Sha256::new();
    let mut blob = Sha1::new();
    blob.update(format!("blob {bytes}\0"));
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = file.read(&mut buffer)?;
        let Some(read) = buffer.get(..read).filter(|read| !read.is_empty()) else {
            break;
        };
        sha256.update(read);
        blob.update(read);
    }
    Ok(Found {
        bytes,
        sha256: format!("{:x}", sha256.finalize()),
        blob: format!("{:x}", blob.finalize()),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn tags_of_a_hub_are_checksums_and_others_are_not() {
        let (long, short) = ("ab".repeat(32), "CD".repeat(20));
        let read = |tag: String| Checksum::of_tag(&tag);
        assert_eq!(
            read(format!("\"{long}\"")),
            Some(Checksum::Sha256(long.clone()))
        );
        let blob = Some(Checksum::Blob("cd".repeat(20)));
        assert_eq!(read(format!(" W/\"{short}\" ")), blob);
        assert_eq!(read(short), blob);
        for other in ["", "\"\"", "\"5f3-abc\"", "\"abcdef\"", &"g".repeat(64)] {
            assert_eq!(read(other.into()), None, "{other}");
        }
    }

    #[test]
    fn digests_are_those_of_the_standards() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc");
        fs::write(&path, "abc").unwrap();
        let found = of_file(&path).unwrap();
        assert_eq!(found.bytes, 3);
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(Checksum::Sha256(sha256.into()).is_of(&found), "{found:?}");
        // `printf abc | git hash-object --stdin`
        let blob = "f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f";
        assert!(Checksum::Blob(blob.into()).is_of(&found), "{found:?}");
        assert!(!Checksum::Sha256(blob.into()).is_of(&found));
        assert!(of_file(&dir.path().join("none")).is_err());
    }
}
