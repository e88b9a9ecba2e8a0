//! How much is in a collective?

use crate::{
    error::Result,
    format::RowKind,
    model::{CollectiveId, CollectiveStats},
    read::reader::Reader,
    state::Table,
    sync::Arc,
};

/// Counts of a collective, from its columns.
pub fn collective(reader: &Reader, id: CollectiveId) -> Result<CollectiveStats> {
    let table = reader.table(id)?;
    let index = table.vectors.state();
    let words = table.text_index_in_use();
    let text_index_bytes = words.map_or(0, |words| words.state().bytes());
    let mut stats = CollectiveStats {
        collective_id: id,
        experience_count: 0,
        archived_count: 0,
        body_bytes: 0,
        oldest: None,
        newest: None,
        relation_count: count(reader, table, RowKind::Relation),
        insight_count: count(reader, table, RowKind::Insight),
        graphs: index.graphs.len() as u64,
        tail_rows: table.tail_rows().into(),
        index_bytes: index.bytes()
            + table.index_bytes() as u64
            + table.content_index_bytes() as u64
            + text_index_bytes,
        text_index_bytes,
        text_tail_rows: table.text_tail_rows().into(),
    };
    table.for_each_from(0, reader.lsn(), |row| {
        if !reader.expired(&row) {
            stats.experience_count += 1;
            stats.archived_count += u64::from(!row.unchanged() && row.values().archived);
            stats.body_bytes += u64::from(row.row.frame_bytes);
            let time = row.row.time;
            stats.oldest = Some(stats.oldest.map_or(time, |oldest| oldest.min(time)));
            stats.newest = stats.newest.max(Some(time));
        }
        true
    });
    Ok(stats)
}

/// How many rows of this kind are visible.
fn count(reader: &Reader, experiences: &Arc<Table>, kind: RowKind) -> u64 {
    let mut count = 0;
    if let Some(table) = experiences.of_kind(kind) {
        table.for_each_from(0, reader.lsn(), |_| {
            count += 1;
            true
        });
    }
    count
}
