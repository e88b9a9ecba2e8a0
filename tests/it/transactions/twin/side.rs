//! What do a database and a transaction answer, whatever their ids are?

use std::collections::BTreeMap;

use pulsedb::{
    Collective, CollectiveId, DerivedInsight, Experience, ExperienceId, ExperienceRelation,
    InsightHit, InsightId, NewExperience, NewInsight, NewRelation, Page, PageResult, PulseDBError,
    RecallWeights, RelatedExperience, RelationFilter, RelationId, Result, SearchFilter, SearchHit,
    SearchOptions, blocking,
};

use super::{Nth, Op, Questions};

/// A database or a transaction: they have the same methods and no common trait.
pub enum Side {
    Direct(blocking::PulseDB),
    Within(Box<blocking::Transaction>),
}

macro_rules! ask {
    ($side:expr, $method:ident($($arg:expr),*)) => {
        match $side {
            Side::Direct(db) => db.$method($($arg),*),
            Side::Within(tx) => tx.$method($($arg),*),
        }
    };
}

/// One of the two, and how it calls the nth of each kind.
pub struct Twin {
    pub side: Side,
    pub experiences: Vec<ExperienceId>,
    pub collectives: Vec<CollectiveId>,
    pub relations: Vec<RelationId>,
    pub insights: Vec<InsightId>,
}

/// What both answer, with names instead of ids.
#[derive(Clone, Debug, PartialEq)]
pub enum Shown {
    Experience(Box<Experience>),
    Collective(Box<Collective>),
    Number(f32),
    Hits(Vec<(Experience, f32, f32)>),
    Page(Vec<Experience>, bool),
    Relations(Vec<ExperienceRelation>, bool),
    Related(Vec<(ExperienceRelation, Experience)>),
    /// Experience, distance, from where, by which relation.
    Neighbours(Vec<(u128, usize, u128, u128)>),
    Insights(Vec<(DerivedInsight, f32)>, bool),
    Done,
    Refused(String),
}

impl Twin {
    fn experience(&self, nth: Nth) -> ExperienceId {
        match self.experiences.len() {
            0 => ExperienceId::from_uuid(uuid::Uuid::nil()),
            len => self.experiences[nth % len],
        }
    }

    fn relation(&self, nth: Nth) -> RelationId {
        match self.relations.len() {
            0 => RelationId::from_uuid(uuid::Uuid::nil()),
            len => self.relations[nth % len],
        }
    }

    fn insight(&self, nth: Nth) -> InsightId {
        match self.insights.len() {
            0 => InsightId::from_uuid(uuid::Uuid::nil()),
            len => self.insights[nth % len],
        }
    }

    fn collective(&self, nth: Nth) -> CollectiveId {
        self.collectives[nth % self.collectives.len()]
    }

    fn name<T: Copy + PartialEq>(known: &[T], id: T) -> u128 {
        known.iter().position(|other| *other == id).unwrap() as u128
    }

    fn named(&self, mut one: Experience) -> Experience {
        let id = Self::name(&self.experiences, one.id);
        let collective = Self::name(&self.collectives, one.collective_id);
        one.id = ExperienceId::from_uuid(uuid::Uuid::from_u128(id));
        one.collective_id = CollectiveId::from_uuid(uuid::Uuid::from_u128(collective));
        let applications = one.applications();
        one.applications = BTreeMap::new();
        one.content = format!("{} applied {applications}", one.content);
        one
    }

    fn collective_named(&self, mut one: Collective) -> Collective {
        let id = Self::name(&self.collectives, one.id);
        one.id = CollectiveId::from_uuid(uuid::Uuid::from_u128(id));
        one
    }

    fn experience_named(&self, id: ExperienceId) -> ExperienceId {
        let name = Self::name(&self.experiences, id);
        ExperienceId::from_uuid(uuid::Uuid::from_u128(name))
    }

    fn relation_named(&self, mut one: ExperienceRelation) -> ExperienceRelation {
        let id = Self::name(&self.relations, one.id);
        one.id = RelationId::from_uuid(uuid::Uuid::from_u128(id));
        one.source_id = self.experience_named(one.source_id);
        one.target_id = self.experience_named(one.target_id);
        one
    }

    fn insight_named(&self, mut one: DerivedInsight) -> DerivedInsight {
        let id = Self::name(&self.insights, one.id);
        let collective = Self::name(&self.collectives, one.collective_id);
        one.id = InsightId::from_uuid(uuid::Uuid::from_u128(id));
        one.collective_id = CollectiveId::from_uuid(uuid::Uuid::from_u128(collective));
        for source in &mut one.source_experience_ids {
            *source = self.experience_named(*source);
        }
        one
    }

    fn refusal(error: &PulseDBError) -> Shown {
        Shown::Refused(match error {
            PulseDBError::NotFound { kind, .. } => format!("no {kind}"),
            // These differ in their ids.
            PulseDBError::Conflict { .. } => "conflict".to_owned(),
            PulseDBError::Validation { field, .. }
                if field.ends_with("_id") || field.ends_with("_ids") =>
            {
                field.clone()
            }
            PulseDBError::Validation { field, value, .. } => format!("{field} {value}"),
            other => panic!("{other}"),
        })
    }

    fn done<T>(answer: Result<T>, shown: impl FnOnce(T) -> Shown) -> Shown {
        answer.map_or_else(|error| Self::refusal(&error), shown)
    }

    pub fn apply(&mut self, op: &Op) -> Shown {
        match op {
            Op::Record(batch) => {
                let batch: Vec<NewExperience> = batch
                    .iter()
                    .enumerate()
                    .map(|(place, (nth, new))| NewExperience {
                        collective_id: self.collective(*nth),
                        content: format!("{}.{place}", self.experiences.len()),
                        ..new.clone()
                    })
                    .collect();
                let answer = ask!(&mut self.side, record_experiences(batch));
                Self::done(answer, |ids| {
                    let mut places = Vec::new();
                    for id in ids {
                        if !self.experiences.contains(&id) {
                            self.experiences.push(id);
                        }
                        places.push(Self::name(&self.experiences, id).to_string());
                    }
                    Shown::Refused(places.join(","))
                })
            }
            Op::Update(nth, update) => {
                let id = self.experience(*nth);
                let answer = ask!(&mut self.side, update_experience(id, update.clone()));
                Self::done(answer, |()| Shown::Done)
            }
            Op::SetTag(nth, key, value) => {
                let id = self.experience(*nth);
                let answer = match value {
                    Some(value) => ask!(&mut self.side, set_tag(id, key, value)),
                    None => ask!(&mut self.side, remove_tag(id, key)),
                };
                Self::done(answer, |()| Shown::Done)
            }
            Op::SetArchived(nth, archived) => {
                let id = self.experience(*nth);
                let answer = if *archived {
                    ask!(&mut self.side, archive_experience(id))
                } else {
                    ask!(&mut self.side, unarchive_experience(id))
                };
                Self::done(answer, |()| Shown::Done)
            }
            Op::Reinforce(nth) => {
                let id = self.experience(*nth);
                let answer = ask!(&mut self.side, reinforce_experience(id));
                Self::done(answer, |count| Shown::Number(count as f32))
            }
            Op::Delete(nth) => {
                let id = self.experience(*nth);
                let answer = ask!(&mut self.side, delete_experience(id));
                Self::done(answer, |()| Shown::Done)
            }
            Op::Create(name) => {
                let id = ask!(&mut self.side, create_collective(name)).unwrap();
                self.collectives.push(id);
                Shown::Done
            }
            Op::GetOrCreate(name) => {
                let id = ask!(&mut self.side, get_or_create_collective(name)).unwrap();
                if !self.collectives.contains(&id) {
                    self.collectives.push(id);
                }
                Shown::Number(Self::name(&self.collectives, id) as f32)
            }
            Op::SetDecay(nth, decay) => {
                let id = self.collective(*nth);
                let answer = ask!(&mut self.side, set_decay_config(id, decay.clone()));
                Self::done(answer, |()| Shown::Done)
            }
            Op::DeleteCollective(nth) => {
                let id = self.collective(*nth);
                let answer = ask!(&mut self.side, delete_collective(id));
                Self::done(answer, |()| Shown::Done)
            }
            Op::Relate(from, to, new) => {
                let new = NewRelation {
                    source_id: self.experience(*from),
                    target_id: self.experience(*to),
                    ..new.clone()
                };
                let answer = ask!(&mut self.side, store_relation(new));
                Self::done(answer, |id| {
                    self.relations.push(id);
                    Shown::Done
                })
            }
            Op::DeleteRelation(nth) => {
                let id = self.relation(*nth);
                let answer = ask!(&mut self.side, delete_relation(id));
                Self::done(answer, |()| Shown::Done)
            }
            Op::StoreInsight(nth, sources, new) => {
                let new = NewInsight {
                    collective_id: self.collective(*nth),
                    content: format!("insight {}", self.insights.len()),
                    source_experience_ids: sources.iter().map(|it| self.experience(*it)).collect(),
                    ..new.clone()
                };
                let answer = ask!(&mut self.side, store_insight(new));
                Self::done(answer, |id| {
                    self.insights.push(id);
                    Shown::Done
                })
            }
            Op::DeleteInsight(nth) => {
                let id = self.insight(*nth);
                let answer = ask!(&mut self.side, delete_insight(id));
                Self::done(answer, |()| Shown::Done)
            }
            Op::Supersede(nth, new) => self.supersede(*nth, new),
        }
    }

    fn supersede(&mut self, nth: Nth, new: &NewExperience) -> Shown {
        let old = self.experience(nth);
        // Mostly where the old one is.
        let there = ask!(&mut self.side, get_experience(old));
        let new = NewExperience {
            collective_id: there.map_or_else(|_| self.collective(nth), |one| one.collective_id),
            content: format!("{} supersedes", self.experiences.len()),
            ..new.clone()
        };
        let id = match ask!(&mut self.side, supersede_experience(old, new)) {
            Ok(id) => id,
            Err(error) => return Self::refusal(&error),
        };
        if !self.experiences.contains(&id) {
            self.experiences.push(id);
            let filter = RelationFilter::default();
            // Nobody sees it where the new one has expired.
            let around = ask!(&mut self.side, get_relations(id, filter));
            for relation in around.unwrap_or_default() {
                self.relations.push(relation.id);
            }
        }
        Shown::Refused(Self::name(&self.experiences, id).to_string())
    }

    /// Everything that can be asked.
    pub fn answers(&mut self, questions: &Questions) -> Vec<Shown> {
        let mut answers = Vec::new();
        for id in self.experiences.clone() {
            let one = ask!(&mut self.side, get_experience(id));
            answers.push(Self::done(one, |one| {
                Shown::Experience(Box::new(self.named(one)))
            }));
            let energy = ask!(&mut self.side, energy(id));
            answers.push(Self::done(energy, Shown::Number));
            self.around(id, questions, &mut answers);
        }
        for id in self.relations.clone() {
            let one = ask!(&mut self.side, get_relation(id)).unwrap();
            let one = one.into_iter().map(|one| self.relation_named(one));
            answers.push(Shown::Relations(one.collect(), false));
        }
        for id in self.insights.clone() {
            let one = ask!(&mut self.side, get_insight(id)).unwrap();
            let one = one.into_iter().map(|one| (self.insight_named(one), 0.0));
            answers.push(Shown::Insights(one.collect(), false));
        }
        let all = self.experiences.clone();
        for one in ask!(&mut self.side, get_experiences(&all)).unwrap() {
            answers.push(one.map_or(Shown::Done, |one| {
                Shown::Experience(Box::new(self.named(one)))
            }));
        }
        for one in ask!(&mut self.side, list_collectives()).unwrap() {
            answers.push(Shown::Collective(Box::new(self.collective_named(one))));
        }
        for id in self.collectives.clone() {
            let one = ask!(&mut self.side, get_collective(id)).unwrap();
            answers.push(one.map_or(Shown::Done, |one| {
                Shown::Collective(Box::new(self.collective_named(one)))
            }));
            self.lists(id, questions, &mut answers);
            self.searches(id, questions, &mut answers);
            self.relation_lists(id, questions, &mut answers);
            self.insight_lists(id, questions, &mut answers);
        }
        answers
    }

    fn around(&mut self, id: ExperienceId, questions: &Questions, answers: &mut Vec<Shown>) {
        let filter = questions.around.clone();
        let found = ask!(&mut self.side, get_relations(id, filter.clone()));
        answers.push(Self::done(found, |found| {
            self.relations_shown(found, false)
        }));
        let (direction, types) = (filter.direction, filter.types.clone());
        let found = ask!(&mut self.side, get_related_experiences(id, direction));
        answers.push(Self::done(found, |found| self.related(found)));
        let found = ask!(&mut self.side, get_related_experiences_filtered(id, filter));
        answers.push(Self::done(found, |found| self.related(found)));
        let depth = questions.recent;
        let found = ask!(&mut self.side, neighbourhood(id, depth, types));
        answers.push(Self::done(found, |found| {
            let found = found.into_iter().map(|one| {
                (
                    Self::name(&self.experiences, one.experience_id),
                    one.depth,
                    Self::name(&self.experiences, one.from),
                    Self::name(&self.relations, one.relation_id),
                )
            });
            Shown::Neighbours(found.collect())
        }));
    }

    fn relation_lists(
        &mut self,
        id: CollectiveId,
        questions: &Questions,
        answers: &mut Vec<Shown>,
    ) {
        let mut page = Page {
            filter: SearchFilter::default(),
            ..questions.page.clone()
        };
        loop {
            match ask!(&mut self.side, list_relations(id, page.clone())) {
                Ok(PageResult { items, next }) => {
                    answers.push(self.relations_shown(items, next.is_some()));
                    page.after = next;
                }
                Err(error) => {
                    answers.push(Self::refusal(&error));
                    return;
                }
            }
            if page.after.is_none() {
                return;
            }
        }
    }

    fn insight_lists(&mut self, id: CollectiveId, questions: &Questions, answers: &mut Vec<Shown>) {
        let (query, options) = &questions.search;
        let found = ask!(&mut self.side, get_insights(id, query, options.k));
        answers.push(Self::done(found, |found| self.derived(found)));
        let filter = questions.derived.clone();
        let found = ask!(
            &mut self.side,
            get_insights_filtered(id, query, options.k, filter)
        );
        answers.push(Self::done(found, |found| self.derived(found)));
        let mut page = questions.page.clone();
        loop {
            match ask!(&mut self.side, list_insights(id, page.clone())) {
                Ok(PageResult { items, next }) => {
                    let items = items.into_iter().map(|one| (self.insight_named(one), 0.0));
                    answers.push(Shown::Insights(items.collect(), next.is_some()));
                    page.after = next;
                }
                Err(error) => {
                    answers.push(Self::refusal(&error));
                    return;
                }
            }
            if page.after.is_none() {
                return;
            }
        }
    }

    fn relations_shown(&self, found: Vec<ExperienceRelation>, more: bool) -> Shown {
        let found = found.into_iter().map(|one| self.relation_named(one));
        Shown::Relations(found.collect(), more)
    }

    fn related(&self, found: Vec<RelatedExperience>) -> Shown {
        let found = found.into_iter();
        let found = found.map(|one| {
            (
                self.relation_named(one.relation),
                self.named(one.experience),
            )
        });
        Shown::Related(found.collect())
    }

    fn derived(&self, found: Vec<InsightHit>) -> Shown {
        let found = found.into_iter();
        let found = found.map(|one| (self.insight_named(one.insight), one.similarity));
        Shown::Insights(found.collect(), false)
    }

    fn lists(&mut self, id: CollectiveId, questions: &Questions, answers: &mut Vec<Shown>) {
        let limit = questions.recent;
        let recent = ask!(&mut self.side, get_recent_experiences(id, limit));
        answers.push(Self::done(recent, |items| {
            Shown::Page(self.all_named(items), false)
        }));
        let filter = questions.page.filter.clone();
        let recent = ask!(
            &mut self.side,
            get_recent_experiences_filtered(id, limit, filter)
        );
        answers.push(Self::done(recent, |items| {
            Shown::Page(self.all_named(items), false)
        }));
        let mut page = questions.page.clone();
        loop {
            let found = ask!(&mut self.side, list_experiences(id, page.clone()));
            let PageResult { items, next } = match found {
                Ok(found) => found,
                Err(error) => {
                    answers.push(Self::refusal(&error));
                    return;
                }
            };
            answers.push(Shown::Page(self.all_named(items), next.is_some()));
            match next {
                Some(next) => page.after = Some(next),
                None => return,
            }
        }
    }

    fn searches(&mut self, id: CollectiveId, questions: &Questions, answers: &mut Vec<Shown>) {
        let (query, options) = &questions.search;
        let hits = ask!(&mut self.side, search(id, query, options.clone()));
        answers.push(Self::done(hits, |hits| self.hits(hits)));
        let hits = ask!(&mut self.side, search_similar(id, query, options.k));
        answers.push(Self::done(hits, |hits| self.hits(hits)));
        let filter = options.filter.clone();
        let hits = ask!(
            &mut self.side,
            search_similar_filtered(id, query, options.k, filter)
        );
        answers.push(Self::done(hits, |hits| self.hits(hits)));
        let other: Vec<f32> = query.iter().map(|x| x * 2.0 + 0.25).collect();
        if other.iter().any(|x| *x != 0.0) {
            let queries = [query.clone(), other];
            let options = SearchOptions {
                weights: Some(RecallWeights {
                    similarity: 0.5,
                    energy: 1.0,
                }),
                ..options.clone()
            };
            let hits = ask!(&mut self.side, search_batch(id, &queries, options));
            match hits {
                Ok(all) => answers.extend(all.into_iter().map(|hits| self.hits(hits))),
                Err(error) => answers.push(Self::refusal(&error)),
            }
        }
    }

    fn all_named(&self, all: Vec<Experience>) -> Vec<Experience> {
        all.into_iter().map(|one| self.named(one)).collect()
    }

    fn hits(&self, hits: Vec<SearchHit>) -> Shown {
        let hits = hits.into_iter();
        let hits = hits.map(|hit| (self.named(hit.experience), hit.similarity, hit.score));
        Shown::Hits(hits.collect())
    }
}
