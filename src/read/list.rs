//! How is a collective listed piece by piece?
//!
//! By keys, never by offsets. Rows stand in the order of (time, id), because the committer gives both
//! in commit order; so a page starts with one seek and reads on from there, and page n costs what
//! page 1 costs.

use crate::{
    error::{PulseDBError, Result},
    model::{
        CollectiveId, Direction, Experience, ExperienceId, OrderBy, Page, PageCursor, PageResult,
        SearchFilter, Timestamp, limits::MAX_PAGE_LIMIT,
    },
    read::{filter::Compiled, merged, reader::Reader},
    state::{Table, Visited},
};

/// One page of a collective.
pub fn page(
    reader: &Reader,
    collective: CollectiveId,
    page: &Page,
) -> Result<PageResult<Experience>> {
    let from_rows = rows_page(reader, collective, page)?;
    match &reader.overlay {
        None => Ok(from_rows),
        Some(overlay) => merged::page(reader, overlay, collective, page, from_rows),
    }
}

fn rows_page(
    reader: &Reader,
    collective: CollectiveId,
    page: &Page,
) -> Result<PageResult<Experience>> {
    check_limit("limit", page.limit)?;
    if let (Some(from), Some(to)) = (page.from, page.to)
        && from > to
    {
        return Err(PulseDBError::validation(
            "to",
            to,
            format!("it must not be before from ({from})"),
        ));
    }
    let table = reader.table(collective)?;
    let rows = bounds(table, page);
    let mut walk = Walk {
        reader,
        table,
        filter: Compiled::new(&page.filter, table)?.hiding(reader.hidden(table)),
        // One more than asked for tells whether there is a next page.
        limit: page.limit + 1,
        items: Vec::new(),
        failure: None,
    };
    match page.direction {
        Direction::Ascending => table.for_each_from(rows.start, reader.lsn(), |row| {
            row.number < rows.end && walk.take(&row)
        }),
        Direction::Descending => table.for_each_below(rows.end, reader.lsn(), |row| {
            row.number >= rows.start && walk.take(&row)
        }),
    }
    let mut items = walk.finish()?;
    let next = (items.len() > page.limit).then(|| {
        items.truncate(page.limit);
        items.last().map(|last| PageCursor {
            timestamp: last.timestamp,
            id: last.id,
        })
    });
    Ok(PageResult {
        items,
        next: next.flatten(),
    })
}

/// The newest `limit` experiences, newest first.
pub fn recent(
    reader: &Reader,
    collective: CollectiveId,
    limit: usize,
    filter: &SearchFilter,
) -> Result<Vec<Experience>> {
    let wanted = Page {
        order_by: OrderBy::Time,
        direction: Direction::Descending,
        limit,
        filter: filter.clone(),
        ..Page::default()
    };
    page(reader, collective, &wanted).map(|page| page.items)
}

/// Row numbers that a page may come from.
fn bounds(table: &Table, page: &Page) -> std::ops::Range<u32> {
    let from = page.from.map_or(0, |from| table.seek(from, 0));
    let to = page.to.map_or(u32::MAX, |to| table.seek(to, 0));
    match (page.after, page.direction) {
        (None, _) => from..to,
        (Some(after), Direction::Ascending) => {
            let behind = seek(table, after.timestamp, after.id, 1);
            from.max(behind)..to
        }
        (Some(after), Direction::Descending) => {
            let before = seek(table, after.timestamp, after.id, 0);
            from..to.min(before)
        }
    }
}

fn seek(table: &Table, timestamp: Timestamp, id: ExperienceId, behind: u128) -> u32 {
    table.seek(timestamp, id.as_u128().saturating_add(behind))
}

struct Walk<'a> {
    reader: &'a Reader,
    table: &'a Table,
    filter: Compiled<'a>,
    limit: usize,
    items: Vec<Experience>,
    failure: Option<PulseDBError>,
}

impl Walk<'_> {
    /// Adds the row if it passes; whether to go on.
    fn take(&mut self, row: &Visited<'_>) -> bool {
        if let Err(error) = self.consider(row) {
            self.failure = Some(error);
        }
        self.failure.is_none() && self.items.len() < self.limit
    }

    fn consider(&mut self, row: &Visited<'_>) -> Result<()> {
        if !self.reader.passes(&self.filter, row)? {
            return Ok(());
        }
        self.items.extend(self.reader.assemble(self.table, row)?);
        Ok(())
    }

    fn finish(self) -> Result<Vec<Experience>> {
        match self.failure {
            Some(error) => Err(error),
            None => Ok(self.items),
        }
    }
}

fn check_limit(field: &str, limit: usize) -> Result<()> {
    if limit == 0 || limit > MAX_PAGE_LIMIT {
        return Err(PulseDBError::validation(
            field,
            limit,
            format!("it must be in 1..={MAX_PAGE_LIMIT}"),
        ));
    }
    Ok(())
}
