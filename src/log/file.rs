//! How does a segment file come to be, and how is it opened again?
//!
//! A new segment appears under its name only when its header block is durable, and is written to
//! only after the manifest names it. An existing one is mapped in its full length, which never
//! changes. Called by `writer` and `recover`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    error::{PulseDBError, Result},
    format::{
        FORMAT_VERSION, FileFault, SEGMENT_HEADER_LEN, SegmentHeader, parse_segment_file_name,
        segment_file_name,
    },
    model::{InstanceId, Lsn},
    vfs::{Map, OpenMode, Vfs, VfsFile},
};

use super::{
    headless::implied_header,
    pool::{Spare, is_spare},
    segment::{Segment, SegmentMeta},
};

pub(super) const UNFINISHED: &str = ".tmp";

/// An existing segment file, its header checked, its frames not looked at.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) path: PathBuf,
    pub(super) header: SegmentHeader,
    /// What is wrong with its header block, where `header` is what is known without.
    pub(super) damage: Option<String>,
    pub(super) file: Arc<dyn VfsFile>,
    pub(super) map: Map,
}

impl OpenFile {
    /// The segment that it is, with frames up to `end`, and its sparse index.
    pub(super) fn into_segment(self, end: u64, index: Vec<(u64, u32)>) -> Segment {
        let segment = Segment::new(self.path, self.header, self.file, self.map, end, index);
        match self.damage {
            None => segment,
            Some(_) => segment.without_header_block(),
        }
    }

    /// This file, if it is the one that the manifest of this database calls `meta`.
    fn named(self, meta: &SegmentMeta, instance_id: InstanceId) -> Result<Self> {
        let header = &self.header;
        let what = if (header.id, header.first_lsn) != (meta.id, meta.first_lsn) {
            format!(
                "the header names segment {} from LSN {}, the manifest segment {} from LSN {}",
                header.id, header.first_lsn, meta.id, meta.first_lsn
            )
        } else if header.instance_id != instance_id {
            format!("the segment belongs to database {}", header.instance_id)
        } else {
            return Ok(self);
        };
        Err(PulseDBError::corrupted(self.path, 0, what))
    }
}

/// A file of which nothing was looked at.
struct Unseen {
    path: PathBuf,
    file: Arc<dyn VfsFile>,
    map: Map,
}

/// The file of the segment `id` that begins with `first_lsn`, in the log directory `dir`.
pub(crate) fn segment_path(dir: &Path, first_lsn: Lsn, id: u32) -> PathBuf {
    dir.join(segment_file_name(first_lsn, id))
}

/// Makes a segment file: header block, sync, final name, sync of the directory.
pub(super) fn create(
    vfs: &dyn Vfs,
    dir: &Path,
    header: SegmentHeader,
    segment_bytes: u64,
    spare: Option<Spare>,
) -> Result<Segment> {
    let path = segment_path(dir, header.first_lsn, header.id);
    let (unfinished, file) = match spare {
        Some(spare) => (spare.path, spare.file),
        None => {
            let unfinished = dir.join(format!(
                "{}{UNFINISHED}",
                segment_file_name(header.first_lsn, header.id)
            ));
            let file = vfs
                .open(&unfinished, OpenMode::CreateNew)
                .map_err(PulseDBError::io("create", &unfinished))?;
            file.allocate(segment_bytes)
                .map_err(PulseDBError::io("reserve space for", &unfinished))?;
            (unfinished, file)
        }
    };
    share(&file, &unfinished)?;
    file.write_all_at(&header.encode(), 0)
        .map_err(PulseDBError::io("write", &unfinished))?;
    file.sync_all()
        .map_err(PulseDBError::io("sync", &unfinished))?;
    vfs.rename(&unfinished, &path)
        .map_err(PulseDBError::io("rename", &unfinished))?;
    vfs.sync_dir(dir).map_err(PulseDBError::io("sync", dir))?;
    let len = file.len().map_err(PulseDBError::io("look at", &path))?;
    let map = file.map(len).map_err(PulseDBError::io("map", &path))?;
    Ok(Segment::new(
        path,
        header,
        file,
        map,
        SEGMENT_HEADER_LEN as u64,
        Vec::new(),
    ))
}

/// Takes the shared lock that is held for as long as a segment is mapped, so that no other process
/// recycles its file: not under a reader, and not under a snapshot that outlives its database.
pub(super) fn share(file: &Arc<dyn VfsFile>, path: &Path) -> Result<()> {
    if file
        .try_lock_shared()
        .map_err(PulseDBError::io("lock", path))?
    {
        return Ok(());
    }
    Err(PulseDBError::corrupted(
        path,
        0,
        "the segment is being recycled; open again",
    ))
}

/// Opens the segment that the manifest calls `meta`.
pub(super) fn open(
    vfs: &dyn Vfs,
    dir: &Path,
    meta: &SegmentMeta,
    instance_id: InstanceId,
    read_only: bool,
) -> Result<OpenFile> {
    let unseen = map_file(vfs, &segment_path(dir, meta.first_lsn, meta.id), read_only)?;
    unseen.checked()?.named(meta, instance_id)
}

/// The same, also where the header block is damaged: then by what is known without. `may_be_empty` says
/// whether nothing in it may count.
pub(super) fn open_damaged(
    vfs: &dyn Vfs,
    dir: &Path,
    meta: &SegmentMeta,
    instance_id: InstanceId,
    read_only: bool,
    may_be_empty: bool,
) -> Result<OpenFile> {
    let unseen = map_file(vfs, &segment_path(dir, meta.first_lsn, meta.id), read_only)?;
    let error = match decode_header(unseen.block(), &unseen.path) {
        Err(error @ PulseDBError::Corrupted { .. }) => error,
        _ => return unseen.checked()?.named(meta, instance_id),
    };
    let frames = match meta.end {
        0 => unseen.map.len(),
        end => end.min(unseen.map.len()),
    };
    let mut bytes = unseen.map.get(0..frames).unwrap_or_default();
    let header = implied_header(&mut bytes, meta, instance_id, may_be_empty);
    match (header, error) {
        (Some(header), PulseDBError::Corrupted { what, .. }) => Ok(OpenFile {
            path: unseen.path,
            header,
            damage: Some(what),
            file: unseen.file,
            map: unseen.map,
        }),
        (_, error) => Err(error),
    }
}

/// Is there a file of the segment `id`, with a header block that says the same? Reads with pread.
pub(crate) fn check_file(
    vfs: &dyn Vfs,
    dir: &Path,
    first_lsn: Lsn,
    id: u32,
    instance_id: InstanceId,
) -> Result<()> {
    let path = segment_path(dir, first_lsn, id);
    let file = vfs
        .open(&path, OpenMode::Read)
        .map_err(PulseDBError::io("open", &path))?;
    let header = read_header(&*file, &path)?;
    if (header.id, header.first_lsn, header.instance_id) == (id, first_lsn, instance_id) {
        return Ok(());
    }
    Err(PulseDBError::corrupted(
        path,
        0,
        "the header is that of another segment",
    ))
}

/// The header block of a segment, by pread.
pub(super) fn read_header(file: &dyn VfsFile, path: &Path) -> Result<SegmentHeader> {
    let mut block = vec![0; SEGMENT_HEADER_LEN];
    file.read_exact_at(&mut block, 0)
        .map_err(PulseDBError::io("read the header of", path))?;
    decode_header(&block, path)
}

fn decode_header(block: &[u8], path: &Path) -> Result<SegmentHeader> {
    SegmentHeader::decode(block).map_err(|error| match error {
        FileFault::Version { found } => PulseDBError::Version {
            found,
            supported: FORMAT_VERSION,
        },
        error => PulseDBError::corrupted(path, 0, error.to_string()),
    })
}

/// Opens any segment file.
pub(super) fn open_unchecked(vfs: &dyn Vfs, path: &Path, read_only: bool) -> Result<OpenFile> {
    map_file(vfs, path, read_only)?.checked()
}

fn map_file(vfs: &dyn Vfs, path: &Path, read_only: bool) -> Result<Unseen> {
    let mode = if read_only {
        OpenMode::Read
    } else {
        OpenMode::Write
    };
    let file = vfs
        .open(path, mode)
        .map_err(PulseDBError::io("open", path))?;
    share(&file, path)?;
    let len = file.len().map_err(PulseDBError::io("look at", path))?;
    if len < SEGMENT_HEADER_LEN as u64 {
        return Err(PulseDBError::corrupted(
            path,
            0,
            format!("{len} bytes are less than a segment header"),
        ));
    }
    let map = file.map(len).map_err(PulseDBError::io("map", path))?;
    Ok(Unseen {
        path: path.to_owned(),
        file,
        map,
    })
}

impl Unseen {
    fn block(&self) -> &[u8] {
        let block = self.map.get(0..SEGMENT_HEADER_LEN as u64);
        block.unwrap_or_default()
    }

    fn checked(self) -> Result<OpenFile> {
        let header = decode_header(self.block(), &self.path)?;
        if header.cipher != 0 || header.key != 0 {
            return Err(PulseDBError::config(
                "path",
                format!(
                    "{} is encrypted (cipher {}, key {}), which this build cannot read",
                    self.path.display(),
                    header.cipher,
                    header.key
                ),
            ));
        }
        Ok(OpenFile {
            path: self.path,
            header,
            damage: None,
            file: self.file,
            map: self.map,
        })
    }
}

/// First LSNs and numbers of the segment files in `dir`, ascending.
pub(crate) fn list(vfs: &dyn Vfs, dir: &Path) -> Result<Vec<(Lsn, u32)>> {
    let names = vfs.list(dir).map_err(PulseDBError::io("list", dir))?;
    Ok(names
        .iter()
        .filter_map(|name| parse_segment_file_name(name))
        .collect())
}

/// Removes the files of segments that were never published, which hold no commits, and what was
/// left unfinished. `keep` are the published segments.
pub(crate) fn remove_orphans(vfs: &dyn Vfs, dir: &Path, keep: &[SegmentMeta]) -> Result<()> {
    let mut removed = false;
    for name in vfs.list(dir).map_err(PulseDBError::io("list", dir))? {
        let orphan = match parse_segment_file_name(&name) {
            Some((_, id)) => !keep.iter().any(|meta| meta.id == id),
            None => name.ends_with(UNFINISHED) && !is_spare(&name),
        };
        if orphan {
            let path = dir.join(&name);
            vfs.remove(&path)
                .map_err(PulseDBError::io("remove", &path))?;
            removed = true;
        }
    }
    if removed {
        // Before anything else is published: a name that came back could be taken for a segment.
        vfs.sync_dir(dir).map_err(PulseDBError::io("sync", dir))?;
    }
    Ok(())
}
