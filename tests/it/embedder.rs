//! Does a store with an embedder of the application's own keep the vectors of two models apart?

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use pulsedb::{
    CollectiveId, Config, EmbedFuture, Embedder, EmbeddingDimension, NewExperience, Precision,
    Priority, PulseDB, PulseDBError, Result, SearchOptions,
    model::{EmbedderIdentity, Precisions},
};

use crate::support::{dump, new, refused_field, run};

const DIMENSION: usize = 26;

/// How a toy misbehaves.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mood {
    Fine,
    Fails,
    OneTooFew,
    OneTooMany,
    TooShort,
    NotANumber,
    Zero,
    Nameless,
}

/// Counts letters.
#[derive(Debug)]
struct Letters {
    identity: EmbedderIdentity,
    mood: Mutex<Mood>,
    precision: Option<Precision>,
    texts: AtomicUsize,
    priorities: Mutex<Vec<Priority>>,
}

fn identity(model: &str) -> EmbedderIdentity {
    EmbedderIdentity {
        provider: "toy".into(),
        model: model.into(),
        fingerprint: "f00d".into(),
    }
}

impl Letters {
    fn new(model: &str) -> Arc<Self> {
        Self::computing_in(None, model)
    }

    fn computing_in(precision: Option<Precision>, model: &str) -> Arc<Self> {
        Arc::new(Self {
            identity: identity(model),
            mood: Mutex::new(Mood::Fine),
            precision,
            texts: AtomicUsize::new(0),
            priorities: Mutex::default(),
        })
    }

    fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn mood(&self) -> Mood {
        *self.mood.lock().unwrap()
    }
}

fn letters(text: &str) -> Vec<f32> {
    let mut vector = vec![0.0; DIMENSION];
    for letter in text.bytes().filter(u8::is_ascii_lowercase) {
        vector[usize::from(letter - b'a')] += 1.0;
    }
    vector
}

impl Embedder for Letters {
    fn identity(&self) -> Option<&EmbedderIdentity> {
        (self.mood() != Mood::Nameless).then_some(&self.identity)
    }

    fn dimension(&self) -> usize {
        DIMENSION
    }

    fn precision(&self) -> Option<Precision> {
        self.precision
    }

    fn embed(&self, texts: Vec<String>, priority: Priority) -> EmbedFuture<'_> {
        self.texts.fetch_add(texts.len(), Ordering::Relaxed);
        self.priorities.lock().unwrap().push(priority);
        let mut vectors: Vec<_> = texts.iter().map(|text| letters(text)).collect();
        match self.mood() {
            Mood::Fails => {
                let answer = Err(PulseDBError::Embedding("out of letters".into()));
                return Box::pin(async move { answer });
            }
            Mood::OneTooFew => drop(vectors.pop()),
            Mood::OneTooMany => vectors.push(letters("more")),
            Mood::TooShort => vectors[0].truncate(DIMENSION - 1),
            Mood::NotANumber => vectors[0][3] = f32::NAN,
            Mood::Zero => vectors[0].fill(0.0),
            Mood::Fine | Mood::Nameless => {}
        }
        Box::pin(async move { Ok(vectors) })
    }
}

fn config() -> Config {
    Config {
        embedding_dimension: EmbeddingDimension::Custom(DIMENSION),
        ..crate::support::config()
    }
}

async fn open(dir: &Path, embedder: &Arc<Letters>) -> PulseDB {
    let embedder: Arc<dyn Embedder> = Arc::clone(embedder) as _;
    PulseDB::open_with_embedder(dir, config(), embedder)
        .await
        .unwrap()
}

fn text(collective: CollectiveId, content: &str) -> NewExperience {
    NewExperience {
        embedding: None,
        ..new(collective, content)
    }
}

async fn search(db: &PulseDB, team: CollectiveId, query: &str) -> Result<Vec<String>> {
    let hits = db
        .search_text(team, query, SearchOptions::default())
        .await?;
    Ok(hits.into_iter().map(|hit| hit.experience.content).collect())
}

#[track_caller]
fn embedding_error<T: std::fmt::Debug>(answer: Result<T>) -> String {
    match answer {
        Err(PulseDBError::Embedding(what)) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn texts_are_embedded_and_the_first_write_stamps_who_did() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let toy = Letters::new("letters");
        let db = open(dir.path(), &toy).await;
        let team = db.create_collective("team").await.unwrap();
        let stamped = async |db: &PulseDB| {
            let collective = db.get_collective(team).await.unwrap().unwrap();
            collective.embedder
        };
        assert!(search(&db, team, "nothing yet").await.unwrap().is_empty());
        assert_eq!(stamped(&db).await, None, "a question stamps nothing");
        let one = db.record_experience(text(team, "anagram")).await.unwrap();
        assert_eq!(stamped(&db).await, Some(identity("letters")));
        assert_eq!(
            db.get_experience(one).await.unwrap().embedding,
            letters("anagram")
        );
        let batch = vec![text(team, "zoo"), text(team, "nag a ram"), text(team, "ox")];
        db.record_experiences(batch).await.unwrap();
        let found = search(&db, team, "ram nag a").await.unwrap();
        assert_eq!(found[..2], ["anagram", "nag a ram"]);
        let hits = db.search_similar(team, &letters("ooz"), 1).await.unwrap();
        assert_eq!(hits[0].experience.content, "zoo");
        use Priority::{Ingest, Query};
        assert_eq!(
            *toy.priorities.lock().unwrap(),
            [Query, Ingest, Ingest, Query]
        );
        assert_eq!(toy.texts.load(Ordering::Relaxed), 6, "a batch is one call");
        db.close().await.unwrap();

        // The same model again, by another name of the object.
        let db = open(dir.path(), &Letters::new("letters")).await;
        db.record_experience(text(team, "gnarama")).await.unwrap();
        assert_eq!(search(&db, team, "anagram").await.unwrap().len(), 5);
    });
}

#[test]
fn precisions_stand_beside_the_identity_and_may_mix() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let precisions = async |db: &PulseDB, team| {
            let collective = db.get_collective(team).await.unwrap().unwrap();
            collective.precisions
        };
        let of = |f32, bf16| Precisions { f32, bf16 };
        let open_in = async |precision| {
            let toy = Letters::computing_in(Some(precision), "letters");
            open(dir.path(), &toy).await
        };
        let db = open_in(Precision::F32).await;
        let team = db.create_collective("team").await.unwrap();
        assert_eq!(precisions(&db, team).await, of(false, false));
        db.record_experience(text(team, "one")).await.unwrap();
        assert_eq!(precisions(&db, team).await, of(true, false));
        db.close().await.unwrap();

        let db = open_in(Precision::Bf16).await;
        search(&db, team, "one").await.unwrap();
        assert_eq!(precisions(&db, team).await, of(true, false));
        db.record_experience(text(team, "two")).await.unwrap();
        db.record_experience(text(team, "three")).await.unwrap();
        db.close().await.unwrap();

        let db = open_in(Precision::F32).await;
        assert_eq!(precisions(&db, team).await, of(true, true));
        db.record_experience(text(team, "four")).await.unwrap();
        assert_eq!(search(&db, team, "four").await.unwrap().len(), 4);
        let shown = precisions(&db, team).await.to_string();
        assert_eq!(shown, "f32 and bf16");

        let other = Letters::computing_in(Some(Precision::Bf16), "others");
        db.reembed(team, Some(other)).await.unwrap();
        assert_eq!(precisions(&db, team).await, of(false, true));
    });
}

#[test]
fn text_that_comes_again_is_not_embedded_again_as_long_as_there_is_room() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let toy = Letters::new("letters");
        let db = open(dir.path(), &toy).await;
        let team = db.create_collective("team").await.unwrap();
        let asked = async |db: &PulseDB| {
            let before = toy.texts.load(Ordering::Relaxed);
            let one = db.record_experience(text(team, "anagram")).await.unwrap();
            let vector = db.get_experience(one).await.unwrap().embedding;
            assert_eq!(vector, letters("anagram"));
            search(db, team, "nag a ram").await.unwrap();
            toy.texts.load(Ordering::Relaxed) - before
        };
        assert_eq!((asked(&db).await, asked(&db).await), (2, 0));
        db.set_cache_size_mb(0).unwrap();
        assert_eq!((asked(&db).await, asked(&db).await), (2, 2));
        db.clone().set_cache_size_mb(1).unwrap();
        assert_eq!((asked(&db).await, asked(&db).await), (2, 0));
        let refused = db.set_cache_size_mb(Config::MAX_CACHE_SIZE_MB + 1);
        assert!(
            matches!(&refused, Err(PulseDBError::Config { field, .. }) if *field == "cache_size_mb"),
            "{refused:?}"
        );
        db.close().await.unwrap();
    });
}

#[test]
fn vectors_of_the_caller_and_questions_without_text_are_refused() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let db = open(dir.path(), &Letters::new("letters")).await;
        let team = db.create_collective("team").await.unwrap();
        let before = dump(&db).await;
        let brought = NewExperience {
            embedding: Some(letters("mine")),
            ..text(team, "mine")
        };
        let answer = db.record_experience(brought.clone()).await;
        assert_eq!(refused_field(answer), "embedding");
        let answer = db
            .record_experiences(vec![text(team, "fine"), brought])
            .await;
        assert_eq!(refused_field(answer), "embedding");
        for query in ["", " \n\t"] {
            assert_eq!(refused_field(search(&db, team, query).await), "query");
        }
        assert_eq!(dump(&db).await, before);
    });
}

/// Another model may read and be asked by vector; it may neither write nor embed a question.
async fn is_kept_apart(db: &PulseDB, team: CollectiveId, write: NewExperience, names: [&str; 2]) {
    let before = dump(db).await;
    let refused = [
        embedding_error(db.record_experience(write.clone()).await),
        embedding_error(db.record_experiences(vec![write.clone(), write]).await),
        embedding_error(search(db, team, "anagram").await),
    ];
    for (what, names) in refused.iter().zip([&names[..], &names[..], &names[..1]]) {
        assert!(names.iter().all(|name| what.contains(name)), "{what}");
        assert!(what.contains("open it"), "says no way out: {what}");
    }
    assert_eq!(dump(db).await, before);
    let hits = db
        .search_similar(team, &letters("margana"), 1)
        .await
        .unwrap();
    assert_eq!(hits[0].experience.content, "anagram");
    let one = hits[0].experience.id;
    db.set_tag(one, "read", "yes").await.unwrap();
    db.reinforce_experience(one).await.unwrap();
    assert_eq!(
        db.list_experiences(team, pulsedb::Page::default())
            .await
            .unwrap()
            .items
            .len(),
        1
    );
}

#[test]
fn another_model_reads_but_neither_writes_nor_embeds_questions() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let db = open(dir.path(), &Letters::new("letters")).await;
        let team = db.create_collective("team").await.unwrap();
        db.record_experience(text(team, "anagram")).await.unwrap();
        db.close().await.unwrap();

        let db = open(dir.path(), &Letters::new("runes")).await;
        let names = ["toy/letters@f00d", "toy/runes@f00d"];
        is_kept_apart(&db, team, text(team, "gnarama"), names).await;
        // A collective of its own is open to it.
        let own = db.create_collective("own").await.unwrap();
        db.record_experience(text(own, "gnarama")).await.unwrap();
        assert_eq!(search(&db, own, "anagram").await.unwrap(), ["gnarama"]);
        db.close().await.unwrap();

        let db = PulseDB::open(dir.path(), config()).await.unwrap();
        let brought = NewExperience {
            embedding: Some(letters("mine")),
            ..text(team, "mine")
        };
        let before = dump(&db).await;
        let what = embedding_error(db.record_experience(brought).await);
        assert!(
            what.contains("toy/letters@f00d") && what.contains("external"),
            "{what}"
        );
        let what = embedding_error(search(&db, team, "anagram").await);
        assert!(what.contains("embedder"), "{what}");
        assert_eq!(dump(&db).await, before);
        let hits = db
            .search_similar(team, &letters("margana"), 1)
            .await
            .unwrap();
        assert_eq!(hits[0].experience.content, "anagram");
    });
}

#[test]
fn an_embedder_that_misbehaves_changes_nothing() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let toy = Letters::new("letters");
        let db = open(dir.path(), &toy).await;
        let empty = db.create_collective("empty").await.unwrap();
        let team = db.create_collective("team").await.unwrap();
        db.record_experience(text(team, "anagram")).await.unwrap();
        let before = dump(&db).await;
        for mood in [
            Mood::Fails,
            Mood::OneTooFew,
            Mood::OneTooMany,
            Mood::TooShort,
            Mood::NotANumber,
            Mood::Zero,
            Mood::Nameless,
        ] {
            toy.set(mood);
            for collective in [empty, team] {
                let batch = vec![text(collective, "one"), text(collective, "two")];
                for answer in [
                    db.record_experiences(batch).await.map(drop),
                    db.record_experience(text(collective, "one"))
                        .await
                        .map(drop),
                    search(&db, collective, "one").await.map(drop),
                ] {
                    // Its vectors are checked like those of a caller.
                    assert!(
                        matches!(
                            answer,
                            Err(PulseDBError::Embedding(_) | PulseDBError::Validation { .. })
                        ),
                        "{mood:?}: {answer:?}"
                    );
                }
            }
            assert_eq!(dump(&db).await, before, "{mood:?}");
        }
        toy.set(Mood::Fine);
        assert_eq!(search(&db, team, "margana").await.unwrap(), ["anagram"]);
        db.record_experience(text(empty, "works again"))
            .await
            .unwrap();
    });
}

#[test]
fn an_embedder_of_another_dimension_is_refused() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let other = Config {
            embedding_dimension: EmbeddingDimension::Custom(DIMENSION + 1),
            ..config()
        };
        let toy = Letters::new("letters");
        match PulseDB::open_with_embedder(dir.path(), other.clone(), toy.clone()).await {
            Err(PulseDBError::Config { field, what }) => {
                assert_eq!(field, "embedding_dimension");
                assert!(what.contains("26") && what.contains("27"), "{what}");
            }
            other => panic!("{other:?}"),
        }
        // A collective that was made with another dimension stays readable.
        let db = PulseDB::open(dir.path(), other).await.unwrap();
        let wide = db.create_collective("wide").await.unwrap();
        let one = NewExperience {
            embedding: Some(vec![1.0; DIMENSION + 1]),
            ..text(wide, "wide")
        };
        let one = db.record_experience(one).await.unwrap();
        db.close().await.unwrap();
        let db = open(dir.path(), &toy).await;
        let before = dump(&db).await;
        let what = embedding_error(db.record_experience(text(wide, "narrow")).await);
        assert!(what.contains("26") && what.contains("27"), "{what}");
        embedding_error(search(&db, wide, "narrow").await);
        assert_eq!(dump(&db).await, before);
        assert_eq!(db.get_experience(one).await.unwrap().content, "wide");
        let query = vec![1.0; DIMENSION + 1];
        assert_eq!(db.search_similar(wide, &query, 1).await.unwrap().len(), 1);
    });
}
