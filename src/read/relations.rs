//! How do experiences hang together?
//!
//! A relation is there as long as its own row and both of its ends are visible, so that whoever asks for
//! relations never meets one that leads nowhere. What is asked of one experience costs as much as it has
//! relations ([`crate::state::adjacency`]). Those that a transaction has stored itself come behind those of
//! the snapshot: they are newer.

use std::collections::{HashSet, VecDeque};

use roaring::RoaringBitmap;

use crate::{
    error::{PulseDBError, Result},
    format::{RelationRecord, RowKind},
    model::{
        CollectiveId, Experience, ExperienceId, ExperienceRelation, Neighbour, NewRelation, Page,
        PageCursor, PageResult, RelatedExperience, RelationDirection, RelationFilter, RelationId,
        RelationType,
        limits::{MAX_NEIGHBOURHOOD, MAX_NEIGHBOURHOOD_DEPTH, MAX_PAGE_LIMIT},
    },
    read::{list, merged, reader::Reader},
    state::{Row, Rows, Table, Visited, adjacency::Edge, body},
    sync::Arc,
};

/// The relation with this id, if it is there.
pub fn relation(reader: &Reader, id: RelationId) -> Result<Option<ExperienceRelation>> {
    Ok(stored(reader, id)?.filter(|relation| has_both_ends(reader, relation)))
}

/// The relation with this id, also where an end of it has expired.
pub fn stored(reader: &Reader, id: RelationId) -> Result<Option<ExperienceRelation>> {
    let overlay = reader.overlay.as_ref();
    let found = match overlay.and_then(|own| own.relation(id)) {
        Some(own) => Some(own.clone()),
        None => in_snapshot(reader, id)?,
    };
    // Those of an experience go with it.
    let deleted = |end| overlay.is_some_and(|own| own.has_deleted(end));
    Ok(found.filter(|relation| !deleted(relation.source_id) && !deleted(relation.target_id)))
}

fn in_snapshot(reader: &Reader, id: RelationId) -> Result<Option<ExperienceRelation>> {
    let mut found = Ok(None);
    let point = reader.point();
    point.with_row_of(RowKind::Relation, id.as_u128(), |table, row| {
        if !reader.conceals(table, row) {
            found = record(reader, row).map(|record| Some(assemble(row.row, record)));
        }
    });
    found
}

/// Whether both ends of a relation are there.
pub fn has_both_ends(reader: &Reader, relation: &ExperienceRelation) -> bool {
    reader.locate(relation.source_id).is_ok() && reader.locate(relation.target_id).is_ok()
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
    let from_rows = match experiences.of_kind(RowKind::Relation) {
        None => list::empty(page)?,
        Some(table) => {
            let rows = experiences.rows(reader.lsn());
            let shows = |row| rows.visible(row).is_some_and(|row| reader.shows(&row));
            list::page_of(reader, table, page, &|row| {
                let Some(record) = Reader::unless_damaged(record(reader, row))? else {
                    return Ok(None);
                };
                let both = shows(record.source.row) && shows(record.target.row);
                Ok(both.then(|| assemble(row.row, record)))
            })?
        }
    };
    let Some(overlay) = &reader.overlay else {
        return Ok(from_rows);
    };
    let own = overlay
        .relations(collective)
        .filter(|relation| has_both_ends(reader, relation));
    merged::page(
        page,
        from_rows,
        own.map(|own| Ok(own.clone())),
        |relation| PageCursor {
            timestamp: relation.created_at,
            id: ExperienceId::from_u128(relation.id.as_u128()),
        },
    )
}

/// An experience, and its row, unless a transaction has recorded it.
#[derive(Clone, Copy)]
pub struct Node {
    /// Its id.
    pub id: ExperienceId,
    /// Where it stands in the snapshot.
    pub row: Option<u32>,
}

/// A relation of an experience, and what is at its other end.
struct Step<'r> {
    link: Link<'r>,
    other: Node,
}

enum Link<'r> {
    /// Of the snapshot, with the row that says that it is there.
    Stored(Edge, Visited<'r>),
    /// A transaction's own.
    Own(&'r ExperienceRelation),
}

impl Link<'_> {
    fn id(&self) -> RelationId {
        match self {
            Self::Stored(_, row) => RelationId::from_u128(row.row.id),
            Self::Own(own) => own.id,
        }
    }
}

fn passes(
    filter: &RelationFilter,
    outgoing: bool,
    relation_type: RelationType,
    strength: f32,
) -> bool {
    let direction = match filter.direction {
        RelationDirection::Outgoing => outgoing,
        RelationDirection::Incoming => !outgoing,
        RelationDirection::Both => true,
    };
    direction
        && (filter.types.is_empty() || filter.types.contains(&relation_type))
        && filter.min_strength.is_none_or(|min| strength >= min)
}

/// The relation that says the same already, if there is one.
///
/// # Errors
/// `NotFound` where an end is not there.
pub fn between(reader: &Reader, new: &NewRelation) -> Result<Option<RelationId>> {
    let (around, source) = Around::new(reader, new.source_id)?;
    let (_, row) = reader.locate(new.target_id)?;
    let target = Node {
        id: new.target_id,
        row,
    };
    let (from, to, direction) = if around.degree(source) <= around.degree(target) {
        (source, target, RelationDirection::Outgoing)
    } else {
        (target, source, RelationDirection::Incoming)
    };
    let filter = RelationFilter {
        direction,
        types: vec![new.relation_type],
        ..RelationFilter::default()
    };
    let known = around
        .steps(from, &filter)
        .find(|step| step.other.id == to.id);
    Ok(known.map(|step| step.link.id()))
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
        let experience = around.experience(step.other)?;
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

/// The relations of these experiences of one collective that pass the filter, in the order of the experiences,
/// each once; as many as the filter allows together. The experiences are there: the reader has shown them.
pub fn among(
    reader: &Reader,
    experiences: &Arc<Table>,
    nodes: impl Iterator<Item = Node>,
    filter: &RelationFilter,
) -> Result<Vec<ExperienceRelation>> {
    check(filter)?;
    let around = Around::of(reader, experiences);
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for node in nodes {
        let left = filter.limit - found.len();
        if left == 0 {
            break;
        }
        // Those that were met already may come again.
        let most = (left + seen.len()).min(MAX_PAGE_LIMIT);
        for step in around.steps(node, filter).take(most) {
            if found.len() < filter.limit
                && let Some(relation) = whole(reader, node.id, &step)?
                && seen.insert(relation.id)
            {
                found.push(relation);
            }
        }
    }
    Ok(found)
}

/// What `make` makes of the relations of an experience that pass the filter, oldest first.
fn each<T>(
    reader: &Reader,
    id: ExperienceId,
    filter: &RelationFilter,
    mut make: impl FnMut(&Around<'_>, &Step<'_>, ExperienceRelation) -> Result<Option<T>>,
) -> Result<Vec<T>> {
    check(filter)?;
    let (around, from) = Around::new(reader, id)?;
    let steps = around.steps(from, filter).take(filter.limit);
    let (_, most) = steps.size_hint();
    let mut made = Vec::with_capacity(most.unwrap_or_default());
    for step in steps {
        if let Some(relation) = whole(reader, id, &step)? {
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
    let (around, start) = Around::new(reader, id)?;
    let mut seen = HashSet::from([id]);
    let mut waiting = VecDeque::from([(start, 0)]);
    while let Some((from, distance)) = waiting.pop_front() {
        if distance == depth {
            break;
        }
        for step in around.steps(from, &filter) {
            if !seen.insert(step.other.id) {
                continue;
            }
            found.push(Neighbour {
                experience_id: step.other.id,
                depth: distance + 1,
                from: from.id,
                relation_id: step.link.id(),
            });
            if found.len() == MAX_NEIGHBOURHOOD {
                return Ok(found);
            }
            waiting.push_back((step.other, distance + 1));
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
    /// Where a relation was ever committed: the rows, and which of them a transaction has deleted.
    relations: Option<(Rows, Option<&'a RoaringBitmap>)>,
}

impl<'a> Around<'a> {
    /// The collective of an experience, and where that stands.
    fn new(reader: &'a Reader, id: ExperienceId) -> Result<(Self, Node)> {
        // The list is on its way from memory while the row is looked at.
        if let Some(at) = reader.ids.get(id.as_u128())
            && let Some(table) = reader.view.tables.get(at.collective)
        {
            table.adjacency.prefetch(at.row);
        }
        let (experiences, row) = reader.locate(id)?;
        Ok((Self::of(reader, experiences), Node { id, row }))
    }

    fn of(reader: &'a Reader, experiences: &'a Arc<Table>) -> Self {
        let relations = experiences.of_kind(RowKind::Relation);
        Self {
            reader,
            experiences,
            rows: experiences.rows(reader.lsn()),
            relations: relations.map(|table| (table.rows(reader.lsn()), reader.hidden(table))),
        }
    }

    /// The relations of an experience that pass the filter, oldest first.
    fn steps<'r>(&'r self, from: Node, filter: &RelationFilter) -> impl Iterator<Item = Step<'r>> {
        self.stored(from, filter).chain(self.own(from, filter))
    }

    fn stored<'r>(&'r self, from: Node, filter: &RelationFilter) -> impl Iterator<Item = Step<'r>> {
        let relations = self.relations.as_ref();
        let row = from.row.filter(|_| relations.is_some());
        let edges = row.map(|row| self.experiences.adjacency.edges(row));
        let edges = edges.unwrap_or_default();
        if let Some((relations, _)) = relations {
            for edge in &edges {
                relations.prefetch(edge.relation);
                self.rows.prefetch(edge.other);
            }
        }
        edges
            .into_iter()
            .filter(|edge| passes(filter, edge.outgoing, edge.relation_type, edge.strength))
            .filter_map(move |edge| {
                let (relations, hidden) = relations?;
                if hidden.is_some_and(|rows| rows.contains(edge.relation)) {
                    return None;
                }
                let other = self.rows.visible(edge.other)?;
                let relation = relations.visible(edge.relation)?;
                self.reader.shows(&other).then(|| Step {
                    link: Link::Stored(edge, relation),
                    other: Node {
                        id: ExperienceId::from_u128(other.row.id),
                        row: Some(edge.other),
                    },
                })
            })
    }

    fn own<'r>(&'r self, from: Node, filter: &RelationFilter) -> impl Iterator<Item = Step<'r>> {
        let overlay = self.reader.overlay.iter();
        overlay
            .flat_map(move |own| own.relations_at(from.id))
            .filter_map(move |own| {
                let outgoing = own.source_id == from.id;
                if !passes(filter, outgoing, own.relation_type, own.strength) {
                    return None;
                }
                let id = if outgoing {
                    own.target_id
                } else {
                    own.source_id
                };
                let (_, row) = self.reader.locate(id).ok()?;
                Some(Step {
                    link: Link::Own(own),
                    other: Node { id, row },
                })
            })
    }

    /// About how many relations an experience has.
    fn degree(&self, node: Node) -> usize {
        let overlay = self.reader.overlay.iter();
        let own = overlay.flat_map(|own| own.relations_at(node.id)).count();
        own + node
            .row
            .map_or(0, |row| self.experiences.adjacency.degree(row))
    }

    /// An experience at the other end; `None` where a record of it is damaged.
    fn experience(&self, node: Node) -> Result<Option<Experience>> {
        if let Some(own) = self.reader.touched(node.id) {
            let own = own.map(|own| merged::shown(self.reader, node.id, own));
            return Ok(own.transpose()?.flatten());
        }
        match node.row.and_then(|row| self.rows.visible(row)) {
            Some(row) => self.reader.assemble(self.experiences, &row),
            None => Ok(None),
        }
    }
}

/// The relation of the experience `id`; `None` where its record is damaged. Most of them have nothing in the log
/// that is not in memory.
#[inline]
fn whole(reader: &Reader, id: ExperienceId, step: &Step<'_>) -> Result<Option<ExperienceRelation>> {
    let (edge, row) = match &step.link {
        Link::Own(own) => return Ok(Some(ExperienceRelation::clone(own))),
        Link::Stored(edge, row) => (edge, row),
    };
    if edge.has_metadata {
        let record = Reader::unless_damaged(record(reader, row))?;
        return Ok(record.map(|record| assemble(row.row, record)));
    }
    let other = step.other.id;
    let (source_id, target_id) = if edge.outgoing {
        (id, other)
    } else {
        (other, id)
    };
    Ok(Some(ExperienceRelation {
        id: step.link.id(),
        source_id,
        target_id,
        relation_type: edge.relation_type,
        strength: edge.strength,
        metadata: None,
        created_at: row.row.time,
    }))
}

fn record(reader: &Reader, row: &Visited<'_>) -> Result<RelationRecord> {
    let segments = &reader.view.segments;
    let payload = body::payload(segments, row)?;
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
