//! What does `record` do?

use std::{
    io::{self, Read},
    path::PathBuf,
};

use clap::{Args, ValueEnum};
use pulsedb::{
    Config, DuplicatePolicy, EmbeddingDimension, ExperienceType, NewExperience, PulseDBError,
    RecordOptions, RecordOutcome, Timestamp, blocking::PulseDB, model::limits,
};

use crate::{
    exit::{Exit, Failure},
    session::{self, Session, Texts, finish},
    values::{self, Vector},
};

#[derive(Debug, Args)]
pub(crate) struct Record {
    /// The database's directory.
    db: PathBuf,
    /// The collective: its name, or its id.
    collective: String,
    /// What was learned; by default what standard input says.
    text: Option<String>,
    /// Its vector as a JSON list, or a file with one: for collectives whose vectors come from outside.
    #[arg(long, value_name = "JSON|FILE", value_parser = values::vector)]
    vector: Option<Vector>,
    /// Who learned it.
    #[arg(long, default_value = "cli")]
    agent: String,
    /// During which task.
    #[arg(long)]
    task: Option<String>,
    /// What kind of knowledge it is: `{"kind":"fact","statement":"…","source":"…"}`, or a category of your own.
    #[arg(long = "type", value_name = "JSON|CATEGORY", value_parser = values::experience_type)]
    experience_type: Option<ExperienceType>,
    /// How much it matters, 0 to 1.
    #[arg(long, default_value_t = 0.5)]
    importance: f32,
    /// How sure the agent is, 0 to 1.
    #[arg(long, default_value_t = 0.5)]
    confidence: f32,
    /// A subject area; may be given several times.
    #[arg(long)]
    domain: Vec<String>,
    /// A mark; may be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = values::mark)]
    tag: Vec<(String, String)>,
    /// A file that it is about; may be given several times.
    #[arg(long, value_name = "PATH")]
    file: Vec<String>,
    /// A key that makes repeating safe: recording it again stores nothing and answers the first id.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// From when on it is gone, in milliseconds since 1970.
    #[arg(long, value_name = "MS")]
    expires_ms: Option<i64>,
    /// Exempt it from cooling and expiry.
    #[arg(long)]
    pinned: bool,
    /// What to do where the same content is there already.
    #[arg(long, value_enum, default_value = "insert")]
    same: Same,
    /// Make the collective if there is none of this name, with the vector's dimension.
    #[arg(long)]
    create: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Same {
    /// Record it all the same.
    Insert,
    /// Reinforce what is there.
    Reinforce,
    /// Leave it.
    Skip,
}

pub(crate) fn record(record: &Record, session: &Session) -> Result<Exit, Failure> {
    let content = match &record.text {
        Some(text) => text.clone(),
        None => read_input()?,
    };
    let db = open(record, session)?;
    let outcome = finish(&db, store(record, content, &db))?;
    session.output.print(&outcome, |out| {
        writeln!(out, "{}  {:?}", outcome.id, outcome.action)
    })?;
    Ok(Exit::Fine)
}

/// What standard input says, without the line's end that programs leave there.
fn read_input() -> Result<String, Failure> {
    let failed = |error| Failure::Input("standard input".into(), error);
    let mut bytes = Vec::new();
    // A byte more than there may be, so that too much is refused and not cut off.
    let most = limits::MAX_CONTENT_BYTES as u64 + 1;
    let input = io::stdin().lock();
    input.take(most).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    } else if bytes.len() as u64 == most {
        let limit = format!("at most {} bytes", limits::MAX_CONTENT_BYTES);
        return Err(Failure::wrong("content", "standard input", limit));
    }
    String::from_utf8(bytes).map_err(|error| failed(io::Error::other(error)))
}

fn open(record: &Record, session: &Session) -> Result<PulseDB, Failure> {
    let Some(Vector(vector)) = &record.vector else {
        return session.writer(&record.db, Texts::Embedded);
    };
    let config = Config {
        // For a collective that is made with it.
        embedding_dimension: EmbeddingDimension::Custom(vector.len()),
        ..session.config(Texts::Plain)?
    };
    session.writer_with(&record.db, config)
}

fn store(record: &Record, content: String, db: &PulseDB) -> Result<RecordOutcome, Failure> {
    let id = match session::collective(db, &record.collective) {
        Ok(found) => found.id,
        Err(Failure::Command(PulseDBError::NotFound { .. })) if record.create => db
            .create_collective(&record.collective)
            .map_err(Failure::Command)?,
        Err(other) => return Err(other),
    };
    let mut new = NewExperience {
        embedding: record.vector.as_ref().map(|Vector(vector)| vector.clone()),
        source_task: record.task.as_deref().map(Into::into),
        importance: record.importance,
        confidence: record.confidence,
        domain: record.domain.clone(),
        tags: record.tag.iter().cloned().collect(),
        related_files: record.file.clone(),
        expires_at: record.expires_ms.map(Timestamp::from_millis),
        pinned: record.pinned,
        idempotency_key: record.idempotency_key.clone(),
        ..NewExperience::new(id, record.agent.as_str(), content)
    };
    if let Some(experience_type) = &record.experience_type {
        new.experience_type = experience_type.clone();
    }
    let options = RecordOptions {
        duplicates: match record.same {
            Same::Insert => DuplicatePolicy::Insert,
            Same::Reinforce => DuplicatePolicy::Reinforce,
            Same::Skip => DuplicatePolicy::Skip,
        },
        same_content: !matches!(record.same, Same::Insert),
        similarity_threshold: None,
    };
    db.record_experience_with(new, options)
        .map_err(Failure::Command)
}
