//! How is a question in words answered, alone or together with a vector?
//!
//! The walk: the index of words covers what the snapshot shows ([`texts`]) → what is required and excluded leaves the rows
//! that may be results → words and vector each propose their best of these → every candidate gets both scores, exactly →
//! these become one ranking, neighbours heard ([`neighbours`]) → energy and diversity → the winners are read.
//! Every result is visible and passes filter and constraints; with fewer than `k` there are no more that have a word
//! of the question (or, with a vector, none at all).

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
    state::{Rows, Table, Visited},
    text::{
        Question,
        index::IndexState,
        search::{Rater, Scorer, as_f32},
    },
    vector::similarity,
};

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
    let allowed = texts::allowed(reader, table, words, &state, asked.question);
    let filter = Compiled::new(&options.filter, table)?;
    let matches = matches::candidates(reader, table, &filter);
    let hybrid = Hybrid {
        reader,
        table,
        asked,
        options,
        ef,
        rows: table.rows(reader.lsn()),
        filter,
        matches,
        allowed,
        state: &state,
        scorer: Scorer::new(&state.runs, asked.question, words.parameters),
    };
    hybrid.search()
}

struct Hybrid<'a> {
    reader: &'a Reader,
    table: &'a Table,
    asked: &'a Asked<'a>,
    options: &'a SearchOptions,
    ef: usize,
    rows: Rows,
    filter: Compiled<'a>,
    matches: Option<RoaringBitmap>,
    /// The rows that fulfil the constraints; `None` where there are none.
    allowed: Option<RoaringBitmap>,
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
        let mut rows = self.by_words(pool)?;
        rows |= self.by_vector(pool)?;
        let mut candidates = Vec::with_capacity(rows.len() as usize);
        for row in &rows {
            let sight = around.sight(row)?;
            let lexical = sight.words.iter().sum::<f32>();
            candidates.push(Candidate {
                row,
                id: sight.id,
                dense: sight.dense,
                lexical: Some(lexical).filter(|score| *score > 0.0),
            });
        }
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
    fn by_words(&self, pool: usize) -> Result<RoaringBitmap> {
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
        let mut rows: RoaringBitmap = best.into_iter().map(|scored| scored.row).collect();
        // What must be there may be all that a row has of the question.
        if let Some(allowed) = self
            .allowed
            .as_ref()
            .filter(|_| question.asks_for_something())
        {
            let left = pool.saturating_sub(rows.len() as usize);
            let others = allowed
                .iter()
                .filter(|row| !rows.contains(*row) && accepted(*row));
            let others: Vec<u32> = others.take(left).collect();
            rows.extend(others);
        }
        failed.map(|()| rows)
    }

    /// The nearest to the vector.
    fn by_vector(&self, pool: usize) -> Result<RoaringBitmap> {
        let Some(vector) = self.asked.vector else {
            return Ok(RoaringBitmap::new());
        };
        let options = SearchOptions {
            k: pool,
            weights: Some(RecallWeights {
                similarity: 1.0,
                energy: 0.0,
            }),
            ..self.options.clone()
        };
        let read = |row: &Visited<'_>| {
            // A row that was believed to pass is asked now.
            let passes = self.reader.passes(&self.filter, row)?;
            Ok(self
                .reader
                .vector(self.table, row)?
                .map(|_| (row.number, passes)))
        };
        let found = search::search_among(
            self.reader,
            self.table,
            (vector, self.allowed.as_ref()),
            &options,
            self.ef,
            (read, |(_, passes): &(u32, bool)| *passes),
        )?;
        Ok(found.into_iter().map(|hit| hit.item.0).collect())
    }

    /// Whether a row may be a result.
    fn is_candidate(&self, row: u32) -> Result<bool> {
        let in_question =
            |rows: &Option<RoaringBitmap>| rows.as_ref().is_none_or(|rows| rows.contains(row));
        if row >= self.state.covered || !in_question(&self.allowed) || !in_question(&self.matches) {
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
            Some(row) => {
                let stored = self.reader.vector(self.table, &row)?;
                Ok(stored.map(|stored| stored.vector))
            }
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

    fn sight(&mut self, row: u32) -> Result<Sight> {
        let mut words = vec![0; self.hybrid.asked.question.terms.len()];
        self.rater.rate(row, &mut words);
        let visible = self.hybrid.rows.visible(row);
        let dense = match (&self.query, visible) {
            (Some(query), Some(row)) => {
                let vector = self.hybrid.reader.vector(self.hybrid.table, &row)?;
                vector.map(|stored| query.similarity(stored.vector, stored.inverse_norm))
            }
            _ => None,
        };
        Ok(Sight {
            id: visible.map_or(0, |row| row.row.id),
            dense,
            words: words.into_iter().map(as_f32).collect(),
        })
    }
}
