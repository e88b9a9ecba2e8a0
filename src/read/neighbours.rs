//! Which of the candidates are the best, once those next to them in their task have been heard?
//!
//! Pure but for what it asks of [`Surroundings`]. The walk: the candidates of both indexes are ranked ([`fuse`]) → the best of them look
//! around → the rows found there join the ranking → the best and those beside them are lifted, each by its own neighbours →
//! everything is ranked again. What is asked is bounded: at most [`focus`] rows look around, each has at most four neighbours,
//! and each of those four more.
//!
//! A neighbour lends `κ` of what it has: of similarity, what is above the mean of the candidates; of words, what it has of each
//! query word, as far as that is more than the row has itself. The best neighbour counts, so that a long quiet passage lifts nobody.

use std::mem;

use crate::{
    error::Result,
    model::{Fusion, FusionWeights, NeighbourEvidence, ScorePart, ScoreParts},
    read::fuse::{Channels, Fused, fuse},
};

/// Candidates that each index is asked for, at least: as many as a graph's search finds by default. From 40 to all rows little
/// changes.
pub const POOL: usize = 64;
/// Candidates that look around, at least. From 10 to 100 little changes; the cost is theirs.
const FOCUS: usize = 20;

/// How many candidates look around, when `k` results are wanted.
pub const fn focus(k: usize) -> usize {
    if k > FOCUS { k } else { FOCUS }
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
    /// What words of the query contribute to its BM25 score: the number of each that does, ascending, and how much.
    pub words: Vec<(u32, f32)>,
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

    /// Both scores of each of these rows, which ascend. Asked once.
    ///
    /// # Errors
    /// What kept them from being read.
    fn sights(&mut self, rows: &[u32]) -> Result<Vec<Sight>>;
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

/// What a neighbour lends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lent {
    /// Its id.
    pub id: u128,
    /// Whether another one stands between them in time.
    pub second: bool,
    /// Of similarity.
    pub dense: f32,
    /// Of words.
    pub lexical: f32,
}

/// A row in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    /// The row.
    pub row: u32,
    /// Its id.
    pub id: u128,
    /// What the ranking is by.
    pub score: f32,
    /// What it consists of.
    pub parts: ScoreParts,
    /// The neighbours that lent it something.
    pub lent: Vec<Lent>,
}

impl Ranked {
    /// Of its own vector to that of the question; 0 where either has none.
    pub fn similarity(&self) -> f32 {
        self.parts.dense.map_or(0.0, |part| part.own)
    }
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
        return Ok(ranked(
            &candidates,
            &channels,
            &first,
            &mut ByRow::default(),
        ));
    }
    let usual = mean(&candidates);
    let best = first.iter().take(how.focus);
    let best = best.filter_map(|fused| Some(candidates.get(fused.index)?.row));
    let around = look_around(best.collect(), surroundings)?;
    let beside = around.of.iter().flatten().map(|near| near.row);
    let rows = ascending(around.rows.iter().copied().chain(beside).collect());
    let sights = ByRow {
        of: surroundings.sights(&rows)?,
        rows,
    };
    let known = ascending(candidates.iter().map(|candidate| candidate.row).collect());
    let joining = around.rows.iter();
    let joining = joining.filter(|row| known.binary_search(row).is_err());
    candidates.extend(joining.filter_map(|row| Some(seen(*row, sights.get(*row)?))));
    let mut words = Words::of(&sights.of);
    let lent = around.rows.iter().zip(&around.of);
    let lent =
        lent.map(|(row, near)| lent_by(*row, near, &sights, usual, &how.evidence, &mut words));
    let mut lent = ByRow {
        of: lent.collect(),
        rows: around.rows.clone(),
    };
    let lift = |candidate: &Candidate| lifted(candidate, lent.get(candidate.row));
    let channels: Vec<Channels> = candidates.iter().map(lift).collect();
    let second = fuse(&channels, how.fusion, &how.weights);
    Ok(ranked(&candidates, &channels, &second, &mut lent))
}

/// Something of some rows, which ascend.
#[derive(Default)]
struct ByRow<T> {
    rows: Vec<u32>,
    of: Vec<T>,
}

impl<T> ByRow<T> {
    fn get(&self, row: u32) -> Option<&T> {
        self.of.get(self.rows.binary_search(&row).ok()?)
    }

    fn get_mut(&mut self, row: u32) -> Option<&mut T> {
        self.of.get_mut(self.rows.binary_search(&row).ok()?)
    }
}

/// Each of these rows once, by number.
fn ascending(mut rows: Vec<u32>) -> Vec<u32> {
    rows.sort_unstable();
    rows.dedup();
    rows
}

/// The neighbours of the best rows and of their neighbours, where there are any.
fn look_around(best: Vec<u32>, surroundings: &mut impl Surroundings) -> Result<ByRow<Vec<Near>>> {
    let mut around = Vec::with_capacity(best.len());
    let best = ascending(best);
    for row in &best {
        around.push((*row, surroundings.near(*row)?));
    }
    let beside = around.iter().flat_map(|(_, near)| near);
    let beside = beside.map(|near| near.row);
    for row in ascending(beside.collect()) {
        if best.binary_search(&row).is_err() {
            around.push((row, surroundings.near(row)?));
        }
    }
    around.retain(|(_, near)| !near.is_empty());
    around.sort_unstable_by_key(|(row, _)| *row);
    let (rows, of) = around.into_iter().unzip();
    Ok(ByRow { rows, of })
}

/// Of each word of the query, while the neighbours of one row are heard: the most that there is of it, what of that the row has
/// itself, and who has the most, if others do.
struct Words(Vec<(f32, f32, Option<usize>)>);

impl Words {
    /// As many as are seen.
    fn of(sights: &[Sight]) -> Self {
        let last = sights.iter().filter_map(|sight| sight.words.last());
        let count = last.map(|(word, _)| *word as usize + 1).max();
        Self(vec![(0.0, 0.0, None); count.unwrap_or(0)])
    }

    fn get(&mut self, word: u32) -> Option<&mut (f32, f32, Option<usize>)> {
        self.0.get_mut(word as usize)
    }
}

/// What the neighbours of a row lend it, those of them that do; `usual` is the candidates' mean similarity. `words` are for its
/// use alone.
fn lent_by(
    row: u32,
    near: &[Near],
    sights: &ByRow<Sight>,
    usual: f32,
    evidence: &NeighbourEvidence,
    words: &mut Words,
) -> Vec<Lent> {
    let mut lent = Vec::with_capacity(near.len());
    words.0.fill((0.0, 0.0, None));
    for (word, part) in sights.get(row).map_or(&[][..], |sight| &sight.words) {
        if let Some(own) = words.get(*word) {
            *own = (*part, *part, None);
        }
    }
    let mut nearest: Option<(usize, f32)> = None;
    for (near, sight) in near
        .iter()
        .filter_map(|near| Some((near, sights.get(near.row)?)))
    {
        let part = if near.second {
            evidence.second
        } else {
            evidence.direct
        };
        let who = lent.len();
        lent.push(Lent {
            id: sight.id,
            second: near.second,
            dense: 0.0,
            lexical: 0.0,
        });
        let dense = sight.dense.map_or(0.0, |dense| part * (dense - usual));
        if dense > nearest.map_or(0.0, |(_, most)| most) {
            nearest = Some((who, dense));
        }
        for (word, theirs) in &sight.words {
            let offer = part * theirs;
            if let Some((most, _, owner)) = words.get(*word).filter(|(most, ..)| offer > *most) {
                (*most, *owner) = (offer, Some(who));
            }
        }
    }
    if let Some((who, dense)) = nearest
        && let Some(lender) = lent.get_mut(who)
    {
        lender.dense = dense;
    }
    for (most, own, who) in &words.0 {
        if let Some(lender) = who.and_then(|who| lent.get_mut(who)) {
            lender.lexical += most - own;
        }
    }
    lent.retain(|lender| lender.dense > 0.0 || lender.lexical > 0.0);
    lent
}

/// A row that no index proposed.
fn seen(row: u32, sight: &Sight) -> Candidate {
    Candidate {
        row,
        id: sight.id,
        dense: sight.dense,
        lexical: Some(sight.words.iter().map(|(_, part)| part).sum())
            .filter(|sum: &f32| *sum > 0.0),
    }
}

/// The scores of a row with what its neighbours have lent.
fn lifted(candidate: &Candidate, lent: Option<&Vec<Lent>>) -> Channels {
    let lent = lent.map_or(&[][..], Vec::as_slice);
    let dense: f32 = lent.iter().map(|one| one.dense).sum();
    let lexical: f32 = lent.iter().map(|one| one.lexical).sum();
    let lexical = candidate.lexical.unwrap_or(0.0) + lexical;
    Channels {
        id: candidate.id,
        dense: candidate.dense.map(|own| own + dense),
        lexical: Some(lexical).filter(|lexical| *lexical > 0.0),
    }
}

fn own(candidate: &Candidate) -> Channels {
    Channels {
        id: candidate.id,
        dense: candidate.dense,
        lexical: candidate.lexical,
    }
}

fn mean(candidates: &[Candidate]) -> f32 {
    let known = || candidates.iter().filter_map(|candidate| candidate.dense);
    known().sum::<f32>() / known().count().max(1) as f32
}

fn ranked(
    candidates: &[Candidate],
    channels: &[Channels],
    fused: &[Fused],
    lent: &mut ByRow<Vec<Lent>>,
) -> Vec<Ranked> {
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
                lent: lent
                    .get_mut(candidate.row)
                    .map(mem::take)
                    .unwrap_or_default(),
            })
        })
        .collect()
}

#[cfg(test)]
#[path = "neighbours_tests.rs"]
mod tests;
