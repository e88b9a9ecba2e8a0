//! Which rows of a collective may have this content?
//!
//! On demand, like [`crate::state::filter_index`]: the index comes to be with the first recording that
//! asks for it, which reads the hash of every body, and later ones add the rows since. A program that
//! never asks pays nothing, and the committer never does.
//!
//! An entry is the first 32 bits of a content's hash and a row: [`ENTRY_BYTES`] bytes. The body decides.
//! Entries lie by excess, never by omission: each row below `covered` that is not deleted and can be read
//! has one. What was deleted goes when somebody meets it; as many more entries are looked at whenever rows
//! are added, so that there are at most about twice as many as living rows, however long a program runs
//! (or as many as there were before much was deleted at once).

use std::collections::BTreeSet;

use crate::{model::ContentHash, sync::Mutex};

/// About what an entry takes: two numbers, in nodes that are about two thirds full, with their links.
pub const ENTRY_BYTES: usize = 18;
/// Rows that are read before they are added, so that who looks something up waits for microseconds.
const BATCH_ROWS: u32 = 256;
/// Entries that are looked at for each that is added.
const SWEPT_PER_ROW: usize = 2;
/// Entries that are looked at before the lock is given back.
const MET_AT_ONCE: usize = 32;

/// The contents of one table.
#[derive(Debug, Default)]
pub struct ContentIndex {
    /// Held by whoever adds rows.
    adding: Mutex<()>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Start of the hash, and row.
    entries: BTreeSet<(u32, u32)>,
    /// Rows from here on have no entries.
    covered: u32,
    /// Where the next look for deleted rows begins.
    swept: (u32, u32),
}

/// What a row turns out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// One of those that are looked for.
    Wanted,
    /// Another one.
    Other,
    /// It is deleted, for everybody from now on.
    Deleted,
}

impl ContentIndex {
    /// Sees to it that all rows below `end` have their entries. `hash_of` reads a row's hash, and answers
    /// `None` for one that is deleted or damaged; `is_deleted` says whether a row is, for everybody from
    /// now on.
    pub fn catch_up(
        &self,
        end: u32,
        mut hash_of: impl FnMut(u32) -> Option<ContentHash>,
        is_deleted: impl Fn(u32) -> bool,
    ) {
        if self.known.lock().covered >= end {
            return;
        }
        let _adding = self.adding.lock();
        let mut covered = self.known.lock().covered;
        let mut batch = Vec::with_capacity(BATCH_ROWS as usize);
        while covered < end {
            let behind = end.min(covered.saturating_add(BATCH_ROWS));
            batch.extend((covered..behind).filter_map(|row| Some((start(&hash_of(row)?), row))));
            let mut known = self.known.lock();
            known.sweep(SWEPT_PER_ROW * batch.len(), &is_deleted);
            known.entries.extend(batch.drain(..));
            known.covered = behind;
            covered = behind;
        }
    }

    /// The first rows, at most `most`, that have this hash. `meet` says what a row that may is.
    pub fn first_with(
        &self,
        hash: &ContentHash,
        most: usize,
        mut meet: impl FnMut(u32) -> Met,
    ) -> Vec<u32> {
        let start = start(hash);
        let mut wanted = Vec::new();
        let mut from = Some(0);
        while let Some(row) = from {
            let entries = self.known.lock().from((start, row), MET_AT_ONCE);
            let rows = entries.iter().take_while(|entry| entry.0 == start);
            let rows: Vec<u32> = rows.map(|entry| entry.1).collect();
            from = match rows.last() {
                Some(last) if rows.len() == MET_AT_ONCE => last.checked_add(1),
                _ => None,
            };
            for row in rows {
                match meet(row) {
                    Met::Wanted => wanted.push(row),
                    Met::Other => {}
                    Met::Deleted => {
                        self.known.lock().entries.remove(&(start, row));
                    }
                }
                if wanted.len() == most {
                    return wanted;
                }
            }
        }
        wanted
    }

    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        self.known.lock().entries.len() * ENTRY_BYTES
    }
}

impl Known {
    fn from(&self, first: (u32, u32), most: usize) -> Vec<(u32, u32)> {
        self.entries.range(first..).take(most).copied().collect()
    }

    /// Removes what is deleted among the next `most` entries.
    fn sweep(&mut self, most: usize, is_deleted: impl Fn(u32) -> bool) {
        let next = self.from(self.swept, most);
        self.swept = match next.last() {
            Some(last) if next.len() == most => (last.0, last.1.saturating_add(1)),
            _ => (0, 0),
        };
        for entry in next {
            if is_deleted(entry.1) {
                self.entries.remove(&entry);
            }
        }
    }
}

/// The part of a hash that entries hold: in a million rows, one look in four thousand meets a row of
/// other content.
fn start(hash: &ContentHash) -> u32 {
    let [a, b, c, d, ..] = hash.0;
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
#[path = "content_index_tests.rs"]
mod tests;
