//! What should the database hold?
//!
//! A plain model: collectives by name, experiences by content, both unique in a workload, so that
//! what was in flight at a crash can be compared although nobody ever heard its id.

use std::{collections::BTreeMap, rc::Rc};

use pulsedb::{
    CollectiveId, Experience, ExperienceId, ExperienceUpdate, Page, blocking, model::DecayConfig,
};

/// One experience, as far as the workload sets it.
#[derive(Clone, Debug)]
pub struct Known {
    pub id: Option<ExperienceId>,
    pub embedding: Vec<f32>,
    pub importance: f32,
    pub domain: Vec<String>,
    pub tags: BTreeMap<String, String>,
    pub archived: bool,
    pub applications: u32,
    pub key: Option<String>,
}

/// One collective.
#[derive(Clone, Debug)]
pub struct Team {
    pub id: Option<CollectiveId>,
    pub half_life_ms: u64,
    pub known: BTreeMap<String, Rc<Known>>,
}

/// The whole database.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub teams: BTreeMap<String, Rc<Team>>,
}

/// One request.
#[derive(Clone, Debug)]
pub enum Step {
    CreateTeam(String),
    GetOrCreateTeam(String),
    SetDecay(String, u64),
    DeleteTeam(String),
    Record(String, Vec<Draft>),
    RetryKey(String, String),
    Update(String, String, ExperienceUpdate),
    SetTag(String, String, String, String),
    RemoveTag(String, String, String),
    Archive(String, String, bool),
    Reinforce(String, String),
    Delete(String, String),
    Flush,
    Compact,
    Checkpoint,
    Reopen,
}

/// An experience to be recorded.
#[derive(Clone, Debug)]
pub struct Draft {
    pub content: String,
    pub embedding: Vec<f32>,
    pub domain: Vec<String>,
    pub key: Option<String>,
}

impl State {
    /// What the database holds once `step` has happened. New things have no id yet.
    pub fn after(&self, step: &Step) -> Self {
        let mut next = self.clone();
        match step {
            Step::CreateTeam(name) | Step::GetOrCreateTeam(name) => {
                next.teams
                    .entry(name.clone())
                    .or_insert_with(|| Rc::new(Team::empty()));
            }
            Step::SetDecay(team, half_life) => next.team(team).half_life_ms = *half_life,
            Step::DeleteTeam(name) => drop(next.teams.remove(name)),
            Step::Record(team, drafts) => {
                for draft in drafts {
                    let known = Known {
                        id: None,
                        embedding: draft.embedding.clone(),
                        importance: 0.5,
                        domain: draft.domain.clone(),
                        tags: BTreeMap::new(),
                        archived: false,
                        applications: 0,
                        key: draft.key.clone(),
                    };
                    next.team(team)
                        .known
                        .insert(draft.content.clone(), Rc::new(known));
                }
            }
            Step::Update(team, content, update) => {
                let known = next.known(team, content);
                known.importance = update.importance.unwrap_or(known.importance);
                if let Some(domain) = &update.domain {
                    known.domain.clone_from(domain);
                }
            }
            Step::SetTag(team, content, key, value) => {
                let tags = &mut next.known(team, content).tags;
                tags.insert(key.clone(), value.clone());
            }
            Step::RemoveTag(team, content, key) => {
                next.known(team, content).tags.remove(key);
            }
            Step::Archive(team, content, archived) => {
                next.known(team, content).archived = *archived;
            }
            Step::Reinforce(team, content) => next.known(team, content).applications += 1,
            Step::Delete(team, content) => drop(next.team(team).known.remove(content)),
            Step::RetryKey(..) | Step::Flush | Step::Compact | Step::Checkpoint | Step::Reopen => {}
        }
        next
    }

    pub fn team(&mut self, name: &str) -> &mut Team {
        Rc::make_mut(self.teams.get_mut(name).unwrap())
    }

    pub fn known(&mut self, team: &str, content: &str) -> &mut Known {
        Rc::make_mut(self.team(team).known.get_mut(content).unwrap())
    }

    /// Everything in `db`, read by every way there is.
    pub fn read(db: &blocking::PulseDB) -> pulsedb::Result<Self> {
        let mut found = Self::default();
        for collective in db.list_collectives()? {
            let mut team = Team {
                id: Some(collective.id),
                half_life_ms: collective.decay.half_life_ms,
                known: BTreeMap::new(),
            };
            let all = read_team(db, collective.id)?;
            for experience in &all {
                assert_eq!(&db.get_experience(experience.id)?, experience);
                let known = Known::of(experience);
                let twice = team
                    .known
                    .insert(experience.content.clone(), Rc::new(known));
                assert!(twice.is_none(), "{} is there twice", experience.id);
            }
            let stats = db.get_collective_stats(collective.id)?;
            let archived = all.iter().filter(|one| one.archived).count();
            assert_eq!(
                (stats.experience_count, stats.archived_count),
                (all.len() as u64, archived as u64)
            );
            if let Some(one) = all.iter().rev().find(|one| !one.archived) {
                let hits = db.search_similar(collective.id, &one.embedding, 1)?;
                assert_eq!(hits.len(), 1);
                assert!(hits[0].similarity > 0.999, "{}", hits[0].similarity);
            }
            let twice = found.teams.insert(collective.name, Rc::new(team));
            assert!(twice.is_none(), "a collective is there twice");
        }
        Ok(found)
    }

    /// What differs, for a person; `None` if nothing does. Ids count where both sides know them.
    pub fn difference(&self, found: &Self) -> Option<String> {
        for (name, team) in &self.teams {
            let Some(other) = found.teams.get(name) else {
                return Some(format!("collective {name} is missing"));
            };
            if Rc::ptr_eq(team, other) {
                continue;
            }
            if let Some(what) = team.difference(other) {
                return Some(format!("{what} in collective {name}"));
            }
        }
        let extra = found
            .teams
            .keys()
            .find(|&name| !self.teams.contains_key(name));
        extra.map(|name| format!("collective {name} should not be there"))
    }
}

impl Team {
    /// A collective as it is made.
    pub fn empty() -> Self {
        Self {
            id: None,
            half_life_ms: DecayConfig::default().half_life_ms,
            known: BTreeMap::new(),
        }
    }

    fn difference(&self, found: &Self) -> Option<String> {
        if self.id.is_some() && found.id.is_some() && self.id != found.id {
            return Some("another id".to_owned());
        }
        if self.half_life_ms != found.half_life_ms {
            return Some("another decay".to_owned());
        }
        for (content, known) in &self.known {
            let label = content.split(' ').next().unwrap_or_default();
            let Some(other) = found.known.get(content) else {
                return Some(format!("{label} is missing"));
            };
            if !known.agrees(other) {
                return Some(format!("{label} is {other:?} instead of {known:?}"));
            }
        }
        let extra = found
            .known
            .keys()
            .find(|&content| !self.known.contains_key(content));
        extra.map(|content| {
            let label = content.split(' ').next().unwrap_or_default();
            format!("{label} should not be there")
        })
    }
}

impl Known {
    fn of(experience: &Experience) -> Self {
        Self {
            id: Some(experience.id),
            embedding: experience.embedding.clone(),
            importance: experience.importance,
            domain: experience.domain.clone(),
            tags: experience.tags.clone(),
            archived: experience.archived,
            applications: experience.applications(),
            key: experience.idempotency_key.clone(),
        }
    }

    fn agrees(&self, other: &Self) -> bool {
        let ids = self.id.is_none() || other.id.is_none() || self.id == other.id;
        ids && self.embedding == other.embedding
            && self.importance == other.importance
            && self.domain == other.domain
            && self.tags == other.tags
            && self.archived == other.archived
            && self.applications == other.applications
            && self.key == other.key
    }
}

/// All experiences of a collective, in pages.
fn read_team(db: &blocking::PulseDB, id: CollectiveId) -> pulsedb::Result<Vec<Experience>> {
    let mut all: Vec<Experience> = Vec::new();
    let mut page = Page {
        limit: 17,
        ..Page::default()
    };
    loop {
        let found = db.list_experiences(id, page.clone())?;
        all.extend(found.items);
        match found.next {
            Some(next) => page.after = Some(next),
            None => break,
        }
    }
    assert!(
        all.windows(2)
            .all(|pair| (pair[0].timestamp, pair[0].id) < (pair[1].timestamp, pair[1].id))
    );
    Ok(all)
}
