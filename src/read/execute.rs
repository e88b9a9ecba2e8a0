//! How is a search carried out?
//!
//! As planned ([`plan`]): graphs are walked or codes are scanned, all of them or those of the rows
//! that may pass the filter; rows in no graph are always scanned. Whatever may win is checked
//! (visible, passes the filter) and compared by its vector in the mapped log. A scan is exact by
//! proof ([`crate::vector::codes`]); a graph is as good as its recall, and where it yields too few
//! rows, a more thorough plan follows. So a search for k answers with k rows whenever k match.

use std::cell::{Cell, RefCell};

use roaring::RoaringBitmap;

use crate::{
    error::{PulseDBError, Result},
    model::{DecayConfig, SearchOptions, SearchPlan as Plan},
    read::{
        filter::Compiled,
        matches,
        pass::{Gathered, Pass},
        plan::{self, Costs, Question},
        rank::Candidate,
        reader::Reader,
        search::Hit,
        sieve::{Compared, Scoring, Sieve},
    },
    state::{Rows, Table, Visited},
    sync::Arc,
    vector::{
        Graph,
        codes::Measure,
        index::IndexState,
        tail::{BLOCK_ROWS, Block},
    },
};

/// What the queries of one call share.
pub(super) struct Search<'a> {
    pub(super) reader: &'a Reader,
    table: &'a Table,
    options: &'a SearchOptions,
    pub(super) ef: usize,
    /// The row behind the newest that the snapshot may see, so that codes are made only of rows whose
    /// segments it knows.
    pub(super) count: u32,
    /// Loaded after `count`, so that every row below it is there.
    rows: Rows,
    pub(super) index: Arc<IndexState>,
    filter: Compiled<'a>,
    /// At least the rows that pass the filter; `None` where it restricts nothing.
    pub(super) matches: Option<RoaringBitmap>,
    scoring: Scoring,
    decay: Option<DecayConfig>,
    /// Whether a match whose values never changed is believed to have the traits that its postings
    /// say, until it is read as a result.
    pub(super) trusting: bool,
    /// Rows that this search met and could not read, and whether one of them was taken for a result.
    damaged: RefCell<RoaringBitmap>,
    pub(super) lacking: Cell<bool>,
}

/// What a search did.
pub struct Work {
    /// The way that gave the answer.
    pub plan: Plan,
    /// Codes that were compared, and candidates of graphs.
    pub codes_compared: u64,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        reader: &'a Reader,
        table: &'a Table,
        options: &'a SearchOptions,
        ef: usize,
    ) -> Result<Self> {
        let filter = Compiled::new(&options.filter, table)?.hiding(reader.hidden(table));
        let matches = matches::candidates(reader, table, &filter);
        let mut search = Self::among(reader, table, options, (filter, matches), ef);
        let weighted = matches!(search.scoring, Scoring::Weighted(_));
        search.ef = plan::breadth(options.ef.unwrap_or(ef), options.k, weighted);
        Ok(search)
    }

    /// With the filter looked up, and at least the rows that pass it; the breadth of walks is as it is given.
    pub(super) fn among(
        reader: &'a Reader,
        table: &'a Table,
        options: &'a SearchOptions,
        (filter, matches): (Compiled<'a>, Option<RoaringBitmap>),
        ef: usize,
    ) -> Self {
        let decay = reader.definition(table).map(|d| d.decay.clone());
        let scoring = Scoring::of(options, decay.as_ref());
        let count = table.end_at(reader.lsn());
        Self {
            reader,
            table,
            options,
            ef,
            count,
            rows: table.rows(reader.lsn()),
            index: table.vectors.reaching(count),
            filter,
            matches,
            scoring,
            decay,
            trusting: true,
            damaged: RefCell::default(),
            lacking: Cell::new(false),
        }
    }

    /// Finds what may be among the best of each query.
    pub(super) fn sift(&self, queries: &[&'a [f32]]) -> Result<(Vec<Sieve<'a>>, Work)> {
        for query in queries {
            // Checked before, but against another snapshot: a re-embedding may have ended in between.
            if query.len() != usize::from(self.table.dimension) {
                return Err(PulseDBError::validation(
                    "query",
                    format!("a vector of {} components", query.len()),
                    format!("the collective's embeddings have {}", self.table.dimension),
                ));
            }
        }
        let sieves = || -> Vec<Sieve<'a>> {
            queries
                .iter()
                .map(|query| Sieve::new(query, self.options.k, self.scoring))
                .collect()
        };
        let question = Question {
            rows: self.count.into(),
            in_graphs: self.index.indexed.into(),
            matches: self.matches.as_ref().map(RoaringBitmap::len),
            k: self.options.k,
            ef: self.ef,
            exact: self.options.exact,
        };
        let mut plan = plan::plan(&question, &Costs::default());
        loop {
            let mut pass = Pass::new(sieves());
            let complete = self.follow(plan, &mut pass)?;
            if complete {
                let work = Work {
                    plan,
                    codes_compared: pass.codes_compared,
                };
                return Ok((pass.sieves, work));
            }
            // A graph answers with what it happens to reach: where too much of that did not count,
            // the next way is more thorough, and the last one complete.
            plan = match plan {
                Plan::Graph => Plan::FilteredGraph,
                _ if self.matches.is_some() => Plan::Matches,
                _ => Plan::Scan,
            };
        }
    }

    /// Follows a plan; whether that answers in full.
    fn follow(&self, plan: Plan, pass: &mut Pass<'a>) -> Result<bool> {
        match plan {
            Plan::Nothing => {}
            Plan::Scan => {
                for one in &self.index.graphs {
                    self.scan_graph(&one.graph, pass)?;
                }
                self.scan_tail(pass)?;
            }
            Plan::Matches => self.scan_matches(pass)?,
            Plan::Graph | Plan::FilteredGraph => {
                let filtered = plan == Plan::FilteredGraph;
                for one in &self.index.graphs {
                    if !self.walk_graph(&one.graph, filtered, pass)? {
                        return Ok(false);
                    }
                }
                self.scan_tail(pass)?;
                return Ok(pass.is_full());
            }
        }
        Ok(true)
    }

    /// Compares all rows of a graph by their codes, without walking it.
    fn scan_graph(&self, graph: &Graph, pass: &mut Pass<'a>) -> Result<()> {
        let covered = graph.covered();
        let codes = if self.reader.lsn() < covered.horizon {
            None
        } else if pass.sieves.len() == 1 {
            graph.sketched_codes()
        } else {
            graph.codes()
        };
        let Some(matrix) = codes else {
            // Of graphs without codes, and of snapshots that see more than the graph has.
            return (covered.first..covered.end.min(self.count))
                .try_for_each(|row| self.compare_plainly(row, pass));
        };
        pass.compare(
            &matrix.codes(),
            |at| matrix.rows.get(at).copied(),
            |row| self.energy(row),
        )
    }

    /// Compares all rows that are in no graph; of the first of them, where nothing is known that excludes others, the most
    /// promising before the others.
    fn scan_tail(&self, pass: &mut Pass<'a>) -> Result<()> {
        let coded = self.index.tail.rows();
        let whole = self.count - self.count % BLOCK_ROWS;
        let from = self.index.indexed;
        let first_block = from.max(coded.start) / BLOCK_ROWS * BLOCK_ROWS;
        for first in (first_block..whole).step_by(BLOCK_ROWS as usize) {
            let number = |at| Some(first + at as u32).filter(|row| *row >= from);
            match self.block(first) {
                Some(block) if pass.is_full() => {
                    pass.compare(&block.codes(), number, |row| self.energy(row))?;
                }
                Some(block) => {
                    pass.find(&block.codes(), number);
                    if pass.has_found_enough() {
                        self.offer_found(pass)?;
                    }
                }
                None => (first.max(from)..first + BLOCK_ROWS)
                    .try_for_each(|row| self.compare_plainly(row, pass))?,
            }
        }
        self.offer_found(pass)?;
        (whole.max(from)..self.count).try_for_each(|row| self.compare_plainly(row, pass))
    }

    /// Compares the rows that may pass the filter.
    fn scan_matches(&self, pass: &mut Pass<'a>) -> Result<()> {
        let Some(matches) = &self.matches else {
            return Ok(());
        };
        for one in &self.index.graphs {
            let covered = one.graph.covered();
            let rows = matches.range(covered.first..covered.end);
            let codes = one.graph.codes();
            match codes.filter(|_| self.reader.lsn() >= covered.horizon) {
                Some(matrix) => {
                    let codes = matrix.codes();
                    self.gather(rows, |row| codes.row(matrix.slot(row)?), pass)?;
                }
                None => {
                    for row in rows {
                        self.compare_plainly(row, pass)?;
                    }
                }
            }
        }
        let whole = self.count - self.count % BLOCK_ROWS;
        let code = |row| {
            let block = (row < whole).then(|| self.block(row))??;
            block.code_of(row)
        };
        self.gather(matches.range(self.index.indexed..), code, pass)
    }

    /// Compares rows that stand anywhere by their codes, and those that have none as they are.
    fn gather<'c>(
        &self,
        rows: impl Iterator<Item = u32>,
        code: impl Fn(u32) -> Option<(&'c [i8], Measure)>,
        pass: &mut Pass<'a>,
    ) -> Result<()> {
        let mut gathered = Gathered::default();
        for row in rows {
            match code(row) {
                Some(code) => {
                    gathered.fetch(row, code);
                    if gathered.is_enough() {
                        pass.compare_each(&mut gathered);
                        if pass.has_found_enough() {
                            self.offer_found(pass)?;
                        }
                    }
                }
                None => self.compare_plainly(row, pass)?,
            }
        }
        pass.compare_each(&mut gathered);
        self.offer_found(pass)
    }

    fn offer_found(&self, pass: &mut Pass<'a>) -> Result<()> {
        pass.offer_found(|row| self.rows.prefetch(row), |row| self.energy(row))
    }

    /// Offers what a graph has near each query; whether enough of it counted. Where `filtered`, the
    /// graph is walked until it has found nodes that match.
    fn walk_graph(&self, graph: &Graph, filtered: bool, pass: &mut Pass<'a>) -> Result<bool> {
        if self.reader.lsn() < graph.covered().horizon {
            self.scan_graph(graph, pass)?;
            return Ok(true);
        }
        let mut found = Vec::new();
        for sieve in &mut pass.sieves {
            let ended = if filtered {
                let mut left = self.count / MOST_ASKED_PARTS;
                let passes = |row: u32| {
                    left = left.checked_sub(1)?;
                    Some(match &self.matches {
                        Some(matches) => matches.contains(row),
                        None => matches!(self.energy(row), Ok(Some(_))),
                    })
                };
                graph.search(&sieve.code, self.ef, passes, &mut found)?
            } else {
                graph.search(&sieve.code, self.ef, |_| Some(true), &mut found)?
            };
            if !ended {
                return Ok(false);
            }
            pass.codes_compared += found.len() as u64;
            for near in &found {
                self.rows.prefetch(near.row);
            }
            let before = sieve.checked();
            let mut counted = 0;
            for near in &found {
                sieve.offer(near.row, (near.similarity, near.off), |row| {
                    let energy = self.energy(row)?;
                    counted += u64::from(energy.is_some());
                    Ok(energy)
                })?;
            }
            let refused = sieve.checked() - before - counted;
            if !filtered && refused > counted / MOST_REFUSED_PARTS {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The codes of the block that `row` is in.
    fn block(&self, row: u32) -> Option<&Block> {
        let rows = (self.table, &self.rows);
        self.reader.block(rows, &self.index.tail, row)
    }

    /// Compares a row that has no code.
    fn compare_plainly(&self, row: u32, pass: &mut Pass<'a>) -> Result<()> {
        let Some(found) = self.rows.visible(row) else {
            return Ok(());
        };
        let Some(energy) = self.energy_of(&found)? else {
            return Ok(());
        };
        let Some(stored) = self.reader.vector(self.table, &found)? else {
            return Ok(());
        };
        for sieve in &mut pass.sieves {
            let similarity = sieve.query.similarity(stored.vector, stored.inverse_norm);
            sieve.offer(row, (similarity, 0.0), |_| Ok(Some(energy)))?;
        }
        Ok(())
    }

    /// The energy of a row, as far as scores ask for it; `None` where the row is not visible or
    /// does not pass the filter.
    fn energy(&self, row: u32) -> Result<Option<f32>> {
        match self.rows.visible(row) {
            Some(row) => self.energy_of(&row),
            None => Ok(None),
        }
    }

    fn energy_of(&self, row: &Visited<'_>) -> Result<Option<f32>> {
        if self.damaged.borrow().contains(row.number) {
            return Ok(None);
        }
        let passes = match &self.matches {
            Some(matches) if !matches.contains(row.number) => false,
            Some(_) if self.trusting && row.unchanged() && !self.filter.asks_validity(row) => {
                self.reader.passes_columns(&self.filter, row)
            }
            _ => self.reader.passes(&self.filter, row)?,
        };
        if !passes {
            return Ok(None);
        }
        Ok(Some(match (&self.scoring, &self.decay) {
            (Scoring::Weighted(_), Some(decay)) => row.values().energy(decay, self.reader.now),
            _ => 0.0,
        }))
    }

    /// Whether a row that was found passes the filter when nothing is believed.
    pub(super) fn passes_now(&self, row: u32) -> Result<bool> {
        match self.rows.visible(row) {
            Some(row) => self.reader.passes(&self.filter, &row),
            None => Ok(true),
        }
    }

    /// Compares exactly what came through the sieves; and how many rows that were.
    pub(super) fn compare(&self, sieves: &mut [Sieve<'a>]) -> Result<(Vec<Vec<Candidate>>, u64)> {
        let mut compared = 0;
        let best = sieves
            .iter_mut()
            .map(|sieve| {
                let (best, exactly) = sieve.finish(|row| self.compared(row))?;
                compared += exactly;
                Ok(best)
            })
            .collect::<Result<_>>()?;
        Ok((best, compared))
    }

    fn compared(&self, row: u32) -> Result<Option<Compared<'a>>> {
        let Some(row) = self.rows.visible(row) else {
            return Ok(None);
        };
        let Some(stored) = self.reader.vector(self.table, &row)? else {
            self.leave_out(row.number);
            return Ok(None);
        };
        Ok(Some(Compared {
            vector: stored.vector,
            inverse_norm: stored.inverse_norm,
            id: row.row.id,
        }))
    }

    /// Notes a row that was taken for one of the best and cannot be read: it has kept others out, so
    /// that the search is to be repeated without it.
    fn leave_out(&self, row: u32) {
        self.damaged.borrow_mut().insert(row);
        self.lacking.set(true);
    }

    /// The results; `None` if one of them does not have the traits that it was believed to have, or
    /// is damaged.
    pub(super) fn hits<T>(
        &self,
        candidates: Vec<Vec<Candidate>>,
        read: &impl Fn(&Visited<'_>) -> Result<Option<T>>,
        passes: &impl Fn(&T) -> bool,
    ) -> Result<Option<Vec<Vec<Hit<T>>>>> {
        let mut all = Vec::with_capacity(candidates.len());
        for best in candidates {
            let mut hits = Vec::with_capacity(best.len());
            for candidate in best {
                let Some(row) = self.rows.visible(candidate.row) else {
                    continue;
                };
                let Some(item) = read(&row)? else {
                    self.leave_out(row.number);
                    continue;
                };
                if !passes(&item) {
                    return Ok(None);
                }
                hits.push(Hit {
                    item,
                    similarity: candidate.similarity,
                    score: candidate.score,
                });
            }
            all.push(hits);
        }
        Ok((!self.lacking.take()).then_some(all))
    }
}

/// Where more than one in five of a graph's results does not count (dead, archived, expired), the
/// graph is asked again for such as do.
const MOST_REFUSED_PARTS: u64 = 4;

/// A filtered walk that asks about more than a quarter of the rows costs more than their scan: it is
/// given up.
const MOST_ASKED_PARTS: u32 = 4;
