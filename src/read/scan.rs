//! Which rows are most similar to some vectors, exactly?
//!
//! One pass over the visible rows of a collective, comparing the mapped vectors in place with every
//! query of the batch. Exact by construction, and complete: a filtered search for k answers with k
//! rows whenever k match.

use crate::{
    error::{PulseDBError, Result},
    model::{
        CollectiveId, Lsn, RecallWeights, SearchHit, SearchOptions,
        limits::{MAX_BATCH_QUERIES, MAX_K},
    },
    read::{
        filter::{self, Compiled},
        rank::{Best, Candidate, weighted},
        reader::Reader,
        similarity::Query,
    },
    state::{Table, Visited, replay},
};

/// Refuses options and queries that cannot be answered, before anything is read.
pub fn check(
    options: &SearchOptions,
    queries: &[&[f32]],
    check_vector: impl Fn(&str, &[f32]) -> Result<()>,
) -> Result<()> {
    if options.k == 0 || options.k > MAX_K {
        return Err(PulseDBError::validation(
            "k",
            options.k,
            format!("it must be in 1..={MAX_K}"),
        ));
    }
    filter::check(&options.filter)?;
    if queries.len() > MAX_BATCH_QUERIES {
        return Err(PulseDBError::validation(
            "queries",
            format!("{} vectors", queries.len()),
            format!("there may be {MAX_BATCH_QUERIES}"),
        ));
    }
    match queries {
        [query] => check_vector("query", query),
        many => many
            .iter()
            .enumerate()
            .try_for_each(|(place, query)| check_vector(&format!("queries[{place}]"), query)),
    }
}

/// For each query the best `options.k` experiences of the collective.
pub fn search(
    reader: &Reader,
    collective: CollectiveId,
    queries: &[&[f32]],
    options: &SearchOptions,
) -> Result<Vec<Vec<SearchHit>>> {
    let table = reader.table(collective)?;
    let candidates = candidates(reader, table, queries, options)?;
    candidates
        .into_iter()
        .map(|best| {
            best.into_iter()
                .filter_map(|candidate| hit(reader, table, candidate).transpose())
                .collect()
        })
        .collect()
}

fn candidates(
    reader: &Reader,
    table: &Table,
    queries: &[&[f32]],
    options: &SearchOptions,
) -> Result<Vec<Vec<Candidate>>> {
    let filter = Compiled::new(&options.filter, table)?;
    let decay = table.definition(reader.lsn()).map(|d| d.decay.clone());
    let weights = options
        .weights
        .or_else(|| decay.as_ref()?.default_recall_weights)
        .filter(|weights| weights.energy > 0.0);
    let mut searches: Vec<(Query<'_>, Best)> = queries
        .iter()
        .map(|query| (Query::new(query), Best::new(options.k)))
        .collect();
    let mut failure = None;
    table.for_each_from(0, reader.lsn(), |row| {
        if reader.expired(&row) || !filter.columns(&row) {
            return true;
        }
        let compared = passes_traits(reader, &filter, &row).and_then(|passes| {
            if passes {
                let energy = weights.zip(decay.as_ref()).map(|(weights, decay)| {
                    let values = row.values();
                    let energy = decay.energy(
                        values.importance,
                        values.applications,
                        values.last_reinforced,
                        reader.now,
                    );
                    (weights, energy)
                });
                compare(reader, table, &row, energy, &mut searches)?;
            }
            Ok(())
        });
        failure = compared.err();
        failure.is_none()
    });
    match failure {
        Some(error) => Err(error),
        None => Ok(searches
            .into_iter()
            .map(|(_, best)| best.into_sorted())
            .collect()),
    }
}

fn passes_traits(reader: &Reader, filter: &Compiled<'_>, row: &Visited<'_>) -> Result<bool> {
    if !filter.needs_traits() {
        return Ok(true);
    }
    let traits = replay::traits_at(&reader.view.segments, row.row, &row.values())?;
    Ok(filter.traits(&traits))
}

fn compare(
    reader: &Reader,
    table: &Table,
    row: &Visited<'_>,
    energy: Option<(RecallWeights, f32)>,
    searches: &mut [(Query<'_>, Best)],
) -> Result<()> {
    let segments = &reader.view.segments;
    let stored = segments.vector(row.row.place, table.dimension)?;
    for (query, best) in searches {
        let similarity = query.similarity(stored, row.row.inverse_norm);
        let score = match &energy {
            Some((weights, energy)) => weighted(weights, similarity, *energy),
            None => similarity,
        };
        if score >= best.threshold() {
            best.offer(Candidate {
                score,
                similarity,
                id: row.row.id,
                row: row.number,
            });
        }
    }
    Ok(())
}

fn hit(reader: &Reader, table: &Table, candidate: Candidate) -> Result<Option<SearchHit>> {
    let lsn: Lsn = reader.lsn();
    let Some(state) = table.row(candidate.row, lsn) else {
        return Ok(None);
    };
    Ok(Some(SearchHit {
        experience: reader.assemble(table, &state)?,
        similarity: candidate.similarity,
        score: candidate.score,
    }))
}
