//! How is an insight read?
//!
//! As an experience is, but for what it was derived from: the sources that are gone are left out, so that
//! nobody is led to what is not there.

use crate::{
    error::{PulseDBError, Result},
    format::RowKind,
    model::{
        CollectiveId, DerivedInsight, ExperienceId, InsightFilter, InsightHit, InsightId, Page,
        PageResult, SearchFilter, SearchOptions,
    },
    read::{list, reader::Reader, search},
    state::{Table, Visited, body, replay::HEALED},
};

/// The insight with this id, if it is there.
pub fn insight(reader: &Reader, id: InsightId) -> Result<Option<DerivedInsight>> {
    let mut found = None;
    let point = reader.point();
    point.with_row_of(RowKind::Insight, id.as_u128(), |table, row| {
        found = Some(assemble(reader, table, row));
    });
    found.transpose()
}

/// The `k` insights of a collective most similar to `query` among those that pass the filter.
pub fn similar(
    reader: &Reader,
    collective: CollectiveId,
    query: &[f32],
    k: usize,
    filter: &InsightFilter,
    ef: usize,
) -> Result<Vec<InsightHit>> {
    let Some(table) = reader.table(collective)?.of_kind(RowKind::Insight) else {
        return Ok(Vec::new());
    };
    let options = options(k, filter);
    let read = |row: &Visited<'_>| Reader::unless_damaged(assemble(reader, table, row));
    let passes = |insight: &DerivedInsight| {
        let domains = &filter.domains;
        domains.is_empty() || insight.domain.iter().any(|one| domains.contains(one))
    };
    let found = search::search_rows(reader, table, &[query], &options, ef, (read, passes))?;
    let hits = found.into_iter().flatten().map(|hit| InsightHit {
        insight: hit.item,
        similarity: hit.similarity,
    });
    Ok(hits.collect())
}

/// One page of the insights of a collective.
pub fn page(
    reader: &Reader,
    collective: CollectiveId,
    page: &Page,
) -> Result<PageResult<DerivedInsight>> {
    match reader.table(collective)?.of_kind(RowKind::Insight) {
        Some(table) => list::page_of(reader, table, page, &|row| {
            Reader::unless_damaged(assemble(reader, table, row))
        }),
        None => list::empty(page),
    }
}

/// The same question, asked of the rows.
pub fn options(k: usize, filter: &InsightFilter) -> SearchOptions {
    SearchOptions {
        k,
        filter: SearchFilter {
            domains: filter.domains.clone(),
            min_confidence: filter.min_confidence,
            since: filter.since,
            until: filter.until,
            ..SearchFilter::default()
        },
        ..SearchOptions::default()
    }
}

/// The insight that a row stands for.
///
/// # Errors
/// `Corrupted` where its record is damaged.
pub fn assemble(reader: &Reader, table: &Table, row: &Visited<'_>) -> Result<DerivedInsight> {
    let segments = &reader.view.segments;
    let body = body::view(segments, row, table.dimension)?;
    if row.row.kind.is_none() {
        return Err(PulseDBError::conflict(HEALED));
    }
    let undecodable = |error| body::undecodable(segments, row, &error);
    let derivation = body.derivation().map_err(undecodable)?;
    let traits = body.traits().map_err(undecodable)?;
    let there = |id: &ExperienceId| reader.point().with_row(*id, |_, _| ()).is_ok();
    Ok(DerivedInsight {
        id: InsightId::from_u128(row.row.id),
        collective_id: CollectiveId::from_u128(table.id),
        content: body.content().map_err(undecodable)?.to_owned(),
        embedding: body.vector_f32(),
        source_experience_ids: derivation.sources.into_iter().filter(there).collect(),
        insight_type: derivation.insight_type,
        confidence: row.row.confidence,
        domain: traits.domain,
        created_at: row.row.time,
        updated_at: row.row.time,
    })
}
