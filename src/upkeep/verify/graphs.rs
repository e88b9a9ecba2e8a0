//! Are the graph files whole, and do they name the rows that they should?
//!
//! A graph may name rows that are gone, and must not lack one that it covers and somebody may see.
//! Read with pread, as the log.

use roaring::RoaringBitmap;

use crate::{
    error::{PulseDBError, Result},
    format::{FORMAT_VERSION, FileFault, GRAPH_HEADER_LEN, GraphHeader},
    model::Lsn,
    state::Table,
    vector::store::GraphFiles,
    vfs::VfsFile,
};

use super::{Pass, visible_rows};

/// Bytes read at a time.
const PIECE_BYTES: u64 = 1024 * 1024;

impl Pass<'_> {
    /// All finished graph files.
    pub(super) fn graphs(&mut self) -> Result<()> {
        let files = GraphFiles::new(self.subject.vfs.clone(), self.subject.path);
        for name in files.list()? {
            if !GraphFiles::is_finished(&name) {
                continue;
            }
            // Builders replace graphs at any time; what is open stays as it is.
            let file = match files.open(&name) {
                Ok(file) => file,
                Err(_) if !files.list()?.contains(&name) => continue,
                Err(error) => {
                    self.note_error(error, &files.path(&name), true);
                    continue;
                }
            };
            self.report.graphs += 1;
            match self.graph(&files, &name, &*file) {
                Ok(()) => {}
                Err(Stop::Told(error)) => return Err(error),
                Err(Stop::Found(error)) => self.note_error(error, &files.path(&name), true),
            }
        }
        Ok(())
    }

    fn graph(&mut self, files: &GraphFiles, name: &str, file: &dyn VfsFile) -> Result<(), Stop> {
        let path = files.path(name);
        let damaged = |at: u64, what: String| {
            Stop::Found(PulseDBError::corrupted(files.path(name), at, what))
        };
        let io = |error| Stop::Found(PulseDBError::io("read", files.path(name))(error));
        let len = file.len().map_err(io)?;
        self.progress.total_bytes += len;
        let mut block = [0; GRAPH_HEADER_LEN];
        file.read_exact_at(&mut block, 0).map_err(io)?;
        let header = GraphHeader::decode(&block).map_err(|fault| match fault {
            FileFault::Version { found } => Stop::Found(PulseDBError::Version {
                found,
                supported: FORMAT_VERSION,
            }),
            fault => damaged(0, fault.to_string()),
        })?;
        let layout = header
            .layout()
            .filter(|layout| layout.len() == len)
            .ok_or_else(|| damaged(0, format!("{len} bytes are not what the header says")))?;
        let mut crc = crc32fast::Hasher::new();
        let mut piece = Vec::new();
        let mut at = GRAPH_HEADER_LEN as u64;
        while at < len {
            piece.resize(PIECE_BYTES.min(len - at) as usize, 0);
            file.read_exact_at(&mut piece, at).map_err(io)?;
            crc.update(&piece);
            at += piece.len() as u64;
            self.read(piece.len() as u64).map_err(Stop::Told)?;
        }
        if crc.finalize() != header.body_crc {
            return Err(damaged(
                GRAPH_HEADER_LEN as u64,
                "the checksum does not match".to_owned(),
            ));
        }
        let view = self.subject.view;
        let covered = header.covered;
        if covered.database != self.subject.instance {
            return Err(damaged(0, "it belongs to another database".to_owned()));
        }
        // Built of what this snapshot cannot see yet.
        if covered.last_lsn > view.lsn() {
            return Ok(());
        }
        let Some(table) = view.tables.get(covered.collective) else {
            // Its collective was deleted; the next open removes it.
            self.report.leftovers.push(path);
            return Ok(());
        };
        let mut rows = vec![0; (layout.rows.end - layout.rows.start) as usize];
        file.read_exact_at(&mut rows, layout.rows.start)
            .map_err(io)?;
        let (rows, _) = rows.as_chunks::<4>();
        let rows: Vec<u32> = rows.iter().map(|row| u32::from_le_bytes(*row)).collect();
        if is_former(table, view.lsn(), &header, &rows) {
            // Of vectors from before a re-embedding; its builder, or the next open, removes it.
            self.report.leftovers.push(path);
            return Ok(());
        }
        fits(table, view.lsn(), &header, &rows).map_err(|what| damaged(layout.rows.start, what))?;
        let named: RoaringBitmap = rows.into_iter().collect();
        let mut missing = visible_rows(table, view.lsn());
        // Rows whose body is damaged have no vector.
        table.for_each_from(covered.first, view.lsn(), |row| {
            if row.row.kind.is_none() {
                missing.remove(row.number);
            }
            row.number < covered.end
        });
        missing.remove_range(..covered.first);
        missing.remove_range(covered.end..);
        missing -= named;
        match missing.min() {
            Some(row) => Err(damaged(
                layout.rows.start,
                format!("it lacks row {row} and {} more", missing.len() - 1),
            )),
            None => Ok(()),
        }
    }
}

/// Why a file is not looked at any further.
enum Stop {
    /// What is wrong with it.
    Found(PulseDBError),
    /// Whoever hears of the progress wants no more.
    Told(PulseDBError),
}

/// Is it about vectors that the collective went by before it was re-embedded?
fn is_former(table: &Table, lsn: Lsn, header: &GraphHeader, rows: &[u32]) -> bool {
    let covered = header.covered;
    let all = table.rows(lsn);
    let last = rows.last().and_then(|last| all.filled(*last));
    covered.last_lsn <= table.since()
        && last.is_none_or(|row| table.vector_lsn(&row) != covered.last_lsn)
}

/// Are these rows of this collective?
fn fits(table: &Table, lsn: Lsn, header: &GraphHeader, rows: &[u32]) -> Result<(), String> {
    let covered = header.covered;
    let within = rows
        .iter()
        .all(|row| (covered.first..covered.end).contains(row));
    if !within || !rows.is_sorted_by(|a, b| a < b) || covered.end > table.row_count() {
        return Err("it names rows that are not there".to_owned());
    }
    if header.params.dimension != table.dimension {
        return Err("its vectors have another dimension".to_owned());
    }
    let last = rows.last().and_then(|last| {
        table
            .rows(lsn)
            .filled(*last)
            .map(|row| table.vector_lsn(&row))
    });
    if last.is_some_and(|lsn| lsn != covered.last_lsn) {
        return Err("its last row is another one".to_owned());
    }
    Ok(())
}
