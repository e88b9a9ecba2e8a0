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
    state::{Table, Visited},
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

fn candidates<'a>(
    reader: &'a Reader,
    table: &'a Table,
    queries: &[&'a [f32]],
    options: &SearchOptions,
) -> Result<Vec<Vec<Candidate>>> {
    let filter = Compiled::new(&options.filter, table)?;
    let decay = table.definition(reader.lsn()).map(|d| d.decay.clone());
    let weights = options
        .weights
        .or_else(|| decay.as_ref()?.default_recall_weights)
        .filter(|weights| weights.energy > 0.0);
    let mut block = Block {
        reader,
        table,
        searches: queries
            .iter()
            .map(|query| (Query::new(query), Best::new(options.k)))
            .collect(),
        rows: Vec::with_capacity(BLOCK_ROWS),
    };
    let mut failure = None;
    table.for_each_from(0, reader.lsn(), |row| {
        let taken = reader.passes(&filter, &row).and_then(|passes| {
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
                block.take(&row, energy)?;
            }
            Ok(())
        });
        failure = taken.err();
        failure.is_none()
    });
    match failure {
        Some(error) => Err(error),
        None => block.finish(),
    }
}

/// Rows whose vectors are fetched together: enough to overlap the waits for their pages, few enough
/// to stay in the first-level cache's reach.
const BLOCK_ROWS: usize = 32;

/// Rows that passed the filter and are about to be compared.
struct Block<'a> {
    reader: &'a Reader,
    table: &'a Table,
    searches: Vec<(Query<'a>, Best)>,
    rows: Vec<Waiting<'a>>,
}

struct Waiting<'a> {
    vector: &'a [f32],
    inverse_norm: f32,
    id: u128,
    number: u32,
    energy: Option<(RecallWeights, f32)>,
}

impl Block<'_> {
    fn take(&mut self, row: &Visited<'_>, energy: Option<(RecallWeights, f32)>) -> Result<()> {
        let segments = &self.reader.view.segments;
        self.rows.push(Waiting {
            vector: segments.vector(row.row.place, self.table.dimension)?,
            inverse_norm: row.row.inverse_norm,
            id: row.row.id,
            number: row.number,
            energy,
        });
        if self.rows.len() == BLOCK_ROWS {
            self.compare();
        }
        Ok(())
    }

    fn compare(&mut self) {
        // Mapped vectors stand on scattered small pages. Touching all of a block first lets their
        // address translations and first lines arrive together instead of one after the other.
        let touched = self
            .rows
            .iter()
            .flat_map(|row| row.vector.iter().step_by(TOUCH_STEP))
            .fold(0, |mixed, component| mixed ^ component.to_bits());
        std::hint::black_box(touched);
        for row in self.rows.drain(..) {
            for (query, best) in &mut self.searches {
                let similarity = query.similarity(row.vector, row.inverse_norm);
                let score = match &row.energy {
                    Some((weights, energy)) => weighted(weights, similarity, *energy),
                    None => similarity,
                };
                if score >= best.threshold() {
                    best.offer(Candidate {
                        score,
                        similarity,
                        id: row.id,
                        row: row.number,
                    });
                }
            }
        }
    }

    fn finish(mut self) -> Result<Vec<Vec<Candidate>>> {
        self.compare();
        Ok(self
            .searches
            .into_iter()
            .map(|(_, best)| best.into_sorted())
            .collect())
    }
}

/// One component of every cache line of 64 bytes.
const TOUCH_STEP: usize = 16;

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
