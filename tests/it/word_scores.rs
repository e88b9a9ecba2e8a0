//! Does an explanation tell where scores come from, are insights found by their words, and is what waits to be indexed bounded?

use std::time::Duration;

use pulsedb::{
    CollectiveId, Config, Diversity, ExperienceId, Fusion, HitExplanation, InsightFilter,
    InsightType, NewExperience, NewInsight, PulseDB, PulseDBError, Query, RecallWeights, ScorePart,
    SearchOptions, TextConfig,
};

use crate::support::{World, config, run};

const EAST: [f32; 4] = [1.0, 0.0, 0.0, 0.0];
const FAR: [f32; 4] = [0.0, 0.0, 0.0, 1.0];

async fn record(
    db: &PulseDB,
    team: CollectiveId,
    text: &str,
    vector: [f32; 4],
    task: Option<&str>,
) -> ExperienceId {
    let new = NewExperience {
        embedding: Some(vector.to_vec()),
        source_task: task.map(Into::into),
        ..NewExperience::new(team, "agent", text)
    };
    db.record_experience(new).await.unwrap()
}

fn close(a: f32, b: f32) -> bool {
    (a - b).abs() <= 1e-4 * (1.0 + a.abs().max(b.abs()))
}

/// Everything that an explanation says of a result must come to its score.
fn adds_up(told: &HitExplanation, weights: Option<RecallWeights>) {
    let part = |part: Option<ScorePart>| part.unwrap_or_default();
    let (dense, lexical) = (part(told.parts.dense), part(told.parts.lexical));
    let terms: f32 = told.terms.iter().map(|(_, score)| score).sum();
    assert!(close(terms, lexical.own), "{told:?}");
    let lent: f32 = told.neighbours.iter().map(|one| one.dense).sum();
    assert!(close(lent, dense.lent), "{told:?}");
    let lent: f32 = told.neighbours.iter().map(|one| one.lexical).sum();
    assert!(close(lent, lexical.lent), "{told:?}");
    let shares = dense.share + lexical.share;
    let score = match weights {
        Some(weights) => weights.similarity * shares + weights.energy * told.energy.unwrap(),
        None => shares,
    };
    assert_eq!(told.energy.is_some(), weights.is_some());
    assert!(close(score, told.score), "{told:?}");
}

#[test]
fn every_part_of_every_score_is_told() {
    run(async {
        let db = World::new().open().await;
        let team = db.create_collective("team").await.unwrap();
        let before = record(&db, team, "what did the clocks say", FAR, Some("a")).await;
        let hit = record(&db, team, "latency jitter retries", EAST, Some("a")).await;
        for n in 0..40 {
            let slant = [1.0, n as f32 / 10.0, 0.5, 0.0];
            let task = ["b", "c"][n % 2];
            record(&db, team, &format!("jitter number {n}"), slant, Some(task)).await;
        }
        let query = || Query::plain("The jitter of retries, retries!").with_vector(EAST);
        let energy = Some(RecallWeights {
            similarity: 0.7,
            energy: 0.3,
        });
        for (fusion, weights, diversity) in [
            (Fusion::MinMax, None, None),
            (Fusion::ReciprocalRank { constant: 10 }, energy, None),
            (Fusion::MinMax, energy, Some(Diversity::default())),
        ] {
            let options = || SearchOptions {
                k: 8,
                fusion,
                weights,
                diversity,
                ..SearchOptions::default()
            };
            let hits = db.search(team, query(), options()).await.unwrap();
            let told = db.explain(team, query(), options()).await.unwrap();
            assert_eq!(told.hits, 8);
            let answered = hits
                .iter()
                .map(|hit| (hit.experience.id, hit.score, hit.parts));
            let explained = told
                .results
                .iter()
                .map(|one| (one.id, one.score, one.parts));
            assert_eq!(answered.collect::<Vec<_>>(), explained.collect::<Vec<_>>());
            for hit in &hits {
                let vector = &hit.experience.embedding;
                let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
                assert!((hit.similarity - vector[0] / length).abs() < 1e-6);
            }
            for one in &told.results {
                adds_up(one, weights);
                assert_eq!(one.likeness.is_some(), diversity.is_some());
            }
            let words = told.words.unwrap();
            let terms = words.terms.iter();
            let terms: Vec<_> = terms
                .map(|one| (one.term.as_str(), one.experiences))
                .collect();
            assert_eq!(terms, [("jitter", 41), ("retri", 1)]);
            assert_eq!((words.indexed, words.proposed), (42, 41));
            let of_hit = told.results.iter().find(|one| one.id == hit).unwrap();
            assert_eq!(of_hit.terms.len(), 2);
            if let Some(lifted) = told.results.iter().find(|one| one.id == before) {
                assert_eq!(lifted.neighbours[0].id, hit);
            }
        }
        // By words alone, and by the vector alone.
        let told = db.explain(team, Query::words("+retries"), SearchOptions::default());
        let told = told.await.unwrap();
        assert_eq!((told.hits, told.matches), (1, Some(1)));
        adds_up(&told.results[0], None);
        let told = db
            .explain(team, &EAST, SearchOptions::default())
            .await
            .unwrap();
        assert!(told.words.is_none());
        assert_eq!(told.results[0].id, hit);
        told.results.iter().for_each(|one| adds_up(one, None));
        db.close().await.unwrap();
    });
}

#[test]
fn insights_are_found_by_their_words() {
    run(async {
        let db = World::new().open().await;
        let team = db.create_collective("team").await.unwrap();
        let source = record(&db, team, "a source with jitter", EAST, None).await;
        let insight = |text: &str, vector: [f32; 4], confidence| NewInsight {
            collective_id: team,
            content: text.into(),
            embedding: Some(vector.to_vec()),
            source_experience_ids: vec![source],
            insight_type: InsightType::Pattern,
            confidence,
            domain: Vec::new(),
        };
        let any = InsightFilter::default;
        let found = db.search_insights(team, "jitter", 5, any()).await.unwrap();
        assert!(found.is_empty());
        let jitter = db.store_insight(insight("Retries need jitter.", FAR, 0.9));
        let jitter = jitter.await.unwrap();
        let near = db
            .store_insight(insight("Something else.", EAST, 0.5))
            .await
            .unwrap();
        let ids = async |query: Query, filter: InsightFilter| {
            let found = db.search_insights(team, query, 5, filter).await.unwrap();
            found
                .into_iter()
                .map(|hit| hit.insight.id)
                .collect::<Vec<_>>()
        };
        assert_eq!(ids("retry +jitter".into(), any()).await, [jitter]);
        assert_eq!(ids("-jitter +else".into(), any()).await, [near]);
        assert_eq!(ids(Query::vector(EAST), any()).await, [near, jitter]);
        let both = || Query::plain("retrying").with_vector(FAR);
        assert_eq!(ids(both(), any()).await, [jitter, near]);
        let sure = InsightFilter {
            min_confidence: Some(0.8),
            ..any()
        };
        assert_eq!(
            ids(Query::plain("else").with_vector(EAST), sure).await,
            [jitter]
        );
        let hit = db
            .search_insights(team, both(), 1, any())
            .await
            .unwrap()
            .remove(0);
        let share = |part: Option<ScorePart>| part.unwrap().share;
        let sum = share(hit.parts.dense) + share(hit.parts.lexical);
        assert!(close(sum, hit.score) && close(hit.similarity, 1.0));

        // What a transaction has stored itself is found by its vector.
        let mut transaction = db.begin().await.unwrap();
        transaction
            .store_insight(insight("More jitter.", FAR, 1.0))
            .await
            .unwrap();
        let found = transaction
            .search_insights(team, both(), 5, any())
            .await
            .unwrap();
        assert_eq!(found.len(), 3);
        let refused = transaction.search_insights(team, "jitter", 5, any()).await;
        assert!(matches!(refused, Err(PulseDBError::Validation { .. })));
        drop(transaction);
        db.delete_insight(jitter).await.unwrap();
        assert!(ids("jitter".into(), any()).await.is_empty());
        db.close().await.unwrap();
    });
}

#[test]
fn texts_wait_where_many_wait_to_be_indexed() {
    run(async {
        let bound = 10;
        let world = World::with(Config {
            text: TextConfig {
                max_tail_rows: bound,
                ..TextConfig::default()
            },
            write_timeout: Duration::from_millis(20),
            segment_bytes: 16 << 20,
            max_commit_bytes: 4 << 20,
            max_queue_bytes: 16 << 20,
            ..config()
        });
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let long = "A text of many words which takes its time. ".repeat(2_300);
        let batch = || -> Vec<NewExperience> {
            let new = || NewExperience {
                embedding: Some(EAST.to_vec()),
                ..NewExperience::new(team, "agent", long.as_str())
            };
            (0..20).map(|_| new()).collect()
        };
        let tail = async || db.get_collective_stats(team).await.unwrap().text_tail_rows;
        // As long as nobody searches by words, nobody waits.
        for _ in 0..3 {
            db.record_experiences(batch()).await.unwrap();
        }
        assert_eq!(tail().await, 0);
        let hits = db.search(team, Query::words("words"), SearchOptions::default());
        assert_eq!(hits.await.unwrap().len(), 10);
        let mut refused = 0;
        for _ in 0..3 {
            match db.record_experiences(batch()).await {
                Ok(_) => {}
                Err(PulseDBError::Backpressure { what, .. }) => {
                    assert!(what.contains("words"), "{what}");
                    refused += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert!(refused > 0);
        // A search leaves nothing undone, and then there is room.
        let hits = db.search(team, Query::words("words"), SearchOptions::default());
        hits.await.unwrap();
        assert_eq!(tail().await, 0);
        db.record_experiences(batch()).await.unwrap();
        db.close().await.unwrap();
    });
}
