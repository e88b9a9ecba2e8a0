//! What has a transaction changed of its snapshot so far?
//!
//! The snapshot's rows of what it has touched are hidden from every walk ([`Overlay::hidden`]), and its own
//! versions are added to the answer (`merged`). Of an experience that stands in the snapshot only what
//! changes is kept here, so that the overlay takes about as much memory as the commit will take bytes.
//! A relation whose end is gone stays here, and whoever reads it asks for its ends. Filled by
//! `db/transaction.rs`; an entity that can be listed or searched needs a map in here, and its answers are
//! merged where they are made.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;

use crate::{
    error::Result,
    format::Traits,
    model::{
        Collective, CollectiveId, DerivedInsight, Experience, ExperienceId, ExperienceRelation,
        InsightId, Lsn, RelationId,
    },
    read::reader::Reader,
    state::{RowRef, Table, Values},
    sync::Arc,
};

/// The changes of one transaction, as its reads see them.
#[derive(Clone, Default)]
pub struct Overlay {
    collectives: BTreeMap<CollectiveId, OwnCollective>,
    /// `None` where the transaction has deleted it.
    experiences: BTreeMap<ExperienceId, Option<Arc<OwnExperience>>>,
    /// Those that it has stored, with their collective, in the order in which it has.
    relations: BTreeMap<RelationId, (CollectiveId, Arc<ExperienceRelation>)>,
    /// Which of them an experience has had.
    ends: BTreeMap<ExperienceId, Vec<RelationId>>,
    /// Those that it has stored.
    insights: BTreeMap<InsightId, Arc<OwnInsight>>,
    /// Rows of the snapshot that stand above as experiences, or were deleted, by table.
    hidden: BTreeMap<u32, RoaringBitmap>,
    keys: BTreeMap<(CollectiveId, Arc<str>), ExperienceId>,
}

/// A collective that the transaction has changed.
#[derive(Clone)]
pub enum OwnCollective {
    /// It stands in the snapshot, with another definition.
    Redefined(Arc<Collective>),
    /// It does not.
    Created {
        /// A table without rows.
        table: Arc<Table>,
        /// The definition.
        definition: Arc<Collective>,
    },
    /// It is gone.
    Deleted,
}

/// An experience that the transaction has recorded or changed.
#[derive(Clone)]
pub struct OwnExperience {
    /// Where it belongs.
    pub collective: CollectiveId,
    /// As it was recorded by the transaction; otherwise it stands in the snapshot.
    pub recorded: Option<Arc<Experience>>,
    /// 1 / ‖vector‖.
    pub inverse_norm: f32,
    /// Its values.
    pub values: Values,
    /// Its traits, where they are not those of the snapshot, or are about to change.
    pub traits: Option<Traits>,
}

/// An insight that the transaction has stored.
pub struct OwnInsight {
    /// As it was stored: with all of its sources.
    pub insight: DerivedInsight,
    /// 1 / ‖vector‖.
    pub inverse_norm: f32,
}

impl OwnCollective {
    /// The definition, unless the collective is gone.
    pub const fn definition(&self) -> Option<&Arc<Collective>> {
        match self {
            Self::Redefined(definition) | Self::Created { definition, .. } => Some(definition),
            Self::Deleted => None,
        }
    }
}

impl OwnExperience {
    /// One that the transaction has recorded.
    pub fn new(recorded: Experience, traits: Traits, inverse_norm: f32) -> Self {
        Self {
            collective: recorded.collective_id,
            inverse_norm,
            values: Values {
                importance: recorded.importance,
                confidence: recorded.confidence,
                applications: 0,
                others: 0,
                last_reinforced: recorded.last_reinforced,
                updated_at: recorded.updated_at,
                expires_at: recorded.expires_at,
                archived: recorded.archived,
                pinned: recorded.pinned,
                bounded: traits.is_bounded(),
                vitals_lsn: Lsn::ZERO,
                traits_lsn: Lsn::ZERO,
                traits_place: None,
                damaged_place: None,
            },
            traits: Some(traits),
            recorded: Some(Arc::new(recorded)),
        }
    }

    /// The whole experience.
    ///
    /// # Errors
    /// `Corrupted` where the rest of it is damaged.
    pub fn whole(&self, id: ExperienceId, reader: &Reader) -> Result<Experience> {
        let mut whole = match &self.recorded {
            Some(recorded) => Experience::clone(recorded),
            None => reader.point().experience(id)?,
        };
        let values = &self.values;
        whole.importance = values.importance;
        whole.confidence = values.confidence;
        whole.archived = values.archived;
        whole.last_reinforced = values.last_reinforced;
        whole.updated_at = values.updated_at;
        if values.applications > 0 {
            let own = whole.applications.entry(reader.instance).or_default();
            *own = values.applications;
        }
        if let Some(traits) = &self.traits {
            whole.domain.clone_from(&traits.domain);
            whole.tags.clone_from(&traits.tags);
            whole.related_files.clone_from(&traits.related_files);
            whole.expires_at = traits.expires_at;
            whole.valid_from = traits.valid_from;
            whole.valid_to = traits.valid_to;
            whole.pinned = traits.pinned;
        }
        Ok(whole)
    }
}

impl Overlay {
    /// What has become of a collective, if anything.
    pub fn collective(&self, id: CollectiveId) -> Option<&OwnCollective> {
        self.collectives.get(&id)
    }

    /// The collectives that the transaction has created and that are still there, oldest first: it makes
    /// ascending ids.
    pub fn created(&self) -> impl Iterator<Item = &Arc<Collective>> {
        self.collectives.values().filter_map(|own| match own {
            OwnCollective::Created { definition, .. } => Some(definition),
            OwnCollective::Redefined(_) | OwnCollective::Deleted => None,
        })
    }

    /// Whether the transaction has created this collective.
    pub fn has_created(&self, id: CollectiveId) -> bool {
        matches!(
            self.collectives.get(&id),
            Some(OwnCollective::Created { .. })
        )
    }

    /// What has become of an experience, if anything.
    pub fn experience(&self, id: ExperienceId) -> Option<Option<&Arc<OwnExperience>>> {
        self.experiences.get(&id).map(Option::as_ref)
    }

    /// Its own versions of the experiences of a collective, by id.
    pub fn experiences(
        &self,
        collective: CollectiveId,
    ) -> impl DoubleEndedIterator<Item = (ExperienceId, &OwnExperience)> {
        self.experiences
            .iter()
            .filter_map(|(id, own)| Some((*id, own.as_deref()?)))
            .filter(move |(_, own)| own.collective == collective)
    }

    /// Whether the transaction has deleted this experience, and its relations with it.
    pub fn has_deleted(&self, id: ExperienceId) -> bool {
        matches!(self.experiences.get(&id), Some(None))
    }

    /// The relation of its own with this id. An end of it may be gone.
    pub fn relation(&self, id: RelationId) -> Option<&ExperienceRelation> {
        self.relations.get(&id).map(|(_, relation)| &**relation)
    }

    /// Its own relations in a collective, by id. Ends of them may be gone.
    pub fn relations(&self, collective: CollectiveId) -> impl Iterator<Item = &ExperienceRelation> {
        let all = self.relations.values();
        all.filter(move |(home, _)| *home == collective)
            .map(|(_, relation)| &**relation)
    }

    /// Its own relations of an experience, oldest first. The other ends may be gone.
    pub fn relations_at(&self, id: ExperienceId) -> impl Iterator<Item = &ExperienceRelation> {
        let ids = self.ends.get(&id).into_iter().flatten();
        ids.filter_map(|id| self.relation(*id))
    }

    /// The insight of its own with this id.
    pub fn insight(&self, id: InsightId) -> Option<&OwnInsight> {
        self.insights.get(&id).map(|own| &**own)
    }

    /// Its own insights in a collective, by id.
    pub fn insights(&self, collective: CollectiveId) -> impl Iterator<Item = &OwnInsight> {
        let all = self.insights.values().map(|own| &**own);
        all.filter(move |own| own.insight.collective_id == collective)
    }

    /// The rows of the snapshot that a walk leaves out.
    pub fn hidden(&self, table: u32) -> Option<&RoaringBitmap> {
        self.hidden.get(&table)
    }

    /// Whether there are any.
    pub fn hides_rows(&self, table: u32) -> bool {
        self.hidden(table).is_some_and(|rows| !rows.is_empty())
    }

    /// The experience that the transaction has last recorded with this key.
    pub fn keyed(&self, collective: CollectiveId, key: &Arc<str>) -> Option<ExperienceId> {
        self.keys.get(&(collective, Arc::clone(key))).copied()
    }

    /// Notes a collective that the transaction has created.
    pub fn create(&mut self, definition: Collective) {
        /// No table of a database has this number.
        const NOWHERE: u32 = u32::MAX;
        let own = OwnCollective::Created {
            table: Arc::new(Table::new(NOWHERE, &definition)),
            definition: Arc::new(definition),
        };
        if let Some(definition) = own.definition() {
            self.collectives.insert(definition.id, own);
        }
    }

    /// Notes a new definition of a collective that is there.
    pub fn redefine(&mut self, changed: Collective) {
        let changed = Arc::new(changed);
        match self.collectives.get_mut(&changed.id) {
            Some(OwnCollective::Created { definition, .. }) => *definition = changed,
            _ => {
                let own = OwnCollective::Redefined(Arc::clone(&changed));
                self.collectives.insert(changed.id, own);
            }
        }
    }

    /// Notes that a collective is gone.
    pub fn delete_collective(&mut self, id: CollectiveId) {
        self.collectives.insert(id, OwnCollective::Deleted);
        // What nobody can reach any more takes no memory.
        self.experiences
            .retain(|_, own| own.as_ref().is_none_or(|own| own.collective != id));
        self.relations.retain(|_, (home, _)| *home != id);
        self.insights
            .retain(|_, own| own.insight.collective_id != id);
    }

    /// Notes an experience that the transaction has recorded.
    pub fn record(&mut self, own: OwnExperience, id: ExperienceId, key: Option<&Arc<str>>) {
        if let Some(key) = key {
            self.keys.insert((own.collective, Arc::clone(key)), id);
        }
        self.experiences.insert(id, Some(Arc::new(own)));
    }

    /// Notes a new version of an experience, or that it is gone; `at` is its row, if the snapshot has one.
    pub fn change(&mut self, id: ExperienceId, own: Option<OwnExperience>, at: Option<RowRef>) {
        self.experiences.insert(id, own.map(Arc::new));
        self.hide(at);
    }

    /// Notes a relation that the transaction has stored.
    pub fn relate(&mut self, collective: CollectiveId, relation: ExperienceRelation) {
        for end in [relation.source_id, relation.target_id] {
            self.ends.entry(end).or_default().push(relation.id);
        }
        self.relations
            .insert(relation.id, (collective, Arc::new(relation)));
    }

    /// Notes that a relation is gone; `at` is its row, if the snapshot has one.
    pub fn delete_relation(&mut self, id: RelationId, at: Option<RowRef>) {
        self.relations.remove(&id);
        self.hide(at);
    }

    /// Notes an insight that the transaction has stored.
    pub fn store_insight(&mut self, own: OwnInsight) {
        self.insights.insert(own.insight.id, Arc::new(own));
    }

    /// Notes that an insight is gone; `at` is its row, if the snapshot has one.
    pub fn delete_insight(&mut self, id: InsightId, at: Option<RowRef>) {
        self.insights.remove(&id);
        self.hide(at);
    }

    fn hide(&mut self, at: Option<RowRef>) {
        if let Some(at) = at {
            self.hidden.entry(at.collective).or_default().insert(at.row);
        }
    }
}
