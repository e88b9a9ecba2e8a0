//! What of a damaged database can be had again, in a new one?
//!
//! Everything that checksums vouch for, whatever is left around it: manifests, header blocks, whole
//! segments may be missing. Two passes over the log: the first finds out who lives (`census`), the
//! second copies (`copy`) what lives, in the order of LSNs, each LSN once although replaced segments may
//! be around (`sources`). The source is not changed, and not opened by a writer meanwhile. Deletions are
//! honoured as far as they can be read. Called by the surface, on a thread of its own.

mod census;
mod copy;
mod sources;

use std::{io, path::Path, sync::Arc};

use crate::{
    env::Env,
    error::{PulseDBError, Result},
    format::{FrameHeader, Record, entity_of},
    model::{Damage, InstanceId, Lsn, SalvageReport, VerifyProgress, VerifyReport},
    vfs::{LOCK, OpenMode, Vfs, VfsFile, create_dir, lock_dir, lock_holder},
};

use super::recover::{LOG_DIR, new_instance_id, not_a_database};
use census::{Census, Fate};
use copy::Copy;
use sources::{Item, Items, Part, Sources};

/// Bytes between two tellings of the progress.
const TELL_BYTES: u64 = 1024 * 1024;

/// Of what the holder of a lock writes down; more is not its.
const MAX_NOTE_BYTES: u64 = 64;

/// Copies what can be read of the database in `source` into a new one in `dest`.
///
/// # Errors
/// `Config` where `dest` is not empty, or `source` has no log; `Locked` while a writer has the source
/// open; `Version` where a newer build wrote it; `Io` where the log's directory cannot be listed or the
/// new database cannot be written; and what `tell` answers.
pub(crate) fn salvage(
    vfs: &Arc<dyn Vfs>,
    env: &dyn Env,
    source: &Path,
    dest: &Path,
    tell: &mut dyn FnMut(VerifyProgress) -> Result<()>,
) -> Result<SalvageReport> {
    let from = source.join(LOG_DIR);
    if !exists(&**vfs, &from)? {
        return Err(not_a_database(source));
    }
    refuse_contents(&**vfs, dest)?;
    let _shut_out = shut_writers_out(&**vfs, source)?;
    let mut pass = Pass {
        report: SalvageReport {
            source: None,
            instance_id: new_instance_id(env, env.now()),
            segments: 0,
            records: 0,
            bytes: 0,
            collectives: 0,
            experiences: 0,
            deleted: 0,
            orphans: 0,
            unfinished: 0,
            behind_tear: 0,
            redefined: Vec::new(),
            lost: Vec::new(),
            unlisted: 0,
            unused: Vec::new(),
        },
        tell,
        told: 0,
        progress: VerifyProgress::default(),
    };
    let mut sources = Sources::find(vfs, source, &from)?;
    pass.report.source = sources.instance;
    for error in std::mem::take(&mut sources.lost) {
        pass.lost_file(error);
    }
    for error in std::mem::take(&mut sources.unused) {
        pass.unused(error);
    }
    // Each is read twice.
    pass.progress.total_bytes = 2 * sources.parts.iter().map(|part| part.limit).sum::<u64>();
    let mut census = Census::default();
    pass.count(&mut sources, &mut census)?;
    let (definitions, redefined) = census.definitions(|| env.random_u128());
    pass.report.redefined = redefined;
    (pass.report.collectives, pass.report.experiences) = census.count();
    create_dir(&**vfs, dest)?;
    let _lock = lock_dir(&**vfs, dest)?;
    let to = dest.join(LOG_DIR);
    create_dir(&**vfs, &to)?;
    let instance: InstanceId = pass.report.instance_id;
    let mut copy = Copy::new(vfs, env, dest, to, instance, census.bytes);
    pass.copy(&sources, &census, definitions, &mut copy)?;
    (pass.report.records, pass.report.bytes) = copy.finish()?;
    pass.progress.bytes = pass.progress.total_bytes;
    (pass.tell)(pass.progress)?;
    Ok(pass.report)
}

struct Pass<'a> {
    report: SalvageReport,
    tell: &'a mut dyn FnMut(VerifyProgress) -> Result<()>,
    told: u64,
    progress: VerifyProgress,
}

/// A file that the second pass is at.
struct Reading<'a> {
    part: &'a Part,
    items: Items,
    /// The next frame that it has.
    next: (u64, FrameHeader, bool),
}

impl Pass<'_> {
    fn read(&mut self, bytes: u64) -> Result<()> {
        self.progress.bytes += bytes;
        if self.progress.bytes - self.told >= TELL_BYTES {
            self.told = self.progress.bytes;
            (self.tell)(self.progress)?;
        }
        Ok(())
    }

    fn lost(&mut self, damage: Damage) {
        self.progress.faults += 1;
        if self.report.lost.len() < VerifyReport::MAX_LISTED {
            self.report.lost.push(damage);
        } else {
            self.report.unlisted += 1;
        }
    }

    fn lost_file(&mut self, error: PulseDBError) {
        let (file, what) = explained(error);
        self.lost(Damage {
            file,
            offset: 0,
            what,
            entity: None,
        });
    }

    fn unused(&mut self, error: PulseDBError) {
        if self.report.unused.len() < VerifyReport::MAX_LISTED {
            self.report.unused.push(explained(error));
        }
    }

    /// The first pass: first what the log consists of, then what may fill its holes.
    fn count(&mut self, sources: &mut Sources, census: &mut Census) -> Result<()> {
        let mut holes = Vec::new();
        for part in sources.parts.iter().filter(|part| part.named) {
            if let Err(error) = &part.raw.header {
                let (file, what) = explained(error.clone());
                self.lost(Damage {
                    file,
                    offset: 0,
                    what: format!("{what}; its frames were found without it"),
                    entity: None,
                });
            }
            let mut items = part.items();
            let mut before = 0;
            while let Some(item) = items.next() {
                match item {
                    Item::Frame { at, header, .. } => {
                        self.read(at - before)?;
                        before = at;
                        if !self.frame(part, &mut items, at, &header, census) {
                            let lsn = header.lsn.get();
                            holes.push(lsn..lsn + 1);
                        }
                    }
                    Item::Lost { at, what, lsns } => {
                        self.read(at - before)?;
                        before = at;
                        holes.push(lsns);
                        self.lost(Damage {
                            file: part.raw.path.clone(),
                            offset: at,
                            what,
                            entity: None,
                        });
                    }
                    Item::Unfinished(frames) => self.report.unfinished += frames,
                }
            }
            self.read(part.limit.saturating_sub(before))?;
        }
        sources.holes.extend(holes);
        for part in sources.parts.iter().filter(|part| !part.named) {
            let mut items = part.items();
            while let Some(item) = items.next() {
                if let Item::Frame { at, header, .. } = item
                    && sources.wants(false, header.lsn)
                    && let Some(payload) = decoded(&mut items, at, &header)
                {
                    census.record(&header, payload);
                }
            }
            self.read(part.limit)?;
        }
        Ok(())
    }

    /// Whether the frame of a named segment is readable.
    fn frame(
        &mut self,
        part: &Part,
        items: &mut Items,
        at: u64,
        header: &FrameHeader,
        census: &mut Census,
    ) -> bool {
        let fault = match items.payload(at, header) {
            Ok(payload) => match Record::decode(header, payload) {
                Ok(_) => {
                    census.record(header, payload);
                    self.progress.records += 1;
                    return true;
                }
                Err(error) => error.to_string(),
            },
            Err(what) => what,
        };
        census.damaged(header);
        self.lost(Damage {
            file: part.raw.path.clone(),
            offset: at,
            what: fault,
            entity: entity_of(header),
        });
        false
    }

    /// The second pass: all files at once, by LSN.
    fn copy(
        &mut self,
        sources: &Sources,
        census: &Census,
        definitions: Vec<(FrameHeader, Vec<u8>)>,
        copy: &mut Copy<'_>,
    ) -> Result<()> {
        let mut waiting = sources.parts.iter().peekable();
        let mut reading: Vec<Reading<'_>> = Vec::new();
        let mut definitions = definitions.into_iter().peekable();
        let mut last_lsn = Lsn::ZERO;
        loop {
            let next = reading.iter().map(|one| one.next.1.lsn).min();
            // A file is opened when its turn may have come.
            if let Some(part) =
                waiting.next_if(|part| next.is_none_or(|next| part.raw.first_lsn <= next))
            {
                let mut items = part.items();
                if let Some(next) = next_frame(&mut items, sources, part) {
                    self.report.segments += 1;
                    reading.push(Reading { part, items, next });
                }
                continue;
            }
            let Some(lsn) = next else {
                break;
            };
            // The first of them is the log's own.
            let Some(place) = reading.iter().position(|one| one.next.1.lsn == lsn) else {
                break;
            };
            let Some(one) = reading.get_mut(place) else {
                break;
            };
            let (at, header, behind_tear) = one.next;
            while let Some((made, payload)) = definitions.next_if(|(made, _)| made.lsn < lsn) {
                let made = FrameHeader {
                    time: header.time,
                    ..made
                };
                copy.end_commit()?;
                copy.push(made, &payload)?;
                copy.end_commit()?;
                last_lsn = made.lsn;
            }
            let fate = census.fate(&header);
            if lsn > last_lsn
                && let Some(payload) = decoded(&mut one.items, at, &header)
            {
                match fate {
                    Fate::Taken => {
                        copy.push(header, payload)?;
                        self.report.behind_tear += u64::from(behind_tear);
                        last_lsn = lsn;
                    }
                    Fate::Deleted => self.report.deleted += u64::from(header.collective != 0),
                    Fate::Orphan => self.report.orphans += 1,
                }
            }
            if header.closes_commit {
                copy.end_commit()?;
            }
            self.read(header.frame_len())?;
            match next_frame(&mut one.items, sources, one.part) {
                Some(next) => one.next = next,
                None => drop(reading.remove(place)),
            }
        }
        Ok(())
    }
}

/// The next frame of a file that is wanted.
fn next_frame(
    items: &mut Items,
    sources: &Sources,
    part: &Part,
) -> Option<(u64, FrameHeader, bool)> {
    items.find_map(|item| match item {
        Item::Frame {
            at,
            header,
            behind_tear,
        } if sources.wants(part.named, header.lsn) => Some((at, header, behind_tear)),
        _ => None,
    })
}

/// The payload of a frame, if it is intact and says something.
fn decoded<'a>(items: &'a mut Items, at: u64, header: &FrameHeader) -> Option<&'a [u8]> {
    let payload = items.payload(at, header).ok()?;
    Record::decode(header, payload).ok()?;
    Some(payload)
}

fn explained(error: PulseDBError) -> (std::path::PathBuf, String) {
    match error {
        PulseDBError::Corrupted { file, what, .. } => (file, what),
        PulseDBError::Io { path, source, .. } => (path, source.to_string()),
        other => (std::path::PathBuf::new(), other.to_string()),
    }
}

fn exists(vfs: &dyn Vfs, path: &Path) -> Result<bool> {
    vfs.exists(path).map_err(PulseDBError::io("look for", path))
}

/// A new database does not share its directory.
fn refuse_contents(vfs: &dyn Vfs, dest: &Path) -> Result<()> {
    let empty = !exists(vfs, dest)?
        || (!exists(vfs, &dest.join(LOG_DIR))?
            && vfs
                .list(dest)
                .map_err(PulseDBError::io("list", dest))?
                .is_empty());
    if empty {
        return Ok(());
    }
    Err(PulseDBError::config(
        "dest",
        format!(
            "{} is not empty; name a directory that does not exist",
            dest.display()
        ),
    ))
}

/// Keeps writers from opening the source for as long as the handle lives; refuses where one has.
fn shut_writers_out(vfs: &dyn Vfs, source: &Path) -> Result<Option<Arc<dyn VfsFile>>> {
    let path = source.join(LOCK);
    let file = match vfs.open(&path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(PulseDBError::io("open", &path)(error)),
    };
    let free = file
        .try_lock_shared()
        .map_err(PulseDBError::io("lock", &path))?;
    if free {
        return Ok(Some(file));
    }
    let mut note = vec![0; file.len().unwrap_or(0).min(MAX_NOTE_BYTES) as usize];
    // Without it, the holder is not named.
    let _ = file.read_exact_at(&mut note, 0);
    Err(PulseDBError::Locked {
        pid: lock_holder(&note),
        path: source.to_owned(),
    })
}

#[cfg(all(test, feature = "sim"))]
mod tests;
