//! How does a command come to an open database?
//!
//! Commands that look open a reader: nothing is changed, and a writer may be at work. Commands that change take
//! the writer's place of a database that exists; only `init` makes one.

use std::path::{Path, PathBuf};

use pulsedb::{
    Collective, CollectiveId, Config, EmbeddingDimension, EntityKind, PulseDBError,
    blocking::PulseDB,
};

use crate::{exit::Failure, output::Output};

/// Whether the store has to make vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Texts {
    /// They are embedded, by a build that can.
    Embedded,
    /// They need no vectors, or come with them.
    Plain,
}

/// What all commands share.
#[derive(Debug)]
pub(crate) struct Session {
    /// Where results go.
    pub(crate) output: Output,
    /// The file with the settings.
    settings: Option<PathBuf>,
}

impl Session {
    pub(crate) fn new(json: bool, settings: Option<PathBuf>) -> Self {
        Self {
            output: Output::new(json),
            settings,
        }
    }

    /// What to open with: what the command needs, above it the file, and above that the environment.
    pub(crate) fn config(&self, texts: Texts) -> Result<Config, Failure> {
        let needed = match texts {
            Texts::Embedded => Config::default(),
            Texts::Plain => Config::external(EmbeddingDimension::D384),
        };
        let filed = match &self.settings {
            Some(file) => needed.with_toml_file(file),
            None => Ok(needed),
        };
        filed.and_then(Config::with_env).map_err(Failure::Settings)
    }

    /// Opens for reading.
    pub(crate) fn reader(&self, path: &Path, texts: Texts) -> Result<PulseDB, Failure> {
        // One question at a time needs one thread.
        let config = Config {
            read_threads: 1,
            ..self.config(texts)?
        };
        PulseDB::open_read_only(path, config).map_err(opening(path))
    }

    /// Takes the writer's place of a database that exists.
    pub(crate) fn writer(&self, path: &Path, texts: Texts) -> Result<PulseDB, Failure> {
        self.writer_with(path, self.config(texts)?)
    }

    /// The same with a configuration of the command's own.
    pub(crate) fn writer_with(&self, path: &Path, config: Config) -> Result<PulseDB, Failure> {
        // Only a reader refuses to make a database where there is none.
        drop(self.reader(path, Texts::Plain)?);
        PulseDB::open(path, config).map_err(opening(path))
    }
}

/// What an error of an open of `path` means.
pub(crate) fn opening(path: &Path) -> impl FnOnce(PulseDBError) -> Failure {
    let path = path.to_owned();
    |error| Failure::Open(path, error)
}

/// Closes `db`, whatever became of the work; the work's own failure is the one that is told.
pub(crate) fn finish<T>(db: &PulseDB, worked: Result<T, Failure>) -> Result<T, Failure> {
    let closed = db.close().map_err(Failure::Command);
    let done = worked?;
    closed.map(|()| done)
}

/// The collective of this id, or of this name.
pub(crate) fn collective(db: &PulseDB, called: &str) -> Result<Collective, Failure> {
    let id = called.parse::<CollectiveId>().ok();
    let all = db.list_collectives().map_err(Failure::Command)?;
    let mut found = all
        .into_iter()
        .filter(|one| Some(one.id) == id || one.name == called);
    let Some(first) = found.next() else {
        return Err(Failure::Command(PulseDBError::NotFound {
            kind: EntityKind::Collective,
            id: called.to_owned(),
        }));
    };
    match found.next() {
        None => Ok(first),
        Some(second) => Err(Failure::wrong(
            "collective",
            called,
            format!("several are called so; name {} or {}", first.id, second.id),
        )),
    }
}
