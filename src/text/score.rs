//! How much does a row speak for a question?
//!
//! Pure. BM25: a word counts the more, the rarer it is, the more often it comes, and the shorter the text. The lengths of
//! texts are told apart by a sixteenth ([`class`]), so that one table holds what share of a word's weight
//! any row gets ([`Shares`]), and a posting costs a multiplication.
//! Scores are whole numbers in a unit of their question ([`Unit`]), so that their sum is the same in any order, and a row that is
//! reached in another way has the same score. A score never falls when a word comes more often or the text is
//! shorter. A row that has a word of the question scores more than 0.

use super::postings::MAX_TF;

/// Lengths below it are told apart; of longer ones, sixteen in each doubling.
const EXACT_WORDS: u16 = 1 << EXACT_BITS;
const EXACT_BITS: u32 = 5;
/// Classes of each doubling, and the bits that tell them apart.
const STEPS: u16 = 1 << STEP_BITS;
const STEP_BITS: u32 = 4;
/// As many as a byte holds; those of 16 bits are 208.
const CLASSES: usize = 1 << u8::BITS;

/// The class of texts of so many words; 0 only of none.
#[must_use]
pub fn class(words: u16) -> u8 {
    if words < EXACT_WORDS {
        return words as u8;
    }
    let doublings = words.ilog2() - EXACT_BITS;
    let step = (words >> (words.ilog2() - STEP_BITS)) % STEPS;
    (EXACT_WORDS + doublings as u16 * STEPS + step) as u8
}

/// How long texts of a class count as: the middle of their lengths.
#[must_use]
pub fn words_of(class: u8) -> u32 {
    let class = u32::from(class);
    let Some(beyond) = class.checked_sub(EXACT_WORDS.into()) else {
        return class;
    };
    let (doublings, step) = (beyond / u32::from(STEPS), beyond % u32::from(STEPS));
    let width = 1 << (doublings + EXACT_BITS - STEP_BITS);
    (u32::from(STEPS) + step) * width + width / 2
}

/// BM25 over some rows.
#[derive(Clone, Copy, Debug)]
pub struct Bm25 {
    /// k1.
    pub k1: f32,
    /// b.
    pub b: f32,
    /// Rows that have words.
    pub rows: u64,
    /// Words of all of them, as their classes count.
    pub words: u64,
}

impl Bm25 {
    /// The most that a row can score by a term which `df` rows have and the question `times` times.
    #[must_use]
    pub fn weight(&self, df: u64, times: u32) -> f32 {
        let rows = self.rows.max(df) as f32;
        let df = df as f32;
        let idf = (1.0 + (rows - df + 0.5) / (df + 0.5)).ln();
        idf * (self.k1 + 1.0) * times as f32
    }

    /// What shares of it rows get.
    #[must_use]
    pub fn shares(&self) -> Shares {
        let average = (self.words as f32 / self.rows.max(1) as f32).max(1.0);
        let (fixed, per_word) = (self.k1 * (1.0 - self.b), self.k1 * self.b / average);
        let norm = |class: usize| fixed + per_word * words_of(class as u8) as f32;
        let norms: [f32; CLASSES] = std::array::from_fn(norm);
        let mut shares = Box::new([0; SHARES]);
        for (tf, shares) in (1_u16..).zip(shares.chunks_exact_mut(CLASSES)) {
            for (share, norm) in shares.iter_mut().zip(&norms) {
                *share = (WHOLE / (1.0 + norm / f32::from(tf))) as i32 as u32;
            }
        }
        Shares(shares)
    }
}

/// What share of a term's weight a row gets, by how often it has the term, then by the class of its length.
#[derive(Clone, Debug)]
pub struct Shares(Box<[u32; SHARES]>);

const SHARES: usize = MAX_TF as usize * CLASSES;

/// All of a weight.
const WHOLE: f32 = (1_u32 << WHOLE_BITS) as f32;
const WHOLE_BITS: u32 = 30;

impl Shares {
    /// The score of a row of this class that has a term of this weight once, and so many times `again`.
    #[inline]
    #[must_use]
    pub fn score(&self, weight: u32, again: u16, class: u8) -> u32 {
        let at = usize::from(again) * CLASSES + usize::from(class);
        let share = self.0.get(at).copied().unwrap_or(0);
        1 + ((u64::from(weight) * u64::from(share)) >> WHOLE_BITS) as u32
    }
}

/// What a score of 1 stands for.
#[derive(Clone, Copy, Debug)]
pub struct Unit(f32);

/// Scores per 1.0, at most.
const FINEST: f32 = (1 << 20) as f32;
/// What the weights of all terms of a question come to, at most, so that no sum of scores reaches 2³¹, rounding included.
const MOST: f32 = (1 << 30) as f32;

impl Unit {
    /// In which terms that weigh so much together are scored.
    #[must_use]
    pub fn of(together: f32) -> Self {
        Self(FINEST.recip().max(together / MOST))
    }

    /// A weight in this unit.
    #[must_use]
    pub fn count(self, weight: f32) -> u32 {
        (weight / self.0) as u32
    }

    /// A score as others know it.
    #[must_use]
    pub fn value(self, score: u32) -> f32 {
        score as f32 * self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BM25: Bm25 = Bm25 {
        k1: 0.9,
        b: 0.4,
        rows: 1000,
        words: 50_000,
    };

    #[test]
    fn classes_ascend_and_count_as_about_their_lengths() {
        let mut before = 0;
        for words in 0..=u16::MAX {
            let class = class(words);
            assert!(class == before || class == before + 1, "{words}");
            before = class;
            let counted = words_of(class);
            assert!(counted.abs_diff(words.into()) <= u32::from(words) / 32);
            if words < 32 {
                assert_eq!(counted, u32::from(words));
            }
        }
        assert_eq!(usize::from(before) + 1, 208);
    }

    #[test]
    fn it_is_bm25() {
        let unit = Unit::of(20.0);
        let weight = unit.count(BM25.weight(10, 1));
        for (tf, length) in [(1, 3_u16), (2, 30), (16, 700)] {
            let score = unit.value(BM25.shares().score(weight, tf - 1, class(length)));
            let idf = (1.0 + 990.5_f64 / 10.5).ln();
            let tf = f64::from(tf);
            let length = f64::from(words_of(class(length)));
            let expected = idf * tf * 1.9 / (tf + 0.9 * (0.6 + 0.4 * length / 50.0));
            assert!(
                (f64::from(score) - expected).abs() < 1e-4,
                "{score}, {expected}"
            );
        }
    }

    #[test]
    fn it_never_falls_with_more_of_the_word_or_less_of_others() {
        let shares = BM25.shares();
        for weight in [0, 1, 1000, u32::MAX / 4] {
            for again in 0..MAX_TF as u16 {
                for class in 0..207 {
                    let score = shares.score(weight, again, class);
                    assert!(score > 0);
                    assert!(score >= shares.score(weight, again, class + 1));
                    let more = shares.score(weight, (again + 1).min(MAX_TF as u16 - 1), class);
                    assert!(more >= score);
                }
            }
        }
    }

    #[test]
    fn nothing_overflows() {
        let extreme = Bm25 {
            k1: 100.0,
            b: 1.0,
            rows: u64::MAX,
            words: 0,
        };
        let weight = extreme.weight(1, u32::MAX);
        // As many as a question has room for.
        let terms = 30_000;
        let unit = Unit::of(weight * terms as f32);
        let score = extreme.shares().score(unit.count(weight), 15, 0);
        assert!(score > 0 && score.checked_mul(terms).is_some_and(|sum| sum < 1 << 31));
        assert!(unit.value(score) > 0.0);
    }
}
