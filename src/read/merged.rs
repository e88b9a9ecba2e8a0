//! How does a transaction's own writing get into its answers?
//!
//! Each answer of the snapshot, made without the rows that the transaction has touched, is merged with
//! its own versions of them, chosen and ordered by the same rules. So the answer is that of a database
//! which holds both. Here: what one experience is, and how lists and results are merged, whatever is in
//! them; who makes an answer of the snapshot knows what of the overlay belongs to it.

use std::{cmp::Ordering, ops::RangeBounds};

use crate::{
    error::{PulseDBError, Result},
    model::{
        CollectiveId, Direction, EntityKind, Experience, ExperienceId, OrderBy, Page, PageCursor,
        PageResult, SearchFilter,
    },
    read::{
        filter::admits,
        overlay::{Overlay, OwnExperience},
        rank::Candidate,
        reader::Reader,
    },
    state::{RowRef, Table, Visited, body, replay},
};

/// One experience.
///
/// # Errors
/// `NotFound`; `Corrupted` where a record of it is damaged.
pub fn experience(reader: &Reader, id: ExperienceId) -> Result<Experience> {
    let (own, _) = present(reader, id, false)?;
    own.whole(id, reader)
}

/// How warm an experience is, and where it belongs.
///
/// # Errors
/// As [`experience`].
pub fn energy(reader: &Reader, id: ExperienceId) -> Result<(CollectiveId, f32)> {
    let whole = experience(reader, id)?;
    let definition = reader.collective(whole.collective_id)?;
    let energy = reader.energy(&whole, &definition.decay);
    Ok((whole.collective_id, energy))
}

/// What can change of one experience, its traits only if they are wanted, and its row where the
/// transaction has not touched it yet.
///
/// # Errors
/// `NotFound`; `Corrupted` where a record of what is wanted is damaged.
pub fn present(
    reader: &Reader,
    id: ExperienceId,
    with_traits: bool,
) -> Result<(OwnExperience, Option<RowRef>)> {
    let none = || PulseDBError::not_found(EntityKind::Experience, id);
    let (own, at) = match reader.touched(id) {
        None => in_snapshot(reader, id, with_traits)?,
        Some(own) => {
            let mut own = OwnExperience::clone(own.ok_or_else(none)?);
            if with_traits && own.traits.is_none() {
                own.traits = in_snapshot(reader, id, true)?.0.traits;
            }
            // Its row is hidden already.
            (own, None)
        }
    };
    // Its collective may be one that the transaction has deleted.
    reader.table(own.collective).map_err(|_| none())?;
    Ok((own, at))
}

fn in_snapshot(
    reader: &Reader,
    id: ExperienceId,
    with_traits: bool,
) -> Result<(OwnExperience, Option<RowRef>)> {
    let mut found = Err(PulseDBError::not_found(EntityKind::Experience, id));
    reader.point().with_row(id, |table, row| {
        found = of_row(reader, table, row, with_traits);
    })?;
    found
}

fn of_row(
    reader: &Reader,
    table: &Table,
    row: &Visited<'_>,
    with_traits: bool,
) -> Result<(OwnExperience, Option<RowRef>)> {
    let segments = &reader.view.segments;
    let values = row.values();
    if let Some(place) = values.damaged_place {
        return Err(replay::damage(segments, place));
    }
    let traits = with_traits
        .then(|| body::traits(segments, row, &values))
        .transpose()?;
    let own = OwnExperience {
        collective: CollectiveId::from_u128(table.id),
        recorded: None,
        // Where its vector cannot be read, nothing finds it.
        inverse_norm: body::vector(segments, row, table).map_or(0.0, |stored| stored.inverse_norm),
        values,
        traits,
    };
    let at = RowRef {
        collective: table.number,
        row: row.number,
    };
    Ok((own, Some(at)))
}

/// Its own versions of the experiences of a collective that pass a filter which was checked, by id, each
/// with 1 / ‖vector‖.
pub fn experiences(
    reader: &Reader,
    overlay: &Overlay,
    collective: CollectiveId,
    filter: &SearchFilter,
) -> impl Iterator<Item = Result<(Experience, f32)>> {
    overlay
        .experiences(collective)
        .filter_map(move |(id, own)| {
            let whole = shown(reader, id, own).transpose()?;
            let passes = |whole: &Experience| admits(filter, whole);
            whole
                .map(|whole| passes(&whole).then_some((whole, own.inverse_norm)))
                .transpose()
        })
}

/// Its own version of an experience, unless that has expired or is damaged.
pub fn shown(reader: &Reader, id: ExperienceId, own: &OwnExperience) -> Result<Option<Experience>> {
    if own.values.expired(reader.now) {
        return Ok(None);
    }
    Reader::unless_damaged(own.whole(id, reader))
}

/// A page of the snapshot, together with what of its own belongs into it; `own` passes the filter of the page.
pub fn page<T>(
    page: &Page,
    from_rows: PageResult<T>,
    own: impl Iterator<Item = Result<T>>,
    key: impl Fn(&T) -> PageCursor,
) -> Result<PageResult<T>> {
    let mut items = from_rows.items;
    let mut more = from_rows.next.is_some();
    let mut cut = |items: &mut Vec<T>| {
        items.sort_by(|a, b| in_order(page, &key(a), &key(b)));
        more |= items.len() > page.limit;
        items.truncate(page.limit);
    };
    for one in own {
        let one = one?;
        if belongs(page, &key(&one)) {
            items.push(one);
        }
        if items.len() > page.limit.saturating_mul(2) {
            cut(&mut items);
        }
    }
    cut(&mut items);
    let last = items.last().filter(|_| more);
    Ok(PageResult {
        next: last.map(&key),
        items,
    })
}

fn in_order(page: &Page, a: &PageCursor, b: &PageCursor) -> Ordering {
    let ascending = match page.order_by {
        OrderBy::Time => (a.timestamp, a.id).cmp(&(b.timestamp, b.id)),
        OrderBy::Id => a.id.cmp(&b.id),
    };
    match page.direction {
        Direction::Ascending => ascending,
        Direction::Descending => ascending.reverse(),
    }
}

/// Whether what has this key belongs onto this page or one behind it.
fn belongs(page: &Page, key: &PageCursor) -> bool {
    // Each field by name, so that a new one is not forgotten here.
    let Page {
        order_by: _,
        direction: _,
        limit: _,
        after,
        from,
        to,
        from_id,
        to_id,
        filter: _,
    } = page;
    after.is_none_or(|after| in_order(page, key, &after).is_gt())
        && (*from, *to).contains(&key.timestamp)
        && (*from_id, *to_id).contains(&key.id)
}

/// The best of the snapshot, together with what of its own is as good.
pub fn best<T>(
    k: usize,
    from_rows: Vec<T>,
    own: impl Iterator<Item = Result<T>>,
    rank: impl Fn(&T) -> Candidate,
) -> Result<Vec<T>> {
    let mut hits = from_rows;
    let cut = |hits: &mut Vec<T>| {
        hits.sort_by_key(&rank);
        hits.truncate(k);
    };
    for hit in own {
        hits.push(hit?);
        if hits.len() > k.saturating_mul(2) {
            cut(&mut hits);
        }
    }
    cut(&mut hits);
    Ok(hits)
}
