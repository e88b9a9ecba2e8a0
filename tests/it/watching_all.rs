//! Do watches of everything, from any cursor, tell the committed history: each change once, in order?
#![allow(
    clippy::disallowed_methods,
    reason = "these tests wait and start tasks"
)]

use std::{
    collections::BTreeMap, future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration,
};

use pulsedb::{
    AgentId, Change, CollectiveId, CompactionConfig, Config, Cursor, DecayConfig, EntityId,
    EntityKind, EventType, ExperienceId, ExperienceUpdate, InsightId, InsightType, LogItem,
    LogOptions, LogRecord, Lsn, NewActivity, NewInsight, NewRelation, PulseDB, PulseDBError,
    RelationFilter, RelationId, RelationType, Timeline, WatchConfig, WatchEvent, WatchFilter,
    WatchItem, WatchItems, WatchOptions, blocking, sim::Survival,
};

use super::support::{World, config, everything, new, refused_field, run};

/// Long enough for anything that is to come, on a busy machine.
const SOON: Duration = Duration::from_secs(60);

fn settings(buffer_size: usize) -> Config {
    Config {
        watch_config: WatchConfig {
            buffer_size,
            ..WatchConfig::default()
        },
        compaction: CompactionConfig {
            automatic: false,
            ..CompactionConfig::default()
        },
        ..config()
    }
}

fn insight(team: CollectiveId, sources: &[ExperienceId]) -> NewInsight {
    NewInsight {
        collective_id: team,
        content: "they go together".into(),
        embedding: Some(vec![0.5, -0.5, 0.25, 1.0]),
        source_experience_ids: sources.to_vec(),
        insight_type: InsightType::Synthesis,
        confidence: 0.75,
        domain: vec![],
    }
}

fn activity(team: CollectiveId, agent: &str) -> NewActivity {
    NewActivity {
        agent_id: agent.into(),
        collective_id: team,
        current_task: Some("task".into()),
        context_summary: None,
    }
}

async fn next(items: &mut WatchItems) -> Option<WatchItem> {
    let item = tokio::time::timeout(SOON, items.recv()).await;
    item.expect("nothing came").transpose().unwrap()
}

async fn event(items: &mut WatchItems) -> Arc<WatchEvent> {
    match next(items).await {
        Some(WatchItem::Event(event)) => event,
        other => panic!("{other:?}"),
    }
}

async fn live(items: &mut WatchItems) -> Cursor {
    match next(items).await {
        Some(WatchItem::Live(cursor)) => cursor,
        other => panic!("{other:?}"),
    }
}

/// Asks once, without waiting.
async fn now(items: &mut WatchItems) -> Option<WatchItem> {
    let mut future = pin!(items.recv());
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(item) => Poll::Ready(item.transpose().unwrap()),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// What the log says happened behind `after`: which record makes which event, told independently.
async fn history(db: &PulseDB, after: Lsn) -> Vec<Told> {
    let mut told: Vec<Told> = Vec::new();
    let mut numbers = BTreeMap::new();
    let mut options = LogOptions::default();
    let mut entries = Vec::new();
    loop {
        let page = db.read_log(options.clone()).await.unwrap();
        for item in page.items {
            match item {
                LogItem::Record(entry) => entries.push(*entry),
                LogItem::Damaged(damage) => panic!("{damage:?}"),
            }
        }
        match page.next {
            Some(next) => options.from = next,
            None => break,
        }
    }
    for entry in &entries {
        if let Some(EntityId::Collective(id)) = &entry.entity {
            numbers.insert(entry.collective, *id);
        }
    }
    let mut defined = std::collections::BTreeSet::new();
    for (at, entry) in entries.iter().enumerate() {
        let collective = entry.collective;
        let (entity, event_type) = match &entry.record {
            LogRecord::Close | LogRecord::Embedding { .. } => continue,
            LogRecord::Collective { .. } => (
                entry.entity.clone().unwrap(),
                if defined.insert(collective) {
                    EventType::Created
                } else {
                    EventType::Updated
                },
            ),
            LogRecord::Vitals(vitals) => {
                let both = entries.get(at + 1).is_some_and(|next| {
                    matches!(next.record, LogRecord::Traits(_))
                        && (next.collective, next.row) == (collective, entry.row)
                });
                if both && !entry.closes_commit && vitals.change == EventType::Updated {
                    continue;
                }
                (entry.entity.clone().unwrap(), vitals.change)
            }
            LogRecord::Traits(_) => (entry.entity.clone().unwrap(), EventType::Updated),
            LogRecord::Body(_) | LogRecord::Relation { .. } | LogRecord::Insight { .. } => {
                (entry.entity.clone().unwrap(), EventType::Created)
            }
            LogRecord::Activity(activity) => (
                EntityId::Activity(activity.agent_id.clone()),
                if activity.last_heartbeat == activity.started_at {
                    EventType::Created
                } else {
                    EventType::Updated
                },
            ),
            LogRecord::ActivityEnded { agent_id } => {
                (EntityId::Activity(agent_id.clone()), EventType::Deleted)
            }
            LogRecord::CollectiveDeleted
            | LogRecord::ExperienceDeleted
            | LogRecord::RelationDeleted
            | LogRecord::InsightDeleted => (entry.entity.clone().unwrap(), EventType::Deleted),
        };
        told.push(Told {
            lsn: entry.lsn,
            collective: numbers[&collective],
            entity,
            event_type,
        });
    }
    told.retain(|one| one.lsn > after);
    told
}

#[derive(Clone, Debug, PartialEq)]
struct Told {
    lsn: Lsn,
    collective: CollectiveId,
    entity: EntityId,
    event_type: EventType,
}

impl From<&WatchEvent> for Told {
    fn from(event: &WatchEvent) -> Self {
        Self {
            lsn: event.lsn,
            collective: event.collective_id,
            entity: event.entity.clone(),
            event_type: event.event_type,
        }
    }
}

#[test]
fn every_change_of_everything_is_told() {
    run(async {
        use EventType::{Created, Deleted, Reinforced, Updated};
        for buffer_size in [1, 1000] {
            let world = World::with(settings(buffer_size));
            let db = world.open().await;
            let begin = db.current_cursor().await.unwrap();
            let mut items = db.watch(WatchOptions::default()).await.unwrap();
            assert_eq!(live(&mut items).await, begin);
            let team = db.create_collective("team").await.unwrap();
            let decay = DecayConfig {
                floor: 0.5,
                ..DecayConfig::default()
            };
            db.set_decay_config(team, decay).await.unwrap();
            let a = db.record_experience(new(team, "a")).await.unwrap();
            let b = db.record_experience(new(team, "b")).await.unwrap();
            db.reinforce_experience(a).await.unwrap();
            let relation = NewRelation::new(a, b, RelationType::Supports);
            let kept = db.store_relation(relation.clone()).await.unwrap();
            let relation = NewRelation {
                relation_type: RelationType::Implies,
                ..relation
            };
            let dropped = db.store_relation(relation).await.unwrap();
            db.delete_relation(dropped).await.unwrap();
            let derived = db.store_insight(insight(team, &[a, b])).await.unwrap();
            db.register_activity(activity(team, "ann")).await.unwrap();
            let ann = AgentId::from("ann");
            db.update_heartbeat(team, &ann).await.unwrap();
            world.env.advance(Duration::from_secs(200));
            db.update_heartbeat(team, &ann).await.unwrap();
            db.register_activity(activity(team, "ann")).await.unwrap();
            db.end_activity(team, &ann).await.unwrap();
            db.delete_insight(derived).await.unwrap();
            // The relation goes along.
            db.delete_experience(a).await.unwrap();
            db.delete_collective(team).await.unwrap();

            let ann = EntityId::Activity(ann);
            let expected = [
                (EntityId::Collective(team), Created),
                (EntityId::Collective(team), Updated),
                // The first vector says whose vectors the collective holds.
                (EntityId::Collective(team), Updated),
                (EntityId::Experience(a), Created),
                (EntityId::Experience(b), Created),
                (EntityId::Experience(a), Reinforced),
                (EntityId::Relation(kept), Created),
                (EntityId::Relation(dropped), Created),
                (EntityId::Relation(dropped), Deleted),
                (EntityId::Insight(derived), Created),
                (ann.clone(), Created),
                (ann.clone(), Updated),
                (ann.clone(), Created),
                (ann, Deleted),
                (EntityId::Insight(derived), Deleted),
                (EntityId::Experience(a), Deleted),
                (EntityId::Collective(team), Deleted),
            ];
            let story = history(&db, begin.lsn).await;
            // The same live, from the log, and asked for now and then.
            let mut again = db.watch_from(begin).await.unwrap();
            let mut asked = begin;
            for ((entity, event_type), told) in expected.iter().zip(&story) {
                for items in [&mut items, &mut again] {
                    let event = event(items).await;
                    assert_eq!((&event.entity, event.event_type), (entity, *event_type));
                    assert_eq!(Told::from(&*event), *told);
                    assert_eq!(event.collective_id, team);
                }
                let page = db.poll_changes(asked, 1).await.unwrap();
                assert_eq!(Told::from(&page.events[0]), *told);
                assert_eq!((page.events.len(), page.gap), (1, None));
                asked = page.next;
            }
            assert_eq!(live(&mut again).await, db.current_cursor().await.unwrap());
            assert!(now(&mut items).await.is_none());
            let page = db.poll_changes(asked, 1000).await.unwrap();
            assert!(page.events.is_empty() && !page.more);
            assert_eq!(page.next, db.current_cursor().await.unwrap());
        }
    });
}

#[test]
fn options_say_what_is_told() {
    run(async {
        let world = World::with(settings(1000));
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let other = db.create_collective("other").await.unwrap();
        for one in [team, other] {
            db.record_experience(new(one, "first")).await.unwrap();
        }
        let begin = db.current_cursor().await.unwrap();
        let tags = BTreeMap::from([("lang".to_owned(), "rust".to_owned())]);
        let tagged = pulsedb::NewExperience {
            tags: tags.clone(),
            ..new(team, "a")
        };
        let a = db.record_experience(tagged).await.unwrap();
        let b = db.record_experience(new(team, "b")).await.unwrap();
        db.record_experience(new(other, "c")).await.unwrap();
        let relation = NewRelation::new(a, b, RelationType::Supports);
        db.store_relation(relation).await.unwrap();
        db.reinforce_experience(a).await.unwrap();
        db.create_collective("third").await.unwrap();
        let all = WatchOptions {
            from: Some(begin),
            ..WatchOptions::default()
        };
        let of_team = WatchOptions {
            collective: Some(team),
            ..all.clone()
        };
        let of_kinds = WatchOptions {
            entities: vec![EntityKind::Relation, EntityKind::Collective],
            ..all.clone()
        };
        let with_tags = WatchOptions {
            entities: vec![EntityKind::Experience],
            filter: WatchFilter {
                tags_all: tags,
                ..WatchFilter::default()
            },
            ..all.clone()
        };
        let created = WatchOptions {
            filter: WatchFilter {
                event_types: vec![EventType::Created],
                ..WatchFilter::default()
            },
            ..all.clone()
        };
        for (options, expected) in [
            (all, 6),
            (of_team, 4),
            (of_kinds, 2),
            (with_tags, 2),
            (created, 5),
        ] {
            let mut items = db.watch(options).await.unwrap();
            for _ in 0..expected {
                event(&mut items).await;
            }
            live(&mut items).await;
        }
        let refused = WatchOptions {
            filter: WatchFilter {
                min_importance: Some(1.5),
                ..WatchFilter::default()
            },
            ..WatchOptions::default()
        };
        let refused = db.watch(refused).await.map(drop);
        assert_eq!(refused_field(refused), "filter.min_importance");
        for limit in [0, 1001] {
            assert_eq!(refused_field(db.poll_changes(begin, limit).await), "limit");
        }
    });
}

#[test]
fn cursors_of_other_histories_are_gaps() {
    run(async {
        let world = World::with(settings(1000));
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        db.record_experience(new(team, "a")).await.unwrap();
        let at = db.current_cursor().await.unwrap();
        db.record_experience(new(team, "b")).await.unwrap();
        let newest = db.current_cursor().await.unwrap();
        let ahead = Cursor {
            lsn: Lsn::new(newest.lsn.get() + 1),
            ..newest
        };
        let elsewhere = Cursor {
            timeline: Timeline::new(77),
            ..at
        };
        for from in [ahead, elsewhere] {
            let mut items = db.watch_from(from).await.unwrap();
            let gap = next(&mut items).await;
            assert_eq!(gap, Some(WatchItem::Gap { from, to: newest }));
            assert_eq!(live(&mut items).await, newest);
            let page = db.poll_changes(from, 10).await.unwrap();
            assert_eq!((page.gap, page.next), (Some((from, newest)), newest));
            let mut feed = db.change_feed(from, false).await.unwrap();
            let change = feed.recv().await.unwrap().unwrap();
            assert_eq!(change, Change::Gap { from, to: newest });
            assert_eq!(feed.cursor(), newest);
            assert!(feed.recv().await.is_none());
        }
        let mut items = db.watch_from(at).await.unwrap();
        assert_eq!(event(&mut items).await.event_type, EventType::Created);
        assert_eq!(live(&mut items).await, newest);
    });
}

/// A power cut takes what `Fast` had not synced; cursors of it are gaps, and those before it are not.
#[test]
fn what_a_power_cut_took_is_a_gap() {
    run(async {
        let mut world = World::with(Config {
            sync_mode: pulsedb::SyncMode::Fast,
            flush_interval: Duration::from_secs(60),
            ..settings(1000)
        });
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        db.record_experience(new(team, "kept")).await.unwrap();
        db.flush().await.unwrap();
        let kept = db.current_cursor().await.unwrap();
        for n in 0..20 {
            db.record_experience(new(team, format!("lost {n}")))
                .await
                .unwrap();
        }
        let lost = db.current_cursor().await.unwrap();
        let survived = world.vfs.reboot(Survival::DropAll);
        drop(db);
        world.vfs = survived;
        let db = world.open().await;
        let now_at = db.current_cursor().await.unwrap();
        assert_ne!(now_at.timeline, lost.timeline);
        db.record_experience(new(team, "later")).await.unwrap();

        let mut items = db.watch_from(kept).await.unwrap();
        assert_eq!(event(&mut items).await.event_type, EventType::Created);
        live(&mut items).await;
        let mut items = db.watch_from(lost).await.unwrap();
        match next(&mut items).await {
            Some(WatchItem::Gap { from, to }) => {
                assert_eq!(from, lost);
                assert!(to.lsn >= kept.lsn && to.lsn < lost.lsn);
                assert_eq!(to.timeline, now_at.timeline);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(event(&mut items).await.event_type, EventType::Created);
        live(&mut items).await;
        db.close().await.unwrap();
    });
}

#[test]
fn the_feed_hands_out_whole_commits() {
    run(async {
        let world = World::with(settings(4));
        let db = world.open().await;
        let begin = db.current_cursor().await.unwrap();
        let mut following = db.change_feed(begin, true).await.unwrap();
        let team = db.create_collective("team").await.unwrap();
        let batch: Vec<_> = (0..30).map(|n| new(team, format!("{n}"))).collect();
        let ids = db.record_experiences(batch).await.unwrap();
        db.delete_experience(ids[3]).await.unwrap();
        let mut within = None;
        for reopened in [false, true] {
            let db = if reopened {
                db.close().await.unwrap();
                world.open().await
            } else {
                db.clone()
            };
            let mut feed = db.change_feed(begin, false).await.unwrap();
            let mut bytes = Vec::new();
            let mut lines = Vec::new();
            let mut cursors = Vec::new();
            while let Some(change) = feed.recv().await {
                let change = change.unwrap();
                bytes.extend(change.to_bytes());
                lines.push(change.to_json().unwrap());
                cursors.push(feed.cursor());
                if !reopened {
                    let live = tokio::time::timeout(SOON, following.recv()).await;
                    assert_eq!(live.unwrap().unwrap().unwrap(), change);
                }
            }
            let mut rest = bytes.as_slice();
            let mut contents = Vec::new();
            let mut commits = 0;
            while let Some((change, len)) = Change::from_bytes(rest).unwrap() {
                rest = &rest[len..];
                let Change::Commit(commit) = change else {
                    panic!("{change:?}");
                };
                assert_eq!(commit.cursor.lsn, cursors[commits].lsn);
                commits += 1;
                let records = commit.records().unwrap();
                if records.len() >= 30 {
                    within = Some(Cursor {
                        lsn: records[7].lsn,
                        ..commit.cursor
                    });
                }
                contents.extend(records.into_iter().filter_map(|one| match one.record {
                    LogRecord::Body(body) => Some((body.content.unwrap(), body.embedding.unwrap())),
                    _ => None,
                }));
            }
            assert!(rest.is_empty());
            assert_eq!(commits, lines.len());
            let expected: Vec<_> = (0..30)
                .map(|n| (format!("{n}"), vec![1.0, 2.0, 3.0, 4.0]))
                .collect();
            assert_eq!(contents, expected);
            assert!(lines.iter().all(|line| line.starts_with(r#"{"commit":{"#)));
            // From within a commit, the whole of it.
            let mut feed = db.change_feed(within.unwrap(), false).await.unwrap();
            match feed.recv().await.unwrap().unwrap() {
                Change::Commit(commit) => assert!(commit.records().unwrap().len() >= 30),
                other => panic!("{other:?}"),
            }
        }
        assert!(following.recv().await.is_none(), "closed");
    });
}

#[test]
fn a_thread_without_a_runtime_watches_everything() {
    let world = World::with(settings(1000));
    let db: blocking::PulseDB = world.open_blocking(false);
    let begin = db.current_cursor().unwrap();
    let mut items = db.watch_from(begin).unwrap();
    assert!(matches!(items.recv(), Some(Ok(WatchItem::Live(cursor))) if cursor == begin));
    let soon = Duration::from_millis(20);
    assert!(items.recv_timeout(soon).is_pending());
    let team = db.create_collective("team").unwrap();
    assert!(matches!(
        items.recv_timeout(SOON),
        Poll::Ready(Some(Ok(WatchItem::Event(_))))
    ));
    assert_eq!(items.cursor(), db.current_cursor().unwrap());
    assert_eq!(db.change_feed(begin, false).unwrap().count(), 1);
    assert_eq!(db.poll_changes(begin, 10).unwrap().events.len(), 1);
    db.delete_collective(team).unwrap();
    db.close().unwrap();
    assert_eq!(items.count(), 1, "the deletion, and the end");
}

/// Subscriptions that nothing happens for cost a commit nothing, and hear what happens at last.
#[test]
fn ten_thousand_idle_subscriptions() {
    run(async {
        let world = World::with(settings(4));
        let db = world.open().await;
        let busy = db.create_collective("busy").await.unwrap();
        let mut idle = Vec::new();
        let mut teams = Vec::new();
        for n in 0..100 {
            let team = db.create_collective(&format!("{n}")).await.unwrap();
            teams.push(team);
            for _ in 0..100 {
                idle.push(db.watch_experiences(team).await.unwrap());
            }
        }
        let mut stream = db.watch_experiences(busy).await.unwrap();
        for n in 0..200 {
            let id = db
                .record_experience(new(busy, format!("{n}")))
                .await
                .unwrap();
            let event = stream.recv().await.unwrap().unwrap();
            assert_eq!(event.entity, EntityId::Experience(id));
        }
        for team in teams {
            db.record_experience(new(team, "at last")).await.unwrap();
        }
        for stream in &mut idle {
            let event = stream.recv().await.unwrap().unwrap();
            assert_eq!(event.event_type, EventType::Created);
        }
        db.close().await.unwrap();
    });
}

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound.max(1) as u64) as usize
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        from.get(self.below(from.len())).cloned()
    }
}

/// What the random requests know of.
#[derive(Default)]
struct Known {
    teams: Vec<CollectiveId>,
    experiences: Vec<(CollectiveId, ExperienceId)>,
    relations: Vec<RelationId>,
    insights: Vec<InsightId>,
}

async fn one_request(db: &PulseDB, world: &World, known: &mut Known, chance: &mut Chance) {
    let Some(team) = known.pick_team(chance) else {
        known
            .teams
            .push(db.create_collective("team").await.unwrap());
        return;
    };
    let one = chance.pick(&known.experiences).map(|(_, id)| id);
    let agent = AgentId::from(format!("agent {}", chance.below(3)));
    // What is not there any more is refused, which is no event.
    match (chance.below(24), one) {
        (0, _) if known.teams.len() < 3 => {
            known
                .teams
                .push(db.create_collective("team").await.unwrap());
        }
        (1, _) if chance.below(4) == 0 => {
            db.delete_collective(team).await.unwrap();
            known.teams.retain(|other| *other != team);
            known.experiences.retain(|(other, _)| *other != team);
        }
        (2, _) => {
            let decay = DecayConfig {
                half_life_ms: 1 + chance.below(1000) as u64,
                ..DecayConfig::default()
            };
            db.set_decay_config(team, decay).await.unwrap();
        }
        (3, _) => {
            let batch = (0..3).map(|n| new(team, format!("{n}"))).collect();
            let ids = db.record_experiences(batch).await.unwrap();
            known
                .experiences
                .extend(ids.into_iter().map(|id| (team, id)));
        }
        (4..8, Some(one)) => {
            let update = ExperienceUpdate {
                importance: (chance.below(2) == 0).then_some(0.25),
                domain: (chance.below(2) == 0).then(|| vec![chance.below(9).to_string()]),
                ..ExperienceUpdate::default()
            };
            let _ = db.update_experience(one, update).await;
        }
        (8..10, Some(one)) => drop(db.reinforce_experience(one).await),
        (10, Some(one)) => drop(db.archive_experience(one).await),
        (11, Some(one)) => drop(db.unarchive_experience(one).await),
        (12..14, Some(one)) => {
            let _ = db.delete_experience(one).await;
            known.experiences.retain(|(_, other)| *other != one);
        }
        (14..16, Some(one)) => {
            let other = chance.pick(&known.experiences).unwrap().1;
            let relation = NewRelation::new(one, other, RelationType::Supports);
            known.relations.extend(db.store_relation(relation).await);
        }
        (16, _) => {
            if let Some(one) = chance.pick(&known.relations) {
                let _ = db.delete_relation(one).await;
            }
        }
        (17, Some(_)) => {
            let (team, one) = chance.pick(&known.experiences).unwrap();
            known
                .insights
                .extend(db.store_insight(insight(team, &[one])).await);
        }
        (18, _) => {
            if let Some(one) = chance.pick(&known.insights) {
                let _ = db.delete_insight(one).await;
            }
        }
        (19, _) => db
            .register_activity(activity(team, agent.as_str()))
            .await
            .unwrap(),
        (20, _) => {
            world.env.advance(Duration::from_secs(100));
            let _ = db.update_heartbeat(team, &agent).await;
        }
        (21, _) => drop(db.end_activity(team, &agent).await),
        _ => {
            let id = db.record_experience(new(team, "one")).await.unwrap();
            known.experiences.push((team, id));
        }
    }
}

impl Known {
    fn pick_team(&self, chance: &mut Chance) -> Option<CollectiveId> {
        chance.pick(&self.teams)
    }
}

/// One of the subscribers of the random test.
struct Subscriber {
    options: WatchOptions,
    items: Option<WatchItems>,
    /// Where it goes on, as it has stored it.
    stored: Cursor,
    /// Up to where what it heard was compared.
    since: Lsn,
    /// Whether it was away while something was compacted.
    may_miss: bool,
    /// How often it did miss something, and how often it was told what is there instead.
    missed: (u32, u32),
}

impl Subscriber {
    fn wants(&self, told: &Told) -> bool {
        let options = &self.options;
        let is_end = options.collective == Some(told.collective)
            && told.event_type == EventType::Deleted
            && told.entity.kind() == EntityKind::Collective;
        told.lsn > self.since
            && options.collective.is_none_or(|one| one == told.collective)
            && (is_end
                || options.entities.is_empty()
                || options.entities.contains(&told.entity.kind()))
    }

    async fn watch(&mut self, db: &PulseDB) -> bool {
        let options = WatchOptions {
            from: Some(self.stored),
            ..self.options.clone()
        };
        match db.watch(options).await {
            Ok(items) => {
                self.items = Some(items);
                true
            }
            // Its collective is gone.
            Err(PulseDBError::NotFound { .. }) => false,
            Err(other) => panic!("{other:?}"),
        }
    }

    fn leave(&mut self) {
        if let Some(items) = self.items.take() {
            self.stored = items.cursor();
            assert!(
                self.stored.lsn >= self.since,
                "{} {}",
                self.stored,
                self.since
            );
        }
    }

    /// Hears all there is and compares it with what happened. False where it has come to its end.
    async fn hear(&mut self, db: &PulseDB, story: &[Told], compacted: Lsn) -> bool {
        let Some(items) = &mut self.items else {
            return true;
        };
        let mut items = std::mem::replace(items, db.watch(WatchOptions::default()).await.unwrap());
        let mut on = true;
        while let Some(expected) = story.iter().find(|told| self.wants(told)) {
            match next(&mut items).await {
                Some(WatchItem::Event(event)) => {
                    assert_eq!(Told::from(&*event), *expected, "behind {}", self.since);
                    self.since = event.lsn;
                    assert!(items.position() >= event.lsn);
                }
                Some(WatchItem::Live(cursor)) => assert!(cursor.lsn >= self.since),
                Some(WatchItem::Gap { from, to }) => {
                    assert!(
                        self.may_miss,
                        "a gap from {from} to {to}, compacted {compacted}"
                    );
                    assert!(from.lsn >= self.since);
                    self.since = to.lsn;
                    self.missed.0 += 1;
                    if self.options.state_after_gap {
                        assert_eq!(items.cursor(), from);
                        self.since = self.hear_state(db, &mut items).await;
                        self.missed.1 += 1;
                    } else {
                        assert!(to.lsn <= compacted);
                    }
                    self.may_miss = false;
                }
                None => {
                    on = false;
                    break;
                }
            }
        }
        self.items = Some(items);
        on
    }

    /// The present state, compared with what the database shows.
    async fn hear_state(&self, db: &PulseDB, items: &mut WatchItems) -> Lsn {
        let mut heard = Vec::new();
        let cursor = loop {
            match next(items).await {
                Some(WatchItem::Event(event)) => heard.push(event),
                Some(WatchItem::Live(cursor)) => break cursor,
                other => panic!("{other:?}"),
            }
        };
        assert!(heard.windows(2).all(|pair| pair[0].lsn < pair[1].lsn));
        assert!(
            heard
                .iter()
                .all(|event| event.event_type == EventType::Created)
        );
        assert_eq!(cursor, db.current_cursor().await.unwrap());
        let mut there = Vec::new();
        let mut shown = Vec::new();
        for collective in db.list_collectives().await.unwrap() {
            let id = collective.id;
            if self.options.collective.is_some_and(|one| one != id) {
                continue;
            }
            there.push(EntityId::Collective(id));
            let all = everything(db, id).await;
            for experience in &all {
                there.push(EntityId::Experience(experience.id));
                let relations = db.get_relations(
                    experience.id,
                    RelationFilter {
                        direction: pulsedb::RelationDirection::Outgoing,
                        ..RelationFilter::default()
                    },
                );
                let relations = relations.await.unwrap();
                there.extend(relations.into_iter().map(|one| EntityId::Relation(one.id)));
            }
            shown.extend(all);
            let insights = db.get_insights(id, &[1.0, 0.0, 0.0, 0.0], 1000);
            let insights = insights.await.unwrap();
            there.extend(
                insights
                    .into_iter()
                    .map(|hit| EntityId::Insight(hit.insight.id)),
            );
            for agents in [
                db.get_active_agents(id).await,
                db.list_stale_activities(id).await,
            ] {
                let agents = agents.unwrap().into_iter();
                there.extend(agents.map(|one| EntityId::Activity(one.agent_id)));
            }
        }
        let entities = &self.options.entities;
        there.retain(|one| entities.is_empty() || entities.contains(&one.kind()));
        let mut told: Vec<_> = heard.iter().map(|event| event.entity.clone()).collect();
        for list in [&mut told, &mut there] {
            list.sort_by_key(|entity| format!("{entity:?}"));
        }
        assert_eq!(told, there);
        for event in heard {
            if let Some(experience) = &event.experience {
                assert!(shown.contains(experience), "{experience:?}");
            }
        }
        cursor.lsn
    }
}

async fn random_life(seed: u64) -> (u32, u32) {
    let mut chance = Chance(seed);
    let buffer_size = [1, 2, 8, 1000][chance.below(4)];
    let mut world = World::with(Config {
        segment_bytes: 64 * 1024,
        max_commit_bytes: 32 * 1024,
        ..settings(buffer_size)
    });
    let mut db = world.open().await;
    let mut known = Known::default();
    let mut story: Vec<Told> = Vec::new();
    let mut compacted = Lsn::ZERO;
    let mut subscribers: Vec<Subscriber> = Vec::new();
    for _ in 0..400 {
        one_request(&db, &world, &mut known, &mut chance).await;
        let heard = story.last().map_or(Lsn::ZERO, |told| told.lsn);
        if chance.below(3) == 0 || subscribers.is_empty() {
            story.extend(history(&db, heard).await);
        }
        match chance.below(30) {
            0..3 => {
                let at = db.current_cursor().await.unwrap();
                let collective = (chance.below(2) == 0).then(|| known.pick_team(&mut chance));
                let kinds = [
                    vec![],
                    vec![EntityKind::Experience],
                    vec![EntityKind::Relation, EntityKind::Activity],
                ];
                let mut one = Subscriber {
                    options: WatchOptions {
                        collective: collective.flatten(),
                        entities: chance.pick(&kinds).unwrap(),
                        state_after_gap: chance.below(2) == 0,
                        ..WatchOptions::default()
                    },
                    items: None,
                    stored: at,
                    since: at.lsn,
                    may_miss: false,
                    missed: (0, 0),
                };
                assert!(one.watch(&db).await);
                subscribers.push(one);
            }
            3..6 if !subscribers.is_empty() => {
                let at = chance.below(subscribers.len());
                subscribers[at].leave();
            }
            6..10 => {
                let mut kept = Vec::new();
                for mut one in subscribers {
                    if one.items.is_some() || one.watch(&db).await {
                        kept.push(one);
                    }
                }
                subscribers = kept;
            }
            10..14 => {
                story.extend(history(&db, story.last().map_or(Lsn::ZERO, |one| one.lsn)).await);
                let mut kept = Vec::new();
                for mut one in subscribers {
                    if one.hear(&db, &story, compacted).await {
                        kept.push(one);
                    }
                }
                subscribers = kept;
            }
            14 => {
                story.extend(history(&db, story.last().map_or(Lsn::ZERO, |one| one.lsn)).await);
                compacted = db.current_cursor().await.unwrap().lsn;
                for one in &mut subscribers {
                    one.may_miss |= one.items.is_none();
                }
                db.compact().await.unwrap();
            }
            15 => {
                story.extend(history(&db, story.last().map_or(Lsn::ZERO, |one| one.lsn)).await);
                for one in &mut subscribers {
                    one.leave();
                }
                if chance.below(2) == 0 {
                    db.close().await.unwrap();
                } else {
                    // A power cut: what was acknowledged is there.
                    let survived = world.vfs.reboot(Survival::DropAll);
                    drop(db);
                    world.vfs = survived;
                }
                // History that nobody lagged for at the time of a close or a cut may be gone.
                db = world.open().await;
            }
            _ => {}
        }
    }
    story.extend(history(&db, story.last().map_or(Lsn::ZERO, |one| one.lsn)).await);
    let mut missed = (0, 0);
    for mut one in subscribers {
        if one.items.is_some() || one.watch(&db).await {
            one.hear(&db, &story, compacted).await;
        }
        missed = (missed.0 + one.missed.0, missed.1 + one.missed.1);
    }
    db.close().await.unwrap();
    missed
}

#[test]
fn random_lives_are_told_as_they_were() {
    let mut missed = (0, 0);
    for seed in 0..12 {
        let (gaps, states) = run(random_life(seed));
        missed = (missed.0 + gaps, missed.1 + states);
    }
    assert!(missed.0 > missed.1 && missed.1 > 0, "{missed:?}");
}
