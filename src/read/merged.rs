//! How does a transaction's own writing get into its answers?
//!
//! Each answer of the snapshot, made without the rows that the transaction has touched, is merged with
//! its own versions of them, chosen and ordered by the same rules. So the answer is that of a database
//! which holds both.

use std::{cmp::Ordering, ops::RangeBounds};

use crate::{
    error::{PulseDBError, Result},
    model::{
        Collective, CollectiveId, Direction, EntityKind, Experience, ExperienceId, OrderBy, Page,
        PageCursor, PageResult, ScoreParts, SearchHit, SearchOptions,
    },
    read::{
        filter::admits,
        overlay::{Overlay, OwnExperience},
        rank::Candidate,
        reader::Reader,
        sieve::Scoring,
    },
    state::{RowRef, Table, Visited, body, replay},
    vector::similarity::Query,
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
    Ok((whole.collective_id, warmth(reader, &definition, &whole)))
}

fn warmth(reader: &Reader, definition: &Collective, whole: &Experience) -> f32 {
    let (applications, last) = (whole.applications(), whole.last_reinforced);
    let decay = &definition.decay;
    decay.energy(whole.importance, applications, last, reader.now)
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
    let touched = reader.overlay.as_ref().and_then(|own| own.experience(id));
    let (own, at) = match touched {
        None => in_snapshot(reader, id, with_traits)?,
        Some(own) => {
            let own = own.filter(|own| !own.values.expired(reader.now));
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
        .then(|| body::traits(segments, row, &values, table.dimension))
        .transpose()?;
    let own = OwnExperience {
        collective: CollectiveId::from_u128(table.id),
        recorded: None,
        inverse_norm: row.row.inverse_norm,
        values,
        traits,
    };
    let at = RowRef {
        collective: table.number,
        row: row.number,
    };
    Ok((own, Some(at)))
}

/// A page of the snapshot, together with what of its own belongs into it.
pub fn page(
    reader: &Reader,
    overlay: &Overlay,
    collective: CollectiveId,
    page: &Page,
    from_rows: PageResult<Experience>,
) -> Result<PageResult<Experience>> {
    let mut items = from_rows.items;
    let mut more = from_rows.next.is_some();
    let mut cut = |items: &mut Vec<Experience>| {
        items.sort_by(|a, b| in_order(page, a, b));
        more |= items.len() > page.limit;
        items.truncate(page.limit);
    };
    for (id, own) in overlay.experiences(collective) {
        let whole = shown(reader, id, own)?;
        items.extend(whole.filter(|whole| belongs(page, whole)));
        if items.len() > page.limit.saturating_mul(2) {
            cut(&mut items);
        }
    }
    cut(&mut items);
    let last = items.last().filter(|_| more);
    Ok(PageResult {
        next: last.map(|last| PageCursor {
            timestamp: last.timestamp,
            id: last.id,
        }),
        items,
    })
}

fn in_order(page: &Page, a: &Experience, b: &Experience) -> Ordering {
    let ascending = match page.order_by {
        OrderBy::Time => (a.timestamp, a.id).cmp(&(b.timestamp, b.id)),
        OrderBy::Id => a.id.cmp(&b.id),
    };
    match page.direction {
        Direction::Ascending => ascending,
        Direction::Descending => ascending.reverse(),
    }
}

/// Whether an experience belongs onto this page or one behind it.
fn belongs(page: &Page, whole: &Experience) -> bool {
    // Each field by name, so that a new one is not forgotten here.
    let Page {
        order_by,
        direction,
        limit: _,
        after,
        from,
        to,
        from_id,
        to_id,
        filter,
    } = page;
    let behind = after.is_none_or(|after| {
        let ascending = match order_by {
            OrderBy::Time => (whole.timestamp, whole.id).cmp(&(after.timestamp, after.id)),
            OrderBy::Id => whole.id.cmp(&after.id),
        };
        match direction {
            Direction::Ascending => ascending.is_gt(),
            Direction::Descending => ascending.is_lt(),
        }
    });
    behind
        && (*from, *to).contains(&whole.timestamp)
        && (*from_id, *to_id).contains(&whole.id)
        && admits(filter, whole)
}

/// The results of one query in the snapshot, together with what of its own is as good.
pub fn hits(
    reader: &Reader,
    overlay: &Overlay,
    collective: CollectiveId,
    query: &[f32],
    options: &SearchOptions,
    from_rows: Vec<SearchHit>,
) -> Result<Vec<SearchHit>> {
    let definition = reader.collective(collective)?;
    let scoring = Scoring::of(options, Some(&definition.decay));
    let query = Query::new(query);
    let mut hits = from_rows;
    for (id, own) in overlay.experiences(collective) {
        let Some(whole) = shown(reader, id, own)?.filter(|whole| admits(&options.filter, whole))
        else {
            continue;
        };
        let similarity = query.similarity(&whole.embedding, own.inverse_norm);
        let energy = warmth(reader, &definition, &whole);
        hits.push(SearchHit {
            score: scoring.score(similarity, energy),
            similarity,
            parts: ScoreParts::default(),
            experience: whole,
        });
        if hits.len() > options.k.saturating_mul(2) {
            best(&mut hits, options.k);
        }
    }
    best(&mut hits, options.k);
    Ok(hits)
}

fn best(hits: &mut Vec<SearchHit>, k: usize) {
    let rank = |hit: &SearchHit| Candidate {
        score: hit.score,
        similarity: hit.similarity,
        id: hit.experience.id.as_u128(),
        row: 0,
    };
    hits.sort_by_key(rank);
    hits.truncate(k);
}

/// Its own version of an experience, unless that has expired or is damaged.
fn shown(reader: &Reader, id: ExperienceId, own: &OwnExperience) -> Result<Option<Experience>> {
    if own.values.expired(reader.now) {
        return Ok(None);
    }
    Reader::unless_damaged(own.whole(id, reader))
}
