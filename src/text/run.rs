//! Which terms do the rows of a range have?
//!
//! Frozen: made once of texts ([`builder`](super::builder)) or of other runs ([`merge`](super::merge)), read by searches from then on. Terms stand sorted,
//! each with its [postings](super::postings); forms that are not their own terms stand beside them, so that
//! words are found by their beginnings.

use std::ops::Range;

use super::postings::{List, Lists, ListsWriter, Posting, STRETCH_ROWS};

/// The index of some rows.
#[derive(Debug, Default)]
pub struct Run {
    /// The rows.
    pub(super) rows: Range<u32>,
    /// Those in front of the first that has words.
    lead: u32,
    /// Words of each behind the lead, up to the last that has words; 0 where there is nothing to find.
    lengths: Box<[u16]>,
    /// The marks of the terms of each of these, so that most terms that a row does not have are known without reading.
    marks: Box<[u64]>,
    /// Rows that have words.
    pub(super) documents: u64,
    /// Words of all rows.
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
        let fixed = size_of::<Self>() + rows + self.lists.bytes();
        let forms = size_of_val(&*self.targets) + self.forms.bytes();
        (fixed + self.terms.bytes() + forms) as u64
    }

    /// The postings of a term.
    pub(super) fn list(&self, term: &str) -> Option<List<'_>> {
        self.list_at(self.terms.find(term)?)
    }

    pub(super) fn list_at(&self, number: usize) -> Option<List<'_>> {
        self.lists.get(number)
    }

    /// Stretches of its rows.
    pub(super) fn stretches(&self) -> usize {
        self.rows.len().div_ceil(STRETCH_ROWS as usize)
    }

    /// Words of the rows from one on, counted from the first.
    #[inline]
    pub(super) fn lengths_from(&self, row: u32) -> Lengths<'_> {
        Lengths {
            all: &self.lengths,
            // In front of the lead the difference is beyond all lengths.
            from: row.wrapping_sub(self.lead),
        }
    }

    /// Words of a row, counted from the first.
    #[inline]
    pub(super) fn length(&self, row: u32) -> u16 {
        self.lengths_from(row).of(0)
    }

    /// The marks of all terms of a row, counted from the first.
    #[inline]
    pub(super) fn marks(&self, row: u32) -> u64 {
        let at = row.wrapping_sub(self.lead) as usize;
        self.marks.get(at).copied().unwrap_or(0)
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

/// How many words rows behind each other have.
#[derive(Clone, Copy)]
pub(super) struct Lengths<'a> {
    all: &'a [u16],
    from: u32,
}

impl Lengths<'_> {
    /// Words of the row so many behind the first of these.
    #[inline]
    pub(super) fn of(self, at: u16) -> u16 {
        let at = self.from.wrapping_add(at.into()) as usize;
        self.all.get(at).copied().unwrap_or(0)
    }
}

/// One bit, of a term: a row of few words has the bits of few terms that it does not have.
pub(super) fn mark(term: &str) -> u64 {
    // FNV-1a, and the bits that depend on every byte.
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = term.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    1 << (hash >> 58)
}

/// Sorted texts.
#[derive(Debug, Default)]
pub(super) struct Keys {
    text: Box<str>,
    ends: Box<[u32]>,
}

impl Keys {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn get(&self, at: usize) -> Option<&str> {
        let start = match at.checked_sub(1) {
            None => 0,
            Some(before) => *self.ends.get(before)?,
        };
        self.text.get(start as usize..*self.ends.get(at)? as usize)
    }

    fn find(&self, key: &str) -> Option<usize> {
        let at = self.first_from(key);
        (self.get(at)? == key).then_some(at)
    }

    /// The first that is not below `key`.
    fn first_from(&self, key: &str) -> usize {
        let (mut from, mut to) = (0, self.len());
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
        self.text.len() + size_of::<u32>() * self.ends.len()
    }
}

/// A run that is written term by term.
#[derive(Default)]
pub(super) struct RunWriter {
    first: u32,
    lengths: Vec<u16>,
    marks: Vec<u64>,
    terms: KeysWriter,
    lists: ListsWriter,
    forms: KeysWriter,
    targets: Vec<u32>,
}

impl RunWriter {
    /// A run from row `first` on, of as many rows as there are `lengths`.
    pub(super) fn new(first: u32, lengths: Vec<u16>) -> Self {
        Self {
            first,
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
        let lengths = &self.lengths;
        let length = |row: u32| lengths.get(row as usize).copied().unwrap_or(0);
        self.lists.push(postings, length)
    }

    /// Words of a row, counted from the first.
    pub(super) fn length(&self, row: u32) -> u16 {
        self.lengths.get(row as usize).copied().unwrap_or(0)
    }

    /// Adds the next form, which does not stand before those before it, of a term with this number.
    pub(super) fn push_form(&mut self, form: &str, term: u32) {
        self.forms.push(form);
        self.targets.push(term);
    }

    pub(super) fn finish(self) -> Run {
        let rows = self.first..self.first.saturating_add(self.lengths.len() as u32);
        let has_words = |length: &u16| *length > 0;
        let last = self.lengths.iter().rposition(has_words);
        let lead = self.lengths.iter().position(has_words).unwrap_or(0);
        let told = lead..last.map_or(lead, |last| last + 1);
        let lengths = self.lengths.get(told.clone()).unwrap_or_default();
        let marks = self.marks.get(told).unwrap_or_default();
        Run {
            rows,
            lead: lead as u32,
            documents: lengths.iter().filter(|length| **length > 0).count() as u64,
            words: lengths.iter().map(|length| u64::from(*length)).sum(),
            lengths: lengths.into(),
            marks: marks.into(),
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
}

impl KeysWriter {
    fn push(&mut self, key: &str) {
        self.text.push_str(key);
        self.ends.push(self.text.len() as u32);
    }

    fn finish(self) -> Keys {
        Keys {
            text: self.text.into(),
            ends: self.ends.into(),
        }
    }
}
