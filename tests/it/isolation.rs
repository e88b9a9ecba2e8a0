//! Does a call that is given one collective ever show anything of another?
//!
//! Two tenants record the same texts with the same vectors, agents, domains, tags and keys. Every method that
//! takes a collective is asked for the one, and must answer with that one's alone, and as much of it as if
//! the other were not there.

use std::{collections::BTreeSet, sync::Arc};

use pulsedb::{
    AgentId, CollectiveId, Config, ContextRequest, DecayConfig, DuplicatePolicy, EntityKind,
    EventType, ExperienceId, ExportOptions, ImportOptions, InsightFilter, InsightHit, InsightId,
    InsightType, NewActivity, NewExperience, NewInsight, NewRelation, Page, PulseDBError, Query,
    RecordOptions, RelationDirection, RelationFilter, RelationId, RelationType, Reranker, Result,
    SearchFilter, SearchHit, SearchOptions, WatchFilter, WatchItem, WatchOptions,
    blocking::PulseDB,
};

use super::{
    reembed::toy,
    support::{World, config, refused_field},
};

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
            let new = NewInsight {
                embedding: Some(vector(3)),
                domain: vec!["rust".into()],
                ..insight(id, *experience)
            };
            tenant.insights.insert(db.store_insight(new).unwrap());
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

    #[track_caller]
    fn all_hits(&self, hits: Vec<SearchHit>) {
        self.all(hits.into_iter().map(|hit| hit.experience.id));
    }

    #[track_caller]
    fn all_insights(&self, hits: Vec<InsightHit>) {
        let found: BTreeSet<_> = hits.into_iter().map(|hit| hit.insight.id).collect();
        assert_eq!(found, self.insights);
    }
}

/// Derived from one experience, with no vector yet.
fn insight(collective_id: CollectiveId, source: ExperienceId) -> NewInsight {
    NewInsight {
        collective_id,
        content: "insight".into(),
        embedding: None,
        source_experience_ids: vec![source],
        insight_type: InsightType::Pattern,
        confidence: 0.5,
        domain: Vec::new(),
    }
}

fn exported(db: &PulseDB, tenant: &Tenant) -> Vec<Result<String>> {
    let lines = db.export(tenant.id, ExportOptions::default()).unwrap();
    lines
        .map(|line| line.map(|line| line.to_string()))
        .collect()
}

fn everything() -> SearchOptions {
    SearchOptions {
        k: 1000,
        ..SearchOptions::default()
    }
}

#[test]
fn no_call_shows_anything_of_another_collective() {
    let world = World::new();
    let db = world.open_blocking(false);
    let (ours, theirs) = (Tenant::new(&db, "ours"), Tenant::new(&db, "theirs"));
    // Once as it was recorded, and once as a checkpoint gives it back.
    for tenant in [&ours, &theirs] {
        ask_everything(&db, tenant);
        ask_in_words(&db, tenant);
    }
    db.close().unwrap();
    let db = world.open_blocking(false);
    for tenant in [&ours, &theirs] {
        ask_everything(&db, tenant);
        ask_in_words(&db, tenant);
        ask_in_a_transaction(&db, tenant);
    }
    nothing_crosses(&db, &ours, &theirs);
    changes_stay(&db, &ours, &theirs);
}

fn ask_everything(db: &PulseDB, tenant: &Tenant) {
    let (id, query) = (tenant.id, vector(3));
    let options = everything();
    tenant.all_hits(db.search_similar(id, &query, 1000).unwrap());
    let filter = SearchFilter {
        domains: vec!["rust".into()],
        tags_all: [("k".into(), "v".into())].into(),
        source_agents: vec!["agent".into()],
        ..SearchFilter::default()
    };
    let filtered = db.search_similar_filtered(id, &query, 1000, filter.clone());
    tenant.all_hits(filtered.unwrap());
    tenant.all_hits(db.search(id, &query, options.clone()).unwrap());
    let exact = SearchOptions {
        exact: true,
        ..options.clone()
    };
    let both = db
        .search_batch(id, &[query.clone(), vector(7)], exact)
        .unwrap();
    both.into_iter().for_each(|hits| tenant.all_hits(hits));
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
    let lines = exported(db, tenant).into_iter().map(Result::unwrap);
    assert_eq!(lines.filter(|line| line.contains("\"text ")).count(), ROWS);

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
    let filtered = db.get_related_experiences_filtered(first, RelationFilter::default());
    for one in filtered.unwrap() {
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
    tenant.all_insights(db.get_insights(id, &query, 1000).unwrap());
    let filtered = db.get_insights_filtered(id, &query, 1000, InsightFilter::default());
    tenant.all_insights(filtered.unwrap());

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

/// Every text of both has the word, so that an index of both would find them all.
fn ask_in_words(db: &PulseDB, tenant: &Tenant) {
    let (id, both) = (tenant.id, || Query::plain("text").with_vector(vector(3)));
    for query in [Query::text("text"), Query::text("+text"), both()] {
        tenant.all_hits(db.search(id, query.clone(), everything()).unwrap());
        let told = db.explain(id, query, everything()).unwrap();
        assert_eq!(told.words.unwrap().terms[0].experiences, ROWS as u64);
        tenant.all(told.results.iter().map(|one| one.id));
    }
    let reranked = db.search_reranked(id, "text", everything(), Arc::new(Alike));
    tenant.all_hits(reranked.unwrap());
    for query in [Query::text("insight"), both()] {
        let found = db.search_insights(id, query, 1000, InsightFilter::default());
        tenant.all_insights(found.unwrap());
    }
}

/// Scores everything the same.
struct Alike;

impl Reranker for Alike {
    fn scores(&self, _: &str, texts: &[&str]) -> Result<Vec<f32>> {
        Ok(vec![1.0; texts.len()])
    }
}

/// A transaction sees its collective alone, too.
fn ask_in_a_transaction(db: &PulseDB, tenant: &Tenant) {
    let mut transaction = db.begin().unwrap();
    let (id, all) = (tenant.id, everything());
    tenant.all_hits(transaction.search(id, vector(3), all).unwrap());
    let page = Page {
        limit: 1000,
        ..Page::default()
    };
    let listed = transaction.list_experiences(id, page).unwrap().items;
    tenant.all(listed.into_iter().map(|one| one.id));
    transaction.rollback();
}

/// What belongs to one is refused where the other is meant.
fn nothing_crosses(db: &PulseDB, ours: &Tenant, theirs: &Tenant) {
    let (one, other) = (
        *ours.experiences.first().unwrap(),
        *theirs.experiences.first().unwrap(),
    );
    let relation = NewRelation::new(one, other, RelationType::Implies);
    assert_eq!(refused_field(db.store_relation(relation)), "target_id");
    let stolen = NewInsight {
        embedding: Some(vector(1)),
        ..insight(ours.id, other)
    };
    assert_eq!(
        refused_field(db.store_insight(stolen)),
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
    // Ids are given once: those of the one cannot appear in the other.
    let imported = db.import(
        Some(ours.id),
        exported(db, theirs),
        ImportOptions::default(),
    );
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

    let agent = AgentId::from("agent");
    let beat = db.get_activity(theirs.id, &agent).unwrap();
    db.update_heartbeat(ours.id, &agent).unwrap();
    db.end_activity(ours.id, &agent).unwrap();
    assert!(db.get_active_agents(ours.id).unwrap().is_empty());
    assert_eq!(db.get_activity(theirs.id, &agent).unwrap(), beat);
    let mut watched = db.watch_experiences(theirs.id).unwrap();
    let filter = WatchFilter {
        event_types: vec![EventType::Reinforced],
        ..WatchFilter::default()
    };
    let mut filtered = db.watch_experiences_filtered(theirs.id, filter).unwrap();
    let mut items = db
        .watch(WatchOptions {
            collective: Some(theirs.id),
            entities: vec![EntityKind::Experience],
            ..WatchOptions::default()
        })
        .unwrap();
    let decay = DecayConfig {
        floor: 0.9,
        ..DecayConfig::default()
    };
    db.set_decay_config(ours.id, decay).unwrap();
    assert_eq!(db.archive_cold(ours.id).unwrap(), ROWS);
    db.rebuild_index(ours.id).unwrap();
    for experience in &ours.experiences {
        db.reinforce_experience(*experience).unwrap();
    }
    assert_eq!(db.get_or_create_collective("theirs").unwrap(), theirs.id);
    db.delete_collective(ours.id).unwrap();
    ask_everything(db, theirs);
    ask_in_words(db, theirs);
    let last = *theirs.experiences.last().unwrap();
    db.reinforce_experience(last).unwrap();
    let item = loop {
        match items.recv().unwrap().unwrap() {
            WatchItem::Event(event) => break event,
            WatchItem::Live(_) => {}
            WatchItem::Gap { .. } => panic!("nothing is missing"),
        }
    };
    for event in [
        watched.recv().unwrap().unwrap(),
        filtered.recv().unwrap().unwrap(),
        item,
    ] {
        let first = event.experience.as_ref().unwrap().id;
        assert_eq!(first, last, "the first that is heard of");
    }
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

#[test]
fn what_is_embedded_stays_in_its_collective() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        embedding_dimension: pulsedb::EmbeddingDimension::Custom(4),
        ..config()
    };
    let db = PulseDB::open_with_embedder(dir.path(), config, toy("one", 4)).unwrap();
    let tenant = |name: &str| {
        let id = db.create_collective(name).unwrap();
        let record = |number: usize| {
            let new = NewExperience::new(id, "agent", format!("text {number}"));
            db.record_experience(new).unwrap()
        };
        let experiences: BTreeSet<_> = (0..ROWS).map(record).collect();
        let derive = |source: &ExperienceId| db.store_insight(insight(id, *source)).unwrap();
        Tenant {
            id,
            insights: experiences.iter().map(derive).collect(),
            experiences,
            relations: BTreeSet::new(),
        }
    };
    let (ours, theirs) = (tenant("ours"), tenant("theirs"));
    let ask = |tenant: &Tenant| {
        let found = db.search_text(tenant.id, "text 3", everything()).unwrap();
        assert_eq!(found[0].experience.content, "text 3");
        assert!(found[0].similarity > 0.999);
        tenant.all_hits(found);
        let insights =
            db.get_insights_by_text(tenant.id, "insight", 1000, InsightFilter::default());
        tenant.all_insights(insights.unwrap());
        let context = db.get_context_candidates(ContextRequest {
            max_similar: 1000,
            collapse_above: None,
            ..ContextRequest::about_text(tenant.id, "text 3")
        });
        tenant.all(context.unwrap().similar.iter().map(|one| one.experience.id));
    };
    ask(&ours);
    ask(&theirs);
    let (first, next) = (toy("other", 5), toy("another", 6));
    first.fails_behind(0);
    db.reembed(ours.id, first.dynamic()).unwrap_err();
    db.cancel_reembed(ours.id).unwrap();
    let report = db.reembed_with(ours.id, next.dynamic(), |_| {}).unwrap();
    assert_eq!(report.embedded, 2 * ROWS as u64);
    ask(&theirs);
    let lines = exported(&db, &theirs);
    let imported = db.import_with(Some(ours.id), lines, ImportOptions::default(), |_| {});
    assert!(imported.is_err(), "ids are given once");
    assert_eq!(
        db.get_collective_stats(ours.id).unwrap().experience_count,
        ROWS as u64
    );
    db.close().unwrap();
}
