//! What do `init`, `compact`, `checkpoint` and `rebuild-index` do?

use std::path::{Path, PathBuf};

use clap::Args;
use pulsedb::{
    Collective, CollectiveId, Cursor, DatabaseMetadata, EmbeddingDimension, blocking::PulseDB,
};
use serde::Serialize;

use crate::{
    exit::{Exit, Failure},
    output::Unit,
    session::{self, Session, Texts, finish, opening},
};

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// A directory that does not exist, is empty, or is a database already.
    db: PathBuf,
    /// A collective to make; may be given several times.
    #[arg(long, value_name = "NAME")]
    collective: Vec<String>,
    /// Components of the vectors of the collectives that are made.
    #[arg(long, value_name = "COMPONENTS")]
    dimension: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct RebuildIndex {
    /// The database's directory.
    db: PathBuf,
    /// The collective: its name, or its id; by default all of them.
    #[arg(long)]
    collective: Option<String>,
}

/// What there is behind an `init`.
#[derive(Debug, Serialize)]
struct Made {
    database: DatabaseMetadata,
    collectives: Vec<Collective>,
}

pub(crate) fn init(init: &Init, session: &Session) -> Result<Exit, Failure> {
    let mut config = session.config(Texts::Plain)?;
    if let Some(components) = init.dimension {
        config.embedding_dimension = EmbeddingDimension::Custom(components);
    }
    let db = PulseDB::open(&init.db, config).map_err(opening(&init.db))?;
    let made = finish(&db, make(init, &db))?;
    session.output.print(&made, |out| {
        let Made { database, .. } = &made;
        writeln!(out, "{}", database.path.display())?;
        writeln!(out, "  instance    {}", database.instance_id)?;
        for one in &made.collectives {
            let (name, id, components) = (&one.name, one.id, one.embedding_dimension);
            writeln!(out, "  collective  {name} ({id}), {components} components")?;
        }
        Ok(())
    })?;
    Ok(Exit::Fine)
}

fn make(init: &Init, db: &PulseDB) -> Result<Made, Failure> {
    let known = db.list_collectives().map_err(Failure::Command)?;
    // One that was there keeps its dimension: whoever asks for another is told, before anything is made.
    for one in known
        .iter()
        .filter(|one| init.collective.contains(&one.name))
    {
        let has = usize::from(one.embedding_dimension);
        if let Some(wanted) = init.dimension.filter(|wanted| *wanted != has) {
            let limit = format!("{} has {has} for ever", one.name);
            return Err(Failure::wrong("dimension", wanted, limit));
        }
    }
    for name in &init.collective {
        let made = db.get_or_create_collective(name);
        made.map_err(Failure::Command)?;
    }
    Ok(Made {
        database: db.metadata().map_err(Failure::Command)?,
        collectives: db.list_collectives().map_err(Failure::Command)?,
    })
}

pub(crate) fn compact(path: &Path, session: &Session) -> Result<Exit, Failure> {
    let db = session.writer(path, Texts::Plain)?;
    let progress = session.output.progress("compact", Unit::Bytes);
    let bar = progress.clone();
    let work = || {
        let before = db.fragmentation()?;
        let most = before.bytes;
        let report = db.compact_with(move |now| bar.show(now.bytes, most))?;
        Ok((before, report))
    };
    let (before, report) = finish(&db, work().map_err(Failure::Command))?;
    drop(progress);
    session.output.print(&report, |out| {
        writeln!(
            out,
            "{} of {} bytes of records were needed by nobody",
            before.bytes - before.live_bytes,
            before.bytes
        )?;
        writeln!(
            out,
            "{} segments rewritten, {} bytes of files before, {} now",
            report.segments_rewritten, report.bytes_before, report.bytes_after
        )?;
        for (file, at, what) in &report.damaged {
            writeln!(
                out,
                "left as it is: {} at byte {at}: {what}",
                file.display()
            )?;
        }
        Ok(())
    })?;
    Ok(Exit::of(report.damaged.is_empty()))
}

pub(crate) fn checkpoint(path: &Path, session: &Session) -> Result<Exit, Failure> {
    let db = session.writer(path, Texts::Plain)?;
    let cursor = finish(&db, db.checkpoint().map_err(Failure::Command))?;
    session.output.print(&Checkpoint { cursor }, |out| {
        writeln!(out, "everything up to {cursor} is in the checkpoint")
    })?;
    Ok(Exit::Fine)
}

#[derive(Debug, Serialize)]
struct Checkpoint {
    cursor: Cursor,
}

#[derive(Debug, Serialize)]
struct Rebuilt {
    collectives: Vec<CollectiveId>,
}

pub(crate) fn rebuild_index(rebuild: &RebuildIndex, session: &Session) -> Result<Exit, Failure> {
    let db = session.writer(&rebuild.db, Texts::Plain)?;
    let progress = session.output.progress("rebuild-index", Unit::Rows);
    let work = || {
        let collectives = match &rebuild.collective {
            Some(called) => vec![session::collective(&db, called)?],
            None => db.list_collectives().map_err(Failure::Command)?,
        };
        let mut sizes = Vec::new();
        for one in &collectives {
            let stats = db.get_collective_stats(one.id).map_err(Failure::Command)?;
            sizes.push(stats.experience_count);
        }
        let (mut done, total) = (0, sizes.iter().sum());
        for (one, rows) in collectives.iter().zip(&sizes) {
            progress.show(done, total);
            db.rebuild_index(one.id).map_err(Failure::Command)?;
            done += rows;
        }
        Ok(collectives)
    };
    let collectives = finish(&db, work())?;
    drop(progress);
    let rebuilt = Rebuilt {
        collectives: collectives.iter().map(|one| one.id).collect(),
    };
    session.output.print(&rebuilt, |out| {
        for one in &collectives {
            writeln!(out, "made again: {} ({})", one.name, one.id)?;
        }
        Ok(())
    })?;
    Ok(Exit::Fine)
}
