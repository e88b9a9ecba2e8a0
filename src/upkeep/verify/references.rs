//! Do the records of a log fit each other?
//!
//! Pure: fed with the records in the order of their LSNs. What may be missing is what compaction may
//! drop: what was deleted, as long as the deletion is in the log or nothing of the victim is, and
//! values that were replaced below the retained LSN. Where damage took a record whose header cannot be
//! read, nobody knows what it was, and what seems missing from then on is not reported a second time.

use std::collections::{HashMap, HashSet};

use roaring::RoaringBitmap;

use crate::{
    format::{FrameHeader, Record, RecordKind},
    model::{EntityId, Lsn, Timestamp},
};

use super::entity_of;

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

/// Where a record stands.
type At = (u32, u64);

/// What is known of one collective.
#[derive(Default)]
struct Known {
    /// Components of its vectors; `None` as long as no definition was seen.
    dimension: Option<u16>,
    deleted: bool,
    /// A definition was lost, and with it, perhaps, the rows before the next one.
    undefined: bool,
    /// The first record that wants a definition.
    wanted: Option<At>,
    bodies: RoaringBitmap,
    dead: RoaringBitmap,
    /// Rows without a body, and the first record that wants one.
    orphans: HashMap<u32, (At, Option<EntityId>)>,
    /// LSNs of the newest vitals and traits of rows that were changed.
    newest: HashMap<u32, (Lsn, Lsn)>,
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
            RecordKind::Body => {
                known.bodies.insert(header.row);
            }
            RecordKind::Vitals | RecordKind::Traits => {
                self.unsure.insert((header.collective, header.row));
            }
            RecordKind::CollectiveDeleted => known.delete(),
            RecordKind::ExperienceDeleted => known.bury(header.row),
            RecordKind::Close => {}
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
                match known.dimension.replace(dimension) {
                    Some(before) if before != dimension => {
                        fault(format!(
                            "the dimension changes from {before} to {dimension}"
                        ));
                    }
                    _ => {}
                }
            }
            Record::CollectiveDeleted => {
                known.delete();
                // It may be given again, by an import.
                self.ids.remove(&header.entity);
            }
            Record::Body(_) => {
                if known.dimension.is_none() {
                    known.wanted.get_or_insert(at);
                }
                if known
                    .dimension
                    .is_some_and(|dimension| dimension != header.dimension)
                {
                    fault(format!("the vector has {} components", header.dimension));
                }
                if !known.bodies.insert(header.row) {
                    fault(format!(
                        "row {} of collective {number} is there twice",
                        header.row
                    ));
                }
            }
            Record::Vitals(_) | Record::Traits(_) => {
                if !known.bodies.contains(header.row) && !self.blind {
                    known
                        .orphans
                        .entry(header.row)
                        .or_insert((at, entity_of(header)));
                }
            }
            Record::ExperienceDeleted => known.bury(header.row),
            Record::Close => {}
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

    /// Everything was seen. Reports what was never found, and answers the rows that live, by
    /// collective.
    pub(super) fn finish(self, report: &mut dyn FnMut(Fault)) -> Vec<(u32, RoaringBitmap)> {
        let mut rows = Vec::new();
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
                rows.push((number, known.bodies - known.dead));
            }
        }
        rows.sort_unstable_by_key(|(number, _)| *number);
        rows
    }
}

impl Known {
    fn delete(&mut self) {
        *self = Self {
            deleted: true,
            ..Self::default()
        };
    }

    fn bury(&mut self, row: u32) {
        self.dead.insert(row);
        self.orphans.remove(&row);
        self.newest.remove(&row);
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
