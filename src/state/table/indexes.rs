//! Which indexes does a table have, and how far are they behind its rows?
//!
//! Each is made when somebody first asks for it, and from then on the committer tells it of changes.

use super::{AllRows, Analyser, Arc, ContentIndex, FilterIndex, Table, TextIndex};

impl Table {
    /// Rows whose vectors are in no graph.
    pub fn tail_rows(&self) -> u32 {
        self.row_count().saturating_sub(self.vectors.indexed())
    }
}

impl AllRows {
    /// The index of what filters ask for; it exists from now on.
    pub fn filter_index(&self) -> Arc<FilterIndex> {
        Arc::clone(self.filter_index.lock().get_or_insert_default())
    }

    /// About how many bytes that index and those of orders take.
    pub fn index_bytes(&self) -> usize {
        let index = self.filter_index.lock().clone();
        index.map_or(0, |index| index.bytes()) + self.orders.bytes()
    }

    /// The index of contents; it exists from now on.
    pub fn content_index(&self) -> Arc<ContentIndex> {
        Arc::clone(self.content_index.lock().get_or_insert_default())
    }

    /// The index of words; it exists from now on. `analyser` is the database's.
    pub fn text_index(&self, analyser: &Arc<Analyser>) -> Arc<TextIndex> {
        let mut index = self.text_index.lock();
        Arc::clone(index.get_or_insert_with(|| Arc::new(TextIndex::new(Arc::clone(analyser)))))
    }

    /// Rows whose words are not indexed, where somebody has asked for an index.
    pub fn text_tail_rows(&self) -> u32 {
        let index = self.text_index_in_use();
        index.map_or(0, |index| {
            self.row_count().saturating_sub(index.state().covered)
        })
    }

    /// The index of words, if somebody has asked for it.
    pub fn text_index_in_use(&self) -> Option<Arc<TextIndex>> {
        self.text_index.lock().clone()
    }

    /// About how many bytes the index of contents takes.
    pub fn content_index_bytes(&self) -> usize {
        let index = self.content_index.lock().clone();
        index.map_or(0, |index| index.bytes())
    }
}
