//! Does a call that is given one collective ever show anything of another?
//!
//! Two tenants record the same texts with the same vectors, agents, domains, tags and keys. Every method that
//! takes a collective is asked for the one, and must answer with that one's alone, and as much of it as if
//! the other were not there.

use std::collections::BTreeSet;

use pulsedb::{
    AgentId, CollectiveId, ContextRequest, DuplicatePolicy, ExperienceId, ExportOptions,
    ImportOptions, InsightFilter, InsightId, InsightType, NewActivity, NewExperience, NewInsight,
    NewRelation, Page, PulseDBError, RecordOptions, RelationDirection, RelationFilter, RelationId,
    RelationType, SearchFilter, SearchOptions, blocking::PulseDB,
};

use super::support::{World, refused_field};

const ROWS: usize = 12;

struct Tenant {
    id: CollectiveId,
    experiences: BTreeSet<ExperienceId>,
    relations: BTreeSet<RelationId>,
    insights: BTreeSet<InsightId>,
}

fn vector(number: usize) -> Vec<f32> {
    vec![1.0, number as f32 / 4.0, 0.5, 0.25]
}

impl Tenant {
    fn new(db: &PulseDB, name: &str) -> Self {
        let id = db.create_collective_with_owner(name, name).unwrap();
        let mut tenant = Self {
            id,
            experiences: BTreeSet::new(),
            relations: BTreeSet::new(),
            insights: BTreeSet::new(),
        };
        for number in 0..ROWS {
            let new = NewExperience {
                embedding: Some(vector(number)),
                domain: vec!["rust".into()],
                tags: [("k".into(), "v".into())].into(),
                importance: 0.01,
                idempotency_key: Some(format!("key {number}")),
                ..NewExperience::new(id, "agent", format!("text {number}"))
            };
            tenant
                .experiences
                .insert(db.record_experience(new).unwrap());
        }
        let mut last = None;
        for experience in &tenant.experiences {
            if let Some(before) = last.replace(*experience) {
                let new = NewRelation::new(before, *experience, RelationType::Supports);
                tenant.relations.insert(db.store_relation(new).unwrap());
            }
            let insight = NewInsight {
                collective_id: id,
                content: "insight".into(),
                embedding: Some(vector(3)),
                source_experience_ids: vec![*experience],
                insight_type: InsightType::Pattern,
                confidence: 0.5,
                domain: vec!["rust".into()],
            };
            tenant.insights.insert(db.store_insight(insight).unwrap());
        }
        db.register_activity(NewActivity {
            agent_id: "agent".into(),
            collective_id: id,
            current_task: Some(name.into()),
            context_summary: None,
        })
        .unwrap();
        tenant
    }

    #[track_caller]
    fn all(&self, found: impl IntoIterator<Item = ExperienceId>) {
        let found: BTreeSet<_> = found.into_iter().collect();
        assert_eq!(found, self.experiences);
    }
}

#[test]
fn no_call_shows_anything_of_another_collective() {
    let world = World::new();
    let db = world.open_blocking(false);
    let (ours, theirs) = (Tenant::new(&db, "ours"), Tenant::new(&db, "theirs"));
    // Once as it was recorded, and once as a checkpoint gives it back.
    ask_everything(&db, &ours);
    ask_everything(&db, &theirs);
    db.close().unwrap();
    let db = world.open_blocking(false);
    ask_everything(&db, &ours);
    ask_everything(&db, &theirs);
    nothing_crosses(&db, &ours, &theirs);
    changes_stay(&db, &ours, &theirs);
}

fn ask_everything(db: &PulseDB, tenant: &Tenant) {
    let (id, query) = (tenant.id, vector(3));
    let of_hits = |hits: Vec<pulsedb::SearchHit>| {
        hits.into_iter()
            .map(|hit| hit.experience.id)
            .collect::<Vec<_>>()
    };
    let options = SearchOptions {
        k: 1000,
        ..SearchOptions::default()
    };
    tenant.all(of_hits(db.search_similar(id, &query, 1000).unwrap()));
    let filter = SearchFilter {
        domains: vec!["rust".into()],
        tags_all: [("k".into(), "v".into())].into(),
        source_agents: vec!["agent".into()],
        ..SearchFilter::default()
    };
    let filtered = db.search_similar_filtered(id, &query, 1000, filter.clone());
    tenant.all(of_hits(filtered.unwrap()));
    tenant.all(of_hits(db.search(id, &query, options.clone()).unwrap()));
    let exact = SearchOptions {
        exact: true,
        ..options.clone()
    };
    let both = db
        .search_batch(id, &[query.clone(), vector(7)], exact)
        .unwrap();
    both.into_iter().for_each(|hits| tenant.all(of_hits(hits)));
    let explained = db.explain(id, &query, options).unwrap();
    assert_eq!((explained.rows, explained.hits), (ROWS as u64, ROWS as u64));

    let page = Page {
        limit: 1000,
        ..Page::default()
    };
    let of = |list: Vec<pulsedb::Experience>| list.into_iter().map(|one| one.id);
    tenant.all(of(db.list_experiences(id, page.clone()).unwrap().items));
    tenant.all(of(db.get_recent_experiences(id, 1000).unwrap()));
    tenant.all(of(db
        .get_recent_experiences_filtered(id, 1000, filter)
        .unwrap()));
    tenant.all(of(db.first_n(id, 1000).unwrap()));
    tenant.all(of(db.last_n(id, 1000).unwrap()));
    tenant.all(of(db.list_cold_experiences(id, 1000).unwrap()));
    let stream = db.stream_experiences(id, page.clone()).unwrap();
    tenant.all(stream.map(|one| one.unwrap().id));
    let lines = db.export(id, ExportOptions::default()).unwrap();
    let lines: Vec<String> = lines.map(|line| line.unwrap().to_string()).collect();
    assert_eq!(
        lines.iter().filter(|line| line.contains("\"text ")).count(),
        ROWS
    );

    let stats = db.get_collective_stats(id).unwrap();
    assert_eq!(stats.experience_count, ROWS as u64);
    assert_eq!(stats.relation_count, ROWS as u64 - 1);
    assert_eq!(stats.insight_count, ROWS as u64);
    assert_eq!(db.get_collective(id).unwrap().unwrap().id, id);
    let owner = db.get_collective(id).unwrap().unwrap().owner_id.unwrap();
    let owned = db.list_collectives_by_owner(&owner).unwrap();
    assert_eq!(owned.iter().map(|one| one.id).collect::<Vec<_>>(), [id]);

    let relations = db.list_relations(id, page.clone()).unwrap().items;
    let relations: BTreeSet<_> = relations.into_iter().map(|one| one.id).collect();
    assert_eq!(relations, tenant.relations);
    let first = *tenant.experiences.first().unwrap();
    for one in db
        .get_related_experiences(first, RelationDirection::Both)
        .unwrap()
    {
        assert_eq!(one.experience.collective_id, id);
    }
    for one in db.get_relations(first, RelationFilter::default()).unwrap() {
        assert!(tenant.relations.contains(&one.id));
    }
    let around = db.neighbourhood(first, 8, Vec::new()).unwrap();
    assert_eq!(around.len(), 8);
    assert!(
        around
            .iter()
            .all(|one| tenant.experiences.contains(&one.experience_id))
    );

    let insights = db.list_insights(id, page).unwrap().items;
    let listed: BTreeSet<_> = insights.into_iter().map(|one| one.id).collect();
    assert_eq!(listed, tenant.insights);
    for hits in [
        db.get_insights(id, &query, 1000).unwrap(),
        db.get_insights_filtered(id, &query, 1000, InsightFilter::default())
            .unwrap(),
    ] {
        let found: BTreeSet<_> = hits.into_iter().map(|hit| hit.insight.id).collect();
        assert_eq!(found, tenant.insights);
    }

    let agents = db.get_active_agents(id).unwrap();
    assert_eq!(agents.len(), 1);
    assert_eq!(agents[0].collective_id, id);
    assert!(db.list_stale_activities(id).unwrap().is_empty());
    let agent = AgentId::from("agent");
    assert_eq!(
        db.get_activity(id, &agent).unwrap().unwrap().collective_id,
        id
    );

    let context = db
        .get_context_candidates(ContextRequest {
            max_similar: 1000,
            max_recent: 1000,
            max_insights: 1000,
            max_relations: 1000,
            collapse_above: None,
            ..ContextRequest::about_vector(id, query)
        })
        .unwrap();
    tenant.all(context.similar.iter().map(|one| one.experience.id));
    assert!(context.recent.is_empty());
    assert_eq!(context.insights.len(), tenant.insights.len());
    let relations: BTreeSet<_> = context.relations.iter().map(|one| one.id).collect();
    assert_eq!(relations, tenant.relations);
    assert_eq!(context.agents.len(), 1);
}

/// What belongs to one is refused where the other is meant.
fn nothing_crosses(db: &PulseDB, ours: &Tenant, theirs: &Tenant) {
    let (one, other) = (
        *ours.experiences.first().unwrap(),
        *theirs.experiences.first().unwrap(),
    );
    let relation = NewRelation::new(one, other, RelationType::Implies);
    assert_eq!(refused_field(db.store_relation(relation)), "target_id");
    let insight = NewInsight {
        collective_id: ours.id,
        content: "stolen".into(),
        embedding: Some(vector(1)),
        source_experience_ids: vec![other],
        insight_type: InsightType::Pattern,
        confidence: 0.5,
        domain: Vec::new(),
    };
    assert_eq!(
        refused_field(db.store_insight(insight)),
        "source_experience_ids"
    );
    let new = NewExperience {
        embedding: Some(vector(1)),
        ..NewExperience::new(ours.id, "agent", "successor")
    };
    assert!(matches!(
        db.supersede_experience(other, new),
        Err(PulseDBError::Conflict { .. })
    ));
    let lines = db.export(theirs.id, ExportOptions::default()).unwrap();
    let lines: Vec<_> = lines
        .map(|line| line.map(|line| line.to_string()))
        .collect();
    // Ids are given once: those of the one cannot appear in the other.
    let imported = db.import(Some(ours.id), lines, ImportOptions::default());
    assert!(
        matches!(imported, Err(PulseDBError::Conflict { .. })),
        "{imported:?}"
    );
}

/// What is changed in the one changes nothing in the other.
fn changes_stay(db: &PulseDB, ours: &Tenant, theirs: &Tenant) {
    // The same text, vector and key are duplicates in their own collective alone.
    let fresh = db.create_collective("fresh").unwrap();
    let outcome = db
        .record_experience_with(
            NewExperience {
                embedding: Some(vector(3)),
                idempotency_key: Some("key 3".into()),
                ..NewExperience::new(fresh, "agent", "text 3")
            },
            RecordOptions {
                duplicates: DuplicatePolicy::Skip,
                same_content: true,
                similarity_threshold: Some(0.5),
            },
        )
        .unwrap();
    assert!(outcome.duplicates.is_empty());
    assert_eq!(
        db.get_recent_experiences(fresh, 10).unwrap()[0].id,
        outcome.id
    );

    db.end_activity(ours.id, &AgentId::from("agent")).unwrap();
    assert!(db.get_active_agents(ours.id).unwrap().is_empty());
    let mut watched = db.watch_experiences(theirs.id).unwrap();
    for experience in &ours.experiences {
        db.reinforce_experience(*experience).unwrap();
    }
    db.delete_collective(ours.id).unwrap();
    ask_everything(db, theirs);
    let last = *theirs.experiences.last().unwrap();
    db.reinforce_experience(last).unwrap();
    let event = watched.recv().unwrap().unwrap();
    assert_eq!(
        event.experience.as_ref().unwrap().id,
        last,
        "the first that is heard of"
    );
    let gone = |answer: Result<(), PulseDBError>| {
        assert!(matches!(answer, Err(PulseDBError::NotFound { .. })));
    };
    gone(db.search_similar(ours.id, &vector(1), 1).map(drop));
    gone(db.list_relations(ours.id, Page::default()).map(drop));
    gone(db.list_insights(ours.id, Page::default()).map(drop));
    gone(db.get_active_agents(ours.id).map(drop));
    for id in &ours.experiences {
        gone(db.get_experience(*id).map(drop));
    }
    for id in &ours.relations {
        assert_eq!(db.get_relation(*id).unwrap(), None);
    }
    for id in &ours.insights {
        assert_eq!(db.get_insight(*id).unwrap(), None);
    }
}
