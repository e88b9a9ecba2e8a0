//! Where does each part of each score of a search come from?
//!
//! A search by words is walked as it is answered ([`hybrid`](super::hybrid)), with a clock; then each result is looked at once more: what each term,
//! each neighbour, its energy and its likeness to others had to do with its place.

use crate::{
    env::Env,
    error::Result,
    model::{
        CollectiveId, Experience, ExperienceId, HitExplanation, NeighbourExplanation,
        SearchExplanation, SearchOptions, SearchPlan, TermExplanation, WordsExplanation,
    },
    read::{
        hybrid::{self, Asked, Ground},
        neighbours::{Lent, Ranked},
        reader::Reader,
        texts::Words,
        trace::Trace,
    },
};

/// How a search by words goes, alone or together with a vector.
pub fn explain(
    reader: &Reader,
    collective: CollectiveId,
    asked: Asked<'_>,
    options: &SearchOptions,
    limits: (usize, &Words),
    clock: &dyn Env,
) -> Result<SearchExplanation> {
    let mut trace = Trace::timed(clock);
    let table = hybrid::searchable(reader, collective)?;
    let ground = Ground::new(reader, table, asked, options, limits)?;
    let found = ground.walk(|row| reader.assemble(table, row), &mut trace)?;
    let index = table.vectors.state();
    let state = &ground.state;
    let scorer = ground.scorer();
    let terms = (0..).zip(&asked.question.terms);
    let terms = terms.map(|(number, (term, _))| TermExplanation {
        term: term.to_string(),
        experiences: scorer.rows_with(number),
    });
    let work = trace.work.as_ref();
    Ok(SearchExplanation {
        plan: work.map_or(SearchPlan::Nothing, |work| work.plan),
        ef: if asked.vector.is_some() {
            ground.breadth()
        } else {
            0
        },
        rows: table.end_at(reader.lsn()).into(),
        graphs: index.graphs.len() as u64,
        in_graphs: index.indexed.into(),
        matches: ground.within.as_ref().map(roaring::RoaringBitmap::len),
        codes_compared: work.map_or(0, |work| work.codes_compared),
        rows_checked: trace.proposed_by_vector,
        vectors_compared: if asked.vector.is_some() {
            trace.ranked.min(ground.compared() as u64)
        } else {
            0
        },
        hits: found.len() as u64,
        planning: trace.planning,
        finding: trace.vector,
        comparing: trace.comparing,
        reading: trace.reading,
        words: Some(WordsExplanation {
            terms: terms.collect(),
            indexed: state.documents(),
            runs: state.runs.len() as u64,
            proposed: trace.proposed,
            proposed_by_vector: trace.proposed_by_vector,
            ranked: trace.ranked,
            finding: trace.words,
            ranking: trace.ranking,
        }),
        results: results(&ground, &found)?,
    })
}

fn results(ground: &Ground<'_>, found: &[(Experience, Ranked)]) -> Result<Vec<HitExplanation>> {
    let terms = &ground.asked.question.terms;
    let scorer = ground.scorer();
    let mut told = Vec::with_capacity(found.len());
    for (place, (experience, one)) in found.iter().enumerate() {
        let mut parts = Vec::new();
        scorer.rate(one.row, |number, part| {
            let term = terms.get(number).map(|(term, _)| term.to_string());
            parts.extend(term.map(|term| (term, scorer.value(part))));
        });
        let vector = ground.vector(one.row)?;
        let mut likeness = ground.options.diversity.map(|_| 0.0_f32);
        for (_, before) in found.iter().take(place) {
            if let Some(nearest) = &mut likeness {
                *nearest = nearest.max(hybrid::likeness(ground.vector(before.row)?, vector));
            }
        }
        let energy = ground.weighting.as_ref();
        told.push(HitExplanation {
            id: experience.id,
            score: one.score,
            parts: one.parts,
            terms: parts,
            neighbours: one.lent.iter().map(neighbour).collect(),
            energy: energy.map(|(_, decay)| ground.energy(one.row, decay)),
            likeness,
        });
    }
    Ok(told)
}

fn neighbour(lent: &Lent) -> NeighbourExplanation {
    NeighbourExplanation {
        id: ExperienceId::from_u128(lent.id),
        second: lent.second,
        dense: lent.dense,
        lexical: lent.lexical,
    }
}
