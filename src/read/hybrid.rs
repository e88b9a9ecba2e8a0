//! How is a question in words answered, alone or together with a vector?
//!
//! The walk: the index of words covers what the snapshot shows ([`texts`]) → what is required and excluded leaves the rows
//! that may be results → words and vector each propose their best of these → every candidate gets both scores, similarities at a
//! [`glance`](super::glance) → these become one ranking, neighbours heard, whose best are compared exactly ([`neighbours`]) → energy and
//! diversity → the winners are read.
//! Every result is visible and passes filter and constraints; with fewer than `k` there are no more that have a word
//! of the question (or, with a vector, none at all).
//! The same walk answers, explains ([`Trace`]) and finds insights.

use std::ops::Range;

use roaring::RoaringBitmap;

use crate::{
    error::{PulseDBError, Result},
    model::{
        CollectiveId, DecayConfig, Experience, NeighbourEvidence, RecallWeights, SearchHit,
        SearchOptions,
        limits::{MAX_CONSTRAINTS, MAX_QUERY_BYTES},
    },
    read::{
        around::Around,
        diversity,
        filter::Compiled,
        matches,
        neighbours::{self, Ranked, Ranking},
        plan,
        rank::weighted,
        reader::Reader,
        search::{self, Proposed},
        sieve::Scoring,
        texts::{self, Words},
        trace::Trace,
    },
    state::{Rows, Table, Visited},
    sync::Arc,
    text::{
        Question,
        index::IndexState,
        search::{Scored, Scorer},
    },
    vector::similarity,
};

/// One in so many of the best by words that may be dead, archived or expired before all that come near are asked one by one.
const REFUSED_PART: usize = 8;

/// What is asked.
#[derive(Clone, Copy)]
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
    asked: Asked<'_>,
    options: &SearchOptions,
    limits: (usize, &Words),
) -> Result<Vec<SearchHit>> {
    let table = searchable(reader, collective)?;
    let mut trace = Trace::default();
    let ground = Ground::new(reader, table, asked, options, limits)?;
    let found = ground.walk(|row| reader.assemble(table, row), &mut trace)?;
    Ok(found.into_iter().map(hit).collect())
}

/// The experiences of a collective, unless a transaction has changed them: what is not committed is in no index of words.
pub fn searchable(reader: &Reader, collective: CollectiveId) -> Result<&Table> {
    let table = reader.table(collective)?;
    let changed = reader.overlay.as_ref().is_some_and(|overlay| {
        overlay.hides_rows(table.number) || overlay.experiences(collective).next().is_some()
    });
    if changed {
        return Err(PulseDBError::validation(
            "query",
            "a text",
            "a transaction searches a collective that it has changed by vector only; commit it first",
        ));
    }
    Ok(table)
}

/// A result as it is answered.
fn hit((experience, one): (Experience, Ranked)) -> SearchHit {
    SearchHit {
        experience,
        similarity: one.similarity(),
        score: one.score,
        parts: one.parts,
    }
}

/// What is known of a row that was proposed, so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    /// The row.
    pub row: u32,
    /// About its similarity to the vector.
    pub similarity: Option<f32>,
    /// Its score by words, in the unit of the question.
    pub score: Option<u32>,
}

/// What is searched, and for what.
pub struct Ground<'a> {
    /// The snapshot.
    pub reader: &'a Reader,
    /// The rows.
    pub table: &'a Table,
    /// The question.
    pub asked: Asked<'a>,
    /// How.
    pub options: &'a SearchOptions,
    ef: usize,
    parameters: (f32, f32),
    /// The rows, as the snapshot shows them.
    pub rows: Rows,
    filter: Compiled<'a>,
    /// The rows that fulfil the constraints and may pass the filter; `None` where neither restricts anything.
    pub within: Option<RoaringBitmap>,
    /// The index of words, with every row that the snapshot shows.
    pub state: Arc<IndexState>,
    /// How results are weighted with energy, where that is asked for.
    pub weighting: Option<(RecallWeights, DecayConfig)>,
}

impl<'a> Ground<'a> {
    /// With the index brought up to date, constraints and filter looked up.
    pub fn new(
        reader: &'a Reader,
        table: &'a Table,
        asked: Asked<'a>,
        options: &'a SearchOptions,
        (ef, words): (usize, &Words),
    ) -> Result<Self> {
        let state = texts::covering(reader, table, words);
        let filter = Compiled::new(&options.filter, table)?;
        let allowed = texts::allowed(reader, table, words, &state, asked.question);
        let within = match (matches::candidates(reader, table, &filter), allowed) {
            (Some(matches), Some(allowed)) => Some(matches & allowed),
            (matches, allowed) => matches.or(allowed),
        };
        let definition = reader.definition(table);
        let decay = definition.as_ref().map(|one| &one.decay);
        let weighting = match Scoring::of(options, decay) {
            Scoring::Weighted(weights) => decay.map(|decay| (weights, decay.clone())),
            Scoring::Similarity => None,
        };
        Ok(Self {
            reader,
            table,
            asked,
            options,
            ef,
            parameters: words.parameters,
            rows: table.rows(reader.lsn()),
            filter,
            within,
            state,
            weighting,
        })
    }

    /// How broadly graphs are walked.
    pub fn breadth(&self) -> usize {
        self.options.ef.unwrap_or(self.ef).max(self.pool())
    }

    /// How many candidates words and vector propose each, at most.
    fn pool(&self) -> usize {
        neighbours::POOL.max(self.options.k.saturating_mul(2))
    }

    /// How many of the best are compared exactly: twice as many as are wanted, and all where others than the first may win.
    pub fn compared(&self) -> usize {
        if self.options.diversity.is_some() || self.weighting.is_some() {
            usize::MAX
        } else {
            plan::over_fetch(self.options.k, false)
        }
    }

    /// The question's terms, weighted.
    pub fn scorer(&self) -> Scorer<'_> {
        Scorer::new(&self.state.runs, self.asked.question, self.parameters)
    }

    /// The best `options.k` rows as `read` reads them, best first.
    pub fn walk<T>(
        &self,
        read: impl Fn(&Visited<'_>) -> Result<Option<T>>,
        trace: &mut Trace<'_>,
    ) -> Result<Vec<(T, Ranked)>> {
        let k = self.options.k;
        let pool = self.pool();
        let scorer = self.scorer();
        let mut around = Around::new(self, &scorer);
        trace.lap(|trace| &mut trace.planning);
        let mut found = self.by_words(&scorer, pool)?;
        trace.proposed = found.len() as u64;
        trace.lap(|trace| &mut trace.words);
        if let Some((by_vector, work)) = self.by_vector(pool)? {
            trace.proposed_by_vector = by_vector.len() as u64;
            trace.work = Some(work);
            found.extend(by_vector.into_iter().map(|(row, similarity)| Found {
                row,
                similarity,
                score: None,
            }));
        }
        found.sort_unstable_by_key(|one| one.row);
        found.dedup_by(|other, one| {
            let same = one.row == other.row;
            if same {
                one.similarity = one.similarity.or(other.similarity);
                one.score = one.score.or(other.score);
            }
            same
        });
        trace.lap(|trace| &mut trace.vector);
        let candidates = around.candidates(&found)?;
        trace.lap(|trace| &mut trace.comparing);
        let evidence = match self.asked.vector {
            Some(_) => NeighbourEvidence::default(),
            None => NeighbourEvidence::NONE,
        };
        let ranking = Ranking {
            fusion: self.options.fusion,
            weights: self.options.fusion_weights,
            evidence: self.options.neighbours.unwrap_or(evidence),
            focus: neighbours::focus(k),
            compared: self.compared(),
        };
        let mut ranked = neighbours::rank(candidates, &ranking, &mut around)?;
        trace.ranked = ranked.len() as u64;
        self.weigh(&mut ranked);
        trace.lap(|trace| &mut trace.ranking);
        let hits = self.hits(ranked, read)?;
        trace.lap(|trace| &mut trace.reading);
        Ok(hits)
    }

    /// The best by their words and, if these are too few, the first that fulfil what the question asks for.
    fn by_words(&self, scorer: &Scorer<'_>, pool: usize) -> Result<Vec<Found>> {
        let mut failed = Ok(());
        let mut accepted = |row| match self.is_candidate(row) {
            Ok(accepted) => accepted,
            Err(error) => {
                failed = Err(error);
                false
            }
        };
        let question = self.asked.question;
        let best = match self.within {
            Some(_) => None,
            None => self.few_refused(scorer, pool, |one| accepted(one.row)),
        };
        let best = best.unwrap_or_else(|| scorer.best(pool, &mut accepted));
        let scored = |one: Scored| Found {
            row: one.row,
            similarity: None,
            score: Some(one.score),
        };
        let mut found: Vec<Found> = best.into_iter().map(scored).collect();
        // What must be there may be all that a row has of the question.
        if let Some(within) = &self.within
            && question.asks_for_something()
        {
            let mut known: Vec<u32> = found.iter().map(|one| one.row).collect();
            known.sort_unstable();
            let others = within.iter();
            let others = others.filter(|row| known.binary_search(row).is_err() && accepted(*row));
            let left = pool.saturating_sub(found.len());
            found.extend(others.take(left).map(|row| Found {
                row,
                ..Found::default()
            }));
        }
        failed.map(|()| found)
    }

    /// The best `k` of those that are accepted, each asked for once it is among the best of all; `None` where too many of these are
    /// refused. A search meets many more that are the best for a while only.
    fn few_refused(
        &self,
        scorer: &Scorer<'_>,
        k: usize,
        accepted: impl FnMut(&Scored) -> bool,
    ) -> Option<Vec<Scored>> {
        let asked = k.saturating_add(k / REFUSED_PART);
        let mut best = scorer.best(asked, |_| true);
        let all = best.len() < asked;
        for one in &best {
            self.rows.prefetch(one.row);
        }
        best.retain(accepted);
        best.truncate(k);
        (all || best.len() == k).then_some(best)
    }

    /// The nearest to the vector, if there is one, and how they were found.
    fn by_vector(&self, pool: usize) -> Result<Option<Proposed>> {
        let Some(vector) = self.asked.vector else {
            return Ok(None);
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
        search::propose(
            self.reader,
            self.table,
            (vector, self.filter.clone(), self.within.clone()),
            &options,
            self.breadth(),
        )
        .map(Some)
    }

    /// Asks the CPU for what is asked of these rows next.
    pub fn expect(&self, rows: Range<u32>) {
        self.state.expect(rows.clone());
        rows.for_each(|row| self.rows.prefetch(row));
    }

    /// Whether a row may be a result.
    pub fn is_candidate(&self, row: u32) -> Result<bool> {
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
        let Some((weights, decay)) = &self.weighting else {
            return;
        };
        for one in &mut *ranked {
            let energy = self.energy(one.row, decay);
            one.score = weighted(weights, one.score, energy);
        }
        ranked.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.id.cmp(&b.id)));
    }

    /// How warm a row is.
    pub fn energy(&self, row: u32, decay: &DecayConfig) -> f32 {
        let row = self.rows.visible(row);
        row.map_or(0.0, |row| row.values().energy(decay, self.reader.now))
    }

    /// The first `k` that can be read, or those of them that are not all alike.
    fn hits<T>(
        &self,
        ranked: Vec<Ranked>,
        read: impl Fn(&Visited<'_>) -> Result<Option<T>>,
    ) -> Result<Vec<(T, Ranked)>> {
        let k = self.options.k;
        let mut ranked: Vec<Option<Ranked>> = ranked.into_iter().map(Some).collect();
        let order = match self.options.diversity {
            Some(diversity) => {
                let ranked = || ranked.iter().flatten();
                let scores: Vec<f32> = ranked().map(|one| one.score).collect();
                let vectors = ranked().map(|one| self.vector(one.row));
                let vectors = vectors.collect::<Result<Vec<_>>>()?;
                diversity::choose(&scores, k, diversity, |a, b| {
                    match (vectors.get(a), vectors.get(b)) {
                        (Some(a), Some(b)) => likeness(*a, *b),
                        _ => 0.0,
                    }
                })
            }
            None => (0..ranked.len()).collect(),
        };
        let mut hits = Vec::with_capacity(k.min(order.len()));
        let mut chosen = order.into_iter();
        while hits.len() < k
            && let Some(at) = chosen.next()
        {
            let Some(one) = ranked.get_mut(at).and_then(Option::take) else {
                continue;
            };
            if let Some(row) = self.rows.visible(one.row)
                && let Some(item) = read(&row)?
            {
                hits.push((item, one));
            }
        }
        Ok(hits)
    }

    /// The vector of a row; `None` where it cannot be read.
    pub fn vector(&self, row: u32) -> Result<Option<&[f32]>> {
        match self.rows.visible(row) {
            Some(row) => {
                let stored = self.reader.vector(self.table, &row)?;
                Ok(stored.map(|stored| stored.vector))
            }
            None => Ok(None),
        }
    }
}

/// How similar two results are; 0 where that is not known.
pub fn likeness(a: Option<&[f32]>, b: Option<&[f32]>) -> f32 {
    match (a, b) {
        (Some(a), Some(b)) => similarity::Query::new(a).similarity_to(b),
        _ => 0.0,
    }
}
