//! Which rows lack a vector of a re-embedding?
//!
//! A walk over what one snapshot sees, a batch at a time: texts are what a model takes. A row whose text
//! cannot be read is counted and passed; it answers nobody with either vector.

use crate::{
    error::Result,
    format::RowKind,
    model::{CollectiveId, Lsn},
    read::reader::Reader,
    state::body,
};

/// Rows of a batch: a model takes them together, and a commit of theirs costs one sync.
const BATCH_ROWS: usize = 256;
/// Bytes of texts after which a batch ends.
const BATCH_BYTES: usize = 1024 * 1024;

/// A row, and what it says.
pub struct Text {
    /// Its number.
    pub row: u32,
    /// Its id.
    pub id: u128,
    /// Its text.
    pub content: String,
}

/// Some rows that lack a vector.
#[derive(Default)]
pub struct Batch {
    /// The rows, ascending.
    pub texts: Vec<Text>,
    /// Where the walk goes on; `None` where it has met every row.
    pub next: Option<u32>,
    /// The number behind all rows that the snapshot can see.
    pub end: u32,
    /// Rows that were passed since they have a vector.
    pub embedded: u64,
    /// Rows that were passed since they cannot be read.
    pub unreadable: u64,
}

/// The next rows of one kind, from row `from` on, that lack a vector of the re-embedding `epoch`.
///
/// # Errors
/// `NotFound`, and what kept the log from being read.
pub fn batch(
    reader: &Reader,
    collective: CollectiveId,
    kind: RowKind,
    epoch: Lsn,
    from: u32,
) -> Result<Batch> {
    let mut batch = Batch::default();
    let Some(table) = reader.table(collective)?.of_kind(kind) else {
        return Ok(batch);
    };
    let made = table.next_embeddings().filter(|made| made.epoch == epoch);
    batch.end = table.row_count_at(reader.lsn());
    let mut bytes = 0;
    let mut failed = None;
    table.for_each_from(from, reader.lsn(), |row| {
        if batch.texts.len() >= BATCH_ROWS || bytes >= BATCH_BYTES {
            batch.next = Some(row.number);
            return false;
        }
        if made.as_ref().is_some_and(|made| made.has(row.number)) {
            batch.embedded += 1;
            return true;
        }
        let content = body::view(&reader.view.segments, &row).and_then(|body| {
            let content = body.content();
            content.map_err(|error| body::undecodable(&reader.view.segments, &row, &error))
        });
        match Reader::unless_damaged(content) {
            Ok(Some(content)) => {
                bytes += content.len();
                batch.texts.push(Text {
                    row: row.number,
                    id: row.row.id,
                    content: content.to_owned(),
                });
            }
            Ok(None) => batch.unreadable += 1,
            Err(error) => failed = Some(error),
        }
        failed.is_none()
    });
    match failed {
        Some(error) => Err(error),
        None => Ok(batch),
    }
}

/// How many rows of experiences and insights a collective has.
///
/// # Errors
/// `NotFound`.
pub fn rows(reader: &Reader, collective: CollectiveId) -> Result<u64> {
    let table = reader.table(collective)?;
    let mut rows = 0;
    for kind in [RowKind::Experience, RowKind::Insight] {
        if let Some(table) = table.of_kind(kind) {
            table.for_each_from(0, reader.lsn(), |_| {
                rows += 1;
                true
            });
        }
    }
    Ok(rows)
}
