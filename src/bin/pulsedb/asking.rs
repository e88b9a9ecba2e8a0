//! What do `search` and `context` do?

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use pulsedb::{
    Collective, ContextRequest, Experience, ExperienceKind, Query, RecallWeights,
    SearchExplanation, SearchFilter, SearchHit, SearchOptions, Timestamp, blocking::PulseDB,
};
use serde::Serialize;

use crate::{
    exit::{Exit, Failure},
    session::{self, Session, Texts},
    values::{self, Vector},
};

/// Characters of a content that a line shows.
const SHOWN_CHARS: usize = 100;

#[derive(Debug, Args)]
pub(crate) struct Search {
    #[command(flatten)]
    about: About,
    /// Most results, 1 to 1000.
    #[arg(short, long = "limit", value_name = "RESULTS", default_value_t = 10)]
    k: usize,
    /// Look for the words alone, also where the text could be embedded.
    #[arg(long, conflicts_with = "vector")]
    words: bool,
    /// Take `+`, `-`, `*` and quotes in the text as they are.
    #[arg(long)]
    plain: bool,
    /// Compare with every vector instead of walking graphs.
    #[arg(long)]
    exact: bool,
    /// How much an experience's energy counts, 0 to 1, beside its similarity, which counts the rest.
    #[arg(long, value_name = "SHARE")]
    energy: Option<f32>,
    /// Say how the vector was looked for, and how long each step took.
    #[arg(long, requires = "vector", conflicts_with = "text")]
    explain: bool,
    #[command(flatten)]
    filter: Filter,
}

#[derive(Debug, Args)]
pub(crate) struct Context {
    #[command(flatten)]
    about: About,
    /// Experiences like it, at most.
    #[arg(long, default_value_t = 20)]
    max_similar: usize,
    /// Newest experiences beside those, at most.
    #[arg(long, default_value_t = 10)]
    max_recent: usize,
    /// Insights like it, at most.
    #[arg(long, default_value_t = 10)]
    max_insights: usize,
    /// Relations of what is found, at most.
    #[arg(long, default_value_t = 20)]
    max_relations: usize,
    /// Agents at work, at most.
    #[arg(long, default_value_t = 20)]
    max_agents: usize,
    /// Most tokens of all texts together.
    #[arg(long, value_name = "TOKENS")]
    max_tokens: Option<usize>,
    #[command(flatten)]
    filter: Filter,
}

/// Where to look, and for what.
#[derive(Debug, Args)]
struct About {
    /// The database's directory.
    db: PathBuf,
    /// The collective: its name, or its id.
    collective: String,
    /// What it is about.
    #[arg(required_unless_present = "vector")]
    text: Option<String>,
    /// A vector as a JSON list, or a file with one.
    #[arg(long, value_name = "JSON|FILE", value_parser = values::vector)]
    vector: Option<Vector>,
    /// With the vectors of what is found.
    #[arg(long)]
    vectors: bool,
}

/// Which experiences to consider.
#[derive(Debug, Args)]
struct Filter {
    /// Only of this subject area; given several times, of any of them.
    #[arg(long)]
    domain: Vec<String>,
    /// Only with this mark; given several times, with all of them.
    #[arg(long, value_name = "KEY=VALUE", value_parser = values::mark)]
    tag: Vec<(String, String)>,
    /// Only of this kind, such as `fact`; given several times, of any of them.
    #[arg(long, value_parser = values::kind)]
    kind: Vec<ExperienceKind>,
    /// Only by this agent; given several times, by any of them.
    #[arg(long)]
    agent: Vec<String>,
    /// Only what matters so much, 0 to 1.
    #[arg(long, value_name = "IMPORTANCE")]
    min_importance: Option<f32>,
    /// Only what is so sure, 0 to 1.
    #[arg(long, value_name = "CONFIDENCE")]
    min_confidence: Option<f32>,
    /// Only what was recorded from this moment on, in milliseconds since 1970.
    #[arg(long, value_name = "MS")]
    since_ms: Option<i64>,
    /// Only what was recorded up to this moment, in milliseconds since 1970.
    #[arg(long, value_name = "MS")]
    until_ms: Option<i64>,
    /// Only what holds at this moment, in milliseconds since 1970.
    #[arg(long, value_name = "MS")]
    as_of_ms: Option<i64>,
    /// Archived experiences, too.
    #[arg(long)]
    archived: bool,
}

impl Filter {
    fn to_filter(&self) -> SearchFilter {
        SearchFilter {
            domains: self.domain.clone(),
            tags_all: self.tag.iter().cloned().collect(),
            experience_types: self.kind.clone(),
            min_importance: self.min_importance,
            min_confidence: self.min_confidence,
            since: self.since_ms.map(Timestamp::from_millis),
            until: self.until_ms.map(Timestamp::from_millis),
            source_agents: self.agent.iter().map(|one| one.as_str().into()).collect(),
            as_of: self.as_of_ms.map(Timestamp::from_millis),
            exclude_archived: !self.archived,
        }
    }
}

#[derive(Debug, Serialize)]
struct Found {
    hits: Vec<SearchHit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<SearchExplanation>,
}

pub(crate) fn search(search: &Search, session: &Session) -> Result<Exit, Failure> {
    let (db, collective) = open(&search.about, search.words, session)?;
    let options = SearchOptions {
        k: search.k,
        filter: search.filter.to_filter(),
        exact: search.exact,
        weights: search.energy.map(|energy| RecallWeights {
            similarity: 1.0 - energy,
            energy,
        }),
        ..SearchOptions::default()
    };
    let vector = search.about.vector.as_ref();
    let explanation = match vector {
        Some(Vector(vector)) if search.explain => {
            let explained = db.explain(collective.id, vector, options.clone());
            Some(explained.map_err(Failure::Command)?)
        }
        _ => None,
    };
    let query = Query {
        text: search.about.text.clone(),
        plain: search.plain,
        words_only: search.words,
        vector: vector.map(|Vector(vector)| vector.clone()),
    };
    let hits = db.search(collective.id, query, options);
    let mut found = Found {
        hits: hits.map_err(Failure::Command)?,
        explanation,
    };
    if !search.about.vectors {
        let experiences = found.hits.iter_mut().map(|hit| &mut hit.experience);
        experiences.for_each(leave_out_vector);
    }
    session.output.print(&found, |out| {
        for hit in &found.hits {
            print_experience(out, hit.score, &hit.experience)?;
        }
        match &found.explanation {
            Some(explanation) => print_explanation(out, explanation),
            None => Ok(()),
        }
    })?;
    Ok(Exit::Fine)
}

pub(crate) fn context(context: &Context, session: &Session) -> Result<Exit, Failure> {
    let (db, collective) = open(&context.about, false, session)?;
    let query = Query {
        plain: true,
        text: context.about.text.clone(),
        vector: context.about.vector.clone().map(|Vector(vector)| vector),
        ..Query::default()
    };
    let request = ContextRequest {
        max_similar: context.max_similar,
        max_recent: context.max_recent,
        max_insights: context.max_insights,
        max_relations: context.max_relations,
        max_agents: context.max_agents,
        max_tokens: context.max_tokens,
        filter: context.filter.to_filter(),
        ..ContextRequest::about(collective.id, query)
    };
    let mut found = db
        .get_context_candidates(request)
        .map_err(Failure::Command)?;
    if !context.about.vectors {
        let (similar, recent) = (&mut found.similar, &mut found.recent);
        let experiences = similar.iter_mut().chain(recent);
        experiences.for_each(|one| leave_out_vector(&mut one.experience));
        for one in &mut found.insights {
            one.insight.embedding.clear();
        }
    }
    session.output.print(&found, |out| {
        for (what, list) in [("similar", &found.similar), ("recent", &found.recent)] {
            writeln!(out, "{what}")?;
            for one in list {
                print_experience(out, one.score.score, &one.experience)?;
            }
        }
        writeln!(out, "insights")?;
        for one in &found.insights {
            let content = line(&one.insight.content);
            writeln!(out, "{:.3}  {}  {content}", one.similarity, one.insight.id)?;
        }
        writeln!(
            out,
            "{} relations, {} agents at work; {} tokens, {} left out",
            found.relations.len(),
            found.agents.len(),
            found.tokens,
            found.left_out
        )
    })?;
    Ok(Exit::Fine)
}

/// A reader that embeds the text where the collective's vectors were made by a model that this build has.
fn open(about: &About, words: bool, session: &Session) -> Result<(PulseDB, Collective), Failure> {
    let path: &Path = &about.db;
    let db = session.reader(path, Texts::Plain)?;
    let collective = session::collective(&db, &about.collective)?;
    let embedded = cfg!(feature = "embed")
        && (collective.embedder.as_ref()).is_some_and(|one| one.provider == BUILTIN);
    if embedded && !words && about.vector.is_none() {
        return Ok((session.reader(path, Texts::Embedded)?, collective));
    }
    Ok((db, collective))
}

/// The provider of collectives whose texts this crate embeds.
const BUILTIN: &str = "builtin";

/// Hundreds of numbers that nobody asked for.
fn leave_out_vector(experience: &mut Experience) {
    experience.embedding.clear();
}

fn print_experience(out: &mut dyn Write, score: f32, one: &Experience) -> io::Result<()> {
    let kind = one.experience_type.kind();
    writeln!(
        out,
        "{score:.3}  {}  {kind:?}  {}",
        one.id,
        line(&one.content)
    )
}

/// The beginning of a text, as a line that a terminal can show.
fn line(text: &str) -> String {
    let shown = text.trim_start().chars().take(SHOWN_CHARS);
    shown
        .map(|one| if one.is_control() { ' ' } else { one })
        .collect()
}

fn print_explanation(out: &mut dyn Write, one: &SearchExplanation) -> io::Result<()> {
    writeln!(
        out,
        "plan {:?}: {} rows, {} of them in {} graphs; {} codes and {} vectors compared, {} rows checked",
        one.plan,
        one.rows,
        one.in_graphs,
        one.graphs,
        one.codes_compared,
        one.vectors_compared,
        one.rows_checked
    )?;
    writeln!(
        out,
        "planning {:?}, finding {:?}, comparing {:?}, reading {:?}",
        one.planning, one.finding, one.comparing, one.reading
    )
}
