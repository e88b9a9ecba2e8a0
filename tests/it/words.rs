//! Are experiences found by their words, and only those that a snapshot shows?
//!
//! The model reads what the database shows, splits it at white space, and scores every experience by BM25; its words are such
//! that nothing needs to be folded. What analysers make of real words, their own tests say.

#![allow(
    clippy::disallowed_methods,
    reason = "tests start threads as they like"
)]

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use pulsedb::{
    Collective, CollectiveId, Config, Diversity, Experience, ExperienceId, FusionWeights,
    NeighbourEvidence, NewExperience, PulseDB, PulseDBError, Query, RetentionConfig, SearchFilter,
    SearchHit, SearchOptions, TextConfig, TextIndexing, TextLanguage,
};

use crate::support::{World, config, dump, new, run};

/// Numbers that nobody but this test knows.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    /// A text of words of which some are frequent.
    fn text(&mut self) -> String {
        let words = 1 + self.below(12);
        let word = |_| match self.below(3) {
            0 => format!("qa{}", self.below(3)),
            1 => format!("qb{}", self.below(20)),
            _ => format!("qc{}", self.below(400)),
        };
        (0..words).map(word).collect::<Vec<_>>().join(" ")
    }
}

fn k(k: usize) -> SearchOptions {
    SearchOptions {
        k,
        ..SearchOptions::default()
    }
}

fn ids(hits: &[SearchHit]) -> Vec<ExperienceId> {
    hits.iter().map(|hit| hit.experience.id).collect()
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

/// BM25 of every experience that has a word of the query, best first.
fn bm25(shown: &[Experience], query: &str) -> Vec<(ExperienceId, f64)> {
    let TextConfig { k1, b, .. } = TextConfig::default();
    let (k1, b) = (f64::from(k1), f64::from(b));
    let count = shown.len() as f64;
    let lengths: usize = shown.iter().map(|one| words(&one.content).len()).sum();
    let average = lengths as f64 / count;
    let mut scores: BTreeMap<ExperienceId, f64> = BTreeMap::new();
    for word in words(query) {
        let tf =
            |one: &Experience| words(&one.content).iter().filter(|w| **w == word).count() as f64;
        let df = shown.iter().filter(|one| tf(one) > 0.0).count() as f64;
        let idf = (1.0 + (count - df + 0.5) / (df + 0.5)).ln();
        for one in shown.iter().filter(|one| tf(one) > 0.0) {
            let length = words(&one.content).len() as f64;
            let norm = k1 * (1.0 - b + b * length / average);
            *scores.entry(one.id).or_default() += idf * tf(one) * (k1 + 1.0) / (tf(one) + norm);
        }
    }
    let mut scores: Vec<_> = scores.into_iter().collect();
    scores.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    scores
}

/// What must be found for each kind of query, by looking at every text.
fn expected(shown: &[Experience], chance: &mut Chance) -> (String, BTreeSet<ExperienceId>) {
    let some = chance.text();
    let of_some = words(&some);
    let has = |one: &Experience, word: &str| words(&one.content).contains(&word);
    let first = of_some[0];
    let last = of_some[of_some.len() - 1];
    let any = |one: &Experience| of_some.iter().any(|word| has(one, word));
    type Fulfils<'a> = Box<dyn Fn(&Experience) -> bool + 'a>;
    let (query, fulfils): (String, Fulfils<'_>) = match chance.below(5) {
        0 => (some.clone(), Box::new(any)),
        1 => (format!("+{first} {some}"), Box::new(|one| has(one, first))),
        2 if first != last => (
            format!("{first} -{last}"),
            Box::new(|one| has(one, first) && !has(one, last)),
        ),
        3 => {
            let phrase = of_some
                .iter()
                .take(2)
                .copied()
                .collect::<Vec<_>>()
                .join(" ");
            let within = phrase.clone();
            let has_phrase = move |one: &Experience| {
                format!(" {} ", one.content).contains(&format!(" {within} "))
            };
            (format!("\"{phrase}\""), Box::new(has_phrase))
        }
        _ => {
            let prefix = &first[..3];
            let begins =
                move |one: &Experience| words(&one.content).iter().any(|w| w.starts_with(prefix));
            (format!("{prefix}*"), Box::new(begins))
        }
    };
    let found = shown
        .iter()
        .filter(|one| fulfils(one))
        .map(|one| one.id)
        .collect();
    drop(fulfils);
    (query, found)
}

async fn shown(db: &PulseDB, team: CollectiveId) -> Vec<Experience> {
    let all: Vec<(Collective, Vec<Experience>)> = dump(db).await;
    let own = all
        .into_iter()
        .find(|(collective, _)| collective.id == team);
    own.unwrap()
        .1
        .into_iter()
        .filter(|one| !one.archived)
        .collect()
}

async fn agrees(db: &PulseDB, team: CollectiveId, chance: &mut Chance, what: &str) {
    let all = shown(db, team).await;
    for _ in 0..12 {
        let (query, expected) = expected(&all, chance);
        let hits = db.search(team, &query, k(1000)).await.unwrap();
        let found: BTreeSet<ExperienceId> = ids(&hits).into_iter().collect();
        assert_eq!(found.len(), hits.len(), "{what}: {query}");
        assert_eq!(found, expected, "{what}: {query}");
        let few = db.search(team, &query, k(3)).await.unwrap();
        assert_eq!(few.len(), hits.len().min(3), "{what}: {query}");
    }
}

#[test]
fn every_visible_match_is_found_whatever_happens() {
    for indexing in [TextIndexing::OnUse, TextIndexing::Always] {
        let world = World::with(Config {
            text: TextConfig {
                indexing,
                ..TextConfig::default()
            },
            ..config()
        });
        run(async {
            let mut chance = Chance(7);
            let mut db = world.open().await;
            let team = db.create_collective("team").await.unwrap();
            let other = db.create_collective("other").await.unwrap();
            let mut living = Vec::new();
            for round in 0..10 {
                for _ in 0..chance.below(150) {
                    let text = chance.text();
                    living.push(db.record_experience(new(team, text)).await.unwrap());
                    if chance.below(4) == 0 {
                        db.record_experience(new(other, chance.text()))
                            .await
                            .unwrap();
                    }
                }
                for _ in 0..chance.below(living.len() as u64 / 3 + 1) {
                    let one = living.swap_remove(chance.below(living.len() as u64) as usize);
                    match chance.below(3) {
                        0 => db.archive_experience(one).await.unwrap(),
                        _ => db.delete_experience(one).await.unwrap(),
                    }
                }
                agrees(&db, team, &mut chance, &format!("round {round}")).await;
                match chance.below(3) {
                    0 => {
                        db.compact().await.unwrap();
                        agrees(&db, team, &mut chance, "compacted").await;
                    }
                    1 => {
                        db.close().await.unwrap();
                        db = world.open().await;
                        agrees(&db, team, &mut chance, "opened").await;
                    }
                    _ => {}
                }
                agrees(&db, other, &mut chance, "another collective").await;
            }
            db.close().await.unwrap();
            let reader = world.open_read_only().await;
            agrees(&reader, team, &mut chance, "read only").await;
            reader.close().await.unwrap();
        });
    }
}

#[test]
fn scores_are_those_of_bm25() {
    run(async {
        let mut chance = Chance(11);
        let db = World::new().open().await;
        let team = db.create_collective("team").await.unwrap();
        for _ in 0..400 {
            db.record_experience(new(team, chance.text()))
                .await
                .unwrap();
        }
        let stats = db.get_collective_stats(team).await.unwrap();
        assert_eq!(stats.text_index_bytes, 0, "nobody has asked yet");
        let all = shown(&db, team).await;
        for _ in 0..30 {
            let query = chance.text();
            let expected = bm25(&all, &query);
            let hits = db.search(team, Query::words(&query), k(50)).await.unwrap();
            assert_eq!(hits.len(), expected.len().min(50));
            for (hit, (_, score)) in hits.iter().zip(&expected) {
                let lexical = hit.parts.lexical.unwrap();
                let off = f64::from(lexical.own) - score;
                assert!(
                    off.abs() < 1e-3 * score,
                    "{query}: {} is not {score}",
                    lexical.own
                );
                assert!((lexical.share - hit.score).abs() < 1e-6 && hit.parts.dense.is_none());
                assert_eq!((lexical.lent, hit.similarity), (0.0, 0.0));
            }
        }
        let stats = db.get_collective_stats(team).await.unwrap();
        assert!((1..=stats.index_bytes).contains(&stats.text_index_bytes));
        db.close().await.unwrap();
    });
}

#[test]
fn a_snapshot_finds_what_it_shows() {
    let world = World::with(Config {
        retention: RetentionConfig {
            bytes: 1 << 30,
            ..RetentionConfig::default()
        },
        ..config()
    });
    run(async {
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let early = db.record_experience(new(team, "early bird")).await.unwrap();
        let lsn = db.current_cursor().await.unwrap().lsn;
        let before = db.snapshot().await.unwrap();
        assert_eq!(ids(&db.search(team, "bird", k(9)).await.unwrap()), [early]);
        db.delete_experience(early).await.unwrap();
        let late = db.record_experience(new(team, "late bird")).await.unwrap();
        assert_eq!(ids(&db.search(team, "bird", k(9)).await.unwrap()), [late]);
        assert_eq!(
            ids(&before.search(team, "bird", k(9)).await.unwrap()),
            [early]
        );
        let past = db.snapshot_at(lsn).await.unwrap();
        assert_eq!(
            ids(&past.search(team, "bird", k(9)).await.unwrap()),
            [early]
        );
        // The snapshot is older than the first search after the open.
        drop((before, past));
        db.close().await.unwrap();
        let db = world.open().await;
        let past = db.snapshot_at(lsn).await.unwrap();
        assert_eq!(ids(&db.search(team, "bird", k(9)).await.unwrap()), [late]);
        assert_eq!(
            ids(&past.search(team, "bird", k(9)).await.unwrap()),
            [early]
        );
        drop(past);
        db.close().await.unwrap();
    });
}

#[test]
fn filters_are_answered_in_full() {
    run(async {
        let db = World::new().open().await;
        let team = db.create_collective("team").await.unwrap();
        let mut wanted = Vec::new();
        for number in 0..300 {
            let domain = if number % 50 == 0 { "rare" } else { "usual" };
            let mut one = new(team, format!("filtered text{number}"));
            one.domain = vec![domain.to_owned()];
            let id = db.record_experience(one).await.unwrap();
            if domain == "rare" {
                wanted.push(id);
            }
        }
        let options = SearchOptions {
            filter: SearchFilter {
                domains: vec!["rare".to_owned()],
                ..SearchFilter::default()
            },
            ..k(6)
        };
        for query in [
            Query::from("filtered"),
            Query::from("filtered").with_vector([1.0, 2.0, 3.0, 4.0]),
            Query::from("nowhere").with_vector([1.0, 2.0, 3.0, 4.0]),
        ] {
            let mut found = ids(&db.search(team, query, options.clone()).await.unwrap());
            found.sort_unstable();
            assert_eq!(found, wanted);
        }
        let few = db.search(team, "text29* text297", k(20)).await.unwrap();
        assert_eq!(few.len(), 11, "text29, and text290 to text299");
        assert_eq!(few[0].experience.content, "filtered text297");
        let excluded = Query::from("-text0 -text50").with_vector([1.0, 2.0, 3.0, 4.0]);
        let mut found = ids(&db.search(team, excluded, options).await.unwrap());
        found.sort_unstable();
        assert_eq!(found, wanted[2..]);
        db.close().await.unwrap();
    });
}

#[test]
fn words_and_vector_make_one_ranking() {
    run(async {
        let db = World::new().open().await;
        let team = db.create_collective("team").await.unwrap();
        let record = async |text: &str, vector: [f32; 4], task: Option<&str>| {
            let one = NewExperience {
                embedding: Some(vector.to_vec()),
                source_task: task.map(Into::into),
                ..NewExperience::new(team, "agent", text)
            };
            db.record_experience(one).await.unwrap()
        };
        let far = [0.0, 0.0, 0.0, 1.0];
        let before = record("what did you measure", far, Some("a")).await;
        let between = record("lunch was fine", far, Some("b")).await;
        let hit = record("latency jitter retries", [1.0, 0.0, 0.0, 0.0], Some("a")).await;
        let near = record("something else", [0.9, 0.1, 0.0, 0.0], None).await;
        let by_words = record("jitter of clocks", far, None).await;
        let query = || Query::plain("jitter retries").with_vector([1.0, 0.0, 0.0, 0.0]);

        let hits = db.search(team, query(), k(5)).await.unwrap();
        assert_eq!(hits[0].experience.id, hit);
        for hit in &hits {
            let share = |part: Option<pulsedb::ScorePart>| part.map_or(0.0, |part| part.share);
            let sum = share(hit.parts.dense) + share(hit.parts.lexical);
            assert!((sum - hit.score).abs() < 1e-6, "{hit:?}");
        }
        let found: BTreeSet<ExperienceId> = ids(&hits).into_iter().collect();
        assert!([before, near, by_words].iter().all(|id| found.contains(id)));
        let place = |hits: &[SearchHit], id| ids(hits).iter().position(|one| *one == id).unwrap();
        // It stands next to the hit in its task, across another one; that does not.
        assert!(place(&hits, before) < place(&hits, between));
        let alone = SearchOptions {
            neighbours: Some(NeighbourEvidence::NONE),
            ..k(5)
        };
        let alone = db.search(team, query(), alone).await.unwrap();
        assert_eq!(
            alone[place(&alone, before)].score,
            alone[place(&alone, between)].score
        );

        // One of the two decides alone where the other does not count.
        for (dense, lexical, second) in [(1.0, 0.0, near), (0.0, 1.0, by_words)] {
            let options = SearchOptions {
                fusion_weights: FusionWeights { dense, lexical },
                neighbours: Some(NeighbourEvidence::NONE),
                ..k(2)
            };
            let hits = db.search(team, query(), options).await.unwrap();
            assert_eq!(ids(&hits), [hit, second]);
        }
        db.close().await.unwrap();
    });
}

#[test]
fn results_need_not_be_all_alike() {
    run(async {
        let db = World::new().open().await;
        let team = db.create_collective("team").await.unwrap();
        for (text, vector) in [
            ("cache cache miss", [1.0, 0.0, 0.0, 0.0]),
            ("cache cache miss", [1.0, 0.001, 0.0, 0.0]),
            ("cache elsewhere in this longer text", [0.0, 1.0, 0.0, 0.0]),
        ] {
            let one = NewExperience {
                embedding: Some(vector.to_vec()),
                ..NewExperience::new(team, "agent", text)
            };
            db.record_experience(one).await.unwrap();
        }
        let texts = async |diversity| {
            let options = SearchOptions { diversity, ..k(2) };
            let hits = db.search(team, "cache miss", options).await.unwrap();
            hits.into_iter()
                .map(|hit| hit.experience.content)
                .collect::<Vec<_>>()
        };
        assert_eq!(texts(None).await, ["cache cache miss"; 2]);
        let diverse = texts(Some(Diversity { relevance: 0.3 })).await;
        assert_eq!(diverse[1], "cache elsewhere in this longer text");
        db.close().await.unwrap();
    });
}

#[test]
fn a_transaction_does_not_search_its_own_changes_by_words() {
    run(async {
        let db = World::new().open().await;
        let team = db.create_collective("team").await.unwrap();
        let id = db
            .record_experience(new(team, "known words"))
            .await
            .unwrap();
        let mut tx = db.begin().await.unwrap();
        assert_eq!(ids(&tx.search(team, "words", k(5)).await.unwrap()), [id]);
        tx.record_experience(new(team, "own words")).await.unwrap();
        let refused = tx.search(team, "words", k(5)).await.unwrap_err();
        assert!(
            matches!(&refused, PulseDBError::Validation { field, .. } if field == "query"),
            "{refused}"
        );
        assert_eq!(
            tx.search(team, [1.0, 2.0, 3.0, 4.0], k(5))
                .await
                .unwrap()
                .len(),
            2
        );
        tx.commit().await.unwrap();
        assert_eq!(db.search(team, "words", k(5)).await.unwrap().len(), 2);
        let mut tx = db.begin().await.unwrap();
        tx.delete_experience(id).await.unwrap();
        assert!(tx.search(team, "words", k(5)).await.is_err());
        tx.rollback();
        db.close().await.unwrap();
    });
}

#[test]
fn texts_of_any_kind_are_found_or_not() {
    let world = World::with(Config {
        text: TextConfig {
            language: TextLanguage::German,
            ..TextConfig::default()
        },
        max_commit_bytes: 128 * 1024,
        ..config()
    });
    run(async {
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let long = "x".repeat(100 * 1024);
        let zalgo = format!("z{}algo", "\u{335}\u{36f}".repeat(2000));
        let texts = [
            long.as_str(),
            zalgo.as_str(),
            "🚀 Start",
            "שָׁלוֹם עולם",
            "null\u{0}byte",
            "!!! ... ???",
            "Größe der Häuser",
            "東京タワー",
        ];
        for text in texts {
            db.record_experience(new(team, text)).await.unwrap();
        }
        for (query, expected) in [
            (long.as_str(), vec![0]),
            ("zalgo", vec![1]),
            ("🚀", vec![]),
            ("start", vec![2]),
            ("שלום", vec![3]),
            ("null byte", vec![4]),
            ("...", vec![]),
            ("", vec![]),
            ("GRÖSSE haus", vec![6]),
            ("\"größe der\"", vec![6]),
            ("東京", vec![7]),
        ] {
            let hits = db.search(team, query, k(9)).await.unwrap();
            let found: Vec<&str> = hits
                .iter()
                .map(|hit| hit.experience.content.as_str())
                .collect();
            let expected: Vec<&str> = expected.iter().map(|at: &usize| texts[*at]).collect();
            let shown: String = query.chars().take(20).collect();
            assert_eq!(found.len(), expected.len(), "{shown}");
            assert!(found == expected, "{shown}");
        }
        db.close().await.unwrap();
    });
}

#[test]
fn what_cannot_be_asked_is_refused() {
    run(async {
        let db = World::new().open().await;
        let team = db.create_collective("team").await.unwrap();
        let field = |error: PulseDBError| match error {
            PulseDBError::Validation { field, .. } => field.to_string(),
            other => other.to_string(),
        };
        let refused = async |query: Query, options: SearchOptions| {
            field(db.search(team, query, options).await.unwrap_err())
        };
        assert_eq!(refused(Query::default(), k(1)).await, "query");
        assert_eq!(
            refused(Query::from("x".repeat(200_000)), k(1)).await,
            "query"
        );
        let many: String = (0..65).map(|n| format!("+w{n} ")).collect();
        assert_eq!(refused(Query::from(many), k(1)).await, "query");
        assert_eq!(refused(Query::from("x"), k(0)).await, "k");
        assert_eq!(
            refused(Query::from("x").with_vector([1.0]), k(1)).await,
            "query"
        );
        let weights = |dense| SearchOptions {
            fusion_weights: FusionWeights {
                dense,
                lexical: 0.0,
            },
            ..k(1)
        };
        assert_eq!(
            refused(Query::from("x"), weights(f32::NAN)).await,
            "fusion_weights.dense"
        );
        assert_eq!(
            refused(Query::from("x"), weights(0.0)).await,
            "fusion_weights"
        );
        let lending = SearchOptions {
            neighbours: Some(NeighbourEvidence {
                direct: 1.5,
                second: 0.0,
            }),
            ..k(1)
        };
        assert_eq!(
            refused(Query::from("x"), lending).await,
            "neighbours.direct"
        );
        db.close().await.unwrap();
        let bad = Config {
            text: TextConfig {
                b: 1.5,
                ..TextConfig::default()
            },
            ..config()
        };
        assert!(matches!(
            World::new().try_open(bad).await,
            Err(PulseDBError::Config { .. })
        ));
    });
}

#[test]
fn many_may_search_while_others_record() {
    let mut texts: Vec<(usize, String)> = (0..600).map(|n| (n, format!("shared own{n}"))).collect();
    texts.sort_by_key(|(n, _)| Reverse(n * 7 % 600));
    let world = World::new();
    let db = world.open_blocking(false);
    let team = db.create_collective("team").unwrap();
    std::thread::scope(|scope| {
        for part in texts.chunks(300) {
            let db = &db;
            scope.spawn(move || {
                for (n, text) in part {
                    let id = db.record_experience(new(team, text)).unwrap();
                    if n % 5 == 0 {
                        // Whoever has recorded finds it at once.
                        let hits = db.search(team, format!("own{n}"), k(5)).unwrap();
                        assert_eq!(ids(&hits), [id]);
                    }
                }
            });
        }
    });
    assert_eq!(db.search(team, "shared", k(1000)).unwrap().len(), 600);
    db.close().unwrap();
}
