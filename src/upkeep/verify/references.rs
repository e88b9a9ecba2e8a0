//! Do the records of a log fit each other?
//!
//! Pure: fed with the records in the order of their LSNs. What may be missing is what compaction may
//! drop: what was deleted, as long as the deletion is in the log or nothing of the victim is, and
//! values that were replaced below the retained LSN. Where damage took a record whose header cannot be
//! read, nobody knows what it was, and what seems missing from then on is not reported a second time.

use std::collections::{BTreeMap, HashMap, HashSet};

use roaring::RoaringBitmap;

use crate::{
    format::{FrameHeader, Record, RecordKind, RowKind, entity_of},
    model::{EntityId, Lsn, Timestamp, VectorEpoch},
};

use super::rows_of;

/// Something that does not fit.
pub(super) struct Fault {
    /// Which segment, by its place in the log.
    pub(super) segment: u32,
    /// Where in it.
    pub(super) offset: u64,
    /// What.
    pub(super) what: String,
    /// What the record is about.
    pub(super) entity: Option<EntityId>,
}

/// What lives in a collective.
pub(super) struct Living {
    /// Its number.
    pub(super) collective: u32,
    /// Its rows, by table.
    pub(super) rows: Vec<(u32, RoaringBitmap)>,
    /// The newest record of each agent that has not ended; `None` where one may be lost.
    pub(super) activities: Option<BTreeMap<String, Lsn>>,
}

/// Where a record stands.
type At = (u32, u64);

/// What is known of the rows of one table.
#[derive(Default)]
struct Rows {
    made: RoaringBitmap,
    dead: RoaringBitmap,
}

/// What is known of one collective.
#[derive(Default)]
struct Known {
    /// Components of its vectors; `None` as long as no definition was seen.
    dimension: Option<u16>,
    /// Which vectors those are.
    vectors: VectorEpoch,
    /// Bodies whose vectors are longer or shorter, as far as was known when they were met.
    odd: Vec<Odd>,
    deleted: bool,
    /// A definition was lost, and with it, perhaps, the rows before the next one.
    undefined: bool,
    /// The first record that wants a definition.
    wanted: Option<At>,
    /// The rows of its tables, by the table's number.
    rows: HashMap<u32, Rows>,
    /// The rows of the experiences at the ends of each relation.
    ends: HashMap<u32, (u32, u32)>,
    /// Rows without a body, and the first record that wants one.
    orphans: HashMap<u32, (At, Option<EntityId>)>,
    /// LSNs of the newest vitals and traits of rows that were changed.
    newest: HashMap<u32, (Lsn, Lsn)>,
    /// The newest record of each agent that has not ended.
    activities: BTreeMap<String, Lsn>,
    /// A record about an unknown agent is damaged.
    lost_activity: bool,
}

/// A body whose vector does not seem to fit its collective.
struct Odd {
    at: At,
    lsn: Lsn,
    dimension: u16,
    entity: Option<EntityId>,
}

/// What is known of the log so far.
pub(super) struct References {
    collectives: HashMap<u32, Known>,
    /// Numbers by id, so that no id has two.
    ids: HashMap<u128, u32>,
    retained_from: Lsn,
    last_lsn: Lsn,
    last_time: Option<Timestamp>,
    durable_upto: Lsn,
    /// Whether the last record closed its commit.
    closed: bool,
    /// A record was lost of which nothing is known.
    blind: bool,
    /// Numbers of rows whose newest values are not known.
    unsure: HashSet<(u32, u32)>,
}

impl References {
    /// Nothing seen yet; replaced values below `retained_from` may be missing.
    pub(super) fn new(retained_from: Lsn) -> Self {
        Self {
            collectives: HashMap::new(),
            ids: HashMap::new(),
            retained_from,
            last_lsn: Lsn::ZERO,
            last_time: None,
            durable_upto: Lsn::ZERO,
            closed: true,
            blind: false,
            unsure: HashSet::new(),
        }
    }

    /// LSN of the last record seen.
    pub(super) fn last_lsn(&self) -> Lsn {
        self.last_lsn
    }

    /// Whether it is unknown what was lost.
    pub(super) fn is_blind(&self) -> bool {
        self.blind
    }

    /// A record is damaged; the header is there if at least that is intact.
    pub(super) fn lost(&mut self, header: Option<&FrameHeader>) {
        let Some(header) = header else {
            self.blind = true;
            // The end of a commit may be lost, too.
            self.closed = true;
            return;
        };
        self.pass(header);
        let known = self.collectives.entry(header.collective).or_default();
        match header.kind {
            RecordKind::Collective => known.undefined = true,
            RecordKind::Body | RecordKind::Insight => {
                known.rows(header).made.insert(header.row);
            }
            RecordKind::Vitals | RecordKind::Traits => {
                self.unsure.insert((header.collective, header.row));
            }
            RecordKind::CollectiveDeleted => known.delete(),
            RecordKind::ExperienceDeleted
            | RecordKind::RelationDeleted
            | RecordKind::InsightDeleted => known.bury(header),
            // The tables do not show it: nobody knows what it stood between.
            RecordKind::Relation | RecordKind::Close => {}
            // Whose it was, the tables tell.
            RecordKind::Embedding | RecordKind::InsightEmbedding => {}
            RecordKind::Activity | RecordKind::ActivityEnded => known.lost_activity = true,
        }
    }

    fn pass(&mut self, header: &FrameHeader) {
        self.last_lsn = header.lsn;
        self.last_time = self.last_time.max(Some(header.time));
        self.durable_upto = self.durable_upto.max(header.durable_upto);
        self.closed = header.closes_commit;
    }

    /// An intact record at `offset` of segment number `segment`.
    pub(super) fn record(
        &mut self,
        segment: u32,
        offset: u64,
        header: &FrameHeader,
        record: &Record<'_>,
        report: &mut dyn FnMut(Fault),
    ) {
        let mut fault = |what: String| {
            report(Fault {
                segment,
                offset,
                what,
                entity: entity_of(header),
            });
        };
        if self.last_time.is_some_and(|last| header.time < last) {
            fault("it was committed before the record in front of it".to_owned());
        }
        if header.durable_upto < self.durable_upto {
            fault(format!(
                "it knows LSN {} as durable, a record before it LSN {}",
                header.durable_upto, self.durable_upto
            ));
        }
        self.pass(header);
        if header.kind == RecordKind::Close {
            return;
        }
        let number = header.collective;
        if number == 0 {
            fault("it belongs to no collective".to_owned());
            return;
        }
        let at = (segment, offset);
        let known = self.collectives.entry(number).or_default();
        if let Some(change) = match record {
            Record::Vitals(vitals) => Some((vitals.prev, true)),
            Record::Traits(traits) => Some((traits.prev, false)),
            _ => None,
        } {
            let sure = !self.blind && !self.unsure.contains(&(number, header.row));
            if let Some(what) = known.change(header, change, self.retained_from, sure) {
                fault(what);
            }
        }
        match record {
            Record::Collective(record) => {
                let id = self.ids.insert(header.entity, number);
                if id.is_some_and(|other| other != number) {
                    fault(format!("collective {number} has the id of another one"));
                }
                let dimension = record.collective.embedding_dimension;
                let vectors = &record.collective.vectors;
                match known.dimension.replace(dimension) {
                    Some(before) if before != dimension && known.vectors.epoch == vectors.epoch => {
                        fault(format!(
                            "the dimension changes from {before} to {dimension}"
                        ));
                    }
                    _ => {}
                }
                known.vectors = vectors.clone();
            }
            Record::CollectiveDeleted => {
                known.delete();
                // It may be given again, by an import.
                self.ids.remove(&header.entity);
            }
            Record::Body(_) | Record::Insight(_) => {
                if known.dimension.is_none() {
                    known.wanted.get_or_insert(at);
                }
                if known
                    .dimension
                    .is_some_and(|dimension| dimension != header.dimension)
                {
                    known.odd.push(Odd {
                        at,
                        lsn: header.lsn,
                        dimension: header.dimension,
                        entity: entity_of(header),
                    });
                }
                if !known.rows(header).made.insert(header.row) {
                    fault(twice(header));
                }
            }
            Record::Relation(relation) => {
                if !known.rows(header).made.insert(header.row) {
                    fault(twice(header));
                }
                let ends = (relation.source.row, relation.target.row);
                known.ends.insert(header.row, ends);
            }
            Record::Vitals(_) | Record::Traits(_) => {
                if !known.rows(header).made.contains(header.row) && !self.blind {
                    known
                        .orphans
                        .entry(header.row)
                        .or_insert((at, entity_of(header)));
                }
            }
            Record::ExperienceDeleted | Record::RelationDeleted | Record::InsightDeleted => {
                known.bury(header);
            }
            Record::Embedding { .. } | Record::Close => {}
            Record::Activity(activity) => {
                if known.dimension.is_none() {
                    known.wanted.get_or_insert(at);
                }
                if activity.started_at > activity.last_heartbeat {
                    fault("the agent was heard of before it began".to_owned());
                }
                known
                    .activities
                    .insert(activity.agent_id.clone(), header.lsn);
            }
            Record::ActivityEnded { agent_id } => {
                known.activities.remove(*agent_id);
            }
        }
    }

    /// A segment ends at `offset`.
    pub(super) fn end_of_segment(
        &mut self,
        segment: u32,
        offset: u64,
        report: &mut dyn FnMut(Fault),
    ) {
        if !self.closed {
            report(Fault {
                segment,
                offset,
                what: "the last commit of the segment has no end".to_owned(),
                entity: None,
            });
        }
        self.closed = true;
    }

    /// Everything was seen. Reports what was never found, and answers what lives, by collective.
    pub(super) fn finish(self, report: &mut dyn FnMut(Fault)) -> Vec<Living> {
        let mut living = Vec::new();
        for (number, known) in self.collectives {
            if known.deleted {
                continue;
            }
            if let Some((segment, offset)) = known.wanted
                && known.dimension.is_none()
                && !known.undefined
                && !self.blind
            {
                report(Fault {
                    segment,
                    offset,
                    what: format!("collective {number} has no definition"),
                    entity: None,
                });
            }
            // What was recorded before a re-embedding ended has a vector elsewhere.
            let odd = known.odd.iter().filter(|odd| {
                odd.lsn > known.vectors.since && known.dimension != Some(odd.dimension)
            });
            for odd in odd {
                report(Fault {
                    segment: odd.at.0,
                    offset: odd.at.1,
                    what: format!("the vector has {} components", odd.dimension),
                    entity: odd.entity.clone(),
                });
            }
            let mut orphans: Vec<_> = known.orphans.into_iter().collect();
            orphans.sort_unstable_by_key(|(_, (at, _))| *at);
            for (row, ((segment, offset), entity)) in orphans {
                report(Fault {
                    segment,
                    offset,
                    what: format!("row {row} of collective {number} has no body"),
                    entity,
                });
            }
            if known.dimension.is_some() && !known.undefined {
                let sure = !self.blind && !known.lost_activity;
                living.push(Living {
                    collective: number,
                    rows: rows_that_live(number, known.rows, &known.ends),
                    activities: sure.then_some(known.activities),
                });
            }
        }
        living.sort_unstable_by_key(|one| one.collective);
        living
    }
}

fn twice(header: &FrameHeader) -> String {
    let (row, rows) = (header.row, rows_of(header.table()));
    format!("row {row} of {rows} is there twice")
}

/// The rows of a collective that live, by table. A relation lives as long as both of its ends.
fn rows_that_live(
    number: u32,
    rows: HashMap<u32, Rows>,
    ends: &HashMap<u32, (u32, u32)>,
) -> Vec<(u32, RoaringBitmap)> {
    let mut living: HashMap<u32, RoaringBitmap> = rows
        .into_iter()
        .map(|(table, rows)| (table, rows.made - rows.dead))
        .collect();
    let experiences = living.entry(number).or_default().clone();
    if let Some(relations) = living.get_mut(&RowKind::Relation.table(number)) {
        for (relation, (source, target)) in ends {
            if !experiences.contains(*source) || !experiences.contains(*target) {
                relations.remove(*relation);
            }
        }
    }
    living.into_iter().collect()
}

impl Known {
    fn delete(&mut self) {
        *self = Self {
            deleted: true,
            ..Self::default()
        };
    }

    /// What is known of the table that the record's row stands in.
    fn rows(&mut self, header: &FrameHeader) -> &mut Rows {
        self.rows.entry(header.table()).or_default()
    }

    fn bury(&mut self, header: &FrameHeader) {
        self.rows(header).dead.insert(header.row);
        if header.kind == RecordKind::ExperienceDeleted {
            self.orphans.remove(&header.row);
            self.newest.remove(&header.row);
        }
    }

    /// New vitals or traits that name `prev` as those before them.
    fn change(
        &mut self,
        header: &FrameHeader,
        (prev, vitals): (Lsn, bool),
        retained_from: Lsn,
        sure: bool,
    ) -> Option<String> {
        let newest = self.newest.entry(header.row).or_default();
        let slot = if vitals { &mut newest.0 } else { &mut newest.1 };
        let before = std::mem::replace(slot, header.lsn);
        if prev >= header.lsn {
            return Some(format!("it replaces LSN {prev}, which is not before it"));
        }
        let dropped = before < prev && prev < retained_from;
        (sure && prev != before && !dropped)
            .then(|| format!("it replaces LSN {prev}, but the one before it is LSN {before}"))
    }
}
