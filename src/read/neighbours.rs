//! Which of the candidates are the best, once those next to them in their task have been heard?
//!
//! Pure but for what it asks of [`Surroundings`]. The walk: the candidates of both indexes are ranked ([`fuse`]) → the best of them look
//! around → the rows found there join the ranking → each of these rows is lifted by its own neighbours → everything is ranked
//! again. What is asked is bounded: at most [`focus`] rows look around, each has at most four neighbours, and each of those four more.
//!
//! A neighbour lends `κ` of what it has: of similarity, what is above the mean of the candidates; of words, what it has of each
//! query word, as far as that is more than the row has itself. The best neighbour counts, so that a long quiet passage lifts nobody.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use crate::{
    error::Result,
    model::{Fusion, FusionWeights, NeighbourEvidence, ScorePart, ScoreParts},
    read::fuse::{Channels, Fused, fuse},
};

/// Candidates that each index is asked for, at least. From 50 to all rows little changes.
pub const POOL: usize = 100;
/// Candidates that look around, at least. From 10 to 100 little changes; the cost is theirs.
const FOCUS: usize = 20;

/// How many candidates look around, when `k` results are wanted.
pub const fn focus(k: usize) -> usize {
    let wanted = k.saturating_mul(2);
    if wanted > FOCUS { wanted } else { FOCUS }
}

/// A row that an index proposed, with its score of each kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Its row.
    pub row: u32,
    /// Its id.
    pub id: u128,
    /// Its similarity to the query's vector; `None` where the query has none.
    pub dense: Option<f32>,
    /// Its BM25 score; `None` where it holds no word of the query.
    pub lexical: Option<f32>,
}

/// A row that is looked at closely.
#[derive(Clone, Debug, PartialEq)]
pub struct Sight {
    /// Its id.
    pub id: u128,
    /// Its similarity to the query's vector; `None` where the query has none.
    pub dense: Option<f32>,
    /// What each word of the query contributes to its BM25 score, in the query's order; empty where the query has none.
    pub words: Vec<f32>,
}

/// A row of the same task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Near {
    /// The row.
    pub row: u32,
    /// Whether another one stands between them in time.
    pub second: bool,
}

/// What stands around a row. All rows that it tells of are visible and pass the query's filter.
pub trait Surroundings {
    /// The up to four rows next to this one in its task.
    ///
    /// # Errors
    /// What kept them from being read.
    fn near(&mut self, row: u32) -> Result<Vec<Near>>;

    /// Both scores of a row.
    ///
    /// # Errors
    /// What kept it from being read.
    fn sight(&mut self, row: u32) -> Result<Sight>;
}

/// How to rank.
#[derive(Clone, Copy, Debug)]
pub struct Ranking {
    /// How scores become one.
    pub fusion: Fusion,
    /// How much each kind counts.
    pub weights: FusionWeights,
    /// How much neighbours lend.
    pub evidence: NeighbourEvidence,
    /// How many candidates look around.
    pub focus: usize,
}

/// A row in its place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    /// The row.
    pub row: u32,
    /// Its id.
    pub id: u128,
    /// What the ranking is by.
    pub score: f32,
    /// What it consists of.
    pub parts: ScoreParts,
}

/// The candidates and what stands around the best of them, best first, ties by id. Candidates name each row once.
///
/// # Errors
/// Those of `surroundings`, which is not asked where neighbours lend nothing.
pub fn rank(
    mut candidates: Vec<Candidate>,
    how: &Ranking,
    surroundings: &mut impl Surroundings,
) -> Result<Vec<Ranked>> {
    let channels: Vec<Channels> = candidates.iter().map(own).collect();
    let first = fuse(&channels, how.fusion, &how.weights);
    if how.evidence == NeighbourEvidence::NONE {
        return Ok(ranked(&candidates, &channels, &first));
    }
    let mut ground = Ground {
        surroundings,
        sights: HashMap::new(),
        usual: mean(&candidates),
    };
    let mut lifted: Vec<(usize, Vec<Near>)> = Vec::new();
    let mut known: HashSet<u32> = candidates.iter().map(|candidate| candidate.row).collect();
    let mut joining: Vec<u32> = Vec::new();
    for place in first.iter().take(how.focus) {
        let Some(candidate) = candidates.get(place.index) else {
            continue;
        };
        let near = ground.surroundings.near(candidate.row)?;
        let new = near.iter().map(|near| near.row);
        joining.extend(new.filter(|row| known.insert(*row)));
        lifted.push((place.index, near));
    }
    for row in joining {
        let near = ground.surroundings.near(row)?;
        ground.look(row)?;
        let Some(sight) = ground.sights.get(&row) else {
            continue;
        };
        lifted.push((candidates.len(), near));
        candidates.push(Candidate {
            row,
            id: sight.id,
            dense: sight.dense,
            lexical: total(&sight.words),
        });
    }
    let mut channels: Vec<Channels> = candidates.iter().map(own).collect();
    for (index, near) in lifted {
        if let (Some(candidate), Some(channels)) = (candidates.get(index), channels.get_mut(index))
            && !near.is_empty()
        {
            *channels = ground.lift(candidate, &near, &how.evidence)?;
        }
    }
    let second = fuse(&channels, how.fusion, &how.weights);
    Ok(ranked(&candidates, &channels, &second))
}

/// The rows looked at, each once.
struct Ground<'a, S> {
    surroundings: &'a mut S,
    sights: HashMap<u32, Sight>,
    /// The candidates' mean similarity: what is above it speaks for a row.
    usual: f32,
}

impl<S: Surroundings> Ground<'_, S> {
    /// Looks at a row, unless it was looked at before.
    fn look(&mut self, row: u32) -> Result<()> {
        if let Entry::Vacant(new) = self.sights.entry(row) {
            new.insert(self.surroundings.sight(row)?);
        }
        Ok(())
    }

    /// The scores of a row with what its neighbours lend.
    fn lift(
        &mut self,
        candidate: &Candidate,
        near: &[Near],
        evidence: &NeighbourEvidence,
    ) -> Result<Channels> {
        self.look(candidate.row)?;
        for near in near {
            self.look(near.row)?;
        }
        let mut words = match self.sights.get(&candidate.row) {
            Some(sight) => sight.words.clone(),
            None => Vec::new(),
        };
        let (mut dense_lent, mut lexical_lent) = (0.0_f32, 0.0_f32);
        for near in near {
            let Some(sight) = self.sights.get(&near.row) else {
                continue;
            };
            let part = if near.second {
                evidence.second
            } else {
                evidence.direct
            };
            if let Some(dense) = sight.dense {
                dense_lent = dense_lent.max(part * (dense - self.usual));
            }
            for (word, theirs) in words.iter_mut().zip(&sight.words) {
                let lent = part * theirs;
                if lent > *word {
                    lexical_lent += lent - *word;
                    *word = lent;
                }
            }
        }
        let lexical = candidate.lexical.unwrap_or(0.0) + lexical_lent;
        Ok(Channels {
            id: candidate.id,
            dense: candidate.dense.map(|dense| dense + dense_lent),
            lexical: Some(lexical).filter(|lexical| *lexical > 0.0),
        })
    }
}

fn own(candidate: &Candidate) -> Channels {
    Channels {
        id: candidate.id,
        dense: candidate.dense,
        lexical: candidate.lexical,
    }
}

fn total(words: &[f32]) -> Option<f32> {
    Some(words.iter().sum()).filter(|sum: &f32| *sum > 0.0)
}

fn mean(candidates: &[Candidate]) -> f32 {
    let known = || candidates.iter().filter_map(|candidate| candidate.dense);
    known().sum::<f32>() / known().count().max(1) as f32
}

fn ranked(candidates: &[Candidate], channels: &[Channels], fused: &[Fused]) -> Vec<Ranked> {
    let part = |own: Option<f32>, lifted: Option<f32>, share: f32| {
        lifted.map(|lifted| ScorePart {
            own: own.unwrap_or(0.0),
            lent: lifted - own.unwrap_or(0.0),
            share,
        })
    };
    fused
        .iter()
        .filter_map(|place| {
            let candidate = candidates.get(place.index)?;
            let lifted = channels.get(place.index)?;
            Some(Ranked {
                row: candidate.row,
                id: candidate.id,
                score: place.score,
                parts: ScoreParts {
                    dense: part(candidate.dense, lifted.dense, place.dense),
                    lexical: part(candidate.lexical, lifted.lexical, place.lexical),
                },
            })
        })
        .collect()
}

#[cfg(test)]
#[path = "neighbours_tests.rs"]
mod tests;
