//! How is an insight read?
//!
//! As an experience is, but for what it was derived from: the sources that are gone are left out, so that
//! nobody is led to what is not there.

use crate::{
    error::{PulseDBError, Result},
    format::{BodyView, DecodeError, RowKind},
    model::{
        CollectiveId, DerivedInsight, ExperienceId, InsightFilter, InsightHit, InsightId,
        NeighbourEvidence, Page, PageCursor, PageResult, ScoreParts, SearchFilter, SearchOptions,
        Timestamp,
    },
    read::{
        filter::admits,
        hybrid::{Asked, Ground},
        list, merged,
        neighbours::Ranked,
        rank::Candidate,
        reader::Reader,
        search,
        texts::Words,
        trace::Trace,
    },
    state::{Table, Visited, body, replay::HEALED},
    vector::similarity::Query,
};

/// The insight with this id, if it is there.
pub fn insight(reader: &Reader, id: InsightId) -> Result<Option<DerivedInsight>> {
    Ok(stored(reader, id)?.map(|insight| shown(reader, insight)))
}

/// The same with all of its sources, also those that are gone.
pub fn stored(reader: &Reader, id: InsightId) -> Result<Option<DerivedInsight>> {
    let overlay = reader.overlay.as_ref();
    if let Some(own) = overlay.and_then(|own| own.insight(id)) {
        return Ok(Some(own.insight.clone()));
    }
    let mut found = None;
    let point = reader.point();
    point.with_row_of(RowKind::Insight, id.as_u128(), |table, row| {
        if !reader.conceals(table, row) {
            found = Some(whole(reader, table, row));
        }
    });
    found.transpose()
}

/// Without the sources that are gone.
pub fn shown(reader: &Reader, mut insight: DerivedInsight) -> DerivedInsight {
    let sources = &mut insight.source_experience_ids;
    sources.retain(|source| reader.locate(*source).is_ok());
    insight
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
    let options = options(k, filter);
    let from_rows = match reader.table(collective)?.of_kind(RowKind::Insight) {
        Some(table) => similar_rows(reader, table, query, &options, filter, ef)?,
        None => Vec::new(),
    };
    let Some(overlay) = &reader.overlay else {
        return Ok(from_rows);
    };
    let query = Query::new(query);
    let own = overlay.insights(collective);
    let own = own.filter(|own| admits(&options.filter, &own.insight));
    let own = own.map(|own| {
        let similarity = query.similarity(&own.insight.embedding, own.inverse_norm);
        Ok(InsightHit {
            similarity,
            score: similarity,
            parts: ScoreParts::default(),
            insight: shown(reader, own.insight.clone()),
        })
    });
    merged::best(k, from_rows, own, |hit| Candidate {
        score: hit.similarity,
        similarity: hit.similarity,
        id: hit.insight.id.as_u128(),
        row: 0,
    })
}

/// The `k` insights that pass the filter and speak most for a question, by their words and by its vector, where it has
/// one. Where a transaction has changed insights, by the vector alone: what is not committed is in no index of words.
///
/// # Errors
/// `Validation` where a transaction has changed insights and the question has no vector.
pub fn with_words(
    reader: &Reader,
    collective: CollectiveId,
    asked: Asked<'_>,
    k: usize,
    filter: &InsightFilter,
    (ef, words): (usize, &Words),
) -> Result<Vec<InsightHit>> {
    let table = reader.table(collective)?.of_kind(RowKind::Insight);
    let changed = reader.overlay.as_ref().is_some_and(|overlay| {
        table.is_some_and(|table| overlay.hides_rows(table.number))
            || overlay.insights(collective).next().is_some()
    });
    if changed {
        let none = || {
            PulseDBError::validation(
                "query",
                "words",
                "a transaction that has changed insights finds them by vector only; commit it first",
            )
        };
        let vector = asked.vector.ok_or_else(none)?;
        return similar(reader, collective, vector, k, filter, ef);
    }
    let Some(table) = table else {
        return Ok(Vec::new());
    };
    let options = SearchOptions {
        // Insights belong to no task.
        neighbours: Some(NeighbourEvidence::NONE),
        ..options(k, filter)
    };
    let ground = Ground::new(reader, table, asked, &options, (ef, words))?;
    let read = |row: &Visited<'_>| Reader::unless_damaged(assemble(reader, table, row));
    let found = ground.walk(read, &mut Trace::default())?;
    let hit = |(insight, one): (DerivedInsight, Ranked)| InsightHit {
        insight,
        similarity: one.similarity(),
        score: one.score,
        parts: one.parts,
    };
    Ok(found.into_iter().map(hit).collect())
}

fn similar_rows(
    reader: &Reader,
    table: &Table,
    query: &[f32],
    options: &SearchOptions,
    filter: &InsightFilter,
    ef: usize,
) -> Result<Vec<InsightHit>> {
    let read = |row: &Visited<'_>| {
        let insight = Reader::unless_damaged(whole(reader, table, row))?;
        // Their sources are looked up behind all of them: on their way from memory together.
        for source in insight.iter().flat_map(|one| &one.source_experience_ids) {
            reader.ids.prefetch(source.as_u128());
        }
        Ok(insight)
    };
    let passes = |insight: &DerivedInsight| {
        let domains = &filter.domains;
        domains.is_empty() || insight.domain.iter().any(|one| domains.contains(one))
    };
    let found = search::search_rows(reader, table, &[query], options, ef, (read, passes))?;
    let hits = found.into_iter().flatten().map(|hit| InsightHit {
        insight: shown(reader, hit.item),
        similarity: hit.similarity,
        score: hit.score,
        parts: ScoreParts::default(),
    });
    Ok(hits.collect())
}

/// One page of the insights of a collective.
pub fn page(
    reader: &Reader,
    collective: CollectiveId,
    page: &Page,
) -> Result<PageResult<DerivedInsight>> {
    let from_rows = match reader.table(collective)?.of_kind(RowKind::Insight) {
        Some(table) => list::page_of(reader, table, page, &|row| {
            Reader::unless_damaged(assemble(reader, table, row))
        }),
        None => list::empty(page),
    }?;
    let Some(overlay) = &reader.overlay else {
        return Ok(from_rows);
    };
    let own = overlay.insights(collective).map(|own| &own.insight);
    let own = own.filter(|insight| admits(&page.filter, *insight));
    let own = own.map(|insight| Ok(shown(reader, insight.clone())));
    merged::page(page, from_rows, own, |insight| PageCursor {
        timestamp: insight.created_at,
        id: ExperienceId::from_u128(insight.id.as_u128()),
    })
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
    whole(reader, table, row).map(|insight| shown(reader, insight))
}

fn whole(reader: &Reader, table: &Table, row: &Visited<'_>) -> Result<DerivedInsight> {
    let segments = &reader.view.segments;
    let body = body::view(segments, row)?;
    if row.row.kind.is_none() {
        return Err(PulseDBError::conflict(HEALED));
    }
    let id = InsightId::from_u128(row.row.id);
    let collective = CollectiveId::from_u128(table.id);
    let vector = body::vector(segments, row, table)?.vector;
    let (confidence, time) = (row.row.confidence, row.row.time);
    of_body(&body, vector.to_vec(), id, collective, confidence, time)
        .map_err(|error| body::undecodable(segments, row, &error))
}

/// The insight that a body was written for, with the vector that it has now.
///
/// # Errors
/// What of the body is not as it should be.
pub fn of_body(
    body: &BodyView<'_>,
    embedding: Vec<f32>,
    id: InsightId,
    collective_id: CollectiveId,
    confidence: f32,
    created_at: Timestamp,
) -> std::result::Result<DerivedInsight, DecodeError> {
    let derivation = body.derivation()?;
    Ok(DerivedInsight {
        id,
        collective_id,
        content: body.content()?.to_owned(),
        embedding,
        source_experience_ids: derivation.sources,
        insight_type: derivation.insight_type,
        confidence,
        domain: body.traits()?.domain,
        created_at,
        updated_at: created_at,
    })
}
