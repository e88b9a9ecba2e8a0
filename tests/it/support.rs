//! What do these tests share?
//!
//! A simulated world that a database can be opened in again and again, small builders, and the dump
//! that shows whether anything changed.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use pulsedb::{
    Collective, CollectiveId, Config, EmbeddingDimension, Experience, NewExperience, Page, PulseDB,
    PulseDBError, Result, Timestamp, blocking,
    sim::{SimEnv, SimVfs},
};

/// Components of the vectors of these tests.
pub const DIMENSION: usize = 4;

/// When the simulated clocks start.
pub const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// So many milliseconds after the simulated clocks start.
pub fn later(ms: i64) -> Timestamp {
    Timestamp::from_millis(START.as_millis() + ms)
}

/// Small files and few threads, so that opening costs little and segments roll.
///
/// What expires is deleted by call only: the simulated clocks do not say when upkeep would.
pub fn config() -> Config {
    Config {
        expiry_interval: Duration::ZERO,
        segment_bytes: 256 * 1024,
        max_commit_bytes: 128 * 1024,
        max_queue_bytes: 1024 * 1024,
        read_threads: 2,
        ..Config::external(EmbeddingDimension::Custom(DIMENSION))
    }
}

/// A file system and a clock of one's own.
pub struct World {
    pub path: PathBuf,
    pub config: Config,
    pub vfs: SimVfs,
    pub env: SimEnv,
}

impl World {
    pub fn new() -> Self {
        Self::with(config())
    }

    /// The path is never used twice: an open waits for the end of a database of the same path.
    pub fn with(config: Config) -> Self {
        static WORLDS: AtomicU64 = AtomicU64::new(0);
        let number = WORLDS.fetch_add(1, Ordering::Relaxed);
        Self {
            path: PathBuf::from(format!("/worlds/{number}")),
            config,
            vfs: SimVfs::new(number),
            env: SimEnv::new(number, START),
        }
    }

    pub async fn open(&self) -> PulseDB {
        self.try_open(self.config.clone()).await.unwrap()
    }

    pub async fn open_read_only(&self) -> PulseDB {
        let config = Config {
            read_only: true,
            ..self.config.clone()
        };
        self.try_open(config).await.unwrap()
    }

    pub async fn try_open(&self, config: Config) -> Result<PulseDB> {
        PulseDB::open_simulated(&self.path, config, self.vfs.clone(), self.env.clone()).await
    }

    pub fn open_blocking(&self, read_only: bool) -> blocking::PulseDB {
        let opening = async {
            if read_only {
                self.open_read_only().await
            } else {
                self.open().await
            }
        };
        blocking::PulseDB::from(run(opening))
    }
}

/// Whether files that are kept in the repository are to be written anew.
pub fn made_on_request() -> bool {
    std::env::var_os("PULSEDB_MAKE").is_some()
}

/// Runs a future on a runtime of one thread.
pub fn run<F: Future>(future: F) -> F::Output {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(future)
}

/// An experience that can be recorded as it is.
pub fn new(collective: CollectiveId, content: impl Into<String>) -> NewExperience {
    NewExperience {
        embedding: Some(vec![1.0, 2.0, 3.0, 4.0]),
        ..NewExperience::new(collective, "agent", content)
    }
}

/// Everything that a database shows: its collectives, each with its experiences.
pub async fn dump(db: &PulseDB) -> Vec<(Collective, Vec<Experience>)> {
    let mut all = Vec::new();
    for collective in db.list_collectives().await.unwrap() {
        let experiences = everything(db, collective.id).await;
        all.push((collective, experiences));
    }
    all
}

/// All experiences of a collective, archived ones too, in the order of recording.
pub async fn everything(db: &PulseDB, collective: CollectiveId) -> Vec<Experience> {
    let mut page = Page {
        limit: 1000,
        ..Page::default()
    };
    let mut experiences = Vec::new();
    loop {
        let found = db.list_experiences(collective, page.clone()).await.unwrap();
        experiences.extend(found.items);
        match found.next {
            Some(next) => page.after = Some(next),
            None => return experiences,
        }
    }
}

/// The contents of all experiences of a collective.
pub async fn contents(db: &PulseDB, collective: CollectiveId) -> BTreeSet<String> {
    let all = everything(db, collective).await;
    all.into_iter().map(|one| one.content).collect()
}

/// The field that a refusal names.
#[track_caller]
pub fn refused_field<T: std::fmt::Debug>(answer: Result<T>) -> String {
    match answer {
        Err(PulseDBError::Validation {
            field,
            value,
            limit,
        }) => {
            assert!(
                !value.is_empty() && !limit.is_empty(),
                "{field} says little"
            );
            field
        }
        other => panic!("not refused as invalid: {other:?}"),
    }
}
