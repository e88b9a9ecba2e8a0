//! How is a collective listed piece by piece?
//!
//! By keys, never by offsets: a piece starts behind a key, and the last one costs what the first one
//! costs. Where rows stand in the order asked for, a piece starts with one seek among them and reads on
//! from there; where they do not (`state::order`), an index names them. Bounds of the other key, and
//! the filter, are asked of each row.

use std::{
    cell::RefCell,
    collections::HashSet,
    ops::{Bound, Range, RangeBounds},
};

use crate::{
    error::{PulseDBError, Result},
    model::{
        CollectiveId, Direction, Experience, ExperienceId, OrderBy, Page, PageCursor, PageResult,
        SearchFilter, Timestamp, limits::MAX_PAGE_LIMIT,
    },
    read::{
        filter::{self, Compiled},
        merged,
        reader::Reader,
    },
    state::{
        Table, Visited,
        order::{Key, Span},
    },
};

/// Bytes of records after which a piece of a stream ends: what a stream holds in memory.
const PIECE_BYTES: u64 = 1024 * 1024;
/// Rows after which it ends, whether they pass the filter or not: some milliseconds of a reader's thread.
const PIECE_ROWS: u64 = 16 * 1024;

/// One page of a collective.
pub fn page(
    reader: &Reader,
    collective: CollectiveId,
    page: &Page,
) -> Result<PageResult<Experience>> {
    let table = reader.table(collective)?;
    let damaged = Damaged::default();
    let read = |row: &Visited<'_>| reader.point().assemble(table, row).map(Some);
    let from_rows = page_of(reader, table, page, &damaged, &read)?;
    let Some(overlay) = &reader.overlay else {
        return Ok(from_rows);
    };
    let own = merged::experiences(reader, overlay, collective, &page.filter);
    let own = own.map(|own| own.map(|(whole, _)| whole));
    merged::page(page, from_rows, own, |whole| PageCursor {
        timestamp: whole.timestamp,
        id: whole.id,
    })
}

/// One page of a table, as `read` reads its rows.
///
/// # Errors
/// `Validation`, and those of `read`.
pub fn page_of<T>(
    reader: &Reader,
    table: &Table,
    page: &Page,
    damaged: &Damaged,
    read: Read<'_, T>,
) -> Result<PageResult<T>> {
    check(page)?;
    let budget = Budget {
        // One more than asked for tells whether there is a next page.
        items: page.limit + 1,
        bytes: u64::MAX,
        rows: u64::MAX,
    };
    let mut items = piece(reader, table, page, budget, (damaged, read))?.items;
    let next = (items.len() > page.limit).then(|| {
        items.truncate(page.limit);
        items.last().map(|(key, _)| *key)
    });
    Ok(PageResult {
        items: items.into_iter().map(|(_, item)| item).collect(),
        next: next.flatten(),
    })
}

/// A page of nothing.
///
/// # Errors
/// `Validation`.
pub fn empty<T>(page: &Page) -> Result<PageResult<T>> {
    check(page)?;
    filter::check(&page.filter)?;
    Ok(PageResult {
        items: Vec::new(),
        next: None,
    })
}

/// The ids of what an answer leaves out because a record of it is damaged.
pub type Damaged = RefCell<HashSet<u128>>;

/// How a row is read; `None` where it is not shown. What is damaged is left out.
type Read<'r, T> = &'r dyn Fn(&Visited<'_>) -> Result<Option<T>>;

/// The newest `limit` experiences, newest first.
pub fn recent(
    reader: &Reader,
    collective: CollectiveId,
    limit: usize,
    filter: &SearchFilter,
) -> Result<Vec<Experience>> {
    page(reader, collective, &newest(limit, filter)).map(|page| page.items)
}

/// What asks for the newest first.
pub fn newest(limit: usize, filter: &SearchFilter) -> Page {
    Page {
        direction: Direction::Descending,
        limit,
        filter: filter.clone(),
        ..Page::default()
    }
}

/// All that a page and its successors show, of one snapshot, piece by piece.
pub struct Listing {
    reader: Reader,
    collective: CollectiveId,
    page: Page,
    damaged: Damaged,
    ended: bool,
}

impl Listing {
    /// What `page` shows first; its limit bounds a piece.
    ///
    /// # Errors
    /// `NotFound`, `Validation`.
    pub fn new(reader: Reader, collective: CollectiveId, page: Page) -> Result<Self> {
        check(&page)?;
        Compiled::new(&page.filter, reader.table(collective)?)?;
        Ok(Self {
            reader,
            collective,
            page,
            damaged: Damaged::default(),
            ended: false,
        })
    }

    /// The next experiences, perhaps none; `None` when there are no more.
    ///
    /// # Errors
    /// What keeps the log from being read.
    pub fn next_piece(&mut self) -> Result<Option<Vec<Experience>>> {
        if self.ended {
            return Ok(None);
        }
        let budget = Budget {
            items: self.page.limit,
            bytes: PIECE_BYTES,
            rows: PIECE_ROWS,
        };
        let (reader, page) = (&self.reader, &self.page);
        let table = reader.table(self.collective)?;
        let read = |row: &Visited<'_>| reader.point().assemble(table, row).map(Some);
        let piece = piece(reader, table, page, budget, (&self.damaged, &read))?;
        let items = piece.items.into_iter().map(|(_, item)| item).collect();
        self.page.after = piece.next;
        self.ended = piece.next.is_none();
        Ok(Some(items))
    }

    /// Those that were left out so far, since a record of theirs is damaged.
    pub fn damaged(&self) -> &Damaged {
        &self.damaged
    }
}

/// After what a piece ends, whatever comes first; at least one row is looked at.
#[derive(Clone, Copy)]
struct Budget {
    items: usize,
    bytes: u64,
    rows: u64,
}

struct Piece<T> {
    items: Vec<(PageCursor, T)>,
    /// The last row that was looked at, where the budget ended the piece.
    next: Option<PageCursor>,
}

fn check(page: &Page) -> Result<()> {
    if page.limit == 0 || page.limit > MAX_PAGE_LIMIT {
        return Err(PulseDBError::validation(
            "limit",
            page.limit,
            format!("it must be in 1..={MAX_PAGE_LIMIT}"),
        ));
    }
    check_bounds(("from", "to"), &page.from, &page.to)?;
    check_bounds(("from_id", "to_id"), &page.from_id, &page.to_id)
}

fn check_bounds<T: Ord + std::fmt::Display>(
    (from_field, to_field): (&str, &str),
    from: &Bound<T>,
    to: &Bound<T>,
) -> Result<()> {
    if let (
        Bound::Included(from) | Bound::Excluded(from),
        Bound::Included(to) | Bound::Excluded(to),
    ) = (from, to)
        && from > to
    {
        return Err(PulseDBError::validation(
            to_field,
            to,
            format!("it must not be before {from_field} ({from})"),
        ));
    }
    Ok(())
}

fn piece<T>(
    reader: &Reader,
    table: &Table,
    page: &Page,
    budget: Budget,
    (damaged, read): (&Damaged, Read<'_, T>),
) -> Result<Piece<T>> {
    let mut walk = Walk {
        reader,
        table,
        page,
        filter: Compiled::new(&page.filter, table)?.hiding(reader.hidden(table)),
        budget,
        damaged,
        read,
        items: Vec::new(),
        last: None,
        outcome: Ok(false),
    };
    let span = behind(span(page, page.order_by), page);
    match table.numbers(page.order_by, &span) {
        Some(numbers) => walk.rows(within_other(table, page, numbers)),
        None => walk.sorted(&span),
    }
    Ok(Piece {
        next: walk.last.filter(|_| matches!(walk.outcome, Ok(true))),
        items: walk.outcome.map(|_| walk.items)?,
    })
}

/// The bounds of a page in one of the orders.
fn span(page: &Page, order: OrderBy) -> Span {
    match order {
        OrderBy::Time => time_span(page.from, page.to),
        OrderBy::Id => {
            let key = |id: ExperienceId| (Timestamp::default(), id.as_u128());
            (page.from_id.map(key), page.to_id.map(key))
        }
    }
}

/// The keys of these times, whatever the id.
pub fn time_span(from: Bound<Timestamp>, to: Bound<Timestamp>) -> Span {
    const LEAST: u128 = 0;
    const MOST: u128 = u128::MAX;
    let from = match from {
        Bound::Unbounded => Bound::Unbounded,
        Bound::Included(time) => Bound::Included((time, LEAST)),
        Bound::Excluded(time) => Bound::Excluded((time, MOST)),
    };
    let to = match to {
        Bound::Unbounded => Bound::Unbounded,
        Bound::Included(time) => Bound::Included((time, MOST)),
        Bound::Excluded(time) => Bound::Excluded((time, LEAST)),
    };
    (from, to)
}

/// What of a span is behind the cursor, in the page's direction.
fn behind((from, to): Span, page: &Page) -> Span {
    let Some(after) = page.after else {
        return (from, to);
    };
    let time = match page.order_by {
        OrderBy::Time => after.timestamp,
        OrderBy::Id => Timestamp::default(),
    };
    let key: Key = (time, after.id.as_u128());
    let tighter = |bound: Bound<Key>, is_tighter: fn(&Key, &Key) -> bool| match bound {
        Bound::Included(known) | Bound::Excluded(known) if is_tighter(&known, &key) => bound,
        _ => Bound::Excluded(key),
    };
    match page.direction {
        Direction::Ascending => (tighter(from, |known, key| known > key), to),
        Direction::Descending => (from, tighter(to, |known, key| known < key)),
    }
}

/// Those of the rows that the bounds of the key that is not sorted by leave, as far as rows stand in its
/// order.
fn within_other(table: &Table, page: &Page, numbers: Range<u32>) -> Range<u32> {
    let other = match page.order_by {
        OrderBy::Time => OrderBy::Id,
        OrderBy::Id => OrderBy::Time,
    };
    let span = span(page, other);
    if span == (Bound::Unbounded, Bound::Unbounded) {
        return numbers;
    }
    match table.numbers(other, &span) {
        Some(others) => numbers.start.max(others.start)..numbers.end.min(others.end),
        None => numbers,
    }
}

struct Walk<'a, T> {
    reader: &'a Reader,
    table: &'a Table,
    page: &'a Page,
    filter: Compiled<'a>,
    budget: Budget,
    damaged: &'a Damaged,
    read: Read<'a, T>,
    items: Vec<(PageCursor, T)>,
    last: Option<PageCursor>,
    /// Whether the budget is used up, or what went wrong.
    outcome: Result<bool>,
}

impl<T> Walk<'_, T> {
    /// Rows that stand in the order asked for.
    fn rows(&mut self, numbers: Range<u32>) {
        let lsn = self.reader.lsn();
        let table = self.table;
        match self.page.direction {
            Direction::Ascending => table.for_each_from(numbers.start, lsn, |row| {
                row.number < numbers.end && self.take(&row)
            }),
            Direction::Descending => table.for_each_below(numbers.end, lsn, |row| {
                row.number >= numbers.start && self.take(&row)
            }),
        }
    }

    /// Rows as the index names them.
    fn sorted(&mut self, span: &Span) {
        let rows = self.table.rows(self.reader.lsn());
        let mut after = None;
        loop {
            let Page {
                order_by,
                direction,
                ..
            } = *self.page;
            let places = self.table.sorted(order_by, span, direction, after);
            let Some(last) = places.last() else {
                return;
            };
            after = Some(*last);
            for (_, number) in places {
                if let Some(row) = rows.visible(number)
                    && !self.take(&row)
                {
                    return;
                }
            }
        }
    }

    /// Adds the row if it passes; whether to go on.
    fn take(&mut self, row: &Visited<'_>) -> bool {
        let key = PageCursor {
            timestamp: row.row.time,
            id: ExperienceId::from_u128(row.row.id),
        };
        self.last = Some(key);
        self.outcome = self.consider(key, row).map(|()| {
            self.budget.rows = self.budget.rows.saturating_sub(1);
            self.budget.rows == 0 || self.budget.bytes == 0 || self.items.len() >= self.budget.items
        });
        matches!(self.outcome, Ok(false))
    }

    fn consider(&mut self, key: PageCursor, row: &Visited<'_>) -> Result<()> {
        if !(self.page.from, self.page.to).contains(&key.timestamp)
            || !(self.page.from_id, self.page.to_id).contains(&key.id)
        {
            return Ok(());
        }
        // Known since the open.
        if row.row.kind.is_none() {
            self.damaged.borrow_mut().insert(row.row.id);
        }
        if !self.reader.passes(&self.filter, row)? {
            return Ok(());
        }
        let bytes = u64::from(row.row.frame_bytes);
        self.budget.bytes = self.budget.bytes.saturating_sub(bytes);
        match Reader::unless_damaged((self.read)(row))? {
            Some(item) => self.items.extend(item.map(|item| (key, item))),
            None => drop(self.damaged.borrow_mut().insert(row.row.id)),
        }
        Ok(())
    }
}
