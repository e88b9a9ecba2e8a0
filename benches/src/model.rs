//! What does the memory model cost on top of a search?
//!
//! A context beside a plain search of the same database; the newest experiences of a large collective beside
//! those of a small one; the relations of one experience beside a look into a hash map. One thread, through
//! the blocking handle, everything in memory.

use std::{
    collections::HashMap,
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use pulsedb::{
    CollectiveId, ContextRequest, ExperienceId, InsightType, NewActivity, NewInsight, NewRelation,
    RelationFilter, RelationId, RelationType, SyncMode, blocking::PulseDB,
};

use crate::{
    machine, ours,
    report::{Report, Target},
    rounds::{Contender, interleave},
    settings::Settings,
    vectors::{Random, Vectors},
    workdir::WorkDir,
};

/// Rows of the large collective that the targets are meant for, and of the small one.
const LARGE: usize = 100_000;
const SMALL: usize = 1_000;
/// Experiences with relations, each with this many.
const RELATED: usize = 10_000;
const DEGREE: usize = 10;
const INSIGHTS: usize = 1_000;
const AGENTS: usize = 20;
const K: usize = 20;
const CONTENT: &str = "a word or two about what was learned, and under which circumstances it held";
const BATCH: usize = 500;
/// Operations between two looks at the clock.
const STRIDE: usize = 8;

/// Runs the bench and leaves its table.
pub(crate) fn run(settings: &Settings) -> Result<()> {
    let rows = settings.rows.iter().copied().max().unwrap_or(LARGE);
    ensure!(rows > SMALL, "a bench of {rows} rows shows nothing");
    let vectors = Vectors::get(settings.data.as_deref(), rows)?;
    let work = WorkDir::new(&settings.dir)?;
    let mut header = machine::describe(&settings.dir)?;
    header.push(format!("vectors: {}", vectors.origin));
    header.push(format!(
        "{rows} experiences, {INSIGHTS} insights, {} relations, {AGENTS} agents",
        RELATED.min(rows) * DEGREE / 2
    ));
    let mut report = Report::new("model", settings, header);
    work.with(|dir| {
        let memory = Memory::fill(dir, &vectors, rows)?;
        memory.context(settings, &vectors, &mut report)?;
        memory.recent(settings, rows, &mut report)?;
        memory.relations(settings, &mut report)?;
        memory.db.close()?;
        Ok(())
    })?;
    report.finish()
}

struct Memory {
    db: PulseDB,
    large: CollectiveId,
    small: CollectiveId,
    /// Experiences with relations.
    related: Vec<ExperienceId>,
    /// What a program would keep in memory instead.
    map: HashMap<ExperienceId, Vec<RelationId>>,
}

impl Memory {
    fn fill(dir: &Path, vectors: &Vectors, rows: usize) -> Result<Self> {
        let config = pulsedb::Config {
            sync_mode: SyncMode::Fast,
            ..ours::fresh_config(vectors.dimension)
        };
        let db = PulseDB::open(dir, config)?;
        let (large, small) = (
            db.create_collective("large")?,
            db.create_collective("small")?,
        );
        let mut ids = Vec::with_capacity(rows);
        for (collective, count) in [(large, rows), (small, SMALL)] {
            let all = vectors.first(count);
            ensure!(
                all.len() == count * vectors.dimension,
                "there are not {count} rows of data"
            );
            let all: Vec<&[f32]> = all.chunks_exact(vectors.dimension).collect();
            for batch in all.chunks(BATCH) {
                let new = batch
                    .iter()
                    .map(|vector| ours::experience(collective, CONTENT, vector));
                let recorded = db.record_experiences(new.collect())?;
                if collective == large {
                    ids.extend(recorded);
                }
            }
        }
        let first = vectors.first(INSIGHTS);
        for (vector, source) in first.chunks_exact(vectors.dimension).zip(&ids) {
            db.store_insight(NewInsight {
                collective_id: large,
                content: CONTENT.into(),
                embedding: Some(vector.to_vec()),
                source_experience_ids: vec![*source],
                insight_type: InsightType::Synthesis,
                confidence: 0.7,
                domain: Vec::new(),
            })?;
        }
        for number in 0..AGENTS {
            db.register_activity(NewActivity {
                agent_id: format!("agent {number}").into(),
                collective_id: large,
                current_task: Some("task".into()),
                context_summary: None,
            })?;
        }
        let step = (rows / RELATED).max(1);
        let related: Vec<ExperienceId> = ids.iter().step_by(step).take(RELATED).copied().collect();
        let mut map: HashMap<ExperienceId, Vec<RelationId>> = HashMap::new();
        // Each leads to the next five of a ring, and so five lead to it.
        for (place, source) in related.iter().enumerate() {
            for next in 1..=DEGREE / 2 {
                let target = related[(place + next) % related.len()];
                let new = NewRelation::new(*source, target, RelationType::RelatedTo);
                let id = db.store_relation(new)?;
                map.entry(*source).or_default().push(id);
                map.entry(target).or_default().push(id);
            }
        }
        db.rebuild_index(large)?;
        db.flush()?;
        Ok(Self {
            db,
            large,
            small,
            related,
            map,
        })
    }

    fn context(&self, settings: &Settings, vectors: &Vectors, report: &mut Report) -> Result<()> {
        let queries: Vec<&[f32]> = vectors.queries().collect();
        let (db, large) = (&self.db, self.large);
        let nth = |n: usize| queries[n % queries.len()];
        let context = |n: usize| {
            let request = ContextRequest::about_vector(large, nth(n).to_vec());
            let found = db.get_context_candidates(request)?;
            ensure!(found.similar.len() <= K && !found.relations.is_empty());
            black_box(found);
            Ok(())
        };
        let search = |n: usize| {
            black_box(db.search_similar(large, nth(n), K)?);
            Ok(())
        };
        let contenders = vec![
            Contender::new("context", || per_operation(settings.measure, context)),
            Contender::new("search", || per_operation(settings.measure, search)),
        ];
        let measured = interleave("context", settings.rounds, contenders)?;
        report.compare(
            "context: 20 similar, 10 recent, 10 insights, 20 relations, agents",
            "µs",
            measured.of("context")?,
            ("ours, plain search, k = 20", measured.of("search")?),
            Some(Target::AtMost(2.0)),
        );
        Ok(())
    }

    fn recent(&self, settings: &Settings, rows: usize, report: &mut Report) -> Result<()> {
        let recent = |collective| {
            per_operation(settings.measure, |_| {
                let found = self.db.get_recent_experiences(collective, K)?;
                ensure!(found.len() == K);
                black_box(found);
                Ok(())
            })
        };
        let contenders = vec![
            Contender::new("large", || recent(self.large)),
            Contender::new("small", || recent(self.small)),
        ];
        let measured = interleave("recent", settings.rounds, contenders)?;
        report.compare(
            &format!("the 20 newest of {rows}"),
            "µs",
            measured.of("large")?,
            ("ours, of 1000", measured.of("small")?),
            Some(Target::AtMost(1.5)),
        );
        Ok(())
    }

    fn relations(&self, settings: &Settings, report: &mut Report) -> Result<()> {
        let mut ours = Random::seeded(1);
        let mut theirs = Random::seeded(1);
        let mut whole = Random::seeded(2);
        let any = |random: &mut Random| {
            let place = random.below(self.related.len() as u64);
            self.related[place as usize]
        };
        let contenders = vec![
            Contender::new("relations", || {
                per_operation(settings.measure, |_| {
                    let id = any(&mut ours);
                    let found = self.db.get_relations(id, RelationFilter::default())?;
                    ensure!(found.len() == DEGREE);
                    black_box(found);
                    Ok(())
                })
            }),
            Contender::new("related experiences", || {
                per_operation(settings.measure, |_| {
                    let id = any(&mut whole);
                    let both = pulsedb::RelationDirection::Both;
                    black_box(self.db.get_related_experiences(id, both)?);
                    Ok(())
                })
            }),
            Contender::new("map", || {
                per_operation(settings.measure, |_| {
                    let id = any(&mut theirs);
                    black_box(self.map.get(black_box(&id)));
                    Ok(())
                })
            }),
        ];
        let measured = interleave("relations", settings.rounds, contenders)?;
        let map = measured.of("map")?;
        report.compare(
            "the 10 relations of one experience",
            "µs",
            measured.of("relations")?,
            ("a hash map's get", map),
            Some(Target::AtMost(20.0)),
        );
        report.compare(
            "the 10 related experiences, whole",
            "µs",
            measured.of("related experiences")?,
            ("a hash map's get", map),
            None,
        );
        Ok(())
    }
}

/// Microseconds of one operation, after a fifth of the time to warm up.
fn per_operation(measure: Duration, mut operation: impl FnMut(usize) -> Result<()>) -> Result<f64> {
    let mut count = 0;
    let mut go = |time: Duration| {
        let (started, before) = (Instant::now(), count);
        while started.elapsed() < time {
            for _ in 0..STRIDE {
                operation(count)?;
                count += 1;
            }
        }
        anyhow::Ok(started.elapsed().as_secs_f64() * 1e6 / (count - before) as f64)
    };
    go(measure / 5)?;
    go(measure)
}
