//! How does a database get into a repository while it is written?
//!
//! Of one published commit, the segments and where their frames end then: nothing before that place changes
//! any more, so whatever is committed meanwhile is of no matter, and nobody waits. The files stay for as long
//! as the segments are held, also when compaction replaces them. Of each segment, the repository may hold
//! a beginning already; only the rest becomes a new piece. Last, the manifest.

use std::{path::PathBuf, sync::Arc};

use sha2::{Digest, Sha256};

use super::{
    CHUNK_BYTES, Repository, Waiter, new_uuid,
    piece::{PieceWriter, Written},
    repository::Manifests,
};
use crate::{
    error::{PulseDBError, Result},
    format::{BackupManifest, BackupPiece, BackupSegment, FORMAT_VERSION, Manifest, Sha256Digest},
    log::{Segment, SegmentSet},
    model::{BackupCompression, BackupId, BackupInfo, BackupOptions, Cursor, Lsn, Timestamp},
    vfs::OpenMode,
};

/// What is copied: a published commit.
#[derive(Debug)]
pub(crate) struct Source {
    /// When that was looked for.
    pub(crate) now: Timestamp,
    /// The commit; everything up to it is durable.
    pub(crate) cursor: Cursor,
    /// The time of the newest record.
    pub(crate) last_write: Timestamp,
    /// The log, as of then.
    pub(crate) segments: Arc<SegmentSet>,
    /// The manifest, as of then or later.
    pub(crate) database: Manifest,
    /// Segments that could not be opened.
    pub(crate) missing: Vec<PathBuf>,
}

/// Where the bytes of the new pieces went.
#[derive(Default)]
struct Added {
    bytes: u64,
    stored: u64,
    shared: u64,
}

/// Makes a backup.
///
/// # Errors
/// `Config` where `dir` is something else or holds backups of another database; `Locked` while somebody else
/// works there; `Corrupted` where a segment is missing; `Io`; `Closed` where nobody waits any more. There
/// is no new backup then, and what was copied is removed by the next one.
pub(crate) fn create(
    repository: &Repository,
    source: &Source,
    options: &BackupOptions,
    waiter: &mut Waiter<'_>,
) -> Result<BackupInfo> {
    if let Some(path) = source.missing.first() {
        return Err(PulseDBError::corrupted(
            path,
            0,
            "the segment cannot be read, and a backup without it would not be the database; salvage it",
        ));
    }
    let _lock = repository.lock()?;
    let held = repository.manifests()?;
    refuse_other_database(&held, source)?;
    repository.sweep(&held)?;
    let parts = parts(source);
    let reused: Vec<Vec<BackupPiece>> = parts
        .iter()
        .map(|part| match options.full {
            true => Vec::new(),
            false => repository.reusable(&held, part),
        })
        .collect();
    let bytes = parts.iter().map(|part| part.end).sum();
    let new_bytes = parts
        .iter()
        .zip(&reused)
        .map(|(part, reused)| part.end - end_of(reused))
        .sum();
    waiter.begin(new_bytes, options.bytes_per_second);
    let parent = held.readable.last().map(|newest| newest.info.id);
    let uses_parent = reused.iter().any(|pieces| !pieces.is_empty());
    let mut added = Added::default();
    let mut segments = Vec::with_capacity(parts.len());
    for (part, reused) in parts.iter().zip(reused) {
        segments.push(repository.add(part, reused, options, &mut added, waiter)?);
    }
    let manifest = BackupManifest {
        info: BackupInfo {
            id: next_id(repository, parent, source.now),
            parent: parent.filter(|_| uses_parent),
            created_at: source.now,
            instance_id: source.database.instance_id,
            cursor: source.cursor,
            last_write: source.last_write,
            history_from: history_from(source),
            format_version: FORMAT_VERSION,
            compression: options.compression,
            segments: segments.len() as u64,
            bytes,
            new_bytes: added.bytes,
            stored_bytes: added.stored,
            shared_bytes: added.shared,
        },
        database: source.database.clone(),
        segments,
    };
    repository.publish(&manifest)?;
    Ok(manifest.info)
}

/// One segment, as far as it is copied.
struct Part<'a> {
    segment: &'a Segment,
    header_crc: u32,
    end: u64,
    /// Nothing is ever written to its file any more.
    sealed: bool,
}

/// The segments up to the commit.
fn parts(source: &Source) -> Vec<Part<'_>> {
    let lsn = source.cursor.lsn;
    let sealed = source.segments.sealed().len();
    let segments = source.segments.segments().iter().enumerate();
    segments
        .filter(|(_, segment)| segment.header().first_lsn <= lsn)
        .map(|(place, segment)| {
            let block = segment.header().encode();
            let crc = block.last_chunk().copied().unwrap_or_default();
            let sealed = place < sealed;
            Part {
                segment,
                header_crc: u32::from_le_bytes(crc),
                end: match sealed {
                    true => segment.end(),
                    false => segment.end_of(lsn),
                },
                sealed,
            }
        })
        .collect()
}

/// Below this LSN something is gone.
fn history_from(source: &Source) -> Lsn {
    let headers = source
        .segments
        .segments()
        .iter()
        .map(|s| s.header().cleaned);
    headers.fold(source.database.retained_from, Lsn::max)
}

/// Of two databases in one repository, removing old backups could leave none of the other.
fn refuse_other_database(held: &Manifests, source: &Source) -> Result<()> {
    let own = source.database.instance_id;
    let mut others = held.readable.iter().map(|one| one.info.instance_id);
    match others.find(|other| *other != own) {
        Some(other) => Err(PulseDBError::config(
            "dir",
            format!(
                "it holds backups of database {other}, and this is {own}; name another directory"
            ),
        )),
        None => Ok(()),
    }
}

/// Behind all others, also where the clock went back.
fn next_id(repository: &Repository, newest: Option<BackupId>, now: Timestamp) -> BackupId {
    let after = newest
        .and_then(|id| id.as_uuid().get_timestamp())
        .map_or(i64::MIN, |time| {
            let (seconds, nanos) = time.to_unix();
            let millis = seconds.saturating_mul(1000) + u64::from(nanos) / 1_000_000;
            i64::try_from(millis).map_or(i64::MAX, |millis| millis.saturating_add(1))
        });
    let moment = Timestamp::from_millis(now.as_millis().max(after));
    BackupId::from_uuid(new_uuid(&*repository.medium.env, moment))
}

fn end_of(pieces: &[BackupPiece]) -> u64 {
    pieces.last().map_or(0, |piece| piece.to)
}

impl Repository {
    /// The pieces that the newest backups hold of the beginning of a segment.
    fn reusable(&self, held: &Manifests, part: &Part<'_>) -> Vec<BackupPiece> {
        let is_same = |other: &&BackupSegment| {
            other.id == part.segment.id()
                && other.first_lsn == part.segment.header().first_lsn
                && other.header_crc == part.header_crc
        };
        let newest_first = held.readable.iter().rev();
        let known = newest_first
            .flat_map(|manifest| manifest.segments.iter().find(is_same))
            .next();
        let pieces = known.map_or(&[][..], |segment| &segment.pieces);
        // A piece beyond the end holds what a power cut took from the database since.
        let usable = pieces
            .iter()
            .take_while(|piece| piece.to <= part.end && self.is_there(piece));
        usable.copied().collect()
    }

    /// Whether the file of a piece may be whole. That it is, a verification says.
    fn is_there(&self, piece: &BackupPiece) -> bool {
        let path = self.piece_path(piece);
        let file = self.medium.vfs.open(&path, OpenMode::Read);
        let len = file.and_then(|file| file.len());
        len.is_ok_and(|len| len >= piece.stored)
    }

    /// Adds what the repository lacks of a segment.
    fn add(
        &self,
        part: &Part<'_>,
        mut pieces: Vec<BackupPiece>,
        options: &BackupOptions,
        added: &mut Added,
        waiter: &mut Waiter<'_>,
    ) -> Result<BackupSegment> {
        let from = end_of(&pieces);
        if from < part.end {
            let whole = part.sealed && from == 0;
            let plain = options.compression == BackupCompression::None;
            let shared = match whole && plain && options.share {
                true => self.share(part, waiter)?,
                false => None,
            };
            let is_shared = shared.is_some();
            let written = match shared {
                Some(written) => written,
                None => self.copy(part, from, options.compression, waiter)?,
            };
            let piece = BackupPiece {
                from,
                to: part.end,
                sha256: written.sha256,
                compression: options.compression,
                stored: written.stored,
            };
            self.name(&piece)?;
            added.bytes += piece.bytes();
            added.stored += piece.stored;
            added.shared += if is_shared { piece.stored } else { 0 };
            pieces.push(piece);
        }
        Ok(BackupSegment {
            id: part.segment.id(),
            first_lsn: part.segment.header().first_lsn,
            header_crc: part.header_crc,
            end: part.end,
            pieces,
        })
    }

    /// Gives a finished piece its name. One of the same content is replaced in one step: others may need
    /// it, and it may have been harmed since.
    fn name(&self, piece: &BackupPiece) -> Result<()> {
        let (unfinished, path) = (self.unfinished_piece(), self.piece_path(piece));
        let vfs = &*self.medium.vfs;
        vfs.rename(&unfinished, &path)
            .map_err(PulseDBError::io("rename", &unfinished))?;
        // Where both are names of one file, a rename leaves both.
        let is_left = vfs
            .exists(&unfinished)
            .map_err(PulseDBError::io("look for", &unfinished))?;
        if is_left {
            vfs.remove(&unfinished)
                .map_err(PulseDBError::io("remove", &unfinished))?;
        }
        Ok(())
    }

    /// Copies a segment from byte `from` on.
    fn copy(
        &self,
        part: &Part<'_>,
        from: u64,
        compression: BackupCompression,
        waiter: &mut Waiter<'_>,
    ) -> Result<Written> {
        let path = self.unfinished_piece();
        let file = self.create(&path)?;
        let mut writer =
            PieceWriter::new(file, compression).map_err(PulseDBError::io("write", &path))?;
        read(part, from, &mut |bytes| {
            writer
                .write(bytes)
                .map_err(PulseDBError::io("write", &path))?;
            waiter.did(bytes.len() as u64)
        })?;
        writer.finish().map_err(PulseDBError::io("write", &path))
    }

    /// Lets a sealed segment and a piece share their blocks, if the file system can.
    fn share(&self, part: &Part<'_>, waiter: &mut Waiter<'_>) -> Result<Option<Written>> {
        let path = self.unfinished_piece();
        // Under this name is the file that is held: its number is never given to another segment, and
        // while it is held under a shared lock nobody recycles it. Where compaction removed the name since,
        // the segment is copied. So it is where the file system can share nothing.
        if self.medium.vfs.share(part.segment.path(), &path).is_err() {
            return Ok(None);
        }
        let mut hasher = Sha256::new();
        read(part, 0, &mut |bytes| {
            hasher.update(bytes);
            waiter.did(bytes.len() as u64)
        })?;
        Ok(Some(Written {
            sha256: Sha256Digest(hasher.finalize().into()),
            stored: part.end,
        }))
    }
}

/// Gives `take` the bytes of a segment from `from` on, with pread: what the medium does not give is an
/// error.
fn read(part: &Part<'_>, from: u64, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let file = part.segment.handle();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut at = from;
    while at < part.end {
        let len = (part.end - at).min(CHUNK_BYTES as u64);
        let bytes = chunk.get_mut(..len as usize).unwrap_or_default();
        file.read_exact_at(bytes, at)
            .map_err(PulseDBError::io("read", part.segment.path()))?;
        take(bytes)?;
        at += len;
    }
    Ok(())
}
