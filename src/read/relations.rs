//! How do experiences hang together?
//!
//! A relation is there as long as its own row and both of its ends are visible, so that whoever asks for
//! relations never meets one that leads nowhere. What is asked of one experience costs as much as it has
//! relations ([`crate::state::adjacency`]).

use std::collections::{HashSet, VecDeque};

use crate::{
    error::{PulseDBError, Result},
    format::{RelationRecord, RowKind, collective_of},
    model::{
        CollectiveId, EntityKind, ExperienceId, ExperienceRelation, Neighbour, Page, PageResult,
        RelatedExperience, RelationDirection, RelationFilter, RelationId, RelationType,
        limits::{MAX_NEIGHBOURHOOD, MAX_NEIGHBOURHOOD_DEPTH, MAX_PAGE_LIMIT},
    },
    read::{list, reader::Reader},
    state::{Row, Rows, Table, Visited, adjacency::Edge, body},
    sync::Arc,
};

/// The relation with this id, if it is there.
pub fn relation(reader: &Reader, id: RelationId) -> Result<Option<ExperienceRelation>> {
    let mut found = Ok(None);
    let point = reader.point();
    point.with_row_of(RowKind::Relation, id.as_u128(), |table, row| {
        found = record(reader, row).map(|record| Some((table.number, record, *row.row)));
    });
    let Some((number, record, row)) = found? else {
        return Ok(None);
    };
    let Some(experiences) = reader.view.tables.get(collective_of(number)) else {
        return Ok(None);
    };
    let experiences = experiences.rows(reader.lsn());
    let there = |row| is_there(reader, &experiences, row);
    let both = there(record.source.row) && there(record.target.row);
    Ok(both.then(|| assemble(&row, record)))
}

/// One page of the relations of a collective.
///
/// # Errors
/// `Validation` for a page that asks for what relations do not have.
pub fn page(
    reader: &Reader,
    collective: CollectiveId,
    page: &Page,
) -> Result<PageResult<ExperienceRelation>> {
    if page.filter != Page::default().filter {
        return Err(PulseDBError::validation(
            "page.filter",
            "a filter of experiences",
            "relations have nothing of what it asks for; leave it as it is by default",
        ));
    }
    let experiences = reader.table(collective)?;
    let Some(table) = experiences.of_kind(RowKind::Relation) else {
        return list::empty(page);
    };
    let rows = experiences.rows(reader.lsn());
    list::page_of(reader, table, page, &|row| {
        let Some(record) = Reader::unless_damaged(record(reader, row))? else {
            return Ok(None);
        };
        let both = is_there(reader, &rows, record.source.row)
            && is_there(reader, &rows, record.target.row);
        Ok(both.then(|| assemble(row.row, record)))
    })
}

/// A relation of an experience, with the rows that say that it is there.
struct Step<'r> {
    edge: Edge,
    relation: Visited<'r>,
    other: Visited<'r>,
}

/// Those of the edges at an experience that pass the filter and lead somewhere, in their order.
fn steps<'r>(
    around: &'r Around<'_>,
    edges: Vec<Edge>,
    filter: &RelationFilter,
) -> impl Iterator<Item = Step<'r>> {
    for edge in &edges {
        around.relations.prefetch(edge.relation);
        around.rows.prefetch(edge.other);
    }
    edges
        .into_iter()
        .filter(|edge| {
            let direction = match filter.direction {
                RelationDirection::Outgoing => edge.outgoing,
                RelationDirection::Incoming => !edge.outgoing,
                RelationDirection::Both => true,
            };
            direction
                && (filter.types.is_empty() || filter.types.contains(&edge.relation_type))
                && filter.min_strength.is_none_or(|min| edge.strength >= min)
        })
        .filter_map(|edge| {
            let other = around.rows.visible(edge.other)?;
            Some(Step {
                edge,
                relation: around.relations.visible(edge.relation)?,
                other: (!around.reader.expired(&other)).then_some(other)?,
            })
        })
}

/// The experiences that have relations with this one that pass the filter, and the relations.
///
/// # Errors
/// `NotFound` where the experience is not there.
pub fn related(
    reader: &Reader,
    id: ExperienceId,
    filter: &RelationFilter,
) -> Result<Vec<RelatedExperience>> {
    each(reader, id, filter, |around, step, relation| {
        let experience = reader.assemble(around.experiences, &step.other)?;
        Ok(experience.map(|experience| RelatedExperience {
            relation,
            experience,
        }))
    })
}

/// The relations of an experience that pass the filter.
///
/// # Errors
/// `NotFound` where the experience is not there.
pub fn relations(
    reader: &Reader,
    id: ExperienceId,
    filter: &RelationFilter,
) -> Result<Vec<ExperienceRelation>> {
    each(reader, id, filter, |_, _, relation| Ok(Some(relation)))
}

/// What `make` makes of the relations of an experience that pass the filter, oldest first.
fn each<T>(
    reader: &Reader,
    id: ExperienceId,
    filter: &RelationFilter,
    mut make: impl FnMut(&Around<'_>, &Step<'_>, ExperienceRelation) -> Result<Option<T>>,
) -> Result<Vec<T>> {
    check(filter)?;
    let Some((around, row)) = Around::new(reader, id)? else {
        return Ok(Vec::new());
    };
    let edges = around.experiences.adjacency.edges(row);
    let mut made = Vec::with_capacity(edges.len().min(filter.limit));
    for step in steps(&around, edges, filter).take(filter.limit) {
        if let Some(relation) = Reader::unless_damaged(whole(reader, id, &step))? {
            made.extend(make(&around, &step, relation)?);
        }
    }
    Ok(made)
}

/// The experiences within `depth` relations of this one, whichever way they lead, nearest first.
///
/// # Errors
/// `NotFound` where the experience is not there, `Validation` for a depth out of range.
pub fn neighbourhood(
    reader: &Reader,
    id: ExperienceId,
    depth: usize,
    types: &[RelationType],
) -> Result<Vec<Neighbour>> {
    if !(1..=MAX_NEIGHBOURHOOD_DEPTH).contains(&depth) {
        return Err(PulseDBError::validation(
            "depth",
            depth,
            format!("it must be in 1..={MAX_NEIGHBOURHOOD_DEPTH}"),
        ));
    }
    let filter = RelationFilter {
        types: types.to_vec(),
        ..RelationFilter::default()
    };
    let mut found = Vec::new();
    let Some((around, start)) = Around::new(reader, id)? else {
        return Ok(found);
    };
    let mut seen = HashSet::from([start]);
    let mut waiting = VecDeque::from([(start, id, 0)]);
    while let Some((row, from, distance)) = waiting.pop_front() {
        if distance == depth {
            break;
        }
        let edges = around.experiences.adjacency.edges(row);
        for step in steps(&around, edges, &filter) {
            if !seen.insert(step.edge.other) {
                continue;
            }
            let experience_id = ExperienceId::from_u128(step.other.row.id);
            found.push(Neighbour {
                experience_id,
                depth: distance + 1,
                from,
                relation_id: RelationId::from_u128(step.relation.row.id),
            });
            if found.len() == MAX_NEIGHBOURHOOD {
                return Ok(found);
            }
            waiting.push_back((step.edge.other, experience_id, distance + 1));
        }
    }
    Ok(found)
}

/// Refuses a filter that cannot be meant.
pub fn check(filter: &RelationFilter) -> Result<()> {
    if filter.limit == 0 || filter.limit > MAX_PAGE_LIMIT {
        return Err(PulseDBError::validation(
            "limit",
            filter.limit,
            format!("it must be in 1..={MAX_PAGE_LIMIT}"),
        ));
    }
    match filter.min_strength {
        Some(min) if !(0.0..=1.0).contains(&min) => Err(PulseDBError::validation(
            "min_strength",
            min,
            "it must be in [0, 1]",
        )),
        _ => Ok(()),
    }
}

/// What the relations of one collective are read from.
struct Around<'a> {
    reader: &'a Reader,
    experiences: &'a Arc<Table>,
    rows: Rows,
    relations: Rows,
}

impl<'a> Around<'a> {
    /// The collective of an experience and its row; `None` where no relation was ever stored there.
    fn new(reader: &'a Reader, id: ExperienceId) -> Result<Option<(Self, u32)>> {
        let mut found = (0, 0);
        let point = reader.point();
        point.with_row(id, |table, row| found = (table.number, row.number))?;
        let (number, row) = found;
        let experiences = reader.view.tables.get(number);
        let experiences =
            experiences.ok_or_else(|| PulseDBError::not_found(EntityKind::Experience, id))?;
        let rows = experiences.rows(reader.lsn());
        let relations = experiences.of_kind(RowKind::Relation);
        Ok(relations.map(|relations| {
            let around = Self {
                reader,
                experiences,
                rows,
                relations: relations.rows(reader.lsn()),
            };
            (around, row)
        }))
    }
}

fn is_there(reader: &Reader, experiences: &Rows, row: u32) -> bool {
    experiences
        .visible(row)
        .is_some_and(|row| !reader.expired(&row))
}

/// The relation of the experience `id`. Most of them have nothing in the log that is not in memory.
fn whole(reader: &Reader, id: ExperienceId, step: &Step<'_>) -> Result<ExperienceRelation> {
    if step.edge.has_metadata {
        let record = record(reader, &step.relation)?;
        return Ok(assemble(step.relation.row, record));
    }
    let other = ExperienceId::from_u128(step.other.row.id);
    let (source_id, target_id) = if step.edge.outgoing {
        (id, other)
    } else {
        (other, id)
    };
    Ok(ExperienceRelation {
        id: RelationId::from_u128(step.relation.row.id),
        source_id,
        target_id,
        relation_type: step.edge.relation_type,
        strength: step.edge.strength,
        metadata: None,
        created_at: step.relation.row.time,
    })
}

fn record(reader: &Reader, row: &Visited<'_>) -> Result<RelationRecord> {
    const NO_VECTOR: u16 = 0;
    let segments = &reader.view.segments;
    let payload = body::payload(segments, row, NO_VECTOR)?;
    RelationRecord::decode(payload).map_err(|error| body::undecodable(segments, row, &error))
}

fn assemble(row: &Row, record: RelationRecord) -> ExperienceRelation {
    ExperienceRelation {
        id: RelationId::from_u128(row.id),
        source_id: ExperienceId::from_u128(record.source.id),
        target_id: ExperienceId::from_u128(record.target.id),
        relation_type: record.relation_type,
        strength: record.strength,
        metadata: record.metadata,
        created_at: row.time,
    }
}
