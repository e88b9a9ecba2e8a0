//! How does a snapshot become the bytes of a checkpoint?
//!
//! Section by section, each in one walk over the rows, in pieces of [`PIECE_BYTES`]. The lists of
//! chunks are held from the first walk to the last, so that all of them meet the same rows; rows in
//! chunks that nobody has touched since the open are read from the checkpoint before, and do not stay.

use std::{io, path::Path, sync::Arc};

use super::{DIR, Source, UNFINISHED, Written};
use crate::{
    error::{PulseDBError, Result},
    format::{
        CHECKPOINT_HEADER_LEN, CheckpointCollective, CheckpointCounts, CheckpointDirectory,
        CheckpointEmbedding, CheckpointGrave, CheckpointHeader, CheckpointKey, CheckpointSegment,
        RowKind, RowRun, SlotTable, checkpoint_file_name, id_hash, id_slots, key_hash, key_slot,
        key_slots, slot_of,
    },
    log::Covered,
    model::Lsn,
    state::{
        Kept, RowRef, Rows, Table, adjacency,
        base::{activity_of, record_of, version_of},
        embeddings::Embeddings,
        order::Sequence,
    },
    vfs::{OpenMode, Vfs, VfsFile},
};

/// Bytes handed to the system at a time.
const PIECE_BYTES: usize = 1 << 20;

/// Writes the checkpoint of `source` into the database in `path`, durably. No manifest names it yet. `tell` hears of
/// the bytes, piece by piece.
///
/// # Errors
/// `Io` where the file cannot be written, `Corrupted` where it is in doubt which is the last frame.
pub(crate) fn write(
    vfs: &dyn Vfs,
    path: &Path,
    source: &Source<'_>,
    tell: &mut dyn FnMut(u64),
) -> Result<Written> {
    let lsn = source.view.lsn();
    let Some(covered) = source.view.segments.covered(lsn) else {
        let what = format!("damage hides where the commit of LSN {lsn} ends");
        return Err(PulseDBError::corrupted(path, 0, what));
    };
    let dir = path.join(DIR);
    let name = checkpoint_file_name(lsn);
    let (finished, unfinished) = (dir.join(&name), dir.join(format!("{name}{UNFINISHED}")));
    let mut write = || {
        vfs.create_dir_all(&dir)?;
        if vfs.exists(&unfinished)? {
            vfs.remove(&unfinished)?;
        }
        let file = vfs.open(&unfinished, OpenMode::CreateNew)?;
        let mut out = Out::new(Arc::clone(&file), &mut *tell);
        let header = Writer::new(source).write(covered, &mut out)?;
        file.write_all_at(&header.encode(), 0)?;
        file.sync_all()?;
        vfs.rename(&unfinished, &finished)?;
        vfs.sync_dir(&dir)?;
        Ok(out.end())
    };
    match write() {
        Ok(bytes) => Ok(Written {
            lsn,
            bytes,
            covered,
        }),
        Err(error) => {
            // It may not be there; either way nobody reads it.
            let _ = vfs.remove(&unfinished);
            Err(PulseDBError::io("write", &finished)(error))
        }
    }
}

/// The file behind its header: bytes are collected, counted and checksummed. After a failure nothing
/// more is written.
pub(super) struct Out<'a> {
    tell: &'a mut dyn FnMut(u64),
    file: Arc<dyn VfsFile>,
    piece: Vec<u8>,
    at: u64,
    crc: crc32fast::Hasher,
    written: io::Result<()>,
}

impl<'a> Out<'a> {
    pub(super) fn new(file: Arc<dyn VfsFile>, tell: &'a mut dyn FnMut(u64)) -> Self {
        Self {
            tell,
            file,
            piece: Vec::with_capacity(PIECE_BYTES),
            at: CHECKPOINT_HEADER_LEN as u64,
            crc: crc32fast::Hasher::new(),
            written: Ok(()),
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES {
            self.write_piece();
        }
    }

    fn write_piece(&mut self) {
        if self.written.is_ok() {
            self.crc.update(&self.piece);
            self.written = self.file.write_all_at(&self.piece, self.at);
            self.at += self.piece.len() as u64;
            (self.tell)(self.piece.len() as u64);
        }
        self.piece.clear();
    }

    /// Where the next byte goes.
    const fn end(&self) -> u64 {
        self.at + self.piece.len() as u64
    }

    /// Writes what is left, and says how it went.
    fn finish(&mut self) -> io::Result<u32> {
        self.write_piece();
        std::mem::replace(&mut self.written, Ok(()))?;
        Ok(self.crc.clone().finalize())
    }

    fn check(&mut self) -> io::Result<()> {
        std::mem::replace(&mut self.written, Ok(()))
    }
}

/// One collective, as it is walked.
struct Part {
    table: Arc<Table>,
    rows: Rows,
    /// No snapshot that was live when the first walk began is below it.
    horizon: Lsn,
    /// Which of all rows its first one is.
    at: u64,
    runs: Vec<RowRun>,
    out_of_order: [bool; 2],
}

pub(super) struct Writer<'a> {
    source: &'a Source<'a>,
    parts: Vec<Part>,
    counts: CheckpointCounts,
}

impl<'a> Writer<'a> {
    pub(super) fn new(source: &'a Source<'a>) -> Self {
        let mut tables: Vec<_> = source.view.tables.iter().collect();
        tables.sort_unstable_by_key(|table| table.number);
        let part = |table: &Arc<Table>| Part {
            horizon: table.horizon(),
            rows: table.rows(source.view.lsn()),
            table: Arc::clone(table),
            at: 0,
            runs: Vec::new(),
            out_of_order: [false; 2],
        };
        Self {
            source,
            parts: tables.into_iter().map(part).collect(),
            counts: CheckpointCounts::default(),
        }
    }

    pub(super) fn write(
        mut self,
        covered: Covered,
        out: &mut Out<'_>,
    ) -> io::Result<CheckpointHeader> {
        let graves = self.rows(out);
        out.check()?;
        if slot_of(self.counts.rows).is_none() {
            return Err(io::Error::other(
                "there are more rows than a checkpoint holds",
            ));
        }
        self.versions(out);
        for grave in &graves {
            out.put(&grave.encode());
        }
        self.counts.graves = graves.len() as u64;
        out.check()?;
        self.ids(out);
        self.keys(out);
        self.edges(out);
        self.embeddings(out);
        self.for_each_key(|_, key| out.put(key.as_bytes()));
        out.check()?;
        let pad = out.end().next_multiple_of(8) - out.end();
        for _ in 0..pad {
            out.put(&[0]);
        }
        let directory = self.directory(covered).encode();
        self.counts.directory = directory.len() as u64;
        out.put(&directory);
        let body_crc = out.finish()?;
        let view = self.source.view;
        // Read last: what was dropped while the walks went on was dropped below it.
        let horizons = self.parts.iter().map(|part| part.table.horizon());
        let horizon = horizons.fold(view.tables.last_removal(), Lsn::max);
        Ok(CheckpointHeader {
            instance_id: self.source.instance_id,
            timeline: view.cursor.timeline,
            lsn: view.lsn(),
            horizon: horizon.min(view.lsn()),
            frame_segment: covered.segment,
            frame_at: covered.at,
            frame_lsn: covered.lsn,
            next_collective: view.tables.next_number(),
            last_time: view.newest.time,
            last_id: view.newest.id,
            counts: self.counts,
            body_crc,
        })
    }

    /// Walks all rows, by collective and number.
    fn for_each(&self, mut look: impl FnMut(u32, Kept<'_>)) {
        for part in &self.parts {
            let number = part.table.number;
            part.rows
                .for_each_kept(part.horizon, |kept| look(number, kept));
        }
    }

    /// The rows; answers those among them that are deleted.
    fn rows(&mut self, out: &mut Out<'_>) -> Vec<CheckpointGrave> {
        let segments = &self.source.view.segments;
        let mut graves = Vec::new();
        let mut at = 0;
        for part in &mut self.parts {
            let collective = part.table.number;
            part.at = at;
            let runs = &mut part.runs;
            let mut sequence = Sequence::default();
            part.rows.for_each_kept(part.horizon, |kept| {
                let place = segments.resolve(kept.row.place);
                out.put(&record_of(kept.row, place).encode());
                sequence.note(kept.row);
                match runs.last_mut() {
                    Some(run) if run.rows().end == kept.number => run.count += 1,
                    _ => runs.push(RowRun {
                        first: kept.number,
                        count: 1,
                        at,
                    }),
                }
                at += 1;
                graves.extend(kept.deleted_at.map(|deleted_at| CheckpointGrave {
                    collective,
                    row: kept.number,
                    deleted_at,
                }));
            });
            part.out_of_order = sequence.broken();
        }
        self.counts.rows = at;
        graves
    }

    fn versions(&mut self, out: &mut Out<'_>) {
        let segments = &self.source.view.segments;
        let mut count = 0;
        self.for_each(|collective, kept| {
            for (lsn, values) in kept.versions() {
                let resolve = |place| segments.resolve(place);
                let version = version_of(collective, kept.number, lsn, &values, resolve);
                out.put(&version.encode());
                count += 1;
            }
        });
        self.counts.versions = count;
    }

    fn ids(&mut self, out: &mut Out<'_>) {
        let slots = id_slots(self.counts.rows);
        let mut table = SlotTable::new(slots);
        let mut deleted = Vec::new();
        let mut numbers = 0..;
        self.for_each(|_, kept| {
            let slot = numbers.next().and_then(slot_of).unwrap_or_default();
            let hash = id_hash(kept.row.id);
            match kept.deleted_at {
                None => table.insert(hash, slot),
                Some(_) => deleted.push((hash, slot)),
            }
        });
        // An id that was given again is found first where it stands now.
        for (hash, slot) in deleted {
            table.insert(hash, slot);
        }
        self.counts.id_slots = slots;
        for slot in table.slots() {
            out.put(&slot.to_le_bytes());
        }
    }

    /// Walks the keys of all rows that are not deleted: a deleted row gives its key free.
    fn for_each_key(&self, mut look: impl FnMut(RowRef, &str)) {
        self.for_each(|collective, kept| {
            let at = RowRef {
                collective,
                row: kept.number,
            };
            if kept.row.keyed
                && kept.deleted_at.is_none()
                && let Some(key) = self.source.keys.key_of(at)
            {
                look(at, &key);
            }
        });
    }

    fn keys(&mut self, out: &mut Out<'_>) {
        let mut counts = self.counts;
        let mut hashes = Vec::new();
        self.for_each_key(|at, key| {
            counts.key_text += key.len() as u64;
            let record = CheckpointKey {
                collective: at.collective,
                row: at.row,
                text_end: counts.key_text,
            };
            out.put(&record.encode());
            hashes.push(key_hash(at.collective, key));
        });
        counts.keys = hashes.len() as u64;
        counts.key_slots = key_slots(counts.keys);
        let mut table = SlotTable::new(counts.key_slots);
        for (hash, number) in hashes.into_iter().zip(0..) {
            table.insert(hash, key_slot(hash, slot_of(number).unwrap_or_default()));
        }
        for slot in table.slots() {
            out.put(&slot.to_le_bytes());
        }
        self.counts = counts;
    }

    /// The edges of the relations that there are. One whose relation nobody can see any more does no harm.
    fn edges(&mut self, out: &mut Out<'_>) {
        let lsn = self.source.view.lsn();
        let mut count = 0;
        for part in &self.parts {
            let number = RowKind::Relation.table(part.table.number);
            let relations = self.parts.iter().find(|part| part.table.number == number);
            let Some(relations) = relations.filter(|_| part.table.number != number) else {
                continue;
            };
            let end = relations.table.row_count_at(lsn);
            for (row, edge) in part.table.adjacency.all() {
                if edge.relation < end && relations.rows.is_needed(edge.relation, relations.horizon)
                {
                    out.put(&adjacency::record_of(part.table.number, row, &edge).encode());
                    count += 1;
                }
            }
        }
        self.counts.edges = count;
    }

    /// The vectors beside the bodies that are used, or are being made. Those that were committed since are
    /// left out: their records are not durable yet, or are read again.
    fn embeddings(&mut self, out: &mut Out<'_>) {
        let (segments, lsn) = (&self.source.view.segments, self.source.view.lsn());
        let mut count = 0;
        for part in &self.parts {
            let next = part.table.next_embeddings();
            let made: Vec<&Embeddings> = part
                .table
                .embeddings()
                .into_iter()
                .chain(next.as_deref())
                .collect();
            if made.is_empty() {
                continue;
            }
            part.rows.for_each_kept(part.horizon, |kept| {
                for made in &made {
                    let record = made.with(kept.number, |placed| {
                        let place = segments.resolve(placed.place);
                        CheckpointEmbedding {
                            collective: part.table.number,
                            row: kept.number,
                            epoch: made.epoch,
                            lsn: placed.lsn,
                            place: (place.segment, place.unit),
                            inverse_norm: placed.inverse_norm,
                        }
                    });
                    if let Some(record) = record.filter(|record| record.lsn <= lsn) {
                        out.put(&record.encode());
                        count += 1;
                    }
                }
            });
        }
        self.counts.embeddings = count;
    }

    fn directory(&mut self, covered: Covered) -> CheckpointDirectory {
        let lsn = self.source.view.lsn();
        let segments = self.source.view.segments.segments().iter();
        let segments = segments
            .filter(|segment| segment.header().first_lsn <= lsn)
            .map(|segment| {
                let end = if segment.id() == covered.segment {
                    covered.end
                } else {
                    segment.end()
                };
                CheckpointSegment {
                    id: segment.id(),
                    index: segment.index_below(end),
                }
            });
        let collectives = self.parts.iter_mut().map(|part| {
            let table = &part.table;
            let definitions = table.definitions(part.horizon, lsn).into_iter();
            let agents = table.agents.all();
            let activities = table.activities.needed(part.horizon, lsn);
            CheckpointCollective {
                number: table.number,
                id: crate::model::CollectiveId::from_u128(table.id),
                row_count: table.row_count_at(lsn),
                at: part.at,
                definitions: definitions
                    .map(|(since, one)| (since, Arc::unwrap_or_clone(one)))
                    .collect(),
                agents: agents.iter().map(ToString::to_string).collect(),
                runs: std::mem::take(&mut part.runs),
                activities: activities
                    .iter()
                    .map(|(agent, version)| activity_of(agent, version))
                    .collect(),
                out_of_order: part.out_of_order,
            }
        });
        CheckpointDirectory {
            collectives: collectives.collect(),
            segments: segments.collect(),
            damage: self.source.damage.to_vec(),
        }
    }
}
