//! Who lives?
//!
//! Pure: fed with every readable record once, in any order of files; afterwards it says of each whether
//! it goes into the new database. What was deleted stays behind, and so does a change of something that
//! is lost. A collective whose definition is lost, or comes only behind the first of its experiences, gets
//! one in front: its next definition, or one with a made-up name.

use std::collections::HashMap;

use roaring::{RoaringBitmap, RoaringTreemap};

use crate::{
    format::{
        ActivityRecord, CollectiveRecord, FrameHeader, RecordKind, collective_of,
        decode_activity_end, payload_crc,
    },
    model::{Collective, CollectiveId, DecayConfig, Lsn, Precisions, Timestamp, VectorEpoch},
};

/// What is known of one collective.
#[derive(Default)]
struct Known {
    id: Option<u128>,
    /// Its first readable definition.
    definition: Option<(FrameHeader, Vec<u8>)>,
    /// Its first record that is not a definition.
    first_use: Option<(Lsn, Timestamp)>,
    /// Components of its vectors, as its bodies say.
    dimension: u16,
    deleted: bool,
    /// Rows that were made, and rows that are dead, by table.
    made: HashMap<u32, RoaringBitmap>,
    dead: HashMap<u32, RoaringBitmap>,
    /// The newest record of each agent, and whether it ends the activity.
    agents: HashMap<String, (Lsn, bool)>,
}

impl Known {
    /// Whether it will have a definition, be it a made-up one.
    fn is_there(&self) -> bool {
        self.definition.is_some() || self.is_worth_defining()
    }

    /// Whether something is in it that has to stand behind its definition. None is made up for what
    /// agents do alone.
    fn needs_definition(&self) -> bool {
        self.is_worth_defining() || (self.definition.is_some() && !self.agents.is_empty())
    }
}

/// What becomes of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// It is taken.
    Taken,
    /// What it is about was deleted.
    Deleted,
    /// What it changes is lost.
    Orphan,
}

/// Everything that was seen.
#[derive(Default)]
pub(super) struct Census {
    collectives: HashMap<u32, Known>,
    /// LSNs of readable records.
    lsns: RoaringTreemap,
    /// Those of what agents did before their newest record.
    past: RoaringTreemap,
    /// Bytes of what may be taken, at most.
    pub(super) bytes: u64,
}

impl Census {
    /// A readable record.
    pub(super) fn record(&mut self, header: &FrameHeader, payload: &[u8]) {
        self.bytes += header.frame_len();
        self.lsns.insert(header.lsn.get());
        let known = self.known(header);
        match header.kind {
            RecordKind::Collective => {
                known.id = Some(header.entity);
                let is_first = known
                    .definition
                    .as_ref()
                    .is_none_or(|(first, _)| header.lsn < first.lsn);
                if is_first {
                    known.definition = Some((*header, payload.to_vec()));
                }
            }
            RecordKind::Body | RecordKind::Insight => {
                // Compaction may have left out the vector.
                if header.dimension > 0 {
                    known.dimension = header.dimension;
                }
                note(&mut known.made, header);
            }
            RecordKind::Relation => note(&mut known.made, header),
            RecordKind::CollectiveDeleted => known.deleted = true,
            RecordKind::ExperienceDeleted
            | RecordKind::RelationDeleted
            | RecordKind::InsightDeleted => note(&mut known.dead, header),
            RecordKind::Vitals
            | RecordKind::Traits
            | RecordKind::Embedding
            | RecordKind::InsightEmbedding
            | RecordKind::Close => {}
            RecordKind::Activity => {
                if let Ok(record) = ActivityRecord::decode(payload) {
                    self.agent(header, record.agent_id, false);
                }
            }
            RecordKind::ActivityEnded => {
                if let Ok(agent) = decode_activity_end(payload) {
                    self.agent(header, agent.to_owned(), true);
                }
            }
        }
    }

    /// A record of what an agent does.
    fn agent(&mut self, header: &FrameHeader, agent: String, ended: bool) {
        let lsn = header.lsn;
        let known = self.collectives.entry(header.collective).or_default();
        let newest = known.agents.entry(agent).or_insert((lsn, ended));
        if newest.0 > lsn {
            self.past.insert(lsn.get());
        } else {
            let before = std::mem::replace(newest, (lsn, ended));
            if before.0 < lsn {
                self.past.insert(before.0.get());
            }
        }
    }

    /// A record whose payload is lost.
    pub(super) fn damaged(&mut self, header: &FrameHeader) {
        let known = self.known(header);
        match header.kind {
            RecordKind::Collective => known.id = Some(header.entity),
            RecordKind::CollectiveDeleted => known.deleted = true,
            kind if kind.ends_row() => note(&mut known.dead, header),
            _ => {}
        }
    }

    fn known(&mut self, header: &FrameHeader) -> &mut Known {
        let known = self.collectives.entry(header.collective).or_default();
        let used = (header.lsn, header.time);
        if header.kind != RecordKind::Collective
            && known.first_use.is_none_or(|first| used.0 < first.0)
        {
            known.first_use = Some(used);
        }
        known
    }

    /// What becomes of a readable record.
    pub(super) fn fate(&self, header: &FrameHeader) -> Fate {
        let Some(known) = self.collectives.get(&header.collective) else {
            return Fate::Orphan;
        };
        match header.kind {
            // The new database is closed by itself.
            RecordKind::Close
            | RecordKind::CollectiveDeleted
            | RecordKind::ExperienceDeleted
            | RecordKind::RelationDeleted
            | RecordKind::InsightDeleted => Fate::Deleted,
            _ if known.deleted => Fate::Deleted,
            RecordKind::Collective => Fate::Taken,
            // A relation between experiences that are lost is left out by the next open.
            RecordKind::Body
            | RecordKind::Vitals
            | RecordKind::Traits
            | RecordKind::Relation
            | RecordKind::Insight
            | RecordKind::Embedding
            | RecordKind::InsightEmbedding => {
                if noted(&known.dead, header) {
                    Fate::Deleted
                } else if noted(&known.made, header) {
                    Fate::Taken
                } else {
                    Fate::Orphan
                }
            }
            RecordKind::ActivityEnded => Fate::Deleted,
            RecordKind::Activity if self.past.contains(header.lsn.get()) => Fate::Deleted,
            RecordKind::Activity if known.agents.is_empty() || !known.is_there() => Fate::Orphan,
            RecordKind::Activity => Fate::Taken,
        }
    }

    /// Collectives and experiences that live.
    pub(super) fn count(&self) -> (u64, u64) {
        let living = self
            .collectives
            .values()
            .filter(|known| !known.deleted && known.is_there());
        living.fold((0, 0), |(collectives, experiences), known| {
            (collectives + 1, experiences + known.living_experiences())
        })
    }

    /// The definitions that have to be put in front of what is there, by LSN, and the collectives whose
    /// own is lost. `new_id` makes an id.
    pub(super) fn definitions(
        &mut self,
        mut new_id: impl FnMut() -> u128,
    ) -> (Vec<(FrameHeader, Vec<u8>)>, Vec<CollectiveId>) {
        let mut wanted: Vec<(u32, Lsn, Timestamp)> = self
            .collectives
            .iter()
            .filter(|(_, known)| !known.deleted && known.is_worth_defining())
            .filter(|(_, known)| !known.deleted && known.needs_definition())
            .filter_map(|(number, known)| {
                let (first, time) = known.first_use?;
                let defined = known.definition.as_ref().map(|(header, _)| header.lsn);
                (defined.is_none_or(|lsn| lsn > first)).then_some((*number, first, time))
            })
            .collect();
        wanted.sort_unstable_by_key(|(_, first, _)| *first);
        let (mut made, mut redefined) = (Vec::new(), Vec::new());
        for (number, first, time) in wanted {
            let Some(known) = self.collectives.get_mut(&number) else {
                continue;
            };
            // The one that was lost stood in front of everything that it was about.
            let Some(lsn) = (1..first.get()).rev().find(|lsn| !self.lsns.contains(*lsn)) else {
                known.made.clear();
                known.agents.clear();
                continue;
            };
            self.lsns.insert(lsn);
            let id = *known.id.get_or_insert_with(&mut new_id);
            let payload = match &known.definition {
                Some((_, payload)) => payload.clone(),
                None => {
                    redefined.push(CollectiveId::from_u128(id));
                    made_up(number, id, known.dimension, time)
                }
            };
            let header = FrameHeader {
                payload_len: payload.len() as u32,
                payload_crc: payload_crc(&payload),
                kind: RecordKind::Collective,
                closes_commit: true,
                dimension: 0,
                lsn: Lsn::new(lsn),
                time,
                collective: number,
                row: 0,
                entity: id,
                durable_upto: Lsn::ZERO,
            };
            self.bytes += header.frame_len();
            made.push((header, payload));
        }
        made.sort_unstable_by_key(|(header, _)| header.lsn);
        (made, redefined)
    }
}

impl Known {
    /// Whether there is something whose vectors tell what the collective's are like.
    fn is_worth_defining(&self) -> bool {
        self.dimension > 0 && !self.made.is_empty()
    }

    fn living_experiences(&self) -> u64 {
        let experiences = |rows: &HashMap<u32, RoaringBitmap>| {
            let mut tables = rows.iter();
            let found = tables.find(|(table, _)| collective_of(**table) == **table);
            found.map(|(_, rows)| rows.clone()).unwrap_or_default()
        };
        (experiences(&self.made) - experiences(&self.dead)).len()
    }
}

fn note(rows: &mut HashMap<u32, RoaringBitmap>, header: &FrameHeader) {
    rows.entry(header.table()).or_default().insert(header.row);
}

fn noted(rows: &HashMap<u32, RoaringBitmap>, header: &FrameHeader) -> bool {
    let rows = rows.get(&header.table());
    rows.is_some_and(|rows| rows.contains(header.row))
}

/// A definition for a collective of which only experiences are left.
fn made_up(number: u32, id: u128, dimension: u16, time: Timestamp) -> Vec<u8> {
    let record = CollectiveRecord {
        collective: Collective {
            id: CollectiveId::from_u128(id),
            name: format!("salvaged-{number}"),
            owner_id: None,
            embedding_dimension: dimension,
            decay: DecayConfig::default(),
            embedder: None,
            precisions: Precisions::default(),
            created_at: time,
            vectors: VectorEpoch::default(),
        },
        unknown: Default::default(),
    };
    let mut payload = Vec::new();
    record.encode(&mut payload);
    payload
}
