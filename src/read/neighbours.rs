//! Which of the candidates are the best, once those next to them in their task have been heard?
//!
//! Pure but for what it asks of [`Surroundings`]. The walk: the candidates of both indexes are ranked ([`fuse`]) → the best of them look
//! around → the rows found there join the ranking → the best and those beside them are lifted, each by its own neighbours →
//! everything is ranked again → of the best the similarities, which were estimates, are replaced by what they are. What is asked is
//! bounded: at most [`focus`] rows look around, and the up to four neighbours of each, which hear those of theirs that are candidates
//! or stand beside the best, too: others would have next to nothing to lend.
//!
//! A neighbour lends `κ` of what it has: of similarity, what is above the mean of the candidates; of words, what it has of each
//! query word, as far as that is more than the row has itself. The best neighbour counts, so that a long quiet passage lifts nobody.

use std::{mem, ops::Range};

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
    /// About its similarity to the query's vector; `None` where the query has none.
    pub dense: Option<f32>,
    /// Its BM25 score; `None` where it holds no word of the query.
    pub lexical: Option<f32>,
}

/// A row that is looked at closely.
#[derive(Clone, Debug, PartialEq)]
pub struct Sight {
    /// Its id.
    pub id: u128,
    /// About its similarity to the query's vector; `None` where the query has none.
    pub dense: Option<f32>,
    /// Which of all words are its own.
    pub words: Range<usize>,
}

/// Rows that are looked at closely.
#[derive(Debug, Default)]
pub struct Sights {
    /// The rows.
    pub of: Vec<Sight>,
    /// What words of the query contribute to their BM25 scores, row by row: the number of each that does, ascending, and how much.
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
    /// Rows that are asked for next.
    fn expect(&mut self, rows: &[u32]);

    /// Appends the up to four rows next to this one in its task.
    ///
    /// # Errors
    /// What kept them from being read.
    fn near(&mut self, row: u32, near: &mut Vec<Near>) -> Result<()>;

    /// Both scores of each of these rows, which ascend. Asked once.
    ///
    /// # Errors
    /// What kept them from being read.
    fn sights(&mut self, rows: &[u32]) -> Result<Sights>;

    /// The similarity of each of these rows to the query's vector, no estimate. Asked once.
    ///
    /// # Errors
    /// What kept them from being read.
    fn exactly(&mut self, rows: &[u32]) -> Result<Vec<Option<f32>>>;
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
    /// How many of the best are compared exactly in the end.
    pub compared: usize,
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
/// Those of `surroundings`, which is asked for neighbours only where these lend something.
pub fn rank(
    mut candidates: Vec<Candidate>,
    how: &Ranking,
    surroundings: &mut impl Surroundings,
) -> Result<Vec<Ranked>> {
    let mut lent = match how.evidence == NeighbourEvidence::NONE {
        true => ByRow::default(),
        false => hear(&mut candidates, how, surroundings)?,
    };
    let lift = |candidate: &Candidate| lifted(candidate, lent.get(candidate.row));
    let mut channels: Vec<Channels> = candidates.iter().map(lift).collect();
    let mut order = fuse(&channels, how.fusion, &how.weights);
    let best = order.iter().take(how.compared).map(|place| place.index);
    let estimated = |at: &usize| candidates.get(*at).is_some_and(|one| one.dense.is_some());
    let best: Vec<usize> = best.filter(estimated).collect();
    if !best.is_empty() {
        let rows = best.iter().filter_map(|at| Some(candidates.get(*at)?.row));
        let exactly = surroundings.exactly(&rows.collect::<Vec<_>>())?;
        for (at, dense) in best.iter().zip(exactly) {
            if let (Some(one), Some(channel)) = (candidates.get_mut(*at), channels.get_mut(*at)) {
                one.dense = dense;
                *channel = lift(one);
            }
        }
        order = fuse(&channels, how.fusion, &how.weights);
    }
    Ok(ranked(&candidates, &channels, &order, &mut lent))
}

/// What is lent to the best and to their neighbours, which join the candidates.
fn hear(
    candidates: &mut Vec<Candidate>,
    how: &Ranking,
    surroundings: &mut impl Surroundings,
) -> Result<ByRow<Vec<Lent>>> {
    let channels: Vec<Channels> = candidates
        .iter()
        .map(|candidate| lifted(candidate, None))
        .collect();
    let first = fuse(&channels, how.fusion, &how.weights);
    let usual = mean(candidates);
    let best = first.iter().take(how.focus);
    let best = best.filter_map(|fused| Some(candidates.get(fused.index)?.row));
    let around = look_around(best.collect(), surroundings)?;
    let known = ascending(candidates.iter().map(|candidate| candidate.row).collect());
    let beside = around.near.iter().map(|near| near.row);
    let heard = beside.filter(|row| known.binary_search(row).is_ok());
    let rows = ascending(around.rows.iter().copied().chain(heard).collect());
    let Sights { of, words } = surroundings.sights(&rows)?;
    let sights = ByRow { rows, of };
    let joining = around.rows.iter();
    let joining = joining.filter(|row| known.binary_search(row).is_err());
    candidates.extend(joining.filter_map(|row| Some(seen(*row, sights.get(*row)?, &words))));
    let mut listener = Listener {
        heard: Heard::of(&words),
        sights,
        words,
        usual,
        evidence: how.evidence,
    };
    let of = around.each().map(|(row, near)| listener.lent_by(row, near));
    Ok(ByRow {
        of: of.collect(),
        rows: around.rows,
    })
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

/// Rows that have neighbours, ascending, and these.
#[derive(Default)]
struct LookedAround {
    rows: Vec<u32>,
    /// Which of all neighbours are those of each row.
    of: Vec<Range<usize>>,
    near: Vec<Near>,
}

impl LookedAround {
    fn each(&self) -> impl Iterator<Item = (u32, &[Near])> {
        let near = |of: &Range<usize>| self.near.get(of.clone()).unwrap_or_default();
        let of = self.of.iter().map(near);
        self.rows.iter().copied().zip(of)
    }
}

/// The neighbours of the best rows and of their neighbours, where there are any.
fn look_around(best: Vec<u32>, surroundings: &mut impl Surroundings) -> Result<LookedAround> {
    let best = ascending(best);
    surroundings.expect(&best);
    let (mut around, mut near) = (Vec::with_capacity(best.len()), Vec::new());
    let mut look = |row: u32, near: &mut Vec<Near>| {
        let first = near.len();
        surroundings.near(row, near)?;
        if near.len() > first {
            around.push((row, first..near.len()));
        }
        Result::Ok(())
    };
    for row in &best {
        look(*row, &mut near)?;
    }
    let beside = near.iter().map(|near| near.row);
    for row in ascending(beside.collect()) {
        if best.binary_search(&row).is_err() {
            look(row, &mut near)?;
        }
    }
    around.sort_unstable_by_key(|(row, _)| *row);
    let (rows, of) = around.into_iter().unzip();
    Ok(LookedAround { rows, of, near })
}

/// Of each word of the query, while the neighbours of one row are heard: the most that there is of it, what of that the row has
/// itself, and who has the most, if others do.
struct Heard(Vec<(f32, f32, Option<usize>)>);

impl Heard {
    /// As many as are seen.
    fn of(words: &[(u32, f32)]) -> Self {
        let last = words.iter().map(|(word, _)| *word as usize + 1).max();
        Self(vec![(0.0, 0.0, None); last.unwrap_or(0)])
    }

    fn get(&mut self, word: u32) -> Option<&mut (f32, f32, Option<usize>)> {
        self.0.get_mut(word as usize)
    }
}

/// Who hears what neighbours lend.
struct Listener {
    sights: ByRow<Sight>,
    /// Of all sights.
    words: Vec<(u32, f32)>,
    /// The candidates' mean similarity.
    usual: f32,
    evidence: NeighbourEvidence,
    /// Used again for each row.
    heard: Heard,
}

impl Listener {
    /// What the neighbours of a row lend it, those of them that do.
    fn lent_by(&mut self, row: u32, near: &[Near]) -> Vec<Lent> {
        let Self {
            sights,
            words,
            heard,
            ..
        } = self;
        let words_of = |sight: &Sight| words.get(sight.words.clone()).unwrap_or_default();
        let mut lent = Vec::with_capacity(near.len());
        heard.0.fill((0.0, 0.0, None));
        for (word, part) in sights.get(row).map_or(&[][..], words_of) {
            if let Some(own) = heard.get(*word) {
                *own = (*part, *part, None);
            }
        }
        let mut nearest: Option<(usize, f32)> = None;
        for (near, sight) in near
            .iter()
            .filter_map(|near| Some((near, sights.get(near.row)?)))
        {
            let part = if near.second {
                self.evidence.second
            } else {
                self.evidence.direct
            };
            let who = lent.len();
            lent.push(Lent {
                id: sight.id,
                second: near.second,
                dense: 0.0,
                lexical: 0.0,
            });
            let dense = sight.dense.map_or(0.0, |dense| part * (dense - self.usual));
            if dense > nearest.map_or(0.0, |(_, most)| most) {
                nearest = Some((who, dense));
            }
            for (word, theirs) in words_of(sight) {
                let offer = part * theirs;
                if let Some((most, _, owner)) = heard.get(*word).filter(|(most, ..)| offer > *most)
                {
                    (*most, *owner) = (offer, Some(who));
                }
            }
        }
        if let Some((who, dense)) = nearest
            && let Some(lender) = lent.get_mut(who)
        {
            lender.dense = dense;
        }
        for (most, own, who) in &heard.0 {
            if let Some(lender) = who.and_then(|who| lent.get_mut(who)) {
                lender.lexical += most - own;
            }
        }
        lent.retain(|lender| lender.dense > 0.0 || lender.lexical > 0.0);
        lent
    }
}

/// A row that no index proposed.
fn seen(row: u32, sight: &Sight, words: &[(u32, f32)]) -> Candidate {
    let words = words.get(sight.words.clone()).unwrap_or_default();
    let sum: f32 = words.iter().map(|(_, part)| part).sum();
    Candidate {
        row,
        id: sight.id,
        dense: sight.dense,
        lexical: Some(sum).filter(|sum| *sum > 0.0),
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
