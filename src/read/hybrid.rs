//! How is a question in words answered, alone or together with a vector?
//!
//! The walk: the index of words covers what the snapshot shows ([`texts`]) → what is required and excluded leaves the rows
//! that may be results → words and vector each propose their best of these → every candidate gets both scores, exactly →
//! these become one ranking, neighbours heard ([`neighbours`]) → energy and diversity → the winners are read.
//! Every result is visible and passes filter and constraints; with fewer than `k` there are no more that have a word
//! of the question (or, with a vector, none at all).

use std::collections::BTreeMap;

use roaring::RoaringBitmap;

use crate::{
    error::{PulseDBError, Result},
    model::{
        CollectiveId, NeighbourEvidence, RecallWeights, ScoreParts, SearchHit, SearchOptions,
        limits::{MAX_CONSTRAINTS, MAX_QUERY_BYTES},
    },
    read::{
        diversity,
        filter::Compiled,
        matches,
        neighbours::{self, Candidate, Near, Ranked, Ranking, Sight, Surroundings},
        rank::weighted,
        reader::Reader,
        search,
        sieve::Scoring,
        texts::{self, Tasks, Words},
    },
    simd,
    state::{Rows, Table},
    text::{
        Question,
        index::IndexState,
        search::{Rater, Scored, Scorer, as_f32},
    },
    vector::similarity,
};

/// Vectors that are fetched while one is compared.
const FETCHED_AHEAD: usize = 4;

/// Rows on each side among which the neighbours of a row are looked for: those of other tasks may stand between them.
const REACH_ROWS: u32 = 16;

/// What is asked.
pub struct Asked<'a> {
    /// The words.
    pub question: &'a Question,
    /// The vector, checked.
    pub vector: Option<&'a [f32]>,
}

/// Refuses a text that cannot be asked.
pub fn check(text: &str) -> Result<()> {
    if text.len() > MAX_QUERY_BYTES {
        return Err(PulseDBError::validation(
            "query",
            format!("{} bytes", text.len()),
            format!("there may be {MAX_QUERY_BYTES}"),
        ));
    }
    Ok(())
}

/// Refuses a question that asks for too much, and options that cannot be meant.
pub fn check_question(question: &Question, options: &SearchOptions) -> Result<()> {
    if question.constraints.len() > MAX_CONSTRAINTS {
        return Err(PulseDBError::validation(
            "query",
            format!("{} required and excluded words", question.constraints.len()),
            format!("there may be {MAX_CONSTRAINTS}"),
        ));
    }
    let weights = options.fusion_weights;
    for (field, value) in [
        ("fusion_weights.dense", weights.dense),
        ("fusion_weights.lexical", weights.lexical),
    ] {
        if !(value.is_finite() && value >= 0.0) {
            return Err(PulseDBError::validation(
                field,
                value,
                "it must be finite and ≥ 0",
            ));
        }
    }
    if weights.dense + weights.lexical == 0.0 {
        return Err(PulseDBError::validation(
            "fusion_weights",
            0,
            "one of them must be > 0",
        ));
    }
    let evidence = options.neighbours.unwrap_or_default();
    let diversity = options.diversity.unwrap_or_default();
    for (field, value) in [
        ("neighbours.direct", evidence.direct),
        ("neighbours.second", evidence.second),
        ("diversity.relevance", diversity.relevance),
    ] {
        if !(0.0..=1.0).contains(&value) {
            return Err(PulseDBError::validation(
                field,
                value,
                "it must be in [0, 1]",
            ));
        }
    }
    Ok(())
}

/// The best `options.k` experiences of the collective.
pub fn search(
    reader: &Reader,
    collective: CollectiveId,
    asked: &Asked<'_>,
    options: &SearchOptions,
    (ef, words): (usize, &Words),
) -> Result<Vec<SearchHit>> {
    let table = reader.table(collective)?;
    if let Some(overlay) = &reader.overlay
        && (overlay
            .hidden(table.number)
            .is_some_and(|rows| !rows.is_empty())
            || overlay.experiences(collective).next().is_some())
    {
        return Err(PulseDBError::validation(
            "query",
            "a text",
            "a transaction searches a collective that it has changed by vector only; commit it first",
        ));
    }
    let state = texts::covering(reader, table, words);
    let filter = Compiled::new(&options.filter, table)?;
    let allowed = texts::allowed(reader, table, words, &state, asked.question);
    let within = match (matches::candidates(reader, table, &filter), allowed) {
        (Some(matches), Some(allowed)) => Some(matches & allowed),
        (matches, allowed) => matches.or(allowed),
    };
    let hybrid = Hybrid {
        reader,
        table,
        asked,
        options,
        ef,
        rows: table.rows(reader.lsn()),
        filter,
        within,
        state: &state,
        scorer: Scorer::new(&state.runs, asked.question, words.parameters),
    };
    hybrid.search()
}

/// What is known of a row that was proposed, so far.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    similarity: Option<f32>,
    score: Option<u32>,
}

struct Hybrid<'a> {
    reader: &'a Reader,
    table: &'a Table,
    asked: &'a Asked<'a>,
    options: &'a SearchOptions,
    ef: usize,
    rows: Rows,
    filter: Compiled<'a>,
    /// The rows that fulfil the constraints and may pass the filter; `None` where neither restricts anything.
    within: Option<RoaringBitmap>,
    state: &'a IndexState,
    scorer: Scorer<'a>,
}

impl Hybrid<'_> {
    fn search(&self) -> Result<Vec<SearchHit>> {
        let k = self.options.k;
        let pool = neighbours::POOL.max(k.saturating_mul(2));
        let mut around = Around {
            hybrid: self,
            rater: self.scorer.rater(),
            query: self.asked.vector.map(similarity::Query::new),
            tasks: Tasks::new(self.reader, self.table),
        };
        let mut found = self.by_words(pool)?;
        for (row, similarity) in self.by_vector(pool)? {
            found.entry(row).or_default().similarity = Some(similarity);
        }
        let candidates = around.candidates(&found)?;
        let evidence = match self.asked.vector {
            Some(_) => NeighbourEvidence::default(),
            None => NeighbourEvidence::NONE,
        };
        let ranking = Ranking {
            fusion: self.options.fusion,
            weights: self.options.fusion_weights,
            evidence: self.options.neighbours.unwrap_or(evidence),
            focus: neighbours::focus(k),
        };
        let mut ranked = neighbours::rank(candidates, &ranking, &mut around)?;
        self.weigh(&mut ranked);
        self.hits(ranked)
    }

    /// The best by their words and, if these are too few, the first that fulfil what the question asks for.
    fn by_words(&self, pool: usize) -> Result<BTreeMap<u32, Found>> {
        let mut failed = Ok(());
        let mut accepted = |row| match self.is_candidate(row) {
            Ok(accepted) => accepted,
            Err(error) => {
                failed = Err(error);
                false
            }
        };
        let question = self.asked.question;
        let best = self.scorer.best(pool, &mut accepted);
        let scored = |one: Scored| {
            let found = Found {
                score: Some(one.score),
                ..Found::default()
            };
            (one.row, found)
        };
        let mut found: BTreeMap<u32, Found> = best.into_iter().map(scored).collect();
        // What must be there may be all that a row has of the question.
        if let Some(within) = &self.within
            && question.asks_for_something()
        {
            let left = pool.saturating_sub(found.len());
            let others = within.iter();
            let others = others.filter(|row| !found.contains_key(row) && accepted(*row));
            let others: Vec<u32> = others.take(left).collect();
            found.extend(others.into_iter().map(|row| (row, Found::default())));
        }
        failed.map(|()| found)
    }

    /// The nearest to the vector.
    fn by_vector(&self, pool: usize) -> Result<Vec<(u32, f32)>> {
        let Some(vector) = self.asked.vector else {
            return Ok(Vec::new());
        };
        let options = SearchOptions {
            k: pool,
            weights: Some(RecallWeights {
                similarity: 1.0,
                energy: 0.0,
            }),
            ..self.options.clone()
        };
        // The last of the pool need not be the very next ones, so no more are asked for than it holds.
        let (found, _) = search::propose(
            self.reader,
            self.table,
            (vector, self.filter.clone(), self.within.clone()),
            &options,
            self.options.ef.unwrap_or(self.ef).max(pool),
        )?;
        Ok(found)
    }

    /// Whether a row may be a result.
    fn is_candidate(&self, row: u32) -> Result<bool> {
        let within = self.within.as_ref();
        if row >= self.state.covered || within.is_some_and(|rows| !rows.contains(row)) {
            return Ok(false);
        }
        match self.rows.visible(row) {
            Some(row) => self.reader.passes(&self.filter, &row),
            None => Ok(false),
        }
    }

    /// Brings energy into the ranking, where that is asked for.
    fn weigh(&self, ranked: &mut [Ranked]) {
        let definition = self.reader.definition(self.table);
        let decay = definition.as_ref().map(|definition| &definition.decay);
        let (Scoring::Weighted(weights), Some(decay)) = (Scoring::of(self.options, decay), decay)
        else {
            return;
        };
        for one in &mut *ranked {
            let energy = self.rows.visible(one.row);
            let energy = energy.map_or(0.0, |row| row.values().energy(decay, self.reader.now));
            one.score = weighted(&weights, one.score, energy);
        }
        ranked.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.id.cmp(&b.id)));
    }

    /// The first `k` that can be read, or those of them that are not all alike.
    fn hits(&self, ranked: Vec<Ranked>) -> Result<Vec<SearchHit>> {
        let k = self.options.k;
        let order = match self.options.diversity {
            Some(diversity) => {
                let scores: Vec<f32> = ranked.iter().map(|one| one.score).collect();
                let vectors = ranked.iter().map(|one| self.vector(one.row));
                let vectors = vectors.collect::<Result<Vec<_>>>()?;
                diversity::choose(&scores, k, diversity, |a, b| {
                    match (vectors.get(a), vectors.get(b)) {
                        (Some(Some(a)), Some(Some(b))) => {
                            similarity::Query::new(a).similarity_to(b)
                        }
                        _ => 0.0,
                    }
                })
            }
            None => (0..ranked.len()).collect(),
        };
        let mut hits = Vec::with_capacity(k.min(order.len()));
        for one in order.into_iter().filter_map(|at| ranked.get(at)) {
            if hits.len() == k {
                break;
            }
            let Some(row) = self.rows.visible(one.row) else {
                continue;
            };
            let Some(experience) = self.reader.assemble(self.table, &row)? else {
                continue;
            };
            let ScoreParts { dense, .. } = one.parts;
            hits.push(SearchHit {
                experience,
                similarity: dense.map_or(0.0, |part| part.own),
                score: one.score,
                parts: one.parts,
            });
        }
        Ok(hits)
    }

    fn vector(&self, row: u32) -> Result<Option<&[f32]>> {
        match self.rows.visible(row) {
            Some(row) => self.reader.vector(self.table, &row),
            None => Ok(None),
        }
    }
}

/// What stands around the candidates.
struct Around<'a> {
    hybrid: &'a Hybrid<'a>,
    rater: Rater<'a>,
    query: Option<similarity::Query<'a>>,
    tasks: Tasks<'a>,
}

impl Around<'_> {
    /// The next two rows of the task in one direction.
    fn next(
        &mut self,
        task: &str,
        rows: impl Iterator<Item = u32>,
        near: &mut Vec<Near>,
    ) -> Result<()> {
        let mut second = false;
        for row in rows {
            if self.tasks.of(row)? == Some(task) && self.hybrid.is_candidate(row)? {
                near.push(Near { row, second });
                if second {
                    break;
                }
                second = true;
            }
        }
        Ok(())
    }
}

impl Around<'_> {
    /// What was found, each with both scores.
    fn candidates(&mut self, found: &BTreeMap<u32, Found>) -> Result<Vec<Candidate>> {
        let unknown = found.iter().filter(|(_, one)| one.similarity.is_none());
        let unknown: Vec<u32> = unknown.map(|(row, _)| *row).collect();
        let mut seen = self.similarities(&unknown)?.into_iter();
        let candidate = |(row, one): (&u32, &Found)| {
            let score = one.score.unwrap_or_else(|| {
                let mut sum = 0_u32;
                self.rater
                    .rate(*row, |_, part| sum = sum.saturating_add(part));
                sum
            });
            Candidate {
                row: *row,
                id: self.hybrid.rows.visible(*row).map_or(0, |row| row.row.id),
                dense: one.similarity.or_else(|| seen.next().flatten()),
                lexical: Some(as_f32(score)).filter(|score| *score > 0.0),
            }
        };
        Ok(found.iter().map(candidate).collect())
    }

    /// How similar each of these rows is to the query's vector; `None` where that is not known.
    fn similarities(&self, rows: &[u32]) -> Result<Vec<Option<f32>>> {
        let Hybrid { reader, table, .. } = self.hybrid;
        let Some(query) = &self.query else {
            return Ok(vec![None; rows.len()]);
        };
        let vector = |row: u32| match self.hybrid.rows.visible(row) {
            Some(row) => Ok(reader
                .vector(table, &row)?
                .map(|vector| (vector, row.row.inverse_norm))),
            None => Ok(None),
        };
        let mut ahead = rows.iter().skip(FETCHED_AHEAD);
        let similarity = |row: &u32| {
            if let Some(row) = ahead.next()
                && let Some((vector, _)) = vector(*row)?
            {
                simd::prefetch(vector);
            }
            Ok(vector(*row)?.map(|(vector, norm)| query.similarity(vector, norm)))
        };
        rows.iter().map(similarity).collect()
    }
}

impl Surroundings for Around<'_> {
    fn near(&mut self, row: u32) -> Result<Vec<Near>> {
        let mut near = Vec::new();
        if let Some(task) = self.tasks.of(row)? {
            let first = row.saturating_sub(REACH_ROWS);
            self.next(task, (first..row).rev(), &mut near)?;
            let behind = row.saturating_add(1)..row.saturating_add(1 + REACH_ROWS);
            self.next(task, behind, &mut near)?;
        }
        Ok(near)
    }

    fn sights(&mut self, rows: &[u32]) -> Result<Vec<Sight>> {
        let similarities = self.similarities(rows)?;
        let sight = |(row, dense): (&u32, Option<f32>)| {
            let mut words = Vec::new();
            self.rater
                .rate(*row, |term, part| words.push((term as u32, as_f32(part))));
            Sight {
                id: self.hybrid.rows.visible(*row).map_or(0, |row| row.row.id),
                dense,
                words,
            }
        };
        Ok(rows.iter().zip(similarities).map(sight).collect())
    }
}
