//! Which texts does the index of words read, and which rows may a question's words allow?
//!
//! The bridge from a table to its [`TextIndex`]: searches cover the rows that they may see before they ask it.

use roaring::RoaringBitmap;

use crate::{
    read::reader::Reader,
    state::{
        Table, postings,
        texts::{TableTexts, text},
    },
    sync::Arc,
    text::{Analyser, Question, TextIndex, index::IndexState, matching},
};

/// Runs of which a search merges some before it goes on: some 40 come together beside a thread that merges.
const MANY_RUNS: usize = 128;

/// The words of a database.
#[derive(Clone, Debug)]
pub struct Words {
    /// The rules that words go by.
    pub analyser: Arc<Analyser>,
    /// k1 and b of BM25.
    pub parameters: (f32, f32),
}

/// The index of a table, with every row that the reader may see.
pub fn covering(reader: &Reader, table: &Table, words: &Words) -> Arc<IndexState> {
    let texts = TableTexts::new(&reader.view.segments, table, reader.lsn());
    let end = table.end_at(reader.lsn());
    let index = table.text_index(&words.analyser);
    let mut state = index.cover(end, &texts);
    // Where nobody in the background merges, or not in time, searches do.
    if state.runs.len() > MANY_RUNS && index.tidy(&texts) {
        state = index.cover(end, &texts);
    }
    if reader.lsn() >= state.horizon {
        return state;
    }
    // Rows that only this reader still sees may be missing.
    let texts = texts.seen_from(reader.lsn());
    TextIndex::new(Arc::clone(&words.analyser)).cover(end, &texts)
}

/// The rows that fulfil all constraints of a question, and maybe some that the reader does not see; `None`
/// where there are no constraints.
pub fn allowed(
    reader: &Reader,
    table: &Table,
    words: &Words,
    state: &IndexState,
    question: &Question,
) -> Option<RoaringBitmap> {
    let rows = table.rows(reader.lsn());
    let segments = &reader.view.segments;
    let every = || postings::range(&(0..state.covered));
    let mut allowed: Option<RoaringBitmap> = None;
    // What is asked for first, so that few rows are left to be asked.
    let mut constraints: Vec<_> = question.constraints.iter().collect();
    constraints.sort_by_key(|one| (one.excluded, !matching::certain(&one.pattern)));
    for constraint in constraints {
        let pattern = &constraint.pattern;
        let mut found = matching::candidates(pattern, &state.runs).unwrap_or_else(every);
        if let Some(allowed) = &allowed {
            found &= allowed;
        }
        if !matching::certain(pattern) {
            let holds = |row: &u32| {
                let row = rows.visible(*row);
                let text = row.and_then(|row| text(segments, &row));
                text.is_some_and(|text| matching::holds(pattern, &words.analyser, text))
            };
            found = found.iter().filter(holds).collect();
        }
        allowed = Some(if constraint.excluded {
            allowed.unwrap_or_else(every) - found
        } else {
            found
        });
    }
    allowed
}
