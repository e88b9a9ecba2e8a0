//! Does an index answer what scoring every text would, however its runs came to be?

#![allow(
    clippy::disallowed_methods,
    reason = "tests start threads as they like"
)]

use std::{borrow::Cow, cmp::Reverse, collections::HashMap};

use proptest::prelude::*;

use super::{
    Analyser, Question, TextIndex,
    index::{IndexState, Texts, Told},
    matching,
    postings::MAX_TF,
    score::{self, Bm25, Unit},
    search::{Scored, Scorer},
};
use crate::{config::TextLanguage, model::Lsn, sync::Arc};

const PARAMETERS: (f32, f32) = (0.9, 0.4);

/// Texts of which some are gone.
struct Kept<'a> {
    texts: &'a [String],
    gone: &'a [u32],
}

impl Texts for Kept<'_> {
    fn show(&self, row: u32, see: &mut dyn FnMut(Option<Told<'_>>)) {
        let text = self.texts.get(row as usize).map(String::as_str);
        let told = |text| Told {
            text,
            task: (!row.is_multiple_of(5)).then_some(["one", "other"][row as usize / 7 % 2]),
        };
        see(text.filter(|_| self.is_needed(row)).map(told));
    }

    fn is_needed(&self, row: u32) -> bool {
        !self.gone.contains(&row)
    }

    fn horizon(&self) -> Lsn {
        Lsn::new(self.gone.len() as u64)
    }
}

fn analyser() -> Arc<Analyser> {
    Arc::new(Analyser::new(TextLanguage::English))
}

/// Every row scored from its text.
fn naive(texts: &[String], question: &Question, accepted: impl Fn(u32) -> bool) -> Vec<Scored> {
    let analyser = analyser();
    let count = |text: &String| {
        let (mut counts, mut length): (HashMap<String, u32>, u16) = Default::default();
        analyser.each_form(text, |form| {
            if let Some(term) = analyser.term(form.text).map(Cow::into_owned) {
                *counts.entry(term).or_default() += 1;
                length += u16::from(!form.whole);
            }
        });
        (counts, length)
    };
    let counted: Vec<_> = texts.iter().map(count).collect();
    let bm25 = Bm25 {
        k1: PARAMETERS.0,
        b: PARAMETERS.1,
        rows: counted.iter().filter(|(_, length)| *length > 0).count() as u64,
        words: counted
            .iter()
            .map(|(_, length)| u64::from(score::words_of(score::class(*length))))
            .sum(),
    };
    let weight = |(term, times): &(Box<str>, u32)| {
        let has = |(counts, _): &&(HashMap<String, u32>, u16)| counts.contains_key(&**term);
        let df = counted.iter().filter(has).count();
        bm25.weight(df as u64, *times)
    };
    let weights: Vec<f32> = question.terms.iter().map(weight).collect();
    let unit = Unit::of(weights.iter().sum());
    let shares = bm25.shares();
    let mut scores = vec![0; texts.len()];
    for ((term, _), weight) in question.terms.iter().zip(weights) {
        for ((counts, length), score) in counted.iter().zip(&mut scores) {
            let part = |tf: &u32| {
                let again = (*tf).min(MAX_TF) as u16 - 1;
                shares.score(unit.count(weight), again, score::class(*length))
            };
            *score += counts.get(&**term).map_or(0, part);
        }
    }
    let rows = (0..)
        .zip(scores)
        .filter(|(row, score)| *score > 0 && accepted(*row));
    let mut rows: Vec<Scored> = rows.map(|(row, score)| Scored { row, score }).collect();
    rows.sort_by_key(|one| (Reverse(one.score), one.row));
    rows
}

fn found(
    state: &IndexState,
    question: &Question,
    k: usize,
    accepted: impl Fn(u32) -> bool,
) -> Vec<Scored> {
    Scorer::new(&state.runs, question, PARAMETERS).best(k, accepted)
}

/// Words that are more and less frequent, and some that are names.
fn vocabulary() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => (0..4u32).prop_map(|n| format!("common{n}")),
        4 => (0..60u32).prop_map(|n| format!("some{n}")),
        1 => any::<u16>().prop_map(|n| format!("rare{n}")),
        1 => (0..9u32).prop_map(|n| format!("snake_case{n}")),
        1 => Just("the".to_owned()),
    ]
}

fn texts(most: usize) -> impl Strategy<Value = Vec<String>> {
    let text = prop::collection::vec(vocabulary(), 0..12).prop_map(|words| words.join(" "));
    prop::collection::vec(text, 0..most)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_best_are_those_of_scoring_every_text(
        texts in texts(700),
        steps in prop::collection::vec(1..300u32, 0..12),
        questions in prop::collection::vec(prop::collection::vec(vocabulary(), 1..6), 1..4),
        k in 1..30usize,
        part in 1..4u32,
    ) {
        let index = TextIndex::new(analyser());
        let kept = Kept { texts: &texts, gone: &[] };
        let mut end = 0;
        for step in steps {
            end += step;
            index.cover(end.min(texts.len() as u32), &kept);
            index.tidy(&kept);
        }
        let state = index.cover(texts.len() as u32, &kept);
        for words in questions {
            let question = Question::plain(&words.join(" "), &analyser());
            let accepted = |row: u32| row.is_multiple_of(part);
            let expected = naive(&texts, &question, accepted);
            let best = found(&state, &question, k, accepted);
            prop_assert_eq!(&best[..], &expected[..k.min(expected.len())]);
            // The parts of each row are its score, in whatever order rows are asked for.
            let scorer = Scorer::new(&state.runs, &question, PARAMETERS);
            let mut parts = vec![0; question.terms.len()];
            for one in &expected {
                parts.fill(0);
                scorer.rate(one.row, |number, part| parts[number] = part);
                prop_assert_eq!(parts.iter().sum::<u32>(), one.score);
            }
            let mut any = false;
            scorer.rate(texts.len() as u32, |_, _| any = true);
            prop_assert!(!any);
        }
    }

    #[test]
    fn constraints_miss_no_row(
        texts in texts(300),
        pattern in prop_oneof![
            prop::collection::vec(vocabulary(), 1..4).prop_map(|words| format!("\"{}\"", words.join(" "))),
            vocabulary().prop_map(|word| format!("+{word}")),
            "[a-z_]{1,6}".prop_map(|start| format!("{start}*")),
            (0..7usize).prop_map(|end| format!("{}*", &"snake_c"[..=end.min(6)].trim_end_matches('_'))),
        ],
    ) {
        let index = TextIndex::new(analyser());
        let kept = Kept { texts: &texts, gone: &[] };
        let half = texts.len() as u32 / 2;
        index.cover(half, &kept);
        let state = index.cover(texts.len() as u32, &kept);
        for constraint in Question::expression(&pattern, &analyser()).constraints {
            let pattern = &constraint.pattern;
            let candidates = matching::candidates(pattern, &state.runs);
            for (row, text) in (0..).zip(&texts) {
                let is_candidate = candidates.as_ref().is_none_or(|rows| rows.contains(row));
                let holds = matching::holds(pattern, &analyser(), text);
                prop_assert!(is_candidate || !holds, "{:?} in {}", pattern, text);
                if matching::certain(pattern) {
                    prop_assert_eq!(is_candidate, holds);
                }
            }
        }
    }
}

#[test]
fn rows_of_many_stretches_are_ranked_as_one() {
    let mut seed = 1972_u64;
    let mut below = |bound: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % bound
    };
    // Words that nearly all rows have, and words of a few; some come more often than counts.
    let texts: Vec<String> = (0..10_000)
        .map(|_| {
            let words = 1 + below(12);
            let word = |_| {
                let bound = 1 + below(400);
                let again = if below(50) == 0 { 20 } else { 1 };
                format!("word{} ", below(bound)).repeat(again)
            };
            (0..words).map(word).collect()
        })
        .collect();
    let kept = Kept {
        texts: &texts,
        gone: &[],
    };
    let state = TextIndex::new(analyser()).cover(10_000, &kept);
    assert_eq!(state.runs.len(), 1);
    for words in [
        "word0",
        "word0 word1 word2",
        "word399 word0",
        "word390 word7 word30 word100 word0 word1 word2 word3",
    ] {
        let question = Question::plain(words, &analyser());
        let expected = naive(&texts, &question, |row| row % 3 > 0);
        for k in [1, 10, 64] {
            let best = found(&state, &question, k, |row| row % 3 > 0);
            assert_eq!(best, expected[..k], "{words}");
        }
    }
}

#[test]
fn what_nobody_needs_goes_with_time() {
    let texts: Vec<String> = (0..6000)
        .map(|n| format!("common{} row{n}", n % 2))
        .collect();
    let index = TextIndex::new(analyser());
    let all = Kept {
        texts: &texts,
        gone: &[],
    };
    for end in (1..=6000).step_by(7) {
        index.cover(end, &all);
    }
    index.cover(6000, &all);
    while index.tidy(&all) {}
    let before = index.state();
    assert!(before.runs.len() < 40, "{} runs", before.runs.len());
    let rows: Vec<_> = before.runs.iter().map(|run| run.rows()).collect();
    assert_eq!(rows[0].start, 0);
    assert!(rows.windows(2).all(|pair| pair[0].end == pair[1].start));
    assert_eq!(before.documents(), 6000);

    let gone: Vec<u32> = (0..4000).collect();
    let fewer = Kept {
        texts: &texts,
        gone: &gone,
    };
    gone.iter().for_each(|_| index.bury());
    while index.tidy(&fewer) {}
    let after = index.state();
    assert!(after.documents() < 2300, "{}", after.documents());
    assert_eq!(after.horizon, Lsn::new(4000));
    assert!(after.bytes() < before.bytes() / 2);
    let question = Question::plain("row5999 row3999 row10", &analyser());
    let rows: Vec<u32> = found(&after, &question, 10, |_| true)
        .iter()
        .map(|one| one.row)
        .collect();
    assert_eq!(rows, [5999]);
}

#[test]
fn rows_of_one_task_have_one_mark() {
    let texts: Vec<String> = (0..3000).map(|n| format!("word{n}")).collect();
    let gone: Vec<u32> = (0..3000).step_by(2).collect();
    let (all, fewer) = (&[][..], &gone[..]);
    let kept = |gone| Kept {
        texts: &texts,
        gone,
    };
    let index = TextIndex::new(analyser());
    for end in (1..=3000).step_by(13) {
        index.cover(end, &kept(all));
        index.tidy(&kept(all));
    }
    let state = index.cover(3000, &kept(all));
    let marks = [1, 7].map(|row| state.task(row).unwrap());
    assert_ne!(marks[0], marks[1]);
    gone.iter().for_each(|_| index.bury());
    while index.tidy(&kept(fewer)) {}
    for row in 0..3001_u32 {
        let mark =
            Some(marks[row as usize / 7 % 2]).filter(|_| !row.is_multiple_of(5) && row < 3000);
        assert_eq!(state.task(row), mark, "{row}");
        if row % 2 == 1 {
            assert_eq!(index.state().task(row), mark, "{row}");
        }
    }
}

#[test]
fn prefixes_are_found_by_words_that_lost_their_endings() {
    let texts = ["Configurations", "configured", "running", "runs"].map(str::to_owned);
    let index = TextIndex::new(analyser());
    let state = index.cover(
        4,
        &Kept {
            texts: &texts,
            gone: &[],
        },
    );
    for (pattern, expected) in [("configurat*", 0), ("runn*", 2)] {
        let question = Question::expression(pattern, &analyser());
        let candidates = matching::candidates(&question.constraints[0].pattern, &state.runs);
        assert!(candidates.unwrap().contains(expected), "{pattern}");
    }
}

#[test]
fn many_may_add_and_one_may_tidy_at_once() {
    let texts: Vec<String> = (0..20_000)
        .map(|n| format!("word{} other{}", n % 97, n % 13))
        .collect();
    let index = TextIndex::new(analyser());
    let kept = Kept {
        texts: &texts,
        gone: &[],
    };
    std::thread::scope(|scope| {
        for step in [1_usize, 30, 700] {
            let (index, kept) = (&index, &kept);
            scope.spawn(move || {
                for end in (0..=20_000).step_by(step) {
                    let state = index.cover(end, kept);
                    assert!(state.covered >= end);
                }
            });
        }
        scope.spawn(|| {
            while index.state().covered < 20_000 {
                index.tidy(&kept);
            }
        });
    });
    let state = index.cover(20_000, &kept);
    assert_eq!(state.documents(), 20_000);
    let question = Question::plain("word5 other7", &analyser());
    assert_eq!(
        found(&state, &question, 50, |_| true),
        naive(&texts, &question, |_| true)[..50]
    );
}
