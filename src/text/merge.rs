//! Which runs are to become one, and how?
//!
//! Runs of about the same size are merged when there are [`FAN_IN`] of them, so that every word is written
//! again a few times in all, and a search meets few runs. What nobody needs any more is left out then.

use std::ops::Range;

use super::{
    postings::Posting,
    run::{Run, RunWriter},
};

/// Runs of one size that become one of the next.
const FAN_IN: usize = 4;

/// No run gets larger (about a gigabyte): merging it would take longer than it saves.
const MAX_SIZE: u32 = 1 << 20;

/// Below it, whoever adds rows merges runs at once, which takes less than a millisecond; from it on, only
/// somebody who has time does.
const SMALL: u32 = 256;

/// How large a run counts as: its rows, or kibibytes where texts are long.
#[must_use]
pub fn size(run: &Run) -> u32 {
    let kib = u32::try_from(run.bytes() / 1024).unwrap_or(u32::MAX);
    kib.max(run.rows().len() as u32)
}

/// The next runs that are worth merging by somebody who has time. Never those that who adds rows may be merging.
#[must_use]
pub fn next(sizes: &[u32]) -> Option<Range<usize>> {
    // From the newest, which are the smallest: each tier ends where runs are larger.
    let mut end = settled(sizes);
    while end > 0 {
        let tier = tier(*sizes.get(end - 1)?);
        let start = sizes
            .iter()
            .take(end)
            .rposition(|size| self::tier(*size) > tier)
            .map_or(0, |larger| larger + 1);
        let whole: u32 = sizes.get(start..end)?.iter().sum();
        if end - start >= FAN_IN && whole <= MAX_SIZE {
            return Some(start..end);
        }
        end = start;
    }
    None
}

/// Runs that whoever adds rows does not touch any more: all but the small ones behind them.
#[must_use]
pub fn settled(sizes: &[u32]) -> usize {
    let last = sizes.iter().rposition(|size| *size >= SMALL);
    last.map_or(0, |last| last + 1)
}

/// Runs in one tier differ in size by less than [`FAN_IN`]; small ones are in one.
fn tier(size: u32) -> u32 {
    size.max(SMALL).ilog2() / FAN_IN.ilog2()
}

/// How many of the last runs become one as soon as the last is there.
#[must_use]
pub fn at_once(sizes: &[u32]) -> usize {
    let mut sizes = sizes.iter().rev();
    let mut whole = sizes.next().copied().unwrap_or(0);
    let mut merged = 1;
    for size in sizes {
        if *size > whole.saturating_mul(2) || *size >= SMALL {
            break;
        }
        whole = whole.saturating_add(*size);
        merged += 1;
    }
    merged
}

/// One run in the place of several that stand behind each other, with those rows only that are to be kept.
#[must_use]
pub fn merge(runs: &[&Run], keep: impl Fn(u32) -> bool) -> Run {
    let first = runs.first().map_or(0, |run| run.rows().start);
    let kept = |run: &Run, row: u32| run.length(row) > 0 && keep(run.rows().start + row);
    let (mut lengths, mut tasks) = (Vec::new(), Vec::new());
    for run in runs {
        for row in 0..run.rows().len() as u32 {
            let kept = kept(run, row);
            lengths.push(if kept { run.length(row) } else { 0 });
            tasks.push(run.task(row).filter(|_| kept).unwrap_or(0));
        }
    }
    let mut writer = RunWriter::new(first, lengths, tasks);
    // The new number of each term of each run.
    let mut numbers: Vec<Vec<Option<u32>>> =
        runs.iter().map(|run| vec![None; run.terms.len()]).collect();
    let mut list: Vec<Posting> = Vec::new();
    each_key(
        runs,
        |run| &run.terms,
        |term, places| {
            list.clear();
            for (number, at) in places {
                let Some(run) = runs.get(*number) else {
                    continue;
                };
                let before = run.rows().start - first;
                if let Some(postings) = run.list_at(*at) {
                    postings.each(|posting| {
                        let row = before + posting.row;
                        if writer.has_words(row) {
                            list.push(Posting { row, ..posting });
                        }
                    });
                }
            }
            if !list.is_empty() {
                let new = writer.push_term(term, &list);
                for (number, at) in places {
                    if let Some(slot) = numbers.get_mut(*number).and_then(|run| run.get_mut(*at)) {
                        *slot = Some(new);
                    }
                }
            }
        },
    );
    let mut targets = Vec::new();
    each_key(
        runs,
        |run| &run.forms,
        |form, places| {
            let new = places.iter().filter_map(|(number, at)| {
                let old = *runs.get(*number)?.targets.get(*at)?;
                *numbers.get(*number)?.get(old as usize)?
            });
            targets.clear();
            targets.extend(new);
            targets.sort_unstable();
            targets.dedup();
            for target in &targets {
                writer.push_form(form, *target);
            }
        },
    );
    writer.finish()
}

/// Shows each key of the runs once, in order, and where it is: the number of the run, and its place there.
fn each_key<'r>(
    runs: &[&'r Run],
    keys: impl Fn(&'r Run) -> &'r super::run::Keys,
    mut see: impl FnMut(&'r str, &[(usize, usize)]),
) {
    let mut next = vec![0; runs.len()];
    let mut places = Vec::with_capacity(runs.len());
    loop {
        let ahead = runs
            .iter()
            .zip(&next)
            .filter_map(|(run, at)| keys(run).get(*at));
        let Some(least) = ahead.min() else { return };
        places.clear();
        for (number, (run, at)) in runs.iter().zip(&mut next).enumerate() {
            // Forms of several terms stand there several times.
            while keys(run).get(*at) == Some(least) {
                places.push((number, *at));
                *at += 1;
            }
        }
        see(least, &places);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_stay_few_and_rows_are_written_a_few_times() {
        let (mut sizes, mut written, mut most) = (Vec::new(), 0_u64, 0);
        for _ in 0..100_000 {
            sizes.push(1);
            let merged = at_once(&sizes);
            let sum: u32 = sizes.drain(sizes.len() - merged..).sum();
            sizes.push(sum);
            written += u64::from(sum);
            while let Some(range) = next(&sizes) {
                let sum: u32 = sizes.splice(range.clone(), []).sum();
                sizes.insert(range.start, sum);
                written += u64::from(sum);
            }
            most = most.max(sizes.len());
        }
        assert_eq!(sizes.iter().sum::<u32>(), 100_000);
        assert!(most <= 40, "{most} runs");
        assert!(written <= 100_000 * 18, "{written}");
    }

    #[test]
    fn nobody_who_adds_rows_merges_much() {
        assert_eq!(at_once(&[]), 1);
        assert_eq!(at_once(&[1, 1]), 2);
        assert_eq!(at_once(&[4, 2, 1, 1]), 4);
        assert_eq!(at_once(&[8, 1]), 1);
        assert_eq!(at_once(&[SMALL, 200]), 1);
        assert_eq!(at_once(&[SMALL - 1, 5000]), 2);
    }

    #[test]
    fn what_is_large_enough_stays() {
        assert_eq!(next(&[MAX_SIZE / 2; 8]), None);
        assert_eq!(next(&[256; 3]), None);
        assert_eq!(next(&[256; 4]), Some(0..4));
        assert_eq!(next(&[100_000, 256, 256, 200, 256, 100, 3]), Some(1..5));
        assert_eq!(next(&[255; 8]), None);
    }
}
