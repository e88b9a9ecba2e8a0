//! What do recording and searching take and answer?
//!
//! A body names what it means; everything that it leaves out has the crate's default, and a field that nobody knows is
//! refused, since it would be a misspelt one. The database checks the limits.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{Path, State, rejection::JsonRejection},
    http::StatusCode,
};
use pulsedb::{
    CollectiveId, NewExperience, PulseDB, PulseDBError, Query, RecordOptions, RecordOutcome,
    SearchFilter, SearchHit, SearchOptions,
};
use serde::{Deserialize, Serialize};

use crate::{refusal::Refusal, routes::Service};

type Body<T> = Result<Json<T>, JsonRejection>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recording {
    content: String,
    agent: String,
    /// Where the store does not embed texts itself.
    embedding: Option<Vec<f32>>,
    task: Option<String>,
    importance: Option<f32>,
    confidence: Option<f32>,
    #[serde(default)]
    domain: Vec<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    /// Makes repeating safe: whoever got no answer sends the same again.
    idempotency_key: Option<String>,
}

pub(crate) async fn record(
    State(service): State<Service>,
    Path(name): Path<String>,
    body: Body<Recording>,
) -> Result<(StatusCode, Json<RecordOutcome>), Refusal> {
    let Json(body) = body?;
    let collective = match known(&service.db, &name).await? {
        Some(known) => known,
        None => service.db.get_or_create_collective(&name).await?,
    };
    let new = NewExperience::new(collective, body.agent, body.content);
    let new = NewExperience {
        embedding: body.embedding,
        source_task: body.task.map(Into::into),
        importance: body.importance.unwrap_or(new.importance),
        confidence: body.confidence.unwrap_or(new.confidence),
        domain: body.domain,
        tags: body.tags,
        idempotency_key: body.idempotency_key,
        ..new
    };
    let outcome = service
        .db
        .record_experience_with(new, RecordOptions::default())
        .await?;
    Ok((StatusCode::CREATED, Json(outcome)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Searching {
    text: Option<String>,
    vector: Option<Vec<f32>>,
    k: Option<usize>,
    #[serde(default)]
    domains: Vec<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    min_importance: Option<f32>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Found {
    hits: Vec<SearchHit>,
}

pub(crate) async fn search(
    State(service): State<Service>,
    Path(name): Path<String>,
    body: Body<Searching>,
) -> Result<Json<Found>, Refusal> {
    let Json(body) = body?;
    let collective = find(&service.db, &name).await?;
    let query = Query {
        text: body.text,
        vector: body.vector,
        // What an agent says is no query language.
        plain: true,
        ..Query::default()
    };
    let options = SearchOptions::default();
    let options = SearchOptions {
        k: body.k.unwrap_or(options.k),
        filter: SearchFilter {
            domains: body.domains,
            tags_all: body.tags,
            min_importance: body.min_importance,
            ..SearchFilter::default()
        },
        ..options
    };
    let mut hits = service.db.search(collective, query, options).await?;
    for hit in &mut hits {
        // Ten times the rest of the answer, and of use to nobody who did not bring one.
        hit.experience.embedding.clear();
    }
    Ok(Json(Found { hits }))
}

/// The collective of this name.
pub(crate) async fn find(db: &PulseDB, name: &str) -> Result<CollectiveId, Refusal> {
    let known = known(db, name).await?;
    known.ok_or_else(|| Refusal::no_such_collective(name))
}

/// The same, or none. The list is in memory, and short.
async fn known(db: &PulseDB, name: &str) -> Result<Option<CollectiveId>, PulseDBError> {
    let all = db.list_collectives().await?;
    Ok(all.iter().find(|one| one.name == name).map(|one| one.id))
}
