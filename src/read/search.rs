//! What is asked of a search, and what is answered?
//!
//! Checked first; carried out by [`execute`](super::execute) until its results are such as they were taken
//! for; then read, and merged with what a transaction has written itself.

use roaring::RoaringBitmap;

use crate::{
    env::Env,
    error::{PulseDBError, Result},
    model::{
        CollectiveId, Experience, HitExplanation, RecallWeights, ScorePart, ScoreParts,
        SearchExplanation, SearchFilter, SearchHit, SearchOptions, SearchPlan,
        limits::{MAX_BATCH_QUERIES, MAX_EF, MAX_K},
    },
    read::{
        execute::{Search, Work},
        filter::{self, Compiled},
        glance::CLOSE,
        merged,
        rank::Candidate,
        reader::Reader,
        sieve::{Scoring, Sieve},
        stopwatch::Stages,
    },
    state::{Table, Visited},
    vector::similarity::Query,
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
    if let Some(ef) = options.ef
        && !(1..=MAX_EF).contains(&ef)
    {
        return Err(PulseDBError::validation(
            "ef",
            ef,
            format!("it must be in 1..={MAX_EF}"),
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

/// For each query the best `options.k` experiences of the collective, and how they were found.
pub fn search(
    reader: &Reader,
    collective: CollectiveId,
    queries: &[&[f32]],
    options: &SearchOptions,
    ef: usize,
) -> Result<(Vec<Vec<SearchHit>>, SearchPlan)> {
    let table = reader.table(collective)?;
    let filter = Compiled::new(&options.filter, table)?;
    let read = |row: &Visited<'_>| reader.assemble(table, row);
    let passes = |experience: &Experience| filter.traits_of(experience);
    let mut search = Search::new(reader, table, options, ef)?;
    let (found, work) = answer(&mut search, queries, (read, passes))?;
    let hit = |found: Hit<Experience>| SearchHit {
        experience: found.item,
        similarity: found.similarity,
        score: found.score,
        parts: ScoreParts::default(),
    };
    let hits = |found: Vec<Hit<Experience>>| found.into_iter().map(hit).collect();
    let hits = found.into_iter().map(hits).collect();
    let merged = merge(reader, collective, queries, options, hits)?;
    Ok((merged, work.plan))
}

/// A result.
pub struct Hit<T> {
    /// What was found.
    pub item: T,
    /// Its similarity to the query.
    pub similarity: f32,
    /// What it is sorted by.
    pub score: f32,
}

/// For each query the best `options.k` rows of a table, as `read` reads them. The second of the pair says
/// whether what was read has the traits that the filter asks for.
pub fn search_rows<'a, T>(
    reader: &'a Reader,
    table: &'a Table,
    queries: &[&'a [f32]],
    options: &'a SearchOptions,
    ef: usize,
    (read, passes): (
        impl Fn(&Visited<'_>) -> Result<Option<T>>,
        impl Fn(&T) -> bool,
    ),
) -> Result<Vec<Vec<Hit<T>>>> {
    let mut search = Search::new(reader, table, options, ef)?;
    Ok(answer(&mut search, queries, (read, passes))?.0)
}

/// Rows with their similarities, where they are known closely, and the way that they were found.
pub type Proposed = (Vec<(u32, Option<f32>)>, Work);

/// About the best `options.k` rows of a table for one query, in no order, for somebody who looks further into
/// them; exactly these where exactness is asked for. Only rows `within` are looked at, where that is not all; `ef` is as broad as
/// it is said.
pub fn propose<'a>(
    reader: &'a Reader,
    table: &'a Table,
    (query, filter, within): (&'a [f32], Compiled<'a>, Option<RoaringBitmap>),
    options: &'a SearchOptions,
    ef: usize,
) -> Result<Proposed> {
    // What was believed to pass is asked now.
    let read = |row: &Visited<'_>| Ok(Some((row.number, reader.passes(&filter, row)?)));
    let passes = |read: &(u32, bool)| read.1;
    let mut search = Search::among(reader, table, options, (filter.clone(), within), ef);
    if options.exact {
        let (found, work) = answer(&mut search, &[query], (read, passes))?;
        let rows = found.into_iter().flatten();
        let rows = rows.map(|hit| (hit.item.0, Some(hit.similarity)));
        return Ok((rows.collect(), work));
    }
    loop {
        let (mut sieves, work) = search.sift(&[query])?;
        let near: Vec<_> = sieves.iter_mut().flat_map(Sieve::promising).collect();
        let mut all_pass = true;
        for (row, ..) in &near {
            all_pass &= search.passes_now(*row)?;
        }
        if all_pass {
            let known = |(row, similarity, off)| (row, Some(similarity).filter(|_| off <= CLOSE));
            return Ok((near.into_iter().map(known).collect(), work));
        }
        search.trusting = false;
    }
}

fn answer<'a, T>(
    search: &mut Search<'a>,
    queries: &[&'a [f32]],
    (read, passes): (
        impl Fn(&Visited<'_>) -> Result<Option<T>>,
        impl Fn(&T) -> bool,
    ),
) -> Result<(Vec<Vec<Hit<T>>>, Work)> {
    loop {
        let (mut sieves, work) = search.sift(queries)?;
        let (candidates, _) = search.compare(&mut sieves)?;
        match search.hits(candidates, &read, &passes)? {
            Some(hits) => return Ok((hits, work)),
            None => search.trusting = false,
        }
    }
}

/// For each query the `k` rows of a table most like it, archived ones too, best first. Every row is
/// compared, whatever graphs there are.
pub fn nearest(
    reader: &Reader,
    table: &Table,
    queries: &[&[f32]],
    k: usize,
) -> Result<Vec<Vec<Candidate>>> {
    let options = SearchOptions {
        k,
        exact: true,
        // Also where the collective has weights of its own.
        weights: Some(RecallWeights {
            similarity: 1.0,
            energy: 0.0,
        }),
        filter: SearchFilter {
            exclude_archived: false,
            ..SearchFilter::default()
        },
        ..SearchOptions::default()
    };
    let search = Search::new(reader, table, &options, k)?;
    loop {
        let (mut sieves, _) = search.sift(queries)?;
        let (candidates, _) = search.compare(&mut sieves)?;
        if !search.lacking.take() {
            return Ok(candidates);
        }
    }
}

/// Adds what a transaction has written itself.
fn merge(
    reader: &Reader,
    collective: CollectiveId,
    queries: &[&[f32]],
    options: &SearchOptions,
    hits: Vec<Vec<SearchHit>>,
) -> Result<Vec<Vec<SearchHit>>> {
    let Some(overlay) = &reader.overlay else {
        return Ok(hits);
    };
    let definition = reader.collective(collective)?;
    let scoring = Scoring::of(options, Some(&definition.decay));
    let each = queries.iter().zip(hits);
    each.map(|(query, from_rows)| {
        let query = Query::new(query);
        let own = merged::experiences(reader, overlay, collective, &options.filter);
        let own = own.map(|own| {
            let (experience, inverse_norm) = own?;
            let similarity = query.similarity(&experience.embedding, inverse_norm);
            let energy = reader.energy(&experience, &definition.decay);
            Ok(SearchHit {
                score: scoring.score(similarity, energy),
                similarity,
                parts: ScoreParts::default(),
                experience,
            })
        });
        merged::best(options.k, from_rows, own, |hit| Candidate {
            score: hit.score,
            similarity: hit.similarity,
            id: hit.experience.id.as_u128(),
            row: 0,
        })
    })
    .collect()
}

/// How the search for one query goes, with its results counted but not answered.
pub fn explain(
    reader: &Reader,
    collective: CollectiveId,
    query: &[f32],
    options: &SearchOptions,
    ef: usize,
    clock: &dyn Env,
) -> Result<SearchExplanation> {
    let mut stages = Stages::new(clock);
    let table = reader.table(collective)?;
    let filter = Compiled::new(&options.filter, table)?;
    let read = |row: &Visited<'_>| reader.assemble(table, row);
    let passes = |experience: &Experience| filter.traits_of(experience);
    let mut search = Search::new(reader, table, options, ef)?;
    let definition = reader.definition(table);
    let weighed = definition.filter(|definition| {
        matches!(
            Scoring::of(options, Some(&definition.decay)),
            Scoring::Weighted(_)
        )
    });
    let told = |hit: &Hit<Experience>| HitExplanation {
        id: hit.item.id,
        score: hit.score,
        parts: ScoreParts {
            dense: Some(ScorePart {
                own: hit.similarity,
                lent: 0.0,
                share: hit.similarity,
            }),
            lexical: None,
        },
        terms: Vec::new(),
        neighbours: Vec::new(),
        energy: weighed
            .as_ref()
            .map(|one| reader.energy(&hit.item, &one.decay)),
        likeness: None,
    };
    let planning = stages.next();
    loop {
        let (mut sieves, work) = search.sift(&[query])?;
        let finding = stages.next();
        let (candidates, compared) = search.compare(&mut sieves)?;
        let comparing = stages.next();
        let Some(hits) = search.hits(candidates, &read, &passes)? else {
            search.trusting = false;
            continue;
        };
        return Ok(SearchExplanation {
            plan: work.plan,
            ef: search.ef,
            rows: search.count.into(),
            graphs: search.index.graphs.len() as u64,
            in_graphs: search.index.indexed.into(),
            matches: search.matches.as_ref().map(RoaringBitmap::len),
            codes_compared: work.codes_compared,
            rows_checked: sieves.iter().map(|sieve| sieve.checked()).sum(),
            vectors_compared: compared,
            hits: hits.iter().map(|hits| hits.len() as u64).sum(),
            planning,
            finding,
            comparing,
            reading: stages.next(),
            words: None,
            results: hits.iter().flatten().map(told).collect(),
        });
    }
}
