//! Is every stored byte what was written, and does it fit together?
//!
//! One pass over the log with pread, a piece at a time: checksums, payloads, order, commits; what
//! records say of each other (`references`); then the tables against the log, the manifest against the
//! directory, and the derived files against the tables (`graphs`). Nothing is changed. It looks at one
//! published snapshot, so that it may run beside a writer, and holds that snapshot for as long as it
//! runs. Memory: a piece of a file and about a bit per row, and some tens of bytes per row that was
//! changed. Called by the surface, on a thread of its own.

mod checkpoint;
mod graphs;
mod references;

use std::{collections::BTreeMap, ops::Range, path::Path, sync::Arc};

use roaring::RoaringBitmap;

use crate::{
    error::{PulseDBError, Result},
    format::{FrameHeader, Record, RowKind, collective_of, entity_of},
    log::{self, Pieces, Segment, SegmentSet, Step, Walk},
    manifest::{self, ManifestStore},
    model::{Damage, EntityId, InstanceId, Lsn, VerifyProgress, VerifyReport},
    state::{Snapshot, Table, body},
    vfs::Vfs,
};

use super::recover::LOG_DIR;
use references::{Living, References};

/// Bytes between two tellings of the progress.
const TELL_BYTES: u64 = 1024 * 1024;

/// What is looked at.
pub(crate) struct Subject<'a> {
    /// The file system.
    pub(crate) vfs: &'a Arc<dyn Vfs>,
    /// The database's directory.
    pub(crate) path: &'a Path,
    /// Whose it is.
    pub(crate) instance: InstanceId,
    /// What names its files.
    pub(crate) manifest: &'a ManifestStore,
    /// The snapshot.
    pub(crate) view: &'a Snapshot<Arc<SegmentSet>>,
}

/// Looks at everything. `tell` hears of the progress, and ends it by an error.
///
/// # Errors
/// What `tell` answers, and `Io` where directories cannot be listed; whatever is wrong with what is
/// stored is in the report.
pub(crate) fn verify(
    subject: &Subject<'_>,
    tell: &mut dyn FnMut(VerifyProgress) -> Result<()>,
) -> Result<VerifyReport> {
    let mut pass = Pass {
        subject,
        tell,
        told: 0,
        progress: VerifyProgress::default(),
        report: VerifyReport {
            cursor: subject.view.cursor,
            segments: 0,
            records: 0,
            graphs: 0,
            bytes: 0,
            damage: Vec::new(),
            index_damage: Vec::new(),
            unlisted: 0,
            leftovers: Vec::new(),
        },
    };
    let segments = subject.view.segments.segments();
    // A writer may be at work behind these ends.
    let ends: Vec<u64> = segments.iter().map(|segment| segment.end()).collect();
    pass.progress.total_bytes = ends.iter().sum();
    let mut references = References::new(subject.manifest.current().retained_from);
    for ((segment, end), number) in segments.iter().zip(ends).zip(0..) {
        pass.segment(segment, end, number, &mut references)?;
    }
    let blind = references.is_blind();
    let living = references.finish(&mut |fault| {
        if let Some(segment) = segments.get(fault.segment as usize) {
            pass.record_fault(segment, fault.offset, fault.what, fault.entity);
        }
    });
    pass.tables(&living, blind);
    pass.names()?;
    pass.derived()?;
    pass.report.bytes = pass.progress.bytes;
    pass.report.records = pass.progress.records;
    (pass.tell)(pass.progress)?;
    Ok(pass.report)
}

/// One look at everything, on its way.
struct Pass<'a> {
    subject: &'a Subject<'a>,
    tell: &'a mut dyn FnMut(VerifyProgress) -> Result<()>,
    /// Bytes read when the progress was last told.
    told: u64,
    progress: VerifyProgress,
    report: VerifyReport,
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

    fn note(&mut self, damage: Damage, derived: bool) {
        self.progress.faults += 1;
        let list = if derived {
            &mut self.report.index_damage
        } else {
            &mut self.report.damage
        };
        if list.len() < VerifyReport::MAX_LISTED {
            list.push(damage);
        } else {
            self.report.unlisted += 1;
        }
    }

    /// Notes what an error says of a file.
    fn note_error(&mut self, error: PulseDBError, at: &Path, derived: bool) {
        let (file, offset, what) = match error {
            PulseDBError::Corrupted { file, offset, what } => (file, offset, what),
            PulseDBError::Io { path, source, .. } => (path, 0, source.to_string()),
            other => (at.to_owned(), 0, other.to_string()),
        };
        let damage = Damage {
            file,
            offset,
            what,
            entity: None,
        };
        self.note(damage, derived);
    }

    /// All frames of a segment.
    fn segment(
        &mut self,
        segment: &Segment,
        end: u64,
        number: u32,
        references: &mut References,
    ) -> Result<()> {
        self.report.segments += 1;
        if let Err(error) = segment.check_header() {
            self.note_error(error, segment.path(), false);
        }
        let newest = self.subject.view.lsn();
        let mut walk = segment.walk_pieces(end, references.last_lsn());
        let mut before = 0;
        while let Some(step) = walk.next() {
            let at = match step {
                Step::Gap {
                    at, resume, what, ..
                } => {
                    references.lost(None);
                    let what = reason(&mut walk, at..resume, what);
                    self.record_fault(segment, at, what, None);
                    resume
                }
                Step::Frame { at, ref header } => {
                    // Newer than the snapshot: the next look will see it.
                    if header.lsn > newest {
                        break;
                    }
                    self.frame(segment, number, &mut walk, at, header, references);
                    at + header.frame_len()
                }
            };
            self.read(at - before)?;
            before = at;
        }
        let reached = walk.at();
        if before < end && reached < end && references.last_lsn() < newest {
            references.lost(None);
            self.record_fault(segment, reached, "zeros where frames were written", None);
        }
        references.end_of_segment(number, reached, &mut |fault| {
            self.record_fault(segment, fault.offset, fault.what, fault.entity);
        });
        Ok(())
    }

    fn frame(
        &mut self,
        segment: &Segment,
        number: u32,
        walk: &mut Walk<Pieces>,
        at: u64,
        header: &FrameHeader,
        references: &mut References,
    ) {
        let found = match walk.payload(at, header) {
            Some(payload) => Record::decode(header, payload).map_err(|error| error.to_string()),
            None => Err("the payload does not match its checksum".to_owned()),
        };
        match found {
            Ok(record) => {
                self.progress.records += 1;
                references.record(number, at, header, &record, &mut |fault| {
                    self.record_fault(segment, fault.offset, fault.what, fault.entity);
                });
            }
            Err(what) => {
                references.lost(Some(header));
                let what = reason(walk, at..at + header.frame_len(), what);
                self.record_fault(segment, at, what, entity_of(header));
            }
        }
    }

    fn record_fault(
        &mut self,
        segment: &Segment,
        offset: u64,
        what: impl Into<String>,
        entity: Option<EntityId>,
    ) {
        let damage = Damage {
            file: segment.path().to_owned(),
            offset,
            what: what.into(),
            entity,
        };
        self.note(damage, false);
    }

    /// Do the tables show the rows and activities that the log has, and no others? Rows whose body is damaged are
    /// shown, too: they answer with the damage. Where it is unknown what was lost, only what the
    /// tables lack can be told.
    fn tables(&mut self, living: &[Living], blind: bool) {
        let view = self.subject.view;
        for one in living {
            for (number, in_log) in &one.rows {
                self.table(*number, in_log, blind);
            }
            let number = one.collective;
            let Some(table) = view.tables.get(number) else {
                continue;
            };
            if let Some(in_log) = &one.activities
                && active_agents(table, view.lsn()) != *in_log
            {
                self.table_fault(format!(
                    "the activities of collective {number} are not those in the log"
                ));
            }
        }
    }

    fn table(&mut self, number: u32, in_log: &RoaringBitmap, blind: bool) {
        let view = self.subject.view;
        let Some(table) = view.tables.get(number) else {
            let what = format!("{} are in the log and not in the tables", rows_of(number));
            self.table_fault(what);
            return;
        };
        let shown = visible_rows(table, view.lsn());
        self.vectors(table);
        for row in (in_log - &shown).iter().take(VerifyReport::MAX_LISTED) {
            self.table_fault(format!(
                "row {row} of {} is in the log and not in the tables",
                rows_of(number)
            ));
        }
        if !blind {
            for row in (&shown - in_log).iter().take(VerifyReport::MAX_LISTED) {
                self.table_fault(format!(
                    "row {row} of {} is in the tables and not in the log",
                    rows_of(number)
                ));
            }
        }
    }

    /// Does every row that should have a vector beside its body have one?
    fn vectors(&mut self, table: &Table) {
        let view = self.subject.view;
        let mut lost = Vec::new();
        table.for_each_from(0, view.lsn(), |row| {
            let beside = table.vectors_beside(row.row);
            let is_lost = row.row.kind.is_some() && beside.is_some_and(|all| !all.has(row.number));
            if is_lost {
                lost.extend(body::vector_place(&view.segments, &row, table).err());
            }
            lost.len() < VerifyReport::MAX_LISTED
        });
        for error in lost {
            self.note_error(error, self.subject.path, false);
        }
    }

    fn table_fault(&mut self, what: String) {
        let damage = Damage {
            file: self.subject.path.to_owned(),
            offset: 0,
            what,
            entity: None,
        };
        self.note(damage, true);
    }

    /// Manifests, `TAIL`, and whether the directory holds what the manifest names.
    fn names(&mut self) -> Result<()> {
        let Subject {
            vfs,
            path,
            manifest,
            instance,
            ..
        } = *self.subject;
        for error in manifest::faults(&**vfs, path) {
            self.note_error(error, path, false);
        }
        if log::is_tail_damaged(&**vfs, path) {
            let damage = Damage {
                file: path.join(log::TAIL_FILE),
                offset: 0,
                what: "it does not match its checksum".to_owned(),
                entity: None,
            };
            self.note(damage, true);
        }
        let dir = path.join(LOG_DIR);
        let named = |id: u32| {
            let now = manifest.current();
            now.segments.iter().any(|entry| entry.id == id)
        };
        for entry in manifest.current().segments {
            let found = log::check_file(&**vfs, &dir, entry.first_lsn, entry.id, instance);
            // What compaction has replaced meanwhile may be gone.
            if let Err(error) = found
                && named(entry.id)
            {
                let known = |damage: &Damage| matches!(&error, PulseDBError::Corrupted { file, .. } if *file == damage.file && damage.offset == 0);
                if !self.report.damage.iter().any(known) {
                    self.note_error(error, &dir, false);
                }
            }
        }
        let in_use = &self.subject.view.segments;
        for (first_lsn, id) in log::list(&**vfs, &dir)? {
            if !named(id) && in_use.segment(id).is_none() {
                let left = log::segment_path(&dir, first_lsn, id);
                self.report.leftovers.push(left);
            }
        }
        Ok(())
    }

    /// Files that are made of the log, and can be made again.
    fn derived(&mut self) -> Result<()> {
        self.checkpoint();
        self.graphs()
    }
}

/// Why a part of a file is not what was written: what the system said, if that is it.
fn reason(walk: &mut Walk<Pieces>, range: Range<u64>, found: String) -> String {
    walk.source().refusal(range).map_or(found, str::to_owned)
}

/// What a table holds, in words.
pub(super) fn rows_of(table: u32) -> String {
    let what = match RowKind::of(table) {
        Some((_, RowKind::Relation)) => "the relations",
        Some((_, RowKind::Insight)) => "the insights",
        Some((_, RowKind::Experience)) | None => "the experiences",
    };
    format!("{what} of collective {}", collective_of(table))
}

/// The rows that a table shows.
fn visible_rows(table: &Table, lsn: Lsn) -> RoaringBitmap {
    let mut rows = RoaringBitmap::new();
    table.for_each_from(0, lsn, |row| {
        rows.insert(row.number);
        true
    });
    rows
}

/// The agents whose activity a table shows, each with the record that it is from.
fn active_agents(table: &Table, lsn: Lsn) -> BTreeMap<String, Lsn> {
    let seen = table.activities.needed(lsn, lsn).into_iter();
    seen.filter(|(_, version)| version.activity.is_some())
        .map(|(agent, version)| (agent.to_string(), version.lsn))
        .collect()
}
