//! How does a run come of texts?
//!
//! Row by row: each form is looked up once per run for its term, each term counted per row; in the end everything is
//! sorted and written.

use std::collections::HashMap;

use super::{
    analyser::{Analyser, fold},
    index::Told,
    postings::{MAX_TF, Posting},
    run::{self, Run, RunWriter},
    score,
};

/// A form without a term.
const STOP: u32 = u32::MAX;

/// A run in the making.
pub struct RunBuilder<'a> {
    analyser: &'a Analyser,
    first: u32,
    lengths: Vec<u8>,
    tasks: Vec<u32>,
    /// The term of every form that was met, or [`STOP`].
    forms: HashMap<Box<str>, u32>,
    terms: HashMap<Box<str>, u32>,
    postings: Vec<(u32, Posting)>,
    /// The terms of one row.
    of_row: Vec<u32>,
}

impl<'a> RunBuilder<'a> {
    /// A run from row `first` on.
    #[must_use]
    pub fn new(analyser: &'a Analyser, first: u32) -> Self {
        Self {
            analyser,
            first,
            lengths: Vec::new(),
            tasks: Vec::new(),
            forms: HashMap::new(),
            terms: HashMap::new(),
            postings: Vec::new(),
            of_row: Vec::new(),
        }
    }

    /// Adds the next row; one of which nothing is told is never found.
    pub fn add(&mut self, told: Option<Told<'_>>) {
        let row = self.lengths.len() as u32;
        let Self {
            analyser,
            forms,
            terms,
            of_row,
            ..
        } = self;
        let mut length = 0_u16;
        analyser.each_form(told.map_or("", |told| told.text), |form| {
            let term = match forms.get(form.text) {
                Some(term) => *term,
                None => {
                    let term = analyser.term(form.text).map_or(STOP, |term| {
                        let next = terms.len() as u32;
                        *terms.entry(term.into()).or_insert(next)
                    });
                    forms.insert(form.text.into(), term);
                    term
                }
            };
            if term != STOP {
                of_row.push(term);
                length = length.saturating_add(u16::from(!form.whole));
            }
        });
        self.lengths.push(score::class(length));
        let task = told.and_then(|told| told.task);
        self.tasks.push(task.map_or(0, run::task_mark));
        self.of_row.sort_unstable();
        let same = self.of_row.chunk_by(|a, b| a == b);
        self.postings.extend(same.filter_map(|same| {
            let tf = (same.len() as u32).min(MAX_TF);
            Some((*same.first()?, Posting { row, tf }))
        }));
        self.of_row.clear();
    }

    /// The run.
    #[must_use]
    pub fn finish(self) -> Run {
        let mut terms: Vec<(&str, u32)> = self.terms.iter().map(|(k, v)| (&**k, *v)).collect();
        terms.sort_unstable();
        let mut places = vec![0; terms.len()];
        for (place, (_, number)) in (0..).zip(&terms) {
            if let Some(slot) = places.get_mut(*number as usize) {
                *slot = place;
            }
        }
        let place = |number: u32| places.get(number as usize).copied().unwrap_or(0);
        let mut postings = self.postings;
        for (number, _) in &mut postings {
            *number = place(*number);
        }
        postings.sort_unstable_by_key(|(place, posting)| (*place, posting.row));
        let mut writer = RunWriter::new(self.first, self.lengths, self.tasks);
        let mut list = Vec::new();
        // Each term was met in some row, so there are as many lists as terms.
        for ((term, _), same) in terms.iter().zip(postings.chunk_by(|a, b| a.0 == b.0)) {
            list.clear();
            list.extend(same.iter().map(|(_, posting)| *posting));
            writer.push_term(term, &list);
        }
        let forms = self.forms.iter().filter(|(_, number)| **number != STOP);
        let forms = forms.map(|(form, number)| (fold(form), place(*number)));
        let is_own_term = |form: &str, place: u32| {
            terms
                .get(place as usize)
                .is_some_and(|(term, _)| *term == form)
        };
        let mut forms: Vec<_> = forms
            .filter(|(form, place)| !is_own_term(form, *place))
            .collect();
        forms.sort_unstable();
        forms.dedup();
        for (form, term) in &forms {
            writer.push_form(form, *term);
        }
        writer.finish()
    }
}
