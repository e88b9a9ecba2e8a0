//! How much does a row speak for a question?
//!
//! Pure. BM25: a word counts the more, the rarer it is, the more often it comes, and the shorter the text.
//! Scores are whole numbers, multiples of 2⁻²⁰, so that their sum is the same in any order, and a row that is reached
//! in another way has the same score. Every step rounds monotonically, so a score never falls when a word comes
//! more often or the text is shorter: what bounds the parts bounds the sum. A row that has a word of the question
//! scores more than 0.

/// Scores per 1.0.
const SCALE: f32 = (1 << 20) as f32;

/// BM25 over some rows.
#[derive(Clone, Copy, Debug)]
pub struct Bm25 {
    /// k1.
    pub k1: f32,
    /// b.
    pub b: f32,
    /// Rows that have words.
    pub rows: u64,
    /// Words of all of them.
    pub words: u64,
}

/// How much one term counts.
#[derive(Clone, Copy, Debug)]
pub struct Weight {
    most: f32,
    /// `k1 · (1 − b)`, and `k1 · b / average length`.
    fixed: f32,
    per_word: f32,
}

impl Bm25 {
    /// That of a term which `df` rows have and the question `times` times.
    #[must_use]
    pub fn weight(&self, df: u64, times: u32) -> Weight {
        let rows = self.rows.max(df) as f32;
        let df = df as f32;
        let idf = (1.0 + (rows - df + 0.5) / (df + 0.5)).ln();
        let average = (self.words as f32 / self.rows.max(1) as f32).max(1.0);
        Weight {
            most: idf * (self.k1 + 1.0) * times as f32 * SCALE,
            fixed: self.k1 * (1.0 - self.b),
            per_word: self.k1 * self.b / average,
        }
    }
}

impl Weight {
    /// The score of a row of `length` words that has the term `tf` times.
    #[inline]
    #[must_use]
    pub fn score(&self, tf: u32, length: u16) -> u32 {
        let norm = self.fixed + self.per_word * f32::from(length);
        ((self.most / (1.0 + norm / tf as f32)) as u32).max(1)
    }
}

/// Counts and lengths whose scores are worked out in advance: those of nearly all rows with short texts.
const KNOWN_TFS: u16 = 4;
const KNOWN_LENGTHS: u16 = 128;

/// How much one term counts, for whoever asks for thousands of rows.
#[derive(Clone, Debug)]
pub struct Scores {
    weight: Weight,
    /// By count, then by length.
    known: Box<[u32]>,
}

impl Scores {
    /// By this weight, of a term that `df` rows have: of few, none is worked out in advance.
    #[must_use]
    pub fn new(weight: Weight, df: u64) -> Self {
        let many = df > u64::from(KNOWN_TFS * KNOWN_LENGTHS);
        let tfs = 1..=if many { u32::from(KNOWN_TFS) } else { 0 };
        let known =
            tfs.flat_map(|tf| (0..KNOWN_LENGTHS).map(move |length| weight.score(tf, length)));
        Self {
            weight,
            known: known.collect(),
        }
    }

    /// The score of a row of `length` words that has the term once, and so many times `again`.
    #[inline]
    #[must_use]
    pub fn of(&self, again: u16, length: u16) -> u32 {
        if length < KNOWN_LENGTHS {
            let at = usize::from(again) * usize::from(KNOWN_LENGTHS) + usize::from(length);
            if let Some(score) = self.known.get(at) {
                return *score;
            }
        }
        self.weight.score(u32::from(again) + 1, length)
    }
}

/// A score as others know it.
#[must_use]
pub fn as_f32(score: u32) -> f32 {
    score as f32 / SCALE
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
    fn it_is_bm25() {
        let score = as_f32(BM25.weight(10, 1).score(2, 30));
        let idf = (1.0 + 990.5_f64 / 10.5).ln();
        let expected = idf * 2.0 * 1.9 / (2.0 + 0.9 * (0.6 + 0.4 * 30.0 / 50.0));
        assert!(
            (f64::from(score) - expected).abs() < 1e-4,
            "{score}, {expected}"
        );
    }

    #[test]
    fn it_never_falls_with_more_of_the_word_or_less_of_others() {
        for df in [1, 10, 900] {
            let weight = BM25.weight(df, 1);
            for tf in 1..200 {
                for length in (tf as u16..2000).step_by(7) {
                    assert!(weight.score(tf + 1, length) >= weight.score(tf, length));
                    assert!(weight.score(tf, length) >= weight.score(tf, length + 1));
                }
            }
        }
    }

    #[test]
    fn what_is_worked_out_in_advance_is_the_same() {
        let weight = BM25.weight(10, 2);
        for scores in [Scores::new(weight, 9), Scores::new(weight, 9000)] {
            for again in 0..16 {
                for length in 0..300 {
                    let expected = weight.score(u32::from(again) + 1, length);
                    assert_eq!(scores.of(again, length), expected);
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
        assert_eq!(extreme.weight(1, u32::MAX).score(u32::MAX, 0), u32::MAX);
        assert_eq!(
            BM25.weight(5000, 1).score(1, u16::MAX),
            BM25.weight(5000, 1).score(1, u16::MAX)
        );
    }
}
