//! How do bytes of the log become a file of the repository, and come back?
//!
//! A piece is written as a stream, compressed or not, while its SHA-256 is computed; its name follows from
//! that, so it gets it last. Read, it is what it was, or an error that names the file: length and SHA-256
//! are compared before anybody may rely on a byte of it.

use std::{
    io::{self, Read, Write},
    path::Path,
    sync::Arc,
};

use lz4_flex::frame::{FrameDecoder, FrameEncoder};
use sha2::{Digest, Sha256};

use super::CHUNK_BYTES;
use crate::{
    error::{PulseDBError, Result},
    format::{BackupPiece, Sha256Digest},
    model::BackupCompression,
    vfs::{OpenMode, Vfs, VfsFile},
};

/// The default of the library: a good half of what its highest level finds, at a tenth of the work.
const ZSTD_LEVEL: i32 = 3;
/// Bytes that may wait for the medium. A sync of many would let the writers of the database wait for theirs.
const UNSYNCED_BYTES: u64 = 4 * 1024 * 1024;

/// A piece on its way.
pub(super) struct PieceWriter {
    encoder: Encoder,
    hasher: Sha256,
}

enum Encoder {
    None(FileOut),
    Lz4(Box<FrameEncoder<FileOut>>),
    Zstd(zstd::stream::write::Encoder<'static, FileOut>),
}

/// What a piece came to.
pub(super) struct Written {
    pub(super) sha256: Sha256Digest,
    /// Bytes of the file.
    pub(super) stored: u64,
}

impl PieceWriter {
    /// Writes into `file`, which is empty.
    pub(super) fn new(file: Arc<dyn VfsFile>, compression: BackupCompression) -> io::Result<Self> {
        let out = FileOut {
            file,
            written: 0,
            unsynced: 0,
            buffer: Vec::with_capacity(CHUNK_BYTES),
        };
        let encoder = match compression {
            BackupCompression::None => Encoder::None(out),
            BackupCompression::Lz4 => Encoder::Lz4(Box::new(FrameEncoder::new(out))),
            BackupCompression::Zstd => {
                Encoder::Zstd(zstd::stream::write::Encoder::new(out, ZSTD_LEVEL)?)
            }
        };
        Ok(Self {
            encoder,
            hasher: Sha256::new(),
        })
    }

    /// The next bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        match &mut self.encoder {
            Encoder::None(out) => out.write_all(bytes),
            Encoder::Lz4(encoder) => encoder.write_all(bytes),
            Encoder::Zstd(encoder) => encoder.write_all(bytes),
        }
    }

    /// Ends it and makes it durable.
    pub(super) fn finish(self) -> io::Result<Written> {
        let mut out = match self.encoder {
            Encoder::None(out) => out,
            Encoder::Lz4(encoder) => encoder.finish().map_err(io::Error::from)?,
            Encoder::Zstd(encoder) => encoder.finish()?,
        };
        out.flush()?;
        out.file.sync_all()?;
        Ok(Written {
            sha256: Sha256Digest(self.hasher.finalize().into()),
            stored: out.written,
        })
    }
}

/// Appends to a file, in writes of a good size.
struct FileOut {
    file: Arc<dyn VfsFile>,
    written: u64,
    unsynced: u64,
    buffer: Vec<u8>,
}

impl Write for FileOut {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.unsynced += self.buffer.len() as u64;
        self.buffer.clear();
        if self.unsynced >= UNSYNCED_BYTES {
            self.unsynced = 0;
            self.file.sync_data()?;
        }
        Ok(())
    }
}

/// Reads a file from its beginning.
struct FileIn {
    file: Arc<dyn VfsFile>,
    at: u64,
    end: u64,
}

impl Read for FileIn {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let len = out.len().min(left);
        let Some(out) = out.get_mut(..len) else {
            return Ok(0);
        };
        self.file.read_exact_at(out, self.at)?;
        self.at += len as u64;
        Ok(len)
    }
}

/// Gives `take` all bytes of a piece, in the directory `dir` of pieces.
///
/// # Errors
/// `Corrupted` naming its file where they are not what was written, perhaps after `take` got some; and what
/// `take` answers.
pub(super) fn read_piece(
    vfs: &dyn Vfs,
    dir: &Path,
    piece: &BackupPiece,
    take: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let path = dir.join(piece.file_name());
    let damaged = |what: String| PulseDBError::corrupted(&path, 0, what);
    let refused = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => damaged("the file is missing".to_owned()),
        _ => damaged(format!("it cannot be read: {error}")),
    };
    let file = vfs.open(&path, OpenMode::Read).map_err(refused)?;
    let len = file.len().map_err(refused)?;
    let fits = match piece.compression {
        BackupCompression::None => len >= piece.stored,
        BackupCompression::Lz4 | BackupCompression::Zstd => len == piece.stored,
    };
    if !fits {
        return Err(damaged(format!(
            "it has {len} bytes, the manifest says {}",
            piece.stored
        )));
    }
    let stored = FileIn {
        file,
        at: 0,
        end: piece.stored,
    };
    let mut source: Box<dyn Read> = match piece.compression {
        BackupCompression::None => Box::new(stored),
        BackupCompression::Lz4 => Box::new(FrameDecoder::new(stored)),
        BackupCompression::Zstd => {
            Box::new(zstd::stream::read::Decoder::new(stored).map_err(refused)?)
        }
    };
    let mut hasher = Sha256::new();
    let mut left = piece.bytes();
    let mut chunk = vec![0; CHUNK_BYTES];
    while left > 0 {
        let wanted = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
        let room = chunk.get_mut(..wanted).unwrap_or_default();
        match source.read(room) {
            Ok(0) => return Err(damaged(format!("{left} bytes are missing"))),
            Ok(len) => {
                let bytes = room.get(..len).unwrap_or_default();
                hasher.update(bytes);
                take(bytes)?;
                left = left.saturating_sub(len as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(refused(error)),
        }
    }
    // What ends a compressed stream is part of it.
    let ends = piece.compression == BackupCompression::None
        || matches!(source.read(chunk.get_mut(..1).unwrap_or_default()), Ok(0));
    if !ends {
        return Err(damaged("it does not end where it should".to_owned()));
    }
    let found = Sha256Digest(hasher.finalize().into());
    if found == piece.sha256 {
        return Ok(());
    }
    Err(damaged(format!(
        "its SHA-256 is {found}: it is not what was written"
    )))
}
