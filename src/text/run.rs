//! Which terms do the rows of a range have?
//!
//! Frozen: made once of texts ([`builder`](super::builder)) or of other runs ([`merge`](super::merge)), read by searches from then on. Terms stand sorted,
//! each with its [postings](super::postings); forms that are not their own terms stand beside them, so that
//! words are found by their beginnings. Of each row it is known how long it is and, by a mark, of which task, so that those next
//! to it in its task are found without reading.

use std::ops::Range;

use super::{
    postings::{List, Lists, ListsWriter, Posting, STRETCH_ROWS},
    score,
};
use crate::simd;

/// The index of some rows.
#[derive(Debug, Default)]
pub struct Run {
    /// The rows.
    pub(super) rows: Range<u32>,
    /// Those in front of the first that has words.
    lead: u32,
    /// The class of the length of each behind the lead, up to the last that has words; 0 where there is nothing to find.
    lengths: Box<[u8]>,
    /// The marks of the terms of each of these, so that most terms that a row does not have are known without reading.
    marks: Box<[u64]>,
    /// The mark of the task of each; 0 where it has none.
    tasks: Box<[u32]>,
    /// Rows that have words.
    pub(super) documents: u64,
    /// Words of all rows, as their classes count.
    pub(super) words: u64,
    pub(super) terms: Keys,
    /// Those of the terms.
    lists: Lists,
    pub(super) forms: Keys,
    /// The term of each form.
    pub(super) targets: Box<[u32]>,
}

impl Run {
    /// The rows that it covers.
    #[must_use]
    pub fn rows(&self) -> Range<u32> {
        self.rows.clone()
    }

    /// Rows that have words.
    #[must_use]
    pub fn documents(&self) -> u64 {
        self.documents
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let rows = size_of_val(&*self.lengths) + size_of_val(&*self.marks);
        let rows = rows + size_of_val(&*self.tasks);
        let fixed = size_of::<Self>() + rows + self.lists.bytes();
        let forms = size_of_val(&*self.targets) + self.forms.bytes();
        (fixed + self.terms.bytes() + forms) as u64
    }

    /// The postings of a term.
    pub(super) fn list(&self, term: &str) -> Option<List<'_>> {
        self.list_at(self.terms.find(term)?)
    }

    /// The postings of each of these terms. Each step is made for all of them, so that the CPU waits for memory once for
    /// all, not once for each.
    pub(super) fn lists<'t>(&self, terms: impl Iterator<Item = &'t str>) -> Vec<Option<List<'_>>> {
        let found = self.terms.find_each(terms);
        let numbers = || found.iter().flatten();
        numbers().for_each(|number| self.lists.expect_place(*number));
        numbers().for_each(|number| self.lists.expect(*number));
        found
            .iter()
            .map(|number| self.list_at((*number)?))
            .collect()
    }

    pub(super) fn list_at(&self, number: usize) -> Option<List<'_>> {
        self.lists.get(number)
    }

    /// Stretches of its rows.
    pub(super) fn stretches(&self) -> usize {
        self.rows.len().div_ceil(STRETCH_ROWS as usize)
    }

    /// The place of a row, counted from the first, in what is known of each.
    #[inline]
    fn place(&self, row: u32) -> usize {
        // In front of the lead the difference is beyond all places.
        row.wrapping_sub(self.lead) as usize
    }

    /// The class of the length of a row, counted from the first.
    #[inline]
    pub(super) fn length(&self, row: u32) -> u8 {
        self.lengths.get(self.place(row)).copied().unwrap_or(0)
    }

    /// Writes the classes of the lengths of a stretch's rows. Those without words are left as they are.
    pub(super) fn lengths(&self, stretch: usize, out: &mut [u8; STRETCH_ROWS as usize]) {
        let first = stretch as u32 * STRETCH_ROWS;
        let before = self.lead.saturating_sub(first).min(STRETCH_ROWS) as usize;
        let known = self.place(first.max(self.lead));
        let known = self.lengths.get(known..).unwrap_or_default();
        let out = out.get_mut(before..).unwrap_or_default();
        for (out, known) in out.iter_mut().zip(known) {
            *out = *known;
        }
    }

    /// Asks the CPU for what is known of these rows, counted from the first.
    pub(super) fn expect(&self, rows: Range<u32>) {
        let rows = self.place(rows.start.max(self.lead))..self.place(rows.end.max(self.lead));
        let rows = rows.start..rows.end.min(self.lengths.len());
        simd::prefetch(self.lengths.get(rows.clone()).unwrap_or_default());
        simd::prefetch(self.marks.get(rows.clone()).unwrap_or_default());
        simd::prefetch(self.tasks.get(rows).unwrap_or_default());
    }

    /// The mark of the task of a row, counted from the first; `None` where it has none.
    #[inline]
    #[must_use]
    pub fn task(&self, row: u32) -> Option<u32> {
        let mark = self.tasks.get(self.place(row)).copied();
        mark.filter(|mark| *mark != 0)
    }

    /// The marks of all terms of a row, counted from the first.
    #[inline]
    pub(super) fn marks(&self, row: u32) -> u64 {
        self.marks.get(self.place(row)).copied().unwrap_or(0)
    }

    /// Shows every term of which some form begins with `prefix`, and maybe others.
    pub(super) fn each_beginning(&self, prefix: &str, mut see: impl FnMut(List<'_>)) {
        let mut numbers: Vec<u32> = self.terms.beginning(prefix).map(|at| at as u32).collect();
        let forms = self.forms.beginning(prefix);
        numbers.extend(forms.filter_map(|at| self.targets.get(at)));
        numbers.sort_unstable();
        numbers.dedup();
        let lists = numbers.iter().filter_map(|at| self.list_at(*at as usize));
        lists.for_each(&mut see);
    }
}

/// One bit, of a term: a row of few words has the bits of few terms that it does not have.
pub(super) fn mark(term: &str) -> u64 {
    1 << (hash(term) >> 58)
}

/// Of a task. Two in four billion have the same and would lend each other weight.
pub(super) fn task_mark(task: &str) -> u32 {
    ((hash(task) >> 32) as u32).max(1)
}

/// FNV-1a; the upper bits depend on every byte.
fn hash(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Sorted texts.
#[derive(Debug, Default)]
pub(super) struct Keys {
    text: Box<str>,
    ends: Box<[u32]>,
    /// How the first of every [`BLOCK_KEYS`] begins.
    blocks: Box<[u64]>,
}

/// Keys of a block: looking for one waits for a few of its block and of no other, while how blocks begin stays in the cache.
const BLOCK_KEYS: usize = 16;

/// The first eight bytes, as a number that is ordered as they are.
fn beginning_of(key: &str) -> u64 {
    let mut bytes = [0; size_of::<u64>()];
    for (to, from) in bytes.iter_mut().zip(key.bytes()) {
        *to = from;
    }
    u64::from_be_bytes(bytes)
}

impl Keys {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn get(&self, at: usize) -> Option<&str> {
        self.text_of(at..at + 1)
    }

    /// The text of some keys, at least one.
    fn text_of(&self, keys: Range<usize>) -> Option<&str> {
        let start = match keys.start.checked_sub(1) {
            None => 0,
            Some(before) => *self.ends.get(before)?,
        };
        let end = *self.ends.get(keys.end.checked_sub(1)?)?;
        self.text.get(start as usize..end as usize)
    }

    fn find(&self, key: &str) -> Option<usize> {
        self.find_among(key, self.around(key))
    }

    fn find_among(&self, key: &str, around: Range<usize>) -> Option<usize> {
        let at = self.first_among(key, around);
        (self.get(at)? == key).then_some(at)
    }

    /// Each of these, where it is, found side by side.
    fn find_each<'k>(&self, keys: impl Iterator<Item = &'k str>) -> Vec<Option<usize>> {
        let around = |key| {
            let around = self.around(key);
            simd::prefetch(self.ends.get(around.clone()).unwrap_or_default());
            (key, around)
        };
        let keys: Vec<(&str, Range<usize>)> = keys.map(around).collect();
        for (_, around) in &keys {
            let text = self.text_of(around.clone()).unwrap_or_default();
            simd::prefetch(text.as_bytes());
        }
        let keys = keys.into_iter();
        keys.map(|(key, around)| self.find_among(key, around))
            .collect()
    }

    /// Among which the first is that is not below `key`, unless it is the one behind them.
    fn around(&self, key: &str) -> Range<usize> {
        let beginning = beginning_of(key);
        let before = self.blocks.partition_point(|block| *block < beginning);
        let begin_so = self.blocks.iter().skip(before);
        let begin_so = begin_so.take_while(|block| **block == beginning).count();
        let end = self.len().min((before + begin_so) * BLOCK_KEYS);
        before.saturating_sub(1) * BLOCK_KEYS..end
    }

    /// The first that is not below `key`.
    fn first_from(&self, key: &str) -> usize {
        self.first_among(key, self.around(key))
    }

    fn first_among(&self, key: &str, around: Range<usize>) -> usize {
        let Range {
            start: mut from,
            end: mut to,
        } = around;
        while from < to {
            let middle = from.midpoint(to);
            if self.get(middle).is_some_and(|found| found < key) {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        from
    }

    fn beginning<'k>(&'k self, prefix: &'k str) -> impl Iterator<Item = usize> + 'k {
        let from = self.first_from(prefix)..self.len();
        from.take_while(move |at| self.get(*at).is_some_and(|key| key.starts_with(prefix)))
    }

    fn bytes(&self) -> usize {
        self.text.len() + size_of_val(&*self.ends) + size_of_val(&*self.blocks)
    }
}

/// A run that is written term by term.
#[derive(Default)]
pub(super) struct RunWriter {
    first: u32,
    lengths: Vec<u8>,
    marks: Vec<u64>,
    tasks: Vec<u32>,
    terms: KeysWriter,
    lists: ListsWriter,
    forms: KeysWriter,
    targets: Vec<u32>,
}

impl RunWriter {
    /// A run from row `first` on, of as many rows as there are classes of `lengths` and marks of `tasks`.
    pub(super) fn new(first: u32, lengths: Vec<u8>, tasks: Vec<u32>) -> Self {
        Self {
            first,
            tasks,
            marks: vec![0; lengths.len()],
            lists: ListsWriter::new(lengths.len()),
            lengths,
            ..Self::default()
        }
    }

    /// Adds the next term, which stands behind those before it, and answers its number.
    pub(super) fn push_term(&mut self, term: &str, postings: &[Posting]) -> u32 {
        self.terms.push(term);
        let mark = mark(term);
        for posting in postings {
            if let Some(marks) = self.marks.get_mut(posting.row as usize) {
                *marks |= mark;
            }
        }
        self.lists.push(postings)
    }

    /// Whether a row, counted from the first, has words.
    pub(super) fn has_words(&self, row: u32) -> bool {
        self.lengths
            .get(row as usize)
            .is_some_and(|class| *class > 0)
    }

    /// Adds the next form, which does not stand before those before it, of a term with this number.
    pub(super) fn push_form(&mut self, form: &str, term: u32) {
        self.forms.push(form);
        self.targets.push(term);
    }

    pub(super) fn finish(self) -> Run {
        let rows = self.first..self.first.saturating_add(self.lengths.len() as u32);
        let has_words = |length: &u8| *length > 0;
        let last = self.lengths.iter().rposition(has_words);
        let lead = self.lengths.iter().position(has_words).unwrap_or(0);
        let told = lead..last.map_or(lead, |last| last + 1);
        let lengths = self.lengths.get(told.clone()).unwrap_or_default();
        let marks = self.marks.get(told.clone()).unwrap_or_default();
        let tasks = self.tasks.get(told).unwrap_or_default();
        let words = lengths
            .iter()
            .map(|class| u64::from(score::words_of(*class)));
        Run {
            rows,
            lead: lead as u32,
            documents: lengths.iter().filter(|length| **length > 0).count() as u64,
            words: words.sum(),
            lengths: lengths.into(),
            marks: marks.into(),
            tasks: tasks.into(),
            terms: self.terms.finish(),
            lists: self.lists.finish(),
            forms: self.forms.finish(),
            targets: self.targets.into(),
        }
    }
}

/// Sorted texts in the making.
#[derive(Default)]
struct KeysWriter {
    text: String,
    ends: Vec<u32>,
    blocks: Vec<u64>,
}

impl KeysWriter {
    fn push(&mut self, key: &str) {
        if self.ends.len().is_multiple_of(BLOCK_KEYS) {
            self.blocks.push(beginning_of(key));
        }
        self.text.push_str(key);
        self.ends.push(self.text.len() as u32);
    }

    fn finish(self) -> Keys {
        Keys {
            text: self.text.into(),
            ends: self.ends.into(),
            blocks: self.blocks.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_whatever_they_begin_with() {
        let number = |n: u32| format!("{n:04}");
        let short = (0..300).map(number);
        let alike = (0..300).map(|n| format!("beginning{}", number(n)));
        let mut all: Vec<String> = short.chain(alike).chain([String::new()]).collect();
        all.sort();
        for count in [0, 1, 15, 16, 17, all.len()] {
            let kept = &all[..count];
            let mut writer = KeysWriter::default();
            kept.iter().for_each(|key| writer.push(key));
            let keys = writer.finish();
            let absent = [
                "",
                "0",
                "00005",
                "beginnin",
                "beginning",
                "beginning0007x",
                "z",
            ];
            for key in all.iter().map(String::as_str).chain(absent) {
                assert_eq!(keys.find(key), kept.iter().position(|kept| kept == key));
                let first = kept.partition_point(|kept| kept.as_str() < key);
                assert_eq!(keys.first_from(key), first, "{key}");
            }
        }
    }
}
