//! What was committed, and what is?
//!
//! Prints the change feed of the database: behind a cursor, in order, each commit once. Where a line ends, its
//! cursor says where to go on.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::Args;
use pulsedb::{Change, Cursor, LogRecord, Lsn, Timeline};

use crate::{
    exit::{Exit, Failure},
    session::{Session, Texts},
};

#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// Its directory.
    db: PathBuf,
    /// Begin behind this cursor, as printed in front of each commit; else with the first that the log knows.
    #[arg(long, value_name = "TIMELINE/LSN")]
    from: Option<Cursor>,
    /// Go on with what is committed from now on, until interrupted.
    #[arg(long)]
    follow: bool,
    /// As bytes for another program, see the change feed in storage-format.md.
    #[arg(long, conflicts_with = "json")]
    binary: bool,
}

/// In front of everything.
const BEGIN: Cursor = Cursor {
    timeline: Timeline::FIRST,
    lsn: Lsn::ZERO,
};

pub(crate) fn tail(arguments: &Tail, session: &Session) -> Result<Exit, Failure> {
    let db = session.reader(&arguments.db, Texts::Plain)?;
    let from = arguments.from.unwrap_or(BEGIN);
    let feed = db.change_feed(from, arguments.follow);
    let mut out = session.output.results();
    for change in feed.map_err(Failure::Command)? {
        let change = change.map_err(Failure::Command)?;
        let printed = if arguments.binary {
            out.write_all(&change.to_bytes())
        } else if session.output.json {
            let line = change.to_json().map_err(Failure::Command)?;
            writeln!(out, "{line}")
        } else {
            print(&mut out, &change)?
        };
        // Whoever follows wants to see it now.
        let flushed = if arguments.follow {
            out.flush()
        } else {
            Ok(())
        };
        printed.and(flushed).map_err(Failure::Output)?;
    }
    out.flush().map_err(Failure::Output)?;
    Ok(Exit::Fine)
}

fn print(out: &mut dyn Write, change: &Change) -> Result<io::Result<()>, Failure> {
    let commit = match change {
        Change::Commit(commit) => commit,
        Change::Gap { from, to } => {
            return Ok(writeln!(
                out,
                "{to}  what happened behind {from} is not known any more"
            ));
        }
    };
    let records = commit.records().map_err(Failure::Command)?;
    let lines = records.iter().map(|record| {
        let about = match (&record.entity, &record.record) {
            (_, LogRecord::Activity(activity)) => activity.agent_id.to_string(),
            (_, LogRecord::ActivityEnded { agent_id }) => agent_id.to_string(),
            (Some(entity), _) => format!("{entity:?}"),
            (None, _) => String::new(),
        };
        let time = commit.timestamp.as_millis();
        let what = name(&record.record);
        format!("{}  {time}  {what:<18} {about}\n", commit.cursor)
    });
    Ok(out.write_all(lines.collect::<String>().as_bytes()))
}

const fn name(record: &LogRecord) -> &'static str {
    match record {
        LogRecord::Collective { .. } => "collective",
        LogRecord::CollectiveDeleted => "collective deleted",
        LogRecord::Body(_) => "experience",
        LogRecord::Vitals(_) => "vitals",
        LogRecord::Traits(_) => "traits",
        LogRecord::ExperienceDeleted => "experience deleted",
        LogRecord::Close => "close",
        LogRecord::Relation { .. } => "relation",
        LogRecord::RelationDeleted => "relation deleted",
        LogRecord::Insight { .. } => "insight",
        LogRecord::InsightDeleted => "insight deleted",
        LogRecord::Activity(_) => "activity",
        LogRecord::ActivityEnded { .. } => "activity ended",
        LogRecord::Embedding { .. } => "embedding",
    }
}
